"""Judging how a profile over layers changes: ChangeTop, ChangeStandsOut, ChangeGini, ChangesDiffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Float

from harness.edits import Exit, format_layers
from harness.effects import PromptRecord
from harness.statistics.bootstrap import ROUNDING, bootstrap_p, percentile_interval, weights_of
from harness.statistics.clusters import Clusters
from harness.statistics.correlation import correlations
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.statistics.profile import DEGENERATE_NATS
from harness.statistics.ranks import ranks_of
from harness.verdicts.agreement import (
    Pair,
    judge_least,
    kept_by_resamples,
    of_correlation,
    of_overlap,
    overlap,
)
from harness.verdicts.criterion import ProfileOf
from harness.verdicts.deciding import decide
from harness.verdicts.mirrored import Mirrored
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.training_change_criteria import (
    ChangeGini,
    ChangesDiffer,
    ChangeStandsOut,
    ChangeTop,
    OnChange,
)
from harness.verdicts.trainings import decide_in_each, seed_means
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

PERMUTATIONS = 9_999
RESAMPLES_OF_RANKS = 1_999
"""Of profiles whose ranks are taken anew in each."""


def judge_change_top(criterion: ChangeTop, measured: Measured) -> Finding:
    """The overlap of the layers that rise most with those named, with the percentile interval of its resamples.

    Noise is in the change alone: those named have none.
    """
    change = _change(criterion, measured)
    change.check_layers(criterion.layers)
    if change.problem:
        return invalid(change.problem)
    named, k = np.array(criterion.layers), len(criterion.layers)

    def shared(profiles: np.ndarray) -> Float[np.ndarray, " resamples"]:
        top = np.argsort(-profiles, axis=1, kind="stable")[:, :k]
        return np.asarray(np.isin(top, named).sum(axis=1), dtype=float)

    top = tuple(sorted(np.argsort(-change.value, kind="stable")[:k].tolist()))
    kept = kept_by_resamples(change.value, change.draws, overlap(k))
    pair = Pair(
        one="rise",
        two="named",
        value=float(shared(change.value[None])[0]),
        draws=shared(change.draws),
        clusters=change.clusters,
        reliabilities=(of_overlap(k / len(change.value))(kept), 1.0),
        by_seed=tuple(shared(change.by_seed).tolist()),
    )
    return judge_least(
        [pair],
        criterion.at_least,
        f"of {format_layers(criterion.layers)}",
        most=k,
        say=lambda estimate, p: (
            f"{format_layers(top)} rise most: {estimate}; {criterion.at_least} are asked for ({say_p(p)})."
        ),
    )


def judge_stands_out(criterion: ChangeStandsOut, measured: Measured) -> Finding:
    """Supported: each named layer's distance from the mean change is large enough; refuted: some one's is not.

    Noise spreads the layers and lowers the distances, by the root of the change's reliability, and those of a resample
    once more: refuted only where the observed one is too low for that.
    """
    change = _change(criterion, measured)
    change.check_layers(criterion.layers)
    if change.problem:
        return invalid(change.problem)
    values, draws = _standardised(change.value[None])[0], _standardised(change.draws)
    own = _standardised(change.by_seed)
    reliability = _least_reliability(change)
    pairs = [
        Pair(
            one=f"L{at}",
            two="the mean layer",
            value=float(values[at]),
            draws=draws[:, at],
            clusters=change.clusters,
            reliabilities=(reliability, 1.0),
            by_seed=tuple(own[:, at].tolist()),
        )
        for at in criterion.layers
    ]
    least = min(pairs, key=lambda pair: pair.value)
    mean, spread = float(change.value.mean()), float(change.value.std())
    said = (
        f"The layers change by {format_number(mean)} on average (standard deviation {format_number(spread)})"
    )
    return judge_least(
        pairs,
        criterion.at_least,
        "standard deviations above the mean layer",
        most=math.inf,
        say=lambda estimate, p: (
            f"{said}; {least.one} is {estimate}; {criterion.at_least:g} is asked for ({say_p(p)})."
        ),
    )


def judge_change_gini(criterion: ChangeGini, measured: Measured) -> Finding:
    """Supported: the percentile interval ends at or below the bound.

    Refuted: no profile within the simultaneous intervals of all layers is so even. Noise makes any profile uneven, so
    that resamples of the coefficient itself would refute too often.
    """
    change = _change(criterion, measured)
    if change.problem:
        return invalid(change.problem)
    value, draws = float(gini(change.value[None])[0]), gini(change.draws)
    p_holds = 2 * bootstrap_p(~(draws <= criterion.at_most)) if value <= criterion.at_most else 1.0
    own = gini(change.by_seed)[:, None]
    verdict, p, split = decide_in_each(
        [p_holds], [_p_uneven(change, criterion.at_most)], criterion.at_most - own, own
    )
    low, high = percentile_interval(draws)
    estimate = Estimate(
        value=value,
        low=low,
        high=high,
        unit="Gini",
        n_prompts=change.clusters.n_prompts,
        n_templates=change.clusters.n_templates,
    )
    most = int(np.argmax(np.abs(change.value)))
    return Finding(
        verdict=verdict,
        sentence=f"The change over layers has {estimate}, with {format_number(change.value[most])} at L{most}; "
        f"{criterion.at_most:g} is allowed ({say_p(p)}).{split}",
        estimate=estimate,
        p_value=p,
    )


def judge_changes_differ(criterion: ChangesDiffer, measured: Measured) -> Finding:
    """Supported: the gap of distances is beyond chance by permutation, and its interval lies above the margin.

    Distance is 1 - Spearman. Under the null hypothesis the names of the states can be exchanged within each seed; what
    templates that recur over the seeds add is not chance to it, so that alone it would find gaps below the margin. They
    are resampled for all seeds together. Refuted: the interval lies below the margin. On either side both the resamples
    and their mirror images in the observed gap must lie.
    """
    changes = {}
    for name, after in criterion.after.items():
        change = _read_change(criterion.before, after, criterion.metric, measured)
        if change.problem:
            return invalid(f"of {name}, {change.problem}")
        changes[name] = change
    seeds = sorted({prompt.seed for change in changes.values() for prompt in change.prompts})
    if len(seeds) < 2:
        return Finding(
            verdict=Verdict.INCONCLUSIVE,
            sentence=f"Only seed {seeds[0]} was measured: trainings are compared over two seeds at least.",
            p_value=1.0,
        )
    parts = [[change.of_seed(seed) for change in changes.values()] for seed in seeds]
    for seed, row in zip(seeds, parts, strict=True):
        for name, part in zip(changes, row, strict=True):
            if part.problem:
                return invalid(f"of {name} in seed {seed}, {part.problem}")
    observed = np.stack([[_ranks(part.value[None]) for part in row] for row in parts])
    clusters = next(iter(changes.values())).clusters
    drawn = np.stack(
        [[_ranks(part.drawn_with(clusters, RESAMPLES_OF_RANKS)) for part in row] for row in parts]
    )
    apart = _distances(observed)[..., 0]
    within, between = _within(apart), _between(apart)
    gap = Mirrored(value=between - within, draws=_gap(_distances(drawn)))
    rng = clusters.rng("names within seeds")
    p_chance = min(1.0, 2 * bootstrap_p(_permuted_within(apart, rng) <= within + 1e-12))
    p_large = 2 * gap.p_unless(lambda x: x >= criterion.margin)
    p_small = 2 * gap.p_unless(lambda x: x < criterion.margin)
    verdict, p = decide(max(p_chance, p_large), p_small)
    estimate = gap.estimate("of a rank correlation", clusters)
    return Finding(
        verdict=verdict,
        sentence=f"Over {len(seeds)} seeds, 1 - Spearman is {format_number(between)} between states and "
        f"{format_number(within)} between trainings of one: a gap of {estimate}; chance gives as much with "
        f"{say_p(p_chance)}, and less than {criterion.margin:g} counts as none.",
        estimate=estimate,
        p_value=p,
    )


def gini(values: Float[np.ndarray, "resamples layers"]) -> Float[np.ndarray, " resamples"]:
    """Gini coefficient over layers of the absolute values; NaN where all are 0."""
    ordered = np.sort(np.abs(values), axis=1)
    n = ordered.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((ordered @ (2.0 * np.arange(1, n + 1) - n - 1)) / (n * ordered.sum(axis=1)))


def least_gini(
    low: Float[np.ndarray, " layers"], high: Float[np.ndarray, " layers"], levels: int = 400
) -> float:
    """The least Gini coefficient of numbers that lie within these intervals, none of them below 0.

    Of all with one sum, those cut to a common level are majorised by the others, and the coefficient is Schur-convex
    (Marshall, Olkin & Arnold 2011, Inequalities, ch. 5 and 17): it is the least over common levels.
    """
    at = np.linspace(float(low.min()), float(high.max()), levels)
    return float(np.nanmin(gini(np.clip(at[:, None], low, high))))


@dataclass(frozen=True, kw_only=True)
class Change:
    """How much each layer's effect rises from one state of the weights to another."""

    values: Float[np.ndarray, "layers prompts"]
    prompts: tuple[PromptRecord, ...]
    metric: str

    @property
    def problem(self) -> str | None:
        """Why nothing can be read from it, or None."""
        bad = int((~np.isfinite(self.values)).sum())
        if bad:
            return f"{bad} of {self.values.size} changes of {self.metric} are not finite"
        spread = float(np.ptp(self.value))
        if spread <= DEGENERATE_NATS:
            return f"all layers change alike, within {format_number(spread)}, so none can be singled out"
        return None

    @cached_property
    def clusters(self) -> Clusters:
        """Clusters of the prompts."""
        return Clusters.of(self.prompts)

    @cached_property
    def _template_means(self) -> Float[np.ndarray, "layers templates"]:
        return self.clusters.template_means(self.values)

    @cached_property
    def value(self) -> Float[np.ndarray, " layers"]:
        """Mean of each layer."""
        return np.asarray(self._template_means @ self.clusters.weights)

    @cached_property
    def draws(self) -> Float[np.ndarray, "resamples layers"]:
        """Mean of each layer in resamples of the templates."""
        return np.asarray(weights_of(self.clusters) @ self._template_means.T)

    @cached_property
    def by_seed(self) -> Float[np.ndarray, "trainings layers"]:
        """Mean of each layer in each training."""
        return seed_means(self.values, self.prompts)

    def drawn_with(self, pooled: Clusters, resamples: int) -> Float[np.ndarray, "resamples layers"]:
        """As `draws`, in the resamples of more prompts, of which these are a part: so templates recur as they do there.

        NaN where none of a family's templates is drawn.
        """
        own = self.clusters
        weights = weights_of(pooled)[:resamples, [pooled.templates.index(name) for name in own.templates]]
        weights = np.where(
            np.abs(weights) > ROUNDING, weights, 0.0
        )  # of a template that is not drawn: 0, but rounded
        member = own.family_of == np.arange(len(own.families))[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = weights / (weights @ member.T)[:, own.family_of] / len(own.families)
        return np.asarray(shares @ self._template_means.T)

    def of_seed(self, seed: int) -> Change:
        """On the prompts of one seed."""
        keep = [i for i, prompt in enumerate(self.prompts) if prompt.seed == seed]
        return replace(self, values=self.values[:, keep], prompts=tuple(self.prompts[i] for i in keep))

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raise MissingEvidence for a layer the model lacks."""
        if beyond := [layer for layer in layers if not 0 <= layer < len(self.values)]:
            raise MissingEvidence(
                f"the criterion names L{beyond[0]}, but the model has layers L0 to L{len(self.values) - 1}"
            )


def _change(criterion: OnChange, measured: Measured) -> Change:
    return _read_change(criterion.before, criterion.after, criterion.metric, measured)


def _read_change(before: ProfileOf, after: ProfileOf, metric: str, measured: Measured) -> Change:
    """Raises MissingEvidence unless both have every layer once, on the same prompts."""
    (one, prompts), (two, others) = (_by_layer(of, metric, measured) for of in (before, after))
    if prompts != others:
        raise MissingEvidence("a change is read on the same prompts before and after")
    return Change(values=two - one, prompts=prompts, metric=metric)


def _by_layer(
    of: ProfileOf, metric: str, measured: Measured
) -> tuple[Float[np.ndarray, "layers prompts"], tuple[PromptRecord, ...]]:
    rows = measured.rows(of.experiment, of.select, metric)
    at = [probe.layers[0] for probe in rows.probes if not isinstance(probe, Exit)]
    if sorted(at) != list(range(measured.n_layers)):
        raise MissingEvidence(
            f"a profile needs every one of {measured.n_layers} layers once; '{of.experiment}' holds L"
            f"{', L'.join(map(str, sorted(at)))} for: {of.select}"
        )
    return rows.values[np.argsort(at)], rows.prompts


def _p_uneven(change: Change, at_most: float) -> float:
    """p-value of 'the coefficient is at most this': of the narrowest simultaneous intervals that allow it."""
    error = np.maximum(change.draws.std(axis=0), np.finfo(float).tiny)
    furthest = (np.abs(change.draws - change.value) / error).max(axis=1)
    size = np.abs(change.value)

    def allowed(width: float) -> bool:
        return least_gini(np.maximum(size - width * error, 0.0), size + width * error) <= at_most

    if allowed(0.0):
        return 1.0
    narrow, wide = 0.0, float(furthest.max())
    if not allowed(wide):
        return bootstrap_p(furthest > wide)
    for _ in range(30):
        middle = (narrow + wide) / 2
        narrow, wide = (narrow, middle) if allowed(middle) else (middle, wide)
    return bootstrap_p(furthest >= wide)


def _standardised(profiles: Float[np.ndarray, "resamples layers"]) -> Float[np.ndarray, "resamples layers"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = profiles - profiles.mean(axis=1, keepdims=True)
        return np.asarray(centred / profiles.std(axis=1, keepdims=True))


def _least_reliability(change: Change) -> float:
    """That of the change, less what chance gives: so many layers of noise alone spread by so much more at times."""
    from scipy.stats import chi2

    found = of_correlation(kept_by_resamples(change.value, change.draws, correlations))
    freedom = len(change.value) - 1
    return max(0.0, 1.0 - (1.0 - found) * float(chi2.ppf(1 - ALPHA / 2, freedom)) / freedom)


def _ranks(profiles: Float[np.ndarray, "resamples layers"]) -> Float[np.ndarray, "resamples layers"]:
    """Centred ranks of length 1, whose product is Spearman's correlation; NaN where all layers tie."""
    ranks = ranks_of(profiles)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(ranks / np.linalg.norm(ranks, axis=1, keepdims=True))


def _distances(
    ranks: Float[np.ndarray, "seeds states resamples layers"],
) -> Float[np.ndarray, "pairs states states resamples"]:
    """1 - Spearman of each state in one seed with each state in another, for every pair of seeds."""
    return np.stack(
        [1.0 - np.einsum("arl,brl->abr", ranks[s], ranks[t]) for s, t in combinations(range(len(ranks)), 2)]
    )


def _within(distances: Float[np.ndarray, "pairs states states"]) -> float:
    return float(np.diagonal(distances, axis1=1, axis2=2).mean())


def _between(distances: Float[np.ndarray, "pairs states states"]) -> float:
    n = distances.shape[1]
    return float(distances[:, ~np.eye(n, dtype=bool)].mean())


def _gap(distances: Float[np.ndarray, "pairs states states resamples"]) -> Float[np.ndarray, " resamples"]:
    n = distances.shape[1]
    same = np.eye(n, dtype=bool)
    return np.asarray(distances[:, ~same].mean(axis=(0, 1)) - distances[:, same].mean(axis=(0, 1)))


def _permuted_within(
    distances: Float[np.ndarray, "pairs states states"], rng: np.random.Generator
) -> Float[np.ndarray, " permutations"]:
    """The mean distance between trainings of one state, the names of the states exchanged within each seed."""
    n = distances.shape[1]
    n_seeds = next(s for s in range(2, len(distances) + 3) if s * (s - 1) // 2 == len(distances))
    names = rng.permuted(np.broadcast_to(np.arange(n), (PERMUTATIONS, n_seeds, n)), axis=2)
    pairs = combinations(range(n_seeds), 2)
    found = [distances[i, names[:, s], names[:, t]] for i, (s, t) in enumerate(pairs)]
    return np.asarray(np.mean(found, axis=(0, 2)))
