"""The suites' contents, digest and cost, and what every candidate has to be like."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks import suites
from tasks.build import MAX_PAIRS_PER_TEMPLATE, family
from tasks.prompts import TaskFamily
from tasks.suites import IN_PROSE, SUITES, UnknownSuite, find_suite, suite_digest
from tasks.survey import shortfalls, survey
from tasks.tokens import Encode

FULL = SUITES["full"]
EVERY_FAMILY = tuple(dict.fromkeys(task for suite in SUITES.values() for task in suite))
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
ADDED = [
    "instruction_following",
    "string_decoding",
    "constant_folding",
    "control_flow_simplification",
]
BANDED = ["copying", "json_schema", "factual_recall", "arithmetic", "code_semantics", "dead_code"]


def test_suites_hold_the_families_of_the_studies() -> None:
    assert [task.name for task in SUITES["narrow"]] == NARROW
    assert [task.name for task in SUITES["full"]] == NARROW + REST
    assert [task.name for task in SUITES["extended"]] == NARROW + REST + ADDED
    assert [task.name for task in SUITES["natural"]] == [*IN_PROSE.values()]
    assert set(IN_PROSE) <= set(NARROW)
    for band in ("short", "medium", "long"):
        assert [task.name for task in SUITES[band]] == BANDED
    with pytest.raises(UnknownSuite, match="no suite is named 'wide'; choose one of: narrow, full"):
        find_suite("wide")


@pytest.mark.parametrize("task", EVERY_FAMILY, ids=lambda task: task.name)
def test_every_family_is_large_and_varied(task: TaskFamily) -> None:
    pairs = task.candidates()
    assert len({pair.clean.template for pair in pairs}) >= 10
    assert len({pair.clean.text for pair in pairs}) >= 50
    assert len(pairs) <= 2000
    assert {p.family for pair in pairs for p in (pair.clean, pair.corrupt)} == {task.name}
    assert len({(pair.clean.text, pair.corrupt.text) for pair in pairs}) == len(pairs)
    assert task.description.endswith(".")


@pytest.mark.parametrize("task", EVERY_FAMILY, ids=lambda task: task.name)
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


RECORDED = {
    "narrow": "fbe50248782eab1b270f3ff56b03c27a623b29ca410d25040f77b1eacdf7ed4a",
    "full": "ac3c531410d8c79bf8ee95970bb756aa38ce7fff230367318dcd75e36bd2fd64",
}


@pytest.mark.parametrize("name", RECORDED)
def test_the_suites_that_evidence_was_recorded_on_have_not_moved(name: str) -> None:
    """Other suites may grow; with these two, everything that was measured would be stale."""
    assert suite_digest(name) == RECORDED[name]


def test_every_suite_has_its_own_digest() -> None:
    assert len({suite_digest(name) for name in SUITES}) == len(SUITES)


@pytest.mark.parametrize("name", ["extended", "natural", "short"])
def test_survey_finds_enough_under_the_trained_tokenizer(name: str, encode: Encode) -> None:
    surveys = survey(name, encode)
    assert list(surveys) == [task.name for task in SUITES[name]]
    assert shortfalls(surveys, min_templates=10, min_prompts=50) == []
    for found in surveys.values():
        assert found.pairs + sum(found.rejections.values()) == found.candidates
        assert found.prompts <= sum(found.prompts_by_template.values())


@pytest.mark.parametrize("name", ["extended", "natural"])
def test_real_tokenizers_leave_enough_of_the_suites(name: str, real_encode: Encode) -> None:
    assert shortfalls(survey(name, real_encode), min_templates=10, min_prompts=50) == []


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
