"""A head that looks at marked tokens: it carries what stands at a mark to the last position.

The mark is CODE in a dimension of READ. Query and key share the slowest rotary frequency, so that the distance to the
mark hardly counts, and the score of a mark beats that of every other token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from harness.planted.writers import D_HEAD, N_HEADS, N_KV_HEADS, READ, ROPE_THETA, Writer, softmax

CODE = 0.5
"""Absolute value of a mark in READ, and of what is coded beside it."""

MARK_SCORE = 144.0
"""Product of query and key at a marked position; its square root is a float32."""

_SLOWEST = D_HEAD // 2 - 1


def mark_attention(marks: Float[np.ndarray, " pos"]) -> Float[np.ndarray, " pos"]:
    """Attention of the last position in a head that looks at marks of CODE, as `wire_mark_head` wires it."""
    distance = np.arange(len(marks) - 1, -1, -1)
    slowest = ROPE_THETA ** (-_SLOWEST / (D_HEAD // 2))
    score = MARK_SCORE / np.sqrt(D_HEAD) * (marks / CODE) * np.cos(distance * slowest)
    return softmax(score)


def wire_mark_head(
    tensors: dict[str, np.ndarray],
    at: tuple[int, int],
    *,
    marks: Sequence[int],
    values: Float[np.ndarray, "values read"],
    writes: Float[np.ndarray, "d_model values"],
) -> None:
    """Let head `at`, (layer, head), look at tokens with CODE in one of the dimensions `marks` of READ.

    It adds `writes` times the mean of `values` of those tokens to the stream; see `mark_attention`.
    """
    block, head = at
    attention = f"model.layers.{block}.self_attn"
    keys = slice(_group(head) * D_HEAD, (_group(head) + 1) * D_HEAD)
    queries = slice(head * D_HEAD, (head + 1) * D_HEAD)
    tensors[f"{attention}.q_proj.bias"][queries] = 0.0
    tensors[f"{attention}.q_proj.bias"][queries.start + _SLOWEST] = np.sqrt(MARK_SCORE)
    tensors[f"{attention}.k_proj.bias"][keys] = 0.0
    tensors[f"{attention}.k_proj.weight"][keys.start + _SLOWEST, list(marks)] = np.sqrt(MARK_SCORE) / CODE
    tensors[f"{attention}.v_proj.weight"][keys] = 0.0
    tensors[f"{attention}.v_proj.weight"][keys.start : keys.start + len(values), READ] = values
    tensors[f"{attention}.o_proj.weight"][:, queries.start : queries.start + len(values)] += writes


def without_group(writer: Writer, head: int) -> Writer:
    """The writer whose heads write nothing in the group of `head`, free to be wired."""
    output = writer.output.copy()
    output[[h for h in range(N_HEADS) if _group(h) == _group(head)]] = 0.0
    return replace(writer, output=output)


def _group(head: int) -> int:
    return head * N_KV_HEADS // N_HEADS
