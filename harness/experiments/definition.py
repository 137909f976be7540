"""Experiments: each is a list of probes over the suite's prompts, under one of two protocols. No torch.

| experiment  | published                                   | sound                                  |
|-------------|---------------------------------------------|----------------------------------------|
| layer_sweep | erase each block: resid_post := 0           | skip each block: resid_post := resid_pre |
| layer_sets  | erase every block of a set                  | skip every block of a set              |
| early_exit  | unembed resid_post without the final norm   | with the final norm                    |
| skip_latency| time a run, middle third erased by hooks    | time a run, middle third routed around |
| head_sweep  | not measured yet                            | zero z of each query head of each block |
| massive_writes | the atlas has none                       | zero what each MLP adds to one number of token 0 |
| hub_mechanism  | the atlas has none                       | set, zero and move that number: see MechanismEdit |

The atlas zeroed something else at each scale where it wrote "head" (channels of the attention's output, heads before
the output projection, channels of the stream); these sites follow with the chapter on its claims about heads.

Sources of the published definitions: the atlas's scripts as described in the project's ledger, sections 1, 21. Massive
activations: Sun, Chen, Kolter & Liu 2024 (arXiv:2402.17762).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from harness.anatomy import Anatomy
from harness.edits import Edit, Exit, Probe, Stream, erase, patch, skip, to_json, zero
from harness.mechanism import mechanism_edits
from harness.protocols import Protocol

SUITE = "full"
PROMPTS_PER_FAMILY = 10
SEEDS = (42, 137, 2026)

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
    The probes of a `per_head` experiment depend on the heads of each block; it alone can be screened. Those of one
    `at_massive` depend on where the model writes its massive activation; `reads_rise` adds by how much each MLP
    raises it.
    """

    name: str
    probes: Callable[[Protocol, Anatomy], tuple[Probe, ...]]
    constancy: bool = False
    timed: bool = False
    per_head: bool = False
    at_massive: bool = False
    reads_rise: bool = False
    protocols: tuple[Protocol, ...] = tuple(Protocol)
    prompts_per_family: int = PROMPTS_PER_FAMILY
    revision: int = 1

    def definition(self, protocol: Protocol, anatomy: Anatomy) -> str:
        """Digest of what this experiment measures on a model of this anatomy, its controls included."""
        value = {
            "name": self.name,
            "protocol": str(protocol),
            "suite": SUITE,
            "prompts_per_family": self.prompts_per_family,
            "revision": self.revision,
            "constancy": self.constancy,
            **({"reads_rise": True} if self.reads_rise else {}),
            "probes": [to_json(p) for p in self.probes(protocol, anatomy)],
        }
        if not self.timed:
            value["controls"] = [to_json(c) for c in controls(anatomy.n_layers)]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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


def _head_sweep(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    n_layers, heads = anatomy.n_layers, anatomy.heads
    if protocol is Protocol.PUBLISHED:
        raise ValueError("head_sweep has no published definition yet: the atlas's own sites are to be added")
    if len(heads) != n_layers or not sum(heads):
        raise ValueError(
            f"head_sweep needs the query heads of {n_layers} blocks, and at least one; got {heads}"
        )
    return tuple(zero(Stream.Z, layer, head) for layer in range(n_layers) for head in range(heads[layer]))


def _massive_writes(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    dims = (anatomy.needed_massive.dim,)
    return tuple(zero(Stream.MLP_OUT, layer, positions=(0,), dims=dims) for layer in range(anatomy.n_layers))


def _hub_mechanism(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    edits = mechanism_edits(anatomy.needed_massive, anatomy.n_layers)
    return tuple(dict.fromkeys(edit for group in edits.values() for edit in group))


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
}


def find_experiment(name: str) -> Experiment:
    """The experiment of that name. Raises UnknownExperiment, listing the known ones."""
    if name not in EXPERIMENTS:
        raise UnknownExperiment(f"no experiment '{name}'; known: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


NO_OP = patch(Stream.RESID_POST, 0, "self")
"""Negative control: a block's output replaced by itself. What it moves is the numeric floor of the run."""


def unread_position(n_layers: int) -> Edit:
    """Negative control: after the last block only the last position is read; another position's value cannot matter."""
    return zero(Stream.RESID_POST, n_layers - 1, positions=(0,))


def skip_everything(n_layers: int) -> Edit:
    """Positive control: every block skipped. An instrument that does not see this sees nothing."""
    return skip(*range(n_layers))


def controls(n_layers: int) -> tuple[Edit, Edit, Edit]:
    """The edits every sweep makes beside its probes: two that can do nothing, and one that must do much."""
    return NO_OP, unread_position(n_layers), skip_everything(n_layers)
