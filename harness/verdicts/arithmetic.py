"""Judging what is computed from published figures: no table, no model, one judgement. No numpy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.verdicts.arithmetic_criteria import Arithmetic
from harness.verdicts.expressions import BadExpression, compute, number_text
from harness.verdicts.verdict import Finding, Judgement, Verdict

if TYPE_CHECKING:
    from harness.claim import Claim

_SLACK = 1e-9
"""Of the tolerance and of the claimed value: binary fractions are not to decide at the edge."""


def judge_arithmetic(criterion: Arithmetic) -> Finding:
    """`consistent` where the published figures give what is claimed; the sentence shows the arithmetic.

    Raises BadExpression for a number that is not real and finite.
    """
    term = compute(criterion.expression, criterion.figures)
    value = term.value
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise BadExpression(f"{criterion.expression!r} is {value}, no finite real number")
    if isinstance(value, int | float) and isinstance(criterion.claimed, int | float):
        holds = agrees(criterion, value)
        found = _distinct_from(value, criterion, holds)
    else:
        holds = value == criterion.claimed
        found = value if isinstance(value, str) else ", ".join(map(str, value))  # type: ignore[arg-type]
    plain = isinstance(value, int | float) and term.text == number_text(value)
    shown = term.text if plain or term.text == found else f"{term.text} = {found}"
    within = f" within {number_text(criterion.tolerance)}" if criterion.tolerance else ""
    return Finding(
        verdict=Verdict.CONSISTENT if holds else Verdict.INCONSISTENT,
        sentence=f"{criterion.what}: {shown}; {criterion.claim}{within} is claimed.",
        criterion=str(criterion),
    )


def judge_figures(claim: Claim) -> Judgement:
    """The judgement of a claim whose criteria are all arithmetic, and must all hold. Raises ValueError for another."""
    criteria = [c for cs in claim.criteria.values() for c in cs]
    findings = tuple(judge_arithmetic(c) for c in criteria if isinstance(c, Arithmetic))
    if not findings or len(findings) < len(criteria):
        raise ValueError(f"claim '{claim.id}' is not judged from published figures alone")
    broken = any(finding.verdict is Verdict.INCONSISTENT for finding in findings)
    return Judgement(verdict=Verdict.INCONSISTENT if broken else Verdict.CONSISTENT, findings=findings)


def agrees(criterion: Arithmetic, value: float) -> bool:
    """Whether a number is what is claimed, the tolerance's edge included."""
    assert isinstance(criterion.claimed, int | float)
    allowed = criterion.tolerance * (1 + _SLACK) + _SLACK * abs(criterion.claimed)
    above = value - criterion.claimed
    return {"=": abs(above) <= allowed, ">=": above >= -allowed, "<=": above <= allowed}[criterion.relation]


def _distinct_from(value: float, criterion: Arithmetic, holds: bool) -> str:
    """The number in as few digits, from four, as do not show it on the other side of the claim."""
    if float(value).is_integer():
        return number_text(value)
    for digits in (4, 6, 9):
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
        if agrees(criterion, float(text)) == holds:
            break
    return text
