"""Criteria on heads, and on parts of two models, just beyond each side of their boundaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.edits import Stream, patch, skip, zero
from harness.statistics.clusters import Clusters
from harness.verdicts.criteria import (
    EffectRatio,
    HeadRank,
    HeadRanksAgree,
    Part,
    ProfileOf,
    ShareChange,
    Specialist,
    TopHeadsIn,
)
from harness.verdicts.heads import excesses
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import EveryHead, HeadGroups, Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import MissingEvidence, Verdict

HEADS = [(layer, head) for layer in range(3) for head in range(4)]
PROBES = [zero(Stream.Z, layer, head) for layer, head in HEADS]
WHY = {"rationale": "a test"}


def heads(changes, *, base=0.05, noise=0.02, families=6, seed=42):
    """Every head moves every family by `base`; `changes` maps (head, family or None) to another mean."""
    means = np.full((len(HEADS), families), base)
    for (head, family), value in changes.items():
        means[HEADS.index(head), slice(None) if family is None else family] = value
    return measured(
        {"head_sweep": table(PROBES, {"kl_nats": means}, noise=noise, families=families, seed=seed)}, 3
    )


NAMED = Specialist(head=(1, 2), family="family03", factor=3.0, min_effect_nats=0.1, **WHY)
SOME = Specialist(factor=3.0, min_effect_nats=0.1, **WHY)


@pytest.mark.parametrize("criterion", [NAMED, SOME])
@pytest.mark.parametrize(
    ("own", "verdict"),
    [(0.6, Verdict.SUPPORTED), (0.3, Verdict.INCONCLUSIVE), (0.15, Verdict.REFUTED)],
)
def test_a_specialist_does_a_multiple_of_what_it_does_elsewhere(criterion, own, verdict):
    """Three times 0.1 is asked for."""
    view = heads({((1, 2), None): 0.1, ((1, 2), 3): own})
    finding = judge_criterion(criterion, view)
    assert finding.verdict is verdict, finding.sentence
    if verdict is Verdict.SUPPORTED:
        assert "L1H2 moves family03" in finding.sentence


@pytest.mark.parametrize(("own", "verdict"), [(0.13, Verdict.SUPPORTED), (0.07, Verdict.REFUTED)])
def test_a_specialist_has_an_effect_at_all(own, verdict):
    view = heads({((1, 2), 3): own}, base=0.001, noise=0.004)
    assert judge_criterion(NAMED, view).verdict is verdict
    assert judge_criterion(SOME, view).verdict is verdict


def test_no_specialist_is_discovered_among_heads_that_are_alike():
    """Twelve heads and six families are 72 chances."""
    found = [
        judge_criterion(Specialist(factor=1.0, min_effect_nats=0.01, **WHY), heads({}, seed=seed)).verdict
        for seed in range(40)
    ]
    assert found.count(Verdict.SUPPORTED) <= 2


def test_the_excess_is_welchs_test():
    """Of two families, a factor of 1 and no least effect: scipy's unequal-variance t-test."""
    rng = np.random.default_rng(3)
    clusters = Clusters(tuple(("a", f"t{i}") for i in range(5)) + tuple(("b", f"t{i}") for i in range(7)))
    values = rng.normal(1.0, 0.5, (4, 12))
    found = excesses(clusters, values, 1.0, -100.0)
    for row, p in zip(values, found.above[:, 0], strict=True):
        expected = stats.ttest_ind(row[:5], row[5:], equal_var=False, alternative="greater").pvalue
        assert p == pytest.approx(expected)


def test_a_specialist_needs_other_families_and_a_head_that_is_there():
    with pytest.raises(MissingEvidence, match="another family"):
        judge_criterion(SOME, heads({}, families=1))
    with pytest.raises(MissingEvidence, match="L9H9, which was not measured"):
        judge_criterion(Specialist(head=(9, 9), family="family03", **WHY), heads({}))
    with pytest.raises(ValueError, match="or neither"):
        Specialist(head=(0, 0), **WHY)


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(1, Verdict.SUPPORTED), (2, Verdict.REFUTED)],
)
def test_a_rank_is_how_many_are_ahead(ahead, verdict):
    changes = {((0, 0), None): 0.5, **{((2, i), None): 0.9 for i in range(ahead)}}
    criterion = HeadRank(head=(0, 0), families=("family00", "family01"), at_most=2, **WHY)
    finding = judge_criterion(criterion, heads(changes))
    assert finding.verdict is verdict, finding.sentence
    assert f"rank {ahead + 1} on family00" in finding.sentence


def test_a_rank_among_equals_is_undecided():
    criterion = HeadRank(head=(0, 0), families=("family00",), at_most=2, **WHY)
    assert judge_criterion(criterion, heads({})).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("outside", "verdict"),
    [(0.2, Verdict.SUPPORTED), (0.3, Verdict.INCONCLUSIVE), (0.4, Verdict.REFUTED)],
)
def test_the_strongest_heads_lie_in_a_block_or_not(outside, verdict):
    changes = {((0, i), None): 0.3 + 0.1 * i for i in range(4)} | {((2, 1), None): outside}
    finding = judge_criterion(TopHeadsIn(layer=0, k=4, **WHY), heads(changes))
    assert finding.verdict is verdict, finding.sentence
    assert judge_criterion(TopHeadsIn(layer=0, k=2, **WHY), heads(changes)).verdict is Verdict.SUPPORTED


RANKED = np.arange(12, 0, -1) / 10
SWAPPED = RANKED[[1, 0, 3, 2, 4, 5, 7, 6, 8, 9, 11, 10]]
ZEROED = ProfileOf(experiment="head_sweep", select=EveryHead(), noun="head")
RESAMPLED = ProfileOf(
    experiment="head_resample", select=HeadGroups(donor="resample", single=True), noun="head"
)


def ablated(zeroed, resampled, *, noise=1e-3, prompts=1, seed=42):
    """Two tables, with noise of their own; `prompts` a template of the sweep, and one of the other table.

    Of the same draw, unless another `seed` is given for the second.
    """
    probes = [patch(Stream.Z, layer, "resample", head) for layer, head in HEADS]
    sweep = table(PROBES, {"kl_nats": zeroed}, noise=noise, prompts=prompts)
    other = table(probes, {"kl_nats": resampled}, prompts=1, noise=noise, seed=7)
    records = tuple(
        replace(p, text=p.text.replace("seed 7", f"seed {seed}"), seed=seed) for p in other.prompts
    )
    return measured({"head_sweep": sweep, "head_resample": replace(other, prompts=records)}, 3)


def agree(at_least=0.7):
    return HeadRanksAgree(ablations=(ZEROED, RESAMPLED), at_least=at_least, **WHY)


@pytest.mark.parametrize(("off", "verdict"), [(-0.01, Verdict.SUPPORTED), (0.01, Verdict.REFUTED)])
def test_ablations_rank_the_heads_alike_up_to_their_spearman_correlation(off, verdict):
    truth = stats.spearmanr(RANKED, SWAPPED).statistic
    finding = judge_criterion(agree(truth + off), ablated(RANKED, SWAPPED))
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(truth)
    assert "Of 12 heads on 60 shared prompts" in finding.sentence


def test_ranks_of_heads_that_noise_decides_are_undecided():
    finding = judge_criterion(agree(0.5), ablated(1.0 + RANKED / 100, 1.0 + RANKED / 100, noise=0.3))
    assert finding.verdict is Verdict.INCONCLUSIVE, finding.sentence


def test_ablations_are_compared_on_the_prompts_that_all_were_measured_on():
    """Of two prompts a template the second is the sweep's alone, and there its heads rank the other way round."""
    view = ablated(RANKED, RANKED, prompts=2)
    alone = np.array([p.text.split()[2] == "1" for p in view.tables["head_sweep"].prompts])
    view.tables["head_sweep"].metrics["kl_nats"][:, alone] = RANKED[::-1, None]
    assert alone.sum() == 60
    finding = judge_criterion(agree(), view)
    assert finding.estimate.value == pytest.approx(1.0)
    assert finding.verdict is Verdict.SUPPORTED
    assert finding.estimate.n_prompts == 60


def test_heads_that_all_but_do_nothing_tie():
    """One head does everything; the others move the prompts by less than a ten-thousandth of a nat."""
    one = np.where(np.arange(12) == 5, 2.0, 1e-6 * np.arange(12))
    other = np.where(np.arange(12) == 5, 3.0, 1e-6 * np.arange(12)[::-1])
    finding = judge_criterion(agree(), ablated(one, other, noise=0.0))
    assert finding.verdict is Verdict.SUPPORTED
    assert finding.estimate.value == pytest.approx(1.0)


def test_heads_without_ranks_and_tables_that_do_not_meet_are_not_compared():
    assert judge_criterion(agree(), ablated([0.0] * 12, RANKED, noise=0.0)).verdict is Verdict.INVALID
    broken = ablated(RANKED, RANKED)
    broken.tables["head_resample"].metrics["kl_nats"][3, 4] = np.nan
    assert judge_criterion(agree(), measured({**broken.tables}, 3)).verdict is Verdict.INVALID
    with pytest.raises(MissingEvidence, match="share no prompt"):
        judge_criterion(agree(), ablated(RANKED, RANKED, seed=7))
    fewer = dict(ablated(RANKED, RANKED).tables)
    fewer["head_resample"] = fewer["head_resample"].select(lambda probe: probe.layers != (0,))
    with pytest.raises(MissingEvidence, match="hold other heads"):
        judge_criterion(agree(), measured(fewer, 3))
    with pytest.raises(ValueError, match="two of them at least"):
        HeadRanksAgree(ablations=(ZEROED,), at_least=0.7, **WHY)
    with pytest.raises(ValueError, match="between -1 and 1"):
        agree(1.0)


def _models(a_head, b_head, *, a_block=2.0, b_block=2.0):
    blocks = [skip(layer) for layer in range(3)]
    return {
        name: measured(
            {
                "head_sweep": table(PROBES, {"kl_nats": [0.01] * 11 + [head]}, noise=0.002, seed=seed),
                "layer_sweep": table(blocks, {"kl_nats": [0.3, block, 0.2]}, noise=0.02, seed=seed),
            },
            3,
        )
        for seed, (name, head, block) in enumerate((("a", a_head, a_block), ("b", b_head, b_block)))
    }


STRONGEST = Part(experiment="head_sweep", select=EveryHead())
BLOCK = Part(experiment="layer_sweep", select=Singles())


@pytest.mark.parametrize(
    ("b_head", "verdict"),
    [
        (0.55, Verdict.SUPPORTED),
        (0.50, Verdict.INCONCLUSIVE),
        (0.45, Verdict.REFUTED),
        (1.1, Verdict.REFUTED),
    ],
)
def test_a_ratio_of_two_models_lies_within_bounds(b_head, verdict):
    criterion = EffectRatio(model_a="a", model_b="b", part=STRONGEST, at_least=5.0, at_most=10.0, **WHY)
    finding = judge_joint_criterion(criterion, _models(0.1, b_head))
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(b_head / 0.1, rel=0.05)


def test_a_ratio_of_unlike_parts_is_taken_of_them():
    """0.5 nats of a head in b over 5 nats of a block in a."""
    criterion = EffectRatio(model_a="a", model_b="b", part=STRONGEST, part_a=BLOCK, at_least=0.05, **WHY)
    finding = judge_joint_criterion(criterion, _models(0.1, 0.5, a_block=5.0))
    assert finding.verdict is Verdict.SUPPORTED, finding.sentence
    assert finding.estimate.value == pytest.approx(0.1, rel=0.05)
    assert criterion.experiments == ("head_sweep", "layer_sweep")


@pytest.mark.parametrize(
    ("b_block", "verdict"),
    [(1.7, Verdict.SUPPORTED), (2.0, Verdict.INCONCLUSIVE), (2.3, Verdict.REFUTED)],
)
def test_a_share_grows_by_a_factor(b_block, verdict):
    criterion = ShareChange(model_a="a", model_b="b", part=STRONGEST, whole=BLOCK, factor=3.0, **WHY)
    finding = judge_joint_criterion(criterion, _models(0.1, 0.3, b_block=b_block))
    assert finding.verdict is verdict, finding.sentence


def test_a_model_that_was_not_measured_is_named():
    criterion = EffectRatio(model_a="a", model_b="c", part=STRONGEST, at_least=2.0, **WHY)
    with pytest.raises(MissingEvidence, match="compares 'c'"):
        judge_joint_criterion(criterion, _models(0.1, 0.3))
