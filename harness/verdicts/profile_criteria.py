"""Criteria on a profile over layers: mean kl_nats of each single block, or of another part of each (`of`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.edits import format_layers
from harness.statistics.estimate import format_number
from harness.verdicts.criterion import SEPARATION_ALPHA, ProfileCriterion


@dataclass(frozen=True, kw_only=True)
class HubIs(ProfileCriterion):
    """Block `layer` (None: some block) is the hub. Judged in `hub.py`."""

    layer: int | None
    min_lead: float = 0.10
    """Least lead over the strongest rival, as a share of the hub's own effect; read at the lower bound."""
    min_effect_nats: float = 0.1

    def __str__(self) -> str:
        who = f"some {self.of.noun}" if self.layer is None else f"L{self.layer}"
        return (
            f"{who} has the largest mean kl_nats, separated from every other {self.of.noun} at p < "
            f"{SEPARATION_ALPHA} and "
            f"leading by at least {self.min_lead:.0%} of its effect, which is at least "
            f"{self.min_effect_nats} nats"
        )


@dataclass(frozen=True, kw_only=True)
class ExtremeLayer(ProfileCriterion):
    """Block `layer` has the largest or smallest mean effect of all blocks, and is separated.

    Judged in `hub.py`.
    """

    layer: int
    which: Literal["strongest", "weakest"]

    def __str__(self) -> str:
        return (
            f"L{self.layer} is the {self.which} {self.of.noun} by mean {self.metric}, separated from every other "
            f"at p < {SEPARATION_ALPHA}"
        )


@dataclass(frozen=True, kw_only=True)
class TopLayers(ProfileCriterion):
    """These blocks, in any order, are the strongest ones: each beats every block outside.

    Judged in `hub.py`.
    """

    layers: frozenset[int]

    def __str__(self) -> str:
        names = format_layers(tuple(sorted(self.layers)))
        return (
            f"the {len(self.layers)} strongest {self.of.noun}s by mean {self.metric} are {names}, each separated from "
            f"every {self.of.noun} outside at p < {SEPARATION_ALPHA}"
        )


@dataclass(frozen=True, kw_only=True)
class TopInFamilies(ProfileCriterion):
    """Block `layer` is the strongest in at least `at_least` task families. Judged in `families.py`."""

    layer: int
    at_least: int

    def __str__(self) -> str:
        return f"L{self.layer} is the strongest {self.of.noun} in at least {self.at_least} task families"


@dataclass(frozen=True, kw_only=True)
class FamilyExtremes(ProfileCriterion):
    """Block `layer` matters most to the families in `top` and least to those in `bottom`.

    Judged in `families.py`.
    """

    layer: int
    top: tuple[str, ...]
    bottom: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.top or self.bottom) or set(self.top) & set(self.bottom):
            raise ValueError("FamilyExtremes: name families in top or bottom, and none in both")

    def __str__(self) -> str:
        halves = [("most", self.top), ("least", self.bottom)]
        said = " and ".join(f"{word} to {', '.join(names)}" for word, names in halves if names)
        return f"L{self.layer} matters {said}"


@dataclass(frozen=True, kw_only=True)
class SubsetHubShare(ProfileCriterion):
    """Small suites mislead: in at least this share of all family subsets the top block differs from the
    full suite's.

    Judged in `families.py`.
    """

    subset_size: int = 8
    at_least: float = 0.3

    def __str__(self) -> str:
        return (
            f"at least {self.at_least:.0%} of all subsets of {self.subset_size} families "
            f"have another top {self.of.noun} "
            "than the full suite"
        )


@dataclass(frozen=True, kw_only=True)
class TopSpread(ProfileCriterion):
    """The `k` strongest blocks lie within `at_most_nats` of one another. Judged in `profiles.py`."""

    k: int
    at_most_nats: float

    def __str__(self) -> str:
        spread = format_number(self.at_most_nats)
        return f"the {self.k} strongest {self.of.noun}s lie within {spread} nats of one another"


@dataclass(frozen=True, kw_only=True)
class Flat(ProfileCriterion):
    """Every block's mean effect lies within `tolerance` x the profile's median of that median.

    In `profiles.py`.
    """

    tolerance: float = 0.25

    def __str__(self) -> str:
        return f"every {self.of.noun}'s mean kl_nats lies within {self.tolerance:.0%} of the median {self.of.noun}'s"


@dataclass(frozen=True, kw_only=True)
class StableOverSeeds(ProfileCriterion):
    """Each seed gives the same top block, and profiles agree pairwise in rank. Judged in `profiles.py`."""

    min_tau: float = 0.8

    def __str__(self) -> str:
        return (
            f"every seed gives the same top {self.of.noun}, with Kendall tau between profiles "
            f"of at least {self.min_tau}"
        )
