"""What a reader is told of other prompts: the whole finding of every verdict, its p-value found here by another way."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from harness.edits import Stream, skip
from harness.statistics.bootstrap import percentile_interval, sample
from harness.statistics.clusters import Clusters
from harness.verdicts.criteria import (
    Condition,
    OnePromptMisleads,
    ProfileOf,
    ProfilesAgree,
    SameTop,
    TopMoves,
)
from harness.verdicts.judging import judge_criterion
from harness.verdicts.matching import questions
from harness.verdicts.reading import make_profile, measured
from harness.verdicts.robustness import Peak, _resampled, read_condition
from harness.verdicts.selectors import Singles, Sublayer
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY = {"rationale": "a test"}
SIZES = "120 prompts, 60 templates"
LEAST_P = 2 / 10_000
"""Two-sided, where no resample of 9,999 contradicts."""
SIGN_FLIP_P = 1 / 10_000
"""Where no sign flip of 9,999 is as extreme."""


def condition(experiment, *families, name=""):
    of = ProfileOf(experiment=experiment, select=Singles(), noun="block")
    return Condition(name=name or experiment, parts=(of,), families=families)


def sweep_of(means, **how):
    return table([skip(layer) for layer in range(len(means))], {"kl_nats": means}, **how)


def exact(values, family="json"):
    """A sweep of one family with these effects [layer, template], one prompt a template."""
    values = np.array(values, dtype=float)
    made = sweep_of([0.0] * len(values), families=[family], templates=values.shape[1], prompts=1)
    made.metrics["kl_nats"][:] = values
    return made


def over(kind, tables, *families, **more):
    conditions = tuple(condition(name, *families) for name in tables)
    return judge_criterion(kind(conditions=conditions, **WHY, **more), measured(tables))


def said_p(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def numbers(estimate):
    return (
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.unit,
        estimate.n_prompts,
        estimate.n_templates,
    )


# SameTop and TopMoves over many families

HERE, THERE, TIED = [3.0, 1.0, 0.5], [1.0, 4.0, 0.5], [3.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("two", "found", "p", "said"),
    [
        (HERE, "stays", SIGN_FLIP_P, "L0 with 3 nats, separated from L1 with 1 nats"),
        (THERE, "moves", 2 * SIGN_FLIP_P, "L1 with 4 nats, separated from L0 with 1 nats"),
    ],
)
@pytest.mark.parametrize("kind", [SameTop, TopMoves])
def test_what_is_said_of_a_top_that_stays_or_moves(kind, two, found, p, said):
    """Moved: in either order, hence twice the p-value."""
    tables = {"short": sweep_of(HERE, noise=1e-7), "long": sweep_of(two, noise=1e-7, seed=7)}
    finding = over(kind, tables)
    claimed = "stays" if kind is SameTop else "moves"
    assert finding.verdict is (SUPPORTED if found == claimed else REFUTED)
    assert finding.p_value == pytest.approx(p)
    assert numbers(finding.estimate) == pytest.approx((3.0, 3.0, 3.0, "nats", 120, 60), abs=1e-5)
    assert finding.sentence == (
        f"On top is, in short: L0 with 3 nats, separated from L1 with 1 nats (p < 0.001; {SIZES}); "
        f"long: {said} (p < 0.001; {SIZES}): so it {found} (p < 0.001)."
    )


@pytest.mark.parametrize("kind", [SameTop, TopMoves])
@pytest.mark.parametrize("seed", [3, 7])
def test_what_is_said_of_a_top_that_ties(kind, seed):
    tables = {"short": sweep_of(HERE, noise=1e-7), "long": sweep_of(TIED, noise=0.1, seed=seed)}
    finding = over(kind, tables)
    view = measured(tables)
    first, second = (Peak(condition=c, profile=read_condition(c, view)) for c in map(condition, tables))
    assert 0.01 < second.p_separated < 1.0
    assert finding.verdict is INCONCLUSIVE
    if second.top == 0:
        assert finding.p_value == pytest.approx(second.p_separated)
    else:
        p = min(
            max(first.p_separated, second.p_beaten(0)), max(second.p_separated, first.p_beaten(second.top))
        )
        assert finding.p_value == pytest.approx(min(1.0, 2 * p))
    mean = [f"{second.means[i]:.3g}" for i in (second.top, 1 - second.top)]
    assert finding.sentence == (
        f"On top is, in short: L0 with 3 nats, separated from L1 with 1 nats (p < 0.001; {SIZES}); "
        f"long: L{second.top} with {mean[0]} nats, in a tie with L{1 - second.top} with {mean[1]} nats "
        f"({said_p(second.p_separated)}; {SIZES}): which leaves it open."
    )


# SameTop and TopMoves in one family: Student's t

WAVE = np.array([1.0, -1.0, 0.5, -0.5, 0.25])


def paired(one, two):
    """One-sided p-value of 'one is not ahead of two'."""
    return stats.ttest_rel(one, two, alternative="greater").pvalue


def test_in_one_family_a_top_stays_by_its_nearest_rival_in_the_least_sure_condition():
    sure = [2.0 + 0.1 * WAVE, np.full(5, 1.0), np.full(5, 0.5)]
    less = [2.0 + 0.1 * WAVE, 1.3 + 0.2 * WAVE[::-1], np.full(5, 1.4)]
    p = 2 * max(paired(less[0], rival) for rival in less[1:])
    p_sure = 2 * max(paired(sure[0], rival) for rival in sure[1:])
    assert p_sure < p < 0.01
    for kind, verdict in ((SameTop, SUPPORTED), (TopMoves, REFUTED)):
        found = over(kind, {"short": exact(sure), "long": exact(less)}, "json")
        assert found.verdict is verdict, found.sentence
        assert found.p_value == pytest.approx(p, rel=1e-9)
        assert found.estimate is None
        assert found.sentence == (
            f"On top is, in short: L0 with {np.mean(sure[0]):.3g} nats, separated from L1 with 1 nats "
            f"({said_p(p_sure)}; 5 prompts, 5 templates); long: L0 with {np.mean(less[0]):.3g} nats, separated from L2 "
            f"with 1.4 nats ({said_p(p)}; 5 prompts, 5 templates): so it stays ({said_p(p)})."
        )


def test_in_one_family_a_top_moves_by_the_surest_of_those_above_it():
    """Of three rivals the top of the second condition is above L0 surely: three times its p-value, two-sided, twice."""
    one = [2.0 + 0.1 * WAVE, np.full(5, 1.0), np.full(5, 0.5), np.full(5, 0.5)]
    two = [1.0 + 0.2 * WAVE, 1.5 + 0.3 * WAVE[::-1], 1.6 - 0.6 * WAVE, np.full(5, 0.5)]
    p_first = 2 * max(paired(one[0], rival) for rival in one[1:])
    above = min(paired(rival, two[0]) for rival in two[1:])
    beaten = min(1.0, 2 * 3 * above, 2 * max(paired(two[2], two[i]) for i in (0, 1, 3)))
    p = 2 * max(p_first, beaten)
    for kind in (SameTop, TopMoves):
        found = over(kind, {"short": exact(one), "long": exact(two)}, "json")
        assert found.p_value == pytest.approx(p, rel=1e-9)
        assert 0.01 < p < 1.0
        assert found.verdict is INCONCLUSIVE, found.sentence
        assert found.sentence.endswith(": which leaves it open.")
    clear = [two[0], 2.2 + 0.3 * WAVE[::-1], np.full(5, 0.5), np.full(5, 0.5)]
    beaten = 2 * min(3 * paired(clear[1], clear[0]), max(paired(clear[1], clear[i]) for i in (0, 2, 3)))
    p = 2 * max(p_first, beaten)
    for kind, verdict in ((SameTop, REFUTED), (TopMoves, SUPPORTED)):
        found = over(kind, {"short": exact(one), "long": exact(clear)}, "json")
        assert found.p_value == pytest.approx(p, rel=1e-9)
        assert found.verdict is verdict, found.sentence
        assert found.sentence.endswith(f": so it moves ({said_p(p)}).")


@pytest.mark.parametrize(
    ("third", "sharper"), [(0.9 + 0.2 * WAVE[::-1], "over all"), (1.55 + 0.3 * WAVE, "looked for")]
)
def test_in_one_family_a_block_is_beaten_by_the_top_of_all_or_by_one_that_was_looked_for(third, sharper):
    """Whichever is sharper: the top against every other block, or three looks at who is above this one."""
    values = [1.0 + 0.2 * WAVE, np.full(5, 1.6), third, 0.8 + 0.2 * WAVE[::-1]]
    looked = 2 * 3 * min(paired(rival, values[0]) for rival in values[1:])
    over_all = 2 * max(paired(values[1], values[i]) for i in (0, 2, 3))
    view = measured({"short": exact(values)})
    found = Peak(condition=condition("short"), profile=read_condition(condition("short"), view))
    assert found.top == 1
    assert bool(over_all < looked) is (sharper == "over all")
    assert found.p_beaten(0) == pytest.approx(min(looked, over_all), rel=1e-9)


def test_of_three_conditions_each_may_come_first():
    """Six ordered pairs."""
    tables = {name: sweep_of(m, noise=1e-7) for name, m in (("a", HERE), ("b", THERE), ("c", HERE))}
    found = over(TopMoves, tables)
    assert found.verdict is SUPPORTED
    assert found.p_value == pytest.approx(6 * SIGN_FLIP_P)


def test_a_single_template_of_one_family_has_p_one():
    tables = {"short": exact([[2.0], [1.0], [0.5]]), "long": exact([[1.0], [2.0], [0.5]])}
    found = over(SameTop, tables, "json")
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, 1.0)
    view = measured(tables)
    first = Peak(condition=condition("short"), profile=read_condition(condition("short"), view))
    assert (first.top, first.p_separated, first.p_beaten(0), first.p_beaten(1)) == (0, 1.0, 1.0, 1.0)


# ProfilesAgree

ONE = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
TWO = ONE[[1, 0, 2, 3, 4, 5]]


@pytest.mark.parametrize(("at_least", "verdict"), [(0.9, SUPPORTED), (0.97, REFUTED)])
def test_what_is_said_of_profiles_that_agree(at_least, verdict):
    """Of three the two least alike are named: exchanged neighbours, 1 - 12 / 210; refuted by one of three pairs."""
    tables = {
        "short": sweep_of(ONE),
        "again": sweep_of(ONE, seed=3),
        "long": sweep_of(TWO, seed=7, templates=4),
    }
    found = over(ProfilesAgree, tables, at_least=at_least)
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(LEAST_P if verdict is SUPPORTED else 3 * LEAST_P)
    assert numbers(found.estimate) == pytest.approx((*[1 - 12 / 210] * 3, "Spearman", 96, 48))
    assert found.sentence == (
        f"Least alike are short and long: 0.943 [0.943, 0.943] Spearman (96 prompts, 48 templates); {at_least:g} is "
        "asked for (p < 0.001)."
    )


def behind(effects, keep, context):
    """The questions of `keep`, in that order, behind a context."""
    return replace(
        effects,
        prompts=tuple(replace(effects.prompts[i], text=f"{context} {effects.prompts[i].text}") for i in keep),
        metrics={name: values[:, keep] for name, values in effects.metrics.items()},
        baseline={},
    )


def test_matched_profiles_are_resampled_together_on_what_they_share():
    """Beside the correlation of resampled means of the questions that both ask, in the order of the bare ones."""
    bare = sweep_of(ONE / 4, noise=1.0)
    keep = np.arange(119, 20, -1)
    other = behind(sweep_of(TWO / 4, noise=1.0, seed=9), keep, "Before.")
    other = replace(
        other, prompts=tuple(replace(bare.prompts[i], text=f"Before. {bare.prompts[i].text}") for i in keep)
    )
    found = over(ProfilesAgree, {"bare": bare, "long": other}, at_least=0.5, matched=True)
    shared = sorted(keep)
    both = sample(
        Clusters.of([bare.prompts[i] for i in shared]),
        np.vstack([bare.metrics["kl_nats"][:, shared], other.metrics["kl_nats"][:, ::-1]]),
        "kl_nats",
    )
    ranks = stats.rankdata(both.draws.reshape(-1, 2, 6), axis=2)
    ranks -= ranks.mean(axis=2, keepdims=True)
    draws = (ranks[:, 0] * ranks[:, 1]).sum(axis=1) / 17.5
    value = stats.spearmanr(both.value[:6], both.value[6:]).statistic
    assert value > 0.5
    assert numbers(found.estimate) == pytest.approx((value, *percentile_interval(draws), "Spearman", 99, 50))
    assert found.p_value == pytest.approx(2 * ((draws < 0.5 - 1e-9).sum() + 1) / 10_000)


def test_a_question_asked_twice_is_matched_by_its_text_alone():
    """Same family, template, answer and seed: the text behind the context decides which of two it is."""
    effects = sweep_of(ONE, families=1, templates=2, prompts=2)
    long = behind(effects, [3, 1, 0], "Before.")
    odd = replace(long.prompts[0], text="something else")
    long = replace(long, prompts=(odd, *long.prompts[1:]))
    one, two = (make_profile(e.metrics["kl_nats"], e.prompts) for e in (effects, long))
    assert questions(one.prompts, two.prompts) == {1: 1, 0: 2}


def test_a_question_that_either_side_asks_twice_is_named():
    """Behind two contexts, or twice bare: which prompt of it is meant is not told."""
    effects = sweep_of(ONE, families=1, templates=2, prompts=2)
    bare = list(effects.prompts)
    long = behind(effects, [0, 1, 2], "Before.").prompts
    again = replace(long[1], text=f"And before. {bare[1].text}")
    message = (
        f"the question {bare[1].text!r} of {bare[1].family} (seed {bare[1].seed}) is asked more than once: match "
        "conditions that ask each question once"
    )
    for one, two in ((bare, [*long, again]), ([*bare, bare[1]], long)):
        with pytest.raises(MissingEvidence, match=f"^{re.escape(message)}$"):
            questions(one, two)
    assert questions([*bare, bare[3]], long) == {0: 0, 1: 1, 2: 2}, "nobody else asks what is asked twice"


def test_profiles_that_cannot_be_compared():
    sound = sweep_of(ONE)
    with_nan = with_value(sound, "kl_nats", 1, 4, np.nan)
    expected = (
        "Not a measurement: in long kl_nats of 'skip L1' is nan on the prompt 'family00 2 0 of seed 42'; 1 of 720 "
        "values are not finite."
    )
    for kind, more in ((SameTop, {}), (TopMoves, {}), (ProfilesAgree, {"at_least": 0.5})):
        found = over(kind, {"short": sound, "long": with_nan}, **more)
        assert (found.verdict, found.p_value) == (Verdict.INVALID, None)
        assert found.sentence == expected
        found = over(kind, {"long": with_nan, "short": sound}, **more)
        assert found.sentence == expected
    tables = {"short": sound, "long": sweep_of(ONE, seed=7)}
    message = "these conditions share no question: compare them without matching"
    with pytest.raises(MissingEvidence, match=f"^{message}$"):
        over(ProfilesAgree, tables, at_least=0.5, matched=True)


def test_what_is_broken_outside_the_families_of_a_condition_is_none_of_its_concern():
    effects = with_value(sweep_of(HERE, families=["a", "b"]), "kl_nats", 1, 4, np.nan)
    view = measured({"layer_sweep": effects})
    assert read_condition(condition("layer_sweep", "b"), view).problem is None
    assert "is nan on the prompt" in read_condition(condition("layer_sweep", "a"), view).problem
    message = "no prompt of c, d was measured (a, b were)"
    with pytest.raises(MissingEvidence, match=f"^{re.escape(message)}$"):
        read_condition(condition("layer_sweep", "c", "a", "d"), view)


# OnePromptMisleads


def few(at_least, *families):
    return OnePromptMisleads(condition=condition("layer_sweep", *families), at_least=at_least, **WHY)


def misled(at_least, effects):
    return judge_criterion(few(at_least), measured({"layer_sweep": effects}))


def shares_of_all_draws(effects, top):
    """Share of all choices of one prompt a family, a family's templates equally likely, and so a template's prompts."""
    clusters = Clusters.of(effects.prompts)
    columns = [[i for i, p in enumerate(effects.prompts) if p.family == f] for f in clusters.families]
    size = {key: clusters.keys.count(key) for key in clusters.templates}
    total = wrong = 0.0
    for chosen in product(*columns):
        weight = np.prod([1.0 / size[clusters.keys[i]] for i in chosen])
        total += weight
        wrong += weight * (effects.metrics["kl_nats"][:, list(chosen)].sum(axis=1).argmax() != top)
    return wrong / total


def uneven():
    """Two families of six and nine templates; one template in three has a second prompt, which misleads."""
    values, prompts = [], []
    base = sweep_of([0.0, 0.0, 0.0], families=2, templates=9, prompts=2)
    rng = np.random.default_rng(0)
    for prompt in base.prompts:
        family, template = prompt.family, int(prompt.template[1:])
        second = prompt.text.split()[2] == "1"
        if (family == "family00" and template >= 6) or (second and template % 3):
            continue
        values.append(np.array([0.0, 3.0, 1.0] if second else [2.0, 1.0, 0.5]) + rng.normal(0.0, 0.6, 3))
        prompts.append(prompt)
    return replace(base, prompts=tuple(prompts), metrics={"kl_nats": np.array(values).T}, baseline={})


def test_a_draw_takes_each_template_of_a_family_equally_often_and_each_of_its_prompts():
    effects = uneven()
    truth = shares_of_all_draws(effects, 0)
    found = misled(0.9, effects)
    assert 0.1 < truth < 0.4
    assert found.estimate.value == pytest.approx(truth, abs=0.012)
    assert found.estimate.low < truth < found.estimate.high
    assert (found.estimate.n_prompts, found.estimate.n_templates) == (len(effects.prompts), 15)


def five_of_thirteen():
    """One family, of 13 templates five of which have another top by themselves."""
    right, wrong = np.array([5.0, 1.0, 0.5]), np.array([1.0, 1.25, 0.5])
    return exact(np.array([wrong if i < 5 else right for i in range(13)]).T)


def share_below(limit):
    """Chance that a resample of one template fewer, and 200 draws of one prompt within it, shows less than `limit`."""
    hits = np.arange(13)
    within = stats.binom(200, hits / 12).cdf(np.ceil(200 * limit) - 1)
    return float((stats.binom(12, 5 / 13).pmf(hits) * within).sum())


def test_a_resample_holds_one_template_fewer_of_each_family_and_the_only_one_of_a_family():
    clusters = Clusters(tuple((f, f"t{i}") for f, n in (("a", 5), ("b", 2), ("c", 1)) for i in range(n)))
    counts = _resampled(clusters, np.random.default_rng(0))
    assert counts.shape == (999, 8)
    for family, n in enumerate((4, 1, 1)):
        np.testing.assert_array_equal(counts[:, clusters.family_of == family].sum(axis=1), n)
    np.testing.assert_allclose(counts.mean(axis=0), [*[4 / 5] * 5, 1 / 2, 1 / 2, 1], atol=0.1)


def test_every_single_prompt_may_mislead_about_a_separated_block():
    """The top of the means is second on every prompt, now behind the one block and now behind the other."""
    second = np.where(np.arange(120) % 2, 3.0, 0.0)
    found = misled(1.0, exact([np.full(120, 2.0), second, 3.0 - second]))
    assert found.verdict is SUPPORTED, found.sentence
    assert numbers(found.estimate)[:3] == (1.0, 1.0, 1.0)
    assert found.p_value < 0.01


def test_the_interval_is_that_of_resampled_templates():
    found = misled(0.9, five_of_thirteen())
    assert found.estimate.value == pytest.approx(5 / 13, abs=0.02)
    assert 0.001 < share_below(found.estimate.low) < 0.03
    assert 0.97 < share_below(found.estimate.high) < 0.999
    assert numbers(found.estimate)[3:] == ("share of draws", 13, 13)


SEPARATED_P = 2 * 2**5 / 2**13
"""Of all sign flips of 13 templates, those of the five whose top L1 is by a little change nothing."""


@pytest.mark.parametrize(
    ("limit", "verdict", "why"),
    [
        (0.01, SUPPORTED, f"separated over all prompts (p = {SEPARATED_P:.3g})"),
        (0.2125, INCONCLUSIVE, "which is undecided"),
        (0.2875, INCONCLUSIVE, "which is undecided"),
        (0.95, REFUTED, "fewer than claimed"),
    ],
)
def test_what_is_said_of_single_prompts(limit, verdict, why):
    found = misled(limit, five_of_thirteen())
    assert found.verdict is verdict, found.sentence
    assert found.sentence == (
        f"Of draws of one prompt a family, {found.estimate} have another top than L0, {why}."
    )
    if verdict is INCONCLUSIVE:
        assert found.p_value == pytest.approx(2 * share_below(limit), rel=0.2)
    elif verdict is SUPPORTED:
        assert SEPARATED_P <= found.p_value <= 0.02
    else:
        assert found.p_value == pytest.approx(2 / 1000)


def test_a_resample_that_shows_just_the_share_asked_for_does_not_show_fewer():
    """Shares are of 200 draws: just below such a number as many resamples reach the limit as on it."""
    effects = five_of_thirteen()
    high = round(200 * misled(0.9, effects).estimate.high)
    limits = [high + 1, high + 2, high + 3, high + 4]
    on = [misled(k / 200, effects).p_value for k in limits]
    assert on == [misled((k - 0.5) / 200, effects).p_value for k in limits]
    assert on[0] > on[-1]
    assert misled(0.45, effects).p_value == 1.0 > misled(0.2875, effects).p_value


def test_single_prompts_where_two_blocks_tie():
    effects = exact([2.0 + WAVE, 2.0 - WAVE, np.full(5, 0.5)])
    found = misled(0.01, effects)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, 1.0)
    assert found.sentence.endswith(" have another top than L0, which ties with L1: there is no hub to miss.")


def test_single_prompts_that_cannot_be_judged():
    effects = with_value(sweep_of(HERE), "kl_nats", 1, 4, np.nan)
    found = misled(0.5, effects)
    assert (found.verdict, found.p_value) == (Verdict.INVALID, None)
    assert found.sentence == (
        "Not a measurement: kl_nats of 'skip L1' is nan on the prompt 'family00 2 0 of seed 42'; 1 of 360 values are "
        "not finite."
    )


def test_what_a_single_prompt_of_each_family_always_shows():
    always = sweep_of(HERE, noise=1e-7, families=9, templates=3)
    found = misled(0.5, always)
    assert (found.verdict, found.p_value) == (REFUTED, pytest.approx(2 / 1000))
    assert numbers(found.estimate) == (0.0, 0.0, 0.0, "share of draws", 54, 27)


# What is asked

SHORT_LONG = (condition("layers_short", name="short"), condition("layers_long", name="long"))
MLP = ProfileOf(experiment="layers_short", select=Sublayer(stream=Stream.MLP_OUT), noun="MLP")
MLPS = (Condition(name="one", parts=(MLP,)), *SHORT_LONG)


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (
            SameTop(conditions=SHORT_LONG, **WHY),
            "the same block is the strongest in each of: short, long; in each it is separated from every other at "
            "p < 0.01",
        ),
        (
            SameTop(conditions=MLPS, **WHY),
            "the same MLP is the strongest in each of: one, short, long; in each it is separated from every other at "
            "p < 0.01",
        ),
        (
            TopMoves(conditions=MLPS, **WHY),
            "the strongest MLP of one of these, separated from every other at p < 0.01, is beaten in another: one, "
            "short, long",
        ),
        (
            ProfilesAgree(conditions=MLPS, at_least=0.75, **WHY),
            "the MLP profiles of every two of these correlate by ranks (Spearman) at 0.75 or more: one, short, long",
        ),
        (
            ProfilesAgree(conditions=SHORT_LONG, at_least=0.75, matched=True, **WHY),
            "the block profiles of every two of these correlate by ranks (Spearman) at 0.75 or more, on the questions "
            "that both ask: short, long",
        ),
        (
            OnePromptMisleads(condition=SHORT_LONG[0], at_least=0.25, **WHY),
            "of all draws of one prompt a family (short), at least 25% have another top block than all prompts "
            "together",
        ),
    ],
)
def test_a_criterion_on_other_prompts_says_what_it_asks(criterion, text):
    assert str(criterion) == text
    names = ("layers_short",) if isinstance(criterion, OnePromptMisleads) else ("layers_short", "layers_long")
    assert criterion.experiments == names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SameTop(conditions=SHORT_LONG[:1], **WHY),
            "SameTop of ['short']: two conditions at least, each named once",
        ),
        (
            lambda: TopMoves(conditions=SHORT_LONG[:1] * 2, **WHY),
            "TopMoves of ['short', 'short']: two conditions at least, each named once",
        ),
        (
            lambda: Condition(name=" ", parts=(MLP,)),
            "Condition ' ' of 1 parts: give it a name and prompts",
        ),
        (lambda: Condition(name="x", parts=()), "Condition 'x' of 0 parts: give it a name and prompts"),
        (
            lambda: Condition(name="x", parts=(MLP, *SHORT_LONG[0].parts)),
            "Condition 'x': its parts are profiles of different things",
        ),
        *(
            (
                lambda r=r: ProfilesAgree(conditions=SHORT_LONG, at_least=r, **WHY),
                f"ProfilesAgree(at_least={r}): a correlation between -1 and 1",
            )
            for r in (-1.5, -1.0, 1.0, 1.5)
        ),
        *(
            (lambda r=r: few(r), f"OnePromptMisleads(at_least={r}): a share above 0, and at most 1")
            for r in (-0.5, 0.0, 1.5)
        ),
    ],
)
def test_a_criterion_on_other_prompts_without_a_meaning_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_every_draw_may_be_asked_to_mislead():
    assert few(1.0).at_least == 1.0
