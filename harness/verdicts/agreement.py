"""The least agreement over pairs of profiles: what criteria on ranks share.

Noise lowers an agreement of profiles that lie closer together than it. How much follows from how well a profile agrees
with its own resamples: where that is c, the noise is 1 / c^2 - 1 of what the profile shows, as a resample has that
noise once more, and its reliability, the share of what it shows that is no noise, is 2 - 1 / c^2. Noise attenuates a
correlation by the root of the product of both reliabilities (Spearman 1904, American Journal of Psychology 15:72).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import Sampled, bootstrap_p, percentile_interval
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate
from harness.statistics.ranks import spearman
from harness.verdicts.reading import say_p
from harness.verdicts.trainings import decide_in_each
from harness.verdicts.verdict import Finding, Verdict

Agreement = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " resamples"]]

Say = Callable[[Estimate, float], str]

UNRELIABLE = 0.1
"""A profile of no more reliability has no order that could be unlike another."""
ENOUGH = 999
"""Resamples that a mean over resamples is taken of."""


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
    reliabilities: tuple[float, float] = (1.0, 1.0)
    """Of each profile, 0 to 1; 1 for one without noise."""
    by_seed: tuple[float, ...] = ()
    """How far they agree in each training, where seeds are trainings."""

    @property
    def resolved(self) -> bool:
        """Whether both profiles have an order that resamples keep."""
        return min(self.reliabilities) > UNRELIABLE

    @property
    def attenuation(self) -> float:
        """What noise leaves of a true agreement, 0 to 1."""
        return float(np.sqrt(np.prod(self.reliabilities)))


def kept_by_resamples(
    value: Float[np.ndarray, " layers"], draws: Float[np.ndarray, "resamples layers"], agree: Agreement
) -> float:
    """Mean agreement of a profile with its resamples, as a share of that with itself; 0 where it has none."""
    some = draws[:ENOUGH]
    found = agree(np.broadcast_to(value, some.shape), some)
    whole = float(agree(value[None], value[None])[0])
    defined = found[np.isfinite(found)]
    return float(defined.mean() / whole) if len(defined) and whole > 0.0 else 0.0


def of_correlation(kept: float) -> float:
    """Reliability of a profile that correlates so far with its resamples: 2 - 1 / kept^2, at least 0."""
    return max(0.0, 2.0 - 1.0 / kept**2) if kept > 0.0 else 0.0


def of_overlap(share: float) -> Callable[[float], float]:
    """Reliability of the top of a profile, this share of all layers, from the part of it that resamples keep.

    The part that resamples keep is that of normal numbers with some correlation c, and the part of the true top that is
    observed that of normal numbers with a correlation of sqrt(2 - 1 / c^2); the reliability is its square, as the
    overlap of two tops is attenuated by both parts. 0 where that correlation is as good as none.
    """

    def reliable(kept: float) -> float:
        if kept >= 1.0 or share >= 1.0:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if _top_kept(middle, share) < kept else (low, middle)
        reliability = of_correlation(low)
        if reliability <= UNRELIABLE:
            return 0.0
        return _top_kept(float(np.sqrt(reliability)), share) ** 2

    return reliable


@lru_cache(maxsize=4096)
def _top_kept(correlation: float, share: float) -> float:
    """The part of the top of one normal number that is in the top of another, which correlates so with it."""
    from scipy.stats import multivariate_normal, norm

    edge = float(norm.ppf(share))
    both = multivariate_normal.cdf(
        [edge, edge], cov=[[1.0, correlation], [correlation, 1.0]], allow_singular=True
    )
    return float(both) / share


def overlap(k: int) -> Agreement:
    """How many of their k largest layers two profiles share."""

    def shared(one: np.ndarray, two: np.ndarray) -> Float[np.ndarray, " resamples"]:
        tops = [np.argsort(-x, axis=1)[:, :k] for x in (one, two)]
        return np.asarray((tops[0][:, :, None] == tops[1][:, None, :]).sum(axis=(1, 2)), dtype=float)

    return shared


def compare(
    one: str,
    two: str,
    a: Sampled,
    b: Sampled,
    agree: Agreement = spearman,
    reliable: Callable[[float], float] = of_correlation,
) -> Pair:
    """Two profiles over the same layers, row by row of their resamples.

    `reliable` makes a reliability of what resamples keep: `of_correlation`, or `of_overlap` where shared layers are
    counted.
    """
    return Pair(
        one=one,
        two=two,
        value=float(agree(a.value[None], b.value[None])[0]),
        draws=agree(a.draws, b.draws),
        clusters=min((a.clusters, b.clusters), key=lambda clusters: clusters.n_templates),
        reliabilities=(
            reliable(kept_by_resamples(a.value, a.draws, agree)),
            reliable(kept_by_resamples(b.value, b.draws, agree)),
        ),
    )


def judge_least(
    pairs: Sequence[Pair], at_least: float, unit: str, *, most: float = 1.0, say: Say | None = None
) -> Finding:
    """Supported where every pair's resamples lie above the bound, refuted where some pair lies below (Bonferroni).

    Noise scatters what ties, which lowers the observed agreement, and that of resamples once more: where layers lie
    closer together than the noise, resamples lie as far below the observed agreement as that lies below the true one.
    So they support too rarely. Refuted is only what lies below with the resamples mirrored in the observed value as
    well (Efron & Tibshirani 1993, ch. 10: the bias taken off), and with both disattenuated; nothing is where a profile
    has no reliable order. A draw without ranks speaks for neither. No agreement exceeds `most`. Each training by itself
    must say as much, where a pair has numbers of trainings. `say` makes the sentence of the estimate and its p-value.
    """
    least = min(pairs, key=lambda pair: pair.value)
    low, high = rank_interval(least.draws)
    supported = least.value >= at_least
    if supported:
        each = [2 * bootstrap_p(~(pair.draws >= at_least)) for pair in pairs]
        p = max(each)
    else:
        high = max(high, min(most, 2 * least.value - low))
        each = [2 * len(pairs) * max(map(bootstrap_p, _not_below(pair, at_least))) for pair in pairs]
        p = min(each)
    verdict, split = _in_each(pairs, each, at_least, supported=supported)
    noise = ""
    if not supported and not least.resolved:
        said_of = " and ".join(f"{r:.2g}" for r in least.reliabilities)
        high, noise = max(high, most), f" The order is not told from noise (reliabilities {said_of})."
    elif not supported and high < at_least and min(each) > ALPHA:
        high = max(high, min(most, high / least.attenuation))
        noise = f" Noise leaves {least.attenuation:.2g} of a true agreement."
    estimate = Estimate(
        value=least.value,
        low=low,
        high=high,
        unit=unit,
        n_prompts=least.clusters.n_prompts,
        n_templates=least.clusters.n_templates,
    )
    p = 1.0 if split else min(1.0, p)
    said = f"Least alike are {least.one} and {least.two}: {estimate}; {at_least:g} is asked for ({say_p(p)})."
    if say is not None:
        said = say(estimate, p)
    return Finding(verdict=verdict, sentence=said + noise + split, estimate=estimate, p_value=p)


def _in_each(
    pairs: Sequence[Pair], each: Sequence[float], at_least: float, *, supported: bool
) -> tuple[Verdict, str]:
    """The verdict of these p-values of every pair, and what is to be said of trainings that do not agree with it."""
    never = [1.0] * len(pairs)
    excess = np.array([pair.by_seed for pair in pairs]).T - at_least
    shown = excess + at_least
    holds, fails = (each, never) if supported else (never, each)
    verdict, _, split = decide_in_each(holds, fails, excess, shown)
    return verdict, split


def _not_below(pair: Pair, bound: float) -> list[np.ndarray]:
    """Resamples that do not lie below the bound: as they are, mirrored in the observed agreement, and disattenuated."""
    if not pair.resolved:
        return [np.ones(len(pair.draws), dtype=bool)]
    edge = min(bound, bound * pair.attenuation)
    return [~(pair.draws < edge), ~(2 * pair.value - pair.draws < edge)]


def rank_interval(draws: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Percentile interval of a rank correlation. A NaN counts as -1 for the lower bound and as 1 for the upper one."""
    low, _ = percentile_interval(np.nan_to_num(draws, nan=-1.0))
    _, high = percentile_interval(np.nan_to_num(draws, nan=1.0))
    return low, high
