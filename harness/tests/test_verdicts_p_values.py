"""The p-value a finding carries, which false discovery control reads: against scipy, enumeration and normal theory.

Thresholds are placed a known number of standard errors from what was measured, so the p-value follows from the normal
distribution, and for the mean of one probe, whose bounds are studentized, from Student's, up to 9,999 resamples. The
two-sided level 0.02 lies between 2.1 and 2.6 standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.anatomy import Massive
from harness.edits import Edit, Stream, skip, zero
from harness.effects import Effects
from harness.mechanism import MechanismEdit, mechanism_edits
from harness.verdicts.criteria import (
    CellWithin,
    EditShare,
    EveryProbe,
    ExtremeLayer,
    FamilyExtremes,
    Flat,
    HubDepthIncreases,
    HubEffectTrend,
    HubIs,
    HubsAt,
    ProfilesDiffer,
    SomeProbe,
    SubsetHubShare,
    TopInFamilies,
    TopLayers,
    TopSpread,
    WriterLeads,
    WriterRaises,
)
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Blocks, Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Finding, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
FAMILIES, TEMPLATES = 12, 5
MANY = {"families": 3, "templates": 80}
"""So many that resampling normal data gives Student's t."""
WHY = {"rationale": "a test"}
SWEEP = {"experiment": "layer_sweep", "metric": "kl_nats", **WHY}


def sweep(means: Sequence[float], noise: float = 0.3, seed: int = 42, **shape: Any) -> Effects:
    return table([skip(i) for i in range(len(means))], {"kl_nats": means}, noise=noise, seed=seed, **shape)


def find(criterion: Any, effects: Effects) -> Finding:
    return judge_criterion(criterion, measured({"layer_sweep": effects}))


def by_template(effects: Effects, families: int = FAMILIES, templates: int = TEMPLATES) -> np.ndarray:
    """layers x families x templates, from the order in which `table` lays its prompts out."""
    values = effects.metrics["kl_nats"]
    return values.reshape(len(values), families, templates, -1).mean(axis=3)


def error(x: np.ndarray) -> float:
    """Standard error of the mean over families of the mean over templates; families are fixed."""
    return float(np.sqrt((x.var(axis=1, ddof=1) / x.shape[1]).sum()) / len(x))


def two_sided(z: float) -> float:
    return float(2 * stats.norm.sf(z))


def student(z: float) -> float:
    """Two-sided, for MANY templates of families that scatter alike."""
    return float(2 * stats.t.sf(z, MANY["families"] * (MANY["templates"] - 1)))


def close(p: float) -> Any:
    """Within twice the error of 9,999 resamples at the smallest p-values used here; half or double would show."""
    return pytest.approx(p, rel=0.3)


AROUND = [(2.6, SUPPORTED), (2.1, INCONCLUSIVE), (1.0, INCONCLUSIVE), (-0.5, INCONCLUSIVE)]
"""Standard errors within the threshold, and the verdict."""


@pytest.mark.parametrize(
    ("z", "verdict", "p"),
    [
        (2.6, SUPPORTED, student(2.6)),
        (2.1, INCONCLUSIVE, student(2.1)),
        (1.0, INCONCLUSIVE, student(1.0)),
        (-0.5, INCONCLUSIVE, 1.0),
    ],
)
@pytest.mark.parametrize("kind", ["every at most", "every at least", "one of one", "cell low", "cell high"])
def test_a_bound_that_holds_by_z_standard_errors(kind, z, verdict, p):
    effects = sweep([2.0] if kind == "one of one" else [2.0, 1.0, 1.2], **MANY)
    if kind == "every at least":
        effects = sweep([2.0, 4.0, 4.2], **MANY)
    own = by_template(effects, **MANY)[0]
    mean, se = own.mean(), error(own)
    one = Blocks(layers=(0,))
    criterion: Any = {
        "every at most": EveryProbe(select=Singles(), at_most=mean + z * se, **SWEEP),
        "every at least": EveryProbe(select=Singles(), at_least=mean - z * se, **SWEEP),
        "one of one": SomeProbe(select=Singles(), at_least=mean - z * se, **SWEEP),
        "cell low": CellWithin(select=one, target=mean - z * se + 1, tolerance=1, **SWEEP),
        "cell high": CellWithin(select=one, target=mean + z * se - 1, tolerance=1, **SWEEP),
    }[kind]
    finding = find(criterion, effects)
    assert finding.verdict is verdict
    assert finding.p_value == (close(p) if p < 1 else 1.0)
    assert finding.estimate is not None
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx(
        (mean - 2.34 * se, mean + 2.34 * se), abs=0.15 * se
    )  # 2.34: the 0.99 quantile of Student's t with 237 degrees of freedom


@pytest.mark.parametrize(("z", "verdict", "p"), [(2.6, REFUTED, student(2.6)), (2.1, INCONCLUSIVE, 1.0)])
@pytest.mark.parametrize("kind", ["some at most", "some at least", "cell below", "cell above"])
def test_a_bound_that_fails_by_z_standard_errors(kind, z, verdict, p):
    effects = sweep([2.0, 1.0, 1.2] if kind == "some at least" else [2.0, 4.0, 4.2], **MANY)
    own = by_template(effects, **MANY)[0]
    mean, se = own.mean(), error(own)
    one = Blocks(layers=(0,))
    criterion: Any = {
        "some at most": SomeProbe(select=Singles(), at_most=mean - z * se, **SWEEP),
        "some at least": SomeProbe(select=Singles(), at_least=mean + z * se, **SWEEP),
        "cell below": CellWithin(select=one, target=mean + z * se + 1, tolerance=1, **SWEEP),
        "cell above": CellWithin(select=one, target=mean - z * se - 1, tolerance=1, **SWEEP),
    }[kind]
    finding = find(criterion, effects)
    assert (finding.verdict, finding.p_value) == (verdict, close(p) if p < 1 else 1.0)


def test_a_bound_at_the_end_of_its_interval_is_decided():
    """The interval that is shown ends on the threshold: p is the level itself, and that is small enough."""
    effects = sweep([2.0], **MANY)
    shown = find(EveryProbe(select=Singles(), at_most=9.0, **SWEEP), effects).estimate
    assert shown is not None
    low, high = shown.low - 1e-9, shown.high + 1e-9  # no two resamples are as near, and rounding is nearer
    one = Blocks(layers=(0,))
    for criterion, verdict in (
        (EveryProbe(select=Singles(), at_most=high, **SWEEP), SUPPORTED),
        (EveryProbe(select=Singles(), at_least=low, **SWEEP), SUPPORTED),
        (EveryProbe(select=Singles(), at_most=low, **SWEEP), REFUTED),
        (SomeProbe(select=Singles(), at_least=low, **SWEEP), SUPPORTED),
        (SomeProbe(select=Singles(), at_least=high, **SWEEP), REFUTED),
        (CellWithin(select=one, target=low + 1.0, tolerance=1.0, **SWEEP), SUPPORTED),
        (CellWithin(select=one, target=low - 1.0, tolerance=1.0, **SWEEP), REFUTED),
    ):
        finding = find(criterion, effects)
        assert (finding.verdict, finding.p_value) == (verdict, pytest.approx(0.02, rel=1e-9)), criterion
    hub, _ = hub_table(**MANY)
    shown = find(HubIs(layer=0, **WHY), hub).estimate
    assert shown is not None
    finding = find(HubIs(layer=0, min_effect_nats=shown.high + 1e-9, **WHY), hub)
    assert (finding.verdict, finding.p_value) == (REFUTED, pytest.approx(0.02, rel=1e-9))


@pytest.mark.parametrize(("n", "z"), [(2, 2.8), (3, 2.95)])
def test_one_probe_picked_from_n_is_corrected_n_times(n, z):
    """The same probe alone and beside others that settle nothing: Bonferroni multiplies its p-value."""
    effects = sweep([2.0, 1.0, 1.0][:n], **MANY)
    own = by_template(effects, **MANY)[0]
    bound = own.mean() - z * error(own)
    for criterion, verdict in (
        (EveryProbe(select=Singles(), at_most=bound, **SWEEP), REFUTED),
        (SomeProbe(select=Singles(), at_least=bound, **SWEEP), SUPPORTED),
    ):
        finding = find(criterion, effects)
        assert (finding.verdict, finding.p_value) == (verdict, close(n * student(z)))


def test_one_probe_picked_from_two_that_would_do_alone_is_undecided():
    """2.45 standard errors: p = 0.015, and twice that."""
    alone, pair = (sweep([2.0, 1.0][:n], **MANY) for n in (1, 2))
    own = by_template(pair, **MANY)[0]
    alone.metrics["kl_nats"][0] = pair.metrics["kl_nats"][0]
    bound = own.mean() - 2.45 * error(own)
    assert student(2.45) < 0.02 < 2 * student(2.45)
    for criterion, verdict in (
        (EveryProbe(select=Singles(), at_most=bound, **SWEEP), REFUTED),
        (SomeProbe(select=Singles(), at_least=bound, **SWEEP), SUPPORTED),
    ):
        assert find(criterion, alone).verdict is verdict
        assert find(criterion, pair).verdict is INCONCLUSIVE


def test_a_correction_never_exceeds_one():
    effects = sweep([2.0, 2.0, 2.0, 2.0])
    bound = by_template(effects)[0].mean()
    finding = find(SomeProbe(select=Singles(), at_least=bound + 0.05, **SWEEP), effects)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)


def small(means: Sequence[float], noise: float, seed: int = 3) -> tuple[Effects, np.ndarray]:
    """Two families of five templates: 1,024 sign patterns, each of which is tried."""
    effects = sweep(means, noise=noise, seed=seed, families=2)
    return effects, by_template(effects, families=2).reshape(len(means), 10)


def signs_p(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p of each mean difference over all sign patterns, alone and as the largest standardized one."""
    patterns = np.array(list(product((1, -1), repeat=differences.shape[1])))
    sums = np.abs(patterns @ differences.T)
    own = (sums >= sums[0] - 1e-12).mean(axis=0)
    scaled = sums / np.sqrt((differences**2).sum(axis=1))
    return own, (scaled.max(axis=1)[:, None] >= scaled[0] - 1e-12).mean(axis=0)


@pytest.mark.parametrize(("which", "sign", "seed"), [("strongest", 1, 5), ("weakest", -1, 6)])
def test_an_extreme_layer_has_the_p_value_of_its_hardest_rival(which, sign, seed):
    effects, x = small([5 + sign, 5 + sign * 0.2, 5 - sign], noise=0.35, seed=seed)
    alone, _ = signs_p(x[0] - x[1:])
    reference = stats.permutation_test(
        (x[0] - x[1],), lambda d, axis=-1: d.mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert alone[0] == pytest.approx(float(reference.pvalue)), "the enumeration is scipy's"
    finding = find(ExtremeLayer(layer=0, which=which, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (SUPPORTED, pytest.approx(alone.max()))
    assert 0.002 < alone.max() < 0.01
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(x[0].mean())


def test_a_layer_below_several_others_is_corrected_for_having_looked_at_all():
    """L1 and L2 tie, so neither beats all the rest: L0 is beaten by the larger of them after max-T."""
    effects, x = small([4.0, 5.0, 5.02, 1.0], noise=0.3, seed=5)
    _, adjusted = signs_p(x[0] - x[1:])
    for criterion in (
        ExtremeLayer(layer=0, which="strongest", **WHY),
        HubIs(layer=0, min_lead=0.0, min_effect_nats=0.0, **WHY),
    ):
        finding = find(criterion, effects)
        assert finding.verdict is REFUTED
        assert finding.p_value == pytest.approx(min(adjusted[0], adjusted[1]))
    assert signs_p(x[2] - x[[0, 1, 3]])[0].max() > 0.05, "the top ties"


def test_a_layer_below_a_separated_top_has_that_tops_p_value():
    """The test of the top against all the rest is the sharper of the two."""
    effects, x = small([4.0, 5.0, 1.0, 2.0, 3.0, 1.5], noise=0.45)
    alone, _ = signs_p(x[1] - x[[0, 2, 3, 4, 5]])
    _, adjusted = signs_p(x[0] - x[1:])
    assert alone.max() < adjusted[0]
    finding = find(ExtremeLayer(layer=0, which="strongest", **WHY), effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, pytest.approx(alone.max()))


def test_top_layers_have_the_p_value_of_the_hardest_pair():
    effects, x = small([4.0, 4.0, 3.0, 2.0], noise=0.25)
    pairs = np.array([x[i] - x[o] for i in (0, 1) for o in (2, 3)])
    alone, _ = signs_p(pairs)
    finding = find(TopLayers(layers=frozenset({0, 1}), **WHY), effects)
    assert (finding.verdict, finding.p_value) == (SUPPORTED, pytest.approx(alone.max()))
    assert alone.max() == alone[0] > alone[1]
    effects, x = small([4.0, 4.0, 3.0, 2.0], noise=0.25, seed=4)
    wrong = np.array([x[i] - x[o] for i in (0, 2) for o in (1, 3)])
    alone, adjusted = signs_p(wrong)
    finding = find(TopLayers(layers=frozenset({0, 2}), **WHY), effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, pytest.approx(adjusted[2]))
    for means, in_order in (([4.0, 4.0, 4.0, 2.0], False), ([4.7, 4.7, 4.0, 2.0], True)):
        effects, x = small(means, noise=0.45)
        undecided = np.array([x[i] - x[o] for i in (0, 1) for o in (2, 3)])
        alone, _ = signs_p(undecided)
        assert (undecided.mean(axis=1) > 0).all() == in_order
        assert 0.05 < alone.max() < 0.9
        finding = find(TopLayers(layers=frozenset({0, 1}), **WHY), effects)
        p = alone.max() if in_order else 1.0
        assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, pytest.approx(p))


def hub_table(**shape: Any) -> tuple[Effects, np.ndarray]:
    effects = sweep([2.0, 1.5, 0.5], **shape)
    return effects, by_template(effects, **shape)


@pytest.mark.parametrize(("z", "verdict"), AROUND)
def test_a_hub_has_the_p_value_of_its_lead(z, verdict):
    """own - rival >= share x own: the share at which (1 - share) x own - rival is z standard errors above 0."""
    effects, x = hub_table()
    shares = np.linspace(0, 0.5, 1_001)
    zs = np.array([((1 - s) * x[0] - x[1]).mean() / error((1 - s) * x[0] - x[1]) for s in shares])
    share = float(shares[np.abs(zs - z).argmin()])
    finding = find(HubIs(layer=0, min_lead=share, **WHY), effects)
    assert finding.verdict is verdict
    assert finding.p_value == (close(two_sided(z)) if z > 0 else 1.0)


def test_a_hub_has_the_p_value_of_its_effect_where_that_is_in_doubt():
    effects, x = hub_table(**MANY)
    floor = x[0].mean() - 2.6 * error(x[0])
    finding = find(HubIs(layer=0, min_effect_nats=floor, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (SUPPORTED, close(student(2.6)))
    floor = x[0].mean() + 2.6 * error(x[0])
    finding = find(HubIs(layer=0, min_effect_nats=floor, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, close(student(2.6)))
    for z, p in ((-2.1, close(student(2.1))), (-1.0, close(student(1.0))), (2.1, 1.0)):
        floor = x[0].mean() + z * error(x[0])
        finding = find(HubIs(layer=0, min_effect_nats=floor, **WHY), effects)
        assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, p)


def test_an_effect_below_its_floor_has_the_p_value_of_the_strongest_block_alone():
    """Another block as strong as it, and as uncertain, does not add to it."""
    effects = sweep([2.0, 2.0, 0.5], **MANY)
    values = effects.metrics["kl_nats"]
    values[1] = (
        values[0].reshape(MANY["families"], -1)[:, ::-1].ravel() - 1e-9
    )  # its twin, template for template another
    own = by_template(effects, **MANY)[0]
    floor = own.mean() + 2.6 * error(own)
    finding = find(HubIs(layer=0, min_effect_nats=floor, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, close(student(2.6)))


@pytest.mark.parametrize(("height", "verdict"), [(3.45, SUPPORTED), (3.8, INCONCLUSIVE)])
def test_a_hub_has_the_p_value_of_its_separation_where_families_disagree(height, verdict):
    """L0 leads in nine families and trails in three: the signs of 60 templates, not their spread, decide.

    With many templates the sign-flipped mean is normal, with the sum of the squares as its variance.
    """
    means = np.ones((2, FAMILIES))
    means[0], means[1, :3] = 2.0, height
    effects = sweep(means, noise=1e-3)
    x = by_template(effects)
    d = x[0] - x[1]
    p = two_sided(d.sum() / np.sqrt((d**2).sum()))
    assert 1e-4 < p < 0.01 if verdict is SUPPORTED else 0.02 < p < 0.2
    finding = find(HubIs(layer=0, min_lead=0.0, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (verdict, close(p))


@pytest.mark.parametrize(("z", "verdict"), [(2.85, REFUTED), (2.45, INCONCLUSIVE)])
def test_no_hub_has_the_p_value_of_the_tie_times_the_rivals(z, verdict):
    """Three layers, two of them equal to within a few percent: two-sided, times two rivals."""
    effects = sweep([2.0, 1.98, 0.5], noise=0.2)
    x = by_template(effects)
    best, other = (0, 1) if x[0].mean() > x[1].mean() else (1, 0)
    shares = np.linspace(0, 0.5, 1_001)
    zs = np.array(
        [(x[other] - (1 - s) * x[best]).mean() / error(x[other] - (1 - s) * x[best]) for s in shares]
    )
    share = float(shares[np.abs(zs - z).argmin()])
    finding = find(HubIs(layer=None, min_lead=share, **WHY), effects)
    assert finding.verdict is verdict
    if verdict is REFUTED:
        assert finding.p_value == close(2 * two_sided(z))


@pytest.mark.parametrize(("z", "verdict"), AROUND)
def test_a_spread_has_the_p_value_of_the_limit(z, verdict):
    effects = sweep([3.0, 2.0, 0.5])
    x = by_template(effects)
    d = x[0] - x[1]
    criterion = TopSpread(k=2, at_most_nats=d.mean() + z * error(d), **WHY)
    finding = find(criterion, effects)
    assert finding.verdict is verdict
    assert finding.p_value == (close(two_sided(z)) if z > 0 else 1.0)
    assert finding.estimate is not None
    assert (finding.estimate.value, finding.estimate.unit) == (pytest.approx(d.mean()), "nats")
    assert finding.estimate.high == pytest.approx(d.mean() + 2.326 * error(d), abs=0.15 * error(d))


def test_a_spread_that_is_too_wide_has_the_p_value_of_the_nearest_layer_outside():
    """k = 2 of three layers: both L1 and L2 must lie more than the limit below the top."""
    effects = sweep([3.0, 2.0, 0.5])
    x = by_template(effects)
    d = x[0] - x[1]
    finding = find(TopSpread(k=2, at_most_nats=d.mean() - 2.6 * error(d), **WHY), effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, close(two_sided(2.6)))
    finding = find(TopSpread(k=2, at_most_nats=d.mean() - 2.1 * error(d), **WHY), effects)
    assert finding.verdict is INCONCLUSIVE


def test_all_layers_may_be_compared():
    effects = sweep([3.0, 2.0, 0.5], noise=1e-6)
    finding = find(TopSpread(k=3, at_most_nats=3.0, **WHY), effects)
    assert finding.verdict is SUPPORTED
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(2.5)


@pytest.mark.parametrize("scale", [1.0, 7.0])
@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize(
    ("z", "verdict", "p"),
    [
        (2.6, SUPPORTED, two_sided(2.6)),  # each of the two one-sided tests at half the level
        (2.1, INCONCLUSIVE, two_sided(2.1)),
        (0.8, INCONCLUSIVE, two_sided(0.8)),
        (-2.6, INCONCLUSIVE, 1.0),  # outside, but for three layers looked at
        (-2.8, REFUTED, 3 * two_sided(2.8)),
    ],
)
def test_flatness_has_the_p_value_of_the_layer_furthest_from_the_median(z, verdict, p, side, scale):
    """The middle of three layers is the median of every resample, so a ratio's bound is a linear one."""
    rest = [1.02, 1.0] if side == "below" else [0.98, 1.0]
    effects = sweep(np.array([*rest, 1.5 if side == "above" else 0.5]) * scale, noise=0.02 * scale)
    x = by_template(effects)
    sign = 1 if side == "above" else -1
    tolerances = np.linspace(0.2, 0.8, 1_201)
    means, middle = x[2], x[int(np.argsort(x.mean(axis=(1, 2)))[1])]
    distances = [sign * ((1 + sign * t) * middle - means) for t in tolerances]
    zs = np.array([d.mean() / error(d) for d in distances])
    tolerance = float(tolerances[np.abs(zs - z).argmin()])
    finding = find(Flat(tolerance=tolerance, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (verdict, close(p) if p < 1 else 1.0)
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(means.mean() / middle.mean())
    assert finding.estimate.low < finding.estimate.value < finding.estimate.high


def family_table(means: Any, noise: float, **shape: Any) -> tuple[Effects, np.ndarray]:
    n = np.shape(means)[1]
    effects = sweep(means, noise=noise, families=n, **shape)
    return effects, by_template(effects, families=n, templates=shape.get("templates", TEMPLATES))


def test_families_on_top_have_the_p_value_of_the_partial_conjunction():
    """Four families, three layers: t-tests by scipy, the counting by hand."""
    means = np.ones((3, 4))
    means[1], means[1, 3], means[2, 3] = [2.0, 1.9, 1.8, 1.0], 1.0, 2.0
    effects, x = family_table(means, noise=0.15)

    def beats(one: int, other: int) -> np.ndarray:
        return np.array(
            [stats.ttest_rel(x[one, f], x[other, f], alternative="greater").pvalue for f in range(4)]
        )

    won = np.maximum(beats(1, 0), beats(1, 2))
    lost = np.minimum(1, 2 * np.minimum(beats(0, 1), beats(2, 1)))
    three = find(TopInFamilies(layer=1, at_least=3, **WHY), effects)
    assert (three.verdict, three.p_value) == (SUPPORTED, pytest.approx(2 * 2 * np.sort(won)[2]))
    four = find(TopInFamilies(layer=1, at_least=4, **WHY), effects)
    assert (four.verdict, four.p_value) == (REFUTED, pytest.approx(2 * 4 * np.sort(lost)[0]))


def test_undecided_families_have_the_smaller_p_value_up_to_one():
    means = np.ones((2, 3))
    means[1] = [1.4, 1.4, 1.0]
    effects, x = family_table(means, noise=0.3)

    def beats(one: int, other: int) -> np.ndarray:
        return np.array(
            [stats.ttest_rel(x[one, f], x[other, f], alternative="greater").pvalue for f in range(3)]
        )

    holds = 2 * min(1, 2 * np.sort(beats(1, 0))[1])
    fails = 2 * min(1, 2 * np.sort(beats(0, 1))[1])
    finding = find(TopInFamilies(layer=1, at_least=2, **WHY), effects)
    assert finding.verdict is INCONCLUSIVE
    assert finding.p_value == pytest.approx(min(1, holds, fails))
    assert 0.05 < holds < 1
    every = find(TopInFamilies(layer=1, at_least=3, **WHY), effects)
    assert every.p_value is not None
    assert every.p_value <= 1.0


def test_family_extremes_have_the_largest_p_value_of_welchs_test():
    """Families of unequal spread, where Student's test gives another answer."""
    from statsmodels.stats.weightstats import ttest_ind as reference

    effects, _ = family_table(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]), noise=0.3)
    values = effects.metrics["kl_nats"].copy()
    values[1, :10] = 1.0 + 8 * (values[1, :10] - 1.0)  # the first family scatters eight times as much
    effects = table([skip(0), skip(1)], {"kl_nats": np.ones((2, 3))}, families=3)
    effects = type(effects)(
        probes=effects.probes, prompts=effects.prompts, metrics={"kl_nats": values}, baseline=effects.baseline
    )
    own = values[1].reshape(3, TEMPLATES, 2).mean(axis=2)

    def welch(a: int, b: int) -> float:
        return float(reference(own[a], own[b], usevar="unequal")[1])

    top = find(FamilyExtremes(layer=1, top=("family02",), bottom=(), **WHY), effects)
    assert top.p_value == pytest.approx(max(welch(2, 0), welch(2, 1)))
    assert welch(2, 0) != pytest.approx(float(reference(own[2], own[0])[1]), rel=0.05)
    both = find(FamilyExtremes(layer=1, top=("family01",), bottom=("family02",), **WHY), effects)
    reversed_pairs = [welch(1, 2)]  # named on top and below a family not named; and at the bottom, above one
    reversed_pairs += [welch(0, 2)] if own[0].mean() < own[2].mean() else []
    assert (both.verdict, both.p_value) == (REFUTED, pytest.approx(4 * min(reversed_pairs)))


def test_a_supported_order_of_families_carries_its_p_value():
    effects, x = family_table(np.array([[1.0, 1.0, 1.0], [1.0, 1.5, 2.2]]), noise=0.3)
    ps = [float(stats.ttest_ind(x[1, 2], x[1, f], equal_var=False).pvalue) for f in (0, 1)]
    finding = find(FamilyExtremes(layer=1, top=("family02",), bottom=(), **WHY), effects)
    assert (finding.verdict, finding.p_value) == (SUPPORTED, pytest.approx(max(ps)))
    effects, x = family_table(np.array([[1.0, 1.0], [1.0, 1.1]]), noise=0.5)
    p = float(stats.ttest_ind(x[1, 0], x[1, 1], equal_var=False).pvalue)
    high = int(x[1].mean(axis=1).argmax())
    finding = find(FamilyExtremes(layer=1, top=(f"family0{high}",), bottom=(), **WHY), effects)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, pytest.approx(p))


@pytest.mark.parametrize(
    ("z", "verdict", "p"),
    [
        (2.6, SUPPORTED, two_sided(2.6)),
        (2.1, INCONCLUSIVE, two_sided(2.1)),
        (1.0, INCONCLUSIVE, two_sided(1.0)),
        (-0.5, INCONCLUSIVE, 1.0),
        (-2.1, INCONCLUSIVE, 1.0),
        (-2.6, REFUTED, two_sided(2.6)),
    ],
)
def test_a_share_of_subsets_has_the_p_value_of_the_family_that_turns_it(z, verdict, p):
    """Two families, subsets of one: half of the subsets have another top exactly where L1 leads in the second."""
    means = np.array([[9.0, 1.0], [1.0, 1.0]])
    effects, x = family_table(means, noise=0.2, templates=20)
    ahead = x[1, 1] - x[0, 1]
    wanted = z * ahead.std(ddof=1) / np.sqrt(len(ahead))
    values = effects.metrics["kl_nats"].copy()
    values[1, values.shape[1] // 2 :] += wanted - ahead.mean()
    moved = type(effects)(
        probes=effects.probes, prompts=effects.prompts, metrics={"kl_nats": values}, baseline=effects.baseline
    )
    finding = find(SubsetHubShare(subset_size=1, at_least=0.5, **WHY), moved)
    assert finding.verdict is verdict
    assert finding.p_value == (close(p) if p < 1 else 1.0)
    assert finding.estimate is not None
    assert finding.estimate.value == (0.5 if z > 0 else 0.0)


def test_a_share_of_subsets_that_no_resample_changes_has_the_least_p_value():
    """One over the 9,999 resamples and the observed one, two-sided: none of them is lost on the way."""
    effects, _ = family_table(np.array([[9.0, 2.0], [1.0, 1.0]]), noise=0.01, templates=20)
    finding = find(SubsetHubShare(subset_size=1, at_least=0.5, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, pytest.approx(2 / 10_000, rel=1e-9))


def test_what_no_resample_contradicts_has_the_least_p_value():
    """Two-sided, one over the 9,999 resamples and the observed one."""
    effects = sweep([3.0, 2.0, 0.5], noise=0.01)
    pair = pair_of(sweep([4.0, 3.0], noise=0.01), sweep([4.0, 1.0], noise=0.01))
    for finding, verdict in (
        (find(TopSpread(k=2, at_most_nats=1.5, **WHY), effects), SUPPORTED),
        (find(TopSpread(k=2, at_most_nats=0.5, **WHY), effects), REFUTED),
        (find(Flat(tolerance=0.9, **WHY), effects), SUPPORTED),
        (find(EveryProbe(select=Singles(), at_most=4.0, **SWEEP), effects), SUPPORTED),
        (find(SomeProbe(select=Singles(), at_least=4.0, **SWEEP), effects), REFUTED),
        (judge_joint_criterion(ProfilesDiffer(model_a="a", model_b="b", **WHY), pair), SUPPORTED),
        (
            judge_joint_criterion(ProfilesDiffer(model_a="a", model_b="b", tolerance=0.5, **WHY), pair),
            REFUTED,
        ),
    ):
        assert (finding.verdict, finding.p_value) == (verdict, pytest.approx(2 / 10_000, rel=1e-9))
    for finding, verdict in (
        (find(EveryProbe(select=Singles(), at_most=2.5, **SWEEP), effects), REFUTED),
        (find(SomeProbe(select=Singles(), at_least=2.5, **SWEEP), effects), SUPPORTED),
    ):  # times the three probes
        assert (finding.verdict, finding.p_value) == (verdict, pytest.approx(3 * 2 / 10_000, rel=1e-9))


def test_a_share_of_subsets_is_no_surer_than_the_hub_it_misses():
    """Five templates a family: eight to one, but the signs of ten templates reach p = 0.04 and no more."""
    means = np.array([[9.0, 1.0], [1.0, 1.3]])
    effects, x = family_table(means, noise=0.01)
    alone, _ = signs_p((x[0] - x[1]).reshape(1, 10))
    finding = find(SubsetHubShare(subset_size=1, at_least=0.4, **WHY), effects)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, pytest.approx(float(alone[0])))


def pair_of(a: Effects, b: Effects) -> dict[str, Any]:
    return {name: measured({"layer_sweep": effects}) for name, effects in (("a", a), ("b", b))}


@pytest.mark.parametrize(
    ("z", "direction", "verdict", "p"),
    [
        (2.6, "increasing", SUPPORTED, two_sided(2.6)),
        (2.6, "decreasing", REFUTED, two_sided(2.6)),
        (-2.6, "decreasing", SUPPORTED, two_sided(2.6)),
        (2.1, "increasing", INCONCLUSIVE, two_sided(2.1)),
        (2.1, "decreasing", INCONCLUSIVE, 1.0),
        (1.0, "increasing", INCONCLUSIVE, two_sided(1.0)),
        (1.0, "decreasing", INCONCLUSIVE, 1.0),
    ],
)
def test_a_trend_has_the_p_value_of_the_paired_difference(z, direction, verdict, p):
    """Both models answer the same templates, so what these share cancels: se of the difference, not of two."""
    one, other = sweep([2.0, 1.0], seed=1), sweep([2.0, 1.0], seed=2)
    shared = 3 * np.random.default_rng(0).standard_normal((FAMILIES * TEMPLATES, 1)).repeat(2, axis=1).ravel()
    for effects in (one, other):
        effects.metrics["kl_nats"][:] += shared
    d = by_template(other)[0] - by_template(one)[0]
    other.metrics["kl_nats"][:] += z * error(d) - d.mean()
    criterion = HubEffectTrend(models=("a", "b"), direction=direction, **WHY)
    finding = judge_joint_criterion(criterion, pair_of(one, other))
    assert finding.verdict is verdict
    assert finding.p_value == (close(p) if p < 1 else 1.0)


@pytest.mark.parametrize(("z", "verdict"), [(2.8, REFUTED), (2.45, INCONCLUSIVE)])
def test_a_trend_over_more_models_is_corrected_for_its_steps_where_it_fails(z, verdict):
    """Two steps, one of them down: for support the harder step counts, for refutation the other one twice."""
    tables = [sweep([level, 1.0], seed=seed, noise=0.2) for seed, level in enumerate((3.0, 4.0, 3.9))]
    x = [by_template(t)[0] for t in tables]
    d = x[2] - x[1]
    tables[2].metrics["kl_nats"][:] -= z * error(d) + d.mean()
    models = {name: measured({"layer_sweep": t}) for name, t in zip("abc", tables, strict=True)}
    finding = judge_joint_criterion(
        HubEffectTrend(models=("a", "b", "c"), direction="increasing", **WHY), models
    )
    assert finding.verdict is verdict
    assert finding.p_value == (close(2 * two_sided(z)) if verdict is REFUTED else 1.0)


@pytest.mark.parametrize(
    ("z", "verdict", "p"),
    [
        (2.6, SUPPORTED, two_sided(2.6)),
        (2.1, INCONCLUSIVE, two_sided(2.1)),
        (1.0, INCONCLUSIVE, two_sided(1.0)),
        (-0.5, INCONCLUSIVE, 1.0),
        (-2.1, INCONCLUSIVE, 1.0),
        (-2.6, REFUTED, two_sided(2.6)),
    ],
)
def test_a_distance_of_profiles_has_the_p_value_of_the_limit(z, verdict, p):
    """Two layers, the top without noise: the profiles are lines from 1 to s, (s - t) / 2 apart on average."""
    one, other = sweep([4.0, 3.0], seed=1), sweep([4.0, 1.0], seed=2)
    for effects in (one, other):
        effects.metrics["kl_nats"][0] = 4.0
    d = (by_template(one)[1] - by_template(other)[1]) / 8
    criterion = ProfilesDiffer(model_a="a", model_b="b", tolerance=d.mean() - z * error(d), **WHY)
    finding = judge_joint_criterion(criterion, pair_of(one, other))
    assert finding.verdict is verdict
    assert finding.p_value == (close(p) if p < 1 else 1.0)
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(d.mean())
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx(
        (d.mean() - 2.326 * error(d), d.mean() + 2.326 * error(d)), abs=0.15 * error(d)
    )


def test_profiles_are_compared_at_equal_depths_whatever_their_number_of_layers():
    """Bent profiles of four and six layers: numpy's interpolation at 21 depths from the first block to the last."""
    a, b = [1.0, 4.0, 1.0, 3.0], [2.0, 1.0, 5.0, 3.0, 1.0, 4.0]
    depths = np.linspace(0, 1, 21)
    lines = [np.interp(depths, np.linspace(0, 1, len(x)), np.array(x) / max(x)) for x in (a, b)]
    pair = pair_of(sweep(a, noise=1e-9), sweep(b, noise=1e-9))
    finding = judge_joint_criterion(ProfilesDiffer(model_a="a", model_b="b", **WHY), pair)
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(np.abs(lines[0] - lines[1]).mean(), rel=1e-6)


def test_what_moves_all_layers_alike_is_no_uncertainty_of_the_shape():
    """Prompts that answer more strongly in every block: each resample is divided by its own top."""
    one, other = sweep([4.0, 1.0], noise=0.0), sweep([4.0, 3.0], noise=0.0)
    strength = np.random.default_rng(0).uniform(0.5, 2, one.metrics["kl_nats"].shape[1])
    for effects in (one, other):
        effects.metrics["kl_nats"][:] *= strength
    finding = judge_joint_criterion(ProfilesDiffer(model_a="a", model_b="b", **WHY), pair_of(one, other))
    assert finding.estimate is not None
    assert (finding.estimate.low, finding.estimate.value, finding.estimate.high) == pytest.approx((0.25,) * 3)


def test_one_model_under_two_names_shows_no_trend_either_way():
    effects = sweep([4.0, 1.0])
    for direction in ("increasing", "decreasing"):
        criterion = HubEffectTrend(models=("a", "b"), direction=direction, **WHY)
        finding = judge_joint_criterion(criterion, pair_of(effects, effects))
        assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)


def test_depths_that_cannot_be_compared_are_a_test_that_was_done():
    finding = a_model_without_a_hub()
    assert finding.verdict is INCONCLUSIVE
    assert finding.p_value is not None, "false discovery control counts it"


def test_profiles_of_the_same_shape_are_no_distance_apart():
    """The interval of a distance does not reach below 0."""
    one, other = sweep([4.0, 2.0], noise=0.02, seed=1), sweep([8.0, 4.0], noise=0.02, seed=2)
    finding = judge_joint_criterion(ProfilesDiffer(model_a="a", model_b="b", **WHY), pair_of(one, other))
    assert finding.verdict is REFUTED
    assert finding.estimate is not None
    assert finding.estimate.low == 0.0


def test_joint_hubs_carry_the_largest_p_value_and_each_models_floors():
    """The least certain of the models decides; and what the card asks of a hub is asked of each."""
    sure, _ = hub_table()
    share = 0.1
    doubtful = sweep([2.0, 1.6, 0.5], seed=9)
    y = by_template(doubtful)
    shift = (1 - share) * y[0] - y[1]
    doubtful.metrics["kl_nats"][1] += shift.mean() - 2.6 * error(shift)
    both = pair_of(sure, doubtful)
    alone = find(HubIs(layer=0, min_lead=share, **WHY), doubtful)
    assert (alone.verdict, alone.p_value) == (SUPPORTED, close(two_sided(2.6)))
    for criterion in (
        HubsAt(layers={"a": 0, "b": 0}, min_lead=share, **WHY),
        HubDepthIncreases(models=("a", "b"), min_lead=share, **WHY),
    ):
        finding = judge_joint_criterion(criterion, both)
        assert finding.p_value == alone.p_value
    for criterion in (
        HubsAt(layers={"a": 0, "b": 0}, min_lead=share + 0.1, **WHY),
        HubDepthIncreases(models=("a", "b"), min_lead=share + 0.1, **WHY),
        HubsAt(layers={"a": 0, "b": 0}, min_lead=0.0, min_effect_nats=2.0, **WHY),
        HubDepthIncreases(models=("a", "b"), min_lead=0.0, min_effect_nats=2.0, **WHY),
    ):
        assert judge_joint_criterion(criterion, both).verdict is INCONCLUSIVE


EDITS = mechanism_edits(Massive(layer=0, dim=7, others=(1, 5)), 2)
"""Of a model whose first block is the writer."""


def edited(levels: dict[MechanismEdit, float] | None = None, **shape: Any) -> Effects:
    """A table of these edits, whose mean kl_nats are `levels` by kind (1 where not named)."""
    probes = {edit: (levels or {}).get(kind, 1.0) for kind, edits in EDITS.items() for edit in edits}
    return table(list(probes), {"kl_nats": list(probes.values())}, **shape)


def moved_by(effects: Effects, edit: Edit) -> np.ndarray:
    """Mean kl_nats of one edit over the prompts of each template, of a table of MANY."""
    values = effects.metrics["kl_nats"][effects.row(edit)]
    return values.reshape(MANY["families"], MANY["templates"], -1).mean(axis=2)


TWO_SIDES = [
    (2.6, SUPPORTED, student(2.6)),
    (2.1, INCONCLUSIVE, student(2.1)),
    (1.0, INCONCLUSIVE, student(1.0)),
    (-0.5, INCONCLUSIVE, 1.0),
    (-2.1, INCONCLUSIVE, 1.0),
    (-2.6, REFUTED, student(2.6)),
]
"""Standard errors within the bound, verdict and p-value, where one mean is judged both ways."""


@pytest.mark.parametrize(("z", "verdict", "p"), TWO_SIDES)
def test_a_factor_has_the_p_value_of_its_power_of_ten(z, verdict, p):
    write = zero(Stream.MLP_OUT, 0, positions=(0,), dims=(7,))
    writes = table([write], {"rise_log10": [2.0]}, noise=0.3, seed=3, **MANY)
    x = writes.metrics["rise_log10"].reshape(MANY["families"], MANY["templates"], -1).mean(axis=2)
    criterion = WriterRaises(at_least=10 ** (x.mean() - z * error(x)), **WHY)
    finding = judge_criterion(criterion, measured({"massive_writes": writes, "hub_mechanism": edited()}, 2))
    assert (finding.verdict, finding.p_value) == (verdict, close(p) if p < 1 else 1.0)
    assert finding.estimate is not None
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx(
        (x.mean() - 2.34 * error(x), x.mean() + 2.34 * error(x)), abs=0.15 * error(x)
    )


def test_a_factor_at_the_end_of_its_interval_is_decided():
    write = zero(Stream.MLP_OUT, 0, positions=(0,), dims=(7,))
    writes = table([write], {"rise_log10": [2.0]}, noise=0.3, **MANY)
    models = measured({"massive_writes": writes, "hub_mechanism": edited()}, 2)
    shown = judge_criterion(WriterRaises(at_least=2.0, **WHY), models).estimate
    assert shown is not None
    for power, verdict in ((shown.low - 1e-9, SUPPORTED), (shown.high + 1e-9, REFUTED)):
        finding = judge_criterion(WriterRaises(at_least=10**power, **WHY), models)
        assert (finding.verdict, finding.p_value) == (verdict, pytest.approx(0.02, rel=1e-9))


@pytest.mark.parametrize(("z", "verdict", "p"), TWO_SIDES)
@pytest.mark.parametrize("side", ["at_least", "at_most"])
def test_a_share_has_the_p_value_of_the_difference_from_that_share_of_the_whole(side, z, verdict, p):
    """One edit of 1 nat in 2: part - share x whole is linear, so Student's t over templates is exact."""
    effects = edited({MechanismEdit.SKIP: 2.0}, noise=0.3, **MANY)
    part, whole = (moved_by(effects, EDITS[kind][0]) for kind in (MechanismEdit.ZERO, MechanismEdit.SKIP))
    sign = 1 if side == "at_least" else -1
    shares = np.linspace(0.3, 0.7, 4_001)
    zs = np.array([sign * (part - s * whole).mean() / error(part - s * whole) for s in shares])
    share = float(shares[np.abs(zs - z).argmin()])
    criterion = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, **{side: share}, **WHY)
    finding = judge_criterion(criterion, measured({"hub_mechanism": effects}, 2))
    assert (finding.verdict, finding.p_value) == (verdict, close(p) if p < 1 else 1.0)
    assert finding.estimate is not None
    ratio, se = part.mean() / whole.mean(), error(part - share * whole) / whole.mean()
    assert finding.estimate.value == pytest.approx(ratio)
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx(
        (ratio - 2.34 * se, ratio + 2.34 * se), abs=0.15 * se
    )


def shares_of_two(first: float, second: float, side: str = "at_most") -> tuple[Finding, Effects]:
    """The share 0.1 of 10 nats asked of two edits that lie so many standard errors within it, if they scatter."""
    effects = edited({MechanismEdit.ZERO: 10.0, MechanismEdit.OTHER_DIM: 1.0}, noise=0.3, **MANY)
    values, sign = effects.metrics["kl_nats"], 1 if side == "at_least" else -1
    whole = effects.row(EDITS[MechanismEdit.ZERO][0])
    for edit, z in zip(EDITS[MechanismEdit.OTHER_DIM], (first, second), strict=True):
        excess = moved_by(effects, edit) - 0.1 * moved_by(effects, effects.probes[whole])
        values[effects.row(edit)] += sign * z * error(excess) - excess.mean()
    criterion = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.ZERO, **{side: 0.1}, **WHY)
    return judge_criterion(criterion, measured({"hub_mechanism": effects}, 2)), effects


@pytest.mark.parametrize("side", ["at_least", "at_most"])
def test_several_edits_are_as_sure_as_the_least_sure_and_one_that_fails_counts_them_all(side):
    """Bonferroni for the one of two that was picked; at 2.45 standard errors alone it would have been small enough."""
    for zs, verdict, p in (
        ((9.0, 2.6), SUPPORTED, student(2.6)),
        ((2.6, 9.0), SUPPORTED, student(2.6)),
        ((2.6, 2.6), SUPPORTED, student(2.6)),
        ((9.0, 2.1), INCONCLUSIVE, student(2.1)),
        ((9.0, -2.8), REFUTED, 2 * student(2.8)),
        ((-2.8, 9.0), REFUTED, 2 * student(2.8)),
        ((9.0, -2.45), INCONCLUSIVE, 1.0),
    ):
        finding, _ = shares_of_two(*zs, side=side)
        assert (finding.verdict, finding.p_value) == (verdict, close(p) if p < 1 else 1.0), zs


def led(sweep_of_blocks: Effects, **criterion: Any) -> Finding:
    """WriterLeads, of L0."""
    tables = {"layer_sweep": sweep_of_blocks, "hub_mechanism": edited()}
    return judge_criterion(WriterLeads(**criterion, **WHY), measured(tables))


def test_a_writer_that_leads_has_the_p_value_of_its_hardest_rival():
    effects, x = small([5.0, 4.3, 3.9], noise=0.35, seed=4)
    alone, adjusted = signs_p(x[0] - x[1:])
    assert alone.min() < alone.max() < 0.01 < adjusted.max()
    finding = led(effects)
    assert (finding.verdict, finding.p_value) == (SUPPORTED, pytest.approx(alone.max()))
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(x[0].mean())


def test_a_writer_below_others_is_corrected_for_having_looked_at_all():
    effects, x = small([4.0, 4.8, 4.82, 1.0], noise=0.35, seed=4)
    alone, adjusted = signs_p(x[0] - x[1:])
    assert min(alone[:2]) < min(adjusted[:2]) < 0.01 < max(adjusted[:2])
    finding = led(effects)
    assert (finding.verdict, finding.p_value) == (REFUTED, pytest.approx(min(adjusted[:2])))


@pytest.mark.parametrize(("means", "ahead"), [([4.0, 4.2, 3.3], False), ([4.2, 4.0, 3.3], True)])
def test_a_writer_that_ties_has_the_p_value_of_a_lead_if_it_has_one(means, ahead):
    """That it is far ahead of another block is no evidence against it."""
    effects, x = small(means, noise=0.35, seed=5)
    d = x[0] - x[1:]
    alone, adjusted = signs_p(d)
    assert ((d.mean(axis=1) > 0).all(), adjusted[1] < 0.01) == (ahead, True)
    assert 0.02 < alone[0] < 0.9
    finding = led(effects)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, pytest.approx(alone[0] if ahead else 1.0))


def an_effect_at_its_floor() -> Finding:
    effects, x = hub_table()
    return find(HubIs(layer=0, min_effect_nats=float(x[0].mean()), **WHY), effects)


def one_pair_out_of_order() -> Finding:
    effects, _ = small([4.0, 4.0, 4.4, 1.0], noise=0.3)
    return find(TopLayers(layers=frozenset({0, 1}), **WHY), effects)


def a_model_without_a_hub() -> Finding:
    criterion = HubDepthIncreases(models=("a", "b"), **WHY)
    return judge_joint_criterion(criterion, pair_of(sweep([2.0, 1.5], 0.01), sweep([2.0, 1.99], 0.01)))


def one_family_out_of_order() -> Finding:
    means = np.array([[1.0] * 4, [1.0, 1.2, 2.0, 2.0]])
    effects, _ = family_table(means, noise=0.15)
    return find(FamilyExtremes(layer=1, top=("family00", "family02", "family03"), bottom=(), **WHY), effects)


@pytest.mark.parametrize(
    ("undecided", "least"),
    [
        (an_effect_at_its_floor, 0.9),  # twice about a half
        (one_pair_out_of_order, 1.0),
        (a_model_without_a_hub, 1.0),
        (one_family_out_of_order, 1.0),
    ],
)
def test_what_is_undecided_is_no_evidence(undecided, least):
    """A small p-value here would make the chapter's other claims look surer than they are."""
    finding = undecided()
    assert finding.verdict is INCONCLUSIVE
    assert finding.p_value is not None
    assert least <= finding.p_value <= 1.0
