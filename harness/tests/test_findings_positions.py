"""What a reader is told of classes of positions: the whole finding of every verdict, and its p-value counted here."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.edits import Stream, zero
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ANSWER_DROP
from harness.tests.test_positions import N_LAYERS, spotted
from harness.verdicts.criteria import SpotOutweighs, SpotPeak, SpotRatio
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Spotted
from harness.verdicts.synthetic import with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY = {"rationale": "a test"}
SIZES = "(120 prompts, 60 templates)"
LEAST_P = 2 / 10_000
"""Two-sided, where no resample of 9,999 contradicts."""
ZEROED = "attn_out or mlp_out zeroed at"
FIRST, OPERATOR, CONTENT = (Spotted(spot=spot) for spot in ("first", "operator", "content"))


def judged(criterion, effects, n_layers=N_LAYERS):
    return judge_criterion(criterion, measured({"position_sweep": effects}, n_layers))


def of_class(effects, spot):
    """The mean over the probes of one class, prompt by prompt."""
    rows = [i for i, probe in enumerate(effects.probes) if probe.spot == spot and probe.donor is None]
    return effects.metrics["kl_nats"][rows].mean(axis=0)


def sampled(effects, values):
    return sample(Clusters.of(effects.prompts), np.atleast_2d(values), "kl_nats")


def said_p(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def numbers(estimate):
    return (
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.unit,
        estimate.n_prompts,
        estimate.n_templates,
    )


def undecided(criterion, effects, sentence):
    found = judged(criterion, effects)
    assert (found.verdict, found.p_value, found.estimate) == (INCONCLUSIVE, 1.0, None)
    assert found.sentence == sentence


def broken(effects):
    """The table with one infinite value, of the MLP of L1 at the first token."""
    return with_value(
        effects, "kl_nats", effects.row(replace(zero(Stream.MLP_OUT, 1), spot="first")), 3, np.inf
    )


BROKEN = (
    "Not a measurement: kl_nats of 'zero mlp_out L1 at first' is inf on the prompt 'family00 1 1 of seed 42'; 1 of 960 "
    "values are not finite."
)


# SpotOutweighs


def outweighs(*weaker, **more):
    return SpotOutweighs(stronger=FIRST, weaker=weaker or (CONTENT, OPERATOR), **more, **WHY)


@pytest.mark.parametrize(
    ("levels", "verdict", "weaker", "lead"),
    [
        ({"first": 3.0, "operator": 1.0, "content": 0.25}, SUPPORTED, "operator", 2.0),
        ({"first": 3.0, "operator": 0.25, "content": 1.0}, SUPPORTED, "content", 2.0),
        ({"first": 0.5, "operator": 1.0, "content": 0.25}, REFUTED, "operator", -0.5),
        ({"first": 0.5, "operator": 1.0, "content": 1.25}, REFUTED, "content", -0.75),
    ],
)
def test_what_is_said_of_a_class_that_outweighs_others(levels, verdict, weaker, lead):
    """Refuted by one of two: twice the least p-value."""
    found = judged(outweighs(), spotted(levels, noise=1e-7))
    p = LEAST_P if verdict is SUPPORTED else 2 * LEAST_P
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(p)
    assert numbers(found.estimate) == pytest.approx((lead, lead, lead, "nats", 120, 60), abs=1e-5)
    assert found.sentence == (
        f"'{ZEROED} first' moves {levels['first']:g} nats, '{ZEROED} {weaker}' {levels[weaker]:g}: a difference of "
        f"{lead:g} [{lead:g}, {lead:g}] nats {SIZES}, p < 0.001."
    )


def test_what_is_said_of_a_factor_and_of_tokens():
    """Of four tokens each: 3 nats a token, 6 and 0.5 in all; less twice the other, 3 / 4 - 2 x 0.5 / 4."""
    effects = spotted({"first": 3.0, "operator": 0.5}, counts={"first": 4, "operator": 4}, noise=1e-7)
    found = judged(outweighs(OPERATOR, times=2.0, per_token=True), effects)
    assert found.sentence == (
        f"'{ZEROED} first' moves 0.75 nats per token, '{ZEROED} operator' 0.125: a difference less 2 times the other "
        f"of 0.5 [0.5, 0.5] nats {SIZES}, p < 0.001."
    )
    assert found.verdict is SUPPORTED


@pytest.mark.parametrize("times", [1.0, 1.1])
def test_the_p_value_of_a_class_that_may_outweigh_others(times):
    """The larger of both where nothing is decided; counted on resamples of the difference itself."""
    effects = spotted({"first": 1.0, "operator": 0.9, "content": 0.8}, noise=1.0)
    found = judged(outweighs(times=times), effects)
    excess = [
        of_class(effects, "first") - times * of_class(effects, spot) for spot in ("content", "operator")
    ]
    ps = [2 * ((sampled(effects, x).pivots[:, 0] < 1e-6).sum() + 1) / 10_000 for x in excess]
    assert found.verdict is INCONCLUSIVE, found.sentence
    assert found.p_value == pytest.approx(min(1.0, max(ps)))
    assert found.p_value < 1.0
    shown = sampled(effects, excess[int(np.argmax(ps))])
    assert numbers(found.estimate) == pytest.approx((shown.value[0], *shown.interval(0), "nats", 120, 60))


def test_a_class_that_two_others_exceed_by_chance_is_undecided_and_the_nearer_to_refute_it_is_shown():
    effects = spotted({"first": 1.0, "operator": 1.2, "content": 1.1}, noise=1.0)
    leads = {
        s: float((of_class(effects, "first") - of_class(effects, s)).mean()) for s in ("operator", "content")
    }
    assert max(leads.values()) < 0
    found = judged(outweighs(), effects)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, 1.0), found.sentence
    assert found.estimate.value == pytest.approx(min(leads.values()))
    assert f"{ZEROED} {min(leads, key=leads.__getitem__)}'" in found.sentence


def test_two_templates_can_be_compared():
    for criterion in (outweighs(OPERATOR), ratio(0.5, 1.5)):
        found = judged(criterion, spotted({}, lacking={"operator": 116}, noise=1e-7))
        assert (found.estimate.n_prompts, found.estimate.n_templates) == (4, 2)


def test_a_class_among_two_that_one_exceeds_a_little_is_corrected_for_both():
    effects = spotted({"first": 1.0, "operator": 1.35, "content": 0.8}, noise=1.0)
    x = of_class(effects, "first") - of_class(effects, "operator")
    p = 4 * ((sampled(effects, x).pivots[:, 0] > -1e-6).sum() + 1) / 10_000
    found = judged(outweighs(), effects)
    assert 4 * LEAST_P < p < 0.02
    assert found.verdict is REFUTED, found.sentence
    assert found.p_value == pytest.approx(p)


# SpotRatio


def ratio(at_least, at_most, part=FIRST, of=OPERATOR, **more):
    return SpotRatio(part=part, of=of, at_least=at_least, at_most=at_most, **more, **WHY)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "p"),
    [(0.25, 1.0, SUPPORTED, LEAST_P), (0.75, 1.0, REFUTED, 2 * LEAST_P), (0.0, 0.25, REFUTED, 2 * LEAST_P)],
)
def test_what_is_said_of_a_ratio(low, high, verdict, p):
    found = judged(ratio(low, high), spotted({"first": 2.0, "operator": 4.0}, noise=1e-7))
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(p)
    assert numbers(found.estimate) == pytest.approx((0.5, 0.5, 0.5, "x", 120, 60), abs=1e-5)
    assert found.sentence == (
        f"'{ZEROED} first' moves 2 nats, '{ZEROED} operator' 4: a ratio of 0.5 [0.5, 0.5] x {SIZES}, where {low:g} to "
        f"{high:g} is asked for, {said_p(p)}."
    )


@pytest.mark.parametrize(("low", "high"), [(0.48, 1.0), (0.25, 0.52), (0.53, 1.0), (0.25, 0.485)])
def test_the_p_value_and_the_bounds_of_a_ratio_near_an_edge(low, high):
    """Each bound lies as far from its edge as the mean excess over that edge, in shares of the whole."""
    effects = spotted({"first": 2.0, "operator": 4.0}, noise=0.8)
    part, whole = of_class(effects, "first"), of_class(effects, "operator")
    below, above = (sampled(effects, part - edge * whole) for edge in (low, high))
    mean = float(sampled(effects, whole).value[0])
    p_in = 2 * (max((below.pivots < 1e-6).sum(), (above.pivots > -1e-6).sum()) + 1) / 10_000
    found = judged(ratio(low, high), effects)
    assert found.verdict is INCONCLUSIVE, found.sentence
    assert found.p_value == pytest.approx(min(1.0, p_in))
    expected = (low + below.interval(0)[0] / mean, high + above.interval(0)[1] / mean)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(expected)
    assert found.estimate.value == pytest.approx(sampled(effects, part).value[0] / mean)
    assert found.estimate.low < 0.5 < found.estimate.high


def test_a_ratio_that_cannot_be_taken():
    effects = spotted({"first": 0.05, "operator": 0.05}, noise=1e-7)
    undecided(
        ratio(0.5, 1.5),
        effects,
        f"There is no effect to take a share of: '{ZEROED} operator' moves 0.05 [0.05, 0.05] nats {SIZES}, and its "
        "lower bound is not 0.1 nats.",
    )
    assert judged(ratio(0.5, 1.5, min_effect_nats=0.04), effects).verdict is SUPPORTED
    single = spotted({"first": 9.0}, lacking={"operator": 118})
    said = f"One template has both {ZEROED} first and {ZEROED} operator: nothing to compare."
    for criterion in (ratio(0.5, 1.5), outweighs(OPERATOR)):
        undecided(criterion, single, said)
    for criterion in (ratio(0.5, 1.5), ratio(0.5, 1.5, OPERATOR, FIRST), outweighs(OPERATOR)):
        found = judged(criterion, broken(spotted({})))
        assert (found.verdict, found.p_value, found.estimate) == (Verdict.INVALID, None, None)
        assert found.sentence == BROKEN
        message = f"no prompt of 'position_sweep' has the positions of: {ZEROED} operator"
        with pytest.raises(MissingEvidence, match=f"^{message}$"):
            judged(criterion, spotted({}, lacking={"operator": 120}))


def test_two_classes_that_no_prompt_has_both_of_are_missing_evidence():
    """The first half of the prompts has no first token, the second no operator."""
    effects = spotted({}, lacking={"operator": 60})
    prompts = [
        replace(p, spots=tuple(s for s in p.spots if s != "first"), n_in_spots=(1,) * 5) if i < 60 else p
        for i, p in enumerate(effects.prompts)
    ]
    message = f"no prompt of 'position_sweep' has the positions of both {ZEROED} first and {ZEROED} operator"
    for criterion in (ratio(0.5, 1.5), outweighs(OPERATOR)):
        with pytest.raises(MissingEvidence, match=f"^{message}$"):
            judged(criterion, replace(effects, prompts=tuple(prompts)))


def test_a_class_that_is_not_counted_is_missing_evidence():
    effects = spotted({})
    prompts = (replace(effects.prompts[0], n_in_spots=()), *effects.prompts[1:])
    message = "the record does not say how many tokens of the prompt 'family00 0 0 of seed 42' are 'first'"
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        judged(outweighs(OPERATOR, per_token=True), replace(effects, prompts=prompts))


# SpotPeak


def peak(layer, **more):
    return SpotPeak(select=FIRST, layer=layer, **more, **WHY)


SIGN_FLIP_P = 1 / 10_000
"""Where no sign flip of 9,999 is as extreme."""


@pytest.mark.parametrize(
    ("by_block", "verdict", "p", "rest"),
    [
        (
            (0.25, 1.0, 2.0, 1.5),
            SUPPORTED,
            SIGN_FLIP_P,
            "L3 with 1.5, and is separated (p < 0.001)",
        ),
        (
            (0.25, 1.0, 2.0, 2.5),
            REFUTED,
            SIGN_FLIP_P,
            "L3 with 2.5, and L3 lies above it (p < 0.001)",
        ),
        ((2.5, 1.0, 2.0, 0.5), REFUTED, SIGN_FLIP_P, "L0 with 2.5, and L0 lies above it (p < 0.001)"),
    ],
)
def test_what_is_said_of_where_a_class_matters_most(by_block, verdict, p, rest):
    found = judged(peak(2), spotted({}, layers={"first": by_block}, noise=1e-7))
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(p)
    assert numbers(found.estimate) == pytest.approx((2.0, 2.0, 2.0, "nats", 120, 60), abs=1e-5)
    assert found.sentence == (
        f"At L2, {ZEROED} first moves 2 [2, 2] nats {SIZES}; the strongest other block is {rest}."
    )


def test_what_is_said_of_blocks_that_tie():
    """Both blocks' streams exchange their values from prompt to prompt, so that the means are equal."""
    effects = spotted({}, layers={"first": (0.25, 1.0, 2.0, 2.0)}, noise=0.3)
    found = judged(peak(2), effects)
    rows = [
        [
            effects.row(replace(zero(stream, layer), spot="first"))
            for stream in (Stream.ATTN_OUT, Stream.MLP_OUT)
        ]
        for layer in (2, 3)
    ]
    own, other = (effects.metrics["kl_nats"][r].mean(axis=0) for r in rows)
    assert found.verdict is INCONCLUSIVE, found.sentence
    shown = sampled(effects, own)
    assert numbers(found.estimate) == pytest.approx((shown.value[0], *shown.interval(0), "nats", 120, 60))
    assert found.sentence == (
        f"At L2, {ZEROED} first moves {shown.estimate(0)}; the strongest other block is L3 with "
        f"{other.mean():.3g}, which is a tie."
    )
    assert found.p_value == 1.0 if other.mean() > own.mean() else 0.01 < found.p_value < 1.0


def test_a_peak_that_cannot_be_judged():
    found = judged(peak(2), broken(spotted({}, layers={"first": (0.25, 1.0, 2.0, 1.5)})))
    assert (found.verdict, found.p_value, found.estimate) == (Verdict.INVALID, None, None)
    assert found.sentence == BROKEN
    found = judged(peak(2), spotted({}, layers={"first": (1.0,) * 4}, noise=0.0))
    assert found.verdict is Verdict.INVALID
    assert found.sentence.startswith("Not a measurement: the profile has no shape: ")
    whole = spotted({})
    for lacking, counts in ((1, [2, 0, 2, 2]), (3, [2, 2, 2, 0])):
        fewer = whole.select(lambda probe, lacking=lacking: probe.layers != (lacking,))
        message = (
            f"a peak needs every one of 4 layers equally often; 'position_sweep' holds {counts} probes for: {ZEROED} "
            "first"
        )
        with pytest.raises(MissingEvidence, match=f"^{re.escape(message)}$"):
            judged(peak(2), fewer)


# What is asked


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (
            outweighs(),
            f"{ZEROED} first moves more kl_nats than each of: {ZEROED} content; {ZEROED} operator",
        ),
        (
            outweighs(OPERATOR, times=2.5, per_token=True, metric=ANSWER_DROP),
            f"{ZEROED} first moves more than 2.5 times the answer_drop_nats per token of each of: {ZEROED} operator",
        ),
        (
            outweighs(OPERATOR, per_token=True),
            f"{ZEROED} first moves more kl_nats per token than each of: {ZEROED} operator",
        ),
        (ratio(0.25, 1.5), f"{ZEROED} first moves 0.25 to 1.5 times the kl_nats of: {ZEROED} operator"),
        (
            peak(2, metric=ANSWER_DROP),
            f"of all blocks, {ZEROED} first moves most answer_drop_nats at L2, separated from every other at p < 0.01 "
            "(nats)",
        ),
    ],
)
def test_a_criterion_on_positions_says_what_it_asks(criterion, text):
    assert str(criterion) == text
    assert criterion.experiments == ("position_sweep",)
    assert replace(criterion, experiment="other").experiments == ("other",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SpotOutweighs(stronger=FIRST, weaker=(), **WHY),
            f"SpotOutweighs of {ZEROED} first: name at least one other to compare it with",
        ),
        (
            lambda: outweighs(CONTENT, FIRST),
            f"SpotOutweighs of {ZEROED} first: name at least one other to compare it with",
        ),
        (lambda: outweighs(CONTENT, times=0.0), "SpotOutweighs(times=0.0): a factor above 0"),
        (lambda: ratio(1.25, 0.75), "SpotRatio(1.25 to 0.75): a band ascends from 0 or above"),
        (lambda: ratio(0.75, 0.75), "SpotRatio(0.75 to 0.75): a band ascends from 0 or above"),
        (lambda: ratio(-0.5, 0.75), "SpotRatio(-0.5 to 0.75): a band ascends from 0 or above"),
        (lambda: ratio(0.5, 0.75, FIRST, FIRST), f"SpotRatio of {ZEROED} first: a share is of another class"),
        (
            lambda: SpotPeak(select=Spotted(spot="first", layers=(2,)), layer=2, **WHY),
            "SpotPeak of attn_out or mlp_out of L2 zeroed at first: every block is compared, so name none",
        ),
        (
            lambda: SpotPeak(select=Spotted(spot="first", from_depth=0.5), layer=2, **WHY),
            f"SpotPeak of {ZEROED} first, from 50% of the depth on: every block is compared, so name none",
        ),
    ],
)
def test_a_criterion_on_positions_without_a_meaning_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_a_band_may_begin_at_zero_and_a_factor_may_be_below_one():
    assert ratio(0.0, 0.5).at_least == 0.0
    assert outweighs(CONTENT, times=0.5).times == 0.5


@pytest.mark.parametrize(
    "make", [lambda **m: outweighs(OPERATOR, **m), lambda **m: ratio(0.5, 1.5, **m), lambda **m: peak(2, **m)]
)
@pytest.mark.parametrize("metric", ["top5_overlap", "argmax_match", "speedup"])
def test_classes_are_compared_in_nats_alone(make, metric):
    """The bounds of a share are those of hits among prompts; a difference of two shares has none."""
    kind = type(make()).__name__
    with pytest.raises(ValueError, match=f"^{kind} on {metric}: compare effects in nats$"):
        make(metric=metric)
