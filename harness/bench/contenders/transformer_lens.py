"""TransformerLens: `run_with_hooks` of the 4.x bridge around the Hugging Face model.

Its `start_at_layer` still runs the blocks below, so nothing is gained by it. The bridge uses eager attention,
because its hooks on scores and patterns need it; there is no option.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.bench.contenders.driving import BatchDriver, Driver, LoopDriver
from harness.bench.contenders.reading import Padded
from harness.bench.workload import SimpleEdit

Hook = tuple[str, Callable[..., Any]]


class _Bridge(Driver):
    def __init__(self, checkpoint: Path) -> None:
        from transformer_lens.model_bridge import TransformerBridge

        self.model = TransformerBridge.boot_transformers(str(checkpoint), device="cpu", dtype=torch.float32)

    def unedited(self, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        logits: Tensor = self.model(ids, logits_to_keep=1, use_cache=False)[:, -1]
        return logits

    def hooks(self, edit: SimpleEdit) -> list[Hook]:
        """The edit as hooks by TransformerLens's names."""
        if edit.kind == "mlp":
            return [(f"blocks.{edit.layer}.hook_mlp_out", lambda value, hook: value.zero_())]
        if edit.kind == "head":
            return [(f"blocks.{edit.layer}.attn.hook_z", _zero_head(edit.head))]
        kept: list[Tensor] = []
        return [
            (f"blocks.{edit.layer}.hook_resid_pre", lambda value, hook: kept.append(value)),
            (f"blocks.{edit.layer}.hook_resid_post", lambda value, hook: kept.pop()),
        ]


def _zero_head(head: int) -> Callable[..., Tensor]:
    def zero(z: Float[Tensor, "row pos head d_head"], hook: Any) -> Tensor:
        z[:, :, head] = 0
        return z

    return zero


class Loop(_Bridge, LoopDriver):
    """`run_with_hooks` on one prompt under one edit, as in the tutorials."""

    def edited(self, edit: SimpleEdit, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        """See LoopDriver."""
        logits: Tensor = self.model.run_with_hooks(
            ids, fwd_hooks=self.hooks(edit), logits_to_keep=1, use_cache=False
        )
        return logits[:, -1]


class Batched(_Bridge, BatchDriver):
    """`run_with_hooks` on padded batches; a hook before the final norm keeps the last tokens only."""

    def edited(self, edit: SimpleEdit, batch: Padded) -> Float[Tensor, "row vocab"]:
        """See BatchDriver."""

        def keep_last(resid: Tensor, hook: Any) -> Tensor:
            return batch.at_last(resid)[:, None]

        hooks = [*self.hooks(edit), ("ln_final.hook_in", keep_last)]
        logits: Tensor = self.model.run_with_hooks(batch.ids, fwd_hooks=hooks, use_cache=False)
        return logits[:, -1]
