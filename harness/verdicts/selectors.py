"""Which rows of a table a criterion is about: a closed union of values. Importable without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard

from harness.edits import Action, Edit, Exit, Probe, Site, Stream, format_layers
from harness.experiments.edges import SOURCES, windows
from harness.experiments.patching import Where, patched
from harness.steering import Kind, read_steering
from harness.verdicts.adapter_selectors import AdapterRows
from harness.verdicts.training_selectors import Exactly, Under


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
class HeadGroups:
    """Every edit of the query heads that share a key-value head, or (`single`) of one head; zeroed or from a donor."""

    donor: str | None = None
    single: bool = False

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        if not isinstance(probe, Edit) or probe.somewhere or probe.donor != self.donor:
            return False
        action = Action.ZERO if self.donor is None else Action.PATCH
        only_heads = len(probe.heads) == len(probe.sites)
        return probe.action is action and only_heads and (len(probe.sites) == 1) is self.single

    def __str__(self) -> str:
        what = "head" if self.single else "group of heads that share keys and values"
        return f"every {what} {'zeroed' if self.donor is None else f'from the donor {self.donor!r}'}"


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Every edit that zeroes a slice of channels of one stream at all positions: what was once called a head."""

    stream: Stream

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        if not isinstance(probe, Edit) or probe.action is not Action.ZERO or probe.somewhere:
            return False
        site = probe.sites[0]
        return len(probe.sites) == 1 and site.stream is self.stream and len(site.dims) > 1

    def __str__(self) -> str:
        return f"every slice of {self.stream}"


@dataclass(frozen=True, kw_only=True)
class Sublayer:
    """The edits of one sublayer or linear module of each block (or of one block): zeroed, or from a donor.

    At all positions, or at those of a spot.
    """

    stream: Stream
    donor: str | None = None
    spot: str | None = None
    layer: int | None = None

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        if not isinstance(probe, Edit) or len(probe.sites) != 1 or probe.positions is not None:
            return False
        (site,) = probe.sites
        return (
            (probe.donor, probe.spot) == (self.donor, self.spot)
            and probe.action is (Action.ZERO if self.donor is None else Action.PATCH)
            and (site.stream, site.head, site.dims) == (self.stream, None, ())
            and self.layer in (None, site.layer)
        )

    def __str__(self) -> str:
        what = "zeroed" if self.donor is None else f"from the donor '{self.donor}'"
        where = "" if self.layer is None else f" of L{self.layer}"
        at = "" if self.spot is None else f" at {self.spot}"
        return f"{self.stream}{where} {what}{at}"


@dataclass(frozen=True, kw_only=True)
class Spotted:
    """The edits at one class of positions: these streams zeroed, or from a donor, in all blocks or in some."""

    spot: str
    streams: tuple[Stream, ...] = (Stream.ATTN_OUT, Stream.MLP_OUT)
    donor: str | None = None
    layers: tuple[int, ...] = ()
    """() for all; negative ones count from the end (-1: the last block)."""
    from_depth: float = 0.0
    """Share of the depth; blocks above it (layer / n_layers below it) are left out."""

    def __post_init__(self) -> None:
        if not self.spot or not self.streams or not 0.0 <= self.from_depth < 1.0:
            raise ValueError(
                f"Spotted(spot={self.spot!r}, streams={self.streams}, from_depth={self.from_depth}): name a class, "
                "at least one stream, and a share of the depth below 1"
            )

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        if not any(
            Sublayer(stream=stream, donor=self.donor, spot=self.spot).keep(probe, n_layers)
            for stream in self.streams
        ):
            return False
        assert isinstance(probe, Edit)
        layer = probe.layers[0]
        named = {at if at >= 0 else n_layers + at for at in self.layers}
        return layer in (named or {layer}) and layer >= self.from_depth * n_layers

    def __str__(self) -> str:
        what = "zeroed" if self.donor is None else f"from the donor '{self.donor}'"
        names = [
            f"L{at}" if at >= 0 else "the last block" if at == -1 else f"layer {at} from the end"
            for at in self.layers
        ]
        where = f" of {', '.join(names)}" if names else ""
        depth = f", from {self.from_depth:.0%} of the depth on" if self.from_depth else ""
        return f"{' or '.join(self.streams)}{where} {what} at {self.spot}{depth}"


class Reach(StrEnum):
    """Where along the depth edges are cut."""

    ALL = "all blocks at once"
    LOWER = "each window of the lower half"
    UPPER = "each window of the upper half"
    LAST = "the last window"

    def holds(self, layers: tuple[int, ...], n_layers: int) -> bool:
        """Whether it means the cut in these blocks; a window in the very middle belongs to the lower half."""
        runs = windows(n_layers)
        touched = [i for i, run in enumerate(runs) if set(run) & set(layers)]
        if len(touched) != 1 or self is Reach.ALL:
            return len(touched) > 1 and self is Reach.ALL
        at = touched[0]
        return {
            Reach.LOWER: 2 * at < len(runs),
            Reach.UPPER: 2 * at >= len(runs),
            Reach.LAST: at == len(runs) - 1,
        }[self]


@dataclass(frozen=True, kw_only=True)
class Edges:
    """The cuts of the last position's edges to one class of positions."""

    spot: str
    reach: Reach = Reach.ALL

    def __post_init__(self) -> None:
        if self.spot not in SOURCES:
            raise ValueError(f"Edges(spot={self.spot!r}): name one of {', '.join(SOURCES)}")

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        return (
            isinstance(probe, Edit)
            and probe.action is Action.CUT
            and probe.spot == self.spot
            and self.reach.holds(probe.layers, n_layers)
        )

    def __str__(self) -> str:
        return f"the last token's edges to {self.spot}, cut in {self.reach}"


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


@dataclass(frozen=True, kw_only=True)
class Steered:
    """Every addition of one of these strengths to the stream, along directions of these kinds; () for any."""

    strengths: tuple[float, ...]
    kinds: tuple[Kind, ...] = ()

    def __post_init__(self) -> None:
        if not self.strengths:
            raise ValueError("Steered: name a strength")

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        found = read_steering(probe)
        if found is None or found.strength not in self.strengths:
            return False
        return not self.kinds or found.direction.kind in self.kinds

    def __str__(self) -> str:
        along = f" along {' and '.join(self.kinds)} directions" if self.kinds else ""
        return f"steering by {', '.join(f'{s:g}' for s in self.strengths)}{along}"


class DepthPart(StrEnum):
    """A part of the depth; a third and a sixth as in `harness.experiments.layer_sets`."""

    EVERY = "every block"
    FIRST_THIRD = "the first third of the blocks"
    LAST_SIXTH = "the last sixth of the blocks"

    def holds(self, layer: int, n_layers: int) -> bool:
        """Whether a block belongs to it."""
        if self is DepthPart.FIRST_THIRD:
            return layer < max(1, n_layers // 3)
        return self is DepthPart.EVERY or layer >= n_layers - max(1, n_layers // 6)


@dataclass(frozen=True, kw_only=True)
class Patched:
    """The patches of one activation at one class of positions, whichever run they come from."""

    stream: Stream
    where: Where
    part: DepthPart = DepthPart.EVERY

    def keep(self, probe: Probe, n_layers: int) -> bool:
        """True for the rows meant."""
        if not isinstance(probe, Edit) or probe.donor is None:
            return False
        layer = probe.layers[0]
        meant = patched(self.stream, layer, probe.donor, self.where)
        return probe == meant and self.part.holds(layer, n_layers)

    def __str__(self) -> str:
        tokens = {
            Where.CHANGED: "the changed tokens",
            Where.REST: "the other tokens",
            Where.LAST: "the last token",
            Where.ALL: "all tokens",
        }[self.where]
        return f"{self.stream} at {tokens} in {self.part}"


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
    | HeadGroups
    | Slices
    | Sublayer
    | Spotted
    | Edges
    | Writes
    | FromDonor
    | Steered
    | Patched
    | AdapterRows
    | Exactly
    | Under
)


def _single_head(probe: Probe) -> Site | None:
    if not isinstance(probe, Edit) or probe.action is not Action.ZERO or probe.somewhere:
        return None
    site = probe.sites[0]
    return site if len(probe.sites) == 1 and site.stream is Stream.Z else None


def _is_exit(probe: Probe, normed: bool | None) -> TypeGuard[Exit]:
    return isinstance(probe, Exit) and normed in (None, probe.normed)


def _norm_words(normed: bool | None) -> str:
    return {None: "", True: ", normed", False: ", without the norm"}[normed]
