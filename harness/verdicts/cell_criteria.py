"""Criteria on chosen rows of one table: bounds on means, and identities on every prompt."""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics.estimate import format_number, unit_of
from harness.verdicts.criterion import Criterion
from harness.verdicts.selectors import Selector


@dataclass(frozen=True, kw_only=True)
class Bounded(Criterion):
    """What EveryProbe and SomeProbe share: which cells, and one bound."""

    experiment: str
    select: Selector
    metric: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"{type(self).__name__} on {self.metric}: give either at_most or at_least")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    @property
    def bound(self) -> str:
        """'at most 0.1 share'."""
        if self.at_most is not None:
            return f"at most {format_number(self.at_most)} {unit_of(self.metric)}"
        assert self.at_least is not None
        return f"at least {format_number(self.at_least)} {unit_of(self.metric)}"


@dataclass(frozen=True, kw_only=True)
class EveryProbe(Bounded):
    """The bound holds for every selected probe. Judged in `cells.py`."""

    def __str__(self) -> str:
        return f"in {self.experiment}, {self.metric} is {self.bound} for {self.select}"


@dataclass(frozen=True, kw_only=True)
class SomeProbe(Bounded):
    """The bound holds for at least one selected probe. Judged in `cells.py`."""

    def __str__(self) -> str:
        return f"in {self.experiment}, {self.metric} is {self.bound} for at least one of: {self.select}"


@dataclass(frozen=True, kw_only=True)
class CellWithin(Criterion):
    """The mean of the one selected probe lies within `tolerance` of `target`. Judged in `cells.py`."""

    experiment: str
    select: Selector
    metric: str
    target: float
    tolerance: float

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    def __str__(self) -> str:
        return (
            f"in {self.experiment}, {self.metric} for {self.select} is {format_number(self.target)} "
            f"+- {format_number(self.tolerance)} {unit_of(self.metric)}"
        )


@dataclass(frozen=True, kw_only=True)
class WorstCase(Criterion):
    """An identity: the largest |metric| over all selected probes and all prompts.

    Judged in `identities.py`.
    """

    experiment: str
    select: Selector
    metric: str
    at_most: float

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    def __str__(self) -> str:
        return (
            f"in {self.experiment}, |{self.metric}| is at most {format_number(self.at_most)} "
            f"{unit_of(self.metric)} for {self.select} on every prompt"
        )


@dataclass(frozen=True, kw_only=True)
class SameAsDeepest(Criterion):
    """An identity: erasing several blocks equals erasing the deepest of them alone.

    Judged in `identities.py`.
    """

    tolerance_nats: float = 1e-4

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("layer_sets", "layer_sweep")

    def __str__(self) -> str:
        return (
            "every set of several blocks gives the kl_nats and answer_logprob of its deepest block alone, "
            f"within {format_number(self.tolerance_nats)} nats on every prompt"
        )
