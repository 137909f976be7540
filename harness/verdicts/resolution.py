"""Resolution: a bound below the noise floor of the arithmetic cannot be judged by it.

What moves the output by less than the floor is kept as 0 (`harness.floor`), so "at most 0.01 nats" would hold of
anything that moves it by less than a floor of 0.03. In float32 the floor lies below every threshold and is not kept.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.statistics.estimate import format_number
from harness.verdicts.criteria import CellWithin, EveryProbe, SingleCriterion, SomeProbe, WorstCase
from harness.verdicts.reading import Measured
from harness.verdicts.verdict import Finding, Verdict


def resolved(criterion: SingleCriterion, view: Measured, judge: Callable[[], Finding]) -> Finding:
    """What `judge` finds, or inconclusive where the bound is a KL below the floor of the table it reads."""
    if not isinstance(criterion, EveryProbe | SomeProbe | CellWithin | WorstCase):
        return judge()
    table = view.tables.get(criterion.experiment)
    if table is None or not criterion.metric.endswith("_nats") or not table.floor_nats:
        return judge()
    bound = _bound(criterion)
    if bound >= table.floor_nats:
        return judge()
    return Finding(
        verdict=Verdict.INCONCLUSIVE,
        sentence=f"The noise floor of this arithmetic is {format_number(table.floor_nats)} nats, above the "
        f"{format_number(bound)} nats asked about: measure in float32 (--dtype float32).",
        p_value=1.0,
    )


def _bound(criterion: EveryProbe | SomeProbe | CellWithin | WorstCase) -> float:
    """The smallest number, in nats, that the criterion must tell apart."""
    if isinstance(criterion, CellWithin):
        return criterion.tolerance
    if isinstance(criterion, WorstCase) or criterion.at_least is None:
        assert criterion.at_most is not None
        return criterion.at_most
    return criterion.at_least
