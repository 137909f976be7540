"""What all criteria share."""

from __future__ import annotations

from dataclasses import dataclass

SEPARATION_ALPHA = 0.01
"""Two-sided level at which one block must beat every other, or be beaten, in the paired test.

Stricter than the suite's two-sided 0.02 because a hub claim is a choice among 24 to 36 blocks that is read as a
location, and because the suite aims at a false-positive rate of at most 1%: on a model without a hub, at
most one hub claim in a hundred may come out as supported."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What all criteria share. Not a class tower: the union `AnyCriterion` below is what is matched on."""

    rationale: str
    """Why these thresholds, in a sentence."""

    def __post_init__(self) -> None:
        if not self.rationale.strip():
            raise ValueError(f"{type(self).__name__}: say why these thresholds were chosen (rationale)")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("layer_sweep",)
