"""Applying one edit to one block's activations, on the rows of a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from harness.edits import Action, Edit, InvalidEdit, Site, Stream
from harness.engine.blocks import BlockRun, Stack
from harness.engine.forest import Forest, View

SELF = "self"
"""Name of the donor that is the baseline run itself: patching from it must change nothing."""

DonorPrompts = Sequence[Sequence[int]]
"""Token ids, one list per item, each as long as the item."""
DonorVectors = Mapping[Site, Tensor]
"""Stored vectors by site, e.g. means, each [d_model] (z: [d_head]), or [depth, d_model]: a row for each of the first
positions, the last row for all that follow."""


class Blocks(Protocol):
    """What a pass asks of a model's blocks; `FusedBlocks` and `PlainBlocks` answer."""

    stack: Stack
    shares_prefixes: bool

    def run(
        self,
        layer: int,
        resid: Tensor,
        view: View,
        base: BlockRun | None = None,
        without: Stream | None = None,
    ) -> BlockRun:
        """The block on one variant's rows, every activation kept; the output of the module `without` is zero."""

    def advance_(
        self, layer: int, x: Tensor, view: View, base: BlockRun | None, *, cut: bool = False
    ) -> None:
        """The block on variants it does not edit, in place; with `cut`, without the edges to the view's sources."""

    def finish(self, layer: int, x: Tensor, view: View, base: BlockRun | None) -> Tensor:
        """The last block's output at the view's `last_rows`."""

    def mlp_(self, layer: int, mid: Tensor) -> Tensor:
        """resid_post from resid_mid, in place."""

    def mlp_out(self, layer: int, mid: Tensor) -> Tensor:
        """What the MLP adds to the stream."""

    def attn_out(self, layer: int, operator_raw: Tensor) -> Tensor:
        """What the operator adds to the stream."""


@dataclass(kw_only=True)
class Donors:
    """Where patches take their values: donor prompts climb the layers beside the baseline, on the same forest."""

    vectors: dict[str, DonorVectors]
    resid: dict[str, Tensor]
    runs: dict[str, BlockRun] = field(default_factory=dict)

    @classmethod
    def of(cls, stack: Stack, donors: Mapping[str, DonorPrompts | DonorVectors], forest: Forest) -> Donors:
        """The donors of one group of prompts; prompt donors are the forest's columns after the first."""
        vectors = {name: d for name, d in donors.items() if isinstance(d, Mapping)}
        prompts = [name for name, d in donors.items() if not isinstance(d, Mapping)]
        resid = {
            name: stack.embed(forest.ids(column, stack.device)).float()
            for column, name in enumerate(prompts, start=1)
        }
        return cls(vectors=vectors, resid=resid)

    def step(self, blocks: Blocks, layer: int, view: View) -> None:
        """Run every donor through this block."""
        self.runs = {name: blocks.run(layer, x, view) for name, x in self.resid.items()}
        self.resid = {name: run.resid_post for name, run in self.runs.items()}

    def value(self, donor: str, site: Site, own: Tensor, run: BlockRun, view: View) -> Tensor:
        """The donor's activation at a site, shaped like `own`. Raises InvalidEdit where it has none."""
        if donor == SELF:
            return _activation(run, site)
        if donor in self.runs:
            return view.of_nodes(_activation(self.runs[donor], site))
        if site not in self.vectors.get(donor, {}):
            raise InvalidEdit(f"donor '{donor}' has no vector for {site}")
        vector = self.vectors[donor][site].to(own)
        if vector.dim() == 1:
            return vector.expand_as(own)
        depth = torch.from_numpy(view.depth).to(own.device).clamp(max=len(vector) - 1)
        return vector[depth]


def is_constant(edit: Edit, vectors: Mapping[str, DonorVectors]) -> bool:
    """Whether the edit begins by replacing the whole stream by values that do not depend on the tokens."""
    starts_at_post = edit.layers[0] in edit.blocks
    given = edit.action is Action.ZERO or (edit.action is Action.PATCH and edit.donor in vectors)
    return not edit.somewhere and starts_at_post and given


def needs_run(edit: Edit, layer: int) -> bool:
    """False where the block need not be computed: its whole output is replaced at every position."""
    here = [site for site in edit.sites if site.layer == layer]
    only_post = all(site.stream is Stream.RESID_POST and not site.dims for site in here)
    given = edit.action is not Action.ADD and edit.donor != SELF
    return not only_post or edit.somewhere or not given


def only_operator(edit: Edit, layer: int) -> bool:
    """Whether the edit changes what the operator writes and nothing after it: the MLP follows unedited."""
    here = [site.stream for site in edit.sites if site.layer == layer]
    return all(stream in (Stream.Z, Stream.ATTN_OUT) for stream in here)


def edited_mid(
    blocks: Blocks, layer: int, edit: Edit, run: BlockRun, donors: Donors, view: View
) -> Float[Tensor, "row d_model"]:
    """resid_mid of a block under an edit, given its unedited activations on the same input."""
    attn_out = run.attn_out
    heads = [site for site in edit.sites if site.layer == layer and site.stream is Stream.Z]
    if heads:
        assert run.z is not None, "z was not kept"
        raw = run.operator_raw
        for site in heads:  # minus the head's old write, plus its new one
            assert site.head is not None
            old = run.z[:, site.head]
            new = _write(edit, site, old, run, donors, view)
            raw = raw + blocks.stack.head_write(layer, site.head, (new - old).float())
        attn_out = blocks.attn_out(layer, raw)
    write = edit.site(layer, Stream.ATTN_OUT)
    if write is not None:
        attn_out = _write(edit, write, attn_out, run, donors, view)
    return run.resid_mid if attn_out is run.attn_out else run.resid_pre + attn_out


def edited_post(
    blocks: Blocks, layer: int, edit: Edit, run: BlockRun, donors: Donors, view: View
) -> Float[Tensor, "row d_model"]:
    """resid_post of a block under an edit, given its unedited activations on the same input."""
    if edit.module is not None:
        return blocks.run(layer, run.resid_pre, view, without=edit.module).resid_post
    mlp, post = (edit.site(layer, stream) for stream in (Stream.MLP_OUT, Stream.RESID_POST))
    if not needs_run(edit, layer):
        assert post is not None
        return _new_value(edit, post, run.resid_pre, run, donors, view)
    mid = edited_mid(blocks, layer, edit, run, donors, view)
    mlp_out = run.mlp_out if mid is run.resid_mid else blocks.mlp_out(layer, mid)
    if mlp is not None:
        mlp_out = _write(edit, mlp, mlp_out, run, donors, view)
    resid_post = run.resid_post if mlp_out is run.mlp_out else mid + mlp_out
    if post is not None:
        resid_post = _write(edit, post, resid_post, run, donors, view)
    return resid_post


def _write(edit: Edit, site: Site, old: Tensor, run: BlockRun, donors: Donors, view: View) -> Tensor:
    """`old` with the edit's value at the edit's positions, in the site's dimensions."""
    new = _new_value(edit, site, old, run, donors, view)
    where = view.edited_mask(old)
    if site.dims:
        dims = torch.zeros(old.shape[-1], dtype=torch.bool, device=old.device)
        dims[list(site.dims)] = True
        where = dims if where is None else where & dims
    return new if where is None else torch.where(where, new, old)


def _new_value(edit: Edit, site: Site, old: Tensor, run: BlockRun, donors: Donors, view: View) -> Tensor:
    match edit.action:
        case Action.SKIP:
            return run.resid_pre
        case Action.ZERO:
            return torch.zeros_like(old)
        case Action.PATCH:
            assert edit.donor is not None
            return donors.value(edit.donor, site, old, run, view)
        case Action.ADD:
            assert edit.donor is not None
            assert edit.strength is not None
            return old + edit.strength * donors.value(edit.donor, site, old, run, view)
        case Action.CUT:
            raise InvalidEdit(f"'{edit}' is of edges: no activation is written")


def _activation(run: BlockRun, site: Site) -> Tensor:
    match site.stream:
        case Stream.RESID_POST:
            return run.resid_post
        case Stream.ATTN_OUT:
            return run.attn_out
        case Stream.MLP_OUT:
            return run.mlp_out
        case Stream.Z:
            assert run.z is not None
            assert site.head is not None
            return run.z[:, site.head]
        case _:
            raise InvalidEdit(f"{site} is kept of no run: it cannot be patched")
