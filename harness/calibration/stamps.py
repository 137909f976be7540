"""What a trial is made with: its cards' criteria and the code that decides it, as a stamp of ten digits.

The code is what the modules named by a case import, and what those import, in harness and tasks. Modules that only list
others are seen through, so that a further chapter, criterion or planted model changes no stamp but its own: a name is
looked up where it is defined, and of `harness.verdicts.judging` the module that judges each criterion is taken, with
the functions around that choice. Comments and docstrings do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from harness.calibration.chapters import Case
from harness.claim import Claim
from harness.experiments import EXPERIMENTS
from harness.verdicts.criteria import AnyCriterion, Not, OfFamilies

_ROOT = Path(__file__).parents[2]
_OWN = ("harness", "tasks")
_LISTS = (
    "harness.experiments",
    "harness.planted",
    "harness.verdicts.criteria",
    "harness.verdicts.judging",
    "harness.verdicts.selectors",
    "harness.figures",
)
"""Modules that list others."""
_JUDGING = "harness.verdicts.judging"
_CHOICES = ("_judge_criterion", "_judge_joint_criterion")
_ENGINE = ("harness.measure", "harness.checks", "harness.assessment", "harness.models.loading")
_UNFOLLOWED = ("harness.calibration.models", "harness.calibration.trials")
"""Modules that count themselves, but not all that they import: they hold what measures beside what computes."""
_COMPUTED = (
    "harness.calibration.closed_form",
    "harness.calibration.pool",
    "harness.calibration.rivals",
    "harness.calibration.truth",
)
"""What they import for a trial whose effects are the closed form's."""
_OTHER_ROWS = ("harness.adapters.values",)
"""What `harness.edits` names for rows that only the tables of adapters have."""
_COMMON = (
    *_UNFOLLOWED,
    "harness.calibration.cards",
    "harness.verdicts.selectors",
    "harness.verdicts.resolution",
    "harness.verdicts.screened",
    "harness.verdicts.verdict",
    "harness.statistics.bootstrap",
)
_NOT_DECIDING = (
    "harness.calibration.chapters",
    "harness.calibration.figure",
    "harness.calibration.rates",
    "harness.calibration.report",
    "harness.calibration.run",
    "harness.calibration.stamps",
    "harness.calibration.table_cases",
    "harness.calibration.mechanisms",
    "harness.calibration.identities",
    "harness.calibration.nulls",
)
"""Modules of this package that hold cases beside one another; of them the functions a case names are taken."""


def stamp(case: Case, claims: Mapping[str, Claim], *, measured: bool) -> str:
    """Ten digits; of a `measured` trial the engine counts too."""
    asked = [claims[name] for name in sorted(claims) if case.asks(name)]
    criteria = [(claim.id, str(p), c) for claim in asked for p, cs in claim.criteria.items() for c in cs]
    parts = [part for _, _, criterion in criteria for part in _parts(criterion)]
    roots = {
        *_COMMON,
        *(_COMPUTED if case.make else ()),
        *(_ENGINE if measured else ()),
        *(f"harness.planted.{kind}" for kind in case.kinds),
    }
    for criterion in parts:
        roots |= {type(criterion).__module__, *judged_in(type(criterion).__name__)}
        roots |= {EXPERIMENTS[name].probes.__module__ for name in criterion.experiments}
        roots |= (
            {*_OTHER_ROWS} if any(EXPERIMENTS[name].adapters for name in criterion.experiments) else set()
        )
    functions = [f for f in (case.make, getattr(case, "table", None), *case.code) if f is not None]
    digest = hashlib.sha256(repr([(i, p, repr(c)) for i, p, c in criteria]).encode())
    digest.update(_judging().encode())
    for function in sorted(functions, key=lambda f: f.__qualname__):
        module = function.__module__
        if module in _NOT_DECIDING:
            source, used = _function(module, function.__name__)
            digest.update(source.encode())
            roots |= set(used)
        else:
            roots.add(module)
    for name in sorted(closure(roots)):
        digest.update(f"{name}\n{_source(name)}".encode())
    return digest.hexdigest()[:10]


def _parts(criterion: AnyCriterion) -> tuple[AnyCriterion, ...]:
    """A criterion, and the one that it is asked of some families, or denies."""
    inner = _parts(criterion.criterion) if isinstance(criterion, OfFamilies | Not) else ()
    return (criterion, *inner)


def closure(modules: Iterable[str]) -> frozenset[str]:
    """These modules and all of harness and tasks that they import, lists left out."""
    found: set[str] = set()
    waiting = list(modules)
    left_out = {*_LISTS, *_NOT_DECIDING, *(name for name in _OTHER_ROWS if name not in waiting)}
    while waiting:
        name = waiting.pop()
        if name not in found and name not in left_out:
            found.add(name)
            waiting += [] if name in _UNFOLLOWED else _imports(name)
    return frozenset(found)


@cache
def judged_in(criterion: str) -> tuple[str, ...]:
    """The module that judges criteria of this type; () where `judging` names none."""
    tree = ast.parse(_path(_JUDGING).read_text(encoding="utf-8"))
    imported = _names(tree)
    for case in (node for node in ast.walk(tree) if isinstance(node, ast.match_case)):
        pattern = case.pattern
        if isinstance(pattern, ast.MatchClass) and ast.unparse(pattern.cls) == criterion:
            used = {node.id for part in case.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            return tuple(sorted({imported[name] for name in used if name in imported}))
    return ()


@cache
def _judging() -> str:
    """`judging` without its lists: imports, and the choice of a module by the criterion's type."""
    tree = ast.parse(_path(_JUDGING).read_text(encoding="utf-8"))
    tree.body = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name not in (*_CHOICES, "judge_joint")
    ]
    return ast.dump(without_text(tree))


@cache
def _source(module: str) -> str:
    return ast.dump(without_text(ast.parse(_path(module).read_text(encoding="utf-8"))))


@cache
def _function(module: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The source of a function and of those of its module that it uses, and the modules from which it uses names."""
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    values = {ast.unparse(node.targets[0]): node for node in tree.body if isinstance(node, ast.Assign)}
    imported = _names(tree)
    found: dict[str, str] = {}
    used: set[str] = set()
    waiting = [name]
    while waiting:
        node: ast.AST | None = defined.get(waiting[-1]) or values.get(waiting[-1])
        own = waiting.pop()
        if node is None or own in found:
            continue
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        used |= {imported[n] for n in names if n in imported}
        waiting += sorted(names)
        found[own] = ast.dump(without_text(node))
    return "\n".join(found[own] for own in sorted(found)), tuple(sorted(used))


def without_text(tree: ast.AST) -> ast.AST:
    """The syntax tree, comments and docstrings left out: a better sentence makes no trial anew."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
            ]
    return tree


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of our own that it imports, names that a list passes on looked up where they are defined."""
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    return tuple(sorted({name for name in _names(tree).values() if name != module}))


def _names(tree: ast.Module) -> dict[str, str]:
    """Name in the module -> the module of our own that it comes from."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname or a.name: a.name for a in node.names if _path(a.name).exists()}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OWN:
            for alias in node.names:
                found[alias.asname or alias.name] = _defined_in(node.module, alias.name)
    return found


def _defined_in(module: str, name: str) -> str:
    """The module in which a name imported from another is defined."""
    if _path(f"{module}.{name}").exists():
        return f"{module}.{name}"
    return dict(_passed_on(module)).get(name, module)


@cache
def _passed_on(module: str) -> tuple[tuple[str, str], ...]:
    if module not in _LISTS and _path(module).name != "__init__.py":
        return ()
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    return tuple(_pairs(tree))


def _pairs(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OWN:
            for alias in node.names:
                yield alias.asname or alias.name, _defined_in(node.module, alias.name)


def _path(module: str) -> Path:
    folder = _ROOT.joinpath(*module.split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
