"""Plain transformers with torch's forward hooks, as most scripts do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from harness.bench.contenders.driving import BatchDriver, Driver, LoopDriver
from harness.bench.contenders.reading import Padded, head_width, load_causal_lm
from harness.bench.workload import SimpleEdit


class _Hooks(Driver):
    def __init__(self, checkpoint: Path) -> None:
        self.model = load_causal_lm(checkpoint)
        self.d_head = head_width(self.model.config)

    def unedited(self, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        logits: Tensor = self.model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[:, -1]
        return logits

    def hook(self, edit: SimpleEdit) -> Any:
        """Register the edit's hook; the handle removes it."""
        block = self.model.model.layers[edit.layer]
        if edit.kind == "skip":
            return block.register_forward_hook(lambda _, args, output: args[0])
        if edit.kind == "mlp":
            return block.mlp.register_forward_hook(lambda _, args, output: output.zero_())
        span = slice(edit.head * self.d_head, (edit.head + 1) * self.d_head)

        def zero_head(_: Any, args: tuple[Tensor, ...]) -> None:
            args[0][..., span] = 0

        return block.self_attn.o_proj.register_forward_pre_hook(zero_head)


class Loop(_Hooks, LoopDriver):
    """One prompt, one edit, one forward pass."""

    def edited(self, edit: SimpleEdit, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        """See LoopDriver."""
        handle = self.hook(edit)
        try:
            return self.unedited(ids)
        finally:
            handle.remove()


class Batched(_Hooks, BatchDriver):
    """All prompts in padded batches; only last tokens reach the unembedding."""

    def edited(self, edit: SimpleEdit, batch: Padded) -> Float[Tensor, "row vocab"]:
        """See BatchDriver."""
        handle = self.hook(edit)
        try:
            hidden = self.model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        finally:
            handle.remove()
        logits: Tensor = self.model.lm_head(batch.at_last(hidden))
        return logits
