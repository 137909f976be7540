"""What attention, MLP and their linear modules add. No torch.

`sublayer_corrupt` and `sublayer_clean` are the two ablations of the atlas's six that need a pair of prompts: what a
sublayer adds in the other prompt of the pair, whose tokens are as many, at every position. Their questions are
sublayer_sweep's; in `sublayer_clean` it is the corrupt prompt that is run, and its prediction that is moved.
"""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import MODULES, Probe, Stream, patch, zero
from harness.experiments.definition import CLEAN, CORRUPT, MEAN, NOISE, RESAMPLE, Experiment
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


def _from_pair(donor: str, anatomy: Anatomy) -> tuple[Probe, ...]:
    return tuple(
        patch(stream, layer, donor)
        for stream in (Stream.ATTN_OUT, Stream.MLP_OUT)
        for layer in range(anatomy.n_layers)
    )


def _sublayer_corrupt(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return _from_pair(CORRUPT, anatomy)


def _sublayer_clean(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return _from_pair(CLEAN, anatomy)


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
        name="sublayer_corrupt",
        probes=_sublayer_corrupt,
        donors=(CORRUPT,),
        protocols=(Protocol.SOUND,),
        prompts_per_family=3,
    ),
    Experiment(
        name="sublayer_clean",
        probes=_sublayer_clean,
        donors=(CLEAN,),
        runs="corrupt",
        protocols=(Protocol.SOUND,),
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
