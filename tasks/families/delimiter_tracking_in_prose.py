"""Delimiter tracking in prose: which sign closes what a sentence says is open."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family
from tasks.families.delimiter_tracking import BRACKETS, TAGS
from tasks.words import ANIMALS, COLORS, FOODS, NAMES, OBJECTS

KINDS = (("round", ")"), ("square", "]"), ("curly", "}"))
QUOTES = ('"', "'", "`")
COLLECTIONS = (("list", "]"), ("tuple", ")"), ("dictionary", "}"))
JSON_KINDS = (("array", "]"), ("object", "}"))
MARKS = ("**", "__", "*", "`")


def opened_bracket() -> Iterator[Group]:
    for name in NAMES:
        text = f"{name} opened a bracket with {{}} and so has to close it again with"
        yield [(text.format(o), f" {s}") for o, s in BRACKETS]


def named_bracket() -> Iterator[Group]:
    for word in OBJECTS:
        text = f"To put the word {word} in {{}} brackets, you end it with the sign"
        yield [(text.format(kind), f" {s}") for kind, s in KINDS]


def inner_bracket() -> Iterator[Group]:
    for name in NAMES[:8]:
        for a in range(3):
            (o, s), (p, t) = BRACKETS[a], BRACKETS[a - 1]
            text = f"{name} opened {{}} and inside it {{}}, so the first sign that must follow now is"
            yield [(text.format(x, y), f" {z}") for x, y, z in ((o, p, t), (p, o, s))]


def outer_bracket() -> Iterator[Group]:
    for name in NAMES[:8]:
        for a in range(3):
            (o, s), (p, t) = BRACKETS[a], BRACKETS[a - 1]
            text = f"{name} opened {{}} and then {{}}, and closed the inner one. The sign still missing is"
            yield [(text.format(x, y), f" {z}") for x, y, z in ((o, p, s), (p, o, t))]


def quotation_mark() -> Iterator[Group]:
    for name in NAMES:
        text = f"When {name} starts a quotation with the mark {{}} it has to end with the mark"
        yield [(text.format(q), f" {q}") for q in QUOTES]


def html_tag() -> Iterator[Group]:
    for word in ANIMALS[:6]:
        text = f"In HTML the word {word} that comes after <{{}}> has to be followed by </"
        yield [(text.format(t), t) for t in TAGS]


def python_collection() -> Iterator[Group]:
    for food in FOODS:
        text = f"A Python {{}} in which {food} is the last item is closed with the sign"
        yield [(text.format(kind), f" {s}") for kind, s in COLLECTIONS]


def json_container() -> Iterator[Group]:
    for thing in OBJECTS:
        text = f"A JSON {{}} about every {thing} in the shop has to end with the sign"
        yield [(text.format(kind), f" {s}") for kind, s in JSON_KINDS]


def typed_code() -> Iterator[Group]:
    for food in FOODS:
        text = f"The programmer typed {food}{{}} and then a number, so next she has to type"
        yield [(text.format(o), f" {s}") for o, s in BRACKETS]


def emphasised_word() -> Iterator[Group]:
    for color in COLORS:
        text = f"To stress the word {color} you type {{}} in front of it and behind it again"
        yield [(text.format(m), f" {m}") for m in MARKS]


def formula_on_the_board() -> Iterator[Group]:
    for who in ("teacher", "student", "boy", "girl", "professor", "woman", "man", "child"):
        text = f"The formula of the {who} began with the sign {{}} and therefore it ends with"
        yield [(text.format(o), f" {s}") for o, s in BRACKETS]


def closed_and_opened() -> Iterator[Group]:
    for name in NAMES[:6]:
        for a in range(3):
            (o, s), (p, t) = BRACKETS[a], BRACKETS[a - 1]
            text = f"{name} has used {{}} to close the first bracket. The second is {{}}, which needs"
            yield [(text.format(x, y), f" {z}") for x, y, z in ((s, p, t), (t, o, s))]


FAMILY = family(
    "delimiter_tracking_in_prose",
    "Say which sign closes the bracket, quotation or tag that is said to be open.",
    (
        opened_bracket,
        named_bracket,
        inner_bracket,
        outer_bracket,
        quotation_mark,
        html_tag,
        python_collection,
        json_container,
        typed_code,
        emphasised_word,
        formula_on_the_board,
        closed_and_opened,
    ),
)
