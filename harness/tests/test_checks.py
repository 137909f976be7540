"""The gates at their limits, on made-up tables; and the baseline beside the model's own forward passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from harness.checks import Baseline, check, fit, read_baseline
from harness.edits import Exit
from harness.effects import Effects
from harness.engine.blocks import Stack
from harness.engine.parity import Parity
from harness.engine.sweep import sweep
from harness.evidence import Check, Evidence
from harness.protocols import Protocol
from harness.verdicts.synthetic import table

Make = Callable[..., Evidence]

KNOWN = Baseline(noise_nats=0.0, donor_gap=0.0, donor_nats=1.0, label_gap_nats=1.0)
PARITY = Parity(max_logit_gap=3e-5, logit_range=20.0)
WELL = {"no_op": 0.0, "unread": 0.0, "everything": 1.0}
GATES = (
    "finite",
    "no_op",
    "noise_floor",
    "unread_position",
    "foreign_donor",
    "donors_differ",
    "positive_control",
)
"""Of a sweep of blocks, in order; parity has none."""


def checked(
    evidence: Evidence, moved: Mapping[str, Any] = WELL, baseline: Baseline = KNOWN
) -> dict[str, Check]:
    """The checks by name; `moved`: what the controls move on each prompt."""
    n = len(evidence.effects.prompts)
    rows = np.array([np.broadcast_to(moved[name], n) for name in ("no_op", "unread", "everything")])
    found = check(evidence.question, answered(evidence.effects), {"kl_nats": rows}, baseline, PARITY)
    assert len({c.name for c in found}) == len(found)
    return {c.name: c for c in found}


def answered(effects: Effects) -> Effects:
    """With a baseline, where there is none, that prefers every answer."""
    n = len(effects.prompts)
    sure = {"answer_logprob": np.full(n, -0.1), "foil_logprob": np.full(n, -3.0)}
    return replace(effects, baseline={**sure, **effects.baseline})


def one_prompt(n: int, value: float) -> np.ndarray:
    """Nothing, but for the last prompt."""
    return np.append(np.zeros(n - 1), value)


def test_a_sound_measurement_passes_every_gate(make_evidence: Make) -> None:
    found = checked(make_evidence())
    assert all(c.passed for c in found.values())
    assert tuple(name for name, c in found.items() if c.gate and name != "parity") == GATES
    assert [name for name, c in found.items() if not c.gate] == ["shuffled_labels", "base_accuracy"]
    assert found["parity"].value == 3e-5
    assert found["finite"].value == 1.0


def test_every_check_says_what_it_asks(make_evidence: Make) -> None:
    evidence = exits(make_evidence, 0.0)
    shape = evidence.effects.metrics["kl_nats"].shape
    metrics = {**evidence.effects.metrics, "kl_to_first_nats": np.ones(shape)}
    told = replace(evidence, effects=replace(evidence.effects, metrics=metrics))
    assert {name: c.sentence for name, c in checked(told).items()} == {
        "finite": "every measured number is finite",
        "no_op": "patching a block's output with itself moves at most 1e-06 nats (this is the numeric floor)",
        "noise_floor": "the model's own forward pass is at most 1e-06 nats from the engine's baseline",
        "unread_position": "erasing the last block's output at a position that is not read moves at most 1e-06 nats",
        "foreign_donor": "a read-out patched from a prompt of another task gives that prompt's own prediction, within "
        "0.0001 of 1 nat + the KL between the two",
        "donors_differ": "the predictions of prompts of different tasks are at least 0.1 nats apart on average, or a "
        "patch between them would show nothing",
        "shuffled_labels": "mean log-probability of the own answer less that of another task's answer, nats",
        "positive_control": "skipping every block moves at least 0.1 nats on average",
        "parity": "largest gap between the engine's logits and the model's own on load",
        "base_accuracy": "share of prompts on which the unedited model prefers the answer to the foil",
        "final_exit": "early exit at the last block equals the full model",
        "output_depends_on_prompt": "the edited output differs between prompts (largest KL to the first prompt's, "
        "nats)",
    }


LIMITS: tuple[tuple[str, str, float, float], ...] = (
    ("no_op", "at most 1e-06 nats", 1e-6, 1.1e-6),
    ("unread_position", "at most 1e-06 nats", 1e-6, 1.1e-6),
    ("positive_control", "at least 0.1 nats on average", 0.1, 0.0999),
    ("noise_floor", "at most 1e-06 nats", 1e-6, 1.1e-6),
    ("foreign_donor", "within 0.0001 of 1 nat", 1e-4, 1.1e-4),
    ("donors_differ", "at least 0.1 nats apart", 0.1, 0.0999),
)
"""(gate, what it says, a value on its limit, and one beyond)."""
CONTROLS = {"no_op": "no_op", "unread_position": "unread", "positive_control": "everything"}
READ = {"noise_floor": "noise_nats", "foreign_donor": "donor_gap", "donors_differ": "donor_nats"}


@pytest.mark.parametrize(("gate", "said", "at", "beyond"), LIMITS, ids=[limit[0] for limit in LIMITS])
def test_a_gate_holds_at_its_limit_and_not_beyond(
    make_evidence: Make, gate: str, said: str, at: float, beyond: float
) -> None:
    for value, passes in ((at, True), (beyond, False)):
        if gate in READ:
            found = checked(make_evidence(), baseline=replace(KNOWN, **{READ[gate]: value}))
        else:
            found = checked(make_evidence(), {**WELL, CONTROLS[gate]: value})
        assert [name for name, c in found.items() if not c.passed] == ([] if passes else [gate])
        assert found[gate].gate
        assert found[gate].value == pytest.approx(value)
        assert said in found[gate].sentence


@pytest.mark.parametrize("control", ["no_op", "unread"])
def test_one_prompt_on_either_side_fails_what_can_do_nothing(make_evidence: Make, control: str) -> None:
    evidence = make_evidence()
    n = len(evidence.effects.prompts)
    gate = {"no_op": "no_op", "unread": "unread_position"}[control]
    for value in (0.2, -0.2):
        assert not checked(evidence, {**WELL, control: one_prompt(n, value)})[gate].passed


def test_the_positive_control_is_a_mean(make_evidence: Make) -> None:
    evidence = make_evidence()
    n = len(evidence.effects.prompts)
    assert checked(evidence, {**WELL, "everything": one_prompt(n, 0.11 * n)})["positive_control"].passed
    assert not checked(evidence, {**WELL, "everything": one_prompt(n, 0.09 * n)})["positive_control"].passed


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_types_have_wider_limits(make_evidence: Make, dtype: str) -> None:
    evidence = make_evidence(dtype=dtype)
    wide = replace(KNOWN, noise_nats=0.05, donor_gap=0.05)
    assert all(c.passed for c in checked(evidence, {**WELL, "no_op": 0.05, "unread": 0.05}, wide).values())
    beyond = replace(KNOWN, noise_nats=0.051, donor_gap=0.051)
    found = checked(evidence, {**WELL, "no_op": 0.051, "unread": 0.051}, beyond)
    failed = [name for name, c in found.items() if not c.passed]
    assert failed == ["no_op", "noise_floor", "unread_position", "foreign_donor"]


def test_a_number_that_is_none_fails_wherever_it_stands(make_evidence: Make) -> None:
    evidence = make_evidence()
    effects, n = evidence.effects, len(evidence.effects.prompts)
    values = effects.metrics["kl_nats"].copy()
    values[0, 0] = np.inf
    broken = replace(evidence, effects=replace(effects, metrics={**effects.metrics, "kl_nats": values}))
    found = checked(broken)["finite"]
    assert (found.passed, found.value, found.gate) == (False, 0.0, True)
    rows = np.vstack([np.zeros(n), np.zeros(n), np.ones(n)])
    odd = {"kl_nats": rows, "top5_overlap": np.full((3, n), np.nan)}
    (of_controls,) = (
        c for c in check(evidence.question, answered(effects), odd, KNOWN, PARITY) if c.name == "finite"
    )
    assert not of_controls.passed


def test_labels_and_accuracy_are_said_and_stop_nothing(make_evidence: Make) -> None:
    evidence = make_evidence()
    found = checked(evidence, baseline=replace(KNOWN, label_gap_nats=0.0))
    assert (found["shuffled_labels"].passed, found["shuffled_labels"].gate) == (False, False)
    assert found["shuffled_labels"].value == 0.0
    assert checked(evidence, baseline=replace(KNOWN, label_gap_nats=1e-9))["shuffled_labels"].passed
    base = dict(answered(evidence.effects).baseline)
    n = len(base["answer_logprob"])
    better = np.where(np.arange(n) < n // 4, 1.0, -1.0)
    base["foil_logprob"] = base["answer_logprob"] - better
    base["foil_logprob"][-1] = base["answer_logprob"][-1]  # a tie is no preference
    unsure = replace(evidence, effects=replace(evidence.effects, baseline=base))
    assert checked(unsure)["base_accuracy"].value == pytest.approx((n // 4) / n)


def exits(make_evidence: Make, last: Any) -> Evidence:
    """An early exit after each of three blocks; the last one moves `last` (a number, or one a prompt)."""
    probes = [Exit(layer=layer, normed=True) for layer in range(3)]
    effects = table(probes, {"kl_nats": [3.0, 2.0, 0.0]}, noise=0.0)
    values = effects.metrics["kl_nats"].copy()
    values[2] = last
    effects = replace(effects, metrics={**effects.metrics, "kl_nats": values})
    return make_evidence([3.0, 2.0, 0.0], experiment="early_exit", effects=effects)


def test_the_last_exit_is_the_model(make_evidence: Make) -> None:
    found = checked(exits(make_evidence, 1e-6))["final_exit"]
    assert (found.passed, found.gate, found.value) == (True, True, 1e-6)
    n = len(exits(make_evidence, 0.0).effects.prompts)
    for value in (1.1e-6, -1.1e-6):
        assert not checked(exits(make_evidence, one_prompt(n, value)))["final_exit"].passed
    assert "final_exit" not in checked(make_evidence())


@pytest.mark.parametrize("protocol", Protocol)
def test_an_output_that_is_the_same_for_every_prompt_is_a_gate_where_it_is_sound(
    make_evidence: Make, protocol: Protocol
) -> None:
    """The published way erases the prompt: there it is what the audit is about."""
    evidence = make_evidence(protocol=protocol)
    shape = evidence.effects.metrics["kl_nats"].shape
    for value, passed in ((0.0, False), (1e-3, False), (-1.1e-3, True), (1.1e-3, True)):
        first = np.zeros(shape)
        first[0, 0] = value
        metrics = {**evidence.effects.metrics, "kl_to_first_nats": first}
        told = replace(evidence, effects=replace(evidence.effects, metrics=metrics))
        found = checked(told)["output_depends_on_prompt"]
        assert (found.passed, found.gate) == (passed, protocol is Protocol.SOUND)
        assert found.value == pytest.approx(abs(value))


@pytest.mark.parametrize(
    ("length", "fitted"), [(2, (5, 6)), (3, (5, 6, 7)), (5, (5, 6, 7, 5, 6)), (7, (5, 6, 7, 5, 6, 7, 5))]
)
def test_a_donor_is_cut_or_repeated(length: int, fitted: tuple[int, ...]) -> None:
    assert fit([5, 6, 7], length) == fitted


def test_the_baseline_is_what_plain_forward_passes_give(tiny: Any, items: Any) -> None:
    """Of prompts of several lengths: each beside the next one's, and the first one's after the last."""
    model, prompts = tiny("qwen2"), items((5, 7, 5, 9))
    following = [*prompts[1:], prompts[0]]
    with torch.inference_mode():
        lines = [
            [model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for ids in (own.ids, donor)]
            for own, other in zip(prompts, following, strict=True)
            for donor in [(other.ids * 2)[: len(own.ids)]]
        ]
    apart = [float((p.exp() * (p - q)).sum()) for p, q in lines]
    labels = [
        float(p[own.answer] - p[other.answer])
        for (p, _), own, other in zip(lines, prompts, following, strict=True)
    ]
    stack = Stack(model)
    found = read_baseline(stack, prompts)
    assert found.donor_nats == pytest.approx(np.mean(apart), rel=1e-4)
    assert found.label_gap_nats == pytest.approx(np.mean(labels), rel=1e-4, abs=1e-5)
    assert 0.0 <= found.donor_gap < 1e-4
    assert 0.0 <= abs(found.noise_nats) < 1e-6


def test_a_donor_that_is_not_brought_counts_beside_the_distance_it_should_bring(
    tiny: Any, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest gap is of the prompt whose donor is nearest, where all are missed by as much."""
    model, prompts = tiny("qwen2"), items((5, 7, 5, 9))
    seen: list[np.ndarray] = []

    def misses(*args: Any, **given: Any) -> Any:
        table, base = sweep(*args, **given)
        seen.append(table["kl_nats"][0])
        return {**table, "kl_nats": table["kl_nats"] - 0.3}, base

    monkeypatch.setattr("harness.checks.sweep", misses)
    found = read_baseline(Stack(model), prompts)
    assert found.donor_gap == pytest.approx(0.3 / (1.0 + seen[0].min()), rel=1e-3)
