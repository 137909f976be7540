"""Either block of the redundant pair can be skipped alone; the set that holds both is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.edits import skip
from harness.engine import naive
from harness.experiments import layer_sets
from harness.planted.redundant_pair import D_CODE, redundant_pair_plan, saturate
from harness.planted.testing import PlantedModel

TOLERANCE_NATS = 1e-4
"""Between the measured KL, in float32, and the closed form, in float64."""
CLEARED_NATS = 1e-6
N_LAYERS = 8

PLACEMENTS = {
    (3, 4, 5): {"first": 3, "second": 5, "reader": 6, "seed": 0},
    (2, 3): {"first": 2, "second": 3, "reader": 5, "seed": 1},
    (0, 2, 4, 6): {"first": 0, "second": 4, "reader": 7, "seed": 2},
}
"""The set of layer_sets that holds the pair -> where the pair is planted."""


pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built redundant pair and its closed form; experiments are measured as a user measures them."""

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, int]) -> None:
        super().__init__("redundant_pair", root, tokenizer=tokenizer, **parameters)
        self.pair, self.reader = (parameters["first"], parameters["second"]), parameters["reader"]


@pytest.fixture(scope="module", params=PLACEMENTS.items(), ids=lambda p: "-".join(map(str, p[0])))
def placed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> tuple[tuple[int, ...], Case]:
    layers, parameters = request.param
    return layers, Case(tmp_path_factory.mktemp("pair"), planted_tokenizer, parameters)


def test_either_block_can_be_skipped_alone(placed: tuple[tuple[int, ...], Case]) -> None:
    _, case = placed
    evidence = case.measure("layer_sweep")
    assert evidence.failed == ()
    kl = evidence.effects.metrics["kl_nats"]
    assert np.abs(kl[list(case.pair)]).max() <= CLEARED_NATS
    assert int(kl.mean(axis=1).argmax()) == case.reader
    assert kl[case.reader].min() > 1.0
    others = [layer for layer in range(N_LAYERS) if layer not in (*case.pair, case.reader)]
    assert kl[others].mean(axis=1).max() < 0.02
    assert kl[others].mean(axis=1).min() > 10 * CLEARED_NATS  # no pair of theirs is redundant


def test_the_set_that_holds_both_is_found_and_the_others_are_cleared(
    placed: tuple[tuple[int, ...], Case],
) -> None:
    planted_set, case = placed
    evidence = case.measure("layer_sets")
    assert evidence.failed == ()
    assert case.truth["sets"] == [list(planted_set)]
    for layers in layer_sets(N_LAYERS):
        kl = evidence.effects.metrics["kl_nats"][evidence.effects.row(skip(*layers))]
        if layers == planted_set or case.reader in layers:
            assert kl.min() > 1.0
        else:
            assert kl.mean() < 0.05


@pytest.mark.parametrize("experiment", ["layer_sweep", "layer_sets"])
def test_every_effect_is_the_closed_form(placed: tuple[tuple[int, ...], Case], experiment: str) -> None:
    _, case = placed
    evidence = case.measure(experiment)
    prompts = case.encode(evidence)[::4]
    expected = [
        [case.plan.kl_nats(ids, skip=probe.layers) for ids in prompts] for probe in evidence.effects.probes
    ]
    measured = evidence.effects.metrics["kl_nats"][:, ::4]
    np.testing.assert_allclose(measured, expected, atol=TOLERANCE_NATS, rtol=0)


def test_plain_hooks_agree_on_what_the_pair_writes(placed: tuple[tuple[int, ...], Case]) -> None:
    """Skipping both takes U reading sign(c) from the logits: computed here without the plan's saturation."""
    _, case = placed
    model = case.subject.loaded.model
    for ids in case.encode(case.measure("layer_sets"))[::30]:
        base = naive.run(model, ids, None).numpy()
        first, second, both = (
            naive.run(model, ids, skip(*layers)).numpy()
            for layers in ((case.pair[0],), (case.pair[1],), case.pair)
        )
        lost = case.plan.unembed @ case.plan.reading @ np.sign(case.plan.embed_read[ids[-1], :D_CODE])
        assert np.std(lost) > 2.0
        for single in (first, second):
            np.testing.assert_allclose(single, base, atol=1e-4, rtol=0)
        np.testing.assert_allclose(base - both, lost, atol=1e-4, rtol=0)


def test_a_pair_whose_second_block_writes_the_opposite_is_not_redundant(
    tmp_path: Path, planted_tokenizer: Any
) -> None:
    """The comparison is no tautology: with one sign turned, either skip alone restores or breaks the model."""
    case = Case(tmp_path, planted_tokenizer, PLACEMENTS[2, 3])
    model = case.subject.loaded.model
    down = model.model.layers[case.pair[1]].mlp.down_proj.weight
    with torch.no_grad():
        down[:, :D_CODE] *= -1
    evidence = case.measure("layer_sweep")
    kl = evidence.effects.metrics["kl_nats"]
    assert kl[list(case.pair)].min() > 1.0


def test_saturation_is_odd_and_one_copy_is_as_good_as_two() -> None:
    copies = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(saturate(copies), [-1, -1, 0, 1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"first": 3, "second": 3, "reader": 5}, "expected first < second < reader"),
        ({"first": 5, "second": 3, "reader": 6}, "expected first < second < reader"),
        ({"first": 2, "second": 5, "reader": 4}, "expected first < second < reader"),
        ({"first": 2, "second": 3, "reader": 8}, "in a model of 8 layers"),
        ({"first": 1, "second": 2, "reader": 5}, "no set of layer_sets holds L1 and L2 without L5"),
        ({"first": 0, "second": 2, "reader": 4}, "no set of layer_sets holds L0 and L2 without L4"),
        ({"first": 2, "second": 3, "reader": 5, "read_strength": 0.0}, "read_strength is 0.0"),
        ({"first": 2, "second": 3, "reader": 5, "background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        redundant_pair_plan(vocab_size=300, **parameters)
