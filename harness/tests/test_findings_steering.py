"""Every verdict on steering as a whole: sentence, estimate and p-value, on tables without noise.

Where all templates agree a p-value of a mean is the least that the resamples can give; where they do not, the expected
numbers are those of the bootstrap of values written down by hand. Shares have SciPy's exact binomial ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.effects import Effects, PromptRecord
from harness.experiments.steering import FACTS, OTHER_TASK, random_directions, shuffled_directions
from harness.statistics.bootstrap import RESAMPLES, Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.statistics.paired import FLIPS
from harness.steering import Direction, Steering
from harness.verdicts.criteria import (
    BeatsControls,
    BestSteered,
    Gain,
    SteeringGain,
    SteeringInert,
    SteeringSlope,
)
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured, say_p
from harness.verdicts.synthetic import steered
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY: dict[str, Any] = {"rationale": "a test"}
SKILL, OTHER = "factual_recall", "copying"
FORMS = "the log-probability of the answer in any form"
LEAST = 2 / (RESAMPLES + 1)
"""The two-sided p-value of a mean that no resample contradicts."""
CROSSED = "each half of the templates where the other half chose,"

Value = Callable[[Steering, PromptRecord], float]


def at(blocks: Sequence[int], strengths: Sequence[float], *directions: Direction) -> list[Steering]:
    """Every direction, by default the factual one, at every block and strength."""
    return [
        Steering(direction=direction, layers=(block,), strength=strength)
        for direction in directions or (FACTS,)
        for block in blocks
        for strength in strengths
    ]


def of_skill(steerings: Sequence[Steering], gain: Value, **size: int) -> Effects:
    """A table of facts and copying, whose copying gains 7 nats whatever is done: nothing of it may be read."""
    unsteered = Steering(direction=FACTS, layers=(0,), strength=0.0)
    return steered(
        [unsteered, *steerings],
        lambda s, p: 0.0 if s.strength == 0.0 else gain(s, p) if p.family == SKILL else 7.0,
        families=(OTHER, SKILL),
        **size,
    )


def judged(criterion: Any, effects: Effects) -> Finding:
    return judge_criterion(criterion, measured({"steering_sweep": effects}, 4))


def template(prompt: PromptRecord) -> int:
    return int(prompt.template.removeprefix("t"))


def in_first(prompt: PromptRecord) -> bool:
    """The half of the templates that stands first in `halves`: every other one."""
    return template(prompt) % 2 == 0


def mean_of(effects: Effects, value: Callable[[PromptRecord], float], metric: str = "kl_nats") -> Sampled:
    """The bootstrap of a value of each of the skill's prompts."""
    own = [p for p in effects.prompts if p.family == SKILL]
    return sample(Clusters.of(own), np.array([[value(p) for p in own]]), metric)


def exactly(value: float, n: int = 6, unit: str = "nats") -> Estimate:
    """The estimate of what is the same on every prompt, one a template."""
    return Estimate(value=value, low=value, high=value, unit=unit, n_prompts=n, n_templates=n)


def check(
    found: Finding, verdict: Verdict, sentence: str, p: float | None, estimate: Estimate | None
) -> None:
    assert found.sentence == sentence
    assert found.verdict is verdict
    assert found.p_value == (None if p is None else pytest.approx(p, rel=1e-9))
    if estimate is None:
        assert found.estimate is None
        return
    own = found.estimate
    assert own is not None
    assert (own.value, own.low, own.high) == pytest.approx(
        (estimate.value, estimate.low, estimate.high), abs=3e-6
    )
    assert (own.unit, own.n_prompts, own.n_templates) == (
        estimate.unit,
        estimate.n_prompts,
        estimate.n_templates,
    )


def missing(criterion: Any, effects: Effects) -> str:
    with pytest.raises(MissingEvidence) as error:
        judged(criterion, effects)
    return str(error.value)


# Gains


GAINS = of_skill(at((1,), (0.5, 1.0)) + at((2,), (0.25,)), lambda s, _: 0.5 * s.strength)
"""L2 was steered by another strength alone."""


def test_a_gain_is_that_of_the_strength_that_does_worst() -> None:
    up = SteeringGain(layer=1, strengths=(0.5, 1.0), at_least=0.1, **WHY)
    sentence = f"At L1 a strength of 0.5 changes {FORMS} by 0.25 [0.25, 0.25] nats (6 prompts, 6 templates)"
    check(
        judged(up, GAINS),
        SUPPORTED,
        f"{sentence}; at least 0.1 is claimed (p < 0.001).",
        LEAST,
        exactly(0.25),
    )
    down = SteeringGain(layer=1, strengths=(0.5, 1.0), at_most=0.6, **WHY)
    sentence = (
        f"At L1 a strength of 1 changes {FORMS} by 0.5 [0.5, 0.5] nats (6 prompts, 6 templates); at most 0.6"
    )
    check(judged(down, GAINS), SUPPORTED, f"{sentence} is claimed (p < 0.001).", LEAST, exactly(0.5))


def test_a_gain_fails_where_one_of_its_strengths_does() -> None:
    """One of two strengths is looked for: twice its p-value."""
    asked = SteeringGain(layer=1, strengths=(0.5, 1.0), at_least=0.3, gain=Gain.ANSWER, **WHY)
    sentence = (
        "At L1 a strength of 0.5 changes the answer's log-probability by 0.25 [0.25, 0.25] nats (6 prompts, 6 "
        "templates); at least 0.3 is claimed (p < 0.001)."
    )
    check(judged(asked, GAINS), REFUTED, sentence, 2 * LEAST, exactly(0.25))


def test_a_gain_in_probability_has_its_own_unit() -> None:
    asked = SteeringGain(layer=1, strengths=(1.0,), at_least=0.1, gain=Gain.PROBABILITY, **WHY)
    gained = float(np.exp(-0.5) - np.exp(-1.0))
    sentence = (
        "At L1 a strength of 1 changes the answer's probability by 0.239 [0.239, 0.239] of probability (6 prompts, "
        "6 templates); at least 0.1 is claimed (p < 0.001)."
    )
    check(judged(asked, GAINS), SUPPORTED, sentence, LEAST, exactly(gained, unit="of probability"))


def test_where_the_templates_differ_a_gain_has_the_interval_of_their_bootstrap() -> None:
    spread = (0.0, 0.1, 0.2, 0.3, 0.4, 0.8)
    effects = of_skill(at((1,), (0.5,)), lambda _, p: spread[template(p)])
    over = mean_of(effects, lambda p: spread[template(p)] - 0.25)
    p = 2 * over.p_above(0, 0.0)
    assert 0.1 < p < 1.0
    own = over.estimate(0)
    estimate = Estimate(
        value=0.3, low=own.low + 0.25, high=own.high + 0.25, unit="nats", n_prompts=6, n_templates=6
    )
    sentence = (
        f"At L1 a strength of 0.5 changes {FORMS} by {estimate}; at least 0.25 is claimed ({say_p(p)})."
    )
    check(judged(SteeringGain(layer=1, at_least=0.25, **WHY), effects), INCONCLUSIVE, sentence, p, estimate)
    over = mean_of(effects, lambda p: 0.35 - spread[template(p)])
    p = 2 * over.p_above(0, 0.0)
    own = over.estimate(0)
    estimate = Estimate(
        value=0.3, low=0.35 - own.high, high=0.35 - own.low, unit="nats", n_prompts=6, n_templates=6
    )
    sentence = f"At L1 a strength of 0.5 changes {FORMS} by {estimate}; at most 0.35 is claimed ({say_p(p)})."
    check(judged(SteeringGain(layer=1, at_most=0.35, **WHY), effects), INCONCLUSIVE, sentence, p, estimate)


def preferred(first: tuple[float, float], second: tuple[float, float]) -> Effects:
    """What each half of the templates gains at L1 and L2; at L0 both lose."""

    def gain(s: Steering, p: PromptRecord) -> float:
        return (-9.0, *(first if in_first(p) else second))[s.layers[0]]

    return of_skill(at((0, 1, 2), (0.5,)), gain, templates=10)


CHOSEN = preferred((1.0, 2.0), (3.0, 0.5))
"""The first half prefers L2 and the second L1, as all do on average: each half is judged where it gains less."""


@pytest.mark.parametrize("effects", [CHOSEN, preferred((1.0, 3.0), (1.0, 0.5))], ids=["L1 on average", "L2"])
def test_some_block_is_one_for_each_half_of_the_templates(effects: Effects) -> None:
    """1 nat on one half and 0.5 on the other, whichever block is the better one on all."""
    over = mean_of(effects, lambda p: (1.0 if in_first(p) else 0.5) - 0.25)
    p, own = 2 * over.p_above(0, 0.0), over.estimate(0)
    estimate = Estimate(
        value=0.75, low=own.low + 0.25, high=own.high + 0.25, unit="nats", n_prompts=10, n_templates=10
    )
    sentence = (
        f"At L1 and L2, {CROSSED} a strength of 0.5 changes {FORMS} by {estimate}; at least 0.25 is claimed"
    )
    check(
        judged(SteeringGain(at_least=0.25, **WHY), effects),
        SUPPORTED,
        f"{sentence} ({say_p(p)}).",
        p,
        estimate,
    )


def test_some_block_is_not_refuted_where_one_block_does_it() -> None:
    """0.75 nats where the halves chose, 2 on average at L1, and 1.25 at L2."""
    found = judged(SteeringGain(at_least=1.1, **WHY), CHOSEN)
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0
    assert found.sentence.endswith("; at least 1.1 is claimed (p = 1).")
    assert judged(SteeringGain(at_least=9.0, **WHY), CHOSEN).verdict is REFUTED


def test_some_block_is_refuted_where_none_does_it() -> None:
    sentence = (
        f"At L2, {CROSSED} a strength of 0.5 changes {FORMS} by 0.25 [0.25, 0.25] nats (6 prompts, 6 templates); at "
        "least 1 is claimed (p < 0.001). None of 3 blocks does it."
    )
    effects = of_skill(at((0, 1, 2), (0.5,)), lambda s, _: 0.125 * s.layers[0])
    check(judged(SteeringGain(at_least=1.0, **WHY), effects), REFUTED, sentence, LEAST, exactly(0.25))
    sentence = (
        f"At L0, {CROSSED} a strength of 0.5 changes {FORMS} by 0.125 [0.125, 0.125] nats (6 prompts, 6 templates); at "
        "most -1 is claimed (p < 0.001). None of 3 blocks does it."
    )
    effects = of_skill(at((0, 1, 2), (0.5,)), lambda s, _: 0.125 * (s.layers[0] + 1))
    check(judged(SteeringGain(at_most=-1.0, **WHY), effects), REFUTED, sentence, LEAST, exactly(0.125))


def test_a_named_block_that_fails_is_not_said_of_all() -> None:
    sentence = (
        f"At L1 a strength of 0.5 changes {FORMS} by 0.25 [0.25, 0.25] nats (6 prompts, 6 templates); at least 1 is "
        "claimed (p < 0.001)."
    )
    check(judged(SteeringGain(layer=1, at_least=1.0, **WHY), GAINS), REFUTED, sentence, LEAST, exactly(0.25))


def test_the_best_block_on_a_half_is_chosen_by_the_mean_over_all_strengths() -> None:
    """At 0.5 L1 is better, at 1 and on average L2."""
    gains = {(1, 0.5): 1.0, (1, 1.0): 1.0, (2, 0.5): 0.5, (2, 1.0): 3.0}
    effects = of_skill(at((1, 2), (0.5, 1.0)), lambda s, _: gains[s.layers[0], s.strength])
    asked = SteeringGain(strengths=(0.5, 1.0), at_least=0.1, **WHY)
    assert judged(asked, effects).sentence.startswith(
        f"At L2, {CROSSED} a strength of 0.5 changes {FORMS} by 0.5 ["
    )


# Slopes


def slopes(*of_prompt: float, others: float, n: int = 10) -> Effects:
    """At L1 the prompts of each template have these slopes, at L2 all have `others`."""

    def gain(s: Steering, p: PromptRecord) -> float:
        return s.strength * (of_prompt[int(p.text.split()[2])] if s.layers == (1,) else others)

    return of_skill(at((1, 2), (-0.5, 0.5)), gain, templates=n, prompts=len(of_prompt))


TWO_OF_TEN: dict[str, Any] = {"k": 2, "n": 10}
"""One prompt in five, the same in each of ten templates: two templates' worth."""
BOUNDS = stats.binomtest(**TWO_OF_TEN, p=0.5).proportion_ci(confidence_level=0.98, method="exact")
SHARE = f"The share is 20% [{BOUNDS.low:.0%}, {BOUNDS.high:.0%}], and at most"
MOST = slopes(-1.0, 0.0, 0.5, 3.0, 3.0, others=5.0)
"""1.1 on average: at L1 one slope in five is below 0, one is 0 and one is below 1."""
FEW = slopes(1.0, 1.0, 1.0, 1.0, -9.0, others=-20.0)
"""-1 on average, with one in five below 0."""


def slope_said(value: float, p: str, *, sizes: str = "50 prompts, 10 templates", share: str = "20%") -> str:
    return (
        f"the slope of {FORMS} is {value:g} [{value:g}, {value:g}] nats per unit of strength ({sizes}), {p}; "
        f"on {share} of the prompts it has the other sign."
    )


def per_strength(value: float) -> Estimate:
    return Estimate(
        value=value, low=value, high=value, unit="nats per unit of strength", n_prompts=50, n_templates=10
    )


def test_a_slope_says_how_many_prompts_go_against_it() -> None:
    found = judged(SteeringSlope(layer=1, **WHY), MOST)
    check(found, SUPPORTED, f"At L1 {slope_said(1.1, 'p < 0.001')}", LEAST, per_strength(1.1))
    found = judged(SteeringSlope(layer=1, sign=-1, **WHY), MOST)
    said = f"At L1 {slope_said(1.1, 'p < 0.001', share='60%')}"
    check(found, REFUTED, said, LEAST, per_strength(1.1))


def test_the_share_that_goes_against_a_slope_has_exact_bounds() -> None:
    """Of at most 0.7, two in ten have a probability of 0.0016; at most 0.2 is not settled by them."""
    found = judged(SteeringSlope(layer=1, anti_at_most=0.7, **WHY), MOST)
    p = 2 * stats.binom.cdf(2, 10, 0.7)
    said = f"At L1 {slope_said(1.1, 'p < 0.001')} {SHARE} 70% is claimed."
    check(found, SUPPORTED, said, p, per_strength(1.1))
    found = judged(SteeringSlope(layer=1, anti_at_most=0.2, **WHY), MOST)
    said = f"At L1 {slope_said(1.1, 'p < 0.001')} {SHARE} 20% is claimed."
    check(found, INCONCLUSIVE, said, 1.0, per_strength(1.1))


def test_too_large_a_share_refutes_a_slope_that_is_there() -> None:
    """Of at most 0.01, two or more in ten have a probability of 0.0043; the smaller of two p-values counts twice."""
    found = judged(SteeringSlope(layer=1, anti_at_most=0.01, **WHY), MOST)
    p = 4 * stats.binom.sf(1, 10, 0.01)
    assert 0.01 < p < 0.02
    said = f"At L1 {slope_said(1.1, 'p < 0.001')} {SHARE} 1% is claimed."
    check(found, REFUTED, said, p, per_strength(1.1))


def test_a_slope_of_the_other_sign_is_refuted_whatever_the_share() -> None:
    found = judged(SteeringSlope(layer=1, anti_at_most=0.7, **WHY), FEW)
    said = f"At L1 {slope_said(-1, 'p < 0.001')} {SHARE} 70% is claimed."
    check(found, REFUTED, said, 2 * LEAST, per_strength(-1.0))


def test_a_small_share_does_not_settle_a_slope() -> None:
    """One template of ten at -8, the others at 1: 0.1 on average."""

    def per(p: PromptRecord) -> float:
        return -8.0 if template(p) == 3 else 1.0

    effects = of_skill(at((1,), (-0.5, 0.5)), lambda s, p: s.strength * per(p), templates=10)
    found = judged(SteeringSlope(layer=1, anti_at_most=0.9, **WHY), effects)
    p = min(1.0, 2 * mean_of(effects, per).p_above(0, 0.0))
    share = mean_of(effects, lambda p: float(template(p) == 3), "argmax_match")
    assert 2 * share.p_below(0, 0.9) < 0.001 < 0.02 < p < 1.0
    low, high = share.interval(0)
    assert found.sentence.endswith(
        f", {say_p(p)}; on 10% of the prompts it has the other sign. The share is 10% [{low:.0%}, {high:.0%}], and at "
        "most 90% is claimed."
    )
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(p)


def test_the_share_is_that_of_the_block_that_was_chosen() -> None:
    """At L2 all prompts fall, at L1 one in five."""
    effects = slopes(-1.0, 0.0, 0.5, 3.0, 3.0, others=-1.0)
    found = judged(SteeringSlope(anti_at_most=0.7, **WHY), effects)
    said = f"At L1, {CROSSED} {slope_said(1.1, 'p < 0.001')} {SHARE} 70% is claimed."
    check(found, SUPPORTED, said, 2 * stats.binom.cdf(2, 10, 0.7), per_strength(1.1))


# Controls


RANDOM = random_directions(4)
SHUFFLED = shuffled_directions(FACTS, 1)[0]
LEADS: dict[Direction, float] = {FACTS: 1.0, OTHER_TASK: 0.25, SHUFFLED: 0.5}
CONTROLLED = at((1, 2), (0.5,), FACTS, *RANDOM, OTHER_TASK, SHUFFLED)


def controls(*random: float, other: float = 0.25, elsewhere: float = 2.0) -> Effects:
    """What each direction adds at L1; at L2 `elsewhere` times as much."""
    gains = {**LEADS, **dict(zip(RANDOM, random, strict=True)), OTHER_TASK: other}
    return of_skill(CONTROLLED, lambda s, _: gains[s.direction] * (elsewhere if s.layers == (2,) else 1.0))


def beats(layer: int | None = 1) -> BeatsControls:
    return BeatsControls(layer=layer, margin_nats=0.125, random_share=0.5, **WHY)


def lead_said(name: str, lead: float, beaten: int, *, gained: float = 1.0) -> str:
    return (
        f"by 0.5 the direction changes {FORMS} by {gained:g} nats, by 0.125 or more beyond {beaten} of 4 random "
        f"directions; over the strongest control, '{name}', its lead is {lead:g} [{lead:g}, {lead:g}] nats (6 prompts, "
        "6 templates) (p < 0.001)."
    )


def test_half_of_the_random_directions_and_every_other_are_to_be_beaten() -> None:
    """The third largest p-value of four counts three times."""
    found = judged(beats(), controls(0.5, 0.25, 0.9375, 0.25))
    check(found, SUPPORTED, f"At L1 {lead_said('random 2', 0.0625, 3)}", 3 * LEAST, exactly(0.0625))


def test_one_other_control_that_is_not_beaten_refutes() -> None:
    """One of two, in one of two groups: four times the p-value."""
    found = judged(beats(), controls(0.5, 0.25, 0.25, 0.25, other=0.9375))
    said = f"At L1 {lead_said('target of json_schema', 0.0625, 4)}"
    check(found, REFUTED, said, 4 * LEAST, exactly(0.0625))


def test_random_directions_refute_where_too_many_are_not_beaten() -> None:
    """Three of four: two of them for the claim to fail, so the third of four p-values, twice; in one of two groups."""
    found = judged(beats(), controls(0.9, 0.9375, 0.9, 0.25))
    said = f"At L1 {lead_said('random 1', 0.0625, 1)}"
    check(found, REFUTED, said, 4 * LEAST, exactly(0.0625))


def test_controls_are_those_of_the_block_that_was_chosen() -> None:
    """L2, where the direction does twice as much."""
    found = judged(beats(None), controls(0.5, 0.25, 0.75, 0.25))
    said = f"At L2, {CROSSED} {lead_said('random 2', 0.5, 4, gained=2.0)}"
    check(found, SUPPORTED, said, 3 * LEAST, exactly(0.5))
    found = judged(beats(None), controls(0.5, 0.25, 0.75, 0.25, elsewhere=-2.0))
    assert found.sentence.startswith(f"At L1, {CROSSED} by 0.5 the direction changes {FORMS} by 1 nats")


def test_what_is_said_of_a_block_is_said_with_its_controls() -> None:
    effects = of_skill(at((1,), (0.5,), FACTS, *RANDOM), lambda s, _: LEADS.get(s.direction, 0.0))
    said = "no random or no other control of 'target of factual_recall' at L1 by 0.5"
    assert missing(beats(), effects) == said


# Inertness


def inert(**by: float) -> Effects:
    """What the strengths -0.5, -0.25, 0.25 and 0.5 do at L1; 1 does 4 nats."""
    gains = {-0.5: 0.0, -0.25: 0.0, 0.25: 0.0, 0.5: 0.0, 1.0: 4.0}
    names = {"back": -0.5, "slightly_back": -0.25, "slightly": 0.25, "on": 0.5}
    gains |= {names[name]: value for name, value in by.items()}
    return of_skill(at((1,), tuple(gains)), lambda s, _: gains[s.strength])


@pytest.mark.parametrize(
    ("by", "strength", "value"),
    [
        ({"back": -0.08, "on": 0.05}, "-0.5", -0.08),
        ({"back": 0.08, "on": 0.05}, "-0.5", 0.08),
        ({"back": -0.05, "on": 0.08}, "0.5", 0.08),
        ({"back": -0.05, "on": -0.08}, "0.5", -0.08),
        ({"slightly": -0.08, "on": 0.05}, "0.25", -0.08),
        ({"slightly_back": 0.3}, "-0.25", 0.3),
        ({"slightly_back": -0.3}, "-0.25", -0.3),
    ],
)
def test_inertness_is_that_of_the_strength_that_does_most(
    by: dict[str, float], strength: str, value: float
) -> None:
    """Eight conditions, a bound on either side of four strengths: one that fails counts eight times."""
    found = judged(SteeringInert(layer=1, within_nats=0.1, **WHY), inert(**by))
    sentence = (
        f"At L1 the strength that does most, {strength}, changes {FORMS} by {value:g} [{value:g}, {value:g}] nats "
        "(6 prompts, 6 templates); within 0.1 is claimed "
    )
    if abs(value) < 0.1:
        check(found, SUPPORTED, f"{sentence}(p < 0.001).", LEAST, exactly(value))
    else:
        check(found, REFUTED, f"{sentence}(p = 0.0016).", 8 * LEAST, exactly(value))


def test_a_bound_of_inertness_leaves_the_interval_in_order() -> None:
    """The upper bound of a gain is the lower one of what it leaves of the margin."""
    spread = (0.0, 0.1, 0.2, 0.3, 0.4, 0.8)
    effects = of_skill(at((1,), (0.5,)), lambda _, p: spread[template(p)])
    found = judged(SteeringInert(layer=1, within_nats=0.35, **WHY), effects)
    left = mean_of(effects, lambda p: 0.35 - spread[template(p)])
    own, p = left.estimate(0), 2 * left.p_above(0, 0.0)
    estimate = Estimate(
        value=0.3, low=0.35 - own.high, high=0.35 - own.low, unit="nats", n_prompts=6, n_templates=6
    )
    sentence = (
        f"At L1 the strength that does most, 0.5, changes {FORMS} by {estimate}; within 0.35 is claimed"
    )
    check(found, INCONCLUSIVE, f"{sentence} ({say_p(p)}).", p, estimate)


def test_inertness_up_to_a_strength_that_was_not_measured_is_missing() -> None:
    said = "no strength up to 0.1 was measured at L1"
    assert missing(SteeringInert(layer=1, within_nats=0.1, up_to=0.1, **WHY), inert()) == said


# The best block


def best(*levels: float, n: int = 8) -> Effects:
    """What a strength of 0.5 does at L0 to L3, the same on every template."""
    return of_skill(at((0, 1, 2, 3), (0.5,)), lambda s, _: levels[s.layers[0]], templates=n)


def best_said(gained: float, rival: str, n: int = 8) -> str:
    return (
        f"At L2 a strength of 0.5 changes {FORMS} by {gained:g} [{gained:g}, {gained:g}] nats ({n} prompts, {n} "
        f"templates); the strongest other of 3 blocks is {rival}"
    )


BEST = BestSteered(layer=2, **WHY)


@pytest.mark.parametrize(
    ("levels", "n", "verdict", "rival", "p"),
    [
        ((0.25, 0.5, 1.0, 0.125), 8, SUPPORTED, "L1, 0.5 nats below it, p = 0.00781.", 2 / 2**8),
        ((0.75, 0.5, 1.0, 0.125), 8, SUPPORTED, "L0, 0.25 nats below it, p = 0.00781.", 2 / 2**8),
        ((0.25, 0.5, 1.0, 1.5), 8, REFUTED, "L3, 0.5 nats above it, p = 0.00781.", 2 / 2**8),
        ((1.5, 0.5, 1.0, 0.5), 8, REFUTED, "L0, 0.5 nats above it, p = 0.00781.", 2 / 2**8),
        ((0.25, 0.5, 1.0, 0.125), 6, INCONCLUSIVE, "L1, 0.5 nats below it, p = 0.0312.", 2 / 2**6),
        ((0.25, 0.5, 1.0, 1.5), 6, INCONCLUSIVE, "L3, 0.5 nats above it, p = 1.", 1.0),
        ((0.25, 1.0, 1.0, 0.5), 8, INCONCLUSIVE, "L1, 0 nats below it, p = 1.", 1.0),
        ((0.25, 0.5, 1.0, 0.125), 40, SUPPORTED, "L1, 0.5 nats below it, p < 0.001.", 1 / (FLIPS + 1)),
    ],
)
def test_the_best_block_against_the_strongest_other(
    levels: tuple[float, ...], n: int, verdict: Verdict, rival: str, p: float
) -> None:
    """Of all 2^n signs two are as far from 0; of 40 templates no drawn ones are."""
    check(judged(BEST, best(*levels, n=n)), verdict, best_said(1, rival, n), p, exactly(1.0, n))


def test_the_best_block_is_one_of_those_that_were_steered() -> None:
    said = "L9 was not steered (steered: (0, 1, 2, 3))"
    assert missing(BestSteered(layer=9, **WHY), best(0.25, 0.5, 1.0, 0.125)) == said


# What cannot be judged


def test_values_that_are_not_finite_are_counted() -> None:
    """Two templates of eight, at one block of four."""
    bad = of_skill(
        at((0, 1, 2, 3), (0.5,)),
        lambda s, p: np.nan if s.layers == (1,) and template(p) < 2 else 1.0,
        templates=8,
    )
    said = "Not a measurement: 2 of {} values that steering is judged by are not finite."
    check(judged(BEST, bad), Verdict.INVALID, said.format(32), None, None)
    check(judged(SteeringGain(at_least=0.1, **WHY), bad), Verdict.INVALID, said.format(8), None, None)
    check(
        judged(SteeringGain(layer=1, at_least=0.1, **WHY), bad), Verdict.INVALID, said.format(8), None, None
    )
    assert judged(SteeringGain(layer=2, at_least=0.1, **WHY), bad).verdict is SUPPORTED


def test_a_block_is_one_of_those_that_were_steered() -> None:
    said = "L9 was not steered (steered: (1, 2))"
    assert missing(SteeringGain(layer=9, strengths=(0.5,), at_least=0.1, **WHY), GAINS) == said


def test_a_block_cannot_be_chosen_and_judged_on_one_template() -> None:
    effects = of_skill(at((1, 2), (0.5,)), lambda s, _: 1.0, templates=1, prompts=4)
    said = (
        "each family of 'target of factual_recall' has a single template: a block is chosen on some and judged on "
        "others"
    )
    assert missing(SteeringGain(at_least=0.1, **WHY), effects) == said
