"""What adapters add to weights: against peft's own merges, numpy's SVD and the dense products."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from harness.adapters.items import Item
from harness.adapters.training import module_names, train
from harness.adapters.updates import Factors, Updates, merged, updates_of
from harness.adapters.values import LINEAR, Recipe
from harness.edits import InvalidEdit, Stream

RECIPE = Recipe(
    name="tiny",
    rank=3,
    alpha=6,
    modules=LINEAR,
    steps=4,
    batch=3,
    learning_rate=1e-2,
    warmup=1,
    items=6,
    checkpoints=(0, 4),
)
SHAPES = {(0, Stream.Q): (10, 7), (0, Stream.DOWN): (7, 12), (2, Stream.Q): (10, 7)}


def made(seed: int, rank: int = 3, scale: float = 2.0, shapes: Any = SHAPES) -> Updates:
    generator = torch.Generator().manual_seed(seed)
    return Updates(
        {
            place: Factors(
                torch.randn(rank, d_in, generator=generator),
                torch.randn(d_out, rank, generator=generator),
                scale,
            )
            for place, (d_out, d_in) in shapes.items()
        }
    )


@pytest.fixture(scope="module")
def trained(tiny):
    """Two adapters of one model, trained on different items; the model."""
    model = tiny("llama", layers=2)

    def items(first: int) -> list[Item]:
        return [Item(ids=(first + i, 5, 9 + i, first), answer=20 + i) for i in range(6)]

    return model, [train(model, items(first), RECIPE, seed) for first, seed in ((30, 1), (60, 2))]


@pytest.fixture(scope="module")
def in_peft(trained):
    """The same two adapters in a peft model, under the names "0" and "1"."""
    model, adapters = trained
    names = module_names(model, RECIPE)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=list(names.values()), lora_dropout=0.0)
    wrapped = get_peft_model(copy.deepcopy(model), config, adapter_name="0")
    wrapped.add_adapter("1", config)
    for adapter, found in enumerate(adapters):
        for (layer, module), name in names.items():
            target = wrapped.base_model.model.get_submodule(name)
            target.lora_A[str(adapter)].weight.data.copy_(found.states[4][f"{layer}.{module}.A"])
            target.lora_B[str(adapter)].weight.data.copy_(found.states[4][f"{layer}.{module}.B"])
    return wrapped


def test_weights_with_the_update_are_those_that_peft_merges(trained, in_peft):
    model, adapters = trained
    wrapped = copy.deepcopy(in_peft)
    wrapped.set_adapter("0")
    theirs = dict(wrapped.merge_and_unload().named_parameters())
    updates = updates_of(adapters[0].states[4], RECIPE.scale)
    changed = {f"{name}.weight": place for place, name in module_names(model, RECIPE).items()}

    assert len(changed) == 2 * 7
    assert set(theirs) == {name for name, _ in model.named_parameters()}
    for name, base in model.named_parameters():
        ours = base + updates.delta(*changed[name]) if name in changed else base
        torch.testing.assert_close(ours, theirs[name], rtol=0, atol=1e-6, msg=name)
        assert (name in changed) == (not torch.equal(theirs[name], base))


def test_an_untrained_adapter_adds_exactly_nothing(trained):
    _, adapters = trained
    updates = updates_of(adapters[0].states[0], RECIPE.scale)
    assert all(not factors.delta.any() for factors in updates.values())
    assert updates.norm() == 0
    assert updates.factor_norm() > 0
    drawn = updates.random_like(torch.Generator().manual_seed(0))
    assert drawn.norm() == 0


@pytest.mark.parametrize("how", ["cat", "svd", "linear"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.5), (1.0, -0.7)])
def test_merges_are_those_of_peft(trained, in_peft, how, weights):
    model, adapters = trained
    parts = [updates_of(found.states[4], RECIPE.scale) for found in adapters]
    ours = merged(list(zip(weights, parts, strict=True)), how)
    wrapped = copy.deepcopy(in_peft)
    wrapped.add_weighted_adapter(["0", "1"], list(weights), "merged", combination_type=how)
    assert len(ours) == 2 * 7
    for place, name in module_names(model, RECIPE).items():
        theirs = wrapped.base_model.model.get_submodule(name).get_delta_weight("merged")
        assert theirs.norm() > 1e-3
        torch.testing.assert_close(ours.delta(*place), theirs, rtol=0, atol=1e-6)


def test_a_sum_is_the_weighted_sum_of_the_updates_whatever_their_ranks():
    left, right = made(0), made(1, rank=5, scale=0.5)
    ours = merged([(0.3, left), (-2.0, right)], "sum")
    for place in SHAPES:
        expected = 0.3 * 2.0 * left[place].b @ left[place].a - 2.0 * 0.5 * right[place].b @ right[place].a
        torch.testing.assert_close(ours.delta(*place), expected, rtol=0, atol=1e-5)


def test_a_module_that_one_part_lacks_gets_the_other_part():
    left, right = made(0).only(modules=(Stream.Q,)), made(1).only(layers=(0,))
    for how in ("sum", "cat", "svd", "linear"):
        ours = merged([(1.0, left), (1.0, right)], how)
        assert set(ours) == set(SHAPES)
        torch.testing.assert_close(ours.delta(2, Stream.Q), left.delta(2, Stream.Q), rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.delta(0, Stream.DOWN), right.delta(0, Stream.DOWN), rtol=0, atol=1e-5)


def test_factors_of_two_ranks_have_no_linear_merge():
    with pytest.raises(InvalidEdit, match=r"ranks \[3, 5\] have no linear merge"):
        merged([(1.0, made(0)), (1.0, made(1, rank=5))], "linear")
    assert len(merged([], "svd")) == 0


@pytest.mark.parametrize("rank", [1, 2, 3, 9])
def test_a_truncation_is_that_of_numpys_svd(rank):
    updates = made(0)
    cut = updates.truncated(rank)
    for place, factors in updates.items():
        u, s, v_t = np.linalg.svd(factors.delta.double().numpy(), full_matrices=False)
        expected = (u[:, :rank] * s[:rank]) @ v_t[:rank]
        np.testing.assert_allclose(cut.delta(*place).numpy(), expected, atol=2e-5)
        assert np.linalg.matrix_rank(cut.delta(*place).numpy(), tol=1e-3) == min(rank, 3)
        assert cut[place].rank == min(rank, 3)


def test_an_update_is_cut_to_one_rank_at_least():
    with pytest.raises(InvalidEdit, match="rank 1 or more, not 0"):
        made(0).truncated(0)


def test_norms_are_those_of_the_dense_updates():
    updates = made(0)
    dense = {place: factors.delta.double().norm().item() for place, factors in updates.items()}
    assert updates.norm() == pytest.approx(np.sqrt(sum(norm**2 for norm in dense.values())), rel=1e-6)
    assert updates.norm(layers=(2,)) == pytest.approx(dense[2, Stream.Q], rel=1e-6)
    assert updates.norm((0,), (Stream.DOWN,)) == pytest.approx(dense[0, Stream.DOWN], rel=1e-6)
    assert updates.norm(layers=()) == 0
    a, b, scale = updates[2, Stream.Q]
    assert scale == 2.0
    assert updates.factor_norm((2,)) == pytest.approx(float((a**2).sum() + (b**2).sum()) ** 0.5, rel=1e-6)
    squares = sum(float((f.a**2).sum() + (f.b**2).sum()) for f in updates.values())
    assert updates.factor_norm() == pytest.approx(np.sqrt(squares), rel=1e-6)


def test_only_keeps_what_is_named():
    updates = made(0)
    assert list(updates) == [(0, Stream.DOWN), (0, Stream.Q), (2, Stream.Q)]
    assert set(updates.only((0,))) == {(0, Stream.Q), (0, Stream.DOWN)}
    assert set(updates.only(modules=(Stream.Q,))) == {(0, Stream.Q), (2, Stream.Q)}
    assert set(updates.only((2,), (Stream.DOWN,))) == set()
    with pytest.raises(KeyError):
        updates.delta(1, Stream.Q)


def test_a_random_update_has_the_size_of_the_trained_one_in_every_module_and_nothing_else_of_it():
    updates = made(0)
    draws = [updates.random_like(torch.Generator().manual_seed(seed)) for seed in (8, 8, 9)]
    for place, factors in updates.items():
        first, again, other = (drawn[place] for drawn in draws)
        assert first.delta.norm().item() == pytest.approx(factors.delta.norm().item(), rel=1e-5)
        assert first.a.norm().item() == pytest.approx(factors.a.norm().item(), rel=1e-5)
        assert first.a.shape == factors.a.shape
        assert first.b.shape == factors.b.shape
        assert torch.equal(first.a, again.a)
        assert torch.equal(first.b, again.b)
        for left, right in pairwise((factors, first, other)):
            cosine = torch.cosine_similarity(left.delta.flatten(), right.delta.flatten(), dim=0)
            assert abs(cosine) < 0.7


def test_a_state_is_read_by_block_and_module():
    tensors = {"11.gate.A": torch.ones(1, 4), "11.gate.B": torch.ones(5, 1)}
    assert updates_of(tensors, 0.5).delta(11, Stream.GATE).tolist() == [[0.5] * 4] * 5
    with pytest.raises(ValueError, match="'nose' is not a valid Stream"):
        updates_of({"1.nose.A": torch.ones(1, 4)}, 0.5)
