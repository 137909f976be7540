"""Delimiter tracking: close the innermost delimiter that is still open."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, FOODS, LETTERS, NAMES, VARIABLES

BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))
TAGS = ("b", "i", "p", "a", "li", "td", "ul", "div", "span", "table")


def bracket_row() -> Iterator[Group]:
    for a, b, c, d in windows(LETTERS, 4):
        yield [(f"( {a} ) [ {b} ] {{ {c} }} {o} {d}", f" {s}") for o, s in BRACKETS]


def nested_pair() -> Iterator[Group]:
    for a, b, c in windows(VARIABLES, 3):
        for outer in "([":
            yield [(f"( {a} ) [ {b} ] {{ {a} }} {outer} {b} {o} {c}", f" {s}") for o, s in BRACKETS]


def after_inner_closed() -> Iterator[Group]:
    """The inner bracket is closed again, so the outer one, further back, is the one to close."""
    for a, b, c in windows(LETTERS, 3):
        yield [(f"{o} {a} ( {b} ) {s} {o} {b} ( {c} )", f" {s}") for o, s in BRACKETS[1:]]
        yield [(f"{o} {a} [ {b} ] {s} {o} {b} [ {c} ]", f" {s}") for o, s in BRACKETS[::2]]


def call_or_index() -> Iterator[Group]:
    for f, x, y in windows(VARIABLES, 3):
        yield [(f"{y} = {f}{o}{x}{s}; {x} = {f}{o}{y}", s) for o, s in BRACKETS[:2]]


def collection_literal() -> Iterator[Group]:
    for a, b, c in windows(VARIABLES, 3):
        yield [(f"{c} = {o}{a}, {b}{s}\n{a} = {o}{b}, {c}", s) for o, s in BRACKETS]


def prose_aside() -> Iterator[Group]:
    for name, animal, color in zip(NAMES, ANIMALS, COLORS + COLORS[:2], strict=True):
        yield [(f"{name} has a {animal} {o}a {color} one", s) for o, s in BRACKETS[:2]]


def quotation() -> Iterator[Group]:
    for a, b, c in windows(FOODS, 3):
        yield [(f"x = {q}{a}{q}; y = {q}{b}{q}; z = {q}{c}", q) for q in ('"', "'", "`")]


def emphasis() -> Iterator[Group]:
    for a, b in windows(COLORS, 2):
        yield [(f"The words {m}{a}{m} and {m}{b}", m) for m in ("**", "__", "*", "`")]


def html_tag() -> Iterator[Group]:
    for a, b in windows(ANIMALS, 2):
        yield [(f"<{t}>{a}</{t}> <{t}>{b}</", t) for t in TAGS]


def nested_tags() -> Iterator[Group]:
    for outer, inner in windows(TAGS, 2):
        for word in FOODS[:4]:
            yield [(f"<{o}><{i}>{word}</", i) for o, i in ((outer, inner), (inner, outer))]


def latex_environment() -> Iterator[Group]:
    environments = ("table", "figure", "equation", "document", "align", "center", "array", "abstract")
    for a, b in windows(VARIABLES, 2):
        yield [(rf"\begin{{{e}}} {a} + {b} \end{{", e) for e in environments]


def type_parameter() -> Iterator[Group]:
    for outer in ("List", "Set", "Array", "Vector"):
        for inner in ("int", "str", "float", "bool"):
            pairs = (("<", ">"), ("[", "]"), ("(", ")"))
            yield [(f"x: {outer}{o}{inner}{s}, y: {outer}{o}{inner}", s) for o, s in pairs]


def formula() -> Iterator[Group]:
    for a, b, c in windows(VARIABLES, 3):
        yield [
            (f"y = {c} * {o}{a} + {b}{s}, z = {b} * {o}{a} + {c}", s) for o, s in (*BRACKETS[:2], ("|", "|"))
        ]


FAMILY = family(
    "delimiter_tracking",
    "Close the innermost open bracket, quotation mark, markup or tag.",
    (
        bracket_row,
        nested_pair,
        after_inner_closed,
        call_or_index,
        collection_literal,
        prose_aside,
        quotation,
        emphasis,
        html_tag,
        nested_tags,
        latex_environment,
        type_parameter,
        formula,
    ),
)
