"""Our own modules as syntax trees: what they import, and their code without comments and docstrings.

Modules that only list others are seen through: a name imported from one is looked up where it is defined, so that a
further experiment, criterion or planted model is no change of the code that runs for the others.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_OWN = ("harness", "tasks")
LISTS = (
    "harness.experiments",
    "harness.planted",
    "harness.verdicts.criteria",
    "harness.verdicts.judging",
    "harness.verdicts.selectors",
    "harness.figures",
)
"""Modules that list others."""


def imported(
    modules: Iterable[str], left_out: Callable[[str], bool], *, unfollowed: Collection[str] = ()
) -> frozenset[str]:
    """These modules and all of harness and tasks that they import, inside functions too.

    What is `left_out` neither counts nor is followed; what is `unfollowed` counts.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and not left_out(name):
            found.add(name)
            waiting += [] if name in unfollowed else _imports(name)
    return frozenset(found)


def exists(module: str) -> bool:
    """Whether there is a module of that name."""
    return _path(module).exists()


def tree_of(module: str) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def names_from(tree: ast.Module) -> dict[str, str]:
    """Name in the module -> the module of our own that it comes from."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname or a.name: a.name for a in node.names if exists(a.name)}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OWN:
            for alias in node.names:
                found[alias.asname or alias.name] = _defined_in(node.module, alias.name)
    return found


def without_text(tree: ast.AST) -> ast.AST:
    """The syntax tree, comments and docstrings left out: a better sentence is no other code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
            ]
    return tree


@cache
def source(module: str) -> str:
    """The module's code without text, as `dumped` writes it."""
    return dumped(without_text(tree_of(module)))


def dumped(node: object) -> str:
    """A syntax tree as `ast.dump` of Python 3.11 writes it, under every Python: later ones know type parameters, or
    leave out what is empty. (`spelled` is another text; digests that are kept were made of one or the other.)
    """
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={dumped(value)}"
            for name, value in ast.iter_fields(node)
            if not (value is None and getattr(type(node), name, ...) is None)
            and not (name == "type_params" and not value)
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(dumped, node))}]"
    return repr(node)


def spelled(node: object) -> str:
    """A syntax tree as text, alike under every Python: `ast.dump` shows empty fields under some, not under others."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return f"{type(node).__name__}({', '.join(f'{name}={spelled(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(spelled, node))}]"
    return ascii(node)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of our own that it imports, names that a list passes on looked up where they are defined."""
    return tuple(sorted({name for name in names_from(tree_of(module)).values() if name != module}))


def _defined_in(module: str, name: str) -> str:
    """The module in which a name imported from another is defined."""
    if exists(f"{module}.{name}"):
        return f"{module}.{name}"
    return dict(_passed_on(module)).get(name, module)


@cache
def _passed_on(module: str) -> tuple[tuple[str, str], ...]:
    if module not in LISTS and _path(module).name != "__init__.py":
        return ()
    return tuple(_pairs(tree_of(module)))


def _pairs(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OWN:
            for alias in node.names:
                yield alias.asname or alias.name, _defined_in(node.module, alias.name)


def _path(module: str) -> Path:
    folder = _ROOT.joinpath(*module.split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
