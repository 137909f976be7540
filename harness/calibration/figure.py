"""power.svg: the share of models on which a claim is supported, against how true it is; a panel a chapter.

Every card whose truth has a distance, in the hardest way of drawing prompts in which it was judged (HARDEST), with 95%
intervals; thin and dashed beside three draws together, one such draw. A line breaks at a bin without models.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.calibration.chapters import number
from harness.calibration.power import HARDEST
from harness.calibration.rates import BINS, rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AT = (0.35, 0.7, 0.95, 1.08, 1.27, 1.57, 2.1, 3.1, 4.9, 7.5)
"""Where a bin stands on the axis."""
TICKS = {0.35: "<0.5", 0.7: "0.7", 1.0: "1", 1.5: "1.5", 2.1: "2", 3.1: "3", 4.9: "5", 7.5: ">6"}

COLOURS = ("#2b6cb0", "#d9731a", "#3b8b4f", "#a4509c", "#b5423c", "#1f9aa5", "#8a6d3b", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "d", "h")
"""Of two cards of a panel that share a colour the second has another marker, and a hollow one."""
STYLES: dict[str, Literal["-", "--", "-."]] = {"redrawn-pooled": "-", "redrawn": "--", "drawn": "-."}
KEY = {
    "redrawn-pooled": "three draws of prompts together, templates drawn anew (bars: 95% intervals)",
    "redrawn": "one such draw alone",
    "drawn": "one draw of the suite's own templates, of cards judged on no other (bars: 95% intervals)",
}
COLUMNS, WIDTH, LEAST_HEIGHT = 2, 5.8, 2.4
"""Panels beside one another; width and least height of one, inches."""
NAME_WIDTH, LINE_HEIGHT, AROUND = 33, 0.16, 0.75
"""Characters of a name, and inches: a line of a legend, and what a panel has above and below its axes."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Of one card and way of drawing: a share for each bin and the ends of its interval, NaN where no models are."""

    way: str
    share: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def panels(results: Mapping[str, Any]) -> dict[str, dict[str, list[Curve]]]:
    """Chapter -> card -> its curves, the hardest first and that of one draw after it; cards with an axis alone."""
    found: dict[str, dict[str, list[Curve]]] = {}
    for chapter, cards in sorted(results["counts"].items(), key=lambda item: number(item[0])):
        for card, ways in cards.items():
            if card not in results["without_axis"].get(chapter, ()):
                hardest = next(way for way in HARDEST if way in ways)
                shown = dict.fromkeys([hardest, "redrawn"] if "redrawn" in ways else [hardest])
                found.setdefault(chapter, {})[card] = [_curve(way, ways[way]) for way in shown]
    return found


def _curve(way: str, counts: Mapping[str, Any]) -> Curve:
    rates = [rate(counts, [b]) for b in BINS]
    bounds = [r.interval if r.n else (math.nan, math.nan) for r in rates]
    return Curve(
        way=way,
        share=tuple(r.value if r.n else math.nan for r in rates),
        low=tuple(low for low, _ in bounds),
        high=tuple(high for _, high in bounds),
    )


def draw_power(results: Mapping[str, Any], path: Path) -> bool:
    """Write the figure; False, and no file, where no card has an axis."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = panels(results)
    if not shown:
        return False
    heights = _heights([len(_names(cards)) for cards in shown.values()])
    with plt.rc_context(
        {"svg.hashsalt": "claims-suite", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure, axes = plt.subplots(
            len(heights),
            COLUMNS,
            figsize=(WIDTH * COLUMNS, sum(heights) + 1.2),
            height_ratios=heights,
            layout=ConstrainedLayoutEngine(hspace=0.05, wspace=0.03),
            squeeze=False,
        )
        for axis, (chapter, cards) in zip(axes.flat, shown.items(), strict=False):
            _panel(axis, chapter, cards)
        for axis in list(axes.flat)[len(shown) :]:
            axis.set_axis_off()
        _key(figure, {curve.way for cards in shown.values() for curves in cards.values() for curve in curves})
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return True


def _names(cards: Mapping[str, Any]) -> list[str]:
    """The lines of a panel's legend."""
    return [line for card in cards for line in textwrap.wrap(card, NAME_WIDTH)]


def _heights(lines: Sequence[int]) -> list[float]:
    """Of each row, by the longest legend in it."""
    rows = [lines[start : start + COLUMNS] for start in range(0, len(lines), COLUMNS)]
    return [max(LEAST_HEIGHT, AROUND + LINE_HEIGHT * max(row)) for row in rows]


def _look(rank: int) -> dict[str, Any]:
    """Colour and marker of a panel's card of that rank; hollow where its colour is there already."""
    colour, hollow = COLOURS[rank % len(COLOURS)], rank >= len(COLOURS)
    return {
        "color": colour,
        "marker": MARKERS[rank % len(MARKERS)],
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour if hollow else "white",
        "markeredgewidth": 0.9 if hollow else 0.3,
    }


def _panel(axis: Axes, chapter: str, cards: Mapping[str, list[Curve]]) -> None:
    axis.axvspan(0.3, 1.0, color="#f0f0f0", linewidth=0, zorder=0)
    axis.axvline(1.0, color="black", linewidth=0.8, zorder=1)
    for level in (0.01, 0.95):
        axis.axhline(level, color="black", linewidth=0.6, linestyle=":", zorder=1)
    for rank, (card, (curve, *others)) in enumerate(cards.items()):
        look = _look(rank)
        shift = 1.012 ** (rank - (len(cards) - 1) / 2)
        axis.errorbar(
            [at * shift for at in AT],
            curve.share,
            yerr=[
                [a - b for a, b in zip(curve.share, curve.low, strict=True)],
                [b - a for a, b in zip(curve.share, curve.high, strict=True)],
            ],
            markersize=5,
            linewidth=1.3,
            linestyle=STYLES[curve.way],
            elinewidth=0.6,
            **look,
            label="\n".join(textwrap.wrap(card, NAME_WIDTH)),
        )
        for other in others:
            axis.plot(
                AT, other.share, color=look["color"], linewidth=0.8, linestyle=STYLES[other.way], alpha=0.6
            )
    axis.set_xscale("log")
    axis.set_xlim(0.3, 8.7)
    axis.set_xticks(list(TICKS), list(TICKS.values()))
    axis.minorticks_off()
    axis.set_ylim(-0.03, 1.03)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axis.tick_params(labelsize=9)
    axis.set_ylabel("supported", fontsize=9)
    axis.set_xlabel("truth, in multiples of the threshold", fontsize=9)
    axis.set_title(chapter, loc="left", fontsize=10.5, fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(
        frameon=False,
        fontsize=8.5,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.03),
        handlelength=2.2,
        markerscale=1.2,
        labelspacing=0.25,
        borderaxespad=0.2,
    )


def _key(figure: Figure, ways: set[str]) -> None:
    """What the lines are, above all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[tuple[Any, str]] = [
        (
            Line2D([], [], color="#333333", linestyle=style, linewidth=1.3 if way != "redrawn" else 0.8),
            KEY[way],
        )
        for way, style in STYLES.items()
        if way in ways
    ]
    handles += [
        (Line2D([], [], linestyle=""), "a line breaks where no model was that true"),
        (Patch(color="#e6e6e6"), "the claim is false: a model of which it is supported is an error"),
        (
            Line2D([], [], color="black", linewidth=0.6, linestyle=":"),
            "the aims: at most 1% if false, 95% if true",
        ),
    ]
    figure.legend(
        [handle for handle, _ in handles],
        [text for _, text in handles],
        loc="outside upper left",
        frameon=False,
        fontsize=9.5,
        title="Share of random models on which a card is supported, by how true it is",
        title_fontproperties={"size": 12, "weight": "bold"},
        alignment="left",
        handlelength=3.0,
    )
