"""Judging over how many blocks an effect is spread: AdapterRatio of two `Spread`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from harness.statistics.bootstrap import bootstrap_p, percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.verdicts.adapter_criteria import AdapterRatio, Measure, Spread
from harness.verdicts.adapter_reading import Series, read_series
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.trainings import decide_in_each, seed_means
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

ROUNDING = 1e-9


def judge_spread_ratio(criterion: AdapterRatio, measured: Measured) -> Finding:
    """Supported where the ratio of the two numbers lies on its side of the bound in the resamples, refuted beyond it.

    A bound holds only where both the resamples and their mirror images about the observed value, on a log scale, lie on
    its side; in each training as well.
    """
    found = [(each, _of_blocks(criterion, each, measured)) for each in (criterion.part, criterion.of)]
    part, of = (series for _, series in found)
    if problem := part.problem or of.problem:
        return invalid(problem)
    if part.prompts != of.prompts:
        raise MissingEvidence(f"the rows of '{criterion.experiment}' were measured on different prompts")
    values = np.vstack([part.values, of.values])
    means = sample(Clusters.of(part.prompts), values, part.metric)
    for spread, mean in zip(found, np.split(means.value, 2), strict=True):
        if float(mean.sum()) <= max(0.0, len(mean) * part.floor_nats):
            return Finding(
                verdict=Verdict.INCONCLUSIVE,
                sentence=f"The blocks of the {spread[0]} do {format_number(float(mean.sum()))} nats in all: nothing "
                f"that could be spread, where the noise floor is {format_number(part.floor_nats)} nats a block.",
                p_value=1.0,
            )
    logs = np.log(_ratios(criterion, part, np.vstack([means.value, means.draws])))
    value, draws, edge = float(logs[0]), logs[1:], float(np.log(criterion.times))
    own = np.log(_ratios(criterion, part, seed_means(values, part.prompts)))[:, None]
    verdict, p, split = decide_in_each(
        [2 * _beyond(draws, value, edge, criterion.sign)],
        [2 * _beyond(draws, value, edge, -criterion.sign)],
        criterion.sign * (own - edge),
        np.exp(own),
    )
    estimate = _estimate(value, draws, Clusters.of(part.prompts))
    numbers = (
        float(spread_of(each, series.layers, mean[None])[0])
        for (each, series), mean in zip(found, np.split(means.value, 2), strict=True)
        if isinstance(each, Spread)
    )
    one, other = map(format_number, numbers)
    return Finding(
        verdict=verdict,
        sentence=f"The {criterion.part} is {one}, the {criterion.of} {other}: {estimate}; {criterion.bound} is asked "
        f"for ({say_p(p)}).{split}",
        estimate=estimate,
        p_value=p,
    )


def spread_of(
    spread: Spread, layers: tuple[int, ...], means: Float[np.ndarray, "sets blocks"]
) -> Float[np.ndarray, " sets"]:
    """The number of each set of mean effects of these blocks."""
    total = means.sum(axis=1)
    if spread.share_of is None:
        return np.asarray(total**2 / (means**2).sum(axis=1))
    some = np.isin(layers, spread.share_of.of(len(layers)))
    return np.asarray(means[:, some].sum(axis=1) / total)


def _of_blocks(criterion: AdapterRatio, spread: Measure, measured: Measured) -> Series:
    return read_series(measured, criterion.experiment, Measure(rows=spread.rows, metric=spread.metric))


def _ratios(
    criterion: AdapterRatio, series: Series, means: Float[np.ndarray, "sets rows"]
) -> Float[np.ndarray, " sets"]:
    """NaN where an effect is negative, or a share 0: of it there is no logarithm."""
    part, of = criterion.part, criterion.of
    assert isinstance(part, Spread)
    assert isinstance(of, Spread)
    one, other = np.split(means, 2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = spread_of(part, series.layers, one) / spread_of(of, series.layers, other)
    return np.asarray(np.where(ratio > 0.0, ratio, np.nan))


def _beyond(draws: Float[np.ndarray, " resamples"], value: float, edge: float, sign: float) -> float:
    """One-sided p-value of 'not on this side of the edge'; a resample without a value speaks for neither."""
    return max(bootstrap_p(~(sign * (x - edge) >= -ROUNDING)) for x in (draws, 2 * value - draws))


def _estimate(value: float, draws: Float[np.ndarray, " resamples"], clusters: Clusters) -> Estimate:
    """The interval that holds both the percentile and the basic one."""
    low, _ = percentile_interval(np.nan_to_num(draws, nan=-np.inf))
    _, high = percentile_interval(np.nan_to_num(draws, nan=np.inf))
    return Estimate(
        value=float(np.exp(value)),
        low=float(np.exp(min(low, 2 * value - high))),
        high=float(np.exp(max(high, 2 * value - low))),
        unit="times",
        n_prompts=clusters.n_prompts,
        n_templates=clusters.n_templates,
    )
