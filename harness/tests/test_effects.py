"""Effects: a table without holes, and seeds that are pooled only when they differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.edits import Exit, Probe, skip
from harness.effects import Effects, PromptRecord, bit_equal, pool
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
    with pytest.raises(ValueError, match=r"metric kl_nats has shape .*, expected probes x prompts \(3, 4\)"):
        replace(whole, metrics={**whole.metrics, "kl_nats": np.zeros(shape)})


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), ()])
def test_a_baseline_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"baseline entropy_nats has shape .*, expected prompts \(4,\)"):
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
    with pytest.raises(KeyError, match="skip L7"):
        whole.row(skip(7))


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
        with pytest.raises(ValueError, match="same probes and metrics"):
            pool(tables)
