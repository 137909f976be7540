"""Agreement of ranks where a resample has none: it speaks for no verdict and widens the interval to the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.anatomy import Anatomy
from harness.edits import skip
from harness.experiments import EXPERIMENTS
from harness.protocols import Protocol
from harness.statistics.clusters import Clusters
from harness.steering import Unit, read_steering
from harness.verdicts.agreement import Pair, judge_least
from harness.verdicts.criteria import Condition, KlFallsWithDepth, ProfileOf, ProfilesAgree
from harness.verdicts.deciding import decide
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
CLUSTERS = Clusters((("a", "t0"), ("a", "t1")))
TEMPLATES = 5
MISSED = (1 - 1 / TEMPLATES) ** (TEMPLATES - 1)
"""Share of the resamples, of one template fewer than there are, without a certain template."""


def pair(value, without_ranks, one="one", resamples=999):
    draws = np.full(resamples, value)
    draws[:without_ranks] = np.nan
    return replace(drawn(value, draws), one=one)


def drawn(value, draws):
    return Pair(one="one", two="two", value=value, draws=draws, clusters=CLUSTERS)


@pytest.mark.parametrize(("value", "verdict"), [(0.9, SUPPORTED), (0.1, REFUTED)])
@pytest.mark.parametrize(("without_ranks", "decided"), [(0, True), (9, True), (10, False), (999, False)])
def test_a_draw_without_ranks_speaks_for_neither(value, verdict, without_ranks, decided):
    """Of 999 resamples 9 may lie beyond either bound of the 98% interval."""
    found = judge_least([pair(value, without_ranks)], 0.5, "Spearman")
    assert found.verdict is (verdict if decided else INCONCLUSIVE)
    assert found.p_value == pytest.approx(min(1.0, 2 * (without_ranks + 1) / 1000))
    ends = (value, value) if decided else (-1.0, 1.0)
    assert (found.estimate.low, found.estimate.high) == ends


def test_every_pair_must_hold_and_one_that_fails_is_corrected():
    high, low = pair(0.9, 4, "high"), pair(0.8, 2, "low")
    found = judge_least([high, low], 0.5, "Spearman")
    assert found.estimate.value == 0.8
    assert found.p_value == pytest.approx(2 * 5 / 1000)
    fails = judge_least([high, low, pair(0.1, 1, "failing")], 0.5, "Spearman")
    assert fails.verdict is REFUTED
    assert fails.p_value == pytest.approx(3 * 2 * 2 / 1000)
    assert fails.sentence.startswith("Least alike are failing and two: 0.1 ")


def of_one_template(effects, levels):
    """The table with these values per row on the prompts of template t0, and 0 elsewhere."""
    own = np.array([p.template == "t0" for p in effects.prompts])
    return replace(effects, metrics={"kl_nats": np.outer(levels, own).astype(float)})


@pytest.mark.parametrize(("order", "value"), [([4, 3, 2, 1, 0], 1.0), ([0, 1, 2, 3, 4], -1.0)])
def test_profiles_that_one_template_shapes_are_undecided(order, value):
    """The same templates are resampled alike; in those without the one that differs, both profiles are constant."""
    names = ("layers_short", "layers_natural")
    effects = table([skip(i) for i in range(5)], {"kl_nats": np.zeros(5)}, families=1, templates=TEMPLATES)
    tables = {
        name: of_one_template(effects, np.array(levels) + 1.0)
        for name, levels in zip(names, ([4, 3, 2, 1, 0], order), strict=True)
    }
    conditions = tuple(
        Condition(name=name, parts=(ProfileOf(experiment=name, select=Singles(), noun="block"),))
        for name in names
    )
    criterion = ProfilesAgree(conditions=conditions, at_least=0.5, rationale="a test")
    found = judge_criterion(criterion, measured(tables))
    assert found.verdict is INCONCLUSIVE
    assert found.estimate.value == pytest.approx(value)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((min(value, -1.0), max(value, 1.0)))
    assert found.p_value == pytest.approx(2 * MISSED, abs=0.03)


@pytest.mark.parametrize("levels", [(4, 3, 2, 1), (1, 2, 3, 4)])
def test_a_fall_with_depth_that_one_template_shows_is_undecided(levels):
    probes = EXPERIMENTS["steering_depth"].probes(Protocol.SOUND, Anatomy(n_layers=4))
    read = [read_steering(probe) for probe in probes]
    own = [levels[s.layers[0]] if s and s.direction.unit is Unit.BLOCK else 0.0 for s in read]
    effects = table(probes, {"kl_nats": np.zeros(len(probes))}, families=1, templates=TEMPLATES)
    tables = {"steering_depth": of_one_template(effects, own)}
    found = judge_criterion(KlFallsWithDepth(at_most=-0.6, rationale="a test"), measured(tables, 4))
    assert found.verdict is INCONCLUSIVE
    assert (found.estimate.low, found.estimate.high) == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize(
    ("holds", "fails", "expected"),
    [
        (0.02, 1.0, (SUPPORTED, 0.02)),
        (0.021, 0.02, (REFUTED, 0.02)),
        (0.021, 0.021, (INCONCLUSIVE, 0.021)),
        (1.9, 0.5, (INCONCLUSIVE, 1.0)),
    ],
)
def test_a_verdict_is_decided_at_two_percent(holds, fails, expected):
    assert decide(holds, fails) == expected


def test_resamples_that_noise_lowers_as_far_again_do_not_refute():
    """Observed 0.6, resampled about 0.4: the noise that took 0.2 off once more may have taken as much off before."""
    rng = np.random.default_rng(2)
    draws = 0.4 + 0.05 * rng.standard_normal(999)
    found = judge_least([drawn(0.6, draws)], 0.7, "Spearman")
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0
    assert found.estimate is not None
    assert found.estimate.high == pytest.approx(1.2 - np.sort(draws)[9])
    assert judge_least([drawn(0.6, draws)], 0.99, "Spearman").verdict is REFUTED


def test_profiles_of_unlike_order_are_still_refuted():
    rng = np.random.default_rng(1)
    draws = np.clip(0.2 + 0.05 * rng.standard_normal(999), -1, 1)
    found = judge_least([drawn(0.25, draws)], 0.7, "Spearman")
    assert found.verdict is Verdict.REFUTED
    assert found.estimate is not None
    assert found.estimate.high == pytest.approx(0.5 - np.sort(draws)[9])
