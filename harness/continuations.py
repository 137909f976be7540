"""The texts of an experiment that generates, and what is read off them: see `harness.degeneration`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from harness.degeneration import GENERATED, UNDECODABLE, Continuation, before_end, describe
from harness.edits import Edit, InvalidEdit, Probe
from harness.engine.blocks import Stack
from harness.engine.editing import DonorPrompts, DonorVectors
from harness.engine.generation import NON_FINITE, Continuations, end_tokens, generate
from harness.engine.sweep import NonFiniteLogits
from harness.models.loading import LoadedModel

OnTexts = Callable[[tuple[int, ...], Mapping[str, Float[np.ndarray, "probe prompt"]]], None]

BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A byte, as vocabularies with byte fallback write it."""
LONGEST_CUT = 3
"""Bytes of a character that is cut off, at most: all but the last of four."""


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

    `on_texts(indices, metrics)` is called with each finished group: GENERATED, [probe, prompt]; as in a sweep, NaN
    where an edit makes the logits NaN or infinite before the text ends, so that a verdict on it is `invalid`. Raises as
    `generate` does, NonFiniteLogits where that befalls the unedited text, and InvalidEdit where no probe is of
    strength 0: text is judged beside the unedited one.
    """
    unedited = unedited_row(probes)
    ends = end_tokens(stack.model)

    def read(tokens: Sequence[int]) -> Continuation | None:
        if NON_FINITE in tokens:
            return None
        kept = before_end(tokens, ends)
        return Continuation(tokens=kept, text=decode(loaded, kept))

    def on_group(group: Continuations) -> None:
        metrics = {name: np.full(group.tokens.shape[:2], np.nan) for name in GENERATED}
        for column, index in enumerate(group.indices):
            written = [read(row) for row in group.tokens[:, column].tolist()]
            beside = written[unedited]
            if beside is None:
                raise NonFiniteLogits(
                    f"the unedited model gives NaN or infinite logits within {new_tokens} tokens after "
                    f"{texts[index]!r}: check the weights, or measure in float32 (--dtype float32)"
                )
            for row, continuation in enumerate(written):
                if continuation is None:
                    continue
                found = describe(continuation, beside, texts[index])
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
    """The text of these tokens, special ones left out. A character that they cut off at the end is one UNDECODABLE.

    So byte-level decoders give it. Those with byte fallback give one for each of its bytes, and for each byte of whole
    characters just before it; they read only whole characters here.
    """
    text = str(loaded.tokenizer.decode(list(tokens), skip_special_tokens=True))
    cut = _cut_off(loaded, tokens) if text.endswith(UNDECODABLE) else 0
    if not cut:
        return text
    return str(loaded.tokenizer.decode(list(tokens[:-cut]), skip_special_tokens=True)) + UNDECODABLE


def _cut_off(loaded: LoadedModel, tokens: Sequence[int]) -> int:
    """How many of the last tokens are bytes, one each, that begin a character and do not end it."""
    octets = b""
    for piece in reversed(loaded.tokenizer.convert_ids_to_tokens(list(tokens[-LONGEST_CUT:]))):
        byte = BYTE.fullmatch(piece or "")  # a vocabulary may be smaller than the model's
        if byte is None:
            break
        octets = bytes.fromhex(byte[1]) + octets
    return next((n for n in range(len(octets), 0, -1) if _is_begun(octets[-n:])), 0)


def _is_begun(octets: bytes) -> bool:
    """Whether these are the first bytes of a character in UTF-8, and not all of it."""
    try:
        octets.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.reason == "unexpected end of data"
    return False
