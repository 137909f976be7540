"""Judging where adapters are large and where they act: AdapterRatio, BlockCorrelation, ConstantSpread, MedianSide.

Effects are means over prompts, resampled over templates; the trainings are taken as they are, one for each seed, and
what is said of all stands only where each by itself says so. Norms are constants of a training and have no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from harness.statistics.bootstrap import RESAMPLES, Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.correlation import correlations, permutation_p
from harness.statistics.estimate import BOUNDED, format_number, unit_of
from harness.statistics.ratio import ratio_interval
from harness.verdicts.adapter_criteria import (
    AdapterRatio,
    BlockCorrelation,
    ConstantSpread,
    MedianSide,
    Spread,
)
from harness.verdicts.adapter_reading import Series, read_series
from harness.verdicts.adapter_spread import judge_spread_ratio
from harness.verdicts.mirrored import Mirrored
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.trainings import decide_in_each, seed_means
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

LEAST_BLOCKS = 4
"""Three numbers lie on a line too easily, and leave nothing beside the depth."""
ROUNDING = 1e-9


def judge_ratio(criterion: AdapterRatio, measured: Measured) -> Finding:
    """Supported where the mean of part - times x of lies on its side of 0 (each row's, if asked for); refuted beyond.

    One row beyond refutes (Bonferroni). In each training as well; of constants, in every training or in none. Raises
    MissingEvidence for shares: their bounds are not those of a difference.
    """
    if criterion.part.metric in BOUNDED:
        raise MissingEvidence(
            f"AdapterRatio cannot judge {criterion.part.metric}: a difference of shares is no share, and would "
            "have the bounds of one; ask for kl_nats or answer_logprob"
        )
    if isinstance(criterion.part, Spread):
        return judge_spread_ratio(criterion, measured)
    part, of = (read_series(measured, criterion.experiment, m) for m in (criterion.part, criterion.of))
    if problem := part.problem or of.problem:
        return invalid(problem)
    if part.constant:
        return _constant_ratio(criterion, part, of)
    if part.prompts != of.prompts:
        raise MissingEvidence(f"the rows of '{criterion.experiment}' were measured on different prompts")
    whole = of.values.mean(axis=0)
    rows = part.values if criterion.each else part.values.mean(axis=0)[None]
    means = sample(Clusters.of(part.prompts), np.vstack([rows, whole]), part.metric)
    level = float(means.value[-1])
    if level * min(1.0, criterion.times) <= part.floor_nats:
        return undecided(
            f"{criterion.of} is {format_number(level)} nats: no effect to compare with, where the noise floor of this "
            f"arithmetic is {format_number(part.floor_nats)} nats."
        )
    excess = sample(Clusters.of(part.prompts), criterion.sign * (rows - criterion.times * whole), part.metric)
    n = len(rows)
    holds = np.array([min(1.0, 2 * excess.p_above(i, 0.0)) for i in range(n)])
    fails = np.array([min(1.0, 2 * n * excess.p_below(i, 0.0)) for i in range(n)])
    own = seed_means(np.vstack([rows, whole]), part.prompts)
    own_excess = criterion.sign * (own[:, :-1] - criterion.times * own[:, -1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        shown = own[:, :-1] / own[:, -1:]
    verdict, p, split = decide_in_each(holds, fails, own_excess, shown)
    decisive = fails == fails.min() if verdict is Verdict.REFUTED else holds == holds.max()
    worst = int(np.argmin(np.where(decisive, excess.value, np.inf)))
    low, high = ratio_interval(Clusters.of(part.prompts), rows[worst], whole, at=criterion.times)
    value = float(means.value[worst])
    estimate = replace(excess.estimate(worst), value=value / level, low=low, high=high, unit="times")
    name = f"Of L{part.layers[worst]}, {criterion.part}" if criterion.each else f"The mean {criterion.part}"
    return Finding(
        verdict=verdict,
        sentence=f"{name} is {format_number(value)} {unit_of(part.metric)}, that of {criterion.of.rows} "
        f"{format_number(level)}: {estimate}; {criterion.bound} is asked for ({say_p(p)}).{split}",
        estimate=estimate,
        p_value=p,
    )


def judge_correlation(criterion: BlockCorrelation, measured: Measured) -> Finding:
    """Supported where the resamples' interval lies within the bounds, refuted where it lies beyond one (Bonferroni).

    Resampling adds noise, which weakens a correlation: a bound holds only where both the resamples and their mirror
    images about the observed value (the percentile and the basic bootstrap) lie on its side. A correlation that is
    claimed to be positive must also be rarer than ALPHA among exchanged blocks.
    """
    pair = [read_series(measured, criterion.experiment, m) for m in (criterion.one, criterion.two)]
    if problem := pair[0].problem or pair[1].problem:
        return invalid(problem)
    if pair[0].layers != pair[1].layers:
        raise MissingEvidence(
            f"'{criterion.experiment}' holds other blocks for {criterion.one} than for {criterion.two}"
        )
    there = _with_adapter(pair)
    one, two = (series.at(there) for series in pair)
    if len(one.layers) < LEAST_BLOCKS:
        return undecided(f"{len(one.layers)} blocks have an adapter: a correlation needs {LEAST_BLOCKS}.")
    ranks = criterion.kind == "spearman"
    given = np.array(one.layers, dtype=float) if criterion.given_depth else None
    (a, a_draws), (b, b_draws) = _means(one), _means(two)
    for series, values in ((one, a), (two, b)):
        if series.floor_nats and float(np.median(values)) < series.floor_nats:
            return undecided(
                f"Most blocks move less than the noise floor of this arithmetic, {format_number(series.floor_nats)} "
                "nats: measure in float32 (--dtype float32)."
            )
    value = float(correlations(a[None], b[None], ranks=ranks, given=given)[0])
    if np.isnan(value):
        if all(np.ptp(x) > ROUNDING * np.abs(x).max() for x in (a, b)):
            return undecided(
                f"One of {criterion.one} and {criterion.two} goes with the depth exactly: nothing is left of it."
            )
        return invalid(
            f"{criterion.one} or {criterion.two} is the same in every block: there is no correlation"
        )
    wide = (np.broadcast_to(x, (RESAMPLES, x.shape[1])) for x in (a_draws, b_draws))
    found = Mirrored(value=value, draws=correlations(*wide, ranks=ranks, given=given))
    low, high = criterion.at_least, criterion.at_most
    chance = 0.0
    clusters = Clusters.of(two.prompts)
    if low is not None and low >= 0.0:
        chance = permutation_p(a, b, clusters.rng("exchanged blocks"), ranks=ranks, given=given)
    edges = [(low, 1.0), (high, -1.0)]
    asked = [(edge, sign) for edge, sign in edges if edge is not None]
    holds = [max(2 * found.p_beyond(edge, sign), 2 * chance) for edge, sign in asked]
    fails = [2 * len(asked) * found.p_beyond(edge, -sign) for edge, sign in asked]
    own = correlations(_by_training_means(one), _by_training_means(two), ranks=ranks, given=given)
    own_excess = np.stack([sign * (own - edge) for edge, sign in asked], axis=1)
    shown = np.repeat(own[:, None], len(asked), axis=1)
    verdict, p, split = decide_in_each(holds, fails, own_excess, shown)
    estimate = found.estimate(f"({criterion.name})", clusters)
    estimate = replace(estimate, low=max(-1.0, estimate.low), high=min(1.0, estimate.high))
    said = f"; among exchanged blocks {say_p(chance)}" if low is not None and low >= 0.0 else ""
    return Finding(
        verdict=verdict,
        sentence=f"Over {len(one.layers)} blocks, {criterion.one} and {criterion.two}: {estimate}{said} ({say_p(p)})."
        + split,
        estimate=estimate,
        p_value=p,
    )


def judge_spread(criterion: ConstantSpread, measured: Measured) -> Finding:
    """Supported where it holds in every training, refuted where in none; else inconclusive. No chance is involved."""
    series = read_series(measured, criterion.experiment, criterion.of)
    if series.problem:
        return invalid(series.problem)
    series = series.at(_with_adapter([series]))
    if not series.layers:
        return invalid(f"{criterion.of} is 0 in every block: there is no adapter")
    values = series.by_training()
    least, most = values.min(axis=0), values.max(axis=0)
    holds = most <= criterion.at_most * least * (1 + ROUNDING)
    said = (
        f"{criterion.of} lies between {format_number(float(least.min()))} and {format_number(float(most.max()))} over "
        f"{len(values)} blocks, the largest {' and '.join(f'{x:.3f}' for x in most / least)} times the smallest; "
        f"{criterion.at_most:g} is allowed"
    )
    if criterion.around is not None:
        low, high = criterion.around / criterion.at_most, criterion.around * criterion.at_most
        holds &= (least >= low) & (most <= high)
        said += f", and {low:.3f} to {high:.3f}"
    return _by_training(holds, said)


def judge_median(criterion: MedianSide, measured: Measured) -> Finding:
    """Supported where the block's difference from the median lies on its side in the resamples, refuted beyond."""
    series = read_series(measured, criterion.experiment, criterion.of)
    if not 0 <= criterion.layer < measured.n_layers:
        raise MissingEvidence(
            f"the criterion names L{criterion.layer}, but the model has layers L0 to L{measured.n_layers - 1}"
        )
    if series.problem:
        return invalid(series.problem)
    sign = 1.0 if criterion.side == "above" else -1.0
    if series.constant:
        values = series.by_training()
        own, median = values[criterion.layer], np.median(values, axis=0)
        said = (
            f"{criterion.of} is {format_number(float(own.mean()))} in L{criterion.layer}, "
            f"{format_number(float(median.mean()))} in the median block; {criterion.side} is asked for"
        )
        return _by_training(sign * (own - median) > ROUNDING * median, said)
    value, draws = _means(series)
    lead = Mirrored(
        value=float(value[criterion.layer] - np.median(value)),
        draws=draws[:, criterion.layer] - np.median(draws, axis=1),
    )
    own = seed_means(series.values, series.prompts)
    own_lead = (own[:, criterion.layer] - np.median(own, axis=1))[:, None]
    verdict, p, split = decide_in_each(
        [2 * lead.p_beyond(0.0, sign, strict=True)],
        [2 * lead.p_beyond(0.0, -sign, strict=True)],
        sign * own_lead,
        own_lead,
        strict=True,
    )
    estimate = lead.estimate(unit_of(series.metric) + " above the median", Clusters.of(series.prompts))
    return Finding(
        verdict=verdict,
        sentence=f"{criterion.of} is {format_number(float(value[criterion.layer]))} in L{criterion.layer}, "
        f"{estimate}; {criterion.side} is asked for ({say_p(p)}).{split}",
        estimate=estimate,
        p_value=p,
    )


def undecided(sentence: str) -> Finding:
    """The finding where there is nothing to decide from."""
    return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, p_value=1.0)


def _constant_ratio(criterion: AdapterRatio, part: Series, of: Series) -> Finding:
    values, whole = part.by_training(), of.by_training().mean(axis=0)
    rows = values if criterion.each else values.mean(axis=0)[None]
    if not (whole > 0.0).all():
        return invalid(f"{criterion.of} is 0: nothing to compare with")
    ratios = rows / whole
    worst = ratios.min(axis=0) if criterion.at_least is not None else ratios.max(axis=0)
    said = (
        f"{'The' if criterion.each else 'The mean'} {criterion.part} is "
        f"{' and '.join(f'{x:.3f}' for x in worst)} times the mean {criterion.of}; {criterion.bound} is asked for"
    )
    return _by_training(criterion.sign * (worst - criterion.times) >= -ROUNDING, said)


def _by_training(holds: Bool[np.ndarray, " trainings"], said: str) -> Finding:
    verdict = Verdict.INCONCLUSIVE
    if holds.all():
        verdict = Verdict.SUPPORTED
    elif not holds.any():
        verdict = Verdict.REFUTED
    n = len(holds)
    agree = "" if verdict is not Verdict.INCONCLUSIVE else f", and {int(holds.sum())} of {n} trainings say so"
    return Finding(
        verdict=verdict,
        sentence=f"A number of the adapter, without sampling noise ({n} training{'s' * (n > 1)}): {said}{agree}.",
    )


def _with_adapter(pair: Sequence[Series]) -> Bool[np.ndarray, " blocks"]:
    """False for blocks whose norm is 0: there is no adapter."""
    there = np.ones(len(pair[0].layers), dtype=bool)
    for series in pair:
        if series.constant:
            there &= (series.values > 0.0).all(axis=1)
    return there


def _means(series: Series) -> tuple[Float[np.ndarray, " blocks"], Float[np.ndarray, "resamples blocks"]]:
    """Of each block its mean and resampled means; of constants the mean over trainings, which is not resampled."""
    if series.constant:
        value = series.by_training().mean(axis=1)
        return value, value[None]
    sampled: Sampled = sample(Clusters.of(series.prompts), series.values, series.metric)
    return sampled.value, sampled.draws


def _by_training_means(series: Series) -> Float[np.ndarray, "trainings blocks"]:
    """Of each block its mean in each training; of constants their own values."""
    return series.by_training().T if series.constant else seed_means(series.values, series.prompts)
