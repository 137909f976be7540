"""From a plan to a checkpoint: the tensors of a Qwen2ForCausalLM, saved with the truth beside them.

`save_as_llama` turns any of these checkpoints into the same model in the Llama architecture, which has no biases.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.planted.tokenizer import END_OF_TEXT
from harness.planted.writers import (
    CONST,
    CONSTANT,
    D_HEAD,
    D_MLP,
    D_MODEL,
    D_READ,
    D_VALUE,
    N_HEADS,
    N_KV_HEADS,
    NORM_WEIGHT,
    READ,
    ROPE_THETA,
    SINK,
    WRITE,
    Plan,
    Writer,
)

if TYPE_CHECKING:
    from transformers import LlamaConfig, PretrainedConfig, Qwen2Config, Qwen2Tokenizer

TRUTH_FILE = "planted.json"
"""Written last: a directory without it is not a finished planted model."""


def qwen2_config(*, vocab_size: int, n_layers: int) -> Qwen2Config:
    """The shape of every planted model: 64 dimensions, 4 heads on 2 key-value heads, untied embeddings."""
    from transformers import Qwen2Config

    shape = _shape(vocab_size=vocab_size, n_layers=n_layers)
    return Qwen2Config(architectures=["Qwen2ForCausalLM"], **shape)


def llama_config(*, vocab_size: int, n_layers: int) -> LlamaConfig:
    """The same shape in the Llama architecture, without biases."""
    from transformers import LlamaConfig

    shape = _shape(vocab_size=vocab_size, n_layers=n_layers)
    return LlamaConfig(architectures=["LlamaForCausalLM"], attention_bias=False, mlp_bias=False, **shape)


def _shape(*, vocab_size: int, n_layers: int) -> dict[str, Any]:
    return {
        "dtype": "float32",
        "vocab_size": vocab_size,
        "hidden_size": D_MODEL,
        "intermediate_size": D_MLP,
        "num_hidden_layers": n_layers,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }


def plan_tensors(plan: Plan) -> dict[str, np.ndarray]:
    """Lay a plan out as the state dict of a Qwen2ForCausalLM: arrays named as transformers names them."""
    vocab_size = len(plan.embed_read)
    embed = np.zeros((vocab_size, D_MODEL))
    embed[:, READ] = plan.embed_read
    embed[:, WRITE] = plan.embed_write
    embed[:, CONST] = CONSTANT
    unembed = np.zeros((vocab_size, D_MODEL))
    unembed[:, WRITE] = plan.unembed
    norm = np.full(D_MODEL, NORM_WEIGHT)
    tensors = {"model.embed_tokens.weight": embed, "model.norm.weight": norm, "lm_head.weight": unembed}
    for layer, writer in enumerate(plan.writers):
        block = {"input_layernorm.weight": norm, "post_attention_layernorm.weight": norm}
        block |= _attention_tensors(writer) | _mlp_tensors(writer)
        tensors |= {f"model.layers.{layer}.{name}": array for name, array in block.items()}
    return tensors


def _attention_tensors(writer: Writer) -> dict[str, np.ndarray]:
    value = np.zeros((N_KV_HEADS, D_HEAD, D_MODEL))
    value[:, :D_VALUE, READ] = writer.value
    value_bias = np.zeros((N_KV_HEADS, D_HEAD))
    value_bias[:, D_VALUE] = writer.value_bias
    output = np.zeros((D_MODEL, N_HEADS, D_HEAD))
    output[WRITE, :, :D_VALUE] = writer.output.transpose(1, 0, 2)
    output[SINK, :, D_VALUE] = 1.0
    return {
        "self_attn.q_proj.weight": np.zeros((N_HEADS * D_HEAD, D_MODEL)),
        "self_attn.k_proj.weight": np.zeros((N_KV_HEADS * D_HEAD, D_MODEL)),
        "self_attn.v_proj.weight": value.reshape(-1, D_MODEL),
        "self_attn.o_proj.weight": output.reshape(D_MODEL, -1),
        "self_attn.q_proj.bias": writer.query_bias.reshape(-1),
        "self_attn.k_proj.bias": writer.key_bias.reshape(-1),
        "self_attn.v_proj.bias": value_bias.reshape(-1),
    }


def _mlp_tensors(writer: Writer) -> dict[str, np.ndarray]:
    rest = np.zeros((D_MLP, D_MODEL - D_READ))
    down = np.zeros((D_MODEL, D_MLP))
    down[WRITE] = writer.down
    return {
        "mlp.gate_proj.weight": np.hstack([writer.gate, rest]),
        "mlp.up_proj.weight": np.hstack([writer.up, rest]),
        "mlp.down_proj.weight": down,
    }


def fold_biases(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors without biases: every bias becomes a column of its weight that reads CONST.

    Where the norms hand CONST on as CONSTANT, a column bias / CONSTANT adds the bias, to the bit as CONSTANT is
    a power of two; where a norm shrinks the stream, it shrinks the bias along with it.

    Raises:
        ValueError: the embedding does not hold CONSTANT at every token, so that there is nothing to read.
    """
    constant = tensors["model.embed_tokens.weight"][:, CONST]
    if not np.all(constant == CONSTANT):
        raise ValueError(
            f"dimension {CONST} of the embedding is {constant.min()} to {constant.max()}, expected {CONSTANT} at "
            "every token: without a constant in the stream no weight can stand for a bias"
        )
    folded = {name: array for name, array in tensors.items() if not name.endswith(".bias")}
    for name in tensors.keys() - folded.keys():
        weight = name.removesuffix("bias") + "weight"
        folded[weight] = folded[weight].copy()
        folded[weight][:, CONST] += tensors[name] / CONSTANT
    return folded


def save_checkpoint(
    directory: str | Path,
    *,
    tensors: Mapping[str, np.ndarray],
    tokenizer: Qwen2Tokenizer,
    n_layers: int,
    truth: Mapping[str, Any],
) -> Path:
    """Write config.json, model.safetensors, the tokenizer and planted.json (`truth`); return the directory.

    Equal input gives equal bytes in every file. Tensors are stored in float32.

    Raises:
        FileExistsError: the directory exists and is not empty.
    """
    target = new_directory(directory)
    _save_model(target, qwen2_config(vocab_size=len(tokenizer), n_layers=n_layers), tensors)
    tokenizer.save_pretrained(target)
    known = {"n_layers": n_layers, "vocab_size": len(tokenizer), "end_of_text": END_OF_TEXT}
    return write_truth(target, {**truth, **known, "architecture": "qwen2"})


def save_as_llama(source: str | Path, directory: str | Path) -> Path:
    """Write the planted Qwen2 checkpoint in `source` as a Llama checkpoint into `directory`; return the directory.

    Biases become columns that read CONST (`fold_biases`), so the two are one function, up to float32 rounding. A
    model of kind "random" has no CONST; it loses its biases, in which nothing is planted, and is another one.

    Raises:
        FileNotFoundError: `source` is not a planted model.
        FileExistsError: the directory exists and is not empty.
    """
    from safetensors.numpy import load_file

    source = Path(source)
    truth = read_truth(source)
    tensors = load_file(source / "model.safetensors")
    if truth["kind"] == "random":
        tensors = {name: array for name, array in tensors.items() if not name.endswith(".bias")}
    else:
        tensors = fold_biases(tensors)
    target = new_directory(directory)
    _save_model(target, llama_config(vocab_size=truth["vocab_size"], n_layers=truth["n_layers"]), tensors)
    for path in source.glob("tokenizer*"):
        shutil.copyfile(path, target / path.name)
    return write_truth(target, {**truth, "architecture": "llama"})


def new_directory(directory: str | Path) -> Path:
    """The directory, made if it is not there. Raises FileExistsError where it is not empty."""
    target = Path(directory)
    if target.exists() and any(target.iterdir()):
        raise FileExistsError(
            f"{target} is not empty: name a new directory for the planted model, or empty this one"
        )
    target.mkdir(parents=True, exist_ok=True)
    return target


def _save_model(directory: Path, config: PretrainedConfig, tensors: Mapping[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    config.save_pretrained(directory)
    stored = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in tensors.items()}
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})


def write_truth(directory: Path, truth: Mapping[str, Any]) -> Path:
    """Write planted.json, which makes the directory a finished planted model; return the directory."""
    (directory / TRUTH_FILE).write_text(json.dumps(truth, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return directory


def read_truth(directory: str | Path) -> dict[str, Any]:
    """The content of planted.json: `kind`, `truth` (a sentence), `architecture`, `hub_layer`, `parameters`, sizes.

    `hub_layer` is None wherever the hub is not what was planted; each kind adds what was (`copy_head`, ...).

    Raises:
        FileNotFoundError: the directory is not a planted model, or its build was interrupted.
    """
    path = Path(directory) / TRUTH_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: not a planted model, or an interrupted build; build it again"
        )
    truth: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return truth
