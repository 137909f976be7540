"""Modules, spots, additions, vectors by depth and the contrast with a foil: each equal to a naive hook run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.edits import Action, Edit, InvalidEdit, Site, Stream, from_json, patch, steer, to_json, zero
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.fused import FusedBlocks, qualifies
from harness.engine.plain import PlainBlocks
from harness.engine.sweep import sweep

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")
kinds = pytest.mark.parametrize("kind", [FusedBlocks, PlainBlocks])
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def blocks_of(stack, kind):
    if kind is FusedBlocks and not qualifies(stack):
        pytest.skip("the fast blocks do not know this architecture")
    return kind(stack)


def naive_kl(model, item, probe, donor=None):
    base, edited = naive.run(model, item.ids, None), naive.run(model, item.ids, probe, donor)
    return naive.measure(base, edited, item.answer)["kl_nats"]


@kinds
@architectures
def test_a_module_without_output_equals_the_naive_run(architecture, kind, tiny, items):
    model = tiny(architecture)
    stack, prompts = Stack(model), items((5, 7))
    probes = [
        zero(stream, layer) for layer in range(stack.n_layers) for stream in stack.blocks[layer].linears
    ]
    assert len(probes) == (7 * 4 if architecture != "lfm2" else 2 * 7 + 2 * 4)
    table, _ = sweep(stack, prompts, probes, blocks=blocks_of(stack, kind))
    for i, probe in enumerate(probes):
        for j, item in enumerate(prompts):
            expected = naive_kl(model, item, probe)
            assert table["kl_nats"][i, j] == pytest.approx(expected, abs=1e-4, rel=1e-4), str(probe)
    assert (table["kl_nats"].max(axis=1) > 1e-6).all(), "every module does something"


def test_a_module_that_a_block_lacks_is_refused(tiny, items):
    with pytest.raises(InvalidEdit, match="block 0 has no module 'q'"):
        sweep(Stack(tiny("lfm2")), items((5,)), [zero(Stream.Q, 0)])


SPOTS = ({"odd": (1, 3), "late": (4,)}, {"odd": (1, 3, 5)}, {"late": (0, 4)}, {"odd": (1, 3), "late": (2,)})


@kinds
@architectures
def test_an_edit_at_a_spot_equals_the_edit_at_each_prompts_own_positions(architecture, kind, tiny, items):
    """The last two prompts are the same tokens with other spots: they may not share the edited rows."""
    model = tiny(architecture)
    stack, prompts = Stack(model), items((5, 7, 6))
    prompts = [*prompts, replace(prompts[0])]
    marked = [replace(item, spots=tuple(spots.items())) for item, spots in zip(prompts, SPOTS, strict=True)]
    sites = [(Stream.ATTN_OUT, 1), (Stream.MLP_OUT, 0), (Stream.MLP_OUT, 3), (Stream.RESID_POST, 2)]
    probes = [
        Edit(sites=(Site(layer=layer, stream=stream),), action=Action.ZERO, spot=spot)
        for stream, layer in sites
        for spot in ("odd", "late")
    ]
    table, _ = sweep(stack, marked, probes, blocks=blocks_of(stack, kind))
    for i, probe in enumerate(probes):
        for j, item in enumerate(marked):
            at = dict(item.spots).get(probe.spot)
            if at is None:
                assert all(np.isnan(values[i, j]) for values in table.values())
                continue
            expected = naive_kl(model, item, replace(probe, spot=None, positions=tuple(at)))
            assert table["kl_nats"][i, j] == pytest.approx(expected, abs=1e-4, rel=1e-4), (str(probe), j)


@kinds
@architectures
@pytest.mark.parametrize("positions", [None, (-1,), (0, 2)])
def test_an_addition_equals_the_naive_run(architecture, kind, positions, tiny, items):
    model = tiny(architecture)
    stack, prompts = Stack(model), items((5, 7))
    generator = torch.Generator().manual_seed(5)
    sites = [Site(layer=layer, stream=Stream.RESID_POST) for layer in range(stack.n_layers)]
    vectors = {site: torch.randn(32, generator=generator) for site in sites}
    probes = [
        *(steer(Stream.RESID_POST, (layer,), "way", s, positions) for layer in range(4) for s in (-2.0, 0.5)),
        steer(Stream.RESID_POST, (0, 2, 3), "way", 1.5, positions),
    ]
    table, _ = sweep(stack, prompts, probes, donors={"way": vectors}, blocks=blocks_of(stack, kind))
    for i, probe in enumerate(probes):
        for j, item in enumerate(prompts):
            expected = naive_kl(model, item, probe, vectors.__getitem__)
            assert table["kl_nats"][i, j] == pytest.approx(expected, abs=1e-4, rel=1e-4), str(probe)
    moved = table["kl_nats"].max(axis=1)
    assert (moved[:6] > 1e-4).all()
    assert positions == (0, 2) or (moved[6:] > 1e-4).all(), "the last block's other positions are not read"


@kinds
def test_a_vector_by_depth_puts_its_rows_at_the_first_positions(kind, tiny, items):
    model = tiny("qwen2")
    stack, prompts = Stack(model), items((5, 7))
    table_of = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    for stream, positions in ((Stream.MLP_OUT, None), (Stream.RESID_POST, None), (Stream.ATTN_OUT, (0, -1))):
        site = Site(layer=1, stream=stream)
        probe = patch(stream, 1, "mean", positions=positions)
        found, _ = sweep(
            stack, prompts, [probe], donors={"mean": {site: table_of}}, blocks=blocks_of(stack, kind)
        )
        for j, item in enumerate(prompts):
            rows = torch.stack([table_of[min(i, 1)] for i in range(len(item.ids))])[None]
            expected = naive_kl(model, item, probe, lambda _, rows=rows: rows)
            assert found["kl_nats"][0, j] == pytest.approx(expected, abs=1e-4, rel=1e-4)
            assert expected > 1e-4


def test_the_contrast_is_read_off_the_naive_logits(tiny, items):
    model = tiny("qwen2")
    prompts = [replace(item, forms=forms) for item, forms in zip(items((5, 7)), ((8, 9), ()), strict=True)]
    probe = zero(Stream.MLP_OUT, 1)
    table, _ = sweep(Stack(model), prompts, [probe], contrasted=True)
    for j, item in enumerate(prompts):
        logprobs = torch.log_softmax(naive.run(model, item.ids, probe), dim=-1)
        forms = [item.answer, *item.forms]
        assert table["foil_logprob"][0, j] == pytest.approx(float(logprobs[item.foil]), abs=1e-5)
        assert table["forms_logprob"][0, j] == pytest.approx(float(logprobs[forms].logsumexp(0)), abs=1e-5)
        assert table["answer_logprob"][0, j] == pytest.approx(float(logprobs[item.answer]), abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action": Action.ADD, "donor": "way"}, "strength"),
        ({"action": Action.ZERO, "strength": 1.0}, "strength"),
        ({"action": Action.ADD, "strength": 1.0}, "donor"),
        ({"action": Action.ZERO, "spot": "odd", "positions": (1,)}, "not both"),
        ({"action": Action.ZERO, "spot": "constant"}, "spot 'constant'"),
    ],
)
def test_an_edit_that_means_nothing_is_refused(fields, message):
    with pytest.raises(InvalidEdit, match=message):
        Edit(sites=(Site(layer=0, stream=Stream.MLP_OUT),), **fields)


@pytest.mark.parametrize("stream", [Stream.Q, Stream.DOWN])
def test_a_module_is_zeroed_whole_and_alone(stream):
    site = Site(layer=0, stream=stream)
    for fields in ({"action": Action.PATCH, "donor": "mean"}, {"action": Action.ZERO, "positions": (1,)}):
        with pytest.raises(InvalidEdit, match="whole and by itself"):
            Edit(sites=(site,), **fields)


def test_a_direction_is_not_a_prompt(tiny, items):
    (item,) = items((5,))
    with pytest.raises(InvalidEdit, match="stored vector, not a prompt"):
        sweep(
            Stack(tiny("llama")),
            [item],
            [steer(Stream.RESID_POST, (1,), "way", 1.0)],
            donors={"way": [item.ids]},
        )


@pytest.mark.parametrize(
    ("probe", "name"),
    [
        (
            steer(Stream.RESID_POST, (3, 1), "fact", -2.0),
            "add -2 x fact to L1+L3 at -1",
        ),
        (zero(Stream.GATE, 2), "zero gate L2"),
        (
            Edit(sites=(Site(layer=2, stream=Stream.MLP_OUT),), action=Action.ZERO, spot="operator"),
            "zero mlp_out L2 at operator",
        ),
    ],
)
def test_edits_print_and_come_back_from_json(probe, name):
    assert str(probe) == name
    assert from_json(to_json(probe)) == probe
