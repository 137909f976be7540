"""A model whose baseline differs from transformers' own forward pass is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.architectures import config
from harness.engine.blocks import Stack
from harness.engine.climb import climb
from harness.engine.editing import Donors
from harness.engine.forest import Forest
from harness.engine.memory import chunk_rows
from harness.engine.sweep import pick_blocks

MAX_LOGIT_GAP = {"float32": 2e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest |logit difference| allowed, as a share of the logits' own range, by the weights' dtype. float32: the
re-association of one forward pass stays two orders below, a wrong norm or mask is orders above. Of the short
types a single rounding is 2^-9 (bfloat16) or 2^-12 (float16), and a hundred of them add up along the stream."""


class ParityError(RuntimeError):
    """The engine does not reproduce this model's own logits."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the engine's baseline is from the model's logits: the largest gap and the logits' range."""

    max_logit_gap: float
    logit_range: float


def check_parity(stack: Stack, prompts: Sequence[Sequence[int]]) -> Parity:
    """Compare the engine's next-token logits with `model(input_ids).logits` on these prompts.

    The engine runs as it does in a sweep: the same blocks, all prompts on one forest. Raises ParityError when
    they differ by more than MAX_LOGIT_GAP of the logits' range.
    """
    limit = MAX_LOGIT_GAP[str(stack.dtype).removeprefix("torch.")]
    worst, spread = 0.0, 0.0
    for ids, (theirs, ours) in zip(prompts, own_and_engine_logits(stack, prompts), strict=True):
        if not torch.isfinite(theirs).all():
            raise ParityError(
                f"the model gives NaN or infinite logits on {len(ids)} ordinary tokens: check the weights, or "
                "measure in float32 (--dtype float32)"
            )
        gap = float((ours - theirs).abs().max())
        spread = max(spread, float(theirs.max() - theirs.min()))
        worst = max(worst, gap)
        if not gap <= limit * max(spread, 1e-6):  # not: a NaN gap fails too
            raise ParityError(
                f"the engine's logits differ from the model's own by {gap:.3g} "
                f"(logits span {spread:.3g}, at most {limit:g} of it is allowed): "
                f"model_type '{config(stack.model).model_type}' does not fit its entry in "
                "harness/engine/architectures.py"
            )
    return Parity(max_logit_gap=worst, logit_range=spread)


def own_and_engine_logits(stack: Stack, prompts: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
    """Next-token logits of every prompt, float32 [vocab], from transformers' own forward pass and from ours.

    Ours are computed as in a sweep: the same blocks, all prompts on one forest where prefixes are shared.
    """
    blocks = pick_blocks(stack)
    together = [list(prompts)] if blocks.shares_prefixes else [[ids] for ids in prompts]
    own, ours = [], []
    with torch.inference_mode():
        for group in together:
            forest = Forest([[tuple(ids)] for ids in group], share=blocks.shares_prefixes)
            summit = climb(
                blocks, forest, [], Donors(vectors={}, resid={}), chunk_rows(stack.device), lambda _: None
            )
            ours += list(stack.unembed(summit.base))
        for ids in prompts:
            tokens = torch.tensor([list(ids)], device=stack.device)
            own.append(stack.model(input_ids=tokens, use_cache=False).logits[0, -1].float())
    return list(zip(own, ours, strict=True))
