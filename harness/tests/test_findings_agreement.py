"""What a reader is told of agreement by ranks, and on which side of a bound a resample that meets it counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, special

from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.statistics.ranks import spearman
from harness.verdicts.agreement import (
    Pair,
    judge_least,
    kept_by_resamples,
    of_correlation,
    of_overlap,
    overlap,
    rank_interval,
)
from harness.verdicts.verdict import Verdict

CLUSTERS = Clusters((("a", "t0"), ("a", "t0"), ("a", "t1")))


def pair(value: float, other: float, others: int) -> Pair:
    """999 resamples, all at the value but some, which are at another."""
    draws = np.full(999, value)
    draws[:others] = other
    return Pair(one="short", two="long", value=value, draws=draws, clusters=CLUSTERS)


@pytest.mark.parametrize(
    ("value", "other", "verdict", "p"),
    [
        (0.75, 0.5, Verdict.SUPPORTED, "p = 0.002"),  # at what is asked for is enough
        (0.75, 0.25, Verdict.INCONCLUSIVE, "p = 0.202"),
        (0.5, 0.5, Verdict.SUPPORTED, "p = 0.002"),
        (0.25, 0.25, Verdict.REFUTED, "p = 0.002"),
        (0.25, 0.5, Verdict.INCONCLUSIVE, "p = 0.202"),  # and so speaks against a refutation
        (0.25, 0.75, Verdict.INCONCLUSIVE, "p = 0.202"),
    ],
)
def test_a_resample_that_just_agrees_speaks_for_the_claim(
    value: float, other: float, verdict: Verdict, p: str
) -> None:
    found = judge_least([pair(value, other, 100)], 0.5, "of the top 3")
    low, high = sorted((value, other))
    assert (found.verdict, found.sentence) == (
        verdict,
        f"Least alike are short and long: {value:g} [{low:g}, {high:g}] of the top 3 (3 prompts, 2 templates); 0.5 is "
        f"asked for ({p}).",
    )
    assert found.p_value == pytest.approx(float(p.removeprefix("p = ")))
    assert found.estimate == Estimate(
        value=value, low=low, high=high, unit="of the top 3", n_prompts=3, n_templates=2
    )


@pytest.mark.parametrize(
    ("bound", "verdict", "p"), [(0.5, Verdict.INCONCLUSIVE, 0.202), (0.625, Verdict.REFUTED, 0.002)]
)
def test_a_mirrored_resample_that_just_agrees_speaks_for_the_claim(
    bound: float, verdict: Verdict, p: float
) -> None:
    """A tenth at 0: mirrored in 0.25 they are at 0.5."""
    found = judge_least([pair(0.25, 0.0, 100)], bound, "Spearman")
    assert (found.verdict, found.p_value) == (verdict, pytest.approx(p))
    assert found.sentence == (
        "Least alike are short and long: 0.25 [0, 0.5] Spearman (3 prompts, 2 templates); "
        f"{bound} is asked for (p = {p})."
    )


@pytest.mark.parametrize(
    ("others", "verdict", "high", "noise"),
    [
        (9, Verdict.REFUTED, 0.25, ""),
        (10, Verdict.INCONCLUSIVE, 0.4375 / 0.8, " Noise leaves 0.8 of a true agreement."),
    ],
)
def test_what_is_refuted_exactly_at_the_level_is_not_laid_to_noise(
    others: int, verdict: Verdict, high: float, noise: str
) -> None:
    """Of 999 resamples 9 may contradict; what noise leaves of 0.5 is 0.4."""
    given = replace(pair(0.25, 0.4375, others), reliabilities=(0.8, 0.8))
    found = judge_least([given], 0.5, "Spearman")
    p = 2 * (others + 1) / 1000
    assert (found.verdict, found.p_value) == (verdict, pytest.approx(p))
    assert found.sentence == (
        f"Least alike are short and long: 0.25 [0.25, {high:.3g}] Spearman (3 prompts, 2 templates); 0.5 is asked for "
        f"(p = {p}).{noise}"
    )


def trained(*by_seed: float, value: float = 0.75, other: float = 0.75, others: int = 0) -> Pair:
    return replace(pair(value, other, others), by_seed=by_seed)


@pytest.mark.parametrize(
    ("value", "by_seed", "verdict", "p", "split"),
    [
        (0.75, (0.75, 0.5), Verdict.SUPPORTED, 0.002, ""),  # as much as is asked for is enough
        (0.75, (0.75, 0.25), Verdict.INCONCLUSIVE, 1.0, " The trainings do not agree; by seed 0.75, 0.25."),
        (0.25, (0.25, 0.375), Verdict.REFUTED, 0.002, ""),
        (0.25, (0.0, 0.5), Verdict.INCONCLUSIVE, 1.0, " The trainings do not agree; by seed 0, 0.5."),
        (0.25, (0.75,), Verdict.REFUTED, 0.002, ""),  # one training is all there is
    ],
)
def test_each_training_must_say_as_much(
    value: float, by_seed: tuple[float, ...], verdict: Verdict, p: float, split: str
) -> None:
    found = judge_least([trained(*by_seed, value=value, other=value)], 0.5, "Spearman")
    said = "p = 1" if p == 1.0 else "p = 0.002"
    assert (found.verdict, found.sentence) == (
        verdict,
        f"Least alike are short and long: {value:g} [{value:g}, {value:g}] Spearman (3 prompts, 2 templates); 0.5 is "
        f"asked for ({said}).{split}",
    )
    assert found.p_value == pytest.approx(p)


@pytest.mark.parametrize(("value", "other"), [(0.75, 0.25), (0.25, 0.75)])
def test_trainings_that_say_nothing_else_are_not_told_to_disagree(value: float, other: float) -> None:
    found = judge_least([trained(value, value, value=value, other=other, others=100)], 0.5, "Spearman")
    assert (found.verdict, found.p_value) == (Verdict.INCONCLUSIVE, pytest.approx(0.202))
    assert found.sentence.endswith("0.5 is asked for (p = 0.202).")


def test_the_least_of_three_pairs_is_told_and_one_of_them_refutes() -> None:
    """Of 999 resamples 3 contradict the second pair, 1 the last: three pairs by its 2 + 2 of 1000."""
    pairs = [
        replace(pair(0.75, 0.75, 0), one="a"),
        replace(pair(0.375, 0.625, 3), one="b"),
        replace(pair(0.25, 0.625, 1), one="c"),
    ]
    found = judge_least(pairs, 0.5, "Spearman")
    assert (found.verdict, found.p_value) == (Verdict.REFUTED, pytest.approx(3 * 2 * 2 / 1000))
    assert found.sentence.startswith("Least alike are c and long: 0.25 [0.25, 0.25] Spearman ")
    holds = judge_least(
        [replace(one, value=0.75) for one in pairs[:1] * 2] + [pair(0.625, 0.25, 4)], 0.5, "x"
    )
    assert (holds.verdict, holds.p_value) == (Verdict.SUPPORTED, pytest.approx(2 * 5 / 1000))


@pytest.mark.parametrize(
    ("reliabilities", "most", "high", "verdict", "noise"),
    [
        ((0.8, 0.8), 1.0, 0.25, Verdict.REFUTED, ""),
        (
            (0.5, 0.25),
            1.0,
            0.25 / 0.125**0.5,
            Verdict.INCONCLUSIVE,
            " Noise leaves 0.35 of a true agreement.",
        ),
        ((0.25, 0.16), 1.0, 1.0, Verdict.INCONCLUSIVE, " Noise leaves 0.2 of a true agreement."),
        ((0.25, 0.16), 3.0, 1.25, Verdict.INCONCLUSIVE, " Noise leaves 0.2 of a true agreement."),
        (
            (1.0, 0.1),
            3.0,
            3.0,
            Verdict.INCONCLUSIVE,
            " The order is not told from noise (reliabilities 1 and 0.1).",
        ),
        (
            (0.0, 0.75),
            1.0,
            1.0,
            Verdict.INCONCLUSIVE,
            " The order is not told from noise (reliabilities 0 and 0.75).",
        ),
    ],
)
def test_what_noise_leaves_widens_the_interval_upwards(
    reliabilities: tuple[float, float], most: float, high: float, verdict: Verdict, noise: str
) -> None:
    given = replace(pair(0.25, 0.25, 0), reliabilities=reliabilities)
    found = judge_least([given], 0.4375, "Spearman", most=most)
    p = 0.002 if verdict is Verdict.REFUTED else 1.0
    assert (found.verdict, found.p_value) == (verdict, pytest.approx(p))
    assert found.estimate == Estimate(
        value=0.25, low=0.25, high=pytest.approx(high), unit="Spearman", n_prompts=3, n_templates=2
    )
    assert found.sentence == (
        f"Least alike are short and long: {found.estimate}; 0.4375 is asked for (p = {p:g}).{noise}"
    )
    told = judge_least([given], 0.4375, "Spearman", most=most, say=lambda estimate, p: f"{estimate} | {p:g}")
    assert told.sentence == f"{found.estimate} | {p:g}{noise}"


@pytest.mark.parametrize(("most", "high"), [(1.0, 1.0), (3.0, 1.25)])
def test_resamples_are_mirrored_up_to_the_most_that_can_be(most: float, high: float) -> None:
    """Ten of 999 at 0.25 stand beyond the lower bound of none: mirrored in 0.75 they are 1.25."""
    found = judge_least([pair(0.75, 0.25, 10)], 2.0, "of the top 3", most=most)
    assert (found.estimate.low, found.estimate.high) == (0.25, high)
    one_fewer = judge_least([pair(0.75, 0.25, 9)], 2.0, "of the top 3", most=most)
    assert (one_fewer.estimate.low, one_fewer.estimate.high) == (0.75, 0.75)


def test_a_draw_without_ranks_is_at_either_end() -> None:
    draws = np.r_[np.full(989, 0.5), np.full(10, np.nan)]
    assert rank_interval(draws) == (-1.0, 1.0)
    assert rank_interval(np.r_[np.full(990, 0.5), np.full(9, np.nan)]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("kept", "reliability"),
    [(1.0, 1.0), (0.8, 0.4375), (0.75, 2 / 9), (0.5**0.5, 0.0), (0.5, 0.0), (0.0, 0.0), (-0.9, 0.0)],
)
def test_a_reliability_is_two_less_the_inverse_square(kept: float, reliability: float) -> None:
    assert of_correlation(kept) == pytest.approx(reliability, abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("correlation", [0.8, 0.95])
def test_the_reliability_of_a_top_is_that_of_normal_numbers(share: float, correlation: float) -> None:
    """What a correlation keeps of the top gives the square of what sqrt(2 - 1 / c^2) keeps of it."""

    def top_kept(c: float) -> float:
        edge = special.ndtri(1 - share)
        x = np.linspace(edge, edge + 12.0, 20_001)
        beyond = np.exp(-(x**2) / 2) * special.ndtr((c * x - edge) / np.sqrt(1 - c**2))
        return float(integrate.simpson(beyond, x=x) / np.sqrt(2 * np.pi) / share)

    expected = top_kept(float(np.sqrt(2 - correlation**-2))) ** 2
    assert of_overlap(share)(top_kept(correlation)) == pytest.approx(expected, abs=1e-4)
    assert of_overlap(share)(top_kept(0.72)) == 0.0  # 2 - 1 / 0.72^2 is below 0.1
    assert of_overlap(share)(1.0) == of_overlap(1.0)(0.0) == 1.0


def test_what_resamples_keep_is_the_mean_over_the_first_999() -> None:
    rng = np.random.default_rng(0)
    value, draws = np.arange(6.0), rng.standard_normal((1200, 6))
    draws[::7] = 1.0  # no ranks: left out
    each = [spearman(value[None], draw[None])[0] for i, draw in enumerate(draws[:999]) if i % 7]
    assert kept_by_resamples(value, draws, spearman) == pytest.approx(np.mean(each))
    tops = [len({3, 4, 5} & set(np.argsort(-draw)[:3].tolist())) for draw in draws[:999]]
    assert kept_by_resamples(value, draws, overlap(3)) == pytest.approx(np.mean(tops) / 3)
    assert kept_by_resamples(value, np.ones((9, 6)), spearman) == 0.0
    assert kept_by_resamples(value, draws, overlap(0)) == 0.0
    assert overlap(2)(value[None], np.array([[9.0, 0.0, 0.0, 0.0, 7.0, 0.0]])).tolist() == [1.0]
    assert overlap(3)(np.stack([value, -value]), np.stack([value, value])).tolist() == [3.0, 0.0]
