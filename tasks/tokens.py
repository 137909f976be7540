"""What makes a pair measurable under a given tokenizer, one rule at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.prompts import Prompt, PromptPair

Encode = Callable[[str], list[int]]
"""Text to token ids. Special tokens that the tokenizer puts in front (Gemma's <bos>) may stay."""

MIN_TOKENS = 5
MAX_TOKENS = 30
LENGTHS = (MIN_TOKENS, MAX_TOKENS)
"""Bounds of a prompt's length in tokens, special tokens included."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A pair that cannot be measured, and the one rule it breaks."""

    family: str
    template: str
    clean: str
    corrupt: str
    rule: str
    """Short name of the rule, for counting."""
    reason: str
    """One sentence with the values that broke it."""


def verify_pair(pair: PromptPair, encode: Encode, *, lengths: tuple[int, int] = LENGTHS) -> Rejection | None:
    """The first rule that `pair` breaks under `encode`, or None if it can be measured.

    Rules, in this order: same template and family; no text ends in whitespace; the texts differ; answer and
    foil are swapped between clean and corrupt; each text has as many tokens as `lengths` allows (both bounds
    included); answer and foil are each one token in context, encode(text + answer) == encode(text) + [id], in
    both texts; the two ids differ; both texts have equally many tokens; the last token, where the prediction is
    read, is the same in both.
    """
    broken = next(_broken_wording(pair), None) or next(_broken_tokens(pair, encode, lengths), None)
    if broken is None:
        return None
    rule, reason = broken
    clean, corrupt = pair.clean, pair.corrupt
    return Rejection(
        family=clean.family,
        template=clean.template,
        clean=clean.text,
        corrupt=corrupt.text,
        rule=rule,
        reason=reason,
    )


def _broken_wording(pair: PromptPair) -> Iterator[tuple[str, str]]:
    """The rules that need no tokenizer."""
    clean, corrupt = pair.clean, pair.corrupt
    if (clean.family, clean.template) != (corrupt.family, corrupt.template):
        yield (
            "same template",
            f"clean is of {clean.family}/{clean.template} but corrupt of {corrupt.family}/{corrupt.template}",
        )
    for prompt in (clean, corrupt):
        if prompt.text != prompt.text.rstrip():
            yield (
                "no trailing whitespace",
                f"text {prompt.text!r} ends in whitespace; move it to the front of the answer",
            )
    if clean.text == corrupt.text:
        yield "clean differs from corrupt", f"clean and corrupt are the same text {clean.text!r}"
    if (corrupt.answer, corrupt.foil) != (clean.foil, clean.answer):
        yield (
            "answer and foil swapped",
            f"corrupt has answer {corrupt.answer!r} and foil {corrupt.foil!r}; expected {clean.foil!r} and "
            f"{clean.answer!r}",
        )


def _broken_tokens(pair: PromptPair, encode: Encode, lengths: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """The rules that depend on the tokenizer."""
    shortest, longest = lengths
    clean, corrupt = encode(pair.clean.text), encode(pair.corrupt.text)
    for prompt, ids in ((pair.clean, clean), (pair.corrupt, corrupt)):
        if not shortest <= len(ids) <= longest:
            yield (
                "length in range",
                f"text {prompt.text!r} has {len(ids)} tokens; expected {shortest} to {longest}",
            )
        for role, word in (("answer", prompt.answer), ("foil", prompt.foil)):
            continued = encode(prompt.text + word)
            if continued[:-1] != ids:
                yield (
                    "one token in context",
                    f"{role} {word!r} after {prompt.text!r} turns {len(ids)} tokens into {len(continued)} "
                    f"and is not one appended token",
                )
    # verify_pair asks for the first broken rule only, so from here on each word is one token in each text.
    answer_id, foil_id = (
        encode(pair.clean.text + pair.clean.answer)[-1],
        encode(pair.clean.text + pair.clean.foil)[-1],
    )
    if answer_id == foil_id:
        yield (
            "answer and foil ids differ",
            f"answer {pair.clean.answer!r} and foil {pair.clean.foil!r} are both token {answer_id}",
        )
    if len(clean) != len(corrupt):
        yield (
            "equal token length",
            f"clean {pair.clean.text!r} has {len(clean)} tokens but corrupt {pair.corrupt.text!r} has "
            f"{len(corrupt)}",
        )
    if clean[-1] != corrupt[-1]:
        yield (
            "same read-out token",
            f"the last tokens of {pair.clean.text!r} ({clean[-1]}) and {pair.corrupt.text!r} ({corrupt[-1]}) "
            "differ; the difference must come before the read-out",
        )


def answer_ids(prompt: Prompt, encode: Encode) -> tuple[int, int]:
    """Ids of (answer, foil) as they follow `prompt.text`.

    Raises:
        ValueError: one of them is not one token in context.
    """
    ids = encode(prompt.text)
    found = []
    for role, word in (("answer", prompt.answer), ("foil", prompt.foil)):
        continued = encode(prompt.text + word)
        if continued[:-1] != ids:
            raise ValueError(
                f"{role} {word!r} is not one token after {prompt.text!r} under this tokenizer; draw prompts "
                "with tasks.sampling, which verifies them"
            )
        found.append(continued[-1])
    return found[0], found[1]
