"""The figure of attention and MLPs: a panel each, a line for each way of taking them away. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.edits import Stream
from harness.effects import Effects
from harness.experiments import CLEAN, CORRUPT, MEAN, NOISE, RESAMPLE
from harness.protocols import Protocol
from harness.verdicts.selectors import Sublayer

LINES = {
    None: ("zero", "#d95f02"),
    NOISE: ("noise of the same norm", "#888888"),
    RESAMPLE: ("from another prompt", "#1b9e77"),
    MEAN: ("its mean", "#2166ac"),
    CORRUPT: ("from the corrupt prompt", "#7b3294"),
    CLEAN: ("in the corrupt run, from the clean one", "#c2a5cf"),
}
TABLES = {CORRUPT: "sublayer_corrupt", CLEAN: "sublayer_clean"}
"""Donor -> the experiment that has it; the others are sublayer_sweep's."""
PANELS = ((Stream.ATTN_OUT, "Attention"), (Stream.MLP_OUT, "MLP"))
FLOOR_NATS = 1e-3
"""Where the logarithmic axis begins."""
ROOM = 20.0
"""Factor by which it goes on above the curves, for the legend."""


def draw_sublayers(figure: Any, tables: Mapping[tuple[str, Protocol], Effects]) -> None:
    """Mean kl_nats of each ablation at each block, with intervals."""
    from harness.statistics.summary import summarize

    axes = figure.subplots(1, len(PANELS), sharey=True)
    for axis, (stream, title) in zip(axes, PANELS, strict=True):
        for donor, (name, color) in LINES.items():
            effects = tables.get((TABLES.get(donor or "", "sublayer_sweep"), Protocol.SOUND))
            if effects is None:
                continue
            effects = replace(effects, metrics={"kl_nats": effects.metrics["kl_nats"]})
            select = Sublayer(stream=stream, donor=donor)
            chosen = effects.select(lambda probe, select=select: select.keep(probe, 0))  # type: ignore[misc]
            layers = [probe.layers[0] for probe in chosen.probes]
            mean, low, high = np.array([row["kl_nats"] for row in summarize(chosen)], dtype=float).T
            axis.fill_between(layers, np.maximum(low, FLOOR_NATS), high, color=color, alpha=0.15, linewidth=0)
            axis.plot(layers, mean, color=color, marker="o", markersize=2.5, linewidth=1.2, label=name)
        axis.set_title(f"{title}: what it adds to the stream, replaced by", loc="left")
        axis.set_xlabel("layer")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_yscale("log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(FLOOR_NATS, ROOM * axes[0].get_ylim()[1])  # shared, so only once everything is drawn
    axes[0].set_ylabel("KL(base || edited), nats")
    if axes[1].lines:  # recorded under the other protocol alone
        axes[1].legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
