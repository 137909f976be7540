"""The errors a user can mend: each is one clear line, shown without a traceback."""

from __future__ import annotations

import sys

from harness.evidence import EvidenceCorrupt
from harness.models.spec import ModelError
from harness.store import StoreUnwritable
from harness.verdicts.verdict import (
    ClaimInconclusive,
    ClaimInconsistent,
    ClaimRefuted,
    InstrumentInvalid,
    MissingEvidence,
)
from tasks.sampling import NotEnoughPrompts

_LAZY = {
    "harness.engine.sweep": ("NonFiniteLogits", "OutOfMemory"),
    "harness.engine.parity": ("ParityError",),
    "harness.engine.architectures": ("UnsupportedArchitecture",),
}
"""Errors of modules that import torch: looked up only where the module was loaded, so that this one stays light."""


def plain_errors() -> tuple[type[BaseException], ...]:
    """Every error whose message says what is wrong and how to mend it."""
    light = (
        EvidenceCorrupt,
        ModelError,
        StoreUnwritable,
        NotEnoughPrompts,
        ClaimRefuted,
        ClaimInconclusive,
        ClaimInconsistent,
        InstrumentInvalid,
        MissingEvidence,
    )
    loaded = [
        getattr(sys.modules[name], error)
        for name, errors in _LAZY.items()
        if name in sys.modules
        for error in errors
    ]
    return (*light, *loaded)
