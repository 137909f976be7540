"""Every planted kind is the same function in the Llama architecture, which has no biases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import planted
from harness.edits import Stream, skip, zero
from harness.engine import naive
from harness.measure import Subject
from harness.models import LocalDir, ModelSpec, load
from harness.planted.checkpoint import fold_biases, save_as_llama
from harness.planted.testing import PlantedModel
from harness.planted.writers import CONST, CONSTANT, NORM_WEIGHT

TOLERANCE_NATS = 1e-4
TEXTS = (
    "The capital of France is",
    "def add(a, b):\n    return a",
    "1 2 3 4 5 6 7",
    "The opposite of hot is cold and the opposite of up is",
)

KINDS: dict[str, dict[str, Any]] = {
    "adapter": {"n_layers": 4},
    "copy_head": {"layer": 2, "head": 1, "n_layers": 4, "distance": 3},
    "fact": {"layer": 1, "mover": (2, 3), "n_layers": 4},
    "hub": {"layer": 1, "n_layers": 4},
    "late_read": {"layer": 2, "n_layers": 4},
    "massive": {"layer": 1, "n_layers": 4},
    "null": {"n_layers": 4},
    "redundant_pair": {"first": 0, "second": 2, "reader": 3, "n_layers": 4},
    "rounded": {"layer": 1, "rival": 3, "n_layers": 4},
    "steerable": {"read_layer": 2, "source": (0, 1), "n_layers": 4},
    "two_skills": {"layer": 1, "reader": 2, "n_layers": 4},
}
"""Kind -> where it is planted here."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any) -> Callable[[str, str], Path]:
    """built(kind, architecture) -> the directory of that model, built once."""
    root, done = tmp_path_factory.mktemp("llama"), {}

    def build(kind: str, architecture: str) -> Path:
        if (kind, architecture) not in done:
            done[kind, architecture] = planted.build(
                kind,
                root / f"{kind}-{architecture}",
                architecture=architecture,
                tokenizer=planted_tokenizer,
                **KINDS.get(kind, {}),
            )
        return done[kind, architecture]

    return build


def subject_of(directory: Path) -> Subject:
    spec = ModelSpec(
        id="planted_it", title="planted", source=LocalDir(path=directory), license="none", fetch="auto"
    )
    return Subject(load(spec, cache_dir=directory.parent / "cache"))


def every_logit(subject: Subject, text: str) -> np.ndarray:
    ids = torch.tensor([subject.loaded.encode(text)])
    with torch.no_grad():
        return subject.loaded.model(ids).logits[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_both_architectures_give_the_same_logits(kind: str, built: Callable[[str, str], Path]) -> None:
    one, other = (subject_of(built(kind, name)) for name in planted.ARCHITECTURES)
    assert (one.loaded.facts.model_type, other.loaded.facts.model_type) == ("qwen2", "llama")
    for text in TEXTS:
        assert one.loaded.encode(text) == other.loaded.encode(text)
        np.testing.assert_allclose(every_logit(one, text), every_logit(other, text), atol=1e-4, rtol=0)
        for probe in (skip(1), skip(0, 2), zero(Stream.Z, 2, 1), zero(Stream.MLP_OUT, 1)):
            edited = [naive.run(s.loaded.model, s.loaded.encode(text), probe) for s in (one, other)]
            np.testing.assert_allclose(*edited, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_llama_checkpoint_is_the_closed_form(kind: str, built: Callable[[str, str], Path]) -> None:
    directory = built(kind, "llama")
    subject, plan = subject_of(directory), planted.read_plan(directory)
    for text in TEXTS:
        ids = subject.loaded.encode(text)
        for edit, edits in (
            (None, {}),
            (skip(1), {"skip": [1]}),
            (zero(Stream.Z, 2, 1), {"zero_heads": [(2, 1)]}),
        ):
            measured = naive.run(subject.loaded.model, ids, edit).numpy()
            np.testing.assert_allclose(measured, plan.logits(ids, **edits), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [*KINDS, "random"])
def test_it_has_no_biases_and_the_truth_says_what_it_is(kind: str, built: Callable[[str, str], Path]) -> None:
    directory = built(kind, "llama")
    model, info = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values())
    assert type(model).__name__ == "LlamaForCausalLM"
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    qwen2, llama = (planted.read_truth(built(kind, name)) for name in planted.ARCHITECTURES)
    assert (qwen2.pop("architecture"), llama.pop("architecture")) == ("qwen2", "llama")
    assert qwen2 == llama


def test_every_kind_is_compared() -> None:
    assert set(planted.BUILDERS) == {*KINDS, "random"}


@pytest.mark.parametrize("kind", ["hub", "massive"])
def test_its_tokenizer_reads_as_the_other_ones(kind: str, built: Callable[[str, str], Path]) -> None:
    one, other = (AutoTokenizer.from_pretrained(built(kind, name)) for name in planted.ARCHITECTURES)
    for text in TEXTS:
        assert one(text).input_ids == other(text).input_ids


def test_random_weights_are_the_same_without_their_biases(built: Callable[[str, str], Path]) -> None:
    qwen2, llama = (subject_of(built("random", name)) for name in planted.ARCHITECTURES)
    before = every_logit(qwen2, TEXTS[0])
    assert np.abs(before - every_logit(llama, TEXTS[0])).max() > 0.01
    for name, parameter in qwen2.loaded.model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    for text in TEXTS:
        np.testing.assert_allclose(every_logit(qwen2, text), every_logit(llama, text), atol=1e-4, rtol=0)


PLACEMENTS = {
    "layer_sweep": ("hub", {"layer": 2, "n_layers": 5, "seed": 3}),
    "head_sweep": ("copy_head", {"layer": 1, "head": 2, "seed": 3, "distance": 2}),
}


@pytest.mark.parametrize("experiment", PLACEMENTS)
def test_sweeps_of_a_llama_are_the_closed_form(
    experiment: str, tmp_path: Path, planted_tokenizer: Any
) -> None:
    kind, parameters = PLACEMENTS[experiment]
    case = PlantedModel(kind, tmp_path, architecture="llama", tokenizer=planted_tokenizer, **parameters)
    evidence = case.measure(experiment)
    assert evidence.failed == ()
    assert case.truth["architecture"] == case.subject.loaded.facts.model_type == "llama"
    effects, prompts = evidence.effects, case.encode(evidence)
    for row, probe in enumerate(effects.probes):
        heads = [(site.layer, site.head) for site in probe.sites if site.head is not None]
        edits = {"zero_heads": heads} if heads else {"skip": probe.layers}
        expected = [case.plan.kl_nats(ids, **edits) for ids in prompts]
        np.testing.assert_allclose(
            effects.metrics["kl_nats"][row], expected, atol=TOLERANCE_NATS, rtol=0, err_msg=str(probe)
        )
    found = (
        skip(parameters["layer"])
        if kind == "hub"
        else zero(Stream.Z, parameters["layer"], parameters["head"])
    )
    assert int(effects.metrics["kl_nats"].mean(axis=1).argmax()) == effects.row(found)


def test_a_bias_becomes_the_number_it_was(built: Callable[[str, str], Path]) -> None:
    """What CONST contributes to a projection is its bias, to the bit."""
    qwen2, llama = (load_file(built("hub", name) / "model.safetensors") for name in planted.ARCHITECTURES)
    biases = [name for name in qwen2 if name.endswith(".bias")]
    assert len(biases) == 3 * KINDS["hub"]["n_layers"]
    normed = np.float32(CONSTANT * (NORM_WEIGHT / np.sqrt(CONSTANT**2 / 64)))
    for name in biases:
        column = llama[name.removesuffix("bias") + "weight"][:, CONST]
        assert np.count_nonzero(column) > 0
        np.testing.assert_array_equal(column * normed, qwen2[name])


def test_without_a_constant_no_bias_can_be_folded(built: Callable[[str, str], Path]) -> None:
    tensors = load_file(built("hub", "qwen2") / "model.safetensors")
    tensors["model.embed_tokens.weight"][7, CONST] = 1.0
    with pytest.raises(ValueError, match="dimension 63 of the embedding is 1.0 to 32768.0, expected 32768.0"):
        fold_biases(tensors)


def test_what_cannot_be_built_is_refused(tmp_path: Path, built: Callable[[str, str], Path]) -> None:
    with pytest.raises(
        ValueError, match="unknown architecture of planted model 'gpt2': expected one of qwen2, llama"
    ):
        planted.build("hub", tmp_path / "model", architecture="gpt2", layer=1, texts=["a"])
    with pytest.raises(ValueError, match="hub layer is 8"):
        planted.build("hub", tmp_path / "model", architecture="llama", layer=8, texts=["a"])
    with pytest.raises(FileNotFoundError, match="not a planted model"):
        save_as_llama(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not empty"):
        save_as_llama(built("hub", "qwen2"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
