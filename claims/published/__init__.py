"""Figures of the atlas as they were published, with the cards that are arithmetic over them.

`<subject>.toml` holds the figures (their form: `harness.published`), `<subject>.py` the cards. Facts of architectures
stand among the figures under the model's id: `qwen0_5b.n_layers`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness.claim import Claim, Protocol
from harness.models.registry import known_models
from harness.published import Quantity, architecture, read_figures
from harness.verdicts.criteria import Arithmetic
from harness.verdicts.verdict import Verdict

FIGURES: Mapping[str, Quantity] = {**read_figures(Path(__file__).parent), **architecture(known_models())}

CONSISTENT, INCONSISTENT = Verdict.CONSISTENT, Verdict.INCONSISTENT
SMALL, MIDDLE, LARGE, HYBRID = ("qwen0_5b",), ("qwen1_5b",), ("qwen3b",), ("lfm2_230m",)
PAIR = (*SMALL, *MIDDLE)
SCALES = (*PAIR, *LARGE)
PAGE_0_5B = "atlas, 0.5B page (seed 002)"
PAGE_1_5B = "atlas, 1.5B page (seed 001)"
COMPARISON = "atlas, comparison page (seed 000)"
PHASE_2 = "atlas, Phase 2 (seed 003)"
AUDIT = "atlas, audit page (seed 004)"
PRINTED = "half a unit of the last printed digit"
ABOUT = "'about': a quarter of it either way"
EXACT = "a count, a label or an order is right or wrong"
AS_SAID = "the bound that the sentence states"
WHAT_IT_IS = "what the printed number is"
TWO_ERRORS = "a rank is found where the lead is two standard errors of the difference or more"


def gives(
    what: str,
    expression: str,
    claimed: float | str | tuple[str, ...],
    tolerance: float = 0.0,
    *,
    why: str = PRINTED,
    unit: str = "",
    relation: Literal["=", ">=", "<="] = "=",
) -> Arithmetic:
    """One computation on the published figures."""
    return Arithmetic(
        figures=FIGURES,
        what=what,
        expression=expression,
        claimed=claimed,
        tolerance=tolerance,
        relation=relation,
        unit=unit,
        rationale=why,
    )


def card(
    card_id: str,
    sentence: str,
    source: str,
    models: tuple[str, ...],
    verdict: Verdict,
    *computed: Arithmetic,
    note: str = "",
) -> Claim:
    """A claim that is judged from published figures, with the verdict that is expected."""
    return Claim(
        id=card_id,
        sentence=sentence,
        source=source,
        falsified_by="published figures that give something else",
        models=models,
        criteria={Protocol.PUBLISHED: computed},
        expected={Protocol.PUBLISHED: verdict},
        note=note,
    )


def undecided(card_id: str, sentence: str, source: str, models: tuple[str, ...], untestable: str) -> Claim:
    """A claim that no published figure decides."""
    return Claim(
        id=card_id,
        sentence=sentence,
        source=source,
        falsified_by="figures that were not published",
        models=models,
        joint=True,
        untestable=untestable,
    )
