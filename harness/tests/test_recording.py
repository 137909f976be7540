"""Recording: what replaces recorded evidence, what leaves it alone, and when it is stale."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.degeneration import GENERATED
from harness.edits import erase
from harness.effects import ADAPTED, CONTRAST, VALID_JSON, Effects
from harness.engine.sweep import CONSTANCY, metric_names
from harness.evidence import Evidence, to_text
from harness.experiments import EXPERIMENTS
from harness.floor import above_floor
from harness.protocols import Protocol
from harness.recording import TOLERANCE, largest_gap, record, staleness
from harness.store import Recorded
from harness.verdicts.synthetic import with_value

Make = Callable[..., Evidence]
CELL = ("made_up", "layer_sweep", Protocol.SOUND, 42)


def with_row(evidence: Evidence, row: int, value: float, metric: str = "kl_nats") -> Evidence:
    """The same evidence with one probe's metric set to one value on every prompt."""
    values = evidence.effects.metrics[metric].copy()
    values[row] = value
    effects = replace(evidence.effects, metrics={**evidence.effects.metrics, metric: values})
    return replace(evidence, effects=effects)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(root=tmp_path)


def test_a_missing_cell_is_recorded(make_evidence: Make, recorded: Recorded) -> None:
    evidence = make_evidence()
    outcome = record(evidence, recorded)
    assert (outcome.cell, outcome.state, outcome.detail) == (
        "made_up layer_sweep sound seed42",
        "recorded",
        "",
    )
    assert recorded.path(*CELL).read_text(encoding="utf-8") == to_text(evidence)


def test_evidence_in_a_short_type_is_recorded_with_its_floor_and_reproduced(
    make_evidence: Make, recorded: Recorded
) -> None:
    plain = make_evidence()
    metrics = above_floor("bfloat16", plain.effects.metrics, 0.02)
    short = replace(plain, effects=replace(plain.effects, metrics=metrics, floor_nats=0.02))
    assert record(short, recorded).state == "recorded"
    assert recorded.get(*CELL) is not None
    assert recorded.get(*CELL).effects.floor_nats == 0.02  # type: ignore[union-attr]
    assert record(short, recorded).state == "reproduced"


def test_screened_evidence_is_not_recorded_by_any_way(make_evidence: Make, recorded: Recorded) -> None:
    screened = make_evidence(screen=0.25)
    for put in (recorded.put, lambda evidence: record(evidence, recorded)):
        with pytest.raises(ValueError, match="never recorded"):
            put(screened)


def test_a_reproduced_cell_is_left_as_it_is_to_the_byte(make_evidence: Make, recorded: Recorded) -> None:
    old = with_row(make_evidence(), 1, 1.4)
    record(old, recorded)
    before = recorded.path(*CELL).read_bytes(), recorded.path(*CELL).stat().st_mtime_ns

    elsewhere = replace(with_row(old, 1, 1.4005), provenance={"device": "another", "date": "2027-01-01"})
    assert to_text(elsewhere) != to_text(old)
    outcome = record(elsewhere, recorded)
    assert (outcome.state, outcome.detail) == ("reproduced", "")
    assert (recorded.path(*CELL).read_bytes(), recorded.path(*CELL).stat().st_mtime_ns) == before


def test_a_cell_that_differs_is_kept_and_the_difference_is_said(
    make_evidence: Make, recorded: Recorded
) -> None:
    old = with_row(make_evidence(), 3, 0.18)
    record(old, recorded)
    before = recorded.path(*CELL).read_bytes()

    outcome = record(with_row(old, 3, 0.42), recorded)
    assert outcome.state == "different"
    assert outcome.detail == "kl_nats of skip L3: 0.18 -> 0.42"
    assert recorded.path(*CELL).read_bytes() == before


def test_the_largest_difference_is_the_one_that_is_said(make_evidence: Make, recorded: Recorded) -> None:
    old = with_row(with_row(make_evidence(), 1, 1.0), 2, 0.5)
    record(old, recorded)
    outcome = record(with_row(with_row(old, 1, 1.1), 2, 0.3), recorded)
    assert outcome.detail == "kl_nats of skip L2: 0.5 -> 0.3"


def test_rebaseline_replaces_a_cell_in_any_case(make_evidence: Make, recorded: Recorded) -> None:
    old = make_evidence()
    record(old, recorded)
    for new in (with_row(old, 3, 0.42), replace(old, provenance={"date": "2027-01-01"})):
        assert record(new, recorded, rebaseline=True).state == "recorded"
        assert recorded.path(*CELL).read_text(encoding="utf-8") == to_text(new)


def test_a_damaged_record_is_replaced(make_evidence: Make, recorded: Recorded) -> None:
    evidence = make_evidence()
    record(evidence, recorded)
    path = recorded.path(*CELL)
    path.write_bytes(path.read_bytes()[:-40])
    assert record(evidence, recorded).state == "recorded"
    assert path.read_text(encoding="utf-8") == to_text(evidence)


# The tolerance, just inside and just outside

METRICS = sorted(set(TOLERANCE) - {"speedup"})


def moved(make: Make, metric: str, level: float, by: float) -> tuple[Effects, Effects]:
    base = make().effects
    one = replace(base, metrics={metric: np.full((4, len(base.prompts)), level)})
    two = one
    for column in range(len(base.prompts)):
        two = with_value(two, metric, 2, column, level + by)
    return one, two


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0.0, 0.5, 10.0])
@pytest.mark.parametrize("metric", METRICS)
def test_just_inside_and_just_outside_the_tolerance(
    make_evidence: Make, metric: str, level: float, sign: int
) -> None:
    absolute, relative = TOLERANCE[metric]
    allowed = absolute + relative * level
    assert largest_gap(*moved(make_evidence, metric, level, sign * allowed * 0.999)) is None
    gap = largest_gap(*moved(make_evidence, metric, level, sign * allowed * 1.001))
    assert gap is not None
    assert gap.startswith(f"{metric} of skip L2: {level:.4g} -> ")


def test_the_tolerances_are_those_written_down() -> None:
    """1e-3 + 1e-3 x value for nats; one or two flipped tokens of a hundred for shares."""
    nats = {"kl_nats", "kl_measured_nats", "answer_logprob", *CONTRAST, *CONSTANCY}
    assert all(TOLERANCE[name] == (1e-3, 1e-3) for name in nats)
    assert TOLERANCE["top5_overlap"] == (0.01, 0.0)
    assert TOLERANCE["argmax_match"] == (0.02, 0.0)
    assert TOLERANCE["answer_match"] == (0.02, 0.0)
    assert TOLERANCE["valid_json"] == (0.17, 0.0), "two of the twelve prompts that have it"
    assert all(TOLERANCE[name] == (1e-3, 1e-2) for name in ("update_norm", "factor_norm", "train_loss"))
    others = {
        "top5_overlap",
        "argmax_match",
        "rise_log10",
        "speedup",
        *GENERATED,
        *ADAPTED,
        VALID_JSON,
    } - nats
    assert set(TOLERANCE) == nats | others


def test_every_metric_that_a_sweep_can_give_has_a_tolerance() -> None:
    assert set(metric_names(constancy=True, contrasted=True)) <= set(TOLERANCE)


def test_one_prompt_that_moves_is_judged_by_the_mean(make_evidence: Make) -> None:
    old = make_evidence().effects
    n = len(old.prompts)
    start = old.metrics["kl_nats"][0, 0]
    level = old.metrics["kl_nats"][0].mean()
    allowed = (1e-3 + 1e-3 * level) * n
    assert largest_gap(old, with_value(old, "kl_nats", 0, 0, start + 0.99 * allowed)) is None
    assert largest_gap(old, with_value(old, "kl_nats", 0, 0, start + 1.01 * allowed)) is not None


@pytest.mark.parametrize("metric", ["kl_nats", "speedup"])
def test_nan_counts_as_different(make_evidence: Make, metric: str) -> None:
    one, two = moved(make_evidence, metric, 1.0, float("nan"))
    for old, new in ((one, two), (two, one), (two, two)):
        assert largest_gap(old, new) is not None
    assert largest_gap(one, two) == f"{metric} of skip L2: 1 -> nan"


def test_wall_times_are_not_compared(make_evidence: Make) -> None:
    assert largest_gap(*moved(make_evidence, "speedup", 1.0, 100.0)) is None


# Staleness


def test_today_s_evidence_is_current(make_evidence: Make) -> None:
    evidence = make_evidence()
    assert staleness(evidence) == ""
    assert staleness(evidence, evidence) == ""


def stale_question(evidence: Evidence, **changes: object) -> Evidence:
    return replace(evidence, question=replace(evidence.question, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"definition": "of last year"}, "the experiment has changed"),
        ({"n_layers": 5}, "the experiment has changed"),
        ({"suite_digest": "of last year"}, "the prompts have changed"),
        ({"experiment": "layer_yoga"}, "the experiment layer_yoga no longer exists"),
    ],
)
def test_evidence_of_another_experiment_or_suite_is_stale(
    make_evidence: Make, changes: dict[str, object], reason: str
) -> None:
    assert staleness(stale_question(make_evidence(), **changes)) == reason


@pytest.mark.parametrize("name", ["weights", "tokenizer"])
def test_evidence_of_other_weights_is_stale_beside_newer(make_evidence: Make, name: str) -> None:
    old, new = make_evidence(), make_evidence(**{f"{name}_digest": "other"})
    assert staleness(old, new).startswith(f"other {name}: ")
    assert staleness(old) == ""


@pytest.mark.parametrize("field", ["device", "torch", "transformers", "code"])
def test_evidence_from_another_machine_is_not_stale(make_evidence: Make, field: str) -> None:
    assert staleness(make_evidence(), make_evidence(**{field: "another"})) == ""


@pytest.fixture
def at_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives the layer sweep another version."""

    def give(version: int) -> None:
        given = replace(EXPERIMENTS["layer_sweep"], revision=version)
        monkeypatch.setitem(EXPERIMENTS, "layer_sweep", given)

    return give


@pytest.mark.parametrize(("measured", "now"), [(1, 2), (1, 4), (3, 4), (2, 1)])
def test_evidence_of_another_version_is_stale(
    make_evidence: Make, at_version: Callable[[int], None], measured: int, now: int
) -> None:
    at_version(measured)
    evidence = make_evidence()
    assert staleness(evidence) == ""
    at_version(now)
    said = "the measuring code has changed so that its numbers differ"
    assert staleness(evidence) == f"{said} (version {measured} -> {now})"
    assert staleness(evidence, make_evidence()) == f"{said} (version {measured} -> {now})"


def test_a_record_that_names_no_version_is_of_the_first(
    make_evidence: Make, at_version: Callable[[int], None]
) -> None:
    evidence = make_evidence()
    assert "version" not in json.loads(to_text(evidence))["question"]
    at_version(1)
    assert staleness(evidence) == ""
    at_version(2)
    assert staleness(evidence).endswith("(version 1 -> 2)")


def test_other_probes_are_said_before_another_version(
    make_evidence: Make, at_version: Callable[[int], None]
) -> None:
    at_version(2)
    assert staleness(make_evidence(definition="of last year")) == "the experiment has changed"


def test_a_record_of_an_earlier_version_is_replaced_without_being_asked(
    make_evidence: Make, recorded: Recorded, at_version: Callable[[int], None]
) -> None:
    recorded.put(make_evidence())
    at_version(2)
    new = with_row(make_evidence(), 3, 0.42)
    assert record(new, recorded).state == "recorded"
    assert recorded.path(*CELL).read_text(encoding="utf-8") == to_text(new)
    assert staleness(new) == ""


@pytest.mark.parametrize("changes", [{"definition": "older"}, {"suite_digest": "older"}])
def test_a_stale_record_is_replaced_without_being_asked(
    make_evidence: Make, recorded: Recorded, changes: dict[str, object]
) -> None:
    recorded.put(stale_question(make_evidence(), **changes))
    new = with_row(make_evidence(), 3, 0.42)
    assert record(new, recorded).state == "recorded"
    assert recorded.path(*CELL).read_text(encoding="utf-8") == to_text(new)


def test_the_detail_names_an_erased_block_as_such(make_evidence: Make) -> None:
    old = with_row(make_evidence(protocol=Protocol.PUBLISHED), 1, 1.4)
    assert old.effects.probes[1] == erase(1)
    assert largest_gap(old.effects, with_row(old, 1, 9.0).effects) == "kl_nats of erase L1: 1.4 -> 9"


@pytest.mark.parametrize(
    "changes", [{"weights_digest": "older"}, {"tokenizer_digest": "older"}, {"dtype": "bfloat16"}]
)
def test_evidence_of_another_subject_never_replaces_a_record_unasked(
    make_evidence: Make, recorded: Recorded, changes: dict[str, object]
) -> None:
    """A fine-tuned checkpoint under a registered id must not take the place of the committed evidence."""
    old = stale_question(make_evidence(), **changes)
    path = recorded.put(old)
    before = path.read_bytes()
    outcome = record(make_evidence(), recorded)
    assert outcome.state == "different"
    assert outcome.detail.startswith("other ")
    assert path.read_bytes() == before
    assert record(make_evidence(), recorded, rebaseline=True).state == "recorded"
