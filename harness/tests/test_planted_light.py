"""Without its huge constant a planted model is the same function, and its stream has a length of its own."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.directions import last_states
from harness.planted import build
from harness.planted.light import HEAVY_KINDS
from harness.planted.light_steps import stepped_logits
from harness.planted.testing import PlantedModel
from harness.planted.writers import D_MODEL

KINDS: dict[str, dict[str, Any]] = {
    "adapter": {"n_layers": 4},
    "copy_head": {"layer": 2, "head": 1, "n_layers": 4, "distance": 3},
    "fact": {"layer": 1, "mover": (2, 3), "n_layers": 4},
    "hub": {"layer": 1, "n_layers": 4},
    "late_read": {"layer": 2, "n_layers": 4},
    "null": {"n_layers": 4},
    "redundant_pair": {"first": 0, "second": 2, "reader": 3, "n_layers": 4},
    "steerable": {"read_layer": 2, "source": (0, 1), "n_layers": 4},
    "two_skills": {"layer": 1, "reader": 2, "n_layers": 4},
}
HEAVY: dict[str, dict[str, Any]] = {"massive": {"layer": 1}, "random": {}}
TEXTS = (
    "The capital of France is",
    "def add(a, b):\n    return a",
    "The opposite of hot is cold and the opposite of up is",
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_light_model_is_its_closed_form(
    kind: str, architecture: str, tmp_path: Path, planted_tokenizer: Any
) -> None:
    model = PlantedModel(
        kind, tmp_path, tokenizer=planted_tokenizer, architecture=architecture, light=True, **KINDS[kind]
    )
    assert model.truth["light"] is True
    encoded = [model.subject.loaded.encode(text) for text in TEXTS]
    for ids in encoded:
        with torch.no_grad():
            logits = model.subject.loaded.model(torch.tensor([ids])).logits[0, -1].double().numpy()
        np.testing.assert_allclose(logits, model.plan.logits(ids), atol=1e-4, rtol=0)
    norms = last_states(model.subject.stack, encoded).norm(dim=-1)
    assert 1.0 < float(norms.min()) <= float(norms.max()) < 10.0  # with the constant it is 32768


def test_a_step_as_long_as_the_stream_and_longer_has_its_gain(tmp_path: Path, planted_tokenizer: Any) -> None:
    """Where the constant held the norms, a step of 20 already bends them."""
    model = PlantedModel("steerable", tmp_path, tokenizer=planted_tokenizer, light=True, **KINDS["steerable"])
    ids = model.subject.loaded.encode(TEXTS[0])
    direction = torch.tensor(model.truth["direction"], dtype=torch.float32)
    raised, lowered = (model.subject.loaded.encode(model.truth[side][0])[0] for side in ("raised", "lowered"))

    def contrast(alpha: float) -> float:
        def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            steered = output.clone()
            steered[:, -1] += alpha * direction
            return steered

        handle = model.subject.loaded.model.model.layers[1].register_forward_hook(hook)
        with torch.no_grad():
            logits = model.subject.loaded.model(torch.tensor([ids])).logits[0, -1]
        handle.remove()
        return float(logits[raised] - logits[lowered])

    for alpha in (-100.0, -2.0, 2.0, 100.0):
        assert contrast(alpha) - contrast(0.0) == pytest.approx(model.truth["gain"] * alpha, rel=1e-4)


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("kind", ["steerable", "two_skills"])
def test_steps_of_any_direction_at_any_block_are_the_closed_form(
    kind: str, positions: int, tmp_path: Path, planted_tokenizer: Any
) -> None:
    """Short and long ones, so that no part of the stream is one that the closed form may leave out."""
    model = PlantedModel(kind, tmp_path, tokenizer=planted_tokenizer, light=True, **KINDS[kind])
    rng, lengths, moved = np.random.default_rng(0), (0.5, 2.0, 8.0), []
    for text, layer in product(TEXTS, range(4)):
        ids = model.subject.loaded.encode(text)
        steps = rng.standard_normal((len(lengths), D_MODEL)) / np.sqrt(D_MODEL) * np.array(lengths)[:, None]
        vectors = torch.tensor(steps, dtype=torch.float32)

        def add(_: Any, __: Any, output: torch.Tensor, vectors: torch.Tensor = vectors) -> torch.Tensor:
            stepped = output.clone()
            stepped[:, -positions:] += vectors[:, None]
            return stepped

        handle = model.subject.loaded.model.model.layers[layer].register_forward_hook(add)
        with torch.no_grad():
            logits = model.subject.loaded.model(torch.tensor([ids] * len(lengths))).logits[:, -1]
        handle.remove()
        expected = stepped_logits(
            model.plan, np.array([ids] * len(lengths)), {layer: vectors.double().numpy()}, positions=positions
        )
        tolerance = 1e-4 + 2e-6 * np.abs(expected).max()  # float32 rounds what the largest logit is a sum of
        np.testing.assert_allclose(logits.double().numpy(), expected, atol=tolerance, rtol=0)
        moved.append(np.abs(expected - model.plan.logits(ids)).max(axis=1))
    assert np.min(moved) > 0.1


@pytest.mark.parametrize("kind", HEAVY_KINDS)
def test_kinds_that_need_the_constant_are_refused(kind: str, tmp_path: Path, planted_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=f"the kind '{kind}' needs its constant"):
        build(kind, tmp_path / "model", light=True, tokenizer=planted_tokenizer, **HEAVY[kind])
    assert not (tmp_path / "model").exists()
