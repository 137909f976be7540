"""`python -m harness.calibration`: make the trials that are missing, and write RESULTS.md, results.json, power.svg."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.calibration.chapters import Case, number
from harness.calibration.models import Workshop
from harness.calibration.origins import Stamps, commit_here, origins, stamps_today
from harness.store import write_atomic

HOME = Path(__file__).parent
KEPT, RESULTS = "trials.jsonl", "results.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 130 where it was interrupted (what was made is kept, and nothing is lost), 1 where a
    trial that was made anew differs.
    """
    options = _parser().parse_args(arguments)
    today = stamps_today(options.claims)
    unlike = False
    try:
        if options.render:
            results = _read(options.out)
        elif options.recheck:
            results, unlike = make_anew(options, today)
        else:
            results = make(options)
    except KeyboardInterrupt:
        what = (
            f"{options.out / RESULTS} is as it was"
            if options.recheck
            else f"what was made is kept in {options.kept}"
        )
        print(f"interrupted; {what}", file=sys.stderr)
        return 130
    write(results, options.out, today)
    return int(unlike)


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Make the trials that are missing or made with other code; the counts of all."""
    from tqdm import tqdm

    from harness.calibration.cases import every_case, run_case
    from harness.calibration.run import plan, read_kept, run
    from harness.calibration.stamps import stamp

    shop, cases, commit = _workshop(options), every_case(), commit_here()

    @functools.cache
    def stamped(name: str, measured: bool) -> str:
        (case,) = (case for case in cases if case.name == name)
        return stamp(case, shop.claims, measured=measured)

    def trial(case: Case, target: float, index: int) -> dict[str, Any]:
        return {**run_case(shop, case, target, index), "commit": commit}

    planned = list(plan(cases, options.models))
    wanted = _wanted(options)
    before = _read(options.out) if (options.out / RESULTS).exists() else {}
    here = {record["case"] for record in read_kept(options.kept / KEPT)}
    here |= {case.name for case in cases if wanted(case)}
    if lost := before.get("cases", {}).keys() & {case.name for case in cases} - here:
        raise SystemExit(
            f"{options.out / RESULTS} counts trials of cases of which none is kept in {options.kept}, "
            f"{min(lost)!r} among them: they would be lost from it. Write these chapters elsewhere, with --out, or "
            "name the folder in which the others are kept, with --kept"
        )
    with tqdm(total=sum(wanted(case) for case, _, _ in planned), unit="model", dynamic_ncols=True) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        records = run(
            trial,
            cases,
            options.kept / KEPT,
            lambda case, measured: stamped(case.name, measured),
            models=options.models,
            wanted=wanted,
            on_trial=advance,
        )
    return results_of(records, pool=len(shop.pool.prompts.ids), planned=len(planned), before=before)


def make_anew(options: argparse.Namespace, today: Stamps) -> tuple[dict[str, Any], bool]:
    """results.json with what trials made anew are like, and whether one differs; kept trials are only read.

    Raises SystemExit where results.json counts other trials than are kept.
    """
    from tqdm import tqdm

    from harness.calibration.cases import every_case, run_case
    from harness.calibration.recheck import OtherTrials, noted, recheck, sample
    from harness.calibration.run import read_kept

    results, wanted = _read(options.out), _wanted(options)
    known = {record["id"]: record for record in read_kept(options.kept / KEPT)}
    try:
        samples = sample(every_case(), known, results, today, options.recheck)
    except OtherTrials as error:
        raise SystemExit(f"{options.kept / KEPT}: {error}") from error
    samples = [one for one in samples if wanted(one.case)]
    if not samples:
        print(
            "no cards or code are newer than the trials that were asked for: nothing to make anew",
            file=sys.stderr,
        )
        return results, False
    shop = _workshop(options)
    with tqdm(total=len(samples), unit="trial", dynamic_ncols=True) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        def tell(name: str, different: list[str]) -> None:
            tqdm.write(f"{name} differs:\n" + "\n".join(f"    {line}" for line in different), file=sys.stderr)

        found = recheck(samples, functools.partial(run_case, shop), on_trial=advance, on_unlike=tell)
    unlike = sorted(name for name, one in found.items() if one.unlike)
    made = sum(one.trials for one in found.values())
    print(
        f"trials of {', '.join(unlike)} differ from those that are kept: these are not to be believed of today's code. "
        "`make calibrate` makes them again"
        if unlike
        else f"{made} trials of {len(found)} cases are the same in every number",
        file=sys.stderr,
    )
    return {**results, "cases": noted(results["cases"], found, today, commit_here())}, bool(unlike)


def results_of(
    records: Sequence[Mapping[str, Any]], *, pool: int, planned: int, before: Mapping[str, Any]
) -> dict[str, Any]:
    """results.json: what the report and the figure are made of. `before` is what it was."""
    from harness.calibration.rates import by_model, count, engine, without_axis, without_truth

    models = Counter(record["chapter"] for record in records)
    return {
        "made": {
            "models": dict(sorted(models.items(), key=lambda item: number(item[0]))),
            "planned": planned,
            "pool": pool,
            "seconds": round(sum(record["seconds"] for record in records)),
            "date": datetime.now(UTC).date().isoformat(),
        },
        "cases": origins(records, before.get("cases", {})),
        "engine": engine(records),
        "by_model": by_model(records),
        "without_axis": without_axis(records),
        "without_truth": without_truth(records),
        "counts": count(records),
    }


def write(results: Mapping[str, Any], out: Path, today: Stamps) -> None:
    """results.json, RESULTS.md and power.svg in `out`; `today` are the stamps that trials would have now."""
    from harness.calibration.figure import draw_power
    from harness.calibration.report import render_markdown

    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / RESULTS, (json.dumps(results, indent=1) + "\n").encode())
    write_atomic(out / "RESULTS.md", render_markdown(results, today).encode())
    draw_power(results, out / "power.svg")


def _read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    return found


def _wanted(options: argparse.Namespace) -> Callable[[Case], bool]:
    """Whether a case is of the chapters that were asked for."""
    return lambda case: not options.chapters or number(case.chapter)[1] in options.chapters


def _workshop(options: argparse.Namespace) -> Workshop:
    """What models are made of; one thread, as models of 64 dimensions gain nothing from more."""
    import torch

    from harness.calibration.cards import load_claims
    from harness.calibration.pool import Tokens, build_pool
    from harness.planted import train_tokenizer
    from harness.planted.tokenizer import suite_texts

    torch.set_num_threads(1)
    tokens = Tokens(train_tokenizer(suite_texts()))
    return Workshop(tokens=tokens, pool=build_pool(tokens), claims=load_claims(options.claims))


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1 trial of a case")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.calibration", description=__doc__)
    add = parser.add_argument
    add("--render", action="store_true", help="only rewrite RESULTS.md and power.svg from results.json")
    add(
        "--recheck",
        type=_positive,
        metavar="K",
        help="make K trials anew of every case whose cards or code are newer, and compare (fewer of a case that takes "
        "more than a second a trial, at least one)",
    )
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
