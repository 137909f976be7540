"""Trials on matched nulls: the numbers of a planted checkpoint in random places (`harness.planted.matched_null`).

What was planted is gone; that nothing else is there is not true by construction. So the truth of cards about a block or
a head is measured: it is that of three draws of the suite together, which hold nearly every template; the verdict is
that on a fourth. Of the mechanism the whole is asked: that the writer of a massive number leads, and that token 0, the
number set to zero and its write undone each have its effect. It is false of every null. Its cards one by one need not
be: the constant that a planted model's norm rests on is scattered too, and some MLP then writes a large number to token
0 which nothing reads. Their verdicts are counted, without a truth.
"""

from __future__ import annotations

import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from harness.assessment import assess
from harness.calibration.cards import Card, at_layer, card, selecting
from harness.calibration.chapters import Case
from harness.calibration.identities import FALSE
from harness.calibration.models import Workshop, measure_checkpoint
from harness.calibration.table_truth import table_size
from harness.calibration.trials import MOST_SIZE, SEED, failed_gates, trial_id
from harness.effects import pool
from harness.evidence import Evidence
from harness.experiments.definition import SEEDS
from harness.planted import build, build_matched_null
from harness.planted.channel import CHANNEL
from harness.planted.writers import N_HEADS
from harness.protocols import Protocol
from harness.verdicts.selectors import Heads

NULLS = "Matched nulls"
WHOLE = "the whole mechanism"
_PARTS = (
    "massive-writer-is-hub",
    "massive-first-token-is-all",
    "massive-zero-is-the-hub",
    "massive-undoing-the-write-is-the-hub",
)


def run_null(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """The trial's record, as `trials.run_trial` gives it."""
    start = time.process_time()
    rng = np.random.default_rng([SEED, zlib.crc32(case.name.encode()), index])
    kind, given, cards = _SOURCES[case.name](shop, rng)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(kind, root / "source", tokenizer=shop.tokens.tokenizer, **given)
        build_matched_null(root / "model", like=root / "source", seed=int(rng.integers(2**31)))
        names = tuple(dict.fromkeys(name for one in cards for name in one.experiments))
        asked = [(name, Protocol.SOUND) for name in names]
        found = measure_checkpoint(root / "model", "null", root, asked, int(rng.integers(2**31)))
        known = (
            [measure_checkpoint(root / "model", "null", root, asked, seed) for seed in SEEDS]
            if kind != "massive"
            else []
        )

    def evidence(_: str, experiment: str, protocol: Protocol, __: int) -> Evidence:
        return found[experiment, protocol]

    outcomes = []
    for one in cards:
        judged = assess([one.claim], "planted_null", Protocol.SOUND, (0,), evidence)[one.claim.id]
        size = _size(one, known, given["n_layers"])
        outcomes.append({"card": one.name, "size": size, "drawn": [str(judged.verdict), judged.p_value]})
    return {
        "id": trial_id(case, target, index),
        "chapter": case.chapter,
        "case": case.name,
        "target": target,
        "kind": f"null of {kind}",
        "n_layers": given["n_layers"],
        "seconds": round(time.process_time() - start, 2),
        "gates": failed_gates(found.values()),
        "outcomes": outcomes,
    }


def _size(one: Card, known: list[dict[tuple[str, Protocol], Evidence]], n_layers: int) -> float | None:
    """The truth, from other draws; FALSE of the whole mechanism, None of its parts."""
    if not known:
        return FALSE if one.name == WHOLE else None
    tables = {
        name: pool([evidence[name, Protocol.SOUND].effects for evidence in known]) for name in one.experiments
    }
    return round(min(MOST_SIZE, min(table_size(c, tables, n_layers) for c in one.criteria)), 4)


Source = tuple[str, dict[str, Any], tuple[Card, ...]]


def _hub(shop: Workshop, rng: Generator) -> Source:
    n = int(rng.integers(4, 8))
    given = {"n_layers": n, "layer": int(rng.integers(n)), "seed": int(rng.integers(2**31))}
    named = at_layer(card(shop.claims, "hub-1_5b-l14", name="hub-1_5b-l14 where it was"), given["layer"])
    return "hub", given, (card(shop.claims, "hub-exists"), named)


def _head(shop: Workshop, rng: Generator) -> Source:
    n = int(rng.integers(4, 7))
    given = {
        "n_layers": n,
        "layer": int(rng.integers(n)),
        "head": int(rng.integers(N_HEADS)),
        "seed": int(rng.integers(2**31)),
    }
    some = card(shop.claims, "head-some-matters", name="head-some-matters where it was")
    there = selecting(some, Heads(heads=((given["layer"], given["head"]),)))
    return "copy_head", given, (there, card(shop.claims, "head-none-moves-a-nat"))


def _massive(shop: Workshop, rng: Generator) -> Source:
    n = int(rng.integers(4, 7))
    given = {
        "n_layers": n,
        "layer": int(rng.integers(n - 1)),
        "dim": int(rng.integers(CHANNEL.start, CHANNEL.stop)),
        "seed": int(rng.integers(2**31)),
    }
    cards = [card(shop.claims, name) for name in sorted(shop.claims) if name.startswith("massive-")]
    parts = [shop.claims[name].criteria[Protocol.SOUND] for name in _PARTS]
    criteria = {Protocol.SOUND: tuple(dict.fromkeys(c for part in parts for c in part))}
    whole = replace(cards[0], name=WHOLE, claim=replace(cards[0].claim, id=_PARTS[0], criteria=criteria))
    return "massive", given, (whole, *cards)


_SOURCES = {"null of a hub": _hub, "null of a copying head": _head, "null of a massive writer": _massive}

NULL_CASES: tuple[Case, ...] = tuple(
    Case(
        chapter=NULLS,
        name=name,
        targets=(FALSE,),
        models=135,
        cards=cards,
        kinds=(kind, "matched_null"),
        code=(run_null, make),
        measures=True,
    )
    for (name, make), cards, kind in zip(
        _SOURCES.items(),
        (("hub-exists", "hub-1_5b-l14"), ("head-some-matters", "head-none-moves-a-nat"), ("massive-*",)),
        ("hub", "copy_head", "massive"),
        strict=True,
    )
)
