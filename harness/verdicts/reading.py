"""Reading tables for a criterion: rows, profiles, and what makes them unusable.

Missing rows raise, never judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from harness.edits import Exit, Probe
from harness.effects import Effects, PromptRecord
from harness.statistics.bootstrap import Sampled, sample, sample_finely
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.statistics.profile import degeneracy
from harness.verdicts.criterion import BLOCKS, ProfileOf
from harness.verdicts.selectors import Selector
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

ROWS_KEPT = 4
"""Selections whose rows a view keeps: resamples of all heads of a model take some 40 MB each."""

Tables = Mapping[str, Effects]
"""One model's tables under one protocol, by experiment name; several seeds already pooled."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The selected rows of one metric."""

    probes: tuple[Probe, ...]
    values: Float[np.ndarray, "probes prompts"]
    prompts: tuple[PromptRecord, ...]
    metric: str
    left_out: tuple[Probe, ...] = ()
    """Selected probes that a screen left unmeasured."""

    @property
    def n_asked(self) -> int:
        """Number of probes selected, measured or not: what a correction for many comparisons counts."""
        return len(self.probes) + len(self.left_out)

    @property
    def problem(self) -> str | None:
        """Why these numbers cannot be judged, or None: names the first probe whose value is not finite."""
        bad = np.argwhere(~np.isfinite(self.values))
        if not len(bad):
            return None
        probe, prompt = bad[0]
        return (
            f"{self.metric} of '{self.probes[probe]}' is {self.values[probe, prompt]} on the prompt "
            f"{self.prompts[prompt].text!r}; {len(bad)} of {self.values.size} values are not finite"
        )

    @cached_property
    def _sampled(self) -> Sampled:
        return sample(Clusters.of(self.prompts), self.values, self.metric)

    def sampled(self) -> Sampled:
        """Means with resamples. Only for finite values."""
        return self._sampled

    def sampled_finely(self, i: int) -> Sampled:
        """The mean of row i alone, with many more resamples: for p-values that are corrected for many probes."""
        return sample_finely(Clusters.of(self.prompts), self.values[[i]], self.metric)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """kl_nats of every single block, in the order of the layers."""

    values: Float[np.ndarray, "layers prompts"]
    prompts: tuple[PromptRecord, ...]
    problem: str | None
    """Why no location can be read from it, or None."""
    flat: str | None
    """How flat it is, when the problem is that it has no shape."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.values)

    @cached_property
    def clusters(self) -> Clusters:
        """Clusters of the prompts."""
        return Clusters.of(self.prompts)

    @cached_property
    def template_means(self) -> Float[np.ndarray, "layers templates"]:
        """Mean over the prompts of each template."""
        return self.clusters.template_means(self.values)

    @cached_property
    def sampled(self) -> Sampled:
        """Mean of each layer with its resamples. Only for finite values."""
        return sample(self.clusters, self.values, "kl_nats")

    def check_layer(self, *layers: int) -> None:
        """Raise MissingEvidence for a layer the model lacks."""
        for layer in layers:
            if not 0 <= layer < self.n_layers:
                raise MissingEvidence(
                    f"the criterion names L{layer}, but the model has layers L0 to L{self.n_layers - 1}: "
                    "mend the card, or judge it on the model it is about"
                )

    def of_seed(self, seed: int) -> Profile:
        """The prompts of one seed."""
        keep = [i for i, p in enumerate(self.prompts) if p.seed == seed]
        return make_profile(self.values[:, keep], tuple(self.prompts[i] for i in keep))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The tables of one model and protocol, and its number of layers."""

    tables: Tables
    n_layers: int

    def table(self, experiment: str) -> Effects:
        """One table. Raises MissingEvidence when it was not measured."""
        if experiment not in self.tables:
            have = ", ".join(self.tables) or "nothing"
            raise MissingEvidence(f"the experiment '{experiment}' was not measured (there is: {have})")
        return self.tables[experiment]

    @cached_property
    def _rows(self) -> dict[tuple[str, Selector, str], Rows]:
        return {}

    def rows(self, experiment: str, select: Selector, metric: str) -> Rows:
        """The selected rows of one metric; the last few are kept, with their resamples.

        Raises MissingEvidence when nothing was measured that fits.
        """
        key = (experiment, select, metric)
        found = self._rows.pop(key, None) or self._read(*key)
        self._rows[key] = found
        if len(self._rows) > ROWS_KEPT:
            del self._rows[next(iter(self._rows))]
        return found

    def _read(self, experiment: str, select: Selector, metric: str) -> Rows:
        table = self.table(experiment)
        try:
            values = table.values(metric)
        except KeyError:
            raise MissingEvidence(
                f"'{experiment}' holds no metric '{metric}' (it holds: {', '.join(table.metrics)})"
            ) from None
        chosen = [i for i, probe in enumerate(table.probes) if select.keep(probe, self.n_layers)]
        if not chosen:
            raise MissingEvidence(
                f"'{experiment}' holds no probe for: {select} (it holds "
                f"{len(table.probes)} probes of a model "
                f"of {self.n_layers} layers, {_first(table.probes)})"
            )
        on = np.flatnonzero(table.measured[chosen].all(axis=0))
        if not on.size:
            raise MissingEvidence(f"no prompt of '{experiment}' has the positions of: {select}")
        return Rows(
            probes=tuple(table.probes[i] for i in chosen),
            values=np.asarray(values[chosen][:, on], dtype=float),
            prompts=tuple(table.prompts[i] for i in on),
            metric=metric,
            left_out=tuple(probe for probe in table.unmeasured if select.keep(probe, self.n_layers)),
        )

    @property
    def profile(self) -> Profile:
        """The sweep over single blocks. Raises as `profile_of`."""
        return self.profile_of(BLOCKS)

    @cached_property
    def _profiles(self) -> dict[ProfileOf, Profile]:
        return {}

    def profile_of(self, of: ProfileOf) -> Profile:
        """Such a profile over the layers.

        Raises MissingEvidence unless each layer was measured exactly once.
        """
        if of not in self._profiles:
            self._profiles[of] = self._profile(of)
        return self._profiles[of]

    def _profile(self, of: ProfileOf) -> Profile:
        rows = self.rows(of.experiment, of.select, "kl_nats")
        by_layer = {p.layers[0]: i for i, p in enumerate(rows.probes) if not isinstance(p, Exit)}
        missing = [layer for layer in range(self.n_layers) if layer not in by_layer]
        if missing or len(rows.probes) != self.n_layers:
            raise MissingEvidence(
                f"a profile needs every one of {self.n_layers} layers once; '{of.experiment}' holds "
                f"{len(rows.probes)} single-{of.noun} probes"
                + (f" and lacks L{', L'.join(map(str, missing))}" if missing else "")
            )
        order = [by_layer[layer] for layer in range(self.n_layers)]
        return make_profile(rows.values[order], rows.prompts, rows.problem)


def measured(tables: Tables, n_layers: int | None = None) -> Measured:
    """Tables with the model's number of layers; by default one more than the deepest that any probe names."""
    if n_layers is None:
        deepest = [
            probe.layers[-1]
            for table in tables.values()
            for probe in (*table.probes, *table.unmeasured)
            if probe.layers
        ]
        if not deepest:
            raise MissingEvidence("no experiment was measured: there is nothing to judge")
        n_layers = max(deepest) + 1
    return Measured(tables=tables, n_layers=n_layers)


def make_profile(
    values: Float[np.ndarray, "layers prompts"], prompts: tuple[PromptRecord, ...], problem: str | None = None
) -> Profile:
    """A profile with its sanity check."""
    flat = None
    if problem is None:
        clusters = Clusters.of(prompts)
        flat = degeneracy(values, clusters.template_means(values) @ clusters.weights)
        if flat is not None:
            problem = f"the profile has no shape: {flat}, so no layer can be singled out"
    return Profile(values=values, prompts=prompts, problem=problem, flat=flat)


def invalid(problem: str) -> Finding:
    """The finding of a criterion whose numbers cannot be judged."""
    return Finding(verdict=Verdict.INVALID, sentence=f"Not a measurement: {problem}.")


def say_p(p: float) -> str:
    """'p = 0.0123', 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {format_number(p)}"


def _first(probes: Sequence[Probe]) -> str:
    names = [str(p) for p in probes[:3]]
    return ", ".join(names) + (", ..." if len(probes) > 3 else "")
