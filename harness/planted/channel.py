"""Neurons that let planted blocks talk to each other: through CHANNEL, the spare dimensions of the stream.

In the algebra of `harness.planted.writers` blocks read token embeddings alone, and the spare dimensions stay
zero. A model that needs one block to read another has the first neurons of the MLPs concerned wired by hand:
they read and write any dimension, CHANNEL among them. Their constants come from CONST, which the norms hand
on exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.planted.writers import CONST, CONSTANT, D_MODEL, D_READ, D_WRITE, Writer

D_CHANNEL = 6
CHANNEL = slice(D_READ + D_WRITE, D_READ + D_WRITE + D_CHANNEL)

OPEN = 32.0
"""A gate that is its own silu in float32, and whose negative's silu is below 1e-12."""


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The first neurons of an MLP: each adds silu(gate . x) (up . x) down to the stream x."""

    gate: Float[np.ndarray, "neurons d_model"]
    up: Float[np.ndarray, "neurons d_model"]
    down: Float[np.ndarray, "d_model neurons"]


def idle_neurons(count: int) -> Neurons:
    """Neurons that do nothing, to be wired."""
    return Neurons(
        gate=np.zeros((count, D_MODEL)), up=np.zeros((count, D_MODEL)), down=np.zeros((D_MODEL, count))
    )


def read_constant(weights: Float[np.ndarray, "neurons d_model"], value: float) -> None:
    """Let these rows of a gate or of an up matrix read `value`, whatever the stream holds."""
    weights[:, CONST] = value / CONSTANT


def without_neurons(writer: Writer, count: int) -> Writer:
    """The writer with the first `count` neurons of its MLP silenced, free to be wired."""
    down = writer.down.copy()
    down[:, :count] = 0.0
    return replace(writer, down=down)


def wire_neurons(tensors: dict[str, np.ndarray], block: int, neurons: Neurons) -> None:
    """Put `neurons` in the place of the first ones of a block's MLP."""
    count = len(neurons.gate)
    mlp = f"model.layers.{block}.mlp"
    tensors[f"{mlp}.gate_proj.weight"][:count] = neurons.gate
    tensors[f"{mlp}.up_proj.weight"][:count] = neurons.up
    tensors[f"{mlp}.down_proj.weight"][:, :count] = neurons.down
