"""Judging where a profile peaks: HubIs, ExtremeLayer, TopLayers.

An argmax is not read off a bootstrap: with true means 1.0 and 0.9 over 30 prompts, resampling backs the
wrong layer with a share of 0.84. A layer must beat *every* other one in a paired test over templates, each
at the same level; the largest of those p-values is the p-value of the whole (intersection-union; for a
layer that was picked by looking: Gutmann & Maymin 1987, Ann. Statist. 15:456). That a named layer is *not*
the peak needs one other layer above it, with a p-value corrected for having looked at all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.estimate import ALPHA, format_number
from harness.statistics.paired import SignFlip, sign_flip
from harness.verdicts.criterion import SEPARATION_ALPHA
from harness.verdicts.profile_criteria import ExtremeLayer, HubIs, TopLayers
from harness.verdicts.reading import Measured, Profile, invalid, say_p
from harness.verdicts.verdict import Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One layer against all others. `best` is the observed winner, `second` the observed runner-up."""

    layer: int
    best: int
    second: int
    p_separated: float
    """Of `layer`, when it is the best: largest p-value against a rival; 1 when it is not the best."""
    p_beaten: float
    """Of 'no other layer is beyond this one'."""

    @property
    def separated(self) -> bool:
        """True when the layer is the best and beats every rival."""
        return self.p_separated < SEPARATION_ALPHA

    @property
    def beaten(self) -> bool:
        """True when some other layer is beyond it."""
        return self.p_beaten < SEPARATION_ALPHA


def contest(profile: Profile, layer: int | None, sign: float = 1.0) -> Contest:
    """The paired tests of one layer (None: the observed best) against all others; sign -1: the smallest."""
    means = sign * profile.sampled.value
    order = np.argsort(-means, kind="stable")
    best, second = int(order[0]), int(order[1])
    if layer is None:
        layer = best
    against_best = _against(profile, best)
    own = against_best if layer == best else _against(profile, layer)
    # Another layer that beats all the rest beats this one too; that test is the sharper of the two.
    p_other = 1.0 if layer == best else float(against_best.p.max())
    beyond = sign * own.statistic < 0
    p_above = float(own.p_adjusted[beyond].min()) if beyond.any() else 1.0
    return Contest(
        layer=layer,
        best=best,
        second=second,
        p_separated=float(own.p.max()) if layer == best else 1.0,
        p_beaten=min(p_other, p_above),
    )


def judge_hub(criterion: HubIs, measured: Measured) -> Finding:
    """Supported: every rival beaten, and lead and effect at or above their floors at the 98% interval's
    lower bound.

    Refuted: another layer is above the named one; or no effect reaches the floor; or, for `layer=None`,
    every layer is shown to lead by less than `min_lead` over some other (equivalence of the top layers).
    Otherwise a tie: inconclusive. Invalid: a profile without shape, or numbers that are not finite.
    """
    profile = measured.profile_of(criterion.of)
    if criterion.layer is not None:
        profile.check_layer(criterion.layer)
    if profile.problem:
        return invalid(profile.problem)
    fight = contest(profile, criterion.layer)
    sampled, floor = profile.sampled, criterion.min_effect_nats
    estimate = sampled.estimate(fight.layer)
    lead = _lead(profile, fight.layer, criterion.min_lead)
    p_small = 2 * sampled.p_below(fight.best, floor)
    holds = fight.separated and lead.low >= criterion.min_lead and estimate.low >= floor
    if holds:
        p = max(fight.p_separated, lead.p, 2 * sampled.p_above(fight.layer, floor))
        verdict, why = Verdict.SUPPORTED, "so it is the hub"
    elif fight.beaten:
        verdict, p = Verdict.REFUTED, fight.p_beaten
        why = f"but L{fight.best} lies above it ({say_p(p)})"
    elif p_small <= ALPHA:
        verdict, p = Verdict.REFUTED, p_small
        why = f"but no {criterion.of.noun}'s effect reaches {format_number(floor)} nats"
    elif criterion.layer is None and (p_tie := 2 * _p_tie(profile, criterion.min_lead)) <= ALPHA:
        verdict, p = Verdict.REFUTED, p_tie
        why = f"so no {criterion.of.noun} leads by {criterion.min_lead:.0%}: the top {criterion.of.noun}s tie"
    else:
        p_small = 2 * sampled.p_above(fight.layer, floor)
        verdict, p = Verdict.INCONCLUSIVE, max(fight.p_separated, lead.p, p_small)
        why = f"which leaves a tie with L{fight.second if fight.layer == fight.best else fight.best}"
    return Finding(
        verdict=verdict,
        sentence=f"{_say(fight, profile)} {lead}, {why}.",
        estimate=estimate,
        p_value=min(1.0, p),
    )


def judge_extreme(criterion: ExtremeLayer, measured: Measured) -> Finding:
    """Supported: every other layer beaten. Refuted: some other layer beyond it. Inconclusive: a tie."""
    profile = measured.profile_of(criterion.of)
    profile.check_layer(criterion.layer)
    if profile.problem:
        return invalid(profile.problem)
    fight = contest(profile, criterion.layer, 1.0 if criterion.which == "strongest" else -1.0)
    if fight.separated:
        verdict, p, why = (
            Verdict.SUPPORTED,
            fight.p_separated,
            f"and is separated ({say_p(fight.p_separated)})",
        )
    elif fight.beaten:
        verdict, p, why = (
            Verdict.REFUTED,
            fight.p_beaten,
            f"and L{fight.best} is beyond it ({say_p(fight.p_beaten)})",
        )
    else:
        rival = fight.second if fight.layer == fight.best else fight.best
        verdict, p, why = Verdict.INCONCLUSIVE, fight.p_separated, f"and ties with L{rival}"
    said = _say(fight, profile, criterion.which)
    sentence = f"L{fight.layer} should be the {criterion.which} {criterion.of.noun}: {said} {why}."
    return Finding(
        verdict=verdict, sentence=sentence, estimate=profile.sampled.estimate(fight.layer), p_value=p
    )


def judge_top_layers(criterion: TopLayers, measured: Measured) -> Finding:
    """Supported: each layer named beats each layer outside. Refuted: one outside above one named."""
    profile = measured.profile_of(criterion.of)
    profile.check_layer(*criterion.layers)
    if profile.problem:
        return invalid(profile.problem)
    inside = sorted(criterion.layers)
    outside = [layer for layer in range(profile.n_layers) if layer not in criterion.layers]
    pairs = [(i, o) for i in inside for o in outside]
    means = profile.template_means
    differences = np.array([means[i] - means[o] for i, o in pairs])
    test = sign_flip(differences, profile.clusters.weights, profile.clusters.rng("sign flips"))
    ahead = bool((test.statistic > 0).all())
    p_in, p_out = float(test.p.max()), float(test.p_adjusted[test.statistic < 0].min(initial=1.0))
    worst = pairs[int(np.argmin(test.statistic))]
    shown = (
        f"L{worst[0]} (named) and L{worst[1]} (not named) differ by "
        f"{format_number(test.statistic.min())} nats"
    )
    if ahead and p_in < SEPARATION_ALPHA:
        return Finding(verdict=Verdict.SUPPORTED, sentence=f"{shown}, {say_p(p_in)}.", p_value=p_in)
    if p_out < SEPARATION_ALPHA:
        return Finding(verdict=Verdict.REFUTED, sentence=f"{shown}, {say_p(p_out)}.", p_value=p_out)
    return Finding(
        verdict=Verdict.INCONCLUSIVE, sentence=f"{shown}, which is a tie.", p_value=p_in if ahead else 1.0
    )


@dataclass(frozen=True, kw_only=True)
class _Lead:
    """Lead over the strongest rival as a share of the layer's own effect, its bounds, and p(lead < floor)."""

    value: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        if self.value < 0:
            return "behind it"
        return f"leading by {self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


def _lead(profile: Profile, layer: int, floor: float) -> _Lead:
    """The lead over each rival; the bounds and p-value are the worst over rivals."""
    draws, value = profile.sampled.draws, profile.sampled.value
    leads, points = _relative(draws, layer), _relative(value[None], layer)[0]
    bounds = [percentile_interval(lead) for lead in leads.T]
    return _Lead(
        value=float(points.min()),
        low=min(low for low, _ in bounds),
        high=min(high for _, high in bounds),
        p=min(1.0, 2 * max(bootstrap_p(lead < floor) for lead in leads.T)),
    )


def _p_tie(profile: Profile, floor: float) -> float:
    """p-value of 'some layer leads all others by at least `floor`'.

    Every layer must be shown to lead some rival by less: one-sided at 0.01 (two one-sided tests, Schuirmann
    1987), Bonferroni over the rivals, because which rival shows it is picked by looking.
    """
    draws, n = profile.sampled.draws, profile.n_layers
    best = int(np.argmax(profile.sampled.value))
    p_best = min(bootstrap_p(lead >= floor) for lead in _relative(draws, best).T)
    others = (layer for layer in range(n) if layer != best)
    p_others = max(bootstrap_p(_relative(draws[:, [layer, best]], 0)[:, 0] >= floor) for layer in others)
    return min(1.0, (n - 1) * max(p_best, p_others))


def _relative(values: np.ndarray, layer: int) -> np.ndarray:
    """(own - rival) / own for every rival; minus infinity where the layer has no effect of its own."""
    own = values[:, [layer]]
    rivals = np.delete(values, layer, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(own > 0, (own - rivals) / own, -np.inf))


def _against(profile: Profile, layer: int) -> SignFlip:
    means = profile.template_means
    differences = np.delete(means[layer] - means, layer, axis=0)
    return sign_flip(differences, profile.clusters.weights, profile.clusters.rng("sign flips"))


def _say(fight: Contest, profile: Profile, which: str = "strongest") -> str:
    own = profile.sampled.estimate(fight.layer)
    rival = fight.second if fight.layer == fight.best else fight.best
    value = format_number(float(profile.sampled.value[rival]))
    return f"L{fight.layer} moves {own}, the {which} other is L{rival} with {value},"
