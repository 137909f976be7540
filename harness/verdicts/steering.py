"""Judging steering: gains, slopes, controls, inertness, and what else is moved.

Every claim is written as conditions that hold where a mean over prompts is at least 0, so that differences between two
directions are paired by prompt. "At some block" is supported where each half of the templates is judged at the block
that the other half chose (two-fold cross-fitting), and refuted where every block that was steered fails, on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.statistics.paired import sign_flip
from harness.steering import Direction, Kind
from harness.verdicts.criterion import SEPARATION_ALPHA
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.steering_criteria import (
    BeatsControls,
    BestSteered,
    SteeringGain,
    SteeringInert,
    SteeringSlope,
)
from harness.verdicts.steering_table import (
    NATS,
    Answer,
    Asked,
    SteeringTable,
    all_of,
    answer,
    bound_of,
    claimed,
    halves,
    kept,
    measured_value,
    read_table,
    unusable,
)
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

Conditions = Callable[[int], Sequence[Asked]]
"""Block -> what is asked of it, a row of prompts a condition."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where prompts are judged: at one block, or each half of the templates at the block that the other half chose."""

    layers: tuple[int, int]
    """Of the first half and of the second."""
    first: Bool[np.ndarray, " prompt"]
    keep: Bool[np.ndarray, " prompt"]
    named: bool

    def of(self, values: Callable[[int], np.ndarray]) -> np.ndarray:
        """Values by block, each prompt's at its own block, on the prompts that are judged."""
        own, other = (values(layer)[..., self.keep] for layer in self.layers)
        return np.where(self.first[self.keep], own, other)

    def __str__(self) -> str:
        where = " and ".join(f"L{layer}" for layer in dict.fromkeys(self.layers))
        return (
            f"At {where}"
            if self.named
            else f"At {where}, each half of the templates where the other half chose,"
        )


def judge_gain(criterion: SteeringGain, measured: Measured) -> Finding:
    """Every strength's mean gain on its side of the bound, at the 98% interval; refuted where one lies beyond it."""
    table = read_table(measured, criterion.experiment)
    sign, bound = bound_of(criterion.at_least, criterion.at_most)

    def conditions(layer: int) -> list[Asked]:
        gains = [table.gain(table.at((layer,), s), criterion.gain) for s in criterion.strengths]
        return [all_of(sign * (np.array(gains) - bound))]

    def score(layer: int) -> np.ndarray:
        gains = [table.gain(table.at((layer,), s), criterion.gain) for s in criterion.strengths]
        return np.asarray(sign * np.mean(gains, axis=0))

    def said(place: Place, found: Answer, p: float) -> tuple[str, Estimate]:
        _, worst = found.worst
        estimate = measured_value(found, sign, bound, criterion.gain.unit)
        text = f"{place} a strength of {criterion.strengths[worst]:g} changes {criterion.gain} by {estimate}"
        return f"{text}; {claimed(criterion.at_least, criterion.at_most)} is claimed ({say_p(p)}).", estimate

    return _judge(table, criterion.layer, conditions, score, said)


def judge_slope(criterion: SteeringSlope, measured: Measured) -> Finding:
    """The mean of the prompts' slopes beyond 0 at the 98% interval, and with a bound the share that goes against it."""
    table = read_table(measured, criterion.experiment)

    def slope(layer: int) -> np.ndarray:
        return criterion.sign * table.slope((layer,), criterion.gain, criterion.window)

    def said(place: Place, found: Answer, p: float) -> tuple[str, Estimate]:
        estimate = measured_value(found, criterion.sign, 0.0, f"{criterion.gain.unit} per unit of strength")
        against = float((place.of(slope) < 0).mean())
        return (
            f"{place} the slope of {criterion.gain} is {estimate}, {say_p(p)}; on {against:.0%} of the prompts "
            "it has the other sign.",
            estimate,
        )

    found = _judge(table, criterion.layer, lambda layer: [all_of(slope(layer)[None])], slope, said)
    if criterion.anti_at_most is None or found.verdict is Verdict.INVALID:
        return found
    return _with_share(criterion, table, found, slope)


def _with_share(
    criterion: SteeringSlope, table: SteeringTable, found: Finding, slope: Callable[[int], np.ndarray]
) -> Finding:
    """The finding on the sign, joined with that on the share of prompts that go against it."""
    assert criterion.anti_at_most is not None
    place = _place(table, criterion.layer, slope)
    against = (place.of(slope) < 0).astype(float)
    sampled = sample(Clusters.of(kept(table, place.keep)), against[None], "argmax_match")
    holds, fails = (min(1.0, 2 * p(0, criterion.anti_at_most)) for p in (sampled.p_below, sampled.p_above))
    low, high = sampled.interval(0)
    sentence = (
        f"{found.sentence} The share is {sampled.value[0]:.0%} [{low:.0%}, {high:.0%}], and at most "
        f"{criterion.anti_at_most:.0%} is claimed."
    )
    if found.verdict is Verdict.REFUTED or fails <= ALPHA:
        refuting = [
            p for p in (found.p_value if found.verdict is Verdict.REFUTED else None, fails) if p is not None
        ]
        return replace(found, verdict=Verdict.REFUTED, sentence=sentence, p_value=min(1.0, 2 * min(refuting)))
    p = max(found.p_value or 0.0, holds)
    verdict = Verdict.SUPPORTED if p <= ALPHA else Verdict.INCONCLUSIVE
    return replace(found, verdict=verdict, sentence=sentence, p_value=p)


def judge_controls(criterion: BeatsControls, measured: Measured) -> Finding:
    """The paired margin over each control; supported over enough of the random ones and over every other."""
    table = read_table(measured, criterion.experiment)

    def own(layer: int) -> np.ndarray:
        return table.gain(table.at((layer,), criterion.strength), criterion.gain)

    def control(layer: int, direction: Direction) -> np.ndarray:
        return table.gain(table.at((layer,), criterion.strength, direction), criterion.gain)

    def conditions(layer: int) -> list[Asked]:
        drawn = table.controls(layer, criterion.strength)
        groups = [[d for d in drawn if (d.kind is Kind.RANDOM) is random] for random in (True, False)]
        if not all(groups):
            raise MissingEvidence(
                f"no random or no other control of '{table.main}' at L{layer} by {criterion.strength:g}"
            )
        excess = [
            np.array([own(layer) - control(layer, direction) for direction in group]) - criterion.margin_nats
            for group in groups
        ]
        need = math.ceil(criterion.random_share * len(groups[0]))
        return [Asked(excess=excess[0], need=need), all_of(excess[1])]

    def said(place: Place, found: Answer, p: float) -> tuple[str, Estimate]:
        drawn = table.controls(place.layers[0], criterion.strength)
        at, worst = found.worst
        named = [d for d in drawn if (d.kind is Kind.RANDOM) is (at == 0)][worst]
        estimate = measured_value(found, 1.0, criterion.margin_nats, "nats")
        n_random = len(found.sampled[0].value)
        beaten = int((found.sampled[0].value > 0).sum())
        gained = format_number(float(place.of(own).mean()))
        return (
            f"{place} by {criterion.strength:g} the direction changes {criterion.gain} by {gained} nats, by "
            f"{criterion.margin_nats:g} or more beyond {beaten} of {n_random} random directions; over the strongest "
            f"control, '{named}', its lead is {estimate} ({say_p(p)}).",
            estimate,
        )

    return _judge(table, criterion.layer, conditions, own, said)


def judge_inert(criterion: SteeringInert, measured: Measured) -> Finding:
    """Two one-sided tests a strength (Schuirmann 1987): the 98% interval of every gain inside the bounds."""
    table = read_table(measured, criterion.experiment)
    layers = (criterion.layer,)
    used = [s for s in table.strengths(layers) if abs(s) <= criterion.up_to + 1e-9]
    if not used:
        raise MissingEvidence(f"no strength up to {criterion.up_to:g} was measured at L{criterion.layer}")
    bound = criterion.within_nats

    def conditions(layer: int) -> list[Asked]:
        gains = np.array([table.gain(table.at((layer,), s), criterion.gain) for s in used])
        return [all_of(np.concatenate([bound - gains, bound + gains]))]

    def said(place: Place, found: Answer, p: float) -> tuple[str, Estimate]:
        _, worst = found.worst
        strength, sign = used[worst % len(used)], -1.0 if worst < len(used) else 1.0
        estimate = measured_value(found, sign, -sign * bound, criterion.gain.unit)
        return (
            f"{place} the strength that does most, {strength:g}, changes {criterion.gain} by {estimate}; within "
            f"{bound:g} is claimed ({say_p(p)}).",
            estimate,
        )

    return _judge(table, criterion.layer, conditions, lambda layer: np.zeros(len(table.prompts)), said)


def judge_best(criterion: BestSteered, measured: Measured) -> Finding:
    """Supported: every other steered block beaten. Refuted: some other block above it. Inconclusive: a tie."""
    table = read_table(measured, criterion.experiment)
    if criterion.layer not in table.blocks:
        raise MissingEvidence(f"L{criterion.layer} was not steered (steered: {table.blocks})")
    rivals = [layer for layer in table.blocks if layer != criterion.layer]
    keep = table.of_skill
    values = np.array(
        [
            table.gain(table.at((b,), criterion.strength), criterion.gain)[keep]
            for b in (criterion.layer, *rivals)
        ]
    )
    if problem := unusable(values):
        return invalid(problem)
    clusters = Clusters.of(kept(table, keep))
    means = clusters.template_means(values)
    test = sign_flip(means[0] - means[1:], clusters.weights, clusters.rng("sign flips"))
    ahead = bool((test.statistic > 0).all())
    p_ahead = float(test.p.max()) if ahead else 1.0
    p_behind = float(test.p_adjusted[test.statistic < 0].min(initial=1.0))
    rival, lead = rivals[int(np.argmin(test.statistic))], float(test.statistic.min())
    estimate = sample(clusters, values[:1], NATS).estimate(0)
    verdict, p = (
        (Verdict.SUPPORTED, p_ahead)
        if p_ahead < SEPARATION_ALPHA
        else (Verdict.REFUTED, p_behind)
        if p_behind < SEPARATION_ALPHA
        else (Verdict.INCONCLUSIVE, p_ahead)
    )
    return Finding(
        verdict=verdict,
        sentence=f"At L{criterion.layer} a strength of {criterion.strength:g} changes {criterion.gain} by {estimate}; "
        f"the strongest other of {len(rivals)} blocks is L{rival}, {format_number(abs(lead))} nats "
        f"{'above' if lead < 0 else 'below'} it, {say_p(p)}.",
        estimate=estimate,
        p_value=p,
    )


def _judge(
    table: SteeringTable,
    layer: int | None,
    conditions: Conditions,
    score: Callable[[int], np.ndarray],
    said: Callable[[Place, Answer, float], tuple[str, Estimate]],
) -> Finding:
    """The verdict at a named block, or where `score` chooses."""
    place, skill = _place(table, layer, score), table.of_skill
    every = {b: conditions(b) for b in (table.blocks if layer is None else (layer,))}
    for groups in every.values():
        if problem := unusable(np.concatenate([group.excess[:, skill] for group in groups])):
            return invalid(problem)
    prompts = kept(table, skill)
    asked = [
        Asked(excess=place.of(lambda b, g=g: every[b][g].excess), need=group.need)  # type: ignore[misc]
        for g, group in enumerate(every[place.layers[0]])
    ]
    found = answer(asked, prompts)
    if layer is None:
        fails = [answer([group.on(skill) for group in groups], prompts).p_fails for groups in every.values()]
        found = replace(found, p_fails=max(fails))
    verdict, p = found.verdict
    sentence, estimate = said(place, found, p)
    if layer is None and verdict is Verdict.REFUTED:
        sentence += f" None of {len(every)} blocks does it."
    return Finding(verdict=verdict, sentence=sentence, estimate=estimate, p_value=p)


def _place(table: SteeringTable, layer: int | None, score: Callable[[int], np.ndarray]) -> Place:
    """The named block; or for each half of the templates the block with the best mean score on the other."""
    skill, first = table.of_skill, halves(table.prompts)
    if layer is not None:
        if layer not in table.blocks:
            raise MissingEvidence(f"L{layer} was not steered (steered: {table.blocks})")
        return Place(layers=(layer, layer), first=first, keep=skill, named=True)
    if not (skill & first).any() or not (skill & ~first).any():
        raise MissingEvidence(
            f"each family of '{table.main}' has a single template: a block is chosen on some and judged on others"
        )
    scores = np.array([score(block) for block in table.blocks])

    def best(on: np.ndarray) -> int:
        clusters = Clusters.of(kept(table, on))
        return table.blocks[int(np.argmax(clusters.template_means(scores[:, on]) @ clusters.weights))]

    return Place(layers=(best(skill & ~first), best(skill & first)), first=first, keep=skill, named=False)
