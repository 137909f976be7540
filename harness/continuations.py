"""The texts of an experiment that generates, and what is read off them: see `harness.degeneration`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from harness.degeneration import GENERATED, Continuation, before_end, describe
from harness.edits import Edit, InvalidEdit, Probe
from harness.engine.blocks import Stack
from harness.engine.editing import DonorPrompts, DonorVectors
from harness.engine.generation import Continuations, end_tokens, generate
from harness.models.loading import LoadedModel

OnTexts = Callable[[tuple[int, ...], Mapping[str, Float[np.ndarray, "probe prompt"]]], None]


def measure_texts(
    stack: Stack,
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[str],
    probes: Sequence[Probe],
    donors: Mapping[str, DonorPrompts | DonorVectors],
    *,
    new_tokens: int,
    memory_bytes: int,
    only: Iterable[int],
    on_texts: OnTexts,
    on_progress: Callable[[float], None],
) -> None:
    """Write the continuations of these prompts (token ids and texts) under every probe, and measure them.

    `on_texts(indices, metrics)` is called with each finished group: GENERATED, [probe, prompt]. Raises as `generate`
    does, and InvalidEdit where no probe is of strength 0: text is judged beside the unedited one.
    """
    unedited = unedited_row(probes)
    ends = end_tokens(stack.model)

    def read(tokens: Sequence[int]) -> Continuation:
        kept = before_end(tokens, ends)
        return Continuation(tokens=kept, text=decode(loaded, kept))

    def on_group(group: Continuations) -> None:
        metrics = {name: np.empty(group.tokens.shape[:2]) for name in GENERATED}
        for column, index in enumerate(group.indices):
            written = [read(row) for row in group.tokens[:, column].tolist()]
            for row, continuation in enumerate(written):
                found = describe(continuation, written[unedited], texts[index])
                for name in GENERATED:
                    metrics[name][row, column] = found[name]
        on_texts(group.indices, metrics)

    generate(
        stack,
        prompts,
        probes,
        donors,
        new_tokens=new_tokens,
        memory_bytes=memory_bytes,
        only=only,
        on_group=on_group,
        on_progress=on_progress,
    )


def unedited_row(probes: Sequence[Probe]) -> int:
    """The row of strength 0. Raises InvalidEdit where there is none."""
    rows = [i for i, p in enumerate(probes) if isinstance(p, Edit) and p.strength == 0.0]
    if not rows:
        raise InvalidEdit("an experiment that generates needs a probe of strength 0: the unedited text")
    return rows[0]


def decode(loaded: LoadedModel, tokens: Sequence[int]) -> str:
    """The text of these tokens, special ones left out."""
    return str(loaded.tokenizer.decode(list(tokens), skip_special_tokens=True))
