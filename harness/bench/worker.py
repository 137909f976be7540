"""One contender in a process of its own: messages in, one JSON object a line, answers out.

    {"op": "load", "contender": "hooks-loop", "checkpoint": "...", "threads": 2}
    {"op": "prepare", "prompts": [...]}             take prompts, warm up; not timed
    {"op": "turn", "edits": [...], "prompts": [0, 3]}      -> seconds, kl, peak_bytes, idle_cpu_share
    {"op": "ceiling", "size": {...}, "seconds": 2.0}       -> rates

An answer with "error" holds the exception's line. What libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.bench.contenders import Contender, find_entry
from harness.bench.workload import BenchPrompt, SimpleEdit

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


class Worker:
    """Answers one message at a time."""

    def __init__(self) -> None:
        self.contender: Contender | None = None
        self.rested = (time.perf_counter(), time.process_time())

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to one message. Raises what the contender raises."""
        match message["op"]:
            case "load":
                return self.load(message["contender"], Path(message["checkpoint"]), message["threads"])
            case "prepare":
                return self.prepare([prompt_from_json(p) for p in message["prompts"]])
            case "turn":
                return self.turn([SimpleEdit(**e) for e in message["edits"]], message["prompts"])
            case "ceiling":
                from harness.bench.ceiling import measure_ceiling
                from harness.bench.flops import ModelSize

                return {"rates": measure_ceiling(ModelSize(**message["size"]), message["seconds"])}
            case unknown:
                raise ValueError(f"no operation is called {unknown!r}")

    def load(self, name: str, checkpoint: Path, threads: int) -> dict[str, Any]:
        """Import the tool, load the model."""
        import torch

        torch.set_num_threads(threads)
        started = time.perf_counter()
        if name == "ceiling":
            return {"versions": {"torch": torch.__version__}, "threads": torch.get_num_threads()}
        entry = find_entry(name)
        self.contender = entry.build(checkpoint)
        return {
            "budget_bytes": getattr(self.contender, "budget_bytes", None),
            "seconds": time.perf_counter() - started,
            "versions": {p: version(p) for p in (entry.package, "torch", "transformers")},
            "threads": torch.get_num_threads(),
        }

    def prepare(self, prompts: list[BenchPrompt]) -> dict[str, Any]:
        """Hand over the prompts and run each kind of edit once, so that nothing is first in a timed turn."""
        contender = self._loaded()
        contender.prepare(prompts)
        warm = [SimpleEdit(kind=kind, layer=0) for kind in ("skip", "mlp", "head")]
        contender.run(warm, list(range(min(2, len(prompts)))))
        _forget_peak()
        return {"resident_bytes": resident_bytes()}

    def turn(self, edits: list[SimpleEdit], prompts: list[int]) -> dict[str, Any]:
        """Time these edits on these prompts."""
        contender = self._loaded()
        idle_wall, idle_cpu = time.perf_counter() - self.rested[0], time.process_time() - self.rested[1]
        started = time.perf_counter()
        kl = contender.run(edits, prompts)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "kl": kl.tolist(),
            "peak_bytes": peak_bytes(),
            "idle_cpu_share": idle_cpu / idle_wall,
        }

    def _loaded(self) -> Contender:
        if self.contender is None:
            raise ValueError("the first message must be 'load'")
        return self.contender


def prompt_from_json(value: dict[str, Any]) -> BenchPrompt:
    """The prompt that `dataclasses.asdict` wrote."""
    return BenchPrompt(**{**value, "ids": tuple(value["ids"])})


def peak_bytes() -> int:
    """The most memory this process has held, since `_forget_peak` where the system can tell (Linux)."""
    if STATUS.exists():
        return _status("VmHWM")
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """The memory this process holds now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _forget_peak() -> None:
    """Start the peak anew, so that loading does not count. Only Linux can, and not in every container."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return


def main() -> None:
    """Answer messages until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            text = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")}
        worker.rested = (time.perf_counter(), time.process_time())
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
