"""Planted models: small Qwen2 or Llama checkpoints wired by hand, so that the truth about them is known.

    hub             one block is the hub                               harness.planted.hub
    null            every block has an exact twin, so none is          harness.planted.null
    copy_head       one head carries an earlier token to the end       harness.planted.copy_head
    redundant_pair  either of two blocks can be skipped, not both      harness.planted.redundant_pair
    fact            one MLP looks answers up, one head delivers them   harness.planted.fact
    late_read       early exit works from one block on                 harness.planted.late_read
    rounded         one block is the hub, but not in bfloat16          harness.planted.rounded
    massive         one MLP writes one huge number at token 0          harness.planted.massive
    steerable       one direction moves the answers, below one block   harness.planted.steerable
    two_skills      two skills, each along a direction of its own      harness.planted.two_skills
    adapter         adapters of known effect can teach it five skills  harness.planted.adapters
    random          random weights, nothing planted                    harness.planted.random_weights

`build_matched_null` stands beside them: the null of a checkpoint that is there already, harness.planted.matched_null.
`SteeredInBands` is a steerable model for the length bands, in harness.planted.steered_bands; `Steered` is the closed
form of what the steering experiments measure of a light model, in harness.planted.steered.

Each is built in seconds and saved as an ordinary checkpoint (config.json, model.safetensors, tokenizer)
with planted.json, which states the truth. Importing this package imports neither torch nor transformers;
building does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.experiments import EXPERIMENTS
from harness.planted.adapters import adapter_plan, build_adapter, keep_adapters
from harness.planted.checkpoint import TRUTH_FILE, read_truth, save_as_llama
from harness.planted.copy_head import build_copy_head, copy_head_plan
from harness.planted.fact import build_fact, fact_plan
from harness.planted.hub import build_hub, hub_plan
from harness.planted.late_read import build_late_read, late_read_plan
from harness.planted.light import save_light
from harness.planted.massive import build_massive, massive_plan
from harness.planted.matched_null import build_matched_null
from harness.planted.null import build_null, null_plan, twin_pairs
from harness.planted.random_weights import build_random
from harness.planted.redundant_pair import build_redundant_pair, redundant_pair_plan
from harness.planted.rounded import build_rounded, rounded_plan
from harness.planted.steerable import build_steerable, steerable_plan
from harness.planted.tokenizer import train_tokenizer
from harness.planted.two_skills import build_two_skills, two_skills_plan
from harness.planted.writers import Plan

__all__ = [
    "ARCHITECTURES",
    "BUILDERS",
    "PLANTED_FOR",
    "TRUTH_FILE",
    "Plan",
    "adapter_plan",
    "build",
    "build_adapter",
    "build_copy_head",
    "build_fact",
    "build_hub",
    "build_late_read",
    "build_massive",
    "build_matched_null",
    "build_null",
    "build_random",
    "build_redundant_pair",
    "build_rounded",
    "build_steerable",
    "build_two_skills",
    "copy_head_plan",
    "fact_plan",
    "hub_plan",
    "keep_adapters",
    "late_read_plan",
    "massive_plan",
    "null_plan",
    "read_plan",
    "read_truth",
    "redundant_pair_plan",
    "rounded_plan",
    "steerable_plan",
    "train_tokenizer",
    "twin_pairs",
    "two_skills_plan",
]

BUILDERS: Mapping[str, Callable[..., Path]] = {
    "adapter": build_adapter,
    "copy_head": build_copy_head,
    "fact": build_fact,
    "hub": build_hub,
    "late_read": build_late_read,
    "massive": build_massive,
    "null": build_null,
    "random": build_random,
    "redundant_pair": build_redundant_pair,
    "rounded": build_rounded,
    "steerable": build_steerable,
    "two_skills": build_two_skills,
}
"""Kind of planted model -> what builds it."""

ARCHITECTURES = ("qwen2", "llama")

PLANTED_FOR: Mapping[str, tuple[str, ...]] = {
    "layer_sweep": ("hub", "fact", "null"),
    "layer_sets": ("redundant_pair",),
    "early_exit": ("late_read",),
    "head_sweep": ("copy_head", "fact"),
    "head_groups": ("copy_head",),
    "head_resample": ("copy_head",),
    "head_sites": ("copy_head",),
    "sublayer_sweep": ("hub",),
    "sublayer_corrupt": ("hub", "fact"),
    "sublayer_clean": ("hub", "fact"),
    "module_sweep": ("hub",),
    "massive_writes": ("massive",),
    "hub_mechanism": ("massive",),
    "position_sweep": ("massive", "fact"),
    "attention_edges": ("copy_head",),
    "patching_noising": ("copy_head", "fact"),
    "patching_denoising": ("copy_head", "fact"),
    **dict.fromkeys(
        (
            *("layers_short", "layers_medium", "layers_long"),
            *("layers_natural", "layers_extended"),
        ),
        ("hub", "null"),
    ),
    "layers_bfloat16": ("rounded", "hub"),
    **dict.fromkeys(("steering_short", "steering_medium", "steering_long"), ("steerable",)),
    "steering_sweep": ("two_skills", "null"),
    "steering_controls": ("two_skills", "null"),
    "steering_stance": ("steerable", "null"),
    "steering_depth": ("steerable",),
    "steering_generation": ("steerable", "two_skills"),
    **dict.fromkeys((name for name, asked in EXPERIMENTS.items() if asked.adapters), ("adapter",)),
    "skip_latency": (),
}
"""Experiment -> the kinds on which it is known what it must find; `harness/tests/test_planted_*` find it and clear the
rest. A wall time has no site."""

_PLANS: Mapping[str, Callable[..., Plan]] = {
    "adapter": adapter_plan,
    "copy_head": copy_head_plan,
    "fact": fact_plan,
    "hub": hub_plan,
    "late_read": late_read_plan,
    "massive": massive_plan,
    "null": null_plan,
    "redundant_pair": redundant_pair_plan,
    "rounded": rounded_plan,
    "steerable": steerable_plan,
    "two_skills": two_skills_plan,
}


def build(
    kind: str, directory: str | Path, *, architecture: str = "qwen2", light: bool = False, **parameters: Any
) -> Path:
    """Build a planted model of `kind` in an empty or new `directory` and return the directory.

    Of architecture "llama" it is the same function without biases; see `harness.planted.checkpoint.save_as_llama`.
    With `light` it is the same function without a huge constant in the stream; see `harness.planted.light`.

    Raises:
        ValueError: the kind or the architecture is unknown, or a parameter is out of its range.
        FileExistsError: the directory is not empty.
    """
    if kind not in BUILDERS:
        raise ValueError(
            f"unknown kind of planted model {kind!r}: expected one of {', '.join(sorted(BUILDERS))}"
        )
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture of planted model {architecture!r}: expected one of {', '.join(ARCHITECTURES)}"
        )
    if light:
        with TemporaryDirectory() as scratch:
            return save_light(
                build(kind, Path(scratch) / "model", architecture=architecture, **parameters), directory
            )
    if architecture == "qwen2":
        return BUILDERS[kind](directory, **parameters)
    with TemporaryDirectory() as scratch:
        return save_as_llama(BUILDERS[kind](Path(scratch) / "model", **parameters), directory)


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
