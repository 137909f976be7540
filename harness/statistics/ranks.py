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
    from scipy.stats import rankdata

    if decimals is not None:
        one, two = np.round(one, decimals), np.round(two, decimals)
    a, b = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (one, two))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))
