"""Judging whether prompts matter: SameTop, TopMoves, ProfilesAgree, OnePromptMisleads.

A block that leads in two conditions need not be a hub in either: only a block that is separated from every other one
can stay or move. In a single family the comparison is Student's t over templates, since a handful of them is too few
for sign flips; elsewhere it is the sign-flip test of every other location (`harness.verdicts.hub`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.statistics.paired import within_family_p
from harness.verdicts.agreement import compare, judge_least
from harness.verdicts.criterion import SEPARATION_ALPHA
from harness.verdicts.hub import contest
from harness.verdicts.matching import questions
from harness.verdicts.reading import Measured, Profile, invalid, make_profile, say_p
from harness.verdicts.robustness_criteria import (
    AcrossConditions,
    Condition,
    OnePromptMisleads,
    ProfilesAgree,
    SameTop,
    TopMoves,
)
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

RESAMPLES, DRAWS = 999, 200
"""Of the templates, and of one prompt a family within each resample."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The strongest layer of one condition."""

    condition: Condition
    profile: Profile

    @property
    def alone(self) -> bool:
        """Whether the condition is one family."""
        return len(self.profile.clusters.families) == 1

    @cached_property
    def means(self) -> Float[np.ndarray, " layers"]:
        """Mean effect of each layer."""
        return np.asarray(self.profile.template_means @ self.profile.clusters.weights)

    @property
    def top(self) -> int:
        """The layer observed to be the strongest."""
        return int(np.argmax(self.means))

    @cached_property
    def p_separated(self) -> float:
        """Largest p-value of the top against a rival."""
        if self.alone:
            return min(1.0, 2 * float(self._ahead(self.top).max()))
        return contest(self.profile, None).p_separated

    def p_beaten(self, layer: int) -> float:
        """p-value of 'no other layer is above this one', corrected for having looked at all."""
        if layer == self.top:
            return 1.0
        if self.alone:
            above = self._ahead(layer, sign=-1.0)
            return min(1.0, self.p_separated, 2 * len(above) * float(above.min()))
        return contest(self.profile, layer).p_beaten

    def _ahead(self, layer: int, sign: float = 1.0) -> Float[np.ndarray, " rivals"]:
        """One-sided p-values of 'this layer is ahead of that rival' (sign -1: behind it), in one family."""
        means = self.profile.template_means
        lead = np.delete(means[layer] - means, layer, axis=0)
        return within_family_p(sign * lead, self.profile.clusters)[:, 0]

    def __str__(self) -> str:
        order = np.argsort(-self.means, kind="stable")
        first, second = (f"L{i} with {format_number(self.means[i])} nats" for i in order[:2])
        clusters, p = self.profile.clusters, self.p_separated
        held = "separated from" if p < SEPARATION_ALPHA else "in a tie with"
        return (
            f"{self.condition.name}: {first}, {held} {second} ({say_p(p)}; {clusters.n_prompts} prompts, "
            f"{clusters.n_templates} templates)"
        )


def judge_same_top(criterion: SameTop, measured: Measured) -> Finding:
    """Supported: one layer on top of every condition, separated in each. Refuted: it moves, as TopMoves has it."""
    return _judge_top(criterion, measured, claimed="stays")


def judge_top_moves(criterion: TopMoves, measured: Measured) -> Finding:
    """Supported: a layer separated in one condition is beaten in another (Bonferroni over ordered pairs).

    Refuted: one layer on top of every condition, separated in each. Inconclusive: anything else.
    """
    return _judge_top(criterion, measured, claimed="moves")


def judge_profiles_agree(criterion: ProfilesAgree, measured: Measured) -> Finding:
    """The least agreement over pairs of conditions, with the percentile interval of its resamples.

    As for RankAgreement (`judge_least`). Conditions on different templates are resampled independently.
    """
    profiles = {c.name: read_condition(c, measured) for c in criterion.conditions}
    pairs = []
    for one, two in combinations(profiles, 2):
        both = profiles[one], profiles[two]
        if criterion.matched:
            both = _shared(profiles[criterion.conditions[0].name], *both)
        for name, profile in zip((one, two), both, strict=True):
            if profile.problem:
                return invalid(f"in {name} {profile.problem}")
        pairs.append(compare(one, two, both[0].sampled, both[1].sampled))
    return judge_least(pairs, criterion.at_least, "Spearman")


def judge_one_prompt(criterion: OnePromptMisleads, measured: Measured) -> Finding:
    """The share of draws of one prompt a family with another top, with its bootstrap interval over templates.

    A draw takes a template of each family, each equally often, and one of its prompts. Every draw is compared with the
    *observed* top of all prompts; supported only if that is separated from all others: else there is none to miss.
    """
    profile = read_condition(criterion.condition, measured)
    if profile.problem:
        return invalid(profile.problem)
    clusters, fight = profile.clusters, contest(profile, None)
    rng = clusters.rng("one prompt a family")
    value = float(_misled(profile, clusters.weights[None], fight.best, 50 * DRAWS, rng)[0])
    shares = _misled(profile, _resampled(clusters, rng), fight.best, DRAWS, rng)
    estimate = _estimate(clusters, value, shares, "share of draws")
    said = f"Of draws of one prompt a family, {estimate} have another top than L{fight.best}"
    limit = criterion.at_least
    p = max(2 * bootstrap_p(shares < limit), fight.p_separated)
    verdict, why = Verdict.INCONCLUSIVE, "which is undecided"
    if estimate.high < limit:
        verdict, p, why = Verdict.REFUTED, 2 * bootstrap_p(shares >= limit), "fewer than claimed"
    elif not fight.separated:
        why = f"which ties with L{fight.second}: there is no hub to miss"
    elif estimate.low >= limit:
        verdict, why = Verdict.SUPPORTED, f"separated over all prompts ({say_p(fight.p_separated)})"
    return Finding(verdict=verdict, sentence=f"{said}, {why}.", estimate=estimate, p_value=min(1.0, p))


def read_condition(condition: Condition, measured: Measured) -> Profile:
    """The profile of a condition: the prompts of its parts side by side, of its families alone.

    Raises MissingEvidence for a part or a family that was not measured.
    """
    parts = [measured.profile_of(part) for part in condition.parts]
    values = np.concatenate([part.values for part in parts], axis=1)
    prompts = [prompt for part in parts for prompt in part.prompts]
    there = {prompt.family for prompt in prompts}
    if absent := [family for family in condition.families if family not in there]:
        raise MissingEvidence(
            f"no prompt of {', '.join(absent)} was measured ({', '.join(sorted(there))} were)"
        )
    keep = [i for i, p in enumerate(prompts) if not condition.families or p.family in condition.families]
    bad = None if np.isfinite(values[:, keep]).all() else next(p.problem for p in parts if p.problem)
    return make_profile(values[:, keep], tuple(prompts[i] for i in keep), bad)


def _shared(bare: Profile, one: Profile, two: Profile) -> tuple[Profile, Profile]:
    """Both profiles on the questions that both ask, in one order. Raises MissingEvidence where they share none."""
    first, second = questions(bare.prompts, one.prompts), questions(bare.prompts, two.prompts)
    both = sorted(first.keys() & second.keys())
    if not both:
        raise MissingEvidence("these conditions share no question: compare them without matching")
    return _restricted(one, [first[i] for i in both]), _restricted(two, [second[i] for i in both])


def _judge_top(criterion: AcrossConditions, measured: Measured, *, claimed: str) -> Finding:
    peaks = [Peak(condition=c, profile=read_condition(c, measured)) for c in criterion.conditions]
    for peak in peaks:
        if peak.profile.problem:
            return invalid(f"in {peak.condition.name} {peak.profile.problem}")
    same = len({peak.top for peak in peaks}) == 1
    p_stays = max(peak.p_separated for peak in peaks) if same else 1.0
    ordered = list(permutations(peaks, 2))
    p_moves = 1.0
    if not same:
        p_moves = min(max(a.p_separated, b.p_beaten(a.top)) for a, b in ordered) * len(ordered)
    found, p = ("stays", p_stays) if same else ("moves", min(1.0, p_moves))
    verdict, why = Verdict.INCONCLUSIVE, "which leaves it open"
    if p < SEPARATION_ALPHA:
        verdict = Verdict.SUPPORTED if found == claimed else Verdict.REFUTED
        why = f"so it {found} ({say_p(p)})"
    said = "; ".join(map(str, peaks))
    first = peaks[0]
    return Finding(
        verdict=verdict,
        sentence=f"On top is, in {said}: {why}.",
        estimate=None if first.alone else first.profile.sampled.estimate(first.top),
        p_value=p,
    )


def _resampled(clusters: Clusters, rng: np.random.Generator) -> Float[np.ndarray, "resamples templates"]:
    """How often each template comes up in resamples of its family, one fewer than there are: see `resample_weights`."""
    drawn = [rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=RESAMPLES) for n in clusters.sizes]
    return np.concatenate(drawn, axis=1).astype(float)


def _misled(
    profile: Profile,
    weights: Float[np.ndarray, "resamples templates"],
    top: int,
    draws: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " resamples"]:
    """Per resample, the share of draws of one prompt a family whose strongest layer is not `top`."""
    clusters = profile.clusters
    position = {key: t for t, key in enumerate(clusters.templates)}
    of_template: list[list[int]] = [[] for _ in position]
    for i, key in enumerate(clusters.keys):
        of_template[position[key]].append(i)
    sums = np.zeros((profile.n_layers, len(weights), draws))
    for f in range(len(clusters.families)):
        own = np.flatnonzero(clusters.family_of == f)
        edges = np.cumsum(weights[:, own], axis=1)
        edges /= edges[:, [-1]]
        chosen = (rng.random((len(weights), draws, 1)) >= edges[:, None, :-1]).sum(axis=2)
        counts = np.array([len(of_template[t]) for t in own])
        padded = np.array([of_template[t] + [0] * (counts.max() - len(of_template[t])) for t in own])
        within = (rng.random(chosen.shape) * counts[chosen]).astype(int)
        sums += profile.values[:, padded[chosen, within]]
    return np.asarray((sums.argmax(axis=0) != top).mean(axis=1))


def _restricted(profile: Profile, keep: list[int]) -> Profile:
    return make_profile(profile.values[:, keep], tuple(profile.prompts[i] for i in keep))


def _estimate(clusters: Clusters, value: float, draws: np.ndarray, unit: str) -> Estimate:
    low, high = percentile_interval(draws)
    return Estimate(
        value=value,
        low=low,
        high=high,
        unit=unit,
        n_prompts=clusters.n_prompts,
        n_templates=clusters.n_templates,
    )
