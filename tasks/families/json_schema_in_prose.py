"""JSON in prose: what a record holds, or which word JSON has for something, said in sentences."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, others, windows
from tasks.words import ANIMALS, CITIES, COLORS, DIGITS, FOODS, JOBS, NAMES, NUMBERS, OBJECTS

WRITTEN_IN = (("quotation marks", "string"), ("square brackets", "array"), ("curly brackets", "object"))
STATES = (("open", "closed"), ("small", "large"), ("hot", "cold"), ("old", "new"), ("early", "late"))


def looked_up_key() -> Iterator[Group]:
    for colors in windows(COLORS, 4):
        for thing in OBJECTS[:2]:
            text = f"In the JSON object of the {thing}, the key color has the value {{}}. So its color is"
            yield [(text.format(c), f" {c}") for c in colors]


def job_of_a_person() -> Iterator[Group]:
    for name, jobs in zip(NAMES[:9], windows(others(JOBS, "artist"), 3), strict=True):
        text = f"The record says that {name} works as a {{}}, so the JSON field job must contain"
        yield [(text.format(job), f" {job}") for job in jobs]


def type_of_value() -> Iterator[Group]:
    for thing in OBJECTS:
        text = f"The value of {thing} is written in {{}}, so in JSON the type of this value is"
        yield [(text.format(marks), f" {kind}") for marks, kind in WRITTEN_IN]


def python_word() -> Iterator[Group]:
    for thing in OBJECTS:
        text = f"For the key {thing}, Python has the value {{}}, which in JSON has to be spelled"
        yield [
            (text.format(py), f" {js}") for py, js in (("True", "true"), ("False", "false"), ("None", "null"))
        ]


def row_of_a_table() -> Iterator[Group]:
    for name, animals in zip(NAMES, windows(ANIMALS, 3), strict=True):
        text = f"The table lists {name} with a {{}} as a pet. Written as JSON, the value of pet is"
        yield [(text.format(a), f" {a}") for a in animals]


def stored_number() -> Iterator[Group]:
    for numbers in windows(DIGITS, 3):
        for thing in OBJECTS[:3]:
            text = f"We counted every {thing} and got {{}}, so under the key {thing} we store the number"
            yield [(text.format(NUMBERS[n]), f" {NUMBERS[n]}") for n in numbers]


def allowed_by_schema() -> Iterator[Group]:
    for pair in STATES:
        for name in NAMES[:4]:
            text = f"The schema allows {pair[0]} or {pair[1]}, and {name} may not use {{}}, so {name} uses"
            yield [(text.format(banned), f" {other}") for banned, other in (pair, pair[::-1])]


def default_value() -> Iterator[Group]:
    for foods in windows(FOODS, 4):
        text = "The schema says that the default for food is {}. No food is given, so the food is"
        yield [(text.format(f), f" {f}") for f in foods]


def nested_value() -> Iterator[Group]:
    for animals in windows(ANIMALS, 4):
        text = "Inside the object called pet, the key kind is set to {}. So the kind of pet is a"
        yield [(text.format(a), f" {a}") for a in animals]


def from_xml() -> Iterator[Group]:
    for cities in windows(CITIES, 4):
        text = "The XML file has {} in its city tag, so the JSON file has under the key city the word"
        yield [(text.format(c), f" {c}") for c in cities]


def end_of_array() -> Iterator[Group]:
    for a, b, c in windows(COLORS, 3):
        text = f"The JSON array holds {a}, then {b}, then {c}. The {{}} of these is"
        yield [(text.format(place), f" {w}") for place, w in (("first", a), ("last", c))]


def required_key() -> Iterator[Group]:
    for a, b in windows(("name", "age", "city", "size", "color", "type", "date", "price", "title"), 2):
        text = f"The schema requires {a} and {b}. Our record has {{}} already, so it lacks only"
        yield [(text.format(has), f" {lacks}") for has, lacks in ((a, b), (b, a))]


FAMILY = family(
    "json_schema_in_prose",
    "Say which value, key or type a described JSON record has.",
    (
        looked_up_key,
        job_of_a_person,
        type_of_value,
        python_word,
        row_of_a_table,
        stored_number,
        allowed_by_schema,
        default_value,
        nested_value,
        from_xml,
        end_of_array,
        required_key,
    ),
)
