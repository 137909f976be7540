"""Chapter: can the five skills be taught that undo obfuscated code, and do their adapters leave each other alone?

The atlas planned the study (decode a string, fold a constant, simplify control flow, rename a variable, drop dead code)
and left its file empty. Each skill gets one adapter by the same recipe as the others, judged by what it adds to the
log-probability of held-out answers.

Thresholds stood before these numbers were seen; what is expected of SmolLM2-135M was noted after its first run.
"""

import pytest

from harness.adapters.values import SOUND as RECIPE
from harness.adapters.values import Adapted, Kind, Part
from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.experiments.adapter_sets import DEOBFUSCATION
from harness.verdicts.criteria import Contrast, OfFamilies, Term
from harness.verdicts.verdict import Verdict

CHAPTER = "19. Skills of deobfuscation"

SOUND = Protocol.SOUND
PROTOCOLS = (SOUND,)
"""Of the snapshots: the atlas measured nothing."""

REPORT = "atlas, audit page (seed 003)"
TENTH = "a tenth of a nat, the least effect that counts"


def _adds(
    family: str,
    part: Part,
    on: tuple[str, ...],
    what: str,
    why: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> OfFamilies:
    row = Adapted(parts=(part,))
    return OfFamilies(
        families=on,
        criterion=Contrast(
            experiment="adapter_deobfuscation",
            what=f"what {what} of {family} adds to the answer's log-probability",
            terms=(Term(weight=1.0, of=row), Term(weight=-1.0)),
            rationale=why,
            at_least=at_least,
            at_most=at_most,
        ),
    )


def _own(family: str, at_least: float, why: str) -> OfFamilies:
    part = Part(family=family, recipe=RECIPE)
    return _adds(family, part, (family,), "the adapter", why, at_least=at_least)


def _halves(family: str) -> OfFamilies:
    """What is left of the base's surprisal is at most half of it: a rise in nats is bounded by what there was."""
    row = Adapted(parts=(Part(family=family, recipe=RECIPE),))
    return OfFamilies(
        families=(family,),
        criterion=Contrast(
            experiment="adapter_deobfuscation",
            what=f"the answer's log-probability under the adapter of {family}, less half of the base's",
            terms=(Term(weight=1.0, of=row), Term(weight=-0.5)),
            at_least=0.0,
            rationale="half of what could be learned; a rise in nats would ask more of a skill that the base lacks",
        ),
    )


LEARNED = tuple(_own(family, 0.1, f"{TENTH}: with less nothing was learned") for family in DEOBFUSCATION)


CLAIMS = (
    Claim(
        id="block-h-deobf",
        sentence="The study of deobfuscation was done in part.",
        source=REPORT,
        falsified_by="no adapter trained and nothing measured",
        models=("qwen0_5b", "qwen1_5b"),
        untestable="It states that work is done, not what was found. The published file holds no number: generators of "
        "five skills were written, and no adapter was trained. The five are trained and measured here",
        published=(Published(value="partial", unit="", what="status", source=REPORT),),
    ),
    Claim(
        id="deobfuscation-each-skill-learned",
        sentence="Each of five skills of deobfuscation can be taught: its adapter takes away half of the surprisal of "
        "held-out answers.",
        source="this suite: the study that the atlas left empty",
        falsified_by="an adapter that leaves more than half of it",
        models=EVERY_MODEL,
        criteria={SOUND: tuple(_halves(family) for family in DEOBFUSCATION)},
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.INCONCLUSIVE}},
        borderline={SOUND: ("smollm2_135m",)},
    ),
    Claim(
        id="deobfuscation-spares-the-others",
        sentence="None of these adapters costs the other four skills more than half a nat on average.",
        source="this suite: whether five edits could stand side by side",
        falsified_by="an adapter under which the answers of the other four lose more than half a nat",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                _adds(
                    family,
                    Part(family=family, recipe=RECIPE),
                    tuple(other for other in DEOBFUSCATION if other != family),
                    "the adapter",
                    "half of what training is asked to add",
                    at_least=-0.5,
                )
                for family in DEOBFUSCATION
            )
        },
        presupposes=LEARNED,
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
    ),
    Claim(
        id="deobfuscation-random-update-inert",
        sentence="A random update of the same norm teaches none of the five.",
        source="this suite: the control",
        falsified_by="a random update that adds more than a tenth of a nat",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                _adds(
                    family,
                    Part(family=family, recipe=RECIPE, kind=Kind.RANDOM),
                    (family,),
                    "a random update like that",
                    f"{TENTH}, a tenth of what training is asked for",
                    at_most=0.1,
                )
                for family in DEOBFUSCATION
            )
        },
        presupposes=LEARNED,
    ),
)


def test_deobfuscation(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


@pytest.mark.parametrize("experiment", ["adapter_deobfuscation"])
def test_deobfuscation_snapshot(experiment, effects_cell, effects, snapshot):
    """What each skill's adapter does to all five, against the last accepted measurement."""
    assert effects(experiment, effects_cell) == snapshot
