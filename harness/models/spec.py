"""What a model is, where its weights come from, and what can go wrong with them. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias


class ModelError(Exception):
    """A model cannot be supplied as it was asked for. The text is one line: what, and how to mend it."""


class UnknownModel(ModelError):
    """No model has this id."""

    def __init__(self, model_id: str, known: tuple[str, ...]) -> None:
        near = get_close_matches(model_id, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(
            f"unknown model {model_id!r}: {hint}known models: {', '.join(known)}; "
            f"for a local checkpoint use --model-path ID=DIR"
        )


class WeightsMissing(ModelError):
    """The weights are not on this machine. `reason` says why, `remedy` how to supply them."""

    def __init__(self, model_id: str, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"no weights for {model_id}: {reason}; {remedy}")


class WeightsCorrupt(ModelError):
    """A file of the checkpoint is truncated, altered, of a refused format, or holds NaN or infinity."""


class FactsMismatch(ModelError):
    """The checkpoint is another model than its id says."""

    def __init__(self, model_id: str, name: str, expected: object, found: object, where: str) -> None:
        super().__init__(
            f"{where} is not {model_id}: {name} is {found!r}, expected {expected!r}; "
            f"give the right directory, or another id with --model-path ID=DIR"
        )


class CacheUnwritable(ModelError):
    """The cache directory is read-only or full."""

    def __init__(self, directory: Path, cause: str) -> None:
        super().__init__(
            f"cannot write to the model cache {directory}: {cause}; "
            f"free space there or set CLAIMS_SUITE_CACHE to a writable directory"
        )


class DeviceUnavailable(ModelError):
    """The device asked for is not on this machine."""


@dataclass(frozen=True, kw_only=True)
class ArchitectureFacts:
    """What the checkpoint's config says: counts, and widths in elements; `model_type` as in transformers."""

    model_type: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    vocab_size: int
    tied_embeddings: bool


@dataclass(frozen=True, kw_only=True)
class WheelMember:
    """One file inside one wheel. `sha256` is of the member's bytes, not of the wheel."""

    package: str
    version: str
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PackagedGguf:
    """A GGUF file carried by Python packages, cut in pieces if there are several members (in order)."""

    members: tuple[WheelMember, ...]
    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class HubRepo:
    """A repository on the Hugging Face hub at a pinned commit."""

    repo: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class LocalDir:
    """A directory with config.json, *.safetensors and a tokenizer."""

    path: Path


Source: TypeAlias = PackagedGguf | HubRepo | LocalDir


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model of the suite.

    `facts` are checked on load; None (a new local checkpoint) means that there is nothing to check against.
    `fetch` is "auto" where the weights are fetched without asking, "ask" where it takes --download.
    """

    id: str
    title: str
    source: Source
    license: str
    facts: ArchitectureFacts | None = None
    fetch: Literal["auto", "ask"] = "ask"

    @property
    def embedded(self) -> bool:
        """Whether the weights come with Python packages rather than from a model hub."""
        return isinstance(self.source, PackagedGguf)


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether a model can be loaded, judged without loading it.

    "ready": the files are here; "fetchable": `load` will fetch them; "missing": `reason` and `remedy` say why
    not and what to do.
    """

    state: Literal["ready", "fetchable", "missing"]
    reason: str = field(default="")
    remedy: str = field(default="")
