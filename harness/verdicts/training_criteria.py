"""Criteria on adapters: weighted sums of rows, numbers of a training; one family apart, and negations.

Prompts are resampled; trainings are not. There is one a seed, too few for an interval over them, but for RecipeBeats of
`adapter_set_criteria`: where several are pooled, all must lie on the same side of a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.edits import Probe
from harness.statistics.estimate import BOUNDED, format_number, unit_of
from harness.verdicts.adapter_criteria import CONSTANTS
from harness.verdicts.criterion import Criterion

if TYPE_CHECKING:
    from harness.verdicts.criteria import SingleCriterion


@dataclass(frozen=True, kw_only=True)
class OfFamilies:
    """Another criterion, on the prompts of these families alone. Judged in `judging.py`."""

    families: tuple[str, ...]
    criterion: SingleCriterion

    def __post_init__(self) -> None:
        if not self.families:
            raise ValueError("OfFamilies: name a family")

    @property
    def rationale(self) -> str:
        """That of the criterion."""
        return self.criterion.rationale

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return self.criterion.experiments

    def __str__(self) -> str:
        return f"on prompts of {', '.join(self.families)}: {self.criterion}"


@dataclass(frozen=True, kw_only=True)
class Not:
    """Supported where the other criterion is refuted, and refuted where that is supported. Judged in `judging.py`."""

    criterion: SingleCriterion

    @property
    def rationale(self) -> str:
        """That of the criterion."""
        return self.criterion.rationale

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return self.criterion.experiments

    def __str__(self) -> str:
        return f"it is not so that {self.criterion}"


@dataclass(frozen=True, kw_only=True)
class Term:
    """One row of a table and its weight in a sum; without a probe, the base model's own number for each prompt."""

    weight: float
    of: Probe | None = None

    def __str__(self) -> str:
        return f"{self.weight:+.6g} x '{self.of or 'base'}'"


@dataclass(frozen=True, kw_only=True)
class OneBound(Criterion):
    """A bound from above or from below."""

    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{type(self).__name__}: give either at_most or at_least")

    @property
    def said(self) -> str:
        """'at least 1'."""
        if self.at_least is not None:
            return f"at least {format_number(self.at_least)}"
        assert self.at_most is not None
        return f"at most {format_number(self.at_most)}"


@dataclass(frozen=True, kw_only=True)
class Contrast(OneBound):
    """The mean of a weighted sum of rows, prompt by prompt, lies on one side of a bound. Judged in `training.py`.

    `what` says in words what the sum is. Shares are not summed: their bounds are exact, those of a sum are not.
    """

    experiment: str
    what: str
    terms: tuple[Term, ...]
    metric: str = "answer_logprob"
    unit: str = ""
    """Of the sum; '' for the metric's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms or not self.what.strip():
            raise ValueError("Contrast: name at least one row, and say what the sum of them is")
        if self.metric in BOUNDED and (len(self.terms) > 1 or self.terms[0].weight != 1.0):
            raise ValueError(f"Contrast of {self.metric}: shares are not summed; compare log-probabilities")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    @property
    def units(self) -> str:
        """The unit it prints with."""
        return self.unit or unit_of(self.metric)

    def __str__(self) -> str:
        return f"in {self.experiment}, {self.what} ({self.metric}) is {self.said} {self.units}"


@dataclass(frozen=True, kw_only=True)
class FamilyLeads(Criterion):
    """Of these families, one has the largest mean of its sum, or the smallest. Judged in `training.py`.

    Each family's sum is of its own rows and over its own prompts.
    """

    experiment: str
    what: str
    family: str
    sums: Mapping[str, tuple[Term, ...]]
    metric: str = "answer_logprob"
    which: Literal["largest", "smallest"] = "largest"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in self.sums or len(self.sums) < 2 or not all(self.sums.values()):
            raise ValueError(f"FamilyLeads({self.family}): give its rows, and those of another family")
        if self.metric in BOUNDED:
            raise ValueError(
                f"FamilyLeads in {self.metric}: shares are not summed; compare log-probabilities"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    def __str__(self) -> str:
        others = ", ".join(family for family in self.sums if family != self.family)
        return (
            f"in {self.experiment}, {self.what} (mean {self.metric}) is {self.which} for {self.family}, of it and "
            f"{others}"
        )


@dataclass(frozen=True, kw_only=True)
class TrainedWithin(Criterion):
    """A number that each training has, the same for all prompts, lies within bounds. Judged in `training.py`."""

    experiment: str
    probe: Probe
    metric: str
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.at_least < self.at_most:
            raise ValueError(
                f"TrainedWithin {self.at_least} to {self.at_most}: bounds ascend, and one is given"
            )
        if (self.at_least, self.at_most) == (float("-inf"), float("inf")):
            raise ValueError("TrainedWithin: give a bound")
        if self.metric not in CONSTANTS:
            raise ValueError(
                f"TrainedWithin of {self.metric}: a training has one {', '.join(sorted(CONSTANTS))}"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    @property
    def said(self) -> str:
        """'0.3 to 0.9', 'at most 0.1'."""
        return _between(self.at_least, self.at_most)

    def __str__(self) -> str:
        return f"in {self.experiment}, {self.metric} of '{self.probe}' is {self.said} in every training"


@dataclass(frozen=True, kw_only=True)
class TrainedSlope(Criterion):
    """The slope of log(number of a training) over log(x), by least squares, lies within bounds.

    Judged in `training.py`.
    """

    experiment: str
    over: Mapping[int, Probe]
    """x -> the row of it."""
    x: str
    metric: str
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.over) < 2 or min(self.over) <= 0 or not self.at_least < self.at_most:
            raise ValueError("TrainedSlope: give two positive values of x, and bounds that ascend")
        if self.metric not in CONSTANTS:
            raise ValueError(
                f"TrainedSlope of {self.metric}: a training has one {', '.join(sorted(CONSTANTS))}"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    @property
    def said(self) -> str:
        """'0.9 to 1.1', 'at most 0.9'."""
        return _between(self.at_least, self.at_most)

    def __str__(self) -> str:
        return (
            f"in {self.experiment}, the slope of log {self.metric} over log {self.x} "
            f"({', '.join(map(str, self.over))}) is {self.said} in every training"
        )


def _between(low: float, high: float) -> str:
    if low == float("-inf"):
        return f"at most {format_number(high)}"
    if high == float("inf"):
        return f"at least {format_number(low)}"
    return f"{format_number(low)} to {format_number(high)}"
