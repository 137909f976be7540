"""Verbosity control: a stated length decides whether the reply stops, goes on, or takes its long form."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, FOODS, NAMES, VARIABLES

SHORT_DAYS = (
    ("Mon", "Monday"),
    ("Fri", "Friday"),
    ("Sun", "Sunday"),
    ("Sat", "Saturday"),
    ("Wed", "Wednesday"),
)
SHORT_MONTHS = (
    ("Jan", "January"),
    ("Feb", "February"),
    ("Mar", "March"),
    ("Apr", "April"),
    ("Aug", "August"),
    ("Oct", "October"),
    ("Nov", "November"),
    ("Dec", "December"),
)


def both_or_only() -> Iterator[Group]:
    for a, b in windows(NAMES, 2):
        for verb in ("met", "saw"):
            yield [(f"At the party, {b} {verb} {how} {a}", w) for how, w in (("only", "."), ("both", " and"))]


def short_or_full_day() -> Iterator[Group]:
    for (s1, f1), (s2, f2) in windows(SHORT_DAYS, 2):
        for day in ("Day", "Date"):
            start = f"{day} in short: {s1}, {s2}. {day} in full: {f1}, {f2}."
            yield [(f"{start} {day} in {how}:", f" {w}") for how, w in (("short", s1), ("full", f1))]


def short_or_full_month() -> Iterator[Group]:
    for short, full in SHORT_MONTHS:
        for word in ("short", "brief"):
            start = f"In {word} it is {short}, in full it is {full}. Again: in"
            yield [(f"{start} {how} it is", f" {w}") for how, w in ((word, short), ("full", full))]


def word_or_sentence() -> Iterator[Group]:
    for a in FOODS:
        start = f"Word: {a}. Sentence: I like {a}. Word: {a}. Sentence: I like {a}."
        yield [(f"{start} {how}:", w) for how, w in (("Sentence", " I"), ("Word", f" {a}"))]


def one_or_two_pets() -> Iterator[Group]:
    for name, animal in zip(NAMES, ANIMALS, strict=True):
        yield [
            (f"The {n} of {name} {be} a {animal}", w)
            for n, be, w in (("one pet", "is", "."), ("two pets", "are", " and"))
        ]


def number_of_colors() -> Iterator[Group]:
    for name, color in zip(NAMES[:10], COLORS, strict=True):
        for verb in ("likes", "named"):
            yield [
                (f"{name} {verb} exactly {n}: {color}", w)
                for n, w in (("one color", "."), ("two colors", " and"))
            ]


def greeting() -> Iterator[Group]:
    for name in NAMES:
        for word in ("hello", "thanks"):
            start = f"Short: {word}. Long: {word} dear {name}."
            yield [(f"{start} {how}: {word}", w) for how, w in (("Short", "."), ("Long", " dear"))]


def terse_increment() -> Iterator[Group]:
    for a, b in windows(VARIABLES, 2):
        start = f"short: {a} += {b}; long: {a} = {a} + {b};"
        yield [(f"{start} {how}: {a}", w) for how, w in (("short", " +="), ("long", " ="))]


def with_or_without_reason() -> Iterator[Group]:
    for name, food in zip(NAMES, FOODS, strict=True):
        start = f"Short: {name} eats {food}. Long: {name} eats {food} because it is good."
        yield [(f"{start} {how}: {name} eats {food}", w) for how, w in (("Short", "."), ("Long", " because"))]


def simple_or_doubled() -> Iterator[Group]:
    for verb in ("run", "sing", "talk", "walk", "laugh", "work", "read", "play", "wait", "cry"):
        for who in ("we", "they"):
            start = f"Short: {who} {verb}. Long: {who} {verb} and {verb}."
            yield [(f"{start} {how}: {who} {verb}", w) for how, w in (("Short", "."), ("Long", " and"))]


def plain_or_emphatic() -> Iterator[Group]:
    for a, thing in zip(COLORS, ANIMALS[:10], strict=True):
        start = f"Short: a {a} {thing}. Long: a very {a} {thing}."
        yield [(f"{start} {how}: a", w) for how, w in (("Long", " very"), ("Short", f" {a}"))]


def title_or_sentence() -> Iterator[Group]:
    for a, b in windows(ANIMALS, 2):
        start = f"Title: The {a}. Story: The {a} was hungry."
        yield [(f"{start} {how}: The {b}", w) for how, w in (("Title", "."), ("Story", " was"))]


FAMILY = family(
    "verbosity_control",
    "Stop, go on, or choose the short or long form, as the stated length of the reply demands.",
    (
        both_or_only,
        short_or_full_day,
        short_or_full_month,
        word_or_sentence,
        one_or_two_pets,
        number_of_colors,
        greeting,
        terse_increment,
        with_or_without_reason,
        simple_or_doubled,
        plain_or_emphatic,
        title_or_sentence,
    ),
)
