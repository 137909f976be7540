"""Made-up tables of the chapters on token positions (8) and on activation patching (9)."""

from __future__ import annotations

import numpy as np

from harness.calibration.asked import (
    Asked,
    Levels,
    above,
    below,
    layer_of,
    reranked,
    rows,
    together,
    wanted_correlation,
)
from harness.calibration.population import Population, Sampler, Tables, effects, spread
from harness.calibration.truth import HALF
from harness.edits import Probe, Stream
from harness.experiments import CLEAN, CORRUPT, EXPERIMENTS
from harness.experiments.patching import DENOISING, NOISING, Where, patched
from harness.statistics.estimate import BOUNDED
from harness.verdicts.criteria import DirectionsAgree, EveryProbe, RecoveryBound, SomeProbe, SpotOutweighs

WHOLE_CLASSES = 0.0
"""No spread over families where not every family has the class: its mean would depend on which were drawn."""
CLOSE_PAIRS = (0.7, 6.0)
"""Nats between the two runs of a pair: some lie below the gate."""


def bounded(asked: Asked) -> Population:
    """Bounds on rows of one experiment: one criterion holds as far as wanted, the others by three times as much."""
    criteria = [c for c in asked.criteria if isinstance(c, EveryProbe | SomeProbe)]
    strict = [i for i, c in enumerate(criteria) if isinstance(c, EveryProbe)] or [0]
    near = strict[asked.among(len(strict))]
    wanted = []
    for i, criterion in enumerate(criteria):
        n = len(asked.probes(criterion.experiment, criterion.select))
        target = asked.target if i == near else max(3.0, asked.target)
        wanted.append((criterion.select, _levels(asked, criterion, n, target)))
    first = criteria[0]
    return rows(
        asked,
        first.experiment,
        wanted,
        metric=first.metric,
        by_family=WHOLE_CLASSES,
        shares=first.metric != "kl_nats",
    )


def _levels(asked: Asked, criterion: EveryProbe | SomeProbe, n: int, target: float) -> Levels:
    """Rows of which the decisive one is `target` times as true as the bound."""
    if criterion.at_most is not None:
        assert isinstance(criterion, EveryProbe), (
            "no universal card asks whether something is small somewhere"
        )
        if criterion.metric in BOUNDED and criterion.at_most > HALF:
            return below(asked.rng, n, 1.0 - (1.0 - criterion.at_most) * target)
        return below(asked.rng, n, criterion.at_most / target)
    assert criterion.at_least is not None
    draw = below if isinstance(criterion, SomeProbe) else above
    return draw(asked.rng, n, criterion.at_least * target)


def outweighed(asked: Asked) -> Population:
    """One class of positions, and the strongest of the others at the wanted ratio to it."""
    (criterion,) = asked.the(SpotOutweighs)
    top = float(asked.rng.uniform(0.05, 0.5))
    means = below(asked.rng, len(criterion.weaker), top)
    wanted = [
        (criterion.stronger, criterion.times * top * asked.target),
        *zip(criterion.weaker, means, strict=True),
    ]
    return rows(
        asked,
        criterion.experiment,
        [(select, _around(asked, criterion.experiment, select, float(mean))) for select, mean in wanted],
        metric=criterion.metric,
        by_family=WHOLE_CLASSES,
        per_token=criterion.per_token,
    )


def _around(asked: Asked, experiment: str, select: object, mean: float) -> Levels:
    """Levels of the selected probes with this mean."""
    n = len(asked.probes(experiment, select))  # type: ignore[arg-type]
    levels = np.exp(0.5 * asked.rng.standard_normal(n))
    return np.asarray(levels / levels.mean() * mean)


def recoveries(asked: Asked) -> Population:
    """Bounds on recoveries: one criterion holds as far as wanted, the others clearly."""
    criteria = asked.the(RecoveryBound)
    near = asked.among(len(criteria))
    probes: list[Probe] = []
    means: list[float] = []
    for i, criterion in enumerate(criteria):
        own = asked.probes(criterion.experiment, criterion.select)
        target = asked.target if i == near else max(asked.target, 1.8)
        probes += own
        means += _recovered(asked, criterion, len(own), target).tolist()
    return _patching(asked, DENOISING, probes, means)


def _recovered(asked: Asked, criterion: RecoveryBound, n: int, target: float) -> Levels:
    if criterion.at_most is not None:
        return below(asked.rng, n, criterion.at_most / target)
    assert criterion.at_least is not None
    least = min(criterion.at_least * target, 1.0)
    return below(asked.rng, n, least) if criterion.some else np.minimum(above(asked.rng, n, least), 1.2)


def directions(asked: Asked) -> Population:
    """What denoising brings and what noising brings, in the orders of the blocks that agree as far as wanted."""
    criteria = asked.the(DirectionsAgree)
    near = asked.among(len(criteria))
    probes: dict[str, list[Probe]] = {DENOISING: [], NOISING: []}
    means: dict[str, list[float]] = {DENOISING: [], NOISING: []}
    for i, criterion in enumerate(criteria):
        levels = np.sort(asked.rng.uniform(0.03, 1.0, asked.n_layers))[:: asked.rng.choice([-1, 1])]
        target = asked.target if i == near else max(asked.target, 3.0)
        wanted, under = wanted_correlation(criterion.at_least, target)
        other = reranked(asked.rng, levels, wanted, under=under)
        for name, brought in ((DENOISING, levels), (NOISING, 1.0 - other)):
            own = asked.probes(name, criterion.select)
            probes[name] += own
            means[name] += [float(brought[layer_of(probe)]) for probe in own]
    return together(*(_patching(asked, name, probes[name], means[name]) for name in (DENOISING, NOISING)))


def _patching(asked: Asked, name: str, probes: list[Probe], means: list[float]) -> Population:
    """A table of patches with these mean recoveries, and the whole patch that gives the other run of each pair."""
    definition = EXPERIMENTS[name]
    donor, brought = (CLEAN, 1.0) if name == DENOISING else (CORRUPT, 0.0)
    whole = patched(Stream.RESID_POST, asked.n_layers - 1, donor, Where.ALL)
    by_family = spread(asked.rng, [*means, brought], asked.n_families(definition), 0.1)
    by_family[-1] = brought
    scale = [*asked.rng.uniform(0.3, 1.5, len(means)), 0.0]
    groups = [layer_of(probe) for probe in (*probes, whole)]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        recovered = sampler.signed(prompts, by_family, groups, scale)
        corrupt = sampler.uniform(-4.0, 0.0, len(prompts))
        clean = corrupt + sampler.uniform(*CLOSE_PAIRS, len(prompts))
        gap = corrupt + recovered * (clean - corrupt)
        own = corrupt if name == DENOISING else clean
        return {
            name: effects(
                [*probes, whole],
                prompts,
                {"answer_logprob": gap / 2.0, "foil_logprob": -gap / 2.0},
                {"answer_logprob": own / 2.0, "foil_logprob": -own / 2.0},
            )
        }

    return population
