"""Judging the shape of a profile: TopSpread, Flat, StableOverSeeds."""

from __future__ import annotations

import numpy as np

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.statistics.profile import DEGENERATE_NATS, least_tau
from harness.verdicts.hub import judge_hub
from harness.verdicts.profile_criteria import Flat, HubIs, StableOverSeeds, TopSpread
from harness.verdicts.reading import Measured, Profile, invalid, say_p
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict


def judge_top_spread(criterion: TopSpread, measured: Measured) -> Finding:
    """Supported: the 98% interval of (largest - k-th largest) ends at or below the limit.

    That interval sorts each resample, which noise can only widen, so it errs towards inconclusive. Refuted:
    the observed top lies more than the limit above every layer outside the observed k - 1 strongest, each
    at the 98% interval.
    """
    profile = measured.profile_of(criterion.of)
    if not 2 <= criterion.k <= profile.n_layers:
        raise MissingEvidence(
            f"the criterion compares the {criterion.k} strongest of {profile.n_layers} layers"
        )
    if profile.problem:
        return invalid(profile.problem)
    draws, value, limit = profile.sampled.draws, profile.sampled.value, criterion.at_most_nats
    order = np.argsort(-value, kind="stable")
    sorted_draws = -np.sort(-draws, axis=1)
    spread = sorted_draws[:, 0] - sorted_draws[:, criterion.k - 1]
    low, high = percentile_interval(spread)
    estimate = _estimate(profile, float(value[order[0]] - value[order[criterion.k - 1]]), low, high, "nats")
    gaps = draws[:, [order[0]]] - draws[:, order[criterion.k - 1 :]]
    floors = [percentile_interval(gap)[0] for gap in gaps.T]
    names = ", ".join(f"L{layer}" for layer in order[: criterion.k])
    shown = f"The {criterion.k} strongest {criterion.of.noun}s ({names}) lie within {estimate}"
    if high <= limit:
        verdict, p = Verdict.SUPPORTED, 2 * bootstrap_p(spread > limit)
    elif min(floors) > limit:
        verdict, p = Verdict.REFUTED, 2 * max(bootstrap_p(gap <= limit) for gap in gaps.T)
    else:
        verdict, p = Verdict.INCONCLUSIVE, min(1.0, 2 * bootstrap_p(spread > limit))
    sentence = f"{shown}; the limit is {format_number(limit)} nats."
    return Finding(verdict=verdict, sentence=sentence, estimate=estimate, p_value=min(1.0, p))


def judge_flat(criterion: Flat, measured: Measured) -> Finding:
    """Supported: every layer's 98% interval of layer / median lies inside 1 +- tolerance.

    Two one-sided tests at 0.01 (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657), intersection-union
    over layers. Refuted: some layer's interval, Bonferroni-corrected over layers, lies outside. A profile
    without shape is flat. Invalid: not finite, or a median effect too small to be an effect.
    """
    profile = measured.profile_of(criterion.of)
    if profile.problem and not profile.flat:
        return invalid(profile.problem)
    median = float(np.median(profile.sampled.value))
    if not median > DEGENERATE_NATS:
        return invalid(
            f"the median block moves {format_number(median)} nats: nothing was changed, flat or not"
        )
    if profile.flat:
        return Finding(
            verdict=Verdict.SUPPORTED,
            sentence=f"The profile is exactly flat: {profile.flat}.",
            estimate=profile.sampled.estimate(0),
        )
    draws, tolerance = profile.sampled.draws, criterion.tolerance
    ratios = draws / np.median(draws, axis=1, keepdims=True)
    ratio = profile.sampled.value / median
    worst = int(np.argmax(np.abs(ratio - 1.0)))
    p_in = 2 * max(max(bootstrap_p(r > 1 + tolerance), bootstrap_p(r < 1 - tolerance)) for r in ratios.T)
    p_in = min(1.0, p_in)
    p_each = [2 * min(bootstrap_p(r <= 1 + tolerance), bootstrap_p(r >= 1 - tolerance)) for r in ratios.T]
    p_out = min(1.0, min(p_each) * len(p_each))
    estimate = _estimate(
        profile, float(ratio[worst]), *percentile_interval(ratios[:, worst]), "x the median block"
    )
    shown = f"The block furthest from the median is L{worst} with {estimate}"
    if p_in <= ALPHA:
        verdict, p, why = Verdict.SUPPORTED, p_in, f"all lie within {tolerance:.0%} ({say_p(p_in)})"
    elif p_out <= ALPHA:
        verdict, p, why = Verdict.REFUTED, p_out, f"outside {tolerance:.0%} ({say_p(p_out)})"
    else:
        verdict, p, why = Verdict.INCONCLUSIVE, p_in, f"whose interval straddles {tolerance:.0%}"
    return Finding(verdict=verdict, sentence=f"{shown}: {why}.", estimate=estimate, p_value=p)


def judge_stable(criterion: StableOverSeeds, measured: Measured) -> Finding:
    """Supported: one top block in every seed and least pairwise Kendall tau at or above `min_tau`; else
    refuted.

    The draws of prompts are themselves the replication, so nothing is resampled and there is no p-value.
    Inconclusive: fewer than two seeds, a tie at the top within rounding, or no separated hub over all seeds
    whose stability could be asked. Invalid: a seed whose profile has no shape.
    """
    profile = measured.profile_of(criterion.of)
    seeds = sorted({p.seed for p in profile.prompts})
    if profile.problem:
        return invalid(profile.problem)
    if len(seeds) < 2:
        sentence = f"Only seed {seeds[0]} was measured: stability over seeds needs at least two."
        return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence)
    parts = {seed: profile.of_seed(seed) for seed in seeds}
    for seed, part in parts.items():
        if part.problem:
            return invalid(f"in seed {seed} {part.problem}")
    means = np.array([part.template_means @ part.clusters.weights for part in parts.values()])
    tops, tau = means.argmax(axis=1), least_tau(means)
    runners_up = np.sort(means, axis=1)[:, -2]
    for seed, lead in zip(seeds, means.max(axis=1) - runners_up, strict=True):
        if lead <= DEGENERATE_NATS:
            sentence = f"In seed {seed} two blocks tie at the top, {lead:.1g} nats apart: which one leads is rounding."
            return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence)
    where = ", ".join(f"L{top} in seed {seed}" for seed, top in zip(seeds, tops, strict=True))
    stable = len(set(tops.tolist())) == 1 and tau >= criterion.min_tau
    hub = judge_hub(HubIs(layer=None, rationale="stability is of a hub, so there must be one"), measured)
    if stable and hub.verdict is not Verdict.SUPPORTED:
        sentence = f"The top block is {where}, but over all seeds no hub is separated: {hub.sentence}"
        return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, estimate=hub.estimate)
    return Finding(
        verdict=Verdict.SUPPORTED if stable else Verdict.REFUTED,
        sentence=f"The top block is {where}; the least Kendall tau between two seeds is {tau:.3f} "
        f"(at least {criterion.min_tau} is asked for).",
        estimate=profile.sampled.estimate(int(tops[0])),
    )


def _estimate(profile: Profile, value: float, low: float, high: float, unit: str) -> Estimate:
    return Estimate(
        value=value,
        low=low,
        high=high,
        unit=unit,
        n_prompts=profile.clusters.n_prompts,
        n_templates=profile.clusters.n_templates,
    )
