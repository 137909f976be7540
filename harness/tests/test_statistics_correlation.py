"""Correlations over blocks and their permutation p-values, beside scipy, least squares and naive loops over orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.correlation import EXACT, PERMUTATIONS, correlations, permutation_p

ONE = np.array([0.1, 0.4, 0.2, 3.0, 0.9, 9.0])
TWO = np.array([1.0, 30.0, 2.0, 2.5, 4.0, 50.0])
DEPTH = np.array([1.0, 2.0, 4.0, 3.0, 20.0, 9.0])


def line_left(x, given):
    """What a straight line leaves of each row, by least squares."""
    n = x.shape[-1]
    basis = np.ones((n, 1)) if given is None else np.column_stack([np.ones(n), given])
    return x @ (np.eye(n) - basis @ np.linalg.pinv(basis))


def partial(one, two, given):
    a, b = line_left(one, given), line_left(two, given)
    return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def naive_p(one, two, *, ranks, given, orders):
    """Freedman and Lane: what `given` leaves of the second is exchanged, and the line taken off once more."""
    if ranks:
        one, two = stats.rankdata(one), stats.rankdata(two)
        given = None if given is None else stats.rankdata(given)
    left = line_left(two, given)
    null = partial(one, np.array([left[list(order)] for order in orders]), given)
    return int((null >= partial(one, two, given) - 1e-9).sum()), len(null)


@pytest.mark.parametrize("n", [3, 6, 9])
@pytest.mark.filterwarnings("error")
def test_correlations_are_scipys_row_by_row(n):
    rng = np.random.default_rng(n)
    one, two = rng.lognormal(0, 2, (2, 4, n))
    pearson = [stats.pearsonr(a, b).statistic for a, b in zip(one, two, strict=True)]
    ranked = [stats.spearmanr(a, b).statistic for a, b in zip(one, two, strict=True)]
    assert correlations(one, two) == pytest.approx(pearson)
    assert correlations(one, two, ranks=True) == pytest.approx(ranked)
    assert np.abs(np.subtract(pearson, ranked)).min() > 1e-3


@pytest.mark.filterwarnings("error")
def test_partial_correlations_take_a_line_off_both():
    one, two = np.stack([ONE, TWO, DEPTH**2]), np.stack([TWO, DEPTH**3, ONE])
    expected = [partial(a, b, DEPTH) for a, b in zip(one, two, strict=True)]
    assert correlations(one, two, given=DEPTH) == pytest.approx(expected)
    rank = stats.rankdata
    expected = [partial(rank(a), rank(b), rank(DEPTH)) for a, b in ((ONE, TWO), (TWO, ONE))]
    both = np.stack([ONE, TWO])
    assert correlations(both, both[::-1], ranks=True, given=DEPTH) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_what_is_constant_or_wholly_on_the_line_has_no_correlation(scale):
    """A tenth repeated has a mean that is no tenth, by rounding; its residual is rounding and no number."""
    flat, line = np.full(6, 0.1), 0.3 + 0.7 * DEPTH
    for one, two in ((flat, ONE), (ONE, flat), (flat, flat)):
        for given in ({}, {"ranks": True}, {"given": DEPTH}):
            found = correlations(scale * one[None], scale * two[None], **given)
            assert np.isnan(found).tolist() == [True]
    assert np.isnan(correlations(scale * line[None], scale * ONE[None], given=DEPTH))[0]
    assert np.isfinite(correlations(scale * line[None], scale * ONE[None]))[0]
    rng = np.random.default_rng(1)
    assert np.isnan(permutation_p(line, ONE, rng, given=DEPTH))
    assert np.isnan(permutation_p(ONE, flat, rng))
    assert np.isnan(permutation_p(np.full(9, 0.1), np.arange(9.0), rng))


@pytest.mark.filterwarnings("error")
def test_each_row_is_weighed_by_itself():
    """Rows of any size side by side, one constant: each as if it were alone."""
    rows = np.stack([ONE, np.full(6, -0.1), 1e-12 * ONE, -1e12 * ONE, TWO])
    for given in ({}, {"ranks": True}, {"given": DEPTH}):
        found = correlations(rows, np.stack([TWO] * 5), **given)
        alone = correlations(ONE[None], TWO[None], **given)[0]
        assert found == pytest.approx([alone, np.nan, alone, -alone, 1.0], nan_ok=True)


def test_short_floats_are_worked_on_as_long_ones():
    """Seven float32 tenths have a mean that is off by rounding: as long numbers they are equal."""
    one, two = ONE.astype(np.float32), TWO.astype(np.float32)
    long = correlations(one[None].astype(float), two[None].astype(float))
    assert correlations(one[None], two[None]) == pytest.approx(long, rel=1e-14)
    flat = np.full((1, 7), 0.1, dtype=np.float32)
    assert flat.mean() != flat[0, 0]
    assert np.isnan(correlations(flat, np.arange(7.0)[None]))[0]


@pytest.mark.parametrize(("share", "gone"), [(0.9e-9, True), (1.1e-9, False)])
def test_a_residual_below_a_billionth_of_the_numbers_is_rounding(share, gone):
    """Ones that differ by +-d: the residual is d of the root mean square 1."""
    x = 1.0 + share * np.array([1.0, -1.0, 1.0, -1.0])
    found = correlations(x[None], np.array([[1.0, 0.0, 1.0, 0.0]]))
    assert np.isnan(found).tolist() == [gone]


def test_a_correlation_is_at_most_1():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2_000, 7))
    assert correlations(rows, 3 * rows).max() <= 1.0
    assert correlations(rows, -3 * rows).min() >= -1.0
    assert correlations(rows, 3 * rows).min() == pytest.approx(1.0)
    assert correlations(rows, -3 * rows).max() == pytest.approx(-1.0)


@pytest.mark.parametrize("given", [None, DEPTH], ids=["plain", "partial"])
@pytest.mark.parametrize("ranks", [False, True], ids=["pearson", "spearman"])
@pytest.mark.parametrize(("one", "two"), [(ONE, TWO), (TWO, ONE), (ONE, TWO[::-1])])
def test_up_to_seven_blocks_every_order_is_tried(one, two, ranks, given):
    hits, n = naive_p(one, two, ranks=ranks, given=given, orders=permutations(range(6)))
    found = permutation_p(one, two, np.random.default_rng(0), ranks=ranks, given=given)
    assert n == 720
    assert found == pytest.approx(hits / n, abs=1e-12)


def test_ties_with_the_observed_order_count():
    """One of seven stands out in both: a seventh of all orders keeps it there, each exactly as far."""
    one, two = np.eye(7)[6], np.eye(7)[6]
    assert permutation_p(one, two, np.random.default_rng(0)) == pytest.approx(1 / 7, abs=1e-12)
    assert permutation_p(one, two[::-1], np.random.default_rng(0)) == 1.0


@pytest.mark.parametrize("n", [EXACT, EXACT + 1, EXACT + 4])
def test_beyond_seven_blocks_orders_are_drawn_and_the_observed_one_is_counted(n):
    """No order but the observed one is as good: one of all, or one of those drawn and itself."""
    x = np.arange(n, dtype=float)
    found = permutation_p(x, 2 * x, np.random.default_rng(3))
    if n == EXACT:
        assert found == pytest.approx(1 / 5040, rel=1e-12)
    else:
        assert found == pytest.approx(1 / (PERMUTATIONS + 1), rel=1e-12)
    assert permutation_p(x, -x, np.random.default_rng(3)) == pytest.approx(1.0, rel=1e-12)


def test_drawn_orders_exchange_blocks_and_repeat_none():
    """One of eight stands out in both; drawn with replacement, it would stand there alone 1 time in 20."""
    x = np.eye(8)[3]
    assert permutation_p(x, x, np.random.default_rng(4)) == pytest.approx(1 / 8, abs=0.015)


@pytest.mark.parametrize("given", [None, np.arange(9.0) ** 2], ids=["plain", "partial"])
@pytest.mark.parametrize("ranks", [False, True], ids=["pearson", "spearman"])
def test_drawn_orders_are_those_of_the_generator(ranks, given):
    rng = np.random.default_rng(5)
    one, two = rng.lognormal(0, 1, (2, 9))
    two += 0.5 * one
    orders = np.random.default_rng(6).permuted(np.tile(np.arange(9), (PERMUTATIONS, 1)), axis=1)
    hits, n = naive_p(one, two, ranks=ranks, given=given, orders=orders[:500])
    found = permutation_p(one, two, np.random.default_rng(6), ranks=ranks, given=given)
    assert found == pytest.approx(hits / n, abs=4 * np.sqrt(hits / n * (1 - hits / n) / n))
    assert 0.0 < found < 1.0
