"""Judging knockouts: KnockoutSelects, KnockoutBeatsRandom, FlooredRatio.

Selectivity is a difference of two means, the drop on the skill's prompts less the drop on the others', with families
counting equally within each. It is written as one mean over all families, which the bootstrap takes: a prompt's drop is
weighed by the number of families over that of its own group, with a minus where it is of another task.

A ratio of the two has no meaning where the denominator is near 0 or below it. The atlas put 1e-6 there: `floored_ratio`
shows what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.steering import Direction, Kind
from harness.verdicts.comparable import Group, comparable
from harness.verdicts.knockout_index import Index
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.steering_criteria import (
    FlooredRatio,
    Gain,
    Knockout,
    KnockoutBeatsRandom,
    KnockoutSelects,
)
from harness.verdicts.steering_table import NATS, Answer, Asked, SteeringTable, answer, halves, read_table
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

MIN_INDEX_NATS = 0.05
"""Drops that are, both together, surely smaller than this have no index."""


def judge_selects(criterion: KnockoutSelects, measured: Measured) -> Finding:
    """The selectivity on its side of the bound at the 98% interval, and its index where one is asked for."""
    table = read_table(measured, criterion.experiment)
    sign = 1.0 if criterion.at_least is not None else -1.0
    bound = criterion.at_least if criterion.at_least is not None else criterion.at_most
    assert bound is not None

    def asked(layer: int, group: Group) -> list[Asked]:
        excess = sign * (group.selectivity(_drops(table, layer, criterion.strength)[None]) - bound)
        return [Asked(excess=excess, need=1)]

    def score(layer: int, group: Group) -> np.ndarray:
        return np.asarray(sign * group.selectivity(_drops(table, layer, criterion.strength)[None])[0])

    settled = _settle(table, criterion, asked, score)
    if isinstance(settled, Finding):
        return settled
    drops, group, found, said = settled
    verdict, p = found.verdict
    estimate = _shifted(found, sign, bound)
    skill, others = _parts(drops, group)
    sentence = (
        f"{said} {criterion.strength:g} costs the skill {format_number(skill)} nats and the other tasks "
        f"{format_number(others)} on {group.said}: a selectivity of {estimate}; "
        f"{'at least' if sign > 0 else 'at most'} {format_number(bound)} is claimed ({say_p(p)})."
    )
    finding = Finding(verdict=verdict, sentence=sentence, estimate=estimate, p_value=p)
    return _with_index(criterion, drops, group, finding)


def _with_index(criterion: KnockoutSelects, dropped: np.ndarray, group: Group, finding: Finding) -> Finding:
    """The finding joined with the bounded index, which is undefined where neither drop is more than noise."""
    if criterion.index_at_least is None:
        return finding
    clusters = Clusters.of(group.prompts)
    drops = sample(clusters, group.parts(dropped), NATS).draws
    size = np.abs(drops).sum(axis=1)
    if np.quantile(size, ALPHA / 2) < MIN_INDEX_NATS:
        said = f"Its index is undefined: both drops together may be below {MIN_INDEX_NATS:g} nats."
        return replace(finding, verdict=_weaker(finding.verdict), sentence=f"{finding.sentence} {said}")
    index = Index(clusters=clusters, parts=group.parts(dropped))
    low, high = index.interval(at=criterion.index_at_least)
    said = (
        f"Its index is {format_number(index.value)} [{format_number(low)}, {format_number(high)}], of at least "
        f"{criterion.index_at_least:g}."
    )
    sentence = f"{finding.sentence} {said}"
    holds, fails = (min(1.0, 2 * p) for p in index.p_values(criterion.index_at_least))
    if finding.verdict is Verdict.REFUTED:
        return replace(finding, sentence=sentence)
    if fails <= ALPHA / 2 and criterion.layer is not None:
        return replace(finding, verdict=Verdict.REFUTED, sentence=sentence, p_value=min(1.0, 2 * fails))
    p = max(finding.p_value or 0.0, holds)
    verdict = Verdict.SUPPORTED if p <= ALPHA else Verdict.INCONCLUSIVE
    return replace(finding, verdict=verdict, sentence=sentence, p_value=p)


def judge_beats_random(criterion: KnockoutBeatsRandom, measured: Measured) -> Finding:
    """The selectivity less that of each random direction, paired by prompt, over enough of them."""
    table = read_table(measured, criterion.experiment)

    def drawn(layer: int) -> list[Direction]:
        for strength in (
            criterion.strength,
            -criterion.strength,
        ):  # a random direction is as likely as its negative
            if found := [d for d in table.controls(layer, strength) if d.kind is Kind.RANDOM]:
                return found
        raise MissingEvidence(f"no random direction was added at L{layer} by {criterion.strength:g}")

    def asked(layer: int, group: Group) -> list[Asked]:
        own = _drops(table, layer, criterion.strength)
        null = np.array([_random_drops(table, layer, criterion.strength, d) for d in drawn(layer)])
        excess = group.selectivity(own - null) - criterion.margin_nats
        return [Asked(excess=excess, need=math.ceil(criterion.random_share * len(null)))]

    def score(layer: int, group: Group) -> np.ndarray:
        return np.asarray(group.selectivity(_drops(table, layer, criterion.strength)[None])[0])

    settled = _settle(table, criterion, asked, score)
    if isinstance(settled, Finding):
        return settled
    _, group, found, said = settled
    verdict, p = found.verdict
    estimate = _shifted(found, 1.0, criterion.margin_nats)
    (sampled,) = found.sampled
    return Finding(
        verdict=verdict,
        sentence=f"{said} {criterion.strength:g} is more selective by {criterion.margin_nats:g} nats or more than "
        f"{int((sampled.value > 0).sum())} of {len(sampled.value)} random directions, on {group.said}; than the most "
        f"selective of them by {estimate} ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def floored_ratio(skill: float, others: float, *, floor: float = 1e-6, absolute: bool = False) -> float:
    """The atlas's selectivity of two drops: `skill` over `others`, or over its size, which counts as `floor` or more.

    0.011654 and -0.000375, the drops in probability at L19 of Qwen2.5-0.5B, give 11654: the second is negative, so what
    is published is the first times a million. Over its size it is 31.
    """
    return skill / max(abs(others) if absolute else others, floor)


def judge_ratio(criterion: FlooredRatio, measured: Measured) -> Finding:
    """An identity, without an interval: the number against its bounds, and what it was divided by."""
    table = read_table(measured, criterion.experiment)
    layers = table.blocks if criterion.layer is None else (criterion.layer,)
    found: list[tuple[float, int, float, float, float]] = []
    for layer in layers:
        used = [s for s in table.strengths((layer,)) if s < 0 and criterion.strength in (None, s)]
        for strength in used:
            drops = -table.gain(table.at((layer,), strength), Gain.PROBABILITY)
            if not np.isfinite(drops).all():
                return invalid(f"a probability under '{table.at((layer,), strength).edit()}' is not finite")
            skill, others = (float(drops[keep].mean()) for keep in (table.of_skill, ~table.of_skill))
            ratio = floored_ratio(skill, others, floor=criterion.floor, absolute=criterion.absolute)
            found.append((ratio, layer, strength, skill, others))
    if not found:
        raise MissingEvidence(f"no knockout by {criterion.strength} was measured at {layers}")
    ratio, layer, strength, skill, others = max(found)
    high_enough = criterion.at_least is None or ratio >= criterion.at_least
    low_enough = criterion.at_most is None or ratio <= criterion.at_most
    floored = (abs(others) if criterion.absolute else others) < criterion.floor
    said = f"which counts as {criterion.floor:g}" if floored else "which is what it is divided by"
    return Finding(
        verdict=Verdict.SUPPORTED if high_enough and low_enough else Verdict.REFUTED,
        sentence=f"At L{layer} and {strength:g} the skill loses {format_number(skill)} of probability and the other "
        f"tasks {format_number(others)}, {said}: a ratio of {format_number(ratio)}. It has no interval: a ratio of two "
        "differences around 0 has no mean.",
    )


Settled = tuple[np.ndarray, Group, Answer, str]
"""The drop of every prompt at its block, the prompts that are compared, the answer, and where, in words."""


def _settle(
    table: SteeringTable,
    criterion: Knockout,
    asked: Callable[[int, Group], list[Asked]],
    score: Callable[[int, Group], np.ndarray],
) -> Settled | Finding:
    """The block, its prompts and the answer; or why there is none."""
    whole = comparable(table, criterion.min_probability)
    if whole is None:
        return _undefined(table, criterion)
    if not np.isfinite(table.effects.metrics["answer_logprob"]).all():
        return invalid("some log-probabilities of answers are not finite")
    if criterion.layer is not None:
        if criterion.layer not in table.blocks:
            raise MissingEvidence(f"L{criterion.layer} was not steered (steered: {table.blocks})")
        found = answer(asked(criterion.layer, whole), whole.prompts)
        drops = _drops(table, criterion.layer, criterion.strength)
        return drops, whole, found, f"At L{criterion.layer} a step of"
    first = halves(table.prompts)
    sides = [
        comparable(table, criterion.min_probability, among, templates_at_least=1) for among in (~first, first)
    ]

    def best(group: Group) -> int:
        clusters = Clusters.of(group.prompts)
        scores = np.array([score(layer, group) for layer in table.blocks])
        return table.blocks[int(np.argmax(clusters.template_means(scores) @ clusters.weights))]

    chosen = [best(group) for group in sides if group is not None]
    if len(chosen) < 2:
        return _undefined(table, criterion)
    every = {layer: asked(layer, whole) for layer in table.blocks}
    in_first = first[whole.keep]
    crossed = [
        Asked(excess=np.where(in_first, one.excess, two.excess), need=one.need)
        for one, two in zip(every[chosen[0]], every[chosen[1]], strict=True)
    ]
    found = answer(crossed, whole.prompts)
    fails = [answer(groups, whole.prompts).p_fails for groups in every.values()]
    where = " and ".join(f"L{layer}" for layer in dict.fromkeys(chosen))
    said = f"At {where}, each half of the templates where the other half chose, a step of"
    own, other = (_drops(table, layer, criterion.strength) for layer in chosen)
    return np.where(first, own, other), whole, replace(found, p_fails=max(fails)), said


def _undefined(table: SteeringTable, criterion: Knockout) -> Finding:
    known = table.effects.baseline["answer_logprob"] >= math.log(criterion.min_probability)
    skill, others = int((known & table.of_skill).sum()), int((known & ~table.of_skill).sum())
    return Finding(
        verdict=Verdict.INCONCLUSIVE,
        sentence="Undefined: the unedited model gives the answer a probability of "
        f"{criterion.min_probability:g} or more on {skill} of {int(table.of_skill.sum())} prompts of the skill and on "
        f"{others} of {int((~table.of_skill).sum())} of other tasks, too few templates to compare. What is not there "
        "cannot be knocked out.",
        p_value=1.0,
    )


def _drops(table: SteeringTable, layer: int, strength: float) -> np.ndarray:
    return -table.gain(table.at((layer,), strength), Gain.ANSWER)


def _random_drops(table: SteeringTable, layer: int, strength: float, direction: Direction) -> np.ndarray:
    for signed in (strength, -strength):
        if (at := table.at((layer,), signed, direction)) in table.rows:
            return -table.gain(at, Gain.ANSWER)
    raise MissingEvidence(f"'{direction}' was not added at L{layer} by {strength:g}")


def _parts(drops: np.ndarray, group: Group) -> tuple[float, float]:
    """Mean drop of the skill and of the other tasks, nats."""
    clusters = Clusters.of(group.prompts)
    values = clusters.template_means(group.parts(drops)) @ clusters.weights
    return float(values[0]), float(values[1])


def _weaker(verdict: Verdict) -> Verdict:
    return Verdict.REFUTED if verdict is Verdict.REFUTED else Verdict.INCONCLUSIVE


def _shifted(found: Answer, sign: float, bound: float) -> Estimate:
    group, condition = found.worst
    excess = found.sampled[group].estimate(condition)
    low, high = sorted((bound + sign * excess.low, bound + sign * excess.high))
    return replace(excess, value=bound + sign * excess.value, low=low, high=high)
