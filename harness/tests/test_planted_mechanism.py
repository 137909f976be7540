"""The hub-mechanism experiments, asked as a user asks them, find the planted massive activation and clear the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.edits import Edit
from harness.engine import naive
from harness.mechanism import MechanismEdit, mechanism_rows
from harness.planted.massive import MassivePlan
from harness.planted.testing import PlantedModel
from harness.planted.writers import CONST

TOLERANCE_NATS = 1e-4
CLEARED_NATS = 1e-5

pytestmark = pytest.mark.usefixtures("one_thread")


class Case(PlantedModel):
    """A massive model with the tables of both experiments."""

    plan: MassivePlan

    def __init__(self, root: Path, tokenizer: Any, parameters: dict[str, Any]) -> None:
        super().__init__("massive", root, tokenizer=tokenizer, **parameters)
        self.mechanism, self.writes = (self.measure(name) for name in ("hub_mechanism", "massive_writes"))
        self.prompts = self.encode(self.mechanism)
        self.layer, self.dim = self.truth["massive"]["layer"], self.truth["massive"]["dim"]

    def kl(self, kind: MechanismEdit) -> np.ndarray:
        """[edit, prompt]."""
        effects = self.mechanism.effects
        rows = mechanism_rows(effects.probes, kind, len(self.plan.writers))
        return effects.metrics["kl_nats"][list(rows)]

    def closed_form(self, **edited: Any) -> list[float]:
        return [self.plan.kl_nats(ids, **edited) for ids in self.prompts]


@pytest.fixture(
    scope="module",
    params=[{"layer": 1, "n_layers": 4}, {"layer": 2, "seed": 1, "dim": 59, "rise": 1000.0, "n_layers": 5}],
    ids=["L1", "L2"],
)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any
) -> Case:
    return Case(tmp_path_factory.mktemp("mechanism"), planted_tokenizer, request.param)


def test_the_site_is_found_without_being_told(case: Case) -> None:
    for evidence in (case.mechanism, case.writes):
        assert evidence.failed == ()
        massive = evidence.question.massive
        assert massive is not None
        assert (massive.layer, massive.dim) == (case.layer, case.dim)


def test_the_write_is_the_planted_factor_and_no_other_mlp_writes_there(case: Case) -> None:
    rise = case.writes.effects.metrics["rise_log10"]
    np.testing.assert_allclose(10 ** rise[case.layer], case.plan.value / case.plan.before, rtol=1e-5)
    np.testing.assert_allclose(np.delete(rise, case.layer, axis=0), 0.0, atol=1e-6)
    kl = case.writes.effects.metrics["kl_nats"]
    expected = case.closed_form(held={(0, case.dim): case.plan.before})
    np.testing.assert_allclose(kl[case.layer], expected, atol=TOLERANCE_NATS, rtol=1e-4)
    assert np.abs(np.delete(kl, case.layer, axis=0)).max() <= CLEARED_NATS


def test_what_the_number_carries_is_the_closed_form(case: Case) -> None:
    for kind, edited in (
        (MechanismEdit.SKIP, {"skip": (case.layer,)}),
        (MechanismEdit.ZERO, {"held": {(0, case.dim): 0.0}}),
        (MechanismEdit.UNWRITTEN, {"held": {(0, case.dim): case.plan.before}}),
    ):
        expected = case.closed_form(**edited)
        assert np.mean(expected) > 1.0
        np.testing.assert_allclose(case.kl(kind)[0], expected, atol=TOLERANCE_NATS, rtol=1e-4)


@pytest.mark.parametrize(
    "kind",
    [
        MechanismEdit.MEAN,
        MechanismEdit.OTHER_TASK,
        MechanismEdit.WHOLE_MEAN,
        MechanismEdit.OTHER_DIM,
        MechanismEdit.BEFORE,
    ],
)
def test_what_does_not_carry_it_is_cleared(case: Case, kind: MechanismEdit) -> None:
    assert np.abs(case.kl(kind)).max() <= CLEARED_NATS


def test_another_token_is_cleared(case: Case) -> None:
    """At the last position a number of the spare dimension reaches nobody."""
    assert np.abs(case.kl(MechanismEdit.OTHER_TOKEN)).max() <= CLEARED_NATS


def test_the_constant_is_one_of_the_other_dimensions(tmp_path: Path, planted_tokenizer: Any) -> None:
    """Of a small massive number it does more than a tenth: the planted model does not make every card true."""
    case = Case(tmp_path, planted_tokenizer, {"layer": 1, "n_layers": 5, "before": 0.2, "rise": 60.0})
    massive = case.mechanism.question.massive
    assert massive is not None
    others = case.kl(MechanismEdit.OTHER_DIM)
    constant = massive.others.index(CONST)
    expected = case.closed_form(held={(0, CONST): 0.0})
    np.testing.assert_allclose(others[constant], expected, atol=TOLERANCE_NATS, rtol=1e-3)
    assert np.mean(expected) > 0.1 * case.kl(MechanismEdit.ZERO).mean()
    assert np.abs(np.delete(others, constant, axis=0)).max() <= CLEARED_NATS


def test_later_blocks_still_need_it(case: Case) -> None:
    """No closed form: plain hooks are the truth. After the last block nobody reads it."""
    after = case.kl(MechanismEdit.AFTER)
    assert np.abs(after[-1]).max() <= CLEARED_NATS
    effects, model = case.mechanism.effects, case.subject.loaded.model
    rows = mechanism_rows(effects.probes, MechanismEdit.AFTER, len(case.plan.writers))
    for row in rows:
        probe = effects.probes[row]
        assert isinstance(probe, Edit)
        for j in range(0, len(case.prompts), 9):
            base, edited = (naive.run(model, case.prompts[j], p) for p in (None, probe))
            expected = naive.measure(base, edited, 0)["kl_nats"]
            assert effects.metrics["kl_nats"][row, j] == pytest.approx(expected, abs=1e-4, rel=1e-4)
