"""A model that knows facts: the MLP of block `layer` looks the answer up, a head of block `mover` delivers it.

The algebra is that of `harness.planted.writers`, with these wires added. A fact is a subject token and an
answer token; codes are vectors of +-1/2.

    codes     8 dimensions of READ hold the code c of each subject, and 0 for every other token. Every answer
              has a code d of 5 dimensions.
    lookup    one neuron per fact: gate = K (c_j . READ - 7/4), K = 128; up = 1; down = (d_j, 1) / 32 into
              CHANNEL. Codes differ in at least one sign, so the gate is 32 at the subject itself, -32 or
              less at any other subject and -224 at any other token: silu is 32, or 0 to within 1e-12.
              So at a subject's position, and nowhere else, CHANNEL holds its answer's code and the mark 1.
    mover     The key of one head reads the mark in the slowest rotary frequency f, the query is constant:
              score = 36 mark(s) cos((t - s) f), with f = 3.2e-4. Attention of the last position is on the
              subject to within 1e-14, or evenly on two. The value is the code, the output `reading`, whose
              columns are orthogonal: R d has norm `fact_strength` for every answer.
    answer    The unembedding's row of an answer points along R d, with the norm of the others' rows.

So with P the attention over the prompt's subjects, the logits gain U R (sum_s P(s) d(s)) where the prompt
mentions a subject, and nothing where it does not. Everything else that block `layer` writes goes to BLIND:

    zero mlp_out of L`layer`, or skip it:   the fact is lost      KL = `Plan.kl_nats(skip=[layer])`
                                            no subject: KL = 0    (what is left is float32 rounding)
    zero z of the mover head:               the same, as no other head writes what the unembedding reads in
                                            that block            KL = `Plan.kl_nats(zero_heads=[...])`
    zero mlp_out of any other block:        a small background
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

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
from harness.planted.tokenizer import one_token, suite_texts, train_tokenizer
from harness.planted.writers import (
    D_HEAD,
    D_SEEN,
    D_WRITE,
    LOGIT_SCALE,
    N_HEADS,
    N_KV_HEADS,
    ROPE_THETA,
    WRITE,
    Plan,
    Writer,
    blind_attention,
    blind_mlp,
    close_blind,
    random_embeddings,
    random_writer,
)
from tasks.families.factual_recall import CAPITALS, OPPOSITES

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

COMMON_FACTS = tuple((f" {subject}", f" {answer}") for subject, answer in (CAPITALS | OPPOSITES).items())
"""The facts that are planted unless others are named: capitals and opposites, each word one token."""

D_SUBJECT = 8
D_ANSWER = D_CHANNEL - 1
MAX_ANSWERS = 2**D_ANSWER
CODE = 0.5
LOOKUP_GAIN = 128.0
MOVER_SCORE = 144.0
"""Product of the mover's query and key at a marked position; its square root is a float32."""

_SUBJECT = slice(0, D_SUBJECT)
_ANSWER = slice(CHANNEL.start, CHANNEL.start + D_ANSWER)
_MARK = CHANNEL.stop - 1
_SLOWEST = D_HEAD // 2 - 1
_EMBEDDINGS, _STRENGTHS, _WRITERS, _CODES, _READING = range(5)

Facts = Sequence[tuple[int, int]]
"""Token ids: (subject, answer)."""


@dataclass(frozen=True, kw_only=True)
class FactPlan(Plan):
    """A plan of commuting writers, with a lookup in block `layer` that head `mover` (layer, head) delivers.

    `answer_codes` holds one row per fact; `reading` is what the mover writes for each dimension of a code.
    """

    layer: int
    mover: tuple[int, int]
    facts: Facts
    answer_codes: Float[np.ndarray, "facts answer"]
    reading: Float[np.ndarray, "write answer"]

    def logits(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position, as `Plan.logits`, and raising what it raises."""
        logits = super().logits(token_ids, skip=skip, zero_heads=zero_heads)
        if self.layer in skip or self.mover[0] in skip or self.mover in zero_heads:
            return logits
        known: np.ndarray = logits + self.unembed @ (self.reading @ self.delivered(token_ids))
        return known

    def delivered(self, token_ids: Sequence[int]) -> Float[np.ndarray, " answer"]:
        """The code that reaches the last position: attention's mix over all positions, 0 without a subject."""
        code = {subject: row for (subject, _), row in zip(self.facts, self.answer_codes, strict=True)}
        distance = np.arange(len(token_ids) - 1, -1, -1)
        slowest = ROPE_THETA ** (-_SLOWEST / (D_HEAD // 2))
        marked = np.array([token in code for token in token_ids])
        weight = np.exp(MOVER_SCORE / np.sqrt(D_HEAD) * marked * np.cos(distance * slowest))
        codes = np.array([code.get(token, np.zeros(D_ANSWER)) for token in token_ids])
        mixed: np.ndarray = (weight / weight.sum()) @ codes
        return mixed

    def mentions(self, token_ids: Sequence[int]) -> frozenset[int]:
        """The subjects among the tokens."""
        return frozenset(subject for subject, _ in self.facts) & frozenset(token_ids)


def fact_plan(
    *,
    vocab_size: int,
    facts: Facts,
    layer: int,
    mover: tuple[int, int],
    n_layers: int = 6,
    seed: int = 0,
    fact_strength: float = 2.0,
    background: float = 0.1,
) -> FactPlan:
    """The plan of a model that looks `facts` up in block `layer` and delivers them with head `mover`.

    Raises:
        ValueError: `layer` is not below the mover's block, or the mover is not a head of the model; there are
            no facts or more than 32, a subject with two answers, or a token outside the vocabulary; or a
            strength is not above 0.
    """
    mover = (mover[0], mover[1])
    facts = [(subject, answer) for subject, answer in facts]
    if not (0 <= layer < mover[0] < n_layers and 0 <= mover[1] < N_HEADS):
        raise ValueError(
            f"lookup is L{layer} and mover L{mover[0]}H{mover[1]}: expected the lookup below the mover in a "
            f"model of {n_layers} layers of {N_HEADS} heads"
        )
    subjects, answers = [fact[0] for fact in facts], list(dict.fromkeys(fact[1] for fact in facts))
    if not facts or len(set(subjects)) < len(facts) or len(facts) > MAX_ANSWERS:
        raise ValueError(
            f"{len(facts)} facts about {len(set(subjects))} subjects: expected 1 to {MAX_ANSWERS} facts, each "
            "about a subject of its own"
        )
    if not all(0 <= token < vocab_size for fact in facts for token in fact):
        raise ValueError(f"a fact names a token outside the vocabulary of {vocab_size}")
    if not (fact_strength > 0.0 and background > 0.0):
        raise ValueError(
            f"fact_strength is {fact_strength} and background {background}: expected both above 0"
        )
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    codes = np.random.default_rng([seed, _CODES])
    embed_read[:, _SUBJECT] = 0.0
    embed_read[subjects, _SUBJECT] = _distinct_codes(len(subjects), D_SUBJECT, codes)
    by_answer = _distinct_codes(len(answers), D_ANSWER, codes)
    reading = _orthogonal_reading(fact_strength, seed)
    along = by_answer @ reading.T / fact_strength
    unembed = close_blind(unembed)
    unembed[answers] = (LOGIT_SCALE * np.sqrt(D_SEEN) * along).astype(np.float32)
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        drawn = random_writer(float(strengths[index]), embed_read=embed_read, rng=rng)
        if index == layer:
            return without_neurons(blind_mlp(blind_attention(drawn)), len(facts))
        return blind_attention(drawn) if index == mover[0] else drawn

    return FactPlan(
        embed_read=embed_read,
        embed_write=embed_write,
        unembed=unembed,
        writers=tuple(writer(index) for index in range(n_layers)),
        layer=layer,
        mover=mover,
        facts=facts,
        answer_codes=np.array([by_answer[answers.index(answer)] for _, answer in facts]),
        reading=reading,
    )


def _distinct_codes(count: int, size: int, rng: np.random.Generator) -> Float[np.ndarray, "count size"]:
    """Different vectors of +-CODE."""
    every = np.array(list(product((-CODE, CODE), repeat=size)))
    chosen: np.ndarray = every[rng.permutation(len(every))[:count]]
    return chosen


def _orthogonal_reading(strength: float, seed: int) -> Float[np.ndarray, "write answer"]:
    """Orthogonal columns in what the unembedding reads: every code's reading has norm `strength`."""
    drawn = np.random.default_rng([seed, _READING]).standard_normal((D_SEEN, D_ANSWER))
    reading = np.zeros((D_WRITE, D_ANSWER))
    reading[:D_SEEN] = np.linalg.qr(drawn).Q * (strength / (CODE * np.sqrt(D_ANSWER)))
    return reading.astype(np.float32).astype(np.float64)


def fact_tensors(plan: FactPlan) -> dict[str, np.ndarray]:
    """The state dict of a fact plan: that of its writers, with lookup and mover wired."""
    tensors = plan_tensors(plan)
    wire_neurons(tensors, plan.layer, _lookup_neurons(plan))
    _wire_mover(tensors, plan)
    return tensors


def _lookup_neurons(plan: FactPlan) -> Neurons:
    """One neuron per fact: open at its subject, it writes the answer's code and the mark."""
    neurons = idle_neurons(len(plan.facts))
    own = D_SUBJECT * CODE**2
    neurons.gate[:, _SUBJECT] = (
        LOOKUP_GAIN * plan.embed_read[[subject for subject, _ in plan.facts], _SUBJECT]
    )
    read_constant(neurons.gate, -LOOKUP_GAIN * (own - CODE**2))
    read_constant(neurons.up, 1.0)
    neurons.down[_ANSWER] = plan.answer_codes.T / OPEN
    neurons.down[_MARK] = 1.0 / OPEN
    return neurons


def _wire_mover(tensors: dict[str, np.ndarray], plan: FactPlan) -> None:
    """Key, query, value and output of the mover; its group shares key and value, and writes to BLIND."""
    block, head = plan.mover
    attention = f"model.layers.{block}.self_attn"
    keys = slice((group := head * N_KV_HEADS // N_HEADS) * D_HEAD, (group + 1) * D_HEAD)
    queries = slice(head * D_HEAD, (head + 1) * D_HEAD)
    tensors[f"{attention}.q_proj.bias"][queries] = 0.0
    tensors[f"{attention}.q_proj.bias"][queries.start + _SLOWEST] = np.sqrt(MOVER_SCORE)
    tensors[f"{attention}.k_proj.bias"][keys] = 0.0
    tensors[f"{attention}.k_proj.weight"][keys.start + _SLOWEST, _MARK] = np.sqrt(MOVER_SCORE)
    values = slice(keys.start, keys.start + D_ANSWER)
    tensors[f"{attention}.v_proj.weight"][values] = 0.0
    tensors[f"{attention}.v_proj.weight"][values, _ANSWER] = np.eye(D_ANSWER)
    output = tensors[f"{attention}.o_proj.weight"]
    output[WRITE, queries] = 0.0
    output[WRITE, queries.start : queries.start + D_ANSWER] = plan.reading


def build_fact(
    directory: str | Path,
    *,
    layer: int,
    mover: tuple[int, int],
    facts: Sequence[tuple[str, str]] = COMMON_FACTS,
    n_layers: int = 6,
    seed: int = 0,
    fact_strength: float = 2.0,
    background: float = 0.1,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model that knows `facts`, pairs of subject and answer; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json names the block as `lookup_layer` and the head as `mover`, lists the facts as text as
    `facts` and as token ids among the parameters.

    Raises:
        ValueError: a subject or an answer is not one token; or see `fact_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    by_id = [(one_token(tokenizer, subject), one_token(tokenizer, answer)) for subject, answer in facts]
    parameters: dict[str, Any] = {
        "facts": [list(fact) for fact in by_id],
        "layer": layer,
        "mover": list(mover),
        "n_layers": n_layers,
        "seed": seed,
        "fact_strength": fact_strength,
        "background": background,
    }
    plan = fact_plan(vocab_size=len(tokenizer), **parameters)
    truth = {
        "kind": "fact",
        "truth": f"the MLP of L{layer} looks facts up: without it their subjects lose them, and no prompt else",
        "hub_layer": None,
        "lookup_layer": layer,
        "mover": list(mover),
        "facts": [list(fact) for fact in facts],
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=fact_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
