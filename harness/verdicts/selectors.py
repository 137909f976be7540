"""Which rows of a table a criterion is about: a closed union of values. Importable without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from harness.edits import Action, Edit, Exit, Probe, Site, Stream, format_layers


@dataclass(frozen=True, kw_only=True)
class Singles:
    """Every edit of one whole block."""

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return isinstance(probe, Edit) and len(probe.blocks) == 1

    def __str__(self) -> str:
        return "every single block"


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Every edit of several whole blocks at once."""

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return isinstance(probe, Edit) and len(probe.blocks) > 1

    def __str__(self) -> str:
        return "every set of several blocks"


@dataclass(frozen=True, kw_only=True)
class AnySet:
    """Every edit of whole blocks, one or several."""

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return isinstance(probe, Edit) and len(probe.blocks) > 0

    def __str__(self) -> str:
        return "every block or set of blocks"


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The one edit of exactly these blocks."""

    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise ValueError(f"Blocks{self.layers}: name at least one layer, ascending, counted from 0")

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the row meant."""
        return isinstance(probe, Edit) and probe.blocks == self.layers

    def __str__(self) -> str:
        return format_layers(self.layers)


@dataclass(frozen=True, kw_only=True)
class ExitsBefore:
    """Every early exit but the last `last` ones: last=1 leaves out the exit at the final layer only.

    `normed` True or False keeps the exits with or without the final norm; None keeps both.
    """

    last: int = 1
    normed: bool | None = None

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ValueError(
                f"ExitsBefore(last={self.last}): an exit at the final layer is not early; last is >= 1"
            )

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return _is_exit(probe, self.normed) and probe.layer < n_layers - self.last

    def __str__(self) -> str:
        which = "the last" if self.last == 1 else f"the last {self.last}"
        return f"every exit but {which}{_norm_words(self.normed)}"


@dataclass(frozen=True, kw_only=True)
class FinalExit:
    """The exit after the final layer."""

    normed: bool | None = None

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return _is_exit(probe, self.normed) and probe.layer == n_layers - 1

    def __str__(self) -> str:
        return f"the exit at the final layer{_norm_words(self.normed)}"


@dataclass(frozen=True, kw_only=True)
class ExitAt:
    """The exit after one layer; negative counts from the end (-2: one before the final layer)."""

    layer: int
    normed: bool | None = None

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        wanted = self.layer if self.layer >= 0 else n_layers + self.layer
        return _is_exit(probe, self.normed) and probe.layer == wanted

    def __str__(self) -> str:
        where = f"L{self.layer}" if self.layer >= 0 else f"layer {self.layer} from the end"
        return f"the exit at {where}{_norm_words(self.normed)}"


@dataclass(frozen=True, kw_only=True)
class EveryHead:
    """Every edit that zeroes one head at all positions."""

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return _single_head(probe) is not None

    def __str__(self) -> str:
        return "every single head"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The edits that zero one of these heads, named as (layer, head), at all positions."""

    heads: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.heads or list(self.heads) != sorted(set(self.heads)) or min(map(min, self.heads)) < 0:
            raise ValueError(f"Heads{self.heads}: name at least one (layer, head), ascending, counted from 0")

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        site = _single_head(probe)
        return site is not None and (site.layer, site.head) in self.heads

    def __str__(self) -> str:
        return ", ".join(f"L{layer}H{head}" for layer, head in self.heads)


@dataclass(frozen=True, kw_only=True)
class Writes:
    """The edit that zeroes what one MLP adds to some dimensions of token 0."""

    layer: int

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the row meant."""
        if not isinstance(probe, Edit) or probe.action is not Action.ZERO or probe.positions != (0,):
            return False
        site = probe.sites[0]
        return (
            len(probe.sites) == 1
            and site.stream is Stream.MLP_OUT
            and site.layer == self.layer
            and site.dims != ()
        )

    def __str__(self) -> str:
        return f"the write of the MLP of L{self.layer} to token 0"


@dataclass(frozen=True, kw_only=True)
class FromDonor:
    """The edit that takes some dimensions of an activation from one donor."""

    donor: str

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the row meant."""
        return isinstance(probe, Edit) and probe.donor == self.donor and all(s.dims for s in probe.sites)

    def __str__(self) -> str:
        return f"the number taken from the donor '{self.donor}'"


Selector = (
    Singles
    | Sets
    | AnySet
    | Blocks
    | ExitsBefore
    | FinalExit
    | ExitAt
    | EveryHead
    | Heads
    | Writes
    | FromDonor
)


def _single_head(probe: Probe) -> Site | None:
    if not isinstance(probe, Edit) or probe.action is not Action.ZERO or probe.positions is not None:
        return None
    site = probe.sites[0]
    return site if len(probe.sites) == 1 and site.stream is Stream.Z else None


def _is_exit(probe: Probe, normed: bool | None) -> TypeGuard[Exit]:
    return isinstance(probe, Exit) and normed in (None, probe.normed)


def _norm_words(normed: bool | None) -> str:
    return {None: "", True: ", normed", False: ", without the norm"}[normed]
