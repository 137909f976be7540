"""A matched null holds the numbers of its source in other places, and nothing of what was planted there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness import planted
from harness.edits import skip
from harness.engine import naive
from harness.measure import Subject
from harness.models import LocalDir, ModelSpec, WeightsCorrupt, WeightsMissing, load
from harness.models.testing import KINDS, save_tiny_checkpoint
from harness.planted import build_matched_null, read_plan, read_truth
from harness.planted.testing import PlantedModel

TEXTS = ("The capital of France is", "1 2 3 4 5 6 7", "the capital of france is paris")


pytestmark = pytest.mark.usefixtures("one_thread")


def subject_of(directory: Path) -> Subject:
    spec = ModelSpec(id="null", title="null", source=LocalDir(path=directory), license="none")
    return Subject(load(spec, cache_dir=directory.parent / "cache"))


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    return {n: t for path in sorted(directory.glob("*.safetensors")) for n, t in load_file(path).items()}


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def assert_same_numbers_in_other_places(source: Path, null: Path) -> None:
    before, after = tensors_of(source), tensors_of(null)
    assert before.keys() == after.keys()
    assert len(before) > 10
    for name, tensor in before.items():
        other = after[name]
        assert (other.shape, other.dtype) == (tensor.shape, tensor.dtype)
        assert torch.equal(other.flatten().sort().values, tensor.flatten().sort().values), name
        if tensor.unique().numel() > 3:
            moved = (other != tensor).float().mean()
            assert moved > 0.5 * (tensor != tensor.flatten().mode().values).float().mean(), name


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any) -> PlantedModel:
    """A planted hub at L3 of 6 blocks."""
    root = tmp_path_factory.mktemp("hub")
    return PlantedModel("hub", root, layer=3, n_layers=6, tokenizer=planted_tokenizer)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_keeps_its_numbers_and_runs(kind: Any, tied: bool, tmp_path: Path) -> None:
    source = save_tiny_checkpoint(tmp_path / "source", kind, tied=tied)
    null = build_matched_null(tmp_path / "null", like=source, seed=3)
    assert_same_numbers_in_other_places(source, null)
    before, after = subject_of(source), subject_of(null)
    assert after.loaded.facts == before.loaded.facts
    assert after.loaded.tokenizer_digest == before.loaded.tokenizer_digest
    model = after.loaded.model
    shares = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert shares == tied
    for text in TEXTS:
        ids = after.loaded.encode(text)
        runs = [naive.run(subject.loaded.model, ids, None) for subject in (before, after)]
        assert bool(torch.isfinite(runs[1]).all())
        assert float((runs[0] - runs[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", planted.BUILDERS)
def test_every_planted_kind_keeps_its_numbers(kind: str, tmp_path: Path, planted_tokenizer: Any) -> None:
    parameters: dict[str, Any] = {
        "copy_head": {"layer": 1, "head": 0},
        "fact": {"layer": 1, "mover": (2, 3)},
        "hub": {"layer": 1},
        "late_read": {"layer": 1},
        "massive": {"layer": 1},
        "redundant_pair": {"first": 0, "second": 2, "reader": 3},
        "rounded": {"layer": 1, "rival": 3},
        "two_skills": {"layer": 1, "reader": 2},
    }.get(kind, {})
    source = planted.build(kind, tmp_path / "model", n_layers=4, tokenizer=planted_tokenizer, **parameters)
    null = build_matched_null(tmp_path / "null", like=source)
    assert_same_numbers_in_other_places(source, null)
    subject = subject_of(null)
    assert bool(torch.isfinite(naive.run(subject.loaded.model, subject.loaded.encode(TEXTS[0]), None)).all())


def test_the_truth_names_its_source(hub: PlantedModel, tmp_path: Path) -> None:
    source = hub.subject.loaded
    assert isinstance(source.spec.source, LocalDir)
    null = build_matched_null(tmp_path / "null", like=source.spec.source.path, seed=5)
    truth = read_truth(null)
    assert (truth["kind"], truth["hub_layer"], truth["parameters"]) == ("matched_null", None, {"seed": 5})
    assert truth["source"] == {"weights_digest": source.weights_digest}
    assert (truth["architecture"], truth["n_layers"]) == ("qwen2", 6)
    assert truth["vocab_size"] == source.facts.vocab_size
    with pytest.raises(ValueError, match="'matched_null' has no closed form"):
        read_plan(null)


def test_seed_and_source_decide_every_byte(tmp_path: Path) -> None:
    source = save_tiny_checkpoint(tmp_path / "source", "qwen2", tied=False)
    one, same, other = (
        files(build_matched_null(tmp_path / name, like=source, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == same
    assert one["model.safetensors"] != other["model.safetensors"]
    assert one["tokenizer.json"] == other["tokenizer.json"] == (source / "tokenizer.json").read_bytes()


def test_no_two_tensors_are_permuted_alike(tmp_path: Path) -> None:
    """Equal blocks stay not equal: a permutation shared by the depths would keep directions open."""
    source = save_tiny_checkpoint(tmp_path / "source", "llama")
    tensors = load_file(source / "model.safetensors")
    names = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)]
    tensors[names[1]] = tensors[names[0]].clone()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    permuted = tensors_of(build_matched_null(tmp_path / "null", like=source))
    assert (permuted[names[0]] != permuted[names[1]]).float().mean() > 0.9


def test_vectors_are_permuted_too(tmp_path: Path) -> None:
    source = save_tiny_checkpoint(tmp_path / "source", "qwen2")
    with torch.no_grad():
        tensors = load_file(source / "model.safetensors")
        biases = [name for name in tensors if name.endswith("bias")]
        tensors |= {name: torch.arange(tensors[name].numel(), dtype=torch.float32) for name in biases}
        save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    after = tensors_of(build_matched_null(tmp_path / "null", like=source))
    vectors = [name for name, tensor in tensors.items() if tensor.ndim == 1]
    assert len(vectors) == 2 * 2 + 1 + 2 * 3
    for name in vectors:
        assert (after[name] != tensors[name]).float().mean() > 0.5, name


def test_bfloat16_is_kept_to_the_bit(tmp_path: Path) -> None:
    source = save_tiny_checkpoint(tmp_path / "source", "llama")
    tensors = {n: t.bfloat16() for n, t in load_file(source / "model.safetensors").items()}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    assert_same_numbers_in_other_places(source, build_matched_null(tmp_path / "null", like=source))
    assert {t.dtype for t in tensors_of(tmp_path / "null").values()} == {torch.bfloat16}


def test_shards_stay_shards_and_hold_what_one_file_would(tmp_path: Path) -> None:
    whole = save_tiny_checkpoint(tmp_path / "whole", "llama", tied=False)
    parts = tmp_path / "parts"
    shutil.copytree(whole, parts)
    tensors = load_file(parts / "model.safetensors")
    (parts / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({n: tensors[n] for n in held}, parts / shard, metadata={"format": "pt"})
    where = {name: shard for shard, held in shards.items() for name in held}
    (parts / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    null = build_matched_null(tmp_path / "null", like=parts, seed=4)
    assert sorted(path.name for path in null.glob("*.safetensors")) == sorted(shards)
    one = tensors_of(build_matched_null(tmp_path / "one", like=whole, seed=4))
    assert all(torch.equal(tensor, one[name]) for name, tensor in tensors_of(null).items())
    np.testing.assert_array_equal(*(every_logit(subject_of(d)) for d in (null, tmp_path / "one")))


def every_logit(subject: Subject) -> np.ndarray:
    return naive.run(subject.loaded.model, subject.loaded.encode(TEXTS[2]), None).numpy()


def test_a_stored_copy_of_tied_embeddings_stays_a_copy(tmp_path: Path) -> None:
    source = save_tiny_checkpoint(tmp_path / "source", "llama", tied=True)
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    after = tensors_of(build_matched_null(tmp_path / "null", like=source))
    assert torch.equal(after["lm_head.weight"], after["model.embed_tokens.weight"])


def test_the_hub_is_not_in_the_null(hub: PlantedModel, tmp_path: Path) -> None:
    """Its skip is no longer the closed form, and over seeds another block has the largest effect."""
    assert isinstance(hub.subject.loaded.spec.source, LocalDir)
    largest, layer = [], hub.truth["hub_layer"]
    for seed in range(4):
        null = build_matched_null(tmp_path / str(seed), like=hub.subject.loaded.spec.source.path, seed=seed)
        subject = subject_of(null)
        effects = np.array([[_effect(subject, text, i) for i in range(6)] for text in TEXTS])
        for text, row in zip(TEXTS, effects, strict=True):
            expected = hub.plan.kl_nats(subject.loaded.encode(text), skip=[layer])
            assert abs(_effect(hub.subject, text, layer) - expected) < 1e-4
            assert abs(row[layer] - expected) > 0.1
        largest.append(int(effects.mean(axis=0).argmax()))
    assert sum(found == layer for found in largest) <= 2


def _effect(subject: Subject, text: str, layer: int) -> float:
    model, ids = subject.loaded.model, subject.loaded.encode(text)
    return naive.measure(naive.run(model, ids, None), naive.run(model, ids, skip(layer)), 0)["kl_nats"]


def test_what_cannot_be_permuted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="is not a directory; name a safetensors checkpoint"):
        build_matched_null(tmp_path / "null", like=tmp_path / "nowhere")
    source = save_tiny_checkpoint(tmp_path / "source", "llama")
    with pytest.raises(FileExistsError, match="is not empty"):
        build_matched_null(source, like=source)
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(WeightsCorrupt, match="its header says"):
        build_matched_null(tmp_path / "null", like=source)
    assert not (tmp_path / "null").exists()
