"""Single attention heads. No torch."""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import Action, Edit, Probe, Site, Stream, patch, zero
from harness.experiments.definition import MEAN, RESAMPLE, Experiment
from harness.protocols import Protocol

SITE_LAYERS = 6
"""Layers at which the three sites are compared, as many as the 0.5B study had."""
ATLAS_LAYERS = {24: (2, 7, 8, 13, 21, 22), 28: (0, 1, 2, 3, 4, 5)}
"""Number of blocks -> those whose "heads" the atlas measured, at 0.5B and at 1.5B; elsewhere they are spread evenly."""


def _head_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    n_layers, heads = anatomy.n_layers, anatomy.heads
    if protocol is Protocol.PUBLISHED:
        raise ValueError("head_sweep has no published definition: head_sites measures what the atlas did")
    if len(heads) != n_layers or not sum(heads):
        raise ValueError(
            f"head_sweep needs the query heads of {n_layers} blocks, and at least one; got {heads}"
        )
    return tuple(zero(Stream.Z, layer, head) for layer in range(n_layers) for head in range(heads[layer]))


def _head_groups(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """The mean of each head, and of the query heads that share a key-value head."""
    edits: list[Probe] = []
    for layer, (n_heads, n_groups) in enumerate(zip(anatomy.heads, anatomy.kv_heads, strict=True)):
        edits += [patch(Stream.Z, layer, MEAN, head) for head in range(n_heads)]
        size = n_heads // n_groups if n_groups else 0
        for group in range(n_groups):
            sites = tuple(
                Site(layer=layer, stream=Stream.Z, head=head)
                for head in range(group * size, (group + 1) * size)
            )
            if size > 1:
                edits.append(Edit(sites=sites, action=Action.PATCH, donor=MEAN))
    return tuple(edits)


def _head_resample(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """Each head's z from another prompt of the family."""
    return tuple(
        patch(Stream.Z, layer, RESAMPLE, head)
        for layer in range(anatomy.n_layers)
        for head in range(anatomy.heads[layer])
    )


def _head_sites(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """Three things that were called a head: z, and as many channels of the attention's output and of the stream."""
    edits: list[Probe] = []
    for layer in ATLAS_LAYERS.get(anatomy.n_layers) or spread(anatomy.n_layers, SITE_LAYERS):
        n_heads = anatomy.heads[layer]
        width = anatomy.d_model // n_heads if n_heads else 0
        for head in range(n_heads):
            channels = tuple(range(head * width, (head + 1) * width))
            edits += [
                zero(Stream.Z, layer, head),
                zero(Stream.ATTN_OUT, layer, dims=channels),
                zero(Stream.RESID_POST, layer, dims=channels),
            ]
    return tuple(edits)


def spread(n_layers: int, n: int) -> tuple[int, ...]:
    """`n` layers from the first to the last, evenly; all where there are fewer."""
    if n_layers <= n:
        return tuple(range(n_layers))
    return tuple(round(i * (n_layers - 1) / (n - 1)) for i in range(n))


# head_groups and head_resample have the same prompts, which are among head_sweep's.
EXPERIMENTS = (
    Experiment(
        name="head_sweep",
        probes=_head_sweep,
        per_head=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=3,
    ),
    Experiment(
        name="head_groups",
        probes=_head_groups,
        reads_widths=True,
        donors=(MEAN,),
        protocols=(Protocol.SOUND,),
        prompts_per_family=2,
    ),
    Experiment(
        name="head_resample",
        probes=_head_resample,
        reads_heads=True,
        donors=(RESAMPLE,),
        protocols=(Protocol.SOUND,),
        prompts_per_family=2,
    ),
    Experiment(
        name="head_sites",
        probes=_head_sites,
        reads_widths=True,
        protocols=(Protocol.PUBLISHED,),
        prompts_per_family=1,
    ),
)
