"""From raw turns to the figures of the table: medians over rounds, scaled to all cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.bench.contenders import OURS, find_entry


@dataclass(frozen=True, kw_only=True)
class Line:
    """One contender on one workload. Times are seconds for all cells, scaled from those timed.

    `relative`: median over rounds of the time relative to ours in the same round. `gap`: largest difference from our
    KLs as a share of 1e-4 nats + 1e-4 of the KL; None for ours. `peak_bytes` counts the weights and the libraries.
    """

    name: str
    tool: str
    mode: str
    seconds: float
    fastest: float
    slowest: float
    relative: float | None
    cells_timed: int
    peak_bytes: int
    gap: float | None


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Our rate beside the machine's, GFLOP/s; `fraction` is the median over rounds of their quotient."""

    ours: float
    layer: float
    square: float
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Our time at one size; `per_gflop` is seconds per GFLOP of work, constant where time is linear in it."""

    varies: str
    prompts: int
    edits: int
    seconds: float
    gflop: float
    per_gflop: float


def lines(results: dict[str, Any], workload: str) -> list[Line]:
    """The contenders that finished at least one turn, fastest first."""
    turns = [turn for turn in results["turns"] if turn["workload"] == workload]
    whole = results["edits"]["all"] * results["workloads"][workload]["prompts"]
    scaled: dict[str, dict[int, float]] = {}
    for turn in turns:
        scaled.setdefault(turn["contender"], {})[turn["round"]] = turn["seconds"] / turn["cells"] * whole
    ours = scaled.get(OURS, {})
    found = []
    for name, seconds in scaled.items():
        entry = find_entry(name)
        mine = [turn for turn in turns if turn["contender"] == name]
        gaps = [turn["gap"] for turn in mine if turn["gap"] is not None]
        ratios = [seconds[n] / ours[n] for n in seconds if n in ours]
        found.append(
            Line(
                name=name,
                tool=entry.tool,
                mode=entry.mode,
                seconds=median(seconds.values()),
                fastest=min(seconds.values()),
                slowest=max(seconds.values()),
                relative=median(ratios) if ratios else None,
                cells_timed=sum(turn["cells"] for turn in mine),
                peak_bytes=max(turn["peak_bytes"] for turn in mine),
                gap=max(gaps) if gaps else None,
            )
        )
    return sorted(found, key=lambda line: line.seconds)


def ceiling(results: dict[str, Any], workload: str) -> Ceiling | None:
    """Our rate and the machine's; None where either was not measured."""
    flops = results["workloads"][workload]["flops"]["total"]
    rates: dict[int, list[dict[str, float]]] = {}
    for entry in results["ceiling"]:
        if entry["workload"] == workload:
            rates.setdefault(entry["round"], []).append(entry["gflops"])
    ours = {
        turn["round"]: flops / turn["seconds"] / 1e9
        for turn in results["turns"]
        if turn["workload"] == workload and turn["contender"] == OURS
    }
    rounds = sorted(rates.keys() & ours.keys())
    if not rounds:
        return None
    layer = {n: math.fsum(r["layer"] for r in rates[n]) / len(rates[n]) for n in rounds}
    return Ceiling(
        ours=median(ours[n] for n in rounds),
        layer=median(layer.values()),
        square=median(r["square"] for n in rounds for r in rates[n]),
        fraction=median(ours[n] / layer[n] for n in rounds),
    )


def growth(results: dict[str, Any]) -> list[Growth]:
    """Our median time at each size, in the order in which they grow."""
    sizes: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for entry in results["scaling"]:
        sizes.setdefault((entry["varies"], entry["prompts"], entry["edits"]), []).append(entry)
    found = []
    for (varies, prompts, edits), entries in sizes.items():
        seconds, gflop = median(e["seconds"] for e in entries), entries[0]["flops"] / 1e9
        found.append(
            Growth(
                varies=varies,
                prompts=prompts,
                edits=edits,
                seconds=seconds,
                gflop=gflop,
                per_gflop=seconds / gflop,
            )
        )
    return found


def disagreeing(results: dict[str, Any]) -> list[str]:
    """The contenders whose KLs differ from ours by more than the tolerance on some workload, as sentences."""
    return [
        f"{line.tool}, {line.mode}: {line.gap:.3g} times the tolerance on {name}"
        for name in results["workloads"]
        for line in lines(results, name)
        if line.gap is not None and not line.gap <= 1
    ]


def memory_used(results: dict[str, Any], workload: str) -> int | None:
    """Bytes our engine held at its peak beyond what it held before its first turn of all; None where not measured."""
    before = [held[OURS] for held in results.get("resident_bytes", {}).values() if OURS in held]
    peaks = [
        turn["peak_bytes"]
        for turn in results["turns"]
        if turn["workload"] == workload and turn["contender"] == OURS
    ]
    return int(max(peaks) - min(before)) if before and peaks else None


def idle_share(results: dict[str, Any]) -> float:
    """The largest share of a core that a waiting worker used; 0 where nothing was measured."""
    return max((float(turn["idle_cpu_share"]) for turn in results["turns"]), default=0.0)
