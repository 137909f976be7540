"""The least agreement over pairs of profiles: what criteria on ranks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate
from harness.verdicts.reading import say_p
from harness.verdicts.verdict import Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two profiles by name, how far they agree, and how far in each resample of the prompts."""

    one: str
    two: str
    value: float
    draws: Float[np.ndarray, " resamples"]


def judge_least(pairs: Sequence[Pair], at_least: float, unit: str, clusters: Clusters) -> Finding:
    """Supported where every pair's resamples lie above the bound, refuted where some pair lies below (Bonferroni).

    Resamples scatter what ties, which can only lower an agreement: an interval that lies too low supports too rarely.
    Refuted therefore only where the observed agreement too is below.
    """
    least = min(pairs, key=lambda pair: pair.value)
    low, high = percentile_interval(least.draws)
    estimate = Estimate(
        value=least.value,
        low=low,
        high=high,
        unit=unit,
        n_prompts=clusters.n_prompts,
        n_templates=clusters.n_templates,
    )
    above = least.value >= at_least
    holds = max(2 * bootstrap_p(pair.draws < at_least) for pair in pairs) if above else 1.0
    fails = 1.0 if above else min(2 * len(pairs) * bootstrap_p(pair.draws >= at_least) for pair in pairs)
    verdict, p = Verdict.INCONCLUSIVE, holds
    if holds <= ALPHA:
        verdict = Verdict.SUPPORTED
    elif fails <= ALPHA:
        verdict, p = Verdict.REFUTED, fails
    p = min(1.0, p)
    said = f"Least alike are {least.one} and {least.two}: {estimate}; {at_least:g} is asked for ({say_p(p)})."
    return Finding(verdict=verdict, sentence=said, estimate=estimate, p_value=p)
