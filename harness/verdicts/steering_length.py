"""Judging whether steering does less on some prompts than on others: SteeringWeakens.

What is tested is a mean over prompts, as that of a slope is: the slopes on one set of prompts less `factor` times those
on the other, each set with templates of its own to resample. Nothing is divided, so that a slope near 0 is no trouble.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from harness.effects import PromptRecord
from harness.statistics.bootstrap import Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.robustness_criteria import SteeringWeakens
from harness.verdicts.steering_table import NATS, SteeringTable, halves, kept, read_table, unusable
from harness.verdicts.verdict import Finding, MissingEvidence

UNIT = "nats per unit of strength"


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """The slopes on the skill's prompts of one table, at the blocks that both tables steered."""

    experiment: str
    values: Float[np.ndarray, "block prompt"]
    prompts: tuple[PromptRecord, ...]

    def at(self, chosen: tuple[int, int], first: Bool[np.ndarray, " prompt"]) -> Float[np.ndarray, " prompt"]:
        """Each prompt's at the block chosen for its half of the templates."""
        return np.asarray(np.where(first, self.values[chosen[0]], self.values[chosen[1]]))


def judge_weakens(criterion: SteeringWeakens, measured: Measured) -> Finding:
    """Supported: the difference below 0, and a slope above 0 where steering is strong; both at the 98% interval.

    Refuted: the difference above 0, even with the strong slope turned round: a direction that steers backwards, and on
    other prompts less so, gains nothing there. Each half of the templates is judged at the block with the largest slope
    on the strong prompts of the other half.
    """
    blocks, strong, weak = _read(criterion, measured)
    if problem := unusable(np.concatenate([strong.values, weak.values], axis=1)):
        return invalid(problem)
    first = halves((*strong.prompts, *weak.prompts))
    own, other = np.split(first, [len(strong.prompts)])
    chosen = _best(strong, ~own, criterion), _best(strong, own, criterion)
    found = _sampled(criterion.factor, (strong, strong.at(chosen, own)), (weak, weak.at(chosen, other)))
    above, below = (min(1.0, 2.0 * max(found.p_above(i, 0.0) for i in rows)) for rows in ((0, 2), (3, 4)))
    verdict, p = decide(above, below)
    estimate = replace(found.estimate(3), unit=UNIT)
    said = [
        f"{_value(found, i)} in {slopes.experiment} ({len(slopes.prompts)} prompts)"
        for i, slopes in enumerate((strong, weak))
    ]
    where = " and ".join(dict.fromkeys(f"L{blocks[i]}" for i in chosen))
    return Finding(
        verdict=verdict,
        sentence=f"At {where}, each half of the templates where the other half of {strong.experiment} chose, the slope "
        f"of {criterion.gain} is {said[0]} and {said[1]}: the second less {criterion.factor:g} times the first is "
        f"{estimate} ({say_p(p)}).",
        estimate=estimate,
        p_value=p,
    )


def _read(criterion: SteeringWeakens, measured: Measured) -> tuple[tuple[int, ...], Slopes, Slopes]:
    """The blocks that both tables steered, and the slopes there."""
    strong, weak = (read_table(measured, name) for name in criterion.experiments)
    if strong.main != weak.main:
        raise MissingEvidence(
            f"'{criterion.strong}' steers by '{strong.main}' and '{criterion.weak}' by '{weak.main}'"
        )
    blocks = tuple(layer for layer in strong.blocks if layer in weak.blocks)
    if not blocks:
        raise MissingEvidence(f"no block was steered in '{criterion.strong}' and '{criterion.weak}' alike")

    def slopes(experiment: str, table: SteeringTable) -> Slopes:
        keep = table.of_skill
        values = np.array([table.slope((b,), criterion.gain, criterion.window)[keep] for b in blocks])
        return Slopes(experiment=experiment, values=values, prompts=tuple(kept(table, keep)))

    return blocks, slopes(criterion.strong, strong), slopes(criterion.weak, weak)


def _best(strong: Slopes, on: Bool[np.ndarray, " prompt"], criterion: SteeringWeakens) -> int:
    """Index of the block with the largest mean slope on some of the strong prompts."""
    if not on.any():
        raise MissingEvidence(
            f"'{criterion.strong}' has a single template: a block is chosen on some and judged on others"
        )
    clusters = Clusters.of([p for p, wanted in zip(strong.prompts, on, strict=True) if wanted])
    return int(np.argmax(clusters.template_means(strong.values[:, on]) @ clusters.weights))


def _sampled(factor: float, *slopes: tuple[Slopes, Float[np.ndarray, " prompt"]]) -> Sampled:
    """Means of: the strong slope, the weak one, how far it falls short, how far it exceeds, how far with a sign turned.

    The prompts of both tables stand side by side, with a table's name before the family's, so that each is resampled by
    itself; a prompt counts 0 in the mean of the other table.
    """
    prompts = [replace(p, family=f"{own.experiment} {p.family}") for own, _ in slopes for p in own.prompts]
    clusters = Clusters.of(prompts)
    rows, start = np.zeros((2, len(prompts))), 0
    for row, (own, values) in zip(rows, slopes, strict=True):
        share = len({p.family for p in own.prompts}) / len(clusters.families)
        row[start : start + len(values)] = values / share
        start += len(values)
    strong, weak = rows
    difference = weak - factor * strong
    return sample(clusters, np.stack([strong, weak, -difference, difference, weak + factor * strong]), NATS)


def _value(found: Sampled, i: int) -> str:
    low, high = found.interval(i)
    return f"{format_number(float(found.value[i]))} [{format_number(low)}, {format_number(high)}]"
