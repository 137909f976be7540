"""A model with two strong blocks: a hub and a rival, as close as one likes.

The hub of `harness.planted.hub` is at least twice as strong as any other block, so its lead is never near the least
that a claim allows. Here one other block, the rival, has a strength of its own. Two knobs set the prompt noise, that
is, how much the lead differs between templates:

    twin     the rival has the hub's functions, scaled: both are strong on the same prompts, and the lead hardly
             varies; otherwise its own, and the lead varies as much as the effects do
    spread   the norms of the tokens' READ embeddings, raised to this power: 0 makes all tokens alike, above 1 some
             drive every block much harder than others, which skews the effects
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.writers import Plan, random_embeddings, random_writer

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

_EMBEDDINGS, _STRENGTHS, _WRITERS = range(3)


def rivals_plan(
    *,
    vocab_size: int,
    layer: int,
    rival: int,
    n_layers: int,
    seed: int,
    hub_strength: float,
    rival_strength: float,
    background: float,
    twin: bool,
    spread: float,
) -> Plan:
    """The plan of a model whose two strongest blocks are `layer` and `rival`.

    Raises ValueError where they are one block, or not blocks of the model.
    """
    if layer == rival or not {layer, rival} <= set(range(n_layers)):
        raise ValueError(f"hub L{layer} and rival L{rival}: expected two blocks of {n_layers}")
    read, write, unembed = random_embeddings(vocab_size, np.random.default_rng([seed, _EMBEDDINGS]))
    norms = np.linalg.norm(read, axis=1, keepdims=True)
    read = (read * norms ** (spread - 1.0)).astype(np.float32).astype(np.float64)
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)
    strengths[layer], strengths[rival] = hub_strength, rival_strength
    writers = tuple(
        random_writer(
            float(strength),
            embed_read=read,
            rng=np.random.default_rng([seed, _WRITERS, layer if twin and index == rival else index]),
        )
        for index, strength in enumerate(strengths)
    )
    return Plan(embed_read=read, embed_write=write, unembed=unembed, writers=writers)


def build_rivals(directory: Path, *, tokenizer: Qwen2Tokenizer, **parameters: Any) -> Path:
    """Build and save a model of rivals. Raises as `rivals_plan`, and FileExistsError."""
    plan = rivals_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "rivals",
        "truth": f"L{parameters['layer']} and L{parameters['rival']} are the two strongest blocks",
        "hub_layer": None,
        "parameters": parameters,
    }
    return save_checkpoint(
        directory,
        tensors=plan_tensors(plan),
        tokenizer=tokenizer,
        n_layers=parameters["n_layers"],
        truth=truth,
    )
