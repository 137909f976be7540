"""Answers of `harness.memo` as text: one of a session's own, and those of all that is committed, a file for each model.

A file has a line of what all of its answers rest on, code and versions, then an answer a line, in the order of their
names: where only code changed, one line differs. Each line begins with the digest of the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harness.store import write_atomic

SUFFIX = ".jsonl"


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
    """One line: the digest, a space, JSON. Raises TypeError for an answer that is neither JSON nor numpy's numbers."""
    return _sealed(asdict(entry))


def entry_from_text(text: str) -> Entry:
    """The entry again. Raises ValueError, LookupError or TypeError for anything else, damaged ones included."""
    entry = Entry(**_unsealed(text))
    if not isinstance(entry.used, dict):
        raise TypeError(f"the records of '{entry.name}' are no table")
    return entry


def write_judged(folder: Path, entries: Iterable[Entry]) -> int:
    """Replace the folder's files by these entries, a file for each set of models; returns how many there are.

    Raises ValueError for entries of several bases, StoreUnwritable.
    """
    by_models: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.name):
        by_models["+".join(sorted({PurePosixPath(path).parts[0] for path in entry.used}))].append(entry)
    bases = {entry.basis for same in by_models.values() for entry in same}
    if len(bases) > 1:
        raise ValueError(f"entries of {len(bases)} states of the code: keep those of one run")
    for models, same in by_models.items():
        lines = [_sealed({"basis": same[0].basis}), *(_sealed(_without_basis(entry)) for entry in same)]
        write_atomic(folder / f"{models}{SUFFIX}", ("\n".join(lines) + "\n").encode())
    for path in folder.glob(f"*{SUFFIX}"):
        if path.stem not in by_models:
            path.unlink()
    return sum(map(len, by_models.values()))


def read_judged(folder: Path, basis: str) -> dict[str, Entry]:
    """The entries of this basis by name; a file of another one, and a damaged line, count as not there."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(OSError, ValueError, LookupError, TypeError):
            first, *lines = path.read_text(encoding="utf-8").split("\n")
            if _unsealed(first) != {"basis": basis}:
                continue
            for line in lines:
                with suppress(ValueError, LookupError, TypeError):
                    entry = Entry(basis=basis, **_unsealed(line))
                    found[entry.name] = entry
    return found


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
