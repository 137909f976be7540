"""What attention, MLP and their linear modules add. No torch."""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import MODULES, Probe, Stream, patch, zero
from harness.experiments.definition import MEAN, NOISE, RESAMPLE, Experiment
from harness.protocols import Protocol


def _sublayer_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    layers = range(anatomy.n_layers)
    if protocol is Protocol.PUBLISHED:
        return tuple(zero(Stream.MLP_OUT, layer) for layer in layers)
    return tuple(
        edit
        for stream in (Stream.ATTN_OUT, Stream.MLP_OUT)
        for layer in layers
        for edit in (
            zero(stream, layer),
            *(patch(stream, layer, donor) for donor in (MEAN, RESAMPLE, NOISE)),
        )
    )


def _module_sweep(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    of_heads = (Stream.Q, Stream.K, Stream.V)
    return tuple(
        zero(module, layer)
        for layer in range(anatomy.n_layers)
        for module in MODULES
        if anatomy.heads[layer] or module not in of_heads
    )


EXPERIMENTS = (
    Experiment(
        name="sublayer_sweep",
        probes=_sublayer_sweep,
        donors=(MEAN, RESAMPLE, NOISE),
        prompts_per_family=3,
    ),
    Experiment(
        name="module_sweep",
        probes=_module_sweep,
        reads_heads=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=1,
    ),
)
