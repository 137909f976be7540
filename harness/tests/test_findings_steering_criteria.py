"""What each criterion on steering says of itself, and why it refuses what it refuses: whole sentences."""

from __future__ import annotations

from typing import Any

import pytest

from harness.steering import Unit
from harness.verdicts.criteria import (
    BeatsControls,
    BestSteered,
    FlooredRatio,
    Gain,
    KlFallsWithDepth,
    KnockoutBeatsRandom,
    KnockoutSelects,
    SteeringFalls,
    SteeringGain,
    SteeringInert,
    SteeringMoves,
    SteeringSigns,
    SteeringSlope,
)

WHY: dict[str, Any] = {"rationale": "a test"}
FORMS = "the log-probability of the answer in any form"


@pytest.mark.parametrize(
    ("gain", "unit"),
    [
        (Gain.FORMS, "nats"),
        (Gain.MARGIN, "nats"),
        (Gain.ANSWER, "nats"),
        (Gain.PROBABILITY, "of probability"),
    ],
)
def test_the_unit_of_a_gain(gain: Gain, unit: str) -> None:
    assert gain.unit == unit


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        (
            SteeringGain(layer=2, strengths=(0.25, 1.0), at_least=0.1, **WHY),
            f"steering at L2 by 0.25, 1 changes {FORMS} by at least 0.1 nats",
        ),
        (
            SteeringGain(at_most=0.01, gain=Gain.PROBABILITY, **WHY),
            "steering at some block by 0.5 changes the answer's probability by at most 0.01 of probability",
        ),
        (
            SteeringSlope(layer=3, window=0.25, anti_at_most=0.2, **WHY),
            f"{FORMS} rises with the strength at L3, within 0.25 of 0, and falls on at most 20% of prompts",
        ),
        (
            SteeringSlope(sign=-1, anti_at_most=0.25, experiment="steering_stance", gain=Gain.MARGIN, **WHY),
            "in steering_stance, the margin of the affirmative answer falls with the strength at some block, within "
            "0.5 of 0, and rises on at most 25% of prompts",
        ),
        (
            SteeringSlope(sign=-1, **WHY),
            f"{FORMS} falls with the strength at some block, within 0.5 of 0",
        ),
        (
            BestSteered(layer=2, gain=Gain.ANSWER, **WHY),
            "of all blocks steered by 0.5, L2 changes the answer's log-probability most, separated from every other at "
            "p < 0.01",
        ),
        (
            BeatsControls(layer=2, **WHY),
            f"at L2, by 0.5, the direction raises {FORMS} by 0.1 nats more than 95% of the random directions do, and "
            "than every shuffled and wrong-task one",
        ),
        (
            SteeringInert(layer=2, within_nats=0.1, up_to=0.25, **WHY),
            f"steering at L2 by up to 0.25 either way changes {FORMS} by no more than 0.1 nats",
        ),
        (
            SteeringMoves(strengths=(-0.25, 0.25), at_most=0.1, **WHY),
            "steering at every steered block by -0.25, 0.25 moves the other tasks' prompts by at most 0.1 nats",
        ),
        (
            SteeringMoves(strengths=(1.0,), at_least=1.0, layers=(2, 3, 5), others=False, **WHY),
            "steering at L2-L3+L5 by 1 moves the skill's prompts by at least 1 nats",
        ),
        (
            KnockoutSelects(layer=2, at_least=1.0, **WHY),
            "steering at L2 by -0.5 drops the skill's answers at least 1 nats more than the other tasks'",
        ),
        (
            KnockoutSelects(strength=-0.25, at_most=0.5, index_at_least=0.75, **WHY),
            "steering at some block by -0.25 drops the skill's answers at most 0.5 nats more than the other tasks', "
            "and with an index of at least 0.75",
        ),
        (
            KnockoutBeatsRandom(layer=2, **WHY),
            "at L2, by -0.5, the knockout is 0.1 nats more selective than 95% of the random directions",
        ),
        (
            FlooredRatio(at_least=1000.0, **WHY),
            "at the best block and by the best strength the skill loses at least 1000 times the probability that the "
            "other tasks lose, which counts as 1e-06 or more",
        ),
        (
            FlooredRatio(
                layer=2, strength=-2.0, at_least=1.0, at_most=2.0, absolute=True, floor=0.001, **WHY
            ),
            "at L2 and by -2 the skill loses at least 1 and at most 2 times the probability by which the other tasks "
            "change, which counts as 0.001 or more",
        ),
        (
            KlFallsWithDepth(at_most=-0.6, **WHY),
            "random directions of each block's own length move less the later the block: Spearman at most -0.6",
        ),
        (
            KlFallsWithDepth(at_most=-0.6, unit=Unit.FIXED, **WHY),
            "random directions of one length move less the later the block: Spearman at most -0.6",
        ),
        (
            SteeringFalls(strong="a", weak="b", layers={"a": 1, "b": 2}, factor=10.0, **WHY),
            "the gain by 0.5 in a is more than 10 times that in b (L1 in a, L2 in b)",
        ),
        (
            SteeringFalls(strong="a", weak="b", layers={"a": 1, "b": 2}, strength=-0.5, knockout=True, **WHY),
            "the selectivity of a knockout by -0.5 in a is more than 1 times that in b (L1 in a, L2 in b)",
        ),
        (
            SteeringSigns(signs={"a": 1, "b": -1}, layers={"a": 2, "b": None}, **WHY),
            f"{FORMS}, against the strength, rises in a at L2, and falls in b over several blocks",
        ),
    ],
)
def test_a_criterion_says_what_is_asked(criterion: Any, said: str) -> None:
    assert str(criterion) == said


BOUNDS = "give either at_most or at_least"


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (SteeringGain, {}, f"SteeringGain: {BOUNDS}"),
        (SteeringGain, {"at_least": 0.1, "at_most": 0.2}, f"SteeringGain: {BOUNDS}"),
        (SteeringGain, {"strengths": (), "at_least": 0.1}, "SteeringGain: name a strength"),
        (SteeringMoves, {"strengths": (1.0,)}, f"SteeringMoves: {BOUNDS}"),
        (SteeringMoves, {"strengths": (1.0,), "at_least": 0.1, "at_most": 0.2}, f"SteeringMoves: {BOUNDS}"),
        (SteeringMoves, {"strengths": (), "at_most": 0.1}, "SteeringMoves: name a strength"),
        (SteeringSlope, {"sign": 0}, "SteeringSlope(sign=0): 1 or -1"),
        (SteeringSlope, {"sign": 2}, "SteeringSlope(sign=2): 1 or -1"),
        (KnockoutSelects, {}, f"KnockoutSelects: {BOUNDS}"),
        (KnockoutSelects, {"at_least": 1.0, "at_most": 2.0}, f"KnockoutSelects: {BOUNDS}"),
        (FlooredRatio, {}, "FlooredRatio: give a bound"),
        (SteeringInert, {"layer": 1, "within_nats": 0.1, "rationale": " "}, None),
    ],
)
def test_a_criterion_that_asks_nothing_says_what_to_give(
    kind: Any, given: dict[str, Any], said: str | None
) -> None:
    said = said or f"{kind.__name__}: say why these thresholds were chosen (rationale)"
    with pytest.raises(ValueError) as error:  # noqa: PT011
        kind(**{**WHY, **given})
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("strength", "probability"), [(0.0, 0.1), (0.5, 0.1), (-0.5, 0.0), (-0.5, 1.0), (-0.5, 1.5), (-0.5, -0.1)]
)
def test_a_knockout_takes_away_from_prompts_with_an_answer(strength: float, probability: float) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        KnockoutBeatsRandom(layer=1, strength=strength, min_probability=probability, **WHY)
    assert str(error.value) == (
        f"KnockoutBeatsRandom: strength {strength} and min_probability {probability}: a knockout takes away, from "
        "prompts with an answer"
    )
