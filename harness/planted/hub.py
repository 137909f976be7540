"""A model with a hub: one block writes most of what the unembedding reads, every other block a little.

The algebra is that of `harness.planted.writers`: blocks read the token embeddings and nothing else, add to
a subspace only the unembedding reads, and the norms are the identity. The blocks' strengths are

    strength[layer]  = hub_strength                                  (1.0)
    strength[others] = background x a draw from [0.5, 1.5]           (0.15 x ...)

so at the last position, with w the embedding's own write and f_l what block l writes,

    base:        logits = U (w + f_hub + sum of the others)
    skip hub:    logits = U (w         + sum of the others)     the bigram part and small terms are left
    skip l:      logits = base - U f_l                          a small term is missing

U has independent entries of standard deviation 2.5, so a missing write f moves the logits of the vocabulary
by about 2.5 |f| (standard deviation) and, while that is small, KL(base || skipped) is about (2.5 |f|)**2 /
2 nats; beyond that the closed form has to be evaluated (`Plan.kl_nats`). |f_l| depends on the prompt: the
MLP's part on the last token, whose embedding's norm varies, attention's part on the tokens before it. Hence
the hub's effect is of the order of a nat and varies by prompt; each other block's is small, not zero, and
varies too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import Plan, random_embeddings, random_writer

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

_EMBEDDINGS, _STRENGTHS, _WRITERS = range(3)
"""Each draws from its own stream: models that differ only in the hub's layer share everything else."""


def hub_plan(
    *,
    vocab_size: int,
    layer: int,
    n_layers: int = 8,
    seed: int = 0,
    hub_strength: float = 1.0,
    background: float = 0.15,
) -> Plan:
    """The plan of a model whose hub is block `layer`; strengths as in the module docstring.

    Raises:
        ValueError: `layer` is not a block of the model, or the hub would be
            less than twice as strong as the strongest possible other block (1.5 x `background`).
    """
    if not 0 <= layer < n_layers:
        raise ValueError(
            f"hub layer is {layer}, expected 0 to {n_layers - 1} in a model of {n_layers} layers"
        )
    if not 0.0 < 3.0 * background <= hub_strength:
        raise ValueError(
            f"hub_strength is {hub_strength} and background {background}: expected 0 < 3 x background <= "
            "hub_strength, else the planted block need not be the hub"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)
    strengths[layer] = hub_strength
    writers = tuple(
        random_writer(
            float(strength), embed_read=embed_read, rng=np.random.default_rng([seed, _WRITERS, index])
        )
        for index, strength in enumerate(strengths)
    )
    return Plan(embed_read=embed_read, embed_write=embed_write, unembed=unembed, writers=writers)


def build_hub(
    directory: str | Path,
    *,
    layer: int,
    n_layers: int = 8,
    seed: int = 0,
    hub_strength: float = 1.0,
    background: float = 0.15,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model whose hub is block `layer`; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.

    Raises:
        ValueError: see `hub_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "layer": layer,
        "n_layers": n_layers,
        "seed": seed,
        "hub_strength": hub_strength,
        "background": background,
    }
    plan = hub_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "hub",
        "truth": f"L{layer} is the hub: skipping it changes the next token more than any other skip does",
        "hub_layer": layer,
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=plan_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
