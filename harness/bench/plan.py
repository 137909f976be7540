"""What one run does: which workloads, contenders and cells, and how many rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench.contenders import ENTRIES, OURS, Entry, find_entry
from harness.bench.workload import Workload, WorkloadName, every_kth, sample_of_edits, sample_of_prompts

SCALING_PROMPT_EDITS = 66
SCALING_EDIT_PROMPTS = 6
SCALING_PARTS = 3


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Edits by index into the edits, prompts by index into the prompts: every edit on every prompt."""

    edits: tuple[int, ...]
    prompts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.edits) * len(self.prompts)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The run's options. `sample`: edits timed per contender over all rounds; `prompts`: prompts of a loop's.

    `full` times every contender on every cell in every round. `limit` keeps only so many prompts and edits of
    the workload (0: all), for a rehearsal.
    """

    model: str
    workloads: tuple[WorkloadName, ...]
    contenders: tuple[str, ...] = tuple(entry.name for entry in ENTRIES)
    rounds: int = 3
    sample: int = 30
    prompts: int = 12
    threads: int = 2
    full: bool = False
    limit: int = 0
    ceiling_seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in self.contenders:
            find_entry(name)
        if min(self.rounds, self.sample, self.prompts, self.threads) < 1:
            raise ValueError("rounds, sample, prompts and threads are at least 1")
        if self.sample < self.rounds or self.prompts < self.rounds:
            raise ValueError(
                f"{self.rounds} rounds need a sample of at least {self.rounds} edits and prompts, "
                f"not {self.sample} and {self.prompts}"
            )

    @property
    def others(self) -> tuple[Entry, ...]:
        """The contenders but ours."""
        return tuple(find_entry(name) for name in self.contenders if name != OURS)

    def turn(self, entry: Entry, round_number: int, n_edits: int, lengths: Sequence[int]) -> Cells:
        """The cells a contender is timed on in this round."""
        every = Cells(edits=tuple(range(n_edits)), prompts=tuple(range(len(lengths))))
        if self.full or entry.name == OURS:
            return every
        dealt = sample_of_edits(n_edits, self.sample, self.rounds)
        prompts = sample_of_prompts(lengths, self.prompts) if entry.samples_prompts else list(every.prompts)
        if entry.deal == "edits":
            return Cells(edits=tuple(dealt[round_number]), prompts=tuple(prompts))
        edits = sorted(edit for share in dealt for edit in share)
        by_length = sorted(prompts, key=lengths.__getitem__)
        return Cells(edits=tuple(edits), prompts=tuple(by_length[round_number :: self.rounds]))

    def order(self, round_number: int) -> tuple[Entry, ...]:
        """The other contenders, starting at another one in each round."""
        others = self.others
        first = round_number * len(others) // self.rounds
        return others[first:] + others[:first]


def scaling_cells(n_edits: int, workload: Workload) -> list[tuple[str, Cells]]:
    """Three sizes of prompts and three of edits, each a third more, with what they vary by name.

    The prompts added have the mean length of those that are there, so that the work grows in proportion.
    """
    lengths = workload.lengths
    few_edits, few_prompts = (
        tuple(every_kth(n_edits, SCALING_PROMPT_EDITS)),
        tuple(sample_of_prompts(lengths, SCALING_EDIT_PROMPTS)),
    )
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    cells = []
    for part in range(1, SCALING_PARTS + 1):
        kept = [1, 0, 2][:part]  # the middle of every three by length, then the shorter, then the longer
        prompts = tuple(i for place, i in enumerate(by_length) if place % SCALING_PARTS in kept)
        cells.append(("prompts", Cells(edits=few_edits, prompts=prompts)))
    for part in range(1, SCALING_PARTS + 1):
        kept = [1, 0, 2][:part]
        edits = tuple(i for i in range(n_edits) if i % SCALING_PARTS in kept)
        cells.append(("edits", Cells(edits=edits, prompts=few_prompts)))
    return cells


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(plan).items()}
