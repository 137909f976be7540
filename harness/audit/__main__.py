"""`python -m harness.audit DIR`: recompute published figures from the atlas's own result files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.audit import ablations, training
from harness.audit.figures import Row, audit, counts
from harness.audit.files import Results
from harness.store import StoreUnwritable, write_atomic

FIGURES = (*ablations.FIGURES, *training.FIGURES)
STYLES = {"match": "green", "mismatch": "red", "not found": "yellow", "unreadable": "magenta"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 on a mismatch or an unreadable file, 2 where there is nothing to audit."""
    parser = argparse.ArgumentParser(prog="python -m harness.audit", description=__doc__)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a copy of the atlas's repository, or of its results"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args(arguments)
    try:
        rows = audit(Results(options.folder), FIGURES)
    except NotADirectoryError as error:
        print(error, file=sys.stderr)
        return 2
    show(rows)
    found = counts(rows)
    if options.json is not None:
        report = {"counts": found, "rows": [row.to_json() for row in rows]}
        try:
            write_atomic(options.json, (json.dumps(report, indent=1) + "\n").encode())
        except StoreUnwritable as error:
            print(f"{options.json} cannot be written ({error.__cause__})", file=sys.stderr)
            return 2
    if found["not found"] == len(rows):
        print(
            f"none of the files is in {options.folder}: name a copy of the atlas's repository",
            file=sys.stderr,
        )
        return 2
    return 1 if found["mismatch"] or found["unreadable"] else 0


def show(rows: Sequence[Row]) -> None:
    """The table, and the counts under it; what comes from a file is printed as plain text.

    Files are named without their folder, which the JSON has.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("claim", "figure", "published", "recomputed", "tolerance", "verdict", "source", "note"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (row.claim, row.what, row.published, row.recomputed or "-", row.tolerance)
        source = f"{', '.join(Path(file).name for file in row.source.split(', '))}: {row.keys}"
        verdict = Text(row.verdict, style=STYLES[row.verdict])
        table.add_row(*map(Text, cells), verdict, Text(source), Text(row.note))
    console = Console(width=None if sys.stdout.isatty() else 220)
    console.print(table)
    console.print(", ".join(f"{n} {verdict}" for verdict, n in counts(rows).items()))


if __name__ == "__main__":
    sys.exit(main())
