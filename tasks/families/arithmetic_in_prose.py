"""Arithmetic as people tell it: small sums in sentences, answered by a number word."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family
from tasks.words import NAMES, NUMBERS

SUMS = tuple((a, b, a + b) for a in range(2, 10) for b in range(1, 13 - a))
"""(a, b, a + b) with a sum of at most 12."""


def _spelled(text: str, cases: list[tuple[int, int, int]]) -> Group:
    """`text` with {a} and {b} spelled; the third number is the answer."""
    return [(text.format(a=NUMBERS[a], b=NUMBERS[b]), f" {NUMBERS[n]}") for a, b, n in cases]


def gain() -> Iterator[Group]:
    for thing in ("apples", "books"):
        text = f"If you have {{a}} {thing} and get {{b}} more, the number of {thing} you have is"
        yield _spelled(text, [(a, b, s) for a, b, s in SUMS])


def loss() -> Iterator[Group]:
    text = "I baked {a} cakes and my friends ate {b} of them, so the number of cakes left is"
    yield _spelled(text, [(s, a, b) for a, b, s in SUMS])


def repetition() -> Iterator[Group]:
    text = "Every table has {a} chairs, so with {b} of those tables the number of chairs is"
    yield _spelled(text, [(a, b, a * b) for a in range(2, 7) for b in range(2, 7) if a * b < 13])


def fair_shares() -> Iterator[Group]:
    for thing in ("cookies", "coins", "cards"):
        text = f"The two of us share {{a}} {thing} fairly, which means that each of us gets"
        yield _spelled(text, [(2 * n, n, n) for n in range(2, 7)])


def twice_the_age() -> Iterator[Group]:
    for who in ("sister", "brother", "cousin"):
        text = f"My {who} is {{a}} years old and I am twice that age, so my age in years is"
        yield _spelled(text, [(n, n, 2 * n) for n in range(1, 7)])


def next_birthday() -> Iterator[Group]:
    for name in NAMES[:4]:
        text = f"{name} is {{a}} years old today, and so a year from now {name} will be"
        yield _spelled(text, [(n, n, n + 1) for n in range(2, 12)])


def last_year() -> Iterator[Group]:
    for name in NAMES[4:8]:
        text = f"{name} turns {{a}} this week, so until last week the age of {name} was"
        yield _spelled(text, [(n, n, n - 1) for n in range(2, 13)])


def winning_score() -> Iterator[Group]:
    text = "Our team scored {a} points and theirs scored {b}, so the higher of the two scores is"
    yield _spelled(text, [(a, b, max(a, b)) for a in range(1, 10) for b in range(1, 10) if a != b])


def cheaper_offer() -> Iterator[Group]:
    text = "One shop asks {a} dollars for it and another asks {b}, so the lower price in dollars is"
    yield _spelled(text, [(a, b, min(a, b)) for a in range(1, 10) for b in range(1, 10) if a != b])


def age_gap() -> Iterator[Group]:
    for older, younger in (("Anna", "Peter"), ("Paul", "Mary")):
        text = f"{older} is {{a}} years old and {younger} is {{b}}, so the years between them are"
        yield _spelled(text, [(s, a, b) for a, b, s in SUMS])


def waiting_time() -> Iterator[Group]:
    text = "It is {a} o'clock now and the train leaves in {b} hours, so the train leaves at"
    yield _spelled(text, [(a, b, s) for a, b, s in SUMS if b > 1])


def people_on_a_bus() -> Iterator[Group]:
    text = "There were {a} people on the bus, and after {b} had got off, the number of people was"
    yield _spelled(text, [(s, a, b) for a, b, s in SUMS if b > 1])


FAMILY = family(
    "arithmetic_in_prose",
    "Add, subtract, multiply, share and compare small numbers in everyday sentences.",
    (
        gain,
        loss,
        repetition,
        fair_shares,
        twice_the_age,
        next_birthday,
        last_year,
        winning_score,
        cheaper_offer,
        age_gap,
        waiting_time,
        people_on_a_bus,
    ),
)
