"""What every tool's user writes around it: padded batches, and the KL from unedited distributions kept once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.bench.workload import BenchPrompt

BATCH_PROMPTS = 18
"""Prompts of one padded batch. Sorted by length, two batches of 18 were the fastest cut of 36 prompts."""


def load_causal_lm(checkpoint: Path) -> Any:
    """The model as transformers loads it: float32, sdpa attention, eval mode."""
    from transformers import AutoModelForCausalLM

    factory: Any = AutoModelForCausalLM
    return factory.from_pretrained(checkpoint, dtype=torch.float32, local_files_only=True).eval()


def head_width(config: Any) -> int:
    """Width of a head's z, from a transformers config."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


class Reference:
    """The unedited next-token distributions of all prompts, computed once by the tool itself."""

    def __init__(
        self,
        prompts: Sequence[BenchPrompt],
        logits_of: Callable[[Int[Tensor, "1 pos"]], Float[Tensor, "1 vocab"]],
    ) -> None:
        self.ids = [torch.tensor([prompt.ids]) for prompt in prompts]
        logits = torch.cat([logits_of(ids) for ids in self.ids])
        self.logprobs = torch.log_softmax(logits.float(), dim=-1)
        self.probs = self.logprobs.exp()

    def kl(self, logits: Float[Tensor, "row vocab"], prompts: Sequence[int]) -> list[float]:
        """KL(unedited || edited) in nats; row i is compared with prompt `prompts[i]`."""
        rows = list(prompts)
        gap = self.logprobs[rows].sub_(torch.log_softmax(logits, dim=-1))
        found: list[float] = gap.mul_(self.probs[rows]).sum(dim=-1).tolist()
        return found


@dataclass(frozen=True, kw_only=True)
class Padded:
    """Prompts padded on the right. Under causal attention no real token sees the padding behind it, and every
    token has its natural position: no mask is needed, and attention keeps its fast causal path.

    `last[i]` is the position of row i's last token, `prompts[i]` its place among the workload's prompts.
    """

    ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    row: Int[Tensor, " row"]
    prompts: tuple[int, ...]

    def at_last(self, values: Float[Tensor, "row pos width"]) -> Float[Tensor, "row width"]:
        """The values at each row's last token."""
        return values[self.row, self.last]


def pad(prompts: Sequence[Int[Tensor, "1 pos"]], chosen: Sequence[int]) -> list[Padded]:
    """These prompts, sorted by length and cut into even batches of about BATCH_PROMPTS."""
    order = sorted(chosen, key=lambda i: prompts[i].shape[1])
    n_batches = -(-len(order) // BATCH_PROMPTS)
    edges = [len(order) * i // n_batches for i in range(n_batches + 1)]
    batches = []
    for a, b in pairwise(edges):
        part = order[a:b]
        lengths = [prompts[i].shape[1] for i in part]
        ids = torch.zeros((len(part), max(lengths)), dtype=torch.long)
        for row, i in enumerate(part):
            ids[row, : lengths[row]] = prompts[i][0]
        batches.append(
            Padded(
                ids=ids,
                last=torch.tensor(lengths) - 1,
                row=torch.arange(len(part)),
                prompts=tuple(part),
            )
        )
    return batches
