"""Made-up tables of steering: the chapters on steering (10) and knockouts (11), and steering by length (12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator

from harness.calibration.asked import (
    Asked,
    Levels,
    above,
    below,
    reranked,
    rows,
    together,
    wanted_correlation,
)
from harness.calibration.population import Population, Sampler, Tables, effects
from harness.calibration.table_truth import LEAST_SLOPE
from harness.edits import Edit
from harness.experiments import EXPERIMENTS
from harness.experiments.definition import Experiment
from harness.protocols import Protocol
from harness.steering import Direction, Kind, Steering, controlled_blocks, families_of, read_steering, side
from harness.verdicts.criteria import (
    BeatsControls,
    EveryProbe,
    KlFallsWithDepth,
    KnockoutBeatsRandom,
    KnockoutSelects,
    SteeringGain,
    SteeringMoves,
    SteeringSlope,
    SteeringWeakens,
)

REFERENCE = 0.5
"""The strength at which gains are stated."""
MOST_INDEX = 0.95

Gains = Mapping[tuple[Direction, int], tuple[float, float]]
"""Direction and block -> gain of a strength of REFERENCE, on the skill's prompts and on others, nats."""


def raised(asked: Asked) -> Population:
    """The best block's gain, the others below it."""
    (criterion,) = asked.the(SteeringGain)
    assert criterion.at_least is not None
    best = criterion.at_least * asked.target
    return _steered(asked, criterion.experiment, lambda n: _lower(asked.rng, n, best, 0.6))


def rising(asked: Asked) -> Population:
    """The best block's slope, in each table that is asked about."""
    criteria = asked.the(SteeringSlope)
    near = asked.among(len(criteria))

    def of_table(i: int) -> Population:
        size = asked.target if i == near else asked.target + 2.0
        best = REFERENCE * LEAST_SLOPE * (size - 1.0)
        return _steered(asked, criteria[i].experiment, lambda n: _lower(asked.rng, n, best, 0.6))

    return together(*(of_table(i) for i in range(len(criteria))))


def weakening(asked: Asked) -> Population:
    """A slope where it is strong, and at every block one share of it where it is weak."""
    (criterion,) = asked.the(SteeringWeakens)
    best = float(asked.rng.uniform(2.0, 4.0))
    share = criterion.factor - LEAST_SLOPE * (asked.target - 1.0) / best
    gains = _lower(asked.rng, len(controlled_blocks(asked.n_layers)), REFERENCE * best, 0.6)
    return together(
        _steered(asked, criterion.strong, lambda _: gains),
        _steered(asked, criterion.weak, lambda _: share * gains),
    )


def beating(asked: Asked) -> Population:
    """The best block's margin over the controls that must be beaten."""
    (criterion,) = asked.the(BeatsControls)
    margin = criterion.margin_nats * asked.target

    def gains(n: int) -> Levels:
        return _lower(asked.rng, n, margin, 0.6)

    return _steered(asked, criterion.experiment, gains, over=criterion.random_share)


def dropped(asked: Asked) -> Population:
    """The best block's selectivity, and its index where one is asked for."""
    (criterion,) = asked.the(KnockoutSelects)
    assert criterion.at_least is not None
    best, others = criterion.at_least * asked.target, float(asked.rng.uniform(-0.2, 0.6))
    if criterion.index_at_least is not None:
        index = min(MOST_INDEX, criterion.index_at_least * asked.target)
        others = max(float(asked.rng.uniform(0.1, 0.5)), best * (1.0 - index) / (2.0 * index))
        best = 2.0 * index * others / (1.0 - index)
    return _steered(
        asked, criterion.experiment, lambda n: _lower(asked.rng, n, best, 1.0) + others, others=others
    )


def more_selective(asked: Asked) -> Population:
    """The best block's selectivity beyond that of the random directions that must be beaten."""
    (criterion,) = asked.the(KnockoutBeatsRandom)
    margin = criterion.margin_nats * asked.target
    return _steered(
        asked,
        criterion.experiment,
        lambda n: _lower(asked.rng, n, margin, 0.6),
        over=criterion.random_share,
        negative=True,
    )


def moving(asked: Asked) -> Population:
    """What steps move of other tasks: the decisive one is as far from the bound as wanted."""
    (criterion,) = asked.the(SteeringMoves)
    definition = EXPERIMENTS[criterion.experiment]
    edits = _edits(asked, definition)
    read = [
        i
        for i, s in enumerate(edits)
        if s.strength in criterion.strengths and len(s.layers) == 1 and s.direction == edits[0].direction
    ]
    means = np.full(len(edits), 1e-3)
    if criterion.at_most is not None:
        means[read] = below(asked.rng, len(read), criterion.at_most / asked.target)
    else:
        assert criterion.at_least is not None
        means[read] = above(asked.rng, len(read), criterion.at_least * asked.target)
    kept = [0, *read]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        kl = sampler.positive(prompts, means[kept][:, None], [edits[i].layers[0] for i in kept])
        return {criterion.experiment: effects([edits[i].edit() for i in kept], prompts, {"kl_nats": kl})}

    return population


def written(asked: Asked) -> Population:
    """Shares of texts: of one criterion the decisive probe is as far from the bound as wanted."""
    criteria = asked.the(EveryProbe)
    near = asked.among(len(criteria))
    wanted = []
    for i, criterion in enumerate(criteria):
        n = len(asked.probes(criterion.experiment, criterion.select))
        target = asked.target if i == near else max(asked.target, 1.8)
        if criterion.at_most is not None:
            levels = below(asked.rng, n, criterion.at_most / target)
        else:
            assert criterion.at_least is not None
            levels = np.minimum(above(asked.rng, n, min(0.99, criterion.at_least * target)), 1.0)
        wanted.append((criterion.select, levels))
    first = criteria[0]
    return rows(asked, first.experiment, wanted, metric=first.metric, shares=True, by_family=0.0)


def falling(asked: Asked) -> Population:
    """Random directions whose effect falls with depth as far as wanted."""
    (criterion,) = asked.the(KlFallsWithDepth)
    definition = EXPERIMENTS[criterion.experiment]
    edits = [s for s in _edits(asked, definition) if s.direction.unit is criterion.unit]
    start = np.exp(-np.linspace(0.0, float(asked.rng.uniform(0.5, 2.0)), asked.n_layers))
    wanted, under = wanted_correlation(-criterion.at_most, asked.target)
    by_layer = reranked(asked.rng, start, wanted, under=under)
    means = np.array([by_layer[s.layers[0]] for s in edits])[:, None]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        kl = sampler.positive(prompts, means, [s.layers[0] for s in edits])
        return {criterion.experiment: effects([s.edit() for s in edits], prompts, {"kl_nats": kl})}

    return population


def _steered(
    asked: Asked,
    experiment: str,
    of_blocks: Callable[[int], Levels],
    *,
    others: float = 0.0,
    over: float | None = None,
    negative: bool = False,
) -> Population:
    """A table whose direction gains so much at each block: with `over`, beyond that share of its random controls.

    `negative`: what is stated is lost at the strength -REFERENCE, and random directions lose it at REFERENCE.
    """
    definition = EXPERIMENTS[experiment]
    edits = [s for s in _edits(asked, definition) if len(s.layers) == 1]
    main = edits[0].direction
    blocks = sorted({s.layers[0] for s in edits if s.direction == main and s.strength})
    gains: dict[tuple[Direction, int], tuple[float, float]] = {}
    for block, own in zip(blocks, of_blocks(len(blocks)), strict=True):
        controls = list(
            dict.fromkeys(s.direction for s in edits if s.direction != main and s.layers == (block,))
        )
        drawn = asked.rng.uniform(-0.4, 0.1, len(controls))
        gains |= {(d, block): (float(g), 0.0) for d, g in zip(controls, drawn, strict=True)}
        base = 0.0 if over is None else _rival(controls, drawn.tolist(), over, negative)
        gains[main, block] = (base + float(own), others)
    lost = negative or (others != 0.0)
    return _table(asked, definition, edits, gains, main, lost=lost)


def _rival(controls: list[Direction], gains: list[float], share: float, only_random: bool) -> float:
    """The gain of the strongest control that must be beaten."""
    random = sorted(g for d, g in zip(controls, gains, strict=True) if d.kind is Kind.RANDOM)
    rest = [g for d, g in zip(controls, gains, strict=True) if d.kind is not Kind.RANDOM]
    return max([random[int(np.ceil(share * len(random))) - 1], *([] if only_random else rest)])


def _table(
    asked: Asked, definition: Experiment, edits: list[Steering], gains: Gains, main: Direction, *, lost: bool
) -> Population:
    """Gains in proportion to the strength; `lost`: stated for what a strength of the other sign takes away."""
    families = sorted({p.family for p in asked.suite.records(definition, 3)})
    skill = [family in families_of(main.skill) for family in families]
    sided = families_of(main.skill) == _SIDED
    names = list(dict.fromkeys((s.direction, s.layers[0]) for s in edits))
    means, scale, groups = [], [], []
    for s in edits:
        own, rest = gains.get((s.direction, s.layers[0]), (0.0, 0.0))
        sign = -1.0 if lost and s.direction != main else 1.0  # a random direction loses at +REFERENCE
        factor = sign * s.strength / REFERENCE
        means.append([factor * (own if of_skill else rest) for of_skill in skill])
        scale.append(s.strength / REFERENCE)
        groups.append(names.index((s.direction, s.layers[0])))

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        gained = sampler.signed(prompts, np.array(means), groups, scale)
        n = len(prompts)
        answer, foil = np.log(sampler.uniform(0.05, 0.6, n)), np.log(sampler.uniform(0.01, 0.3, n))
        sides = np.array([side(p.answer) if p.family in _SIDED else 1 for p in prompts])
        metrics = {
            "forms_logprob": answer + gained,
            "answer_logprob": answer + (0.5 * sides * gained if sided else gained),
            "foil_logprob": foil - (0.5 * sides if sided else 0.0) * gained,
        }
        baseline = {"answer_logprob": answer, "foil_logprob": foil}
        return {definition.name: effects([s.edit() for s in edits], prompts, metrics, baseline)}

    return population


_SIDED = families_of("stance")


def _lower(rng: Generator, n: int, best: float, reach: float) -> Levels:
    """`best` at one place, and what lies up to `reach` below it at the others."""
    levels = best - rng.uniform(0.0, reach, n) * (rng.random(n) < rng.uniform(0.5, 1.0))
    levels[int(rng.integers(n))] = best
    return np.asarray(levels)


def _edits(asked: Asked, definition: Experiment) -> list[Steering]:
    found = [
        read_steering(probe)
        for probe in definition.probes(Protocol.SOUND, asked.anatomy)
        if isinstance(probe, Edit)
    ]
    return [steering for steering in found if steering is not None]
