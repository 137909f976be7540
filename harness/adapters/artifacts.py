"""Trained adapters in the user's cache, each under the digest of all that it is made of. No torch at import.

    <root>/adapters/<base's weights digest, 12>/<digest of family, recipe, seed, items, dtype>/
        step-000.safetensors ...    the factors at every step the recipe keeps
        adapter.json                what it was made of and with, shapes, losses
        manifest.json               sha256 of the other files

A folder is complete or not there. A training that is interrupted leaves its checkpoints in `<folder>.partial`, and the
next one goes on after the last of them, with the same result to the bit on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adapters.errors import AdapterError, AdapterMismatch
from harness.adapters.items import Item, items_digest, training_item, training_prompts
from harness.adapters.values import Recipe
from harness.edits import Stream
from harness.models.cache import MANIFEST, ensure_directory, read_manifest
from harness.models.loading import LoadedModel
from harness.models.progress import notice
from harness.models.spec import WeightsCorrupt
from harness.provenance import syntax_digest
from tasks.prompts import TaskFamily
from tasks.suites import UnknownFamily, find_family

if TYPE_CHECKING:
    from torch import Tensor

    from harness.adapters.training import Checkpoint, Progress
    from harness.adapters.updates import Updates

_FORMAT = 1
_FACTS = "adapter.json"
_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "numpy")


@dataclass(frozen=True, kw_only=True)
class AdapterKey:
    """One adapter of a model: what it is trained on, how, and from which seed."""

    family: str
    recipe: Recipe
    seed: int

    def __str__(self) -> str:
        return f"{self.family} ({self.recipe.name}), seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A trained adapter on disk. `facts`: what adapter.json says."""

    directory: Path
    key: AdapterKey
    facts: Mapping[str, Any]

    @cached_property
    def losses(self) -> dict[int, float]:
        """Mean loss on the training items by step, in nats per token that counts."""
        return {int(step): float(loss) for step, loss in self.facts["losses"].items()}

    def updates(self, step: int | None = None) -> Updates:
        """The updates at one of the steps that its recipe keeps; None for the last.

        Raises AdapterError for another step, WeightsCorrupt for a file that is not what it was.
        """
        from harness.adapters.updates import updates_of

        recipe = self.key.recipe
        step = recipe.steps if step is None else step
        if step not in recipe.checkpoints:
            raise AdapterError(
                f"{self.key} has no weights of step {step}; the recipe keeps {recipe.checkpoints}"
            )
        state = _tensors(_checked(self.directory, _file_of(step)))
        return updates_of(state, recipe.scale)


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """The adapters under `root`, the user's cache (`harness.models.cache.cache_root`); what is missing is trained."""

    root: Path
    gradient_checkpointing: bool = False
    """For a model whose activations do not fit; changes rounding only."""

    def get(self, loaded: LoadedModel, key: AdapterKey, *, progress: Progress | None = None) -> Adapter:
        """The adapter `key` of this model, trained if it is not there; two processes share one training.

        Raises AdapterError (no such family, or it cannot be trained), AdapterMismatch (what is there belongs to another
        model), NotEnoughPrompts, WeightsCorrupt (a damaged file), CacheUnwritable.
        """
        items = training_items(loaded, key)
        partial = self._directory(loaded, key, items).with_suffix(".partial")

        def trained() -> list[Checkpoint]:
            notice(f"training adapter {key} of {loaded.spec.id}")
            return self._trained(loaded, key, items, partial, progress)

        adapter = self.keep(loaded, key, items, trained)
        shutil.rmtree(partial, ignore_errors=True)
        return adapter

    def keep(
        self,
        loaded: LoadedModel,
        key: AdapterKey,
        items: Sequence[Item],
        make: Callable[[], Sequence[Checkpoint]],
    ) -> Adapter:
        """The adapter `key` of this model, of the checkpoints that `make` gives where it is not there yet.

        `items` are what it is trained on (`training_items`); with `key` they decide where it is kept.
        Raises AdapterError for checkpoints of other steps or shapes than the recipe's, what `make` raises,
        AdapterMismatch, WeightsCorrupt, CacheUnwritable.
        """
        directory = self._directory(loaded, key, items)

        def build(temporary: Path) -> Mapping[str, Any]:
            found = make()
            _check_fits(loaded, key, found)
            made_of = _made_of(loaded, key, items)
            return _write(temporary, loaded, key, made_of, found, self.gradient_checkpointing)

        ensure_directory(directory, directory.with_suffix(".lock"), build, root=self.root)
        return read_adapter(directory, loaded, key)

    def _directory(self, loaded: LoadedModel, key: AdapterKey, items: Sequence[Item]) -> Path:
        name = _digest(_made_of(loaded, key, items))[:16]
        return self.root / "adapters" / loaded.weights_digest[:12] / name

    def _trained(
        self,
        loaded: LoadedModel,
        key: AdapterKey,
        items: Sequence[Item],
        partial: Path,
        progress: Progress | None,
    ) -> list[Checkpoint]:
        from harness.adapters.training import checkpoints

        kept = _Partial(partial, {**_made_of(loaded, key, items), "versions": _versions()})
        found = kept.read(key.recipe)
        for checkpoint in checkpoints(
            loaded.model,
            items,
            key.recipe,
            key.seed,
            progress=progress,
            gradient_checkpointing=self.gradient_checkpointing,
            after=found[-1] if found else None,
        ):
            kept.add(checkpoint)
            found.append(checkpoint)
        return found


def training_items(loaded: LoadedModel, key: AdapterKey) -> tuple[Item, ...]:
    """What the adapter `key` is trained on. Raises AdapterError (no such family), NotEnoughPrompts."""
    prompts = training_prompts(_family(key.family), key.recipe.items, key.seed, loaded.encode)
    return tuple(training_item(prompt, loaded.encode) for prompt in prompts)


def read_adapter(directory: Path, loaded: LoadedModel, key: AdapterKey) -> Adapter:
    """The adapter in `directory`, after checking that it is `key` of this model.

    Raises AdapterMismatch (of another model, by its weights or by its shapes, or another adapter), WeightsCorrupt.
    """
    remedy = f"delete {directory} and run again"
    try:
        facts = json.loads(_checked(directory, _FACTS))
        weights, model, shapes = facts["weights"], facts["model"], facts["shapes"]
        what = (facts["family"], facts["recipe"], facts["seed"])
        facts["losses"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsCorrupt(f"{directory / _FACTS} is not an adapter's record; {remedy}") from error
    if weights != loaded.weights_digest:
        raise AdapterMismatch(
            f"{directory} holds an adapter of {model} (weights {weights[:12]}), not of {loaded.spec.id} "
            f"(weights {loaded.weights_digest[:12]}); {remedy}"
        )
    expected = _shapes(loaded, key.recipe)
    if shapes != expected:
        place = next(name for name in (*expected, *shapes) if shapes.get(name) != expected.get(name))
        raise AdapterMismatch(
            f"{directory} holds an adapter of {model} with module {place} of shape {shapes.get(place)}; that of "
            f"{loaded.spec.id} is {expected.get(place)}; {remedy}"
        )
    if what != (key.family, key.recipe.to_json(), key.seed):
        raise AdapterMismatch(
            f"{directory} holds another adapter of {model} than {key} (family {what[0]}, seed {what[2]}); {remedy}"
        )
    return Adapter(directory=directory, key=key, facts=facts)


class _Partial:
    """The checkpoints of a training that is not done, and what it is made of: another's are of no use to it."""

    def __init__(self, directory: Path, made_of: Mapping[str, Any]) -> None:
        self._directory = directory
        self._seal = _digest(made_of)
        self._entries: list[dict[str, Any]] = []

    def read(self, recipe: Recipe) -> list[Checkpoint]:
        """The checkpoints up to the first that is not whole; what does not fit costs time only and is dropped."""
        try:
            record = json.loads((self._directory / _FACTS).read_text(encoding="utf-8"))
            entries = list(record["checkpoints"]) if record["seal"] == self._seal else []
        except (OSError, ValueError, KeyError, TypeError):
            entries = []
        found = []
        for step, entry in zip(recipe.checkpoints, entries, strict=False):
            checkpoint = self._read(step, entry)
            if checkpoint is None:
                break
            found.append(checkpoint)
        self._entries = entries[: len(found)]
        return found

    def _read(self, step: int, entry: Mapping[str, Any]) -> Checkpoint | None:
        from harness.adapters.training import Checkpoint

        try:
            data = (self._directory / _file_of(step)).read_bytes()
            if entry["step"] != step or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                return None
            loss = float(entry["loss"])
        except (OSError, KeyError, TypeError, ValueError):
            return None
        tensors = _tensors(data)
        moments = {name: tensor for name, tensor in tensors.items() if name.count(".") > 2}
        weights = {name: tensor for name, tensor in tensors.items() if name not in moments}
        return Checkpoint(step=step, loss=loss, weights=weights, moments=moments)

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint. Raises OSError (turned into CacheUnwritable by the cache)."""
        from safetensors.torch import save

        self._directory.mkdir(exist_ok=True)
        data = save({**checkpoint.weights, **checkpoint.moments})
        _replace(self._directory / _file_of(checkpoint.step), data)
        sha256 = hashlib.sha256(data).hexdigest()
        self._entries.append({"step": checkpoint.step, "loss": checkpoint.loss, "sha256": sha256})
        record = {"seal": self._seal, "checkpoints": self._entries}
        _replace(self._directory / _FACTS, json.dumps(record).encode())


def _check_fits(loaded: LoadedModel, key: AdapterKey, found: Sequence[Checkpoint]) -> None:
    """Raise AdapterError unless these are the recipe's steps, each with every factor in its shape."""
    from harness.adapters.updates import key_of

    if (steps := tuple(checkpoint.step for checkpoint in found)) != key.recipe.checkpoints:
        raise AdapterError(f"{key} has checkpoints {key.recipe.checkpoints}; {steps} were made")
    expected = {}
    for place, (d_out, d_in) in _shapes(loaded, key.recipe).items():
        layer, module = place.split(".")
        expected[key_of(int(layer), Stream(module), "A")] = (key.recipe.rank, d_in)
        expected[key_of(int(layer), Stream(module), "B")] = (d_out, key.recipe.rank)
    for checkpoint in found:
        shapes = {name: tuple(factor.shape) for name, factor in checkpoint.weights.items()}
        if shapes != expected:
            name = next(n for n in (*expected, *shapes) if shapes.get(n) != expected.get(n))
            raise AdapterError(
                f"{key}, step {checkpoint.step}: factor {name} has shape {shapes.get(name)}, expected "
                f"{expected.get(name)}"
            )


def _write(
    directory: Path,
    loaded: LoadedModel,
    key: AdapterKey,
    made_of: Mapping[str, Any],
    found: Sequence[Checkpoint],
    gradient_checkpointing: bool,
) -> dict[str, Any]:
    """Fill the adapter's folder; what its manifest says about where it is from."""
    from safetensors.torch import save_file

    for checkpoint in found:
        save_file(dict(checkpoint.weights), directory / _file_of(checkpoint.step))
    facts = {
        **made_of,
        "model": loaded.spec.id,
        "recipe": key.recipe.to_json(),
        "shapes": _shapes(loaded, key.recipe),
        "losses": {str(checkpoint.step): checkpoint.loss for checkpoint in found},
        "device": loaded.device,
        "gradient_checkpointing": gradient_checkpointing,
        "versions": _versions(),
    }
    (directory / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return {"adapter": str(key), "model": loaded.spec.id, "weights": loaded.weights_digest}


@cache
def training_code() -> str:
    """Digest of the code that trains: an adapter that another optimiser or mask made is another adapter."""
    here = Path(__file__).parent
    return syntax_digest([here / "items.py", here / "training.py"])


def _made_of(loaded: LoadedModel, key: AdapterKey, items: Sequence[Item]) -> dict[str, Any]:
    """All that decides what the adapter is, but for rounding."""
    return {
        "format": _FORMAT,
        "code": training_code(),
        "weights": loaded.weights_digest,
        "dtype": loaded.dtype,
        "family": key.family,
        "recipe": key.recipe.to_json(),
        "seed": key.seed,
        "items": items_digest(items),
    }


def _shapes(loaded: LoadedModel, recipe: Recipe) -> dict[str, list[int]]:
    """[out, in] of every module with an adapter, by "block.module"."""
    from harness.adapters.training import module_names

    named = module_names(loaded.model, recipe)
    weights = dict(loaded.model.named_parameters())
    return {
        f"{layer}.{module}": list(weights[f"{name}.weight"].shape) for (layer, module), name in named.items()
    }


def _family(name: str) -> TaskFamily:
    try:
        return find_family(name)
    except UnknownFamily as error:
        raise AdapterError(str(error)) from None


def _checked(directory: Path, name: str) -> bytes:
    """The bytes of a file, if they are those that the manifest names. Raises WeightsCorrupt."""
    path = directory / name
    remedy = f"delete {directory} and run again"
    entry = read_manifest(directory)["files"].get(name)
    if entry is None or not path.is_file():
        raise WeightsCorrupt(f"{path} is missing{'' if entry else f' from {MANIFEST}'}; {remedy}")
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != entry["sha256"]:
        raise WeightsCorrupt(f"{path} has sha256 {found}, expected {entry['sha256']}; {remedy}")
    return data


def _tensors(data: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(data)


def _file_of(step: int) -> str:
    return f"step-{step:03d}.safetensors"


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
