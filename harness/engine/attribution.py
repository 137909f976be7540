"""Gradient attribution: what zeroing any head at any position would do, to first order, from one pass.

One forward pass of the model itself, per batch of prompts of one length, and one backward pass per log-probability give
its gradient with respect to every z at once. The first-order change of log p(y) when z[l, h] is zeroed at a position
is -(z . gradient) there. KL(base || edited) has no first-order term at the base, so it is estimated by its second,

    KL  ~  1/2 sum_y p(y) (change of log p(y))^2                         (the Fisher information; Amari 1998)

over a partition of the vocabulary into the `outcomes` - 1 likeliest tokens and all others together: merging outcomes
only ever lowers a KL. An edit at several heads or positions adds their changes up *before* the square. `Answer` is the
plain alternative (attribution patching; Syed, Rager & Conmy 2023): the absolute change of the answer's log-probability.

The estimate is good for small edits. Zeroing a whole head is none, so it only ranks: what is claimed is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.edits import Action, Edit, InvalidEdit, Probe, Stream
from harness.engine.architectures import config
from harness.engine.blocks import Stack
from harness.engine.memory import FLOAT, OutOfMemory, Shape, is_out_of_memory
from harness.engine.sweep import Item, NonFiniteLogits

Method = Literal["fisher", "answer"]

OUTCOMES = 4
USABLE = 0.85
"""Share of the budget that is reckoned with: the rest is what the allocator and autograd keep for themselves."""
BATCH_TOKENS = 512
"""Tokens of one batch at most: full speed for the products."""


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """First-order changes of log-probabilities when z is zeroed, by head and position, in nats.

    `pos` counts from the end, the last token's being -1: shorter prompts are padded in front with 0. A block without
    heads, or with fewer, holds 0. `weight` is p(outcome), or 1 for the answer alone.
    """

    change: Float[np.ndarray, "outcome layer head prompt pos"]
    weight: Float[np.ndarray, "outcome prompt"]
    lengths: tuple[int, ...]
    """Tokens of each prompt."""
    method: Method

    def heads(self) -> Float[np.ndarray, "layer head prompt"]:
        """Score of zeroing each head at all positions, nats."""
        return self._score(self.change.sum(axis=-1))

    def positions(self) -> Float[np.ndarray, "layer head prompt pos"]:
        """Score of zeroing each head at one position, nats."""
        return self._score(self.change)

    def probes(self, probes: Sequence[Probe]) -> Float[np.ndarray, "probe prompt"]:
        """Score of each probe, nats. Raises InvalidEdit for anything but the zeroing of z at positions there are."""
        scores = np.empty((len(probes), len(self.lengths)))
        for row, probe in enumerate(probes):
            if (
                not isinstance(probe, Edit)
                or probe.action is not Action.ZERO
                or probe.spot is not None
                or any(site.stream is not Stream.Z or site.dims for site in probe.sites)
            ):
                raise InvalidEdit(f"'{probe}': attribution estimates the zeroing of heads and nothing else")
            change = sum(self.change[:, site.layer, site.head] for site in probe.sites)
            scores[row] = self._score((change * self._at(probe.positions)).sum(axis=-1))
        return scores

    def _at(self, positions: tuple[int, ...] | None) -> Float[np.ndarray, "prompt pos"]:
        """1 at the positions named, 0 elsewhere."""
        longest = self.change.shape[-1]
        if positions is None:
            return np.ones((1, longest))
        at = np.zeros((len(self.lengths), longest))
        for row, length in enumerate(self.lengths):
            if any(not -length <= p < length for p in positions):
                raise InvalidEdit(f"positions {positions}: a prompt has only {length} tokens")
            at[row, [p if p < 0 else p - length for p in positions]] = 1.0
        return at

    def _score(self, change: np.ndarray) -> np.ndarray:
        """The score of changes [outcome, ..., prompt] or [outcome, layer, head, prompt, pos], outcomes summed out."""
        if self.method == "answer":
            return cast("np.ndarray", np.abs(change[0]))
        axes = "op" if change.ndim == 2 else "olhpt"[: change.ndim]
        return cast("np.ndarray", 0.5 * np.einsum(f"op,{axes}->{axes[1:]}", self.weight, change**2))


def attribute(
    stack: Stack,
    items: Sequence[Item],
    *,
    method: Method = "fisher",
    outcomes: int = OUTCOMES,
    memory_bytes: int = 2 * 2**30,
) -> Attribution:
    """One forward and `outcomes` backward passes per batch: O(1) passes where measuring takes one per head.

    `outcomes` counts the parts of the vocabulary, at least 2; the method "answer" has one. `memory_bytes` bounds what a
    batch keeps for the backward pass. The model's weights need no gradient and get none. Raises NonFiniteLogits where
    a gradient is not finite, and OutOfMemory where a single prompt does not fit.
    """
    if outcomes < 2:
        raise ValueError(f"outcomes is {outcomes}: at least the likeliest token and the others are needed")
    n = 1 if method == "answer" else min(outcomes, len(stack.unembedding))
    lengths = tuple(len(item.ids) for item in items)
    heads = max(parts.n_heads for parts in stack.blocks)
    change = np.zeros((n, stack.n_layers, heads, len(items), max(lengths)), dtype=np.float32)
    weight = np.zeros((n, len(items)))
    for batch in _batches(stack, lengths, memory_bytes, change.nbytes):
        length = lengths[batch[0]]
        try:
            found, weights = _attribute_batch(stack, [items[i] for i in batch], method, n)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"the gradients of {len(batch)} prompts of {length} tokens do not fit in memory: give a smaller "
                "--memory than now, so that batches are smaller, or leave out --screen"
            ) from error
        weight[:, batch] = weights
        for layer, values in found.items():
            change[:, layer][:, : values.shape[1], batch, -length:] = values
    return Attribution(change=change, weight=weight, lengths=lengths, method=method)


def _batches(
    stack: Stack, lengths: Sequence[int], memory_bytes: int, result_bytes: int
) -> Iterator[list[int]]:
    """Prompts of one length together, at most BATCH_TOKENS of them and what fits. OutOfMemory where one does not.

    Kept for the backward pass per token and block, reckoned for a gated MLP: the stream, the norms' inputs and outputs;
    queries, keys and values, before and after rotation and a copy for every query head, and z; gate, up, their
    activation and product; the scores of eager attention. Per prompt: logits, their log-softmax and gradients.
    """
    shape, eager = Shape.of(stack), getattr(config(stack.model), "_attn_implementation", "eager") == "eager"
    widths = 9 * shape.d_model + 6 * (shape.d_heads + shape.d_kv) + 5 * shape.d_mlp
    usable = int(USABLE * memory_bytes) - result_bytes
    for length in sorted(set(lengths)):
        scores = 3 * shape.n_heads * length if eager else 0
        each = FLOAT * (length * stack.n_layers * (widths + scores) + 8 * shape.vocab)
        if each > usable:
            need = (each + result_bytes) / USABLE / 2**30
            raise OutOfMemory(
                f"the gradients of a prompt of {length} tokens need {need:.2f} GiB, the budget is "
                f"{memory_bytes / 2**30:.2f} GiB: give --memory {need + 0.05:.1f}, or leave out --screen"
            )
        same = [i for i, n in enumerate(lengths) if n == length]
        size = max(1, min(BATCH_TOKENS // length, usable // each))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _attribute_batch(
    stack: Stack, items: Sequence[Item], method: Method, n: int
) -> tuple[dict[int, Float[np.ndarray, "outcome head prompt pos"]], Float[np.ndarray, "outcome prompt"]]:
    """Changes by layer, and the outcomes' weights: one forward pass, and a backward pass per outcome."""
    device = stack.device
    ids = torch.tensor([item.ids for item in items], device=device)
    model = cast("Any", stack.model)
    with torch.inference_mode(False), torch.enable_grad(), _traced_z(stack) as traced:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        if method == "answer":
            answers = torch.tensor([[item.answer] for item in items], device=device)
            of_outcome = logprobs.gather(1, answers)
            weights = torch.ones_like(of_outcome)
        else:
            of_outcome = _outcomes(logprobs, n)
            weights = of_outcome.detach().exp()
        by_outcome = []
        for outcome in range(n):
            gradients = torch.autograd.grad(
                of_outcome[:, outcome].sum(), list(traced.values()), retain_graph=outcome < n - 1
            )
            by_outcome.append(_changes(stack, traced, gradients))
    found = {layer: np.stack([change[layer] for change in by_outcome]) for layer in traced}
    return found, weights.T.double().cpu().numpy()


def _changes(
    stack: Stack, traced: Mapping[int, Tensor], gradients: Sequence[Tensor]
) -> dict[int, Float[np.ndarray, "head prompt pos"]]:
    """-(z . gradient) by head, per layer. Raises NonFiniteLogits."""
    found = {}
    for (layer, z), gradient in zip(traced.items(), gradients, strict=True):
        head_dim = stack.blocks[layer].head_dim
        assert head_dim is not None
        product = -(z.detach().float() * gradient.float())  # [prompt, pos, head * d_head]
        by_head = product.view(*product.shape[:2], -1, head_dim).sum(-1).permute(2, 0, 1)
        if not torch.isfinite(by_head).all():
            raise NonFiniteLogits(
                f"a gradient at block {layer} is NaN or infinite: check the weights, or measure in float32 "
                "(--dtype float32)"
            )
        found[layer] = by_head.cpu().numpy()
    return found


def _outcomes(logprobs: Float[Tensor, "prompt vocab"], n: int) -> Float[Tensor, "prompt outcome"]:
    """Log-probability of each outcome: the n - 1 likeliest tokens, then all others together."""
    top = logprobs.detach().topk(n - 1, dim=-1).indices
    others = logprobs.scatter(1, top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logprobs.gather(1, top), others], dim=1)


@contextmanager
def _traced_z(stack: Stack) -> Iterator[dict[int, Tensor]]:
    """While open, every attention's z [row, pos, head * d_head] is kept by layer, and a gradient can reach it."""
    traced: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def store(_: Any, args: tuple[Tensor, ...]) -> None:
            z = args[0]
            traced[layer] = (
                z if z.requires_grad else z.requires_grad_(True)
            )  # the first attention's is a leaf

        return store

    handles = [
        parts.out_proj.register_forward_pre_hook(keep(layer))
        for layer, parts in enumerate(stack.blocks)
        if parts.head_dim is not None
    ]
    try:
        yield traced
    finally:
        for handle in handles:
            handle.remove()
