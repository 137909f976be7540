"""What a reader is told of what steering moves besides: every verdict's whole finding, with p-values in closed form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, spearmanr

from harness.effects import Effects, PromptRecord
from harness.experiments.steering import FACTS, random_directions
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.steering import Steering, Unit
from harness.verdicts.criteria import KlFallsWithDepth, SteeringMoves
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured, say_p
from harness.verdicts.synthetic import steered
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
WHY: dict[str, Any] = {"rationale": "a test"}
SKILL, OTHER = "factual_recall", "copying"
LEAST_P = 2 / 10_000
"""Two-sided, where none of 9,999 resamples contradicts."""

Level = Callable[[Steering, PromptRecord], float]


def with_kl(steerings: Sequence[Steering], level: Level, *, families: Sequence[str], **size: Any) -> Effects:
    """A table of steering, of these mean KLs."""
    made = steered(steerings, lambda s, p: 0.0, families=families, **size)
    kl = np.array([[level(s, p) for p in made.prompts] for s in steerings], dtype=float)
    return replace(made, metrics={**made.metrics, "kl_nats": kl})


def template(prompt: PromptRecord) -> int:
    return int(prompt.template.removeprefix("t"))


# What is moved


def moved(level: Level, templates: int = 6) -> Effects:
    """Facts and copying at L1 and L3 by 0.25 and 0.5, behind the unsteered row."""
    steps = [Steering(direction=FACTS, layers=(layer,), strength=s) for layer in (1, 3) for s in (0.25, 0.5)]
    unsteered = Steering(direction=FACTS, layers=(1,), strength=0.0)
    return with_kl([unsteered, *steps], level, families=(OTHER, SKILL), templates=templates, prompts=2)


def judged_moves(effects: Effects, **asked: Any) -> Finding:
    criterion = SteeringMoves(**{"strengths": (0.25, 0.5), **asked}, **WHY)
    return judge_criterion(criterion, measured({"steering_sweep": effects}, 4))


def by_family(s: Steering, prompt: PromptRecord) -> float:
    """Others: 0.01445 and 0.125 a unit of strength, at L3 0.375; the skill: 2 nats, but 1 at L1 by 0.5."""
    if prompt.family == SKILL:
        return 1.0 if (s.layers, s.strength) == ((1,), 0.5) else 2.0
    return s.strength * (0.375 if s.layers == (3,) else 0.125) + 0.01445


@pytest.mark.parametrize(
    ("asked", "verdict", "p", "at", "whose", "value", "claim"),
    [
        ({"at_most": 0.25}, SUPPORTED, LEAST_P, (3, 0.5), "other tasks", 0.20195, "at most 0.25"),
        ({"at_most": 0.1}, REFUTED, 4 * LEAST_P, (3, 0.5), "other tasks", 0.20195, "at most 0.1"),
        ({"at_least": 0.03}, SUPPORTED, LEAST_P, (1, 0.25), "other tasks", 0.0457, "at least 0.03"),
        ({"at_least": 0.05}, REFUTED, 4 * LEAST_P, (1, 0.25), "other tasks", 0.0457, "at least 0.05"),
        (
            {"at_least": 0.5, "others": False},
            SUPPORTED,
            LEAST_P,
            (1, 0.5),
            "the skill",
            1.0,
            "at least 0.5",
        ),
        (
            {"at_most": 1.5, "others": False, "layers": (3,), "strengths": (0.5,)},
            REFUTED,
            LEAST_P,
            (3, 0.5),
            "the skill",
            2.0,
            "at most 1.5",
        ),
    ],
)
def test_what_is_moved_is_told_at_its_worst_edit(
    asked: dict[str, Any],
    verdict: Verdict,
    p: float,
    at: tuple[int, float],
    whose: str,
    value: float,
    claim: str,
) -> None:
    """Refuted by one edit of all that are asked about: Bonferroni's."""
    found = judged_moves(moved(by_family), **asked)
    edit = Steering(direction=FACTS, layers=(at[0],), strength=at[1]).edit()
    n = 1 if "layers" in asked else 4
    shown = f"{value:.3g} [{value:.3g}, {value:.3g}] nats (12 prompts, 6 templates)"
    assert (found.verdict, found.sentence) == (
        verdict,
        f"'{edit}' moves {whose} by {shown}; {claim} is claimed of {n} edits (p < 0.001).",
    )
    assert found.p_value == pytest.approx(p)
    assert found.estimate == Estimate(
        value=pytest.approx(value),
        low=pytest.approx(value - 1e-6, abs=1e-9),
        high=pytest.approx(value + 1e-6, abs=1e-9),
        unit="nats",
        n_prompts=12,
        n_templates=6,
    )


def test_an_undecided_move_has_the_p_value_of_its_worst_edit() -> None:
    """0.1 and the templates' own 0 to 0.05 at each of four edits, and 0.02 more at L3 by 0.5."""
    effects = moved(
        lambda s, p: 0.1 + 0.01 * (template(p) % 6) + 0.02 * ((s.layers, s.strength) == ((3,), 0.5)),
        templates=12,
    )
    found = judged_moves(effects, at_most=0.15)
    others = [i for i, p in enumerate(effects.prompts) if p.family == OTHER]
    clusters = Clusters.of([effects.prompts[i] for i in others])
    worst = sample(clusters, effects.metrics["kl_nats"][-1:, others], "kl_nats")
    p = 2 * worst.p_below(0, 0.15)
    assert 0.1 < p < 1.0
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(p)
    assert found.sentence.endswith(f"at most 0.15 is claimed of 4 edits ({say_p(p)}).")


def test_a_move_that_is_no_number_is_none() -> None:
    effects = moved(lambda s, p: np.nan if (p.family, template(p), s.layers) == (OTHER, 2, (3,)) else 1.0)
    found = judged_moves(effects, at_least=0.5)
    assert (found.verdict, found.sentence) == (
        INVALID,
        "Not a measurement: 4 of 48 values that steering is judged by are not finite.",
    )
    assert judged_moves(effects, at_least=0.5, others=False).verdict is SUPPORTED


# The fall with depth


FAMILIES = ("a", "b")


def depths(
    levels: Sequence[float], level: Callable[[int, PromptRecord], float] | None = None, templates: int = 5
) -> Effects:
    """Two random directions of each block's length, as far apart as 0.25, and one of a fixed length that moves none."""
    block, fixed = random_directions(2), random_directions(1, Unit.FIXED)
    steps = [
        Steering(direction=direction, layers=(2 * layer,), strength=0.5)
        for direction in (*block, *fixed)
        for layer in range(len(levels))
    ]

    def kl(s: Steering, prompt: PromptRecord) -> float:
        if s.direction in fixed:
            return 1.0
        i = s.layers[0] // 2
        return (levels[i] if level is None else level(i, prompt)) + (0.125 if s.direction.draw else -0.125)

    return with_kl(steps, kl, families=FAMILIES, templates=templates, prompts=2)


def judged_depth(effects: Effects, at_most: float, **asked: Any) -> Finding:
    view = measured({"steering_depth": effects}, 10)
    return judge_criterion(KlFallsWithDepth(at_most=at_most, **asked, **WHY), view)


@pytest.mark.parametrize(
    ("levels", "at_most", "verdict", "rho"),
    [
        ((5, 4, 3, 2, 1), -0.6, SUPPORTED, -1.0),
        ((4, 5, 3, 2, 1), -0.6, SUPPORTED, -0.9),
        ((3, 2, 1), -0.6, SUPPORTED, -1.0),
        ((4, 5, 3, 2, 1), -0.95, REFUTED, -0.9),
        ((1, 2, 3, 5, 4), -0.6, REFUTED, 0.9),
        ((2, 4, 3, 1), -0.4, SUPPORTED, -0.4),  # just what is claimed
    ],
)
def test_a_fall_is_told_from_the_first_block_to_the_last(
    levels: tuple[int, ...], at_most: float, verdict: Verdict, rho: float
) -> None:
    found = judged_depth(depths(levels), at_most)
    assert rho == pytest.approx(spearmanr(range(len(levels)), levels).statistic)
    size = "(20 prompts, 10 templates)"
    assert (found.verdict, found.sentence) == (
        verdict,
        f"Over {len(levels)} blocks the KL of random directions goes from {levels[0]} at L0 to {levels[-1]} at "
        f"L{2 * len(levels) - 2}: {rho:g} [{rho:g}, {rho:g}] (Spearman) {size}; at most {at_most:g} is claimed "
        "(p < 0.001).",
    )
    assert found.p_value == pytest.approx(LEAST_P)
    assert found.estimate == Estimate(
        value=pytest.approx(rho),
        low=pytest.approx(rho),
        high=pytest.approx(rho),
        unit="(Spearman)",
        n_prompts=20,
        n_templates=10,
    )


OVERTAKES = float(binom.sf(2, 8, 0.2))
"""Share of the resamples, of four draws in each of two families, with template t0 more than twice."""


def with_t0(raised: int, *levels: float) -> Effects:
    """These levels; where t0 is drawn more than twice of eight times, `raised` lies above what was a step above it."""
    return depths(levels, lambda i, p: levels[i] + (3.0 if (i, template(p)) == (raised, 0) else 0.0))


@pytest.mark.parametrize(
    ("raised", "levels", "at_most", "rho", "high"),
    [
        (1, (4.0, 3.0, 2.0, 1.0), -0.9, -1.0, -0.8),
        (2, (3.0, 4.0, 2.0, 1.0), -0.8, -0.8, -0.4),  # just what is claimed, in most resamples: not refuted
    ],
)
def test_an_undecided_fall_has_twice_the_share_of_the_resamples_that_lie_above(
    raised: int, levels: tuple[float, ...], at_most: float, rho: float, high: float
) -> None:
    found = judged_depth(with_t0(raised, *levels), at_most)
    assert found.verdict is INCONCLUSIVE, found.sentence
    assert found.p_value == pytest.approx(2 * OVERTAKES, abs=0.03)
    assert found.sentence.endswith(f"at most {at_most:g} is claimed ({say_p(found.p_value)}).")
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx((rho, rho, high))


def test_a_fall_whose_every_resample_is_at_most_what_is_claimed_is_supported() -> None:
    assert judged_depth(with_t0(1, 4.0, 3.0, 2.0, 1.0), -0.8).verdict is SUPPORTED


def test_too_few_blocks_equal_ones_and_no_numbers_have_no_fall() -> None:
    whole = "'steering_depth' steers 2 blocks: a correlation needs three"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judged_depth(depths((2, 1)), -0.6)
    alike = judged_depth(depths((4, 3, 2, 1)), -0.6, unit=Unit.FIXED)
    assert (alike.verdict, alike.sentence) == (
        INVALID,
        "Not a measurement: random directions move every block's prompts alike, so no depth is singled out.",
    )
    broken = depths((4, 3, 2, 1), lambda i, p: np.nan if (i, template(p)) == (1, 3) else 1.0)
    found = judged_depth(broken, -0.6)
    assert (found.verdict, found.sentence) == (
        INVALID,
        "Not a measurement: 4 of 80 values that steering is judged by are not finite.",
    )
