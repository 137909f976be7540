"""The edits that ask whether one number carries a block's effect: set, zeroed, moved, and edited elsewhere. No torch.

A massive activation (Sun et al. 2024) is one dimension of token 0's residual stream, written by one MLP.
`mechanism_edits` lists what is done to it; `read_massive` and `mechanism_rows` find the same edits again in a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from harness.anatomy import Massive
from harness.edits import Action, Edit, Probe, Site, Stream, patch, skip, zero

FIRST = (0,)
MEAN, OTHER_TASK, MOVED = "mean", "other_task", "moved"
"""Donors: token 0's mean over other prompts; the same token of a prompt of another family; the mean with its massive
number turned into a random direction of the same norm."""


class MechanismEdit(StrEnum):
    """What an edit of the hub-mechanism experiment does; several edits may do the same."""

    SKIP = "skipping the writer"
    SKIP_FIRST = "skipping the writer at token 0 alone"
    MLP = "zeroing the writer's MLP at token 0"
    MEAN = "the number set to its mean"
    OTHER_TASK = "the number taken from a prompt of another task"
    ZERO = "the number set to zero"
    UNWRITTEN = "the number as it was before the writer"
    MOVED = "the number turned into a random direction of its norm"
    WHOLE_MEAN = "all of token 0 set to its mean"
    OTHER_DIM = "another dimension of token 0 set to zero"
    OTHER_TOKEN = "the same dimension of another token set to zero"
    BEFORE = "the number set to zero before the writer"
    AFTER = "the number set to zero after a later block"


def mechanism_edits(massive: Massive, n_layers: int) -> Mapping[MechanismEdit, tuple[Edit, ...]]:
    """The edits by what they do, on a model of `n_layers` blocks."""
    layer, dims = massive.layer, (massive.dim,)
    post = Stream.RESID_POST

    def zeroed(at: int, position: int = 0, dim: int = massive.dim) -> Edit:
        return zero(post, at, positions=(position,), dims=(dim,))

    def skipped(dims: tuple[int, ...]) -> Edit:
        site = Site(layer=layer, stream=post, dims=dims)
        return Edit(sites=(site,), action=Action.SKIP, positions=FIRST)

    return {
        MechanismEdit.SKIP: (skip(layer),),
        MechanismEdit.SKIP_FIRST: (skipped(()),),
        MechanismEdit.MLP: (zero(Stream.MLP_OUT, layer, positions=FIRST),),
        MechanismEdit.MEAN: (patch(post, layer, MEAN, positions=FIRST, dims=dims),),
        MechanismEdit.OTHER_TASK: (patch(post, layer, OTHER_TASK, positions=FIRST, dims=dims),),
        MechanismEdit.ZERO: (zeroed(layer),),
        MechanismEdit.UNWRITTEN: (skipped(dims),),
        MechanismEdit.MOVED: (patch(post, layer, MOVED, positions=FIRST),),
        MechanismEdit.WHOLE_MEAN: (patch(post, layer, MEAN, positions=FIRST),),
        MechanismEdit.OTHER_DIM: tuple(zeroed(layer, dim=dim) for dim in massive.others),
        MechanismEdit.OTHER_TOKEN: tuple(zeroed(layer, position=position) for position in (1, -1)),
        MechanismEdit.BEFORE: tuple(zeroed(before) for before in range(layer)),
        MechanismEdit.AFTER: tuple(zeroed(after) for after in range(layer + 1, n_layers)),
    }


def read_massive(probes: Sequence[Probe]) -> Massive:
    """Where the massive activation is that these probes are about. Raises ValueError where they are about none."""
    unwritten = [p for p in probes if isinstance(p, Edit) and p.action is Action.SKIP and p.sites[0].dims]
    if len(unwritten) != 1:
        raise ValueError(f"{len(unwritten)} of {len(probes)} probes undo one number's write: expected one")
    (site,) = unwritten[0].sites
    (dim,) = site.dims
    zeroed = [p for p in probes if isinstance(p, Edit) and p.action is Action.ZERO and p.positions == FIRST]
    others = [
        s.dims[0] for p in zeroed for s in p.sites if s.layer == site.layer and s.dims not in ((), (dim,))
    ]
    return Massive(layer=site.layer, dim=dim, others=tuple(others))


def mechanism_rows(probes: Sequence[Probe], edit: MechanismEdit, n_layers: int) -> tuple[int, ...]:
    """Rows of the table that do this. Raises ValueError where the probes are not this experiment's."""
    return tuple(probes.index(e) for e in mechanism_edits(read_massive(probes), n_layers)[edit])
