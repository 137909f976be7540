"""The shape of a profile, and several models side by side: at their boundaries, in noise, and on nothing."""

import numpy as np
import pytest

from harness.effects import pool
from harness.verdicts.criteria import (
    Flat,
    HubDepthIncreases,
    HubEffectTrend,
    HubsAt,
    ProfilesDiffer,
    StableOverSeeds,
    TopSpread,
)
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import profile
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
NO_SHAPE = np.repeat(np.arange(1.0, 13.0)[None], 4, axis=0)


def find(criterion, means, noise=1e-4):
    return judge_criterion(criterion, measured(profile(means, noise=noise)))


@pytest.mark.parametrize(
    ("third", "noise", "verdict"),
    [
        (2.002, 1e-4, SUPPORTED),
        (1.998, 1e-4, REFUTED),
        (2.0, 1e-4, INCONCLUSIVE),
        (2.05, 0.5, INCONCLUSIVE),
        (1.9, 0.5, INCONCLUSIVE),
    ],
)
def test_top_spread_at_its_boundary(third, noise, verdict):
    finding = find(TopSpread(k=3, at_most_nats=1.0, rationale="r"), [1.0, 3.0, 2.5, third, 0.5], noise)
    assert finding.verdict is verdict, finding.sentence


@pytest.mark.parametrize(
    ("layer", "noise", "verdict"),
    [
        (1.249, 1e-4, SUPPORTED),
        (1.251, 1e-4, REFUTED),
        (0.751, 1e-4, SUPPORTED),
        (0.749, 1e-4, REFUTED),
        (1.25, 1e-4, INCONCLUSIVE),
        (1.2, 0.5, INCONCLUSIVE),
        (1.3, 0.5, INCONCLUSIVE),
    ],
)
def test_flat_at_its_boundaries(layer, noise, verdict):
    finding = find(Flat(tolerance=0.25, rationale="r"), [1.0, 1.0, layer, 1.0, 1.0], noise)
    assert finding.verdict is verdict, finding.sentence


def test_an_exactly_flat_profile_is_flat_and_one_of_nothing_is_invalid():
    finding = find(Flat(rationale="r"), NO_SHAPE, noise=0.0)
    assert finding.verdict is SUPPORTED
    assert "exactly flat" in finding.sentence
    assert find(Flat(rationale="r"), np.zeros((4, 12)), noise=0.0).verdict is INVALID
    assert find(Flat(rationale="r"), [np.nan, 1.0, 1.0, 1.0]).verdict is INVALID


def seeds(*means, noise=1e-4):
    tables = [profile(m, noise=noise, seed=42 + i)["layer_sweep"] for i, m in enumerate(means)]
    return {"layer_sweep": pool(tables)}


BASE = [1.0, 2.0, 3.0, 4.0, 9.0]


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ([1.0, 2.0, 3.0, 4.0, 9.0], SUPPORTED),
        ([2.0, 1.0, 3.0, 4.0, 9.0], SUPPORTED),  # one pair of ten turned: tau 0.8, as asked
        ([2.0, 1.0, 4.0, 3.0, 9.0], REFUTED),  # two: 0.6
        ([1.0, 2.0, 3.0, 9.0, 8.9], REFUTED),  # tau 0.8, another top
    ],
)
def test_stable_over_seeds_at_its_boundaries(other, verdict):
    finding = judge_criterion(
        StableOverSeeds(min_tau=0.8 - 1e-9, rationale="r"), measured(seeds(BASE, BASE, other))
    )
    assert finding.verdict is verdict, finding.sentence


def test_one_seed_shows_no_stability_and_a_flat_seed_no_profile():
    criterion = StableOverSeeds(rationale="r")
    assert find(criterion, BASE).verdict is INCONCLUSIVE
    flat = profile(np.repeat(np.arange(1.0, 13.0)[None], 5, axis=0), noise=0.0, seed=7)["layer_sweep"]
    mixed = {"layer_sweep": pool([profile(BASE)["layer_sweep"], flat])}
    finding = judge_criterion(criterion, measured(mixed))
    assert finding.verdict is INVALID
    assert "seed 7" in finding.sentence


def test_a_seed_that_changes_nothing_never_gets_here():
    with pytest.raises(ValueError, match="not a replication"):
        pool([profile(BASE)["layer_sweep"], profile(BASE)["layer_sweep"]])


@pytest.mark.parametrize(
    "criterion", [TopSpread(k=2, at_most_nats=9.0, rationale="r"), StableOverSeeds(rationale="r")]
)
def test_without_a_shape_there_is_nothing_to_read(criterion):
    assert find(criterion, NO_SHAPE, noise=0.0).verdict is INVALID


def test_the_k_strongest_of_fewer_is_an_error():
    with pytest.raises(MissingEvidence, match="6 strongest of 5"):
        find(TopSpread(k=6, at_most_nats=1.0, rationale="r"), BASE)


def models(noise=1e-4, **means):
    return {m: measured(profile(v, noise=noise, seed=i)) for i, (m, v) in enumerate(means.items())}


SMALL, LARGE = [3.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 4.0]


@pytest.mark.parametrize(
    ("layers", "verdict"),
    [({"a": 0, "b": 5}, SUPPORTED), ({"a": 0, "b": 4}, REFUTED), ({"a": 1, "b": 5}, REFUTED)],
)
def test_hubs_at(layers, verdict):
    finding = judge_joint_criterion(HubsAt(layers=layers, rationale="r"), models(a=SMALL, b=LARGE))
    assert finding.verdict is verdict, finding.sentence


def test_hub_depth_is_relative_and_strict():
    criterion = HubDepthIncreases(models=("a", "b"), rationale="r")
    half_of_four, half_of_six = [1.0, 1.0, 3.0, 1.0], [1.0, 1.0, 1.0, 4.0, 1.0, 1.0]
    assert judge_joint_criterion(criterion, models(a=SMALL, b=LARGE)).verdict is SUPPORTED
    assert judge_joint_criterion(criterion, models(a=LARGE, b=SMALL)).verdict is REFUTED
    # L2 of 4 and L3 of 6 are both at half depth: a deeper layer number is not a greater depth
    assert judge_joint_criterion(criterion, models(a=half_of_four, b=half_of_six)).verdict is REFUTED
    tie = models(a=SMALL, b=[1.0, 3.0, 3.0])
    finding = judge_joint_criterion(criterion, tie)
    assert finding.verdict is INCONCLUSIVE
    assert "No separated hub in b" in finding.sentence
    assert (
        judge_joint_criterion(criterion, {**tie, "b": measured(profile(NO_SHAPE, noise=0.0))}).verdict
        is INVALID
    )


@pytest.mark.parametrize(
    ("tops", "noise", "increasing", "decreasing"),
    [
        ((3.0, 3.002, 3.004), 1e-4, SUPPORTED, REFUTED),
        ((3.0, 3.002, 3.000), 1e-4, REFUTED, REFUTED),
        ((3.0, 3.000, 3.002), 1e-4, INCONCLUSIVE, REFUTED),
        ((3.0, 3.1, 3.2), 1.0, INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_effect_trend_at_its_boundaries(tops, noise, increasing, decreasing):
    three = models(noise, **{m: [1.0, top, 1.0] for m, top in zip("abc", tops, strict=True)})
    for direction, verdict in (("increasing", increasing), ("decreasing", decreasing)):
        criterion = HubEffectTrend(models=("a", "b", "c"), direction=direction, rationale="r")
        finding = judge_joint_criterion(criterion, three)
        assert finding.verdict is verdict, finding.sentence


@pytest.mark.parametrize(("height", "verdict"), [(0.402, SUPPORTED), (0.398, REFUTED), (0.4, INCONCLUSIVE)])
def test_profiles_differ_at_its_boundary(height, verdict):
    """Straight lines from 1 to h, against one from 1 to 0.2: they lie (h - 0.2) / 2 apart on average."""
    criterion = ProfilesDiffer(model_a="a", model_b="b", tolerance=0.1, rationale="r")
    pair = models(a=np.linspace(2.0, 0.4, 5), b=np.linspace(7.0, 7.0 * height, 9))
    finding = judge_joint_criterion(criterion, pair)
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx((height - 0.2) / 2, abs=1e-3)


def test_prompt_noise_alone_is_no_difference():
    """One true profile measured twice: the raw distance is above 0, its corrected interval reaches 0."""
    shape = np.linspace(2.0, 0.4, 12)
    criterion = ProfilesDiffer(model_a="a", model_b="b", tolerance=0.015, rationale="r")
    found = []
    for seed in range(20):
        pair = {
            "a": measured(profile(shape, noise=0.4, seed=seed)),
            "b": measured(profile(shape, noise=0.4, seed=seed + 1000)),
        }
        finding = judge_joint_criterion(criterion, pair)
        assert finding.estimate.value > 0.015
        found.append(finding.verdict)
    assert found.count(SUPPORTED) <= 2


def test_a_model_that_was_not_measured_is_an_error():
    said = "^the claim compares 'b', which was not measured .there is: a, c.$"
    with pytest.raises(MissingEvidence, match=said):
        judge_joint_criterion(HubsAt(layers={"a": 0, "b": 1}, rationale="r"), models(a=SMALL, c=SMALL))


def test_a_tie_at_the_top_within_rounding_is_not_stable_whichever_block_leads():
    """Twin blocks differ by rounding, always in the same direction: that is no location."""
    draws = [profile([0.1, 0.5, 0.5 + 2e-8, 0.2], noise=1e-9, seed=seed)["layer_sweep"] for seed in (1, 2)]
    criterion = StableOverSeeds(min_tau=0.5, rationale="a self-test")
    finding = judge_criterion(criterion, measured({"layer_sweep": pool(draws)}))
    assert finding.verdict is INCONCLUSIVE
    assert "two blocks tie" in finding.sentence


@pytest.mark.parametrize("level", [1.0, 3.0])
def test_a_tie_in_one_seed_is_seen_among_many_layers_and_whatever_the_level_of_the_others(level):
    """Five layers, of which the top two tie in the second seed only; the first may be stronger altogether."""
    clear, tied = level * np.array([0.1, 0.2, 0.3, 0.5, 1.0]), [0.1, 0.2, 0.3, 1.0, 1.0 + 2e-6]
    draws = [profile(m, noise=1e-7, seed=seed)["layer_sweep"] for seed, m in ((1, clear), (2, tied))]
    criterion = StableOverSeeds(min_tau=0.5, rationale="a self-test")
    finding = judge_criterion(criterion, measured({"layer_sweep": pool(draws)}))
    assert finding.verdict is INCONCLUSIVE
    assert finding.sentence.startswith("In seed 2 two blocks tie at the top")


def test_a_tau_as_asked_is_enough():
    """Of five layers one pair in ten is turned; the tau asked for is scipy's own, to the last digit."""
    from scipy.stats import kendalltau

    turned = [2.0, 1.0, 3.0, 4.0, 9.0]
    tau = float(kendalltau(BASE, turned).statistic)
    for more, verdict in ((0.0, SUPPORTED), (1e-12, REFUTED)):
        criterion = StableOverSeeds(min_tau=tau + more, rationale="r")
        assert judge_criterion(criterion, measured(seeds(BASE, turned))).verdict is verdict


@pytest.mark.parametrize(("top", "verdict"), [(9.0, SUPPORTED), (4.3, INCONCLUSIVE)])
def test_stability_needs_a_hub_to_be_stable(top, verdict):
    """The same top block in every draw is no stable hub while the pooled profile shows a tie."""
    base = [1.0, 2.0, 3.0, 4.0, top]
    finding = judge_criterion(StableOverSeeds(min_tau=0.5, rationale="r"), measured(seeds(base, base, base)))
    assert finding.verdict is verdict, finding.sentence
