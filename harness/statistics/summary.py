"""The readable summary of one table: every mean with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.effects import Effects


def summarize(effects: Effects) -> tuple[Mapping[str, Any], ...]:
    """One row a probe: its name, and [mean, low, high] of each metric with a 98% bootstrap interval over
    templates.

    Each is over the prompts on which the probe was measured and has a value of the metric. A mean that is not finite,
    an interval that cannot be formed (a single template) and a bound that resamples cannot give (some of them show no
    spread) is None.
    """
    import numpy as np

    from harness.statistics.bootstrap import sample
    from harness.statistics.clusters import Clusters

    rows: list[dict[str, Any]] = [
        {"probe": str(probe), **{metric: [None, None, None] for metric in effects.metrics}}
        for probe in effects.probes
    ]
    for metric, table in effects.metrics.items():
        having = effects.having(metric)
        for where in np.unique(having, axis=0):
            probes = np.flatnonzero((having == where).all(axis=1))
            prompts = np.flatnonzero(where)
            if not prompts.size:
                continue
            clusters = Clusters.of([effects.prompts[i] for i in prompts])
            values = table[np.ix_(probes, prompts)]
            usable = np.flatnonzero(np.isfinite(values).all(axis=1))
            if clusters.n_templates == 1:
                for i in usable.tolist():
                    rows[probes[i]][metric] = [_round(values[i].mean()), None, None]
            elif usable.size:
                sampled = sample(clusters, values[usable], metric)
                for position, i in enumerate(usable.tolist()):
                    bounds = sampled.interval(position)
                    rows[probes[i]][metric] = [_round(sampled.value[position]), *map(_round, bounds)]
    return tuple(rows)


def _round(value: float) -> float | None:
    return float(f"{value:.6g}") if isfinite(value) else None
