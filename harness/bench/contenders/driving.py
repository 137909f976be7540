"""The two shapes that every tool's driver has: a loop over prompts x edits, and padded batches edit by edit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.bench.contenders.reading import Padded, Reference, pad
from harness.bench.workload import BenchPrompt, SimpleEdit


class Driver(ABC):
    """A tool around its model; subclasses say how the tool runs one prompt without an edit."""

    reference: Reference

    @abstractmethod
    def unedited(self, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        """Next-token logits of one prompt."""

    def prepare(self, prompts: Sequence[BenchPrompt]) -> None:
        """The unedited distributions, once."""
        with torch.inference_mode():
            self.reference = Reference(prompts, self.unedited)


class LoopDriver(Driver):
    """One forward pass per prompt and edit."""

    @abstractmethod
    def edited(self, edit: SimpleEdit, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 vocab"]:
        """Next-token logits of one prompt under one edit."""

    def run(self, edits: Sequence[SimpleEdit], prompts: Sequence[int]) -> Float[np.ndarray, "edit prompt"]:
        """See Contender."""
        table = np.empty((len(edits), len(prompts)))
        with torch.inference_mode():
            for column, prompt in enumerate(prompts):
                ids = self.reference.ids[prompt]
                for row, edit in enumerate(edits):
                    table[row, column] = self.reference.kl(self.edited(edit, ids), [prompt])[0]
        return table


class BatchDriver(Driver):
    """One forward pass per edit and padded batch of prompts."""

    @abstractmethod
    def edited(self, edit: SimpleEdit, batch: Padded) -> Float[Tensor, "row vocab"]:
        """Next-token logits of each row of a batch under one edit."""

    def run(self, edits: Sequence[SimpleEdit], prompts: Sequence[int]) -> Float[np.ndarray, "edit prompt"]:
        """See Contender."""
        table = np.empty((len(edits), len(prompts)))
        column = {prompt: i for i, prompt in enumerate(prompts)}
        with torch.inference_mode():
            for batch in pad(self.reference.ids, prompts):
                columns = [column[prompt] for prompt in batch.prompts]
                for row, edit in enumerate(edits):
                    table[row, columns] = self.reference.kl(self.edited(edit, batch), batch.prompts)
        return table
