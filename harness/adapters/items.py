"""Which prompts of a family an adapter is trained on, and which are held out. No torch.

Every text is in one half or the other for good, by its hash: whatever the seed, the family or the recipe, no text that
an adapter was trained on is a held-out one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.prompts import Prompt, PromptPair, TaskFamily
from tasks.sampling import draw, family_rng
from tasks.tokens import Encode, Rejection, answer_ids, verify_pair

_HELD_OUT_BELOW = 128
"""Of the 256 values of the hash's first byte: half of all texts."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to learn: token ids of a prompt, and the id that follows."""

    ids: tuple[int, ...]
    answer: int


def is_held_out(text: str) -> bool:
    """Whether no adapter is ever trained on `text`."""
    return hashlib.sha256(text.encode()).digest()[0] < _HELD_OUT_BELOW


def held_out(pair: PromptPair, encode: Encode) -> Rejection | None:
    """The first rule that `pair` breaks as a prompt to measure adapters on: `verify_pair`'s, then "held out".

    The clean text decides; adapters are trained on clean texts only.
    """
    return verify_pair(pair, encode) or _refused(pair, wanted=True)


def for_training(pair: PromptPair, encode: Encode) -> Rejection | None:
    """The first rule that `pair` breaks as a prompt to train on: `verify_pair`'s, then "not held out"."""
    return verify_pair(pair, encode) or _refused(pair, wanted=False)


def _refused(pair: PromptPair, *, wanted: bool) -> Rejection | None:
    clean = pair.clean
    if is_held_out(clean.text) is wanted:
        return None
    rule, use = ("held out", "is for training") if wanted else ("not held out", "is held out")
    return Rejection(
        family=clean.family,
        template=clean.template,
        clean=clean.text,
        corrupt=pair.corrupt.text,
        rule=rule,
        reason=f"text {clean.text!r} {use}",
    )


def training_prompts(family: TaskFamily, n: int, seed: int, encode: Encode) -> tuple[Prompt, ...]:
    """`n` distinct prompts of `family` to train on, none of them held out; balanced over templates.

    Raises:
        NotEnoughPrompts: fewer than `n` are left under this tokenizer.
        ValueError: `n` is below 1 or `seed` is negative.
    """
    rng = family_rng(seed, f"{family.name}/training")
    drawn = draw(family, n=n, rng=rng, encode=encode, verify=for_training)
    return tuple(pair.clean for pair in drawn.pairs)


def training_item(prompt: Prompt, encode: Encode) -> Item:
    """A prompt as token ids. Raises ValueError where the answer is not one token in context."""
    return Item(ids=tuple(encode(prompt.text)), answer=answer_ids(prompt, encode)[0])


def items_digest(items: Sequence[Item]) -> str:
    """sha256 (hex) of the token ids, in order."""
    return hashlib.sha256(json.dumps([[item.ids, item.answer] for item in items]).encode()).hexdigest()
