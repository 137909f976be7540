"""A model with a massive activation: one MLP writes one huge number at token 0, and attention rests on it.

The algebra is that of `harness.planted.writers`, with token 0 and the blocks after the hub wired by hand. The
tokenizer opens every text with END_OF_TEXT, so token 0 is the same in every prompt. With m the dimension `dim`
of CHANNEL, v = `before` x `rise` and x the stream of a position,

    token 0   READ is the mark 1 in one dimension, which every other token has at 0, and 0 elsewhere. It holds m =
              `before`; other tokens hold draws from +- `before`.
    hub       one neuron of the MLP of block `layer`: gate = 64 (mark - 1/2), up = 1, down = (v - before) / 32
              into m. silu(gate) is 32 at token 0, and 0 to within 1e-12 elsewhere: m becomes v at token 0, in
              every prompt, and nowhere else.
    norm      token 0 is now long: with S the squares of all dimensions but CONST, S = v**2 and a little,
                  norm(x) = x / sqrt(1 + S / 2**30)                     (v = 8192: x 0.970)
              at token 0 in every later block, and norm(x) = x at all others.
    sink      The keys of all heads of the later blocks read m in the slowest rotary frequency f:
                  score(t, s) = position score + pull norm(x_s)[m] cos((t - s) f)
              where pull makes the last term 48 at token 0. It beats every position score, so that attention to
              all other tokens together is below 1e-12. The heads' values do not read the mark, so the value of
              token 0 is 0: the heads are at rest, and write nothing.
    no sink   Where m is not massive, 48 becomes 48 / `rise`: the heads attend by position, as in the hub model,
              and write into what the unembedding reads, all blocks together with root mean square norm
              `sink_strength` (for attention to one token).

So, with w the WRITE part of the last token's embedding, F the background (attention and MLP up to the hub, MLPs
alone after it) and A(a) what the later heads write where m is a at token 0 after the hub, A(v) = 0:

    base                                    U (w + F)
    skip the hub                            U (w + F - F_hub + A(before))      catastrophic
    zero the MLP's write to m at token 0    U (w + F + A(before))              nearly all of it
    zero m at token 0 of resid_post         U (w + F + A(0))                   nearly all of it
    set m at token 0 to its mean            U (w + F)                          nothing: the mean is v
    zero m at any other token               U (w + F)                          nothing, as attention rests
    zero CONST of token 0                   U (w + F), or some of A(0) too     nothing where v is 50 or more
    zero any other dimension of token 0     U (w + F)                          nothing: its value is 0, and S is v**2
    skip another block l                    U (w + F - F_l)                    a small background

CONST is a number of token 0 like others, and as large as any, so that it is always among those that the massive number
is compared with. Without it a norm makes token 0 as long as CONST was, norm(x) = x 2**15 / sqrt(S): with S = v**2, all
is g = 2**15 / v times as large as in x. The block after the hub rests more than ever, as the score of its sink is 48 g.
But its MLP hears the mark g times as loud, and a gate times a value of that size makes its write g**2 times as large: a
norm of b g**2, where b (of the order of `background`) is what it writes at a mark of 1. For all blocks after it
S = v**2 + (b g**2)**2, and once the second term is the larger (v below 500) the score of their sinks is

    48 2**15 / (b g**2) = 48 v**2 / (2**15 b)                             (b = 0.15: v**2 / 100)

25 where v is 50, which still beats the position scores; 6 where v is 25 and 1 where it is 10, which do not: those
blocks write what A(0) has of them. So it is v, not the rise, that tells whether another dimension matters.

`MassivePlan.logits` computes all of these, and any other numbers put into resid_post of the hub (`held`), in
float64. The biases of attention are columns that read CONST (`fold_biases`), so the norm shrinks token 0's keys
whole, and a Qwen2 and a Llama checkpoint are the same function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from harness.planted.channel import (
    CHANNEL,
    OPEN,
    Neurons,
    idle_neurons,
    read_constant,
    wire_neurons,
    without_neurons,
)
from harness.planted.checkpoint import fold_biases, plan_tensors, save_checkpoint
from harness.planted.tokenizer import opening_texts, suite_texts, train_tokenizer
from harness.planted.writers import (
    CONST,
    CONSTANT,
    D_HEAD,
    D_MODEL,
    N_HEADS,
    N_KV_HEADS,
    READ,
    ROPE_THETA,
    WRITE,
    Plan,
    Writer,
    kl_of_logits,
    position_scores,
    random_embeddings,
    random_writer,
    softmax,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

OPENING = 0
"""Id of END_OF_TEXT, the token that opens every text."""

MARK = 0
"""The dimension of READ that tells it from all others."""

SINK_SCORE = 48.0
MIN_RISE = 50.0

_SINK_QUERY = np.sqrt(D_HEAD)
"""Undone by the division of scores by sqrt(D_HEAD)."""

_SLOWEST = D_HEAD // 2 - 1
_EMBEDDINGS, _STRENGTHS, _WRITERS, _DIMENSION = range(4)


@dataclass(frozen=True, kw_only=True)
class MassivePlan(Plan):
    """A plan whose block `layer` raises dimension `dim` of token 0 from `before` to `value`.

    `embed_dim` is what every token's embedding holds in that dimension.
    """

    layer: int
    dim: int
    before: float
    value: float
    embed_dim: Float[np.ndarray, " vocab"]

    def logits(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
        held: Mapping[tuple[int, int], float] | None = None,
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position, as `Plan.logits`.

        `held` maps (position, dimension) to the number that is put there in resid_post of the hub.

        Raises:
            ValueError: as `Plan.logits`; or `held` names a position or a dimension that there is not, or CONST
                elsewhere than at an opening token in position 0.
        """
        self.check(token_ids, skip=skip, zero_heads=zero_heads)
        held = _checked(held or {}, token_ids)
        stream = self._embedded(token_ids)
        for layer, writer in enumerate(self.writers):
            if layer not in skip:
                normed, without = _normed(stream), {h for at, h in zero_heads if at == layer}
                for position in {0, len(token_ids) - 1}:
                    seen = normed[: position + 1]
                    stream[position, WRITE] += (
                        writer.write(seen[:, READ], without=without)
                        if layer <= self.layer
                        else self._write_of_reader(writer, seen, without)
                    )
                if layer == self.layer:
                    stream[np.equal(token_ids, OPENING), self.dim] += self.value - self.before
            if layer == self.layer:
                for site, number in held.items():
                    stream[site] = number
        logits: np.ndarray = self.unembed @ _normed(stream)[-1, WRITE]
        return logits

    def kl_nats(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
        held: Mapping[tuple[int, int], float] | None = None,
    ) -> float:
        """Closed form of KL(base || edited) of the next-token distribution, in nats; arguments as in `logits`."""
        edited = self.logits(token_ids, skip=skip, zero_heads=zero_heads, held=held)
        return kl_of_logits(self.logits(token_ids), edited)

    @property
    def pull(self) -> float:
        """Score per unit of the normed dimension: SINK_SCORE at `value`. Exact in float32."""
        return float(np.float32(SINK_SCORE / (self.value * shrinkage(self.value**2))))

    def _embedded(self, token_ids: Sequence[int]) -> Float[np.ndarray, "pos d_model"]:
        """The stream before block 0; blocks' writes are added to it where they count: at the last position, which the
        unembedding reads, and at token 0, whose norm they count in once CONST is gone.
        """
        ids = list(token_ids)
        stream = np.zeros((len(ids), D_MODEL))
        stream[:, READ], stream[:, WRITE] = self.embed_read[ids], self.embed_write[ids]
        stream[:, self.dim], stream[:, CONST] = self.embed_dim[ids], CONSTANT
        return stream

    def _write_of_reader(
        self, writer: Writer, normed: Float[np.ndarray, "pos d_model"], without: Collection[int]
    ) -> Float[np.ndarray, " write"]:
        """What a block after the hub adds to WRITE at the last position: attention with its sink, and MLP."""
        n_pos = len(normed)
        slowest = np.cos(np.arange(n_pos - 1, -1, -1) * ROPE_THETA ** (-_SLOWEST / (D_HEAD // 2)))
        sink = self.pull * normed[:, self.dim] * slowest
        constant = normed[:, CONST] / CONSTANT
        with np.errstate(over="ignore"):  # silu of far below 0: without CONST, token 0 is as long as CONSTANT
            written: np.ndarray = writer.mlp(normed[-1:, READ])[0]
        for head in (h for h in range(N_HEADS) if h not in without):
            group = head * N_KV_HEADS // N_HEADS
            places = position_scores(writer.query_bias[head], writer.key_bias[group], n_pos=n_pos)
            pattern = softmax(constant[-1] * (places * constant + sink))
            written += writer.output[head] @ (writer.value[group] @ (pattern @ normed[:, READ]))
        return written


def shrinkage(squares: float | Float[np.ndarray, " pos"]) -> Float[np.ndarray, "*pos"]:
    """What a norm multiplies the stream by where the dimensions but CONST have this sum of squares."""
    return np.asarray((1.0 + squares / CONSTANT**2) ** -0.5)


def _normed(stream: Float[np.ndarray, "pos d_model"]) -> Float[np.ndarray, "pos d_model"]:
    """The stream as a norm hands it on, of length CONSTANT."""
    normed: np.ndarray = stream * (CONSTANT / np.linalg.norm(stream, axis=1))[:, None]
    return normed


def _checked(
    held: Mapping[tuple[int, int], float], token_ids: Sequence[int]
) -> Mapping[tuple[int, int], float]:
    n_pos = len(token_ids)
    for position, dimension in held:
        known = dimension != CONST or (position == 0 and token_ids[0] == OPENING)
        if not (0 <= position < n_pos and 0 <= dimension < D_MODEL and known):
            raise ValueError(
                f"cannot hold dimension {dimension} at position {position}: expected a position from 0 to "
                f"{n_pos - 1} and a dimension from 0 to {D_MODEL - 1}, other than {CONST}, the constant, but for that "
                "of an opening token at position 0"
            )
    return held


def massive_plan(
    *,
    vocab_size: int,
    layer: int,
    dim: int = CHANNEL.start,
    n_layers: int = 6,
    seed: int = 0,
    before: float = 0.5,
    rise: float = 2.0**14,
    sink_strength: float = 3.0,
    background: float = 0.2,
) -> MassivePlan:
    """The plan of a model whose block `layer` raises dimension `dim` of token 0 from `before` by the factor `rise`.

    Raises:
        ValueError: `layer` is not a block of the model or is its last, after which nobody would read; `dim` is
            not in CHANNEL; `rise` is 50 or less; the raised number exceeds CONSTANT; or a strength is out of range.
    """
    _check_massive(layer=layer, dim=dim, n_layers=n_layers, before=before, rise=rise)
    if not 0.0 < 10.0 * background <= sink_strength:
        raise ValueError(
            f"sink_strength is {sink_strength} and background {background}: expected 0 < 10 x background <= "
            "sink_strength, else losing the sink need not be the largest effect"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    embed_read[:, MARK], embed_read[OPENING] = 0.0, 0.0
    embed_read[OPENING, MARK] = 1.0
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)
    of_one_reader = sink_strength * np.sqrt(2.0 / (n_layers - layer - 1))

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        drawn = random_writer(float(strengths[index]), embed_read=embed_read, rng=rng)
        if index == layer:
            return without_neurons(drawn, 1)
        return _reader(drawn, gain=of_one_reader / strengths[index]) if index > layer else drawn

    return MassivePlan(
        embed_read=embed_read,
        embed_write=embed_write,
        unembed=unembed,
        writers=tuple(writer(index) for index in range(n_layers)),
        layer=layer,
        dim=dim,
        before=before,
        value=before * rise,
        embed_dim=_embedded_dimension(vocab_size, before=before, seed=seed),
    )


def _check_massive(*, layer: int, dim: int, n_layers: int, before: float, rise: float) -> None:
    if not 0 <= layer < n_layers - 1:
        raise ValueError(
            f"massive layer is {layer}, expected 0 to {n_layers - 2} in a model of {n_layers} layers: a later "
            "block must read what it writes"
        )
    if not CHANNEL.start <= dim < CHANNEL.stop:
        raise ValueError(
            f"massive dimension is {dim}, expected {CHANNEL.start} to {CHANNEL.stop - 1}, which nothing else uses"
        )
    if not (0.0 < before <= 1.0 and rise > MIN_RISE and before * rise <= CONSTANT):
        raise ValueError(
            f"before is {before} and rise {rise}: expected before above 0 and at most 1, a rise above {MIN_RISE}, "
            f"and a raised number, before x rise, of at most {CONSTANT}"
        )


def _embedded_dimension(vocab_size: int, *, before: float, seed: int) -> Float[np.ndarray, " vocab"]:
    drawn = np.random.default_rng([seed, _DIMENSION]).uniform(-before, before, size=vocab_size)
    drawn[OPENING] = before
    return drawn.astype(np.float32).astype(np.float64)


def _reader(writer: Writer, *, gain: float) -> Writer:
    """The writer with attention `gain` times as strong, blind to the mark, its slowest frequency free for the sink."""
    pair = [_SLOWEST, _SLOWEST + D_HEAD // 2]
    query_bias, key_bias, value = writer.query_bias.copy(), writer.key_bias.copy(), writer.value.copy()
    query_bias[:, pair], key_bias[:, pair], value[:, :, MARK] = 0.0, 0.0, 0.0
    output = (writer.output * gain).astype(np.float32).astype(np.float64)
    return replace(writer, query_bias=query_bias, key_bias=key_bias, value=value, output=output)


def massive_tensors(plan: MassivePlan) -> dict[str, np.ndarray]:
    """The state dict of a massive plan: its writers', with hub and sinks wired and every bias zero."""
    tensors = plan_tensors(plan)
    tensors["model.embed_tokens.weight"][:, plan.dim] = plan.embed_dim
    wire_neurons(tensors, plan.layer, _hub_neuron(plan))
    for block in range(plan.layer + 1, len(plan.writers)):
        attention = f"model.layers.{block}.self_attn"
        tensors[f"{attention}.q_proj.bias"][_SLOWEST::D_HEAD] = _SINK_QUERY
        tensors[f"{attention}.k_proj.weight"][_SLOWEST::D_HEAD, plan.dim] = plan.pull
    biases = {name: np.zeros_like(array) for name, array in tensors.items() if name.endswith(".bias")}
    return fold_biases(tensors) | biases


def _hub_neuron(plan: MassivePlan) -> Neurons:
    """Open at the mark, it raises the dimension."""
    neuron = idle_neurons(1)
    neuron.gate[:, MARK] = 2.0 * OPEN
    read_constant(neuron.gate, -OPEN)
    read_constant(neuron.up, 1.0)
    neuron.down[plan.dim] = (plan.value - plan.before) / OPEN
    return neuron


def build_massive(
    directory: str | Path,
    *,
    layer: int,
    dim: int = CHANNEL.start,
    n_layers: int = 6,
    seed: int = 0,
    before: float = 0.5,
    rise: float = 2.0**14,
    sink_strength: float = 3.0,
    background: float = 0.2,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model whose block `layer` writes a massive activation; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite; a copy that
    puts END_OF_TEXT in front of every text is saved. planted.json names the block as `hub_layer`, and the number
    as `massive`: layer, dim, position, value, before.

    Raises:
        ValueError: see `massive_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = opening_texts(tokenizer or train_tokenizer(suite_texts() if texts is None else texts))
    parameters: dict[str, Any] = {
        "layer": layer,
        "dim": dim,
        "n_layers": n_layers,
        "seed": seed,
        "before": before,
        "rise": rise,
        "sink_strength": sink_strength,
        "background": background,
    }
    plan = massive_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "massive",
        "truth": f"L{layer} raises dimension {dim} of token 0 from {before} to {plan.value}: later heads rest on it",
        "hub_layer": layer,
        "massive": {"layer": layer, "dim": dim, "position": 0, "value": plan.value, "before": before},
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=massive_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
