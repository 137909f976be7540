"""Directions of the residual stream at the last position, computed on development prompts: see `harness.steering`.

No prompt that is judged takes part: a development pair one of whose prompts is among those to be steered is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from harness.edits import Site, Stream
from harness.engine.blocks import Stack
from harness.engine.editing import DonorVectors
from harness.engine.forest import Forest
from harness.engine.memory import GROUP_ROWS
from harness.engine.sweep import pick_blocks
from harness.steering import DRAWN, SKILLS, Direction, Kind, Unit, families_of, side

_RANDOM, _SHUFFLED = 11, 13
"""Streams of random numbers of their own."""
ROUNDING = 1e-9
"""A difference of means shorter than this share of the stream is that of equal means."""


class NoDirection(ValueError):
    """The development prompts show no such direction."""


@dataclass(frozen=True, kw_only=True)
class DevelopmentPair:
    """A clean prompt and its corrupt one, as token ids, on which no verdict rests."""

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    family: str
    answer: str
    """Of the clean prompt."""


@dataclass(frozen=True, kw_only=True)
class Development:
    """The stream at the last position of every development prompt, after every block."""

    pairs: tuple[DevelopmentPair, ...]
    clean: Float[Tensor, "layer pair d_model"]
    corrupt: Float[Tensor, "layer pair d_model"]
    """NaN where the corrupt prompt was not run."""

    @classmethod
    def of(cls, stack: Stack, pairs: Sequence[DevelopmentPair]) -> Development:
        """Run the model on every clean prompt, and on the corrupt ones of the skills that are contrasted."""
        contrasted = {family for families in SKILLS.values() for family in families}
        chosen = [i for i, pair in enumerate(pairs) if pair.family in contrasted]
        states = last_states(stack, [p.clean for p in pairs] + [pairs[i].corrupt for i in chosen])
        clean = states[:, : len(pairs)]
        corrupt = torch.full_like(clean, torch.nan)
        corrupt[:, chosen] = states[:, len(pairs) :]
        return cls(pairs=tuple(pairs), clean=clean, corrupt=corrupt)

    def without(self, prompts: Collection[tuple[int, ...]]) -> Development:
        """The pairs of which neither prompt is among these."""
        judged = set(prompts)
        kept = [i for i, p in enumerate(self.pairs) if p.clean not in judged and p.corrupt not in judged]
        return Development(
            pairs=tuple(self.pairs[i] for i in kept),
            clean=self.clean[:, kept],
            corrupt=self.corrupt[:, kept],
        )

    @cached_property
    def norms(self) -> Float[Tensor, " layer"]:
        """Mean norm of the clean prompts' stream, block by block."""
        norms: Tensor = self.clean.double().norm(dim=-1).mean(dim=1).float()
        return norms

    def vectors(self, direction: Direction, seed: int) -> DonorVectors:
        """The direction after every block, as the donor of an addition; `seed` draws what is drawn.

        Raises NoDirection where there is no prompt to compute it from, or nothing to tell apart; ValueError for a
        contrast of prompts whose answers take no side.
        """
        found = self._raw(direction, seed)
        if direction.unit is not Unit.RAW:
            lengths = found.norm(dim=-1, keepdim=True)
            share = lengths[:, 0] / self.norms
            if not bool((share > ROUNDING).all()):
                raise NoDirection(f"'{direction}' is zero after block {int(share.argmin())}: no way to step")
            scale = self.norms if direction.unit is Unit.BLOCK else self.norms.median().expand_as(self.norms)
            found = found / lengths * scale.double()[:, None]
        return {
            Site(layer=layer, stream=Stream.RESID_POST): vector.float() for layer, vector in enumerate(found)
        }

    def _raw(self, direction: Direction, seed: int) -> Float[Tensor, "layer d_model"]:
        if direction.kind is Kind.RANDOM:
            n_layers, _, width = self.clean.shape
            drawn = [
                _generator(_RANDOM, seed, direction, at).standard_normal(width) for at in range(n_layers)
            ]
            return torch.tensor(np.array(drawn), device=self.clean.device)
        rng = _generator(_SHUFFLED, seed, direction) if direction.kind in DRAWN else None
        if direction.kind in (Kind.TARGET, Kind.SHUFFLED_TARGET):
            return self._difference_of_means(direction, rng)
        return self._contrast(direction, rng)

    def _difference_of_means(
        self, direction: Direction, rng: np.random.Generator | None
    ) -> Float[Tensor, "layer d_model"]:
        inside = self._of(direction.skill)
        if not inside.any() or inside.all():
            raise NoDirection(f"'{direction}': {inside.sum()} of {len(inside)} development prompts are of it")
        if rng is not None:
            inside = rng.permutation(inside)
        of_it = torch.from_numpy(inside).to(self.clean.device)
        wide = self.clean.double()
        return wide[:, of_it].mean(dim=1) - wide[:, ~of_it].mean(dim=1)

    def _contrast(
        self, direction: Direction, rng: np.random.Generator | None
    ) -> Float[Tensor, "layer d_model"]:
        chosen = np.flatnonzero(self._of(direction.skill))
        if not chosen.size:
            raise NoDirection(f"'{direction}': no development pair is of it")
        signs = np.array([side(self.pairs[i].answer) for i in chosen])
        labels = np.concatenate([signs, -signs])  # of the clean prompts, then of the corrupt ones
        if rng is not None:
            labels = rng.permutation(labels)
        both = torch.cat([self.clean[:, chosen], self.corrupt[:, chosen]], dim=1).double()
        weights = torch.from_numpy(labels / len(chosen)).to(both.device)
        return (weights[:, None] * both).sum(dim=1)

    def _of(self, skill: str) -> Bool[np.ndarray, " pair"]:
        families = families_of(skill)
        return np.array([pair.family in families for pair in self.pairs], dtype=bool)


def last_states(stack: Stack, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "layer prompt d_model"]:
    """resid_post at the last position of every prompt, after every block."""
    blocks = pick_blocks(stack)
    states = torch.empty(stack.n_layers, len(prompts), stack.unembedding.shape[1], device=stack.device)
    with torch.inference_mode():
        for group in _passes(prompts, equal=not blocks.shares_prefixes):
            forest = Forest([[tuple(prompts[i])] for i in group], share=blocks.shares_prefixes)
            last = torch.tensor([int(path[-1]) for path in forest.paths], device=stack.device)
            resid = stack.embed(forest.ids(0, stack.device)).float()
            for layer in range(stack.n_layers):
                resid = blocks.run(layer, resid, forest.whole).resid_post
                states[layer, group] = resid[last]
    return states.clone()  # an ordinary tensor, not one of inference


def _passes(prompts: Sequence[Sequence[int]], *, equal: bool) -> list[list[int]]:
    """Indices of the prompts of each pass, of a bounded number of tokens; with `equal`, of one length."""
    passes: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        size = len(prompts[i])
        last = passes[-1] if passes else []
        full = len(last) * size + size > GROUP_ROWS
        if not last or full or (equal and len(prompts[last[0]]) != size):
            passes.append([])
        passes[-1].append(i)
    return passes


def _generator(stream: int, seed: int, direction: Direction, layer: int | None = None) -> np.random.Generator:
    assert direction.draw is not None
    return np.random.default_rng([stream, seed, direction.draw, *([] if layer is None else [layer])])
