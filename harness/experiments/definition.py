"""What an experiment is: a named list of probes, and the controls that every sweep makes beside them. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.anatomy import Anatomy
from harness.edits import Edit, Probe, Stream, patch, skip, to_json, zero
from harness.protocols import Protocol

SUITE = "full"
PROMPTS_PER_FAMILY = 10
MEAN, NOISE, RESAMPLE, CORRUPT, CLEAN = "mean", "noise", "resample", "corrupt", "clean"
"""Donors; see `harness.donors`."""
SEEDS = (42, 137, 2026)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A named list of probes.

    `revision` is the version of what measures it: raised where its numbers change and its probes do not show it, which
    makes recorded evidence stale (`harness.measured_by`). `constancy` adds the metrics that say whether an edited
    output still depends on the prompt. The probes of a `per_head` experiment depend on the heads of each block; it
    alone can be screened. Those of one `at_massive` depend on where the model writes its massive activation;
    `reads_rise` adds by how much each MLP raises it.
    """

    name: str
    probes: Callable[[Protocol, Anatomy], tuple[Probe, ...]]
    constancy: bool = False
    timed: bool = False
    per_head: bool = False
    reads_heads: bool = False
    """Whether its probes depend on the heads of each block; those of a `per_head` experiment do."""
    reads_widths: bool = False
    """Whether its probes depend on the heads, the key-value heads and the width of the stream."""
    at_massive: bool = False
    reads_rise: bool = False
    suite: str = SUITE
    families: tuple[str, ...] = ()
    """Families of the suite that are drawn, () for all."""
    donors: tuple[str, ...] = ()
    """Names in `harness.donors`: where patches and additions take their values from."""
    contrasted: bool = False
    """Whether the answer is compared with its foil (`harness.effects.CONTRAST`)."""
    spotted: bool = False
    """Whether prompts carry the positions of their token classes (`tasks.spots`)."""
    runs: Literal["clean", "corrupt"] = "clean"
    """Which prompt of each pair is run; the answer is the clean one's in both cases."""
    paired: bool = False
    """Whether prompts carry the positions that their pair changes and shares (`harness.experiments.patching`); pairs
    that cannot be patched position by position are left out."""
    protocols: tuple[Protocol, ...] = tuple(Protocol)
    generates: int = 0
    """Tokens that are written after each prompt under every probe, and measured (`harness.degeneration.GENERATED`); of
    adapters, after each JSON prompt wherever they are wholly on (`harness.effects.VALID_JSON`)."""
    adapters: bool = False
    """Whether its probes are `harness.adapters.values.Adapted`, measured by `harness.adapters.measuring`."""
    reads_map: str = ""
    """The family by whose map of skips its probes choose blocks (`Anatomy.ranked`)."""
    held_out: bool = False
    """Whether prompts are drawn from those that no adapter is trained on (`harness.adapters.items`)."""
    prompts_per_family: int = PROMPTS_PER_FAMILY
    dtype: Literal["", "bfloat16", "float16"] = ""
    """The precision that it is measured in; "": that of the run."""
    revision: int = 1

    def definition(self, protocol: Protocol, anatomy: Anatomy) -> str:
        """Digest of what this experiment measures on a model of this anatomy, its controls included."""
        value = {
            "name": self.name,
            "protocol": str(protocol),
            "suite": self.suite,
            "prompts_per_family": self.prompts_per_family,
            "revision": self.revision,
            "constancy": self.constancy,
            **{
                name: value
                for name in _OPTIONAL
                if (value := getattr(self, name)) != getattr(Experiment, name)
            },
            "probes": [to_json(p) for p in self.probes(protocol, anatomy)],
        }
        if not self.timed:
            value["controls"] = [to_json(c) for c in controls(anatomy.n_layers)]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


_OPTIONAL = (
    *("reads_rise", "families", "donors", "contrasted", "spotted", "runs", "paired", "generates"),
    *("adapters", "held_out", "dtype"),
)
"""Fields that stand in the definition only where they say something."""


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
