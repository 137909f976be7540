"""The stratified bootstrap over templates, as one product of weights and template means.

Percentile intervals (Efron & Tibshirani 1993, ch. 13) and one-sided p-values read off the same resamples,
so that a bound lies beyond a threshold exactly when the p-value is below its level. `scipy.stats.bootstrap`
(several samples, paired=False) gives the same distribution when `fewer=0`, which a test checks; it takes
one statistic at a time, and a profile has thirty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from harness.statistics.clusters import Clusters
from harness.statistics.estimate import BOUNDED, Estimate, unit_of

RESAMPLES = 9_999
FINE_BATCHES = 20
"""Batches of RESAMPLES where a p-value is corrected for so many quantities that RESAMPLES alone cannot be enough."""

_Beyond = Callable[[np.ndarray], np.ndarray]


def resample_weights(
    sizes: tuple[int, ...], rng: np.random.Generator, resamples: int = RESAMPLES, fewer: int = 1
) -> Float[np.ndarray, "resamples templates"]:
    """Weight of each template in each resample; families (strata) of `sizes` templates count equally.

    Each resample draws `size - fewer` templates of every family, with replacement. fewer=1 makes the
    variance unbiased (Rao & Wu 1988, JASA 83:231, with m = n - 1): the plain bootstrap (fewer=0)
    understates it by the factor (n - 1) / n, a fifth at five templates. Where a family has a single
    template its spread cannot be seen; then whole families are drawn instead, which is wider. Raises
    ValueError for a single template in all.
    """
    if sum(sizes) < 2:
        raise ValueError(
            "one template: an interval over templates needs at least two; measure more templates"
        )
    if fewer and min(sizes) < 2:
        if len(sizes) < 2:
            raise ValueError("one family of one template has no interval; measure more templates")
        n = len(sizes)
        counts = rng.multinomial(n - fewer, np.full(n, 1 / n), size=resamples) / (n - fewer)
        return np.asarray(np.repeat(counts / sizes, sizes, axis=1))
    blocks = [
        rng.multinomial(n - fewer, np.full(n, 1 / n), size=resamples) / ((n - fewer) * len(sizes))
        for n in sizes
    ]
    return np.concatenate(blocks, axis=1)


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Means of several quantities with their bootstrap resamples.

    `bounded` quantities live in [0, 1]. There a bound is never closer to the edge than the exact binomial
    (Clopper-Pearson) bound of as many templates that all sit at that edge, because resampling constant data
    shows no spread; a bounded quantity equal on every prompt gets the Clopper-Pearson interval whole.
    """

    value: Float[np.ndarray, " probes"]
    draws: Float[np.ndarray, "resamples probes"]
    constant: Bool[np.ndarray, " probes"]
    """Equal on every prompt."""
    bounded: bool
    unit: str
    clusters: Clusters

    def interval(self, i: int, confidence: float = 0.95) -> tuple[float, float]:
        """Percentile interval of quantity i. Raises ValueError when the resamples are too few for it."""
        alpha = 1.0 - confidence
        low, high = percentile_interval(self.draws[:, i], confidence)
        if not self.bounded:
            return low, high
        from statsmodels.stats.proportion import proportion_confint

        n = self.clusters.n_templates
        if self.constant[i]:
            exact = proportion_confint(self._hits(i), n, alpha=alpha, method="beta")
            return float(exact[0]), float(exact[1])
        edge = (alpha / 2.0) ** (1.0 / n)  # Clopper-Pearson lower bound of n out of n
        return min(low, edge), max(high, 1.0 - edge)

    def estimate(self, i: int, confidence: float = 0.95) -> Estimate:
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
        return self._p(i, threshold, beyond=lambda draws: draws < threshold, upwards=True)

    def p_below(self, i: int, threshold: float) -> float:
        """One-sided p-value of 'the mean is at least `threshold`': small when it lies below."""
        return self._p(i, threshold, beyond=lambda draws: draws > threshold, upwards=False)

    def _hits(self, i: int) -> float:
        """A constant bounded mean as so many successes among the templates, free of rounding at the edges."""
        n = self.clusters.n_templates
        return min(float(n), max(0.0, round(float(self.value[i]) * n, 9)))

    def _p(self, i: int, threshold: float, *, beyond: _Beyond, upwards: bool) -> float:
        p = bootstrap_p(beyond(self.draws[:, i]))
        if not self.bounded:
            return p
        n = self.clusters.n_templates
        rate = (
            threshold if upwards else 1.0 - threshold
        )  # chance of the edge itself, were the mean the threshold
        if rate <= 0.0:
            return 0.0  # no mean in [0, 1] contradicts it
        rate = min(1.0, rate)
        if self.constant[i]:
            from scipy.special import betainc

            hits = self._hits(i) if upwards else n - self._hits(i)
            return float(betainc(hits, n - hits + 1.0, rate)) if hits > 0 else 1.0
        return float(max(p, rate**n))


def sample(clusters: Clusters, values: Float[np.ndarray, "probes prompts"], metric: str) -> Sampled:
    """Means of one metric over `values`, with RESAMPLES resamples drawn from the clusters' own generator."""
    means = clusters.template_means(values)
    return _sampled(clusters, values, metric, weights_of(clusters) @ means.T)


def sample_finely(clusters: Clusters, values: Float[np.ndarray, "probes prompts"], metric: str) -> Sampled:
    """As `sample`, with FINE_BATCHES times as many resamples; for a few quantities, as it takes about a second."""
    means, rng = clusters.template_means(values), clusters.rng("fine bootstrap")
    batches = [resample_weights(clusters.sizes, rng) @ means.T for _ in range(FINE_BATCHES)]
    return _sampled(clusters, values, metric, np.concatenate(batches))


def _sampled(clusters: Clusters, values: np.ndarray, metric: str, draws: np.ndarray) -> Sampled:
    value = clusters.template_means(values) @ clusters.weights
    if metric in BOUNDED:  # weights sum to 1 up to rounding only
        value, draws = value.clip(0.0, 1.0), draws.clip(0.0, 1.0)
    return Sampled(
        value=value,
        draws=draws,
        constant=values.max(axis=1) == values.min(axis=1),
        bounded=metric in BOUNDED,
        unit=unit_of(metric),
        clusters=clusters,
    )


def weights_of(clusters: Clusters, resamples: int = RESAMPLES) -> Float[np.ndarray, "resamples templates"]:
    """The clusters' resampling weights, kept for the next question about the same clusters."""
    return _weights(clusters.templates, clusters.sizes, resamples)


@lru_cache(maxsize=4)
def _weights(templates: tuple[tuple[str, str], ...], sizes: tuple[int, ...], resamples: int) -> np.ndarray:
    weights = resample_weights(sizes, Clusters(templates).rng("bootstrap"), resamples)
    weights.setflags(write=False)
    return weights


def percentile_interval(draws: Float[np.ndarray, " resamples"], confidence: float) -> tuple[float, float]:
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
