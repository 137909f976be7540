"""Answers that come with the records are believed for the same question, code, versions and bytes alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import memo as module
from harness.judged import (
    Entry,
    _sealed,
    _unsealed,
    entry_from_text,
    entry_to_text,
    read_judged,
    write_judged,
)
from harness.memo import Memo

ENTRY = Entry(
    name="hub", basis="b", asked="q", used={"m/a.json": "0f", "m/none.json": ""}, answer={"is": [1.5, None]}
)
OTHER = Entry(name="across", basis="b", asked="q", used={"n/a.json": "1", "m/a.json": "0f"}, answer="so")


class Asker:
    """Asks one question of the records of a clone, with what it brought, and counts how often that is answered."""

    def __init__(self, home: Path) -> None:
        self.home, self.answered = home, 0

    def memo(self, place: str = "here", *, anew: bool = False) -> Memo:
        return Memo(self.home / place, self.home / "evidence", brought=self.home / "brought", anew=anew)

    def ask(self, memo: Memo, name: str = "name", question: str = "question") -> object:
        def answer() -> object:
            self.answered += 1
            memo.reading(self.home / "evidence/m/a.json")
            return {"is": [1.5, "so", None]}

        return memo.remembered(name, question, answer, dict)


@pytest.fixture
def asker(tmp_path):
    (tmp_path / "evidence/m").mkdir(parents=True)
    (tmp_path / "evidence/m/a.json").write_text("record")
    return Asker(tmp_path)


@pytest.fixture
def brought(asker):
    """The asker after one question, whose answer is kept beside the records and nowhere else."""
    memo = asker.memo("first")
    asker.ask(memo)
    assert memo.keep(asker.home / "brought") == 1
    return asker


def test_an_entry_is_the_same_after_text():
    assert entry_from_text(entry_to_text(ENTRY)) == ENTRY
    of_numpy = replace(ENTRY, answer={"is": [np.float64(1.5), None]})
    assert entry_from_text(entry_to_text(of_numpy)) == ENTRY


def test_a_folder_holds_a_file_for_each_set_of_models_with_a_line_for_each_answer(tmp_path):
    assert write_judged(tmp_path, [ENTRY, OTHER, replace(ENTRY, name="exits")]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m+n.jsonl", "m.jsonl"]
    lines = (tmp_path / "m.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert '"exits"' in lines[1]
    assert '"hub"' in lines[2]
    assert read_judged(tmp_path, "b") == {
        "across": OTHER,
        "exits": replace(ENTRY, name="exits"),
        "hub": ENTRY,
    }


def test_where_only_code_changed_one_line_of_a_file_differs(tmp_path):
    write_judged(tmp_path, [ENTRY])
    before = (tmp_path / "m.jsonl").read_text().splitlines()
    write_judged(tmp_path, [replace(ENTRY, basis="c")])
    after = (tmp_path / "m.jsonl").read_text().splitlines()
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_what_is_kept_replaces_what_was(tmp_path):
    write_judged(tmp_path, [ENTRY, OTHER])
    (tmp_path / "README.md").write_text("of a person")
    write_judged(tmp_path, [OTHER])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "m+n.jsonl"]


def test_entries_of_two_states_of_the_code_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 states of the code"):
        write_judged(tmp_path, [ENTRY, replace(OTHER, basis="c")])
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_basis_is_not_there(tmp_path):
    write_judged(tmp_path, [ENTRY])
    assert read_judged(tmp_path, "c") == {}
    assert read_judged(tmp_path / "none", "b") == {}


@pytest.mark.parametrize("line", ["", "{}", "0" * 64 + " {}", "[]", "\xff"])
def test_a_damaged_line_is_not_there_and_the_others_are(tmp_path, line):
    write_judged(tmp_path, [ENTRY, replace(ENTRY, name="exits")])
    path = tmp_path / "m.jsonl"
    first, _, last = path.read_text().splitlines()
    path.write_text("\n".join([first, line, last]), encoding="utf-8")
    assert list(read_judged(tmp_path, "b")) == ["hub"]


def test_every_flipped_byte_of_a_file_loses_what_it_is_in_and_changes_nothing(tmp_path):
    write_judged(tmp_path, [ENTRY])
    path = tmp_path / "m.jsonl"
    whole = path.read_bytes()
    for i in range(len(whole) - 1):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert read_judged(tmp_path, "b") == {}


def test_what_came_with_the_records_is_not_asked_again(brought):
    assert brought.ask(brought.memo()) == {"is": [1.5, "so", None]}
    assert brought.answered == 1


def test_what_came_with_the_records_is_asked_again_where_all_is(brought):
    memo = brought.memo(anew=True)
    assert brought.ask(memo) == brought.ask(memo) == {"is": [1.5, "so", None]}
    assert brought.answered == 2
    brought.ask(brought.memo("first", anew=True))
    assert brought.answered == 3


def test_a_changed_record_another_question_and_another_version_are_asked_again(brought, monkeypatch):
    brought.ask(brought.memo("one"), question="another")
    assert brought.answered == 2
    version = module.version
    with monkeypatch.context() as patch:
        patch.setattr(module, "version", lambda name: "0.1" if name == "numpy" else version(name))
        brought.ask(brought.memo("two"))
    assert brought.answered == 3
    (brought.home / "evidence/m/a.json").write_text("another record")
    brought.ask(brought.memo("three"))
    assert brought.answered == 4


def test_an_edited_answer_that_came_with_the_records_is_not_believed(brought):
    (path,) = (brought.home / "brought").iterdir()
    path.write_text(path.read_text().replace("1.5", "2.5"))
    assert brought.ask(brought.memo()) == {"is": [1.5, "so", None]}
    assert brought.answered == 2


def test_what_is_believed_is_kept_again_byte_for_byte(brought):
    (path,) = (brought.home / "brought").iterdir()
    before = path.read_bytes()
    memo = brought.memo()
    brought.ask(memo)
    memo.keep(brought.home / "brought")
    assert path.read_bytes() == before
    anew = brought.memo(anew=True)
    brought.ask(anew)
    anew.keep(brought.home / "brought")
    assert path.read_bytes() == before


def test_what_was_not_asked_for_is_not_kept(brought):
    memo = brought.memo()
    brought.ask(memo, name="another")
    assert memo.keep(brought.home / "brought") == 1
    assert list(read_judged(brought.home / "brought", memo._basis)) == ["another"]


def test_a_file_of_another_form_is_nobody_s_to_replace(tmp_path):
    mine = {"my_results.jsonl": '{"mine": 1}\n', "m+n.jsonl": "", "notes.jsonl": "\xff"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    write_judged(tmp_path, [ENTRY])
    assert read_judged(tmp_path, "b") == {"hub": ENTRY}
    for name, text in mine.items():
        assert (tmp_path / name).read_text(encoding="latin-1") == text


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        ({"is": [1.5 * (1 + 1e-13), None]}, {"is": [1.5, None]}),
        ({"is": [1.5 * (1 + 1e-8), None]}, None),
        ({"is": [1.5, 0]}, None),
        ({"is": [1.5]}, None),
        ({"are": [1.5, None]}, None),
        ({"is": "1.5"}, None),
    ],
)
def test_what_differs_by_rounding_alone_stays_as_it_was(tmp_path, now, kept):
    """Of another processor; and whatever the code was whose answer it was."""
    write_judged(tmp_path, [replace(ENTRY, basis="before")])
    write_judged(tmp_path, [replace(ENTRY, basis="before", answer=now)])
    assert read_judged(tmp_path, "before")["hub"].answer == (now if kept is None else kept)


def test_another_question_s_answer_does_not_stay(tmp_path):
    write_judged(tmp_path, [ENTRY])
    close = {"is": [1.5 * (1 + 1e-13), None]}
    write_judged(tmp_path, [replace(ENTRY, answer=close, asked="another")])
    assert read_judged(tmp_path, "b")["hub"].answer == close


def test_the_run_says_where_its_answers_are_from(brought, monkeypatch):
    memo = brought.memo()
    assert memo.say() == ""
    brought.ask(memo)
    brought.ask(memo)
    brought.ask(memo, name="another")
    assert memo.say() == "1 judged now, 0 by earlier runs here, 1 before this copy was made"
    assert memo.remembered("of nothing recorded", "", lambda: "not run", str) == "not run"
    assert memo.say().startswith("1 judged now")
    again = brought.memo()
    brought.ask(again, name="another")
    assert again.say() == "0 judged now, 1 by earlier runs here, 0 before this copy was made"
    monkeypatch.setattr(module.platform, "machine", lambda: "other")
    stale = brought.memo("elsewhere")
    brought.ask(stale)
    assert stale.say().endswith("(what is in brought is of other code or versions: make report)")


@pytest.mark.parametrize(
    "forged", [{"used": {"": "x"}}, {"used": []}, {"asked": 1}, {"answer": 5}, {"more": 1}]
)
def test_a_sealed_line_of_another_form_is_not_believed(brought, forged):
    (path,) = (brought.home / "brought").iterdir()
    first, line, _ = path.read_text().split("\n")
    path.write_text(
        f"{first}\n{_sealed(_unsealed(line) | forged)}\n{_sealed({'deep': 1})[:64]} {'[' * 200_000}\n"
    )
    assert brought.ask(brought.memo()) == {"is": [1.5, "so", None]}
    assert brought.answered == 2
