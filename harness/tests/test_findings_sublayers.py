"""What a reader is told of sublayers: every verdict's whole finding, its p-value from closed forms or row by row."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, optimize, special

from harness.edits import Stream, patch, skip, zero
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import Estimate
from harness.verdicts.criteria import (
    EffectOrder,
    ProfileOf,
    RankAgreement,
    SameEffect,
    TopLead,
    TopOverlap,
)
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles, Sublayer
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
WHY = {"rationale": "a test"}
LEAST_P = 1 / 10_000
"""One-sided, where none of 9,999 resamples contradicts."""
SIZE = "(120 prompts, 60 templates)"
ZEROED, MEAN, NOISE = (Sublayer(stream=Stream.MLP_OUT, donor=donor) for donor in (None, "mean", "noise"))
MLPS = ProfileOf(experiment="sublayer_sweep", select=ZEROED, noun="MLP")
AT_MEAN = ProfileOf(experiment="sublayer_sweep", select=MEAN, noun="MLP")
AT_NOISE = ProfileOf(experiment="sublayer_sweep", select=NOISE, noun="MLP")


def mlps(zeroed, mean=(), noisy=(), *, scatter=0.0, seed=42):
    """MLPs zeroed, at their mean and at noise, with these mean effects per layer."""
    probes = [zero(Stream.MLP_OUT, layer) for layer in range(len(zeroed))]
    probes += [patch(Stream.MLP_OUT, layer, "mean") for layer in range(len(mean))]
    probes += [patch(Stream.MLP_OUT, layer, "noise") for layer in range(len(noisy))]
    made = table(probes, {"kl_nats": [*zeroed, *mean, *noisy]}, noise=scatter, seed=seed)
    return measured({"sublayer_sweep": made}, len(zeroed))


def with_nan(view):
    broken = with_value(view.tables["sublayer_sweep"], "kl_nats", 1, 4, np.nan)
    return measured({"sublayer_sweep": broken}, view.n_layers)


def exact(value, unit="nats", slack=1e-6):
    """The estimate of what is equal on every prompt: as wide as arithmetic rounds."""
    return Estimate(
        value=pytest.approx(value),
        low=pytest.approx(value - slack, abs=1e-9),
        high=pytest.approx(value + slack, abs=1e-9),
        unit=unit,
        n_prompts=120,
        n_templates=60,
    )


# A lead by a factor


def lead(layers, factor):
    return TopLead(layers=layers, factor=factor, of=MLPS, **WHY)


@pytest.mark.parametrize(
    ("means", "verdict", "p", "least", "said"),
    [
        ([3.2, 1.0, 3.3, 0.5], SUPPORTED, 2 * LEAST_P, 3.2, "L0 {}, 3.20 times the 1 of L1"),
        ([3.3, 0.5, 3.2, 0.8], SUPPORTED, 2 * LEAST_P, 3.2, "L2 {}, 4.00 times the 0.8 of L3"),
        ([2.8, 1.0, 3.3, 0.5], REFUTED, 4 * 2 * LEAST_P, 2.8, "L0 {}, 2.80 times the 1 of L1"),
        (
            [3.2, 0.0, 0.5, 0.0],
            SUPPORTED,
            2 * LEAST_P,
            0.5,
            "L2 {}, more than any number of times the 0 of L1",
        ),
    ],
)
def test_a_lead_names_the_pair_that_comes_nearest_to_failing(means, verdict, p, least, said):
    """Refuted by one of four pairs: Bonferroni's four times."""
    found = judge_criterion(lead((0, 2), 3.0), mlps(means))
    estimate = f"moves the prediction by {least:g} [{least:g}, {least:g}] nats {SIZE}"
    claimed = "at least 3 times is claimed of L0+L2 over every other (p < 0.001)."
    assert (found.verdict, found.sentence) == (verdict, f"{said.format(estimate)}; {claimed}")
    assert found.p_value == pytest.approx(p)
    assert found.estimate == exact(least)


def test_the_p_value_of_an_undecided_lead_is_its_weakest_pair_s():
    view = mlps([3.0, 0.5, 3.02, 1.0], scatter=0.1)
    found = judge_criterion(lead((0, 2), 3.0), view)
    profile = view.profile_of(MLPS)
    each = [
        sample(profile.clusters, (profile.values[a] - 3.0 * profile.values[b])[None], "kl_nats")
        for a in (0, 2)
        for b in (1, 3)
    ]
    ps = [one.p_above(0, 0.0) for one in each]
    assert sorted(ps)[-2] > 0.01, "two pairs are in doubt"
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(min(1.0, 2 * max(ps)))
    assert 0.1 < found.p_value < 1.0
    assert found.sentence.endswith(f"(p = {found.p_value:.3g}).")


def test_a_lead_without_a_number_or_without_others_is_none():
    found = judge_criterion(lead((0,), 2.0), with_nan(mlps([3.0, 1.0, 1.0])))
    assert found.verdict is INVALID
    assert found.sentence == (
        "Not a measurement: kl_nats of 'zero mlp_out L1' is nan on the prompt 'family00 2 0 of seed 42'; "
        "1 of 360 values are not finite."
    )
    whole = "TopLead names every layer of the model: there is none to lead"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judge_criterion(lead((0, 1), 1.0), mlps([1.0, 2.0]))


@pytest.mark.parametrize(("layers", "factor"), [((), 2.0), ((2, 0), 2.0), ((1, 1), 2.0), ((0,), 0.99)])
def test_a_lead_of_no_or_unordered_layers_is_refused(layers, factor):
    whole = f"TopLead{layers} by {factor}: layers ascend, and a factor is at least 1"
    with pytest.raises(ValueError, match=f"^{re.escape(whole)}$"):
        lead(layers, factor)


# An order of ablations


def order(**groups):
    return EffectOrder(experiment="sublayer_sweep", groups=groups, **WHY)


FALLING = {"zero": ZEROED, "mean": MEAN, "noise": NOISE}


@pytest.mark.parametrize(
    ("mean", "verdict", "p"),
    [
        ((0.8, 0.9, 1.0), SUPPORTED, 2 * LEAST_P),  # 0.9 lies between 1 and 0.5
        ((1.0, 1.2, 1.4), REFUTED, 2 * 2 * LEAST_P),  # 1.2 does not: one of two steps
    ],
)
def test_an_order_tells_every_level(mean, verdict, p):
    found = judge_criterion(order(**FALLING), mlps([1.5, 1.0, 0.5], mean, [0.5] * 3))
    level = np.mean(mean)
    said = ", ".join(
        f"{name} {value:g} [{value:g}, {value:g}] nats {SIZE}"
        for name, value in (("zero", 1.0), ("mean", level), ("noise", 0.5))
    )
    assert (found.verdict, found.sentence) == (verdict, f"Means over layers: {said} (p < 0.001).")
    assert found.p_value == pytest.approx(p)
    assert found.estimate == exact(1.0)


def test_an_undecided_order_has_the_p_value_of_its_weakest_step():
    view = mlps([1.0] * 3, [0.98] * 3, [0.96] * 3, scatter=0.1, seed=11)
    found = judge_criterion(order(**FALLING), view)
    effects = view.tables["sublayer_sweep"]
    levels = effects.metrics["kl_nats"].reshape(3, 3, -1).mean(axis=1)
    clusters = Clusters.of(effects.prompts)
    ps = [sample(clusters, (levels[i] - levels[i + 1])[None], "kl_nats").p_above(0, 0.0) for i in (0, 1)]
    assert min(ps) > 0.01, "both steps are in doubt"
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(min(1.0, 2 * max(ps)))
    assert found.p_value < 1.0


def test_an_order_without_a_number_or_over_other_prompts_is_none():
    found = judge_criterion(order(zero=ZEROED, mean=MEAN), with_nan(mlps([1.0, 1.0], [0.5, 0.5])))
    assert (found.verdict, found.sentence) == (
        INVALID,
        "Not a measurement: kl_nats of 'zero mlp_out L1' is nan on the prompt 'family00 2 0 of seed 42'; "
        "1 of 240 values are not finite.",
    )
    some = Sublayer(stream=Stream.MLP_OUT, spot="first")
    probes = [zero(Stream.MLP_OUT, 0), replace(zero(Stream.MLP_OUT, 0), spot="first")]
    made = table(probes, {"kl_nats": [1.0, 0.5]}, noise=0.0)
    made = replace(
        made, prompts=tuple(replace(p, spots=("first",) if i % 2 else ()) for i, p in enumerate(made.prompts))
    )
    whole = "the groups of 'sublayer_sweep' were measured on different prompts"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judge_criterion(order(everywhere=ZEROED, first=some), measured({"sublayer_sweep": made}, 1))


def test_an_order_says_what_it_asks_and_refuses_a_single_group():
    asked = order(zero=ZEROED, mean=MEAN, noise=NOISE)
    assert str(asked) == "in sublayer_sweep, mean kl_nats falls in this order: zero, mean, noise"
    assert asked.experiments == ("sublayer_sweep",)
    with pytest.raises(ValueError, match="^EffectOrder: an order needs two groups$"):
        order(zero=ZEROED)


# Agreement of profiles


SIX = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
SWAPPED = [9.0, 7.0, 8.0, 5.0, 6.0, 4.0]
"""Two swaps of neighbours: 1 - 6 x 4 / (6 x 35) = 31/35."""
REVERSED = SIX[::-1]
NAMES = "mlp_out zeroed", "mlp_out from the donor 'mean'", "mlp_out from the donor 'noise'"


@pytest.mark.parametrize(
    ("third", "verdict", "p", "pair", "value"),
    [
        (SIX, SUPPORTED, 2 * LEAST_P, (0, 1), 31 / 35),
        (REVERSED, REFUTED, 3 * 2 * LEAST_P, (0, 2), -1.0),  # one of three pairs
    ],
)
def test_the_least_agreement_of_three_profiles_by_ranks(third, verdict, p, pair, value):
    asked = RankAgreement(profiles=(MLPS, AT_MEAN, AT_NOISE), at_least=0.8, **WHY)
    found = judge_criterion(asked, mlps(SIX, SWAPPED, third))
    one, two = (NAMES[i] for i in pair)
    shown = f"{value:.3g} [{value:.3g}, {value:.3g}] Spearman {SIZE}"
    assert (found.verdict, found.sentence) == (
        verdict,
        f"Least alike are '{one}' and '{two}': {shown}; 0.8 is asked for (p < 0.001).",
    )
    assert found.p_value == pytest.approx(p)
    assert found.estimate == exact(value, "Spearman", slack=0.0)


@pytest.mark.parametrize(("at_least", "verdict"), [(2.0, SUPPORTED), (3.0, REFUTED)])
def test_the_overlap_of_the_strongest_layers(at_least, verdict):
    """L0, L1, L2 and L0, L2, L1 of six, then L0, L1, L2 and L0, L3, L1 in the top three."""
    mean = [9.0, 7.0, 5.0, 8.0, 6.0, 4.0]
    asked = TopOverlap(profiles=(MLPS, AT_MEAN), at_least=at_least, k=3, **WHY)
    found = judge_criterion(asked, mlps(SIX, mean))
    assert (found.verdict, found.sentence) == (
        verdict,
        f"Least alike are '{NAMES[0]}' and '{NAMES[1]}': 2 [2, 2] of the top 3 {SIZE}; {at_least:g} is asked for "
        "(p < 0.001).",
    )
    assert found.p_value == pytest.approx(2 * LEAST_P)
    assert found.estimate == exact(2.0, "of the top 3", slack=0.0)


def top_kept(correlation, share):
    """The part of the top of a normal number that is in the top of another: an integral over the first."""
    edge, spread = special.ndtri(1 - share), np.sqrt(1 - correlation**2)
    x = np.linspace(edge, edge + 12.0, 20_001)
    both = integrate.simpson(np.exp(-(x**2) / 2) * special.ndtr((correlation * x - edge) / spread), x=x)
    return both / np.sqrt(2 * np.pi) / share


@pytest.mark.parametrize(
    ("scatter", "seed", "edge"), [(0.9, 3, 2 - 1e-4), (0.9, 3, 2 + 1e-4), (0.3, 5, None)]
)
def test_an_overlap_that_noise_may_have_lowered(scatter, seed, edge):
    """The bound as far as noise leaves it, a hair below or above two layers that resamples share; then all three."""
    view = mlps([3.0, 2.8, 2.6, 2.4, 2.2, 2.0], [2.9, 2.5, 2.3, 2.7, 2.1, 2.6], scatter=scatter, seed=seed)
    a, b = (view.profile_of(of).sampled for of in (MLPS, AT_MEAN))

    def top(x):
        return np.argsort(np.argsort(-x)) < 3

    value = (top(a.value) & top(b.value)).sum()
    draws = (top(a.draws) & top(b.draws)).sum(axis=1)
    reliable = []
    for one in (a, b):
        kept = (top(one.value) & top(one.draws[:999])).sum(axis=1).mean() / 3
        seen = optimize.brentq(lambda c, kept=kept: top_kept(c, 0.5) - kept, 0.01, 1 - 1e-9)
        reliable.append(top_kept(np.sqrt(2 - 1 / seen**2), 0.5) ** 2)
    left = np.sqrt(np.prod(reliable))
    at_least = 3.0 if edge is None else edge / left
    found = judge_criterion(TopOverlap(profiles=(MLPS, AT_MEAN), at_least=at_least, k=3, **WHY), view)
    against = max((draws >= at_least * left).sum(), (2 * value - draws >= at_least * left).sum())
    low, high = np.sort(draws)[[99, -100]]
    assert value < at_least
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == pytest.approx(min(1.0, 2 * (against + 1) / 10_000))
    assert found.estimate == Estimate(
        value=value,
        low=low,
        high=max(high, min(3, 2 * value - low)),
        unit="of the top 3",
        n_prompts=120,
        n_templates=60,
    )
    assert found.estimate.high == 3.0
    assert found.sentence.endswith(f"{at_least:g} is asked for (p = {found.p_value:.3g}).")


def test_profiles_without_a_number_or_of_other_prompts_do_not_agree():
    asked = RankAgreement(profiles=(MLPS, AT_MEAN), at_least=0.8, **WHY)
    found = judge_criterion(asked, with_nan(mlps(SIX, SWAPPED)))
    assert (found.verdict, found.sentence) == (
        INVALID,
        "Not a measurement: kl_nats of 'zero mlp_out L1' is nan on the prompt 'family00 2 0 of seed 42'; "
        "1 of 720 values are not finite.",
    )
    blocks = ProfileOf(experiment="layer_sweep", select=Singles(), noun="block")
    other = table([skip(layer) for layer in range(6)], {"kl_nats": SIX}, seed=7)
    both = measured({**mlps(SIX).tables, "layer_sweep": other}, 6)
    whole = "profiles are compared on the same prompts: measure them in one experiment"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judge_criterion(RankAgreement(profiles=(MLPS, blocks), at_least=0.8, **WHY), both)


def test_criteria_on_agreement_say_what_they_ask():
    ranks = RankAgreement(profiles=(MLPS, AT_MEAN), at_least=0.75, **WHY)
    assert str(ranks) == (
        f"every two of these profiles correlate by ranks (Spearman) at 0.75 or more: {NAMES[0]}, {NAMES[1]}"
    )
    top = TopOverlap(profiles=(MLPS, AT_MEAN), at_least=2.0, **WHY)
    assert (
        str(top)
        == f"every two of these profiles share 2 or more of their top 3 layers: {NAMES[0]}, {NAMES[1]}"
    )
    clean = ProfileOf(experiment="sublayer_clean", select=ZEROED, noun="MLP")
    assert RankAgreement(profiles=(MLPS, clean, AT_MEAN), at_least=0.5, **WHY).experiments == (
        "sublayer_sweep",
        "sublayer_clean",
    )
    with pytest.raises(ValueError, match="^RankAgreement: two profiles at least are compared$"):
        RankAgreement(profiles=(MLPS,), at_least=0.5, **WHY)


# An identity


VALUE = (Stream.V, Stream.O)
GATED = (Stream.GATE, Stream.UP, Stream.DOWN)


def modules(streams, gaps=(), *, level=2.0, families=2):
    """Two blocks, 20 prompts, `level` everywhere but where (row, prompt, value) says otherwise."""
    probes = [zero(stream, layer) for stream in streams for layer in range(2)]
    made = table(probes, {"kl_nats": [level] * len(probes)}, noise=0.0, families=families)
    for row, prompt, value in gaps:
        made = with_value(made, "kl_nats", row, prompt, value)
    return measured({"module_sweep": made}, 2)


def identical(streams, tolerance=1e-4):
    return SameEffect(streams=streams, tolerance=tolerance, **WHY)


def said_of(count, worst, one, two, text, verdict=SUPPORTED, allowed="0.0003"):
    """Of 10 templates: 1 - 0.01^(1/10) = 36.9%."""
    left_open = (
        " None of 10 templates shows a break on the prompts drawn of it: at most 36.9% of templates like these would "
        "(98% interval)."
    )
    place = "nearest to" if verdict is SUPPORTED else "furthest beyond"
    return (
        f"An identity, not a statistic: of {count} comparisons the one {place} its limit differs by {worst} nats, "
        f"where {allowed} is allowed, between '{one}' and '{two}' on "
        f"'{text} of seed 42'.{left_open if verdict is SUPPORTED else ''}"
    )


@pytest.mark.parametrize(("beyond", "verdict"), [(2.9e-4, SUPPORTED), (3.1e-4, REFUTED)])
def test_an_identity_names_the_difference_nearest_to_its_limit(beyond, verdict):
    found = judge_criterion(identical(VALUE), modules(VALUE, [(3, 5, 2.0 + beyond)]))
    expected = said_of(40, f"{beyond:.3g}", "zero v L1", "zero o L1", "family00 2 1", verdict)
    assert (found.verdict, found.sentence) == (verdict, expected)
    assert found.p_value is None
    assert found.estimate is None


def test_a_difference_is_measured_by_the_effect():
    """8e-4 of 9 nats is within 1e-4 x (1 + 9), 4e-4 of 2 nats is beyond 1e-4 x (1 + 2)."""
    gaps = [(0, 3, 9.0), (2, 3, 9.0008), (3, 5, 2.0004)]
    found = judge_criterion(identical(VALUE), modules(VALUE, gaps))
    assert (found.verdict, found.sentence) == (
        REFUTED,
        said_of(40, "0.0004", "zero v L1", "zero o L1", "family00 2 1", REFUTED),
    )


def test_of_three_modules_the_difference_furthest_beyond_its_own_limit_is_told():
    """0.02 of 99 nats is 0.01 beyond its limit, 0.015 of 2 nats 0.0147, in whatever order they are compared."""
    for large, small in [((2, 4), (4, 2)), ((4, 2), (2, 4))]:
        gaps = [(0, 3, 99.0), (2, 3, 99.0), (4, 3, 99.0), (large[0], 3, 99.02), (small[0], 5, 2.015)]
        found = judge_criterion(identical(GATED), modules(GATED, gaps))
        name = {2: "zero up L0", 4: "zero down L0"}[small[0]]
        assert found.sentence == said_of(80, "0.015", "zero gate L0", name, "family00 2 1", REFUTED)


def test_one_of_three_modules_that_differs_is_enough():
    found = judge_criterion(identical(GATED), modules(GATED, [(2, 7, 2.5)]))
    assert (found.verdict, found.sentence) == (
        REFUTED,
        said_of(80, "0.5", "zero gate L0", "zero up L0", "family00 3 1", REFUTED),
    )


@pytest.mark.parametrize("tolerance", [1e-4, 0.0])
def test_what_is_equal_to_the_bit_is_an_identity_without_any_tolerance(tolerance):
    found = judge_criterion(identical(GATED, tolerance), modules(GATED))
    assert (found.verdict, found.sentence) == (
        SUPPORTED,
        said_of(
            80, "0", "zero gate L0", "zero up L0", "family00 0 0", allowed="0.0003" if tolerance else "0"
        ),
    )


@pytest.mark.parametrize("row", [0, 2])
def test_modules_without_a_number_or_of_other_blocks_are_not_compared(row):
    found = judge_criterion(identical(VALUE), modules(VALUE, [(row, 0, np.nan)]))
    name = ("zero v L0", "zero o L0")[row // 2]
    assert (found.verdict, found.sentence) == (
        INVALID,
        f"Not a measurement: kl_nats of '{name}' is nan on the prompt 'family00 0 0 of seed 42'; "
        "1 of 40 values are not finite.",
    )
    effects = modules(VALUE).tables["module_sweep"].select(lambda probe: str(probe) != "zero o L1")
    whole = "'module_sweep' holds other blocks for v than for o"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(whole)}$"):
        judge_criterion(identical(VALUE), measured({"module_sweep": effects}, 2))


def test_an_identity_says_what_it_asks_and_refuses_to_hold_of_one_module():
    asked = identical(GATED)
    assert str(asked) == (
        "zeroing the output of gate or up or down of a block gives the same kl_nats on every prompt, "
        "within 0.0001 nats and 0.01% of it"
    )
    assert asked.experiments == ("module_sweep",)
    with pytest.raises(ValueError, match="^SameEffect: two modules at least are compared$"):
        identical((Stream.V,))


def test_a_lead_says_what_it_asks():
    assert str(lead((0, 1, 3), 2.5)) == (
        "the MLP of L0-L1+L3 each has at least 2.5 times the mean kl_nats of every other MLP"
    )
