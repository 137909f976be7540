"""The truth about a claim against brute force: the plan's own closed form, prompt by prompt, and plain loops."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest

from harness.anatomy import Anatomy
from harness.calibration.cards import at_layer, card, selecting
from harness.calibration.closed_form import METRICS, ClosedForm
from harness.calibration.models import Workshop, bisect
from harness.calibration.truth import bound_size, size
from harness.edits import Edit, Exit, Probe, Stream, erase, skip, zero
from harness.experiments import EXPERIMENTS
from harness.planted.fact import COMMON_FACTS
from harness.planted.writers import N_HEADS, Plan
from harness.protocols import Protocol
from harness.verdicts.criteria import EveryProbe, SomeProbe
from harness.verdicts.selectors import Blocks, Singles

KINDS: dict[str, dict[str, Any]] = {
    "copy_head": {"layer": 1, "head": 2, "distance": 3, "n_layers": 4, "seed": 1},
    "fact": {"layer": 1, "mover": (3, 1), "n_layers": 5, "seed": 2},
    "hub": {"layer": 2, "n_layers": 4, "seed": 3},
    "late_read": {"layer": 3, "n_layers": 5, "seed": 4},
    "null": {"n_layers": 4, "seed": 5},
    "redundant_pair": {"first": 2, "second": 3, "reader": 5, "n_layers": 8, "seed": 6},
    "rivals": {
        "layer": 0,
        "rival": 3,
        "n_layers": 4,
        "seed": 7,
        "hub_strength": 0.8,
        "rival_strength": 0.7,
        "background": 0.1,
        "twin": True,
        "spread": 1.5,
    },
}


def _probes(n_layers: int) -> list[Probe]:
    anatomy = Anatomy(n_layers=n_layers, heads=(N_HEADS,) * n_layers)
    names = ("layer_sweep", "layer_sets", "early_exit", "head_sweep")
    return [p for name in names for p in EXPERIMENTS[name].probes(Protocol.SOUND, anatomy)[-6:]]


def _plain_logits(plan: Plan, ids: tuple[int, ...], probe: Probe) -> np.ndarray:
    if isinstance(probe, Exit):
        return plan.logits(ids, skip=range(probe.layer + 1, len(plan.writers)))
    assert isinstance(probe, Edit)
    heads = [(s.layer, s.head) for s in probe.heads if s.head is not None]
    return plan.logits(ids, zero_heads=heads) if heads else plan.logits(ids, skip=probe.layers)


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_form_is_the_plan_prompt_by_prompt(shop: Workshop, kind: str) -> None:
    given = dict(KINDS[kind])
    if kind == "fact":
        given["facts"] = [(shop.tokens(s)[0], shop.tokens(a)[0]) for s, a in COMMON_FACTS]
    plan = shop.model(kind, **given).plan
    probes = _probes(len(plan.writers))
    effects = ClosedForm(plan, shop.pool.prompts).effects(probes, METRICS)
    for column in range(0, len(shop.pool.prompts.ids), 40):
        ids = shop.pool.prompts.ids[column]
        base = plan.logits(ids)
        best = np.argsort(base)[::-1]
        log_p = base - np.log(np.exp(base - base.max()).sum()) - base.max()
        for row, probe in enumerate(probes):
            edited = _plain_logits(plan, ids, probe)
            order = np.argsort(edited)[::-1]
            log_q = edited - np.log(np.exp(edited - edited.max()).sum()) - edited.max()
            kl = float(np.sum(np.exp(log_p) * (log_p - log_q)))
            found = {name: effects.metrics[name][row, column] for name in METRICS}
            assert found["kl_nats"] == pytest.approx(kl, abs=2e-5), str(probe)
            if np.diff(np.sort(base)[-6:]).min() > 1e-4 and np.diff(np.sort(edited)[-6:]).min() > 1e-4:
                assert found["argmax_match"] == (best[0] == order[0])
                assert found["top5_overlap"] == pytest.approx(len({*best[:5]} & {*order[:5]}) / 5)


def test_what_has_no_closed_form_is_refused(shop: Workshop) -> None:
    form = ClosedForm(shop.model("hub", layer=0, n_layers=4).plan, shop.pool.prompts)
    for probe in (erase(1), Exit(layer=2, normed=False), zero(Stream.MLP_OUT, 1)):
        with pytest.raises(ValueError, match="has no closed form here"):
            form.effects([probe])
    with pytest.raises(ValueError, match="no closed form of answer_logprob"):
        form.effects([skip(1)], ("answer_logprob",))


def test_the_population_counts_families_and_templates_alike(shop: Workshop) -> None:
    """Brute force: mean over families of the mean over templates of the mean over a template's pairs."""
    values = np.random.default_rng(0).random(len(shop.pool.shares))
    by_family: dict[str, list[float]] = {}
    rows = list(zip(shop.pool.prompts.records, shop.pool.shares, values, strict=True))
    for (family, _), group in groupby(rows, key=lambda row: (row[0].family, row[0].template)):
        members = list(group)
        assert sum(share for _, share, _ in members) == pytest.approx(1.0)
        by_family.setdefault(family, []).append(sum(share * value for _, share, value in members))
    expected = np.mean([np.mean(means) for means in by_family.values()])
    assert len(by_family) == 12
    assert float(values @ shop.pool.weights) == pytest.approx(expected)


def test_redrawn_samples_have_the_population_mean(shop: Workshop) -> None:
    values = np.random.default_rng(1).random(len(shop.pool.shares))
    rng = np.random.default_rng(2)
    means = [values[list(shop.pool.redraw(3, rng))].mean() for _ in range(400)]
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - float(values @ shop.pool.weights)) < 4 * error


def test_the_size_of_a_hub_claim(shop: Workshop) -> None:
    model = shop.model("rivals", **KINDS["rivals"])
    some = card(shop.claims, "hub-exists")
    plan, weights = model.plan, shop.pool.weights
    means = [
        sum(
            w * plan.kl_nats(ids, skip=[layer]) for w, ids in zip(weights, shop.pool.prompts.ids, strict=True)
        )
        for layer in (0, 3)
    ]
    expected = min((means[0] - means[1]) / means[0] / 0.10, means[0] / 0.1)
    assert shop.size(model, some) == pytest.approx(expected, rel=1e-3)
    assert shop.size(model, at_layer(some, 0)) == pytest.approx(expected, rel=1e-3)
    assert shop.size(model, at_layer(some, 3)) == 0.0


@pytest.mark.parametrize(
    ("given", "metric", "mean", "expected"),
    [
        ({"at_least": 0.1}, "kl_nats", 0.2, 2.0),
        ({"at_most": 1.0}, "kl_nats", 0.5, 2.0),
        ({"at_most": 0.1}, "top5_overlap", 0.2, 0.5),
        ({"at_least": 0.2}, "top5_overlap", 0.1, 0.5),
        ({"at_most": 0.95}, "argmax_match", 0.90, 2.0),
        ({"at_most": 0.95}, "argmax_match", 0.975, 0.5),
        ({"at_least": 0.95}, "argmax_match", 0.975, 2.0),
        ({"at_most": 0.1}, "kl_nats", 0.0, np.inf),
        ({"at_least": 0.1}, "answer_logprob", -0.2, 0.0),
    ],
)
def test_the_size_of_a_bound(given: dict[str, float], metric: str, mean: float, expected: float) -> None:
    bound = EveryProbe(experiment="layer_sweep", select=Singles(), metric=metric, rationale="x", **given)
    assert bound_size(bound, mean) == pytest.approx(expected)


@pytest.mark.parametrize("given", [{"at_least": -0.1}, {"at_most": -0.1}, {"at_most": 0.0}])
def test_a_bound_that_is_not_above_0_has_no_size(given: dict[str, float]) -> None:
    bound = EveryProbe(experiment="layer_sweep", select=Singles(), metric="kl_nats", rationale="x", **given)
    with pytest.raises(TypeError, match="no truth is defined for a bound of (-0.1|0): teach"):
        bound_size(bound, 0.2)


def test_every_probe_is_as_true_as_the_worst_and_some_probe_as_the_best(shop: Workshop) -> None:
    model = shop.model("hub", layer=1, n_layers=4)
    asked = {"experiment": "layer_sweep", "select": Singles(), "metric": "kl_nats", "rationale": "x"}
    some = card(shop.claims, "hub-exists")
    means = shop.means(model, some)
    every = some.asking(lambda _: EveryProbe(at_most=0.1, **asked))
    one = some.asking(lambda _: SomeProbe(at_most=0.1, **asked))
    assert shop.size(model, every) == pytest.approx(0.1 / means.max())
    assert shop.size(model, one) == pytest.approx(0.1 / means.min())
    assert shop.size(model, selecting(one, Blocks(layers=(1,)))) == pytest.approx(0.1 / means[1])


def test_a_criterion_without_a_truth_is_refused(shop: Workshop) -> None:
    with pytest.raises(TypeError, match="no truth is defined for SameAsDeepest"):
        size(card(shop.claims, "x-skip-last-layer-only", Protocol.PUBLISHED).criteria[0], {}, np.ones(1), 4)


@pytest.mark.parametrize("power", [2.0, -1.5])
def test_bisect_finds_the_strength(power: float) -> None:
    strength = bisect(lambda s: 3.0 * s**power + 0.01, 0.8, 0.05, 5.0)
    assert 3.0 * strength**power + 0.01 == pytest.approx(0.8, rel=0.02)
    assert bisect(lambda s: s, 10.0, 0.1, 2.0) == 2.0
