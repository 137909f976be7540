"""Made-up tables of the chapters on what training changes (15), on rank and modules (16), and on its steps (17).

A seed is a training as well as a draw of prompts. What an adapter adds in one training is what it adds in the mean
training, times a log-normal factor of that adapter and seed (standard deviation TRAINED_SD); states of one training
share it, and merged adapters have the geometric mean of theirs. The truth is of the mean training. Gains scatter over
prompts in proportion to themselves: recorded are standard deviations of 0.5 to 1 times the mean. Profiles over blocks
are the same in every training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from harness.adapters.values import Adapted, Part
from harness.calibration.asked import (
    Asked,
    Levels,
    below,
    random_levels,
    reranked,
    rows,
    wanted_correlation,
)
from harness.calibration.population import Population, Sampler, Tables, effects
from harness.calibration.tables_of_adapters import by_training, inner
from harness.calibration.truth_of_adapters import LEAST_GAIN
from harness.effects import PromptRecord
from harness.experiments import EXPERIMENTS
from harness.statistics.ranks import spearman
from harness.verdicts.criteria import (
    ChangesDiffer,
    Contrast,
    FamilyLeads,
    OfFamilies,
    ProfileOf,
    RankAgreement,
    TopOverlap,
)

GAINED_SD = (0.5, 1.0)
"""Standard deviation of a gain over prompts, by its mean."""
TRAINED_SD = 0.1
OWN_LEAST, SMALL_LEAST = 1.0, 0.03
"""A gain below it, nats, scatters as one of this size: of trained adapters, and of random updates. Recorded standard
deviations are 0.4 to 1.3 nats on families that an adapter was not trained on, 0.01 to 0.05 of random updates."""
SPARED = 5.0
"""Distance of the criteria that are not to decide."""
ORDERS = 12
"""Sets of orders of which the one whose distances are nearest to the wanted is taken."""

ByFamily = Float[np.ndarray, " families"]


def raised(asked: Asked) -> Population:
    """What adapters add, each on some families: one is as far from the bound as wanted, the others clearly beyond."""
    criteria = asked.the(OfFamilies)
    near = asked.among(len(criteria))
    names = names_of_families(asked, _contrast(criteria[0]).experiment)
    gains: dict[Adapted, ByFamily] = {}
    least, reach = (OWN_LEAST, 0.3) if _contrast(criteria[0]).at_most is None else (SMALL_LEAST, 0.0)
    for i, criterion in enumerate(criteria):
        contrast = _contrast(criterion)
        (probe,) = (term.of for term in contrast.terms if term.of is not None)
        assert isinstance(probe, Adapted)
        target = asked.target if i == near else max(3.0, asked.target) + SPARED
        own = np.isin(names, criterion.families)
        gains[probe] = asked.rng.uniform(-reach, reach, len(names))
        gains[probe][own] += _gain(contrast, target) - gains[probe][own].mean()
    return gained(asked, _contrast(criteria[0]).experiment, gains, least)


def kept(asked: Asked) -> Population:
    """Sums of two adapters, and merges that lose of them: on one family as far from the bound as wanted."""
    criteria = asked.the(OfFamilies)
    near = asked.among(len(criteria))
    experiment = _contrast(criteria[0]).experiment
    names = names_of_families(asked, experiment)
    lost = np.zeros(len(names))
    pairs: dict[Adapted, Adapted] = {}
    for i, criterion in enumerate(criteria):
        contrast = _contrast(criterion)
        own = np.isin(names, criterion.families)
        lost[own] = _gain(contrast, asked.target if i == near else max(3.0, asked.target) + SPARED)
        probes = [term.of for term in contrast.terms if isinstance(term.of, Adapted)]
        pairs |= {sum_of: merge for merge, sum_of in zip(probes[::2], probes[1::2], strict=True)}
    definition = EXPERIMENTS[experiment]
    gains = asked.rng.uniform(0.5, 4.0, (len(pairs), len(names)))
    left = lost * asked.rng.dirichlet(np.full(len(pairs), 30.0))[:, None] * len(pairs)
    for k, name in enumerate(names):
        on = [any(part.family == name for part in probe.parts) for probe in pairs]
        left[on, k] *= lost[k] / left[on, k].mean()

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        scale = gains.max(axis=1).clip(min=OWN_LEAST).tolist()
        summed = sampler.signed(prompts, gains, [0] * len(pairs), scale)
        missed = np.abs(left).max(axis=1).clip(min=SMALL_LEAST).tolist()
        merged = summed + sampler.apart().signed(prompts, left, [0] * len(pairs), missed)
        base = sampler.uniform(-9.0, -5.0, len(prompts))
        factors = _trainings(sampler, prompts, list(pairs))
        metric, rows = "answer_logprob", [*pairs, *pairs.values()]
        values = base + np.vstack([summed * factors, merged * factors])
        return {experiment: effects(rows, prompts, {metric: values}, {metric: base})}

    return population


def stepping(asked: Asked) -> Population:
    """What a chain of recipes adds, each so much more than the one before; one step as far from the bound as wanted.

    Recipes start alike and see the same batches: what a training has of its own, they share.
    """
    criteria = asked.the(OfFamilies)
    near = asked.among(len(criteria))
    experiment = _contrast(criteria[0]).experiment
    names = names_of_families(asked, experiment)
    chain: list[Adapted] = []
    steps = asked.rng.uniform(-0.02, 0.02, (len(criteria), len(names)))
    for i, criterion in enumerate(criteria):
        contrast = _contrast(criterion)
        later, earlier = (term.of for term in contrast.terms)
        assert isinstance(later, Adapted)
        assert isinstance(earlier, Adapted)
        assert not chain or chain[-1] == earlier, "a chain: each step begins where the one before ended"
        chain += [later] if chain else [earlier, later]
        target = asked.target if i == near else max(3.0, asked.target) + SPARED
        steps[i, np.isin(names, criterion.families)] = _gain(contrast, target)
    first = asked.rng.uniform(0.5, 3.0, (1, len(names)))
    definition = EXPERIMENTS[experiment]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        factors = _trainings(sampler, prompts, chain)
        start = sampler.signed(prompts, first, [0], [max(OWN_LEAST, float(first.max()))]) * factors[:1]
        scale = np.abs(steps).max(axis=1).clip(min=SMALL_LEAST).tolist()
        added = sampler.apart().signed(prompts, steps, list(range(len(steps))), scale) * factors[1:]
        base = sampler.uniform(-9.0, -5.0, len(prompts))
        metric = "answer_logprob"
        values = base + np.cumsum(np.vstack([start, added]), axis=0)
        return {experiment: effects(chain, prompts, {metric: values}, {metric: base})}

    return population


def outdone(asked: Asked) -> Population:
    """What one row adds at the wanted ratio to what others add, on each of the families that are asked about."""
    criteria = asked.the(OfFamilies)
    near = asked.among(len(criteria))
    names = names_of_families(asked, _contrast(criteria[0]).experiment)
    gains: dict[Adapted, ByFamily] = {}
    for i, criterion in enumerate(criteria):
        contrast = _contrast(criterion)
        assert contrast.at_least == 0.0
        own = np.isin(names, criterion.families)
        target = asked.target if i == near else max(3.0, asked.target)
        taken = 0.0
        for term in sorted(contrast.terms, key=lambda term: term.weight):
            if term.of is None:
                continue
            assert isinstance(term.of, Adapted)
            row = gains.setdefault(term.of, asked.rng.uniform(-0.2, 0.3, len(names)))
            if term.weight < 0.0:
                row[own] = float(asked.rng.uniform(0.5, 4.0))
                taken -= term.weight * float(row[own].mean())
            else:
                row[own] = target * taken / term.weight
    return gained(asked, _contrast(criteria[0]).experiment, gains, OWN_LEAST)


def leading(asked: Asked) -> Population:
    """How far one adapter moves the prompts of each family: the named one at the wanted ratio to the next."""
    (criterion,) = asked.the(FamilyLeads)
    assert criterion.which == "largest"
    assert criterion.metric == "kl_nats"
    definition = EXPERIMENTS[criterion.experiment]
    names = names_of_families(asked, criterion.experiment)
    ((term,),) = set(criterion.sums.values())
    assert term.of is not None
    probe, own = term.of, names.index(criterion.family)
    top = float(asked.rng.uniform(0.2, 2.0))
    means = np.insert(below(asked.rng, len(names) - 1, top), own, asked.target * top)[None]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        moved = sampler.positive(prompts, means, [0])
        return {criterion.experiment: effects([probe], prompts, {"kl_nats": moved})}

    return population


def differing(asked: Asked) -> Population:
    """Changes of profile of several states, whose orders are as far apart as wanted."""
    (criterion,) = asked.the(ChangesDiffer)
    n = asked.n_layers
    apart = _orders(asked, len(criterion.after), asked.target * criterion.margin, criterion.margin)
    changes = np.sort(random_levels(asked.rng, n))
    base = float(asked.rng.uniform(0.1, 0.5)) * random_levels(asked.rng, n)
    wanted = {criterion.before: base}
    wanted |= {of: base + changes[order] for of, order in zip(criterion.after.values(), apart, strict=True)}
    return _profiles(asked, wanted)


def ranked(asked: Asked) -> Population:
    """Profiles of several states on some families: one agrees with the others as far as wanted."""
    (criterion,) = inner(asked).the(RankAgreement)
    first, *others = criterion.profiles
    levels = random_levels(asked.rng, asked.n_layers)
    odd = asked.among(len(others))
    wanted, under = wanted_correlation(criterion.at_least, asked.target)
    found = {
        of: reranked(asked.rng, levels, wanted, under=under) if i == odd else reranked(asked.rng, levels, 1.0)
        for i, of in enumerate(others)
    }
    return _profiles(asked, {first: levels, **found})


def sharing_top(asked: Asked) -> Population:
    """Profiles of several states on some families: one has `target` times as many of the strongest as asked for."""
    (criterion,) = inner(asked).the(TopOverlap)
    first, *others = criterion.profiles
    levels = np.sort(random_levels(asked.rng, asked.n_layers))[::-1]
    shared = min(criterion.k, int(asked.target * criterion.at_least))
    moved = levels.copy()
    lost = criterion.k - 1 - np.arange(criterion.k - shared)
    moved[lost], moved[lost + criterion.k] = levels[lost + criterion.k], levels[lost]
    shuffle, odd = asked.rng.permutation(asked.n_layers), asked.among(len(others))
    return _profiles(
        asked,
        {
            first: levels[shuffle],
            **{of: (moved if i == odd else levels)[shuffle] for i, of in enumerate(others)},
        },
    )


def _contrast(criterion: OfFamilies) -> Contrast:
    assert isinstance(criterion.criterion, Contrast)
    return criterion.criterion


def names_of_families(asked: Asked, experiment: str) -> list[str]:
    """Those of the experiment, in the order of the columns of means."""
    records = asked.suite.records(EXPERIMENTS[experiment], 1)
    return sorted({record.family for record in records})


def _gain(contrast: Contrast, target: float) -> float:
    """The mean of which the size is `target` (`harness.calibration.truth_of_adapters`)."""
    bound = contrast.at_most if contrast.at_least is None else contrast.at_least
    assert bound is not None
    sign = -1.0 if contrast.at_least is None else 1.0
    if bound == 0.0:
        return sign * LEAST_GAIN * (target - 1.0)
    return bound * target if sign * bound > 0.0 else bound / target


def gained(asked: Asked, experiment: str, gains: Mapping[Adapted, ByFamily], least: float) -> Population:
    """A table of log-probabilities of the answer, so far above the base's."""
    definition = EXPERIMENTS[experiment]
    probes, means = list(gains), np.array(list(gains.values()))
    scale = np.abs(means).max(axis=1).clip(min=least).tolist()

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        gained = sampler.signed(prompts, means, [0] * len(probes), scale)
        base = sampler.uniform(-9.0, -5.0, len(prompts))
        found = base + gained * _trainings(sampler, prompts, probes)
        metric = "answer_logprob"
        return {experiment: effects(probes, prompts, {metric: found}, {metric: base})}

    return population


def _trainings(
    sampler: Sampler, prompts: Sequence[PromptRecord], probes: Sequence[Adapted]
) -> Float[np.ndarray, "probes prompts"]:
    """By what factor the adapters of each row differ, in the prompt's training, from the mean training."""
    names = sorted({_name(part) for probe in probes for part in probe.parts})
    logs = np.log(by_training(sampler, prompts, names, TRAINED_SD))
    return np.array(
        [
            np.exp(np.mean([logs[names.index(_name(part))] for part in probe.parts], axis=0))
            for probe in probes
        ]
    )


def _name(part: Part) -> str:
    """What is trained once: the same at every step, and for the random update like it."""
    return f"{part.family} ({part.recipe.name})"


def _profiles(asked: Asked, wanted: Mapping[ProfileOf, Levels]) -> Population:
    """Profiles with these means in every family: the card may be about one of them."""
    (experiment,) = {of.experiment for of in wanted}
    return rows(asked, experiment, [(of.select, levels) for of, levels in wanted.items()], by_family=0.0)


def _orders(asked: Asked, n_states: int, distance: float, margin: float) -> list[np.ndarray]:
    """An order of the blocks for each state; the mean of 1 - Spearman over pairs is near the wanted, on its side."""
    best, miss = [np.arange(asked.n_layers)] * n_states, np.inf
    for _ in range(ORDERS):
        noise = asked.rng.standard_normal((n_states, asked.n_layers))
        start = asked.rng.permutation(asked.n_layers)
        for amount in np.geomspace(0.2, 4.0 * asked.n_layers, 40):
            ranks = np.argsort(np.argsort(start + amount * noise, axis=1), axis=1)
            a, b = np.triu_indices(n_states, 1)
            found = float(np.mean(1.0 - spearman(ranks[a], ranks[b])))
            same_side = (found < margin - 1e-9) == (distance < margin)
            if same_side and abs(found - distance) < miss:
                best, miss = list(ranks), abs(found - distance)
    return best
