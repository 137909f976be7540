"""A figure a model: the per-layer profiles under both protocols. Drawn from recorded evidence. No torch."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.edits import Edit, Exit
from harness.effects import Effects, pool
from harness.models.spec import ModelSpec
from harness.protocols import Protocol
from harness.store import write_atomic

if TYPE_CHECKING:
    from harness.report import Judge

STYLE = {Protocol.PUBLISHED: ("#b2182b", "o"), Protocol.SOUND: ("#2166ac", "s")}
NAMES = {
    ("layer_sweep", Protocol.PUBLISHED): "published: erase the stream",
    ("layer_sweep", Protocol.SOUND): "sound: skip the block",
    ("early_exit", Protocol.PUBLISHED): "published: without the final norm",
    ("early_exit", Protocol.SOUND): "sound: with the final norm",
}
PANELS = (
    ("layer_sweep", "kl_nats", "KL(base || edited), nats", "Removing one block: how far the output moves"),
    ("layer_sweep", "top5_overlap", "top-5 overlap", "Removing one block: what survives"),
    ("early_exit", "argmax_match", "argmax match", "Reading out after one block"),
)


def draw_model(spec: ModelSpec, judge: Judge, path: Path) -> bool:
    """Draw a model's profiles with 95% intervals into an SVG; False when there is nothing recorded to draw."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    tables = _tables(spec.id, judge)
    if not tables:
        return False
    with plt.rc_context(
        {"svg.hashsalt": "claims-suite", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
        for axis, (experiment, metric, label, title) in zip(axes, PANELS, strict=True):
            for protocol in Protocol:
                effects = tables.get((experiment, protocol))
                if effects is not None:
                    _profile(axis, effects, metric, protocol, NAMES[experiment, protocol])
            axis.set_title(title, loc="left")
            axis.set_xlabel("layer")
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)
            if metric != "kl_nats":
                axis.set_ylim(-0.03, 1.03)
            axis.spines[["top", "right"]].set_visible(False)
            if axis.lines:  # one experiment of the two may not be recorded
                axis.legend(frameon=False, fontsize=8)
        effects = next(iter(tables.values()))
        figure.suptitle(
            f"{spec.title}: {len(effects.prompts)} prompts, {len(effects.families)} families, "
            "means with 95% intervals",
            x=0.01,
            ha="left",
        )
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    write_atomic(path, buffer.getvalue())
    return True


def _tables(model: str, judge: Judge) -> dict[tuple[str, Protocol], Effects]:
    from harness.report import NoEvidence

    tables = {}
    for experiment in ("layer_sweep", "early_exit"):
        for protocol in Protocol:
            try:
                found = [judge.evidence(model, experiment, protocol, seed) for seed in judge.seeds]
                tables[experiment, protocol] = pool([e.effects for e in found])
            except (NoEvidence, ValueError):
                continue
    return tables


def _profile(axis: Any, effects: Effects, metric: str, protocol: Protocol, name: str) -> None:
    from harness.statistics.summary import summarize

    layer: Callable[[Any], int] = lambda p: p.blocks[0] if isinstance(p, Edit) else p.layer  # noqa: E731
    rows = [i for i, p in enumerate(effects.probes) if isinstance(p, Exit) or len(p.blocks) == 1]
    means = [summary[metric] for summary in summarize(effects)]
    x = np.array([layer(effects.probes[i]) for i in rows])
    y, low, high = np.array([means[i] for i in rows], dtype=float).T
    color, marker = STYLE[protocol]
    axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axis.plot(x, y, color=color, marker=marker, markersize=3, linewidth=1.2, label=name)
