"""Arithmetic on small numbers. Answers are single digits or number words, never numbers of several digits."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family
from tasks.words import DIGITS, NAMES, NUMBERS, OBJECTS

SUMS = tuple((a, b, a + b) for a in range(1, 9) for b in range(1, 10 - a))
"""(a, b, a + b) with a sum of at most 9."""


def sum_of_digits() -> Iterator[Group]:
    yield [(f"1+2=3, 4+1=5, {a}+{b}=", f"{s}") for a, b, s in SUMS]


def difference_of_digits() -> Iterator[Group]:
    yield [(f"9-4=5, 7-1=6, {s}-{a}=", f"{b}") for a, b, s in SUMS]


def product_of_digits() -> Iterator[Group]:
    yield [(f"2*3=6, 1*4=4, {a}*{b}=", f"{a * b}") for a in DIGITS for b in DIGITS if a * b < 10]


def sum_of_words() -> Iterator[Group]:
    yield [
        (f"One plus two equals three. {NUMBERS[a].capitalize()} plus {NUMBERS[b]} equals", f" {NUMBERS[s]}")
        for a, b, s in SUMS
    ]


def difference_of_words() -> Iterator[Group]:
    yield [
        (f"Nine minus two is seven. And {NUMBERS[s]} minus {NUMBERS[a]} is", f" {NUMBERS[b]}")
        for a, b, s in SUMS
    ]


def number_after() -> Iterator[Group]:
    for start in ("After zero comes one. After", "The number after three is four. The number after"):
        verb = "comes" if start.startswith("After") else "is"
        yield [(f"{start} {NUMBERS[n]} {verb}", f" {NUMBERS[n + 1]}") for n in range(4, 12)]


def number_before() -> Iterator[Group]:
    for start in ("Before two comes one. Before", "The number before three is two. The number before"):
        verb = "comes" if start.startswith("Before") else "is"
        yield [(f"{start} {NUMBERS[n]} {verb}", f" {NUMBERS[n - 1]}") for n in range(4, 13)]


def counting_steps() -> Iterator[Group]:
    for step in (1, 2, -1, -2):
        runs = [[start + k * step for k in range(4)] for start in range(1, 10)]
        yield [(f"{a},{b},{c},", f"{d}") for a, b, c, d in runs if min(a, d) > 0 and max(a, d) < 10]
    for n in range(1, 8):
        yield [
            (f"Count: {NUMBERS[n]}, {NUMBERS[n + 1]}, {NUMBERS[n + 2]},", f" {NUMBERS[n + 3]}"),
            (f"Count: {NUMBERS[n + 2]}, {NUMBERS[n + 1]}, {NUMBERS[n]},", f" {NUMBERS[n - 1]}"),
        ]


def larger_of_two() -> Iterator[Group]:
    for a in DIGITS[:-1]:
        yield [(f"max(2,5)=5, max(7,1)=7, max({a},{b})=", f"{max(a, b)}") for b in DIGITS if b != a]


def smaller_of_two() -> Iterator[Group]:
    for a in DIGITS[1:]:
        yield [(f"min(2,5)=2, min(7,1)=1, min({a},{b})=", f"{min(a, b)}") for b in DIGITS if b != a]


def twice() -> Iterator[Group]:
    for first in (1, 6):
        start = f"Twice {NUMBERS[first]} is {NUMBERS[2 * first]}."
        yield [(f"{start} Twice {NUMBERS[n]} is", f" {NUMBERS[2 * n]}") for n in range(1, 7) if n != first]
        start = f"Double {NUMBERS[first]} makes {NUMBERS[2 * first]}."
        yield [
            (f"{start} Double {NUMBERS[n]} makes", f" {NUMBERS[2 * n]}") for n in range(1, 7) if n != first
        ]


def half() -> Iterator[Group]:
    for first in (2, 12):
        start = f"Half of {NUMBERS[first]} is {NUMBERS[first // 2]}."
        yield [
            (f"{start} Half of {NUMBERS[n]} is", f" {NUMBERS[n // 2]}") for n in range(2, 13, 2) if n != first
        ]


def story_of_gain() -> Iterator[Group]:
    for name, thing in zip(NAMES[:5], OBJECTS[:5], strict=True):
        for a in (2, 3, 4):
            yield [
                (
                    f"{name} had {NUMBERS[a]} {thing}s and got {NUMBERS[b]} more, so now the total is",
                    f" {NUMBERS[a + b]}",
                )
                for b in (1, 2, 3, 4)
                if b != a
            ]


def account_of_loss() -> Iterator[Group]:
    yield [(f"had=7 lost=2 left=5; had={s} lost={a} left=", f"{b}") for a, b, s in SUMS]


def substitute_variable() -> Iterator[Group]:
    for x in "nkz":
        yield [
            (f"If {x}=1 then {x}+1=2. If {x}={a} then {x}+{b}=", f"{s}") for a, b, s in SUMS if b in (1, 2)
        ]


FAMILY = family(
    "arithmetic",
    "Add, subtract, multiply, compare, halve and count with numbers up to twelve.",
    (
        sum_of_digits,
        difference_of_digits,
        product_of_digits,
        sum_of_words,
        difference_of_words,
        number_after,
        number_before,
        counting_steps,
        larger_of_two,
        smaller_of_two,
        twice,
        half,
        story_of_gain,
        account_of_loss,
        substitute_variable,
    ),
)
