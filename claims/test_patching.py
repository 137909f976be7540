"""Chapter: where is the answer at which depth, told by moving it between the two prompts of a pair?

Denoising puts the clean run's activation into the corrupt run, noising the reverse. The atlas replaced the residual
stream at every position, which is the other run whatever the model computes; here one activation is replaced at one
class of positions: the tokens that the pair changes (the subject), the last token, and the others. Scores are
recoveries of the logit difference, 1 for the clean run's and 0 for the corrupt run's, over the pairs whose two runs lie
at least a nat apart.
"""

from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.edits import Stream
from harness.experiments import find_experiment
from harness.experiments.patching import NOISING, Where
from harness.verdicts.criteria import (
    DirectionsAgree,
    PairsAlign,
    RecoveryBound,
    WholePatchIsOtherRun,
    WorstCase,
)
from harness.verdicts.selectors import DepthPart, Patched
from harness.verdicts.verdict import Verdict

CHAPTER = "9. Activation patching"

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
PROTOCOLS = find_experiment(NOISING).protocols
OURS = "this suite: what is moved from the subject to the end, as accounts of factual recall have it"
ATLAS = "0.5B page, list of corrections"
RAW = "raw results, recomputed in the ledger"

WHY_HALF = "what holds most of the answer recovers more than half of it, and what does not recovers less"
WHY_PARTS = "a third and a sixth of the depth are the parts that the atlas's own layer sets use"
WHY_IDENTITY = "an identity: what float32 forward passes differ by, and nothing else, is allowed"


def _resid(where: Where, part: DepthPart = DepthPart.EVERY) -> Patched:
    return Patched(stream=Stream.RESID_POST, where=where, part=part)


IDENTITY = {
    PUBLISHED: (
        WorstCase(
            experiment=NOISING,
            select=_resid(Where.ALL),
            metric="kl_nats",
            at_most=1e-4,
            rationale=WHY_IDENTITY,
        ),
        WholePatchIsOtherRun(rationale=WHY_IDENTITY),
    ),
    SOUND: (WholePatchIsOtherRun(rationale=WHY_IDENTITY),),
}

CLAIMS = (
    Claim(
        id="patching-full-residual-trivial",
        sentence="Patching the whole residual stream of one prompt of a pair gives zero KL everywhere.",
        source="0.5B page",
        falsified_by="a block after which the patched run differs from the run it was patched from",
        models=EVERY_MODEL,
        criteria=IDENTITY,
        published=(
            Published(value=0.0, unit="nats", what="KL to the clean run, every layer and pair", source=ATLAS),
        ),
        note="It replicates, and says nothing about any model: with every position replaced, the run is the other run. "
        "Judged under 'sound' by the log-probabilities of answer and foil, in both directions.",
    ),
    Claim(
        id="full-residual-trivial-audit",
        sentence="Full-residual patching was trivial: it gives the run it was patched from.",
        source="audit page",
        falsified_by="a block after which the patched run differs from the run it was patched from",
        models=EVERY_MODEL,
        criteria=IDENTITY,
        published=(
            Published(value="8 of 17", unit="pairs", what="v1: read at the answer token itself", source=RAW),
        ),
        note="The first half is judged. The second is told by the published counts alone: the pairs that replaced the "
        "early ones are misaligned too.",
    ),
    Claim(
        id="pairs-v1-single-token",
        sentence="The second version of the pairs is aligned, and each of its targets is one token.",
        source="0.5B page",
        falsified_by="one pair of the 17 whose read position is not the token before the answer, or whose target is "
        "several tokens",
        models=("qwen0_5b",),
        untestable="the atlas's 17 pairs are not part of this suite. By the published counts it is false: 8 of the 17 "
        "are read at the answer token itself, and two of the targets, 12 and 31, are two tokens. What is judged "
        "of this suite's own pairs is patching-pairs-aligned",
        published=(
            Published(value=17, unit="pairs", what="said to be aligned", source=ATLAS),
            Published(value=8, unit="pairs", what="read at the answer token itself", source=RAW),
            Published(value=2, unit="targets", what="of two tokens: 12 and 31", source=RAW),
        ),
    ),
    Claim(
        id="patching-pairs-aligned",
        sentence="Under this model's tokenizer every pair that is patched is aligned and asks for one token.",
        source="this suite: what the atlas's pairs were meant to be",
        falsified_by="one pair of other lengths, of the same text, or that changes nothing before the last token",
        models=EVERY_MODEL,
        criteria={
            SOUND: (PairsAlign(rationale="an identity: patching position by position presupposes it"),)
        },
        note="Pairs that are not are left out when prompts are drawn; the evidence's provenance says how many.",
    ),
    Claim(
        id="patching-starts-at-the-subject",
        sentence="In the first third of the blocks the answer is decided at the tokens that the pair changes.",
        source=OURS,
        falsified_by="a block of the first third after which the changed tokens recover less than half, or the last "
        "token more than half",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                RecoveryBound(
                    select=_resid(Where.CHANGED, DepthPart.FIRST_THIRD),
                    at_least=0.5,
                    rationale=f"{WHY_HALF}; {WHY_PARTS}",
                ),
                RecoveryBound(
                    select=_resid(Where.LAST, DepthPart.FIRST_THIRD),
                    at_most=0.5,
                    rationale=f"{WHY_HALF}; {WHY_PARTS}",
                ),
            )
        },
        borderline={SOUND: ("smollm2_135m",)},
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
    ),
    Claim(
        id="patching-ends-at-the-last-token",
        sentence="In the last sixth of the blocks the answer is decided at the last token.",
        source=OURS,
        falsified_by="a block of the last sixth after which the last token recovers less than half, or the changed "
        "tokens more than half",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                RecoveryBound(
                    select=_resid(Where.LAST, DepthPart.LAST_SIXTH),
                    at_least=0.5,
                    rationale=f"{WHY_HALF}; {WHY_PARTS}",
                ),
                RecoveryBound(
                    select=_resid(Where.CHANGED, DepthPart.LAST_SIXTH),
                    at_most=0.5,
                    rationale=f"{WHY_HALF}; {WHY_PARTS}",
                ),
            )
        },
        borderline={SOUND: ("smollm2_135m",)},
    ),
    Claim(
        id="patching-nothing-between",
        sentence="At no depth do the other tokens hold most of the answer.",
        source=OURS,
        falsified_by="a block after which the tokens that the pair shares, the last apart, recover more than half",
        models=EVERY_MODEL,
        criteria={SOUND: (RecoveryBound(select=_resid(Where.REST), at_most=0.5, rationale=WHY_HALF),)},
        borderline={SOUND: ("smollm2_135m", "gemma3_270m")},
    ),
    Claim(
        id="patching-attention-moves-it",
        sentence="What one block's attention writes to the last token brings a tenth of the answer there by itself.",
        source=OURS,
        falsified_by="every block's attention recovering less than a tenth at the last token",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                RecoveryBound(
                    select=Patched(stream=Stream.ATTN_OUT, where=Where.LAST),
                    at_least=0.1,
                    some=True,
                    rationale="the last token is the same in both prompts, so only attention can bring it anything; by "
                    "a tenth one block stands out of thirty that share the work evenly",
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE}},
        borderline={SOUND: ("gemma3_270m",)},
    ),
    Claim(
        id="patching-directions-agree",
        sentence="Denoising and noising rank the blocks alike.",
        source="this suite: Heimersheim & Nanda 2024 on why they need not",
        falsified_by="a rank correlation below 0.8, at the changed tokens or at the last",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                DirectionsAgree(
                    select=_resid(where),
                    at_least=0.8,
                    rationale="the agreement that this suite asks of the profiles of two draws",
                )
                for where in (Where.CHANGED, Where.LAST)
            )
        },
        borderline={SOUND: ("smollm2_135m",)},
    ),
)


def test_patching(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_patching_noising_effects(effects_cell, effects, snapshot):
    """The effect of each patch into the clean run, against the last accepted measurement."""
    assert effects("patching_noising", effects_cell) == snapshot


def test_patching_denoising_effects(effects_cell, effects, snapshot):
    """The effect of each patch into the corrupt run, against the last accepted measurement."""
    assert effects("patching_denoising", effects_cell) == snapshot
