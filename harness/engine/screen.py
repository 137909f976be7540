"""Screening: gradient attribution of every probe first, then only the top share is measured exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.edits import Probe
from harness.engine.attribution import OUTCOMES, attribute
from harness.engine.blocks import Stack
from harness.engine.sweep import Item


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Probes parted by attribution; `chosen` and `left_out` are each in the order they were asked in."""

    chosen: tuple[Probe, ...]
    left_out: tuple[Probe, ...]
    summary: Mapping[str, Any]
    """For the provenance: share, method, counts, and the scores at the cut, in nats."""


def screen(
    stack: Stack,
    items: Sequence[Item],
    probes: Sequence[Probe],
    share: float,
    *,
    memory_bytes: int = 2 * 2**30,
) -> Screen:
    """The `share` of the probes with the largest mean attribution over the prompts, rounded up.

    Raises ValueError for a share outside 0 to 1, InvalidEdit for a probe that attribution cannot score, and
    NonFiniteLogits and OutOfMemory as `attribute` does.
    """
    scores = attribute(stack, items, memory_bytes=memory_bytes).probes(probes).mean(axis=1)
    rows = top_share(scores, share)
    score = np.delete(scores, rows)
    return Screen(
        chosen=tuple(probes[i] for i in rows),
        left_out=tuple(probe for i, probe in enumerate(probes) if i not in rows),
        summary={
            "share": share,
            "method": f"gradient attribution, Fisher estimate of the KL over {OUTCOMES} outcomes",
            "measured": len(rows),
            "of": len(probes),
            "largest_score": _round(scores.max()),
            "least_score_measured": _round(scores[list(rows)].min()),
            "largest_score_left_out": _round(score.max()) if score.size else None,
        },
    )


def top_share(scores: Float[np.ndarray, " probe"], share: float) -> tuple[int, ...]:
    """Rows of the largest scores, ascending: ceil(share x rows) of them, ties to the earlier row.

    Raises ValueError for a share outside 0 to 1.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share}: expected above 0 and at most 1")
    n = math.ceil(share * len(scores) - 1e-9)
    return tuple(sorted(np.argsort(-scores, kind="stable")[:n].tolist()))


def _round(value: float) -> float:
    return float(f"{value:.6g}")
