"""GGUF to safetensors: bit-equal to the model that was written and to what transformers reads."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from harness.models.gguf_convert import convert_gguf
from harness.models.gguf_file import read_gguf
from harness.models.registry import find_model
from harness.models.spec import CacheUnwritable, ModelError, PackagedGguf, WeightsCorrupt
from harness.models.testing import tiny_model, write_tiny_gguf

TEXTS = (
    "The capital of France is",
    "the 12 + 345 = 357",
    "def f(x):\n    return x + 10\n\n",
    " don't  you   see 5 apples",
    "<|im_start|>user\nhi<|im_end|><end_of_turn>",
    "日本語 é \t\r\ntab",
    "",
)


def _convert(gguf: Path, directory: Path) -> Path:
    directory.mkdir()
    convert_gguf(gguf, directory, "test")
    return directory


def _load(directory: Path, **options: object) -> tuple[torch.nn.Module, dict[str, object]]:
    return AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True, local_files_only=True, **options
    )


def _assert_same_state(left: torch.nn.Module, right: torch.nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), f"{name} differs"


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
@pytest.mark.parametrize("tied", [True, False])
def test_float32_gguf_gives_back_the_model_that_was_written(tmp_path: Path, kind: str, tied: bool) -> None:
    # A random norm passes through +1 and -1 in float32, so it comes back rounded: 1 ulp at 1.
    written = tiny_model(kind, tied=tied)
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", written)
    read, report = _load(_convert(gguf, tmp_path / "out"))
    assert not any(report.values()), report
    assert read.config.tie_word_embeddings is tied
    for name, value in written.state_dict().items():
        tolerance = 1.2e-7 if kind == "gemma3_text" and "norm" in name else 0.0
        torch.testing.assert_close(read.state_dict()[name], value, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize(("kind", "quant"), [("llama", "Q4_1"), ("llama", "Q8_0"), ("gemma3_text", "Q5_0")])
def test_converted_model_is_the_one_transformers_reads(tmp_path: Path, kind: str, quant: str) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model(kind), quant=quant)
    ours, _ = _load(_convert(gguf, tmp_path / "out"))
    theirs, _ = _load(tmp_path, gguf_file=gguf.name)
    _assert_same_state(ours, theirs)
    _assert_same_config(ours, theirs)


def _assert_same_config(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    mine, reference = ours.config.to_dict(), theirs.config.to_dict()
    not_about_the_model = {"quantization_config", "architectures", "unk_token_id"}
    names = {"_name_or_path", "_model_name_or_path"}
    for name in reference.keys() - not_about_the_model - names:
        assert mine.get(name) == reference[name], name


def test_quantised_weights_need_float32(tmp_path: Path) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), quant="Q4_1")
    weight = _load(_convert(gguf, tmp_path / "out"))[0].state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(weight.bfloat16().float(), weight)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_tokenizer_is_the_one_transformers_builds(tmp_path: Path, kind: str) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model(kind), pre="default")
    ours = PreTrainedTokenizerFast.from_pretrained(_convert(gguf, tmp_path / "out"))
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=gguf.name)
    assert any(len(ours(text)["input_ids"]) > 3 for text in TEXTS)
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text


def test_smollm_splits_digits_before_spaces(tmp_path: Path) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), pre="smollm")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(_convert(gguf, tmp_path / "out"))
    pieces = [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("x   12")]
    assert pieces == ["x", "ĠĠĠ", "1", "2"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.95])
def test_truncated_gguf_is_refused(tmp_path: Path, share: float) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    data = gguf.read_bytes()
    gguf.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsCorrupt, match=r"tiny\.gguf is (not a complete GGUF file|cut short)"):
        read_gguf(gguf)


@pytest.mark.parametrize(("offset", "value"), [(0, b"GGML"), (4, struct.pack("<I", 9))])
def test_other_formats_are_refused(tmp_path: Path, offset: int, value: bytes) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    data = bytearray(gguf.read_bytes())
    data[offset : offset + len(value)] = value
    gguf.write_bytes(data)
    with pytest.raises(WeightsCorrupt, match="not a complete GGUF file"):
        read_gguf(gguf)


def test_unknown_architecture_and_tensor_are_refused(tmp_path: Path) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    for old, new, message in (
        (
            b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama",
            b"lmama",
            "architecture",
        ),
        (b"blk.1.attn_v.weight", b"blk.1.attn_x.weight", r"tensor 'blk\.1\.attn_x\.weight' is not known"),
    ):
        data = gguf.read_bytes()
        assert data.count(old) == 1
        changed = tmp_path / "changed.gguf"
        changed.write_bytes(data.replace(old, old[: -len(new)] + new))
        directory = tmp_path / f"out-{new.decode()}"
        directory.mkdir()
        with pytest.raises(ModelError, match=message):
            convert_gguf(changed, directory, "test")
        assert not (directory / "model.safetensors").exists()


def test_too_little_space_is_said_before_converting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(CacheUnwritable, match=r"1 MB are free and \d+ MB are needed.*CLAIMS_SUITE_CACHE"):
        convert_gguf(gguf, tmp_path, "test")


@pytest.mark.parametrize("model_id", ["smollm2_135m", "gemma3_270m"])
def test_real_gguf_equals_what_transformers_reads(model_id: str, tmp_path: Path) -> None:
    """Slow (a minute). Run with CLAIMS_SUITE_GGUF_DIR=DIR, where DIR holds the packages' GGUF files."""
    source = find_model(model_id).source
    assert isinstance(source, PackagedGguf)
    place = os.environ.get("CLAIMS_SUITE_GGUF_DIR")
    if place is None or not (Path(place) / source.filename).is_file():
        pytest.skip(f"{source.filename} is not here: set CLAIMS_SUITE_GGUF_DIR to the directory that has it")
    ours, report = _load(_convert(Path(place) / source.filename, tmp_path / "out"))
    assert not any(report.values()), report
    theirs, _ = _load(Path(place), gguf_file=source.filename)
    _assert_same_state(ours, theirs)
    _assert_same_config(ours, theirs)
    here = PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")
    there = AutoTokenizer.from_pretrained(place, gguf_file=source.filename)
    for text in TEXTS:  # none has two spaces before a digit, where transformers' own splitting is wrong
        assert here(text)["input_ids"] == there(text)["input_ids"], text
