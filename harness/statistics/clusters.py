"""Clusters: which prompts share a template, and how much each template weighs. numpy only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from harness.effects import PromptRecord


@dataclass(frozen=True)
class Clusters:
    """The (family, template) clusters of a list of prompts, all seeds pooled.

    An effect is the mean over families of the mean over templates of the mean over a template's prompts.
    Raises ValueError when there is no prompt.
    """

    keys: tuple[tuple[str, str], ...]
    """(family, template) of each prompt, in the prompts' order."""

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("no prompts: nothing can be estimated; measure at least two templates")

    @classmethod
    def of(cls, prompts: Sequence[PromptRecord]) -> Clusters:
        """The clusters of these prompts."""
        return cls(tuple((p.family, p.template) for p in prompts))

    @cached_property
    def templates(self) -> tuple[tuple[str, str], ...]:
        """The distinct clusters, sorted: a family's templates stand together."""
        return tuple(sorted(set(self.keys)))

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Family names, alphabetical."""
        return tuple(sorted({family for family, _ in self.templates}))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of templates of each family."""
        names = [family for family, _ in self.templates]
        return tuple(names.count(family) for family in self.families)

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return len(self.keys)

    @property
    def n_templates(self) -> int:
        """Number of clusters."""
        return len(self.templates)

    @cached_property
    def family_of(self) -> Int[np.ndarray, " templates"]:
        """Index of each template's family."""
        return np.repeat(np.arange(len(self.families)), self.sizes)

    @cached_property
    def weights(self) -> Float[np.ndarray, " templates"]:
        """1 / (families x templates of the family): sums to 1, and to the same within each family."""
        sizes = np.array(self.sizes, dtype=float)
        return np.asarray((1.0 / (len(sizes) * sizes))[self.family_of])

    @cached_property
    def _averaging(self) -> Float[np.ndarray, "prompts templates"]:
        position = {key: i for i, key in enumerate(self.templates)}
        matrix = np.zeros((self.n_prompts, self.n_templates))
        matrix[np.arange(self.n_prompts), [position[key] for key in self.keys]] = 1.0
        return np.asarray(matrix / matrix.sum(axis=0))

    def template_means(
        self, values: Float[np.ndarray, "probes prompts"]
    ) -> Float[np.ndarray, "probes templates"]:
        """Mean over the prompts of each template."""
        return np.asarray(values @ self._averaging)

    def family_means(
        self, template_means: Float[np.ndarray, "probes templates"]
    ) -> Float[np.ndarray, "probes families"]:
        """Mean over the templates of each family."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        return np.asarray(np.add.reduceat(template_means, starts, axis=1) / np.array(self.sizes))

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator seeded by the clusters' names and the purpose.

        The same clusters always give the same draws, so a verdict is reproducible; two models measured on the
        same templates are resampled together, which pairs them.
        """
        digest = hashlib.blake2b(repr((purpose, self.templates)).encode(), digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))
