"""Criteria on adapters just beyond each side of their boundaries, their statistics against closed forms and scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.adapters.values import PUBLISHED, SOUND, Adapted, Graft, Kind, Part
from harness.anatomy import Anatomy
from harness.edits import Stream, zero
from harness.effects import Effects, pool
from harness.experiments import EXPERIMENTS
from harness.experiments.adapters import RECIPES_BY_RANK
from harness.protocols import Protocol
from harness.statistics.correlation import correlations, permutation_p
from harness.verdicts.adapter_criteria import Measure
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On
from harness.verdicts.adapter_spread import at_the_size_of
from harness.verdicts.criteria import (
    AdapterRatio,
    AdapterRecovery,
    BlockCorrelation,
    ConstantSpread,
    EveryProbe,
    MedianSide,
    RecoveryDepth,
    RecoveryDepthsAgree,
    Spread,
    models_of,
)
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

WHY = {"rationale": "a test"}
N = 8
TRAINED = (Part(family="json_schema", recipe=SOUND),)
RANDOM = (Part(family="json_schema", recipe=SOUND, kind=Kind.RANDOM),)
OFF, ONLY, WHOLE = (Measure(rows=AdapterRows(on=on)) for on in (On.OFF, On.ONLY, On.WHOLE))
UPDATES = replace(ONLY, metric="update_norm")
HALVES = BlockSet(to_depth=0.5), BlockSet(from_depth=0.5)
NOISE = 0.02


def off(layer: int) -> Adapted:
    return Adapted(parts=TRAINED, off=(layer,), against="whole")


def only(layer: int) -> Adapted:
    return Adapted(parts=TRAINED, only=(layer,))


def up_to(layer: int, *, switched: str) -> Adapted:
    return Adapted(parts=TRAINED, **{switched: tuple(range(layer + 1))}, against="whole")


def layers_table(effects, norms=None, *, noise=NOISE, seed=42, whole=5.0, random=1.0, alone=None) -> Effects:
    """The adapter off in each block, on in each alone, and whole, with these mean effects and these norms."""
    n = len(effects)
    norms = np.linspace(1.0, 2.0, n) if norms is None else np.asarray(norms)
    alone = effects if alone is None else alone
    probes = (
        *(off(at) for at in range(n)),
        *(only(at) for at in range(n)),
        Adapted(parts=TRAINED),
        Adapted(parts=RANDOM),
    )
    found = table(probes, {"kl_nats": [*effects, *alone, whole, random]}, noise=noise, seed=seed)
    constant = np.array([*(0.0 * norms), *norms, 3.0, 3.0])
    wide = np.repeat(constant[:, None], len(found.prompts), axis=1)
    return replace(found, metrics={**found.metrics, "update_norm": wide})


def layers(effects, norms=None, **kwargs):
    return measured({"adapter_layers": layers_table(effects, norms, **kwargs)}, len(effects))


def transfer(rows, *, graft=Graft.CONTRIBUTION, base=2.0, noise=NOISE, prompts=None):
    """What each graft leaves of the adapter's effect, and the effect itself (KL to the adapted run), nats."""
    grafts = [Adapted(parts=TRAINED, only=(at,), graft=graft, against="whole") for at in range(len(rows))]
    probes = [Adapted(parts=TRAINED, only=(), against="whole"), *grafts]
    found = table(probes, {"kl_nats": [base, *rows]}, noise=noise)
    return measured({"adapter_transfer": found}, len(rows))


CONTRIBUTIONS, LAST = (AdapterRows(on=on) for on in (On.CONTRIBUTION, On.LAST))


# --- which rows


def test_each_selection_takes_its_own_rows_of_the_experiments_and_no_other():
    anatomy = Anatomy(n_layers=6)
    found = {
        (name, protocol): EXPERIMENTS[name].probes(protocol, anatomy)
        for name in ("adapter_layers", "adapter_transfer")
        for protocol in Protocol
    }

    def count(name, protocol, on, **kwargs):
        rows = AdapterRows(on=on, **kwargs)
        return sum(rows.keep(probe, 6) for probe in found["adapter_" + name, protocol])

    sound, published = Protocol.SOUND, Protocol.PUBLISHED
    assert [count("layers", sound, on) for on in (On.WHOLE, On.OFF, On.ONLY)] == [1, 6, 6]
    assert [count("layers", sound, on) for on in (On.NONE, On.LAST, On.CONTRIBUTION)] == [0, 0, 0]
    assert count("layers", sound, On.WHOLE, kind=Kind.RANDOM) == 1
    assert count("layers", sound, On.WHOLE, family="copying") == 0
    assert count("layers", sound, On.OFF, recipe=PUBLISHED.name) == 0
    assert [count("layers", published, on) for on in (On.WHOLE, On.OFF_UP_TO)] == [1, 6]
    assert count("layers", published, On.OFF_UP_TO, recipe=PUBLISHED.name) == 6
    assert [count("transfer", sound, on) for on in (On.NONE, On.CONTRIBUTION, On.LAST)] == [1, 6, 6]
    assert count("transfer", sound, On.CONTRIBUTION, kind=Kind.RANDOM) == 5
    back = (On.CONTRIBUTION_BACK, On.LAST_BACK, On.ANOTHERS_LAST, On.WHOLE, On.STREAM_BACK)
    assert [count("transfer", sound, on) for on in back] == [6, 6, 6, 1, 0]
    assert [count("transfer", published, on) for on in back] == [0, 0, 0, 1, 6]
    assert [count("layers", sound, on) for on in back] == [0, 0, 0, 1, 0]
    by_rank = EXPERIMENTS["adapter_rank_blocks"].probes(sound, anatomy)
    for on, weights in ((On.OFF, (0.125, 0.25, 0.5, 1.0)), (On.WITHOUT_MLP, (1.0,))):
        for weight in weights:
            of_rank = AdapterRows(on=on, recipe="rank_16", weight=weight)
            assert sum(of_rank.keep(probe, 6) for probe in by_rank) == 6
    assert len(by_rank) == 6 * (2 * 5 + 3)
    assert count("transfer", published, On.ONLY_UP_TO) == 6
    assert count("transfer", published, On.ONLY_UP_TO, blocks=BlockSet(layers=(-1,))) == 1
    assert not any(rows.keep(probe, 6) for rows in (CONTRIBUTIONS, OFF.rows) for probe in EDITED)


EDITED = (
    Adapted(parts=TRAINED, off=(1,)),  # against the base
    Adapted(parts=(*TRAINED, *RANDOM), off=(1,), against="whole"),
    Adapted(parts=(replace(TRAINED[0], step=10),), off=(1,), against="whole"),
    Adapted(parts=(replace(TRAINED[0], weight=0.5),), off=(1,), against="whole"),
    Adapted(parts=TRAINED, off=(1,), rank=2, against="whole"),
    Adapted(parts=TRAINED, off=(1,), modules=SOUND.modules[:1], against="whole"),
    Adapted(parts=TRAINED, only=(1,), graft=Graft.CONTRIBUTION),  # against the base
)


@pytest.mark.parametrize(
    ("blocks", "of_ten", "said"),
    [
        (BlockSet(), tuple(range(10)), "every block"),
        (BlockSet(layers=(-2, -1)), (8, 9), "the last 2 blocks"),
        (BlockSet(layers=(-1,)), (9,), "the last block"),
        (BlockSet(layers=(0, 1, 4)), (0, 1, 4), "L0-L1+L4"),
        (BlockSet(to_depth=1 / 3), (0, 1, 2, 3), "blocks in the first 33% of the depth"),
        (BlockSet(from_depth=2 / 3), (7, 8, 9), "blocks in the last 33% of the depth"),
        (BlockSet(from_depth=0.9), (9,), "blocks in the last 10% of the depth"),
        (BlockSet(from_depth=0.4, to_depth=0.6), (4, 5), "blocks from 40% to 60% of the depth"),
    ],
)
def test_blocks_are_named_by_number_or_depth(blocks, of_ten, said):
    assert blocks.of(10) == of_ten
    assert str(blocks) == said


def test_thirds_divide_a_model_of_thirty_blocks_in_ten_each():
    assert BlockSet(to_depth=1 / 3).of(30) == tuple(range(10))
    assert BlockSet(from_depth=2 / 3).of(30) == tuple(range(20, 30))


# --- ratios


def late(at_least=None, at_most=None, of=OFF, **kwargs):
    return AdapterRatio(
        part=of.at(HALVES[1]), of=of.at(HALVES[0]), at_least=at_least, at_most=at_most, **WHY, **kwargs
    )


@pytest.mark.parametrize(
    ("level", "verdict"),
    [(2.05, Verdict.SUPPORTED), (2.0, Verdict.INCONCLUSIVE), (1.95, Verdict.REFUTED)],
)
def test_late_blocks_against_early_ones_at_the_boundary(level, verdict):
    view = layers([1.0] * 4 + [level] * 4)
    finding = judge_criterion(late(at_least=2.0), view)
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(level, abs=0.02)
    opposite = {Verdict.SUPPORTED: Verdict.REFUTED, Verdict.REFUTED: Verdict.SUPPORTED}
    assert judge_criterion(late(at_most=2.0), view).verdict is opposite.get(verdict, verdict)


@pytest.mark.parametrize("bound", [1.4, 1.75, 2.0, 2.5, 2.9])
@pytest.mark.parametrize("side", ["at_least", "at_most"])
def test_the_interval_of_a_ratio_leaves_out_the_bound_exactly_where_it_is_decided(bound, side):
    """Blocks scatter by as much as the early ones have: a ratio of about 2 lies anywhere from 1.6 to 2.7."""
    finding = judge_criterion(late(**{side: bound}), layers([1.0] * 4 + [2.0] * 4, noise=1.0))
    low, high = finding.estimate.low, finding.estimate.high
    assert 1.4 < low < 2.0 < high < 2.9
    beyond = {Verdict.SUPPORTED: low > bound, Verdict.REFUTED: high < bound}
    if side == "at_most":
        beyond = {Verdict.SUPPORTED: high < bound, Verdict.REFUTED: low > bound}
    expected = next((verdict for verdict, there in beyond.items() if there), Verdict.INCONCLUSIVE)
    assert finding.verdict is expected, finding.sentence


def test_a_ratio_to_what_is_hardly_there_has_no_bounded_interval():
    finding = judge_criterion(late(at_least=2.0), layers([0.1] * 8, noise=1.0))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.estimate.high == np.inf
    assert ", inf] times" in finding.sentence


@pytest.mark.parametrize(
    ("largest", "verdict"),
    [(1.2, Verdict.SUPPORTED), (1.25, Verdict.INCONCLUSIVE), (1.3, Verdict.REFUTED)],
)
def test_one_block_above_the_bound_refutes_what_is_said_of_each(largest, verdict):
    view = layers([0.1] * N, alone=[0.1] * 5 + [largest, 0.1, 0.1])
    finding = judge_criterion(AdapterRatio(part=ONLY, of=WHOLE, at_most=0.25, each=True, **WHY), view)
    assert finding.verdict is verdict, finding.sentence
    assert finding.sentence.startswith("Of L5, ")
    assert finding.estimate.value == pytest.approx(largest / 5, abs=0.01)


@pytest.mark.parametrize(("random", "verdict"), [(2.4, Verdict.SUPPORTED), (2.6, Verdict.REFUTED)])
def test_a_random_update_against_half_of_the_trained_one(random, verdict):
    control = replace(WHOLE, rows=replace(WHOLE.rows, kind=Kind.RANDOM))
    finding = judge_criterion(
        AdapterRatio(part=control, of=WHOLE, at_most=0.5, **WHY), layers([1.0] * N, random=random)
    )
    assert finding.verdict is verdict, finding.sentence


@pytest.mark.parametrize(
    ("norm", "verdict"), [(2.41, Verdict.SUPPORTED), (2.4, Verdict.SUPPORTED), (2.39, Verdict.REFUTED)]
)
def test_norms_are_compared_without_sampling_noise(norm, verdict):
    finding = judge_criterion(late(at_least=1.2, of=UPDATES), layers([1.0] * N, [2.0] * 4 + [norm] * 4))
    assert finding.verdict is verdict, finding.sentence
    assert finding.p_value is None
    assert "without sampling noise (1 training)" in finding.sentence


@pytest.mark.parametrize(
    ("late_norms", "verdict"),
    [((1.3, 1.1), Verdict.INCONCLUSIVE), ((1.3, 1.25), Verdict.SUPPORTED), ((1.1, 1.15), Verdict.REFUTED)],
)
def test_trainings_that_disagree_about_a_norm_decide_nothing(late_norms, verdict):
    tables = [layers_table([1.0] * N, [1.0] * 4 + [x] * 4, seed=s) for s, x in enumerate(late_norms)]
    view = measured({"adapter_layers": pool(tables)}, N)
    finding = judge_criterion(late(at_least=1.2, of=UPDATES), view)
    assert finding.verdict is verdict, finding.sentence
    assert "2 trainings" in finding.sentence
    spread = judge_criterion(ConstantSpread(of=UPDATES, at_most=1.2, **WHY), view)
    opposite = {Verdict.SUPPORTED: Verdict.REFUTED, Verdict.REFUTED: Verdict.SUPPORTED}
    assert spread.verdict is opposite.get(verdict, verdict), spread.sentence


def test_a_norm_that_differs_between_prompts_is_no_norm():
    broken = with_value(layers_table([1.0] * N), "update_norm", N + 2, 7, 9.0)
    finding = judge_criterion(late(at_least=1.2, of=UPDATES), measured({"adapter_layers": broken}, N))
    assert finding.verdict is Verdict.INVALID
    assert "differs between prompts of seed 42" in finding.sentence


# --- correlations

X = np.array([0.2, 0.9, 0.5, 1.7, 1.1, 2.0, 1.6, 3.1, 2.2, 2.6])
Y = 0.6 * np.array([1.0, 0.6, 1.9, 1.6, 2.5, 1.2, 2.9, 2.4, 3.6, 2.2]) + X
DEPTH = np.arange(10.0)


def test_correlations_are_those_of_scipy_and_partial_ones_their_closed_form():
    def partial(r_xy, r_xz, r_yz):
        return (r_xy - r_xz * r_yz) / np.sqrt((1 - r_xz**2) * (1 - r_yz**2))

    for ranks, truth in ((False, stats.pearsonr), (True, stats.spearmanr)):
        r = [truth(a, b).statistic for a, b in ((X, Y), (X, DEPTH), (Y, DEPTH))]
        assert correlations(X[None], Y[None], ranks=ranks)[0] == pytest.approx(r[0])
        given = correlations(X[None], Y[None], ranks=ranks, given=DEPTH)[0]
        assert given == pytest.approx(partial(*r))
    residuals = [np.polyval(np.polyfit(DEPTH, v, 1), DEPTH) - v for v in (X, Y)]
    assert correlations(X[None], Y[None], given=DEPTH)[0] == pytest.approx(np.corrcoef(*residuals)[0, 1])


def test_each_resample_is_correlated_by_itself_and_one_without_shape_is_nan():
    found = correlations(np.array([X, X, X, X]), np.array([Y, -Y, np.ones(10), X]))
    assert found[[0, 1, 3]] == pytest.approx([np.corrcoef(X, Y)[0, 1], -np.corrcoef(X, Y)[0, 1], 1.0])
    assert np.isnan(found[2])
    assert np.isnan(correlations((3 * DEPTH + 0.1)[None], Y[None], given=DEPTH)[0])


@pytest.mark.parametrize("n", [5, 7])
def test_the_exact_permutation_p_is_scipys(n):
    truth = stats.permutation_test(
        (Y[:n],),
        lambda y: np.corrcoef(X[:n], y)[0, 1],
        permutation_type="pairings",
        n_resamples=np.inf,
        alternative="greater",
    )
    assert permutation_p(X[:n], Y[:n], np.random.default_rng(0)) == pytest.approx(truth.pvalue)


def test_the_random_permutation_p_is_near_scipys_and_partial_ones_are_uniform_under_the_null():
    truth = stats.pearsonr(
        X, Y, alternative="greater", method=stats.PermutationMethod(n_resamples=9_999)
    ).pvalue
    assert permutation_p(X, Y, np.random.default_rng(1)) == pytest.approx(truth, abs=0.01)
    rng = np.random.default_rng(3)
    null = [
        permutation_p(DEPTH[:6] + rng.normal(size=6), DEPTH[:6] + rng.normal(size=6), rng, given=DEPTH[:6])
        for _ in range(300)
    ]
    assert stats.kstest(null, "uniform").pvalue > 0.01
    shared = [
        permutation_p(DEPTH + rng.normal(size=10) / 9, DEPTH + rng.normal(size=10) / 9, rng) for _ in range(9)
    ]
    assert max(shared) < 0.01  # a shared trend is a correlation, where the depth is not taken out


def correlation(at_least=None, at_most=None, **kwargs):
    return BlockCorrelation(one=UPDATES, two=OFF, at_least=at_least, at_most=at_most, **WHY, **kwargs)


TRUTH = stats.pearsonr(X, Y).statistic


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("given_depth", [False, True])
def test_the_correlation_reported_is_the_tables(kind, given_depth):
    finding = judge_criterion(correlation(-1.0, kind=kind, given_depth=given_depth), layers(Y, X, noise=1e-4))
    expected = correlations(X[None], Y[None], ranks=kind == "spearman", given=DEPTH if given_depth else None)[
        0
    ]
    assert finding.estimate.value == pytest.approx(expected, abs=1e-3)
    assert finding.verdict is Verdict.SUPPORTED, finding.sentence
    assert finding.estimate.low <= expected <= finding.estimate.high


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((TRUTH - 0.02, None), Verdict.SUPPORTED),
        ((TRUTH, None), Verdict.INCONCLUSIVE),
        ((TRUTH + 0.02, None), Verdict.REFUTED),
        ((TRUTH - 0.02, TRUTH + 0.02), Verdict.SUPPORTED),
        ((TRUTH + 0.02, 1.0), Verdict.REFUTED),
        ((0.0, TRUTH - 0.02), Verdict.REFUTED),
        ((None, TRUTH + 0.02), Verdict.SUPPORTED),
        ((None, TRUTH - 0.02), Verdict.REFUTED),
    ],
)
def test_a_correlation_at_its_bounds(bounds, verdict):
    x, y = X, Y + 1.0
    finding = judge_criterion(correlation(*bounds), layers(y, x, noise=0.01))
    assert finding.verdict is verdict, finding.sentence


def test_a_correlation_that_exchanged_blocks_give_too_is_no_support():
    """Without noise of prompts: ten blocks of which chance alone gives as much in one order of nine."""
    rng = np.random.default_rng(5)
    norms, effects = rng.normal(size=10), rng.normal(size=10)
    effects = effects - effects @ (norms - norms.mean()) / 9
    norms, effects = 3 + norms, 3 + effects + 0.45 * norms
    r = stats.pearsonr(norms, effects)
    assert r.statistic > 0.3
    assert r.pvalue > 0.05
    finding = judge_criterion(correlation(r.statistic - 0.1), layers(effects, norms, noise=1e-4))
    assert finding.verdict is Verdict.INCONCLUSIVE, finding.sentence
    assert "among exchanged blocks p = " in finding.sentence
    bound_below_0 = judge_criterion(correlation(-0.1), layers(effects, norms, noise=1e-4))
    assert bound_below_0.verdict is Verdict.SUPPORTED


def test_a_correlation_that_is_all_depth_does_not_survive_it():
    rng = np.random.default_rng(11)
    a, b = rng.normal(size=(2, 30))
    line = np.arange(30.0) / 2
    b -= b.mean() + (a - a.mean()) * (a @ (b - b.mean())) / (a @ (a - a.mean()))
    view = layers(10 + line + 0.3 * b, 10 + line + 0.3 * a, noise=0.05)
    assert judge_criterion(correlation(0.9), view).verdict is Verdict.SUPPORTED
    for kind in ("pearson", "spearman"):
        finding = judge_criterion(correlation(0.6, given_depth=True, kind=kind), view)
        assert finding.verdict is Verdict.REFUTED, finding.sentence


def test_noise_of_prompts_refutes_no_correlation_that_it_hides():
    """Resamples scatter more than the means do: of 40 such tables the percentile interval alone refutes 9 to 12."""
    steps = np.linspace(1, 2, 12)
    found = [
        judge_criterion(correlation(0.95, kind="spearman"), layers(steps, steps, noise=1.0, seed=seed))
        for seed in range(16)
    ]
    assert all(0.5 < finding.estimate.value < 1.0 for finding in found)
    assert not [finding.sentence for finding in found if finding.verdict is Verdict.REFUTED]


def test_blocks_without_an_adapter_do_not_count():
    norms, effects = np.insert(X, 3, 0.0), np.insert(Y + 1, 3, 0.0)
    finding = judge_criterion(correlation(-1.0), layers(effects, norms, noise=1e-4))
    assert finding.sentence.startswith("Over 10 blocks")
    assert finding.estimate.value == pytest.approx(TRUTH, abs=1e-3)


def test_norms_that_rise_with_every_block_have_no_rank_beside_the_depth():
    finding = judge_criterion(correlation(0.3, kind="spearman", given_depth=True), layers(Y, 1 + DEPTH**2))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "nothing is left" in finding.sentence


def test_equal_norms_and_too_few_blocks_correlate_with_nothing():
    finding = judge_criterion(correlation(0.3), layers(Y, np.ones(10)))
    assert finding.verdict is Verdict.INVALID
    assert "the same in every block" in finding.sentence
    assert judge_criterion(correlation(0.3), layers(Y[:3], X[:3])).verdict is Verdict.INCONCLUSIVE


# --- constants, medians, increments


@pytest.mark.parametrize(
    ("largest", "around", "verdict"),
    [
        (1.049, None, Verdict.SUPPORTED),
        (1.051, None, Verdict.REFUTED),
        (1.049, 1.0, Verdict.SUPPORTED),
        (1.04, 1.06, Verdict.REFUTED),  # 1 lies more than 5% below 1.06
        (1.04, 0.98, Verdict.REFUTED),  # 1.04 more than 5% above 0.98
    ],
)
def test_the_spread_of_a_constant(largest, around, verdict):
    criterion = ConstantSpread(of=UPDATES, at_most=1.05, around=around, **WHY)
    norms = [1.0, 0.0, 1.02, largest, 1.01]  # L1 has no adapter
    finding = judge_criterion(criterion, layers([1.0] * 5, norms))
    assert finding.verdict is verdict, finding.sentence
    assert f"{largest:.3f} times the smallest" in finding.sentence
    assert "over 4 blocks" in finding.sentence
    assert finding.p_value is None


@pytest.mark.parametrize(
    ("side", "own", "verdict"),
    [
        ("above", 2.1, Verdict.SUPPORTED),
        ("above", 1.9, Verdict.REFUTED),
        ("below", 1.9, Verdict.SUPPORTED),
        ("below", 2.1, Verdict.REFUTED),
    ],
)
def test_a_block_against_the_median(side, own, verdict):
    values = [1.0, 1.0, 1.0, own, 3.0, 3.0, 3.0, 2.0]
    for of in (OFF, UPDATES):
        finding = judge_criterion(MedianSide(of=of, layer=3, side=side, **WHY), layers(values, values))
        assert finding.verdict is verdict, finding.sentence


def test_the_median_block_itself_is_on_neither_side():
    for side in ("above", "below"):
        finding = judge_criterion(MedianSide(of=OFF, layer=1, side=side, **WHY), layers([1.0, 2.0, 3.0]))
        assert finding.verdict is Verdict.INCONCLUSIVE, finding.sentence


def pasted(effects, factors):
    """The adapter off from L0 to each block, and the norm of the factors of those blocks."""
    probes = [up_to(at, switched="off") for at in range(len(effects))]
    found = table(probes, {"kl_nats": effects}, noise=1e-3)
    norms = np.sqrt(np.cumsum(np.square(factors)))
    wide = np.repeat(norms[:, None], len(found.prompts), axis=1)
    return measured(
        {"adapter_layers": replace(found, metrics={**found.metrics, "factor_norm": wide})}, len(effects)
    )


CUMULATIVE = Measure(rows=AdapterRows(on=On.OFF_UP_TO))
FACTORS = Measure(rows=AdapterRows(on=On.OFF_UP_TO), metric="factor_norm", increments=True)


def test_norms_and_effects_of_blocks_are_read_from_cumulative_rows():
    effects, factors = np.cumsum(Y), 3.2 + X / 10
    view = pasted(effects, factors)
    finding = judge_criterion(BlockCorrelation(one=FACTORS, two=CUMULATIVE, at_least=-1.0, **WHY), view)
    assert finding.estimate.value == pytest.approx(np.corrcoef(factors, effects)[0, 1], abs=1e-3)
    by_block = replace(CUMULATIVE, increments=True)
    finding = judge_criterion(BlockCorrelation(one=FACTORS, two=by_block, at_least=-1.0, **WHY), view)
    assert finding.estimate.value == pytest.approx(np.corrcoef(factors, Y)[0, 1], abs=1e-2)
    late_blocks = BlockSet(layers=(8, 9))
    finding = judge_criterion(
        AdapterRatio(part=FACTORS.at(late_blocks), of=FACTORS, at_least=1.0, **WHY), view
    )
    assert f"{factors[8:].mean() / factors.mean():.3f} times" in finding.sentence


def test_norms_that_do_not_add_up_are_missing_evidence():
    view = pasted(np.ones(4), np.ones(4))
    found = view.tables["adapter_layers"]
    shrinking = replace(found, metrics={**found.metrics, "factor_norm": found.metrics["factor_norm"][::-1]})
    with pytest.raises(MissingEvidence, match="falls from one block to the next"):
        judge_criterion(
            ConstantSpread(of=FACTORS, at_most=1.05, **WHY), measured({"adapter_layers": shrinking}, 4)
        )


# --- recovery


@pytest.mark.parametrize(
    ("left", "verdict"),
    [(1.04, Verdict.SUPPORTED), (1.0, Verdict.INCONCLUSIVE), (0.96, Verdict.REFUTED)],
)
def test_no_block_recovers_half_at_the_boundary(left, verdict):
    view = transfer([1.9, 1.8, left, 1.7])
    finding = judge_criterion(AdapterRecovery(rows=CONTRIBUTIONS, at_most=0.5, **WHY), view)
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(1 - left / 2, abs=0.01)
    assert "At L2, the adapter grafted by what one block" in finding.sentence


@pytest.mark.parametrize(("left", "verdict"), [(0.18, Verdict.SUPPORTED), (0.22, Verdict.REFUTED)])
def test_the_recovery_of_named_blocks_from_below(left, verdict):
    rows = replace(LAST, blocks=BlockSet(layers=(-1,)))
    finding = judge_criterion(
        AdapterRecovery(rows=rows, at_least=0.9, **WHY),
        transfer([1.9, 1.0, left], graft=Graft.LAST, noise=0.005),
    )
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.low < 1 - left / 2 < finding.estimate.high


@pytest.mark.parametrize(("gain", "verdict"), [(1.05, Verdict.SUPPORTED), (0.95, Verdict.REFUTED)])
def test_sums_and_gains_of_blocks(gain, verdict):
    """Half of the base's 2 nats: two contributions together, or the curve's rise over two blocks."""
    blocks = BlockSet(layers=(2, 3))
    together = AdapterRecovery(rows=replace(CONTRIBUTIONS, blocks=blocks), take="sum", at_least=0.5, **WHY)
    rise = AdapterRecovery(rows=replace(LAST, blocks=blocks), take="gain", at_least=0.5, **WHY)
    summed = judge_criterion(together, transfer([1.9, 1.9, 1.6, 1.6 + 0.8 - gain]))
    curve = [1.9, 1.5, 1.0, 1.5 - gain]
    risen = judge_criterion(rise, transfer(curve, graft=Graft.LAST))
    for finding in (summed, risen):
        assert finding.verdict is verdict, finding.sentence
        assert finding.estimate.value == pytest.approx(gain / 2, abs=0.02)
    from_the_first = replace(rise, rows=replace(LAST, blocks=BlockSet(layers=(0, 1))), at_least=0.2)
    assert judge_criterion(from_the_first, transfer(curve, graft=Graft.LAST)).estimate.value == pytest.approx(
        0.25, abs=0.02
    )


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5, 0.6, 0.8])
def test_the_interval_of_a_recovery_leaves_out_the_share_exactly_where_it_is_decided(share):
    view = transfer([1.0], graft=Graft.LAST, noise=0.8)
    finding = judge_criterion(AdapterRecovery(rows=LAST, at_least=share, **WHY), view)
    low, high = finding.estimate.low, finding.estimate.high
    assert 0.2 < low < finding.estimate.value < high < 0.8
    expected = {low > share: Verdict.SUPPORTED, high < share: Verdict.REFUTED}.get(True, Verdict.INCONCLUSIVE)
    assert finding.verdict is expected, finding.sentence


def test_prompts_that_the_adapter_does_not_move_are_left_out():
    """Half of the families are not moved: their ratio is 0 / 0, and does not enter."""
    families = 12
    moved = np.array([2.0, 1e-4] * (families // 2))
    rows = np.stack([moved, 0.25 * moved, 0.75 * moved])
    grafts = [Adapted(parts=TRAINED, only=(at,), graft=Graft.LAST, against="whole") for at in range(2)]
    probes = [Adapted(parts=TRAINED, only=(), against="whole"), *grafts]
    view = measured({"adapter_transfer": table(probes, {"kl_nats": rows}, noise=1e-5)}, 2)
    finding = judge_criterion(AdapterRecovery(rows=LAST, at_least=0.2, **WHY), view)
    assert "60 of 120 prompts, of 30 templates" in finding.sentence
    assert finding.verdict is Verdict.SUPPORTED
    assert finding.estimate.value == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("base", "verdict"), [(0.11, Verdict.SUPPORTED), (0.09, Verdict.INCONCLUSIVE)])
def test_nothing_is_said_of_an_adapter_that_moves_nothing(base, verdict):
    view = transfer([base / 2] * 4, base=base, noise=1e-4)
    for criterion in (
        AdapterRecovery(rows=CONTRIBUTIONS, at_least=0.4, **WHY),
        RecoveryDepth(rows=CONTRIBUTIONS, at_most=0.6, **WHY),
    ):
        finding = judge_criterion(criterion, view)
        assert finding.verdict is verdict, finding.sentence
        if verdict is Verdict.INCONCLUSIVE:
            assert "There is too little to carry over: 0 of 120" in finding.sentence


@pytest.mark.parametrize(
    ("curve", "bounds", "verdict"),
    [
        ([1.5, 1.1, 0.9, 0.1], (0.5, None), Verdict.SUPPORTED),  # half at L2 of 4
        ([1.5, 1.1, 0.9, 0.1], (0.51, None), Verdict.REFUTED),
        ([1.5, 1.1, 0.9, 0.1], (None, 0.5), Verdict.SUPPORTED),
        ([1.5, 1.1, 0.9, 0.1], (None, 0.49), Verdict.REFUTED),
        ([1.5, 1.1, 0.9, 0.1], (0.4, 0.6), Verdict.SUPPORTED),
        ([1.5, 1.0, 0.9, 0.1], (None, 0.49), Verdict.INCONCLUSIVE),  # L1 lies on the level
        ([1.9, 1.8, 1.7, 1.6], (0.9, 1.0), Verdict.SUPPORTED),  # never
        ([0.1, 1.8, 1.7, 0.1], (None, 0.1), Verdict.SUPPORTED),  # the first block that reaches it
    ],
)
def test_the_depth_of_half_a_curve(curve, bounds, verdict):
    low, high = bounds
    criterion = RecoveryDepth(rows=LAST, at_least=low, at_most=high, **WHY)
    finding = judge_criterion(criterion, transfer(curve, graft=Graft.LAST))
    assert finding.verdict is verdict, finding.sentence


def test_the_depth_of_half_of_the_contributions_is_that_of_their_sum():
    """Recoveries of 0.1, 0.1, 0.05 and 0.2: half of 0.45 is reached at L2, a third of the last block's own."""
    view = transfer([1.8, 1.8, 1.9, 1.6], noise=1e-3)
    finding = judge_criterion(
        RecoveryDepth(rows=CONTRIBUTIONS, at_least=0.5, at_most=0.5 + 1e-9, **WHY), view
    )
    assert finding.verdict is Verdict.SUPPORTED, finding.sentence
    assert finding.estimate.value == 0.5
    nothing = judge_criterion(RecoveryDepth(rows=CONTRIBUTIONS, at_least=0.5, **WHY), transfer([2.2] * 4))
    assert nothing.verdict is Verdict.INCONCLUSIVE
    assert "recover nothing" in nothing.sentence


@pytest.mark.parametrize(
    ("other", "at_least", "verdict"),
    [
        ([1.9, 1.8, 1.1, 0.9, 0.5], 0.0, Verdict.SUPPORTED),
        ([1.9, 1.8, 1.1, 0.9, 0.5], 0.59, Verdict.SUPPORTED),
        ([1.9, 1.8, 1.1, 0.9, 0.5], 0.61, Verdict.REFUTED),
        ([1.9, 1.8, 0.9, 0.9, 0.5], 0.0, Verdict.REFUTED),  # a block earlier
        ([1.9, 1.8, 1.1, 1.1, 0.5], 0.0, Verdict.REFUTED),  # a block later
        ([1.9, 1.8, 1.0, 0.9, 0.5], 0.0, Verdict.INCONCLUSIVE),
    ],
)
def test_two_models_that_recover_half_at_the_same_depth(other, at_least, verdict):
    criterion = RecoveryDepthsAgree(models=("a", "b"), rows=LAST, within=0.05, at_least=at_least, **WHY)
    views = {
        "a": transfer([1.9, 1.8, 1.7, 0.8, 0.5], graft=Graft.LAST),
        "b": transfer(other, graft=Graft.LAST),
    }
    finding = judge_joint_criterion(criterion, views)
    assert finding.verdict is verdict, finding.sentence
    assert models_of(criterion) == ("a", "b")
    with pytest.raises(MissingEvidence, match="'b' was not measured"):
        judge_joint_criterion(criterion, {"a": views["a"]})


# --- recovery of the answer's log-probability


def answers(rows, *, base, whole, graft=Graft.LAST, kl=1.0):
    """The answer's log-probability on the base, grafted block by block, and on the adapted model; each moves the KL."""
    grafts = [Adapted(parts=TRAINED, only=(at,), graft=graft, against="whole") for at in range(len(rows))]
    probes = [Adapted(parts=TRAINED, only=(), against="whole"), *grafts, Adapted(parts=TRAINED)]
    means = {"answer_logprob": [base, *rows, whole], "kl_nats": [kl, *(kl for _ in rows), kl]}
    return measured({"adapter_transfer": table(probes, means, noise=0.01)}, len(rows))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("level", "verdict"), [(0.52, Verdict.SUPPORTED), (0.48, Verdict.REFUTED)])
def test_the_way_of_the_answer_is_told_as_it_is(level, verdict, sign):
    """From -3 to -1, or back: half of the way is a log-probability of -2, whatever the KL says."""
    base, whole = (-3.0, -1.0)[:: int(sign)]
    row = base + level * (whole - base)
    view = answers([base, row], base=base, whole=whole)
    rows = replace(LAST, blocks=BlockSet(layers=(1,)))
    found = judge_criterion(AdapterRecovery(rows=rows, at_least=0.5, metric="answer_logprob", **WHY), view)
    assert found.verdict is verdict, found.sentence
    assert found.estimate.value == pytest.approx(level, abs=0.01)
    assert found.estimate.unit == "of the way from base to adapted of the answer's log-probability"
    assert judge_criterion(AdapterRecovery(rows=rows, at_most=0.1, **WHY), view).verdict is Verdict.SUPPORTED


def test_half_of_a_kl_is_not_half_of_the_way():
    """An even way in eight steps: the KL, of the square of what is left, is half gone at L2, the way itself at L3."""
    way = np.arange(1, 9) / 8
    view = answers(list(-3.0 + 2.0 * way), base=-3.0, whole=-1.0)
    found = view.tables["adapter_transfer"]
    left = np.array([1.0, *(1.0 - way) ** 2, 1.0])
    kl = np.repeat(2.0 * left[:, None], len(found.prompts), axis=1)
    view = measured({"adapter_transfer": replace(found, metrics={**found.metrics, "kl_nats": kl + 1e-9})}, 8)
    depths = {
        metric: judge_criterion(
            RecoveryDepth(rows=LAST, level=0.45, at_least=0.0, metric=metric, **WHY), view
        )
        for metric in ("kl_nats", "answer_logprob")
    }
    assert {metric: finding.estimate.value for metric, finding in depths.items()} == {
        "kl_nats": 0.25,
        "answer_logprob": 0.375,
    }


def test_the_last_block_of_a_curve_stands_for_the_adapted_model_and_nothing_else_does():
    view = answers([-2.5, -2.0, -1.0], base=-3.0, whole=-1.0)
    found = view.tables["adapter_transfer"]
    without = found.select(lambda probe: probe != Adapted(parts=TRAINED))
    asked = AdapterRecovery(
        rows=replace(LAST, blocks=BlockSet(layers=(1,))), at_least=0.4, metric="answer_logprob", **WHY
    )
    finding = judge_criterion(asked, measured({"adapter_transfer": without}, 3))
    assert finding.estimate.value == pytest.approx(0.5, abs=0.02)
    contributions = answers([-2.5, -2.0], base=-3.0, whole=-1.0, graft=Graft.CONTRIBUTION)
    without = contributions.tables["adapter_transfer"].select(lambda probe: probe != Adapted(parts=TRAINED))
    with pytest.raises(MissingEvidence, match="no row of the adapted model"):
        judge_criterion(replace(asked, rows=CONTRIBUTIONS), measured({"adapter_transfer": without}, 2))


def test_an_answer_that_goes_up_and_down_has_no_way():
    """Half of the prompts gain two nats and half lose as much: all are above the gate, with no mean to share."""
    view = answers([-2.0, -2.0], base=-2.0, whole=-2.0)
    found = view.tables["adapter_transfer"]
    moved = found.metrics["answer_logprob"].copy()
    moved[-1] += np.where(np.arange(len(found.prompts)) // 2 % 2, 2.0, -2.0)
    found = replace(found, metrics={**found.metrics, "answer_logprob": moved})
    asked = AdapterRecovery(rows=LAST, at_least=0.4, metric="answer_logprob", **WHY)
    finding = judge_criterion(asked, measured({"adapter_transfer": found}, 2))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "no way of which to take a share. 120 of 120 prompts" in finding.sentence


# --- there and back


def both_ways(there, back, *, base=-3.0, whole=-1.0, noise=0.01, graft=Graft.LAST):
    """The answer's log-probability on grafts of the adapted run into the base, and of the base's into the adapted."""
    n = len(there)
    probes = [
        Adapted(parts=TRAINED, only=(), against="whole"),
        Adapted(parts=TRAINED),
        *(Adapted(parts=TRAINED, only=(at,), graft=graft, against="whole") for at in range(n)),
        *(Adapted(parts=TRAINED, only=(at,), graft=graft, into="adapted") for at in range(n)),
    ]
    way = whole - base
    means = [base, whole, *(base + way * np.array(there)), *(whole - way * np.array(back))]
    found = table(probes, {"answer_logprob": means, "kl_nats": [1.0] * len(means)}, noise=noise)
    return measured({"adapter_transfer": found}, n)


UP = [0.1, 0.2, 0.3, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0]
"""Half is reached at L3 of ten."""


@pytest.mark.parametrize(
    ("back", "verdict"),
    [
        (UP, Verdict.SUPPORTED),
        ([0.1] * 2 + [0.7] * 7 + [1.0], Verdict.SUPPORTED),  # L2: a tenth before it
        ([0.1] * 4 + [0.7] * 5 + [1.0], Verdict.SUPPORTED),
        ([0.1] * 1 + [0.7] * 8 + [1.0], Verdict.REFUTED),
        ([0.1] * 5 + [0.7] * 4 + [1.0], Verdict.REFUTED),
        ([0.1] * 4 + [0.5] * 5 + [1.0], Verdict.INCONCLUSIVE),  # on the level until the end
    ],
)
@pytest.mark.parametrize("whole", [-1.0, -5.0])
def test_half_is_brought_and_undone_at_one_depth(back, verdict, whole):
    criterion = RecoveryDepth(
        rows=AdapterRows(on=On.LAST_BACK),
        than=On.LAST,
        metric="answer_logprob",
        at_least=-0.1,
        at_most=0.1,
        **WHY,
    )
    finding = judge_criterion(criterion, both_ways(UP, back, whole=whole))
    assert finding.verdict is verdict, finding.sentence
    later = (np.argmax(np.array(back) >= 0.5) - 3) / 10
    if verdict is not Verdict.INCONCLUSIVE:
        assert finding.estimate.value == pytest.approx(later)


def test_what_is_undone_is_told_by_the_answer_and_by_the_kl():
    """Of the way from adapted to base; in KL from the base, of which the adapted model has 1 and L1 a quarter."""
    rows = AdapterRows(on=On.LAST_BACK, blocks=BlockSet(layers=(1,)))
    view = both_ways([0.1, 0.1], [0.1, 0.3])
    found = judge_criterion(AdapterRecovery(rows=rows, at_least=0.2, metric="answer_logprob", **WHY), view)
    assert found.verdict is Verdict.SUPPORTED
    assert found.estimate.value == pytest.approx(0.3, abs=0.02)
    assert found.estimate.unit == "of the way from adapted to base of the answer's log-probability"
    of_table = view.tables["adapter_transfer"]
    kl = np.full((6, len(of_table.prompts)), 9.0)
    kl[1], kl[5] = 1.0, 0.25
    view = measured({"adapter_transfer": replace(of_table, metrics={"kl_nats": kl})}, 2)
    found = judge_criterion(AdapterRecovery(rows=rows, at_least=0.5, **WHY), view)
    assert found.estimate.value == pytest.approx(0.75)


# --- over how many blocks


def ranks_table(one, other, on, noise=0.003, seeds=(42,)):
    """Effects of blocks under adapters of rank 16 and of rank 1."""
    recipes = {r.name: r for r in RECIPES_BY_RANK}
    rows = {recipes[name]: values for name, values in (("rank_16", one), ("rank_1", other))}
    probes = [
        replace(of_block(at), parts=(Part(family="json_schema", recipe=recipe),))
        for recipe, values in rows.items()
        for at in range(len(values))
        for of_block in (off if on is On.OFF else without_mlp,)
    ]
    means = {"kl_nats": [*one, *other]}
    return pool(
        [table(probes, means, noise=noise, families=["json_schema"], templates=13, seed=s) for s in seeds]
    )


def without_mlp(layer):
    return Adapted(parts=TRAINED, edit=zero(Stream.MLP_OUT, layer), against="whole")


def spread(on, rank, first=False):
    rows = AdapterRows(on=on, recipe=f"rank_{rank}")
    return Spread(rows=rows, share_of=BlockSet(layers=(0,)) if first else None)


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (0.40, Verdict.SUPPORTED),
        (0.45, Verdict.INCONCLUSIVE),
        (0.50, Verdict.REFUTED),
        (0.6, Verdict.REFUTED),
    ],
)
def test_the_share_of_a_block_at_two_ranks(share, verdict):
    """Half of all at rank 1; nine tenths of that is 0.45."""
    one, other = [share, *[(1 - share) / 3] * 3], [0.5, 0.3, 0.1, 0.1]
    view = measured({"adapter_rank_blocks": ranks_table(one, other, On.WITHOUT_MLP)}, 4)
    parts = {name: spread(On.WITHOUT_MLP, rank, first=True) for name, rank in (("part", 16), ("of", 1))}
    criterion = AdapterRatio(experiment="adapter_rank_blocks", **parts, at_most=0.9, **WHY)
    finding = judge_criterion(criterion, view)
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(share / 0.5, rel=0.02)
    assert finding.estimate.low < finding.estimate.value < finding.estimate.high


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        ([0.25] * 4, Verdict.SUPPORTED),  # 4 blocks against 1 / (0.7^2 + 3 * 0.1^2) = 1.92
        ([0.7, 0.1, 0.1, 0.1], Verdict.REFUTED),
        ([0.97, 0.01, 0.01, 0.01], Verdict.REFUTED),
    ],
)
def test_how_many_blocks_carry_it_at_two_ranks(one, verdict):
    view = measured({"adapter_rank_blocks": ranks_table(one, [0.7, 0.1, 0.1, 0.1], On.OFF)}, 4)
    parts = {name: spread(On.OFF, rank) for name, rank in (("part", 16), ("of", 1))}
    criterion = AdapterRatio(experiment="adapter_rank_blocks", **parts, at_least=1.1, **WHY)
    finding = judge_criterion(criterion, view)
    assert finding.verdict is verdict, finding.sentence
    count = [sum(x) ** 2 / sum(v * v for v in x) for x in (one, [0.7, 0.1, 0.1, 0.1])]
    assert finding.estimate.value == pytest.approx(count[0] / count[1], rel=0.02)


PATTERN = np.array([0.05, 0.3, 0.6, 1.0, 2.0, 0.1])
WEIGHTS = (0.25, 0.5, 1.0)


def by_weight_table(times, pattern=PATTERN, other=PATTERN, noise=0.001):
    """Two updates that shift the logits of each block's part by so much; what that does is not in step with it."""

    def nats(shift):
        return shift**2 / (1.0 + 0.15 * shift**1.5)

    recipes = {r.name: r for r in RECIPES_BY_RANK}
    states = [("rank_16", weight, weight * times * pattern) for weight in WEIGHTS] + [("rank_1", 1.0, other)]
    probes = [
        replace(off(at), parts=(Part(family="json_schema", recipe=recipes[name], weight=weight),))
        for name, weight, shifts in states
        for at in range(len(shifts))
    ]
    means = {"kl_nats": np.concatenate([nats(shifts) for _, _, shifts in states])}
    return table(probes, means, noise=noise, families=["json_schema"], templates=13, seed=42)


def weighted(**bound):
    part = replace(spread(On.OFF, 16), weights=WEIGHTS)
    return AdapterRatio(experiment="adapter_rank_blocks", part=part, of=spread(On.OFF, 1), **bound, **WHY)


@pytest.mark.parametrize("times", [1.3, 2.0, 3.0])
def test_a_larger_update_of_the_same_pattern_is_not_spread_over_more_blocks(times):
    """Judged as it is, its size alone supports the claim from twice the size on; at equal size the ratio is 1."""
    view = measured({"adapter_rank_blocks": by_weight_table(times)}, 6)
    found = judge_criterion(weighted(at_least=1.1), view)
    assert found.verdict is Verdict.REFUTED, found.sentence
    assert found.estimate.value == pytest.approx(1.0, rel=0.02)
    assert "weighted to do as much in all" in found.sentence
    raw = AdapterRatio(
        experiment="adapter_rank_blocks", part=spread(On.OFF, 16), of=spread(On.OFF, 1), at_least=1.1, **WHY
    )
    assert (judge_criterion(raw, view).verdict is Verdict.SUPPORTED) == (times >= 2.0)


def test_an_update_of_more_blocks_is_found_whatever_its_size():
    """Twelve blocks, two of which carry the smaller update and four the larger one, alike."""
    one, other = np.repeat([1.0, 0.0], [4, 8]), np.repeat([1.0, 0.0], [2, 10])
    view = measured({"adapter_rank_blocks": by_weight_table(2.2, one, other)}, 12)
    found = judge_criterion(weighted(at_least=1.1), view)
    assert found.verdict is Verdict.SUPPORTED, found.sentence
    assert found.estimate.value == pytest.approx(2.0, rel=0.02)
    assert found.estimate.low < 2.0 < found.estimate.high


@pytest.mark.parametrize("times", [0.5, 6.0])
def test_updates_that_no_weight_makes_alike_are_not_compared(times):
    """At its full weight it does less than the other, or at its smallest more."""
    found = judge_criterion(
        weighted(at_least=1.1), measured({"adapter_rank_blocks": by_weight_table(times)}, 6)
    )
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no two effects of one size" in found.sentence


def test_effects_that_fall_again_with_the_weight_are_compared_where_they_rise():
    """Answers that have become certain hardly move: the full weight does less than a half of it."""
    rising = by_weight_table(3.0)
    kl = rising.metrics["kl_nats"].copy()
    kl[12:18] = 0.2 * kl[:6]
    falling = replace(rising, metrics={**rising.metrics, "kl_nats": kl})
    found = [
        judge_criterion(weighted(at_least=1.1), measured({"adapter_rank_blocks": each}, 6))
        for each in (rising, falling)
    ]
    assert found[1].verdict is Verdict.REFUTED, found[1].sentence
    assert found[1].estimate.value == pytest.approx(found[0].estimate.value, rel=0.02)


def test_the_number_at_a_size_lies_on_a_line_between_logarithms():
    totals = np.array([[1.0, 1.0, 1.0, 4.0], [4.0, 4.0, 4.0, 2.0], [16.0, 16.0, np.nan, 16.0]])
    numbers = np.array([[2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0], [5.0, 5.0, 5.0, 5.0]])
    found = at_the_size_of(numbers, totals, np.array([2.0, 8.0, 8.0, 3.0]))
    assert found[:2] == pytest.approx([np.sqrt(6.0), np.sqrt(15.0)])
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(3.0 * (5.0 / 3.0) ** (np.log(1.5) / np.log(8.0)))


def test_trainings_that_spread_otherwise_decide_nothing():
    even, peaked = [0.25] * 4, [0.7, 0.1, 0.1, 0.1]
    tables = [
        ranks_table(one, other, On.OFF, seeds=(seed,))
        for seed, one, other in ((42, even, peaked), (137, even, peaked), (2026, peaked, even))
    ]
    parts = {name: spread(On.OFF, rank) for name, rank in (("part", 16), ("of", 1))}
    criterion = AdapterRatio(experiment="adapter_rank_blocks", **parts, at_least=1.1, **WHY)
    finding = judge_criterion(criterion, measured({"adapter_rank_blocks": pool(tables)}, 4))
    assert finding.verdict is Verdict.INCONCLUSIVE


def test_blocks_that_do_nothing_are_not_spread():
    view = measured({"adapter_rank_blocks": ranks_table([0.0] * 4, [0.5] * 4, On.OFF, noise=0.0)}, 4)
    parts = {name: spread(On.OFF, rank) for name, rank in (("part", 16), ("of", 1))}
    criterion = AdapterRatio(experiment="adapter_rank_blocks", **parts, at_least=1.1, **WHY)
    finding = judge_criterion(criterion, view)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "nothing that could be spread" in finding.sentence
    with pytest.raises(TypeError, match="one number, not one a block"):
        judge_criterion(
            MedianSide(experiment="adapter_rank_blocks", of=parts["of"], layer=1, side="above", **WHY), view
        )


# --- several trainings


def trained(tables, name, n_layers):
    return measured({name: pool(tables)}, n_layers)


def of_trainings(name, n_layers, make, *given):
    """A table of each of several trainings, and all of them pooled."""
    tables = [make(x, seed) for seed, x in enumerate(given)]
    return [trained([one], name, n_layers) for one in tables], trained(tables, name, n_layers)


def late_by(level, seed):
    return layers_table([1.0] * 4 + [level] * 4, seed=seed)


def one_recovers(left, seed):
    grafts = [Adapted(parts=TRAINED, only=(at,), graft=Graft.LAST, against="whole") for at in range(2)]
    probes = [Adapted(parts=TRAINED, only=(), against="whole"), *grafts]
    return table(probes, {"kl_nats": [2.0, 1.9, left]}, noise=NOISE, seed=seed)


def early(reached, seed):
    """Half of the way is reached at L1 of 4, or at L2."""
    grafts = [Adapted(parts=TRAINED, only=(at,), graft=Graft.LAST, against="whole") for at in range(4)]
    probes = [Adapted(parts=TRAINED, only=(), against="whole"), *grafts]
    return table(probes, {"kl_nats": [2.0, 1.9, 1.7 - reached, 0.6, 0.1]}, noise=NOISE, seed=seed)


def correlated(share, seed):
    """Norms X, and effects of which so much goes with them."""
    return layers_table(1.0 + share * X + (1 - share) * X[::-1], X, seed=seed, noise=0.005)


def above(lead, seed):
    return layers_table([1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 1.6 + lead], seed=seed)


BY_TRAINING = {
    "ratio": (late(at_least=2.0), "adapter_layers", 8, late_by, (2.5, 2.4, 1.9), (1.5, 1.6, 2.1)),
    "recovery": (
        AdapterRecovery(rows=replace(LAST, blocks=BlockSet(layers=(1,))), at_least=0.5, **WHY),
        "adapter_transfer",
        2,
        one_recovers,
        (0.4, 0.5, 1.1),
        (1.6, 1.5, 0.9),
    ),
    "depth": (
        RecoveryDepth(rows=LAST, at_most=0.3, **WHY),
        "adapter_transfer",
        4,
        early,
        (1.2, 1.2, 0.6),
        (0.0, 0.0, 0.8),
    ),
    "correlation": (
        BlockCorrelation(one=UPDATES, two=OFF, at_most=0.5, **WHY),
        "adapter_layers",
        10,
        correlated,
        (0.1, 0.1, 0.9),
        (0.9, 0.9, 0.3),
    ),
    "median": (
        MedianSide(of=OFF, layer=7, side="above", **WHY),
        "adapter_layers",
        8,
        above,
        (0.6, 0.5, -0.1),
        (-0.6, -0.5, 0.1),
    ),
}


@pytest.mark.parametrize("which", BY_TRAINING)
@pytest.mark.parametrize("verdict", [Verdict.SUPPORTED, Verdict.REFUTED])
def test_one_training_that_says_otherwise_leaves_it_open(which, verdict):
    """Two trainings say the same and outweigh a third that does not: pooled they would decide."""
    criterion, name, n_layers, make, *given = BY_TRAINING[which]
    views, pooled = of_trainings(name, n_layers, make, *given[verdict is Verdict.REFUTED])
    alone = [judge_criterion(criterion, view).verdict for view in views]
    assert alone[:2] == [verdict, verdict]
    assert alone[2] not in (verdict, Verdict.INVALID)
    finding = judge_criterion(criterion, pooled)
    assert finding.verdict is Verdict.INCONCLUSIVE, finding.sentence
    assert finding.p_value == 1.0
    assert "The trainings do not agree; by seed " in finding.sentence
    same = of_trainings(name, n_layers, make, *given[verdict is Verdict.REFUTED][:2])[1]
    finding = judge_criterion(criterion, same)
    assert finding.verdict is verdict, finding.sentence
    assert "by seed" not in finding.sentence
    as_one = replace_seeds(pooled, name)
    assert judge_criterion(criterion, as_one).verdict is verdict, "pooled, it would not decide anyway"


def replace_seeds(view, name):
    """The same table as of one training, where its constants allow."""
    found = view.tables[name]
    prompts = tuple(replace(p, seed=0) for p in found.prompts)
    return measured({name: replace(found, prompts=prompts)}, view.n_layers)


def test_the_seeds_are_named_with_their_own_numbers():
    _, pooled = of_trainings("adapter_layers", 8, late_by, 2.5, 2.4, 1.9)
    finding = judge_criterion(late(at_least=2.0), pooled)
    assert finding.sentence.endswith(" The trainings do not agree; by seed 2.5, 2.4, 1.9.")


def test_a_training_that_moves_no_prompt_has_no_recovery():
    def make(base, seed):
        graft = Adapted(parts=TRAINED, only=(0,), graft=Graft.LAST, against="whole")
        probes = [Adapted(parts=TRAINED, only=(), against="whole"), graft]
        return table(probes, {"kl_nats": [base, base / 5]}, noise=1e-3, seed=seed)

    _, pooled = of_trainings("adapter_transfer", 1, make, 2.0, 0.05)
    finding = judge_criterion(AdapterRecovery(rows=LAST, at_least=0.5, **WHY), pooled)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "The trainings do not agree; by seed 0.8, nan." in finding.sentence


# --- what cannot be judged

CRITERIA = (
    late(at_least=2.0),
    correlation(0.3),
    MedianSide(of=OFF, layer=3, side="above", **WHY),
    AdapterRecovery(rows=CONTRIBUTIONS, at_most=0.5, **WHY),
    RecoveryDepth(rows=CONTRIBUTIONS, at_least=0.5, **WHY),
)


def both(**tables):
    one, two = layers(Y[:N] + 1, X[:N]), transfer([1.9] * N)
    return measured({**one.tables, **two.tables, **tables}, N)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: type(c).__name__)
def test_a_number_that_is_none_is_invalid_and_a_missing_block_is_missing(criterion):
    (name,) = criterion.experiments
    found = both().tables[name]
    nan = both(**{name: with_value(found, "kl_nats", 3, 5, np.nan)})
    finding = judge_criterion(criterion, nan)
    assert finding.verdict is Verdict.INVALID
    assert "is nan on the prompt" in finding.sentence
    gone = found.select(lambda probe: not (isinstance(probe, Adapted) and probe.layers == (3,)))
    with pytest.raises(MissingEvidence, match="lacks L3 for"):
        judge_criterion(criterion, both(**{name: gone}))
    with pytest.raises(MissingEvidence, match="was not measured"):
        judge_criterion(criterion, measured({}, N))


def test_a_spread_of_nans_is_invalid():
    broken = with_value(layers_table([1.0] * N), "update_norm", N + 3, 5, np.nan)
    view = measured({"adapter_layers": broken}, N)
    assert judge_criterion(ConstantSpread(of=UPDATES, at_most=1.05, **WHY), view).verdict is Verdict.INVALID


def test_recovery_without_the_base_is_missing_evidence():
    found = transfer([1.0] * 4).tables["adapter_transfer"]
    only_grafts = found.select(lambda probe: bool(probe.layers))
    with pytest.raises(MissingEvidence, match="in no block"):
        judge_criterion(CRITERIA[3], measured({"adapter_transfer": only_grafts}, 4))


def test_two_recipes_of_one_block_are_told_apart_by_name():
    found = layers_table([1.0] * N)
    other = Part(family="json_schema", recipe=PUBLISHED)
    twice = replace(found, probes=(*found.probes[:-1], Adapted(parts=(other,), off=(2,), against="whole")))
    view = measured({"adapter_layers": twice}, N)
    with pytest.raises(MissingEvidence, match="holds L2 2 times"):
        judge_criterion(late(at_least=0.9), view)
    named = replace(OFF, rows=replace(OFF.rows, recipe="sound"))
    assert judge_criterion(late(at_least=0.9, of=named), view).verdict is Verdict.SUPPORTED


def test_effects_below_the_noise_floor_decide_nothing():
    short = replace(layers_table([0.01] * N, noise=1e-3), floor_nats=0.03)
    view = measured({"adapter_layers": short}, N)
    for criterion in (late(at_most=2.0), correlation(-1.0)):
        finding = judge_criterion(criterion, view)
        assert finding.verdict is Verdict.INCONCLUSIVE
        assert "noise floor" in finding.sentence


def test_a_card_for_another_model_is_missing_evidence():
    beyond = replace(late(at_least=2.0), part=OFF.at(BlockSet(layers=(20, 21))))
    with pytest.raises(MissingEvidence, match="has layers L0 to L7"):
        judge_criterion(beyond, both())
    with pytest.raises(MissingEvidence, match="names L12"):
        judge_criterion(MedianSide(of=OFF, layer=12, side="above", **WHY), both())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: late(), "either at_least or at_most"),
        (lambda: late(at_least=1.0, at_most=2.0), "either at_least or at_most"),
        (lambda: late(at_least=0.0), "a factor above 0"),
        (lambda: AdapterRatio(part=UPDATES, of=OFF, at_least=1.0, **WHY), "of one metric"),
        (lambda: correlation(), "bounds ascend"),
        (lambda: correlation(0.5, 0.4), "bounds ascend"),
        (lambda: correlation(0.5, 1.5), "bounds ascend"),
        (lambda: BlockCorrelation(one=WHOLE, two=OFF, at_least=0.0, **WHY), "one row a block"),
        (lambda: ConstantSpread(of=OFF, at_most=1.05, **WHY), "a constant of each block"),
        (lambda: ConstantSpread(of=UPDATES, at_most=1.0, **WHY), "a factor above 1"),
        (lambda: MedianSide(of=OFF.at(HALVES[0]), layer=1, side="above", **WHY), "every block"),
        (lambda: replace(OFF, increments=True), "grow by increments"),
        (lambda: AdapterRecovery(rows=OFF.rows, at_least=0.5, **WHY), "not compared with the adapted model"),
        (lambda: AdapterRecovery(rows=CONTRIBUTIONS, at_least=0.5, gate_nats=0.0, **WHY), "a gate above 0"),
        (
            lambda: AdapterRecovery(rows=LAST, at_least=0.5, metric="foil_logprob", **WHY),
            "of the answer, not of",
        ),
        (lambda: AdapterRecovery(rows=CONTRIBUTIONS, take="gain", at_least=0.5, **WHY), "no gain is taken"),
        (lambda: AdapterRecovery(rows=LAST, take="sum", at_least=0.5, **WHY), "no sum is taken"),
        (lambda: RecoveryDepth(rows=LAST, **WHY), "bounds ascend"),
        (lambda: RecoveryDepth(rows=LAST, than=On.LAST_BACK, at_least=0.0, **WHY), "of the answer's"),
        (lambda: RecoveryDepth(rows=LAST, at_least=-0.1, **WHY), "bounds ascend"),
        (
            lambda: RecoveryDepth(rows=AdapterRows(on=On.ANOTHERS_LAST), at_least=0.1, **WHY),
            "the prompt itself",
        ),
        (lambda: RecoveryDepth(rows=LAST, at_least=0.1, **WHY).other, "not compared with another"),
        (lambda: AdapterRatio(part=spread(On.OFF, 1), of=OFF, at_least=1.0, **WHY), "with a spread"),
        (lambda: replace(spread(On.OFF, 1), weights=(1.0, 0.5)), "two or more, ascending"),
        (
            lambda: AdapterRatio(
                part=spread(On.OFF, 1),
                of=replace(spread(On.OFF, 1), weights=(0.5, 1.0)),
                at_least=1.0,
                **WHY,
            ),
            "the part alone weighted",
        ),
        (
            lambda: AdapterRatio(part=spread(On.OFF, 1), of=spread(On.OFF, 16, True), at_least=1.0, **WHY),
            "the same one",
        ),
        (lambda: Spread(rows=WHOLE.rows), "an effect of every block"),
        (lambda: RecoveryDepth(rows=LAST, level=1.0, at_least=0.5, **WHY), "a level between"),
        (lambda: RecoveryDepthsAgree(models=("a", "a"), rows=LAST, within=0.1, **WHY), "two models"),
        (lambda: BlockSet(from_depth=0.6, to_depth=0.4), "ascend"),
        (lambda: BlockSet(layers=(1,), to_depth=0.4), "by number, or by their share"),
        (lambda: BlockSet(layers=(2, 1)), "ascend"),
        (lambda: AdapterRows(on=On.WHOLE, blocks=HALVES[0]), "of no block"),
    ],
)
def test_a_question_without_meaning_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_selection_serves_the_criteria_on_rows():
    criterion = EveryProbe(
        experiment="adapter_layers", select=WHOLE.rows, metric="kl_nats", at_least=4.9, **WHY
    )
    assert judge_criterion(criterion, layers([1.0] * N)).verdict is Verdict.SUPPORTED


def test_sentences_say_what_is_asked():
    said = [str(criterion) for criterion in CRITERIA]
    assert said[0] == (
        "in adapter_layers, the mean KL with the json_schema adapter off in one block (blocks in the last 50% of "
        "the depth) is at least 2 times the mean KL with the json_schema adapter off in one block (blocks in the "
        "first 50% of the depth)"
    )
    nearly_flat = AdapterRatio(part=UPDATES, of=UPDATES, at_least=1.005, **WHY)
    assert "is at least 1.005 times the mean norm of the update with" in str(nearly_flat)
    assert "correlate (Pearson) at 0.3 or more" in said[1]
    assert "Spearman, given depth" in str(correlation(0.1, 0.2, kind="spearman", given_depth=True))
    assert "at 0.1 to 0.2" in str(correlation(0.1, 0.2))
    assert "is above the median of all blocks for that of L3" in said[2]
    assert "each recovers at most 0.5 of the way" in said[3]
    assert "50% of the recovery of" in said[4]
