"""Correlations over blocks, resample by resample, and whether chance alone would give one."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
from jaxtyping import Float

from harness.statistics.ranks import ranks_of

PERMUTATIONS = 9_999
EXACT = 7
"""Up to so many blocks all orders are used: 7! = 5,040."""
NOTHING = 1e-9
"""A residual smaller than this share of its numbers is rounding."""


def correlations(
    one: Float[np.ndarray, "resamples blocks"],
    two: Float[np.ndarray, "resamples blocks"],
    *,
    ranks: bool = False,
    given: Float[np.ndarray, " blocks"] | None = None,
) -> Float[np.ndarray, " resamples"]:
    """Pearson's correlation of each row of one with the same row of the other; Spearman's where `ranks`.

    With `given`, the partial correlation: that of what a straight line in it (in its ranks) leaves of both. NaN where
    one of them is constant, or nothing is left of it.
    """
    a, b = (_left(x, ranks=ranks, given=given) for x in (one, two))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(found.clip(-1.0, 1.0))


def permutation_p(
    one: Float[np.ndarray, " blocks"],
    two: Float[np.ndarray, " blocks"],
    rng: np.random.Generator,
    *,
    ranks: bool = False,
    given: Float[np.ndarray, " blocks"] | None = None,
) -> float:
    """One-sided p-value of 'no positive correlation', from exchanging the blocks of the second.

    With `given`, what it leaves of the second is exchanged (Freedman & Lane 1983). All orders of up to EXACT blocks,
    else PERMUTATIONS random ones, the observed one counted. Blocks that resemble their neighbours for another reason
    than `given` are not exchangeable: then it is too small. NaN where the correlation is.
    """
    a, b = (_left(x[None], ranks=ranks, given=given)[0] for x in (one, two))
    n = len(b)
    exact = n <= EXACT
    if exact:
        orders = np.array(list(permutations(range(n))))
    else:
        orders = rng.permuted(np.tile(np.arange(n), (PERMUTATIONS, 1)), axis=1)
    null = correlations(np.broadcast_to(a, orders.shape), b[orders], given=_as_ranks(given, ranks))
    observed = float(correlations(a[None], b[None], given=_as_ranks(given, ranks))[0])
    if math.isnan(observed):
        return math.nan
    hits = int(np.count_nonzero(null >= observed - 1e-9))
    return hits / len(null) if exact else (hits + 1) / (len(null) + 1)


def _left(
    x: Float[np.ndarray, "rows blocks"], *, ranks: bool, given: Float[np.ndarray, " blocks"] | None
) -> Float[np.ndarray, "rows blocks"]:
    """Deviations from the mean, or from the line in `given`; NaN in rows of which nothing but rounding is left."""
    x = ranks_of(x) if ranks else np.asarray(x, dtype=float)
    size = np.sqrt((x**2).sum(axis=1, keepdims=True))
    left = x - x.mean(axis=1, keepdims=True)
    line = _as_ranks(given, ranks)
    if line is not None:
        line = line - line.mean()
        left = left - (left @ line)[:, None] * line / (line @ line)
    gone = np.sqrt((left**2).sum(axis=1, keepdims=True)) <= NOTHING * size
    return np.where(gone, np.nan, left)


def _as_ranks(given: Float[np.ndarray, " blocks"] | None, ranks: bool) -> Float[np.ndarray, " blocks"] | None:
    return given if given is None or not ranks else ranks_of(given[None])[0]
