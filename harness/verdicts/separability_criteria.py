"""The criterion on how well skills can be taught apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.adapters.values import Adapted
from harness.verdicts.criterion import Criterion, ProfileOf

GAIN, REMOVAL, SHARPNESS, DAMAGE = 0.20, 0.20, 0.15, 0.15
"""The atlas's weights of four terms. Its fifth and sixth, 0.15 each, weighed the constant 0.5: nothing was measured."""
CUT_NATS = 5.0
"""Gains and damages count in fives of nats, up to one."""


@dataclass(frozen=True, kw_only=True)
class SeparabilityLeads(Criterion):
    """One skill's separability is above that of each other. Judged in `separability.py`.

    The score of a skill, by its adapter and on held-out prompts:

        0.20 x what the adapter adds to its own answers' log-probability, in fives of nats, between -1 and 1
      + 0.20 x (KL on its own prompts - KL on others) / (their sum): what removing it would undo, and where
      + 0.15 x the Gini coefficient, over blocks, of what it changes of their effects on its own prompts
      - 0.15 x what the answers of other families lose, in fives of nats, between -1 and 1
    """

    family: str
    adapters: Mapping[str, Adapted]
    """Family -> its adapter's row in `experiment`."""
    before: ProfileOf
    after: Mapping[str, ProfileOf]
    """Effects of the blocks without, and under each family's adapter."""
    experiment: str = "adapter_families"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in self.adapters or len(self.adapters) < 2:
            raise ValueError(
                f"SeparabilityLeads({self.family}): give its adapter, and those of other families"
            )
        if set(self.after) != set(self.adapters):
            raise ValueError("SeparabilityLeads: a profile under each adapter, and no other")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        profiles = (self.before, *self.after.values())
        return tuple(dict.fromkeys((self.experiment, *(profile.experiment for profile in profiles))))

    def __str__(self) -> str:
        others = ", ".join(name for name in self.adapters if name != self.family)
        return (
            f"in {' and '.join(self.experiments)}, the separability of {self.family} (gain, selectivity, sharpness and "
            f"damage, weighed as published) is above that of {others}"
        )
