"""The attention edges: probes and windows, a planted edge found and the others cleared, verdicts at their bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from claims import test_positions as chapter
from harness.anatomy import Anatomy
from harness.edits import cut, zero
from harness.engine.blocks import Stack
from harness.engine.sweep import sweep
from harness.experiments import EXPERIMENTS
from harness.experiments.edges import EDGES, SOURCES, WINDOWS, windows
from harness.figures.edges import ALL_OTHERS, draw_edges
from harness.planted.testing import PlantedModel
from harness.planted.writers import position_scores, softmax
from harness.protocols import Protocol
from harness.verdicts.criteria import EveryProbe, SpotOutweighs
from harness.verdicts.judging import judge, judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Edges, Reach, Spotted
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import MissingEvidence, Verdict
from tasks.spots import SPOTS

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
SOUND = Protocol.SOUND
EXPERIMENT = EXPERIMENTS[EDGES]
N_LAYERS = 12
PROBES = EXPERIMENT.probes(SOUND, Anatomy(n_layers=N_LAYERS, heads=(4,) * N_LAYERS))
CARDS = {claim.id: claim for claim in chapter.CLAIMS if claim.id.startswith("edges-")}


# Probes and selections


def test_the_probes_by_name():
    names = [str(probe) for probe in PROBES]
    assert len(names) == len(set(names)) == (len(SOURCES) + 1) * (WINDOWS + 1) == 42
    assert names[:2] == ["cut L0-L1 from first", "cut L2-L3 from first"]
    assert names[6] == "cut L0-L11 from first"
    assert names[-1] == "cut L0-L11 from all others"
    assert set(SOURCES) == set(SPOTS) - {"last"}


@pytest.mark.parametrize("n_layers", range(1, 40))
def test_windows_part_the_depth_evenly(n_layers):
    runs = windows(n_layers)
    assert len(runs) == min(WINDOWS, n_layers)
    assert [layer for run in runs for layer in run] == list(range(n_layers))
    sizes = [len(run) for run in runs]
    assert max(sizes) - min(sizes) <= 1
    for run in runs:
        halves = [reach for reach in (Reach.LOWER, Reach.UPPER) if reach.holds(run, n_layers)]
        assert len(halves) == 1
        assert halves == [Reach.LOWER] or min(run) >= n_layers / 2 - 0.5


def test_convolutions_have_no_edges(tiny, items):
    """LFM2: attention in every other block; a window without any is left out."""
    probes = EXPERIMENT.probes(SOUND, Anatomy(n_layers=4, heads=(0, 4, 0, 4)))
    assert [str(p) for p in probes[:3]] == ["cut L1 from first", "cut L3 from first", "cut L1+L3 from first"]
    assert len(probes) == 3 * 6
    spots = tuple((spot, (at,)) for at, spot in enumerate(SOURCES))
    prompts = [replace(item, spots=spots) for item in items((6, 8))]
    found, _ = sweep(Stack(tiny("lfm2")), prompts, probes)
    assert (found["kl_nats"].max(axis=1) > 1e-6).all()


def test_selections_by_reach():
    def kept(reach, n_layers=N_LAYERS, probes=PROBES):
        return [str(p) for p in probes if Edges(spot="content", reach=reach).keep(p, n_layers)]

    assert kept(Reach.ALL) == ["cut L0-L11 from content"]
    assert kept(Reach.LOWER) == [f"cut L{a}-L{a + 1} from content" for a in (0, 2, 4)]
    assert kept(Reach.UPPER) == [f"cut L{a}-L{a + 1} from content" for a in (6, 8, 10)]
    assert kept(Reach.LAST) == ["cut L10-L11 from content"]
    hybrid = EXPERIMENT.probes(SOUND, Anatomy(n_layers=N_LAYERS, heads=(0, 4) * 6))
    assert kept(Reach.LAST, probes=hybrid) == ["cut L11 from content"]
    assert kept(Reach.ALL, probes=hybrid) == ["cut L1+L3+L5+L7+L9+L11 from content"]
    assert not Edges(spot="content").keep(replace(zero("attn_out", 0), spot="content"), N_LAYERS)
    assert not any(Spotted(spot="content").keep(p, N_LAYERS) for p in PROBES)
    with pytest.raises(ValueError, match="name one of first, instruction"):
        Edges(spot="last")


# A planted edge


@pytest.fixture(
    scope="module",
    params=[{"layer": 1, "head": 2}, {"layer": 3, "head": 1, "distance": 3, "seed": 1}],
    ids=["L1H2", "L3H1"],
)
def planted(request: Any, tmp_path_factory: Any, planted_tokenizer: Any) -> PlantedModel:
    root: Path = tmp_path_factory.mktemp("edges")
    return PlantedModel("copy_head", root, tokenizer=planted_tokenizer, **request.param)


def closed_form(planted: PlantedModel, ids: list[int], sources: tuple[int, ...]) -> np.ndarray:
    """Logits with the copy head's edges to these positions cut in its block: its softmax over the rest."""
    layer, head = planted.truth["copy_head"]
    writer, group = planted.plan.writers[layer], head // 2
    scores = position_scores(writer.query_bias[head], writer.key_bias[group], n_pos=len(ids))
    scores[list(sources)] = -np.inf
    read = planted.plan.embed_read[ids]
    write = writer.output[head] @ (writer.value[group] @ (softmax(scores) @ read))
    return planted.plan.logits(ids, zero_heads=[(layer, head)]) + planted.plan.unembed @ write


@pytest.mark.usefixtures("one_thread")
def test_the_planted_edge_is_found_and_every_other_is_cleared(planted: PlantedModel):
    """Only the copy head's block, and only the class of the token it copies, matter; the rest is the closed form."""
    from harness.measure import draw_prompts
    from harness.planted.writers import kl_of_logits

    evidence = planted.measure(EDGES)
    assert evidence.failed == ()
    layer, _ = planted.truth["copy_head"]
    distance = planted.truth["parameters"]["distance"]
    items = draw_prompts(planted.subject.loaded, EXPERIMENT, 42).items
    values = evidence.effects.metrics["kl_nats"]
    matters = 0
    for (i, probe), (j, item) in product(enumerate(evidence.effects.probes), enumerate(items)):
        ids, spots = list(item.ids), dict(item.spots)
        if probe.spot is not None and probe.spot not in spots:
            assert np.isnan(values[i, j])
            continue
        sources = spots[probe.spot] if probe.spot else tuple(range(len(ids) - 1))
        if layer in probe.layers and len(ids) - 1 - distance in sources:
            matters += 1
            expected = kl_of_logits(planted.plan.logits(ids), closed_form(planted, ids, sources))
            assert values[i, j] == pytest.approx(expected, abs=1e-3, rel=1e-4), str(probe)
        else:
            assert abs(values[i, j]) < 1e-5, str(probe)
    assert matters >= 2 * 2 * len(items) - 4, (
        "every prompt's source has a class, cut in a window and in all blocks"
    )


@pytest.mark.usefixtures("one_thread")
def test_the_cards_say_where_it_was_planted(planted: PlantedModel):
    tables = {EDGES: planted.measure(EDGES).effects}
    verdicts = {name: judge(card, SOUND, tables, n_layers=4).verdict for name, card in CARDS.items()}
    late = planted.truth["copy_head"][0] == 3
    assert verdicts == {
        "edges-content-carries": SUPPORTED,
        "edges-content-read-late": SUPPORTED if late else REFUTED,
        "edges-content-done-by-last-sixth": REFUTED if late else SUPPORTED,
        "edges-first-rests": SUPPORTED,
    }


# Verdicts at their boundaries


def cut_table(levels, *, noise=1e-3, lacking=0, left=("first", "last", "instruction")):
    """A table whose mean kl_nats are `levels` by (spot, index of the window, None for all); 0.5 where not named.

    The first `lacking` prompts have the classes `left` alone.
    """
    index = {run: i for i, run in enumerate(windows(N_LAYERS))}
    kl = [levels.get((p.spot, index.get(p.layers)), 0.5) for p in PROBES]
    made = table(PROBES, {"kl_nats": kl}, noise=noise)
    prompts = tuple(replace(p, spots=SPOTS if i >= lacking else left) for i, p in enumerate(made.prompts))
    effects = replace(made, prompts=prompts)
    return replace(
        effects, metrics={"kl_nats": np.where(effects.measured, effects.metrics["kl_nats"], np.nan)}
    )


def verdict_of(card, effects):
    return judge(CARDS[card], SOUND, {EDGES: effects}, n_layers=N_LAYERS).verdict


CONTENT = "content"


@pytest.mark.parametrize(
    ("card", "levels", "verdict"),
    [
        ("edges-content-carries", {(CONTENT, None): 0.11}, SUPPORTED),
        ("edges-content-carries", {(CONTENT, None): 0.09}, REFUTED),
        ("edges-content-carries", {(CONTENT, None): 0.1}, INCONCLUSIVE),
        ("edges-content-done-by-last-sixth", {(CONTENT, 5): 0.09}, SUPPORTED),
        ("edges-content-done-by-last-sixth", {(CONTENT, 5): 0.11}, REFUTED),
        ("edges-content-done-by-last-sixth", {(CONTENT, 5): 0.1}, INCONCLUSIVE),
        ("edges-content-read-late", {(CONTENT, 3): 0.54}, SUPPORTED),
        ("edges-content-read-late", {(CONTENT, 2): 0.54}, REFUTED),
        ("edges-content-read-late", {(CONTENT, 3): 0.54, (CONTENT, 0): 0.54}, INCONCLUSIVE),
        ("edges-first-rests", {(CONTENT, None): 0.51}, SUPPORTED),
        ("edges-first-rests", {("first", None): 0.51}, REFUTED),
        ("edges-first-rests", {("operator", None): 9.0}, INCONCLUSIVE),
    ],
)
def test_a_card_at_its_boundary(card, levels, verdict):
    assert verdict_of(card, cut_table(levels)) is verdict


def test_cards_are_judged_on_the_prompts_that_have_the_class():
    levels = {(CONTENT, None): 0.6}
    assert verdict_of("edges-first-rests", cut_table(levels, lacking=60)) is SUPPORTED
    with pytest.raises(MissingEvidence, match="has the positions of"):
        verdict_of("edges-first-rests", cut_table(levels, lacking=120))


def test_a_value_that_is_not_finite_is_invalid():
    effects = cut_table({})
    effects.metrics["kl_nats"][effects.row(cut(*range(N_LAYERS), spot=CONTENT)), 3] = np.inf
    assert verdict_of("edges-content-carries", effects) is Verdict.INVALID
    assert verdict_of("edges-first-rests", effects) is Verdict.INVALID


def test_the_sentence_names_source_and_reach():
    asked = SpotOutweighs(
        experiment=EDGES,
        stronger=Edges(spot=CONTENT, reach=Reach.UPPER),
        weaker=(Edges(spot=CONTENT, reach=Reach.LOWER),),
        rationale="a test",
    )
    assert asked.experiments == (EDGES,)
    found = judge_criterion(asked, measured({EDGES: cut_table({(CONTENT, 3): 0.8})}, N_LAYERS))
    assert "edges to content, cut in each window of the upper half' moves 0.6 nats" in found.sentence
    every = EveryProbe(
        experiment=EDGES, select=Edges(spot="first"), metric="kl_nats", at_most=1.0, rationale="a test"
    )
    assert str(every).endswith("the last token's edges to first, cut in all blocks at once")


# The figure


def test_the_figure_maps_source_by_window():
    from matplotlib.figure import Figure

    levels = {(CONTENT, 3): 2.0, ("first", None): 3.0}
    effects = cut_table(levels, lacking=120, left=("first", CONTENT))
    figure = Figure()
    draw_edges(figure, {(EDGES, SOUND): effects})
    by_window, at_once = figure.axes[:2]
    grid = by_window.images[0].get_array()
    assert [t.get_text() for t in by_window.get_yticklabels()] == ["first", CONTENT, ALL_OTHERS]
    assert [t.get_text() for t in by_window.get_xticklabels()][3] == "L6-L7"
    assert grid.shape == (3, WINDOWS)
    assert grid[1, 3] == pytest.approx(2.0, abs=0.01)
    np.testing.assert_allclose(np.delete(np.asarray(grid), WINDOWS + 3), 0.5, atol=0.01)
    widths = [bar.get_width() for bar in at_once.patches]
    np.testing.assert_allclose(widths, [3.0, 0.5, 0.5], atol=0.01)
