"""Over how many blocks an effect is spread: the numbers and the whole sentence, beside the same resamples by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.adapters.values import Adapted, Part
from harness.effects import Effects, pool
from harness.experiments.adapters import RECIPES_BY_RANK
from harness.statistics.bootstrap import percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number as fmt
from harness.verdicts.adapter_criteria import AdapterRatio, Spread
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On
from harness.verdicts.adapter_spread import at_the_size_of, spread_of
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import Finding, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
TABLE = "adapter_rank_blocks"
RECIPES = {recipe.name: recipe for recipe in RECIPES_BY_RANK}
EVEN, PEAKED = [0.3, 0.2, 0.3, 0.2], [0.6, 0.1, 0.2, 0.2]
KL = "KL with the json_schema adapter (rank_{}) off in one block (every block)"
CARRY = f"number of blocks that carry the {KL}"
WIDE, NARROW = CARRY.format(16), CARRY.format(1)


def effects(*rows, weights=(1.0,), noise=0.03, seed=42) -> Effects:
    """Mean effects of each block: of rank 16 at each weight, and then of rank 1."""
    states = [("rank_16", weight) for weight in weights] + [("rank_1", 1.0)]
    probes = [
        Adapted(
            parts=(Part(family="json_schema", recipe=RECIPES[name], weight=weight),),
            off=(at,),
            against="whole",
        )
        for name, weight in states
        for at in range(len(rows[0]))
    ]
    return table(
        probes,
        {"kl_nats": np.concatenate(rows)},
        noise=noise,
        families=["json_schema"],
        templates=9,
        seed=seed,
    )


def of_rank(rank: int, **more) -> Spread:
    return Spread(rows=AdapterRows(on=On.OFF, recipe=f"rank_{rank}"), **more)


def judged(found: Effects, share_of=None, weights=(), **bound) -> Finding:
    part, of = of_rank(16, share_of=share_of, weights=weights), of_rank(1, share_of=share_of)
    criterion = AdapterRatio(experiment=TABLE, part=part, of=of, rationale="a test", **bound)
    return judge_criterion(criterion, measured({TABLE: found}, 4))


def means_of(found: Effects) -> np.ndarray:
    """The observed mean effects and then those of each resample: sets x states x blocks."""
    means = sample(Clusters.of(found.prompts), found.metrics["kl_nats"], "kl_nats")
    return np.vstack([means.value, means.draws]).reshape(10_000, -1, 4)


def blocks_of(m: np.ndarray) -> np.ndarray:
    return m.sum(axis=-1) ** 2 / (m * m).sum(axis=-1)


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        ({"at_least": 1.325}, SUPPORTED),
        ({"at_least": 1.38}, INCONCLUSIVE),
        ({"at_least": 1.51}, REFUTED),
        ({"at_most": 1.51}, SUPPORTED),
        ({"at_most": 1.325}, REFUTED),
    ],
)
def test_the_p_value_counts_resamples_and_their_mirror_images_of_the_logarithm(bound, verdict):
    found = effects(EVEN, PEAKED)
    finding = judged(found, **bound)
    one, other = blocks_of(means_of(found)).T
    logs, edge = np.log(one / other), np.log(*bound.values())
    sets = (logs[1:], 2 * logs[0] - logs[1:])
    holds, fails = (
        2 * (max(np.count_nonzero(side * x < side * edge) for x in sets) + 1) / 10_000 for side in (1, -1)
    )
    if "at_most" in bound:
        holds, fails = fails, holds
    assert finding.verdict is verdict, finding.sentence
    p = fails if verdict is REFUTED else holds
    assert 0.0002 < p < 1.0
    assert finding.p_value == pytest.approx(p)
    ends = [percentile_interval(x) for x in sets]
    low, high = np.exp([min(low for low, _ in ends), max(high for _, high in ends)])
    assert (finding.estimate.value, finding.estimate.low, finding.estimate.high) == pytest.approx(
        (one[0] / other[0], low, high)
    )
    nats = means_of(found)[0].sum(axis=-1)
    asked = "at least" if "at_least" in bound else "at most"
    assert finding.sentence == (
        f"The {WIDE} ({fmt(nats[0])} nats in all) is {fmt(one[0])}, the {NARROW} ({fmt(nats[1])} nats in all) "
        f"{fmt(other[0])}: {fmt(one[0] / other[0])} [{fmt(low)}, {fmt(high)}] times (18 prompts, 9 templates); "
        f"{asked} {next(iter(bound.values())):g} times is asked for "
        f"({f'p = {fmt(p)}' if p >= 0.001 else 'p < 0.001'})."
    )


def test_resamples_that_no_weight_makes_alike_leave_the_interval_open_and_are_counted():
    """The other does almost as much as the heaviest weight: in many resamples it does more."""
    weights = (0.25, 0.5, 1.0)
    rows = [np.multiply(PEAKED, w) for w in weights]
    found = effects(*rows, np.multiply(EVEN, 1.05), weights=weights, noise=0.05)
    means = means_of(found)
    totals, counts = means.sum(axis=-1), blocks_of(means)
    there = (totals[:, 2] >= totals[:, 3]) & (totals[:, 1] <= totals[:, 3])
    assert there[0]
    assert 0.02 < 1 - there[1:].mean() < 0.9
    x = (np.log(totals[:, 3]) - np.log(totals[:, 1])) / (np.log(totals[:, 2]) - np.log(totals[:, 1]))
    one = np.exp(np.log(counts[:, 1]) * (1 - x) + np.log(counts[:, 2]) * x)
    finding = judged(found, weights=weights, at_least=0.5)
    assert finding.verdict is INCONCLUSIVE
    p = 2 * (np.count_nonzero(~there) + 1) / 10_000
    assert finding.p_value == pytest.approx(p)
    assert (finding.estimate.low, finding.estimate.high) == (0.0, np.inf)
    nats = totals[0]
    assert finding.sentence == (
        f"The {WIDE}, weighted to do as much in all (of {fmt(nats[2])} nats in all at its own weight) is "
        f"{fmt(one[0])}, the {NARROW} ({fmt(nats[3])} nats in all) {fmt(counts[0, 3])}: "
        f"{fmt(one[0] / counts[0, 3])} [0, inf] times (18 prompts, 9 templates); at least 0.5 times is asked for "
        f"(p = {fmt(p)}). In {1 - there[1:].mean():.1%} of the resamples there is none."
    )


def test_a_share_of_none_has_no_logarithm():
    """One template of nine moves the first block: without it, in (8/9)^8 of the resamples, the share is 0."""
    found = effects(EVEN, PEAKED, noise=0.0)
    kl = found.metrics["kl_nats"].copy()
    kl[0, 2:] = 0.0
    finding = judged(replace(found, metrics={"kl_nats": kl}), share_of=BlockSet(layers=(0,)), at_most=0.9)
    assert finding.verdict is INCONCLUSIVE
    none = 100 * (8 / 9) ** 8
    said = float(finding.sentence.rpartition(" In ")[2].removesuffix("% of the resamples there is none."))
    assert said == pytest.approx(none, abs=1.5)
    assert (finding.estimate.low, finding.estimate.high) == (0.0, np.inf)


def test_no_two_effects_of_one_size():
    weights = (0.25, 0.5, 1.0)
    rows = [np.multiply(EVEN, w) for w in weights]
    finding = judged(effects(*rows, [0.5] * 4, weights=weights, noise=1e-6), weights=weights, at_least=1.1)
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)
    assert finding.sentence == (
        f"At weights 0.25, 0.5, 1 the blocks of the {WIDE}, weighted to do as much in all do 0.25, 0.5, 1 nats in "
        f"all, those of the {NARROW} 2: not between two neighbours of which the heavier does more, so that no two "
        "effects of one size can be compared."
    )


@pytest.mark.parametrize("idle", ["part", "of"])
def test_what_does_nothing_is_not_spread(idle):
    weights, nothing = (0.5, 1.0), [0.0] * 4
    rows = (EVEN, nothing, PEAKED) if idle == "part" else (EVEN, EVEN, nothing)
    found = replace(effects(*rows, weights=weights, noise=0.0), floor_nats=0.01)
    finding = judged(found, weights=weights, at_least=1.1)
    name = f"{WIDE}, weighted to do as much in all" if idle == "part" else NARROW
    assert (finding.verdict, finding.p_value) == (INCONCLUSIVE, 1.0)
    assert finding.sentence == (
        f"The blocks of the {name} do 0 nats in all: nothing that could be spread, where the noise floor is 0.01 "
        "nats a block."
    )


@pytest.mark.parametrize(
    ("third", "verdict", "said"),
    [
        ([0.7, 0.1, 0.1, 0.2], INCONCLUSIVE, "(p = 1). The trainings do not agree; by seed 1.82, 1.82, 1."),
        ([0.3, 0.3, 0.3, 0.2], SUPPORTED, "(p < 0.001)."),
    ],
)
def test_each_training_by_itself_lies_on_that_side(third, verdict, said):
    """Four blocks, and in the third training 2.2 or 3.9, against 1.1^2 / 0.55 = 2.2: together above 1.1 either way."""
    alike, narrow = [0.275] * 4, [0.7, 0.1, 0.1, 0.2]
    rows = [(alike, narrow), (alike, narrow), (third, narrow)]
    found = pool([effects(*each, noise=1e-6, seed=seed) for seed, each in enumerate(rows)])
    finding = judged(found, at_least=1.1)
    assert finding.verdict is verdict, finding.sentence
    assert finding.sentence.endswith(said)


def test_numbers_that_are_none_are_invalid():
    found = effects(EVEN, PEAKED)
    finding = judged(with_value(found, "kl_nats", 1, 3, np.nan), at_least=1.1)
    assert finding.verdict is Verdict.INVALID
    assert finding.sentence.startswith("Not a measurement: kl_nats of '")
    assert finding.sentence.endswith(
        "is nan on the prompt 'json_schema 1 1 of seed 42'; 1 of 72 values are not finite."
    )


def test_the_number_of_each_set_of_means():
    means = np.array([[1.0, 2.0, 5.0], [2.0, 0.0, 2.0]])
    assert spread_of(of_rank(1), (0, 1, 2), means).tolist() == [64 / 30, 2.0]
    last = of_rank(1, share_of=BlockSet(layers=(-1,)))
    assert spread_of(last, (0, 1, 2), means).tolist() == [5 / 8, 0.5]


def test_a_size_that_is_a_measured_total_takes_its_number():
    numbers, totals = (
        np.array([[2.0] * 3, [3.0] * 3, [5.0] * 3]),
        np.array([[1.0] * 3, [4.0] * 3, [16.0] * 3]),
    )
    assert at_the_size_of(numbers, totals, np.array([1.0, 4.0, 16.0])) == pytest.approx([2.0, 3.0, 5.0])
