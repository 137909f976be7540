"""Chapter: does it matter in which blocks an adapter stands?

Adapters on all seven linear modules of a few blocks: those whose skip moves the base model most on the skill's own
prompts, and ten sets as large at random. Between them they have as many parameters as one of low rank in every block.
The map is measured on prompts that are not held out; judged is the log-probability of held-out answers, over a hundred
different ones, at the end of training and at step 25. At the end all may be near the ceiling, an answer that is
certain, where nothing can lead by much; and as all are trained for as many steps at one rate, an adapter that learns
faster leads without being able to hold more.

Ten sets are few: a set that is no better than they are is the best of eleven in one of eleven models. What a p-value
here allows for is the prompts, not the draw of sets, which is one for all models of as many blocks.

The atlas took the same three blocks for every skill (a key was missing in a dictionary), one random set that shared a
block with them, and two held-out prompts, one of which had been trained on.

On code the same is asked of Qwen2.5-0.5B alone: 13 more trainings a draw would double what this chapter costs.

Thresholds stood before any model was measured; what is expected of SmolLM2-135M was noted after its first run.
"""

from typing import Literal

from harness.adapters.values import Adapted, Part
from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.experiments.adapter_sets import (
    ALL_LINEAR,
    AT_RANDOM,
    CHOSEN,
    CODE,
    EARLY,
    EVERYWHERE,
)
from harness.experiments.adapters import JSON, RECIPES_BY_MODULES
from harness.verdicts.criteria import Contrast, OfFamilies, RecipeBeats, Term
from harness.verdicts.verdict import Verdict

CHAPTER = "18. Where an adapter stands"

SOUND = Protocol.SOUND
PROTOCOLS = (SOUND,)
"""Of the snapshots: what the atlas did differently here is how it chose, trained and measured."""

AUDIT = "atlas, audit page (seed 004)"
OURS = "this suite: the universal form"
TENTH = "a tenth of a nat, the least effect that counts"
OF_TEN = (
    f"of ten sets the 95th percentile lies beyond nine, as the ledger has it: it must beat each, by {TENTH}, as less "
    "is nothing near the ceiling"
)
EXPERIMENT = {JSON: "adapter_sets", CODE: "adapter_sets_code"}


def _beats(
    family: str,
    recipe: str,
    others: tuple[str, ...],
    why: str,
    *,
    margin: float = 0.0,
    step: int | None = None,
    metric: Literal["answer_logprob", "answer_match"] = "answer_logprob",
) -> RecipeBeats:
    return RecipeBeats(
        experiment=EXPERIMENT[family],
        family=family,
        recipe=recipe,
        others=others,
        margin=margin,
        step=step,
        metric=metric,
        rationale=why,
    )


ALL = Adapted(parts=(Part(family=JSON, recipe=next(r for r in RECIPES_BY_MODULES if r.name == ALL_LINEAR)),))
SOMETHING = OfFamilies(
    families=(JSON,),
    criterion=Contrast(
        experiment="adapter_sets",
        what="what the adapter on all linear modules adds to the answer's log-probability",
        terms=(Term(weight=1.0, of=ALL), Term(weight=-1.0)),
        at_least=0.1,
        rationale=f"{TENTH}: below it there is nothing to compare",
    ),
)


CLAIMS = (
    Claim(
        id="atlas-lora-json",
        sentence="An adapter in three blocks that the atlas's map chose answers JSON prompts as well as one on all "
        "linear modules, with 13.8 times fewer parameters.",
        source=AUDIT,
        falsified_by="answers less likely than under the full adapter, or no likelier than under adapters in as many "
        "random blocks",
        models=("qwen0_5b",),
        criteria={
            SOUND: (
                _beats(
                    JSON,
                    CHOSEN,
                    (ALL_LINEAR,),
                    "exact match, as published: two in a hundred less, as the ledger has it",
                    margin=-0.02,
                    metric="answer_match",
                ),
                _beats(JSON, CHOSEN, (ALL_LINEAR,), f"as well: less than {TENTH}, apart", margin=-0.1),
                _beats(JSON, CHOSEN, AT_RANDOM, OF_TEN, margin=0.1),
            )
        },
        published=(
            Published(value=319488, unit="parameters", what="o, up and down of three layers", source=AUDIT),
            Published(value=4399104, unit="parameters", what="all linear modules", source=AUDIT),
            Published(value=13.8, unit="times", what="ratio", source=AUDIT),
            Published(
                value=1.0, unit="exact match", what="of two prompts, one of them trained on", source=AUDIT
            ),
            Published(value=1.0, unit="exact match", what="in three random layers", source="raw results"),
        ),
        note="What the config says is right: rank 8 on o, up and down of three blocks has 319,488 parameters, on all "
        "linear modules 4,399,104. It says nothing of the map: any three blocks have as many. Judged here is our map "
        "of JSON prompts (the atlas's blocks were L2, L7 and L9), and a set has all seven modules of its blocks, so "
        "that it differs from the others in nothing but where it stands; all linear modules then have 8 times as many.",
    ),
    Claim(
        id="atlas-lora-task-split",
        sentence="What holds of JSON does not of code: there all linear modules win, and the atlas's layers only have "
        "a lower loss than random ones.",
        source=AUDIT,
        falsified_by="chosen blocks that do as well as all linear modules on code, or random blocks that do better",
        models=("qwen0_5b",),
        criteria={
            SOUND: (
                _beats(CODE, ALL_LINEAR, (CHOSEN,), f"a win is more than {TENTH}", margin=0.1),
                _beats(CODE, CHOSEN, AT_RANDOM, OF_TEN, margin=0.1),
            )
        },
        published=(
            Published(value=1.0, unit="exact match", what="all linear modules, one prompt", source=AUDIT),
            Published(value=0.0, unit="exact match", what="the atlas's layers, one prompt", source=AUDIT),
        ),
        note="One prompt a family, one random set of layers, which shares L7 with the atlas's, and the loss of a "
        "single batch with its padding.",
    ),
    Claim(
        id="sets-map-beats-random",
        sentence="On JSON, an adapter in the blocks that the base model needs most ends a tenth of a nat ahead of one "
        "in as many random blocks, for each of these ten sets.",
        source=f"{OURS} of 'atlas-guided LoRA'",
        falsified_by="a random set of blocks that comes within a tenth of a nat of it",
        models=EVERY_MODEL,
        criteria={SOUND: (_beats(JSON, CHOSEN, AT_RANDOM, OF_TEN, margin=0.1),)},
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        presupposes=(SOMETHING,),
    ),
    Claim(
        id="sets-map-learns-faster",
        sentence="At step 25 an adapter in the blocks that the base model needs most is a tenth of a nat ahead of one "
        "in as many random blocks, for each of these ten sets.",
        source=f"{OURS} of 'atlas-guided LoRA', before the ceiling is reached",
        falsified_by="a random set of blocks that comes within a tenth of a nat of it",
        models=EVERY_MODEL,
        criteria={SOUND: (_beats(JSON, CHOSEN, AT_RANDOM, OF_TEN, margin=0.1, step=EARLY),)},
        expected={SOUND: {"smollm2_135m": Verdict.REFUTED, "gemma3_270m": Verdict.REFUTED}},
        presupposes=(SOMETHING,),
    ),
    Claim(
        id="sets-map-keeps-up",
        sentence="On JSON, an adapter in the blocks that the base model needs most does as well as one of as many "
        "parameters in every block.",
        source=f"{OURS} of 'with fewer parameters', the parameters held equal",
        falsified_by="answers more than a tenth of a nat less likely than with the same parameters in every block",
        models=EVERY_MODEL,
        criteria={SOUND: (_beats(JSON, CHOSEN, (EVERYWHERE,), f"less than {TENTH}, apart", margin=-0.1),)},
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE}},
        presupposes=(SOMETHING,),
        note="Where both are near the ceiling it holds of any adapter that is trained enough.",
    ),
    Claim(
        id="sets-any-blocks-do",
        sentence="On JSON it hardly matters where: nine of ten random sets of blocks add half of what as many "
        "parameters in every block add.",
        source="this suite: why random layers also scored 1.000",
        falsified_by="two random sets or more that add less than half of it",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                RecipeBeats(
                    experiment="adapter_sets",
                    family=JSON,
                    recipe=EVERYWHERE,
                    others=AT_RANDOM,
                    least=9,
                    share=0.5,
                    theirs=True,
                    rationale="half of what the same parameters do when they are spread: with less, the place would "
                    "count for more than the adapter",
                ),
            )
        },
        presupposes=(SOMETHING,),
    ),
)


def test_adapter_sets(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_adapter_sets_snapshot(effects_cell, effects, snapshot):
    """What adapters in sets of blocks do on JSON, against the last accepted measurement."""
    assert effects("adapter_sets", effects_cell) == snapshot
