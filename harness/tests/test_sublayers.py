"""Criteria on sublayers at their boundaries, donors and means against plain hooks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from harness.donors import DonorRequest, align, build_donors
from harness.edits import Site, Stream, patch, zero
from harness.effects import PromptRecord
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.means import site_moments
from harness.engine.sweep import Item
from harness.experiments import EXPERIMENTS
from harness.figures.sublayers import draw_sublayers
from harness.measure import draw_prompts
from harness.protocols import Protocol
from harness.verdicts.criteria import (
    Condition,
    EffectOrder,
    ExtremeLayer,
    ProfileOf,
    ProfilesAgree,
    RankAgreement,
    SameEffect,
    TopLead,
    TopOverlap,
)
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Sublayer
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

ZERO = ProfileOf(experiment="sublayer_sweep", select=Sublayer(stream=Stream.MLP_OUT), noun="MLP")
MEAN = ProfileOf(
    experiment="sublayer_sweep", select=Sublayer(stream=Stream.MLP_OUT, donor="mean"), noun="MLP"
)
WHY = {"rationale": "a test"}


def mlps(zeroed, mean=None, *, noise=0.05):
    """A table of MLPs zeroed, and at their mean, with these true mean effects per layer."""
    probes = [zero(Stream.MLP_OUT, layer) for layer in range(len(zeroed))]
    values = list(zeroed)
    if mean is not None:
        probes += [patch(Stream.MLP_OUT, layer, "mean") for layer in range(len(mean))]
        values += list(mean)
    return measured({"sublayer_sweep": table(probes, {"kl_nats": values}, noise=noise)}, len(zeroed))


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([3.2, 1.0, 3.3, 0.5], Verdict.SUPPORTED),
        ([3.0, 1.0, 3.3, 0.5], Verdict.INCONCLUSIVE),
        ([2.8, 1.0, 3.3, 0.5], Verdict.REFUTED),
    ],
)
def test_a_lead_by_a_factor_is_told_at_its_boundary(means, verdict):
    finding = judge_criterion(TopLead(layers=(0, 2), factor=3.0, of=ZERO, **WHY), mlps(means))
    assert finding.verdict is verdict, finding.sentence
    assert "L0 moves" in finding.sentence
    assert "L1" in finding.sentence


def test_a_lead_over_nobody_is_missing_evidence():
    with pytest.raises(MissingEvidence, match="every layer"):
        judge_criterion(TopLead(layers=(0, 1), factor=1.0, of=ZERO, **WHY), mlps([1.0, 2.0]))
    with pytest.raises(ValueError, match="at least 1"):
        TopLead(layers=(0,), factor=0.5, **WHY)


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0.9, Verdict.SUPPORTED), (1.0, Verdict.INCONCLUSIVE), (1.1, Verdict.REFUTED)],
)
def test_an_order_of_ablations_is_told_at_its_boundary(mean, verdict):
    order = EffectOrder(experiment="sublayer_sweep", groups={"zero": ZERO.select, "mean": MEAN.select}, **WHY)
    finding = judge_criterion(order, mlps([1.0, 1.0, 1.0], [mean] * 3))
    assert finding.verdict is verdict, finding.sentence
    assert finding.sentence.startswith("Means over layers: zero ")


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        ([9.0, 7.0, 8.0, 5.0, 6.0, 4.0], Verdict.SUPPORTED),  # two swaps of neighbours: 0.886
        ([4.0, 5.0, 6.0, 7.0, 8.0, 9.0], Verdict.REFUTED),
    ],
)
def test_profiles_agree_in_rank_or_do_not(mean, verdict):
    profiles = mlps([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], mean)
    finding = judge_criterion(RankAgreement(profiles=(ZERO, MEAN), at_least=0.8, **WHY), profiles)
    assert finding.verdict is verdict, finding.sentence
    expected = spearmanr([9, 8, 7, 6, 5, 4], mean).statistic
    assert finding.estimate.value == pytest.approx(expected)


def test_ranks_that_noise_decides_are_undecided():
    profiles = mlps([1.0] * 8, [1.0] * 8, noise=0.5)
    finding = judge_criterion(RankAgreement(profiles=(ZERO, MEAN), at_least=0.5, **WHY), profiles)
    assert finding.verdict is not Verdict.SUPPORTED


ZEROED, FROM_CLEAN = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0], [9.0, 7.0, 8.0, 5.0, 6.0, 4.0]


def across(*, noise=0.05, seed=42, families=12):
    """MLPs zeroed, and taken from the clean prompt into the corrupt run: other prompts of the same templates."""
    zeroed = table([zero(Stream.MLP_OUT, layer) for layer in range(6)], {"kl_nats": ZEROED}, noise=noise)
    patched = table(
        [patch(Stream.MLP_OUT, layer, "clean") for layer in range(6)],
        {"kl_nats": FROM_CLEAN},
        noise=noise,
        seed=seed,
        families=families,
    )
    return measured({"sublayer_sweep": zeroed, "sublayer_clean": patched}, 6)


def like_zero(at_least):
    clean = ProfileOf(
        experiment="sublayer_clean", select=Sublayer(stream=Stream.MLP_OUT, donor="clean"), noun="MLP"
    )
    conditions = Condition(name="zero", parts=(ZERO,)), Condition(name="corrupt-to-clean", parts=(clean,))
    return ProfilesAgree(conditions=conditions, at_least=at_least, **WHY)


@pytest.mark.parametrize(("off", "verdict"), [(-0.01, Verdict.SUPPORTED), (0.01, Verdict.REFUTED)])
def test_an_ablation_of_another_experiment_agrees_with_zero_up_to_its_correlation(off, verdict):
    truth = spearmanr(ZEROED, FROM_CLEAN).statistic
    finding = judge_criterion(like_zero(truth + off), across(seed=7))
    assert finding.verdict is verdict, finding.sentence
    assert finding.estimate.value == pytest.approx(truth)
    assert finding.sentence.startswith("Least alike are zero and corrupt-to-clean")


def test_the_interval_of_two_experiments_takes_no_noise_for_shared():
    """Noise that each experiment has of its own scatters the order of both."""
    finding = judge_criterion(like_zero(0.7), across(noise=5.0, seed=7))
    assert finding.verdict is Verdict.INCONCLUSIVE, finding.sentence
    assert finding.estimate.low < 0.5


@pytest.mark.parametrize("seed", [42, 137])
def test_the_pair_ablations_ask_the_questions_of_the_sweep_and_swap_prompts_of_equal_length(subject, seed):
    sweep, corrupt, clean = (
        draw_prompts(subject.loaded, EXPERIMENTS[f"sublayer_{name}"], seed)
        for name in ("sweep", "corrupt", "clean")
    )
    assert corrupt.records == sweep.records
    assert [item.ids for item in corrupt.items] == list(clean.clean)
    assert [item.ids for item in clean.items] == list(corrupt.corrupt)
    for one, other in zip(corrupt.items, clean.items, strict=True):
        assert len(one.ids) == len(other.ids)
        assert one.ids != other.ids
        assert (one.answer, one.foil) == (other.answer, other.foil)


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        ([9.0, 8.0, 1.0, 7.0, 2.0], Verdict.SUPPORTED),  # two of three
        ([9.0, 1.0, 1.5, 7.0, 8.0], Verdict.REFUTED),  # one of three
    ],
)
def test_the_overlap_of_the_top_three(mean, verdict):
    profiles = mlps([9.0, 8.0, 7.0, 2.0, 1.0], mean)
    finding = judge_criterion(TopOverlap(profiles=(ZERO, MEAN), at_least=2.0, k=3, **WHY), profiles)
    assert finding.verdict is verdict, finding.sentence


def test_the_criteria_on_profiles_read_the_part_they_are_given():
    view = mlps([1.0, 3.0, 2.0], [3.0, 1.0, 2.0])
    strongest = {of.select: [] for of in (ZERO, MEAN)}
    for of in (ZERO, MEAN):
        for layer in range(3):
            criterion = ExtremeLayer(layer=layer, which="strongest", of=of, **WHY)
            assert "MLP" in str(criterion)
            if judge_criterion(criterion, view).verdict is Verdict.SUPPORTED:
                strongest[of.select].append(layer)
    assert list(strongest.values()) == [[1], [0]]


def _modules(gap):
    probes = [zero(stream, layer) for layer in range(2) for stream in (Stream.V, Stream.O)]
    same = table(probes, {"kl_nats": [2.0] * 4}, noise=0.0)
    return measured({"module_sweep": with_value(same, "kl_nats", 3, 5, 2.0 + gap)}, 2)


@pytest.mark.parametrize(("gap", "verdict"), [(2.9e-4, Verdict.SUPPORTED), (3.1e-4, Verdict.REFUTED)])
def test_one_prompt_beyond_rounding_refutes_an_identity(gap, verdict):
    finding = judge_criterion(SameEffect(streams=(Stream.V, Stream.O), **WHY), _modules(gap))
    assert finding.verdict is verdict, finding.sentence
    assert "'zero v L1' and 'zero o L1'" in finding.sentence


def test_moments_are_those_of_hooked_runs(tiny, items):
    """Prompts that begin alike share rows in the engine: each must count as often as prompts pass through it."""
    model = tiny("gemma3_text")
    prompts = [item.ids for item in items((5, 7, 6))]
    prompts.append((*prompts[0][:3], 11, 12))
    sites = [
        Site(layer=1, stream=Stream.ATTN_OUT),
        Site(layer=2, stream=Stream.MLP_OUT),
        Site(layer=3, stream=Stream.Z, head=2),
    ]
    found = site_moments(Stack(model), prompts, heads=True)
    for site in sites:
        rows = []
        for ids in prompts:
            with torch.no_grad(), naive.activations(model, [site]) as seen:
                model(input_ids=torch.tensor([list(ids)]))
            rows.append(seen[site][0].double())
        first, later = torch.stack([row[0] for row in rows]), torch.cat([row[1:] for row in rows])
        for i, values in enumerate((first, later)):
            torch.testing.assert_close(found[site].mean[i].double(), values.mean(dim=0), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                found[site].norm[i].double(), values.norm(dim=1).mean(), atol=1e-5, rtol=1e-4
            )


def _request(tiny, items, families):
    rows = items(tuple(range(5, 5 + len(families))))
    stack = Stack(tiny("llama"))
    records = [
        PromptRecord(
            text=f"{i}",
            answer="a",
            foil="b",
            family=family,
            template=f"t{i}",
            n_tokens=len(rows[i].ids),
            seed=3,
        )
        for i, family in enumerate(families)
    ]
    moments = site_moments(stack, [item.ids for item in rows])
    return DonorRequest(
        stack=stack,
        items=rows,
        records=records,
        clean=[item.ids for item in rows],
        corrupt=[item.ids for item in rows],
        moments=lambda: moments,
        seed=3,
    )


def test_donors_are_what_their_names_say(tiny, items):
    request = _request(tiny, items, ["x", "x", "y", "y", "y"])
    found = build_donors(("mean", "noise", "resample"), request)
    site = Site(layer=2, stream=Stream.MLP_OUT)
    moments = request.moments()[site]
    assert torch.equal(found["mean"][site], moments.mean)
    assert found["noise"][site].norm(dim=1) == pytest.approx(moments.norm)
    assert abs(float(torch.cosine_similarity(found["noise"][site], moments.mean, dim=1).max())) < 0.6
    for i, donor in enumerate(found["resample"]):
        assert len(donor) == len(request.items[i].ids)
        others = [
            j for j, r in enumerate(request.records) if r.family == request.records[i].family and j != i
        ]
        assert donor in [align(request.items[j].ids, len(donor)) for j in others]
    with pytest.raises(KeyError, match="nobody"):
        build_donors(("nobody",), request)


def test_resampling_needs_a_second_prompt_of_the_family(tiny, items):
    with pytest.raises(ValueError, match="'y' has a single prompt"):
        build_donors(("resample",), _request(tiny, items, ["x", "x", "y"]))


def test_donor_prompts_end_where_the_prediction_is_read():
    assert align((1, 2, 3, 4), 2) == (3, 4)
    assert align((1, 2), 5) == (2, 1, 2, 1, 2)
    assert Item(ids=align((1, 2), 3), answer=0, foil=1).ids == (2, 1, 2)


def test_the_figure_has_a_line_for_every_ablation_that_was_measured():
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    streams = (Stream.ATTN_OUT, Stream.MLP_OUT)

    def made(make, *means):
        probes = [make(stream, layer) for stream in streams for layer in (1, 0)]
        return table(probes, {"kl_nats": means}, noise=1e-6)

    tables = {
        ("sublayer_sweep", Protocol.SOUND): made(zero, 1.0, 2.0, 3.0, 4.0),
        ("sublayer_clean", Protocol.SOUND): made(
            lambda s, layer: patch(s, layer, "clean"), 0.1, 0.2, 0.3, 0.4
        ),
    }
    figure = plt.figure()
    draw_sublayers(figure, {("sublayer_sweep", Protocol.PUBLISHED): tables["sublayer_sweep", Protocol.SOUND]})
    assert [len(axis.lines) for axis in figure.axes] == [0, 0]
    plt.close(figure)
    others = [patch(stream, 0, donor) for stream in streams for donor in ("mean", "noise", "resample")]
    more = table(others, {"kl_nats": [1.0] * 6}, noise=1e-6)
    sweep = tables["sublayer_sweep", Protocol.SOUND]
    tables["sublayer_sweep", Protocol.SOUND] = replace(
        sweep,
        probes=(*sweep.probes, *more.probes),
        metrics={"kl_nats": np.concatenate([sweep.metrics["kl_nats"], more.metrics["kl_nats"]])},
    )
    figure = plt.figure()
    draw_sublayers(figure, tables)
    attention, mlp = figure.axes
    assert [len(axis.lines) for axis in (attention, mlp)] == [5, 5]
    names = [line.get_label() for line in mlp.lines]
    assert "in the corrupt run, from the clean one" in names
    assert "from the corrupt prompt" not in names
    np.testing.assert_allclose(mlp.lines[-1].get_ydata(), [0.3, 0.4], atol=1e-4)
    plt.close(figure)
