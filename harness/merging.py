"""`python -m harness.merging DIR`: take another machine's recorded evidence into claims/evidence. No torch.

DIR holds MODEL/EXPERIMENT-PROTOCOL-seedN.json, as claims/evidence does, or has claims/evidence below it. A file is
taken as it was measured, provenance and all, or refused with the reason. A cell that is there already stays: where
the other file is the same to the byte, or its measurement agrees within the tolerance of recording, nothing is to be
done, and where it does not both are shown, for a person to decide. Nothing is written unless all can be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tqdm import tqdm

from harness.evidence import Evidence, EvidenceCorrupt, from_text, read, to_text
from harness.experiments import EXPERIMENTS
from harness.models.registry import known_models
from harness.recording import largest_gap, other_subject, staleness
from harness.store import Recorded, StoreUnwritable, write_atomic

HERE = Path(__file__).resolve().parents[1] / "claims" / "evidence"
LIMIT_BYTES = 32 * 2**20
"""A file above this is refused unread: the largest record has a twentieth of it."""

State: TypeAlias = Literal["added", "kept", "replaced", "conflict", "refused"]


class NothingToMerge(ValueError):
    """The folder holds no evidence, or a cell was named that is no conflict."""


class Refused(ValueError):
    """A file that is not taken; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of one file. `name` is 'MODEL/EXPERIMENT-PROTOCOL-seedN'; `data` is what is to be written."""

    name: str
    state: State
    detail: str = ""
    ours: str = ""
    theirs: str = ""
    data: bytes = b""


def plan(source: Path, recorded: Recorded, *, take_theirs: Sequence[str] = ()) -> list[Outcome]:
    """What a merge would do, file by file, by name. Writes nothing.

    `take_theirs` names the conflicts that the other machine wins. Raises NothingToMerge.
    """
    below = source / "claims" / "evidence"
    root = (below if below.is_dir() else source).resolve()
    if not root.is_dir():
        raise NothingToMerge(f"{source} is not a folder: name one with MODEL/EXPERIMENT-PROTOCOL-seedN.json")
    if root == recorded.root.resolve():
        raise NothingToMerge(f"{source} is the recorded evidence itself: name another machine's")
    files = tqdm(
        sorted(root.rglob("*.json")), desc="records", unit="file", leave=False, delay=2, disable=None
    )
    outcomes = [_outcome(path, root, recorded, take_theirs) for path in files]
    if not outcomes:
        raise NothingToMerge(f"no evidence in {source}: it should hold MODEL/EXPERIMENT-PROTOCOL-seedN.json")
    if idle := set(take_theirs) - {o.name for o in outcomes if o.state == "replaced"}:
        conflicts = ", ".join(o.name for o in outcomes if o.state == "conflict") or "none"
        raise NothingToMerge(
            f"--take theirs names what is no conflict: {', '.join(sorted(idle))}; conflicts: {conflicts}"
        )
    return outcomes


def apply(outcomes: Sequence[Outcome], recorded: Recorded) -> None:
    """Write what was added and replaced: all of it, or where one write fails none. Raises StoreUnwritable."""
    written: list[tuple[Path, bytes | None]] = []
    try:
        for outcome in outcomes:
            if outcome.state in ("added", "replaced"):
                path = recorded.root / f"{outcome.name}.json"
                written.append((path, path.read_bytes() if path.exists() else None))
                write_atomic(path, outcome.data)
    except BaseException:
        for path, before in reversed(written):
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_atomic(path, before)
        raise


def _outcome(path: Path, root: Path, recorded: Recorded, take_theirs: Sequence[str]) -> Outcome:
    name = path.relative_to(root).with_suffix("").as_posix()
    if _is_ours(path, root, recorded):
        return Outcome(name=name, state="kept")
    try:
        theirs = _trusted(path, root, recorded)
    except Refused as reason:
        return Outcome(name=name, state="refused", detail=str(reason))
    q = theirs.question
    data, about = to_text(theirs).encode(), provenance(theirs)
    try:
        ours = recorded.get(q.model, q.experiment, q.protocol, q.seed)
        detail = _difference(ours, theirs) if ours is not None else _strange(theirs, recorded)
    except EvidenceCorrupt as error:
        ours, detail = None, f"what is recorded cannot be trusted: {_reason(error)}"
    if not detail:
        state: State = "added" if ours is None else "kept"
    else:
        state = "replaced" if name in take_theirs else "conflict"
    return Outcome(
        name=name,
        state=state,
        detail=detail,
        ours="" if ours is None else provenance(ours),
        theirs=about,
        data=data,
    )


def _is_ours(path: Path, root: Path, recorded: Recorded) -> bool:
    """Whether it is, to the byte, what is recorded here in its place: then nothing is to be taken, whatever it says."""
    try:
        ours = recorded.root / path.relative_to(root)
        plain = path.resolve().is_relative_to(root) and path.is_file() and ours.is_file()
        if not plain or path.stat().st_size != ours.stat().st_size:
            return False
        return path.read_bytes() == ours.read_bytes()
    except (OSError, RuntimeError):
        return False


def _trusted(path: Path, root: Path, recorded: Recorded) -> Evidence:
    """The evidence in a file, which is what its place and its digest say. Raises Refused."""
    try:
        if not path.resolve().is_relative_to(root):
            raise Refused("it leads out of the folder")
        if not path.is_file():
            raise Refused("it is not a plain file")
        if path.stat().st_size > LIMIT_BYTES:
            raise Refused(f"it is larger than {LIMIT_BYTES >> 20} MiB")
        evidence = _parsed(path.read_text(encoding="utf-8"), path.name)
        _check(evidence, path.relative_to(root), recorded)
    except Refused:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise Refused(f"it is not evidence in this suite's format ({_plain(_reason(error))})") from error
    return evidence


def _parsed(text: str, source: str) -> Evidence:
    evidence = from_text(text, source=source)
    if json.loads(text)["digest"] != json.loads(to_text(evidence))["digest"]:
        raise Refused("it holds more than this suite's format has")
    return evidence


def _check(evidence: Evidence, place: Path, recorded: Recorded) -> None:
    """Raises Refused where the evidence is not today's answer to the question of its place.

    The number of blocks is checked first: rows are made for as many as a question names.
    """
    q = evidence.question
    models = {spec.id: spec for spec in known_models()}
    if not isinstance(q.seed, int) or q.model not in models:
        raise Refused(
            f"the model {_plain(str(q.model))} is not registered: enter it in harness/models/registry.py"
        )
    facts = models[q.model].facts
    if facts is not None and q.n_layers != facts.n_layers:
        raise Refused(f"it is of a model of {_plain(str(q.n_layers))} blocks; {q.model} has {facts.n_layers}")
    if place != recorded.path(q.model, q.experiment, q.protocol, q.seed).relative_to(recorded.root):
        raise Refused(f"it is evidence of {_plain(q.cell)}, and stands elsewhere")
    if stale := staleness(evidence):
        raise Refused(f"it is stale: {_plain(stale)}")
    if evidence.effects.probes != tuple(EXPERIMENTS[q.experiment].probes(q.protocol, q.anatomy)):
        raise Refused("its rows are not the experiment's")


def _difference(ours: Evidence, theirs: Evidence) -> str:
    """Why their measurement is not ours again, or '' where it is within tolerance."""
    if reason := staleness(ours, theirs):
        return reason if other_subject(ours, theirs) else f"the recorded one is stale: {reason}"
    if ours.effects.metrics.keys() != theirs.effects.metrics.keys():
        return "other metrics were measured"
    if ours.effects.probes != theirs.effects.probes:
        return "other rows were measured"
    return largest_gap(ours.effects, theirs.effects) or ""


def _strange(theirs: Evidence, recorded: Recorded) -> str:
    """Why a new cell is of another subject than what is recorded of its model, or ''. Raises EvidenceCorrupt."""
    known = sorted((recorded.root / theirs.question.model).glob("*.json"))
    return other_subject(read(known[0]), theirs) if known else ""


def provenance(evidence: Evidence) -> str:
    """Who measured, on what, when, in one line of plain text."""
    facts, q = evidence.provenance, evidence.question
    commit = str(facts.get("commit") or "no commit")[:12] + (
        ", uncommitted changes" if facts.get("dirty") else ""
    )
    parts = (facts.get("date", "no date"), facts.get("device", "no device"), facts.get("system", ""), commit)
    return _plain("; ".join([*(str(part) for part in parts if part), f"torch {q.torch}", q.dtype]), 200)


def _plain(text: str, limit: int = 160) -> str:
    """What comes from another machine must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:limit]


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error) or type(error).__name__


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where something was refused or is in conflict, 2 where nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m harness.merging", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="another machine's recorded evidence")
    parser.add_argument(
        "--take",
        nargs="+",
        metavar=("theirs", "CELL"),
        default=["theirs"],
        help="settle these conflicts: 'theirs' and their names, as they were shown",
    )
    parser.add_argument("--into", type=Path, metavar="DIR", default=HERE, help="default: claims/evidence")
    options = parser.parse_args(arguments)
    who, *cells = options.take
    if who != "theirs":
        parser.error("--take theirs CELL ...: what is recorded here stays unless you take theirs")
    recorded = Recorded(root=options.into)
    try:
        outcomes = plan(options.folder, recorded, take_theirs=cells)
        apply(outcomes, recorded)
    except (NothingToMerge, StoreUnwritable) as error:
        print(error, file=sys.stderr)
        return 2
    print(*lines(outcomes), sep="\n")
    return 1 if any(outcome.state in ("conflict", "refused") for outcome in outcomes) else 0


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The report: what was added, replaced and refused, and every conflict with both measurements."""
    for outcome in outcomes:
        yield from _SHOWN[outcome.state](outcome)
    states = [outcome.state for outcome in outcomes]
    yield ", ".join(f"{states.count(state)} {state}" for state in _SHOWN)
    if conflicts := [outcome.name for outcome in outcomes if outcome.state == "conflict"]:
        yield f"to take a measurement of theirs, name it: --take theirs {conflicts[0]}"
    if {"added", "replaced"} & set(states):
        yield "now: make report; and pytest claims --recorded --snapshot-update, for the snapshots of what is new"


def _added(outcome: Outcome) -> Iterator[str]:
    yield f"added     {outcome.name}: {outcome.theirs}"


def _replaced(outcome: Outcome) -> Iterator[str]:
    yield f"replaced  {outcome.name}: {outcome.detail}"
    yield f"          ours:   {outcome.ours or 'none that can be read'}"
    yield f"          theirs: {outcome.theirs}"


def _conflict(outcome: Outcome) -> Iterator[str]:
    yield f"conflict  {outcome.name}: {outcome.detail}"
    yield f"          ours:   {outcome.ours or 'nothing of this cell that can be read'}"
    yield f"          theirs: {outcome.theirs}"


def _refused(outcome: Outcome) -> Iterator[str]:
    yield f"refused   {_plain(outcome.name)}: {outcome.detail}"


def _kept(_: Outcome) -> Iterator[str]:
    yield from ()


_SHOWN: Mapping[State, Callable[[Outcome], Iterator[str]]] = {
    "added": _added,
    "kept": _kept,
    "replaced": _replaced,
    "conflict": _conflict,
    "refused": _refused,
}


if __name__ == "__main__":
    sys.exit(main())
