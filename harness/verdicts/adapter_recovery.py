"""Judging what of an adapted run can be carried over: AdapterRecovery, RecoveryDepth, RecoveryDepthsAgree.

A share of KL(adapted || base), or of the change of the answer's log-probability, is judged through differences that are
linear in the prompts, as for any share: "the recovery is at least c" holds where the mean of (1 - c) base - row is at
least 0, and it is printed with the shares that this does not reject. Of several trainings, each by itself must say as
much.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.effects import PromptRecord
from harness.statistics.bootstrap import bootstrap_p, percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.statistics.ratio import ratio_interval
from harness.verdicts.adapter_criteria import (
    LEAST_TEMPLATES,
    AdapterRecovery,
    Measure,
    OfRecovery,
    RecoveryDepth,
    RecoveryDepthsAgree,
)
from harness.verdicts.adapter_reading import Series, read_series
from harness.verdicts.adapter_selectors import EVERY_BLOCK, BlockSet, On
from harness.verdicts.adapters import undecided
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.trainings import decide_in_each, seed_means, seeds_of
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What is left to the adapted run, of the rows and of the base, on the prompts above the gate.

    The KL, or the difference of the answer's log-probability, turned so that its mean is above 0 for the base; nats.
    """

    layers: tuple[int, ...]
    rows: Float[np.ndarray, "rows prompts"]
    base: Float[np.ndarray, " prompts"]
    prompts: tuple[PromptRecord, ...]
    seeds: tuple[int, ...]
    """Of all prompts, those below the gate too: one training each."""
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
    excess = sample(clusters, sign * ((1.0 - share) * found.base - lost), criterion.metric)
    means = sample(clusters, np.vstack([lost, found.base]), criterion.metric)
    n = len(lost)
    holds = np.array([min(1.0, 2 * excess.p_above(i, 0.0)) for i in range(n)])
    fails = np.array([min(1.0, 2 * n * excess.p_below(i, 0.0)) for i in range(n)])
    own = seed_means(np.vstack([lost, found.base]), found.prompts, found.seeds)
    own_recovery = 1.0 - own[:, :-1] / _above_0(own[:, -1:])
    verdict, p, split = decide_in_each(holds, fails, sign * (own_recovery - share), own_recovery)
    decisive = fails == fails.min() if verdict is Verdict.REFUTED else holds == holds.max()
    worst = int(np.argmin(np.where(decisive, excess.value, np.inf)))
    base = float(means.value[-1])
    low, high = ratio_interval(clusters, found.base - lost[worst], found.base, at=share)
    estimate = replace(
        excess.estimate(worst),
        value=1.0 - float(means.value[worst]) / base,
        low=low,
        high=high,
        unit=f"of the way {criterion.way}{criterion.whose}",
    )
    return Finding(
        verdict=verdict,
        sentence=f"{names[worst]} {estimate}; {criterion.bound} is asked for ({say_p(p)}).{split} {found.said}",
        estimate=estimate,
        p_value=p,
    )


def judge_depth(criterion: RecoveryDepth, measured: Measured) -> Finding:
    """Supported where the resamples' interval lies within the bounds; refuted beyond one of them (Bonferroni)."""
    found = _read(criterion, measured)
    if isinstance(found, Finding):
        return found
    than = None if criterion.than is None else _read(criterion.other, measured)
    if isinstance(than, Finding):
        return than
    value, draws = _depths(criterion, found, than)
    if np.isnan(value):
        return undecided(
            f"Over all blocks the contributions recover nothing that half could be of. {found.said}"
        )
    bounds = ((criterion.at_least, 1.0), (criterion.at_most, -1.0))
    edges = [(edge, sign) for edge, sign in bounds if edge is not None]
    holds = [2 * bootstrap_p(~(sign * (draws - edge) >= -ROUNDING)) for edge, sign in edges]
    fails = [2 * len(edges) * bootstrap_p(~(sign * (draws - edge) < -ROUNDING)) for edge, sign in edges]
    own = _depths_by_seed(criterion, found, than)
    own_excess = np.stack([sign * (own - edge) for edge, sign in edges], axis=1)
    verdict, p, split = decide_in_each(holds, fails, own_excess, np.repeat(own[:, None], len(edges), axis=1))
    estimate = _estimate(value, draws, found.clusters, least=0.0 if than is None else -1.0)
    if than is not None:
        return Finding(
            verdict=verdict,
            sentence=f"{criterion.level:.0%} of the recovery{criterion.whose} of {criterion.rows} is reached later "
            f"than with it {criterion.than}, by {estimate} ({say_p(p)}).{split} {found.said}",
            estimate=estimate,
            p_value=p,
        )
    n = measured.n_layers
    where = "in no block" if value == 1.0 else f"at L{round(value * n)} of {n}"
    return Finding(
        verdict=verdict,
        sentence=f"{criterion.level:.0%} of the recovery{criterion.whose} of {criterion.rows} is reached {where}: "
        f"{estimate} ({say_p(p)}).{split} {found.said}",
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
        sentence=f"{criterion.level:.0%} of the recovery{criterion.whose} is reached at {a:.2f} of the depth in {one} "
        f"and at {b:.2f} in {two}: a difference of {estimate}; {within:g} is allowed{late} ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def _read(criterion: OfRecovery, measured: Measured) -> Carried | Finding:
    """The rows and the base on the prompts above the gate; or why there is nothing to carry over.

    Where the base is brought back, the adapted model stands for the base and the base for the adapted model.
    """
    every = replace(criterion.rows, blocks=EVERY_BLOCK)
    gain = isinstance(criterion, AdapterRecovery) and criterion.take == "gain"
    select = every if gain else criterion.rows
    rows = read_series(measured, criterion.experiment, Measure(rows=select, metric=criterion.metric))
    kl = criterion.metric == "kl_nats"
    start = replace(every, on=On.WHOLE if every.on.is_back else On.NONE)
    base = read_series(measured, criterion.experiment, Measure(rows=start, metric=criterion.metric))
    whole = base if kl else _adapted(criterion, measured)
    if problem := rows.problem or base.problem or whole.problem:
        return invalid(problem)
    if not rows.prompts == base.prompts == whole.prompts:
        raise MissingEvidence(f"the rows of '{criterion.experiment}' were measured on different prompts")
    left, moved = rows.values, base.values[0]
    if not kl:
        left, moved = whole.values[0] - left, whole.values[0] - moved
    gate = max(criterion.gate_nats, measured.table(criterion.experiment).floor_nats)
    on = np.abs(moved) >= gate
    kept = tuple(prompt for prompt, keep in zip(rows.prompts, on, strict=True) if keep)
    templates = len({(prompt.family, prompt.template) for prompt in kept})
    said = (
        f"{len(kept)} of {len(on)} prompts, of {templates} templates, are moved by {format_number(gate)} nats or "
        "more."
    )
    if templates < LEAST_TEMPLATES:
        return undecided(f"There is too little to carry over: {said} Templates needed are {LEAST_TEMPLATES}.")
    way = sample(Clusters.of(kept), moved[None, on], criterion.metric)
    if not kl and min(2 * way.p_above(0, 0.0), 2 * way.p_below(0, 0.0)) > ALPHA:
        return undecided(
            f"{criterion.way.capitalize()} it is {way.estimate(0)}: no way of which to take a share. {said}"
        )
    side = float(np.sign(way.value[0]))
    return Carried(
        layers=rows.layers,
        rows=side * left[:, on],
        base=side * moved[on],
        prompts=kept,
        seeds=seeds_of(rows.prompts),
        said=said,
    )


def _adapted(criterion: OfRecovery, measured: Measured) -> Series:
    """The adapted model's own run: measured as such, or as the last block of a curve, which is it; the base's, of rows
    that bring it back.

    Raises MissingEvidence where there is neither.
    """
    if criterion.rows.on.is_back:
        own = replace(criterion.rows, on=On.NONE, blocks=EVERY_BLOCK)
        return read_series(measured, criterion.experiment, Measure(rows=own, metric=criterion.metric))
    last = replace(criterion.rows, blocks=BlockSet(layers=(-1,)))
    found = [replace(criterion.rows, on=On.WHOLE, blocks=EVERY_BLOCK)]
    found += [replace(last, on=on) for on in (On.LAST, On.ONLY_UP_TO)]
    for rows in found:
        with suppress(MissingEvidence):
            return read_series(measured, criterion.experiment, Measure(rows=rows, metric=criterion.metric))
    raise MissingEvidence(f"'{criterion.experiment}' holds no row of the adapted model itself")


def _lost(criterion: AdapterRecovery, found: Carried) -> tuple[Float[np.ndarray, "asked prompts"], list[str]]:
    """What of the base's way is not recovered, per recovery asked for, nats; and its name."""
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
    criterion: RecoveryDepth | RecoveryDepthsAgree, found: Carried, than: Carried | None = None
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """The depth, or how much later it is than another, observed and in each resample; NaN where contributions sum to
    nothing.
    """
    means = sample(found.clusters, _stacked(found, than), criterion.metric)
    depth = _apart(criterion, np.vstack([means.value, means.draws]), than)
    return float(depth[0]), depth[1:]


def _depths_by_seed(
    criterion: RecoveryDepth, found: Carried, than: Carried | None
) -> Float[np.ndarray, " trainings"]:
    return _apart(criterion, seed_means(_stacked(found, than), found.prompts, found.seeds), than)


def _stacked(found: Carried, than: Carried | None) -> Float[np.ndarray, "rows prompts"]:
    """All that depths are read from, resampled together. Raises MissingEvidence where prompts differ."""
    parts = [found] if than is None else [found, than]
    if any(part.prompts != found.prompts for part in parts):
        raise MissingEvidence("there and back, other prompts are moved: measure both with one adapter")
    return np.vstack([values for part in parts for values in (part.rows, part.base)])


def _apart(
    criterion: RecoveryDepth | RecoveryDepthsAgree,
    means: Float[np.ndarray, "resamples rows"],
    than: Carried | None,
) -> Float[np.ndarray, " resamples"]:
    if than is None:
        return _depths_of(criterion, means)
    n = len(than.rows) + 1
    depths = (_depths_of(criterion, part) for part in (means[:, :-n], means[:, -n:]))
    return np.asarray(np.subtract(*depths))


def _above_0(way: Float[np.ndarray, "resamples 1"]) -> Float[np.ndarray, "resamples 1"]:
    """NaN where it is not: a share of it means nothing."""
    return np.where(way > 0.0, way, np.nan)


def _depths_of(
    criterion: RecoveryDepth | RecoveryDepthsAgree, means: Float[np.ndarray, "resamples rows"]
) -> Float[np.ndarray, " resamples"]:
    """The depth by means of every row and, last, of the base; NaN without the latter as well."""
    recovery = 1.0 - means[:, :-1] / _above_0(means[:, [-1]])
    n = recovery.shape[1]
    if criterion.rows.on.is_curve:
        reached = recovery >= criterion.level - ROUNDING
        something = ~np.isnan(recovery).any(axis=1)
    else:
        up_to = np.cumsum(recovery, axis=1)
        something = up_to[:, -1] > 0.0
        reached = up_to >= criterion.level * up_to[:, [-1]] - ROUNDING
    depth = np.where(reached.any(axis=1), reached.argmax(axis=1) / n, 1.0)
    return np.where(something, depth, np.nan)


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
