"""Statements about families: just inside, just outside, undecided, and true of noise alone."""

import numpy as np
import pytest

from harness.edits import skip
from harness.verdicts.criteria import FamilyExtremes, SubsetHubShare, TopInFamilies
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import profile, table
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)


def on_top_in(n, margin=0.5):
    """Three layers, twelve families: L1 is the strongest in the first n, L2 in the others."""
    means = np.full((3, 12), 1.0)
    means[1, :n] += margin
    means[2, n:] += margin
    return means


@pytest.mark.parametrize(("n", "verdict"), [(10, SUPPORTED), (12, SUPPORTED), (9, REFUTED), (0, REFUTED)])
def test_top_in_families_counts_at_its_boundary(n, verdict):
    criterion = TopInFamilies(layer=1, at_least=10, rationale="a test")
    finding = judge_criterion(criterion, measured(profile(on_top_in(n), noise=0.01)))
    assert finding.verdict is verdict, finding.sentence
    assert f"L1 is on top in {n} of 12 families" in finding.sentence


@pytest.mark.parametrize(("n", "at_least"), [(12, 10), (6, 10)])
def test_families_that_noise_does_not_separate_are_inconclusive(n, at_least):
    criterion = TopInFamilies(layer=1, at_least=at_least, rationale="a test")
    finding = judge_criterion(criterion, measured(profile(on_top_in(n), noise=1.0)))
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_three_tied_families_are_not_won_by_looking():
    """True in 9 of 12, three at a tie: a count of 10 or more is often observed, and rarely supported."""
    means = on_top_in(9)
    means[2, 9:] = 1.0
    means[0] = 0.5
    criterion = TopInFamilies(layer=1, at_least=10, rationale="a test")
    found, observed = [], 0
    for seed in range(80):
        view = measured(profile(means, noise=0.05, seed=seed))
        found.append(judge_criterion(criterion, view).verdict)
        family_means = view.profile.clusters.family_means(view.profile.template_means)
        observed += (family_means.argmax(axis=0) == 1).sum() >= 10
    assert observed >= 50
    assert found.count(SUPPORTED) <= 8
    assert found.count(REFUTED) <= 4


def test_twenty_tied_layers_refute_no_layer_by_looking():
    """Over 19 rivals and 12 families some t-test is always significant; the correction is over both."""
    criterion = TopInFamilies(layer=1, at_least=12, rationale="a test")
    views = [measured(profile(np.ones(20), noise=0.3, seed=seed)) for seed in range(40)]
    assert [judge_criterion(criterion, view).verdict for view in views].count(REFUTED) <= 4


def extremes(**more):
    return FamilyExtremes(layer=1, rationale="a test", **more)


@pytest.mark.parametrize(
    ("arithmetic", "copying", "verdict"),
    [(1.502, 0.998, SUPPORTED), (1.498, 0.998, REFUTED), (1.502, 1.002, REFUTED), (1.5, 0.998, INCONCLUSIVE)],
)
def test_family_extremes_at_its_boundaries(arithmetic, copying, verdict):
    names = ("arithmetic", "code", "copying", "json", "recall")
    means = np.ones((2, 5))
    means[1] = [
        arithmetic,
        1.5,
        copying,
        1.0,
        9.0,
    ]  # code is the rival of the top two, json that of the bottom
    effects = table([skip(0), skip(1)], {"kl_nats": means}, families=names)
    criterion = extremes(top=("recall", "arithmetic"), bottom=("copying",))
    finding = judge_criterion(criterion, measured({"layer_sweep": effects}))
    assert finding.verdict is verdict, finding.sentence


def test_family_extremes_are_each_separated_or_undecided():
    """Recall is far above json; arithmetic lies above json by no more than noise."""
    means = np.array([[1.0, 1.0, 1.0], [2.0, 1.5, 9.0]])
    effects = table(
        [skip(0), skip(1)], {"kl_nats": means}, noise=0.8, families=("arithmetic", "json", "recall")
    )
    view = measured({"layer_sweep": effects})
    own = view.profile.clusters.family_means(view.profile.template_means)[1]
    assert own[0] > own[1]
    finding = judge_criterion(extremes(top=("recall", "arithmetic"), bottom=()), view)
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_family_extremes_names_families_that_were_measured_and_no_family_twice():
    two = table([skip(0), skip(1)], {"kl_nats": [1.0, 2.0]}, families=("code", "json"))
    said = "^no prompt of the families poetry, prose was measured .code, json were.$"
    with pytest.raises(MissingEvidence, match=said):
        judge_criterion(extremes(top=("poetry", "code"), bottom=("prose",)), measured({"layer_sweep": two}))
    said = "^FamilyExtremes: name families in top or bottom, and none in both$"
    with pytest.raises(ValueError, match=said):
        extremes(top=("a",), bottom=("a",))
    with pytest.raises(ValueError, match="name families"):
        extremes(top=(), bottom=())


def test_a_layer_that_ties_exactly_is_not_on_top():
    """Equal to the bit in two families, ahead in the third."""
    means = np.array([[1.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    view = measured(profile(means, noise=0.0))
    finding = judge_criterion(TopInFamilies(layer=1, at_least=2, rationale="r"), view)
    assert finding.sentence.startswith("L1 is on top in 1 of 3 families")


def test_a_subset_that_ties_exactly_is_not_turned():
    view = measured(profile(fickle(1.0), noise=0.0))
    finding = judge_criterion(SubsetHubShare(subset_size=2, at_least=0.2, rationale="r"), view)
    assert finding.verdict is REFUTED
    assert (finding.estimate.low, finding.estimate.value, finding.estimate.high) == (0.0, 0.0, 0.0)


def test_families_that_do_not_differ_at_all_are_undecided():
    """Without any spread Welch's test has no answer: that is no evidence, and no p-value that is not a number."""
    effects = table(
        [skip(0), skip(1)], {"kl_nats": [[1.0, 1.0], [2.0, 2.0]]}, noise=0.0, families=("code", "json")
    )
    finding = judge_criterion(extremes(top=("code",), bottom=()), measured({"layer_sweep": effects}))
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)


def test_families_of_one_template_are_in_no_order_that_could_be_tested():
    effects = table(
        [skip(0), skip(1)], {"kl_nats": [[1.0, 1.0], [3.0, 2.0]]}, families=("code", "json"), templates=1
    )
    for top in ("code", "json"):
        finding = judge_criterion(extremes(top=(top,), bottom=()), measured({"layer_sweep": effects}))
        assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)


def fickle(strength, n_families=8):
    """L0 leads L1 by 1 in all families but one, where L1 leads by `strength`: that one may turn a pair."""
    means = np.ones((3, n_families))
    means[0] = 2.0
    means[1, 0] = 2.0 + strength
    return means


@pytest.mark.parametrize(
    ("strength", "at_least", "verdict"),
    [
        (0.99, 0.2, REFUTED),  # none of the 28 pairs is turned
        (1.01, 0.2, SUPPORTED),  # the seven pairs with that family are turned: a quarter
        (1.00, 0.2, INCONCLUSIVE),
        (1.01, 0.25, SUPPORTED),
        (1.01, 0.26, REFUTED),
    ],
)
def test_subset_share_at_its_boundary(strength, at_least, verdict):
    criterion = SubsetHubShare(subset_size=2, at_least=at_least, rationale="a test")
    finding = judge_criterion(criterion, measured(profile(fickle(strength), noise=1e-3)))
    assert finding.verdict is verdict, finding.sentence


def test_where_the_full_suite_has_no_hub_no_subset_misses_it():
    means = np.ones((3, 4))
    means[0, :2], means[1, 2:] = 2.0, 2.0
    criterion = SubsetHubShare(subset_size=2, at_least=0.1, rationale="a test")
    finding = judge_criterion(criterion, measured(profile(means, noise=0.05)))
    assert finding.verdict is INCONCLUSIVE, finding.sentence
    assert "no hub to miss" in finding.sentence


def test_a_subset_is_smaller_than_the_suite():
    with pytest.raises(MissingEvidence, match="subsets of 4 families"):
        judge_criterion(
            SubsetHubShare(subset_size=4, rationale="r"), measured(profile(fickle(0.5, n_families=4)))
        )


@pytest.mark.parametrize(
    "criterion",
    [
        TopInFamilies(layer=1, at_least=2, rationale="r"),
        extremes(top=("family00",), bottom=()),
        SubsetHubShare(subset_size=2, rationale="r"),
    ],
)
def test_a_flat_profile_has_no_families_to_count(criterion):
    flat = np.repeat(np.array([[1.0, 2.0, 3.0, 4.0]]), 3, axis=0)
    assert judge_criterion(criterion, measured(profile(flat, noise=0.0))).verdict is INVALID


def test_more_families_than_there_are_is_an_error():
    with pytest.raises(MissingEvidence, match="asks for 13 families"):
        judge_criterion(TopInFamilies(layer=0, at_least=13, rationale="r"), measured(profile(on_top_in(5))))
