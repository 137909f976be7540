"""Selectors of models with adapters on: one row by what it is, and the edits made under one state of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.adapters.values import Adapted, Part
from harness.edits import Probe

if TYPE_CHECKING:
    from harness.verdicts.selectors import Selector


@dataclass(frozen=True, kw_only=True)
class Exactly:
    """The one row of this probe."""

    probe: Adapted

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the row meant."""
        return probe == self.probe

    def __str__(self) -> str:
        return str(self.probe)


@dataclass(frozen=True, kw_only=True)
class Under:
    """The rows whose edit `select` means, made where exactly these adapters are wholly on; () for the base model."""

    parts: tuple[Part, ...]
    select: Selector

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return (
            isinstance(probe, Adapted)
            and probe.edit is not None
            and probe.parts == self.parts
            and probe.merge == "sum"
            and self.select.keep(probe.edit, n_layers)
        )

    def __str__(self) -> str:
        return f"{self.select} under {' + '.join(map(str, self.parts)) or 'no adapter'}"
