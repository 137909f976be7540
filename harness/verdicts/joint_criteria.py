"""Criteria that compare models. Judged in `joint.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.statistics.estimate import format_number
from harness.verdicts.criterion import SEPARATION_ALPHA, Criterion
from harness.verdicts.selectors import Selector


@dataclass(frozen=True, kw_only=True)
class HubsAt(Criterion):
    """Each model's hub is at the stated layer. Judged in `joint.py`."""

    layers: Mapping[str, int]
    min_lead: float = 0.10
    min_effect_nats: float = 0.1

    def __str__(self) -> str:
        where = ", ".join(f"L{layer} in {model}" for model, layer in self.layers.items())
        return f"the hub is {where}, each separated from every other block at p < {SEPARATION_ALPHA}"


@dataclass(frozen=True, kw_only=True)
class HubDepthIncreases(Criterion):
    """The hub's depth (layer / n_layers) grows along `models`, given in order of scale.

    Judged in `joint.py`.
    """

    models: tuple[str, ...]
    min_lead: float = 0.10
    min_effect_nats: float = 0.1

    def __str__(self) -> str:
        return f"the hub's depth grows with scale over {', '.join(self.models)}"


@dataclass(frozen=True, kw_only=True)
class HubEffectTrend(Criterion):
    """The top block's mean effect grows or falls along `models`, given in order of scale.

    Judged in `joint.py`.
    """

    models: tuple[str, ...]
    direction: Literal["increasing", "decreasing"]

    def __str__(self) -> str:
        return f"the top block's mean kl_nats is {self.direction} with scale over {', '.join(self.models)}"


@dataclass(frozen=True, kw_only=True)
class ProfilesDiffer(Criterion):
    """Two models' profiles, as shares of their top over relative depth, differ by more than prompt noise.

    The distance is the mean over depth of |difference|. Judged in `joint.py`.
    """

    model_a: str
    model_b: str
    tolerance: float = 0.1

    def __str__(self) -> str:
        return (
            f"the profiles of {self.model_a} and {self.model_b} over relative depth, each "
            "divided by its top, "
            f"differ by more than {self.tolerance:.0%} on average"
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some probes of an experiment taken as one number: the strongest mean effect among them, or their sum."""

    experiment: str
    select: Selector
    take: Literal["strongest", "sum"] = "strongest"

    def __str__(self) -> str:
        return f"the {self.take} of: {self.select} ({self.experiment})"


@dataclass(frozen=True, kw_only=True)
class EffectRatio(Criterion):
    """A part's effect in `model_b` over that in `model_a` lies within these bounds. Judged in `joint_parts.py`.

    `part_a` is what is taken of `model_a`, where that was something else: as published, not as it should be.
    """

    model_a: str
    model_b: str
    part: Part
    at_least: float
    part_a: Part | None = None
    at_most: float = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.at_least < self.at_most:
            raise ValueError(
                f"EffectRatio from {self.at_least} to {self.at_most}: bounds ascend from above 0"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return tuple(dict.fromkeys(part.experiment for part in (self.part, self.part_a or self.part)))

    def __str__(self) -> str:
        most = "" if self.at_most == float("inf") else f" and at most {format_number(self.at_most)}"
        return (
            f"{self.part} in {self.model_b} is at least {format_number(self.at_least)}{most} times "
            f"{self.part_a or 'that'} in {self.model_a}"
        )


@dataclass(frozen=True, kw_only=True)
class ShareChange(Criterion):
    """One part over another is at least `factor` times as large in `model_b` as in `model_a`.

    Judged in `joint_parts.py`. A share that falls is one that rises from `model_b` to `model_a`.
    """

    model_a: str
    model_b: str
    part: Part
    whole: Part
    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 1.0:
            raise ValueError(
                f"ShareChange by {self.factor}: a factor of 1 or more; exchange the models instead"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return tuple(dict.fromkeys((self.part.experiment, self.whole.experiment)))

    def __str__(self) -> str:
        return (
            f"{self.part}, as a share of {self.whole}, is at least {self.factor:g} times as large in {self.model_b} "
            f"as in {self.model_a}"
        )
