"""Reading tables of steering: what of them is the direction's own, gains and slopes in closed form, halves, answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.edits import skip
from harness.effects import Effects, PromptRecord
from harness.experiments.steering import FACTS, OTHER_TASK, STANCE
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.steering import Direction, Kind, Steering
from harness.verdicts.criteria import Gain
from harness.verdicts.reading import measured
from harness.verdicts.steering_table import (
    Answer,
    Asked,
    SteeringTable,
    all_of,
    answer,
    bound_of,
    claimed,
    halves,
    kept,
    measured_value,
    read_table,
    unusable,
)
from harness.verdicts.synthetic import steered, table
from harness.verdicts.verdict import MissingEvidence, Verdict

RANDOM = Direction(kind=Kind.RANDOM, draw=0)
SKILL, OTHER = "factual_recall", "copying"
LEAST_P = 1 / 10_000
"""One-sided, where none of 9,999 resamples contradicts."""
NOTHING: Callable[[Steering, PromptRecord], float] = lambda steering, prompt: 0.0  # noqa: E731


def step(layers: int | tuple[int, ...], strength: float, direction: Direction = FACTS) -> Steering:
    return Steering(
        direction=direction, layers=(layers,) if isinstance(layers, int) else layers, strength=strength
    )


def effects_of(
    steps: Sequence[Steering], gain: Callable[[Steering, PromptRecord], float] = NOTHING, **size: Any
) -> Effects:
    """Facts and copying, two prompts of two templates each, behind an unsteered row at L0."""
    size = {"families": (OTHER, SKILL), "templates": 2, **size}
    return steered([step(0, 0.0, steps[0].direction), *steps], gain, **size)


def read(effects: Effects, n_layers: int = 4) -> SteeringTable:
    return read_table(measured({"steering_sweep": effects}, n_layers), "steering_sweep")


# What is the direction's own


STEPS = [
    step(1, 0.5),
    step(1, -0.5),
    step(3, 0.25),
    step((0, 1, 2, 3), 0.125),
    step(2, 0.5, RANDOM),
    step(1, 0.5, OTHER_TASK),
    step(1, 0.5, RANDOM),
    step(1, -0.5, RANDOM),
]


def test_blocks_and_strengths_are_of_the_main_direction_by_itself() -> None:
    view = read(effects_of(STEPS))
    assert view.main == FACTS
    assert view.blocks == (1, 3)
    assert view.strengths((1,)) == (-0.5, 0.5)
    assert view.strengths((0, 1, 2, 3)) == (0.125,)
    assert view.strengths((2,)) == ()
    assert view.split == (0, 1, 2, 3)
    assert view.n_layers == 4
    assert view.unsteered == 0


def test_controls_are_the_other_directions_at_the_same_block_and_strength() -> None:
    view = read(effects_of(STEPS))
    assert view.controls(1, 0.5) == (OTHER_TASK, RANDOM)
    assert view.controls(1, -0.5) == (RANDOM,)
    assert view.controls(2, 0.5) == (RANDOM,)
    assert view.controls(3, 0.25) == ()


def test_prompts_of_the_skill_are_of_its_families() -> None:
    view = read(effects_of(STEPS, families=("copying", "factual_recall", "json_schema")))
    assert view.of_skill.tolist() == [False] * 2 + [True] * 2 + [False] * 2
    assert [p.family for p in kept(view, view.of_skill)] == [SKILL] * 2
    stance = read(
        effects_of([step(1, 0.5, STANCE)], families=("factual_recall", "refusal_compliance", "uncertainty"))
    )
    assert stance.of_skill.tolist() == [False] * 2 + [True] * 4


def test_what_was_not_measured_is_named() -> None:
    view = read(effects_of(STEPS))
    whole = "the table holds no metric 'recovery'"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        view.metric(step(1, 0.5), "recovery")
    edit = step(2, 0.5).edit()
    whole = f"'{edit}' was not measured (blocks (1, 3), strengths (-0.5, 0.5) of 'target of factual_recall')"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        view.metric(step(2, 0.5), "kl_nats")


def test_a_table_of_something_else_or_without_one_unsteered_row_is_refused() -> None:
    other = measured({"steering_sweep": table([skip(0)], {"kl_nats": [1.0]})})
    whole = f"'steering_sweep' is no table of steering: it holds '{skip(0)}'"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        read_table(other, "steering_sweep")
    whole = "'steering_sweep' holds 2 rows of strength 0; one says what is steered"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        read(effects_of([step(1, 0.0)]))


# Gains and slopes


def test_every_gain_is_the_closed_form() -> None:
    """Prompts gain 0.5, 1, 1.5 and 2 nats from -1, in any form from -0.75; the foil loses 0.25 from -3."""
    gains = np.array([0.5, 1.0, 1.5, 2.0])
    effects = effects_of([step(1, 0.5)])
    rise = np.stack([np.zeros(4), gains])
    effects = replace(
        effects,
        metrics={
            **effects.metrics,
            "answer_logprob": rise - 1.0,
            "forms_logprob": 2.0 * rise - 0.75,
            "foil_logprob": np.array([[-3.0] * 4, [-3.25] * 4]),
        },
        prompts=tuple(
            replace(p, answer=answer)
            for p, answer in zip(effects.prompts, ["no", "yes", "no", "yes"], strict=True)
        ),
    )
    view, at = read(effects), step(1, 0.5)
    np.testing.assert_allclose(view.gain(at, Gain.ANSWER), gains)
    np.testing.assert_allclose(view.gain(at, Gain.FORMS), 2.0 * gains)
    np.testing.assert_allclose(view.gain(at, Gain.PROBABILITY), np.exp(gains - 1.0) - np.exp(-1.0))
    np.testing.assert_allclose(view.gain(at, Gain.MARGIN), [np.nan, np.nan, -1.75, 2.25])


def test_the_margin_of_a_prompt_without_a_side_is_unknown() -> None:
    """Only the skill's answers are read for their side; copying answers ' a'."""
    view = read(effects_of([step(1, 0.5)]))
    yes = [replace(p, answer=" yes" if p.family == SKILL else " a") for p in view.prompts]
    view = read(replace(view.effects, prompts=tuple(yes)))
    np.testing.assert_array_equal(view.gain(step(1, 0.5), Gain.MARGIN), [np.nan, np.nan, 0.0, 0.0])


def bent(steering: Steering, prompt: PromptRecord) -> float:
    """As much as the strength up to 0.25, three times as much at 0.5, and ten times at 1."""
    size = len(steering.layers) * abs(steering.strength)
    return steering.strength * len(steering.layers) * (1.0 if size <= 0.25 else 3.0 if size <= 0.5 else 10.0)


@pytest.mark.parametrize("layers", [(1,), (0, 1, 2, 3)])
@pytest.mark.parametrize(
    ("window", "slope"),
    [
        (0.25, 1.0),
        (0.5, (0.25**2 + 3.0 * 0.5**2) / (0.25**2 + 0.5**2)),
        (0.99, (0.25**2 + 3.0 * 0.5**2) / (0.25**2 + 0.5**2)),
        (1.0, (0.25**2 + 3.0 * 0.5**2 + 10.0) / (0.25**2 + 0.5**2 + 1.0)),
    ],
)
def test_a_slope_is_least_squares_through_0_within_the_window(
    layers: tuple[int, ...], window: float, slope: float
) -> None:
    """Over four blocks the strength is what they share: four times that of each."""
    strengths = [sign * s / len(layers) for s in (0.25, 0.5, 1.0) for sign in (-1, 1)]
    view = read(effects_of([step(layers, s) for s in strengths], bent))
    np.testing.assert_allclose(view.slope(layers, Gain.FORMS, window), [slope] * 4)


@pytest.mark.parametrize("strengths", [(0.25, 0.5), (-0.25, -0.5), (0.25, -1.0), (-2.0, 2.0)])
def test_strengths_of_one_sign_within_the_window_have_no_slope(strengths: tuple[float, ...]) -> None:
    view = read(effects_of([step(1, s) for s in strengths]))
    whole = "no strengths of both signs within 0.5 of 0 at blocks (1,)"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        view.slope((1,), Gain.FORMS, 0.5)


# Halves


def test_every_other_template_of_each_family_by_name_is_of_the_first_half() -> None:
    names = [("a", "x"), ("a", "v"), ("b", "w"), ("a", "v"), ("b", "x"), ("a", "w"), ("b", "y"), ("b", "z")]
    (first, *_) = effects_of([step(1, 0.5)]).prompts
    prompts = [replace(first, family=family, template=template) for family, template in names]
    chosen = {names[i] for i in np.flatnonzero(halves(prompts))}
    assert chosen == {("a", "v"), ("a", "x"), ("b", "w"), ("b", "y")}
    assert halves(prompts).sum() == 5


# Answers


def prompts_of(templates: int) -> tuple[PromptRecord, ...]:
    return effects_of([step(1, 0.5)], families=(SKILL,), templates=templates).prompts


def constant(*levels: float, need: int, templates: int = 6) -> Asked:
    return Asked(excess=np.repeat(np.array(levels)[:, None], templates, axis=1), need=need)


@pytest.mark.parametrize(
    ("groups", "holds", "fails"),
    [
        ([constant(1.0, need=1)], 2 * LEAST_P, 1.0),
        ([constant(-1.0, need=1)], 1.0, 2 * LEAST_P),
        ([constant(1.0, 1.0, -1.0, need=2)], 2 * 2 * LEAST_P, 1.0),  # the second smallest of three: 2 remain
        ([constant(1.0, -1.0, -1.0, need=2)], 1.0, 2 * 2 * LEAST_P),  # two of three fail, so two cannot hold
        ([constant(1.0, need=1), constant(-1.0, need=1)], 1.0, 2 * 2 * LEAST_P),  # one of two groups
        ([constant(1.0, need=1), constant(0.0, need=1)], 1.0, 1.0),
        ([constant(0.0, need=1)], 1.0, 1.0),
    ],
)
def test_groups_of_conditions_hold_by_partial_conjunction(
    groups: list[Asked], holds: float, fails: float
) -> None:
    found = answer(groups, prompts_of(6))
    assert (found.p_holds, found.p_fails) == pytest.approx((holds, fails))
    verdict = Verdict.SUPPORTED if holds < 0.02 else Verdict.REFUTED if fails < 0.02 else Verdict.INCONCLUSIVE
    assert found.verdict == (verdict, pytest.approx(fails if verdict is Verdict.REFUTED else holds))
    assert [s.unit for s in found.sampled] == ["nats"] * len(groups)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_undecided_condition_has_twice_the_one_sided_p_value(sign: float) -> None:
    """Twelve values by hand, of mean 0.5 and standard error 0.28."""
    excess = sign * np.array([2.0, -1.0, 0.5, 1.5, -0.5, 1.0, 0.0, 2.0, -1.0, 0.5, 1.5, -0.5])[None]
    prompts = prompts_of(12)
    one = sample(Clusters.of(prompts), excess, "kl_nats")
    expected = 2 * one.p_above(0, 0.0), 2 * one.p_below(0, 0.0)
    assert 0.02 < min(expected) < 0.3
    found = answer([all_of(excess)], prompts)
    assert (found.p_holds, found.p_fails) == pytest.approx(tuple(min(1.0, p) for p in expected))


def test_the_worst_condition_is_the_least_of_all_groups() -> None:
    found = answer([constant(0.5, 0.25, need=2), constant(0.75, 2.0, -0.5, need=1)], prompts_of(6))
    assert found.worst == (1, 2)
    assert answer([constant(0.5, 0.25, need=2), constant(0.75, need=1)], prompts_of(6)).worst == (0, 1)


def test_conditions_are_kept_on_some_prompts() -> None:
    asked = Asked(excess=np.arange(8.0).reshape(2, 4), need=1).on(np.array([True, False, False, True]))
    np.testing.assert_array_equal(asked.excess, [[0.0, 3.0], [4.0, 7.0]])
    assert asked.need == 1
    assert all_of(np.zeros((3, 2))).need == 3


@pytest.mark.parametrize(("sign", "bound"), [(1.0, 0.5), (-1.0, 0.5), (-1.0, -2.0)])
def test_what_was_measured_is_told_and_not_its_distance_from_the_bound(sign: float, bound: float) -> None:
    """Values by hand on either side of the bound; the interval is theirs, in another unit."""
    values = np.array([[2.0, -1.0, 0.5, 1.5, -0.5, 1.0], [5.0, 5.0, 5.0, 5.0, 5.0, 5.0]])
    prompts = prompts_of(6)
    found = answer([all_of(sign * (values - bound))], prompts)
    worst = found.worst[1]
    own = sample(Clusters.of(prompts), values, "kl_nats").estimate(worst)
    expected = Estimate(
        value=pytest.approx(own.value),
        low=pytest.approx(own.low),
        high=pytest.approx(own.high),
        unit="of probability",
        n_prompts=6,
        n_templates=6,
    )
    assert measured_value(found, sign, bound, "of probability") == expected
    assert worst == (0 if sign > 0 else 1)


# Bounds in numbers and words


def test_a_bound_is_told_by_its_side() -> None:
    assert bound_of(0.25, None) == (1.0, 0.25)
    assert bound_of(0.0, None) == (1.0, 0.0)
    assert bound_of(None, 0.25) == (-1.0, 0.25)
    assert claimed(0.25, None) == "at least 0.25"
    assert claimed(0.0, None) == "at least 0"
    assert claimed(None, 0.25) == "at most 0.25"
    assert claimed(None, 0.0) == "at most 0"


def test_values_that_are_not_finite_are_counted() -> None:
    assert unusable(np.array([[1.0, np.nan], [np.inf, 2.0]])) == (
        "2 of 4 values that steering is judged by are not finite"
    )
    assert unusable(np.zeros((2, 2))) is None


def test_an_answer_is_the_two_p_values_it_holds() -> None:
    sampled = answer([constant(1.0, need=1)], prompts_of(6)).sampled
    assert Answer(p_holds=0.5, p_fails=0.01, sampled=sampled).verdict == (Verdict.REFUTED, 0.01)
    assert Answer(p_holds=0.5, p_fails=0.5, sampled=sampled).verdict == (Verdict.INCONCLUSIVE, 0.5)
