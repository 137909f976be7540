"""Whether steering does less on long prompts: every verdict's whole finding, either side of its boundaries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from harness.effects import Effects, PromptRecord
from harness.experiments.steering import FACTS, OTHER_TASK, STANCE
from harness.statistics.estimate import Estimate
from harness.steering import Direction, Steering
from harness.verdicts.criteria import Gain, SteeringWeakens
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured, say_p
from harness.verdicts.steering_length import Slopes
from harness.verdicts.synthetic import steered
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
SKILL, OTHER = "factual_recall", "copying"
SHORT, LONG = "steering_short", "steering_long"
LEAST_P = 2 / 10_000
"""Two-sided, where none of 9,999 resamples contradicts."""

Slope = Callable[[int, PromptRecord], float]
"""Block and prompt -> nats per unit of strength."""


def template(prompt: PromptRecord) -> int:
    return int(prompt.template.removeprefix("t"))


def in_first(prompt: PromptRecord) -> bool:
    """The half of the templates that stands first in `halves`: every other one."""
    return template(prompt) % 2 == 0


def band(
    slope: Slope,
    *,
    blocks: Sequence[int] = (1, 2),
    direction: Direction = FACTS,
    families: Sequence[str] = (OTHER, SKILL),
    **size: Any,
) -> Effects:
    """Facts, and copying that gains 7 nats whatever is done; a whole length of the stream costs 9 nats everywhere."""
    steps = [
        Steering(direction=direction, layers=(block,), strength=strength)
        for block in blocks
        for strength in (-0.5, 0.5, 1.0)
    ]
    unsteered = Steering(direction=direction, layers=(blocks[0],), strength=0.0)

    def gain(s: Steering, prompt: PromptRecord) -> float:
        if s.strength == 0.0:
            return 0.0
        if prompt.family == OTHER:
            return 7.0
        return -9.0 if s.strength == 1.0 else s.strength * slope(s.layers[0], prompt)

    return steered([unsteered, *steps], gain, families=families, **size)


def at_l1(per: float, **size: Any) -> Effects:
    """So much at L1 on every prompt, and a nat less at L2."""
    return band(lambda block, _: per - (block - 1), **size)


def only(effects: Effects, keep: Callable[[PromptRecord], bool]) -> Effects:
    """The table with these prompts alone."""
    columns = [i for i, prompt in enumerate(effects.prompts) if keep(prompt)]
    return replace(
        effects,
        prompts=tuple(effects.prompts[i] for i in columns),
        metrics={name: values[:, columns] for name, values in effects.metrics.items()},
        baseline={name: values[columns] for name, values in effects.baseline.items()},
    )


def judged(short: Effects, long: Effects, **asked: Any) -> Finding:
    criterion = SteeringWeakens(**{"factor": 0.8, **asked}, rationale="a test")
    return judge_criterion(criterion, measured({SHORT: short, LONG: long}, 4))


def told(found: Finding) -> str:
    """Both slopes and their difference, as the sentence has them, without the intervals."""
    return re.sub(r" \[[^]]*\]", "", found.sentence)


@pytest.mark.parametrize(
    ("short", "long", "verdict"),
    [
        (1.0, 0.79, SUPPORTED),
        (1.0, 0.81, REFUTED),
        (1.0, 0.8, INCONCLUSIVE),
        (1.0, -3.0, SUPPORTED),
        (1.0, 4.0, REFUTED),
        (0.001, -1.0, SUPPORTED),
        (0.0, -1.0, INCONCLUSIVE),  # nothing to lose
        (0.0, 1.0, REFUTED),
        (-1.0, -2.0, INCONCLUSIVE),  # backwards on both
        (-1.0, -0.5, INCONCLUSIVE),
        (-1.0, 0.79, INCONCLUSIVE),
        (-1.0, 0.81, REFUTED),
        (-2.0, 1.59, INCONCLUSIVE),
        (-2.0, 1.61, REFUTED),
    ],
)
def test_steering_weakens_by_less_than_a_share_of_what_there_is(
    short: float, long: float, verdict: Verdict
) -> None:
    found = judged(at_l1(short, prompts=2), at_l1(long, templates=5))
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(1.0 if verdict is INCONCLUSIVE else LEAST_P)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(long - 0.8 * short, abs=1e-9)


def test_both_slopes_and_their_intervals_are_told() -> None:
    found = judged(at_l1(2.0, prompts=2), at_l1(0.5, templates=5))
    assert found.sentence == (
        "At L1, each half of the templates where the other half of steering_short chose, the slope of the "
        "log-probability of the answer in any form is 2 [2, 2] on all 12 prompts of steering_short. On the 5 questions "
        "that both ask it is 2 [2, 2] there and 0.5 [0.5, 0.5] in steering_long: the second less 0.8 times the first "
        "is -1.1 [-1.1, -1.1] nats per unit of strength (5 prompts, 5 templates) (p < 0.001)."
    )
    assert found.estimate == Estimate(
        value=pytest.approx(-1.1),
        low=pytest.approx(-1.1, abs=3e-6),
        high=pytest.approx(-1.1, abs=3e-6),
        unit="nats per unit of strength",
        n_prompts=5,
        n_templates=5,
    )


def test_another_factor_and_another_gain_are_asked_for() -> None:
    assert judged(at_l1(1.0), at_l1(0.79), factor=0.5).verdict is REFUTED
    found = judged(at_l1(1.0), at_l1(0.49), factor=0.5, gain=Gain.ANSWER)
    assert found.verdict is SUPPORTED
    assert "the slope of the answer's log-probability is 1 [" in found.sentence
    assert "the second less 0.5 times the first is -0.01 [" in found.sentence


def test_strengths_beyond_the_window_do_not_count() -> None:
    """A whole length costs 9 nats: within it the slope is (0.5 x 2 x 0.5 - 9) / 1.5."""
    found = judged(at_l1(1.0), at_l1(0.5), window=1.0)
    assert "is -5.67 [" in found.sentence
    assert found.verdict is INCONCLUSIVE


# Where it is judged


def preferring(first: tuple[float, float], second: tuple[float, float]) -> Slope:
    """What each half of the templates gains at L1 and L2."""
    return lambda block, prompt: (first if in_first(prompt) else second)[block - 1]


def test_each_half_is_judged_where_the_other_half_of_the_short_prompts_chose() -> None:
    """The first half prefers L2 and the second L1; what long prompts prefer does not count.

    All six short prompts choose, the four that are asked at length too are judged.
    """
    short = band(preferring((1.0, 2.0), (3.0, 0.5)))
    long = band(preferring((0.25, 9.0), (9.0, 0.5)), templates=4)
    found = judged(short, long)
    assert told(found).startswith("At L1 and L2, each half of the templates")
    assert " On the 4 questions that both ask it is 0.75 there and 0.375 in steering_long: " in told(found)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.375 - 0.8 * 0.75)


def test_a_template_is_in_one_half_at_every_length() -> None:
    """Long prompts of templates of the second half alone, which are judged where the first half chose."""
    short = band(preferring((0.0, 2.0), (3.0, 0.5)))
    long = only(band(preferring((9.0, 9.0), (9.0, 0.25))), lambda prompt: not in_first(prompt))
    assert " On the 3 questions that both ask it is 0.5 there and 0.25 in steering_long" in told(
        judged(short, long)
    )


def test_only_blocks_that_both_steered_are_chosen_from() -> None:
    short = band(lambda block, _: float(block), blocks=(1, 2, 3))
    long = band(lambda block, _: 0.1 * block, blocks=(0, 1, 2))
    found = judged(short, long)
    assert told(found).startswith("At L2, ")
    assert " it is 2 there and 0.2 in steering_long" in told(found)


# What the interval is of


@pytest.mark.parametrize(("mean", "factor"), [(0.5, 0.8), (0.3, 0.5)])
def test_the_templates_of_both_lengths_are_resampled_together(mean: float, factor: float) -> None:
    """What the same templates add to both is taken away: the error is that of the differences."""

    def spread(centre: float, width: float) -> Effects:
        return band(
            lambda _, prompt: centre + width * (template(prompt) / 39 - 0.5), blocks=(1,), templates=40
        )

    found = judged(spread(0.5, 1.0), spread(mean, 0.4), factor=factor)
    deviation = np.std(np.arange(40) / 39, ddof=1) / np.sqrt(40)
    error = deviation * abs(0.4 - factor)
    value = mean - factor * 0.5
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(value)
    assert found.estimate.low == pytest.approx(value + student.ppf(0.01, df=39) * error, abs=0.15 * error)
    assert found.estimate.high == pytest.approx(value + student.ppf(0.99, df=39) * error, abs=0.15 * error)
    assert found.verdict is REFUTED, "resampled apart, the lengths would leave it open"
    assert judged(spread(0.5, 1.0), spread(mean, 0.4), factor=factor) == found, "the same resamples each time"


def test_an_undecided_slope_on_short_prompts_leaves_it_open() -> None:
    """-2 to 3 nats per unit, template by template: a mean of 0.5 that no test tells from 0."""
    short = band(lambda _, prompt: template(prompt) - 2.0, blocks=(1,))
    found = judged(short, band(lambda *_: -40.0, blocks=(1,)))
    assert found.verdict is INCONCLUSIVE
    assert found.p_value is not None
    assert 0.1 < found.p_value < 1.0
    assert found.sentence.endswith(f" ({say_p(found.p_value)}).")
    assert found.estimate is not None
    assert found.estimate.high < 0.0


def test_families_of_a_skill_count_alike() -> None:
    """1 and 3 nats on short prompts; on long ones 0 and half a nat, of one family on two of its six templates."""
    both = ("refusal_compliance", "uncertainty")

    def stance(slopes: Sequence[float], families: Sequence[str]) -> Effects:
        return band(
            lambda _, prompt: slopes[both.index(prompt.family)], direction=STANCE, families=(OTHER, *families)
        )

    short = stance((1.0, 3.0), both)
    long = only(stance((0.0, 0.5), both), lambda prompt: prompt.family != both[0] or template(prompt) < 2)
    assert (
        " is 2 on all 12 prompts of steering_short. On the 8 questions that both ask it is 2 there and 0.25 in "
        in told(judged(short, long))
    )


def test_only_questions_that_both_ask_are_compared() -> None:
    """Short prompts that nobody asks at length gain 9 nats, and would hide that the others lose nothing."""
    short = band(lambda _, prompt: 1.0 if template(prompt) < 4 else 9.0, blocks=(1,))
    found = judged(short, at_l1(1.0, templates=4, blocks=(1,)))
    assert found.verdict is REFUTED
    assert " On the 4 questions that both ask it is 1 there and 1 in steering_long" in told(found)


def test_questions_that_only_long_prompts_ask_are_passed_over() -> None:
    """Of six long templates the first and the fourth are asked on short prompts, in the other order."""
    long = band(lambda _, prompt: 0.1 * template(prompt), blocks=(1,))
    short = only(at_l1(1.0, blocks=(1,)), lambda prompt: template(prompt) in (0, 3))
    turned = replace(
        short,
        prompts=short.prompts[::-1],
        metrics={name: values[:, ::-1] for name, values in short.metrics.items()},
        baseline={name: values[::-1] for name, values in short.baseline.items()},
    )
    for asked in (short, turned):
        assert " On the 2 questions that both ask it is 1 there and 0.15 in steering_long" in told(
            judged(asked, long)
        )


def test_slopes_on_some_prompts_are_those_prompts_slopes() -> None:
    prompts = at_l1(1.0).prompts[:3]
    slopes = Slopes(experiment=SHORT, values=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), prompts=prompts)
    some = slopes.on([2, 0])
    assert (some.experiment, some.prompts) == (SHORT, (prompts[2], prompts[0]))
    assert some.values.tolist() == [[3.0, 1.0], [6.0, 4.0]]


@pytest.mark.parametrize("lost", [-1.0, 0.0])
def test_nothing_is_lost_where_the_compared_questions_gained_nothing(lost: float) -> None:
    """34 short prompts gain 9 nats; the six that are asked at length too gain none, and at length lose a nat."""
    short = band(lambda _, prompt: lost if template(prompt) < 6 else 9.0, blocks=(1,), templates=40)
    found = judged(short, at_l1(-1.0, templates=6, blocks=(1,)))
    assert found.verdict is INCONCLUSIVE
    assert found.estimate is not None
    assert found.estimate.high < 0.0


# What cannot be judged


def test_a_slope_that_is_no_number_is_none() -> None:
    broken = band(lambda _, prompt: np.nan if template(prompt) == 3 else 1.0)
    for tables in ((at_l1(1.0), broken), (broken, at_l1(1.0))):
        found = judged(*tables)
        whole = "2 of 24 values that steering is judged by are not finite"
        assert (found.verdict, found.sentence) == (Verdict.INVALID, f"Not a measurement: {whole}.")


@pytest.mark.parametrize(
    ("short", "long", "whole"),
    [
        (
            at_l1(1.0),
            band(lambda *_: 1.0, direction=OTHER_TASK, families=(SKILL, "json_schema")),
            f"'{SHORT}' steers by '{FACTS}' and '{LONG}' by '{OTHER_TASK}'",
        ),
        (
            at_l1(1.0),
            band(lambda *_: 1.0, blocks=(0, 3)),
            f"no block was steered in '{SHORT}' and '{LONG}' alike",
        ),
        (
            at_l1(1.0, templates=1),
            at_l1(1.0),
            f"'{SHORT}' has a single template: a block is chosen on some and judged on others",
        ),
        (
            only(at_l1(1.0), in_first),
            only(at_l1(1.0), lambda prompt: not in_first(prompt)),
            f"'{SHORT}' and '{LONG}' share no question of the skill",
        ),
    ],
    ids=["directions", "blocks", "templates", "questions"],
)
def test_tables_that_cannot_be_compared_are_refused(short: Effects, long: Effects, whole: str) -> None:
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judged(short, long)


def test_the_criterion_says_what_it_asks() -> None:
    asked = SteeringWeakens(factor=0.8, rationale="a test")
    assert asked.experiments == (SHORT, LONG)
    assert str(asked) == (
        "at the block that does most in steering_short, the log-probability of the answer in any form rises with the "
        "strength, within 0.5 of 0, and in steering_long by less than 0.8 times as much, on the questions that both ask"
    )


@pytest.mark.parametrize("asked", [{"factor": 0.0}, {"factor": 0.8, "weak": SHORT}, {"factor": float("nan")}])
def test_a_criterion_that_compares_nothing_is_refused(asked: dict[str, Any]) -> None:
    values = {"factor": 0.8, "weak": LONG, **asked}
    whole = (
        f"SteeringWeakens(strong='steering_short', weak='{values['weak']}', factor={values['factor']:g}): two tables, "
        "and a factor above 0"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(whole)}$"):
        SteeringWeakens(**asked, rationale="a test")
