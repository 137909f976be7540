"""Answers that come with the records are believed for the same question, code, versions and bytes alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import memo as module
from harness.judged import Entry, entry_from_text, entry_to_text, read_judged, write_judged
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
