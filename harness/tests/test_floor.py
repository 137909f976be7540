"""What arithmetic alone moves: measured in every run, and never reported as an effect."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.edits import Stream, patch, skip, zero
from harness.engine import blocks as blocks_module
from harness.engine.blocks import Stack
from harness.engine.parity import check_parity, own_and_engine_logits
from harness.engine.plain import PlainBlocks
from harness.engine.sweep import sweep
from harness.floor import LIMIT_NATS, above_floor, floor_checks, largest_kl
from harness.verdicts.criteria import EveryProbe, SomeProbe, WorstCase
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Verdict

KL = {"rationale": "a test", "experiment": "layer_sweep", "metric": "kl_nats"}


def noise_of(stack, prompts):
    """The model's noise on these prompts."""
    return largest_kl(own_and_engine_logits(stack, prompts))


def test_in_float32_the_floor_is_far_below_any_threshold(tiny, items):
    prompts = [item.ids for item in items((5, 9, 7))]
    for architecture in ("llama", "qwen2", "gemma3_text", "lfm2"):
        assert noise_of(Stack(tiny(architecture)), prompts) < 1e-7


@pytest.mark.parametrize("blocks", [None, PlainBlocks], ids=["default", "plain"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text", "lfm2"])
def test_a_bfloat16_body_keeps_the_stream_and_the_logits_in_float32(architecture, blocks, tiny, items):
    """Its error is that of the rounded products: at the level of the floor it measures, not of the effects."""
    exact, prompts = Stack(tiny(architecture)), items((5, 9, 7, 6))
    rounded = Stack(deepcopy(tiny(architecture)).to(torch.bfloat16))
    probes = [skip(1), zero(Stream.Z, 1, 2), zero(Stream.MLP_OUT, 2), patch(Stream.RESID_POST, 0, "self")]
    truth, _ = sweep(exact, prompts, probes)
    short, _ = sweep(rounded, prompts, probes, blocks=blocks and blocks(rounded))
    check_parity(rounded, [item.ids for item in prompts])
    noise = noise_of(rounded, [item.ids for item in prompts])
    assert 1e-6 < noise < LIMIT_NATS["bfloat16"]
    assert np.abs(short["kl_nats"][3]).max() < 1e-6, "the no-op: stream and logits are not rounded"
    assert np.abs(short["kl_nats"] - truth["kl_nats"]).max() < 0.1 * truth["kl_nats"][:3].max() + noise


def test_a_short_unembedding_is_widened_and_not_copied(tiny, monkeypatch):
    """In slabs of the vocabulary, the last of them smaller, the logits are those of the widened weights."""
    monkeypatch.setattr(blocks_module, "VOCABULARY_SLAB", 60)
    stack = Stack(deepcopy(tiny("llama")).to(torch.bfloat16))
    assert stack.unembedding.data_ptr() == stack.model.lm_head.weight.data_ptr()
    resid = torch.randn(3, stack.unembedding.shape[1])
    expected = torch.nn.functional.linear(resid, stack.unembedding.float())
    assert len(stack.unembedding) % 60
    torch.testing.assert_close(stack.unembed(resid, normed=False), expected)


def test_a_forward_pass_that_overflows_is_no_floor_of_zero(tiny, items):
    model = deepcopy(tiny("llama"))
    model.model.layers[2].mlp.down_proj.weight[0, 0] = float("nan")
    noise = noise_of(Stack(model), [item.ids for item in items((5, 9))])
    assert noise == float("inf")
    assert not floor_checks("float16", np.zeros(2), noise)[1].passed


@pytest.mark.parametrize(
    ("criterion", "verdict"),
    [
        (EveryProbe(select=Singles(), at_most=0.2, **KL), Verdict.SUPPORTED),
        (EveryProbe(select=Singles(), at_most=0.02, **KL), Verdict.INCONCLUSIVE),
        (SomeProbe(select=Singles(), at_least=0.02, **KL), Verdict.INCONCLUSIVE),
        (WorstCase(select=Singles(), at_most=0.02, **KL), Verdict.INCONCLUSIVE),
    ],
)
def test_a_bound_below_the_floor_is_not_judged(criterion, verdict):
    """All effects are kept as 0, being below a floor of 0.03: that says nothing about 0.02."""
    probes = tuple(skip(layer) for layer in range(4))
    effects = table(probes, {"kl_nats": (0.0,) * 4}, noise=0.0)
    floored = replace(effects, floor_nats=0.03)
    found = judge_criterion(criterion, measured({"layer_sweep": floored}, n_layers=4))
    assert found.verdict is verdict
    assert ("float32" in found.sentence) == (verdict is Verdict.INCONCLUSIVE)
    if verdict is Verdict.INCONCLUSIVE:
        assert found.p_value == 1.0, "a test that was done, and showed nothing"


def test_a_bound_at_the_floor_is_judged():
    effects = table((skip(0), skip(1)), {"kl_nats": (0.0, 0.0)}, noise=0.0)
    floored = replace(effects, floor_nats=0.03)
    criterion = EveryProbe(select=Singles(), at_most=0.03, **KL)
    assert judge_criterion(criterion, measured({"layer_sweep": floored})).verdict is Verdict.SUPPORTED


def test_effects_below_the_floor_are_not_reported_and_not_lost():
    kl = np.array([[0.5, 0.01, -0.01], [0.02, 0.03, 2.0]])
    table = above_floor("bfloat16", {"kl_nats": kl, "argmax_match": kl}, 0.02)
    assert table["kl_nats"].tolist() == [[0.5, 0, 0], [0.02, 0.03, 2.0]]
    assert table["kl_measured_nats"] is kl
    assert table["argmax_match"] is kl
    assert above_floor("float32", {"kl_nats": kl}, 0.02)["kl_nats"] is kl


@pytest.mark.parametrize(
    ("dtype", "value", "passes"),
    [("float32", 2e-6, False), ("bfloat16", 2e-6, True), ("bfloat16", 0.06, False)],
)
def test_a_floor_too_high_fails_its_gate(dtype, value, passes):
    by_no_op, by_noise = (
        floor_checks(dtype, np.array([0.0, -value]), 0.0),
        floor_checks(dtype, np.zeros(2), value),
    )
    assert [c.passed for c in by_no_op] == [passes, True]
    assert [c.passed for c in by_noise] == [True, passes]
    assert all(check.gate for check in by_no_op)


def test_the_gates_say_what_they_allow_and_what_was_found():
    no_op, noise = floor_checks("bfloat16", np.array([[0.01, -0.05], [0.02, 0.0]]), 0.04)
    assert (no_op.name, no_op.value, no_op.passed) == ("no_op", 0.05, True), "at the limit is allowed"
    assert no_op.sentence == (
        "patching a block's output with itself moves at most 0.05 nats (this is the numeric floor)"
    )
    assert (noise.name, noise.value, noise.passed) == ("noise_floor", 0.04, True)
    assert noise.sentence == ("the model's own forward pass is at most 0.05 nats from the engine's baseline")
    assert floor_checks("float16", np.zeros(1), 0.05)[1].passed
