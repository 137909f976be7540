"""The mutation run: what it mutates, how it names what survives, and what it makes of the list of the accepted."""

from __future__ import annotations

import ast
import json
import os
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import pytest

from harness.mutation import __main__ as command
from harness.mutation.accepted import parse, render
from harness.mutation.mutants import KILLED, NO_TESTS, SURVIVED, TIMEOUT, UNKNOWN, Mutant, read_results
from harness.mutation.tree import per_process, undecorated, write_tree

SOURCE = '''
from functools import cached_property, lru_cache
import dataclasses

CALLS = []


@dataclasses.dataclass(frozen=True)
class Shape:
    side: int

    @property
    def area(self) -> int:
        """Side squared."""
        return self.side**2

    @cached_property
    def once(self) -> int:
        CALLS.append("once")
        return self.side + 1

    @classmethod
    def unit(cls) -> "Shape":
        return cls(1)


@lru_cache(
    maxsize=4,
)
def slow(x: int) -> int:
    CALLS.append("slow")
    return 2 * x
'''


def test_the_copy_does_what_the_source_does_without_a_decorator_mutmut_would_skip():
    text = undecorated(SOURCE)
    for line in ("@property", "@cached_property", "@lru_cache("):
        assert line in SOURCE
        assert line not in text
    for line in ("@classmethod", "@dataclasses.dataclass(frozen=True)"):
        assert line in text
    space: dict[str, object] = {}
    exec(compile(text, "copy", "exec"), space)
    shape = space["Shape"].unit()  # type: ignore[attr-defined]
    assert (shape.area, shape.once, shape.once) == (1, 2, 2)
    slow = cast("Callable[[int], int]", space["slow"])
    assert [slow(3), slow(3), slow(4)] == [6, 6, 8]
    assert space["CALLS"] == ["once", "slow", "slow"]


def test_a_cache_keeps_nothing_across_a_fork(monkeypatch):
    kept = per_process(lru_cache(maxsize=4))(lambda x: [x])
    first = kept(3)
    assert kept(3) is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert kept(3) is not first
    assert kept(3) is kept(3)
    monkeypatch.setenv("MUTANT_UNDER_TEST", "stats")
    assert kept(3) is not kept(3), "each test is seen to call it"


def test_a_source_without_decorators_is_left_as_it_is():
    plain = "def f(x):\n    # a comment\n    return x\n"
    assert undecorated(plain) == plain


def test_a_tree_holds_the_sources_and_the_configuration(tmp_path):
    for name in ("harness", "tasks", "fixtures", "claims"):
        (tmp_path / "from" / name / "__pycache__").mkdir(parents=True)
        (tmp_path / "from" / name / "__init__.py").write_text("")
    for name in ("evidence", "__snapshots__"):
        (tmp_path / "from" / "claims" / name).mkdir()
    (tmp_path / "from" / "harness" / "shape.py").write_text(SOURCE)
    (tmp_path / "from" / "harness" / "other.py").write_text(SOURCE)
    (tmp_path / "from" / "conftest.py").write_text("")
    (tmp_path / "from" / "pyproject.toml").write_text("[tool]\nold = 1")
    write_tree(tmp_path / "from", tmp_path / "to", ("harness/shape.py",), "[tool.mutmut]\n")
    assert tomllib.loads((tmp_path / "to" / "pyproject.toml").read_text()) == {
        "tool": {"old": 1, "mutmut": {}}
    }
    assert (tmp_path / "to" / "harness" / "shape.py").read_text() == undecorated(SOURCE)
    assert (tmp_path / "to" / "harness" / "other.py").read_text() == SOURCE
    assert not list((tmp_path / "to").rglob("__pycache__"))
    assert [p.name for p in (tmp_path / "to" / "claims").iterdir()] == ["__init__.py"]
    assert {p.name for p in (tmp_path / "to").iterdir()} == {
        "harness", "tasks", "fixtures", "claims", "conftest.py", "pyproject.toml"
    }  # fmt: skip


def mutated_file(numbers: tuple[int, int]) -> str:
    """What mutmut writes: the original and two mutants of a function, and one of a method, under these numbers."""
    one, two = numbers
    return f"""
def x_double__mutmut_orig(x: int) -> int:
    y = 2 * x
    return y


def x_double__mutmut_{one}(x: int) -> int:
    y = 3 * x
    return y


def x_double__mutmut_{two}(x: int, z: int = 1) -> int:
    y = 2 * x
    return y


class Shape:
    def xǁShapeǁarea__mutmut_orig(
        self,
    ) -> int:
        return self.side(1, a=2)

    def xǁShapeǁarea__mutmut_1(
        self,
    ) -> int:
        return self.side(1, )
"""


def run_of(tree: Path, numbers: tuple[int, int], codes: tuple[int | None, ...]) -> list[tuple[Mutant, str]]:
    file = tree / "mutants" / "harness" / "shape.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(mutated_file(numbers), encoding="utf-8")
    names = (
        *(f"harness.shape.x_double__mutmut_{n}" for n in numbers),
        "harness.shape.xǁShapeǁarea__mutmut_1",
    )
    meta = {"exit_code_by_key": dict(zip(names, codes, strict=True)), "durations_by_key": {}}
    file.with_name("shape.py.meta").write_text(json.dumps(meta), encoding="utf-8")
    return list(read_results(tree))


TRIPLED = Mutant(file="harness/shape.py", function="double", removed=("y = 2 * x",), added=("y = 3 * x",))
GONE = Mutant(
    file="harness/shape.py",
    function="double",
    removed=("def double(x: int) -> int:",),
    added=("def double(x: int, z: int = 1) -> int:",),
)
AREA = Mutant(
    file="harness/shape.py",
    function="Shape.area",
    removed=("return self.side(1, a=2)",),
    added=("return self.side(1, )",),
)


def test_a_mutant_is_named_by_what_it_changes_and_not_by_its_number(tmp_path):
    first = run_of(tmp_path, (1, 2), (1, 0, 33))
    assert first == [(TRIPLED, KILLED), (GONE, SURVIVED), (AREA, NO_TESTS)]
    assert run_of(tmp_path, (7, 9), (1, 0, 33)) == first


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, SURVIVED),
        (1, KILLED),
        (3, KILLED),
        (33, NO_TESTS),
        (-24, TIMEOUT),
        (None, UNKNOWN),
        (-11, UNKNOWN),
    ],
)
def test_exit_codes(tmp_path, code, status):
    assert run_of(tmp_path, (1, 2), (code, 1, 1))[0] == (TRIPLED, status)


def test_a_tree_without_results_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results"):
        list(read_results(tmp_path))


def test_a_list_of_survivors_reads_as_it_was_written():
    several = Mutant(file="a.py", function="f", removed=("x(", "- 1,", ")"), added=("x()",))
    mutants = Counter({TRIPLED: 2, AREA: 1, several: 1})
    text = f"# Survivors\n\n## A reason\n\nIn words.\n\n{render(mutants.elements())}\n- not a diff\n"
    assert parse(text) == mutants
    assert text.count("### harness/shape.py: double") == 1
    assert parse("nothing here\n") == Counter()


def test_a_diff_that_belongs_to_no_function_is_an_error():
    with pytest.raises(ValueError, match="stands below no"):
        parse("## A reason\n\n```diff\n- x\n+ y\n```\n")


def test_results_and_list_must_agree_both_ways():
    results = [(TRIPLED, SURVIVED), (GONE, KILLED), (AREA, NO_TESTS)]
    assert command.disagreements(results, Counter({TRIPLED: 1, AREA: 1})) == ""
    missing = command.disagreements(results, Counter({TRIPLED: 1}))
    assert missing.startswith("1 mutants survive and are not accepted")
    assert parse(missing) == Counter({AREA: 1})
    stale = command.disagreements(results, Counter({TRIPLED: 1, AREA: 1, GONE: 1}))
    assert "1 mutants are accepted, and do not survive" in stale
    assert parse(stale) == Counter({GONE: 1})
    twice = command.disagreements([*results, (TRIPLED, SURVIVED)], Counter({TRIPLED: 1, AREA: 1}))
    assert parse(twice) == Counter({TRIPLED: 1}), "the same change at two places of a function counts twice"
    cut_short = command.disagreements([(TRIPLED, UNKNOWN)], Counter({TRIPLED: 1}))
    assert cut_short.startswith("1 mutants were not decided")
    assert "do not survive" not in cut_short
    assert command.disagreements([(TRIPLED, TIMEOUT)], Counter()) == ""


def test_the_score_is_the_share_that_is_noticed():
    results = [(TRIPLED, KILLED), (GONE, TIMEOUT), (AREA, NO_TESTS), (AREA, SURVIVED)]
    *_, file, whole = command.score(results).splitlines()
    assert file.split() == ["harness/shape.py", "1", "1", "1", "1", "0", "50.0%"]
    assert whole.split() == ["all", "1", "1", "1", "1", "0", "50.0%"]


def test_the_command_fails_where_list_and_run_disagree(tmp_path, monkeypatch, capsys):
    run_of(tmp_path, (1, 2), (1, 0, 1))
    survivors = tmp_path / "SURVIVORS.md"
    monkeypatch.setattr(command, "TREE", tmp_path)
    monkeypatch.setattr(command, "SURVIVORS", survivors)
    survivors.write_text(render([GONE]), encoding="utf-8")
    assert command.main(["--read"]) == 0
    assert "Every survivor is accepted" in capsys.readouterr().out
    survivors.write_text("", encoding="utf-8")
    assert command.main(["--read"]) == 1
    assert "z: int = 1" in capsys.readouterr().out


def test_what_is_mutated_and_what_tests_it_is_there():
    """A file or a test that was renamed must not drop out of the run unseen."""
    settings = command.SETTINGS.read_text(encoding="utf-8")
    files = command.mutated_files(command.REPOSITORY, settings)
    assert {"harness/edits.py", "harness/engine/metrics.py", "harness/verdicts/hub.py"} <= set(files)
    section = tomllib.loads(settings)["tool"]["mutmut"]
    for selected in section["pytest_add_cli_args_test_selection"]:
        path, _, test = selected.removeprefix("--deselect=").partition("::")
        source = (command.REPOSITORY / path).read_text(encoding="utf-8")
        assert f"def {test.partition('[')[0]}(" in source if test else True


def test_some_files_alone_are_mutated_and_compared(tmp_path, monkeypatch, capsys):
    """Of the accepted survivors those of other files are not asked for, and what the settings leave out is refused."""
    ran = []
    monkeypatch.setattr(command, "run", lambda jobs, settings, files: ran.append((settings, files)) or 0)
    asked = replace(AREA, file="harness/edits.py")
    monkeypatch.setattr(command, "read_results", lambda tree: [(asked, SURVIVED)])
    monkeypatch.setattr(command, "SURVIVORS", tmp_path / "SURVIVORS.md")
    command.SURVIVORS.write_text(render([GONE, AREA]), encoding="utf-8")
    monkeypatch.setattr(command, "mutated_files", lambda *_: ("harness/shape.py", "harness/edits.py"))
    assert command.main(["harness/edits.py"]) == 1
    assert parse(capsys.readouterr().out.partition("\n\n")[2]) == Counter({asked: 1})
    settings, files = ran[0]
    assert files == ["harness/edits.py"]
    section = tomllib.loads(command.naming(settings, files))["tool"]["mutmut"]
    assert section["only_mutate"] == files
    assert section["do_not_mutate"] == tomllib.loads(settings)["tool"]["mutmut"]["do_not_mutate"]
    with pytest.raises(SystemExit):
        command.main(["harness/report.py"])
    assert "harness/report.py: not among the files" in capsys.readouterr().err


def test_what_is_read_again_are_the_files_of_the_last_run(tmp_path, monkeypatch, capsys):
    """Other files' accepted survivors are not asked for, nor, with a file named, other files' new ones."""
    monkeypatch.setattr(command, "TREE", tmp_path)
    monkeypatch.setattr(command, "SURVIVORS", tmp_path / "SURVIVORS.md")
    monkeypatch.setattr(command, "mutated_files", lambda *_: ("harness/shape.py", "harness/edits.py"))
    other = replace(GONE, file="harness/edits.py")
    command.SURVIVORS.write_text(render([other]), encoding="utf-8")
    settings = command.naming(command.SETTINGS.read_text(encoding="utf-8"), ["harness/shape.py"])
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    monkeypatch.setattr(command, "read_results", lambda tree: [(AREA, KILLED)])
    assert command.main(["--read"]) == 0
    monkeypatch.setattr(command, "read_results", lambda tree: [(AREA, SURVIVED), (other, SURVIVED)])
    assert command.main(["--read", "harness/edits.py"]) == 0
    capsys.readouterr()
    with pytest.raises(ValueError, match="no list only_mutate"):
        command.naming("[tool.mutmut]", ["harness/shape.py"])


def test_a_pattern_without_a_file_is_an_error(tmp_path):
    settings = '[tool.mutmut]\nonly_mutate = ["harness/*.py"]\ndo_not_mutate = []\n'
    with pytest.raises(FileNotFoundError, match="matches no file"):
        command.mutated_files(tmp_path, settings)


def test_every_accepted_survivor_is_of_a_function_that_is_mutated():
    files = command.mutated_files(command.REPOSITORY, command.SETTINGS.read_text(encoding="utf-8"))
    for mutant in parse(command.SURVIVORS.read_text(encoding="utf-8")):
        assert mutant.file in files
        source = (command.REPOSITORY / mutant.file).read_text(encoding="utf-8")
        names = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
        assert mutant.function.rpartition(".")[2] in names
        for line in mutant.removed:
            assert line in source, "the accepted mutant changes a line that is no longer there"


def test_mutmut_mutates_a_property_in_the_copy_and_a_test_kills_it(tmp_path):
    """The whole way, on a package of one class: needs the extra `mutate`."""
    pytest.importorskip("mutmut")
    repository = tmp_path / "repository"
    for name in ("harness", "tasks", "fixtures", "claims"):
        (repository / name).mkdir(parents=True)
        (repository / name / "__init__.py").write_text("")
    (repository / "conftest.py").write_text("")
    (repository / "harness" / "shape.py").write_text(
        "class Shape:\n    @property\n    def area(self):\n        return 2 * 3\n"
    )
    (repository / "harness" / "test_shape.py").write_text(
        "from harness.shape import Shape\n\n\ndef test_area():\n    assert Shape().area < 8\n"
    )
    (repository / "pyproject.toml").write_text("")
    settings = tmp_path / "mutmut.toml"
    settings.write_text(
        '[tool.mutmut]\nsource_paths = ["harness"]\nonly_mutate = ["harness/shape.py"]\ndo_not_mutate = []\n'
        'pytest_add_cli_args_test_selection = ["harness/test_shape.py"]\n'
        'also_copy = ["tasks", "fixtures", "claims", "conftest.py"]\n'
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "REPOSITORY", repository)
        patched.setattr(command, "TREE", tmp_path / "tree")
        text = settings.read_text(encoding="utf-8")
        assert command.run(1, text, command.mutated_files(repository, text)) == 0
    found = {mutant.added: status for mutant, status in read_results(tmp_path / "tree")}
    assert found == {
        ("return 2 / 3",): SURVIVED,
        ("return 3 * 3",): KILLED,
        ("return 2 * 4",): KILLED,
    }
