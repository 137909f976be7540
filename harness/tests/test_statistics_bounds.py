"""Bounds on one mean: bootstrap-t and Korn and Graubard, against their formulas, closed forms and known truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.edits import skip
from harness.statistics.bootstrap import (
    CACHED,
    RESAMPLES,
    Sampled,
    _drawn_counts,
    _studentized,
    percentile_interval,
    resample_weights,
    sample,
    sample_finely,
    standard_error,
    strata_of,
    studentized,
    weights_of,
)
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, CONFIDENCE
from harness.verdicts.criteria import EveryProbe, SomeProbe
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Finding, Verdict

SUITE = (5,) * 12


def clusters(*sizes: int, prompts: int = 1) -> Clusters:
    keys = [(f"f{f:02d}", f"t{t:03d}") for f, n in enumerate(sizes) for t in range(n) for _ in range(prompts)]
    return Clusters(tuple(keys))


def in_families(x: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    return np.split(x, np.cumsum(sizes)[:-1])


def moments(families: list[np.ndarray]) -> tuple[float, float, float]:
    """Mean over families, its standard error, and Satterthwaite's degrees of freedom."""
    parts = np.array([f.var(ddof=1) / len(f) for f in families]) / len(families) ** 2
    spent = sum(part**2 / (len(f) - 1) for part, f in zip(parts, families, strict=True))
    return float(np.mean([f.mean() for f in families])), float(np.sqrt(parts.sum())), parts.sum() ** 2 / spent


def plain_bootstrap_t(families: list[np.ndarray], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(resampled mean - mean) / its own standard error, family by family and resample by resample."""
    mean = moments(families)[0]
    drawn = [moments([rng.choice(f, len(f)) for f in families]) for _ in range(resamples)]
    return np.array([(m - mean) / se for m, se, _ in drawn])


def beta_bounds(hits: float, n: float, tail: float = 0.01) -> tuple[float, float]:
    """Clopper and Pearson's, of any number of hits between 0 and n."""
    return float(stats.beta.ppf(tail, hits, n - hits + 1)), float(
        stats.beta.ppf(1 - tail, hits + 1, n - hits)
    )


def worth_of(mean: float, error: float, freedom: float, n: int) -> float:
    """m (1 - m) / se^2 x (t_{n - 1} / t_freedom)^2 independent templates, uncapped."""
    return mean * (1 - mean) / error**2 * (stats.t.ppf(0.99, n - 1) / stats.t.ppf(0.99, freedom)) ** 2


def korn_graubard(families: list[np.ndarray]) -> tuple[float, float]:
    """98%: Clopper and Pearson's bounds of as many templates as the spread is worth, and no more than there are."""
    mean, error, freedom = moments(families)
    n = sum(map(len, families))
    n = min(n, worth_of(mean, error, freedom, n))
    return beta_bounds(mean * n, n)


def test_a_mean_has_the_bounds_of_a_plain_bootstrap_t():
    """Skewed effects in families of unequal size and spread: the long tail is above."""
    rng, sizes = np.random.default_rng(1), (8, 12, 20)
    x = np.concatenate([scale * rng.exponential(1, n) for scale, n in zip((1, 2, 3), sizes, strict=True)])
    families = in_families(x, sizes)
    mean, error, _ = moments(families)
    t = plain_bootstrap_t(families, 3_000, np.random.default_rng(2))
    sampled = sample_finely(clusters(*sizes), x[None], "kl_nats")
    assert sampled.value[0] == pytest.approx(mean)
    assert sampled.error[0] == pytest.approx(error)
    for confidence in (0.8, 0.98):
        tail = (1 - confidence) / 2
        low, high = sampled.interval(0, confidence)
        for beyond in (t > (mean - low) / error, t < (mean - high) / error):
            assert beyond.mean() == pytest.approx(tail, abs=3 * np.sqrt(tail / len(t)))
    low, high = sampled.interval(0)
    assert high - mean > 1.3 * (mean - low)
    for z in (1.0, 2.0):
        assert sampled.p_above(0, mean - z * error) == pytest.approx((t > z).mean(), abs=0.025)
        assert sampled.p_below(0, mean + z * error) == pytest.approx((t < -z).mean(), abs=0.025)


def test_the_mean_of_normal_effects_has_students_interval():
    sizes = (100, 100, 100)
    x = np.random.default_rng(3).normal(2, 1, 300)
    mean, error, freedom = moments(in_families(x, sizes))
    t = stats.t.ppf(0.99, freedom)
    sampled = sample(clusters(*sizes), x[None], "kl_nats")
    assert sampled.interval(0) == pytest.approx((mean - t * error, mean + t * error), abs=0.12 * error)
    assert sampled.freedom[0] == pytest.approx(freedom)


def test_studentized_resamples_are_those_of_a_loop():
    """Of three quantities, one of them constant, in more resamples than are worked on at a time."""
    sizes, rng = (2, 4, 1, 1), np.random.default_rng(16)
    design, strata = clusters(*sizes), strata_of(sizes)
    x = np.array([rng.exponential(1, 8), np.full(8, 0.3), np.arange(8) == 5], dtype=float)
    parts = [x[:, s.templates] for s in strata]
    value = (x[:, :2].mean(axis=1) + x[:, 2:6].mean(axis=1) + x[:, 6] + x[:, 7]) / 4
    error = np.sqrt(
        sum(
            s.scale**2 * part.var(axis=1, ddof=1) / part.shape[1]
            for s, part in zip(strata, parts, strict=True)
        )
    )
    streams = np.random.default_rng(17), np.random.default_rng(17)
    drawn = [streams[0].multinomial(n, np.full(n, 1 / n), size=3_000) for n in (2, 4, 2)]
    expected = np.empty((3_000, 3))
    for r, counts in enumerate(zip(*drawn, strict=True)):
        taken = [np.repeat(part, count, axis=1) for part, count in zip(parts, counts, strict=True)]
        moved = sum(
            s.scale * (t.mean(axis=1) - p.mean(axis=1)) for s, t, p in zip(strata, taken, parts, strict=True)
        )
        spread = sum(
            s.scale**2 * t.var(axis=1, ddof=1) / t.shape[1] for s, t in zip(strata, taken, strict=True)
        )
        still = np.abs(moved) <= 1e-6
        expected[r] = value - np.where(still, 0.0, moved * error / np.sqrt(np.maximum(spread, 1e-30)))
    found = studentized(design, x, streams[1], 3_000)
    assert found.clip(-1e4, 1e4) == pytest.approx(expected.clip(-1e4, 1e4), rel=1e-6)
    assert (expected[:, 0] > 1e4).any()


class Noted:
    """Shares of the templates, of which it is noted how many resamples are read at a time."""

    def __init__(self, shares):
        self.shares, self.read = shares, []

    def __len__(self):
        return len(self.shares)

    def __getitem__(self, resamples):
        self.read.append(len(self.shares[resamples]))
        return self.shares[resamples]


def test_each_resample_is_worked_on_once_and_as_many_at_a_time_as_the_cache_holds():
    """Its mean and its spread, for three means."""
    design, means = clusters(2, 4), np.arange(18.0).reshape(3, 6)
    shares = [Noted(x) for x in _drawn_counts((2, 4), np.random.default_rng(0), 3_000)]
    _studentized(design, means, shares)
    at_a_time = CACHED // 3
    assert [x.read for x in shares] == 2 * [2 * [at_a_time] + 2 * [3_000 - at_a_time]]


def test_what_is_drawn_once_it_is_asked_for():
    """Means from the weights of resamples, shares clipped; pivots from the clusters' own generator."""
    design, x = clusters(3, 2, 4), np.random.default_rng(18).random((2, 9))
    shares, nats = sample(design, x, "top5_overlap"), sample(design, x, "kl_nats")
    assert nats.draws == pytest.approx(weights_of(design) @ x.T)
    assert np.array_equal(nats.pivots, studentized(design, x, design.rng("studentized bootstrap"), RESAMPLES))
    assert np.array_equal(shares.draws, nats.draws)
    assert np.array_equal(shares.pivots, shares.draws)
    assert (nats.bounded, shares.bounded, nats.unit, shares.unit) == (False, True, "nats", "share")
    fine = sample_finely(design, x, "top5_overlap")
    assert np.array_equal(fine.pivots, shares.draws)
    fine = sample_finely(design, x[:1], "kl_nats")
    assert fine.draws is fine.pivots
    assert fine.pivots.shape == (20 * RESAMPLES, 1)


def test_a_share_of_one_is_one_after_rounding():
    design = clusters(*[7] * 3, 3)
    ones = np.ones((1, design.n_prompts))
    assert (weights_of(design) @ ones.T).max() > 1.0
    assert sample(design, ones, "top5_overlap").draws.max() == 1.0
    raw = [clusters(*[n] * m) for n in range(2, 9) for m in range(2, 9)]
    beyond = [d for d in raw if (d.template_means(np.ones((1, d.n_prompts))) @ d.weights)[0] > 1.0]
    assert beyond
    for d in beyond:
        values = np.ones((1, d.n_prompts))
        assert sample(d, values, "top5_overlap").value[0] == 1.0 < sample(d, values, "kl_nats").value[0]


def misses(effects: np.ndarray, truth: float) -> tuple[float, float, float, float]:
    """Shares of the rows whose 98% interval lies below and above the truth, studentized; then the percentiles'."""
    rng, design = np.random.default_rng(4), clusters(*SUITE)
    out = []
    for draws in (
        studentized(design, effects, rng, 799),
        resample_weights(design.sizes, rng, 799) @ effects.T,
    ):
        bounds = np.array([percentile_interval(column) for column in draws.T])
        out += [float((bounds[:, 1] < truth).mean()), float((bounds[:, 0] > truth).mean())]
    return out[0], out[1], out[2], out[3]


@pytest.mark.parametrize(
    ("kind", "most", "gain"),
    [("normal", 0.016, None), ("exponential", 0.022, 1.5), ("sparse", 0.018, 3.0), ("lognormal", 0.04, 1.7)],
)
def test_the_upper_bound_of_skewed_effects_misses_the_truth_about_one_time_in_a_hundred(kind, most, gain):
    """1,500 suites of 12 x 5 templates, 1% each side: sampling alone leaves 0.26% to either side of 1%.

    Nothing can tell that a lognormal's rare large effect was not drawn: there it is 3%, the percentiles' twice that.
    """
    rng, shape = np.random.default_rng(5), (1_500, 60)
    effects, truth = {
        "normal": lambda: (rng.standard_normal(shape), 0.0),
        "exponential": lambda: (rng.exponential(1, shape), 1.0),
        "sparse": lambda: (rng.exponential(1, shape) * (rng.random(shape) < 0.2), 0.2),  # most do nothing
        "lognormal": lambda: (rng.lognormal(0, 1, shape), np.exp(0.5)),
    }[kind]()
    below, above, percentile_below, _ = misses(effects, truth)
    assert 0.003 < below < most
    assert above < 0.018
    if gain is not None:
        assert percentile_below > max(gain * below, 0.02)


def test_the_lower_bound_of_effects_skewed_downwards_is_as_good():
    effects = -np.random.default_rng(5).exponential(1, (1_500, 60))
    below, above, _, percentile_above = misses(effects, -1.0)
    assert 0.003 < above < 0.022
    assert below < 0.018
    assert percentile_above > 1.5 * above


@pytest.mark.parametrize("sizes", [SUITE, (3, 7, 11), (20,), (4, 4)], ids=str)
def test_a_share_has_korn_and_graubards_bounds(sizes):
    rng = np.random.default_rng(6)
    n = sum(sizes)
    hits = np.arange(n) % 2.0
    fifths = rng.choice([0.0, 0.2, 1.0], n, p=[0.3, 0.4, 0.3])
    for values, capped in ((rng.random(n), True), (fifths, None), (rng.random(n) ** 8, True), (hits, False)):
        families = in_families(values, sizes)
        assert capped in (None, worth_of(*moments(families), n) > n)
        sampled = sample(clusters(*sizes), values[None], "top5_overlap")
        low, high = korn_graubard(families)
        assert sampled.interval(0) == pytest.approx((low, high), rel=1e-6)
        assert sampled.p_above(0, low) == pytest.approx(0.01)
        assert sampled.p_below(0, high) == pytest.approx(0.01)


def test_independent_hits_count_as_what_they_are():
    """300 templates hit or missed with one chance, 30 hits: the exact binomial interval of 300, but for
    the one degree of freedom that each family spends."""
    sizes = (100, 100, 100)
    values = np.tile(np.arange(100) < 10, 3).astype(float)
    sampled = sample(clusters(*sizes), values[None], "argmax_match")
    exact = stats.binomtest(30, 300).proportion_ci(0.98, method="exact")
    assert sampled.interval(0) == pytest.approx((exact.low, exact.high), rel=0.006)
    for upwards, threshold in ((True, 0.065), (False, 0.14)):
        ours = (sampled.p_above if upwards else sampled.p_below)(0, threshold)
        exact = stats.binomtest(30, 300, threshold, alternative="greater" if upwards else "less").pvalue
        assert ours == pytest.approx(float(exact), rel=0.05)


def counted(sampled: Sampled) -> float:
    """The number of independent templates whose Clopper-Pearson bounds these are, found by search."""
    from scipy.optimize import brentq

    mean, high = sampled.value[0], sampled.interval(0)[1]
    return float(brentq(lambda n: beta_bounds(mean * n, n)[1] - high, 1.0, 1e6))


def test_the_effective_number_of_templates():
    """As many as there are where they are independent and count alike; less where their spread is worth less."""
    rng = np.random.default_rng(7)
    equal = clusters(60, 60, 60)
    hits = (rng.random((1, 180)) < 0.3).astype(float)
    worth = counted(sample(equal, hits, "argmax_match"))
    by_hand = worth_of(*moments(in_families(hits[0], (60, 60, 60))), 180)
    assert worth == pytest.approx(by_hand, rel=1e-6)
    assert 0.94 * 180 < by_hand < 180
    # ten prompts a template that all answer alike are one, but for Student's t of 1,800
    repeated = sample(clusters(60, 60, 60, prompts=10), np.repeat(hits, 10, axis=1), "argmax_match")
    by_hand = worth_of(*moments(in_families(hits[0], (60, 60, 60))), 1_800)
    assert counted(repeated) == pytest.approx(by_hand, rel=1e-6)
    assert 0.97 * worth < by_hand < worth
    # a family of 10 weighs as much as one of 170
    halves = (np.arange(180) % 2 == 0).astype(float)
    by_hand = worth_of(*moments(in_families(halves, (10, 170))), 180)
    assert counted(sample(clusters(10, 170), halves[None], "argmax_match")) == pytest.approx(
        by_hand, rel=1e-6
    )
    assert by_hand < 4 / (1 / 10 + 1 / 170) < 40
    # families that are all hit or all missed inside are strata: what is between them is no uncertainty,
    # but makes no more templates than there are
    strata = np.r_[np.ones(60), np.zeros(60), hits[0, :60]]
    assert worth_of(*moments(in_families(strata, (60, 60, 60))), 180) > 2 * 180
    assert counted(sample(equal, strata[None], "argmax_match")) == pytest.approx(180, rel=1e-6)


def test_templates_that_share_their_hits_count_less():
    """300 prompts of 60 templates in twelve families, hit by chance, or all five of a template together.

    Hit by chance their spread is worth about 300 prompts, and no more than there are is counted.
    """
    rng = np.random.default_rng(8)
    design = clusters(*SUITE, prompts=5)
    alone = (rng.random((10, 300)) < 0.3).astype(float)
    shared = (rng.random((10, 60)) < 0.3).astype(float)
    together = np.repeat(shared, 5, axis=1)
    worth = [[counted(sample(design, row[None], "argmax_match")) for row in x] for x in (alone, together)]
    spread = [
        [worth_of(*moments(in_families(row, SUITE)), 300) for row in x]
        for x in (alone.reshape(10, 60, 5).mean(axis=2), shared)
    ]
    assert 200 < np.mean(spread[0]) < 360
    assert max(spread[0]) > 300
    assert worth == pytest.approx(np.minimum(spread, 300), rel=1e-6)
    assert 40 < np.mean(worth[1]) < 60


@pytest.mark.parametrize("foreign", [0.001, 0.1, 1.0])
def test_one_foreign_character_is_no_better_than_none(foreign):
    design = clusters(*[9] * 3, prompts=2)
    values = np.zeros((2, 54))
    values[1, 7] = foreign
    sampled = sample(design, values, "off_script")
    assert sampled.bounded
    assert sampled.interval(1)[1] >= sampled.interval(0)[1] - 1e-9
    assert sampled.p_below(1, 0.1) >= sampled.p_below(0, 0.1) - 1e-9


@pytest.mark.parametrize("hits", [0, 3, 60])
def test_a_share_equal_everywhere_counts_its_templates(hits):
    design = clusters(*SUITE, prompts=3)
    sampled = sample(design, np.full((1, 180), hits / 60), "top5_overlap")
    exact = stats.binomtest(hits, 60).proportion_ci(0.98, method="exact")
    assert sampled.interval(0) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("sizes", [SUITE, (3, 7, 11), (1, 1, 1, 1), (1, 3, 3), (30,)], ids=str)
@pytest.mark.parametrize("metric", ["kl_nats", "argmax_match"])
@pytest.mark.parametrize("kind", ["skewed", "rare", "fifths", "constant"])
def test_a_bound_lies_beyond_a_threshold_exactly_where_its_p_value_is_small(kind, metric, sizes):
    n = sum(sizes)
    rng = np.random.default_rng(9)
    values = {
        "skewed": rng.random(n) ** 6,
        "rare": (np.arange(n) == 1).astype(float),
        "fifths": rng.choice([0.0, 0.2, 0.4], n),
        "constant": np.full(n, 0.4),
    }[kind]
    sampled = sample(clusters(*sizes), values[None], metric)
    low, high = sampled.interval(0)
    assert sampled.interval(0) == sampled.interval(0, CONFIDENCE)
    assert low <= sampled.value[0] <= high
    edges = [bound + step for bound in (low, high) if np.isfinite(bound) for step in (-1e-7, 1e-7)]
    for threshold in (*np.linspace(0.003, 0.997, 40), *edges):
        assert (high <= threshold) == (2 * sampled.p_below(0, threshold) <= ALPHA), (threshold, high)
        assert (low >= threshold) == (2 * sampled.p_above(0, threshold) <= ALPHA), (threshold, low)


def test_families_of_one_template_are_a_family_of_so_many():
    """No spread inside a family to divide by: that between the families stands in, and is studentized as any other."""
    x = np.random.default_rng(10).exponential(1, (1, 30))
    alone, together = clusters(*[1] * 30), clusters(30)
    sampled = sample(alone, x, "kl_nats")
    assert sampled.error[0] == pytest.approx(stats.sem(x[0]))
    assert sampled.freedom[0] == 29
    found, expected = (studentized(c, x, np.random.default_rng(0), 500) for c in (alone, together))
    assert found == pytest.approx(expected)


def test_the_strata_of_families():
    """Those with one template each are one stratum; a single one joins the smallest other family."""
    assert [s.templates.tolist() for s in strata_of((2, 1, 3, 1))] == [[0, 1], [3, 4, 5], [2, 6]]
    assert [s.scale for s in strata_of((2, 1, 3, 1))] == pytest.approx([1 / 4, 1 / 4, 2 / 4])
    joined = strata_of((5, 1, 2))
    assert [s.templates.tolist() for s in joined] == [[0, 1, 2, 3, 4], [5, 6, 7]]
    assert joined[0].scale == pytest.approx(1 / 3)
    assert joined[1].scale ** 2 / 3 == pytest.approx((1 + 1 / 2) / 9), (
        "the variance of a single one and of two"
    )


@pytest.mark.parametrize("sizes", [(2, 3, 4, 1, 1, 1, 1, 1), (5, 1, 5, 3)], ids=str)
def test_bounds_where_some_families_have_one_template_miss_the_truth_as_seldom_as_others(sizes):
    """Normal effects, families alike; a percentile of whole families missed an upper bound by chance at 3%."""
    rng, design = np.random.default_rng(31), clusters(*sizes)
    x = rng.standard_normal((600, sum(sizes)))
    pivots = np.concatenate([studentized(design, part, rng, 999) for part in np.split(x, 3)], axis=1)
    bounds = np.array([percentile_interval(column, 0.98) for column in pivots.T])
    assert np.mean(bounds[:, 0] > 0) < 0.025
    assert np.mean(bounds[:, 1] < 0) < 0.025
    draws = resample_weights(sizes, rng, 4_000) @ x[:50].T
    error, _ = standard_error(design, x[:50])
    assert draws.std(axis=0) == pytest.approx(error, rel=0.06)
    assert draws.mean(axis=0) == pytest.approx(x[:50] @ design.weights, abs=0.02)


def test_families_of_two_templates_show_their_spread():
    """One degree of freedom each; hardly more in all where one of them has all the spread."""
    sizes = (2, 2, 5)
    for rest, least, most in ((1.0, 1.5, 6.0), (1e-3, 1.0, 1.001)):
        x = np.random.default_rng(15).normal(0, np.repeat([1.0, rest, rest], sizes))
        _, error, freedom = moments(in_families(x, sizes))
        assert least < freedom < most
        found = standard_error(clusters(*sizes), x[None])
        assert np.ravel(found) == pytest.approx([error, freedom])
    assert np.ravel(standard_error(clusters(*sizes), np.ones((1, 9)))).tolist() == [0.0, 1.0]


def test_shares_in_families_of_one_template_take_the_spread_of_the_families():
    """Whether that is worth more prompts than there are (the first and the last) or fewer."""
    shares, hits = np.array([0.1, 0.3, 0.2, 0.9, 0.4, 0.5, 0.6]), np.array([0.0, 1, 0, 1, 1, 0, 0])
    alike = np.array([0.4, 0.3, 0.4, 0.5, 0.4, 0.5, 0.6])
    for values, capped in ((shares, True), (hits, False)):
        worth = worth_of(float(values.mean()), float(stats.sem(values)), 6, 7)
        assert (worth > 7) == capped
        n = min(7, worth)
        sampled = sample(clusters(*[1] * 7), values[None], "top5_overlap")
        assert sampled.interval(0) == pytest.approx(beta_bounds(values.mean() * n, n))
    for values in (
        shares,
        alike,
    ):  # the single template is one of the first family's, and counts as three of it do
        mean = float(np.mean([values[0], values[1:4].mean(), values[4:].mean()]))
        parts = np.array([values[:4].var(ddof=1) * (1 + 1 / 3), values[4:].var(ddof=1) / 3]) / 9
        worth = worth_of(mean, np.sqrt(parts.sum()), parts.sum() ** 2 / (parts**2 / [3, 2]).sum(), 7)
        n = min(7, worth)
        sampled = sample(clusters(1, 3, 3), values[None], "top5_overlap")
        assert sampled.interval(0) == pytest.approx(beta_bounds(mean * n, n))


def test_a_probe_without_spread_is_certain_up_to_arithmetic_and_leaves_its_neighbours_alone():
    """Known to 1e-6 nats, what float32 arithmetic moves, and no better."""
    noisy = np.random.default_rng(12).exponential(1, 60)
    both = sample(clusters(*SUITE), np.array([np.full(60, 0.7), noisy]), "kl_nats")
    assert both.constant.tolist() == [True, False]
    alone = sample(clusters(*SUITE), noisy[None], "kl_nats")
    assert both.interval(0) == pytest.approx((0.7 - 1e-6, 0.7 + 1e-6), abs=1e-12)
    assert both.p_above(0, 0.7 - 1.001e-6) == both.p_below(0, 0.7 + 1.001e-6) == pytest.approx(1e-4)
    for near in (-0.999e-6, -1e-9, 0.0, 1e-9, 0.999e-6, 1.001e-6):
        assert both.p_above(0, 0.7 + near) == both.p_below(0, 0.7 - near) == 1.0
    assert both.interval(1) == pytest.approx(alone.interval(0))
    assert np.isfinite(both.pivots).all()


@pytest.mark.parametrize("moved", [1, 2, 3, 6])
def test_an_effect_on_a_few_templates_has_no_upper_bound_where_resamples_may_lack_it(moved):
    """One moved template in each of so many families of five: (4/5)^5 of the draws of a family leave it out."""
    values = np.zeros((1, 60))
    values[0, 5 * np.arange(moved)] = np.linspace(1.0, 2.0, moved)
    sampled = sample(clusters(*SUITE), values, "kl_nats")
    lacking = 0.8 ** (5 * moved)
    assert sampled.p_below(0, 1e5) == pytest.approx(lacking, abs=3 * np.sqrt(lacking / 9_999))
    assert (sampled.interval(0)[1] > 1e5) == (lacking > 0.01)
    assert sampled.interval(0)[0] > -np.inf
    assert not np.isnan(sampled.pivots).any()


def fifths(order: str) -> np.ndarray:
    """60 templates of two prompts, half the prompts at 0.2 and the others at 0: a mean of 0.1 up to rounding."""
    halves = np.r_[np.full(60, 0.2), np.zeros(60)]
    return {
        "by template": halves.reshape(2, 60).T.ravel(),
        "shuffled": np.random.default_rng(13).permutation(halves),
        "turned": halves.reshape(2, 60)[::-1].T.ravel(),
        "every tenth": np.tile(np.r_[1.0, np.zeros(9)], 12),
    }[order]


def judged(values: np.ndarray, kind: Any, **bound: float) -> Finding:
    effects = table([skip(0)], {"top5_overlap": [0.0]}, noise=0.0)
    effects.metrics["top5_overlap"][0] = values
    criterion = kind(
        experiment="layer_sweep", select=Singles(), metric="top5_overlap", rationale="a test", **bound
    )
    return judge_criterion(criterion, measured({"layer_sweep": effects}))


@pytest.mark.parametrize("order", ["by template", "shuffled", "turned", "every tenth"])
@pytest.mark.parametrize("kind", [EveryProbe, SomeProbe])
@pytest.mark.parametrize("side", ["at_most", "at_least"])
def test_a_share_at_its_threshold_is_undecided_whichever_way_it_was_rounded(order, kind, side):
    values = fifths(order)
    assert values.mean() == pytest.approx(0.1)
    findings = [judged(values, kind, **{side: 0.1 + nudge}) for nudge in (-1e-16, 0.0, 1e-16)]
    findings += [judged(values + nudge, kind, **{side: 0.1}) for nudge in (-1e-17, 1e-17)]
    assert {finding.verdict for finding in findings} == {Verdict.INCONCLUSIVE}
    for finding in findings:
        assert finding.p_value == pytest.approx(findings[0].p_value, rel=1e-6)
        assert finding.p_value > 0.1


@pytest.mark.parametrize("scatter", [0.0, 1e-7])
def test_a_mean_at_its_threshold_is_undecided_whichever_way_it_was_rounded(scatter):
    """Without spread, or with less than arithmetic makes."""
    for mean in (0.1, 0.3, 0.7, 1.0):
        effects = table([skip(0)], {"kl_nats": [mean]}, noise=scatter)
        for bound in ({"at_most": mean}, {"at_least": mean}):
            criterion = EveryProbe(
                experiment="layer_sweep", select=Singles(), metric="kl_nats", rationale="a test", **bound
            )
            finding = judge_criterion(criterion, measured({"layer_sweep": effects}))
            assert finding.verdict is Verdict.INCONCLUSIVE, finding.sentence


@pytest.mark.parametrize("pair", [(0.0, 0.2), (0.0, 0.4), (0.6, 1.0)], ids=str)
def test_templates_of_one_mean_whose_prompts_differ_count_as_they_are(pair):
    """24 templates, each with one prompt at either share: no spread between them, as where all prompts agree."""
    sampled = sample(clusters(6, 6, 6, 6, prompts=2), np.tile(pair, 24)[None], "top5_overlap")
    hits = 24 * sum(pair) / 2
    assert sampled.interval(0) == pytest.approx(beta_bounds(hits, 24), rel=1e-6)


@pytest.mark.parametrize(("sixteenths", "counted_as"), [(5, 32), (4, 16), (11, 32), (12, 16)])
def test_prompts_count_from_five_templates_of_hits_and_of_misses_on(sixteenths: int, counted_as: int):
    """16 templates of two prompts that hardly differ: the spread is worth more prompts than there are."""
    values = sixteenths / 16 + np.tile([1, 1, -1, -1], 8) / 64
    sampled = sample(clusters(4, 4, 4, 4, prompts=2), values[None], "top5_overlap")
    assert sampled.value[0] == sixteenths / 16
    expected = beta_bounds(sixteenths / 16 * counted_as, counted_as)
    assert sampled.interval(0) == pytest.approx(expected, rel=1e-6)


def test_the_upper_bound_of_a_share_with_rare_full_hits_misses_the_truth_one_time_in_a_hundred():
    """A fifth on one template in ten and the whole on three in a hundred: 16% of the suites hold no whole one."""
    rng, design = np.random.default_rng(14), clusters(*SUITE)
    u = rng.random((1_500, 60))
    values = np.where(u < 0.03, 1.0, np.where(u < 0.13, 0.2, 0.0))
    sampled = sample_of_shares(design, values)
    missed = np.mean([sampled.interval(i)[1] < 0.03 + 0.1 * 0.2 for i in range(len(values))])
    assert missed < 0.018


def sample_of_shares(design: Clusters, values: np.ndarray) -> Sampled:
    """Without resamples, which the bounds of shares do not need."""
    error, freedom = standard_error(design, values)
    return Sampled(
        value=values @ design.weights,
        resampled=lambda: np.zeros((0, len(values))),
        pivoted=lambda: np.zeros((0, len(values))),
        error=error,
        freedom=freedom,
        constant=np.ptp(values, axis=1) == 0,
        bounded=True,
        unit="share",
        clusters=design,
    )
