"""The figures of steering and of knockouts, from recorded evidence. No torch.

steering  what the direction does to the answer, against its strength, with random directions of its length as a band
knockout  what facts and what other tasks lose when it is taken away, a point for each block and strength
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.effects import Effects
from harness.protocols import Protocol
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.steering import Direction, Kind
from harness.verdicts.comparable import Group, comparable
from harness.verdicts.reading import measured
from harness.verdicts.steering_criteria import Gain
from harness.verdicts.steering_table import NATS, SteeringTable, kept, read_table

SWEEP, CONTROLS, STANCE = "steering_sweep", "steering_controls", "steering_stance"
MIN_PROBABILITY = 0.1
BLUE, ORANGE, GREY = "#2166ac", "#d95f02", "#888888"
MARKS = {
    Kind.TARGET: ("x", "wrong task"),
    Kind.SHUFFLED_TARGET: ("+", "shuffled"),
    Kind.SHUFFLED_CONTRAST: ("+", "shuffled"),
}

Tables = Mapping[tuple[str, Protocol], Effects]


def draw_steering(figure: Any, tables: Tables) -> None:
    """A curve for each block that has many controls, with intervals; on the right the stance, in the last of them."""
    sweep = _table(tables, SWEEP)
    blocks = _table(tables, CONTROLS).blocks[:4]
    stance = _table(tables, STANCE) if (STANCE, Protocol.SOUND) in tables else None
    axes = np.atleast_1d(figure.subplots(1, len(blocks) + (stance is not None)))
    for axis, block in zip(axes, blocks, strict=False):
        _curve(axis, sweep, block, Gain.FORMS, BLUE, f"Facts, L{block}")
    for axis in axes[: len(blocks)]:
        axis.set_ylabel("change in nats")
    axes[0].set_ylabel("log-probability of the answer, change in nats")
    axes[0].legend(frameon=False, fontsize=7)
    if stance is not None:
        _curve(axes[-1], stance, blocks[-1], Gain.MARGIN, ORANGE, f"Affirmative less negative, L{blocks[-1]}")
        axes[-1].set_ylabel("margin of the affirmative answer, change in nats")


def draw_knockout(figure: Any, tables: Tables) -> None:
    """Skill drop against other tasks' drop: by block and strength, and beside the random directions."""
    left, right = figure.subplots(1, 2)
    for axis, name, title in (
        (left, SWEEP, "By block and strength"),
        (right, CONTROLS, "Beside random directions"),
    ):
        table = _table(tables, name)
        group = comparable(table, MIN_PROBABILITY)
        if group is None:
            axis.text(0.5, 0.5, "too few prompts with an answer", ha="center", transform=axis.transAxes)
            axis.set_axis_off()
            continue
        _scatter(figure, axis, table, group, random=name == CONTROLS)
        axis.axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle=":", label="both lose as much")
        axis.legend(frameon=False, fontsize=8)
        _dress(axis, f"{title} ({int(group.of_skill.sum())} prompts of facts)", "other tasks lose, nats")
        axis.set_ylabel("facts lose, nats")


def _curve(axis: Any, table: SteeringTable, block: int, gain: Gain, color: str, title: str) -> None:
    strengths = table.strengths((block,))
    mean, low, high = _means(table, [table.gain(table.at((block,), s), gain) for s in strengths])
    at = int(np.searchsorted(strengths, 0.0))
    x, mean, low, high = (np.insert(row, at, 0.0) for row in (np.array(strengths), mean, low, high))
    axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axis.plot(x, mean, color=color, marker="o", markersize=3, linewidth=1.2, label="the direction")
    band = {
        s: [
            _means(table, [table.gain(table.at((block,), s, d), gain)])[0][0]
            for d in _random(table, block, s)
        ]
        for s in strengths
    }
    drawn = {0.0: [0.0], **{s: values for s, values in band.items() if values}}
    edges = np.array([[s, min(values), max(values)] for s, values in sorted(drawn.items())]).T
    axis.fill_between(*edges, color=GREY, alpha=0.35, linewidth=0, label="random directions")
    named: set[str] = set()
    for s in strengths:
        for direction in table.controls(block, s):
            if direction.kind in MARKS:
                marker, name = MARKS[direction.kind]
                y = _means(table, [table.gain(table.at((block,), s, direction), gain)])[0]
                axis.plot([s], y, marker, color=GREY, markersize=5, label=None if name in named else name)
                named.add(name)
    axis.axhline(0.0, color=GREY, linewidth=0.6)
    _dress(axis, title, "strength, lengths of the stream")


def _scatter(figure: Any, axis: Any, table: SteeringTable, group: Group, *, random: bool) -> None:
    points = [
        (block, s, *_drops(table, group, block, s, table.main))
        for block in table.blocks
        for s in table.strengths((block,))
        if s < 0
    ]
    block, strength, facts, others = np.array(points).T
    if random:
        null = [
            _drops(table, group, b, s, d)
            for b in table.blocks
            for s in {abs(s) for s in table.strengths((b,))}
            for d in _random(table, b, s)
        ]
        drawn, beside = np.array(null).T
        axis.scatter(beside, drawn, s=8, color=GREY, label=f"{len(null)} random")
    shown = axis.scatter(
        others,
        facts,
        s=12 + 40 * np.abs(strength),
        c=block,
        cmap="viridis",
        label="the direction (larger: stronger)",
    )
    figure.colorbar(shown, ax=axis, label="block")


def _drops(
    table: SteeringTable, group: Group, block: int, strength: float, direction: Direction
) -> tuple[float, float]:
    """Mean drop of the answers of the skill and of the other tasks, nats."""
    clusters = Clusters.of(group.prompts)
    parts = group.parts(-table.gain(table.at((block,), strength, direction), Gain.ANSWER))
    skill, others = clusters.template_means(parts) @ clusters.weights
    return float(skill), float(others)


def _random(table: SteeringTable, block: int, strength: float) -> list[Direction]:
    return [d for d in table.controls(block, strength) if d.kind is Kind.RANDOM]


def _means(table: SteeringTable, gains: list[np.ndarray]) -> Float[np.ndarray, "3 row"]:
    """Mean over the skill's prompts, and the interval's bounds."""
    keep = table.of_skill
    sampled = sample(Clusters.of(kept(table, keep)), np.array(gains)[:, keep], NATS)
    bounds = np.array([sampled.interval(i) for i in range(len(gains))]).T
    return np.vstack([sampled.value, bounds])


def _table(tables: Tables, name: str) -> SteeringTable:
    return read_table(measured({name: tables[name, Protocol.SOUND]}), name)


def _dress(axis: Any, title: str, x: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.spines[["top", "right"]].set_visible(False)
