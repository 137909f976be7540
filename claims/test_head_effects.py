"""Chapter: how much do single attention heads do?

Zeroing a head's z, before the output projection, at every position. The atlas's own claims about heads, and the sites
it zeroed for them, are not judged here.
"""

from harness.claim import EVERY_MODEL, Claim, Protocol
from harness.experiments import find_experiment
from harness.verdicts.criteria import EveryProbe, SomeProbe
from harness.verdicts.selectors import EveryHead

CHAPTER = "5. Head effects"

SOUND = Protocol.SOUND
PROTOCOLS = find_experiment("head_sweep").protocols
"""Sound alone: the published sites differ from scale to scale and are not measured yet."""

CLAIMS = (
    Claim(
        id="head-none-moves-a-nat",
        sentence="No single attention head moves the prediction by a nat.",
        source="this suite: the universal form of the remark that attention is spread over many heads",
        falsified_by="one head whose zeroing moves the next-token distribution by more than 1 nat on average",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                EveryProbe(
                    experiment="head_sweep",
                    select=EveryHead(),
                    metric="kl_nats",
                    at_most=1.0,
                    rationale="ten times the least effect that this suite lets a hub have (0.1 nats): a head beyond it "
                    "works on the scale of a whole block",
                ),
            )
        },
        borderline={SOUND: ("gemma3_270m", "smollm2_135m")},
    ),
    Claim(
        id="head-some-matters",
        sentence="At least one attention head matters by itself.",
        source="this suite: the opposite of a model in which every head is redundant",
        falsified_by="every head's zeroing moving the next-token distribution by less than 0.1 nats on average",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                SomeProbe(
                    experiment="head_sweep",
                    select=EveryHead(),
                    metric="kl_nats",
                    at_least=0.1,
                    rationale="the least effect that this suite lets a hub have, and far above the numeric floor",
                ),
            )
        },
        borderline={SOUND: ("gemma3_270m", "smollm2_135m")},
        note="Since the bounds became stricter (98%, studentized) the 36 prompts of one draw are too few on both "
        "models; the three draws together support it.",
    ),
)


def test_head_effects(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


def test_head_effects_snapshot(effects_cell, effects, snapshot):
    """The effect of zeroing each head, against the last accepted measurement."""
    assert effects("head_sweep", effects_cell) == snapshot
