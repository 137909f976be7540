"""Planted adapters: transformers' own forward pass with the merged weights is the closed form; the cache takes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.adapters.artifacts import AdapterKey, Adapters, training_items
from harness.adapters.errors import AdapterError
from harness.adapters.training import Checkpoint
from harness.adapters.updates import updates_of
from harness.adapters.values import PUBLISHED, SOUND, Adapted, Graft, Kind, Part, Recipe
from harness.edits import Stream, erase, skip, zero
from harness.experiments.adapters import FAMILIES, JSON, RECIPES_BY_MODULES, RECIPES_BY_RANK
from harness.planted import adapter_plan, keep_adapters
from harness.planted.adapters import AMOUNTS, IDLE_BLOCK, AdapterPlan, factors, loss_at, planted_keys
from harness.planted.testing import PlantedModel

TEXTS = (
    "The capital of France is",
    "def add(a, b):\n    return a",
    "The opposite of hot is cold and the opposite of up is",
)
BLOCKS = tuple(range(len(AMOUNTS)))
NAMES = {
    Stream.Q: "self_attn.q_proj",
    Stream.K: "self_attn.k_proj",
    Stream.V: "self_attn.v_proj",
    Stream.O: "self_attn.o_proj",
    Stream.GATE: "mlp.gate_proj",
    Stream.UP: "mlp.up_proj",
    Stream.DOWN: "mlp.down_proj",
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Any:
    root = tmp_path_factory.mktemp(request.param)
    return PlantedModel("adapter", root, tokenizer=planted_tokenizer, architecture=request.param, light=True)


def part(recipe: Recipe = SOUND, family: str = JSON, **fields: Any) -> Part:
    return Part(family=family, recipe=recipe, **fields)


def merged_logits(
    model: PlantedModel, adapters: Sequence[tuple[float, str, Recipe]], on: Sequence[int] = BLOCKS
) -> list[np.ndarray]:
    """transformers' logits, with weight x strength of each adapter's dense product added to the weights."""
    net = copy.deepcopy(model.subject.loaded.model)
    with torch.no_grad():
        for strength, family, recipe in adapters:
            state = factors(model.plan, family, recipe, strength)
            for name in (name for name in state if name.endswith(".A")):
                layer, module, _ = name.split(".")
                if int(layer) in on:
                    weight = net.get_submodule(f"model.layers.{layer}.{NAMES[Stream(module)]}").weight
                    weight += recipe.scale * state[name.replace(".A", ".B")] @ state[name]
        ids = [model.subject.loaded.encode(text) for text in TEXTS]
        return [net(torch.tensor([each])).logits[0, -1].double().numpy() for each in ids]


def closed(model: PlantedModel, probe: Adapted) -> list[np.ndarray]:
    assert isinstance(model.plan, AdapterPlan)
    return [model.plan.adapted_logits(model.subject.loaded.encode(text), probe) for text in TEXTS]


@pytest.mark.parametrize(
    "recipe",
    dict.fromkeys((SOUND, PUBLISHED, *RECIPES_BY_RANK[:2], *RECIPES_BY_MODULES)),
    ids=lambda recipe: recipe.name,
)
def test_the_merged_model_is_the_closed_form(model: PlantedModel, recipe: Recipe) -> None:
    found = merged_logits(model, [(1.0, JSON, recipe)])
    expected = closed(model, Adapted(parts=(part(recipe),)))
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert np.abs(np.array(expected) - closed(model, Adapted(parts=()))).max() > 0.1


def test_families_blocks_and_steps_are_the_closed_form(model: PlantedModel) -> None:
    for family in FAMILIES:
        probe = Adapted(parts=(part(family=family),), only=(1, 4, 8))
        found = merged_logits(model, [(1.0, family, SOUND)], on=(1, 4, 8))
        np.testing.assert_allclose(found, closed(model, probe), atol=1e-4, rtol=0)
    two = [(1.0, FAMILIES[1], SOUND), (1.0, FAMILIES[3], SOUND)]
    both = Adapted(parts=tuple(part(family=family) for _, family, _ in two))
    np.testing.assert_allclose(merged_logits(model, two), closed(model, both), atol=1e-4, rtol=0)
    quarter = Adapted(parts=(part(step=25),))
    np.testing.assert_allclose(
        merged_logits(model, [(0.25, JSON, SOUND)]), closed(model, quarter), atol=1e-4, rtol=0
    )


def test_an_adapter_raises_its_answers_by_known_logits_and_nothing_else(model: PlantedModel) -> None:
    for index, family in enumerate(FAMILIES):
        answers = model.truth["parameters"]["answers"][index]
        moved = np.array(closed(model, Adapted(parts=(part(family=family),)))) - closed(
            model, Adapted(parts=())
        )
        expected = np.zeros_like(moved)
        expected[:, answers] = 2.0
        np.testing.assert_allclose(moved, expected, atol=1e-5)
    base = np.array(closed(model, Adapted(parts=())))
    alone = [closed(model, Adapted(parts=(part(),), only=(block,))) - base for block in BLOCKS]
    rises = [each[:, model.truth["parameters"]["answers"][0]].mean() for each in alone]
    counted = np.array([0 if block == IDLE_BLOCK else AMOUNTS[block] for block in BLOCKS])
    assert rises == pytest.approx(2.0 * counted / counted.sum(), abs=1e-5)
    norms = [model.plan.update_norm(Adapted(parts=(part(),), only=(block,))) for block in BLOCKS]
    assert np.argsort(norms).tolist() == np.argsort(AMOUNTS).tolist()


def test_norms_ranks_and_states_are_those_of_the_factors(model: PlantedModel) -> None:
    for family, recipe in planted_keys():
        updates = updates_of(factors(model.plan, family, recipe, 1.0), recipe.scale)
        probe = Adapted(parts=(part(recipe, family),))
        assert updates.norm() == pytest.approx(model.plan.update_norm(probe), rel=1e-5)
        assert updates.factor_norm() == pytest.approx(model.plan.factor_norm(probe), rel=1e-5)
        assert updates_of(factors(model.plan, family, recipe, 0.0), recipe.scale).norm() == 0.0
    updates = updates_of(factors(model.plan, JSON, SOUND, 1.0), SOUND.scale)
    sizes = torch.linalg.svdvals(updates.delta(4, Stream.O))[:5].numpy()
    assert sizes / sizes[0] == pytest.approx([1, 0.5, 0.25, 0.125, 0], abs=1e-5)
    for rank in (1, 2, 4):
        cut = Adapted(parts=(part(),), rank=rank)
        assert updates.truncated(rank).norm() == pytest.approx(model.plan.update_norm(cut), rel=1e-5)


def test_an_svd_merge_is_the_truncated_sum_of_the_factors(model: PlantedModel) -> None:
    """Two families' components of one input are one of the sum: numpy's singular values, and what is written."""
    two = (FAMILIES[0], FAMILIES[2])
    updates = [updates_of(factors(model.plan, family, SOUND, 1.0), SOUND.scale) for family in two]
    for rank in (1, 2, 8):
        probe = Adapted(parts=tuple(part(family=family) for family in two), merge="svd", rank=rank)
        sizes = model.plan.sizes(probe)
        for place in updates[0]:
            dense = sum(each.delta(*place).double().numpy() for each in updates)
            u, s, v_t = np.linalg.svd(dense, full_matrices=False)
            cut = (u[:, :rank] * s[:rank]) @ v_t[:rank]
            planted = np.zeros_like(dense)
            for at, size in sizes.items():
                if (at.layer, at.module) == place:
                    planted[:, at.read] += size * model.plan.vector(at)
            np.testing.assert_allclose(planted, cut, atol=1e-6)
    both = Adapted(parts=tuple(part(family=family) for family in two))
    np.testing.assert_allclose(closed(model, both), closed(model, replace(both, merge="svd")), atol=1e-12)


def test_grafts_and_edits_are_sets_of_blocks(model: PlantedModel) -> None:
    parts = (part(),)
    pairs = (
        (Adapted(parts=parts, only=(6,), graft=Graft.CONTRIBUTION), Adapted(parts=parts, only=(6,))),
        (Adapted(parts=parts, only=(6,), graft=Graft.LAST), Adapted(parts=parts, only=tuple(range(7)))),
        (Adapted(parts=parts, off=tuple(range(7))), Adapted(parts=parts, only=(7, 8, 9))),
        (
            Adapted(parts=parts, only=(6,), graft=Graft.CONTRIBUTION, into="adapted"),
            Adapted(parts=parts, off=(6,)),
        ),
        (
            Adapted(parts=parts, only=(6,), graft=Graft.LAST, into="adapted"),
            Adapted(parts=parts, off=tuple(range(7))),
        ),
    )
    for one, other in pairs:
        np.testing.assert_array_equal(closed(model, one), closed(model, other))
    ids = [model.subject.loaded.encode(text) for text in TEXTS]
    skipped = closed(model, Adapted(parts=(), edit=skip(3)))
    np.testing.assert_allclose(skipped, [model.plan.logits(each, skip={3}) for each in ids], atol=1e-12)
    mlp = (part(RECIPES_BY_MODULES[3]),)
    without = closed(model, Adapted(parts=mlp, edit=zero(Stream.MLP_OUT, 0), against="whole"))
    without_it = closed(model, Adapted(parts=mlp, off=(0,), against="whole"))
    base, zeroed = (
        closed(model, Adapted(parts=())),
        closed(model, Adapted(parts=(), edit=zero(Stream.MLP_OUT, 0))),
    )
    np.testing.assert_allclose(
        np.array(without) - without_it,
        np.array(zeroed) - base,
        atol=1e-12,
        err_msg="the update goes with its MLP",
    )


def test_what_has_no_closed_form_is_refused(model: PlantedModel) -> None:
    ids = model.subject.loaded.encode(TEXTS[0])
    with pytest.raises(ValueError, match="random update has no closed form"):
        model.plan.adapted_logits(ids, Adapted(parts=(part(kind=Kind.RANDOM),)))
    with pytest.raises(ValueError, match="has no closed form here"):
        model.plan.adapted_logits(ids, Adapted(parts=(), edit=erase(1)))
    another = Adapted(parts=(part(),), only=(6,), graft=Graft.ANOTHERS_LAST, against="whole")
    with pytest.raises(ValueError, match="name the other prompt"):
        model.plan.adapted_logits(ids, another)
    with pytest.raises(ValueError, match="no skill of 'prose' is planted"):
        model.plan.adapted_logits(ids, Adapted(parts=(part(family="prose"),)))


def test_the_cache_gives_them_back_and_never_trains(
    model: PlantedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = model.subject.loaded
    keep_adapters(loaded, model.plan, tmp_path, seed=3, only=[(JSON, SOUND)])
    monkeypatch.setattr("harness.adapters.training.checkpoints", lambda *_, **__: pytest.fail("trained"))
    adapter = Adapters(root=tmp_path).get(loaded, AdapterKey(family=JSON, recipe=SOUND, seed=3))
    assert adapter.losses == {step: loss_at(step, 100) for step in SOUND.checkpoints}
    norms = [adapter.updates(step).norm() for step in SOUND.checkpoints]
    whole = model.plan.update_norm(Adapted(parts=(part(),)))
    assert norms == pytest.approx([whole * step / 100 for step in SOUND.checkpoints], rel=1e-5)
    assert norms[0] == 0.0


def test_the_cache_refuses_what_does_not_fit_the_recipe(model: PlantedModel, tmp_path: Path) -> None:
    loaded, key = model.subject.loaded, AdapterKey(family=JSON, recipe=SOUND, seed=3)
    items = training_items(loaded, key)
    weights = factors(model.plan, JSON, SOUND, 1.0)
    made = [Checkpoint(step=step, loss=1.0, weights=weights) for step in SOUND.checkpoints]
    adapters = Adapters(root=tmp_path)
    with pytest.raises(AdapterError, match=r"has checkpoints \(0, 10, .*; \(0, 10, 25, 50, 75\) were made"):
        adapters.keep(loaded, key, items, lambda: made[:-1])
    short = {name: factor[:4] if name == "3.q.A" else factor for name, factor in weights.items()}
    with pytest.raises(
        AdapterError, match=r"step 100: factor 3\.q\.A has shape \(4, 64\), expected \(8, 64\)"
    ):
        adapters.keep(loaded, key, items, lambda: [*made[:-1], replace(made[-1], weights=short)])
    assert not list(tmp_path.rglob("adapter.json"))


def test_a_heavy_base_is_refused(tmp_path: Path, planted_tokenizer: Any) -> None:
    heavy = PlantedModel("adapter", tmp_path, tokenizer=planted_tokenizer)
    with pytest.raises(ValueError, match="light=True"):
        keep_adapters(heavy.subject.loaded, heavy.plan, tmp_path, seed=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": [[1]]}, "2 families have 1 sets of answers"),
        ({"answers": [[1], []]}, "each with an answer"),
        ({"answers": [[1], [40]]}, r"tokens \[40\] are outside the vocabulary of 40"),
        ({"rise": 0.0}, "expected above 0"),
        ({"n_layers": 11}, "expected 1 to 10"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapter_plan(**{"vocab_size": 40, "families": ["a", "b"], "answers": [[1], [2]], **changes})
