"""What a model writes after JSON prompts, with an adapter's weights in it or as it is, and whether that is JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from harness.adapters.json_text import is_valid_json
from harness.continuations import decode
from harness.degeneration import before_end
from harness.edits import InvalidEdit
from harness.engine.blocks import Stack
from harness.engine.generation import NON_FINITE, end_tokens, generate_unedited
from harness.engine.sweep import Item

if TYPE_CHECKING:
    from harness.models.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class JsonTexts:
    """The prompts of a draw that are continued as JSON, and by how many tokens.

    Raises InvalidEdit where the draw has none.
    """

    loaded: LoadedModel
    """Of its tokenizer; what writes is named by each call."""
    items: Sequence[Item]
    """The whole draw."""
    asked: tuple[int, ...]
    """Indices of the prompts that are continued."""
    new_tokens: int
    memory_bytes: int

    def __post_init__(self) -> None:
        if not self.asked:
            raise InvalidEdit("texts are judged as JSON, and no prompt of this draw asks for it")

    def valid(self, stack: Stack, advance: Callable[[float], None]) -> Float[np.ndarray, " prompt"]:
        """`valid_json` (`harness.effects`) of the greedy continuation of each prompt.

        NaN on prompts that are not asked, and where logits are NaN or infinite before the text ends. `advance` is told
        of the number of prompts done since the last call. Raises OutOfMemory.
        """
        prompts = [self.items[i] for i in self.asked]
        tokens = generate_unedited(
            stack,
            [item.ids for item in prompts],
            new_tokens=self.new_tokens,
            memory_bytes=self.memory_bytes,
            on_progress=advance,
        )
        ends = end_tokens(stack.model)
        found = np.full(len(self.items), np.nan)
        for i, item, written in zip(self.asked, prompts, tokens.tolist(), strict=True):
            if NON_FINITE not in written:
                text = decode(self.loaded, before_end(written, ends))
                found[i] = is_valid_json(item.text, text)
        return found
