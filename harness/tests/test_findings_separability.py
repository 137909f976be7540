"""SeparabilityLeads: scores of known terms, and what decides between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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


def test_beyond_five_nats_nothing_is_gained() -> None:
    found = judge(tables({"a": 9.0, "b": 5.5, "c": 1.0}, EVEN, noise=1e-5))
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


def test_what_is_not_finite_makes_it_invalid_and_what_is_missing_is_named() -> None:
    one, two = tables(dict.fromkeys(FAMILIES, 1.0), EVEN)
    broken = judge((with_value(one, "answer_logprob", 1, 0, float("-inf")), two))
    assert broken.verdict is Verdict.INVALID
    assert "under the adapter of b is not finite" in broken.sentence
    with pytest.raises(MissingEvidence, match="holds no row"):
        judge((replace(one, probes=(*one.probes[:2], replace(one.probes[2], only=(0,)))), two))
    extra = {**ON, "d": ON["a"]}
    more = {name: profile(row.parts) for name, row in extra.items()}
    with pytest.raises(MissingEvidence, match="no prompt of d"):
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
