"""What a reader is told of steering across models: every verdict's whole finding, with p-values in closed form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from harness.effects import PromptRecord
from harness.experiments.steering import FACTS
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.steering import Steering
from harness.verdicts.criteria import SteeringFalls, SteeringSigns
from harness.verdicts.judging import judge_joint_criterion
from harness.verdicts.reading import Measured, measured, say_p
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
SHARED = (0, 1, 2, 3)
"""What blocks of a model of four share a strength."""

Value = Callable[[Steering, PromptRecord], float]


def template(prompt: PromptRecord) -> int:
    return int(prompt.template.removeprefix("t"))


def model(gain: Value, *, other: float = 7.0, templates: int = 6, base: float = -1.0) -> Measured:
    """Facts, and copying that gains `other` whatever is done, at L1, at L2 and over all four blocks."""
    steps = [
        Steering(direction=FACTS, layers=layers, strength=strength / len(layers))
        for layers in ((1,), (2,), SHARED)
        for strength in (-0.5, -0.25, 0.25, 0.5)
    ]
    unsteered = Steering(direction=FACTS, layers=(1,), strength=0.0)

    def value(s: Steering, prompt: PromptRecord) -> float:
        return 0.0 if s.strength == 0.0 else gain(s, prompt) if prompt.family == SKILL else other

    effects = steered([unsteered, *steps], value, families=(OTHER, SKILL), templates=templates, base=base)
    return measured({"steering_sweep": effects}, 4)


def rising(per: float, layer: int = 1, **size: Any) -> Measured:
    """`per` nats a unit of strength at one block, whichever the prompt; 7 nats at any other."""
    return model(lambda s, p: per * s.strength if s.layers == (layer,) else 7.0, **size)


# A fall from one model to another


def falls(strong: Measured, weak: Measured, **asked: Any) -> Finding:
    criterion = SteeringFalls(
        **{"strong": "big", "weak": "small", "layers": {"big": 1, "small": 2}, "factor": 10.0, **asked}, **WHY
    )
    return judge_joint_criterion(criterion, {"small": weak, "big": strong})


@pytest.mark.parametrize(
    ("per", "verdict", "p", "rest", "said"),
    [
        (0.08, SUPPORTED, LEAST_P, 0.1, "0.04 in small: the first less"),
        (0.12, REFUTED, 2 * LEAST_P, -0.1, "0.06 in small: the first less"),
        (-0.08, SUPPORTED, LEAST_P, 0.1, "-0.04 in small: the first plus"),
        (-0.12, REFUTED, 2 * LEAST_P, -0.1, "-0.06 in small: the first plus"),
    ],
)
def test_a_gain_falls_by_a_factor_whatever_the_other_s_sign(
    per: float, verdict: Verdict, p: float, rest: float, said: str
) -> None:
    """0.5 nats against ten times a twentieth of the strength, of 8 templates against 5; refuted by one of two sides."""
    found = falls(rising(1.0, templates=8), rising(per, 2, templates=5))
    size = "nats (8 prompts, 8 templates)"
    assert (found.verdict, found.sentence) == (
        verdict,
        f"The gain is 0.5 nats in big and {said} 10 times the second is {rest:g} [{rest:g}, {rest:g}] {size} "
        "(p < 0.001).",
    )
    assert found.p_value == pytest.approx(p)
    assert found.estimate == Estimate(
        value=pytest.approx(rest),
        low=pytest.approx(rest),
        high=pytest.approx(rest),
        unit="nats",
        n_prompts=8,
        n_templates=8,
    )


@pytest.mark.parametrize(
    ("weak", "verdict"),
    [
        (0.45, SUPPORTED),
        (0.55, REFUTED),
        (-4.0, SUPPORTED),  # what selects the wrong way is weak, however strongly
    ],
)
def test_the_sign_of_a_selectivity_counts(weak: float, verdict: Verdict) -> None:
    """Skill and other tasks alike lose an eighth of a nat besides, in both models."""

    def selecting(by: float, layer: int) -> Measured:
        return model(
            lambda s, p: 2.0 * by * s.strength - 0.125 if s.layers == (layer,) else 7.0, other=-0.125
        )

    found = falls(selecting(1.0, 1), selecting(weak, 2), strength=-0.5, factor=2.0, knockout=True)
    rest = 1.0 - 2.0 * weak
    assert (found.verdict, found.sentence) == (
        verdict,
        f"The selectivity is 1 nats in big and {weak:g} in small: the first less 2 times the second is "
        f"{rest:.3g} [{rest:.3g}, {rest:.3g}] nats (12 prompts, 12 templates) (p < 0.001).",
    )
    assert found.p_value == pytest.approx(LEAST_P)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(rest)


@pytest.mark.parametrize("knockout", [False, True])
def test_nothing_is_no_fall_from_nothing(knockout: bool) -> None:
    """Every resample is 0 to the bit, which lies on neither side."""
    found = falls(
        rising(0.0, other=0.0), rising(0.0, 2, other=0.0), strength=-0.5, knockout=knockout, factor=1.0
    )
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0
    size = f"{'(12 prompts, 12' if knockout else '(6 prompts, 6'} templates) (p = 1)."
    assert found.sentence.endswith(f"the first less 1 times the second is 0 [0, 0] nats {size}")


def spread(mean: float, width: float, layer: int) -> Measured:
    """Forty templates whose gains lie evenly around the mean."""
    return model(
        lambda s, p: mean + width * (template(p) / 39 - 0.5) if s.layers == (layer,) else 7.0, templates=40
    )


@pytest.mark.parametrize(("mean", "lies"), [(0.25, "less"), (-0.25, "plus")])
def test_models_are_resampled_by_themselves(mean: float, lies: str) -> None:
    """What the same templates share is not taken away: the errors of the two means add up as squares."""
    strong, weak = spread(0.6, 1.0, 1), spread(mean, 0.4, 2)
    found = falls(strong, weak, factor=2.0)
    deviation = np.std(np.arange(40) / 39, ddof=1) / np.sqrt(40)
    error = deviation * np.hypot(1.0, 2.0 * 0.4)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.1)
    assert found.estimate.low == pytest.approx(0.1 + norm.ppf(0.01) * error, abs=0.1 * error)
    assert found.estimate.high == pytest.approx(0.1 + norm.ppf(0.99) * error, abs=0.1 * error)
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(2 * norm.sf(0.1 / error), abs=0.02)
    assert f"the first {lies} 2 times the second is 0.1 [" in found.sentence
    assert found.sentence.endswith(f" ({say_p(found.p_value)}).")
    assert falls(strong, weak, factor=2.0) == found, "the same resamples each time"


def test_without_numbers_or_prompts_to_compare_there_is_no_fall() -> None:
    whole = "in small there is nothing to compare: too few prompts with an answer, or no finite number"
    broken = rising(np.nan, 2)
    for found in (
        falls(rising(1.0), broken),
        falls(rising(1.0), broken, strength=-0.5, knockout=True),
        falls(rising(1.0), rising(1.0, 2, base=float(np.log(0.09))), strength=-0.5, knockout=True),
    ):
        assert (found.verdict, found.sentence) == (INVALID, f"Not a measurement: {whole}.")
    known = falls(rising(2.0), rising(1.0, 2, base=float(np.log(0.11))), strength=-0.5, knockout=True)
    assert known.verdict is not INVALID


def test_a_model_that_was_not_measured_is_named() -> None:
    whole = "the claim compares 'small', which was not measured (there is: big, tiny)"
    asked = SteeringFalls(strong="big", weak="small", layers={"big": 1, "small": 2}, **WHY)
    models = {"big": rising(1.0), "tiny": rising(1.0)}
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judge_joint_criterion(asked, models)


# Signs


def signs(
    models: Mapping[str, Measured], layers: Sequence[int | None], wanted: Sequence[int] = (1, -1)
) -> Finding:
    names = tuple(models)
    criterion = SteeringSigns(
        signs=dict(zip(names, wanted, strict=True)), layers=dict(zip(names, layers, strict=True)), **WHY
    )
    return judge_joint_criterion(criterion, models)


def shared(per: float, alone: float) -> Measured:
    """`per` nats a unit of strength that all blocks share, and `alone` at a block by itself."""
    return model(lambda s, p: s.strength * (4 * per if s.layers == SHARED else alone))


def said(name: str, slope: float) -> str:
    return (
        f"{name}: the slope is {slope:g} [{slope:g}, {slope:g}] nats (6 prompts, 6 templates) per unit of strength "
        "(p < 0.001)."
    )


@pytest.mark.parametrize(
    ("layers", "slopes", "verdict", "p"),
    [
        ((1, None), (2.0, -1.5), SUPPORTED, LEAST_P),
        ((1, 2), (2.0, 3.0), REFUTED, 2 * LEAST_P),  # one of two
        ((None, None), (-0.5, -1.5), REFUTED, 2 * LEAST_P),
        ((None, 2), (-0.5, 3.0), REFUTED, 2 * LEAST_P),
    ],
)
def test_every_slope_is_told_at_its_block_or_over_all(
    layers: tuple[int | None, int | None], slopes: tuple[float, float], verdict: Verdict, p: float
) -> None:
    found = signs({"a": shared(-0.5, 2.0), "b": shared(-1.5, 3.0)}, layers)
    assert (found.verdict, found.sentence) == (verdict, f"{said('a', slopes[0])} {said('b', slopes[1])}")
    assert found.p_value == pytest.approx(p)
    first_refuted = slopes[1] if slopes[0] > 0 and verdict is REFUTED else slopes[0]
    assert found.estimate == Estimate(
        value=pytest.approx(first_refuted),
        low=pytest.approx(first_refuted - 1e-6, abs=1e-9),
        high=pytest.approx(first_refuted + 1e-6, abs=1e-9),
        unit="nats",
        n_prompts=6,
        n_templates=6,
    )


def test_an_undecided_sign_has_its_own_p_value() -> None:
    """Slopes of -2 to 3 nats, template by template, where a rise is claimed."""
    scattered = model(lambda s, p: s.strength * (template(p) - 2.0))
    found = signs({"a": scattered, "b": rising(-1.0, 2)}, (1, 2))
    prompts = [p for p in scattered.tables["steering_sweep"].prompts if p.family == SKILL]
    slopes = np.arange(6.0)[None] - 2.0
    own = sample(Clusters.of(prompts), slopes, "kl_nats")
    p = 2 * own.p_above(0, 0.0)
    assert 0.1 < p < 1.0
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(p)
    assert found.sentence == (
        f"a: the slope is {own.estimate(0)} per unit of strength ({say_p(p)}). {said('b', -1.0)}"
    )


def test_a_slope_that_is_no_number_is_none() -> None:
    found = signs({"a": rising(1.0), "b": rising(np.nan, 2)}, (1, 2))
    assert (found.verdict, found.sentence) == (INVALID, "Not a measurement: in b a slope is not finite.")
