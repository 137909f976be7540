"""Whether a text goes on to valid JSON: from the value that its prompt leaves open to that value's end. No torch.

The prompts of json_schema end inside an object or array, after prose, Python or other notations that may hold brackets
of their own. What must be JSON is the outermost value that the prompt leaves open, through the continuation, up to the
bracket that closes it. What follows that bracket does not count; a value that is never closed is not valid.
"""

from __future__ import annotations

import json
from typing import NoReturn

_CLOSERS = {"{": "}", "[": "]"}


def open_value(prompt: str) -> str:
    """The part of `prompt` from the outermost object or array on that it leaves open.

    Outside of such a value a bracket opens one, whatever stands around it; inside, brackets in strings do not count.
    Raises ValueError where nothing is left open.
    """
    start, depth, quoted, escaped = 0, 0, False, False
    for i, sign in enumerate(prompt):
        if quoted:
            quoted, escaped = escaped or sign != '"', not escaped and sign == "\\"
        elif depth and sign == '"':
            quoted = True
        elif sign in _CLOSERS:
            start, depth = (start, depth + 1) if depth else (i, 1)
        elif depth and sign in _CLOSERS.values():
            depth -= 1
    if not depth:
        raise ValueError(f"the prompt {prompt!r} leaves no JSON value open")
    return prompt[start:]


def is_valid_json(prompt: str, continuation: str) -> bool:
    """Whether `continuation` ends, as JSON (RFC 8259), the value that `prompt` leaves open.

    As `json.loads` reads it, but for NaN and Infinity, which are not JSON. Says nothing of whether the value is right.
    Raises ValueError where the prompt leaves none open.
    """
    text = open_value(prompt) + continuation
    try:
        _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
