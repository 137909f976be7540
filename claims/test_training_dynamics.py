"""Chapter: when, in a hundred steps of training, does what happen?

The JSON adapter at six steps, the first of them untrained: the answer's held-out log-probability under it, and what
skipping each block does under it. The atlas's circuit of L2, L7 and L9 "locked in" by step 10 because it was there at
step 0, which its page leaves out. Every card on locking in therefore asks about step 0 too.

The learning rate rises over the first ten steps; step 10 is the end of its warm-up.

Thresholds stood before any model was measured; what is expected of SmolLM2-135M was noted after its first run.
"""

from harness.adapters.values import SOUND as RECIPE
from harness.adapters.values import Adapted, Part
from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.edits import skip
from harness.experiments.adapters import FAMILIES
from harness.verdicts.criteria import (
    ChangeStandsOut,
    Contrast,
    Not,
    OfFamilies,
    ProfileOf,
    RankAgreement,
    SingleCriterion,
    Term,
    TopLayers,
    TopOverlap,
    TrainedWithin,
)
from harness.verdicts.selectors import Singles
from harness.verdicts.training_selectors import Under
from harness.verdicts.verdict import Verdict

CHAPTER = "17. Training step by step"

SOUND = Protocol.SOUND
PROTOCOLS = (SOUND,)

JSON = FAMILIES[0]
FIRST, EARLY, LAST = 0, 10, 100
PAGE = "atlas, 0.5B page (seed 002)"
LARGE_PAGE = "atlas, 1.5B page (seed 001)"
OURS = "this suite: the universal form"
CIRCUIT = (2, 7, 9)


def _parts(step: int) -> tuple[Part, ...]:
    return (Part(family=JSON, recipe=RECIPE, step=step),)


def _on(step: int) -> Adapted:
    return Adapted(parts=_parts(step))


def _without(layer: int, step: int) -> Adapted:
    """One block skipped at one step, compared with the whole model at that step."""
    return Adapted(parts=_parts(step), edit=skip(layer), against="whole")


def _profile(step: int) -> ProfileOf:
    select = Under(parts=_parts(step), select=Singles())
    return ProfileOf(experiment="adapter_steps", select=select, noun="block")


def _on_json(criterion: SingleCriterion) -> OfFamilies:
    return OfFamilies(families=(JSON,), criterion=criterion)


def _effect(
    layer: int, share: float, *, at_least: float | None = None, at_most: float | None = None
) -> OfFamilies:
    """The effect of one block at the last step, less this share of its effect at step 10."""
    return _on_json(
        Contrast(
            experiment="adapter_steps",
            what=f"the effect of L{layer} at step {LAST}, less {share:.0%} of it at step {EARLY}",
            terms=(
                Term(weight=1.0, of=_without(layer, LAST)),
                Term(weight=-share, of=_without(layer, EARLY)),
            ),
            metric="kl_nats",
            rationale="the published 1%",
            at_least=at_least,
            at_most=at_most,
        )
    )


def _keeps_changing(since: int) -> OfFamilies:
    return _on_json(
        ChangeStandsOut(
            before=_profile(since),
            after=_profile(LAST),
            layers=(6, 15),
            at_least=1.0,
            rationale="one standard deviation above the mean layer, as the ledger has it: all layers share a change",
        )
    )


EARLY_GAIN = _on_json(
    Contrast(
        experiment="adapter_steps",
        what=f"what the adapter adds at step {EARLY}, less 80% of what it adds at step {LAST}",
        terms=(Term(weight=1.0, of=_on(EARLY)), Term(weight=-0.8, of=_on(LAST)), Term(weight=-0.2)),
        at_least=0.0,
        rationale="80% of the final skill, as the ledger has it, in log-probability: exact match has a ceiling",
    )
)
FINAL_GAIN = _on_json(
    Contrast(
        experiment="adapter_steps",
        what="what the trained adapter adds to the answer's log-probability",
        terms=(Term(weight=1.0, of=_on(LAST)), Term(weight=-1.0)),
        at_least=0.1,
        rationale="the least effect that counts: below it there is nothing to take a share of",
    )
)

CLAIMS = (
    Claim(
        id="core-circuit-step10",
        sentence="The JSON circuit of L2, L7 and L9 forms within the first 10 of 100 training steps.",
        source=PAGE,
        falsified_by="other blocks on top at step 10 or 100, or the same three on top at step 0 already",
        models=("qwen0_5b",),
        criteria={
            SOUND: (
                *(
                    _on_json(
                        TopLayers(
                            layers=frozenset(CIRCUIT),
                            of=_profile(step),
                            rationale="on top by the suite's rule for every location; no margin is claimed",
                        )
                    )
                    for step in (EARLY, LAST)
                ),
                _on_json(
                    Not(
                        criterion=TopOverlap(
                            profiles=(_profile(FIRST), _profile(LAST)),
                            at_least=3.0,
                            k=3,
                            rationale="what forms was not there before: the three of step 0 must differ, as the "
                            "ledger asks",
                        )
                    )
                ),
            )
        },
        published=(
            Published(value=10, unit="steps", what="locked in", source=PAGE),
            Published(
                value="L2 21.2, L7 19.3, L9 16.9",
                unit="nats",
                what="the three largest at step 0",
                source="raw results",
            ),
            Published(value=0.948, unit="Spearman", what="steps 0 and 100", source="raw results"),
        ),
        note="Vacuous as published: L2, L7 and L9 are the three largest at step 0. The constant that is left of an "
        "erased stream puts them there, and no training.",
    ),
    Claim(
        id="core-circuit-drift-1pct",
        sentence="From step 10 to step 100 the effects of L2, L7 and L9 change by less than 1%.",
        source=PAGE,
        falsified_by="an effect that changes by more than 1% of itself",
        models=("qwen0_5b",),
        criteria={
            SOUND: tuple(
                criterion
                for layer in CIRCUIT
                for criterion in (_effect(layer, 1.01, at_most=0.0), _effect(layer, 0.99, at_least=0.0))
            )
        },
        published=(
            Published(value=0.01, unit="share", what="largest drift", source=PAGE),
            Published(value="0.02%, 0.6%, 0.6%", unit="", what="drift", source="raw results"),
        ),
        note="Published in bfloat16, whose steps at these log-probabilities are 0.125 nats: 0.6% is one step, and none "
        "is 0%.",
    ),
    Claim(
        id="training-loss-path",
        sentence="The JSON adapter's loss falls from 0.59 at step 10 to 0.06 at step 100.",
        source=PAGE,
        falsified_by="a loss outside 0.3 to 0.9 at step 10, or above 0.12 at step 100",
        models=("qwen0_5b",),
        criteria={
            SOUND: (
                TrainedWithin(
                    experiment="adapter_steps",
                    probe=_on(EARLY),
                    metric="train_loss",
                    at_least=0.3,
                    at_most=0.9,
                    rationale="half either way of the published 0.587, as the ledger has it",
                ),
                TrainedWithin(
                    experiment="adapter_steps",
                    probe=_on(LAST),
                    metric="train_loss",
                    at_most=0.12,
                    rationale="twice the published 0.062, as the ledger has it",
                ),
            )
        },
        published=(
            Published(value=0.587, unit="nats", what="step 10", source=PAGE),
            Published(value=0.062, unit="nats", what="step 100", source=PAGE),
        ),
        note="Published of all seven linear modules, every token of the prompt and 15 texts repeated 20 times, on four "
        "of the texts trained on; called held out. Here: q, k, v and o, the answer alone, no text twice in a pass.",
    ),
    Claim(
        id="training-secondary-layers",
        sentence="L6 and L15 keep changing after the circuit is fixed.",
        source=PAGE,
        falsified_by="either changing no more than layers do on average, from step 0 or from step 10 on",
        models=("qwen0_5b",),
        criteria={SOUND: (_keeps_changing(FIRST), _keeps_changing(EARLY))},
        published=(
            Published(value=2.85, unit="nats", what="L15, from step 0 to 100", source=PAGE),
            Published(value=2.73, unit="nats", what="L6, from step 0 to 100", source=PAGE),
            Published(
                value="1.86 +- 0.55", unit="nats", what="all layers, from step 0 to 100", source="raw results"
            ),
        ),
        note="All layers share the rise of the answer's own log-probability, 2.3 nats, most of it by step 10; after "
        "that both gain half a nat. Read from each step's own whole run, as here, nothing is shared.",
    ),
    Claim(
        id="two-phase-training",
        sentence="Training has a fast phase of ten steps and then refines: a short run may suffice.",
        source=PAGE,
        falsified_by="less than 80% of the final gain on held-out answers at step 10",
        models=("qwen0_5b",),
        criteria={SOUND: (EARLY_GAIN,)},
        presupposes=(FINAL_GAIN,),
        published=(Published(value=0.1, unit="share of the steps", what="fast phase", source=PAGE),),
        note="No skill was measured upstream, and its loss at step 10 is nine times the final one. Step 10 ends the "
        "warm-up of the learning rate: a phase of that length would be the schedule's as much as the model's.",
    ),
    Claim(
        id="lora-1_5b-loss",
        sentence="The JSON adapter of Qwen2.5-1.5B converges to a loss below 0.1.",
        source=LARGE_PAGE,
        falsified_by="a loss on the answers above 0.1 nats at the end",
        models=("qwen1_5b",),
        criteria={
            SOUND: (
                TrainedWithin(
                    experiment="adapter_steps",
                    probe=_on(LAST),
                    metric="train_loss",
                    at_most=0.1,
                    rationale="ten times the published 0.0098, as the ledger has it",
                ),
            )
        },
        published=(Published(value=0.0098, unit="nats", what="loss", source=LARGE_PAGE),),
        note="Published as a mean over 256 positions of which some nine tenths are padding, of ten strings repeated "
        "ten times; it compares with no other loss. Here the answer alone counts.",
    ),
    Claim(
        id="cmp-lockin-1_5b-untested",
        sentence="Whether training has two phases in Qwen2.5-1.5B is not known.",
        source="atlas, comparison page (seed 000)",
        falsified_by="nothing that a model does: it says that nothing was measured",
        models=("qwen1_5b",),
        untestable="a statement about what was not done (the script crashed); the question itself is asked of every "
        "model by training-most-by-step-10",
    ),
    Claim(
        id="training-profile-was-there",
        sentence="Training leaves the order of the blocks as it was: profiles on JSON prompts before and after agree.",
        source=f"{OURS} of 'the circuit locks in by step 10': what was there at step 0",
        falsified_by="a Spearman correlation below 0.9 between step 0 and step 100",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                _on_json(
                    RankAgreement(
                        profiles=(_profile(FIRST), _profile(LAST)),
                        at_least=0.9,
                        rationale="the atlas's own steps 0 and 100 have 0.948; below 0.9 it is another order",
                    )
                ),
            )
        },
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.INCONCLUSIVE}},
        note="On SmolLM2-135M one training alone refutes it, and three together leave it open.",
    ),
    Claim(
        id="training-top-was-there",
        sentence="Two of the three strongest blocks on JSON prompts are the same at step 0, 10 and 100.",
        source=f"{OURS} of 'the circuit locks in by step 10', of its three layers",
        falsified_by="two of these steps sharing fewer than two of their three strongest blocks",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                _on_json(
                    TopOverlap(
                        profiles=tuple(_profile(step) for step in (FIRST, EARLY, LAST)),
                        at_least=2.0,
                        k=3,
                        rationale="two of three: the third often ties with the fourth",
                    )
                ),
            )
        },
    ),
    Claim(
        id="training-most-by-step-10",
        sentence="After ten of a hundred steps the JSON adapter adds at least 80% of what it adds at the end.",
        source=f"{OURS} of 'training has a fast phase of ten steps'",
        falsified_by="less than 80% of the final gain on held-out answers at step 10",
        models=EVERY_MODEL,
        criteria={SOUND: (EARLY_GAIN,)},
        presupposes=(FINAL_GAIN,),
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        borderline={SOUND: ("gemma3_270m",)},
        note="Step 10 ends the warm-up of the learning rate.",
    ),
)


def test_training_dynamics(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_training_dynamics_snapshot(effects_cell, effects, snapshot):
    """What the adapter does at each step, and each block under it, against the last accepted measurement."""
    assert effects("adapter_steps", effects_cell) == snapshot
