"""The figure of activation patching: a map for each direction, and the residual stream's two lines. No torch.

Both maps show what the patch brings about: of denoising the recovery, of noising 1 less the recovery. So what matters
is dark in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.edits import Edit, Stream
from harness.effects import Effects
from harness.experiments.patching import DENOISING, NOISING, PATCHED, Where
from harness.patching import RECOVERY, recovered
from harness.protocols import Protocol
from harness.statistics.summary import summarize
from harness.verdicts.selectors import Patched

SHOWN = tuple((stream, where) for stream, classes in PATCHED for where in classes if where is not Where.ALL)
LINES = ((Where.CHANGED, "#d95f02"), (Where.LAST, "#2166ac"), (Where.REST, "#888888"))
TITLES = {DENOISING: "Denoising: share recovered", NOISING: "Noising: share lost"}
WORDS = {Where.CHANGED: "changed", Where.REST: "other", Where.LAST: "last"}
TOKENS = {Where.CHANGED: "changed tokens", Where.REST: "other tokens", Where.LAST: "last token"}


def draw_patching(figure: Any, tables: Mapping[tuple[str, Protocol], Effects]) -> None:
    """Layer x site and class of positions, mean over the pairs that separate; beside it resid_post with intervals.

    Where a direction is not there, or fewer than two templates separate, the figure says so instead.
    """
    sound = {
        name: tables[name, Protocol.SOUND]
        for name in (DENOISING, NOISING)
        if (name, Protocol.SOUND) in tables
    }
    found = {name: _brought(table, name) for name, table in sound.items()}
    axes = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1))
    if len(found) < 2 or any(len({(p.family, p.template) for p in t.prompts}) < 2 for t in found.values()):
        axes[0].set_title(
            "Not both directions, or too few pairs that separate clean from corrupt", loc="left"
        )
        return
    for axis, (name, table) in zip(axes, found.items(), strict=False):
        image = _map(axis, table)
        axis.set_title(
            f"{TITLES[name]} ({len(table.prompts)} of {len(sound[name].prompts)} pairs)", loc="left"
        )
    axes[1].set_yticklabels([])
    figure.colorbar(image, ax=axes[1], extend="both", label="share of the logit difference")
    for where, color in LINES:
        mean, low, high = _means(found[DENOISING], Stream.RESID_POST, where).T
        x = np.arange(len(mean))
        axes[2].fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
        axes[2].plot(x, mean, color=color, marker="o", markersize=3, linewidth=1.2, label=TOKENS[where])
    axes[2].set_title("resid_post, denoising", loc="left")
    axes[2].set_ylabel("recovery")
    axes[2].legend(frameon=False, fontsize=8)
    axes[2].spines[["top", "right"]].set_visible(False)
    for axis in axes:
        axis.set_xlabel("layer")
        axis.xaxis.get_major_locator().set_params(integer=True)


def _brought(effects: Effects, name: str) -> Effects:
    """The table of what each patch brings about, as RECOVERY."""
    table = recovered(effects)
    if name == DENOISING:
        return table
    return Effects(
        probes=table.probes,
        prompts=table.prompts,
        metrics={RECOVERY: 1.0 - table.metrics[RECOVERY]},
        baseline={},
    )


def _map(axis: Any, table: Effects) -> Any:
    grid = np.array([_means(table, stream, where)[:, 0] for stream, where in SHOWN])
    axis.set_yticks(range(len(SHOWN)), [f"{stream}, {WORDS[where]}" for stream, where in SHOWN])
    return axis.imshow(grid, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")


def _means(table: Effects, stream: Stream, where: Where) -> Float[np.ndarray, "layer 3"]:
    """Mean, low and high of each block; a bound that is not finite is NaN."""
    n_layers = 1 + max(probe.layers[0] for probe in table.probes if isinstance(probe, Edit))
    select = Patched(stream=stream, where=where)
    rows = summarize(table.select(lambda probe: select.keep(probe, n_layers)))
    return np.array([row[RECOVERY] for row in rows], dtype=float)
