"""Whole blocks removed, one or several, and the model read out early. No torch."""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import Edit, Exit, Probe, erase, skip
from harness.experiments.definition import Experiment
from harness.protocols import Protocol

ATLAS_SETS: tuple[tuple[int, ...], ...] = (
    (15,),
    (4,),
    (8,),
    (4, 5, 6, 7, 8),
    (4, 5, 6, 7, 8, 15),
    (3, 4, 5),
    (10, 11, 12),
    (14, 15, 16),
    (4, 5, 8, 11, 15, 16),
    (4, 5, 8, 10, 11, 14, 15, 16),
)
"""The ten skip sets of the 0.5B study; the 1.5B study reused four of them."""


def _remove(protocol: Protocol, layers: tuple[int, ...]) -> Edit:
    return erase(*layers) if protocol is Protocol.PUBLISHED else skip(*layers)


def _layer_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return tuple(_remove(protocol, (layer,)) for layer in range(anatomy.n_layers))


def _layer_sets(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return tuple(_remove(protocol, layers) for layers in layer_sets(anatomy.n_layers))


def layer_sets(n_layers: int) -> tuple[tuple[int, ...], ...]:
    """The sets of blocks removed together: the atlas's, and depth-relative ones that fit any model.

    Relative: contiguous thirds, every other block, the first and the last sixth (the 3B study's sets).
    """
    third, sixth = n_layers // 3, max(1, n_layers // 6)
    relative = (
        tuple(range(third)),
        tuple(range(third, 2 * third)),
        tuple(range(2 * third, n_layers)),
        tuple(range(0, n_layers - 1, 2)),
        tuple(range(sixth)),
        tuple(range(n_layers - sixth, n_layers)),
    )
    fitting = [s for s in ATLAS_SETS if max(s) < n_layers]
    return tuple(dict.fromkeys([*fitting, *(s for s in relative if s)]))


def _early_exit(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return tuple(Exit(layer=layer, normed=protocol is Protocol.SOUND) for layer in range(anatomy.n_layers))


def _skip_latency(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    third = anatomy.n_layers // 3
    return (_remove(protocol, tuple(range(third, max(2 * third, third + 1)))),)  # at least one block


EXPERIMENTS = (
    Experiment(name="layer_sweep", probes=_layer_sweep, constancy=True),
    Experiment(name="layer_sets", probes=_layer_sets),
    Experiment(name="early_exit", probes=_early_exit),
    Experiment(name="skip_latency", probes=_skip_latency, timed=True, prompts_per_family=2, revision=2),
)
