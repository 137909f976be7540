"""Attribution against what it estimates: exact effects of edits so small that the second order is all there is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.edits import Action, Edit, InvalidEdit, Probe, Site, Stream, erase, patch, skip, zero
from harness.engine.attribution import attribute
from harness.engine.blocks import Stack
from harness.engine.sweep import Item
from harness.tests.conftest import ARCHITECTURES, VOCAB

Tiny = Callable[..., nn.Module]
Items = Callable[..., list[Item]]
EPS = 1e-3
"""The norms compute in float32 even in a float64 model: a smaller step drowns in its rounding."""


@contextmanager
def shrunk(
    stack: Stack, heads: Sequence[tuple[int, int]], positions: Sequence[int] | None = None, by: float = EPS
) -> Iterator[None]:
    """While open, z of these heads at these positions (None: all) is multiplied by 1 - `by`."""

    def hook(layer: int, head: int) -> Callable[[Any, tuple[Tensor, ...]], tuple[Tensor]]:
        d = stack.blocks[layer].head_dim
        assert d is not None

        def scale(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            z = args[0].clone()
            z[:, slice(None) if positions is None else list(positions), head * d : (head + 1) * d] *= 1 - by
            return (z,)

        return scale

    handles = [
        stack.blocks[layer].out_proj.register_forward_pre_hook(hook(layer, head)) for layer, head in heads
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def double(model: nn.Module) -> Stack:
    """A copy in float64, in which the KL of a small edit can be told."""
    return Stack(copy.deepcopy(model).double())


def logprobs(stack: Stack, item: Item) -> Tensor:
    with torch.no_grad():
        logits = stack.model(input_ids=torch.tensor([item.ids])).logits[0, -1]
    return torch.log_softmax(logits, dim=-1)


def exact_kl(
    stack: Stack, item: Item, heads: Sequence[tuple[int, int]], positions: Sequence[int] | None = None
) -> float:
    """KL(base || edited) / EPS**2: what the quadratic estimates for the whole step, taken from a small one."""
    base = logprobs(stack, item)
    with shrunk(stack, heads, positions):
        edited = logprobs(stack, item)
    return float((base.exp() * (base - edited)).sum()) / EPS**2


def heads_of(stack: Stack) -> list[tuple[int, int]]:
    return [(layer, head) for layer, parts in enumerate(stack.blocks) for head in range(parts.n_heads)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_small_edits_move_the_output_by_what_the_quadratic_says(
    architecture: str, tiny: Tiny, items: Items
) -> None:
    stack, prompts = double(tiny(architecture)), items((5, 7))
    found = attribute(stack, prompts, outcomes=VOCAB)
    heads, positions = found.heads(), found.positions()
    assert heads_of(stack)
    for layer, head in heads_of(stack):
        for p, item in enumerate(prompts):
            assert heads[layer, head, p] == pytest.approx(exact_kl(stack, item, [(layer, head)]), rel=0.03)
            for at in (-1, -3):
                expected = exact_kl(stack, item, [(layer, head)], [at])
                assert positions[layer, head, p, at] == pytest.approx(expected, rel=0.03, abs=1e-9)


def test_several_heads_and_positions_are_added_before_the_square(tiny: Tiny, items: Items) -> None:
    stack, prompts = double(tiny("llama")), items((6, 9))
    found = attribute(stack, prompts, outcomes=VOCAB)
    pair = Edit(sites=tuple(Site(layer=1, stream=Stream.Z, head=h) for h in (0, 1)), action=Action.ZERO)
    ends = Edit(sites=pair.sites[:1], action=Action.ZERO, positions=(0, -1))
    scores = found.probes([pair, ends])
    for p, item in enumerate(prompts):
        assert scores[0, p] == pytest.approx(exact_kl(stack, item, [(1, 0), (1, 1)]), rel=0.03)
        assert scores[1, p] == pytest.approx(exact_kl(stack, item, [(1, 0)], [0, -1]), rel=0.03)
    apart = found.probes([zero(Stream.Z, 1, 0), zero(Stream.Z, 1, 1)]).sum(axis=0)
    assert not np.allclose(scores[0], apart, rtol=0.05), "an interaction that a sum of squares would miss"


def test_merging_outcomes_lowers_the_estimate_and_more_of_them_approach_it(tiny: Tiny, items: Items) -> None:
    stack = Stack(tiny("qwen2"))
    by_outcomes = [attribute(stack, items(), outcomes=n).heads() for n in (2, 4, 16, VOCAB)]
    for fewer, more in pairwise(by_outcomes):
        assert (fewer <= more * (1 + 1e-4) + 1e-9).all()
    assert by_outcomes[-1].mean() > 1.05 * by_outcomes[0].mean()


def _answer(stack: Stack, item: Item, layer: int, head: int, by: float) -> float:
    with shrunk(stack, [(layer, head)], by=by):
        return float(logprobs(stack, item)[item.answer])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_answer_method_is_the_slope_of_the_answer_s_log_probability(
    architecture: str, tiny: Tiny, items: Items
) -> None:
    stack, prompts = double(tiny(architecture)), items((5, 8))
    found = attribute(stack, prompts, method="answer").heads()
    for layer, head in heads_of(stack):
        for p, item in enumerate(prompts):
            less, more = (_answer(stack, item, layer, head, by) for by in (0.01, -0.01))
            slope = abs(less - more) / 0.02
            assert found[layer, head, p] == pytest.approx(slope, rel=0.03, abs=1e-4)


def test_a_head_that_writes_nothing_scores_nothing(tiny: Tiny, items: Items) -> None:
    model = copy.deepcopy(tiny("llama"))
    stack = Stack(model)
    d = stack.blocks[2].head_dim
    assert d is not None
    stack.blocks[2].out_proj.weight.data[:, 3 * d :] = 0.0
    scores = attribute(stack, items()).heads()
    assert (scores[2, 3] == 0.0).all()
    assert (scores[2, :3] > 0.0).all()


def test_blocks_without_heads_hold_nothing(tiny: Tiny, items: Items) -> None:
    stack = Stack(tiny("lfm2"))
    scores = attribute(stack, items()).heads()
    has_heads = np.array([parts.n_heads > 0 for parts in stack.blocks])
    assert (scores[has_heads] > 0).all()
    assert (scores[~has_heads] == 0).all()


def test_a_prompt_s_scores_do_not_depend_on_the_others(tiny: Tiny, items: Items) -> None:
    stack, prompts = Stack(tiny("gemma3_text")), items((5, 7, 5, 9, 5))
    whole = attribute(stack, prompts)
    for p, item in enumerate(prompts):
        alone = attribute(stack, [item])
        np.testing.assert_allclose(whole.heads()[:, :, [p]], alone.heads(), rtol=1e-3, atol=1e-7)
        n = len(item.ids)
        np.testing.assert_allclose(
            whole.positions()[:, :, p, -n:], alone.positions()[:, :, 0], rtol=1e-3, atol=1e-7
        )
        assert (whole.positions()[:, :, p, :-n] == 0).all()


def test_prompts_of_one_length_take_one_forward_pass_and_leave_the_model_as_it_was(
    tiny: Tiny, items: Items
) -> None:
    model = copy.deepcopy(tiny("llama"))
    stack, prompts = Stack(model), items((6, 6, 6))
    ids = torch.tensor([prompts[0].ids])
    before = model(input_ids=ids).logits
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():  # as inside a sweep
        attribute(stack, prompts)
    handle.remove()
    assert len(calls) == 1
    assert torch.equal(model(input_ids=ids).logits, before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not parts.out_proj._forward_pre_hooks for parts in stack.blocks)


@pytest.mark.parametrize(
    "probe",
    [skip(1), erase(1), zero(Stream.MLP_OUT, 1), patch(Stream.Z, 1, "self", head=0)],
    ids=str,
)
def test_what_attribution_does_not_estimate_is_refused(probe: Probe, tiny: Tiny, items: Items) -> None:
    found = attribute(Stack(tiny("llama")), items())
    with pytest.raises(InvalidEdit, match="the zeroing of heads and nothing else"):
        found.probes([probe])


def test_a_position_that_a_prompt_lacks_is_refused(tiny: Tiny, items: Items) -> None:
    found = attribute(Stack(tiny("llama")), items((5, 9)))
    probe = Edit(sites=(Site(layer=1, stream=Stream.Z, head=0),), action=Action.ZERO, positions=(6,))
    with pytest.raises(InvalidEdit, match="only 5 tokens"):
        found.probes([probe])


def test_one_outcome_is_no_distribution(tiny: Tiny, items: Items) -> None:
    with pytest.raises(ValueError, match="outcomes is 1"):
        attribute(Stack(tiny("llama")), items(), outcomes=1)
