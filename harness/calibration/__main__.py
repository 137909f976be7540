"""`python -m harness.calibration`: make the trials that are missing, and write RESULTS.md, results.json, power.svg."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.store import write_atomic

HOME = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 130 where it was interrupted; what was made is kept."""
    options = _parser().parse_args(arguments)
    if options.render:
        results = json.loads((options.out / "results.json").read_text(encoding="utf-8"))
    else:
        try:
            results = make(options)
        except KeyboardInterrupt:
            print(f"interrupted; what was made is kept in {options.kept}", file=sys.stderr)
            return 130
    write(results, options.out)
    return 0


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Make the trials that are missing or made with other code; the counts of all."""
    from tqdm import tqdm

    from harness.calibration.cards import load_claims
    from harness.calibration.cases import every_case, run_case
    from harness.calibration.chapters import Case, number
    from harness.calibration.models import Workshop
    from harness.calibration.pool import Tokens, build_pool
    from harness.calibration.run import plan, run
    from harness.calibration.stamps import stamp
    from harness.planted import train_tokenizer
    from harness.planted.tokenizer import suite_texts

    _one_thread()
    tokens = Tokens(train_tokenizer(suite_texts()))
    shop = Workshop(tokens=tokens, pool=build_pool(tokens), claims=load_claims(options.claims))
    cases = every_case()

    @functools.cache
    def stamped(name: str, measured: bool) -> str:
        (case,) = (case for case in cases if case.name == name)
        return stamp(case, shop.claims, measured=measured)

    def wanted(case: Case) -> bool:
        return not options.chapters or number(case.chapter)[1] in options.chapters

    kept = options.kept / "trials.jsonl"
    planned = list(plan(cases, options.models))
    with tqdm(total=sum(wanted(case) for case, _, _ in planned), unit="model", dynamic_ncols=True) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        records = run(
            lambda case, target, index: run_case(shop, case, target, index),
            cases,
            kept,
            lambda case, measured: stamped(case.name, measured),
            models=options.models,
            wanted=wanted,
            on_trial=advance,
        )
    return results_of(records, pool=len(shop.pool.prompts.ids), planned=len(planned))


def results_of(records: Sequence[Mapping[str, Any]], *, pool: int, planned: int) -> dict[str, Any]:
    """results.json: what the report and the figure are made of."""
    from harness.calibration.chapters import number
    from harness.calibration.rates import by_model, count, engine, stale, without_axis, without_truth
    from harness.provenance import provenance

    origin = provenance("cpu")
    models = Counter(record["chapter"] for record in records)
    return {
        "made": {
            "models": dict(sorted(models.items(), key=lambda item: number(item[0]))),
            "stale": stale(records),
            "planned": planned,
            "pool": pool,
            "seconds": round(sum(record["seconds"] for record in records)),
            "date": datetime.now(UTC).date().isoformat(),
            "commit": f"{str(origin.get('commit') or 'unknown')[:10]}{' with changes' if origin.get('dirty') else ''}",
        },
        "engine": engine(records),
        "by_model": by_model(records),
        "without_axis": without_axis(records),
        "without_truth": without_truth(records),
        "counts": count(records),
    }


def write(results: Mapping[str, Any], out: Path) -> None:
    """results.json, RESULTS.md and power.svg in `out`."""
    from harness.calibration.figure import draw_power
    from harness.calibration.report import render_markdown

    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_atomic(out / "RESULTS.md", render_markdown(results).encode())
    draw_power(results, out / "power.svg")


def _one_thread() -> None:
    """Models of 64 dimensions gain nothing from threads."""
    import torch

    torch.set_num_threads(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.calibration", description=__doc__)
    add = parser.add_argument
    add("--render", action="store_true", help="only rewrite RESULTS.md and power.svg from results.json")
    add("--claims", type=Path, default=Path("claims"), help="folder of the chapters (default: claims)")
    add(
        "--chapters",
        nargs="+",
        default=[],
        metavar="N",
        help="make the trials of these chapters alone, by number",
    )
    add("--models", type=int, default=None, help="models of each sort and target (default: the cases' own)")
    add("--kept", type=Path, default=Path(".evidence/calibration"), help="folder in which trials are kept")
    add("--out", type=Path, default=HOME, help="where results.json, RESULTS.md and power.svg go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
