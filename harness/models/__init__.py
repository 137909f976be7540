"""Models: the registry, where weights come from, and loading them. Importing this does not import torch."""

from harness.models.cache import CACHE_VARIABLE, cache_root
from harness.models.loading import DTYPES, LoadedModel, load, read_facts
from harness.models.registry import DEFAULT_MODEL, find_model, known_models, parse_model_path, with_paths
from harness.models.spec import (
    ArchitectureFacts,
    Availability,
    CacheUnwritable,
    DeviceUnavailable,
    FactsMismatch,
    HubRepo,
    LocalDir,
    ModelError,
    ModelSpec,
    PackagedGguf,
    UnknownModel,
    WeightsCorrupt,
    WeightsMissing,
    WheelMember,
)
from harness.models.supply import available, obtain

__all__ = [
    "CACHE_VARIABLE",
    "DEFAULT_MODEL",
    "DTYPES",
    "ArchitectureFacts",
    "Availability",
    "CacheUnwritable",
    "DeviceUnavailable",
    "FactsMismatch",
    "HubRepo",
    "LoadedModel",
    "LocalDir",
    "ModelError",
    "ModelSpec",
    "PackagedGguf",
    "UnknownModel",
    "WeightsCorrupt",
    "WeightsMissing",
    "WheelMember",
    "available",
    "cache_root",
    "find_model",
    "known_models",
    "load",
    "obtain",
    "parse_model_path",
    "read_facts",
    "with_paths",
]
