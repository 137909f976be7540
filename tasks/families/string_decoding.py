"""String decoding: the word, letter or sign that an encoded string stands for, with the code shown at work."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

import base64
from collections.abc import Iterator
from string import ascii_lowercase, ascii_uppercase

from tasks.build import Group, family, windows
from tasks.words import VARIABLES

SHORT_WORDS = (
    "dog",
    "cat",
    "red",
    "box",
    "cup",
    "key",
    "hat",
    "sun",
    "man",
    "day",
    "car",
    "tea",
    "map",
    "top",
    "bag",
)
MORSE = {
    "E": ".",
    "T": "-",
    "A": ".-",
    "N": "-.",
    "I": "..",
    "M": "--",
    "S": "...",
    "O": "---",
    "R": ".-.",
    "K": "-.-",
    "D": "-..",
    "U": "..-",
}
ENTITIES = (("lt", " <"), ("gt", " >"), ("amp", " &"))
LANGUAGES = ("Python", "Java", "JSON")


def _shifted(letter: str, by: int) -> str:
    return ascii_lowercase[(ascii_lowercase.index(letter) + by) % 26]


def spelled_out() -> Iterator[Group]:
    for words in windows(SHORT_WORDS, 4):
        yield [(f"p-e-n spells pen, {'-'.join(w)} spells", f" {w}") for w in words]


def reversed_word() -> Iterator[Group]:
    for words in windows(SHORT_WORDS, 5):
        yield [(f'reverse("nep")="pen"; reverse("{w[::-1]}")="', w) for w in words]


def hex_escape() -> Iterator[Group]:
    for shown in (1, 2):
        start = f"'\\x4{shown}' is '{chr(0x40 + shown)}' and"
        yield [(f"{start} '\\x4{n}' is '", chr(0x40 + n)) for n in range(3, 10)]
        yield [(f"{start} '\\x5{n}' is '", chr(0x50 + n)) for n in range(10)]


def unicode_escape() -> Iterator[Group]:
    for language in LANGUAGES:
        yield [(f"{language}: \\u0041=A; \\u006{n}=", chr(0x60 + n)) for n in range(1, 10)]


def percent_encoding() -> Iterator[Group]:
    for shown in (1, 2):
        start = f"URL decoded: %5{shown}={chr(0x50 + shown)},"
        yield [(f"{start} %5{n}=", chr(0x50 + n)) for n in range(3, 10)]


def character_code() -> Iterator[Group]:
    yield [(f'chr(65)="A"; chr({n})="', chr(n)) for n in range(66, 91)]
    yield [(f'chr(97)="a"; chr({n})="', chr(n)) for n in range(110, 123)]


def binary_number() -> Iterator[Group]:
    for shown, value in (("010", 2), ("001", 1)):
        yield [(f"binary {shown}={value}, binary {n:03b}=", f"{n}") for n in range(3, 8)]
    yield [(f"bits: 1000=8, 0010=2, {n:04b}=", f"{n}") for n in (1, 3, 4, 5, 6, 7, 9)]


def next_letter_cipher() -> Iterator[Group]:
    """Decoding a Caesar cipher that moved every letter one back."""
    for a, b in windows(VARIABLES[:6], 2):
        start = f"cipher: {a}={_shifted(a, 1)}, {b}={_shifted(b, 1)},"
        yield [(f"{start} {c}=", _shifted(c, 1)) for c in "dfghqruw"]


def previous_letter_cipher() -> Iterator[Group]:
    for a, b in windows("mtyk", 2):
        start = f"Decode each letter to the one before it. {a} gives {_shifted(a, -1)}, {b} gives {_shifted(b, -1)},"
        yield [(f"{start} {c} gives", f" {_shifted(c, -1)}") for c in "dfhqsw"]


def rot13() -> Iterator[Group]:
    for a, b in windows("abcde", 2):
        start = f"rot13({a})={_shifted(a, 13)} rot13({b})={_shifted(b, 13)}"
        yield [(f"{start} rot13({c})=", _shifted(c, 13)) for c in "fghijklm"]


def letter_numbers() -> Iterator[Group]:
    for shown in ((1, 2), (2, 1)):
        start = ", ".join(f"{n} is {ascii_uppercase[n - 1]}" for n in shown)
        yield [(f"A1Z26 code: {start}, {n} is", f" {ascii_uppercase[n - 1]}") for n in range(3, 10)]


def base64_byte() -> Iterator[Group]:
    for shown in "MN":
        start = f'b64decode("{_base64(shown)}")="{shown}"'
        yield [(f'{start}, b64decode("{_base64(c)}")="', c) for c in "ABCDEFGHIJKL"]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def morse_letter() -> Iterator[Group]:
    for shown in "LFH":
        code = {"L": ".-..", "F": "..-.", "H": "...."}[shown]
        yield [(f"Morse: {code} means {shown}; {MORSE[c]} means", f" {c}") for c in MORSE]


def html_entity() -> Iterator[Group]:
    for a, b in windows(VARIABLES, 2):
        yield [(f'"{a} &{name}; {b}" is HTML for "{a}', sign) for name, sign in ENTITIES]


def mirrored_alphabet() -> Iterator[Group]:
    """Atbash: the first letter stands for the last, the second for the last but one."""
    for a, b in windows("abyz", 2):
        start = f"atbash {a}:{_mirrored(a)} {b}:{_mirrored(b)}"
        yield [(f"{start} {c}:", _mirrored(c)) for c in "cdefuvwx"]


def _mirrored(letter: str) -> str:
    return ascii_lowercase[-1 - ascii_lowercase.index(letter)]


FAMILY = family(
    "string_decoding",
    "Give what an encoded string stands for: escapes, codes of characters, ciphers, reversed and spelled words.",
    (
        spelled_out,
        reversed_word,
        hex_escape,
        unicode_escape,
        percent_encoding,
        character_code,
        binary_number,
        next_letter_cipher,
        previous_letter_cipher,
        rot13,
        letter_numbers,
        base64_byte,
        morse_letter,
        html_entity,
        mirrored_alphabet,
    ),
)
