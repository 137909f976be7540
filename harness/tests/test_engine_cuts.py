"""Cut edges: equal to a run whose attention weights are zeroed and renormalised by hand, block by block; and laws."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.edits import InvalidEdit, Stream, cut, zero
from harness.engine import naive
from harness.engine.architectures import resolve_blocks
from harness.engine.blocks import Stack
from harness.engine.fused import FusedBlocks, qualifies
from harness.engine.plain import PlainBlocks
from harness.engine.sweep import Item, sweep

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")
kinds = pytest.mark.parametrize("kind", [FusedBlocks, PlainBlocks])
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)

SPOTS = ({"odd": (1, 3), "late": (4,)}, {"odd": (1, 3, 5)}, {"late": (0, 4)}, {"odd": (3,), "late": (3,)})


def blocks_of(stack, kind):
    if kind is FusedBlocks and not qualifies(stack):
        pytest.skip("the fast blocks do not know this architecture")
    return kind(stack)


def with_attention(stack):
    return [layer for layer in range(stack.n_layers) if stack.blocks[layer].n_heads]


def reporting(model):
    """A copy of the model whose attention reports its weights."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    return eager


def by_weights(eager, ids, probe):
    """Next-token logits with the weights that eager attention reports cut and renormalised in its blocks.

    No mask is touched: the last row of each attention's output is computed again from weights and values.
    """
    handles, last = [], len(ids) - 1
    sources = range(last) if probe.positions is None else [p % len(ids) for p in probe.positions]
    values = {}

    def again(parts, weights, raw):
        weights = weights[0, :, -1].clone()  # [head, key]
        weights[:, list(sources)] = 0.0
        weights /= weights.sum(-1, keepdim=True)
        v = values[parts.operator][0].view(len(ids), parts.n_kv_heads, parts.head_dim)
        v = v.repeat_interleave(parts.n_heads // parts.n_kv_heads, dim=1)
        z = torch.einsum("hk,khd->hd", weights, v).flatten()
        raw = raw.clone()
        raw[0, -1] = parts.out_proj(z)
        return raw

    for layer in probe.layers:
        parts = resolve_blocks(eager)[layer]

        def keep(_, __, output, parts=parts):
            values[parts.operator] = output

        def change(_, __, output, parts=parts):
            return (again(parts, output[1], output[0]), *output[1:])

        handles.append(parts.operator.v_proj.register_forward_hook(keep))
        handles.append(parts.operator.register_forward_hook(change))
    with torch.no_grad():
        logits = eager(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double()
    for handle in handles:
        handle.remove()
    return logits


def cuts(layers):
    """One block, several with others between them, and all; one source, several, and all others."""
    chosen = [(layers[0],), (layers[-1],), (layers[0], layers[-1]), tuple(layers)]
    return [cut(*at, positions=where) for at in chosen for where in ((0,), (1, -2), None)]


@kinds
@architectures
def test_a_cut_equals_weights_zeroed_and_renormalised(architecture, kind, tiny, items):
    """Prompts longer than Gemma's window of four, one alike up to its last token, one a prefix of another."""
    model = tiny(architecture)
    eager, stack, prompts = reporting(model), Stack(model), items((5, 9))
    prompts += [
        replace(prompts[1], ids=(*prompts[1].ids[:-1], 3)),
        replace(prompts[1], ids=prompts[1].ids[:6]),
    ]
    probes = cuts(with_attention(stack))
    table, _ = sweep(stack, prompts, probes, blocks=blocks_of(stack, kind))
    for j, item in enumerate(prompts):
        base = naive.run(model, item.ids, None)
        for i, probe in enumerate(probes):
            logits = by_weights(eager, item.ids, probe)
            expected = naive.measure(base, logits, item.answer)
            for name in ("kl_nats", "answer_logprob"):
                assert table[name][i, j] == pytest.approx(expected[name], abs=1e-4, rel=1e-4), str(probe)
            np.testing.assert_allclose(naive.run(model, item.ids, probe), logits, atol=1e-4)
    moved = table["kl_nats"].max(axis=1) > 1e-5
    idle = [str(probe) for probe, moves in zip(probes, moved, strict=True) if not moves]
    assert idle == (["cut L0 from 0"] if architecture == "gemma3_text" else []), "beyond its window"


@kinds
@architectures
def test_a_cut_from_a_spot_is_a_cut_from_each_prompts_own_positions(architecture, kind, tiny, items):
    """The last prompt is the first again with another spot; a prompt without the spot is not measured."""
    model = tiny(architecture)
    eager, stack, prompts = reporting(model), Stack(model), items((6, 7, 6))
    prompts = [*prompts, replace(prompts[0])]
    marked = [replace(item, spots=tuple(spots.items())) for item, spots in zip(prompts, SPOTS, strict=True)]
    layers = with_attention(stack)
    probes = [cut(*at, spot=spot) for at in ((layers[0],), layers) for spot in ("odd", "late")]
    beside = [zero(Stream.MLP_OUT, 1), replace(zero(Stream.MLP_OUT, 1), spot="odd")]
    table, _ = sweep(stack, marked, [*probes, *beside], blocks=blocks_of(stack, kind))
    for i, probe in enumerate(probes):
        for j, item in enumerate(marked):
            at = dict(item.spots).get(probe.spot)
            if at is None:
                assert all(np.isnan(values[i, j]) for values in table.values())
                continue
            base = naive.run(model, item.ids, None)
            logits = by_weights(eager, item.ids, replace(probe, spot=None, positions=at))
            expected = naive.measure(base, logits, item.answer)["kl_nats"]
            assert table["kl_nats"][i, j] == pytest.approx(expected, abs=1e-4, rel=1e-4), (str(probe), j)
    assert abs(table["kl_nats"][2, 0] - table["kl_nats"][2, 3]) > 1e-5, "alike but for the spot"


@kinds
@architectures
def test_where_nothing_is_read_a_cut_changes_nothing(architecture, kind, tiny, items):
    """Nor where what it reads is zero: here every value is."""
    model = copy.deepcopy(tiny(architecture))
    for parts in resolve_blocks(model):
        if parts.n_heads:
            for parameter in parts.linears[Stream.V].parameters():
                parameter.zero_()
    stack = Stack(model)
    table, _ = sweep(stack, items((7, 9)), cuts(with_attention(stack)), blocks=blocks_of(stack, kind))
    assert np.abs(table["kl_nats"]).max() < 1e-6


@kinds
def test_what_lies_beyond_a_sliding_window_is_cut_already(kind, tiny, items):
    stack = Stack(tiny("gemma3_text"))
    assert stack.blocks[0].operator.sliding_window == 4
    probes = [cut(0, positions=(-5, -6)), cut(0, positions=(-4,)), cut(1, positions=(-5, -6))]
    table, _ = sweep(stack, items((7, 9)), probes, blocks=blocks_of(stack, kind))
    assert np.abs(table["kl_nats"][0]).max() < 1e-6
    assert table["kl_nats"][1:].min() > 1e-6


@kinds
@architectures
def test_with_every_edge_cut_only_the_last_token_and_its_place_are_left(architecture, kind, tiny, items):
    """LFM2's convolutions still carry the tokens just before it."""
    stack, prompts = Stack(tiny(architecture)), items((7, 7))
    prompts = [replace(item, ids=(*item.ids[:-1], 5), answer=1) for item in prompts]
    everything = cut(*with_attention(stack))
    table, base = sweep(stack, prompts, [everything], blocks=blocks_of(stack, kind))
    answers = table["answer_logprob"][0]
    assert abs(base["answer_logprob"][0] - base["answer_logprob"][1]) > 1e-3
    if architecture == "lfm2":
        assert abs(answers[0] - answers[1]) > 1e-3
    else:
        assert answers[0] == pytest.approx(answers[1], abs=1e-5)


@kinds
def test_a_prompt_of_one_token_has_no_edges(kind, tiny):
    stack = Stack(tiny("llama"))
    table, _ = sweep(
        stack, [Item(ids=(3,), answer=1, foil=2)], [cut(0, 1, 2, 3)], blocks=blocks_of(stack, kind)
    )
    assert np.abs(table["kl_nats"]).max() < 1e-6


def test_cuts_swept_together_are_cuts_swept_alone(tiny, items):
    stack, prompts = Stack(tiny("llama")), items((5, 7, 9))
    probes = [*cuts([0, 1, 2, 3]), zero(Stream.MLP_OUT, 1, positions=(-1,))]
    table, _ = sweep(stack, prompts, probes)
    alone = [sweep(stack, [item], [probe])[0] for item in prompts for probe in probes]
    single = np.array([one["kl_nats"][0, 0] for one in alone]).reshape(len(prompts), -1).T
    np.testing.assert_allclose(table["kl_nats"], single, atol=1e-5)


def test_a_convolution_has_no_edges_to_cut(tiny, items):
    with pytest.raises(InvalidEdit, match="block 0 has no attention"):
        sweep(Stack(tiny("lfm2")), items((5,)), [cut(0, 1, positions=(0,))])


@pytest.mark.parametrize("probe", [cut(0, positions=(1, 4)), cut(0, spot="odd")])
def test_the_last_position_is_no_source(probe, tiny, items):
    (item,) = items((5,))
    marked = replace(item, text="a prompt", spots=(("odd", (1, 4)),))
    with pytest.raises(InvalidEdit, match="a source is the last position of the prompt 'a prompt'"):
        sweep(Stack(tiny("llama")), [marked], [probe])
