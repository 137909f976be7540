"""The figures of the training chapters show the tables' own numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.adapters.parameters import lora_parameters
from harness.adapters.values import ATTENTION, Graft, Kind
from harness.anatomy import Anatomy
from harness.experiments import EXPERIMENTS
from harness.experiments.adapters import FAMILIES, JSON, RECIPES_BY_MODULES
from harness.figures import FIGURES
from harness.figures.adapters import draw_adapters, draw_training, draw_transfer
from harness.figures.gains import gain, gain_estimate
from harness.figures.naming import name_points
from harness.figures.pareto import draw_pareto
from harness.models.registry import find_model
from harness.models.spec import LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.statistics.bootstrap import sample
from harness.statistics.clusters import Clusters
from harness.verdicts.adapter_selectors import AdapterRows, On
from harness.verdicts.synthetic import table

N = 6
PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND


def made_up(
    name, kl=lambda probe: 1.0, gain=lambda probe, family: 0.0, norm=lambda probe: 1.0, protocol=SOUND
):
    """Every row of an experiment with this kl_nats, this gain of the answer and this norm."""
    probes = EXPERIMENTS[name].probes(protocol, Anatomy(n_layers=N))
    found = table(list(probes), {"kl_nats": [kl(probe) for probe in probes]}, families=FAMILIES, noise=0.0)
    families = [prompt.family for prompt in found.prompts]
    gains = np.array([[gain(probe, family) for family in families] for probe in probes])
    norms = np.repeat(np.array([[norm(probe)] for probe in probes]), len(families), axis=1)
    base = np.full(len(families), -3.0)
    metrics = {"answer_logprob": base + gains, "update_norm": norms, "factor_norm": 3.0 + 0.0 * norms}
    return replace(
        found,
        metrics={**found.metrics, **metrics},
        baseline={**found.baseline, "answer_logprob": base},
    )


def of(line):
    return dict(zip(map(int, line.get_xdata()), map(float, line.get_ydata()), strict=True))


def block(probe):
    return probe.layers[-1] if probe.layers else 0


def test_norm_and_effect_of_each_block():
    sound = made_up("adapter_layers", kl=lambda p: 0.01 * (1 + block(p)), norm=lambda p: 2.0 - 0.1 * block(p))
    pasted = made_up("adapter_layers", kl=lambda p: 0.1 * (1 + block(p)), protocol=PUBLISHED)
    figure = Figure()
    draw_adapters(figure, {("adapter_layers", SOUND): sound, ("adapter_layers", PUBLISHED): pasted})
    by_block, norms, scatter = figure.axes[:3]
    cumulative, alone = map(of, by_block.lines)
    assert alone == pytest.approx({b: 0.01 * (1 + b) for b in range(N)}, abs=1e-6)
    assert cumulative == pytest.approx({b: 0.1 * (1 + b) for b in range(N)}, abs=1e-6)
    factor, update = norms.lines
    assert of(update) == pytest.approx({b: 2.0 - 0.1 * b for b in range(N)})
    assert set(of(factor).values()) == {3.0}
    assert scatter.get_title(loc="left").endswith("(r = -1.00)")
    assert len(scatter.collections[0].get_offsets()) == N


def test_one_protocol_alone_is_drawn():
    figure = Figure()
    draw_adapters(figure, {("adapter_layers", PUBLISHED): made_up("adapter_layers", protocol=PUBLISHED)})
    assert [len(axis.lines) for axis in figure.axes] == [1, 0, 0]
    draw_transfer(figure := Figure(), {("adapter_transfer", SOUND): made_up("adapter_transfer")})
    assert [len(axis.lines) for axis in figure.axes] == [4, 3, 4]


def test_what_is_recovered_is_one_minus_what_is_left():
    def left(probe):
        if probe.graft is Graft.ANOTHERS_LAST:
            return 4.0
        return 2.0 if not probe.graft else 2.0 * (1.0 - block(probe) / 10)

    random = made_up("adapter_transfer", kl=lambda p: 9.0 if p.parts[0].kind is Kind.RANDOM else left(p))
    figure = Figure()
    draw_transfer(figure, {("adapter_transfer", SOUND): random})
    whole, parts, back = figure.axes
    for line in (whole.lines[0], parts.lines[0], *back.lines[:2]):
        assert of(line) == pytest.approx({b: b / 10 for b in range(N)}, abs=1e-6)
    assert of(whole.lines[1]) == pytest.approx(dict.fromkeys(range(N), -1.0), abs=1e-6)
    assert not any(axis.texts or axis.collections for axis in figure.axes), "nothing lies below the axes"


def test_a_curve_below_the_axis_is_said_to_be_there_and_how_far() -> None:
    """Another prompt's stream leaves 1.5 times the base's distance in L0, 2.5 in L1, then 4, 8, 16 and 32."""

    def left(probe):
        if probe.graft is not Graft.ANOTHERS_LAST:
            return 2.0
        return 2.0 * (1.5, 2.5, 4.0, 8.0, 16.0, 32.0)[block(probe)]

    draw_transfer(figure := Figure(), {("adapter_transfer", SOUND): made_up("adapter_transfer", kl=left)})
    whole, *others = figure.axes
    assert of(whole.lines[1])[5] == pytest.approx(-31.0, abs=1e-6)
    (arrows,) = whole.collections
    edge = whole.get_ylim()[0]
    assert [tuple(at) for at in arrows.get_offsets()] == [(b, edge) for b in range(1, N)]
    assert [text.get_text() for text in whole.texts] == ["below this axis: -1.5 (L1) to -31.0 (L5)"]
    assert not any(axis.texts or axis.collections for axis in others)


def test_gains_by_step_by_skill_and_by_recipe():
    def by_skill(probe, family):
        return 2.0 if [part.family for part in probe.parts] == [family] else -0.5

    tables = {
        ("adapter_steps", SOUND): made_up(
            "adapter_steps", gain=lambda p, family: (p.parts[0].step or 0) / 50 * (family == JSON)
        ),
        ("adapter_families", SOUND): made_up("adapter_families", gain=by_skill),
        ("adapter_ranks", SOUND): made_up(
            "adapter_ranks",
            gain=lambda p, _: p.parts[0].recipe.rank if p.parts else 0.0,
            norm=lambda p: p.parts[0].recipe.rank ** 0.5 if p.parts else 0.0,
        ),
    }
    figure = Figure()
    draw_training(figure, tables)
    steps, matrix, sizes = figure.axes[:3]
    assert [text.get_text() for text in matrix.texts[:2]] == ["2.0", "-0.5"]
    assert of(steps.lines[0]) == pytest.approx({0: 0.0, 10: 0.2, 25: 0.5, 50: 1.0, 75: 1.5, 100: 2.0})
    assert {value for line in steps.lines[1:5] for value in of(line).values()} == {0.0}
    np.testing.assert_allclose(matrix.images[0].get_array(), 2.5 * np.eye(len(FAMILIES)) - 0.5)
    assert sorted(float(line.get_ydata()[0]) for line in sizes.lines) == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert [float(line.get_xdata()[0]) for line in sizes.lines] == pytest.approx([1, 2**0.5, 2, 8**0.5, 4])


GAINS = {"rank_1": 0.5, "rank_2": 1.5, "rank_4": 1.4, "sound": 2.0, "rank_16": 2.0, "q_alone": 0.1} | {
    "v_alone": 1.6,
    "o_alone": 1.7,
    "mlp": 1.9,
    "all_linear": 2.5,
}


def test_the_pareto_front_of_ranks_and_modules_together():
    """On it are those that no adapter of as many or fewer parameters equals, by a search over all pairs."""
    tables = {
        (name, SOUND): made_up(name, gain=lambda p, _: GAINS[p.parts[0].recipe.name] if p.parts else 0.0)
        for name in ("adapter_ranks", "adapter_modules")
    }
    spec = find_model("smollm2_135m")
    draw_pareto(figure := Figure(), tables, spec)
    total, each = figure.axes
    modules, ranks, best = total.lines[:3]
    named = {1: "rank_1", 2: "rank_2", 4: "rank_4", 8: "sound", 16: "rank_16"}
    expected = {lora_parameters(spec, ATTENTION, rank): GAINS[name] for rank, name in named.items()}
    assert of(ranks) == pytest.approx(expected)
    points = [(x, y) for line in (ranks, modules) for x, y in of(line).items()]
    assert len(points) == 10, "on q and on o, as many parameters are drawn at one place"
    undominated = {
        (x, y) for x, y in points if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    }
    assert set(of(best).items()) == undominated
    assert 1 < len(undominated) < 8
    assert total.get_xscale() == "log"
    for line in each.lines:
        assert all(y == pytest.approx(1e6 * dict(points)[x] / x) for x, y in of(line).items())


def test_the_intervals_of_the_gains_are_the_bootstrap_s_over_templates() -> None:
    """Each bar stands at its adapter's parameters, from bound to bound, and for each parameter divided by them."""
    found = made_up("adapter_modules", gain=lambda p, _: GAINS[p.parts[0].recipe.name] if p.parts else 0.0)
    noise = np.random.default_rng(1).normal(scale=0.2, size=found.metrics["answer_logprob"].shape)
    found = replace(
        found, metrics={**found.metrics, "answer_logprob": found.metrics["answer_logprob"] + noise}
    )
    spec = find_model("smollm2_135m")
    draw_pareto(figure := Figure(), {("adapter_modules", SOUND): found}, spec)
    on = [i for i, prompt in enumerate(found.prompts) if prompt.family == JSON]
    gains = (found.metrics["answer_logprob"] - found.baseline["answer_logprob"])[:, on]
    expected = []
    for recipe in RECIPES_BY_MODULES:
        row = next(
            i
            for i, probe in enumerate(found.probes)
            if AdapterRows(on=On.WHOLE, recipe=recipe.name).keep(probe, N)
        )
        bounds = sample(Clusters.of([found.prompts[i] for i in on]), gains[[row]], "answer_logprob").interval(
            0
        )
        expected.append((lora_parameters(spec, recipe.modules, recipe.rank), *bounds))
        assert gain_estimate(found, row, JSON).value == pytest.approx(gain(found, row, JSON))
    total, each = figure.axes
    for axis, unit in ((total, lambda x: 1.0), (each, lambda x: x / 1e6)):
        drawn = [bar.get_segments()[0] for bar in axis.collections]
        assert [(low[0], low[1], high[1]) for low, high in drawn] == [
            pytest.approx((x, low / unit(x), high / unit(x))) for x, low, high in expected
        ]
        values = axis.lines[0].get_ydata()
        assert all(low[1] < value < high[1] for (low, high), value in zip(drawn, values, strict=True))


def test_intervals_of_as_many_parameters_stand_side_by_side() -> None:
    tables = {("adapter_modules", SOUND): made_up("adapter_modules", gain=lambda p, _: 1.0)}
    draw_pareto(figure := Figure(), tables, find_model("smollm2_135m"))
    pixels = [
        bar.get_transform().transform(bar.get_segments()[0])[0, 0] for bar in figure.axes[0].collections
    ]
    q, v, o = pixels[:3]
    assert 1.0 < o - q < 6.0
    assert abs(v - q) > 20.0


def test_a_gain_of_one_template_has_no_interval() -> None:
    found = made_up("adapter_modules", gain=lambda p, _: 1.0)
    one = [i for i, prompt in enumerate(found.prompts) if prompt.template == "t0"]
    found = replace(
        found,
        prompts=tuple(found.prompts[i] for i in one),
        metrics={name: values[:, one] for name, values in found.metrics.items()},
        baseline={name: values[one] for name, values in found.baseline.items()},
    )
    alone = gain_estimate(found, 1, JSON)
    assert (alone.value, alone.n_templates) == (pytest.approx(1.0), 1)
    assert np.isnan([alone.low, alone.high]).all()


def test_names_beside_points_do_not_cover_one_another() -> None:
    """Two points close together at the right edge, and one name that comes again."""
    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    points = [("first", 0.0, 0.0), ("second one", 0.9, 1.0), ("third one", 1.0, 1.0)]
    axis.plot([x for _, x, _ in points], [y for _, _, y in points], "o")
    name_points(figure, axis, [*points, points[0]])
    assert [text.get_text() for text in axis.texts] == [name for name, _, _ in points]
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 for box in boxes)


def test_where_widths_are_not_known_no_sizes_are_drawn():
    local = ModelSpec(id="mine", title="mine", source=LocalDir(path="."), license="?")
    draw_pareto(figure := Figure(), {("adapter_ranks", SOUND): made_up("adapter_ranks")}, local)
    assert [text.get_text() for text in figure.axes[0].texts] == ["the widths of its modules are not known"]
    assert not any(axis.lines for axis in figure.axes)


def test_what_is_not_measured_yet_is_said_and_not_drawn():
    figure = Figure()
    draw_training(figure, {("adapter_steps", SOUND): made_up("adapter_steps")})
    steps, matrix, sizes = figure.axes
    assert steps.lines
    for axis, what in ((matrix, "skills"), (sizes, "ranks and modules")):
        assert not axis.axison
        assert [text.get_text() for text in axis.texts] == [f"{what}: not measured yet"]


def test_each_kind_needs_experiments_that_exist():
    for kind in FIGURES:
        assert set(kind.needs) <= set(EXPERIMENTS), kind.name
