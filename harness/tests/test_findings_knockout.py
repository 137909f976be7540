"""Every verdict on a knockout as a whole: sentence, estimate and p-value, on tables without noise.

Where all templates agree a p-value is the least that the resamples can give; where they do not, the expected numbers
are those of the bootstrap of values written down by hand: three families, so a skill's drop counts three times and one
of two other families' half as much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from harness.effects import Effects, PromptRecord
from harness.experiments.steering import FACTS, random_directions
from harness.statistics.bootstrap import RESAMPLES, Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.steering import Direction, Steering
from harness.verdicts.criteria import FlooredRatio, KnockoutBeatsRandom, KnockoutSelects
from harness.verdicts.judging import judge_criterion
from harness.verdicts.knockout_index import Index
from harness.verdicts.reading import measured, say_p
from harness.verdicts.synthetic import steered
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY: dict[str, Any] = {"rationale": "a test"}
SKILL, CODE, COPYING = "factual_recall", "code_syntax", "copying"
LEAST = 2 / (RESAMPLES + 1)
"""The two-sided p-value of a mean that no resample contradicts."""
CROSSED = "each half of the templates where the other half chose, a step of"
WHOLE = "6 prompts of the skill and 12 of code_syntax, copying"

Drop = Callable[[Steering, PromptRecord], float]


def at(blocks: Sequence[int], strengths: Sequence[float], *directions: Direction) -> list[Steering]:
    """Every direction, by default the factual one, at every block and strength."""
    return [
        Steering(direction=direction, layers=(block,), strength=strength)
        for direction in directions or (FACTS,)
        for block in blocks
        for strength in strengths
    ]


def lost(steerings: Sequence[Steering], drop: Drop, **size: Any) -> Effects:
    """A table of facts, code and copying; the answer loses `drop` nats."""
    unsteered = Steering(direction=FACTS, layers=(0,), strength=0.0)
    return steered(
        [unsteered, *steerings],
        lambda s, p: 0.0 if s.strength == 0.0 else -drop(s, p),
        families=(CODE, COPYING, SKILL),
        **size,
    )


def known(effects: Effects, keep: Callable[[PromptRecord], bool]) -> Effects:
    """The same where the model gives the answer of these prompts alone."""
    base = np.where([keep(p) for p in effects.prompts], effects.baseline["answer_logprob"], np.log(0.09))
    return replace(effects, baseline={**effects.baseline, "answer_logprob": base})


def judged(criterion: Any, effects: Effects) -> Finding:
    return judge_criterion(criterion, measured({criterion.experiment: effects}, 4))


def missing(criterion: Any, effects: Effects) -> str:
    with pytest.raises(MissingEvidence) as error:
        judged(criterion, effects)
    return str(error.value)


def template(prompt: PromptRecord) -> int:
    return int(prompt.template.removeprefix("t"))


def in_first(prompt: PromptRecord) -> bool:
    """The half of the templates that stands first in `halves`: every other one."""
    return template(prompt) % 2 == 0


def mean_of(effects: Effects, *values: Callable[[PromptRecord], float]) -> Sampled:
    """The bootstrap of values of each prompt."""
    rows = np.array([[value(p) for p in effects.prompts] for value in values])
    return sample(Clusters.of(effects.prompts), rows, "kl_nats")


def exactly(value: float, n: int = 18) -> Estimate:
    """The estimate of what is the same on every prompt, one a template."""
    return Estimate(value=value, low=value, high=value, unit="nats", n_prompts=n, n_templates=n)


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
    expected = (estimate.value, estimate.low, estimate.high)
    assert (own.value, own.low, own.high) == pytest.approx(expected, abs=3e-6)
    sizes = (estimate.unit, estimate.n_prompts, estimate.n_templates)
    assert (own.unit, own.n_prompts, own.n_templates) == sizes


# Selectivity


def by_family(s: Steering, p: PromptRecord) -> float:
    """1 nat of facts, 0.25 of code and 0.75 of copying: a selectivity of 0.5."""
    return {SKILL: 1.0, CODE: 0.25, COPYING: 0.75}[p.family]


EVEN = lost(at((1,), (-0.5,)), by_family)
COSTS = (
    f"At L1 a step of -0.5 costs the skill 1 nats and the other tasks 0.5 on {WHOLE}: a selectivity of "
    "0.5 [0.5, 0.5] nats (18 prompts, 18 templates);"
)


@pytest.mark.parametrize(
    ("bound", "verdict", "said"),
    [
        ({"at_least": 0.25}, SUPPORTED, "at least 0.25"),
        ({"at_least": 0.75}, REFUTED, "at least 0.75"),
        ({"at_most": 0.75}, SUPPORTED, "at most 0.75"),
        ({"at_most": 0.25}, REFUTED, "at most 0.25"),
    ],
)
def test_a_selectivity_and_the_two_drops_it_is_made_of(
    bound: dict[str, Any], verdict: Verdict, said: str
) -> None:
    found = judged(KnockoutSelects(layer=1, **bound, **WHY), EVEN)
    check(found, verdict, f"{COSTS} {said} is claimed (p < 0.001).", LEAST, exactly(0.5))


SPREAD = {
    SKILL: (0.5, 0.73, 1.0, 1.27, 1.5, 2.5),
    CODE: (0.2, 0.3, 0.25, 0.21, 0.29, 0.25),
    COPYING: (0.1, 0.07, 0.19, 0.11, 0.03, 0.25),
}
"""Nats that are lost, by template: 1.25, 0.25 and 0.125 on average."""


def spread_drop(_: Steering, p: PromptRecord) -> float:
    return SPREAD[p.family][template(p)]


def weighed(drop: Drop, *, sign: float = 1.0) -> tuple[Callable[[PromptRecord], float], ...]:
    """What the selectivity averages, by prompt, and the parts of the skill and of the other tasks."""
    step = Steering(direction=FACTS, layers=(1,), strength=-0.5)

    def own(p: PromptRecord) -> float:
        return 3.0 * drop(step, p) if p.family == SKILL else 0.0

    def others(p: PromptRecord) -> float:
        return 0.0 if p.family == SKILL else 1.5 * drop(step, p)

    return lambda p: sign * (own(p) - others(p)), own, others


UNEVEN = lost(at((1,), (-0.5,)), spread_drop)
SELECTED = 1.25 - (0.25 + 0.125) / 2
UNEVEN_SAID = (
    f"At L1 a step of -0.5 costs the skill 1.25 nats and the other tasks 0.188 on {WHOLE}: a selectivity of"
)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_where_the_templates_differ_a_selectivity_has_the_interval_of_their_bootstrap(sign: float) -> None:
    over = mean_of(UNEVEN, lambda p: weighed(spread_drop, sign=sign)[0](p) - sign)
    p, own = 2 * over.p_above(0, 0.0) if sign > 0 else 1.0, over.estimate(0)
    low, high = sorted((1.0 + sign * own.low, 1.0 + sign * own.high))
    estimate = Estimate(value=SELECTED, low=low, high=high, unit="nats", n_prompts=18, n_templates=18)
    asked: dict[str, Any] = {"at_least" if sign > 0 else "at_most": 1.0}
    found = judged(KnockoutSelects(layer=1, **asked, **WHY), UNEVEN)
    assert p > 0.02
    sentence = f"{UNEVEN_SAID} {estimate}; {'at least' if sign > 0 else 'at most'} 1 is claimed ({say_p(p)})."
    check(found, INCONCLUSIVE, sentence, p, estimate)


def preferred(first: tuple[float, float], second: tuple[float, float]) -> Effects:
    """What facts lose at L1 and L2 on each half of the templates; at L0 they gain."""

    def drop(s: Steering, p: PromptRecord) -> float:
        return (-9.0, *(first if in_first(p) else second))[s.layers[0]] if p.family == SKILL else 0.0

    return lost(at((0, 1, 2), (-0.5,)), drop, templates=10)


CHOSEN = preferred((1.0, 2.0), (3.0, 0.5))
"""The first half prefers L2 and the second L1, as all do on average: each half is judged where less is lost."""


@pytest.mark.parametrize("effects", [CHOSEN, preferred((1.0, 3.0), (1.0, 0.5))], ids=["L1 on average", "L2"])
def test_some_block_is_one_for_each_half_of_the_templates(effects: Effects) -> None:
    """1 nat on one half and 0.5 on the other, whichever block is the better one on all."""

    def own(p: PromptRecord) -> float:
        return 0.0 if p.family != SKILL else 3.0 * (1.0 if in_first(p) else 0.5)

    over = mean_of(effects, lambda p: own(p) - 0.25)
    p, excess = 2 * over.p_above(0, 0.0), over.estimate(0)
    low, high = excess.low + 0.25, excess.high + 0.25
    estimate = Estimate(value=0.75, low=low, high=high, unit="nats", n_prompts=30, n_templates=30)
    sentence = (
        f"At L1 and L2, {CROSSED} -0.5 costs the skill 0.75 nats and the other tasks 0 on 10 prompts of the skill and "
        f"20 of code_syntax, copying: a selectivity of {estimate}; at least 0.25 is claimed ({say_p(p)})."
    )
    check(judged(KnockoutSelects(at_least=0.25, **WHY), effects), SUPPORTED, sentence, p, estimate)


def test_some_block_is_not_refuted_where_one_block_does_it() -> None:
    """0.75 nats where the halves chose, 2 on average at L1, and 1.25 at L2."""
    found = judged(KnockoutSelects(at_least=1.1, **WHY), CHOSEN)
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0
    assert judged(KnockoutSelects(at_least=9.0, **WHY), CHOSEN).verdict is REFUTED


def test_two_templates_of_a_family_are_enough_to_choose_a_block_on_one_and_judge_it_on_the_other() -> None:
    effects = lost(at((1, 2), (-0.5,)), lambda s, p: s.layers[0] * by_family(s, p), templates=2)
    found = judged(KnockoutSelects(at_least=0.25, **WHY), effects)
    sentence = (
        f"At L2, {CROSSED} -0.5 costs the skill 2 nats and the other tasks 1 on 2 prompts of the skill and 4 of "
        "code_syntax, copying: a selectivity of 1 [1, 1] nats (6 prompts, 6 templates); at least 0.25 is claimed "
        "(p < 0.001)."
    )
    check(found, SUPPORTED, sentence, LEAST, exactly(1.0, 6))


# What is not there


def undefined(skill: str, others: str) -> str:
    return (
        f"Undefined: the unedited model gives the answer a probability of 0.1 or more on {skill} prompts of the skill "
        f"and on {others} of other tasks, too few templates to compare. What is not there cannot be knocked out."
    )


SELECTS = KnockoutSelects(layer=1, at_least=0.25, **WHY)


@pytest.mark.parametrize(
    ("keep", "skill", "others"),
    [
        (lambda p: False, "0 of 6", "0 of 12"),
        (lambda p: p.family != SKILL, "0 of 6", "12 of 12"),
        (lambda p: p.family == SKILL, "6 of 6", "0 of 12"),
        (lambda p: p.family != SKILL or template(p) == 5, "1 of 6", "12 of 12"),
        (lambda p: p.family == SKILL or template(p) == 5, "6 of 6", "2 of 12"),
    ],
)
def test_without_answers_of_the_skill_or_of_others_nothing_is_compared(
    keep: Callable[[PromptRecord], bool], skill: str, others: str
) -> None:
    check(judged(SELECTS, known(EVEN, keep)), INCONCLUSIVE, undefined(skill, others), 1.0, None)


def test_two_templates_of_a_family_are_compared_and_one_is_not() -> None:
    """Of code one template is known, of facts and copying two: 1 nat less 0.75."""
    few = known(EVEN, lambda p: template(p) < (1 if p.family == CODE else 2))
    sentence = (
        "At L1 a step of -0.5 costs the skill 1 nats and the other tasks 0.75 on 2 prompts of the skill and 2 of "
        "copying: a selectivity of 0.25 [0.25, 0.25] nats (4 prompts, 4 templates); at least 0.125 is claimed "
        "(p < 0.001)."
    )
    asked = replace(SELECTS, at_least=0.125)
    check(judged(asked, few), SUPPORTED, sentence, LEAST, exactly(0.25, 4))


def test_an_answer_of_exactly_the_least_probability_is_known() -> None:
    limit = lost(at((1,), (-0.5,)), by_family, base=float(np.log(0.1)))
    assert judged(SELECTS, limit).verdict is SUPPORTED
    some = known(limit, lambda p: p.family == SKILL)
    check(judged(SELECTS, some), INCONCLUSIVE, undefined("6 of 6", "0 of 12"), 1.0, None)


def test_some_block_needs_answers_on_both_halves() -> None:
    """Of facts only templates 0 and 2 are known, which are of one half."""
    half = known(CHOSEN, lambda p: p.family != SKILL or template(p) in (0, 2))
    found = judged(KnockoutSelects(at_least=0.25, **WHY), half)
    check(found, INCONCLUSIVE, undefined("2 of 10", "20 of 20"), 1.0, None)


def test_log_probabilities_that_are_not_finite_are_no_measurement() -> None:
    bad = lost(at((1,), (-0.5,)), lambda s, p: np.nan if template(p) == 5 else 1.0)
    said = "Not a measurement: some log-probabilities of answers are not finite."
    check(judged(SELECTS, bad), Verdict.INVALID, said, None, None)


def test_a_block_is_one_of_those_that_were_steered() -> None:
    assert missing(replace(SELECTS, layer=9), EVEN) == "L9 was not steered (steered: (1,))"


# The index


INDEX = SELECTED / (1.25 + 0.1875)


@cache
def p_values(at: float) -> tuple[float, float]:
    """One-sided: that the index of UNEVEN, both of whose drops are losses, lies below `at`, and that it lies above."""
    _, own, others = weighed(spread_drop)
    edge = mean_of(UNEVEN, lambda p: (1 - at) * own(p) - (1 + at) * others(p))
    return edge.p_above(0, 0.0), edge.p_below(0, 0.0)


def where(wanted: float, side: int) -> float:
    """The bound at which a p-value is this."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        p = p_values(middle)
        low, high = (middle, high) if (p[0] < wanted if side == 0 else p[1] > wanted) else (low, middle)
    return (low + high) / 2


def index_of(finding: Finding) -> tuple[float, float, float]:
    """The index and the ends of its interval, as its last sentence tells them."""
    said = re.search(r" Its index is (\S+) \[(\S+), (\S+)\], of at least \S+\.$", finding.sentence)
    assert said is not None, finding.sentence
    value, low, high = map(float, said.groups())
    return value, low, high


def index_by(parts: str) -> Index:
    """Of UNEVEN's drops as they are, or turned round: as drops, or as gains, of the others or of the skill."""
    _, own, others = weighed(spread_drop)
    rows = {"skill": own, "others": others}
    values = [
        [(-1 if name[0] == "-" else 1) * rows[name.lstrip("-")](p) for p in UNEVEN.prompts]
        for name in parts.split(", ")
    ]
    return Index(clusters=Clusters.of(UNEVEN.prompts), parts=np.array(values))


@pytest.mark.parametrize(
    ("side", "share", "verdict"),
    [
        (0, 0.9 * ALPHA / 2, SUPPORTED),
        (0, 1.1 * ALPHA / 2, INCONCLUSIVE),
        (1, 1.1 * ALPHA / 8, INCONCLUSIVE),  # of two questions, two edges and two sides
        (1, 0.9 * ALPHA / 8, REFUTED),
    ],
)
def test_an_index_is_judged_by_a_mean_that_is_0_at_its_bound(
    side: int, share: float, verdict: Verdict
) -> None:
    """The selectivity is there for sure; that the index fails is one of two questions."""
    at = where(share, side)
    asked = KnockoutSelects(layer=1, at_least=-1.0, index_at_least=at, **WHY)
    plain, found = judged(replace(asked, index_at_least=None), UNEVEN), judged(asked, UNEVEN)
    assert (plain.verdict, found.verdict) == (SUPPORTED, verdict)
    p = {SUPPORTED: 2 * p_values(at)[0], REFUTED: 8 * p_values(at)[1]}
    if verdict in p:
        assert found.p_value == pytest.approx(p[verdict])
    assert found.estimate == plain.estimate
    assert found.sentence.startswith(f"{plain.sentence} Its index is {format_number(INDEX)} [")
    value, low, high = index_of(found)
    assert (value, low) == pytest.approx((INDEX, where(ALPHA / 2, 0)), abs=2e-3)
    assert high == pytest.approx(where(ALPHA / 4, 1), abs=2e-3)
    assert (low > at) == (verdict is SUPPORTED)


@pytest.mark.parametrize("skill", [1.0, -1.0])
@pytest.mark.parametrize("others", [0.4, -0.4, 2.5, -2.5])
def test_an_index_lies_on_one_side_of_every_bound_but_its_own(skill: float, others: float) -> None:
    """Drops without noise, of either sign: it is above what is below it, and below what is above."""
    records = UNEVEN.prompts[:12]
    parts = np.array([np.full(12, skill), np.full(12, others)])
    index = Index(clusters=Clusters.of(records), parts=parts)
    assert index.value == pytest.approx((skill - others) / (abs(skill) + abs(others)))
    for at in np.linspace(-0.95, 0.95, 20):
        below, above = index.p_values(float(at))
        told, other = (below, above) if at < index.value else (above, below)
        assert (told <= 2 / (RESAMPLES + 1)) is (other >= 0.5) is True, at
    low, high = index.interval(at=0.0)
    assert (low, high) == pytest.approx((index.value, index.value), abs=1e-3)


@pytest.mark.parametrize(("side", "share", "verdict"), [(0, ALPHA / 2, SUPPORTED), (1, ALPHA / 8, REFUTED)])
def test_an_index_is_decided_where_its_p_value_is_exactly_the_level(
    side: int, share: float, verdict: Verdict
) -> None:
    at = where(share, side) + 1e-8
    assert p_values(at)[side] == share
    found = judged(KnockoutSelects(layer=1, at_least=-1.0, index_at_least=at, **WHY), UNEVEN)
    assert (found.verdict, found.p_value) == (verdict, ALPHA)


@pytest.mark.parametrize(("side", "share"), [(0, ALPHA / 2), (1, ALPHA / 4)])
def test_the_interval_of_an_index_leaves_a_bound_out_from_exactly_the_level_on(
    side: int, share: float
) -> None:
    told = where(share, side) + 1e-8
    assert p_values(told)[side] == share
    ends = index_by("skill, others").interval(at=told)
    assert ends[0] <= INDEX <= ends[1]
    assert ends[0] > told if side == 0 else ends[1] < told
    not_told = where(share + 5e-5, side) + (1e-8 if side == 0 else -1e-8)
    assert p_values(not_told)[side] == pytest.approx(share + 1e-4)
    ends = index_by("skill, others").interval(at=not_told)
    assert ends[0] <= not_told if side == 0 else ends[1] >= not_told


@pytest.mark.parametrize(
    ("parts", "sign"),
    [("skill, others", 1), ("-others, -skill", 1), ("others, skill", -1), ("-skill, -others", -1)],
)
def test_an_index_below_0_is_one_above_it_turned_round(parts: str, sign: int) -> None:
    """One mean decides at each bound, and what lies towards 0 of it may be so in two ways."""
    index = index_by(parts)
    assert index.value == pytest.approx(sign * INDEX)
    for at in (0.6, 0.7, 0.74, 0.8):
        below, above = p_values(at)
        assert 1e-4 < min(below, above) < 0.5
        assert index.p_values(sign * at) == pytest.approx((below, 2 * above)[::sign])
    ends = where(ALPHA / 2 + 5e-5, 0), where(ALPHA / 4, 1)
    for at in (0.1, 0.7, 0.75, 0.95):
        low, high = sorted(sign * end for end in ends)
        assert index.interval(at=sign * at) == pytest.approx((low, high), abs=6e-4)


def test_drops_of_either_sign_leave_an_index_as_open_as_can_be() -> None:
    """Both are 0 but for noise; at the very index nothing is told, nor at the ends of its range."""
    records = UNEVEN.prompts[:12]
    parts = np.array([[1.0, -1.0, 2.0, -2.0, 0.5, -0.4] * 2, [2.0, -2.0, -1.0, 1.0, -0.4, 0.45] * 2])
    index = Index(clusters=Clusters.of(records), parts=parts)
    assert index.value == pytest.approx(1 / 3)
    for at in (index.value, -1.0, 1.0):
        assert index.interval(at=at) == (-1.0, 1.0)


def test_an_index_that_is_not_told_from_the_end_of_its_range_reaches_it() -> None:
    """Also beyond a bound that is not told from it either: the end of the range itself, not one just short of it."""
    records = UNEVEN.prompts[:12]
    skill = np.array([1.0, -1.0, 2.0, -2.0, 0.5, -0.4] * 2)
    index = Index(clusters=Clusters.of(records), parts=np.array([skill, -2 * skill + 0.01]))
    assert index.interval(at=0.5) == (-1.0, 1.0)
    assert index.interval(at=-0.5) == (-1.0, 1.0)


def test_an_index_is_at_least_0_where_the_skill_loses_no_less_than_the_others() -> None:
    """One mean tells that it is; that it is not is asked in two ways."""
    _, own, others = weighed(spread_drop)
    parts = np.array([[part(p) for p in UNEVEN.prompts] for part in (own, lambda p: 6.0 * others(p))])
    index = Index(clusters=Clusters.of(UNEVEN.prompts), parts=parts)
    lead = mean_of(UNEVEN, lambda p: own(p) - 6.0 * others(p))
    above, below = lead.p_above(0, 0.0), lead.p_below(0, 0.0)
    assert 1e-3 < above < 0.5 - 1e-3
    assert index.p_values(0.0) == pytest.approx((above, 2 * below))


def test_an_index_that_is_there_does_not_settle_a_selectivity() -> None:
    asked = KnockoutSelects(layer=1, at_least=1.0, index_at_least=-0.5, **WHY)
    plain = judged(replace(asked, index_at_least=None), UNEVEN)
    assert plain.verdict is INCONCLUSIVE
    assert plain.p_value is not None
    assert 0.02 < plain.p_value < 1.0
    found = judged(asked, UNEVEN)
    assert (found.verdict, found.p_value, found.estimate) == (INCONCLUSIVE, plain.p_value, plain.estimate)
    assert index_of(found)[1] > -0.5


def test_a_refuted_selectivity_tells_its_index_too() -> None:
    asked = KnockoutSelects(layer=1, at_least=9.0, index_at_least=0.99, **WHY)
    plain = judged(replace(asked, index_at_least=None), UNEVEN)
    assert plain.verdict is REFUTED
    found = judged(asked, UNEVEN)
    assert (found.verdict, found.p_value, found.estimate) == (REFUTED, plain.p_value, plain.estimate)
    assert found.sentence.startswith(f"{plain.sentence} Its index is {format_number(INDEX)} [")
    assert found.sentence.endswith("], of at least 0.99.")


def test_an_index_is_not_refuted_of_some_block() -> None:
    """Another block than the one that was chosen may have it."""
    asked = KnockoutSelects(at_least=0.25, index_at_least=0.9, **WHY)
    effects = lost(at((1, 2), (-0.5,)), lambda s, p: s.layers[0] * by_family(s, p))
    found = judged(asked, effects)
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0
    assert found.sentence.endswith(" Its index is 0.333 [0.333, 0.333], of at least 0.9.")
    assert judged(replace(asked, layer=1), effects).verdict is REFUTED


def test_where_the_others_gain_an_index_is_1() -> None:
    effects = lost(at((1,), (-0.5,)), lambda _, p: 1.0 if p.family == SKILL else -0.5)
    found = judged(KnockoutSelects(layer=1, at_least=0.25, index_at_least=0.9, **WHY), effects)
    assert found.verdict is SUPPORTED
    assert found.sentence.endswith(" Its index is 1 [1, 1], of at least 0.9.")


@pytest.mark.parametrize(("share", "defined"), [(0.015, False), (0.0085, True)])
def test_drops_that_may_be_hardly_there_have_no_index(share: float, defined: bool) -> None:
    """Scaled so that this share of the resampled sizes lies below 0.05 nats; a hundredth may."""
    drops = mean_of(UNEVEN, *weighed(spread_drop)[1:]).draws
    scale = 0.05 / float(np.quantile(np.abs(drops).sum(axis=1), share))
    effects = lost(at((1,), (-0.5,)), lambda s, p: scale * spread_drop(s, p))
    said = "Its index is undefined: both drops together may be below 0.05 nats."
    for at_least, verdict in ((0.0, SUPPORTED), (9.0, REFUTED)):
        asked = KnockoutSelects(layer=1, at_least=at_least, index_at_least=0.0, **WHY)
        plain, found = judged(replace(asked, index_at_least=None), effects), judged(asked, effects)
        assert plain.verdict is verdict
        if defined:
            assert found.sentence.startswith(f"{plain.sentence} Its index is {format_number(INDEX)} [")
            assert found.verdict is verdict
        else:
            then = INCONCLUSIVE if verdict is SUPPORTED else REFUTED
            check(found, then, f"{plain.sentence} {said}", plain.p_value, plain.estimate)


# Random directions


RANDOM = random_directions(4)


def nulls(*random: float, signed: float = 0.5, elsewhere: float = 2.0) -> Effects:
    """Facts lose 1 nat and others 0.25, and by random directions facts alone so much; at L2 `elsewhere` times it."""
    drops = dict(zip(RANDOM, random, strict=True))

    def drop(s: Steering, p: PromptRecord) -> float:
        times = elsewhere if s.layers == (2,) else 1.0
        if s.direction == FACTS:
            return times * (1.0 if p.family == SKILL else 0.25)
        return times * drops[s.direction] if p.family == SKILL else 0.0

    return lost(at((1, 2), (-0.5,)) + at((1, 2), (signed,), *RANDOM), drop)


def beats(layer: int | None = 1) -> KnockoutBeatsRandom:
    return KnockoutBeatsRandom(layer=layer, margin_nats=0.125, random_share=0.5, **WHY)


def null_said(beaten: int, lead: float) -> str:
    return (
        f"-0.5 is more selective by 0.125 nats or more than {beaten} of 4 random directions, on {WHOLE}; than the most "
        f"selective of them by {lead:g} [{lead:g}, {lead:g}] nats (18 prompts, 18 templates) (p < 0.001)."
    )


@pytest.mark.parametrize("signed", [0.5, -0.5])
def test_half_of_the_random_directions_are_to_be_beaten(signed: float) -> None:
    """Of four p-values the second, three times. A random direction is as likely as its negative, so either will do."""
    found = judged(beats(), nulls(0.5, 0.25, 0.6875, 0.25, signed=signed))
    check(found, SUPPORTED, f"At L1 a step of {null_said(3, 0.0625)}", 3 * LEAST, exactly(0.0625))


def test_random_directions_refute_where_too_many_are_not_beaten() -> None:
    """Three of the four; three must fail, so the third of four p-values, twice."""
    found = judged(beats(), nulls(0.65, 0.6875, 0.65, 0.25))
    check(found, REFUTED, f"At L1 a step of {null_said(1, 0.0625)}", 2 * LEAST, exactly(0.0625))


def test_the_random_directions_are_those_of_the_block_that_was_chosen() -> None:
    """L2, where all drops are twice as large; or L1, where those at L2 are turned."""
    found = judged(beats(None), nulls(0.5, 0.25, 0.5, 0.25))
    check(found, SUPPORTED, f"At L2, {CROSSED} {null_said(4, 0.5)}", 3 * LEAST, exactly(0.5))
    found = judged(beats(None), nulls(0.5, 0.25, 0.5, 0.25, elsewhere=-2.0))
    check(found, SUPPORTED, f"At L1, {CROSSED} {null_said(4, 0.25)}", 3 * LEAST, exactly(0.25))


def test_without_random_directions_there_is_no_null() -> None:
    assert missing(beats(), EVEN) == "no random direction was added at L1 by -0.5"


# The published ratio


def ratios(others: float = 0.25, *, base: float = 1.0) -> Effects:
    """Facts lose of `base` 0.5 at L1 by -2, 0.375 by -1 and 0.75 by 0.5, and 0.75 at L2; the others lose `others`."""

    def drop(s: Steering, p: PromptRecord) -> float:
        skill = 0.75 if s.layers == (2,) else {-2.0: 0.5, -1.0: 0.375, 0.5: 0.75}[s.strength]
        return float(np.log(base) - np.log(base - (skill * base if p.family == SKILL else others)))

    return lost(at((1, 2), (-2.0, -1.0, 0.5)), drop, base=float(np.log(base)))


NO_INTERVAL = "It has no interval: a ratio of two differences around 0 has no mean."


@pytest.mark.parametrize(
    ("given", "others", "verdict", "said"),
    [
        (
            {"layer": 1, "at_least": 1.75},
            0.25,
            SUPPORTED,
            "At L1 and -2 the skill loses 0.5 of probability and the other tasks 0.25, which is what it is divided by: "
            "a ratio of 2.",
        ),
        (
            {"layer": 1, "strength": -1.0, "at_least": 1.75},
            0.25,
            REFUTED,
            "At L1 and -1 the skill loses 0.375 of probability and the other tasks 0.25, which is what it is divided "
            "by: a ratio of 1.5.",
        ),
        (
            {"at_most": 2.75},
            0.25,
            REFUTED,
            "At L2 and -1 the skill loses 0.75 of probability and the other tasks 0.25, which is what it is divided "
            "by: a ratio of 3.",
        ),
        (
            {"layer": 1, "at_least": 1.75, "at_most": 2.25, "floor": 0.25},
            0.125,
            SUPPORTED,
            "At L1 and -2 the skill loses 0.5 of probability and the other tasks 0.125, which counts as 0.25: a "
            "ratio of 2.",
        ),
        (
            {"layer": 1, "at_least": 1.0, "at_most": 1.0, "floor": 0.5},
            0.5,
            SUPPORTED,
            "At L1 and -2 the skill loses 0.5 of probability and the other tasks 0.5, which is what it is divided by: "
            "a ratio of 1.",
        ),
    ],
)
def test_a_floored_ratio_is_the_largest_of_those_asked_about(
    given: dict[str, Any], others: float, verdict: Verdict, said: str
) -> None:
    """Positive strengths, by which the skill loses more, are no knockout."""
    found = judged(FlooredRatio(**given, **WHY), ratios(others))
    check(found, verdict, f"{said} {NO_INTERVAL}", None, None)


def test_others_that_gain_count_as_the_floor_or_by_their_size() -> None:
    effects = ratios(-0.25, base=0.5)
    said = "At L1 and -2 the skill loses 0.25 of probability and the other tasks -0.25, which"
    found = judged(FlooredRatio(layer=1, at_least=100.0, **WHY), effects)
    check(found, SUPPORTED, f"{said} counts as 1e-06: a ratio of 250000. {NO_INTERVAL}", None, None)
    found = judged(FlooredRatio(layer=1, at_least=100.0, absolute=True, **WHY), effects)
    check(found, REFUTED, f"{said} is what it is divided by: a ratio of 1. {NO_INTERVAL}", None, None)


def test_a_ratio_of_what_is_not_finite_is_no_measurement() -> None:
    bad = lost(at((1, 2), (-2.0,)), lambda s, p: np.nan if s.layers == (2,) else 1.0)
    edit = Steering(direction=FACTS, layers=(2,), strength=-2.0).edit()
    said = f"Not a measurement: a probability under '{edit}' is not finite."
    check(judged(FlooredRatio(at_least=1.0, **WHY), bad), Verdict.INVALID, said, None, None)


def test_a_ratio_of_a_strength_that_was_not_measured_is_missing() -> None:
    said = "no knockout by -4.0 was measured at (1, 2)"
    assert missing(FlooredRatio(strength=-4.0, at_least=1.0, **WHY), ratios()) == said
