"""What a trial is made with: its cards' criteria and the code that decides it, as a stamp of ten digits.

The code is what the modules named by a case import, and what those import, in harness and tasks. Modules that only list
others are seen through, so that a further chapter, criterion or planted model changes no stamp but its own: a name is
looked up where it is defined, and of `harness.verdicts.judging` the module that judges each criterion is taken, with
the functions around that choice. Comments and docstrings do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache

from harness.calibration.chapters import Case
from harness.claim import Claim
from harness.experiments import EXPERIMENTS
from harness.syntax import LISTS, dumped, imported, names_from, tree_of, without_text
from harness.syntax import source as _source
from harness.verdicts.criteria import AnyCriterion, Not, OfFamilies

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
    roots = list(modules)
    left_out = {*LISTS, *_NOT_DECIDING, *(name for name in _OTHER_ROWS if name not in roots)}
    return imported(roots, left_out.__contains__, unfollowed=_UNFOLLOWED)


@cache
def judged_in(criterion: str) -> tuple[str, ...]:
    """The module that judges criteria of this type; () where `judging` names none."""
    tree = tree_of(_JUDGING)
    places = names_from(tree)
    for case in (node for node in ast.walk(tree) if isinstance(node, ast.match_case)):
        pattern = case.pattern
        if isinstance(pattern, ast.MatchClass) and ast.unparse(pattern.cls) == criterion:
            used = {node.id for part in case.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            return tuple(sorted({places[name] for name in used if name in places}))
    return ()


@cache
def _judging() -> str:
    """`judging` without its lists: imports, and the choice of a module by the criterion's type."""
    tree = tree_of(_JUDGING)
    tree.body = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name not in (*_CHOICES, "judge_joint")
    ]
    return dumped(without_text(tree))


@cache
def _function(module: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The source of a function and of those of its module that it uses, and the modules from which it uses names."""
    tree = tree_of(module)
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    values = {ast.unparse(node.targets[0]): node for node in tree.body if isinstance(node, ast.Assign)}
    places = names_from(tree)
    found: dict[str, str] = {}
    used: set[str] = set()
    waiting = [name]
    while waiting:
        node: ast.AST | None = defined.get(waiting[-1]) or values.get(waiting[-1])
        own = waiting.pop()
        if node is None or own in found:
            continue
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        used |= {places[n] for n in names if n in places}
        waiting += sorted(names)
        found[own] = dumped(without_text(node))
    return "\n".join(found[own] for own in sorted(found)), tuple(sorted(used))
