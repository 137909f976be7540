"""The report's figures, one per kind and model, drawn from recorded evidence. No torch.

profile    removing each block, and reading out after it: the overview
heads      zeroing each head
mechanism  what one number of token 0 does
positions  zeroing what is added at each class of token positions
patching   moving activations between the two prompts of a pair
families   skipping each block, by task family
bands      removing each block and MLP, on longer and on reworded prompts
steering   adding a direction, against its strength and beside random ones
generation what is written while it is added
knockout   taking it away: what its skill and what other tasks lose
adapters   norm and effect of an adapter, block by block
transfer   what of the adapted run the base model takes over
training   held-out answers by step, skill and recipe
pareto     held-out answers by the number of parameters, and the front of those that add most for their size
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.edits import Edit, Exit
from harness.effects import Effects, pool
from harness.figures.adapter_sets import draw_compatibility, draw_deobfuscation, draw_sets
from harness.figures.adapters import draw_adapters, draw_training, draw_transfer
from harness.figures.edges import draw_edges
from harness.figures.generation import GENERATION, draw_generation
from harness.figures.pareto import draw_pareto
from harness.figures.patching import draw_patching
from harness.figures.positions import draw_positions
from harness.figures.robustness import draw_bands, draw_families
from harness.figures.steering import draw_knockout, draw_steering
from harness.figures.sublayers import draw_sublayers
from harness.mechanism import MechanismEdit, mechanism_rows, read_massive
from harness.models.spec import ModelSpec
from harness.protocols import Protocol
from harness.statistics.estimate import CONFIDENCE
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
BARS = (
    MechanismEdit.SKIP,
    MechanismEdit.SKIP_FIRST,
    MechanismEdit.ZERO,
    MechanismEdit.UNWRITTEN,
    MechanismEdit.MOVED,
    MechanismEdit.MEAN,
    MechanismEdit.OTHER_TASK,
    MechanismEdit.OTHER_DIM,
    MechanismEdit.OTHER_TOKEN,
)
ORANGE, GREY = "#d95f02", "#888888"

Tables = Mapping[tuple[str, Protocol], Effects]


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """A kind of figure: what it needs, what it says in words, and how it is drawn."""

    name: str
    needs: tuple[str, ...]
    """Experiments, of which one at least must be recorded."""
    caption: str
    draw: Callable[..., None]
    """Draws the tables into a matplotlib figure; (figure, tables), and the model's entry where it is `of_model`."""
    chapter: str | None = None
    """The experiment whose chapters show it; None for the overview."""
    all_needed: bool = True
    of_model: bool = False
    shows: str = f"means with {CONFIDENCE:.0%} intervals"


def draw(kind: FigureKind, spec: ModelSpec, judge: Judge, path: Path) -> bool:
    """Draw one figure into an SVG, the seeds pooled; False when there is nothing recorded to draw."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    tables = _tables(kind, spec.id, judge)
    found = {name for name, _ in tables}
    if not tables or (kind.all_needed and found < set(kind.needs)):
        return False
    with plt.rc_context(
        {"svg.hashsalt": "claims-suite", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure = plt.figure(figsize=(13, 3.6), layout="constrained")
        kind.draw(figure, tables, *((spec,) if kind.of_model else ()))
        figure.suptitle(f"{spec.title}: {_drawn(tables)}, {kind.shows}", x=0.01, ha="left")
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    write_atomic(path, buffer.getvalue())
    return True


def _drawn(tables: Tables) -> str:
    """'120 prompts', or '36 to 180 prompts by experiment'."""
    sizes = sorted({len(table.prompts) for table in tables.values()})
    return f"{sizes[0]} prompts" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} prompts by experiment"


def _tables(kind: FigureKind, model: str, judge: Judge) -> dict[tuple[str, Protocol], Effects]:
    from harness.report import NoEvidence

    tables = {}
    for experiment in kind.needs:
        for protocol in Protocol:
            try:
                found = [judge.evidence(model, experiment, protocol, seed) for seed in judge.seeds]
                tables[experiment, protocol] = pool([e.effects for e in found])
            except (NoEvidence, ValueError):
                continue
    return tables


def _draw_profile(figure: Any, tables: Tables) -> None:
    for axis, (experiment, metric, label, title) in zip(figure.subplots(1, 3), PANELS, strict=True):
        for protocol in Protocol:
            effects = tables.get((experiment, protocol))
            if effects is not None:
                _profile(axis, effects, metric, *STYLE[protocol], NAMES[experiment, protocol])
        _dress(axis, title, "layer", label)
        axis.set_ylim(bottom=0)
        if metric != "kl_nats":
            axis.set_ylim(-0.03, 1.03)
        if axis.lines:  # one experiment of the two may not be recorded
            axis.legend(frameon=False, fontsize=8)


def _draw_heads(figure: Any, tables: Tables) -> None:
    effects = tables["head_sweep", Protocol.SOUND]
    sites = [p.heads[0] for p in effects.probes if isinstance(p, Edit)]
    grid = np.full((1 + max(s.head or 0 for s in sites), 1 + max(s.layer for s in sites)), np.nan)
    means = _means(effects, "kl_nats")
    for site, (mean, _, _) in zip(sites, means, strict=True):
        grid[site.head, site.layer] = mean
    axis, ranked = figure.subplots(1, 2, width_ratios=(2, 1))
    image = axis.imshow(grid, aspect="auto", origin="lower", cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axis, label="KL(base || edited), nats")
    _dress(axis, "Zeroing one head: how far the output moves", "layer", "head")
    axis.yaxis.get_major_locator().set_params(integer=True)
    order = np.argsort(-means[:, 0], kind="stable")[:12]
    _bars(ranked, [str(sites[i]) for i in order], means[order], STYLE[Protocol.SOUND][0])
    _dress(ranked, "The twelve that move it most", "KL, nats", "")


def _draw_mechanism(figure: Any, tables: Tables) -> None:
    effects, writes = (tables[name, Protocol.SOUND] for name in ("hub_mechanism", "massive_writes"))
    n_layers = len(writes.probes)
    massive = read_massive(effects.probes)
    rise, by_block, edits = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.3))
    factors = _means(writes, "rise_log10")
    rise.bar(range(n_layers), factors[:, 0], color=GREY)
    rise.bar([massive.layer], [factors[massive.layer, 0]], color=ORANGE)
    _dress(rise, f"Rise of [{massive.dim}] of token 0, by MLP", "layer", "log10 of the factor")
    sweep = tables.get(("layer_sweep", Protocol.SOUND))
    if sweep is not None:
        _profile(by_block, sweep, "kl_nats", *STYLE[Protocol.SOUND], "the block skipped")
    kinds = (MechanismEdit.BEFORE, MechanismEdit.ZERO, MechanismEdit.AFTER)
    rows = [row for kind in kinds for row in mechanism_rows(effects.probes, kind, n_layers)]
    moved = _means(effects, "kl_nats")
    zeroed = moved[rows].T
    _line(by_block, np.arange(n_layers), zeroed, ORANGE, "o", "the number set to zero after it")
    by_block.axvline(massive.layer, color=GREY, linewidth=0.8, linestyle=":")
    _dress(by_block, f"By block (dotted: the writer, L{massive.layer})", "layer", "KL(base || edited), nats")
    by_block.set_ylim(0, 1.25 * by_block.get_ylim()[1])
    by_block.legend(frameon=False, fontsize=8, loc="upper right")
    found = [(kind, row) for kind in BARS for row in mechanism_rows(effects.probes, kind, n_layers)]
    names = [_edit_name(kind, effects.probes[row]) for kind, row in found]
    _bars(edits, names, moved[[row for _, row in found]], STYLE[Protocol.SOUND][0])
    _dress(edits, "Edits at the writer", "KL, nats", "")


def _edit_name(kind: MechanismEdit, probe: Any) -> str:
    site = probe.sites[0]
    if kind is MechanismEdit.OTHER_DIM:
        return f"dimension {site.dims[0]} set to zero"
    if kind is MechanismEdit.OTHER_TOKEN:
        which = {1: "second", -1: "last"}[probe.positions[0]]
        return f"{which} token's set to zero"
    return str(kind).removeprefix("the number ")


def _means(effects: Effects, metric: str) -> np.ndarray:
    """[probe, (mean, low, high)]; a bound that is not finite is NaN."""
    from harness.statistics.summary import summarize

    alone = replace(effects, metrics={metric: effects.metrics[metric]})
    return np.array([row[metric] for row in summarize(alone)], dtype=float)


def _profile(axis: Any, effects: Effects, metric: str, color: str, marker: str, name: str) -> None:
    rows = [
        i
        for i, p in enumerate(effects.probes)
        if isinstance(p, Exit) or (isinstance(p, Edit) and len(p.blocks) == 1)
    ]
    x = np.array([effects.probes[i].layers[0] for i in rows])
    _line(axis, x, _means(effects, metric)[rows].T, color, marker, name)


def _line(axis: Any, x: np.ndarray, y: np.ndarray, color: str, marker: str, name: str) -> None:
    mean, low, high = y
    axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axis.plot(x, mean, color=color, marker=marker, markersize=3, linewidth=1.2, label=name)


def _bars(axis: Any, names: list[str], means: np.ndarray, color: str) -> None:
    mean, low, high = means.T
    y = np.arange(len(names))
    axis.barh(y, mean, xerr=(mean - low, high - mean), color=color, height=0.7, error_kw={"linewidth": 0.8})
    axis.set_yticks(y, names)
    axis.invert_yaxis()
    edge = 1.4 * mean.max()
    axis.set_xlim(0, edge)
    beyond = y[np.nan_to_num(high, nan=np.inf) > edge]  # an arrow where the interval goes on
    if beyond.size:  # of no points, unclipped, the layout would make room as far as the corner
        axis.plot(
            np.full(len(beyond), edge),
            beyond,
            linestyle="",
            marker=">",
            color="black",
            markersize=4,
            clip_on=False,
        )


def _dress(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if x == "layer":
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)


FIGURES = (
    FigureKind(
        name="profile",
        needs=("layer_sweep", "early_exit"),
        caption="effect of removing each block, and of exiting after it",
        draw=_draw_profile,
        all_needed=False,
    ),
    FigureKind(
        name="heads",
        needs=("head_sweep",),
        caption="effect of zeroing each head",
        draw=_draw_heads,
        chapter="head_sweep",
    ),
    FigureKind(
        name="mechanism",
        needs=("hub_mechanism", "massive_writes", "layer_sweep"),
        caption="what the massive number of token 0 does, by block and by edit",
        draw=_draw_mechanism,
        chapter="hub_mechanism",
    ),
    FigureKind(
        name="sublayers",
        needs=("sublayer_sweep", "sublayer_corrupt", "sublayer_clean"),
        caption="effect of each attention and MLP, by block and by ablation",
        draw=draw_sublayers,
        chapter="sublayer_sweep",
        all_needed=False,
    ),
    FigureKind(
        name="positions",
        needs=("position_sweep",),
        caption="effect of each class of token positions, by block",
        draw=draw_positions,
        chapter="position_sweep",
    ),
    FigureKind(
        name="edges",
        needs=("attention_edges",),
        caption="effect of cutting the last token's attention to each class of positions, by window of blocks",
        draw=draw_edges,
        chapter="attention_edges",
    ),
    FigureKind(
        name="patching",
        needs=("patching_denoising", "patching_noising"),
        caption="what patching one run of a pair into the other brings about, by block, site and token class",
        draw=draw_patching,
        chapter="patching_denoising",
        shows="means over the pairs that separate",
    ),
    FigureKind(
        name="families",
        needs=("layer_sweep", "layers_extended"),
        caption="effect of skipping each block, by task family",
        draw=draw_families,
        chapter="layers_extended",
        all_needed=False,
        shows="means",
    ),
    FigureKind(
        name="bands",
        needs=("layers_short", "layers_medium", "layers_long", "layers_natural", "layer_sweep"),
        caption="effect of removing each block and MLP, by length and wording of the prompts",
        draw=draw_bands,
        chapter="layers_short",
    ),
    FigureKind(
        name="steering",
        needs=("steering_sweep", "steering_controls", "steering_stance"),
        caption="what a direction does to the answer against its strength, with random directions of its length",
        draw=draw_steering,
        chapter="steering_stance",
        shows=f"means over the skill's with {CONFIDENCE:.0%} intervals",
    ),
    FigureKind(
        name="generation",
        needs=(GENERATION,),
        caption="how much of the text degenerates, against the strength of the factual and of a random direction",
        draw=draw_generation,
        chapter=GENERATION,
    ),
    FigureKind(
        name="knockout",
        needs=("steering_sweep", "steering_controls"),
        caption="what facts and other tasks lose when the factual direction is taken away, by block and strength",
        draw=draw_knockout,
        chapter="steering_controls",
        shows="means over those whose answer the model gives",
    ),
    FigureKind(
        name="adapters",
        needs=("adapter_layers",),
        caption="norm of an adapter's update by block, and what switching it off there costs",
        draw=draw_adapters,
        chapter="adapter_layers",
    ),
    FigureKind(
        name="transfer",
        needs=("adapter_transfer",),
        caption="how much of the adapted prediction comes back when its activations are pasted into the base model",
        draw=draw_transfer,
        chapter="adapter_transfer",
        shows="ratios of means",
    ),
    FigureKind(
        name="training",
        needs=("adapter_steps", "adapter_families", "adapter_ranks", "adapter_modules"),
        caption="what training adds to held-out answers, by step, by skill and by recipe",
        draw=draw_training,
        chapter="adapter_families",
        all_needed=False,
        shows="means",
    ),
    FigureKind(
        name="pareto",
        needs=("adapter_ranks", "adapter_modules"),
        caption="what adapters add to held-out JSON answers, against their number of parameters",
        draw=draw_pareto,
        chapter="adapter_ranks",
        all_needed=False,
        of_model=True,
        shows=f"means with {CONFIDENCE:.0%} intervals over templates, all on the same prompts",
    ),
    FigureKind(
        name="compatibility",
        needs=("adapter_families",),
        caption="what a second adapter takes from a skill, or adds to it",
        draw=draw_compatibility,
        chapter="adapter_families",
        shows="means",
    ),
    FigureKind(
        name="sets",
        needs=("adapter_sets", "adapter_sets_code"),
        caption="what an adapter adds to held-out answers, by the blocks in which it stands",
        draw=draw_sets,
        chapter="adapter_sets",
        all_needed=False,
        shows="means, a dot a training (hollow: at step 25)",
    ),
    FigureKind(
        name="deobfuscation",
        needs=("adapter_deobfuscation",),
        caption="what each skill's adapter adds to the answers of all five",
        draw=draw_deobfuscation,
        chapter="adapter_deobfuscation",
        shows="means",
    ),
)
