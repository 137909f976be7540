"""Verdicts, findings and judgements. Values only: importable without numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.statistics.estimate import Estimate


class Verdict(StrEnum):
    """What the evidence says about a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    """The interval straddles the threshold, or two candidates tie."""
    INVALID = "invalid"
    """The instrument failed a sanity check: the numbers say nothing about the claim."""
    NOT_RUN = "not run"
    CONSISTENT = "consistent"
    """Of a claim that is arithmetic over published figures: they give what it says. Nothing was measured."""
    INCONSISTENT = "inconsistent"
    """They give something else."""


OF_FIGURES = (Verdict.CONSISTENT, Verdict.INCONSISTENT)
"""The verdicts on claims that are judged from published figures alone, and on no others."""


ABSENT = "The claim presupposes what is not found here, so it is neither supported nor refuted."


class ClaimRefuted(AssertionError):
    """The evidence contradicts the claim. The one exception a card that expects `refuted` may see."""


class ClaimInconclusive(AssertionError):
    """The evidence decides neither way."""


class InstrumentInvalid(AssertionError):
    """The measurement failed a sanity check, so it says nothing about the claim."""


class ClaimInconsistent(AssertionError):
    """The published figures give something else. The one exception a card that expects `inconsistent` may see."""


class MissingEvidence(LookupError):
    """A criterion asks for a table, probe, metric or family that was not measured. Never a verdict."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one criterion found. `p_value` is two-sided; None for an identity, where no chance is involved."""

    verdict: Verdict
    sentence: str
    estimate: Estimate | None = None
    p_value: float | None = None
    criterion: str = ""
    screened: bool = False
    """A screen left some of the probes it asks about unmeasured."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on one claim, model and protocol, with one finding a criterion."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    p_value: float | None = None
    note: str = ""
    """Why the verdict differs from the findings (false discovery control), or why nothing was run."""

    @property
    def sentence(self) -> str:
        """The findings' sentences and the note, as one line."""
        return " ".join(
            [*(finding.sentence for finding in self.findings), *([self.note] if self.note else [])]
        )

    @property
    def screened(self) -> bool:
        """True where a finding asks about probes that a screen left unmeasured."""
        return any(finding.screened for finding in self.findings)

    @property
    def estimate(self) -> Estimate | None:
        """The headline number: the first estimate of the findings that the verdict rests on, else of any."""
        deciding = [f for f in self.findings if f.verdict is self.verdict and self.note != ABSENT]
        return next((f.estimate for f in (*deciding, *self.findings) if f.estimate is not None), None)


def not_run(reason: str) -> Judgement:
    """The judgement of a cell that was not measured."""
    return Judgement(verdict=Verdict.NOT_RUN, findings=(), note=reason)


def combine(findings: Sequence[Finding], presupposed: Sequence[Finding] = ()) -> Judgement:
    """One judgement from a card's findings, and from those about what it presupposes.

    Any invalid finding makes it invalid; else any refuted one refutes; all supported support; else
    inconclusive. All criteria must hold, so the p-value of `supported` is the largest (intersection-union:
    Berger 1982, Technometrics 24:295) and that of `refuted` the smallest times the number of criteria
    (Bonferroni). Where what is presupposed is not supported, the claim is inconclusive: no test was made of it. Raises
    ValueError when there is no finding.
    """
    if not findings:
        raise ValueError("a judgement needs at least one finding")
    absent = [f for f in presupposed if f.verdict is not Verdict.SUPPORTED]
    found = (*findings, *presupposed)
    if absent and Verdict.INVALID not in {f.verdict for f in found}:
        return Judgement(verdict=Verdict.INCONCLUSIVE, findings=tuple(absent), note=ABSENT)
    findings = found
    verdicts = {finding.verdict for finding in findings}
    for verdict in (Verdict.INVALID, Verdict.REFUTED):
        if verdict in verdicts:
            break
    else:
        verdict = Verdict.SUPPORTED if verdicts == {Verdict.SUPPORTED} else Verdict.INCONCLUSIVE
    return Judgement(verdict=verdict, findings=tuple(findings), p_value=_combined_p(verdict, findings))


def _combined_p(verdict: Verdict, findings: Sequence[Finding]) -> float | None:
    if verdict is Verdict.REFUTED:
        refuting = [f.p_value for f in findings if f.verdict is Verdict.REFUTED]
        tested = [p for p in refuting if p is not None]
        if len(tested) < len(refuting):
            return None  # an identity is violated: no chance is involved
        return min(1.0, min(tested) * len(findings))
    values = [f.p_value for f in findings if f.p_value is not None]
    return max(values, default=None)
