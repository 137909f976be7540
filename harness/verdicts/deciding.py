"""From the p-values of a claim and of its opposite to a verdict."""

from __future__ import annotations

from harness.statistics.estimate import ALPHA
from harness.verdicts.verdict import Verdict


def decide(p_holds: float, p_fails: float) -> tuple[Verdict, float]:
    """The verdict, and the p-value it rests on: at most 1, and that the claim holds where nothing is decided.

    Both p-values are two-sided: that the claim holds, and that it fails.
    """
    if p_holds <= ALPHA:
        return Verdict.SUPPORTED, p_holds
    if p_fails <= ALPHA:
        return Verdict.REFUTED, p_fails
    return Verdict.INCONCLUSIVE, min(1.0, p_holds)
