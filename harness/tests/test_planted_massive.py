"""The massive activation is where it was planted, and what rests on it falls without it and with nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.edits import Probe, Site, Stream, skip, zero
from harness.engine import naive
from harness.planted.massive import MassivePlan, massive_plan
from harness.planted.testing import PlantedModel
from harness.planted.writers import CONST, D_MODEL, D_READ, READ, WRITE

TOLERANCE_NATS = 1e-4
"""Between the measured KL, in float32, and the closed form, in float64."""
EXACT_NATS = 1e-6
N_PROMPTS = 8

PLACEMENTS = [
    {"layer": 0, "seed": 0},
    {"layer": 2, "seed": 1, "dim": 59, "rise": 1000.0, "n_layers": 7},
    {"layer": 4, "seed": 2, "dim": 61, "before": 1.0, "rise": 2.0**15},
]


pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built massive model and its closed form; one number of its streams can be replaced by a plain hook."""

    plan: MassivePlan

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, Any]) -> None:
        super().__init__("massive", root, tokenizer=tokenizer, **parameters)
        self.layer, self.dim = self.truth["massive"]["layer"], self.truth["massive"]["dim"]
        self.n_layers = self.truth["n_layers"]
        texts = [p.text for p in self.measure("layer_sweep").effects.prompts]
        self.prompts = [self.subject.loaded.encode(text) for text in texts[:: len(texts) // N_PROMPTS]]

    @property
    def model(self) -> Any:
        return self.subject.loaded.model

    def run(self, ids: list[int], probe: Probe | None = None) -> np.ndarray:
        return naive.run(self.model, ids, probe).numpy()

    def kl(self, ids: list[int], edited: np.ndarray) -> float:
        return naive.measure(torch.tensor(self.run(ids)), torch.tensor(edited), 0)["kl_nats"]

    def stream(self, ids: list[int], layer: int) -> torch.Tensor:
        """resid_post of a block, [pos, d_model]."""
        site = Site(layer=layer, stream=Stream.RESID_POST)
        with naive.activations(self.model, [site]) as seen:
            self.run(ids)
        return seen[site][0]

    def holding(self, ids: list[int], position: int, dimension: int, number: float) -> np.ndarray:
        """Logits with one number of resid_post of the hub replaced."""
        with _one_number(self.model.model.layers[self.layer], position, dimension, number):
            return self.run(ids)


@contextmanager
def _one_number(module: torch.nn.Module, position: int, dimension: int, number: float) -> Iterator[None]:
    def put(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed[:, position, dimension] = number
        return changed

    handle = module.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture(scope="module", params=PLACEMENTS, ids=lambda p: f"L{p['layer']}")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("massive"), planted_tokenizer, request.param)


def test_every_text_is_opened_by_the_same_token(case: Case, planted_tokenizer: Any) -> None:
    loaded = case.subject.loaded
    for text in ("The capital of France is", "1 2 3", ""):
        assert loaded.encode(text) == [0, *planted_tokenizer(text).input_ids]
    assert loaded.tokenizer.bos_token_id == 0


def test_the_mlp_of_the_hub_raises_one_number_of_token_0_in_every_prompt(case: Case) -> None:
    truth = case.truth["massive"]
    assert truth["position"] == 0
    site = Site(layer=case.layer, stream=Stream.MLP_OUT)
    for ids in case.prompts:
        with naive.activations(case.model, [site]) as seen:
            after = case.stream(ids, case.layer)
        written = seen[site][0].clone()
        assert float(after[0, case.dim]) == pytest.approx(truth["value"], rel=1e-6)
        assert float((after - written)[0, case.dim]) == pytest.approx(truth["before"], rel=1e-2)
        assert float(written[0, case.dim]) == pytest.approx(truth["value"] - truth["before"], rel=1e-6)
        assert float(after[0, case.dim]) > 50 * truth["before"] > 0
        written[0, case.dim] = after[0, case.dim] = 0.0
        assert float(written.abs().max()) < 10.0
        assert float(after[:, :CONST].abs().max()) < 10.0


def test_it_stays_in_the_stream_and_shrinks_token_0_where_a_norm_reads_it(case: Case) -> None:
    ids = case.prompts[0]
    last = case.stream(ids, case.n_layers - 1)
    assert float(last[0, case.dim]) == float(case.stream(ids, case.layer)[0, case.dim])
    normed = case.model.model.norm(last)
    expected = (1 + (case.truth["massive"]["value"] / 2**15) ** 2) ** -0.5
    assert float(normed[0, CONST] / last[0, CONST]) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(normed[1:], last[1:])


def test_the_sweep_over_layers_finds_the_hub(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    assert evidence.failed == ()
    assert case.truth["hub_layer"] == case.layer
    kl = evidence.effects.metrics["kl_nats"]
    hub, others = kl[case.layer], np.delete(kl, case.layer, axis=0)
    assert hub.mean() > 1.0
    assert hub.mean() > 5 * others.mean(axis=1).max()
    assert np.mean(hub > 2 * others.max(axis=0)) >= 0.95
    assert others.mean(axis=1).min() > 10 * EXACT_NATS
    assert len(set(others.mean(axis=1).round(6))) == case.n_layers - 1


def test_every_skip_is_the_closed_form(case: Case) -> None:
    evidence = case.measure("layer_sweep")
    prompts = case.encode(evidence)[::4]
    for layer in range(case.n_layers):
        expected = [case.plan.kl_nats(ids, skip=[layer]) for ids in prompts]
        measured = evidence.effects.metrics["kl_nats"][evidence.effects.row(skip(layer)), ::4]
        np.testing.assert_allclose(measured, expected, atol=TOLERANCE_NATS, rtol=0)


def test_plain_hooks_agree(case: Case) -> None:
    for ids in case.prompts:
        np.testing.assert_allclose(case.run(ids), case.plan.logits(ids), atol=1e-4, rtol=0)
        for layer in range(case.n_layers):
            edited = case.run(ids, skip(layer))
            np.testing.assert_allclose(edited, case.plan.logits(ids, skip=[layer]), atol=1e-4, rtol=0)
        for layers in ((case.layer, case.layer + 1), (case.layer, case.n_layers - 1)):
            expected = case.plan.logits(ids, skip=layers)
            np.testing.assert_allclose(case.run(ids, skip(*layers)), expected, atol=1e-4, rtol=0)
        for layer, head in ((case.layer, 1), (case.n_layers - 1, 2)):
            edited = case.run(ids, zero(Stream.Z, layer, head))
            expected = case.plan.logits(ids, zero_heads=[(layer, head)])
            np.testing.assert_allclose(edited, expected, atol=1e-4, rtol=0)


def test_zeroing_the_number_is_most_of_skipping_the_hub(case: Case) -> None:
    zeroed, skipped = [], []
    for ids in case.prompts:
        edited = case.holding(ids, 0, case.dim, 0.0)
        expected = case.plan.logits(ids, held={(0, case.dim): 0.0})
        np.testing.assert_allclose(edited, expected, atol=1e-4, rtol=0)
        zeroed.append(case.kl(ids, edited))
        skipped.append(case.kl(ids, case.run(ids, skip(case.layer))))
        assert abs(zeroed[-1] - case.plan.kl_nats(ids, held={(0, case.dim): 0.0})) < TOLERANCE_NATS
    assert np.mean(zeroed) >= 0.5 * np.mean(skipped)
    assert min(zeroed) > 0.1


def test_zeroing_what_the_mlp_writes_there_leaves_what_was_before(case: Case) -> None:
    for ids in case.prompts:
        with _one_number(case.model.model.layers[case.layer].mlp, 0, case.dim, 0.0):
            edited = case.run(ids)
        left = {(0, case.dim): case.truth["massive"]["before"]}
        np.testing.assert_allclose(edited, case.plan.logits(ids, held=left), atol=1e-4, rtol=0)
        assert case.kl(ids, edited) > 0.1


def test_replacing_the_number_by_its_mean_over_prompts_changes_nothing(case: Case) -> None:
    numbers = [float(case.stream(ids, case.layer)[0, case.dim]) for ids in case.prompts]
    assert len(set(numbers)) == 1
    for ids in case.prompts:
        edited = case.holding(ids, 0, case.dim, float(np.mean(numbers)))
        assert abs(case.kl(ids, edited)) < EXACT_NATS
        assert abs(case.plan.kl_nats(ids, held={(0, case.dim): case.truth["massive"]["value"]})) < EXACT_NATS


def test_no_other_dimension_of_token_0_and_no_other_token_carries_it(case: Case) -> None:
    for ids in case.prompts[::4]:
        hub = case.kl(ids, case.run(ids, skip(case.layer)))
        sites = [(0, d) for d in range(CONST) if d != case.dim] + [(t, case.dim) for t in range(1, len(ids))]
        stream = case.stream(ids, case.layer)
        assert np.count_nonzero([float(stream[site]) for site in sites]) > 30
        for site in sites:
            edited = case.holding(ids, *site, 0.0)
            expected = case.plan.logits(ids, held={site: 0.0})
            np.testing.assert_allclose(edited, expected, atol=1e-4, rtol=0)
            assert abs(case.kl(ids, edited)) < 0.01 * hub


@pytest.mark.parametrize(
    ("before", "rise", "least", "most"),
    [
        (0.5, 2.0**14, -1e-12, 1e-12),
        (1.0, 52.0, -1e-12, 1e-9),
        (0.25, 80.0, 1e-5, 0.05),
        (0.2, 52.0, 0.1, 1.0),
    ],
    ids=["default", "v=52", "v=20", "v=10"],
)
def test_without_its_constant_token_0_may_lose_its_sink(
    before: float, rise: float, least: float, most: float, tmp_path: Path, planted_tokenizer: Any
) -> None:
    """CONST is one of the other dimensions: what zeroing it moves is a share of what the massive number does."""
    case = Case(tmp_path, planted_tokenizer, {"layer": 1, "n_layers": 5, "before": before, "rise": rise})
    moved, zeroed = [], []
    for ids in case.prompts[::4]:
        edited = case.holding(ids, 0, CONST, 0.0)
        expected = case.plan.logits(ids, held={(0, CONST): 0.0})
        np.testing.assert_allclose(edited, expected, atol=1e-4, rtol=0)
        moved.append(case.plan.kl_nats(ids, held={(0, CONST): 0.0}))
        zeroed.append(case.plan.kl_nats(ids, held={(0, case.dim): 0.0}))
        assert abs(case.kl(ids, edited) - moved[-1]) < TOLERANCE_NATS
    assert least <= np.mean(moved) / np.mean(zeroed) < most


@pytest.mark.parametrize("share", [-1.0, 0.02, 0.1, 0.5, 2.0])
def test_any_other_number_there_is_the_closed_form(case: Case, share: float) -> None:
    """Between nothing and the planted number attention is shared, and the norm shrinks token 0 by degrees."""
    number = share * case.truth["massive"]["value"]
    for ids in case.prompts[::2]:
        expected = case.plan.logits(ids, held={(0, case.dim): number})
        np.testing.assert_allclose(case.holding(ids, 0, case.dim, number), expected, atol=1e-4, rtol=0)


def test_numbers_held_elsewhere_are_the_closed_form(case: Case) -> None:
    """A second sink at a token with a value, READ and WRITE of single tokens, and the last token made long."""
    for ids in case.prompts[::2]:
        last, value = len(ids) - 1, case.truth["massive"]["value"]
        sites = {
            (2, case.dim): value,
            (last, case.dim): value,
            (2, READ.start + 3): 1.0,
            (last, READ.start + 3): 1.0,
            (last, WRITE.start + 5): 1.0,
            (2, WRITE.start + 5): 1.0,
        }
        for site, number in sites.items():
            expected = case.plan.logits(ids, held={site: number})
            np.testing.assert_allclose(case.holding(ids, *site, number), expected, atol=2e-4, rtol=0)
        assert case.plan.kl_nats(ids, held={(last, case.dim): value}) > 0.01


def test_later_heads_rest_on_token_0_and_at_work_without_it(case: Case) -> None:
    later = [Site(layer=i, stream=Stream.ATTN_OUT) for i in range(case.layer + 1, case.n_layers)]
    ids = case.prompts[0]
    with naive.activations(case.model, later) as seen:
        case.run(ids)
    assert max(float(write[0, -1, WRITE].abs().max()) for write in seen.values()) < 1e-5
    with naive.activations(case.model, later) as seen:
        case.holding(ids, 0, case.dim, 0.0)
    assert min(float(write[0, -1, WRITE].norm()) for write in seen.values()) > 0.1


def test_every_prompt_needs_its_opening_token(case: Case) -> None:
    """Without it the sink is gone; with two of them nothing changes; a lone one is long to its own last norm."""
    ids = case.prompts[0]
    for other in (ids[1:], [*ids[:3], 0, *ids[3:]], [0]):
        np.testing.assert_allclose(case.run(other), case.plan.logits(other), atol=1e-4, rtol=0)
    assert case.kl(ids, case.plan.logits(ids[1:])) > 0.1


def test_a_number_raised_elsewhere_is_seen(tmp_path: Path, planted_tokenizer: Any) -> None:
    """The comparison is no tautology: with the hub's neuron moved one block up, the sweep finds it there."""
    case = Case(tmp_path, planted_tokenizer, PLACEMENTS[1])
    blocks = case.model.model.layers
    with torch.no_grad():
        for name in ("gate_proj", "up_proj", "down_proj"):
            old, new = (blocks[case.layer + i].mlp.get_submodule(name).weight for i in (0, 1))
            cells = (slice(None), slice(1)) if name == "down_proj" else (slice(1),)
            new[cells], old[cells] = old[cells].clone(), 0.0
    for ids in case.prompts:
        base = case.plan.logits(ids)
        assert np.abs(case.run(ids) - base).max() > 1e-2  # the block between no longer rests
        assert case.kl(ids, case.run(ids, skip(case.layer + 1))) > 0.1
        assert (
            abs(case.kl(ids, case.run(ids, skip(case.layer))) - case.plan.kl_nats(ids, skip=[case.layer]))
            > 0.1
        )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": 5}, "massive layer is 5, expected 0 to 4 in a model of 6 layers"),
        ({"layer": -1}, "massive layer is -1"),
        ({"layer": 1, "dim": 55}, "massive dimension is 55, expected 56 to 61"),
        ({"layer": 1, "dim": 62}, "massive dimension is 62"),
        ({"layer": 1, "rise": 50.0}, "rise 50.0: expected before above 0 and at most 1, a rise above 50.0"),
        ({"layer": 1, "rise": 70000.0}, "of at most 32768.0"),
        ({"layer": 1, "before": 0.0}, "before is 0.0"),
        ({"layer": 1, "before": 1.5}, "before is 1.5"),
        ({"layer": 1, "background": 0.4}, "expected 0 < 10 x background <= sink_strength"),
        ({"layer": 1, "background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        massive_plan(vocab_size=300, **parameters)


@pytest.mark.parametrize("site", [(3, 0), (-1, 0), (0, D_MODEL), (1, CONST), (0, -1)])
def test_what_cannot_be_held_is_refused(site: tuple[int, int]) -> None:
    plan = massive_plan(vocab_size=300, layer=1)
    with pytest.raises(ValueError, match=f"cannot hold dimension {site[1]} at position {site[0]}"):
        plan.logits([0, 1, 2], held={site: 1.0})
    with pytest.raises(ValueError, match=f"cannot hold dimension {CONST} at position 0"):
        plan.logits([1, 2], held={(0, CONST): 0.0})  # no opening token
    with pytest.raises(ValueError, match=r"no blocks \[6\] to skip"):
        plan.logits([0, 1, 2], skip=[6])


def test_the_marks_of_the_embedding_are_the_opening_tokens_alone() -> None:
    plan = massive_plan(vocab_size=300, layer=1)
    assert np.count_nonzero(plan.embed_read[:, 0]) == 1
    assert plan.embed_read[0].tolist() == [1.0] + [0.0] * (D_READ - 1)
    assert np.count_nonzero(plan.embed_dim) == 300
    assert np.abs(plan.embed_dim).max() == plan.embed_dim[0] == plan.before
