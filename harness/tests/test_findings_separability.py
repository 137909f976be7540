"""SeparabilityLeads: scores of known terms, and what decides between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from harness.adapters.values import SOUND, Adapted, Part
from harness.edits import skip
from harness.effects import Effects, pool
from harness.verdicts.criteria import ProfileOf, SeparabilityLeads
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.training_selectors import Under
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

FAMILIES = ("a", "b", "c")
BASE = -3.0
ON = {name: Adapted(parts=(Part(family=name, recipe=SOUND),)) for name in FAMILIES}
N_LAYERS = 4


def profile(parts: tuple[Part, ...]) -> ProfileOf:
    return ProfileOf(experiment="profiles", select=Under(parts=parts, select=Singles()), noun="block")


def criterion(**given: object) -> SeparabilityLeads:
    asked = {
        "family": "a",
        "adapters": ON,
        "before": profile(()),
        "after": {name: profile(row.parts) for name, row in ON.items()},
        "experiment": "families",
        "rationale": "a test",
    }
    return SeparabilityLeads(**{**asked, **given})


def tables(
    gain: dict[str, float],
    kl: dict[str, tuple[float, float]],
    harm: float = 0.0,
    *,
    noise: float = 1e-3,
    seed: int = 42,
) -> tuple[Effects, Effects]:
    """Adapters that add so much to their own family and take `harm` from others, and that change one block each."""
    rows = list(ON.values())
    added = [[BASE + (gain[own] if own == f else -harm) for f in FAMILIES] for own in FAMILIES]
    moved = [[kl[own][0] if own == f else kl[own][1] for f in FAMILIES] for own in FAMILIES]
    given = {"noise": noise, "families": FAMILIES, "templates": 12, "seed": seed}
    one = table(rows, {"answer_logprob": added, "kl_nats": moved}, **given)
    one = replace(one, baseline={"answer_logprob": np.full(len(one.prompts), BASE)})
    probes = [
        Adapted(parts=parts, edit=skip(layer), against="whole")
        for parts in ((), *(row.parts for row in rows))
        for layer in range(N_LAYERS)
    ]
    levels = [0.5 + (0.4 if i >= N_LAYERS and i % N_LAYERS == 1 else 0.0) for i in range(len(probes))]
    return one, table(probes, {"kl_nats": levels}, **given)


def judge(*drawn: tuple[Effects, Effects], **given: object) -> Finding:
    families, profiles = (pool(list(each)) for each in zip(*drawn, strict=True))
    view = measured({"families": families, "profiles": profiles}, N_LAYERS)
    return judge_criterion(criterion(**given), view)


EVEN = dict.fromkeys(FAMILIES, (0.9, 0.1))


def test_the_score_is_the_weighted_sum_of_its_four_terms() -> None:
    """0.2 x 2 / 5 + 0.2 x 0.8 + 0.15 x Gini of one block of four (3 / 4) - 0.15 x 0.5 / 5; b and c lack a nat."""
    found = judge(tables({"a": 2.0, "b": 1.0, "c": 1.0}, EVEN, harm=0.5, noise=1e-5))
    assert found.verdict is Verdict.SUPPORTED
    assert found.sentence.startswith(
        "a 0.337 (gain 2 nats, selectivity 0.8, sharpness 0.75, damage 0.5 nats)"
    )
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.04, abs=1e-4)


@pytest.mark.parametrize(
    ("own", "verdict"), [(1.2, Verdict.SUPPORTED), (1.0, Verdict.INCONCLUSIVE), (0.8, Verdict.REFUTED)]
)
def test_a_lead_is_told_from_a_tie_and_from_a_lag(own: float, verdict: Verdict) -> None:
    assert judge(tables({"a": own, "b": 1.0, "c": 0.5}, EVEN)).verdict is verdict


def test_a_loss_counts_as_one_and_is_not_cut_at_nothing() -> None:
    """An adapter that makes its own answers a nat less likely scores 0.04 below one that does nothing."""
    found = judge(tables({"a": 0.0, "b": -1.0, "c": -1.0}, EVEN, noise=1e-5))
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.04, abs=1e-4)


def means(table: Effects, metric: str, own: str, less: float = 0.0) -> dict[str, float]:
    """Of each family's prompts under the adapter of `own`; every template has as many."""
    values = table.values(metric)[table.row(ON[own])] - less
    return {f: float(values[[p.family == f for p in table.prompts]].mean()) for f in FAMILIES}


def scored(families: Effects, profiles: Effects) -> dict[str, tuple[float, str]]:
    """Each skill's score and how it reads, from the tables as the definition says it."""
    found = {}
    for own in FAMILIES:
        added, kl = (
            means(families, metric, own, less)
            for metric, less in (("answer_logprob", BASE), ("kl_nats", 0.0))
        )
        on = [p.family == own for p in profiles.prompts]
        blocks = profiles.values("kl_nats")[:, on].mean(axis=1).reshape(-1, N_LAYERS)
        change = np.abs(blocks[1 + FAMILIES.index(own)] - blocks[0])
        sharp = np.abs(change[:, None] - change).sum() / (2 * N_LAYERS * change.sum())
        others = [f for f in FAMILIES if f != own]
        elsewhere = np.mean([kl[f] for f in others])
        removal = (kl[own] - elsewhere) / (kl[own] + elsewhere)
        harm = -np.mean([added[f] for f in others])
        cut = np.clip([added[own] / 5, harm / 5], -1.0, 1.0)
        total = 0.2 * cut[0] + 0.2 * removal + 0.15 * sharp - 0.15 * cut[1]
        found[own] = (
            total,
            f"{own} {total:.3g} (gain {added[own]:.3g} nats, selectivity {removal:.3g}, sharpness {sharp:.3g}, "
            f"damage {harm:.3g} nats)",
        )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_scores_are_told_from_the_best_to_the_worst_as_they_were_observed(seed: int) -> None:
    """c is well ahead; a and b differ by what noise makes of them, and resamples order them either way."""
    drawn = tables({"a": 1.0, "b": 1.0, "c": 4.0}, EVEN, harm=0.5, noise=0.02, seed=seed)
    told = scored(*drawn)
    order = sorted(FAMILIES, key=lambda name: -told[name][0])
    found = judge(drawn)
    assert found.estimate is not None
    whole = "; ".join(told[name][1] for name in order)
    lag = told["a"][0] - told["c"][0]
    assert found.sentence == f"{whole}. a lies {found.estimate} (p < 0.001)."
    assert (found.estimate.value, found.estimate.unit) == (pytest.approx(lag), "of the score, before c")
    assert found.verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("own", "p"),
    [
        (2.0, 2 / 10_000),
        (0.0, 2 * 2 / 10_000),  # some rival of two is ahead
        (1.0, 1.0),
    ],
)
def test_p_values_are_two_sided_and_a_lag_behind_some_rival_is_corrected_for_the_rivals(
    own: float, p: float
) -> None:
    """None of 9,999 resamples contradicts, or all do."""
    found = judge(tables({"a": own, "b": 1.0, "c": 1.0}, EVEN, noise=1e-5 if own != 1.0 else 1e-3))
    assert found.p_value == pytest.approx(p, rel=1e-5 if own != 1.0 else 0.5)


@pytest.mark.parametrize(("two_sided", "verdict"), [(0.015, Verdict.INCONCLUSIVE), (0.0075, Verdict.REFUTED)])
def test_a_lag_that_two_rivals_make_likely_by_chance_refutes_nothing(
    two_sided: float, verdict: Verdict
) -> None:
    """Only what a adds varies, evenly over its twelve templates: its error is the mean's, and nearly normal."""
    z = float(norm.isf(two_sided / 2))
    behind, ahead = (uneven(lag) for lag in (z, -z))
    found, lead = judge(behind), judge(ahead)
    assert found.verdict is verdict
    if verdict is Verdict.REFUTED:
        assert found.p_value == pytest.approx(2 * two_sided, rel=0.3)
    assert lead.verdict is Verdict.SUPPORTED
    assert lead.p_value == pytest.approx(two_sided, rel=0.3)


def uneven(lag: float) -> tuple[Effects, Effects]:
    """What a adds lies so many standard errors below what b does; c is far behind."""
    one, two = tables({"a": 1.0, "b": 1.0, "c": -1.0}, EVEN, noise=0.0)
    spread = np.linspace(-0.5, 0.5, 12)
    error = spread.std(ddof=1) / np.sqrt(12)
    values = one.metrics["answer_logprob"].copy()
    for i, prompt in enumerate(one.prompts):
        if prompt.family == "a":
            values[0, i] += spread[int(prompt.template.removeprefix("t"))] - lag * error
    return replace(one, metrics={**one.metrics, "answer_logprob": values}), two


def test_equal_scores_lead_and_lag_nowhere() -> None:
    """Exactly 0 in every resample: neither above nor below."""
    found = judge(tables(dict.fromkeys(FAMILIES, 0.0), dict.fromkeys(FAMILIES, (0.9, 0.0)), noise=0.0))
    assert (found.verdict, found.p_value) == (Verdict.INCONCLUSIVE, 1.0)


@pytest.mark.parametrize(
    "gain", [{"a": 9.0, "b": 5.5, "c": 1.0}, {"a": -5.5, "b": -9.0, "c": -9.0}], ids=["gained", "lost"]
)
def test_beyond_five_nats_nothing_is_gained_or_lost(gain: dict[str, float]) -> None:
    found = judge(tables(gain, EVEN, noise=1e-5))
    assert found.estimate is not None
    assert (found.verdict, found.estimate.value) == (Verdict.INCONCLUSIVE, pytest.approx(0.0, abs=1e-4))


def test_what_removing_it_would_undo_elsewhere_counts_against_it() -> None:
    """Selectivity 0.8 against (0.9 - 0.6) / 1.5 = 0.2: 0.12 of the score."""
    kl = {"a": (0.9, 0.1), "b": (0.9, 0.6), "c": (0.9, 0.6)}
    found = judge(tables(dict.fromkeys(FAMILIES, 1.0), kl, noise=1e-5))
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.12, abs=1e-4)


def test_trainings_that_disagree_decide_nothing() -> None:
    first, second = ({"a": own, "b": 1.0, "c": 0.5} for own in (1.6, 0.9))
    assert judge(tables(first, EVEN), tables(first, EVEN, seed=43)).verdict is Verdict.SUPPORTED
    split = judge(tables(first, EVEN), tables(second, EVEN, seed=43))
    assert split.verdict is Verdict.INCONCLUSIVE
    assert "The trainings do not agree; by seed 0.0" in split.sentence


def test_a_training_without_a_lead_contradicts_one() -> None:
    """It is to be ahead in each: in the second it ties with b exactly."""
    ahead, level = ({"a": own, "b": 1.0, "c": 0.5} for own in (1.6, 1.0))
    split = judge(tables(ahead, EVEN, noise=0.0), tables(level, EVEN, noise=0.0, seed=43))
    assert split.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("what", "at", "metric"),
    [("log-probability", 0, "answer_logprob"), ("KL", 0, "kl_nats"), ("profile", 1, "kl_nats")],
)
def test_what_is_not_finite_makes_it_invalid(what: str, at: int, metric: str) -> None:
    drawn = list(tables(dict.fromkeys(FAMILIES, 1.0), EVEN))
    row = 1 if at == 0 else 2 * N_LAYERS  # of b's adapter
    drawn[at] = with_value(drawn[at], metric, row, 0, float("-inf"))
    broken = judge((drawn[0], drawn[1]))
    whole = f"Not a measurement: a {what} under the adapter of b is not finite."
    assert (broken.verdict, broken.sentence) == (Verdict.INVALID, whole)


def test_what_is_missing_is_named() -> None:
    one, two = tables(dict.fromkeys(FAMILIES, 1.0), EVEN)
    with pytest.raises(MissingEvidence, match="holds no row"):
        judge((replace(one, probes=(*one.probes[:2], replace(one.probes[2], only=(0,)))), two))
    extra = {**ON, "d": ON["a"], "e": ON["b"]}
    more = {name: profile(row.parts) for name, row in extra.items()}
    with pytest.raises(MissingEvidence, match="no prompt of d, e was"):
        judge((one, two), adapters=extra, after=more)
    with pytest.raises(MissingEvidence, match="other prompts"):
        judge((one, replace(two, prompts=tuple(replace(p, text=p.text + "!") for p in two.prompts))))
    short = replace(two, probes=two.probes[1:], metrics={name: v[1:] for name, v in two.metrics.items()})
    with pytest.raises(MissingEvidence, match="every block once"):
        judge((one, short))


def test_adapters_that_change_nothing_have_no_score() -> None:
    found = judge(tables(dict.fromkeys(FAMILIES, 0.0), dict.fromkeys(FAMILIES, (0.0, 0.0)), noise=0.0))
    assert found.verdict is Verdict.INVALID
    assert "changes nothing" in found.sentence


@pytest.mark.parametrize(
    "given", [{"family": "d"}, {"adapters": {"a": ON["a"]}}, {"after": {"a": profile(())}}]
)
def test_a_criterion_that_compares_nothing_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="SeparabilityLeads"):
        criterion(**given)
