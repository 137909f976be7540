"""Which prompts of two tables ask the same question, one of them bare and the other behind a context."""

from __future__ import annotations

from collections.abc import Sequence

from harness.effects import PromptRecord
from harness.verdicts.verdict import MissingEvidence


def questions(bare: Sequence[PromptRecord], other: Sequence[PromptRecord]) -> dict[int, int]:
    """Of the bare prompts, those that the others ask too -> which of the others, whose text ends with theirs.

    They are of one draw, family and template, and have one answer and foil. Raises MissingEvidence for a question that
    either side asks more than once: which prompt of it is meant is not told.
    """
    asked: dict[tuple[object, ...], list[int]] = {}
    for i, prompt in enumerate(bare):
        asked.setdefault(_question(prompt), []).append(i)
    found: dict[int, int] = {}
    for j, prompt in enumerate(other):
        same = [i for i in asked.get(_question(prompt), []) if prompt.text.endswith(bare[i].text)]
        if len(same) > 1 or found.keys() & set(same):
            question = bare[same[0]]
            raise MissingEvidence(
                f"the question {question.text!r} of {question.family} (seed {question.seed}) is asked more than once: "
                "match conditions that ask each question once"
            )
        found |= dict.fromkeys(same, j)
    return found


def _question(prompt: PromptRecord) -> tuple[object, ...]:
    return prompt.family, prompt.template, prompt.answer, prompt.foil, prompt.seed
