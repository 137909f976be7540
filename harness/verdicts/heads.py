"""Judging Specialist, HeadRank and TopHeadsIn on the sweep of every head, and HeadRanksAgree on several sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
from jaxtyping import Float

from harness.edits import Edit
from harness.statistics.bootstrap import bootstrap_p, percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.statistics.paired import partial_conjunction_p, within_family_p
from harness.statistics.ranks import spearman
from harness.verdicts.agreement import compare, judge_least
from harness.verdicts.deciding import decide
from harness.verdicts.head_criteria import Head, HeadRank, HeadRanksAgree, Specialist, TopHeadsIn, name_head
from harness.verdicts.reading import Measured, Rows, invalid, say_p
from harness.verdicts.selectors import EveryHead, Selector
from harness.verdicts.verdict import Finding, MissingEvidence

TIES = 4
"""Decimals of a mean effect, in nats, that are ranked: heads closer than a ten-thousandth tie."""


@dataclass(frozen=True, kw_only=True)
class Excess:
    """One-sided p-values of every head and family: that its effect there is no larger than what is asked, and no less.

    `above` of "its mean on the family exceeds both the factor times the others' and the least effect", `below` of the
    opposite.
    """

    above: Float[np.ndarray, "heads families"]
    below: Float[np.ndarray, "heads families"]
    own: Float[np.ndarray, "heads families"]
    others: Float[np.ndarray, "heads families"]


def judge_specialist(criterion: Specialist, measured: Measured) -> Finding:
    """Welch's t over templates: the family's mean against `factor` times the mean of the others, and the least effect.

    Of some head: supported where one of all heads and families is discovered at a false discovery rate of 1%
    (Benjamini & Hochberg); refuted where every one of them falls short, each at 1%.
    """
    from scipy.stats import false_discovery_control

    rows, heads = _heads(measured)
    if rows.problem:
        return invalid(rows.problem)
    clusters = Clusters.of(rows.prompts)
    if criterion.family is not None and criterion.family not in clusters.families:
        raise MissingEvidence(f"no prompt of the family {criterion.family} was measured")
    found = excesses(clusters, rows.values, criterion.factor, criterion.min_effect_nats)
    if criterion.head is not None and criterion.family is not None:
        at = (_index(heads, criterion.head), clusters.families.index(criterion.family))
        holds, fails = 2 * float(found.above[at]), 2 * float(found.below[at])
    else:
        adjusted = np.reshape(false_discovery_control(found.above.ravel()), found.above.shape)
        at = tuple(int(i) for i in np.unravel_index(int(found.above.argmin()), adjusted.shape))  # type: ignore[assignment]
        holds, fails = 2 * float(adjusted.min()), 2 * float(found.below.max())
    own, others = float(found.own[at]), float(found.others[at])
    said = (
        f"{name_head(heads[at[0]])} moves {clusters.families[at[1]]} by {format_number(own)} nats and the other "
        f"families by {format_number(others)} on average"
    )
    if criterion.head is None:
        said = f"Of {found.above.size} pairs of head and family, {said}"
    return _decided(holds, fails, said)


def excesses(
    clusters: Clusters, values: Float[np.ndarray, "heads prompts"], factor: float, least: float
) -> Excess:
    """Welch-Satterthwaite t-tests on template means; a family of one template has p = 1.

    Among the other families such a one counts with the mean variance of those that show theirs.
    """
    from scipy.stats import t

    means = clusters.template_means(values)
    n_families = len(clusters.families)
    if n_families < 2:
        raise MissingEvidence("a specialist needs another family to be compared with")
    shape = (len(values), n_families)
    own, variance, spread = np.empty(shape), np.full(shape, np.nan), np.full(shape, np.nan)
    freedom = np.array([size - 1 for size in clusters.sizes], dtype=float)
    for f, size in enumerate(clusters.sizes):
        part = means[:, clusters.family_of == f]
        own[:, f] = part.mean(axis=1)
        if size > 1:
            spread[:, f] = part.var(axis=1, ddof=1)
            variance[:, f] = spread[:, f] / size
    seen = np.nanmean(spread, axis=1, keepdims=True) if np.isfinite(spread).any() else spread
    other_variance = np.where(np.isnan(variance), seen, variance)
    others = (own.sum(axis=1, keepdims=True) - own) / (n_families - 1)
    scale = (factor / (n_families - 1)) ** 2
    rest = scale * (other_variance.sum(axis=1, keepdims=True) - other_variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = other_variance**2 / np.maximum(freedom, 1.0)
        rest_squares = scale**2 * (squares.sum(axis=1, keepdims=True) - squares)
        total = variance + rest
        joint = total**2 / (squares + rest_squares)
        by_factor = (own - factor * others) / np.sqrt(total)
        by_size = (own - least) / np.sqrt(variance)
        wide = np.broadcast_to(freedom, shape)
        above = np.maximum(t.sf(by_factor, joint), t.sf(by_size, wide))
        below = np.minimum(t.cdf(by_factor, joint), t.cdf(by_size, wide))
    return Excess(
        above=np.nan_to_num(above, nan=1.0), below=np.nan_to_num(below, nan=1.0), own=own, others=others
    )


def judge_head_rank(criterion: HeadRank, measured: Measured) -> Finding:
    """Paired t-tests within each family: the head beats all but k - 1 others, or k others beat it."""
    rows, heads = _heads(measured)
    if rows.problem:
        return invalid(rows.problem)
    clusters = Clusters.of(rows.prompts)
    if strangers := [f for f in criterion.families if f not in clusters.families]:
        raise MissingEvidence(f"no prompt of the families {', '.join(strangers)} was measured")
    own = _index(heads, criterion.head)
    means = clusters.template_means(rows.values)
    ahead = np.delete(means[own] - means, own, axis=0)
    k, n = criterion.at_most, len(ahead)
    columns = [clusters.families.index(f) for f in criterion.families]
    wins, losses = within_family_p(ahead, clusters)[:, columns], within_family_p(-ahead, clusters)[:, columns]
    holds = 2 * max(partial_conjunction_p(wins[:, c], n - k + 1) for c in range(len(columns)))
    fails = 2 * float(np.sort(losses, axis=0)[k - 1].min() * (n - k + 1) * len(columns)) if n >= k else 1.0
    by_family = clusters.family_means(means)[:, columns]
    ranks = (by_family > by_family[own]).sum(axis=0) + 1
    said = ", ".join(f"{rank} on {f}" for rank, f in zip(ranks, criterion.families, strict=True))
    return _decided(holds, fails, f"{name_head(criterion.head)} has rank {said} of {len(heads)} heads")


def judge_top_heads(criterion: TopHeadsIn, measured: Measured) -> Finding:
    """The k-th strongest head of the block less the strongest outside it, with the percentile interval of resamples."""
    rows, heads = _heads(measured)
    if rows.problem:
        return invalid(rows.problem)
    inside = [i for i, head in enumerate(heads) if head[0] == criterion.layer]
    outside = [i for i in range(len(heads)) if i not in inside]
    if len(inside) < criterion.k or not outside:
        raise MissingEvidence(
            f"{criterion.k} heads of L{criterion.layer} are to lead: it has {len(inside)}, other blocks {len(outside)}"
        )
    sampled = rows.sampled()
    lead = _lead(sampled.value[None], inside, outside, criterion.k)[0]
    draws = _lead(sampled.draws, inside, outside, criterion.k)
    low, high = percentile_interval(draws)
    estimate = Estimate(
        value=float(lead),
        low=low,
        high=high,
        unit="nats",
        n_prompts=sampled.clusters.n_prompts,
        n_templates=sampled.clusters.n_templates,
    )
    best = outside[int(np.argmax(sampled.value[outside]))]
    finding = _decided(
        2 * bootstrap_p(draws <= 0),
        2 * bootstrap_p(draws >= 0)
        if lead < 0
        else 1.0,  # the largest of many noisy rivals is biased upwards
        f"The head of rank {criterion.k} in L{criterion.layer} leads the strongest outside it, "
        f"{name_head(heads[best])} with {sampled.estimate(best)}, by {estimate}",
    )
    return Finding(
        verdict=finding.verdict, sentence=finding.sentence, estimate=estimate, p_value=finding.p_value
    )


def judge_ranks_agree(criterion: HeadRanksAgree, measured: Measured) -> Finding:
    """The least Spearman correlation over pairs of ablations, on the prompts that all of them share."""
    found = [_heads_of(measured, of.experiment, of.select) for of in criterion.ablations]
    for rows, heads in found:
        if rows.problem:
            return invalid(rows.problem)
        if heads != found[0][1]:
            raise MissingEvidence(
                f"{', '.join(criterion.experiments)} hold other heads, or heads in another order"
            )
    shared = [p for p in found[0][0].prompts if all(p in rows.prompts for rows, _ in found)]
    if not shared:
        raise MissingEvidence(f"{', '.join(criterion.experiments)} share no prompt")
    clusters = Clusters.of(shared)
    sampled = [
        sample(clusters, rows.values[:, [rows.prompts.index(p) for p in shared]], rows.metric)
        for rows, _ in found
    ]
    pairs = []
    agree = partial(spearman, decimals=TIES)
    for (of, one), (other, two) in combinations(zip(criterion.ablations, sampled, strict=True), 2):
        pair = compare(f"'{of.select}'", f"'{other.select}'", one, two, agree)
        if not np.isfinite(pair.value):
            return invalid(f"{of.select}, or {other.select}, moves the prompts alike for all heads: no ranks")
        pairs.append(pair)
    finding = judge_least(pairs, criterion.at_least, "Spearman")
    said = f"Of {len(found[0][1])} heads on {len(shared)} shared prompts. {finding.sentence}"
    return replace(finding, sentence=said)


def _lead(
    means: Float[np.ndarray, "resamples heads"], inside: Sequence[int], outside: Sequence[int], k: int
) -> Float[np.ndarray, " resamples"]:
    kth = np.sort(means[:, inside], axis=1)[:, -k]
    return np.asarray(kth - means[:, outside].max(axis=1))


def _heads(measured: Measured) -> tuple[Rows, list[Head]]:
    return _heads_of(measured, "head_sweep", EveryHead())


def _heads_of(measured: Measured, experiment: str, select: Selector) -> tuple[Rows, list[Head]]:
    rows = measured.rows(experiment, select, "kl_nats")
    heads: list[Head] = []
    for probe in rows.probes:
        assert isinstance(probe, Edit)
        site = probe.sites[0]
        assert site.head is not None
        heads.append((site.layer, site.head))
    return rows, heads


def _index(heads: Sequence[Head], head: Head) -> int:
    if head not in heads:
        raise MissingEvidence(f"the criterion names {name_head(head)}, which was not measured: mend the card")
    return list(heads).index(head)


def _decided(holds: float, fails: float, sentence: str) -> Finding:
    verdict, p = decide(holds, fails)
    return Finding(verdict=verdict, sentence=f"{sentence} ({say_p(p)}).", p_value=p)
