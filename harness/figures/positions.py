"""The figure of token positions: one line a class over the layers, a panel for each stream that is zeroed. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.edits import Stream
from harness.effects import Effects
from harness.protocols import Protocol
from harness.verdicts.selectors import Spotted

COLORS = {
    "first": "#d95f02",
    "last": "#2166ac",
    "operator": "#1b9e77",
    "delimiter": "#7570b3",
    "instruction": "#e7298a",
    "content": "#888888",
}
PANELS = (
    (Protocol.SOUND, Stream.ATTN_OUT, "What attention adds there, zeroed"),
    (Protocol.SOUND, Stream.MLP_OUT, "What the MLP adds there, zeroed"),
    (Protocol.PUBLISHED, Stream.RESID_POST, "Published: the whole stream erased there"),
)
FLOOR_NATS = 1e-4
"""Where the logarithmic axis begins: what lies below it counts as nothing."""


def draw_positions(figure: Any, tables: Mapping[tuple[str, Protocol], Effects]) -> None:
    """Mean kl_nats of each class at each block, with intervals; a panel for each stream that was measured."""
    panels = [panel for panel in PANELS if ("position_sweep", panel[0]) in tables]
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for axis, (protocol, stream, title) in zip(axes, panels, strict=True):
        effects = tables["position_sweep", protocol]
        for spot, color in COLORS.items():
            x, (mean, low, high) = _profile(effects, Spotted(spot=spot, streams=(stream,)))
            if not x.size:
                continue
            axis.fill_between(x, np.maximum(low, FLOOR_NATS), high, color=color, alpha=0.15, linewidth=0)
            axis.plot(x, mean, color=color, marker="o", markersize=2.5, linewidth=1.2, label=spot)
        axis.set_title(title, loc="left")
        axis.set_xlabel("layer")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_yscale("log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=FLOOR_NATS)  # shared, so only once everything is drawn
    axes[0].set_ylabel("KL(base || edited), nats")
    axes[0].legend(frameon=False, fontsize=8, ncols=2)


def _profile(effects: Effects, select: Spotted) -> tuple[np.ndarray, np.ndarray]:
    """Layers, and [mean, low, high] of each; empty where no prompt has the class."""
    from harness.statistics.summary import summarize

    n_layers = 1 + max(probe.layers[0] for probe in effects.probes)
    chosen = effects.select(lambda probe: select.keep(probe, n_layers))
    if not chosen.measured.any():
        return np.empty(0), np.empty((3, 0))
    rows = summarize(replace(chosen, metrics={"kl_nats": chosen.metrics["kl_nats"]}))
    values = np.array([row["kl_nats"] for row in rows], dtype=float)
    return np.array([probe.layers[0] for probe in chosen.probes]), values.T
