"""Constant folding: the value by which a compiler replaces an expression of constants.

Every text holds `name=expression`, perhaps examples of other names folded rightly, and ends in `name=`, or in
`name="` where the value is a string.
"""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import DIGITS, VARIABLES

SUMS = tuple((a, b, a + b) for a in range(1, 9) for b in range(1, 10 - a))
NAMES = "kmnxy"
WORDS = ("dog", "cat", "red", "box", "cup", "key", "hat", "sun", "car", "map")


def folded_sum() -> Iterator[Group]:
    for v in NAMES[:3]:
        yield [(f"a=1+2 -> a=3; {v}={a}+{b} -> {v}=", f"{s}") for a, b, s in SUMS]


def folded_difference() -> Iterator[Group]:
    for v in NAMES[:3]:
        yield [(f"# source\n{v}={s}-{a}\n# constants folded\n{v}=", f"{b}") for a, b, s in SUMS]


def folded_product() -> Iterator[Group]:
    for v in NAMES:
        yield [
            (f"before: {v}={a}*{b}; after folding: {v}=", f"{a * b}")
            for a in DIGITS
            for b in DIGITS
            if a * b < 10
        ]


def folded_quotient() -> Iterator[Group]:
    for v in NAMES:
        yield [
            (f"c=8//4 folds to c=2. {v}={a * b}//{a} folds to {v}=", f"{b}")
            for a in (1, 2, 3, 4)
            for b in range(1, 10)
            if a * b < 10
        ]


def folded_remainder() -> Iterator[Group]:
    for v in NAMES:
        yield [
            (f"optimize: {v}={a}%{b} => {v}=", f"{a % b}")
            for a in range(4, 10)
            for b in (2, 3, 4, 5)
            if a % b
        ]


def folded_power() -> Iterator[Group]:
    for v in NAMES:
        powers = ((2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (1, 3), (5, 1), (7, 1))
        yield [(f"c=4**1 gives c=4 and {v}={a}**{b} gives {v}=", f"{a**b}") for a, b in powers]


def folded_brackets() -> Iterator[Group]:
    for v in NAMES:
        for a in (1, 2, 3):
            yield [
                (f"{v}=({a}+{b})*{c}; simplified {v}=", f"{(a + b) * c}")
                for b in (1, 2, 3)
                for c in (1, 2, 3)
                if (a + b) * c < 10
            ]


def folded_shift() -> Iterator[Group]:
    shifts = ("1<<1", "1<<2", "1<<3", "2<<1", "2<<2", "3<<1", "8>>1", "8>>2", "6>>1", "9>>3", "4>>1")
    for v in NAMES:
        yield [(f"d=4<<1 becomes d=8; {v}={s} becomes {v}=", f"{_shift(s)}") for s in shifts]


def _shift(text: str) -> int:
    value, by = int(text[0]), int(text[-1])
    return value << by if "<" in text else value >> by


def folded_bits() -> Iterator[Group]:
    for v in NAMES:
        for a in (3, 5, 6):
            yield [(f"bitwise {v}={a}&{b}; folded: {v}=", f"{a & b}") for b in (1, 2, 4, 7)]


def folded_logic() -> Iterator[Group]:
    for v, w in windows(VARIABLES, 2):
        for operator in ("and", "or"):
            yield [
                (
                    f"{w}=not True\n{w}=False\n{v}={a} {operator} {b}\n{v}=",
                    f"{a and b if operator == 'and' else a or b}",
                )
                for a in (True, False)
                for b in (True, False)
            ]


def folded_comparison() -> Iterator[Group]:
    for v in VARIABLES:
        for a, b in ((2, 7), (5, 4)):
            yield [
                (f"{v}={a}>{b}, which the compiler turns into {v}=", f"{a > b}"),
                (f"{v}={b}>{a}, which the compiler turns into {v}=", f"{b > a}"),
            ]


def joined_string() -> Iterator[Group]:
    for words in windows(WORDS, 4):
        yield [(f's="p"+"en" -> s="pen"; t="{w[0]}"+"{w[1:]}" -> t="', w) for w in words]


def folded_length() -> Iterator[Group]:
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
    for v in NAMES[:3]:
        yield [(f'p=len("of") is stored as p=2, {v}=len("{w}") as {v}=', f"{len(w)}") for w in words]


def folded_choice() -> Iterator[Group]:
    for v, a in zip(NAMES, (2, 3, 4, 5, 6), strict=True):
        for name in ("max", "min"):
            pick = max if name == "max" else min
            yield [(f"{v}={name}({a},{b}) replaced by {v}=", f"{pick(a, b)}") for b in DIGITS if b != a]


FAMILY = family(
    "constant_folding",
    "Give the value that an expression of constants is folded to.",
    (
        folded_sum,
        folded_difference,
        folded_product,
        folded_quotient,
        folded_remainder,
        folded_power,
        folded_brackets,
        folded_shift,
        folded_bits,
        folded_logic,
        folded_comparison,
        joined_string,
        folded_length,
        folded_choice,
    ),
)
