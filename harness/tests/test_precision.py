"""The same weights in another precision: a copy, a table, and a planted hub that rounding removes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.assessment import assess
from harness.claim import Claim
from harness.edits import skip
from harness.engine import naive
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.models import LocalDir, ModelError, ModelSpec, load
from harness.models.loading import rounded
from harness.models.testing import KINDS, save_tiny_checkpoint
from harness.planted.rounded import rounded_plan
from harness.planted.testing import PlantedModel
from harness.protocols import Protocol
from harness.verdicts.criteria import Condition, ProfileOf, SameTop, TopMoves
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.verdict import Finding, Verdict

SWEEP, ROUNDED = "layer_sweep", "layers_bfloat16"
CONDITIONS = tuple(
    Condition(name=name, parts=(ProfileOf(experiment=name, select=Singles(), noun="block"),))
    for name in (SWEEP, ROUNDED)
)
MOVES = TopMoves(conditions=CONDITIONS, rationale="of the test")
STAYS = SameTop(conditions=CONDITIONS, rationale="of the test")

pytestmark = pytest.mark.usefixtures("one_thread")


# A copy of the weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_rounded_copy_is_what_loading_in_that_precision_gives(
    tmp_path: Path, kind: str, dtype: str
) -> None:
    place = save_tiny_checkpoint(tmp_path / kind, kind)
    spec = ModelSpec(id="tiny", title="tiny", source=LocalDir(path=place), license="none")
    whole = load(spec, cache_dir=tmp_path / "cache")
    before = {name: value.clone() for name, value in whole.model.named_parameters()}
    copy, asked = rounded(whole, dtype), load(spec, dtype=dtype, cache_dir=tmp_path / "cache")
    one, two = (dict(loaded.model.named_parameters()) for loaded in (copy, asked))
    assert set(one) == set(two)
    assert all(one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]) for name in one)
    angles = [name for name, _ in asked.model.named_buffers() if name.endswith("inv_freq")]
    assert angles
    assert all(torch.equal(copy.model.get_buffer(name), asked.model.get_buffer(name)) for name in angles)
    ids = torch.tensor([[4, 5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(copy.model(ids).logits, asked.model(ids).logits)
    assert (copy.dtype, copy.weights_digest, copy.model.config.dtype) == (
        dtype,
        asked.weights_digest,
        asked.model.config.dtype,
    )
    assert all(torch.equal(value, before[name]) for name, value in whole.model.named_parameters())


def test_an_unknown_precision_is_refused(subject: Any) -> None:
    with pytest.raises(ModelError, match="unknown dtype 'int3': use one of float32, bfloat16, float16"):
        rounded(subject.loaded, "int3")


def test_a_model_in_its_own_precision_is_itself(subject: Any) -> None:
    assert subject.in_dtype("") is subject.in_dtype("float32") is subject
    assert subject.in_dtype("bfloat16") is subject.in_dtype("bfloat16")


# The planted hub


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any) -> PlantedModel:
    place = tmp_path_factory.mktemp("rounded")
    return PlantedModel("rounded", place, tokenizer=planted_tokenizer, layer=1, rival=4)


def test_in_float32_every_skip_is_the_closed_form(lost: PlantedModel) -> None:
    evidence = lost.measure(SWEEP)
    assert evidence.failed == ()
    assert evidence.question.dtype == "float32"
    effects, prompts = evidence.effects, lost.encode(evidence)[::6]
    for layer in range(6):
        expected = [lost.plan.kl_nats(ids, skip=(layer,)) for ids in prompts]
        np.testing.assert_allclose(
            effects.metrics["kl_nats"][effects.row(skip(layer)), ::6], expected, atol=1e-4
        )
    assert effects.means("kl_nats").argmax() == lost.truth["hub_layer"] == 1


def test_in_bfloat16_the_hub_writes_nothing_and_the_others_what_they_did(lost: PlantedModel) -> None:
    """Of the others, within what a mantissa of 8 bits leaves of a write: a twentieth and 0.02 nats, on average."""
    evidence = lost.measure(ROUNDED)
    assert evidence.failed == ()
    assert evidence.question.dtype == "bfloat16"
    effects, prompts = evidence.effects, lost.encode(evidence)
    assert np.array_equal(effects.metrics["kl_nats"][effects.row(skip(1))], np.zeros(len(prompts)))
    plan = rounded_plan(vocab_size=lost.truth["vocab_size"], **lost.truth["parameters"], rounded=True)
    for layer in (0, 2, 3, 4, 5):
        expected = np.mean([plan.kl_nats(ids, skip=(layer,)) for ids in prompts])
        found = effects.metrics["kl_nats"][effects.row(skip(layer))].mean()
        assert found == pytest.approx(expected, rel=0.05, abs=0.02), layer
    assert effects.means("kl_nats").argmax() == lost.truth["hub_in_bfloat16"] == 4


def judged(model: PlantedModel, criterion: Any) -> Finding:
    tables = {name: model.measure(name).effects for name in (SWEEP, ROUNDED)}
    return judge_criterion(criterion, measured(tables))


def test_a_hub_that_rounding_removes_moves(lost: PlantedModel) -> None:
    found = judged(lost, MOVES)
    assert found.verdict is Verdict.SUPPORTED
    assert "layer_sweep: L1 with" in found.sentence
    assert "layers_bfloat16: L4 with" in found.sentence
    assert judged(lost, STAYS).verdict is Verdict.REFUTED


def test_a_hub_that_rounding_leaves_stays(
    tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> None:
    hub = PlantedModel(
        "hub", tmp_path_factory.mktemp("hub"), tokenizer=planted_tokenizer, layer=2, n_layers=4
    )
    assert judged(hub, STAYS).verdict is Verdict.SUPPORTED
    assert judged(hub, MOVES).verdict is Verdict.REFUTED


def test_a_skip_in_bfloat16_is_that_of_hooks(lost: PlantedModel) -> None:
    """To the noise between batch shapes, on one prompt."""
    evidence = lost.measure(ROUNDED)
    model = lost.subject.in_dtype("bfloat16").loaded.model
    ids = lost.encode(evidence)[0]
    base, edited = (naive.run(model, tuple(ids), edit) for edit in (None, skip(4)))
    expected = naive.measure(base, edited, 0)["kl_nats"]
    row = evidence.effects.row(skip(4))
    assert evidence.effects.metrics["kl_nats"][row, 0] == pytest.approx(expected, rel=0.05, abs=0.01)


# Judging


CLAIM = Claim(
    id="precision",
    sentence="Precision moves nothing.",
    source="this test",
    falsified_by="its opposite",
    models=("made_up",),
    criteria={Protocol.SOUND: (STAYS,)},
)


@pytest.mark.parametrize("of_rest", ["float32", "bfloat16", "float16"])
def test_precisions_are_compared_only_where_they_are_two(
    make_evidence: Callable[..., Evidence], of_rest: str
) -> None:
    def evidence(model: str, name: str, protocol: Protocol, seed: int) -> Evidence:
        return make_evidence(
            experiment=name, seed=seed, dtype="bfloat16" if EXPERIMENTS[name].dtype else of_rest
        )

    found = assess([CLAIM], "made_up", Protocol.SOUND, (42,), evidence)["precision"]
    if of_rest == "float32":
        assert found.verdict is Verdict.SUPPORTED
    else:
        assert found.verdict is Verdict.INVALID
        assert (
            f"layer_sweep was measured in {of_rest}, so that nothing is compared with float32"
            in found.sentence
        )
