"""Paired tests: equal to scipy's, of the nominal level, and defined where data are constant."""

import numpy as np
import pytest
from scipy import stats

from harness.statistics.clusters import Clusters
from harness.statistics.paired import partial_conjunction_p, sign_flip, within_family_p
from harness.statistics.profile import degeneracy, least_tau


def families(*sizes: int) -> Clusters:
    return Clusters(tuple((f"f{f}", f"t{t}") for f, n in enumerate(sizes) for t in range(n)))


def permutation_p(d: np.ndarray, weights: np.ndarray, resamples: float) -> float:
    def statistic(x, y, axis=-1):
        return ((x - y) * weights).sum(axis=axis)

    zeros = np.zeros_like(d)
    result = stats.permutation_test(
        (d, zeros),
        statistic,
        permutation_type="samples",
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def test_exact_sign_flip_equals_scipy():
    rng = np.random.default_rng(1)
    d, weights = rng.normal(0.4, 1, (3, 9)), rng.random(9)
    ours = sign_flip(d, weights, rng)
    assert ours.p.tolist() == pytest.approx([permutation_p(row, weights, np.inf) for row in d], abs=1e-12)
    assert ours.statistic.tolist() == pytest.approx((d @ weights).tolist())


@pytest.mark.parametrize(("flips", "exact"), [(511, True), (510, False), (512, True)])
def test_every_pattern_is_tried_where_no_more_flips_would_be_drawn(flips, exact):
    """Nine templates have 512 sign patterns, the observed one among them."""
    rng = np.random.default_rng(1)
    d, weights = rng.normal(0.4, 1, (3, 9)), rng.random(9)
    p = sign_flip(d, weights, rng, flips=flips).p
    reference = [permutation_p(row, weights, np.inf) for row in d]
    assert (p.tolist() == pytest.approx(reference, abs=1e-12)) == exact


def test_sampled_sign_flip_agrees_with_scipy():
    rng = np.random.default_rng(2)
    d, weights = rng.normal(0.35, 1, (2, 40)), np.full(40, 1 / 40)
    ours = sign_flip(d, weights, rng)
    for p, row in zip(ours.p, d, strict=True):
        reference = permutation_p(row, weights, 9_999)
        assert p == pytest.approx(reference, abs=4 * np.sqrt(reference / 9_999) + 1e-3)


def test_sign_flip_holds_its_level_and_the_correction_that_of_the_whole():
    rng = np.random.default_rng(3)
    single, family_wise = [], []
    for _ in range(400):
        result = sign_flip(rng.standard_normal((10, 30)), np.full(30, 1 / 30), rng, flips=499)
        single.append(result.p[0] <= 0.05)
        family_wise.append(result.p_adjusted.min() <= 0.05)
        assert (result.p_adjusted >= result.p - 1e-12).all()
    assert 0.025 <= np.mean(single) <= 0.08
    assert 0.02 <= np.mean(family_wise) <= 0.085


def test_sign_flip_finds_a_difference_hidden_by_what_both_share():
    """Paired: a shift of 0.1 under a spread of 10 that both layers have in common."""
    rng = np.random.default_rng(4)
    shared = rng.normal(0, 10, 40)
    one, two = shared + 0.1 + rng.normal(0, 0.05, 40), shared
    assert sign_flip((one - two)[None], np.full(40, 1 / 40), rng).p[0] < 0.001
    assert stats.ttest_ind(one, two).pvalue > 0.5


def test_the_least_p_value_of_drawn_flips_is_one_over_their_number_and_the_data():
    result = sign_flip(np.full((2, 40), 1.0), np.full(40, 1 / 40), np.random.default_rng(5), flips=999)
    assert result.p.tolist() == [1 / 1000] * 2
    assert result.p_adjusted.tolist() == [1 / 1000] * 2


def test_no_difference_at_all_has_p_one():
    result = sign_flip(np.zeros((2, 30)), np.full(30, 1 / 30), np.random.default_rng(5))
    assert result.p.tolist() == [1.0, 1.0]
    assert result.p_adjusted.tolist() == [1.0, 1.0]


def test_within_family_equals_the_t_test():
    rng = np.random.default_rng(6)
    d = rng.normal(0.5, 1, (4, 11))
    p = within_family_p(d, families(5, 6))
    assert p.shape == (4, 2)
    for k in range(4):
        assert p[k, 0] == pytest.approx(stats.ttest_rel(d[k, :5], np.zeros(5), alternative="greater").pvalue)
        assert p[k, 1] == pytest.approx(stats.ttest_rel(d[k, 5:], np.zeros(6), alternative="greater").pvalue)


def test_within_family_is_defined_without_spread():
    p = within_family_p(np.array([[0.5] * 5 + [2.0], [-0.5] * 5 + [2.0], [0.0] * 5 + [2.0]]), families(5, 1))
    assert p[:, 0].tolist() == [0.5**5, 1.0, 1.0]
    assert p[:, 1].tolist() == [1.0, 1.0, 1.0]  # one template shows nothing


def test_within_family_needs_two_templates_and_no_more_and_looks_at_every_family():
    """A family of one template shows nothing; those before and after it are tested all the same."""
    rng = np.random.default_rng(9)
    d = rng.normal(2.0, 1, (3, 6))
    p = within_family_p(d, families(2, 1, 3))
    assert p[:, 1].tolist() == [1.0] * 3
    for f, columns in ((0, slice(0, 2)), (2, slice(3, 6))):
        expected = stats.ttest_1samp(d[:, columns], 0, axis=1, alternative="greater").pvalue
        assert p[:, f].tolist() == pytest.approx(expected.tolist())


def test_a_partial_conjunction_is_no_more_than_certain():
    assert partial_conjunction_p(np.array([0.9, 0.8, 0.7]), 1) == 1.0
    assert partial_conjunction_p(np.array([0.9, 0.8, 0.7]), 3) == 0.9


def test_partial_conjunction_counts():
    p = np.array([0.001, 0.2, 0.004, 0.9])
    assert partial_conjunction_p(p, 1) == pytest.approx(4 * 0.001)  # Bonferroni
    assert partial_conjunction_p(p, 2) == pytest.approx(3 * 0.004)
    assert partial_conjunction_p(p, 4) == pytest.approx(0.9)  # intersection-union
    assert partial_conjunction_p(p, 0) == 0.0
    assert partial_conjunction_p(p, 5) == 1.0


def test_partial_conjunction_holds_its_level_at_the_boundary():
    """One alternative certain, three at the null: 'at least 2' is claimed in at most 5% of cases."""
    rng = np.random.default_rng(7)
    claimed = [partial_conjunction_p(np.append(rng.random(3), 0.0), 2) <= 0.05 for _ in range(2_000)]
    assert np.mean(claimed) <= 0.065


@pytest.mark.parametrize(
    ("spread", "level", "degenerate"),
    [
        (0.0009, 1.0, True),
        (0.0011, 1.0, False),
        (0.0009, 10.0, True),
        (0.0015, 20.0, True),
        (0.0025, 20.0, False),
    ],
)
def test_a_profile_is_degenerate_up_to_a_thousandth_of_a_nat_or_a_ten_thousandth(spread, level, degenerate):
    means = np.full(10, level)
    means[3] += spread
    values = means[:, None] + np.linspace(0, 1, 7)
    assert (degeneracy(values, means) is not None) is degenerate


def test_layers_equal_to_the_bit_are_degenerate_whatever_their_size():
    values = np.repeat(np.random.default_rng(8).random((1, 6)) * 1e6, 5, axis=0)
    assert "equal to the bit" in str(degeneracy(values, values.mean(axis=1)))


def test_a_nan_profile_never_passes_for_one_with_a_shape():
    assert degeneracy(np.array([[1.0], [np.nan]]), np.array([1.0, np.nan])) is not None


def test_least_tau_is_the_worst_pair():
    same, swapped = np.arange(5.0), np.array([1.0, 0.0, 2.0, 3.0, 4.0])
    assert least_tau(np.array([same, same])) == pytest.approx(1.0)
    assert least_tau(np.array([same, same, swapped])) == pytest.approx(0.8)  # one of ten pairs turned round
