"""Criteria on activation patching: bounds on recovery, agreement of both directions, identities.

`recovery` is that of `harness.patching`: 1 where the patched run answers as the clean one, 0 as the corrupt one. Bounds
on it are about the pairs whose two runs lie at least a nat apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.experiments.patching import DENOISING, NOISING
from harness.statistics.estimate import format_number
from harness.verdicts.criterion import Criterion
from harness.verdicts.selectors import Patched


@dataclass(frozen=True, kw_only=True)
class RecoveryBound(Criterion):
    """The mean recovery of every selected patch, or of at least one (`some`), keeps a bound.

    Judged in `patching.py`.
    """

    select: Patched
    at_least: float | None = None
    at_most: float | None = None
    some: bool = False
    experiment: str = DENOISING

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"RecoveryBound on {self.select}: give either at_most or at_least")
        if self.experiment not in (DENOISING, NOISING):
            raise ValueError(f"RecoveryBound: '{self.experiment}' does not patch one run into another")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    def __str__(self) -> str:
        bound = f"at most {self.at_most:g}" if self.at_least is None else f"at least {self.at_least:g}"
        some = "at least one of: " if self.some else ""
        return f"in {self.experiment}, recovery is {bound} for {some}{self.select}"


@dataclass(frozen=True, kw_only=True)
class DirectionsAgree(Criterion):
    """Denoising and noising rank the blocks alike: Spearman's correlation over blocks of what each brings about.

    Of denoising that is the recovery, of noising 1 less the recovery. Judged in `patching.py`.
    """

    select: Patched
    at_least: float

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (DENOISING, NOISING)

    def __str__(self) -> str:
        return (
            f"over blocks, denoising and noising by {self.select} correlate by ranks (Spearman) at "
            f"{self.at_least:g} or more"
        )


@dataclass(frozen=True, kw_only=True)
class WholePatchIsOtherRun(Criterion):
    """An identity: resid_post patched at all tokens, in any block, is the run it was taken from.

    Compared are the log-probabilities of answer and foil with those of that run by itself, which the other direction's
    table holds. Judged in `patching.py`.
    """

    tolerance_nats: float = 1e-3

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (DENOISING, NOISING)

    def __str__(self) -> str:
        return (
            "resid_post patched at all tokens gives the log-probabilities of the run it was taken from, within "
            f"{format_number(self.tolerance_nats)} nats on every prompt"
        )


@dataclass(frozen=True, kw_only=True)
class PairsAlign(Criterion):
    """An identity of the prompts: each pair can be patched position by position. Judged in `patching.py`.

    Both directions hold the same pairs, which share length, answer, foil and the changed positions, and whose texts
    differ.
    """

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (DENOISING, NOISING)

    def __str__(self) -> str:
        return (
            "every pair's clean and corrupt prompts differ, have equally many tokens and change the same number of "
            "them before the last, and ask for one answer token against one foil token"
        )
