"""Figures of other prompts: profiles by length and wording; the effect of skipping by layer and family. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.edits import Edit, Probe, Stream
from harness.effects import Effects
from harness.experiments.robustness import REWORDED_FAMILIES
from harness.protocols import Protocol

Tables = Mapping[tuple[str, Protocol], Effects]

BANDS = (
    ("layers_short", "5 to 30 tokens", "#a6bddb"),
    ("layers_medium", "30 to 150", "#3690c0"),
    ("layers_long", "150 to 1,000", "#023858"),
)
TEMPLATES, PROSE = ("as templates", "#888888"), ("in prose", "#d95f02")
SWEEPS = ("layer_sweep", "layers_extended")
"""Of the heat map: the twelve families of the full suite, and the four that the extended one adds."""


def draw_bands(figure: Any, tables: Tables) -> None:
    """Mean kl_nats of each block, and of each MLP, at three lengths; and of each block in two wordings."""
    blocks, mlps, wording = figure.subplots(1, 3)
    for axis, keep, title in (
        (blocks, _is_block, "Skipping one block, by length of the prompt"),
        (mlps, _is_mlp, "Zeroing one MLP, by length of the prompt"),
    ):
        for name, label, color in BANDS:
            if (name, Protocol.SOUND) in tables:
                _profile(axis, tables[name, Protocol.SOUND].select(keep), label, color)
        _dress(axis, title)
    if ("layer_sweep", Protocol.SOUND) in tables:
        plain = _of_families(tables["layer_sweep", Protocol.SOUND], REWORDED_FAMILIES)
        _profile(wording, plain.select(_is_block), *TEMPLATES)
    if ("layers_natural", Protocol.SOUND) in tables:
        _profile(wording, tables["layers_natural", Protocol.SOUND].select(_is_block), *PROSE)
    _dress(wording, "Skipping one block, in two wordings")
    for axis in (blocks, mlps, wording):
        axis.set_ylabel("KL(base || edited), nats")
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend(frameon=False, fontsize=8)


def draw_families(figure: Any, tables: Tables) -> None:
    """Mean kl_nats of skipping each block, layer by family, families in descending order of their mean."""
    grids = [family_grid(tables[name, Protocol.SOUND]) for name in SWEEPS if (name, Protocol.SOUND) in tables]
    if not grids:  # recorded under the other protocol alone
        return
    names = [name for found, _ in grids for name in found]
    grid = np.concatenate([values for _, values in grids])
    order = np.argsort(-grid.mean(axis=1), kind="stable")
    axis = figure.subplots()
    image = axis.imshow(grid[order], aspect="auto", cmap="Blues", interpolation="nearest", vmin=0)
    figure.colorbar(image, ax=axis, label="KL(base || edited), nats")
    axis.set_yticks(range(len(names)), [names[i] for i in order])
    axis.set_title(
        "Skipping one block: how far the output moves, by task family (dot: the largest)", loc="left"
    )
    axis.plot(grid[order].argmax(axis=1), range(len(names)), ".", color="#d95f02", markersize=5)
    axis.set_xlabel("layer")
    axis.xaxis.get_major_locator().set_params(integer=True)


def family_grid(effects: Effects) -> tuple[tuple[str, ...], np.ndarray]:
    """Family names, and the mean kl_nats [family, layer] over templates of skipping each block."""
    from harness.statistics.clusters import Clusters

    chosen = effects.select(_is_block)
    clusters = Clusters.of(chosen.prompts)
    means = clusters.family_means(clusters.template_means(chosen.metrics["kl_nats"]))
    return clusters.families, means[np.argsort(_layers(chosen))].T


def _profile(axis: Any, effects: Effects, label: str, color: str) -> None:
    from harness.statistics.summary import summarize

    rows = summarize(replace(effects, metrics={"kl_nats": effects.metrics["kl_nats"]}))
    order = np.argsort(_layers(effects))
    mean, low, high = np.array([rows[i]["kl_nats"] for i in order], dtype=float).T
    x = np.array(_layers(effects))[order]
    axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    name = f"{label} ({len(effects.prompts)} prompts)"
    axis.plot(x, mean, color=color, marker="o", markersize=2.5, linewidth=1.2, label=name)


def _of_families(effects: Effects, families: tuple[str, ...]) -> Effects:
    keep = [i for i, prompt in enumerate(effects.prompts) if prompt.family in families]
    return replace(
        effects,
        prompts=tuple(effects.prompts[i] for i in keep),
        metrics={name: values[:, keep] for name, values in effects.metrics.items()},
        baseline={name: values[keep] for name, values in effects.baseline.items()},
    )


def _layers(effects: Effects) -> list[int]:
    return [probe.layers[0] for probe in effects.probes if isinstance(probe, Edit)]


def _is_block(probe: Probe) -> bool:
    return isinstance(probe, Edit) and len(probe.blocks) == 1


def _is_mlp(probe: Probe) -> bool:
    return isinstance(probe, Edit) and [site.stream for site in probe.sites] == [Stream.MLP_OUT]


def _dress(axis: Any, title: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel("layer")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)
