"""What can be done to a forward pass: edits at named sites, and early exits. Values only, no torch.

Activation names follow TransformerLens. In block `l`

    resid_pre[l] -> attn_out[l] -> resid_mid[l] -> mlp_out[l] -> resid_post[l]

`attn_out` and `mlp_out` are what the sublayer adds to the residual stream (after any post-norm); `z[l, h]` is
head h's mix of values before the output projection. q, k, v, o, gate, up, down are the outputs of the block's linear
modules.

A cut names edges and no activation: in the blocks of its `attn_out` sites the last position does not attend to the
positions named, in any head, and its attention to the others is renormalised (a score of -inf before the softmax).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from harness.adapters.values import Adapted


class Stream(StrEnum):
    """The activation an edit writes to."""

    RESID_POST = "resid_post"
    ATTN_OUT = "attn_out"
    MLP_OUT = "mlp_out"
    Z = "z"
    Q = "q"
    K = "k"
    V = "v"
    O = "o"  # noqa: E741
    GATE = "gate"
    UP = "up"
    DOWN = "down"


MODULES = (Stream.Q, Stream.K, Stream.V, Stream.O, Stream.GATE, Stream.UP, Stream.DOWN)
"""Outputs of linear modules: they can be zeroed, at every position, and nothing else."""


class Action(StrEnum):
    """What an edit writes there."""

    SKIP = "skip"
    """resid_post := resid_pre. The block contributes nothing; the stream passes unharmed."""
    ZERO = "zero"
    """value := 0. At resid_post this is an *erase*: the whole stream is lost, not the block's contribution."""
    PATCH = "patch"
    """value := the value of a named donor: another prompt's run, or a stored vector (a mean)."""
    ADD = "add"
    """value := value + strength x the donor's stored vector: steering."""
    CUT = "cut"
    """The last position attends to the others as if these sources were not there: attention-edge knockout.

    Geva et al. 2023 (arXiv:2304.14767). It stands at attn_out, in one block or several.
    """


class InvalidEdit(ValueError):
    """An edit that means nothing, or that names a site the model does not have."""


@dataclass(frozen=True, kw_only=True, order=True)
class Site:
    """One activation of one block, or some of its dimensions; `head` belongs to `z` and to nothing else."""

    layer: int
    stream: Stream
    head: int | None = None
    dims: tuple[int, ...] = ()
    """The dimensions meant, ascending; () for all."""

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise InvalidEdit(f"layer {self.layer}: layers count from 0")
        if (self.head is not None) != (self.stream is Stream.Z):
            raise InvalidEdit(f"{self.stream} at L{self.layer}: a head is named for z and only for z")
        if list(self.dims) != sorted(set(self.dims)) or any(dim < 0 for dim in self.dims):
            raise InvalidEdit(f"{self.stream} at L{self.layer}: dims {self.dims} must ascend from 0 or above")

    def __str__(self) -> str:
        where = f"L{self.layer}H{self.head}" if self.head is not None else f"{self.stream} L{self.layer}"
        return f"{where}[{','.join(map(str, self.dims))}]" if self.dims else where


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One intervention: an action at one or more sites, at all positions or at named ones.

    `positions` index into the prompt's tokens, negative from the end, None for all. `spot` names positions that each
    prompt has its own of ("operator": see `tasks.spots`); a prompt without any is not measured. `strength` is an
    addition's. The positions of a cut are its sources, none of them the last position (None: all before it). Raises
    InvalidEdit where the combination has no meaning.
    """

    sites: tuple[Site, ...]
    action: Action
    positions: tuple[int, ...] | None = None
    donor: str | None = None
    spot: str | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        if not self.sites or list(self.sites) != sorted(set(self.sites)):
            raise InvalidEdit(f"{self.action}: sites must be sorted, distinct and at least one")
        if len({replace(site, dims=()) for site in self.sites}) < len(self.sites):
            raise InvalidEdit(f"{self.action}: name the dimensions of one activation in one site")
        if self.action is Action.SKIP and any(s.stream is not Stream.RESID_POST for s in self.sites):
            raise InvalidEdit("skip is defined at resid_post only: it routes around a block")
        if (self.donor is not None) != (self.action in (Action.PATCH, Action.ADD)):
            raise InvalidEdit("a donor is named for a patch or an addition, and for nothing else")
        if (self.strength is not None) != (self.action is Action.ADD):
            raise InvalidEdit("a strength is given for an addition and only for an addition")
        if self.spot is not None and (self.positions is not None or self.spot in ("", "constant")):
            raise InvalidEdit(f"spot '{self.spot}': name a spot or positions, and not both")
        if modules := [site for site in self.sites if site.stream in MODULES]:
            whole = self.positions is None and self.spot is None and not any(site.dims for site in modules)
            if self.action is not Action.ZERO or len(self.sites) > 1 or not whole:
                raise InvalidEdit(f"the output of {modules[0]} can be zeroed, whole and by itself, not more")
        if self.positions is not None and not self.positions:
            raise InvalidEdit("an edit at no position does nothing; leave positions out to mean all")
        if self.action is Action.CUT:
            self._check_cut()

    def _check_cut(self) -> None:
        if any(site.stream is not Stream.ATTN_OUT or site.dims for site in self.sites):
            raise InvalidEdit("a cut is of a block's attention: name attn_out, whole")
        if self.spot == "last" or -1 in (self.positions or ()):
            raise InvalidEdit("a cut keeps the last position from others: it is no source itself")

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks touched, ascending."""
        return tuple(sorted({site.layer for site in self.sites}))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks whose resid_post is edited, in all its dimensions."""
        return tuple(s.layer for s in self.sites if s.stream is Stream.RESID_POST and not s.dims)

    @property
    def somewhere(self) -> bool:
        """Whether it is confined to some positions, as a cut is to what the last one reads."""
        return self.positions is not None or self.spot is not None or self.action is Action.CUT

    @property
    def module(self) -> Stream | None:
        """The linear module whose output is zeroed, if it is one."""
        return self.sites[0].stream if self.sites[0].stream in MODULES else None

    @property
    def heads(self) -> tuple[Site, ...]:
        """The sites that are heads."""
        return tuple(site for site in self.sites if site.stream is Stream.Z)

    def site(self, layer: int, stream: Stream) -> Site | None:
        """The site in this block and stream, if there is one; not for z, where each head has its own."""
        return next((s for s in self.sites if (s.layer, s.stream) == (layer, stream)), None)

    def __str__(self) -> str:
        whole_blocks = len(self.blocks) == len(self.sites)
        verb = "erase" if whole_blocks and self.action is Action.ZERO else str(self.action)
        where = format_layers(self.blocks) if whole_blocks else ", ".join(map(str, self.sites))
        source = f" from {self.donor}" if self.donor else ""
        if self.strength is not None:
            verb, source = f"{verb} {self.strength:g} x {self.donor} to", ""
        at = "" if self.positions is None else f" at {','.join(map(str, self.positions))}"
        at = at if self.spot is None else f" at {self.spot}"
        if self.action is Action.CUT:
            where, at = format_layers(self.layers), f" from{at.removeprefix(' at') or ' all others'}"
        return f"{verb} {where}{source}{at}"


@dataclass(frozen=True, kw_only=True)
class Exit:
    """Read the model out after block `layer`, with or without the final norm. Nothing is edited."""

    layer: int
    normed: bool

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise InvalidEdit(f"exit after layer {self.layer}: layers count from 0")

    @property
    def layers(self) -> tuple[int, ...]:
        """The block it is read out after."""
        return (self.layer,)

    def __str__(self) -> str:
        return f"exit L{self.layer} {'normed' if self.normed else 'without norm'}"


Probe: TypeAlias = "Edit | Exit | Adapted"
"""A row of a table: an edit, an early exit, or a model with adapters on."""


def skip(*layers: int) -> Edit:
    """Route around these blocks: resid_post := resid_pre in each."""
    return Edit(sites=_blocks(layers), action=Action.SKIP)


def erase(*layers: int) -> Edit:
    """Zero the whole residual stream after each of these blocks (the atlas's "layer ablation")."""
    return Edit(sites=_blocks(layers), action=Action.ZERO)


def zero(
    stream: Stream,
    layer: int,
    head: int | None = None,
    positions: tuple[int, ...] | None = None,
    dims: tuple[int, ...] = (),
) -> Edit:
    """Zero one sublayer's write, or one head's z, or some dimensions of it."""
    site = Site(layer=layer, stream=stream, head=head, dims=dims)
    return Edit(sites=(site,), action=Action.ZERO, positions=positions)


def patch(
    stream: Stream,
    layer: int,
    donor: str,
    head: int | None = None,
    positions: tuple[int, ...] | None = None,
    dims: tuple[int, ...] = (),
) -> Edit:
    """Replace one activation, or some of its dimensions, by the donor's."""
    site = Site(layer=layer, stream=stream, head=head, dims=dims)
    return Edit(sites=(site,), action=Action.PATCH, donor=donor, positions=positions)


def steer(
    stream: Stream,
    layers: tuple[int, ...],
    direction: str,
    strength: float,
    positions: tuple[int, ...] | None = (-1,),
) -> Edit:
    """Add a multiple of a named direction at each of these layers; by default at the last position."""
    sites = tuple(Site(layer=layer, stream=stream) for layer in sorted(set(layers)))
    return Edit(sites=sites, action=Action.ADD, donor=direction, strength=strength, positions=positions)


def cut(*layers: int, spot: str | None = None, positions: tuple[int, ...] | None = None) -> Edit:
    """Keep the last position from attending to these positions in each of these blocks; None: to all before it."""
    sites = tuple(Site(layer=layer, stream=Stream.ATTN_OUT) for layer in sorted(set(layers)))
    return Edit(sites=sites, action=Action.CUT, spot=spot, positions=positions)


def format_layers(layers: tuple[int, ...]) -> str:
    """(4, 5, 6, 8) -> 'L4-L6+L8'."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return "+".join(f"L{r[0]}" if len(r) == 1 else f"L{r[0]}-L{r[-1]}" for r in runs)


def to_json(probe: Probe) -> dict[str, Any]:
    """A probe as plain JSON values; `from_json` is its inverse."""
    if isinstance(probe, Exit):
        return {"exit": probe.layer, "normed": probe.normed}
    if not isinstance(probe, Edit):
        return probe.to_json()
    value: dict[str, Any] = {"action": str(probe.action), "sites": [_site_json(s) for s in probe.sites]}
    if probe.positions is not None:
        value["positions"] = list(probe.positions)
    if probe.donor is not None:
        value["donor"] = probe.donor
    if probe.spot is not None:
        value["spot"] = probe.spot
    if probe.strength is not None:
        value["strength"] = probe.strength
    return value


def from_json(value: dict[str, Any]) -> Probe:
    """The probe `to_json` wrote. Raises InvalidEdit, KeyError or ValueError on anything else."""
    if "adapters" in value:
        from harness.adapters.values import Adapted

        return Adapted.from_json(value)
    if "exit" in value:
        return Exit(layer=value["exit"], normed=value["normed"])
    sites = tuple(_site(s) for s in value["sites"])
    positions = tuple(value["positions"]) if "positions" in value else None
    return Edit(
        sites=sites,
        action=Action(value["action"]),
        positions=positions,
        donor=value.get("donor"),
        spot=value.get("spot"),
        strength=value.get("strength"),
    )


def _blocks(layers: tuple[int, ...]) -> tuple[Site, ...]:
    return tuple(Site(layer=layer, stream=Stream.RESID_POST) for layer in sorted(set(layers)))


def _site_json(site: Site) -> list[Any]:
    """[layer, stream], with the head, or null, and the dimensions only where they are given."""
    head = [] if site.head is None and not site.dims else [site.head]
    return [site.layer, str(site.stream), *head, *([list(site.dims)] if site.dims else [])]


def _site(value: list[Any]) -> Site:
    head = value[2] if len(value) > 2 else None
    dims = tuple(value[3]) if len(value) > 3 else ()
    return Site(layer=value[0], stream=Stream(value[1]), head=head, dims=dims)
