"""Verdicts on steering and knockouts, at their boundaries, on tables whose means are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.anatomy import Anatomy
from harness.edits import skip
from harness.effects import Effects
from harness.experiments import EXPERIMENTS
from harness.experiments.steering import FACTS, RAW_FACTS, STANCE
from harness.protocols import Protocol
from harness.statistics.clusters import Clusters
from harness.steering import Direction, Kind, Steering, Unit, read_steering
from harness.verdicts.comparable import comparable
from harness.verdicts.criteria import (
    BeatsControls,
    BestSteered,
    FlooredRatio,
    Gain,
    KlFallsWithDepth,
    KnockoutBeatsRandom,
    KnockoutSelects,
    SteeringFalls,
    SteeringGain,
    SteeringInert,
    SteeringMoves,
    SteeringSigns,
    SteeringSlope,
)
from harness.verdicts.judging import judge_criterion, judge_joint_criterion
from harness.verdicts.knockout import floored_ratio
from harness.verdicts.reading import measured
from harness.verdicts.steering_table import halves, read_table
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
WHY: dict[str, Any] = {"rationale": "a test"}
N_LAYERS = 4
FACT_FAMILIES = ("code_syntax", "copying", "factual_recall")
STANCE_FAMILIES = ("factual_recall", "refusal_compliance", "uncertainty")


def made(
    experiment: str = "steering_sweep",
    *,
    gain: Any = lambda steering: 0.0,
    other_drop: Any = lambda steering: 0.0,
    kl: Any = lambda steering: 0.0,
    base: float = -1.0,
    noise: float = 1e-3,
    protocol: Protocol = Protocol.SOUND,
) -> dict[str, Effects]:
    """A table whose skill gains `gain` and whose other tasks lose `other_drop`, by steering; base answers at `base`."""
    probes = EXPERIMENTS[experiment].probes(protocol, Anatomy(n_layers=N_LAYERS))
    steerings = [read_steering(probe) for probe in probes]
    stance = experiment == "steering_stance"
    families = STANCE_FAMILIES if stance else FACT_FAMILIES
    mine = [("factual_recall" in f) != stance for f in families]

    def rows(own: Any, other: Any) -> np.ndarray:
        return np.array([[own(s) if m else other(s) for m in mine] for s in steerings])

    answers = rows(lambda s: base + gain(s), lambda s: base - other_drop(s))
    effects = table(
        probes,
        {
            "kl_nats": rows(kl, kl),
            "answer_logprob": answers,
            "foil_logprob": np.full_like(answers, -3.0),
            "forms_logprob": answers + 0.5,
        },
        noise=noise,
        families=families,
        templates=10,
    )
    prompts = tuple(
        replace(p, answer=" yes" if i % 2 else " no") if stance else p for i, p in enumerate(effects.prompts)
    )
    n = len(prompts)
    if stance:  # what is affirmed rises: of a negative answer the log-probability falls
        signs = np.array([1.0 if p.answer == " yes" else -1.0 for p in prompts])
        raised = effects.metrics["answer_logprob"] - base
        effects = replace(effects, metrics={**effects.metrics, "answer_logprob": base + signs * raised})
    baseline = {
        "answer_logprob": np.full(n, base),
        "foil_logprob": np.full(n, -3.0),
        "entropy_nats": np.ones(n),
    }
    return {experiment: replace(effects, prompts=prompts, baseline=baseline)}


def judged(criterion: Any, tables: dict[str, Effects]) -> Finding:
    return judge_criterion(criterion, measured(tables, N_LAYERS))


def along(layer: int | None = None, *, per: float = 1.0, of: Direction = FACTS) -> Any:
    """`per` nats a unit of strength along a direction, at one block or at all."""

    def value(s: Steering) -> float:
        return per * s.strength if s.direction == of and layer in (None, *s.layers) else 0.0

    return value


LINEAR = along()


# Gains and slopes


@pytest.mark.parametrize(
    ("per", "noise", "verdict"),
    [(0.21, 1e-3, SUPPORTED), (0.19, 1e-3, REFUTED), (0.2, 1e-3, INCONCLUSIVE), (0.4, 1.0, INCONCLUSIVE)],
)
def test_a_gain_at_its_boundary(per: float, noise: float, verdict: Verdict) -> None:
    """Half of 0.2 nats a unit is 0.1 nats."""
    tables = made(gain=along(1, per=per), noise=noise)
    found = judged(SteeringGain(layer=1, at_least=0.1, **WHY), tables)
    assert found.verdict is verdict, found.sentence
    upside_down = judged(SteeringGain(layer=1, at_most=0.1, **WHY), tables)
    opposite = {SUPPORTED: REFUTED, REFUTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}
    assert upside_down.verdict is opposite[verdict]
    if noise < 0.1:
        assert found.estimate is not None
        assert found.estimate.value == pytest.approx(per / 2, abs=2e-3)
        assert found.estimate.low <= per / 2 <= found.estimate.high


def test_every_strength_of_a_gain_must_hold() -> None:
    tables = made(gain=LINEAR)
    assert (
        judged(SteeringGain(layer=1, strengths=(0.5, 1.0), at_least=0.4, **WHY), tables).verdict is SUPPORTED
    )
    assert (
        judged(SteeringGain(layer=1, strengths=(0.25, 1.0), at_least=0.4, **WHY), tables).verdict is REFUTED
    )


def test_a_probability_is_not_a_log_probability() -> None:
    """From e^-1 by one nat to 1: 0.632."""
    tables = made(gain=LINEAR)
    asked = SteeringGain(layer=1, strengths=(1.0,), at_least=0.62, gain=Gain.PROBABILITY, **WHY)
    found = judged(asked, tables)
    assert found.verdict is SUPPORTED
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(1 - np.exp(-1), abs=5e-3)
    assert "of probability" in found.sentence


@pytest.mark.parametrize(
    ("per", "sign", "verdict"), [(0.5, 1, SUPPORTED), (0.5, -1, REFUTED), (0.0, 1, INCONCLUSIVE)]
)
def test_the_sign_of_a_slope(per: float, sign: int, verdict: Verdict) -> None:
    found = judged(SteeringSlope(layer=2, sign=sign, **WHY), made(gain=along(2, per=per)))
    assert found.verdict is verdict, found.sentence
    if per:
        assert found.estimate is not None
        assert found.estimate.value == pytest.approx(per, abs=0.01)


def test_a_slope_is_of_strengths_near_0_of_both_signs() -> None:
    """A harm that has no direction, and one far from 0, are no slope."""
    even = made(gain=lambda s: -abs(s.strength) if s.direction == FACTS else 0.0)
    assert judged(SteeringSlope(layer=1, **WHY), even).verdict is INCONCLUSIVE
    far = made(
        gain=lambda s: -5.0 * s.strength if abs(s.strength) >= 1 else s.strength * (s.direction == FACTS)
    )
    assert judged(SteeringSlope(layer=1, **WHY), far).verdict is SUPPORTED
    assert judged(SteeringSlope(layer=1, window=2.0, **WHY), far).verdict is REFUTED


def test_a_slope_names_a_table_that_is_not_the_default_one() -> None:
    said = f"{Gain.FORMS} rises with the strength at L1, within 0.5 of 0"
    assert str(SteeringSlope(layer=1, **WHY)) == said
    assert str(SteeringSlope(layer=1, experiment="steering_short", **WHY)) == f"in steering_short, {said}"


@pytest.mark.parametrize(("against", "verdict"), [(0.0, SUPPORTED), (0.75, REFUTED), (0.25, INCONCLUSIVE)])
def test_the_share_that_steers_backwards(against: float, verdict: Verdict) -> None:
    tables = made("steering_stance", gain=along(per=2.0, of=STANCE))
    effects = tables["steering_stance"]
    turned = np.array(
        [p.family != "factual_recall" and i % 20 < 20 * against for i, p in enumerate(effects.prompts)]
    )
    answers = effects.metrics["answer_logprob"].copy()
    answers[:, turned] = -1.0 - 0.1 * (answers[:, turned] + 1.0)
    tables["steering_stance"] = replace(effects, metrics={**effects.metrics, "answer_logprob": answers})
    asked = SteeringSlope(experiment="steering_stance", gain=Gain.MARGIN, layer=1, anti_at_most=0.25, **WHY)
    found = judged(asked, tables)
    assert found.verdict is verdict, found.sentence
    assert f"The share is {against:.0%} [" in found.sentence
    without = judged(replace(asked, anti_at_most=None), tables)
    assert without.verdict is (INCONCLUSIVE if against == 0.75 else SUPPORTED)


def test_the_margin_is_of_the_affirmative_answer() -> None:
    """Half of the prompts answer no: the answer's own log-probability moves neither way on average."""
    tables = made("steering_stance", gain=along(per=2.0, of=STANCE))
    asked = {"experiment": "steering_stance", "layer": 1, "strengths": (0.5,), **WHY}
    assert judged(SteeringGain(at_least=0.9, gain=Gain.MARGIN, **asked), tables).verdict is SUPPORTED
    assert judged(SteeringGain(at_least=0.9, gain=Gain.ANSWER, **asked), tables).verdict is REFUTED


# Some block


def test_some_block_is_judged_where_it_was_not_chosen() -> None:
    """All blocks but one do nothing: found, and refuted where none does."""
    tables = made(gain=along(2))
    found = judged(SteeringGain(at_least=0.1, **WHY), tables)
    assert found.verdict is SUPPORTED
    assert found.sentence.startswith("At L2, each half of the templates where the other half chose,")
    nothing = judged(SteeringGain(at_least=0.1, **WHY), made())
    assert nothing.verdict is REFUTED
    assert nothing.sentence.endswith("None of 4 blocks does it.")


def test_a_block_that_is_best_by_chance_is_not_found() -> None:
    """Four blocks of pure noise: the best of them by looking is beyond 0 more often than the cross-fitted one."""
    wrong = 0
    for seed in range(40):
        tables = made(noise=0.3)
        effects = tables["steering_sweep"]
        rng = np.random.default_rng(seed)
        noisy = {m: v + 0.3 * rng.standard_normal(v.shape) for m, v in effects.metrics.items()}
        tables["steering_sweep"] = replace(effects, metrics=noisy)
        wrong += judged(SteeringSlope(**WHY), tables).verdict is SUPPORTED
    assert wrong <= 2


def test_halves_share_no_template() -> None:
    prompts = made()["steering_sweep"].prompts
    first = halves(prompts)
    templates = {(p.family, p.template) for p in prompts}
    chosen = {(p.family, p.template) for p, own in zip(prompts, first, strict=True) if own}
    others = {(p.family, p.template) for p, own in zip(prompts, first, strict=True) if not own}
    assert chosen | others == templates
    assert not chosen & others
    assert len(chosen) == len(others)


# Controls


def controlled(best_random: int, *, lead: float, other: float = 0.0) -> dict[str, Effects]:
    """The direction gains 1 nat at 0.5; `best_random` of the 20 random ones lie `lead` below it, the rest at 0."""

    def gain(s: Steering) -> float:
        if s.direction == FACTS:
            return 2.0 * s.strength
        if s.direction.kind is Kind.RANDOM:
            return 1.0 - lead if (s.direction.draw or 0) < best_random else 0.0
        return other if s.strength > 0 else 0.0

    return made("steering_controls", gain=gain)


@pytest.mark.parametrize(
    ("best_random", "lead", "other", "verdict"),
    [
        (0, 0.0, 0.0, SUPPORTED),
        (1, 0.0, 0.0, SUPPORTED),  # 19 of 20 is 95%
        (2, 0.0, 0.0, REFUTED),
        (2, 0.11, 0.0, SUPPORTED),
        (2, 0.09, 0.0, REFUTED),
        (2, 0.1, 0.0, INCONCLUSIVE),
        (0, 0.0, 0.89, SUPPORTED),
        (0, 0.0, 0.91, REFUTED),
    ],
)
def test_controls_at_their_boundary(best_random: int, lead: float, other: float, verdict: Verdict) -> None:
    asked = BeatsControls(experiment="steering_controls", layer=1, margin_nats=0.1, **WHY)
    found = judged(asked, controlled(best_random, lead=lead, other=other))
    assert found.verdict is verdict, found.sentence


def test_without_controls_there_is_nothing_to_beat() -> None:
    tables = controlled(0, lead=0.0)
    kept = tables["steering_controls"].select(lambda p: read_steering(p).direction.kind is not Kind.RANDOM)  # type: ignore[union-attr]
    with pytest.raises(MissingEvidence, match="no random or no other control"):
        judged(BeatsControls(experiment="steering_controls", layer=1, **WHY), {"steering_controls": kept})


@pytest.mark.parametrize(
    ("per", "verdict"),
    [(0.19, SUPPORTED), (0.21, REFUTED), (-0.21, REFUTED), (-0.19, SUPPORTED), (0.2, INCONCLUSIVE)],
)
def test_inertness_at_its_boundary(per: float, verdict: Verdict) -> None:
    found = judged(SteeringInert(layer=1, within_nats=0.1, **WHY), made(gain=along(1, per=per)))
    assert found.verdict is verdict, found.sentence
    assert "0.5" in found.sentence


@pytest.mark.parametrize(("rival", "verdict"), [(0.5, SUPPORTED), (1.5, REFUTED), (1.0, INCONCLUSIVE)])
def test_the_best_block_is_separated(rival: float, verdict: Verdict) -> None:
    per = {0: 0.2, 1: 0.1, 2: 1.0, 3: rival}
    gain = lambda s: per[s.layers[0]] * s.strength if s.direction == FACTS and len(s.layers) == 1 else 0.0  # noqa: E731
    found = judged(BestSteered(layer=2, **WHY), made(gain=gain, noise=1e-2))
    assert found.verdict is verdict, found.sentence


@pytest.mark.parametrize(("level", "verdict"), [(0.11, REFUTED), (0.09, SUPPORTED), (0.1, INCONCLUSIVE)])
def test_what_is_moved_at_its_boundary(level: float, verdict: Verdict) -> None:
    """One block of four beyond the bound is enough."""
    tables = made(kl=lambda s: level if s.layers == (3,) and s.strength == 0.25 else 0.01)
    found = judged(SteeringMoves(strengths=(-0.25, 0.25), at_most=0.1, **WHY), tables)
    assert found.verdict is verdict, found.sentence
    assert "to L3 at -1'" in found.sentence
    assert (
        judged(SteeringMoves(strengths=(-0.25, 0.25), layers=(1, 2), at_most=0.1, **WHY), tables).verdict
        is SUPPORTED
    )


@pytest.mark.parametrize(
    ("levels", "noise", "verdict"),
    [
        ((4, 3, 2, 1), 1e-3, SUPPORTED),
        ((2, 4, 3, 1), 1e-3, REFUTED),  # -0.4
        ((1, 2, 3, 4), 1e-3, REFUTED),
        ((1.3, 1.2, 1.1, 1.0), 2.0, INCONCLUSIVE),
    ],
)
def test_the_fall_with_depth(levels: tuple[float, ...], noise: float, verdict: Verdict) -> None:
    """Of directions of the block's length; those of one length move every block's prompts alike."""
    probes = EXPERIMENTS["steering_depth"].probes(Protocol.SOUND, Anatomy(n_layers=N_LAYERS))
    read = [s for p in probes if (s := read_steering(p)) is not None]
    fixed = np.array([s.direction.unit is Unit.FIXED for s in read])
    effects = table(probes, {"kl_nats": [levels[s.layers[0]] for s in read]}, noise=noise)
    values = np.where(fixed[:, None], 1.0, effects.metrics["kl_nats"])
    tables = {"steering_depth": replace(effects, metrics={"kl_nats": values})}
    found = judged(KlFallsWithDepth(at_most=-0.6, **WHY), tables)
    assert found.verdict is verdict, found.sentence
    assert judged(KlFallsWithDepth(at_most=-0.6, unit=Unit.FIXED, **WHY), tables).verdict is Verdict.INVALID


# Knockouts


@pytest.mark.parametrize(
    ("skill", "others", "verdict"),
    [
        (1.51, 0.5, SUPPORTED),
        (1.49, 0.5, REFUTED),
        (1.5, 0.5, INCONCLUSIVE),
        (0.51, -0.5, SUPPORTED),
        (2.0, 2.0, REFUTED),
    ],
)
def test_selectivity_at_its_boundary(skill: float, others: float, verdict: Verdict) -> None:
    tables = made(gain=along(per=2 * skill), other_drop=along(per=-2 * others))
    found = judged(KnockoutSelects(layer=1, at_least=1.0, **WHY), tables)
    assert found.verdict is verdict, found.sentence
    opposite = {SUPPORTED: REFUTED, REFUTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}
    assert judged(KnockoutSelects(layer=1, at_most=1.0, **WHY), tables).verdict is opposite[verdict]
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(skill - others, abs=5e-3)
    assert f"costs the skill {skill:.3g} nats" in found.sentence


@pytest.mark.parametrize(
    ("skill", "others", "verdict"),
    [(0.31, 0.1, SUPPORTED), (0.29, 0.1, REFUTED), (0.4, -0.2, SUPPORTED), (0.02, 0.01, INCONCLUSIVE)],
)
def test_the_bounded_index(skill: float, others: float, verdict: Verdict) -> None:
    """0.5 is a ratio of 3; of drops that are hardly there nothing is said."""
    tables = made(gain=along(per=2 * skill), other_drop=along(per=-2 * others))
    asked = KnockoutSelects(layer=1, at_least=0.005, index_at_least=0.5, **WHY)
    found = judged(asked, tables)
    assert found.verdict is verdict, found.sentence
    assert ("undefined" in found.sentence) == (verdict is INCONCLUSIVE)


def test_what_is_not_there_cannot_be_knocked_out() -> None:
    """At a probability of 0.09 nothing is judged, at 0.11 it is."""
    for base, verdict in ((np.log(0.09), INCONCLUSIVE), (np.log(0.11), SUPPORTED)):
        tables = made(gain=along(per=4.0), base=float(base))
        found = judged(KnockoutSelects(layer=1, at_least=1.0, **WHY), tables)
        assert found.verdict is verdict
        assert ("Undefined" in found.sentence) == (verdict is INCONCLUSIVE)


def test_a_knockout_at_some_block_is_judged_where_it_was_not_chosen() -> None:
    """Templates in turn prefer L1 and L2: each half chooses its own, and is judged at the other's."""
    tables = made(gain=lambda s: 4.0 * s.strength if s.direction == FACTS and s.layers == (2,) else 0.0)
    found = judged(KnockoutSelects(at_least=1.0, **WHY), tables)
    assert found.verdict is SUPPORTED
    assert found.sentence.startswith("At L2, each half of the templates where the other half chose,")
    effects = tables["steering_sweep"]
    first, skill = halves(effects.prompts), np.array([p.family == "factual_recall" for p in effects.prompts])
    answers = effects.metrics["answer_logprob"].copy()
    for row, probe in enumerate(effects.probes):
        s = read_steering(probe)
        assert s is not None
        if s.direction == FACTS and s.layers in ((1,), (2,)):
            answers[row] = -1.0 + 6.0 * s.strength * (skill & (first == (s.layers == (1,))))
    split = {"steering_sweep": replace(effects, metrics={**effects.metrics, "answer_logprob": answers})}
    found = judged(KnockoutSelects(at_least=1.0, **WHY), split)
    assert found.verdict is not SUPPORTED
    assert "costs the skill 0 nats" in found.sentence
    assert judged(KnockoutSelects(layer=1, at_least=1.0, **WHY), split).verdict is not REFUTED


def test_families_count_equally_in_a_selectivity() -> None:
    """One of the two other families loses 3 nats on a single prompt a template, the other nothing."""
    tables = made(gain=along(per=4.0))
    effects = tables["steering_sweep"]
    keep = [i for i, p in enumerate(effects.prompts) if not (p.family == "copying" and i % 2)]
    lost = np.array([p.family == "copying" for p in effects.prompts])
    answers = effects.metrics["answer_logprob"] - 3.0 * lost
    effects = replace(
        effects,
        prompts=tuple(effects.prompts[i] for i in keep),
        metrics={m: (answers if m == "answer_logprob" else v)[:, keep] for m, v in effects.metrics.items()},
        baseline={m: v[keep] for m, v in effects.baseline.items()},
    )
    group = comparable(read_table(measured({"steering_sweep": effects}, N_LAYERS), "steering_sweep"), 0.1)
    assert group is not None
    view = read_table(measured({"steering_sweep": effects}, N_LAYERS), "steering_sweep")
    drops = -view.gain(view.at((1,), -0.5), Gain.ANSWER)
    clusters = Clusters.of(group.prompts)
    means = (
        clusters.template_means(np.vstack([group.selectivity(drops[None]), group.parts(drops)]))
        @ clusters.weights
    )
    np.testing.assert_allclose(means, [2.0 - 1.5, 2.0, 1.5], atol=5e-3)


@pytest.mark.parametrize(("level", "verdict"), [(0.89, SUPPORTED), (0.91, REFUTED), (0.9, INCONCLUSIVE)])
def test_the_null_of_random_directions(level: float, verdict: Verdict) -> None:
    """Three of the twenty are nearly as selective; with one alone, 95% are still beaten."""

    def gain(s: Steering, close: int = 3) -> float:
        if s.direction.kind is Kind.RANDOM:
            return -level if (s.direction.draw or 0) < close else 0.0
        return 2.0 * s.strength if s.direction == FACTS else 0.0

    found = judged(KnockoutBeatsRandom(layer=1, **WHY), made("steering_controls", gain=gain))
    assert found.verdict is verdict, found.sentence
    one = made("steering_controls", gain=lambda s: gain(s, close=1))
    assert judged(KnockoutBeatsRandom(layer=1, **WHY), one).verdict is SUPPORTED


# The published ratio


def test_the_published_selectivity_is_a_drop_over_a_constant() -> None:
    """The atlas's own numbers, L19 at -2: 0.032162 -> 0.004942, 0.001707 -> 0.005619; JSON and copying gain."""
    skill = np.mean([0.032162 - 0.004942, 0.001707 - 0.005619])
    others = np.mean([0.999112 - 0.999899, 0.000137 - 0.000100])
    assert skill == pytest.approx(0.011654, abs=1e-6)
    assert others == pytest.approx(-0.000375, abs=1e-6)
    assert floored_ratio(skill, others) == pytest.approx(11654, rel=1e-4)
    assert floored_ratio(skill, others) == skill / 1e-6
    assert floored_ratio(skill, others, floor=1e-3) == pytest.approx(11.654, rel=1e-4)
    assert floored_ratio(skill, others, absolute=True) == pytest.approx(31.08, abs=0.01)
    # Another strength of the same block, and the 1.5B formula:
    assert floored_ratio(-0.004293, -0.000225) == pytest.approx(-4293, rel=1e-3)
    assert floored_ratio(0.015890, 0.011914) == pytest.approx(1.33, abs=0.005)
    assert floored_ratio(0.001056, 0.004361, absolute=True) == pytest.approx(0.242, abs=0.001)


@pytest.mark.parametrize(("others", "ratio"), [(-0.01, 1e6), (0.5, None)])
def test_the_floor_makes_a_selectivity_where_other_tasks_gain(others: float, ratio: float | None) -> None:
    tables = made(
        gain=along(per=0.25, of=RAW_FACTS),
        other_drop=lambda s: others if s.strength < 0 else 0.0,
        protocol=Protocol.PUBLISHED,
        noise=1e-6,
    )
    asked = FlooredRatio(layer=1, strength=-2.0, at_least=100.0, **WHY)
    found = judged(asked, tables)
    drop = np.exp(-1) - np.exp(-1.5)
    assert found.p_value is None
    if ratio is None:
        assert found.verdict is REFUTED
        assert "which is what it is divided by" in found.sentence
    else:
        assert found.verdict is SUPPORTED
        assert f"a ratio of {drop * ratio:.0f}"[:-3] in found.sentence
        assert "which counts as 1e-06" in found.sentence
        assert judged(replace(asked, absolute=True), tables).verdict is REFUTED
    assert judged(replace(asked, layer=None, strength=None), tables).verdict is found.verdict


# Across models


@pytest.mark.parametrize(("weak", "verdict"), [(0.09, SUPPORTED), (0.11, REFUTED), (0.1, INCONCLUSIVE)])
@pytest.mark.parametrize("knockout", [False, True])
def test_a_fall_across_models(weak: float, verdict: Verdict, knockout: bool) -> None:
    models = {
        "a": measured(made(gain=along(1, per=1.0)), N_LAYERS),
        "b": measured(made(gain=along(2, per=weak)), N_LAYERS),
    }
    asked = SteeringFalls(
        strong="a",
        weak="b",
        layers={"a": 1, "b": 2},
        factor=10.0,
        knockout=knockout,
        strength=-0.5 if knockout else 0.5,
        **WHY,
    )
    found = judge_joint_criterion(asked, models)
    assert found.verdict is verdict, found.sentence


@pytest.mark.parametrize(("per", "verdict"), [(-1.0, SUPPORTED), (1.0, REFUTED), (0.0, INCONCLUSIVE)])
def test_signs_across_models(per: float, verdict: Verdict) -> None:
    shared = lambda s: per * s.strength * len(s.layers) if s.direction == FACTS else 0.0  # noqa: E731
    models = {"a": measured(made(gain=LINEAR), N_LAYERS), "b": measured(made(gain=shared), N_LAYERS)}
    for layers in ({"a": 1, "b": 2}, {"a": 1, "b": None}):
        found = judge_joint_criterion(SteeringSigns(signs={"a": 1, "b": -1}, layers=layers, **WHY), models)
        assert found.verdict is verdict, found.sentence


# What is refused


def test_tables_of_something_else_are_missing_evidence() -> None:
    other = {"steering_sweep": table([skip(0), skip(1)], {"kl_nats": [1.0, 2.0]})}
    with pytest.raises(MissingEvidence, match="no table of steering"):
        judged(SteeringGain(layer=1, at_least=0.1, **WHY), other)
    whole = made()
    rowless = whole["steering_sweep"].select(lambda p: read_steering(p).strength != 0.0)  # type: ignore[union-attr]
    with pytest.raises(MissingEvidence, match="0 rows of strength 0"):
        judged(SteeringGain(layer=1, at_least=0.1, **WHY), {"steering_sweep": rowless})
    with pytest.raises(MissingEvidence, match="L9 was not steered"):
        judged(SteeringGain(layer=9, at_least=0.1, **WHY), whole)
    with pytest.raises(MissingEvidence, match="was not measured"):
        judged(SteeringGain(layer=1, strengths=(3.0,), at_least=0.1, **WHY), whole)


def test_a_value_that_is_not_finite_makes_it_invalid() -> None:
    tables = made(gain=LINEAR)
    effects = tables["steering_sweep"]
    for metric in ("forms_logprob", "answer_logprob", "kl_nats"):
        values = effects.metrics[metric].copy()
        values[:, -1] = np.nan
        broken = {"steering_sweep": replace(effects, metrics={**effects.metrics, metric: values})}
        asked: Any = {
            "forms_logprob": SteeringGain(layer=1, at_least=0.1, **WHY),
            "answer_logprob": KnockoutSelects(layer=1, at_least=0.1, **WHY),
            "kl_nats": SteeringMoves(strengths=(0.5,), at_most=0.1, others=False, **WHY),
        }[metric]
        assert judged(asked, broken).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "make",
    [
        lambda: SteeringGain(layer=1, **WHY),
        lambda: SteeringGain(layer=1, at_least=0.1, at_most=0.2, **WHY),
        lambda: SteeringGain(layer=1, strengths=(), at_least=0.1, **WHY),
        lambda: SteeringSlope(sign=0, **WHY),
        lambda: SteeringMoves(strengths=(), at_most=0.1, **WHY),
        lambda: KnockoutSelects(at_least=1.0, strength=0.5, **WHY),
        lambda: KnockoutSelects(**WHY),
        lambda: FlooredRatio(**WHY),
    ],
)
def test_a_criterion_without_a_meaning_is_refused(make: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        make()
