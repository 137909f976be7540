"""Judging over how many blocks an effect is spread: AdapterRatio of two `Spread`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.verdicts.adapter_criteria import AdapterRatio, Spread
from harness.verdicts.adapter_reading import Series, read_series
from harness.verdicts.mirrored import Mirrored
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.trainings import decide_in_each, seed_means
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict


def judge_spread_ratio(criterion: AdapterRatio, measured: Measured) -> Finding:
    """Supported where the ratio of the two numbers lies on its side of the bound in the resamples, refuted beyond it.

    A bound holds only where both the resamples and their mirror images about the observed value, on a log scale, lie on
    its side; in each training as well. Inconclusive where the blocks of one do nothing, or where a weighted adapter
    does as much as the other at none of the weights measured.
    """
    part, of = criterion.part, criterion.of
    assert isinstance(part, Spread)
    assert isinstance(of, Spread)
    found = [read_series(measured, criterion.experiment, each) for each in (*part.measures, *of.measures)]
    if problem := next((series.problem for series in found if series.problem), None):
        return invalid(problem)
    first = found[0]
    if any(series.prompts != first.prompts for series in found):
        raise MissingEvidence(f"the rows of '{criterion.experiment}' were measured on different prompts")
    values = np.vstack([series.values for series in found])
    clusters = Clusters.of(first.prompts)
    means = sample(clusters, values, first.metric)
    totals = means.value.reshape(len(found), -1).sum(axis=1)
    least = max(0.0, len(first.layers) * first.floor_nats)
    for name, total in ((part, float(totals[-2])), (of, float(totals[-1]))):
        if total <= least:
            return _undecided(
                f"The blocks of the {name} do {format_number(total)} nats in all: nothing that could be spread, where "
                f"the noise floor is {format_number(first.floor_nats)} nats a block."
            )
    one, other = _numbers(criterion, first, np.vstack([means.value, means.draws]))
    ratios = _log_ratio(one, other)
    logs, edge = Mirrored(value=float(ratios[0]), draws=ratios[1:]), float(np.log(criterion.times))
    if np.isnan(logs.value):
        return _undecided(
            f"At weights {', '.join(f'{w:g}' for w in part.weights)} the blocks of the {part} do "
            f"{', '.join(map(format_number, totals[:-1]))} nats in all, those of the {of} {format_number(totals[-1])}: "
            "not between two neighbours of which the heavier does more, so that no two effects of one size can be "
            "compared."
        )
    own = _log_ratio(*_numbers(criterion, first, seed_means(values, first.prompts)))[:, None]
    verdict, p, split = decide_in_each(
        [2 * logs.p_beyond(edge, criterion.sign)],
        [2 * logs.p_beyond(edge, -criterion.sign)],
        criterion.sign * (own - edge),
        np.exp(own),
    )
    estimate = _estimate(logs, clusters)
    nats = [f"{format_number(float(total))} nats in all" for total in (totals[-2], totals[-1])]
    if part.weights:
        nats[0] = f"of {nats[0]} at its own weight"
    return Finding(
        verdict=verdict,
        sentence=f"The {part} ({nats[0]}) is {format_number(float(one[0]))}, the {of} ({nats[1]}) "
        f"{format_number(float(other[0]))}: {estimate}; {criterion.bound} is asked for ({say_p(p)})."
        f"{_without_value(logs)}{split}",
        estimate=estimate,
        p_value=p,
    )


def spread_of(
    spread: Spread, layers: tuple[int, ...], means: Float[np.ndarray, "*sets blocks"]
) -> Float[np.ndarray, "*sets"]:
    """The number of each set of mean effects of these blocks."""
    total = means.sum(axis=-1)
    if spread.share_of is None:
        return np.asarray(total**2 / (means**2).sum(axis=-1))
    some = np.isin(layers, spread.share_of.of(len(layers)))
    return np.asarray(means[..., some].sum(axis=-1) / total)


def at_the_size_of(
    numbers: Float[np.ndarray, "weights sets"],
    totals: Float[np.ndarray, "weights sets"],
    size: Float[np.ndarray, " sets"],
) -> Float[np.ndarray, " sets"]:
    """Of each set its number at the weight at which its total is `size`: on a straight line between logarithms.

    Of neighbouring weights with the size between their totals, the heavier doing more, the two largest. NaN where there
    are none, or where a number or total of them is not positive.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        log_numbers, log_totals, log_size = np.log(numbers), np.log(totals), np.log(size)
        found = np.full(len(size), np.nan)
        for low in range(len(numbers) - 1):
            between = (log_totals[low] <= log_size) & (log_size <= log_totals[low + 1])
            way = (log_size - log_totals[low]) / (log_totals[low + 1] - log_totals[low])
            line = log_numbers[low] + way * (log_numbers[low + 1] - log_numbers[low])
            found = np.where(between, line, found)
    return np.asarray(np.exp(found))


def _numbers(
    criterion: AdapterRatio, series: Series, means: Float[np.ndarray, "sets rows"]
) -> tuple[Float[np.ndarray, " sets"], Float[np.ndarray, " sets"]]:
    """The two numbers of each set of means, the part's at the other's size where it was measured at several weights."""
    part, of = criterion.part, criterion.of
    assert isinstance(part, Spread)
    assert isinstance(of, Spread)
    by_weight = np.moveaxis(means.reshape(len(means), -1, len(series.layers)), 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (
            spread_of(part, series.layers, by_weight[:-1]),
            spread_of(of, series.layers, by_weight[-1]),
        )
    if part.weights:
        return at_the_size_of(one, by_weight[:-1].sum(axis=-1), by_weight[-1].sum(axis=-1)), other
    return one[0], other


def _log_ratio(
    one: Float[np.ndarray, " sets"], other: Float[np.ndarray, " sets"]
) -> Float[np.ndarray, " sets"]:
    """NaN where an effect is negative, or a share 0: of it there is no logarithm."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = one / other
        return np.log(np.where(ratio > 0.0, ratio, np.nan))


def _undecided(sentence: str) -> Finding:
    return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, p_value=1.0)


def _without_value(logs: Mirrored) -> str:
    """What is said of resamples without a value, which leave the interval open where they are many; '' for none."""
    share = float(np.isnan(logs.draws).mean())
    return f" In {share:.1%} of the resamples there is none." if share else ""


def _estimate(logs: Mirrored, clusters: Clusters) -> Estimate:
    """The ratio, with the interval on the log scale that holds both; open where resamples have no value."""
    found = logs.estimate("times", clusters, without_value=np.inf)
    value, low, high = (float(np.exp(x)) for x in (found.value, found.low, found.high))
    return replace(found, value=value, low=low, high=high)
