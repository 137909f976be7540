"""The suites' contents, digest and cost, and what every candidate has to be like."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks import suites
from tasks.build import MAX_PAIRS_PER_TEMPLATE, family
from tasks.prompts import TaskFamily
from tasks.suites import SUITES, UnknownSuite, find_suite, suite_digest
from tasks.survey import shortfalls, survey
from tasks.tokens import Encode

FULL = SUITES["full"]
NARROW = [
    "copying",
    "delimiter_tracking",
    "json_schema",
    "factual_recall",
    "arithmetic",
    "code_syntax",
    "code_semantics",
    "dead_code",
]
REST = ["variable_renaming", "refusal_compliance", "verbosity_control", "uncertainty"]


def test_suites_hold_the_families_of_the_studies() -> None:
    assert [task.name for task in SUITES["narrow"]] == NARROW
    assert [task.name for task in SUITES["full"]] == NARROW + REST
    with pytest.raises(UnknownSuite, match="no suite is named 'wide'; choose one of: narrow, full"):
        find_suite("wide")


@pytest.mark.parametrize("task", FULL, ids=lambda task: task.name)
def test_every_family_is_large_and_varied(task: TaskFamily) -> None:
    pairs = task.candidates()
    assert len({pair.clean.template for pair in pairs}) >= 10
    assert len({pair.clean.text for pair in pairs}) >= 50
    assert len(pairs) <= 2000
    assert {p.family for pair in pairs for p in (pair.clean, pair.corrupt)} == {task.name}
    assert len({(pair.clean.text, pair.corrupt.text) for pair in pairs}) == len(pairs)
    assert task.description.endswith(".")


@pytest.mark.parametrize("task", FULL, ids=lambda task: task.name)
def test_templates_are_not_one_sentence_with_a_word_changed(task: TaskFamily) -> None:
    """The words that all prompts of a template share, in their order, differ from template to template."""
    shared: dict[str, set[str]] = {}
    sample: dict[str, list[str]] = {}
    for pair in task.candidates():
        sample[pair.clean.template] = pair.clean.text.split()
        words = set(sample[pair.clean.template])
        shared[pair.clean.template] = shared.get(pair.clean.template, words) & words
    frames = [
        tuple(w for w in sample[name] if w in words) for name, words in shared.items() if len(words) > 3
    ]
    assert len(set(frames)) == len(frames)


def test_survey_finds_enough_under_the_trained_tokenizer(encode: Encode) -> None:
    surveys = survey("full", encode)
    assert list(surveys) == NARROW + REST
    assert shortfalls(surveys, min_templates=10, min_prompts=50) == []
    for found in surveys.values():
        assert found.pairs + sum(found.rejections.values()) == found.candidates
        assert found.prompts <= sum(found.prompts_by_template.values())


def test_survey_reports_a_shortfall_with_its_reason(encode: Encode) -> None:
    """A tokenizer that puts an end token after every text has no answer that is one appended token."""
    surveys = survey("full", lambda text: [*encode(text), 0])
    lines = shortfalls(surveys, min_templates=10, min_prompts=50)
    assert len(lines) == len(FULL)
    assert "'copying' offers 0 templates and 0 prompts; expected at least 10 and 50" in lines[0]
    assert "one token in context" in lines[0]


def test_the_digest_follows_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite_digest("narrow") != suite_digest("full")
    assert len(suite_digest("full")) == 64

    def one():
        yield [("two plus two is", " four"), ("two plus six is", " eight")]

    def with_answer(answer: str):
        def one():
            """A docstring does not count."""
            yield [("two plus two is", answer), ("two plus six is", " eight")]

        return one

    def digest(template) -> str:
        suite_digest.cache_clear()
        monkeypatch.setitem(suites.SUITES, "tiny", (family("tiny", "x.", (template,)),))
        return suite_digest("tiny")

    assert digest(one) == digest(with_answer(" four"))
    assert digest(one) != digest(with_answer("four"))
    suite_digest.cache_clear()


def test_a_long_template_is_thinned_evenly() -> None:
    def long():
        for i in range(400):
            yield [(f"{i} a", " a"), (f"{i} b", " b")]

    pairs = family("f", "x.", (long,)).candidates()
    numbers = [int(pair.clean.text.split()[0]) for pair in pairs]
    assert MAX_PAIRS_PER_TEMPLATE / 2 <= len(pairs) <= MAX_PAIRS_PER_TEMPLATE
    assert min(numbers) < 10
    assert max(numbers) > 390


def test_two_templates_of_one_name_are_refused() -> None:
    def one():
        yield [("a", " a"), ("b", " b")]

    with pytest.raises(ValueError, match=r"template names \['one'\] are used twice"):
        family("f", "x.", (one, one))


def test_enumeration_is_fast_and_imports_no_model_code() -> None:
    """In a fresh process, since candidates are cached: 0.5 s of processor time for all of it."""
    code = (
        "import sys, numpy, time; start = time.process_time(); import tasks;"
        "[tasks.suite_digest(name) for name in tasks.SUITES];"
        "heavy = [m for m in ('torch', 'transformers', 'pytest') if m in sys.modules];"
        "print(time.process_time() - start, heavy)"
    )
    seconds, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split(maxsplit=1)
    assert float(seconds) < 0.5
    assert modules.strip() == "[]"


@pytest.mark.parametrize("group", [[], [("a b", " a")], [("a b", " c"), ("b a", " c")]])
def test_a_group_without_contrast_is_refused(group: list[tuple[str, str]]) -> None:
    """Its prompts would vanish from the suite and nobody would notice."""

    def flat():
        yield group

    with pytest.raises(ValueError, match="no two answers that differ"):
        family("f", "x.", (flat,)).candidates()
