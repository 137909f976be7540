"""All trials, each kept in a JSON-lines file as soon as it is made: an interrupted run goes on where it stopped."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.calibration.chapters import Case
from harness.calibration.trials import trial_id
from harness.claim import Claim

_HARNESS = Path(__file__).parents[1]
JUDGING_CODE = ("statistics", "verdicts", "planted", "calibration")
"""The folders a trial depends on, beside the cards; tests and what only reports are left out."""

_REPORTING = ("__main__.py", "figure.py", "rates.py", "report.py", "run.py")

Trial = Callable[[Case, float, int], dict[str, Any]]


def plan(cases: Sequence[Case], models: int | None = None) -> Iterator[tuple[Case, float, int]]:
    """Every trial to be made, a model of each sort in turn; `models` of each in place of the cases' own numbers."""
    counts = {case.name: case.models if models is None else models for case in cases}
    for index in range(max(counts.values())):
        for case in cases:
            if index < counts[case.name]:
                for target in case.targets:
                    yield case, target, index


def run(
    trial: Trial,
    cases: Sequence[Case],
    kept: Path,
    *,
    models: int | None = None,
    on_trial: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """The records of every planned trial, in the plan's order; those in the file `kept` are not made again."""
    known = {record["id"]: record for record in read_kept(kept)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    records = []
    with kept.open("a", encoding="utf-8") as file:
        for case, target, index in plan(cases, models):
            name = trial_id(case, target, index)
            if name not in known:
                known[name] = trial(case, target, index)
                file.write(json.dumps(known[name]) + "\n")
                file.flush()
            records.append(known[name])
            on_trial(name)
    return records


def stamp(claims: Mapping[str, Claim]) -> str:
    """Ten digits of what trials are made with, code and criteria: trials made with other ones are not these."""
    digest = hashlib.sha256(repr(sorted((name, repr(c.criteria)) for name, c in claims.items())).encode())
    for folder in JUDGING_CODE:
        for path in sorted((_HARNESS / folder).glob("*.py")):
            if path.name not in _REPORTING:
                digest.update(f"{path.name}\n{_without_text(path.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()[:10]


def _without_text(source: str) -> str:
    """The syntax tree, comments and docstrings left out: a better sentence makes no trial anew."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
            ]
    return ast.dump(tree)


def read_kept(kept: Path) -> list[dict[str, Any]]:
    """The records in the file; a last line that was cut short is dropped, from the file as well."""
    if not kept.exists():
        return []
    records: list[dict[str, Any]] = []
    whole = 0
    data = kept.read_bytes()
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        records.append(json.loads(line))
        whole += len(line)
    if whole < len(data):
        with kept.open("r+b") as file:
            file.truncate(whole)
    return records
