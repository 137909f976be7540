"""Rank correlation of profiles, resample by resample."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def spearman(
    one: Float[np.ndarray, "resamples layers"],
    two: Float[np.ndarray, "resamples layers"],
    *,
    decimals: int | None = None,
) -> Float[np.ndarray, " resamples"]:
    """Spearman's correlation of each row of one with the same row of the other; ties share their mean rank.

    With `decimals`, values that agree to so many decimals tie. NaN where all values of a row tie: it has no ranks.
    """
    if decimals is not None:
        one, two = np.round(one, decimals), np.round(two, decimals)
    a, b = (ranks_of(x) - (x.shape[1] + 1) / 2 for x in (one, two))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def ranks_of(rows: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows n"]:
    """Ranks from 1 within each row: those of `scipy.stats.rankdata`, which takes longer where nothing ties.

    Ties share their mean rank; a row with a NaN has no ranks, and is NaN.
    """
    n = rows.shape[1]
    order = np.argsort(rows, axis=1)
    order += n * np.arange(len(rows))[:, None]
    found = np.empty(rows.shape)
    found.ravel()[order] = np.arange(1.0, n + 1.0)
    ordered = rows.ravel()[order]
    tied = ~(ordered[:, :-1] < ordered[:, 1:]).all(axis=1)
    if n == 1:
        tied = np.isnan(rows[:, 0])
    if tied.any():
        from scipy.stats import rankdata

        found[tied] = rankdata(rows[tied], axis=1)
    return found
