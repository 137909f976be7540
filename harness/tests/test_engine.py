"""The engine's law: equal to a naive hook run, edit by edit, on random models of every architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.edits import Action, Edit, Exit, InvalidEdit, Site, Stream, erase, patch, skip, zero
from harness.effects import METRICS
from harness.engine import climb as climb_module
from harness.engine import memory, naive
from harness.engine import sweep as sweep_module
from harness.engine.architectures import UnsupportedArchitecture
from harness.engine.blocks import Stack
from harness.engine.fused import FusedBlocks, qualifies
from harness.engine.memory import CHUNK_ROWS, OutOfMemory
from harness.engine.parity import ParityError, check_parity
from harness.engine.plain import PlainBlocks
from harness.engine.sweep import CONSTANCY, Item, NonFiniteLogits, sweep

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")


def assert_equals_naive(model, stack, items, probes, **options):
    """Every cell of the sweep agrees with a hook run within 1e-4 + 1e-4 x KL nats; the worst difference."""
    table, _ = sweep(stack, items, probes, **options)
    worst = 0.0
    for j, item in enumerate(items):
        base = naive.run(model, item.ids, None)
        for i, probe in enumerate(probes):
            donor = None
            if getattr(probe, "donor", None) is not None:
                with torch.no_grad(), naive.activations(model, probe.sites) as seen:
                    model(input_ids=torch.tensor([item.ids]))
                donor = dict(seen).__getitem__
            expected = naive.measure(base, naive.run(model, item.ids, probe, donor), item.answer)
            for name in METRICS:
                gap = abs(expected[name] - table[name][i, j])
                worst = max(worst, gap)
                assert gap <= 1e-4 + 1e-4 * expected["kl_nats"], (
                    f"{name} of '{probe}' on prompt {j}: off by {gap}"
                )
    return worst


def probes_of(stack):
    """Every kind of edit and exit at every block."""
    layers = range(stack.n_layers)
    heads = [(layer, h) for layer in layers for h in range(stack.blocks[layer].n_heads)]
    return [
        *(f(layer) for f in (skip, erase) for layer in layers),
        *(zero(stream, layer) for stream in (Stream.ATTN_OUT, Stream.MLP_OUT) for layer in layers),
        *(zero(Stream.Z, layer, head) for layer, head in heads),
        *(Exit(layer=layer, normed=normed) for layer in layers for normed in (True, False)),
    ]


def blocks_of(stack, kind):
    """The fast or the plain blocks; a model the fast ones do not know has only the plain ones."""
    return FusedBlocks(stack) if kind == "fused" and qualifies(stack) else PlainBlocks(stack)


both_kinds = pytest.mark.parametrize("kind", ["fused", "plain"])


@both_kinds
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_probe_equals_the_naive_run(architecture, kind, tiny, items):
    model = tiny(architecture)
    stack = Stack(model)
    assert_equals_naive(model, stack, items((5, 7, 5)), probes_of(stack), blocks=blocks_of(stack, kind))


def test_the_fast_blocks_take_every_architecture_they_were_written_for(tiny):
    assert [qualifies(Stack(tiny(a))) for a in ARCHITECTURES] == [True, True, True, False]


edits = st.builds(
    lambda layers, action: skip(*layers) if action is Action.SKIP else erase(*layers),
    st.sets(st.integers(0, 3), min_size=1),
    st.sampled_from([Action.SKIP, Action.ZERO]),
)


@st.composite
def mixed_edits(draw):
    """An edit at any mixture of sites, heads among them, whole or some dimensions, at all positions or at some."""
    streams = st.sampled_from([Stream.RESID_POST, Stream.ATTN_OUT, Stream.MLP_OUT])

    def dims(width):
        return st.sets(st.integers(0, width - 1), max_size=3).map(lambda s: tuple(sorted(s)))

    sites = draw(
        st.lists(
            st.builds(
                lambda layer, s, d: Site(layer=layer, stream=s, dims=d), st.integers(0, 3), streams, dims(32)
            )
            | st.builds(
                lambda layer, h, d: Site(layer=layer, stream=Stream.Z, head=h, dims=d),
                st.sampled_from([1, 3]),
                st.integers(0, 3),
                dims(8),
            ),
            min_size=1,
            unique_by=lambda s: (s.layer, s.stream, s.head),
        )
    )
    positions = draw(
        st.none() | st.sets(st.sampled_from([0, 1, -1, -2]), min_size=1).map(lambda s: tuple(sorted(s)))
    )
    only_blocks = all(site.stream is Stream.RESID_POST for site in sites)
    action = draw(st.sampled_from([Action.ZERO, Action.PATCH, *([Action.SKIP] if only_blocks else [])]))
    donor = "self" if action is Action.PATCH else None
    return Edit(sites=tuple(sorted(sites)), action=action, positions=positions, donor=donor)


@st.composite
def related_prompts(draw):
    """Prompts that begin alike, one of which may be the beginning of another, or another itself."""
    token = st.integers(0, 96)
    stem = draw(st.lists(token, min_size=3, max_size=6))
    tails = draw(st.lists(st.tuples(st.integers(3, 6), st.lists(token, max_size=4)), min_size=1, max_size=4))
    rows = [(*stem[: min(n, len(stem))], *tail) for n, tail in tails]
    return [Item(ids=ids, answer=3, foil=5, text=f"prompt {ids}") for ids in rows]


@settings(max_examples=40)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    kind=st.sampled_from(["fused", "plain"]),
    kv_heads=st.sampled_from([1, 2, 4]),
    tied=st.booleans(),
    prompts=related_prompts(),
    probes=st.lists(edits | mixed_edits(), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 2),
    memory=st.sampled_from([2_700_000, 2**30]),
    chunk=st.sampled_from([1, 20, 1536]),
)
def test_any_list_of_edits_equals_the_naive_run(
    architecture, kind, kv_heads, tied, prompts, probes, seed, memory, chunk, tiny
):
    model = tiny(architecture, kv_heads=kv_heads, tied=tied, seed=seed)
    stack = Stack(model)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(CHUNK_ROWS, "cpu", chunk)
        assert_equals_naive(model, stack, prompts, probes, memory_bytes=memory, blocks=blocks_of(stack, kind))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_baseline_is_the_models_own(architecture, tiny, items):
    model = tiny(architecture)
    parity = check_parity(Stack(model), [item.ids for item in items()])
    assert parity.max_logit_gap < 1e-5 * parity.logit_range


def test_a_model_that_does_not_fit_its_table_entry_is_refused(tiny, items, monkeypatch):
    stack = Stack(tiny("qwen2"))
    monkeypatch.setattr(FusedBlocks, "attn_out", lambda self, layer, raw: raw * 1.5)
    with pytest.raises(ParityError, match="architectures"):
        check_parity(stack, [items()[0].ids])


def test_an_engine_that_gives_nan_does_not_pass_for_equal(tiny, items, monkeypatch):
    stack = Stack(tiny("qwen2"))
    monkeypatch.setattr(FusedBlocks, "attn_out", lambda self, layer, raw: raw * float("nan"))
    with pytest.raises(ParityError, match="differ from the model's own by nan"):
        check_parity(stack, [item.ids for item in items()])


def test_a_model_whose_own_logits_are_nan_is_refused_on_load(tiny, items):
    from copy import deepcopy

    model = deepcopy(tiny("llama"))
    model.model.norm.weight[0] = float("inf")
    with pytest.raises(ParityError, match="NaN or infinite logits.*--dtype float32"):
        check_parity(Stack(model), [items()[0].ids])


def test_an_unknown_architecture_is_refused_by_name():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=10))
    with pytest.raises(UnsupportedArchitecture, match="'gpt2' has no entry.*known: llama"):
        Stack(model)


def test_the_same_sweep_twice_is_equal_to_the_bit(tiny, items):
    stack = Stack(tiny("llama"))
    probes = probes_of(stack)
    first, second = (sweep(stack, items(), probes)[0] for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in METRICS)


def test_order_of_prompts_and_probes_does_not_matter(tiny, items):
    stack = Stack(tiny("qwen2"))
    probes, prompts = probes_of(stack), items((5, 7, 5, 6))
    forward = sweep(stack, prompts, probes)[0]["kl_nats"]
    backward = sweep(stack, prompts[::-1], probes[::-1])[0]["kl_nats"][::-1, ::-1]
    assert np.abs(forward - backward).max() < 1e-5


@both_kinds
@pytest.mark.parametrize("positions", [None, (2,), (-2, 0)])
@pytest.mark.parametrize("architecture", ["gemma3_text", "llama"])
def test_patching_from_another_prompt_equals_the_naive_run(architecture, positions, kind, tiny, items):
    """Two prompts begin alike and their donors do not, and the other way round: neither may share the rows."""
    model = tiny(architecture)
    stack = Stack(model)
    one, two, three = (item.ids for item in items((6, 6, 6), seed=1))
    clean = [one, (*one[:3], *two[3:]), three]
    corrupt = [two, three, (*two[:2], *one[2:])]
    prompts = [Item(ids=ids, answer=1, foil=2) for ids in clean]
    sites = [
        Site(layer=1, stream=Stream.ATTN_OUT),
        Site(layer=2, stream=Stream.MLP_OUT),
        Site(layer=2, stream=Stream.RESID_POST),
        Site(layer=1, stream=Stream.Z, head=3),
    ]
    probes = [
        Edit(sites=(site,), action=Action.PATCH, donor="corrupt", positions=positions) for site in sites
    ]
    blocks = blocks_of(stack, kind)
    table, _ = sweep(stack, prompts, probes, donors={"corrupt": corrupt}, blocks=blocks)
    for j, (item, other) in enumerate(zip(prompts, corrupt, strict=True)):
        base = naive.run(model, item.ids, None)
        for i, probe in enumerate(probes):
            with torch.no_grad(), naive.activations(model, probe.sites) as seen:
                model(input_ids=torch.tensor([list(other)]))
            edited = naive.run(model, item.ids, probe, dict(seen).__getitem__)
            expected = naive.measure(base, edited, item.answer)["kl_nats"]
            assert table["kl_nats"][i, j] == pytest.approx(expected, abs=1e-5)
            assert expected > 1e-6, "the donor changed nothing: the test would not see a missing patch"


def test_a_stored_vector_over_the_whole_stream_equals_the_naive_run(tiny, items):
    """Such a stream no longer depends on the tokens: one chain of rows stands for every prompt."""
    model = tiny("qwen2")
    site = Site(layer=1, stream=Stream.RESID_POST)
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))
    probe = Edit(sites=(site,), action=Action.PATCH, donor="mean")
    prompts = items((5, 7, 6))
    table, _ = sweep(Stack(model), prompts, [probe], donors={"mean": {site: vector}})
    for j, item in enumerate(prompts):
        edited = naive.run(model, item.ids, probe, lambda _: vector)
        expected = naive.measure(naive.run(model, item.ids, None), edited, item.answer)["kl_nats"]
        assert table["kl_nats"][0, j] == pytest.approx(expected, abs=1e-5)
        assert expected > 1e-3


def test_constancy_compares_with_prompt_0(tiny, items):
    model = tiny("qwen2")
    prompts = items((5, 7, 5))
    probes = [skip(1), erase(2)]
    table, _ = sweep(Stack(model), prompts, probes, constancy=True)
    for i, probe in enumerate(probes):
        rows = [torch.log_softmax(naive.run(model, item.ids, probe), dim=-1) for item in prompts]
        for j, row in enumerate(rows):
            to_first = float((row.exp() * (row - rows[0])).sum())
            to_uniform = float((row.exp() * row).sum() + np.log(len(row)))
            assert table["kl_to_first_nats"][i, j] == pytest.approx(to_first, abs=1e-5)
            assert table["kl_to_uniform_nats"][i, j] == pytest.approx(to_uniform, abs=1e-5)


def test_resuming_measures_only_what_is_missing_and_gives_the_same(tiny, items):
    stack, prompts, probes = Stack(tiny("llama")), items((5, 7, 5, 9, 7)), [skip(1), erase(2)]
    whole, _ = sweep(stack, prompts, probes, constancy=True)
    seen = []
    part, base = sweep(
        stack, prompts, probes, constancy=True, only=[3, 4], on_group=lambda group: seen.extend(group.indices)
    )
    assert sorted(seen) == [0, 3, 4], "prompt 0 is the reference of the constancy metrics and comes along"
    for name in METRICS + CONSTANCY:
        assert np.abs(part[name][:, [3, 4]] - whole[name][:, [3, 4]]).max() < 1e-6
        assert np.isnan(part[name][:, [1, 2]]).all()
    assert np.isnan(base["entropy_nats"][[1, 2]]).all()


def test_a_sweep_cut_off_after_some_groups_and_resumed_is_equal_to_the_bit(tiny, items, monkeypatch):
    monkeypatch.setattr(memory, "GROUP_ROWS", 12)
    stack, prompts, probes = Stack(tiny("llama")), items((5, 7, 5, 9, 7, 3)), [skip(1), zero(Stream.Z, 2, 1)]
    groups = []
    whole, _ = sweep(stack, prompts, probes, on_group=groups.append)
    assert len(groups) > 2
    missing = [i for group in groups[2:] for i in group.indices]
    resumed, _ = sweep(stack, prompts, probes, only=missing)
    assert all(np.array_equal(resumed[name][:, missing], whole[name][:, missing]) for name in METRICS)


def test_progress_adds_up_to_the_number_of_cells(tiny, items):
    done = []
    sweep(Stack(tiny("llama")), items((5, 7, 5)), [skip(0), skip(1)], on_progress=done.append)
    assert sum(done) == pytest.approx(6)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (skip(4), "L0 to L3"),
        (Exit(layer=9, normed=True), "L0 to L3"),
        (zero(Stream.Z, 0, 4), "4 heads"),
        (patch(Stream.MLP_OUT, 0, "nobody"), "no donor"),
        (patch(Stream.MLP_OUT, 0, "self", positions=(6,)), "only 5 tokens"),
    ],
)
def test_a_site_the_model_lacks_is_refused(probe, message, tiny, items):
    with pytest.raises(InvalidEdit, match=message):
        sweep(Stack(tiny("llama")), items((5,)), [probe])


def test_donor_prompts_must_align(tiny, items):
    with pytest.raises(InvalidEdit, match="equal token length"):
        sweep(
            Stack(tiny("llama")), items((5,)), [patch(Stream.MLP_OUT, 0, "other")], donors={"other": [(1, 2)]}
        )


def test_a_prompt_without_tokens_and_a_donor_called_self_are_refused(tiny, items):
    stack = Stack(tiny("llama"))
    with pytest.raises(InvalidEdit, match="'empty' has no tokens"):
        sweep(stack, [*items((5,)), Item(ids=(), answer=1, foil=2, text="empty")], [skip(0)])
    with pytest.raises(InvalidEdit, match="may not be called 'self'"):
        sweep(stack, items((2,)), [skip(0)], donors={"self": [(1, 2)]})


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_constancy_is_measured_and_not_assumed(tiny, items, name, monkeypatch):
    """An erased stream is computed on every prompt's own rows: an engine that leaked the prompt would show."""
    stack, prompts, probes = Stack(tiny(name)), items((6, 5, 6)), [erase(0), erase(1)]
    constant, _ = sweep(stack, prompts, probes, constancy=True)
    assert np.abs(constant["kl_to_first_nats"]).max() < 1e-6
    intact = climb_module.edited_post

    def leaking(blocks, layer, edit, run, donors, view):
        return intact(blocks, layer, edit, run, donors, view) + 0.1 * run.resid_pre

    monkeypatch.setattr(climb_module, "edited_post", leaking)
    leaked, _ = sweep(stack, prompts, probes, constancy=True)
    assert np.abs(leaked["kl_to_first_nats"][:, 1:]).max() > 1e-6


def test_nan_logits_are_refused_with_the_prompt(tiny, items):
    from copy import deepcopy

    model = deepcopy(tiny("llama"))
    model.model.layers[2].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteLogits, match="prompt .*float32"):
        sweep(Stack(model), items((5,)), [skip(0)])


def test_running_out_of_memory_halves_the_work_and_changes_nothing(tiny, items, monkeypatch):
    stack, prompts, probes = Stack(tiny("llama")), items((6, 6, 6, 6)), [skip(0), skip(1), erase(2)]
    expected, _ = sweep(stack, prompts, probes)
    climb, sizes, done, kept = sweep_module.climb, [], [], []

    def limited(blocks, forest, probes, donors, chunk_rows, on_layer, **options):
        sizes.append((forest.n_prompts, len(probes)))
        if forest.n_prompts * len(probes) > 2:
            on_layer(0.5)
            raise torch.OutOfMemoryError("CUDA out of memory")
        kept.append(len(seen))
        return climb(blocks, forest, probes, donors, chunk_rows, on_layer, **options)

    seen = []
    monkeypatch.setattr(sweep_module, "climb", limited)
    halved, _ = sweep(stack, prompts, probes, on_progress=done.append, on_group=seen.append)
    assert sizes[0] == (4, 3)
    assert {size for size in sizes if size[0] * size[1] <= 2} == {(1, 1), (1, 2)}
    assert sum(done) == pytest.approx(12), "progress given for work that was thrown away is taken back"
    assert kept == [0, 0, 1, 1, 2, 2, 3, 3], "each part is handed on before the next begins"
    assert all(np.abs(halved[name] - expected[name]).max() < 1e-5 for name in METRICS)


def test_one_edit_that_does_not_fit_is_one_clear_line(tiny, items, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(sweep_module, "climb", full)
    with pytest.raises(OutOfMemory, match=r"6 tokens with the single edit 'skip L0'.*shorter prompt"):
        sweep(Stack(tiny("llama")), items((6, 6)), [skip(0), skip(1)])


def test_other_errors_are_not_taken_for_a_full_memory(tiny, items, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(sweep_module, "climb", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        sweep(Stack(tiny("llama")), items((6, 6)), [skip(0)])


def test_ctrl_c_keeps_the_groups_already_measured(tiny, items, monkeypatch):
    monkeypatch.setattr(memory, "GROUP_ROWS", 7)
    kept = []

    def stop_at_second(group):
        kept.append(group)
        if len(kept) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(Stack(tiny("llama")), items((5, 6, 7)), [skip(0)], on_group=stop_at_second)
    assert len({group.indices for group in kept}) == 2
    assert all(np.isfinite(group.metrics["kl_nats"]).all() for group in kept)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; run on a GPU runner")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cuda_gives_what_the_cpu_gives(architecture, tiny, items):
    from copy import deepcopy

    model = tiny(architecture)
    probes = probes_of(Stack(model))
    on_cpu, _ = sweep(Stack(model), items(), probes)
    on_gpu, _ = sweep(Stack(deepcopy(model).to("cuda")), items(), probes)
    gap = np.abs(on_cpu["kl_nats"] - on_gpu["kl_nats"])
    assert (gap <= 1e-4 + 1e-4 * on_cpu["kl_nats"]).all()


def test_item_is_hashable_and_frozen():
    item = Item(ids=(1, 2), answer=1, foil=2)
    assert {item} == {Item(ids=(1, 2), answer=1, foil=2)}
