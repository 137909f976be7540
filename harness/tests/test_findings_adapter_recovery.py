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
OF_24 = "(24 prompts, 8 templates)"
MOVED24 = " 24 of 24 prompts, of 8 templates, are moved by 0.1 nats or more."


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
        (LAST, "gain", (0, 1, 2), [1.75, 1.5, 0.5], 0.75, "From L0 to L2 the recovery grows by"),
        (LAST, "gain", (1,), [1.75, 0.25, 0.5], 0.75, "From L1 to L1 the recovery grows by"),
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


@pytest.mark.parametrize(
    ("blocks", "said"),
    [((2, 3), "L2-L3"), ((1, 2, 3), "L1-L3"), ((3,), "L3"), ((-5, 1), "block -5 from the end, L1")],
)
def test_a_gain_of_blocks_that_the_model_lacks_is_missing(blocks: tuple[int, ...], said: str) -> None:
    asked = recovery(replace(LAST, blocks=BlockSet(layers=blocks)), take="gain", at_least=0.5)
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(asked, view(rows([1.0] * 3)))
    assert str(missing.value) == f"the criterion names {said} of a model of 3 layers"


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
        ({"at_most": 0.5 - 8e-10}, [1.5, 1.25, 1.0, 0.5], SUPPORTED, 2 * P, 0.5, "at L2 of 4"),
        ({"at_least": 1e-9}, [1.0, 1.25, 1.0, 0.5], SUPPORTED, 2 * P, 0.0, "at L0 of 4"),
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


@pytest.mark.parametrize(
    ("left", "value", "where"),
    [
        ([1.5, 1.5], 0.0, "at L0 of 2"),  # exactly half
        ([1.5, 1.5 - 1e-8], 0.5, "at L1 of 2"),
        ([1.5, 2.5, 1.0, 1.5], 0.5, "at L2 of 4"),
    ],
)
def test_the_depth_of_contributions_without_noise(left: list[float], value: float, where: str) -> None:
    found = judge_criterion(
        depth(CONTRIBUTION, at_least=value, at_most=1.0), view(rows(left, what=Graft.CONTRIBUTION))
    )
    whole = (
        f"50% of the recovery of {CONTRIBUTION} is reached {where}: {value:.3g} [{value:.3g}, {value:.3g}] of the "
        f"depth {OF_ALL} (p < 0.001).{MOVED}"
    )
    assert told(found) == (SUPPORTED, whole, pytest.approx(2 * P))


def test_a_resample_that_never_reaches_the_level_is_at_the_end() -> None:
    by = np.array([-0.7, *[0.1] * 7])
    made = spread(rows([1.5, 1.0]), 2, by)
    late = np.count_nonzero(weights_of(Clusters.of(made.prompts)) @ by > 1e-6)
    assert 1_000 < late < 9_000
    found = judge_criterion(depth(at_most=0.5), view(made))
    p = min(1.0, 2 * (late + 1) * P)
    whole = f"50% of the recovery of {LAST} is reached at L1 of 2: 0.5 [0.5, 1] of the depth {OF_ALL} (p = {p:.3g})"
    assert told(found) == (INCONCLUSIVE, f"{whole}.{MOVED}", pytest.approx(p))


def test_contributions_that_sum_to_nothing_have_no_half() -> None:
    whole = f"Over all blocks the contributions recover nothing that half could be of.{MOVED}"
    for left in ([2.0, 2.0], [1.0, 3.0], [2.5, 2.0], [1.0, 2.0, 3.5]):
        found = judge_criterion(depth(CONTRIBUTION, at_least=0.5), view(rows(left, what=Graft.CONTRIBUTION)))
        assert told(found) == (INCONCLUSIVE, whole, 1.0)


UNEVEN = np.array([6.0, *[-0.2] * 7])


def some_without(first: float, second: float) -> tuple[Effects, np.ndarray]:
    """Contributions that differ between prompts; each resample's depth, NaN where they sum to none."""
    made = spread(rows([first, second], what=Graft.CONTRIBUTION), 2, UNEVEN)
    brought = made.metrics["kl_nats"][0] - made.metrics["kl_nats"][1:]
    drawn = weights_of(Clusters.of(made.prompts)) @ brought.T
    depths = np.where(drawn[:, 0] >= 0.5 * drawn.sum(axis=1), 0.0, 0.5)
    return made, np.where(drawn.sum(axis=1) > 0.0, depths, np.nan)


@pytest.mark.parametrize(("first", "second"), [(1.5, 1.9), (2.0, 1.4)])
def test_a_resample_without_contributions_speaks_for_neither_side(first: float, second: float) -> None:
    """Where the first brings nothing, no resample's half is before the second."""
    made, draws = some_without(first, second)
    assert np.nanmin(draws) == (0.0 if first == 1.5 else 0.5)
    assert 0.02 < np.isnan(draws).mean() < 0.9
    for bound in ({"at_least": 0.0}, {"at_most": 1.0}):
        found = judge_criterion(depth(CONTRIBUTION, **bound), view(made))
        assert (found.verdict, found.p_value) == (
            INCONCLUSIVE,
            pytest.approx(min(1.0, 2 * (np.isnan(draws).sum() + 1) * P)),
        )
        assert found.estimate is not None
        assert (found.estimate.low, found.estimate.high) == (0.0, 1.0)


def both_ways(
    there: Sequence[float],
    back: Sequence[float],
    *,
    what: Graft = Graft.LAST,
    by: np.ndarray | float = 0.0,
    seed: int = 42,
) -> Effects:
    """From -3 nats to -1 and back, by these shares of the way; the first row back differs from prompt to prompt."""
    n = len(there)
    probes = [NONE, WHOLE, *(graft(at, what) for at in range(n))]
    probes += [Adapted(parts=TRAINED, only=(at,), graft=what, into="adapted") for at in range(n)]
    means = [-3.0, -1.0, *(-3.0 + 2.0 * x for x in there), *(-1.0 - 2.0 * x for x in back)]
    given = {"noise": 0.0, "families": ["a"], "templates": 8, "prompts": 1, "seed": seed}
    return spread(table(probes, {"answer_logprob": means}, **given), n + 2, by * np.ones(8))


def later(on: On = On.LAST_BACK, than: On = On.LAST, **bounds: float) -> RecoveryDepth:
    return depth(AdapterRows(on=on), than=than, metric="answer_logprob", **bounds)


@pytest.mark.parametrize(
    ("back", "bounds", "verdict", "p", "by"),
    [
        ([0.25, 0.25, 0.5, 1.0], {"at_least": 0.25, "at_most": 0.5}, SUPPORTED, 2 * P, "0.25 [0.25, 0.25]"),
        ([0.5, 0.5, 0.5, 1.0], {"at_least": 0.0, "at_most": 0.5}, REFUTED, 4 * P, "-0.25 [-0.25, -0.25]"),
        ([0.5, 0.5, 0.5, 1.0], {"at_most": -0.25}, SUPPORTED, 2 * P, "-0.25 [-0.25, -0.25]"),
    ],
)
def test_there_and_back_without_noise(
    back: list[float], bounds: dict[str, float], verdict: Verdict, p: float, by: str
) -> None:
    asked = later(**bounds)
    found = judge_criterion(asked, view(both_ways([0.25, 0.5, 0.75, 1.0], back)))
    whole = (
        f"50% of the recovery of the answer's log-probability of {asked.rows} is reached later than with it {On.LAST}, "
        f"by {by} of the depth {OF_ALL} (p < 0.001).{MOVED}"
    )
    assert told(found) == (verdict, whole, pytest.approx(p))


def test_resamples_there_and_back_that_are_just_at_a_bound_do_not_fail_it() -> None:
    """Later by 0 or by -0.5, evenly; a bound as far as rounding from 0 is met there."""
    made = both_ways([0.25, 0.5], [0.5, 1.0], by=np.array([1.0, -1.0] * 4))
    found = judge_criterion(later(at_least=1e-9), view(made))
    assert found.estimate is not None
    assert (found.estimate.low, found.estimate.high) == (-0.5, 0.0)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, pytest.approx(1.0, abs=0.1))


def test_a_resample_without_contributions_is_anywhere_there_and_back() -> None:
    made = both_ways([0.25, 0.25], [0.05, 0.0], what=Graft.CONTRIBUTION, by=-UNEVEN)
    drawn = weights_of(Clusters.of(made.prompts)) @ UNEVEN
    without = np.count_nonzero(drawn <= -0.1)
    assert 200 < without < 9_000
    found = judge_criterion(later(On.CONTRIBUTION_BACK, On.CONTRIBUTION, at_least=-1.0), view(made))
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0.0, -1.0, 1.0)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, pytest.approx(min(1.0, 2 * (without + 1) * P)))


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
        (
            [1.0, 1.5, 1.0, 0.5],
            {"within": 0.5, "at_least": 1e-9},
            SUPPORTED,
            2 * P,
            "0.00 in two: a difference of -0.25 [-0.25, -0.25] {}; 0.5 is allowed, neither before 1e-09",
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


@pytest.mark.parametrize(
    ("row", "left", "asked", "ends"),
    [
        (1, (1.5, 1.0, 0.5, 0.5), {"within": 0.25}, (-0.5, -0.25)),  # the smaller one is allowed
        (0, (1.0, 1.5, 0.5, 0.5), {"within": 0.25, "at_least": 1e-9}, (-0.5, 0.0)),
    ],
)
def test_resamples_of_two_depths_that_are_just_at_a_limit_do_not_fail_it(
    row: int, left: tuple[float, ...], asked: dict[str, float], ends: tuple[float, float]
) -> None:
    """The second reaches half at L0, the first there or two blocks on, or one or two."""
    made = spread(rows(left), row + 1, np.array([1.0, -1.0] * 4))
    found = judge_joint_criterion(agree(**asked), pair(made, rows([0.5] * 4)))
    assert found.estimate is not None
    assert (found.estimate.low, found.estimate.high) == ends
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, pytest.approx(1.0, abs=0.1))


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
    made, draws = some_without(1.5, 1.9)
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


def test_a_training_exactly_at_the_bound_says_as_much() -> None:
    first = replace(LAST, blocks=BlockSet(layers=(0,)))
    tables = [rows([left, 0.25], seed=seed) for seed, left in ((1, 1.0), (2, 1.5), (3, 1.5))]
    found = judge_criterion(recovery(first, at_most=0.5), view(*tables))
    assert found.sentence.endswith(f" at most 0.5 is asked for (p < 0.001).{MOVED24}")
    assert told(found)[::2] == (SUPPORTED, pytest.approx(2 * P))
    found = judge_criterion(depth(at_most=0.5), view(*tables))
    assert found.sentence.endswith(f" 0.5 [0.5, 0.5] of the depth {OF_24} (p < 0.001).{MOVED24}")
    assert told(found)[::2] == (SUPPORTED, pytest.approx(2 * P))


@pytest.mark.parametrize(("one", "two"), [((0.5, 1.5, 0.5), (0.25,) * 3), ((0.25,) * 3, (0.5, 1.5, 0.5))])
def test_each_block_is_asked_of_each_training(one: tuple[float, ...], two: tuple[float, ...]) -> None:
    tables = [rows(left, seed=seed) for seed, left in enumerate(zip(one, two, strict=True))]
    found = judge_criterion(recovery(at_least=0.5), view(*tables))
    assert told(found)[::2] == (INCONCLUSIVE, 1.0)
    assert found.sentence.endswith(f" The trainings do not agree; by seed 0.75, 0.25, 0.75.{MOVED24}")


def test_a_training_whose_way_is_nothing_says_nothing() -> None:
    given = {"metric": "answer_logprob", "whole": 0.0}
    tables = [
        rows([left], base=base, seed=seed, **given) for seed, left, base in ((1, -1.9, -2.0), (3, -1.9, -2.0))
    ]
    tables.insert(1, spread(rows([-1.0], base=0.0, seed=2, **given), 0, np.array([1.0, -1.0] * 4)))
    asked = recovery(replace(LAST, blocks=BlockSet(layers=(0,))), at_least=0.75, metric="answer_logprob")
    found = judge_criterion(asked, view(*tables))
    assert found.sentence.endswith(f" The trainings do not agree; by seed 0.05, nan, 0.05.{MOVED24}")
    assert told(found)[::2] == (INCONCLUSIVE, 1.0)
    refuted = judge_criterion(asked, view(*tables[::2]))
    assert told(refuted)[::2] == (REFUTED, pytest.approx(2 * P))


def test_a_training_that_moves_no_prompt_is_told_to_be_none() -> None:
    found = judge_criterion(
        depth(at_least=0.5), view(rows([1.5, 1.0], seed=1), rows([0.01, 0.01], base=0.05, seed=2))
    )
    assert told(found) == (
        INCONCLUSIVE,
        f"50% of the recovery of {LAST} is reached at L1 of 2: 0.5 [0.5, 0.5] of the depth {OF_ALL} (p = 1). The "
        "trainings do not agree; by seed 0.5, nan. 8 of 16 prompts, of 8 templates, are moved by 0.1 nats or more.",
        1.0,
    )


@pytest.mark.parametrize(
    ("second", "verdict", "p", "split"),
    [
        (0.25, SUPPORTED, 2 * P, ""),
        (0.5, INCONCLUSIVE, 1.0, " The trainings do not agree; by seed 0.25, 0, 0.25."),
    ],
)
def test_there_and_back_in_each_training(second: float, verdict: Verdict, p: float, split: str) -> None:
    tables = [
        both_ways([0.0, 0.5, 0.75, 1.0], [0.25, x, 0.75, 1.0], seed=seed)
        for seed, x in enumerate((0.25, second, 0.25))
    ]
    found = judge_criterion(later(at_least=0.25, at_most=0.5), view(*tables))
    assert told(found)[::2] == (verdict, pytest.approx(p))
    assert found.sentence.endswith(
        f"by 0.25 [0.25, 0.25] of the depth {OF_24} ({'p < 0.001' if p < 1 else 'p = 1'}).{split}{MOVED24}"
    )


@pytest.mark.parametrize("probe", [NONE, WHOLE, graft(1, Graft.LAST)])
def test_a_number_that_is_missing_of_any_row_is_no_measurement(probe: Adapted) -> None:
    made = rows([-2.0, -1.5], base=-3.0, whole=-1.0, metric="answer_logprob")
    broken = with_value(made, "answer_logprob", made.probes.index(probe), 2, np.nan)
    found = judge_criterion(recovery(at_least=0.5, metric="answer_logprob"), view(broken))
    text = made.prompts[2].text
    whole = f"Not a measurement: answer_logprob of '{probe}' is nan on the prompt '{text}'; 1 of "
    n = 16 if probe.graft is not None else 8
    assert told(found) == (INVALID, f"{whole}{n} values are not finite.", None)


EVEN = np.array([1.0, -1.0] * 8)


@pytest.mark.parametrize(
    ("left", "by", "verdict", "worst"),
    [
        ((1.1, 1.3), (0.02, 2.0), REFUTED, 0),
        ((1.3, 1.1), (2.0, 0.02), REFUTED, 1),
        ((1.05, 1.3), (0.11, 2.0), INCONCLUSIVE, 1),
        ((0.9, 0.7), (0.5, 2.5), INCONCLUSIVE, 1),
        ((0.7, 0.9), (2.0, 0.15), INCONCLUSIVE, 0),
        ((0.5, 0.3), (0.1, 0.1), SUPPORTED, 0),
    ],
)
def test_of_two_recoveries_that_which_decides_is_told(
    left: tuple[float, float], by: tuple[float, float], verdict: Verdict, worst: int
) -> None:
    made = rows(left, templates=16)
    for row, half in enumerate(by):
        made = spread(made, row + 1, half * EVEN)
    pivots = sample(Clusters.of(made.prompts), 1.0 - made.metrics["kl_nats"][1:], "kl_nats").pivots
    holds = 2 * P * (1 + np.count_nonzero(pivots < NEGLIGIBLE, axis=0))
    fails = 2 * 2 * P * (1 + np.count_nonzero(pivots > -NEGLIGIBLE, axis=0))
    found = judge_criterion(recovery(at_least=0.5), view(made))
    p = min(1.0, float(fails.min() if verdict is REFUTED else holds.max()))
    assert told(found)[::2] == (verdict, pytest.approx(p))
    assert found.sentence.startswith(f"At L{worst}, {BY_LAST} {1 - left[worst] / 2:.3g} [")
