"""A model nothing was planted in: random weights, every block drawn from the same distribution.

All entries are independent normal draws, biases and embeddings included. The output matrices of each block
(`o_proj`, `down_proj`) are then rescaled to one Frobenius norm, the same at every depth, so that no block
is favoured by the luck of its scale. What is *not* true by construction: that the skip effects are equal,
or that the largest is tied. One draw may well have a largest block, and then a claim that it is the hub is
right. It is a null over draws: no depth is favoured by a rule. That holds for small `block_scale` only
(measured over 12 draws of 8 layers: the mean effects are level at 0.05 and 0.1, 0.02 to 0.03 nats at 0.1).
At 0.4 and more the early blocks win, because their writes are a larger share of the stream and have more
readers: at 1.0, L0 or L1 was the largest in each of three draws: a true hub that nobody planted. For a tie
use `harness.planted.null`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from harness.planted.checkpoint import save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import D_HEAD, D_MLP, D_MODEL, LOGIT_SCALE, N_HEADS, N_KV_HEADS

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer


def random_tensors(*, vocab_size: int, n_layers: int, seed: int, block_scale: float) -> dict[str, np.ndarray]:
    """The state dict; `block_scale` is roughly the norm of a sublayer's write relative to the embedding's."""
    rng = np.random.default_rng(seed)
    tensors = {
        "model.embed_tokens.weight": rng.standard_normal((vocab_size, D_MODEL)),
        "model.norm.weight": np.ones(D_MODEL),
        "lm_head.weight": rng.standard_normal((vocab_size, D_MODEL)) * (LOGIT_SCALE / np.sqrt(D_MODEL)),
    }
    for layer in range(n_layers):
        block = _random_block(rng, block_scale)
        tensors |= {f"model.layers.{layer}.{name}": array for name, array in block.items()}
    return tensors


def _random_block(rng: Generator, block_scale: float) -> dict[str, np.ndarray]:
    d_q, d_kv = N_HEADS * D_HEAD, N_KV_HEADS * D_HEAD
    block = {"input_layernorm.weight": np.ones(D_MODEL), "post_attention_layernorm.weight": np.ones(D_MODEL)}
    for name, rows in {"q": d_q, "k": d_kv, "v": d_kv}.items():
        block[f"self_attn.{name}_proj.weight"] = rng.standard_normal((rows, D_MODEL)) / np.sqrt(D_MODEL)
        block[f"self_attn.{name}_proj.bias"] = 0.5 * rng.standard_normal(rows)
    for name in ("gate", "up"):
        block[f"mlp.{name}_proj.weight"] = rng.standard_normal((D_MLP, D_MODEL)) / np.sqrt(D_MODEL)
    for name, columns in {"self_attn.o_proj": d_q, "mlp.down_proj": D_MLP}.items():
        matrix = rng.standard_normal((D_MODEL, columns))
        block[f"{name}.weight"] = matrix * (block_scale * np.sqrt(D_MODEL) / np.linalg.norm(matrix))
    return block


def build_random(
    directory: str | Path,
    *,
    n_layers: int = 8,
    seed: int = 0,
    block_scale: float = 0.1,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model of random weights, in the other planted models' size; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.

    Raises:
        ValueError: `n_layers` or `block_scale` is not above 0.
        FileExistsError: the directory is not empty.
    """
    if n_layers < 1 or not block_scale > 0.0:
        raise ValueError(f"n_layers is {n_layers} and block_scale {block_scale}: expected both above 0")
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    tensors = random_tensors(vocab_size=len(tokenizer), n_layers=n_layers, seed=seed, block_scale=block_scale)
    truth = {
        "kind": "random",
        "truth": "nothing is planted: every block is drawn from the same distribution",
        "hub_layer": None,
        "parameters": {"n_layers": n_layers, "seed": seed, "block_scale": block_scale},
    }
    return save_checkpoint(directory, tensors=tensors, tokenizer=tokenizer, n_layers=n_layers, truth=truth)
