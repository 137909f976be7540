"""From findings to a judgement, through false discovery control, to how a test ends."""

from typing import get_args

import numpy as np
import pytest

from harness.claim import EVERY_MODEL, Claim, Protocol
from harness.edits import skip
from harness.verdicts import criteria
from harness.verdicts.criteria import EveryProbe, HubIs, HubsAt, WorstCase
from harness.verdicts.fdr import control_fdr
from harness.verdicts.judging import judge, judge_chapter, judge_joint, raise_for
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import profile, table
from harness.verdicts.verdict import (
    ClaimInconclusive,
    ClaimRefuted,
    Finding,
    InstrumentInvalid,
    Judgement,
    MissingEvidence,
    Verdict,
    combine,
    not_run,
)

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
SOUND = Protocol.SOUND


def finding(verdict, p=None):
    return Finding(verdict=verdict, sentence=f"{verdict}.", p_value=p)


def claim(*wanted, name="a-claim", **more):
    values = {
        "sentence": "L2 is the hub.",
        "source": "a test",
        "falsified_by": "another hub",
        "models": EVERY_MODEL,
        "criteria": {SOUND: wanted},
    }
    return Claim(id=name, **{**values, **more})


def hub(layer):
    return HubIs(layer=layer, rationale="a test")


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [
        ((SUPPORTED, SUPPORTED), SUPPORTED),
        ((SUPPORTED, INCONCLUSIVE), INCONCLUSIVE),
        ((SUPPORTED, REFUTED), REFUTED),
        ((INCONCLUSIVE, REFUTED), REFUTED),
        ((REFUTED, INVALID), INVALID),
        ((SUPPORTED, INVALID), INVALID),
    ],
)
def test_findings_combine(verdicts, combined):
    assert combine([finding(v) for v in verdicts]).verdict is combined
    assert combine([finding(v) for v in reversed(verdicts)]).verdict is combined


def test_no_finding_is_no_judgement():
    with pytest.raises(ValueError, match="^a judgement needs at least one finding$"):
        combine([])


def test_p_values_combine_as_all_must_hold():
    assert combine([finding(SUPPORTED, 0.01), finding(SUPPORTED, 0.03)]).p_value == 0.03
    assert combine([finding(SUPPORTED, 0.01), finding(SUPPORTED)]).p_value == 0.01
    assert combine([finding(REFUTED, 0.01), finding(SUPPORTED, 0.001)]).p_value == pytest.approx(0.02)
    assert combine([finding(REFUTED, 0.01), finding(REFUTED)]).p_value is None  # an identity is violated
    assert combine([finding(SUPPORTED)]).p_value is None
    assert combine([finding(REFUTED, 0.6), finding(SUPPORTED, 0.1)]).p_value == 1.0


def judged(verdict, p):
    return Judgement(verdict=verdict, findings=(finding(verdict, p),), p_value=p)


def test_false_discovery_control_at_its_boundary():
    """Benjamini-Hochberg at 0.05 over four tests: the second smallest may be 0.025 and no more."""
    for second, verdict in ((0.0249, REFUTED), (0.0251, INCONCLUSIVE)):
        chapter = {
            "a": judged(SUPPORTED, 0.001),
            "b": judged(REFUTED, second),
            "c": judged(INCONCLUSIVE, 0.5),
            "d": judged(INCONCLUSIVE, 0.9),
        }
        controlled = control_fdr(chapter)
        assert controlled["a"].verdict is SUPPORTED
        assert controlled["b"].verdict is verdict
        assert controlled["c"] == chapter["c"]
    assert "does not survive false discovery control over the 4 tests" in controlled["b"].sentence
    assert "would be refuted" in controlled["b"].sentence


def test_a_p_value_at_the_level_survives():
    assert control_fdr({"alone": judged(SUPPORTED, 0.05)})["alone"].verdict is SUPPORTED


def test_identities_and_invalid_judgements_are_no_tests():
    chapter = {
        "identity": Judgement(verdict=REFUTED, findings=(finding(REFUTED),)),
        "invalid": Judgement(verdict=INVALID, findings=(finding(INVALID, 0.9),), p_value=0.9),
        "tested": judged(SUPPORTED, 0.049),
        "skipped": not_run("no weights"),
    }
    assert control_fdr(chapter) == chapter
    assert control_fdr({}) == {}


def test_a_chapter_is_judged_by_the_claims_that_can_be():
    tables = profile([1.0, 0.5, 2.0, 1.5])
    identity = WorstCase(
        experiment="layer_sweep", select=Singles(), metric="kl_nats", at_most=9.0, rationale="r"
    )
    chapter = [
        claim(hub(2), name="right"),
        claim(hub(3), name="wrong"),
        claim(identity, name="identity"),
        claim(HubsAt(layers={"m": 2}, rationale="r"), name="joint", joint=True),
        claim(name="untestable", criteria={}, untestable="a recommendation"),
        claim(hub(2), name="elsewhere", criteria={Protocol.PUBLISHED: (hub(2),)}),
    ]
    found = judge_chapter(chapter, SOUND, tables)
    assert {name: j.verdict for name, j in found.items()} == {
        "right": SUPPORTED,
        "wrong": REFUTED,
        "identity": SUPPORTED,
    }


def test_judging_twice_gives_the_same_numbers():
    tables = profile([1.0, 0.5, 2.0, 1.5], noise=0.3)
    assert judge(claim(hub(2)), SOUND, tables) == judge(claim(hub(2)), SOUND, tables)


def test_joint_claims_are_judged_over_models():
    joint = claim(HubsAt(layers={"m": 2, "n": 0}, rationale="r"), joint=True)
    tables = {"m": profile([1.0, 0.5, 2.0]), "n": profile([2.0, 0.5, 1.0])}
    assert judge_joint(joint, SOUND, tables).verdict is SUPPORTED
    with pytest.raises(ValueError, match="judge_joint"):
        judge(joint, SOUND, tables["m"])
    with pytest.raises(ValueError, match="one model at a time"):
        judge_joint(claim(hub(2)), SOUND, tables)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="no criteria under protocol published"):
        judge(claim(hub(2)), Protocol.PUBLISHED, profile([1.0, 2.0]))
    with pytest.raises(ValueError, match="cannot be tested: a recommendation"):
        judge(claim(criteria={}, untestable="a recommendation"), SOUND, profile([1.0, 2.0]))
    with pytest.raises(MissingEvidence, match="nothing to judge"):
        judge(claim(hub(2)), SOUND, {})


@pytest.mark.parametrize(
    ("layer", "means", "error", "words"),
    [
        (3, [1.0, 0.5, 2.0, 1.5], ClaimRefuted, "this refuted: L3 moves 1.5 .* but L2 lies above it"),
        (2, [1.0, 0.5, 2.0, 2.0], ClaimInconclusive, "this inconclusive: .* tie"),
        (2, np.ones((4, 12)), InstrumentInvalid, "this invalid: Not a measurement: the profile has no shape"),
    ],
)
def test_each_verdict_has_its_own_exception_that_says_why(layer, means, error, words):
    noise = 0.0 if isinstance(means, np.ndarray) else 1e-4
    card = claim(hub(layer))
    with pytest.raises(error, match=f"a-claim: L2 is the hub. The evidence makes {words}") as caught:
        raise_for(judge(card, SOUND, profile(means, noise=noise)), card)
    assert type(caught.value) is error  # a refuted test must not be taken for an inconclusive one


def test_supported_is_silent_and_not_run_is_no_verdict():
    raise_for(judge(claim(hub(2)), SOUND, profile([1.0, 0.5, 2.0, 1.5])), claim(hub(2)))
    with pytest.raises(ValueError, match="was not run: no weights"):
        raise_for(not_run("no weights"), claim(hub(2)))


def test_a_judgement_carries_its_criteria_and_its_headline():
    bound = EveryProbe(
        experiment="layer_sweep", select=Singles(), metric="kl_nats", at_most=3.0, rationale="r"
    )
    judgement = judge(claim(bound, hub(2)), SOUND, profile([1.0, 0.5, 2.0, 1.5]))
    assert [f.criterion for f in judgement.findings] == [str(bound), str(hub(2))]
    assert judgement.estimate == judgement.findings[0].estimate


def test_the_number_of_layers_can_be_given():
    """A table that stops short of the model must not make its last row pass for the final layer."""
    tables = {"layer_sweep": table([skip(0), skip(1)], {"kl_nats": [1.0, 2.0]})}
    with pytest.raises(MissingEvidence, match="lacks L2"):
        judge(claim(hub(1)), SOUND, tables, n_layers=3)
    with pytest.raises(MissingEvidence, match="lacks L2"):
        judge_chapter([claim(hub(1))], SOUND, tables, n_layers=3)
    joint = claim(HubsAt(layers={"m": 1, "n": 1}, rationale="r"), joint=True)
    assert (
        judge_joint(joint, SOUND, {"m": tables, "n": tables}, n_layers={"m": 2, "n": 2}).verdict is SUPPORTED
    )
    with pytest.raises(MissingEvidence, match="lacks L2"):
        judge_joint(joint, SOUND, {"m": tables, "n": tables}, n_layers={"m": 2, "n": 3})


def test_every_criterion_says_why_and_prints_as_a_sentence():
    for kind in (*get_args(criteria.SingleCriterion), *get_args(criteria.JointCriterion)):
        assert kind.__doc__
        assert "__str__" in vars(kind), kind
    with pytest.raises(ValueError, match="^HubIs: say why these thresholds were chosen .rationale.$"):
        HubIs(layer=1, rationale=" ")
    assert str(hub(14)).startswith(
        "L14 has the largest mean kl_nats, separated from every other block at p < 0.01"
    )
