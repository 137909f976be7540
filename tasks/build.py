"""How a family is put together: templates that yield groups of variants, and the pairs made from a group.

A *variant* is a text with its right answer. A *group* holds variants of one template that differ only in what
decides the answer, so any two of them whose answers differ make a clean/corrupt pair. The contrast is thus
written down once, by the template, and never assembled by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TypeVar

from tasks.prompts import Prompt, PromptPair, TaskFamily

Variant = tuple[str, str]
"""(text, answer): the answer follows the text directly."""
Group = Sequence[Variant]
Template = Callable[[], Iterator[Group]]
"""A function named as the template is; it yields groups, always in the same order."""

CORRUPTS_PER_CLEAN = 3
"""How many corrupt partners a clean text gets: enough that one of equal token length is among them."""
MAX_PAIRS_PER_TEMPLATE = 150
"""Past this, every k-th pair is taken, which keeps a family under about 2000 candidates."""

T = TypeVar("T")


def family(name: str, description: str, templates: Sequence[Template]) -> TaskFamily:
    """A family over `templates`, each named by its function. Its `candidates()` raises where a group has no contrast.

    Raises:
        ValueError: two templates have the same name.
    """
    names = [template.__name__ for template in templates]
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ValueError(
            f"family {name!r}: template names {twice} are used twice; give each template its own name"
        )

    @cache
    def candidates() -> tuple[PromptPair, ...]:
        return tuple(pair for template in templates for pair in _pairs(name, template))

    return TaskFamily(name=name, description=description, candidates=candidates)


def _pairs(family_name: str, template: Template) -> list[PromptPair]:
    # Groups may overlap; a pair that comes up twice counts once.
    contrasts = [*dict.fromkeys(contrast for group in template() for contrast in _contrasts(group))]
    stride = -(-len(contrasts) // MAX_PAIRS_PER_TEMPLATE) or 1

    def prompt(text: str, answer: str, foil: str) -> Prompt:
        return Prompt(text=text, answer=answer, foil=foil, family=family_name, template=template.__name__)

    return [
        PromptPair(clean=prompt(clean, answer, foil), corrupt=prompt(corrupt, foil, answer))
        for (clean, answer), (corrupt, foil) in contrasts[::stride]
    ]


def _contrasts(group: Group) -> Iterator[tuple[Variant, Variant]]:
    """Each variant as clean with the next few variants, cyclically, whose answer differs.

    Raises:
        ValueError: all answers are the same, so the group has no contrast and its prompts would vanish unseen.
    """
    if len({answer for _, answer in group}) < 2:
        raise ValueError(
            f"group {list(group)!r} has no two answers that differ; vary what decides the answer"
        )
    for index, clean in enumerate(group):
        partners = 0
        for step in range(1, len(group)):
            corrupt = group[(index + step) % len(group)]
            if corrupt[1] != clean[1]:
                yield clean, corrupt
                partners += 1
            if partners == CORRUPTS_PER_CLEAN:
                break


def windows(items: Sequence[T], size: int, step: int = 1) -> Iterator[Sequence[T]]:
    """Runs of `size` neighbours, starting at every `step`-th item and going round the end."""
    doubled = [*items, *items]
    return (doubled[start : start + size] for start in range(0, len(items), step))


def others(items: Sequence[T], *excluded: T) -> list[T]:
    """`items` without the excluded ones, in order."""
    return [item for item in items if item not in excluded]
