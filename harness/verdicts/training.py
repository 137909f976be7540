"""Judging criteria on adapters: Contrast, FamilyLeads, TrainedWithin, TrainedSlope; families apart, and negations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from harness.edits import Probe
from harness.effects import Effects, PromptRecord
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.training_criteria import (
    Contrast,
    FamilyLeads,
    OfFamilies,
    Term,
    TrainedSlope,
    TrainedWithin,
)
from harness.verdicts.trainings import decide_in_each, say_seeds, seed_means
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

_OPPOSITE = {Verdict.SUPPORTED: Verdict.REFUTED, Verdict.REFUTED: Verdict.SUPPORTED}


def of_families(criterion: OfFamilies, measured: Measured) -> Measured:
    """The tables that a criterion reads, on the prompts of some families. Raises MissingEvidence for one without."""
    tables = {}
    for name in criterion.experiments:
        table = measured.table(name)
        if absent := [family for family in criterion.families if family not in table.families]:
            raise MissingEvidence(
                f"no prompt of {', '.join(absent)} was measured in '{name}' ({', '.join(table.families)} were)"
            )
        keep = [i for i, prompt in enumerate(table.prompts) if prompt.family in criterion.families]
        tables[name] = replace(
            table,
            prompts=tuple(table.prompts[i] for i in keep),
            metrics={metric: values[:, keep] for metric, values in table.metrics.items()},
            baseline={metric: values[keep] for metric, values in table.baseline.items()},
        )
    return Measured(tables=tables, n_layers=measured.n_layers)


def opposite(found: Finding) -> Finding:
    """The finding of the negation."""
    return replace(found, verdict=_OPPOSITE.get(found.verdict, found.verdict))


def judge_contrast(criterion: Contrast, measured: Measured) -> Finding:
    """Supported: the interval of the mean lies on its side of the bound, as each seed's mean does; refuted: beyond."""
    table = measured.table(criterion.experiment)
    values = _sum(table, criterion.terms, criterion.metric)
    if problem := _problem(values, table.prompts, criterion.what):
        return invalid(problem)
    found = sample(Clusters.of(table.prompts), values[None], criterion.metric)
    at_least, bound = criterion.at_most is None, criterion.at_most
    bound = criterion.at_least if bound is None else bound
    assert bound is not None
    sides = [2 * found.p_above(0, bound)], [2 * found.p_below(0, bound)]
    holds, fails = sides if at_least else sides[::-1]
    own = seed_means(values[None], table.prompts)
    verdict, p, _ = decide_in_each(holds, fails, (own - bound) if at_least else (bound - own))
    estimate = replace(found.estimate(0), unit=criterion.units)
    return Finding(
        verdict=verdict,
        sentence=f"{_capital(criterion.what)} is {estimate}{say_seeds(own[:, 0].tolist())}; {criterion.said} is asked "
        f"for ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def judge_family_leads(criterion: FamilyLeads, measured: Measured) -> Finding:
    """Supported: its lead over every other family is above 0, in each seed too; refuted: some other is ahead of it.

    The estimate is its lead over the strongest of the others.
    """
    table = measured.table(criterion.experiment)
    names = list(criterion.sums)
    if absent := [family for family in names if family not in table.families]:
        raise MissingEvidence(f"no prompt of {', '.join(absent)} was measured in '{criterion.experiment}'")
    sums = {name: _sum(table, terms, criterion.metric) for name, terms in criterion.sums.items()}
    sign = 1.0 if criterion.which == "largest" else -1.0
    own = [i for i, prompt in enumerate(table.prompts) if prompt.family in sums]
    prompts = tuple(table.prompts[i] for i in own)
    values = np.array([sums[table.prompts[i].family][i] for i in own])
    if problem := _problem(values, prompts, criterion.what):
        return invalid(problem)
    rivals = [name for name in names if name != criterion.family]
    holds, fails, leads, by_seed = [], [], [], []
    for rival in rivals:
        both = [i for i, prompt in enumerate(prompts) if prompt.family in (criterion.family, rival)]
        there = [prompts[i] for i in both]
        side = np.array([1.0 if prompt.family == criterion.family else -1.0 for prompt in there])
        # two families weigh a half each: the mean of this is their difference
        lead = 2.0 * sign * side * values[both]
        found = sample(Clusters.of(there), lead[None], criterion.metric)
        holds.append(2 * found.p_above(0, 0.0))
        fails.append(2 * found.p_below(0, 0.0) * len(rivals))
        leads.append(found.estimate(0))
        by_seed.append(seed_means(lead[None], there)[:, 0])
    verdict, p, split = decide_in_each(holds, fails, np.stack(by_seed, axis=1))
    means = {name: _mean_of(values, prompts, name) for name in names}
    order = sorted(means, key=lambda name: -means[name])
    said = ", ".join(f"{name} {format_number(means[name])}" for name in order)
    strongest = min(range(len(rivals)), key=lambda i: leads[i].value)
    lead_by = replace(leads[strongest], unit=f"{leads[strongest].unit} of lead over {rivals[strongest]}")
    return Finding(
        verdict=verdict,
        sentence=f"{_capital(criterion.what)}: {said}; {criterion.family} is claimed {criterion.which}, and has "
        f"{lead_by} ({say_p(p)}).{split}",
        estimate=lead_by,
        p_value=p,
    )


def judge_trained_within(criterion: TrainedWithin, measured: Measured) -> Finding:
    """Supported: within the bounds in every training; refuted: in none."""
    found = _per_training(measured, criterion.experiment, criterion.probe, criterion.metric)
    if bad := _not_finite(found, criterion.metric, criterion.probe):
        return invalid(bad)
    said = f"{criterion.metric} of '{criterion.probe}' is {_say(found)}; {criterion.said} is asked for"
    return _in_every(criterion, found, said)


def judge_trained_slope(criterion: TrainedSlope, measured: Measured) -> Finding:
    """Supported: the slope lies within the bounds in every training; refuted: in none."""
    xs = list(criterion.over)
    rows = {x: _per_training(measured, criterion.experiment, criterion.over[x], criterion.metric) for x in xs}
    for x in xs:
        if bad := _not_finite(rows[x], criterion.metric, criterion.over[x]):
            return invalid(bad)
        if min(rows[x].values()) <= 0.0:
            return invalid(
                f"{criterion.metric} of '{criterion.over[x]}' is {min(rows[x].values())}, of which there is no log"
            )
    seeds = list(rows[xs[0]])
    logs = np.log(np.array([[rows[x][seed] for seed in seeds] for x in xs]))
    slopes = np.polyfit(np.log(xs), logs, 1)[0]
    found = dict(zip(seeds, slopes.tolist(), strict=True))
    ends = ", ".join(f"{format_number(float(np.exp(logs[i]).mean()))} at {xs[i]}" for i in range(len(xs)))
    said = (
        f"{criterion.metric} is {ends}: a slope of {_say(found)} over log {criterion.x}; {criterion.said} is asked "
        "for"
    )
    return _in_every(criterion, found, said)


def _sum(table: Effects, terms: Sequence[Term], metric: str) -> Float[np.ndarray, " prompts"]:
    """The weighted sum of rows on each prompt. Raises MissingEvidence for a row or metric that was not measured."""
    total = np.zeros(len(table.prompts))
    for term in terms:
        try:
            row = table.baseline[metric] if term.of is None else table.values(metric)[table.row(term.of)]
        except KeyError as error:
            what = f"{metric} of '{term.of or 'base'}'"
            raise MissingEvidence(f"the table holds no {what} ({error.args[0]})") from None
        total = total + term.weight * row
    return total


def _problem(values: np.ndarray, prompts: Sequence[PromptRecord], what: str) -> str | None:
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return None
    return (
        f"{what} is {values[bad[0]]} on the prompt {prompts[bad[0]].text!r}; {len(bad)} of {len(values)} values are "
        "not finite"
    )


def _mean_of(values: np.ndarray, prompts: Sequence[PromptRecord], family: str) -> float:
    keep = [i for i, prompt in enumerate(prompts) if prompt.family == family]
    clusters = Clusters.of([prompts[i] for i in keep])
    return float(clusters.template_means(values[None, keep])[0] @ clusters.weights)


def _per_training(measured: Measured, experiment: str, probe: Probe, metric: str) -> dict[int, float]:
    """A number of each training, by seed. Raises MissingEvidence where it differs from prompt to prompt."""
    table = measured.table(experiment)
    row = _sum(table, (Term(weight=1.0, of=probe),), metric)
    found = {}
    for seed in sorted({prompt.seed for prompt in table.prompts}):
        values = row[[i for i, prompt in enumerate(table.prompts) if prompt.seed == seed]]
        if np.isfinite(values).all() and np.ptp(values) > 1e-9 * np.abs(values).max():
            raise MissingEvidence(
                f"{metric} of '{probe}' differs between prompts: it is no number of a training"
            )
        found[seed] = float(values[0] if np.isfinite(values).all() else np.nan)
    return found


def _not_finite(found: dict[int, float], metric: str, probe: Probe) -> str | None:
    bad = [seed for seed, value in found.items() if not np.isfinite(value)]
    return f"{metric} of '{probe}' is not finite in seed {bad[0]}" if bad else None


def _in_every(criterion: TrainedWithin | TrainedSlope, found: dict[int, float], said: str) -> Finding:
    inside = [criterion.at_least <= value <= criterion.at_most for value in found.values()]
    verdict = (
        Verdict.SUPPORTED if all(inside) else Verdict.REFUTED if not any(inside) else Verdict.INCONCLUSIVE
    )
    return Finding(verdict=verdict, sentence=f"A number of each training, not of prompts: {said}.")


def _say(found: dict[int, float]) -> str:
    return ", ".join(f"{format_number(value)} (seed {seed})" for seed, value in found.items())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
