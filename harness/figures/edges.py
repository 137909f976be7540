"""The figure of attention edges: a map of source by window, and bars for the edges cut in all blocks. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.edits import Edit, format_layers
from harness.effects import Effects
from harness.experiments.edges import EDGES, SOURCES
from harness.figures.cells import by_root, draw_cells
from harness.figures.positions import COLORS
from harness.protocols import Protocol

ALL_OTHERS = "all others"
LIGHT = "#c7c7c7"
"""Of their bar: on it the interval is seen."""


def draw_edges(figure: Any, tables: Mapping[tuple[str, Protocol], Effects]) -> None:
    """Mean kl_nats of each class of sources, by window of blocks (left) and in all blocks, with intervals (right)."""
    found = _means(tables[EDGES, Protocol.SOUND])
    reaches = list(dict.fromkeys(layers for _, layers in found))
    whole = max(reaches, key=len)
    runs = [layers for layers in reaches if layers != whole]
    sources = [s for s in (*SOURCES, ALL_OTHERS) if not np.isnan(found[s, whole][0])]
    by_window, at_once = figure.subplots(1, 2, width_ratios=(1.6, 1))
    grid = np.array([[found[source, run][0] for run in runs] for source in sources])
    draw_cells(
        figure,
        by_window,
        grid,
        rows=sources,
        columns=[format_layers(run) for run in runs],
        shades=by_root(float(np.nanmax(grid))),
        said=lambda value: f"{value:.2g}",
        unit="KL(base || edited), nats",
    )
    by_window.set_title("The last token's edges cut in one window of blocks", loc="left")
    mean, low, high = np.array([found[source, whole] for source in sources]).T
    y = np.arange(len(sources))
    colors = [COLORS.get(source, LIGHT) for source in sources]
    at_once.barh(
        y, mean, xerr=(mean - low, high - mean), color=colors, height=0.7, error_kw={"linewidth": 0.8}
    )
    at_once.set_yticks(y, sources)
    at_once.invert_yaxis()
    at_once.set_xlabel("KL(base || edited), nats")
    at_once.set_title("Cut in all blocks", loc="left")
    for axis in (by_window, at_once):
        axis.spines[["top", "right"]].set_visible(False)


def _means(effects: Effects) -> dict[tuple[str, tuple[int, ...]], np.ndarray]:
    """[mean, low, high] by source and blocks; NaN where no prompt has the class."""
    from harness.statistics.summary import summarize

    found = {}
    for i, probe in enumerate(effects.probes):
        assert isinstance(probe, Edit)
        value = np.full(3, np.nan)
        if effects.measured[i].any():
            alone = effects.select(lambda p, probe=probe: p == probe)  # type: ignore[misc]
            (row,) = summarize(replace(alone, metrics={"kl_nats": alone.metrics["kl_nats"]}))
            value = np.array(row["kl_nats"], dtype=float)
        found[probe.spot or ALL_OTHERS, probe.layers] = value
    return found
