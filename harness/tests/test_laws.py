"""DESIGN's laws of the instrument, on small random models of every architecture."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from harness.edits import Action, Edit, Exit, Site, Stream, erase, patch, skip, zero
from harness.engine.blocks import Stack
from harness.engine.metrics import entropy_nats, kl_nats
from harness.engine.plain import PlainBlocks
from harness.engine.sweep import sweep

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@each_architecture
def test_patching_a_site_with_its_own_value_changes_nothing(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    probes = [
        patch(stream, layer, "self")
        for stream in (Stream.RESID_POST, Stream.ATTN_OUT, Stream.MLP_OUT)
        for layer in range(stack.n_layers)
    ]
    table, _ = sweep(stack, items(), probes)
    assert np.abs(table["kl_nats"]).max() < 1e-6
    assert (table["argmax_match"] == 1).all()


@each_architecture
def test_patching_the_last_resid_post_whole_recovers_exactly_everything(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    clean, corrupt = items((6, 6), seed=1), items((6, 6), seed=2)
    last = patch(Stream.RESID_POST, stack.n_layers - 1, "clean")
    runs, corrupt_base = sweep(stack, corrupt, [last], donors={"clean": [c.ids for c in clean]})
    # The answer's log-probability of the corrupt prompt's own answer, under the clean run:
    for j, (one, other) in enumerate(zip(clean, corrupt, strict=True)):
        with torch.no_grad():
            logits = stack.model(input_ids=torch.tensor([one.ids])).logits[0, -1]
        expected = float(torch.log_softmax(logits, dim=-1)[other.answer])
        start = corrupt_base["answer_logprob"][j]
        assert abs(expected - start) > 1e-3, "clean and corrupt do not separate: recovery is undefined"
        recovery = (runs["answer_logprob"][0, j] - start) / (expected - start)
        assert recovery == pytest.approx(1, abs=1e-3)


@each_architecture
def test_patching_corrupt_into_corrupt_gives_0(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    corrupt = items((6, 6), seed=2)
    probes = [patch(Stream.ATTN_OUT, 1, "corrupt"), patch(Stream.RESID_POST, 2, "corrupt")]
    table, _ = sweep(stack, corrupt, probes, donors={"corrupt": [c.ids for c in corrupt]})
    assert np.abs(table["kl_nats"]).max() < 1e-6


@each_architecture
def test_the_stream_is_the_sum_of_its_writes(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    item = items((7,))[0]
    stack.prepare(7)
    resid = stack.embed(torch.tensor([item.ids]))
    for layer in range(stack.n_layers):
        has_heads = stack.blocks[layer].n_heads > 0
        run = stack.run(layer, resid, with_z=has_heads)
        total = run.resid_pre + run.attn_out + run.mlp_out
        assert torch.allclose(total, run.resid_post, atol=1e-6)
        if has_heads:
            heads = range(stack.blocks[layer].n_heads)
            written = sum(stack.head_write(layer, h, run.z[..., h, :]) for h in heads)
            bias = stack.blocks[layer].out_proj.bias
            assert torch.allclose(written + (0 if bias is None else bias), run.operator_raw, atol=1e-5)
        resid = run.resid_post


@each_architecture
def test_skip_of_a_block_is_zeroing_both_its_writes(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    sites = tuple(sorted(Site(layer=1, stream=s) for s in (Stream.ATTN_OUT, Stream.MLP_OUT)))
    table, _ = sweep(stack, items(), [skip(1), Edit(sites=sites, action=Action.ZERO)])
    assert np.abs(table["kl_nats"][0] - table["kl_nats"][1]).max() < 1e-5
    assert table["kl_nats"][0].min() > 1e-4


@each_architecture
def test_early_exit_at_the_last_layer_equals_the_model(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    table, _ = sweep(stack, items(), [Exit(layer=stack.n_layers - 1, normed=True)])
    assert np.abs(table["kl_nats"]).max() < 1e-6
    assert (table["argmax_match"] == 1).all()
    assert (table["top5_overlap"] == 1).all()


@each_architecture
def test_zero_and_mean_differ_where_the_mean_is_not_zero(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    prompts = items()
    site = Site(layer=1, stream=Stream.MLP_OUT)
    means = []
    for item in prompts:
        stack.prepare(len(item.ids))
        resid = stack.embed(torch.tensor([item.ids]))
        for layer in range(2):
            run = stack.run(layer, resid)
            resid = run.resid_post
        means.append(run.mlp_out[0])
    mean = torch.cat(means).mean(dim=0)
    assert mean.norm() > 0.05
    probes = [zero(Stream.MLP_OUT, 1), Edit(sites=(site,), action=Action.PATCH, donor="mean")]
    table, _ = sweep(stack, prompts, probes, donors={"mean": {site: mean}})
    assert np.abs(table["kl_nats"][0] - table["kl_nats"][1]).max() > 1e-4


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "lfm2"])
def test_without_biases_an_erased_stream_leaves_a_uniform_output(architecture, tiny, items):
    stack = Stack(tiny(architecture))
    table, base = sweep(stack, items(), [erase(layer) for layer in range(stack.n_layers)], constancy=True)
    assert np.abs(table["kl_to_uniform_nats"]).max() < 1e-5
    uniform = np.log(97) - base["entropy_nats"]
    assert np.abs(table["kl_nats"] - uniform).max() < 1e-5
    assert (table["top5_overlap"] == 0).all(), "a distribution without an order keeps no top five"


def test_with_biases_an_erased_stream_leaves_a_constant_that_is_not_uniform(tiny, items):
    stack = Stack(tiny("qwen2"))
    table, _ = sweep(stack, items(), [erase(layer) for layer in range(stack.n_layers)], constancy=True)
    assert np.abs(table["kl_to_first_nats"]).max() < 1e-5
    assert table["kl_to_uniform_nats"][0].min() > 1e-3


def test_an_adapter_switched_off_is_the_base_model_to_the_bit_and_on_it_is_not(tiny, items):
    from peft import LoraConfig, get_peft_model

    base = deepcopy(tiny("qwen2"))
    prompts = items()
    probes = [skip(1), erase(2)]
    stack = Stack(base)
    before, _ = sweep(stack, prompts, probes, blocks=PlainBlocks(stack))
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(base, config).eval()
    with adapted.disable_adapter():
        off, _ = sweep(Stack(adapted.base_model.model), prompts, probes)
    on, _ = sweep(Stack(adapted.base_model.model), prompts, probes)
    assert all(np.array_equal(before[name], off[name]) for name in before)
    assert np.abs(before["kl_nats"] - on["kl_nats"]).max() > 1e-3


def test_kl_is_0_of_itself_and_never_negative():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.log_softmax(torch.randn(50, 30, generator=generator) * 3, dim=-1) for _ in range(2))
    assert (kl_nats(p, p) == 0).all()
    assert (kl_nats(p, q) > 0).all()
    from scipy.stats import entropy

    assert np.allclose(kl_nats(p, q), entropy(p.exp().numpy(), q.exp().numpy(), axis=1), atol=1e-4)
    assert np.allclose(entropy_nats(p), entropy(p.exp().numpy(), axis=1), atol=1e-5)
