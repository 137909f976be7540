"""Judging statements about task families: TopInFamilies, FamilyExtremes, SubsetHubShare.

A share of bootstrap resamples in which such a statement holds is not a test: three families that tie each
look won in most resamples. So families are tested one by one (Student's t over their templates) and counted
by the partial conjunction test.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval, weights_of
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.statistics.paired import partial_conjunction_p, within_family_p
from harness.verdicts.hub import contest
from harness.verdicts.profile_criteria import FamilyExtremes, SubsetHubShare, TopInFamilies
from harness.verdicts.reading import Measured, Profile, invalid, say_p
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

_BATCH_CELLS = 8_000_000
"""Numbers held at once while resampling subsets: 64 MB."""


def judge_top_in_families(criterion: TopInFamilies, measured: Measured) -> Finding:
    """Supported or refuted by the partial conjunction test at a two-sided 0.02 (0.01 each way), else
    inconclusive.

    A family counts for the layer when it beats every other layer there (largest p over rivals), against it
    when another layer lies above it (smallest p times the number of rivals).
    """
    profile = measured.profile_of(criterion.of)
    profile.check_layer(criterion.layer)
    if profile.problem:
        return invalid(profile.problem)
    clusters, means = profile.clusters, profile.template_means
    n = len(clusters.families)
    if criterion.at_least > n:
        raise MissingEvidence(
            f"the criterion asks for {criterion.at_least} families; the suite measured has {n}"
        )
    ahead = np.delete(means[criterion.layer] - means, criterion.layer, axis=0)
    won = within_family_p(ahead, clusters).max(axis=0)
    lost = np.minimum(1.0, within_family_p(-ahead, clusters).min(axis=0) * len(ahead))
    p_holds = 2 * partial_conjunction_p(won, criterion.at_least)
    p_fails = 2 * partial_conjunction_p(lost, n - criterion.at_least + 1)
    family_means = clusters.family_means(means)
    rivals = np.delete(family_means, criterion.layer, axis=0).max(axis=0)
    count = int((family_means[criterion.layer] > rivals).sum())
    shown = f"L{criterion.layer} is on top in {count} of {n} families"
    if count >= criterion.at_least and p_holds <= ALPHA:
        verdict, p, why = Verdict.SUPPORTED, p_holds, f"separated in at least {criterion.at_least}"
    elif count < criterion.at_least and p_fails <= ALPHA:
        below = n - criterion.at_least + 1
        verdict, p, why = (
            Verdict.REFUTED,
            p_fails,
            f"and significantly below another block in at least {below}",
        )
    else:
        verdict, p, why = (
            Verdict.INCONCLUSIVE,
            min(p_holds, p_fails),
            "too few templates a family to separate them",
        )
    p = min(1.0, p)
    return Finding(verdict=verdict, sentence=f"{shown}, {why} ({say_p(p)}).", p_value=p)


def judge_family_extremes(criterion: FamilyExtremes, measured: Measured) -> Finding:
    """Supported: every named family is beyond every other one (Welch's t over templates, largest p,
    two-sided 0.02).

    Refuted: some other family lies beyond a named one, Bonferroni over all pairs.
    """
    from scipy.stats import ttest_ind

    profile = measured.profile_of(criterion.of)
    profile.check_layer(criterion.layer)
    if profile.problem:
        return invalid(profile.problem)
    names = profile.clusters.families
    if strangers := [f for f in (*criterion.top, *criterion.bottom) if f not in names]:
        raise MissingEvidence(
            f"no prompt of the families {', '.join(strangers)} was measured ({', '.join(names)} were)"
        )
    own = profile.template_means[criterion.layer]
    groups = {f: own[profile.clusters.family_of == i] for i, f in enumerate(names)}
    pairs = [(t, f) for t in criterion.top for f in names if f not in criterion.top]
    pairs += [(f, b) for b in criterion.bottom for f in names if f not in criterion.bottom]
    gaps = np.array([groups[high].mean() - groups[low].mean() for high, low in pairs])
    ps = np.array([_p(ttest_ind(groups[high], groups[low], equal_var=False)) for high, low in pairs])
    worst = pairs[int(np.argmin(gaps))]
    shown = (
        f"at L{criterion.layer}, {worst[0]} ({format_number(groups[worst[0]].mean())} nats) should lie above "
        f"{worst[1]} ({format_number(groups[worst[1]].mean())} nats)"
    )
    p_holds, p_fails = float(ps.max()), min(1.0, float(ps[gaps < 0].min(initial=1.0)) * len(pairs))
    if (gaps > 0).all() and p_holds <= ALPHA:
        return Finding(
            verdict=Verdict.SUPPORTED, sentence=f"{shown}, and does ({say_p(p_holds)}).", p_value=p_holds
        )
    if p_fails <= ALPHA:
        sentence = f"{shown}, but named and other families are in another order ({say_p(p_fails)})."
        return Finding(verdict=Verdict.REFUTED, sentence=sentence, p_value=p_fails)
    p = p_holds if (gaps > 0).all() else 1.0
    return Finding(verdict=Verdict.INCONCLUSIVE, sentence=f"{shown}, which is undecided.", p_value=p)


def judge_subset_share(criterion: SubsetHubShare, measured: Measured) -> Finding:
    """The share of family subsets with another top block than the full suite, with its bootstrap interval.

    Each resample redraws templates and compares every subset with the *observed* top of the full suite.
    Supported only if that top is separated from all others: where the full suite has no hub there is none
    to miss.
    """
    profile = measured.profile_of(criterion.of)
    if profile.problem:
        return invalid(profile.problem)
    n = len(profile.clusters.families)
    if criterion.subset_size >= n:
        raise MissingEvidence(
            f"subsets of {criterion.subset_size} families need a suite of more; the suite measured has {n}"
        )
    fight = contest(profile, None)
    members = _members(n, criterion.subset_size)
    value = float(
        _shares(profile.clusters.family_means(profile.template_means)[None], members, fight.best)[0]
    )
    draws = _resampled_shares(profile, members, fight.best)
    low, high = percentile_interval(draws)
    estimate = Estimate(
        value=value,
        low=low,
        high=high,
        unit="share of subsets",
        n_prompts=profile.clusters.n_prompts,
        n_templates=profile.clusters.n_templates,
    )
    shown = (
        f"Of {len(members)} subsets of {criterion.subset_size} families, {estimate} "
        f"have another top than L{fight.best}"
    )
    if high < criterion.at_least:
        verdict, p, why = Verdict.REFUTED, 2 * bootstrap_p(draws >= criterion.at_least), "fewer than claimed"
    elif low >= criterion.at_least and fight.separated:
        p = max(2 * bootstrap_p(draws < criterion.at_least), fight.p_separated)
        verdict, why = Verdict.SUPPORTED, f"the full suite's separated hub ({say_p(p)})"
    else:
        p = max(2 * bootstrap_p(draws < criterion.at_least), fight.p_separated)
        verdict = Verdict.INCONCLUSIVE
        why = (
            "which is undecided"
            if fight.separated
            else f"which ties with L{fight.second}: there is no hub to miss"
        )
    return Finding(verdict=verdict, sentence=f"{shown}, {why}.", estimate=estimate, p_value=min(1.0, p))


def _members(n_families: int, size: int) -> Float[np.ndarray, "subsets families"]:
    subsets = list(combinations(range(n_families), size))
    members = np.zeros((len(subsets), n_families))
    for row, subset in zip(members, subsets, strict=True):
        row[list(subset)] = 1.0
    return members


def _shares(
    family_means: Float[np.ndarray, "resamples layers families"],
    members: Float[np.ndarray, "subsets families"],
    top: int,
) -> Float[np.ndarray, " resamples"]:
    """Share of subsets in which some layer's sum over the subset's families exceeds that of layer `top`."""
    ahead = family_means - family_means[:, [top]]
    ahead = ahead[:, (ahead > 0).any(axis=(0, 2))]  # a layer ahead in no family is ahead in no subset
    if not ahead.size:
        return np.zeros(len(family_means))
    return np.asarray(((ahead @ members.T).max(axis=1) > 0).mean(axis=1))


def _resampled_shares(profile: Profile, members: np.ndarray, top: int) -> Float[np.ndarray, " resamples"]:
    clusters, weights = profile.clusters, weights_of(profile.clusters)
    n_families = len(clusters.families)
    by_family = np.zeros((clusters.n_templates, n_families))
    by_family[np.arange(clusters.n_templates), clusters.family_of] = n_families
    batch = max(1, _BATCH_CELLS // (len(members) * profile.n_layers))
    out = []
    for start in range(0, len(weights), batch):
        part = weights[start : start + batch]
        means = np.einsum("rt,lt,tf->rlf", part, profile.template_means, by_family, optimize=True)
        out.append(_shares(means, members, top))
    return np.concatenate(out)


def _p(result: object) -> float:
    p = float(result.pvalue)  # type: ignore[attr-defined]
    return 1.0 if np.isnan(p) else p
