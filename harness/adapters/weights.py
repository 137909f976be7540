"""Sets of weights: which updates a row needs, the adapters they are made of, and the one model that carries them."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.adapters.artifacts import Adapter, AdapterKey, Adapters
from harness.adapters.errors import AdapterError
from harness.adapters.updates import Place, Updates, merged
from harness.adapters.values import Adapted, Kind, Merge, Part
from harness.edits import Stream
from harness.engine.blocks import Stack
from harness.evidence import Question

if TYPE_CHECKING:
    from harness.models.loading import LoadedModel

OpenBar = Callable[[str, int], Any]
"""(label, total) -> a context manager that yields a function of how much more is done."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is added to the base's weights where an adapter is on; nothing, without parts."""

    parts: tuple[Part, ...]
    merge: Merge = "sum"
    modules: tuple[Stream, ...] | None = None
    rank: int | None = None

    @classmethod
    def of(cls, probe: Adapted) -> Weights:
        """The weights that a row needs."""
        return cls(parts=probe.parts, merge=probe.merge, modules=probe.modules, rank=probe.rank)

    @property
    def whole(self) -> Weights:
        """The same adapters uncut, in all their modules."""
        return replace(self, modules=None, rank=None)

    @property
    def finished(self) -> bool:
        """Whether these are trained adapters, whole, at the end of their training."""
        ended = all(p.kind is Kind.TRAINED and p.step in (None, p.recipe.steps) for p in self.parts)
        return bool(self.parts) and ended and self == self.whole

    @property
    def alone(self) -> Part | None:
        """The adapter, where these are the weights that its training gave."""
        trained = len(self.parts) == 1 and self.parts[0].kind is Kind.TRAINED and self.parts[0].weight == 1.0
        return self.parts[0] if trained and self == self.whole else None

    def row(self) -> Adapted:
        """These weights on in every block, against the base."""
        return Adapted(parts=self.parts, merge=self.merge, modules=self.modules, rank=self.rank)


class Supply:
    """The adapters of one question, trained where they are not there yet, and what is made of them."""

    def __init__(
        self,
        loaded: LoadedModel,
        question: Question,
        adapters: Adapters,
        parts: Sequence[Part],
        open_bar: OpenBar,
    ) -> None:
        self._seed = question.seed
        self._adapters: dict[AdapterKey, Adapter] = {}
        self._seconds: dict[AdapterKey, float] = {}
        for key in dict.fromkeys(self._key(part) for part in parts):
            start = time.perf_counter()
            with _training_bar(open_bar, f"{question.cell}: training {key}") as (progress, steps_done):
                self._adapters[key] = adapters.get(loaded, key, progress=progress)
            if steps_done:
                self._seconds[key] = round(time.perf_counter() - start, 1)
        self._used = tuple(dict.fromkeys((self._key(part), _step(part)) for part in parts))

    def updates(self, weights: Weights) -> Updates:
        """What is added to the base's weights."""
        parts = [(part.weight, self._of_part(part)) for part in weights.parts]
        alone = len(parts) == 1 and parts[0][0] == 1.0
        found = parts[0][1] if alone else merged(parts, weights.merge)
        if weights.rank is not None:
            found = found.truncated(weights.rank)
        return found.only(modules=weights.modules)

    def loss(self, part: Part) -> float:
        """Mean loss on the training items at the part's step, nats."""
        return self._adapters[self._key(part)].losses[_step(part)]

    @cached_property
    def digests(self) -> Mapping[tuple[AdapterKey, int], str]:
        """sha256 of the weights of each adapter at each step that is used."""
        return {(key, step): _digest(self._adapters[key].updates(step)) for key, step in self._used}

    def provenance(self) -> tuple[Mapping[str, Any], ...]:
        """Each adapter at each step that is used; `seconds` where it was trained just now."""
        return tuple(
            {
                "family": key.family,
                "recipe": key.recipe.to_json(),
                "seed": key.seed,
                "step": step,
                "weights": digest,
                "losses": {str(at): loss for at, loss in self._adapters[key].losses.items()},
                "versions": self._adapters[key].facts["versions"],
                **({"seconds": self._seconds[key]} if key in self._seconds else {}),
            }
            for (key, step), digest in self.digests.items()
        )

    def _key(self, part: Part) -> AdapterKey:
        return AdapterKey(family=part.family, recipe=part.recipe, seed=self._seed)

    def _of_part(self, part: Part) -> Updates:
        found = self._adapters[self._key(part)].updates(_step(part))
        if part.kind is Kind.TRAINED:
            return found
        named = json.dumps([self._seed, replace(part, weight=1.0).to_json()], sort_keys=True)
        number = int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big") >> 1
        return found.random_like(torch.Generator().manual_seed(number))


class Carrier:
    """A copy of a model whose linear modules are set to the base's weights plus an update, and back."""

    def __init__(self, base: Stack) -> None:
        self._base = base
        self.stack = Stack(copy.deepcopy(base.model))
        self._changed: set[Place] = set()

    def put(self, updates: Updates) -> None:
        """Set the weights, each from the base's own: nothing is left of what was there before.

        Raises AdapterError for a module that the model does not have, or that is quantised.
        """
        with torch.no_grad():
            for place in self._changed - set(updates):
                _weight(self.stack, place).copy_(_weight(self._base, place))
            for place in updates:
                own, weight = _weight(self._base, place), _weight(self.stack, place)
                weight.copy_(own.float() + updates.delta(*place).to(own.device))
        self._changed = set(updates)


def _weight(stack: Stack, place: Place) -> Tensor:
    layer, module = place
    if layer >= stack.n_layers or module not in stack.blocks[layer].linears:
        raise AdapterError(f"an adapter stands at '{module}' of L{layer}, which this model does not have")
    weight = stack.blocks[layer].linears[module].weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise AdapterError(
            f"'{module}' of L{layer} is quantised: load the model in float32 (--dtype float32)"
        )
    return weight


def _step(part: Part) -> int:
    return part.recipe.steps if part.step is None else part.step


def _digest(updates: Updates) -> str:
    digest = hashlib.sha256()
    for (layer, module), factors in updates.items():
        shapes = f"{tuple(factors.a.shape)} {tuple(factors.b.shape)}"
        digest.update(f"{layer} {module} {shapes} {factors.scale}\n".encode())
        for factor in (factors.a, factors.b):
            digest.update(factor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _training_bar(
    open_bar: OpenBar, label: str
) -> Iterator[tuple[Callable[[int, int, float], None], list[int]]]:
    """What training tells of its progress to, and the steps it told of; a bar is opened only if it does.

    A bar whose function has a `note` shows the loss of the last batch.
    """
    with ExitStack() as opened:
        advance: list[Callable[[float], None]] = []
        done: list[int] = []

        def progress(step: int, steps: int, loss: float) -> None:
            if not advance:
                advance.append(opened.enter_context(open_bar(label, steps)))
            if note := getattr(advance[0], "note", None):
                note(f"loss {loss:.3f}")
            advance[0](step - (done[-1] if done else 0))
            done.append(step)

        yield progress, done
