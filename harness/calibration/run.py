"""All trials, each kept in a JSON-lines file as soon as it is made: an interrupted run goes on where it stopped.

Every record carries the stamp of what it was made with (`harness.calibration.stamps`). One whose stamp is no longer
that of its case is made again; where only some chapters are run, those of the others stay as they are, and the report
says that cards or code are newer (`harness.calibration.origins`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.calibration.chapters import Case
from harness.calibration.trials import trial_id

Trial = Callable[[Case, float, int], dict[str, Any]]
Stamp = Callable[[Case, bool], str]
"""The stamp of a case, and of those of its trials that the engine measures."""


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
    stamp: Stamp,
    *,
    models: int | None = None,
    wanted: Callable[[Case], bool] = lambda case: True,
    on_trial: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """The records of every planned trial, in the plan's order; those in the file `kept` with their stamp are not made
    again, nor any of a case that is not `wanted`: of those, what is kept is taken as it is.
    """
    known = {record["id"]: record for record in read_kept(kept)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    records = []
    with kept.open("a", encoding="utf-8") as file:
        for case, target, index in plan(cases, models):
            name, made_with = trial_id(case, target, index), stamp(case, case.measured(index))
            if wanted(case) and known.get(name, {}).get("stamp") != made_with:
                known[name] = {**trial(case, target, index), "stamp": made_with}
                file.write(json.dumps(known[name]) + "\n")
                file.flush()
            if name in known:
                records.append(known[name])
            if wanted(case):
                on_trial(name)
    return records


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
