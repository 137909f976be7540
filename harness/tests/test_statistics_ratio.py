"""The interval of a ratio of means: Fieller's in closed form, its decisions, its coverage, and where it has no end."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics import ratio
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA
from harness.statistics.ratio import ratio_interval


def clusters(n: int) -> Clusters:
    return Clusters(tuple(("a", f"t{i}") for i in range(n)))


def drawn(n: int, seed: int, *, whole: float = 2.0, ratio: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """A part and a whole of n templates, with one common deviation and one of the part's own."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    return ratio * whole + 0.5 * common + rng.standard_normal(n), whole + common


def fieller(part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Roots in t of mean(part - t whole)^2 = q^2 var(part - t whole) / n, with Student's quantile q."""
    n = len(part)
    q = stats.t.ppf(1 - ALPHA / 2, n - 1)
    (vp, cov), (_, vw) = np.cov(part, whole) * q**2 / n
    p, w = part.mean(), whole.mean()
    low, high = np.sort(np.roots([w**2 - vw, -2 * (p * w - cov), p**2 - vp]))
    return float(low), float(high)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_many_normal_templates_it_is_fiellers(seed: int) -> None:
    part, whole = drawn(400, seed)
    low, high = fieller(part, whole)
    found = ratio_interval(clusters(400), part, whole, at=0.5)
    assert found == pytest.approx((low, high), abs=0.06 * (high - low))


def test_where_the_whole_varies_much_it_is_no_symmetric_interval() -> None:
    """A mean of 2 with a standard error of 0.5: the high end lies further from the ratio, as Fieller's does."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal(200)
    whole = 2.0 + 0.5 * np.sqrt(200) * (whole - whole.mean()) / whole.std(ddof=1)
    part = 1.4 + rng.standard_normal(200)
    low, high = fieller(part, whole)
    found = ratio_interval(clusters(200), part, whole, at=0.7)
    value = part.mean() / whole.mean()
    assert high - value > 1.5 * (value - low)
    assert found == pytest.approx((low, high), rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_it_leaves_out_a_ratio_exactly_where_that_is_decided(seed: int) -> None:
    part, whole = drawn(15, seed, whole=1.2)
    of = clusters(15)
    ends = ratio_interval(of, part, whole, at=0.7)
    near = [end * (1 + off) for end in ends for off in (-0.1, -1e-3, 1e-3, 0.1)]
    decided = []
    for at in near:
        excess = sample(of, (part - at * whole)[None], "")
        above, below = 2 * excess.p_above(0, 0.0) <= ALPHA, 2 * excess.p_below(0, 0.0) <= ALPHA
        low, high = ratio_interval(of, part, whole, at=at)
        assert (low > at, high < at) == (above, below)
        decided.append(above or below)
    assert {True, False} == set(decided)


def test_it_covers_the_ratio() -> None:
    """Of 100 at 98%, with 12 templates: Student's is exact here, and 6 misses would be one in 200."""
    misses = 0
    for seed in range(100):
        part, whole = drawn(12, seed, whole=2.0)
        low, high = ratio_interval(clusters(12), part, whole, at=0.5)
        misses += not low <= 0.7 <= high
    assert misses <= 6


def test_a_whole_that_is_not_told_from_0_has_no_bounded_ratio() -> None:
    rng = np.random.default_rng(3)
    part, whole = 0.05 + rng.standard_normal(20), rng.standard_normal(20)
    whole += 0.2 - whole.mean()
    assert ratio_interval(clusters(20), part, whole, at=1.0) == (-np.inf, np.inf)
    with pytest.raises(ValueError, match="above 0"):
        ratio_interval(clusters(20), part, -whole, at=1.0)


def test_numbers_without_noise_have_an_exact_ratio() -> None:
    whole = np.linspace(1.0, 3.0, 8)
    low, high = ratio_interval(clusters(8), 0.4 * whole, whole, at=1.0)
    assert (low, high) == pytest.approx((0.4, 0.4), abs=1e-4)


def test_a_ratio_in_other_units_has_the_same_interval() -> None:
    """A power of two rounds nothing: the same ends to the last bit, and as precise where the ratio is small."""
    part, whole = drawn(15, 1)
    ends = ratio_interval(clusters(15), part, whole, at=0.5)
    in_others = ratio_interval(clusters(15), part, 64 * whole, at=0.5 / 64)
    assert tuple(64 * end for end in in_others) == ends


@pytest.mark.parametrize(
    ("middle", "width", "at"), [(0.0, 1.0, 0.0), (0.0, 2e7, 1e7), (0.0, 2e7, -1e7), (1e7, 2e6, 0.0)]
)
def test_ends_far_from_0_are_found(middle: float, width: float, at: float) -> None:
    """Without noise of the whole it is the interval of the part's mean, whatever is decided about."""
    deviation = np.array([-1.0, 1.0] * 20)
    low, high = ratio_interval(clusters(40), middle + width * deviation, np.ones(40), at=at)
    error = width * deviation.std(ddof=1) / np.sqrt(40)
    q = stats.t.ppf(1 - ALPHA / 2, 39)
    assert (low, high) == pytest.approx((middle - q * error, middle + q * error), abs=0.15 * error)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_ratio_that_is_left_out_is_not_stepped_over(sign: float) -> None:
    """The part lies 1 below (above) 8 times the whole on every template: 8 is left out, and far beyond it nothing is.

    The whole's mean, 0.3 with a standard error of 1, is not told from 0; what is left out about 8 is narrow beside its
    distance from the ratio of 8 - 1 / 0.3.
    """
    deviation = np.random.default_rng(0).standard_normal(40)
    whole = 0.3 + np.sqrt(40) * (deviation - deviation.mean()) / deviation.std(ddof=1)
    part = sign * (8.0 * whole - 1.0)
    low, high = ratio_interval(clusters(40), part, whole, at=sign * 8.0)
    if sign > 0:
        assert low == -np.inf
        assert 4.7 < high < 8.0
    else:
        assert -8.0 < low < -4.7
        assert high == np.inf


def test_a_whole_of_nothing_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="above 0"):
        ratio_interval(clusters(8), np.ones(8), np.zeros(8), at=1.0)


def test_an_end_is_sought_no_closer_than_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten doublings at most from a thousandth on, and 17 halvings to a hundred-thousandth, for either end."""
    part, whole = drawn(15, 1)
    asked = []

    def noted(*given: object) -> object:
        asked.append(given)
        return sample(*given)

    monkeypatch.setattr(ratio, "sample", noted)
    ratio_interval(clusters(15), part, whole, at=0.5)
    assert 2 * 10 < len(asked) <= 1 + 2 * (1 + 10 + 17)
