"""Experiments: each is a list of probes over the suite's prompts, under one of two protocols. No torch.

| experiment  | published                                   | sound                                  |
|-------------|---------------------------------------------|----------------------------------------|
| layer_sweep | erase each block: resid_post := 0           | skip each block: resid_post := resid_pre |
| layer_sets  | erase every block of a set                  | skip every block of a set              |
| early_exit  | unembed resid_post without the final norm   | with the final norm                    |
| skip_latency| time a run, middle third erased by hooks    | time a run, middle third routed around |
| head_sweep  | see head_sites                              | zero z of each query head of each block |
| head_groups | the atlas has none                          | the mean of each head and key-value group |
| head_resample | the atlas has none                        | z of each head from another prompt of the family |
| head_sites  | z, and channels of two outputs called heads | - |
| sublayer_sweep | zero what each MLP adds      | zero, mean, resample, noise for what attention and MLP add |
| sublayer_corrupt, sublayer_clean | the run into itself | what they add in the other prompt of the pair |
| module_sweep | (the same) | zero the output of each linear module |
| massive_writes | the atlas has none                       | zero what each MLP adds to one number of token 0 |
| hub_mechanism  | the atlas has none                       | set, zero and move that number: see MechanismEdit |
| position_sweep | erase each block at a class of positions | zero what attention and MLP add there; mean at token 0 |
| attention_edges | the atlas has none | the last position kept from a class of positions, in a window of blocks |
| patching_noising | the clean run's whole stream, into itself | the corrupt run's activations into the clean run |
| patching_denoising | the same, into the corrupt run | the clean run's activations into the corrupt run |
| steering_sweep | add multiples of a raw difference of means | add lengths of the stream along it, and along controls |
| steering_controls | | twenty random directions, shuffled families and a wrong task beside it |
| steering_stance | the atlas has none | add the difference of affirmative and negative prompts |
| steering_depth | the atlas has none | add random directions at every block, of two lengths |
| steering_generation | text under raw differences of means | under lengths of the stream, and a random direction |
| layers_short, layers_medium, layers_long | erase each block; zero each MLP | skip each block; zero each MLP |
| layers_natural, layers_extended | erase each block | skip each block |
| steering_short, steering_medium, steering_long | no measurement | add the factual direction, and random ones |
| adapter_layers | the base's stream pasted after each block | adapter off in each block alone, on in it alone |
| adapter_transfer | the whole stream pasted after each block | what each block adds, or its last position |
| | | both ways, and from another prompt |
| adapter_families | no held-out measurement | five families' adapters, pairs of them merged, random ones |
| adapter_profiles | erase each block under each adapter | skip each block under each adapter, and without |
| adapter_steps | on training items | each checkpoint, held out |
| adapter_ranks, adapter_modules | on training items | each rank, set of modules, held out, and what they write |
| adapter_rank_blocks | L0's MLP, on training items | off in each block, or its MLP zeroed, at each rank |
| adapter_surgery | A alone cut, never evaluated | updates cut to a rank, or without one module |
| adapter_sets, adapter_sets_code | one set for all skills | blocks chosen by the skill's map, ten random sets |
| adapter_deobfuscation | never trained | five skills that undo obfuscation, each alone |

The atlas zeroed something else at each scale where it wrote "head" (channels of the attention's output, heads before
the output projection, channels of the stream): head_sites zeroes each of them.

Sources of the published definitions: the atlas's scripts as described in the project's ledger, sections 1, 5, 8 to 21.
Massive activations: Sun, Chen, Kolter & Liu 2024 (arXiv:2402.17762).
"""

from __future__ import annotations

from harness.experiments import (
    adapter_rank_blocks,
    adapter_sets,
    adapters,
    blocks,
    edges,
    heads,
    massive,
    patching,
    positions,
    robustness,
    steering,
    sublayers,
)
from harness.experiments.blocks import ATLAS_SETS, layer_sets
from harness.experiments.definition import (
    CLEAN,
    CORRUPT,
    MEAN,
    NO_OP,
    NOISE,
    PROMPTS_PER_FAMILY,
    RESAMPLE,
    SEEDS,
    SUITE,
    Experiment,
    controls,
    skip_everything,
    unread_position,
)

__all__ = [
    "ATLAS_SETS",
    "CLEAN",
    "CORRUPT",
    "EXPERIMENTS",
    "MEAN",
    "NOISE",
    "NO_OP",
    "PROMPTS_PER_FAMILY",
    "RESAMPLE",
    "SEEDS",
    "SUITE",
    "Experiment",
    "UnknownExperiment",
    "controls",
    "find_experiment",
    "layer_sets",
    "skip_everything",
    "unread_position",
]

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for part in (
        *(blocks, heads, sublayers, massive, positions, edges, patching, steering, robustness),
        *(adapters, adapter_rank_blocks, adapter_sets),
    )
    for experiment in part.EXPERIMENTS
}


class UnknownExperiment(KeyError):
    """No experiment of that name."""


def find_experiment(name: str) -> Experiment:
    """The experiment of that name. Raises UnknownExperiment, listing the known ones."""
    if name not in EXPERIMENTS:
        raise UnknownExperiment(f"no experiment '{name}'; known: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
