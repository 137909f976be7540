"""Chapter: what do attention and MLP add, each by itself, and does it matter how it is taken away?

Six ablations of what a sublayer adds to the stream, at every position: zero; its mean (token 0's apart); what it adds
in another prompt of the family (resample); a random direction of the same norm (noise); what it adds in the other
prompt of the pair, the corrupt one's in the clean run or the clean one's in the corrupt run. The last two are
experiments of their own, with the same questions: templates are resampled together, prompts are not paired.

The atlas zeroed MLPs, on other prompts at each scale, and what it called mean and resample ablation of whole layers
were zero and noise: a hook that handled tuples alone.
"""

from harness.claim import EVERY_MODEL, MEASURED, Claim, Protocol, Published
from harness.edits import Stream
from harness.experiments import CLEAN, CORRUPT, MEAN, NOISE, RESAMPLE
from harness.verdicts.criteria import (
    Condition,
    EffectOrder,
    EffectRatio,
    ExtremeLayer,
    Part,
    ProfileOf,
    ProfilesAgree,
    RankAgreement,
    SameEffect,
    ShareChange,
    SomeProbe,
    TopLayers,
    TopLead,
    TopOverlap,
    WorstCase,
)
from harness.verdicts.selectors import Singles, Sublayer
from harness.verdicts.verdict import Verdict

CHAPTER = "7. Attention and MLP"

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND


def _profile(stream: Stream, donor: str | None = None) -> ProfileOf:
    noun = "MLP" if stream is Stream.MLP_OUT else "attention"
    experiment = {CORRUPT: "sublayer_corrupt", CLEAN: "sublayer_clean"}.get(donor or "", "sublayer_sweep")
    return ProfileOf(experiment=experiment, select=Sublayer(stream=stream, donor=donor), noun=noun)


def _like_zero(stream: Stream, name: str, donor: str) -> ProfilesAgree:
    """Over layers, the ablation agrees with zero."""
    conditions = (
        Condition(name="zero", parts=(_profile(stream),)),
        Condition(name=name, parts=(_profile(stream, donor),)),
    )
    return ProfilesAgree(conditions=conditions, at_least=0.7, rationale=WHY_RANKS)


MLPS = _profile(Stream.MLP_OUT)
MLPS_MEAN = _profile(Stream.MLP_OUT, MEAN)
BY_ABLATION = tuple(_profile(Stream.MLP_OUT, donor) for donor in (None, MEAN, RESAMPLE))
STRONGEST_MLP = Part(experiment="sublayer_sweep", select=Sublayer(stream=Stream.MLP_OUT))
STRONGEST_BLOCK = Part(experiment="layer_sweep", select=Singles())
WHY_RANKS = "0.7 is the correlation the ledger asks for; profiles that agree less would name other layers"
WHY_FIRST = "first by the suite's rule for every location; no margin is claimed"
ATLAS = "1.5B page, module table"
OTHER_ABLATIONS = (
    ("mean", MEAN, "its mean"),
    ("resample", RESAMPLE, "what it adds in another prompt of the family"),
    ("noise", NOISE, "a random direction of the same norm"),
    ("clean-to-corrupt", CORRUPT, "what it adds in the corrupt prompt of the pair"),
    ("corrupt-to-clean", CLEAN, "in the corrupt run, what it adds in the clean one"),
)
"""The atlas's five beside zero."""
LIKE_ZERO = {
    "noise": {"gemma3_270m": Verdict.REFUTED},
    "clean-to-corrupt": {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED},
    "corrupt-to-clean": {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED},
}
"""Noted after the first run: where the profiles do not agree."""

CLAIMS = (
    Claim(
        id="mlp-0_5b-l2-dominates",
        sentence="The MLP of L2 is the strongest of Qwen2.5-0.5B.",
        source="0.5B page",
        falsified_by="another MLP whose removal moves the prediction more",
        models=("qwen0_5b",),
        criteria={
            PUBLISHED: (ExtremeLayer(layer=2, which="strongest", of=MLPS, rationale=WHY_FIRST),),
            SOUND: (
                ExtremeLayer(layer=2, which="strongest", of=MLPS, rationale=WHY_FIRST),
                ExtremeLayer(layer=2, which="strongest", of=MLPS_MEAN, rationale=WHY_FIRST),
            ),
        },
        published=(
            Published(value=11.26, unit="nats", what="L2, 'maximum'", source="0.5B page"),
            Published(
                value=8.12, unit="nats", what="L2 on one page, L0 on another", source="comparison page"
            ),
        ),
        superseded_by=("mlp-l0-always-top",),
        note="The raw results give 11.26 and 8.12 as the largest entry and the mean of L0; L2 has 6.60 and 3.16.",
    ),
    Claim(
        id="mlp-0_5b-two-component",
        sentence="Only the MLPs of L0 and L2 matter strongly in Qwen2.5-0.5B.",
        source="0.5B page",
        falsified_by="a third MLP with more than a third of the effect of the weaker of the two",
        models=("qwen0_5b",),
        criteria={
            protocol: (
                TopLead(
                    layers=(0, 2),
                    factor=3.0,
                    of=MLPS,
                    rationale="'much smaller' is read as a third; published are 3.16 for L2 and 0.95 for the next",
                ),
            )
            for protocol in (PUBLISHED, SOUND)
        },
        published=(
            Published(value=8.12, unit="nats", what="L0", source="raw results"),
            Published(value=3.16, unit="nats", what="L2", source="raw results"),
            Published(value=0.953, unit="nats", what="L23, the next", source="raw results"),
        ),
    ),
    Claim(
        id="mlp-1_5b-l0",
        sentence="In Qwen2.5-1.5B the MLP of L0 leads.",
        source=ATLAS,
        falsified_by="another MLP whose removal moves the prediction more",
        models=("qwen1_5b",),
        criteria={
            PUBLISHED: (ExtremeLayer(layer=0, which="strongest", of=MLPS, rationale=WHY_FIRST),),
            SOUND: (
                ExtremeLayer(layer=0, which="strongest", of=MLPS, rationale=WHY_FIRST),
                ExtremeLayer(layer=0, which="strongest", of=MLPS_MEAN, rationale=WHY_FIRST),
            ),
        },
        published=(
            Published(value=2.58, unit="nats", what="L0, called a maximum; it is a mean", source=ATLAS),
            Published(value=1.83, unit="nats", what="L1", source=ATLAS),
            Published(value=1.17, unit="nats", what="L27", source=ATLAS),
        ),
    ),
    Claim(
        id="mlp-late-l27",
        sentence="In Qwen2.5-1.5B the last MLP, of L27, is among the three strongest, with those of L0 and L1.",
        source=ATLAS,
        falsified_by="another MLP among the three strongest",
        models=("qwen1_5b",),
        criteria={
            protocol: (TopLayers(layers=frozenset({0, 1, 27}), of=MLPS, rationale=WHY_FIRST),)
            for protocol in (PUBLISHED, SOUND)
        },
        published=(Published(value=3, unit="", what="rank of L27", source=ATLAS),),
        note="The atlas adds that this is new at 1.5B. Its own results of 0.5B have the last MLP third, at 0.953 nats.",
    ),
    Claim(
        id="mlp-scale-3x",
        sentence="The strongest MLP does a third as much in Qwen2.5-1.5B as in 0.5B.",
        source="comparison page",
        falsified_by="a ratio outside 2 to 4, on the same prompts",
        models=("qwen0_5b", "qwen1_5b"),
        joint=True,
        criteria={
            protocol: (
                EffectRatio(
                    model_a="qwen1_5b",
                    model_b="qwen0_5b",
                    part=STRONGEST_MLP,
                    at_least=2.0,
                    at_most=4.0,
                    rationale="a third either way of the published 3.15",
                ),
            )
            for protocol in (PUBLISHED, SOUND)
        },
        published=(
            Published(value=3.15, unit="times", what="8.12 over 2.58 nats", source="comparison page"),
        ),
        note="Published from 60 prompts of 12 families at one scale and 8 prompts of 8 families at the other.",
    ),
    Claim(
        id="cmp-mlp-share",
        sentence="The strongest MLP's share of the strongest block's effect falls by half or more from 0.5B to 1.5B.",
        source="comparison page",
        falsified_by="the share falling by less",
        models=("qwen0_5b", "qwen1_5b"),
        joint=True,
        criteria={
            protocol: (
                ShareChange(
                    model_a="qwen1_5b",
                    model_b="qwen0_5b",
                    part=STRONGEST_MLP,
                    whole=STRONGEST_BLOCK,
                    factor=2.0,
                    rationale="published is a fall from 42% to 19%, by a factor of 2.2",
                ),
            )
            for protocol in (PUBLISHED, SOUND)
        },
        published=(Published(value="42% to 19%", unit="", what="share", source="comparison page"),),
        note="The MLP is that of L0, the block another one: a share of something it is no part of.",
    ),
    Claim(
        id="cmp-inversion",
        sentence="Scale shifts work from MLPs to attention.",
        source="comparison page",
        falsified_by="the summed effect of attention over that of MLPs not growing from 0.5B to 1.5B",
        models=("qwen0_5b", "qwen1_5b"),
        joint=True,
        criteria={
            SOUND: (
                ShareChange(
                    model_a="qwen0_5b",
                    model_b="qwen1_5b",
                    part=Part(
                        experiment="sublayer_sweep", select=Sublayer(stream=Stream.ATTN_OUT), take="sum"
                    ),
                    whole=Part(
                        experiment="sublayer_sweep", select=Sublayer(stream=Stream.MLP_OUT), take="sum"
                    ),
                    factor=1.0,
                    rationale="growth, without a margin",
                ),
            )
        },
    ),
    Claim(
        id="xfam-mlp-share",
        sentence="From SmolLM2-135M to Gemma 3 270M the strongest MLP's share of the strongest block falls by half or "
        "more, as the atlas saw from 0.5B to 1.5B.",
        source="this suite: the control of cmp-mlp-share, another family in place of another size",
        falsified_by="the share growing, or falling by less",
        models=MEASURED,
        joint=True,
        criteria={
            SOUND: (
                ShareChange(
                    model_a=MEASURED[1],
                    model_b=MEASURED[0],
                    part=STRONGEST_MLP,
                    whole=STRONGEST_BLOCK,
                    factor=2.0,
                    rationale="as for cmp-mlp-share",
                ),
            )
        },
        borderline={SOUND: MEASURED},
        note="Where it holds, a share that falls by half between two models says nothing yet of scale.",
    ),
    Claim(
        id="xfam-inversion",
        sentence="From SmolLM2-135M to Gemma 3 270M work shifts from MLPs to attention.",
        source="this suite: the control of cmp-inversion, another family in place of another size",
        falsified_by="the summed effect of attention over that of MLPs not growing",
        models=MEASURED,
        joint=True,
        criteria={
            SOUND: (
                ShareChange(
                    model_a=MEASURED[0],
                    model_b=MEASURED[1],
                    part=Part(
                        experiment="sublayer_sweep", select=Sublayer(stream=Stream.ATTN_OUT), take="sum"
                    ),
                    whole=Part(
                        experiment="sublayer_sweep", select=Sublayer(stream=Stream.MLP_OUT), take="sum"
                    ),
                    factor=1.0,
                    rationale="as for cmp-inversion",
                ),
            )
        },
    ),
    Claim(
        id="mlp-l0-always-top",
        sentence="The MLP of L0 has the largest effect of all MLPs, in every model.",
        source="audit page: confirmed at all scales",
        falsified_by="a model in which another MLP's removal moves the prediction more, by zero or by its mean",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (ExtremeLayer(layer=0, which="strongest", of=MLPS, rationale=WHY_FIRST),),
            SOUND: (
                ExtremeLayer(layer=0, which="strongest", of=MLPS, rationale=WHY_FIRST),
                ExtremeLayer(
                    layer=0,
                    which="strongest",
                    of=MLPS_MEAN,
                    rationale="zero is far off the distribution for L0, which turns embeddings into what later blocks "
                    "read; a claim about what the MLP does must survive its mean",
                ),
            ),
        },
        supersedes=("mlp-0_5b-l2-dominates",),
        expected={SOUND: {"gemma3_270m": Verdict.REFUTED}, PUBLISHED: {"gemma3_270m": Verdict.REFUTED}},
        published=(
            Published(value=8.12, unit="nats", what="0.5B", source="raw results"),
            Published(value=2.58, unit="nats", what="1.5B", source="raw results"),
            Published(value=2.24, unit="nats", what="3B, four families", source="raw results"),
        ),
        note="Seen before this card was written: zeroing gate, up or down on twelve prompts of SmolLM2-135M, L0 first.",
    ),
    Claim(
        id="mlp-outweighs-attention",
        sentence="Taking MLPs away, one at a time, does more than taking attention away.",
        source="this suite: what 'scale shifts work from MLPs to attention' presupposes of a small model",
        falsified_by="attention's mean effect over layers exceeding the MLPs'",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                EffectOrder(
                    experiment="sublayer_sweep",
                    groups={
                        "MLP zeroed": Sublayer(stream=Stream.MLP_OUT),
                        "attention zeroed": Sublayer(stream=Stream.ATTN_OUT),
                    },
                    rationale="an order, without a margin",
                ),
                EffectOrder(
                    experiment="sublayer_sweep",
                    groups={
                        "MLP at its mean": Sublayer(stream=Stream.MLP_OUT, donor=MEAN),
                        "attention at its mean": Sublayer(stream=Stream.ATTN_OUT, donor=MEAN),
                    },
                    rationale="an order, without a margin; the mean shows whether it is zero's doing",
                ),
            )
        },
        expected={SOUND: {"gemma3_270m": Verdict.REFUTED}},
    ),
    Claim(
        id="ablation-zero-largest",
        sentence="Zero ablation of MLPs gives the largest effects; mean and resample ablation give "
        "smaller ones that agree with it in rank.",
        source="audit page: partially confirmed",
        falsified_by="mean or resample ablation of MLPs doing more, over layers, or naming other layers",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                EffectOrder(
                    experiment="sublayer_sweep",
                    groups={
                        "zero": Sublayer(stream=Stream.MLP_OUT),
                        "mean": Sublayer(stream=Stream.MLP_OUT, donor=MEAN),
                    },
                    rationale="the published order, without a margin",
                ),
                EffectOrder(
                    experiment="sublayer_sweep",
                    groups={
                        "zero": Sublayer(stream=Stream.MLP_OUT),
                        "resample": Sublayer(stream=Stream.MLP_OUT, donor=RESAMPLE),
                    },
                    rationale="the published order, without a margin",
                ),
                RankAgreement(profiles=BY_ABLATION, at_least=0.7, rationale=WHY_RANKS),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.REFUTED}},
        borderline={SOUND: ("gemma3_270m",)},
        note="The atlas's mean ablation equals its zero ablation to the bit, and both of its patches are 0.0 "
        "everywhere: hooks that did nothing. Noted after the first run on SmolLM2-135M: the order holds; whether the "
        "ranks of mean and resample agree at 0.7 is open (0.85, with a lower bound of 0.69).",
    ),
    Claim(
        id="ablation-rank-preserved",
        sentence="The strongest layers are the same whichever ablation is used: two of the three "
        "strongest MLPs, of any two.",
        source="audit page: partially confirmed",
        falsified_by="two of zero, mean and resample sharing fewer than two of their three strongest MLPs",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                TopOverlap(
                    profiles=BY_ABLATION,
                    at_least=2.0,
                    k=3,
                    rationale="two of three, as the ledger has it: the third often ties with the fourth",
                ),
            )
        },
        borderline={SOUND: ("gemma3_270m",)},
        published=(
            Published(
                value="[2, 7, 22] and [23, 2, 4]",
                unit="layers",
                what="0.5B, zero and Gaussian",
                source="raw results",
            ),
            Published(
                value="[14, 26, 6] and [24, 13, 14]",
                unit="layers",
                what="1.5B, zero and Gaussian",
                source="raw results",
            ),
        ),
    ),
    Claim(
        id="lfm2-cascade-zero",
        sentence="Zeroing a layer's whole output shows nothing of that layer; zeroing what its MLP adds does.",
        source="LFM2 page",
        falsified_by="an erased stream whose output still depends on the prompt, or MLPs that all matter alike",
        models=("lfm2_230m", "smollm2_1_7b", "qwen0_5b", "smollm2_135m"),
        criteria={
            PUBLISHED: (
                WorstCase(
                    experiment="layer_sweep",
                    select=Singles(),
                    metric="kl_to_first_nats",
                    at_most=1e-3,
                    rationale="as x-residual-zero-constant: what is the same for every prompt shows nothing",
                ),
            ),
            SOUND: (
                SomeProbe(
                    experiment="sublayer_sweep",
                    select=Sublayer(stream=Stream.MLP_OUT),
                    metric="kl_nats",
                    at_least=1.0,
                    rationale="ten times the least effect that counts",
                ),
                SomeProbe(
                    experiment="sublayer_sweep",
                    select=Sublayer(stream=Stream.MLP_OUT),
                    metric="kl_nats",
                    at_most=0.1,
                    rationale="the least effect that counts: some MLP is below it, so that layers are told apart",
                ),
            ),
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE}},
        note="The ledger's models, and the embedded one, whose MLPs had been seen. The same page asks for "
        "the Qwen hubs to be measured again, which was not done.",
    ),
    Claim(
        id="zero-ablation-conservative",
        sentence="Zero ablation of MLPs is the conservative choice.",
        source="decision log",
        falsified_by="zero ablation of MLPs doing more than mean ablation: it then overstates necessity",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                EffectOrder(
                    experiment="sublayer_sweep",
                    groups={
                        "mean": Sublayer(stream=Stream.MLP_OUT, donor=MEAN),
                        "zero": Sublayer(stream=Stream.MLP_OUT),
                    },
                    rationale="of two ablations, the conservative one for a claim that a part is needed is the one "
                    "with the smaller effect",
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        note="The atlas calls zero conservative because its effects are larger, which is the opposite. Noted "
        "after the first run: on SmolLM2-135M zero does 1.7 times what the mean does.",
    ),
    Claim(
        id="ablation-noise-is-worse-than-mean",
        sentence="Noise of the same norm does more than the mean: what an ablation adds counts as well as what it "
        "removes.",
        source="this suite: why 'resample' as published, Gaussian noise, measured something else",
        falsified_by="noise of the same norm in an MLP's place doing less than its mean",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                EffectOrder(
                    experiment="sublayer_sweep",
                    groups={
                        "noise": Sublayer(stream=Stream.MLP_OUT, donor=NOISE),
                        "mean": Sublayer(stream=Stream.MLP_OUT, donor=MEAN),
                    },
                    rationale="an order, without a margin",
                ),
            )
        },
    ),
    *(
        Claim(
            id=f"ablation-{name}-agrees",
            sentence=f"Replacing an MLP's output by {said} ranks the layers as zero does.",
            source="audit page, six ablation types: the universal form, each type beside zero",
            falsified_by="a Spearman correlation below 0.7 between the two profiles over layers",
            models=EVERY_MODEL,
            criteria={SOUND: (_like_zero(Stream.MLP_OUT, name, donor),)},
            expected={SOUND: LIKE_ZERO.get(name, {})},
            borderline={SOUND: ("smollm2_135m", "gemma3_270m")},
        )
        for name, donor, said in OTHER_ABLATIONS
    ),
    Claim(
        id="ablation-attention-agrees",
        sentence="Of attention, each of the five other ablations ranks the layers as zero does.",
        source="audit page, six ablation types: the universal form, of attention",
        falsified_by="one of the five with a Spearman correlation below 0.7",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(_like_zero(Stream.ATTN_OUT, name, donor) for name, donor, _ in OTHER_ABLATIONS)
        },
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        borderline={SOUND: ("smollm2_135m", "gemma3_270m")},
    ),
    *(
        Claim(
            id=f"module-{name}-identical",
            sentence=f"Zeroing the output of {said} is the same intervention.",
            source="algebra; the atlas tabulates these modules as different interventions",
            falsified_by="one prompt on which they differ by more than rounding",
            models=EVERY_MODEL,
            criteria={
                SOUND: (
                    SameEffect(
                        streams=streams,
                        rationale="float32 re-association moves a KL of ten nats by about 4e-4",
                    ),
                )
            },
            note=why,
        )
        for name, said, streams, why in (
            (
                "mlp-parts",
                "gate, up or down",
                (Stream.GATE, Stream.UP, Stream.DOWN),
                "act(0) x up = act(gate) x 0 = 0 for SiLU and GELU, and there is no bias behind them.",
            ),
            (
                "v-o",
                "v or o",
                (Stream.V, Stream.O),
                "Without values nothing is mixed, and o_proj has no bias in these models.",
            ),
            (
                "q-k",
                "q or k",
                (Stream.Q, Stream.K),
                "Either way every score is 0, and attention is uniform over what it sees.",
            ),
        )
    ),
)


def test_sublayers(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_sublayers_snapshot(effects_cell, effects, snapshot):
    """The effect of each ablation of each sublayer, against the last accepted measurement."""
    assert effects("sublayer_sweep", effects_cell) == snapshot
