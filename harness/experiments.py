"""Experiments: each is a list of probes over the suite's prompts, under one of two protocols. No torch.

| experiment  | published                                   | sound                                  |
|-------------|---------------------------------------------|----------------------------------------|
| layer_sweep | erase each block: resid_post := 0           | skip each block: resid_post := resid_pre |
| layer_sets  | erase every block of a set                  | skip every block of a set              |
| early_exit  | unembed resid_post without the final norm   | with the final norm                    |
| skip_latency| time a run, middle third erased by hooks    | time a run, middle third routed around |
| head_sweep  | not measured yet                            | zero z of each query head of each block |

The atlas zeroed something else at each scale where it wrote "head" (channels of the attention's output, heads before
the output projection, channels of the stream); these sites follow with the chapter on its claims about heads.

Sources of the published definitions: the atlas's scripts as described in the project's ledger, sections 1, 21.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from harness.edits import Edit, Exit, Probe, erase, patch, skip, to_json, zero
from harness.edits import Stream as _Stream
from harness.protocols import Protocol

SUITE = "full"
PROMPTS_PER_FAMILY = 10
SEEDS = (42, 137, 2026)

Heads = tuple[int, ...]
"""Query heads per block, 0 where the operator has none (LFM2's convolutions)."""

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


class UnknownExperiment(KeyError):
    """No experiment of that name."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A named list of probes.

    `revision` counts changes of what is measured that the probes alone do not show; raising it makes recorded
    evidence stale. `constancy` adds the metrics that say whether an edited output still depends on the prompt.
    The probes of a `per_head` experiment depend on the heads of each block; it alone can be screened.
    """

    name: str
    probes: Callable[[Protocol, int, Heads], tuple[Probe, ...]]
    constancy: bool = False
    timed: bool = False
    per_head: bool = False
    protocols: tuple[Protocol, ...] = tuple(Protocol)
    prompts_per_family: int = PROMPTS_PER_FAMILY
    revision: int = 1

    def definition(self, protocol: Protocol, n_layers: int, heads: Heads = ()) -> str:
        """Digest of what this experiment measures on a model of `n_layers` blocks (with these query heads)."""
        value = {
            "name": self.name,
            "protocol": str(protocol),
            "suite": SUITE,
            "prompts_per_family": self.prompts_per_family,
            "revision": self.revision,
            "constancy": self.constancy,
            "probes": [to_json(p) for p in self.probes(protocol, n_layers, heads)],
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _remove(protocol: Protocol, layers: tuple[int, ...]) -> Edit:
    return erase(*layers) if protocol is Protocol.PUBLISHED else skip(*layers)


def _layer_sweep(protocol: Protocol, n_layers: int, _: Heads) -> tuple[Probe, ...]:
    return tuple(_remove(protocol, (layer,)) for layer in range(n_layers))


def _layer_sets(protocol: Protocol, n_layers: int, _: Heads) -> tuple[Probe, ...]:
    return tuple(_remove(protocol, layers) for layers in layer_sets(n_layers))


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


def _early_exit(protocol: Protocol, n_layers: int, _: Heads) -> tuple[Probe, ...]:
    return tuple(Exit(layer=layer, normed=protocol is Protocol.SOUND) for layer in range(n_layers))


def _skip_latency(protocol: Protocol, n_layers: int, _: Heads) -> tuple[Probe, ...]:
    third = n_layers // 3
    return (_remove(protocol, tuple(range(third, max(2 * third, third + 1)))),)  # at least one block


def _head_sweep(protocol: Protocol, n_layers: int, heads: Heads) -> tuple[Probe, ...]:
    if protocol is Protocol.PUBLISHED:
        raise ValueError("head_sweep has no published definition yet: the atlas's own sites are to be added")
    if len(heads) != n_layers or not sum(heads):
        raise ValueError(
            f"head_sweep needs the query heads of {n_layers} blocks, and at least one; got {heads}"
        )
    return tuple(zero(_Stream.Z, layer, head) for layer in range(n_layers) for head in range(heads[layer]))


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment(name="layer_sweep", probes=_layer_sweep, constancy=True),
        Experiment(name="layer_sets", probes=_layer_sets),
        Experiment(name="early_exit", probes=_early_exit),
        Experiment(name="skip_latency", probes=_skip_latency, timed=True, prompts_per_family=2, revision=2),
        Experiment(
            name="head_sweep",
            probes=_head_sweep,
            per_head=True,
            protocols=(Protocol.SOUND,),
            prompts_per_family=3,
        ),
    )
}


def find_experiment(name: str) -> Experiment:
    """The experiment of that name. Raises UnknownExperiment, listing the known ones."""
    if name not in EXPERIMENTS:
        raise UnknownExperiment(f"no experiment '{name}'; known: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


NO_OP: Probe = patch(_Stream.RESID_POST, 0, "self")
"""Negative control: a block's output replaced by itself. What it moves is the numeric floor of the run."""


def skip_everything(n_layers: int) -> Probe:
    """Positive control: every block skipped. An instrument that does not see this sees nothing."""
    return skip(*range(n_layers))
