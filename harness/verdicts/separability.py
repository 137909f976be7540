"""Judging SeparabilityLeads: a score of four measured terms for each skill, with resamples of the templates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.edits import Exit
from harness.effects import Effects, PromptRecord
from harness.statistics.bootstrap import weights_of
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import format_number
from harness.verdicts.criterion import ProfileOf
from harness.verdicts.mirrored import Mirrored
from harness.verdicts.reading import Measured, invalid, say_p
from harness.verdicts.separability_criteria import (
    CUT_NATS,
    DAMAGE,
    GAIN,
    REMOVAL,
    SHARPNESS,
    SeparabilityLeads,
)
from harness.verdicts.training_changes import gini
from harness.verdicts.trainings import decide_in_each, seeds_of
from harness.verdicts.verdict import Finding, MissingEvidence

Draws = Float[np.ndarray, " resamples"]
"""The observed value, then those of the resamples."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The terms of one skill: nats, an index in [-1, 1], a Gini coefficient, nats."""

    gain: Draws
    removal: Draws
    sharpness: Draws
    damage: Draws

    @property
    def total(self) -> Draws:
        """The weighted sum."""
        gain, damage = (np.clip(x / CUT_NATS, -1.0, 1.0) for x in (self.gain, self.damage))
        return np.asarray(GAIN * gain + REMOVAL * self.removal + SHARPNESS * self.sharpness - DAMAGE * damage)

    def __str__(self) -> str:
        terms = (self.gain, self.removal, self.sharpness, self.damage)
        gain, removal, sharpness, damage = (format_number(float(term[0])) for term in terms)
        total = format_number(float(self.total[0]))
        return (
            f"{total} (gain {gain} nats, selectivity {removal}, sharpness {sharpness}, damage {damage} nats)"
        )


def judge_separability(criterion: SeparabilityLeads, measured: Measured) -> Finding:
    """Supported: its lead over each rival is above 0, in each training too; refuted: some rival is ahead of it.

    Both the resamples and their mirror images must lie there. A resample in which a term has no value speaks for
    neither.
    """
    table = measured.table(criterion.experiment)
    found = _scores(criterion, measured, table.prompts, resampled=True)
    if isinstance(found, Finding):
        return found
    rivals = [name for name in found if name != criterion.family]
    leads = [_lead(found, criterion.family, name) for name in rivals]
    by_seed = []
    for seed in seeds_of(table.prompts):
        prompts = tuple(prompt for prompt in table.prompts if prompt.seed == seed)
        own = _scores(criterion, measured, prompts, resampled=False)
        if isinstance(own, Finding):
            return own
        by_seed.append([_lead(own, criterion.family, name).value for name in rivals])
    verdict, p, split = decide_in_each(
        [2 * lead.p_unless(lambda x: x > 0) for lead in leads],
        [2 * lead.p_unless(lambda x: x < 0) * len(rivals) for lead in leads],
        np.array(by_seed),
        strict=True,
    )
    least = min(range(len(rivals)), key=lambda i: leads[i].value)
    estimate = leads[least].estimate(f"of the score, before {rivals[least]}", Clusters.of(table.prompts))
    order = sorted(found, key=lambda name: -found[name].total[0])
    said = "; ".join(f"{name} {found[name]}" for name in order)
    return Finding(
        verdict=verdict,
        sentence=f"{said}. {criterion.family} lies {estimate} ({say_p(p)}).{split}",
        estimate=estimate,
        p_value=p,
    )


def _lead(found: Mapping[str, Score], family: str, rival: str) -> Mirrored:
    """By how much the family scores more. Mirrored, as noise makes every profile sharper."""
    lead = found[family].total - found[rival].total
    return Mirrored(value=float(lead[0]), draws=lead[1:])


def _scores(
    criterion: SeparabilityLeads, measured: Measured, prompts: tuple[PromptRecord, ...], *, resampled: bool
) -> dict[str, Score] | Finding:
    """Each skill's terms on these prompts, which both tables hold."""
    table = measured.table(criterion.experiment)
    if absent := [name for name in criterion.adapters if name not in {p.family for p in prompts}]:
        raise MissingEvidence(f"no prompt of {', '.join(absent)} was measured in '{criterion.experiment}'")
    means = _Means(prompts, resampled)
    before = _profile(criterion.before, measured, prompts)
    base = _of(table, prompts, table.baseline["answer_logprob"])
    found = {}
    for name, row in criterion.adapters.items():
        if row not in table.probes:
            raise MissingEvidence(f"'{criterion.experiment}' holds no row '{row}'")
        at = table.row(row)
        added = _of(table, prompts, table.values("answer_logprob")[at]) - base
        kl = _of(table, prompts, table.values("kl_nats")[at])
        change = _profile(criterion.after[name], measured, prompts) - before
        for what, values in (("log-probability", added), ("KL", kl), ("profile", change)):
            if not np.isfinite(values).all():
                return invalid(f"a {what} under the adapter of {name} is not finite")
        own, other = means.of_family(name, kl), means.of_others(name, kl, criterion.adapters)
        with np.errstate(invalid="ignore", divide="ignore"):
            removal = (own - other) / (own + other)
        found[name] = Score(
            gain=means.of_family(name, added),
            removal=removal,
            sharpness=gini(np.stack([means.of_family(name, block) for block in change], axis=1)),
            damage=-means.of_others(name, added, criterion.adapters),
        )
        if not np.isfinite(found[name].total[0]):
            return invalid(f"the adapter of {name} changes nothing: its score has no value")
    return found


class _Means:
    """Means over the prompts of a family, observed and in each resample of the templates."""

    def __init__(self, prompts: tuple[PromptRecord, ...], resampled: bool) -> None:
        self._clusters = Clusters.of(prompts)
        observed = self._clusters.weights[None]
        self._weights = np.vstack([observed, weights_of(self._clusters)]) if resampled else observed

    def of_family(self, name: str, values: Float[np.ndarray, " prompts"]) -> Draws:
        """The mean over its templates."""
        own = self._clusters.family_of == self._clusters.families.index(name)
        templates = self._clusters.template_means(values[None])[0]
        return np.asarray(len(self._clusters.families) * (self._weights[:, own] @ templates[own]))

    def of_others(self, name: str, values: Float[np.ndarray, " prompts"], of: Collection[str]) -> Draws:
        """The mean over the other families."""
        others = [family for family in of if family != name]
        return np.asarray(np.mean([self.of_family(family, values) for family in others], axis=0))


def _profile(
    of: ProfileOf, measured: Measured, prompts: tuple[PromptRecord, ...]
) -> Float[np.ndarray, "layers prompts"]:
    """kl_nats of every block, in order. Raises MissingEvidence unless each is there once."""
    table = measured.table(of.experiment)
    rows = measured.rows(of.experiment, of.select, "kl_nats")
    at = [probe.layers[0] for probe in rows.probes if not isinstance(probe, Exit)]
    if sorted(at) != list(range(measured.n_layers)):
        raise MissingEvidence(
            f"a profile needs every block once; '{of.experiment}' holds L{at} for: {of.select}"
        )
    values = rows.values[np.argsort(at)]
    return np.stack([_of(replace(table, prompts=rows.prompts), prompts, row) for row in values])


def _of(
    table: Effects, prompts: tuple[PromptRecord, ...], values: Float[np.ndarray, " all"]
) -> Float[np.ndarray, " prompts"]:
    """The values of these prompts. Raises MissingEvidence for one that the table does not hold."""
    at = {prompt: i for i, prompt in enumerate(table.prompts)}
    if absent := next((prompt for prompt in prompts if prompt not in at), None):
        raise MissingEvidence(f"the tables hold other prompts: {absent.text!r} is in one of them only")
    return np.asarray(values[[at[prompt] for prompt in prompts]])
