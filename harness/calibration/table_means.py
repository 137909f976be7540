"""What truths of made-up tables are computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from harness.effects import PromptRecord

Values = Float[np.ndarray, "*rows prompts"]
Prompts = Sequence[PromptRecord]


def family_mean(values: Values, prompts: Prompts) -> Float[np.ndarray, " *rows"]:
    """Mean over families of the mean over a family's prompts."""
    families = np.array([prompt.family for prompt in prompts])
    return np.asarray(
        np.mean([values[..., families == family].mean(axis=-1) for family in sorted(set(families))], axis=0)
    )


def agreement_size(at_least: float, correlation: float) -> float:
    """Of a correlation that is to be at least this."""
    return (1.0 - at_least) / (1.0 - correlation) if correlation < 1.0 else math.inf
