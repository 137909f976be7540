"""Criteria on other prompts: the same top block, or another; profiles that agree; a prompt a family; less steering."""

from __future__ import annotations

from dataclasses import dataclass

from harness.verdicts.criterion import SEPARATION_ALPHA, Criterion, ProfileOf
from harness.verdicts.steering_criteria import Gain


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A profile on some prompts: those of one experiment or of several together, of all families or of some."""

    name: str
    parts: tuple[ProfileOf, ...]
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.parts:
            raise ValueError(
                f"Condition {self.name!r} of {len(self.parts)} parts: give it a name and prompts"
            )
        if len({part.noun for part in self.parts}) > 1:
            raise ValueError(f"Condition {self.name!r}: its parts are profiles of different things")

    @property
    def noun(self) -> str:
        """What is edited in each layer."""
        return self.parts[0].noun


@dataclass(frozen=True, kw_only=True)
class AcrossConditions(Criterion):
    """What criteria that compare conditions share."""

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [condition.name for condition in self.conditions]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"{type(self).__name__} of {names}: two conditions at least, each named once")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return tuple(dict.fromkeys(p.experiment for c in self.conditions for p in c.parts))

    @property
    def names(self) -> str:
        """The conditions, as a list in words."""
        return ", ".join(condition.name for condition in self.conditions)


@dataclass(frozen=True, kw_only=True)
class SameTop(AcrossConditions):
    """One block is the strongest in every condition. Judged in `robustness.py`."""

    def __str__(self) -> str:
        return (
            f"the same {self.conditions[0].noun} is the strongest in each of: {self.names}; in each it is separated "
            f"from every other at p < {SEPARATION_ALPHA}"
        )


@dataclass(frozen=True, kw_only=True)
class TopMoves(AcrossConditions):
    """The strongest block of one condition is beaten in another. Judged in `robustness.py`."""

    def __str__(self) -> str:
        return (
            f"the strongest {self.conditions[0].noun} of one of these, separated from every other at "
            f"p < {SEPARATION_ALPHA}, is beaten in another: {self.names}"
        )


@dataclass(frozen=True, kw_only=True)
class ProfilesAgree(AcrossConditions):
    """Every two conditions' profiles have at least this Spearman correlation over layers. Judged in `robustness.py`.

    `matched` conditions ask the same questions, the first of them bare and the others behind a context: two of them are
    compared on the questions that both ask, and resampled together.
    """

    at_least: float
    matched: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1.0 < self.at_least < 1.0:
            raise ValueError(f"ProfilesAgree(at_least={self.at_least}): a correlation between -1 and 1")

    def __str__(self) -> str:
        shared = ", on the questions that both ask" if self.matched else ""
        return (
            f"the {self.conditions[0].noun} profiles of every two of these correlate by ranks (Spearman) at "
            f"{self.at_least:g} or more{shared}: {self.names}"
        )


@dataclass(frozen=True, kw_only=True)
class OnePromptMisleads(Criterion):
    """Of all draws of one prompt a family, at least this share name another top block than all prompts together.

    Judged in `robustness.py`.
    """

    condition: Condition
    at_least: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.at_least <= 1.0:
            raise ValueError(f"OnePromptMisleads(at_least={self.at_least}): a share above 0, and at most 1")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return tuple(dict.fromkeys(part.experiment for part in self.condition.parts))

    def __str__(self) -> str:
        return (
            f"of all draws of one prompt a family ({self.condition.name}), at least {self.at_least:.0%} have another "
            f"top {self.condition.noun} than all prompts together"
        )


@dataclass(frozen=True, kw_only=True)
class SteeringWeakens(Criterion):
    """What a strength gains on some prompts is less than `factor` times what it gains on others.

    The same direction is added to both, at the block where it does most on the prompts of `strong`, which are the bare
    questions of those of `weak`. Judged in `steering_length.py`.
    """

    factor: float
    strong: str = "steering_short"
    weak: str = "steering_long"
    window: float = 0.5
    gain: Gain = Gain.FORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strong == self.weak or not self.factor > 0.0:
            raise ValueError(
                f"SteeringWeakens(strong={self.strong!r}, weak={self.weak!r}, factor={self.factor:g}): two tables, and "
                "a factor above 0"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.strong, self.weak)

    def __str__(self) -> str:
        return (
            f"at the block that does most in {self.strong}, {self.gain} rises with the strength, within "
            f"{self.window:g} of 0, and in {self.weak} by less than {self.factor:g} times as much, on the questions "
            "that both ask"
        )
