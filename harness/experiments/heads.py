"""Single attention heads. No torch."""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import Probe, Stream, zero
from harness.experiments.definition import Experiment
from harness.protocols import Protocol


def _head_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    n_layers, heads = anatomy.n_layers, anatomy.heads
    if protocol is Protocol.PUBLISHED:
        raise ValueError("head_sweep has no published definition yet: the atlas's own sites are to be added")
    if len(heads) != n_layers or not sum(heads):
        raise ValueError(
            f"head_sweep needs the query heads of {n_layers} blocks, and at least one; got {heads}"
        )
    return tuple(zero(Stream.Z, layer, head) for layer in range(n_layers) for head in range(heads[layer]))


EXPERIMENTS = (
    Experiment(
        name="head_sweep",
        probes=_head_sweep,
        per_head=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=3,
    ),
)
