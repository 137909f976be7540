"""What a card can see, out of results.json: from how far beyond its threshold on a true claim is supported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.calibration.rates import FALSE_BINS, TRUE_BINS, least_size, models, rate

RESULTS = Path(__file__).parent / "results.json"
POWER = 0.95
OTHER_MODELS = "Matched nulls"
"""Its rates are of cards of other chapters, on null models that are matched to planted ones."""
HARDEST = ("redrawn-pooled", "redrawn", "drawn")
"""The way of drawing whose rate is told: the first of these in which a card was judged."""


def power_of(card: str) -> str | None:
    """A sentence on the error rates of this card (its id); None where it was not tried."""
    found = _counts().get(card, {})
    way = next((way for way in HARDEST if way in found), None)
    if way is None or not models(found[way], TRUE_BINS):
        return None
    counts, trials = (
        found[way],
        "random trials of three draws" if "pooled" in way else "random trials of one draw",
    )
    said = [_true(card, counts, trials), _false(counts)]
    return "; ".join(part for part in said if part) + "."


def _true(card: str, counts: Mapping[str, Any], trials: str) -> str:
    if card in _plain():
        return f"supported in {rate(counts, [TRUE_BINS[-1]])} of {trials} in which it is true"
    least = least_size(counts, POWER)
    if least != "-":
        beyond = "" if least == TRUE_BINS[-1] else " or more"
        return (
            f"supported in at least {POWER:.0%} of {trials} in which the truth is {_times(least)} the "
            f"threshold{beyond}"
        )
    farthest = [b for b in TRUE_BINS if models(counts, [b])][-1]
    return (
        f"no truth that was tried is supported in {POWER:.0%} of {trials}; at {_times(farthest)} the threshold "
        f"{rate(counts, [farthest]).value:.0%} are: `inconclusive` says little"
    )


def _times(size: str) -> str:
    return f"{size.replace('above', 'more than')} times"


def _false(counts: Mapping[str, Any]) -> str:
    found = rate(counts, FALSE_BINS)
    return f"in {found.hits} of {found.n} in which it is false" if found.n else ""


@cache
def _results() -> Mapping[str, Any]:
    if not RESULTS.exists():
        return {"counts": {}, "without_axis": {}}
    found: Mapping[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


@cache
def _counts() -> Mapping[str, Any]:
    """Of each card its own chapter's counts. Raises ValueError for a card in two."""
    found: dict[str, Any] = {}
    for chapter, cards in _results()["counts"].items():
        if chapter != OTHER_MODELS:
            if twice := sorted(found.keys() & cards):
                raise ValueError(f"{RESULTS.name} counts {', '.join(twice)} in two chapters")
            found |= cards
    return found


@cache
def _plain() -> frozenset[str]:
    return frozenset(card for cards in _results()["without_axis"].values() for card in cards)
