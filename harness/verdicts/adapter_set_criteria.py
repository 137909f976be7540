"""Criteria on adapters by the name of their recipe: which blocks these have depends on the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.statistics.estimate import format_number
from harness.verdicts.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class RecipeBeats(Criterion):
    """One recipe's adapter adds at least `share` of what others add, and `margin` nats, against so many of them.

    What an adapter adds is the rise of the answer's log-probability over the base model's (or the share of prompts that
    it answers), on prompts of its own family. With `least` None it must be so against each. With `theirs` it is the
    others, or so many of them, that are to add `share` of what this one adds. Judged in `adapter_sets.py`.
    """

    experiment: str
    family: str
    recipe: str
    others: tuple[str, ...]
    """Names of recipes; those that a small model lacks are left out, but one is needed."""
    least: int | None = None
    share: float = 1.0
    margin: float = 0.0
    theirs: bool = False
    step: int | None = None
    """Of the training; None for its end."""
    metric: Literal["answer_logprob", "answer_match"] = "answer_logprob"
    """`answer_match`: the share of prompts answered, itself and not its rise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.others or self.recipe in self.others or len(set(self.others)) < len(self.others):
            raise ValueError(f"RecipeBeats({self.recipe}): name other recipes to compare it with, each once")
        if self.least is not None and not 0 < self.least <= len(self.others):
            raise ValueError(f"RecipeBeats: at least 1 of {len(self.others)} recipes, not {self.least}")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"RecipeBeats: a share above 0 and at most 1, not {self.share}")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    @property
    def against(self) -> str:
        """'each of 10 others', 'at least 9 of 10 others', 'every_block'."""
        if len(self.others) == 1:
            return self.others[0]
        n = len(self.others)
        return f"each of {n} others" if self.least in (None, n) else f"at least {self.least} of {n} others"

    @property
    def bound(self) -> str:
        """'80% of what each of 10 others adds, less 0.1 nats'."""
        part = "what" if self.share == 1.0 else f"{self.share:.0%} of what"
        beyond = "" if self.margin == 0.0 else f", {'plus' if self.margin > 0 else 'less'} "
        beyond += f"{format_number(abs(self.margin))}{self.unit}" if beyond else ""
        return f"{part} {self.recipe if self.theirs else self.against} adds{beyond}"

    @property
    def unit(self) -> str:
        """' nats', or '' of shares."""
        return " nats" if self.metric == "answer_logprob" else ""

    @property
    def who(self) -> str:
        """Whose adapter is asked to add so much."""
        return self.against if self.theirs else f"the adapter {self.recipe}"

    def __str__(self) -> str:
        to = (
            "the answer's log-probability"
            if self.metric == "answer_logprob"
            else "the answers that are right"
        )
        when = "" if self.step is None else f" at step {self.step}"
        return f"in {self.experiment}, on prompts of {self.family}{when}, {self.who} adds at least {self.bound} to {to}"
