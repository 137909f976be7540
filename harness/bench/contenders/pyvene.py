"""pyvene: one IntervenableModel per edit, built from its configuration when it is first used, and kept.

A skip uses the `as_adaptor` option, which hands the block's input to the intervention: pyvene's own
SkipIntervention would take a second forward pass to fetch it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from harness.bench.contenders.driving import BatchDriver, Driver, LoopDriver
from harness.bench.contenders.reading import Padded, head_width, load_causal_lm
from harness.bench.workload import SimpleEdit


class _Intervenable(Driver):
    def __init__(self, checkpoint: Path) -> None:
        import pyvene

        logging.getLogger().setLevel(logging.ERROR)  # as_adaptor warns once per model built
        self.pyvene = pyvene
        self.model = load_causal_lm(checkpoint)
        self.d_head = head_width(self.model.config)

        class Skip(pyvene.ConstantSourceIntervention):  # type: ignore[misc]  # Any where pyvene is missing
            """block_output := block_input."""

            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                self.keep_last_dim = True

            def forward(
                self, base: Tensor, source: Any = None, subspaces: Any = None, args: Any = None
            ) -> Any:
                return args

        self.skip = Skip
        self.kept: dict[SimpleEdit, Any] = {}

    def unedited(self, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        logits: Tensor = self.model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[:, -1]
        return logits

    def intervenable(self, edit: SimpleEdit, model: Any) -> Any:
        """`model` under this edit."""
        if edit not in self.kept:
            self.kept[edit] = self._build(edit, model)
        return self.kept[edit]

    def _build(self, edit: SimpleEdit, model: Any) -> Any:
        wrap = self.pyvene.IntervenableModel
        if edit.kind == "skip":
            site = {"layer": edit.layer, "component": "block_output", "intervention_type": self.skip}
            return wrap(site, model, as_adaptor=True)
        if edit.kind == "mlp":
            zero = self.pyvene.ZeroIntervention
            return wrap({"layer": edit.layer, "component": "mlp_output", "intervention_type": zero}, model)
        span = slice(edit.head * self.d_head, (edit.head + 1) * self.d_head)

        def zero_head(base: Tensor, source: Any) -> Tensor:
            base[..., span] = 0
            return base

        site = {"layer": edit.layer, "component": "attention_value_output", "intervention": zero_head}
        return wrap(site, model)


class Loop(_Intervenable, LoopDriver):
    """One prompt, one edit, one call of the intervenable model."""

    def edited(self, edit: SimpleEdit, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        """See LoopDriver."""
        _, output = self.intervenable(edit, self.model)(
            {"input_ids": ids, "logits_to_keep": 1}, use_cache=False
        )
        logits: Tensor = output.logits[:, -1]
        return logits


class Batched(_Intervenable, BatchDriver):
    """Padded batches through the decoder stack; only last tokens reach the unembedding."""

    def edited(self, edit: SimpleEdit, batch: Padded) -> Float[Tensor, "row vocab"]:
        """See BatchDriver."""
        _, output = self.intervenable(edit, self.model.model)({"input_ids": batch.ids}, use_cache=False)
        logits: Tensor = self.model.lm_head(batch.at_last(output.last_hidden_state))
        return logits
