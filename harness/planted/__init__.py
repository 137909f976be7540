"""Planted models: small Qwen2 checkpoints wired by hand, so that the truth about them is known.

    hub     one block is the hub                               harness.planted.hub
    null    every block has an exact twin, so none is          harness.planted.null
    random  random weights, nothing planted                    harness.planted.random_weights

Each is built in seconds and saved as an ordinary checkpoint (config.json, model.safetensors, tokenizer)
with planted.json, which states the truth. Importing this package imports neither torch nor transformers;
building does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.planted.checkpoint import TRUTH_FILE, read_truth
from harness.planted.hub import build_hub, hub_plan
from harness.planted.null import build_null, null_plan, twin_pairs
from harness.planted.random_weights import build_random
from harness.planted.tokenizer import train_tokenizer
from harness.planted.writers import Plan

__all__ = [
    "BUILDERS",
    "TRUTH_FILE",
    "Plan",
    "build",
    "build_hub",
    "build_null",
    "build_random",
    "hub_plan",
    "null_plan",
    "read_plan",
    "read_truth",
    "train_tokenizer",
    "twin_pairs",
]

BUILDERS: Mapping[str, Callable[..., Path]] = {"hub": build_hub, "null": build_null, "random": build_random}
"""Kind of planted model -> what builds it."""

_PLANS: Mapping[str, Callable[..., Plan]] = {"hub": hub_plan, "null": null_plan}


def build(kind: str, directory: str | Path, **parameters: Any) -> Path:
    """Build a planted model of `kind` in an empty or new `directory` and return the directory.

    Raises:
        ValueError: the kind is unknown, or a parameter is out of its range.
        FileExistsError: the directory is not empty.
    """
    if kind not in BUILDERS:
        raise ValueError(
            f"unknown kind of planted model {kind!r}: expected one of {', '.join(sorted(BUILDERS))}"
        )
    return BUILDERS[kind](directory, **parameters)


def read_plan(directory: str | Path) -> Plan:
    """Recompute the plan of a planted model from planted.json: the closed form of its logits and effects.

    It does not read the weights, so it says what the checkpoint ought to do, not what it does.

    Raises:
        FileNotFoundError: the directory is not a planted model.
        ValueError: the model's kind has no closed form.
    """
    truth = read_truth(directory)
    kind = truth["kind"]
    if kind not in _PLANS:
        raise ValueError(
            f"a planted model of kind {kind!r} has no closed form: only {', '.join(sorted(_PLANS))} have"
        )
    return _PLANS[kind](vocab_size=truth["vocab_size"], **truth["parameters"])
