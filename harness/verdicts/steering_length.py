"""Judging whether steering does less on some prompts than on others: SteeringWeakens.

What is tested is a mean over the questions that both sets of prompts ask, as that of a slope is: the slope in one set
less `factor` times that in the other. Nothing is divided, so that a slope near 0 is no trouble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from harness.effects import PromptRecord
from harness.statistics.bootstrap import Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.verdicts.deciding import decide
from harness.verdicts.matching import questions
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

    def on(self, prompts: list[int]) -> Slopes:
        """On these of its prompts."""
        kept = tuple(self.prompts[i] for i in prompts)
        return replace(self, values=self.values[:, prompts], prompts=kept)

    def at(self, chosen: tuple[int, int], first: Bool[np.ndarray, " prompt"]) -> Float[np.ndarray, " prompt"]:
        """Each prompt's at the block chosen for its half of the templates."""
        return np.asarray(np.where(first, self.values[chosen[0]], self.values[chosen[1]]))


def judge_weakens(criterion: SteeringWeakens, measured: Measured) -> Finding:
    """Supported: the difference below 0, and a slope above 0 where steering is strong; both at the 98% interval.

    Refuted: the difference above 0, even with the strong slope turned round: a direction that steers backwards, and on
    other prompts less so, gains nothing there. Compared are the questions that both tables ask; that there is a slope
    to lose is shown on all strong prompts, and has to be there on the compared ones. Each half of the templates is
    judged at the block with the largest slope on the strong prompts of the other half.
    """
    blocks, strong, weak = _read(criterion, measured)
    if problem := unusable(np.concatenate([strong.values, weak.values], axis=1)):
        return invalid(problem)
    asked = questions(strong.prompts, weak.prompts)
    if not asked:
        raise MissingEvidence(f"'{criterion.strong}' and '{criterion.weak}' share no question of the skill")
    first = halves(strong.prompts)
    chosen = _best(strong, ~first, criterion), _best(strong, first, criterion)
    everywhere = strong.at(chosen, first)
    rises = sample(Clusters.of(strong.prompts), everywhere[None], NATS)
    short, long = (list(found) for found in zip(*sorted(asked.items()), strict=True))
    paired = _paired(
        criterion.factor,
        everywhere[short],
        weak.on(long).at(chosen, first[short]),
        [strong.prompts[i] for i in short],
    )
    below = max(rises.p_above(0, 0.0), paired.p_below(2, 0.0), 0.0 if paired.value[0] > 0.0 else 1.0)
    above = max(paired.p_above(2, 0.0), paired.p_above(3, 0.0))
    verdict, p = decide(min(1.0, 2.0 * below), min(1.0, 2.0 * above))
    estimate = replace(paired.estimate(2), unit=UNIT)
    where = " and ".join(dict.fromkeys(f"L{blocks[i]}" for i in chosen))
    return Finding(
        verdict=verdict,
        sentence=f"At {where}, each half of the templates where the other half of {strong.experiment} chose, the slope "
        f"of {criterion.gain} is {_value(rises, 0)} on all {len(strong.prompts)} prompts of {strong.experiment}. On "
        f"the {len(short)} questions that both ask it is {_value(paired, 0)} there and {_value(paired, 1)} in "
        f"{weak.experiment}: the second less {criterion.factor:g} times the first is {estimate} ({say_p(p)}).",
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


def _paired(
    factor: float,
    strong: Float[np.ndarray, " pair"],
    weak: Float[np.ndarray, " pair"],
    prompts: Sequence[PromptRecord],
) -> Sampled:
    """Means of: the strong slope, the weak one, how far it exceeds its share, how far with the strong one turned round.

    The slopes of a pair are of one question, so that what its template adds to both is taken away in the difference.
    """
    rows = np.stack([strong, weak, weak - factor * strong, weak + factor * strong])
    return sample(Clusters.of(prompts), rows, NATS)


def _value(found: Sampled, i: int) -> str:
    low, high = found.interval(i)
    return f"{format_number(float(found.value[i]))} [{format_number(low)}, {format_number(high)}]"
