"""The sweep engine of this project: all edits and prompts in one call."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from harness.bench.workload import BenchPrompt, SimpleEdit
from harness.engine.blocks import Stack
from harness.engine.sweep import Item, sweep
from harness.models import LocalDir, ModelSpec, load


class Sweep:
    """`harness.engine.sweep.sweep`; its unedited pass and its other metrics are part of what is timed.

    `budget_bytes` is what the sweep may hold beside the weights, by default.
    """

    def __init__(self, checkpoint: Path) -> None:
        spec = ModelSpec(id="bench", title="bench", source=LocalDir(path=checkpoint), license="none")
        self.stack = Stack(load(spec).model)
        self.budget_bytes = int(inspect.signature(sweep).parameters["memory_bytes"].default)

    def prepare(self, prompts: Sequence[BenchPrompt]) -> None:
        """See Contender."""
        self.items = [Item(ids=p.ids, answer=p.answer, foil=p.foil, text=p.text) for p in prompts]

    def run(self, edits: Sequence[SimpleEdit], prompts: Sequence[int]) -> Float[np.ndarray, "edit prompt"]:
        """See Contender."""
        items, probes = [self.items[i] for i in prompts], [edit.as_edit() for edit in edits]
        metrics, _ = sweep(self.stack, items, probes)
        return metrics["kl_nats"]
