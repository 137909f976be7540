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


def judge_least(pairs: Sequence[Pair], at_least: float, unit: str, *, most: float = 1.0) -> Finding:
    """Supported where every pair's resamples lie above the bound, refuted where some pair lies below (Bonferroni).

    Noise scatters what ties, which lowers the observed agreement, and that of resamples once more: where layers lie
    closer together than the noise, resamples lie as far below the observed agreement as that lies below the true one.
    So they support too rarely. Refuted is only what lies below with the resamples mirrored in the observed value as
    well (Efron & Tibshirani 1993, ch. 10: the bias taken off). A draw without ranks speaks for neither. No agreement
    exceeds `most`.
    """
    least = min(pairs, key=lambda pair: pair.value)
    low, high = rank_interval(least.draws)
    if least.value < at_least:
        high = max(high, min(most, 2 * least.value - low))
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
        each = [2 * max(map(bootstrap_p, _not_below(pair, at_least))) for pair in pairs]
        found, p = Verdict.REFUTED, min(each) * len(pairs)
    p = min(1.0, p)
    said = f"Least alike are {least.one} and {least.two}: {estimate}; {at_least:g} is asked for ({say_p(p)})."
    verdict = found if p <= ALPHA else Verdict.INCONCLUSIVE
    return Finding(verdict=verdict, sentence=said, estimate=estimate, p_value=p)


def _not_below(pair: Pair, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Resamples that do not lie below the bound: as they are, and mirrored in the observed agreement."""
    return ~(pair.draws < bound), ~(2 * pair.value - pair.draws < bound)


def rank_interval(draws: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Percentile interval of a rank correlation. A NaN counts as -1 for the lower bound and as 1 for the upper one."""
    low, _ = percentile_interval(np.nan_to_num(draws, nan=-1.0))
    _, high = percentile_interval(np.nan_to_num(draws, nan=1.0))
    return low, high
