"""The numbers behind the page's heat maps: skip effects by layer and family, and effects of zeroing each head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from harness.edits import Edit
from harness.effects import Effects, pool
from harness.figures.robustness import family_grid
from harness.models.spec import ModelSpec
from harness.protocols import Protocol
from harness.report import Judge, NoEvidence
from harness.statistics.clusters import Clusters

DIGITS = 3
POOLED = "pooled"

Grid = tuple[Sequence[str], np.ndarray]
"""Names of the rows, and the mean kl_nats [row, layer]; NaN where nothing was measured."""


def heat_maps(specs: Iterable[ModelSpec], judge: Judge) -> list[dict[str, Any]]:
    """For each model that has one, its maps as plain JSON values.

    A map has its rows and layers and, for the seeds together and for each of them, values [row][layer] and how many
    prompts and templates a row's values are means over.
    """
    found = []
    for spec in specs:
        maps = {
            "families": _map(judge, spec.id, "layer_sweep", family_grid),
            "heads": _map(judge, spec.id, "head_sweep", _heads),
        }
        held = {name: value for name, value in maps.items() if value is not None}
        if held:
            found.append({"model": spec.id, "title": spec.title, "maps": held})
    return found


def _map(judge: Judge, model: str, experiment: str, read: Callable[[Effects], Grid]) -> dict[str, Any] | None:
    try:
        records = [judge.evidence(model, experiment, Protocol.SOUND, seed) for seed in judge.seeds]
        tables = {POOLED: pool([r.effects for r in records])}
    except (NoEvidence, ValueError):
        return None
    if any(record.failed for record in records):
        return None
    if len(records) > 1:
        tables |= {str(r.question.seed): r.effects for r in records}
    rows: list[str] = []
    shown = {}
    for name, effects in tables.items():
        names, grid = read(effects)
        rows = rows or list(names)
        by_name = dict(zip(names, grid, strict=True))
        missing = np.full(grid.shape[1], np.nan)
        shown[name] = {
            "values": [[_rounded(x) for x in by_name.get(row, missing).tolist()] for row in rows],
            "n": _sizes(effects, rows, per_row=experiment == "layer_sweep"),
        }
    return {"rows": rows, "layers": records[0].question.n_layers, "draws": shown}


def _heads(effects: Effects) -> Grid:
    """Mean over families of zeroing each head, as the summary of the record gives it."""
    clusters = Clusters.of(effects.prompts)
    means = clusters.family_means(clusters.template_means(effects.metrics["kl_nats"])).mean(axis=1)
    sites = [p.heads[0] if isinstance(p, Edit) and len(p.heads) == 1 else None for p in effects.probes]
    heads = [(site.head or 0, site.layer) for site in sites if site is not None]
    grid = np.full((1 + max(h for h, _ in heads), 1 + max(layer for _, layer in heads)), np.nan)
    for site, mean in zip(sites, means, strict=True):
        if site is not None:
            grid[site.head or 0, site.layer] = mean
    return [f"H{head}" for head in range(len(grid))], grid


def _sizes(effects: Effects, rows: Sequence[str], *, per_row: bool) -> list[list[int]]:
    """[prompts, templates] of each row, a family; or once, of all."""
    of_row = [[p for p in effects.prompts if p.family == row] for row in rows]
    groups = of_row if per_row else [list(effects.prompts)]
    return [[len(prompts), len({(p.family, p.template) for p in prompts})] for prompts in groups]


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
