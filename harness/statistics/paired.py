"""Paired tests of one probe against others, on template means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.statistics.clusters import Clusters

FLIPS = 9_999
_BATCH = 1_000


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p-values of k paired differences."""

    statistic: Float[np.ndarray, " k"]
    """Weighted mean difference."""
    p: Float[np.ndarray, " k"]
    """Each comparison by itself."""
    p_adjusted: Float[np.ndarray, " k"]
    """Corrected for having looked at all k (single-step max-T, Westfall & Young 1993)."""


def sign_flip(
    differences: Float[np.ndarray, "k templates"],
    weights: Float[np.ndarray, " templates"],
    rng: np.random.Generator,
    flips: int = FLIPS,
) -> SignFlip:
    """Sign-flip permutation test of weighted mean differences over templates, two-sided.

    The test of `scipy.stats.permutation_test(permutation_type="samples")` for the statistic sum(weights *
    d), as one product for all k differences; every sign pattern is used when there are at most `flips` of
    them. Under the null hypothesis each template's difference is symmetric about 0; families that disagree
    in sign widen the null distribution, so the test is conservative about families. A difference that is 0
    everywhere has p = 1.
    """
    z = differences * weights
    observed, scale = z.sum(axis=1), np.sqrt((z**2).sum(axis=1))
    n_templates = z.shape[1]
    exact = 2**n_templates <= flips + 1 if n_templates < 60 else False
    total = 2**n_templates if exact else flips
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(scale[:, None] > 0, z / scale[:, None], 0.0)
    size = np.abs(unit.sum(axis=1)) * (1 - 1e-12)  # a flip that repeats the data counts as equal
    hits, max_hits = np.zeros(len(z)), np.zeros(len(z))
    for start in range(0, total, _BATCH):
        stop = min(start + _BATCH, total)
        null = np.abs(_signs(start, stop, n_templates, exact, rng) @ unit.T)
        hits += (null >= size).sum(axis=0)
        max_hits += (null.max(axis=1)[:, None] >= size).sum(axis=0)
    extra = 0 if exact else 1
    return SignFlip(
        statistic=observed,
        p=(hits + extra) / (total + extra),
        p_adjusted=(max_hits + extra) / (total + extra),
    )


def _signs(start: int, stop: int, width: int, exact: bool, rng: np.random.Generator) -> np.ndarray:
    if exact:
        bits = (np.arange(start, stop)[:, None] >> np.arange(width)) & 1
        return 1.0 - 2.0 * bits
    return 1.0 - 2.0 * rng.integers(0, 2, size=(stop - start, width))


def within_family_p(
    differences: Float[np.ndarray, "k templates"], clusters: Clusters
) -> Float[np.ndarray, "k families"]:
    """One-sided p-value, in each family by itself, of 'the mean difference is at most 0'.

    Student's t over the family's templates (scipy.stats.ttest_1samp): five templates are too few for a
    permutation test to reach any useful level. A family of one template has p = 1; differences equal on
    every template have the sign test's 2^-n when positive, else 1.
    """
    from scipy import stats

    out = np.ones((len(differences), len(clusters.families)))
    for f, n in enumerate(clusters.sizes):
        d = differences[:, clusters.family_of == f]
        if n < 2:
            continue
        same = np.ptp(d, axis=1) == 0
        out[same, f] = np.where(d[same, 0] > 0, 0.5**n, 1.0)
        if not same.all():
            out[~same, f] = stats.ttest_1samp(d[~same], 0.0, axis=1, alternative="greater").pvalue
    return out


def partial_conjunction_p(p: Float[np.ndarray, " n"], at_least: int) -> float:
    """p-value of 'fewer than `at_least` of these n alternatives hold' (Benjamini & Heller 2008, Biometrics
    64:1215).

    (n - u + 1) times the u-th smallest, capped at 1. at_least=0 holds anyway (p = 0); more than n cannot (p
    = 1).
    """
    if at_least <= 0:
        return 0.0
    if at_least > len(p):
        return 1.0
    return float(min(1.0, (len(p) - at_least + 1) * np.sort(p)[at_least - 1]))
