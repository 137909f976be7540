"""Other prompts: the experiments, the planted hub at every length, memory, and the verdicts at their boundaries."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr, t

from harness.anatomy import Anatomy
from harness.edits import Stream, erase, skip, zero
from harness.effects import pool
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.memory import Budget, Shape, chunk_rows, waves
from harness.engine.sweep import sweep
from harness.experiments import EXPERIMENTS
from harness.experiments.robustness import (
    ADDED_FAMILIES,
    LENGTH_FAMILIES,
    NARROW_FAMILIES,
    REWORDED_FAMILIES,
)
from harness.experiments.steering import FACTS
from harness.figures.robustness import draw_bands, draw_families
from harness.measure import draw_prompts
from harness.planted.steerable import Steering as Step
from harness.planted.steered_bands import LAYER
from harness.protocols import Protocol
from harness.steering import Steering, read_steering
from harness.tests.test_memory import MIB, model_of, prompts_of
from harness.verdicts.criteria import (
    Condition,
    OnePromptMisleads,
    ProfileOf,
    ProfilesAgree,
    SameTop,
    SteeringWeakens,
    TopMoves,
)
from harness.verdicts.judging import judge_criterion
from harness.verdicts.matching import questions
from harness.verdicts.reading import make_profile, measured
from harness.verdicts.robustness import read_condition
from harness.verdicts.selectors import Singles, Sublayer
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import MissingEvidence, Verdict
from tasks.suites import IN_PROSE, SUITES

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
INVALID = Verdict.INVALID
SOUND, PUBLISHED = Protocol.SOUND, Protocol.PUBLISHED
BANDS = ("layers_short", "layers_medium", "layers_long")
NAMES = (*BANDS, "layers_natural", "layers_extended")
WHY = "of the test"


def condition(experiment, *families, name=""):
    of = ProfileOf(experiment=experiment, select=Singles(), noun="block")
    return Condition(name=name or experiment, parts=(of,), families=families)


def sweep_of(means, **how):
    return table([skip(layer) for layer in range(len(means))], {"kl_nats": means}, **how)


def verdict(criterion, tables):
    return judge_criterion(criterion, measured(tables)).verdict


def over(kind, *names, **more):
    return kind(conditions=tuple(condition(name) for name in names), rationale=WHY, **more)


# The experiments


def test_each_experiment_removes_every_block_and_the_bands_every_mlp_too():
    for name in NAMES:
        found = {p: EXPERIMENTS[name].probes(p, Anatomy(n_layers=3)) for p in Protocol}
        mlps = tuple(zero(Stream.MLP_OUT, layer) for layer in range(3)) if name in BANDS else ()
        assert found[SOUND] == (skip(0), skip(1), skip(2), *mlps)
        assert found[PUBLISHED] == (erase(0), erase(1), erase(2))


def test_the_families_are_those_of_the_suites():
    names = {suite: {family.name for family in families} for suite, families in SUITES.items()}
    assert set(NARROW_FAMILIES) == names["narrow"]
    assert set(ADDED_FAMILIES) == names["extended"] - names["full"]
    assert set(REWORDED_FAMILIES) == set(IN_PROSE)
    assert set(LENGTH_FAMILIES) < names["short"]
    assert set(NARROW_FAMILIES) | set(REWORDED_FAMILIES) <= names["full"]


@pytest.mark.parametrize("seed", [42, 137])
def test_the_questions_of_a_longer_band_are_among_those_of_a_shorter_one(subject, seed):
    drawn = {name: draw_prompts(subject.loaded, EXPERIMENTS[name], seed).records for name in BANDS}
    assert [len(records) for records in drawn.values()] == [12, 8, 4]
    for name, (low, high) in zip(BANDS, ((1, 30), (30, 150), (150, 1000)), strict=True):
        assert {record.family for record in drawn[name]} == set(LENGTH_FAMILIES)
        assert all(low <= record.n_tokens <= high for record in drawn[name])
    for longer, shorter in ((BANDS[1], BANDS[0]), (BANDS[2], BANDS[1]), (BANDS[2], BANDS[0])):
        questions = [record.text.split("\n\n")[-1] for record in drawn[longer]]
        assert all(any(r.text.endswith(question) for r in drawn[shorter]) for question in questions)


STEERED = ("steering_short", "steering_medium", "steering_long")


@pytest.mark.parametrize("name", STEERED)
def test_each_band_is_steered_along_the_direction_of_the_full_suite_and_along_random_ones(name):
    experiment = EXPERIMENTS[name]
    found = [read_steering(probe) for probe in experiment.probes(SOUND, Anatomy(n_layers=30))]
    facts = [(s.layers, s.strength) for s in found if s.direction == FACTS]
    assert facts[0][1] == 0.0
    assert facts[1:] == [((layer,), s) for layer in (6, 14, 23) for s in (-0.5, 0.5, 1.0)]
    assert len(found) == 1 + 9 + 2 * 3 * 2
    assert {str(s.direction) for s in found} == set(experiment.donors)
    assert experiment.suite == name.removeprefix("steering_")


@pytest.mark.parametrize("seed", [42, 137])
def test_the_steered_questions_of_a_longer_band_are_among_those_of_a_shorter_one(subject, seed):
    drawn = {name: draw_prompts(subject.loaded, EXPERIMENTS[name], seed).records for name in STEERED}
    assert [len(records) for records in drawn.values()] == [16, 16, 8]
    for longer, shorter in ((STEERED[1], STEERED[0]), (STEERED[2], STEERED[1])):
        assert {record.family for record in drawn[longer]} == {"factual_recall", "copying"}
        questions = [record.text.split("\n\n")[-1] for record in drawn[longer]]
        assert all(any(r.text.endswith(question) for r in drawn[shorter]) for question in questions)


# The planted hub


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    from harness.planted.testing import PlantedModel

    torch.set_num_threads(1)
    return PlantedModel("hub", tmp_path_factory.mktemp("planted"), layer=2, n_layers=4)


@pytest.mark.parametrize("name", NAMES)
def test_the_planted_hub_is_found_at_every_length_wording_and_breadth(planted, name):
    evidence = planted.measure(name)
    assert evidence.failed == ()
    effects = evidence.effects
    blocks = [effects.row(skip(layer)) for layer in range(4)]
    expected = [
        [planted.plan.kl_nats(ids, skip=[layer]) for ids in planted.encode(evidence)] for layer in range(4)
    ]
    np.testing.assert_allclose(effects.metrics["kl_nats"][blocks], expected, atol=1e-4)
    means = effects.means("kl_nats")[blocks]
    assert means.argmax() == 2
    assert means[2] > 5 * np.delete(means, 2).max()


@pytest.fixture(scope="module")
def said_by_the_context(tmp_path_factory):
    from harness.planted.steered_bands import CONTEXTS, SteeredInBands

    torch.set_num_threads(1)
    return SteeredInBands(tmp_path_factory.mktemp("said"), CONTEXTS)


def test_steering_weakens_where_the_context_has_raised_the_answer_already(said_by_the_context):
    """At L3, between the direction's source and its reader; a context raises the answers by itself, by 12 nats."""
    model = said_by_the_context
    tables = {name: model.measure(name) for name in ("steering_short", "steering_long")}
    slopes = {}
    for name, evidence in tables.items():
        assert evidence.failed == ()
        effects, vector = evidence.effects, model.direction(evidence)[LAYER]
        own = [i for i, p in enumerate(effects.prompts) if p.family == FACTS.skill]
        gains = []
        for strength in (0.5, -0.5):
            step = Step(layer=LAYER, alpha=strength, direction=vector, positions=(-1,))
            gains.append([model.expected(evidence, i, step)["forms_logprob"] for i in own])
            row = effects.row(Steering(direction=FACTS, layers=(LAYER,), strength=strength).edit())
            np.testing.assert_allclose(effects.metrics["forms_logprob"][row, own], gains[-1], atol=2e-4)
        slopes[name] = np.mean(gains[0]) - np.mean(gains[1])
    assert slopes["steering_short"] == pytest.approx(7.5, abs=0.3)
    assert abs(slopes["steering_long"]) < 0.6, "what the direction has besides the planted one"
    pooled = {
        name: pool([evidence.effects, model.measure(name, seed=137).effects])
        for name, evidence in tables.items()
    }
    found = judge_criterion(SteeringWeakens(factor=0.8, rationale=WHY), measured(pooled, 5))
    assert found.verdict is SUPPORTED
    assert found.sentence.startswith("At L3, ")
    assert " On the 8 questions that both ask " in found.sentence


def test_on_long_prompts_directions_are_added_to_the_last_token(subject):
    """Every strength of every direction on the shortest of the long prompts, against hooks."""
    experiment = EXPERIMENTS["steering_long"]
    drawn = draw_prompts(subject.loaded, experiment, 42)
    question = subject.question(experiment, SOUND, 42)
    donors = subject.donors(experiment, question, drawn)
    item = min(drawn.items, key=lambda item: len(item.ids))
    probes = experiment.probes(SOUND, question.anatomy)
    found, _ = sweep(subject.stack, [item], probes, donors=donors, contrasted=True)
    model = subject.loaded.model
    base = naive.run(model, item.ids, None)
    assert len(item.ids) > 150
    for probe, moved in zip(probes, found["kl_nats"][:, 0], strict=True):
        vectors = donors[str(read_steering(probe).direction)]
        edited = naive.run(model, item.ids, probe, lambda site, vectors=vectors: vectors[site])
        assert moved == pytest.approx(naive.measure(base, edited, 0)["kl_nats"], abs=1e-4, rel=1e-4), str(
            probe
        )
    assert found["kl_nats"][1:].max() > 0.01


# Memory


SIZES = {
    "vocab_size": 500,
    "hidden_size": 512,
    "intermediate_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
}
"""Wide for its depth: what a sweep holds is streams of 1,000 tokens, 111 MiB where nothing bounds it."""
PROBES = EXPERIMENTS["layers_long"].probes(SOUND, Anatomy(n_layers=SIZES["num_hidden_layers"]))
BUDGET = 100 * MIB

PEAK = """
import json, sys, threading, time
import psutil, torch
from harness.engine.blocks import Stack
from harness.engine.sweep import sweep
from harness.tests.test_memory import model_of, prompts_of
from harness.tests.test_robustness import PROBES, SIZES

torch.set_num_threads(1)
torch.set_grad_enabled(False)
model, prompts = model_of(**SIZES), prompts_of((1000,), SIZES["vocab_size"])
model(input_ids=torch.tensor([prompts[0].ids]))  # what torch keeps for itself is not the sweep's
process, seen, stop = psutil.Process(), [], threading.Event()

def watch():
    while not stop.is_set():
        seen.append(process.memory_info().rss)
        time.sleep(0.001)

start = process.memory_info().rss
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
sweep(Stack(model), prompts, PROBES, memory_bytes=int(sys.argv[1]))
stop.set()
watcher.join()
print(json.dumps(max(seen) - start))
"""


def peak(budget):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(budget)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_blocks_and_mlps_at_a_thousand_tokens_keep_a_budget_that_they_would_overrun():
    budget = Budget(
        bytes=BUDGET, shape=Shape.of(Stack(model_of(**SIZES))), chunk_rows=chunk_rows(torch.device("cpu"))
    )
    assert len(waves(budget, [1000], PROBES, range(len(PROBES)))) > 1
    assert peak(BUDGET) <= BUDGET


def test_at_a_thousand_tokens_the_numbers_are_those_of_one_run_an_edit():
    model = model_of(**{**SIZES, "num_hidden_layers": 4})
    probes = EXPERIMENTS["layers_long"].probes(SOUND, Anatomy(n_layers=4))
    (prompt,) = prompts_of((1000,), SIZES["vocab_size"])
    found, _ = sweep(Stack(model), [prompt], probes, memory_bytes=BUDGET)
    base = naive.run(model, prompt.ids, None)
    expected = [
        naive.measure(base, naive.run(model, prompt.ids, probe), prompt.answer)["kl_nats"] for probe in probes
    ]
    np.testing.assert_allclose(found["kl_nats"][:, 0], expected, rtol=1e-3, atol=1e-6)


# SameTop and TopMoves

HERE, THERE = [3.0, 1.0, 0.5], [1.0, 3.0, 0.5]
TIED = [3.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("one", "two", "stays", "moves"),
    [
        (HERE, HERE, SUPPORTED, REFUTED),
        (HERE, THERE, REFUTED, SUPPORTED),
        (HERE, TIED, INCONCLUSIVE, INCONCLUSIVE),
        (TIED, TIED, INCONCLUSIVE, INCONCLUSIVE),
        (HERE, [1.0, 1.0, 1.0], INVALID, INVALID),
    ],
)
def test_a_separated_top_stays_or_moves_and_a_tie_does_neither(one, two, stays, moves):
    tables = {
        "layers_short": sweep_of(one, noise=0.0 if one == [1.0] * 3 else 0.01),
        "layers_long": sweep_of(two, noise=0.0 if two == [1.0] * 3 else 0.01, seed=7),
    }
    assert verdict(over(SameTop, "layers_short", "layers_long"), tables) is stays
    assert verdict(over(TopMoves, "layers_short", "layers_long"), tables) is moves


def test_of_three_conditions_one_that_differs_is_enough_to_move_and_one_tie_to_leave_it_open():
    names = BANDS
    alike = {name: sweep_of(HERE, noise=0.01) for name in names}
    assert verdict(over(SameTop, *names), alike) is SUPPORTED
    assert verdict(over(SameTop, *names), {**alike, "layers_medium": sweep_of(THERE, noise=0.01)}) is REFUTED
    assert (
        verdict(over(SameTop, *names), {**alike, "layers_medium": sweep_of(TIED, noise=0.01)}) is INCONCLUSIVE
    )


@pytest.mark.parametrize(("templates", "expected"), [(7, INCONCLUSIVE), (8, SUPPORTED)])
def test_a_top_stays_from_the_number_of_templates_on_at_which_equal_signs_can_decide(templates, expected):
    """n equal signs have a two-sided p of 2 / 2^n: 0.0156 for seven, 0.0078 for eight; 0.01 is asked for."""
    tables = {n: sweep_of(HERE, noise=0.01, families=templates, templates=1) for n in BANDS[:2]}
    assert verdict(over(SameTop, *BANDS[:2]), tables) is expected


@pytest.mark.parametrize(("templates", "expected"), [(8, INCONCLUSIVE), (9, REFUTED)])
def test_a_top_moves_from_one_template_more_because_either_condition_may_come_first(templates, expected):
    """Twice 0.0078 for eight, twice 0.0039 for nine."""
    means = dict(zip(BANDS[:2], (HERE, THERE), strict=True))
    tables = {n: sweep_of(m, noise=0.01, families=templates, templates=1) for n, m in means.items()}
    assert verdict(over(SameTop, *BANDS[:2]), tables) is expected


def one_family(t_value, n=5, top=0):
    """Two blocks whose paired differences over n templates have this t statistic."""
    spread = np.linspace(-1.0, 1.0, n) * 0.1
    lead = spread + t_value * spread.std(ddof=1) / np.sqrt(n)
    effects = sweep_of([1.0, 1.0], families=["json"], templates=n, prompts=1, noise=0.0)
    values = np.ones((2, n))
    values[top] += lead
    return replace(effects, metrics={"kl_nats": values})


@pytest.mark.parametrize(("off", "expected"), [(-0.02, INCONCLUSIVE), (0.02, SUPPORTED)])
def test_in_one_family_a_top_stays_by_student_s_t(off, expected):
    tables = {name: one_family(t.ppf(1 - 0.005, 4) + off) for name in BANDS[:2]}
    criterion = SameTop(conditions=tuple(condition(n, "json") for n in BANDS[:2]), rationale=WHY)
    assert verdict(criterion, tables) is expected


@pytest.mark.parametrize(("off", "expected"), [(-0.02, INCONCLUSIVE), (0.02, SUPPORTED)])
def test_in_one_family_a_top_moves_by_student_s_t_halved(off, expected):
    limit = t.ppf(1 - 0.0025, 4) + off
    tables = {BANDS[0]: one_family(limit), BANDS[1]: one_family(20.0, top=1)}
    criterion = TopMoves(conditions=tuple(condition(n, "json") for n in BANDS[:2]), rationale=WHY)
    assert verdict(criterion, tables) is expected


def test_a_single_prompt_of_one_family_decides_nothing():
    tables = {name: one_family(20.0, n=2, top=i) for i, name in enumerate(BANDS[:2])}
    alone = {
        name: replace(
            effects,
            prompts=effects.prompts[:1],
            metrics={"kl_nats": effects.metrics["kl_nats"][:, :1]},
            baseline={"entropy_nats": effects.baseline["entropy_nats"][:1]},
        )
        for name, effects in tables.items()
    }
    criterion = SameTop(conditions=tuple(condition(n, "json") for n in BANDS[:2]), rationale=WHY)
    assert verdict(criterion, alone) is INCONCLUSIVE


def test_the_sentence_names_the_conditions_their_tops_and_how_many_prompts():
    tables = {"layers_short": sweep_of(HERE, noise=1e-4), "layers_long": sweep_of(THERE, noise=1e-4)}
    found = judge_criterion(over(SameTop, "layers_short", "layers_long"), measured(tables))
    assert "layers_short: L0 with 3 nats, separated from L1 with 1 nats" in found.sentence
    assert "layers_long: L1" in found.sentence
    assert "120 prompts, 60 templates" in found.sentence
    assert "so it moves" in found.sentence


# ProfilesAgree

ONE = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
TWO = ONE[[1, 0, 2, 4, 3, 5]]


@pytest.mark.parametrize(("off", "expected"), [(-0.01, SUPPORTED), (0.01, REFUTED)])
def test_profiles_agree_up_to_their_spearman_correlation(off, expected):
    truth = spearmanr(ONE, TWO).statistic
    tables = {"layers_short": sweep_of(ONE), "layers_natural": sweep_of(TWO, seed=7)}
    criterion = over(ProfilesAgree, "layers_short", "layers_natural", at_least=truth + off)
    found = judge_criterion(criterion, measured(tables))
    assert found.verdict is expected
    assert found.estimate.value == pytest.approx(truth)


def test_profiles_that_noise_could_order_either_way_are_undecided():
    level = 3.0 + 0.02 * np.arange(6)
    tables = {
        "layers_short": sweep_of(level, noise=1.0, templates=2),
        "layers_natural": sweep_of(level, noise=1.0, templates=2, seed=7, families=["a", "b", "c"]),
    }
    assert (
        verdict(over(ProfilesAgree, "layers_short", "layers_natural", at_least=0.5), tables) is INCONCLUSIVE
    )


def lengthened(effects, keep, context):
    """The same questions behind a context: those of `keep`, in that order, with the same effects."""
    prompts = tuple(replace(effects.prompts[i], text=f"{context}\n\n{effects.prompts[i].text}") for i in keep)
    return replace(
        effects,
        prompts=prompts,
        metrics={"kl_nats": effects.metrics["kl_nats"][:, keep]},
        baseline={"entropy_nats": effects.baseline["entropy_nats"][keep]},
    )


def test_matched_profiles_are_compared_on_the_questions_both_ask_and_resampled_together():
    """Templates scatter more than layers differ, so only the same questions on both sides can show that they agree."""
    short = sweep_of(ONE / 10, noise=2.0)
    tables = {
        "layers_short": short,
        "layers_medium": lengthened(short, list(range(119, -1, -2)), "A sentence."),
        "layers_long": lengthened(short, list(range(0, 120, 3)), "Another sentence. And one more."),
    }
    matched = over(ProfilesAgree, *BANDS, at_least=0.9, matched=True)
    found = judge_criterion(matched, measured(tables))
    assert found.verdict is SUPPORTED
    assert found.estimate.low == pytest.approx(1.0)
    apart = judge_criterion(over(ProfilesAgree, *BANDS, at_least=0.9), measured(tables))
    assert apart.verdict is not SUPPORTED
    view = measured(tables)
    bare, medium, _ = (read_condition(c, view) for c in matched.conditions)
    pairs = questions(bare.prompts, medium.prompts)
    assert pairs == {i: (119 - i) // 2 for i in range(1, 120, 2)}


@pytest.mark.parametrize("seed", [42, 137])
def test_the_bands_as_drawn_share_their_questions(subject, seed):
    profiles = []
    for name in BANDS:
        records = draw_prompts(subject.loaded, EXPERIMENTS[name], seed).records
        profiles.append(make_profile(np.random.default_rng(0).random((2, len(records))), records))
    bare, *longer = profiles
    assert [len(questions(bare.prompts, profile.prompts)) for profile in (bare, *longer)] == [12, 8, 4]


def test_conditions_without_a_shared_question_cannot_be_matched():
    tables = {"layers_short": sweep_of(ONE), "layers_long": sweep_of(ONE, seed=7)}
    with pytest.raises(MissingEvidence, match="share no question"):
        verdict(over(ProfilesAgree, "layers_short", "layers_long", at_least=0.5, matched=True), tables)


# OnePromptMisleads


def exact_share(effects, top):
    """Share of all choices of one prompt a family, each family's templates and their prompts equally likely."""
    families = {p.family: [] for p in effects.prompts}
    for i, prompt in enumerate(effects.prompts):
        families[prompt.family].append(i)
    draws = [
        effects.metrics["kl_nats"][:, list(chosen)].mean(axis=1) for chosen in product(*families.values())
    ]
    return np.mean([draw.argmax() != top for draw in draws])


def drawn(noise=0.8, lead=1.0):
    return sweep_of([1.0 + lead, 1.0, 0.2], noise=noise, families=2, templates=20, prompts=2, seed=5)


def few(at_least):
    return OnePromptMisleads(condition=condition("layer_sweep"), at_least=at_least, rationale=WHY)


def test_the_share_is_that_of_all_draws():
    effects = drawn()
    truth = exact_share(effects, 0)
    assert 0.02 < truth < 0.5
    found = judge_criterion(few(0.3), measured({"layer_sweep": effects}))
    assert found.estimate.value == pytest.approx(truth, abs=0.015)
    assert found.estimate.low <= truth <= found.estimate.high


def test_one_prompt_misleads_beyond_either_end_of_the_interval_and_not_between():
    tables = {"layer_sweep": drawn()}
    interval = judge_criterion(few(0.3), measured(tables)).estimate
    for limit, expected in (
        (interval.low - 0.001, SUPPORTED),
        (interval.low + 0.001, INCONCLUSIVE),
        (interval.high - 0.001, INCONCLUSIVE),
        (interval.high + 0.001, REFUTED),
    ):
        assert verdict(few(limit), tables) is expected


def test_where_nothing_leads_there_is_no_hub_to_miss():
    tables = {"layer_sweep": drawn(lead=0.0)}
    found = judge_criterion(few(0.05), measured(tables))
    assert found.estimate.low > 0.05
    assert found.verdict is INCONCLUSIVE
    assert "no hub to miss" in found.sentence


def test_a_single_template_a_family_is_read_as_it_is():
    effects = sweep_of(HERE, noise=0.01, families=9, templates=1, prompts=2)
    assert verdict(few(0.3), {"layer_sweep": effects}) is REFUTED


# Conditions


def test_a_condition_puts_parts_together_and_keeps_its_families():
    wide = sweep_of(HERE, families=["a", "b"])
    more = sweep_of(THERE, families=["c"], seed=7)
    view = measured({"layer_sweep": wide, "layers_extended": more})
    parts = condition("layer_sweep").parts + condition("layers_extended").parts
    together = read_condition(Condition(name="all", parts=parts), view)
    np.testing.assert_allclose(together.sampled.value, (2 * np.array(HERE) + THERE) / 3, atol=1e-3)
    part = read_condition(Condition(name="some", parts=parts, families=("b", "c")), view)
    np.testing.assert_allclose(part.sampled.value, (np.array(HERE) + THERE) / 2, atol=1e-3)
    with pytest.raises(MissingEvidence, match="no prompt of d"):
        read_condition(Condition(name="none", parts=parts, families=("a", "d")), view)


def test_what_is_not_finite_is_invalid():
    broken = sweep_of(HERE)
    broken.metrics["kl_nats"][1, 3] = np.nan
    tables = {"layers_short": sweep_of(HERE), "layers_long": broken}
    assert verdict(over(SameTop, "layers_short", "layers_long"), tables) is INVALID
    assert verdict(over(ProfilesAgree, "layers_short", "layers_long", at_least=0.5), tables) is INVALID


def test_cards_that_compare_nothing_are_refused():
    with pytest.raises(ValueError, match="two conditions at least"):
        over(SameTop, "layers_short")
    with pytest.raises(ValueError, match="each named once"):
        over(SameTop, "layers_short", "layers_short")
    mlp = ProfileOf(experiment="layers_short", select=Sublayer(stream=Stream.MLP_OUT), noun="MLP")
    with pytest.raises(ValueError, match="different things"):
        Condition(name="both", parts=(*condition("layers_short").parts, mlp))
    with pytest.raises(ValueError, match="a share above 0"):
        few(0.0)


# The figures


def test_the_figures_show_the_means_of_each_band_and_of_each_family():
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    by_family = np.array([[3.0, 1.0], [1.0, 2.0], [0.5, 0.2]])
    probes = [skip(2), skip(0), skip(1), *(zero(Stream.MLP_OUT, layer) for layer in range(3))]
    values = {"kl_nats": np.array([0.5, 3.0, 1.0, 0.1, 0.2, 0.3])}
    tables = {(name, SOUND): table(probes, values) for name in BANDS}
    families = ["arithmetic", "copying"]
    tables["layer_sweep", SOUND] = sweep_of(by_family, families=families)
    tables["layers_natural", SOUND] = sweep_of(HERE)
    figure = plt.figure()
    draw_bands(figure, tables)
    blocks, mlps, wording = figure.axes
    assert len(blocks.lines) == len(mlps.lines) == 3
    np.testing.assert_allclose(blocks.lines[0].get_ydata(), [3.0, 1.0, 0.5], atol=1e-3)
    np.testing.assert_allclose(mlps.lines[2].get_ydata(), [0.1, 0.2, 0.3], atol=1e-3)
    np.testing.assert_allclose(wording.lines[0].get_ydata(), by_family.mean(axis=1), atol=1e-3)
    plt.close(figure)
    figure = plt.figure()
    draw_families(figure, tables)
    heat = figure.axes[0]
    np.testing.assert_allclose(heat.images[0].get_array(), by_family.T, atol=1e-3)
    assert [label.get_text() for label in heat.get_yticklabels()] == families
    np.testing.assert_array_equal(heat.lines[0].get_xdata(), [0, 1])
    plt.close(figure)
