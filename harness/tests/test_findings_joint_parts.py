"""What a reader is told of parts of two models: the whole finding of every verdict, and where no ratio is taken."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest

from harness.edits import skip
from harness.statistics.bootstrap import percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.verdicts.criteria import EffectRatio, Part, ShareChange
from harness.verdicts.judging import judge_joint_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Blocks, Singles
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY = {"rationale": "a test"}
LEAST_P = 2 / 10_000
"""Two-sided, where no resample of 9,999 contradicts."""
TEMPLATES = 8
CLUSTERS = Clusters(tuple(("a", f"t{i}") for i in range(TEMPLATES)))
WAVE = np.array([1, -1, 1, -1, 2, -2, 2, -2]) / 16
"""A scatter of templates without effect on a mean, exact in binary."""

STRONGEST = Part(experiment="layer_sweep", select=Singles())
SUM = Part(experiment="layer_sweep", select=Singles(), take="sum")
FIRST = Part(experiment="layer_sweep", select=Blocks(layers=(0,)))


def model(*blocks):
    """A model whose blocks move each of eight templates, one prompt each, by these nats."""
    values = np.array([np.broadcast_to(block, TEMPLATES) for block in blocks], dtype=float)
    probes = [skip(layer) for layer in range(len(values))]
    made = table(probes, {"kl_nats": [0.0] * len(probes)}, families=["a"], templates=TEMPLATES, prompts=1)
    made.metrics["kl_nats"][:] = values
    return measured({"layer_sweep": made}, len(values))


def ratio(at_least, at_most=math.inf, part=STRONGEST, part_a=None):
    return EffectRatio(
        model_a="small",
        model_b="large",
        part=part,
        part_a=part_a,
        at_least=at_least,
        at_most=at_most,
        **WHY,
    )


def share(factor, part=FIRST):
    return ShareChange(model_a="small", model_b="large", part=part, whole=SUM, factor=factor, **WHY)


def judged(criterion, small, large):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return judge_joint_criterion(criterion, {"small": small, "large": large})


def said_p(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def drawn(values):
    """Resampled means of one part."""
    return sample(CLUSTERS, np.broadcast_to(values, (1, TEMPLATES)), "kl_nats").draws[:, 0]


BOUNDS = [
    (1.5, 3.0, SUPPORTED, LEAST_P),
    (1.5, math.inf, SUPPORTED, LEAST_P),
    (2.5, 3.0, REFUTED, LEAST_P),
    (1.0, 1.5, REFUTED, LEAST_P),
    (1.99, 3.0, INCONCLUSIVE, None),
    (1.0, 2.01, INCONCLUSIVE, None),
]


@pytest.mark.parametrize(("low", "high", "verdict", "p"), BOUNDS)
def test_what_is_said_of_a_ratio_of_two_models(low, high, verdict, p):
    """The second of three blocks does most in both, 1 nat and 2; of each, the resamples of its own templates."""
    small, large = model(0.25, 1.0 + WAVE, 0.5), model(0.5, 2.0 + WAVE[::-1], 0.25)
    ratios = drawn(2.0 + WAVE[::-1]) / drawn(1.0 + WAVE)
    below, above = (ratios < low).sum(), (ratios > high).sum()
    expected = 2 * (max(below, above) + 1) / 10_000 if verdict is not REFUTED else p
    if p is not None:
        assert expected == p
    found = judged(ratio(low, high), small, large)
    assert found.verdict is verdict, found.sentence
    assert found.p_value == pytest.approx(min(1.0, expected))
    edges = percentile_interval(ratios)
    assert found.estimate.value == pytest.approx(2.0)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(edges)
    assert (found.estimate.unit, found.estimate.n_prompts, found.estimate.n_templates) == ("times", 8, 8)
    assert found.sentence == (
        "the strongest of: every single block (layer_sweep) is 1 nats in small and "
        f"2 [{edges[0]:.3g}, {edges[1]:.3g}] times (8 prompts, 8 templates) that in the other ({said_p(expected)})."
    )


def test_a_ratio_may_be_its_own_bound_on_either_side():
    """A model beside itself: every resample's ratio is 1."""
    same = model(0.25, 1.0 + WAVE, 0.5)
    for low, high in ((1.0, math.inf), (0.5, 1.0)):
        found = judged(ratio(low, high), same, same)
        assert found.verdict is SUPPORTED
        assert found.p_value == pytest.approx(LEAST_P)
    found = judged(share(1.0), same, same)
    assert found.verdict is SUPPORTED
    assert found.p_value == pytest.approx(LEAST_P)


@pytest.mark.parametrize(
    ("criterion", "change"),
    [(ratio(0.5, 1.0, FIRST), 0.5), (ratio(1.0, 2.0, FIRST), -0.5), (share(1.0), -0.5)],
    ids=["at most", "at least", "share"],
)
def test_resamples_on_a_bound_itself_do_not_lie_beyond_it(criterion, change):
    """One template of eight differs: the resamples without it, four in ten, have the ratio 1 exactly."""
    other = np.array([1.0, 1, 1, 1, 1, 1, 1, 1 + change])
    found = judged(criterion, model(1.0, 1.0), model(other, 1.0))
    assert (drawn(other) == drawn(1.0)).mean() == pytest.approx((7 / 8) ** 7, abs=0.02)
    assert found.verdict is INCONCLUSIVE, found.sentence


def test_a_part_is_the_strongest_of_its_probes_or_their_sum_and_may_be_another_in_the_first_model():
    """1 + 0.5 + 0.5 nats beside 3 + 1 + 2."""
    small, large = model(1.0, 0.5, 0.5), model(1.0, 3.0, 2.0)
    for part, part_a, value in (
        (STRONGEST, None, 3.0),
        (SUM, None, 3.0),
        (SUM, FIRST, 6.0),
        (FIRST, SUM, 0.5),
    ):
        found = judged(ratio(0.1, part=part, part_a=part_a), small, large)
        assert found.estimate.value == pytest.approx(value)
        size = 1.0 if (part_a or part).take == "strongest" else 2.0
        assert found.sentence.startswith(f"{part_a or part} is {size:g} nats in small and {value:g} [")


@pytest.mark.parametrize(
    ("factor", "verdict", "p"),
    [(1.25, SUPPORTED, LEAST_P), (1.49, INCONCLUSIVE, None), (2.0, REFUTED, LEAST_P)],
)
def test_what_is_said_of_a_share_that_changes(factor, verdict, p):
    """A half of 2 nats in the one, three quarters of 4 in the other: one and a half times as large."""
    small, large = model(1.0 + WAVE, 1.0), model(3.0 + WAVE[::-1], 1.0)
    shares = [drawn(x + w) / (drawn(x + w) + drawn(1.0)) for x, w in ((1.0, WAVE), (3.0, WAVE[::-1]))]
    ratios = shares[1] / shares[0]
    expected = p or 2 * ((ratios < factor).sum() + 1) / 10_000
    found = judged(share(factor), small, large)
    assert found.verdict is verdict, found.sentence
    assert found.p_value == pytest.approx(min(1.0, expected))
    edges = percentile_interval(ratios)
    assert found.estimate.value == pytest.approx(1.5)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(edges)
    assert found.estimate.unit == "times"
    assert found.sentence == (
        f"The share is 0.5 in small and 1.5 [{edges[0]:.3g}, {edges[1]:.3g}] times (8 prompts, 8 templates) that in "
        f"the other ({said_p(expected)})."
    )


ONE_OF_EIGHT = np.array([0.0, 0, 0, 0, 0, 0, 0, 1.0])
"""Its mean is above 0, and that of a resample without the last template is 0."""


@pytest.mark.parametrize(
    "block",
    [0.0, -1.0, WAVE, 0.01 + WAVE, ONE_OF_EIGHT],
    ids=["none", "negative", "scatter", "little beside its scatter", "one template alone"],
)
@pytest.mark.parametrize("criterion", [ratio(0.5, part=FIRST), share(1.5)], ids=["ratio", "share"])
def test_a_part_that_may_do_nothing_has_no_ratio(criterion, block):
    sound, lacking = model(1.0, 2.0), model(block, 2.0)
    for name, models in (("small", (lacking, sound)), ("large", (sound, lacking))):
        found = judged(criterion, *models)
        assert found.verdict is Verdict.INVALID
        assert found.sentence == (
            f"Not a measurement: in {name} the strongest of: L0 (layer_sweep) has no effect above 0 to take a ratio "
            "of."
        )


@pytest.mark.parametrize("criterion", [ratio(0.5), share(1.5)], ids=["ratio", "share"])
def test_parts_that_cannot_be_judged(criterion):
    sound = model(1.0, 2.0)
    broken = with_value(sound.tables["layer_sweep"], "kl_nats", 0, 3, np.nan)
    found = judged(criterion, sound, measured({"layer_sweep": broken}, 2))
    values = 16 if isinstance(criterion, EffectRatio) else 8
    assert found.verdict is Verdict.INVALID
    assert found.sentence == (
        "Not a measurement: in large kl_nats of 'skip L0' is nan on the prompt 'a 3 0 of seed 42'; "
        f"1 of {values} values are not finite."
    )
    message = "the claim compares 'large', which was not measured (there is: small, tiny)"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(message)}$"):
        judge_joint_criterion(criterion, {"small": sound, "tiny": sound})
