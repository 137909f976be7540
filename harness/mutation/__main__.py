"""`python -m harness.mutation`: run mutmut over what decides, and compare its survivors with SURVIVORS.md."""

from __future__ import annotations

import argparse
import json
import os
import re
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
_PATTERNS = re.compile(r"^only_mutate = \[.*?\]", re.DOTALL | re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where a survivor is not accepted, an accepted one is killed, or mutmut failed."""
    parser = argparse.ArgumentParser(prog="python -m harness.mutation", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="mutants tested at once (default: every core)"
    )
    parser.add_argument(
        "--read", action="store_true", help="compare what the last run found, and run nothing"
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="mutate these alone (default: all that the settings name)"
    )
    options = parser.parse_args(arguments)
    settings = SETTINGS.read_text(encoding="utf-8")
    files = mutated_files(REPOSITORY, settings)
    if unknown := sorted({*options.files} - {*files}):
        parser.error(
            f"{', '.join(unknown)}: not among the files that {SETTINGS.name} names, {', '.join(files)}"
        )
    if not options.read and (code := run(options.jobs, settings, options.files or files)):
        return code
    chosen = options.files or _files_of_last_run()
    results = [
        (mutant, status) for mutant, status in read_results(TREE) if mutant.file in chosen or not chosen
    ]
    print(score(results))
    accepted = parse(SURVIVORS.read_text(encoding="utf-8"))
    if chosen:
        accepted = Counter({mutant: n for mutant, n in accepted.items() if mutant.file in chosen})
    complaints = disagreements(results, accepted)
    print(complaints or "Every survivor is accepted in SURVIVORS.md.")
    return 1 if complaints else 0


def run(jobs: int, settings: str, files: Sequence[str]) -> int:
    """Mutate these files of a fresh copy of the sources with mutmut (minutes each, hours for all). Its exit status."""
    shutil.rmtree(TREE, ignore_errors=True)
    write_tree(REPOSITORY, TREE, tuple(files), naming(settings, files))
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


def naming(settings: str, files: Sequence[str]) -> str:
    """The settings with these files in place of the patterns they name."""
    found, n = _PATTERNS.subn(lambda _: f"only_mutate = {json.dumps(list(files))}", settings, count=1)
    if not n:
        raise ValueError(f"{SETTINGS.name} has no list only_mutate")
    return found


def _files_of_last_run() -> list[str]:
    """The files that were mutated, as the copy's own settings name them; [] where there is no copy."""
    copied = TREE / "pyproject.toml"
    if not copied.exists():
        return []
    return list(tomllib.loads(copied.read_text(encoding="utf-8"))["tool"]["mutmut"]["only_mutate"])


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
