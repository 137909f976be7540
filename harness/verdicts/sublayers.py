"""Judging TopLead, EffectOrder, RankAgreement, TopOverlap and SameEffect."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np

from harness.edits import format_layers
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.statistics.ranks import spearman
from harness.verdicts.agreement import (
    Agreement,
    Pair,
    compare,
    judge_least,
    of_correlation,
    of_overlap,
    overlap,
)
from harness.verdicts.criterion import ProfileOf
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, Profile, invalid, say_p
from harness.verdicts.reserve import say_reserve
from harness.verdicts.selectors import Sublayer
from harness.verdicts.sublayer_criteria import EffectOrder, RankAgreement, SameEffect, TopLead, TopOverlap
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict


def judge_top_lead(criterion: TopLead, measured: Measured) -> Finding:
    """Supported: every excess of a named layer over `factor` times another is above 0; refuted: one is below.

    The p-value of support is the largest over pairs, that of a refutation Bonferroni's over them.
    """
    profile = measured.profile_of(criterion.of)
    profile.check_layer(*criterion.layers)
    if profile.problem:
        return invalid(profile.problem)
    others = [layer for layer in range(profile.n_layers) if layer not in criterion.layers]
    if not others:
        raise MissingEvidence("TopLead names every layer of the model: there is none to lead")
    pairs = [(a, b) for a in criterion.layers for b in others]
    excess = np.stack([profile.values[a] - criterion.factor * profile.values[b] for a, b in pairs])
    found = sample(profile.clusters, excess, "kl_nats")
    worst, means = int(np.argmin(found.value)), profile.sampled.value
    a, b = pairs[worst]
    return _decided(
        max(2 * found.p_above(i, 0.0) for i in range(len(pairs))),
        min(2 * len(pairs) * found.p_below(i, 0.0) for i in range(len(pairs))),
        f"L{a} moves the prediction by {profile.sampled.estimate(a)}, {_times(means[a], means[b])} the "
        f"{format_number(means[b])} of L{b}; at least {criterion.factor:g} times is claimed of "
        f"{format_layers(criterion.layers)} over every other",
        profile.sampled.estimate(a),
    )


def judge_effect_order(criterion: EffectOrder, measured: Measured) -> Finding:
    """Supported: each group's mean lies above the next one's; refuted: some group's lies below (Bonferroni)."""
    means, prompts = [], None
    for select in criterion.groups.values():
        rows = measured.rows(criterion.experiment, select, "kl_nats")
        if rows.problem:
            return invalid(rows.problem)
        if prompts is not None and rows.prompts != prompts:
            raise MissingEvidence(
                f"the groups of '{criterion.experiment}' were measured on different prompts"
            )
        prompts = rows.prompts
        means.append(rows.values.mean(axis=0))
    assert prompts is not None
    clusters = Clusters.of(prompts)
    steps = sample(clusters, np.stack([a - b for a, b in pairwise(means)]), "kl_nats")
    levels = sample(clusters, np.stack(means), "kl_nats")
    n = len(steps.value)
    said = ", ".join(f"{name} {levels.estimate(i)}" for i, name in enumerate(criterion.groups))
    return _decided(
        max(2 * steps.p_above(i, 0.0) for i in range(n)),
        min(2 * n * steps.p_below(i, 0.0) for i in range(n)),
        f"Means over layers: {said}",
        levels.estimate(0),
    )


def judge_rank_agreement(criterion: RankAgreement, measured: Measured) -> Finding:
    """The least agreement over pairs of profiles, with the percentile interval of its resamples."""
    profiles = [(of, measured.profile_of(of)) for of in criterion.profiles]
    for _, profile in profiles:
        if profile.problem:
            return invalid(profile.problem)
    agree: Agreement = spearman
    reliable: Callable[[float], float] = of_correlation
    if isinstance(criterion, TopOverlap):
        agree, reliable = overlap(criterion.k), of_overlap(criterion.k / measured.n_layers)
    pairs = [
        _compared(agree, reliable, _name(one), _name(two), a, b)
        for (one, a), (two, b) in combinations(profiles, 2)
    ]
    if isinstance(criterion, TopOverlap):
        return judge_least(pairs, criterion.at_least, f"of the top {criterion.k}", most=criterion.k)
    return judge_least(pairs, criterion.at_least, "Spearman")


def judge_same_effect(criterion: SameEffect, measured: Measured) -> Finding:
    """Supported when no two modules of any block differ by more than the tolerance on any prompt.

    What is allowed grows with the effect, so the comparison that is told need not be the largest difference.
    """
    first, *rest = (
        measured.rows("module_sweep", Sublayer(stream=stream), "kl_nats") for stream in criterion.streams
    )
    furthest, said, count = -math.inf, "", 0
    for stream, rows in zip(criterion.streams[1:], rest, strict=True):
        for problem in (first.problem, rows.problem):
            if problem:
                return invalid(problem)
        if [p.layers for p in first.probes] != [p.layers for p in rows.probes]:
            raise MissingEvidence(
                f"'module_sweep' holds other blocks for {criterion.streams[0]} than for {stream}"
            )
        gap = np.abs(first.values - rows.values)
        allowed = criterion.tolerance * (1.0 + np.abs(first.values))
        count += gap.size
        at = probe, prompt = np.unravel_index(int(np.argmax(gap - allowed)), gap.shape)
        if gap[at] - allowed[at] > furthest:
            furthest = float(gap[at] - allowed[at])
            said = (
                f"{format_number(float(gap[at]))} nats, where {format_number(float(allowed[at]))} is allowed, between "
                f"'{first.probes[probe]}' and '{rows.probes[probe]}' on {first.prompts[prompt].text!r}"
            )
    holds = furthest <= 0.0
    where = "nearest to" if holds else "furthest beyond"
    return Finding(
        verdict=Verdict.SUPPORTED if holds else Verdict.REFUTED,
        sentence=f"An identity, not a statistic: of {count} comparisons the one {where} its limit differs by {said}."
        f"{' ' + say_reserve(first.prompts) if holds else ''}",
    )


def _decided(holds: float, fails: float, sentence: str, estimate: Estimate) -> Finding:
    """The finding, from the two-sided p-values that the claim holds and that it fails."""
    verdict, p = decide(holds, fails)
    return Finding(verdict=verdict, sentence=f"{sentence} ({say_p(p)}).", estimate=estimate, p_value=p)


def _compared(
    agree: Agreement, reliable: Callable[[float], float], one: str, two: str, a: Profile, b: Profile
) -> Pair:
    if a.prompts != b.prompts:
        raise MissingEvidence("profiles are compared on the same prompts: measure them in one experiment")
    return compare(one, two, a.sampled, b.sampled, agree, reliable)


def _name(of: ProfileOf) -> str:
    return f"'{of.select}'"


def _times(a: float, b: float) -> str:
    return f"{a / b:.2f} times" if b > 0 else "more than any number of times"
