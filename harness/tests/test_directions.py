"""Directions: by hand from what hooks see, of the lengths they should have, and never from prompts that are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.directions import Development, DevelopmentPair, NoDirection, last_states
from harness.donors import DonorRequest, build_donors
from harness.edits import Site, Stream, skip
from harness.engine.blocks import Stack
from harness.engine.sweep import Item
from harness.experiments import EXPERIMENTS
from harness.planted.steerable import Steering as PlantedStep
from harness.planted.testing import PlantedModel
from harness.steering import (
    Direction,
    Kind,
    Steering,
    Unit,
    controlled_blocks,
    families_of,
    read_steering,
    side,
    split_blocks,
    steered_blocks,
)
from tasks.suites import find_suite

NAMES = (
    "target of factual_recall",
    "raw target of json_schema",
    "contrast of stance",
    "random 3",
    "fixed random 0",
    "shuffled target of factual_recall 1",
    "shuffled contrast of stance 0",
)


def seen_by_hooks(model: Any, prompts: list[tuple[int, ...]]) -> np.ndarray:
    """resid_post at the last position by hooks on the model's own blocks: layer x prompt x d_model."""
    rows: list[list[np.ndarray]] = []
    blocks = model.model.layers
    for ids in prompts:
        found: list[np.ndarray] = []

        def keep(_: Any, __: Any, out: Any, found: list[np.ndarray] = found) -> None:
            found.append((out[0] if isinstance(out, tuple) else out)[0, -1].double().numpy())

        handles = [block.register_forward_hook(keep) for block in blocks]
        with torch.no_grad():
            model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        rows.append(found)
    return np.array(rows).transpose(1, 0, 2)


@pytest.fixture(scope="module")
def made(tiny: Any, items: Any) -> tuple[Any, Development, np.ndarray, np.ndarray]:
    """A tiny model with eight development pairs of three families, and what hooks see of both prompts."""
    model = tiny("qwen2")
    clean = [i.ids for i in items((5, 7, 5, 9, 6, 4, 8, 5), seed=1)]
    corrupt = [i.ids for i in items((5, 7, 5, 9, 6, 4, 8, 5), seed=2)]
    families = ["factual_recall"] * 3 + ["uncertainty"] * 2 + ["refusal_compliance"] + ["copying"] * 2
    answers = [" Paris", " Rome", " Oslo", " known", " unknown", " No", " a", " b"]
    pairs = [
        DevelopmentPair(clean=a, corrupt=b, family=family, answer=answer)
        for a, b, family, answer in zip(clean, corrupt, families, answers, strict=True)
    ]
    return (
        model,
        Development.of(Stack(model), pairs),
        seen_by_hooks(model, clean),
        seen_by_hooks(model, corrupt),
    )


def matrix(vectors: Any) -> np.ndarray:
    layers = sorted(site.layer for site in vectors)
    return np.array([vectors[Site(layer=i, stream=Stream.RESID_POST)].double().numpy() for i in layers])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text", "lfm2"])
def test_the_stream_at_the_last_position_is_what_hooks_see(architecture: str, tiny: Any, items: Any) -> None:
    model, prompts = tiny(architecture), [i.ids for i in items((5, 7, 5, 9, 1, 12))]
    np.testing.assert_allclose(
        last_states(Stack(model), prompts).numpy(), seen_by_hooks(model, prompts), atol=2e-5, rtol=1e-5
    )


def test_a_raw_target_is_the_difference_of_means(made: Any) -> None:
    _, development, clean, _ = made
    expected = clean[:, :3].mean(axis=1) - clean[:, 3:].mean(axis=1)
    found = matrix(development.vectors(Direction.parse("raw target of factual_recall"), 42))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_raw_contrast_is_affirmative_less_negative(made: Any) -> None:
    _, development, clean, corrupt = made
    signs = np.array([1, -1, -1])[None, :, None]
    expected = (signs * (clean[:, 3:6] - corrupt[:, 3:6])).mean(axis=1)
    found = matrix(development.vectors(Direction.parse("raw contrast of stance"), 42))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if "raw" not in n and "json" not in n])
def test_a_direction_is_as_long_as_its_block_s_stream(made: Any, name: str) -> None:
    _, development, clean, _ = made
    norms = np.linalg.norm(clean, axis=-1).mean(axis=1)
    expected = np.full(len(norms), np.median(norms[: len(norms)])) if name.startswith("fixed") else norms
    if name.startswith("fixed"):
        expected = np.full(len(norms), np.sort(norms)[(len(norms) - 1) // 2])  # torch takes the lower of two
    lengths = np.linalg.norm(matrix(development.vectors(Direction.parse(name), 42)), axis=1)
    np.testing.assert_allclose(lengths, expected, rtol=1e-5)


def test_what_is_drawn_depends_on_the_seed_the_draw_and_the_block(made: Any) -> None:
    _, development, _, _ = made
    drawn = {
        (name, seed): matrix(development.vectors(Direction.parse(name), seed))
        for name in (
            "random 0",
            "random 1",
            "shuffled target of factual_recall 0",
            "shuffled contrast of stance 0",
        )
        for seed in (42, 137)
    }
    values = list(drawn.values())
    for i, one in enumerate(values):
        assert all(np.abs(one - other).max() > 1e-3 for other in values[:i])
    unit = drawn["random 0", 42] / np.linalg.norm(drawn["random 0", 42], axis=1, keepdims=True)
    assert np.abs(np.triu(unit @ unit.T, 1)).max() < 0.7  # a draw of its own in every block
    again = matrix(development.vectors(Direction.parse("random 0"), 42))
    np.testing.assert_array_equal(again, drawn["random 0", 42])
    target = matrix(development.vectors(Direction.parse("target of factual_recall"), 42))
    np.testing.assert_array_equal(
        target, matrix(development.vectors(Direction.parse("target of factual_recall"), 7))
    )


def test_judged_prompts_take_no_part(made: Any) -> None:
    model, development, clean, _ = made
    judged = development.pairs[0].clean, development.pairs[4].corrupt
    request = DonorRequest(
        stack=Stack(model),
        items=[Item(ids=ids, answer=0, foil=1) for ids in judged],
        records=(),
        corrupt=(),
        clean=(),
        moments=dict,
        development=lambda: development,
        seed=42,
    )
    (found,) = build_donors(("raw target of factual_recall",), request).values()
    others = [3, 5, 6, 7]
    expected = clean[:, 1:3].mean(axis=1) - clean[:, others].mean(axis=1)
    np.testing.assert_allclose(matrix(found), expected, atol=1e-5)


def test_no_direction_comes_of_nothing(made: Any) -> None:
    _, development, _, _ = made
    with pytest.raises(NoDirection, match="0 of 8 development prompts"):
        development.vectors(Direction.parse("target of json_schema"), 42)
    with pytest.raises(NoDirection, match="no development pair is of it"):
        development.vectors(Direction.parse("contrast of json_schema"), 42)
    with pytest.raises(ValueError, match="neither affirmative nor negative"):
        development.vectors(Direction.parse("contrast of factual_recall"), 42)
    equal = Development(pairs=development.pairs, clean=development.clean, corrupt=development.clean)
    with pytest.raises(NoDirection, match="is zero after block"):
        equal.vectors(Direction.parse("contrast of stance"), 42)
    with pytest.raises(ValueError, match="say which"):
        build_donors(
            ("random 0",),
            DonorRequest(stack=None, items=(), records=(), corrupt=(), clean=(), moments=dict, seed=1),
        )  # type: ignore[arg-type]


# Names


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stands_for_one_direction(name: str) -> None:
    assert str(Direction.parse(name)) == name
    steering = Steering(direction=Direction.parse(name), layers=(1, 4), strength=-0.25)
    assert read_steering(steering.edit()) == steering
    assert str(steering.edit()) == f"add -0.25 x {name} to L1+L4 at -1"


@pytest.mark.parametrize(
    "name", ["mean", "target", "target of ", "random", "target of a 3x", "shuffled target 1"]
)
def test_other_names_stand_for_none(name: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        Direction.parse(name)


@pytest.mark.parametrize(
    "parts",
    [
        {"kind": Kind.RANDOM},
        {"kind": Kind.RANDOM, "skill": "copying", "draw": 1},
        {"kind": Kind.TARGET},
        {"kind": Kind.TARGET, "skill": "copying", "draw": 1},
        {"kind": Kind.SHUFFLED_TARGET, "skill": "copying"},
        {"kind": Kind.RANDOM, "draw": 1, "unit": Unit.RAW},
    ],
)
def test_parts_that_do_not_go_together_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Direction(**parts)


def test_other_probes_are_no_steering() -> None:
    assert read_steering(skip(2)) is None


def test_every_prompt_of_the_stance_takes_a_side_and_its_foil_the_other() -> None:
    families = [f for f in find_suite("full") if f.name in families_of("stance")]
    assert len(families) == 2
    for family in families:
        for pair in family.candidates():
            assert side(pair.clean.answer) == -side(pair.clean.foil), pair.clean
    with pytest.raises(ValueError, match="neither"):
        side(" Paris")


@pytest.mark.parametrize("n_layers", [1, 2, 6, 18, 24, 28, 30, 36])
def test_blocks_are_spread_and_of_the_model(n_layers: int) -> None:
    blocks = steered_blocks(n_layers)
    assert list(blocks) == sorted(set(blocks))
    assert 0 <= blocks[0] <= blocks[-1] < n_layers
    assert len(blocks) >= min(7, n_layers)
    for chosen in (controlled_blocks(n_layers), split_blocks(n_layers)):
        assert set(chosen) <= set(blocks)
    if n_layers not in (24, 28):
        assert len(blocks) == min(7, n_layers)
        assert max(np.diff((-1, *blocks, n_layers))) <= -(-n_layers // 7) + 1


def test_the_atlas_s_blocks_are_there() -> None:
    assert {2, 12, 19, 21} <= set(controlled_blocks(24))
    assert {2, 6, 21, 26} <= set(controlled_blocks(28))
    assert split_blocks(24) == (2, 21, 22, 23)


# On planted models


@pytest.fixture(scope="module")
def steerable(tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any) -> PlantedModel:
    root: Path = tmp_path_factory.mktemp("steerable")
    return PlantedModel(
        "steerable", root, tokenizer=planted_tokenizer, light=True, read_layer=3, source=(1, 2)
    )


def test_the_contrast_is_the_planted_direction_between_source_and_reader(steerable: PlantedModel) -> None:
    planted = np.array(steerable.truth["direction"])
    found = matrix(steerable.subject.development.vectors(Direction.parse("contrast of stance"), 42))
    along = found @ planted / np.linalg.norm(found, axis=1)
    assert abs(along[0]) < 1e-3
    assert min(along[1:3]) > 0.9
    decoy = found @ np.array(steerable.truth["decoy"]) / np.linalg.norm(found, axis=1)
    assert np.abs(decoy).max() < 0.35
    target = matrix(steerable.subject.development.vectors(Direction.parse("target of factual_recall"), 42))
    assert np.abs(target @ planted / np.linalg.norm(target, axis=1)).max() < 0.2


def test_every_step_along_a_difference_of_means_is_the_closed_form(steerable: PlantedModel) -> None:
    """Each contrast and target edit of the stance sweep, on every fifth prompt: KL and the answer's log-probability."""
    evidence = steerable.measure("steering_stance")
    assert evidence.failed == ()
    effects, prompts = evidence.effects, steerable.encode(evidence)
    development = steerable.subject.development.without({tuple(ids) for ids in prompts})
    checked = 0
    for row, probe in enumerate(effects.probes):
        steering = read_steering(probe)
        assert steering is not None
        if steering.direction.kind is Kind.RANDOM:
            continue  # they move the constant that neurons read
        (layer,) = steering.layers
        vectors = matrix(development.vectors(steering.direction, 42))
        step = PlantedStep(layer=layer, alpha=steering.strength, direction=vectors[layer], positions=(-1,))
        for column in range(0, len(prompts), 5):
            expected = steerable.plan.kl_nats(prompts[column], steer=step)  # type: ignore[call-arg]
            measured = effects.metrics["kl_nats"][row, column]
            assert measured == pytest.approx(expected, abs=2e-3, rel=2e-3), (str(probe), column)
            checked += 1
    assert checked > 500


def test_the_experiments_name_the_donors_of_their_probes() -> None:
    from harness.anatomy import Anatomy

    for name in ("steering_sweep", "steering_controls", "steering_stance", "steering_depth"):
        experiment = EXPERIMENTS[name]
        for protocol in experiment.protocols:
            probes = experiment.probes(protocol, Anatomy(n_layers=30))
            read = [read_steering(probe) for probe in probes]
            assert None not in read
            assert {str(s.direction) for s in read if s} <= set(experiment.donors)
