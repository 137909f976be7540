"""From trials to counts, and from counts to rates with exact intervals.

Counts are kept by chapter, card, way of drawing and bin of the truth (`truth.size`); one verdict a model, so that the
trials of a bin are independent and the Clopper-Pearson interval applies. Further samples of the same models share
their model: their rate has an interval over models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WAYS = ("drawn", "redrawn", "pooled", "redrawn-pooled")
"""How prompts were chosen; see `harness.calibration.trials`."""

EDGES = (0.0, 0.5, 0.9, 1.0, 1.15, 1.4, 1.75, 2.5, 4.0, 6.0, math.inf)
"""Edges of the bins of the truth; below 1 the claim is false."""

BINS = (
    "0 to 0.5",
    "0.5 to 0.9",
    "0.9 to 1",
    "1 to 1.15",
    "1.15 to 1.4",
    "1.4 to 1.75",
    "1.75 to 2.5",
    "2.5 to 4",
    "4 to 6",
    "above 6",
)
FALSE_BINS, TRUE_BINS = BINS[:3], BINS[3:]
BOUNDARY = FALSE_BINS[-1]
NEAR = ("0.5 to 0.9", "0.9 to 1")

Counts = Mapping[str, Mapping[str, int]]
"""bin -> verdict -> models."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """So many of so many, with the exact (Clopper-Pearson) 95% interval."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share. Raises ZeroDivisionError for no trials."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval."""
        from statsmodels.stats.proportion import proportion_confint

        low, high = proportion_confint(self.hits, self.n, alpha=0.05, method="beta")
        return float(low), float(high)

    def __str__(self) -> str:
        if not self.n:
            return "-"
        low, high = self.interval
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}]"


def bin_of(size: float) -> str:
    """The bin of a truth."""
    return BINS[int(np.searchsorted(EDGES, size, side="right")) - 1]


def count(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Chapter -> card -> way of drawing -> bin -> verdict -> models.

    Of further samples, `again`: bin -> [supported, samples] of each model.
    """
    found: dict[str, Any] = {}
    for record in records:
        for outcome in record["outcomes"]:
            if outcome["size"] is None:
                continue
            cards = found.setdefault(record["chapter"], {})
            ways = cards.setdefault(outcome["card"], {})
            where = bin_of(outcome["size"])
            for way in WAYS:
                if way not in outcome:
                    continue
                verdict = outcome[way][0]
                bins = ways.setdefault(way, {}).setdefault(where, {})
                bins[verdict] = bins.get(verdict, 0) + 1
            if outcome.get("again"):
                verdicts = outcome["again"]
                pair = [verdicts.get("supported", 0), sum(verdicts.values())]
                ways.setdefault("again", {}).setdefault(where, []).append(pair)
    return found


def by_model(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Chapter -> case -> way of drawing -> [models with a false `supported`, models of which some card is false]."""
    found: dict[str, Any] = {}
    for record in records:
        false = [
            outcome for outcome in record["outcomes"] if outcome["size"] is not None and outcome["size"] < 1.0
        ]
        for way in WAYS:
            said = [outcome[way][0] for outcome in false if way in outcome]
            if said:
                ways = found.setdefault(record["chapter"], {}).setdefault(record["case"], {})
                pair = ways.setdefault(way, [0, 0])
                pair[0] += "supported" in said
                pair[1] += 1
    return found


PLAIN = (0.0, 100.0)
"""Sizes of a card that is false or true without a distance from a threshold."""


def without_truth(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Card -> verdict -> models of which it is not known whether it is true."""
    found: dict[str, dict[str, int]] = {}
    for record in records:
        for outcome in record["outcomes"]:
            if outcome["size"] is None:
                verdict = next(outcome[way][0] for way in WAYS if way in outcome)
                verdicts = found.setdefault(outcome["card"], {})
                verdicts[verdict] = verdicts.get(verdict, 0) + 1
    return found


def without_axis(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Chapter -> cards whose every size is one of PLAIN: what is just true or false has no axis."""
    found: dict[str, dict[str, bool]] = {}
    for record in records:
        for outcome in (o for o in record["outcomes"] if o["size"] is not None):
            cards = found.setdefault(record["chapter"], {})
            cards[outcome["card"]] = cards.get(outcome["card"], True) and outcome["size"] in PLAIN
    return {
        chapter: sorted(card for card, is_plain in cards.items() if is_plain)
        for chapter, cards in found.items()
    }


def engine(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the measured trials compare with the closed form."""
    measured = [record["measured"] for record in records if "measured" in record]
    pairs = [tuple(pair) for m in measured for pair in m["verdicts"]]
    judged = [pair for pair in pairs if pair[0] != "invalid"]
    return {
        "models": len(measured),
        "largest_gap_nats": max((m["gap_nats"] for m in measured), default=None),
        "verdicts": len(pairs),
        "invalid": len(pairs) - len(judged),
        "unlike": sum(ours != theirs for ours, theirs in judged),
        "gates": gates(records),
    }


def gates(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Chapter -> name of a gate -> measured models in which it failed."""
    found: dict[str, dict[str, int]] = {}
    for record in records:
        for gate in record.get("gates", record.get("measured", {}).get("gates", ())):
            of_chapter = found.setdefault(record["chapter"], {})
            of_chapter[gate] = of_chapter.get(gate, 0) + 1
    return found


def models(counts: Counts, bins: Sequence[str]) -> int:
    """Models in these bins."""
    return sum(n for b in bins for n in counts.get(b, {}).values())


def rate(counts: Counts, bins: Sequence[str], verdict: str = "supported") -> Rate:
    """The share of the bins' models with this verdict."""
    return Rate(hits=sum(counts.get(b, {}).get(verdict, 0) for b in bins), n=models(counts, bins))


def clustered(pairs: Sequence[Sequence[int]]) -> tuple[float, float, float] | None:
    """Share and 95% interval over models of samples that share models; None for fewer than two models.

    A ratio estimate with its linearised standard error and Student's t; where no sample was supported, or every one
    was, the exact interval of as many models as there are.
    """
    hits, n = np.array([p[0] for p in pairs], dtype=float), np.array([p[1] for p in pairs], dtype=float)
    if len(n) < 2:
        return None
    share = float(hits.sum() / n.sum())
    if share in (0.0, 1.0):
        return (share, *Rate(hits=round(share * len(n)), n=len(n)).interval)
    from scipy.stats import t

    residual = hits - share * n
    error = math.sqrt(len(n) / (len(n) - 1) * float((residual**2).sum())) / float(n.sum())
    reach = float(t.ppf(0.975, len(n) - 1)) * error
    return share, max(0.0, share - reach), min(1.0, share + reach)


def least_size(counts: Counts, power: float = 0.95) -> str:
    """The first bin from which on every bin with models has at least this power; '-' where none has."""
    found = "-"
    for b in reversed(TRUE_BINS):
        here = rate(counts, [b])
        if here.n and here.value < power:
            break
        if here.n:
            found = b
    return found


def to_size(bin_name: str) -> float:
    """The upper edge of a bin."""
    return EDGES[BINS.index(bin_name) + 1]


def from_size(bin_name: str) -> float:
    """The lower edge of a bin."""
    return EDGES[BINS.index(bin_name)]
