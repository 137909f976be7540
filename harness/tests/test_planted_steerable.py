"""The planted direction steers with its sign and gain below the block that reads it, and nothing else does."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.planted.channel import CHANNEL, D_CHANNEL
from harness.planted.steerable import (
    CONTRAST_WORDS,
    SteerablePlan,
    Steering,
    build_steerable,
    steerable_plan,
)
from harness.planted.testing import PlantedModel
from harness.planted.writers import CONST, D_HEAD, D_MODEL, SQUARES_LIMIT, WRITE, kl_of_logits

TOLERANCE = 1e-4
"""Between the model, in float32, and the closed form, in float64: of logits and of KL in nats."""
CLEARED = 1e-6
ALPHAS = (-3.0, -0.5, 1.0, 4.0)

PLACEMENTS = [
    {"read_layer": 3, "source": (1, 2), "n_layers": 6, "seed": 0, "gain": 2.0},
    {"read_layer": 1, "source": (0, 1), "n_layers": 4, "seed": 1, "gain": -1.5},
    {"read_layer": 4, "source": (0, 3), "n_layers": 5, "seed": 2, "gain": 0.5, "contrast": 0.5},
]

PROMPTS = (
    "I would refuse to help Tom, so my answer is",
    "We know the box: certain. We doubt the cup: uncertain. We know the pen:",
    "The capital of France is",
)
"""One word of the contrast, three of them, none."""

CARRIERS = ("They{} it, and so the reply is", "Now Anna{} all of the answer; she says", "We{} them:")

pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built steerable model and its closed form; steered by hooks on transformers' own blocks."""

    plan: SteerablePlan

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, Any]) -> None:
        super().__init__("steerable", root, tokenizer=tokenizer, **parameters)
        self.encode_text = self.subject.loaded.encode
        self.blocks = self.subject.loaded.model.model.layers
        self.direction, self.decoy = (np.array(self.truth[name]) for name in ("direction", "decoy"))
        self.read_layer, self.gain = parameters["read_layer"], parameters["gain"]
        self.n_layers = parameters["n_layers"]
        self.raised, self.lowered = (
            [self.encode_text(word)[0] for word in self.truth[name]] for name in ("raised", "lowered")
        )

    def logits(self, ids: list[int], steer: Steering | None = None) -> np.ndarray:
        """The model's logits at the last position; the step is added to a block's output."""
        handles = [] if steer is None else [self.blocks[steer.layer].register_forward_hook(self._add(steer))]
        try:
            with torch.no_grad():
                return self.subject.loaded.model(torch.tensor([ids])).logits[0, -1].double().numpy()
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, steer: Steering) -> Any:
        direction = self.direction if steer.direction is None else steer.direction
        step = torch.tensor(steer.alpha * direction, dtype=torch.float32)

        def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            steered = output.clone()
            where = slice(None) if steer.positions is None else list(steer.positions)
            steered[:, where] += step
            return steered

        return hook

    def contrast(self, logits: np.ndarray) -> np.ndarray:
        """logit(raised) - logit(lowered) of every such pair of tokens."""
        return np.subtract.outer(logits[self.raised], logits[self.lowered])

    def streams(self, prompts: list[list[int]]) -> np.ndarray:
        """resid_post at the last position, block by block: prompts x layers x d_model."""
        seen: list[np.ndarray] = []
        handles = [
            block.register_forward_hook(lambda _, __, output: seen.append(output[0, -1].double().numpy()))
            for block in self.blocks
        ]
        for ids in prompts:
            self.logits(ids)
        for handle in handles:
            handle.remove()
        return np.array(seen).reshape(len(prompts), self.n_layers, D_MODEL)


@pytest.fixture(scope="module", params=PLACEMENTS, ids=lambda p: f"L{p['read_layer']}gain{p['gain']}")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("steerable"), planted_tokenizer, request.param)


def orthogonal_in_channel(case: Case, *others: np.ndarray) -> np.ndarray:
    """A random unit vector of CHANNEL, orthogonal to the planted direction and to `others`."""
    drawn = np.zeros(D_MODEL)
    drawn[CHANNEL] = np.random.default_rng(3).standard_normal(D_CHANNEL)
    for direction in (case.direction, *others):
        drawn -= direction * (direction @ drawn)
    return drawn / np.linalg.norm(drawn)


@pytest.mark.parametrize("positions", [None, (-1,)], ids=["everywhere", "last"])
def test_below_the_reader_the_answers_move_by_gain_times_alpha(
    case: Case, positions: tuple[int, ...] | None
) -> None:
    """Computed here without the plan: slope and sign of every pair of answers, and of every other token 0."""
    others = np.delete(np.arange(len(case.plan.unembed)), [*case.raised, *case.lowered])
    for text, layer in product(PROMPTS, range(case.read_layer)):
        ids = case.encode_text(text)
        base = case.logits(ids)
        for alpha in ALPHAS:
            steered = case.logits(ids, Steering(layer=layer, alpha=alpha, positions=positions))
            moved = case.contrast(steered) - case.contrast(base)
            np.testing.assert_allclose(moved, case.gain * alpha, atol=TOLERANCE, rtol=0)
            assert np.all(np.sign(moved) == case.truth["sign"] * np.sign(alpha))
            np.testing.assert_allclose(steered[others], base[others], atol=TOLERANCE, rtol=0)


def test_from_the_reader_on_nothing_moves(case: Case) -> None:
    for text, layer in product(PROMPTS, range(case.read_layer, case.n_layers)):
        ids = case.encode_text(text)
        steered = case.logits(ids, Steering(layer=layer, alpha=4.0))
        np.testing.assert_allclose(steered, case.logits(ids), atol=CLEARED, rtol=0)


def test_earlier_positions_alone_steer_nothing(case: Case) -> None:
    ids = case.encode_text(PROMPTS[0])
    for layer in range(case.n_layers):
        steer = Steering(layer=layer, alpha=4.0, positions=tuple(range(len(ids) - 1)))
        np.testing.assert_allclose(case.logits(ids, steer), case.logits(ids), atol=CLEARED, rtol=0)
        np.testing.assert_allclose(case.plan.logits(ids, steer=steer), case.plan.logits(ids), atol=1e-12)


def test_every_steering_is_the_closed_form(case: Case) -> None:
    for text, layer, alpha in product(PROMPTS, range(case.n_layers), ALPHAS):
        ids, steer = case.encode_text(text), Steering(layer=layer, alpha=alpha)
        measured, expected = case.logits(ids, steer), case.plan.logits(ids, steer=steer)
        np.testing.assert_allclose(measured, expected, atol=TOLERANCE, rtol=0)
        kl = kl_of_logits(case.logits(ids), measured)
        assert kl == pytest.approx(case.plan.kl_nats(ids, steer=steer), abs=TOLERANCE)


def test_other_directions_of_the_spare_dimensions_do_nothing(case: Case) -> None:
    """Of the same norm: the decoy, and one that no part of the model writes or reads."""
    unused = orthogonal_in_channel(case, case.decoy)
    for direction, layer in product((case.decoy, unused), range(case.n_layers)):
        assert np.linalg.norm(direction) == pytest.approx(1.0, abs=1e-6)
        for text in PROMPTS:
            ids = case.encode_text(text)
            steered = case.logits(ids, Steering(layer=layer, alpha=4.0, direction=direction))
            np.testing.assert_allclose(steered, case.logits(ids), atol=10 * CLEARED, rtol=0)


def test_random_directions_of_the_whole_stream_are_the_closed_form(case: Case) -> None:
    """They move READ, so every later block, all keys and values that the source sees, and the norms' scale."""
    rng = np.random.default_rng(0)
    moved = []
    for text, layer in product(PROMPTS, range(case.n_layers)):
        ids = case.encode_text(text)
        for alpha, positions in product((-2.0, 4.0), (None, (-1,), (0, 2))):
            drawn = rng.standard_normal(D_MODEL)
            steer = Steering(
                layer=layer, alpha=alpha, direction=drawn / np.linalg.norm(drawn), positions=positions
            )
            measured, expected = case.logits(ids, steer), case.plan.logits(ids, steer=steer)
            np.testing.assert_allclose(measured, expected, atol=TOLERANCE, rtol=0)
            moved.append(np.abs(measured - case.logits(ids)).max())
    assert np.median(moved) > 0.1


def test_difference_of_means_recovers_the_direction(case: Case) -> None:
    """Between prompts with the first and with the second words of the pairs, from the source up to the reader.

    From the reader on, the means differ along r too, in what the unembedding reads.
    """
    first, second = (
        [case.encode_text(carrier.format(pair[side])) for carrier in CARRIERS for pair in CONTRAST_WORDS]
        for side in (0, 1)
    )
    difference = case.streams(first).mean(axis=0) - case.streams(second).mean(axis=0)
    for layer in range(case.n_layers):
        along = difference[layer] @ case.direction
        if layer < case.truth["source"][0]:
            assert along == 0.0
            continue
        assert along == pytest.approx(2 * case.plan.contrast, abs=1e-3)
        written = difference[layer, WRITE] @ case.plan.reading
        if layer < case.read_layer:
            assert along / np.linalg.norm(difference[layer]) > 0.995
            assert written == pytest.approx(0.0, abs=0.1)
        else:
            assert written == pytest.approx(2 * case.plan.contrast * case.gain, abs=0.1)


def test_the_largest_variance_and_the_largest_write_are_the_decoy(case: Case) -> None:
    prompts = [
        case.encode_text(carrier.format(word))
        for carrier in CARRIERS
        for pair in CONTRAST_WORDS
        for word in pair
    ]
    streams = case.streams(prompts)[:, case.read_layer - 1]
    spare = streams[:, CHANNEL]
    principal = np.linalg.svd(spare - spare.mean(axis=0))[2][0]
    assert abs(principal @ case.decoy[CHANNEL]) > 0.999
    along, across = streams @ case.direction, streams @ case.decoy
    assert across.var() > 3 * along.var() > 0.1
    np.testing.assert_allclose(across[::2], across[1::2], atol=1e-3)  # the two words of a pair
    assert np.abs(across).min() > np.abs(along).max()
    assert abs(np.corrcoef(along, across)[0, 1]) < 1e-3


def test_direction_and_decoy_are_orthonormal_and_lie_along_no_dimension(case: Case) -> None:
    both = np.stack([case.direction, case.decoy])
    np.testing.assert_allclose(both @ both.T, np.eye(2), atol=1e-6)
    assert np.abs(both).max() < 0.95
    assert np.abs(np.delete(both, np.r_[CHANNEL], axis=1)).max() == 0.0


def test_the_source_answers_for_its_words(case: Case) -> None:
    """Zeroing its z takes gain x contrast x p from the answers, p the mean side of the prompt's words."""
    layer, head = case.truth["source"]
    for text, side in zip(PROMPTS, (-1.0, 1 / 3, 0.0), strict=True):
        ids = case.encode_text(text)
        columns = slice(head * D_HEAD, (head + 1) * D_HEAD)

        def silence(_: Any, args: tuple[torch.Tensor], columns: slice = columns) -> tuple[torch.Tensor]:
            z = args[0].clone()
            z[..., columns] = 0.0
            return (z,)

        handle = case.blocks[layer].self_attn.o_proj.register_forward_pre_hook(silence)
        silenced = case.logits(ids)
        handle.remove()
        lost = case.contrast(case.logits(ids)) - case.contrast(silenced)
        np.testing.assert_allclose(lost, case.gain * case.plan.contrast * side, atol=5e-3, rtol=0)
        expected = case.plan.logits(ids, zero_heads=[(layer, head)])
        np.testing.assert_allclose(silenced, expected, atol=TOLERANCE, rtol=0)


def test_a_direction_read_elsewhere_is_seen(tmp_path: Path, planted_tokenizer: Any) -> None:
    """With the reader's neuron moved one block up, that block's input steers too, and the closed form fails."""
    case = Case(tmp_path, planted_tokenizer, PLACEMENTS[0])
    with torch.no_grad():
        for name in ("gate_proj", "up_proj", "down_proj"):
            old, new = (case.blocks[case.read_layer + i].mlp.get_submodule(name).weight for i in (0, 1))
            rows = (slice(None), 0) if name == "down_proj" else (0,)
            new[rows], old[rows] = old[rows].clone(), 0.0
    ids, steer = case.encode_text(PROMPTS[2]), Steering(layer=case.read_layer, alpha=1.0)
    moved = case.contrast(case.logits(ids, steer)) - case.contrast(case.logits(ids))
    assert moved.mean() == pytest.approx(case.gain, abs=0.1)
    assert np.abs(case.logits(ids, steer) - case.plan.logits(ids, steer=steer)).max() > 0.5


def test_an_ordinary_sweep_is_the_closed_form(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    assert evidence.failed == ()
    prompts = case.encode(evidence)[::4]
    expected = [[case.plan.kl_nats(ids, skip=[layer]) for ids in prompts] for layer in range(case.n_layers)]
    np.testing.assert_allclose(evidence.effects.metrics["kl_nats"][:, ::4], expected, atol=TOLERANCE, rtol=0)


def test_norms_are_the_identity_under_a_moderate_step(case: Case) -> None:
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _, args, output: pairs.append((args[0], output)))
        for name, module in case.subject.loaded.model.named_modules()
        if name.endswith("norm")
    ]
    for text in PROMPTS:
        case.logits(case.encode_text(text), Steering(layer=0, alpha=2.0))
    for handle in handles:
        handle.remove()
    assert len(pairs) == len(PROMPTS) * (2 * case.n_layers + 1)
    assert all(torch.equal(before, after) for before, after in pairs)
    assert max(float(before[..., :CONST].square().sum(-1).max()) for before, _ in pairs) < SQUARES_LIMIT


PARAMETERS: dict[str, Any] = {
    "vocab_size": 300,
    "words": [(5, 6), (7, 8)],
    "raised": [10],
    "lowered": [11, 12],
}


def test_the_decoy_and_the_rest_of_the_stream_do_not_depend_on_the_gain() -> None:
    one, other = (steerable_plan(**PARAMETERS, seed=4, gain=gain) for gain in (1.0, -3.0))
    np.testing.assert_array_equal(one.direction, other.direction)
    np.testing.assert_array_equal(one.decoy, other.decoy)
    np.testing.assert_array_equal(one.unembed, other.unembed)
    assert not np.array_equal(one.direction, steerable_plan(**PARAMETERS, seed=5).direction)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"read_layer": 0},
            "source is L0H0 and read_layer 0: expected the source below the block that reads",
        ),
        ({"read_layer": 6}, "read_layer 6: .* in a model of 6 layers"),
        ({"source": (0, 4)}, "source is L0H4"),
        ({"words": [(5, 6)]}, "1 pairs of 2 words: expected an even number of pairs"),
        ({"words": []}, "0 pairs of 0 words"),
        ({"words": [(5, 6), (7, 5)]}, "2 pairs of 3 words"),
        ({"raised": []}, "0 tokens to raise and 2 to lower"),
        ({"lowered": [10]}, "1 tokens to raise and 1 to lower, 1 of them distinct"),
        ({"raised": [300]}, r"tokens \[300\] are outside the vocabulary of 300"),
        ({"words": [(5, 6), (7, -1)]}, r"tokens \[-1\] are outside"),
        ({"contrast": 0.0}, "contrast is 0.0"),
        ({"contrast": 2.0}, "contrast is 2.0 and decoy_strength 2.0: expected 0 < contrast < decoy_strength"),
        ({"gain": 0.0}, "gain is 0.0"),
        ({"background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steerable_plan(**{**PARAMETERS, **parameters})


@pytest.mark.parametrize(
    ("steer", "message"),
    [
        (Steering(layer=6, alpha=1.0), "no block 6 to steer at: the model has blocks 0 to 5"),
        (Steering(layer=-1, alpha=1.0), "no block -1 to steer at"),
        (Steering(layer=0, alpha=1.0, positions=(3,)), r"no positions \[3\] to steer at in a prompt of 3"),
        (Steering(layer=0, alpha=1.0, positions=(-4, 0)), r"no positions \[-4\]"),
        (Steering(layer=0, alpha=1.0, direction=np.ones(6)), r"shape is \(6,\), expected \(64,\)"),
    ],
)
def test_steerings_that_do_not_exist_are_refused(steer: Steering, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steerable_plan(**PARAMETERS).logits([1, 2, 3], steer=steer)


def test_a_word_of_several_tokens_is_refused(tmp_path: Path, planted_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="' New Zealand' is . tokens, expected one"):
        build_steerable(tmp_path / "model", raised=[" New Zealand"], tokenizer=planted_tokenizer)
    assert not (tmp_path / "model").exists()
