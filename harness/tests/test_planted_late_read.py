"""Early exit works from the planted block on and fails before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.edits import Exit, skip
from harness.engine import naive
from harness.planted.late_read import late_read_plan, unnormed_exit_kl_nats
from harness.planted.testing import PlantedModel
from harness.planted.writers import BLIND, D_READ
from harness.protocols import Protocol

TOLERANCE_NATS = 1e-4
"""Between the measured KL, in float32, and the closed form, in float64; of KLs up to 50 nats."""
EXACT_NATS = 1e-6

PLACEMENTS = [
    {"layer": 1, "seed": 0, "n_layers": 5},
    {"layer": 3, "seed": 1, "n_layers": 6},
    {"layer": 5, "seed": 2, "n_layers": 6},
]


pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built late-read model and its closed form; experiments are measured as a user measures them."""

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, int]) -> None:
        super().__init__("late_read", root, tokenizer=tokenizer, **parameters)
        self.layer, self.n_layers = parameters["layer"], parameters["n_layers"]


@pytest.fixture(scope="module", params=PLACEMENTS, ids=lambda p: f"L{p['layer']}of{p['n_layers']}")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("late"), planted_tokenizer, request.param)


def test_exit_works_from_the_planted_block_on_and_fails_before(case: Case) -> None:
    evidence = case.measure("early_exit")
    kl, top1 = (evidence.effects.metrics[name] for name in ("kl_nats", "argmax_match"))
    assert evidence.failed == ()
    assert case.truth["readable_from"] == case.layer
    assert np.abs(kl[case.layer :]).max() <= EXACT_NATS
    assert top1[case.layer :].min() == 1.0
    assert kl[: case.layer].min() > 0.1
    assert kl[: case.layer].mean(axis=1).min() > 2.0
    assert top1[: case.layer].mean(axis=1).max() < 0.2


def test_every_exit_is_the_closed_form(case: Case) -> None:
    evidence = case.measure("early_exit")
    prompts = case.encode(evidence)[::4]
    for layer in range(case.n_layers):
        row = evidence.effects.row(Exit(layer=layer, normed=True))
        later = range(layer + 1, case.n_layers)
        expected = [case.plan.kl_nats(ids, skip=later) for ids in prompts]
        measured = evidence.effects.metrics["kl_nats"][row, ::4]
        np.testing.assert_allclose(measured, expected, atol=TOLERANCE_NATS, rtol=0)
        top1 = [
            case.plan.logits(ids).argmax() == case.plan.logits(ids, skip=later).argmax() for ids in prompts
        ]
        np.testing.assert_array_equal(evidence.effects.metrics["argmax_match"][row, ::4], top1)


def test_an_exit_that_forgets_the_norm_finds_the_token_and_not_the_distribution(case: Case) -> None:
    """Under `published` no layer is faithful, not even the last: the same model, the other verdict."""
    evidence = case.measure("early_exit", Protocol.PUBLISHED)
    kl, top1 = (evidence.effects.metrics[name] for name in ("kl_nats", "argmax_match"))
    assert kl.min() > 0.5
    assert top1[case.layer :].min() == 1.0
    prompts = case.encode(evidence)[::4]
    expected = [
        [unnormed_exit_kl_nats(case.plan, ids, layer=layer) for ids in prompts]
        for layer in range(case.n_layers)
    ]
    np.testing.assert_allclose(kl[:, ::4], expected, atol=TOLERANCE_NATS, rtol=0)


def test_plain_hooks_agree(case: Case) -> None:
    evidence = case.measure("early_exit")
    model = case.subject.loaded.model
    for ids in case.encode(evidence)[::30]:
        base = naive.run(model, ids, None)
        np.testing.assert_allclose(base, case.plan.logits(ids), atol=1e-4, rtol=0)
        for layer in range(case.n_layers):
            exited = naive.run(model, ids, Exit(layer=layer, normed=True))
            expected = case.plan.logits(ids, skip=range(layer + 1, case.n_layers))
            np.testing.assert_allclose(exited, expected, atol=1e-4, rtol=0)


def test_skipping_a_later_block_changes_nothing_and_skipping_the_planted_one_everything(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    kl = evidence.effects.metrics["kl_nats"]
    prompts = case.encode(evidence)[::4]
    assert np.abs(kl[case.layer + 1 :]).max(initial=0.0) <= EXACT_NATS
    assert kl[case.layer].mean() > 2.0
    assert kl[: case.layer].mean(axis=1).max() < 0.1
    for layer in range(case.n_layers):
        expected = [case.plan.kl_nats(ids, skip=[layer]) for ids in prompts]
        measured = kl[evidence.effects.row(skip(layer)), ::4]
        np.testing.assert_allclose(measured, expected, atol=TOLERANCE_NATS, rtol=0)


def test_later_blocks_write_where_the_unembedding_does_not_read(case: Case) -> None:
    """They are active: the stream moves, the logits do not."""
    model = case.subject.loaded.model
    blind = slice(D_READ + BLIND.start, D_READ + BLIND.stop)
    assert torch.count_nonzero(model.lm_head.weight[:, blind]) == 0
    streams: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda module, args, output: streams.append(output - args[0]))
        for block in model.model.layers
    ]
    naive.run(model, case.subject.loaded.encode("The capital of France is"), None)
    for handle in handles:
        handle.remove()
    for written in streams[case.layer + 1 :]:
        assert float(written[0, -1, blind].norm()) > 1e-3
        assert float(written[0, -1, D_READ : blind.start].abs().max()) == 0.0


def test_norms_before_the_last_are_the_identity(case: Case) -> None:
    prompts = case.encode(case.measure("early_exit"))[::10]
    model, pairs = case.subject.loaded.model, []
    handles = [
        module.register_forward_hook(lambda _, args, output: pairs.append((args[0], output)))
        for name, module in model.model.layers.named_modules()
        if name.endswith("norm")
    ]
    for ids in prompts:
        naive.run(model, ids, None)
    for handle in handles:
        handle.remove()
    assert len(pairs) == 12 * 2 * case.n_layers
    assert all(torch.equal(before, after) for before, after in pairs)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": 0}, "late-read layer is 0, expected 1 to 5 in a model of 6 layers"),
        ({"layer": 6}, "late-read layer is 6"),
        ({"layer": 2, "background": 0.3}, "expected 0 < 10 x background <= read_strength"),
        ({"layer": 2, "background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        late_read_plan(vocab_size=300, **parameters)
