"""Two skills whose answers each need a direction of their own, at a chosen angle to the other's.

The algebra is that of `harness.planted.writers`, with these wires added. A skill is a list of facts, subject and
answer; a prompt belongs to the skill whose subject it mentions. a and b are unit vectors of CHANNEL, turned at
random, with a . b = `overlap`: 0 is orthogonal, 1 is the same direction.

    READ      two dimensions say which skill a subject belongs to (1/2, or 0), eight hold the subject's code of
              +-1/2 each; all ten are 0 for every other token.
    layer     head 0 of block `layer` attends to the prompt's subjects (`harness.planted.steerable`) and adds a to
              CHANNEL for a subject of the first skill, b for one of the second; the mean, where there are several.
    reader    head 0 of block `reader` brings the subject's code to BLIND, which nothing else writes. The MLP has
              one neuron per fact: gate = 128 (c_j . BLIND - 7/4), 32 at the subject's own code and -32 or less at
              any other, so silu is 32 or 0 to within 1e-12; up = a or b, the direction of the fact's skill;
              down = `strength` w_j / 32. The unembedding's row of answer j lies along the unit vector w_j.

The heads beside these two, in their groups, write nothing. So with y the content of CHANNEL at the last position,
resid_post of the blocks from `layer` up to `reader` - 1, a fact of the first skill adds strength (a . y) w_j. Off
y is projected what lies along a unit vector k, y - k (k . y), and there is left of a prompt's drive

                          prompts of the first skill    prompts of the second       prompts of neither
    nothing removed       1                             1                           0
    k = a                 0: the answer is lost         1 - overlap**2              0
    k = b                 1 - overlap**2                0: the answer is lost       0
    k orthogonal to both  1                             1                           0

The same k below `layer`, where CHANNEL is empty, or from `reader` on, where it has been read, changes nothing.
The logits are exact for every k of CHANNEL: `TwoSkillsPlan.logits(knockout=...)`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
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
from harness.planted.marks import CODE, mark_attention, wire_mark_head, without_group
from harness.planted.tokenizer import one_token, suite_texts, train_tokenizer
from harness.planted.writers import (
    BLIND,
    D_MODEL,
    D_READ,
    D_SEEN,
    D_WRITE,
    LOGIT_SCALE,
    WRITE,
    Plan,
    Writer,
    close_blind,
    kl_of_logits,
    random_embeddings,
    random_writer,
    silu,
    softmax,
)
from tasks.families.factual_recall import CAPITALS, OPPOSITES

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

CAPITALS_SKILL = tuple((f" {subject}", f" {answer}") for subject, answer in CAPITALS.items())
OPPOSITES_SKILL = tuple((f" {subject}", f" {answer}") for subject, answer in OPPOSITES.items())

MAX_FACTS = 60
"""Of both skills together: an MLP has 64 neurons."""

D_CODE = D_WRITE - D_SEEN
LOOKUP_GAIN = 128.0

_SKILLS = slice(0, 2)
_SUBJECT = slice(2, 2 + D_CODE)
_CODES_IN_STREAM = slice(WRITE.start + BLIND.start, WRITE.start + BLIND.stop)
_HEAD = 0
_THRESHOLD = D_CODE * CODE**2 - CODE**2
_EMBEDDINGS, _STRENGTHS, _WRITERS, _CODES, _ROTATION = range(5)

Facts = Sequence[tuple[int, int]]
"""Token ids: (subject, answer)."""


@dataclass(frozen=True, kw_only=True)
class Knockout:
    """resid_post[`layer`] at the last position, projected off `direction`, of any length and zero outside CHANNEL."""

    layer: int
    direction: Float[np.ndarray, " d_model"]


@dataclass(frozen=True, kw_only=True)
class TwoSkillsPlan(Plan):
    """A plan of commuting writers, with two skills whose drives pass along `directions` from `layer` to `reader`.

    `directions` holds a and b as directions of the whole stream; `skills` the facts of each.
    """

    directions: Float[np.ndarray, "skills d_model"]
    skills: tuple[Facts, Facts]
    layer: int
    reader: int
    strength: float

    def logits(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
        knockout: Knockout | None = None,
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position, as `Plan.logits`, under a knockout if one is given.

        Raises:
            ValueError: see `Plan.logits`; or the knockout names a block that does not exist, or its direction is
                zero or leaves CHANNEL.
        """
        logits = super().logits(token_ids, skip=skip, zero_heads=zero_heads)
        read = self.embed_read[list(token_ids)]
        drive, code = np.zeros(D_CHANNEL), np.zeros(D_CODE)
        if self.layer not in skip and (self.layer, _HEAD) not in zero_heads:
            drive = self.driven(read)
        if knockout is not None:
            removed = self._removed(knockout)
            if self.layer <= knockout.layer < self.reader:
                drive = drive - removed * (removed @ drive)
        if (self.reader, _HEAD) not in zero_heads:
            code = self.brought(read)
        if self.reader in skip:
            return logits
        answered: np.ndarray = logits + self.unembed @ self.answer(drive, code)
        return answered

    def kl_nats(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
        knockout: Knockout | None = None,
    ) -> float:
        """Closed form of KL(base || edited) of the next-token distribution, in nats. Raises as `logits`."""
        edited = self.logits(token_ids, skip=skip, zero_heads=zero_heads, knockout=knockout)
        return kl_of_logits(self.logits(token_ids), edited)

    def answer_logprob(
        self, token_ids: Sequence[int], answer: int, *, knockout: Knockout | None = None
    ) -> float:
        """Closed form of the log-probability of the token `answer`, in nats. Raises as `logits`."""
        return float(np.log(softmax(self.logits(token_ids, knockout=knockout))[answer]))

    def driven(self, read: Float[np.ndarray, "pos read"]) -> Float[np.ndarray, " channel"]:
        """What the head of `layer` adds to CHANNEL at the last position, of a prompt with these READ parts."""
        driven: np.ndarray = _seen(read)[_SKILLS] / CODE @ self.directions[:, CHANNEL]
        return driven

    def brought(self, read: Float[np.ndarray, "pos read"]) -> Float[np.ndarray, " code"]:
        """The code that the head of `reader` adds to BLIND there."""
        return _seen(read)[_SUBJECT]

    def answer(
        self, drive: Float[np.ndarray, " channel"], code: Float[np.ndarray, " code"], *, constant: float = 1.0
    ) -> Float[np.ndarray, " write"]:
        """What the reader's neurons write: for each fact its answer's direction, if its code and drive are there.

        `constant` is what CONST holds, as a share of what the embedding put there: it gives the threshold.
        """
        opened = silu(LOOKUP_GAIN * (self.fact_codes @ code - _THRESHOLD * constant)) / OPEN
        driven = np.repeat(self.directions[:, CHANNEL] @ drive, [len(facts) for facts in self.skills])
        written: np.ndarray = self.strength * (opened * driven) @ self.answer_directions
        return written

    @property
    def facts(self) -> Facts:
        """The facts of both skills, in the order of the reader's neurons."""
        return [*self.skills[0], *self.skills[1]]

    @property
    def fact_codes(self) -> Float[np.ndarray, "facts code"]:
        """The code of each fact's subject."""
        codes: np.ndarray = self.embed_read[[subject for subject, _ in self.facts], _SUBJECT]
        return codes

    @property
    def answer_directions(self) -> Float[np.ndarray, "facts write"]:
        """The unit vector of WRITE along which each fact's answer is read."""
        rows = self.unembed[[answer for _, answer in self.facts]]
        directions: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return directions

    def mentions(self, token_ids: Sequence[int]) -> frozenset[int]:
        """The skills, 0 and 1, whose subjects are among the tokens: those the prompt belongs to."""
        return frozenset(
            skill
            for skill, facts in enumerate(self.skills)
            if not {subject for subject, _ in facts}.isdisjoint(token_ids)
        )

    def _removed(self, knockout: Knockout) -> Float[np.ndarray, " channel"]:
        """The unit vector of CHANNEL that is knocked out."""
        if not 0 <= knockout.layer < len(self.writers):
            raise ValueError(
                f"no block {knockout.layer} to knock out at: the model has blocks 0 to {len(self.writers) - 1}"
            )
        direction = np.asarray(knockout.direction, dtype=np.float64)
        if direction.shape != (D_MODEL,):
            raise ValueError(
                f"the direction to knock out has shape {direction.shape}, expected ({D_MODEL},): one number for "
                "each dimension of the stream"
            )
        inside = direction[CHANNEL]
        if not inside.any() or np.delete(direction, np.r_[CHANNEL]).any():
            raise ValueError(
                f"the direction to knock out has norm {np.linalg.norm(inside)} in dimensions {CHANNEL.start} to "
                f"{CHANNEL.stop - 1} and {np.linalg.norm(np.delete(direction, np.r_[CHANNEL]))} outside them: "
                "expected one above 0 and 0, as the closed form ends there"
            )
        unit: np.ndarray = inside / np.linalg.norm(inside)
        return unit


def _seen(read: Float[np.ndarray, "pos read"]) -> Float[np.ndarray, " read"]:
    """The READ part of the prompt's subjects, their mean where there are several."""
    seen: np.ndarray = mark_attention(read[:, _SKILLS].sum(axis=1)) @ read
    return seen


def two_skills_plan(
    *,
    vocab_size: int,
    skill_a: Facts,
    skill_b: Facts,
    overlap: float = 0.0,
    layer: int = 1,
    reader: int = 3,
    n_layers: int = 6,
    seed: int = 0,
    strength: float = 1.3,
    background: float = 0.1,
) -> TwoSkillsPlan:
    """The plan of a model whose two skills pass from block `layer` to `reader` along directions of that overlap.

    Raises:
        ValueError: the blocks are not in the order layer < reader within the model; `overlap` is not in 0 to 1;
            a skill has no facts, both have more than 60, or a subject has two facts; a token is outside the
            vocabulary; or a strength is not above 0.
    """
    skills = tuple([(subject, answer) for subject, answer in facts] for facts in (skill_a, skill_b))
    _check_skills(skills[0], skills[1], vocab_size=vocab_size)
    if not 0 <= layer < reader < n_layers:
        raise ValueError(
            f"layer is {layer} and reader {reader}: expected layer < reader in a model of {n_layers} layers"
        )
    if not 0.0 <= overlap <= 1.0:
        raise ValueError(f"overlap is {overlap}, expected 0 (orthogonal skills) to 1 (one direction)")
    if not (strength > 0.0 and background > 0.0):
        raise ValueError(f"strength is {strength} and background {background}: expected both above 0")
    embed_read, embed_write, unembed = random_embeddings(
        vocab_size, np.random.default_rng([seed, _EMBEDDINGS])
    )
    subjects = [[subject for subject, _ in facts] for facts in skills]
    embed_read[:, _SKILLS], embed_read[:, _SUBJECT], embed_write[:, BLIND] = 0.0, 0.0, 0.0
    for skill in (0, 1):
        embed_read[subjects[skill], skill] = CODE
    embed_read[subjects[0] + subjects[1], _SUBJECT] = _distinct_codes(
        len(subjects[0]) + len(subjects[1]), np.random.default_rng([seed, _CODES])
    )
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        drawn = _outside_blind(random_writer(float(strengths[index]), embed_read=embed_read, rng=rng))
        if index == reader:
            drawn = without_neurons(drawn, len(skills[0]) + len(skills[1]))
        return without_group(drawn, _HEAD) if index in (layer, reader) else drawn

    return TwoSkillsPlan(
        embed_read=embed_read,
        embed_write=embed_write,
        unembed=_equal_rows(close_blind(unembed), [answer for facts in skills for _, answer in facts]),
        writers=tuple(writer(index) for index in range(n_layers)),
        directions=_overlapping_directions(overlap, seed),
        skills=(skills[0], skills[1]),
        layer=layer,
        reader=reader,
        strength=strength,
    )


def _check_skills(skill_a: Facts, skill_b: Facts, *, vocab_size: int) -> None:
    facts = [*skill_a, *skill_b]
    subjects = {subject for subject, _ in facts}
    if not skill_a or not skill_b or len(facts) > MAX_FACTS or len(subjects) < len(facts):
        raise ValueError(
            f"{len(skill_a)} facts and {len(skill_b)} facts about {len(subjects)} subjects: expected at least one "
            f"in each skill, at most {MAX_FACTS} in both, each about a subject of its own"
        )
    outside = sorted(token for fact in facts for token in fact if not 0 <= token < vocab_size)
    if outside:
        raise ValueError(f"tokens {outside} are outside the vocabulary of {vocab_size}")


def _distinct_codes(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count code"]:
    every = np.array(list(product((-CODE, CODE), repeat=D_CODE)))
    chosen: np.ndarray = every[rng.permutation(len(every))[:count]]
    return chosen


def _outside_blind(writer: Writer) -> Writer:
    """The writer, no longer writing to BLIND."""
    output, down = writer.output.copy(), writer.down.copy()
    output[:, BLIND], down[BLIND] = 0.0, 0.0
    return replace(writer, output=output, down=down)


def _equal_rows(
    unembed: Float[np.ndarray, "vocab write"], answers: Sequence[int]
) -> Float[np.ndarray, "vocab write"]:
    """The unembedding with one norm for all answers, that of the other rows on average."""
    rows = unembed[answers]
    rows *= LOGIT_SCALE * np.sqrt(D_SEEN) / np.linalg.norm(rows, axis=1, keepdims=True)
    equal = unembed.copy()
    equal[answers] = rows.astype(np.float32)
    return equal


def _overlapping_directions(overlap: float, seed: int) -> Float[np.ndarray, "skills d_model"]:
    """Two unit vectors of CHANNEL with that cosine, turned at random, in float32."""
    drawn = np.random.default_rng([seed, _ROTATION]).standard_normal((D_CHANNEL, D_CHANNEL))
    first, other = np.linalg.qr(drawn).Q.T[:2]
    directions = np.zeros((2, D_MODEL))
    directions[0, CHANNEL] = first.astype(np.float32)
    directions[1, CHANNEL] = (overlap * first + np.sqrt(1.0 - overlap**2) * other).astype(np.float32)
    return directions


def two_skills_tensors(plan: TwoSkillsPlan) -> dict[str, np.ndarray]:
    """The state dict of a plan of two skills: that of its writers, with both heads and the reader's MLP wired."""
    tensors = plan_tensors(plan)
    marks = range(_SKILLS.start, _SKILLS.stop)
    wire_mark_head(
        tensors,
        (plan.layer, _HEAD),
        marks=marks,
        values=np.eye(2, D_READ, k=_SKILLS.start) / CODE,
        writes=plan.directions.T,
    )
    to_blind = np.zeros((D_MODEL, D_CODE))
    to_blind[_CODES_IN_STREAM] = np.eye(D_CODE)
    wire_mark_head(
        tensors,
        (plan.reader, _HEAD),
        marks=marks,
        values=np.eye(D_CODE, D_READ, k=_SUBJECT.start),
        writes=to_blind,
    )
    wire_neurons(tensors, plan.reader, _reader_neurons(plan))
    return tensors


def _reader_neurons(plan: TwoSkillsPlan) -> Neurons:
    """One neuron per fact: open at its subject's code, it passes its skill's drive to its answer."""
    neurons = idle_neurons(len(plan.facts))
    neurons.gate[:, _CODES_IN_STREAM] = LOOKUP_GAIN * plan.fact_codes
    read_constant(neurons.gate, -LOOKUP_GAIN * _THRESHOLD)
    neurons.up[:] = np.repeat(plan.directions, [len(facts) for facts in plan.skills], axis=0)
    neurons.down[WRITE] = plan.strength * plan.answer_directions.T / OPEN
    return neurons


def build_two_skills(
    directory: str | Path,
    *,
    skill_a: Sequence[tuple[str, str]] = CAPITALS_SKILL,
    skill_b: Sequence[tuple[str, str]] = OPPOSITES_SKILL,
    overlap: float = 0.0,
    layer: int = 1,
    reader: int = 3,
    n_layers: int = 6,
    seed: int = 0,
    strength: float = 1.3,
    background: float = 0.1,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save a model of two skills, pairs of subject and answer; return the directory.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite.
    planted.json states `layer`, `reader`, `overlap`, and for `skill_a` and `skill_b` the `direction` (one number
    for each dimension of the stream) and the `facts` as text: a prompt belongs to the skill whose subject it
    mentions.

    Raises:
        ValueError: a subject or an answer is not one token; or see `two_skills_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)

    def ids(facts: Sequence[tuple[str, str]]) -> list[list[int]]:
        return [[one_token(tokenizer, word) for word in fact] for fact in facts]

    parameters: dict[str, Any] = {
        "skill_a": ids(skill_a),
        "skill_b": ids(skill_b),
        "overlap": overlap,
        "layer": layer,
        "reader": reader,
        "n_layers": n_layers,
        "seed": seed,
        "strength": strength,
        "background": background,
    }
    plan = two_skills_plan(vocab_size=len(tokenizer), **parameters)
    skills = {
        name: {"direction": direction.tolist(), "facts": [list(fact) for fact in facts]}
        for name, direction, facts in zip(
            ("skill_a", "skill_b"), plan.directions, (skill_a, skill_b), strict=True
        )
    }
    truth = {
        "kind": "two_skills",
        "truth": f"after L{layer} and before L{reader} each skill needs its own direction; their overlap is {overlap}",
        "hub_layer": None,
        "layer": layer,
        "reader": reader,
        "overlap": overlap,
        **skills,
        "parameters": parameters,
    }
    return save_checkpoint(
        directory, tensors=two_skills_tensors(plan), tokenizer=tokenizer, n_layers=n_layers, truth=truth
    )
