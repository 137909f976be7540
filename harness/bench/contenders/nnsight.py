"""nnsight: interventions written in the body of a trace.

The bodies are read from source and run inside the forward pass; what they assign is the edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.bench.contenders.driving import BatchDriver, Driver, LoopDriver
from harness.bench.contenders.reading import Padded, head_width
from harness.bench.workload import SimpleEdit

INVOKES = 30


class _Traced(Driver):
    def __init__(self, checkpoint: Path) -> None:
        from nnsight.modeling.transformers import TransformersModel

        self.model = TransformersModel(
            str(checkpoint), task="text-generation", dispatch=True, dtype=torch.float32
        )
        self.d_head = head_width(self.model._module.config)

    def unedited(self, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        logits: Tensor = self.model._module(input_ids=ids, logits_to_keep=1, use_cache=False).logits[:, -1]
        return logits

    def span(self, edit: SimpleEdit) -> slice:
        """The columns of z that belong to the edit's head."""
        return slice(edit.head * self.d_head, (edit.head + 1) * self.d_head)


class Loop(_Traced, LoopDriver):
    """One trace per prompt and edit, as in the tutorials."""

    def edited(self, edit: SimpleEdit, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        """See LoopDriver."""
        model, kind, span = self.model, edit.kind, self.span(edit)
        block = model.model.layers[edit.layer]
        with model.trace(input_ids=ids, logits_to_keep=1, use_cache=False):
            if kind == "skip":
                block.skip(block.input)
            elif kind == "mlp":
                block.mlp.output[:] = 0
            else:
                block.self_attn.o_proj.input[..., span] = 0
            logits = model.lm_head.output.save()
        found: Tensor = logits[:, -1]
        return found


class Batched(_Traced, BatchDriver):
    """One trace per edit and padded batch; only last tokens reach the unembedding."""

    def edited(self, edit: SimpleEdit, batch: Padded) -> Float[Tensor, "row vocab"]:
        """See BatchDriver."""
        model, kind, span = self.model, edit.kind, self.span(edit)
        block = model.model.layers[edit.layer]
        with model.trace(input_ids=batch.ids, use_cache=False):
            if kind == "skip":
                block.skip(block.input)
            elif kind == "mlp":
                block.mlp.output[:] = 0
            else:
                block.self_attn.o_proj.input[..., span] = 0
            model.lm_head.input = batch.at_last(model.lm_head.input)[:, None]
            logits = model.lm_head.output.save()
        found: Tensor = logits[:, -1]
        return found


class Invokes(_Traced):
    """Thirty edits of one prompt as thirty invokes of one trace: nnsight batches them into one forward pass."""

    def run(self, edits: Sequence[SimpleEdit], prompts: Sequence[int]) -> Float[np.ndarray, "edit prompt"]:
        """See Contender."""
        table = np.empty((len(edits), len(prompts)))
        with torch.inference_mode():
            for column, prompt in enumerate(prompts):
                for start in range(0, len(edits), INVOKES):
                    part = edits[start : start + INVOKES]
                    logits = self._edited(part, self.reference.ids[prompt])
                    table[start : start + INVOKES, column] = self.reference.kl(logits, [prompt] * len(part))
        return table

    def _edited(self, edits: Sequence[SimpleEdit], ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "edit vocab"]:
        model = self.model
        with model.trace(logits_to_keep=1, use_cache=False) as tracer:
            saved = list().save()  # type: ignore[attr-defined]  # noqa: C408  (nnsight gives lists a save)
            for edit in edits:
                block, kind, span = model.model.layers[edit.layer], edit.kind, self.span(edit)
                with tracer.invoke(input_ids=ids):
                    if kind == "skip":
                        block.output = block.input
                    elif kind == "mlp":
                        block.mlp.output[:] = 0
                    else:
                        block.self_attn.o_proj.input[..., span] = 0
                    saved.append(model.lm_head.output)
        return torch.cat([logits[:, -1] for logits in saved])
