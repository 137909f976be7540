"""The figure of texts under steering, from recorded evidence. No torch.

generation  share of degenerate texts against the strength, how much they repeat, and the KL of the first token
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.effects import Effects
from harness.protocols import Protocol
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.steering import Kind, Steering
from harness.verdicts.reading import measured
from harness.verdicts.steering_table import SteeringTable, read_table

GENERATION = "steering_generation"
PANELS = (
    ("degenerate", "share of texts", "Degenerate beside the unedited text"),
    ("repeated_bigrams", "share of bigrams", "Repeated bigrams"),
    ("kl_nats", "KL(base || edited), nats", "The first token written"),
)
BLUE, GREY = "#2166ac", "#888888"
LINES = (("-", "o"), ("--", "s"))
"""Of the early block and of the late one."""

Tables = Mapping[tuple[str, Protocol], Effects]


def draw_generation(figure: Any, tables: Tables) -> None:
    """A curve for each direction and block, with intervals, over strengths that double from step to step."""
    table = read_table(measured({GENERATION: tables[GENERATION, Protocol.SOUND]}), GENERATION)
    strengths = (0.0, *table.strengths(table.blocks[:1]))
    for axis, (metric, label, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for (line, marker), block in zip(LINES, table.blocks, strict=False):
            for direction in (table.main, *table.controls(block, strengths[-1])):
                rows = [
                    Steering(direction=direction, layers=(block,), strength=s) if s else _unedited(table)
                    for s in strengths
                ]
                mean, low, high = _means(table, rows, metric)
                random = direction.kind is Kind.RANDOM
                color = GREY if random else BLUE
                axis.fill_between(range(len(rows)), low, high, color=color, alpha=0.12, linewidth=0)
                axis.plot(
                    mean,
                    line,
                    color=color,
                    marker=marker,
                    markersize=3,
                    linewidth=1.2,
                    label=f"{'random' if random else 'facts'}, L{block}",
                )
        axis.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths])
        axis.set_title(title, loc="left")
        axis.set_xlabel("strength, lengths of the stream")
        axis.set_ylabel(label)
        axis.set_ylim(*((0, None) if metric == "kl_nats" else (-0.03, 1.03)))
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=7)


def _unedited(table: SteeringTable) -> Steering:
    return next(steering for steering, row in table.rows.items() if row == table.unsteered)


def _means(table: SteeringTable, rows: list[Steering], metric: str) -> Float[np.ndarray, "3 row"]:
    """Mean over the prompts, and the interval's bounds; a bound that is not finite is NaN."""
    values = np.array([table.metric(row, metric) for row in rows])
    sampled = sample(Clusters.of(table.prompts), values, metric)
    bounds = np.array([sampled.interval(i) for i in range(len(rows))]).T
    return np.vstack([sampled.value, np.where(np.isfinite(bounds), bounds, np.nan)])
