"""The contenders: each tool in its usual loop and in its best batched mode, behind one small interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from jaxtyping import Float

from harness.bench.workload import BenchPrompt, SimpleEdit

OURS = "ours"


class Contender(Protocol):
    """A tool with the model loaded. The class is called with the checkpoint's folder, in Hugging Face format."""

    def prepare(self, prompts: Sequence[BenchPrompt]) -> None:
        """Take these prompts and compute what is computed once, such as the unedited distributions. Not timed."""

    def run(self, edits: Sequence[SimpleEdit], prompts: Sequence[int]) -> Float[np.ndarray, "edit prompt"]:
        """KL(unedited || edited), nats, at the last position, of these edits on these prompts. Timed."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A contender's name, what the table calls it, and how its sample is dealt out over the rounds.

    `samples_prompts`: a loop, timed on some of the prompts only. `deal`: whether a round gets a share of the
    sampled edits (with every sampled prompt) or a share of the sampled prompts (with every sampled edit).
    `package`: the distribution whose version is reported.
    """

    name: str
    tool: str
    mode: str
    module: str
    factory: str
    package: str
    samples_prompts: bool = True
    deal: Literal["edits", "prompts"] = "edits"

    def build(self, checkpoint: Path) -> Contender:
        """Import the tool and load the model. Raises whatever the tool raises."""
        module: Any = import_module(f"harness.bench.contenders.{self.module}")
        return cast("Contender", getattr(module, self.factory)(checkpoint))


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name=OURS,
        tool="claims-suite",
        mode="sweep",
        module="ours",
        factory="Sweep",
        package="claims-suite",
        samples_prompts=False,
    ),
    Entry(
        name="hooks-batched",
        tool="transformers + forward hooks",
        mode="padded batch",
        module="hooks",
        factory="Batched",
        package="transformers",
        samples_prompts=False,
    ),
    Entry(
        name="hooks-loop",
        tool="transformers + forward hooks",
        mode="loop",
        module="hooks",
        factory="Loop",
        package="transformers",
    ),
    Entry(
        name="transformer-lens-batched",
        tool="TransformerLens",
        mode="padded batch",
        module="transformer_lens",
        factory="Batched",
        package="transformer-lens",
        samples_prompts=False,
    ),
    Entry(
        name="transformer-lens-loop",
        tool="TransformerLens",
        mode="loop",
        module="transformer_lens",
        factory="Loop",
        package="transformer-lens",
    ),
    Entry(
        name="nnsight-batched",
        tool="nnsight",
        mode="padded batch",
        module="nnsight",
        factory="Batched",
        package="nnsight",
        samples_prompts=False,
    ),
    Entry(
        name="nnsight-invokes",
        tool="nnsight",
        mode="30 invokes a trace",
        module="nnsight",
        factory="Invokes",
        package="nnsight",
        deal="prompts",
    ),
    Entry(
        name="nnsight-loop",
        tool="nnsight",
        mode="loop",
        module="nnsight",
        factory="Loop",
        package="nnsight",
    ),
    Entry(
        name="pyvene-batched",
        tool="pyvene",
        mode="padded batch",
        module="pyvene",
        factory="Batched",
        package="pyvene",
        samples_prompts=False,
    ),
    Entry(
        name="pyvene-loop",
        tool="pyvene",
        mode="loop",
        module="pyvene",
        factory="Loop",
        package="pyvene",
    ),
)


def find_entry(name: str) -> Entry:
    """The contender of that name. Raises KeyError that lists the known ones."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise KeyError(f"no contender is named {name!r}; choose from: {', '.join(e.name for e in ENTRIES)}")
