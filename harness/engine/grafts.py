"""A base model and an adapted one side by side: in each block the layer of the one or of the other is run.

A route says, block by block, which. Routes that begin alike share what they compute: they form a trie over the blocks,
walked depth first, so that at most one residual stream a block is held.

    base      ──L0──L1──L2── ...
    adapted   ──L0──L1──L2── ...
    only L1   ──L0──L1'─L2── ...     L0 is the base's own run, L1' the adapted block

`Take.CONTRIBUTION`, `Take.LAST` and `Take.GIVEN` bring the adapted model's own activation into the stream instead of
its weights. With the two models exchanged it is the base's that is brought into the adapted run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.engine.blocks import Stack
from harness.engine.memory import FLOAT, OutOfMemory, Shape, chunk_rows
from harness.engine.readout import logit_rows

READ_TOGETHER = 16
"""Prompts whose predictions are compared at a time, once their streams have reached the end."""


class Take(StrEnum):
    """What one block of a route does to the stream."""

    BASE = "base"
    """The base model's block."""
    ADAPTED = "adapted"
    """The adapted model's block, on whatever stream reaches it."""
    CONTRIBUTION = "contribution"
    """resid_post := resid_pre + what this block adds (attn_out + mlp_out) in the adapted model's own run."""
    LAST = "last"
    """The base model's block; at the last position resid_post := that of the adapted model's own run."""
    GIVEN = "given"
    """The same, of whatever run it was that gave it: of another prompt, say."""


Route = tuple[Take, ...]
"""One `Take` a block, from the first to the last."""
Lasts = Mapping[int, Float[Tensor, "prompt d_model"]]
"""resid_post of some blocks at the last position."""


def masked(n_layers: int, adapted: Iterable[int]) -> Route:
    """The route with the adapted model's layers in these blocks and the base's in the others."""
    on = set(adapted)
    return tuple(Take.ADAPTED if layer in on else Take.BASE for layer in range(n_layers))


def grafted(n_layers: int, layer: int, take: Take) -> Route:
    """The base model's route with one block that takes from the adapted run."""
    return tuple(take if at == layer else Take.BASE for at in range(n_layers))


@dataclass(frozen=True, kw_only=True)
class _OwnRun:
    """What is kept of the adapted model's own run, by block: only what a route takes."""

    contribution: dict[int, Float[Tensor, "prompt pos d_model"]]
    last: dict[int, Float[Tensor, "prompt d_model"]]
    given: Lasts


@dataclass(frozen=True)
class TwoStacks:
    """Two models of one architecture whose embedding, final norm and unembedding are the same."""

    base: Stack
    adapted: Stack

    def __post_init__(self) -> None:
        if self.base.n_layers != self.adapted.n_layers:
            raise ValueError(f"the base has {self.base.n_layers} blocks, the adapted {self.adapted.n_layers}")

    def run(
        self,
        ids: Int[Tensor, "prompt pos"],
        routes: Sequence[Route],
        on_route: Callable[[int], None] = lambda _: None,
        given: Lasts | None = None,
    ) -> Float[Tensor, "route prompt d_model"]:
        """resid_post of the last block at the last position, under every route; prompts of equal length.

        `on_route` is told of how many more routes have reached their end; `given` is what `Take.GIVEN` pastes, by
        block. Raises ValueError for a route that does not name every block, KeyError for a block that is not given.
        """
        n_layers = self.base.n_layers
        if wrong := [route for route in routes if len(route) != n_layers]:
            raise ValueError(f"a route names {n_layers} blocks, one each; {len(wrong[0])} are named")
        with torch.inference_mode():
            for stack in (self.base, self.adapted):
                stack.prepare(ids.shape[1])
            own = self._own_run(ids, routes, given or {})
            resid = self.base.embed(ids).float()
            out = resid.new_empty((len(routes), len(ids), resid.shape[-1]))
            # Entries of one parent hold the same tensor: depth first, one stream a block is alive.
            waiting = _branches(0, resid, routes, range(len(routes)))
            while waiting:
                layer, take, stream, members = waiting.pop()
                if layer + 1 < n_layers:
                    stream = self._block(layer, take, stream, own)
                    waiting += _branches(layer + 1, stream, routes, members)
                else:
                    out[members] = self._last_block(layer, take, stream, own)
                    on_route(len(members))
        return out

    def lasts(self, ids: Int[Tensor, "prompt pos"], layers: Iterable[int]) -> Lasts:
        """resid_post of these blocks at the last position, in the adapted model's own run; prompts of equal length."""
        with torch.inference_mode():
            self.adapted.prepare(ids.shape[1])
            routes = [grafted(self.base.n_layers, layer, Take.LAST) for layer in layers]
            return self._own_run(ids, routes, {}).last

    def _own_run(self, ids: Int[Tensor, "prompt pos"], routes: Sequence[Route], given: Lasts) -> _OwnRun:
        """The adapted model's own run, as far as a route takes from it."""
        wanted = {(layer, take) for route in routes for layer, take in enumerate(route)}
        own = _OwnRun(contribution={}, last={}, given=given)
        ends = [layer for layer, take in wanted if take in (Take.CONTRIBUTION, Take.LAST)]
        if not ends:
            return own
        resid = self.adapted.embed(ids).float()
        for layer in range(max(ends) + 1):
            run = self.adapted.run(layer, resid)
            if (layer, Take.CONTRIBUTION) in wanted:
                own.contribution[layer] = run.attn_out + run.mlp_out
            resid = run.resid_post
            if (layer, Take.LAST) in wanted:
                own.last[layer] = resid[:, -1].clone()
        return own

    def _block(
        self, layer: int, take: Take, resid: Tensor, own: _OwnRun
    ) -> Float[Tensor, "prompt pos d_model"]:
        """resid_post of this block."""
        if take is Take.CONTRIBUTION:
            return resid + own.contribution[layer]
        stack = self.adapted if take is Take.ADAPTED else self.base
        mid = resid + stack.attn_out(layer, stack.operator(layer, resid))
        out = mid + stack.mlp_out(layer, mid)
        if take in (Take.LAST, Take.GIVEN):
            out[:, -1] = (own.last if take is Take.LAST else own.given)[layer]
        return out

    def _last_block(
        self, layer: int, take: Take, resid: Tensor, own: _OwnRun
    ) -> Float[Tensor, "prompt d_model"]:
        """resid_post of the last block at the last position: nothing else is read."""
        if take is Take.CONTRIBUTION:
            return resid[:, -1] + own.contribution[layer][:, -1]
        if take in (Take.LAST, Take.GIVEN):
            return (own.last if take is Take.LAST else own.given)[layer]
        stack = self.adapted if take is Take.ADAPTED else self.base
        mid = (resid + stack.attn_out(layer, stack.operator(layer, resid)))[:, -1:]
        return (mid + stack.mlp_out(layer, mid))[:, 0]


def _branches(
    layer: int, stream: Tensor, routes: Sequence[Route], members: Iterable[int]
) -> list[tuple[int, Take, Tensor, list[int]]]:
    """What these routes, alike so far, do with the stream that enters a block: one entry for each thing done."""
    by_take: defaultdict[Take, list[int]] = defaultdict(list)
    for member in members:
        by_take[routes[member][layer]].append(member)
    return [(layer, take, stream, found) for take, found in by_take.items()]


def chunks(
    stack: Stack, lengths: Sequence[int], routes: Sequence[Route], memory_bytes: int
) -> list[tuple[int, ...]]:
    """Prompts of equal length put together as the budget, for everything but the weights, allows.

    Raises OutOfMemory where a single prompt does not fit.
    """
    most_rows = chunk_rows(stack.device)
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        length = lengths[i]
        joined = [*found[-1], i] if found and lengths[found[-1][0]] == length else [i]
        need = _need(stack, routes, len(joined), length)
        if len(joined) > 1 and len(joined) * length <= most_rows and need <= memory_bytes:
            found[-1] = joined
        elif (alone := _need(stack, routes, 1, length)) > memory_bytes:
            raise OutOfMemory(
                f"one prompt of {length} tokens needs {alone / 2**30:.2f} GiB for {len(routes)} states of two models, "
                f"the budget is {memory_bytes / 2**30:.2f} GiB: give --memory {alone / 2**30 + 0.05:.1f}, or use "
                "shorter prompts"
            )
        else:
            found.append([i])
    return [tuple(chunk) for chunk in found]


def _need(stack: Stack, routes: Sequence[Route], n_prompts: int, length: int) -> int:
    """Upper bound on the bytes of one pass of these routes and of reading them out."""
    s, rows = Shape.of(stack), n_prompts * length
    kept = len({layer for route in routes for layer, take in enumerate(route) if take is Take.CONTRIBUTION})
    streams = (stack.n_layers + 1 + kept) * rows * s.d_model
    block = rows * (9 * s.d_model + max(3 * s.d_mlp, 3 * s.d_heads + 6 * s.d_kv))
    scores = 3 * n_prompts * s.n_heads * length**2
    ends = (2 * len(routes) + 2) * n_prompts * s.d_model
    logits = (2 * logit_rows(s.vocab) + 4 * READ_TOGETHER) * s.vocab
    return FLOAT * (streams + block + scores + ends + logits)
