"""One small table entry per architecture: the names its modules go by.

Nothing of the forward pass is rewritten here; norms, attention, convolution and MLP are the model's own
modules. A new architecture is one entry, and `parity` decides whether the entry is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from harness.edits import Stream


class UnsupportedArchitecture(ValueError):
    """The checkpoint's model_type has no entry in the table."""


@dataclass(frozen=True, kw_only=True)
class BlockNames:
    """Attribute names inside a decoder block, and of the final norm.

    `operators` are tried in order: LFM2 blocks hold either attention or a convolution. Post-norms (Gemma)
    act on a sublayer's output before it is added to the stream.
    """

    operators: tuple[str, ...]
    out_proj: str
    mlp: str
    pre_operator_norm: str
    pre_mlp_norm: str
    post_operator_norm: str | None = None
    post_mlp_norm: str | None = None
    final_norm: str = "norm"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


_LLAMA_LIKE = BlockNames(
    operators=("self_attn",),
    out_proj="o_proj",
    mlp="mlp",
    pre_operator_norm="input_layernorm",
    pre_mlp_norm="post_attention_layernorm",
)

ARCHITECTURES: dict[str, BlockNames] = {
    "llama": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "gemma3_text": BlockNames(
        operators=("self_attn",),
        out_proj="o_proj",
        mlp="mlp",
        pre_operator_norm="input_layernorm",
        post_operator_norm="post_attention_layernorm",
        pre_mlp_norm="pre_feedforward_layernorm",
        post_mlp_norm="post_feedforward_layernorm",
    ),
    "lfm2": BlockNames(
        operators=("self_attn", "conv"),
        out_proj="out_proj",
        mlp="feed_forward",
        pre_operator_norm="operator_norm",
        pre_mlp_norm="ffn_norm",
        final_norm="embedding_norm",
        gate="w1",
        up="w3",
        down="w2",
    ),
}


@dataclass(frozen=True, kw_only=True)
class BlockModules:
    """The modules of one block, resolved. `head_dim` is None where the operator has no heads.

    `linears` are the linear modules by the name of their output; a convolution has no q, k and v.
    """

    block: nn.Module
    operator: nn.Module
    out_proj: nn.Linear
    mlp: nn.Module
    pre_operator_norm: nn.Module
    post_operator_norm: nn.Module | None
    pre_mlp_norm: nn.Module
    post_mlp_norm: nn.Module | None
    n_heads: int
    n_kv_heads: int
    head_dim: int | None
    linears: Mapping[Stream, nn.Module]


def resolve_blocks(model: nn.Module) -> list[BlockModules]:
    """Every block's modules by role. Raises UnsupportedArchitecture for a model_type without an entry."""
    names = _names(model)
    layers = cast("Sequence[nn.Module]", body(model).layers)
    return [_resolve(block, names, model) for block in layers]


def body(model: nn.Module) -> nn.Module:
    """The decoder stack without the unembedding (`model.model` in transformers)."""
    return cast("nn.Module", model.model)


def config(model: nn.Module) -> Any:
    """The transformers config of a model."""
    return model.config


def final_norm(model: nn.Module) -> nn.Module:
    """The norm between the last block and the unembedding."""
    return cast("nn.Module", getattr(body(model), _names(model).final_norm))


def _names(model: nn.Module) -> BlockNames:
    model_type = str(config(model).model_type)
    if model_type not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"model_type '{model_type}' has no entry in harness/engine/architectures.py "
            f"(known: {', '.join(ARCHITECTURES)}); add one and run the parity tests"
        )
    return ARCHITECTURES[model_type]


def _resolve(block: nn.Module, names: BlockNames, model: nn.Module) -> BlockModules:
    operator_name = next(name for name in names.operators if hasattr(block, name))
    operator = getattr(block, operator_name)
    has_heads = operator_name == "self_attn"
    return BlockModules(
        block=block,
        operator=operator,
        out_proj=getattr(operator, names.out_proj),
        mlp=getattr(block, names.mlp),
        pre_operator_norm=getattr(block, names.pre_operator_norm),
        post_operator_norm=getattr(block, names.post_operator_norm) if names.post_operator_norm else None,
        pre_mlp_norm=getattr(block, names.pre_mlp_norm),
        post_mlp_norm=getattr(block, names.post_mlp_norm) if names.post_mlp_norm else None,
        n_heads=int(config(model).num_attention_heads) if has_heads else 0,
        n_kv_heads=int(config(model).num_key_value_heads) if has_heads else 0,
        head_dim=int(operator.head_dim) if has_heads else None,
        linears=_linears(operator, getattr(block, names.mlp), names),
    )


def _linears(operator: nn.Module, mlp: nn.Module, names: BlockNames) -> dict[Stream, nn.Module]:
    """The modules that are there by the name of their output."""
    sought = {
        Stream.Q: (operator, "q_proj"),
        Stream.K: (operator, "k_proj"),
        Stream.V: (operator, "v_proj"),
        Stream.O: (operator, names.out_proj),
        Stream.GATE: (mlp, names.gate),
        Stream.UP: (mlp, names.up),
        Stream.DOWN: (mlp, names.down),
    }
    return {
        stream: getattr(parent, name) for stream, (parent, name) in sought.items() if hasattr(parent, name)
    }
