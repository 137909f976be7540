"""Judging bounds on chosen rows: EveryProbe, SomeProbe, CellWithin."""

from __future__ import annotations

import numpy as np

from harness.statistics.bootstrap import RESAMPLES, Sampled
from harness.statistics.estimate import ALPHA, format_number, unit_of
from harness.verdicts.cell_criteria import CellWithin, EveryProbe, SomeProbe
from harness.verdicts.reading import Measured, Rows, invalid, say_p
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

FLOOR = 2.0 / (RESAMPLES + 1)
"""The least two-sided p-value that RESAMPLES resamples can give."""


def judge_every(criterion: EveryProbe, measured: Measured) -> Finding:
    """Supported: each probe's 98% interval satisfies the bound (intersection-union: each at the full level).

    Refuted: at least one probe violates it at its Bonferroni-corrected interval (Holm's first step is the
    same).
    """
    rows = measured.rows(criterion.experiment, criterion.select, criterion.metric)
    if rows.problem:
        return invalid(rows.problem)
    sampled = rows.sampled()
    holds, fails = _p_values(sampled, criterion)
    # of the probes that are surely beyond, the one furthest beyond
    worst = _furthest(sampled.value, fails == fails.min(), criterion.at_most is not None)
    p_holds, p_fails = float(holds.max()), _corrected(rows, worst, float(fails.min()), criterion, side=1)
    if p_holds <= ALPHA:
        i = _furthest(sampled.value, holds == holds.max(), criterion.at_most is not None)
        verdict, p = Verdict.SUPPORTED, p_holds
        said = f"{criterion.bound} for all {len(holds)}; the nearest to it is"
    elif p_fails <= ALPHA:
        i, verdict, p = worst, Verdict.REFUTED, p_fails
        said = f"not {criterion.bound} for"
    else:
        i, verdict, p = int(np.argmax(holds)), Verdict.INCONCLUSIVE, p_holds
        said = f"undecided ({criterion.bound} is asked for) at"
    return _finding(rows, sampled, i, said, verdict, p)


def judge_some(criterion: SomeProbe, measured: Measured) -> Finding:
    """The dual: supported by one probe at its Bonferroni-corrected interval, refuted if all 98% ones fail."""
    rows = measured.rows(criterion.experiment, criterion.select, criterion.metric)
    if rows.problem:
        return invalid(rows.problem)
    sampled = rows.sampled()
    holds, fails = _p_values(sampled, criterion)
    best = _furthest(sampled.value, holds == holds.min(), criterion.at_least is not None)
    p_holds, p_fails = _corrected(rows, best, float(holds.min()), criterion, side=0), float(fails.max())
    if p_holds <= ALPHA:
        i, verdict, p, said = best, Verdict.SUPPORTED, p_holds, f"{criterion.bound} for"
    elif p_fails <= ALPHA:
        i = _furthest(sampled.value, fails == fails.max(), criterion.at_least is not None)
        verdict, p = Verdict.REFUTED, p_fails
        said = f"{criterion.bound} for none of {len(fails)}; the nearest to it is"
    else:
        i, verdict, p = best, Verdict.INCONCLUSIVE, p_holds
        said = f"undecided ({criterion.bound} is asked for) at"
    return _finding(rows, sampled, i, said, verdict, p)


def judge_cell(criterion: CellWithin, measured: Measured) -> Finding:
    """Supported: the 98% interval lies inside target +- tolerance. Refuted: it lies outside.

    Else inconclusive.
    """
    rows = measured.rows(criterion.experiment, criterion.select, criterion.metric)
    if len(rows.probes) != 1:
        raise MissingEvidence(
            f"'{criterion.select}' selects {len(rows.probes)} probes of "
            f"'{criterion.experiment}'; CellWithin is about one"
        )
    if rows.problem:
        return invalid(rows.problem)
    sampled = rows.sampled()
    low, high = criterion.target - criterion.tolerance, criterion.target + criterion.tolerance
    p_in = min(1.0, 2 * max(sampled.p_above(0, low), sampled.p_below(0, high)))
    p_out = min(1.0, 2 * min(sampled.p_below(0, low), sampled.p_above(0, high)))
    if p_in <= ALPHA:
        verdict, p, where = Verdict.SUPPORTED, p_in, "inside"
    elif p_out <= ALPHA:
        verdict, p, where = Verdict.REFUTED, p_out, "outside"
    else:
        verdict, p, where = Verdict.INCONCLUSIVE, p_in, "across an edge of"
    unit = unit_of(criterion.metric)
    return _finding(
        rows, sampled, 0, f"{where} {format_number(low)} to {format_number(high)} {unit}, being", verdict, p
    )


def _p_values(sampled: Sampled, criterion: EveryProbe | SomeProbe) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p-values, per probe, that the bound holds and that it fails."""
    if criterion.at_most is not None:
        bound, p_holds, p_fails = criterion.at_most, sampled.p_below, sampled.p_above
    else:
        assert criterion.at_least is not None
        bound, p_holds, p_fails = criterion.at_least, sampled.p_above, sampled.p_below
    n = range(len(sampled.value))
    holds = np.array([min(1.0, 2 * p_holds(i, bound)) for i in n])
    fails = np.array([min(1.0, 2 * p_fails(i, bound)) for i in n])
    return holds, fails


def _corrected(rows: Rows, i: int, p: float, criterion: EveryProbe | SomeProbe, *, side: int) -> float:
    """The least p-value, that of probe i, times the number of probes asked about (Bonferroni).

    Where even the least that RESAMPLES can give would not be small after that, probe i is resampled more finely.
    """
    if p <= FLOOR and FLOOR * rows.n_asked > ALPHA / 5:
        p = float(_p_values(rows.sampled_finely(i), criterion)[side][0])
    return min(1.0, p * rows.n_asked)


def _furthest(value: np.ndarray, among: np.ndarray, highest: bool) -> int:
    return int(np.argmax(np.where(among, value if highest else -value, -np.inf)))


def _finding(rows: Rows, sampled: Sampled, i: int, said: str, verdict: Verdict, p: float) -> Finding:
    estimate = sampled.estimate(i)
    return Finding(
        verdict=verdict,
        sentence=f"{rows.metric} is {said} '{rows.probes[i]}': {estimate}, {say_p(p)}.",
        estimate=estimate,
        p_value=p,
    )
