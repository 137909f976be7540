"""A published figure, and what becomes of it: recomputed, compared with the number as it was printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from math import isfinite
from typing import Any, Literal

from harness.audit.files import Missing, Results, Untrusted

Value = float | tuple[str, ...]
"""A number, or names (layers, seeds, a count), which must be equal and in the order that was printed."""

Verdict = Literal["match", "mismatch", "not found", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of one claim: as printed, and how it follows from the files.

    `recompute` is given what each of `files` holds, in their order; with `listing` the names of all that match the
    one pattern, unread. `instead` are other readings of the same files, shown where the figure itself does not match.
    """

    claim: str
    what: str
    published: str
    files: tuple[str, ...]
    keys: str
    recompute: Callable[..., Value]
    instead: Mapping[str, Callable[..., Value]] = field(default_factory=dict)
    at_most: bool = False
    """The published number is an upper bound."""
    names: bool = False
    """What is printed are names or a count: it must be equal."""
    listing: bool = False

    @property
    def unit(self) -> float | None:
        """One unit of the last printed digit ('15.39': 0.01; '4.8e4': 1000); None for names."""
        return None if self.names else float(Decimal(1).scaleb(self.exponent))

    @property
    def exponent(self) -> int:
        """Of ten, for the last printed digit. Raises ValueError for a figure that is not printed as a number."""
        exponent = Decimal(self.published).as_tuple().exponent
        if not isinstance(exponent, int):
            raise ValueError(f"{self.claim}: {self.published} is not a finite number")
        return exponent

    def agrees(self, value: Value) -> bool:
        """Equal names; or nearer than one unit of the last digit, so that rounding or cutting off is no mismatch."""
        if isinstance(value, tuple):
            return " ".join(value) == self.published
        if self.unit is None or not isfinite(value):
            return False
        printed = float(self.published)
        return value <= printed if self.at_most else abs(value - printed) < self.unit


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure's outcome, as text."""

    claim: str
    what: str
    published: str
    recomputed: str
    source: str
    keys: str
    tolerance: str
    verdict: Verdict
    note: str = ""

    def to_json(self) -> dict[str, str]:
        """The fields."""
        return asdict(self)


def audit(results: Results, figures: Sequence[Figure]) -> list[Row]:
    """A row for every figure."""
    return [_row(results, figure) for figure in figures]


def counts(rows: Sequence[Row]) -> dict[Verdict, int]:
    """How many rows have each verdict, every verdict named."""
    found = Counter(row.verdict for row in rows)
    verdicts: tuple[Verdict, ...] = ("match", "mismatch", "not found", "unreadable")
    return {verdict: found[verdict] for verdict in verdicts}


def _row(results: Results, figure: Figure) -> Row:
    source = ", ".join(figure.files)
    verdict: Verdict
    recomputed, note = "", ""
    try:
        source, held = _read(results, figure)
        value = figure.recompute(*held)
        if isinstance(value, float) and not isfinite(value):
            raise Untrusted(f"what follows from the file is {value}")
        recomputed = _shown(value, figure)
        verdict = "match" if figure.agrees(value) else "mismatch"
        if verdict == "mismatch":
            note = "; ".join(_reading(name, read(*held), figure) for name, read in figure.instead.items())
    except Missing as missing:
        verdict, note = "not found", str(missing.args[0])
    except Untrusted as reason:
        verdict, note = "unreadable", str(reason)
    return Row(
        claim=figure.claim,
        what=figure.what,
        published=figure.published,
        recomputed=recomputed,
        source=source,
        keys=figure.keys,
        tolerance=_tolerance(figure),
        verdict=verdict,
        note=note,
    )


def _read(results: Results, figure: Figure) -> tuple[str, list[Any]]:
    """The files that were taken, by name, and what the figure is given of them."""
    if figure.listing:
        (pattern,) = figure.files
        paths = results.matching(pattern)
        if not paths:
            results.find(pattern)
        return pattern, [[path.name for path in paths]]
    paths = [results.find(wanted) for wanted in figure.files]
    return ", ".join(path.as_posix() for path in paths), [results.read(path) for path in paths]


def _reading(name: str, value: Value, figure: Figure) -> str:
    same = ", which is what was printed" if figure.agrees(value) else ""
    return f"{name}: {_shown(value, figure)}{same}"


def _shown(value: Value, figure: Figure) -> str:
    """One digit more than was printed."""
    return " ".join(value) if isinstance(value, tuple) else f"{value:.{max(0, 1 - figure.exponent)}f}"


def _tolerance(figure: Figure) -> str:
    if figure.unit is None:
        return "exact"
    return f"at most {figure.published}" if figure.at_most else f"under {figure.unit:g}"
