"""What a reader is told: the whole sentence of every criterion, and of every verdict that each judge gives.

The numbers are those the tables were made with, to within a noise of 1e-6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.edits import erase, skip
from harness.effects import Effects, pool
from harness.mechanism import MechanismEdit
from harness.verdicts.criteria import (
    CellWithin,
    EditShare,
    EveryProbe,
    ExtremeLayer,
    FamilyExtremes,
    Flat,
    HubDepthIncreases,
    HubEffectTrend,
    HubIs,
    HubsAt,
    ProfilesDiffer,
    SameAsDeepest,
    SomeProbe,
    StableOverSeeds,
    SubsetHubShare,
    TopInFamilies,
    TopLayers,
    TopSpread,
    WorstCase,
    WriterLeads,
    WriterRaises,
    models_of,
)
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.reading import Measured, measured
from harness.verdicts.selectors import (
    AnySet,
    Blocks,
    EveryHead,
    ExitAt,
    ExitsBefore,
    FinalExit,
    FromDonor,
    Heads,
    Sets,
    Singles,
    Writes,
)
from harness.verdicts.synthetic import profile, table, with_value
from harness.verdicts.verdict import Finding, Judgement, Verdict, not_run

WHY = {"rationale": "a test"}
SIZES = "(120 prompts, 60 templates)"
FOUR = [1.0, 0.5, 2.0, 1.5]
NO_SHAPE = np.repeat(np.arange(1.0, 13.0)[None], 4, axis=0)


def said(criterion: Any, means: Any, noise: float = 1e-6) -> Finding:
    return judge_criterion(criterion, measured(profile(means, noise=noise)))


def hub(layer: int | None) -> HubIs:
    return HubIs(layer=layer, **WHY)


def extreme(layer: int, which: Any = "strongest") -> ExtremeLayer:
    return ExtremeLayer(layer=layer, which=which, **WHY)


def top(*layers: int) -> TopLayers:
    return TopLayers(layers=frozenset(layers), **WHY)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (Singles(), "every single block"),
        (Sets(), "every set of several blocks"),
        (AnySet(), "every block or set of blocks"),
        (Blocks(layers=(1, 2, 5)), "L1-L2+L5"),
        (ExitsBefore(), "every exit but the last"),
        (ExitsBefore(last=2, normed=True), "every exit but the last 2, normed"),
        (FinalExit(), "the exit at the final layer"),
        (FinalExit(normed=False), "the exit at the final layer, without the norm"),
        (ExitAt(layer=0), "the exit at L0"),
        (ExitAt(layer=7, normed=True), "the exit at L7, normed"),
        (ExitAt(layer=-2, normed=False), "the exit at layer -2 from the end, without the norm"),
        (EveryHead(), "every single head"),
        (Heads(heads=((0, 3), (14, 0))), "L0H3, L14H0"),
        (Writes(layer=3), "the write of the MLP of L3 to token 0"),
        (FromDonor(donor="mean"), "the number taken from the donor 'mean'"),
    ],
)
def test_a_selector_says_which_rows(selector, text):
    assert str(selector) == text


SWEEP = {"experiment": "layer_sweep", "metric": "kl_nats", **WHY}
CRITERIA = [
    (
        hub(3),
        "L3 has the largest mean kl_nats, separated from every other block at p < 0.01 and leading by at least 10% "
        "of its effect, which is at least 0.1 nats",
    ),
    (
        HubIs(layer=None, min_lead=0.25, min_effect_nats=0.5, **WHY),
        "some block has the largest mean kl_nats, separated from every other block at p < 0.01 and leading by at "
        "least 25% of its effect, which is at least 0.5 nats",
    ),
    (
        extreme(1, "weakest"),
        "L1 is the weakest block by mean kl_nats, separated from every other at p < 0.01",
    ),
    (
        top(3, 1, 2, 7),
        "the 4 strongest blocks by mean kl_nats are L1-L3+L7, each separated from every block outside at p < 0.01",
    ),
    (
        TopInFamilies(layer=1, at_least=10, **WHY),
        "L1 is the strongest block in at least 10 task families",
    ),
    (
        FamilyExtremes(layer=1, top=("a", "b"), bottom=("c",), **WHY),
        "L1 matters most to a, b and least to c",
    ),
    (FamilyExtremes(layer=1, top=(), bottom=("c",), **WHY), "L1 matters least to c"),
    (
        SubsetHubShare(**WHY),
        "at least 30% of all subsets of 8 families have another top block than the full suite",
    ),
    (
        TopSpread(k=3, at_most_nats=0.5, **WHY),
        "the 3 strongest blocks lie within 0.5 nats of one another",
    ),
    (Flat(**WHY), "every block's mean kl_nats lies within 25% of the median block's"),
    (
        StableOverSeeds(**WHY),
        "every seed gives the same top block, with Kendall tau between profiles of at least 0.8",
    ),
    (
        EveryProbe(experiment="layer_sets", select=Sets(), metric="top5_overlap", at_most=0.1, **WHY),
        "in layer_sets, top5_overlap is at most 0.1 share for every set of several blocks",
    ),
    (
        SomeProbe(experiment="sets", select=AnySet(), metric="kl_nats", at_least=2, **WHY),
        "in sets, kl_nats is at least 2 nats for at least one of: every block or set of blocks",
    ),
    (
        CellWithin(
            experiment="exits",
            select=ExitAt(layer=-2),
            metric="argmax_match",
            target=0.1,
            tolerance=0.01,
            **WHY,
        ),
        "in exits, argmax_match for the exit at layer -2 from the end is 0.1 +- 0.01 share",
    ),
    (
        WorstCase(experiment="exits", select=FinalExit(), metric="kl_nats", at_most=1e-5, **WHY),
        "in exits, |kl_nats| is at most 1e-05 nats for the exit at the final layer on every prompt",
    ),
    (
        SameAsDeepest(**WHY),
        "every set of several blocks gives the kl_nats and answer_logprob of its deepest block alone, within 0.0001 "
        "nats on every prompt",
    ),
    (
        HubsAt(layers={"m": 3, "n": 5}, **WHY),
        "the hub is L3 in m, L5 in n, each separated from every other block at p < 0.01",
    ),
    (HubDepthIncreases(models=("m", "n"), **WHY), "the hub's depth grows with scale over m, n"),
    (
        HubEffectTrend(models=("m", "n"), direction="decreasing", **WHY),
        "the top block's mean kl_nats is decreasing with scale over m, n",
    ),
    (
        ProfilesDiffer(model_a="m", model_b="n", **WHY),
        "the profiles of m and n over relative depth, each divided by its top, differ by more than 10% on average",
    ),
    (
        WriterRaises(at_least=50.0, **WHY),
        "the MLP that adds most to a number of token 0, in absolute size, multiplies it by at least 50, in geometric "
        "mean",
    ),
    (
        WriterLeads(**WHY),
        "the writer of the massive activation has the largest mean kl_nats of all blocks, separated from every other "
        "at p < 0.01",
    ),
    (
        WriterLeads(from_depth=1 / 6, **WHY),
        "the writer of the massive activation has the largest mean kl_nats of all blocks from 17% of the depth on, "
        "separated from every other at p < 0.01",
    ),
    (
        EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.5, **WHY),
        "the number set to zero moves at least 50% of the kl_nats that skipping the writer moves",
    ),
    (
        EditShare(edit=MechanismEdit.BEFORE, of=MechanismEdit.ZERO, at_most=0.1, **WHY),
        "the number set to zero before the writer moves at most 10% of the kl_nats that the number set to zero moves",
    ),
]


@pytest.mark.parametrize(("criterion", "text"), CRITERIA, ids=lambda x: type(x).__name__)
def test_a_criterion_says_what_it_asks(criterion, text):
    assert str(criterion) == text


def test_a_criterion_names_the_tables_and_the_models_it_reads():
    assert hub(1).experiments == ("layer_sweep",)
    assert SameAsDeepest(**WHY).experiments == ("layer_sets", "layer_sweep")
    assert WriterRaises(at_least=2.0, **WHY).experiments == ("massive_writes", "hub_mechanism")
    assert WriterLeads(**WHY).experiments == ("layer_sweep", "hub_mechanism")
    share = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.5, **WHY)
    assert share.experiments == ("hub_mechanism",)
    cell = CellWithin(experiment="exits", select=Singles(), metric="kl_nats", target=1, tolerance=1, **WHY)
    worst = WorstCase(experiment="exits", select=Singles(), metric="kl_nats", at_most=1, **WHY)
    every = EveryProbe(experiment="exits", select=Singles(), metric="kl_nats", at_most=1, **WHY)
    assert cell.experiments == worst.experiments == every.experiments == ("exits",)
    assert models_of(HubsAt(layers={"m": 3, "n": 5}, **WHY)) == ("m", "n")
    assert models_of(HubDepthIncreases(models=("n", "m"), **WHY)) == ("n", "m")
    assert models_of(HubEffectTrend(models=("n", "m"), direction="increasing", **WHY)) == ("n", "m")
    assert models_of(ProfilesDiffer(model_a="n", model_b="m", **WHY)) == ("n", "m")


@pytest.mark.parametrize(
    ("criterion", "means", "verdict", "text"),
    [
        (
            hub(2),
            FOUR,
            Verdict.SUPPORTED,
            f"L2 moves 2 [2, 2] nats {SIZES}, the strongest other is L3 with 1.5, "
            "leading by 25.0% [25.0%, 25.0%], so it is the hub.",
        ),
        (
            hub(3),
            FOUR,
            Verdict.REFUTED,
            f"L3 moves 1.5 [1.5, 1.5] nats {SIZES}, the strongest other is L2 with 2, "
            "behind it, but L2 lies above it (p < 0.001).",
        ),
        (
            hub(None),
            [1.0, 0.5, 2.0, 1.9],
            Verdict.REFUTED,
            f"L2 moves 2 [2, 2] nats {SIZES}, the strongest other is L3 with 1.9, "
            "leading by 5.0% [5.0%, 5.0%], so no block leads by 10%: the top blocks tie.",
        ),
        (
            hub(2),
            [0.02, 0.02, 0.04, 0.03],
            Verdict.REFUTED,
            f"L2 moves 0.04 [0.04, 0.04] nats {SIZES}, the strongest other is L3 with 0.03, "
            "leading by 25.0% [25.0%, 25.0%], but no block's effect reaches 0.1 nats.",
        ),
        (
            hub(2),
            [1.0, 0.5, 2.0, 1.9],
            Verdict.INCONCLUSIVE,
            f"L2 moves 2 [2, 2] nats {SIZES}, the strongest other is L3 with 1.9, "
            "leading by 5.0% [5.0%, 5.0%], which leaves a tie with L3.",
        ),
        (
            extreme(2),
            FOUR,
            Verdict.SUPPORTED,
            f"L2 should be the strongest block: L2 moves 2 [2, 2] nats {SIZES}, "
            "the strongest other is L3 with 1.5, and is separated (p < 0.001).",
        ),
        (
            extreme(3),
            FOUR,
            Verdict.REFUTED,
            f"L3 should be the strongest block: L3 moves 1.5 [1.5, 1.5] nats {SIZES}, "
            "the strongest other is L2 with 2, and L2 is beyond it (p < 0.001).",
        ),
        (
            top(2, 3),
            FOUR,
            Verdict.SUPPORTED,
            "L3 (named) and L0 (not named) differ by 0.5 nats, p < 0.001.",
        ),
        (
            top(0, 2),
            FOUR,
            Verdict.REFUTED,
            "L0 (named) and L3 (not named) differ by -0.5 nats, p < 0.001.",
        ),
        (
            TopSpread(k=3, at_most_nats=1.0, **WHY),
            [1.0, 3.0, 2.5, 2.25, 0.5],
            Verdict.SUPPORTED,
            f"The 3 strongest blocks (L1, L2, L3) lie within 0.75 [0.75, 0.75] nats {SIZES}; the limit is 1 nats.",
        ),
        (
            TopSpread(k=3, at_most_nats=0.5, **WHY),
            [1.0, 3.0, 2.5, 2.25, 0.5],
            Verdict.REFUTED,
            f"The 3 strongest blocks (L1, L2, L3) lie within 0.75 [0.75, 0.75] nats {SIZES}; the limit is 0.5 nats.",
        ),
        (
            Flat(**WHY),
            [1.0, 1.0, 1.2, 1.0, 1.0],
            Verdict.SUPPORTED,
            f"The block furthest from the median is L2 with 1.2 [1.2, 1.2] x the median block {SIZES}: "
            "all lie within 25% (p < 0.001).",
        ),
        (
            Flat(**WHY),
            [1.0, 1.0, 0.5, 1.0, 1.0],
            Verdict.REFUTED,
            f"The block furthest from the median is L2 with 0.5 [0.5, 0.5] x the median block {SIZES}: "
            "outside 25% (p = 0.001).",  # 5 layers times the least two-sided p-value of 9,999 resamples
        ),
        (
            EveryProbe(select=Singles(), at_most=2.5, **SWEEP),
            FOUR,
            Verdict.SUPPORTED,
            f"kl_nats is at most 2.5 nats for all 4; the nearest to it is 'skip L2': 2 [2, 2] nats {SIZES}, p < 0.001.",
        ),
        (
            EveryProbe(select=Singles(), at_least=0.75, **SWEEP),
            FOUR,
            Verdict.REFUTED,
            f"kl_nats is not at least 0.75 nats for 'skip L1': 0.5 [0.5, 0.5] nats {SIZES}, p < 0.001.",
        ),
        (
            SomeProbe(select=Singles(), at_least=1.75, **SWEEP),
            FOUR,
            Verdict.SUPPORTED,
            f"kl_nats is at least 1.75 nats for 'skip L2': 2 [2, 2] nats {SIZES}, p < 0.001.",
        ),
        (
            SomeProbe(select=Singles(), at_most=0.25, **SWEEP),
            FOUR,
            Verdict.REFUTED,
            f"kl_nats is at most 0.25 nats for none of 4; the nearest to it is 'skip L1': 0.5 [0.5, 0.5] nats {SIZES}, "
            "p < 0.001.",
        ),
        (
            CellWithin(select=Blocks(layers=(1,)), target=0.5, tolerance=0.125, **SWEEP),
            FOUR,
            Verdict.SUPPORTED,
            f"kl_nats is inside 0.375 to 0.625 nats, being 'skip L1': 0.5 [0.5, 0.5] nats {SIZES}, p < 0.001.",
        ),
        (
            CellWithin(select=Blocks(layers=(1,)), target=0.75, tolerance=0.125, **SWEEP),
            FOUR,
            Verdict.REFUTED,
            f"kl_nats is outside 0.625 to 0.875 nats, being 'skip L1': 0.5 [0.5, 0.5] nats {SIZES}, p < 0.001.",
        ),
    ],
)
def test_a_finding_says_what_was_found(criterion, means, verdict, text):
    finding = said(criterion, means)
    assert finding.verdict is verdict
    assert finding.sentence == text


@pytest.mark.parametrize(
    ("criterion", "means", "start", "end"),
    [
        (
            extreme(1, "weakest"),
            FOUR,
            "L1 should be the weakest block: L1 moves 0.5 [0.5, 0.5]",
            "the weakest other is L0 with 1, and is separated (p < 0.001).",
        ),
        (
            extreme(2),
            [1.0, 0.5, 2.0, 2.0],
            "L2 should be the strongest block: L2 moves 2 [2, 2]",
            "the strongest other is L3 with 2, and ties with L3.",
        ),
        (
            extreme(3),
            [1.0, 0.5, 2.0, 2.0],
            "L3 should be the strongest block: L3 moves 2 [2, 2]",
            "the strongest other is L2 with 2, and ties with L2.",
        ),
        (
            top(2, 3),
            [1.5, 0.5, 2.0, 1.5],
            "L3 (named) and L0 (not named) differ by ",
            " nats, which is a tie.",
        ),
        (
            Flat(**WHY),
            [1.0, 1.0, 1.25, 1.0, 1.0],
            "The block furthest from the median is L2 with 1.25",
            ": whose interval straddles 25%.",
        ),
        (
            EveryProbe(select=Singles(), at_most=2.0, **SWEEP),
            FOUR,
            "kl_nats is undecided (at most 2 nats is asked for) at 'skip L2': 2 [2, 2] nats",
            ".",
        ),
        (
            CellWithin(select=Blocks(layers=(1,)), target=0.75, tolerance=0.25, **SWEEP),
            FOUR,
            "kl_nats is across an edge of 0.5 to 1 nats, being 'skip L1': 0.5",
            ".",
        ),
    ],
)
def test_an_undecided_finding_says_between_what(criterion, means, start, end):
    """What the noise decides (bounds, p-values) is left out; it is more here than arithmetic alone makes."""
    sentence = said(criterion, means, noise=1e-4).sentence
    assert sentence.startswith(start)
    assert sentence.endswith(end)


def test_a_tie_to_the_bit_is_said_as_a_lead_of_nothing():
    finding = said(hub(2), [1.0, 0.5, 2.0, 2.0], noise=0.0)
    assert finding.sentence == (
        f"L2 moves 2 [2, 2] nats {SIZES}, the strongest other is L3 with 2, leading by 0.0% [0.0%, 0.0%], "
        "which leaves a tie with L3."
    )
    assert said(hub(3), [1.0, 0.5, 2.0, 2.0], noise=0.0).sentence.endswith("which leaves a tie with L2.")
    assert said(extreme(3), [1.0, 0.5, 2.0, 2.0], noise=0.0).p_value == 1.0


def test_a_count_of_families_is_said_with_what_separates_it():
    means = np.ones((3, 12))
    means[1, :10] = means[2, 10:] = 1.5
    for at_least, why in (
        (10, "separated in at least 10 (p < 0.001)"),
        (11, "and significantly below another block in at least 2 (p < 0.001)"),
    ):
        finding = said(TopInFamilies(layer=1, at_least=at_least, **WHY), means)
        assert finding.sentence == f"L1 is on top in 10 of 12 families, {why}."
    finding = said(TopInFamilies(layer=1, at_least=10, **WHY), means, noise=1.0)
    assert finding.sentence.endswith("families, too few templates a family to separate them (p = 1).")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ([2.0, 3.0, 2.5, 1.0], "code (3 nats) should lie above copying (2.5 nats), and does (p < 0.001)."),
        (
            [2.0, 3.0, 0.5, 1.0],
            "copying (0.5 nats) should lie above json (1 nats), "
            "but named and other families are in another order (p < 0.001).",
        ),
        (
            [3.0, 3.0, 2.0, 1.0],
            "code (3 nats) should lie above arithmetic (3 nats), which is undecided.",
        ),
    ],
)
def test_families_are_named_with_their_means(row, text):
    names = ("arithmetic", "code", "copying", "json")
    effects = table([skip(0), skip(1)], {"kl_nats": np.array([[1.0] * 4, row])}, families=names)
    criterion = FamilyExtremes(layer=1, top=("code",), bottom=("json",), **WHY)
    finding = judge_criterion(criterion, measured({"layer_sweep": effects}))
    assert finding.sentence == f"at L1, {text}"


@pytest.mark.parametrize(
    ("lead_elsewhere", "text"),
    [
        (0.99, "0 [0, 0] {}, fewer than claimed."),
        (1.01, "0.25 [0.25, 0.25] {}, the full suite's separated hub (p < 0.001)."),
    ],
)
def test_a_share_of_subsets_is_said_with_the_full_suites_top(lead_elsewhere, text):
    """Seven of 28 pairs of families hold the one family where L1 leads."""
    means = np.ones((3, 8))
    means[0], means[1, 0] = 2.0, 2.0 + lead_elsewhere
    finding = said(SubsetHubShare(subset_size=2, at_least=0.2, **WHY), means, noise=1e-3)
    what, _, why = text.partition(" {}")
    sizes = "share of subsets (80 prompts, 40 templates) have another top than L0"
    assert finding.sentence == f"Of 28 subsets of 2 families, {what} {sizes}{why}"


def test_an_undecided_share_of_subsets_says_why():
    means = np.ones((3, 8))
    means[0], means[1, 0] = 2.0, 3.0
    finding = said(SubsetHubShare(subset_size=2, at_least=0.2, **WHY), means, noise=1e-3)
    assert finding.sentence.endswith("have another top than L0, which is undecided.")
    halves = np.ones((3, 4))
    halves[0, :2] = halves[1, 2:] = 2.0
    finding = said(SubsetHubShare(subset_size=2, at_least=0.1, **WHY), halves, noise=0.05)
    one, other = ("L0", "L1") if "than L0" in finding.sentence else ("L1", "L0")
    assert finding.sentence.endswith(f"than {one}, which ties with {other}: there is no hub to miss.")


def draws(*means: list[float]) -> Measured:
    tables = [profile(m, seed=42 + i)["layer_sweep"] for i, m in enumerate(means)]
    return measured({"layer_sweep": pool(tables)})


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            [1.0, 2.0, 3.0, 4.0, 9.0],
            "L4 in seed 42, L4 in seed 43; the least Kendall tau between two seeds is 1.000",
        ),
        (
            [2.0, 1.0, 4.0, 3.0, 9.0],
            "L4 in seed 42, L4 in seed 43; the least Kendall tau between two seeds is 0.600",
        ),
        (
            [1.0, 2.0, 3.0, 9.0, 8.9],
            "L4 in seed 42, L3 in seed 43; the least Kendall tau between two seeds is 0.800",
        ),
    ],
)
def test_stability_is_said_seed_by_seed(other, text):
    finding = judge_criterion(StableOverSeeds(**WHY), draws([1.0, 2.0, 3.0, 4.0, 9.0], other))
    assert finding.sentence == f"The top block is {text} (at least 0.8 is asked for)."
    assert finding.estimate is not None
    assert finding.estimate.n_prompts == 240
    assert finding.estimate.value == pytest.approx((9.0 + other[4]) / 2, abs=1e-3), "of the first seed's top"


def test_stability_says_what_is_missing():
    alone = judge_criterion(StableOverSeeds(**WHY), draws([1.0, 2.0, 9.0]))
    assert alone.sentence == "Only seed 42 was measured: stability over seeds needs at least two."
    tied = [1.0, 2.0, 8.9, 9.0]
    finding = judge_criterion(StableOverSeeds(**WHY), draws(tied, tied))
    assert finding.sentence.startswith(
        "The top block is L3 in seed 42, L3 in seed 43, but over all seeds no hub is separated: L3 moves 9 [9, 9] nats"
    )
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(9.0, abs=1e-3)
    even = [1.0, 2.0, 9.0, 9.0]
    sentence = judge_criterion(
        StableOverSeeds(**WHY),
        measured(
            {"layer_sweep": pool([profile(even, noise=1e-6, seed=seed)["layer_sweep"] for seed in (42, 43)])}
        ),
    ).sentence
    assert sentence.startswith("In seed 42 two blocks tie at the top, ")
    assert sentence.endswith(" nats apart: which one leads is rounding.")


def test_a_profile_without_shape_is_said_to_have_none():
    flat = said(Flat(**WHY), NO_SHAPE, noise=0.0)
    why = "all 4 layers give the same 6.5 nats, equal to the bit on every prompt"
    assert flat.sentence == f"The profile is exactly flat: {why}."
    assert flat.estimate is not None
    assert (flat.estimate.value, flat.p_value) == (6.5, None)
    nothing = said(Flat(**WHY), np.zeros((4, 12)), noise=0.0)
    assert nothing.sentence == (
        "Not a measurement: the median block moves 0 nats: nothing was changed, flat or not."
    )
    invalid = f"Not a measurement: the profile has no shape: {why}, so no layer can be singled out."
    families = {"top": ("family00",), "bottom": ()}
    for criterion in (
        hub(2),
        extreme(2),
        top(2),
        TopInFamilies(layer=1, at_least=2, **WHY),
        FamilyExtremes(layer=1, **families, **WHY),
        SubsetHubShare(**WHY),
        TopSpread(k=2, at_most_nats=1.0, **WHY),
        StableOverSeeds(**WHY),
    ):
        assert said(criterion, NO_SHAPE, noise=0.0).sentence == invalid
    nearly = said(hub(0), [2.0, 2.0, 2.0], noise=1e-6)
    assert nearly.sentence.startswith(
        "Not a measurement: the profile has no shape: all 3 layers give 2 nats, within "
    )


def test_a_number_that_is_not_finite_is_said_with_its_cell():
    sweep = with_value(profile(FOUR)["layer_sweep"], "kl_nats", 1, 5, np.nan)
    sweep = with_value(sweep, "kl_nats", 3, 7, np.inf)
    text = sweep.prompts[5].text
    wanted = f"Not a measurement: kl_nats of 'skip L1' is nan on the prompt {text!r}; 2 of 480 values are not finite."
    cells = (
        EveryProbe(select=Singles(), at_most=1.0, **SWEEP),
        SomeProbe(select=Singles(), at_most=1.0, **SWEEP),
        CellWithin(select=Blocks(layers=(1,)), target=1.0, tolerance=1.0, **SWEEP),
        WorstCase(select=Singles(), at_most=1.0, **SWEEP),
    )
    for criterion in (hub(2), extreme(1), top(2), Flat(**WHY), *cells):
        sentence = judge_criterion(criterion, measured({"layer_sweep": sweep})).sentence
        one_row = isinstance(criterion, CellWithin)
        assert sentence == (wanted.replace("2 of 480", "1 of 120") if one_row else wanted)


def left_open(effects: Effects, verdict: Verdict) -> str:
    """What an identity says that holds: with no break on n templates, 1 - 0.01^(1/n) of templates may break it."""
    n = len({(prompt.family, prompt.template) for prompt in effects.prompts})
    most = f"at most {1 - 0.01 ** (1 / n):.1%} of templates like these would (98% interval)"
    none = f" None of {n} templates shows a break on the prompts drawn of it"
    return f"{none}: {most}." if verdict is Verdict.SUPPORTED else ""


def test_an_identity_is_said_with_its_worst_cell():
    sweep = profile([0.0, 0.0, 0.0], noise=0.0)["layer_sweep"]
    sweep = with_value(sweep, "kl_nats", 1, 5, -0.25)
    for at_most, verdict in ((0.25, Verdict.SUPPORTED), (0.2, Verdict.REFUTED)):
        criterion = WorstCase(select=Singles(), at_most=at_most, **SWEEP)
        finding = judge_criterion(criterion, measured({"layer_sweep": sweep}))
        assert finding.verdict is verdict, "a value at the limit is allowed"
        assert finding.sentence == (
            "An identity, not a statistic: over 360 cells the largest |kl_nats| is 0.25 nats, at 'skip L1' on the "
            f"prompt {sweep.prompts[5].text!r}; {at_most:g} is allowed." + left_open(sweep, verdict)
        )


def test_erasures_are_said_with_the_comparison_that_differs_most():
    metrics = {"kl_nats": [4.0, 3.0, 2.0], "answer_logprob": [-4.0, -4.0, -4.0]}
    singles = table([erase(0), erase(1), erase(2)], metrics, noise=0.0)
    sets = table(
        [erase(0, 1), erase(0, 1, 2)], {"kl_nats": [3.0, 2.0], "answer_logprob": [-4.0, -4.0]}, noise=0.0
    )
    sets = with_value(with_value(sets, "kl_nats", 0, 3, 3.125), "answer_logprob", 1, 8, -4.25)
    for tolerance, verdict in ((0.25, Verdict.SUPPORTED), (0.2, Verdict.REFUTED)):
        criterion = SameAsDeepest(tolerance_nats=tolerance, **WHY)
        finding = judge_criterion(criterion, measured({"layer_sweep": singles, "layer_sets": sets}))
        assert finding.verdict is verdict, "a difference at the tolerance is allowed"
        assert finding.sentence == (
            "An identity, not a statistic: over 4 comparisons on every prompt the largest difference is 0.25 nats, in "
            f"answer_logprob of 'erase L0-L2' against L2 alone; {tolerance:g} is allowed."
            + left_open(sets, verdict)
        )


def models(**means: Any) -> dict[str, Measured]:
    return {name: measured(profile(m, noise=1e-6, seed=i)) for i, (name, m) in enumerate(means.items())}


SMALL, LARGE = [3.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 4.0]


def test_hubs_of_several_models_are_said_model_by_model():
    finding = judge_joint_criterion(HubsAt(layers={"a": 0, "b": 5}, **WHY), models(a=SMALL, b=LARGE))
    a, b = (
        f"{who} moves {n} [{n}, {n}] nats {SIZES}, the strongest other is"
        for who, n in (("a: L0", 3), ("b: L5", 4))
    )
    assert finding.sentence.startswith(a)
    assert b in finding.sentence
    assert finding.sentence.count("so it is the hub.") == 2
    assert ", so it is the hub. b: L5 moves" in finding.sentence
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (("a", "b"), "The hubs are L0 (0%) in a, L5 (83%) in b: rising with scale."),
        (("b", "a"), "The hubs are L5 (83%) in b, L0 (0%) in a: not rising with scale."),
    ],
)
def test_depths_are_said_as_shares_of_the_model(order, text):
    criterion = HubDepthIncreases(models=order, **WHY)
    assert judge_joint_criterion(criterion, models(a=SMALL, b=LARGE)).sentence == text


def test_depths_that_cannot_be_compared_are_said_to_be_so():
    criterion = HubDepthIncreases(models=("a", "b", "c"), **WHY)
    tied = judge_joint_criterion(criterion, models(a=SMALL, b=[1.0, 3.0, 3.0], c=[1.0, 3.0, 3.0]))
    start = "No separated hub in b, c, so depths cannot be compared. a: L0 moves 3 [3, 3] nats"
    assert tied.sentence.startswith(start)
    assert " b: L" in tied.sentence
    flat = {**models(a=SMALL, c=LARGE), "b": measured(profile(NO_SHAPE, noise=0.0))}
    invalid = judge_joint_criterion(criterion, flat)
    assert "so it is the hub. b: Not a measurement: the profile has no shape: " in invalid.sentence


def test_a_trend_is_said_with_each_models_top():
    where = f"3 [3, 3] nats {SIZES} at L0 in a, 4 [4, 4] nats {SIZES} at L5 in b"
    for direction, why in (("increasing", "increasing"), ("decreasing", "not decreasing")):
        criterion = HubEffectTrend(models=("a", "b"), direction=direction, **WHY)
        finding = judge_joint_criterion(criterion, models(a=SMALL, b=LARGE))
        assert finding.sentence == f"The top block's effect is {where}: {why} (p < 0.001)."
    even = judge_joint_criterion(
        HubEffectTrend(models=("a", "b"), direction="increasing", **WHY), models(a=SMALL, b=[3.0, 1.0])
    )
    assert even.verdict is Verdict.INCONCLUSIVE
    assert "at L0 in b: undecided (p = " in even.sentence


def test_a_distance_of_profiles_is_said_as_a_share_of_the_top():
    """Straight lines from 1 to h and from 1 to 0.2 lie (h - 0.2) / 2 apart on average."""
    for height, distance in ((0.75, "0.275 [0.275, 0.275]"), (0.3, "0.05 [0.05, 0.05]")):
        pair = models(a=np.linspace(4.0, 4 * height, 5), b=np.linspace(7.0, 1.4, 9))
        finding = judge_joint_criterion(ProfilesDiffer(model_a="a", model_b="b", **WHY), pair)
        assert finding.sentence == (
            f"Over relative depth the profiles lie {distance} share of the top {SIZES} apart; "
            "more than 0.1 is claimed."
        )


@pytest.mark.parametrize(
    "criterion",
    [
        HubEffectTrend(models=("a", "b"), direction="increasing", **WHY),
        ProfilesDiffer(model_a="a", model_b="b", **WHY),
    ],
)
def test_the_model_without_a_profile_is_named(criterion):
    pair = {**models(a=SMALL), "b": measured(profile(NO_SHAPE, noise=0.0))}
    finding = judge_joint_criterion(criterion, pair)
    assert finding.verdict is Verdict.INVALID
    assert finding.sentence.startswith("Not a measurement: in b the profile has no shape: ")


def test_a_judgement_is_its_findings_and_then_its_note():
    one, two = (Finding(verdict=Verdict.SUPPORTED, sentence=text) for text in ("One.", "Two."))
    assert Judgement(verdict=Verdict.SUPPORTED, findings=(one, two)).sentence == "One. Two."
    assert Judgement(verdict=Verdict.SUPPORTED, findings=(one,), note="A note.").sentence == "One. A note."
    assert Judgement(verdict=Verdict.SUPPORTED, findings=(one, two)).estimate is None, "identities have none"
    assert not_run("no weights").sentence == "no weights"
    assert not_run("no weights").findings == ()
