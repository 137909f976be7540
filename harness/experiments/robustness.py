"""Does what is true of the suite hold on other prompts: longer, worded otherwise, of further families? No torch.

The bands ask the same questions with a longer and longer context before them (`tasks.bands`), in the four families of
the atlas's length study. Its "long" prompts have 40 to 100 tokens, which is `medium` here. One prompt of 1,000 tokens
costs what 70 of the suite do, so a band has the fewer questions the longer it is: those of a longer band are among
those of every shorter one.

`steering_short` to `steering_long` add the factual direction to the questions of three bands. It is the one of
`steering_sweep`, computed on bare development prompts. An edit at the last position costs a row, however long the
prompt; four questions a family use each of a band's lengths once.

`layers_extended` measures the four families that the suite `extended` adds; the other twelve are layer_sweep's.
`layers_bfloat16` asks the prompts of layer_sweep of the same weights, rounded. Rounded are the weights and what each
block computes; the stream between blocks stays in float32, as everywhere in the engine.
"""

from __future__ import annotations

from harness.anatomy import Anatomy
from harness.edits import Probe, Stream, erase, skip, zero
from harness.experiments.definition import Experiment
from harness.experiments.steering import CONTROL, FACTS, N_RANDOM, random_directions
from harness.protocols import Protocol
from harness.steering import controlled_blocks, ladder

LENGTH_FAMILIES = ("copying", "json_schema", "factual_recall", "code_semantics")
"""Of the suites `short`, `medium` and `long`: those of the atlas's length study."""
STEERED_FAMILIES = ("factual_recall", "copying")
"""Of the same suites: the skill that is steered, and another one."""
BAND_STRENGTHS = (-CONTROL, CONTROL, 1.0)
ADDED_FAMILIES = (
    "instruction_following",
    "string_decoding",
    "constant_folding",
    "control_flow_simplification",
)
"""What `extended` has beyond `full`."""
NARROW_FAMILIES = (
    "copying",
    "delimiter_tracking",
    "json_schema",
    "factual_recall",
    "arithmetic",
    "code_syntax",
    "code_semantics",
    "dead_code",
)
"""Of the suite `narrow`: those of the atlas's first study of Qwen2.5-1.5B."""
REWORDED_FAMILIES = (
    "copying",
    "delimiter_tracking",
    "json_schema",
    "factual_recall",
    "arithmetic",
    "code_semantics",
)
"""Families of `full` that the suite `natural` asks in prose."""


def _blocks(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    remove = erase if protocol is Protocol.PUBLISHED else skip
    return tuple(remove(layer) for layer in range(anatomy.n_layers))


def _blocks_and_mlps(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    """Under published the blocks alone: an MLP is zeroed alike under both."""
    if protocol is Protocol.PUBLISHED:
        return _blocks(protocol, anatomy)
    mlps = tuple(zero(Stream.MLP_OUT, layer) for layer in range(anatomy.n_layers))
    return (*_blocks(protocol, anatomy), *mlps)


def _band(suite: str, prompts_per_family: int) -> Experiment:
    return Experiment(
        name=f"layers_{suite}",
        probes=_blocks_and_mlps,
        suite=suite,
        families=LENGTH_FAMILIES,
        prompts_per_family=prompts_per_family,
    )


def _steering(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks, drawn = controlled_blocks(anatomy.n_layers), random_directions(N_RANDOM)
    return (
        *ladder(FACTS, blocks[:1], (0.0,)),
        *ladder(FACTS, blocks, BAND_STRENGTHS),
        *(edit for way in drawn for edit in ladder(way, blocks, (-CONTROL, CONTROL))),
    )


def _steered_band(suite: str, prompts_per_family: int) -> Experiment:
    return Experiment(
        name=f"steering_{suite}",
        probes=_steering,
        suite=suite,
        families=STEERED_FAMILIES,
        donors=tuple(map(str, (FACTS, *random_directions(N_RANDOM)))),
        contrasted=True,
        protocols=(Protocol.SOUND,),
        prompts_per_family=prompts_per_family,
    )


EXPERIMENTS = (
    _band("short", 3),
    _band("medium", 2),
    _band("long", 1),
    _steered_band("short", 8),
    _steered_band("medium", 8),
    _steered_band("long", 4),
    Experiment(name="layers_natural", probes=_blocks, suite="natural", prompts_per_family=5),
    Experiment(
        name="layers_extended",
        probes=_blocks,
        suite="extended",
        families=ADDED_FAMILIES,
        prompts_per_family=5,
    ),
    Experiment(name="layers_bfloat16", probes=_blocks, dtype="bfloat16"),
)
