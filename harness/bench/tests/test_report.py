"""The figures of the table from turns written by hand."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.bench.contenders import OURS
from harness.bench.figure import draw_speed
from harness.bench.report import render_markdown, render_terminal
from harness.bench.summary import ceiling, disagreeing, growth, lines, memory_used

MIB = 2**20


def _turn(
    contender: str, number: int, seconds: float, cells: int, gap: float | None = None
) -> dict[str, Any]:
    return {
        "workload": "suite",
        "round": number,
        "contender": contender,
        "seconds": seconds,
        "cells": cells,
        "gap": gap,
        "peak_bytes": 900 * MIB + number * MIB,
        "idle_cpu_share": 0.001,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """40 cells; ours at 2, 4 and 3 s; the loop at 10 of 40 cells a round, in 5, 5 and 50 s."""
    flops = {"products": 0, "scores": 0, "unembedding": 0, "total": 600 * 10**9}
    rate = {"layer": 400.0, "square": 500.0}
    return {
        "schema": 1,
        "date": "2020-01-02",
        "commit": None,
        "dirty": None,
        "machine": {"cpu": "abacus", "cores": 2, "memory_bytes": 2**33, "system": "Linux"},
        "plan": {"model": "tiny", "threads": 2, "rounds": 3},
        "edits": {"all": 10, "skip": 2, "mlp": 2, "head": 6},
        "versions": {"hooks-loop": {"transformers": "5.23.0"}},
        "budget_bytes": 2048 * MIB,
        "resident_bytes": {"suite": {OURS: 880 * MIB}},
        "failures": {"nnsight-loop": {"stage": "turn", "line": "ValueError: no"}},
        "workloads": {
            "suite": {
                "title": "suite draw: spread",
                "prompts": 4,
                "tokens": 20,
                "distinct_prefixes": 19,
                "shortest": 4,
                "longest": 6,
                "flops": flops,
                "hook_flops": 1200 * 10**9,
            }
        },
        "turns": [
            _turn(OURS, 0, 2.0, 40),
            _turn("hooks-loop", 0, 5.0, 10, 0.1),
            _turn(OURS, 1, 4.0, 40),
            _turn("hooks-loop", 1, 5.0, 10, 3.0),
            _turn(OURS, 2, 3.0, 40),
            _turn("hooks-loop", 2, 50.0, 10, 0.2),
        ],
        "ceiling": [{"workload": "suite", "round": n, "gflops": rate} for n in (0, 0, 1, 1, 2, 2)],
        "scaling": [
            {
                "workload": "suite",
                "round": n,
                "varies": "edits",
                "prompts": 4,
                "edits": edits,
                "flops": edits * 10**9,
                "seconds": s,
            }
            for edits, times in ((5, (1.0, 9.0, 2.0)), (10, (4.0, 4.0, 4.0)))
            for n, s in enumerate(times)
        ],
    }


def test_times_are_medians_scaled_to_all_cells(results: dict[str, Any]) -> None:
    ours, loop = lines(results, "suite")
    assert (ours.name, ours.seconds, ours.relative, ours.gap) == (OURS, 3.0, 1.0, None)
    assert (loop.seconds, loop.fastest, loop.slowest) == (20.0, 20.0, 200.0)
    assert loop.relative == pytest.approx(10.0)  # rounds: 20/2, 20/4, 200/3
    assert loop.cells_timed == 30
    assert loop.gap == 3.0  # the worst round, not the median
    assert loop.peak_bytes == 902 * MIB


def test_the_fraction_of_the_ceiling_is_the_median_of_the_rounds(results: dict[str, Any]) -> None:
    results["ceiling"][4]["gflops"] = {"layer": 100.0, "square": 500.0}
    found = ceiling(results, "suite")
    assert found is not None
    # rounds: 300/400, 150/400, 200/250
    assert found.fraction == pytest.approx(0.75)
    assert (found.ours, found.layer, found.square) == (200.0, 400.0, 500.0)


def test_growth_and_memory(results: dict[str, Any]) -> None:
    small, large = growth(results)
    assert (small.seconds, large.seconds) == (2.0, 4.0)
    assert small.per_gflop == large.per_gflop == 0.4
    assert memory_used(results, "suite") == 22 * MIB


def test_the_report_holds_the_table_the_failure_and_the_conditions(results: dict[str, Any]) -> None:
    report = render_markdown(results)
    assert "| transformers + forward hooks | loop | 20.0 s (20.0 s to 3.3 min) | 10.00 | 30 |" in report
    assert "| 3 (disagrees) |" in report
    assert disagreeing(results) == ["transformers + forward hooks, loop: 3 times the tolerance on suite"]
    assert "**nnsight, loop** failed at turn: `ValueError: no`" in report
    assert "50% of the 400 GFLOP/s" in report
    assert "abacus" in report


def test_the_terminal_says_the_same(results: dict[str, Any]) -> None:
    console = Console(file=StringIO(), width=140)
    for part in render_terminal(results):
        console.print(part)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "10.00" in shown
    assert "ValueError: no" in shown


def test_a_run_without_ours_has_times_but_nothing_relative(results: dict[str, Any], tmp_path: Path) -> None:
    results["turns"] = [turn for turn in results["turns"] if turn["contender"] != OURS]
    (loop,) = lines(results, "suite")
    assert loop.relative is None
    assert ceiling(results, "suite") is None
    assert "| 20.0 s (20.0 s to 3.3 min) | - |" in render_markdown(results)
    assert not draw_speed(results, tmp_path / "speed.svg")


def test_the_figure_names_every_contender_and_is_the_same_each_time(
    results: dict[str, Any], tmp_path: Path
) -> None:
    assert draw_speed(results, tmp_path / "one.svg")
    assert draw_speed(results, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "forward hooks" in text
    assert "10.0x" in text
    assert "<dc:date>" not in text
