"""Which prompts of a steering table a knockout is judged on: those whose answer the model gives, weighed by group."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.effects import PromptRecord
from harness.steering import families_of
from harness.verdicts.steering_table import SteeringTable

MIN_TEMPLATES = 2
"""Of a family that is compared: one template shows no spread."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Prompts of the skill and of other tasks that can be compared, and the weight of each prompt's drop."""

    keep: Bool[np.ndarray, " prompt"]
    weights: Float[np.ndarray, " kept"]
    prompts: tuple[PromptRecord, ...]
    of_skill: Bool[np.ndarray, " kept"]

    @property
    def said(self) -> str:
        """What is compared, in words."""
        n = int(self.of_skill.sum())
        others = {p.family for p, own in zip(self.prompts, self.of_skill, strict=True) if not own}
        return f"{n} prompts of the skill and {len(self.prompts) - n} of {', '.join(sorted(others))}"

    def selectivity(self, drops: Float[np.ndarray, "row prompt"]) -> Float[np.ndarray, "row kept"]:
        """Values whose mean over families is the selectivity of each row."""
        return np.asarray(drops[:, self.keep] * self.weights)

    def parts(self, drops: Float[np.ndarray, " prompt"]) -> Float[np.ndarray, "2 kept"]:
        """Values whose means over families are the drop of the skill and that of the other tasks."""
        weighed = drops[self.keep] * self.weights
        return np.array([np.where(self.of_skill, weighed, 0.0), np.where(self.of_skill, 0.0, -weighed)])


def comparable(
    table: SteeringTable,
    min_probability: float,
    among: Bool[np.ndarray, " prompt"] | None = None,
    *,
    templates_at_least: int = MIN_TEMPLATES,
) -> Group | None:
    """The prompts whose answer the model gives, in families of enough templates; None without both groups."""
    known = table.effects.baseline["answer_logprob"] >= math.log(min_probability)
    keep = known if among is None else known & among
    templates: dict[str, set[str]] = {}
    for i in np.flatnonzero(keep):
        templates.setdefault(table.prompts[i].family, set()).add(table.prompts[i].template)
    families = {family for family, found in templates.items() if len(found) >= templates_at_least}
    keep = keep & np.array([p.family in families for p in table.prompts], dtype=bool)
    skill = families & set(families_of(table.main.skill))
    if not skill or not families - skill:
        return None
    share = {f: len(families) / (len(skill) if f in skill else -len(families - skill)) for f in families}
    prompts = tuple(table.prompts[i] for i in np.flatnonzero(keep))
    return Group(
        keep=keep,
        weights=np.array([share[p.family] for p in prompts]),
        prompts=prompts,
        of_skill=np.array([p.family in skill for p in prompts], dtype=bool),
    )
