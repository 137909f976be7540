"""Judging RecoveryBound, DirectionsAgree, WholePatchIsOtherRun and PairsAlign."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool

from harness.edits import Edit, Stream
from harness.effects import Effects, PromptRecord
from harness.experiments import CLEAN
from harness.experiments.patching import DENOISING, LEAST_PAIRS, NOISING, Where
from harness.patching import GATE_NATS, RECOVERY, NotPatching, kept, recovered
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.statistics.ranks import spearman
from harness.verdicts.agreement import Pair, judge_least, kept_by_resamples, of_correlation
from harness.verdicts.cell_criteria import EveryProbe, SomeProbe
from harness.verdicts.cells import judge_every, judge_some
from harness.verdicts.patching_criteria import (
    DirectionsAgree,
    PairsAlign,
    RecoveryBound,
    WholePatchIsOtherRun,
)
from harness.verdicts.reading import Measured, Rows, invalid, say_p
from harness.verdicts.reserve import say_reserve
from harness.verdicts.selectors import Patched
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

TIES = 2
"""Decimals of a recovery that are ranked: blocks closer than a hundredth tie, so that rounding orders none."""


def judge_recovery(criterion: RecoveryBound, measured: Measured) -> Finding:
    """As EveryProbe, or SomeProbe, on the recovery of the pairs that separate; inconclusive where those are too few."""
    table = _table(measured, criterion.experiment)
    if not table.finite():
        return _not_finite(criterion.experiment)
    on = _kept(table)
    if too_few := _too_few(table, on):
        return too_few
    view = replace(measured, tables={criterion.experiment: recovered(table, on)})
    asked: dict[str, Any] = {
        "experiment": criterion.experiment,
        "select": criterion.select,
        "metric": RECOVERY,
        "at_least": criterion.at_least,
        "at_most": criterion.at_most,
        "rationale": criterion.rationale,
    }
    found = judge_some(SomeProbe(**asked), view) if criterion.some else judge_every(EveryProbe(**asked), view)
    return replace(found, sentence=f"{found.sentence} {_count(on)}")


def judge_directions(criterion: DirectionsAgree, measured: Measured) -> Finding:
    """Supported where the resamples' interval lies above the bound, refuted where it and the value lie below.

    Resamples scatter blocks that all but tie, which can only lower an agreement: they support too rarely.
    """
    tables = [_table(measured, name) for name in (DENOISING, NOISING)]
    for name, table in zip((DENOISING, NOISING), tables, strict=True):
        if not table.finite():
            return _not_finite(name)
    _check_pairs(*tables)
    on = _kept(tables[0]) & _kept(tables[1])
    if too_few := _too_few(tables[0], on):
        return too_few
    denoised, noised = (
        _rows(measured, name, recovered(table, on), criterion.select)
        for name, table in zip((DENOISING, NOISING), tables, strict=True)
    )
    n, clusters = len(denoised.values), Clusters.of(denoised.prompts)
    brought = sample(clusters, np.vstack([denoised.values, 1.0 - noised.values]), RECOVERY)
    value = float(spearman(brought.value[None, :n], brought.value[None, n:], decimals=TIES)[0])
    if not np.isfinite(value):
        return invalid(f"{criterion.select} gives the same recovery in every block: there are no ranks")
    draws = spearman(brought.draws[:, :n], brought.draws[:, n:], decimals=TIES)
    agree = partial(spearman, decimals=TIES)
    kept = [
        kept_by_resamples(brought.value[of], brought.draws[:, of], agree) for of in (slice(n), slice(n, None))
    ]
    pair = Pair(
        one="denoising",
        two="noising",
        value=value,
        draws=draws,
        clusters=clusters,
        reliabilities=(of_correlation(kept[0]), of_correlation(kept[1])),
    )
    found = judge_least(
        [pair],
        criterion.at_least,
        "Spearman",
        say=lambda estimate, p: (
            f"Over {n} blocks, denoising and noising by {criterion.select} agree at {estimate}; "
            f"{criterion.at_least:g} is asked for, {say_p(p)}."
        ),
    )
    return replace(found, sentence=f"{found.sentence} {_count(on)}")


def judge_whole_patch(criterion: WholePatchIsOtherRun, measured: Measured) -> Finding:
    """Supported where no log-probability of any whole patch is further from its donor run's own than the tolerance."""
    tables = {name: measured.table(name) for name in (DENOISING, NOISING)}
    _check_pairs(*tables.values())
    if floor := max(table.floor_nats for table in tables.values()):
        return _undecided(
            f"The noise floor of this arithmetic is {format_number(floor)} nats: measure in float32 (--dtype float32)."
        )
    worst, where, count = -1.0, "", 0
    for (name, table), metric in product(tables.items(), ("answer_logprob", "foil_logprob")):
        if not table.finite():
            return _not_finite(name)
        for row in _whole_rows(name, table, measured.n_layers):
            probe = table.probes[row]
            assert isinstance(probe, Edit)
            run = NOISING if probe.donor == CLEAN else DENOISING
            gap = np.abs(table.metrics[metric][row] - tables[run].baseline[metric])
            count += gap.size
            if gap.max() > worst:
                worst = float(gap.max())
                where = f"{metric} of '{probe}' in {name} on {table.prompts[int(gap.argmax())].text!r}"
    holds = worst <= criterion.tolerance_nats
    return Finding(
        verdict=Verdict.SUPPORTED if holds else Verdict.REFUTED,
        sentence=f"An identity, not a statistic: over {count} cells the largest difference from the run it was taken "
        f"from is {format_number(worst)} nats, in {where}; {format_number(criterion.tolerance_nats)} is allowed."
        f"{' ' + say_reserve(tables[DENOISING].prompts) if holds else ''}",
    )


def judge_pairs(criterion: PairsAlign, measured: Measured) -> Finding:
    """Supported where every pair keeps every rule; refuted by the first that does not, which is named."""
    tables = [measured.table(name) for name in (DENOISING, NOISING)]
    if len(tables[0].prompts) != len(tables[1].prompts):
        raise MissingEvidence(
            f"'{DENOISING}' and '{NOISING}' hold different draws: measure both on the same seeds"
        )
    broken = [
        f"{clean.text!r} and {corrupt.text!r} {problem}"
        for corrupt, clean in zip(tables[0].prompts, tables[1].prompts, strict=True)
        if (problem := _misaligned(clean, corrupt))
    ]
    n = len(tables[0].prompts)
    first = f", the first being {broken[0]}" if broken else ""
    return Finding(
        verdict=Verdict.REFUTED if broken else Verdict.SUPPORTED,
        sentence=f"An identity, not a statistic: {n - len(broken)} of {n} pairs can be patched position by "
        f"position{first}.",
    )


def _misaligned(clean: PromptRecord, corrupt: PromptRecord) -> str:
    """What keeps a pair from being patched position by position, or ''."""
    if clean.text == corrupt.text:
        return "are the same text"
    for name in ("family", "template", "seed", "answer", "foil", "n_tokens", "spots", "n_in_spots"):
        one, other = getattr(clean, name), getattr(corrupt, name)
        if one != other:
            return f"differ in {name}: {one!r} and {other!r}"
    if Where.CHANGED not in clean.spots:
        return "change no token before the last"
    return "" if clean.answer != clean.foil else "have the same answer"


def _check_pairs(denoising: Effects, noising: Effects) -> None:
    key = [
        [(p.family, p.template, p.seed, p.answer, p.foil) for p in t.prompts] for t in (denoising, noising)
    ]
    if key[0] != key[1]:
        raise MissingEvidence(
            f"'{DENOISING}' and '{NOISING}' hold different pairs: measure both on the same seeds"
        )


def _table(measured: Measured, name: str) -> Effects:
    table = measured.table(name)
    if "foil_logprob" not in table.metrics:
        raise MissingEvidence(f"'{name}' holds no foil_logprob: there is no logit difference to recover")
    return table


def _kept(table: Effects) -> Bool[np.ndarray, " prompts"]:
    try:
        return kept(table)
    except NotPatching as error:
        raise MissingEvidence(str(error)) from None


def _too_few(table: Effects, on: Bool[np.ndarray, " prompts"]) -> Finding | None:
    templates = {(p.family, p.template) for p, keep in zip(table.prompts, on, strict=True) if keep}
    if len(templates) >= LEAST_PAIRS:
        return None
    return _undecided(f"{_count(on)} They are of {len(templates)} templates; {LEAST_PAIRS} are needed.")


def _count(on: Bool[np.ndarray, " prompts"]) -> str:
    return f"{np.count_nonzero(on)} of {on.size} pairs separate clean from corrupt by {GATE_NATS:g} nat."


def _rows(measured: Measured, name: str, table: Effects, select: Patched) -> Rows:
    rows = replace(measured, tables={name: table}).rows(name, select, RECOVERY)
    return replace(
        rows, values=rows.values[np.argsort([p.layers[0] for p in rows.probes if isinstance(p, Edit)])]
    )


def _whole_rows(name: str, table: Effects, n_layers: int) -> list[int]:
    select = Patched(stream=Stream.RESID_POST, where=Where.ALL)
    rows = [i for i, probe in enumerate(table.probes) if select.keep(probe, n_layers)]
    if len(rows) != n_layers:
        raise MissingEvidence(f"'{name}' patches the whole stream in {len(rows)} of {n_layers} blocks")
    return rows


def _not_finite(name: str) -> Finding:
    return invalid(f"'{name}' holds log-probabilities that are not finite")


def _undecided(sentence: str) -> Finding:
    return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, p_value=1.0)
