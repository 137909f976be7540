"""Effects: a table without holes, and seeds that are pooled only when they differ."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.edits import Exit, Probe, Stream, skip, zero
from harness.effects import VALID_JSON, Effects, PromptRecord, bit_equal, pool
from harness.statistics.estimate import ANSWER_DROP
from harness.verdicts.synthetic import with_value


def prompt(number: int, seed: int = 42, family: str = "copying") -> PromptRecord:
    return PromptRecord(
        text=f"{family} {number} of {seed}",
        answer=" a",
        foil=" b",
        family=family,
        template=f"t{number}",
        n_tokens=6,
        seed=seed,
    )


def table(
    probes: tuple[Probe, ...] = (skip(0), skip(1), Exit(layer=0, normed=True)),
    n_prompts: int = 4,
    seed: int = 42,
) -> Effects:
    rng = np.random.default_rng(seed)
    return Effects(
        probes=probes,
        prompts=tuple(prompt(i, seed) for i in range(n_prompts)),
        metrics={m: rng.random((len(probes), n_prompts)) for m in ("kl_nats", "argmax_match")},
        baseline={"entropy_nats": rng.random(n_prompts)},
    )


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 3), (12,), (3, 4, 1)])
def test_a_metric_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    whole = table()
    said = f"metric kl_nats has shape {shape}, expected probes x prompts (3, 4)"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        replace(whole, metrics={**whole.metrics, "kl_nats": np.zeros(shape)})


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), ()])
def test_a_baseline_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    said = f"baseline entropy_nats has shape {shape}, expected prompts (4,)"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        replace(table(), baseline={"entropy_nats": np.zeros(shape)})


def test_select_keeps_the_rows_asked_for_in_every_metric() -> None:
    whole = table()
    chosen = whole.select(lambda p: not isinstance(p, Exit) and p.blocks == (1,))

    assert chosen.probes == (skip(1),)
    assert chosen.prompts == whole.prompts
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(chosen.metrics[name], values[[1]])
    np.testing.assert_array_equal(chosen.baseline["entropy_nats"], whole.baseline["entropy_nats"])


def test_select_of_nothing_is_an_empty_table() -> None:
    empty = table().select(lambda _: False)
    assert empty.probes == ()
    assert empty.metrics["kl_nats"].shape == (0, 4)


def test_select_cuts_what_a_screen_left_out_too() -> None:
    screened = replace(table(), unmeasured=(skip(5), skip(6)))
    chosen = screened.select(lambda probe: probe in (skip(1), skip(6)))
    assert (chosen.probes, chosen.unmeasured) == ((skip(1),), (skip(6),))


def test_row_finds_a_probe_and_names_one_that_was_not_measured() -> None:
    whole = table()
    assert [whole.row(p) for p in whole.probes] == [0, 1, 2]
    with pytest.raises(KeyError) as raised:
        whole.row(skip(7))
    assert raised.value.args == ("'skip L7' was not measured",)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_noticed(bad: float) -> None:
    whole = table()
    assert whole.finite()
    assert not with_value(whole, "argmax_match", 2, 3, bad).finite()
    baseline = whole.baseline["entropy_nats"].copy()
    baseline[0] = bad
    assert not replace(whole, baseline={"entropy_nats": baseline}).finite()


def test_families_are_named_once_in_order() -> None:
    prompts = tuple(prompt(i, family=f) for i, f in enumerate(("json", "copying", "json", "arithmetic")))
    assert replace(table(), prompts=prompts).families == ("arithmetic", "copying", "json")


def test_pooling_puts_the_prompts_side_by_side() -> None:
    one, two = table(seed=42, n_prompts=4), table(seed=137, n_prompts=2)
    both = pool([one, two])

    assert both.prompts == (*one.prompts, *two.prompts)
    assert [p.seed for p in both.prompts] == [42] * 4 + [137] * 2
    np.testing.assert_array_equal(both.metrics["kl_nats"][:, 4:], two.metrics["kl_nats"])
    np.testing.assert_array_equal(both.baseline["entropy_nats"][:4], one.baseline["entropy_nats"])


def test_one_table_pooled_is_itself() -> None:
    one = table()
    assert bit_equal(pool([one]), one)
    screened = replace(one, unmeasured=(skip(5),))
    again = pool([screened])
    assert bit_equal(again, screened)
    assert (again.probes, again.unmeasured) == (screened.probes, screened.unmeasured)


def test_a_pooled_table_has_the_highest_of_the_floors() -> None:
    one, two, three = (replace(table(seed=s), floor_nats=f) for s, f in ((1, 0.01), (2, 0.03), (3, 0.02)))
    assert pool([one, two, three]).floor_nats == 0.03


def test_a_seed_that_changes_nothing_is_refused() -> None:
    one, other = table(seed=42), table(seed=2026)
    copied = replace(one, prompts=tuple(replace(p, seed=137) for p in one.prompts))
    said = "^seeds 42 and 137 gave bit-equal evidence: a seed that changes nothing is not a replication$"
    with pytest.raises(ValueError, match=said):
        pool([one, other, copied])


def test_one_flipped_bit_tells_two_seeds_apart() -> None:
    one = table(seed=42)
    nudged = with_value(one, "kl_nats", 0, 0, float(np.nextafter(one.metrics["kl_nats"][0, 0], 2.0)))
    assert not bit_equal(one, nudged)
    assert len(pool([one, nudged]).prompts) == 8


def test_the_same_effects_on_another_baseline_are_not_bit_equal() -> None:
    one = table()
    assert not bit_equal(one, replace(one, baseline={"entropy_nats": one.baseline["entropy_nats"] + 1}))


@pytest.mark.parametrize("probes", [(skip(0), skip(1)), (skip(1), skip(0), Exit(layer=0, normed=True))])
def test_tables_of_other_probes_are_not_pooled(probes: tuple[Probe, ...]) -> None:
    with pytest.raises(ValueError, match="^only tables of the same probes and metrics can be pooled$"):
        pool([table(seed=42), table(seed=137, probes=probes)])


def test_tables_of_other_metrics_are_not_pooled() -> None:
    other = table(seed=137)
    fewer = replace(other, metrics={"kl_nats": other.metrics["kl_nats"]})
    for tables in ([table(), fewer], [fewer, table()]):
        with pytest.raises(ValueError, match="^only tables of the same probes and metrics can be pooled$"):
            pool(tables)


# What a screen left out


def test_a_probe_is_not_both_measured_and_left_out() -> None:
    said = "^'skip L0' is named as measured and as left out by a screen$"
    with pytest.raises(ValueError, match=said):
        replace(table(), unmeasured=(skip(7), skip(1), skip(0)))


def test_of_screened_tables_the_probes_that_all_measured_are_pooled() -> None:
    """Of four, the first table left out the last and the second the first; the order is the first table's."""
    one = replace(table((skip(2), skip(0), skip(1)), seed=1), unmeasured=(skip(3),))
    two = replace(table((skip(2), skip(3), skip(1)), seed=2, n_prompts=2), unmeasured=(skip(0),))
    for both in (pool([one, two]), pool([one, replace(two, floor_nats=0.5)])):
        assert (both.probes, both.unmeasured) == ((skip(2), skip(1)), (skip(0), skip(3)))
        for name in ("kl_nats", "argmax_match"):
            expected = np.hstack([one.metrics[name][[0, 2]], two.metrics[name][[0, 2]]])
            np.testing.assert_array_equal(both.metrics[name], expected)
    whole = table((skip(2), skip(0), skip(1), skip(3)), seed=3)
    assert pool([whole, one]).probes == pool([one, whole]).probes == (skip(2), skip(0), skip(1))
    assert pool([whole, one]).unmeasured == pool([one, whole]).unmeasured == (skip(3),)


def test_screened_tables_of_other_probes_are_not_pooled() -> None:
    one = replace(table((skip(0), skip(1)), seed=1), unmeasured=(skip(2),))
    for left_out in ((), (skip(3),), (skip(2), skip(3))):
        other = replace(table((skip(0), skip(1)), seed=2), unmeasured=left_out)
        for tables in ([one, other], [other, one], [one, one, other]):
            with pytest.raises(
                ValueError, match="^only tables of the same probes and metrics can be pooled$"
            ):
                pool(tables)


def test_three_tables_are_each_compared_with_every_other() -> None:
    tables = [table(seed=seed, n_prompts=n) for seed, n in ((1, 2), (2, 3), (3, 4))]
    both = pool(tables)
    assert [p.seed for p in both.prompts] == [1] * 2 + [2] * 3 + [3] * 4
    for name in ("kl_nats", "argmax_match"):
        np.testing.assert_array_equal(both.metrics[name], np.hstack([t.metrics[name] for t in tables]))
    np.testing.assert_array_equal(
        both.baseline["entropy_nats"], np.concatenate([t.baseline["entropy_nats"] for t in tables])
    )
    again = replace(tables[1], prompts=tuple(replace(p, seed=9) for p in tables[1].prompts))
    said = "^seeds 2 and 9 gave bit-equal evidence: a seed that changes nothing is not a replication$"
    with pytest.raises(ValueError, match=said):
        pool([*tables, again])


def test_numbers_that_are_missing_alike_are_equal() -> None:
    one = with_value(table(), "kl_nats", 0, 0, np.nan)
    baseline = {"entropy_nats": np.array([0.5, np.nan, 0.5, 0.5])}
    assert bit_equal(one, with_value(table(), "kl_nats", 0, 0, np.nan))
    assert bit_equal(replace(one, baseline=baseline), replace(one, baseline=dict(baseline)))
    assert not bit_equal(one, table())
    assert not bit_equal(one, with_value(one, "argmax_match", 2, 3, 0.5))
    assert not bit_equal(one, replace(one, baseline=baseline))


# Numbers that are not everywhere


PARTLY = np.array([[np.nan] * 4, [0.25, np.nan, 0.75, np.nan], [1.0, 2.0, 3.0, 6.0]])


def partly(metric: str = "train_loss", values: np.ndarray = PARTLY) -> Effects:
    whole = table()
    return replace(whole, metrics={**whole.metrics, metric: values})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", ["train_loss", VALID_JSON])
def test_a_metric_that_not_every_row_has_is_averaged_where_it_is(metric: str) -> None:
    found = partly(metric)
    assert found.having(metric).tolist() == [[False] * 4, [True, False] * 2, [True] * 4]
    assert found.having("kl_nats").all()
    np.testing.assert_array_equal(found.means(metric), [np.nan, 0.5, 3.0])
    np.testing.assert_allclose(found.means("kl_nats"), found.metrics["kl_nats"].mean(axis=1))
    assert found.finite()
    assert not with_value(found, metric, 2, 0, np.inf).finite()
    assert not with_value(found, "kl_nats", 0, 0, np.nan).finite()


def test_only_a_metric_that_may_be_missing_is() -> None:
    """The base's valid_json is missing on prompts of other families; its answers are not."""
    whole = table()
    assert replace(whole, baseline={VALID_JSON: np.array([np.nan, 1.0, 0.0, np.nan])}).finite()
    assert not replace(whole, baseline={VALID_JSON: np.array([np.inf, 1.0, 0.0, np.nan])}).finite()
    assert not replace(whole, baseline={"answer_logprob": np.array([np.nan, 1.0, 0.0, 1.0])}).finite()
    kl = np.full((3, 4), np.nan)
    assert np.isnan(partly("top5_overlap", kl).means("top5_overlap")).all()
    assert partly("top5_overlap", kl).having("top5_overlap").all()


@pytest.mark.filterwarnings("error")
def test_a_spot_that_a_prompt_lacks_is_not_measured_there() -> None:
    """Rows: everywhere, at `first`, at `second` and an exit; of four prompts two have `first` and one has `second`."""
    at = [replace(zero(Stream.MLP_OUT, 0), spot=spot) for spot in ("first", "second")]
    whole = table((skip(0), *at, Exit(layer=0, normed=True)))
    spots = [("first",), (), ("first", "second"), ()]
    prompts = tuple(replace(p, spots=s) for p, s in zip(whole.prompts, spots, strict=True))
    has = np.array([[True] * 4, [True, False, True, False], [False, False, True, False], [True] * 4])
    values = np.where(has, np.arange(16.0).reshape(4, 4), np.nan)
    found = replace(whole, prompts=prompts, metrics={"kl_nats": values, "train_loss": values})
    np.testing.assert_array_equal(found.measured, has)
    np.testing.assert_array_equal(found.having("kl_nats"), has)
    assert found.means("kl_nats").tolist() == [1.5, 5.0, 10.0, 13.5]
    assert found.finite()
    assert not with_value(found, "kl_nats", 1, 2, np.nan).finite()
    loss = with_value(found, "train_loss", 1, 1, 7.0)
    assert loss.having("train_loss")[1].tolist() == [True, False, True, False]
    nowhere = replace(found, prompts=tuple(replace(p, spots=()) for p in prompts))
    np.testing.assert_array_equal(nowhere.means("kl_nats"), [1.5, np.nan, np.nan, 13.5])


def test_the_answer_s_drop_is_derived() -> None:
    """Of the unedited run less the edited one."""
    whole = table()
    answers = -np.arange(1.0, 13.0).reshape(3, 4)
    given = replace(
        whole,
        metrics={"answer_logprob": answers},
        baseline={"answer_logprob": np.array([-0.5, -1.0, -1.5, -2.0])},
    )
    np.testing.assert_array_equal(
        given.values(ANSWER_DROP), [[0.5, 1.0, 1.5, 2.0], [4.5, 5.0, 5.5, 6.0], [8.5, 9.0, 9.5, 10.0]]
    )
    np.testing.assert_array_equal(given.values("answer_logprob"), answers)
    assert given.means(ANSWER_DROP).tolist() == [1.25, 5.25, 9.25]
    with pytest.raises(KeyError, match="^'kl_nats'$"):
        given.values("kl_nats")
