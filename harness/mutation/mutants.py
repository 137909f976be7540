"""What a run of mutmut found, mutant by mutant, described so that the description outlives the numbering."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KILLED, SURVIVED, TIMEOUT, NO_TESTS, UNKNOWN = "killed", "survived", "timeout", "no tests", "not checked"
STATUSES = (KILLED, SURVIVED, TIMEOUT, NO_TESTS, UNKNOWN)
_STATUS = {
    0: SURVIVED,
    1: KILLED,
    3: KILLED,
    5: NO_TESTS,
    33: NO_TESTS,
    36: TIMEOUT,
    24: TIMEOUT,
    -24: TIMEOUT,
}
"""Exit statuses of the tests under a mutant (3: an error inside pytest; 24: the signal SIGXCPU)."""

_NAME = re.compile(r"def x(?:_|ǁ\w+ǁ)(\w+)__mutmut_\w+\(")
"""A name that mutmut made, with the function's own in it: x_double__mutmut_3, xǁShapeǁarea__mutmut_orig."""


@dataclass(frozen=True, kw_only=True, order=True)
class Mutant:
    """One change to one function: the lines it takes away and those it puts there, without indentation."""

    file: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def place(self) -> str:
        """'harness/verdicts/hub.py: Contest.separated'."""
        return f"{self.file}: {self.function}"

    @property
    def diff(self) -> str:
        """The lines as a diff without context."""
        return "\n".join([*(f"- {line}" for line in self.removed), *(f"+ {line}" for line in self.added)])


def read_results(tree: Path) -> Iterator[tuple[Mutant, str]]:
    """Every mutant of a finished run below `tree`, with its status.

    Raises FileNotFoundError when nothing was run there.
    """
    metas = sorted((tree / "mutants").rglob("*.py.meta"))
    if not metas:
        raise FileNotFoundError(f"{tree}/mutants holds no results: run mutmut there first")
    for meta in metas:
        exit_codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        mutated = meta.with_suffix("")
        sources = _functions(mutated.read_text(encoding="utf-8"))
        for key, exit_code in exit_codes.items():
            name = key.rpartition(".")[2]
            original = name.partition("__mutmut_")[0]
            removed, added = _changed(sources[f"{original}__mutmut_orig"], sources[name])
            mutant = Mutant(
                file=str(mutated.relative_to(tree / "mutants")),
                function=_readable(original),
                removed=removed,
                added=added,
            )
            yield mutant, _STATUS.get(exit_code, UNKNOWN)


def _functions(source: str) -> dict[str, list[str]]:
    """The lines below the first of each function's definition, by its generated name."""
    lines = source.splitlines()
    return {
        node.name: lines[node.lineno - 1 : node.end_lineno]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name
    }


def _changed(original: list[str], mutated: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    one, two = ([_NAME.sub(r"def \1(", lines[0], count=1), *lines[1:]] for lines in (original, mutated))
    removed, added = [], []
    for line in difflib.ndiff(one, two):
        if line.startswith("- "):
            removed.append(line[2:].strip())
        elif line.startswith("+ "):
            added.append(line[2:].strip())
    return tuple(removed), tuple(added)


def _readable(generated: str) -> str:
    """'xǁContestǁseparated' -> 'Contest.separated', 'x_contest' -> 'contest'."""
    return generated.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
