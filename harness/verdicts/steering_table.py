"""Reading a table of steering: its direction, its blocks, its prompts of the skill and of other tasks, and gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from harness.effects import Effects, PromptRecord
from harness.statistics.bootstrap import Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate, format_number
from harness.statistics.paired import partial_conjunction_p
from harness.steering import Direction, Steering, families_of, read_steering, side, split_blocks
from harness.verdicts.deciding import decide
from harness.verdicts.reading import Measured
from harness.verdicts.steering_criteria import Gain
from harness.verdicts.verdict import MissingEvidence, Verdict

NATS = "answer_logprob"
"""A metric in nats: what quantities in nats are sampled as."""


@dataclass(frozen=True, kw_only=True)
class SteeringTable:
    """One table; `main` is its direction, the one its row of strength 0 names."""

    effects: Effects
    main: Direction
    rows: dict[Steering, int]
    unsteered: int
    n_layers: int

    @property
    def prompts(self) -> tuple[PromptRecord, ...]:
        """The prompts, in the columns' order."""
        return self.effects.prompts

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks that were steered along the main direction by themselves, ascending."""
        single = {
            s.layers[0] for s in self.rows if s.direction == self.main and len(s.layers) == 1 and s.strength
        }
        return tuple(sorted(single))

    @property
    def of_skill(self) -> Bool[np.ndarray, " prompt"]:
        """Which prompts are of the direction's skill."""
        families = families_of(self.main.skill)
        return np.array([p.family in families for p in self.prompts], dtype=bool)

    def strengths(self, layers: tuple[int, ...]) -> tuple[float, ...]:
        """Strengths of the main direction at these blocks at once, ascending, without 0."""
        return tuple(sorted(s.strength for s in self.rows if s.strength and self._is_main_at(s, layers)))

    def controls(self, layer: int, strength: float) -> tuple[Direction, ...]:
        """The other directions that were added at this block with this strength."""
        at = ((layer,), strength)
        return tuple(
            s.direction for s in self.rows if s.direction != self.main and (s.layers, s.strength) == at
        )

    def metric(self, steering: Steering, name: str) -> Float[np.ndarray, " prompt"]:
        """One row of one metric. Raises MissingEvidence where it was not measured."""
        if name not in self.effects.metrics:
            raise MissingEvidence(f"the table holds no metric '{name}'")
        if steering not in self.rows:
            raise MissingEvidence(
                f"'{steering.edit()}' was not measured (blocks {self.blocks}, strengths "
                f"{self.strengths(self.blocks[:1])} of '{self.main}')"
            )
        return np.asarray(self.effects.metrics[name][self.rows[steering]], dtype=float)

    def at(self, layers: tuple[int, ...], strength: float, direction: Direction | None = None) -> Steering:
        """The steering by a direction, the main one by default."""
        return Steering(direction=direction or self.main, layers=layers, strength=strength)

    def gain(self, steering: Steering, gain: Gain) -> Float[np.ndarray, " prompt"]:
        """What the steering adds to `gain`; NaN for the margin of a prompt without a side."""
        base = self.effects.baseline
        if gain is Gain.FORMS:
            found = (
                self.metric(steering, "forms_logprob") - self.effects.metrics["forms_logprob"][self.unsteered]
            )
            return np.asarray(found)
        edited, before = self.metric(steering, "answer_logprob"), base["answer_logprob"]
        if gain is Gain.PROBABILITY:
            return np.asarray(np.exp(edited) - np.exp(before))
        if gain is Gain.ANSWER:
            return np.asarray(edited - before)
        margin = edited - self.metric(steering, "foil_logprob") - (before - base["foil_logprob"])
        return np.asarray(self._sides * margin)

    def slope(self, layers: tuple[int, ...], gain: Gain, window: float) -> Float[np.ndarray, " prompt"]:
        """Least-squares slope against the strength, through the unedited model, over strengths within `window`.

        Over several blocks the strength is what they share. Raises MissingEvidence without strengths of both signs.
        """
        n = len(layers)
        used = [s for s in self.strengths(layers) if abs(s) * n <= window + 1e-9]
        if not (any(s > 0 for s in used) and any(s < 0 for s in used)):
            raise MissingEvidence(f"no strengths of both signs within {window:g} of 0 at blocks {layers}")
        gains = np.array([self.gain(self.at(layers, s), gain) for s in used])
        x = np.array(used) * n
        return np.asarray(x @ gains / (x @ x))

    @property
    def split(self) -> tuple[int, ...]:
        """The blocks that share a strength."""
        return split_blocks(self.n_layers)

    @property
    def _sides(self) -> Float[np.ndarray, " prompt"]:
        mine = self.of_skill
        return np.array(
            [side(p.answer) if own else np.nan for p, own in zip(self.prompts, mine, strict=True)]
        )

    def _is_main_at(self, steering: Steering, layers: tuple[int, ...]) -> bool:
        return steering.direction == self.main and steering.layers == layers


def read_table(measured: Measured, experiment: str) -> SteeringTable:
    """The table of an experiment. Raises MissingEvidence where it is none of steering."""
    effects = measured.table(experiment)
    rows: dict[Steering, int] = {}
    for i, probe in enumerate(effects.probes):
        found = read_steering(probe)
        if found is None:
            raise MissingEvidence(f"'{experiment}' is no table of steering: it holds '{probe}'")
        rows[found] = i
    unsteered = [s for s in rows if s.strength == 0.0]
    if len(unsteered) != 1:
        raise MissingEvidence(
            f"'{experiment}' holds {len(unsteered)} rows of strength 0; one says what is steered"
        )
    return SteeringTable(
        effects=effects,
        main=unsteered[0].direction,
        rows=rows,
        unsteered=rows[unsteered[0]],
        n_layers=measured.n_layers,
    )


def halves(prompts: Sequence[PromptRecord]) -> Bool[np.ndarray, " prompt"]:
    """True for the prompts to choose on, False for those to judge on: every other template of each family."""
    first = set()
    for family in {p.family for p in prompts}:
        templates = sorted({p.template for p in prompts if p.family == family})
        first |= {(family, template) for template in templates[::2]}
    return np.array([(p.family, p.template) in first for p in prompts], dtype=bool)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Conditions of a claim, each holding where its mean over the prompts is at least 0; `need` of them must."""

    excess: Float[np.ndarray, "condition prompt"]
    need: int

    def on(self, keep: np.ndarray) -> Asked:
        """The same on some of the prompts."""
        return Asked(excess=self.excess[:, keep], need=self.need)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Two-sided p-values that the claim holds and that it fails, and what was sampled of each group."""

    p_holds: float
    p_fails: float
    sampled: tuple[Sampled, ...]

    @property
    def verdict(self) -> tuple[Verdict, float]:
        """The verdict, and the p-value it rests on."""
        return decide(self.p_holds, self.p_fails)

    @property
    def worst(self) -> tuple[int, int]:
        """Group and condition with the least mean."""
        return min(
            ((g, int(np.argmin(s.value))) for g, s in enumerate(self.sampled)),
            key=lambda at: float(self.sampled[at[0]].value[at[1]]),
        )


def answer(groups: Sequence[Asked], prompts: Sequence[PromptRecord]) -> Answer:
    """Whether all groups of conditions hold: of each, `need` conditions at once (partial conjunction)."""
    clusters = Clusters.of(prompts)
    sampled = tuple(sample(clusters, group.excess, NATS) for group in groups)
    holds, fails = [], []
    for group, found in zip(groups, sampled, strict=True):
        n = len(group.excess)
        above = np.array([min(1.0, 2 * found.p_above(i, 0.0)) for i in range(n)])
        below = np.array([min(1.0, 2 * found.p_below(i, 0.0)) for i in range(n)])
        holds.append(partial_conjunction_p(above, group.need))
        fails.append(partial_conjunction_p(below, n - group.need + 1))
    return Answer(p_holds=max(holds), p_fails=min(1.0, min(fails) * len(fails)), sampled=sampled)


def kept(table: SteeringTable, keep: np.ndarray) -> list[PromptRecord]:
    """The records of these prompts."""
    return [p for p, wanted in zip(table.prompts, keep, strict=True) if wanted]


def all_of(excess: np.ndarray) -> Asked:
    """Conditions of which every one must hold."""
    return Asked(excess=excess, need=len(excess))


def bound_of(at_least: float | None, at_most: float | None) -> tuple[float, float]:
    """(1, the lower bound) or (-1, the upper one)."""
    if at_least is not None:
        return 1.0, at_least
    assert at_most is not None
    return -1.0, at_most


def claimed(at_least: float | None, at_most: float | None) -> str:
    """'at least 0.1'."""
    return (
        f"at most {format_number(at_most)}"
        if at_most is not None
        else f"at least {format_number(at_least or 0.0)}"
    )


def measured_value(found: Answer, sign: float, bound: float, unit: str) -> Estimate:
    """The estimate of the worst condition, as bound + sign x excess: what was measured, and not how far it is off."""
    group, condition = found.worst
    excess = found.sampled[group].estimate(condition)
    low, high = sorted((bound + sign * excess.low, bound + sign * excess.high))
    return replace(excess, value=bound + sign * excess.value, low=low, high=high, unit=unit)


def unusable(values: np.ndarray) -> str | None:
    """Why these values cannot be judged, or None."""
    bad = int((~np.isfinite(values)).sum())
    return f"{bad} of {values.size} values that steering is judged by are not finite" if bad else None
