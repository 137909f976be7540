"""One trial: a random planted model, judged by its cards on prompts drawn from the pool in three ways.

    drawn     as one seed of the suite draws them: what one cell of `pytest claims` judges
    redrawn   as many templates as one draw has, drawn with replacement: what the interval over templates supposes
    pooled    the draws of three seeds, a template's prompts in one cluster: what CLAIMS.md says
    redrawn-pooled   the same of a suite whose templates were drawn with replacement: the hard case of what it says

The suite has 12 to 15 templates a family and a draw of ten prompts uses ten of them, so drawn prompts differ less from
the population than a random sample of templates would: redrawn is the hard case. Effects are the closed form's. Every
MEASURED_EVERY-th model is also built, loaded and measured by the engine on a draw of the suite itself, and judged from
that evidence as the suite does it; both the numbers and the verdicts are compared with the closed form's.
"""

from __future__ import annotations

import math
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.assessment import assess
from harness.calibration.cards import Card
from harness.calibration.chapters import Asked, Case, number
from harness.calibration.models import Workshop, measure_model, worst_gap
from harness.calibration.pool import rename, suite_prompts, take
from harness.calibration.truth import size
from harness.effects import Effects
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.protocols import Protocol
from harness.verdicts.judging import judge
from harness.verdicts.verdict import Judgement

SEED = 20_260
MOST_SIZE = 100.0
"""Sizes beyond are kept as this: an effect of zero has none."""

MODES = ("drawn", "redrawn", "pooled", "redrawn-pooled")
POOLED_DRAWS = 3
"""As many seeds as the suite records."""


def run_trial(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """The trial's record: the model, and for each card its truth and the verdict in each mode."""
    start = time.process_time()
    rng = np.random.default_rng([SEED, *_key(case, target, index)])
    assert case.make is not None, f"{case.name}: see harness.calibration.identities"
    asked = case.make(shop, rng, target)
    per_family = EXPERIMENTS[asked.cards[0].experiments[0]].prompts_per_family
    population = asked.model.effects(asked.cards, shop.pool.prompts)
    drawn = _take(population, shop.pool.draw(per_family, rng))
    samples = []
    for _ in range(1 + case.again):
        samples.append(_take(population, shop.pool.redraw(per_family, rng)))
    judged = {"drawn": [_judge(card, drawn, asked) for card in asked.cards]}
    redrawn = [[_judge(card, sample, asked) for card in asked.cards] for sample in samples]
    judged["redrawn"] = redrawn[0]
    pooled = _pool_draws(population, shop, per_family, [SEED, *_key(case, target, index), POOLED_DRAWS])
    judged["pooled"] = [_judge(card, pooled, asked) for card in asked.cards]
    anew = _redraw_suite(population, shop, per_family, [SEED, *_key(case, target, index), POOLED_DRAWS, 1])
    judged["redrawn-pooled"] = [_judge(card, anew, asked) for card in asked.cards]
    record: dict[str, Any] = {}
    if case.measured(index):
        record["measured"] = _measured(shop, asked, int(rng.integers(2**31)))
    outcomes = [
        {
            "card": card.name,
            "size": _size(card, population, asked, shop),
            **{mode: [str(judged[mode][i].verdict), judged[mode][i].p_value] for mode in MODES},
            "again": _counts([sample[i] for sample in redrawn[1:]]),
        }
        for i, card in enumerate(asked.cards)
    ]
    return {
        "id": trial_id(case, target, index),
        "chapter": case.chapter,
        "case": case.name,
        "target": target,
        "kind": asked.model.kind,
        "n_layers": asked.model.n_layers,
        "seconds": round(time.process_time() - start, 2),
        **record,
        "outcomes": outcomes,
    }


def _key(case: Case, target: float, index: int) -> tuple[int, int, int]:
    return zlib.crc32(case.name.encode()), round(1000 * target), index


def trial_id(case: Case, target: float, index: int) -> str:
    """'1/lead/0.95/3'."""
    return f"{number(case.chapter)[1]}/{case.name}/{target:g}/{index}"


def _take(population: Mapping[str, Effects], columns: Sequence[int]) -> dict[str, Effects]:
    return {name: take(table, columns) for name, table in population.items()}


def _pool_draws(
    population: Mapping[str, Effects], shop: Workshop, per_family: int, seed: Sequence[int]
) -> dict[str, Effects]:
    """Three draws of the suite beside one another; templates keep their names."""
    rng = np.random.default_rng(seed)
    columns = [column for _ in range(POOLED_DRAWS) for column in shop.pool.draw(per_family, rng)]
    return {name: take(table, columns, renamed=False) for name, table in population.items()}


def _redraw_suite(
    population: Mapping[str, Effects], shop: Workshop, per_family: int, seed: Sequence[int]
) -> dict[str, Effects]:
    """Three draws of a suite of as many templates, each drawn from the population with replacement."""
    rng = np.random.default_rng(seed)
    columns, names = shop.pool.redraw_suite(per_family, POOLED_DRAWS, rng)
    return {name: rename(take(table, columns, renamed=False), names) for name, table in population.items()}


def _judge(card: Card, tables: Mapping[str, Effects], asked: Asked) -> Judgement:
    return judge(card.claim, card.protocol, tables, n_layers=asked.model.n_layers)


def _counts(judgements: Sequence[Judgement]) -> dict[str, int]:
    return dict(Counter(str(judgement.verdict) for judgement in judgements))


def _size(card: Card, population: Mapping[str, Effects], asked: Asked, shop: Workshop) -> float:
    found = min(size(c, population, shop.pool.weights, asked.model.n_layers) for c in card.criteria)
    return round(min(found, MOST_SIZE), 4) if math.isfinite(found) else MOST_SIZE


def _measured(shop: Workshop, asked: Asked, seed: int) -> dict[str, Any]:
    """The engine beside the closed form: the largest gap in nats, and the verdicts of both on one draw of the suite.

    A model that fails a check of the instrument is invalid to the suite, whatever the closed form says; `gates` names
    the checks.
    """
    experiments = tuple(dict.fromkeys(name for card in asked.cards for name in card.experiments))
    prompts = suite_prompts(shop.tokens, EXPERIMENTS[experiments[0]].prompts_per_family, seed)
    computed = asked.model.effects(asked.cards, prompts, "kl_nats")
    with tempfile.TemporaryDirectory() as root:
        wanted = [(name, Protocol.SOUND) for name in experiments]
        found = measure_model(asked.model, shop.tokens.tokenizer, Path(root), wanted, seed)

    def evidence(model: str, experiment: str, protocol: Protocol, seed: int) -> Evidence:
        return found[experiment, protocol]

    gap = max(worst_gap(found[name, Protocol.SOUND].effects, computed[name]) for name in experiments)
    verdicts = []
    for card in asked.cards:
        assessed = assess([card.claim], "planted", card.protocol, [seed], evidence)[card.claim.id]
        verdicts.append([str(assessed.verdict), str(_judge(card, computed, asked).verdict)])
    return {"gap_nats": float(f"{gap:.2g}"), "verdicts": verdicts, "gates": failed_gates(found.values())}


def failed_gates(evidence: Iterable[Evidence]) -> list[str]:
    """Names of the gates that failed in any of these records."""
    return sorted({check.name for record in evidence for check in record.failed})
