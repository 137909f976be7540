"""The plain blocks: the model's own modules, called on prompts of equal length, one chain of rows a prompt.

Slower than `harness.engine.fused` and indifferent to what the modules are: convolutions, adapters, quantised or
hooked layers. The reference the fused blocks are tested against.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from harness.edits import Stream
from harness.engine.blocks import BlockRun, Stack
from harness.engine.forest import View


class PlainBlocks:
    """Every block of a stack, on views that are chains of equal length."""

    shares_prefixes = False

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def run(
        self,
        layer: int,
        resid: Float[Tensor, "row d_model"],
        view: View,
        base: BlockRun | None = None,
        without: Stream | None = None,
    ) -> BlockRun:
        """The block on one variant's rows, every activation kept; the output of the module `without` is zero."""
        parts = self.stack.blocks[layer]
        has_heads = parts.n_heads > 0
        with zeroed(parts.linears[without]) if without is not None else nullcontext():
            run = self.stack.run(layer, self._prompts(resid, view), with_z=has_heads)
        return run.map(lambda x: x.flatten(0, 1))

    def advance_(
        self,
        layer: int,
        x: Float[Tensor, "variant row d_model"],
        view: View,
        base: BlockRun | None,
        *,
        cut: bool = False,
    ) -> None:
        """Run the block on variants it does not edit, or whose edges to the view's sources it cuts, in place."""
        mid = self._mid(layer, x, view, cut=cut)
        x.copy_((mid + self.stack.mlp_out(layer, mid)).view_as(x))

    def finish(
        self, layer: int, x: Float[Tensor, "variant row d_model"], view: View, base: BlockRun | None
    ) -> Float[Tensor, "variant last d_model"]:
        """The last block's output at the rows of last tokens: nothing else is read."""
        mid = self._mid(layer, x, view).view_as(x)[:, list(view.last_rows)]
        return mid + self.stack.mlp_out(layer, mid)

    def mlp_(self, layer: int, mid: Float[Tensor, "variant row d_model"]) -> Tensor:
        """resid_post from resid_mid, in place."""
        return mid.add_(self.stack.mlp_out(layer, mid))

    def mlp_out(self, layer: int, mid: Float[Tensor, "row d_model"]) -> Tensor:
        """What the MLP adds to the stream."""
        return self.stack.mlp_out(layer, mid[None])[0]

    def attn_out(self, layer: int, operator_raw: Float[Tensor, "row d_model"]) -> Tensor:
        """What the operator adds to the stream."""
        return self.stack.attn_out(layer, operator_raw[None])[0]

    def _mid(self, layer: int, x: Tensor, view: View, *, cut: bool = False) -> Tensor:
        rows = self._prompts(x, view)
        closed = None
        if cut:
            closed = view.cached("closed", lambda: closed_edges(view)).to(rows.device).repeat(len(x), 1, 1)
        return rows + self.stack.attn_out(layer, self.stack.operator(layer, rows, closed))

    def _prompts(self, rows: Tensor, view: View) -> Tensor:
        """The same rows as prompts of equal length, [chain, pos, d_model]."""
        assert view.chains is not None, "the plain blocks need prompts of equal length"
        length = len(view) // view.chains
        self.stack.prepare(length)
        return rows.reshape(-1, length, rows.shape[-1])


def closed_edges(view: View) -> Bool[Tensor, "chain pos pos"]:
    """True where a row of a chain is kept from a position, in a view for cuts."""
    assert view.chains is not None, "the plain blocks need prompts of equal length"
    assert view.sources is not None, "this view has no sources to cut"
    closed = torch.zeros(len(view), len(view) // view.chains, dtype=torch.bool)
    for row, sources in enumerate(view.sources):
        closed[row, list(sources)] = True
    return closed.view(view.chains, -1, closed.shape[1])


@contextmanager
def zeroed(module: nn.Module) -> Iterator[None]:
    """The module's output is zero while the block is open."""
    handle = module.register_forward_hook(lambda _, __, output: output.new_zeros(output.shape))
    try:
        yield
    finally:
        handle.remove()
