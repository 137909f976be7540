"""What an adapter adds, as figures show it. No torch."""

from __future__ import annotations

from harness.effects import Effects
from harness.statistics.clusters import Clusters


def gain(table: Effects, row: int, family: str, seed: int | None = None) -> float:
    """Rise of the held-out answer's log-probability over the base's, nats: mean over the family's templates."""
    on = [i for i, p in enumerate(table.prompts) if p.family == family and seed in (None, p.seed)]
    clusters = Clusters.of([table.prompts[i] for i in on])
    added = (table.metrics["answer_logprob"][row] - table.baseline["answer_logprob"])[on]
    return float(clusters.template_means(added[None])[0] @ clusters.weights)


def one_decimal(value: float) -> str:
    """'1.5', '-0.3'; '0.0' also for what rounds to it from below."""
    return f"{round(value, 1) + 0.0:.1f}"
