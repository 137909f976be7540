"""What a reader is told of activation patching: the whole finding of every verdict of every criterion on it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.edits import Stream
from harness.experiments import CLEAN, CORRUPT
from harness.experiments.patching import DENOISING, NOISING, Where, patched
from harness.statistics.bootstrap import percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.statistics.ranks import spearman
from harness.tests.test_patching import N_LAYERS, tables
from harness.verdicts.criteria import DirectionsAgree, PairsAlign, RecoveryBound, WholePatchIsOtherRun
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import DepthPart, Patched
from harness.verdicts.synthetic import with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
RESID = Stream.RESID_POST
WHY = {"rationale": "a test"}
SIZES = "(120 prompts, 60 templates)"
EACH = "120 of 120 pairs separate clean from corrupt by 1 nat."
LEAST_P = 2 / 10_000
"""Two-sided, where no resample of 9,999 contradicts."""

CHANGED = Patched(stream=RESID, where=Where.CHANGED, part=DepthPart.FIRST_THIRD)
LAST = Patched(stream=RESID, where=Where.LAST)
WHOLE = WholePatchIsOtherRun(**WHY)
ALIGN = PairsAlign(**WHY)
AGREE = DirectionsAgree(select=LAST, at_least=0.8, **WHY)


def bound(**limit):
    return RecoveryBound(select=CHANGED, **limit, **WHY)


def judged(criterion, given):
    return judge_criterion(criterion, measured(given, N_LAYERS))


def changed(effects, **what):
    """The table with these metrics' cells replaced: metric=(probe, prompt, value)."""
    for metric, (probe, column, value) in what.items():
        effects = with_value(effects, metric, effects.row(probe), column, value)
    return effects


def apart(effects, prompts, away=0.0):
    """The table with the two ends of these prompts `away` nats from each other."""
    answer = effects.metrics["answer_logprob"].copy()
    answer[:, prompts] = effects.baseline["answer_logprob"][prompts] + away
    return replace(effects, metrics={**effects.metrics, "answer_logprob": answer})


def undecided(criterion, given, sentence):
    found = judged(criterion, given)
    assert (found.verdict, found.p_value, found.estimate) == (INCONCLUSIVE, 1.0, None)
    assert found.sentence == sentence


# RecoveryBound


@pytest.mark.parametrize(
    ("limit", "verdict", "said", "value"),
    [
        ({"at_least": 0.75}, SUPPORTED, "at least 0.75 of the gap for all 2; the nearest to it is", "L1"),
        ({"at_least": 0.95}, REFUTED, "not at least 0.95 of the gap for", "L1"),
        ({"at_least": 0.95, "some": True}, SUPPORTED, "at least 0.95 of the gap for", "L0"),
        (
            {"at_most": 0.5, "some": True},
            REFUTED,
            "at most 0.5 of the gap for none of 2; the nearest to it is",
            "L1",
        ),
    ],
)
def test_what_is_said_of_a_recovery(limit, verdict, said, value):
    """The first two of six blocks bring about 1 and 0.9."""
    found = judged(bound(**limit), tables(noise=1e-7))
    level = {"L0": "1", "L1": "0.9"}[value]
    several = (verdict is REFUTED) is (not limit.get("some", False))  # one of two was looked for
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(2 * LEAST_P if several else LEAST_P)
    assert found.estimate.value == pytest.approx(float(level), abs=1e-4)
    assert found.sentence == (
        f"recovery is {said} 'patch {value} from clean at changed': {level} [{level}, {level}] of the gap {SIZES}, "
        f"p < 0.001. {EACH}"
    )


def test_a_recovery_of_too_few_pairs_or_of_numbers_that_are_none():
    given = tables(noise=1e-7)
    few = {DENOISING: apart(given[DENOISING], np.arange(12, 120))}
    undecided(
        bound(at_least=0.5),
        few,
        "12 of 120 pairs separate clean from corrupt by 1 nat. They are of 6 templates; 7 are needed.",
    )
    probe = patched(RESID, 0, CLEAN, Where.CHANGED)
    broken = {DENOISING: changed(given[DENOISING], foil_logprob=(probe, 5, np.inf))}
    found = judged(bound(at_least=0.5), broken)
    assert (found.verdict, found.p_value) == (Verdict.INVALID, None)
    assert (
        found.sentence
        == "Not a measurement: 'patching_denoising' holds log-probabilities that are not finite."
    )
    bare = replace(given[DENOISING], metrics={"answer_logprob": given[DENOISING].metrics["answer_logprob"]})
    message = "'patching_denoising' holds no foil_logprob: there is no logit difference to recover"
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        judged(bound(at_least=0.5), {DENOISING: bare})
    partly = given[DENOISING].select(lambda probe: probe != patched(RESID, 5, CLEAN, Where.ALL))
    message = "'patch L5 from clean' was not measured, which is the other run of the pair"
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        judged(bound(at_least=0.5), {DENOISING: partly})


# DirectionsAgree


@pytest.mark.parametrize(("at_least", "verdict"), [(0.8, SUPPORTED), (0.99, REFUTED)])
def test_what_is_said_of_two_directions(at_least, verdict):
    """Noising exchanges the first two of six blocks: 1 - 12 / 210 by Spearman's formula."""
    noising = {(RESID, Where.LAST, 0): 0.1, (RESID, Where.LAST, 1): 0.0}
    found = judged(replace(AGREE, at_least=at_least), tables(noising=noising, noise=1e-7))
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(LEAST_P)
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx(
        (1 - 12 / 210,) * 3
    )
    assert (found.estimate.unit, found.estimate.n_prompts, found.estimate.n_templates) == (
        "Spearman",
        120,
        60,
    )
    assert found.sentence == (
        "Over 6 blocks, denoising and noising by resid_post at the last token in every block agree at "
        f"0.943 [0.943, 0.943] Spearman {SIZES}; {at_least:g} is asked for, p < 0.001. {EACH}"
    )


@pytest.mark.parametrize("at_least", [0.6, 0.9])
def test_two_directions_that_noise_decides(at_least):
    """Beside Spearman's correlation, resampled here, of both tables' recoveries on the pairs that separate in both."""
    near = {(RESID, Where.LAST, layer): 0.2 + layer / 10 for layer in range(N_LAYERS)}
    given = tables(near, near, noise=0.6)
    found = judged(replace(AGREE, at_least=at_least), given)
    assert found.verdict is INCONCLUSIVE, found.sentence
    both = recovered_here(given)
    assert 60 < both.clusters.n_prompts < 120
    found_is(found, both, at_least)
    assert found.p_value > 0.02


@pytest.mark.parametrize("side", [-1e-4, 1e-4])
def test_two_directions_at_the_edge_that_noise_leaves(side):
    """Asked for is what noise lowers to an agreement of some resamples, a hair below it or above."""
    near = {(RESID, Where.LAST, layer): 0.2 + layer / 20 for layer in range(N_LAYERS)}
    other = {(RESID, Where.LAST, layer): 0.2 + at / 10 for layer, at in enumerate((3, 1, 0, 5, 2, 4))}
    given = tables(near, other, noise=0.3)
    both = recovered_here(given)
    edge = 0.6 + side
    at_least = float(edge / np.sqrt(np.prod(reliable_here(both))))
    found = judged(replace(AGREE, at_least=at_least), given)
    assert found.verdict is INCONCLUSIVE
    found_is(found, both, at_least)
    assert found.p_value < 1.0
    assert ((agree_here(both.draws) >= 0.6 - 1e-4) & (agree_here(both.draws) < 0.6 + 1e-4)).sum() > 100


def recovered_here(given):
    """Both tables' recoveries at the last token, the second turned round, on the pairs that separate in both."""
    rows, on = [], np.ones(120, dtype=bool)
    for name, donor in ((DENOISING, CLEAN), (NOISING, CORRUPT)):
        effects = given[name]
        gap = effects.metrics["answer_logprob"] - effects.metrics["foil_logprob"]
        own = effects.baseline["answer_logprob"] - effects.baseline["foil_logprob"]
        whole = gap[effects.row(patched(RESID, 5, donor, Where.ALL))]
        at = [effects.row(patched(RESID, layer, donor, Where.LAST)) for layer in range(N_LAYERS)]
        rows.append((gap[at] - own) / (whole - own))
        on &= np.abs(whole - own) >= 1.0
    prompts = [p for p, keep in zip(given[DENOISING].prompts, on, strict=True) if keep]
    return sample(Clusters.of(prompts), np.vstack(rows)[:, on], "recovery")


def agree_here(rows):
    return spearman(rows[:, :6], rows[:, 6:], decimals=2)


def reliable_here(both):
    reliable = []
    for half in (slice(6), slice(6, None)):
        own = np.repeat(both.value[None, half], 999, axis=0)
        reliable.append(2 - spearman(own, both.draws[:999, half], decimals=2).mean() ** -2)
    assert 0.1 < min(reliable) < max(reliable) < 1
    return reliable


def found_is(found, both, at_least):
    draws, value = agree_here(both.draws), agree_here(both.value[None])[0]
    low, high = percentile_interval(draws)
    against = (draws < at_least).sum()
    if value < at_least:  # as they are and mirrored in the observed value, both disattenuated
        high = max(high, min(1.0, 2 * value - low))
        edge = at_least * np.sqrt(np.prod(reliable_here(both)))
        against = max((draws >= edge).sum(), (2 * value - draws >= edge).sum())
    assert found.estimate.value == pytest.approx(value)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high))
    assert found.p_value == pytest.approx(min(1.0, 2 * (against + 1) / 10_000))


def test_directions_are_compared_block_by_block_in_whatever_order_they_were_measured():
    given = tables(noise=1e-7)
    effects = given[NOISING]
    turned = np.arange(len(effects.probes))[::-1]
    given[NOISING] = replace(
        effects,
        probes=tuple(effects.probes[i] for i in turned),
        metrics={name: values[turned] for name, values in effects.metrics.items()},
    )
    found = judged(AGREE, given)
    assert found.verdict is SUPPORTED
    assert found.estimate.value == pytest.approx(1.0)


def test_directions_are_compared_on_the_pairs_that_separate_in_both():
    """Ten prompts lack a gap in one table and the next ten in the other; a hundred are left, of fifty templates."""
    given = tables(noise=1e-7)
    given[DENOISING] = apart(given[DENOISING], np.arange(10))
    given[NOISING] = apart(given[NOISING], np.arange(10, 20))
    found = judged(AGREE, given)
    assert found.verdict is SUPPORTED
    assert (found.estimate.n_prompts, found.estimate.n_templates) == (100, 50)
    assert found.sentence.endswith("100 of 120 pairs separate clean from corrupt by 1 nat.")
    given[NOISING] = apart(given[NOISING], np.arange(10, 108))
    undecided(
        AGREE,
        given,
        "12 of 120 pairs separate clean from corrupt by 1 nat. They are of 6 templates; 7 are needed.",
    )


@pytest.mark.parametrize("name", [DENOISING, NOISING])
def test_directions_that_cannot_be_compared(name):
    donor = CLEAN if name == DENOISING else CORRUPT
    given = tables(noise=1e-7)
    probe = patched(RESID, 0, donor, Where.CHANGED)
    broken = {**given, name: changed(given[name], answer_logprob=(probe, 5, np.nan))}
    for criterion in (AGREE, WHOLE):
        found = judged(criterion, broken)
        assert found.verdict is Verdict.INVALID
        assert found.sentence == f"Not a measurement: '{name}' holds log-probabilities that are not finite."
    flat = {(RESID, Where.LAST, layer): 0.5 for layer in range(N_LAYERS)}
    found = judged(AGREE, tables(*((flat, {}) if name == DENOISING else ({}, flat)), noise=1e-7))
    assert found.verdict is Verdict.INVALID
    assert found.sentence == (
        "Not a measurement: resid_post at the last token in every block gives the same recovery in every block: there "
        "are no ranks."
    )
    lacking = given[name].select(lambda probe: probe.positions is None)
    with pytest.raises(MissingEvidence, match=f"^'{name}' holds no probe for: resid_post at the last token"):
        judged(AGREE, {**given, name: lacking})
    other = replace(given[name], prompts=given[name].prompts[::-1])
    message = (
        "'patching_denoising' and 'patching_noising' hold different pairs: measure both on the same seeds"
    )
    for criterion in (AGREE, WHOLE):
        with pytest.raises(MissingEvidence, match=f"^{message}$"):
            judged(criterion, {**given, name: other})


# WholePatchIsOtherRun


LEFT_OPEN = (
    " None of 60 templates shows a break on the prompts drawn of it: at most 7.4% of templates like these would "
    "(98% interval)."
)


@pytest.mark.parametrize(
    ("metric", "name", "off", "verdict"),
    [
        ("answer_logprob", DENOISING, 2**-10, SUPPORTED),
        ("foil_logprob", NOISING, -(2**-10), SUPPORTED),
        ("foil_logprob", DENOISING, 2**-9, REFUTED),
        ("answer_logprob", NOISING, -(2**-9), REFUTED),
    ],
)
def test_what_is_said_of_the_whole_patch(metric, name, off, verdict):
    """The tolerance is 2^-10: exactly so much is allowed."""
    given = tables(noise=0.0)
    probe = patched(RESID, 2, CLEAN if name == DENOISING else CORRUPT, Where.ALL)
    before = given[name].metrics[metric][given[name].row(probe), 17]
    given[name] = changed(given[name], **{metric: (probe, 17, before + off)})
    found = judged(replace(WHOLE, tolerance_nats=2**-10), given)
    assert (found.verdict, found.p_value, found.estimate) == (verdict, None, None)
    assert found.sentence == (
        f"An identity, not a statistic: over 2880 cells the largest difference from the run it was taken from is "
        f"{abs(off):.3g} nats, in {metric} of '{probe}' in {name} on '{given[name].prompts[17].text}'; 0.000977 is "
        f"allowed.{LEFT_OPEN if verdict is SUPPORTED else ''}"
    )


def test_of_equal_differences_the_first_is_named():
    found = judged(WHOLE, tables(noise=0.0))
    assert found.verdict is SUPPORTED
    assert (
        "is 0 nats, in answer_logprob of 'patch L0 from clean' in patching_denoising on 'family00 0 0 of "
        in found.sentence
    )


def test_a_whole_patch_that_cannot_be_judged():
    given = tables(noise=0.0)
    undecided(
        WHOLE,
        {**given, NOISING: replace(given[NOISING], floor_nats=0.0125)},
        "The noise floor of this arithmetic is 0.0125 nats: measure in float32 (--dtype float32).",
    )
    lacking = given[NOISING].select(lambda probe: probe != patched(RESID, 3, CORRUPT, Where.ALL))
    message = "'patching_noising' patches the whole stream in 5 of 6 blocks"
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        judged(WHOLE, {**given, NOISING: lacking})


# PairsAlign


def test_what_is_said_of_pairs_that_align():
    found = judged(ALIGN, tables())
    assert (found.verdict, found.p_value) == (SUPPORTED, None)
    assert found.sentence == (
        "An identity, not a statistic: 120 of 120 pairs can be patched position by position."
    )


@pytest.mark.parametrize(
    ("both", "clean", "problem"),
    [
        ({"text": "one"}, {}, "are the same text"),
        ({}, {"family": "f"}, "differ in family: 'f' and 'family00'"),
        ({}, {"template": "t"}, "differ in template: 't' and 't1'"),
        ({}, {"seed": 1}, "differ in seed: 1 and 42"),
        ({}, {"answer": " c"}, "differ in answer: ' c' and ' a'"),
        ({}, {"foil": " c"}, "differ in foil: ' c' and ' b'"),
        ({}, {"n_tokens": 9}, "differ in n_tokens: 9 and 8"),
        ({}, {"spots": ("changed",)}, "differ in spots: ('changed',) and ('changed', 'rest')"),
        ({}, {"n_in_spots": (2, 5)}, "differ in n_in_spots: (2, 5) and (1, 6)"),
        ({"spots": ("rest",)}, {}, "change no token before the last"),
        ({"answer": " b"}, {}, "have the same answer"),
    ],
)
def test_what_is_said_of_a_pair_that_does_not_align(both, clean, problem):
    given = tables()
    texts = {}
    for name, changes in ((DENOISING, both), (NOISING, both | clean)):
        prompts = list(given[name].prompts)
        for i in (3, 7):  # of two the first is named
            prompts[i] = replace(prompts[i], **changes)
        texts[name] = prompts[3].text
        given[name] = replace(given[name], prompts=tuple(prompts))
    found = judged(ALIGN, given)
    assert (found.verdict, found.p_value) == (REFUTED, None)
    assert found.sentence == (
        "An identity, not a statistic: 118 of 120 pairs can be patched position by position, the first being "
        f"{texts[NOISING]!r} and {texts[DENOISING]!r} {problem}."
    )


def test_draws_of_different_numbers_of_pairs_are_missing_evidence():
    given = tables()
    effects = given[NOISING]
    given[NOISING] = replace(
        effects,
        prompts=effects.prompts[:-1],
        metrics={name: values[:, :-1] for name, values in effects.metrics.items()},
        baseline={name: values[:-1] for name, values in effects.baseline.items()},
    )
    message = (
        "'patching_denoising' and 'patching_noising' hold different draws: measure both on the same seeds"
    )
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        judged(ALIGN, given)


# What is asked


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (
            bound(at_least=0.5),
            "in patching_denoising, recovery is at least 0.5 for resid_post at the changed tokens in the first third "
            "of the blocks",
        ),
        (
            RecoveryBound(select=LAST, at_most=0.25, some=True, experiment=NOISING, **WHY),
            "in patching_noising, recovery is at most 0.25 for at least one of: resid_post at the last token in every "
            "block",
        ),
        (
            AGREE,
            "over blocks, denoising and noising by resid_post at the last token in every block correlate by ranks "
            "(Spearman) at 0.8 or more",
        ),
        (
            WHOLE,
            "resid_post patched at all tokens gives the log-probabilities of the run it was taken from, within 0.001 "
            "nats on every prompt",
        ),
        (
            ALIGN,
            "every pair's clean and corrupt prompts differ, have equally many tokens and change the same number of "
            "them before the last, and ask for one answer token against one foil token",
        ),
    ],
)
def test_a_criterion_on_patching_says_what_it_asks(criterion, text):
    assert str(criterion) == text
    both = (DENOISING, NOISING)
    assert criterion.experiments == (
        (criterion.experiment,) if isinstance(criterion, RecoveryBound) else both
    )


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, f"RecoveryBound on {CHANGED}: give either at_most or at_least"),
        ({"at_least": 0.1, "at_most": 0.2}, f"RecoveryBound on {CHANGED}: give either at_most or at_least"),
        (
            {"at_least": 0.1, "experiment": "layer_sweep"},
            "RecoveryBound: 'layer_sweep' does not patch one run into another",
        ),
    ],
)
def test_a_bound_on_recovery_that_means_nothing_is_refused(limits, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bound(**limits)
