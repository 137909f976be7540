"""Where a profile peaks: each criterion just inside, just outside, in the noise between, and on nothing."""

from dataclasses import replace

import numpy as np
import pytest

from harness.edits import erase, skip
from harness.verdicts.criteria import ExtremeLayer, HubIs, TopLayers
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import profile, table, with_value
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)


def find(criterion, means, noise=1e-4, seed=42) -> Finding:
    return judge_criterion(criterion, measured(profile(means, noise=noise, seed=seed)))


def hub(layer, **more) -> HubIs:
    return HubIs(layer=layer, rationale="a test", **more)


@pytest.mark.parametrize(
    ("layer", "means", "verdict"),
    [
        (2, [1.0, 0.5, 2.0, 1.79], SUPPORTED),  # lead 10.5%
        (2, [1.0, 0.5, 2.0, 1.81], INCONCLUSIVE),  # lead 9.5%: surely the top, not by enough
        (3, [1.0, 0.5, 2.0, 1.79], REFUTED),
        (3, [1.0, 0.5, 2.0, 1.998], REFUTED),  # surely below, by however little
        (3, [1.0, 0.5, 2.0, 2.0], INCONCLUSIVE),  # a tie
        (None, [1.0, 0.5, 2.0, 1.79], SUPPORTED),
        (None, [1.0, 0.5, 2.0, 1.81], REFUTED),  # equivalent to within a tenth
        (2, [0.05, 0.05, 0.101, 0.05], SUPPORTED),
        (2, [0.05, 0.05, 0.099, 0.05], REFUTED),  # the largest, and no effect to speak of
        (None, [0.05, 0.05, 0.099, 0.05], REFUTED),
    ],
)
def test_hub_at_its_boundaries(layer, means, verdict):
    finding = find(hub(layer), means)
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate is not None
    assert finding.p_value is not None


def test_a_lead_whose_interval_straddles_its_floor_is_inconclusive():
    """The mean lead, 11.5%, is above the floor; its lower bound is not: bounds are read, not means."""
    finding = find(hub(2), [1.0, 0.5, 2.0, 1.77], noise=0.15)
    assert finding.verdict is INCONCLUSIVE, finding.sentence
    assert find(hub(None), [1.0, 0.5, 2.0, 1.77], noise=0.15).verdict is INCONCLUSIVE


def test_a_hub_that_noise_does_not_separate_is_a_tie():
    finding = find(hub(2), [1.0, 0.5, 2.0, 1.5], noise=2.0)
    assert finding.verdict is INCONCLUSIVE
    assert "tie" in finding.sentence


def test_families_that_disagree_are_not_separation():
    """L0 leads by a quarter on average, and trails in one family of four: the paired test calls it a tie."""
    means = np.ones((3, 4))
    means[0], means[1, 0] = 2.0, 3.01
    finding = find(hub(0), means)
    assert "leading by 24" in finding.sentence
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_a_tie_is_shown_against_every_layer_that_may_yet_lead():
    """L0 and L1 tie to within a hundredth, but L2 was measured too badly to rule it out as the hub."""
    sweep = profile([2.0, 1.99, 1.8])["layer_sweep"]
    assert judge_criterion(hub(None), measured({"layer_sweep": sweep})).verdict is REFUTED
    values = sweep.metrics["kl_nats"].copy()
    values[2] += np.where(np.arange(values.shape[1]) // 2 % 2, 9.0, -9.0)  # alternating between templates
    shaky = replace(sweep, metrics={"kl_nats": values})
    finding = judge_criterion(hub(None), measured({"layer_sweep": shaky}))
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_the_wrong_layer_is_backed_less_often_than_the_level_allows():
    """The trap: 30 prompts, true means 1.0 and 0.9. Resampling backed the wrong layer at 0.84."""
    verdicts = {layer: [] for layer in (0, 1)}
    shares = []
    for seed in range(200):
        effects = table(
            [skip(0), skip(1)], {"kl_nats": [1.0, 0.9]}, noise=0.5, families=6, prompts=1, seed=seed
        )
        view = measured({"layer_sweep": effects})
        shares.append((view.profile.sampled.draws.argmax(axis=1) == 1).mean())
        for layer, found in verdicts.items():
            found.append(judge_criterion(hub(layer, min_lead=0.0), view).verdict)
    assert max(shares) > 0.84  # the trap is there
    assert verdicts[1].count(SUPPORTED) <= 2
    assert verdicts[0].count(REFUTED) <= 4


def test_a_true_hub_is_found_through_noise():
    """The same noise and 12 families of 5 templates: a lead of 0.6 nats is seen in nearly every table."""
    found = [find(hub(0, min_lead=0.0), [1.5, 0.9, 0.9], noise=0.5, seed=seed).verdict for seed in range(20)]
    assert found.count(SUPPORTED) >= 18
    assert REFUTED not in found


def test_no_hub_is_found_where_all_layers_are_alike():
    """Fifteen layers of equal true effect: no table has a hub, whatever its name."""
    found = {None: [], 4: []}
    for seed in range(30):
        view = measured(profile(np.ones(15), noise=0.3, seed=seed))
        for layer, verdicts in found.items():
            verdicts.append(judge_criterion(hub(layer), view).verdict)
    assert found[None].count(SUPPORTED) == 0
    assert found[4].count(SUPPORTED) == 0
    assert found[4].count(REFUTED) <= 2  # L4 is not below any other


@pytest.mark.parametrize(
    "criterion",
    [
        hub(0),
        hub(None),
        ExtremeLayer(layer=0, which="weakest", rationale="r"),
        TopLayers(layers=frozenset({0}), rationale="r"),
    ],
)
def test_a_flat_profile_and_a_hole_in_one_are_invalid(criterion):
    rng = np.random.default_rng(0)
    same = np.repeat(rng.uniform(5, 9, (1, 12)), 4, axis=0)
    tables = profile(same, noise=0.0)  # differs between families, never between layers
    finding = judge_criterion(criterion, measured(tables))
    assert finding.verdict is INVALID
    assert "no shape" in finding.sentence
    for bad in (np.nan, np.inf):
        sweep = with_value(profile([3.0, 1.0, 1.0, 1.0])["layer_sweep"], "kl_nats", 1, 5, bad)
        finding = judge_criterion(criterion, measured({"layer_sweep": sweep}))
        assert finding.verdict is INVALID
        assert "skip L1" in finding.sentence


def test_a_layer_without_any_effect_leads_nobody():
    """L2 moves nothing at all: no share of nothing is a lead, and the other two tie."""
    sweep = profile([2.0, 1.99, 0.0])["layer_sweep"]
    sweep.metrics["kl_nats"][2] = 0.0
    finding = judge_criterion(hub(None), measured({"layer_sweep": sweep}))
    assert finding.verdict is REFUTED
    assert "the top blocks tie" in finding.sentence
    finding = judge_criterion(hub(2), measured({"layer_sweep": sweep}))
    assert finding.verdict is REFUTED
    assert "behind it" in finding.sentence


def test_the_first_layer_past_the_last_is_lacking():
    means = [1.0, 2.0, 3.0, 4.0]
    assert find(hub(3), means).verdict is SUPPORTED
    said = (
        "^the criterion names L4, but the model has layers L0 to L3: "
        "mend the card, or judge it on the model it is about$"
    )
    for criterion in (
        hub(4),
        ExtremeLayer(layer=4, which="weakest", rationale="r"),
        TopLayers(layers=frozenset({3, 4}), rationale="r"),
    ):
        with pytest.raises(MissingEvidence, match=said):
            find(criterion, means)
    with pytest.raises(MissingEvidence, match="names L-1"):
        find(hub(-1), means)


def test_a_layer_the_model_lacks_and_a_layer_not_measured_are_errors():
    with pytest.raises(MissingEvidence, match="L30, but the model has layers L0 to L3"):
        find(hub(30), [1.0, 2.0, 3.0, 4.0])
    sweep = profile([1.0, 2.0, 3.0, 4.0])["layer_sweep"]
    holed = {"layer_sweep": sweep.select(lambda probe: probe != skip(2))}
    with pytest.raises(MissingEvidence, match="lacks L2"):
        judge_criterion(hub(3), measured(holed))
    twice = table([skip(0), skip(1), erase(1)], {"kl_nats": [1.0, 2.0, 3.0]})
    said = "^a profile needs every one of 2 layers once; 'layer_sweep' holds 3 single-block probes$"
    with pytest.raises(MissingEvidence, match=said):
        judge_criterion(hub(1), measured({"layer_sweep": twice}))
    said = "^a profile needs every one of 6 layers once; 'layer_sweep' holds 4 single-block probes and lacks L4, L5$"
    with pytest.raises(MissingEvidence, match=said):
        judge_criterion(hub(3), measured({"layer_sweep": sweep}, 6))


@pytest.mark.parametrize(
    ("layer", "which", "means", "verdict"),
    [
        (1, "weakest", [1.0, 0.5, 2.0, 0.502], SUPPORTED),
        (1, "weakest", [1.0, 0.5, 2.0, 0.498], REFUTED),
        (1, "weakest", [1.0, 0.5, 2.0, 0.5], INCONCLUSIVE),
        (2, "strongest", [1.0, 0.5, 2.0, 1.998], SUPPORTED),
        (2, "strongest", [1.0, 0.5, 2.0, 2.002], REFUTED),
        (2, "strongest", [1.0, 0.5, 2.0, 2.0], INCONCLUSIVE),
    ],
)
def test_extreme_layer_at_its_boundaries(layer, which, means, verdict):
    finding = find(ExtremeLayer(layer=layer, which=which, rationale="a test"), means)
    assert finding.verdict is verdict, finding.sentence


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([3.0, 2.0, 1.998, 1.0, 0.5], SUPPORTED),
        ([2.0, 3.0, 1.998, 1.0, 0.5], SUPPORTED),  # their order among themselves does not matter
        ([3.0, 1.998, 2.0, 1.0, 0.5], REFUTED),
        ([3.0, 2.0, 2.0, 1.0, 0.5], INCONCLUSIVE),
    ],
)
def test_top_layers_at_its_boundaries(means, verdict):
    finding = find(TopLayers(layers=frozenset({0, 1}), rationale="a test"), means)
    assert finding.verdict is verdict, finding.sentence


def test_top_layers_in_noise_are_inconclusive():
    finding = find(TopLayers(layers=frozenset({0, 1}), rationale="r"), [3.0, 2.0, 1.9, 1.0], noise=0.5)
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_top_layers_can_be_refuted_among_many_pairs():
    """5 x 25 pairs: the correction for looking at all of them must not put refutation out of reach."""
    means = np.linspace(1, 4, 30)
    finding = find(TopLayers(layers=frozenset({0, 29, 28, 27, 26}), rationale="a test"), means, noise=0.05)
    assert finding.verdict is REFUTED, finding.sentence


def test_the_sentence_names_the_layers_and_the_numbers():
    sentence = find(hub(2), [1.0, 0.5, 2.0, 1.5]).sentence
    assert sentence.startswith(
        "L2 moves 2 [2, 2] nats (120 prompts, 60 templates), the strongest other is L3 with 1.5"
    )
    assert "leading by 25.0% [25.0%, 25.0%]" in sentence
