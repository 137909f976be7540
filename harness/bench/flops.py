"""The floating-point work that a sweep cannot avoid, in closed form from the token trie and the edits.

Counted once: every product at every distinct token prefix, in every layer above the edit. Not counted: norms,
rotations, softmax, the metrics, and anything computed twice. Pure Python, so that a report needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench.workload import SimpleEdit


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """The sizes that decide what a forward pass costs. `d_query` and `d_kv` are summed over heads."""

    n_layers: int
    n_heads: int
    d_model: int
    d_mlp: int
    d_query: int
    d_kv: int
    vocab: int

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> ModelSize:
        """The sizes in a checkpoint's config.json of a Llama-like model."""
        heads = int(config["num_attention_heads"])
        d_head = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
        return cls(
            n_layers=int(config["num_hidden_layers"]),
            n_heads=heads,
            d_model=int(config["hidden_size"]),
            d_mlp=int(config["intermediate_size"]),
            d_query=heads * d_head,
            d_kv=int(config.get("num_key_value_heads") or heads) * d_head,
            vocab=int(config["vocab_size"]),
        )

    @property
    def attention_params(self) -> int:
        """Weights of the q, k, v and o projections of one block."""
        return 2 * self.d_model * (self.d_query + self.d_kv)

    @property
    def mlp_params(self) -> int:
        """Weights of the gate, up and down projections of one block."""
        return 3 * self.d_model * self.d_mlp


@dataclass(frozen=True, kw_only=True)
class Trie:
    """The distinct token prefixes of some prompts. `keys` sums, over rows, how many rows each attends to."""

    nodes: int
    last: int
    keys: int
    last_keys: int

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]]) -> Trie:
        """The trie of these token sequences."""
        prefixes = {tuple(ids[: i + 1]) for ids in prompts for i in range(len(ids))}
        whole = {tuple(ids) for ids in prompts}
        return cls(
            nodes=len(prefixes),
            last=len(whole),
            keys=sum(map(len, prefixes)),
            last_keys=sum(map(len, whole)),
        )


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Floating-point operations (a multiply-add is two): layer products, attention scores, unembedding."""

    products: int
    scores: int
    unembedding: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.products + self.scores + self.unembedding


def sweep_flops(size: ModelSize, prompts: Sequence[Sequence[int]], edits: Sequence[SimpleEdit]) -> Flops:
    """The work of the baseline and of every edit on every prompt that is not redundant.

    A skip and a zeroed MLP write cost the layers above; a zeroed head costs its own block's MLP as well. In the
    last block only keys and values are needed at every node, everything else at last tokens.
    """
    trie = Trie.of(prompts)
    products, scores = layers_from(size, trie, 0)
    for edit in edits:
        above, seen = layers_from(size, trie, edit.layer + 1)
        products, scores = products + above, scores + seen
        if edit.kind == "head":
            rows = trie.last if edit.layer == size.n_layers - 1 else trie.nodes
            products += 2 * rows * size.mlp_params
    unembedding = 2 * size.d_model * size.vocab * trie.last * (len(edits) + 1)
    return Flops(products=products, scores=scores, unembedding=unembedding)


def layers_from(size: ModelSize, trie: Trie, layer: int) -> tuple[int, int]:
    """(products, attention scores) of the blocks from this one to the last, once over the trie."""
    if layer >= size.n_layers:
        return 0, 0
    below_last = size.n_layers - 1 - layer
    products = below_last * 2 * trie.nodes * (size.attention_params + size.mlp_params)
    products += 2 * trie.nodes * 2 * size.d_model * size.d_kv
    products += 2 * trie.last * (2 * size.d_model * size.d_query + size.mlp_params)
    scores = 4 * size.d_query * (below_last * trie.keys + trie.last_keys)
    return products, scores


def hook_flops(size: ModelSize, prompts: Sequence[Sequence[int]], n_edits: int) -> int:
    """Products of the obvious way, for comparison: every edit is a whole forward pass over every prompt's tokens.

    Only last tokens are unembedded; padding is not counted.
    """
    tokens = sum(map(len, prompts))
    layers = 2 * tokens * size.n_layers * (size.attention_params + size.mlp_params)
    scores = sum(4 * size.d_query * size.n_layers * n * (n + 1) // 2 for n in map(len, prompts))
    return n_edits * (layers + scores + 2 * size.d_model * size.vocab * len(prompts))
