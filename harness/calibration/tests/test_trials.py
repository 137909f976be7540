"""Trials: one end to end, reproducible; a liberal judge is caught; an interrupted run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.calibration import trials
from harness.calibration.chapters import CASES, HUB, MEASURED_EVERY, Case, _head_cards, hub_lead
from harness.calibration.identities import FALSE, IDENTITY_CASES, TRUE, run_identity
from harness.calibration.mechanisms import _truth, constant_size
from harness.calibration.models import Workshop
from harness.calibration.nulls import NULL_CASES, NULLS, run_null
from harness.calibration.pool import build_pool, suite_prompts
from harness.calibration.rates import FALSE_BINS, count, rate
from harness.calibration.run import plan, read_kept, run
from harness.calibration.trials import MOST_SIZE, run_trial, trial_id
from harness.planted.massive import OPENING, massive_plan
from harness.planted.writers import CONST
from harness.verdicts.verdict import Judgement, Verdict

TIE = next(case for case in CASES if case.name == "tie")


def _same(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds"}


def test_a_trial_is_made_anew_alike(shop: Workshop) -> None:
    one, two = (run_trial(shop, TIE, 0.0, 0) for _ in range(2))
    assert _same(one) == _same(two)
    assert {outcome["card"] for outcome in one["outcomes"]} >= {"hub-exists"}
    assert all(outcome["size"] < 1e-2 for outcome in one["outcomes"])
    assert all(outcome["drawn"][0] != "supported" for outcome in one["outcomes"])
    assert json.loads(json.dumps(one)) == one


def test_a_measured_trial_agrees_with_the_closed_form(shop: Workshop) -> None:
    record = run_trial(shop, TIE, 0.0, MEASURED_EVERY + 1)
    assert 0.0 < record["measured"]["gap_nats"] < 1e-4
    assert all(ours == theirs for ours, theirs in record["measured"]["verdicts"])


def test_a_liberal_judge_is_caught(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes any lead of the observed means for a hub: half the least lead fools it."""

    def liberal(claim: Any, protocol: Any, tables: Any, *, n_layers: int) -> Judgement:
        means = tables["layer_sweep"].metrics["kl_nats"].mean(axis=1)
        lead = np.sort(means)[-1] - np.sort(means)[-2]
        return Judgement(
            verdict=Verdict.SUPPORTED if lead > 0 else Verdict.INCONCLUSIVE, findings=(), p_value=0.0
        )

    case = Case(chapter=HUB, name="lead", make=hub_lead, again=0)
    honest = [run_trial(shop, case, 0.5, index) for index in (0, 2, 3)]
    monkeypatch.setattr(trials, "judge", liberal)
    fooled = [run_trial(shop, case, 0.5, index) for index in (0, 2, 3)]
    found = {
        name: count(records)[HUB]["hub-exists"]["redrawn"] for name, records in (("a", honest), ("b", fooled))
    }
    assert rate(found["a"], FALSE_BINS).hits == 0
    assert rate(found["b"], FALSE_BINS).interval[0] > 0.1


def test_every_case_makes_a_model_near_its_target(shop: Workshop) -> None:
    for case in CASES:
        if case.name in ("tie", "crowded heads"):  # no target; another head than the one tuned may lead
            continue
        assert case.make is not None
        asked = case.make(shop, np.random.default_rng(5), case.targets[-1])
        sizes = [shop.size(asked.model, card) for card in asked.cards]
        assert min(abs(s / case.targets[-1] - 1) for s in sizes) < 0.1, (case.name, sizes)


def test_the_drawn_prompts_are_as_many_as_the_suite_draws(shop: Workshop) -> None:
    rng = np.random.default_rng(0)
    for per_family in (3, 10):
        prompts = suite_prompts(shop.tokens, per_family, 7)
        columns = shop.pool.draw(per_family, rng)
        assert len(columns) == len(prompts.ids) == 12 * per_family
        drawn = {
            (shop.pool.prompts.records[c].family, shop.pool.prompts.records[c].template) for c in columns
        }
        assert len(drawn) == len({(r.family, r.template) for r in prompts.records}) == 12 * per_family


def test_three_draws_together_keep_a_template_in_one_cluster(shop: Workshop) -> None:
    asked = hub_lead(shop, np.random.default_rng(5), 2.0)
    population = asked.model.effects(asked.cards, shop.pool.prompts)
    pooled = trials._pool_draws(population, shop, 10, [1])["layer_sweep"]
    single = trials._take(population, shop.pool.draw(10, np.random.default_rng(1)))["layer_sweep"]
    templates = {(record.family, record.template) for record in pooled.prompts}
    assert len(pooled.prompts) == 3 * len(single.prompts) == 360
    assert len({(record.family, record.template) for record in single.prompts}) == 120
    assert 140 < len(templates) <= sum(len(found) for found in shop.pool.clusters.values())


def test_the_pool_holds_every_template(shop: Workshop) -> None:
    full = build_pool(shop.tokens, per_template=3)
    assert len(full.prompts.ids) == 3 * sum(len(templates) for templates in full.clusters.values())


def test_a_violated_identity_is_missed_only_where_no_prompt_shows_it(shop: Workshop) -> None:
    """And is counted as false only where it breaks more often than the verdict says it cannot exclude."""
    case = next(c for c in IDENTITY_CASES if c.name == "violated")
    (always,) = run_identity(shop, case, 1.0, 0)["outcomes"]
    assert (always["size"], always["redrawn-pooled"][0]) == (0.0, "refuted")
    rarely = [run_identity(shop, case, 0.01, index)["outcomes"][0] for index in range(80)]
    assert {outcome["size"] for outcome in rarely} == {None}
    for what, passed in (("prompts", 0.99**360), ("templates", 0.99**155)):  # 3%, 21%
        found = [o["redrawn-pooled"][0] for o in rarely if o["card"] == f"an identity, off on 1% of {what}"]
        assert 20 < len(found) < 60
        spread = 3 * (passed * (1 - passed) / len(found)) ** 0.5
        share = found.count("supported") / len(found)
        assert abs(share - passed) < spread
        assert (share > 0.1) == (what == "templates")
    (often,) = run_identity(shop, case, 0.04, 0)["outcomes"]
    assert often["size"] == 0.0


def _made_up(case: Case, target: float, index: int) -> dict[str, Any]:
    return {"id": trial_id(case, target, index), "value": round(target * index, 3)}


def _same_stamp(case: Case, measured: bool) -> str:
    return "a"


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    cases = [Case(chapter=HUB, name=name, targets=(0.5, 2.0), models=3) for name in ("a", "b")]
    kept, whole, calls = tmp_path / "kept.jsonl", tmp_path / "whole.jsonl", []

    def failing(case: Case, target: float, index: int) -> dict[str, Any]:
        calls.append(trial_id(case, target, index))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return _made_up(case, target, index)

    with pytest.raises(KeyboardInterrupt):
        run(failing, cases, kept, _same_stamp)
    assert len(read_kept(kept)) == 5
    kept.write_bytes(kept.read_bytes() + b'{"id": "cut sho')
    seen: list[str] = []
    resumed = run(_made_up, cases, kept, _same_stamp, on_trial=seen.append)
    assert resumed == run(_made_up, cases, whole, _same_stamp)
    assert len(resumed) == len(seen) == len(list(plan(cases))) == 12
    assert sorted(kept.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())
    calls.clear()
    assert run(failing, cases, kept, _same_stamp) == resumed
    assert calls == []


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    cases = [Case(chapter=f"{n}. x", name=f"c{n}", targets=(0.5,), models=2) for n in (1, 10)]
    kept, made, stamps = tmp_path / "kept.jsonl", [], {"c1": "a", "c10": "a"}

    def trial(case: Case, target: float, index: int) -> dict[str, Any]:
        made.append(case.name)
        return _made_up(case, target, index)

    def go(**given: Any) -> list[dict[str, Any]]:
        made.clear()
        return run(trial, cases, kept, lambda case, measured: stamps[case.name], **given)

    assert [r["id"] for r in go()] == ["1/c1/0.5/0", "10/c10/0.5/0", "1/c1/0.5/1", "10/c10/0.5/1"]
    stamps["c10"] = "b"
    records = go(wanted=lambda case: case.name == "c1")
    assert made == []
    assert [r["stamp"] for r in records] == ["a"] * 4, "what is not wanted stays as it is"
    assert [r["stamp"] for r in go()] == ["a", "b", "a", "b"]
    assert made == ["c10", "c10"]
    go()
    assert made == []


def test_a_suite_whose_templates_are_drawn_anew(shop: Workshop) -> None:
    """As many templates of a family as there are, some of them twice, and prompts of three draws in each."""
    columns, names = shop.pool.redraw_suite(10, 3, np.random.default_rng(0))
    assert len(columns) == len(names) == 360
    records = [shop.pool.prompts.records[column] for column in columns]
    slots: dict[tuple[str, str], set[str]] = {}
    for record, name in zip(records, names, strict=True):
        slots.setdefault((record.family, name), set()).add(record.template)
    assert all(len(templates) == 1 for templates in slots.values())
    whole = sum(len(found) for found in shop.pool.clusters.values())
    assert 140 < len(slots) <= whole
    distinct = len({(r.family, r.template) for r in records})
    assert 0.5 * whole < distinct < 0.8 * whole  # 1 - 1/e of them


def test_a_null_does_not_have_what_was_planted(shop: Workshop) -> None:
    record = run_null(shop, next(c for c in NULL_CASES if c.name == "null of a hub"), 0.0, 0)
    named = next(o for o in record["outcomes"] if o["card"] == "hub-1_5b-l14 where it was")
    assert named["size"] < 1.0
    assert named["drawn"][0] != "supported"
    assert record["chapter"] == NULLS
    assert isinstance(record["gates"], list)


def test_the_size_of_the_rise(shop: Workshop) -> None:
    given = {"layer": 1, "rise": 100.0}
    assert _truth(shop.claims["massive-write-50x"], TRUE, given, 4) == 2.0
    assert _truth(shop.claims["massive-writer-is-hub"], TRUE, given, 4) == TRUE
    assert _truth(shop.claims["massive-write-50x"], FALSE, given, 4) == FALSE


@pytest.mark.parametrize(("rise", "is_true"), [(2.0**14, True), (52.0, False)])
def test_the_constant_is_another_dimension(shop: Workshop, rise: float, is_true: bool) -> None:
    """Where the massive number is small, zeroing the constant loses the sinks too, and the card is false."""
    given = {"layer": 1, "n_layers": 5, "before": 0.25, "rise": rise}
    plan = massive_plan(vocab_size=shop.vocab_size, **given)
    size = constant_size(shop, given)
    assert (size > 1.0) == is_true
    ids = [(OPENING, *ids) for ids in shop.pool.prompts.ids[::40]]
    constant, number = (
        np.mean([plan.kl_nats(i, held={(0, dim): 0.0}) for i in ids]) for dim in (CONST, plan.dim)
    )
    assert size == (MOST_SIZE if is_true else pytest.approx(0.1 * number / constant, rel=0.3))


def test_head_cards_are_about_heads(shop: Workshop) -> None:
    assert {card.experiments for card in _head_cards(shop)} == {("head_sweep",)}
