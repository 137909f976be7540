"""A run with real workers on a tiny checkpoint: what fails is reported, what was measured is kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.bench.__main__ import main, write
from harness.bench.contenders import OURS
from harness.bench.crew import ContenderFailed, Crewman
from harness.bench.flops import ModelSize
from harness.bench.plan import Plan
from harness.bench.run import CEILING, Race
from harness.bench.workload import BenchPrompt, SimpleEdit, Workload, all_edits
from harness.models.testing import save_tiny_checkpoint

IDS = ((3, 4, 5, 6, 7), (3, 4, 5, 8), (9, 4, 5, 3, 4, 6, 6))
PROMPTS = tuple(BenchPrompt(family="f", template="t", text=str(i), ids=i, answer=1, foil=2) for i in IDS)
EDITS = [SimpleEdit.of(edit) for edit in all_edits(2, 4)]
DIES = "import sys; sys.stdin.readline(); print('Illegal instruction', file=sys.stderr); sys.exit(7)"
CALLS: list[str] = []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("bench") / "tiny")


def _race(
    checkpoint: Path,
    *,
    contenders: tuple[str, ...],
    rounds: int = 1,
    start: Callable[[str, int], Crewman] = Crewman,
    save: Callable[[dict[str, Any]], None] = lambda results: None,
    say: Callable[[str], None] = lambda line: None,
) -> Race:
    return Race(
        plan=Plan(
            model="tiny",
            workloads=("suite",),
            contenders=contenders,
            rounds=rounds,
            sample=5,
            prompts=3,
            threads=1,
            ceiling_seconds=0.01,
        ),
        checkpoint=checkpoint,
        size=ModelSize.of_config(json.loads((checkpoint / "config.json").read_text())),
        edits=EDITS,
        workloads=[Workload(name="suite", prompts=PROMPTS)],
        say=say,
        save=save,
        start=start,
    )


@pytest.fixture(scope="module")
def finished(checkpoint: Path) -> tuple[dict[str, Any], list[str], list[int]]:
    """Results of two rounds of ours and the loop with hooks, the lines said, and the turns known at each save."""
    lines: list[str] = []
    saved: list[int] = []
    race = _race(
        checkpoint,
        contenders=(OURS, "hooks-loop"),
        rounds=2,
        say=lines.append,
        save=lambda results: saved.append(len(results["turns"])),
    )
    results = race.run()
    assert len(lines) == race.n_turns()
    return results, lines, saved


def test_every_contender_is_timed_in_every_round_and_compared(finished: Any) -> None:
    results, _, _ = finished
    turns = [(turn["round"], turn["contender"]) for turn in results["turns"]]
    assert turns == [(0, OURS), (0, "hooks-loop"), (1, OURS), (1, "hooks-loop")]
    assert all(turn["seconds"] > 0 and turn["peak_bytes"] > 2**20 for turn in results["turns"])
    assert all(turn["gap"] <= 1 for turn in results["turns"] if turn["contender"] != OURS)
    assert len(results["ceiling"]) == 4
    assert {entry["varies"] for entry in results["scaling"]} == {"prompts", "edits"}
    assert results["failures"] == {}


def test_what_is_known_is_saved_after_each_round(finished: Any) -> None:
    _, _, saved = finished
    assert saved == [2, 4]


def test_a_worker_that_waits_does_not_spin(finished: Any) -> None:
    results, _, _ = finished
    assert max(turn["idle_cpu_share"] for turn in results["turns"]) < 0.2


def test_a_contender_that_dies_is_reported_and_the_others_go_on(checkpoint: Path, tmp_path: Path) -> None:
    def start(name: str, threads: int) -> Crewman:
        return Crewman(name, threads, [sys.executable, "-c", DIES] if name == "pyvene-loop" else None)

    race = _race(checkpoint, contenders=(OURS, "pyvene-loop", "hooks-loop"), start=start)
    results = race.run()
    assert results["failures"] == {
        "pyvene-loop": {
            "stage": "load",
            "line": "the worker ended with code 7; its last line: Illegal instruction",
        }
    }
    assert {turn["contender"] for turn in results["turns"]} == {OURS, "hooks-loop"}
    write(results, tmp_path)
    report = (tmp_path / "RESULTS.md").read_text()
    assert "**pyvene, loop** failed at load: `the worker ended with code 7" in report


def test_a_model_that_cannot_be_loaded_is_reported_with_its_line(tmp_path: Path) -> None:
    worker = Crewman("hooks-loop", 1)
    try:
        with pytest.raises(ContenderFailed, match=r"^\w+(Error|Missing)?: .+"):
            worker.ask(op="load", contender="hooks-loop", checkpoint=str(tmp_path / "nothing"), threads=1)
    finally:
        worker.stop()


def test_an_interrupted_run_saves_and_stops_its_workers(checkpoint: Path) -> None:
    saved: list[dict[str, Any]] = []

    def interrupt(line: str) -> None:
        if "hooks-loop" in line:
            raise KeyboardInterrupt

    race = _race(checkpoint, contenders=(OURS, "hooks-loop"), say=interrupt, save=saved.append)
    with pytest.raises(KeyboardInterrupt):
        race.run()
    assert [turn["contender"] for turn in saved[-1]["turns"]] == [OURS, "hooks-loop"]
    assert set(race.crew) == {CEILING, OURS, "hooks-loop"}
    for worker in race.crew.values():
        assert worker.ended


def test_rendering_again_gives_the_same_files(finished: Any, tmp_path: Path) -> None:
    results, _, _ = finished
    write(results, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"results.json", "RESULTS.md", "speed.svg"}
    (tmp_path / "RESULTS.md").unlink()
    (tmp_path / "speed.svg").unlink()
    assert main(["--render", "--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
