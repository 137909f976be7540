"""Trials of the instrument's own chapter: identities that hold by algebra, fail by algebra, or fail on some prompts.

The truth here is no mean: an identity is true where it holds on every prompt there is. Two sorts of trial:

    true        random checkpoints measured by the engine under `published` (and `sound` for the full-depth exit): what
                the algebra of an erased stream says must come out. A model with biases (kind random) does not leave a
                uniform output, so one identity is false of it; neither holds of blocks that were skipped, not erased
    violated    a table of three draws, as CLAIMS.md pools them, in which an identity holds but for a share (`target`)
                of the prompts, or of the templates with all their prompts: each is one of them with that chance, and
                there one cell is off by 1.05 to 3 times what is allowed. A verdict says what share of templates it
                cannot exclude (`harness.verdicts.reserve`): below that neither verdict is false
"""

from __future__ import annotations

import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from harness.anatomy import Anatomy
from harness.calibration.cards import Card, card
from harness.calibration.chapters import IDENTITY, Case
from harness.calibration.models import Workshop, measure_checkpoint
from harness.calibration.pool import suite_prompts
from harness.calibration.trials import SEED, trial_id
from harness.effects import Effects
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.experiments.definition import SEEDS
from harness.planted import build
from harness.protocols import Protocol
from harness.statistics.clusters import Clusters
from harness.verdicts.criteria import SameAsDeepest, WorstCase
from harness.verdicts.judging import judge
from harness.verdicts.reserve import largest_share
from harness.verdicts.selectors import Sets
from harness.verdicts.verdict import Judgement

TRUE, FALSE = 100.0, 0.0
"""The sizes of an identity that holds, and of one that does not."""

_CARDS = (
    ("x-residual-zero-constant", Protocol.PUBLISHED),
    ("residual-zero-uniform", Protocol.PUBLISHED),
    ("x-skip-last-layer-only", Protocol.PUBLISHED),
    ("full-depth-exit-exact", Protocol.SOUND),
    ("x-final-layer-exit-sanity", Protocol.PUBLISHED),
)
_SKIPPED = 2
"""The first two cards are also asked of blocks that were skipped."""


def run_identity(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """The trial's record, as `trials.run_trial` gives it."""
    start = time.process_time()
    rng = np.random.default_rng([SEED, zlib.crc32(case.name.encode()), round(1000 * target), index])
    kind, n_layers, outcomes = _true(shop, rng) if case.name == "true" else _violated(shop, rng, target)
    return {
        "id": trial_id(case, target, index),
        "chapter": case.chapter,
        "case": case.name,
        "target": target,
        "kind": kind,
        "n_layers": n_layers,
        "seconds": round(time.process_time() - start, 2),
        "outcomes": outcomes,
    }


def _true(shop: Workshop, rng: Generator) -> tuple[str, int, list[dict[str, Any]]]:
    biased = bool(rng.random() < 0.5)
    n_layers, seed = int(rng.integers(4, 8)), int(rng.integers(2**31))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        given: dict[str, Any] = {"n_layers": n_layers, "seed": seed, "tokenizer": shop.tokens.tokenizer}
        if biased:
            build("random", root / "model", block_scale=float(rng.uniform(0.1, 1.0)), **given)
        else:
            build("hub", root / "model", layer=int(rng.integers(n_layers)), **given)
        asked = [(name, Protocol.PUBLISHED) for name in ("layer_sweep", "layer_sets", "early_exit")]
        asked += [(name, Protocol.SOUND) for name in ("layer_sweep", "early_exit")]
        found = measure_checkpoint(root / "model", "any", root, asked, int(rng.integers(2**31)))
    outcomes = []
    for name, protocol in _CARDS:
        one = card(shop.claims, name, protocol)
        false = name == "x-final-layer-exit-sanity" or (name == "residual-zero-uniform" and biased)
        outcomes.append(_outcome(one.name, FALSE if false else TRUE, _judged(one, found, protocol)))
    for name, protocol in _CARDS[:_SKIPPED]:
        one = card(shop.claims, name, protocol)
        outcomes.append(_outcome(f"{name}, blocks skipped", FALSE, _judged(one, found, Protocol.SOUND)))
    return "random" if biased else "hub", n_layers, outcomes


def _judged(card: Card, found: dict[tuple[str, Protocol], Evidence], protocol: Protocol) -> Judgement:
    """The card on the tables measured under `protocol`. (No gate of the instrument is asked: none is lax here.)"""
    tables = {name: found[name, protocol].effects for name in card.experiments}
    return judge(card.claim, card.protocol, tables)


def _violated(shop: Workshop, rng: Generator, share: float) -> tuple[str, int, list[dict[str, Any]]]:
    n_layers = int(rng.integers(4, 13))
    draws = [suite_prompts(shop.tokens, 10, int(rng.integers(2**31))).records for _ in SEEDS]
    records = tuple(record for draw in draws for record in draw)
    clusters = Clusters.of(records)
    what = "templates" if rng.random() < 0.5 else "prompts"
    unit_of = [
        clusters.templates.index(key) if what == "templates" else i for i, key in enumerate(clusters.keys)
    ]
    off = (rng.random(len(records)) < share)[unit_of]
    name, protocol = _CARDS[int(rng.integers(4))]
    one = card(shop.claims, name, protocol)
    (criterion,) = one.criteria
    assert isinstance(criterion, WorstCase | SameAsDeepest)
    limit = criterion.at_most if isinstance(criterion, WorstCase) else criterion.tolerance_nats
    metric = criterion.metric if isinstance(criterion, WorstCase) else "kl_nats"
    read = criterion.select if isinstance(criterion, WorstCase) else Sets()
    tables = {}
    for experiment in one.experiments:
        probes = EXPERIMENTS[experiment].probes(protocol, Anatomy(n_layers=n_layers))
        values = {key: np.zeros((len(probes), len(records))) for key in (metric, "answer_logprob")}
        if experiment == one.experiments[0]:
            row = int(rng.choice([i for i, probe in enumerate(probes) if read.keep(probe, n_layers)]))
            values[metric][row, off] = limit * rng.uniform(1.05, 3.0, size=int(off.sum()))
        tables[experiment] = Effects(probes=probes, prompts=records, metrics=values, baseline={})
    judged = judge(one.claim, protocol, tables, n_layers=n_layers)
    size = FALSE if share > largest_share(clusters.n_templates) else None
    name = f"an identity, off on {share:.0%} of {what}"
    return "made up", n_layers, [_outcome(name, size, judged, "redrawn-pooled")]


def _outcome(name: str, size: float | None, judgement: Judgement, way: str = "drawn") -> dict[str, Any]:
    return {"card": name, "size": size, way: [str(judgement.verdict), judgement.p_value]}


IDENTITY_CASES: tuple[Case, ...] = (
    Case(
        chapter=IDENTITY,
        name="true",
        targets=(TRUE,),
        models=60,
        cards=tuple(name for name, _ in _CARDS),
        kinds=("random_weights", "hub"),
        code=(run_identity,),
        measures=True,
    ),
    Case(
        chapter=IDENTITY,
        name="violated",
        targets=(0.01, 0.05, 0.1, 1.0),
        models=110,
        cards=tuple(name for name, _ in _CARDS),
        code=(run_identity,),
    ),
)
