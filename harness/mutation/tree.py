"""A copy of the sources that a mutation tester can work on.

mutmut leaves decorated functions alone, and properties hold much of what decides (weights, cluster sizes, whether a
layer is separated). So in the copy `@property` is written as an assignment after the function, which is the same thing.
So is a cache, but one that each process fills for itself: mutmut forks a process a mutant from one that ran the tests,
and what that process had kept would hide the mutant.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

COPIED = ("harness", "tasks", "fixtures", "claims", "conftest.py", "pyproject.toml")
_LEFT_OUT = ("__pycache__", "evidence", "__snapshots__")
"""Directories that are not copied: what was recorded is no source."""
_Function = Callable[..., Any]
_PROPERTIES = frozenset({"property", "cached_property"})
_CACHES = frozenset({"lru_cache"})


def write_tree(repository: Path, into: Path, mutated: tuple[str, ...], settings: str) -> None:
    """Copy the repository's sources into the empty or missing directory `into`, ready for mutmut.

    The files `mutated` (paths in the repository) are written without decorators, and `settings` (TOML) at the end of
    pyproject.toml. Raises FileNotFoundError for a file of these that is not there.
    """
    into.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, into / name, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        else:
            shutil.copy2(repository / name, into / name)
    for name in mutated:
        source = (repository / name).read_text(encoding="utf-8")
        (into / name).write_text(undecorated(source), encoding="utf-8")
    with (into / "pyproject.toml").open("a", encoding="utf-8") as pyproject:
        pyproject.write(f"\n{settings}")


def undecorated(source: str) -> str:
    """The module with properties and caches assigned after their functions, a cache per process.

    Any other decorated function, and every class, is left as it is.
    """
    lines = source.splitlines(keepends=True)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda node: -node.lineno):
        if (
            len(function.decorator_list) != 1
            or _name(function.decorator_list[0]) not in _PROPERTIES | _CACHES
        ):
            continue
        decorator = function.decorator_list[0]
        wrapped = f"{ast.unparse(decorator)}({function.name})"
        if _name(decorator) in _CACHES:
            wrapped = f"__import__({__name__!r}, fromlist=['']).per_process({ast.unparse(decorator)})({function.name})"
        lines.insert(function.end_lineno or 0, f"{' ' * function.col_offset}{function.name} = {wrapped}\n")
        del lines[decorator.lineno - 1 : decorator.end_lineno]
    return "".join(lines)


def per_process(cache: Callable[[_Function], _Function]) -> Callable[[_Function], _Function]:
    """The decorator `cache`, keeping nothing across a fork. For functions of positional arguments.

    Nothing is kept either while mutmut records which test calls which function.
    """

    def wrap(function: _Function) -> _Function:
        kept = cache(lambda process, *given: function(*given))

        def call(*given: Any) -> Any:
            recording = os.environ.get("MUTANT_UNDER_TEST") == "stats"
            return function(*given) if recording else kept(os.getpid(), *given)

        return call

    return wrap


def _name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.id if isinstance(called, ast.Name) else ""
