"""Classes of token positions: what each sublayer adds there, one class at a time. No torch.

The atlas zeroed the whole stream after a block at one position at a time, or at all positions of a class; a position
without a stream is an unusual key and value to every later block. Zeroing what one sublayer adds there leaves the
stream itself in place. The two classes of one token need no normalisation; `PromptRecord.n_in_spots` counts the others.
"""

from __future__ import annotations

from dataclasses import replace

from harness.anatomy import Anatomy
from harness.edits import Probe, Stream, patch, zero
from harness.experiments.definition import MEAN, Experiment
from harness.protocols import Protocol

_CONTRIBUTIONS = (Stream.ATTN_OUT, Stream.MLP_OUT)


def _position_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """Every class at every block; under `sound` also the mean over other prompts at the first token."""
    from tasks.spots import SPOTS  # which imports numpy: cards import this module

    layers = range(anatomy.n_layers)
    streams = (Stream.RESID_POST,) if protocol is Protocol.PUBLISHED else _CONTRIBUTIONS
    zeroed = [
        replace(zero(stream, layer), spot=spot) for stream in streams for spot in SPOTS for layer in layers
    ]
    if protocol is Protocol.PUBLISHED:
        return tuple(zeroed)
    means = [replace(patch(stream, layer, MEAN), spot="first") for stream in streams for layer in layers]
    return (*zeroed, *means)


EXPERIMENTS = (
    Experiment(
        name="position_sweep",
        probes=_position_sweep,
        donors=(MEAN,),
        spotted=True,
        prompts_per_family=2,
    ),
)
