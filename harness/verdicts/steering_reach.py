"""Judging what steering moves besides: SteeringMoves, KlFallsWithDepth."""

from __future__ import annotations

import numpy as np

from harness.statistics.bootstrap import bootstrap_p, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.statistics.ranks import spearman
from harness.steering import read_steering
from harness.verdicts.agreement import rank_interval
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.steering_criteria import KlFallsWithDepth, SteeringMoves
from harness.verdicts.steering_table import (
    all_of,
    answer,
    bound_of,
    claimed,
    kept,
    measured_value,
    read_table,
    unusable,
)
from harness.verdicts.verdict import Finding, MissingEvidence


def judge_moves(criterion: SteeringMoves, measured: Measured) -> Finding:
    """The bound on the mean KL at every block and strength: intersection-union; refuted by one, Bonferroni."""
    table = read_table(measured, criterion.experiment)
    sign, bound = bound_of(criterion.at_least, criterion.at_most)
    edits = [table.at((layer,), s) for layer in criterion.layers or table.blocks for s in criterion.strengths]
    keep = ~table.of_skill if criterion.others else table.of_skill
    kl = np.array([table.metric(edit, "kl_nats")[keep] for edit in edits])
    if problem := unusable(kl):
        return invalid(problem)
    found = answer([all_of(sign * (kl - bound))], kept(table, keep))
    verdict, p = found.verdict
    estimate = measured_value(found, sign, bound, "nats")
    return Finding(
        verdict=verdict,
        sentence=f"'{edits[found.worst[1]].edit()}' moves {'other tasks' if criterion.others else 'the skill'} by "
        f"{estimate}; {claimed(criterion.at_least, criterion.at_most)} is claimed of {len(edits)} edits ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def judge_falls(criterion: KlFallsWithDepth, measured: Measured) -> Finding:
    """The 98% interval of Spearman's correlation, resampled over templates, on one side of the bound."""
    effects = measured.table(criterion.experiment)
    found = [(read_steering(probe), i) for i, probe in enumerate(effects.probes)]
    rows = [(s, i) for s, i in found if s is not None and s.direction.unit is criterion.unit]
    layers = sorted({s.layers[0] for s, _ in rows})
    if len(layers) < 3:
        raise MissingEvidence(
            f"'{criterion.experiment}' steers {len(layers)} blocks: a correlation needs three"
        )
    kl = np.array(
        [
            np.mean([effects.metrics["kl_nats"][i] for s, i in rows if s.layers == (b,)], axis=0)
            for b in layers
        ]
    )
    if problem := unusable(kl):
        return invalid(problem)
    sampled = sample(Clusters.of(effects.prompts), kl, "kl_nats")
    if np.ptp(sampled.value) == 0.0:
        return invalid("random directions move every block's prompts alike, so no depth is singled out")
    depth = np.array([layers], dtype=float)
    rho = float(spearman(depth, sampled.value[None])[0])
    draws = spearman(np.repeat(depth, len(sampled.draws), axis=0), sampled.draws)
    low, high = rank_interval(draws)
    below = 2 * bootstrap_p(~(draws <= criterion.at_most + ROUNDING))
    above = 2 * bootstrap_p(~(draws > criterion.at_most + ROUNDING))
    verdict, p = decide(below, above)
    estimate = Estimate(
        value=rho,
        low=low,
        high=high,
        unit="(Spearman)",
        n_prompts=sampled.clusters.n_prompts,
        n_templates=sampled.clusters.n_templates,
    )
    return Finding(
        verdict=verdict,
        sentence=f"Over {len(layers)} blocks the KL of random directions goes from "
        f"{format_number(float(sampled.value[0]))} at L{layers[0]} to {format_number(float(sampled.value[-1]))} at "
        f"L{layers[-1]}: {estimate}; at most {criterion.at_most:g} is claimed ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


ROUNDING = 1e-9
