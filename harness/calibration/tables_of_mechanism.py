"""Made-up tables of the chapter on the hub's mechanism (6): the write is there, and a card on it as true as wanted.

Every table has all edits of the real experiments at one random writer, whose MLP multiplies its number far beyond what
the cards presuppose; edits that a card does not read move random amounts. No card is out of reach.

As recorded of SmolLM2-135M: within a family, log KL scatters with a standard deviation of 0.2 to 0.9 where the write
itself is edited, and of 0.7 to 1.8 for the edits that are compared with it. The number's mean in its place, which
moves some thousandths of a nat there, scatters with 1.8 to 3.8: the card on it is tried with less than that, and may
err more often where as much scatter is met near its threshold of a tenth. The power of ten by which the MLP
multiplies the number scatters with 0.11 to 0.14 from prompt to prompt, and with 0.06 to 0.09 between families.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.anatomy import Anatomy, Massive
from harness.calibration.asked import Asked, Levels, Made, above, below, layer_of, random_levels, together
from harness.calibration.population import Population, Sampler, Tables, effects, spread
from harness.calibration.truth_of_mechanism import first_compared, mechanism_size
from harness.edits import Edit
from harness.experiments import EXPERIMENTS
from harness.experiments.definition import SEEDS
from harness.mechanism import MEAN, OTHER_TASK, MechanismEdit, mechanism_edits
from harness.planted.writers import D_MODEL
from harness.verdicts.criteria import EditShare, EveryProbe, WriterLeads, WriterRaises
from harness.verdicts.reading import measured
from harness.verdicts.selectors import FromDonor, Singles

LOG_SD = (0.6, 1.7)
"""Range of the standard deviation of the logarithm of what edits move that are compared with the write's."""
OF_THE_WRITE = (0.4, 0.8)
"""Range of the share of it with which edits of the write itself scatter."""
RISE_SD, RISE_BY_FAMILY = (0.05, 0.3), 0.08
"""Range of the standard deviation of a rise, and that of families: powers of ten."""
RAISED = (500.0, 20_000.0)
"""Factors of a write that is clearly there."""
WHOLE = (0.5, 8.0)
"""Nats moved by the edit of which others are to move a share."""
OTHERS = 4
"""Dimensions that the massive one is compared with."""
ELSEWHERE = 0.2
"""Scatter of other MLPs' rises, as a share of the writer's."""

_WRITES = (
    MechanismEdit.SKIP,
    MechanismEdit.SKIP_FIRST,
    MechanismEdit.MLP,
    MechanismEdit.ZERO,
    MechanismEdit.UNWRITTEN,
    MechanismEdit.MOVED,
    MechanismEdit.AFTER,
)
"""Edits of the write itself."""
_OF_DONOR = {MEAN: MechanismEdit.MEAN, OTHER_TASK: MechanismEdit.OTHER_TASK}


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """A massive activation in a made-up model."""

    asked: Asked
    massive: Massive

    @property
    def anatomy(self) -> Anatomy:
        """The model's."""
        return replace(self.asked.anatomy, massive=self.massive)

    @property
    def edits(self) -> Mapping[MechanismEdit, tuple[Edit, ...]]:
        """What is done to it."""
        return mechanism_edits(self.massive, self.asked.n_layers)


def _mechanism(asked: Asked, first: int = 0) -> Mechanism:
    """Anywhere from block `first` on."""
    layer = first + asked.among(asked.n_layers - first)
    dim, *others = (int(d) for d in asked.rng.permutation(D_MODEL)[: 1 + OTHERS])
    return Mechanism(asked=asked, massive=Massive(layer=layer, dim=dim, others=tuple(sorted(others))))


def raised(asked: Asked) -> Made:
    """The factor is the wanted multiple of the one asked for."""
    (criterion,) = asked.the(WriterRaises)
    return _made(_mechanism(asked), {}, criterion.at_least * asked.target)


def leading(asked: Asked) -> Made:
    """The writer has the wanted multiple of the strongest other block's effect, of those that are compared."""
    (criterion,) = asked.the(WriterLeads)
    first = first_compared(criterion, asked.n_layers)
    model = _mechanism(asked, first)
    n, writer = asked.n_layers, model.massive.layer
    levels = asked.rng.uniform(0.3, 3.0) * random_levels(asked.rng, n)
    rivals = [layer for layer in range(first, n) if layer != writer]
    levels[rivals] = below(asked.rng, len(rivals), float(asked.rng.uniform(0.3, 3.0)))
    levels[writer] = asked.target * levels[rivals].max()
    definition = EXPERIMENTS["layer_sweep"]
    probes = asked.probes(definition.name, Singles())
    means = spread(asked.rng, levels.tolist(), asked.n_families(definition))

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        values = sampler.positive(prompts, means, range(n))
        return {definition.name: effects(probes, prompts, {"kl_nats": values})}

    return _made(model, {MechanismEdit.SKIP: levels[[writer]]}, also=population)


def sharing(asked: Asked) -> Made:
    """One edit's share of another is as far from the bound as wanted; of several criteria the others hold clearly."""
    criteria = asked.the(EditShare)
    near = asked.among(len(criteria))
    (of,) = {criterion.of for criterion in criteria}
    model = _mechanism(asked, first=int(any(c.edit is MechanismEdit.BEFORE for c in criteria)))
    whole = float(asked.rng.uniform(*WHOLE))
    levels = {of: np.array([whole])}
    for i, criterion in enumerate(criteria):
        target = asked.target if i == near else max(asked.target, 3.0)
        n = len(model.edits[criterion.edit])
        levels[criterion.edit] = whole * (
            below(asked.rng, n, criterion.share / target)
            if criterion.at_least is None
            else above(asked.rng, n, criterion.share * target)
        )
    return _made(model, levels)


def intact(asked: Asked) -> Made:
    """What one donor's number moves is as far below the bound as wanted; of the others it is clearly."""
    criteria = asked.the(EveryProbe)
    near = asked.among(len(criteria))
    levels: dict[MechanismEdit, Levels] = {}
    for i, criterion in enumerate(criteria):
        assert criterion.at_most is not None
        assert isinstance(criterion.select, FromDonor)
        target = asked.target if i == near else max(asked.target, 3.0)
        levels[_OF_DONOR[criterion.select.donor]] = np.array([criterion.at_most / target])
    return _made(_mechanism(asked), levels)


def _made(
    model: Mechanism,
    levels: Mapping[MechanismEdit, Levels],
    rise: float | None = None,
    also: Population | None = None,
) -> Made:
    """The tables, and the truth that they have without noise; what is not given is random."""
    asked = model.asked
    rise = float(np.exp(asked.rng.uniform(*np.log(RAISED)))) if rise is None else rise
    tables = [_edited(model, levels), _raising(model, rise), *([] if also is None else [also])]
    population = together(*tables)
    exact = measured(population(Sampler(asked.suite, None, [0], len(SEEDS))), asked.n_layers)
    return Made(
        population=population, size=min(mechanism_size(criterion, exact) for criterion in asked.criteria)
    )


def _edited(model: Mechanism, levels: Mapping[MechanismEdit, Levels]) -> Population:
    """What each edit moves; edits of one block are a group of the noise."""
    asked, definition = model.asked, EXPERIMENTS["hub_mechanism"]
    probes = definition.probes(asked.card.protocol, model.anatomy)
    place = {probe: row for row, probe in enumerate(probes)}
    means = random_levels(asked.rng, len(probes))
    scale = np.ones(len(probes))
    for kind, edits in model.edits.items():
        rows = [place[edit] for edit in edits]
        means[rows] = levels.get(kind, means[rows])
        if kind in _WRITES:
            scale[rows] = asked.rng.uniform(*OF_THE_WRITE)
    by_family = spread(asked.rng, means.tolist(), asked.n_families(definition))
    groups = [layer_of(probe) for probe in probes]

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        values = sampler.positive(prompts, by_family, groups, scale.tolist())
        return {definition.name: effects(probes, prompts, {"kl_nats": values})}

    return population


def _raising(model: Mechanism, rise: float) -> Population:
    """Powers of ten by which each MLP multiplies the number: the writer's those of `rise`, the others' about 0."""
    asked, definition = model.asked, EXPERIMENTS["massive_writes"]
    probes = definition.probes(asked.card.protocol, model.anatomy)
    is_writer = np.arange(asked.n_layers) == model.massive.layer
    scattered = RISE_BY_FAMILY * asked.rng.standard_normal((asked.n_layers, asked.n_families(definition)))
    scattered -= scattered.mean(axis=1, keepdims=True)
    scale = np.where(is_writer, 1.0, ELSEWHERE)
    means = np.log10(rise) * is_writer[:, None] + scale[:, None] * scattered

    def population(sampler: Sampler) -> Tables:
        prompts = sampler.records(definition)
        values = sampler.signed(prompts, means, range(asked.n_layers), scale.tolist())
        return {definition.name: effects(probes, prompts, {"rise_log10": values})}

    return population
