"""The store: addressed by the question, written whole or not at all, shared by runs at once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.anatomy import Massive
from harness.errors import plain_errors
from harness.evidence import Evidence, EvidenceCorrupt, Question, to_text
from harness.protocols import Protocol
from harness.store import Partial, Recorded, Store, StoreUnwritable, write_atomic

Make = Callable[..., Evidence]


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def partial(done: int = 2, shape: tuple[int, int] = (3, 5)) -> Partial:
    values = np.full(shape, np.nan)
    values[:, :done] = np.arange(shape[0] * done).reshape(shape[0], done) / 7
    base = np.full(shape[1], np.nan)
    base[:done] = 0.5
    return Partial(
        metrics={"kl_nats": values, "top5_overlap": values / 2},
        baseline={"entropy_nats": base},
        done=np.arange(shape[1]) < done,
    )


# What a question's address depends on


def test_what_was_put_is_found_again(make_evidence: Make, tmp_path: Path) -> None:
    store, evidence = Store(root=tmp_path / "a" / "b"), make_evidence()
    assert store.get(evidence.question) is None
    path = store.put(evidence)
    found = store.get(evidence.question)
    assert found is not None
    assert to_text(found) == to_text(evidence)
    assert path == store.path(evidence.question)
    assert files(tmp_path) == [path.name]


@pytest.mark.parametrize("field", [f.name for f in fields(Question)])
def test_every_field_of_the_question_changes_the_address(
    make_evidence: Make, tmp_path: Path, field: str
) -> None:
    store, evidence = Store(root=tmp_path), make_evidence()
    store.put(evidence)
    value = getattr(evidence.question, field)
    changed: Any = value + 1 if isinstance(value, int) else f"{value}x"
    massive = Massive(layer=1, dim=7, others=(2, 3))
    special = {"protocol": Protocol.PUBLISHED, "heads": (4, 4), "screen": 0.25, "massive": massive}
    other = replace(evidence.question, **{field: special.get(field, changed)})
    assert store.path(other) != store.path(evidence.question)
    assert store.get(other) is None


def test_a_record_that_answers_another_question_is_not_given_out(make_evidence: Make, tmp_path: Path) -> None:
    """Twelve digits name a file; two questions that share them must not share an answer."""
    store, evidence = Store(root=tmp_path), make_evidence()
    path = store.put(evidence)
    path.write_text(to_text(make_evidence(code="another")))
    assert store.get(evidence.question) is None


def test_a_damaged_answer_is_refused_by_name(make_evidence: Make, tmp_path: Path) -> None:
    store, evidence = Store(root=tmp_path), make_evidence()
    path = store.put(evidence)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EvidenceCorrupt, match=path.name):
        store.get(evidence.question)


# Whole or not at all


@pytest.mark.parametrize("kill", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("at", ["os.replace", "os.chmod", "os.fdopen"])
def test_a_write_that_is_cut_short_leaves_nothing(
    make_evidence: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: BaseException,
    at: str,
) -> None:
    store, evidence = Store(root=tmp_path), make_evidence()
    monkeypatch.setattr(at, raising(kill))
    with pytest.raises((KeyboardInterrupt, StoreUnwritable)):
        store.put(evidence)
    with pytest.raises((KeyboardInterrupt, StoreUnwritable)):
        store.put_partial(evidence.question, partial())
    monkeypatch.undo()
    assert files(tmp_path) == []
    assert store.get(evidence.question) is None


def test_a_write_that_is_cut_short_keeps_what_was_there(
    make_evidence: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, old = Store(root=tmp_path), make_evidence()
    path = store.put(old)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.put(replace(old, provenance={"date": "2027-01-01"}))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert files(tmp_path) == [path.name]


def test_a_file_that_was_written_can_be_read_by_others(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x.json", b"{}")
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o644


# Folders that cannot be written


def writes(store: Store, evidence: Evidence) -> dict[str, Callable[[], object]]:
    def lock() -> None:
        with store.lock(evidence.question):
            pass

    return {
        "put": lambda: store.put(evidence),
        "put_partial": lambda: store.put_partial(evidence.question, partial()),
        "lock": lock,
        "record": lambda: Recorded(root=store.root).put(evidence),
    }


@pytest.mark.parametrize("what", ["put", "put_partial", "lock", "record"])
def test_a_folder_that_cannot_be_made_is_named_in_one_line(
    make_evidence: Make, tmp_path: Path, what: str
) -> None:
    """Below a regular file no folder can be made, by root neither."""
    (tmp_path / "file").write_text("in the way")
    store = Store(root=tmp_path / "file" / "evidence")
    with pytest.raises(StoreUnwritable) as caught:
        writes(store, make_evidence())[what]()
    said = str(caught.value)
    assert str(tmp_path / "file" / "evidence" / "made_up") in said
    assert "--store DIR" in said
    assert "\n" not in said
    assert isinstance(caught.value, plain_errors())


@pytest.mark.parametrize("what", ["put", "put_partial", "record"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_is_named_in_one_line(
    make_evidence: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    store, evidence = Store(root=tmp_path), make_evidence()
    monkeypatch.setattr("tempfile.mkstemp", raising(OSError(number, os.strerror(number))))
    with pytest.raises(StoreUnwritable) as caught:
        writes(store, evidence)[what]()
    said = str(caught.value)
    assert str(tmp_path / "made_up") in said
    assert os.strerror(number) in said
    assert "--store DIR" in said
    assert "\n" not in said


# Partial answers


def test_a_partial_answer_is_found_again_and_dropped_with_the_whole_one(
    make_evidence: Make, tmp_path: Path
) -> None:
    store, evidence = Store(root=tmp_path), make_evidence()
    assert store.get_partial(evidence.question, (3, 5)) is None
    kept = partial()
    store.put_partial(evidence.question, kept)
    found = store.get_partial(evidence.question, (3, 5))
    assert found is not None
    assert found.done.tolist() == [True, True, False, False, False]
    for mine, theirs in ((kept.metrics, found.metrics), (kept.baseline, found.baseline)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])

    assert store.get(evidence.question) is None
    store.put(evidence)
    assert store.get_partial(evidence.question, (3, 5)) is None
    assert files(tmp_path) == [store.path(evidence.question).name]


def test_a_partial_answer_to_another_question_is_not_used(make_evidence: Make, tmp_path: Path) -> None:
    store = Store(root=tmp_path)
    store.put_partial(make_evidence().question, partial())
    assert store.get_partial(make_evidence(code="another").question, (3, 5)) is None


@pytest.mark.parametrize("shape", [(4, 5), (3, 6), (5, 3), (3, 4)])
def test_a_partial_answer_of_another_shape_is_ignored(
    make_evidence: Make, tmp_path: Path, shape: tuple[int, int]
) -> None:
    store, question = Store(root=tmp_path), make_evidence().question
    store.put_partial(question, partial())
    assert store.get_partial(question, shape) is None


def test_a_partial_answer_that_does_not_fit_itself_is_ignored(make_evidence: Make, tmp_path: Path) -> None:
    store, question = Store(root=tmp_path), make_evidence().question
    sound = partial()
    for odd in (
        replace(sound, done=sound.done[:4]),
        replace(sound, done=sound.done.astype(float)),
        replace(sound, baseline={"entropy_nats": np.zeros(4)}),
        replace(sound, metrics={**sound.metrics, "top5_overlap": np.zeros((3, 4))}),
        replace(sound, metrics={}),
    ):
        store.put_partial(question, odd)
        assert store.get_partial(question, (3, 5)) is None


def test_a_partial_answer_damaged_anywhere_is_ignored_or_unharmed(
    make_evidence: Make, tmp_path: Path
) -> None:
    """Every byte inverted, every length cut: it costs a measurement, never a wrong one and never a crash."""
    store, question = Store(root=tmp_path), make_evidence().question
    store.put_partial(question, partial())
    (path,) = tmp_path.rglob("*.npz")
    data = path.read_bytes()
    whole = store.get_partial(question, (3, 5))
    assert whole is not None

    damaged = [data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :] for i in range(0, len(data), 3)]
    damaged += [data[:i] for i in range(0, len(data), 97)]
    damaged += [b"", b"PK", b"text", b"\x93NUMPY\x01\x00", b"\x80\x04K\x01."]
    ignored = 0
    for content in damaged:
        path.write_bytes(content)
        found = store.get_partial(question, (3, 5))
        ignored += found is None
        if found is not None:
            assert found.done.tolist() == whole.done.tolist()
            for name, values in found.metrics.items():
                np.testing.assert_array_equal(values, whole.metrics[name])
    assert ignored > len(damaged) / 2


# Two runs at once


def test_a_question_is_held_by_one_at_a_time(make_evidence: Make, tmp_path: Path) -> None:
    store, question = Store(root=tmp_path), make_evidence().question
    order: list[str] = []

    def second() -> None:
        with store.lock(question):
            order.append("second")

    with store.lock(question):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.2)
        order.append("first")
    other.join(timeout=10)
    assert order == ["first", "second"]


def test_another_question_is_not_held_up(make_evidence: Make, tmp_path: Path) -> None:
    store = Store(root=tmp_path)
    one, two = make_evidence(seed=1).question, make_evidence(seed=2).question
    with store.lock(one), store.lock(two, timeout_s=1):
        assert len(list(tmp_path.rglob("*.lock"))) == 2


def test_who_waits_too_long_is_told_what_for(make_evidence: Make, tmp_path: Path) -> None:
    store, question = Store(root=tmp_path), make_evidence().question
    with (
        store.lock(question),
        pytest.raises(StoreUnwritable, match="another run has held made_up layer_sweep sound seed42"),
        Store(root=tmp_path).lock(question, timeout_s=0.1),
    ):
        pytest.fail("two hold the same question")


def test_a_lock_is_let_go_when_the_measurement_fails(make_evidence: Make, tmp_path: Path) -> None:
    store, question = Store(root=tmp_path), make_evidence().question
    with pytest.raises(KeyboardInterrupt), store.lock(question):
        raise KeyboardInterrupt
    with store.lock(question, timeout_s=1):
        pass


def test_the_lock_of_a_killed_process_does_not_block(make_evidence: Make, tmp_path: Path) -> None:
    store, question = Store(root=tmp_path), make_evidence().question
    path = store.path(question).with_suffix(".lock")
    path.parent.mkdir(parents=True)
    script = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"held"
            with pytest.raises(StoreUnwritable, match="another run"), store.lock(question, timeout_s=0.1):
                pytest.fail("the other process does not hold it")
        finally:
            process.send_signal(signal.SIGKILL)
    assert path.exists()
    with store.lock(question, timeout_s=1):
        pass


# Recorded evidence


def test_recorded_evidence_has_one_file_a_cell(make_evidence: Make, tmp_path: Path) -> None:
    recorded = Recorded(root=tmp_path)
    assert recorded.models() == ()
    assert Recorded(root=tmp_path / "nowhere").models() == ()
    for seed in (42, 137):
        recorded.put(make_evidence(seed=seed))
    recorded.put(make_evidence(seed=42, code="newer"))
    recorded.put(make_evidence(model="another"))
    (tmp_path / "empty").mkdir()

    assert recorded.models() == ("another", "made_up")
    assert files(tmp_path / "made_up") == ["layer_sweep-sound-seed137.json", "layer_sweep-sound-seed42.json"]
    found = recorded.get("made_up", "layer_sweep", Protocol.SOUND, 42)
    assert found is not None
    assert found.question.code == "newer"
    assert recorded.get("made_up", "layer_sweep", Protocol.PUBLISHED, 42) is None
