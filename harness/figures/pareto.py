"""Figure: what adapters of each rank and each set of modules add, against their number of parameters. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.adapters.parameters import UnknownWidth, lora_parameters
from harness.adapters.values import Recipe
from harness.effects import Effects
from harness.experiments.adapters import JSON, RECIPES_BY_MODULES, RECIPES_BY_RANK
from harness.figures.gains import gain_estimate
from harness.figures.naming import name_points
from harness.models.spec import ModelSpec
from harness.protocols import Protocol
from harness.statistics.estimate import Estimate
from harness.verdicts.adapter_selectors import AdapterRows, On

BLUE, ORANGE, GREY = "#2166ac", "#d95f02", "#888888"
MILLION = 1e6
ASIDE = 1.2

Tables = Mapping[tuple[str, Protocol], Effects]


@dataclass(frozen=True, kw_only=True)
class Size:
    """An adapter: its number of parameters, and what it adds to held-out JSON answers, nats."""

    name: str
    parameters: int
    gain: Estimate


def draw_pareto(figure: Any, tables: Tables, spec: ModelSpec) -> None:
    """Gain, and gain per million parameters, against parameters, with intervals; the front of all adapters together."""
    from matplotlib.transforms import offset_copy

    total, each = figure.subplots(1, 2)
    found: list[Size] = []
    for experiment, recipes, color, marker, size in (
        ("adapter_modules", RECIPES_BY_MODULES, ORANGE, "s", 5.5),
        ("adapter_ranks", RECIPES_BY_RANK, BLUE, "o", 4.0),  # smaller, above: rank 8 is of both
    ):
        table = tables.get((experiment, Protocol.SOUND))
        if table is None or not (sizes := sizes_of(table, recipes, spec)):
            continue
        found += sizes
        label = "ranks, of q, k, v and o" if experiment == "adapter_ranks" else "modules, at rank 8"
        xs = [s.parameters for s in sizes]
        gains = np.array([(s.gain.value, s.gain.low, s.gain.high) for s in sizes])
        for axis, unit in ((total, np.ones(len(xs))), (each, np.array(xs) / MILLION)):
            value, low, high = gains.T / unit
            for x, aside, *ends in zip(xs, _asides(sizes), low, high, strict=True):
                place = offset_copy(axis.transData, figure, x=aside, units="points")
                axis.vlines(x, *ends, color=color, linewidth=0.8, alpha=0.8, zorder=1).set_transform(place)
            axis.plot(xs, value, color=color, marker=marker, markersize=size, linestyle="none", label=label)
    if not found:
        for axis in (total, each):
            axis.set_axis_off()
        total.text(0.5, 0.5, "the widths of its modules are not known", ha="center", va="center", color=GREY)
        return
    best = front(found)
    total.step(
        [s.parameters for s in best],
        [s.gain.value for s in best],
        where="post",
        color=GREY,
        linewidth=1.0,
        label="front: most for its size",
    )
    total.axhline(0.0, color=GREY, linewidth=0.8, linestyle=":")
    _dress(total, "What an adapter adds", "gain on JSON, nats", "upper left")
    each.set_yscale("log" if all(s.gain.value > 0.0 for s in found) else "linear")
    _dress(
        each, "What it adds for each parameter", "gain on JSON, nats per million parameters", "upper right"
    )
    name_points(figure, total, [(s.name, s.parameters, s.gain.value) for s in found])
    name_points(figure, each, [(s.name, s.parameters, s.gain.value / s.parameters * MILLION) for s in found])


def sizes_of(table: Effects, recipes: Sequence[Recipe], spec: ModelSpec) -> list[Size]:
    """Of each recipe its size and gain, those left out whose parameters do not follow from the model's facts."""
    found = []
    for recipe in recipes:
        try:
            parameters = lora_parameters(spec, recipe.modules, recipe.rank)
        except UnknownWidth:
            continue
        rows = AdapterRows(on=On.WHOLE, recipe=recipe.name)
        row = next(i for i, probe in enumerate(table.probes) if rows.keep(probe, 0))
        name = recipe.name.removesuffix("_alone").replace("_", " ")
        name = name if recipe.name != "sound" else "q, k, v, o (rank 8)"
        found.append(Size(name=name, parameters=parameters, gain=gain_estimate(table, row, JSON)))
    return found


def front(sizes: Iterable[Size]) -> list[Size]:
    """Those beside which none adds as much with fewer parameters, or more with as many; by parameters."""
    best: list[Size] = []
    for size in sorted(sizes, key=lambda size: (size.parameters, -size.gain.value)):
        if not best or size.gain.value > best[-1].gain.value:
            best.append(size)
    return best


def _asides(sizes: Sequence[Size]) -> list[float]:
    """Points by which each interval is drawn aside: those of as many parameters side by side."""
    counts = [s.parameters for s in sizes]
    return [ASIDE * (2 * counts[:i].count(count) - counts.count(count) + 1) for i, count in enumerate(counts)]


def _dress(axis: Any, title: str, y: str, legend: str) -> None:
    axis.set_xscale("log")
    axis.margins(x=0.1)
    axis.set_title(title, loc="left")
    axis.set_xlabel("trained parameters")
    axis.set_ylabel(y)
    axis.legend(frameon=False, fontsize=8, loc=legend)
    axis.spines[["top", "right"]].set_visible(False)
