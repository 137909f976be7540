"""What pooled trainings say together and each by itself: at the bound, at the level, and where one has no number."""

from __future__ import annotations

import numpy as np
import pytest

from harness.statistics.estimate import ALPHA
from harness.verdicts.synthetic import table
from harness.verdicts.trainings import decide_in_each, say_seeds, seed_means
from harness.verdicts.verdict import Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
P = 0.001
SPLIT = " The trainings do not agree; by seed {}."


def excess(*trainings):
    return np.array(trainings, dtype=float)


@pytest.mark.parametrize(
    ("strict", "found"),
    [({}, (SUPPORTED, P, "")), ({"strict": True}, (INCONCLUSIVE, 1.0, SPLIT.format("0, 1")))],
)
def test_a_training_on_the_bound_itself_holds_unless_the_bound_is_strict(strict, found):
    assert decide_in_each([P], [1.0], excess([0.0], [1.0]), **strict) == found
    assert decide_in_each([P], [1.0], excess([0.5], [1.0]), **strict) == (SUPPORTED, P, "")


@pytest.mark.parametrize("strict", [False, True])
def test_a_training_on_the_bound_itself_does_not_fail(strict):
    found = decide_in_each([1.0], [P], excess([0.0], [-1.0]), strict=strict)
    assert found == (INCONCLUSIVE, 1.0, SPLIT.format("0, -1"))
    assert decide_in_each([1.0], [P], excess([-0.5], [-1.0]), strict=strict) == (REFUTED, P, "")


def test_one_row_that_fails_in_every_training_refutes_and_all_must_hold():
    rows = excess([1.0, -1.0], [1.0, -2.0])
    assert decide_in_each([P, 1.0], [1.0, P], rows) == (REFUTED, P, "")
    assert decide_in_each([P, 2 * P], [1.0, 1.0], np.abs(rows)) == (SUPPORTED, 2 * P, "")
    assert decide_in_each([0.5, P], [1.0, 1.0], rows) == (INCONCLUSIVE, 1.0, "")


def test_one_training_decides_as_if_there_were_no_trainings():
    assert decide_in_each([P], [1.0], excess([-1.0])) == (SUPPORTED, P, "")
    assert decide_in_each([P, 0.5], [1.0, 0.02], excess([-1.0, 1.0])) == (REFUTED, 0.02, "")


def test_the_row_least_beyond_is_shown_where_all_would_hold_and_no_number_is_less_than_any():
    rows, shown = excess([1.0, -0.5, 1.0], [1.0, 1.0, np.nan]), excess([10.0, 20.0, 30.0], [11.0, 21.0, 31.0])
    assert decide_in_each([P] * 3, [1.0] * 3, rows, shown) == (INCONCLUSIVE, 1.0, SPLIT.format("30, 31"))
    assert decide_in_each([P] * 2, [1.0] * 2, rows[:, :2]) == (INCONCLUSIVE, 1.0, SPLIT.format("-0.5, 1"))


def test_the_row_that_fails_most_clearly_is_shown_where_one_would_refute():
    rows = excess([-0.5, 0.5], [-1.0, -0.1])
    assert decide_in_each([1.0, 1.0], [0.5, P], rows) == (INCONCLUSIVE, 1.0, SPLIT.format("0.5, -0.1"))


def test_trainings_are_named_at_the_level_itself():
    """The first row is where it would hold least, the second where it would fail most clearly."""
    rows = excess([-1.0, 0.5], [1.0, -0.5])
    assert decide_in_each([ALPHA, P], [1.0, 0.5], rows) == (INCONCLUSIVE, 1.0, SPLIT.format("-1, 1"))
    assert decide_in_each([1.0, 1.0], [1.0, ALPHA], rows) == (INCONCLUSIVE, 1.0, SPLIT.format("0.5, -0.5"))
    assert decide_in_each([0.021, P], [1.0, 0.021], rows) == (INCONCLUSIVE, 1.0, "")


def test_seeds_are_said_of_several_trainings_only():
    assert say_seeds([1.25]) == ""
    assert say_seeds([1.25, -0.5]) == "; by seed 1.25, -0.5"


def test_a_seed_without_prompts_has_no_mean_and_later_ones_have():
    of_seeds = [table([], {}, families=["a", "b"], templates=2, seed=seed).prompts for seed in (1, 3)]
    prompts = [*of_seeds[0], *of_seeds[1][:4]]
    values = np.array([[*range(8), 10.0, 20.0, 40.0, 50.0]])
    found = seed_means(values, prompts, (1, 2, 3))
    assert found[[0, 2]] == pytest.approx(np.array([[3.5], [30.0]]))
    assert np.isnan(found[1]).all()
    assert seed_means(values, prompts) == pytest.approx(found[[0, 2]])
