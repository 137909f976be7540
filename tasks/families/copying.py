"""Copying: continue a repetition, so that the answer is a word that already stands in the text."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, others, windows
from tasks.words import ANIMALS, CITIES, COLORS, DIGITS, FOODS, LETTERS, NAMES, OBJECTS


def letter_cycle() -> Iterator[Group]:
    for a, b, c, d, e in windows(LETTERS, 5):
        yield [(f"{a} {b} {x} {a} {b} {x} {a} {b}", f" {x}") for x in (c, d, e)]


def word_cycle() -> Iterator[Group]:
    for a, b, x, y, z in windows(COLORS, 5):
        yield [(f"{a} {b} {w} {a} {b} {w} {a} {b}", f" {w}") for w in (x, y, z)]


def list_again() -> Iterator[Group]:
    for a, b, x, y, z in windows(OBJECTS, 5):
        yield [(f"List: {a}, {b}, {w}. Same list: {a}, {b},", f" {w}") for w in (x, y, z)]


def echo_arrows() -> Iterator[Group]:
    for a, b, x, y, z in windows(ANIMALS, 5):
        yield [(f"{a} -> {a}\n{b} -> {b}\n{w} ->", f" {w}") for w in (x, y, z)]


def repeated_sentence() -> Iterator[Group]:
    for name, foods in zip(NAMES, windows(FOODS, 3), strict=True):
        yield [(f"{name} likes to eat {f}. Yes, {name} likes to eat", f" {f}") for f in foods]


def surname() -> Iterator[Group]:
    surnames = ("Smith", "Brown", "Jones", "King", "Wilson", "Taylor", "Moore", "Clark", "Lewis", "Young")
    for title, place in (("Mr.", "home"), ("Mrs.", "out"), ("Dr.", "away"), ("Miss", "back")):
        yield [(f"{title} {s} went {place} early. The next day, {title}", f" {s}") for s in surnames]


def password() -> Iterator[Group]:
    for words in windows(ANIMALS, 3):
        yield [(f"The secret word is {w}. I repeat, the secret word is", f" {w}") for w in words]


def digit_code() -> Iterator[Group]:
    for a, b, x, y, z in windows(DIGITS, 5):
        yield [(f"Code: {a}-{b}-{w}. Again: {a}-{b}-", f"{w}") for w in (x, y, z)]
        yield [(f"Code: {b}-{a}-{w}. Again: {b}-{a}-", f"{w}") for w in (x, y, z)]


def echo_calls() -> Iterator[Group]:
    for a, b, x, y, z in windows(FOODS, 5):
        yield [(f'echo("{a}")="{a}"; echo("{b}")="{b}"; echo("{w}")="', w) for w in (x, y, z)]


def destination() -> Iterator[Group]:
    for name, cities in zip(NAMES[:10], windows(CITIES, 3), strict=True):
        yield [(f"{name} moved to {c} last year. All friends of {name} moved to", f" {c}") for c in cities]


def quoted_line() -> Iterator[Group]:
    for verb, colors in zip(
        ("painted", "wanted", "sold", "bought", "washed") * 2, windows(COLORS, 3), strict=True
    ):
        yield [(f'"We {verb} the {c} car." He read it again: "We {verb} the', f" {c}") for c in colors]


def alternation() -> Iterator[Group]:
    for x, y, z in windows(OBJECTS, 3):
        for a in others(FOODS[:3], x):
            yield [(f"{a} {w} {a} {w} {a} {w} {a}", f" {w}") for w in (x, y, z)]


FAMILY = family(
    "copying",
    "Continue a repeated sequence or sentence: the answer is the word that followed here before.",
    (
        letter_cycle,
        word_cycle,
        list_again,
        echo_arrows,
        repeated_sentence,
        surname,
        password,
        digit_code,
        echo_calls,
        destination,
        quoted_line,
        alternation,
    ),
)
