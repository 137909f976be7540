"""Made-up tables of the chapter on where an adapter stands (18): what the adapters of several recipes add.

Gains scatter, and differ between trainings, as in `harness.calibration.tables_of_training`; each recipe is trained by
itself. They are the same on every family. Recipes that a card does not ask about are in the table as well.
"""

from __future__ import annotations

import numpy as np

from harness.adapters.values import Adapted
from harness.calibration.asked import Asked, Levels, above, below
from harness.calibration.population import Population
from harness.calibration.tables_of_training import OWN_LEAST, gained, names_of_families
from harness.experiments import EXPERIMENTS
from harness.experiments.adapter_sets import ALL_LINEAR
from harness.verdicts.criteria import RecipeBeats

OF_OTHERS, OF_ONE = (0.5, 3.0), (1.0, 4.0)
"""Ranges of what adapters add that are compared with, nats."""


def beating(asked: Asked) -> Population:
    """One recipe's gain is as far from what it is compared with as wanted; so many others lie on its side."""
    (criterion,) = asked.the(RecipeBeats)
    probes = EXPERIMENTS[criterion.experiment].probes(asked.card.protocol, asked.anatomy)
    adapted = [probe for probe in probes if isinstance(probe, Adapted)]
    rows = {p.parts[0].recipe.name: p for p in adapted if p.parts[0].step == criterion.step}
    others = [name for name in criterion.others if name in rows]
    n = len(others)
    least = n if criterion.least is None else min(criterion.least, n)
    gains = {ALL_LINEAR: float(asked.rng.uniform(*OF_ONE))}
    if criterion.theirs:
        own = float(asked.rng.uniform(*OF_ONE))
        bound = asked.target * (criterion.share * own + criterion.margin)
        short = below(asked.rng, n - least, 0.6 * bound) if n > least else np.empty(0)
        theirs = np.concatenate([above(asked.rng, least, bound), short])
        gains |= dict(zip(others, _shuffled(asked, theirs), strict=True))
    else:
        theirs = np.sort(asked.rng.uniform(*OF_OTHERS, n))
        own = asked.target * (criterion.share * float(theirs[least - 1]) + criterion.margin)
        gains |= dict(zip(others, _shuffled(asked, theirs), strict=True))
    gains[criterion.recipe] = own
    gains |= {name: float(asked.rng.uniform(*OF_OTHERS)) for name in sorted(rows.keys() - gains.keys())}
    n_families = len(names_of_families(asked, criterion.experiment))
    table = {rows[name]: np.full(n_families, gain) for name, gain in gains.items()}
    (whole,) = (p for p in adapted if (p.parts[0].recipe.name, p.parts[0].step) == (ALL_LINEAR, None))
    table.setdefault(whole, np.full(n_families, OF_ONE[1]))  # the card presupposes that it adds something
    return gained(asked, criterion.experiment, table, OWN_LEAST)


def _shuffled(asked: Asked, values: Levels) -> list[float]:
    return [float(value) for value in asked.rng.permutation(values)]
