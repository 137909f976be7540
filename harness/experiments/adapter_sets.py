"""Adapters in some blocks only, chosen by a map of the base model or at random; and those of five skills that undo
obfuscation. No torch.

The atlas put adapters into three blocks that it called guided by its map, the same three for every skill, and compared
them with one random set. Here the map is that of the skill itself: skips of the base model, over prompts that are not
held out (`harness.maps`). All sets have the modules of a block and, between them, one number of parameters: a few
blocks with a high rank, or every block with a low one. All are trained for as many steps at one learning rate, so that
how fast an adapter learns is part of what is compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache

from harness.adapters.values import LINEAR, SOUND, Adapted, Kind, Part, Recipe
from harness.anatomy import Anatomy
from harness.edits import Probe
from harness.experiments.adapters import JSON, RECIPES_BY_MODULES
from harness.experiments.definition import Experiment
from harness.protocols import Protocol

CODE = "code_semantics"
DEOBFUSCATION = (
    "string_decoding",
    "constant_folding",
    "control_flow_simplification",
    "variable_renaming",
    "dead_code",
)
"""The skills of which the atlas wrote generators and trained no adapter."""
N_RANDOM = 10
EARLY = 25
"""A step at which adapters still differ: at the last one all are near the ceiling, an answer that is certain."""
CHOSEN, EVERYWHERE, ALL_LINEAR = "chosen_blocks", "every_block", "all_linear"
AT_RANDOM = tuple(f"random_blocks_{i}" for i in range(N_RANDOM))
"""Names of the recipes, whose blocks and ranks depend on the model."""


def n_chosen(n_layers: int) -> int:
    """Of how many blocks a set is: about an eighth of all, as the atlas's three of 24, and two at least."""
    return min(n_layers, max(2, (n_layers + 4) // 8))


def ranks(n_layers: int) -> tuple[int, int]:
    """(in a set, everywhere): the least ranks that give both as many parameters, where blocks are alike."""
    common = math.gcd(n_layers, n_chosen(n_layers))
    return n_layers // common, n_chosen(n_layers) // common


def recipes(anatomy: Anatomy) -> tuple[Recipe, ...]:
    """Recipes of the chosen set, of N_RANDOM others, of every block, and of all linear modules at full rank.

    The random sets are distinct, and none is the chosen one; a model of few blocks may have fewer of them.
    """
    rank, low = ranks(anatomy.n_layers)
    chosen = tuple(sorted(anatomy.needed_ranking[: n_chosen(anatomy.n_layers)]))
    others = [blocks for blocks in _drawn(anatomy.n_layers) if blocks != chosen]
    sets = {CHOSEN: chosen, **dict(zip(AT_RANDOM, others, strict=False))}
    (all_linear,) = (recipe for recipe in RECIPES_BY_MODULES if recipe.name == ALL_LINEAR)
    return (
        *(
            Recipe(name=name, rank=rank, alpha=2 * rank, modules=LINEAR, layers=blocks)
            for name, blocks in sets.items()
        ),
        Recipe(name=EVERYWHERE, rank=low, alpha=2 * low, modules=LINEAR),
        all_linear,
    )


@cache
def _drawn(n_layers: int) -> tuple[tuple[int, ...], ...]:
    """N_RANDOM + 1 distinct sets of as many blocks, or all that there are; the same for every model of so many."""
    rng = random.Random(n_layers)
    n = min(N_RANDOM + 1, math.comb(n_layers, n_chosen(n_layers)))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n:
        blocks = {int(rng.random() * n_layers) for _ in range(n_chosen(n_layers))}
        if len(blocks) == n_chosen(n_layers):
            found[tuple(sorted(blocks))] = None
    return tuple(found)


def _sets(family: str) -> Callable[[Protocol, Anatomy], tuple[Probe, ...]]:
    def probes(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
        return tuple(
            Adapted(parts=(Part(family=family, recipe=recipe, step=step),))
            for step in (None, EARLY)
            for recipe in recipes(anatomy)
        )

    return probes


def _deobfuscation(_: Protocol, __: Anatomy) -> tuple[Probe, ...]:
    parts = [Part(family=family, recipe=SOUND) for family in DEOBFUSCATION]
    random = [Part(family=family, recipe=SOUND, kind=Kind.RANDOM) for family in DEOBFUSCATION]
    return tuple(Adapted(parts=(part,)) for part in (*parts, *random))


def _experiment_on_sets(name: str, family: str) -> Experiment:
    return Experiment(
        name=name,
        probes=_sets(family),
        adapters=True,
        held_out=True,
        reads_map=family,
        families=(JSON, CODE),
        protocols=(Protocol.SOUND,),
        prompts_per_family=48,
    )


EXPERIMENTS = (
    _experiment_on_sets("adapter_sets", JSON),
    _experiment_on_sets("adapter_sets_code", CODE),
    Experiment(
        name="adapter_deobfuscation",
        probes=_deobfuscation,
        adapters=True,
        held_out=True,
        suite="extended",
        families=DEOBFUSCATION,
        protocols=(Protocol.SOUND,),
        prompts_per_family=42,
    ),
)
