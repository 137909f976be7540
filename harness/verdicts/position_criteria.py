"""Criteria on classes of positions: one against others, two in a ratio, and where along the depth one matters most.

The effect of a selection on a prompt, `Spotted` or of `Edges`, is the mean of the metric over the probes selected; of
whole classes, or `per_token`, divided by the number of tokens of the class in that prompt. Classes are compared on the
prompts that have positions of both.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics.estimate import format_number, unit_of
from harness.verdicts.criterion import SEPARATION_ALPHA, Criterion
from harness.verdicts.selectors import Edges, Spotted

EXPERIMENT = "position_sweep"


@dataclass(frozen=True, kw_only=True)
class OfPositions(Criterion):
    """What criteria on classes of positions share."""

    metric: str = "kl_nats"
    """In nats: a difference of shares is no share, whose bounds would be those of another quantity."""
    experiment: str = EXPERIMENT

    def __post_init__(self) -> None:
        super().__post_init__()
        if unit_of(self.metric) != "nats":
            raise ValueError(f"{type(self).__name__} on {self.metric}: compare effects in nats")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)


@dataclass(frozen=True, kw_only=True)
class SpotOutweighs(OfPositions):
    """One class moves more than each of the others, by a factor if one is given. Judged in `positions.py`."""

    stronger: Spotted | Edges
    weaker: tuple[Spotted | Edges, ...]
    times: float = 1.0
    per_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weaker or self.stronger in self.weaker:
            raise ValueError(f"SpotOutweighs of {self.stronger}: name at least one other to compare it with")
        if not self.times > 0.0:
            raise ValueError(f"SpotOutweighs(times={self.times}): a factor above 0")

    def __str__(self) -> str:
        each = " per token" if self.per_token else ""
        others = "; ".join(map(str, self.weaker))
        if self.times == 1.0:
            return f"{self.stronger} moves more {self.metric}{each} than each of: {others}"
        factor = format_number(self.times)
        return f"{self.stronger} moves more than {factor} times the {self.metric}{each} of each of: {others}"


@dataclass(frozen=True, kw_only=True)
class SpotRatio(OfPositions):
    """The effect of one class, as a share of another's, lies in a band. Judged in `positions.py`."""

    part: Spotted
    of: Spotted
    at_least: float
    at_most: float
    min_effect_nats: float = 0.1
    """Least effect of the other class, at the lower bound, of which a share is taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.at_least < self.at_most:
            raise ValueError(f"SpotRatio({self.at_least} to {self.at_most}): a band ascends from 0 or above")
        if self.part == self.of:
            raise ValueError(f"SpotRatio of {self.part}: a share is of another class")

    def __str__(self) -> str:
        return (
            f"{self.part} moves {format_number(self.at_least)} to {format_number(self.at_most)} times the "
            f"{self.metric} of: {self.of}"
        )


@dataclass(frozen=True, kw_only=True)
class SpotPeak(OfPositions):
    """One block is where the class matters most, its streams averaged. Judged in `positions.py`."""

    select: Spotted
    layer: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select.layers or self.select.from_depth:
            raise ValueError(f"SpotPeak of {self.select}: every block is compared, so name none")

    def __str__(self) -> str:
        return (
            f"of all blocks, {self.select} moves most {self.metric} at L{self.layer}, separated from every other at "
            f"p < {SEPARATION_ALPHA} ({unit_of(self.metric)})"
        )
