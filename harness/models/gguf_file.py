"""Reading a GGUF file: metadata, tensor table, and tensors as float32. Torch-free.

`gguf.GGUFReader` builds a numpy view for every string of the vocabulary, which takes 3 s for 49,152 tokens
and 15 s for 262,144; the format is simple enough to read in one pass. Dequantisation is the `gguf` package's.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.models.spec import WeightsCorrupt

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9

_CHUNK_ELEMENTS = 1 << 15
"""Dequantise this many values at a time: the temporaries (128 KB as float32) stay in a core's own cache."""


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """One entry of the tensor table. `shape` is in torch's order; `offset` counts from the file's start."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """The parsed head of a GGUF file. `metadata` maps key to number, string, bool or list."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]


class _Cursor:
    """A reading position in the mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def scalars(self, code: str, count: int = 1) -> tuple[Any, ...]:
        layout = f"<{count}{code}"
        values = struct.unpack_from(layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return values

    def string(self) -> str:
        (length,) = self.scalars("Q")
        start = self.position
        if start + length > len(self.data):
            raise EOFError
        self.position = start + length
        return self.data[start : self.position].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalars(_SCALARS[kind])[0]
        element, count = self.scalars("I")[0], self.scalars("Q")[0]
        if element in _SCALARS:
            return list(self.scalars(_SCALARS[element], count))
        return [self.value(element) for _ in range(count)]


def read_gguf(path: Path) -> GgufFile:
    """Parse the head of a GGUF file. Raises WeightsCorrupt where it is no GGUF file or is cut short."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            parsed = _parse(path, data)
            size = len(data)
    except (
        struct.error,
        EOFError,
        UnicodeDecodeError,
        KeyError,
        ValueError,
        OverflowError,
        MemoryError,
    ) as error:
        raise WeightsCorrupt(f"{path.name} is not a complete GGUF file ({error}); fetch it again") from error
    for tensor in parsed.tensors:
        if tensor.offset + tensor.n_bytes > size:
            raise WeightsCorrupt(
                f"{path.name} is cut short: {tensor.name} ends at byte {tensor.offset + tensor.n_bytes} "
                f"of {size}; fetch it again"
            )
    return parsed


def _parse(path: Path, data: mmap.mmap) -> GgufFile:
    cursor = _Cursor(data)
    if data[:4] != b"GGUF":
        raise ValueError("it does not start with GGUF")
    cursor.position = 4
    version, n_tensors, n_keys = cursor.scalars("I")[0], cursor.scalars("Q")[0], cursor.scalars("Q")[0]
    if version not in (2, 3):
        raise ValueError(f"version {version}, expected 2 or 3")
    metadata = {}
    for _ in range(n_keys):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalars("I")[0])
    entries = []
    for _ in range(n_tensors):
        name = cursor.string()
        dims = cursor.scalars("Q", cursor.scalars("I")[0])
        entries.append((name, tuple(reversed(dims)), cursor.scalars("I")[0], cursor.scalars("Q")[0]))
    alignment = int(metadata.get("general.alignment", 32))
    start = -(-cursor.position // alignment) * alignment
    tensors = tuple(
        GgufTensor(
            name=name, shape=shape, ggml_type=kind, offset=start + offset, n_bytes=_n_bytes(kind, shape)
        )
        for name, shape, kind, offset in entries
    )
    return GgufFile(path=path, metadata=metadata, tensors=tensors)


def _n_bytes(ggml_type: int, shape: tuple[int, ...]) -> int:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    block_elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(ggml_type)]
    return int(prod(shape) // block_elements * block_bytes)


def dequantized(file: GgufFile, tensor: GgufTensor) -> npt.NDArray[np.float32]:
    """The tensor's values as float32, in torch's shape; exact for each ggml type the `gguf` package knows."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize, quant_shape_to_byte_shape

    kind = GGMLQuantizationType(tensor.ggml_type)
    mapped = np.memmap(file.path, mode="r", dtype=np.uint8, offset=tensor.offset, shape=(tensor.n_bytes,))
    raw = np.asarray(mapped)  # every slice of a memmap is a memmap again, which is slow to make
    if kind == GGMLQuantizationType.F32:
        return np.array(raw).view(np.float32).reshape(tensor.shape)
    if kind == GGMLQuantizationType.F16:
        return np.array(raw).view(np.float16).reshape(tensor.shape).astype(np.float32)
    rows = raw.reshape(-1, quant_shape_to_byte_shape(tensor.shape, kind)[-1])
    values = np.empty((rows.shape[0], tensor.shape[-1]), dtype=np.float32)
    step = max(1, _CHUNK_ELEMENTS // tensor.shape[-1])
    for start in range(0, rows.shape[0], step):
        chunk = rows[start : start + step]
        one_row = chunk.reshape(1, -1)  # `dequantize` would take 16 rows at a time
        values[start : start + step] = dequantize(one_row, kind).reshape(len(chunk), -1)
    return values.reshape(tensor.shape)
