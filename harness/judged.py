"""Answers of `harness.memo` as text: one of a session's own, and those of all that is committed, a file for each model.

A file has a line of what all of its answers rest on, code and versions, then an answer a line, in the order of their
names: where only code changed, one line differs. Each line begins with the digest of the rest, which tells damage and
no forgery: whoever can edit a verdict can digest it. `.ci/run` judges all of it anew, and fails where one differs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.store import write_atomic

SUFFIX = ".jsonl"
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a line that somebody else wrote may raise."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An answer and what it is the answer to: `basis` of code and versions, `asked` of the question, records `used`."""

    name: str
    basis: str
    asked: str
    used: Mapping[str, str]
    """sha256 of each record by its path, '' for one that was missed."""
    answer: Any


def entry_to_text(entry: Entry) -> str:
    """One line: the digest, a space, JSON. Raises AttributeError for what is neither JSON nor a number of numpy's."""
    return _sealed(asdict(entry))


def entry_from_text(text: str) -> Entry:
    """The entry again. Raises ValueError, LookupError or TypeError for anything else, damaged ones included."""
    entry = Entry(**_unsealed(text))
    if not isinstance(entry.used, dict):
        raise TypeError(f"the records of '{entry.name}' are no table")
    return entry


def write_judged(folder: Path, entries: Iterable[Entry]) -> int:
    """Replace the folder's own files by these entries, a file for each set of models; returns how many there are.

    An answer that is there already and differs by a processor's rounding alone stays as it is; a file that is not of
    this form stays, too. Raises ValueError for entries of several bases, StoreUnwritable.
    """
    by_models: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.name):
        by_models["+".join(sorted({PurePosixPath(path).parts[0] for path in entry.used}))].append(entry)
    bases = {entry.basis for same in by_models.values() for entry in same}
    if len(bases) > 1:
        raise ValueError(f"entries of {len(bases)} states of the code: keep those of one run")
    ours = {path.stem: lines for path in folder.glob(f"*{SUFFIX}") if (lines := _lines_of(path)) is not None}
    for models, same in by_models.items():
        before = _entries_of(ours.get(models, []), same[0].basis)
        kept = [_unless_rounded(entry, before.get(entry.name)) for entry in same]
        lines = [_sealed({"basis": same[0].basis}), *(_sealed(_without_basis(entry)) for entry in kept)]
        write_atomic(folder / f"{models}{SUFFIX}", ("\n".join(lines) + "\n").encode())
    for models in ours.keys() - by_models.keys():
        (folder / f"{models}{SUFFIX}").unlink()
    return sum(map(len, by_models.values()))


def read_judged(folder: Path, basis: str) -> dict[str, Entry]:
    """The entries of this basis by name; a file of another one, and a damaged line, count as not there."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        lines = _lines_of(path)
        if lines is not None and _unsealed(lines[0]) == {"basis": basis}:
            found |= _entries_of(lines, basis)
    return found


def _lines_of(path: Path) -> list[str] | None:
    """The file's lines, damaged ones included; None for a file that does not begin as `write_judged` begins one."""
    try:
        lines = [line.decode(errors="replace") for line in path.read_bytes().split(b"\n")]
        return lines if set(_unsealed(lines[0])) == {"basis"} else None
    except (OSError, *UNREADABLE):
        return None


def _entries_of(lines: Iterable[str], basis: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for line in lines:
        with suppress(*UNREADABLE):
            entry = Entry(basis=basis, **_unsealed(line))
            found[entry.name] = entry
    return found


def _unless_rounded(entry: Entry, before: Entry | None) -> Entry:
    """The entry before, under today's basis, where both say the same."""
    if before is None or (before.asked, before.used) != (entry.asked, entry.used):
        return entry
    return replace(entry, answer=before.answer) if _alike(before.answer, entry.answer) else entry


def _alike(one: Any, other: Any) -> bool:
    """The same JSON, but for numbers that differ in the last of 9 digits or beyond."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (
            math.isnan(one) and math.isnan(other)
        )
    return type(one) is type(other) and bool(one == other)


def _without_basis(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name != "basis"}


def _sealed(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, default=lambda number: number.item())
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}"


def _unsealed(text: str) -> dict[str, Any]:
    stated, _, rest = text.rstrip("\n").partition(" ")
    if hashlib.sha256(rest.encode()).hexdigest() != stated:
        raise ValueError("a kept answer does not match its digest")
    value = json.loads(rest)
    if not isinstance(value, dict):
        raise TypeError("a kept answer is no table")
    return value
