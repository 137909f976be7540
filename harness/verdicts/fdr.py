"""False discovery control over the judgements of a chapter."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

from harness.verdicts.verdict import Judgement, Verdict

Q = 0.05
"""Expected share of wrong verdicts among those that a chapter states as supported or refuted."""

_Key = TypeVar("_Key", bound=Hashable)


def control_fdr(judgements: Mapping[_Key, Judgement], q: float = Q) -> dict[_Key, Judgement]:
    """The judgements, with those that do not survive Benjamini-Hochberg at `q` turned inconclusive, saying
    so.

    Every judgement with a p-value counts as a test, inconclusive ones too
    (scipy.stats.false_discovery_control). Identities and invalid judgements have none and stay as they are.
    One claim alone is not changed.
    """
    import numpy as np
    from scipy.stats import false_discovery_control

    tested = {
        key: j.p_value
        for key, j in judgements.items()
        if j.p_value is not None and j.verdict not in (Verdict.INVALID, Verdict.NOT_RUN)
    }
    if not tested:
        return dict(judgements)
    adjusted = dict(zip(tested, false_discovery_control(np.array(list(tested.values()))), strict=True))
    out = dict(judgements)
    for key, p in adjusted.items():
        before = judgements[key]
        if before.verdict in (Verdict.SUPPORTED, Verdict.REFUTED) and not p <= q:
            note = (
                f"By itself this would be {before.verdict} (p = {before.p_value:.3g}), "
                "but it does not survive false "
                f"discovery control over the {len(tested)} tests of its chapter (adjusted "
                f"p = {p:.3g} > {q:g})."
            )
            out[key] = replace(before, verdict=Verdict.INCONCLUSIVE, note=note)
    return out
