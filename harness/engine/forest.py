"""The token trie: which rows a pass must compute, and which rows each of them attends to.

Under one edit, a token's activations depend only on the tokens before it. Prompts that begin alike therefore
share rows: the prompts of a group are nodes of one forest, each node computed once, whatever the number of
prompts that pass through it.

    "2 + 3 ="  ──  2 ── + ── 3 ── =          a node is a row; a row attends to its ancestors
    "2 + 5 ="            └── 5 ── =

A variant need not compute every node. Its `View` is the forest of rows it does compute:

whole       every node: an edit at all positions changes them all
suffix      an edit at named positions leaves everything before them as it was in the baseline, so only the
            rows from the first edited position on are computed; they attend to the baseline's keys and values
constant    a stream replaced by a constant at every position no longer depends on the tokens: one chain of
            rows, as long as the longest prompt, stands for all prompts
cut         where the last position is kept from attending to some sources, only its own row changes: one row a
            prompt, whose attention leaves the sources out in the blocks that are cut
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ATTENTION_ROWS = 32
"""Rows attended together: short chains are put side by side up to this size, masked from one another."""
ROOT = -1
CONSTANT = "constant"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the last position is kept from: positions, the name of a spot, or None for all before it."""

    at: tuple[int, ...] | str | None


ViewKind = tuple[int, ...] | str | Sources | None
"""Edited positions, the name of a spot, CONSTANT, the sources of a cut, or None for every node."""
Spots = Mapping[str, Sequence[int]]
"""Positions of one prompt by the name of their spot."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Consecutive rows of a view whose attention is computed together.

    Their keys are the baseline rows `base`, then the view's own rows `own` (ancestors before the block, and the
    block itself). `sees[i, j]` says that row i attends to key j, `gap[i, j]` how many positions j lies before i.
    `last` is the span of the view's `last_rows` that lies in this block. `cut[i, j]` says that key j is a source
    that a cut keeps from row i; None in a view without cuts.
    """

    rows: slice
    own: slice | list[int]
    base: slice | list[int] | None
    sees: Bool[np.ndarray, "row key"]
    gap: Int[np.ndarray, "row key"]
    last: slice
    cut: Bool[np.ndarray, "row key"] | None = None
    _masks: dict[object, Tensor | None] = field(default_factory=dict, repr=False)

    def mask(
        self, window: int | None, like: Tensor, *, last: Sequence[int] | None = None, cut: bool = False
    ) -> Tensor | None:
        """The additive attention mask, [row, key] (only of the rows `last`, where given); None: plain causal.

        `window` is a sliding window's width in tokens, None for none; `like` gives dtype and device. With `cut` the
        block's sources are closed.
        """
        key = (window, like.dtype, like.device, last is not None, cut)
        if key not in self._masks:
            sees = self.sees if window is None else self.sees & (self.gap < window)
            if cut:
                assert self.cut is not None, "this view has no sources to cut"
                sees = sees & ~self.cut
            causal = sees.shape[0] == sees.shape[1] and bool((sees == np.tri(len(sees), dtype=bool)).all())
            if last is not None:
                sees = sees[[row - self.rows.start for row in last]]
            closed = torch.from_numpy(~sees)
            mask = (
                None if causal and last is None else torch.zeros(sees.shape).masked_fill_(closed, -math.inf)
            )
            self._masks[key] = None if mask is None else mask.to(like)
        return self._masks[key]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The rows one variant computes, in an order in which ancestors come first and trees are contiguous.

    `node[r]` is the baseline row that row r stands for; `depth[r]` its position in the prompt; `last[prompt]` the
    row of the prompt's last token; `edited[r]` whether an edit at named positions writes there (None: everywhere).
    `sources[r]` are the positions that a cut keeps from row r, in a view for cuts.
    """

    node: Int[np.ndarray, " row"]
    depth: Int[np.ndarray, " row"]
    last: Int[np.ndarray, " prompt"]
    edited: Bool[np.ndarray, " row"] | None
    blocks: tuple[Block, ...]
    chains: int | None = None
    """Number of equally long unbranched chains the rows are, one after another; None where they branch."""
    whole: bool = False
    sources: tuple[tuple[int, ...], ...] | None = None
    _cache: dict[object, Any] = field(default_factory=dict, repr=False)

    def cached(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for this view."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def __len__(self) -> int:
        return len(self.node)

    @cached_property
    def last_rows(self) -> tuple[int, ...]:
        """The distinct rows of last tokens, ascending."""
        return tuple(sorted(set(self.last.tolist())))

    @cached_property
    def last_of_prompt(self) -> list[int]:
        """For each prompt, the index into `last_rows`."""
        place = {row: i for i, row in enumerate(self.last_rows)}
        return [place[row] for row in self.last.tolist()]

    def of_nodes(self, values: Float[Tensor, "node ..."]) -> Float[Tensor, "row ..."]:
        """Baseline activations of the nodes these rows stand for."""
        return values if self.whole else values[torch.from_numpy(self.node).to(values.device)]

    def edited_mask(self, like: Tensor) -> Tensor | None:
        """`edited` as a tensor that broadcasts over [row, ...] like this one."""
        if self.edited is None:
            return None
        return torch.from_numpy(self.edited).to(like.device).view(-1, *[1] * (like.dim() - 1))


class Forest:
    """The trie of a group's prompts; with `share` False every prompt keeps a chain of its own.

    `columns[i]` are token sequences that belong to prompt i: its own tokens and those of its donors. Prompts
    share a node only where all of them agree, so that a donor's activations are shared as well. `spots[i]` are the
    named positions of prompt i.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[Sequence[int]]],
        *,
        share: bool = True,
        spots: Sequence[Spots] | None = None,
    ) -> None:
        self.n_prompts = len(columns)
        self.spots = spots if spots is not None else [{} for _ in columns]
        keys = [list(zip(*prompt, strict=True)) for prompt in columns]
        self.lengths = [len(key) for key in keys]
        known: dict[object, int] = {}
        self.parent: list[int] = []
        self.tokens: list[tuple[int, ...]] = []
        self.paths: list[list[int]] = [[] for _ in keys]
        for prompt in sorted(range(len(keys)), key=lambda i: keys[i]) if share else range(len(keys)):
            row = ROOT
            for step in keys[prompt]:
                name = (row, step) if share else (prompt, row, step)
                if name not in known:
                    known[name] = len(self.parent)
                    self.parent.append(row)
                    self.tokens.append(step)
                row = known[name]
                self.paths[prompt].append(row)
        self.share = share

    def __len__(self) -> int:
        return len(self.parent)

    def ids(self, column: int, device: torch.device) -> Int[Tensor, " node"]:
        """Token ids of every node: column 0 is the prompt's own, the others are its donors'."""
        return torch.tensor([step[column] for step in self.tokens], device=device)

    @cached_property
    def whole(self) -> View:
        """Every node."""
        rows = [(node, self.parent[node], False) for node in range(len(self))]
        return self._view(rows, [path[-1] for path in self.paths], edited=False, whole=True)

    @cached_property
    def constant(self) -> View:
        """One chain as long as the longest prompt: the rows of a stream that no longer depends on the tokens."""
        longest = max(self.paths, key=len)
        rows = [(node, i - 1, False) for i, node in enumerate(longest)]
        return self._view(rows, [length - 1 for length in self.lengths], edited=False)

    def view(self, kind: ViewKind) -> View:
        """The view of edits at these positions or at this spot (None: everywhere), or of a stream made CONSTANT."""
        if kind is None:
            return self.whole
        if kind == CONSTANT:
            return self.constant
        if isinstance(kind, Sources):
            return self.cut(kind)
        return self.at([spots.get(kind, ()) if isinstance(kind, str) else kind for spots in self.spots])

    def at(self, positions: Sequence[Sequence[int]]) -> View:
        """The rows from the first of each prompt's positions on (negative ones count from its end).

        Of a prompt without any, its last row. Without sharing, all rows: the plain blocks cannot take keys and values
        from elsewhere.
        """
        known: dict[object, int] = {}
        rows: list[tuple[int, int, bool]] = []
        last = []
        for prompt in self.order:
            path = self.paths[prompt]
            where = {p % len(path) for p in positions[prompt]}
            row = ROOT
            for depth in range(min(where, default=len(path) - 1) if self.share else 0, len(path)):
                name = (row, path[depth], depth in where)
                if not self.share or name not in known:
                    known[name] = len(rows)
                    rows.append((path[depth], row, depth in where))
                row = known[name]
            last.append(row)
        return self._view(rows, [row for _, row in sorted(zip(self.order, last, strict=True))], edited=True)

    def cut(self, kept_from: Sources) -> View:
        """The last row of every prompt, its own even where prompts are alike; without sharing, all rows."""
        rows: list[tuple[int, int, bool]] = []
        sources: list[tuple[int, ...]] = []
        last = {}
        for prompt in self.order:
            path = self.paths[prompt]
            for above, node in enumerate(path[-1:] if self.share else path):
                rows.append((node, len(rows) - 1 if above else ROOT, False))
            last[prompt] = len(rows) - 1
            sources += [()] * (len(rows) - len(sources) - 1)
            sources.append(self._sources(prompt, kept_from))
        ends = [last[prompt] for prompt in range(self.n_prompts)]
        return self._view(rows, ends, edited=False, sources=tuple(sources))

    def _sources(self, prompt: int, kept_from: Sources) -> tuple[int, ...]:
        length, at = self.lengths[prompt], kept_from.at
        if at is None:
            return tuple(range(length - 1))
        return tuple(p % length for p in (self.spots[prompt].get(at, ()) if isinstance(at, str) else at))

    @cached_property
    def order(self) -> list[int]:
        """The prompts; where they share nodes, those that begin alike side by side."""
        prompts = range(self.n_prompts)
        return sorted(prompts, key=lambda i: self.paths[i]) if self.share else list(prompts)

    @cached_property
    def depth(self) -> Int[np.ndarray, " node"]:
        """Position of every node in its prompts."""
        depth = np.zeros(len(self), dtype=np.int64)
        for node, parent in enumerate(self.parent):
            depth[node] = 0 if parent == ROOT else depth[parent] + 1
        return depth

    def _view(
        self,
        rows: list[tuple[int, int, bool]],
        last: list[int],
        *,
        edited: bool,
        whole: bool = False,
        sources: tuple[tuple[int, ...], ...] | None = None,
    ) -> View:
        node = np.array([row[0] for row in rows])
        parent = [row[1] for row in rows]
        last_rows = sorted(set(last))
        blocks = []
        for rows_of in _pack(_segments(parent)):
            ends = [i for i, row in enumerate(last_rows) if rows_of.start <= row < rows_of.stop]
            span = slice(ends[0], ends[-1] + 1) if ends else slice(0, 0)
            blocks.append(self._block(rows_of, node, parent, span, sources))
        chains = _segments(parent)
        is_chains = (
            all(parent[c.start] == ROOT for c in chains) and len({c.stop - c.start for c in chains}) == 1
        )
        return View(
            node=node,
            depth=self.depth[node],
            last=np.array(last),
            edited=np.array([row[2] for row in rows]) if edited else None,
            blocks=tuple(blocks),
            chains=len(chains) if is_chains else None,
            whole=whole,
            sources=sources,
        )

    def _block(
        self,
        rows: slice,
        node: np.ndarray,
        parent: list[int],
        last: slice,
        sources: tuple[tuple[int, ...], ...] | None,
    ) -> Block:
        members = range(rows.start, rows.stop)
        above: dict[int, list[int]] = {}  # a segment's first row -> the view's rows before it
        below: dict[int, list[int]] = {}  # a segment's first row -> the baseline rows before those
        for row in members:
            if parent[row] not in members:
                above[row], top = [], row
                while parent[top] != ROOT:
                    top = parent[top]
                    above[row].append(top)
                below[row] = self._ancestors(self.parent[node[top]])
        own = [*sorted({key for keys in above.values() for key in keys}), *members]
        base = sorted({key for keys in below.values() for key in keys})
        base_column = {key: i for i, key in enumerate(base)}
        own_column = {key: len(base) + i for i, key in enumerate(own)}
        sees = np.zeros((len(members), len(base) + len(own)), dtype=bool)
        for i, row in enumerate(members):
            if row in above:
                sees[i, [base_column[key] for key in below[row]]] = True
                sees[i, [own_column[key] for key in above[row]]] = True
            else:
                sees[i] = sees[parent[row] - rows.start]
            sees[i, own_column[row]] = True
        key_depth = (
            np.concatenate([self.depth[base], self.depth[node[own]]]) if base else self.depth[node[own]]
        )
        return Block(
            rows=rows,
            own=_as_slice(own),
            base=_as_slice(base) if base else None,
            sees=sees,
            gap=self.depth[node[rows]][:, None] - key_depth[None, :],
            last=last,
            cut=None if sources is None else np.array([np.isin(key_depth, at) for at in sources[rows]]),
        )

    def _ancestors(self, node: int) -> list[int]:
        nodes = []
        while node != ROOT:
            nodes.append(node)
            node = self.parent[node]
        return nodes


def _segments(parent: list[int]) -> list[slice]:
    """Unbranched runs of rows: each row's parent is the row before it, but for the first's."""
    starts = [row for row, above in enumerate(parent) if above == ROOT or above != row - 1]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(parent)], strict=True)]


def _pack(segments: list[slice]) -> list[slice]:
    """Neighbouring segments put together while they hold at most ATTENTION_ROWS rows; none is cut."""
    packed: list[slice] = []
    for segment in segments:
        if packed and segment.stop - packed[-1].start <= ATTENTION_ROWS:
            packed[-1] = slice(packed[-1].start, segment.stop)
        else:
            packed.append(segment)
    return packed


def _as_slice(rows: list[int]) -> slice | list[int]:
    """The same index as a slice where the rows are consecutive: a slice is a view, an index is a copy."""
    return slice(rows[0], rows[-1] + 1) if rows == list(range(rows[0], rows[-1] + 1)) else rows
