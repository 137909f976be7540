"""Control flow simplification: what is left of a branch, a loop or a case whose condition is a constant."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, FOODS, OBJECTS

Pair = Sequence[str]


def _either(text: str, conditions: Pair, words: Sequence[str]) -> Iterator[Group]:
    """`text` with {c} one of the two conditions; the first leaves {a} of it and the second {b}."""
    for a, b in windows(words, 2):
        yield [(text.format(c=c, a=a, b=b), f" {w}") for c, w in zip(conditions, (a, b), strict=True)]


PYTHON = ("True", "False")
OTHER = ("true", "false")


def constant_if() -> Iterator[Group]:
    yield from _either("if {c}: {a}() else: {b}() =>", PYTHON, ANIMALS)


def negated_if() -> Iterator[Group]:
    yield from _either("if (!{c}) {a}(); else {b}(); is the same as", ("false", "true"), FOODS)


def compared_numbers() -> Iterator[Group]:
    for low, high in ((1, 2), (3, 7), (4, 9)):
        conditions = (f"{low}<{high}", f"{high}<{low}")
        yield from _either("if {c} then {a} else {b} can be written as", conditions, COLORS)


def conditional_expression() -> Iterator[Group]:
    yield from _either("x = {a} if {c} else {b}\n# simplified\nx =", PYTHON, OBJECTS)


def question_mark() -> Iterator[Group]:
    yield from _either("let y = {c} ? {a} : {b}; reduces to let y =", OTHER, FOODS)


def conjunction() -> Iterator[Group]:
    """True and x is x; False and x is False, whatever x is."""
    for a, b in windows(ANIMALS, 2):
        start = f"True and {b} -> {b}, False and {b} -> False,"
        yield [(f"{start} {c} and {a} ->", f" {w}") for c, w in (("True", a), ("False", "False"))]


def disjunction() -> Iterator[Group]:
    for a, b in windows(COLORS, 2):
        start = f"true || {b} = true; false || {b} = {b};"
        yield [(f"{start} {c} || {a} =", f" {w}") for c, w in (("true", "true"), ("false", a))]


def constant_while() -> Iterator[Group]:
    yield from _either("while {c}: {a}()\n{b}()\n# the only call that runs is", PYTHON, FOODS)


def constant_switch() -> Iterator[Group]:
    for low, high in ((1, 2), (3, 4), (5, 6)):
        text = f"switch({{c}}) {{{{ case {low}: {{a}}; break; case {high}: {{b}}; }}}} becomes"
        yield from _either(text, (f"{low}", f"{high}"), OBJECTS)


def preprocessor() -> Iterator[Group]:
    yield from _either("#if {c}\n{a}\n#else\n{b}\n#endif\n// keeps only", ("1", "0"), ANIMALS)


def else_if() -> Iterator[Group]:
    for a, b, c in windows(COLORS, 3):
        yield [
            (f"if False: {a}() elif {k}: {b}() else: {c}() leaves only", f" {w}")
            for k, w in (("True", b), ("False", c))
        ]


def early_return() -> Iterator[Group]:
    yield from _either("if {c}: return {a}\nreturn {b}\n# this is: return", PYTHON, FOODS)


def nested_if() -> Iterator[Group]:
    yield from _either("if (true) {{ if ({c}) {a}(); else {b}(); }} simplifies to", OTHER, ANIMALS)


def shell_if() -> Iterator[Group]:
    yield from _either("if {c}; then {a}; else {b}; fi runs the command", OTHER, OBJECTS)


def unless() -> Iterator[Group]:
    yield from _either("unless {c} then {a} else {b} end, in short:", ("false", "true"), COLORS)


FAMILY = family(
    "control_flow_simplification",
    "Give what remains of a branch, loop or case when its condition is a constant.",
    (
        constant_if,
        negated_if,
        compared_numbers,
        conditional_expression,
        question_mark,
        conjunction,
        disjunction,
        constant_while,
        constant_switch,
        preprocessor,
        else_if,
        early_return,
        nested_if,
        shell_if,
        unless,
    ),
)
