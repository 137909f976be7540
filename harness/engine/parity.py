"""A model whose baseline differs from transformers' own forward pass is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.engine.architectures import config
from harness.engine.blocks import Stack

MAX_LOGIT_GAP = 2e-3
"""Largest |logit difference| allowed, as a share of the logits' own range: float32 re-association of one
forward pass stays two orders below it, a wrong norm or mask is orders above."""


class ParityError(RuntimeError):
    """The engine does not reproduce this model's own logits."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the engine's baseline is from the model's logits: the largest gap and the logits' range."""

    max_logit_gap: float
    logit_range: float


def check_parity(stack: Stack, prompts: Sequence[Sequence[int]]) -> Parity:
    """Compare the engine's next-token logits with `model(input_ids).logits` on these prompts.

    Raises ParityError when they differ by more than MAX_LOGIT_GAP of the logits' range.
    """
    worst, spread = 0.0, 0.0
    with torch.inference_mode():
        for ids in prompts:
            tokens = torch.tensor([list(ids)], device=stack.device)
            theirs = stack.model(input_ids=tokens, use_cache=False).logits[0, -1].float()
            stack.prepare(len(ids))
            resid = stack.embed(tokens)
            for layer in range(stack.n_layers):
                resid = stack.run(layer, resid).resid_post
            ours = stack.unembed(resid[:, -1])[0].float()
            if not torch.isfinite(theirs).all():
                raise ParityError(
                    f"the model gives NaN or infinite logits on {len(ids)} ordinary tokens: check the weights, or "
                    "measure in float32 (--dtype float32)"
                )
            gap = float((ours - theirs).abs().max())
            spread = max(spread, float(theirs.max() - theirs.min()))
            worst = max(worst, gap)
            if not gap <= MAX_LOGIT_GAP * max(spread, 1e-6):  # not: a NaN gap fails too
                raise ParityError(
                    f"the engine's logits differ from the model's own by {gap:.3g} "
                    f"(logits span {spread:.3g}): "
                    f"model_type '{config(stack.model).model_type}' does not fit its entry in "
                    "harness/engine/architectures.py"
                )
    return Parity(max_logit_gap=worst, logit_range=spread)
