"""Adapters of each rank, block by block: what their own part in each does, and each MLP under them. No torch.

The atlas zeroed the MLP of L0 under adapters of five ranks, and put what that did beside what all MLPs did. Here every
MLP is zeroed under each of them, and beside it the adapter is switched off in each block alone, on held-out prompts of
the adapters' own family; that of the largest rank also at a half, a quarter and an eighth of its weight, so that it can
be compared with one of the first rank where it does as much. Prompts of another family are there for the control that
tells tasks apart.
"""

from __future__ import annotations

from harness.adapters.values import Adapted, Part
from harness.anatomy import Anatomy
from harness.edits import Probe, Stream, zero
from harness.experiments.adapters import FAMILIES, JSON, RECIPES_BY_RANK
from harness.experiments.definition import Experiment
from harness.protocols import Protocol

CODE = FAMILIES[2]
WEIGHTS = (0.125, 0.25, 0.5, 1.0)
"""Of the adapter of the largest rank. Effects grow with about the square, and fall again where answers are certain."""


def _rank_blocks(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks = range(anatomy.n_layers)
    states = [(Part(family=JSON, recipe=recipe),) for recipe in RECIPES_BY_RANK]
    return (
        *(Adapted(parts=on, off=(b,), against="whole") for on in states for b in blocks),
        *(Adapted(parts=on, edit=zero(Stream.MLP_OUT, b), against="whole") for on in states for b in blocks),
        *(Adapted(parts=on, off=(b,), against="whole") for on in _lighter() for b in blocks),
    )


def _lighter() -> list[tuple[Part, ...]]:
    largest = RECIPES_BY_RANK[-1]
    return [(Part(family=JSON, recipe=largest, weight=weight),) for weight in WEIGHTS if weight != 1.0]


EXPERIMENTS = (
    Experiment(
        name="adapter_rank_blocks",
        probes=_rank_blocks,
        adapters=True,
        held_out=True,
        families=(JSON, CODE),
        protocols=(Protocol.SOUND,),
        prompts_per_family=12,
    ),
)
