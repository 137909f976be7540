"""Where evidence lives: the store of what this machine measured, and the recorded evidence in the repository.

Every write is atomic (a temporary sibling, then a rename) and every measurement holds its question's lock, so
that two runs at once share the work instead of repeating or corrupting it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from harness.evidence import Evidence, Question, read, to_text
from harness.protocols import Protocol


class StoreUnwritable(OSError):
    """The folder for evidence cannot be written."""


@dataclass(frozen=True, kw_only=True)
class Partial:
    """The finished part of an interrupted sweep: arrays with NaN where nothing was measured yet."""

    metrics: Mapping[str, np.ndarray]
    baseline: Mapping[str, np.ndarray]
    done: np.ndarray
    """[prompt] bool."""
    probes: str = ""
    """Digest of the probes of its rows: a screen that chooses others must not go on with these."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Evidence measured here, addressed by its question's digest."""

    root: Path

    def path(self, question: Question) -> Path:
        """Where the answer to a question is kept."""
        screened = "" if question.screen is None else f"-screen{question.screen:g}"
        name = f"{question.experiment}-{question.protocol}-seed{question.seed}{screened}-{question.digest[:12]}.json"
        return self.root / question.model / name

    def get(self, question: Question) -> Evidence | None:
        """The answer, or None. Raises EvidenceCorrupt for a record that cannot be trusted."""
        path = self.path(question)
        if not path.exists():
            return None
        evidence = read(path)
        return evidence if evidence.question == question else None

    def put(self, evidence: Evidence) -> Path:
        """Keep an answer, and drop the partial one. Raises StoreUnwritable."""
        path = self.path(evidence.question)
        write_atomic(path, to_text(evidence).encode())
        self._partial_path(evidence.question).unlink(missing_ok=True)
        return path

    @contextlib.contextmanager
    def lock(self, question: Question, timeout_s: float = -1) -> Iterator[None]:
        """Hold the question: another run asking it waits here, then finds the answer."""
        path = self.path(question).with_suffix(".lock")
        with _writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=timeout_s)
            try:
                lock.acquire()
            except Timeout:
                raise StoreUnwritable(
                    f"another run has held {question.cell} for {timeout_s:.0f} s: wait for it, or stop it"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def put_partial(self, question: Question, partial: Partial) -> None:
        """Keep what is measured so far, so that an interrupted sweep goes on where it stopped."""
        arrays = {f"metric.{name}": value for name, value in partial.metrics.items()}
        arrays |= {f"baseline.{name}": value for name, value in partial.baseline.items()}
        buffer = BytesIO()
        np.savez(buffer, done=partial.done, probes=np.array(partial.probes), **arrays)  # type: ignore[arg-type]
        write_atomic(self._partial_path(question), buffer.getvalue())

    def get_partial(self, question: Question, shape: tuple[int, int]) -> Partial | None:
        """The finished part of this question, or None when there is none or it does not fit."""
        path = self._partial_path(question)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            done, probes = found["done"], str(found.get("probes", ""))
        except Exception:  # a damaged archive raises a dozen kinds, and all it costs is time: measure again
            return None
        metrics = {k.removeprefix("metric."): v for k, v in found.items() if k.startswith("metric.")}
        base = {k.removeprefix("baseline."): v for k, v in found.items() if k.startswith("baseline.")}
        fits = all(v.shape == shape for v in metrics.values()) and done.dtype == bool
        fits = fits and all(v.shape == shape[1:] for v in (done, *base.values()))
        return Partial(metrics=metrics, baseline=base, done=done, probes=probes) if fits and metrics else None

    def _partial_path(self, question: Question) -> Path:
        return self.path(question).with_suffix(".partial.npz")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Recorded evidence: one file a cell, committed, judged without a model."""

    root: Path

    def path(self, model: str, experiment: str, protocol: Protocol, seed: int) -> Path:
        """Where a cell is recorded."""
        return self.root / model / f"{experiment}-{protocol}-seed{seed}.json"

    def get(self, model: str, experiment: str, protocol: Protocol, seed: int) -> Evidence | None:
        """What is recorded for a cell, or None. Raises EvidenceCorrupt."""
        path = self.path(model, experiment, protocol, seed)
        return read(path) if path.exists() else None

    def put(self, evidence: Evidence) -> Path:
        """Record an answer in its cell. Raises ValueError for screened evidence: it answers another question."""
        q = evidence.question
        if q.screen is not None:
            raise ValueError(
                f"{q.cell} is for exploration and is never recorded: measure it without --screen"
            )
        path = self.path(q.model, q.experiment, q.protocol, q.seed)
        write_atomic(path, to_text(evidence).encode())
        return path

    def models(self) -> tuple[str, ...]:
        """Models with recorded evidence."""
        if not self.root.exists():
            return ()
        return tuple(sorted(p.name for p in self.root.iterdir() if p.is_dir() and any(p.glob("*.json"))))


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises StoreUnwritable when the folder is read-only or full."""
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreUnwritable:
        raise
    except OSError as error:
        raise StoreUnwritable(
            f"evidence cannot be written to {path.parent} ({error.strerror or error}): free space there, make it "
            "writable, or name another folder with --store DIR"
        ) from error
