"""Adapted rows x prompts: from adapters, trained or taken from the cache, to a table with its controls. Resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from harness.adapters.artifacts import Adapters
from harness.adapters.texts import JsonTexts
from harness.adapters.training import parameters_digest
from harness.adapters.two_models import Table, TwoModels
from harness.adapters.values import Adapted, Graft
from harness.adapters.weights import OpenBar, Supply, Weights
from harness.edits import InvalidEdit, Probe, to_json
from harness.effects import BASELINE, VALID_JSON
from harness.engine.sweep import Item, sweep
from harness.evidence import Check, Question
from harness.experiments import controls
from harness.floor import LIMIT_NATS
from harness.store import Partial, Store

if TYPE_CHECKING:
    from harness.measure import Subject


@dataclass(frozen=True, kw_only=True)
class AdaptedTable:
    """What one experiment on adapters gave: METRICS and ADAPTED of every row, VALID_JSON where texts are written,
    and what is known of the instrument.
    """

    metrics: Table
    baseline: dict[str, Float[np.ndarray, " prompt"]]
    controlled: Table
    """The rows of `harness.experiments.controls`, of the base model."""
    checks: tuple[Check, ...]
    provenance: tuple[Mapping[str, Any], ...]
    """Each adapter at each step that was used: see `Supply.provenance`."""


def measure_adapted(
    subject: Subject,
    question: Question,
    adapters: Adapters,
    items: Sequence[Item],
    probes: Sequence[Probe],
    store: Store,
    memory_bytes: int,
    open_bar: OpenBar,
    texts: JsonTexts | None = None,
    families: Sequence[str] = (),
) -> AdaptedTable:
    """Every row on every prompt; adapters that are not there yet are trained. With `texts`, what they write is judged.

    `families`, of each prompt its own, are asked for where a row is given another prompt's activations.
    What is measured is kept in the store's partial record after every set of weights, and not measured again.
    Raises InvalidEdit for a row that means nothing on this model, and what training, the sweep and the store raise.
    """
    rows = _valid(probes, subject.stack.n_layers)
    before = parameters_digest(subject.loaded.model)
    controlled, base = sweep(subject.stack, items, controls(question.n_layers), memory_bytes=memory_bytes)
    sets = list(dict.fromkeys(Weights.of(row) for row in rows))
    beside = [weights.row() for weights in sets if weights.parts]
    parts = [part for weights in sets for part in weights.parts]
    supply = Supply(subject.loaded, question, adapters, parts, open_bar)
    others = other_prompts(items, families) if any(r.graft is Graft.ANOTHERS_LAST for r in rows) else ()
    models = TwoModels(subject.stack, items, supply, memory_bytes, texts, others)
    kept = _kept(store, question, [*rows, *beside], supply, models)
    _fill(kept, models, sets, [*rows, *beside], question, store, open_bar)
    on = {name: values[len(rows) :] for name, values in kept.metrics.items()}
    if texts is not None:
        with open_bar(f"{question.cell}, texts of the base", len(texts.asked)) as advance:
            base = {**base, VALID_JSON: texts.valid(subject.stack, advance)}
    checks = _switched(question.dtype, on, beside, models.off_nats())
    unchanged = parameters_digest(subject.loaded.model) == before
    return AdaptedTable(
        metrics={name: values[: len(rows)] for name, values in kept.metrics.items()},
        baseline=base,
        controlled=controlled,
        checks=(*checks, _unchanged(unchanged)),
        provenance=supply.provenance(),
    )


def other_prompts(items: Sequence[Item], families: Sequence[str]) -> tuple[int, ...]:
    """For each prompt the next one of its family with another answer, the first after the last.

    Where all answers of the family are alike it is the next of other tokens. Raises InvalidEdit where there is none.
    """
    found = []
    for i, (item, family) in enumerate(zip(items, families, strict=True)):
        after = [(i + step) % len(items) for step in range(1, len(items))]
        others = [j for j in after if families[j] == family and items[j].ids != item.ids]
        if not others:
            raise InvalidEdit(f"no other prompt of {family} is drawn, whose activations could be given")
        found.append(next((j for j in others if items[j].answer != item.answer), others[0]))
    return tuple(found)


def _valid(probes: Sequence[Probe], n_layers: int) -> list[Adapted]:
    rows = []
    for probe in probes:
        if not isinstance(probe, Adapted):
            raise InvalidEdit(f"'{probe}': rows of an experiment on adapters are Adapted")
        if probe.edit is not None and probe.against == "base":
            raise InvalidEdit(
                f"'{probe}': an edit under an adapter is compared with the same adapter, unedited"
            )
        if wrong := [layer for layer in probe.layers if not 0 <= layer < n_layers]:
            raise InvalidEdit(f"'{probe}': it names L{wrong[0]}, and the model has L0 to L{n_layers - 1}")
        rows.append(probe)
    return rows


def _kept(
    store: Store, question: Question, rows: Sequence[Adapted], supply: Supply, models: TwoModels
) -> Partial:
    """What an interrupted run of the same rows and adapters has measured, or an empty table."""
    n_prompts = len(models.items)
    shape = (len(rows), n_prompts)
    named = json.dumps([[to_json(row) for row in rows], list(supply.digests.values())])
    digest = hashlib.sha256(named.encode()).hexdigest()
    kept = store.get_partial(question, shape)
    if kept is not None and kept.probes == digest:
        return kept
    return Partial(
        metrics={name: np.full(shape, np.nan) for name in models.names},
        baseline={name: np.full(n_prompts, np.nan) for name in BASELINE},
        done=np.zeros(n_prompts, dtype=bool),
        probes=digest,
    )


def _fill(
    kept: Partial,
    models: TwoModels,
    sets: Sequence[Weights],
    rows: Sequence[Adapted],
    question: Question,
    store: Store,
    open_bar: OpenBar,
) -> None:
    """Measure the sets of weights that are not there yet, keeping the table after each."""
    members = {weights: [i for i, row in enumerate(rows) if Weights.of(row) == weights] for weights in sets}
    missing = [w for w in sets if np.isnan(kept.metrics["kl_nats"][members[w]]).any()]
    if not missing:
        return
    label = question.cell
    if len(missing) < len(sets):
        label += f" (resumed: {len(sets) - len(missing)} of {len(sets)} sets of weights are kept)"
    needing = {weights: [rows[i] for i in members[weights]] for weights in missing}
    with open_bar(label, sum(models.n_cells(*each) for each in needing.items())) as advance:
        for weights in missing:
            for name, values in models.measure(weights, needing[weights], advance).items():
                kept.metrics[name][members[weights]] = values
            store.put_partial(question, kept)


def _switched(dtype: str, on: Table, rows: Sequence[Adapted], off_nats: float) -> list[Check]:
    """Off is the base and on is not; `on` has every set of weights in all blocks, against the base."""
    limit = LIMIT_NATS[dtype]
    reach = [
        (norm, Weights.of(row).finished, np.abs(kl).max())
        for row, norm, kl in zip(rows, on["update_norm"][:, 0], on["kl_nats"], strict=True)
    ]
    off = float(np.max([off_nats, *(most for norm, _, most in reach if norm == 0.0)]))
    checks = [
        Check(
            name="adapter_off",
            passed=off <= limit,
            value=off,
            sentence="with every adapter switched off again, and with one that adds nothing, predictions are at most "
            f"{limit:g} nats from the base's",
        )
    ]
    if finished := [most for _, ended, most in reach if ended]:
        least = float(np.min(finished))
        checks.append(
            Check(
                name="adapter_on",
                passed=least > limit,
                value=least,
                sentence=f"each trained adapter, wholly on, moves some prediction by more than {limit:g} nats",
            )
        )
    return checks


def _unchanged(same: bool) -> Check:
    return Check(
        name="base_unchanged",
        passed=same,
        value=float(same),
        sentence="the weights of the model that was handed in are the same to the bit afterwards",
    )
