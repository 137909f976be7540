"""One adapter, trained with peft on a copy of the base model.

What it learns depends on the weights, the items, the recipe and the seed, and on nothing else: batches are padded on
the right and masked, there is no dropout, and the global random state is neither read nor changed. A's first values
and the order of the items come from the seed and the items alone; so two recipes that differ in their modules or
their rank start alike and see the same batches.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from harness.adapters.errors import AdapterError
from harness.adapters.items import Item, items_digest
from harness.adapters.updates import Place, key_of
from harness.adapters.values import Recipe
from harness.engine.architectures import resolve_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Progress = Callable[[int, int, float], None]
"""progress(steps done, steps in all, mean loss of the last batch in nats), called after every step."""

_ADAPTER = "default"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_LOSS_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """An adapter at one step of its training, and what it takes to go on from there.

    `weights`: float32 on the CPU, by `updates.key_of`. `loss`: mean over the training items at this step, in nats
    per token that counts. `moments`: AdamW's, by the key of their weight and their name; none at step 0.
    """

    step: int
    loss: float
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An adapter at the steps that its recipe keeps: factors by `updates.key_of`, and the mean loss in nats."""

    states: Mapping[int, Mapping[str, Tensor]]
    losses: Mapping[int, float]


def train(
    model: PreTrainedModel,
    items: Sequence[Item],
    recipe: Recipe,
    seed: int,
    *,
    progress: Progress | None = None,
    gradient_checkpointing: bool = False,
) -> Trained:
    """Train one adapter on a copy of `model`, in float32. Raises what `checkpoints` raises."""
    found = list(
        checkpoints(
            model, items, recipe, seed, progress=progress, gradient_checkpointing=gradient_checkpointing
        )
    )
    return Trained(
        states={checkpoint.step: checkpoint.weights for checkpoint in found},
        losses={checkpoint.step: checkpoint.loss for checkpoint in found},
    )


def checkpoints(
    model: PreTrainedModel,
    items: Sequence[Item],
    recipe: Recipe,
    seed: int,
    *,
    progress: Progress | None = None,
    gradient_checkpointing: bool = False,
    after: Checkpoint | None = None,
) -> Iterator[Checkpoint]:
    """The checkpoints of `recipe`, each as soon as it is reached; only those that follow `after`, if given.

    `gradient_checkpointing` computes activations twice to keep fewer of them; it changes rounding only.
    Raises AdapterError: there are not as many items as the recipe says, a layer or a module is not there, the loss is
    not finite, or `model` was changed (nothing here does that, and it is checked).
    """
    if len(items) != recipe.items:
        raise AdapterError(f"recipe {recipe.name} is for {recipe.items} items; {len(items)} were given")
    before = parameters_digest(model)
    run = _Run(model, items, recipe, seed, gradient_checkpointing, after)
    if after is None:
        yield run.checkpoint(0)
    for step in range(after.step if after else 0, recipe.steps):
        loss = run.step(step)
        if step + 1 in recipe.checkpoints:
            yield run.checkpoint(step + 1)
        if progress is not None:
            progress(step + 1, recipe.steps, loss)
    if parameters_digest(model) != before:
        raise AdapterError("training changed the model it was given: load the model again, and report this")


def parameters_digest(model: nn.Module) -> str:
    """sha256 (hex) of every parameter and buffer, with its name, dtype and shape: equal to the bit or not at all."""
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def module_names(model: nn.Module, recipe: Recipe) -> dict[Place, str]:
    """The linear modules that get an adapter, by block and output; a block has those that it has.

    LFM2's convolutions have an `o` (their output projection) and no q, k and v. Raises AdapterError for a block that is
    not there, and where no block has such a module; UnsupportedArchitecture.
    """
    blocks = resolve_blocks(model)
    layers = range(len(blocks)) if recipe.layers is None else recipe.layers
    if not all(0 <= layer < len(blocks) for layer in layers):
        raise AdapterError(f"recipe {recipe.name} names blocks {recipe.layers} of a model of {len(blocks)}")
    names = {id(module): name for name, module in model.named_modules()}
    found = {
        (layer, module): names[id(blocks[layer].linears[module])]
        for layer in layers
        for module in recipe.modules
        if module in blocks[layer].linears
    }
    if not found:
        raise AdapterError(
            f"recipe {recipe.name} trains {', '.join(recipe.modules)}, which no block it names has"
        )
    return found


class _Run:
    """A copy of the model with an adapter in it, and the optimizer."""

    def __init__(
        self,
        model: PreTrainedModel,
        items: Sequence[Item],
        recipe: Recipe,
        seed: int,
        gradient_checkpointing: bool,
        after: Checkpoint | None,
    ) -> None:
        self._items = items
        self._recipe = recipe
        self._seed = [seed, items_digest(items)]
        self._order = self._passes(recipe.steps * recipe.batch)
        names = module_names(model, recipe)
        copied: Any = copy.deepcopy(model)
        self._model = copied.float()
        self._device = self._model.device
        self._weights = self._with_adapter(names)
        if after is not None:
            for key, weight in self._weights.items():
                weight.data.copy_(after.weights[key])
        _without_dropout(self._model)
        self._model.train()
        if gradient_checkpointing:
            self._model.activation_checkpointing_enable({"use_reentrant": False})
        self._optimizer, self._schedule = self._optimizers(after)

    def step(self, step: int) -> float:
        """One update of the weights: the mean loss of the batch before it, in nats."""
        batch = self._order[step * self._recipe.batch : (step + 1) * self._recipe.batch]
        losses = self._losses([self._items[index] for index in batch])
        loss = losses.mean()
        value = loss.item()
        if not math.isfinite(value):
            raise AdapterError(
                f"the loss of recipe {self._recipe.name} is {value} at step {step + 1}: lower its learning rate"
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return value

    def checkpoint(self, step: int) -> Checkpoint:
        """Copies of everything, and the mean loss of all items."""
        moments = {
            f"{key}.{name}": state[name].detach().cpu().clone()
            for key, weight in self._weights.items()
            if (state := self._optimizer.state.get(weight))
            for name in _MOMENTS
        }
        weights = {key: weight.detach().cpu().clone() for key, weight in self._weights.items()}
        return Checkpoint(step=step, loss=self._mean_loss(), weights=weights, moments=moments)

    def _with_adapter(self, names: Mapping[Place, str]) -> dict[str, nn.Parameter]:
        """Put an untrained adapter into the copy; its factors."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=self._recipe.rank,
            lora_alpha=self._recipe.alpha,
            target_modules=list(names.values()),
            lora_dropout=0.0,
            bias="none",
        )
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # peft asks transformers in a way that is going out
            get_peft_model(self._model, config)
        weights = {}
        for (layer, module), name in names.items():
            adapted = self._model.get_submodule(name)
            a, b = adapted.lora_A[_ADAPTER].weight, adapted.lora_B[_ADAPTER].weight
            a.data.copy_(self._first(a, layer, module))
            weights[key_of(layer, module, "A")] = a
            weights[key_of(layer, module, "B")] = b
        trainable = sum(parameter.requires_grad for parameter in self._model.parameters())
        if trainable != len(weights):
            raise AdapterError(f"{trainable} tensors would be trained where the adapter has {len(weights)}")
        return weights

    def _first(self, a: Tensor, layer: int, module: str) -> Float[Tensor, "rank d_in"]:
        """A's first values, uniform within 1 / sqrt(d_in) as peft's; a lower rank has the first rows of a higher."""
        bound = 1 / math.sqrt(a.shape[1])
        return torch.empty(a.shape).uniform_(-bound, bound, generator=self._generator("A", layer, module))

    def _passes(self, n: int) -> list[int]:
        """The items of every batch, one after another: each pass over the items in an order of its own."""
        order: list[int] = []
        while len(order) < n:
            generator = self._generator("pass", len(order) // len(self._items))
            order += torch.randperm(len(self._items), generator=generator).tolist()
        return order[:n]

    def _generator(self, *purpose: object) -> torch.Generator:
        digest = hashlib.sha256(json.dumps([*self._seed, *purpose]).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def _optimizers(self, after: Checkpoint | None) -> tuple[torch.optim.AdamW, Any]:
        from transformers import get_linear_schedule_with_warmup

        recipe, done = self._recipe, after.step if after else 0
        optimizer = torch.optim.AdamW(list(self._weights.values()), lr=recipe.learning_rate, weight_decay=0.0)
        for group in optimizer.param_groups:
            group["initial_lr"] = recipe.learning_rate
        if after is not None and done > 0:
            for key, weight in self._weights.items():
                moments = {
                    name: after.moments[f"{key}.{name}"].to(self._device, copy=True) for name in _MOMENTS
                }
                optimizer.state[weight] = {"step": torch.tensor(float(done)), **moments}
        schedule: Any = get_linear_schedule_with_warmup
        return optimizer, schedule(optimizer, recipe.warmup, recipe.steps, last_epoch=done - 1)

    def _mean_loss(self) -> float:
        by_length = sorted(self._items, key=lambda item: len(item.ids))
        self._model.eval()
        with torch.no_grad():
            losses = [
                self._losses(by_length[start : start + _LOSS_BATCH]).double()
                for start in range(0, len(by_length), _LOSS_BATCH)
            ]
        self._model.train()
        return torch.cat(losses).mean().item()

    def _losses(self, items: Sequence[Item]) -> Float[Tensor, " token"]:
        """The loss of every token that counts, in nats."""
        ids, mask, counted = _padded(items, answer_only=self._recipe.loss_on == "answer")
        ids, mask, counted = (tensor.to(self._device) for tensor in (ids, mask, counted))
        logits = self._model(
            input_ids=ids[:, :-1], attention_mask=mask, use_cache=False, logits_to_keep=counted
        ).logits
        return nn.functional.cross_entropy(logits.float(), ids[:, 1:][counted], reduction="none")


def _padded(
    items: Sequence[Item], *, answer_only: bool
) -> tuple[Int[Tensor, "batch pos_1"], Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """Prompts and answers padded on the right; which inputs are real; after which the next token counts."""
    longest = max(len(item.ids) for item in items)
    ids = torch.zeros(len(items), longest + 1, dtype=torch.long)
    mask = torch.zeros(len(items), longest, dtype=torch.long)
    for row, item in enumerate(items):
        ids[row, : len(item.ids) + 1] = torch.tensor([*item.ids, item.answer])
        mask[row, : len(item.ids)] = 1
    counted = mask.bool()
    if answer_only:
        counted = torch.zeros_like(counted)
        counted[torch.arange(len(items)), mask.sum(1) - 1] = True
    return ids, mask, counted


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]
