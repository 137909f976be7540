"""A model taken apart: one block's forward pass with its named activations, calling the model's own modules.

Masks, positions and rotary embeddings are recorded, once per prompt length, from the arguments that transformers itself
hands to each block. (The fused blocks take the rotary angles from there, and make masks of their own.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from harness.engine.architectures import BlockModules, body, config, final_norm, resolve_blocks

VOCABULARY_SLAB = 16384
"""Rows of an unembedding in a short type that are widened to float32 at a time."""


@dataclass(frozen=True, kw_only=True)
class BlockRun:
    """A block's activations, each [*row, d_model] (z: [*row, head, d_head], None where not asked).

    `operator_raw` is the operator's output before any post-norm; `attn_out` is what is added to the stream.
    `keys` and `values`, [1, row, kv_head, d_head], are kept by the fused blocks.
    """

    resid_pre: Tensor
    z: Tensor | None
    operator_raw: Tensor
    attn_out: Tensor
    resid_mid: Tensor
    mlp_out: Tensor
    resid_post: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> BlockRun:
        """The same activations, each changed; keys and values are left out."""
        return BlockRun(
            resid_pre=change(self.resid_pre),
            z=None if self.z is None else change(self.z),
            operator_raw=change(self.operator_raw),
            attn_out=change(self.attn_out),
            resid_mid=change(self.resid_mid),
            mlp_out=change(self.mlp_out),
            resid_post=change(self.resid_post),
        )


class Stack:
    """A model taken apart into blocks that can be run one at a time on any rows of equal length."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.blocks = resolve_blocks(model)
        self._final_norm = final_norm(model)
        lm_head = cast("nn.Linear", model.lm_head)
        self.unembedding = lm_head.weight.detach()
        self.unembedding_bias = None if lm_head.bias is None else lm_head.bias.detach().float()
        self._arguments: dict[int, list[dict[str, Any]]] = {}

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return cast("torch.device", self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        """What the blocks' products are computed in; the residual stream and the logits are float32."""
        stored = self.blocks[0].out_proj.weight.dtype
        return (
            stored if stored.is_floating_point else cast("torch.dtype", self.model.dtype)
        )  # quantised: whole numbers

    def embed(self, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """resid_pre of block 0."""
        return cast("Tensor", body(self.model).embed_tokens(ids))  # type: ignore[operator]

    def unembed(
        self, resid: Float[Tensor, "row d_model"], *, normed: bool = True
    ) -> Float[Tensor, "row vocab"]:
        """Logits of residuals at one position; with `normed` False the final norm is left out."""
        hidden = self._final_norm(resid.float()) if normed else resid.float()
        logits = self._logits(hidden)
        cap = getattr(config(self.model), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _logits(self, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """In float32 whatever the weights are; those of a short type are widened a slab of the vocabulary at a time."""
        if self.unembedding.dtype == torch.float32:
            return F.linear(hidden, self.unembedding, self.unembedding_bias)
        logits = hidden.new_empty((len(hidden), len(self.unembedding)))
        for first in range(0, len(self.unembedding), VOCABULARY_SLAB):
            tokens = slice(first, first + VOCABULARY_SLAB)
            logits[:, tokens] = hidden @ self.unembedding[tokens].float().T
        return logits if self.unembedding_bias is None else logits.add_(self.unembedding_bias)

    def prepare(self, length: int) -> None:
        """Record what transformers hands to each block for prompts of this many tokens."""
        if length not in self._arguments:
            self._arguments[length] = _record_arguments(self.model, self.blocks, length)

    def rotary(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Cos and sin, [1, pos, d_head], that a block's attention is handed for at least this many positions."""
        enough = [known for known in self._arguments if known >= length]
        if not enough:
            enough = [1 << max(5, (length - 1).bit_length())]
            self.prepare(enough[0])
        cos, sin = self._arguments[min(enough)][layer]["position_embeddings"]
        return cos, sin

    def operator(
        self, layer: int, resid_pre: Tensor, closed: Bool[Tensor, "row pos pos"] | None = None
    ) -> Tensor:
        """The attention's or convolution's output, before any post-norm; no attention along `closed` edges."""
        parts = self.blocks[layer]
        arguments = self._arguments[resid_pre.shape[1]][layer]
        if closed is not None:
            arguments = {**arguments, "attention_mask": _close(arguments["attention_mask"], closed)}
        normed = parts.pre_operator_norm(resid_pre).to(self.dtype)
        out = parts.operator(hidden_states=normed, **arguments)
        return cast("Tensor", out[0] if isinstance(out, tuple) else out).float()

    def attn_out(self, layer: int, operator_raw: Tensor) -> Tensor:
        """What the operator adds to the stream."""
        norm = self.blocks[layer].post_operator_norm
        return operator_raw if norm is None else cast("Tensor", norm(operator_raw))

    def mlp_out(self, layer: int, resid_mid: Tensor) -> Tensor:
        """What the MLP adds to the stream."""
        parts = self.blocks[layer]
        out = parts.mlp(parts.pre_mlp_norm(resid_mid).to(self.dtype)).float()
        return cast("Tensor", out if parts.post_mlp_norm is None else parts.post_mlp_norm(out))

    def run(self, layer: int, resid_pre: Tensor, *, with_z: bool = False) -> BlockRun:
        """The block on these rows, every activation kept."""
        z = None
        if with_z:
            with _captured_input(self.blocks[layer].out_proj) as captured:
                raw = self.operator(layer, resid_pre)
            head_dim = self.blocks[layer].head_dim
            assert head_dim is not None, "z was asked of an operator without heads"
            z = captured[0].view(*captured[0].shape[:-1], -1, head_dim)
        else:
            raw = self.operator(layer, resid_pre)
        attn_out = self.attn_out(layer, raw)
        resid_mid = resid_pre + attn_out
        mlp_out = self.mlp_out(layer, resid_mid)
        return BlockRun(
            resid_pre=resid_pre,
            z=z,
            operator_raw=raw,
            attn_out=attn_out,
            resid_mid=resid_mid,
            mlp_out=mlp_out,
            resid_post=resid_mid + mlp_out,
        )

    def head_write(self, layer: int, head: int, z_head: Tensor) -> Tensor:
        """What one head's z adds to the operator's output (without bias), [*row, d_model]."""
        parts = self.blocks[layer]
        assert parts.head_dim is not None
        columns = slice(head * parts.head_dim, (head + 1) * parts.head_dim)
        weight = parts.out_proj.weight[:, columns]
        return (z_head.to(weight.dtype) @ weight.T).to(z_head.dtype)


def _close(mask: Tensor | None, closed: Bool[Tensor, "row pos pos"]) -> Tensor:
    """The mask of an attention, [row, 1, pos, pos], with these edges closed; None is a causal one.

    It keeps its kind: true where attention is open, or a number that is added to the scores.
    """
    if mask is None:
        mask = torch.ones(closed.shape[1:], dtype=torch.bool, device=closed.device).tril()[None, None]
    if mask.dtype == torch.bool:
        return mask & ~closed[:, None]
    return mask.expand(len(closed), -1, -1, -1).masked_fill(closed[:, None], -torch.inf)


def _record_arguments(model: nn.Module, blocks: list[BlockModules], length: int) -> list[dict[str, Any]]:
    """Run one prompt of the given length and keep the keyword arguments every operator receives."""
    seen: dict[int, dict[str, Any]] = {}
    handles = []
    for layer, parts in enumerate(blocks):

        def keep(_: nn.Module, args: Any, kwargs: dict[str, Any], layer: int = layer) -> None:
            dropped = ("hidden_states", "past_key_values", "use_cache")
            seen[layer] = {name: value for name, value in kwargs.items() if name not in dropped}

        handles.append(parts.operator.register_forward_pre_hook(keep, with_kwargs=True))
    try:
        ids = torch.zeros((1, length), dtype=torch.long, device=cast("torch.device", model.device))
        with torch.no_grad():
            body(model)(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) != len(blocks):
        raise RuntimeError(f"{len(blocks) - len(seen)} of {len(blocks)} blocks were not run by the model")
    return [seen[layer] for layer in range(len(blocks))]


@contextmanager
def _captured_input(module: nn.Module) -> Iterator[list[Tensor]]:
    captured: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        captured.append(args[0])

    handle = module.register_forward_pre_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()
