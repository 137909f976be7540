"""What screened evidence may say: a witness decides, and what was left unmeasured is never taken for granted.

A screen measures a share of the probes. Where it left out a probe that a criterion asks about,

    EveryProbe, WorstCase   a measured probe that violates the bound refutes; nothing supports
    SomeProbe               a measured probe that satisfies the bound supports; nothing refutes
    any other               inconclusive, without being judged

with the p-value of a witness corrected for all probes asked about, measured or not. A criterion whose probes were all
measured is judged as on any evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.verdicts.criteria import (
    CellWithin,
    EveryProbe,
    JointCriterion,
    SingleCriterion,
    SomeProbe,
    WorstCase,
)
from harness.verdicts.reading import Measured
from harness.verdicts.verdict import Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How many of the probes that a criterion asks about were measured, and how many were left out."""

    measured: int
    left_out: int

    @property
    def sentence(self) -> str:
        """What was left out, as a sentence."""
        asked = self.measured + self.left_out
        return (
            f"Screened: {self.measured} of the {asked} probes this is about were measured exactly "
            f"({self.measured / asked:.0%})."
        )

    @property
    def undecided(self) -> Finding:
        """The finding of a criterion that the measured probes cannot decide."""
        return Finding(
            verdict=Verdict.INCONCLUSIVE, sentence=f"{self.sentence} {_REMEDY}", p_value=1.0, screened=True
        )


_REMEDY = "The others may decide otherwise: run without --screen to measure all of them."


def limited(criterion: SingleCriterion, view: Measured, judge: Callable[[], Finding]) -> Finding:
    """What `judge` finds, turned inconclusive where that would need probes a screen left out."""
    gap = _gap(criterion, view)
    if gap is None:
        return judge()
    match criterion:
        case EveryProbe() | WorstCase():
            decisive = Verdict.REFUTED
        case SomeProbe():
            decisive = Verdict.SUPPORTED
        case _:
            return gap.undecided
    if not gap.measured:
        return gap.undecided
    found = judge()
    if found.verdict in (decisive, Verdict.INVALID):
        return replace(found, sentence=f"{found.sentence} {gap.sentence}", screened=True)
    undecided = gap.undecided
    sentence = f"Among the measured, {found.sentence} {undecided.sentence}"
    return replace(undecided, sentence=sentence, estimate=found.estimate)


def limited_joint(
    criterion: JointCriterion, models: Mapping[str, Measured], judge: Callable[[], Finding]
) -> Finding:
    """What `judge` finds where no table it reads was screened; else inconclusive."""
    gaps = [gap for view in models.values() if (gap := _whole_gap(criterion.experiments, view)) is not None]
    return gaps[0].undecided if gaps else judge()


def _gap(criterion: SingleCriterion, view: Measured) -> Gap | None:
    """None where every probe asked about was measured, or the table is missing altogether."""
    if not isinstance(criterion, EveryProbe | SomeProbe | CellWithin | WorstCase):
        return _whole_gap(criterion.experiments, view)
    table = view.tables.get(criterion.experiment)
    if table is None:
        return None
    asked, left_out = (
        sum(criterion.select.keep(probe, view.n_layers) for probe in probes)
        for probes in (table.probes, table.unmeasured)
    )
    return Gap(measured=asked, left_out=left_out) if left_out else None


def _whole_gap(experiments: tuple[str, ...], view: Measured) -> Gap | None:
    tables = [view.tables[name] for name in experiments if name in view.tables]
    left_out = sum(len(table.unmeasured) for table in tables)
    measured = sum(len(table.probes) for table in tables)
    return Gap(measured=measured, left_out=left_out) if left_out else None
