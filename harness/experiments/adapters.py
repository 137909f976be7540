"""Adapters on a model: where they act, what they carry over, what of them is needed. No torch.

An adapter is trained on half of a family's prompts and measured on the other half (`harness.adapters.items`). The seed
names the draw of prompts and the adapter's initialisation and order of items.

Published is what the atlas did: in "ablation" the base's whole stream pasted into the trained run after block `l`,
which takes the adapter out of L0 to `l`; in "patching" the trained stream pasted into the base, which puts it in there,
and at the last block is the trained model itself. The reverse of a graft brings the base's activations into the trained
run and is compared with the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations

from harness.adapters.values import (
    ATTENTION,
    LINEAR,
    MLP,
    PUBLISHED,
    SOUND,
    Adapted,
    Graft,
    Kind,
    Part,
    Recipe,
)
from harness.anatomy import Anatomy
from harness.edits import Edit, Probe, Stream, erase, skip, zero
from harness.experiments.definition import Experiment
from harness.protocols import Protocol

FAMILIES = ("json_schema", "factual_recall", "code_semantics", "copying", "delimiter_tracking")
"""Families that have an adapter; the prompts of each are held out from its training."""
JSON = FAMILIES[0]
RANKS = (1, 2, 4, 8, 16)
RECIPES_BY_RANK = tuple(
    SOUND if rank == SOUND.rank else Recipe(name=f"rank_{rank}", rank=rank, alpha=2 * rank) for rank in RANKS
)
RECIPES_BY_MODULES = (
    Recipe(name="q_alone", modules=(Stream.Q,)),
    Recipe(name="v_alone", modules=(Stream.V,)),
    Recipe(name="o_alone", modules=(Stream.O,)),
    Recipe(name="mlp", modules=MLP),
    SOUND,
    Recipe(name="all_linear", modules=LINEAR),
)
CUT_RANKS = (1, 2, 4, 8)
MERGED_RANK = 2
"""To which a merge of two adapters is cut beside the rank of one of them: one rank for each."""
GRAFTS = (Graft.CONTRIBUTION, Graft.LAST)
"""Of the same prompt."""
N_RANDOM_GRAFTS = 5
"""Blocks of which a random update's grafts are measured."""
NEW_TOKENS = 24
"""Of the texts that adapters of each rank and set of modules write after JSON prompts: four times what the shortest
valid one takes of SmolLM2's tokens, six at most."""
FIRST_MLP = zero(Stream.MLP_OUT, 0)
"""The atlas's probe of what an adapter did to the model: how much the first block's MLP matters under it."""


def _json(recipe: Recipe = SOUND, kind: Kind = Kind.TRAINED, step: int | None = None) -> tuple[Part, ...]:
    return (Part(family=JSON, recipe=recipe, kind=kind, step=step),)


def _layers(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks = range(anatomy.n_layers)
    if protocol is Protocol.PUBLISHED:
        trained = _json(PUBLISHED)
        pasted = (Adapted(parts=trained, off=(*range(b + 1),), against="whole") for b in blocks)
        return (Adapted(parts=trained), *pasted)
    trained = _json()
    return (
        Adapted(parts=trained),
        *(Adapted(parts=trained, off=(b,), against="whole") for b in blocks),
        *(Adapted(parts=trained, only=(b,)) for b in blocks),
        Adapted(parts=_json(kind=Kind.RANDOM)),
    )


def _transfer(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    blocks = range(anatomy.n_layers)
    if protocol is Protocol.PUBLISHED:
        trained = _json(PUBLISHED)
        pasted = (Adapted(parts=trained, only=(*range(b + 1),), against="whole") for b in blocks)
        back = (Adapted(parts=trained, off=(*range(b + 1),)) for b in blocks)
        return (Adapted(parts=trained, only=(), against="whole"), *pasted, Adapted(parts=trained), *back)
    trained, some = _json(), _spread(anatomy.n_layers, N_RANDOM_GRAFTS)
    return (
        Adapted(parts=trained, only=(), against="whole"),
        *_grafts(trained, blocks),
        Adapted(parts=_json(kind=Kind.RANDOM), only=(), against="whole"),
        *_grafts(_json(kind=Kind.RANDOM), some),
        Adapted(parts=trained),
        *(Adapted(parts=trained, only=(b,), graft=graft, into="adapted") for graft in GRAFTS for b in blocks),
        *_grafts(trained, blocks, (Graft.ANOTHERS_LAST,)),
    )


def _grafts(
    parts: tuple[Part, ...], blocks: Iterable[int], grafts: tuple[Graft, ...] = GRAFTS
) -> tuple[Adapted, ...]:
    at = tuple(blocks)
    return tuple(
        Adapted(parts=parts, only=(b,), graft=graft, against="whole") for graft in grafts for b in at
    )


def _spread(n_layers: int, n: int) -> tuple[int, ...]:
    """About `n` blocks at even distances, the first and the last among them."""
    return tuple(sorted({round(i * (n_layers - 1) / (n - 1)) for i in range(n)}))


def _families(_: Protocol, __: Anatomy) -> tuple[Probe, ...]:
    parts = [Part(family=family, recipe=SOUND) for family in FAMILIES]
    pairs = list(combinations(parts, 2))
    return (
        *(Adapted(parts=(part,)) for part in parts),
        *(Adapted(parts=pair) for pair in pairs),
        *(Adapted(parts=(replace(a, weight=0.5), replace(b, weight=0.5)), merge="linear") for a, b in pairs),
        *(Adapted(parts=(replace(part, kind=Kind.RANDOM),)) for part in parts),
        *(Adapted(parts=pair, merge="svd") for pair in pairs),
        *(Adapted(parts=pair, merge="svd", rank=MERGED_RANK) for pair in pairs),
    )


def _profiles(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    remove = erase if protocol is Protocol.PUBLISHED else skip
    states: list[tuple[Part, ...]] = [(), *((Part(family=family, recipe=SOUND),) for family in FAMILIES)]
    return tuple(_edited(parts, remove(b)) for parts in states for b in range(anatomy.n_layers))


def _edited(parts: tuple[Part, ...], edit: Edit) -> Adapted:
    return Adapted(parts=parts, edit=edit, against="whole")


def _steps(_: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    states = [_json(step=step) for step in SOUND.checkpoints]
    return (
        *(Adapted(parts=parts) for parts in states),
        *(_edited(parts, skip(b)) for parts in states for b in range(anatomy.n_layers)),
    )


def _recipes(recipes: tuple[Recipe, ...]) -> tuple[Probe, ...]:
    states = [_json(recipe) for recipe in recipes]
    return (
        *(Adapted(parts=parts) for parts in states),
        *(_edited(parts, FIRST_MLP) for parts in ((), *states)),
    )


def _surgery(_: Protocol, __: Anatomy) -> tuple[Probe, ...]:
    trained = _json()
    kept = (tuple(m for m in ATTENTION if m is not without) for without in ATTENTION)
    return (
        Adapted(parts=trained),
        *(Adapted(parts=trained, rank=rank) for rank in CUT_RANKS),
        *(Adapted(parts=trained, modules=modules) for modules in kept),
    )


def _experiment(
    name: str,
    probes: Callable[[Protocol, Anatomy], tuple[Probe, ...]],
    *,
    published: bool = False,
    generates: int = 0,
) -> Experiment:
    return Experiment(
        name=name,
        probes=probes,
        adapters=True,
        held_out=True,
        families=FAMILIES,
        protocols=tuple(Protocol) if published else (Protocol.SOUND,),
        generates=generates,
        prompts_per_family=12,
    )


EXPERIMENTS = (
    _experiment("adapter_layers", _layers, published=True),
    _experiment("adapter_transfer", _transfer, published=True),
    _experiment("adapter_families", _families),
    _experiment("adapter_profiles", _profiles, published=True),
    _experiment("adapter_steps", _steps),
    _experiment("adapter_ranks", lambda *_: _recipes(RECIPES_BY_RANK), generates=NEW_TOKENS),
    _experiment("adapter_modules", lambda *_: _recipes(RECIPES_BY_MODULES), generates=NEW_TOKENS),
    _experiment("adapter_surgery", _surgery),
)
