"""Every part that decides is reached by a test of the mutation run, as far as the sources say."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Collection, Sequence
from functools import cache
from typing import get_args

from harness.mutation import __main__ as command
from harness.verdicts.criteria import AnyCriterion

JUDGING, CRITERIA = "harness.verdicts.judging", "harness.verdicts.criteria"
DISPATCH = ("_judge_criterion", "_judge_joint_criterion")


@cache
def parsed(module: str) -> ast.Module:
    """The module's source; that of an empty one where it is not of this repository."""
    path = command.REPOSITORY / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


@cache
def imports(source: ast.Module) -> dict[str, tuple[str, str]]:
    """By the name in this source: where it is imported from, and its name there."""
    froms = [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom) and node.module]
    return {a.asname or a.name: (str(node.module), a.name) for node in froms for a in node.names}


@cache
def home(module: str, name: str) -> tuple[str, str]:
    """Where a name is defined that a module may only pass on; a module is (its name, '')."""
    if (command.REPOSITORY / module.replace(".", "/") / f"{name}.py").is_file():
        return f"{module}.{name}", ""
    passed_on = imports(parsed(module))
    return home(*passed_on[name]) if name in passed_on else (module, name)


def uses(source: ast.Module, *, without: Collection[str] = ()) -> set[tuple[str, str]]:
    """The imported names that are used outside the functions `without`, and where they are defined."""
    body = [node for node in source.body if getattr(node, "name", "") not in without]
    names = {node.id for part in body for node in ast.walk(part) if isinstance(node, ast.Name)}
    return {home(*origin) for name, origin in imports(source).items() if name in names}


def uses_of_tests(selection: Sequence[str]) -> set[tuple[str, str]]:
    """What the selected tests use themselves; a test that is left out in part is not left out."""
    left_out = {entry.removeprefix("--deselect=") for entry in selection if entry.startswith("--deselect=")}
    found: set[tuple[str, str]] = set()
    for path in selection:
        if not path.startswith("--"):
            without = {entry.partition("::")[2] for entry in left_out if entry.startswith(f"{path}::")}
            found |= uses(ast.parse((command.REPOSITORY / path).read_text(encoding="utf-8")), without=without)
    return found


def dispatched(names: Collection[tuple[str, str]]) -> set[str]:
    """The modules that judge those of these names that are criteria: what `judging` hands them to."""
    judging = parsed(JUDGING)
    origins = imports(judging)
    found = set()
    for case in (node for node in ast.walk(judging) if isinstance(node, ast.match_case)):
        if not isinstance(case.pattern, ast.MatchClass) or not isinstance(case.pattern.cls, ast.Name):
            continue
        if home(*origins.get(case.pattern.cls.id, (JUDGING, ""))) in names:
            called = {node.id for part in case.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            found |= {home(*origins[name])[0] for name in called if name in origins}
    return found


def reached(selection: Sequence[str]) -> set[str]:
    """The modules that the selected tests use: by name, as the judge of a criterion they name, or through these.

    That `judging` and `criteria` list a module does not count.
    """
    names = uses_of_tests(selection)
    found: set[str] = set()
    todo = {module for module, _ in names} | dispatched(names)
    while todo:
        module = todo.pop()
        found.add(module)
        if module != CRITERIA:
            used = uses(parsed(module), without=DISPATCH if module == JUDGING else ())
            todo |= {m for m, _ in used if m.startswith("harness.")} - found
    return found


def selection() -> list[str]:
    section = tomllib.loads(command.SETTINGS.read_text(encoding="utf-8"))["tool"]["mutmut"]
    return list(section["pytest_add_cli_args_test_selection"])


def test_every_mutated_module_is_used_by_a_selected_test():
    """A verdict that comes without one would be mutated for nothing: no test of the run could notice."""
    files = command.mutated_files(command.REPOSITORY, command.SETTINGS.read_text(encoding="utf-8"))
    modules = {
        name.removesuffix(".py").replace("/", ".") for name in files if not name.endswith("__init__.py")
    }
    missed = sorted(modules - reached(selection()))
    assert not missed


def test_every_test_file_of_statistics_and_verdicts_is_selected():
    """A module that others reach may have tests of its own, sharper than theirs."""
    tests = command.REPOSITORY / "harness" / "tests"
    files = {
        f"harness/tests/{path.name}"
        for subject in ("statistics", "verdicts", "findings")
        for path in tests.glob(f"test_{subject}_*.py")
    }
    assert len(files) > 30
    assert not sorted(files - set(selection()))


def test_every_criterion_is_named_by_a_selected_test():
    asked = {(kind.__module__, kind.__name__) for kind in get_args(AnyCriterion)}
    missed = sorted(asked - uses_of_tests(selection()))
    assert not missed


def test_a_module_whose_tests_are_left_out_is_missed():
    """`judging` and `criteria` list it still."""
    left_out = ("harness/tests/test_verdicts_heads.py", "harness/tests/test_findings_heads.py")
    fewer = [entry for entry in selection() if entry not in left_out]
    missed = reached(selection()) - reached(fewer)
    assert {"harness.verdicts.heads", "harness.verdicts.head_criteria"} <= missed
    assert not {"harness.verdicts.judging", "harness.verdicts.hub"} & missed


def test_what_only_a_left_out_test_uses_is_not_used():
    source = ast.parse(
        "from harness.verdicts.criteria import HeadRank, HubIs, TopLead as Lead\n"
        "from harness.verdicts import fdr, heads\n\n"
        "def test_one():\n    assert HubIs and fdr\n\n"
        "@mark(Lead)\ndef test_two():\n    assert HubIs and heads\n"
    )
    hub, lead = (
        ("harness.verdicts.profile_criteria", "HubIs"),
        ("harness.verdicts.sublayer_criteria", "TopLead"),
    )
    fdr, heads = ("harness.verdicts.fdr", ""), ("harness.verdicts.heads", "")
    assert uses(source) == {hub, lead, fdr, heads}
    assert uses(source, without={"test_two"}) == {hub, fdr}
    assert dispatched([lead]) == {"harness.verdicts.sublayers"}
