"""Spearman's correlation, row by row, is scipy's; and what has no ranks has no correlation."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from harness.statistics.ranks import ranks_of, spearman


@pytest.mark.parametrize("columns", [2, 9, 30])
def test_spearman_is_scipys_row_by_row(columns):
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 6, columns))
    if columns > 4:
        one[:, 3] = one[:, 4]  # ties
    expected = [spearmanr(a, b).statistic for a, b in zip(one, two, strict=True)]
    assert spearman(one, two) == pytest.approx(expected)


def test_what_agrees_to_the_decimals_asked_for_ties():
    one, two = np.array([[0.501, 0.499, 0.9, 0.1]]), np.array([[1.0, 2.0, 3.0, 0.0]])
    tied = spearmanr([0.5, 0.5, 0.9, 0.1], two[0]).statistic
    assert spearman(one, two, decimals=2) == pytest.approx([tied])
    assert spearman(one, two, decimals=3) == pytest.approx([spearmanr(one[0], two[0]).statistic])
    assert spearman(one, two)[0] < tied


@pytest.mark.filterwarnings("error")
def test_a_row_without_ranks_has_no_correlation():
    found = spearman(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 3.0]] * 2))
    assert np.isnan(found[0])
    assert found[1] == 1.0


@pytest.mark.parametrize("columns", [1, 2, 9, 30])
def test_ranks_are_scipys_to_the_bit_ties_infinities_and_missing_numbers_among_them(columns):
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.standard_normal((40, columns)), rng.integers(0, 4, (40, columns))])
    rows[rng.random(rows.shape) < 0.02] = np.inf
    rows[rng.random(rows.shape) < 0.02] = -np.inf
    rows[rng.random(rows.shape) < 0.02] = np.nan
    np.testing.assert_array_equal(ranks_of(rows), rankdata(rows, axis=1))
    np.testing.assert_array_equal(ranks_of(rows[::2, ::-1]), rankdata(rows[::2, ::-1], axis=1))
