"""Figure: what adapters of each rank and each set of modules add, against their number of parameters. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.adapters.parameters import UnknownWidth, lora_parameters
from harness.adapters.values import Recipe
from harness.effects import Effects
from harness.experiments.adapters import JSON, RECIPES_BY_MODULES, RECIPES_BY_RANK
from harness.figures.gains import gain
from harness.models.spec import ModelSpec
from harness.protocols import Protocol
from harness.verdicts.adapter_selectors import AdapterRows, On

BLUE, ORANGE, GREY = "#2166ac", "#d95f02", "#888888"
MILLION = 1e6

Tables = Mapping[tuple[str, Protocol], Effects]


@dataclass(frozen=True, kw_only=True)
class Size:
    """An adapter: its number of parameters, and what it adds to held-out JSON answers, nats."""

    name: str
    parameters: int
    gain: float


def draw_pareto(figure: Any, tables: Tables, spec: ModelSpec) -> None:
    """Gain and gain per million parameters against parameters, the Pareto front of ranks and modules together."""
    total, each = figure.subplots(1, 2)
    found: list[Size] = []
    for experiment, recipes, color, marker in (
        ("adapter_ranks", RECIPES_BY_RANK, BLUE, "o"),
        ("adapter_modules", RECIPES_BY_MODULES, ORANGE, "s"),
    ):
        table = tables.get((experiment, Protocol.SOUND))
        if table is None or not (sizes := sizes_of(table, recipes, spec)):
            continue
        found += sizes
        label = "ranks, of q, k, v and o" if experiment == "adapter_ranks" else "modules, at rank 8"
        for axis, values in (
            (total, [s.gain for s in sizes]),
            (each, [s.gain / s.parameters * MILLION for s in sizes]),
        ):
            xs = [s.parameters for s in sizes]
            axis.plot(xs, values, color=color, marker=marker, markersize=5, linestyle="none", label=label)
            for size, x, y in zip(sizes, xs, values, strict=True):
                axis.annotate(size.name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    if not found:
        for axis in (total, each):
            axis.set_axis_off()
        total.text(0.5, 0.5, "the widths of its modules are not known", ha="center", va="center", color=GREY)
        return
    best = front(found)
    total.step(
        [s.parameters for s in best],
        [s.gain for s in best],
        where="post",
        color=GREY,
        linewidth=1.0,
        label="Pareto front: no more for as many or fewer",
    )
    total.axhline(0.0, color=GREY, linewidth=0.8, linestyle=":")
    _dress(total, "What an adapter adds", "gain on JSON, nats")
    each.set_yscale("log" if all(s.gain > 0.0 for s in found) else "linear")
    _dress(each, "What it adds for each parameter", "gain on JSON, nats per million parameters")


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
        found.append(Size(name=name, parameters=parameters, gain=gain(table, row, JSON)))
    return found


def front(sizes: Iterable[Size]) -> list[Size]:
    """Those beside which none adds as much with fewer parameters, or more with as many; by parameters."""
    best: list[Size] = []
    for size in sorted(sizes, key=lambda size: (size.parameters, -size.gain)):
        if not best or size.gain > best[-1].gain:
            best.append(size)
    return best


def _dress(axis: Any, title: str, y: str) -> None:
    axis.set_xscale("log")
    axis.set_title(title, loc="left")
    axis.set_xlabel("trained parameters")
    axis.set_ylabel(y)
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
