"""Pooled trainings: what is said of all together stands only where each training by itself says so.

Prompts are resampled; trainings are not. There is one a seed, too few for an interval over them, but where a table has
those of many adapters (`adapter_sets`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from harness.effects import PromptRecord
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, format_number
from harness.verdicts.deciding import decide
from harness.verdicts.verdict import Verdict

ROUNDING = 1e-9


def seeds_of(prompts: Sequence[PromptRecord]) -> tuple[int, ...]:
    """The seeds of these prompts, ascending: one training each."""
    return tuple(sorted({prompt.seed for prompt in prompts}))


def seed_means(
    values: Float[np.ndarray, "rows prompts"], prompts: Sequence[PromptRecord], seeds: Sequence[int] = ()
) -> Float[np.ndarray, "trainings rows"]:
    """Mean of each row over families and templates, seed by seed; NaN for one of `seeds` without prompts."""
    found = []
    for seed in seeds or seeds_of(prompts):
        keep = [i for i, prompt in enumerate(prompts) if prompt.seed == seed]
        if not keep:
            found.append(np.full(len(values), np.nan))
            continue
        clusters = Clusters.of([prompts[i] for i in keep])
        found.append(clusters.template_means(values[:, keep]) @ clusters.weights)
    return np.array(found)


def decide_in_each(
    holds: Sequence[float] | Float[np.ndarray, " rows"],
    fails: Sequence[float] | Float[np.ndarray, " rows"],
    excess: Float[np.ndarray, "trainings rows"],
    shown: Float[np.ndarray, "trainings rows"] | None = None,
    *,
    strict: bool = False,
) -> tuple[Verdict, float, str]:
    """As `decide`, of rows that must all hold and of which one refutes; only what each training says as well stands.

    `holds` and `fails` are two-sided p-values, `fails` corrected for the number of rows. `excess` is how far each
    training's own number lies on the claim's side of the bound: 0 or more holds (more than 0, if `strict`), less
    fails, NaN does neither. The text is '' or, where trainings overturn a verdict, a sentence with `shown`, or the
    excess, of the row in question.
    """
    p_holds, p_fails = np.asarray(holds, dtype=float), np.asarray(fails, dtype=float)
    if len(excess) < 2:
        return *decide(float(p_holds.max()), float(p_fails.min())), ""
    edge = ROUNDING if strict else -ROUNDING
    in_each = np.where((excess >= edge).all(axis=0), p_holds, 1.0)
    in_none = np.where((excess < -ROUNDING).all(axis=0), p_fails, 1.0)
    verdict, p = decide(float(in_each.max()), float(in_none.min()))
    if verdict is not Verdict.INCONCLUSIVE or min(p_holds.max(), p_fails.min()) > ALPHA:
        return verdict, p, ""
    if p_holds.max() <= ALPHA:
        row = int(np.argmin(np.nan_to_num(excess, nan=-np.inf).min(axis=0)))
    else:
        row = int(np.argmin(p_fails))
    numbers = (excess if shown is None else shown)[:, row]
    return verdict, p, f" The trainings do not agree{say_seeds(numbers.tolist())}."


def say_seeds(numbers: Sequence[float]) -> str:
    """'; by seed 1.2, 0.9', or '' for one training."""
    return f"; by seed {', '.join(map(format_number, numbers))}" if len(numbers) > 1 else ""
