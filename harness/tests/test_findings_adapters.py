"""Whole findings on adapters' sizes and effects, beside the same resamples by hand, and each exactly on its bound."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from harness.adapters.values import SOUND, Adapted, Part
from harness.effects import Effects, pool
from harness.statistics.bootstrap import percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.statistics.estimate import format_number as fmt
from harness.statistics.ratio import ratio_interval
from harness.verdicts.adapter_criteria import (
    AdapterRatio,
    BlockCorrelation,
    ConstantSpread,
    Measure,
    MedianSide,
    OfAdapters,
)
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured, say_p
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
NAME = "adapter_layers"
WHY = {"rationale": "a test"}
PARTS = (Part(family="json_schema", recipe=SOUND),)
KL = Measure(rows=AdapterRows(on=On.OFF))
WHOLE = Measure(rows=AdapterRows(on=On.WHOLE))
NORM, FACTOR = replace(KL, metric="update_norm"), replace(KL, metric="factor_norm")
LATE, EARLY = BlockSet(from_depth=0.5), BlockSet(to_depth=0.5)
ROWS = "the json_schema adapter off in one block"
SPLIT = " The trainings do not agree; by seed {}."


def effects(kl, norms=(), factors=(), *, whole=4.0, noise=0.0, seed=1) -> Effects:
    """Of the adapter off in each block, and last of the whole one: mean effects, and constants."""
    probes = [Adapted(parts=PARTS, off=(at,), against="whole") for at in range(len(kl))]
    means = {"kl_nats": [*kl, whole]}
    found = table(
        [*probes, Adapted(parts=PARTS)], means, noise=noise, families=2, templates=4, prompts=1, seed=seed
    )
    wide = {
        name: np.repeat([[x] for x in (*(values or [1.0] * len(kl)), 3.0)], len(found.prompts), axis=1)
        for name, values in (("update_norm", list(norms)), ("factor_norm", list(factors)))
    }
    return replace(found, metrics={**found.metrics, **wide})


def judge(criterion: OfAdapters, *tables: Effects, floor=0.0) -> Finding:
    found = replace(pool(tables), floor_nats=floor)
    finding = judge_criterion(criterion, measured({NAME: found}, len(found.probes) - 1))
    assert finding.criterion == str(criterion)
    return replace(finding, criterion="")


def numbers(found: Effects, metric="kl_nats") -> np.ndarray:
    """Of each row the observed mean, and then each resample's."""
    means = sample(Clusters.of(found.prompts), found.metrics[metric], metric)
    return np.vstack([means.value, means.draws])


def p_beyond(x: np.ndarray, edge: float, sign: float) -> float:
    sets = x[1:], 2 * x[0] - x[1:]
    return (max(np.count_nonzero(~(sign * s > sign * edge)) for s in sets) + 1) / 10_000


def ends(x: np.ndarray) -> tuple[float, float]:
    both = [percentile_interval(s) for s in (x[1:], 2 * x[0] - x[1:])]
    return min(low for low, _ in both), max(high for _, high in both)


def settled(holds: float, fails: float) -> tuple[Verdict, float]:
    if holds <= 0.02:
        return SUPPORTED, holds
    return (REFUTED, fails) if fails <= 0.02 else (INCONCLUSIVE, min(1.0, holds))


def shown(value: float, low: float, high: float, unit: str, n: int = 8) -> str:
    return f"{fmt(value)} [{fmt(low)}, {fmt(high)}] {unit} ({n} prompts, 8 templates)"


# --- ratios


KL_LATE, KL_EARLY = KL.at(LATE), KL.at(EARLY)


def ratio(part=KL_LATE, of=KL_EARLY, **given) -> AdapterRatio:
    return AdapterRatio(part=part, of=of, **WHY, **given)


def test_a_ratio_of_shares_is_refused():
    """Differences of shares are no shares: clipped to 0 and 1, they would lie above every bound."""
    shares = replace(KL_LATE, metric="answer_match"), replace(KL_EARLY, metric="answer_match")
    message = "AdapterRatio cannot judge answer_match: a difference of shares is no share"
    with pytest.raises(MissingEvidence, match=message):
        judge(ratio(*shares, at_least=1.5), effects([0.4, 0.5]))


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        ({"at_least": 1.6}, SUPPORTED),
        ({"at_least": 1.9}, INCONCLUSIVE),
        ({"at_least": 2.5}, REFUTED),
        ({"at_most": 2.5}, SUPPORTED),
        ({"at_most": 2.1}, INCONCLUSIVE),
        ({"at_most": 1.6}, REFUTED),
    ],
)
def test_a_mean_against_another(bound, verdict):
    found = effects([1.1, 0.9, 2.3, 1.7], noise=0.12)
    finding = judge(ratio(**bound), found)
    (times,), sign = bound.values(), 1 if "at_least" in bound else -1
    kl, clusters = found.metrics["kl_nats"], Clusters.of(found.prompts)
    part, whole = kl[2:4].mean(axis=0), kl[:2].mean(axis=0)
    excess = sample(clusters, sign * (part - times * whole)[None], "kl_nats")
    assert (finding.verdict, finding.p_value) == settled(
        2 * excess.p_above(0, 0.0), 2 * excess.p_below(0, 0.0)
    )
    assert finding.verdict is verdict
    assert 0.0002 < finding.p_value < 1.0
    low, high = ratio_interval(clusters, part, whole, at=times)
    value = part.mean() / whole.mean()
    assert finding.estimate == Estimate(
        value=pytest.approx(value), low=low, high=high, unit="times", n_prompts=8, n_templates=8
    )
    asked = "at least" if sign > 0 else "at most"
    assert finding.sentence == (
        f"The mean KL with {ROWS} (blocks in the last 50% of the depth) is {fmt(part.mean())} nats, that of {ROWS} "
        f"(blocks in the first 50% of the depth) {fmt(whole.mean())}: {shown(value, low, high, 'times')}; {asked} "
        f"{times} times is asked for ({say_p(finding.p_value)})."
    )


@pytest.mark.parametrize(
    ("bound", "verdict", "row"),
    [
        ({"at_most": 0.5}, SUPPORTED, 2),
        ({"at_most": 0.3}, INCONCLUSIVE, 2),
        ({"at_most": 0.16}, REFUTED, 1),  # the steadiest
        ({"at_least": 0.1}, SUPPORTED, 0),
        ({"at_least": 0.23}, REFUTED, 0),
    ],
)
def test_each_row_by_itself_and_the_deciding_one_is_named(bound, verdict, row):
    found = effects([0.7, 0.9, 1.3, 0.95], noise=0.12)
    finding = judge(ratio(KL, WHOLE, each=True, **bound), found)
    (times,), sign = bound.values(), 1 if "at_least" in bound else -1
    kl, clusters = found.metrics["kl_nats"], Clusters.of(found.prompts)
    excess = sample(clusters, sign * (kl[:4] - times * kl[4]), "kl_nats")
    holds = [2 * excess.p_above(i, 0.0) for i in range(4)]
    fails = [4 * 2 * excess.p_below(i, 0.0) for i in range(4)]
    assert (finding.verdict, finding.p_value) == settled(max(holds), min(fails))
    assert finding.verdict is verdict
    low, high = ratio_interval(clusters, kl[row], kl[4], at=times)
    value = kl[row].mean() / kl[4].mean()
    assert finding.estimate == Estimate(
        value=pytest.approx(value), low=low, high=high, unit="times", n_prompts=8, n_templates=8
    )
    asked = "at least" if sign > 0 else "at most"
    assert finding.sentence == (
        f"Of L{row}, KL with {ROWS} (every block) is {fmt(kl[row].mean())} nats, that of the json_schema adapter "
        f"wholly on {fmt(kl[4].mean())}: {shown(value, low, high, 'times')}; {asked} {times} times is asked for "
        f"({say_p(finding.p_value)})."
    )


def test_of_rows_that_decide_alike_the_one_least_beyond_is_named():
    """Both lie short of the bound, with p-values above 1/2 each: the nearer one steadily, the other in scatter."""
    found = effects([3.0, 2.0, 1.99])
    steady, scattered = np.tile([1.999, 2.0], 4), 1.9 + np.tile([2.5, -1.5, 0.5, -1.5], 2)
    kl = found.metrics["kl_nats"].copy()
    kl[:3] = kl[0], steady, scattered
    found = replace(found, metrics={**found.metrics, "kl_nats": kl})
    finding = judge(ratio(KL, WHOLE, each=True, at_least=0.5), found)
    excess = sample(Clusters.of(found.prompts), kl[:3] - 0.5 * kl[3], "kl_nats")
    assert 0.5 < excess.p_above(2, 0.0) < excess.p_above(1, 0.0)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)
    assert finding.sentence.startswith("Of L2, ")


@pytest.mark.parametrize(
    ("level", "times", "floor", "undecided"),
    [(0.5, 2.0, 0.5, True), (1.0, 0.5, 0.5, True), (0.5, 2.0, 0.25, False), (1.0, 0.5, 0.25, False)],
)
def test_what_is_compared_with_stands_above_the_floor(level, times, floor, undecided):
    finding = judge(ratio(of=WHOLE, at_least=times), effects([1.0] * 4, whole=level), floor=floor)
    if not undecided:
        assert finding.verdict is (SUPPORTED if times < 1 else INCONCLUSIVE)
        return
    sentence = (
        f"mean KL with the json_schema adapter wholly on is {level:g} nats: no effect to compare with, where the noise "
        "floor of this arithmetic is 0.5 nats."
    ).removeprefix("mean ")
    assert finding == Finding(verdict=INCONCLUSIVE, sentence=sentence, p_value=1.0)


@pytest.mark.parametrize("row", [0, 4])
@pytest.mark.parametrize("metric", ["kl_nats", "update_norm"])
def test_a_ratio_of_numbers_that_are_none_is_invalid(row, metric):
    part, of = (replace(m, metric=metric) for m in (KL, WHOLE))
    finding = judge(ratio(part, of, at_least=0.1), with_value(effects([1.0] * 4), metric, row, 3, np.nan))
    probe = "json_schema (sound) on" + (" but at L0" if row == 0 else "")
    cells = 32 if row == 0 else 8
    assert finding == Finding(
        verdict=INVALID,
        sentence=f"Not a measurement: {metric} of '{probe}' is nan on the prompt 'family00 3 0 of seed 1'; "
        f"1 of {cells} values are not finite.",
    )


def test_trainings_that_disagree_show_the_row_least_beyond():
    """L1 is 0.5 and then 0.15 of the whole, where 0.2 is asked for; L0 always lies nearer to it."""
    tables = [effects([0.9, x, 1.5], whole=w, seed=s) for s, (x, w) in enumerate([(2.0, 4.0), (0.45, 3.0)])]
    finding = judge(ratio(KL, WHOLE, each=True, at_least=0.2), *tables)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)
    assert finding.sentence == (
        f"Of L0, KL with {ROWS} (every block) is 0.9 nats, that of the json_schema adapter wholly on 3.5: "
        "0.257 [0.257, 0.257] times (16 prompts, 8 templates); at least 0.2 times is asked for (p = 1)."
        + SPLIT.format("0.5, 0.15")
    )
    for at_most, said in ((0.45, "0.5, 0.15"), (0.4, "0.375, 0.5")):  # L1 would hold least, L2 fails
        finding = judge(ratio(KL, WHOLE, each=True, at_most=at_most), *tables)
        assert finding.verdict is INCONCLUSIVE
        assert finding.sentence.endswith(
            f"at most {at_most} times is asked for (p = 1)." + SPLIT.format(said)
        )


@pytest.mark.parametrize(("short", "verdict"), [(0.0, SUPPORTED), (0.5e-9, SUPPORTED), (2e-9, INCONCLUSIVE)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_training_on_the_bound_of_a_ratio(short, verdict, sign):
    tables = [effects([1.0, x, 0.0, 0.0], seed=s) for s, x in enumerate([1 + 0.5 * sign, 1 - sign * short])]
    bound = {"at_least" if sign > 0 else "at_most": 1.0}
    assert judge(
        ratio(KL.at(BlockSet(layers=(1,))), KL.at(BlockSet(layers=(0,))), **bound), *tables
    ).verdict is (verdict)


def test_a_training_that_does_nothing_has_no_ratio():
    tables = [effects([x] * 2, whole=x, seed=s) for s, x in enumerate([1.0, 0.0])]
    finding = judge(ratio(of=WHOLE, at_least=0.5), *tables)
    assert finding.verdict is SUPPORTED
    finding = judge(
        ratio(of=WHOLE, at_least=0.5), effects([1.0] * 2, whole=1.0), effects([-1e-3] * 2, whole=0.0, seed=2)
    )
    assert finding.sentence.endswith(SPLIT.format("1, -inf"))


# --- ratios of constants


@pytest.mark.parametrize(
    ("given", "said", "verdict"),
    [
        ({"at_least": 1.5}, "The mean|1.500|at least 1.5", SUPPORTED),
        ({"at_least": 1.6}, "The mean|1.500|at least 1.6", REFUTED),
        ({"at_most": 1.5}, "The mean|1.500|at most 1.5", SUPPORTED),
        ({"at_most": 1.4}, "The mean|1.500|at most 1.4", REFUTED),
        ({"at_least": 1.25, "each": True}, "The|1.250|at least 1.25", SUPPORTED),
        ({"at_least": 1.3, "each": True}, "The|1.250|at least 1.3", REFUTED),
        ({"at_most": 1.75, "each": True}, "The|1.750|at most 1.75", SUPPORTED),
        ({"at_most": 1.7, "each": True}, "The|1.750|at most 1.7", REFUTED),
    ],
)
def test_a_constant_against_another(given, said, verdict):
    finding = judge(ratio(NORM.at(LATE), NORM.at(EARLY), **given), effects([1.0] * 4, [3.0, 1.0, 2.5, 3.5]))
    name, worst, asked = said.split("|")
    assert finding == Finding(
        verdict=verdict,
        sentence=f"A number of the adapter, without sampling noise (1 training): {name} norm of the update with {ROWS} "
        f"(blocks in the last 50% of the depth) is {worst} times the mean norm of the update with {ROWS} (blocks in "
        f"the first 50% of the depth); {asked} times is asked for.",
    )


@pytest.mark.parametrize(
    ("given", "said", "verdict"),
    [
        ({"at_least": 1.5}, "1.500 and 3.000", SUPPORTED),
        ({"at_least": 2.0}, "1.500 and 3.000", INCONCLUSIVE),
        ({"at_least": 3.5}, "1.500 and 3.000", REFUTED),
        ({"at_least": 1.25, "each": True}, "1.250 and 2.000", SUPPORTED),
        ({"at_most": 2.0, "each": True}, "1.750 and 4.000", INCONCLUSIVE),
        ({"at_most": 4.0, "each": True}, "1.750 and 4.000", SUPPORTED),
    ],
)
def test_constants_are_compared_in_each_training(given, said, verdict):
    tables = [
        effects([1.0] * 4, x, seed=s) for s, x in enumerate([[3.0, 1.0, 2.5, 3.5], [1.0, 1.0, 4.0, 2.0]])
    ]
    finding = judge(ratio(NORM.at(LATE), NORM.at(EARLY), **given), *tables)
    assert (finding.verdict, finding.p_value, finding.estimate) == (verdict, None, None)
    start, end = "A number of the adapter, without sampling noise (2 trainings): The ", " times is asked for"
    assert finding.sentence.startswith(start)
    assert f" is {said} times the mean norm " in finding.sentence
    one = ", and 1 of 2 trainings say so" if verdict is INCONCLUSIVE else ""
    assert finding.sentence.endswith(end + one + ".")


@pytest.mark.parametrize(
    ("norm", "times", "verdict"),
    [
        (1.5 - 0.5e-9, 1.5, SUPPORTED),
        (1.5 - 2e-9, 1.5, REFUTED),
        (1e-9, 2e-9, SUPPORTED),  # exactly the rounding that is allowed
    ],
)
def test_a_constant_on_its_bound(norm, times, verdict):
    criterion = ratio(NORM.at(BlockSet(layers=(1,))), NORM.at(BlockSet(layers=(0,))), at_least=times)
    assert judge(criterion, effects([1.0] * 2, [1.0, norm])).verdict is verdict


def test_a_constant_that_is_0_in_one_training_is_nothing_to_compare_with():
    tables = [effects([1.0] * 4, x, seed=s) for s, x in enumerate([[1.0] * 4, [0.0, 0.0, 1.0, 1.0]])]
    assert judge(ratio(NORM.at(LATE), NORM.at(EARLY), at_least=0.5), *tables) == Finding(
        verdict=INVALID,
        sentence=f"Not a measurement: norm of the update with {ROWS} (blocks in the first 50% of the depth) is 0: "
        "nothing to compare with.",
    )


# --- correlations

X = [0.9, 0.2, 1.7, 1.1, 2.6, 1.6]
Y = [0.5, 0.9, 1.2, 2.1, 2.0, 1.4]
DEPTH = np.arange(6.0)


def correlation(one=NORM, two=KL, **given) -> BlockCorrelation:
    return BlockCorrelation(one=one, two=two, **WHY, **given)


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def given_line(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ab, az, bz = pearson(a, b), pearson(a, DEPTH), pearson(b, DEPTH)
    return (ab - az * bz) / np.sqrt((1 - az**2) * (1 - bz**2))


def exchanged(a: np.ndarray, b: np.ndarray, *, line: bool) -> float:
    """The share of all orders of the second, of what the depth leaves of it, that correlate as much."""
    left = b - np.polyval(np.polyfit(DEPTH, b, 1), DEPTH) if line else b
    null = (given_line if line else pearson)(a[None], np.array(list(permutations(left))))
    return float((null >= null[0] - 1e-9).mean())


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("line", [False, True])
@pytest.mark.parametrize(
    "bounds",
    [
        (0.0, None),
        (0.2, None),
        (-0.9, None),
        (0.97, None),
        (None, 0.97),
        (None, -0.5),
        (-0.8, 0.97),
        (0.9, 1.0),
    ],
)
def test_a_correlation_and_its_p_value(kind, line, bounds):
    low, high = bounds
    found = effects(Y, X, noise=0.2)
    criterion = correlation(kind=kind, given_depth=line, at_least=low, at_most=high)
    finding = judge(criterion, found)
    a, b = np.array(X), numbers(found)[:, :6]
    if kind == "spearman":
        a, b = stats.rankdata(a), stats.rankdata(b, axis=1)
    r = (given_line if line else pearson)(a, b)
    chance = 0.0 if low is None or low < 0 else exchanged(a, b[0], line=line)
    asked = [(edge, sign) for edge, sign in ((low, 1), (high, -1)) if edge is not None]
    holds = max([2 * chance, *(2 * p_beyond(r, edge, sign) for edge, sign in asked)])
    fails = min(2 * len(asked) * p_beyond(r, edge, -sign) for edge, sign in asked)
    verdict, p = settled(holds, fails)
    assert (finding.verdict, finding.p_value) == (verdict, pytest.approx(p))
    least, most = ends(r)
    least, most, unit = max(-1.0, least), min(1.0, most), f"({kind.capitalize()}{', given depth' * line})"
    assert finding.estimate == Estimate(
        value=pytest.approx(r[0]),
        low=pytest.approx(least),
        high=pytest.approx(most),
        unit=unit,
        n_prompts=8,
        n_templates=8,
    )
    said = "" if low is None or low < 0 else f"; among exchanged blocks {say_p(chance)}"
    assert finding.sentence == (
        f"Over 6 blocks, norm of the update with {ROWS} (every block) and KL with {ROWS} (every block): "
        f"{shown(r[0], least, most, unit)}{said} ({say_p(p)})."
    )


def test_no_correlation_lies_beyond_1():
    """The mirror images of resamples do: their ends are cut."""
    for sign in (1, -1):
        found = effects([5 + sign * x for x in X], X, noise=0.3)
        finding = judge(correlation(at_least=-1.0), found)
        cut = ends(pearson(np.array(X), numbers(found)[:, :6]))
        assert (cut[1] > 1.0) if sign > 0 else (cut[0] < -1.0)
        expected = (cut[0], 1.0) if sign > 0 else (-1.0, cut[1])
        assert (finding.estimate.low, finding.estimate.high) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("line", [False, True])
@pytest.mark.parametrize("bounds", [{"at_least": -0.9}, {"at_most": 0.9}, {"at_least": -0.9, "at_most": 0.9}])
def test_each_training_has_its_own_correlation(kind, line, bounds):
    """The second goes the other way, on its own norms: together as well they lie within the bounds."""
    against = [x + 0.03 * at * (3 - at) for at, x in enumerate(X[::-1])]
    given = [(Y, X), ([6 - 2 * x if "at_least" in bounds else 2 * x for x in against], against)]
    tables = [effects(kl, norms, noise=0.02, seed=s) for s, (kl, norms) in enumerate(given)]
    own = []
    for one, (_, norms) in zip(tables, given, strict=True):
        a, b = np.array(norms), one.metrics["kl_nats"][:6].mean(axis=1)
        if kind == "spearman":
            a, b = stats.rankdata(a), stats.rankdata(b)
        own.append(float((given_line if line else pearson)(a, b)))
    finding = judge(correlation(kind=kind, given_depth=line, **bounds), *tables)
    assert finding.verdict is INCONCLUSIVE
    assert finding.p_value == 1.0
    assert finding.sentence.endswith(" (p = 1)." + SPLIT.format(", ".join(map(fmt, own))))


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("short", "verdict"), [(0.0, SUPPORTED), (0.7e-9, SUPPORTED), (1.5e-9, REFUTED)])
@pytest.mark.parametrize("n", [1, 2])
def test_a_correlation_on_its_bound_within_rounding(side, short, verdict, n):
    down = [6 - y for y in Y]
    edge = float(pearson(np.array(X), np.array(down))) + side * short
    bound = {"at_least" if side > 0 else "at_most": edge}
    tables = [effects([1.0] * 6, X, down, seed=s) for s in range(n)]
    assert judge(correlation(two=FACTOR, **bound), *tables).verdict is verdict


def test_blocks_without_one_of_two_adapters_are_left_out():
    norms, factors = [0.0, *X, 2.0], [2.0, *Y, 0.0]
    finding = judge(correlation(two=FACTOR, at_least=-1.0), effects([1.0] * 8, norms, factors))
    assert finding.sentence.startswith("Over 6 blocks, ")
    assert finding.estimate.value == pytest.approx(stats.pearsonr(X, Y).statistic)


@pytest.mark.parametrize(("n", "verdict"), [(4, SUPPORTED), (3, INCONCLUSIVE)])
def test_four_blocks_are_enough_for_a_correlation(n, verdict):
    finding = judge(correlation(at_least=-1.0), effects(Y[:n], X[:n]))
    assert finding.verdict is verdict
    if n == 3:
        said = "3 blocks have an adapter: a correlation needs 4."
        assert finding == Finding(verdict=INCONCLUSIVE, sentence=said, p_value=1.0)


@pytest.mark.parametrize(
    ("level", "floor", "decided"), [(0.5, 0.5, True), (0.25, 0.5, False), (0.5, 0.25, True)]
)
def test_most_blocks_move_as_much_as_the_floor(level, floor, decided):
    finding = judge(correlation(at_least=-1.0), effects([0.0, 0.125, level, level, 2.0, 4.0], X), floor=floor)
    said = (
        f"Most blocks move less than the noise floor of this arithmetic, {fmt(floor)} nats: measure in float32 "
        "(--dtype float32)."
    )
    undecided = Finding(verdict=INCONCLUSIVE, sentence=said, p_value=1.0)
    assert (finding.verdict is SUPPORTED) if decided else (finding == undecided)


@pytest.mark.parametrize(
    ("kl", "norms", "line", "same"),
    [
        ([0.0] * 6, X, False, True),
        ([2.0] * 6, X, False, True),
        (Y, [3.0] * 6, False, True),
        (Y, [1e-6 * (1 + at) for at in range(6)], True, False),
        (Y, [1e9 * (1 + at) for at in range(6)], True, False),
    ],
)
def test_what_is_the_same_in_every_block_or_goes_with_the_depth_correlates_with_nothing(
    kl, norms, line, same
):
    finding = judge(correlation(at_least=0.0, given_depth=line), effects(kl, norms))
    one, two = f"norm of the update with {ROWS} (every block)", f"KL with {ROWS} (every block)"
    if same:
        said = f"Not a measurement: {one} or {two} is the same in every block: there is no correlation."
        assert finding == Finding(verdict=INVALID, sentence=said)
    else:
        said = f"One of {one} and {two} goes with the depth exactly: nothing is left of it."
        assert finding == Finding(verdict=INCONCLUSIVE, sentence=said, p_value=1.0)


@pytest.mark.parametrize("metric", ["update_norm", "kl_nats"])
def test_either_of_two_that_is_no_number_is_invalid(metric):
    finding = judge(correlation(at_least=0.0), with_value(effects(Y, X), metric, 2, 5, np.inf))
    assert finding == Finding(
        verdict=INVALID,
        sentence=f"Not a measurement: {metric} of 'json_schema (sound) on but at L2' is inf on the prompt "
        "'family01 1 0 of seed 1'; 1 of 48 values are not finite.",
    )


def test_two_measures_of_other_blocks_are_missing_evidence():
    with pytest.raises(MissingEvidence) as raised:
        judge(correlation(NORM.at(EARLY), at_least=0.0), effects(Y, X))
    assert str(raised.value) == (
        f"'{NAME}' holds other blocks for norm of the update with {ROWS} (blocks in the first 50% of the depth) than "
        f"for KL with {ROWS} (every block)"
    )


# --- the spread of a constant


@pytest.mark.parametrize(
    ("norms", "around", "verdict"),
    [
        ([2.0, 3.0], None, SUPPORTED),
        ([1.0, 1.5 * (1 + 1e-9)], None, SUPPORTED),
        ([1.0, 1.5 * (1 + 3e-9)], None, REFUTED),
        ([4.0, 6.1], None, REFUTED),
        ([2.0, 3.0], 2.0, SUPPORTED),
        ([2.0, 3.0], 3.0, SUPPORTED),
        ([1.5, 3.0], 2.25, REFUTED),
        ([2.0, 3.0], 1.99, REFUTED),
        ([2.0, 3.0], 3.01, REFUTED),
    ],
)
def test_the_spread_of_a_constant_on_its_bounds(norms, around, verdict):
    criterion = ConstantSpread(of=NORM, at_most=1.5, around=around, **WHY)
    finding = judge(criterion, effects([1.0] * 4, [norms[1], 0.0, *norms]))
    near = "" if around is None else f", and {around / 1.5:.3f} to {around * 1.5:.3f}"
    assert finding == Finding(
        verdict=verdict,
        sentence=f"A number of the adapter, without sampling noise (1 training): norm of the update with {ROWS} (every "
        f"block) lies between {fmt(norms[0])} and {fmt(norms[1])} over 3 blocks, the largest "
        f"{norms[1] / norms[0]:.3f} times the smallest; 1.5 is allowed{near}.",
    )


def test_the_spread_is_that_of_each_training():
    tables = [effects([1.0] * 2, x, seed=s) for s, x in enumerate([[1.0, 1.25], [4.0, 8.0]])]
    finding = judge(ConstantSpread(of=NORM, at_most=1.5, **WHY), *tables)
    assert finding == Finding(
        verdict=INCONCLUSIVE,
        sentence=f"A number of the adapter, without sampling noise (2 trainings): norm of the update with {ROWS} "
        "(every block) lies between 1 and 8 over 2 blocks, the largest 1.250 and 2.000 times the smallest; 1.5 is "
        "allowed, and 1 of 2 trainings say so.",
    )


def test_a_constant_that_is_none_has_no_spread():
    criterion = ConstantSpread(of=NORM, at_most=1.5, **WHY)
    assert judge(criterion, effects([1.0] * 2, [0.0] * 2)) == Finding(
        verdict=INVALID,
        sentence=f"Not a measurement: norm of the update with {ROWS} (every block) is 0 in every block: there is no "
        "adapter.",
    )
    assert judge(criterion, with_value(effects([1.0] * 2), "update_norm", 1, 0, np.nan)) == Finding(
        verdict=INVALID,
        sentence="Not a measurement: update_norm of 'json_schema (sound) on but at L1' is nan on the prompt "
        "'family00 0 0 of seed 1'; 1 of 16 values are not finite.",
    )


# --- medians


def median_side(layer: int, side="above", of=KL) -> MedianSide:
    return MedianSide(of=of, layer=layer, side=side, **WHY)


@pytest.mark.parametrize(
    ("layer", "side", "verdict"),
    [
        (0, "above", SUPPORTED),
        (0, "below", REFUTED),
        (1, "above", INCONCLUSIVE),
        (4, "below", SUPPORTED),
        (4, "above", REFUTED),
    ],
)
def test_a_block_beside_the_median_block(layer, side, verdict):
    found = effects([1.3, 1.1, 1.0, 0.9, 0.7], noise=0.15)
    finding = judge(median_side(layer, side), found)
    blocks = numbers(found)[:, :5]
    lead = blocks[:, layer] - np.sort(blocks, axis=1)[:, 2]
    sign = 1 if side == "above" else -1
    assert (finding.verdict, finding.p_value) == settled(
        2 * p_beyond(lead, 0.0, sign), 2 * p_beyond(lead, 0.0, -sign)
    )
    assert finding.verdict is verdict
    low, high = ends(lead)
    assert finding.estimate == Estimate(
        value=pytest.approx(lead[0]),
        low=pytest.approx(low),
        high=pytest.approx(high),
        unit="nats above the median",
        n_prompts=8,
        n_templates=8,
    )
    assert finding.sentence == (
        f"KL with {ROWS} (every block) is {fmt(blocks[0, layer])} in L{layer}, "
        f"{shown(lead[0], low, high, 'nats above the median')}; {side} is asked for ({say_p(finding.p_value)})."
    )


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize(
    ("second", "verdicts"),
    [
        (0.25, (SUPPORTED, REFUTED)),
        (0.0, (INCONCLUSIVE, INCONCLUSIVE)),
        (0.7e-9, (INCONCLUSIVE, INCONCLUSIVE)),
        (1.5e-9, (SUPPORTED, REFUTED)),
        (-0.25, (INCONCLUSIVE, INCONCLUSIVE)),
        (-0.75, (INCONCLUSIVE, INCONCLUSIVE)),
    ],
)
def test_each_training_has_its_own_median(side, second, verdicts):
    """Three blocks at each training's own median, and one on either side of it by as much."""
    sign = 1 if side == "above" else -1
    tables = [
        effects([median, median, median + sign * lead, median, median - sign * lead], seed=seed)
        for seed, (median, lead) in enumerate([(2.0, 0.5), (5.0, second)])
    ]
    for asked, verdict in zip((side, "below" if side == "above" else "above"), verdicts, strict=True):
        finding = judge(median_side(2, asked), *tables)
        assert finding.verdict is verdict, finding.sentence
        said = (
            ""
            if verdict is not INCONCLUSIVE
            else SPLIT.format(f"{fmt(sign * 0.5)}, {fmt(sign * second + 0.0)}")
        )
        assert finding.sentence.endswith(f"; {asked} is asked for ({say_p(finding.p_value)}).{said}")


@pytest.mark.parametrize(
    ("side", "norm", "verdict"),
    [
        ("above", 4.2, SUPPORTED),
        ("above", 4.0, REFUTED),
        ("below", 4.0, REFUTED),
        ("below", 3.8, SUPPORTED),
        ("above", 4.0 * (1 + 0.7e-9), REFUTED),
        ("below", 4.0 * (1 - 0.7e-9), REFUTED),
        ("above", 4.0 * (1 + 1.5e-9), SUPPORTED),
        ("below", 4.0 * (1 - 1.5e-9), SUPPORTED),
    ],
)
def test_a_constant_beside_its_median(side, norm, verdict):
    finding = judge(median_side(2, side, NORM), effects([1.0] * 5, [1.0, 4.0, norm, 4.0, 9.0]))
    assert finding == Finding(
        verdict=verdict,
        sentence=f"A number of the adapter, without sampling noise (1 training): norm of the update with {ROWS} (every "
        f"block) is {fmt(norm)} in L2, 4 in the median block; {side} is asked for.",
    )


def test_a_constant_of_none_is_on_neither_side_of_none():
    for side in ("above", "below"):
        assert judge(median_side(1, side, NORM), effects([1.0] * 3, [0.0] * 3)).verdict is REFUTED


def test_a_constant_has_a_median_in_each_training():
    tables = [effects([1.0] * 3, x, seed=s) for s, x in enumerate([[1.0, 2.0, 3.0], [9.0, 8.0, 5.0]])]
    assert judge(median_side(2, "above", NORM), *tables) == Finding(
        verdict=INCONCLUSIVE,
        sentence=f"A number of the adapter, without sampling noise (2 trainings): norm of the update with {ROWS} "
        "(every block) is 4 in L2, 5 in the median block; above is asked for, and 1 of 2 trainings say so.",
    )


def test_a_block_that_is_not_there_or_no_number_has_no_side():
    with pytest.raises(MissingEvidence) as raised:
        judge(median_side(3), effects([1.0] * 3))
    assert str(raised.value) == "the criterion names L3, but the model has layers L0 to L2"
    finding = judge(median_side(0), with_value(effects([1.0] * 3), "kl_nats", 2, 0, np.nan))
    assert finding == Finding(
        verdict=INVALID,
        sentence="Not a measurement: kl_nats of 'json_schema (sound) on but at L2' is nan on the prompt "
        "'family00 0 0 of seed 1'; 1 of 24 values are not finite.",
    )
