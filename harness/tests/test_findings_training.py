"""Contrast, FamilyLeads, TrainedWithin, TrainedSlope: whole findings, by hand and at their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.adapters.values import SOUND, Adapted, Part
from harness.effects import Effects, pool
from harness.statistics.bootstrap import NEGLIGIBLE, sample
from harness.statistics.clusters import Clusters
from harness.verdicts.criteria import (
    Contrast,
    FamilyLeads,
    Not,
    OfFamilies,
    Term,
    TrainedSlope,
    TrainedWithin,
)
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import Measured, measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.training import of_families
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
SKILLS = ("a", "b", "c")
A, B, C = (Adapted(parts=(Part(family=name, recipe=SOUND),)) for name in SKILLS)
P = 1 / 10_000
"""No resample of 9,999 contradicts."""
OF_ALL = "(30 prompts, 15 templates)"
N_TEMPLATES = 12
SPREAD = np.random.default_rng(0).normal(0.0, 0.5, (3, N_TEMPLATES))
"""Of the templates of each family: no two alike, so that no two resamples tie."""


def told(found: Finding) -> tuple[Verdict, str, float | None]:
    return found.verdict, found.sentence, found.p_value


def adapters(
    means: Mapping[Adapted, float | Sequence[float]],
    *,
    metric: str = "answer_logprob",
    base: float = -3.0,
    seed: int = 42,
    templates: int = 5,
    prompts: int = 2,
) -> Effects:
    """A table without noise: these means of each row, or of each row and family."""
    rows = [np.broadcast_to(np.asarray(x, dtype=float), 3) for x in means.values()]
    given = {"noise": 0.0, "families": SKILLS, "seed": seed, "templates": templates, "prompts": prompts}
    made = table(list(means), {metric: np.array(rows)}, **given)
    return replace(made, baseline={"answer_logprob": np.full(len(made.prompts), base)})


def view(*tables: Effects) -> Measured:
    return measured({"adapters": pool(list(tables))}, 4)


def uneven(effects: Effects, row: int, family: str | None, by: float) -> Effects:
    """The templates of a family, or of all, differ, and all of them by so much."""
    (metric,) = effects.metrics
    values = effects.metrics[metric].copy()
    for i, prompt in enumerate(effects.prompts):
        if family in (None, prompt.family):
            values[row, i] += SPREAD[SKILLS.index(prompt.family), int(prompt.template.removeprefix("t"))] + by
    return replace(effects, metrics={metric: values})


def pivots(effects: Effects, values: np.ndarray) -> np.ndarray:
    return np.sort(sample(Clusters.of(effects.prompts), values[None], "answer_logprob").pivots[:, 0])


def contrast(*terms: tuple[float, Adapted | None], **given: object) -> Contrast:
    asked = {"experiment": "adapters", "what": "the sum", "rationale": "a test", **given}
    return Contrast(terms=tuple(Term(weight=w, of=of) for w, of in terms), **asked)


@pytest.mark.parametrize(
    ("bound", "gain", "verdict", "p", "said"),
    [
        ({"at_least": 1.0}, 1.25, SUPPORTED, 2 * P, "at least 1 is asked for (p < 0.001)."),
        ({"at_least": 1.0}, 1.0, INCONCLUSIVE, 1.0, "at least 1 is asked for (p = 1)."),
        ({"at_least": 1.0}, 0.75, REFUTED, 2 * P, "at least 1 is asked for (p < 0.001)."),
        ({"at_most": 1.0}, 1.25, REFUTED, 2 * P, "at most 1 is asked for (p < 0.001)."),
        ({"at_most": 1.0}, 1.0, INCONCLUSIVE, 1.0, "at most 1 is asked for (p = 1)."),
        ({"at_most": 1.0}, 0.75, SUPPORTED, 2 * P, "at most 1 is asked for (p < 0.001)."),
        ({"at_most": 0.0}, -0.25, SUPPORTED, 2 * P, "at most 0 is asked for (p < 0.001)."),
        ({"at_least": 0.0}, -0.25, REFUTED, 2 * P, "at least 0 is asked for (p < 0.001)."),
    ],
)
def test_a_sum_without_noise_is_itself(
    bound: dict[str, float], gain: float, verdict: Verdict, p: float, said: str
) -> None:
    found = judge_criterion(contrast((1.0, A), (-1.0, None), **bound), view(adapters({A: gain - 3.0})))
    assert told(found) == (
        verdict,
        f"The sum is {gain:g} [{gain:g}, {gain:g}] nats {OF_ALL}; {said}",
        pytest.approx(p),
    )
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low) == (
        pytest.approx(gain),
        pytest.approx(gain - NEGLIGIBLE),
    )
    denied = {SUPPORTED: REFUTED, REFUTED: SUPPORTED}.get(verdict, verdict)
    negated = judge_criterion(
        Not(criterion=contrast((1.0, A), (-1.0, None), **bound)), view(adapters({A: gain - 3.0}))
    )
    assert told(negated) == (denied, *told(found)[1:])


def test_rows_are_weighed() -> None:
    """2 x -1 - 0.5 x -4 + 0.25 x -3 = -0.75, in a unit of one's own."""
    asked = contrast((2.0, A), (-0.5, B), (0.25, None), at_least=-1.0, what="what it is", unit="of it")
    found = judge_criterion(asked, view(adapters({A: -1.0, B: -4.0})))
    assert found.sentence == (
        f"What it is is -0.75 [-0.75, -0.75] of it {OF_ALL}; at least -1 is asked for (p < 0.001)."
    )


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("bound", ["at_least", "at_most"])
@pytest.mark.parametrize("contradict", [99, 100])
def test_the_level_is_two_sided(side: float, bound: str, contradict: int) -> None:
    """So many of 9,999 resamples contradict: 2 x 100 / 10,000 is the level itself."""
    still = uneven(adapters({A: 0.0}, templates=N_TEMPLATES), 0, None, 0.0)
    ordered = pivots(still, side * still.metrics["answer_logprob"][0])
    edge = (ordered[contradict - 1] + ordered[contradict]) / 2 - NEGLIGIBLE
    made = uneven(adapters({A: 0.0}, templates=N_TEMPLATES), 0, None, -side * edge)
    found = judge_criterion(contrast((1.0, A), **{bound: 0.0}), view(made))
    holds = (side > 0) == (bound == "at_least")
    decided = SUPPORTED if holds else REFUTED
    assert found.verdict is (decided if contradict == 99 else INCONCLUSIVE)
    if contradict == 99 or holds:
        assert found.p_value == pytest.approx(2 * (contradict + 1) * P)


def test_each_training_is_told_with_its_own_sum() -> None:
    tables = [adapters({A: mean}, seed=seed) for seed, mean in ((1, -1.0), (2, -1.5), (3, -2.5))]
    found = judge_criterion(contrast((1.0, A), (-1.0, None), at_least=1.0), view(*tables))
    assert found.verdict is INCONCLUSIVE
    assert (
        "(90 prompts, 15 templates); by seed 2, 1.5, 0.5; at least 1 is asked for (p = 1)." in found.sentence
    )
    found = judge_criterion(contrast((1.0, A), (-1.0, None), at_most=2.5), view(*tables))
    assert found.verdict is SUPPORTED


def test_what_is_not_finite_is_named_with_its_prompt() -> None:
    broken = with_value(adapters({A: -2.0}), "answer_logprob", 0, 7, np.nan)
    broken = with_value(broken, "answer_logprob", 0, 12, np.inf)
    whole = (
        "Not a measurement: the sum is nan on the prompt 'a 3 1 of seed 42'; 2 of 30 values are not finite."
    )
    assert told(judge_criterion(contrast((1.0, A), at_least=0.0), view(broken))) == (INVALID, whole, None)
    whole = (
        "Not a measurement: the shift is nan on the prompt 'a 3 1 of seed 42'; 1 of 20 values are not finite."
    )
    asked = leads("a", {"a": A, "c": A})
    assert told(judge_criterion(asked, view(broken))) == (INVALID, whole, None)


@pytest.mark.parametrize(
    ("of", "metric", "said"),
    [
        (B, "answer_logprob", "the table holds no answer_logprob of '{0}' ('{0}' was not measured)"),
        (A, "kl_nats", "the table holds no kl_nats of '{0}' (kl_nats)"),
        (None, "kl_nats", "the table holds no kl_nats of 'base' (kl_nats)"),
    ],
)
def test_a_row_that_is_missing_is_named(of: Adapted | None, metric: str, said: str) -> None:
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(contrast((1.0, of), at_least=0.0, metric=metric), view(adapters({A: -2.0})))
    assert str(missing.value) == said.format(of)


def test_prompts_of_some_families_are_read_with_their_rows_and_their_base() -> None:
    made = adapters({A: [1.0, 2.0, 3.0], B: [4.0, 5.0, 6.0]})
    base = np.arange(30.0)
    made = replace(made, baseline={"answer_logprob": base})
    asked = OfFamilies(families=("c", "a"), criterion=contrast((1.0, A), at_least=0.0))
    found = of_families(asked, view(made))
    kept = found.table("adapters")
    assert found.n_layers == 4
    assert kept.prompts == made.prompts[:10] + made.prompts[20:]
    assert kept.values("answer_logprob").tolist() == [[1.0] * 10 + [3.0] * 10, [4.0] * 10 + [6.0] * 10]
    assert kept.baseline["answer_logprob"].tolist() == [*range(10), *range(20, 30)]
    with pytest.raises(MissingEvidence) as missing:
        of_families(replace(asked, families=("z", "a", "y")), view(made))
    assert str(missing.value) == "no prompt of z, y was measured in 'adapters' (a, b, c were)"


def leads(family: str, rows: Mapping[str, Adapted], which: str = "largest") -> FamilyLeads:
    return FamilyLeads(
        experiment="adapters",
        what="the shift",
        family=family,
        sums={name: (Term(weight=1.0, of=row),) for name, row in rows.items()},
        which=which,
        rationale="a test",
    )


OWN = {"a": A, "b": B, "c": C}


@pytest.mark.parametrize(
    ("means", "family", "which", "verdict", "p", "said"),
    [
        (
            (2.0, 1.0, 1.5),
            "a",
            "largest",
            SUPPORTED,
            2 * P,
            "a 2, c 1.5, b 1; a is claimed {}, and has 0.5 {} c",
        ),
        (
            (2.0, 1.0, 1.5),
            "c",
            "largest",
            REFUTED,
            4 * P,
            "a 2, c 1.5, b 1; c is claimed {}, and has -0.5 {} a",
        ),
        (
            (2.0, 1.0, 1.5),
            "b",
            "smallest",
            SUPPORTED,
            2 * P,
            "a 2, c 1.5, b 1; b is claimed {}, and has 0.5 {} c",
        ),
        (
            (2.0, 1.0, 1.5),
            "a",
            "smallest",
            REFUTED,
            4 * P,
            "a 2, c 1.5, b 1; a is claimed {}, and has -1 {} b",
        ),
        (
            (0.0, 0.0, -1.5),
            "b",
            "largest",
            INCONCLUSIVE,
            1.0,
            "a 0, b 0, c -1.5; b is claimed {}, and has 0 {} a",
        ),
    ],
)
def test_a_lead_without_noise_is_the_difference_of_two_means(
    means: tuple[float, ...], family: str, which: str, verdict: Verdict, p: float, said: str
) -> None:
    """Each family's row is 9 elsewhere; one of two rivals ahead refutes, at twice the p-value."""
    rows = {
        row: [m if name == own else 9.0 for name in SKILLS]
        for (own, row), m in zip(OWN.items(), means, strict=True)
    }
    found = judge_criterion(leads(family, OWN, which), view(adapters(rows)))
    estimate = found.estimate
    assert estimate is not None
    assert told(found)[::2] == (verdict, pytest.approx(p))
    number = f"[{estimate.low:.3g}, {estimate.high:.3g}] nats of lead over"
    said_p = "p = 1" if p == 1.0 else "p < 0.001"
    assert found.sentence == f"The shift: {said.format(which, number)} (20 prompts, 10 templates) ({said_p})."
    assert (estimate.low, estimate.high) == (
        pytest.approx(estimate.value - NEGLIGIBLE),
        pytest.approx(estimate.value + NEGLIGIBLE),
    )


@pytest.mark.parametrize(("side", "contradict"), [(1.0, 99), (1.0, 100), (-1.0, 49), (-1.0, 50)])
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_a_lead_is_decided_at_its_level(side: float, contradict: int, which: str) -> None:
    """Only what a has varies; c is far behind. A lead needs 2 x 100 / 10,000, a lag 2 x 2 x 50 / 10,000 at most."""
    sign = 1.0 if which == "largest" else -1.0
    given = {A: 0.0, B: 0.0, C: -sign * 9.0}
    still = uneven(adapters(given, templates=N_TEMPLATES), 0, "a", 0.0)
    pair = [i for i, prompt in enumerate(still.prompts) if prompt.family != "c"]
    own = np.array([1.0 if still.prompts[i].family == "a" else 0.0 for i in pair])
    lead = 2.0 * side * sign * own * still.metrics["answer_logprob"][0, pair]
    ordered = pivots(
        replace(still, prompts=tuple(still.prompts[i] for i in pair), metrics={}, baseline={}, probes=()),
        lead,
    )
    edge = (ordered[contradict - 1] + ordered[contradict]) / 2 - NEGLIGIBLE
    found = judge_criterion(
        leads("a", OWN, which),
        view(uneven(adapters(given, templates=N_TEMPLATES), 0, "a", -side * sign * edge)),
    )
    if contradict in (99, 49):
        assert (found.verdict, found.p_value) == (SUPPORTED if side > 0 else REFUTED, pytest.approx(0.02))
    else:
        assert found.verdict is INCONCLUSIVE
        assert found.p_value == pytest.approx(2 * 101 * P if side > 0 else 1.0)


def test_a_lead_is_of_its_own_prompts_and_of_families_that_were_measured() -> None:
    """Prompts of c count for nothing where c is no rival, in whatever they are."""
    made = with_value(adapters({A: [2.0, 1.0, 0.0]}), "answer_logprob", 0, 25, np.nan)
    found = judge_criterion(leads("a", {"a": A, "b": A}), view(made))
    assert found.sentence == (
        "The shift: a 2, b 1; a is claimed largest, and has 1 [1, 1] nats of lead over b "
        "(20 prompts, 10 templates) (p < 0.001)."
    )
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(leads("a", {"z": A, "a": A, "y": A}), view(made))
    assert str(missing.value) == "no prompt of z, y was measured in 'adapters'"


def test_trainings_that_disagree_are_told_with_their_lead_over_the_rival_in_question() -> None:
    """Over b the leads are 1 and 1.25, over c 2 and -0.5: the mean lead over both is above 0."""
    tables = [
        adapters({A: means}, seed=seed) for seed, means in ((1, [3.0, 2.0, 1.0]), (2, [3.0, 1.75, 3.5]))
    ]
    found = judge_criterion(leads("a", dict.fromkeys(SKILLS, A)), view(*tables))
    assert told(found)[::2] == (INCONCLUSIVE, 1.0)
    assert found.sentence.endswith(
        "nats of lead over c (40 prompts, 10 templates) (p = 1). The trainings do not agree; by seed 2, -0.5."
    )


def within(**bounds: float) -> TrainedWithin:
    return TrainedWithin(experiment="adapters", probe=A, metric="train_loss", rationale="a test", **bounds)


def losses(*by_seed: float, **given: int) -> Measured:
    return view(
        *(adapters({A: loss}, metric="train_loss", seed=i, **given) for i, loss in enumerate(by_seed))
    )


@pytest.mark.parametrize(
    ("numbers", "bounds", "verdict", "said"),
    [
        ((0.25,), {"at_least": 0.25, "at_most": 0.75}, SUPPORTED, "0.25 (seed 0); 0.25 to 0.75"),
        ((0.75,), {"at_least": 0.25, "at_most": 0.75}, SUPPORTED, "0.75 (seed 0); 0.25 to 0.75"),
        ((0.25, 0.5), {"at_most": 0.5}, SUPPORTED, "0.25 (seed 0), 0.5 (seed 1); at most 0.5"),
        ((0.25, 0.5), {"at_most": 0.3}, INCONCLUSIVE, "0.25 (seed 0), 0.5 (seed 1); at most 0.3"),
        ((0.25, 0.5), {"at_least": 0.6}, REFUTED, "0.25 (seed 0), 0.5 (seed 1); at least 0.6"),
    ],
)
@pytest.mark.parametrize("templates", [5, 1])
def test_a_number_of_each_training_is_told_whole(
    numbers: tuple[float, ...], bounds: dict[str, float], verdict: Verdict, said: str, templates: int
) -> None:
    found = judge_criterion(within(**bounds), losses(*numbers, templates=templates, prompts=1))
    whole = f"A number of each training, not of prompts: train_loss of '{A}' is {said} is asked for."
    assert told(found) == (verdict, whole, None)
    assert found.estimate is None


def test_a_training_with_one_prompt_has_a_number() -> None:
    made = adapters({A: 0.5}, metric="train_loss", templates=1, prompts=1)
    one = replace(
        made,
        prompts=made.prompts[:1],
        metrics={"train_loss": made.metrics["train_loss"][:, :1]},
        baseline={"answer_logprob": made.baseline["answer_logprob"][:1]},
    )
    assert judge_criterion(within(at_most=1.0), view(one)).verdict is SUPPORTED


@pytest.mark.parametrize("column", [0, 40])
def test_a_training_without_a_number_is_named(column: int) -> None:
    broken = with_value(losses(0.5, 0.75).table("adapters"), "train_loss", 0, column + 1, np.nan)
    found = judge_criterion(within(at_most=1.0), view(broken))
    whole = f"Not a measurement: train_loss of '{A}' is not finite in seed {int(column > 0)}."
    assert told(found) == (INVALID, whole, None)


@pytest.mark.parametrize("size", [1000.0, -1000.0, 0.001])
@pytest.mark.parametrize(("apart", "alike"), [(0.5e-9, True), (2e-9, False)])
def test_a_number_may_differ_between_prompts_by_rounding(size: float, apart: float, *, alike: bool) -> None:
    made = with_value(losses(size).table("adapters"), "train_loss", 0, 5, size * (1 + apart))
    if alike:
        assert judge_criterion(within(at_most=2000.0), view(made)).verdict is SUPPORTED
        return
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(within(at_most=2000.0), view(made))
    assert str(missing.value) == (
        f"train_loss of '{A}' differs between prompts: it is no number of a training"
    )


def slope(**bounds: float) -> TrainedSlope:
    over = {1: A, 4: B}
    return TrainedSlope(
        experiment="adapters", over=over, x="rank", metric="update_norm", rationale="a test", **bounds
    )


def norms(*by_seed: tuple[float, float]) -> Measured:
    return view(
        *(adapters({A: one, B: two}, metric="update_norm", seed=i) for i, (one, two) in enumerate(by_seed))
    )


@pytest.mark.parametrize(
    ("by_seed", "bounds", "verdict", "said"),
    [
        (
            ((0.25, 1.0),),
            {"at_most": 1.5},
            SUPPORTED,
            "0.25 at 1, 1 at 4: a slope of 1 (seed 0) {}; at most 1.5",
        ),
        (
            ((0.25, 0.5),),
            {"at_least": 0.6},
            REFUTED,
            "0.25 at 1, 0.5 at 4: a slope of 0.5 (seed 0) {}; at least 0.6",
        ),
        (
            ((2.0, 4.0), (8.0, 128.0)),
            {"at_least": -1.0, "at_most": 1.0},
            INCONCLUSIVE,
            "5 at 1, 66 at 4: a slope of 0.5 (seed 0), 2 (seed 1) {}; -1 to 1",
        ),
    ],
)
def test_a_slope_is_told_with_the_means_of_its_ends(
    by_seed: tuple[tuple[float, float], ...], bounds: dict[str, float], verdict: Verdict, said: str
) -> None:
    found = judge_criterion(slope(**bounds), norms(*by_seed))
    whole = f"update_norm is {said.format('over log rank')} is asked for."
    assert told(found) == (verdict, f"A number of each training, not of prompts: {whole}", None)


@pytest.mark.parametrize(
    ("by_seed", "said"),
    [
        (((1.0, 1.0), (1.0, 0.0)), "'{1}' is 0.0, of which there is no log"),
        (((1.0, 1.0), (-2.0, 1.0)), "'{0}' is -2.0, of which there is no log"),
        (((1.0, 1.0), (1.0, float("nan"))), "'{1}' is not finite in seed 1"),
        (((float("inf"), 1.0), (1.0, 0.0)), "'{0}' is not finite in seed 0"),
    ],
)
def test_what_has_no_logarithm_is_named(by_seed: tuple[tuple[float, float], ...], said: str) -> None:
    found = judge_criterion(slope(at_most=1.0), norms(*by_seed))
    assert told(found) == (INVALID, f"Not a measurement: update_norm of {said.format(A, B)}.", None)
