"""A model without a hub: every block has a twin that writes exactly the same.

The algebra is that of `harness.planted.writers`. The blocks are paired at random, both blocks of a pair
have the same weights, and pair k (k = 0 strongest) has strength

    top_strength x decay**k                                      (0.6 x 0.7**k)

With base logits U (w + 2 sum_k f_k), skipping either block of pair k leaves U (w + 2 sum_j f_j - f_k). So,
for every prompt,

    effect(block) = effect(its twin)          and          effects of different pairs differ,

that is: the profile has spread and is not degenerate, yet the top is always a tie and no block is the hub.

What holds exactly: in real arithmetic with the norms taken as the identity, twins are equal; the norms'
coupling is below 3e-8 in relative terms and rounds to nothing in float32, so twins write bit-identical
vectors. What differs is the order in which the stream is summed (the twin that ran is added earlier or
later), at the level of float32 rounding: differences of KL of about 1e-6 nats, against pair effects of 0.01
to 1 nats. Twins that are neighbours agree to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import Plan, Writer, random_embeddings, random_writer

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

_EMBEDDINGS, _PAIRING, _WRITERS = range(3)


def twin_pairs(*, n_layers: int, seed: int) -> tuple[tuple[int, int], ...]:
    """The pairs of twin blocks, strongest pair first, each pair in order of depth.

    Raises:
        ValueError: `n_layers` is odd, or below 4 (a single pair would be a flat profile).
    """
    if n_layers < 4 or n_layers % 2:
        raise ValueError(
            f"n_layers is {n_layers}, expected an even number of at least 4: blocks come in twins"
        )
    order = np.random.default_rng([seed, _PAIRING]).permutation(n_layers).tolist()
    return tuple((min(pair), max(pair)) for pair in zip(order[::2], order[1::2], strict=True))


def null_plan(
    *, vocab_size: int, n_layers: int = 8, seed: int = 0, top_strength: float = 0.6, decay: float = 0.7
) -> Plan:
    """The plan of a model of twins; strengths as in the module docstring.

    Raises:
        ValueError: see `twin_pairs`; or `top_strength` or `decay` is outside its range.
    """
    pairs = twin_pairs(n_layers=n_layers, seed=seed)
    if not top_strength > 0.0 or not 0.0 < decay < 1.0:
        raise ValueError(
            f"top_strength is {top_strength} and decay {decay}: expected above 0, and between 0 and 1"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    by_layer: dict[int, Writer] = {}
    for rank, pair in enumerate(pairs):
        rng = np.random.default_rng([seed, _WRITERS, rank])
        writer = random_writer(top_strength * decay**rank, embed_read=embed_read, rng=rng)
        by_layer |= dict.fromkeys(pair, writer)
    writers = tuple(by_layer[layer] for layer in range(n_layers))
    return Plan(embed_read=embed_read, embed_write=embed_write, unembed=unembed, writers=writers)


def build_null(
    directory: str | Path,
    *,
    n_layers: int = 8,
    seed: int = 0,
    top_strength: float = 0.6,
    decay: float = 0.7,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model in which no block is the hub; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json lists the pairs as `twins`, strongest first.

    Raises:
        ValueError: see `null_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "n_layers": n_layers,
        "seed": seed,
        "top_strength": top_strength,
        "decay": decay,
    }
    plan = null_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "null",
        "truth": "no block is the hub: every block has a twin whose skip has the same effect on every prompt",
        "hub_layer": None,
        "twins": [list(pair) for pair in twin_pairs(n_layers=n_layers, seed=seed)],
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=plan_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
