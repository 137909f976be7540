"""What every contender computes: which prompts, which edits, and which of the cells each is timed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.edits import Action, Edit, Stream, skip, zero
from tasks.prompts import PromptPair, TaskFamily
from tasks.sampling import draw_suite
from tasks.suites import find_suite
from tasks.tokens import Encode, verify_pair

SUITE = "full"
PROMPTS_PER_FAMILY = 3
SEED = 42
PREFERRED_TOKENS = (5, 15)

WorkloadName = Literal["template", "suite"]
WORKLOADS: dict[WorkloadName, str] = {
    "template": "one template a family: its prompts share a token prefix",
    "suite": "suite draw: spread over templates, little is shared",
}


@dataclass(frozen=True, kw_only=True)
class BenchPrompt:
    """A prompt as token ids; `answer` and `foil` are the ids that our engine's other metrics read."""

    family: str
    template: str
    text: str
    ids: tuple[int, ...]
    answer: int
    foil: int


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The prompts of one workload, in the suite's family order."""

    name: WorkloadName
    prompts: tuple[BenchPrompt, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each prompt."""
        return tuple(len(prompt.ids) for prompt in self.prompts)

    def describe(self) -> dict[str, Any]:
        """What a reader needs to know of the prompts, as plain JSON values."""
        tokens = sum(self.lengths)
        nodes = len({p.ids[: i + 1] for p in self.prompts for i in range(len(p.ids))})
        return {
            "name": self.name,
            "title": WORKLOADS[self.name],
            "prompts": len(self.prompts),
            "tokens": tokens,
            "distinct_prefixes": nodes,
            "shortest": min(self.lengths),
            "longest": max(self.lengths),
            "templates": sorted({f"{p.family}/{p.template}" for p in self.prompts}),
            "texts": [p.text for p in self.prompts],
        }


def build_workload(name: WorkloadName, encode: Encode) -> Workload:
    """The prompts of this workload under this tokenizer.

    Raises NotEnoughPrompts where a family cannot supply them.
    """
    if name == "suite":
        draw = draw_suite(SUITE, n_per_family=PROMPTS_PER_FAMILY, seed=SEED, encode=encode)
        pairs = list(draw.pairs)
    else:
        pairs = [pair for family in find_suite(SUITE) for pair in one_template(family, encode)]
    return Workload(name=name, prompts=tuple(_encoded(pair, encode) for pair in pairs))


def one_template(family: TaskFamily, encode: Encode, n: int = PROMPTS_PER_FAMILY) -> list[PromptPair]:
    """`n` verified pairs with distinct clean texts of one template: the first whose lengths suit best.

    Prompts of 5 to 15 tokens are taken where a template has enough of them, else those nearest to that range.
    Raises ValueError where no template has `n` verified prompts.
    """
    by_template: dict[str, list[PromptPair]] = {}
    for pair in family.candidates():
        by_template.setdefault(pair.clean.template, []).append(pair)
    best: tuple[int, list[PromptPair]] | None = None
    for pairs in by_template.values():
        chosen = _nearest(pairs, encode, n)
        if len(chosen) < n:
            continue
        excess = sum(distance for distance, _ in chosen)
        if best is None or excess < best[0]:
            best = excess, [pair for _, pair in chosen]
        if excess == 0:
            break
    if best is None:
        raise ValueError(f"family {family.name!r}: no template has {n} verified prompts under this tokenizer")
    return best[1]


def _nearest(pairs: Sequence[PromptPair], encode: Encode, n: int) -> list[tuple[int, PromptPair]]:
    """The `n` verified pairs nearest to the preferred lengths, each with its distance in tokens."""
    found: list[tuple[int, PromptPair]] = []
    seen: set[str] = set()
    low, high = PREFERRED_TOKENS
    for pair in pairs:
        if pair.clean.text in seen or verify_pair(pair, encode) is not None:
            continue
        seen.add(pair.clean.text)
        length = len(encode(pair.clean.text))
        found.append((max(low - length, 0, length - high), pair))
        if sum(distance == 0 for distance, _ in found) == n:
            break
    return sorted(found, key=lambda entry: entry[0])[:n]


def all_edits(n_layers: int, n_heads: int) -> tuple[Edit, ...]:
    """Skip every block, zero every MLP's write, zero every head's z: in this order, by layer."""
    layers = range(n_layers)
    return (
        *(skip(layer) for layer in layers),
        *(zero(Stream.MLP_OUT, layer) for layer in layers),
        *(zero(Stream.Z, layer, head) for layer in layers for head in range(n_heads)),
    )


@dataclass(frozen=True, kw_only=True)
class SimpleEdit:
    """One of the benchmark's edits in the terms that every tool has: a kind, a layer, a head."""

    kind: Literal["skip", "mlp", "head"]
    layer: int
    head: int = 0

    @classmethod
    def of(cls, edit: Edit) -> SimpleEdit:
        """Raises ValueError for an edit that is none of the three kinds."""
        (site,) = edit.sites
        if edit.positions is None and edit.action is Action.SKIP:
            return cls(kind="skip", layer=site.layer)
        if edit.positions is None and edit.action is Action.ZERO and site.stream is Stream.MLP_OUT:
            return cls(kind="mlp", layer=site.layer)
        if edit.positions is None and edit.action is Action.ZERO and site.head is not None:
            return cls(kind="head", layer=site.layer, head=site.head)
        raise ValueError(f"the benchmark has no edit '{edit}'")

    def as_edit(self) -> Edit:
        """The same edit in this project's terms."""
        if self.kind == "skip":
            return skip(self.layer)
        if self.kind == "mlp":
            return zero(Stream.MLP_OUT, self.layer)
        return zero(Stream.Z, self.layer, self.head)


def every_kth(n: int, wanted: int) -> list[int]:
    """About `wanted` of `range(n)`, evenly spaced, from the middle of the first span on."""
    step = max(1, n // wanted)
    return list(range(step // 2, n, step))


def sample_of_edits(n_edits: int, wanted: int, rounds: int) -> list[list[int]]:
    """The timed edits, dealt out over the rounds: together every k-th edit, so all kinds in proportion."""
    chosen = every_kth(n_edits, wanted)
    return [chosen[r::rounds] for r in range(rounds)]


def sample_of_prompts(lengths: Sequence[int], wanted: int) -> list[int]:
    """The prompts that loops are timed on: every k-th by length, so that the mean length is kept."""
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    return sorted(by_length[i] for i in every_kth(len(lengths), wanted))


def _encoded(pair: PromptPair, encode: Encode) -> BenchPrompt:
    clean = pair.clean
    return BenchPrompt(
        family=clean.family,
        template=clean.template,
        text=clean.text,
        ids=tuple(encode(clean.text)),
        answer=encode(clean.text + clean.answer)[-1],
        foil=encode(clean.text + clean.foil)[-1],
    )
