"""A planted checkpoint without the huge constant in its stream: the same function, for edits in lengths of the stream.

The norms of `harness.planted.writers` are the identity because CONST, 2**15 at every token, drowns the squares of all
other dimensions. It drowns the length of the stream as well: a step of that length is no step of the model's. Here the
norms' epsilon takes its place:

    norm(x) = x 2**20 / sqrt(mean(x**2) + 2**40)

which is x to the last bit of float32 while the mean square is below 2**16. CONST stays, at 1, for what reads a
constant. A step along CONST moves those readers; no difference of means lies along it, as every token has the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.planted.checkpoint import new_directory, read_truth, write_truth
from harness.planted.writers import CONST, CONSTANT, NORM_WEIGHT

EPSILON = 2.0**40
LIGHT_NORM = 2.0**20
LIGHT_CONSTANT = 1.0
HEAVY_KINDS = ("massive", "random")
"""Kinds whose norms are not the identity."""

_READERS = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight")


def light_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors with CONST at LIGHT_CONSTANT, what reads it strengthened by as much, and gains for EPSILON."""
    light = {name: array.copy() for name, array in tensors.items()}
    light["model.embed_tokens.weight"][:, CONST] = LIGHT_CONSTANT
    for name, array in light.items():
        if name.endswith(_READERS):
            array[:, CONST] *= CONSTANT / LIGHT_CONSTANT
        elif name.endswith("norm.weight"):
            array *= LIGHT_NORM / NORM_WEIGHT
    return light


def save_light(source: str | Path, directory: str | Path) -> Path:
    """Write the planted checkpoint in `source` without the huge constant into `directory`; return the directory.

    Raises:
        ValueError: the norms of its kind are not the identity.
        FileNotFoundError: `source` is not a planted model.
        FileExistsError: the directory exists and is not empty.
    """
    from safetensors.numpy import load_file, save_file

    source = Path(source)
    truth = read_truth(source)
    if truth["kind"] in HEAVY_KINDS:
        raise ValueError(f"the kind {truth['kind']!r} needs its constant: its norms are not the identity")
    target = new_directory(directory)
    tensors = light_tensors(load_file(source / "model.safetensors"))
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["rms_norm_eps"] = EPSILON
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in source.glob("tokenizer*"):
        shutil.copyfile(path, target / path.name)
    return write_truth(target, {**truth, "light": True})
