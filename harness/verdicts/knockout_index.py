"""The index of two mean drops, in [-1, 1], by tests of two means rather than by resamples of their quotient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.ends import bisect_end
from harness.statistics.estimate import ALPHA

HALVINGS = 12
"""Of an index's range, for an end of its interval: to 0.0005."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """(skill - others) / (|skill| + |others|) of two mean drops, in [-1, 1].

    It is at least c, for c of 0 or more, where both (1 - c) skill - (1 + c) others and (1 + c) skill - (1 - c) others
    are; below 0, where one of them is. So it is tested by these two means (Fieller 1954), whose test is that of every
    other mean; that it errs less than resamples of the quotient is not shown.
    """

    clusters: Clusters
    parts: Float[np.ndarray, "2 prompts"]
    """Whose means are the drop of the skill and that of the others."""

    @cached_property
    def value(self) -> float:
        """Of the observed drops, which are not both 0."""
        skill, others = (self.clusters.template_means(self.parts) @ self.clusters.weights).tolist()
        return float((skill - others) / (abs(skill) + abs(others)))

    def p_values(self, at: float) -> tuple[float, float]:
        """One-sided p-values of 'it lies below `at`' and of 'it lies above'."""
        skill, others = self.parts
        edges = np.stack([(1 - at) * skill - (1 + at) * others, (1 + at) * skill - (1 - at) * others])
        found = sample(self.clusters, edges, "")
        above, below = ([p(i, 0.0) for i in range(2)] for p in (found.p_above, found.p_below))
        if at < 0.0:
            return 2 * min(above), max(below)
        return max(above), 2 * min(below)

    def interval(self, *, at: float) -> tuple[float, float]:
        """At CONFIDENCE: what neither p-value tells from it. `at` is left out exactly where it is told from it."""
        low = self._end(-1.0, at, lambda c: 2 * self.p_values(c)[0] <= ALPHA)
        high = self._end(1.0, at, lambda c: 2 * self.p_values(c)[1] <= ALPHA)
        return low, high

    def _end(self, limit: float, at: float, told: Callable[[float], bool]) -> float:
        inside, outside = self.value, limit
        if min(inside, outside) < at < max(inside, outside):
            inside, outside = (inside, at) if told(at) else (at, outside)
        if outside == limit and not told(limit):
            return limit
        return bisect_end(told, inside, outside, halvings=HALVINGS)
