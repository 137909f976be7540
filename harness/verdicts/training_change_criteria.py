"""Criteria on how a profile over layers changes from one state of the weights to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.edits import format_layers
from harness.verdicts.criterion import Criterion, ProfileOf


@dataclass(frozen=True, kw_only=True)
class OnChange(Criterion):
    """What criteria on the change of a profile over layers share: `after` less `before`, layer by layer."""

    before: ProfileOf
    after: ProfileOf
    metric: str = "kl_nats"

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return tuple(dict.fromkeys((self.before.experiment, self.after.experiment)))

    @property
    def change(self) -> str:
        """What changes, in words."""
        return f"{self.metric} of {self.after.select} less that of {self.before.select}"


@dataclass(frozen=True, kw_only=True)
class ChangeTop(OnChange):
    """Of the layers that rise most, as many as these, at least `at_least` are these.

    Judged in `training_changes.py`.
    """

    layers: tuple[int, ...]
    at_least: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.at_least <= len(self.layers) or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"ChangeTop{self.layers}: layers ascend, and at_least counts among them")

    def __str__(self) -> str:
        return (
            f"of the {len(self.layers)} layers that rise most ({self.change}), at least {self.at_least} are of "
            f"{format_layers(self.layers)}"
        )


@dataclass(frozen=True, kw_only=True)
class ChangeStandsOut(OnChange):
    """Each of these layers changes by so many standard deviations over layers more than the mean layer does.

    Judged in `training_changes.py`.
    """

    layers: tuple[int, ...]
    at_least: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"ChangeStandsOut{self.layers}: layers ascend")

    def __str__(self) -> str:
        return (
            f"{format_layers(self.layers)} each rise by {self.at_least:g} standard deviations over layers more than "
            f"the mean layer ({self.change})"
        )


@dataclass(frozen=True, kw_only=True)
class ChangeGini(OnChange):
    """The Gini coefficient over layers of the absolute change is at most so large. Judged in `training_changes.py`.

    0 where all layers change alike, 1 - 1 / n_layers where one alone does. Noise alone has sqrt(2) - 1.
    """

    at_most: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.at_most < 1.0:
            raise ValueError(f"ChangeGini(at_most={self.at_most}): a Gini coefficient between 0 and 1")

    def __str__(self) -> str:
        return f"the Gini coefficient over layers of the absolute change is at most {self.at_most:g} ({self.change})"


@dataclass(frozen=True, kw_only=True)
class ChangesDiffer(Criterion):
    """Change profiles are further apart (1 - Spearman) between states than between trainings of one state.

    Pairs of different seeds alone are compared: states of one seed share their prompts. The names of three states in
    three seeds can be exchanged in 36 ways, too few for the level asked.

    Judged in `training_changes.py`.
    """

    before: ProfileOf
    after: Mapping[str, ProfileOf]
    margin: float
    """A gap below it counts as none."""
    metric: str = "kl_nats"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.after) < 4 or not 0.0 < self.margin < 1.0:
            raise ValueError("ChangesDiffer: give four states at least, and a margin between 0 and 1")

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        parts = (self.before, *self.after.values())
        return tuple(dict.fromkeys(part.experiment for part in parts))

    def __str__(self) -> str:
        return (
            f"the changes of {self.metric} over layers are further apart by ranks between {', '.join(self.after)} "
            f"than between trainings of one of them (permutation of the names within each seed)"
        )
