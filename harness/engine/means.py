"""Mean activations of every block on a set of prompts: what a mean ablation puts in an activation's place.

Token 0 carries massive activations, so an average over positions that includes it is about token 0. Its mean is kept
apart from that of all later positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from harness.edits import Site, Stream
from harness.engine.blocks import BlockRun, Stack
from harness.engine.forest import Forest
from harness.engine.memory import GROUP_ROWS
from harness.engine.sweep import pick_blocks

SUBLAYERS = (Stream.ATTN_OUT, Stream.MLP_OUT)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of one site: the mean activation and the mean norm, at token 0 and at later positions."""

    mean: Float[Tensor, "2 width"]
    norm: Float[Tensor, " 2"]


def site_moments(
    stack: Stack,
    prompts: Sequence[Sequence[int]],
    *,
    streams: Sequence[Stream] = SUBLAYERS,
    heads: bool = False,
) -> dict[Site, Moments]:
    """Moments of these streams in every block, and with `heads` of every head's z, over all positions of the prompts.

    Raises ValueError where no prompt has a second token.
    """
    if not any(len(ids) > 1 for ids in prompts):
        raise ValueError(
            "mean activations need a prompt of two tokens: the first is kept apart from the others"
        )
    blocks = pick_blocks(stack)
    sums: dict[Site, Tensor] = {}
    norms: dict[Site, Tensor] = {}
    counts = torch.zeros(2, dtype=torch.float64, device=stack.device)
    with torch.inference_mode():
        for group in _groups(prompts, equal=not blocks.shares_prefixes):
            forest = Forest([[tuple(ids)] for ids in group], share=blocks.shares_prefixes)
            weight = _passing(forest, stack.device)
            counts += weight.sum(dim=1)
            resid = stack.embed(forest.ids(0, stack.device)).float()
            for layer in range(stack.n_layers):
                run = blocks.run(layer, resid, forest.whole)
                for site, value in _activations(run, layer, streams, heads=heads):
                    wide = value.double()
                    sums[site] = sums.get(site, 0) + weight @ wide
                    norms[site] = norms.get(site, 0) + weight @ wide.norm(dim=-1)
                resid = run.resid_post
    return {
        site: Moments(mean=(sums[site] / counts[:, None]).float(), norm=(norms[site] / counts).float())
        for site in sums
    }


def _passing(forest: Forest, device: torch.device) -> Float[Tensor, "2 node"]:
    """How many prompts pass through each node: as first token, and later."""
    weight = torch.zeros(2, len(forest), dtype=torch.float64)
    for path in forest.paths:
        weight[0, path[0]] += 1
        weight[1, path[1:]] += 1
    return weight.to(device)


def _activations(
    run: BlockRun, layer: int, streams: Sequence[Stream], *, heads: bool
) -> list[tuple[Site, Tensor]]:
    kept = {Stream.ATTN_OUT: run.attn_out, Stream.MLP_OUT: run.mlp_out, Stream.RESID_POST: run.resid_post}
    found = [(Site(layer=layer, stream=stream), kept[stream]) for stream in streams]
    if heads and run.z is not None:
        found += [
            (Site(layer=layer, stream=Stream.Z, head=head), run.z[:, head].float())
            for head in range(run.z.shape[1])
        ]
    return found


def _groups(prompts: Sequence[Sequence[int]], *, equal: bool) -> list[list[Sequence[int]]]:
    """Prompts in passes of a bounded number of tokens; with `equal`, of one length each."""
    found: list[list[Sequence[int]]] = []
    for ids in sorted(prompts, key=len):
        last = found[-1] if found else []
        full = sum(map(len, last)) + len(ids) > GROUP_ROWS
        if not last or full or (equal and len(last[0]) != len(ids)):
            found.append([])
        found[-1].append(ids)
    return found
