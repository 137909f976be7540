"""The massive activation: where it is written, and what that one number does. No torch."""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import Probe, Stream, zero
from harness.experiments.definition import Experiment
from harness.mechanism import mechanism_edits
from harness.protocols import Protocol


def _massive_writes(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    dims = (anatomy.needed_massive.dim,)
    return tuple(zero(Stream.MLP_OUT, layer, positions=(0,), dims=dims) for layer in range(anatomy.n_layers))


def _hub_mechanism(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    edits = mechanism_edits(anatomy.needed_massive, anatomy.n_layers)
    return tuple(dict.fromkeys(edit for group in edits.values() for edit in group))


EXPERIMENTS = (
    Experiment(
        name="massive_writes",
        probes=_massive_writes,
        at_massive=True,
        reads_rise=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=3,
    ),
    Experiment(
        name="hub_mechanism",
        probes=_hub_mechanism,
        at_massive=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=3,
    ),
)
