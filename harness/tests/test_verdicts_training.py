"""Criteria on adapters at their boundaries: sums of rows, families, numbers of a training, changes of profiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from claims import test_lora_sweeps, test_training_dynamics, test_training_effects
from harness.adapters.values import SOUND, Adapted, Kind, Part, Recipe
from harness.anatomy import Anatomy
from harness.edits import Stream, skip, zero
from harness.effects import Effects, pool
from harness.experiments import adapter_rank_blocks
from harness.experiments import adapters as adapter_experiments
from harness.protocols import Protocol
from harness.verdicts.criteria import (
    ChangeGini,
    ChangesDiffer,
    ChangeStandsOut,
    ChangeTop,
    Contrast,
    EveryProbe,
    FamilyLeads,
    Not,
    OfFamilies,
    ProfileOf,
    RankAgreement,
    Term,
    TopOverlap,
    TrainedSlope,
    TrainedWithin,
)
from harness.verdicts.judging import judge_chapter, judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles, Sublayer
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.training_changes import gini, least_gini
from harness.verdicts.training_selectors import Exactly, Under
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
WHY = {"rationale": "a test"}
SKILLS = ("a", "b", "c")
A, B = (Adapted(parts=(Part(family=name, recipe=SOUND),)) for name in "ab")
BOTH = Adapted(parts=(*A.parts, *B.parts))


def rows(values, *, base=-3.0, noise=0.01, families=SKILLS, metric="answer_logprob", seeds=(42,)):
    """A table of adapters with these true means of one metric, per row or per row and family."""
    tables = []
    for seed in seeds:
        made = table(list(values), {metric: list(values.values())}, noise=noise, families=families, seed=seed)
        baseline = {"answer_logprob": np.full(len(made.prompts), base)}
        tables.append(replace(made, baseline=baseline))
    return measured({"adapters": pool(tables)}, 4)


def contrast(*terms, **given):
    given = {"experiment": "adapters", "what": "the sum", **WHY, **given}
    return Contrast(terms=tuple(Term(weight=w, of=of) for w, of in terms), **given)


@pytest.mark.parametrize(("level", "verdict"), [(-1.95, SUPPORTED), (-2.0, INCONCLUSIVE), (-2.05, REFUTED)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_gain_over_the_base_is_told_at_its_bound(level, verdict, side):
    """The base answers with -3 nats: the adapter adds 1.05, 1 or 0.95, or loses as much."""
    bound = {"at_least": 1.0} if side == 1 else {"at_most": -1.0}
    view = rows({A: level if side == 1 else -6.0 - level})
    finding = judge_criterion(contrast((1.0, A), (-1.0, None), **bound), view)
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(side * (level + 3.0), abs=0.01)
    assert finding.estimate.unit == "nats"
    assert finding.sentence.startswith("The sum is ")


@pytest.mark.parametrize(("both", "verdict"), [(-0.45, SUPPORTED), (-0.5, INCONCLUSIVE), (-0.55, REFUTED)])
def test_what_two_adapters_add_together(both, verdict):
    """One adds 1 nat and the other 1.5 to -3: additive is -0.5."""
    view = rows({A: -2.0, B: -1.5, BOTH: both})
    additive = contrast((1.0, BOTH), (-1.0, A), (-1.0, B), (1.0, None), at_least=0.0)
    assert judge_criterion(additive, view).verdict is verdict


def test_the_published_bar_is_below_the_additive_one():
    """The average of the two is -1.75: a merge that adds nothing to either is 'beyond expectation'."""
    view = rows({A: -2.0, B: -1.5, BOTH: -1.5})
    average = contrast((1.0, BOTH), (-0.5, A), (-0.5, B), at_least=0.0)
    additive = contrast((1.0, BOTH), (-1.0, A), (-1.0, B), (1.0, None), at_least=0.0)
    assert judge_criterion(average, view).verdict is SUPPORTED
    assert judge_criterion(additive, view).verdict is REFUTED


def test_a_sum_is_taken_prompt_by_prompt():
    """Prompts differ by nats and both rows with them: a difference of 0.05 is still seen."""
    one = table([A], {"answer_logprob": [-3.0]}, noise=2.0, families=SKILLS)
    values = np.concatenate([one.metrics["answer_logprob"], one.metrics["answer_logprob"] - 0.05])
    both = replace(one, probes=(A, B), metrics={"answer_logprob": values})
    found = judge_criterion(contrast((1.0, A), (-1.0, B), at_least=0.04), measured({"adapters": both}, 4))
    assert found.verdict is SUPPORTED
    assert found.estimate.value == pytest.approx(0.05)


@pytest.mark.parametrize(("third", "verdict"), [(-1.9, SUPPORTED), (-2.2, INCONCLUSIVE), (-0.1, SUPPORTED)])
def test_trainings_that_disagree_decide_nothing(third, verdict):
    """Two trainings add 1.5 nats; together with a third of 0.8 they still do on average."""
    seeds = [
        replace(
            table([A], {"answer_logprob": [mean]}, noise=0.01, families=SKILLS, seed=seed),
            baseline={"answer_logprob": np.full(30, -3.0)},
        )
        for seed, mean in ((1, -1.5), (2, -1.5), (3, third))
    ]
    view = measured({"adapters": pool(seeds)}, 4)
    finding = judge_criterion(contrast((1.0, A), (-1.0, None), at_least=1.0), view)
    assert finding.verdict is verdict, finding.sentence
    assert "; by seed 1.5" in finding.sentence


def test_trainings_that_disagree_do_not_refute():
    seeds = [
        replace(
            table([A], {"answer_logprob": [mean]}, noise=0.01, families=SKILLS, seed=seed),
            baseline={"answer_logprob": np.full(30, -3.0)},
        )
        for seed, mean in ((1, -2.9), (2, -2.9), (3, -1.9))
    ]
    bound = contrast((1.0, A), (-1.0, None), at_least=1.0)
    assert judge_criterion(bound, measured({"adapters": pool(seeds)}, 4)).verdict is INCONCLUSIVE
    assert judge_criterion(bound, measured({"adapters": pool(seeds[:2])}, 4)).verdict is REFUTED


def test_numbers_that_are_none_are_invalid_and_rows_that_are_none_missing():
    view = rows({A: -2.0})
    broken = with_value(view.tables["adapters"], "answer_logprob", 0, 3, np.nan)
    bound = contrast((1.0, A), (-1.0, None), at_least=1.0)
    found = judge_criterion(bound, measured({"adapters": broken}, 4))
    assert found.verdict is INVALID
    assert "1 of 30" in found.sentence
    with pytest.raises(MissingEvidence, match=r"'b \(sound\) on'"):
        judge_criterion(contrast((1.0, B), at_least=1.0), view)
    with pytest.raises(MissingEvidence, match="kl_nats of 'base'"):
        judge_criterion(contrast((1.0, None), at_least=1.0, metric="kl_nats"), view)
    with pytest.raises(MissingEvidence, match="'elsewhere' was not measured"):
        judge_criterion(contrast((1.0, A), at_least=1.0, experiment="elsewhere"), view)


def test_criteria_that_ask_for_nothing_are_refused():
    with pytest.raises(ValueError, match="either"):
        contrast((1.0, A))
    with pytest.raises(ValueError, match="either"):
        contrast((1.0, A), at_least=0.0, at_most=1.0)
    with pytest.raises(ValueError, match="at least one row"):
        contrast(at_least=0.0)
    with pytest.raises(ValueError, match="shares are not summed"):
        contrast((1.0, A), (-1.0, B), at_least=0.0, metric="argmax_match")
    assert contrast((1.0, A), at_least=0.9, metric="argmax_match").units == "share"
    with pytest.raises(ValueError, match="name a family"):
        OfFamilies(families=(), criterion=contrast((1.0, A), at_least=0.0))
    with pytest.raises(ValueError, match="one factor_norm, train_loss, update_norm"):
        TrainedWithin(experiment="adapters", probe=A, metric="kl_nats", at_most=1.0, **WHY)
    with pytest.raises(ValueError, match="give a bound"):
        TrainedWithin(experiment="adapters", probe=A, metric="train_loss", **WHY)
    with pytest.raises(ValueError, match="counts among them"):
        change_top(layers=(1, 2), at_least=3)


def test_a_share_by_itself_has_the_bounds_of_a_share():
    """All of 15 templates right: the exact lower bound at 98% is 0.01 ** (1 / 15) = 0.736."""
    view = rows({A: 1.0}, noise=0.0, metric="argmax_match")
    found = judge_criterion(contrast((1.0, A), at_least=0.7, metric="argmax_match"), view)
    assert found.verdict is SUPPORTED
    assert found.estimate.low == pytest.approx(0.01 ** (1 / 15))
    view = rows({A: 1.0}, noise=0.0, metric="argmax_match")
    found = judge_criterion(contrast((1.0, A), at_least=0.8, metric="argmax_match"), view)
    assert found.verdict is INCONCLUSIVE


PER_FAMILY = {A: [-1.0, -3.0, -3.5]}


@pytest.mark.parametrize(("family", "verdict"), [("a", SUPPORTED), ("b", REFUTED), ("c", REFUTED)])
def test_a_criterion_of_one_family_reads_that_family_alone(family, verdict):
    bound = contrast((1.0, A), (-1.0, None), at_least=0.5)
    found = judge_criterion(OfFamilies(families=(family,), criterion=bound), rows(PER_FAMILY))
    assert found.verdict is verdict, found.sentence
    assert found.estimate.n_prompts == 10
    assert found.criterion.startswith(f"on prompts of {family}: in adapters, the sum")
    with pytest.raises(MissingEvidence, match="no prompt of z"):
        judge_criterion(OfFamilies(families=("a", "z"), criterion=bound), rows(PER_FAMILY))


def test_any_criterion_can_be_of_one_family():
    view = rows(PER_FAMILY)
    bound = EveryProbe(
        experiment="adapters", select=Exactly(probe=A), metric="answer_logprob", at_least=-2.0, **WHY
    )
    assert judge_criterion(OfFamilies(families=("a",), criterion=bound), view).verdict is SUPPORTED
    assert judge_criterion(OfFamilies(families=("b", "c"), criterion=bound), view).verdict is REFUTED


@pytest.mark.parametrize(("level", "verdict"), [(-1.95, REFUTED), (-2.0, INCONCLUSIVE), (-2.05, SUPPORTED)])
def test_a_negation_holds_where_the_other_fails(level, verdict):
    bound = contrast((1.0, A), (-1.0, None), at_least=1.0)
    found = judge_criterion(Not(criterion=bound), rows({A: level}))
    assert found.verdict is verdict
    assert found.criterion.startswith("it is not so that in adapters")
    broken = with_value(rows({A: level}).tables["adapters"], "answer_logprob", 0, 0, np.inf)
    assert judge_criterion(Not(criterion=bound), measured({"adapters": broken}, 4)).verdict is INVALID


def leads(family, which="largest", metric="kl_nats"):
    return FamilyLeads(
        experiment="adapters",
        what="the shift",
        family=family,
        sums={name: (Term(weight=1.0, of=A),) for name in SKILLS},
        metric=metric,
        which=which,
        **WHY,
    )


@pytest.mark.parametrize(
    ("means", "family", "which", "verdict", "rival"),
    [
        ([2.05, 2.0, 0.5], "a", "largest", SUPPORTED, "b"),
        ([2.0, 2.0, 0.5], "a", "largest", INCONCLUSIVE, "b"),
        ([1.95, 2.0, 0.5], "a", "largest", REFUTED, "b"),
        ([0.45, 2.0, 0.5], "a", "smallest", SUPPORTED, "c"),
        ([0.55, 2.0, 0.5], "a", "smallest", REFUTED, "c"),
        ([2.05, 2.0, 0.5], "b", "largest", REFUTED, "a"),
    ],
)
def test_the_family_that_moves_most(means, family, which, verdict, rival):
    """The estimate is its lead over the strongest other: above 0 where it holds, and its interval with it."""
    view = rows({A: means}, metric="kl_nats")
    finding = judge_criterion(leads(family, which), view)
    assert finding.verdict is verdict, finding.sentence
    lead = means[SKILLS.index(family)] - means[SKILLS.index(rival)]
    estimate = finding.estimate
    assert estimate.value == pytest.approx(lead if which == "largest" else -lead, abs=0.02)
    assert estimate.unit == f"nats of lead over {rival}"
    sides = (estimate.low > 0, estimate.high < 0)
    assert sides == (verdict is SUPPORTED, verdict is REFUTED)
    assert f"{family} is claimed {which}, and has {estimate}" in finding.sentence


def test_each_family_is_read_from_its_own_rows():
    """The adapter of a adds 1.2 nats on a, that of b adds 1 on b, though each row is higher elsewhere."""
    view = rows({A: [-1.8, 0.0, 0.0], B: [0.0, -2.0, 0.0]})
    sums = {
        "a": (Term(weight=1.0, of=A), Term(weight=-1.0)),
        "b": (Term(weight=1.0, of=B), Term(weight=-1.0)),
    }
    asked = {"experiment": "adapters", "what": "its gain", "sums": sums, **WHY}
    assert judge_criterion(FamilyLeads(family="a", **asked), view).verdict is SUPPORTED
    assert judge_criterion(FamilyLeads(family="b", **asked), view).verdict is REFUTED


def test_a_family_that_leads_in_one_training_and_not_in_another_leads_in_none():
    seeds = [
        table([A], {"kl_nats": [means]}, noise=0.01, families=SKILLS, seed=seed)
        for seed, means in ((1, [3.0, 2.0, 0.5]), (2, [1.8, 2.0, 0.5]))
    ]
    pooled = judge_criterion(leads("a"), measured({"adapters": pool(seeds)}, 4))
    assert pooled.verdict is INCONCLUSIVE
    assert "The trainings do not agree; by seed 0.997, -0.207." in pooled.sentence
    assert judge_criterion(leads("a"), measured({"adapters": seeds[0]}, 4)).verdict is SUPPORTED
    broken = with_value(seeds[0], "kl_nats", 0, 0, np.nan)
    assert judge_criterion(leads("a"), measured({"adapters": broken}, 4)).verdict is INVALID
    only = table([A], {"kl_nats": [[3.0, 2.0]]}, families=SKILLS[:2])
    with pytest.raises(MissingEvidence, match="no prompt of c"):
        judge_criterion(leads("a"), measured({"adapters": only}, 4))
    with pytest.raises(ValueError, match="of another family"):
        FamilyLeads(experiment="adapters", what="x", family="z", sums=leads("a").sums, **WHY)


def constants(*by_seed, metric="train_loss"):
    """One number a row and seed, equal on all its prompts."""
    made = [
        table(list(numbers), {metric: list(numbers.values())}, noise=0.0, families=SKILLS, seed=seed)
        for seed, numbers in enumerate(by_seed)
    ]
    return measured({"adapters": pool(made)}, 4)


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([0.31, 0.89], SUPPORTED),
        ([0.31, 0.91], INCONCLUSIVE),
        ([0.29, 0.91], REFUTED),
        ([0.9], SUPPORTED),
        ([0.91], REFUTED),
        ([float("nan"), 0.5], INVALID),
    ],
)
def test_a_number_of_each_training_lies_within_bounds_in_all_of_them(losses, verdict):
    asked = TrainedWithin(
        experiment="adapters", probe=A, metric="train_loss", at_least=0.3, at_most=0.9, **WHY
    )
    finding = judge_criterion(asked, constants(*({A: loss} for loss in losses)))
    assert finding.verdict is verdict, finding.sentence
    assert finding.p_value is None


def test_what_differs_from_prompt_to_prompt_is_no_number_of_a_training():
    asked = TrainedWithin(experiment="adapters", probe=A, metric="train_loss", at_most=0.9, **WHY)
    with pytest.raises(MissingEvidence, match="differs between prompts"):
        judge_criterion(asked, rows({A: 0.5}, metric="train_loss"))


RANKS = (1, 2, 4, 8, 16)
OF_RANK = {
    rank: Adapted(parts=(Part(family="a", recipe=Recipe(name=f"rank_{rank}", rank=rank)),)) for rank in RANKS
}


@pytest.mark.parametrize(
    ("exponents", "bounds", "verdict"),
    [
        ((1.0,), {"at_least": 0.9, "at_most": 1.1}, SUPPORTED),
        ((0.89,), {"at_least": 0.9, "at_most": 1.1}, REFUTED),
        ((0.91, 1.09), {"at_least": 0.9, "at_most": 1.1}, SUPPORTED),
        ((0.91, 1.11), {"at_least": 0.9, "at_most": 1.1}, INCONCLUSIVE),
        ((0.5, 0.89), {"at_most": 0.9}, SUPPORTED),
        ((0.91,), {"at_most": 0.9}, REFUTED),
    ],
)
def test_a_power_law_has_its_exponent(exponents, bounds, verdict):
    view = constants(
        *({row: 2.0 * rank**e for rank, row in OF_RANK.items()} for e in exponents), metric="update_norm"
    )
    asked = TrainedSlope(experiment="adapters", over=OF_RANK, x="rank", metric="update_norm", **bounds, **WHY)
    finding = judge_criterion(asked, view)
    assert finding.verdict is verdict, finding.sentence
    assert f"{exponents[0]:.3g} (seed 0)" in finding.sentence


def test_the_published_norms_are_a_square_root_of_the_rank():
    published = dict(zip(OF_RANK.values(), (6.14, 8.43, 11.69, 16.34, 22.92), strict=True))
    view = constants(published, metric="factor_norm")
    asked = {"experiment": "adapters", "over": OF_RANK, "x": "rank", "metric": "factor_norm", **WHY}
    found = judge_criterion(TrainedSlope(at_least=0.9, at_most=1.1, **asked), view)
    assert found.verdict is REFUTED
    assert "0.476 (seed 0)" in found.sentence
    assert judge_criterion(TrainedSlope(at_least=0.4, at_most=0.6, **asked), view).verdict is SUPPORTED


def test_a_norm_of_nothing_has_no_logarithm():
    view = constants({row: float(rank - 1) for rank, row in OF_RANK.items()}, metric="update_norm")
    asked = TrainedSlope(
        experiment="adapters", over=OF_RANK, x="rank", metric="update_norm", at_most=1.0, **WHY
    )
    assert judge_criterion(asked, view).verdict is INVALID


def parts_of(name):
    return () if name is None else (Part(family=name, recipe=SOUND),)


def profile_of(name):
    return ProfileOf(
        experiment="profiles", select=Under(parts=parts_of(name), select=Singles()), noun="block"
    )


def profiles(values, *, noise=0.01, seeds=(42,), families=SKILLS) -> Effects:
    """What skipping each block does in these states; None is the base model."""
    probes = [
        Adapted(parts=parts_of(name), edit=skip(layer), against="whole")
        for name, effects in values.items()
        for layer in reversed(range(len(effects)))
    ]
    means = [effect for effects in values.values() for effect in reversed(effects)]
    return pool([table(probes, {"kl_nats": means}, noise=noise, families=families, seed=s) for s in seeds])


def view_of(effects, n_layers):
    return measured({"profiles": effects}, n_layers)


BEFORE = [5.0, 4.0, 3.0, 2.0, 1.0, 1.0]
CHANGE = [0.1, 0.3, 0.2, 2.0, 1.5, 1.0]


def change_top(**given):
    return ChangeTop(before=profile_of(None), after=profile_of("a"), **WHY, **given)


def changed(change, *, noise=0.01):
    after = [b + c for b, c in zip(BEFORE, change, strict=True)]
    return view_of(profiles({None: BEFORE, "a": after}, noise=noise), len(BEFORE))


@pytest.mark.parametrize(
    ("layers", "verdict", "shared"),
    [((2, 3, 4), SUPPORTED, 2), ((0, 1, 3), REFUTED, 1), ((3, 4, 5), SUPPORTED, 3)],
)
def test_the_layers_that_rise_most(layers, verdict, shared):
    finding = judge_criterion(change_top(layers=layers, at_least=2), changed(CHANGE))
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == shared
    assert finding.sentence.startswith("L3-L5 rise most")


def test_layers_that_rise_alike_are_undecided():
    finding = judge_criterion(
        change_top(layers=(0, 1, 2), at_least=2), changed([1.0, 1.0, 0.99, 1.0, 1.0, 1.01], noise=0.5)
    )
    assert finding.verdict is INCONCLUSIVE


def test_an_offset_of_all_layers_changes_nothing():
    """The published change: 7 nats more everywhere. The order of layers is that of what is left."""
    moved = [7.0 + c for c in CHANGE]
    finding = judge_criterion(change_top(layers=(3, 4, 5), at_least=3), changed(moved))
    assert finding.verdict is SUPPORTED
    alike = judge_criterion(change_top(layers=(3, 4, 5), at_least=2), changed([7.0] * 6, noise=1e-7))
    assert alike.verdict is INVALID
    assert "all layers change alike" in alike.sentence


@pytest.mark.parametrize(("off", "verdict"), [(-0.05, SUPPORTED), (0.0, INCONCLUSIVE), (0.05, REFUTED)])
def test_a_layer_stands_out_by_its_standard_deviations(off, verdict):
    scores = (np.array(CHANGE) - np.mean(CHANGE)) / np.std(CHANGE)
    asked = ChangeStandsOut(
        before=profile_of(None),
        after=profile_of("a"),
        layers=(3, 4),
        at_least=float(scores[4]) + off,
        **WHY,
    )
    finding = judge_criterion(asked, changed(CHANGE, noise=0.005))
    assert finding.verdict is verdict, finding.sentence
    assert "L4 is" in finding.sentence
    assert finding.estimate.value == pytest.approx(scores[4], abs=0.02)


def changes_by_seed(*changes):
    """A change of each of several trainings, by seed 0, 1, ..."""
    tables = []
    for seed, change in enumerate(changes):
        after = [b + c for b, c in zip(BEFORE, change, strict=True)]
        tables.append(profiles({None: BEFORE, "a": after}, seeds=(seed,)))
    return view_of(pool(tables), len(BEFORE))


LATE, EARLY = [0.1, 0.2, 0.3, 2.0, 1.9, 1.8], [2.0, 1.9, 1.8, 0.1, 0.2, 0.3]
ALIKE, ONE = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95], [0.0, 0.0, 0.0, 6.0, 0.1, 0.1]
BY_TRAINING = {
    "top": (change_top(layers=(3, 4, 5), at_least=2), LATE, EARLY, 2.0),
    "stands out": (
        ChangeStandsOut(before=profile_of(None), after=profile_of("a"), layers=(3, 4), at_least=0.3, **WHY),
        LATE,
        EARLY,
        2.0,
    ),
    "gini": (ChangeGini(before=profile_of(None), after=profile_of("a"), at_most=0.3, **WHY), ALIKE, ONE, 0.3),
}


@pytest.mark.parametrize("which", BY_TRAINING)
@pytest.mark.parametrize("verdict", [SUPPORTED, REFUTED])
def test_a_change_that_one_training_does_not_show_is_open(which, verdict):
    """Two trainings change as claimed, a third, weaker, the other way round: the mean of all is as claimed."""
    asked, holds, fails, weight = BY_TRAINING[which]
    usual, other = (holds, fails) if verdict is SUPPORTED else (fails, holds)
    weaker = [x / weight for x in other] if which != "gini" else [0.1 * x for x in other]
    pooled = changes_by_seed(usual, usual, weaker)
    found = judge_criterion(asked, pooled)
    assert found.verdict is INCONCLUSIVE, found.sentence
    assert "The trainings do not agree; by seed " in found.sentence
    assert judge_criterion(asked, changes_by_seed(usual, usual)).verdict is verdict
    assert judge_criterion(asked, changes_by_seed(weaker)).verdict is not verdict
    effects = pooled.tables["profiles"]
    one = replace(effects, prompts=tuple(replace(p, seed=0) for p in effects.prompts))
    assert judge_criterion(asked, view_of(one, len(BEFORE))).verdict is verdict


@pytest.mark.parametrize("noise", [2.0, 4.0, 8.0])
def test_noise_refutes_no_rise_that_it_hides(noise):
    """The named layers do rise most, by less than the noise of a mean: 0.5 against 0.89 to 3.6."""
    change = np.where(np.arange(24) >= 18, 0.5, 0.0)
    tops, outs = [], []
    for seed in range(12):
        effects = profiles({None: [1.0] * 24, "a": list(1.0 + change)}, noise=noise, seeds=(seed,))
        view = view_of(effects, 24)
        tops.append(judge_criterion(change_top(layers=tuple(range(18, 24)), at_least=5), view))
        out = ChangeStandsOut(
            before=profile_of(None), after=profile_of("a"), layers=tuple(range(18, 24)), at_least=1.5, **WHY
        )
        outs.append(judge_criterion(out, view))
    for found in (tops, outs):
        assert sum(finding.verdict is REFUTED for finding in found) <= 1


@pytest.mark.filterwarnings("error")
def test_a_gini_coefficient_in_closed_form():
    assert gini(np.array([[1.0, 1.0, 1.0, 1.0]])) == pytest.approx([0.0])
    assert gini(np.array([[0.0, 0.0, 0.0, -3.0]])) == pytest.approx([0.75])
    assert gini(np.array([[1.0, 2.0, 3.0]])) == pytest.approx([2.0 / 9.0])
    assert np.isnan(gini(np.zeros((1, 3)))).all()
    normal = np.random.default_rng(0).standard_normal((1, 200_000))
    assert gini(normal) == pytest.approx([np.sqrt(2) - 1], abs=2e-3)


@pytest.mark.parametrize(("off", "verdict"), [(0.01, SUPPORTED), (-0.01, REFUTED)])
def test_a_concentration_is_told_at_its_bound(off, verdict):
    truth = float(gini(np.array([CHANGE]))[0])
    asked = ChangeGini(before=profile_of(None), after=profile_of("a"), at_most=truth + off, **WHY)
    finding = judge_criterion(asked, changed(CHANGE))
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("noise", [0.3, 0.5, 1.0])
def test_noise_that_looks_concentrated_refutes_nothing(noise):
    """All 24 layers change by 0.3: a coefficient of 0. Noise alone gives up to 0.41."""
    effects = profiles({None: [1.0] * 24, "a": [1.3] * 24}, noise=noise)
    asked = ChangeGini(before=profile_of(None), after=profile_of("a"), at_most=0.15, **WHY)
    found = judge_criterion(asked, view_of(effects, 24))
    assert found.verdict is INCONCLUSIVE, found.sentence
    assert found.estimate.value > 0.15


def test_the_least_coefficient_within_intervals():
    """Against a random search."""
    low, high = np.array([1.0, 4.0, 0.0]), np.array([2.0, 6.0, 1.0])
    rng = np.random.default_rng(0)
    searched = gini(low + (high - low) * rng.random((200_000, 3))).min()
    assert least_gini(low, high) <= searched + 1e-9
    assert least_gini(low, high) == pytest.approx(searched, abs=5e-3)
    assert least_gini(np.ones(3), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.0)
    assert least_gini(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0 / 9.0)


def test_a_change_needs_every_layer_and_finite_numbers():
    effects = profiles({None: BEFORE, "a": BEFORE})
    with pytest.raises(MissingEvidence, match="needs every one of 7 layers"):
        judge_criterion(change_top(layers=(1,), at_least=1), view_of(effects, 7))
    with pytest.raises(MissingEvidence, match="names L9"):
        judge_criterion(change_top(layers=(9,), at_least=1), changed(CHANGE))
    broken = with_value(changed(CHANGE).tables["profiles"], "kl_nats", 0, 0, np.nan)
    found = judge_criterion(change_top(layers=(1,), at_least=1), view_of(broken, 6))
    assert found.verdict is INVALID
    assert "1 of 180 changes of kl_nats are not finite" in found.sentence
    missing = ProfileOf(
        experiment="profiles", select=Under(parts=parts_of("z"), select=Singles()), noun="block"
    )
    with pytest.raises(MissingEvidence, match="holds no probe"):
        judge_criterion(
            ChangeTop(before=profile_of(None), after=missing, layers=(1,), at_least=1, **WHY), changed(CHANGE)
        )


def differ(margin=0.1):
    after = {name: profile_of(name) for name in FIVE}
    return ChangesDiffer(before=profile_of(None), after=after, margin=margin, **WHY)


LAYERS = 12
FIVE = (*SKILLS, "d", "e")
OWN = {
    name: np.random.default_rng(i).permutation(np.linspace(0.5, 3.0, LAYERS)) for i, name in enumerate(FIVE)
}
SHARED = np.random.default_rng(9).permutation(np.linspace(0.5, 3.0, LAYERS))


def trainings(change_of, seeds=(1, 2, 3), noise=0.05):
    """Tables of five states over several trainings: `change_of(name, seed)` is the true change of each layer."""
    base = np.linspace(5.0, 1.0, LAYERS)
    made = [
        profiles(
            {None: list(base), **{name: list(base + change_of(name, seed)) for name in FIVE}},
            noise=noise,
            seeds=(seed,),
        )
        for seed in seeds
    ]
    return view_of(pool(made), LAYERS)


def test_skills_with_layers_of_their_own_differ():
    finding = judge_criterion(differ(), trainings(lambda name, _: OWN[name]))
    assert finding.verdict is SUPPORTED, finding.sentence
    assert finding.estimate.value > 0.5
    assert "Over 3 seeds" in finding.sentence


def test_skills_that_share_their_layers_do_not():
    finding = judge_criterion(differ(), trainings(lambda *_: SHARED))
    assert finding.verdict is REFUTED, finding.sentence
    assert finding.estimate.value == pytest.approx(0.0, abs=0.05)


def test_trainings_that_scatter_more_than_skills_differ_are_no_sign_of_skills():
    """Every training has layers of its own: within a skill they are as far apart as between skills."""

    def scattered(name, seed):
        rng = np.random.default_rng([seed, FIVE.index(name)])
        return rng.permutation(SHARED)

    finding = judge_criterion(differ(), trainings(scattered))
    assert finding.verdict is not SUPPORTED, finding.sentence


def test_a_gap_that_chance_gives_as_well_decides_nothing():
    """Of trainings with layers of their own, those of two seeds that happen to agree best within a skill."""

    def changes(draw):
        return lambda name, seed: np.random.default_rng([draw, seed, FIVE.index(name)]).permutation(SHARED)

    found = [judge_criterion(differ(), trainings(changes(draw), seeds=(1, 2))) for draw in range(12)]
    largest = max(found, key=lambda finding: finding.estimate.value)
    assert largest.estimate.value > 0.1
    assert largest.verdict is INCONCLUSIVE, largest.sentence


def test_what_a_seed_shares_counts_for_no_skill():
    """All states of one seed change alike (they share their prompts): pairs of one seed are not compared."""

    def by_seed(_, seed):
        return np.random.default_rng(seed).permutation(SHARED)

    finding = judge_criterion(differ(), trainings(by_seed))
    assert finding.verdict is not SUPPORTED, finding.sentence
    assert abs(finding.estimate.value) < 0.1


def test_few_states_cannot_be_told_from_chance():
    with pytest.raises(ValueError, match="four states"):
        replace(differ(), after={name: profile_of(name) for name in SKILLS})


def test_one_training_compares_with_none():
    finding = judge_criterion(differ(), trainings(lambda name, _: OWN[name], seeds=(1,)))
    assert finding.verdict is INCONCLUSIVE
    assert "Only seed 1" in finding.sentence


def test_three_of_three_on_top_before_training_make_locking_in_vacuous():
    def step(n):
        parts = (Part(family="a", recipe=SOUND, step=n),)
        return parts, ProfileOf(
            experiment="profiles", select=Under(parts=parts, select=Singles()), noun="block"
        )

    top, moved = [5.0, 4.0, 3.0, 1.0, 0.5], [5.0, 4.0, 1.0, 3.0, 0.5]
    (first, before), (last, after) = step(0), step(100)
    for last_means, forms in ((top, REFUTED), (moved, SUPPORTED)):
        probes = [
            Adapted(parts=parts, edit=skip(layer), against="whole")
            for parts in (first, last)
            for layer in range(5)
        ]
        view = view_of(table(probes, {"kl_nats": top + last_means}, noise=0.01), 5)
        same = TopOverlap(profiles=(before, after), at_least=3.0, k=3, **WHY)
        assert judge_criterion(Not(criterion=same), view).verdict is forms
        agree = RankAgreement(profiles=(before, after), at_least=0.95, **WHY)
        assert judge_criterion(agree, view).verdict is (SUPPORTED if last_means is top else REFUTED)


def test_selectors_take_the_rows_they_name():
    random = Adapted(parts=(Part(family="a", recipe=SOUND, kind=Kind.RANDOM),))
    assert Exactly(probe=A).keep(Adapted(parts=parts_of("a")), 4)
    for other in (B, random, BOTH, replace(A, rank=4), replace(A, only=(1,)), skip(0)):
        assert not Exactly(probe=A).keep(other, 4)
    under = Under(parts=A.parts, select=Singles())
    edited = Adapted(parts=A.parts, edit=skip(2), against="whole")
    assert under.keep(edited, 4)
    for other in (A, skip(2), replace(edited, parts=B.parts), replace(edited, parts=())):
        assert not under.keep(other, 4)
    mlp = Adapted(parts=A.parts, edit=zero(Stream.MLP_OUT, 0), against="whole")
    assert not under.keep(mlp, 4)
    assert Under(parts=A.parts, select=Sublayer(stream=Stream.MLP_OUT)).keep(mlp, 4)
    assert str(Under(parts=(), select=Singles())) == "every single block under no adapter"


def test_criteria_say_what_they_ask():
    gain = contrast((1.0, A), (-1.0, None), at_least=1.0)
    assert str(gain) == "in adapters, the sum (answer_logprob) is at least 1 nats"
    assert OfFamilies(families=("a",), criterion=gain).experiments == ("adapters",)
    assert Not(criterion=gain).rationale == "a test"
    assert "is smallest for a, of it and b, c" in str(leads("a", "smallest"))
    within = TrainedWithin(experiment="adapters", probe=A, metric="train_loss", at_most=0.1, **WHY)
    assert str(within) == "in adapters, train_loss of 'a (sound) on' is at most 0.1 in every training"
    assert "a, b, c, d, e" in str(differ())
    assert differ().experiments == ("profiles",)
    assert "L1-L2" in str(change_top(layers=(1, 2), at_least=1))


def measured_as_asked(protocol, seed):
    """A table of every experiment's own probes, of a model of 24 blocks; numbers of a training differ by row alone."""
    found = {}
    for experiment in (*adapter_experiments.EXPERIMENTS, *adapter_rank_blocks.EXPERIMENTS):
        if protocol not in experiment.protocols:
            continue
        probes = experiment.probes(protocol, Anatomy(n_layers=24))
        levels = np.random.default_rng(5).random(len(probes))
        made = table(
            probes,
            {"kl_nats": 1 + levels, "answer_logprob": -2 + levels},
            noise=0.05,
            families=adapter_experiments.FAMILIES,
            templates=8,
            prompts=1,
            seed=seed,
        )
        constants = {
            name: np.repeat(1 + levels[:, None], len(made.prompts), axis=1)
            for name in ("update_norm", "factor_norm", "train_loss")
        }
        texts = {"valid_json": np.ones_like(made.metrics["kl_nats"])} if experiment.generates else {}
        found[experiment.name] = replace(
            made,
            metrics={**made.metrics, **constants, **texts},
            baseline={
                **made.baseline,
                "answer_logprob": np.full(len(made.prompts), -3.0),
                **{name: values[0] for name, values in texts.items()},
            },
        )
    return found


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("chapter", [test_training_effects, test_lora_sweeps, test_training_dynamics])
def test_every_card_asks_for_rows_that_its_experiments_measure(chapter, protocol):
    by_seed = [measured_as_asked(protocol, seed) for seed in (42, 137)]
    tables = {name: pool([tables[name] for tables in by_seed]) for name in by_seed[0]}
    asked = [card for card in chapter.CLAIMS if protocol in card.criteria]
    judged = judge_chapter(asked, protocol, tables, n_layers=24)
    assert list(judged) == [card.id for card in asked]
    assert INVALID not in {judgement.verdict for judgement in judged.values()}
