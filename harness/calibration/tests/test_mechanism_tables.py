"""Made-up tables of the hub's mechanism: truths are a loop's, and the write is there whatever the card's truth is."""

from __future__ import annotations

import numpy as np
import pytest

from harness.anatomy import Anatomy, Massive
from harness.calibration.asked import Asked, Made
from harness.calibration.cards import card
from harness.calibration.chapters import MECHANISM
from harness.calibration.models import Workshop
from harness.calibration.population import Sampler, Tables, effects
from harness.calibration.table_cases import TABLE_CASES, TableCase, made_up
from harness.calibration.truth_of_mechanism import mechanism_size
from harness.edits import skip
from harness.effects import PromptRecord
from harness.experiments import EXPERIMENTS
from harness.experiments.definition import SEEDS
from harness.mechanism import MechanismEdit, mechanism_edits
from harness.protocols import Protocol
from harness.verdicts.criteria import EditShare, SingleCriterion, WriterLeads, WriterRaises
from harness.verdicts.judging import judge, judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.verdict import Verdict

WHY = "for the test"
CASES = [case for case in TABLE_CASES if case.chapter == MECHANISM]
WRITER = Massive(layer=2, dim=5, others=(0, 1, 2, 3))
N_LAYERS = 5
PROMPTS = tuple(
    PromptRecord(text=f"{f}{i}", answer="a", foil="b", family=f, template=str(i), n_tokens=3, seed=42)
    for f, n in (("copying", 1), ("arithmetic", 3))
    for i in range(n)
)
"""A family of one prompt counts as much as one of three."""
WEIGHTS = np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6])


def _tables(seed: int = 0) -> Tables:
    rng = np.random.default_rng(seed)
    anatomy = Anatomy(n_layers=N_LAYERS, heads=(), massive=WRITER)
    found = {}
    for name, metric in (("hub_mechanism", "kl_nats"), ("massive_writes", "rise_log10")):
        probes = EXPERIMENTS[name].probes(Protocol.SOUND, anatomy)
        found[name] = effects(probes, PROMPTS, {metric: rng.random((len(probes), len(PROMPTS)))})
    blocks = [skip(layer) for layer in range(N_LAYERS)]
    return found | {
        "layer_sweep": effects(blocks, PROMPTS, {"kl_nats": rng.random((N_LAYERS, len(PROMPTS)))})
    }


def _size(criterion: SingleCriterion, tables: Tables) -> float:
    return mechanism_size(criterion, measured(tables, N_LAYERS))


def test_the_truth_of_a_rise() -> None:
    tables = _tables()
    powers = tables["massive_writes"].metrics["rise_log10"][WRITER.layer] @ WEIGHTS
    criterion = WriterRaises(at_least=3.0, rationale=WHY)
    assert _size(criterion, tables) == pytest.approx(10**powers / 3.0)


@pytest.mark.parametrize(("from_depth", "rivals"), [(0.0, (0, 1, 3, 4)), (1 / 6, (1, 3, 4)), (0.4, (3, 4))])
def test_the_truth_of_a_lead(from_depth: float, rivals: tuple[int, ...]) -> None:
    tables = _tables()
    means = tables["layer_sweep"].metrics["kl_nats"] @ WEIGHTS
    criterion = WriterLeads(from_depth=from_depth, rationale=WHY)
    assert _size(criterion, tables) == pytest.approx(means[WRITER.layer] / max(means[r] for r in rivals))
    late = WriterLeads(from_depth=0.5, rationale=WHY)
    assert _size(late, tables) == 0.0


@pytest.mark.parametrize("edit", [MechanismEdit.MOVED, MechanismEdit.OTHER_DIM, MechanismEdit.BEFORE])
def test_the_truth_of_a_share(edit: MechanismEdit) -> None:
    tables = _tables()
    table = tables["hub_mechanism"]
    edits = mechanism_edits(WRITER, N_LAYERS)

    def mean(probe: object) -> float:
        return float(table.metrics["kl_nats"][list(table.probes).index(probe)] @ WEIGHTS)  # type: ignore[arg-type]

    shares = [mean(probe) / mean(edits[MechanismEdit.ZERO][0]) for probe in edits[edit]]
    least = EditShare(edit=edit, of=MechanismEdit.ZERO, at_least=0.5, rationale=WHY)
    most = EditShare(edit=edit, of=MechanismEdit.ZERO, at_most=0.1, rationale=WHY)
    assert _size(least, tables) == pytest.approx(min(shares) / 0.5)
    assert _size(most, tables) == pytest.approx(0.1 / max(shares))


def _made(shop: Workshop, case: TableCase, target: float, seed: int) -> tuple[Asked, Tables]:
    one = card(shop.claims, case.name, case.protocol)
    asked = made_up(shop, case, one, target, np.random.default_rng(seed))
    made = case.table(asked)
    assert isinstance(made, Made)
    return asked, made.population(Sampler(asked.suite, asked.noise, [seed], len(SEEDS)))


def test_every_universal_card_of_the_chapter_has_tables(shop: Workshop) -> None:
    assert {case.name for case in CASES} == {name for name in shop.claims if name.startswith("massive-")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_card_presupposes_is_there(case: TableCase, shop: Workshop) -> None:
    """So the verdict is that of the whole card, though a trial asks its criteria alone."""
    claim = shop.claims[case.name]
    for target, seed in ((0.3, 1), (0.9, 2), (8.0, 3)):
        asked, tables = _made(shop, case, target, seed)
        view = measured(tables, asked.n_layers)
        assert all(judge_criterion(c, view).verdict is Verdict.SUPPORTED for c in claim.presupposes)
        whole, alone = (
            judge(c, Protocol.SOUND, tables, n_layers=asked.n_layers) for c in (claim, asked.card.claim)
        )
        assert whole.verdict is alone.verdict


def test_verdicts_follow_the_truth(shop: Workshop) -> None:
    """Far from the threshold, on each side; what is compared with the write is true of none that lies below."""
    for case in CASES:
        asked, tables = _made(shop, case, 0.3, 5)
        assert judge(asked.card.claim, Protocol.SOUND, tables).verdict is not Verdict.SUPPORTED, case.name
        asked, tables = _made(shop, case, 8.0, 5)
        assert judge(asked.card.claim, Protocol.SOUND, tables).verdict is Verdict.SUPPORTED, case.name
