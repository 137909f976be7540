"""`python -m harness.mutation`: run mutmut over what decides, and compare its survivors with SURVIVORS.md."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from harness.mutation.accepted import parse, render
from harness.mutation.mutants import KILLED, STATUSES, TIMEOUT, UNKNOWN, Mutant, read_results
from harness.mutation.tree import write_tree

REPOSITORY = Path(__file__).parents[2]
TREE = REPOSITORY / "build" / "mutation"
SURVIVORS = Path(__file__).parent / "SURVIVORS.md"
SETTINGS = Path(__file__).parent / "mutmut.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where a survivor is not accepted, an accepted one is killed, or mutmut failed."""
    parser = argparse.ArgumentParser(prog="python -m harness.mutation", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="mutants tested at once (default: every core)"
    )
    parser.add_argument(
        "--read", action="store_true", help="compare what the last run found, and run nothing"
    )
    options = parser.parse_args(arguments)
    if not options.read and (code := run(options.jobs)):
        return code
    results = list(read_results(TREE))
    print(score(results))
    complaints = disagreements(results, parse(SURVIVORS.read_text(encoding="utf-8")))
    print(complaints or "Every survivor is accepted in SURVIVORS.md.")
    return 1 if complaints else 0


def run(jobs: int) -> int:
    """Mutate a fresh copy of the sources with mutmut. Returns its exit status; minutes to an hour."""
    shutil.rmtree(TREE, ignore_errors=True)
    settings = SETTINGS.read_text(encoding="utf-8")
    write_tree(REPOSITORY, TREE, mutated_files(REPOSITORY, settings), settings)
    mutmut = Path(sys.executable).with_name("mutmut")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [mutmut, "run", "--max-children", str(jobs)], cwd=TREE, env=environment, check=False
    ).returncode


def mutated_files(repository: Path, settings: str) -> tuple[str, ...]:
    """The files that the settings name, as paths in the repository.

    Raises FileNotFoundError for a pattern that matches none: a file that was renamed must not drop out unseen.
    """
    section = tomllib.loads(settings)["tool"]["mutmut"]
    names: list[str] = []
    for pattern in section["only_mutate"]:
        matched = sorted(str(path.relative_to(repository)) for path in repository.glob(pattern))
        if not matched:
            raise FileNotFoundError(f"the settings name {pattern}, which matches no file")
        names += matched
    return tuple(name for name in names if not any(fnmatch(name, skip) for skip in section["do_not_mutate"]))


def score(results: Iterable[tuple[Mutant, str]]) -> str:
    """A table of the mutants of each file by status, and the share that is noticed (killed, or timed out)."""
    counts = Counter((mutant.file, status) for mutant, status in results)
    rows = [f"{'':36}" + "".join(f"{status:>12}" for status in STATUSES) + f"{'noticed':>10}"]
    for file in [*sorted({file for file, _ in counts}), "all"]:
        of = {s: sum(n for (f, t), n in counts.items() if t == s and file in (f, "all")) for s in STATUSES}
        noticed = (of[KILLED] + of[TIMEOUT]) / max(1, sum(of.values()))
        rows.append(f"{file:36}" + "".join(f"{of[status]:12}" for status in STATUSES) + f"{noticed:10.1%}")
    return "\n".join(rows)


def disagreements(results: Iterable[tuple[Mutant, str]], accepted: Counter[Mutant]) -> str:
    """What is wrong with these results beside the accepted survivors, as text; empty where nothing is."""
    survived = Counter(mutant for mutant, status in results if status not in (KILLED, TIMEOUT, UNKNOWN))
    unknown = Counter(mutant for mutant, status in results if status == UNKNOWN)
    groups = {
        "survive and are not accepted: write a test, or say in SURVIVORS.md why it does not matter": survived
        - accepted,
        "are accepted, and do not survive: take them off SURVIVORS.md": accepted - survived - unknown,
        "were not decided: run again": unknown,
    }
    return "\n".join(
        f"{mutants.total()} mutants {why}\n\n{render(mutants.elements())}"
        for why, mutants in groups.items()
        if mutants
    )


if __name__ == "__main__":
    sys.exit(main())
