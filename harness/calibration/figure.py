"""power.svg: the share of models on which a claim is supported, against how true it is; a panel a chapter.

With error bars: prompts redrawn for three seeds together (where there are none, for one). Dashed: one seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.calibration.chapters import number
from harness.calibration.rates import BINS, rate

AT = (0.35, 0.7, 0.95, 1.08, 1.27, 1.57, 2.1, 3.1, 4.9, 7.5)
"""Where a bin stands on the axis."""

COLOURS = ("#2b6cb0", "#dd8a3c", "#4a8f5a", "#a4509c", "#777777", "#b5423c", "#3aa0a8", "#8a6d3b")
MARKERS = ("o", "s", "^")
SHOWN, ONE_SEED = ("redrawn-pooled", "redrawn"), ("redrawn",)
"""Ways of drawing; the first in which a card was judged."""


def draw_power(results: Mapping[str, Any], path: Path) -> bool:
    """Write the figure; False, and no file, where no card was judged on both sides of its threshold."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    counts = sorted(results["counts"].items(), key=lambda item: number(item[0]))
    shown = {chapter: curves for chapter, cards in counts if (curves := _curves(cards, SHOWN))}
    one_seed = {chapter: _curves(cards, ONE_SEED) for chapter, cards in counts}
    if not shown:
        return False
    with plt.rc_context(
        {"svg.hashsalt": "claims-suite", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure, axes = plt.subplots(
            len(shown), 1, figsize=(8.5, 2.7 * len(shown)), layout="constrained", squeeze=False, sharex=True
        )
        for axis, (chapter, curves) in zip(axes[:, 0], shown.items(), strict=True):
            for rank, (card, (x, y, low, high)) in enumerate(curves.items()):
                error = [
                    [a - b for a, b in zip(y, low, strict=True)],
                    [b - a for a, b in zip(y, high, strict=True)],
                ]
                shifted = [place * 1.012 ** (rank - (len(curves) - 1) / 2) for place in x]
                axis.errorbar(
                    shifted,
                    y,
                    yerr=error,
                    marker=MARKERS[rank // len(COLOURS) % len(MARKERS)],
                    markersize=3.5,
                    linewidth=1.2,
                    elinewidth=0.7,
                    color=COLOURS[rank % len(COLOURS)],
                    label=card,
                )
                if card in one_seed[chapter]:
                    at, share, _, _ = one_seed[chapter][card]
                    axis.plot(at, share, color=COLOURS[rank % len(COLOURS)], linewidth=1.0, linestyle="--")
            axis.axvline(1.0, color="black", linewidth=0.8)
            for level in (0.01, 0.95):
                axis.axhline(level, color="black", linewidth=0.5, linestyle=":")
            axis.set_xscale("log")
            axis.set_xticks(
                [0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5],
                ["<0.5", "0.5", "0.7", "1", "1.5", "2", "3", "5", ">6"],
            )
            axis.minorticks_off()
            axis.set_ylim(-0.03, 1.03)
            axis.set_ylabel("supported")
            axis.set_title(chapter, loc="left", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
            axis.legend(frameon=False, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes[-1, 0].set_xlabel(
            "truth: the population's distance from the threshold, 1 at the threshold (log scale)"
        )
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return True


Curve = tuple[list[float], list[float], list[float], list[float]]
"""Places, shares, lower and upper bounds."""


def _curves(cards: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Curve]:
    """Card -> its curve for prompts chosen in the first of these ways; cards judged at three bins or more."""
    curves = {}
    for card, ways in cards.items():
        way = next((way for way in wanted if way in ways), "")
        points = [(at, r) for at, b in zip(AT, BINS, strict=True) if (r := rate(ways.get(way, {}), [b])).n]
        if len(points) >= 3:
            bounds = [r.interval for _, r in points]
            curves[card] = (
                [at for at, _ in points],
                [r.value for _, r in points],
                [low for low, _ in bounds],
                [high for _, high in bounds],
            )
    return curves
