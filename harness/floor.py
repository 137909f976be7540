"""The noise floor: what the arithmetic alone moves. Effects below it are not effects.

In float32 it is about 1e-7 nats. In a short type one and the same edit gives other digits in another batch, so
the floor is measured in every run, and what lies below it is not reported as an effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor

from harness.evidence import Check

LIMIT_NATS = {"float32": 1e-6, "bfloat16": 0.05, "float16": 0.05}
"""Largest floor a run may have, by dtype. float32: three orders below any threshold. The short types: bfloat16 moves
up to 0.03 nats between batch shapes, and the smallest effect that a published claim rests on is 0.046 nats."""


def largest_kl(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Largest KL, in nats, between two rows of logits; infinite where one is not finite.

    Between transformers' own forward pass, a prompt at a time, and the engine's baseline it is the model's noise.
    """
    found = [kl_of_logits(own, ours) for own, ours in pairs]
    return max(found) if all(math.isfinite(kl) for kl in found) else math.inf


def kl_of_logits(p_logits: Tensor, q_logits: Tensor) -> float:
    """KL(p || q) of two rows of logits, nats, in float64."""
    p, q = p_logits.double().log_softmax(-1), q_logits.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


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
