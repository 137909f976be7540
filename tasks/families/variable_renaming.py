"""Variable renaming: the answer is decided by which new name an old one was given."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, others, windows
from tasks.words import ANIMALS, COLORS, DIGITS, FOODS, OBJECTS, VARIABLES


def substitution_command() -> Iterator[Group]:
    for old, *new in windows(ANIMALS, 4):
        yield [(f's/{old}/{n}/ turns "my {old} = 1" into "my', f" {n}") for n in new]


def rename_instruction() -> Iterator[Group]:
    for old, *new in windows(OBJECTS, 4):
        yield [(f"Rename {old} to {n}. The call print({old}) becomes print(", n) for n in new]


def renamed_assignment() -> Iterator[Group]:
    for old, *new in windows(COLORS, 4):
        yield [(f"Old: {old} = 1; return {old}. New: {n} = 1; return", f" {n}") for n in new]


def patch_lines() -> Iterator[Group]:
    for old, *new in windows(FOODS, 4):
        yield [(f"-{old} = 1\n+{n} = 1\n-print({old})\n+print(", n) for n in new]


def renamed_parameter() -> Iterator[Group]:
    for old, *new in windows(VARIABLES, 4):
        yield [(f"f = lambda {old}: {old}\nf = lambda {n}:", f" {n}") for n in new]


def module_alias() -> Iterator[Group]:
    """Only the alias is bound by the import, never the module's own name."""
    for module, function in (("math", "floor"), ("math", "sqrt"), ("time", "time"), ("string", "digits")):
        for names in windows(VARIABLES, 3, step=3):
            yield [(f"from {module} import {function} as {n}\nprint(", n) for n in names]


def loop_variable() -> Iterator[Group]:
    for old, *new in windows(others(VARIABLES, "s"), 4):
        yield [(f"for {old} in s: print({old})\nfor {n} in s: print(", n) for n in new]


def value_by_new_name() -> Iterator[Group]:
    """The renaming alone says whose value the new name stands for."""
    for (x, y, z), (a, b) in zip([*windows(VARIABLES, 3)] * 2, [*windows(DIGITS, 2)] * 3, strict=False):
        yield [(f"{x}={a}, {y}={b}. Rename {old} to {z}. Now {z}=", f"{v}") for old, v in ((x, a), (y, b))]


def open_as() -> Iterator[Group]:
    for name, *new in windows(VARIABLES, 4):
        yield [(f"with open({name}) as {n}:\n    print(", n) for n in others(new, name)]


def exception_as() -> Iterator[Group]:
    for names in windows(VARIABLES, 3):
        for function in ("run", "test"):
            yield [(f"try: {function}()\nexcept Exception as {n}: print(", n) for n in names]


def table_alias() -> Iterator[Group]:
    for table in OBJECTS[:6]:
        for names in windows(VARIABLES, 3, step=4):
            yield [(f"SELECT * FROM {table} AS {n} WHERE", f" {n}") for n in names]


def name_map() -> Iterator[Group]:
    for a, b, x, y, z in windows(ANIMALS, 5):
        yield [(f"{a} -> {x}, {b} -> {n}. So {a} + {b} becomes {x} +", f" {n}") for n in (y, z)]


def comprehension_variable() -> Iterator[Group]:
    for old, *new in windows(others(VARIABLES, "s", "t"), 4):
        yield [(f"s = [{old}+1 for {old} in t]\ns = [{n}+1 for", f" {n}") for n in new]


FAMILY = family(
    "variable_renaming",
    "Use the new name of a renamed variable, or the value that a renaming gave it.",
    (
        substitution_command,
        rename_instruction,
        renamed_assignment,
        patch_lines,
        renamed_parameter,
        module_alias,
        loop_variable,
        value_by_new_name,
        open_as,
        exception_as,
        table_alias,
        name_map,
        comprehension_variable,
    ),
)
