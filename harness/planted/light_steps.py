"""Closed form of a light planted model's logits under steps of any direction: all that the steering experiments add.

The algebra is that of `harness.planted.steerable` and `harness.planted.two_skills` without the huge constant
(`harness.planted.light`), so that the norms are the identity for every step that is measured. A step that is added to
resid_post of block l reaches, by its part in

    READ      what each block after l writes, and the heads after l that look for marks
    WRITE     the logits, whatever l is; of two skills its part in BLIND, below the reader, the code that is looked up
    CHANNEL   the one block that reads it, where that comes after l; from there on nothing
    CONST     the gates that this block opens by it, where it comes after l; SINK reaches nothing
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from harness.planted.channel import CHANNEL, D_CHANNEL, OPEN
from harness.planted.light import LIGHT_CONSTANT
from harness.planted.steerable import SteerablePlan
from harness.planted.two_skills import TwoSkillsPlan
from harness.planted.writers import BLIND, CONST, N_HEADS, N_KV_HEADS, READ, WRITE, Writer, silu

LightPlan = SteerablePlan | TwoSkillsPlan


def stepped_logits(
    plan: LightPlan,
    token_ids: Int[np.ndarray, "row pos"],
    steps: Mapping[int, Float[np.ndarray, "row d_model"]],
    *,
    positions: int = 1,
) -> Float[np.ndarray, "row vocab"]:
    """Logits at the last position of each row of tokens; after block l its row of `steps[l]` is added.

    The step is added at the last `positions` tokens.
    """
    n = len(token_ids)
    reads, writes = plan.embed_read[token_ids], plan.embed_write[token_ids[:, -1]]
    channels, constants = np.zeros((n, D_CHANNEL)), np.ones(n)
    for layer, writer in enumerate(plan.writers):
        blind = writes[:, BLIND]
        writes = writes + _written(writer, reads)
        if isinstance(plan, TwoSkillsPlan):
            if layer == plan.layer:
                channels += [plan.driven(read) for read in reads]
            if layer == plan.reader:
                codes = blind + [plan.brought(read) for read in reads]
                found = zip(channels, codes, constants, strict=True)
                writes += [plan.answer(drive, code, constant=constant) for drive, code, constant in found]
        else:
            if layer == plan.source[0]:
                channels += [plan.carried(read) for read in reads]
            if layer == plan.read_layer:
                opened = silu(OPEN * constants) / OPEN
                writes += np.outer(plan.gain * opened * (channels @ plan.direction[CHANNEL]), plan.reading)
        if layer in steps:
            step = steps[layer]
            reads[:, -positions:] += step[:, None, READ]
            writes += step[:, WRITE]
            channels += step[:, CHANNEL]
            constants += step[:, CONST] / LIGHT_CONSTANT
    logits: np.ndarray = writes @ plan.unembed.T
    return logits


def _written(writer: Writer, reads: Float[np.ndarray, "row pos read"]) -> Float[np.ndarray, "row write"]:
    """`Writer.write`, row by row."""
    looked_at = writer.patterns(reads.shape[1]) @ reads  # row, head, read
    written = writer.mlp(reads[:, -1])
    for head in range(N_HEADS):
        carries = writer.output[head] @ writer.value[head * N_KV_HEADS // N_HEADS]
        written += looked_at[:, head] @ carries.T
    return written
