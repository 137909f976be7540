"""A steerable direction: one block turns v . x into logits with a known sign and gain, nothing else reads v.

The algebra is that of `harness.planted.writers`, with these wires added. v (`direction`) and d (`decoy`) are
orthonormal in CHANNEL, turned at random so that neither lies along a dimension.

    words     pairs such as (" want", " refuse"). Three dimensions of READ hold a mark, the word's side (+ for
              the first of its pair, - for the second) and its decoy sign, each +-1/2, and 0 for every other
              token. Both words of a pair have the same decoy sign, every other pair the opposite one.
    source    the key of one head reads the mark in the slowest rotary frequency f, the query is constant:
              score = 36 mark(s) cos((t - s) f), mark counted as 1, f = 3.2e-4. Attention is on the words up to
              t, evenly to within 0.2 % in 30 tokens. The head adds to CHANNEL, with p and q the means of side and
              decoy sign (as +-1) over those words,
                  contrast p v + decoy_strength q d
              and nothing where there is no word. The other head of its group writes nothing.
    reader    one neuron of the MLP of block `read_layer`: gate = 32 (from CONST), so silu(gate) = 32; up = v;
              down = gain r / 32, with r a unit vector of what the unembedding reads. It adds gain (v . x) r.
    answers   U r is +1/2 at the tokens of `raised`, -1/2 at those of `lowered` and 0 at every other token.

So for each raised and each lowered token, alpha v added to resid_post[l] at the last position gives

    l < read_layer:     logit(raised) - logit(lowered) += gain alpha       gain < 0 steers the other way
    l >= read_layer:    no logit changes: the unembedding does not read v

while at earlier positions, or along d or any other direction of CHANNEL that is orthogonal to v, it changes
nothing. A direction of the whole stream also moves READ, which every later block reads, and WRITE, and CONST,
whose share c divides what the norms hand on by 1 + c / 2**15: `SteerablePlan.logits(steer=...)` has all three,
as long as the squares stay below SQUARES_LIMIT.

Two sets of prompts, one with the first words of the pairs and one with the second, have means that differ by
2 contrast v, as the decoys cancel; over either set, or both, the decoy varies more (decoy_strength > contrast).
From the reader on the means also differ by 2 contrast gain r: a direction that was found there moves the answers
there, through r and not through v.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

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
from harness.planted.marks import CODE, mark_attention, wire_mark_head, without_group
from harness.planted.tokenizer import one_token, suite_texts, train_tokenizer
from harness.planted.writers import (
    CONST,
    CONSTANT,
    D_MODEL,
    D_READ,
    D_WRITE,
    N_HEADS,
    READ,
    WRITE,
    Plan,
    Writer,
    kl_of_logits,
    random_embeddings,
    random_writer,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

CONTRAST_WORDS = (
    (" agreed", " refused"),
    (" granted", " denied"),
    (" want", " refuse"),
    (" knows", " guesses"),
    (" definitely", " possibly"),
    (" know", " doubt"),
    (" told", " hid"),
    (" open", " shut"),
)
"""What decides between the answers below in the suite's prompts on refusal and on uncertainty."""

RAISED = (" yes", " Yes", "yes", " known", "known", " certain", " sure")
LOWERED = (" no", " No", "no", " unknown", "unknown", " uncertain", " unsure")

_MARK, _SIDE, _DECOY = range(3)
_EMBEDDINGS, _STRENGTHS, _WRITERS, _ROTATION, _ANSWERS = range(5)

WordPairs = Sequence[tuple[int, int]]
"""Token ids: (first, second) of each pair."""


@dataclass(frozen=True, kw_only=True)
class Steering:
    """`alpha` times a direction, added to resid_post[`layer`]; along the planted one where none is given.

    `positions` index into the prompt's tokens, negative from the end, None for all.
    """

    layer: int
    alpha: float
    direction: Float[np.ndarray, " d_model"] | None = None
    positions: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class SteerablePlan(Plan):
    """A plan of commuting writers, with a source head that writes along `direction` and a block that reads it.

    `direction` and `decoy` are directions of the whole stream, zero outside CHANNEL; `reading` is r of the
    module docstring; `source` is (layer, head).
    """

    direction: Float[np.ndarray, " d_model"]
    decoy: Float[np.ndarray, " d_model"]
    reading: Float[np.ndarray, " write"]
    read_layer: int
    source: tuple[int, int]
    gain: float
    contrast: float
    decoy_strength: float

    def logits(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
        steer: Steering | None = None,
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position, as `Plan.logits`, under a steering if one is given.

        Raises:
            ValueError: see `Plan.logits`; or the steering names a block or a position that does not exist, or
                its direction is not one of the stream.
        """
        self.check(token_ids, skip=skip, zero_heads=zero_heads)
        read, write = self.embed_read[list(token_ids)], self.embed_write[token_ids[-1]].copy()
        channel, scale = np.zeros(D_CHANNEL), np.ones(len(read))
        where = None if steer is None else self._steered_positions(steer, n_pos=len(read))
        for layer, writer in enumerate(self.writers):
            normed = read * scale[:, None]
            if layer not in skip:
                zeroed = {head for at, head in zero_heads if at == layer}
                write += writer.write(normed, without=zeroed)
                if layer == self.source[0] and self.source[1] not in zeroed:
                    channel += self.carried(normed)
                if layer == self.read_layer:
                    write += self.gain * scale[-1] * (self.direction[CHANNEL] @ channel) * self.reading
            if steer is not None and where is not None and layer == steer.layer:
                step = steer.alpha * (self.direction if steer.direction is None else steer.direction)
                read = read + np.outer(where, step[READ])
                write += where[-1] * step[WRITE]
                channel += where[-1] * step[CHANNEL]
                scale = 1.0 / (1.0 + where * step[CONST] / CONSTANT)
        logits: np.ndarray = scale[-1] * (self.unembed @ write)
        return logits

    def kl_nats(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
        steer: Steering | None = None,
    ) -> float:
        """Closed form of KL(base || edited) of the next-token distribution, in nats. Raises as `logits`."""
        edited = self.logits(token_ids, skip=skip, zero_heads=zero_heads, steer=steer)
        return kl_of_logits(self.logits(token_ids), edited)

    def carried(self, read: Float[np.ndarray, "pos read"]) -> Float[np.ndarray, " channel"]:
        """What the source head adds to CHANNEL at the last position, of a prompt with these READ parts."""
        side, decoy = (mark_attention(read[:, _MARK]) @ read[:, [_SIDE, _DECOY]]) / CODE
        along = self.contrast * side * self.direction + self.decoy_strength * decoy * self.decoy
        carried: np.ndarray = along[CHANNEL]
        return carried

    def _steered_positions(self, steer: Steering, *, n_pos: int) -> Bool[np.ndarray, " pos"]:
        if not 0 <= steer.layer < len(self.writers):
            raise ValueError(
                f"no block {steer.layer} to steer at: the model has blocks 0 to {len(self.writers) - 1}"
            )
        if steer.direction is not None and np.shape(steer.direction) != (D_MODEL,):
            raise ValueError(
                f"the direction's shape is {np.shape(steer.direction)}, expected ({D_MODEL},): one number for "
                "each dimension of the stream"
            )
        positions = range(n_pos) if steer.positions is None else steer.positions
        missing = [position for position in positions if not -n_pos <= position < n_pos]
        if missing:
            raise ValueError(f"no positions {missing} to steer at in a prompt of {n_pos} tokens")
        where = np.zeros(n_pos, dtype=bool)
        where[list(positions)] = True
        return where


def steerable_plan(
    *,
    vocab_size: int,
    words: WordPairs,
    raised: Sequence[int],
    lowered: Sequence[int],
    read_layer: int = 2,
    source: tuple[int, int] = (0, 0),
    n_layers: int = 6,
    seed: int = 0,
    gain: float = 2.0,
    contrast: float = 1.0,
    decoy_strength: float = 2.0,
    background: float = 0.15,
) -> SteerablePlan:
    """The plan of a model that block `read_layer` lets be steered along a direction that head `source` writes.

    Raises:
        ValueError: the source is not a head of a block below `read_layer`; there is no even number of pairs of
            distinct words; a token to raise or to lower is named twice, or none is, or a token is outside the
            vocabulary; `gain` is 0; or a strength is not above 0, or the decoy's not above `contrast`.
    """
    source, words = (source[0], source[1]), [(first, second) for first, second in words]
    if not (0 <= source[0] < read_layer < n_layers and 0 <= source[1] < N_HEADS):
        raise ValueError(
            f"source is L{source[0]}H{source[1]} and read_layer {read_layer}: expected the source below the "
            f"block that reads in a model of {n_layers} layers of {N_HEADS} heads"
        )
    _check_tokens(words, raised, lowered, vocab_size=vocab_size)
    if not 0.0 < contrast < decoy_strength:
        raise ValueError(
            f"contrast is {contrast} and decoy_strength {decoy_strength}: expected 0 < contrast < "
            "decoy_strength, else the largest variance finds the direction"
        )
    if gain == 0.0 or not background > 0.0:
        raise ValueError(
            f"gain is {gain} and background {background}: expected a gain of either sign and a background "
            "above 0"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    embed_read[:, [_MARK, _SIDE, _DECOY]] = 0.0
    for index, (first, second) in enumerate(words):
        decoy_sign = CODE if index % 2 == 0 else -CODE
        embed_read[first, [_MARK, _SIDE, _DECOY]] = CODE, CODE, decoy_sign
        embed_read[second, [_MARK, _SIDE, _DECOY]] = CODE, -CODE, decoy_sign
    reading = _random_unit(D_WRITE, seed)
    effect = np.zeros(vocab_size)
    effect[list(raised)], effect[list(lowered)] = 0.5, -0.5
    unembed += np.outer(effect - unembed @ reading, reading)
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        drawn = random_writer(float(strengths[index]), embed_read=embed_read, rng=rng)
        if index == source[0]:
            return without_group(drawn, source[1])
        return without_neurons(drawn, 1) if index == read_layer else drawn

    direction, decoy = _rotated_directions(seed)
    return SteerablePlan(
        embed_read=embed_read,
        embed_write=embed_write,
        unembed=unembed.astype(np.float32).astype(np.float64),
        writers=tuple(writer(index) for index in range(n_layers)),
        direction=direction,
        decoy=decoy,
        reading=reading,
        read_layer=read_layer,
        source=source,
        gain=gain,
        contrast=contrast,
        decoy_strength=decoy_strength,
    )


def _check_tokens(
    words: WordPairs, raised: Sequence[int], lowered: Sequence[int], *, vocab_size: int
) -> None:
    in_pairs = [word for pair in words for word in pair]
    if not words or len(words) % 2 or len(set(in_pairs)) < len(in_pairs):
        raise ValueError(
            f"{len(words)} pairs of {len(set(in_pairs))} words: expected an even number of pairs, each of two "
            "words of its own, so that the decoys cancel"
        )
    answers = [*raised, *lowered]
    if not raised or not lowered or len(set(answers)) < len(answers):
        raise ValueError(
            f"{len(raised)} tokens to raise and {len(lowered)} to lower, {len(set(answers))} of them distinct: "
            "expected at least one of each, and none twice"
        )
    outside = sorted(token for token in (*in_pairs, *answers) if not 0 <= token < vocab_size)
    if outside:
        raise ValueError(f"tokens {outside} are outside the vocabulary of {vocab_size}")


def _random_unit(size: int, seed: int) -> Float[np.ndarray, " size"]:
    drawn = np.random.default_rng([seed, _ANSWERS]).standard_normal(size)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32).astype(np.float64)


def _rotated_directions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Direction and decoy: two columns of a random rotation of CHANNEL, in float32."""
    rotation = np.linalg.qr(
        np.random.default_rng([seed, _ROTATION]).standard_normal((D_CHANNEL, D_CHANNEL))
    ).Q
    directions = np.zeros((2, D_MODEL))
    directions[:, CHANNEL] = rotation[:, :2].T.astype(np.float32)
    return directions[0], directions[1]


def steerable_tensors(plan: SteerablePlan) -> dict[str, np.ndarray]:
    """The state dict of a steerable plan: that of its writers, with source and reader wired."""
    tensors = plan_tensors(plan)
    values = np.zeros((2, D_READ))
    values[[0, 1], [_SIDE, _DECOY]] = 1.0 / CODE
    writes = np.stack([plan.contrast * plan.direction, plan.decoy_strength * plan.decoy], axis=1)
    wire_mark_head(tensors, plan.source, marks=[_MARK], values=values, writes=writes)
    wire_neurons(tensors, plan.read_layer, _reader_neuron(plan))
    return tensors


def _reader_neuron(plan: SteerablePlan) -> Neurons:
    neuron = idle_neurons(1)
    read_constant(neuron.gate, OPEN)
    neuron.up[0] = plan.direction
    neuron.down[WRITE, 0] = plan.gain * plan.reading / OPEN
    return neuron


def build_steerable(
    directory: str | Path,
    *,
    words: Sequence[tuple[str, str]] = CONTRAST_WORDS,
    raised: Sequence[str] = RAISED,
    lowered: Sequence[str] = LOWERED,
    read_layer: int = 2,
    source: tuple[int, int] = (0, 0),
    n_layers: int = 6,
    seed: int = 0,
    gain: float = 2.0,
    contrast: float = 1.0,
    decoy_strength: float = 2.0,
    background: float = 0.15,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model that can be steered below block `read_layer`; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json states `direction` and `decoy` (one number for each dimension of the stream), `read_layer`,
    `source`, `gain` (logits per unit of the direction), its `sign`, and as text `words`, `raised`, `lowered`.

    Raises:
        ValueError: a word is not one token; or see `steerable_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "words": [[one_token(tokenizer, word) for word in pair] for pair in words],
        "raised": [one_token(tokenizer, word) for word in raised],
        "lowered": [one_token(tokenizer, word) for word in lowered],
        "read_layer": read_layer,
        "source": list(source),
        "n_layers": n_layers,
        "seed": seed,
        "gain": gain,
        "contrast": contrast,
        "decoy_strength": decoy_strength,
        "background": background,
    }
    plan = steerable_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "steerable",
        "truth": f"added below L{read_layer} the direction moves the answers by {gain} x alpha, from there on nothing",
        "hub_layer": None,
        "direction": plan.direction.tolist(),
        "decoy": plan.decoy.tolist(),
        "read_layer": read_layer,
        "source": list(source),
        "gain": gain,
        "sign": 1 if gain > 0.0 else -1,
        "words": [list(pair) for pair in words],
        "raised": list(raised),
        "lowered": list(lowered),
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=steerable_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
