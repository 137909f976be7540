"""Which words of a prompt its template filled in, worked out by comparing the prompts of the template.

A template is a function, so its text and its slots are not kept apart anywhere. But its prompts show them: a word in
which a clean and a corrupt prompt differ was filled in, and so was one that few prompts of the same shape share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from tasks.prompts import Prompt, PromptPair, Span, TaskFamily

SHARED_BY = 0.4
"""A word is the template's own if at least this share of the template's prompts of equally many words have it in the
same place: 0.4 admits a template of two wordings and no slot with three fillers."""

_WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*|\S")

Shape = tuple[str, int]
"""Template, and number of words and signs."""


def mark_slots(pair: PromptPair, family: TaskFamily) -> PromptPair:
    """`pair`, one of the family's candidates, with `slots` set on both prompts. Signs are never slots.

    Raises:
        KeyError: the pair is not among the family's candidates.
    """
    clean, corrupt = (_with_slots(prompt, _slots_by_text(family)) for prompt in (pair.clean, pair.corrupt))
    return PromptPair(clean=clean, corrupt=corrupt)


def _with_slots(prompt: Prompt, found: Mapping[tuple[str, str], tuple[Span, ...]]) -> Prompt:
    return replace(prompt, slots=found[prompt.template, prompt.text])


@cache
def _slots_by_text(family: TaskFamily) -> Mapping[tuple[str, str], tuple[Span, ...]]:
    """(template, text) -> slots, for every text of the family."""
    spans: dict[tuple[str, str], list[Span]] = {}
    filled: dict[tuple[str, str], set[int]] = {}
    for pair in family.candidates():
        both = [(p.template, p.text) for p in (pair.clean, pair.corrupt)]
        for key in both:
            if key not in spans:
                spans[key] = [m.span() for m in _WORD.finditer(key[1])]
                filled[key] = set()
        clean, corrupt = (_words(key[1], spans[key]) for key in both)
        if len(clean) == len(corrupt):
            changed = {i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b}
            for key in both:
                filled[key] |= changed
    shapes: Counter[Shape] = Counter()
    words: Counter[tuple[Shape, int, str]] = Counter()
    for (template, text), places in spans.items():
        shape = (template, len(places))
        shapes[shape] += 1
        words.update((shape, i, word) for i, word in enumerate(_words(text, places)))
    marked: dict[tuple[str, str], tuple[Span, ...]] = {}
    for key, places in spans.items():
        shape = (key[0], len(places))
        marked[key] = tuple(
            place
            for i, (place, word) in enumerate(zip(places, _words(key[1], places), strict=True))
            if word[0].isalnum() and (i in filled[key] or words[shape, i, word] < SHARED_BY * shapes[shape])
        )
    return marked


def _words(text: str, spans: list[Span]) -> list[str]:
    return [text[start:end] for start, end in spans]
