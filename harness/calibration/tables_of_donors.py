"""Made-up tables of what a donor that was not trained brings into the base (chapter 14).

What a graft adds to the answer scatters, and differs between trainings, as what a random update adds does
(`harness.calibration.tables_of_training`); a block is a group of the noise.

The truth of a rise that is to stay below a bound is the bound over the largest rise: `harness.calibration.truth` has
none of a drop that is to be at least a number below 0.
"""

from __future__ import annotations

import numpy as np

from harness.adapters.values import Adapted
from harness.calibration.asked import Asked, Levels, Made, below
from harness.calibration.population import Sampler, Tables, effects
from harness.calibration.tables_of_adapters import by_training
from harness.calibration.tables_of_training import SMALL_LEAST, TRAINED_SD, names_of_families
from harness.experiments import EXPERIMENTS
from harness.statistics.estimate import ANSWER_DROP
from harness.verdicts.adapter_selectors import block_of
from harness.verdicts.criteria import EveryProbe, OfFamilies

ELSEWHERE = 0.3
"""A graft adds up to so much, nats, or takes it off, on the families that the card does not ask about."""


def inert(asked: Asked) -> Made:
    """The largest rise of all grafts as far from the bound as wanted; others rise less, or fall."""
    criteria = asked.the(OfFamilies)
    bounds = [_bound(criterion) for criterion in criteria]
    ((experiment, least),) = {(bound.experiment, bound.at_least) for bound in bounds}
    ((families,),) = ({criterion.families for criterion in criteria},)
    assert least is not None
    probes = [p for b in bounds for p in asked.probes(experiment, b.select) if isinstance(p, Adapted)]
    added = _either_sign(asked, below(asked.rng, len(probes), -least / asked.target))
    names, definition = names_of_families(asked, experiment), EXPERIMENTS[experiment]
    gains = asked.rng.uniform(-ELSEWHERE, ELSEWHERE, (len(probes), len(names)))
    gains[:, np.isin(names, families)] = added[:, None]
    scale = np.abs(added).clip(min=SMALL_LEAST).tolist()
    groups = [block_of(probe) for probe in probes]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        factors = by_training(sampler, prompts, ["the random update"], TRAINED_SD)
        base = sampler.uniform(-9.0, -5.0, len(prompts))
        found = base + factors * sampler.signed(prompts, gains, groups, scale)
        metric = "answer_logprob"
        return {experiment: effects(probes, prompts, {metric: found}, {metric: base})}

    return Made(population=population, size=-least / float(added.max()))


def _bound(criterion: OfFamilies) -> EveryProbe:
    bound = criterion.criterion
    assert isinstance(bound, EveryProbe)
    assert bound.metric == ANSWER_DROP
    return bound


def _either_sign(asked: Asked, levels: Levels) -> Levels:
    """All but the largest with a random sign."""
    signs = asked.rng.choice([-1.0, 1.0], len(levels))
    return np.asarray(np.where(levels == levels.max(), levels, signs * levels))
