"""The fast blocks: one block on any rows of a forest, in place, at the speed of its matrix products.

The plain blocks (`harness.engine.plain`) call the model's own modules on prompts of equal length. Here the same
weights are applied to a flat table of rows [variant, row, d_model]: products accumulate into the residual
stream, norms and rotations touch memory as few times as they can, and attention follows the token trie. No
weight is copied. Which blocks qualify is decided by type, and `parity` holds the result against the model's own
logits on every load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from harness.edits import Stream
from harness.engine.architectures import BlockModules, body
from harness.engine.blocks import BlockRun, Stack
from harness.engine.forest import Block, View
from harness.engine.memory import SCORES, chunk_rows

GAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "LlamaRMSNorm": lambda weight: weight,
    "Qwen2RMSNorm": lambda weight: weight,
    "Gemma3RMSNorm": lambda weight: 1 + weight,
}
"""RMS norms known to compute x / rms(x) x gain, and the gain their weight stands for."""
_ATTENTION = ("LlamaAttention", "Qwen2Attention", "Gemma3Attention")
_ROPES = ("default", "linear", "llama3")
"""Rotary embeddings whose angle at a position does not depend on the prompt's length."""
_MLP = ("LlamaMLP", "Qwen2MLP", "Gemma3MLP")


Allocate = Callable[..., Tensor]
"""(name, shape, like) -> an uninitialised tensor of that shape."""


class Scratch:
    """Memory that every chunk reuses: a fresh allocation of megabytes costs its page faults, chunk after chunk."""

    def __init__(self) -> None:
        self._flat: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """The memory of that name, uninitialised; what it held before is gone."""
        size, flat = math.prod(shape), self._flat.get(name)
        if flat is None or flat.numel() < size or flat.dtype != like.dtype:
            flat = self._flat[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        return flat[:size].view(*shape)


def fresh(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """Memory of its own, for activations that outlive the call."""
    del name
    return torch.empty(*shape, dtype=like.dtype, device=like.device)


@dataclass(frozen=True, kw_only=True)
class _Norm:
    """x / rms(x) x gain, over the last dimension, in float32."""

    gain: Float[Tensor, " width"]
    eps: float

    def __call__(self, x: Float[Tensor, "*row width"], allocate: Allocate = fresh) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        out = allocate("normed", x.shape, x)
        return torch.mul(x, mean_square.add_(self.eps).rsqrt_(), out=out).mul_(self.gain)


@dataclass(frozen=True, kw_only=True)
class _FusedBlock:
    """One block's weights by role. Products are in the weights' dtype, everything else in float32."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear
    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear
    act: nn.Module
    pre_attention: _Norm
    post_attention: _Norm | None
    pre_mlp: _Norm
    post_mlp: _Norm | None
    q_norm: _Norm | None
    k_norm: _Norm | None
    d_head: int
    scaling: float
    window: int | None
    cos_sin: Callable[[View], tuple[Tensor, Tensor]]

    def qkv(
        self, x: Tensor, view: View, allocate: Allocate, *, last: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, each [variant, row, head, d_head].

        With `last`, queries of the view's `last_rows` only.
        """
        xn, (cos, sin) = self.pre_attention(x, allocate), self.cos_sin(view)
        k = _rotate_(self._heads(self.k_proj, xn, "k", self.k_norm, allocate), cos, sin, allocate)
        v = self._heads(self.v_proj, xn, "v", None, allocate)
        if last:
            rows = list(view.last_rows)
            xn, cos, sin = xn[:, rows], cos[rows], sin[rows]
        q = _rotate_(self._heads(self.q_proj, xn, "q", self.q_norm, allocate), cos, sin, allocate)
        return q, k, v

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        view: View,
        base: BlockRun | None,
        allocate: Allocate,
        *,
        last: bool,
        cut: bool = False,
    ) -> Float[Tensor, "variant row head d_head"]:
        """z, block by block of the view; with `last`, of its `last_rows` only; with `cut`, without its sources."""
        z = allocate("z", q.shape, q)
        base_keys, base_values = (None, None) if base is None else (base.keys, base.values)
        for block in view.blocks:
            span = block.last if last else block.rows
            if span.start == span.stop:
                continue
            mask = block.mask(self.window, q, last=view.last_rows[span] if last else None, cut=cut)
            for part in _parts(block, span, q):
                z[part, span] = F.scaled_dot_product_attention(
                    q[part, span].transpose(1, 2),
                    _with_base(k[part], block, base_keys).transpose(1, 2),
                    _with_base(v[part], block, base_values).transpose(1, 2),
                    attn_mask=mask,
                    is_causal=mask is None,
                    scale=self.scaling,
                    enable_gqa=True,
                ).transpose(1, 2)
        return z

    def add_attention_(self, x: Tensor, z: Tensor) -> Tensor:
        """X += what the heads' z write."""
        return _accumulate_(x, z.flatten(2), self.o_proj, self.post_attention)

    def add_mlp_(self, x: Tensor, allocate: Allocate) -> Tensor:
        """X += the MLP of the normed x."""
        return _accumulate_(x, self.mlp_hidden(x, allocate), self.down_proj, self.post_mlp)

    def mlp_hidden(self, x: Tensor, allocate: Allocate, without: Stream | None = None) -> Tensor:
        """act(gate) x up, the input of down_proj; the output of the module `without` is zero."""
        xn = self.pre_mlp(x, allocate)
        gate = _product(self.gate_proj, xn, "gate", allocate)
        if without is Stream.GATE:
            gate.zero_()
        gate = F.silu(gate, inplace=True) if _is_silu(self.act) else self.act(gate)
        up = _product(self.up_proj, xn, "up", allocate)
        return gate.mul_(up.zero_() if without is Stream.UP else up)

    def _heads(
        self, linear: nn.Linear, xn: Tensor, name: str, norm: _Norm | None, allocate: Allocate
    ) -> Tensor:
        flat = _product(linear, xn, name, allocate)
        heads = flat.view(*flat.shape[:-1], -1, self.d_head)
        return heads if norm is None else norm(heads.float()).to(heads.dtype)


class FusedBlocks:
    """Every block of a stack, on the rows of a forest. Raises ValueError where a block does not qualify."""

    shares_prefixes = True

    def __init__(self, stack: Stack) -> None:
        if not qualifies(stack):
            raise ValueError("this model's blocks are not the plain transformers modules the fast path knows")
        self.stack, self.scratch = stack, Scratch()
        self.blocks = [self._fuse(layer, parts) for layer, parts in enumerate(stack.blocks)]

    def run(
        self,
        layer: int,
        resid: Float[Tensor, "row d_model"],
        view: View,
        base: BlockRun | None = None,
        without: Stream | None = None,
    ) -> BlockRun:
        """The block on one variant's rows, every activation kept; the output of the module `without` is zero."""
        block = self.blocks[layer]
        q, k, v = block.qkv(resid[None], view, fresh)
        for name, projected in ((Stream.Q, q), (Stream.K, k), (Stream.V, v)):
            if without is name:
                projected.zero_()  # norms and rotations of zero are zero
        z = block.attend(q, k, v, view, base, fresh, last=False)[0]
        operator_raw = block.o_proj(z.flatten(1)).float()
        if without is Stream.O:
            operator_raw = torch.zeros_like(operator_raw)
        attn_out = self.attn_out(layer, operator_raw)
        resid_mid = resid + attn_out
        mlp_out = self.mlp_out(layer, resid_mid, without)
        return BlockRun(
            resid_pre=resid,
            z=z,
            operator_raw=operator_raw,
            attn_out=attn_out,
            resid_mid=resid_mid,
            mlp_out=mlp_out,
            resid_post=resid_mid + mlp_out,
            keys=k,
            values=v,
        )

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
        block = self.blocks[layer]
        q, k, v = block.qkv(x, view, self.scratch)
        z = block.attend(q, k, v, view, base, self.scratch, last=False, cut=cut)
        block.add_mlp_(block.add_attention_(x, z), self.scratch)

    def finish(
        self, layer: int, x: Float[Tensor, "variant row d_model"], view: View, base: BlockRun | None
    ) -> Float[Tensor, "variant last d_model"]:
        """The last block's output at the rows of last tokens: nothing else is read."""
        block = self.blocks[layer]
        q, k, v = block.qkv(x, view, self.scratch, last=True)
        z = block.attend(q, k, v, view, base, self.scratch, last=True)
        return block.add_mlp_(block.add_attention_(x[:, list(view.last_rows)], z), self.scratch)

    def mlp_(self, layer: int, mid: Float[Tensor, "variant row d_model"]) -> Tensor:
        """resid_post from resid_mid, in place."""
        return self.blocks[layer].add_mlp_(mid, self.scratch)

    def mlp_out(self, layer: int, mid: Float[Tensor, "row d_model"], without: Stream | None = None) -> Tensor:
        """What the MLP adds to the stream; the output of the module `without` is zero."""
        block = self.blocks[layer]
        out = block.down_proj(block.mlp_hidden(mid, fresh, without)).float()
        if without is Stream.DOWN:
            out = torch.zeros_like(out)
        return out if block.post_mlp is None else block.post_mlp(out)

    def attn_out(self, layer: int, operator_raw: Float[Tensor, "row d_model"]) -> Tensor:
        """What the operator adds to the stream."""
        norm = self.blocks[layer].post_attention
        return operator_raw if norm is None else norm(operator_raw)

    def _fuse(self, layer: int, parts: BlockModules) -> _FusedBlock:
        attention: Any = parts.operator
        mlp: Any = parts.mlp

        def cos_sin(view: View) -> tuple[Tensor, Tensor]:
            cos, sin = self.stack.rotary(layer, int(view.depth.max()) + 1)
            at = view.cached(("rotary", id(cos)), lambda: _at_depths(cos, sin, view))
            return cast("tuple[Tensor, Tensor]", at)

        def norm(module: nn.Module | None) -> _Norm | None:
            if module is None:
                return None
            known: Any = module
            eps = known.eps if hasattr(known, "eps") else known.variance_epsilon
            return _Norm(gain=GAIN[type(module).__name__](known.weight.detach().float()), eps=float(eps))

        return _FusedBlock(
            q_proj=attention.q_proj,
            k_proj=attention.k_proj,
            v_proj=attention.v_proj,
            o_proj=attention.o_proj,
            gate_proj=mlp.gate_proj,
            up_proj=mlp.up_proj,
            down_proj=mlp.down_proj,
            act=mlp.act_fn,
            pre_attention=cast("_Norm", norm(parts.pre_operator_norm)),
            post_attention=norm(parts.post_operator_norm),
            pre_mlp=cast("_Norm", norm(parts.pre_mlp_norm)),
            post_mlp=norm(parts.post_mlp_norm),
            q_norm=norm(getattr(attention, "q_norm", None)),
            k_norm=norm(getattr(attention, "k_norm", None)),
            d_head=attention.head_dim,
            scaling=attention.scaling,
            window=getattr(attention, "sliding_window", None),
            cos_sin=cos_sin,
        )


def qualifies(stack: Stack) -> bool:
    """Whether every block is made of the transformers modules the fast path was written from, unhooked."""
    rope = getattr(getattr(body(stack.model), "rotary_emb", None), "rope_type", None)
    ropes = rope.values() if isinstance(rope, dict) else (rope,)
    return all(name in _ROPES for name in ropes) and all(_is_known(parts) for parts in stack.blocks)


def _is_known(parts: BlockModules) -> bool:
    norms = [
        norm
        for norm in (
            parts.pre_operator_norm,
            parts.post_operator_norm,
            parts.pre_mlp_norm,
            parts.post_mlp_norm,
            getattr(parts.operator, "q_norm", None),
            getattr(parts.operator, "k_norm", None),
        )
        if norm is not None
    ]
    linears = [
        *(getattr(parts.operator, name, None) for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
        *(getattr(parts.mlp, name, None) for name in ("gate_proj", "up_proj", "down_proj")),
    ]
    return (
        type(parts.operator).__name__ in _ATTENTION
        and type(parts.mlp).__name__ in _MLP
        and all(type(norm).__name__ in GAIN for norm in norms)
        and all(type(linear) is nn.Linear for linear in linears)
        and getattr(parts.operator, "attn_logit_softcapping", None) is None
        and not any(m._forward_hooks or m._forward_pre_hooks for m in parts.block.modules())
    )


def _at_depths(cos: Tensor, sin: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Cos and sin of every row's position, [row, 1, d_head / 2]: transformers repeats them for both halves."""
    at, half = torch.from_numpy(view.depth).to(cos.device), cos.shape[-1] // 2
    return cos[0, at, None, :half], sin[0, at, None, :half]


def _rotate_(x: Tensor, cos: Tensor, sin: Tensor, allocate: Allocate) -> Tensor:
    """Rotary embedding, in place: (a, b) -> (a cos - b sin, b cos + a sin) on the two halves of each head."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    turned = torch.mul(a, cos, out=allocate("turned", a.shape, a)).addcmul_(b, sin, value=-1)
    b.mul_(cos).addcmul_(a, sin)
    a.copy_(turned)
    return x


def _product(linear: nn.Linear, x: Float[Tensor, "*row in"], name: str, allocate: Allocate) -> Tensor:
    """linear(x), [*row, out], in memory of that name."""
    weight = linear.weight
    rows = x.to(weight.dtype).flatten(0, -2)
    out = allocate(name, (len(rows), len(weight)), rows)
    if linear.bias is None:
        torch.mm(rows, weight.T, out=out)
    else:
        torch.addmm(linear.bias, rows, weight.T, out=out)
    return out.view(*x.shape[:-1], len(weight))


def _accumulate_(x: Tensor, h: Tensor, linear: nn.Linear, norm: _Norm | None) -> Tensor:
    """X += norm(linear(h)); without a norm, and in one dtype, inside the matrix product itself."""
    if norm is None and linear.weight.dtype == x.dtype:
        x.view(-1, x.shape[-1]).addmm_(h.flatten(0, -2), linear.weight.T)
        return x if linear.bias is None else x.add_(linear.bias)
    out = linear(h.to(linear.weight.dtype)).float()
    return x.add_(out if norm is None else norm(out))


def _parts(block: Block, span: slice, q: Tensor) -> Iterator[slice]:
    """Variants that attend in one call: a suffix's each need a copy of the baseline's keys and values."""
    variants, n_keys = len(q), block.sees.shape[1]
    step = SCORES // (q.shape[2] * (span.stop - span.start) * n_keys)
    if block.base is not None:
        step = min(step, chunk_rows(q.device) // n_keys)
    step = max(1, step)
    return (slice(first, min(first + step, variants)) for first in range(0, variants, step))


def _with_base(own: Tensor, block: Block, base: Tensor | None) -> Tensor:
    """The block's keys (or values): the baseline's rows before it, then the view's own."""
    mine = own[:, block.own]
    if block.base is None:
        return mine
    assert base is not None, "a suffix needs the baseline's keys and values"
    return torch.cat([base[:, block.base].expand(len(mine), -1, -1, -1), mine], dim=1)


def _is_silu(act: nn.Module) -> bool:
    return isinstance(act, nn.SiLU) or type(act).__name__ == "SiLUActivation"
