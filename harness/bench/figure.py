"""speed.svg: time relative to ours, one bar a contender and workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.bench.contenders import OURS
from harness.bench.summary import Line, lines

COLOURS = ("#2b6cb0", "#dd8a3c")


def draw_speed(results: dict[str, Any], path: Path) -> bool:
    """Write the figure; False, and no file, where our engine has no time to compare with."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator

    table = {name: {line.name: line for line in lines(results, name)} for name in results["workloads"]}
    table = {name: found for name, found in table.items() if OURS in found}
    if not table:
        return False
    names = _order(table)
    height = 0.8 / len(table)
    with plt.rc_context(
        {"svg.hashsalt": "claims-suite", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure, axis = plt.subplots(figsize=(8.5, 0.9 + 0.42 * len(names)), layout="constrained")
        for number, (workload, found) in enumerate(table.items()):
            label = results["workloads"][workload]["title"].split(":")[0]
            for place, name in enumerate(names):
                line = found.get(name)
                if line is None or line.relative is None:
                    continue
                y = place + (number - (len(table) - 1) / 2) * height
                axis.barh(
                    y,
                    line.relative,
                    height,
                    color=COLOURS[number % len(COLOURS)],
                    label=label if place == 0 else None,
                )
                axis.annotate(
                    f"{line.relative:.1f}x",
                    (line.relative, y),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                )
        axis.set_yticks(range(len(names)), [_label(table, name) for name in names])
        axis.invert_yaxis()
        axis.set_xscale("log")
        longest = max(line.relative or 1.0 for found in table.values() for line in found.values())
        axis.set_xlim(0.8, 1.5 * max(longest, 2.0))
        axis.xaxis.set_minor_locator(NullLocator())
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= 1.5 * longest]
        axis.set_xticks(ticks, [f"{tick}x" for tick in ticks])
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_xlabel("time relative to ours (log scale)")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="lower right" if len(names) < 3 else "upper right")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return True


def _order(table: dict[str, dict[str, Line]]) -> list[str]:
    """Contenders by their shortest relative time; ours first."""
    best: dict[str, float] = {}
    for found in table.values():
        for name, line in found.items():
            best[name] = min(best.get(name, float("inf")), line.relative or float("inf"))
    return sorted(best, key=lambda name: (name != OURS, best[name]))


def _label(table: dict[str, dict[str, Line]], name: str) -> str:
    line = next(found[name] for found in table.values() if name in found)
    return f"{line.tool}\n{line.mode}"
