"""What all criteria share."""

from __future__ import annotations

from dataclasses import dataclass

from harness.verdicts.selectors import Selector, Singles

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


@dataclass(frozen=True, kw_only=True)
class ProfileOf:
    """Which edits of an experiment make a profile over layers: one for each block. `noun` is what is edited there."""

    experiment: str
    select: Selector
    noun: str


BLOCKS = ProfileOf(experiment="layer_sweep", select=Singles(), noun="block")
"""The effect of removing each whole block."""


@dataclass(frozen=True, kw_only=True)
class ProfileCriterion(Criterion):
    """What criteria on a profile over layers share."""

    of: ProfileOf = BLOCKS

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.of.experiment,)

    @property
    def metric(self) -> str:
        """'kl_nats', and of which edits, where a block can be edited in several ways."""
        return "kl_nats" if self.of == BLOCKS else f"kl_nats ({self.of.select})"
