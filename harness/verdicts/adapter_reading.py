"""Reading tables of adapters: one measure of each block, and constants of each training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from harness.adapters.values import Adapted
from harness.effects import PromptRecord
from harness.verdicts.adapter_criteria import CONSTANTS, Measure, Spread
from harness.verdicts.adapter_selectors import EVERY_BLOCK, BlockSet, block_of
from harness.verdicts.reading import Measured
from harness.verdicts.verdict import MissingEvidence


@dataclass(frozen=True, kw_only=True)
class Series:
    """One measure: of some blocks, or of the one row that names none (`layers` is () then)."""

    layers: tuple[int, ...]
    values: Float[np.ndarray, "rows prompts"]
    prompts: tuple[PromptRecord, ...]
    metric: str
    problem: str | None
    """Why these numbers cannot be judged, or None."""
    floor_nats: float
    """Noise floor of the arithmetic, for a KL; else 0."""

    @property
    def constant(self) -> bool:
        """Whether it is a property of the adapter, not of prompts."""
        return self.metric in CONSTANTS

    def by_training(self) -> Float[np.ndarray, "rows trainings"]:
        """A constant's value in each training: that of each seed, ascending. Only where there is no problem."""
        seeds = np.array([prompt.seed for prompt in self.prompts])
        return np.stack([self.values[:, seeds == seed][:, 0] for seed in np.unique(seeds)], axis=1)

    def at(self, rows: Bool[np.ndarray, " rows"]) -> Series:
        """Some of its blocks."""
        layers = tuple(at for at, keep in zip(self.layers, rows, strict=True) if keep)
        return replace(self, layers=layers, values=self.values[rows])


def read_series(measured: Measured, experiment: str, measure: Measure) -> Series:
    """A measure of the blocks it names, in their order.

    Raises MissingEvidence for a block that the model lacks or that was not measured exactly once, for a set without a
    block, and for norms that do not grow from block to block where increments are asked for.
    """
    if isinstance(measure, Spread):
        raise TypeError(
            f"the {measure} is one number, not one a block: compare it with another by AdapterRatio"
        )
    on = measure.rows.on
    rows = measured.rows(experiment, measure.at(EVERY_BLOCK).rows, measure.metric)
    floor = measured.table(experiment).floor_nats if measure.metric == "kl_nats" else 0.0
    found = Series(
        layers=(),
        values=rows.values,
        prompts=rows.prompts,
        metric=measure.metric,
        problem=rows.problem,
        floor_nats=floor,
    )
    if not on.names_a_block:
        if len(rows.probes) != 1:
            raise MissingEvidence(
                f"'{experiment}' holds {len(rows.probes)} rows for: {measure.rows}; one is meant"
            )
        return replace(found, problem=found.problem or _inconstant(found))
    layers = [block_of(probe) for probe in rows.probes if isinstance(probe, Adapted)]
    wanted = _blocks(measured, measure.rows.blocks)
    _check_once(experiment, measure, layers, range(wanted[-1] + 1) if measure.increments else wanted)
    order = np.argsort(layers)
    found = replace(found, layers=tuple(sorted(layers)), values=rows.values[order])
    if found.problem is None:
        found = replace(found, problem=_inconstant(found))
        if measure.increments:
            found = replace(found, values=_increments(found, measure))
    return found.at(np.isin(found.layers, wanted))


def _blocks(measured: Measured, blocks: BlockSet) -> tuple[int, ...]:
    wanted = blocks.of(measured.n_layers)
    if not wanted or not 0 <= wanted[0] <= wanted[-1] < measured.n_layers:
        raise MissingEvidence(
            f"the criterion names {blocks}, but the model has layers L0 to L{measured.n_layers - 1}: mend the card, or "
            "judge it on the model it is about"
        )
    return wanted


def _check_once(
    experiment: str, measure: Measure, layers: list[int], wanted: range | tuple[int, ...]
) -> None:
    times = Counter(layers)
    if missing := [at for at in wanted if not times[at]]:
        raise MissingEvidence(f"'{experiment}' lacks L{', L'.join(map(str, missing))} for: {measure.rows}")
    if twice := [at for at, n in times.items() if n > 1]:
        raise MissingEvidence(f"'{experiment}' holds L{twice[0]} {times[twice[0]]} times for: {measure.rows}")


def _increments(series: Series, measure: Measure) -> Float[np.ndarray, "rows prompts"]:
    if not series.constant:
        return np.asarray(np.diff(series.values, axis=0, prepend=0.0))
    squares = np.diff(series.values**2, axis=0, prepend=0.0)
    if (squares < -1e-9 * series.values**2).any():
        raise MissingEvidence(
            f"{series.metric} falls from one block to the next for: {measure.rows}; increments need the norm of the "
            "blocks from L0 on"
        )
    return np.asarray(np.sqrt(squares.clip(min=0.0)))


def _inconstant(series: Series) -> str | None:
    """The problem of a constant that is none, or None. Rounding apart, it is one number a training."""
    if not series.constant or series.problem:
        return None
    seeds = np.array([prompt.seed for prompt in series.prompts])
    for seed in np.unique(seeds):
        own = series.values[:, seeds == seed]
        if (np.ptp(own, axis=1) > 1e-6 * np.abs(own).max(axis=1)).any():
            return f"{series.metric} differs between prompts of seed {seed}: it is a number of the adapter"
    return None
