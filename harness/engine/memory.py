"""What one pass needs of memory, in bytes, from shapes alone; and how work is cut so that it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.edits import Action, Edit, Probe
from harness.engine.architectures import config
from harness.engine.blocks import VOCABULARY_SLAB, Stack
from harness.engine.readout import logit_rows

GROUP_ROWS = 128
"""Tokens of the prompts of one group: short prompts go together, and a group is what Ctrl-C can lose."""
CHUNK_ROWS = {"cpu": 1536, "cuda": 16384}
"""Rows that go through a block at a time: full speed for its products, small enough for the caches."""
SCORES = 2**25
"""Attention scores computed in one call at most, but for a single variant's."""
FLOAT = 4


def chunk_rows(device: torch.device) -> int:
    """CHUNK_ROWS of this kind of device."""
    return CHUNK_ROWS.get(device.type, CHUNK_ROWS["cpu"])


class OutOfMemory(MemoryError):
    """The work does not fit, however it is cut."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the CPU or on a GPU; not the refusal of work that does not fit a budget."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError) and not isinstance(error, OutOfMemory)
    ) or any(sign in text for sign in _SIGNS_OF_FULL_MEMORY)


_SIGNS_OF_FULL_MEMORY = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model that decide what a pass needs."""

    d_model: int
    d_mlp: int
    d_heads: int
    d_kv: int
    vocab: int
    n_heads: int

    @classmethod
    def of(cls, stack: Stack) -> Shape:
        """The sizes of a loaded model."""
        return cls.of_config(config(stack.model))

    @classmethod
    def of_config(cls, given: object) -> Shape:
        """The sizes in a transformers config."""
        c = given
        d_head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads  # type: ignore[attr-defined]
        return cls(
            d_model=c.hidden_size,  # type: ignore[attr-defined]
            d_mlp=c.intermediate_size,  # type: ignore[attr-defined]
            d_heads=c.num_attention_heads * d_head,  # type: ignore[attr-defined]
            d_kv=(getattr(c, "num_key_value_heads", None) or c.num_attention_heads) * d_head,  # type: ignore[attr-defined]
            vocab=c.vocab_size,  # type: ignore[attr-defined]
            n_heads=c.num_attention_heads,  # type: ignore[attr-defined]
        )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a pass may hold, and the sizes it is reckoned with."""

    bytes: int
    shape: Shape
    chunk_rows: int
    n_donors: int = 0
    n_referenced: int = 0
    """Probes whose output on the first prompt is kept for comparison."""
    attention_scores: bool = False
    """Whether attention holds its scores in memory, as it does on CUDA in float32 with a mask."""
    float32: bool = True
    """Whether the weights are, so that the unembedding need not be widened."""

    def fixed(self, longest: int) -> int:
        """Bytes held whatever the number of prompts and edits: one chunk in a block, one chunk of logits.

        Both at once, because a block's scratch memory is kept. In a short type a slab of the unembedding comes with it.
        """
        s, rows = self.shape, max(self.chunk_rows, longest)
        block = rows * FLOAT * (2 * s.d_model + max(3 * s.d_mlp, 3 * s.d_heads + 6 * s.d_kv))
        if self.attention_scores:
            block += 3 * FLOAT * max(SCORES, s.n_heads * longest**2)
        chunks = 5 if self.n_referenced else 2
        logits = logit_rows(s.vocab) * s.vocab * FLOAT * chunks
        slab = 0 if self.float32 else min(VOCABULARY_SLAB, s.vocab) * s.d_model * FLOAT
        return block + logits + slab + self.n_referenced * s.vocab * FLOAT

    def of_pass(self, lengths: Sequence[int], probes: Sequence[Probe]) -> int:
        """Upper bound on the bytes of one pass of these probes over prompts of these lengths."""
        s, tokens = self.shape, sum(lengths)
        edits = [probe for probe in probes if isinstance(probe, Edit)]
        views = len({(edit.action is Action.CUT, edit.spot or edit.positions) for edit in edits}) + 1
        state = len(edits) * tokens * s.d_model
        summit = 4 * len(probes) * len(lengths) * s.d_model
        streams = 1 + self.n_donors
        base = streams * tokens * (9 * s.d_model + 2 * s.d_mlp + 3 * s.d_heads + 4 * s.d_kv)
        seen = views * tokens * (8 * s.d_model + max(lengths))
        distributions = 3 * len(lengths) * s.vocab
        return FLOAT * (state + summit + base + seen + distributions)

    def fits(self, lengths: Sequence[int], probes: Sequence[Probe]) -> bool:
        """Whether one pass keeps within the budget."""
        return self.fixed(max(lengths)) + self.of_pass(lengths, probes) <= self.bytes


def waves(
    budget: Budget, lengths: Sequence[int], probes: Sequence[Probe], rows: Sequence[int]
) -> list[list[int]]:
    """Rows of the table cut into passes that fit. Raises OutOfMemory where a single probe does not."""
    if budget.fits(lengths, [probes[row] for row in rows]):
        return [list(rows)]
    if len(rows) == 1:
        need = (budget.fixed(max(lengths)) + budget.of_pass(lengths, [probes[rows[0]]])) / 2**30
        raise OutOfMemory(
            f"one prompt of {max(lengths)} tokens with the single edit '{probes[rows[0]]}' needs {need:.2f} GiB, the "
            f"budget is {budget.bytes / 2**30:.2f} GiB: give --memory {need + 0.05:.1f}, or use shorter prompts"
        )
    middle = len(rows) // 2
    return [*waves(budget, lengths, probes, rows[:middle]), *waves(budget, lengths, probes, rows[middle:])]


def groups(
    budget: Budget,
    lengths: Sequence[int],
    probes: Sequence[Probe],
    order: Sequence[int],
    *,
    equal_lengths: bool,
) -> list[tuple[int, ...]]:
    """Prompts, in this order, cut into groups of about GROUP_ROWS tokens that fit the budget."""
    found: list[list[int]] = []
    for i in order:
        group = [*found[-1], i] if found else [i]
        sizes = [lengths[j] for j in group]
        joins = (
            bool(found)
            and sum(sizes) <= GROUP_ROWS
            and (not equal_lengths or len(set(sizes)) == 1)
            and budget.fits(sizes, probes)
        )
        if joins:
            found[-1].append(i)
        else:
            found.append([i])
    return [tuple(group) for group in found]
