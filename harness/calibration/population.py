"""Tables of effects drawn from a superpopulation of templates, whose means are known by construction.

The suite's templates are a sample of the templates one could write, and a claim is about those. Here the sizes are the
suite's own (families, templates of each, prompts of each template, in one draw or in the three that CLAIMS.md pools),
but what a template and a prompt add is drawn anew for every table. A value is a function of a standard normal `z`,

    z = sqrt(t) (template) + sqrt(1 - t) (prompt)
    template, prompt = sqrt(a) (all probes) + sqrt(b) (a group of probes) + sqrt(1 - a - b) (the probe alone)

so that probes of one group (a block under several ablations, a direction at several strengths) move together:

    positive   mean x exp(s z - s^2 / 2)      skewed, as KL is
    signed     mean + sd x skewed(z)          of mean 0 and standard deviation 1
    share      1 where z lies below the mean's quantile, else 0

The ranges that `random_noise` draws from hold most of what was recorded of SmolLM2-135M: within a family, log KL
scatters with a standard deviation of 0.6 to 1.3, gains of steering with 0.3 to 1 nats, recoveries with 0.03 to 0.3.
Chapters that scatter otherwise say so beside their tables.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

from harness.adapters.items import held_out
from harness.calibration.pool import Tokens
from harness.edits import Probe
from harness.effects import Effects, PromptRecord
from harness.experiments.definition import SEEDS, Experiment
from harness.experiments.patching import Where
from tasks.prompts import Prompt
from tasks.sampling import draw_suite
from tasks.spots import find_spots

APART = 1_000
"""Ends the seed of numbers that are independent of a sampler's own; no number of seeds."""
SKEW = 0.7
"""Of signed values: that of exp(0.7 z)."""

Tables = dict[str, Effects]
Means = Float[np.ndarray, "probes families"]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How values scatter: see above. `common` is a, `grouped` b and `by_template` t."""

    log_sd: float
    sd: float
    by_template: float
    common: float
    grouped: float


LOG_SD = (0.6, 1.3)
"""Range of the standard deviation of the logarithm of skewed values."""


def random_noise(
    rng: Generator, *, sd: tuple[float, float] = (0.3, 0.8), log_sd: tuple[float, float] = LOG_SD
) -> Noise:
    """One model's noise; `sd` is the range of that of signed values, `log_sd` that of skewed ones."""
    common = float(rng.uniform(0.0, 0.5))
    return Noise(
        log_sd=float(rng.uniform(*log_sd)),
        sd=float(rng.uniform(*sd)),
        by_template=float(rng.uniform(0.3, 0.9)),
        common=common,
        grouped=float(rng.uniform(0.0, 0.9)) * (1.0 - common),
    )


class Suite:
    """The prompts that the suite draws for an experiment, under each of its seeds."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._known: dict[tuple[str, int], tuple[PromptRecord, ...]] = {}

    def records(self, experiment: Experiment, n_seeds: int) -> tuple[PromptRecord, ...]:
        """The prompts of the first so many seeds, side by side."""
        return tuple(record for seed in SEEDS[:n_seeds] for record in self._of_seed(experiment, seed))

    def _of_seed(self, experiment: Experiment, seed: int) -> tuple[PromptRecord, ...]:
        key = experiment.name, seed
        if key not in self._known:
            drawn = draw_suite(
                experiment.suite,
                n_per_family=experiment.prompts_per_family,
                seed=seed,
                encode=self._tokens,
                verify=held_out if experiment.held_out else None,
            )
            self._known[key] = tuple(
                _record(experiment, pair.clean, seed, self._tokens)
                for pair in drawn.pairs
                if not experiment.families or pair.clean.family in experiment.families
            )
        return self._known[key]


def _record(experiment: Experiment, prompt: Prompt, seed: int, tokens: Tokens) -> PromptRecord:
    spots: Mapping[str, int] = {}
    if experiment.spotted:
        coded = tokens.tokenizer(prompt.text, return_offsets_mapping=True)
        found = find_spots(prompt.text, [tuple(span) for span in coded["offset_mapping"]], prompt.slots)
        spots = {name: len(positions) for name, positions in found.items()}
    elif experiment.paired:
        spots = {str(Where.CHANGED): 1, str(Where.REST): len(tokens(prompt.text)) - 2}
    return PromptRecord(
        text=prompt.text,
        answer=prompt.answer,
        foil=prompt.foil,
        family=prompt.family,
        template=prompt.template,
        n_tokens=len(tokens(prompt.text)),
        seed=seed,
        spots=tuple(spots),
        n_in_spots=tuple(spots.values()),
    )


class Sampler:
    """Values of given means on the suite's prompts, with noise; without any (`noise` None), the means themselves."""

    def __init__(self, suite: Suite, noise: Noise | None, seed: Sequence[int], n_seeds: int) -> None:
        self.suite, self.noise, self._seed, self.n_seeds = suite, noise, tuple(seed), n_seeds
        self.rng = np.random.default_rng([*self._seed, n_seeds])

    def records(self, experiment: Experiment) -> tuple[PromptRecord, ...]:
        """The experiment's prompts."""
        return self.suite.records(experiment, self.n_seeds)

    def exact(self, prompts: Sequence[PromptRecord], means: Means) -> Float[np.ndarray, "probes prompts"]:
        """The mean of every prompt's family; `means` has a column a family in alphabetical order, or one for all."""
        names = sorted({prompt.family for prompt in prompts})
        column = [names.index(prompt.family) for prompt in prompts]
        return np.asarray(np.broadcast_to(means, (len(means), len(names)))[:, column], dtype=float)

    def positive(
        self,
        prompts: Sequence[PromptRecord],
        means: Means,
        groups: Sequence[int],
        scale: Sequence[float] | None = None,
    ) -> Float[np.ndarray, "probes prompts"]:
        """Skewed values above 0; `scale` multiplies the standard deviation of each probe's logarithm."""
        exact = self.exact(prompts, means)
        if self.noise is None:
            return exact
        s = self.noise.log_sd * (1.0 if scale is None else np.array(scale)[:, None])
        return np.asarray(exact * np.exp(s * self._normal(prompts, groups) - s**2 / 2))

    def signed(
        self, prompts: Sequence[PromptRecord], means: Means, groups: Sequence[int], scale: Sequence[float]
    ) -> Float[np.ndarray, "probes prompts"]:
        """Values of either sign; `scale` multiplies each probe's standard deviation, and its sign the skew."""
        exact = self.exact(prompts, means)
        if self.noise is None:
            return exact
        z = self._normal(prompts, groups)
        skewed = (np.exp(SKEW * z - SKEW**2 / 2) - 1.0) / math.sqrt(math.exp(SKEW**2) - 1.0)
        return np.asarray(exact + self.noise.sd * np.array(scale)[:, None] * skewed)

    def share(
        self, prompts: Sequence[PromptRecord], means: Means, groups: Sequence[int]
    ) -> Float[np.ndarray, "probes prompts"]:
        """0 or 1."""
        exact = self.exact(prompts, means)
        if self.noise is None:
            return exact
        from scipy.special import ndtri

        return np.asarray(self._normal(prompts, groups) < ndtri(exact), dtype=float)

    def uniform(self, low: float, high: float, n: int) -> Float[np.ndarray, " prompts"]:
        """Numbers that are no effect: the unedited run's."""
        return np.random.default_rng([*self._seed, 1]).uniform(low, high, size=n)

    def apart(self) -> Sampler:
        """Another on the same prompts, whose numbers are independent of this one's."""
        return Sampler(self.suite, self.noise, (*self._seed, APART), self.n_seeds)

    def trained(self, seed: int, name: str, log_sd: float) -> float:
        """By what factor one training differs from the mean training, 1 without noise; log-normal, of mean 1."""
        if self.noise is None:
            return 1.0
        rng = np.random.default_rng([*self._seed, zlib.crc32(f"training {seed} of {name}".encode())])
        return float(np.exp(log_sd * rng.standard_normal() - log_sd**2 / 2))

    def _normal(
        self, prompts: Sequence[PromptRecord], groups: Sequence[int]
    ) -> Float[np.ndarray, "probes prompts"]:
        assert self.noise is not None
        keys = sorted({(p.family, p.template) for p in prompts})
        where = {key: i for i, key in enumerate(keys)}
        template_of = [where[p.family, p.template] for p in prompts]
        share = self.noise.by_template
        of_template = self._mixed(
            np.array([self._of_template(*key, max(groups) + 2) for key in keys]), groups
        )
        of_prompt = self._mixed(self.rng.standard_normal((len(prompts), max(groups) + 2)), groups)
        return np.asarray(math.sqrt(share) * of_template[:, template_of] + math.sqrt(1.0 - share) * of_prompt)

    def _mixed(
        self, known: Float[np.ndarray, "columns parts"], groups: Sequence[int]
    ) -> Float[np.ndarray, "probes columns"]:
        """What all probes share, what a group shares, and each probe's own."""
        assert self.noise is not None
        a, b = self.noise.common, self.noise.grouped
        own = self.rng.standard_normal((len(groups), len(known)))
        group: Int[np.ndarray, " probes"] = np.array(groups) + 1
        mixed = math.sqrt(a) * known[:, 0] + math.sqrt(b) * known[:, group].T
        return np.asarray(mixed + math.sqrt(max(0.0, 1.0 - a - b)) * own)

    def _of_template(self, family: str, template: str, n: int) -> Float[np.ndarray, " parts"]:
        """The template's own numbers: the same in every experiment of a model."""
        rng = np.random.default_rng([*self._seed, zlib.crc32(f"{family}/{template}".encode())])
        return rng.standard_normal(n)


def spread(rng: Generator, means: Sequence[float], n_families: int, sd: float = 0.3) -> Means:
    """The means by family: log-normal around each, and equal to it on average."""
    factors = np.exp(sd * rng.standard_normal((len(means), n_families)))
    return np.asarray(np.array(means)[:, None] * factors / factors.mean(axis=1, keepdims=True))


def effects(
    probes: Sequence[Probe],
    prompts: Sequence[PromptRecord],
    metrics: Mapping[str, Float[np.ndarray, "probes prompts"]],
    baseline: Mapping[str, Float[np.ndarray, " prompts"]] | None = None,
) -> Effects:
    """A table, NaN where a probe is at a spot that a prompt lacks."""
    table = Effects(
        probes=tuple(probes), prompts=tuple(prompts), metrics=dict(metrics), baseline=dict(baseline or {})
    )
    where = table.measured
    return replace(table, metrics={name: np.where(where, v, np.nan) for name, v in table.metrics.items()})


Population = Callable[[Sampler], Tables]
"""The tables of one made-up model, on whatever prompts and with whatever noise the sampler has."""


def json_of(noise: Noise) -> dict[str, Any]:
    """The noise, for the record."""
    return {name: round(float(value), 3) for name, value in vars(noise).items()}
