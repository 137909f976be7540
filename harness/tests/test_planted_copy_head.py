"""The copy head is found by the sweep over heads, and every other head is cleared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.edits import Stream, patch, zero
from harness.engine import naive
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS, RESAMPLE
from harness.measure import draw_prompts
from harness.planted.copy_head import SHARPNESS, copy_head_plan
from harness.planted.testing import PlantedModel
from harness.planted.writers import position_pattern

SWEEP = EXPERIMENTS["head_sweep"]
TOLERANCE_NATS = 1e-4
"""Between the measured KL, in float32, and the closed form, in float64."""
CLEARED_NATS = 1e-6

PLACEMENTS = [
    {"layer": 0, "head": 3, "seed": 0},
    {"layer": 2, "head": 1, "seed": 1, "distance": 3},
    {"layer": 3, "head": 0, "seed": 2, "distance": 4},
]


pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A built copy-head model, its closed form, and its head sweep measured as a user measures it."""

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, int]) -> None:
        super().__init__("copy_head", root, tokenizer=tokenizer, **parameters)
        self.site = (parameters["layer"], parameters["head"])
        self.distance = parameters.get("distance", 1)
        self.evidence: Evidence = self.measure("head_sweep")
        self.kl = self.evidence.effects.metrics["kl_nats"]
        self.prompts = self.encode(self.evidence)
        self.row = self.evidence.effects.row(zero(Stream.Z, *self.site))


@pytest.fixture(scope="module", params=PLACEMENTS, ids=lambda p: f"L{p['layer']}H{p['head']}")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("copy"), planted_tokenizer, request.param)


def test_the_instrument_passes_its_own_checks(case: Case) -> None:
    assert case.evidence.failed == ()
    assert len(case.evidence.effects.probes) == 16


def test_the_planted_head_is_found_and_every_other_is_cleared(case: Case) -> None:
    assert case.truth["copy_head"] == list(case.site)
    assert case.kl[case.row].min() > 1.0
    assert np.abs(np.delete(case.kl, case.row, axis=0)).max() <= CLEARED_NATS
    assert np.delete(case.evidence.effects.metrics["argmax_match"], case.row, axis=0).min() == 1.0


def test_its_effect_is_the_closed_form(case: Case) -> None:
    expected = [case.plan.kl_nats(ids, zero_heads=[case.site]) for ids in case.prompts]
    assert np.std(expected) > 0.1  # a constant would be matched by a constant
    np.testing.assert_allclose(case.kl[case.row], expected, atol=TOLERANCE_NATS, rtol=0)


def test_with_its_z_from_another_prompt_the_model_says_what_that_prompt_copies(case: Case) -> None:
    evidence = case.measure("head_resample")
    assert evidence.failed == ()
    effects = evidence.effects
    row = effects.row(patch(Stream.Z, case.site[0], RESAMPLE, case.site[1]))
    assert np.abs(np.delete(effects.metrics["kl_nats"], row, axis=0)).max() <= CLEARED_NATS
    drawn = draw_prompts(case.subject.loaded, EXPERIMENTS["head_resample"], 42)
    donors = case.subject.donors(EXPERIMENTS["head_resample"], evidence.question, drawn)[RESAMPLE]
    model, site = case.subject.loaded.model, effects.probes[row].sites[0]
    for column, (item, donor) in enumerate(zip(drawn.items, donors, strict=True)):
        assert len(donor) == len(item.ids)
        with naive.activations(model, [site]) as seen:
            naive.run(model, donor, None)
        there = seen[site]
        edited = naive.run(model, item.ids, effects.probes[row], lambda _, there=there: there)
        assert int(edited.argmax()) == donor[-1 - case.distance]
        moved = naive.measure(naive.run(model, item.ids, None), edited, 0)["kl_nats"]
        assert effects.metrics["kl_nats"][row, column] == pytest.approx(moved, abs=TOLERANCE_NATS)


def test_plain_hooks_agree(case: Case) -> None:
    model = case.subject.loaded.model
    for ids in case.prompts[::9]:
        base = naive.run(model, ids, None)
        np.testing.assert_allclose(base, case.plan.logits(ids), atol=1e-4, rtol=0)
        for probe in case.evidence.effects.probes:
            (site,) = probe.sites
            edited = naive.run(model, ids, probe)
            head = (site.layer, site.head)
            np.testing.assert_allclose(edited, case.plan.logits(ids, zero_heads=[head]), atol=1e-4, rtol=0)
            expected = case.plan.kl_nats(ids, zero_heads=[head])
            assert abs(naive.measure(base, edited, 0)["kl_nats"] - expected) < TOLERANCE_NATS


def test_the_model_predicts_the_token_that_the_head_looks_at_and_without_it_another(case: Case) -> None:
    model = case.subject.loaded.model
    for ids in case.prompts:
        copied = ids[-1 - case.distance]
        assert int(naive.run(model, ids, None).argmax()) == copied
        assert int(naive.run(model, ids, zero(Stream.Z, *case.site)).argmax()) != copied


def test_changing_the_token_that_is_looked_at_changes_the_prediction_to_it(case: Case) -> None:
    ids = list(case.prompts[0])
    ids[-1 - case.distance] = 1234
    assert int(naive.run(case.subject.loaded.model, ids, None).argmax()) == 1234


def test_other_heads_are_at_work_and_not_merely_empty(case: Case) -> None:
    """A cleared head writes to the stream: that nobody reads it is what clears it."""
    ids = case.prompts[0]
    for probe in case.evidence.effects.probes:
        (site,) = probe.sites
        with naive.activations(case.subject.loaded.model, [site]) as seen:
            naive.run(case.subject.loaded.model, ids, None)
        projection = case.subject.loaded.model.model.layers[site.layer].self_attn.o_proj.weight
        written = seen[site][0, -1] @ projection[:, 16 * site.head : 16 * (site.head + 1)].T
        assert float(written.norm()) > 1e-3, str(site)


def test_a_head_planted_elsewhere_is_seen(case: Case) -> None:
    """The closed form of the same model with the head one further does not fit this one."""
    _, head = case.site
    other = {**case.truth["parameters"], "head": (head + 1) % 4}
    plan = copy_head_plan(vocab_size=case.truth["vocab_size"], **other)
    expected = [plan.kl_nats(ids, zero_heads=[case.site]) for ids in case.prompts]
    assert np.abs(case.kl[case.row] - expected).min() > 1.0


@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_attention_is_on_one_token_from_the_distance_on(distance: int) -> None:
    plan = copy_head_plan(vocab_size=300, layer=1, head=2, distance=distance)
    writer = plan.writers[1]
    assert float(np.float32(SHARPNESS**0.5)) ** 2 == SHARPNESS
    for n_pos in range(distance + 1, 41):
        pattern = position_pattern(writer.query_bias[2], writer.key_bias[1], n_pos=n_pos)
        assert 1.0 - pattern[-1 - distance] < 1e-7


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": 4, "head": 0}, "copy head is L4H0, expected L0H0 to L3H3"),
        ({"layer": 0, "head": 4}, "copy head is L0H4"),
        ({"layer": -1, "head": 0}, "copy head is L-1H0"),
        ({"layer": 0, "head": 0, "distance": 0}, "distance is 0 tokens, expected 1 to 4"),
        ({"layer": 0, "head": 0, "distance": 5}, "distance is 5"),
        ({"layer": 0, "head": 0, "copy_strength": 0.0}, "copy_strength is 0.0"),
        ({"layer": 0, "head": 0, "background": 0.0}, "background 0.0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        copy_head_plan(vocab_size=300, **parameters)
