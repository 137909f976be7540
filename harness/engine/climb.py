"""The one pass: every variant of a group of prompts climbs the layers beside the baseline, once.

Below its first edited layer a variant *is* the baseline, so it joins the stack only there. All variants that have
left go through a layer together, in chunks; in the last layer their queries and their MLP are computed for the last
tokens only.

    baseline   ──L0──L1──L2── ... ──L29── logits
    skip L1           └──────────── ... ──┘
    skip L2               └──────── ... ──┘

`harness.engine.naive` is the obvious way, and what this must equal edit by edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from jaxtyping import Float
from torch import Tensor

from harness.edits import Action, Edit, Exit, Probe
from harness.engine.blocks import BlockRun
from harness.engine.editing import (
    Blocks,
    Donors,
    DonorVectors,
    edited_mid,
    edited_post,
    is_constant,
    needs_run,
    only_operator,
)
from harness.engine.forest import CONSTANT, Forest, Sources, View, ViewKind


@dataclass(frozen=True, kw_only=True)
class Summit:
    """The residuals that reach the unembedding; `normed[probe]` is False where the final norm is left out."""

    base: Float[Tensor, "prompt d_model"]
    edited: Float[Tensor, "probe prompt d_model"]
    normed: Sequence[bool]


@dataclass(kw_only=True, eq=False)
class Squad:
    """Variants that compute the same rows, in the order in which they leave the baseline.

    `probes[v]` is the row of variant v in the table; `state[v]` its residual stream, of use once it has left;
    `final[v]` its last block's output at the last token of each prompt.
    """

    view: View
    probes: list[int] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    state: Tensor
    final: Tensor

    def entering(self, layer: int) -> range:
        """The variants whose first edited block is this one; those that need only its MLP come first."""
        first = [edit.layers[0] for edit in self.edits]
        return range(sum(f < layer for f in first), sum(f <= layer for f in first))

    def again(self, layer: int) -> list[int]:
        """The variants that left earlier and are edited in this block once more."""
        return [v for v in range(self.entering(layer).start) if layer in self.edits[v].layers]

    def unedited(self, layer: int) -> Iterator[slice]:
        """Runs of consecutive variants that left earlier and that this block does not edit."""
        edges = [-1, *self.again(layer), self.entering(layer).start]
        yield from (slice(a + 1, b) for a, b in pairwise(edges) if b > a + 1)


def climb(
    blocks: Blocks,
    forest: Forest,
    probes: Sequence[Probe],
    donors: Donors,
    chunk_rows: int,
    on_layer: Callable[[float], None],
    *,
    constants: bool = True,
) -> Summit:
    """One pass over the layers. `on_layer` is told what share of the work each layer was.

    With `constants`, an edit that replaces the whole stream by given values is computed on one chain for all prompts;
    without, on every prompt's own rows, so that what follows from the algebra is measured. At most `chunk_rows` rows go
    through a block at a time: enough for its products, few enough for the caches.
    """
    stack = blocks.stack
    resid = stack.embed(forest.ids(0, stack.device)).float()
    edited = resid.new_empty((len(probes), forest.n_prompts, resid.shape[-1]))
    normed = [probe.normed if isinstance(probe, Exit) else True for probe in probes]
    squads = muster(forest, probes, donors.vectors, resid, constants=constants)
    whole, last_layer = forest.whole, stack.n_layers - 1
    shares = _work(squads, stack.n_layers, len(resid))
    for layer in range(stack.n_layers):
        base = blocks.run(layer, resid, whole)
        donors.step(blocks, layer, whole)
        for squad in squads:
            for variants in squad.unedited(layer):
                for x, final in _chunks(squad, variants, chunk_rows):
                    if layer == last_layer:
                        final.copy_(blocks.finish(layer, x, squad.view, base)[:, squad.view.last_of_prompt])
                    else:
                        blocks.advance_(layer, x, squad.view, base)
            if squad.view.sources is not None:
                cut_edges(blocks, layer, squad, base, chunk_rows)
            else:
                edit_again(blocks, layer, squad, base, donors)
                enter(blocks, layer, squad, base, donors, chunk_rows)
        resid = base.resid_post
        for row, probe in enumerate(probes):
            if isinstance(probe, Exit) and probe.layer == layer:
                edited[row] = resid[whole.last.tolist()]
        on_layer(shares[layer])
    for squad in squads:
        edited[squad.probes] = squad.final
    return Summit(base=resid[whole.last.tolist()], edited=edited, normed=normed)


def muster(
    forest: Forest,
    probes: Sequence[Probe],
    vectors: Mapping[str, DonorVectors],
    like: Tensor,
    *,
    constants: bool,
) -> list[Squad]:
    """The edits by the rows they compute, each squad sorted by the layer at which its variants leave."""
    by_view: dict[ViewKind, list[tuple[int, Edit]]] = {}
    for row, probe in enumerate(probes):
        if isinstance(probe, Edit):
            constant = constants and is_constant(probe, vectors)
            kind: ViewKind = CONSTANT if constant else (probe.spot or probe.positions)
            if probe.action is Action.CUT:
                kind = Sources(at=probe.spot or probe.positions)
            by_view.setdefault(kind, []).append((row, probe))
    squads = []
    for kind, members in by_view.items():
        members.sort(key=lambda m: (m[1].layers[0], not only_operator(m[1], m[1].layers[0])))
        view = forest.view(kind)
        squads.append(
            Squad(
                view=view,
                probes=[row for row, _ in members],
                edits=[edit for _, edit in members],
                state=like.new_empty((len(members), len(view), like.shape[-1])),
                final=like.new_empty((len(members), forest.n_prompts, like.shape[-1])),
            )
        )
    return squads


def cut_edges(blocks: Blocks, layer: int, squad: Squad, base: BlockRun, chunk_rows: int) -> None:
    """The block on the variants whose edges it cuts, those that leave the baseline here among them."""
    entering, view = squad.entering(layer), squad.view
    squad.state[entering.start : entering.stop] = view.of_nodes(base.resid_pre)
    for variants in _runs([*squad.again(layer), *entering]):
        for x, final in _chunks(squad, variants, chunk_rows):
            blocks.advance_(layer, x, view, base, cut=True)
            final.copy_(x[:, view.last.tolist()])


def edit_again(blocks: Blocks, layer: int, squad: Squad, base: BlockRun, donors: Donors) -> None:
    """The block on the variants that left the baseline earlier and are edited here once more."""
    for v in squad.again(layer):
        edit, x = squad.edits[v], squad.state[v]
        run = blocks.run(layer, x, squad.view, base) if needs_run(edit, layer) else _unrun(x)
        squad.state[v] = edited_post(blocks, layer, edit, run, donors, squad.view)
        squad.final[v] = squad.state[v][squad.view.last.tolist()]


def enter(blocks: Blocks, layer: int, squad: Squad, base: BlockRun, donors: Donors, chunk_rows: int) -> None:
    """The variants that leave the baseline here. Those that edit the operator share one call of the MLP."""
    entering, view = squad.entering(layer), squad.view
    if not entering:
        return
    here = base if view.whole else base.map(view.of_nodes)
    through_mlp = [v for v in entering if only_operator(squad.edits[v], layer)]
    for v in entering:
        compute = edited_mid if v in through_mlp else edited_post
        squad.state[v] = compute(blocks, layer, squad.edits[v], here, donors, view)
        squad.final[v] = squad.state[v][view.last.tolist()]
    if through_mlp:
        for x, final in _chunks(squad, slice(through_mlp[0], through_mlp[-1] + 1), chunk_rows):
            blocks.mlp_(layer, final if layer == blocks.stack.n_layers - 1 else x)


def _chunks(squad: Squad, variants: slice, chunk_rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The state and the final residuals of these variants, in even chunks of at most about `chunk_rows` rows."""
    n_variants = variants.stop - variants.start
    n_chunks = -(-n_variants // max(1, chunk_rows // len(squad.view)))
    edges = [variants.start + n_variants * i // n_chunks for i in range(n_chunks + 1)]
    for part in (slice(a, b) for a, b in pairwise(edges)):
        yield squad.state[part], squad.final[part]


def _runs(variants: Sequence[int]) -> list[slice]:
    """Ascending variants as slices of consecutive ones."""
    found = [[v for _, v in run] for _, run in groupby(enumerate(variants), lambda iv: iv[1] - iv[0])]
    return [slice(run[0], run[-1] + 1) for run in found]


def _work(squads: Sequence[Squad], n_layers: int, base_rows: int) -> list[float]:
    """Share of the pass's rows that each layer computes."""
    rows = [
        base_rows + sum(squad.entering(layer).stop * len(squad.view) for squad in squads)
        for layer in range(n_layers)
    ]
    return [n / sum(rows) for n in rows]


def _unrun(x: Tensor) -> BlockRun:
    """Activations of a block whose output is replaced whatever it is: nothing but its input matters."""
    return BlockRun(resid_pre=x, z=None, operator_raw=x, attn_out=x, resid_mid=x, mlp_out=x, resid_post=x)
