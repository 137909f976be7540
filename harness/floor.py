"""The noise floor: what the arithmetic alone moves. Effects below it are not effects.

In float32 it is about 1e-7 nats. In a short type one and the same edit gives other digits in another batch, so
the floor is measured in every run, and what lies below it is not reported as an effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.engine.blocks import Stack
from harness.engine.parity import own_and_engine_logits
from harness.evidence import Check

LIMIT_NATS = {"float32": 1e-6, "bfloat16": 0.05, "float16": 0.05}
"""Largest floor a run may have, by dtype. float32: three orders below any threshold. The short types: bfloat16 moves
up to 0.03 nats between batch shapes, and the smallest effect that a published claim rests on is 0.046 nats."""


def model_noise(stack: Stack, prompts: Sequence[Sequence[int]]) -> float:
    """Largest KL, in nats, from transformers' own forward pass, a prompt at a time, to the engine's baseline.

    Infinite where either is not finite.
    """
    worst = 0.0
    for own, ours in own_and_engine_logits(stack, prompts):
        p, q = own.double().log_softmax(-1), ours.double().log_softmax(-1)
        kl = float((p.exp() * (p - q)).sum())
        worst = max(worst, kl) if math.isfinite(kl) else math.inf
    return worst


def floor_checks(dtype: str, no_op: np.ndarray, noise: float) -> list[Check]:
    """The gates on the floor: a block patched with itself, and the engine beside the model's own forward pass."""
    limit = LIMIT_NATS[dtype]
    moved = float(np.abs(no_op).max())
    return [
        Check(
            name="no_op",
            passed=moved <= limit,
            value=moved,
            sentence=f"patching a block's output with itself moves at most {limit:g} nats "
            "(this is the numeric floor)",
        ),
        Check(
            name="noise_floor",
            passed=noise <= limit,
            value=noise,
            sentence=f"the model's own forward pass is at most {limit:g} nats from the engine's baseline",
        ),
    ]


def above_floor(dtype: str, table: Mapping[str, np.ndarray], floor_nats: float) -> dict[str, np.ndarray]:
    """The table with every kl_nats below the floor set to 0; `kl_measured_nats` keeps what was measured.

    In float32 nothing is changed: its floor lies below every threshold.
    """
    if dtype == "float32":
        return dict(table)
    kl = table["kl_nats"]
    return {**table, "kl_nats": np.where(np.abs(kl) < floor_nats, 0.0, kl), "kl_measured_nats": kl}
