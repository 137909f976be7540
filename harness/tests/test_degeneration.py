"""What is read off a continuation: known strings, bounds and invariances."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.degeneration import (
    GENERATED,
    LONG_ENOUGH,
    Continuation,
    before_end,
    describe,
    is_repetitive,
    off_script,
    repeated,
    same_token,
    scripts,
)

tokens = st.lists(st.integers(0, 5), max_size=30)
texts = st.text(max_size=40)


TANGUT = "\U00017000"
"""A letter that many versions of Python's Unicode have no name for."""


def written(ids: list[int], text: str = "a text") -> Continuation:
    return Continuation(tokens=tuple(ids), text=text)


@pytest.mark.parametrize(
    ("ids", "bigrams", "trigrams", "same"),
    [
        ([], 0.0, 0.0, 0.0),
        ([7], 0.0, 0.0, 0.0),
        ([1, 2], 0.0, 0.0, 0.0),
        ([1, 1], 0.0, 0.0, 1.0),
        ([1, 1, 1, 1, 1], 3 / 4, 2 / 3, 1.0),
        ([1, 2, 1, 2, 1], 1 / 2, 1 / 3, 0.0),
        ([1, 2, 3, 1, 2, 4], 1 / 5, 0.0, 0.0),
        ([1, 2, 2, 3], 0.0, 0.0, 1 / 3),
    ],
)
def test_repetition_of_known_tokens(ids: list[int], bigrams: float, trigrams: float, same: float) -> None:
    assert (repeated(ids, 2), repeated(ids, 3), same_token(ids)) == pytest.approx((bigrams, trigrams, same))


@given(tokens, st.integers(1, 4))
def test_repetition_is_a_share_below_1_and_knows_no_names(ids: list[int], n: int) -> None:
    assert 0.0 <= repeated(ids, n) < 1.0
    assert 0.0 <= same_token(ids) <= 1.0
    renamed = [100 - token for token in ids]
    assert repeated(renamed, n) == repeated(ids, n) == repeated(ids[::-1], n)
    assert same_token(renamed) == same_token(ids) == same_token(ids[::-1])


@given(tokens, st.integers(1, 4))
def test_longer_pieces_repeat_no_oftener(ids: list[int], n: int) -> None:
    """Each n-gram that is new at its place begins no repeated (n+1)-gram: counts of repeats fall with n."""

    def repeats(n: int) -> float:
        return repeated(ids, n) * max(0, len(ids) - n + 1)

    assert repeats(n + 1) <= repeats(n) + 1e-9


@given(tokens)
def test_a_text_said_twice_repeats_itself(ids: list[int]) -> None:
    if len(ids) >= 2:
        assert repeated(ids + ids, 2) >= (len(ids) - 1) / (2 * len(ids) - 1) - 1e-9


@given(tokens, st.sets(st.integers(0, 5), max_size=3))
def test_what_follows_an_end_counts_as_nothing(ids: list[int], ends: set[int]) -> None:
    kept = before_end(ids, ends)
    assert kept == tuple(ids[: len(kept)])
    assert not ends & set(kept)
    assert len(kept) == len(ids) or ids[len(kept)] in ends
    assert before_end([*ids, *ids], ends)[: len(kept)] == kept


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Paris, 1789!", {"LATIN"}),
        ("Привет", {"CYRILLIC"}),
        ("naïve ﬁne Ⅷ ª", {"LATIN"}),
        ("π ≈ 3 µm", {"GREEK", "LATIN"}),
        ("日本語のテキストー", {"CJK"}),
        ("한국어 العربية", {"HANGUL", "ARABIC"}),
        ("oʻzbek", {"LATIN"}),  # a modifier letter is of no script
        ("ʻ", set()),
        (TANGUT, {unicodedata.name(TANGUT, "UNNAMED").split()[0]}),
        ("12 + 3 = {[(\n", set()),
        ("", set()),
    ],
)
def test_scripts_of_known_texts(text: str, found: set[str]) -> None:
    assert scripts(text) == found


@pytest.mark.parametrize(
    ("text", "prompt", "share"),
    [
        ("is Paris.", "The capital of France", 0.0),
        ("is Москва", "The capital of Russia", 6 / 8),
        ("is Москва", "Столица of Russia", 0.0),
        ("首都", "The capital", 1.0),
        ("1 2 3 首", "The capital", 1 / 4),
        ("首都", "1 + 1 =", 0.0),
        ("", "The capital", 0.0),
        (" \n", "The capital", 0.0),
        ("ab\ufffd", "The capital", 0.0),
        ("\ufffd\ufffdab", "The capital", 2 / 4),
        ("\ufffd\ufffd", "The capital", 1.0),
    ],
)
def test_foreign_letters_of_known_texts(text: str, prompt: str, share: float) -> None:
    assert off_script(text, prompt) == pytest.approx(share)


@given(texts, texts)
def test_foreign_letters_are_a_share_and_white_space_is_none(text: str, prompt: str) -> None:
    share = off_script(text, prompt)
    assert 0.0 <= share <= 1.0
    assert off_script(text, prompt + text) == 0.0 or "\ufffd" in text
    if not text.endswith("\ufffd"):
        assert off_script(" ".join(text), prompt) == pytest.approx(share)


@pytest.mark.parametrize(
    ("n", "distinct", "unedited", "verdict"),
    [
        (12, 7, 1.0, True),  # 7 of 11 bigrams
        (12, 8, 1.0, False),
        (11, 7, 1.0, False),  # 7 of 10: 30% lost, and not over it
        (11, 6, 1.0, True),
        (LONG_ENOUGH, 1, 1.0, False),  # ten tokens say nothing
        (LONG_ENOUGH + 1, 1, 1.0, True),
        (21, 7, 0.5, False),  # 7 of 20, of 10 of 20 unedited: 30% lost
        (21, 6, 0.5, True),
    ],
)
def test_repetitive_at_the_boundary(n: int, distinct: int, unedited: float, verdict: bool) -> None:
    def with_distinct(length: int, bigrams: int) -> list[int]:
        """A run of new tokens, then the last of them again and again."""
        return [*range(bigrams), *[bigrams - 1] * (length - bigrams)]

    ids = with_distinct(n, distinct)
    assert round((1 - repeated(ids, 2)) * (n - 1)) == distinct
    other = list(range(21)) if unedited == 1.0 else with_distinct(21, 10)
    assert 1 - repeated(other, 2) == pytest.approx(unedited)
    assert is_repetitive(ids, other) is verdict


@given(tokens, tokens, texts)
def test_the_metrics_are_bounded_and_the_unedited_text_is_never_degenerate(
    ids: list[int], unedited: list[int], text: str
) -> None:
    own = written(unedited, text)
    found = describe(written(ids, text), own, "The capital")
    assert tuple(found) == GENERATED
    assert found["new_tokens"] == len(ids)
    assert all(0.0 <= found[name] <= 1.0 for name in GENERATED[1:])
    assert describe(own, own, "The capital")["degenerate"] == 0.0


@given(tokens)
def test_a_text_that_repeats_more_stays_degenerate(ids: list[int]) -> None:
    unedited = list(range(24))
    if is_repetitive(ids, unedited):
        assert is_repetitive([*ids, *ids], unedited)


def test_a_text_is_described_by_its_own_tokens() -> None:
    found = describe(written([1, 2, 3, 1, 2, 3], "首 a"), written(list(range(9)), "b"), "The capital")
    assert found == {
        "new_tokens": 6.0,
        "repeated_bigrams": pytest.approx(2 / 5),
        "repeated_trigrams": pytest.approx(1 / 4),
        "same_token": 0.0,
        "off_script": 0.5,
        "degenerate": 1.0,
    }


@pytest.mark.parametrize(
    ("text", "unedited", "degenerate"),
    [
        ("首都是巴黎巴黎巴", "is Paris.", 1.0),
        ("is Paris of 首", "is Paris.", 0.0),
        ("aaaaaaa首都首", "aaaaaaaaaa", 0.0),  # 3 of 10
        ("aaaaaa首都首都", "aaaaaaaaaa", 1.0),
        ("aaaaaa首都首都", "aaaaaaaaa首", 0.0),  # the unedited text has some too
    ],
)
def test_foreign_text_is_degenerate_beside_the_unedited(text: str, unedited: str, degenerate: float) -> None:
    ids = list(range(24))
    found = describe(written(ids, text), written(ids, unedited), "The capital of France")
    assert found["degenerate"] == degenerate
