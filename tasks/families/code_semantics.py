"""Code semantics: the value of a Python expression after a few statements.

Every text is a program up to the answer. Completed with the answer (and a closing quotation mark where one is
open) it runs; completed with the foil its assertion fails.
"""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, COLORS, DIGITS, FOODS, OBJECTS, VARIABLES


def assigned_copy() -> Iterator[Group]:
    for (a, b), digits in zip(
        windows(VARIABLES, 2), [*windows(DIGITS, 3), *windows(DIGITS, 3)], strict=False
    ):
        yield [(f"{a}={n}\n{b}={a}\nassert {b}==", f"{n}") for n in digits]


def sum_of_variable() -> Iterator[Group]:
    for a in "akmn":
        for step in (1, 2, 3):
            yield [(f"{a}={n}\nb={a}+{step}\nassert b==", f"{n + step}") for n in range(1, 7)]


def length_of_string() -> Iterator[Group]:
    words = (
        "a",
        "is",
        "to",
        "cat",
        "dog",
        "red",
        "book",
        "blue",
        "fish",
        "house",
        "green",
        "river",
        "orange",
    )
    yield [(f'assert len("of")==2\nassert len("{w}")==', f"{len(w)}") for w in words]


def list_index() -> Iterator[Group]:
    for a, b, c, d in windows(DIGITS, 4):
        yield [(f"s=[{a},{n},{b}]\nassert s[0]=={a}\nassert s[1]==", f"{n}") for n in (c, d)]


def dict_lookup() -> Iterator[Group]:
    for (x, y), (a, b) in zip(windows(FOODS, 2), windows((*DIGITS, 4, 2, 7), 2), strict=True):
        yield [(f'd={{"{x}":{a},"{y}":{b}}}\nassert d["{k}"]==', f"{v}") for k, v in ((x, a), (y, b))]


def largest() -> Iterator[Group]:
    for a, b in windows((1, 2, 3, 4), 2):
        yield [(f"assert max(3,1)==3\nassert max({a},{n},{b})==", f"{n}") for n in (9, 8, 7, 6)]
        yield [
            (f"assert min(3,1)==1\nassert min({a + 3},{n},{b + 3})==", f"{min(n, a + 3, b + 3)}")
            for n in (1, 2, 3)
        ]


def comparison() -> Iterator[Group]:
    for limit in (4, 5, 6):
        start = f"assert (9>{limit}) is True\nassert (2>{limit}) is False"
        yield [(f"{start}\nassert ({n}>{limit}) is", f" {n > limit}") for n in (1, 8, 3, 7)]


def lowered() -> Iterator[Group]:
    """Undo a change of case."""
    for a, b, c in windows(COLORS, 3):
        for first in ("dog", "cup"):
            yield [
                (f'assert "{first.upper()}".lower()=="{first}"\nassert "{w.upper()}".lower()=="', w)
                for w in (a, b, c)
            ]


def called_function() -> Iterator[Group]:
    for x in "xn":
        for k in (1, 2, 3):
            yield [(f"f=lambda {x}: {x}+{k}\nassert f({n})==", f"{n + k}") for n in range(1, 7)]


def first_of_words() -> Iterator[Group]:
    for a, b, c in windows(ANIMALS, 3):
        yield [(f'w=["{x}","{c}"]\nassert w[0]=="', x) for x in (a, b)]
        yield [(f'w="{x} {c}".split()\nassert w[0]=="', x) for x in (a, b)]


def reassigned() -> Iterator[Group]:
    for x, (a, b, c) in zip(VARIABLES[:9], windows(DIGITS, 3), strict=True):
        yield [(f"{x}={n}\n{x}={m}\nassert {x}==", f"{m}") for n, m in ((a, b), (b, a), (a, c))]


def swapped() -> Iterator[Group]:
    for (x, y), (a, b, c) in zip(windows(VARIABLES[:9], 2), windows(DIGITS, 3), strict=True):
        yield [
            (f"{x},{y}={n},{m}\n{x},{y}={y},{x}\nassert {x}==", f"{m}") for n, m in ((a, b), (b, a), (a, c))
        ]


def sum_of_list() -> Iterator[Group]:
    for a in (1, 2, 3):
        yield [(f"assert sum([2,1])==3\nassert sum([{a},{n}])==", f"{a + n}") for n in range(1, 7)]


def boolean_lookup() -> Iterator[Group]:
    for p, q in windows(VARIABLES, 2):
        for a in (True, False):
            yield [(f"{p}={a}\n{q}={not a}\nassert {r} is", f" {v}") for r, v in ((p, a), (q, not a))]


def stripped() -> Iterator[Group]:
    for a, b, c in windows(OBJECTS, 3):
        yield [(f'x="{a}"\ny=" {w} "\nassert y.strip()=="', w) for w in (b, c)]


FAMILY = family(
    "code_semantics",
    "Give the value of an expression after a few Python statements.",
    (
        assigned_copy,
        sum_of_variable,
        length_of_string,
        list_index,
        dict_lookup,
        largest,
        comparison,
        lowered,
        called_function,
        first_of_words,
        reassigned,
        swapped,
        sum_of_list,
        boolean_lookup,
        stripped,
    ),
)
