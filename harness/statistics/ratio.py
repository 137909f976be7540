"""Intervals of a ratio of two means: Fieller's set (1954), by the studentized bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.ends import LEAST_SIZE, bisect_end
from harness.statistics.estimate import ALPHA

HALVINGS = 40
DOUBLINGS = 40
PRECISION = 1e-5
"""Of an end, as a share of it."""
FIRST_STEP = LEAST_SIZE
"""Of the size of the ratio; DOUBLINGS of it reach a thousand million times that size."""


def ratio_interval(
    clusters: Clusters,
    part: Float[np.ndarray, " prompts"],
    whole: Float[np.ndarray, " prompts"],
    *,
    at: float,
) -> tuple[float, float]:
    """The ratios t for which the mean of part - t x whole is not told from 0, at CONFIDENCE.

    The test is that of `sample`, and `at`, a ratio that is decided about, is left out exactly where it tells that one
    from 0; a verdict on the worst of several ratios asks more than this interval of one of them. The mean of whole is
    above 0, so that a ratio that is too low stands for all below it: each end is the nearest to the observed ratio.
    Where the mean of whole is not told from 0, an end may be infinite. Raises ValueError where its observed mean is not
    above 0.
    """
    means = sample(clusters, np.stack([part, whole]), "").value
    if not means[1] > 0.0:
        raise ValueError(f"a ratio to a mean of {means[1]}: it is to be above 0")
    value = float(means[0] / means[1])

    def difference_side(t: float, sign: float) -> bool:
        found = sample(clusters, sign * (part - t * whole)[None], "")
        return 2 * found.p_above(0, 0.0) <= ALPHA

    low = -_end(lambda t: difference_side(-t, 1.0), -value, -at)
    high = _end(lambda t: difference_side(t, -1.0), value, at)
    return low, high


def _end(rejected: Callable[[float], bool], value: float, at: float) -> float:
    """The upper end of what is not rejected, from `value` on; infinite where nothing is."""
    inside, outside = value, None
    if at > value:
        if rejected(at):
            outside = at
        else:
            inside = at
    step = FIRST_STEP * max(abs(value), abs(at), FIRST_STEP)
    for _ in range(DOUBLINGS):
        if outside is not None:
            break
        if rejected(inside + step):
            outside = inside + step
        else:
            inside, step = inside + step, 2 * step
    if outside is None:
        return float("inf")
    return bisect_end(rejected, inside, outside, halvings=HALVINGS, precision=PRECISION)
