"""From a GGUF file to a directory that transformers loads: config.json, model.safetensors, tokenizer.

The weights are kept as float32. A Q4_1 weight is scale x nibble + minimum with float16 scale and minimum:
more digits than bfloat16 holds, so rounding would make this another model than the one in the file. The price
is 540 MB on disk for 135M parameters.

The GGUF reader of transformers does the same, but anew on every load (20 to 50 s), and refuses to save what
it read. The tests hold this converter to bit-equality with it. Two points are not shared with it: the tensors
here are never all in memory at once, and the pre-tokenizer `smollm` is honoured (see `_PRE_TOKENIZERS`).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.models.cache import require_space
from harness.models.gguf_file import GgufFile, GgufTensor, dequantized, read_gguf
from harness.models.progress import progress
from harness.models.spec import ModelError, WeightsCorrupt

Array = npt.NDArray[np.float32]
Metadata = Mapping[str, Any]

_SHARED_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TENSOR_NAME = re.compile(r"(?:blk\.(?P<block>\d+)\.)?(?P<leaf>\w+)\.(?P<kind>weight|bias)")


@dataclass(frozen=True, kw_only=True)
class _Architecture:
    """How one GGUF architecture maps to transformers."""

    config: Callable[[Metadata], dict[str, Any]]
    names: Mapping[str, str]
    values: Callable[[str, Array, Metadata], Array]
    model_type: str
    model_class: str


def _config(metadata: Metadata, prefix: str, head_dim: str) -> dict[str, Any]:
    """What Llama and Gemma 3 share. All is read from the file: a default would be another model's value."""

    def key(name: str) -> Any:
        return metadata[f"{prefix}.{name}"]

    return {
        "max_position_embeddings": key("context_length"),
        "num_hidden_layers": key("block_count"),
        "intermediate_size": key("feed_forward_length"),
        "hidden_size": key("embedding_length"),
        "head_dim": key(head_dim),
        "num_attention_heads": key("attention.head_count"),
        "num_key_value_heads": key("attention.head_count_kv"),
        "rms_norm_eps": key("attention.layer_norm_rms_epsilon"),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
    }


def _llama_config(metadata: Metadata) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": metadata["llama.rope.freq_base"]}
    return _config(metadata, "llama", "rope.dimension_count") | {"rope_parameters": rope}


def _gemma3_config(metadata: Metadata) -> dict[str, Any]:
    # The local layers' rope base and the 5:1 pattern are not in the file: they are fixed for Gemma 3
    # (https://arxiv.org/abs/2503.19786, section 2) and are the config class's own defaults.
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": metadata["gemma3.rope.freq_base"]},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    shared = _config(metadata, "gemma3", "attention.key_length")
    return shared | {"rope_parameters": rope, "sliding_window": metadata["gemma3.attention.sliding_window"]}


def _llama_values(leaf: str, weight: Array, metadata: Metadata) -> Array:
    """Undo llama.cpp's order of query and key rows, which interleaves the two halves of the rotary pairs."""
    heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
    if leaf not in heads:
        return weight
    n_heads = int(metadata[heads[leaf]])
    pairs = weight.reshape(n_heads, weight.shape[0] // n_heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape))


def _gemma3_values(leaf: str, weight: Array, metadata: Metadata) -> Array:
    """llama.cpp stores Gemma's norms as 1 + w; transformers holds w."""
    return weight - np.float32(1.0) if leaf.endswith("norm") else weight


_ARCHITECTURES = {
    "llama": _Architecture(
        config=_llama_config,
        names={**_SHARED_NAMES, "ffn_norm": "post_attention_layernorm"},
        values=_llama_values,
        model_type="llama",
        model_class="LlamaForCausalLM",
    ),
    "gemma3": _Architecture(
        config=_gemma3_config,
        names={
            **_SHARED_NAMES,
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
            "attn_q_norm": "self_attn.q_norm",
            "attn_k_norm": "self_attn.k_norm",
        },
        values=_gemma3_values,
        model_type="gemma3_text",
        model_class="Gemma3ForCausalLM",
    ),
}


def convert_gguf(path: Path, directory: Path, label: str) -> None:
    """Write config.json, model.safetensors and the tokenizer of the GGUF file `path` into `directory`.

    Raises WeightsCorrupt (not a complete GGUF file), ModelError (an architecture or tensor this converter
    does not know), OSError (disk full and the like), CacheUnwritable (too little space to start).
    """
    file = read_gguf(path)
    name = file.metadata.get("general.architecture")
    if name not in _ARCHITECTURES:
        known = ", ".join(sorted(_ARCHITECTURES))
        raise ModelError(
            f"{path.name}: GGUF architecture {name!r} is not supported, only {known}; use safetensors"
        )
    architecture = _ARCHITECTURES[name]
    require_space(directory, 4 * sum(prod(tensor.shape) for tensor in file.tensors) + (64 << 20))
    _write_config(file, architecture, directory)
    _write_tokenizer(file, directory)
    _write_weights(file, architecture, directory / "model.safetensors", label)


def _write_config(file: GgufFile, architecture: _Architecture, directory: Path) -> None:
    from transformers import AutoConfig

    try:
        settings = architecture.config(file.metadata)
    except KeyError as error:
        raise WeightsCorrupt(f"{file.path.name} lacks the metadata {error}; fetch it again") from error
    tied = all(tensor.name != "output.weight" for tensor in file.tensors)
    config = AutoConfig.for_model(architecture.model_type, tie_word_embeddings=tied, **settings)
    config.architectures = [architecture.model_class]
    config.dtype = "float32"
    config.save_pretrained(directory)


def _hub_name(tensor: GgufTensor, architecture: _Architecture, file: GgufFile) -> tuple[str, str]:
    """(name in transformers, GGUF leaf). Raises ModelError for a tensor that would otherwise be dropped."""
    match = _TENSOR_NAME.fullmatch(tensor.name)
    if match is None or match["leaf"] not in architecture.names:
        raise ModelError(
            f"{file.path.name}: tensor {tensor.name!r} is not known to the converter; use safetensors"
        )
    block = f"model.layers.{match['block']}." if match["block"] else ""
    return f"{block}{architecture.names[match['leaf']]}.{match['kind']}", match["leaf"]


def _write_weights(file: GgufFile, architecture: _Architecture, target: Path, label: str) -> None:
    """Stream the tensors into a safetensors file: 8 bytes of header length, a JSON header, the values."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    names = [_hub_name(tensor, architecture, file) for tensor in file.tensors]
    end = 0
    for tensor, (name, _) in zip(file.tensors, names, strict=True):
        start, end = end, end + 4 * prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as output, progress(f"{label}: converting", end, "B") as advance:
        output.write(struct.pack("<Q", len(text)) + text)
        for tensor, (_, leaf) in zip(file.tensors, names, strict=True):
            values = architecture.values(leaf, dequantized(file, tensor), file.metadata)
            output.write(values.astype("<f4", copy=False).data)
            advance(values.nbytes)


def _smollm_split() -> Any:
    """Each digit alone, then GPT-2's byte-level split: the `pre_tokenizer` of SmolLM's own tokenizer.json."""
    from tokenizers import pre_tokenizers

    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


_PRE_TOKENIZERS: Mapping[str, Callable[[], Any]] = {"smollm": _smollm_split}
"""Pre-tokenizers named in `tokenizer.ggml.pre` that transformers 5.23 does not know and drops silently.

Without the digit split, runs of spaces before a digit (indented code, columns of numbers) are cut differently
from how SmolLM was trained.
"""


def _write_tokenizer(file: GgufFile, directory: Path) -> None:
    """Let transformers build the tokenizer, mend its pre-tokenizer where needed, and save it."""
    from transformers import GemmaTokenizer, PreTrainedTokenizerFast

    kind = GemmaTokenizer if file.metadata["general.architecture"] == "gemma3" else PreTrainedTokenizerFast
    tokenizer = kind.from_pretrained(file.path.parent, gguf_file=file.path.name, local_files_only=True)
    split = _PRE_TOKENIZERS.get(file.metadata.get("tokenizer.ggml.pre", ""))
    if split is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = split()
    tokenizer.save_pretrained(directory)
