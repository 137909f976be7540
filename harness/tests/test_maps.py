"""The map by which blocks are chosen, and the sets of blocks that are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.adapters.items import is_held_out
from harness.adapters.values import Adapted, Recipe
from harness.anatomy import Anatomy
from harness.edits import skip
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.evidence import from_text, to_text
from harness.experiments import EXPERIMENTS
from harness.experiments.adapter_sets import (
    ALL_LINEAR,
    AT_RANDOM,
    CHOSEN,
    EVERYWHERE,
    n_chosen,
    recipes,
)
from harness.maps import DEVELOPMENT_SEED, N_PROMPTS, development_items, rank_blocks
from harness.protocols import Protocol


def named(n_layers: int, ranked: tuple[int, ...] | None = None) -> dict[str, Recipe]:
    found = recipes(Anatomy(n_layers=n_layers, ranked=ranked or tuple(range(n_layers))))
    return {recipe.name: recipe for recipe in found}


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3_text", "lfm2"])
def test_blocks_are_ranked_as_plain_hooks_rank_them(architecture: str, tiny: Any, items: Any) -> None:
    model, prompts = tiny(architecture), items()
    kl = np.zeros(4)
    for item in prompts:
        base = naive.run(model, item.ids, None)
        for layer in range(4):
            kl[layer] += naive.measure(base, naive.run(model, item.ids, skip(layer)), item.answer)["kl_nats"]
    assert rank_blocks(Stack(model), prompts) == tuple(np.argsort(-kl))


def test_the_map_is_measured_on_prompts_that_are_not_held_out(subject: Any) -> None:
    found = development_items(subject.loaded, "json_schema")
    assert len({item.text for item in found}) == N_PROMPTS
    assert not any(is_held_out(item.text) for item in found)
    assert DEVELOPMENT_SEED not in (42, 137, 2026)
    assert subject.ranked("json_schema") == rank_blocks(subject.stack, found)
    assert subject.ranked("json_schema")[0] == 2, "the planted hub"


def test_evidence_says_by_which_map_blocks_were_chosen(make_evidence: Any) -> None:
    evidence = make_evidence([0.1] * 16, experiment="adapter_sets", ranked=(2, 0, 1, 3), n_layers=4)
    again = from_text(to_text(evidence))
    assert again.question.ranked == again.question.anatomy.ranked == (2, 0, 1, 3)
    assert "ranked" not in make_evidence().question.to_json()
    one, other = (
        EXPERIMENTS["adapter_sets"].definition(Protocol.SOUND, Anatomy(n_layers=8, ranked=ranked))
        for ranked in ((0, 1, 2, 3, 4, 5, 6, 7), (1, 0, 2, 3, 4, 5, 6, 7))
    )
    assert one == other, "the same two blocks are chosen"
    third = EXPERIMENTS["adapter_sets"].definition(
        Protocol.SOUND, Anatomy(n_layers=8, ranked=(7, 1, 2, 3, 4, 5, 6, 0))
    )
    assert third != one


@pytest.mark.parametrize("n_layers", [5, 6, 10, 16, 18, 24, 28, 30, 36])
def test_sets_are_distinct_and_of_one_number_of_parameters(n_layers: int) -> None:
    found = named(n_layers)
    chosen, everywhere = found[CHOSEN], found[EVERYWHERE]
    sets = [chosen.layers, *(found[name].layers for name in AT_RANDOM if name in found)]
    assert len(set(sets)) == len(sets) == (11 if n_layers > 5 else 10)
    assert {len(blocks or ()) for blocks in sets} == {n_chosen(n_layers)}
    assert {found[name].rank for name in found if name in AT_RANDOM} == {chosen.rank}
    assert n_chosen(n_layers) * chosen.rank == n_layers * everywhere.rank
    assert {recipe.scale for recipe in found.values()} == {2.0}
    assert {recipe.modules for recipe in found.values()} == {everywhere.modules}
    assert found[ALL_LINEAR].layers is None


def test_the_first_blocks_of_the_map_are_chosen_and_the_random_sets_do_not_depend_on_it() -> None:
    one, other = named(24), named(24, tuple(reversed(range(24))))
    assert (one[CHOSEN].layers, other[CHOSEN].layers) == ((0, 1, 2), (21, 22, 23))
    assert [one[name].layers for name in AT_RANDOM] == [other[name].layers for name in AT_RANDOM]
    hit = named(24, tuple(sorted(range(24), key=lambda b: b not in (one[AT_RANDOM[0]].layers or ()))))
    assert hit[CHOSEN].layers == one[AT_RANDOM[0]].layers
    assert [hit[name].layers for name in AT_RANDOM[:-1]] == [one[name].layers for name in AT_RANDOM[1:]]


def test_without_a_map_nothing_is_chosen() -> None:
    with pytest.raises(ValueError, match="measure the map first"):
        EXPERIMENTS["adapter_sets"].probes(Protocol.SOUND, Anatomy(n_layers=8))


def test_each_row_is_one_whole_adapter_of_the_family() -> None:
    anatomy = Anatomy(n_layers=8, ranked=tuple(range(8)))
    for name, family in (("adapter_sets", "json_schema"), ("adapter_sets_code", "code_semantics")):
        rows = EXPERIMENTS[name].probes(Protocol.SOUND, anatomy)
        assert all(isinstance(row, Adapted) and row == Adapted(parts=row.parts) for row in rows)
        assert {part.family for row in rows if isinstance(row, Adapted) for part in row.parts} == {family}
