"""Uncertainty: say whether something is known or certain, where the text itself settles it."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, others, windows
from tasks.words import ANIMALS, COLORS, FOODS, NAMES, OBJECTS, PLACES


def told_or_hidden() -> Iterator[Group]:
    for a, b in windows(NAMES, 2):
        start = f"{a} told us: known. {a} hid it: unknown."
        yield [(f"{start} {b} {v}:", w) for v, w in (("told us", " known"), ("hid it", " unknown"))]


def listed_or_not() -> Iterator[Group]:
    for a, b in windows(NAMES, 2):
        for thing in ("Age", "Name"):
            start = f"{thing}: {a}=known, {b}=unknown. Again:"
            yield [(f"{start} {x}=", w) for x, w in ((a, "known"), (b, "unknown"))]


def sure_or_guess() -> Iterator[Group]:
    for a, b in windows(NAMES, 2):
        start = f"{a} knows it: sure. {a} guesses it: unsure."
        yield [(f"{start} {b} {v} it:", w) for v, w in (("knows", " sure"), ("guesses", " unsure"))]


def surely_or_maybe() -> Iterator[Group]:
    for place in PLACES:
        yield [
            (f"We will {v} go to the {place}, so the trip to the {place} is", w)
            for v, w in (("definitely", " certain"), ("possibly", " uncertain"))
        ]


def all_or_some() -> Iterator[Group]:
    for a, b in windows(others(ANIMALS, "fish", "wolf", "mouse"), 2):
        for color in COLORS[:2]:
            start = f"All {a}s {color}: certain. Some {a}s {color}: possible."
            yield [(f"{start} {v} {b}s {color}:", w) for v, w in (("All", " certain"), ("Some", " possible"))]


def confidence_level() -> Iterator[Group]:
    for high, low in zip(
        (99, 98, 97, 96, 95, 94, 93, 92, 91, 90), (11, 12, 13, 14, 15, 16, 17, 18, 19, 10), strict=True
    ):
        start = "95% sure: high. 10% sure: low."
        yield [(f"{start} {p}% sure:", w) for p, w in ((high, " high"), (low, " low"))]


def known_or_doubted() -> Iterator[Group]:
    for a, b in windows(OBJECTS, 2):
        start = f"We know the {a}: certain. We doubt the {a}: uncertain."
        yield [(f"{start} We {v} the {b}:", w) for v, w in (("know", " certain"), ("doubt", " uncertain"))]


def sees_or_not() -> Iterator[Group]:
    for thing in others(OBJECTS, "box"):
        yield [
            (f"The box is {v}, so whether it holds a {thing} is", w)
            for v, w in (("open", " known"), ("shut", " unknown"))
        ]


def evidence() -> Iterator[Group]:
    for name in NAMES:
        yield [
            (f"{name} has {v} of the answer, so {name} is very", w)
            for v, w in (("clear proof", " certain"), ("no idea", " uncertain"))
        ]


def known_people() -> Iterator[Group]:
    for a, b in windows(NAMES, 2):
        start = f"I know {a} but not {b}. Do I know {a}? Yes. Do I know {b}? No."
        yield [(f"{start} Know {x}?", w) for x, w in ((a, " Yes"), (b, " No"))]


def missing_value() -> Iterator[Group]:
    for a, b, c in windows(FOODS, 3):
        start = f"{a} = 5 (known), {b} = none (unknown),"
        yield [(f"{start} {c} = {v} (", w) for v, w in (("set", "known"), ("none", "unknown"))]


def chance_or_law() -> Iterator[Group]:
    certain = ("sun will rise", "ice will melt", "sun will set", "fire will burn", "rain will fall")
    chance = ("coin shows heads", "dice shows six", "coin shows tails", "card shows red", "dice shows one")
    for c, law in enumerate(certain):
        for d, luck in enumerate(chance):
            start = f"The {law}: certain. The {luck}: possible."
            asked = ((certain[c - 1], " certain"), (chance[d - 1], " possible"))
            yield [(f"{start} The {event}:", w) for event, w in asked]


FAMILY = family(
    "uncertainty",
    "Say whether something is known, sure or possible, where the text settles which.",
    (
        told_or_hidden,
        listed_or_not,
        sure_or_guess,
        surely_or_maybe,
        all_or_some,
        confidence_level,
        known_or_doubted,
        sees_or_not,
        evidence,
        known_people,
        missing_value,
        chance_or_law,
    ),
)
