"""Judging steering across models: SteeringFalls, SteeringSigns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.effects import PromptRecord
from harness.statistics.bootstrap import bootstrap_p, percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.verdicts.comparable import comparable
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.steering_criteria import Gain, SteeringFalls, SteeringSigns
from harness.verdicts.steering_table import NATS, Asked, SteeringTable, answer, read_table
from harness.verdicts.verdict import Finding, MissingEvidence, combine

Models = Mapping[str, Measured]


def judge_falls_across(criterion: SteeringFalls, models: Models) -> Finding:
    """The 98% interval of one model's mean less `factor` times the other's, above 0; refuted below.

    A gain in the other model counts whatever its sign: the mean plus `factor` times the other's must be above 0 too.
    The two models are resampled by themselves: their prompts need not be the same.
    """
    means, draws, clusters = [], [], []
    for model in (criterion.strong, criterion.weak):
        values, prompts = _values(criterion, _table(models, model, criterion.experiment), model)
        if prompts is None or not np.isfinite(values).all():
            return invalid(
                f"in {model} there is nothing to compare: too few prompts with an answer, or no finite number"
            )
        found = sample(Clusters.of(prompts), values[None], NATS)
        means.append(float(found.value[0]))
        draws.append(found.draws[:, 0])
        clusters.append(found.clusters)
    weak = criterion.factor * np.random.default_rng(0).permutation(draws[1])
    sides = [draws[0] - weak] if criterion.knockout else [draws[0] - weak, draws[0] + weak]
    least = int(np.argmin([side.mean() for side in sides]))
    low, high = percentile_interval(sides[least])
    estimate = Estimate(
        value=means[0] - (1 - 2 * least) * criterion.factor * means[1],
        low=low,
        high=high,
        unit="nats",
        n_prompts=clusters[0].n_prompts,
        n_templates=clusters[0].n_templates,
    )
    above = max(min(1.0, 2 * bootstrap_p(side <= 0)) for side in sides)
    below = min(min(1.0, 2 * len(sides) * bootstrap_p(side >= 0)) for side in sides)
    verdict, p = decide(above, below)
    return Finding(
        verdict=verdict,
        sentence=f"The {'selectivity' if criterion.knockout else 'gain'} is {format_number(means[0])} nats in "
        f"{criterion.strong} and {format_number(means[1])} in {criterion.weak}: the first "
        f"{'plus' if least else 'less'} {format_number(criterion.factor)} times the second is {estimate} ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def judge_signs(criterion: SteeringSigns, models: Models) -> Finding:
    """Each model's mean slope beyond 0 on its side; combined as a card's criteria are."""
    findings = []
    for model, sign in criterion.signs.items():
        table = _table(models, model, criterion.experiment)
        layer = criterion.layers[model]
        layers = table.split if layer is None else (layer,)
        keep = table.of_skill
        slope = table.slope(layers, Gain.FORMS, criterion.window)[keep]
        if not np.isfinite(slope).all():
            return invalid(f"in {model} a slope is not finite")
        prompts = [p for p, kept in zip(table.prompts, keep, strict=True) if kept]
        found = answer([Asked(excess=sign * slope[None], need=1)], prompts)
        verdict, p = found.verdict
        value = sample(Clusters.of(prompts), slope[None], NATS).estimate(0)
        sentence = f"{model}: the slope is {value} per unit of strength ({say_p(p)})."
        findings.append(Finding(verdict=verdict, sentence=sentence, estimate=value, p_value=p))
    joint = combine(findings)
    said = " ".join(f.sentence for f in findings)
    return Finding(verdict=joint.verdict, sentence=said, estimate=joint.estimate, p_value=joint.p_value)


def _values(
    criterion: SteeringFalls, table: SteeringTable, model: str
) -> tuple[np.ndarray, Sequence[PromptRecord] | None]:
    """The gain or the selectivity, prompt by prompt; without prompts where there is nothing to compare."""
    layers = (criterion.layers[model],)
    if not criterion.knockout:
        keep = table.of_skill
        gains = table.gain(table.at(layers, criterion.strength), Gain.FORMS)[keep]
        return gains, [p for p, kept in zip(table.prompts, keep, strict=True) if kept]
    group = comparable(table, 0.1)
    if group is None:
        return np.zeros(0), None
    drops = -table.gain(table.at(layers, criterion.strength), Gain.ANSWER)
    return group.selectivity(drops[None])[0], group.prompts


def _table(models: Models, model: str, experiment: str) -> SteeringTable:
    if model not in models:
        raise MissingEvidence(
            f"the claim compares '{model}', which was not measured (there is: {', '.join(models)})"
        )
    return read_table(models[model], experiment)
