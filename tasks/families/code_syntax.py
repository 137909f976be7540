"""Code syntax: the keyword or sign that the grammar of the language asks for next."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import COLORS, FOODS, OBJECTS, VARIABLES

MODULES = (
    "math",
    "time",
    "random",
    "string",
    "json",
    "types",
    "copy",
    "test",
    "data",
    "code",
    "tools",
    "files",
)


def import_or_loop() -> Iterator[Group]:
    for name, following in windows(MODULES, 2):
        yield [
            (f"import {following}\nfrom {name}", " import"),
            (f"import {following}\nfor {name}", " in"),
        ]


def generator_or_conditional() -> Iterator[Group]:
    for a, b, c in windows(VARIABLES, 3):
        for call in ("sum", "list"):
            yield [(f"{c} = {call}({a} for {b}", " in"), (f"{c} = {call}({a} if {b}", " else")]


def condition_header() -> Iterator[Group]:
    """Python ends a condition with a colon, Lua and Ruby write then."""
    for a, b, c in windows(VARIABLES, 3):
        yield [(f"if {a}: {b}()\nif {c}", ":"), (f"if {a} then {b}()\nif {c}", " then")]


def sql_clause() -> Iterator[Group]:
    for table, column in windows(OBJECTS, 2):
        yield [
            (f"sql> select {column};\nselect {table}", " from"),
            (f"sql> select {column};\nupdate {table}", " set"),
        ]
        yield [(f"-- SQL\nSELECT {table}", " FROM"), (f"-- SQL\nUPDATE {table}", " SET")]


def shell_condition() -> Iterator[Group]:
    for command in ("ls", "true", "test", "make", "run", "false", "check", "cat"):
        yield [(f"# bash\nif {command};", " then"), (f"# bash\nwhile {command};", " do")]
        yield [(f"#!/bin/sh\nif ! {command};", " then"), (f"#!/bin/sh\nuntil ! {command};", " do")]


def shell_block_end() -> Iterator[Group]:
    for a, b in windows(("ls", "make", "run", "cat", "test", "check", "date", "echo"), 2):
        yield [(f"if {a}; then {b};", " fi"), (f"while {a}; do {b};", " done")]
        yield [(f"# bash\nif {a}; then {b};", " fi"), (f"# bash\nfor {a}; do {b};", " done")]


def line_comment() -> Iterator[Group]:
    for a, b, color in zip(VARIABLES[:10], VARIABLES[1:11], COLORS, strict=True):
        yield [(f"{a} = {b} {m} {color}\n{b} = {a}", f" {m}") for m in ("#", "//", "--")]


def mapping_arrow() -> Iterator[Group]:
    for a, b, c in windows(FOODS, 3):
        yield [(f"{a} {m} {b}, {b} {m} {c}, {c}", f" {m}") for m in ("=>", "->", "|->")]


def import_alias() -> Iterator[Group]:
    """Aliases that the community writes without exception."""
    aliases = (("numpy", " np"), ("pandas", " pd"), ("tensorflow", " tf"), ("networkx", " nx"))
    for first in ("import os", "import sys", "import re", "import time", "import math", "import json"):
        yield [(f"{first}\nimport {module} as", alias) for module, alias in aliases]


def ternary() -> Iterator[Group]:
    """C's a ? b : c and Python's a if b else c."""
    for x, a, b in windows(VARIABLES, 3):
        yield [(f"let {x} = {a} ? {b}", " :"), (f"let {x} = {a} if {b}", " else")]
        yield [(f"{b} = 0\n{x} = {a} ? {b}", " :"), (f"{b} = 0\n{x} = {a} if {b}", " else")]


def keyword_or_entry() -> Iterator[Group]:
    """Keyword arguments take `=`, entries of a map take `:`."""
    for x, y, z in windows(COLORS, 3):
        for a, b in (("a", "b"), ("p", "q")):
            yield [(f"f({x}={a}, {y}={b}, {z}", "="), (f"f{{{x}:{a}, {y}:{b}, {z}", ":")]


def statement_separator() -> Iterator[Group]:
    for a, b, c in windows(VARIABLES, 3):
        yield [(f"{a} = {b}{s} {b} = {c}{s} {c} = {a}", s) for s in (";", ",")]
        yield [(f"{{ {a}: {b}{s} {b}: {c}{s} {c}: {a}", s) for s in (";", ",")]


def member_access() -> Iterator[Group]:
    """An object's members by `.`, a pointer's by `->`, a module's by `::`."""
    for a, (x, y) in zip(VARIABLES[:12], windows(FOODS, 2), strict=True):
        yield [(f"{a}{s}{x}(); {a}{s}{y}(); {a}", s) for s in (".", "->", "::")]


def augmented_assignment() -> Iterator[Group]:
    for a, b, c in windows(VARIABLES, 3):
        yield [(f"{a} {op} {b}; {b} {op} {c}; {c}", f" {op}") for op in ("+=", "-=", ":=", "=")]


FAMILY = family(
    "code_syntax",
    "Give the keyword, operator or delimiter that the grammar of the surrounding code requires.",
    (
        import_or_loop,
        generator_or_conditional,
        condition_header,
        sql_clause,
        shell_condition,
        shell_block_end,
        line_comment,
        mapping_arrow,
        import_alias,
        ternary,
        keyword_or_entry,
        statement_separator,
        member_access,
        augmented_assignment,
    ),
)
