"""Which rows of a table of adapters a criterion is about. Importable without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.adapters.values import Adapted, Graft, Kind
from harness.edits import Probe, Stream, format_layers, zero


class On(StrEnum):
    """What of an adapter is on, or done to its run. All but the first two name one block each, the last one touched."""

    WHOLE = "wholly on"
    NONE = "in no block"
    ONLY = "on in one block alone"
    OFF = "off in one block"
    ONLY_UP_TO = "on from L0 to a block alone"
    OFF_UP_TO = "off from L0 to a block"
    CONTRIBUTION = "grafted by what one block of its run adds"
    LAST = "grafted by the last token's stream after one block of its run"
    ANOTHERS_LAST = "grafted by the last token's stream after one block of its run on another prompt"
    STREAM_BACK = "undone by the base's whole stream after one block"
    CONTRIBUTION_BACK = "undone by what one block of the base's run adds"
    LAST_BACK = "undone by the last token's stream after one block of the base's run"
    WITHOUT_MLP = "wholly on, the MLP of one block zeroed"

    @property
    def names_a_block(self) -> bool:
        """Whether there is such a row for each block."""
        return self not in (On.WHOLE, On.NONE)

    @property
    def is_curve(self) -> bool:
        """Whether each row holds what the one before it holds: blocks from L0 on, or the stream that they made."""
        return self in (On.ONLY_UP_TO, On.OFF_UP_TO, On.LAST, On.STREAM_BACK, On.LAST_BACK)

    @property
    def is_back(self) -> bool:
        """Whether the base's activations are brought into the adapted run: such rows are compared with the base."""
        return self in (On.STREAM_BACK, On.CONTRIBUTION_BACK, On.LAST_BACK)

    @property
    def is_edited(self) -> bool:
        """Whether the adapted model is edited."""
        return self is On.WITHOUT_MLP

    def holds(self, probe: Adapted) -> bool:
        """Whether the row is of this state, compared with what such a row is compared with."""
        plain, only, off = probe.graft is None, probe.only, probe.off
        against_whole = probe.against == "whole"
        match self:
            case On.WHOLE:
                return plain and only is None and not off and not against_whole
            case On.NONE:
                return plain and only == () and against_whole
            case On.ONLY:
                return plain and only is not None and len(only) == 1 and not against_whole
            case On.OFF:
                return plain and len(off) == 1 and against_whole
            case On.ONLY_UP_TO:
                return plain and bool(only) and only == tuple(range(len(only or ()))) and against_whole
            case On.OFF_UP_TO:
                return plain and bool(off) and off == tuple(range(len(off))) and against_whole
            case On.CONTRIBUTION:
                return probe.graft is Graft.CONTRIBUTION and against_whole
            case On.LAST:
                return probe.graft is Graft.LAST and against_whole
            case On.ANOTHERS_LAST:
                return probe.graft is Graft.ANOTHERS_LAST and against_whole
            case On.STREAM_BACK:
                return plain and bool(off) and off == tuple(range(len(off))) and not against_whole
            case On.CONTRIBUTION_BACK:
                return probe.graft is Graft.CONTRIBUTION and probe.into == "adapted" and not against_whole
            case On.LAST_BACK:
                return probe.graft is Graft.LAST and probe.into == "adapted" and not against_whole
            case On.WITHOUT_MLP:
                return probe.edit is not None and probe.edit == zero(Stream.MLP_OUT, probe.edit.layers[-1])


@dataclass(frozen=True, kw_only=True)
class BlockSet:
    """Blocks by number, or by their share of the depth; by default all."""

    layers: tuple[int, ...] = ()
    """() for all; negative ones count from the end (-1: the last block)."""
    from_depth: float = 0.0
    to_depth: float = 1.0
    """Shares of the depth: from_depth <= layer / n_layers < to_depth."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.from_depth < self.to_depth <= 1.0:
            raise ValueError(
                f"BlockSet from {self.from_depth} to {self.to_depth}: shares of the depth ascend from 0 to 1"
            )
        if self.layers and (self.from_depth, self.to_depth) != (0.0, 1.0):
            raise ValueError("BlockSet: name blocks by number, or by their share of the depth")
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"BlockSet{self.layers}: blocks ascend")

    def of(self, n_layers: int) -> tuple[int, ...]:
        """The blocks of a model, ascending; those that it lacks among them where they are named by number."""
        if self.layers:
            return tuple(sorted({at if at >= 0 else n_layers + at for at in self.layers}))
        return tuple(
            at
            for at in range(n_layers)
            if self.from_depth <= at / n_layers and (self.to_depth == 1.0 or at / n_layers < self.to_depth)
        )

    def __str__(self) -> str:
        if self.layers:
            n = len(self.layers)
            if self.layers == tuple(range(-n, 0)):
                return "the last block" if n == 1 else f"the last {n} blocks"
            if min(self.layers) >= 0:
                return format_layers(self.layers)
            return ", ".join(f"L{at}" if at >= 0 else f"block {at} from the end" for at in self.layers)
        if (self.from_depth, self.to_depth) == (0.0, 1.0):
            return "every block"
        if self.from_depth == 0.0:
            return f"blocks in the first {self.to_depth:.0%} of the depth"
        if self.to_depth == 1.0:
            return f"blocks in the last {1 - self.from_depth:.0%} of the depth"
        return f"blocks from {self.from_depth:.0%} to {self.to_depth:.0%} of the depth"


EVERY_BLOCK = BlockSet()


@dataclass(frozen=True, kw_only=True)
class AdapterRows:
    """The rows of one adapter, fully trained, all its modules at their full rank, with so much of it on."""

    on: On
    blocks: BlockSet = EVERY_BLOCK
    family: str = "json_schema"
    kind: Kind = Kind.TRAINED
    recipe: str | None = None
    """Name of the recipe; None for the one that was measured."""
    weight: float = 1.0
    """What the update is multiplied with."""

    def __post_init__(self) -> None:
        if not self.on.names_a_block and self.blocks != EVERY_BLOCK:
            raise ValueError(f"AdapterRows({self.on}, {self.blocks}): such a row is of no block")

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        if not isinstance(probe, Adapted) or not self._is_mine(probe) or not self.on.holds(probe):
            return False
        return not self.on.names_a_block or block_of(probe) in self.blocks.of(n_layers)

    def _is_mine(self, probe: Adapted) -> bool:
        if len(probe.parts) != 1 or (probe.edit is not None) != self.on.is_edited:
            return False
        if probe.modules is not None or probe.rank is not None or probe.merge != "sum":
            return False
        (part,) = probe.parts
        return (
            (part.family, part.kind, part.weight) == (self.family, self.kind, self.weight)
            and part.step in (None, part.recipe.steps)
            and self.recipe in (None, part.recipe.name)
        )

    def __str__(self) -> str:
        what = f"the {self.family} adapter"
        if self.kind is Kind.RANDOM:
            what = f"a random update like {what}"
        if self.weight != 1.0:
            what = f"{self.weight:g} x {what}"
        recipe = "" if self.recipe is None else f" ({self.recipe})"
        where = f" ({self.blocks})" if self.on.names_a_block else ""
        return f"{what}{recipe} {self.on}{where}"


def block_of(probe: Adapted) -> int:
    """The block that a row is about: the last of those it names. Raises ValueError where it names none."""
    if not probe.layers:
        raise ValueError(f"'{probe}' is of no block")
    return probe.layers[-1]
