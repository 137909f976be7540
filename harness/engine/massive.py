"""Finding the massive activation: the number of token 0 that one MLP raises most, and what it is in other prompts.

Token 0 sees no other token, so that one row per distinct first token, run alone, holds all there is to read.

Source: Sun, Chen, Kolter & Liu 2024, arXiv:2402.17762.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.anatomy import Massive
from harness.edits import Site, Stream
from harness.engine.blocks import Stack
from harness.engine.forest import Forest
from harness.engine.sweep import pick_blocks

N_LARGEST, N_RANDOM = 2, 2
"""Dimensions to compare with: the next largest of token 0 after the writer, and some at random."""


@dataclass(frozen=True, kw_only=True)
class FirstToken:
    """Token 0's stream in each block, before the MLP's write (`mid`) and after it (`post`), one row per prompt."""

    mid: Float[np.ndarray, "layer prompt d_model"]
    post: Float[np.ndarray, "layer prompt d_model"]

    def rise_log10(self, dim: int) -> Float[np.ndarray, "layer prompt"]:
        """Powers of ten by which each MLP raises |number `dim`|; infinite where it was exactly 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log10(np.abs(self.post[..., dim])) - np.log10(np.abs(self.mid[..., dim])))


def read_first_token(stack: Stack, prompts: Sequence[Sequence[int]]) -> FirstToken:
    """Token 0's stream of every prompt, float64."""
    first = [ids[0] for ids in prompts]
    distinct = sorted(set(first))
    blocks = pick_blocks(stack)
    mid, post = [], []
    with torch.inference_mode():
        forest = Forest([[(token,)] for token in distinct], share=blocks.shares_prefixes)
        resid = stack.embed(forest.ids(0, stack.device)).float()
        rows: Int[np.ndarray, " prompt"] = forest.whole.last[[distinct.index(token) for token in first]]
        for layer in range(stack.n_layers):
            run = blocks.run(layer, resid, forest.whole)
            mid.append(run.resid_mid.double().cpu().numpy()[rows])
            post.append(run.resid_post.double().cpu().numpy()[rows])
            resid = run.resid_post
    return FirstToken(mid=np.stack(mid), post=np.stack(post))


def find_massive(stack: Stack, prompts: Sequence[Sequence[int]]) -> Massive:
    """Block and dimension in which an MLP raises |token 0| most, on average over these prompts.

    Any model has a largest one; whether it is massive is what the claims judge.
    """
    seen = read_first_token(stack, prompts)
    rise = (np.abs(seen.post) - np.abs(seen.mid)).mean(axis=1)
    layer, dim = (int(i) for i in np.unravel_index(int(rise.argmax()), rise.shape))
    size = np.abs(seen.post[layer]).mean(axis=0)
    by_size = [int(d) for d in np.argsort(-size, kind="stable") if d != dim]
    largest, rest = by_size[:N_LARGEST], by_size[N_LARGEST:]
    drawn = np.random.default_rng([layer, dim]).choice(rest, size=min(N_RANDOM, len(rest)), replace=False)
    return Massive(layer=layer, dim=dim, others=tuple(sorted([*largest, *(int(d) for d in drawn)])))


def token_0_vectors(
    stack: Stack, massive: Massive, prompts: Sequence[Sequence[int]]
) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
    """Token 0 after the writer as the donors "mean" and "moved": stored vectors [d_model] by site.

    mean    its mean over these prompts
    moved   the same, with its massive number turned into a random direction of the same norm
    """
    device = stack.device
    mean = read_first_token(stack, prompts).post[massive.layer].mean(axis=0)
    direction = np.random.default_rng([massive.layer, massive.dim]).standard_normal(len(mean))
    moved = mean.copy()
    moved[massive.dim] = 0.0
    moved += direction * (abs(mean[massive.dim]) / np.linalg.norm(direction))
    whole, number = (
        Site(layer=massive.layer, stream=Stream.RESID_POST, dims=dims) for dims in ((), (massive.dim,))
    )
    as_tensor = torch.tensor(mean, dtype=torch.float32, device=device)
    return (
        {whole: as_tensor, number: as_tensor},
        {whole: torch.tensor(moved, dtype=torch.float32, device=device)},
    )
