"""When text has degenerated: repetition and foreign letters, beside the unedited continuation. No torch.

The atlas called a text of over 10 words repetitive where 1 - distinct bigrams / bigrams > 0.3. Here bigrams are of
tokens, and of the distinct ones it is those that the unedited continuation of the same prompt has that count: a base
model repeats itself unedited too, and its text is the best that can be kept. Where the unedited continuation repeats no
bigram, the rule is the atlas's.

It does not see a salad of ordinary words: text that says nothing, without repeating itself, passes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

GENERATED = ("new_tokens", "repeated_bigrams", "repeated_trigrams", "same_token", "off_script", "degenerate")
"""Metrics of a continuation, per probe and prompt:

new_tokens         tokens before an end of text
repeated_bigrams   1 - distinct bigrams / bigrams, of tokens
repeated_trigrams  the same of trigrams
same_token         share of tokens, from the second on, that equal the one before
off_script         share of characters, white space apart, that are letters of a script which the prompt has none of
degenerate         1 where it is repetitive or off-script beside the unedited continuation, else 0
"""

REPETITIVE = 0.3
"""Share of bigrams, of the distinct ones unedited, whose loss makes a text repetitive."""
LONG_ENOUGH = 10
"""Tokens that a text must exceed to be called repetitive."""
OFF_SCRIPT = 0.3
"""Share of foreign letters, beyond the unedited text's, that makes a text degenerate: as for repetition."""
ROUNDING = 1e-9
UNDECODABLE = "\ufffd"


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What was written: tokens before an end of text, and their text."""

    tokens: tuple[int, ...]
    text: str


def before_end(tokens: Sequence[int], ends: Collection[int]) -> tuple[int, ...]:
    """The tokens before the first of `ends`; what follows it counts as nothing."""
    first = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(int(token) for token in tokens[:first])


def repeated(tokens: Sequence[int], n: int) -> float:
    """1 - distinct n-grams / n-grams: 0 where all are distinct, or there is none."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def same_token(tokens: Sequence[int]) -> float:
    """Share of tokens, from the second on, that equal the one before; 0 where there is no second."""
    pairs = list(pairwise(tokens))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else 0.0


def scripts(text: str) -> frozenset[str]:
    """Scripts of the letters of a text, as Unicode names begin: 'LATIN', 'CJK', 'CYRILLIC'."""
    return frozenset(script for character in text if (script := _script(character)))


def off_script(text: str, prompt: str) -> float:
    """Share of characters, white space apart, that are letters of a script which the prompt has none of.

    Bytes that are no character count as such letters, but for a character that is cut off at the end, which is one
    UNDECODABLE (`harness.continuations.decode`). 0 for a prompt without letters, and for a text without characters.
    """
    own = scripts(prompt)
    seen = [c for c in text.removesuffix(UNDECODABLE) if not c.isspace()]
    if not own or not seen:
        return 0.0
    foreign = sum(c == UNDECODABLE or (_script(c) or "") not in own | {""} for c in seen)
    return foreign / len(seen)


def is_repetitive(tokens: Sequence[int], unedited: Sequence[int]) -> bool:
    """Over LONG_ENOUGH tokens, with a share of distinct bigrams below 1 - REPETITIVE of the unedited text's."""
    kept = (1.0 - REPETITIVE) * (1.0 - repeated(unedited, 2))
    return len(tokens) > LONG_ENOUGH and 1.0 - repeated(tokens, 2) < kept - ROUNDING


def describe(written: Continuation, unedited: Continuation, prompt: str) -> dict[str, float]:
    """The metrics of GENERATED, of one continuation of a prompt beside its unedited one."""
    foreign = off_script(written.text, prompt)
    beyond = foreign - off_script(unedited.text, prompt) > OFF_SCRIPT + ROUNDING
    return {
        "new_tokens": float(len(written.tokens)),
        "repeated_bigrams": repeated(written.tokens, 2),
        "repeated_trigrams": repeated(written.tokens, 3),
        "same_token": same_token(written.tokens),
        "off_script": foreign,
        "degenerate": float(beyond or is_repetitive(written.tokens, unedited.tokens)),
    }


_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK"}
"""Japanese is written in all of them at once."""
_NO_SCRIPT = ("MODIFIER",)


def _script(character: str) -> str | None:
    """The script of a letter; None for anything else. Letterlike symbols are the letters they stand for."""
    for plain in unicodedata.normalize("NFKC", character):
        if unicodedata.category(plain).startswith("L"):
            name = unicodedata.name(plain, "UNNAMED").split(" ")[0]
            return None if name in _NO_SCRIPT else _ONE_SCRIPT.get(name, name)
    return None
