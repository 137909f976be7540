"""Criteria on what attention and MLP add: leads by a factor, orders of ablations, agreement of profiles, identities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.edits import Stream, format_layers
from harness.statistics.estimate import format_number
from harness.verdicts.criterion import Criterion, ProfileCriterion, ProfileOf
from harness.verdicts.selectors import Selector


@dataclass(frozen=True, kw_only=True)
class TopLead(ProfileCriterion):
    """Each of these layers has at least `factor` times the mean effect of every other. Judged in `sublayers.py`."""

    layers: tuple[int, ...]
    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.factor < 1.0:
            raise ValueError(
                f"TopLead{self.layers} by {self.factor}: layers ascend, and a factor is at least 1"
            )

    def __str__(self) -> str:
        return (
            f"the {self.of.noun} of {format_layers(self.layers)} each has at least {self.factor:g} times the mean "
            f"kl_nats of every other {self.of.noun}"
        )


@dataclass(frozen=True, kw_only=True)
class EffectOrder(Criterion):
    """Groups of probes in descending order of their mean effect, a prompt's mean over the group's probes.

    Judged in `sublayers.py`.
    """

    experiment: str
    groups: Mapping[str, Selector]
    """Name -> its probes, the largest effect first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.groups) < 2:
            raise ValueError("EffectOrder: an order needs two groups")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    def __str__(self) -> str:
        return f"in {self.experiment}, mean kl_nats falls in this order: {', '.join(self.groups)}"


@dataclass(frozen=True, kw_only=True)
class RankAgreement(Criterion):
    """Every two of these profiles have at least this Spearman correlation over layers. Judged in `sublayers.py`."""

    profiles: tuple[ProfileOf, ...]
    at_least: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.profiles) < 2:
            raise ValueError("RankAgreement: two profiles at least are compared")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables they are read from."""
        return tuple(dict.fromkeys(profile.experiment for profile in self.profiles))

    def __str__(self) -> str:
        names = ", ".join(str(profile.select) for profile in self.profiles)
        return (
            f"every two of these profiles correlate by ranks (Spearman) at {self.at_least:g} or more: {names}"
        )


@dataclass(frozen=True, kw_only=True)
class TopOverlap(RankAgreement):
    """Every two of these profiles share at least `at_least` of their `k` strongest layers. Judged in `sublayers.py`."""

    k: int = 3

    def __str__(self) -> str:
        names = ", ".join(str(profile.select) for profile in self.profiles)
        return f"every two of these profiles share {self.at_least:g} or more of their top {self.k} layers: {names}"


@dataclass(frozen=True, kw_only=True)
class SameEffect(Criterion):
    """An identity: zeroing any of these modules of a block does the same, on every prompt. Judged in `sublayers.py`."""

    streams: tuple[Stream, ...]
    tolerance: float = 1e-4
    """Nats, and as a share of the effect."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.streams) < 2:
            raise ValueError("SameEffect: two modules at least are compared")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("module_sweep",)

    def __str__(self) -> str:
        return (
            f"zeroing the output of {' or '.join(self.streams)} of a block gives the same kl_nats on every prompt, "
            f"within {format_number(self.tolerance)} nats and {self.tolerance:.2%} of it"
        )
