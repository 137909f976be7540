"""The truth about criteria on adapters, from a table without noise (`harness.calibration.table_truth`).

`size` is 1 at the threshold. How it is counted:

    a ratio                        the ratio of the means, over the factor; "at most": turned over
    of two spreads                 the ratio of the two numbers, over the factor; "at most": turned over
    a correlation of b             (1 - b) / (1 - correlation)
    a recovery                     as a bound on a share
    a depth of recovery            before the least depth: level / the largest recovery there; up to the largest depth:
                                   (1 - level) / the least share not recovered there; the smaller of the two; against
                                   another's, with the bounds from its depth on
    a weighted sum, bound b        mean / b; "at most", or b below 0: turned over, without end where the mean is on the
                                   other side of 0
    a weighted sum, bound 0        what adds over what is taken off, each from the base's; where nothing but the base's
                                   is taken off, a sign: 1 + mean / LEAST_GAIN
    one family leads               ratio of its mean to the next
    one recipe against others      its gain over what is asked of it, by the others' gains; the least of those needed
    changes differ                 gap between and within states, over the margin
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from harness.adapters.values import Adapted
from harness.calibration.table_means import agreement_size, family_mean
from harness.calibration.truth import bound_size
from harness.patching import RECOVERY
from harness.statistics.correlation import correlations
from harness.statistics.ranks import spearman
from harness.verdicts.adapter_selectors import EVERY_BLOCK, AdapterRows, On, block_of
from harness.verdicts.criteria import (
    AdapterRatio,
    AdapterRecovery,
    BlockCorrelation,
    ChangesDiffer,
    Contrast,
    EveryProbe,
    FamilyLeads,
    Measure,
    RecipeBeats,
    RecoveryDepth,
    Spread,
    Term,
)
from harness.verdicts.reading import Measured

LEAST_GAIN = 0.2
"""Nats of a sign, as of a slope in nats per length (`harness.calibration.table_truth.LEAST_SLOPE`)."""
ROUNDING = 1e-9

AdapterCriterion = (
    AdapterRatio
    | BlockCorrelation
    | AdapterRecovery
    | RecoveryDepth
    | Contrast
    | FamilyLeads
    | ChangesDiffer
    | RecipeBeats
)


def adapter_size(criterion: AdapterCriterion, view: Measured) -> float:
    """The truth. Raises TypeError where it is not defined: of two bounds, of sums of recoveries, of increments."""
    match criterion:
        case AdapterRatio():
            return _ratio(criterion, view)
        case BlockCorrelation():
            return _correlated(criterion, view)
        case AdapterRecovery():
            return _recovered(criterion, view)
        case RecoveryDepth():
            return _depth(criterion, view)
        case Contrast():
            return _contrast(criterion, view)
        case FamilyLeads():
            means = {family: _sum_on(criterion, family, view) for family in criterion.sums}
            own = means.pop(criterion.family)
            return own / max(means.values()) if criterion.which == "largest" else min(means.values()) / own
        case ChangesDiffer():
            return changes_gap(criterion, view) / criterion.margin
        case RecipeBeats():
            return _beaten(criterion, view)


def _beaten(criterion: RecipeBeats, view: Measured) -> float:
    table = view.table(criterion.experiment)
    own = [i for i, prompt in enumerate(table.prompts) if prompt.family == criterion.family]
    prompts = tuple(table.prompts[i] for i in own)
    added = table.values("answer_logprob")[:, own] - table.baseline["answer_logprob"][own]
    means = family_mean(added, prompts)
    gains = {
        probe.parts[0].recipe.name: float(mean)
        for probe, mean in zip(table.probes, means, strict=True)
        if isinstance(probe, Adapted) and probe.parts[0].step == criterion.step
    }
    one = gains[criterion.recipe]
    pairs = [(one, gains[name]) for name in criterion.others if name in gains]
    sizes = [
        (other / (criterion.share * own + criterion.margin))
        if criterion.theirs
        else own / (criterion.share * other + criterion.margin)
        for own, other in pairs
    ]
    least = len(sizes) if criterion.least is None else min(criterion.least, len(sizes))
    return sorted(sizes, reverse=True)[least - 1]


def _means(experiment: str, measure: Measure, view: Measured) -> Float[np.ndarray, " rows"]:
    """Of each row, its mean; of blocks, in their order."""
    if measure.increments:
        raise TypeError(f"no truth is defined for increments: {measure}")
    rows = view.rows(experiment, measure.rows, measure.metric)
    means = family_mean(rows.values, rows.prompts)
    if not measure.rows.on.names_a_block:
        return means
    blocks = [block_of(probe) for probe in rows.probes if isinstance(probe, Adapted)]
    return np.asarray(means[np.argsort(blocks)])


def _ratio(criterion: AdapterRatio, view: Measured) -> float:
    if isinstance(criterion.part, Spread) and isinstance(criterion.of, Spread):
        one, other = _spreads(criterion.experiment, criterion.part, criterion.of, view)
        return float((one / other / criterion.times) ** criterion.sign)
    part, of = (_means(criterion.experiment, m, view) for m in (criterion.part, criterion.of))
    rows = part if criterion.each else part.mean(keepdims=True)
    return float(np.min((rows / (criterion.times * of.mean())) ** criterion.sign))


def _spreads(experiment: str, part: Spread, of: Spread, view: Measured) -> tuple[float, float]:
    """Both numbers; the part's where its blocks do as much in all as the other's."""
    whole = _means(experiment, of.measures[0], view)
    own = [_means(experiment, measure, view) for measure in part.measures]
    numbers = [_spread(part, means) for means in own]
    if not part.weights:
        return numbers[0], _spread(of, whole)
    sums = [np.log(means.sum()) for means in own]
    return float(np.exp(np.interp(np.log(whole.sum()), sums, np.log(numbers)))), _spread(of, whole)


def _spread(spread: Spread, means: Float[np.ndarray, " blocks"]) -> float:
    if spread.share_of is not None:
        return float(means[list(spread.share_of.of(len(means)))].sum() / means.sum())
    shares = means / means.sum()
    return float(1.0 / (shares @ shares))


def _correlated(criterion: BlockCorrelation, view: Measured) -> float:
    if criterion.at_least is None or criterion.at_most is not None:
        raise TypeError(f"no truth is defined for a correlation that is not from below alone: {criterion}")
    one, two = (_means(criterion.experiment, m, view) for m in (criterion.one, criterion.two))
    given = np.arange(len(one), dtype=float) if criterion.given_depth else None
    found = correlations(one[None], two[None], ranks=criterion.kind == "spearman", given=given)
    return agreement_size(criterion.at_least, float(found[0]))


def recoveries(
    experiment: str, rows: AdapterRows, view: Measured, metric: str = "kl_nats"
) -> Float[np.ndarray, " blocks"]:
    """1 - KL(adapted || row) / KL(adapted || base) of each block; the same on all prompts, so above any gate too.

    Of rows that bring the base back, with base and adapted exchanged; of the answer, its share of the way.
    """
    ends = [replace(rows, on=on, blocks=EVERY_BLOCK) for on in (On.NONE, On.WHOLE)]
    start, end = reversed(ends) if rows.on.is_back else ends
    left = _means(experiment, Measure(rows=rows, metric=metric), view)
    first = _means(experiment, Measure(rows=start, metric=metric), view)
    if metric == "kl_nats":
        return np.asarray(1.0 - left / first)
    return np.asarray((left - first) / (_means(experiment, Measure(rows=end, metric=metric), view) - first))


def _recovered(criterion: AdapterRecovery, view: Measured) -> float:
    if criterion.take != "each":
        raise TypeError(f"no truth is defined for a {criterion.take} of recoveries: {criterion}")
    bound = EveryProbe(
        experiment=criterion.experiment,
        select=criterion.rows,
        metric=RECOVERY,
        at_least=criterion.at_least,
        at_most=criterion.at_most,
        rationale="as the criterion's",
    )
    return min(bound_size(bound, float(r)) for r in recoveries(criterion.experiment, criterion.rows, view))


def _depth(criterion: RecoveryDepth, view: Measured) -> float:
    found = _curve(criterion, view)
    depth = np.arange(len(found)) / len(found)
    start = 0.0
    if criterion.than is not None:
        start = float(depth[np.argmax(_curve(criterion.other, view) >= criterion.level)])
    sizes = []
    if criterion.at_least is not None:
        before = found[depth < start + criterion.at_least - ROUNDING]
        sizes.append(_over(criterion.level, float(before.max(initial=0.0))))
    if criterion.at_most is not None:
        until = found[depth <= start + criterion.at_most + ROUNDING]
        sizes.append(_over(1.0 - criterion.level, float(1.0 - until.max())))
    return min(sizes)


def _curve(criterion: RecoveryDepth, view: Measured) -> Float[np.ndarray, " blocks"]:
    assert criterion.rows.blocks == EVERY_BLOCK
    found = recoveries(criterion.experiment, criterion.rows, view, criterion.metric)
    return found if criterion.rows.on.is_curve else np.asarray(np.cumsum(found) / found.sum())


def _contrast(criterion: Contrast, view: Measured) -> float:
    sign = -1.0 if criterion.at_least is None else 1.0
    bound = criterion.at_most if criterion.at_least is None else criterion.at_least
    assert bound is not None
    mean = _mean_of_sum(criterion.experiment, criterion.terms, criterion.metric, view)
    if bound:
        return mean / bound if sign * bound > 0.0 else _over(1.0, mean / bound)
    rows = [term for term in criterion.terms if term.of is not None]
    added, taken = (
        _mean_of_sum(criterion.experiment, _from_base(rows, side), criterion.metric, view) for side in (1, -1)
    )
    if not any(term.weight < 0.0 for term in rows):
        return 1.0 + sign * mean / LEAST_GAIN
    return added / taken if sign > 0.0 else taken / added


def _from_base(rows: list[Term], side: int) -> tuple[Term, ...]:
    """The terms of one sign, their weights without it, each less the base's number."""
    kept = [Term(weight=abs(t.weight), of=t.of) for t in rows if t.weight * side > 0.0]
    return (*kept, Term(weight=-sum(t.weight for t in kept)))


def _mean_of_sum(experiment: str, terms: tuple[Term, ...], metric: str, view: Measured) -> float:
    table = view.table(experiment)
    total = np.zeros(len(table.prompts))
    for term in terms:
        if term.weight:
            row = table.baseline[metric] if term.of is None else table.values(metric)[table.row(term.of)]
            total = total + term.weight * row
    return float(family_mean(total, table.prompts))


def _sum_on(criterion: FamilyLeads, family: str, view: Measured) -> float:
    """The mean of a family's sum over its own prompts."""
    table = view.table(criterion.experiment)
    own = [i for i, prompt in enumerate(table.prompts) if prompt.family == family]
    rows = [
        (t.weight, table.values(criterion.metric)[table.row(t.of)]) for t in criterion.sums[family] if t.of
    ]
    if len(rows) < len(criterion.sums[family]):
        raise TypeError(f"no truth is defined where the base's number is in the sum: {criterion}")
    return float(sum(weight * row[own].mean() for weight, row in rows))


def changes_gap(criterion: ChangesDiffer, view: Measured) -> float:
    """Mean of 1 - Spearman over pairs of states: trainings of one state have one profile here, and no gap within."""
    before = view.profile_of(criterion.before)
    base = family_mean(before.values, before.prompts)
    changes = []
    for of in criterion.after.values():
        after = view.profile_of(of)
        changes.append(family_mean(after.values, after.prompts) - base)
    return float(np.mean([1.0 - spearman(a[None], b[None])[0] for a, b in combinations(changes, 2)]))


def _over(limit: float, value: float) -> float:
    return limit / value if value > 0.0 else math.inf
