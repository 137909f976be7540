"""Instruction following: the same material under two instructions, so that the instruction alone decides the answer."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, DIGITS, FOODS, NUMBERS, OBJECTS, PLACES

LOWER_LETTERS = "abcdefghkmnprstwy"
BRACKET_KINDS = (("round", " ("), ("square", " ["), ("curly", " {"))


def first_or_last() -> Iterator[Group]:
    for a, b, c in windows(ANIMALS, 3):
        yield [
            (f"Words: {a}, {b}, {c}. Write only the {p} word:", f" {w}")
            for p, w in (("first", a), ("last", c))
        ]


def letter_size() -> Iterator[Group]:
    for letter in LOWER_LETTERS:
        for verb in ("Write", "Print"):
            yield [
                (f"{verb} the letter {letter} as a {size} letter:", f" {w}")
                for size, w in (("small", letter), ("capital", letter.upper()))
            ]


def say_this_not_that() -> Iterator[Group]:
    for a, b in windows(FOODS, 2):
        for verb in ("Say", "Type"):
            yield [(f"{verb} {x}, not {y}. So you {verb.lower()}", f" {x}") for x, y in ((a, b), (b, a))]


def kind_of_word() -> Iterator[Group]:
    for (a, c), order in zip([*zip(ANIMALS[:10], COLORS, strict=True)] * 2, [0] * 10 + [1] * 10, strict=True):
        pair = f"{a}, {c}" if order else f"{c}, {a}"
        yield [(f"From {pair} pick only the {kind}:", f" {w}") for kind, w in (("animal", a), ("color", c))]


def larger_or_smaller() -> Iterator[Group]:
    for a in DIGITS:
        for b in (a + 1, a + 3):
            for x, y in ((a, b), (b, a)):
                yield [
                    (f"Numbers: {NUMBERS[x]} and {NUMBERS[y]}. Give the {how} number:", f" {NUMBERS[n]}")
                    for how, n in (("larger", b), ("smaller", a))
                    if b < 13
                ]


def left_out() -> Iterator[Group]:
    for a, b, c in windows(OBJECTS, 3):
        yield [(f"Repeat {a}, {b}, {c} without {x}: {a},", f" {y}") for x, y in ((b, c), (c, b))]


def same_or_reverse_order() -> Iterator[Group]:
    for a, b, c in windows(COLORS, 3):
        for start in ("List", "Row"):
            yield [
                (f"{start}: {a}, {b}, {c}. The {start.lower()} in {how} order:", f" {w}")
                for how, w in (("equal", a), ("reverse", c))
            ]


def sorting_direction() -> Iterator[Group]:
    for a, b, c in windows(DIGITS, 3):
        for x, y, z in ((b, a, c), (c, b, a), (b, c, a)):
            yield [
                (f"Sort {x},{y},{z} going {how}: [", f"{n}")
                for how, n in (("up", min(a, b, c)), ("down", max(a, b, c)))
            ]


def word_exchange() -> Iterator[Group]:
    for a, b, c in windows(ANIMALS, 3):
        yield [
            (f'Write "the {a} and the {b}" with {c} for {old}: "the', f" {w}") for old, w in ((a, c), (b, a))
        ]


def reply_by_parity() -> Iterator[Group]:
    for a, b in windows(FOODS, 2):
        for even, odd in ((2, 3), (6, 7), (8, 5)):
            start = f"Reply {a} to even numbers and {b} to odd numbers. Number:"
            yield [(f"{start} {NUMBERS[n]}. Reply:", f" {w}") for n, w in ((even, a), (odd, b))]


def kind_of_bracket() -> Iterator[Group]:
    for word in (*PLACES, *FOODS):
        yield [(f"Put the word {word} in {kind} brackets:", sign) for kind, sign in BRACKET_KINDS]


def number_of_times() -> Iterator[Group]:
    for a, b in windows(COLORS, 2):
        for few, many in (("two", "three"), ("two", "four")):
            yield [
                (f"Write {a} {times} times and then {b}: {a} {a}", f" {w}")
                for times, w in ((few, b), (many, a))
            ]


def signal_and_reply() -> Iterator[Group]:
    for (a, b), (x, y) in zip(windows(COLORS, 2), windows(OBJECTS[:10], 2), strict=True):
        start = f"On {a} write {x}. On {b} write {y}. Signal:"
        yield [(f"{start} {s}. Write", f" {w}") for s, w in ((a, x), (b, y))]


def starting_letter() -> Iterator[Group]:
    for a, b in windows(PLACES, 2):
        for x, y in ((a, b), (b, a)):
            if a[0] != b[0]:
                yield [
                    (f"Of {x} and {y}, name the word with initial {w[0].upper()}:", f" {w}") for w in (a, b)
                ]


FAMILY = family(
    "instruction_following",
    "Do to the given words what the instruction says: pick, leave out, order, replace, put in brackets.",
    (
        first_or_last,
        letter_size,
        say_this_not_that,
        kind_of_word,
        larger_or_smaller,
        left_out,
        same_or_reverse_order,
        sorting_direction,
        word_exchange,
        reply_by_parity,
        kind_of_bracket,
        number_of_times,
        signal_and_reply,
        starting_letter,
    ),
)
