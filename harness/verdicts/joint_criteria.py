"""Criteria that compare models. Judged in `joint.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.verdicts.criterion import SEPARATION_ALPHA, Criterion


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
