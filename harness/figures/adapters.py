"""Figures of the training chapters: where an adapter acts, what carries it over, what training changes. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.adapters.values import Adapted, Recipe
from harness.effects import Effects
from harness.experiments.adapters import FAMILIES, JSON, RECIPES_BY_MODULES, RECIPES_BY_RANK
from harness.figures.cells import draw_cells, signed
from harness.figures.gains import gain, one_decimal
from harness.figures.naming import name_points
from harness.protocols import Protocol
from harness.verdicts.adapter_selectors import AdapterRows, On, block_of

ORANGE, BLUE, RED, GREEN, GREY = "#d95f02", "#2166ac", "#b2182b", "#1b9e77", "#888888"
LEAST_SHOWN = -1.0
"""Share recovered at which the figure ends. Another prompt's stream lies far below: arrows and its numbers say so."""
FLOOR_NATS = 1e-5
"""Where logarithmic axes of effects begin."""

Tables = Mapping[tuple[str, Protocol], Effects]


def draw_adapters(figure: Any, tables: Tables) -> None:
    """Norm of each block's update, what switching it off costs, and the one against the other."""
    by_block, norms, scatter = figure.subplots(1, 3)
    sound, pasted = (
        tables.get(("adapter_layers", protocol)) for protocol in (Protocol.SOUND, Protocol.PUBLISHED)
    )
    if pasted is not None:
        _curve(by_block, pasted, On.OFF_UP_TO, RED, "published: off in all blocks up to it")
    if sound is not None:
        _curve(by_block, sound, On.OFF, BLUE, "sound: off in this block alone")
        _norms(norms, sound)
        _scatter(figure, scatter, sound)
    by_block.set_yscale("log")
    by_block.set_ylim(bottom=FLOOR_NATS)
    by_block.legend(frameon=False, fontsize=8)
    _dress(by_block, "The adapter switched off", "layer", "KL(adapted || switched off), nats")


def draw_transfer(figure: Any, tables: Tables) -> None:
    """Share of the adapted prediction that is recovered in the base model, block by block."""
    whole, parts, back = figure.subplots(1, 3, sharey=True)
    published, sound = (tables.get(("adapter_transfer", p)) for p in (Protocol.PUBLISHED, Protocol.SOUND))
    if published is not None:
        _recovered(whole, published, On.ONLY_UP_TO, RED, "published: the whole stream after the block")
        _recovered(back, published, On.STREAM_BACK, RED, "published: the whole stream after the block")
    if sound is not None:
        _recovered(whole, sound, On.LAST, ORANGE, "sound: the last token's alone")
        _recovered(whole, sound, On.ANOTHERS_LAST, GREY, "the last token's of another prompt")
        _recovered(parts, sound, On.CONTRIBUTION, BLUE, "sound: what the block adds")
        _recovered(back, sound, On.LAST_BACK, ORANGE, "sound: the last token's alone")
        _recovered(back, sound, On.CONTRIBUTION_BACK, BLUE, "sound: what the block adds")
    for axis, title in (
        (whole, "The adapted stream pasted into the base"),
        (parts, "One block's contribution"),
        (back, "Back: the base's into the adapted run"),
    ):
        axis.set_ylim(LEAST_SHOWN, 1.1)
        axis.axhline(0.0, color=GREY, linewidth=0.8)
        axis.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
        _dress(axis, title, "layer", "share recovered" if axis is not back else "share undone")
        if axis.lines[2:]:
            axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.09))


def draw_training(figure: Any, tables: Tables) -> None:
    """The held-out answer by step, by skill and family, and by the norm of the update."""
    steps, matrix, sizes = figure.subplots(1, 3)
    points: list[tuple[str, float, float]] = []
    if (found := tables.get(("adapter_steps", Protocol.SOUND))) is not None:
        _by_step(steps, found)
    if (found := tables.get(("adapter_families", Protocol.SOUND))) is not None:
        _matrix(figure, matrix, found)
    for name, recipes, color, what in (
        ("adapter_modules", RECIPES_BY_MODULES, ORANGE, "modules, at rank 8"),
        (
            "adapter_ranks",
            RECIPES_BY_RANK,
            BLUE,
            "ranks, of q, k, v and o",
        ),  # last, on top: rank 8 is of both
    ):
        if (found := tables.get((name, Protocol.SOUND))) is not None:
            points += _by_recipe(sizes, found, recipes, color, what)
    _dress(steps, "The JSON adapter while it is trained", "step", "gain of the held-out answer, nats")
    _dress(sizes, "Gain against the size of the update", "norm of the update", "gain on JSON, nats")
    for axis, what in ((steps, "steps"), (matrix, "skills"), (sizes, "ranks and modules")):
        if not axis.has_data():
            axis.clear()
            axis.set_axis_off()
            axis.text(0.5, 0.5, f"{what}: not measured yet", ha="center", va="center", color=GREY)
    if points:
        sizes.margins(x=0.12)
        sizes.legend(frameon=False, fontsize=8, loc="lower right")
        name_points(figure, sizes, points)


def _curve(axis: Any, table: Effects, on: On, color: str, name: str) -> None:
    chosen = _rows(table, AdapterRows(on=on))
    x, (mean, low, high) = _blocks(chosen), _means(chosen, "kl_nats").T
    axis.fill_between(x, np.maximum(low, FLOOR_NATS), high, color=color, alpha=0.15, linewidth=0)
    axis.plot(
        x, np.maximum(mean, FLOOR_NATS), color=color, marker="o", markersize=2.5, linewidth=1.2, label=name
    )


def _norms(axis: Any, table: Effects) -> None:
    chosen = _rows(table, AdapterRows(on=On.ONLY))
    for metric, color, name in (
        ("factor_norm", RED, "the atlas's: of A and B"),
        ("update_norm", BLUE, "of the update, scale B A"),
    ):
        values = chosen.metrics[metric]
        by_seed = {
            seed: [i for i, p in enumerate(chosen.prompts) if p.seed == seed] for seed in _seeds(chosen)
        }
        for k, columns in enumerate(by_seed.values()):
            axis.plot(
                _blocks(chosen),
                values[:, columns[0]],
                color=color,
                linewidth=1.0,
                label=name if k == 0 else None,
            )
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    _dress(axis, "Norm by block, a line a training", "layer", "Frobenius norm")


def _scatter(figure: Any, axis: Any, table: Effects) -> None:
    off, only = _rows(table, AdapterRows(on=On.OFF)), _rows(table, AdapterRows(on=On.ONLY))
    norm, effect = only.metrics["update_norm"].mean(axis=1), off.metrics["kl_nats"].mean(axis=1)
    dots = axis.scatter(norm, np.maximum(effect, FLOOR_NATS), c=_blocks(off), cmap="viridis", s=18)
    figure.colorbar(dots, ax=axis, label="layer")
    axis.set_yscale("log")
    correlation = float(np.corrcoef(norm, effect)[0, 1])
    _dress(axis, f"Norm and effect (r = {correlation:.2f})", "norm of the update", "KL, nats")


def _recovered(axis: Any, table: Effects, on: On, color: str, name: str) -> None:
    start, chosen = (
        _rows(table, AdapterRows(on=On.WHOLE if on.is_back else On.NONE)),
        _rows(table, AdapterRows(on=on)),
    )
    base = start.metrics["kl_nats"].mean()
    share = 1.0 - chosen.metrics["kl_nats"].mean(axis=1) / base
    axis.plot(_blocks(chosen), share, color=color, marker="o", markersize=2.5, linewidth=1.2, label=name)
    _say_below(axis, _blocks(chosen), share, color)


def _say_below(axis: Any, blocks: np.ndarray, share: np.ndarray, color: str) -> None:
    """Arrows at the lower edge for what lies below it, and how far that is at the least and at the most."""
    below = np.flatnonzero(share < LEAST_SHOWN)
    if not below.size:
        return
    axis.scatter(
        blocks[below], np.full(len(below), LEAST_SHOWN), 14, color=color, marker="v", clip_on=False, zorder=3
    )
    ends = dict.fromkeys((below[share[below].argmax()], below[share[below].argmin()]))
    said = " to ".join(f"{share[i]:.1f} (L{blocks[i]})" for i in ends)
    axis.annotate(
        f"below this axis: {said}",
        (0.02, 0.035),
        xycoords="axes fraction",
        color=color,
        fontsize=8,
        va="bottom",
    )


def _by_step(axis: Any, table: Effects) -> None:
    states = [
        (i, probe.parts[0].step)
        for i, probe in enumerate(table.probes)
        if isinstance(probe, Adapted) and probe.edit is None
    ]
    for family, color in zip(FAMILIES, (BLUE, ORANGE, GREEN, RED, GREY), strict=True):
        gains = [gain(table, i, family) for i, _ in states]
        axis.plot(
            [step for _, step in states], gains, color=color, marker="o", markersize=3, label=_plain(family)
        )
    axis.axhline(0.0, color=GREY, linewidth=0.8)
    axis.legend(frameon=False, fontsize=8)


def _matrix(figure: Any, axis: Any, table: Effects) -> None:
    """Gain of the held-out answers of each family (columns) under each adapter (rows)."""
    rows = [
        next(i for i, p in enumerate(table.probes) if AdapterRows(on=On.WHOLE, family=family).keep(p, 0))
        for family in FAMILIES
    ]
    gains = np.array([[gain(table, i, family) for family in FAMILIES] for i in rows])
    names = [_plain(family) for family in FAMILIES]
    draw_cells(
        figure,
        axis,
        gains,
        rows=names,
        columns=names,
        shades=signed(float(np.abs(gains).max())),
        said=one_decimal,
        unit="nats",
        slant=20,
    )
    axis.set_title("Gain, nats: adapter (row) on prompts of (column)", loc="left")


def _by_recipe(
    axis: Any, table: Effects, recipes: Sequence[Recipe], color: str, what: str
) -> list[tuple[str, float, float]]:
    """Draw each recipe's point; what stands beside it, and where."""
    found: list[tuple[str, float, float]] = []
    for name in (recipe.name for recipe in recipes):
        i = next(i for i, p in enumerate(table.probes) if AdapterRows(on=On.WHOLE, recipe=name).keep(p, 0))
        x, y = float(table.metrics["update_norm"][i].mean()), gain(table, i, JSON)
        label = None if found else what
        axis.plot([x], [y], color=color, marker="o", markersize=4, linestyle="none", label=label)
        found.append(("q, k, v, o (rank 8)" if name == "sound" else name.replace("_", " "), x, y))
    return found


def _rows(table: Effects, select: AdapterRows) -> Effects:
    n_layers = 1 + max(probe.layers[-1] for probe in table.probes if probe.layers)
    return table.select(lambda probe: select.keep(probe, n_layers))


def _blocks(table: Effects) -> np.ndarray:
    return np.array([block_of(probe) for probe in table.probes if isinstance(probe, Adapted)])


def _seeds(table: Effects) -> tuple[int, ...]:
    return tuple(dict.fromkeys(prompt.seed for prompt in table.prompts))


def _means(table: Effects, metric: str) -> np.ndarray:
    """[row, (mean, low, high)]."""
    from harness.statistics.summary import summarize

    alone = replace(table, metrics={metric: table.metrics[metric]})
    return np.array([row[metric] for row in summarize(alone)], dtype=float)


def _plain(family: str) -> str:
    return family.split("_")[0]


def _dress(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if x == "layer":
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)
