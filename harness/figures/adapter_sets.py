"""Figures of adapters side by side: in sets of blocks, of skills of deobfuscation, and two at a time. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.adapters.values import Adapted, Kind
from harness.edits import format_layers
from harness.effects import Effects
from harness.experiments.adapter_sets import ALL_LINEAR, CHOSEN, CODE, DEOBFUSCATION, EVERYWHERE
from harness.experiments.adapters import FAMILIES, JSON
from harness.figures.cells import draw_cells, signed
from harness.figures.gains import gain, one_decimal
from harness.protocols import Protocol

COLORS = {CHOSEN: "#d95f02", EVERYWHERE: "#2166ac", ALL_LINEAR: "#1b9e77"}
GREY = "#888888"
PANELS = (("adapter_sets", JSON), ("adapter_sets_code", CODE))
"""Of the sets of blocks; code is asked of few models."""

Tables = Mapping[tuple[str, Protocol], Effects]


def draw_sets(figure: Any, tables: Tables) -> None:
    """What an adapter adds to held-out answers, by where it stands; a dot a training, hollow at an early step.

    A panel for each family that was measured.
    """
    panels = [
        (tables[name, Protocol.SOUND], family) for name, family in PANELS if (name, Protocol.SOUND) in tables
    ]
    for k, (table, family) in enumerate(panels):
        axis = figure.add_subplot(1, len(panels), 1 + k)
        every = [(i, p.parts[0]) for i, p in enumerate(table.probes) if isinstance(p, Adapted)]
        rows = [(i, part.recipe) for i, part in every if part.step is None]
        for y, (_, recipe) in enumerate(reversed(rows)):
            color = COLORS.get(recipe.name, GREY)
            for i, part in every:
                if part.recipe == recipe:
                    gains = [gain(table, i, family, seed) for seed in _seeds(table)]
                    fill = color if part.step is None else "none"
                    axis.plot(gains, [y] * len(gains), "o", color=color, markerfacecolor=fill, markersize=4)
        axis.set_yticks(
            range(len(rows)), [_where(recipe.name, recipe.layers) for _, recipe in reversed(rows)]
        )
        axis.axvline(0.0, color=GREY, linewidth=0.8)
        _dress(axis, f"{_plain(family)}: an adapter in", "gain of the held-out answer, nats")


def draw_deobfuscation(figure: Any, tables: Tables) -> None:
    """Gain of each skill's held-out answers under each skill's adapter, and under a random update of its norm."""
    table = tables["adapter_deobfuscation", Protocol.SOUND]
    axes = figure.subplots(1, 2)
    edge = 0.0
    grids = []
    for kind in (Kind.TRAINED, Kind.RANDOM):
        rows = [_row(table, kind, family) for family in DEOBFUSCATION]
        grids.append(np.array([[gain(table, i, family) for family in DEOBFUSCATION] for i in rows]))
        edge = max(edge, float(np.abs(grids[-1]).max()))
    titles = ("Gain, nats: adapter (row) on prompts of (column)", "The same, random updates of the same norm")
    for axis, grid, title in zip(axes, grids, titles, strict=True):
        _skills(figure, axis, grid, DEOBFUSCATION, title, edge)


def draw_compatibility(figure: Any, tables: Tables) -> None:
    """What a skill keeps of its gain beside another adapter: summed, and averaged (halves of both)."""
    table = tables["adapter_families", Protocol.SOUND]
    axes = figure.subplots(1, 2)
    titles = ("Gain on (row), nats, lost or won by adding the adapter of (column)", "The same, both halved")
    grids = [_beside(table, halved=halved) for halved in (False, True)]
    edge = float(max(np.abs(np.nan_to_num(grid)).max() for grid in grids))
    for axis, grid, title in zip(axes, grids, titles, strict=True):
        _skills(figure, axis, grid, FAMILIES, title, edge)


def _beside(table: Effects, *, halved: bool) -> Float[np.ndarray, "families families"]:
    """Gain on each family with another adapter beside its own, less its own alone; NaN for itself."""
    grid = np.full((len(FAMILIES), len(FAMILIES)), np.nan)
    for i, probe in enumerate(table.probes):
        if not isinstance(probe, Adapted) or len(probe.parts) != 2 or (probe.merge == "linear") is not halved:
            continue
        a, b = (FAMILIES.index(part.family) for part in probe.parts)
        for own, other in ((a, b), (b, a)):
            alone = gain(table, _row(table, Kind.TRAINED, FAMILIES[own]), FAMILIES[own])
            grid[own, other] = gain(table, i, FAMILIES[own]) - alone
    return grid


def _row(table: Effects, kind: Kind, family: str) -> int:
    """The row of this family's adapter alone, or of the random update like it."""
    return next(
        i
        for i, probe in enumerate(table.probes)
        if isinstance(probe, Adapted)
        and probe == Adapted(parts=probe.parts)
        and [(part.family, part.kind) for part in probe.parts] == [(family, kind)]
    )


def _skills(
    figure: Any, axis: Any, grid: Float[np.ndarray, "n n"], families: Sequence[str], title: str, edge: float
) -> None:
    names = [_plain(family) for family in families]
    draw_cells(
        figure,
        axis,
        grid,
        rows=names,
        columns=names,
        shades=signed(edge),
        said=one_decimal,
        unit="nats",
        slant=20,
    )
    axis.set_title(title, loc="left")


def _where(name: str, layers: tuple[int, ...] | None) -> str:
    if layers is None:
        return {EVERYWHERE: "every block, as many parameters", ALL_LINEAR: "every block, rank 8"}.get(
            name, name
        )
    return f"{'most needed' if name == CHOSEN else 'random'}: {format_layers(layers)}"


def _seeds(table: Effects) -> tuple[int, ...]:
    return tuple(dict.fromkeys(prompt.seed for prompt in table.prompts))


def _plain(family: str) -> str:
    return family.replace("_", " ")


def _dress(axis: Any, title: str, x: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.tick_params(axis="y", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
