"""Planted models to be judged, and how their strength is chosen.

A model's truth is read from its closed form on the pool. To put it at a wanted distance from a threshold, one strength
is searched for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.anatomy import Anatomy
from harness.calibration.cards import Card
from harness.calibration.closed_form import ClosedForm
from harness.calibration.pool import Pool, Prompts, Tokens
from harness.calibration.rivals import build_rivals, rivals_plan
from harness.calibration.truth import size
from harness.claim import Claim
from harness.effects import Effects
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.planted import (
    Plan,
    build,
    copy_head_plan,
    fact_plan,
    hub_plan,
    late_read_plan,
    null_plan,
    redundant_pair_plan,
)
from harness.planted.writers import N_HEADS
from harness.protocols import Protocol
from harness.store import Store

PLANS: Mapping[str, Callable[..., Plan]] = {
    "copy_head": copy_head_plan,
    "fact": fact_plan,
    "hub": hub_plan,
    "late_read": late_read_plan,
    "null": null_plan,
    "redundant_pair": redundant_pair_plan,
    "rivals": rivals_plan,
}
"""Kind -> its plan. Kinds of planted models beyond these (a new chapter's) are added here."""

TOLERANCE = 0.01
STEPS = 20
LEAST_SIZE = 1e-3

Strengthened = Callable[[float], "Model"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A planted model, not yet written to disk."""

    kind: str
    parameters: Mapping[str, Any]
    plan: Plan

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.plan.writers)

    def effects(self, cards: Sequence[Card], prompts: Prompts, *more: str) -> dict[str, Effects]:
        """The closed form, under `sound`, of what the cards read on these prompts, and of `more` metrics.

        Experiment -> effects; probes that no card selects are left out.
        """
        form = ClosedForm(self.plan, prompts)
        anatomy = Anatomy(n_layers=self.n_layers, heads=(N_HEADS,) * self.n_layers)
        found = {}
        for name in dict.fromkeys(name for card in cards for name in card.experiments):
            every = EXPERIMENTS[name].probes(Protocol.SOUND, anatomy)
            wanted = [p for p in every if more or any(c.reads(name, p, self.n_layers) for c in cards)]
            found[name] = form.effects(wanted, {*metrics_of(cards), *more})
        return found

    def build(self, directory: Path, tokenizer: Any) -> Path:
        """Write the checkpoint."""
        if self.kind == "rivals":
            return build_rivals(directory, tokenizer=tokenizer, **self.parameters)
        given = {name: value for name, value in self.parameters.items() if name != "facts"}
        return build(self.kind, directory, tokenizer=tokenizer, **given)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every trial needs: the tokenizer, the population and the cards."""

    tokens: Tokens
    pool: Pool
    claims: Mapping[str, Claim]

    @property
    def vocab_size(self) -> int:
        """Of the planted models' tokenizer."""
        return len(self.tokens.tokenizer)

    def model(self, kind: str, **parameters: Any) -> Model:
        """The model of that kind."""
        return Model(
            kind=kind, parameters=parameters, plan=PLANS[kind](vocab_size=self.vocab_size, **parameters)
        )

    def size(self, model: Model, card: Card) -> float:
        """The truth about a card."""
        effects = model.effects([card], self.pool.prompts)
        return min(size(c, effects, self.pool.weights, model.n_layers) for c in card.criteria)

    def means(self, model: Model, card: Card) -> Float[np.ndarray, " probes"]:
        """The population's means of the rows that decide the card, in the order of the experiment's probes."""
        (effects,) = model.effects([card], self.pool.prompts).values()
        (values,) = effects.metrics.values()
        return np.asarray(values @ self.pool.weights)

    def tune(self, draft: Strengthened, card: Card, target: float, low: float, high: float) -> Model:
        """The model, of a strength in [low, high], whose truth about the card is `target`."""
        return draft(bisect(lambda s: self.size(draft(s), card), target, low, high))


def bisect(size_at: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The strength in [low, high] at which a monotone size is `target`, to a hundredth; or the nearer end.

    False position in the logarithms, with Dowell & Jarratt's (1971) Illinois weights, which keep both ends moving.
    """

    def miss(strength: float) -> float:
        return math.log(min(max(size_at(strength), LEAST_SIZE), 1.0 / LEAST_SIZE) / target)

    ends, misses = [math.log(low), math.log(high)], [miss(low), miss(high)]
    if misses[0] * misses[1] > 0:
        return low if abs(misses[0]) < abs(misses[1]) else high
    for _ in range(STEPS):
        share = misses[0] / (misses[0] - misses[1])
        middle = ends[0] + min(max(share, 0.02), 0.98) * (ends[1] - ends[0])
        value = miss(math.exp(middle))
        if abs(value) < TOLERANCE:
            break
        side = int(value * misses[1] > 0)
        ends[side], misses[side] = middle, value
        misses[1 - side] /= 2.0
    return math.exp(middle)


def metrics_of(cards: Sequence[Card]) -> tuple[str, ...]:
    """The metrics that the cards read."""
    return tuple(sorted({getattr(c, "metric", "kl_nats") for card in cards for c in card.criteria}))


def measure_model(
    model: Model, tokenizer: Any, root: Path, asked: Sequence[tuple[str, Protocol]], seed: int
) -> dict[tuple[str, Protocol], Evidence]:
    """The model built, loaded and measured as a user measures it: experiment and protocol -> evidence."""
    directory = model.build(root / "model", tokenizer)
    return measure_checkpoint(directory, model.kind, root, asked, seed)


def measure_checkpoint(
    directory: Path, kind: str, root: Path, asked: Sequence[tuple[str, Protocol]], seed: int
) -> dict[tuple[str, Protocol], Evidence]:
    """A checkpoint measured through the public path, with a store and a cache under `root`."""
    from harness.measure import Subject, measure
    from harness.models import LocalDir, ModelSpec, load

    spec = ModelSpec(id=f"planted_{kind}", title=kind, source=LocalDir(path=directory), license="none")
    subject = Subject(load(spec, cache_dir=root / "cache"))
    store = Store(root=root / "store")
    return {
        (name, protocol): measure(subject, EXPERIMENTS[name], protocol, seed, store)
        for name, protocol in asked
    }


def worst_gap(measured: Effects, computed: Effects) -> float:
    """Largest |difference| in kl_nats between a measured table and the closed form of the same prompts."""
    return float(np.abs(measured.metrics["kl_nats"] - computed.metrics["kl_nats"]).max())
