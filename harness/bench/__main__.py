"""`python -m harness.bench`: run the benchmark, or render what a run has written."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.bench.contenders import ENTRIES
from harness.bench.crew import Crewman
from harness.bench.figure import draw_speed
from harness.bench.flops import ModelSize
from harness.bench.plan import Plan
from harness.bench.report import render_markdown, render_terminal
from harness.bench.run import Race
from harness.bench.summary import disagreeing
from harness.bench.workload import WORKLOADS, SimpleEdit, Workload, all_edits, build_workload
from harness.store import write_atomic

HOME = Path(__file__).parent
REHEARSAL = {"rounds": 1, "sample": 3, "prompts": 2, "limit": 3, "ceiling_seconds": 0.5}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where a contender failed, or disagrees with ours."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rehearse and options.out == HOME:
        parser.error("a rehearsal is no result: say where it may write with --out")
    if options.render:
        results = json.loads((options.out / "results.json").read_text(encoding="utf-8"))
    else:
        try:
            results = run(_plan(options), options.out)
        except KeyboardInterrupt:
            print("interrupted; what was measured is in results.json", file=sys.stderr)
            return 130
    write(results, options.out)
    _show(results)
    for sentence in disagreeing(results):
        print(f"disagrees with ours: {sentence}", file=sys.stderr)
    return 1 if results["failures"] or disagreeing(results) else 0


def run(plan: Plan, out: Path) -> dict[str, Any]:
    """Load the model's files, run the plan, and write results.json into `out` after each round."""
    from tokenizers import Tokenizer
    from tqdm import tqdm

    from harness.models import find_model, obtain

    checkpoint = obtain(find_model(plan.model)).directory
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    size = ModelSize.of_config(config)
    edits = [SimpleEdit.of(edit) for edit in all_edits(size.n_layers, size.n_heads)]

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text).ids)

    workloads = [build_workload(name, encode) for name in plan.workloads]
    if plan.limit:
        edits = edits[:: len(edits) // (4 * plan.limit)]
        workloads = [Workload(name=w.name, prompts=w.prompts[: plan.limit]) for w in workloads]
    with tqdm(total=1, unit="turn", dynamic_ncols=True) as bar:
        race = Race(
            plan=plan,
            checkpoint=checkpoint,
            size=size,
            edits=edits,
            workloads=workloads,
            say=_line_by_line(bar),
            save=lambda results: write(results, out),
            start=Crewman,
        )
        bar.total = race.n_turns()
        return race.run()


def write(results: dict[str, Any], out: Path) -> None:
    """results.json, RESULTS.md and speed.svg in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_atomic(out / "RESULTS.md", render_markdown(results).encode())
    draw_speed(results, out / "speed.svg")


def _line_by_line(bar: Any) -> Callable[[str], None]:
    def say(line: str) -> None:
        bar.write(line)
        bar.update()

    return say


def _show(results: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 150)
    for part in render_terminal(results):
        console.print(part)


def _plan(options: argparse.Namespace) -> Plan:
    workloads = tuple(WORKLOADS) if options.workload == "both" else (options.workload,)
    given: dict[str, Any] = {"rounds": options.rounds, "sample": options.sample, "prompts": options.prompts}
    if options.rehearse:
        given = REHEARSAL
    return Plan(
        model=options.model,
        workloads=workloads,
        contenders=tuple(options.contenders.split(","))
        if options.contenders
        else tuple(e.name for e in ENTRIES),
        threads=options.threads,
        full=options.full,
        **given,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.bench", description=__doc__)
    add = parser.add_argument
    add("--render", action="store_true", help="only rewrite RESULTS.md and speed.svg from results.json")
    add("--rounds", type=int, default=3, help="rounds; every contender has a turn in each (default 3)")
    add("--sample", type=int, default=30, help="edits timed per contender, over all rounds (default 30)")
    add("--prompts", type=int, default=12, help="prompts that loops are timed on (default 12)")
    add("--workload", choices=[*WORKLOADS, "both"], default="both")
    add("--full", action="store_true", help="time every contender on every cell in every round (hours)")
    add("--contenders", default="", help=f"comma-separated; default all: {','.join(e.name for e in ENTRIES)}")
    add("--threads", type=int, default=2)
    add("--model", default="smollm2_135m")
    add("--out", type=Path, default=HOME, help="where results.json, RESULTS.md and speed.svg go")
    add("--rehearse", action="store_true", help="a few cells of everything, to see that it runs; give --out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
