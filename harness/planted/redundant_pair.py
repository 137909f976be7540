"""A redundant pair: two blocks write the same thing, either is enough, without both the model is lost.

The algebra is that of `harness.planted.writers`, but for one thing: three blocks talk to each other through
CHANNEL, six dimensions that nothing else uses. Blocks a < b are the pair, the reader r > b.

    code      6 dimensions of READ hold a code c(t) of +-1/2 each, drawn for every token.
    a, b      6 neurons each: gate = 32 (from CONST), so silu(gate) = 32; up = c(t); down = 1/32.
              So each of the pair adds c(t) to CHANNEL.
    r         CHANNEL holds m c(t), where m = 0, 1 or 2 is how many of the pair ran. Neurons in twos make, with
              K = 128 and the constants from CONST,
                  sat(x) = 4 (silu(K (x + 1/4)) - silu(K (x - 1/4))) / K - 1
              and r writes `reading` sat(m c(t)), of norm `read_strength`, where the unembedding reads.

sat is 0 at 0, as silu(x) - silu(-x) = x; at +-1/2 and +-1 it is +-1 to within 1e-13: one copy is as good as
two. So at the last position, with the background of the other blocks as in the hub model,

    skip a, or skip b:     the same logits                      KL = 0 (what is left is float32 rounding)
    skip both:             logits lose U reading sign(c)        KL = `Plan.kl_nats(skip=(a, b))`, nats
    skip r:                they lose that and r's own background: a sweep of single skips finds r alone, and
                           the pair that feeds it is invisible

Whatever else a and b write goes to BLIND. The experiment that sees the pair is
layer_sets; `sets_with_pair` names its sets that hold both blocks and not the reader, and a pair that no set
holds is refused. In a model of 8 blocks these are L3-L5 (a=3 b=5, r=6 or 7), L2-L3, L0-L1, and L0+L2+L4+L6
(two of these, r odd).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from harness.experiments import layer_sets
from harness.planted.channel import (
    CHANNEL,
    D_CHANNEL,
    OPEN,
    Neurons,
    idle_neurons,
    read_constant,
    wire_neurons,
    without_neurons,
)
from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import (
    D_SEEN,
    D_WRITE,
    WRITE,
    Plan,
    Writer,
    blind_attention,
    blind_mlp,
    close_blind,
    random_embeddings,
    random_writer,
    silu,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

D_CODE = D_CHANNEL

CODE = 0.5
"""Absolute value of a token's code in each dimension."""

SATURATION = 128.0
"""K of the module docstring."""

_N_PAIR = D_CODE
_N_READER = 2 * D_CODE + 1
_EMBEDDINGS, _STRENGTHS, _WRITERS, _CODE, _READING = range(5)


@dataclass(frozen=True, kw_only=True)
class RedundantPlan(Plan):
    """A plan of commuting writers, three of whose blocks also talk through CHANNEL.

    `reading` is what the reader writes for each dimension of the code; it is exact in float32.
    """

    pair: tuple[int, int]
    reader: int
    reading: Float[np.ndarray, "write code"]

    def logits(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position, as `Plan.logits`, and raising what it raises."""
        logits = super().logits(token_ids, skip=skip, zero_heads=zero_heads)
        if self.reader in skip:
            return logits
        copies = sum(block not in skip for block in self.pair)
        code = self.embed_read[token_ids[-1], :D_CODE]
        read: np.ndarray = logits + self.unembed @ (self.reading @ saturate(copies * code))
        return read


def saturate(channel: Float[np.ndarray, " code"]) -> Float[np.ndarray, " code"]:
    """The reader's nonlinearity, sat of the module docstring."""
    half = CODE / 2
    up, down = silu(SATURATION * (channel + half)), silu(SATURATION * (channel - half))
    saturated: np.ndarray = 4.0 * (up - down) / SATURATION - 1.0
    return saturated


def sets_with_pair(pair: tuple[int, int], *, reader: int, n_layers: int) -> tuple[tuple[int, ...], ...]:
    """The sets of the layer_sets experiment that hold both blocks of the pair and not the reader."""
    return tuple(s for s in layer_sets(n_layers) if set(pair) <= set(s) and reader not in s)


def redundant_pair_plan(
    *,
    vocab_size: int,
    first: int,
    second: int,
    reader: int,
    n_layers: int = 8,
    seed: int = 0,
    read_strength: float = 1.5,
    background: float = 0.05,
) -> RedundantPlan:
    """The plan of a model whose blocks `first` and `second` feed `reader` redundantly.

    Raises:
        ValueError: the blocks are not in the order first < second < reader within the model, no set of the
            layer_sets experiment holds the pair without the reader, or a strength is not above 0.
    """
    pair = (first, second)
    if not 0 <= first < second < reader < n_layers:
        raise ValueError(
            f"pair is {pair} and reader {reader}: expected first < second < reader in a model of {n_layers} layers"
        )
    if not sets_with_pair(pair, reader=reader, n_layers=n_layers):
        raise ValueError(
            f"no set of layer_sets holds L{first} and L{second} without L{reader} in a model of {n_layers} "
            "layers: choose blocks that are skipped together"
        )
    if not (read_strength > 0.0 and background > 0.0):
        raise ValueError(
            f"read_strength is {read_strength} and background {background}: expected both above 0"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    signs = np.random.default_rng([seed, _CODE]).choice([-CODE, CODE], size=(vocab_size, D_CODE))
    embed_read[:, :D_CODE] = signs
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        drawn = random_writer(float(strengths[index]), embed_read=embed_read, rng=rng)
        if index in pair:
            return without_neurons(blind_mlp(blind_attention(drawn)), _N_PAIR)
        return without_neurons(drawn, _N_READER) if index == reader else drawn

    return RedundantPlan(
        embed_read=embed_read,
        embed_write=embed_write,
        unembed=close_blind(unembed),
        writers=tuple(writer(index) for index in range(n_layers)),
        pair=pair,
        reader=reader,
        reading=_orthogonal_reading(read_strength, seed),
    )


def _orthogonal_reading(strength: float, seed: int) -> Float[np.ndarray, "write code"]:
    """Orthogonal columns in what the unembedding reads: every code's reading has norm `strength`."""
    drawn = np.random.default_rng([seed, _READING]).standard_normal((D_SEEN, D_CODE))
    reading = np.zeros((D_WRITE, D_CODE))
    reading[:D_SEEN] = np.linalg.qr(drawn).Q * (strength / np.sqrt(D_CODE))
    return reading.astype(np.float32).astype(np.float64)


def redundant_pair_tensors(plan: RedundantPlan) -> dict[str, np.ndarray]:
    """The state dict of a redundant plan: that of its writers, with CHANNEL wired."""
    tensors = plan_tensors(plan)
    for block in plan.pair:
        wire_neurons(tensors, block, _pair_neurons())
    wire_neurons(tensors, plan.reader, _reader_neurons(plan.reading))
    return tensors


def _pair_neurons() -> Neurons:
    """What adds the code to CHANNEL."""
    neurons = idle_neurons(_N_PAIR)
    read_constant(neurons.gate, OPEN)
    neurons.up[:, :D_CODE] = np.eye(D_CODE)
    neurons.down[CHANNEL] = np.eye(D_CODE) / OPEN
    return neurons


def _reader_neurons(reading: Float[np.ndarray, "write code"]) -> Neurons:
    """What writes reading sat(CHANNEL); the last neuron subtracts the 1 of sat."""
    neurons = idle_neurons(_N_READER)
    read_constant(neurons.up, 1.0)
    rising, falling = slice(0, D_CODE), slice(D_CODE, 2 * D_CODE)
    for some, sign in ((rising, 1.0), (falling, -1.0)):
        neurons.gate[some, CHANNEL] = SATURATION * np.eye(D_CODE)
        read_constant(neurons.gate[some], sign * SATURATION * CODE / 2)
        neurons.down[WRITE, some] = sign * 4.0 * reading / SATURATION
    read_constant(neurons.gate[-1:], OPEN)
    neurons.down[WRITE, -1] = -reading.sum(axis=1) / OPEN
    return neurons


def build_redundant_pair(
    directory: str | Path,
    *,
    first: int,
    second: int,
    reader: int,
    n_layers: int = 8,
    seed: int = 0,
    read_strength: float = 1.5,
    background: float = 0.05,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model whose blocks `first` and `second` are redundant; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json names the blocks as `pair` and `reader`, and lists the sets of layer_sets that hold the pair
    without the reader as `sets`.

    Raises:
        ValueError: see `redundant_pair_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "first": first,
        "second": second,
        "reader": reader,
        "n_layers": n_layers,
        "seed": seed,
        "read_strength": read_strength,
        "background": background,
    }
    plan = redundant_pair_plan(vocab_size=len(tokenizer), **parameters)
    sets = sets_with_pair(plan.pair, reader=reader, n_layers=n_layers)
    truth = {
        "kind": "redundant_pair",
        "truth": f"L{first} and L{second} write the same to L{reader}: either can be skipped, not both",
        "hub_layer": None,
        "pair": [first, second],
        "reader": reader,
        "sets": [list(layers) for layers in sets],
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=redundant_pair_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
