"""Does leaving a block out save time? Wall time of the plain run against the edited run, interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.edits import Action, Edit
from harness.engine import naive
from harness.engine.architectures import resolve_blocks

REPEATS = 3


def speedups(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    edit: Edit,
    on_progress: Callable[[float], None] = lambda _: None,
) -> np.ndarray:
    """Plain time over edited time per prompt [prompt]: the least of REPEATS interleaved forward passes each.

    The least, not the mean: what disturbs a timing only ever adds to it.

    A skip is timed as a true removal: the block's forward is replaced by the identity, and nothing in it runs.
    Any other edit is timed as its hook, with every block computed, which is how the atlas ran it.
    """
    out = []
    for ids in prompts:
        tokens = torch.tensor([list(ids)], device=model.device)  # type: ignore[arg-type]
        removed = _removed(model, edit.blocks) if edit.action is Action.SKIP else None
        plain, edited = [], []
        _time(model, tokens)
        for _ in range(REPEATS):
            plain.append(_time(model, tokens))
            with removed() if removed else naive.hooked(model, edit, None):
                edited.append(_time(model, tokens))
        out.append(float(min(plain) / min(edited)))
        on_progress(1.0)
    return np.array(out)


def _time(model: nn.Module, tokens: torch.Tensor) -> float:
    with torch.inference_mode():
        start = time.perf_counter()
        model(input_ids=tokens, use_cache=False)
        if tokens.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def _removed(model: nn.Module, layers: Sequence[int]) -> Callable[[], Any]:
    blocks = [resolve_blocks(model)[layer].block for layer in layers]

    @contextmanager
    def identity() -> Iterator[None]:
        for block in blocks:
            block.forward = lambda hidden_states, *_, **__: hidden_states
        try:
            yield
        finally:
            for block in blocks:
                del block.forward  # uncovers the class's own method again

    return identity
