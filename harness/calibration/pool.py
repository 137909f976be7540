"""The pool: the population that a claim about a planted model speaks of, tokenised once.

Population: the suite's families with equal weight, each family's templates with equal weight, each template's prompts
as often as the suite can make them (a text counts once for each pair that has it). At most PER_TEMPLATE texts stand
for a template; every template is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

from harness.effects import Effects, PromptRecord
from harness.experiments import SUITE
from tasks.sampling import draw_suite
from tasks.suites import find_suite

PER_TEMPLATE = 5


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Prompts with their token ids."""

    records: tuple[PromptRecord, ...]
    ids: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The population's prompts. `shares` is each one's share within its template."""

    prompts: Prompts
    shares: Float[np.ndarray, " prompts"]

    @cached_property
    def clusters(self) -> Mapping[str, tuple[Int[np.ndarray, " members"], ...]]:
        """Family -> the columns of each of its templates."""
        found: dict[str, dict[str, list[int]]] = {}
        for column, record in enumerate(self.prompts.records):
            found.setdefault(record.family, {}).setdefault(record.template, []).append(column)
        return {family: tuple(np.array(c) for c in templates.values()) for family, templates in found.items()}

    @cached_property
    def weights(self) -> Float[np.ndarray, " prompts"]:
        """1 / (families x templates of the family) x share: sums to 1."""
        weights = np.empty(len(self.shares))
        for templates in self.clusters.values():
            for columns in templates:
                weights[columns] = self.shares[columns] / (len(self.clusters) * len(templates))
        return weights

    def draw(self, per_family: int, rng: Generator) -> tuple[int, ...]:
        """Columns as `tasks.sampling.draw` chooses them: so many templates of each family, a prompt of each.

        Raises ValueError where a family has fewer templates.
        """
        drawn: list[int] = []
        for templates in self.clusters.values():
            for chosen in rng.choice(len(templates), size=per_family, replace=False):
                columns = templates[chosen]
                drawn.append(int(rng.choice(columns, p=self.shares[columns])))
        return tuple(drawn)

    def redraw(self, templates_per_family: int, rng: Generator) -> tuple[int, ...]:
        """Columns of one prompt of each of so many templates of every family, templates drawn with replacement."""
        drawn: list[int] = []
        for templates in self.clusters.values():
            for chosen in rng.integers(len(templates), size=templates_per_family):
                columns = templates[chosen]
                drawn.append(int(rng.choice(columns, p=self.shares[columns])))
        return tuple(drawn)

    def redraw_suite(
        self, per_family: int, draws: int, rng: Generator
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Columns of so many draws of a suite whose templates were drawn anew, and the name of each one's template.

        Of every family as many templates as there are, with replacement; one drawn twice is two, with two names.
        """
        columns: list[int] = []
        names: list[str] = []
        suite = [(t, rng.integers(len(t), size=len(t))) for t in self.clusters.values()]
        for _ in range(draws):
            for templates, chosen in suite:
                for slot in rng.choice(len(templates), size=per_family, replace=False):
                    members = templates[chosen[slot]]
                    columns.append(int(rng.choice(members, p=self.shares[members])))
                    names.append(f"{slot:04d}")
        return tuple(columns), tuple(names)


def rename(effects: Effects, templates: Sequence[str]) -> Effects:
    """The same table, its prompts' templates called so."""
    prompts = zip(effects.prompts, templates, strict=True)
    return replace(effects, prompts=tuple(replace(prompt, template=name) for prompt, name in prompts))


def take(effects: Effects, columns: Sequence[int], *, renamed: bool = True) -> Effects:
    """The prompts in `columns`, each as a template of its own, numbered in their order.

    A template drawn twice counts as two: that is what sampling templates with replacement means. Every sample then has
    the same clusters, so the bootstrap's weights are drawn once for all. Not `renamed`, a template is one cluster
    however many of its prompts were drawn.
    """
    index = np.array(columns)
    return Effects(
        probes=effects.probes,
        prompts=tuple(
            replace(effects.prompts[column], template=f"{place:04d}") if renamed else effects.prompts[column]
            for place, column in enumerate(columns)
        ),
        metrics={name: values[:, index] for name, values in effects.metrics.items()},
        baseline={},
    )


class Tokens:
    """A tokenizer that remembers: the suite's texts come back in every draw."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text."""
        if text not in self._known:
            self._known[text] = list(self.tokenizer(text)["input_ids"])
        return self._known[text]


def build_pool(encode: Tokens, per_template: int = PER_TEMPLATE) -> Pool:
    """The suite's population under this tokenizer, the texts of a template chosen once and for all."""
    records: list[PromptRecord] = []
    shares: list[float] = []
    rng = np.random.default_rng(0)
    for family in find_suite(SUITE):
        texts: dict[str, Counter[str]] = {}
        for pair in family.candidates():
            texts.setdefault(pair.clean.template, Counter())[pair.clean.text] += 1
        for template, counts in texts.items():
            names = sorted(counts)
            chosen = [names[i] for i in rng.permutation(len(names))[:per_template]]
            total = sum(counts[text] for text in chosen)
            shares += [counts[text] / total for text in chosen]
            records += [_record(text, family.name, template, len(encode(text)), 0) for text in chosen]
    ids = tuple(tuple(encode(record.text)) for record in records)
    return Pool(prompts=Prompts(records=tuple(records), ids=ids), shares=np.array(shares))


def suite_prompts(encode: Tokens, per_family: int, seed: int) -> Prompts:
    """The prompts that `harness.measure` draws under this seed."""
    drawn = draw_suite(SUITE, n_per_family=per_family, seed=seed, encode=encode)
    clean = [pair.clean for pair in drawn.pairs]
    return Prompts(
        records=tuple(_record(p.text, p.family, p.template, len(encode(p.text)), seed) for p in clean),
        ids=tuple(tuple(encode(p.text)) for p in clean),
    )


def _record(text: str, family: str, template: str, n_tokens: int, seed: int) -> PromptRecord:
    return PromptRecord(
        text=text, answer="", foil="", family=family, template=template, n_tokens=n_tokens, seed=seed
    )
