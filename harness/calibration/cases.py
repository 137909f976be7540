"""All cases, and how a trial of each is made."""

from __future__ import annotations

from typing import Any

from harness.calibration.chapters import CASES, Case
from harness.calibration.identities import IDENTITY_CASES
from harness.calibration.mechanisms import MECHANISM_CASES
from harness.calibration.models import Workshop
from harness.calibration.nulls import NULL_CASES
from harness.calibration.table_cases import TABLE_CASES
from harness.calibration.trials import run_trial


def every_case() -> tuple[Case, ...]:
    """The cases of all chapters, and of the matched nulls. Raises ValueError where two have one name."""
    cases = (*CASES, *IDENTITY_CASES, *MECHANISM_CASES, *TABLE_CASES, *NULL_CASES)
    names = [case.name for case in cases]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two cases are called {', '.join(sorted(twice))}")
    return cases


def run_case(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """A trial's record: by the first of the case's own functions, else by `run_trial`."""
    record: dict[str, Any] = (case.code[0] if case.code else run_trial)(shop, case, target, index)
    return record
