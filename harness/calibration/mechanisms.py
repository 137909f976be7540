"""Planted trials of the hub-mechanism chapter: every model is built, loaded and measured by the engine.

    writes a massive number   random `massive` models: the massive number carries all of the effect, so that every card
                              is true, but where the writer stands before the blocks that are compared, and where CONST,
                              as one of the other dimensions, does more than a tenth of it (`harness.planted.massive`).
                              The truth about the random direction is not known
    writes none               random models of other kinds: no card is true, as each presupposes the write

They tell whether the engine finds the site and edits it as it should, and whether a model without a write is let pass:
all cards but that on the rise are inconclusive there, whatever their thresholds. How often a verdict errs near a
threshold, and from where on it sees what is true, made-up tables tell (`harness.calibration.tables_of_mechanism`).

Two cards have a size here: rise / 50, with values just above 1 and none just below, as a planted sink needs more than
50 to rest on; and the share that another dimension may have / that which CONST has, mostly far above 1.
"""

from __future__ import annotations

import math
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from harness.assessment import assess
from harness.calibration.chapters import MECHANISM, Case
from harness.calibration.identities import FALSE, TRUE
from harness.calibration.models import Workshop, measure_checkpoint
from harness.calibration.trials import MOST_SIZE, SEED, failed_gates, trial_id
from harness.claim import Claim
from harness.evidence import Evidence
from harness.planted import build
from harness.planted.channel import CHANNEL
from harness.planted.massive import OPENING, massive_plan
from harness.planted.writers import CONST, kl_of_logits
from harness.protocols import Protocol
from harness.verdicts.criteria import EditShare, WriterRaises

_WITHOUT_TRUTH = "massive-direction-matters"
_RISES = (1.05, 1.25, 1.5, 2.0, 4.0, 16.0, 256.0)
"""Multiples of the 50 that a planted sink needs."""
_EARLY = "massive-writer-leads-past-the-first-sixth"
_BEFORE = "massive-idle-before-the-write"
_OTHER_DIMENSIONS = "massive-nowhere-else"
_TABLES = ("layer_sweep", "hub_mechanism", "massive_writes")


def run_mechanism(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """The trial's record, as `trials.run_trial` gives it."""
    start = time.process_time()
    rng = np.random.default_rng([SEED, zlib.crc32(case.name.encode()), index])
    kind, n_layers, given = _massive(rng) if target == TRUE else _other(shop, rng)
    cards = [claim for name, claim in shop.claims.items() if name.startswith("massive-")]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(kind, root / "model", tokenizer=shop.tokens.tokenizer, **given)
        asked = [(name, Protocol.SOUND) for name in _TABLES]
        found = measure_checkpoint(root / "model", kind, root, asked, int(rng.integers(2**31)))

    def evidence(_: str, experiment: str, protocol: Protocol, __: int) -> Evidence:
        return found[experiment, protocol]

    judged = assess(cards, f"planted_{kind}", Protocol.SOUND, (0,), evidence)
    outcomes = [
        {"card": name, "size": truth, "drawn": [str(judgement.verdict), judgement.p_value]}
        for name, judgement in judged.items()
        if (truth := _truth(shop.claims[name], target, given, n_layers)) is not None
    ]
    return {
        "id": trial_id(case, target, index),
        "chapter": case.chapter,
        "case": case.name,
        "target": target,
        "kind": kind,
        "n_layers": n_layers,
        "seconds": round(time.process_time() - start, 2),
        "gates": failed_gates(found.values()),
        "outcomes": outcomes,
    }


def _truth(claim: Claim, target: float, given: dict[str, Any], n_layers: int) -> float | None:
    """The card's size where it has one: rise over the factor; else TRUE or FALSE, and None where it is not known."""
    if target == FALSE:
        return FALSE
    if claim.id == _EARLY and given["layer"] < math.ceil(n_layers / 6):
        return FALSE  # the writer stands before the blocks that are compared
    if claim.id in (_WITHOUT_TRUTH, *([_BEFORE] if given["layer"] == 0 else [])):
        return None
    criteria = claim.criteria[Protocol.SOUND]
    if all(isinstance(c, WriterRaises) for c in criteria):
        least = max(c.at_least for c in criteria if isinstance(c, WriterRaises))
        return round(min(MOST_SIZE, float(given["rise"]) / least), 4)
    return TRUE


def run_write(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """As `run_mechanism`, with the size of the card on other dimensions, which CONST decides."""
    start = time.process_time()
    _, _, given = _massive(np.random.default_rng([SEED, zlib.crc32(case.name.encode()), index]))
    size = constant_size(shop, given)
    record = run_mechanism(shop, case, target, index)
    for outcome in record["outcomes"]:
        if outcome["card"] == _OTHER_DIMENSIONS:
            outcome["size"] = size
    return {**record, "seconds": round(time.process_time() - start, 2)}


def constant_size(shop: Workshop, given: dict[str, Any]) -> float:
    """The share that another dimension may have of what the massive number moves, over that which CONST has.

    No other dimension and no other token moves anything. The closed form's means; one text stands for each template of
    the pool.
    """
    criteria = shop.claims[_OTHER_DIMENSIONS].criteria[Protocol.SOUND]
    allowed = min(c.at_most for c in criteria if isinstance(c, EditShare) and c.at_most is not None)
    plan = massive_plan(vocab_size=shop.vocab_size, **given)
    moved = np.zeros(2)
    for templates in shop.pool.clusters.values():
        for columns in templates:
            ids = (OPENING, *shop.pool.prompts.ids[columns[0]])
            base = plan.logits(ids)
            edited = [plan.logits(ids, held={(0, dim): 0.0}) for dim in (CONST, plan.dim)]
            moved += np.array([kl_of_logits(base, logits) for logits in edited]) / len(templates)
    constant, number = moved
    return round(float(min(MOST_SIZE, allowed * number / constant)), 4) if constant > 0.0 else MOST_SIZE


def _massive(rng: Generator) -> tuple[str, int, dict[str, Any]]:
    n = int(rng.integers(4, 8))
    before = float(rng.uniform(0.1, 1.0))
    given = {
        "layer": int(rng.integers(n - 1)),
        "dim": int(rng.integers(CHANNEL.start, CHANNEL.stop)),
        "n_layers": n,
        "seed": _seed(rng),
        "before": before,
        "rise": float(50.0 * _RISES[rng.integers(len(_RISES))] * rng.uniform(1.0, 1.1)),
        "sink_strength": float(rng.uniform(2.5, 4.0)),
        "background": float(rng.uniform(0.2, 0.25)),
    }
    return "massive", n, given


def _other(shop: Workshop, rng: Generator) -> tuple[str, int, dict[str, Any]]:
    kind = ("hub", "null", "random", "copy_head")[int(rng.integers(4))]
    n = 2 * int(rng.integers(2, 4))
    given: dict[str, Any] = {"n_layers": n, "seed": _seed(rng)}
    if kind == "hub":
        given["layer"] = int(rng.integers(n))
    elif kind == "copy_head":
        given |= {"layer": int(rng.integers(n)), "head": int(rng.integers(4))}
    elif kind == "random":
        given["block_scale"] = float(rng.uniform(0.1, 1.0))
    return kind, n, given


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31))


MECHANISM_CASES: tuple[Case, ...] = tuple(
    Case(
        chapter=MECHANISM,
        name=name,
        targets=(target,),
        models=models,
        cards=("massive-*",),
        kinds=kinds,
        code=(run,),
        measures=True,
    )
    for name, target, models, kinds, run in (
        ("writes a massive number", TRUE, 100, ("massive",), run_write),
        ("writes none", FALSE, 350, ("hub", "null", "random_weights", "copy_head"), run_mechanism),
    )
)
