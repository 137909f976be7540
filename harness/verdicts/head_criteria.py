"""Criteria on single heads: specialists, ranks, where the strongest lie, and ablations that agree. See `heads.py`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics.estimate import format_number
from harness.verdicts.criterion import Criterion, ProfileOf

Head = tuple[int, int]
"""(layer, head)."""


def name_head(head: Head) -> str:
    """'L0H3'."""
    return f"L{head[0]}H{head[1]}"


@dataclass(frozen=True, kw_only=True)
class HeadCriterion(Criterion):
    """What criteria on the sweep of every head share."""

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return ("head_sweep",)


@dataclass(frozen=True, kw_only=True)
class Specialist(HeadCriterion):
    """A head that does at least `factor` times as much to one family as to the others on average.

    `head` and `family` None: some head, on some family, with false discoveries controlled over all of them.
    """

    head: Head | None = None
    family: str | None = None
    factor: float = 3.0
    min_effect_nats: float = 0.1
    """Least mean effect on the family."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.head is None) != (self.family is None) or self.factor < 1.0:
            raise ValueError("Specialist: name a head and its family, or neither; a factor is at least 1")

    def __str__(self) -> str:
        who = "some head" if self.head is None else name_head(self.head)
        what = "some family" if self.family is None else self.family
        return (
            f"zeroing {who} moves {what} by at least {format_number(self.min_effect_nats)} nats and {self.factor:g} "
            "times as much as the other families on average"
        )


@dataclass(frozen=True, kw_only=True)
class HeadRank(HeadCriterion):
    """The head is among the `at_most` strongest in each of these families."""

    head: Head
    families: tuple[str, ...]
    at_most: int

    def __str__(self) -> str:
        return f"{name_head(self.head)} is among the {self.at_most} strongest heads on {', '.join(self.families)}"


@dataclass(frozen=True, kw_only=True)
class TopHeadsIn(HeadCriterion):
    """The `k` strongest heads all lie in block `layer`."""

    layer: int
    k: int

    def __str__(self) -> str:
        return f"the {self.k} strongest heads by mean kl_nats all lie in L{self.layer}"


@dataclass(frozen=True, kw_only=True)
class HeadRanksAgree(Criterion):
    """Every two of these ablations rank the heads alike: Spearman's correlation over all heads of the model.

    Compared are the prompts that all of them were measured on.
    """

    ablations: tuple[ProfileOf, ...]
    """Each holds every head by itself, once."""
    at_least: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.ablations) < 2 or not -1.0 < self.at_least < 1.0:
            raise ValueError(
                f"HeadRanksAgree of {len(self.ablations)} ablations at {self.at_least}: two of them at least, and a "
                "correlation between -1 and 1"
            )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables they are read from."""
        return tuple(dict.fromkeys(of.experiment for of in self.ablations))

    def __str__(self) -> str:
        names = ", ".join(str(of.select) for of in self.ablations)
        return f"every two of these rank the heads alike, by Spearman at {self.at_least:g} or more: {names}"
