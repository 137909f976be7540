"""The token trie against the definition of causal attention: a row sees the tokens before it, and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import forest as forest_module
from harness.engine.forest import Forest

prompts = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=7
)  # three tokens: prefixes are shared, prompts repeat, one is the beginning of another


def columns(rows):
    return [[row] for row in rows]


def seen_tokens(forest, view, prompt_row):
    """What a row attends to, as (position, token) pairs, read off its block's mask and keys."""
    block = next(b for b in view.blocks if b.rows.start <= prompt_row < b.rows.stop)
    own = range(len(view))[block.own] if isinstance(block.own, slice) else block.own
    base = (
        ()
        if block.base is None
        else (range(len(forest))[block.base] if isinstance(block.base, slice) else block.base)
    )
    nodes = [*base, *(int(view.node[row]) for row in own)]
    open_ = block.sees[prompt_row - block.rows.start]
    assert len(open_) == len(nodes)
    return sorted(
        (int(forest.depth[n]), forest.tokens[n][0]) for n, seen in zip(nodes, open_, strict=True) if seen
    )


@given(rows=prompts, packed=st.sampled_from([1, 4, 32]))
def test_the_trie_has_one_node_a_prefix_and_every_last_row_sees_its_prompt(rows, packed):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forest_module, "ATTENTION_ROWS", packed)
        forest = Forest(columns(rows))
        assert len(forest) == len({row[: i + 1] for row in rows for i in range(len(row))})
        for row, last in zip(rows, forest.whole.last, strict=True):
            assert seen_tokens(forest, forest.whole, last) == list(enumerate(row))
        covered = [r for block in forest.whole.blocks for r in range(block.rows.start, block.rows.stop)]
        assert covered == list(range(len(forest)))


@given(rows=prompts, position=st.sampled_from([0, 1, -1, -2]), packed=st.sampled_from([1, 32]))
def test_a_suffix_computes_only_the_rows_from_its_position_on_and_sees_the_whole_prompt(
    rows, position, packed
):
    rows = [row for row in rows if len(row) >= 2]
    if not rows:
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forest_module, "ATTENTION_ROWS", packed)
        forest = Forest(columns(rows))
        view = forest.at([(position,)] * len(rows))
        start = [position % len(row) for row in rows]
        if position >= 0:
            assert set(view.depth) == set(range(position, max(map(len, rows))))
        assert len(view) <= sum(len(row) - first for row, first in zip(rows, start, strict=True))
        for row, first, last in zip(rows, start, view.last, strict=True):
            assert seen_tokens(forest, view, last) == list(enumerate(row))
            path = _path(forest, view, last)
            assert [bool(view.edited[r]) for r in path] == [d == first for d in range(first, len(row))]


def _path(forest, view, last):
    """The view's own rows on the way to a last row, first to last."""
    block = next(b for b in view.blocks if b.rows.start <= last < b.rows.stop)
    own = list(range(len(view))[block.own]) if isinstance(block.own, slice) else block.own
    seen = block.sees[last - block.rows.start][-len(own) :]
    return sorted((row for row, s in zip(own, seen, strict=True) if s), key=lambda row: view.depth[row])


def test_prompts_whose_donors_differ_share_no_row():
    alike = Forest([[(1, 2, 3), (7, 8, 9)], [(1, 2, 4), (7, 8, 9)]])
    differing = Forest([[(1, 2, 3), (7, 8, 9)], [(1, 2, 4), (6, 8, 9)]])
    assert (len(alike), len(differing)) == (4, 6)


def test_a_constant_stream_is_one_chain_as_long_as_the_longest_prompt():
    view = Forest(columns([(1, 2), (3, 4, 5, 6), (7,)])).constant
    assert (len(view), view.last.tolist(), view.depth.tolist()) == (4, [1, 3, 0], [0, 1, 2, 3])


def test_a_sliding_window_closes_what_lies_further_back():
    block = Forest(columns([(1, 2, 3, 4, 5)])).whole.blocks[0]
    like = torch.zeros(1)
    assert block.mask(None, like) is None, "plain causal attention needs no mask"
    open_ = block.mask(2, like) == 0
    rows, keys = np.indices((5, 5))
    assert (open_.numpy() == ((keys <= rows) & (rows - keys < 2))).all()


def test_without_sharing_every_prompt_is_a_chain_of_its_own():
    forest = Forest(columns([(1, 2), (1, 2)]), share=False)
    assert (len(forest), forest.whole.chains) == (4, 2)
    assert Forest(columns([(1, 2), (1, 2, 3)]), share=False).whole.chains is None
