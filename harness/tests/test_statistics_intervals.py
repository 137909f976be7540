"""Bootstrap intervals: equal to scipy's, of the nominal coverage, and honest where data show no spread."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.edits import skip
from harness.effects import PromptRecord
from harness.statistics import summarize
from harness.statistics.bootstrap import (
    Sampled,
    bootstrap_p,
    percentile_interval,
    resample_weights,
    sample,
    weights_of,
)
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number, unit_of
from harness.verdicts.synthetic import table, with_value


def clusters(*sizes: int, prompts: int = 1) -> Clusters:
    keys = [(f"f{f}", f"t{t}") for f, n in enumerate(sizes) for t in range(n) for _ in range(prompts)]
    return Clusters(tuple(keys))


def record(family: str, template: str) -> PromptRecord:
    return PromptRecord(text="x", answer="a", foil="b", family=family, template=template, n_tokens=3, seed=1)


def test_plain_weights_reproduce_scipy_bootstrap():
    """On the same data, the weight product and scipy.stats.bootstrap give one distribution."""
    rng = np.random.default_rng(1)
    sizes = (5, 8, 12)
    data = [rng.normal(f, 1 + f, n) for f, n in enumerate(sizes)]
    ours = resample_weights(sizes, np.random.default_rng(2), 20_000, fewer=0) @ np.concatenate(data)
    theirs = stats.bootstrap(
        data,
        lambda *x, axis=-1: sum(s.mean(axis=axis) for s in x) / len(x),
        n_resamples=20_000,
        vectorized=True,
        paired=False,
        method="percentile",
        rng=np.random.default_rng(3),
    )
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.02)
    low, high = percentile_interval(ours, 0.95)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.06 * theirs.standard_error)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * theirs.standard_error)


def test_one_draw_fewer_makes_the_variance_unbiased():
    rng = np.random.default_rng(4)
    sizes = (5, 3)
    data = [rng.normal(0, 2, n) for n in sizes]
    draws = resample_weights(sizes, rng, 40_000) @ np.concatenate(data)
    expected = sum(d.var(ddof=1) / len(d) for d in data) / len(data) ** 2
    assert draws.var() == pytest.approx(expected, rel=0.03)


def test_coverage_and_width_against_normal_theory():
    """12 families x 5 templates of known spread: 95% intervals hold the truth 95% of the time."""
    rng = np.random.default_rng(5)
    design = clusters(*[5] * 12)
    centres = rng.normal(0, 3, 12)[design.family_of]
    tables = centres + rng.standard_normal((600, design.n_templates))
    weights = resample_weights(design.sizes, rng, 1_999)
    draws = weights @ tables.T
    bounds = np.array([percentile_interval(d, 0.95) for d in draws.T])
    covered = ((bounds[:, 0] <= centres.mean()) & (centres.mean() <= bounds[:, 1])).mean()
    assert 0.92 <= covered <= 0.975
    theory = 2 * 1.96 / np.sqrt(design.n_templates)
    assert np.diff(bounds).mean() == pytest.approx(theory, rel=0.05)


def test_prompts_of_one_template_do_not_narrow_the_interval():
    rng = np.random.default_rng(6)
    once, many = clusters(6, 6), clusters(6, 6, prompts=10)
    values = rng.standard_normal((1, 12))
    narrow = sample(many, np.repeat(values, 10, axis=1), "kl_nats").estimate(0)
    wide = sample(once, values, "kl_nats").estimate(0)
    assert (narrow.low, narrow.high) == pytest.approx((wide.low, wide.high))
    assert (narrow.n_prompts, narrow.n_templates) == (120, 12)


def test_families_count_equally_whatever_their_size():
    keys = [("big", f"t{i}") for i in range(8)] + [("small", "t0"), ("small", "t0"), ("small", "t1")]
    design = Clusters.of([record(f, t) for f, t in keys])
    values = np.array([[1.0] * 8 + [4.0, 8.0, 10.0]])
    # small: template means 6 and 10 -> 8; big: 1
    assert sample(design, values, "kl_nats").value[0] == pytest.approx(4.5)
    assert design.family_means(design.template_means(values))[0].tolist() == pytest.approx([1.0, 8.0])


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_constant_bounded_data_get_the_exact_binomial_interval(edge):
    design = clusters(*[5] * 12)
    sampled = sample(design, np.full((1, 60), edge), "top5_overlap")
    exact = stats.binomtest(int(60 * edge), 60).proportion_ci(0.98, method="exact")
    assert sampled.interval(0) == pytest.approx((exact.low, exact.high))
    assert sampled.interval(0)[0] < sampled.interval(0)[1]


def test_a_constant_share_between_the_edges_counts_as_so_many_hits_whole_or_not():
    """2.4 of 12 templates: the quantiles of the beta distribution take any number of hits."""
    design = clusters(*[3] * 4)
    sampled = sample(design, np.repeat([[0.2], [0.4], [0.1]], 12, axis=1), "top5_overlap")
    low, high = stats.beta.ppf(0.01, 2.4, 10.6), stats.beta.ppf(0.99, 3.4, 9.6)
    assert sampled.interval(0) == pytest.approx((low, high))
    assert sampled.p_above(0, low) == pytest.approx(0.01)
    assert sampled.p_below(0, high) == pytest.approx(0.01)


def clopper_pearson(hits: float, n: float) -> tuple[float, float]:
    return float(stats.beta.ppf(0.01, hits, n - hits + 1)), float(stats.beta.ppf(0.99, hits + 1, n - hits))


def test_a_share_that_scatters_less_than_hits_has_the_interval_of_as_many_hits_as_templates():
    """Student's, of shares between the edges, would be narrower; but 60 templates are no more than 60."""
    rng = np.random.default_rng(10)
    values = rng.choice([0.2, 0.4, 0.6, 0.8], (2, 60))
    sampled = sample(clusters(*[5] * 12), values, "top5_overlap")
    for i, x in enumerate(values.reshape(2, 12, 5)):
        error, hits = np.sqrt((x.var(axis=1, ddof=1) / 5).sum()) / 12, 60 * x.mean()
        assert x.mean() * (1 - x.mean()) / error**2 > 2 * 60
        low, high = sampled.interval(i)
        assert (low, high) == pytest.approx(clopper_pearson(hits, 60))
        assert high - low > 1.3 * 2 * stats.t.isf(0.01, 48) * error
        for threshold in (low, 0.45, 0.6, high):
            above, below = (
                stats.beta.cdf(threshold, hits, 61 - hits),
                stats.beta.sf(threshold, hits + 1, 60 - hits),
            )
            assert sampled.p_above(i, threshold) == pytest.approx(float(above))
            assert sampled.p_below(i, threshold) == pytest.approx(float(below))


def test_hits_count_less_for_the_degrees_of_freedom_that_their_families_leave():
    """Families of unequal size, by Satterthwaite: m (1 - m) / se^2 x (t_59 / t_freedom)^2 of the 60 templates."""
    sizes = (3, 3, 4, 10, 20, 20)
    values = (np.random.default_rng(11).random((2, 60)) < 0.5).astype(float)
    sampled = sample(clusters(*sizes), values, "argmax_match")
    for i, x in enumerate(values):
        families = np.split(x, np.cumsum(sizes)[:-1])
        parts = np.array([f.var(ddof=1) / len(f) for f in families])
        mean = float(np.mean([f.mean() for f in families]))
        error, freedom = np.sqrt(parts.sum()) / 6, parts.sum() ** 2 / (parts**2 / (np.array(sizes) - 1)).sum()
        uncorrected = mean * (1 - mean) / error**2
        n = uncorrected * (stats.t.isf(0.01, 59) / stats.t.isf(0.01, freedom)) ** 2
        assert n < 0.9 * uncorrected < 60, "the correction and not the cap decides"
        hits = n * mean
        low, high = sampled.interval(i)
        assert (low, high) == pytest.approx(clopper_pearson(hits, n))
        for threshold in (low, 0.4, 0.6, high):
            above, below = (
                stats.beta.cdf(threshold, hits, n - hits + 1),
                stats.beta.sf(threshold, hits + 1, n - hits),
            )
            assert sampled.p_above(i, threshold) == pytest.approx(float(above))
            assert sampled.p_below(i, threshold) == pytest.approx(float(below))


def test_a_mean_without_spread_is_known_to_a_millionth_of_a_nat():
    sampled = sample(clusters(5, 5), np.full((1, 10), 0.5), "kl_nats")
    assert sampled.interval(0) == pytest.approx((0.5 - 1e-6, 0.5 + 1e-6), abs=1e-12)
    for within, p in ((0.9e-6, 1.0), (1.1e-6, 1e-4)):
        assert sampled.p_above(0, 0.5 - within) == sampled.p_below(0, 0.5 + within) == pytest.approx(p)


def test_rounding_takes_no_share_above_one():
    """Weights sum to 1 only up to rounding: in some of these designs to more."""
    designs = [clusters(*sizes) for sizes in ((3, 7, 11), (3, 3, 3), (5, 6, 7, 9), (7,) * 6, (11, 13))]
    ones = [np.ones((1, design.n_templates)) for design in designs]
    assert max(one @ design.weights for one, design in zip(ones, designs, strict=True)) > 1.0
    for design in designs:
        sampled = sample(design, np.ones((1, design.n_templates)), "argmax_match")
        assert sampled.value[0] <= 1.0
        assert sampled.draws.max() <= 1.0
        assert sampled.pivots.max() <= 1.0


def test_resampled_shares_scatter_as_their_standard_error():
    """Independent templates of two families of 40, the first hit twice as often: a family counts a half."""
    hits = np.r_[np.arange(40) % 5 < 4, np.arange(40) % 5 < 2][None].astype(float)
    sampled = sample(clusters(40, 40), hits, "argmax_match")
    assert sampled.draws.mean() == pytest.approx(0.6, abs=0.002)
    assert sampled.draws.std() == pytest.approx(np.sqrt((0.8 * 0.2 + 0.4 * 0.6) / 39) / 2, rel=0.03)
    np.testing.assert_array_equal(sampled.pivots, sampled.draws)


def test_a_single_hit_is_a_hit():
    """A share of 0.2 on each of five templates: one hit of five, by the exact binomial test."""
    sampled = sample(clusters(5), np.full((1, 5), 0.2), "argmax_match")
    for threshold in (0.01, 0.1, 0.3):
        exact = stats.binomtest(1, 5, threshold, alternative="greater").pvalue
        assert sampled.p_above(0, threshold) == pytest.approx(float(exact))
        exact = stats.binomtest(1, 5, threshold, alternative="less").pvalue
        assert sampled.p_below(0, threshold) == pytest.approx(float(exact))


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_a_share_is_between_0_and_1_whatever_was_measured(edge):
    """That it is at least 0 and at most 1 needs no evidence; that it is beyond has none."""
    values = np.array([[edge] * 10, [0.0] * 5 + [1.0] * 5])
    sampled = sample(clusters(5, 5), values, "argmax_match")
    for i in (0, 1):
        for beyond in (0.0, -0.5):
            assert sampled.p_above(i, beyond) == 0.0
            assert sampled.p_below(i, 1.0 - beyond) == 0.0
            assert sampled.p_below(i, beyond - 0.1) == 1.0
            assert sampled.p_above(i, 1.1 - beyond) == 1.0
    assert sampled.p_above(0, 0.5) == (1.0 if edge == 0.0 else pytest.approx(0.5**10))


def test_an_estimate_has_the_confidence_it_was_asked_for():
    sampled = sample(clusters(6, 6), np.random.default_rng(0).standard_normal((1, 12)), "kl_nats")
    usual, narrow = sampled.estimate(0), sampled.estimate(0, 0.8)
    assert (usual.confidence, narrow.confidence) == (0.98, 0.8)
    assert (usual.low, usual.high) == sampled.interval(0, 0.98)
    assert (narrow.low, narrow.high) == sampled.interval(0, 0.8)
    assert usual.low < narrow.low < narrow.high < usual.high


def test_the_weights_that_are_kept_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        weights_of(clusters(5, 5))[0] = 0.0


def test_nearly_constant_bounded_data_are_no_more_certain_than_constant_data():
    design = clusters(*[5] * 12)
    values = np.zeros((2, 60))
    values[1, 7] = 0.2
    sampled = sample(design, values, "top5_overlap")
    assert sampled.interval(1)[1] >= sampled.interval(0)[1] - 1e-12 > 0.07
    assert sampled.p_below(1, 0.07) >= sampled.p_below(0, 0.07) - 1e-12 > 0.01


@pytest.mark.parametrize("metric", ["kl_nats", "argmax_match"])
@pytest.mark.parametrize("kind", ["spread", "rare", "constant", "all"])
def test_bounds_and_p_values_agree(metric, kind):
    """A bound lies beyond a threshold exactly when the p-value is at or below its level."""
    rng = np.random.default_rng(7)
    design = clusters(*[4] * 10)
    values = {
        "spread": rng.random((1, 40)),
        "rare": (np.arange(40) == 3)[None].astype(float),
        "constant": np.full((1, 40), 0.5),
        "all": np.ones((1, 40)),
    }[kind]
    sampled = sample(design, values, metric)
    for confidence in (0.98, 0.95, 0.9, 0.998):
        low, high = sampled.interval(0, confidence)
        for threshold in np.concatenate(
            [np.linspace(0.001, 0.999, 60), [low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6]]
        ):
            level = (1 - confidence) / 2 + 1e-9
            assert (high <= threshold) == (sampled.p_below(0, threshold) <= level), (threshold, high)
            assert (low >= threshold) == (sampled.p_above(0, threshold) <= level), (threshold, low)


def test_a_family_of_one_template_widens_the_interval_instead_of_hiding_its_spread():
    rng = np.random.default_rng(8)
    lone = resample_weights((1, 1, 1, 1), rng, 20_000) @ np.array([1.0, 2.0, 3.0, 4.0])
    assert lone.var() == pytest.approx(np.var([1, 2, 3, 4], ddof=1) / 4, rel=0.05)
    mixed = resample_weights((1, 3, 3), rng, 100)
    assert mixed.sum(axis=1) == pytest.approx(1.0)
    assert mixed.std(axis=0).min() > 0


def test_two_templates_are_enough_in_one_family_or_in_two():
    rng = np.random.default_rng(9)
    one = resample_weights((2,), rng, 20_000) @ np.array([1.0, 4.0])
    assert set(one.tolist()) == {1.0, 4.0}, "one of the two is drawn each time"
    assert one.var() == pytest.approx(np.var([1, 4], ddof=1) / 2, rel=0.05)
    two = resample_weights((1, 1), rng, 20_000) @ np.array([1.0, 4.0])
    assert two.var() == pytest.approx(np.var([1, 4], ddof=1) / 2, rel=0.05)
    pairs = resample_weights((2, 2), rng, 40_000) @ np.array([1.0, 4.0, 10.0, 20.0])
    expected = (np.var([1, 4], ddof=1) / 2 + np.var([10, 20], ddof=1) / 2) / 4
    assert pairs.var() == pytest.approx(expected, rel=0.05), "families are kept, templates are drawn"


@pytest.mark.parametrize("sizes", [(1,), (0,)])
def test_one_template_has_no_interval(sizes):
    said = "^one template: an interval over templates needs at least two; measure more templates$"
    with pytest.raises(ValueError, match=said):
        resample_weights(sizes, np.random.default_rng(0), 10)


def test_no_prompts_is_an_error():
    with pytest.raises(ValueError, match="no prompts"):
        Clusters(())


def test_one_resample_of_forty_lies_beyond_each_bound():
    """39 resamples and the data make 40: one of them is a share of 0.025."""
    assert percentile_interval(np.arange(39.0), 0.95) == (0.0, 38.0)
    assert percentile_interval(np.arange(79.0), 0.95) == (1.0, 77.0)
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(9_999)
        assert percentile_interval(shuffled, 0.95) == (249.0, 9_749.0)
        assert percentile_interval(shuffled, 0.9) == (499.0, 9_499.0)
    with pytest.raises(ValueError, match="^38 resamples are too few for a 95.00000% interval"):
        percentile_interval(np.arange(38.0), 0.95)


def test_too_few_resamples_for_a_level_is_an_error():
    with pytest.raises(ValueError, match="resamples are too few"):
        percentile_interval(np.arange(100.0), 0.9999)


def test_a_p_value_is_never_zero():
    assert bootstrap_p(np.zeros(99, dtype=bool)) == pytest.approx(0.01)


def test_draws_are_reproducible_and_leave_the_global_state_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - what must not change
    one, two = clusters(5, 5).rng("x").random(3), clusters(5, 5).rng("x").random(3)
    assert one.tolist() == two.tolist()
    assert one.tolist() != clusters(5, 5).rng("y").random(3).tolist()
    assert one.tolist() != clusters(5, 6).rng("x").random(3).tolist()
    sample(clusters(5, 5), np.arange(10.0)[None], "kl_nats")
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_an_estimate_prints_value_interval_unit_and_sizes():
    sampled = Sampled(
        value=np.array([2.5]),
        resampled=lambda: np.linspace(1.0, 4.0, 9_999)[:, None],
        pivoted=lambda: np.linspace(2.0, 3.0, 9_999)[:, None],
        error=np.array([0.25]),
        freedom=np.array([8.0]),
        constant=np.array([False]),
        bounded=False,
        unit="nats",
        clusters=clusters(5, 5, prompts=2),
    )
    assert str(sampled.estimate(0)) == "2.5 [2.01, 2.99] nats (20 prompts, 10 templates)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (13.7, "13.7"),
        (0.04123, "0.0412"),
        (2.1e-6, "2.1e-06"),
        (999.4, "999"),
        (1000, "1000"),
        (1000.4, "1000"),
        (-2500.0, "-2500"),
        (12345.6, "12346"),
    ],
)
def test_a_number_prints_without_an_exponent_where_that_can_be_avoided(value, text):
    assert format_number(value) == text


def test_a_metric_without_a_unit_prints_its_name():
    assert (unit_of("kl_nats"), unit_of("top5_overlap"), unit_of("made_up")) == ("nats", "share", "made_up")


def test_summary_holds_every_probe_and_metric_and_no_nan():
    effects = table([skip(0), skip(1)], {"kl_nats": [1.0, 2.0], "top5_overlap": [0.5, 0.5]}, noise=0.01)
    rows = summarize(with_value(effects, "kl_nats", 1, 3, np.nan))
    assert [row["probe"] for row in rows] == ["skip L0", "skip L1"]
    mean, low, high = rows[0]["kl_nats"]
    assert low < mean < high
    assert mean == pytest.approx(1.0, abs=0.01)
    assert rows[1]["kl_nats"] == [None, None, None]
    assert rows[1]["top5_overlap"][0] == pytest.approx(0.5, abs=0.01)
    edge = summarize(table([skip(0)], {"top5_overlap": [0.0]}, noise=0.0))[0]["top5_overlap"]
    exact = stats.binomtest(0, 60).proportion_ci(0.98, method="exact")
    assert edge == pytest.approx([0.0, exact.low, exact.high], rel=1e-5), (
        "a share has the interval of a share"
    )
    lonely = with_value(table([skip(0)], {"kl_nats": [0.0]}, noise=0.0, prompts=1), "kl_nats", 0, 7, 60.0)
    mean, low, high = summarize(lonely)[0]["kl_nats"]
    assert (mean, high) == (1.0, None), (
        "a third of the resamples lack the one template, and bound nothing above"
    )
    assert low < mean
    lone = summarize(table([skip(0)], {"kl_nats": [1.0]}, families=1, templates=1))
    assert lone[0]["kl_nats"][1:] == [None, None]


@pytest.mark.filterwarnings("error")
def test_a_summary_of_what_not_every_row_has_is_over_what_it_has():
    """The first row has no value, the second on one template alone, the third on some, the fourth on all."""
    made = table([skip(i) for i in range(4)], {"kl_nats": [1.0] * 4, "train_loss": [1.0] * 4}, noise=0.25)
    loss = made.metrics["train_loss"].copy()
    loss[0], loss[1, 2:], loss[2, 30:70] = np.nan, np.nan, np.nan
    made = replace(made, metrics={**made.metrics, "train_loss": loss})
    rows = summarize(made)
    assert [row["probe"] for row in rows] == ["skip L0", "skip L1", "skip L2", "skip L3"]
    assert rows[0]["train_loss"] == [None, None, None]
    assert rows[1]["train_loss"] == [pytest.approx(loss[1, :2].mean(), rel=1e-5), None, None]
    everywhere = np.arange(120)
    for row, metric, on in (
        (2, "train_loss", np.r_[everywhere[:30], everywhere[70:]]),
        (3, "train_loss", everywhere),
        (0, "kl_nats", everywhere),
        (3, "kl_nats", everywhere),
    ):
        at = Clusters.of([made.prompts[i] for i in on])
        expected = sample(at, made.metrics[metric][row, on][None], metric).estimate(0)
        assert rows[row][metric] == pytest.approx([expected.value, expected.low, expected.high], rel=1e-5)
