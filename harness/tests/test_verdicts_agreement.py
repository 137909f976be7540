"""Agreement of ranks where a resample has none: it speaks for no verdict and widens the interval to the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.anatomy import Anatomy
from harness.edits import skip
from harness.experiments import EXPERIMENTS
from harness.protocols import Protocol
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.correlation import correlations
from harness.statistics.ranks import spearman
from harness.steering import Unit, read_steering
from harness.verdicts.agreement import (
    Pair,
    compare,
    judge_least,
    kept_by_resamples,
    of_correlation,
    of_overlap,
    overlap,
)
from harness.verdicts.criteria import Condition, KlFallsWithDepth, ProfileOf, ProfilesAgree
from harness.verdicts.deciding import decide
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
CLUSTERS = Clusters((("a", "t0"), ("a", "t1")))
TEMPLATES = 5
MISSED = (1 - 1 / TEMPLATES) ** (TEMPLATES - 1)
"""Share of the resamples, of one template fewer than there are, without a certain template."""


def pair(value, without_ranks, one="one", resamples=999):
    draws = np.full(resamples, value)
    draws[:without_ranks] = np.nan
    return replace(drawn(value, draws), one=one)


def drawn(value, draws):
    return Pair(one="one", two="two", value=value, draws=draws, clusters=CLUSTERS)


@pytest.mark.parametrize(("value", "verdict"), [(0.9, SUPPORTED), (0.1, REFUTED)])
@pytest.mark.parametrize(("without_ranks", "decided"), [(0, True), (9, True), (10, False), (999, False)])
def test_a_draw_without_ranks_speaks_for_neither(value, verdict, without_ranks, decided):
    """Of 999 resamples 9 may lie beyond either bound of the 98% interval."""
    found = judge_least([pair(value, without_ranks)], 0.5, "Spearman")
    assert found.verdict is (verdict if decided else INCONCLUSIVE)
    assert found.p_value == pytest.approx(min(1.0, 2 * (without_ranks + 1) / 1000))
    ends = (value, value) if decided else (-1.0, 1.0)
    assert (found.estimate.low, found.estimate.high) == ends


def test_every_pair_must_hold_and_one_that_fails_is_corrected():
    high, low = pair(0.9, 4, "high"), pair(0.8, 2, "low")
    found = judge_least([high, low], 0.5, "Spearman")
    assert found.estimate.value == 0.8
    assert found.p_value == pytest.approx(2 * 5 / 1000)
    fails = judge_least([high, low, pair(0.1, 1, "failing")], 0.5, "Spearman")
    assert fails.verdict is REFUTED
    assert fails.p_value == pytest.approx(3 * 2 * 2 / 1000)
    assert fails.sentence.startswith("Least alike are failing and two: 0.1 ")


def of_one_template(effects, levels):
    """The table with these values per row on the prompts of template t0, and 0 elsewhere."""
    own = np.array([p.template == "t0" for p in effects.prompts])
    return replace(effects, metrics={"kl_nats": np.outer(levels, own).astype(float)})


@pytest.mark.parametrize(("order", "value"), [([4, 3, 2, 1, 0], 1.0), ([0, 1, 2, 3, 4], -1.0)])
def test_profiles_that_one_template_shapes_are_undecided(order, value):
    """The same templates are resampled alike; in those without the one that differs, both profiles are constant."""
    names = ("layers_short", "layers_natural")
    effects = table([skip(i) for i in range(5)], {"kl_nats": np.zeros(5)}, families=1, templates=TEMPLATES)
    tables = {
        name: of_one_template(effects, np.array(levels) + 1.0)
        for name, levels in zip(names, ([4, 3, 2, 1, 0], order), strict=True)
    }
    conditions = tuple(
        Condition(name=name, parts=(ProfileOf(experiment=name, select=Singles(), noun="block"),))
        for name in names
    )
    criterion = ProfilesAgree(conditions=conditions, at_least=0.5, rationale="a test")
    found = judge_criterion(criterion, measured(tables))
    assert found.verdict is INCONCLUSIVE
    assert found.estimate.value == pytest.approx(value)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((min(value, -1.0), max(value, 1.0)))
    assert found.p_value == pytest.approx(2 * MISSED, abs=0.03)


@pytest.mark.parametrize("levels", [(4, 3, 2, 1), (1, 2, 3, 4)])
def test_a_fall_with_depth_that_one_template_shows_is_undecided(levels):
    probes = EXPERIMENTS["steering_depth"].probes(Protocol.SOUND, Anatomy(n_layers=4))
    read = [read_steering(probe) for probe in probes]
    own = [levels[s.layers[0]] if s and s.direction.unit is Unit.BLOCK else 0.0 for s in read]
    effects = table(probes, {"kl_nats": np.zeros(len(probes))}, families=1, templates=TEMPLATES)
    tables = {"steering_depth": of_one_template(effects, own)}
    found = judge_criterion(KlFallsWithDepth(at_most=-0.6, rationale="a test"), measured(tables, 4))
    assert found.verdict is INCONCLUSIVE
    assert (found.estimate.low, found.estimate.high) == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize(
    ("holds", "fails", "expected"),
    [
        (0.02, 1.0, (SUPPORTED, 0.02)),
        (0.021, 0.02, (REFUTED, 0.02)),
        (0.021, 0.021, (INCONCLUSIVE, 0.021)),
        (1.9, 0.5, (INCONCLUSIVE, 1.0)),
    ],
)
def test_a_verdict_is_decided_at_two_percent(holds, fails, expected):
    assert decide(holds, fails) == expected


def test_resamples_that_noise_lowers_as_far_again_do_not_refute():
    """Observed 0.6, resampled about 0.4: the noise that took 0.2 off once more may have taken as much off before."""
    rng = np.random.default_rng(2)
    draws = 0.4 + 0.05 * rng.standard_normal(999)
    found = judge_least([drawn(0.6, draws)], 0.7, "Spearman")
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0
    assert found.estimate is not None
    assert found.estimate.high == pytest.approx(1.2 - np.sort(draws)[9])
    assert judge_least([drawn(0.6, draws)], 0.99, "Spearman").verdict is REFUTED


def test_profiles_of_unlike_order_are_still_refuted():
    rng = np.random.default_rng(1)
    draws = np.clip(0.2 + 0.05 * rng.standard_normal(999), -1, 1)
    found = judge_least([drawn(0.25, draws)], 0.7, "Spearman")
    assert found.verdict is Verdict.REFUTED
    assert found.estimate is not None
    assert found.estimate.high == pytest.approx(0.5 - np.sort(draws)[9])


# --- reliability


def profile(means, error, seed, templates=15):
    """A profile whose means have this standard error, on templates of one prompt each."""
    effects = table(
        [skip(i) for i in range(len(means))],
        {"kl_nats": means},
        noise=error * np.sqrt(templates / 2),
        families=3,
        templates=templates // 3,
        prompts=1,
        seed=seed,
    )
    return sample(Clusters.of(effects.prompts), effects.metrics["kl_nats"], "kl_nats")


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_reliability_of_a_profile_is_the_share_that_is_no_noise(ratio):
    """Of normal layers with noise of so much of their spread: 1 / (1 + ratio^2), here by hundreds of layers."""
    means = np.random.default_rng(4).standard_normal(400)
    found = profile(means, ratio * means.std(), seed=1)
    for agree in (spearman, correlations):
        kept = kept_by_resamples(found.value, found.draws, agree)
        assert of_correlation(kept) == pytest.approx(1 / (1 + ratio**2), abs=0.06)


def test_noise_alone_has_no_reliability():
    found = profile(np.ones(400), 0.3, seed=2)
    assert of_correlation(kept_by_resamples(found.value, found.draws, spearman)) < 0.1
    assert of_correlation(0.5) == of_correlation(-0.2) == of_correlation(0.0) == 0.0
    assert of_correlation(1.0) == of_overlap(0.1)(1.0) == 1.0


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_reliability_of_a_top_is_what_of_it_is_seen_twice(ratio):
    """The part of the true top tenth that is observed, squared, by hundreds of normal layers."""
    means = np.random.default_rng(4).standard_normal(1000)
    found = profile(means, ratio, seed=1)
    kept = kept_by_resamples(found.value, found.draws, overlap(100))
    seen = float(overlap(100)(means[None], found.value[None])[0]) / 100
    assert (
        seen**2 - 0.2 < of_overlap(0.1)(kept) < seen**2 + 0.05
    )  # too low: few templates tell a layer's own noise


def test_a_clear_top_above_noise_is_reliable_and_one_of_noise_is_not():
    clear = profile(np.array([9.0] * 3 + [0.0] * 27), 0.3, seed=1)
    assert of_overlap(0.1)(kept_by_resamples(clear.value, clear.draws, overlap(3))) == 1.0
    noise = profile(np.zeros(1000), 0.3, seed=1)
    assert of_overlap(0.1)(kept_by_resamples(noise.value, noise.draws, overlap(100))) < 0.1
    assert of_overlap(0.1)(0.3) == 0.0
    assert of_overlap(1.0)(0.3) == 1.0


def test_a_profile_that_ties_keeps_nothing():
    assert kept_by_resamples(np.ones(5), np.ones((9, 5)), spearman) == 0.0


def test_a_pair_carries_the_reliabilities_of_both():
    means = np.linspace(0.0, 1.0, 20)
    found = compare("a", "b", profile(means, 1e-3, 1), profile(means, 0.1, 2))
    assert found.reliabilities[0] == pytest.approx(1.0, abs=1e-3)
    assert found.reliabilities[1] == pytest.approx(0.9, abs=0.07)
    assert found.attenuation == pytest.approx(np.sqrt(np.prod(found.reliabilities)))


@pytest.mark.parametrize("layers", [12, 30])
@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0, 4.0])
def test_profiles_that_agree_are_not_refuted_for_their_noise(layers, ratio):
    """Alike in truth, with noise of so much of the layers' spread. Without reliabilities 7 in 10 are refuted at 4."""
    means = np.linspace(0.0, 1.0, layers)
    refuted = 0
    for seed in range(12):
        both = (profile(means, ratio * means.std(), seed=2 * seed + i) for i in range(2))
        refuted += judge_least([compare("a", "b", *both)], 0.6, "Spearman").verdict is REFUTED
    assert refuted == 0


@pytest.mark.parametrize("order", ["none", "opposite"])
@pytest.mark.parametrize("layers", [12, 30])
def test_profiles_of_other_orders_are_refuted(order, layers):
    means = np.linspace(0.0, 1.0, layers)
    shuffled = [np.random.default_rng(i).permutation(means) for i in range(200)]
    unlike = [x for x in shuffled if abs(np.corrcoef(x, means)[0, 1]) < 0.1]
    refuted = 0
    for seed in range(10):
        other = means[::-1] if order == "opposite" else unlike[seed]
        both = (profile(x, 0.1 * means.std(), seed=2 * seed + i) for i, x in enumerate((means, other)))
        refuted += judge_least([compare("a", "b", *both)], 0.6, "Spearman").verdict is REFUTED
    assert refuted == 10


@pytest.mark.parametrize(
    ("reliabilities", "verdict", "said"),
    [
        ((1.0, 1.0), REFUTED, ""),
        ((0.5, 0.5), REFUTED, ""),  # 0.25 / 0.5 lies below 0.6 still
        ((0.4, 0.4), INCONCLUSIVE, " Noise leaves 0.4 of a true agreement."),
        ((0.2, 0.8), INCONCLUSIVE, " Noise leaves 0.4 of a true agreement."),
        ((0.1, 1.0), INCONCLUSIVE, " The order is not told from noise (reliabilities 0.1 and 1)."),
    ],
)
def test_what_lies_below_only_for_its_noise_is_not_refuted(reliabilities, verdict, said):
    found = judge_least(
        [replace(drawn(0.25, np.full(999, 0.25)), reliabilities=reliabilities)], 0.6, "Spearman"
    )
    assert found.verdict is verdict
    assert found.sentence.endswith(f").{said}")
    assert (found.estimate.high >= 0.6) == (verdict is INCONCLUSIVE)


def test_what_agrees_below_0_is_not_refuted_the_sooner_for_its_noise():
    low = replace(drawn(-0.3, np.full(999, -0.3)), reliabilities=(0.3, 0.3))
    assert judge_least([low], -0.4, "Spearman").verdict is SUPPORTED
    assert judge_least([low], -0.25, "Spearman").verdict is REFUTED
    nearer = replace(drawn(-0.3, np.full(999, -0.3)), reliabilities=(1.0, 1.0))
    assert judge_least([nearer], -0.25, "Spearman").verdict is REFUTED


def test_a_top_of_layers_that_resamples_exchange_is_not_refuted_for_that():
    """Three layers of four lie alike: two of the top three are seen by chance in the other profile."""
    means = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    tops = []
    for seed in range(8):
        both = (profile(means, 0.1, seed=2 * seed + i) for i in range(2))
        tops.append(compare("a", "b", *both, overlap(3), of_overlap(0.5)))
    assert min(pair.value for pair in tops) == 2.0
    assert not [pair for pair in tops if judge_least([pair], 3.0, "of 3", most=3).verdict is REFUTED]
    clear = (profile(np.arange(6.0), 0.01, 1), profile(np.arange(6.0)[::-1], 0.01, 2))
    found = judge_least([compare("a", "b", *clear, overlap(3), of_overlap(0.5))], 1.0, "of 3", most=3)
    assert found.verdict is REFUTED
