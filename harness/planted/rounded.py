"""A model whose hub is there in float32 and gone in bfloat16: precision moves it.

The algebra is that of `harness.planted.writers`. Block `layer` writes with its MLP alone, and all gates of that MLP are
one number, the difference of two constants that the stream has at every token: 1 in a spare dimension, and CONST,

    gate = G (1 + 2**-9) x 1  -  (G / CONSTANT) x CONSTANT  =  G 2**-9  =  OPENING         in float32
    gate = G             x 1  -  (G / CONSTANT) x CONSTANT  =  0,  and silu(0) = 0         in bfloat16

as bfloat16 keeps 8 bits and rounds 1 + 2**-9 to 1; every other number in these lines is a power of two. So block
`layer` writes most of what the unembedding reads in float32, and nothing in bfloat16; block `rival` writes half as much
in both, and leads where the hub is gone. All other blocks write a little.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import (
    CONST,
    CONSTANT,
    D_MLP,
    D_READ,
    D_WRITE,
    Plan,
    Writer,
    random_embeddings,
    random_writer,
    silu,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

SPARE = D_READ + D_WRITE
"""Holds 1 at every token."""
OPENING = 16.0
_G, _LOST = OPENING * 2.0**9, 1.0 + 2.0**-9

_EMBEDDINGS, _STRENGTHS, _WRITERS = range(3)


@dataclass(frozen=True, kw_only=True)
class Opened(Writer):
    """A writer without attention, whose gates are all `opening`."""

    opening: float

    def mlp(self, read: Float[np.ndarray, "pos read"]) -> Float[np.ndarray, "pos write"]:
        """What the MLP adds to WRITE, position by position."""
        written: np.ndarray = silu(np.array(self.opening)) * (read @ self.up.T) @ self.down.T
        return written


def rounded_plan(
    *,
    vocab_size: int,
    layer: int,
    rival: int,
    n_layers: int = 6,
    seed: int = 0,
    background: float = 0.1,
    rounded: bool = False,
) -> Plan:
    """The plan in float32 or, `rounded`, in bfloat16, where but for rounding the hub's writes are missing.

    Raises ValueError where the two are not different blocks of the model, or others may be as strong as the rival.
    """
    if layer == rival or not (0 <= layer < n_layers and 0 <= rival < n_layers):
        raise ValueError(
            f"hub {layer} and rival {rival}: expected two blocks of a model of {n_layers} layers"
        )
    if not 0.0 < background <= 0.2:
        raise ValueError(f"background is {background}: expected 0 to 0.2, else other blocks rival the rival")
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)
    strengths[[layer, rival]] = 1.0, 0.5
    writers = [
        random_writer(float(s), embed_read=embed_read, rng=np.random.default_rng([seed, _WRITERS, i]))
        for i, s in enumerate(strengths)
    ]
    writers[layer] = _opened(writers[layer], embed_read, 0.0 if rounded else OPENING)
    return Plan(embed_read=embed_read, embed_write=embed_write, unembed=unembed, writers=tuple(writers))


def _opened(writer: Writer, embed_read: Float[np.ndarray, "vocab read"], opening: float) -> Opened:
    """Of root mean square norm 1 over the vocabulary while it is open."""
    values = {field.name: getattr(writer, field.name) for field in fields(Writer)}
    values |= {"output": np.zeros_like(writer.output), "gate": np.zeros_like(writer.gate)}
    drawn = Opened(**values, opening=OPENING)
    size = np.sqrt((drawn.mlp(embed_read) ** 2).sum(axis=-1).mean())
    down = (drawn.down / size).astype(np.float32).astype(np.float64)
    return replace(drawn, down=down, opening=opening)


def build_rounded(
    directory: str | Path,
    *,
    layer: int,
    rival: int,
    n_layers: int = 6,
    seed: int = 0,
    background: float = 0.1,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model whose hub is `layer` in float32 and `rival` in bfloat16; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.

    Raises:
        ValueError: see `rounded_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "layer": layer,
        "rival": rival,
        "n_layers": n_layers,
        "seed": seed,
        "background": background,
    }
    tensors = plan_tensors(rounded_plan(vocab_size=len(tokenizer), **parameters))
    tensors["model.embed_tokens.weight"][:, SPARE] = 1.0
    gate = tensors[f"model.layers.{layer}.mlp.gate_proj.weight"]
    gate[:, SPARE], gate[:, CONST] = np.full((2, D_MLP), [[_G * _LOST], [-_G / CONSTANT]])
    truth = {
        "kind": "rounded",
        "truth": f"L{layer} is the hub in float32, and L{rival} in bfloat16, in which L{layer} writes nothing",
        "hub_layer": layer,
        "hub_in_bfloat16": rival,
        "parameters": parameters,
    }
    return save_checkpoint(directory, tensors=tensors, tokenizer=tokenizer, n_layers=n_layers, truth=truth)
