"""Directions added to the residual stream at the last position. No torch.

Every list begins with strength 0, whose row is the unedited model in the metrics that the baseline does not keep.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.anatomy import Anatomy
from harness.edits import Edit, Probe
from harness.experiments.definition import Experiment
from harness.protocols import Protocol
from harness.steering import (
    Direction,
    Kind,
    Unit,
    controlled_blocks,
    families_of,
    ladder,
    split,
    split_blocks,
    steered_blocks,
)

STRENGTHS = (-2.0, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 2.0)
"""In lengths of the block's stream."""
RAW_STRENGTHS = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)
"""The atlas's, in lengths of the difference of means."""
CONTROL = 0.5
"""The strength at which directions are compared with their controls."""
N_RANDOM = 2
"""Random directions that are steered along in every block."""
N_CONTROLS = 20
"""Random directions at the blocks that claims name, as the ledger asks for."""
N_SHUFFLED = 2
N_PROFILED = 3
WRITTEN_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of texts, in lengths of the block's stream."""
RAW_WRITTEN_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The ledger's, in lengths of the difference of means."""
NEW_TOKENS = 24

FACTS = Direction(kind=Kind.TARGET, skill="factual_recall")
RAW_FACTS = Direction(kind=Kind.TARGET, skill="factual_recall", unit=Unit.RAW)
OTHER_TASK = Direction(kind=Kind.TARGET, skill="json_schema")
"""The wrong task of the atlas."""
STANCE = Direction(kind=Kind.CONTRAST, skill="stance")


def random_directions(count: int, unit: Unit = Unit.BLOCK) -> tuple[Direction, ...]:
    """The first draws."""
    return tuple(Direction(kind=Kind.RANDOM, draw=draw, unit=unit) for draw in range(count))


def shuffled_directions(of: Direction, count: int) -> tuple[Direction, ...]:
    """The first draws of a direction with its labels shuffled."""
    kind = Kind.SHUFFLED_TARGET if of.kind is Kind.TARGET else Kind.SHUFFLED_CONTRAST
    return tuple(Direction(kind=kind, skill=of.skill, draw=draw) for draw in range(count))


def _unsteered(direction: Direction, blocks: Sequence[int]) -> tuple[Edit, ...]:
    return ladder(direction, blocks[:1], (0.0,))


def _steering_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks, shared = steered_blocks(anatomy.n_layers), split_blocks(anatomy.n_layers)
    if protocol is Protocol.PUBLISHED:
        edits = ladder(RAW_FACTS, blocks, RAW_STRENGTHS) + split(RAW_FACTS, shared, RAW_STRENGTHS)
        return _distinct(_unsteered(RAW_FACTS, blocks) + edits)
    return _distinct(
        _unsteered(FACTS, blocks)
        + ladder(FACTS, blocks, STRENGTHS)
        + split(FACTS, shared, STRENGTHS[1:-1])
        + _controls(blocks, (-1.0, -CONTROL, CONTROL, 1.0), random_directions(N_RANDOM))
        + _controls(blocks, (-CONTROL, CONTROL), (OTHER_TASK, *shuffled_directions(FACTS, 1)))
    )


def _steering_controls(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks = controlled_blocks(anatomy.n_layers)
    return _distinct(
        _unsteered(FACTS, blocks)
        + ladder(FACTS, blocks, (-CONTROL, CONTROL))
        + _controls(blocks, (CONTROL,), random_directions(N_CONTROLS))  # as likely as their negatives
        + _controls(blocks, (-CONTROL, CONTROL), (OTHER_TASK, *shuffled_directions(FACTS, N_SHUFFLED)))
    )


def _steering_stance(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks = steered_blocks(anatomy.n_layers)
    controls = (*random_directions(N_RANDOM), FACTS, *shuffled_directions(STANCE, 1))
    return _distinct(
        _unsteered(STANCE, blocks)
        + ladder(STANCE, blocks, STRENGTHS)
        + _controls(blocks, (-CONTROL, CONTROL), controls)
    )


def _steering_depth(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    units = (Unit.BLOCK, Unit.FIXED)
    directions = [d for unit in units for d in random_directions(N_PROFILED, unit)]
    return _controls(range(anatomy.n_layers), (CONTROL,), directions)


def _steering_generation(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """At the first and the last of the blocks that claims name: an early and a late one."""
    named = controlled_blocks(anatomy.n_layers)
    blocks = tuple(dict.fromkeys((named[0], named[-1])))
    if protocol is Protocol.PUBLISHED:
        return _distinct(_unsteered(RAW_FACTS, blocks) + ladder(RAW_FACTS, blocks, RAW_WRITTEN_STRENGTHS))
    return _distinct(
        _unsteered(FACTS, blocks)
        + ladder(FACTS, blocks, WRITTEN_STRENGTHS)
        + _controls(blocks, WRITTEN_STRENGTHS, random_directions(1))
    )


def _controls(
    blocks: Sequence[int], strengths: Sequence[float], directions: Sequence[Direction]
) -> tuple[Edit, ...]:
    return tuple(edit for direction in directions for edit in ladder(direction, blocks, strengths))


def _distinct(edits: Sequence[Edit]) -> tuple[Probe, ...]:
    """On a model of a block or two, several of the blocks and sets are one."""
    return tuple(dict.fromkeys(edits))


def _names(*directions: Direction) -> tuple[str, ...]:
    return tuple(map(str, directions))


SOUND_ONLY = (Protocol.SOUND,)

EXPERIMENTS = (
    Experiment(
        name="steering_sweep",
        probes=_steering_sweep,
        families=("factual_recall", "copying", "code_syntax"),
        donors=_names(
            FACTS, RAW_FACTS, OTHER_TASK, *random_directions(N_RANDOM), *shuffled_directions(FACTS, 1)
        ),
        contrasted=True,
        prompts_per_family=20,
    ),
    Experiment(
        name="steering_controls",
        probes=_steering_controls,
        families=("factual_recall", "copying", "code_syntax"),
        donors=_names(
            FACTS, OTHER_TASK, *random_directions(N_CONTROLS), *shuffled_directions(FACTS, N_SHUFFLED)
        ),
        contrasted=True,
        protocols=SOUND_ONLY,
        prompts_per_family=20,
    ),
    Experiment(
        name="steering_stance",
        probes=_steering_stance,
        families=(*families_of("stance"), "factual_recall"),
        donors=_names(STANCE, FACTS, *random_directions(N_RANDOM), *shuffled_directions(STANCE, 1)),
        contrasted=True,
        protocols=SOUND_ONLY,
        prompts_per_family=20,
    ),
    Experiment(
        name="steering_depth",
        probes=_steering_depth,
        donors=_names(*random_directions(N_PROFILED), *random_directions(N_PROFILED, Unit.FIXED)),
        protocols=SOUND_ONLY,
        prompts_per_family=2,
    ),
    Experiment(
        name="steering_generation",
        probes=_steering_generation,
        families=("factual_recall", "copying", "code_syntax"),
        donors=_names(FACTS, RAW_FACTS, *random_directions(1)),
        generates=NEW_TOKENS,
        prompts_per_family=6,
    ),
)
"""The protocols share their donors, as they share all that is not a probe."""
