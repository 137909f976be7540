"""What resamples and their mirror images about the observed value both say: the percentile and the basic bootstrap.

Resampling adds noise, which moves a correlation, a distance or a share to one side: only where both agree is it said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate

ROUNDING = 1e-9

Draws = Float[np.ndarray, " resamples"]


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """An observed value and its resamples, NaN where one has no value; on the scale on which they are mirrored."""

    value: float
    draws: Draws

    @property
    def both(self) -> tuple[Draws, Draws]:
        """The resamples, and their mirror images about the value."""
        return self.draws, 2 * self.value - self.draws

    def p_unless(self, holds: Callable[[Draws], Bool[np.ndarray, " resamples"]]) -> float:
        """One-sided p-value of 'it does not hold': the larger one of the two. `holds` is to be false of NaN."""
        return max(bootstrap_p(~holds(draws)) for draws in self.both)

    def p_beyond(self, edge: float, sign: float, *, strict: bool = False) -> float:
        """One-sided p-value of 'not on this side of the edge': above it where `sign` is 1, below where -1.

        On the edge itself, within ROUNDING, counts as on both sides, or as on neither if `strict`. A resample without
        a value speaks for neither.
        """
        slack = -ROUNDING if strict else ROUNDING
        return self.p_unless(lambda draws: sign * (draws - edge) >= -slack)

    def interval(self, *, without_value: float = 1.0) -> tuple[float, float]:
        """The interval that holds both: the lower of the lower ends, and the higher of the higher.

        A resample without a value, and its image, count as -`without_value` for the one and as `without_value` for the
        other: name a number that no value is beyond.
        """
        low = min(percentile_interval(np.nan_to_num(x, nan=-without_value))[0] for x in self.both)
        high = max(percentile_interval(np.nan_to_num(x, nan=without_value))[1] for x in self.both)
        return low, high

    def estimate(self, unit: str, clusters: Clusters, *, without_value: float = 1.0) -> Estimate:
        """The value with that interval."""
        low, high = self.interval(without_value=without_value)
        return Estimate(
            value=self.value,
            low=low,
            high=high,
            unit=unit,
            n_prompts=clusters.n_prompts,
            n_templates=clusters.n_templates,
        )
