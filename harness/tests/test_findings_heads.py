"""What a reader is told of heads: every verdict's whole finding, its p-value computed here by another way."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from scipy import stats

from harness.edits import Stream, patch, zero
from harness.statistics.bootstrap import bootstrap_p, sample
from harness.statistics.clusters import Clusters
from harness.verdicts.criteria import HeadRank, HeadRanksAgree, ProfileOf, Specialist, TopHeadsIn
from harness.verdicts.heads import excesses
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import EveryHead, HeadGroups
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY = {"rationale": "a test"}
LEAST_P = 2 / 10_000
"""Two-sided, where no resample of 9,999 contradicts."""
FAMILIES = ("a", "b", "c")


def heads(values, *, heads_a_block=2, families=FAMILIES, seed=42):
    """A sweep of heads [head, family, template], one prompt a template."""
    values = np.asarray(values, dtype=float)
    probes = [zero(Stream.Z, *divmod(i, heads_a_block)) for i in range(len(values))]
    shape = values.shape
    made = table(probes, {"kl_nats": [0.0] * len(probes)}, families=families, templates=shape[2], prompts=1)
    made.metrics["kl_nats"][:] = values.reshape(shape[0], -1)
    return measured({"head_sweep": made}, -(-len(values) // heads_a_block))


def scattered(means, *, spread=0.1, families=3, templates=6, seed=1):
    """Heads of these means, in every family or by family, whose templates scatter."""
    means = np.asarray(means, dtype=float)
    means = np.repeat(means[:, None], families, axis=1) if means.ndim == 1 else means
    noise = np.random.default_rng(seed).normal(0.0, spread, (len(means), families, templates))
    return means[:, :, None] + noise


def with_nan(view, experiment="head_sweep"):
    effects = view.tables[experiment]
    return measured({**view.tables, experiment: with_value(effects, "kl_nats", 1, 4, np.nan)}, view.n_layers)


def unmeasured(criterion, view):
    """The sentence on a view that holds a value that is not finite."""
    found = judge_criterion(criterion, view)
    assert found.verdict is Verdict.INVALID
    assert found.p_value is None
    return found.sentence


# Specialist


def welch(values, family_of, family, factor, least):
    """(above, below): of one head, family by family as a textbook has it."""
    names = sorted(set(family_of))
    parts = {name: values[[f == name for f in family_of]] for name in names}
    shown = {n: x.var(ddof=1) for n, x in parts.items() if len(x) > 1}
    if family not in shown:
        return 1.0, 1.0
    spread = {n: shown.get(n, np.mean(list(shown.values()))) / len(x) for n, x in parts.items()}
    share = factor / (len(names) - 1)
    terms = [(spread[family], len(parts[family]) - 1)]
    terms += [(share**2 * spread[n], max(1, len(parts[n]) - 1)) for n in names if n != family]
    total = sum(v for v, _ in terms)
    freedom = total**2 / sum(v**2 / df for v, df in terms)
    lead = parts[family].mean() - share * sum(parts[n].mean() for n in names if n != family)
    by_factor = lead / np.sqrt(total)
    by_size = (parts[family].mean() - least) / np.sqrt(spread[family])
    n = len(parts[family]) - 1
    above = max(stats.t.sf(by_factor, freedom), stats.t.sf(by_size, n))
    return above, min(stats.t.cdf(by_factor, freedom), stats.t.cdf(by_size, n))


@pytest.mark.parametrize("sizes", [(5, 4, 3), (6, 2, 1), (2, 1, 1), (4, 1)])
@pytest.mark.parametrize(("factor", "least"), [(1.0, 0.9), (1.5, 0.2)])
def test_the_excess_of_every_head_and_family_is_welch_s(sizes, factor, least):
    """A family of one template shows no spread of its own: it has p = 1, and among others counts with their mean."""
    keys = tuple((FAMILIES[f], f"t{i}") for f, n in enumerate(sizes) for i in range(n))
    values = np.random.default_rng(5).normal(1.0, 0.4, (3, len(keys)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = excesses(Clusters(keys), values, factor, least)
    for head in range(3):
        for f, family in enumerate(FAMILIES[: len(sizes)]):
            expected = welch(values[head], [k[0] for k in keys], family, factor, least)
            assert (found.above[head, f], found.below[head, f]) == pytest.approx(expected)
            assert 0.0 < found.above[head, f] <= 1.0
            own = [v for v, k in zip(values[head], keys, strict=True) if k[0] == family]
            assert found.own[head, f] == pytest.approx(np.mean(own))
            by_family = [
                np.mean([v for v, k in zip(values[head], keys, strict=True) if k[0] == name])
                for name in FAMILIES[: len(sizes)]
                if name != family
            ]
            assert found.others[head, f] == pytest.approx(np.mean(by_family))


@pytest.mark.parametrize("least", [0.5, 1.0])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 3, 3)])
def test_where_nothing_is_seen_to_vary_nothing_is_known_and_nothing_warns(sizes, least):
    keys = tuple((FAMILIES[f], f"t{i}") for f, n in enumerate(sizes) for i in range(n))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = excesses(Clusters(keys), np.ones((2, len(keys))), 1.0, least)
    np.testing.assert_array_equal(found.above, 1.0)
    np.testing.assert_array_equal(found.below, 1.0)


NAMED = Specialist(head=(1, 0), family="b", factor=2.0, min_effect_nats=0.1, **WHY)
SOME = Specialist(factor=2.0, min_effect_nats=0.1, **WHY)


@pytest.mark.parametrize(("own", "verdict"), [(1.1, SUPPORTED), (0.65, INCONCLUSIVE), (0.45, REFUTED)])
def test_what_is_said_of_a_named_specialist(own, verdict):
    means = np.full((4, 3), 0.3)
    means[2, 1] = own
    view = heads(scattered(means))
    values = view.tables["head_sweep"].metrics["kl_nats"][2]
    above, below = welch(values, [f for f in FAMILIES for _ in range(6)], "b", 2.0, 0.1)
    found = judge_criterion(NAMED, view)
    assert found.verdict is verdict, found.sentence
    p = min(1.0, 2 * (below if verdict is REFUTED else above))
    assert found.p_value == pytest.approx(p, rel=1e-9)
    moved, others = values[6:12].mean(), np.delete(values, range(6, 12)).mean()
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3g}"
    assert found.sentence == (
        f"L1H0 moves b by {moved:.3g} nats and the other families by {others:.3g} on average ({said})."
    )
    assert found.estimate is None


@pytest.mark.parametrize(("own", "verdict"), [(1.4, SUPPORTED), (0.65, INCONCLUSIVE), (0.3, REFUTED)])
def test_what_is_said_of_some_specialist(own, verdict):
    means = np.full((4, 3), 0.3)
    means[2, 1] = own
    view = heads(scattered(means, spread=0.1 if verdict is not REFUTED else 0.05))
    effects = view.tables["head_sweep"].metrics["kl_nats"]
    family_of = [f for f in FAMILIES for _ in range(6)]
    pairs = np.array([[welch(row, family_of, f, 2.0, 0.1) for f in FAMILIES] for row in effects])
    found = judge_criterion(SOME, view)
    assert found.verdict is verdict, found.sentence
    ordered = np.sort(pairs[..., 0].ravel())
    p = {
        REFUTED: 2 * pairs[..., 1].max(),
        SUPPORTED: 2 * min(p * 12 / (i + 1) for i, p in enumerate(ordered)),
    }.get(verdict)
    if p is not None:
        assert found.p_value == pytest.approx(p, rel=1e-9)
        assert 1e-9 < p < 0.02
    head, family = np.unravel_index(pairs[..., 0].argmin(), (4, 3))
    assert found.sentence.startswith(
        f"Of 12 pairs of head and family, L{head // 2}H{head % 2} moves {FAMILIES[family]} by "
    )


def test_a_specialist_that_cannot_be_judged():
    view = heads(scattered([0.3] * 4))
    with pytest.raises(MissingEvidence, match=r"^no prompt of the family d was measured$"):
        judge_criterion(Specialist(head=(0, 0), family="d", **WHY), view)
    with pytest.raises(MissingEvidence, match=r"^a specialist needs another family to be compared with$"):
        judge_criterion(SOME, heads(scattered([0.3] * 4, families=1), families=("a",)))
    said = unmeasured(NAMED, with_nan(view))
    assert said == (
        "Not a measurement: kl_nats of 'zero L0H1' is nan on the prompt 'a 4 0 of seed 42'; "
        "1 of 72 values are not finite."
    )
    message = "Specialist: name a head and its family, or neither; a factor is at least 1"
    for wrong in ({"head": (0, 0)}, {"family": "b"}, {"factor": 0.99}):
        with pytest.raises(ValueError, match=f"^{message}$"):
            Specialist(**wrong, **WHY)
    assert Specialist(factor=1.0, **WHY).factor == 1.0


# HeadRank


def losses(values, own, sign):
    """One-sided Student's t of every other head against this one, in every family (others, families)."""
    rivals = [i for i in range(len(values)) if i != own]
    return np.array(
        [
            [stats.ttest_1samp(sign * (values[own, f] - values[i, f]), 0.0, alternative="less").pvalue
             for f in range(values.shape[1])]
            for i in rivals
        ]
    )  # fmt: skip


def rank(at_most, *families):
    return HeadRank(head=(0, 1), families=families or ("a", "c"), at_most=at_most, **WHY)


def test_what_is_said_of_a_rank_that_holds_in_every_family():
    """k of n others may be ahead: k times the (n - k + 1)th smallest p-value, the larger of two families, doubled."""
    values = scattered([0.5, 1.0, 1.1, 0.5, 0.5, 0.5])
    found = judge_criterion(rank(3), heads(values))
    won = np.sort(losses(values, 1, -1.0), axis=0)
    assert found.verdict is SUPPORTED
    assert found.p_value == pytest.approx(2 * max(3 * won[5 - 3, f] for f in (0, 2)), rel=1e-9)
    assert found.p_value > 1e-8
    mean = values.mean(axis=2)
    ranks = [1 + (mean[:, f] > mean[1, f]).sum() for f in (0, 2)]
    assert (
        found.sentence
        == f"L0H1 has rank {ranks[0]} on a, {ranks[1]} on c of 6 heads (p = {found.p_value:.3g})."
    )


def test_what_is_said_of_a_rank_that_fails_in_one_family():
    """Two of five others beat it in one of two families: (n - k + 1) times the second smallest, for each family."""
    means = np.full((6, 3), 0.5)
    means[[2, 4], 2] = 1.1, 1.0
    values = scattered(means)
    found = judge_criterion(rank(2), heads(values))
    lost = np.sort(losses(values, 1, 1.0), axis=0)[1]
    assert found.verdict is REFUTED, found.sentence
    assert found.p_value == pytest.approx(2 * lost[2] * (5 - 2 + 1) * 2, rel=1e-9)
    assert found.p_value > 1e-4
    assert lost[0] > 20 * lost[2]
    mean = values.mean(axis=2)
    ranks = [1 + (mean[:, f] > mean[1, f]).sum() for f in (0, 2)]
    assert found.sentence == (
        f"L0H1 has rank {ranks[0]} on a, {ranks[1]} on c of 6 heads (p = {found.p_value:.3g})."
    )


def test_a_head_that_beats_some_and_ties_with_others_has_an_undecided_rank():
    values = scattered([0.1, 0.5, 0.5, 0.5, 0.1, 0.1])
    found = judge_criterion(rank(1), heads(values))
    assert found.verdict is INCONCLUSIVE, found.sentence
    worst = losses(values, 1, -1.0).max(axis=0)
    assert found.p_value == pytest.approx(2 * worst[[0, 2]].max(), rel=1e-9)


def test_the_last_of_all_heads_is_among_no_fewer_and_every_head_is_among_all():
    """As many are asked for as there are others: all of them are ahead of the weakest. One more, and nothing is."""
    values = scattered([0.9, 0.1, 0.9, 0.9])
    lost = losses(values, 1, 1.0).max(axis=0)
    found = judge_criterion(rank(3), heads(values))
    assert found.verdict is REFUTED
    assert found.p_value == pytest.approx(2 * lost[[0, 2]].min() * 2, rel=1e-9)
    found = judge_criterion(rank(4), heads(values))
    assert found.verdict is SUPPORTED
    assert found.p_value == 0.0


def test_a_rank_that_cannot_be_judged():
    view = heads(scattered([0.3] * 4))
    with pytest.raises(MissingEvidence, match=r"^no prompt of the families d, e was measured$"):
        judge_criterion(rank(2, "a", "d", "e"), view)
    assert unmeasured(rank(2), with_nan(view)).startswith("Not a measurement: kl_nats of 'zero L0H1' is nan")


# TopHeadsIn


def blocks(inside, outside, templates=8):
    """Two heads of L0, and those of L1 and L2, two each, on one family; each given by its templates' values."""
    values = np.array([*inside, *outside], dtype=float)[:, None, :]
    return heads(np.broadcast_to(values, (len(values), 1, templates)), families=("a",))


def flat(*means):
    return [np.full(8, mean) for mean in means]


WAVE = np.array([1, -1, 1, -1, 1, -1, 1, -1]) / 16
"""Means and shares of eight are exact in binary."""


@pytest.mark.parametrize(
    ("outside", "verdict", "p"),
    [(0.25, SUPPORTED, LEAST_P), (0.5, INCONCLUSIVE, 1.0), (0.75, REFUTED, LEAST_P)],
)
def test_what_is_said_of_the_strongest_heads(outside, verdict, p):
    inside = [1.0 + WAVE, 0.5 + WAVE]
    view = blocks(inside, [0.125 + WAVE, outside + WAVE, 0.0625 + WAVE, 0.125 + WAVE])
    found = judge_criterion(TopHeadsIn(layer=0, k=2, **WHY), view)
    assert found.verdict is verdict, found.sentence
    assert found.p_value == pytest.approx(p)
    lead, sizes = 0.5 - outside, "(8 prompts, 8 templates)"
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx((lead,) * 3)
    assert (found.estimate.unit, found.estimate.n_prompts, found.estimate.n_templates) == ("nats", 8, 8)
    rows = sample(Clusters(tuple(("a", f"t{i}") for i in range(8))), (outside + WAVE)[None], "kl_nats")
    said = "p < 0.001" if p < 0.001 else "p = 1"
    assert found.sentence == (
        "The head of rank 2 in L0 leads the strongest outside it, "
        f"L1H1 with {rows.estimate(0)}, by {lead:.3g} [{lead:.3g}, {lead:.3g}] nats {sizes} ({said})."
    )


def test_an_exact_tie_of_heads_decides_nothing():
    found = judge_criterion(TopHeadsIn(layer=0, k=2, **WHY), blocks(flat(0, 0), flat(0, 0)))
    assert found.verdict is INCONCLUSIVE
    assert found.p_value == 1.0


def test_a_rival_that_leads_on_one_template_alone_refutes_nothing():
    """Of resamples of eight templates four in ten lack it: there both do nothing at all."""
    rival = np.array([0.0, 0, 0, 0, 0, 0, 0, 1])
    found = judge_criterion(TopHeadsIn(layer=0, k=2, **WHY), blocks(flat(0, 0), [rival, rival]))
    assert found.estimate.value == -1 / 8
    assert found.verdict is INCONCLUSIVE, found.sentence


@pytest.mark.parametrize("lead", [1 / 64, 0.0])
def test_a_block_that_leads_or_ties_is_not_refuted_because_noise_lifts_the_best_of_its_rivals(lead):
    """In next to all resamples one of six rivals, three and their mirror images, is ahead."""
    rng, noise = np.random.default_rng(0), np.array([8.0, -8.0, 4.0, -4.0, 2.0, -2.0, 1.0, -1.0])
    scatter = [rng.permutation(noise) for _ in range(3)]
    view = blocks(flat(1.0, 1.0), [1 - lead + sign * x for x in scatter for sign in (1, -1)])
    rows = view.tables["head_sweep"].metrics["kl_nats"]
    drawn = sample(Clusters(tuple(("a", f"t{i}") for i in range(8))), rows, "kl_nats").draws
    ahead = drawn[:, 1] - drawn[:, 2:].max(axis=1)
    assert 2 * bootstrap_p(ahead >= 0) <= 0.02
    found = judge_criterion(TopHeadsIn(layer=0, k=2, **WHY), view)
    assert found.estimate.value == lead
    assert found.verdict is INCONCLUSIVE, found.sentence
    assert found.p_value == 1.0


def test_a_block_without_enough_heads_or_without_rivals_is_missing_evidence():
    view = blocks(flat(1.0, 0.5), flat(0.1, 0.2, 0.3, 0.4))
    message = "3 heads of L0 are to lead: it has 2, other blocks 4"
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        judge_criterion(TopHeadsIn(layer=0, k=3, **WHY), view)
    alone = blocks(flat(1.0, 0.5), [])
    with pytest.raises(MissingEvidence, match=r"^2 heads of L0 are to lead: it has 2, other blocks 0$"):
        judge_criterion(TopHeadsIn(layer=0, k=2, **WHY), alone)
    said = unmeasured(TopHeadsIn(layer=0, k=2, **WHY), with_nan(view))
    assert said.startswith("Not a measurement: kl_nats of 'zero L0H1' is nan")


# HeadRanksAgree

ZEROED = ProfileOf(experiment="head_sweep", select=EveryHead(), noun="head")
RESAMPLED = ProfileOf(
    experiment="head_resample", select=HeadGroups(donor="resample", single=True), noun="head"
)
AGREE = HeadRanksAgree(ablations=(ZEROED, RESAMPLED), at_least=0.5, **WHY)


def ablations(one, other, *, order=range(6), prompts=slice(None), spread=0.0):
    """Two sweeps of six heads; of the second, the heads in another order, or on fewer prompts."""
    view = heads(scattered(one, spread=spread))
    swept = view.tables["head_sweep"]
    probes = [patch(Stream.Z, i // 2, "resample", i % 2) for i in order]
    second = table(probes, {"kl_nats": [0.0] * 6}, families=FAMILIES, templates=6, prompts=1)
    values = scattered(other, spread=spread, seed=2).reshape(6, -1)[list(order)]
    made = type(second)(
        probes=second.probes,
        prompts=second.prompts[prompts],
        metrics={"kl_nats": values[:, prompts]},
        baseline={},
    )
    return measured({"head_sweep": swept, "head_resample": made}, 3)


RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


@pytest.mark.parametrize(
    ("other", "value", "verdict"),
    [([0.2, 0.1, 0.3, 0.4, 0.5, 0.6], 1 - 12 / 210, SUPPORTED), (RISING[::-1], -1.0, REFUTED)],
)
def test_what_is_said_of_ablations_that_rank_heads(other, value, verdict):
    found = judge_criterion(AGREE, ablations(RISING, other, prompts=slice(0, 12)))
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(LEAST_P)
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx((value,) * 3)
    assert (found.estimate.unit, found.estimate.n_prompts, found.estimate.n_templates) == ("Spearman", 12, 12)
    assert found.sentence == (
        "Of 6 heads on 12 shared prompts. Least alike are 'every single head' and 'every head from the donor "
        f"'resample'': {value:.3g} [{value:.3g}, {value:.3g}] Spearman (12 prompts, 12 templates); 0.5 is asked for "
        "(p < 0.001)."
    )


def test_ablations_whose_agreement_is_undecided():
    found = judge_criterion(AGREE, ablations(RISING, RISING, spread=0.4))
    assert found.verdict is INCONCLUSIVE
    assert found.p_value > 0.02


def test_ablations_that_cannot_be_compared():
    tables = "head_sweep, head_resample"
    with pytest.raises(MissingEvidence, match=f"^{tables} hold other heads, or heads in another order$"):
        judge_criterion(AGREE, ablations(RISING, RISING, order=[1, 0, 2, 3, 4, 5]))
    other_heads = with_nan(ablations(RISING, RISING, order=[1, 0, 2, 3, 4, 5]), "head_resample")
    assert "is nan on the prompt" in unmeasured(AGREE, other_heads), "numbers before names"
    view = ablations(RISING, RISING)
    lost = view.tables["head_resample"]
    apart = type(lost)(
        probes=lost.probes,
        prompts=tuple(type(p)(**{**vars(p), "text": p.text + "!"}) for p in lost.prompts),
        metrics=lost.metrics,
        baseline={},
    )
    with pytest.raises(MissingEvidence, match=f"^{tables} share no prompt$"):
        judge_criterion(AGREE, measured({**view.tables, "head_resample": apart}, 3))
    assert unmeasured(AGREE, ablations(RISING, [0.3] * 6)) == (
        "Not a measurement: every single head, or every head from the donor 'resample', moves the prompts alike for "
        "all heads: no ranks."
    )
    said = unmeasured(AGREE, with_nan(view, "head_resample"))
    assert said.startswith("Not a measurement: kl_nats of 'patch L0H1 from resample' is nan on the prompt")


@pytest.mark.parametrize("at_least", [-1.0, 1.0, -1.5, 1.5])
def test_a_correlation_lies_between_minus_one_and_one(at_least):
    message = f"HeadRanksAgree of 2 ablations at {at_least}: two of them at least, and a correlation between -1 and 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        HeadRanksAgree(ablations=(ZEROED, RESAMPLED), at_least=at_least, **WHY)
    with pytest.raises(ValueError, match="of 1 ablations at 0.5"):
        HeadRanksAgree(ablations=(ZEROED,), at_least=0.5, **WHY)


# What is asked


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (
            NAMED,
            "zeroing L1H0 moves b by at least 0.1 nats and 2 times as much as the other families on average",
        ),
        (
            Specialist(factor=2.5, min_effect_nats=0.25, **WHY),
            "zeroing some head moves some family by at least 0.25 nats and 2.5 times as much as the other families "
            "on average",
        ),
        (rank(3), "L0H1 is among the 3 strongest heads on a, c"),
        (TopHeadsIn(layer=2, k=4, **WHY), "the 4 strongest heads by mean kl_nats all lie in L2"),
        (
            AGREE,
            "every two of these rank the heads alike, by Spearman at 0.5 or more: every single head, every head from "
            "the donor 'resample'",
        ),
    ],
)
def test_a_criterion_on_heads_says_what_it_asks(criterion, text):
    assert str(criterion) == text
    assert criterion.experiments == (
        ("head_sweep", "head_resample") if criterion is AGREE else ("head_sweep",)
    )
