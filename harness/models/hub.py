"""A checkpoint from the Hugging Face hub's local cache, downloaded on request. Torch-free."""

from __future__ import annotations

import logging
from pathlib import Path

from harness.models.checkpoint import Checkpoint, find_checkpoint
from harness.models.spec import CacheUnwritable, HubRepo, ModelError, WeightsMissing

_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.jinja", "tokenizer.model"]
"""Weights and tokenizer; no pickle and no code."""


def remedy_for(model_id: str) -> str:
    """How to supply the weights of a hub model."""
    return f"give --model-path {model_id}=DIR or --download"


def hub_cache() -> Path:
    """The hub client's cache directory; the user sets it with HF_HUB_CACHE or HF_HOME."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def snapshot_directory(source: HubRepo, cache: Path) -> Path:
    """Where the hub client keeps this commit's files (its documented layout)."""
    return cache / f"models--{source.repo.replace('/', '--')}" / "snapshots" / source.revision


def find_snapshot(source: HubRepo, model_id: str, cache: Path | None = None) -> Checkpoint:
    """The pinned snapshot in the local hub cache. Raises WeightsMissing; touches no network."""
    directory = snapshot_directory(source, cache or hub_cache())
    if not directory.is_dir():
        reason = f"{source.repo} at {source.revision[:12]} is not in the hub cache"
        raise WeightsMissing(model_id, reason, remedy_for(model_id))
    return find_checkpoint(directory, model_id, repair=remedy_for(model_id))


def download_snapshot(source: HubRepo, model_id: str, cache: Path | None = None) -> Checkpoint:
    """The pinned snapshot, downloaded where it is incomplete or not there.

    Raises WeightsMissing (no network, no such repository or no permission), CacheUnwritable (disk full).
    """
    try:
        return find_snapshot(source, model_id, cache)
    except WeightsMissing:
        pass
    from huggingface_hub import snapshot_download

    place = cache or hub_cache()
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # a line for each of its retries would bury the one that matters
    try:
        snapshot_download(source.repo, revision=source.revision, allow_patterns=_PATTERNS, cache_dir=place)
    except Exception as error:  # the client raises its HTTP library's errors as they come
        raise _explained(error, source, model_id, place) from error
    finally:
        log.setLevel(level)
    return find_snapshot(source, model_id, cache)


def _explained(error: Exception, source: HubRepo, model_id: str, place: Path) -> ModelError:
    from harness.models.cache import is_unwritable, os_error_number

    if (number := os_error_number(error)) is not None and is_unwritable(number):
        return CacheUnwritable(place, f"{source.repo} could not be stored ({type(error).__name__})")
    text = str(error).strip().splitlines()
    detail = f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
    return WeightsMissing(
        model_id,
        f"cannot download {source.repo} ({detail})",
        f"check the network and your access, or give --model-path {model_id}=DIR",
    )
