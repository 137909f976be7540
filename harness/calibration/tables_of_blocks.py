"""Made-up tables of the chapters on sublayers (7) and on other prompts (12)."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from harness.calibration.asked import (
    Asked,
    Levels,
    Made,
    below,
    random_levels,
    reranked,
    rows,
    together,
    wanted_correlation,
)
from harness.calibration.models import bisect
from harness.calibration.population import Noise, Population
from harness.experiments import EXPERIMENTS
from harness.verdicts.criteria import (
    EffectOrder,
    ExtremeLayer,
    HubIs,
    OnePromptMisleads,
    ProfileOf,
    ProfilesAgree,
    RankAgreement,
    SameTop,
    TopOverlap,
)

SIMULATED = 4_000
"""Draws of one prompt a family from which the truth about them is read."""
LENDING = 4
"""Families that `extended` adds to twelve."""


def _profile_tables(asked: Asked, wanted: dict[ProfileOf, Levels], by_family: float = 0.3) -> Population:
    """Profiles with these means, those of one experiment in one table."""
    names = dict.fromkeys(of.experiment for of in wanted)
    return together(
        *(
            rows(
                asked,
                name,
                [(of.select, levels) for of, levels in wanted.items() if of.experiment == name],
                by_family=by_family,
            )
            for name in names
        )
    )


def _led(asked: Asked, layer: int, lead: float) -> Levels:
    """A profile in which this layer has `lead` times the strongest other."""
    levels = below(asked.rng, asked.n_layers - 1, float(asked.rng.uniform(0.3, 3.0)))
    return np.insert(levels, layer, lead * levels.max())


def hub(asked: Asked) -> Population:
    """A block that leads by the wanted multiple of the least lead; beyond what a lead can be, by all of its effect."""
    (criterion,) = asked.the(HubIs)
    lead = min(0.95, criterion.min_lead * asked.target)
    layer = asked.among(asked.n_layers) if criterion.layer is None else criterion.layer
    levels = _led(asked, layer, 1.0 / (1.0 - lead))
    least = criterion.min_effect_nats * max(asked.target, 3.0)
    return _profile_tables(asked, {criterion.of: levels * max(1.0, least / levels[layer])})


def extreme(asked: Asked) -> Population:
    """The named layer's lead over the next, in each profile that is asked about."""
    criteria = asked.the(ExtremeLayer)
    near = asked.among(len(criteria) + 1)  # the last: all of them
    leads = [
        asked.target if near in (i, len(criteria)) else max(asked.target, 3.0) for i in range(len(criteria))
    ]
    return _profile_tables(
        asked, {c.of: _led(asked, c.layer, lead) for c, lead in zip(criteria, leads, strict=True)}
    )


def ordered(asked: Asked) -> Population:
    """Groups of probes, each a ratio of means above the next; several orders share no group."""
    wanted = []
    for criterion in asked.the(EffectOrder):
        names = list(criterion.groups)
        mean = float(asked.rng.uniform(0.1, 1.0))
        for name in reversed(names):
            levels = random_levels(asked.rng, asked.n_layers)
            wanted.append((criterion.groups[name], levels / levels.mean() * mean))
            mean *= asked.target
    return rows(asked, asked.the(EffectOrder)[0].experiment, wanted)


def zero_largest(asked: Asked) -> Population:
    """Zero does twice what mean and resample do, and they agree with it in rank as far as wanted."""
    (criterion,) = asked.the(RankAgreement)
    profiles = _agreeing(asked, criterion.profiles, criterion.at_least)
    zero, *others = criterion.profiles
    whole = profiles[zero].mean()
    scaled = {of: profiles[of] * whole / 2.0 / profiles[of].mean() / max(1.0, asked.target) for of in others}
    return _profile_tables(asked, {zero: profiles[zero], **scaled})


def same_top_three(asked: Asked) -> Population:
    """Profiles of which a number share `target` times as many of their strongest as asked for, rounded down."""
    (criterion,) = asked.the(TopOverlap)
    first, *others = criterion.profiles
    levels = np.sort(random_levels(asked.rng, asked.n_layers))[::-1]
    shared = min(criterion.k, int(asked.target * criterion.at_least))
    order = np.arange(asked.n_layers)
    places = criterion.k - 1 - np.arange(criterion.k - shared)
    moved = order.copy()
    moved[places], moved[places + criterion.k] = order[places + criterion.k], order[places]
    shuffle = asked.rng.permutation(asked.n_layers)
    odd = asked.among(len(others))
    return _profile_tables(
        asked,
        {
            first: levels[shuffle],
            **{of: levels[(moved if i == odd else order)[shuffle]] for i, of in enumerate(others)},
        },
    )


def agreeing(asked: Asked) -> Population:
    """Profiles of several conditions, one of which agrees with the others as far as wanted."""
    parts = tuple(
        dict.fromkeys(
            part for criterion in asked.the(ProfilesAgree) for c in criterion.conditions for part in c.parts
        )
    )
    of_some = any(c.families for criterion in asked.the(ProfilesAgree) for c in criterion.conditions)
    found = _agreeing(asked, parts, asked.the(ProfilesAgree)[0].at_least)
    return _profile_tables(asked, found, by_family=0.0 if of_some else 0.3)


def _agreeing(asked: Asked, profiles: tuple[ProfileOf, ...], at_least: float) -> dict[ProfileOf, Levels]:
    """All in the order of the first, but one that is shuffled until it correlates as wanted."""
    first, *others = profiles
    levels = random_levels(asked.rng, asked.n_layers)
    odd = asked.among(len(others))
    wanted, under = wanted_correlation(at_least, asked.target)
    return {
        first: levels,
        **{
            of: reranked(asked.rng, levels, wanted, under=under)
            if i == odd
            else reranked(asked.rng, levels, 1.0)
            for i, of in enumerate(others)
        },
    }


def same_top(asked: Asked) -> Population:
    """One layer leads in every condition, in one of them by the wanted factor alone."""
    (criterion,) = asked.the(SameTop)
    top = asked.among(asked.n_layers)
    parts = [condition.parts for condition in criterion.conditions]
    if any(len(each) > 1 for each in parts):
        return _nested(asked, [part for each in parts for part in each], top)
    near = asked.among(len(parts))
    lead = max(asked.target, float(asked.rng.uniform(1.5, 3.0)))
    of_some = any(condition.families for condition in criterion.conditions)
    return _profile_tables(
        asked,
        {each[0]: _led(asked, top, asked.target if i == near else lead) for i, each in enumerate(parts)},
        by_family=0.0 if of_some else 0.3,
    )


def _nested(asked: Asked, parts: list[ProfileOf], top: int) -> Population:
    """Conditions that share prompts: where the claim is false, the families that one of them adds turn its lead."""
    shared, added = tuple(dict.fromkeys(parts))
    if asked.target >= 1.0:
        levels = _led(asked, top, asked.target)
        return _profile_tables(asked, {shared: levels, added: levels}, by_family=0.0)
    levels = _led(asked, top, float(asked.rng.uniform(1.2, 1.6)))
    rival = int(np.argsort(-levels)[1])
    turned = 0.3 * levels
    n = asked.n_families(EXPERIMENTS[shared.experiment])
    turned[rival] = ((n * levels[top] + LENDING * turned[top]) / asked.target - n * levels[rival]) / LENDING
    return _profile_tables(asked, {shared: levels, added: turned}, by_family=0.0)


def one_prompt(asked: Asked) -> Made:
    """A hub that a single prompt a family misses as often as wanted."""
    (criterion,) = asked.the(OnePromptMisleads)
    (part,) = criterion.condition.parts
    levels, top = _led(asked, 0, 1.0), asked.among(asked.n_layers)
    n_families = len(criterion.condition.families)
    seed = int(asked.rng.integers(2**31))

    def with_lead(lead: float) -> Levels:
        return np.insert(levels[1:], top, lead * levels[1:].max())

    def share(lead: float) -> float:
        return share_misled(with_lead(lead), asked.noise, n_families, np.random.default_rng(seed))

    wanted = min(0.8, asked.target * criterion.at_least)
    lead = bisect(lambda x: share(x) / wanted, 1.0, 1.0, 20.0)
    population = _profile_tables(asked, {part: with_lead(lead)}, by_family=0.0)
    return Made(population=population, size=share(lead) / criterion.at_least)


def share_misled(levels: Levels, noise: Noise, n_families: int, rng: Generator) -> float:
    """Share of draws of one prompt a family, of templates drawn anew, whose strongest layer is not the true one."""
    shape = (SIMULATED, n_families, len(levels))
    common, own = rng.standard_normal((*shape[:2], 1)), rng.standard_normal(shape)
    z = np.sqrt(noise.common) * common + np.sqrt(1.0 - noise.common) * own
    summed = (levels * np.exp(noise.log_sd * z)).sum(axis=1)
    return float((summed.argmax(axis=1) != levels.argmax()).mean())
