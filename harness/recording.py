"""Recording: which measured evidence goes into the repository, and when recorded evidence is stale. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.effects import PARTIAL, Effects
from harness.evidence import Evidence, EvidenceCorrupt, Question
from harness.experiments import EXPERIMENTS, Experiment
from harness.store import Recorded
from tasks.suites import suite_digest

TOLERANCE: Mapping[str, tuple[float, float]] = {
    "kl_nats": (1e-3, 1e-3),
    "kl_measured_nats": (1e-3, 1e-3),
    "answer_logprob": (1e-3, 1e-3),
    "foil_logprob": (1e-3, 1e-3),
    "forms_logprob": (1e-3, 1e-3),
    "top5_overlap": (0.01, 0.0),
    "argmax_match": (0.02, 0.0),
    "kl_to_first_nats": (1e-3, 1e-3),
    "kl_to_uniform_nats": (1e-3, 1e-3),
    "rise_log10": (1e-3, 1e-3),
    "speedup": (float("inf"), 0.0),
    "new_tokens": (2.0, 0.0),
    "repeated_bigrams": (0.06, 0.0),
    "repeated_trigrams": (0.06, 0.0),
    "same_token": (0.06, 0.0),
    "off_script": (0.06, 0.0),
    "degenerate": (0.12, 0.0),
    "answer_match": (0.02, 0.0),
    "update_norm": (1e-3, 1e-2),
    "factor_norm": (1e-3, 1e-2),
    "train_loss": (1e-3, 1e-2),
    "valid_json": (0.17, 0.0),
}
"""Absolute and relative tolerance of a mean over prompts, per metric: above what float32 forward passes
differ by (about 4e-4 nats at 10 nats by the project's design notes), and one or two flipped tokens among 100 prompts.
Of texts, two of eighteen, or of the twelve JSON prompts: two tokens so near to each other that another machine takes
the other one, and the texts part there. Norms and losses of trained adapters carry a hundred steps of rounding. Wall
times are not compared between machines."""


@dataclass(frozen=True, kw_only=True)
class RecordingOutcome:
    """What became of one measured cell: recorded, reproduced (left as it was) or different (left, and said)."""

    cell: str
    state: Literal["recorded", "reproduced", "different"]
    detail: str = ""


def record(evidence: Evidence, recorded: Recorded, *, rebaseline: bool = False) -> RecordingOutcome:
    """Record a cell that is missing or stale. A current record stays, whether it is reproduced or contradicted.

    With `rebaseline` the new evidence replaces the old in any case. Raises ValueError for screened evidence.
    """
    q = evidence.question
    if q.screen is not None:
        raise ValueError(f"{q.cell} is for exploration and is never recorded: measure it without --screen")
    try:
        old = recorded.get(q.model, q.experiment, q.protocol, q.seed)
    except EvidenceCorrupt:
        old = None
    other = other_subject(old, evidence) if old is not None else ""
    if other and not rebaseline:
        return RecordingOutcome(cell=q.cell, state="different", detail=other)
    if old is not None and not rebaseline and not staleness(old, evidence):
        gap = largest_gap(old.effects, evidence.effects)
        if gap is None:
            return RecordingOutcome(cell=q.cell, state="reproduced")
        return RecordingOutcome(cell=q.cell, state="different", detail=gap)
    recorded.put(evidence)
    return RecordingOutcome(cell=q.cell, state="recorded")


def staleness(old: Evidence, new: Evidence | None = None) -> str:
    """Why recorded evidence no longer answers today's question, or '' when it does.

    Compared with the suite and the experiments as they are now, their versions included (`harness.measured_by`), and
    with newer evidence's weights and tokenizer.
    """
    q = old.question
    if q.screen is not None:
        return f"only a share of {q.screen:g} of its probes was measured"
    experiment = EXPERIMENTS.get(q.experiment)
    if experiment is None:
        return f"the experiment {q.experiment} no longer exists"
    if q.definition != experiment.definition(q.protocol, q.anatomy):
        version = _other_version(q, experiment)
        if version is None:
            return "the experiment has changed"
        change = f"version {version} -> {experiment.revision}"
        return f"the measuring code has changed so that its numbers differ ({change})"
    if q.suite_digest != suite_digest(EXPERIMENTS[q.experiment].suite):
        return "the prompts have changed"
    if new is not None:
        if other := other_subject(old, new):
            return other
        if old.effects.prompts != new.effects.prompts:
            return "other prompts are drawn"
    return ""


def _other_version(question: Question, experiment: Experiment) -> int | None:
    """The version of an experiment that was measured, where nothing else of what was asked has changed.

    An earlier one, or the next, where raising it was taken back.
    """
    for version in range(1, experiment.revision + 2):
        asked = replace(experiment, revision=version).definition(question.protocol, question.anatomy)
        if asked == question.definition:
            return version
    return None


def other_subject(old: Evidence, new: Evidence) -> str:
    """Why the new evidence is of something else than the old: other weights, another tokenizer, another dtype."""
    for name, what in (("weights_digest", "weights"), ("tokenizer_digest", "tokenizer"), ("dtype", "dtype")):
        before, after = getattr(old.question, name), getattr(new.question, name)
        if before != after:
            return f"other {what}: {before[:12]} -> {after[:12]}"
    return ""


def largest_gap(old: Effects, new: Effects) -> str | None:
    """The mean that moved furthest beyond its tolerance, as 'kl_nats of skip L3: 0.18 -> 0.42', or None."""
    worst: tuple[float, str] | None = None
    for name in old.metrics:
        absolute, relative = TOLERANCE[name]
        a, b = old.means(name), new.means(name)
        excess = np.abs(a - b) - (absolute + relative * np.abs(a))
        excess[(~old.measured & ~new.measured).all(axis=1)] = -np.inf
        if name in PARTIAL:
            excess[np.isnan(a) & np.isnan(b)] = -np.inf
        i = int(np.argmax(excess))
        if not excess[i] <= 0 and (worst is None or excess[i] > worst[0]):
            worst = (float(excess[i]), f"{name} of {old.probes[i]}: {a[i]:.4g} -> {b[i]:.4g}")
    return worst[1] if worst else None
