"""Attention edges into the last position, cut by the class of their source and by a window of blocks. No torch.

Geva et al. 2023 ("Dissecting recall of factual associations in auto-regressive language models", arXiv:2304.14767): the
last position is kept from attending to some positions in a window of consecutive blocks; the rest of the run follows.
What is lost is what it read there, and nothing is written to any activation. Token 0, where much attention merely
rests, is a class of its own. The atlas has no such measurement.
"""

from __future__ import annotations

from itertools import pairwise

from harness.anatomy import Anatomy
from harness.edits import Probe, cut
from harness.experiments.definition import Experiment
from harness.protocols import Protocol

EDGES = "attention_edges"
SOURCES = ("first", "instruction", "content", "operator", "delimiter")
"""Classes of `tasks.spots` that can be a source: all but the last position."""
WINDOWS = 6
"""Windows that the depth is cut into, a sixth each."""


def windows(n_layers: int) -> tuple[tuple[int, ...], ...]:
    """The blocks in WINDOWS runs of about equal length, ascending; of one block each where there are fewer."""
    n = min(WINDOWS, n_layers)
    ends = [round(n_layers * i / n) for i in range(n + 1)]
    return tuple(tuple(range(a, b)) for a, b in pairwise(ends))


def _attention_edges(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """Each class, then all other positions, cut in each window and in all blocks; convolutions have no edges."""
    everywhere = tuple(range(anatomy.n_layers))
    runs = [
        tuple(layer for layer in run if anatomy.heads[layer])
        for run in (*windows(anatomy.n_layers), everywhere)
    ]
    return tuple(cut(*run, spot=spot) for spot in (*SOURCES, None) for run in dict.fromkeys(runs) if run)


EXPERIMENTS = (
    Experiment(
        name=EDGES,
        probes=_attention_edges,
        reads_heads=True,
        spotted=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=3,
    ),
)
