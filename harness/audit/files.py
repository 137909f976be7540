"""Reads the result files of a folder that may hold anything: bounded, and never outside of it."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

LIMIT_BYTES = 64 * 2**20
"""A file above this is not read: the largest of the atlas's own files has less than a hundredth of it."""

LIMIT_ENTRIES = 10_000
"""A folder with more entries than this is not searched by pattern."""

FOLDERS = ("experiments/results", "results/summaries", ".")
"""Where result files lie below DIR, which is the repository or the folder of results itself."""


class Missing(LookupError):
    """What a figure needs is not there; the message says what was looked for."""


class Untrusted(ValueError):
    """What is there cannot be used; the message says why."""


class Results:
    """The files of one folder, each read once. Raises NotADirectoryError where there is no such folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        if not self.root.is_dir():
            raise NotADirectoryError(f"{root} is not a folder: name a copy of the atlas's repository")
        self._known: dict[Path, Any] = {}

    def find(self, wanted: str) -> Path:
        """The file of that name, relative to the folder; 'a.json|b.csv' is the first of the two that is there.

        A '*' stands for any text, and the first match by name is taken. Raises Missing and Untrusted.
        """
        for name in wanted.split("|"):
            if found := self.matching(name):
                return found[0]
        raise Missing(f"{' or '.join(wanted.split('|'))}, looked for in {', '.join(FOLDERS)}")

    def matching(self, pattern: str) -> list[Path]:
        """Every file that fits, by name, of the first folder that holds one. Raises Untrusted."""
        for folder in FOLDERS:
            home = self.root / folder
            if "*" not in pattern:
                found = [home / pattern] if os.path.lexists(home / pattern) else []
            else:
                found = [home / name for name in self._names(home) if fnmatch.fnmatchcase(name, pattern)]
            if found:
                return [path.relative_to(self.root) for path in sorted(found)]
        return []

    def read(self, path: Path) -> Any:
        """What the file holds: parsed JSON, or a CSV's rows as dicts. Raises Untrusted, each time it is asked."""
        if path not in self._known:
            try:
                text = self._text(path)
                self._known[path] = _rows(text, path) if path.suffix == ".csv" else _json(text, path)
            except Untrusted as reason:
                self._known[path] = reason
        found = self._known[path]
        if isinstance(found, Untrusted):
            raise found
        return found

    def _names(self, home: Path) -> list[str]:
        if not home.is_dir() or not home.resolve().is_relative_to(self.root):
            return []
        names = []
        try:
            with os.scandir(home) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if len(names) > LIMIT_ENTRIES:
                        raise Untrusted(
                            f"{home.relative_to(self.root)} has more than {LIMIT_ENTRIES} entries"
                        )
        except OSError as error:
            raise Untrusted(f"{home.relative_to(self.root)} cannot be listed ({error.strerror})") from error
        return names

    def _text(self, path: Path) -> str:
        try:
            whole = (self.root / path).resolve()
        except (OSError, RuntimeError) as error:  # links that lead round
            raise Untrusted(f"{path} leads nowhere") from error
        if not whole.is_relative_to(self.root):
            raise Untrusted(f"{path} leads out of the folder")
        try:
            handle = os.open(whole, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not make the audit wait
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise Untrusted(f"{path} is not a plain file")
                with os.fdopen(handle, "rb", closefd=False) as file:
                    data = file.read(LIMIT_BYTES + 1)
            finally:
                os.close(handle)
        except OSError as error:
            raise Untrusted(f"{path} cannot be read ({error.strerror})") from error
        if len(data) > LIMIT_BYTES:
            raise Untrusted(f"{path} is larger than {LIMIT_BYTES >> 20} MiB")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Untrusted(f"{path} is not UTF-8 text") from error


def _json(text: str, path: Path) -> Any:
    """NaN and Infinity are read as Python's json does: a figure that needs such a number refuses it."""
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError as error:
        raise Untrusted(f"{path} is nested too deeply") from error
    except ValueError as error:
        raise Untrusted(f"{path} is not JSON ({error})") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return body


def _rows(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise Untrusted(f"{path} is not CSV ({error})") from error
    if any(None in row or None in row.values() for row in rows):
        raise Untrusted(f"{path} has rows of another length than its header")
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
