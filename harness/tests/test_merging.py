"""Merging: what of another machine's evidence is taken, kept out, or left to a person."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import merging
from harness.evidence import Evidence, _digest, read, to_text
from harness.merging import NothingToMerge, Outcome, apply, main, plan
from harness.protocols import Protocol
from harness.store import Recorded, StoreUnwritable

Make = Callable[..., Evidence]
BLOCKS = 30
CELL = "smollm2_135m/layer_sweep-sound-seed42"
OTHER = "smollm2_135m/layer_sweep-sound-seed137"


@pytest.fixture
def measured(make_evidence: Make) -> Callable[..., Evidence]:
    """measured(gap, seed=7, device=...) -> a layer sweep of SmolLM2's 30 blocks, block 3 moved by `gap` nats."""

    def build(gap: float = 0.0, *, machine: str = "CPU, 1 threads", **given: Any) -> Evidence:
        means = [0.2] * BLOCKS
        means[1] = 1.4
        evidence = make_evidence(
            means, **{"model": "smollm2_135m", **given}, provenance={"date": "2026-01-02", "device": machine}
        )
        kl = evidence.effects.metrics["kl_nats"].copy()
        kl[3] += gap
        metrics = {**evidence.effects.metrics, "kl_nats": kl}
        return replace(evidence, effects=replace(evidence.effects, metrics=metrics))

    return build


@pytest.fixture
def ours(tmp_path: Path) -> Recorded:
    return Recorded(root=tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Recorded:
    return Recorded(root=tmp_path / "theirs")


def outcome(theirs: Recorded, ours: Recorded, **given: Any) -> Outcome:
    (only,) = plan(theirs.root, ours, **given)
    return only


def contents(recorded: Recorded) -> dict[str, bytes]:
    root = recorded.root
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, and give it the digest of what it then holds, as an attacker would."""
    body = json.loads(path.read_text())
    change(body)
    rest = {name: value for name, value in body.items() if name not in ("format", "digest")}
    path.write_text(json.dumps({**body, "digest": _digest(rest)}))


# What is taken


def test_a_new_cell_is_added_to_the_byte_with_its_provenance(
    measured: Make, ours: Recorded, theirs: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    path = theirs.put(measured(machine="NVIDIA H100"))
    assert main([str(theirs.root), "--into", str(ours.root)]) == 0
    assert contents(ours) == {f"{CELL}.json": path.read_bytes()}
    assert read(ours.root / f"{CELL}.json").provenance["device"] == "NVIDIA H100"
    printed = capsys.readouterr().out
    assert f"added     {CELL}: 2026-01-02; NVIDIA H100" in printed
    assert "1 added, 0 kept, 0 replaced, 0 conflict, 0 refused" in printed


def test_the_folder_may_be_a_whole_checkout(measured: Make, ours: Recorded, tmp_path: Path) -> None:
    Recorded(root=tmp_path / "checkout" / "claims" / "evidence").put(measured())
    assert [o.state for o in plan(tmp_path / "checkout", ours)] == ["added"]


def test_what_is_equal_within_tolerance_is_kept_as_it_is(
    measured: Make, ours: Recorded, theirs: Recorded
) -> None:
    ours.put(measured())
    before = contents(ours)
    theirs.put(measured(0.0005, machine="another"))
    assert contents(theirs) != before
    assert outcome(theirs, ours).state == "kept"
    assert main([str(theirs.root), "--into", str(ours.root)]) == 0
    assert contents(ours) == before


def test_the_repository_s_own_evidence_is_understood(ours: Recorded, theirs: Recorded) -> None:
    """Small records of real models, of many kinds: all are added, and merged again all are kept."""
    paths = [p for p in merging.HERE.rglob("*-seed42.json") if p.stat().st_size < 60_000]
    assert len(paths) >= 8
    for path in paths:
        copy = theirs.root / path.relative_to(merging.HERE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    outcomes = plan(theirs.root, ours)
    assert {o.state for o in outcomes} == {"added"}
    apply(outcomes, ours)
    assert contents(ours) == contents(theirs)
    assert {o.state for o in plan(theirs.root, ours)} == {"kept"}


def test_a_file_that_is_ours_to_the_byte_is_kept_unread_and_any_other_is_read(
    measured: Make, ours: Recorded, theirs: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = theirs.put(measured())
    (ours.root / CELL).parent.mkdir(parents=True)
    copy = ours.root / f"{CELL}.json"
    copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(merging, "from_text", lambda *_, **__: pytest.fail("was read"))
    assert outcome(theirs, ours).state == "kept"
    monkeypatch.undo()
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b" \n")
    assert len(path.read_bytes()) == len(data)
    assert outcome(theirs, ours).state == "refused"
    path.write_bytes(data + b"\n")
    assert outcome(theirs, ours).state == "kept", "read, and within tolerance"
    path.unlink()
    path.symlink_to(copy)
    assert refusal(theirs, ours) == "it leads out of the folder"


# Conflicts


def test_a_conflict_shows_the_gap_and_both_machines_and_writes_nothing(
    measured: Make, ours: Recorded, theirs: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    ours.put(measured(machine="CPU, 1 threads"))
    before = contents(ours)
    theirs.put(measured(0.3, machine="NVIDIA H100"))
    assert main([str(theirs.root), "--into", str(ours.root)]) == 1
    assert contents(ours) == before
    printed = capsys.readouterr().out
    assert f"conflict  {CELL}: kl_nats of skip L3: 0.1987 -> 0.4987" in printed
    assert "ours:   2026-01-02; CPU, 1 threads" in printed
    assert "theirs: 2026-01-02; NVIDIA H100" in printed
    assert f"--take theirs {CELL}" in printed


def test_theirs_is_taken_where_it_is_named_and_only_there(
    measured: Make, ours: Recorded, theirs: Recorded
) -> None:
    for seed in (42, 137):
        ours.put(measured(seed=seed))
        theirs.put(measured(0.3, seed=seed, machine="another"))
    before = contents(ours)
    assert main([str(theirs.root), "--into", str(ours.root), "--take", "theirs", CELL]) == 1, "137 is open"
    after = contents(ours)
    assert after[f"{CELL}.json"] == (theirs.root / f"{CELL}.json").read_bytes()
    assert after[f"{OTHER}.json"] == before[f"{OTHER}.json"]


@pytest.mark.parametrize("named", [OTHER, "nothing/like-it", ""])
def test_naming_what_is_no_conflict_does_nothing(
    measured: Make, ours: Recorded, theirs: Recorded, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours.put(measured())
    theirs.put(measured(0.3))
    before = contents(ours)
    assert main([str(theirs.root), "--into", str(ours.root), "--take", "theirs", CELL, named]) == 2
    assert contents(ours) == before
    assert "no conflict" in capsys.readouterr().err


def test_only_theirs_can_be_taken(theirs: Recorded) -> None:
    with pytest.raises(SystemExit):
        main([str(theirs.root), "--take", "ours", CELL])


@pytest.mark.parametrize(
    ("field", "says"),
    [("weights_digest", "other weights"), ("tokenizer_digest", "other tokenizer"), ("dtype", "other dtype")],
)
def test_other_weights_are_a_conflict_even_of_a_cell_that_is_new(
    measured: Make, ours: Recorded, theirs: Recorded, field: str, says: str
) -> None:
    ours.put(measured())
    theirs.put(measured(**{field: "another"}))
    assert outcome(theirs, ours).state == "conflict"
    assert says in outcome(theirs, ours).detail
    (theirs.root / f"{CELL}.json").unlink()
    theirs.put(measured(**{field: "another", "seed": 137}))
    assert outcome(theirs, ours).state == "conflict"
    assert says in outcome(theirs, ours).detail


def test_another_machine_s_versions_are_no_conflict(measured: Make, ours: Recorded, theirs: Recorded) -> None:
    ours.put(measured())
    theirs.put(measured(device="cuda", torch="2.99", code="newer"))
    assert outcome(theirs, ours).state == "kept"


def test_a_stale_or_damaged_record_of_ours_is_not_overwritten_unasked(
    measured: Make, ours: Recorded, theirs: Recorded
) -> None:
    path = ours.put(measured(definition="of last year"))
    theirs.put(measured())
    assert "the recorded one is stale" in outcome(theirs, ours).detail
    path.write_text("{}")
    assert outcome(theirs, ours).state == "conflict"
    assert "cannot be trusted" in outcome(theirs, ours).detail
    assert outcome(theirs, ours, take_theirs=[CELL]).state == "replaced"


# What is refused


def refusal(theirs: Recorded, ours: Recorded) -> str:
    found = outcome(theirs, ours)
    assert (found.state, found.data) == ("refused", b"")
    return found.detail


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"definition": "of last year"}, "stale: the experiment has changed"),
        ({"suite_digest": "other prompts"}, "stale: the prompts have changed"),
        ({"model": "made_up"}, "the model made_up is not registered"),
        ({"model": "gemma3_270m"}, "of a model of 30 blocks; gemma3_270m has 18"),
    ],
)
def test_what_is_not_an_answer_to_today_s_question_is_refused(
    measured: Make, ours: Recorded, theirs: Recorded, given: dict[str, Any], says: str
) -> None:
    theirs.put(measured(**given))
    assert says in refusal(theirs, ours)


def test_screened_evidence_is_refused(measured: Make, ours: Recorded, theirs: Recorded) -> None:
    path = theirs.put(measured())
    path.write_text(to_text(measured(screen=0.25)))
    assert "a share of 0.25 of its probes" in refusal(theirs, ours)


def test_a_record_in_another_cell_s_place_is_refused(
    measured: Make, ours: Recorded, theirs: Recorded
) -> None:
    path = theirs.put(measured())
    path.rename(theirs.root / f"{OTHER}.json")
    assert "it is evidence of smollm2_135m layer_sweep sound seed42, and stands elsewhere" in refusal(
        theirs, ours
    )


def test_a_record_at_another_depth_is_refused(measured: Make, ours: Recorded, theirs: Recorded) -> None:
    path = theirs.put(measured())
    path.rename(theirs.root / path.name)
    path.parent.rmdir()
    assert "stands elsewhere" in refusal(theirs, ours)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("0.2", "0.3", 1),
        lambda text: text.replace('"date": "2026-01-02"', '"date": "2027-01-02"'),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text[:-30],
        lambda text: "{}",
        lambda text: "[]",
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: '{"format": 1, "digest": "x", "question": {}}',
    ],
)
def test_an_altered_or_foreign_file_is_refused(
    measured: Make, ours: Recorded, theirs: Recorded, change: Callable[[str], str]
) -> None:
    path = theirs.put(measured())
    text = change(path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    assert "not evidence in this suite's format" in refusal(theirs, ours)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda b: b.update(more=1), "more than this suite's format"),
        (lambda b: b["question"].update(model=["smollm2_135m"]), "not evidence"),
        (lambda b: b["question"].update(model="../../escaped"), "is not registered"),
        (lambda b: b["question"].update(seed="42"), "is not registered"),
        (lambda b: b["question"].update(experiment="../layer_sweep"), "stands elsewhere"),
        (lambda b: b["question"].update(n_layers=10**12), "blocks"),
        (lambda b: b["question"].update(n_layers="30"), ""),
        (lambda b: b["question"].update(heads=7), "not evidence"),
        (lambda b: b.update(provenance=[1]), "not evidence"),
        (lambda b: b["probes"].reverse(), "its rows are not the experiment's"),
        (lambda b: b["metrics"]["kl_nats"].pop(), "not evidence"),
        (lambda b: b["metrics"]["kl_nats"][0].__setitem__(0, float("nan")), "more than"),
    ],
)
def test_a_forged_record_with_a_digest_of_its_own_is_refused(
    measured: Make, ours: Recorded, theirs: Recorded, change: Callable[[Any], object], says: str
) -> None:
    rewritten(theirs.put(measured()), change)
    assert says in refusal(theirs, ours)


def test_links_pipes_and_large_files_are_refused(
    measured: Make, ours: Recorded, theirs: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = theirs.put(measured())
    monkeypatch.setattr(merging, "LIMIT_BYTES", path.stat().st_size - 1)
    assert "is larger than" in refusal(theirs, ours)
    monkeypatch.undo()
    path.rename(tmp_path / "outside.json")
    path.symlink_to(tmp_path / "outside.json")
    assert refusal(theirs, ours) == "it leads out of the folder"
    path.unlink()
    path.symlink_to(path)
    assert refusal(theirs, ours)
    path.unlink()
    os.mkfifo(path)
    assert refusal(theirs, ours) == "it is not a plain file"


def test_a_refusal_does_not_hold_up_the_others(measured: Make, ours: Recorded, theirs: Recorded) -> None:
    theirs.put(measured())
    theirs.put(measured(seed=137, definition="of last year"))
    assert main([str(theirs.root), "--into", str(ours.root)]) == 1
    assert list(contents(ours)) == [f"{CELL}.json"]


def test_nothing_of_a_file_steers_the_terminal(
    measured: Make, ours: Recorded, theirs: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs.put(measured(machine="\x1b[2J\rCPU"))
    main([str(theirs.root), "--into", str(ours.root)])
    assert "\x1b" not in capsys.readouterr().out


# Nothing to do


def test_a_folder_without_evidence_is_said(
    ours: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent"), "--into", str(ours.root)]) == 2
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--into", str(ours.root)]) == 2
    assert "MODEL/EXPERIMENT-PROTOCOL-seedN.json" in capsys.readouterr().err


def test_the_recorded_evidence_itself_is_not_another_machine_s(measured: Make, ours: Recorded) -> None:
    ours.put(measured())
    with pytest.raises(NothingToMerge, match="another machine's"):
        plan(ours.root, ours)


# All or nothing


@pytest.mark.parametrize("error", [StoreUnwritable("full"), KeyboardInterrupt()])
def test_a_write_that_fails_undoes_those_before_it(
    measured: Make, ours: Recorded, theirs: Recorded, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    ours.put(measured(seed=137))
    theirs.put(measured(0.3, seed=137))
    for seed in (2026, 42):
        theirs.put(measured(seed=seed))
    before = contents(ours)
    outcomes = plan(theirs.root, ours, take_theirs=[OTHER])
    assert [o.state for o in outcomes] == ["replaced", "added", "added"]
    real = merging.write_atomic

    def fails_on_the_last(path: Path, data: bytes) -> None:
        if "seed42" in path.name:
            raise error
        real(path, data)

    monkeypatch.setattr(merging, "write_atomic", fails_on_the_last)
    with pytest.raises(type(error)):
        apply(outcomes, ours)
    assert contents(ours) == before


def test_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, harness.merging as _; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_a_merged_cell_is_judged_like_a_measured_one(
    measured: Make, ours: Recorded, theirs: Recorded
) -> None:
    theirs.put(measured())
    main([str(theirs.root), "--into", str(ours.root)])
    found = ours.get("smollm2_135m", "layer_sweep", Protocol.SOUND, 42)
    assert found is not None
    assert to_text(found) == to_text(measured())
