"""The three values a task family is made of: a prompt, a clean/corrupt pair, and the family itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Span = tuple[int, int]
"""Characters `start` to `end` (exclusive) of a text."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One text to continue, with the token that is right and a token that is wrong.

    `answer` and `foil` are strings that follow `text` directly: a leading space, where the continuation has
    one, belongs to them and never to the end of `text`.
    """

    text: str
    answer: str
    foil: str
    family: str
    template: str
    """Name of the template the text came from, unique within the family: the cluster for statistics."""
    slots: tuple[Span, ...] = field(default=(), compare=False, repr=False)
    """Where the template's slots stand in `text`, in order; empty where not marked (see `tasks.slots`)."""


@dataclass(frozen=True, kw_only=True)
class PromptPair:
    """A clean prompt and a corrupt one of the same template whose answer differs.

    The corrupt prompt's answer is the clean prompt's foil, so that one logit difference serves both.
    """

    clean: Prompt
    corrupt: Prompt


@dataclass(frozen=True, kw_only=True)
class TaskFamily:
    """A named generator of prompt pairs.

    `candidates` enumerates every pair the family can make, always in the same order and without a
    tokenizer; `tasks.sampling` draws from it and verifies each draw against a model's tokenizer.
    """

    name: str
    description: str
    candidates: Callable[[], tuple[PromptPair, ...]]
