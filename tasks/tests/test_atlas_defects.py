"""What the atlas's task suites got wrong (FIGURES.md, section 14), one test each, over all candidates."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tasks.prompts import Prompt, PromptPair, TaskFamily
from tasks.sampling import draw, draw_suite, family_rng
from tasks.suites import SUITES
from tasks.tokens import Encode, verify_pair

EVERY_FAMILY = tuple(dict.fromkeys(task for suite in SUITES.values() for task in suite))
every_family = pytest.mark.parametrize("task", EVERY_FAMILY, ids=lambda task: task.name)


def prompts(task: TaskFamily) -> set[Prompt]:
    return {p for pair in task.candidates() for p in (pair.clean, pair.corrupt)}


def by_name(name: str) -> TaskFamily:
    return next(task for task in EVERY_FAMILY if task.name == name)


def test_copying_answer_is_the_last_letter_of_the_cycle() -> None:
    """10 of 10 stored answers were the first letter of the cycle; the right one is the last."""
    cycles = [p for p in prompts(by_name("copying")) if p.template == "letter_cycle"]
    assert len(cycles) >= 20
    for prompt in cycles:
        letters = prompt.text.split()
        period = next(k for k in range(1, 9) if letters[k:] == letters[:-k])
        assert prompt.answer == f" {letters[len(letters) % period]}"
        assert prompt.answer != f" {letters[0]}"


@every_family
def test_no_prompt_ends_in_a_lone_space(task: TaskFamily) -> None:
    """A final space is a token of its own, after which the natural continuation cannot come."""
    for prompt in prompts(task):
        assert prompt.text == prompt.text.strip(), prompt.text


@every_family
def test_corrupt_differs_from_clean_before_the_read_out(task: TaskFamily) -> None:
    """10 of 10 delimiter pairs had the same text twice."""
    for pair in task.candidates():
        clean, corrupt = pair.clean.text.split(), pair.corrupt.text.split()
        assert clean != corrupt
        assert pair.clean.text[-1] == pair.corrupt.text[-1]
        assert pair.clean.answer != pair.corrupt.answer


def test_delimiters_count_the_brackets_of_a_call() -> None:
    """The call's own parenthesis was ignored."""
    calls = [p for p in prompts(by_name("delimiter_tracking")) if p.template == "call_or_index"]
    assert {p.answer for p in calls} == {")", "]"}
    for prompt in calls:
        last = re.findall(r"[\w]([(\[])", prompt.text)[-1]
        assert prompt.answer == {"(": ")", "[": "]"}[last]


@every_family
def test_answers_are_whole_and_one_token_in_context(task: TaskFamily, encode: Encode) -> None:
    """Answers of several tokens were scored by their first token, and without their leading space."""
    drawn = draw(task, n=50, rng=family_rng(42, task.name), encode=encode)
    for pair in drawn.pairs:
        for prompt in (pair.clean, pair.corrupt):
            for word in (prompt.answer, prompt.foil):
                assert encode(prompt.text + word)[:-1] == encode(prompt.text)
                assert word.strip()


def test_no_answer_is_a_number_of_several_digits() -> None:
    """Multi-digit results were scored by their first digit only."""
    for task in EVERY_FAMILY:
        for prompt in prompts(task):
            assert not re.search(r"\d\d|\s\d", prompt.answer), prompt


@every_family
def test_no_prompt_is_drawn_twice(task: TaskFamily, encode: Encode) -> None:
    """Of 2,500 items 954 were duplicates; test prompts stood in train too."""
    for seed in (42, 137, 2026):
        drawn = draw(task, n=50, rng=family_rng(seed, task.name), encode=encode)
        assert max(Counter(pair.clean.text for pair in drawn.pairs).values()) == 1


@every_family
def test_a_text_has_one_answer(task: TaskFamily) -> None:
    """Several answers were not unique: no text may appear with two, nor a foil be right elsewhere for it."""
    answers: dict[str, set[str]] = {}
    for prompt in prompts(task):
        answers.setdefault(prompt.text, set()).add(prompt.answer)
    assert {text for text, found in answers.items() if len(found) > 1} == set()
    for prompt in prompts(task):
        assert prompt.foil not in answers[prompt.text]


def test_code_syntax_asks_for_no_free_name_or_number() -> None:
    """Any identifier or number fitted; now the grammar or the style of the text leaves one form."""
    for prompt in prompts(by_name("code_syntax")):
        word = prompt.answer.strip().lower()
        keywords = {"import", "in", "else", "from", "set", "then", "do", "fi", "done", "np", "pd", "tf", "nx"}
        assert word in keywords or not re.search(r"\w", word), prompt


def test_renaming_decides_the_answer() -> None:
    """The printed value did not depend on the rename hint. Now only the renaming differs within a pair."""
    for pair in by_name("variable_renaming").candidates():
        clean, corrupt = (re.findall(r"\w+|\S", p.text) for p in (pair.clean, pair.corrupt))
        assert len(clean) == len(corrupt)
        changed = {(a, b) for a, b in zip(clean, corrupt, strict=True) if a != b}
        names = {(pair.clean.answer.strip(), pair.clean.foil.strip())}
        if pair.clean.template == "value_by_new_name":
            assert all(re.search(rf"Rename {a} to", pair.clean.text) for a, _ in changed)
            assert len(changed) == 1
        else:
            assert changed == names, pair.clean.text


def test_verbosity_is_not_plain_question_answering() -> None:
    """It was plain QA. Now both lengths are asked of the same content, and the length decides."""
    for pair in by_name("verbosity_control").candidates():
        clean, corrupt = pair.clean.text.split(), pair.corrupt.text.split()
        changed = {w.strip(".:,") for a, b in zip(clean, corrupt, strict=True) if a != b for w in (a, b)}
        about_length = {
            "short",
            "brief",
            "full",
            "Short",
            "Long",
            "long",
            "Word",
            "Sentence",
            "one",
            "two",
            "only",
        }
        about_length |= {"both", "pet", "pets", "is", "are", "color", "colors", "Title", "Story"}
        assert changed <= about_length, pair.clean.text


def test_uncertainty_answers_are_settled_by_the_text() -> None:
    """The gold word was arbitrary. Now each template has both polarities, and its two words are fixed."""
    polarity: dict[str, set[str]] = {}
    for prompt in prompts(by_name("uncertainty")):
        polarity.setdefault(prompt.template, set()).add(prompt.answer.strip())
    assert all(len(found) == 2 for found in polarity.values()), polarity


def test_refusal_has_both_outcomes_in_every_template() -> None:
    """It was no refusal task: the gold was an open-ended benign reply."""
    grants = {"yes", "Yes", "accept", "agree", "allowed", "accepted"}
    denies = {"no", "No", "refuse", "decline", "forbidden", "rejected"}
    for pair in by_name("refusal_compliance").candidates():
        words = {pair.clean.answer.strip(), pair.clean.foil.strip()}
        assert len(words & grants) == len(words & denies) == 1, pair.clean


@every_family
def test_every_family_fills_a_draw_and_none_is_left_out(task: TaskFamily, encode: Encode) -> None:
    """Families of 6 items had one test item, and uncertainty was never scored."""
    suite = next(name for name in SUITES if task in SUITES[name])
    drawn = draw_suite(suite, n_per_family=50, seed=42, encode=encode)
    mine: list[PromptPair] = [pair for pair in drawn.pairs if pair.clean.family == task.name]
    assert len(mine) == 50
    assert len({pair.clean.template for pair in mine}) >= 10
    assert all(verify_pair(pair, encode) is None for pair in mine)
