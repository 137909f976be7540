"""Which blocks a family's prompts need: the map by which adapters are put in some blocks and not in others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.adapters.items import training_prompts
from harness.edits import skip
from harness.engine.blocks import Stack
from harness.engine.sweep import Item, sweep
from harness.models.loading import LoadedModel
from tasks.suites import find_family

DEVELOPMENT_SEED = 1_000_003
"""Of draws on which sites are chosen; no seed of the suite."""
N_PROMPTS = 24


def development_items(loaded: LoadedModel, family: str) -> tuple[Item, ...]:
    """N_PROMPTS prompts of a family that are held out from no training, in a draw of their own.

    Raises UnknownFamily; NotEnoughPrompts.
    """
    prompts = training_prompts(find_family(family), N_PROMPTS, DEVELOPMENT_SEED, loaded.encode)
    items = []
    for prompt in prompts:
        answer, foil = (loaded.encode(prompt.text + end)[-1] for end in (prompt.answer, prompt.foil))
        items.append(Item(ids=tuple(loaded.encode(prompt.text)), answer=answer, foil=foil, text=prompt.text))
    return tuple(items)


def rank_blocks(stack: Stack, items: Sequence[Item]) -> tuple[int, ...]:
    """Every block, that first whose skip moves the prediction most: mean KL(base || skipped). Ties: the earlier first.

    Raises what the sweep raises.
    """
    metrics, _ = sweep(stack, items, [skip(layer) for layer in range(stack.n_layers)])
    order = np.argsort(-metrics["kl_nats"].mean(axis=1), kind="stable")
    return tuple(int(layer) for layer in order)
