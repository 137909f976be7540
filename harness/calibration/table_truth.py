"""The truth about a criterion, from a table without noise: every value is its family's mean over all templates.

`size` is 1 at the threshold, as in `harness.calibration.truth`, which knows the criteria on bounds. The others:

    an order, a factor, a peak     ratio of the two means, over the factor
    a rank correlation of b        (1 - b) / (1 - correlation); "at most -b": with the signs turned
    a sign                         1 + mean / LEAST_SLOPE
    a share that is lost           1 + (share x mean - other mean) / LEAST_SLOPE, where the mean is largest
    a margin, a gain, a drop       mean / bound
    so many of the top k           number shared / number asked for
    the same top everywhere        least ratio of that layer to another, over conditions
    on some families' prompts      that of the criterion, on their prompts

Those of adapters are in `harness.calibration.truth_of_adapters`, those on the massive activation in
`harness.calibration.truth_of_mechanism`.

Of several probes the smallest size where all must hold, the largest where one must; of blocks ("some block") the
largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Float

from harness.calibration.table_means import agreement_size, family_mean
from harness.calibration.truth import bound_size
from harness.calibration.truth_of_adapters import adapter_size
from harness.experiments.patching import DENOISING, NOISING
from harness.patching import RECOVERY, recovered
from harness.statistics.ranks import spearman
from harness.steering import Kind, read_steering
from harness.verdicts.comparable import comparable
from harness.verdicts.criteria import (
    AdapterRatio,
    AdapterRecovery,
    BeatsControls,
    BlockCorrelation,
    ChangesDiffer,
    Contrast,
    DirectionsAgree,
    EffectOrder,
    EveryProbe,
    ExtremeLayer,
    FamilyLeads,
    HubIs,
    KlFallsWithDepth,
    KnockoutBeatsRandom,
    KnockoutSelects,
    OfFamilies,
    ProfilesAgree,
    RankAgreement,
    RecipeBeats,
    RecoveryBound,
    RecoveryDepth,
    SameTop,
    SingleCriterion,
    SomeProbe,
    SpotOutweighs,
    SteeringGain,
    SteeringMoves,
    SteeringSlope,
    SteeringWeakens,
    TopOverlap,
)
from harness.verdicts.reading import Measured, Tables, measured
from harness.verdicts.robustness import read_condition
from harness.verdicts.selectors import Edges, Spotted
from harness.verdicts.steering_criteria import Gain
from harness.verdicts.steering_table import SteeringTable, read_table
from harness.verdicts.training import of_families

LEAST_SLOPE = 0.2
"""Nats per length of the stream: the least effect, 0.1 nats, of half a length."""


def table_size(criterion: SingleCriterion, tables: Tables, n_layers: int) -> float:
    """The truth. Raises TypeError for a criterion whose truth is not defined here."""
    view = measured(tables, n_layers)
    match criterion:
        case HubIs() | EveryProbe() | SomeProbe() | RecoveryBound():
            return _bounded(criterion, view)
        case ExtremeLayer():
            profile = view.profile_of(criterion.of)
            return _lead(family_mean(profile.values, profile.prompts), criterion.layer)
        case EffectOrder() | SpotOutweighs():
            return _ordered(criterion, view)
        case TopOverlap() | RankAgreement() | ProfilesAgree() | DirectionsAgree() | KlFallsWithDepth():
            return _agreeing(criterion, view)
        case SameTop():
            return _same_top(criterion, view)
        case SteeringGain() | SteeringSlope() | BeatsControls() | SteeringMoves():
            return _steered(criterion, view)
        case SteeringWeakens():
            return _weakened(criterion, view)
        case KnockoutSelects() | KnockoutBeatsRandom():
            return _knocked_out(criterion, view)
        case OfFamilies():
            return table_size(criterion.criterion, of_families(criterion, view).tables, n_layers)
        case (
            AdapterRatio()
            | BlockCorrelation()
            | AdapterRecovery()
            | RecoveryDepth()
            | Contrast()
            | FamilyLeads()
            | ChangesDiffer()
            | RecipeBeats()
        ):
            return adapter_size(criterion, view)
    raise TypeError(
        f"no truth is defined for {type(criterion).__name__}: teach harness/calibration/table_truth.py"
    )


def _bounded(criterion: HubIs | EveryProbe | SomeProbe | RecoveryBound, view: Measured) -> float:
    if isinstance(criterion, HubIs):
        profile = view.profile_of(criterion.of)
        means = family_mean(profile.values, profile.prompts)
        layer = int(means.argmax()) if criterion.layer is None else criterion.layer
        own, second = float(means[layer]), float(np.delete(means, layer).max())
        return max(0.0, min((own - second) / own / criterion.min_lead, own / criterion.min_effect_nats))
    if isinstance(criterion, RecoveryBound):
        view = measured({criterion.experiment: recovered(view.table(criterion.experiment))}, view.n_layers)
        every, metric = not criterion.some, RECOVERY
    else:
        every, metric = isinstance(criterion, EveryProbe), criterion.metric
    rows = view.rows(criterion.experiment, criterion.select, metric)
    bound = EveryProbe(
        experiment=criterion.experiment,
        select=criterion.select,
        metric=metric,
        at_least=criterion.at_least,
        at_most=criterion.at_most,
        rationale="as the criterion's",
    )
    sizes = [bound_size(bound, float(mean)) for mean in family_mean(rows.values, rows.prompts)]
    return min(sizes) if every else max(sizes)


def _lead(means: Float[np.ndarray, " layers"], layer: int) -> float:
    return float(means[layer] / np.delete(means, layer).max())


def _ordered(criterion: EffectOrder | SpotOutweighs, view: Measured) -> float:
    if isinstance(criterion, EffectOrder):
        groups = [view.rows(criterion.experiment, s, "kl_nats") for s in criterion.groups.values()]
        means = [float(family_mean(rows.values, rows.prompts).mean()) for rows in groups]
        return min(a / b for a, b in pairwise(means))
    return min(_outweighs(criterion, weaker, view) for weaker in criterion.weaker)


def _outweighs(criterion: SpotOutweighs, weaker: Spotted | Edges, view: Measured) -> float:
    """The ratio to one of the weaker classes, on the prompts that have both."""
    selected = criterion.stronger, weaker
    found = [view.rows(criterion.experiment, select, criterion.metric) for select in selected]
    both = set(found[0].prompts) & set(found[1].prompts)
    means = []
    for rows, select in zip(found, selected, strict=True):
        kept = [i for i, prompt in enumerate(rows.prompts) if prompt in both]
        prompts = [rows.prompts[i] for i in kept]
        counts = [dict(zip(p.spots, p.n_in_spots, strict=True))[select.spot] for p in prompts]
        values = rows.values[:, kept].mean(axis=0)
        means.append(float(family_mean(values / counts if criterion.per_token else values, prompts)))
    return means[0] / means[1] / criterion.times


def _agreeing(
    criterion: RankAgreement | ProfilesAgree | DirectionsAgree | KlFallsWithDepth, view: Measured
) -> float:
    if isinstance(criterion, KlFallsWithDepth):
        table = view.table(criterion.experiment)
        found = [(read_steering(probe), i) for i, probe in enumerate(table.probes)]
        means = family_mean(table.metrics["kl_nats"], table.prompts)
        by_layer: dict[int, list[float]] = {}
        for steering, i in found:
            if steering is not None and steering.direction.unit is criterion.unit:
                by_layer.setdefault(steering.layers[0], []).append(float(means[i]))
        profile = np.array([np.mean(by_layer[layer]) for layer in sorted(by_layer)])
        return agreement_size(-criterion.at_most, -_rho(np.arange(len(profile)), profile))
    if isinstance(criterion, RankAgreement):
        profiles = [view.profile_of(of) for of in criterion.profiles]
        means_of = [family_mean(p.values, p.prompts) for p in profiles]
        if isinstance(criterion, TopOverlap):
            tops = [set(np.argsort(-m)[: criterion.k].tolist()) for m in means_of]
            return min(len(a & b) for a, b in combinations(tops, 2)) / criterion.at_least
    elif isinstance(criterion, ProfilesAgree):
        conditions = [read_condition(c, view) for c in criterion.conditions]
        means_of = [family_mean(p.values, p.prompts) for p in conditions]
    else:
        means_of = []
        for name in (DENOISING, NOISING):
            view_of = measured({name: recovered(view.table(name))}, view.n_layers)
            rows = view_of.rows(name, criterion.select, RECOVERY)
            sign = 1.0 if name == DENOISING else -1.0
            means_of.append(sign * family_mean(rows.values, rows.prompts))
    return agreement_size(criterion.at_least, min(_rho(a, b) for a, b in combinations(means_of, 2)))


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearman(a[None], b[None])[0])


def _same_top(criterion: SameTop, view: Measured) -> float:
    profiles = [read_condition(c, view) for c in criterion.conditions]
    means = [family_mean(p.values, p.prompts) for p in profiles]
    return max(min(_lead(m, layer) for m in means) for layer in range(len(means[0])))


def _steered(
    criterion: SteeringGain | SteeringSlope | BeatsControls | SteeringMoves, view: Measured
) -> float:
    table = read_table(view, criterion.experiment)
    if isinstance(criterion, SteeringMoves):
        return _moves(criterion, table)
    keep = table.of_skill
    prompts = [p for p, kept in zip(table.prompts, keep, strict=True) if kept]

    def mean(values: np.ndarray) -> float:
        return float(family_mean(values[keep], prompts))

    sizes = []
    for layer in table.blocks if criterion.layer is None else (criterion.layer,):
        if isinstance(criterion, SteeringSlope):
            slope = mean(table.slope((layer,), criterion.gain, criterion.window))
            sizes.append(1.0 + criterion.sign * slope / LEAST_SLOPE)
        elif isinstance(criterion, SteeringGain):
            gains = [mean(table.gain(table.at((layer,), s), criterion.gain)) for s in criterion.strengths]
            assert criterion.at_least is not None, "no universal card asks for little"
            sizes.append(min(gains) / criterion.at_least)
        else:
            own = mean(table.gain(table.at((layer,), criterion.strength), criterion.gain))
            drawn = table.controls(layer, criterion.strength)
            gains = [
                mean(table.gain(table.at((layer,), criterion.strength, d), criterion.gain)) for d in drawn
            ]
            random = [g for g, d in zip(gains, drawn, strict=True) if d.kind is Kind.RANDOM]
            others = [g for g, d in zip(gains, drawn, strict=True) if d.kind is not Kind.RANDOM]
            rival = max(_toughest(random, criterion.random_share), *others)
            sizes.append((own - rival) / criterion.margin_nats)
    return max(sizes)


def _weakened(criterion: SteeringWeakens, view: Measured) -> float:
    """At the block with the largest slope where it is strong; no truer than that there is a slope."""
    strong, weak = (read_table(view, name) for name in criterion.experiments)

    def slopes(table: SteeringTable) -> np.ndarray:
        prompts = [p for p, kept in zip(table.prompts, table.of_skill, strict=True) if kept]
        values = [table.slope((b,), criterion.gain, criterion.window)[table.of_skill] for b in strong.blocks]
        return np.array([float(family_mean(of_block, prompts)) for of_block in values])

    own, other = slopes(strong), slopes(weak)
    best = int(own.argmax())
    lost = criterion.factor * own[best] - other[best]
    return 1.0 + float(min(own[best], lost)) / LEAST_SLOPE


def _toughest(controls: Sequence[float], share: float) -> float:
    """The strongest of the controls that must be beaten, where so many of them may be spared."""
    return sorted(controls)[math.ceil(share * len(controls)) - 1]


def _moves(criterion: SteeringMoves, table: SteeringTable) -> float:
    keep = ~table.of_skill if criterion.others else table.of_skill
    prompts = [p for p, kept in zip(table.prompts, keep, strict=True) if kept]
    sizes = []
    for layer in criterion.layers or table.blocks:
        for strength in criterion.strengths:
            kl = float(family_mean(table.metric(table.at((layer,), strength), "kl_nats")[keep], prompts))
            sizes.append(kl / criterion.at_least if criterion.at_least else (criterion.at_most or 0.0) / kl)
    return min(sizes)


def _knocked_out(criterion: KnockoutSelects | KnockoutBeatsRandom, view: Measured) -> float:
    table = read_table(view, criterion.experiment)
    group = comparable(table, criterion.min_probability)
    assert group is not None, "a made-up table gives answers a probability"

    def parts(steering_gain: np.ndarray) -> tuple[float, float]:
        drops, kept = -steering_gain[group.keep], group.prompts
        return tuple(  # type: ignore[return-value]
            float(family_mean(drops[on], [p for p, o in zip(kept, on, strict=True) if o]))
            for on in (group.of_skill, ~group.of_skill)
        )

    sizes = []
    for layer in table.blocks if criterion.layer is None else (criterion.layer,):
        skill, others = parts(table.gain(table.at((layer,), criterion.strength), Gain.ANSWER))
        if isinstance(criterion, KnockoutSelects):
            assert criterion.at_least is not None, "no universal card asks for little"
            size = (skill - others) / criterion.at_least
            if criterion.index_at_least is not None:
                index = (skill - others) / (abs(skill) + abs(others))
                size = min(size, index / criterion.index_at_least)
        else:
            drawn = [d for d in table.controls(layer, -criterion.strength) if d.kind is Kind.RANDOM]
            rivals = [
                parts(table.gain(table.at((layer,), -criterion.strength, d), Gain.ANSWER)) for d in drawn
            ]
            rival = _toughest([a - b for a, b in rivals], criterion.random_share)
            size = (skill - others - rival) / criterion.margin_nats
        sizes.append(size)
    return max(sizes)
