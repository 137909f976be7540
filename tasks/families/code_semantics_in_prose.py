"""Code semantics in prose: what a short program, told in sentences, computes."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, DIGITS, FOODS, NUMBERS


def increased_variable() -> Iterator[Group]:
    for x in "xn":
        for k in (1, 2, 3):
            text = f"If {x} is {{}} and I add {NUMBERS[k]} to it, the value of {x} will be"
            yield [(text.format(NUMBERS[n]), f" {NUMBERS[n + k]}") for n in range(1, 10)]


def copied_variable() -> Iterator[Group]:
    for x, y in ("xy", "ab", "mn"):
        text = f"I set {x} to {{}} and then I set {y} to the value of {x}, so now {y} is"
        yield [(text.format(NUMBERS[n]), f" {NUMBERS[n]}") for n in DIGITS]


def exchanged_variables() -> Iterator[Group]:
    for a, b in windows(DIGITS, 2):
        for x, y in ("xy", "mn"):
            text = f"First {x} is {{}} and {y} is {{}}. Once the two have been swapped, {x} is"
            yield [(text.format(NUMBERS[p], NUMBERS[q]), f" {NUMBERS[q]}") for p, q in ((a, b), (b, a))]


def overwritten_variable() -> Iterator[Group]:
    for a, b in windows(ANIMALS, 2):
        for x in "xs":
            text = f"I set {x} to {{}} and later I set {x} to {{}}, so when I print {x} I get"
            yield [(text.format(p, q), f" {q}") for p, q in ((a, b), (b, a))]


def element_of_list() -> Iterator[Group]:
    for a, b, c in windows(FOODS, 3):
        text = f"A list holds {a}, {b} and {c} in this order, so its {{}} element is"
        yield [(text.format(place), f" {w}") for place, w in (("first", a), ("last", c))]


def letters_of_word() -> Iterator[Group]:
    words = ("is", "to", "cat", "dog", "red", "book", "blue", "fish", "house", "green", "river", "bridge")
    yield [
        (f'The program counts the letters of "{w}" and prints that there are', f" {NUMBERS[len(w)]}")
        for w in words
    ]


def tested_comparison() -> Iterator[Group]:
    for a, b in windows((1, 2, 4, 5, 7, 8), 2):
        for thing in ("program", "function", "script"):
            text = f"The {thing} tests whether {{}} is greater than {{}}, and the result of this test is"
            yield [
                (text.format(NUMBERS[p], NUMBERS[q]), " true" if p > q else " false")
                for p, q in ((a, b), (b, a))
            ]


def called_function() -> Iterator[Group]:
    for k in (1, 2, 3, 4):
        text = f"A function adds {NUMBERS[k]} to whatever it is given. Called with {{}}, it returns"
        yield [(text.format(NUMBERS[n]), f" {NUMBERS[n + k]}") for n in range(1, 9)]


def counted_loop() -> Iterator[Group]:
    text = "A counter starts at zero and the loop adds two to it {} times, so it ends at"
    for start in ("", "In this program, "):
        sentence = start + (text[0].lower() if start else text[0]) + text[1:]
        yield [(sentence.format(NUMBERS[n]), f" {NUMBERS[2 * n]}") for n in range(2, 7)]


def entry_of_dictionary() -> Iterator[Group]:
    for (x, y), (a, b) in zip(windows(FOODS, 2), windows((*DIGITS, 4, 2, 7), 2), strict=True):
        text = f"A dictionary maps {x} to {NUMBERS[a]} and {y} to {NUMBERS[b]}. Looking up {{}} gives"
        yield [(text.format(w), f" {NUMBERS[n]}") for w, n in ((x, a), (y, b))]


def largest_or_smallest() -> Iterator[Group]:
    for a, b, c in windows(DIGITS, 3):
        for x, y, z in ((b, a, c), (b, c, a), (a, c, b)):
            text = f"A script reads {NUMBERS[x]}, {NUMBERS[y]} and {NUMBERS[z]} and prints the {{}} number, which is"
            yield [
                (text.format(how), f" {NUMBERS[n]}")
                for how, n in (("largest", max(a, b, c)), ("smallest", min(a, b, c)))
            ]


def split_text() -> Iterator[Group]:
    for a, b, c in windows(COLORS, 3):
        text = f'The text "{{}} {c}" is split at the space, so the first of the two parts is'
        yield [(text.format(w), f" {w}") for w in (a, b)]


def negated_flag() -> Iterator[Group]:
    for thing in ("program", "function", "script", "method", "server"):
        text = f"The flag is {{}} and the {thing} prints the opposite of the flag, which is"
        yield [(text.format(a), f" {b}") for a, b in (("true", "false"), ("false", "true"))]


FAMILY = family(
    "code_semantics_in_prose",
    "Say what a program that is told in sentences computes.",
    (
        increased_variable,
        copied_variable,
        exchanged_variables,
        overwritten_variable,
        element_of_list,
        letters_of_word,
        tested_comparison,
        called_function,
        counted_loop,
        entry_of_dictionary,
        largest_or_smallest,
        split_text,
        negated_flag,
    ),
)
