"""Steering by name: which direction is added to the stream, at which blocks and how strongly. Values only, no torch.

A direction is a vector for every block, added to resid_post at the last position. `harness.directions` computes it on
development prompts; the names here are the donors of the edits, so that a table says what it holds:

    target of F             mean stream of the prompts of skill F less that of all other families
    contrast of F           mean difference within pairs of skill F, affirmative less negative (see `side`)
    random 3                a draw of its own in every block; the seed draws it
    shuffled target of F 0  as `target of F`, with the families of the prompts shuffled
    shuffled contrast of F 0   as `contrast of F`, with the sides shuffled over the prompts of all pairs

A target of another skill than the experiment's is the wrong task. All are of one length, the mean norm of the block's
stream at the last position: strength 1 is a step as long as the stream itself. "fixed" ones have the median block's
norm in every block instead, and "raw" ones the length that the difference of means happens to have, which is the
atlas's unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.edits import Action, Edit, Probe, Stream, steer


class Kind(StrEnum):
    """How a direction is made."""

    TARGET = "target"
    CONTRAST = "contrast"
    RANDOM = "random"
    SHUFFLED_TARGET = "shuffled target"
    SHUFFLED_CONTRAST = "shuffled contrast"


class Unit(StrEnum):
    """How long a direction is."""

    BLOCK = "block"
    """The mean norm of the block's stream at the last position."""
    FIXED = "fixed"
    """The median over the blocks of those norms."""
    RAW = "raw"
    """As the difference of means comes out."""


DRAWN = (Kind.RANDOM, Kind.SHUFFLED_TARGET, Kind.SHUFFLED_CONTRAST)

SKILLS: Mapping[str, tuple[str, ...]] = {"stance": ("refusal_compliance", "uncertainty")}
"""Skill -> its families, where it is not one family by its own name."""

AFFIRMATIVE = frozenset({"yes", "known", "certain", "sure", "high", "allowed", "accepted", "accept", "agree"})
NEGATIVE = frozenset(
    {
        *("no", "unknown", "uncertain", "unsure", "low", "forbidden", "rejected", "refuse", "decline"),
        "possible",  # only ever beside "certain"
    }
)
"""Answers of the skill `stance`, in lower case and without spaces."""

_NAME = re.compile(
    rf"(?:({Unit.RAW}|{Unit.FIXED}) )?({'|'.join(sorted(Kind, key=len, reverse=True))})(?: of (\w+))?(?: (\d+))?"
)


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction; `str` is its name, `Direction.parse` the inverse.

    `draw` counts the draws of a kind that is drawn. Raises ValueError where the parts do not go together.
    """

    kind: Kind
    skill: str = ""
    draw: int | None = None
    unit: Unit = Unit.BLOCK

    def __post_init__(self) -> None:
        if (self.draw is not None) != (self.kind in DRAWN) or bool(self.skill) == (self.kind is Kind.RANDOM):
            raise ValueError(
                f"{self.kind} of {self.skill!r}, draw {self.draw}: every direction but a random one is of a skill, "
                "and those that are drawn are counted"
            )
        if self.unit is Unit.RAW and self.kind not in (Kind.TARGET, Kind.CONTRAST):
            raise ValueError(f"{self.kind} has no length of its own: only differences of means come raw")

    def __str__(self) -> str:
        unit = "" if self.unit is Unit.BLOCK else f"{self.unit} "
        skill = f" of {self.skill}" if self.skill else ""
        return f"{unit}{self.kind}{skill}{'' if self.draw is None else f' {self.draw}'}"

    @classmethod
    def parse(cls, name: str) -> Direction:
        """The direction of that name. Raises KeyError where there is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise KeyError(f"no donor or direction is called '{name}'")
        unit, kind, skill, draw = match.groups()
        return cls(
            kind=Kind(kind),
            skill=skill or "",
            draw=None if draw is None else int(draw),
            unit=Unit(unit) if unit else Unit.BLOCK,
        )


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What one probe adds: `strength` times a direction at each of these blocks."""

    direction: Direction
    layers: tuple[int, ...]
    strength: float

    def edit(self) -> Edit:
        """The probe; `read_steering` is the inverse."""
        return steer(Stream.RESID_POST, self.layers, str(self.direction), self.strength)


def read_steering(probe: Probe) -> Steering | None:
    """What a probe adds to the stream at the last position; None where it does something else."""
    if not isinstance(probe, Edit) or probe.action is not Action.ADD or probe.positions != (-1,):
        return None
    if probe.blocks != probe.layers or probe.strength is None or probe.donor is None:
        return None
    return Steering(
        direction=Direction.parse(probe.donor), layers=probe.layers, strength=float(probe.strength)
    )


def families_of(skill: str) -> tuple[str, ...]:
    """The task families of a skill."""
    return SKILLS.get(skill, (skill,))


def side(answer: str) -> int:
    """+1 for an affirmative answer of the skill `stance`, -1 for a negative one. Raises ValueError for any other."""
    word = answer.strip().lower()
    if word not in AFFIRMATIVE | NEGATIVE:
        raise ValueError(f"the answer {answer!r} is neither affirmative nor negative")
    return 1 if word in AFFIRMATIVE else -1


STEERED_BLOCKS: Mapping[int, tuple[int, ...]] = {
    24: (2, 3, 8, 12, 16, 19, 21, 22, 23),
    28: (2, 3, 6, 14, 16, 19, 21, 25, 26, 27),
}
"""Blocks that the atlas steered or knocked out in its models of 24 and of 28 blocks."""
CONTROLLED_BLOCKS: Mapping[int, tuple[int, ...]] = {24: (2, 12, 19, 21), 28: (2, 6, 21, 26)}
"""Those that its claims name."""
SPLIT_BLOCKS: Mapping[int, tuple[int, ...]] = {24: (2, 21, 22, 23), 28: (2, 21, 25, 26, 27)}
"""Those over which it split a strength: what it took for hubs."""
N_STEERED = 7


def steered_blocks(n_layers: int) -> tuple[int, ...]:
    """The blocks that a steering experiment edits: the atlas's, or seven spread over the depth."""
    spread = {round((i + 0.5) * n_layers / N_STEERED - 0.5) for i in range(N_STEERED)}
    return STEERED_BLOCKS.get(n_layers) or tuple(sorted(spread))


def controlled_blocks(n_layers: int) -> tuple[int, ...]:
    """The blocks at which many random directions are drawn: the atlas's, or three of the seven."""
    return CONTROLLED_BLOCKS.get(n_layers) or (steered_blocks(n_layers)[1::2] or (0,))


def split_blocks(n_layers: int) -> tuple[int, ...]:
    """The blocks that share a strength: the atlas's, or the first of the seven and the last three."""
    blocks = steered_blocks(n_layers)
    return SPLIT_BLOCKS.get(n_layers) or tuple(sorted({blocks[0], *blocks[-3:]}))


def ladder(direction: Direction, blocks: Sequence[int], strengths: Sequence[float]) -> tuple[Edit, ...]:
    """One direction at each of these blocks by itself, at each strength."""
    return tuple(
        Steering(direction=direction, layers=(block,), strength=strength).edit()
        for block in blocks
        for strength in strengths
    )


def split(direction: Direction, blocks: Sequence[int], strengths: Sequence[float]) -> tuple[Edit, ...]:
    """One direction at all these blocks at once, each strength shared equally among them."""
    layers = tuple(blocks)
    return tuple(
        Steering(direction=direction, layers=layers, strength=strength / len(layers)).edit()
        for strength in strengths
    )
