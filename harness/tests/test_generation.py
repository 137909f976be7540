"""Steered continuations: token for token a plain loop without a cache; memory, resuming, ends of text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.edits import Edit, Exit, InvalidEdit, Site, Stream, skip, steer, zero
from harness.engine import generation
from harness.engine.blocks import Stack
from harness.engine.generation import (
    NON_FINITE,
    UNWRITTEN,
    Continuations,
    end_tokens,
    generate,
    row_bytes,
)
from harness.engine.memory import OutOfMemory

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")
LENGTHS = (5, 7, 1, 5, 9)
N = 8
PROBES = (
    steer(Stream.RESID_POST, (0,), "way", 0.0),
    steer(Stream.RESID_POST, (1,), "way", 0.5),
    steer(Stream.RESID_POST, (1,), "other", -3.0),
    steer(Stream.RESID_POST, (3,), "way", 4.0),
    steer(Stream.RESID_POST, (0, 2), "other", 1.0),
)

pytestmark = pytest.mark.usefixtures("one_thread")


def directions(n_layers: int = 4) -> dict[str, dict[Site, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return {
        name: {
            Site(layer=layer, stream=Stream.RESID_POST): torch.randn(32, generator=generator)
            for layer in range(n_layers)
        }
        for name in ("way", "other")
    }


def naive(model: Any, prompt: tuple[int, ...], probe: Edit, n: int, ends: tuple[int, ...] = ()) -> list[int]:
    """The whole text again for every token, its direction added from the prompt's last token on."""
    vectors, ids = directions()[probe.donor or ""], list(prompt)

    def adding(step: torch.Tensor) -> Any:
        def hook(_: Any, __: Any, output: Any) -> Any:
            value = (output[0] if isinstance(output, tuple) else output).clone()
            value[:, len(prompt) - 1 :] += step
            return (value, *output[1:]) if isinstance(output, tuple) else value

        return hook

    handles = [
        model.model.layers[site.layer].register_forward_hook(adding(probe.strength * vectors[site]))
        for site in probe.sites
    ]
    try:
        for _ in range(n):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(ids[-1] if len(ids) > len(prompt) and ids[-1] in ends else int(logits.argmax()))
    finally:
        for handle in handles:
            handle.remove()
    return ids[len(prompt) :]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_continuations_equal_a_loop_without_a_cache(architecture: str, tiny: Any, items: Any) -> None:
    model, prompts = tiny(architecture, tied=False), [item.ids for item in items(LENGTHS)]
    found = generate(Stack(model), prompts, PROBES, directions(), new_tokens=N)
    expected = np.array([[naive(model, prompt, probe, N) for prompt in prompts] for probe in PROBES])
    assert found.tolist() == expected.tolist()
    assert len({tuple(rows.ravel()) for rows in found}) == len(PROBES), "every edit writes another text"


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_the_unedited_text_is_what_transformers_generates(architecture: str, tiny: Any, items: Any) -> None:
    model, prompts = tiny(architecture, tied=False), [item.ids for item in items(LENGTHS)]
    found = generate(Stack(model), prompts, PROBES[:1], directions(), new_tokens=N)
    for j, prompt in enumerate(prompts):
        own = model.generate(
            torch.tensor([prompt]), max_new_tokens=N, do_sample=False, pad_token_id=0, use_cache=True
        )
        assert found[0, j].tolist() == own[0, len(prompt) :].tolist()


def test_a_bfloat16_model_writes_too(tiny: Any, items: Any) -> None:
    import copy

    model, prompts = copy.deepcopy(tiny("llama")).to(torch.bfloat16), [item.ids for item in items((5, 5))]
    found = generate(Stack(model), prompts, PROBES, directions(), new_tokens=N)
    assert ((found >= 0) & (found < 97)).all()
    assert (found[0] != found[3]).any()


def test_nothing_is_left_of_an_edit(tiny: Any, items: Any) -> None:
    model, prompts = tiny("llama"), [item.ids for item in items((5,))]
    generate(Stack(model), prompts, PROBES, directions(), new_tokens=2)
    assert not any(layer._forward_hooks for layer in model.model.layers)


@pytest.mark.parametrize("ends", [1, [1, 3]])
def test_after_an_end_of_text_come_only_copies_of_it(
    ends: Any, tiny: Any, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompts = tiny("llama"), [item.ids for item in items(LENGTHS)]
    stack = Stack(model)
    free = generate(stack, prompts, PROBES, directions(), new_tokens=N)
    chosen = [int(free[0, 0, 2]), int(free[3, 1, 1])][: 1 if isinstance(ends, int) else 2]
    monkeypatch.setattr(model.config, "eos_token_id", chosen[0] if isinstance(ends, int) else chosen)
    assert end_tokens(model) == tuple(sorted(set(chosen)))
    expected = [[naive(model, p, probe, N, tuple(chosen)) for p in prompts] for probe in PROBES]
    found = generate(stack, prompts, PROBES, directions(), new_tokens=N)
    assert found.tolist() == expected
    assert (found != free).any()
    done: list[float] = []
    generate(stack, prompts[:1], PROBES[:1], directions(), new_tokens=N, on_progress=done.append)
    assert sum(done) == pytest.approx(1.0), "a batch that ends early is done"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("strength", [1e39, float("inf")])
def test_a_step_that_overflows_writes_no_text_and_leaves_the_others_alone(
    architecture: str, strength: float, tiny: Any, items: Any
) -> None:
    stack, prompts = Stack(tiny(architecture, tied=False)), [item.ids for item in items(LENGTHS)]
    whole = generate(stack, prompts, PROBES, directions(), new_tokens=N)
    beyond = steer(Stream.RESID_POST, (1,), "way", strength)
    done: list[float] = []
    found = generate(stack, prompts, (*PROBES, beyond), directions(), new_tokens=N, on_progress=done.append)
    assert (found[-1] == NON_FINITE).all()
    assert found[:-1].tolist() == whole.tolist()
    assert sum(done) == pytest.approx((len(PROBES) + 1) * len(prompts))


@pytest.mark.parametrize("ends", [False, True])
def test_only_a_text_that_has_not_ended_is_lost_to_nan(
    ends: bool, tiny: Any, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one token makes every later logit NaN: the text that wrote it is lost, unless it ended there."""
    import copy

    model, prompts = copy.deepcopy(tiny("llama", tied=False)), [item.ids for item in items(LENGTHS)]
    free = generate(Stack(model), prompts, PROBES, directions(), new_tokens=N)
    given = {token for prompt in prompts for token in prompt}
    fatal = next(token for token in free[:, :, 2].ravel().tolist() if token not in given)
    model.model.embed_tokens.weight[fatal] = float("nan")
    if ends:
        monkeypatch.setattr(model.config, "eos_token_id", fatal)
    expected = free.copy()
    for text in expected.reshape(-1, N):
        if fatal in text:
            text[text.tolist().index(fatal) + 1 :] = fatal if ends else NON_FINITE
    assert 0 < (expected != free).any(axis=2).sum() < free.shape[0] * free.shape[1]
    assert generate(Stack(model), prompts, PROBES, directions(), new_tokens=N).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("tokens", "value", "lost"),
    [
        (slice(3, 4), "nan", True),
        (slice(3, 4), "inf", True),
        (slice(None), "-inf", True),
        (slice(3, None), "-inf", False),  # a token that cannot follow is no overflow
    ],
)
def test_which_logits_choose_no_token(tokens: slice, value: str, lost: bool, tiny: Any, items: Any) -> None:
    model, prompts = tiny("llama", tied=False), [item.ids for item in items(LENGTHS)]

    def spoil(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., tokens] = float(value)
        return logits

    handle = model.lm_head.register_forward_hook(spoil)
    try:
        found = generate(Stack(model), prompts, PROBES, directions(), new_tokens=N)
    finally:
        handle.remove()
    assert (found == NON_FINITE).all() if lost else ((found >= 0) & (found < 3)).all()


def test_ends_are_those_of_the_config_and_of_the_generation_config(tiny: Any) -> None:
    model = tiny("llama")
    assert end_tokens(model) == ()
    before = model.generation_config.eos_token_id
    try:
        model.generation_config.eos_token_id = [5, 2]
        assert end_tokens(model) == (2, 5)
    finally:
        model.generation_config.eos_token_id = before


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_however_it_is_cut_the_text_is_the_same(rows: int, tiny: Any, items: Any) -> None:
    stack, prompts = Stack(tiny("qwen2")), [item.ids for item in items(LENGTHS)]
    whole = generate(stack, prompts, PROBES, directions(), new_tokens=N)
    groups: list[Continuations] = []
    done: list[float] = []
    cut = generate(
        stack,
        prompts,
        PROBES,
        directions(),
        new_tokens=N,
        memory_bytes=rows * row_bytes(stack, max(LENGTHS), N),
        on_group=groups.append,
        on_progress=done.append,
    )
    assert cut.tolist() == whole.tolist()
    assert sum(done) == pytest.approx(len(PROBES) * len(prompts))
    assert sorted(i for group in groups for i in group.indices) == list(range(len(prompts)))
    for group in groups:
        assert group.tokens.tolist() == whole[:, group.indices].tolist()


def test_a_budget_below_one_continuation_is_refused_with_what_it_takes(tiny: Any, items: Any) -> None:
    stack, prompts = Stack(tiny("llama")), [item.ids for item in items((5,))]
    need = row_bytes(stack, 5, N)
    generate(stack, prompts, PROBES, directions(), new_tokens=N, memory_bytes=need)
    with pytest.raises(OutOfMemory, match=f"one continuation of 5 \\+ {N} tokens needs .* give --memory"):
        generate(stack, prompts, PROBES, directions(), new_tokens=N, memory_bytes=need - 1)


def test_a_batch_that_runs_out_of_memory_is_halved(
    tiny: Any, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, prompts = Stack(tiny("llama")), [item.ids for item in items(LENGTHS)]
    whole = generate(stack, prompts, PROBES, directions(), new_tokens=N)
    write, sizes, limit = generation._Writer._write, [], 3

    def short_of_memory(self: Any, cells: Any, advance: Any) -> Any:
        sizes.append(len(cells))
        if len(cells) > limit:
            advance(1.0)
            raise MemoryError("no more")
        return write(self, cells, advance)

    monkeypatch.setattr(generation._Writer, "_write", short_of_memory)
    done: list[float] = []
    found = generate(stack, prompts, PROBES, directions(), new_tokens=N, on_progress=done.append)
    assert found.tolist() == whole.tolist()
    assert max(sizes) > limit
    assert sum(done) == pytest.approx(len(PROBES) * len(prompts))
    limit = 0
    with pytest.raises(OutOfMemory, match="does not fit in memory"):
        generate(stack, prompts, PROBES, directions(), new_tokens=N)


def test_only_what_is_asked_for_is_written(tiny: Any, items: Any) -> None:
    stack, prompts = Stack(tiny("llama")), [item.ids for item in items(LENGTHS)]
    whole = generate(stack, prompts, PROBES, directions(), new_tokens=N)
    some = generate(stack, prompts, PROBES, directions(), new_tokens=N, only={1, 3})
    assert some[:, [1, 3]].tolist() == whole[:, [1, 3]].tolist()
    assert (some[:, [0, 2, 4]] == UNWRITTEN).all()


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (skip(1), "no other edit"),
        (Exit(layer=1, normed=True), "no other edit"),
        (zero(Stream.MLP_OUT, 1), "no other edit"),
        (steer(Stream.RESID_POST, (1,), "way", 1.0, None), "no other edit"),
        (steer(Stream.RESID_POST, (1,), "way", 1.0, (-1, -2)), "no other edit"),
        (steer(Stream.MLP_OUT, (1,), "way", 1.0), "whole resid_post of L0 to L3"),
        (steer(Stream.RESID_POST, (4,), "way", 1.0), "whole resid_post of L0 to L3"),
        (steer(Stream.RESID_POST, (1,), "unknown", 1.0), "no direction of that name"),
    ],
)
def test_what_cannot_be_written_is_refused(probe: Any, said: str, tiny: Any, items: Any) -> None:
    with pytest.raises(InvalidEdit, match=said):
        generate(Stack(tiny("llama")), [items((5,))[0].ids], [probe], directions(), new_tokens=N)


@pytest.mark.parametrize(("prompts", "n"), [((), 1), (((),), 1), (((1,),), 0)])
def test_nothing_to_write_is_refused(prompts: Any, n: int, tiny: Any) -> None:
    with pytest.raises(InvalidEdit, match="at least one token"):
        generate(Stack(tiny("llama")), prompts, PROBES, directions(), new_tokens=n)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gpu_writes_what_the_cpu_writes(architecture: str, tiny: Any, items: Any) -> None:
    import copy

    model, prompts = tiny(architecture, tied=False), [item.ids for item in items(LENGTHS)]
    own = generate(Stack(model), prompts, PROBES, directions(), new_tokens=N)
    there = copy.deepcopy(model).to("cuda")
    assert generate(Stack(there), prompts, PROBES, directions(), new_tokens=N).tolist() == own.tolist()
