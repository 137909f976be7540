"""The instrument on real weights: the engine's law, and the task suite under real tokenizers."""

from __future__ import annotations

import numpy as np
import pytest

from harness.edits import Exit, Stream, erase, skip, zero
from harness.effects import METRICS
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.parity import check_parity
from harness.engine.sweep import Item, sweep
from harness.models import WeightsMissing, available, find_model, load
from tasks.sampling import draw_suite
from tasks.survey import shortfalls, survey


def _loaded(model_id):
    spec = find_model(model_id)
    if available(spec).state == "missing":
        pytest.skip(f"{model_id}: {available(spec).reason}; {available(spec).remedy}")
    try:
        return load(spec)
    except WeightsMissing as error:
        pytest.skip(f"{model_id}: {error.reason}; {error.remedy}")


@pytest.fixture(scope="module", params=["smollm2_135m", "gemma3_270m"])
def real(request):
    """A real model: SmolLM2 is fetched when it is not here, Gemma only used when it is."""
    return _loaded(request.param)


@pytest.fixture(scope="module")
def real_items(real):
    """One prompt of each family."""
    draw = draw_suite("full", n_per_family=1, seed=7, encode=real.encode)
    items = []
    for pair in draw.pairs:
        ids = real.encode(pair.clean.text)
        answer, foil = (
            real.encode(pair.clean.text + end)[-1] for end in (pair.clean.answer, pair.clean.foil)
        )
        items.append(Item(ids=tuple(ids), answer=answer, foil=foil, text=pair.clean.text))
    return items


def test_the_sweep_equals_the_naive_run_on_real_weights(real, real_items):
    stack = Stack(real.model)
    last = stack.n_layers - 1
    probes = [
        *(skip(layer) for layer in (0, 5, 11, last)),
        *(erase(layer) for layer in (0, last)),
        skip(4, 5, 6, 7, 8),
        skip(*range(0, last, 2)),
        zero(Stream.MLP_OUT, 11),
        zero(Stream.ATTN_OUT, 3),
        zero(Stream.Z, 2, 1),
        *(Exit(layer=last - 1, normed=normed) for normed in (True, False)),
    ]
    prompts = real_items[::2]
    table, _ = sweep(stack, prompts, probes)
    for j, item in enumerate(prompts):
        base = naive.run(real.model, item.ids, None)
        for i, probe in enumerate(probes):
            expected = naive.measure(base, naive.run(real.model, item.ids, probe), item.answer)
            for name in METRICS:
                gap = abs(expected[name] - table[name][i, j])
                assert gap <= 1e-4 + 1e-4 * expected["kl_nats"], (
                    f"{name} of '{probe}' on {item.text!r}: {gap}"
                )


def test_two_sweeps_are_equal_to_the_bit_on_real_weights(real, real_items):
    probes = [skip(3), zero(Stream.MLP_OUT, 7), *(zero(Stream.Z, 2, head) for head in range(3)), erase(5)]
    one, base = sweep(Stack(real.model), real_items, probes)
    two, again = sweep(Stack(real.model), real_items, probes)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert all(np.array_equal(base[name], again[name]) for name in base)


def test_the_baseline_is_transformers_own(real, real_items):
    parity = check_parity(Stack(real.model), [item.ids for item in real_items])
    assert parity.max_logit_gap < 1e-4 * parity.logit_range


def test_every_family_has_its_prompts_under_this_tokenizer(real):
    assert shortfalls(survey("full", real.encode), min_templates=10, min_prompts=50) == []


def test_the_model_prefers_the_answer_more_often_than_not(real):
    """A suite on which the model does no better than chance would measure noise."""
    draw = draw_suite("full", n_per_family=4, seed=42, encode=real.encode)
    items = []
    for pair in draw.pairs:
        ids = real.encode(pair.clean.text)
        answer, foil = (
            real.encode(pair.clean.text + end)[-1] for end in (pair.clean.answer, pair.clean.foil)
        )
        items.append(Item(ids=tuple(ids), answer=answer, foil=foil))
    _, base = sweep(Stack(real.model), items, [skip(0)])
    share = float(np.mean(base["answer_logprob"] > base["foil_logprob"]))
    assert share > 0.6
