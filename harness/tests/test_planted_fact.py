"""The lookup is found in one MLP and its delivery in one head; prompts about nothing known are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.edits import Stream, patch, zero
from harness.engine import naive
from harness.engine.sweep import sweep
from harness.evidence import Evidence
from harness.experiments import CLEAN, CORRUPT, EXPERIMENTS
from harness.measure import draw_prompts
from harness.planted.fact import COMMON_FACTS, build_fact, fact_plan
from harness.planted.testing import PlantedModel

TOLERANCE_NATS = 1e-4
"""Between the measured KL, in float32, and the closed form, in float64."""
CLEARED_NATS = 1e-6
N_LAYERS = 6

PLACEMENTS = [
    {"layer": 1, "mover": (3, 2), "seed": 0},
    {"layer": 0, "mover": (1, 0), "seed": 1},
    {"layer": 4, "mover": (5, 3), "seed": 2},
]


pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built fact model and its closed form; experiments are measured as a user measures them."""

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, Any]) -> None:
        super().__init__("fact", root, tokenizer=tokenizer, **parameters)
        self.layer, self.mover = parameters["layer"], parameters["mover"]

    def prompts(self, evidence: Evidence) -> tuple[list[list[int]], np.ndarray]:
        """Token ids of the prompts, and which of them mention a subject."""
        ids = self.encode(evidence)
        return ids, self.mention(ids)

    def mention(self, prompts: Any) -> np.ndarray:
        subjects = {self.subject.loaded.encode(subject)[0] for subject, _ in COMMON_FACTS}
        return np.array([not subjects.isdisjoint(ids) for ids in prompts])


@pytest.fixture(scope="module", params=PLACEMENTS, ids=lambda p: f"L{p['layer']}")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("fact"), planted_tokenizer, request.param)


def test_skipping_the_lookup_costs_its_subjects_the_fact_and_no_other_prompt_anything(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    assert evidence.failed == ()
    assert case.truth["lookup_layer"] == case.layer
    kl, top1 = (evidence.effects.metrics[name] for name in ("kl_nats", "argmax_match"))
    _, knows = case.prompts(evidence)
    assert 5 <= knows.sum() <= 60
    assert kl[case.layer, knows].min() > 1.0
    assert top1[case.layer, knows].max() == 0.0
    assert np.abs(kl[case.layer, ~knows]).max() <= CLEARED_NATS
    assert top1[case.layer, ~knows].min() == 1.0
    others = [layer for layer in range(N_LAYERS) if layer not in (case.layer, case.mover[0])]
    assert kl[others][:, knows].max() < 0.1
    assert kl[others][:, ~knows].mean(axis=1).min() > 10 * CLEARED_NATS


def test_every_skip_is_the_closed_form(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    prompts, knows = case.prompts(evidence)
    for column in [*np.flatnonzero(knows), *np.flatnonzero(~knows)[::6]]:
        expected = [case.plan.kl_nats(prompts[column], skip=[layer]) for layer in range(N_LAYERS)]
        measured = evidence.effects.metrics["kl_nats"][:, column]
        np.testing.assert_allclose(measured, expected, atol=TOLERANCE_NATS, rtol=0)


def test_zeroing_one_mlp_loses_the_fact_and_zeroing_any_other_does_not(case: Case) -> None:
    drawn = draw_prompts(case.subject.loaded, EXPERIMENTS["layer_sweep"], 137).items
    knows = case.mention([item.ids for item in drawn])
    probes = [zero(Stream.MLP_OUT, layer) for layer in range(N_LAYERS)]
    kl = sweep(case.subject.stack, drawn, probes)[0]["kl_nats"]
    assert knows.sum() >= 5
    assert kl[case.layer, knows].min() > 1.0
    assert np.abs(kl[case.layer, ~knows]).max() <= CLEARED_NATS
    assert np.delete(kl, case.layer, axis=0)[:, knows].max() < 0.1
    expected = [case.plan.kl_nats(item.ids, skip=[case.layer]) for item in drawn]
    np.testing.assert_allclose(kl[case.layer], expected, atol=TOLERANCE_NATS, rtol=0)


def test_the_sweep_over_heads_finds_the_mover(case: Case) -> None:
    evidence = case.measure("head_sweep")
    assert evidence.failed == ()
    assert tuple(case.truth["mover"]) == case.mover
    prompts, knows = case.prompts(evidence)
    kl = evidence.effects.metrics["kl_nats"]
    mover = evidence.effects.row(zero(Stream.Z, *case.mover))
    assert knows.sum() >= 2
    assert kl[mover, knows].min() > 1.0
    assert np.abs(kl[mover, ~knows]).max() <= CLEARED_NATS
    assert np.delete(kl, mover, axis=0)[:, knows].max() < 0.1
    for row, probe in enumerate(evidence.effects.probes):
        heads = [(site.layer, site.head) for site in probe.sites]
        expected = [case.plan.kl_nats(ids, zero_heads=heads) for ids in prompts[::6]]
        np.testing.assert_allclose(kl[row, ::6], expected, atol=TOLERANCE_NATS, rtol=0)


@pytest.mark.parametrize(("name", "donor"), [("sublayer_corrupt", CORRUPT), ("sublayer_clean", CLEAN)])
def test_of_a_pair_the_lookup_and_its_delivery_bring_the_other_prompts_fact(
    case: Case, name: str, donor: str
) -> None:
    evidence = case.measure(name)
    assert evidence.failed == ()
    drawn = draw_prompts(case.subject.loaded, EXPERIMENTS[name], 42)
    other = {CORRUPT: drawn.corrupt, CLEAN: drawn.clean}[donor]
    kl, model = evidence.effects.metrics["kl_nats"], case.subject.loaded.model
    knows = case.mention([item.ids for item in drawn.items])
    either = knows | case.mention(other)
    writers = [
        evidence.effects.row(patch(Stream.MLP_OUT, case.layer, donor)),
        evidence.effects.row(patch(Stream.ATTN_OUT, case.mover[0], donor)),
    ]
    assert knows.sum() >= 2
    assert kl[writers][:, knows].mean(axis=1).min() > 1.0
    assert np.abs(kl[writers[0], ~either]).max() <= CLEARED_NATS
    assert np.delete(kl, writers, axis=0).mean(axis=1).max() < 0.1 * kl[writers].mean(axis=1).min()
    for column in np.flatnonzero(either)[:4]:
        for row in writers:
            probe = evidence.effects.probes[row]
            (site,) = probe.sites
            with naive.activations(model, [site]) as seen:
                naive.run(model, other[column], None)
            there = seen[site]
            base = naive.run(model, drawn.items[column].ids, None)
            edited = naive.run(model, drawn.items[column].ids, probe, lambda _, there=there: there)
            moved = naive.measure(base, edited, 0)["kl_nats"]
            assert kl[row, column] == pytest.approx(moved, abs=TOLERANCE_NATS)


def test_plain_hooks_agree_and_the_model_says_the_answer_as_long_as_the_mlp_runs(case: Case) -> None:
    model, encode = case.subject.loaded.model, case.subject.loaded.encode
    for subject, answer in COMMON_FACTS:
        ids, known = encode(f"Everyone knows that{subject} is the name of a kind of"), encode(answer)[0]
        base = naive.run(model, ids, None)
        edited = naive.run(model, ids, zero(Stream.MLP_OUT, case.layer))
        assert int(base.argmax()) == known
        assert int(edited.argmax()) != known
        np.testing.assert_allclose(base, case.plan.logits(ids), atol=1e-4, rtol=0)
        np.testing.assert_allclose(edited, case.plan.logits(ids, skip=[case.layer]), atol=1e-4, rtol=0)


def test_the_answer_is_the_task_suites_own(case: Case) -> None:
    """On the suite's prompts about capitals and opposites the model answers as the suite does."""
    evidence = case.measure("layer_sweep")
    asked = [p for p in evidence.effects.prompts if p.template in ("capital_city", "opposite")]
    assert asked
    for prompt in asked:
        ids = case.subject.loaded.encode(prompt.text)
        top = int(naive.run(case.subject.loaded.model, ids, None).argmax())
        assert top == case.subject.loaded.encode(prompt.text + prompt.answer)[-1], prompt.text


def test_two_subjects_share_the_attention(case: Case) -> None:
    ids = case.subject.loaded.encode("The capital of France is not the capital of Japan, which is")
    logits = naive.run(case.subject.loaded.model, ids, None)
    np.testing.assert_allclose(logits, case.plan.logits(ids), atol=1e-4, rtol=0)
    answers = [case.subject.loaded.encode(answer)[0] for answer in (" Paris", " Tokyo")]
    codes = {answer: row for (_, answer), row in zip(case.plan.facts, case.plan.answer_codes, strict=True)}
    shared = np.mean([codes[answer] for answer in answers], axis=0)
    np.testing.assert_allclose(case.plan.delivered(ids), shared, atol=1e-2)


def test_a_lookup_planted_elsewhere_is_seen(tmp_path: Path, planted_tokenizer: Any) -> None:
    """With the lookup's neurons moved one block up, the sweep finds them there, and the closed form fails."""
    case = Case(tmp_path, planted_tokenizer, PLACEMENTS[0])
    blocks = case.subject.loaded.model.model.layers
    count = len(COMMON_FACTS)
    with torch.no_grad():
        for name in ("gate_proj", "up_proj", "down_proj"):
            old, new = (blocks[case.layer + i].mlp.get_submodule(name).weight for i in (0, 1))
            rows = (slice(None), slice(count)) if name == "down_proj" else (slice(count),)
            new[rows], old[rows] = old[rows].clone(), 0.0
    evidence = case.measure("layer_sweep")
    kl = evidence.effects.metrics["kl_nats"]
    prompts, knows = case.prompts(evidence)
    assert kl[case.layer, knows].max() < 0.1
    assert kl[case.layer + 1, knows].min() > 1.0
    column = int(np.flatnonzero(knows)[0])
    assert abs(kl[case.layer, column] - case.plan.kl_nats(prompts[column], skip=[case.layer])) > 1.0


TWO_FACTS = [(5, 6), (7, 8)]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": 3, "mover": (3, 0)}, "lookup is L3 and mover L3H0: expected the lookup below the mover"),
        ({"layer": 3, "mover": (6, 0)}, "mover L6H0"),
        ({"layer": 3, "mover": (4, 4)}, "mover L4H4"),
        ({"facts": []}, "0 facts about 0 subjects: expected 1 to 32 facts"),
        ({"facts": [(5, 6), (5, 7)]}, "2 facts about 1 subjects"),
        ({"facts": [(i, 100 + i) for i in range(33)]}, "33 facts about 33 subjects"),
        ({"facts": [(5, 300)]}, "a fact names a token outside the vocabulary of 300"),
        ({"fact_strength": 0.0}, "fact_strength is 0.0"),
        ({"background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fact_plan(**{"vocab_size": 300, "facts": TWO_FACTS, "layer": 1, "mover": (3, 2), **parameters})


def test_a_subject_of_several_tokens_is_refused(tmp_path: Path, planted_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="' New Zealand' is . tokens, expected one"):
        build_fact(
            tmp_path / "model",
            layer=1,
            mover=(3, 2),
            facts=[(" New Zealand", " Paris")],
            tokenizer=planted_tokenizer,
        )
    assert not (tmp_path / "model").exists()
