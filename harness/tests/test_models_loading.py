"""Loading: what is measured is what the files hold, and everything else is one clear line."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.models import (
    ArchitectureFacts,
    DeviceUnavailable,
    FactsMismatch,
    LocalDir,
    ModelError,
    ModelSpec,
    WeightsCorrupt,
    WeightsMissing,
    available,
    load,
    with_paths,
)
from harness.models.cache import sha256_of
from harness.models.testing import KINDS, save_tiny_checkpoint, tiny_model

FACTS = ArchitectureFacts(
    model_type="llama",
    n_layers=2,
    d_model=32,
    n_heads=4,
    n_kv_heads=2,
    d_head=8,
    vocab_size=300,
    tied_embeddings=True,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return save_tiny_checkpoint(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMS_SUITE_CACHE", str(tmp_path / "cache"))


def spec_of(place: Path, facts: ArchitectureFacts | None = None) -> ModelSpec:
    return ModelSpec(id="tiny", title="tiny", source=LocalDir(path=place), license="none", facts=facts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_computes_what_was_saved(tmp_path: Path, kind: str) -> None:
    loaded = load(spec_of(save_tiny_checkpoint(tmp_path / kind, kind)))
    assert loaded.encode("the capital of france is") == [4, 5, 6, 7, 8]
    ids = torch.tensor([[4, 5, 6, 7, 8]])
    with torch.no_grad():
        expected = tiny_model(kind)(ids).logits
    assert torch.equal(loaded.model(ids).logits, expected)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    layers = 4 if kind == "lfm2" else 2
    assert loaded.facts == replace(FACTS, model_type=kind, n_layers=layers)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_and_attention_are_the_stated_ones(place: Path, dtype: str) -> None:
    loaded = load(spec_of(place), dtype=dtype, attn="eager")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert (loaded.dtype, loaded.attn_implementation, loaded.device) == (dtype, "eager", "cpu")


def test_a_bfloat16_checkpoint_is_loaded_as_float32_unless_asked(tmp_path: Path) -> None:
    place = save_tiny_checkpoint(tmp_path / "half")
    tiny_model("llama").to(torch.bfloat16).save_pretrained(place)
    assert {parameter.dtype for parameter in load(spec_of(place)).model.parameters()} == {torch.float32}


def test_encode_is_the_tokenizers_own_and_refuses_foreign_ids(place: Path) -> None:
    loaded = load(spec_of(place))
    assert loaded.encode("the capital of france") == [4, 5, 6, 7]
    assert loaded.encode("") == []
    small = replace(loaded, facts=replace(loaded.facts, vocab_size=7))
    with pytest.raises(ModelError, match=r"gives id 7 .* the vocabulary ends at 6"):
        small.encode("france")


def test_digests_name_weights_and_tokenizer(place: Path, tmp_path: Path) -> None:
    first = load(spec_of(place))
    assert first.weights_digest == sha256_of(place / "model.safetensors")
    other = load(spec_of(save_tiny_checkpoint(tmp_path / "other", seed=1)))
    assert other.weights_digest != first.weights_digest
    assert other.tokenizer_digest == first.tokenizer_digest
    text = (place / "tokenizer.json").read_text()
    (place / "tokenizer.json").write_text(text.replace('"paris": 9', '"rome": 9'))
    changed = load(spec_of(place))
    assert changed.weights_digest == first.weights_digest
    assert changed.tokenizer_digest != first.tokenizer_digest


@pytest.mark.parametrize("listed", [False, True])
def test_the_tokenizer_is_the_one_transformers_reads_from_the_same_files(place: Path, listed: bool) -> None:
    """With and without the added tokens listed in tokenizer_config.json: the shortcut taken must not show."""
    from transformers import PreTrainedTokenizerFast

    path = place / "tokenizer.json"
    content = json.loads(path.read_text())
    flags = dict.fromkeys(("normalized", "single_word", "lstrip", "rstrip"), False)
    end = {"content": "<end>", "special": True, **flags}
    content["added_tokens"].append({"id": 10, **end})
    path.write_text(json.dumps(content))
    if listed:
        config = json.loads((place / "tokenizer_config.json").read_text())
        config["added_tokens_decoder"] = {"10": end}
        (place / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = PreTrainedTokenizerFast.from_pretrained(place)
    ours = load(spec_of(place)).tokenizer
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert ours.added_tokens_decoder == theirs.added_tokens_decoder
    assert ours.special_tokens_map == theirs.special_tokens_map
    text = "the capital<end> of"
    assert ours(text).input_ids == theirs(text).input_ids
    assert ours.decode([4, 10], skip_special_tokens=True) == theirs.decode([4, 10], skip_special_tokens=True)


def test_the_tokenizers_digest_is_its_serialization_also_when_remembered(place: Path) -> None:
    for _ in range(2):
        loaded = load(spec_of(place))
        serialized = loaded.tokenizer.backend_tokenizer.to_str()
        assert loaded.tokenizer_digest == hashlib.sha256(serialized.encode()).hexdigest()


def test_a_sharded_checkpoint_loads_and_its_digest_covers_every_shard(tmp_path: Path) -> None:
    place = save_tiny_checkpoint(tmp_path / "sharded")
    (place / "model.safetensors").unlink()
    tiny_model("llama").save_pretrained(place, max_shard_size="40KB")
    shards = sorted(place.glob("*.safetensors"))
    assert len(shards) > 1
    lines = "".join(f"{sha256_of(shard)}  {shard.name}\n" for shard in shards)
    assert load(spec_of(place)).weights_digest == hashlib.sha256(lines.encode()).hexdigest()
    shards[0].unlink()
    with pytest.raises(
        WeightsMissing, match=r"model-00001-of-.* is named in model\.safetensors\.index\.json"
    ):
        load(spec_of(place))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "qwen2"),
        ("n_layers", 3),
        ("d_model", 64),
        ("n_heads", 8),
        ("n_kv_heads", 4),
        ("d_head", 16),
        ("vocab_size", 301),
        ("tied_embeddings", False),
    ],
)
def test_another_model_under_a_registered_id_is_refused(place: Path, field: str, value: object) -> None:
    assert load(spec_of(place, FACTS)).facts == FACTS
    with pytest.raises(FactsMismatch) as caught:
        load(spec_of(place, replace(FACTS, **{field: value})))
    message = str(caught.value)
    assert f"{field} is {getattr(FACTS, field)!r}, expected {value!r}" in message
    assert str(place) in message


def test_model_path_checks_the_registered_facts(place: Path) -> None:
    (smollm, *_) = with_paths({"smollm2_135m": place})
    with pytest.raises(FactsMismatch, match="is not smollm2_135m: n_layers is 2, expected 30"):
        load(smollm)


def _edit_weights(place: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(place / "model.safetensors")
    change(tensors)
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


_Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(_Q), rf"lack {_Q}; fetch or copy"),
        (lambda t: t.update(extra=torch.zeros(1)), "hold, besides the model, extra"),
        (lambda t: t.update({_Q: torch.zeros(3, 3)}), "do(es)? not load|another shape"),
        (lambda t: t[_Q][0].fill_(float("nan")), f"{_Q} in .* holds NaN or infinity"),
        (lambda t: t["model.norm.weight"][:1].fill_(float("inf")), r"model\.norm\.weight in .* holds NaN"),
        (lambda t: t[_Q][0].fill_(float("-inf")), f"{_Q} in .* holds NaN or infinity"),
    ],
    ids=["missing", "left over", "shape", "nan", "inf", "-inf"],
)
def test_weights_that_do_not_fit_the_model_are_refused(place: Path, change, message: str) -> None:
    _edit_weights(place, change)
    with pytest.raises(WeightsCorrupt, match=message) as caught:
        load(spec_of(place))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_file_is_named(place: Path, size: int) -> None:
    path = place / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:size])
    assert available(spec_of(place)).state == "ready"
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors (has|is not)") as caught:
        load(spec_of(place))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "header", [b'{"a": 1}', b"[]", b"not json", b'{"a": {"dtype": "F32", "data_offsets": "x"}}']
)
def test_a_file_that_is_no_safetensors_file_is_named(place: Path, header: bytes) -> None:
    (place / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors is not a safetensors file"):
        load(spec_of(place))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", "only pytorch_model.bin, a pickle, which can run code and is never loaded"),
        ("model.gguf", "only model.gguf; convert the GGUF file to safetensors first"),
        ("weights.safetensors", "weights.safetensors but neither model.safetensors nor"),
        (None, "has no model.safetensors"),
    ],
)
def test_other_formats_are_refused_with_the_reason(place: Path, name: str | None, message: str) -> None:
    weights = place / "model.safetensors"
    weights.rename(place / name) if name else weights.unlink()
    with pytest.raises(WeightsMissing, match=message) as caught:
        load(spec_of(place))
    assert "--model-path tiny=DIR" in str(caught.value)
    state = available(spec_of(place))
    assert state.state == "missing"
    assert message in state.reason


def test_what_else_may_be_missing(place: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="nowhere is not a directory"):
        load(spec_of(tmp_path / "nowhere"))
    (place / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsMissing, match="holds an adapter"):
        load(spec_of(place))
    (place / "adapter_config.json").unlink()
    for path in place.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(WeightsMissing, match=r"has no tokenizer\.json"):
        load(spec_of(place))
    (place / "config.json").unlink()
    with pytest.raises(WeightsMissing, match=r"has no config\.json"):
        load(spec_of(place))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", r"config\.json is not readable JSON"),
        ("config.json", "[]", r"config\.json is not a JSON object"),
        ("config.json", "{}", r"config\.json is not a usable model config"),
        ("tokenizer.json", "{", "the tokenizer in .* cannot be read"),
    ],
)
def test_broken_json_is_named(place: Path, name: str, text: str, message: str) -> None:
    (place / name).write_text(text)
    with pytest.raises(WeightsCorrupt, match=message) as caught:
        load(spec_of(place))
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_is_not_run(place: Path) -> None:
    """A config that names its own classes: transformers would import them if it were allowed to."""
    (place / "evil.py").write_text("raise SystemExit('ran')\n")
    config = json.loads((place / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.M"},
    }
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsCorrupt, match="not a usable model config"):
        load(spec_of(place))


def test_an_index_cannot_point_outside_the_directory(place: Path, tmp_path: Path) -> None:
    shutil.move(place / "model.safetensors", tmp_path / "outside.safetensors")
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsCorrupt, match="names no shards"):
        load(spec_of(place))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float64"}, ModelError, "unknown dtype 'float64': use one of float32"),
        ({"dtype": "auto"}, ModelError, "unknown dtype 'auto'"),
        ({"attn": "flash"}, ModelError, "unknown attention 'flash': use one of sdpa, eager"),
        ({"device": "gpu"}, DeviceUnavailable, "unknown device 'gpu'"),
        ({"device": "meta"}, DeviceUnavailable, "'meta' is not supported"),
        ({"device": "cuda:99"}, DeviceUnavailable, "device 'cuda:99' is not available"),
    ],
)
def test_options_out_of_range(place: Path, options: dict[str, str], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        load(spec_of(place), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_says_so(place: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"device 'cuda' is not available: .*; use --device cpu"):
        load(spec_of(place), device="cuda")


def test_a_model_that_does_not_fit_is_one_line_with_the_remedy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nMore lines.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(
        ModelError, match=r"tiny as float32 does not fit on cpu \(CUDA out of memory\.\); free"
    ):
        load(spec_of(place))


def test_too_little_memory_is_not_called_corruption(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(ModelError, match="not enough memory to load") as caught:
        load(spec_of(place))
    assert not isinstance(caught.value, WeightsCorrupt)


def test_transformers_progress_bars_stay_as_they_were(place: Path) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    load(spec_of(place))
    assert logging.is_progress_bar_enabled() is before


def test_loading_is_the_models_own_forward(place: Path) -> None:
    loaded = load(spec_of(place))
    plain = AutoModelForCausalLM.from_pretrained(
        place, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, plain(ids).logits)
