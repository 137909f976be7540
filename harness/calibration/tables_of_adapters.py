"""Made-up tables of the chapters on where adapters act (13), on what can be carried over (14), and on spread (16).

Blocks' norms differ from training to training as those of SmolLM2-135M do. By what factor a whole training does more
than another does not matter here: ratios and correlations are of rows of one adapter.

What a graft does not recover of a prompt scatters about its mean, independently of how far the adapter moves that
prompt: so recoveries are the same above any gate. The more is recovered, the more the rest scatters, as recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from harness.calibration.asked import Asked, Levels, below, random_levels, wanted_correlation
from harness.calibration.asked import rows as alike_in_families
from harness.calibration.population import Population, Sampler, Tables, effects, spread
from harness.edits import Probe
from harness.effects import PromptRecord
from harness.experiments import EXPERIMENTS
from harness.statistics.correlation import correlations
from harness.verdicts.adapter_selectors import EVERY_BLOCK, AdapterRows, On
from harness.verdicts.criteria import (
    AdapterRatio,
    AdapterRecovery,
    BlockCorrelation,
    OfFamilies,
    RecoveryDepth,
    Spread,
)
from harness.verdicts.selectors import Selector

LOG_SD = (0.8, 1.6)
"""Standard deviation, within a family, of log KL with an adapter partly on or off: recorded are 0.9 to 1.9."""
NORM, NORM_SD, TRAINED_NORM_SD = 0.43, 0.13, 0.04
"""The norm of a block's update: its mean, its relative scatter over blocks, and over trainings of one block."""
CANDIDATES = 4_000
"""Random profiles of which the one that correlates nearest to what is wanted is taken."""
MOST_RECOVERED = 0.97
BASE_SCALE, LEAST_SCATTER = 0.75, 0.1
"""Of the noise's log_sd: how the base's KL scatters, and what of a graft of no effect does."""
NARROWING = 0.1
"""Largest power of the sum of effects by which the number of blocks that carry it rises or falls."""
ALIKE = 3
"""Neighbouring blocks after which the pasted stream does alike on a prompt."""


def compared(asked: Asked) -> Population:
    """The mean of some rows at the wanted ratio to that of others; where each is asked about, its extreme row."""
    (criterion,) = asked.the(AdapterRatio)
    part, of = (asked.probes(criterion.experiment, m.rows) for m in (criterion.part, criterion.of))
    whole = float(np.exp(asked.rng.uniform(np.log(0.05), np.log(3.0))))
    wanted = whole * criterion.times * asked.target**criterion.sign
    if criterion.each:
        assert criterion.at_least is None, "no universal card asks for each to be large"
        own = below(asked.rng, len(part), wanted)
    else:
        own = _with_mean(asked, len(part), wanted)
    return _table(
        asked,
        criterion.experiment,
        [(criterion.part.rows, own), (criterion.of.rows, _with_mean(asked, len(of), whole))],
    )


def correlated(asked: Asked) -> Population:
    """Norms of the blocks' updates, and effects that correlate with them as far as wanted."""
    (criterion,) = asked.the(BlockCorrelation)
    assert criterion.at_least is not None
    n, rng = asked.n_layers, asked.rng
    depth = np.linspace(-1.0, 1.0, n)
    norms = NORM * np.exp(NORM_SD * (rng.standard_normal(n) + float(rng.uniform(-1.0, 1.0)) * depth))
    wanted, under = wanted_correlation(criterion.at_least, asked.target)
    alike = np.cos(np.pi * rng.random((CANDIDATES, 1)))
    drawn = alike * (norms - norms.mean()) / norms.std()
    drawn = drawn + np.sqrt(1.0 - alike**2) * rng.standard_normal((CANDIDATES, n))
    drawn = np.exp(0.5 * (drawn + rng.uniform(-1.0, 1.0, (CANDIDATES, 1)) * depth))
    given = np.arange(n, dtype=float) if criterion.given_depth else None
    found = correlations(
        np.broadcast_to(norms, drawn.shape), drawn, ranks=criterion.kind == "spearman", given=given
    )
    miss = np.where(found < under - 1e-9, np.abs(found - wanted), np.inf)
    return _with_norms(asked, criterion, norms, 0.05 * drawn[int(np.argmin(miss))])


def recovered(asked: Asked) -> Population:
    """What each block's graft recovers: the most of them as far from the bound as wanted."""
    (criterion,) = asked.the(AdapterRecovery)
    assert criterion.at_most is not None, "no universal card asks for much"
    most = min(MOST_RECOVERED, criterion.at_most / asked.target)
    n = len(asked.probes(criterion.experiment, criterion.rows))
    return _grafted(asked, criterion.experiment, criterion.rows, below(asked.rng, n, most))


def reached(asked: Asked) -> Population:
    """Where a share of the recovery is reached: of the bounds on it, one holds as far as wanted, the other clearly."""
    (criterion,) = asked.the(RecoveryDepth)
    curve = _curve(asked, criterion.level, criterion.at_least, criterion.at_most)
    if criterion.rows.on.is_curve:
        return _grafted(asked, criterion.experiment, criterion.rows, curve)
    shares = np.diff(curve, prepend=0.0)
    most_of_one = float(asked.rng.uniform(0.4, 0.9))
    return _grafted(asked, criterion.experiment, criterion.rows, shares * most_of_one / shares.max())


def turned(asked: Asked) -> Population:
    """Where half is reached one way and the other: there in one step, back as far from the bounds as wanted."""
    ((criterion,),) = (inner(asked).the(RecoveryDepth),)
    assert criterion.at_least is not None
    assert criterion.at_most is not None
    n = asked.n_layers
    step = int(asked.rng.integers(n // 3, n - n // 3))
    there = np.where(
        np.arange(n) < step, asked.rng.uniform(0.02, 0.2), asked.rng.uniform(0.8, MOST_RECOVERED)
    )
    there[-1] = 1.0
    start = step / n
    back = _curve(asked, criterion.level, start + criterion.at_least, start + criterion.at_most)
    return _both_ways(asked, criterion, there, back)


def spread_out(asked: Asked) -> Population:
    """Effects of the blocks under two adapters: the number of the one at the wanted ratio to that of the other.

    One that is weighted has it where both do as much in all; at its own weight it does more, in fewer blocks.
    """
    (criterion,) = inner(asked).the(AdapterRatio)
    part, of = criterion.part, criterion.of
    assert isinstance(part, Spread)
    assert isinstance(of, Spread)
    wanted = criterion.times * asked.target**criterion.sign
    other = random_levels(asked.rng, asked.n_layers)
    if part.share_of is not None:
        some = list(part.share_of.of(asked.n_layers))
        rest = other.sum() - other[some].sum()
        share = float(asked.rng.uniform(0.1, 0.4)) / max(1.0, wanted)
        other[some] *= share / (1.0 - share) * rest / other[some].sum()
        share = min(MOST_RECOVERED, wanted * share)
        own = random_levels(asked.rng, asked.n_layers)
        rest = own.sum() - own[some].sum()
        own[some] *= share / (1.0 - share) * rest / own[some].sum()
    else:
        other = _peaked(other, max(1.5, asked.n_layers / 2 / max(1.0, wanted)))
        count = min(0.95 * asked.n_layers, max(1.05, wanted * _count(other)))
        own = asked.rng.permutation(_peaked(other, count))
    mine = [(m.rows, levels) for m, levels in zip(part.measures, _by_weight(asked, part, own), strict=True)]
    return alike_in_families(asked, criterion.experiment, [*mine, (of.rows, other)], by_family=0.0)


def _by_weight(asked: Asked, spread: Spread, levels: Levels) -> list[Levels]:
    """Effects at each weight: their sum grows with its square, and passes that of `levels` between two of them.

    How many blocks carry them falls with a power of the sum: a larger effect looks narrower, or wider. That is the line
    on which the judge interpolates, and no sum falls again: what it misses between weights is not in these rates.
    """
    if not spread.weights:
        return [levels]
    low, high = (float(np.log(edge)) for edge in (spread.weights[0], spread.weights[-1]))
    equal = float(np.exp(asked.rng.uniform(0.8 * low + 0.2 * high, 0.2 * low + 0.8 * high)))
    power = float(asked.rng.uniform(-NARROWING, NARROWING))
    sums = [(weight / equal) ** 2 for weight in spread.weights]
    n = len(levels)
    counts = [min(0.98 * n, max(1.02, _count(levels) * times**power)) for times in sums]
    return [times * _peaked(levels, count) for times, count in zip(sums, counts, strict=True)]


def inner(asked: Asked) -> Asked:
    """What is asked of some families, asked of all."""
    bare = asked.card.asking(lambda c: c.criterion if isinstance(c, OfFamilies) else c)
    return replace(asked, card=bare)


def _count(levels: Levels) -> float:
    """How many blocks carry it."""
    return float(levels.sum() ** 2 / (levels**2).sum())


def _peaked(levels: Levels, count: float) -> Levels:
    """The levels, raised to the power at which so many carry them, with the sum that they had."""
    low, high = 0.0, 60.0
    for _ in range(60):
        power = (low + high) / 2
        low, high = (power, high) if _count((levels / levels.max()) ** power) > count else (low, power)
    found = (levels / levels.max()) ** low
    return np.asarray(found * levels.sum() / found.sum())


def _curve(asked: Asked, level: float, at_least: float | None, at_most: float | None) -> Levels:
    """Recovery by depth: of the bounds on where `level` is reached, one holds as far as wanted, the other clearly."""
    depth = np.arange(asked.n_layers) / asked.n_layers
    bounds = [at_least is not None, at_most is not None]
    near = np.flatnonzero(bounds)[asked.among(sum(bounds))]
    early, late = (asked.target if near == i else max(3.0, asked.target) for i in range(2))
    before = min(MOST_RECOVERED, level / early)
    until = max(0.02, 1.0 - (1.0 - level) / late) if bounds[1] else 1.0
    knots = {-1: 0.0, asked.n_layers - 1: 1.0}
    if at_most is not None:
        knots[int(np.flatnonzero(depth <= at_most + 1e-9)[-1])] = max(until, before if near == 0 else until)
    if at_least is not None:
        knots[int(np.flatnonzero(depth < at_least - 1e-9)[-1])] = before if near == 0 else min(before, until)
    places = sorted(knots)
    return np.asarray(np.interp(np.arange(asked.n_layers), places, [knots[at] for at in places]))


def _both_ways(asked: Asked, criterion: RecoveryDepth, there: Levels, back: Levels) -> Population:
    """Log-probabilities of the answer under grafts that recover so much, there and back, and at both ends."""
    assert criterion.than is not None
    definition, rows = EXPERIMENTS[criterion.experiment], criterion.rows
    ends = [
        asked.probes(criterion.experiment, replace(rows, on=on, blocks=EVERY_BLOCK))
        for on in (On.NONE, On.WHOLE)
    ]
    ((base,), (whole,)) = ends
    ways = [asked.probes(criterion.experiment, replace(rows, on=on)) for on in (criterion.than, rows.on)]
    probes = [probe for way in ways for probe in way]
    left = np.concatenate([1.0 - there, 1.0 - back])
    scale = LEAST_SCATTER + np.abs(1.0 - left)
    groups = [_group(asked, probe) // ALIKE for probe in probes]
    moved = spread(asked.rng, [float(asked.rng.uniform(0.5, 2.0))], asked.n_families(definition), 0.8)

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        rise = sampler.positive(prompts, moved, [0], [BASE_SCALE])
        lost = rise * sampler.apart().positive(prompts, left[:, None], groups, scale.tolist())
        start = sampler.uniform(-9.0, -5.0, len(prompts))[None]
        brought = np.vstack([start + rise - lost[: len(there)], start + lost[len(there) :]])
        values = np.vstack([start, start + rise, brought])
        return {criterion.experiment: effects([base, whole, *probes], prompts, {"answer_logprob": values})}

    return population


def _with_mean(asked: Asked, n: int, mean: float) -> Levels:
    levels = random_levels(asked.rng, n)
    return np.asarray(levels / levels.mean() * mean)


def _table(asked: Asked, experiment: str, wanted: Sequence[tuple[Selector, Levels]]) -> Population:
    """KL of rows with these means; a block is a group of the noise, and what is of no block another."""
    definition = EXPERIMENTS[experiment]
    probes, levels = _rows(asked, experiment, wanted)
    means = spread(asked.rng, levels, asked.n_families(definition))
    groups = [_group(asked, probe) for probe in probes]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        return {experiment: effects(probes, prompts, {"kl_nats": sampler.positive(prompts, means, groups)})}

    return population


def _with_norms(asked: Asked, criterion: BlockCorrelation, norms: Levels, moved: Levels) -> Population:
    """The rows of the norms and those of the effects, each with what it is not asked about as well."""
    definition = EXPERIMENTS[criterion.experiment]
    assert (criterion.one.metric, criterion.two.metric) == ("update_norm", "kl_nats")
    rest = np.sqrt((norms**2).sum() - norms**2)
    others = random_levels(asked.rng, asked.n_layers)
    of_rows = [(criterion.one.rows, others), (criterion.two.rows, moved)]
    probes, levels = _rows(asked, criterion.experiment, of_rows)
    means = spread(asked.rng, levels, asked.n_families(definition))
    groups = [_group(asked, probe) for probe in probes]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        names = [f"L{layer}" for layer in range(asked.n_layers)]
        factors = by_training(sampler, prompts, names, TRAINED_NORM_SD)
        metrics = {
            "kl_nats": sampler.positive(prompts, means, groups),
            "update_norm": np.concatenate([norms, rest])[:, None] * np.tile(factors, (2, 1)),
        }
        return {criterion.experiment: effects(probes, prompts, metrics)}

    return population


def by_training(
    sampler: Sampler, prompts: Sequence[PromptRecord], names: Sequence[str], log_sd: float
) -> Float[np.ndarray, "names prompts"]:
    """Of each name, by what factor it differs in the prompt's training from the mean training: names x prompts."""
    seeds = sorted({prompt.seed for prompt in prompts})
    known = np.array([[sampler.trained(seed, name, log_sd) for seed in seeds] for name in names])
    return np.asarray(known[:, [seeds.index(prompt.seed) for prompt in prompts]])


def _grafted(asked: Asked, experiment: str, rows: AdapterRows, recovery: Levels) -> Population:
    """Grafts that recover so much, and the model that they start from."""
    definition = EXPERIMENTS[experiment]
    start = On.WHOLE if rows.on.is_back else On.NONE
    (base,) = asked.probes(experiment, replace(rows, on=start, blocks=EVERY_BLOCK))
    probes = asked.probes(experiment, rows)
    moved = spread(asked.rng, [float(asked.rng.uniform(0.5, 2.0))], asked.n_families(definition), 0.8)
    scale = LEAST_SCATTER + np.abs(recovery)
    alike = ALIKE if rows.on.is_curve else 1
    groups = [_group(asked, probe) // alike for probe in probes]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        whole = sampler.positive(prompts, moved, [0], [BASE_SCALE])
        left = sampler.apart().positive(prompts, 1.0 - recovery[:, None], groups, scale.tolist())
        return {experiment: effects([base, *probes], prompts, {"kl_nats": np.vstack([whole, whole * left])})}

    return population


def _rows(
    asked: Asked, experiment: str, wanted: Sequence[tuple[Selector, Levels]]
) -> tuple[list[Probe], list[float]]:
    chosen = [
        pair
        for select, levels in wanted
        for pair in zip(asked.probes(experiment, select), levels.tolist(), strict=True)
    ]
    return [probe for probe, _ in chosen], [level for _, level in chosen]


def _group(asked: Asked, probe: Probe) -> int:
    return probe.layers[-1] if probe.layers else asked.n_layers
