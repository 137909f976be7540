"""Bootstrap intervals: equal to scipy's, of the nominal coverage, and honest where data show no spread."""

import numpy as np
import pytest
from scipy import stats

from harness.edits import skip
from harness.effects import PromptRecord
from harness.statistics import summarize
from harness.statistics.bootstrap import Sampled, bootstrap_p, percentile_interval, resample_weights, sample
from harness.statistics.clusters import Clusters
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
    exact = stats.binomtest(int(60 * edge), 60).proportion_ci(0.95, method="exact")
    assert sampled.interval(0) == pytest.approx((exact.low, exact.high))
    assert sampled.interval(0)[0] < sampled.interval(0)[1]


def test_nearly_constant_bounded_data_are_no_more_certain_than_constant_data():
    design = clusters(*[5] * 12)
    values = np.zeros((2, 60))
    values[1, 7] = 0.2
    sampled = sample(design, values, "top5_overlap")
    assert sampled.interval(1)[1] >= sampled.interval(0)[1] - 1e-12 > 0.05
    assert sampled.p_below(1, 0.05) >= sampled.p_below(0, 0.05) - 1e-12 > 0.025


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
    for confidence in (0.95, 0.9, 0.998):
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


@pytest.mark.parametrize("sizes", [(1,), (0,)])
def test_one_template_has_no_interval(sizes):
    with pytest.raises(ValueError, match="measure more templates"):
        resample_weights(sizes, np.random.default_rng(0), 10)


def test_no_prompts_is_an_error():
    with pytest.raises(ValueError, match="no prompts"):
        Clusters(())


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
        draws=np.linspace(2.0, 3.0, 9_999)[:, None],
        constant=np.array([False]),
        bounded=False,
        unit="nats",
        clusters=clusters(5, 5, prompts=2),
    )
    assert str(sampled.estimate(0)) == "2.5 [2.02, 2.98] nats (20 prompts, 10 templates)"


def test_summary_holds_every_probe_and_metric_and_no_nan():
    effects = table([skip(0), skip(1)], {"kl_nats": [1.0, 2.0], "top5_overlap": [0.5, 0.5]}, noise=0.01)
    rows = summarize(with_value(effects, "kl_nats", 1, 3, np.nan))
    assert [row["probe"] for row in rows] == ["skip L0", "skip L1"]
    mean, low, high = rows[0]["kl_nats"]
    assert low < mean < high
    assert mean == pytest.approx(1.0, abs=0.01)
    assert rows[1]["kl_nats"] == [None, None, None]
    assert rows[1]["top5_overlap"][0] == pytest.approx(0.5, abs=0.01)
    lone = summarize(table([skip(0)], {"kl_nats": [1.0]}, families=1, templates=1))
    assert lone[0]["kl_nats"][1:] == [None, None]
