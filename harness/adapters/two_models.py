"""The base and a copy of it that carries one set of weights after another, read out on one draw of prompts.

The model that is handed in is read and never written. Blocks switched on or off and grafts are routes through the two
(`harness.engine.grafts`); an edit of the adapted model is swept like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.adapters.texts import JsonTexts
from harness.adapters.updates import Updates
from harness.adapters.values import Adapted, Graft
from harness.adapters.weights import Carrier, Supply, Weights
from harness.effects import ADAPTED, METRICS, VALID_JSON
from harness.engine.blocks import Stack
from harness.engine.climb import Summit
from harness.engine.grafts import READ_TOGETHER, Route, Take, TwoStacks, chunks, grafted, masked
from harness.engine.metrics import baseline
from harness.engine.readout import Readout
from harness.engine.sweep import Item, sweep
from harness.floor import kl_of_logits

READ_OFF = (*METRICS, "foil_logprob", "answer_match")
"""Metrics of a prediction; the others are properties of the weights."""
TAKES = {
    Graft.CONTRIBUTION: Take.CONTRIBUTION,
    Graft.LAST: Take.LAST,
    Graft.ANOTHERS_LAST: Take.GIVEN,
}

Streams = Float[Tensor, "prompt d_model"]
"""resid_post of the last block at the last position of every prompt."""
Advance = Callable[[float], None]
Table = dict[str, Float[np.ndarray, "row prompt"]]


class TwoModels:
    """A base model, and a copy of it that carries sets of weights, on one draw of prompts.

    With `texts`, what they write is judged as well. `others` names for each prompt the one whose activations it is
    given by `Graft.ANOTHERS_LAST`.
    """

    def __init__(
        self,
        base: Stack,
        items: Sequence[Item],
        supply: Supply,
        memory_bytes: int,
        texts: JsonTexts | None = None,
        others: Sequence[int] = (),
    ) -> None:
        self.base, self.items, self.texts = base, items, texts
        self._others = list(others)
        self._supply, self._memory = supply, memory_bytes
        self._nowhere = masked(self.base.n_layers, ())
        self._everywhere = masked(self.base.n_layers, range(self.base.n_layers))
        (self._base_streams,) = self._streams(TwoStacks(self.base, self.base), [self._nowhere])
        self._carrier = Carrier(self.base)
        self._pair = TwoStacks(self.base, self._carrier.stack)
        self._exchanged = TwoStacks(self._carrier.stack, self.base)
        self._wholes: dict[Weights, Streams] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics of a row."""
        return (*METRICS, *ADAPTED, *((VALID_JSON,) if self.texts else ()))

    def n_cells(self, weights: Weights, rows: Sequence[Adapted]) -> int:
        """What `measure` tells `advance` of in all."""
        n_texts = len(self.texts.asked) if self.texts and weights.row() in rows else 0
        return len(rows) * len(self.items) + n_texts

    def measure(self, weights: Weights, rows: Sequence[Adapted], advance: Advance) -> Table:
        """Every metric of these rows, which all need these weights."""
        if any(row.edit is None and row.against == "whole" for row in rows):
            self._whole(weights.whole)
        updates = self._supply.updates(weights)
        self._carrier.put(updates)
        shape = (len(rows), len(self.items))
        metrics = {name: np.full(shape, np.nan) for name in self.names}
        edited = [i for i, row in enumerate(rows) if row.edit is not None]
        routed = [i for i, row in enumerate(rows) if row.edit is None]
        for at, read in ((edited, self._edited), (routed, partial(self._routed, weights))):
            found = read([rows[i] for i in at], advance) if at else {}
            for name, values in found.items():
                metrics[name][at] = values
        for i, row in enumerate(rows):
            metrics["update_norm"][i] = updates.norm(_on(row, self.base.n_layers))
            metrics["factor_norm"][i] = updates.factor_norm(_named(row))
            if weights.alone is not None and row == weights.row():
                metrics["train_loss"][i] = self._supply.loss(weights.alone)
        if self.texts is not None and (on := [i for i, row in enumerate(rows) if row == weights.row()]):
            metrics[VALID_JSON][on] = self.texts.valid(self._carrier.stack, advance)
        return metrics

    def off_nats(self) -> float:
        """Largest |KL| from the base as it was to both models now, the carrier with every adapter off."""
        self._carrier.put(Updates({}))
        after = self._streams(self._pair, [self._nowhere, self._everywhere])
        with torch.inference_mode():
            gaps = [
                abs(kl_of_logits(*self.base.unembed(torch.stack([was, now]))))
                for each in after
                for was, now in zip(self._base_streams, each, strict=True)
            ]
        return max(gaps) if all(map(math.isfinite, gaps)) else math.inf

    def _edited(self, rows: Sequence[Adapted], advance: Advance) -> Table:
        """Edits of the model as it is carried now, against itself unedited."""
        table, _ = sweep(
            self._carrier.stack,
            self.items,
            [row.edit for row in rows if row.edit is not None],
            contrasted=True,
            answered=True,
            memory_bytes=self._memory,
            on_progress=advance,
        )
        return {name: table[name] for name in READ_OFF}

    def _routed(self, weights: Weights, rows: Sequence[Adapted], advance: Advance) -> Table:
        """Rows without an edit, against the base or the same adapters wholly on."""
        ends = self._base_streams.new_empty((len(rows), *self._base_streams.shape))
        for into, pair in (("base", self._pair), ("adapted", self._exchanged)):
            at = [i for i, row in enumerate(rows) if row.into == into]
            if at:
                routes = [_route(rows[i], self.base.n_layers) for i in at]
                ends[at] = self._streams(pair, routes, advance)
        table = {name: np.full((len(rows), len(self.items)), np.nan) for name in READ_OFF}
        for against in ("base", "whole"):
            at = [i for i, row in enumerate(rows) if row.against == against]
            if at:
                reference = self._base_streams if against == "base" else self._wholes[weights.whole]
                for name, values in self._compared(reference, ends[at]).items():
                    table[name][at] = values
        return table

    def _whole(self, weights: Weights) -> None:
        """Measure, once, where the streams end with these weights in every block."""
        if weights not in self._wholes:
            self._carrier.put(self._supply.updates(weights))
            (self._wholes[weights],) = self._streams(self._pair, [self._everywhere])

    def _streams(
        self, pair: TwoStacks, routes: Sequence[Route], advance: Advance = lambda _: None
    ) -> Float[Tensor, "route prompt d_model"]:
        """Where every route ends on every prompt."""
        out = torch.empty(
            (len(routes), len(self.items), self.base.unembedding.shape[1]), device=self.base.device
        )
        parts = chunks(self.base, [len(item.ids) for item in self.items], routes, self._memory)
        given = self._given(pair, routes, parts)
        for chunk in map(list, parts):
            own = {layer: streams[chunk] for layer, streams in given.items()}
            out[:, chunk] = pair.run(self._ids(chunk), routes, partial(_count, advance, len(chunk)), own)
        return out

    def _given(
        self, pair: TwoStacks, routes: Sequence[Route], parts: Sequence[Sequence[int]]
    ) -> dict[int, Streams]:
        """Of each prompt the other's last position after the blocks at which a route is given it."""
        layers = sorted({layer for route in routes for layer, take in enumerate(route) if take is Take.GIVEN})
        found = {layer: self._base_streams.new_empty(self._base_streams.shape) for layer in layers}
        for chunk in map(list, parts if layers else ()):
            for layer, last in pair.lasts(self._ids(chunk), layers).items():
                found[layer][chunk] = last
        return {layer: streams[self._others] for layer, streams in found.items()}

    def _ids(self, chunk: Sequence[int]) -> Int[Tensor, "prompt pos"]:
        return torch.tensor([self.items[i].ids for i in chunk], device=self.base.device)

    def _compared(self, reference: Streams, ends: Float[Tensor, "row prompt d_model"]) -> Table:
        """The predictions at these ends beside those of the reference."""
        readout = Readout(self.base, contrasted=True, answered=True)
        columns: dict[str, list[np.ndarray]] = {name: [] for name in READ_OFF}
        rows, device = list(range(len(ends))), self.base.device
        with torch.inference_mode():
            for first in range(0, len(self.items), READ_TOGETHER):
                part = slice(first, first + READ_TOGETHER)
                was, group = reference[part], self.items[part]
                compared = baseline(
                    self.base.unembed(was),
                    torch.tensor([item.answer for item in group], device=device),
                    torch.tensor([item.foil for item in group], device=device),
                )
                summit = Summit(base=was, edited=ends[:, part], normed=[True] * len(rows))
                found = readout(compared, summit, rows, first=False)
                for name in READ_OFF:
                    columns[name].append(found[name].double().cpu().numpy())
        return {name: np.concatenate(values, axis=1) for name, values in columns.items()}


def _count(advance: Advance, n_prompts: int, n_routes: int) -> None:
    advance(n_prompts * n_routes)


def _route(row: Adapted, n_layers: int) -> Route:
    if row.graft is not None:
        return grafted(n_layers, _on(row, n_layers)[0], TAKES[row.graft])
    return masked(n_layers, _on(row, n_layers))


def _on(row: Adapted, n_layers: int) -> tuple[int, ...]:
    """Blocks in which the adapters are on, or that a graft takes from."""
    return row.only if row.only is not None else tuple(b for b in range(n_layers) if b not in row.off)


def _named(row: Adapted) -> Collection[int] | None:
    """Blocks that the row names as off or alone on; None for all."""
    return row.off or row.only
