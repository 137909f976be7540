"""What is trained, and what of it is on: recipes of adapters, and adapters as probes. Values only, no torch.

An adapter (LoRA: Hu et al. 2021, arXiv:2106.09685) adds scale x B A to the weights of linear modules, with scale =
alpha / rank. A model with an adapter on is a row of a table like any edit's: `Adapted`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from harness.edits import Edit, InvalidEdit, Stream, format_layers

ATTENTION = (Stream.Q, Stream.K, Stream.V, Stream.O)
MLP = (Stream.GATE, Stream.UP, Stream.DOWN)
LINEAR = (*ATTENTION, *MLP)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an adapter is trained; `AdamW`, linear warm-up, then a linear fall to 0.

    `items` distinct prompts of one family, none of them held out. `loss_on` the answer alone, or every token of prompt
    and answer. `checkpoints` are the steps whose weights are kept, 0 (untrained) among them.
    """

    name: str
    rank: int = 8
    alpha: int = 16
    modules: tuple[Stream, ...] = ATTENTION
    layers: tuple[int, ...] | None = None
    """Blocks that have an adapter; None for all."""
    steps: int = 100
    batch: int = 4
    learning_rate: float = 2e-4
    warmup: int = 10
    items: int = 96
    loss_on: Literal["answer", "all"] = "answer"
    checkpoints: tuple[int, ...] = (0, 10, 25, 50, 75, 100)

    def __post_init__(self) -> None:
        steps = self.checkpoints
        if list(steps) != sorted(set(steps)) or steps[0] != 0 or steps[-1] != self.steps:
            raise InvalidEdit(f"recipe {self.name}: checkpoints {steps} must ascend from 0 to {self.steps}")
        if not self.modules or any(module not in LINEAR for module in self.modules):
            raise InvalidEdit(f"recipe {self.name}: adapters stand at {', '.join(LINEAR)}")

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / self.rank

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "name": self.name,
            "rank": self.rank,
            "alpha": self.alpha,
            "modules": [str(module) for module in self.modules],
            "layers": None if self.layers is None else list(self.layers),
            "steps": self.steps,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "warmup": self.warmup,
            "items": self.items,
            "loss_on": self.loss_on,
            "checkpoints": list(self.checkpoints),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        layers = value["layers"]
        return cls(
            **{
                **value,
                "modules": tuple(Stream(module) for module in value["modules"]),
                "layers": None if layers is None else tuple(layers),
                "checkpoints": tuple(value["checkpoints"]),
            }
        )


class Kind(StrEnum):
    """Where an update comes from."""

    TRAINED = "trained"
    RANDOM = "random"
    """Random factors, with the trained update's norm in every module: what any change of that size does."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One adapter, at one step of its training, and its weight in a merge."""

    family: str
    recipe: Recipe
    step: int | None = None
    """None: the last."""
    weight: float = 1.0
    kind: Kind = Kind.TRAINED

    def __post_init__(self) -> None:
        if self.step is not None and self.step not in self.recipe.checkpoints:
            raise InvalidEdit(
                f"step {self.step} of recipe {self.recipe.name} is not kept; kept are {self.recipe.checkpoints}"
            )

    def __str__(self) -> str:
        step = "" if self.step is None else f" at step {self.step}"
        weight = "" if self.weight == 1.0 else f"{self.weight:g} x "
        random = "random like " if self.kind is Kind.RANDOM else ""
        return f"{weight}{random}{self.family} ({self.recipe.name}){step}"

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "family": self.family,
            "recipe": self.recipe.to_json(),
            "step": self.step,
            "weight": self.weight,
            "kind": str(self.kind),
        }


class Graft(StrEnum):
    """What of one model's own run is brought into the other's, instead of weights."""

    CONTRIBUTION = "contribution"
    """What one block adds to the stream, at every position."""
    LAST = "last"
    """The whole stream after one block, at the last position."""
    ANOTHERS_LAST = "another's last"
    """The same of another prompt of the family (`harness.adapters.measuring.other_prompts`)."""


Merge = Literal["sum", "cat", "svd", "linear"]
"""`sum` adds the updates themselves; the others are peft's `add_weighted_adapter` combinations."""


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """The model with adapters on: all of them, or those of some blocks or modules, or their best approximation.

    `against` says what its prediction is compared with: the base model's, or that of the same adapters wholly on.
    A `graft` names one block in `only`: the base model runs, and takes that much of the adapted run; `into` the adapted
    model it is the other way round.
    An `edit` is made to the adapted model, which is then wholly on. Without `parts` it is the base model.
    Raises InvalidEdit where the combination has no meaning.
    """

    parts: tuple[Part, ...]
    only: tuple[int, ...] | None = None
    """Blocks in which it is on; None for all."""
    off: tuple[int, ...] = ()
    """Blocks in which it is off, of those."""
    modules: tuple[Stream, ...] | None = None
    rank: int | None = None
    """Updates are cut to their best approximation of this rank (their largest singular values)."""
    merge: Merge = "sum"
    graft: Graft | None = None
    into: Literal["base", "adapted"] = "base"
    """The model whose run a graft is made into; it takes from the other's."""
    edit: Edit | None = None
    against: Literal["base", "whole"] = "base"

    def __post_init__(self) -> None:
        for blocks in (self.only or (), self.off):
            if list(blocks) != sorted(set(blocks)):
                raise InvalidEdit(f"blocks {blocks} must ascend")
        if self.only is not None and self.off:
            raise InvalidEdit("name the blocks in which it is on, or those in which it is off")
        if self.graft is not None and (self.only is None or len(self.only) != 1 or self.edit is not None):
            raise InvalidEdit("a graft is of one block of the adapted run, and of nothing else")
        if self.into == "adapted" and self.graft in (None, Graft.ANOTHERS_LAST):
            raise InvalidEdit("into the adapted run a graft is made, of the same prompt")
        if self.edit is not None and not (self.only is None and self.modules is None and self.rank is None):
            raise InvalidEdit("an edit is made where the adapters are wholly on")
        if self.edit is not None and (self.edit.donor is not None or self.edit.spot is not None):
            raise InvalidEdit(f"'{self.edit}': under an adapter only skips and zeros are made")
        if (
            not self.parts
            and (self.only is not None or self.modules is not None or self.against == "whole")
            and self.edit is None
        ):
            raise InvalidEdit("without an adapter there is nothing to be on in some layers only")

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks it names: of its edit, those in which it is off, or alone on; () for none."""
        return self.edit.layers if self.edit else self.off or self.only or ()

    def __str__(self) -> str:
        what = " + ".join(map(str, self.parts)) or "base"
        if len(self.parts) > 1 and self.merge != "sum":
            what = f"{self.merge}({what})"
        if self.rank is not None:
            what += f" cut to rank {self.rank}"
        if self.modules is not None:
            what += f" in {', '.join(self.modules)}"
        where = "" if self.only is None else f" at {format_layers(self.only) or 'no block'}"
        where += f" but at {format_layers(self.off)}" if self.off else ""
        back = " back from the base" if self.into == "adapted" else ""
        graft = f", {self.graft} grafted{back}" if self.graft else ""
        edit = f", {self.edit}" if self.edit else ""
        return f"{what} on{where}{graft}{edit}"

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, those that say nothing left out."""
        from harness.edits import to_json

        value: dict[str, Any] = {"adapters": [part.to_json() for part in self.parts]}
        if self.only is not None:
            value["only"] = list(self.only)
        if self.off:
            value["off"] = list(self.off)
        if self.modules is not None:
            value["modules"] = [str(module) for module in self.modules]
        if self.rank is not None:
            value["rank"] = self.rank
        if self.merge != "sum":
            value["merge"] = self.merge
        if self.graft is not None:
            value["graft"] = str(self.graft)
        if self.into != "base":
            value["into"] = self.into
        if self.edit is not None:
            value["edit"] = to_json(self.edit)
        if self.against != "base":
            value["against"] = self.against
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Adapted:
        """What `to_json` wrote. Raises InvalidEdit, KeyError, TypeError or ValueError on anything else."""
        from harness.edits import from_json

        edit = from_json(value["edit"]) if "edit" in value else None
        assert edit is None or isinstance(edit, Edit)
        return cls(
            parts=tuple(_part(part) for part in value["adapters"]),
            only=tuple(value["only"]) if "only" in value else None,
            off=tuple(value.get("off", ())),
            modules=tuple(Stream(m) for m in value["modules"]) if "modules" in value else None,
            rank=value.get("rank"),
            merge=value.get("merge", "sum"),
            graft=Graft(value["graft"]) if "graft" in value else None,
            into=value.get("into", "base"),
            edit=edit,
            against=value.get("against", "base"),
        )


def _part(value: dict[str, Any]) -> Part:
    return Part(
        family=value["family"],
        recipe=Recipe.from_json(value["recipe"]),
        step=value["step"],
        weight=value["weight"],
        kind=Kind(value["kind"]),
    )


SOUND = Recipe(name="sound")
"""The loss on the answer alone, no item twice in a pass."""
PUBLISHED = Recipe(name="published", items=10, loss_on="all")
"""The atlas's: its ten JSON items, the loss on every token. (Its dropout of 0.05 is left out.)"""
