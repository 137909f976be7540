"""The truth about a claim: on which side of its threshold the population lies, and how far.

`size` is 1 at the threshold, above 1 where the claim is true, below 1 where it is false:

    at least b          mean / b                (1 - b) / (1 - mean) where b is a share above a half
    at most b           b / mean                (1 - mean) / (1 - b) where b is a share above a half
    every probe         the smallest of the probes' sizes; some probe: the largest
    the hub             the smaller of lead / min_lead and effect / min_effect; 0 for a block that is not on top
    an identity         limit / largest value
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from harness.effects import Effects
from harness.statistics.estimate import BOUNDED
from harness.verdicts.criteria import EveryProbe, HubIs, SingleCriterion, SomeProbe, WorstCase
from harness.verdicts.reading import measured

HALF = 0.5


def size(
    criterion: SingleCriterion,
    population: Mapping[str, Effects],
    weights: Float[np.ndarray, " prompts"],
    n_layers: int,
) -> float:
    """How far the population lies on the criterion's side; `weights` are the prompts', summing to 1.

    Raises TypeError for a criterion whose truth is not defined here.
    """
    view = measured(population, n_layers)
    match criterion:
        case HubIs():
            return hub_size(criterion, view.profile.values @ weights)
        case EveryProbe() | SomeProbe():
            means = view.rows(criterion.experiment, criterion.select, criterion.metric).values @ weights
            sizes = [bound_size(criterion, float(mean)) for mean in means]
            return min(sizes) if isinstance(criterion, EveryProbe) else max(sizes)
        case WorstCase():
            rows = view.rows(criterion.experiment, criterion.select, criterion.metric)
            return _ratio(criterion.at_most, float(np.abs(rows.values).max()))
    raise TypeError(f"no truth is defined for {type(criterion).__name__}: teach harness/calibration/truth.py")


def bound_size(criterion: EveryProbe | SomeProbe, mean: float) -> float:
    """The size of one probe's population mean: 1 at the bound, 0 where it lies on the other side of no effect.

    Raises TypeError for a bound that is not above 0: of it, nothing is so many times as large.
    """
    bound = criterion.at_least if criterion.at_least is not None else criterion.at_most
    assert bound is not None
    if bound <= 0.0:
        raise TypeError(f"no truth is defined for a bound of {bound:g}: teach harness/calibration/truth.py")
    if criterion.at_least is not None:
        if criterion.metric in BOUNDED and criterion.at_least > HALF:
            return _ratio(1.0 - criterion.at_least, 1.0 - mean)
        return max(0.0, mean / criterion.at_least)
    assert criterion.at_most is not None
    if criterion.metric in BOUNDED and criterion.at_most > HALF:
        return (1.0 - mean) / (1.0 - criterion.at_most)
    return _ratio(criterion.at_most, mean)


def hub_size(criterion: HubIs, means: Float[np.ndarray, " layers"]) -> float:
    """The size of a hub claim for the population's mean effect of each block."""
    layer = int(means.argmax()) if criterion.layer is None else criterion.layer
    own, second = float(means[layer]), float(np.delete(means, layer).max())
    if own <= 0.0:
        return 0.0
    return max(0.0, min((own - second) / own / criterion.min_lead, own / criterion.min_effect_nats))


def _ratio(limit: float, value: float) -> float:
    return limit / value if value > 0.0 else math.inf
