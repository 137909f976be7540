"""Dead code: statements that never run, or whose result is never used, must not change the answer.

Every text is a program up to the answer. Completed with the answer (and a closing quotation mark where one is
open) it runs; completed with the foil, the value that the dead code would give, its assertion fails.
"""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, DIGITS, FOODS

DIGIT_FILLS = tuple(
    (x, a, b) for x in "xns" for a, b in (*windows(DIGITS, 2), *windows((7, 2, 9, 4, 1, 6), 2))
)
WORD_FILLS = tuple(
    (x, a, b) for x in "sw" for words in (COLORS, ANIMALS, FOODS) for a, b in windows(words, 2)
)
"""(variable, value, other value)."""


def _digits(text: str) -> Iterator[Group]:
    """`text` with {x}, {a}, {b} filled in; {a} is the live value. The corrupt text swaps the two values."""
    for x, a, b in DIGIT_FILLS:
        yield [(text.format(x=x, a=u, b=v), f"{u}") for u, v in ((a, b), (b, a))]


def _words(text: str) -> Iterator[Group]:
    """As `_digits`, with strings for values; `text` is put before `assert {x}=="`."""
    for x, a, b in WORD_FILLS:
        yield [
            (text.format(x=x, a=f'"{u}"', b=f'"{v}"') + f'\nassert {x}=="', u) for u, v in ((a, b), (b, a))
        ]


def _dead_or_live(dead: str, live: str) -> Iterator[Group]:
    """`dead` leaves the value {a}; in `live` the same statement does run and gives {b}."""
    for x, a, b in WORD_FILLS:
        yield [
            (text.format(x=x, a=f'"{a}"', b=f'"{b}"') + f'\nassert {x}=="', value)
            for text, value in ((dead, a), (live, b))
        ]


def commented_out() -> Iterator[Group]:
    yield from _words("#{x}={b}\n{x}={a}")


def false_branch() -> Iterator[Group]:
    yield from _dead_or_live("{x}={a}\nif False: {x}={b}", "{x}={a}\nif True: {x}={b}")


def skipped_branch() -> Iterator[Group]:
    yield from _words("if False: {x}={b}\nelse: {x}={a}")


def after_return() -> Iterator[Group]:
    yield from _digits("def f():\n return {a}\n return {b}\nassert f()==")


def loop_never_entered() -> Iterator[Group]:
    yield from _words("while False: {x}={b}\n{x}={a}")


def overwritten_value() -> Iterator[Group]:
    yield from _words("{x}={b}\n{x}={a}")


def unused_function() -> Iterator[Group]:
    yield from _words("g=lambda: {b}\n{x}={a}")


def short_circuit() -> Iterator[Group]:
    yield from _digits("{x}={a} or {b}\nassert {x}==")


def branch_by_value() -> Iterator[Group]:
    yield from _words("{x}={b} if 0 else {a}")


def unused_variable() -> Iterator[Group]:
    for a, b in windows(FOODS, 2):
        for x, y in ("st", "vw"):
            yield [(f'{x}="{a}"\n{y}="{b}"\nassert {z}=="', value) for z, value in ((x, a), (y, b))]


def loop_left_early() -> Iterator[Group]:
    yield from _dead_or_live("for {x} in [{a},{b}]: break", "for {x} in [{a},{b}]: pass")


def handler_never_reached() -> Iterator[Group]:
    yield from _digits("try: {x}={a}\nexcept: {x}={b}\nassert {x}==")


def unused_string() -> Iterator[Group]:
    """A string that stands alone is an expression whose value nobody keeps."""
    yield from _words("{b}\n{x}={a}")


def unused_item() -> Iterator[Group]:
    yield from _words("{x}=[{a},{b}]\n{x}={x}[0]")


FAMILY = family(
    "dead_code",
    "Ignore statements that never run or whose result is never used.",
    (
        commented_out,
        false_branch,
        skipped_branch,
        after_return,
        loop_never_entered,
        overwritten_value,
        unused_function,
        short_circuit,
        branch_by_value,
        unused_variable,
        loop_left_early,
        handler_never_reached,
        unused_string,
        unused_item,
    ),
)
