"""Judging EffectRatio and ShareChange: parts of two models against one another.

The probes that are strongest are chosen from the observed means, and kept in every resample. Ratios are compared as
logarithms, with the percentile interval of resamples; models measured on the same templates are resampled alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.estimate import Estimate, format_number
from harness.verdicts.deciding import decide
from harness.verdicts.joint_criteria import EffectRatio, Part, ShareChange
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.verdict import Finding, MissingEvidence

Models = Mapping[str, Measured]


class _Unusable(ValueError):
    """Why a part cannot be compared."""


def judge_effect_ratio(criterion: EffectRatio, models: Models) -> Finding:
    """Supported: the ratio's 98% interval lies within the bounds; refuted: outside; else inconclusive."""
    try:
        a = _log_size(models, criterion.model_a, criterion.part_a or criterion.part)
        b = _log_size(models, criterion.model_b, criterion.part)
    except _Unusable as problem:
        return invalid(str(problem))
    low, high = math.log(criterion.at_least), math.log(criterion.at_most)
    draws, value = b[1] - a[1], b[0] - a[0]
    inside = max(2 * bootstrap_p(draws < low), 2 * bootstrap_p(draws > high))
    outside = min(2 * bootstrap_p(draws >= low), 2 * bootstrap_p(draws <= high))
    part_a = criterion.part_a or criterion.part
    said = f"{part_a} is {format_number(math.exp(a[0]))} nats in {criterion.model_a} and "
    return _found(models, criterion.model_a, part_a, value, draws, inside, outside, said)


def judge_share_change(criterion: ShareChange, models: Models) -> Finding:
    """Supported: the 98% interval of the ratio of the two shares lies above the factor; refuted: below."""
    shares = []
    try:
        for model in (criterion.model_a, criterion.model_b):
            part, whole = (_log_size(models, model, p) for p in (criterion.part, criterion.whole))
            shares.append((part[0] - whole[0], part[1] - whole[1]))
    except _Unusable as problem:
        return invalid(str(problem))
    (a, a_draws), (b, b_draws) = shares
    draws, limit = b_draws - a_draws, math.log(criterion.factor)
    said = f"The share is {format_number(math.exp(a))} in {criterion.model_a} and "
    holds, fails = 2 * bootstrap_p(draws < limit), 2 * bootstrap_p(draws >= limit)
    return _found(models, criterion.model_a, criterion.part, b - a, draws, holds, fails, said)


def _found(
    models: Models,
    model: str,
    part: Part,
    value: float,
    draws: Float[np.ndarray, " resamples"],
    holds: float,
    fails: float,
    said: str,
) -> Finding:
    verdict, p = decide(holds, fails)
    clusters = models[model].rows(part.experiment, part.select, "kl_nats").sampled().clusters
    low, high = percentile_interval(np.exp(draws))
    estimate = Estimate(
        value=math.exp(value),
        low=low,
        high=high,
        unit="times",
        n_prompts=clusters.n_prompts,
        n_templates=clusters.n_templates,
    )
    return Finding(
        verdict=verdict,
        sentence=f"{said}{estimate} that in the other ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def _log_size(models: Models, model: str, part: Part) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """Log of the part's effect in one model, and of its resamples. Raises MissingEvidence and _Unusable."""
    if model not in models:
        raise MissingEvidence(
            f"the claim compares '{model}', which was not measured (there is: {', '.join(models)})"
        )
    rows = models[model].rows(part.experiment, part.select, "kl_nats")
    if rows.problem:
        raise _Unusable(f"in {model} {rows.problem}")
    sampled = rows.sampled()
    chosen = [int(np.argmax(sampled.value))] if part.take == "strongest" else list(range(len(sampled.value)))
    value, draws = float(sampled.value[chosen].sum()), sampled.draws[:, chosen].sum(axis=1)
    if value <= 0 or (draws <= 0).any():
        raise _Unusable(f"in {model} {part} has no effect above 0 to take a ratio of")
    return math.log(value), np.log(draws)
