"""What is newer than its trials is named, and trials made anew are compared number by number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.calibration import __main__ as command
from harness.calibration.__main__ import HOME, main, results_of
from harness.calibration.cases import every_case, run_case
from harness.calibration.models import Workshop
from harness.calibration.origins import UNKNOWN, commit_here, newer, origins, said_of_newer, stamps_today
from harness.calibration.recheck import OtherTrials, differences, noted, recheck, sample
from harness.calibration.report import render_markdown

CASE = next(case for case in every_case() if case.name == "position-operators-add-little")
CARDS = Path(__file__).parents[3] / "claims"
OLD, TODAY = "0123456789", {CASE.name: frozenset({"today"})}


@pytest.fixture(scope="module")
def kept(shop: Workshop) -> list[dict[str, Any]]:
    """Six real trials, as they are kept."""
    trials = [run_case(shop, CASE, target, index) for target in CASE.targets[:3] for index in range(2)]
    return [json.loads(json.dumps({**trial, "stamp": "old", "commit": OLD})) for trial in trials]


def _results(records: list[dict[str, Any]], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return results_of(records, pool=800, planned=len(records), before=before or {})


def test_a_case_whose_cards_or_code_are_newer_is_named(kept: list[dict[str, Any]]) -> None:
    results = _results(kept)
    assert results["cases"] == {
        CASE.name: {"chapter": CASE.chapter, "made": [{"commit": OLD, "stamp": "old", "trials": 6}]}
    }
    assert "are newer" not in render_markdown(results, {CASE.name: frozenset({"old"})})
    text = render_markdown(results, TODAY)
    assert (
        f"**Cards or code are newer** than 6 trials of all cases (made with commit {OLD}). No trial was"
        in text
    )
    other = [{**kept[0], "case": "b", "chapter": "2. x", "stamp": "b", "commit": "9876543210"}]
    two, today = _results([*kept, *other]), {**TODAY, "b": frozenset({"b"})}
    assert f"commits {OLD} (6 trials) and 9876543210 (1 trial), " in render_markdown(two, today)
    assert "6 trials of 1 of 2 cases (made with commit 0123456789; cases by chapter: 8: 1)" in said_of_newer(
        two["cases"], today
    )
    assert [one.name for one in newer(two["cases"], {CASE.name: frozenset({"old"})})] == ["b"], (
        "it is no more"
    )


def test_a_trial_that_names_no_commit_has_that_of_its_case_and_stamp(kept: list[dict[str, Any]]) -> None:
    before = origins(kept, {})
    nameless = [{key: value for key, value in trial.items() if key != "commit"} for trial in kept]
    assert origins(nameless, before) == before
    (made,) = origins([{**trial, "stamp": "other"} for trial in nameless], before)[CASE.name]["made"]
    assert (made["commit"], made["trials"]) == (UNKNOWN, 6)


def _sampled(kept: list[dict[str, Any]], each: int) -> list[Any]:
    return sample(every_case(), {trial["id"]: trial for trial in kept}, _results(kept), TODAY, each)


def test_chapters_alone_never_drop_what_is_counted_of_others(
    kept: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone, which has the counts and no trials."""
    monkeypatch.setattr(command, "_workshop", lambda options: None)
    (tmp_path / "results.json").write_text(json.dumps(_results(kept)))
    before = (tmp_path / "results.json").read_bytes()
    where = ["--out", str(tmp_path), "--kept", str(tmp_path / "none")]
    with pytest.raises(SystemExit, match=f"counts trials of cases .* '{CASE.name}' among them"):
        main(["--claims", str(CARDS), "--chapters", "99", *where])
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_sample_is_spread_over_targets_and_always_the_same(kept: list[dict[str, Any]]) -> None:
    light = [{**trial, "seconds": 0.5} for trial in kept]
    chosen = _sampled(light, 3)
    assert {one.target for one in chosen} == set(CASE.targets[:3])
    assert [one.kept["id"] for one in chosen] == [one.kept["id"] for one in _sampled(light, 4)[:3]]
    assert len(_sampled(light, 100)) == 6
    assert [len(_sampled([{**trial, "seconds": s} for trial in kept], 6)) for s in (2.0, 50.0)] == [3, 1]
    assert sample(every_case(), {}, _results([]), TODAY, 3) == []


def test_trials_that_are_not_those_of_the_results_are_refused(kept: list[dict[str, Any]]) -> None:
    with pytest.raises(OtherTrials, match="counts other trials of 'position-operators-add-little'"):
        sample(every_case(), {t["id"]: t for t in kept[:5]}, _results(kept), TODAY, 3)


def test_trials_made_anew_are_the_same(shop: Workshop, kept: list[dict[str, Any]]) -> None:
    results = _results(kept)
    seen: list[str] = []
    found = recheck(_sampled(kept, 2), lambda *trial: run_case(shop, *trial), on_trial=seen.append)
    assert (found[CASE.name].trials, found[CASE.name].unlike, len(seen)) == (2, {}, 2)
    results["cases"] = noted(results["cases"], found, TODAY, "fedcba9876")
    said = "Of 1 case, 2 trials made anew by commit fedcba9876 are the same in every number."
    assert said_of_newer(results["cases"], TODAY).endswith(f"(made with commit {OLD}). {said}")
    assert said not in said_of_newer(results["cases"], {CASE.name: frozenset({"later"})}), (
        "newer than that, too"
    )
    assert origins(kept, results["cases"]) == results["cases"], "kept with its trials"
    assert "rechecked" not in origins(kept[:5], results["cases"])[CASE.name]


def test_a_number_that_differs_is_told_by_the_command(
    shop: Workshop,
    kept: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole command on real trials, one of which is kept with another p-value."""
    wrong = json.loads(json.dumps(kept))
    p = wrong[1]["outcomes"][0]["redrawn"][1]
    wrong[1]["outcomes"][0]["redrawn"][1] = 0.123
    for name, records in (("same", kept), ("wrong", wrong)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trials.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
        (tmp_path / name / "results.json").write_text(json.dumps(_results(records)))
    monkeypatch.setattr(command, "_workshop", lambda options: shop)
    where = {
        name: ["--kept", str(tmp_path / name), "--out", str(tmp_path / name)] for name in ("same", "wrong")
    }

    assert main(["--claims", str(CARDS), "--recheck", "6", *where["same"]]) == 0
    text = (tmp_path / "same" / "RESULTS.md").read_text()
    assert f"Of 1 case, 6 trials made anew by commit {commit_here()} are the same in every number." in text

    before = (tmp_path / "wrong" / "trials.jsonl").read_bytes()
    assert main(["--claims", str(CARDS), "--recheck", "6", *where["wrong"]]) == 1
    said = capsys.readouterr().err
    assert f"{wrong[1]['id']} differs:\n    outcomes.0.redrawn.1: 0.123 is kept, {p} was made\n" in said
    assert "not to be believed of today's code. `make calibrate` makes them again" in said
    text = (tmp_path / "wrong" / "RESULTS.md").read_text()
    assert f"**Not to be believed** are the trials of {CASE.name} (8): {wrong[1]['id']}, made anew" in text
    assert "are the same in every number" not in text
    assert (tmp_path / "wrong" / "trials.jsonl").read_bytes() == before


def test_an_interrupted_recheck_leaves_all_as_it_was(
    shop: Workshop, kept: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trials.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in kept))
    (tmp_path / "results.json").write_text(json.dumps(_results(kept)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupted(options: Any) -> Workshop:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_workshop", interrupted)
    arguments = ["--claims", str(CARDS), "--recheck", "2", "--kept", str(tmp_path), "--out", str(tmp_path)]
    assert main(arguments) == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_value_counts_but_what_tells_how_it_was_made() -> None:
    one = {
        "id": "a",
        "seconds": 1.0,
        "stamp": "x",
        "outcomes": [{"drawn": ["supported", float("nan")], "again": {}}],
    }
    two = {
        "id": "a",
        "seconds": 2.0,
        "commit": "y",
        "outcomes": [{"drawn": ["supported", float("nan")], "again": {}}],
    }
    assert differences(one, two) == []
    two["outcomes"][0]["again"] = {"refuted": 1}  # type: ignore[index]
    assert differences(one, two) == [
        "outcomes.0.again: {} is kept, nothing was made",
        "outcomes.0.again.refuted: nothing is kept, 1 was made",
    ]


def test_the_committed_report_is_what_results_json_gives_today() -> None:
    """It says where cards or code are newer than the trials, so it is rendered again with them: seconds, no trials."""
    results = json.loads((HOME / "results.json").read_text(encoding="utf-8"))
    assert render_markdown(results, stamps_today(CARDS)) == (HOME / "RESULTS.md").read_text(
        encoding="utf-8"
    ), (
        "cards or code that decide trials have changed, or results.json: run `python -m harness.calibration --render` "
        "and commit RESULTS.md"
    )
