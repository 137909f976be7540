"""Spearman's correlation, row by row, is scipy's; and what has no ranks has no correlation."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from harness.statistics.ranks import spearman


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
