"""Judging criteria that compare models: HubsAt, HubDepthIncreases, HubEffectTrend, ProfilesDiffer.

Models measured on the same templates are resampled with the same weights, which pairs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.verdicts.hub import judge_hub
from harness.verdicts.joint_criteria import HubDepthIncreases, HubEffectTrend, HubsAt, ProfilesDiffer
from harness.verdicts.profile_criteria import HubIs
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict, combine

Models = Mapping[str, Measured]

DEPTH_POINTS = 21
"""Profiles are compared at this many equally spaced relative depths."""


def judge_hubs_at(criterion: HubsAt, models: Models) -> Finding:
    """HubIs on each model; combined as a card's criteria are."""
    findings = {m: _hub(criterion, _one(models, m), layer) for m, layer in criterion.layers.items()}
    joint = combine(list(findings.values()))
    said = " ".join(f"{m}: {f.sentence}" for m, f in findings.items())
    return Finding(verdict=joint.verdict, sentence=said, estimate=joint.estimate, p_value=joint.p_value)


def judge_depth_increases(criterion: HubDepthIncreases, models: Models) -> Finding:
    """Supported: each model has a separated hub, at ever greater depth. Refuted: separated hubs, but not in
    order.

    Depth is layer / n_layers. Inconclusive where a model has no separated hub.
    """
    findings = {m: _hub(criterion, _one(models, m), None) for m in criterion.models}
    said = " ".join(f"{m}: {f.sentence}" for m, f in findings.items())
    if any(f.verdict is Verdict.INVALID for f in findings.values()):
        return Finding(verdict=Verdict.INVALID, sentence=said)
    if missing := [m for m, f in findings.items() if f.verdict is not Verdict.SUPPORTED]:
        sentence = f"No separated hub in {', '.join(missing)}, so depths cannot be compared. {said}"
        return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, p_value=1.0)
    tops = {m: int(np.argmax(models[m].profile.sampled.value)) for m in criterion.models}
    depths = {m: tops[m] / models[m].n_layers for m in criterion.models}
    rising = all(depths[a] < depths[b] for a, b in pairwise(criterion.models))
    where = ", ".join(f"L{tops[m]} ({depths[m]:.0%}) in {m}" for m in criterion.models)
    return Finding(
        verdict=Verdict.SUPPORTED if rising else Verdict.REFUTED,
        sentence=f"The hubs are {where}: {'rising' if rising else 'not rising'} with scale.",
        p_value=max(f.p_value for f in findings.values() if f.p_value is not None),
    )


def judge_effect_trend(criterion: HubEffectTrend, models: Models) -> Finding:
    """Supported: every step's 98% interval of the top blocks' difference lies on the claimed side of 0.

    Refuted: one step's interval, Bonferroni-corrected over steps, lies on the other side.
    """
    profiles = {m: _one(models, m).profile for m in criterion.models}
    for model, profile in profiles.items():
        if profile.problem:
            return invalid(f"in {model} {profile.problem}")
    sign = 1.0 if criterion.direction == "increasing" else -1.0
    tops = {m: int(np.argmax(p.sampled.value)) for m, p in profiles.items()}
    steps = {
        (a, b): sign * (profiles[b].sampled.draws[:, tops[b]] - profiles[a].sampled.draws[:, tops[a]])
        for a, b in pairwise(criterion.models)
    }
    p_holds = max(2 * bootstrap_p(d <= 0) for d in steps.values())
    p_fails = min(2 * bootstrap_p(d >= 0) for d in steps.values()) * len(steps)
    where = ", ".join(f"{p.sampled.estimate(tops[m])} at L{tops[m]} in {m}" for m, p in profiles.items())
    if p_holds <= ALPHA:
        verdict, p, why = Verdict.SUPPORTED, p_holds, str(criterion.direction)
    elif p_fails <= ALPHA:
        verdict, p, why = Verdict.REFUTED, p_fails, f"not {criterion.direction}"
    else:
        verdict, p, why = Verdict.INCONCLUSIVE, p_holds, "undecided"
    p = min(1.0, p)
    return Finding(
        verdict=verdict, sentence=f"The top block's effect is {where}: {why} ({say_p(p)}).", p_value=p
    )


def judge_profiles_differ(criterion: ProfilesDiffer, models: Models) -> Finding:
    """Supported: the 98% interval of the distance lies above the tolerance; refuted: below; else
    inconclusive.

    The basic (reverse percentile) interval, 2 x observed - resampled (Davison & Hinkley 1997, sec. 5.2.1):
    noise only ever adds to a distance, and this interval takes that off again.
    """
    profiles = [_one(models, m).profile for m in (criterion.model_a, criterion.model_b)]
    for model, profile in zip((criterion.model_a, criterion.model_b), profiles, strict=True):
        if profile.problem:
            return invalid(f"in {model} {profile.problem}")
    shapes = [_shape(p.sampled.value[None]) for p in profiles]
    value = float(np.abs(shapes[0] - shapes[1]).mean())
    draws = np.abs(_shape(profiles[0].sampled.draws) - _shape(profiles[1].sampled.draws)).mean(axis=1)
    mirrored = 2 * value - draws
    low, high = (max(0.0, bound) for bound in percentile_interval(mirrored))
    clusters = profiles[0].clusters
    estimate = Estimate(
        value=value,
        low=low,
        high=high,
        unit="share of the top",
        n_prompts=clusters.n_prompts,
        n_templates=clusters.n_templates,
    )
    limit = criterion.tolerance
    if low > limit:
        verdict, p = Verdict.SUPPORTED, 2 * bootstrap_p(mirrored <= limit)
    elif high < limit:
        verdict, p = Verdict.REFUTED, 2 * bootstrap_p(mirrored >= limit)
    else:
        verdict, p = Verdict.INCONCLUSIVE, min(1.0, 2 * bootstrap_p(mirrored <= limit))
    sentence = (
        f"Over relative depth the profiles lie {estimate} apart; more than {format_number(limit)} is claimed."
    )
    return Finding(verdict=verdict, sentence=sentence, estimate=estimate, p_value=min(1.0, p))


def _hub(criterion: HubsAt | HubDepthIncreases, measured: Measured, layer: int | None) -> Finding:
    hub = HubIs(
        layer=layer,
        min_lead=criterion.min_lead,
        min_effect_nats=criterion.min_effect_nats,
        rationale=criterion.rationale,
    )
    return judge_hub(hub, measured)


def _shape(means: Float[np.ndarray, "resamples layers"]) -> Float[np.ndarray, "resamples points"]:
    """Each profile divided by its top, interpolated at equally spaced depths from first to last block."""
    n = means.shape[1]
    at = np.linspace(0, n - 1, DEPTH_POINTS)
    left = np.minimum(at.astype(int), n - 2)
    share = means / means.max(axis=1, keepdims=True)
    return np.asarray(share[:, left] * (1 - (at - left)) + share[:, left + 1] * (at - left))


def _one(models: Models, model: str) -> Measured:
    if model not in models:
        raise MissingEvidence(
            f"the claim compares '{model}', which was not measured (there is: {', '.join(models)})"
        )
    return models[model]
