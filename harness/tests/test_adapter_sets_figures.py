"""The figures of adapters side by side show the tables' own numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.adapters.values import Adapted, Kind
from harness.anatomy import Anatomy
from harness.effects import Effects, pool
from harness.experiments import EXPERIMENTS
from harness.experiments.adapter_sets import ALL_LINEAR, CHOSEN, CODE, DEOBFUSCATION, EVERYWHERE
from harness.experiments.adapters import FAMILIES, JSON
from harness.figures.adapter_sets import draw_compatibility, draw_deobfuscation, draw_sets
from harness.figures.gains import one_decimal
from harness.protocols import Protocol
from harness.verdicts.synthetic import table

N = 8
SOUND = Protocol.SOUND


def made_up(name: str, gain: Any, families: tuple[str, ...], seed: int = 42) -> Effects:
    """Every row of an experiment with this gain of the answer."""
    probes = EXPERIMENTS[name].probes(SOUND, Anatomy(n_layers=N, ranked=tuple(range(N))))
    found = table(list(probes), {"kl_nats": np.ones(len(probes))}, families=families, noise=0.0, seed=seed)
    added = np.array([[gain(probe, prompt.family) for prompt in found.prompts] for probe in probes])
    base = np.full(len(found.prompts), -3.0)
    metrics = {**found.metrics, "answer_logprob": base + added}
    return replace(found, metrics=metrics, baseline={"answer_logprob": base})


def test_a_dot_a_training_for_each_set_and_a_panel_for_each_family_that_was_measured() -> None:
    def by_name(scale: float) -> Any:
        sizes = {CHOSEN: 1.0, EVERYWHERE: 2.0, ALL_LINEAR: 3.0}
        return lambda probe, _: scale * sizes.get(probe.parts[0].recipe.name, 0.5)

    drawn = [
        made_up("adapter_sets", by_name(scale), (JSON, CODE), seed) for scale, seed in ((1.0, 42), (1.1, 43))
    ]
    figure = Figure()
    draw_sets(figure, {("adapter_sets", SOUND): pool(drawn)})
    (json,) = figure.axes
    assert {line.get_markerfacecolor() for line in json.lines[1:-1:2]} == {"none"}
    dots = [line.get_xdata() for line in json.lines[:-1:2]]
    assert dots[0] == pytest.approx([3.0, 3.3])
    assert dots[-1] == pytest.approx([1.0, 1.1])
    assert all(found == pytest.approx([0.5, 0.55]) for found in dots[2:-1])
    names = [label.get_text() for label in json.get_yticklabels()]
    assert (names[0], names[1]) == ("every block, rank 8", "every block, as many parameters")
    assert names[-1] == "most needed: L0-L1"
    assert sum(name.startswith("random: L") for name in names) == 10
    code = made_up("adapter_sets_code", by_name(1.0), (CODE,))
    draw_sets(figure := Figure(), {("adapter_sets", SOUND): pool(drawn), ("adapter_sets_code", SOUND): code})
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "json schema: an adapter in",
        "code semantics: an adapter in",
    ]
    assert all(axis.lines for axis in figure.axes)
    draw_sets(figure := Figure(), {("adapter_sets", Protocol.PUBLISHED): pool(drawn)})
    assert not figure.axes


def test_each_skill_under_each_adapter_and_under_a_random_update() -> None:
    def gain(probe: Adapted, family: str) -> float:
        if probe.parts[0].kind is Kind.RANDOM:
            return 0.1
        return 2.0 if probe.parts[0].family == family else -0.5

    figure = Figure()
    draw_deobfuscation(
        figure, {("adapter_deobfuscation", SOUND): made_up("adapter_deobfuscation", gain, DEOBFUSCATION)}
    )
    trained, random = figure.axes[:2]
    np.testing.assert_allclose(trained.images[0].get_array(), 2.5 * np.eye(5) - 0.5)
    np.testing.assert_allclose(random.images[0].get_array(), np.full((5, 5), 0.1))


def test_what_a_second_adapter_takes_from_a_skill() -> None:
    """Alone 3; beside another the first family loses 1, the others win 0.25; halves keep half."""

    def gain(probe: Adapted, family: str) -> float:
        if len(probe.parts) == 1:
            return 3.0
        if probe.merge == "linear":
            return 1.5
        return 2.0 if family == FAMILIES[0] else 3.25

    figure = Figure()
    draw_compatibility(figure, {("adapter_families", SOUND): made_up("adapter_families", gain, FAMILIES)})
    summed, halved = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[:2])
    off = ~np.eye(len(FAMILIES), dtype=bool)
    assert np.isnan(np.diag(summed)).all()
    assert summed[0, 1:] == pytest.approx(-1.0)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(written) == ["-1.0"] * 4 + ["0.2"] * 16, "nothing is written where nothing was measured"
    assert summed[1:][off[1:]] == pytest.approx(0.25)
    assert halved[off] == pytest.approx(-1.5)


@pytest.mark.parametrize(("value", "said"), [(-0.04, "0.0"), (0.04, "0.0"), (-0.06, "-0.1"), (1.52, "1.5")])
def test_what_rounds_to_nothing_has_no_sign(value: float, said: str) -> None:
    assert one_decimal(value) == said
