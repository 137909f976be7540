"""Draws are distinct, balanced, seeded, verified and independent from family to family."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import sampling, suites
from tasks.build import family
from tasks.prompts import PromptPair, TaskFamily
from tasks.sampling import NotEnoughPrompts, draw, draw_suite, family_rng
from tasks.suites import SUITES, UnknownSuite
from tasks.tokens import Encode, verify_pair

FULL = SUITES["full"]


def texts(pairs: tuple[PromptPair, ...]) -> list[str]:
    return [pair.clean.text for pair in pairs]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_draw_is_distinct_balanced_and_verified(encode: Encode, data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(FULL))
    n = data.draw(st.integers(1, 60))
    drawn = draw(chosen, n=n, rng=np.random.default_rng(data.draw(st.integers(0, 2**32))), encode=encode)
    assert len(drawn.pairs) == n
    assert len(set(texts(drawn.pairs))) == n
    assert all(verify_pair(pair, encode) is None for pair in drawn.pairs)
    templates = {pair.clean.template for pair in chosen.candidates()} - set(drawn.dropped)
    used = Counter(pair.clean.template for pair in drawn.pairs)
    assert set(used) <= templates
    assert all(n // len(templates) <= used[t] <= -(-n // len(templates)) for t in templates)


def test_same_seed_same_draw_and_other_seed_other_prompts(encode: Encode) -> None:
    first = draw_suite("full", n_per_family=20, seed=42, encode=encode)
    assert first == draw_suite("full", n_per_family=20, seed=42, encode=encode)
    other = draw_suite("full", n_per_family=20, seed=137, encode=encode)
    for task in FULL:
        mine = {p.clean.text for p in first.pairs if p.clean.family == task.name}
        theirs = {p.clean.text for p in other.pairs if p.clean.family == task.name}
        assert len(mine) == len(theirs) == 20
        assert len(mine & theirs) < 20, f"{task.name} draws the same prompts under both seeds"


def test_a_draw_does_not_depend_on_the_process_hash_seed() -> None:
    code = (
        "from tasks import SUITES, family_rng, suite_digest;"
        "print([family_rng(42, f.name).integers(1 << 60) for f in SUITES['full']], suite_digest('full'))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1


def test_the_stream_of_a_family_is_pinned() -> None:
    """Recorded evidence names a seed: the prompts behind it must not move with numpy or with this code."""
    assert family_rng(42, "copying").integers(1 << 30, size=3).tolist() == [314265748, 25683554, 295766834]


def test_families_draw_alike_in_every_suite(encode: Encode) -> None:
    narrow = draw_suite("narrow", n_per_family=12, seed=7, encode=encode)
    full = draw_suite("full", n_per_family=12, seed=7, encode=encode)
    names = {task.name for task in SUITES["narrow"]}
    assert texts(narrow.pairs) == texts(tuple(p for p in full.pairs if p.clean.family in names))


def test_adding_a_family_leaves_the_others_alone(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    before = draw_suite("narrow", n_per_family=12, seed=7, encode=encode)
    monkeypatch.setitem(suites.SUITES, "narrow", (FULL[-1], *SUITES["narrow"]))
    after = draw_suite("narrow", n_per_family=12, seed=7, encode=encode)
    assert texts(after.pairs)[12:] == texts(before.pairs)


def test_families_have_independent_streams() -> None:
    draws = {tuple(family_rng(42, task.name).integers(1 << 30, size=4)) for task in FULL}
    assert len(draws) == len(FULL)


def uneven() -> TaskFamily:
    """Template `wide` has 12 prompts, `scarce` 2, `broken` none that a tokenizer accepts."""

    def wide():
        yield [(f"a long enough text with x{i} here", f" y{i}") for i in range(12)]

    def scarce():
        yield [(f"some other text that has z{i} here", f" y{i}") for i in range(2)]

    def broken():
        yield [(f"this one ends in a space {i} here ", f" y{i}") for i in range(5)]

    return family("uneven", "for this test", (wide, scarce, broken))


def by_words(text: str) -> list[int]:
    return [int.from_bytes(word.encode()[:8] or b"\0", "big") for word in text.split(" ")]


def test_a_template_that_runs_out_leaves_its_turns_to_the_others() -> None:
    drawn = draw(uneven(), n=10, rng=np.random.default_rng(0), encode=by_words)
    assert Counter(p.clean.template for p in drawn.pairs) == {"wide": 8, "scarce": 2}
    assert drawn.dropped == ("broken",)
    assert {r.template for r in drawn.rejected} == {"broken"}


def test_a_shortage_names_family_counts_reason_and_remedy() -> None:
    with pytest.raises(NotEnoughPrompts) as caught:
        draw(uneven(), n=15, rng=np.random.default_rng(0), encode=by_words)
    message = str(caught.value)
    assert message.startswith("family 'uneven': 15 prompts asked, 14 available")
    for part in ("'no trailing whitespace'", "ask for at most 14", "tasks/families/uneven.py"):
        assert part in message
    assert "\n" not in message
    assert len(draw(uneven(), n=14, rng=np.random.default_rng(0), encode=by_words).pairs) == 14


def splits_every_word(text: str) -> list[int]:
    """One token per word, then one for the word's end: every answer is two tokens."""
    return [token for word in by_words(text) for token in (word, 0)]


def appends_an_end_token(text: str) -> list[int]:
    return [*by_words(text), 0]


@pytest.mark.parametrize("broken", [splits_every_word, appends_an_end_token])
@pytest.mark.parametrize("task", FULL, ids=lambda task: task.name)
def test_a_tokenizer_that_splits_answers_gives_one_clear_line(task: TaskFamily, broken: Encode) -> None:
    with pytest.raises(NotEnoughPrompts) as caught:
        draw(task, n=50, rng=family_rng(0, task.name), encode=broken)
    message = str(caught.value)
    assert message.startswith(
        f"family {task.name!r}: 50 prompts asked, 0 available under this tokenizer; most common"
    )
    assert "'one token in context'" in message or "'length in range'" in message
    assert message.endswith(f"add fillers to tasks/families/{task.name}.py that pass this rule")
    assert "\n" not in message


def test_candidates_are_verified_lazily(encode: Encode) -> None:
    calls = Counter[str]()

    def counting(text: str) -> list[int]:
        calls["encode"] += 1
        return encode(text)

    draw(FULL[0], n=5, rng=np.random.default_rng(0), encode=counting)
    assert calls["encode"] < 5 * 20 < len(FULL[0].candidates())


def test_bad_arguments_are_refused(encode: Encode) -> None:
    with pytest.raises(ValueError, match="n is 0 for family 'copying'"):
        draw(FULL[0], n=0, rng=np.random.default_rng(0), encode=encode)
    with pytest.raises(ValueError, match="seed is -1"):
        draw_suite("narrow", n_per_family=1, seed=-1, encode=encode)
    with pytest.raises(UnknownSuite, match="no suite is named 'wide'; choose one of: narrow, full"):
        draw_suite("wide", n_per_family=1, seed=1, encode=encode)
    assert issubclass(sampling.NotEnoughPrompts, ValueError)
