"""Chapter: where along the depth is an adapter large, where does it act, and does the one tell of the other?

The atlas's norm is that of A and B together. B starts at 0 and A at random: rank 8 in four modules gives
sqrt(4 x 8 / 3) = 3.266 before a step is taken, and it reports 3.29 to 3.45. Its effect of a block is that of pasting
the base's whole stream after it, which takes the adapter out of that block and of all before it: it must rise with the
depth, as the norms happen to. Sound are the norm of the update, scale x B A, of each block, and the adapter switched
off in that block alone, on prompts of its own family and of four others, none of them trained on.

Thresholds stood before any model was measured; what is expected of SmolLM2-135M was noted after its first run.
"""

from typing import Literal

from harness.adapters.values import Kind
from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.experiments.adapters import JSON
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On
from harness.verdicts.criteria import (
    AdapterRatio,
    BlockCorrelation,
    CellWithin,
    ConstantSpread,
    EveryProbe,
    Measure,
    MedianSide,
    OfFamilies,
)
from harness.verdicts.verdict import Verdict

CHAPTER = "13. Adapter norms and effects"

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
EXPERIMENT = "adapter_layers"


PASTED = Measure(rows=AdapterRows(on=On.OFF_UP_TO))
"""The base's stream pasted after a block."""
FACTORS = Measure(rows=AdapterRows(on=On.OFF_UP_TO), metric="factor_norm", increments=True)
"""The norm of A and B of each block, from those of L0 to it."""
OFF = Measure(rows=AdapterRows(on=On.OFF))
UPDATES = Measure(rows=AdapterRows(on=On.ONLY), metric="update_norm")
WHOLE = Measure(rows=AdapterRows(on=On.WHOLE))
RANDOM = Measure(rows=AdapterRows(on=On.WHOLE, kind=Kind.RANDOM))
ALONE = Measure(rows=AdapterRows(on=On.ONLY))

FIRST_3, PEAK = BlockSet(layers=(0, 1, 2)), BlockSet(layers=(20, 21, 22, 23))
FIRST_5, LAST_5 = BlockSet(layers=(0, 1, 2, 3, 4)), BlockSet(layers=(-5, -4, -3, -2, -1))
FIRST_THIRD, LAST_THIRD = BlockSet(to_depth=1 / 3), BlockSet(from_depth=2 / 3)

ACTS = EveryProbe(
    experiment=EXPERIMENT,
    select=WHOLE.rows,
    metric="kl_nats",
    at_least=0.01,
    rationale="an adapter that moves the prediction by less, in the mean, has no effect to divide among thirty blocks: "
    "each would be left a few ten-thousandths of a nat",
)
PAGE_05 = "0.5B page"
PAGE_15 = "1.5B page"
CUMULATIVE = (
    "The published effect takes the adapter out of every block up to one, so it must rise with the depth: over the 24 "
    "published numbers the block's index alone correlates with it at 0.875 (Pearson) and 0.996 (Spearman)."
)
INITIAL = (
    "The published norm is that of A's random initialisation: rank 8 in four modules gives sqrt(4 x 8 / 3) = 3.266 "
    "without a step of training."
)
WHY_CORRELATES = "half: a weaker correlation leaves three quarters of the variance to something else"
WHY_BEYOND_DEPTH = "0.3 is what the ledger asks for once the depth is taken out"


def _correlation(
    one: Measure,
    two: Measure,
    why: str,
    *,
    low: float,
    high: float | None = None,
    given_depth: bool = False,
    kind: Literal["pearson", "spearman"] = "pearson",
) -> BlockCorrelation:
    return BlockCorrelation(
        experiment=EXPERIMENT,
        one=one,
        two=two,
        kind=kind,
        given_depth=given_depth,
        at_least=low,
        at_most=high,
        rationale=why,
    )


CLAIMS = (
    Claim(
        id="adapter-norms-peak-late",
        sentence="In Qwen2.5-0.5B the adapter is largest in L20 to L23.",
        source=PAGE_05,
        falsified_by="the mean norm of L20 to L23 not standing out from that of all blocks",
        models=("qwen0_5b",),
        criteria={
            PUBLISHED: (
                AdapterRatio(
                    part=FACTORS.at(PEAK),
                    of=FACTORS,
                    at_least=1.005,
                    rationale="half of the lead that the published norms give these blocks, 1.1%",
                ),
            ),
            SOUND: (
                AdapterRatio(
                    part=UPDATES.at(PEAK),
                    of=UPDATES,
                    at_least=1.2,
                    rationale="1.2 is the ledger's; published norms of B A rise from 0.166 in L0 to 0.278 in L23",
                ),
            ),
        },
        published=(
            Published(value="3.290 to 3.391", unit="norm of A and B", what="over blocks", source=PAGE_05),
            Published(value="0.166 and 0.278", unit="norm of B A", what="L0 and L23", source="raw results"),
        ),
        note=f"{INITIAL} The atlas calls a spread of 3% a strong peak here, and flat in 1.5B.",
    ),
    Claim(
        id="adapter-effects-peak-early",
        sentence="In Qwen2.5-0.5B the adapter acts most in L0 to L2, upstream of where it is largest.",
        source=PAGE_05,
        falsified_by="the mean effect of L0 to L2 below that of L20 to L23",
        models=("qwen0_5b",),
        criteria={
            protocol: (
                AdapterRatio(
                    part=effect.at(FIRST_3),
                    of=effect.at(PEAK),
                    at_least=1.0,
                    rationale="more, without a margin",
                ),
            )
            for protocol, effect in ((PUBLISHED, PASTED), (SOUND, OFF))
        },
        presupposes=(ACTS,),
        published=(
            Published(value="L0, L1, L2", unit="", what="peak of effects", source=PAGE_05),
            Published(
                value="0.001 to 0.006, and 0.872",
                unit="nats",
                what="L0 to L2, and L23",
                source="raw results",
            ),
        ),
        superseded_by=("audit-adapter-late-effects",),
        note=f"{CUMULATIVE} The same page lists L21 to L23 as the blocks of the largest effects.",
    ),
    Claim(
        id="audit-adapter-late-effects",
        sentence="In Qwen2.5-0.5B the adapter acts in late blocks, not upstream.",
        source="audit page",
        falsified_by="the last five blocks having less than twice the mean effect of the first five",
        models=("qwen0_5b",),
        criteria={
            protocol: (
                AdapterRatio(
                    part=effect.at(LAST_5),
                    of=effect.at(FIRST_5),
                    at_least=2.0,
                    rationale="twice is the ledger's reading of 'late, not upstream'",
                ),
            )
            for protocol, effect in ((PUBLISHED, PASTED), (SOUND, OFF))
        },
        presupposes=(ACTS,),
        published=(Published(value=0.85, unit="Pearson", what="norm and effect", source="audit page"),),
        supersedes=("adapter-effects-peak-early",),
        note=f"{CUMULATIVE} Its increments too are largest at L20 and L21, 0.128 and 0.166 nats.",
    ),
    Claim(
        id="adapter-norm-effect-corr-0_5b",
        sentence="Over the blocks of Qwen2.5-0.5B the adapter's norm and its effect correlate at 0.855.",
        source=PAGE_05,
        falsified_by="a correlation outside 0.75 to 0.95, or none beyond the depth",
        models=("qwen0_5b",),
        criteria={
            PUBLISHED: (
                _correlation(
                    FACTORS, PASTED, "a tenth either way of the published 0.855", low=0.75, high=0.95
                ),
            ),
            SOUND: (
                _correlation(UPDATES, OFF, "a tenth either way of the published 0.855", low=0.75, high=0.95),
                _correlation(UPDATES, OFF, WHY_BEYOND_DEPTH, low=0.3, given_depth=True),
            ),
        },
        presupposes=(ACTS,),
        published=(
            Published(value=0.855, unit="Pearson", what="norm and effect", source=PAGE_05),
            Published(value=0.930, unit="Spearman", what="norm and effect", source="raw results"),
            Published(value=0.875, unit="Pearson", what="index and effect", source="raw results"),
        ),
        note=f"{CUMULATIVE} {INITIAL} One JSON prompt gives 89% of the published mean.",
    ),
    Claim(
        id="adapter-l12-mismatch",
        sentence="L12 of Qwen2.5-0.5B has a small adapter that does much.",
        source=PAGE_05,
        falsified_by="L12 not below the median block in norm, or not above it in effect",
        models=("qwen0_5b",),
        criteria={
            protocol: (
                MedianSide(
                    of=norm, layer=12, side="below", rationale="the split at the median is the atlas's"
                ),
                MedianSide(
                    of=effect, layer=12, side="above", rationale="the split at the median is the atlas's"
                ),
            )
            for protocol, norm, effect in ((PUBLISHED, FACTORS, PASTED), (SOUND, UPDATES, OFF))
        },
        presupposes=(ACTS,),
        published=(
            Published(
                value="3.322 and 3.330", unit="norm of A and B", what="L12 and median", source="raw results"
            ),
            Published(value="0.055 and 0.048", unit="nats", what="L12 and median", source="raw results"),
        ),
        note="Any block just behind the middle lies above the median of an effect that must rise with the depth; its "
        "norm is 0.2% below the median of what is mostly A's initialisation.",
    ),
    Claim(
        id="adapter-1_5b-norm-flat",
        sentence="In Qwen2.5-1.5B the adapter is equally large in every block.",
        source=PAGE_15,
        falsified_by="a block whose norm is more than 5% above another's",
        models=("qwen1_5b",),
        criteria={
            protocol: (
                ConstantSpread(
                    of=norm, at_most=1.05, rationale="1.05 is the ledger's; the published spread is 1.04"
                ),
            )
            for protocol, norm in ((PUBLISHED, FACTORS), (SOUND, UPDATES))
        },
        published=(
            Published(value="3.33 to 3.45", unit="norm of A and B", what="over blocks", source=PAGE_15),
        ),
        note=f"{INITIAL} The norms of 0.5B, called peaked, are flatter: 3.290 to 3.391.",
    ),
    Claim(
        id="adapter-1_5b-corr-054",
        sentence="In Qwen2.5-1.5B norm and effect correlate at 0.54 only: what is large does not do more.",
        source=PAGE_15,
        falsified_by="a correlation outside 0.4 to 0.7",
        models=("qwen1_5b",),
        criteria={
            PUBLISHED: (_correlation(FACTORS, PASTED, "the ledger's band around 0.54", low=0.4, high=0.7),),
            SOUND: (_correlation(UPDATES, OFF, "the ledger's band around 0.54", low=0.4, high=0.7),),
        },
        presupposes=(ACTS,),
        published=(
            Published(value=0.54, unit="Pearson", what="norm and effect", source=PAGE_15),
            Published(value=0.679, unit="Spearman", what="norm and effect", source="raw results"),
            Published(value=1.0, unit="Spearman", what="index and effect", source="raw results"),
        ),
        note=f"The published effect must rise with the depth: by ranks it follows the index exactly. {INITIAL}",
    ),
    Claim(
        id="adapter-1_5b-total-kl",
        sentence="Without its adapter the prediction of the adapted Qwen2.5-1.5B moves by 13.64 nats, seen at L27.",
        source=PAGE_15,
        falsified_by="a mean over prompts more than 5% off",
        models=("qwen1_5b",),
        criteria={
            PUBLISHED: (
                CellWithin(
                    experiment=EXPERIMENT,
                    select=PASTED.at(BlockSet(layers=(27,))).rows,
                    metric="kl_nats",
                    target=13.64,
                    tolerance=0.68,
                    rationale="5%, as the ledger has it",
                ),
            )
        },
        published=(
            Published(value=13.64, unit="nats", what="L27, summed over 14 prompts", source=PAGE_15),
            Published(value=0.975, unit="nats", what="L27, mean", source="raw results"),
            Published(value=0.872, unit="nats", what="0.5B, L23: a mean", source=PAGE_05),
        ),
        note="A sum over 14 prompts, printed beside means of 0.5B as if the adapter did fifteen times as much. At the "
        "last block the base's stream gives the base's prediction: the number is the whole adapter's, not a block's.",
    ),
    Claim(
        id="block-f-surgery",
        sentence="Surgery on adapters is done: their norms, whether they are compatible, and what rank they need.",
        source="results of block F",
        falsified_by="nothing: a state of work",
        models=("qwen0_5b",),
        untestable="It states that work is done, not what was found. Every cell of its compatibility matrix reads "
        "'pending', its gains in skill are 0 throughout, and its rank was cut in A alone. What it names is measured "
        "here: norms in this chapter, merged adapters in adapter_families, updates cut to a rank in adapter_surgery.",
        published=(Published(value="DONE", unit="", what="state", source="status page"),),
    ),
    Claim(
        id="adapter-norm-tells-effect",
        sentence="An adapter does more in the blocks in which its update is larger.",
        source="this suite: what every reading of an adapter's norms presupposes",
        falsified_by="a correlation below 0.5 between the update's norm in a block and the effect of switching it off",
        models=EVERY_MODEL,
        criteria={SOUND: (_correlation(UPDATES, OFF, WHY_CORRELATES, low=0.5),)},
        presupposes=(ACTS,),
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
        borderline={SOUND: ("smollm2_135m",)},
        note="Trainings are taken as they are, one a seed: the interval is over prompts. How far three trainings "
        "differ shows in 'seeds agree'. Each family counts a fifth; the next card asks of JSON prompts alone. The null "
        "exchanges blocks whatever their depth; the card after that takes depth out.",
    ),
    Claim(
        id="adapter-norm-tells-own-effect",
        sentence="On the prompts that it was trained for, an adapter does more in the blocks in which its update is "
        "larger.",
        source="this suite: four of five families of the card before are not the adapter's own",
        falsified_by="a correlation below 0.5 between the update's norm in a block and the effect of switching it off",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                OfFamilies(families=(JSON,), criterion=_correlation(UPDATES, OFF, WHY_CORRELATES, low=0.5)),
            )
        },
        presupposes=(ACTS,),
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.INCONCLUSIVE}},
        note="Written after the card before had been measured on SmolLM2-135M; the bound is its bound.",
    ),
    Claim(
        id="adapter-norm-beyond-depth",
        sentence="The update's norm tells of its effect beyond what the depth of the block tells.",
        source="this suite: the control that the atlas's correlation lacks",
        falsified_by="a partial correlation by ranks, given the depth, below 0.3",
        models=EVERY_MODEL,
        criteria={
            SOUND: (_correlation(UPDATES, OFF, WHY_BEYOND_DEPTH, low=0.3, given_depth=True, kind="spearman"),)
        },
        presupposes=(ACTS,),
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
        note="What a straight line in the depth leaves of the ranks: a bend in both would still count. Neighbouring "
        "blocks that resemble one another for a third reason make its p-value too small.",
    ),
    Claim(
        id="adapter-pasted-effect-rises",
        sentence="Pasted as the atlas did, the base's stream takes more of the adapter out, the deeper it is pasted.",
        source="this suite: why a correlation with anything that rises with the depth says nothing",
        falsified_by="the last third of the blocks not having twice the mean effect of the first third",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (
                AdapterRatio(
                    part=PASTED.at(LAST_THIRD),
                    of=PASTED.at(FIRST_THIRD),
                    at_least=2.0,
                    rationale="an adapter that acted equally in every block would give five times",
                ),
            )
        },
        expected={PUBLISHED: Verdict.SUPPORTED},
        presupposes=(ACTS,),
        note="By construction: after the last block the pasted stream gives the base's prediction, whatever the "
        "adapter does.",
    ),
    Claim(
        id="adapter-acts-late",
        sentence="Switched off in one block at a time, an adapter matters more in late blocks than in early ones.",
        source="this suite: the audit's correction, for any model",
        falsified_by="the last third of the blocks having less than twice the mean effect of the first third",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                AdapterRatio(
                    part=OFF.at(LAST_THIRD),
                    of=OFF.at(FIRST_THIRD),
                    at_least=2.0,
                    rationale="twice, as for the audit's claim",
                ),
            )
        },
        presupposes=(ACTS,),
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.INCONCLUSIVE}},
        note="Blocks stand in for one another: switched off alone, none of SmolLM2-135M costs more than 0.005 nats, "
        "where the whole moves 1.4. Each family counts a fifth; four of the five are not the adapter's own.",
    ),
    Claim(
        id="adapter-factors-are-initial",
        sentence="The norm of A and B together is that of A's initialisation, in every block of every model.",
        source="this suite: 3.266 follows from the rank and the number of modules alone",
        falsified_by="a block more than 5% away from 3.266, or from another block",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (
                ConstantSpread(
                    of=FACTORS,
                    at_most=1.05,
                    around=3.266,
                    rationale="5% is what the ledger calls flat; the published norms lie 1% to 6% above 3.266",
                ),
            )
        },
        expected={PUBLISHED: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        note="peft draws A uniformly with a variance of 1 / (3 x inputs), so |A|^2 is rank / 3 in each module, "
        "whatever its width: sqrt(4 x 8 / 3) = 3.266. What takes SmolLM2-135M beyond 5% is B, which grows from 0. "
        "Blocks with fewer modules (LFM2's convolutions) start lower.",
    ),
    Claim(
        id="adapter-outweighs-random",
        sentence="What an adapter does is not its size's doing: a random update of the same norms does less than half.",
        source="this suite: the control for any effect of an adapter",
        falsified_by="the random update moving the prediction half as much as the trained one, or more",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                AdapterRatio(
                    part=RANDOM,
                    of=WHOLE,
                    at_most=0.5,
                    rationale="half: if size alone gave as much, most of the effect would need no training",
                ),
            )
        },
        expected={SOUND: Verdict.SUPPORTED},
        presupposes=(ACTS,),
        note="A random update has the trained one's norm in every module of every block, but neither its few large "
        "singular values nor its directions: it shows that size alone is not enough.",
    ),
    Claim(
        id="adapter-one-block-little",
        sentence="No block's adapter does much alone: each moves at most a quarter of what the whole moves.",
        source="this suite: whether an adapter can be read block by block at all",
        falsified_by="a block whose adapter alone moves more than a quarter of what the whole moves",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                AdapterRatio(
                    part=ALONE,
                    of=WHOLE,
                    at_most=0.25,
                    each=True,
                    rationale="a quarter is five to seven times an equal share in models of 18 to 30 blocks",
                ),
            )
        },
        presupposes=(ACTS,),
        note="A KL grows with the square of what changed: shifts that add up give a block that does its share not 1/n "
        "but 1/n^2 of it, so that a quarter of the KL, half of the shift, is a low bar.",
    ),
)


def test_adapter_norms(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_adapter_norms_snapshot(effects_cell, effects, snapshot):
    """The effect of the adapter in each block, against the last accepted measurement."""
    assert effects(EXPERIMENT, effects_cell) == snapshot
