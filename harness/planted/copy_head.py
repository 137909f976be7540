"""A model with a copy head: one head carries the token `distance` places back to the last position.

The algebra is that of `harness.planted.writers`. Three things are wired by hand.

**Where the head looks.** Of the 8 rotary frequencies f_i its query and key use the four fastest, with
q_i conj(k_i) = SHARPNESS exp(-1j distance f_i). The score at distance n is then

    SHARPNESS / 4 x sum_i cos((n - distance) f_i)

largest at n = distance, and there ahead of every other n by at least 18 (SHARPNESS = 144, up to 40 tokens):
attention to all other tokens together is below 1e-7. Before position `distance` the head looks elsewhere;
the closed form knows where.

**What it copies.** The first 15 dimensions of every token's READ embedding are a unit vector a, and the
unembedding reads 15 dimensions of WRITE with the rows 2.5 sqrt(15) a[v]. The head's value is those 15
dimensions and its output matrix `copy_strength` times the identity, so with s the token looked at

    logits(v) += copy_strength x 2.5 sqrt(15) x a[v] . a[s]

largest at v = s: the model predicts the token it copies. (Two tokens' a lie at a cosine of 0 +- 0.26.)

**What every other head does.** It attends and writes as in the hub model, but to BLIND, which the
unembedding does not read. MLPs write a small background that the unembedding does read. So

    zero z of the copy head:    logits lose the line above        (closed form: `Plan.kl_nats(zero_heads=...)`)
    zero z of any other head:   no logit changes, whatever the prompt
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import (
    D_HEAD,
    D_READ,
    D_VALUE,
    D_WRITE,
    LOGIT_SCALE,
    N_HEADS,
    N_KV_HEADS,
    ROPE_THETA,
    Plan,
    Writer,
    blind_attention,
    close_blind,
    random_embeddings,
    random_writer,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

SHARPNESS = 144.0
"""Product of query and key in each frequency the head uses; its square root is a float32."""

MAX_DISTANCE = 4
"""The suite's shortest prompt has five tokens: up to this distance the head has something to look at."""

_FREQUENCIES_USED = 4
_EMBEDDINGS, _STRENGTHS, _WRITERS = range(3)


def copy_head_plan(
    *,
    vocab_size: int,
    layer: int,
    head: int,
    n_layers: int = 4,
    seed: int = 0,
    distance: int = 1,
    copy_strength: float = 2.0,
    background: float = 0.1,
) -> Plan:
    """The plan of a model whose head `head` of block `layer` copies the token `distance` places back.

    Raises:
        ValueError: `layer`, `head` or `distance` is out of its range, or a strength is not above 0.
    """
    if not (0 <= layer < n_layers and 0 <= head < N_HEADS):
        raise ValueError(
            f"copy head is L{layer}H{head}, expected L0H0 to L{n_layers - 1}H{N_HEADS - 1} in a model of "
            f"{n_layers} layers"
        )
    if not 1 <= distance <= MAX_DISTANCE:
        raise ValueError(f"distance is {distance} tokens, expected 1 to {MAX_DISTANCE}")
    if not (copy_strength > 0.0 and background > 0.0):
        raise ValueError(
            f"copy_strength is {copy_strength} and background {background}: expected both above 0"
        )
    embed_read, embed_write, unembed = _copyable_embeddings(vocab_size, seed)
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)
    writers = [
        blind_attention(
            random_writer(
                float(strength), embed_read=embed_read, rng=np.random.default_rng([seed, _WRITERS, index])
            )
        )
        for index, strength in enumerate(strengths)
    ]
    writers[layer] = _with_copy_head(writers[layer], head=head, distance=distance, strength=copy_strength)
    return Plan(embed_read=embed_read, embed_write=embed_write, unembed=unembed, writers=tuple(writers))


def _copyable_embeddings(vocab_size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """READ, WRITE and unembedding, wired so that a token's value dimensions point at its own logit."""
    read, write, unembed = random_embeddings(vocab_size, np.random.default_rng([seed, _EMBEDDINGS]))
    copied = read[:, :D_VALUE]
    copied /= np.linalg.norm(copied, axis=1, keepdims=True)
    copied[:] = copied.astype(np.float32)
    unembed = close_blind(unembed)
    unembed[:, :D_VALUE] = (LOGIT_SCALE * np.sqrt(D_VALUE) * copied).astype(np.float32)
    return read, write, unembed


def _with_copy_head(writer: Writer, *, head: int, distance: int, strength: float) -> Writer:
    half = D_HEAD // 2
    frequency = ROPE_THETA ** (-np.arange(_FREQUENCIES_USED) / half)
    query = np.sqrt(SHARPNESS) * np.exp(-1j * distance * frequency)
    query_bias, key_bias = writer.query_bias.copy(), writer.key_bias.copy()
    value, output = writer.value.copy(), writer.output.copy()
    group = head * N_KV_HEADS // N_HEADS
    query_bias[head], key_bias[group] = 0.0, 0.0
    query_bias[head, :_FREQUENCIES_USED] = query.real.astype(np.float32)
    query_bias[head, half : half + _FREQUENCIES_USED] = query.imag.astype(np.float32)
    key_bias[group, :_FREQUENCIES_USED] = np.sqrt(SHARPNESS)
    value[group] = np.eye(D_VALUE, D_READ)
    output[head] = np.float32(strength) * np.eye(D_WRITE, D_VALUE)
    return replace(writer, query_bias=query_bias, key_bias=key_bias, value=value, output=output)


def build_copy_head(
    directory: str | Path,
    *,
    layer: int,
    head: int,
    n_layers: int = 4,
    seed: int = 0,
    distance: int = 1,
    copy_strength: float = 2.0,
    background: float = 0.1,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model whose head `head` of block `layer` is its copy head; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json names the head as `copy_head`, [layer, head].

    Raises:
        ValueError: see `copy_head_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "layer": layer,
        "head": head,
        "n_layers": n_layers,
        "seed": seed,
        "distance": distance,
        "copy_strength": copy_strength,
        "background": background,
    }
    plan = copy_head_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "copy_head",
        "truth": f"L{layer}H{head} copies the token {distance} back; zeroing any other head changes nothing",
        "hub_layer": None,
        "copy_head": [layer, head],
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=plan_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
