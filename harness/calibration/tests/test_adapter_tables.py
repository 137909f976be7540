"""Made-up tables of adapters: prompts are held out, truths are a loop's, and values have the means they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from harness.adapters.items import is_held_out
from harness.adapters.values import SOUND, Adapted, Graft, Kind, Part
from harness.calibration.asked import Asked, Made
from harness.calibration.cards import card
from harness.calibration.models import Workshop
from harness.calibration.population import Noise, Sampler, effects
from harness.calibration.table_cases import TABLE_CASES, TableCase, made_up, run_table
from harness.calibration.table_truth import table_size
from harness.calibration.tables_of_adapters import by_training
from harness.calibration.tables_of_training import TRAINED_SD
from harness.edits import skip
from harness.effects import Effects, PromptRecord
from harness.experiments import EXPERIMENTS
from harness.experiments.adapters import FAMILIES, RECIPES_BY_RANK
from harness.experiments.definition import SEEDS
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On
from harness.verdicts.criteria import (
    AdapterRatio,
    AdapterRecovery,
    BlockCorrelation,
    ChangesDiffer,
    Contrast,
    FamilyLeads,
    Measure,
    OfFamilies,
    ProfileOf,
    RecoveryDepth,
    SingleCriterion,
    Spread,
    Term,
)
from harness.verdicts.judging import judge
from harness.verdicts.selectors import Singles
from harness.verdicts.training_selectors import Under

WHY = "for the test"
NOISE = Noise(log_sd=1.0, sd=0.7, by_template=0.6, common=0.3, grouped=0.4)
JSON = (Part(family="json_schema", recipe=SOUND),)
CODE = (Part(family="code_semantics", recipe=SOUND),)
WHOLE, OTHER = Adapted(parts=JSON), Adapted(parts=CODE)
PROMPTS = tuple(
    PromptRecord(text=f"{f}{t}", answer="a", foil="b", family=f, template=t, n_tokens=3, seed=42)
    for f in ("code_semantics", "json_schema")
    for t in ("one", "two")
)


def _of_blocks(values: dict[Any, list[float]], metric: str = "kl_nats") -> Effects:
    """Each row the same on every prompt."""
    rows = np.array([np.broadcast_to(value, len(PROMPTS)) for value in values.values()], dtype=float)
    return effects(list(values), PROMPTS, {metric: rows})


def _asked(shop: Workshop, name: str, target: float, seed: int = 7) -> tuple[TableCase, Asked]:
    case = next(case for case in TABLE_CASES if case.name == name)
    one = card(shop.claims, name, case.protocol)
    return case, made_up(shop, case, one, target, np.random.default_rng(seed))


def test_prompts_of_adapters_are_held_out(shop: Workshop) -> None:
    _, asked = _asked(shop, "training-raises-json", 1.0)
    prompts = asked.suite.records(EXPERIMENTS["adapter_families"], len(SEEDS))
    assert len(prompts) == len(SEEDS) * len(FAMILIES) * 12
    assert {prompt.family for prompt in prompts} == set(FAMILIES)
    assert all(is_held_out(prompt.text) for prompt in prompts)
    others = asked.suite.records(EXPERIMENTS["layer_sweep"], len(SEEDS))
    assert not all(is_held_out(prompt.text) for prompt in others)


def _size(criterion: SingleCriterion, table: Effects, n_layers: int = 4) -> float:
    (name,) = criterion.experiments
    return table_size(criterion, {name: table}, n_layers)


def test_the_truth_of_a_ratio() -> None:
    alone = [Adapted(parts=JSON, only=(b,)) for b in range(4)]
    table = _of_blocks({WHOLE: [2.0], **{p: [x] for p, x in zip(alone, (0.1, 0.2, 0.4, 0.3), strict=True)}})
    part, whole = Measure(rows=AdapterRows(on=On.ONLY)), Measure(rows=AdapterRows(on=On.WHOLE))
    most = AdapterRatio(part=part, of=whole, at_most=0.25, each=True, rationale=WHY)
    assert _size(most, table) == pytest.approx(0.25 / (0.4 / 2.0))
    least = AdapterRatio(
        part=part.at(BlockSet(layers=(2, 3))),
        of=part.at(BlockSet(layers=(0, 1))),
        at_least=2.0,
        rationale=WHY,
    )
    assert _size(least, table) == pytest.approx(0.35 / 0.15 / 2.0)


@pytest.mark.parametrize(("kind", "given_depth"), [("pearson", False), ("spearman", True)])
def test_the_truth_of_a_correlation(kind: Any, given_depth: bool) -> None:
    rng = np.random.default_rng(1)
    norms, moved = rng.random(9) + 1.0, rng.random(9) + 1.0
    only, off = ([Adapted(parts=JSON, **{on: (b,)}, against=to) for b in range(9)] for on, to in _KINDS)
    values = np.concatenate([norms, moved])[:, None] * np.ones(len(PROMPTS))
    table = effects([*only, *off], PROMPTS, {"update_norm": values, "kl_nats": values})
    criterion = BlockCorrelation(
        one=Measure(rows=AdapterRows(on=On.ONLY), metric="update_norm"),
        two=Measure(rows=AdapterRows(on=On.OFF)),
        kind=kind,
        given_depth=given_depth,
        at_least=0.4,
        rationale=WHY,
    )
    if given_depth:  # partial correlation by the formula of three correlations
        x, y, z = rankdata(norms), rankdata(moved), np.arange(9)
        a, b, c = (pearsonr(u, v)[0] for u, v in ((x, y), (x, z), (y, z)))
        found = (a - b * c) / np.sqrt((1 - b**2) * (1 - c**2))
    else:
        found = pearsonr(norms, moved)[0]
    assert _size(criterion, table, 9) == pytest.approx(0.6 / (1.0 - found))


_KINDS: tuple[tuple[str, Any], ...] = (("only", "base"), ("off", "whole"))


def _grafts(graft: Graft, left: list[float]) -> Effects:
    rows = [Adapted(parts=JSON, only=(b,), graft=graft, against="whole") for b in range(len(left))]
    base = Adapted(parts=JSON, only=(), against="whole")
    return _of_blocks({base: [2.0], **{p: [2.0 * x] for p, x in zip(rows, left, strict=True)}})


def test_the_truth_of_a_recovery() -> None:
    added = AdapterRecovery(rows=AdapterRows(on=On.CONTRIBUTION), at_most=0.5, rationale=WHY)
    assert _size(added, _grafts(Graft.CONTRIBUTION, [0.9, 0.6, 1.2, 0.8])) == pytest.approx(0.5 / 0.4)
    assert _size(added, _grafts(Graft.CONTRIBUTION, [0.9, 0.2, 1.0, 0.8])) == pytest.approx(0.5 / 0.8)


def test_the_truth_of_a_depth() -> None:
    """Of six blocks those before L4 lie before two thirds of the depth; L2 to L4 are the middle third."""
    curve = _grafts(Graft.LAST, [0.9, 0.8, 0.75, 0.7, 0.3, 0.0])
    rows = AdapterRows(on=On.LAST)
    late = RecoveryDepth(rows=rows, at_least=2 / 3, rationale=WHY)
    assert _size(late, curve, 6) == pytest.approx(0.5 / 0.3)
    middle = RecoveryDepth(rows=rows, at_least=1 / 3, at_most=2 / 3, rationale=WHY)
    assert _size(middle, curve, 6) == pytest.approx(min(0.5 / 0.2, 0.5 / 0.3))
    early = _grafts(Graft.LAST, [0.9, 0.8, 0.75, 0.45, 0.3, 0.0])
    assert _size(late, early, 6) == pytest.approx(0.5 / 0.55)
    added = RecoveryDepth(rows=AdapterRows(on=On.CONTRIBUTION), at_least=2 / 3, rationale=WHY)
    parts = _grafts(Graft.CONTRIBUTION, [0.9, 0.9, 0.9, 0.7, 0.5, 0.1])  # 0.6 of 2.0 by L3
    assert _size(added, parts, 6) == pytest.approx(0.5 / 0.3)


def test_the_truth_of_two_spreads() -> None:
    """L0 has 0.4 of 1.0 and 0.2 of 1.0; of equal blocks four carry it, of one alone one."""
    recipes = {name: Part(family="json_schema", recipe=r) for name, r in _BY_RANK.items()}
    effects_of = {"rank_16": [0.4, 0.2, 0.2, 0.2], "rank_1": [0.2, 0.8, 1e-9, 1e-9]}
    rows = {
        Adapted(parts=(recipes[name],), off=(b,), against="whole"): [x]
        for name, values in effects_of.items()
        for b, x in enumerate(values)
    }
    table = _of_blocks(rows)

    def spread(name: str, blocks: BlockSet | None = None) -> Spread:
        return Spread(rows=AdapterRows(on=On.OFF, recipe=name), share_of=blocks)

    first = BlockSet(layers=(0,))
    share = AdapterRatio(
        experiment="adapter_rank_blocks",
        part=spread("rank_16", first),
        of=spread("rank_1", first),
        at_most=0.9,
        rationale=WHY,
    )
    assert _size(share, table) == pytest.approx(0.9 / 2.0, rel=1e-6)
    count = AdapterRatio(
        experiment="adapter_rank_blocks",
        part=spread("rank_16"),
        of=spread("rank_1"),
        at_least=1.1,
        rationale=WHY,
    )
    own, other = 1.0 / (0.16 + 3 * 0.04), 1.0 / (0.04 + 0.64)
    assert _size(count, table) == pytest.approx(own / other / 1.1, rel=1e-6)


_BY_RANK = {recipe.name: recipe for recipe in RECIPES_BY_RANK}


def test_the_truth_of_there_and_back() -> None:
    """Half is brought at L3 of ten; L2 and L4 lie within a tenth of it. Back, of what is left to the base."""
    there = [0.9, 0.9, 0.8, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0]
    criterion = RecoveryDepth(
        rows=AdapterRows(on=On.LAST_BACK),
        than=On.LAST,
        metric="answer_logprob",
        at_least=-0.1,
        at_most=0.1,
        rationale=WHY,
    )
    for back, size in (
        ([0.9, 0.8, 0.8, 0.7, 0.4, 0.3, 0.3, 0.2, 0.1, 0.0], min(0.5 / 0.4, 0.5 / 0.2)),
        ([0.9, 0.8, 0.8, 0.7, 0.6, 0.3, 0.3, 0.2, 0.1, 0.0], 0.5 / 0.6),
        ([0.9, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.2, 0.1, 0.0], 0.5 / 0.6),
    ):
        grafts = [
            *(Adapted(parts=JSON, only=(b,), graft=Graft.LAST, against="whole") for b in range(10)),
            *(Adapted(parts=JSON, only=(b,), graft=Graft.LAST, into="adapted") for b in range(10)),
        ]
        values = [-1.0 - 2.0 * left for left in there] + [-3.0 + 2.0 * left for left in back]
        ends = {Adapted(parts=JSON, only=(), against="whole"): [-3.0], WHOLE: [-1.0]}
        rows = {**ends, **{p: [v] for p, v in zip(grafts, values, strict=True)}}
        assert _size(criterion, _of_blocks(rows, "answer_logprob"), 10) == pytest.approx(size)


def test_the_truth_of_a_way_back() -> None:
    rows = [Adapted(parts=JSON, only=(b,), graft=Graft.CONTRIBUTION, into="adapted") for b in range(3)]
    table = _of_blocks({WHOLE: [2.0], **{p: [x] for p, x in zip(rows, (1.8, 1.2, 2.2), strict=True)}})
    added = AdapterRecovery(rows=AdapterRows(on=On.CONTRIBUTION_BACK), at_most=0.5, rationale=WHY)
    assert _size(added, table, 3) == pytest.approx(0.5 / 0.4)


@pytest.mark.parametrize(
    ("weights", "bound", "size"),
    [
        ((1.0, 0.0, -1.0), {"at_least": 1.0}, 0.6),
        ((1.0, 0.0, -1.0), {"at_most": 0.1}, 0.1 / 0.6),
        ((1.0, 0.0, -1.0), {"at_least": 0.0}, 1.0 + 0.6 / 0.2),
        ((1.0, 0.0, -1.0), {"at_least": -0.5}, 100.0),
        ((-1.0, 0.0, 1.0), {"at_least": -0.5}, 0.5 / 0.6),
        ((-1.0, 0.0, 1.0), {"at_most": 0.1}, 100.0),
        ((1.0, -0.8, -0.2), {"at_least": 0.0}, 0.6 / (0.8 * 0.5)),
        ((1.0, -0.8, -0.2), {"at_most": 0.0}, 0.8 * 0.5 / 0.6),
    ],
)
def test_the_truth_of_a_sum(
    weights: tuple[float, float, float], bound: dict[str, float], size: float
) -> None:
    """The rows add 0.6 and 0.5 nats to the base's on JSON prompts, and much else on the others."""
    base = np.array([-3.0, -1.0, -4.0, -2.0])
    gains = np.array([[9.0, 9.0, 0.2, 1.0], [9.0, 9.0, 0.4, 0.6]])
    metric = "answer_logprob"
    table = effects([WHOLE, OTHER], PROMPTS, {metric: base + gains}, {metric: base})
    terms = tuple(Term(weight=w, of=of) for w, of in zip(weights, (WHOLE, OTHER, None), strict=True) if w)
    contrast = Contrast(experiment="adapter_families", what="a sum", terms=terms, rationale=WHY, **bound)
    found = _size(OfFamilies(families=("json_schema",), criterion=contrast), table)
    assert min(found, 100.0) == pytest.approx(size)


def test_the_truth_of_a_lead() -> None:
    table = effects([WHOLE], PROMPTS, {"kl_nats": np.array([[0.2, 0.4, 1.0, 0.5]])})
    sums = {name: (Term(weight=1.0, of=WHOLE),) for name in ("code_semantics", "json_schema")}
    lead = FamilyLeads(
        experiment="adapter_families",
        what="KL",
        family="json_schema",
        sums=sums,
        metric="kl_nats",
        rationale=WHY,
    )
    assert _size(lead, table) == pytest.approx(0.75 / 0.3)


def test_the_truth_of_changes() -> None:
    rng = np.random.default_rng(3)
    states = {f: (Part(family=f, recipe=SOUND),) for f in FAMILIES[:4]}
    base, changed = rng.random(6) + 1.0, {f: rng.random(6) for f in states}
    rows = {Adapted(parts=(), edit=skip(b), against="whole"): [base[b]] for b in range(6)}
    for f, parts in states.items():
        rows |= {
            Adapted(parts=parts, edit=skip(b), against="whole"): [base[b] + changed[f][b]] for b in range(6)
        }

    def profile(parts: tuple[Part, ...]) -> ProfileOf:
        return ProfileOf(
            experiment="adapter_profiles", select=Under(parts=parts, select=Singles()), noun="block"
        )

    criterion = ChangesDiffer(
        before=profile(()), after={f: profile(p) for f, p in states.items()}, margin=0.1, rationale=WHY
    )
    names = list(states)
    apart = [1.0 - spearmanr(changed[a], changed[b])[0] for i, a in enumerate(names) for b in names[i + 1 :]]
    assert _size(criterion, _of_blocks(rows), 6) == pytest.approx(np.mean(apart) / 0.1)


@pytest.mark.parametrize("target", [0.9, 1.5])
def test_the_truth_of_an_inert_donor_is_what_its_table_holds(shop: Workshop, target: float) -> None:
    """A tenth of a nat over the largest rise on JSON prompts, of a random update's grafts at five blocks, two ways."""
    case, asked = _asked(shop, "transfer-random-donor-inert", target)
    made = case.table(asked)
    assert isinstance(made, Made)
    (exact,) = made.population(Sampler(asked.suite, None, [0], 1)).values()
    own = [i for i, prompt in enumerate(exact.prompts) if prompt.family == "json_schema"]
    rises = (exact.metrics["answer_logprob"] - exact.baseline["answer_logprob"])[:, own].mean(axis=1)
    assert made.size == pytest.approx(0.1 / rises.max()) == pytest.approx(target)
    assert rises.min() < 0.0
    kinds = [(probe.parts[0].kind, probe.graft) for probe in exact.probes if isinstance(probe, Adapted)]
    assert kinds == [(Kind.RANDOM, graft) for graft in (Graft.CONTRIBUTION, Graft.LAST) for _ in range(5)]
    (table,) = made.population(Sampler(asked.suite, NOISE, [0], 3)).values()
    found = judge(asked.card.claim, asked.card.protocol, {"adapter_transfer": table}, n_layers=asked.n_layers)
    assert [f.estimate is not None for f in found.findings] == [True, True]


@pytest.mark.parametrize(("target", "verdict"), [(0.2, "refuted"), (8.0, "supported")])
def test_a_donor_that_is_clearly_inert_or_clearly_not_is_told(
    shop: Workshop, target: float, verdict: str
) -> None:
    case = next(case for case in TABLE_CASES if case.name == "transfer-random-donor-inert")
    (outcome,) = run_table(shop, case, target, 0)["outcomes"]
    assert outcome["size"] == target
    assert outcome["redrawn-pooled"][0] == verdict


def _means(tables: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array(tables)
    return values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))


def test_gains_have_their_means_over_trainings_too(shop: Workshop) -> None:
    """Over 500 drawings of all five adapters, the mean gain on each one's own family is what the exact table has."""
    case, asked = _asked(shop, "training-raises-each-skill", 5.0)
    population = case.table(asked)
    metric = "answer_logprob"

    def own(noise: Noise | None, index: int) -> list[float]:
        (table,) = population(Sampler(asked.suite, noise, [index], 1)).values()  # type: ignore[operator]
        gained = table.metrics[metric] - table.baseline[metric]
        families = np.array([prompt.family for prompt in table.prompts])
        return [
            float(row[families == probe.parts[0].family].mean())
            for probe, row in zip(table.probes, gained, strict=True)
        ]

    mean, error = _means([own(NOISE, i) for i in range(500)])
    exact = np.array(own(None, 0))
    assert (exact > 0.7).all()
    assert (np.abs(mean - exact) < 4 * error).all()


def test_a_training_is_one_number_of_its_adapter(shop: Workshop) -> None:
    _, asked = _asked(shop, "training-raises-json", 1.0)
    prompts = asked.suite.records(EXPERIMENTS["adapter_families"], len(SEEDS))
    sampler = Sampler(asked.suite, NOISE, [1], len(SEEDS))
    found = by_training(sampler, prompts, ["one", "two"], TRAINED_SD)
    by_seed = {seed: found[:, [p.seed == seed for p in prompts]] for seed in SEEDS}
    assert all((values == values[:, :1]).all() for values in by_seed.values())
    assert len(np.unique(found.round(12))) == 2 * len(SEEDS)
    assert (by_training(Sampler(asked.suite, None, [1], 3), prompts, ["one"], TRAINED_SD) == 1.0).all()
    many = np.log([sampler.trained(seed, "x", TRAINED_SD) for seed in range(4000)])
    assert many.std() == pytest.approx(TRAINED_SD, rel=0.05)
    assert np.exp(many).mean() == pytest.approx(1.0, abs=0.01)


def test_states_of_one_training_share_what_is_its_own(shop: Workshop) -> None:
    """With no other noise, the gains of steps 10 and 100 have one ratio in every training."""
    case, asked = _asked(shop, "training-most-by-step-10", 2.0)
    still = Noise(log_sd=0.0, sd=0.0, by_template=0.5, common=0.3, grouped=0.3)
    (table,) = case.table(asked)(Sampler(asked.suite, still, [5], 3)).values()  # type: ignore[operator]
    gained = table.metrics["answer_logprob"] - table.baseline["answer_logprob"]
    own = [i for i, prompt in enumerate(table.prompts) if prompt.family == "json_schema"]
    assert len(np.unique(gained[0, own].round(9))) == len(SEEDS)
    assert gained[0, own] / gained[1, own] == pytest.approx(gained[0, own[0]] / gained[1, own[0]])


@pytest.mark.parametrize("gate", [0.0, 0.1, 1.0])
def test_recoveries_are_the_same_above_any_gate(shop: Workshop, gate: float) -> None:
    """Over 200 drawings: what is left of a prompt does not depend on how far the adapter moves it."""
    case, asked = _asked(shop, "transfer-one-block-not-enough", 0.9)
    population = case.table(asked)
    noisy = Noise(log_sd=0.9, sd=0.5, by_template=0.6, common=0.3, grouped=0.4)
    (exact,) = population(Sampler(asked.suite, None, [0], 1)).values()  # type: ignore[operator]
    wanted = 1.0 - exact.metrics["kl_nats"][1:, 0] / exact.metrics["kl_nats"][0, 0]
    lost, base = [], []
    for index in range(200):
        (table,) = population(Sampler(asked.suite, noisy, [index], 1)).values()  # type: ignore[operator]
        kl = table.metrics["kl_nats"]
        kept = kl[:, kl[0] >= gate]
        lost.append(kept[1:].sum(axis=1))
        base.append(kept[0].sum())
    residual = np.array(lost) - (1.0 - wanted) * np.array(base)[:, None]
    mean, error = _means(list(residual))
    assert (np.abs(mean) < 4 * error).all()
