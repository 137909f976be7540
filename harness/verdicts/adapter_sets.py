"""Judging RecipeBeats: one adapter against several others, prompt by prompt.

Every seed trains each adapter anew, and one training adds more than another. Bounds count that beside the templates, as
far as two seeds or more show it. What all adapters of a seed have in common (its prompts, the batches) moves a lead no
more than what is compared; what each has of its own does. Three trainings of one adapter hardly show that, those of all
adapters of the table together do, if it is the same share of what each adds, and independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.adapters.values import Adapted, Kind
from harness.effects import Effects
from harness.statistics.bootstrap import Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.statistics.paired import partial_conjunction_p
from harness.verdicts.adapter_set_criteria import RecipeBeats
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.trainings import seed_means
from harness.verdicts.verdict import Finding, MissingEvidence

DIFFERENCE = "difference"
"""Of gains or of shares: bounded by nothing that its interval could use."""
LEAST_SIZE = 0.1
"""Of the median adapter's: what adds less is told by its prompts, not by its training."""


def judge_beats(criterion: RecipeBeats, measured: Measured) -> Finding:
    """Supported: the lead over enough others is above 0; refuted: over too many it is below (Benjamini & Heller 2008).

    Of several trainings, each must lie on the verdict's side by its own means; how they scatter widens the bounds.
    """
    table = measured.table(criterion.experiment)
    rows = _rows(table, criterion.family, criterion.step)
    if criterion.recipe not in rows:
        raise MissingEvidence(
            f"'{criterion.experiment}' holds no adapter '{criterion.recipe}' of {criterion.family} (it holds: "
            f"{', '.join(rows) or 'none'})"
        )
    others = [name for name in criterion.others if name in rows]
    if not others:
        raise MissingEvidence(f"'{criterion.experiment}' holds none of {', '.join(criterion.others)}")
    own = [i for i, prompt in enumerate(table.prompts) if prompt.family == criterion.family]
    prompts = [table.prompts[i] for i in own]
    metric = criterion.metric
    base = table.baseline[metric][own] if metric == "answer_logprob" else np.zeros(len(own))
    every = {name: table.values(metric)[row][own] - base for name, row in rows.items()}
    gains = {name: every[name] for name in (criterion.recipe, *others)}
    bad = [name for name, values in gains.items() if not np.isfinite(values).all()]
    if bad:
        return invalid(f"under the adapter '{bad[0]}' some {metric} is not finite")
    pairs = [(gains[criterion.recipe], gains[name]) for name in others]
    pairs = [(theirs, own) if criterion.theirs else (own, theirs) for own, theirs in pairs]
    leads = np.stack([one - criterion.share * other - criterion.margin for one, other in pairs])
    clusters = Clusters.of(prompts)
    means = clusters.template_means(np.stack(list(gains.values()))) @ clusters.weights
    factors = (1.0, criterion.share) if criterion.theirs else (criterion.share, 1.0)
    trained = seed_means(np.stack([v for v in every.values() if np.isfinite(v).all()]), prompts)
    scatter = own_scatter(trained)
    error = scatter.share * np.hypot(factors[0] * means[1:], factors[1] * means[0]) / np.sqrt(len(trained))
    found = _with_trainings(sample(clusters, leads, DIFFERENCE), error, scatter.freedom)
    n = len(others)
    least = n if criterion.least is None else min(criterion.least, n)
    above = np.array([found.p_above(i, 0.0) for i in range(n)])
    below = np.array([found.p_below(i, 0.0) for i in range(n)])
    by_seed: list[int] = (seed_means(leads, prompts) >= 0).sum(axis=1).tolist()
    holds = 2 * partial_conjunction_p(above, least) if min(by_seed) >= least else 1.0
    fails = 2 * partial_conjunction_p(below, n - least + 1) if max(by_seed) < least else 1.0
    verdict, p = decide(holds, fails)
    order = np.argsort(found.value)
    at = int(order[n - least])
    estimate = replace(found.estimate(at), unit=f"{criterion.unit} beyond what is asked".strip())
    seeds = f" ({', '.join(map(str, by_seed))} by seed)" if len(by_seed) > 1 else ""
    trainings = f" Trainings scatter by {scatter.share:.1%} of what they add." if len(by_seed) > 1 else ""
    them = others[0] if n == 1 else f"the {n} others"
    return Finding(
        verdict=verdict,
        sentence=f"{criterion.recipe} adds {format_number(float(means[0]))}{criterion.unit}, {them} "
        f"{_range(means[1:])}. That {criterion.who} adds {criterion.bound} is so for "
        f"{int((found.value >= 0).sum())} of {n}{seeds}; the deciding one, {others[at]}, lies {estimate} ({say_p(p)})."
        f"{trainings}",
        estimate=estimate,
        p_value=p,
    )


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """By what share of what it adds a training of one adapter differs from the mean, beyond what all of a seed do."""

    share: float
    freedom: int


def own_scatter(trained: Float[np.ndarray, "trainings adapters"]) -> Scatter:
    """Residual mean square of what each adapter adds in each training, as a share of its mean; less what a seed shares.

    0 where one training or one adapter shows none. Adapters that add next to nothing have no such share.
    """
    mean = trained.mean(axis=0)
    told = np.abs(mean) > LEAST_SIZE * np.median(np.abs(mean))
    freedom = (len(trained) - 1) * (int(told.sum()) - 1)
    if freedom < 1:
        return Scatter(share=0.0, freedom=1)
    shares = trained[:, told] / mean[told]
    left = shares - shares.mean(axis=1, keepdims=True)
    return Scatter(share=float(np.sqrt((left**2).sum() / freedom)), freedom=freedom)


def _with_trainings(found: Sampled, error: Float[np.ndarray, " others"], freedom: int) -> Sampled:
    """The same means, whose `pivots` count the standard error of trainings as well; `draws` and `error` do not."""
    if not error.any():
        return found

    def pivots() -> Float[np.ndarray, "resamples others"]:
        t = found.clusters.rng("trainings").standard_t(freedom, size=found.pivots.shape)
        return np.asarray(found.pivots + error * t)

    return replace(found, pivoted=pivots)


def _rows(table: Effects, family: str, step: int | None) -> dict[str, int]:
    """The row of each recipe's trained adapter, wholly on, at that step of its training."""
    found = {}
    for i, probe in enumerate(table.probes):
        if not isinstance(probe, Adapted) or len(probe.parts) != 1 or probe != Adapted(parts=probe.parts):
            continue
        (part,) = probe.parts
        if (part.family, part.kind, part.step, part.weight) == (family, Kind.TRAINED, step, 1.0):
            found[part.recipe.name] = i
    return found


def _range(values: Float[np.ndarray, " others"]) -> str:
    if len(values) == 1:
        return format_number(float(values[0]))
    return f"{format_number(float(values.min()))} to {format_number(float(values.max()))}"
