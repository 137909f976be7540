"""The run: every contender gets its turn in every round, and what is known is written after each round."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.bench.contenders import OURS, Entry, find_entry
from harness.bench.crew import ContenderFailed, Crewman
from harness.bench.flops import ModelSize, hook_flops, sweep_flops
from harness.bench.plan import Cells, Plan, scaling_cells, to_json
from harness.bench.workload import SimpleEdit, Workload
from harness.provenance import git_state

CEILING = "ceiling"
SCHEMA = 1
GAP_ABSOLUTE, GAP_RELATIVE = 1e-4, 1e-4

Say = Callable[[str], None]
Save = Callable[[dict[str, Any]], None]


@dataclass(kw_only=True)
class Race:
    """One run: the plan, the model's folder and sizes, the prompts, the edits; and what has been found.

    `say` is told a line per turn, `save` is handed the results after each round. `start` makes a worker.
    """

    plan: Plan
    checkpoint: Path
    size: ModelSize
    edits: Sequence[SimpleEdit]
    workloads: Sequence[Workload]
    say: Say
    save: Save
    start: Callable[[str, int], Crewman] = Crewman
    crew: dict[str, Crewman] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """All rounds of all workloads. Raises KeyboardInterrupt when interrupted, after saving."""
        self.results |= self._header()
        with self._workers():
            try:
                for number, workload in enumerate(self.workloads):
                    self._one_workload(workload, scale=number == len(self.workloads) - 1)
            except KeyboardInterrupt:
                self.save(self.results)
                raise
        return self.results

    def n_turns(self) -> int:
        """How many lines `say` will be told."""
        per_round = len(self.plan.contenders) + 2
        scaled = (
            len(scaling_cells(len(self.edits), self.workloads[-1])) if OURS in self.plan.contenders else 0
        )
        return self.plan.rounds * (per_round * len(self.workloads) + scaled)

    def _header(self) -> dict[str, Any]:
        kinds = [edit.kind for edit in self.edits]
        return {
            "schema": SCHEMA,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": machine(),
            **git_state(),
            "plan": to_json(self.plan),
            "size": asdict(self.size),
            "edits": {"all": len(kinds), **{kind: kinds.count(kind) for kind in ("skip", "mlp", "head")}},
            "versions": {},
            "failures": {},
            "workloads": {workload.name: self._describe(workload) for workload in self.workloads},
            "turns": [],
            "ceiling": [],
            "scaling": [],
        }

    def _describe(self, workload: Workload) -> dict[str, Any]:
        ids = [prompt.ids for prompt in workload.prompts]
        flops = sweep_flops(self.size, ids, self.edits)
        return {
            **workload.describe(),
            "flops": {**asdict(flops), "total": flops.total},
            "hook_flops": hook_flops(self.size, ids, len(self.edits)),
        }

    @contextmanager
    def _workers(self) -> Iterator[None]:
        try:
            for name in (CEILING, *self.plan.contenders):
                with self._reporting(name, "load"):
                    self.crew[name] = self.start(name, self.plan.threads)
                    answer = self.crew[name].ask(
                        op="load",
                        contender=name,
                        checkpoint=str(self.checkpoint),
                        threads=self.plan.threads,
                    )
                    self.results["versions"][name] = answer["versions"]
                    if name == OURS:
                        self.results["budget_bytes"] = answer["budget_bytes"]
            yield
        finally:
            for worker in self.crew.values():
                worker.stop()

    @contextmanager
    def _reporting(self, name: str, stage: str) -> Iterator[None]:
        """A contender that fails is named with its line, and gets no further turn."""
        try:
            yield
        except ContenderFailed as failure:
            self.results["failures"][name] = {"stage": stage, "line": str(failure)}
            self.say(f"{name}: failed at {stage}: {failure}")

    def _alive(self, name: str) -> bool:
        return name in self.crew and name not in self.results["failures"]

    def _one_workload(self, workload: Workload, *, scale: bool) -> None:
        prompts = [asdict(prompt) for prompt in workload.prompts]
        for name in self.plan.contenders:
            if self._alive(name):
                with self._reporting(name, "prepare"):
                    answer = self.crew[name].ask(op="prepare", prompts=prompts)
                    resident = self.results.setdefault("resident_bytes", {})
                    resident.setdefault(workload.name, {})[name] = answer["resident_bytes"]
        for number in range(self.plan.rounds):
            self._ceiling(workload, number)
            ours = self._ours(workload, number) if OURS in self.plan.contenders else None
            self._ceiling(workload, number)
            for entry in self.plan.order(number):
                self._turn(workload, number, entry, ours)
            if scale and OURS in self.plan.contenders:
                self._scaling(workload, number)
            self.save(self.results)

    def _ceiling(self, workload: Workload, number: int) -> None:
        if not self._alive(CEILING):
            return
        with self._reporting(CEILING, "turn"):
            answer = self.crew[CEILING].ask(
                op="ceiling", size=asdict(self.size), seconds=self.plan.ceiling_seconds
            )
            rates = answer["rates"]
            self.results["ceiling"].append({"workload": workload.name, "round": number, "gflops": rates})
            self.say(f"{workload.name} round {number + 1}: matrix products {rates['layer']:.0f} GF/s")

    def _ours(self, workload: Workload, number: int) -> np.ndarray | None:
        return self._turn(workload, number, find_entry(OURS), None)

    def _turn(
        self, workload: Workload, number: int, entry: Entry, ours: np.ndarray | None
    ) -> np.ndarray | None:
        """One contender's turn; its KLs, and in the results how far they are from ours."""
        if not self._alive(entry.name):
            return None
        cells = self.plan.turn(entry, number, len(self.edits), workload.lengths)
        with self._reporting(entry.name, "turn"):
            answer = self._ask_turn(entry.name, cells)
            found = np.array(answer.pop("kl"))
            gap = None if ours is None else largest_gap(found, ours[np.ix_(cells.edits, cells.prompts)])
            record = {
                "workload": workload.name,
                "round": number,
                "contender": entry.name,
                "edits": len(cells.edits),
                "prompts": len(cells.prompts),
                "cells": len(cells),
                "gap": gap,
                **answer,
            }
            self.results["turns"].append(record)
            whole = answer["seconds"] * len(self.edits) * len(workload.prompts) / len(cells)
            self.say(
                f"{workload.name} round {number + 1}: {entry.name}: {len(cells)} cells in "
                f"{answer['seconds']:.1f} s (all of them: {whole:.0f} s)"
            )
            return found
        return None

    def _ask_turn(self, name: str, cells: Cells) -> dict[str, Any]:
        return self.crew[name].ask(
            op="turn", edits=[asdict(self.edits[i]) for i in cells.edits], prompts=list(cells.prompts)
        )

    def _scaling(self, workload: Workload, number: int) -> None:
        for varies, cells in scaling_cells(len(self.edits), workload):
            if not self._alive(OURS):
                return
            with self._reporting(OURS, "scaling"):
                answer = self._ask_turn(OURS, cells)
                ids = [workload.prompts[i].ids for i in cells.prompts]
                flops = sweep_flops(self.size, ids, [self.edits[i] for i in cells.edits])
                self.results["scaling"].append(
                    {
                        "workload": workload.name,
                        "round": number,
                        "varies": varies,
                        "edits": len(cells.edits),
                        "prompts": len(cells.prompts),
                        "tokens": sum(map(len, ids)),
                        "flops": flops.total,
                        "seconds": answer["seconds"],
                    }
                )
                self.say(
                    f"{workload.name} round {number + 1}: ours, {len(cells.prompts)} prompts x "
                    f"{len(cells.edits)} edits in {answer['seconds']:.1f} s"
                )


def largest_gap(found: np.ndarray, ours: np.ndarray) -> float:
    """The largest difference from our KL, as a share of 1e-4 nats + 1e-4 of it; infinite where one is not finite."""
    if found.shape != ours.shape:
        raise ContenderFailed(f"its table has shape {found.shape}, expected {ours.shape}")
    gaps = np.abs(found - ours) / (GAP_ABSOLUTE + GAP_RELATIVE * np.abs(ours))
    return float(gaps.max()) if np.isfinite(gaps).all() else float("inf")


def machine() -> dict[str, Any]:
    """CPU, cores, memory and system of this machine; no name of it."""
    import psutil

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":", 1)[1].strip() if models else cpu
    return {
        "cpu": cpu,
        "cores": psutil.cpu_count(logical=True),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
