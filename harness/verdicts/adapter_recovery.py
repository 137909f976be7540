"""Judging what of an adapted run can be carried over: AdapterRecovery, RecoveryDepth, RecoveryDepthsAgree.

A share of KL(adapted || base) is judged through differences that are linear in the prompts, as for any share: "the
recovery is at least c" holds where the mean of (1 - c) base - row is at least 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.effects import PromptRecord
from harness.statistics.bootstrap import bootstrap_p, percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.verdicts.adapter_criteria import (
    LEAST_TEMPLATES,
    AdapterRecovery,
    Measure,
    OfRecovery,
    RecoveryDepth,
    RecoveryDepthsAgree,
)
from harness.verdicts.adapter_reading import read_series
from harness.verdicts.adapter_selectors import EVERY_BLOCK, On
from harness.verdicts.adapters import undecided
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Carried:
    """kl_nats to the adapted run, of the rows and of the base, on the prompts above the gate."""

    layers: tuple[int, ...]
    rows: Float[np.ndarray, "rows prompts"]
    base: Float[np.ndarray, " prompts"]
    prompts: tuple[PromptRecord, ...]
    said: str
    """How many prompts there are, as a sentence."""

    @property
    def clusters(self) -> Clusters:
        """Clusters of the kept prompts."""
        return Clusters.of(self.prompts)


def judge_recovery(criterion: AdapterRecovery, measured: Measured) -> Finding:
    """Supported where each recovery asked for satisfies the bound; refuted where one violates it (Bonferroni)."""
    found = _read(criterion, measured)
    if isinstance(found, Finding):
        return found
    lost, names = _lost(criterion, found)
    clusters, share, sign = found.clusters, criterion.share, criterion.sign
    excess = sample(clusters, sign * ((1.0 - share) * found.base - lost), "kl_nats")
    means = sample(clusters, np.vstack([lost, found.base]), "kl_nats")
    n = len(lost)
    holds = np.array([min(1.0, 2 * excess.p_above(i, 0.0)) for i in range(n)])
    fails = np.array([min(1.0, 2 * n * excess.p_below(i, 0.0)) for i in range(n)])
    verdict, p = decide(float(holds.max()), float(fails.min()))
    decisive = fails == fails.min() if verdict is Verdict.REFUTED else holds == holds.max()
    worst = int(np.argmin(np.where(decisive, excess.value, np.inf)))
    base = float(means.value[-1])
    low, high = sorted(share + sign * edge / base for edge in excess.interval(worst))
    estimate = replace(
        excess.estimate(worst),
        value=1.0 - float(means.value[worst]) / base,
        low=low,
        high=high,
        unit="of the way from base to adapted",
    )
    return Finding(
        verdict=verdict,
        sentence=f"{names[worst]} {estimate}; {criterion.bound} is asked for ({say_p(p)}). {found.said}",
        estimate=estimate,
        p_value=p,
    )


def judge_depth(criterion: RecoveryDepth, measured: Measured) -> Finding:
    """Supported where the resamples' interval lies within the bounds; refuted beyond one of them (Bonferroni)."""
    found = _read(criterion, measured)
    if isinstance(found, Finding):
        return found
    value, draws = _depths(criterion, found)
    if np.isnan(value):
        return undecided(
            f"Over all blocks the contributions recover nothing that half could be of. {found.said}"
        )
    bounds = ((criterion.at_least, 1.0), (criterion.at_most, -1.0))
    edges = [(edge, sign) for edge, sign in bounds if edge is not None]
    holds = max(2 * bootstrap_p(~(sign * (draws - edge) >= -ROUNDING)) for edge, sign in edges)
    fails = min(2 * len(edges) * bootstrap_p(~(sign * (draws - edge) < -ROUNDING)) for edge, sign in edges)
    verdict, p = decide(holds, fails)
    estimate = _estimate(value, draws, found.clusters)
    n = measured.n_layers
    where = "in no block" if value == 1.0 else f"at L{round(value * n)} of {n}"
    return Finding(
        verdict=verdict,
        sentence=f"{criterion.level:.0%} of the recovery of {criterion.rows} is reached {where}: {estimate} "
        f"({say_p(p)}). {found.said}",
        estimate=estimate,
        p_value=p,
    )


def judge_depths_agree(criterion: RecoveryDepthsAgree, models: Mapping[str, Measured]) -> Finding:
    """Supported where the interval of the difference lies within the tolerance, and no depth lies before the least."""
    sides = []
    for model in criterion.models:
        if model not in models:
            raise MissingEvidence(f"'{model}' was not measured (there is: {', '.join(models) or 'nothing'})")
        found = _read(criterion, models[model])
        if isinstance(found, Finding):
            return replace(found, sentence=f"In {model}: {found.sentence}")
        value, draws = _depths(criterion, found)
        if np.isnan(value):
            return undecided(f"In {model} the contributions recover nothing that half could be of.")
        sides.append((value, draws, found.clusters))
    (a, a_draws, a_clusters), (b, b_draws, b_clusters) = sides
    difference, within = b_draws - a_draws, criterion.within
    asked = [(within - difference), (within + difference)]
    if criterion.at_least:
        asked += [a_draws - criterion.at_least, b_draws - criterion.at_least]
    holds = max(2 * bootstrap_p(~(room >= -ROUNDING)) for room in asked)
    fails = min(2 * len(asked) * bootstrap_p(~(room < -ROUNDING)) for room in asked)
    verdict, p = decide(holds, fails)
    fewer = min(a_clusters, b_clusters, key=lambda clusters: clusters.n_templates)
    estimate = _estimate(b - a, difference, fewer, least=-1.0)
    one, two = criterion.models
    late = f", neither before {criterion.at_least:.2g}" if criterion.at_least else ""
    return Finding(
        verdict=verdict,
        sentence=f"{criterion.level:.0%} of the recovery is reached at {a:.2f} of the depth in {one} and at {b:.2f} in "
        f"{two}: a difference of {estimate}; {within:g} is allowed{late} ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def _read(criterion: OfRecovery, measured: Measured) -> Carried | Finding:
    """The rows and the base on the prompts above the gate; or why there is nothing to carry over."""
    every = replace(criterion.rows, blocks=EVERY_BLOCK)
    gain = isinstance(criterion, AdapterRecovery) and criterion.take == "gain"
    rows, base = (
        read_series(measured, criterion.experiment, Measure(rows=select))
        for select in (every if gain else criterion.rows, replace(every, on=On.NONE))
    )
    if problem := rows.problem or base.problem:
        return invalid(problem)
    if rows.prompts != base.prompts:
        raise MissingEvidence(f"the rows of '{criterion.experiment}' were measured on different prompts")
    moved = base.values[0]
    gate = max(criterion.gate_nats, rows.floor_nats)
    on = moved >= gate
    kept = tuple(prompt for prompt, keep in zip(rows.prompts, on, strict=True) if keep)
    templates = len({(prompt.family, prompt.template) for prompt in kept})
    said = (
        f"{len(kept)} of {len(on)} prompts, of {templates} templates, are moved by {format_number(gate)} nats or "
        "more."
    )
    if templates < LEAST_TEMPLATES:
        return undecided(f"There is too little to carry over: {said} Templates needed are {LEAST_TEMPLATES}.")
    return Carried(layers=rows.layers, rows=rows.values[:, on], base=moved[on], prompts=kept, said=said)


def _lost(criterion: AdapterRecovery, found: Carried) -> tuple[Float[np.ndarray, "asked prompts"], list[str]]:
    """What of the base's KL is not recovered, per recovery asked for, nats; and its name."""
    on = criterion.rows.on
    if criterion.take == "each":
        return found.rows, [f"At L{at}, the adapter {on} recovers" for at in found.layers]
    if criterion.take == "sum":
        brought = (found.base - found.rows).sum(axis=0)
        return (found.base - brought)[None], [
            f"The contributions of {criterion.rows.blocks}, each grafted by itself, sum to"
        ]
    n_layers = len(found.layers)
    blocks = criterion.rows.blocks.of(n_layers)
    if not blocks or not 0 <= blocks[0] <= blocks[-1] < n_layers:
        raise MissingEvidence(f"the criterion names {criterion.rows.blocks} of a model of {n_layers} layers")
    before = found.rows[blocks[0] - 1] if blocks[0] else found.base
    gained = before - found.rows[blocks[-1]]
    return (found.base - gained)[None], [f"From L{blocks[0]} to L{blocks[-1]} the recovery grows by"]


def _depths(
    criterion: RecoveryDepth | RecoveryDepthsAgree, found: Carried
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """The depth, observed and in each resample; NaN where contributions sum to nothing."""
    means = sample(found.clusters, np.vstack([found.rows, found.base]), "kl_nats")
    both = np.vstack([means.value, means.draws])
    recovery = 1.0 - both[:, :-1] / both[:, [-1]]
    n = recovery.shape[1]
    if criterion.rows.on.is_curve:
        reached = recovery >= criterion.level - ROUNDING
        something = np.ones(len(reached), dtype=bool)
    else:
        up_to = np.cumsum(recovery, axis=1)
        something = up_to[:, -1] > 0.0
        reached = up_to >= criterion.level * up_to[:, [-1]] - ROUNDING
    depth = np.where(reached.any(axis=1), reached.argmax(axis=1) / n, 1.0)
    depth = np.where(something, depth, np.nan)
    return float(depth[0]), depth[1:]


def _estimate(
    value: float, draws: Float[np.ndarray, " resamples"], clusters: Clusters, least: float = 0.0
) -> Estimate:
    low, _ = percentile_interval(np.nan_to_num(draws, nan=least))
    _, high = percentile_interval(np.nan_to_num(draws, nan=1.0))
    return Estimate(
        value=value,
        low=low,
        high=high,
        unit="of the depth",
        n_prompts=clusters.n_prompts,
        n_templates=clusters.n_templates,
    )
