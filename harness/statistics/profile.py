"""Profiles over layers: is there any shape to read, and do two of them agree?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float

DEGENERATE_NATS = 1e-3
DEGENERATE_SHARE = 1e-4
"""A profile whose layers differ by no more than this (absolute, or as a share of their mean) has no shape:
float32 rounding alone moves a mean effect of ten nats by about 4e-4."""


def degeneracy(
    values: Float[np.ndarray, "layers prompts"], means: Float[np.ndarray, " layers"]
) -> str | None:
    """Why a profile has no shape to read a location from, or None.

    `means` holds the mean effect of each layer.
    """
    spread, level = float(np.ptp(means)), float(np.abs(means).mean())
    if bool((values.max(axis=0) == values.min(axis=0)).all()):
        return f"all {len(means)} layers give the same {level:.3g} nats, equal to the bit on every prompt"
    if not spread > max(DEGENERATE_NATS, DEGENERATE_SHARE * level):
        return f"all {len(means)} layers give {level:.3g} nats, within {spread:.1g} of one another"
    return None


def least_tau(profiles: Float[np.ndarray, "profiles layers"]) -> float:
    """The smallest Kendall tau-b over pairs of profiles (scipy.stats.kendalltau). Needs two profiles."""
    from scipy.stats import kendalltau

    return float(min(kendalltau(a, b).statistic for a, b in combinations(profiles, 2)))
