"""JSON: the value or key that a stated source or an earlier record demands at this place of an object."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, DIGITS, FOODS, JOBS, NAMES, OBJECTS

KEYS = ("id", "name", "age", "city", "size", "color", "type", "date", "price", "title")


def label_to_name() -> Iterator[Group]:
    for key in ("name", "user", "owner"):
        yield [(f'{key}: {name}\nJSON: {{"{key}": "', name) for name in NAMES]


def sentence_to_number() -> Iterator[Group]:
    for a, b, c in windows(DIGITS, 3):
        for thing in OBJECTS[:3]:
            yield [(f'There are {n} of {thing}. JSON: {{"{thing}":', f"{n}") for n in (a, b, c)]


def yaml_to_json() -> Iterator[Group]:
    for name, animals in zip(NAMES, windows(ANIMALS, 3), strict=True):
        yield [(f'name: {name}\npet: {a}\n{{"name": "{name}", "pet": "', a) for a in animals]


def csv_to_json() -> Iterator[Group]:
    for number, colors in zip((*DIGITS, 1), windows(COLORS, 3), strict=True):
        yield [(f'id,color\n{number},{c}\n{{"id":{number},"color":"', c) for c in colors]


def xml_to_json() -> Iterator[Group]:
    for words in windows(COLORS, 3):
        yield [(f'<color>{w}</color> is {{"color": "', w) for w in words]


def keyword_arguments() -> Iterator[Group]:
    for name, jobs in zip(NAMES[:10], windows(JOBS, 3), strict=True):
        yield [(f'dict(name="{name}", job="{j}") {{"name": "{name}", "job": "', j) for j in jobs]


def query_string() -> Iterator[Group]:
    for color, foods in zip(COLORS, windows(FOODS[:10], 3), strict=True):
        yield [(f'?color={color}&food={f} {{"color": "{color}", "food": "', f) for f in foods]


def python_to_json() -> Iterator[Group]:
    """JSON spells True, False and None its own way."""
    words = (("True", " true"), ("False", " false"), ("None", " null"))
    for a, b in windows(OBJECTS, 2):
        yield [(f'Python: {{"{a}": {py}}} JSON: {{"{a}":', js) for py, js in words]
        yield [(f'{{"{a}": True, "{b}": {py}}} is {{"{a}": true, "{b}":', js) for py, js in words]


def second_record_key() -> Iterator[Group]:
    for name, keys in zip(NAMES[:9], windows(KEYS[1:], 3), strict=True):
        yield [(f'[{{"id":1,"{k}":"{name}"}},{{"id":2,"', k) for k in keys]


def required_keys() -> Iterator[Group]:
    for keys in windows(KEYS, 4):
        yield [(f'required: ["{keys[0]}", "{k}"] example: {{"{keys[0]}": 1, "', k) for k in keys[1:]]


def list_to_array() -> Iterator[Group]:
    for a, x, y, z in windows(ANIMALS, 4):
        yield [(f'{a} and {w} as a JSON array: ["{a}", "', w) for w in (x, y, z)]


def enum_value() -> Iterator[Group]:
    for things in windows(OBJECTS, 2):
        for low, high in (("small", "large"), ("hot", "cold"), ("old", "new"), ("open", "closed")):
            text = f'enum: {low}, {high}. The {things[0]} is {{}}. {{{{"{things[0]}": "'
            yield [(text.format(state), state) for state in (low, high)]


def nested_object() -> Iterator[Group]:
    for foods, keys in zip(windows(FOODS[:10], 3), windows(KEYS, 2), strict=True):
        yield [(f'{keys[0]} {keys[1]} = {f}\n{{"{keys[0]}": {{"{keys[1]}": "', f) for f in foods]


FAMILY = family(
    "json_schema",
    "Give the JSON value or key that a source text, a schema or an earlier record demands.",
    (
        label_to_name,
        sentence_to_number,
        yaml_to_json,
        csv_to_json,
        xml_to_json,
        keyword_arguments,
        query_string,
        python_to_json,
        second_record_key,
        required_keys,
        list_to_array,
        enum_value,
        nested_object,
    ),
)
