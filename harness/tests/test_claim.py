"""Cards: what a claim may say, and what it refuses."""

import subprocess
import sys

import pytest

from harness.claim import EVERY_MODEL, Claim, InvalidClaim, Protocol
from harness.verdicts.criteria import HubIs, HubsAt, SameAsDeepest, StableOverSeeds
from harness.verdicts.verdict import Verdict

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
HUB = HubIs(layer=2, rationale="a test")
JOINT = HubsAt(layers={"a": 1, "b": 2}, rationale="a test")
BOTH = {"criteria": {PUBLISHED: (HUB,), SOUND: (HUB,)}}
STABLE = StableOverSeeds(rationale="a test")


def claim(**more):
    values = {
        "id": "hub-0_5b.l2",
        "sentence": "L2 is the hub.",
        "source": "a test",
        "falsified_by": "another hub",
        "models": ("a", "b"),
        "criteria": {SOUND: (HUB,)},
    }
    return Claim(**{**values, **more})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"id": "Hub L2"}, "lower-case"),
        ({"id": ""}, "lower-case"),
        ({"sentence": " "}, "sentence is empty"),
        ({"source": ""}, "source is empty"),
        ({"falsified_by": ""}, "falsified_by is empty"),
        ({"models": ()}, "names no model"),
        ({"criteria": {}}, "no criteria"),
        ({"criteria": {SOUND: ()}}, "no criteria"),
        ({"untestable": "because"}, "has no criteria"),
        ({"untestable": " ", "criteria": {}}, "gives the reason"),
        ({"expected": {PUBLISHED: Verdict.REFUTED}}, "expects a verdict under published"),
        ({"expected": {SOUND: Verdict.NOT_RUN}}, "expects 'not run'"),
        ({"expected": {SOUND: {"c": Verdict.REFUTED}}}, "expects a verdict for c"),
        ({"supersedes": ("hub-0_5b.l2",)}, "supersedes itself"),
        ({"criteria": {SOUND: (JOINT,)}}, "joint must be True"),
        ({"joint": True}, "joint must be False"),
        (
            {"joint": True, "criteria": {SOUND: (JOINT,)}, "models": ("a",)},
            "compares b, which models leaves out",
        ),
        ({"criteria": {SOUND: (STABLE,)}}, "over_seeds must be True"),
        ({"artifact": "One. Two."}, "judged under both protocols"),
        ({**BOTH, "artifact": "Only one."}, "artifact has 1 full stops: write two sentences"),
        ({**BOTH, "artifact": "One. Two. Three."}, "artifact has 3 full stops"),
        ({**BOTH, "artifact": "One. Two? three"}, "write two sentences"),
        ({**BOTH, "artifact": f"One. {'x' * 315}."}, "artifact has 321 characters, more than 320"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused_by_name(wrong, message):
    with pytest.raises(InvalidClaim, match=message) as caught:
        claim(**wrong)
    assert "claim '" in str(caught.value)


def test_a_claim_knows_its_experiments_once_and_per_protocol():
    card = claim(criteria={SOUND: (HUB, HUB), PUBLISHED: (SameAsDeepest(rationale="r"), HUB)})
    assert card.experiments(SOUND) == ("layer_sweep",)
    assert card.experiments(PUBLISHED) == ("layer_sets", "layer_sweep")
    assert claim().experiments(PUBLISHED) == ()


def test_a_universal_claim_speaks_of_every_model():
    assert claim(models=EVERY_MODEL).applies_to("some_new_checkpoint")
    assert claim().applies_to("a")
    assert not claim().applies_to("c")


def test_expectations_for_one_model_and_for_the_others():
    card = claim(
        criteria={SOUND: (HUB,), PUBLISHED: (HUB,)},
        expected={SOUND: Verdict.REFUTED, PUBLISHED: {"a": Verdict.INVALID, "*": Verdict.SUPPORTED}},
    )
    assert card.expected_verdict("a", SOUND) is Verdict.REFUTED
    assert card.expected_verdict("a", PUBLISHED) is Verdict.INVALID
    assert card.expected_verdict("b", PUBLISHED) is Verdict.SUPPORTED
    assert claim().expected_verdict("a", SOUND) is None
    partial = claim(expected={SOUND: {"a": Verdict.REFUTED}})
    assert partial.expected_verdict("b", SOUND) is None


def test_an_untestable_claim_has_a_reason_and_nothing_to_measure():
    card = claim(criteria={}, untestable="a recommendation, not a measurement")
    assert card.experiments(SOUND) == ()


def test_claims_and_their_seeds():
    assert claim(criteria={SOUND: (STABLE,)}, over_seeds=True).over_seeds


def test_importing_a_card_loads_neither_torch_nor_numpy():
    """Collection must stay fast: a card is imported for every test id."""
    heavy = ("numpy", "scipy", "torch", "pytest")
    code = f"import sys, harness.claim; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["", "One. Two.", "One, at 0.5 of it. Is it two?", f"One. {'x' * 314}."])
def test_an_artifact_is_explained_in_two_short_sentences_or_not_at_all(text):
    assert claim(**BOTH, artifact=text).artifact == text
