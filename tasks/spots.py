"""Where each token of a prompt stands: the read-out, an operator, a delimiter, the request's frame or its content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tasks.prompts import Span

SPOTS = ("first", "last", "operator", "delimiter", "instruction", "content")
"""Every class `find_spots` knows, in the order of its result."""

DELIMITERS = frozenset("()[]{},:;\n\"'`“”‘’«»")
OPERATORS = frozenset("+-*/=<>%&|^~")
COMPOUNDS = frozenset(("!=", ":="))
"""Operators with a sign that alone is none."""

_READ_AS_DELIMITER = re.compile(
    r"""
    </? [A-Za-z]\w* >           # a tag
    | </ (?=[A-Za-z]|$)         # a closing tag that is cut short
    | (?<=\w) < (?=[A-Za-z]+$)  # a type's bracket, still open at the end
    | (?<![\w)\]]) (?:\*{1,3}|__) (?=\w)    # emphasis begins
    | (?<=[^\W_]) (?:\*{1,3}|__) (?![\w(\[])  # emphasis ends
    | (?<!\S) \| (?=[\w(])      # a bar round an expression begins
    | (?<=[\w)]) \| (?!\S)      # and ends
    """,
    re.VERBOSE,
)
"""Signs that would be operators elsewhere; letters inside a match keep their own role."""
_READ_AS_TEXT = re.compile(
    r"""
    (?<=[A-Za-z]) ['’] (?=[A-Za-z])    # an apostrophe
    | (?<=[A-Za-z]) [-/] (?=[A-Za-z])  # a hyphen, and/or
    | (?<=\d) % (?!\S)                 # per cent
    """,
    re.VERBOSE,
)


def find_spots(
    text: str, offsets: Sequence[Span], slots: Sequence[Span] = ()
) -> Mapping[str, tuple[int, ...]]:
    """The tokens of `text` by class: disjoint, together all of them, and a class without tokens is absent.

    `offsets` are the tokens' character spans, as a fast tokenizer's offset mapping gives them; a special token
    has an empty span. `slots` are the spans that the prompt's template filled (`Prompt.slots`).

    - `first`: token 0 only, whatever it is (a <bos> where the tokenizer puts one).
    - `last`: the token at which the answer is read, only; the one token of a text of one token.
    - `operator`: + - * / = < > % & | ^ ~ and what they compose, standing as operators: not a tag's bracket, a mark of
      emphasis, a hyphen or a per cent sign.
    - `delimiter`: brackets, quotation marks, commas, colons, semicolons, newlines, code fences, tags, emphasis. A
      token of signs of several kinds is a delimiter when one of its signs is.
    - `content`: what touches a slot; also spaces, special tokens after the first, and, where no slots are given, the
      rest: the frame is then not known.
    - `instruction`: any other token, that is the words (and full stops) of the template's own text.

    Raises:
        ValueError: there is no token, or a span does not lie within the text.
    """
    if not offsets:
        raise ValueError("no token spans were given; expected one (start, end) for each token of the text")
    for index, (start, end) in enumerate(offsets):
        if not 0 <= start <= end <= len(text):
            raise ValueError(
                f"token {index} has the span ({start}, {end}), which does not lie within a text of {len(text)} "
                "characters; pass the offsets of this text's own tokens"
            )
    roles = _roles(text)
    classes = [_of_token(roles, span, slots) for span in offsets]
    classes[0] = "first"
    classes[-1] = "last"
    return {
        spot: tuple(index for index, found in enumerate(classes) if found == spot)
        for spot in SPOTS
        if spot in classes
    }


def _roles(text: str) -> list[str]:
    """One letter a character: o(perator), d(elimiter), w(ord), s(ome other sign) or blank."""
    roles = [_role(sign) for sign in text]
    for start in range(len(text) - 1):
        if text[start : start + 2] in COMPOUNDS:
            roles[start : start + 2] = "oo"
    for pattern, role in ((_READ_AS_DELIMITER, "d"), (_READ_AS_TEXT, "w")):
        for found in pattern.finditer(text):
            for place in range(*found.span()):
                if not text[place].isalnum():
                    roles[place] = role
    return roles


def _role(sign: str) -> str:
    if sign in DELIMITERS:
        return "d"
    if sign in OPERATORS:
        return "o"
    return " " if sign.isspace() else "w" if sign.isalnum() else "s"


def _of_token(roles: list[str], span: Span, slots: Sequence[Span]) -> str:
    start, end = span
    while start < end and roles[start] == " ":
        start += 1
    found = set(roles[start:end]) - {" "}
    if found == {"o"}:
        return "operator"
    if "d" in found and "w" not in found:
        return "delimiter"
    in_slot = any(start < slot_end and slot_start < end for slot_start, slot_end in slots)
    return "content" if in_slot or not found or not slots else "instruction"
