"""verify_pair: each rule broken alone gives that rule's reason, and a sound pair gives none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.prompts import Prompt, PromptPair
from tasks.tokens import MAX_TOKENS, MIN_TOKENS, answer_ids, verify_pair

WORDS = ("red", "dog", "sun", "hat", "key", "cup", "box", "tea")


def encode_words(text: str) -> list[int]:
    """One token per word with the space before it; a lone trailing space is a token of its own."""
    pieces = text.split(" ")
    return [int.from_bytes(piece.encode()[:7] or b"\0", "big") for piece in pieces]


def sound_pair(length: int = 6) -> PromptPair:
    body = " dog" * (length - 3)
    clean = Prompt(text=f"one red{body} the", answer=" red", foil=" sun", family="f", template="t")
    corrupt = Prompt(text=f"one sun{body} the", answer=" sun", foil=" red", family="f", template="t")
    return PromptPair(clean=clean, corrupt=corrupt)


def with_clean(pair: PromptPair, **changes: str) -> PromptPair:
    return replace(pair, clean=replace(pair.clean, **changes))


def test_a_sound_pair_is_accepted() -> None:
    assert verify_pair(sound_pair(), encode_words) is None


@pytest.mark.parametrize("length", [MIN_TOKENS - 1, MIN_TOKENS, MAX_TOKENS, MAX_TOKENS + 1])
def test_length_bounds_are_inclusive(length: int) -> None:
    rejection = verify_pair(sound_pair(length), encode_words)
    assert (rejection is None) == (MIN_TOKENS <= length <= MAX_TOKENS)
    assert rejection is None or (
        rejection.rule == "length in range" and f"{length} tokens" in rejection.reason
    )


BROKEN = {
    "same template": with_clean(sound_pair(), template="u"),
    "clean differs from corrupt": with_clean(sound_pair(), text=sound_pair().corrupt.text),
    "answer and foil swapped": with_clean(sound_pair(), foil=" hat"),
    "one token in context": replace(
        sound_pair(),
        clean=replace(sound_pair().clean, foil=" sun set"),
        corrupt=replace(sound_pair().corrupt, answer=" sun set"),
    ),
    "answer and foil ids differ": replace(
        sound_pair(),
        clean=replace(sound_pair().clean, foil=" red"),
        corrupt=replace(sound_pair().corrupt, answer=" red"),
    ),
    "equal token length": with_clean(sound_pair(), text="one red dog dog dog dog the"),
    "same read-out token": with_clean(sound_pair(), text="one red dog dog dog a"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_broken_rule_is_named(rule: str) -> None:
    rejection = verify_pair(BROKEN[rule], encode_words)
    assert rejection is not None
    assert rejection.rule == rule
    assert (rejection.clean, rejection.corrupt) == (BROKEN[rule].clean.text, BROKEN[rule].corrupt.text)


@pytest.mark.parametrize("end", [" ", "\n", "\t", "  ", "\u00a0"])
@pytest.mark.parametrize("side", ["clean", "corrupt"])
def test_trailing_whitespace_is_refused_on_both_sides(side: str, end: str) -> None:
    pair = sound_pair()
    prompt = getattr(pair, side)
    rejection = verify_pair(replace(pair, **{side: replace(prompt, text=prompt.text + end)}), encode_words)
    assert rejection is not None
    assert rejection.rule == "no trailing whitespace"


def test_an_answer_that_changes_earlier_tokens_is_refused() -> None:
    """`the` then `re` becomes the one token `there`: what is measured would not be the prompt given."""
    pair = sound_pair()
    merged = replace(
        pair, clean=replace(pair.clean, answer="re"), corrupt=replace(pair.corrupt, foil="re")
    )  # "the" + "re" is the one word "there"
    rejection = verify_pair(merged, encode_words)
    assert rejection is not None
    assert rejection.rule == "one token in context"
    assert "'re'" in rejection.reason


def test_an_empty_answer_is_refused() -> None:
    pair = sound_pair()
    empty = replace(pair, clean=replace(pair.clean, answer=""), corrupt=replace(pair.corrupt, foil=""))
    rejection = verify_pair(empty, encode_words)
    assert rejection is not None
    assert rejection.rule == "one token in context"


@given(
    a=st.sampled_from(WORDS),
    b=st.sampled_from(WORDS),
    fill=st.lists(st.sampled_from(WORDS), max_size=32),
    extra=st.lists(st.sampled_from(WORDS), max_size=1),
)
def test_acceptance_is_exactly_the_conjunction_of_the_rules(
    a: str, b: str, fill: list[str], extra: list[str]
) -> None:
    clean = Prompt(text=" ".join([a, *fill, "so"]), answer=f" {a}", foil=f" {b}", family="f", template="t")
    corrupt = Prompt(
        text=" ".join([b, *fill, *extra, "so"]), answer=f" {b}", foil=f" {a}", family="f", template="t"
    )
    sound = a != b and not extra and MIN_TOKENS <= len(fill) + 2 <= MAX_TOKENS
    assert (verify_pair(PromptPair(clean=clean, corrupt=corrupt), encode_words) is None) == sound


def test_answer_ids_are_the_appended_tokens() -> None:
    pair = sound_pair()
    assert answer_ids(pair.clean, encode_words) == (encode_words("red")[0], encode_words("sun")[0])
    assert answer_ids(pair.corrupt, encode_words) == answer_ids(pair.clean, encode_words)[::-1]
    with pytest.raises(ValueError, match="not one token after"):
        answer_ids(replace(pair.clean, answer=" a b"), encode_words)
