"""Judging identities: they hold on every prompt or they do not. Of prompts that were not asked a bound is told."""

from __future__ import annotations

import numpy as np

from harness.edits import Edit, Exit
from harness.statistics.estimate import format_number, unit_of
from harness.verdicts.cell_criteria import SameAsDeepest, WorstCase
from harness.verdicts.reading import Measured, Rows, invalid
from harness.verdicts.reserve import say_reserve
from harness.verdicts.selectors import Sets, Singles
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict


def judge_worst_case(criterion: WorstCase, measured: Measured) -> Finding:
    """Supported when the largest |value| is at or below the limit, else refuted."""
    rows = measured.rows(criterion.experiment, criterion.select, criterion.metric)
    if rows.problem:
        return invalid(rows.problem)
    probe, prompt = np.unravel_index(int(np.argmax(np.abs(rows.values))), rows.values.shape)
    worst = float(np.abs(rows.values[probe, prompt]))
    holds = worst <= criterion.at_most
    return Finding(
        verdict=Verdict.SUPPORTED if holds else Verdict.REFUTED,
        sentence=f"An identity, not a statistic: over {rows.values.size} cells the "
        f"largest |{rows.metric}| is "
        f"{format_number(worst)} {unit_of(rows.metric)}, at '{rows.probes[probe]}' on the prompt "
        f"{rows.prompts[prompt].text!r}; {format_number(criterion.at_most)} is allowed."
        f"{' ' + say_reserve(rows.prompts) if holds else ''}",
    )


def judge_same_as_deepest(criterion: SameAsDeepest, measured: Measured) -> Finding:
    """Supported when every set of erased blocks gives its deepest block's numbers, within the tolerance.

    Raises MissingEvidence when the edits are not erasures, or the two tables hold different prompts.
    """
    worst, where, count = -1.0, "", 0
    for metric in ("kl_nats", "answer_logprob"):
        sets = measured.rows("layer_sets", Sets(), metric)
        singles = measured.rows("layer_sweep", Singles(), metric)
        _check(sets, singles)
        if problem := sets.problem or singles.problem:
            return invalid(problem)
        deepest = {
            _blocks(probe)[-1]: values for probe, values in zip(singles.probes, singles.values, strict=True)
        }
        for probe, values in zip(sets.probes, sets.values, strict=True):
            layer = _blocks(probe)[-1]
            if layer not in deepest:
                raise MissingEvidence(f"'layer_sweep' lacks L{layer} alone, the deepest block of '{probe}'")
            gap = float(np.abs(values - deepest[layer]).max())
            count += 1
            if gap > worst:
                worst, where = gap, f"{metric} of '{probe}' against L{layer} alone"
    holds = worst <= criterion.tolerance_nats
    return Finding(
        verdict=Verdict.SUPPORTED if holds else Verdict.REFUTED,
        sentence=f"An identity, not a statistic: over {count} comparisons on every prompt "
        "the largest difference is "
        f"{format_number(worst)} nats, in {where}; {format_number(criterion.tolerance_nats)} is allowed."
        f"{' ' + say_reserve(sets.prompts) if holds else ''}",
    )


def _check(sets: Rows, singles: Rows) -> None:
    for probe in (*sets.probes, *singles.probes):
        if isinstance(probe, Exit) or not str(probe).startswith("erase"):
            raise MissingEvidence(
                f"SameAsDeepest is about erased blocks; '{probe}' is none (use protocol published)"
            )
    if sets.prompts != singles.prompts:
        raise MissingEvidence(
            "'layer_sets' and 'layer_sweep' hold different prompts: measure both on the same draw"
        )


def _blocks(probe: object) -> tuple[int, ...]:
    assert isinstance(probe, Edit)
    return probe.blocks
