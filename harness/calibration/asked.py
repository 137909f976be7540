"""What a made-up table is asked to be: a card, its criteria, a wanted distance from the threshold, and a size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from harness.anatomy import Anatomy
from harness.calibration.cards import Card
from harness.calibration.population import Noise, Population, Sampler, Suite, Tables, effects, spread
from harness.edits import Probe
from harness.experiments import EXPERIMENTS
from harness.experiments.definition import SEEDS, Experiment
from harness.planted.writers import N_HEADS
from harness.statistics.ranks import spearman
from harness.verdicts.criteria import SingleCriterion
from harness.verdicts.selectors import Selector

Levels = Float[np.ndarray, " rows"]
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One card, to be `target` times as true as its threshold."""

    card: Card
    target: float
    n_layers: int
    rng: Generator
    suite: Suite
    noise: Noise

    @property
    def criteria(self) -> tuple[SingleCriterion, ...]:
        """The card's."""
        return self.card.criteria

    def the(self, kind: type[Found]) -> tuple[Found, ...]:
        """Its criteria of one type. Raises LookupError where the card has none: it was changed."""
        found = tuple(c for c in self.criteria if isinstance(c, kind))
        if not found:
            raise LookupError(
                f"{self.card.name} has no {kind.__name__}: mend its case in harness/calibration"
            )
        return found

    @cached_property
    def anatomy(self) -> Anatomy:
        """Of a model of so many blocks, with the planted models' heads."""
        return Anatomy(
            n_layers=self.n_layers, heads=(N_HEADS,) * self.n_layers, ranked=tuple(range(self.n_layers))
        )

    def probes(self, experiment: str, select: Selector) -> tuple[Probe, ...]:
        """The experiment's probes that a criterion selects."""
        every = EXPERIMENTS[experiment].probes(self.card.protocol, self.anatomy)
        return tuple(probe for probe in every if select.keep(probe, self.n_layers))

    def n_families(self, experiment: Experiment) -> int:
        """Families that the suite draws for it."""
        return len({prompt.family for prompt in self.suite.records(experiment, len(SEEDS))})

    def among(self, n: int) -> int:
        """One of n, at random."""
        return int(self.rng.integers(n))


@dataclass(frozen=True, kw_only=True)
class Made:
    """A made-up model, and the truth about its card where the table without noise does not hold it."""

    population: Population
    size: float | None = None


Make = Callable[[Asked], Population | Made]


def layer_of(probe: Probe) -> int:
    """The first layer it edits."""
    return probe.layers[0]


def rows(
    asked: Asked,
    experiment: str,
    wanted: Sequence[tuple[Selector, Levels]],
    *,
    metric: str = "kl_nats",
    shares: bool = False,
    by_family: float = 0.3,
    per_token: bool = False,
) -> Population:
    """A table whose selected rows have these means, in the order of the probes; blocks are the groups of the noise.

    `by_family` is how far families scatter, 0 where not all have the rows; `per_token`, a mean is a token's.
    """
    definition = EXPERIMENTS[experiment]
    chosen = [
        (p, float(m)) for select, levels in wanted for p, m in _paired(asked, experiment, select, levels)
    ]
    probes = [probe for probe, _ in chosen]
    levels = np.array([mean for _, mean in chosen])
    means = (
        spread(asked.rng, levels.tolist(), asked.n_families(definition), by_family)
        if by_family
        else levels[:, None]
    )
    groups = [layer_of(probe) for probe in probes]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        draw = sampler.share if shares else sampler.positive
        values = draw(prompts, np.minimum(means, 1.0) if shares else means, groups)
        if per_token:
            counts = [dict(zip(p.spots, p.n_in_spots, strict=True)) for p in prompts]
            spots = [getattr(probe, "spot", None) for probe in probes]
            values = values * np.array([[c.get(str(spot), 0) for c in counts] for spot in spots])
        return {experiment: effects(probes, prompts, {metric: values})}

    return population


def _paired(asked: Asked, experiment: str, select: Selector, levels: Levels) -> list[tuple[Any, Any]]:
    return list(zip(asked.probes(experiment, select), levels, strict=True))


def together(*populations: Population) -> Population:
    """All tables of one model."""
    return lambda sampler: {name: t for population in populations for name, t in population(sampler).items()}


def random_levels(rng: Generator, n: int) -> Levels:
    """A profile: log-normal, median 0.25 nats."""
    return np.asarray(0.25 * np.exp(0.9 * rng.standard_normal(n)))


def below(rng: Generator, n: int, top: float) -> Levels:
    """One level at `top`, at a random place, the others below it, a random share of them close."""
    close = rng.random(n) < rng.uniform(0.0, 0.5)
    levels = top * np.where(close, rng.uniform(0.8, 1.0, n), rng.uniform(0.05, 0.6, n))
    levels[int(rng.integers(n))] = top
    return np.asarray(levels)


def above(rng: Generator, n: int, floor: float) -> Levels:
    """One level at `floor`, the others above it."""
    return np.asarray(floor**2 / below(rng, n, floor))


def reranked(rng: Generator, levels: Levels, correlation: float, *, under: float = np.inf) -> Levels:
    """Another profile whose rank correlation with this one is near the wanted, and surely below `under`.

    The levels, stretched and shuffled.
    """
    ranks = np.argsort(np.argsort(levels)).astype(float)
    best, miss = levels, np.inf
    for _ in range(8):
        noise = rng.standard_normal(len(levels))
        for amount in np.linspace(0.0, 1.5 * len(levels), 40):
            order = ranks + amount * noise
            found = float(spearman(ranks[None], order[None])[0])
            if found < under - 1e-9 and abs(found - correlation) < miss:
                best, miss = np.sort(levels)[np.argsort(np.argsort(order))], abs(found - correlation)
    return np.asarray(best ** rng.uniform(0.7, 1.3))


def wanted_correlation(at_least: float, target: float) -> tuple[float, float]:
    """The correlation whose size is `target`, as `harness.calibration.table_truth` has it, and what it lies below."""
    return max(-0.95, 1.0 - (1.0 - at_least) / target), at_least if target < 1.0 else np.inf
