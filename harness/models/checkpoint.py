"""What may be loaded from a directory, judged from its files alone. Torch-free.

Only safetensors: a pickle can run code when it is read. The headers are read and compared with the file
sizes, so that a truncated file is named before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.models.cache import remembered_sha256
from harness.models.spec import WeightsCorrupt, WeightsMissing

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MAX_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A directory that holds a loadable checkpoint; `weights` in the order of their names."""

    directory: Path
    weights: tuple[Path, ...]


def find_checkpoint(directory: Path, model_id: str, repair: str = "") -> Checkpoint:
    """The checkpoint in `directory`. Cheap: looks at names only.

    Raises WeightsMissing where something that must be there is not (with the formats that are refused as
    reason), WeightsCorrupt where the shard index is unreadable. `repair` replaces the usual remedy.
    """
    remedy = repair or f"give a directory with config.json and *.safetensors: --model-path {model_id}=DIR"
    if not directory.is_dir():
        raise WeightsMissing(model_id, f"{directory} is not a directory", remedy)
    weights = _weight_files(directory, model_id, remedy)
    if not (directory / "config.json").is_file():
        raise WeightsMissing(model_id, f"{directory} has no config.json", remedy)
    if (directory / "adapter_config.json").exists():
        reason = f"{directory} holds an adapter beside the weights, which would be applied silently"
        raise WeightsMissing(model_id, reason, "merge it into the weights or remove adapter_config.json")
    return Checkpoint(directory=directory, weights=weights)


def _weight_files(directory: Path, model_id: str, remedy: str) -> tuple[Path, ...]:
    if (directory / _SINGLE).exists():
        return (directory / _SINGLE,)
    if (directory / _INDEX).exists():
        shards = [directory / name for name in sorted(set(_shard_names(directory / _INDEX)))]
        for shard in shards:
            if not shard.exists():
                raise WeightsMissing(model_id, f"{shard} is named in {_INDEX} and not there", remedy)
        return tuple(shards)
    raise WeightsMissing(model_id, _why_no_weights(directory), remedy)


def _shard_names(index: Path) -> list[str]:
    content = _read_json(index)
    names = content.get("weight_map", {})
    plain = isinstance(names, dict) and all(
        isinstance(name, str) and "/" not in name for name in names.values()
    )
    if not names or not plain:
        raise WeightsCorrupt(f"{index} names no shards; fetch or copy the checkpoint again")
    return list(names.values())


def _why_no_weights(directory: Path) -> str:
    if pickles := sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern)):
        return f"{directory} has only {pickles[0]}, a pickle, which can run code and is never loaded"
    if ggufs := sorted(path.name for path in directory.glob("*.gguf")):
        return f"{directory} has only {ggufs[0]}; convert the GGUF file to safetensors first"
    if others := sorted(path.name for path in directory.glob("*.safetensors")):
        return f"{directory} has {others[0]} but neither {_SINGLE} nor {_INDEX}"
    return f"{directory} has no {_SINGLE}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsCorrupt(
            f"{path} is not readable JSON ({error}); fetch or copy the checkpoint again"
        ) from error
    if not isinstance(content, dict):
        raise WeightsCorrupt(f"{path} is not a JSON object; fetch or copy the checkpoint again")
    return content


def check_files(checkpoint: Checkpoint) -> None:
    """Check that config.json parses and that every safetensors file is as long as its header says.

    Raises WeightsCorrupt. Values are not looked at here.
    """
    _read_json(checkpoint.directory / "config.json")
    for path in checkpoint.weights:
        size = path.stat().st_size
        expected = _expected_size(path, size)
        if size != expected:
            raise WeightsCorrupt(
                f"{path} has {size} bytes and its header says {expected}; fetch or copy the checkpoint again"
            )


def _expected_size(path: Path, size: int) -> int:
    """Header length + header + the last tensor's end, in bytes."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(size, _MAX_HEADER):
                raise ValueError(f"header of {length} bytes")
            header = json.loads(file.read(length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsCorrupt(
            f"{path} is not a safetensors file ({error}); fetch or copy the checkpoint again"
        ) from error
    return 8 + int(length) + max(ends, default=0)


def weights_digest(checkpoint: Checkpoint, root: Path) -> str:
    """SHA-256 that names the weights.

    One file: the digest of the file, as `sha256sum` and model hubs print it. Several: the digest of the lines
    "<sha256>  <name>\\n" in the order of the names. Files read once are remembered in the cache `root`.
    """
    digests = [(remembered_sha256(path, root), path.name) for path in checkpoint.weights]
    if len(digests) == 1:
        return digests[0][0]
    lines = "".join(f"{digest}  {name}\n" for digest, name in digests)
    return hashlib.sha256(lines.encode()).hexdigest()
