"""Chapter: what of an adapted run can be carried over into the base model, and from which depth?

The atlas pastes the adapted run's whole stream into the base after a block. After the last block that is the adapted
prediction itself, in any model and for any adapter, and the curve must rise towards it: that it is high late says
nothing about where the adapter acts. Sound are what one block of the adapted run adds, in the base's own run, and the
adapted stream at the last token alone. The reverse brings the base's activations into the adapted run, and asks what is
undone. Controls on donors are the run under a random update of the same norm, and the adapted run on another prompt of
the family: what the first brings as well is nothing that was learned.

Recovery is 1 - KL(adapted || patched) / KL(adapted || base), means over the prompts that the adapter moves by 0.1 nats
or more: the atlas took in 15 prompts of 17 that it moved by less than 0.2.

Thresholds stood before any model was measured; what is expected of SmolLM2-135M was noted after its first run.
"""

from harness.adapters.values import Kind
from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.experiments.adapters import JSON
from harness.statistics.estimate import ANSWER_DROP
from harness.verdicts.adapter_selectors import EVERY_BLOCK, AdapterRows, BlockSet, On
from harness.verdicts.criteria import (
    AdapterRecovery,
    EveryProbe,
    OfFamilies,
    RecoveryDepth,
    RecoveryDepthsAgree,
    WorstCase,
)
from harness.verdicts.verdict import Verdict

CHAPTER = "14. Transfer of adapted activations"

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
EXPERIMENT = "adapter_transfer"
PAGE_05, PAGE_15, COMPARISON = "0.5B page", "1.5B page", "comparison page"
SMALL, MEDIUM = "qwen0_5b", "qwen1_5b"

LAST_TENTH = BlockSet(from_depth=0.9)
LAST_BLOCK = BlockSet(layers=(-1,))


def _stream(blocks: BlockSet = EVERY_BLOCK) -> AdapterRows:
    """The whole adapted stream pasted after a block: the adapter is on in all blocks up to it."""
    return AdapterRows(on=On.ONLY_UP_TO, blocks=blocks)


def _added(blocks: BlockSet = EVERY_BLOCK) -> AdapterRows:
    """What one block of the adapted run adds to the stream."""
    return AdapterRows(on=On.CONTRIBUTION, blocks=blocks)


def _last_token(blocks: BlockSet = EVERY_BLOCK) -> AdapterRows:
    """The adapted stream after a block, at the last token."""
    return AdapterRows(on=On.LAST, blocks=blocks)


def _nothing_brought(on: On) -> OfFamilies:
    return OfFamilies(
        families=(JSON,),
        criterion=EveryProbe(
            experiment=EXPERIMENT,
            select=AdapterRows(on=on, kind=Kind.RANDOM),
            metric=ANSWER_DROP,
            at_least=-0.1,
            rationale="a rise of a tenth of a nat, the least effect that counts, is a drop of -0.1",
        ),
    )


TRAINED_BRINGS = OfFamilies(
    families=(JSON,),
    criterion=EveryProbe(
        experiment=EXPERIMENT,
        select=AdapterRows(on=On.LAST, blocks=LAST_BLOCK),
        metric=ANSWER_DROP,
        at_most=-0.1,
        rationale="where not even the adapted prediction makes the answer a tenth of a nat likelier, a donor that "
        "brings nothing shows nothing",
    ),
)


def _same_prediction(rows: AdapterRows) -> WorstCase:
    return WorstCase(
        experiment=EXPERIMENT,
        select=rows,
        metric="kl_nats",
        at_most=1e-4,
        rationale="an identity; float32 alone moves a KL by less",
    )


OVERLAP = (
    "Contributions overlap (those of all blocks of SmolLM2-135M sum to 5.5 times the way), so that half of the way by "
    "the sum of some is a low bar."
)
IDENTITY = (
    "After the last block the pasted stream is all that the prediction is made of, so its recovery is 1 by "
    "construction, and the curve must rise towards it."
)
WHY_MOST = "most: half of the way from base to adapted"
WHY_PUBLISHED = "a twentieth below the least published, 0.947"

CLAIMS = (
    Claim(
        id="cross-model-0_5b-recovery",
        sentence="In Qwen2.5-0.5B the adapted behaviour is carried over best at L21 to L23.",
        source=PAGE_05,
        falsified_by="a paste there recovering less than 90%; in sound, what these blocks add, less than half",
        models=(SMALL,),
        criteria={
            PUBLISHED: (
                AdapterRecovery(
                    rows=_stream(BlockSet(layers=(21, 22, 23))), at_least=0.9, rationale=WHY_PUBLISHED
                ),
                _same_prediction(_stream(LAST_BLOCK)),
            ),
            SOUND: (
                AdapterRecovery(
                    rows=_added(BlockSet(layers=(21, 22, 23))), take="sum", at_least=0.5, rationale=WHY_MOST
                ),
            ),
        },
        published=(
            Published(value=1.0, unit="of the way", what="L23", source=PAGE_05),
            Published(value=0.966, unit="of the way", what="L22", source=PAGE_05),
            Published(value=0.947, unit="of the way", what="L21", source=PAGE_05),
            Published(value=0.87, unit="of the way", what="L20", source=PAGE_05),
        ),
        note=f"{IDENTITY} 15 of the 17 published prompts are moved by less than 0.2 nats in all. {OVERLAP}",
    ),
    Claim(
        id="cross-model-1_5b-recovery",
        sentence="In Qwen2.5-1.5B pasting the adapted stream recovers 98 to 100% from L24 on.",
        source=PAGE_15,
        falsified_by="a recovery at L24 to L27 a point below the published one",
        models=(MEDIUM,),
        criteria={
            PUBLISHED: tuple(
                AdapterRecovery(
                    rows=_stream(BlockSet(layers=(layer,))),
                    at_least=published - 0.01,
                    rationale="one point below the published value, as the ledger has it; none lies above 1",
                )
                for layer, published in ((24, 0.979), (25, 0.987), (26, 0.992), (27, 0.999))
            ),
            SOUND: (
                AdapterRecovery(
                    rows=_added(BlockSet(layers=(24, 25, 26, 27))),
                    take="sum",
                    at_least=0.5,
                    rationale=WHY_MOST,
                ),
            ),
        },
        published=(
            Published(value=0.999, unit="of the way", what="L27", source=PAGE_15),
            Published(value=0.992, unit="of the way", what="L26", source=PAGE_15),
            Published(value=0.987, unit="of the way", what="L25", source=PAGE_15),
            Published(value=0.979, unit="of the way", what="L24", source=PAGE_15),
        ),
        note=f"{IDENTITY} What misses 1 at L27 is bfloat16; the adapter and its data differ from those of 0.5B. "
        f"{OVERLAP}",
    ),
    Claim(
        id="cross-model-late-encoding",
        sentence="What training changed lives in the activations of the last blocks.",
        source="0.5B and 1.5B pages",
        falsified_by="the last tenth of the depth adding less than half of the recovery",
        models=(SMALL, MEDIUM),
        criteria={
            PUBLISHED: (
                AdapterRecovery(
                    rows=_stream(LAST_TENTH),
                    take="gain",
                    at_least=0.5,
                    rationale="half, as the ledger has it, of all: what the last tenth adds to what is there before it",
                ),
            ),
            SOUND: (AdapterRecovery(rows=_added(LAST_TENTH), take="sum", at_least=0.5, rationale=WHY_MOST),),
        },
        published=(
            Published(value="rises", unit="", what="recovery with the depth", source="both pages"),
            Published(
                value=0.947, unit="of the way", what="0.5B, before the last tenth", source="raw results"
            ),
        ),
        note=f"{IDENTITY} The published curves rise most at L10 and L21 (0.5B) and at L15 (1.5B). {OVERLAP}",
    ),
    Claim(
        id="cross-model-proportional-10pct",
        sentence="At both scales the adapted behaviour is carried over in the last tenth of the depth.",
        source=COMPARISON,
        falsified_by="half of the recovery reached before 88% of the depth, or at other shares of it in the two",
        models=(SMALL, MEDIUM),
        joint=True,
        criteria={
            protocol: (
                RecoveryDepthsAgree(
                    models=(SMALL, MEDIUM),
                    rows=rows,
                    within=0.05,
                    at_least=0.88,
                    rationale="0.05 is the ledger's; 88% is where the published zone begins",
                ),
            )
            for protocol, rows in ((PUBLISHED, _stream()), (SOUND, _added()))
        },
        published=(
            Published(value="88 to 96%", unit="of the depth", what="0.5B", source=COMPARISON),
            Published(value="89 to 96%", unit="of the depth", what="1.5B", source=COMPARISON),
            Published(
                value="0.58 and 0.54", unit="of the depth", what="half recovered", source="raw results"
            ),
        ),
        note=f"{IDENTITY} What the raw results have in common at both scales is the middle, where half is reached.",
    ),
    Claim(
        id="transfer-stream-identity",
        sentence="Pasted after the last block, the adapted stream is the adapted prediction, in any model.",
        source="algebra; the atlas reports it as a recovery of 100%",
        falsified_by="one prompt on which they differ by more than rounding",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (_same_prediction(_stream(LAST_BLOCK)),),
            SOUND: (_same_prediction(_last_token(LAST_BLOCK)),),
        },
        expected={PUBLISHED: Verdict.SUPPORTED, SOUND: Verdict.SUPPORTED},
        note="It says that the instrument works, and nothing about adapters. In sound it is the last token's stream "
        "alone, which is all that is read.",
    ),
    Claim(
        id="transfer-half-by-the-middle",
        sentence="Half of what the adapter does is carried over by the stream in the middle third of the depth.",
        source="this suite: what the atlas's raw results have in common at both scales, for any model",
        falsified_by="half recovered before a third of the depth, or after two thirds",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (
                RecoveryDepth(
                    rows=_stream(),
                    at_least=1 / 3,
                    at_most=2 / 3,
                    rationale="the middle third; raw results have 0.58 and 0.54",
                ),
            )
        },
        borderline={PUBLISHED: ("gemma3_270m", "smollm2_135m")},
        note="A KL grows with the square of what changed: an adapter that acts evenly over the depth has half of it "
        "recovered at 1 - sqrt(1/2) = 0.29 of the depth, not in the middle. Each family counts a fifth, and four of "
        "the five are not the adapter's own; on JSON prompts alone SmolLM2-135M reaches half at L9 of 30.",
        published=(
            Published(value="0.58 and 0.54", unit="of the depth", what="0.5B and 1.5B", source="raw results"),
        ),
    ),
    Claim(
        id="transfer-contributions-late",
        sentence="Of what single blocks carry over, half is added in the last third of the depth.",
        source="this suite: where the adapted run differs, without the paste that must end at 1",
        falsified_by="contributions reaching half of their sum before two thirds of the depth",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                RecoveryDepth(
                    rows=_added(),
                    at_least=2 / 3,
                    rationale="the last third would have to hold as much as the two before it",
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.REFUTED}},
        note="Recoveries of single blocks need not sum to 1, nor be positive: what a block adds holds what the blocks "
        "before it caused, and those of SmolLM2-135M sum to 5.5 times the way. The depth is that of half of their sum.",
    ),
    Claim(
        id="transfer-one-block-not-enough",
        sentence="What one block of the adapted run adds does not carry the behaviour over.",
        source="this suite: 'lives in a block' presupposes a block that carries most of it",
        falsified_by="a block whose contribution alone recovers half",
        models=EVERY_MODEL,
        criteria={
            SOUND: (AdapterRecovery(rows=_added(), at_most=0.5, rationale=WHY_MOST),),
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.REFUTED}},
        borderline={SOUND: ("gemma3_270m",)},
    ),
    Claim(
        id="transfer-last-token-late",
        sentence="The last token's stream carries over most of it only in the last third of the depth.",
        source="this suite: until then the change stands at other tokens, or is still to be made",
        falsified_by="half recovered by the last token's stream before two thirds of the depth",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                RecoveryDepth(
                    rows=_last_token(),
                    at_least=2 / 3,
                    rationale="the last third; its end is 1 by construction, so a late half is the weaker finding",
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
    ),
    Claim(
        id="transfer-last-token-by-answer",
        sentence="Also by the answer's log-probability, the last token's stream carries over most of the adapter only "
        "in the last third of the depth.",
        source="this suite: KL grows with the square of a small change, so that half of it is less than half the way",
        falsified_by="half of the answer's rise brought by the last token's stream before two thirds of the depth",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                OfFamilies(
                    families=(JSON,),
                    criterion=RecoveryDepth(
                        rows=_last_token(),
                        metric="answer_logprob",
                        at_least=2 / 3,
                        rationale="the bound of the card before, taken over unchanged",
                    ),
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        note="On JSON prompts, the adapter's own. Written after the card before had been measured on SmolLM2-135M.",
    ),
    Claim(
        id="transfer-back-identity",
        sentence="Pasted into the adapted run after the last block, the base's stream is the base's prediction.",
        source="algebra, of the graft turned round",
        falsified_by="one prompt on which they differ by more than rounding",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (_same_prediction(AdapterRows(on=On.STREAM_BACK, blocks=LAST_BLOCK)),),
            SOUND: (_same_prediction(AdapterRows(on=On.LAST_BACK, blocks=LAST_BLOCK)),),
        },
        expected={PUBLISHED: Verdict.SUPPORTED, SOUND: Verdict.SUPPORTED},
        note="It says that the instrument works, and nothing about adapters.",
    ),
    Claim(
        id="transfer-there-and-back",
        sentence="Half of what the adapter adds to the answer is brought by the last token's adapted stream, and "
        "undone by the base's, at the same depth.",
        source="this suite: a depth at which a behaviour stands does not depend on the way one goes",
        falsified_by="half undone more than a tenth of the depth before or after half is brought",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                OfFamilies(
                    families=(JSON,),
                    criterion=RecoveryDepth(
                        rows=AdapterRows(on=On.LAST_BACK),
                        than=On.LAST,
                        metric="answer_logprob",
                        at_least=-0.1,
                        at_most=0.1,
                        rationale="a tenth of the depth either way: of thirty blocks three, of ten a single one",
                    ),
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.REFUTED}},
        note="Even where blocks add up the two may differ: the answer's log-probability levels off as it nears "
        "certainty, so that the first half of the way up is the shorter one.",
    ),
    Claim(
        id="transfer-no-block-needed",
        sentence="No single block's part of the adapted run is needed: what the base adds there instead undoes less "
        "than half of the KL between the two.",
        source="this suite: the reverse of 'what one block adds does not carry the behaviour over'",
        falsified_by="a block in whose place the base's contribution undoes half of it",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                AdapterRecovery(
                    rows=AdapterRows(on=On.CONTRIBUTION_BACK),
                    at_most=0.5,
                    rationale="most: half of the way from adapted to base",
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.INCONCLUSIVE}},
    ),
    Claim(
        id="transfer-own-prompt-needed",
        sentence="It takes the prompt's own stream: the last token's adapted stream from another prompt of the family "
        "recovers less than half, after any block.",
        source="this suite: the control of a shuffled donor",
        falsified_by="a block after which another prompt's stream recovers half",
        models=EVERY_MODEL,
        criteria={
            SOUND: (AdapterRecovery(rows=AdapterRows(on=On.ANOTHERS_LAST), at_most=0.5, rationale=WHY_MOST),)
        },
        note="The other prompt is the next one of its family with another answer. What is pasted brings its base "
        "content along, late its whole prediction: whether what was trained is the same for every prompt is not told.",
    ),
    Claim(
        id="transfer-random-donor-inert",
        sentence="A donor that was not trained brings nothing: under a random update of the same norm neither what a "
        "block adds nor the last token's stream makes the JSON answer likelier in the base.",
        source="this suite: the control of a random donor",
        falsified_by="a graft from the run under a random update that adds more than a tenth of a nat",
        models=EVERY_MODEL,
        criteria={SOUND: (_nothing_brought(On.CONTRIBUTION), _nothing_brought(On.LAST))},
        presupposes=(TRAINED_BRINGS,),
        borderline={SOUND: ("smollm2_135m",)},
        note="At five blocks, the first and the last among them.",
    ),
)


def test_transfer(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_transfer_snapshot(effects_cell, effects, snapshot):
    """What each graft leaves of the adapter's effect, against the last accepted measurement."""
    assert effects(EXPERIMENT, effects_cell) == snapshot
