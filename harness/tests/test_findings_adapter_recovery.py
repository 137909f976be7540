"""AdapterRecovery, RecoveryDepth, RecoveryDepthsAgree: whole findings of rows without noise, and at their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.adapters.values import SOUND, Adapted, Graft, Part
from harness.effects import Effects, pool
from harness.statistics.bootstrap import NEGLIGIBLE, percentile_interval, sample, weights_of
from harness.statistics.clusters import Clusters
from harness.statistics.ratio import ratio_interval
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On
from harness.verdicts.criteria import AdapterRecovery, RecoveryDepth, RecoveryDepthsAgree
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.reading import Measured, measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
P = 1 / 10_000
TRAINED = (Part(family="json_schema", recipe=SOUND),)
NONE, WHOLE = Adapted(parts=TRAINED, only=(), against="whole"), Adapted(parts=TRAINED)
LAST, CONTRIBUTION, UP_TO = (AdapterRows(on=on) for on in (On.LAST, On.CONTRIBUTION, On.ONLY_UP_TO))
OF_ALL = "(8 prompts, 8 templates)"
MOVED = " 8 of 8 prompts, of 8 templates, are moved by 0.1 nats or more."


def told(found: Finding) -> tuple[Verdict, str, float | None]:
    return found.verdict, found.sentence, found.p_value


def graft(at: int, what: Graft) -> Adapted:
    return Adapted(parts=TRAINED, only=(at,), graft=what, against="whole")


def curve(at: int) -> Adapted:
    return Adapted(parts=TRAINED, only=tuple(range(at + 1)), against="whole")


def rows(
    left: Sequence[float],
    *,
    base: float = 2.0,
    whole: float | None = None,
    what: Graft | None = Graft.LAST,
    metric: str = "kl_nats",
    templates: int = 8,
    seed: int = 42,
) -> Effects:
    """What is measured of the base, of each row and, where it is given, of the adapted model: equal on all prompts."""
    probes = [NONE, *(curve(at) if what is None else graft(at, what) for at in range(len(left)))]
    means = [base, *left]
    if whole is not None:
        probes, means = [*probes, WHOLE], [*means, whole]
    given = {"noise": 0.0, "families": ["a"], "templates": templates, "prompts": 1, "seed": seed}
    return table(probes, {metric: means}, **given)


def spread(effects: Effects, row: int, by: np.ndarray) -> Effects:
    """The same with one row that differs from prompt to prompt."""
    (metric,) = effects.metrics
    values = effects.metrics[metric].copy()
    values[row] += by
    return replace(effects, metrics={metric: values})


def view(*tables: Effects, n_layers: int | None = None) -> Measured:
    return measured({"adapter_transfer": pool(list(tables))}, n_layers)


def recovery(of: AdapterRows = LAST, **given: object) -> AdapterRecovery:
    return AdapterRecovery(rows=of, rationale="a test", **given)


def depth(of: AdapterRows = LAST, **given: object) -> RecoveryDepth:
    return RecoveryDepth(rows=of, rationale="a test", **given)


def agree(of: AdapterRows = LAST, **given: object) -> RecoveryDepthsAgree:
    return RecoveryDepthsAgree(models=("one", "two"), rows=of, rationale="a test", **given)


BY_LAST = "the adapter grafted by the last token's stream after one block of its run recovers"


@pytest.mark.parametrize(
    ("asked", "left", "verdict", "p", "value", "start", "said"),
    [
        ({"at_least": 0.25}, [1.5, 1.0, 0.5], INCONCLUSIVE, 1.0, 0.25, f"At L0, {BY_LAST}", "at least 0.25"),
        ({"at_least": 0.2}, [1.5, 1.0, 0.5], SUPPORTED, 2 * P, 0.25, f"At L0, {BY_LAST}", "at least 0.2"),
        ({"at_least": 0.6}, [1.5, 1.0, 0.5], REFUTED, 6 * P, 0.25, f"At L0, {BY_LAST}", "at least 0.6"),
        ({"at_most": 0.6}, [1.5, 1.0, 0.5], REFUTED, 6 * P, 0.75, f"At L2, {BY_LAST}", "at most 0.6"),
        ({"at_most": 0.8}, [0.5, 1.0, 1.5], SUPPORTED, 2 * P, 0.75, f"At L0, {BY_LAST}", "at most 0.8"),
    ],
)
def test_each_recovery_without_noise(
    asked: dict[str, float],
    left: list[float],
    verdict: Verdict,
    p: float,
    value: float,
    start: str,
    said: str,
) -> None:
    """Of 2 nats; one of three that violates the bound refutes, at three times the p-value."""
    found = judge_criterion(recovery(**asked), view(rows(left)))
    assert found.estimate is not None
    assert told(found) == (
        verdict,
        f"{start} {found.estimate}; {said} is asked for ({'p < 0.001' if p < 1 else 'p = 1'}).{MOVED}",
        pytest.approx(p),
    )
    assert str(found.estimate).endswith(f" of the way from base to adapted {OF_ALL}")
    assert (found.estimate.value, found.estimate.low) == (
        pytest.approx(value),
        pytest.approx(value, abs=1e-4),
    )
    assert found.estimate.high == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(
    ("of", "take", "layers", "left", "value", "start"),
    [
        (LAST, "gain", (0, 1), [1.75, 0.5, 0.25], 0.75, "From L0 to L1 the recovery grows by"),
        (LAST, "gain", (1, 2), [1.75, 0.5, 0.25], 0.75, "From L1 to L2 the recovery grows by"),
        (LAST, "gain", (-2, -1), [1.75, 1.5, 0.25], 0.75, "From L1 to L2 the recovery grows by"),
        (
            CONTRIBUTION,
            "sum",
            (0, 2),
            [1.25, 0.5, 1.25],
            0.75,
            "The contributions of L0+L2, each grafted by itself, sum to",
        ),
    ],
)
def test_sums_and_gains_without_noise(
    of: AdapterRows, take: str, layers: tuple[int, ...], left: list[float], value: float, start: str
) -> None:
    what = Graft.LAST if of is LAST else Graft.CONTRIBUTION
    asked = recovery(replace(of, blocks=BlockSet(layers=layers)), take=take, at_least=0.5)
    found = judge_criterion(asked, view(rows(left, what=what)))
    assert found.estimate is not None
    whole = f"{start} {found.estimate}; at least 0.5 is asked for (p < 0.001).{MOVED}"
    assert told(found) == (SUPPORTED, whole, pytest.approx(2 * P))
    assert found.estimate.value == pytest.approx(value)


def test_a_gain_of_blocks_that_the_model_lacks_is_missing() -> None:
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(
            recovery(replace(LAST, blocks=BlockSet(layers=(2, 3))), take="gain", at_least=0.5),
            view(rows([1.0] * 3)),
        )
    assert str(missing.value) == "the criterion names L2-L3 of a model of 3 layers"


def test_a_recovery_with_noise_is_that_of_its_ratio_and_of_the_two_sided_test() -> None:
    """Where no row decides, the least of those that hold worst is told."""
    made = rows([1.0, 0.9], templates=12)
    by = np.random.default_rng(1).normal(0.0, 0.4, 12)
    made = spread(made, 1, by)
    clusters, values = Clusters.of(made.prompts), made.metrics["kl_nats"]
    for bound in ("at_least", "at_most"):
        sign = 1.0 if bound == "at_least" else -1.0
        found = judge_criterion(
            recovery(replace(LAST, blocks=BlockSet(layers=(0,))), **{bound: 0.45}), view(made)
        )
        excess = sample(clusters, sign * (0.55 * values[0] - values[1])[None], "kl_nats")
        holds, fails = 2 * excess.p_above(0, 0.0), 2 * excess.p_below(0, 0.0)
        assert found.p_value == pytest.approx(fails if found.verdict is REFUTED else min(1.0, holds))
        assert found.estimate is not None
        assert (found.estimate.low, found.estimate.high) == pytest.approx(
            ratio_interval(clusters, values[0] - values[1], values[0], at=0.45)
        )
        assert found.estimate.value == pytest.approx(1 - values[1].mean() / 2)


@pytest.mark.parametrize(
    ("asked", "left", "verdict", "p", "value", "where"),
    [
        ({"at_least": 0.5}, [1.5, 1.25, 1.0, 0.5], SUPPORTED, 2 * P, 0.5, "at L2 of 4"),
        ({"at_least": 0.5 + 5e-10}, [1.5, 1.25, 1.0, 0.5], SUPPORTED, 2 * P, 0.5, "at L2 of 4"),
        ({"at_least": 0.5 + 5e-9}, [1.5, 1.25, 1.0, 0.5], REFUTED, 2 * P, 0.5, "at L2 of 4"),
        ({"at_most": 0.5}, [1.5, 1.25, 1.0, 0.5], SUPPORTED, 2 * P, 0.5, "at L2 of 4"),
        ({"at_most": 0.5 - 5e-9}, [1.5, 1.25, 1.0, 0.5], REFUTED, 2 * P, 0.5, "at L2 of 4"),
        ({"at_least": 0.1, "at_most": 0.2}, [1.5, 1.25, 1.0, 0.5], REFUTED, 4 * P, 0.5, "at L2 of 4"),
        ({"at_least": 0.9}, [1.5, 1.25, 1.01, 1.1], SUPPORTED, 2 * P, 1.0, "in no block"),
        ({"at_most": 0.0}, [0.5, 1.25, 1.5, 1.75], SUPPORTED, 2 * P, 0.0, "at L0 of 4"),
    ],
)
def test_the_depth_of_a_curve_without_noise(
    asked: dict[str, float], left: list[float], verdict: Verdict, p: float, value: float, where: str
) -> None:
    found = judge_criterion(depth(**asked), view(rows(left)))
    whole = (
        f"50% of the recovery of {LAST} is reached {where}: {value:.3g} [{value:.3g}, {value:.3g}] of the depth "
        f"{OF_ALL} (p < 0.001).{MOVED}"
    )
    assert told(found) == (verdict, whole, pytest.approx(p))


def test_contributions_that_sum_to_nothing_have_no_half() -> None:
    whole = f"Over all blocks the contributions recover nothing that half could be of.{MOVED}"
    for left in ([2.0, 2.0], [1.0, 3.0], [2.5, 2.0]):
        found = judge_criterion(depth(CONTRIBUTION, at_least=0.5), view(rows(left, what=Graft.CONTRIBUTION)))
        assert told(found) == (INCONCLUSIVE, whole, 1.0)


def some_without(bound: float) -> tuple[Effects, np.ndarray]:
    """Contributions that differ between prompts; each resample's depth, NaN where they sum to none."""
    made = spread(rows([1.5, 1.9], what=Graft.CONTRIBUTION), 2, np.array([6.0, *[-0.2] * 7]) * bound)
    brought = made.metrics["kl_nats"][0] - made.metrics["kl_nats"][1:]
    drawn = weights_of(Clusters.of(made.prompts)) @ brought.T
    depths = np.where(drawn[:, 0] >= 0.5 * drawn.sum(axis=1), 0.0, 0.5)
    return made, np.where(drawn.sum(axis=1) > 0.0, depths, np.nan)


def test_a_resample_without_contributions_speaks_for_neither_side() -> None:
    made, draws = some_without(1.0)
    assert 0.02 < np.isnan(draws).mean() < 0.9
    for bound in ({"at_least": 0.0}, {"at_most": 1.0}):
        found = judge_criterion(depth(CONTRIBUTION, **bound), view(made))
        assert (found.verdict, found.p_value) == (
            INCONCLUSIVE,
            pytest.approx(min(1.0, 2 * (np.isnan(draws).sum() + 1) * P)),
        )
        assert found.estimate is not None
        assert (found.estimate.low, found.estimate.high) == (0.0, 1.0)


def both_ways(there: Sequence[float], back: Sequence[float]) -> Effects:
    """From -3 nats to -1 and back, by these shares of the way."""
    n = len(there)
    probes = [NONE, WHOLE, *(graft(at, Graft.LAST) for at in range(n))]
    probes += [Adapted(parts=TRAINED, only=(at,), graft=Graft.LAST, into="adapted") for at in range(n)]
    means = [-3.0, -1.0, *(-3.0 + 2.0 * x for x in there), *(-1.0 - 2.0 * x for x in back)]
    return table(probes, {"answer_logprob": means}, noise=0.0, families=["a"], templates=8, prompts=1)


@pytest.mark.parametrize(
    ("back", "bounds", "verdict", "p", "later"),
    [
        ([0.25, 0.25, 0.5, 1.0], {"at_least": 0.25, "at_most": 0.5}, SUPPORTED, 2 * P, "0.25 [0.25, 0.25]"),
        ([0.5, 0.5, 0.5, 1.0], {"at_least": 0.0, "at_most": 0.5}, REFUTED, 4 * P, "-0.25 [-0.25, -0.25]"),
        ([0.5, 0.5, 0.5, 1.0], {"at_most": -0.25}, SUPPORTED, 2 * P, "-0.25 [-0.25, -0.25]"),
    ],
)
def test_there_and_back_without_noise(
    back: list[float], bounds: dict[str, float], verdict: Verdict, p: float, later: str
) -> None:
    of = AdapterRows(on=On.LAST_BACK)
    found = judge_criterion(
        depth(of, than=On.LAST, metric="answer_logprob", **bounds),
        view(both_ways([0.25, 0.5, 0.75, 1.0], back)),
    )
    whole = (
        f"50% of the recovery of the answer's log-probability of {of} is reached later than with it {On.LAST}, by "
        f"{later} of the depth {OF_ALL} (p < 0.001).{MOVED}"
    )
    assert told(found) == (verdict, whole, pytest.approx(p))


def pair(one: Effects, two: Effects) -> dict[str, Measured]:
    return {"one": view(one), "two": view(two)}


@pytest.mark.parametrize(
    ("two", "asked", "verdict", "p", "rest"),
    [
        (
            [1.5, 1.5, 1.0, 0.5],
            {"within": 0.25},
            SUPPORTED,
            2 * P,
            "0.50 in two: a difference of 0.25 [0.25, 0.25] {}; 0.25 is allowed",
        ),
        (
            [1.5, 1.5, 1.0, 0.5],
            {"within": 0.2},
            REFUTED,
            4 * P,
            "0.50 in two: a difference of 0.25 [0.25, 0.25] {}; 0.2 is allowed",
        ),
        (
            [1.0, 1.0, 1.0, 0.5],
            {"within": 0.2},
            REFUTED,
            4 * P,
            "0.00 in two: a difference of -0.25 [-0.25, -0.25] {}; 0.2 is allowed",
        ),
        (
            [1.5, 1.0, 1.0, 0.5],
            {"within": 0.2, "at_least": 0.25},
            SUPPORTED,
            2 * P,
            "0.25 in two: a difference of 0 [0, 0] {}; 0.2 is allowed, neither before 0.25",
        ),
        (
            [1.5, 1.5, 1.0, 0.5],
            {"within": 0.5, "at_least": 0.3},
            REFUTED,
            8 * P,
            "0.50 in two: a difference of 0.25 [0.25, 0.25] {}; 0.5 is allowed, neither before 0.3",
        ),
        (
            [1.0, 1.5, 1.0, 0.5],
            {"within": 0.5, "at_least": 0.1},
            REFUTED,
            8 * P,
            "0.00 in two: a difference of -0.25 [-0.25, -0.25] {}; 0.5 is allowed, neither before 0.1",
        ),
    ],
)
@pytest.mark.parametrize("more", [8, 10])
def test_two_depths_without_noise(
    two: list[float], asked: dict[str, float], verdict: Verdict, p: float, rest: str, more: int
) -> None:
    """The first reaches half at L1 of 4; the prompts told are those of the model with fewer templates."""
    found = judge_joint_criterion(agree(**asked), pair(rows([1.5, 1.0, 1.0, 0.5], templates=more), rows(two)))
    start = "50% of the recovery is reached at 0.25 of the depth in one and at "
    assert told(found) == (
        verdict,
        f"{start}{rest.format('of the depth ' + OF_ALL)} (p < 0.001).",
        pytest.approx(p),
    )


def test_two_depths_of_which_one_cannot_be_read_are_told_by_the_model() -> None:
    fine = rows([1.0, 0.5], what=Graft.CONTRIBUTION)
    asked = agree(CONTRIBUTION, within=0.2)
    nothing = rows([2.0, 2.5], what=Graft.CONTRIBUTION)
    whole = "In two the contributions recover nothing that half could be of."
    assert told(judge_joint_criterion(asked, pair(fine, nothing))) == (INCONCLUSIVE, whole, 1.0)
    little = rows([0.01, 0.01], base=0.05, what=Graft.CONTRIBUTION)
    whole = (
        "In one: There is too little to carry over: 0 of 8 prompts, of 0 templates, are moved by 0.1 nats or more. "
        "Templates needed are 7."
    )
    assert told(judge_joint_criterion(asked, pair(little, fine))) == (INCONCLUSIVE, whole, 1.0)
    broken = judge_joint_criterion(asked, pair(fine, with_value(fine, "kl_nats", 1, 2, np.nan)))
    assert (broken.verdict, broken.sentence[:29]) == (INVALID, "In two: Not a measurement: kl")
    with pytest.raises(MissingEvidence) as missing:
        judge_joint_criterion(asked, {"zero": view(fine), "one": view(fine)})
    assert str(missing.value) == "'two' was not measured (there is: zero, one)"
    with pytest.raises(MissingEvidence) as missing:
        judge_joint_criterion(asked, {})
    assert str(missing.value) == "'one' was not measured (there is: nothing)"


def test_two_depths_of_which_resamples_have_none_may_lie_anywhere_apart() -> None:
    made, draws = some_without(1.0)
    found = judge_joint_criterion(
        agree(CONTRIBUTION, within=0.9), pair(rows([1.0, 1.5], what=Graft.CONTRIBUTION), made)
    )
    low = percentile_interval(np.nan_to_num(draws, nan=-1.0))[0]
    assert found.estimate is not None
    assert (found.estimate.low, found.estimate.high, low) == (-1.0, 1.0, -1.0)
    assert found.p_value == pytest.approx(min(1.0, 2 * (np.isnan(draws).sum() + 1) * P))


@pytest.mark.parametrize(("kept", "floor", "gate"), [(7, 0.0, "0.1"), (6, 0.0, "0.1"), (7, 0.125, "0.125")])
def test_prompts_are_kept_from_the_gate_on_and_seven_templates_are_enough(
    kept: int, floor: float, gate: str
) -> None:
    """The gate is the noise floor of arithmetic where that is higher."""
    at = max(0.1, floor)
    made = rows([at / 4], base=at)
    below = np.zeros(8)
    below[kept:] = -at * 1e-9
    found = judge_criterion(recovery(at_least=0.5), view(replace(spread(made, 0, below), floor_nats=floor)))
    said = f"{kept} of 8 prompts, of {kept} templates, are moved by {gate} nats or more."
    if kept == 7:
        assert found.sentence.endswith(f" {said}")
        assert "(7 prompts, 7 templates)" in found.sentence
    else:
        whole = f"There is too little to carry over: {said} Templates needed are 7."
        assert told(found) == (INCONCLUSIVE, whole, 1.0)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("contradict", [99, 100])
def test_a_way_of_the_answer_is_told_at_the_two_sided_level(side: float, contradict: int) -> None:
    """The base lies so far off, on either side, that so many resamples of the way lie beyond 0."""
    made = rows([-2.0], base=0.0, whole=0.0, metric="answer_logprob", templates=16)
    way = np.random.default_rng(2).normal(0.0, 1.0, 16)
    clusters = Clusters.of(made.prompts)
    pivots = np.sort(sample(clusters, side * way[None], "answer_logprob").pivots[:, 0])
    way = way - side * ((pivots[contradict - 1] + pivots[contradict]) / 2 - NEGLIGIBLE)
    made = spread(made, 0, -way)
    asked = recovery(at_least=0.9, metric="answer_logprob", gate_nats=1e-9)
    found = judge_criterion(asked, view(made))
    if contradict == 99:
        assert "no way" not in found.sentence
        return
    estimate = sample(clusters, way[None], "answer_logprob").estimate(0)
    whole = (
        f"From base to adapted it is {estimate}: no way of which to take a share. 16 of 16 prompts, of 16 templates, "
        "are moved by 1e-09 nats or more."
    )
    assert told(found) == (INCONCLUSIVE, whole, 1.0)


@pytest.mark.parametrize(("base", "whole", "row"), [(-3.0, -1.0, -1.5), (-1.0, -3.0, -2.5)])
def test_the_adapted_model_is_read_as_such_or_from_the_last_block_of_a_curve(
    base: float, whole: float, row: float
) -> None:
    """Three quarters of the way; of several, its own run goes first, and then the stream's."""
    given = {"base": base, "metric": "answer_logprob"}
    first = BlockSet(layers=(0,))
    asked = {"at_least": 0.5, "metric": "answer_logprob"}
    own = rows([row, 9.0], whole=whole, **given)
    last = rows([row, whole], **given)
    up_to = rows([row, whole], what=None, **given)
    both = replace(
        last,
        probes=(*last.probes, curve(0), curve(1)),
        metrics={"answer_logprob": np.vstack([last.metrics["answer_logprob"], np.full((2, 8), 9.0)])},
    )
    for of, made in ((LAST, own), (LAST, last), (UP_TO, up_to), (LAST, both)):
        found = judge_criterion(recovery(replace(of, blocks=first), **asked), view(made, n_layers=2))
        assert found.verdict is SUPPORTED
        assert found.estimate is not None
        assert found.estimate.value == pytest.approx(0.75)
        assert found.estimate.unit == "of the way from base to adapted of the answer's log-probability"
    alone = rows([row, whole], what=Graft.CONTRIBUTION, **given)
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(recovery(CONTRIBUTION, **asked), view(alone))
    assert str(missing.value) == "'adapter_transfer' holds no row of the adapted model itself"


def test_trainings_that_disagree_are_told_with_their_own_numbers() -> None:
    tables = [rows([left, 0.25], seed=seed) for seed, left in ((1, 0.5), (2, 1.5), (3, 0.5))]
    first = replace(LAST, blocks=BlockSet(layers=(0,)))
    found = judge_criterion(recovery(first, at_least=0.5), view(*tables))
    moved = " 24 of 24 prompts, of 8 templates, are moved by 0.1 nats or more."
    split = " The trainings do not agree; by seed {}."
    assert found.sentence.endswith(f"(p = 1).{split.format('0.75, 0.25, 0.75')}{moved}")
    assert told(found)[::2] == (INCONCLUSIVE, 1.0)
    for bounds in ({"at_most": 0.25}, {"at_least": 0.0, "at_most": 0.25}):
        found = judge_criterion(depth(**bounds), view(*tables))
        assert found.sentence.endswith(f"(p = 1).{split.format('0, 0.5, 0')}{moved}")
