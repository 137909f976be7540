"""What a reader is told of agreement by ranks, and on which side of a bound a resample that meets it counts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.verdicts.agreement import Pair, judge_least
from harness.verdicts.verdict import Verdict

CLUSTERS = Clusters((("a", "t0"), ("a", "t0"), ("a", "t1")))


def pair(value: float, other: float, others: int) -> Pair:
    """999 resamples, all at the value but some, which are at another."""
    draws = np.full(999, value)
    draws[:others] = other
    return Pair(one="short", two="long", value=value, draws=draws, clusters=CLUSTERS)


@pytest.mark.parametrize(
    ("value", "other", "verdict", "p"),
    [
        (0.75, 0.5, Verdict.SUPPORTED, "p = 0.002"),  # at what is asked for is enough
        (0.75, 0.25, Verdict.INCONCLUSIVE, "p = 0.202"),
        (0.5, 0.5, Verdict.SUPPORTED, "p = 0.002"),
        (0.25, 0.25, Verdict.REFUTED, "p = 0.002"),
        (0.25, 0.5, Verdict.INCONCLUSIVE, "p = 0.202"),  # and so speaks against a refutation
        (0.25, 0.75, Verdict.INCONCLUSIVE, "p = 0.202"),
    ],
)
def test_a_resample_that_just_agrees_speaks_for_the_claim(
    value: float, other: float, verdict: Verdict, p: str
) -> None:
    found = judge_least([pair(value, other, 100)], 0.5, "of the top 3")
    low, high = sorted((value, other))
    assert (found.verdict, found.sentence) == (
        verdict,
        f"Least alike are short and long: {value:g} [{low:g}, {high:g}] of the top 3 (3 prompts, 2 templates); 0.5 is "
        f"asked for ({p}).",
    )
    assert found.p_value == pytest.approx(float(p.removeprefix("p = ")))
    assert found.estimate == Estimate(
        value=value, low=low, high=high, unit="of the top 3", n_prompts=3, n_templates=2
    )
