"""What an adapter adds, as figures show it. No torch."""

from __future__ import annotations

from math import nan

import numpy as np
from jaxtyping import Float

from harness.effects import Effects
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, unit_of

ANSWER = "answer_logprob"


def gain(table: Effects, row: int, family: str, seed: int | None = None) -> float:
    """Rise of the held-out answer's log-probability over the base's, nats: mean over the family's templates."""
    clusters, added = _added(table, row, family, seed)
    return float(clusters.template_means(added[None])[0] @ clusters.weights)


def gain_estimate(table: Effects, row: int, family: str) -> Estimate:
    """The same with its interval over templates; of a single template the bounds are NaN."""
    clusters, added = _added(table, row, family)
    if clusters.n_templates > 1:
        return sample(clusters, added[None], ANSWER).estimate(0)
    return Estimate(
        value=float(added.mean()),
        low=nan,
        high=nan,
        unit=unit_of(ANSWER),
        n_prompts=clusters.n_prompts,
        n_templates=1,
    )


def _added(
    table: Effects, row: int, family: str, seed: int | None = None
) -> tuple[Clusters, Float[np.ndarray, " prompts"]]:
    on = [i for i, p in enumerate(table.prompts) if p.family == family and seed in (None, p.seed)]
    added = (table.metrics[ANSWER][row] - table.baseline[ANSWER])[on]
    return Clusters.of([table.prompts[i] for i in on]), added


def one_decimal(value: float) -> str:
    """'1.5', '-0.3'; '0.0' also for what rounds to it from below."""
    return f"{round(value, 1) + 0.0:.1f}"
