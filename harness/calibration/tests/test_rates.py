"""Rates and the report: intervals against closed forms, counts against loops, bytes against themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from harness.calibration import power, report
from harness.calibration.__main__ import main, results_of, write
from harness.calibration.cases import every_case
from harness.calibration.nulls import NULLS
from harness.calibration.rates import (
    BINS,
    EDGES,
    Rate,
    bin_of,
    by_model,
    clustered,
    count,
    engine,
    least_size,
    models,
    rate,
)
from harness.calibration.report import ABSENT, render_markdown


def _records(n: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    records = []
    for index in range(n):
        size = float(rng.uniform(0.2, 3.0))
        verdict = "supported" if size > 1.3 else "inconclusive"
        records.append(
            {
                "id": f"1/a/{index}",
                "chapter": "1. Hub location",
                "case": "a",
                "seconds": 1.0,
                "outcomes": [
                    {
                        "card": "hub-exists",
                        "size": size,
                        "drawn": [verdict, 0.03],
                        "redrawn": [verdict, 0.001],
                        "again": {verdict: 2},
                    }
                ],
            }
        )
    records[0]["measured"] = {
        "gap_nats": 1e-6,
        "verdicts": [["invalid", "supported"], ["supported", "refuted"]],
        "gates": ["positive_control"],
    }
    return records


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (20, 20), (1, 400)])
def test_the_interval_is_clopper_and_pearsons(hits: int, n: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = Rate(hits=hits, n=n).interval
    assert (low, high) == pytest.approx(proportion_confint(hits, n, alpha=0.05, method="beta"))
    assert low == pytest.approx(beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0)
    assert high == pytest.approx(beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0)


def test_bins() -> None:
    assert [bin_of(edge) for edge in EDGES[:-1]] == list(BINS)
    assert (bin_of(0.9999), bin_of(1.0), bin_of(100.0)) == ("0.9 to 1", "1 to 1.15", "above 6")


def test_counts_are_those_of_a_loop() -> None:
    records = _records()
    counts = count(records)["1. Hub location"]["hub-exists"]
    for b in BINS:
        here = [r["outcomes"][0] for r in records if bin_of(r["outcomes"][0]["size"]) == b]
        assert models(counts["drawn"], [b]) == len(here)
        assert rate(counts["drawn"], [b]).hits == sum(o["drawn"][0] == "supported" for o in here)
        assert len(counts["again"].get(b, [])) == len(here)
    false = [r for r in records if r["outcomes"][0]["size"] < 1]
    assert by_model(records) == {
        "1. Hub location": {"a": {way: [0, len(false)] for way in ("drawn", "redrawn")}}
    }
    assert least_size(counts["drawn"]) == "1.4 to 1.75"
    assert engine(records) == {
        "models": 1,
        "largest_gap_nats": 1e-6,
        "verdicts": 2,
        "invalid": 1,
        "unlike": 1,
        "gates": {"1. Hub location": {"positive_control": 1}},
    }


def test_samples_that_share_a_model_are_not_independent() -> None:
    """Ten models, all samples of five of them supported: the interval is that of ten, not of two hundred."""
    apart = clustered([[20, 20]] * 5 + [[0, 20]] * 5)
    mixed = clustered([[10, 20]] * 10)
    assert apart is not None
    assert mixed is not None
    assert apart[0] == mixed[0] == 0.5
    standard_error = np.sqrt(10 / 9 * 10 * 10**2) / 200
    assert apart[2] - 0.5 == pytest.approx(2.262 * standard_error, rel=1e-3)
    assert mixed[2] - mixed[1] == pytest.approx(0.0)
    assert clustered([[0, 20]] * 10) == (0.0, *Rate(hits=0, n=10).interval)
    assert clustered([[1, 2]]) is None


def test_the_report_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    results = results_of(_records(), pool=800, planned=60, before={})
    write(results, tmp_path, {})
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"results.json", "RESULTS.md", "power.svg"}
    assert main(["--render", "--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert json.loads(first["results.json"]) == results
    text = render_markdown(results, {})
    assert "not complete" not in text
    assert "60 of 61 that are planned" in render_markdown(
        {**results, "made": {**results["made"], "planned": 61}}, {}
    )
    counts = results["counts"]["1. Hub location"]["hub-exists"]["drawn"]
    false = rate(counts, BINS[:3])
    assert f"| {false.n} | 0 | {false} |" in text


def _chapter(name: str, hits: int, n: int) -> list[dict[str, Any]]:
    """So many false models, some of them supported, and true ones at three times the threshold."""
    return [
        {
            "id": f"{name}/{i}",
            "chapter": name,
            "case": "a",
            "seconds": 1.0,
            "outcomes": [
                {
                    "card": "c",
                    "size": 0.95 if i < n else 3.0,
                    "redrawn-pooled": ["supported" if i < hits or i >= n else "inconclusive", 0.5],
                    "redrawn": ["inconclusive", 0.5],
                }
            ],
        }
        for i in range(n + 10)
    ]


def test_models_that_lack_what_is_presupposed_show_nothing() -> None:
    """They would make 1 of 100 in tables look like 1 of 500."""
    assert set(ABSENT) <= {case.name for case in every_case()}
    tables = _chapter("6. hub", 1, 100)
    empty = [
        {**record, "case": ABSENT[0], "id": f"empty {i}"}
        for i, record in enumerate(_chapter("6. hub", 0, 400))
    ]
    records = [*tables, *empty]
    text = render_markdown(results_of(records, pool=800, planned=len(records), before={}), {})
    (row,) = (line for line in text.splitlines() if line.startswith("| 6. hub | redrawn-pooled |"))
    assert "| 1 of 100 | 5.45% | not shown |" in row


def test_the_report_says_what_is_shown_and_what_is_not() -> None:
    records = [*_chapter("2. few", 0, 100), *_chapter("7. many", 0, 368), *_chapter("10. wrong", 20, 400)]
    text = render_markdown(results_of(records, pool=800, planned=len(records), before={}), {})
    shown = [
        line.split(" | ")
        for line in text.splitlines()
        if "| redrawn-pooled | " in line and " of " in line and "models" not in line
    ]
    assert [(row[0].lstrip("| "), row[2], row[4]) for row in shown] == [
        ("2. few", "0 of 100", "not shown"),
        ("7. many", "0 of 368", "shown"),
        ("10. wrong", "20 of 400", "**missed**"),
    ]
    assert [row[6] for row in shown] == ["1 of 1"] * 3
    assert "not corrected for their number): c (10): 20 of 400, 5.0% [3.1%, 7.6%].\n" in text


@pytest.mark.parametrize(
    ("hits", "n", "said", "least"),
    [(57, 60, "1 of 1", "-"), (56, 60, "0 of 1, 1 open", "nowhere, open"), (30, 60, "0 of 1", "nowhere")],
)
def test_a_power_below_the_promise_by_chance_is_open(hits: int, n: int, said: str, least: str) -> None:
    """57 of 60 are 95%; 56 are 93% [84%, 98%]; 30 are 50%."""
    records = [*_chapter("8. x", 0, 10)[:10], *_chapter("8. x", 0, n)]
    for i, record in enumerate(records[10:-10]):
        verdict = "supported" if i < hits else "inconclusive"
        record["outcomes"][0] |= {"size": 3.0, "redrawn-pooled": [verdict, 0.5]}
    text = render_markdown(results_of(records[:-10], pool=800, planned=n + 10, before={}), {})
    (row,) = (line.split(" | ") for line in text.splitlines() if "| redrawn-pooled | 0 of 10 |" in line)
    assert (row[6], row[7].removesuffix(" |").removeprefix("c: ")) == (said, least)
    assert "not corrected for their number): none.\n" in text


def test_cards_without_a_distance_have_no_bins() -> None:
    records = _chapter("6. plain", 0, 5)
    for record in records:
        record["outcomes"][0]["size"] = 100.0 if record["outcomes"][0]["size"] > 1 else 0.0
    results = results_of(records, pool=800, planned=len(records), before={})
    assert results["without_axis"] == {"6. plain": ["c"]}
    text = render_markdown(results, {})
    assert "## Claims that are true, by no distance" in text
    power = text.split("## Claims that are true: how often")[1].split("##")[0]
    assert "| 6 |" not in power


def _power(
    monkeypatch: pytest.MonkeyPatch, counts: dict[str, Any], plain: list[str] | None = None
) -> str | None:
    found = {"counts": {"1. Hub": {"a": counts}}, "without_axis": {"1. Hub": plain or []}}
    monkeypatch.setattr(power, "_results", lambda: found)
    power._counts.cache_clear()
    power._plain.cache_clear()
    return power.power_of("a")


def test_a_card_says_from_where_on_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {
        "0.9 to 1": {"inconclusive": 40, "supported": 1},
        "1 to 1.15": {"inconclusive": 20},
        "2.5 to 4": {"supported": 20},
        "above 6": {"supported": 19, "inconclusive": 1},
    }
    said = _power(monkeypatch, {"redrawn": {"1 to 1.15": {"supported": 9}}, "redrawn-pooled": seen})
    assert said == (
        "supported in at least 95% of random trials of three draws in which the truth is 2.5 to 4 times the threshold "
        "or more; in 1 of 41 in which it is false."
    )


def test_a_card_that_sees_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _power(
        monkeypatch, {"redrawn": {"1 to 1.15": {"supported": 20}, "above 6": {"supported": 9, "refuted": 11}}}
    )
    assert said is not None
    assert "more than 6 times the threshold 45% are: `inconclusive` says little" in said
    assert "one draw" in said
    assert "false" not in said


def test_a_card_without_an_axis_has_one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _power(monkeypatch, {"drawn": {"above 6": {"supported": 20}}}, plain=["a"])
    assert said == "supported in 100.0% [83.2%, 100.0%] of random trials of one draw in which it is true."
    assert _power(monkeypatch, {"drawn": {"0 to 0.5": {"refuted": 3}}}) is None
    assert power.power_of("another card") is None


def test_a_card_that_matched_nulls_judge_too_keeps_the_rates_of_its_chapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, nulls = ({"drawn": {"above 6": {"supported": n}}} for n in (20, 3))
    found = {"counts": {"1. Hub": {"a": own}, NULLS: {"a": nulls}}, "without_axis": {}}
    monkeypatch.setattr(power, "_results", lambda: found)
    for kept in (power._counts, power._plain):
        kept.cache_clear()
    assert power._counts() == {"a": own}
    power._counts.cache_clear()
    found["counts"]["2. Skip"] = {"a": nulls}
    with pytest.raises(ValueError, match="counts a in two chapters"):
        power.power_of("a")
    power._counts.cache_clear()


@pytest.mark.parametrize(
    ("least", "said"),
    [
        ("2.5 to 4", " (1 to 4 x the templates)"),
        ("4 to 6", " (4 to 11 x the templates)"),
        ("above 6", " (more than 11 x the templates)"),
        ("-", ""),
    ],
)
def test_how_many_templates_the_promise_would_take(least, said):
    """The distance from the threshold falls with the root of their number: 5 / 1.5 squared is 11."""
    assert report._templates(least, 2.5) == said
