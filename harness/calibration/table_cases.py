"""Trials on made-up tables: which card is asked of which table, and one such trial.

A case is one universal card. `size` is its truth in a superpopulation of templates, and every trial draws its templates
and prompts anew (`harness.calibration.population`), so its verdicts are of two sorts:

    redrawn          one draw of the suite
    redrawn-pooled   the three draws that CLAIMS.md pools, which share templates as the suite's draws do

A card that needs its seeds together (`over_seeds`) is judged on the three alone.
"""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from harness.calibration import tables_of_adapters as adapters
from harness.calibration import tables_of_blocks as blocks
from harness.calibration import tables_of_donors as donors
from harness.calibration import tables_of_mechanism as mechanism
from harness.calibration import tables_of_positions as positions
from harness.calibration import tables_of_sets as sets
from harness.calibration import tables_of_steering as steering
from harness.calibration import tables_of_training as training
from harness.calibration.asked import Asked, Made, Make
from harness.calibration.cards import Card, card
from harness.calibration.chapters import EXIT, HEADS, HUB, MECHANISM, SKIP, Case
from harness.calibration.models import Workshop
from harness.calibration.pool import Tokens
from harness.calibration.population import LOG_SD, Sampler, Suite, json_of, random_noise
from harness.calibration.table_truth import table_size
from harness.calibration.trials import MOST_SIZE, SEED, trial_id
from harness.experiments.definition import SEEDS
from harness.protocols import Protocol
from harness.verdicts.judging import judge

SUBLAYERS, POSITIONS, PATCHING, STEERING, KNOCKOUT, ROBUSTNESS = (
    "7. Attention and MLP",
    "8. Token positions",
    "9. Activation patching",
    "10. Steering",
    "11. Skill knockout",
    "12. Length, wording and breadth",
)
NORMS, TRANSFER, TRAINED, SWEEPS, STEPS, SETS, DEOBFUSCATION = (
    "13. Adapter norms and effects",
    "14. Transfer of adapted activations",
    "15. What training changes",
    "16. Rank and modules",
    "17. Training step by step",
    "18. Where an adapter stands",
    "19. Skills of deobfuscation",
)
FALSE = (0.3, 0.7, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99)
TRUE = (1.05, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0)
LAYERS = (6, 13)
"""Depths of the models, the second left out."""
RANKED = 9
"""Fewer blocks have too few orders for a rank correlation to come near any wanted value."""
GAINED_SD, RECOVERED_SD = (0.3, 0.8), (0.03, 0.3)
"""Ranges of the standard deviation of a gain, nats, and of a recovery."""


@dataclass(frozen=True, kw_only=True)
class TableCase(Case):
    """One card asked of made-up tables."""

    table: Make
    sd: tuple[float, float] = GAINED_SD
    log_sd: tuple[float, float] = LOG_SD
    least_layers: int = LAYERS[0]
    protocol: Protocol = Protocol.SOUND


@lru_cache(maxsize=2)
def _suite(tokens: Tokens) -> Suite:
    return Suite(tokens)


def run_table(shop: Workshop, case: Case, target: float, index: int) -> dict[str, Any]:
    """The trial's record, as `trials.run_trial` gives it."""
    assert isinstance(case, TableCase)
    start = time.process_time()
    key = [SEED, zlib.crc32(case.name.encode()), round(1000 * target), index]
    one = card(shop.claims, case.name, case.protocol)
    asked = made_up(shop, case, one, target, np.random.default_rng(key))
    made = case.table(asked)
    made = made if isinstance(made, Made) else Made(population=made)
    outcome: dict[str, Any] = {"card": one.name, "size": truth(asked, made, key)}
    ways = {"redrawn-pooled": len(SEEDS)} | ({} if shop.claims[one.name].over_seeds else {"redrawn": 1})
    for way, n_seeds in ways.items():
        tables = made.population(Sampler(asked.suite, asked.noise, key, n_seeds))
        judged = judge(one.claim, one.protocol, tables, n_layers=asked.n_layers)
        outcome[way] = [str(judged.verdict), judged.p_value]
    return {
        "id": trial_id(case, target, index),
        "chapter": case.chapter,
        "case": case.name,
        "target": target,
        "kind": "made up",
        "n_layers": asked.n_layers,
        "noise": json_of(asked.noise),
        "seconds": round(time.process_time() - start, 2),
        "outcomes": [outcome],
    }


def made_up(shop: Workshop, case: TableCase, one: Card, target: float, rng: np.random.Generator) -> Asked:
    """What is asked of the table: a random depth and random noise."""
    return Asked(
        card=one,
        target=target,
        n_layers=int(rng.integers(case.least_layers, LAYERS[1])),
        rng=rng,
        suite=_suite(shop.tokens),
        noise=random_noise(rng, sd=case.sd, log_sd=case.log_sd),
    )


def truth(asked: Asked, made: Made, key: list[int]) -> float:
    """The card's size: that of its criterion that is least true."""
    if made.size is not None:
        return round(made.size, 4)
    exact = made.population(Sampler(asked.suite, None, key, len(SEEDS)))
    found = min(table_size(criterion, exact, asked.n_layers) for criterion in asked.criteria)
    return round(min(found, MOST_SIZE), 4) if math.isfinite(found) else MOST_SIZE


def _cases(
    chapter: str,
    models: int,
    makers: dict[str, Make],
    sd: tuple[float, float] = GAINED_SD,
    least_layers: int = LAYERS[0],
    *,
    log_sd: tuple[float, float] = LOG_SD,
    protocol: Protocol = Protocol.SOUND,
) -> tuple[TableCase, ...]:
    """A case a card, so many models for each target."""
    return tuple(
        TableCase(
            chapter=chapter,
            name=name,
            table=make,
            targets=FALSE + TRUE,
            models=models,
            again=0,
            cards=(name,),
            code=(run_table,),
            sd=sd,
            log_sd=log_sd,
            least_layers=least_layers,
            protocol=protocol,
        )
        for name, make in makers.items()
    )


TABLE_CASES: tuple[TableCase, ...] = (
    *_cases(HUB, 50, {"hub-exists": blocks.hub}),
    *_cases(
        SKIP,
        36,
        dict.fromkeys(("audit-skip", "every-layer-necessary", "skip-all-scales"), positions.bounded),
    ),
    *_cases(EXIT, 80, {"early-exit-fails-everywhere": positions.bounded}),
    *_cases(HEADS, 25, dict.fromkeys(("head-none-moves-a-nat", "head-some-matters"), positions.bounded)),
    *_cases(
        MECHANISM,
        40,
        {
            "massive-write-50x": mechanism.raised,
            "massive-first-token-is-all": mechanism.sharing,
            "massive-mean-keeps-intact": mechanism.intact,
            "massive-zero-is-the-hub": mechanism.sharing,
            "massive-undoing-the-write-is-the-hub": mechanism.sharing,
            "massive-nowhere-else": mechanism.sharing,
            "massive-idle-before-the-write": mechanism.sharing,
            "massive-direction-matters": mechanism.sharing,
        },
        mechanism.RISE_SD,
        log_sd=mechanism.LOG_SD,
    ),
    *_cases(
        MECHANISM,
        40,
        dict.fromkeys(
            ("massive-writer-is-hub", "massive-writer-leads-past-the-first-sixth"), mechanism.leading
        ),
        mechanism.RISE_SD,
    ),
    *_cases(
        SUBLAYERS,
        36,
        {
            "mlp-l0-always-top": blocks.extreme,
            "mlp-outweighs-attention": blocks.ordered,
            "ablation-noise-is-worse-than-mean": blocks.ordered,
            "zero-ablation-conservative": blocks.ordered,
        },
    ),
    *_cases(
        SUBLAYERS,
        36,
        {
            "ablation-zero-largest": blocks.zero_largest,
            "ablation-rank-preserved": blocks.same_top_three,
            "ablation-mean-agrees": blocks.agreeing,
            "ablation-clean-to-corrupt-agrees": blocks.agreeing,
        },
        least_layers=RANKED,
    ),
    *_cases(SUBLAYERS, 36, {"ablation-attention-agrees": blocks.agreeing}, least_layers=RANKED),
    *_cases(
        POSITIONS,
        40,
        {
            "position-operators-add-little": positions.bounded,
            "position-late-blocks-last-only": positions.bounded,
            "position-first-leads": positions.outweighed,
            "position-first-is-constant": positions.outweighed,
            "edges-content-carries": positions.bounded,
            "edges-content-read-late": positions.outweighed,
            "edges-content-done-by-last-sixth": positions.bounded,
            "edges-first-rests": positions.outweighed,
        },
    ),
    *_cases(
        PATCHING,
        36,
        {
            "patching-starts-at-the-subject": positions.recoveries,
            "patching-ends-at-the-last-token": positions.recoveries,
            "patching-nothing-between": positions.recoveries,
            "patching-attention-moves-it": positions.recoveries,
        },
        RECOVERED_SD,
    ),
    *_cases(
        PATCHING, 36, {"patching-directions-agree": positions.directions}, RECOVERED_SD, least_layers=RANKED
    ),
    *_cases(
        STEERING,
        36,
        {
            "steering-facts-raised": steering.raised,
            "steering-facts-rises": steering.rising,
            "steering-facts-beats-controls": steering.beating,
            "stance-contrast-steers": steering.rising,
            "stance-contrast-beats-controls": steering.beating,
            "steering-quarter-spares-others": steering.moving,
            "steering-whole-step-moves-others": steering.moving,
            "steering-text-ledger-threshold": steering.written,
            "steering-text-kept-by-a-quarter": steering.written,
            "steering-text-lost-to-facts": steering.written,
            "steering-text-stays-in-script": steering.written,
        },
    ),
    *_cases(
        STEERING,
        36,
        {"steering-depth-own-length": steering.falling, "steering-depth-one-length": steering.falling},
        least_layers=RANKED,
    ),
    *_cases(
        KNOCKOUT,
        240,
        {
            "knockout-facts-selective": steering.dropped,
            "knockout-facts-index": steering.dropped,
            "knockout-facts-beats-random": steering.more_selective,
        },
    ),
    *_cases(
        ROBUSTNESS,
        36,
        {
            "length-hub-stays": blocks.same_top,
            "length-mlp-stays": blocks.same_top,
            "wording-hub-stays": blocks.same_top,
            "breadth-hub-stays": blocks.same_top,
            "precision-hub-stays": blocks.same_top,
            "one-prompt-a-family-misleads": blocks.one_prompt,
            "length-steering-rises": steering.rising,
            "length-steering-weakens": steering.weakening,
        },
    ),
    *_cases(
        ROBUSTNESS,
        36,
        {
            "length-profile-agrees": blocks.agreeing,
            "wording-profile-agrees": blocks.agreeing,
            "precision-profile-agrees": blocks.agreeing,
        },
        least_layers=RANKED,
    ),
    *_cases(
        NORMS,
        36,
        {"adapter-norm-tells-effect": adapters.correlated, "adapter-norm-beyond-depth": adapters.correlated},
        least_layers=RANKED,
        log_sd=adapters.LOG_SD,
    ),
    *_cases(
        NORMS,
        36,
        {"adapter-pasted-effect-rises": adapters.compared},
        log_sd=adapters.LOG_SD,
        protocol=Protocol.PUBLISHED,
    ),
    *_cases(
        NORMS,
        36,
        dict.fromkeys(
            ("adapter-acts-late", "adapter-outweighs-random", "adapter-one-block-little"), adapters.compared
        ),
        log_sd=adapters.LOG_SD,
    ),
    *_cases(TRANSFER, 42, {"transfer-half-by-the-middle": adapters.reached}, protocol=Protocol.PUBLISHED),
    *_cases(
        TRANSFER,
        42,
        {
            "transfer-contributions-late": adapters.reached,
            "transfer-one-block-not-enough": adapters.recovered,
            "transfer-last-token-late": adapters.reached,
            "transfer-there-and-back": adapters.turned,
            "transfer-no-block-needed": adapters.recovered,
            "transfer-own-prompt-needed": adapters.recovered,
        },
    ),
    *_cases(TRANSFER, 42, {"transfer-random-donor-inert": donors.inert}, training.GAINED_SD),
    *_cases(
        TRAINED,
        48,
        {
            "training-raises-json": training.raised,
            "training-raises-each-skill": training.raised,
            "training-random-update-inert": training.raised,
            "training-spares-other-skills": training.raised,
            "training-json-moves-json-most": training.leading,
            "stacking-average-is-a-low-bar": training.outdone,
            "stacking-svd-keeps-the-sum": training.kept,
            "stacking-svd-one-rank-each": training.kept,
        },
        training.GAINED_SD,
    ),
    *_cases(TRAINED, 96, {"training-skills-differ-in-layers": training.differing}, least_layers=RANKED),
    *_cases(
        SWEEPS,
        320,
        dict.fromkeys(("lora-o-alone-suffices", "lora-half-the-rank-suffices"), training.outdone),
        training.GAINED_SD,
    ),
    *_cases(
        SWEEPS,
        240,
        {"lora-doubling-adds-little": training.stepping, "lora-o-outdoes-q": training.stepping},
        training.GAINED_SD,
    ),
    *_cases(
        SWEEPS,
        240,
        {"lora-rank-spreads-mlps": adapters.spread_out, "lora-rank-spreads-blocks": adapters.spread_out},
        log_sd=adapters.LOG_SD,
    ),
    *_cases(
        SETS,
        180,
        dict.fromkeys(
            (
                "sets-map-beats-random",
                "sets-map-learns-faster",
                "sets-map-keeps-up",
                "sets-any-blocks-do",
            ),
            sets.beating,
        ),
        training.GAINED_SD,
    ),
    *_cases(
        DEOBFUSCATION,
        480,
        dict.fromkeys(
            ("deobfuscation-spares-the-others", "deobfuscation-random-update-inert"), training.raised
        ),
        training.GAINED_SD,
    ),
    *_cases(STEPS, 60, {"training-most-by-step-10": training.outdone}, training.GAINED_SD),
    *_cases(
        STEPS,
        60,
        {"training-profile-was-there": training.ranked, "training-top-was-there": training.sharing_top},
        least_layers=RANKED,
    ),
)
