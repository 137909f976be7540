"""Screening end to end on a planted model: what is chosen, what the evidence says, and the recall that is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from harness import measure, screening
from harness.edits import Stream, zero
from harness.engine import screen as screen_module
from harness.engine.screen import screen, top_share
from harness.experiments import EXPERIMENTS
from harness.protocols import Protocol
from harness.recording import record, staleness
from harness.screening import counts, recall
from harness.store import Partial, Recorded, Store

if TYPE_CHECKING:
    from harness.evidence import Evidence, Question
    from harness.measure import Subject

SOUND, SWEEP = Protocol.SOUND, EXPERIMENTS["head_sweep"]
ALL = tuple(zero(Stream.Z, layer, head) for layer in range(4) for head in range(4))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(root=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def whole(subject: Subject, store: Store) -> Evidence:
    return measure.measure(subject, SWEEP, SOUND, 42, store)


@pytest.fixture(scope="module")
def quarter(subject: Subject, store: Store, whole: Evidence) -> Evidence:
    """Measured after, and into the same store as, the full sweep."""
    return measure.measure(subject, SWEEP, SOUND, 42, store, screen=0.25)


def test_the_full_sweep_zeroes_every_head_and_finds_the_planted_block(whole: Evidence) -> None:
    assert whole.effects.probes == ALL
    assert whole.question.heads == (4, 4, 4, 4)
    assert (whole.question.screen, whole.effects.unmeasured, whole.failed) == (None, (), ())
    assert "screen" not in whole.provenance
    kl = whole.effects.metrics["kl_nats"].mean(axis=1).reshape(4, 4)
    assert int(kl.max(axis=1).argmax()) == 2
    assert not staleness(whole)


def test_a_screen_measures_its_share_exactly_and_says_so(quarter: Evidence, whole: Evidence) -> None:
    effects = quarter.effects
    assert len(effects.probes) == 4
    assert {*effects.probes, *effects.unmeasured} == set(ALL)
    rows = [whole.effects.row(probe) for probe in effects.probes]
    np.testing.assert_allclose(
        effects.metrics["kl_nats"], whole.effects.metrics["kl_nats"][rows], rtol=1e-3, atol=1e-6
    )
    said = quarter.provenance["screen"]
    assert (said["share"], said["measured"], said["of"]) == (0.25, 4, 16)
    assert said["largest_score"] >= said["least_score_measured"] >= said["largest_score_left_out"] > 0
    assert "Fisher" in said["method"]
    assert quarter.question.screen == 0.25
    assert "screened at 0.25" in quarter.question.cell


def test_the_screen_keeps_the_heads_that_matter_most(quarter: Evidence, whole: Evidence) -> None:
    top = np.argsort(-whole.effects.metrics["kl_nats"].mean(axis=1))[:2]
    assert {ALL[i] for i in top} <= set(quarter.effects.probes)


def test_screened_and_full_evidence_never_meet_in_the_store(
    subject: Subject, store: Store, quarter: Evidence, whole: Evidence
) -> None:
    questions = [subject.question(SWEEP, SOUND, 42, share) for share in (None, 0.25, 0.5)]
    assert len({store.path(q) for q in questions}) == 3
    assert "-screen0.25-" in store.path(questions[1]).name
    found = [store.get(question) for question in questions[:2]]
    assert [e and e.question for e in found] == [whole.question, quarter.question]
    assert [e and len(e.effects.probes) for e in found] == [16, 4]
    assert store.get(questions[2]) is None


def test_experiments_without_heads_are_not_screened(subject: Subject) -> None:
    plain = EXPERIMENTS["layer_sweep"]
    assert subject.question(plain, SOUND, 42, 0.25) == subject.question(plain, SOUND, 42)


def test_an_interrupted_screen_does_not_go_on_with_other_heads(
    subject: Subject, tmp_path: Path, quarter: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part that was kept has the right shape: only the digest of its probes tells it apart."""
    store = Store(root=tmp_path)

    def others(*arguments: Any, **options: Any) -> screen_module.Screen:
        found = screen(*arguments, **options)
        return replace(
            found, chosen=found.left_out[:4], left_out=tuple(p for p in ALL if p not in found.left_out[:4])
        )

    class Stop(BaseException):
        pass

    def put_and_stop(self: Store, question: Question, partial: Partial) -> None:
        put(self, question, partial)
        raise Stop

    put = Store.put_partial
    monkeypatch.setattr(measure, "screen", others)
    monkeypatch.setattr(Store, "put_partial", put_and_stop)
    with pytest.raises(Stop):
        measure.measure(subject, SWEEP, SOUND, 42, store, screen=0.25)
    monkeypatch.undo()
    assert list(tmp_path.rglob("*.partial.npz"))
    again = measure.measure(subject, SWEEP, SOUND, 42, store, screen=0.25)
    assert again.effects.probes == quarter.effects.probes
    np.testing.assert_allclose(
        again.effects.metrics["kl_nats"], quarter.effects.metrics["kl_nats"], rtol=1e-6, atol=1e-9
    )


def test_screened_evidence_is_neither_recorded_nor_current(quarter: Evidence, tmp_path: Path) -> None:
    recorded = Recorded(root=tmp_path)
    with pytest.raises(ValueError, match="screened at 0.25 is for exploration and is never recorded"):
        record(quarter, recorded, rebaseline=True)
    assert not list(tmp_path.iterdir())
    assert staleness(quarter) == "only a share of 0.25 of its probes was measured"


@pytest.mark.parametrize(
    ("share", "rows"), [(0.25, (1,)), (0.5, (1, 3)), (0.51, (1, 2, 3)), (1.0, (0, 1, 2, 3)), (1e-6, (1,))]
)
def test_the_top_share_is_rounded_up_and_ties_go_to_the_earlier(share: float, rows: tuple[int, ...]) -> None:
    assert top_share(np.array([1.0, 5.0, 2.0, 5.0]), share) == rows


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share is"):
        top_share(np.arange(4.0), share)


def test_a_tenth_of_thirty_is_three_whatever_floats_say() -> None:
    assert len(top_share(np.arange(30.0), 0.1)) == 3  # 0.1 * 30 = 3.0000000000000004


def test_recall_by_hand() -> None:
    exact = np.array([9.0, 8.0, 7.0, 6.0, 0.0, 0.0, 0.0, 0.0])
    scores = np.array([9.0, 0.0, 8.0, 0.0, 7.0, 6.0, 0.0, 0.0])
    assert recall(exact, scores, k=4, share=0.5) == 0.5
    assert recall(exact, scores, k=1, share=0.125) == 1.0
    assert recall(exact, scores, k=2, share=0.25) == 0.5
    assert recall(exact, scores, k=4, share=1.0) == 1.0
    with pytest.raises(ValueError, match="k is 9"):
        recall(exact, scores, k=9, share=0.5)


def test_the_counts_whose_recall_is_told_fit_the_model() -> None:
    assert counts(270) == {"5": 5, "10": 10, "10%": 27}
    assert counts(8) == {"5": 5, "10%": 1}


def test_the_command_prints_the_recall_and_writes_it(
    planted_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "recall.json"
    code = screening.main(
        [
            f"--model-path=planted_hub={planted_dir}",
            "--model=planted_hub",
            "--seed=42",
            f"--store={tmp_path / 'store'}",
            f"--out={out}",
        ]
    )
    assert code == 0
    rows = json.loads(out.read_text())
    assert [row["method"] for row in rows] == ["fisher", "answer"]
    assert all(row["n_heads"] == 16 and row["n_prompts"] == 36 for row in rows)
    fisher = rows[0]
    assert fisher["recall"]["5"]["50%"] >= 0.8
    assert fisher["rank_correlation"] > 0.8
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 1 + 2 * 3
    assert f"{fisher['rank_correlation']:.2f}" in text


def test_the_command_says_in_one_line_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert screening.main(["--model=qwen9b"]) == 1
    assert "unknown model 'qwen9b'" in capsys.readouterr().err
