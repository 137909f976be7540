"""Which prompts of two tables ask the same question, one of them bare and the other behind a context."""

from __future__ import annotations

from collections.abc import Sequence

from harness.effects import PromptRecord


def questions(bare: Sequence[PromptRecord], other: Sequence[PromptRecord]) -> dict[int, int]:
    """Of the bare prompts, those that the others ask too -> which of the others, whose text ends with theirs.

    They are of one draw, family and template, and have one answer and foil.
    """
    asked: dict[tuple[object, ...], list[int]] = {}
    for i, prompt in enumerate(bare):
        asked.setdefault(_question(prompt), []).append(i)
    return {
        i: j
        for j, prompt in enumerate(other)
        for i in asked.get(_question(prompt), [])
        if prompt.text.endswith(bare[i].text)
    }


def _question(prompt: PromptRecord) -> tuple[object, ...]:
    return prompt.family, prompt.template, prompt.answer, prompt.foil, prompt.seed
