"""What resamples and their mirror images both say: by hand, on any scale, and where a resample has no value."""

from __future__ import annotations

import numpy as np
import pytest

from harness.statistics.bootstrap import percentile_interval
from harness.statistics.clusters import Clusters
from harness.verdicts.mirrored import Mirrored

SKEWED = Mirrored(value=0.5, draws=np.r_[np.linspace(0.1, 0.5, 900), np.linspace(0.5, 0.6, 99)])
"""The mirror images lie between 0.4 and 0.9."""
CLUSTERS = Clusters((("a", "one"), ("a", "one"), ("a", "two")))


def test_each_side_is_shown_by_the_one_that_says_less() -> None:
    """Above 0.3 lie all mirror images, and below it half of the resamples; below 0.7 the other way round."""
    below = int((SKEWED.draws < 0.3).sum())
    assert SKEWED.p_beyond(0.3, 1.0) == (below + 1) / 1000
    above = int((2 * 0.5 - SKEWED.draws > 0.7).sum())
    assert SKEWED.p_beyond(0.7, -1.0) == (above + 1) / 1000
    assert SKEWED.p_unless(lambda x: x < 0.7) == (above + 1) / 1000


@pytest.mark.parametrize(("strict", "p"), [(False, 1 / 100), (True, 1.0)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_edge_itself_is_on_both_sides_or_on_neither(*, strict: bool, p: float, sign: float) -> None:
    still = Mirrored(value=0.2, draws=np.full(99, 0.2 + 1e-12))
    assert still.p_beyond(0.2, sign, strict=strict) == p
    assert still.p_beyond(0.2 - sign * 1e-8, sign, strict=True) == 1 / 100
    assert still.p_beyond(0.2, sign) == 1 / 100, "on both unless it is asked to be strict"


def test_the_interval_holds_the_percentile_and_the_basic_one() -> None:
    low, high = percentile_interval(SKEWED.draws)
    assert SKEWED.interval() == (min(low, 1.0 - high), max(high, 1.0 - low)) == (low, 1.0 - low)
    estimate = SKEWED.estimate("of it", CLUSTERS)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, *SKEWED.interval())
    assert (estimate.unit, estimate.n_prompts, estimate.n_templates) == ("of it", 3, 2)


def test_a_resample_without_a_value_speaks_for_neither_and_lies_beyond_both_ends() -> None:
    few = Mirrored(value=0.0, draws=np.r_[np.full(3, np.nan), np.linspace(-0.5, 0.5, 996)])
    every = few.draws[3:]
    for sign in (1.0, -1.0):
        assert few.p_beyond(-sign, sign) == 4 / 1000
        assert few.p_unless(lambda x, sign=sign: sign * x > -1.0) == 4 / 1000
    ends = (
        percentile_interval(np.r_[np.full(3, -9.0), every])[0],
        percentile_interval(np.r_[np.full(3, 9.0), every])[1],
    )
    assert few.interval() == few.interval(without_value=np.inf) == pytest.approx(ends)
    many = Mirrored(value=0.2, draws=np.r_[np.full(20, np.nan), np.full(979, 0.2)])
    assert many.interval() == (-1.0, 1.0)
    assert (many.estimate("of it", CLUSTERS).low, many.estimate("of it", CLUSTERS).high) == (-1.0, 1.0)
    assert np.exp(many.interval(without_value=np.inf)).tolist() == [0.0, np.inf]
