"""The stratified bootstrap over templates, as one product of weights and template means.

Intervals of a mean are studentized (bootstrap-t: Efron & Tibshirani 1993, ch. 12.5; Hall 1988), those of a mean in
[0, 1] Korn & Graubard's; one-sided p-values are read off the same resamples, so that a bound lies beyond a threshold
exactly when the p-value is below its level. Percentile intervals of skewed effects are too short on the long side:
where 1% is nominal their upper bound misses the truth on several (both are simulated in test_statistics_bounds.py).

`scipy.stats.bootstrap` (several samples, paired=False) gives the same distribution of means when `fewer=0`, which a
test checks; it takes one statistic at a time, and a profile has thirty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, BOUNDED, CONFIDENCE, Estimate, unit_of

RESAMPLES = 9_999
FINE_BATCHES = 20
"""Batches of RESAMPLES where a p-value is corrected for so many quantities that RESAMPLES alone cannot be enough."""

NEGLIGIBLE = 1e-6
"""What float32 arithmetic alone moves, in nats: a resampled mean no further from the value than this is the value, and
no bound is known better."""
ROUNDING = 1e-12
"""A standard error below it is that of equal numbers."""

CACHED = 2**13
"""Resampled means that are worked on at a time: few enough to stay in a processor's cache."""

SEEN = 5.0
"""Templates' worth of hits, and of misses, from which on their spread says how much prompts of one template share."""

_Beyond = Callable[[np.ndarray], np.ndarray]
_Resampled = Callable[[], Float[np.ndarray, "resamples probes"]]


def resample_weights(
    sizes: tuple[int, ...], rng: np.random.Generator, resamples: int = RESAMPLES, fewer: int = 1
) -> Float[np.ndarray, "resamples templates"]:
    """Weight of each template in each resample; families of `sizes` templates count equally.

    Each resample draws one template fewer than there are of every stratum, with replacement. fewer=1 makes the
    variance unbiased (Rao & Wu 1988, JASA 83:231, with m = n - 1): the plain bootstrap (fewer=0)
    understates it by the factor (n - 1) / n, a fifth at five templates. Raises as `strata_of`.
    """
    strata = strata_of(sizes)
    weights = np.repeat(1.0 / (len(sizes) * np.array(sizes, dtype=float)), sizes)
    found = np.empty((resamples, sum(sizes)))
    for stratum in strata:
        n = len(stratum.templates)
        share = rng.multinomial(n - fewer, np.full(n, 1 / n), size=resamples) / (n - fewer)
        found[:, stratum.templates] = weights[stratum.templates] + stratum.scale * (share - 1 / n)
    return found


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Templates that are resampled among one another: those of a family, or of several that have one each."""

    templates: Int[np.ndarray, " templates"]
    scale: float
    """What the mean of the stratum's templates moves the mean of all, per unit; for a family, 1 / families."""


@lru_cache(maxsize=64)
def strata_of(sizes: tuple[int, ...]) -> tuple[Stratum, ...]:
    """The strata of families of `sizes` templates.

    A single template shows no spread: families that have one each are collapsed into a stratum (Cochran 1977, Sampling
    Techniques, 5A.12), and where there is only one such family it joins the smallest other one, which widens the
    interval by what the two differ. Raises ValueError for a single template in all.
    """
    if sum(sizes) < 2:
        raise ValueError(
            "one template: an interval over templates needs at least two; measure more templates"
        )
    family_of = np.repeat(np.arange(len(sizes)), sizes)
    groups = [[f] for f, size in enumerate(sizes) if size > 1]
    alone = [f for f, size in enumerate(sizes) if size == 1]
    if len(alone) > 1:
        groups.append(alone)
    elif alone:
        min(groups, key=lambda group: sizes[group[0]]).extend(alone)
    weights = 1.0 / (len(sizes) * np.array(sizes, dtype=float)[family_of])
    found = [np.flatnonzero(np.isin(family_of, group)) for group in groups]
    return tuple(Stratum(templates=t, scale=float(np.sqrt(len(t) * (weights[t] ** 2).sum()))) for t in found)


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Means of several quantities with their bootstrap resamples.

    `bounded` quantities live in [0, 1]. Resampling a handful of hits shows too little spread or none, so their bounds
    are Clopper-Pearson's for as many independent prompts as would give the same standard error, but no more than
    there are (Korn & Graubard 1998, Survey Methodology 24:193); for no more than there are templates where hardly
    anything varies (fewer than SEEN templates' worth of hits or of misses).
    """

    value: Float[np.ndarray, " probes"]
    resampled: _Resampled
    """Makes `draws`, once they are asked for."""
    pivoted: _Resampled
    """Makes `pivots`, likewise."""
    error: Float[np.ndarray, " probes"]
    """Standard error of each mean."""
    freedom: Float[np.ndarray, " probes"]
    """Its degrees of freedom (Satterthwaite 1946)."""
    constant: Bool[np.ndarray, " probes"]
    """Equal on every prompt."""
    bounded: bool
    unit: str
    clusters: Clusters

    @cached_property
    def draws(self) -> Float[np.ndarray, "resamples probes"]:
        """Resampled means, of all quantities at once: for differences, ratios and orders."""
        return self.resampled()

    @cached_property
    def pivots(self) -> Float[np.ndarray, "resamples probes"]:
        """Value minus studentized deviation times standard error: for bounds on one mean."""
        return self.pivoted()

    def interval(self, i: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Bootstrap-t interval of quantity i; Korn and Graubard's where it is bounded.

        Raises ValueError when the resamples are too few for it.
        """
        if not self.bounded:
            low, high = percentile_interval(self.pivots[:, i], confidence)
            return low - NEGLIGIBLE, high + NEGLIGIBLE
        from statsmodels.stats.proportion import proportion_confint

        hits, n = self._hits(i)
        low, high = proportion_confint(hits, n, alpha=1.0 - confidence, method="beta")
        return float(low), float(high)

    def estimate(self, i: int, confidence: float = CONFIDENCE) -> Estimate:
        """Value and interval of quantity i."""
        low, high = self.interval(i, confidence)
        return Estimate(
            value=float(self.value[i]),
            low=low,
            high=high,
            unit=self.unit,
            n_prompts=self.clusters.n_prompts,
            n_templates=self.clusters.n_templates,
            confidence=confidence,
        )

    def p_above(self, i: int, threshold: float) -> float:
        """One-sided p-value of 'the mean is at most `threshold`': small when it lies above."""
        return self._p(i, threshold, beyond=lambda draws: draws < threshold + NEGLIGIBLE, upwards=True)

    def p_below(self, i: int, threshold: float) -> float:
        """One-sided p-value of 'the mean is at least `threshold`': small when it lies below."""
        return self._p(i, threshold, beyond=lambda draws: draws > threshold - NEGLIGIBLE, upwards=False)

    def _hits(self, i: int) -> tuple[float, float]:
        """A bounded mean as so many successes among so many independent prompts."""
        mean, n = float(self.value[i]), float(self.clusters.n_templates)
        if self.constant[i] or self.error[i] <= ROUNDING:
            return min(n, max(0.0, round(mean * n, 9))), n
        from scipy.stats import t

        if min(mean, 1.0 - mean) * n >= SEEN:
            n = float(self.clusters.n_prompts)
        fewer = t.ppf(1 - ALPHA / 2, n - 1) / t.ppf(1 - ALPHA / 2, self.freedom[i])
        n = min(n, mean * (1.0 - mean) / float(self.error[i]) ** 2 * float(fewer) ** 2)
        return mean * n, n

    def _p(self, i: int, threshold: float, *, beyond: _Beyond, upwards: bool) -> float:
        if not self.bounded:
            return bootstrap_p(beyond(self.pivots[:, i]))
        rate = threshold if upwards else 1.0 - threshold
        if rate <= 0.0:
            return 0.0  # no mean in [0, 1] contradicts it
        from scipy.special import betainc

        up, n = self._hits(i)
        hits, rate = up if upwards else n - up, min(1.0, rate)
        return float(betainc(hits, n - hits + 1.0, rate)) if hits > 0 else 1.0


def sample(clusters: Clusters, values: Float[np.ndarray, "probes prompts"], metric: str) -> Sampled:
    """Means of one metric over `values`, with RESAMPLES resamples drawn from the clusters' own generator."""
    means = clusters.template_means(values)

    def resampled() -> np.ndarray:
        return _in_bounds(weights_of(clusters) @ means.T, metric)

    def pivots() -> np.ndarray:
        if metric in BOUNDED:  # whose bounds need no resamples
            return resampled()
        return _studentized(clusters, means, _counts(clusters.templates, clusters.sizes, RESAMPLES))

    return _sampled(clusters, values, means, metric, resampled, pivots)


def sample_finely(clusters: Clusters, values: Float[np.ndarray, "probes prompts"], metric: str) -> Sampled:
    """As `sample`, with FINE_BATCHES times as many resamples; for a few quantities, as it takes about a second.

    For bounds and p-values of one mean: `draws` are the pivots too. Bounds of shares need no resamples at all.
    """
    if metric in BOUNDED:
        return sample(clusters, values, metric)
    means, rng = clusters.template_means(values), clusters.rng("fine bootstrap")
    pivots = np.concatenate([studentized(clusters, means, rng) for _ in range(FINE_BATCHES)])
    return _sampled(clusters, values, means, metric, lambda: pivots, lambda: pivots)


def studentized(
    clusters: Clusters,
    means: Float[np.ndarray, "probes templates"],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Float[np.ndarray, "resamples probes"]:
    """Value - (resampled mean - value) / its own standard error x the value's standard error.

    Percentiles of these are the bootstrap-t interval. A resample without spread says that the mean may lie anywhere on
    its side: infinitely far.
    """
    return _studentized(clusters, means, _drawn_counts(clusters.sizes, rng, resamples))


def _studentized(
    clusters: Clusters, means: Float[np.ndarray, "probes templates"], counts: tuple[np.ndarray, ...]
) -> Float[np.ndarray, "resamples probes"]:
    value, resamples = means @ clusters.weights, len(counts[0])
    error, _ = standard_error(clusters, means)
    strata = strata_of(clusters.sizes)
    within = [means[:, stratum.templates].T for stratum in strata]
    centred = [x - x.mean(axis=0) for x in within]
    found = np.empty((resamples, len(means)))
    rows = max(1, CACHED // max(1, len(means)))
    for block in (slice(first, first + rows) for first in range(0, resamples, rows)):
        moved, variance = np.zeros_like(found[block]), np.zeros_like(found[block])
        for share, stratum, x in zip(counts, strata, centred, strict=True):
            mean = share[block] @ x
            spread = share[block] @ x**2
            spread -= mean**2
            np.maximum(spread, 0.0, out=spread)
            spread *= stratum.scale**2 / (len(x) - 1)
            variance += spread
            mean *= stratum.scale
            moved += mean
        moved[np.abs(moved) <= NEGLIGIBLE] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            pivot = moved / np.sqrt(variance) * error
        found[block] = value - np.where(moved == 0.0, 0.0, pivot)
    return found


def _drawn_counts(
    sizes: tuple[int, ...], rng: np.random.Generator, resamples: int
) -> tuple[Float[np.ndarray, "resamples templates"], ...]:
    """Share of each template in every resample of its stratum."""
    numbers = [len(stratum.templates) for stratum in strata_of(sizes)]
    return tuple(rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in numbers)


@lru_cache(maxsize=12)
def _counts(
    templates: tuple[tuple[str, str], ...], sizes: tuple[int, ...], resamples: int
) -> tuple[np.ndarray, ...]:
    return _drawn_counts(sizes, Clusters(templates).rng("studentized bootstrap"), resamples)


def _sampled(
    clusters: Clusters,
    values: np.ndarray,
    means: np.ndarray,
    metric: str,
    resampled: _Resampled,
    pivots: _Resampled,
) -> Sampled:
    error, freedom = standard_error(clusters, means)
    return Sampled(
        value=_in_bounds(means @ clusters.weights, metric),
        resampled=resampled,
        pivoted=pivots,
        error=error,
        freedom=freedom,
        constant=values.max(axis=1) == values.min(axis=1),
        bounded=metric in BOUNDED,
        unit=unit_of(metric),
        clusters=clusters,
    )


def _in_bounds(means: np.ndarray, metric: str) -> np.ndarray:
    """A share is one after rounding too: weights sum to 1 up to rounding only."""
    return means.clip(0.0, 1.0) if metric in BOUNDED else means


def standard_error(
    clusters: Clusters, means: Float[np.ndarray, "probes templates"]
) -> tuple[Float[np.ndarray, " probes"], Float[np.ndarray, " probes"]]:
    """Standard error of the mean over families, and its degrees of freedom; 0 and 1 where nothing varies."""
    strata = strata_of(clusters.sizes)
    numbers = [len(stratum.templates) for stratum in strata]
    parts = [
        means[:, stratum.templates].var(axis=1, ddof=1) * stratum.scale**2 / n
        for stratum, n in zip(strata, numbers, strict=True)
    ]
    variance = np.sum(parts, axis=0)
    spent = np.sum([part**2 / (n - 1) for part, n in zip(parts, numbers, strict=True)], axis=0)
    freedom = np.where(spent > 0, variance**2 / np.where(spent > 0, spent, 1.0), 1.0)
    return np.sqrt(variance), np.maximum(freedom, 1.0)


def weights_of(clusters: Clusters, resamples: int = RESAMPLES) -> Float[np.ndarray, "resamples templates"]:
    """The clusters' resampling weights, kept for the next question about the same clusters."""
    return _weights(clusters.templates, clusters.sizes, resamples)


@lru_cache(maxsize=12)
def _weights(templates: tuple[tuple[str, str], ...], sizes: tuple[int, ...], resamples: int) -> np.ndarray:
    weights = resample_weights(sizes, Clusters(templates).rng("bootstrap"), resamples)
    weights.setflags(write=False)
    return weights


def percentile_interval(
    draws: Float[np.ndarray, " resamples"], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Bounds with a share of (1 - confidence) / 2 of the resamples, +1 over +1, beyond each.

    Raises ValueError when the resamples are too few to leave one beyond.
    """
    beyond = int((1.0 - confidence) / 2.0 * (len(draws) + 1) + 1e-9) - 1
    if beyond < 0:
        raise ValueError(
            f"{len(draws)} resamples are too few for a {confidence:.5%} interval; use "
            "fewer probes or more resamples"
        )
    ordered = np.partition(draws, (beyond, len(draws) - 1 - beyond))
    return float(ordered[beyond]), float(ordered[len(draws) - 1 - beyond])


def bootstrap_p(beyond: Bool[np.ndarray, " resamples"]) -> float:
    """Share of resamples that contradict, +1 over +1: never 0 (Davison & Hinkley 1997, eq. 4.11)."""
    return float((np.count_nonzero(beyond) + 1) / (len(beyond) + 1))
