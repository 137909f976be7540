"""What was judged before: answers kept beside the measurements, so that nothing recorded is judged twice. No torch.

An answer is believed only where it was given to the same question, by the same code and versions, from the same bytes
of every record that was asked for, absent ones included. Code is that of the harness, and the files in which a chapter
defines criteria of its own. Anything else in the folder (damaged, edited, of other code) counts as not there, and is
replaced. It is no evidence, and can be had again at any time: a clone brings that of the committed evidence with it
(`harness.judged`), and `.ci/run` judges all of it anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import platform
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from harness.claim import Claim
from harness.judged import (
    SUFFIX,
    UNREADABLE,
    Entry,
    entry_from_text,
    entry_to_text,
    read_judged,
    write_judged,
)
from harness.protocols import Protocol
from harness.statistics.estimate import Estimate
from harness.store import StoreUnwritable, write_atomic
from harness.verdicts.verdict import Finding, Judgement, Verdict

Answer = TypeVar("Answer")

_ROOT = Path(__file__).parents[1]
_DECIDING = ("harness.assessment", "harness.memo", "harness.profiles", "harness.recording", "harness.store")
"""What turns records into verdicts and summaries; with all that these import."""
_LIBRARIES = ("numpy", "scipy", "statsmodels")
_IMPORT = re.compile(
    r"^[ \t]*(?:from|import)[ \t]+((?:harness|tasks)[\w.]*)(?:[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*))?",
    re.MULTILINE,
)


class Memo:
    """Answers from the records under `evidence`, kept under `root`.

    `also` are further files whose code decides. `brought` is a folder of answers that came with the records, as
    `keep` writes it; `anew` believes none of either. A folder that cannot be written costs time and nothing else.
    """

    def __init__(
        self,
        root: Path,
        evidence: Path,
        also: Iterable[Path] = (),
        *,
        brought: Path | None = None,
        anew: bool = False,
    ) -> None:
        self.root, self.evidence, self.brought, self.anew = root, evidence, brought, anew
        self._files = (*deciding_files(), *also)
        self._basis = basis(self._files)
        self._digests: dict[Path, str] = {}
        self._used: dict[str, str] | None = None
        self._given: dict[str, Entry] = {}
        self.counts = Counter[str]()
        """Answers by where they are from: `judged` now, `kept` by an earlier run here, `brought` with the records."""

    def remembered(
        self,
        name: str,
        question: str,
        make: Callable[[], Any],
        parse: Callable[[Any], Answer],
        also: Iterable[Path] = (),
    ) -> Answer:
        """The answer, read with `parse`: the one that is kept, or that of `make`, JSON values, which is kept then.

        `name` is the question's place in the folder: another question of that name replaces it. `make` is to call
        `reading` for every record that it asks for. `also` are files whose code decides this question, beside those
        that decide all. Raises what `make` raises, and keeps nothing then.
        """
        path = self.root / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
        code = {file: self._digest(file) for file in also}
        words = "\n".join([name, question, *(f"{file.name} {code[file]}" for file in code)])
        asked = hashlib.sha256(words.encode()).hexdigest()
        for entry in self._entries(path, name):
            try:
                answer = parse(self._believed(entry, asked).answer)
            except (OSError, *UNREADABLE):
                continue  # of another question, or of another form
            self.counts["brought" if entry is self._brought_as(name) else "kept"] += name not in self._given
            self._given[name] = entry
            return answer
        outer, self._used = self._used, {}
        try:
            made = make()
            used = self._used
        finally:
            self._used = outer
        text = entry_to_text(Entry(name=name, basis=self._basis, asked=asked, used=used, answer=made))
        entry = entry_from_text(text)
        recorded = any(used.values())  # where nothing is, there is nothing to save
        self.counts["judged"] += recorded
        if recorded and self._still(used, code):
            self._given[name] = entry
            with suppress(StoreUnwritable):
                write_atomic(path, text.encode())
        return parse(entry.answer)

    def keep(self, folder: Path) -> int:
        """Write all answers given so far for whoever clones the records, and nothing else; returns how many.

        Raises StoreUnwritable.
        """
        return write_judged(folder, self._given.values())

    def say(self) -> str:
        """Where this session's answers are from; '' where none was asked for."""
        n = self.counts
        if not n.total():
            return ""
        said = f"{n['judged']} judged now, {n['kept']} by earlier runs here, {n['brought']} before this copy was made"
        if (
            self.brought is None
            or self.anew
            or self._all_brought
            or not list(self.brought.glob(f"*{SUFFIX}"))
        ):
            return said
        return f"{said} (what is in {self.brought.name} is of other code or versions: make report)"

    def reading(self, path: Path) -> None:
        """To be called before a record is asked for, be it there or not."""
        if self._used is not None:
            self._used[path.relative_to(self.evidence).as_posix()] = self._digest(path)

    def _entries(self, path: Path, name: str) -> Iterator[Entry]:
        """What is kept under this name: of this session, and here and with the records unless all is asked anew."""
        if name in self._given:
            yield self._given[name]
        if self.anew:
            return
        with suppress(OSError, *UNREADABLE):
            yield entry_from_text(path.read_text(encoding="utf-8"))
        if (entry := self._brought_as(name)) is not None:
            yield entry

    def _brought_as(self, name: str) -> Entry | None:
        return None if self.brought is None or self.anew else self._all_brought.get(name)

    @cached_property
    def _all_brought(self) -> Mapping[str, Entry]:
        return {} if self.brought is None else read_judged(self.brought, self._basis)

    def _believed(self, entry: Entry, asked: str) -> Entry:
        """Raises ValueError for what is not the answer to this question of today."""
        now = {name: self._digest(self.evidence / name) for name in entry.used}
        if (entry.basis, entry.asked, entry.used) != (self._basis, asked, now):
            raise ValueError(f"what is kept as '{entry.name}' answers another question")
        return entry

    def _still(self, used: Mapping[str, str], code: Mapping[Path, str]) -> bool:
        """Whether records and code are what they were when they were digested: what is judged was read later."""
        digests = {**{self.evidence / name: digest for name, digest in used.items()}, **code}
        same = all(_digest_of(path) == digest for path, digest in digests.items())
        return same and basis(self._files) == self._basis

    def _digest(self, path: Path) -> str:
        """As `_digest_of`; each record and file is read once a session."""
        if path not in self._digests:
            self._digests[path] = _digest_of(path)
        return self._digests[path]


def _digest_of(path: Path) -> str:
    """sha256 of a file's bytes, '' where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def asked_of(claims: Sequence[Claim], protocol: Protocol) -> str:
    """All that a verdict under this protocol depends on in these cards."""
    return repr(
        [
            (c.id, c.models, c.joint, c.over_seeds, c.untestable, c.criteria.get(protocol), c.presupposes)
            for c in claims
        ]
    )


def code_of(claims: Sequence[Claim], protocol: Protocol) -> tuple[Path, ...]:
    """Files that define the types of what is judged under this protocol, beside `deciding_files`.

    A chapter's own file is one only where it defines a criterion, or a part of one, with all that it imports of the
    same project; its sentences then count too. Raises OSError or TypeError for a type that comes from no file.
    """
    types: set[type] = set()
    for claim in claims:
        types |= {type(claim), *_types((claim.criteria.get(protocol), claim.presupposes))}
    places = {_place(base) for kind in types for base in kind.__mro__}
    own = [path for path in places if path is not None and path not in deciding_files()]
    return tuple(sorted({path for place in own for path in _with_helpers(place)}))


def _types(value: Any) -> Iterator[type]:
    """The types of a value and of all that it holds."""
    yield type(value)
    if is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    else:
        parts = list(value) if isinstance(value, tuple | list | set | frozenset) else []
    for part in parts:
        yield from _types(part)


@cache
def _place(kind: type) -> Path | None:
    """The file of a class; None where it is Python's own."""
    own = kind.__module__.partition(".")[0] in sys.stdlib_module_names
    return None if own else Path(inspect.getfile(kind))


@cache
def _with_helpers(file: Path) -> frozenset[Path]:
    """A file that does not decide everywhere, and the files that it imports and they import; of libraries none."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in found and path not in deciding_files():
            found.add(path)
            waiting += [] if _is_library(path) else [p for p in _imported_files(path) if not _is_library(p)]
    return frozenset(found)


def _imported_files(path: Path) -> Iterator[Path]:
    """The files of the modules that a file imports, inside functions too, and of their packages. Imports nothing."""
    roots = [path.parent, *(Path(place or ".").resolve() for place in sys.path)]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name, roots)
        elif isinstance(node, ast.ImportFrom):
            within = [path.parents[node.level - 1]] if node.level else roots
            for alias in node.names:
                yield from _files_of(f"{node.module}.{alias.name}" if node.module else alias.name, within)


def _files_of(name: str, roots: Iterable[Path]) -> Iterator[Path]:
    """The files of a module and of the packages above it, wherever they may stand."""
    parts = name.split(".")
    for root in roots:
        for i in range(len(parts)):
            place = root.joinpath(*parts[: i + 1])
            yield from (file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file())


def _is_library(path: Path) -> bool:
    return any(path.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


def judgement_to_json(judgement: Judgement) -> dict[str, Any]:
    """Plain JSON values."""
    return asdict(judgement)


def judgement_from_json(value: dict[str, Any]) -> Judgement:
    """The judgement again. Raises KeyError, TypeError or ValueError for anything else."""
    return Judgement(
        **{
            **value,
            "verdict": Verdict(value["verdict"]),
            "findings": tuple(_finding(finding) for finding in value["findings"]),
        }
    )


def _finding(value: dict[str, Any]) -> Finding:
    estimate = value["estimate"]
    return Finding(
        **{
            **value,
            "verdict": Verdict(value["verdict"]),
            "estimate": None if estimate is None else Estimate(**estimate),
        }
    )


def basis(files: Iterable[Path]) -> str:
    """sha256 of these files, and of the versions that numbers depend on."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    versions = {name: version(name) for name in _LIBRARIES}
    digest.update(repr((platform.machine(), versions)).encode())
    return digest.hexdigest()


@cache
def deciding_files() -> tuple[Path, ...]:
    """The modules of _DECIDING and all of harness and tasks that they import, those inside functions included."""
    found: set[Path] = set()
    waiting = [path for module in _DECIDING for path in _paths(module, ())]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for match in _IMPORT.finditer(path.read_text(encoding="utf-8")):
            waiting += _paths(match[1], re.findall(r"\w+", match[2] or ""))
    return tuple(sorted(found))


def _paths(module: str, names: Iterable[str]) -> list[Path]:
    """The files of a module, of the packages it is in, and of those of `names` that are modules of it."""
    parts = module.split(".")
    places = [_ROOT.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    places += [places[-1] / name for name in names]
    files = [path for place in places for path in (place / "__init__.py", place.with_suffix(".py"))]
    return [path for path in files if path.is_file()]
