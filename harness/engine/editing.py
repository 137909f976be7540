"""Applying one edit to one block's activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from harness.edits import Action, Edit, InvalidEdit, Site, Stream
from harness.engine.blocks import BlockRun, Stack

SELF = "self"
"""Name of the donor that is the baseline run itself: patching from it must change nothing."""


@dataclass(kw_only=True)
class Donors:
    """Where patches take their values: donor prompts climb the layers beside the baseline."""

    stack: Stack
    vectors: dict[str, Mapping[Site, Tensor]]
    resid: dict[str, Tensor]
    runs: dict[str, BlockRun] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stack: Stack,
        donors: Mapping[str, Sequence[Sequence[int]] | Mapping[Site, Tensor]],
        indices: Sequence[int],
    ) -> Donors:
        """The donors of one group of prompts."""
        vectors = {name: d for name, d in donors.items() if isinstance(d, Mapping)}
        resid = {
            name: stack.embed(torch.tensor([list(d[i]) for i in indices], device=stack.device))
            for name, d in donors.items()
            if not isinstance(d, Mapping)
        }
        return cls(stack=stack, vectors=vectors, resid=resid)

    def step(self, layer: int, *, with_z: bool) -> None:
        """Run every donor prompt through this block."""
        self.runs = {name: self.stack.run(layer, x, with_z=with_z) for name, x in self.resid.items()}
        self.resid = {name: run.resid_post for name, run in self.runs.items()}

    def value(self, donor: str, site: Site, own: Tensor, run: BlockRun) -> Tensor:
        """The donor's activation at a site, broadcastable to `own`. Raises InvalidEdit where it has none."""
        if donor == SELF:
            return _activation(run, site)
        if donor in self.runs:
            return _activation(self.runs[donor], site)
        if site not in self.vectors.get(donor, {}):
            raise InvalidEdit(f"donor '{donor}' has no vector for {site}")
        return self.vectors[donor][site].to(own).expand_as(own)


def needs_run(edit: Edit, layer: int) -> bool:
    """False where the block need not be computed: its whole output is replaced at every position."""
    here = [site for site in edit.sites if site.layer == layer]
    only_post = all(site.stream is Stream.RESID_POST for site in here)
    return not only_post or edit.positions is not None or edit.donor == SELF


def edited_post(
    stack: Stack, layer: int, edit: Edit, run: BlockRun, donors: Donors
) -> Float[Tensor, "row pos d_model"]:
    """resid_post of a block under an edit, given the block's unedited activations on the same input."""
    here = {site.stream: site for site in edit.sites if site.layer == layer}
    heads = [site for site in edit.sites if site.layer == layer and site.stream is Stream.Z]
    if not needs_run(edit, layer):
        return _new_value(edit, here[Stream.RESID_POST], run.resid_pre, run, donors)
    attn_out, resid_mid, mlp_out = run.attn_out, run.resid_mid, run.mlp_out
    if heads:
        attn_out = stack.attn_out(layer, _edit_heads(stack, layer, edit, heads, run, donors))
    if Stream.ATTN_OUT in here:
        attn_out = _write(edit, here[Stream.ATTN_OUT], attn_out, run, donors)
    if attn_out is not run.attn_out:
        resid_mid = run.resid_pre + attn_out
        mlp_out = stack.mlp_out(layer, resid_mid)
    if Stream.MLP_OUT in here:
        mlp_out = _write(edit, here[Stream.MLP_OUT], mlp_out, run, donors)
    resid_post = resid_mid + mlp_out
    if Stream.RESID_POST in here:
        resid_post = _write(edit, here[Stream.RESID_POST], resid_post, run, donors)
    return resid_post


def _edit_heads(
    stack: Stack, layer: int, edit: Edit, heads: list[Site], run: BlockRun, donors: Donors
) -> Tensor:
    """The operator's output with some heads' z replaced: minus the old write, plus the new."""
    assert run.z is not None, "z was not kept"
    raw = run.operator_raw
    for site in heads:
        assert site.head is not None
        old = run.z[..., site.head, :]
        new = _write(edit, site, old, run, donors)
        raw = raw + stack.head_write(layer, site.head, new - old)
    return raw


def _write(edit: Edit, site: Site, old: Tensor, run: BlockRun, donors: Donors) -> Tensor:
    """`old` with the edit's value at the edit's positions."""
    new = _new_value(edit, site, old, run, donors)
    if edit.positions is None:
        return new
    out = old.clone()
    positions = list(edit.positions)
    out[:, positions] = new[:, positions]
    return out


def _new_value(edit: Edit, site: Site, old: Tensor, run: BlockRun, donors: Donors) -> Tensor:
    match edit.action:
        case Action.SKIP:
            return run.resid_pre
        case Action.ZERO:
            return torch.zeros_like(old)
        case Action.PATCH:
            assert edit.donor is not None
            return donors.value(edit.donor, site, old, run)


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
            return run.z[..., site.head, :]
