"""Judging the hub's mechanism: WriterRaises, WriterLeads, EditShare.

A share of two effects is judged through the difference of one and the share of the other, which is linear in the
prompts: "a >= c b" holds where the mean of a - c b is at least 0. The interval shown is that difference's, as a share
of the mean of b, so that it lies beyond c exactly where the verdict says so; of several edits, that of the one which
the verdict rests on.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from harness.anatomy import Massive
from harness.edits import Probe
from harness.mechanism import MechanismEdit, mechanism_rows, read_massive
from harness.statistics.bootstrap import Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.statistics.paired import sign_flip
from harness.verdicts.criterion import SEPARATION_ALPHA
from harness.verdicts.deciding import decide
from harness.verdicts.mechanism_criteria import EditShare, WriterLeads, WriterRaises
from harness.verdicts.reading import Measured, Rows, invalid, say_p
from harness.verdicts.selectors import Writes
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

TABLE = "hub_mechanism"


def judge_writer_raises(criterion: WriterRaises, measured: Measured) -> Finding:
    """Supported where the 98% interval of the mean power of ten lies above the factor's; refuted below."""
    writer = _massive(measured)
    rows = measured.rows("massive_writes", Writes(layer=writer.layer), "rise_log10")
    if rows.problem:
        return invalid(rows.problem)
    sampled = rows.sampled()
    asked = math.log10(criterion.at_least)
    above, below = (min(1.0, 2 * p(0, asked)) for p in (sampled.p_above, sampled.p_below))
    estimate = sampled.estimate(0)
    factor, low, high = (format_number(10.0**x) for x in (estimate.value, estimate.low, estimate.high))
    verdict, p = decide(above, below)
    return Finding(
        verdict=verdict,
        sentence=f"L{writer.layer} multiplies dimension {writer.dim} of token 0 by {factor} [{low}, {high}] "
        f"({estimate.n_prompts} prompts, {estimate.n_templates} templates), {say_p(p)}.",
        estimate=estimate,
        p_value=p,
    )


def judge_writer_leads(criterion: WriterLeads, measured: Measured) -> Finding:
    """Supported: every other block from that depth on beaten. Refuted: one of them above it, or the writer not there.

    Inconclusive: a tie, or no other block to lead.
    """
    profile, writer = measured.profile, _massive(measured).layer
    profile.check_layer(writer)
    if profile.problem:
        return invalid(profile.problem)
    first = math.ceil(criterion.from_depth * profile.n_layers)
    if writer < first:
        return Finding(
            verdict=Verdict.REFUTED,
            sentence=f"The writer is L{writer}, before L{first}, from where on blocks are compared.",
        )
    rivals = [layer for layer in range(first, profile.n_layers) if layer != writer]
    if not rivals:
        return _undecided(
            f"The writer, L{writer}, is the only block from L{first} on: there is none to compare it with."
        )
    means = profile.template_means
    test = sign_flip(
        means[writer] - means[rivals], profile.clusters.weights, profile.clusters.rng("sign flips")
    )
    p_ahead = float(test.p.max()) if (test.statistic > 0).all() else 1.0
    p_behind = float(test.p_adjusted[test.statistic < 0].min(initial=1.0))
    rival = rivals[int(np.argmin(test.statistic))]
    estimate = profile.sampled.estimate(writer)
    said = (
        f"The writer, L{writer}, moves {estimate} when skipped; the strongest other from L{first} on is L{rival} "
        f"with {format_number(float(profile.sampled.value[rival]))}"
    )
    if p_ahead < SEPARATION_ALPHA:
        verdict, p, why = Verdict.SUPPORTED, p_ahead, say_p(p_ahead)
    elif p_behind < SEPARATION_ALPHA:
        verdict, p, why = Verdict.REFUTED, p_behind, f"which lies above it ({say_p(p_behind)})"
    else:
        verdict, p, why = Verdict.INCONCLUSIVE, min(p_ahead, 1.0), "which is a tie"
    return Finding(verdict=verdict, sentence=f"{said}, {why}.", estimate=estimate, p_value=p)


def judge_share(criterion: EditShare, measured: Measured) -> Finding:
    """Supported where each edit's 98% interval satisfies the bound; refuted where one violates it (Bonferroni).

    Inconclusive where there is no such edit, and where the whole is no effect that a share could be taken of, or its
    share lies below the arithmetic's noise floor.
    """
    parts, whole = (_rows(measured, kind) for kind in (criterion.edit, criterion.of))
    if len(whole.probes) != 1:
        raise MissingEvidence(f"'{criterion.of}' stands for {len(whole.probes)} edits; a share is of one")
    if problem := parts.problem or whole.problem:
        return invalid(problem)
    if not parts.probes:
        return _undecided(f"This model has no such edit: {criterion.edit}.")
    clusters = Clusters.of(parts.prompts)
    means = sample(clusters, np.vstack([parts.values, whole.values]), "kl_nats")
    effect, floor = means.estimate(len(parts.probes)), measured.table(TABLE).floor_nats
    if effect.low < criterion.min_effect_nats:
        return _undecided(
            f"There is no effect to take a share of: {criterion.of} moves {effect}, and its lower bound is not "
            f"{format_number(criterion.min_effect_nats)} nats."
        )
    if criterion.share * effect.value < floor:
        return _undecided(
            f"{criterion.share:.0%} of what {criterion.of} moves lies below the noise floor of this "
            f"arithmetic, {format_number(floor)} nats: measure in float32 (--dtype float32)."
        )
    sign = 1.0 if criterion.at_least is not None else -1.0
    excess = replace(parts, values=sign * (parts.values - criterion.share * whole.values)).sampled()
    n = len(parts.probes)
    holds = np.array([min(1.0, 2 * excess.p_above(i, 0.0)) for i in range(n)])
    fails = np.array([min(1.0, 2 * n * excess.p_below(i, 0.0)) for i in range(n)])
    verdict, p = decide(float(holds.max()), float(fails.min()))
    # of the edits that the verdict rests on, the one furthest beyond the bound or nearest to it
    decisive = fails == fails.min() if verdict is Verdict.REFUTED else holds == holds.max()
    worst = int(np.argmin(np.where(decisive, excess.value, np.inf)))
    estimate = _share(criterion, means.value, worst, excess, sign)
    return Finding(
        verdict=verdict,
        sentence=f"'{parts.probes[worst]}' moves {estimate} of what '{whole.probes[0]}' moves "
        f"({format_number(float(means.value[worst]))} of {format_number(float(means.value[-1]))} nats; "
        f"{criterion.bound} is asked for), {say_p(p)}.",
        estimate=estimate,
        p_value=p,
    )


def _share(criterion: EditShare, value: np.ndarray, i: int, excess: Sampled, sign: float) -> Estimate:
    """Ratio of mean i to the last one; its bounds are those of the excess over the share asked for."""
    whole = float(value[-1])
    low, high = sorted(criterion.share + sign * bound / whole for bound in excess.interval(i))
    return replace(excess.estimate(i), value=float(value[i]) / whole, low=low, high=high, unit="of it")


def _undecided(sentence: str) -> Finding:
    return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, p_value=1.0)


def _massive(measured: Measured) -> Massive:
    return _read(measured.table(TABLE).probes)


def _rows(measured: Measured, kind: MechanismEdit) -> Rows:
    table = measured.table(TABLE)
    _read(table.probes)
    chosen = list(mechanism_rows(table.probes, kind, measured.n_layers))
    return Rows(
        probes=tuple(table.probes[i] for i in chosen),
        values=np.asarray(table.metrics["kl_nats"][chosen], dtype=float),
        prompts=table.prompts,
        metric="kl_nats",
    )


def _read(probes: tuple[Probe, ...]) -> Massive:
    try:
        return read_massive(probes)
    except ValueError as error:
        raise MissingEvidence(f"'{TABLE}' is not about one massive activation: {error}") from None
