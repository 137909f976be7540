"""A late-read model: block `layer` writes the prediction, and the blocks after it change nothing.

The algebra is that of `harness.planted.writers`. Blocks before `layer` write a small background, block
`layer` writes with `read_strength`, and every later block writes too, attention and MLP, but
to BLIND, which the unembedding does not read. Since blocks add up and do not read each other,
reading out after block l is the model without the blocks above l:

    exit l >= layer:   U (w + all that the unembedding reads)     the full model's logits
    exit l <  layer:   U (w + background up to l)                 the prediction is not there yet
    KL(base || exit l) = `Plan.kl_nats(skip=range(l + 1, n_layers))`

**The final norm is not the identity here.** Its weight is GAIN times that of the other norms and the
unembedding is 1 / GAIN as large, so the model is unchanged, to the bit as GAIN is a power of two. An exit
that forgets the final norm reads logits 1 / GAIN = 8 times too large: the top token is right from `layer`
on, while KL stays far from 0 even after the last block. That closed form is `unnormed_exit_kl_nats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import (
    Plan,
    Writer,
    blind_attention,
    blind_mlp,
    close_blind,
    kl_of_logits,
    random_embeddings,
    random_writer,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

GAIN = 0.125
"""Weight of the final norm, relative to the norms that are the identity."""

_EMBEDDINGS, _STRENGTHS, _WRITERS = range(3)


def late_read_plan(
    *,
    vocab_size: int,
    layer: int,
    n_layers: int = 6,
    seed: int = 0,
    read_strength: float = 2.0,
    background: float = 0.1,
) -> Plan:
    """The plan of a model whose prediction is complete after block `layer`, and not before.

    Raises:
        ValueError: `layer` is not a block of the model or is its first, before which no exit could fail; or
            `read_strength` is less than ten times `background`.
    """
    if not 1 <= layer < n_layers:
        raise ValueError(
            f"late-read layer is {layer}, expected 1 to {n_layers - 1} in a model of {n_layers} layers"
        )
    if not 0.0 < 10.0 * background <= read_strength:
        raise ValueError(
            f"read_strength is {read_strength} and background {background}: expected 0 < 10 x background <= "
            "read_strength, else earlier blocks may write the prediction too"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)
    strengths[layer] = read_strength

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        drawn = random_writer(float(strengths[index]), embed_read=embed_read, rng=rng)
        return drawn if index <= layer else blind_mlp(blind_attention(drawn))

    return Plan(
        embed_read=embed_read,
        embed_write=embed_write,
        unembed=close_blind(unembed),
        writers=tuple(writer(index) for index in range(n_layers)),
    )


def unnormed_exit_kl_nats(plan: Plan, token_ids: Sequence[int], *, layer: int) -> float:
    """Closed form of KL(base || exit after block `layer` without the final norm), in nats."""
    later = range(layer + 1, len(plan.writers))
    return kl_of_logits(plan.logits(token_ids), plan.logits(token_ids, skip=later) / GAIN)


def build_late_read(
    directory: str | Path,
    *,
    layer: int,
    n_layers: int = 6,
    seed: int = 0,
    read_strength: float = 2.0,
    background: float = 0.1,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model that can be read out from block `layer` on; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json names the block as `readable_from`.

    Raises:
        ValueError: see `late_read_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "layer": layer,
        "n_layers": n_layers,
        "seed": seed,
        "read_strength": read_strength,
        "background": background,
    }
    plan = late_read_plan(vocab_size=len(tokenizer), **parameters)
    tensors = plan_tensors(plan)
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * GAIN
    tensors["lm_head.weight"] = tensors["lm_head.weight"] / GAIN
    truth = {
        "kind": "late_read",
        "truth": f"early exit with the final norm equals the full model from L{layer} on, and fails before",
        "hub_layer": None,
        "readable_from": layer,
        "parameters": parameters,
    }
    return save_checkpoint(directory, tensors=tensors, tokenizer=tokenizer, n_layers=n_layers, truth=truth)
