"""Tiny random checkpoints, GGUF files and wheels for the tests of this package and of others.

Everything is real (real configs, real safetensors, real GGUF, wheels that pip accepts), only small.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.models.spec import ModelSpec, PackagedGguf, WheelMember

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Kind = Literal["llama", "qwen2", "gemma3_text", "lfm2"]
KINDS: tuple[Kind, ...] = ("llama", "qwen2", "gemma3_text", "lfm2")

_WORDS = ("the", "capital", "of", "france", "is", "paris", "one", "two")


def tiny_model(kind: Kind, *, tied: bool = True, seed: int = 0) -> PreTrainedModel:
    """A random model of this kind: 2 layers (4 for lfm2), width 32, 4 heads of 8, 2 key-value heads."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if kind == "gemma3_text":
        settings |= {"head_dim": 8, "sliding_window": 16}
    if kind == "lfm2":
        settings |= {"layer_types": ["conv", "conv", "full_attention", "conv"], "num_hidden_layers": 4}
        settings |= {"block_auto_adjust_ff_dim": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        factory: Any = AutoModelForCausalLM
        model = factory.from_config(AutoConfig.for_model(kind, **settings))
        for name, parameter in model.named_parameters():
            if "norm" in name:  # norms start at a constant, which would hide a missing offset
                torch.nn.init.normal_(parameter, std=0.5)
    tiny: PreTrainedModel = model.eval()
    return tiny


def save_tiny_checkpoint(directory: Path, kind: Kind = "llama", **options: Any) -> Path:
    """A tiny checkpoint with a word tokenizer, as save_pretrained writes it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    directory.mkdir(parents=True, exist_ok=True)
    tiny_model(kind, **options).save_pretrained(directory)
    vocab = {word: index for index, word in enumerate(("<pad>", "<s>", "</s>", "<unk>", *_WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(directory)
    return directory


def write_tiny_gguf(path: Path, model: PreTrainedModel, *, quant: str = "F32", pre: str = "smollm") -> Path:
    """Write a tiny llama or gemma3_text model as llama.cpp's converter would.

    Matrices are stored as `quant` (their width must suit its block size), vectors as F32. Llama's query and
    key rows are interleaved and Gemma's norms get +1, as in llama.cpp's convert_hf_to_gguf.py.
    """
    import gguf

    gemma = model.config.model_type == "gemma3_text"
    writer = gguf.GGUFWriter(path, "gemma3" if gemma else "llama")
    _write_settings(writer, model)
    (_write_gemma_tokens if gemma else _write_byte_tokens)(writer, model.config.vocab_size, pre)
    architecture = gguf.MODEL_ARCH.GEMMA3 if gemma else gguf.MODEL_ARCH.LLAMA
    names = gguf.get_tensor_name_map(architecture, model.config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        if gemma and "norm" in name:
            values = values + 1
        if not gemma and (".q_proj" in name or ".k_proj" in name):
            heads = model.config.num_attention_heads if ".q_" in name else model.config.num_key_value_heads
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        kind = gguf.GGMLQuantizationType[quant if values.ndim == 2 else "F32"]
        blocks = gguf.quants.quantize(np.ascontiguousarray(values), kind)
        writer.add_tensor(f"{names.get_name(name.removesuffix('.weight'))}.weight", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_settings(writer: Any, model: PreTrainedModel) -> None:
    config = model.config
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.model_type == "gemma3_text":
        writer.add_key_length(d_head)
        writer.add_value_length(d_head)
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base(1_000_000.0)
    else:
        writer.add_rope_dimension_count(d_head)
        writer.add_rope_freq_base(50_000.0)
        writer.add_vocab_size(config.vocab_size)


def _write_byte_tokens(writer: Any, vocab_size: int, pre: str) -> None:
    """A byte-level vocabulary: three special tokens, the 256 bytes, a few merges, unused tokens."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["Ġ Ġ", "t h", "th e", "Ġ the"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, *(m.replace(" ", "") for m in merges)]
    _write_tokens(writer, "gpt2", tokens, vocab_size)
    writer.add_tokenizer_pre(pre)
    writer.add_token_merges(merges)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)


def _write_gemma_tokens(writer: Any, vocab_size: int, pre: str) -> None:
    """A sentencepiece vocabulary: special tokens, the 256 byte tokens, a few pieces, unused tokens."""
    pieces = ["▁", "t", "h", "e", "th", "the", "▁the", "1", "2", "a", "p"]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    _write_tokens(writer, "llama", tokens, vocab_size)
    writer.add_tokenizer_pre("default" if pre == "smollm" else pre)
    writer.add_token_scores([-float(index) for index in range(vocab_size)])
    writer.add_unk_token_id(3)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)


def _write_tokens(writer: Any, model: str, tokens: list[str], vocab_size: int) -> None:
    special = 3 if model == "gpt2" else 4
    padded = tokens + [f"unused{index}" for index in range(vocab_size - len(tokens))]
    writer.add_tokenizer_model(model)
    writer.add_token_list(padded)
    writer.add_token_types([3 if index < special else 1 for index in range(vocab_size)])
    writer.add_bos_token_id(1 if model == "gpt2" else 2)
    writer.add_eos_token_id(2 if model == "gpt2" else 1)
    writer.add_pad_token_id(2 if model == "gpt2" else 0)


def write_wheel(directory: Path, package: str, version: str, files: Mapping[str, bytes]) -> Path:
    """A pure wheel that pip accepts, holding `files` (path in the wheel -> bytes)."""
    stem = f"{package.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{stem}-py3-none-any.whl"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*content, f"{info}/RECORD")))
    return wheel


def pack_gguf(gguf: Path, wheels: Path, *, model_id: str = "tiny_packed", parts: int = 2) -> ModelSpec:
    """Cut a GGUF file into `parts` wheels under `wheels`; the spec of a model that comes from them."""
    data = gguf.read_bytes()
    step = -(-len(data) // parts)
    members = []
    for number in range(parts):
        piece = data[number * step : (number + 1) * step]
        package = f"tiny-gguf-part{number}"
        path = f"tiny_gguf_part{number}/data/tiny.gguf.part{number}"
        write_wheel(wheels, package, "1.0.0", {path: piece})
        digest = hashlib.sha256(piece).hexdigest()
        members.append(WheelMember(package=package, version="1.0.0", path=path, sha256=digest))
    whole = hashlib.sha256(data).hexdigest()
    source = PackagedGguf(members=tuple(members), filename="tiny.gguf", sha256=whole)
    return ModelSpec(id=model_id, title=model_id, source=source, license="none", fetch="auto")
