"""The least agreement over pairs of profiles: what criteria on ranks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import Sampled, bootstrap_p, percentile_interval
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate
from harness.statistics.ranks import spearman
from harness.verdicts.reading import say_p
from harness.verdicts.verdict import Finding, Verdict

Agreement = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " resamples"]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two profiles by name, how far they agree, and how far in each resample of the prompts.

    A resample in which a profile is constant has no ranks: its draw is NaN.
    """

    one: str
    two: str
    value: float
    draws: Float[np.ndarray, " resamples"]
    clusters: Clusters
    """Of the profile with fewer templates."""


def compare(one: str, two: str, a: Sampled, b: Sampled, agree: Agreement = spearman) -> Pair:
    """Two profiles over the same layers, row by row of their resamples."""
    return Pair(
        one=one,
        two=two,
        value=float(agree(a.value[None], b.value[None])[0]),
        draws=agree(a.draws, b.draws),
        clusters=min((a.clusters, b.clusters), key=lambda clusters: clusters.n_templates),
    )


def judge_least(pairs: Sequence[Pair], at_least: float, unit: str) -> Finding:
    """Supported where every pair's resamples lie above the bound, refuted where some pair lies below (Bonferroni).

    Resamples scatter what ties, which can only lower an agreement: an interval that lies too low supports too rarely.
    Refuted therefore only where the observed agreement too is below. A draw without ranks speaks for neither.
    """
    least = min(pairs, key=lambda pair: pair.value)
    low, high = rank_interval(least.draws)
    estimate = Estimate(
        value=least.value,
        low=low,
        high=high,
        unit=unit,
        n_prompts=least.clusters.n_prompts,
        n_templates=least.clusters.n_templates,
    )
    if least.value >= at_least:
        found, p = Verdict.SUPPORTED, max(2 * bootstrap_p(~(pair.draws >= at_least)) for pair in pairs)
    else:
        each = [2 * bootstrap_p(~(pair.draws < at_least)) for pair in pairs]
        found, p = Verdict.REFUTED, min(each) * len(pairs)
    p = min(1.0, p)
    said = f"Least alike are {least.one} and {least.two}: {estimate}; {at_least:g} is asked for ({say_p(p)})."
    verdict = found if p <= ALPHA else Verdict.INCONCLUSIVE
    return Finding(verdict=verdict, sentence=said, estimate=estimate, p_value=p)


def rank_interval(draws: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Percentile interval of a rank correlation. A NaN counts as -1 for the lower bound and as 1 for the upper one."""
    low, _ = percentile_interval(np.nan_to_num(draws, nan=-1.0))
    _, high = percentile_interval(np.nan_to_num(draws, nan=1.0))
    return low, high
