"""Criteria on the massive activation: who writes it, and what follows from editing it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.mechanism import MechanismEdit
from harness.statistics.estimate import format_number
from harness.verdicts.criterion import SEPARATION_ALPHA, Criterion


@dataclass(frozen=True, kw_only=True)
class WriterRaises(Criterion):
    """The writer's MLP multiplies one number of token 0, in geometric mean over prompts.

    The writer is the MLP that adds most to the absolute size of one number. Another may multiply it by more. Judged in
    `mechanism.py`.
    """

    at_least: float
    """Factor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_least <= 1.0:
            raise ValueError(f"WriterRaises(at_least={self.at_least}): a factor of at most 1 raises nothing")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("massive_writes", "hub_mechanism")

    def __str__(self) -> str:
        return (
            "the MLP that adds most to a number of token 0, in absolute size, multiplies it by at least "
            f"{format_number(self.at_least)}, in geometric mean"
        )


@dataclass(frozen=True, kw_only=True)
class WriterLeads(Criterion):
    """Skipping the writer does more than skipping any other block from a depth on. Judged in `mechanism.py`."""

    from_depth: float = 0.0
    """Share of the depth; blocks above it (layer / n_layers below it) are not compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.from_depth < 1.0:
            raise ValueError(f"WriterLeads(from_depth={self.from_depth}): a share of the depth, below 1")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("layer_sweep", "hub_mechanism")

    def __str__(self) -> str:
        where = f" from {self.from_depth:.0%} of the depth on" if self.from_depth else ""
        return (
            "the writer of the massive activation has the largest mean kl_nats of all blocks"
            f"{where}, separated from every other at p < {SEPARATION_ALPHA}"
        )


@dataclass(frozen=True, kw_only=True)
class EditShare(Criterion):
    """Each edit of one kind moves at least, or at most, a share of what another one moves. Judged in `mechanism.py`."""

    edit: MechanismEdit
    of: MechanismEdit
    at_least: float | None = None
    at_most: float | None = None
    min_effect_nats: float = 0.1
    """Least effect, at the lower bound, of which a share is taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"EditShare of {self.edit}: give either at_most or at_least")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("hub_mechanism",)

    @property
    def share(self) -> float:
        """The bound, whichever side it is on."""
        share = self.at_least if self.at_least is not None else self.at_most
        assert share is not None
        return share

    @property
    def bound(self) -> str:
        """'at least 50%'."""
        return f"{'at most' if self.at_least is None else 'at least'} {self.share:.0%}"

    def __str__(self) -> str:
        return f"{self.edit} moves {self.bound} of the kl_nats that {self.of} moves"
