"""The closed form against torch's own count of what the engine executes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from harness.bench.flops import Flops, ModelSize, Trie, hook_flops, layers_from, sweep_flops
from harness.bench.workload import SimpleEdit, all_edits
from harness.engine.blocks import Stack
from harness.engine.sweep import Item, sweep
from harness.models.testing import tiny_model

PROMPTS = ((3, 4, 5, 6, 7), (3, 4, 5, 8), (9, 4, 5), (3, 4))
EDITS = [SimpleEdit.of(edit) for edit in all_edits(2, 4)]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def size(model: Any) -> ModelSize:
    return ModelSize.of_config(model.config.to_dict())


def test_the_trie_counts_distinct_prefixes_and_their_ancestors() -> None:
    trie = Trie.of([(1, 2, 3), (1, 2, 4), (1, 2)])
    # 1, 12, 123, 124; the prompt 12 ends inside the tree
    assert trie == Trie(nodes=4, last=3, keys=1 + 2 + 3 + 3, last_keys=3 + 3 + 2)


def _executed_products(run: Any) -> int:
    def addmm_(_: Any, a: tuple[int, int], b: tuple[int, int], **__: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_})
    with counter:
        run()
    counts = counter.get_flop_counts()["Global"]
    products = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
    return sum(counts.get(op, 0) for op in products)


@pytest.mark.parametrize("kinds", [("skip",), ("mlp",), ("head",), ("skip", "mlp", "head")])
def test_the_engine_executes_these_products_and_no_others_but_the_known_ones(
    model: Any, size: ModelSize, kinds: tuple[str, ...]
) -> None:
    edits = [edit for edit in EDITS if edit.kind in kinds]
    items = [Item(ids=ids, answer=1, foil=2) for ids in PROMPTS]
    stack = Stack(model)
    probes = [edit.as_edit() for edit in edits]
    sweep(stack, items, probes)
    executed = _executed_products(lambda: sweep(stack, items, probes))
    found, trie = sweep_flops(size, PROMPTS, edits), Trie.of(PROMPTS)
    needed = found.products + found.unembedding
    # What the engine may do beyond it: the baseline's last block whole, and each head's own write.
    in_last_block = 2 * (trie.nodes - trie.last) * (2 * size.d_model * size.d_query + size.mlp_params)
    write = 2 * trie.nodes * size.d_model * size.d_query // size.n_heads
    head_writes = write * sum(edit.kind == "head" for edit in edits)
    assert needed <= executed <= needed + in_last_block + head_writes


def test_attention_scores_are_those_of_every_row_over_its_ancestors(size: ModelSize) -> None:
    d_head = size.d_query // size.n_heads
    prefixes = {ids[: i + 1] for ids in PROMPTS for i in range(len(ids))}

    def attend(n_keys: int) -> int:
        q, k = torch.randn(size.n_heads, 1, d_head), torch.randn(size.n_heads, n_keys, d_head)
        with FlopCounterMode(display=False) as counter:
            torch.bmm(F.softmax(torch.bmm(q, k.transpose(1, 2)), dim=-1), k)
        return counter.get_total_flops()

    below_last = (size.n_layers - 1) * sum(attend(len(prefix)) for prefix in prefixes)
    _, scores = layers_from(size, Trie.of(PROMPTS), 0)
    assert scores == below_last + sum(attend(len(ids)) for ids in set(PROMPTS))


def test_without_sharing_a_whole_pass_is_what_transformers_executes(model: Any, size: ModelSize) -> None:
    ids = (3, 4, 5, 6, 7)
    executed = _executed_products(
        lambda: model(input_ids=torch.tensor([ids]), logits_to_keep=1, use_cache=False)
    )
    scores = 4 * size.d_query * size.n_layers * sum(range(1, len(ids) + 1))
    assert hook_flops(size, [ids], 1) == executed + scores


def test_an_edit_costs_less_the_higher_it_is(size: ModelSize) -> None:
    for kind, prompts in product(("skip", "mlp", "head"), (PROMPTS, PROMPTS[:1])):
        costs = [
            sweep_flops(size, prompts, [SimpleEdit(kind=kind, layer=layer)]).total  # type: ignore[arg-type]
            for layer in range(size.n_layers)
        ]
        assert costs == sorted(costs, reverse=True)
        assert costs[0] > costs[-1]


def test_the_total_is_the_sum_of_its_parts() -> None:
    assert Flops(products=1, scores=20, unembedding=300).total == 321
