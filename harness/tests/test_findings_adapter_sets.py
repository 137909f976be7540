"""RecipeBeats at its boundaries: what each adapter adds is set, and how many others it beats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.adapters.values import Adapted, Kind, Part, Recipe
from harness.edits import skip
from harness.effects import pool
from harness.statistics.estimate import CONFIDENCE
from harness.verdicts.adapter_sets import Scatter, own_scatter
from harness.verdicts.criteria import RecipeBeats
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
BASE = -3.0
LEAST_P = 1 / 10_000
"""One-sided, where none of 9,999 resamples contradicts."""
OTHERS = tuple(f"other_{i}" for i in range(5))
QUIET = {f"quiet_{i}": 1.0 for i in range(40)}
"""Adapters that add the same in every training."""


def on(name: str, family: str = "a", **given: object) -> Adapted:
    return Adapted(parts=(Part(family=family, recipe=Recipe(name=name), **given),))


def ask(gains: dict[str, float], *, seeds=({},), noise=0.002, **given: object) -> Finding:
    """Judge on a table of adapters that add so much on the family "a"; `seeds` changes some gains per seed."""
    tables = []
    for seed, changed in enumerate(seeds, start=42):
        now = {**gains, **changed}
        rows = [on(name) for name in now]
        levels = [[BASE + gain, -9.0] for gain in now.values()]
        made = table(
            rows, {"answer_logprob": levels}, noise=noise, families=("a", "b"), templates=12, seed=seed
        )
        tables.append(replace(made, baseline={"answer_logprob": np.full(len(made.prompts), BASE)}))
    return judge_criterion(criterion(**given), measured({"sets": pool(tables)}, 4))


def criterion(**given: object) -> RecipeBeats:
    asked = {"experiment": "sets", "family": "a", "recipe": "own", "others": OTHERS, "rationale": "a test"}
    return RecipeBeats(**{**asked, **given})


def gains(own: float, *others: float) -> dict[str, float]:
    return {"own": own, **dict(zip(OTHERS, others, strict=False))}


@pytest.mark.parametrize(("own", "verdict"), [(1.05, SUPPORTED), (1.0, INCONCLUSIVE), (0.95, REFUTED)])
def test_it_must_beat_the_best_of_the_others(own, verdict):
    found = ask(gains(own, 0.2, 0.4, 1.0, 0.3, 0.1))
    assert found.verdict is verdict, found.sentence
    assert found.estimate.value == pytest.approx(own - 1.0, abs=0.01)
    assert "the 5 others 0.0997 to 1. " in found.sentence


@pytest.mark.parametrize(("own", "verdict"), [(0.45, SUPPORTED), (0.4, INCONCLUSIVE), (0.35, REFUTED)])
def test_of_some_it_must_beat_so_many(own, verdict):
    """Four of five: the second best, 0.4, decides."""
    found = ask(gains(own, 0.2, 0.4, 1.0, 0.3, 0.1), least=4)
    assert found.verdict is verdict, found.sentence
    assert "other_1" in found.sentence


@pytest.mark.parametrize(("own", "verdict"), [(0.95, SUPPORTED), (0.9, INCONCLUSIVE), (0.85, REFUTED)])
def test_a_margin_below_zero_is_room(own, verdict):
    assert ask(gains(own, 1.0), others=OTHERS[:1], margin=-0.1).verdict is verdict


@pytest.mark.parametrize(("own", "verdict"), [(0.55, SUPPORTED), (0.5, INCONCLUSIVE), (0.45, REFUTED)])
def test_a_share_of_what_another_adds(own, verdict):
    assert ask(gains(own, 1.0), others=OTHERS[:1], share=0.5).verdict is verdict


@pytest.mark.parametrize(("third", "verdict"), [(1.05, SUPPORTED), (1.0, INCONCLUSIVE), (0.95, REFUTED)])
def test_the_others_are_asked_for_a_share_of_what_it_adds(third, verdict):
    """Three of five must add half of 2: the third best decides."""
    found = ask(gains(2.0, 1.5, 1.4, third, 0.1, 0.2), least=3, share=0.5, theirs=True)
    assert found.verdict is verdict, found.sentence
    assert "at least 3 of 5 others adds 50% of what own adds" in found.sentence


def test_an_earlier_step_is_asked_of_rows_at_that_step():
    rows = [on(name, step=step) for step in (None, 25) for name in ("own", "other_0")]
    levels = [[BASE + gain, -9.0] for gain in (1.0, 1.0, 0.9, 0.5)]
    made = table(rows, {"answer_logprob": levels}, noise=0.002, families=("a", "b"), templates=12)
    made = replace(made, baseline={"answer_logprob": np.full(len(made.prompts), BASE)})
    view = measured({"sets": made}, 4)
    early = judge_criterion(criterion(others=OTHERS[:1], margin=0.3, step=25), view)
    late = judge_criterion(criterion(others=OTHERS[:1], margin=0.3), view)
    assert (early.verdict, late.verdict) == (SUPPORTED, REFUTED)
    assert early.estimate.value == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(("own", "verdict"), [(0.9, SUPPORTED), (0.88, INCONCLUSIVE), (0.5, REFUTED)])
def test_shares_of_right_answers_are_compared_without_the_base(own, verdict):
    """The other answers 0.9 of the prompts right; two in a hundred less is allowed."""
    made = table(
        [on("own"), on("other_0")],
        {"answer_match": [[own, 0.0], [0.9, 0.0]]},
        noise=0.001,
        families=("a", "b"),
        templates=12,
    )
    asked = criterion(others=OTHERS[:1], margin=-0.02, metric="answer_match")
    found = judge_criterion(asked, measured({"sets": made}, 4))
    assert found.verdict is verdict, found.sentence
    assert found.estimate.value == pytest.approx(own - 0.88, abs=0.002)
    assert found.estimate.unit == "beyond what is asked"
    assert "to the answers that are right" in str(asked)


def test_trainings_that_disagree_decide_nothing():
    """The mean leads by 0.1, the second training is behind."""
    agreed = ask(gains(1.1, 1.0), others=OTHERS[:1], seeds=({}, {}))
    split = ask(gains(1.3, 1.0), others=OTHERS[:1], seeds=({}, {"own": 0.9}))
    assert (agreed.verdict, split.verdict) == (SUPPORTED, INCONCLUSIVE)
    assert "(1, 0 by seed)" in split.sentence
    behind = ask(gains(0.7, 1.0), others=OTHERS[:1], seeds=({}, {"own": 1.1}))
    assert behind.verdict is INCONCLUSIVE
    assert "(0, 1 by seed)" in behind.sentence


@pytest.mark.parametrize(
    ("own", "by_seed", "agreed"), [((1.3, 0.99), "1, 0", SUPPORTED), ((0.7, 1.01), "0, 1", REFUTED)]
)
def test_one_training_on_the_other_side_undoes_what_all_together_show(own, by_seed, agreed) -> None:
    """The table's trainings hardly scatter: of two that lead, or lag, by a tenth the same mean decides."""
    rows = gains(0.0, 1.0) | QUIET
    found = scattered(own, rows)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, 1.0)
    assert f"({by_seed} by seed)" in found.sentence
    together = scattered((np.mean(own) + 0.1, np.mean(own) - 0.1), rows)
    assert together.verdict is agreed


def test_a_training_without_a_lead_does_not_contradict_one() -> None:
    """As much is enough: the second training adds exactly what the other does. The table's trainings hardly scatter."""
    found = ask(gains(1.5, 1.0) | QUIET, others=OTHERS[:1], seeds=({}, {"own": 1.0}), noise=0.0)
    assert found.verdict is SUPPORTED
    assert "is so for 1 of 1 (1, 1 by seed); " in found.sentence


def scattered(own: tuple[float, ...], table: dict[str, float], **given: object) -> Finding:
    seeds = tuple({"own": gain} for gain in own)
    return ask(table, seeds=seeds, others=OTHERS[:1], noise=0.0, **given)


def layout(trained: np.ndarray) -> tuple[float, float]:
    """The residual mean square of an additive layout of shares, and its freedom: by least squares on dummies."""
    seeds, adapters = trained.shape
    shares = (trained / trained.mean(axis=0)).ravel()
    seed, adapter = np.divmod(np.arange(seeds * adapters), adapters)
    dummies = np.hstack([seed[:, None] == np.arange(seeds), adapter[:, None] == np.arange(adapters)]).astype(
        float
    )
    fit = dummies @ np.linalg.lstsq(dummies, shares, rcond=None)[0]
    freedom = (seeds - 1) * (adapters - 1)
    return float(((shares - fit) ** 2).sum()) / freedom, freedom


def half_width(trained: np.ndarray, compared: float) -> float:
    variance, freedom = layout(trained)
    error = np.sqrt(variance / len(trained)) * compared
    return float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2, freedom) * error)


def test_own_scatter_is_that_of_an_additive_layout():
    """Simulated: 3 trainings of 12 adapters, 10% in common and 4% of their own; its variance is chi-squared."""
    rng, mean = np.random.default_rng(0), np.linspace(0.5, 4.0, 12)
    factors = 1.0 + 0.1 * rng.standard_normal((4000, 3, 1)) + 0.04 * rng.standard_normal((4000, 3, 12))
    found = [own_scatter(one * mean) for one in factors]
    variance = np.array([scatter.share**2 for scatter in found])
    assert variance.mean() == pytest.approx(0.04**2, rel=0.03)
    freedom = np.mean([scatter.freedom for scatter in found])
    assert 2 * variance.mean() ** 2 / variance.var() == pytest.approx(freedom, rel=0.15)


@pytest.mark.parametrize(("share", "theirs"), [(1.0, False), (0.5, False), (0.5, True)])
@pytest.mark.parametrize("more", [(), (3.0, 0.5)])
def test_bounds_are_widened_by_how_trainings_scatter(share, theirs, more):
    """Equal templates: the bounds are Student's."""
    own, other = (1.9, 2.0, 2.2), 1.4
    found = scattered(own, gains(0.0, other, *more), share=share, theirs=theirs)
    compared = np.hypot(share * np.mean(own), other) if theirs else np.hypot(np.mean(own), share * other)
    trained = np.array([(gain, other, *more) for gain in own])
    half = half_width(trained, compared)
    lead = other - share * np.mean(own) if theirs else np.mean(own) - share * other
    assert found.estimate.value == pytest.approx(lead)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (lead - half, lead + half), abs=0.15 * half
    )
    assert found.sentence.endswith(
        f" Trainings scatter by {np.sqrt(layout(trained)[0]):.1%} of what they add."
    )


def test_two_trainings_widen_the_bounds_of_each_lead_by_what_it_compares():
    """The other that decides adds most, and scatters most."""
    own = (3.9, 4.1)
    seeds = tuple({"own": gain} for gain in own)
    table = gains(0.0, 1.0, 4.0, 4.0, 4.0, 4.0)
    found = ask(table, seeds=seeds, others=OTHERS[:2], noise=0.0, share=0.5)
    trained = np.array([(gain, *list(table.values())[1:]) for gain in own])
    lead, half = 4.0 - 0.5 * 4.0, half_width(trained, np.hypot(4.0, 0.5 * 4.0))
    assert found.estimate.value == pytest.approx(lead)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (lead - half, lead + half), abs=0.15 * half
    )
    assert "is so for 2 of 2 (2, 2 by seed); the deciding one, other_1, lies " in found.sentence
    assert found.sentence.endswith(
        f" Trainings scatter by {np.sqrt(layout(trained)[0]):.1%} of what they add."
    )


def test_two_trainings_of_two_adapters_scatter_with_one_degree_of_freedom():
    trained = np.array([[1.0, 2.0], [1.2, 2.0]])
    variance, freedom = layout(trained)
    assert own_scatter(trained) == Scatter(share=pytest.approx(np.sqrt(variance)), freedom=1)
    assert freedom == 1


@pytest.mark.parametrize("trained", [[[1.0, 2.0, 4.0]], [[1.0], [1.2], [0.9]]])
def test_one_training_or_one_adapter_shows_no_scatter(trained):
    assert own_scatter(np.array(trained)) == Scatter(share=0.0, freedom=1)


def test_what_all_adapters_of_a_seed_have_in_common_widens_nothing():
    """Every gain of a seed is larger or smaller by one factor, as other prompts make it; the mean of them is 1."""
    table = gains(2.0, 1.0, 1.5, 0.5)
    seeds = tuple({name: factor * gain for name, gain in table.items()} for factor in (1.1, 0.98, 0.92))
    found = ask(table, seeds=seeds, others=OTHERS[:3], noise=0.0)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((0.5, 0.5), abs=1e-5)
    assert found.sentence.endswith(" Trainings scatter by 0.0% of what they add.")


def test_an_adapter_that_adds_next_to_nothing_tells_nothing_of_trainings():
    """It turns round from training to training: less than a tenth of the median adapter, it is left out."""
    mean, small = np.array([4.0, 3.0, 2.0, 1.0]), np.array([[0.1], [-0.3], [0.3]])
    trained = np.array([[1.02], [0.99], [0.99]]) * mean
    trained[0, 0] += 0.4
    for unit in (1.0, 16.0, 1 / 16):
        assert own_scatter(unit * np.hstack([trained, small])) == own_scatter(trained)
    alone = scattered((1.9, 2.0, 2.2), gains(0.0, 0.0), margin=-0.1)
    assert (alone.verdict, alone.estimate.low) == (
        SUPPORTED,
        pytest.approx(np.mean([1.9, 2.0, 2.2]) + 0.1, abs=1e-5),
    )


def test_an_adapter_that_adds_nearly_all_hides_nobodys_scatter():
    """The freedom is of all adapters, whatever one of them adds."""
    assert own_scatter(np.array([[80.0, 1.0, 1.1, 0.9], [80.0, 1.1, 1.0, 1.1]])).freedom == 3


def test_trainings_that_scatter_by_more_than_the_lead_decide_nothing():
    """All three lead, by 0.1 to 0.9: with those of four adapters that hardly scatter that is enough."""
    own, table = (1.1, 1.5, 1.9), gains(0.0, 1.0)
    assert scattered(own, table).verdict is INCONCLUSIVE
    assert scattered(own, table | dict.fromkeys(OTHERS[1:], 5.0)).verdict is SUPPORTED


def test_an_adapter_that_is_not_asked_about_and_not_finite_tells_nothing_of_trainings():
    own, table = (1.9, 2.0, 2.2), gains(0.0, 1.0)
    assert scattered(own, {**table, "unfinished": np.nan}).estimate == scattered(own, table).estimate


def test_adapters_that_add_nothing_have_no_share_to_scatter_by():
    seeds = ({"unfinished": 0.0}, {"unfinished": np.nan})
    found = ask(gains(0.0, 0.0), others=OTHERS[:1], seeds=seeds, noise=0.0, margin=-0.1)
    assert (found.verdict, found.estimate.low) == (SUPPORTED, pytest.approx(0.1, abs=1e-5))


@pytest.mark.parametrize(
    ("own", "given", "p"),
    [
        (2.0, {}, 2 * LEAST_P),
        (2.0, {"least": 4}, 2 * 2 * LEAST_P),  # the fourth of five must be small, with one to spare
        (0.3, {"least": 4}, 2 * 4 * LEAST_P),  # two must be below: the second of five
        (0.0, {}, 2 * 5 * LEAST_P),
        (1.0, {}, 1.0),
    ],
)
def test_p_values_are_two_sided_and_count_those_that_may_differ(own, given, p):
    """At least u of n are so (or not so) with (n - u + 1) times the u-th smallest."""
    found = ask(gains(own, 0.2, 0.4, 1.0, 0.5, 0.6), noise=0.0, **given)
    assert found.p_value == pytest.approx(p)


def test_the_whole_sentence_of_one_other_and_of_several():
    alone = ask(gains(1.5, 1.0), others=OTHERS[:1], noise=0.0)
    assert alone.sentence == (
        "own adds 1.5 nats, other_0 1. That the adapter own adds what other_0 adds is so for 1 of 1; the deciding one, "
        "other_0, lies 0.5 [0.5, 0.5] nats beyond what is asked (24 prompts, 12 templates) (p < 0.001)."
    )
    several = ask(gains(1.5, 1.5, 2.0, 1.25), others=OTHERS[:3], least=2, noise=0.0)
    assert several.sentence == (
        "own adds 1.5 nats, the 3 others 1.25 to 2. That the adapter own adds what at least 2 of 3 others adds is so "
        "for 2 of 3; the deciding one, other_0, lies 0 [-1e-06, 1e-06] nats beyond what is asked (24 prompts, "
        "12 templates) (p = 1)."
    )
    two = ask(gains(1.5, 1.0, 1.25), others=OTHERS[:2], noise=0.0)
    assert two.sentence.startswith("own adds 1.5 nats, the 2 others 1 to 1.25. ")


def test_only_the_familys_own_prompts_count_and_only_finished_trained_adapters():
    """Rows of another family, a random update and an earlier step carry the same names and are passed over."""
    rows = [on("own"), on("other_0"), on("own", "b"), on("own", kind=Kind.RANDOM), on("own", step=10)]
    levels = [[BASE + 1.0, 0.0], [BASE + 0.5, 5.0], [BASE - 2.0] * 2, [BASE - 2.0] * 2, [BASE - 2.0] * 2]
    made = table(rows, {"answer_logprob": levels}, noise=0.01, families=("a", "b"))
    made = replace(made, baseline={"answer_logprob": np.full(len(made.prompts), BASE)})
    found = judge_criterion(criterion(others=OTHERS[:1]), measured({"sets": made}, 4))
    assert found.verdict is SUPPORTED
    assert found.estimate.value == pytest.approx(0.5, abs=0.01)


def test_only_one_adapter_that_is_wholly_on_is_an_adapters_row():
    """Edits, merges and parts of an adapter stand before and after the rows in question."""
    own, other = on("own"), on("other_0")
    merged = Adapted(parts=(*own.parts, *other.parts))
    rows = [skip(0), Adapted(parts=()), merged, own, other, replace(own, only=(0,)), replace(other, off=(1,))]
    levels = [[BASE + gain, 0.0] for gain in (9.0, 9.0, 9.0, 1.0, 0.5, -2.0, 9.0)]
    made = table(rows, {"answer_logprob": levels}, noise=0.01, families=("a", "b"))
    made = replace(made, baseline={"answer_logprob": np.full(len(made.prompts), BASE)})
    found = judge_criterion(criterion(others=OTHERS[:1]), measured({"sets": made}, 4))
    assert found.verdict is SUPPORTED
    assert found.estimate.value == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("held", "given", "whole"),
    [
        (
            ("other_0", "other_1"),
            {},
            "'sets' holds no adapter 'own' of a (it holds: other_0, other_1)",
        ),
        (("own",), {"family": "b"}, "'sets' holds no adapter 'own' of b (it holds: none)"),
        (("own",), {"others": OTHERS[:2]}, "'sets' holds none of other_0, other_1"),
    ],
)
def test_what_is_missing_is_named(held, given, whole):
    with pytest.raises(MissingEvidence) as raised:
        ask(dict.fromkeys(held, 1.0), **given)
    assert str(raised.value) == whole


def test_a_model_of_few_blocks_has_fewer_others():
    """Of five asked for two are there: `least` of four becomes both."""
    found = ask(gains(1.0, 0.5, 1.5), least=4)
    assert found.verdict is REFUTED


def test_an_answer_without_a_log_probability_makes_it_invalid():
    rows = [on("own"), on("other_0")]
    made = table(rows, {"answer_logprob": [[-2.0, 0.0], [-2.5, 0.0]]}, noise=0.01, families=("a", "b"))
    made = replace(made, baseline={"answer_logprob": np.full(len(made.prompts), BASE)})
    made = with_value(made, "answer_logprob", 1, 0, float("-inf"))
    found = judge_criterion(criterion(others=OTHERS[:1]), measured({"sets": made}, 4))
    assert (found.verdict, found.p_value, found.estimate) == (INVALID, None, None)
    assert (
        found.sentence == "Not a measurement: under the adapter 'other_0' some answer_logprob is not finite."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"others": ()}, "name other recipes"),
        ({"others": ("own", "x")}, "name other recipes"),
        ({"others": ("x", "x")}, "name other recipes"),
        ({"least": 0}, "at least 1 of 5"),
        ({"least": 6}, "at least 1 of 5"),
        ({"share": 0.0}, "a share above 0"),
        ({"share": 1.5}, "a share above 0"),
    ],
)
def test_a_criterion_that_asks_nothing_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        criterion(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the adapter own adds at least what each of 5 others adds to"),
        (
            {"least": 4, "margin": 0.1},
            "the adapter own adds at least what at least 4 of 5 others adds, plus 0.1 nats to",
        ),
        ({"others": ("x",), "margin": -0.1}, "the adapter own adds at least what x adds, less 0.1 nats to"),
        ({"share": 0.5, "theirs": True}, "each of 5 others adds at least 50% of what own adds to"),
    ],
)
def test_it_reads_as_a_sentence(given, said):
    assert str(criterion(**given)) == f"in sets, on prompts of a, {said} the answer's log-probability"
