"""Gradient attribution: what zeroing any head at any position would do, to first order, from one pass.

One forward and one backward pass of the model itself, per batch of prompts of one length, gives the gradient of a
log-probability with respect to every z at once. The first-order change of log p(y) when z[l, h] is zeroed at a position
is -(z . gradient) there. KL(base || edited) has no first-order term at the base, so it is estimated by its second,

    KL  ~  1/2 sum_y p(y) (change of log p(y))^2                         (the Fisher information; Amari 1998)

over a partition of the vocabulary into the `outcomes` - 1 likeliest tokens and all others together: merging outcomes
only ever lowers a KL. An edit at several heads or positions adds their changes up *before* the square. `Answer` is the
plain alternative (attribution patching; Syed, Rager & Conmy 2023): the absolute change of the answer's log-probability.

The estimate is good for small edits. Zeroing a whole head is none, so it only ranks: what is claimed is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.edits import Action, Edit, InvalidEdit, Probe, Stream
from harness.engine.blocks import Stack
from harness.engine.sweep import Item, NonFiniteLogits

Method = Literal["fisher", "answer"]

OUTCOMES = 4
BATCH_TOKENS = 512
"""Tokens of one batch, each prompt counted once per outcome: what the backward pass keeps grows with it."""


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
                or any(site.stream is not Stream.Z for site in probe.sites)
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
    stack: Stack, items: Sequence[Item], *, method: Method = "fisher", outcomes: int = OUTCOMES
) -> Attribution:
    """One forward and one backward pass per batch: O(1) passes where measuring takes one per head.

    `outcomes` counts the parts of the vocabulary, at least 2; the method "answer" does not use it. The model's
    weights need no gradient and get none. Raises NonFiniteLogits where a gradient is not finite.
    """
    if outcomes < 2:
        raise ValueError(f"outcomes is {outcomes}: at least the likeliest token and the others are needed")
    n = 1 if method == "answer" else min(outcomes, len(stack.unembedding))
    lengths = tuple(len(item.ids) for item in items)
    heads = max(parts.n_heads for parts in stack.blocks)
    change = np.zeros((n, stack.n_layers, heads, len(items), max(lengths)))
    weight = np.zeros((n, len(items)))
    for batch in _batches(lengths, n):
        length = lengths[batch[0]]
        found, weights = _attribute_batch(stack, [items[i] for i in batch], method, n)
        weight[:, batch] = weights
        for layer, values in found.items():
            change[:, layer][:, : values.shape[1], batch, -length:] = values
    return Attribution(change=change, weight=weight, lengths=lengths, method=method)


def _batches(lengths: Sequence[int], outcomes: int) -> Iterator[list[int]]:
    """Prompts of one length together, cut at BATCH_TOKENS."""
    for length in sorted(set(lengths)):
        same = [i for i, n in enumerate(lengths) if n == length]
        size = max(1, BATCH_TOKENS // (length * outcomes))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _attribute_batch(
    stack: Stack, items: Sequence[Item], method: Method, n: int
) -> tuple[dict[int, Float[np.ndarray, "outcome head prompt pos"]], Float[np.ndarray, "outcome prompt"]]:
    """Changes by layer, and the outcomes' weights. Row p * n + y of the batch is prompt p, asked about outcome y."""
    device = stack.device
    ids = torch.tensor([item.ids for item in items], device=device).repeat_interleave(n, dim=0)
    model = cast("Any", stack.model)
    with torch.inference_mode(False), torch.enable_grad(), _traced_z(stack) as traced:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        logprobs = torch.log_softmax(logits.float(), dim=-1).view(len(items), n, -1)
        if method == "answer":
            answers = torch.tensor([[item.answer] for item in items], device=device)
            of_outcome = logprobs[:, 0].gather(1, answers)
            weights = torch.ones_like(of_outcome)
        else:
            of_outcome = _outcomes(logprobs)
            weights = of_outcome.detach().exp()
        gradients = torch.autograd.grad(of_outcome.sum(), list(traced.values()))
    found = {}
    for (layer, z), gradient in zip(traced.items(), gradients, strict=True):
        head_dim = stack.blocks[layer].head_dim
        assert head_dim is not None
        product = -(z.detach().float() * gradient.float())  # [prompt * outcome, pos, head * d_head]
        by_outcome = product.view(len(items), n, product.shape[1], -1, head_dim).sum(-1).permute(1, 3, 0, 2)
        if not torch.isfinite(by_outcome).all():
            raise NonFiniteLogits(
                f"a gradient at block {layer} is NaN or infinite: check the weights, or measure in float32 "
                "(--dtype float32)"
            )
        found[layer] = by_outcome.double().cpu().numpy()
    return found, weights.T.double().cpu().numpy()


def _outcomes(logprobs: Float[Tensor, "prompt outcome vocab"]) -> Float[Tensor, "prompt outcome"]:
    """Log-probability of each outcome, read off its own row: the likeliest tokens, then all others together."""
    n = logprobs.shape[1]
    top = logprobs[:, 0].detach().topk(n - 1, dim=-1).indices
    single = logprobs[:, : n - 1].gather(2, top[:, :, None])[:, :, 0]
    others = logprobs[:, n - 1].scatter(1, top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([single, others], dim=1)


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
