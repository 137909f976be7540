"""Removing a skill's direction costs that skill its answers, and the other as much as the directions overlap."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.edits import Stream, zero
from harness.engine import naive
from harness.planted.channel import CHANNEL, D_CHANNEL
from harness.planted.testing import PlantedModel
from harness.planted.two_skills import (
    CAPITALS_SKILL,
    OPPOSITES_SKILL,
    Knockout,
    TwoSkillsPlan,
    build_two_skills,
    two_skills_plan,
)
from harness.planted.writers import BLIND, CONST, D_MODEL, SQUARES_LIMIT, WRITE

TOLERANCE_NATS = 1e-4
"""Between the model, in float32, and the closed form, in float64."""
CLEARED = 1e-6

PLACEMENTS = [
    {"overlap": 0.0, "layer": 1, "reader": 3, "n_layers": 5, "seed": 0},
    {"overlap": 0.6, "layer": 0, "reader": 1, "n_layers": 3, "seed": 1},
    {"overlap": 1.0, "layer": 2, "reader": 5, "n_layers": 6, "seed": 2},
]

NEITHER = ("We walk along the river and then to the", "Tom sells apples, so Tom is called a")

pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built model of two skills and its closed form; knocked out by hooks on transformers' own blocks."""

    plan: TwoSkillsPlan

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, Any]) -> None:
        super().__init__("two_skills", root, tokenizer=tokenizer, **parameters)
        self.encode_text = self.subject.loaded.encode
        self.blocks = self.subject.loaded.model.model.layers
        self.overlap, self.layer, self.reader, self.n_layers = (
            parameters[name] for name in ("overlap", "layer", "reader", "n_layers")
        )
        self.directions = np.array([self.truth[name]["direction"] for name in ("skill_a", "skill_b")])
        self.prompts = [
            [self.prompt(subject, answer) for subject, answer in facts]
            for facts in (CAPITALS_SKILL, OPPOSITES_SKILL)
        ]
        """Of each skill: token ids and the answer's."""

    def prompt(self, subject: str, answer: str) -> tuple[list[int], int]:
        text = f"Everyone knows that{subject} is the name of a kind of"
        return self.encode_text(text), self.encode_text(answer)[0]

    def logits(self, ids: list[int], knockout: Knockout | None = None) -> np.ndarray:
        """The model's logits at the last position; a block's output there is projected off a direction."""
        handles = []
        if knockout is not None:
            unit = torch.tensor(knockout.direction / np.linalg.norm(knockout.direction), dtype=torch.float32)

            def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
                projected = output.clone()
                projected[:, -1] -= torch.outer(projected[:, -1] @ unit, unit)
                return projected

            handles.append(self.blocks[knockout.layer].register_forward_hook(hook))
        try:
            with torch.no_grad():
                return self.subject.loaded.model(torch.tensor([ids])).logits[0, -1].double().numpy()
        finally:
            for handle in handles:
                handle.remove()

    def logprob(self, ids: list[int], answer: int, knockout: Knockout | None = None) -> float:
        logits = torch.from_numpy(self.logits(ids, knockout))
        return float(logits.log_softmax(-1)[answer])

    def drops(self, skill: int, knockout: Knockout) -> np.ndarray:
        """What each answer of the skill loses of its log-probability, in nats."""
        return np.array(
            [
                self.logprob(ids, answer) - self.logprob(ids, answer, knockout)
                for ids, answer in self.prompts[skill]
            ]
        )

    def knockouts(self, direction: np.ndarray, layers: Any) -> list[Knockout]:
        return [Knockout(layer=layer, direction=direction) for layer in layers]


@pytest.fixture(scope="module", params=PLACEMENTS, ids=lambda p: f"overlap{p['overlap']}")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("two_skills"), planted_tokenizer, request.param)


def test_the_model_has_both_skills(case: Case) -> None:
    for ids, answer in (*case.prompts[0], *case.prompts[1]):
        logits = case.logits(ids)
        assert int(logits.argmax()) == answer
        assert case.logprob(ids, answer) > np.log(0.3)
        np.testing.assert_allclose(logits, case.plan.logits(ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("skill", [0, 1])
def test_a_knockout_costs_its_own_skill_the_answers(case: Case, skill: int) -> None:
    for knockout in case.knockouts(case.directions[skill], range(case.layer, case.reader)):
        assert case.drops(skill, knockout).min() > 4.0
        for ids, answer in case.prompts[skill]:
            assert int(case.logits(ids, knockout).argmax()) != answer


@pytest.mark.parametrize("skill", [0, 1])
def test_a_knockout_costs_the_other_skill_what_the_overlap_says(case: Case, skill: int) -> None:
    for knockout in case.knockouts(case.directions[skill], range(case.layer, case.reader)):
        drops = case.drops(1 - skill, knockout)
        if case.overlap == 0.0:
            assert np.abs(drops).max() <= 10 * CLEARED
        elif case.overlap == 1.0:
            assert drops.min() > 4.0
        else:
            assert 0.1 < drops.min() < drops.max() < 4.0


def test_every_knockout_is_the_closed_form(case: Case) -> None:
    """Of both skills under both directions, at every block: the log-probabilities of the answers and all logits."""
    for direction, layer in product(case.directions, range(case.n_layers)):
        knockout = Knockout(layer=layer, direction=direction)
        for ids, answer in (*case.prompts[0][::3], *case.prompts[1][::3]):
            measured, expected = case.logits(ids, knockout), case.plan.logits(ids, knockout=knockout)
            np.testing.assert_allclose(measured, expected, atol=1e-4, rtol=0)
            logprob = case.plan.answer_logprob(ids, answer, knockout=knockout)
            assert case.logprob(ids, answer, knockout) == pytest.approx(logprob, abs=TOLERANCE_NATS)


@pytest.mark.parametrize("skill", [0, 1])
def test_what_is_left_of_the_answer_is_one_minus_the_overlap_squared(case: Case, skill: int) -> None:
    """Computed here without the plan's algebra: the logits lose overlap**2 of what the fact's neuron writes."""
    knockout = Knockout(layer=case.layer, direction=case.directions[skill])
    for ids, answer in case.prompts[1 - skill]:
        row = case.plan.unembed[answer]
        written = case.plan.unembed @ (case.plan.strength * row / np.linalg.norm(row))
        lost = case.logits(ids) - case.logits(ids, knockout)
        np.testing.assert_allclose(lost, case.overlap**2 * written, atol=1e-4, rtol=0)


def test_at_the_wrong_layer_a_knockout_does_nothing(case: Case) -> None:
    """Below the block that writes the drive, and from the block on that has read it."""
    wrong = [layer for layer in range(case.n_layers) if not case.layer <= layer < case.reader]
    assert wrong
    for direction, skill in product(case.directions, (0, 1)):
        for knockout in case.knockouts(direction, wrong):
            assert np.abs(case.drops(skill, knockout)).max() <= CLEARED


def test_other_directions_do_nothing(case: Case) -> None:
    """Random ones of the spare dimensions, orthogonal to both skills; the block is the right one."""
    basis = np.linalg.qr(case.directions.T).Q
    rng = np.random.default_rng(0)
    for _ in range(3):
        drawn = np.zeros(D_MODEL)
        drawn[CHANNEL] = rng.standard_normal(D_CHANNEL)
        drawn -= case.directions[0] * (case.directions[0] @ drawn)
        if case.overlap < 1.0:
            drawn -= basis[:, 1] * (basis[:, 1] @ drawn)
        knockout = Knockout(layer=case.layer, direction=drawn)
        for skill in (0, 1):
            assert np.abs(case.drops(skill, knockout)).max() <= 10 * CLEARED


def test_a_random_direction_at_an_angle_is_the_closed_form(case: Case) -> None:
    rng = np.random.default_rng(1)
    for _ in range(3):
        drawn = np.zeros(D_MODEL)
        drawn[CHANNEL] = rng.standard_normal(D_CHANNEL)
        knockout = Knockout(layer=case.reader - 1, direction=drawn)
        for ids, answer in (*case.prompts[0][::4], *case.prompts[1][::4]):
            expected = case.plan.answer_logprob(ids, answer, knockout=knockout)
            assert case.logprob(ids, answer, knockout) == pytest.approx(expected, abs=TOLERANCE_NATS)


def test_prompts_of_neither_skill_are_left_alone(case: Case) -> None:
    for text, direction, layer in product(NEITHER, case.directions, range(case.n_layers)):
        ids = case.encode_text(text)
        assert case.plan.mentions(ids) == frozenset()
        logits = case.logits(ids, Knockout(layer=layer, direction=direction))
        np.testing.assert_array_equal(logits, case.logits(ids))


def test_prompts_belong_to_the_skill_whose_subject_they_mention(case: Case) -> None:
    for skill in (0, 1):
        assert all(case.plan.mentions(ids) == {skill} for ids, _ in case.prompts[skill])
    both = case.encode_text("The land of France is not the opposite of hot, which is")
    assert case.plan.mentions(both) == {0, 1}
    for knockout in case.knockouts(case.directions[0], range(case.n_layers)):
        np.testing.assert_allclose(
            case.logits(both, knockout), case.plan.logits(both, knockout=knockout), atol=1e-4, rtol=0
        )


def test_the_truth_states_directions_of_the_named_overlap_along_no_dimension(case: Case) -> None:
    first, second = case.directions
    assert first @ second == pytest.approx(case.overlap, abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(case.directions, axis=1), 1.0, atol=1e-6)
    assert np.abs(case.directions).max() < 0.95
    assert np.abs(np.delete(case.directions, np.r_[CHANNEL], axis=1)).max() == 0.0
    stated = {name: case.truth[name] for name in ("layer", "reader", "overlap")}
    assert stated == {"layer": case.layer, "reader": case.reader, "overlap": case.overlap}
    assert case.truth["skill_b"]["facts"] == [list(fact) for fact in OPPOSITES_SKILL]


def test_difference_of_means_recovers_each_direction(case: Case) -> None:
    """Of resid_post at the last position, prompts of the skill against prompts of neither with the same end."""
    neither, _ = case.prompt(" Tom", " Tom")
    streams: list[np.ndarray] = []
    handle = case.blocks[case.reader - 1].register_forward_hook(
        lambda _, __, output: streams.append(output[0, -1].double().numpy())
    )
    for skill in (0, 1):
        streams.clear()
        for ids in (neither, *(ids for ids, _ in case.prompts[skill])):
            case.logits(ids)
        difference = np.mean(streams[1:], axis=0) - streams[0]
        assert difference @ case.directions[skill] == pytest.approx(1.0, abs=1e-3)
        assert difference @ case.directions[skill] / np.linalg.norm(difference) > 0.95
    handle.remove()


def test_both_heads_are_needed_and_those_beside_them_are_not(case: Case) -> None:
    model = case.subject.loaded.model
    for block, head in product((case.layer, case.reader), (0, 1)):
        for ids, answer in (case.prompts[0][0], case.prompts[1][0]):
            logits = naive.run(model, ids, zero(Stream.Z, block, head)).numpy()
            expected = case.plan.logits(ids, zero_heads=[(block, head)])
            np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
            assert (int(logits.argmax()) == answer) == (head == 1)


def test_an_ordinary_sweep_finds_the_block_that_drives_and_the_block_that_answers(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    assert evidence.failed == ()
    prompts = case.encode(evidence)
    knows = np.array([len(case.plan.mentions(ids)) == 1 for ids in prompts])
    kl = evidence.effects.metrics["kl_nats"]
    assert knows.sum() >= 5
    others = np.delete(np.arange(case.n_layers), [case.layer, case.reader])
    assert kl[[case.layer, case.reader]][:, knows].mean() > 10 * kl[others][:, knows].mean()
    for layer in range(case.n_layers):
        expected = [case.plan.kl_nats(ids, skip=[layer]) for ids in prompts[::4]]
        np.testing.assert_allclose(kl[layer, ::4], expected, atol=TOLERANCE_NATS, rtol=0)


def test_a_skill_that_reads_the_other_direction_is_seen(tmp_path: Path, planted_tokenizer: Any) -> None:
    """With one neuron turned to the other skill's direction its answer is gone, and the closed form fails."""
    case = Case(tmp_path, planted_tokenizer, PLACEMENTS[0])
    with torch.no_grad():
        up = case.blocks[case.reader].mlp.up_proj.weight
        up[0] = torch.tensor(case.directions[1], dtype=torch.float32)
    (ids, answer), (untouched, known) = case.prompts[0][:2]
    assert int(case.logits(ids).argmax()) != answer
    assert int(case.logits(untouched).argmax()) == known
    assert np.abs(case.logits(ids) - case.plan.logits(ids)).max() > 1.0


def test_nothing_but_the_reader_writes_where_the_codes_are(case: Case) -> None:
    """And the norms are the identity: else the closed form would hold by luck."""
    blind = slice(WRITE.start + BLIND.start, WRITE.start + BLIND.stop)
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _, args, output: pairs.append((args[0], output)))
        for name, module in case.subject.loaded.model.named_modules()
        if name.endswith("norm")
    ]
    for ids, _ in (*case.prompts[0][::4], *case.prompts[1][::4]):
        pairs.clear()
        case.logits(ids)
        assert len(pairs) == 2 * case.n_layers + 1
        assert all(torch.equal(before, after) for before, after in pairs)
        assert max(float(x[..., :CONST].square().sum(-1).max()) for x, _ in pairs) < SQUARES_LIMIT
        before_reader = pairs[: 2 * case.reader + 1]
        assert all(torch.count_nonzero(x[..., blind]) == 0 for x, _ in before_reader)
        assert torch.count_nonzero(pairs[2 * case.reader + 1][0][0, -1, blind]) == 8
    for handle in handles:
        handle.remove()


PARAMETERS: dict[str, Any] = {"vocab_size": 300, "skill_a": [(5, 6), (7, 8)], "skill_b": [(9, 10)]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": 3}, "layer is 3 and reader 3: expected layer < reader in a model of 6 layers"),
        ({"layer": -1}, "layer is -1"),
        ({"reader": 6}, "reader 6"),
        ({"overlap": 1.1}, r"overlap is 1.1, expected 0 \(orthogonal skills\) to 1"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"skill_a": []}, "0 facts and 1 facts about 1 subjects: expected at least one in each skill"),
        ({"skill_b": [(5, 11)]}, "2 facts and 1 facts about 2 subjects"),
        ({"skill_a": [(20 + i, 6) for i in range(60)]}, "60 facts and 1 facts about 61 subjects"),
        ({"skill_b": [(9, 300)]}, r"tokens \[300\] are outside the vocabulary of 300"),
        ({"strength": 0.0}, "strength is 0.0"),
        ({"background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_skills_plan(**{**PARAMETERS, **parameters})


@pytest.mark.parametrize(
    ("knockout", "message"),
    [
        (Knockout(layer=6, direction=np.eye(D_MODEL)[CHANNEL.start]), "no block 6 to knock out at"),
        (
            Knockout(layer=0, direction=np.eye(D_MODEL)[0]),
            "norm 0.0 in dimensions 56 to 61 and 1.0 outside them",
        ),
        (Knockout(layer=0, direction=np.zeros(D_MODEL)), "norm 0.0 in dimensions 56 to 61 and 0.0 outside"),
        (Knockout(layer=0, direction=np.ones(6)), r"has shape \(6,\)"),
    ],
)
def test_knockouts_without_a_closed_form_are_refused(knockout: Knockout, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_skills_plan(**PARAMETERS).logits([1, 2, 3], knockout=knockout)


def test_every_direction_of_the_spare_dimensions_has_a_closed_form() -> None:
    """Whatever its norm rounds to."""
    plan, directions = two_skills_plan(**PARAMETERS), np.zeros((200, D_MODEL))
    directions[:, CHANNEL] = np.random.default_rng(0).standard_normal((200, D_CHANNEL))
    base = plan.logits([1, 2, 3])
    for direction in directions:
        np.testing.assert_array_equal(
            plan.logits([1, 2, 3], knockout=Knockout(layer=0, direction=direction)), base
        )  # before the skills are written there is nothing to knock out


def test_a_subject_of_several_tokens_is_refused(tmp_path: Path, planted_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="' New Zealand' is . tokens, expected one"):
        build_two_skills(
            tmp_path / "model", skill_a=[(" New Zealand", " Paris")], tokenizer=planted_tokenizer
        )
    assert not (tmp_path / "model").exists()
