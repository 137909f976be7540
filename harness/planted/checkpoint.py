"""From a plan to a checkpoint: the tensors of a Qwen2ForCausalLM, saved with the truth beside them."""

from __future__ import annotations

import json
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
    from transformers import Qwen2Config, Qwen2Tokenizer

TRUTH_FILE = "planted.json"
"""Written last: a directory without it is not a finished planted model."""


def qwen2_config(*, vocab_size: int, n_layers: int) -> Qwen2Config:
    """The shape of every planted model: 64 dimensions, 4 heads on 2 key-value heads, untied embeddings."""
    from transformers import Qwen2Config

    return Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        dtype="float32",
        vocab_size=vocab_size,
        hidden_size=D_MODEL,
        intermediate_size=D_MLP,
        num_hidden_layers=n_layers,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV_HEADS,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )


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
    from safetensors.numpy import save_file

    target = Path(directory)
    if target.exists() and any(target.iterdir()):
        raise FileExistsError(
            f"{target} is not empty: name a new directory for the planted model, or empty this one"
        )
    target.mkdir(parents=True, exist_ok=True)
    qwen2_config(vocab_size=len(tokenizer), n_layers=n_layers).save_pretrained(target)
    stored = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in tensors.items()}
    save_file(stored, target / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(target)
    truth = {**truth, "n_layers": n_layers, "vocab_size": len(tokenizer), "end_of_text": END_OF_TEXT}
    (target / TRUTH_FILE).write_text(json.dumps(truth, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return target


def read_truth(directory: str | Path) -> dict[str, Any]:
    """The content of planted.json: `kind`, `truth` (a sentence), `hub_layer` (or None), `parameters`, sizes.

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
