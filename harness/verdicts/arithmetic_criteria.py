"""The criterion of what can be computed from published figures alone. Importable without numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.published import Quantity, UnknownFigure
from harness.verdicts.criterion import Criterion
from harness.verdicts.expressions import compute, names_in, number_text


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Criterion):
    """An expression on published figures gives what is claimed, within `tolerance`. Judged in `arithmetic.py`.

    `figures` may be all there are; those that the expression names are kept. `claimed` is a number, a label, or labels
    in their order. The tolerance is half a unit of the claim's last printed digit unless the rationale says otherwise.
    Raises UnknownFigure for a figure that is not there, BadExpression for what cannot be computed, ValueError for a
    tolerance that makes no sense.
    """

    figures: Mapping[str, Quantity]
    what: str
    """What is computed, in words."""
    expression: str
    claimed: float | str | tuple[str, ...]
    tolerance: float = 0.0
    relation: Literal["=", ">=", "<="] = "="
    unit: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.what.strip():
            raise ValueError(f"Arithmetic({self.expression}): say what is computed (what)")
        named = names_in(self.expression)
        if not named:
            raise ValueError(f"Arithmetic({self.expression}): names no published figure")
        for name in named:
            if name not in self.figures:
                raise UnknownFigure(name, self.figures)
        object.__setattr__(self, "figures", {name: self.figures[name] for name in named})
        given = compute(self.expression, self.figures).value
        if isinstance(given, int | float) != isinstance(self.claimed, int | float):
            raise ValueError(
                f"Arithmetic({self.expression}): gives {given!r}, and {self.claimed!r} is claimed"
            )
        if isinstance(given, Mapping) or (isinstance(given, tuple) and not isinstance(self.claimed, tuple)):
            raise ValueError(f"Arithmetic({self.expression}): gives several numbers; take one of them")
        if self.tolerance < 0 or (self.in_words and (self.tolerance or self.relation != "=")):
            raise ValueError(
                f"Arithmetic({self.expression}): a tolerance is not negative, and labels have none"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """None: nothing is measured."""
        return ()

    @property
    def in_words(self) -> bool:
        """True when a label or an order is claimed, and no number."""
        return not isinstance(self.claimed, int | float)

    @property
    def claim(self) -> str:
        """'22 times', 'at least 8 GB', 'o, v, mlp'."""
        if isinstance(self.claimed, str):
            return self.claimed
        if isinstance(self.claimed, tuple):
            return ", ".join(self.claimed)
        side = {"=": "", ">=": "at least ", "<=": "at most "}[self.relation]
        return f"{side}{number_text(self.claimed)}{'' if self.unit == '%' else ' '}{self.unit}".rstrip()

    def __str__(self) -> str:
        within = f", within {number_text(self.tolerance)}" if self.tolerance else ""
        return f"{self.what}: `{self.expression}` is {self.claim}{within} ({self.rationale})"
