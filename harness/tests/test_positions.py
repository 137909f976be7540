"""The position sweep: equal to hooks at explicit positions; its tables with gaps; the verdicts at their boundaries."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from harness.anatomy import Anatomy
from harness.checks import Baseline, check
from harness.edits import Stream, patch, zero
from harness.effects import Effects
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.means import site_moments
from harness.engine.sweep import sweep
from harness.evidence import from_text, to_text
from harness.experiments import EXPERIMENTS, MEAN
from harness.figures.positions import COLORS, draw_positions
from harness.measure import measure
from harness.profiles import describe_top
from harness.protocols import Protocol
from harness.recording import largest_gap
from harness.statistics.estimate import ANSWER_DROP
from harness.store import Store
from harness.verdicts.criteria import EveryProbe, SpotOutweighs, SpotPeak, SpotRatio
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Spotted
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import MissingEvidence, Verdict
from tasks.spots import SPOTS

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
SOUND, PUBLISHED = Protocol.SOUND, Protocol.PUBLISHED
N_LAYERS = 4
SWEEP = EXPERIMENTS["position_sweep"]
PROBES = SWEEP.probes(SOUND, Anatomy(n_layers=N_LAYERS))
ERASURES = SWEEP.probes(PUBLISHED, Anatomy(n_layers=N_LAYERS))
ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")

WHERE = (
    {
        "first": (0,),
        "last": (6,),
        "operator": (2, 4),
        "delimiter": (3,),
        "instruction": (1,),
        "content": (5,),
    },
    {"first": (0,), "last": (8,), "operator": (5,), "instruction": (1, 2, 6, 7), "content": (3, 4)},
    {"first": (0,), "last": (4,), "content": (1, 2, 3)},
)
"""Of three prompts, two without delimiters and one of content alone."""


# What is measured


def test_the_probes_by_name():
    names = [str(probe) for probe in PROBES]
    assert len(names) == len(set(names)) == 2 * 6 * N_LAYERS + 2 * N_LAYERS
    assert names[:2] == ["zero attn_out L0 at first", "zero attn_out L1 at first"]
    assert names[-1] == "patch mlp_out L3 from mean at first"
    assert {f"zero mlp_out L2 at {spot}" for spot in SPOTS} < set(names)
    assert [str(p) for p in ERASURES] == [
        f"erase L{layer} at {s}" for s in SPOTS for layer in range(N_LAYERS)
    ]


@pytest.mark.parametrize("probes", [PROBES, ERASURES], ids=["sound", "published"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_table_is_what_hooks_at_explicit_positions_give(architecture, probes, tiny, items):
    model = tiny(architecture)
    stack = Stack(model)
    prompts = [
        replace(item, spots=tuple(where.items())) for item, where in zip(items((7, 9, 5)), WHERE, strict=True)
    ]
    mean = {site: m.mean for site, m in site_moments(stack, [i.ids for i in items((6, 8), seed=3)]).items()}
    found, base = sweep(stack, prompts, probes, donors={MEAN: mean})
    for j, (item, where) in enumerate(zip(prompts, WHERE, strict=True)):
        plain = naive.run(model, item.ids, None)
        assert base["answer_logprob"][j] == pytest.approx(float(plain.log_softmax(-1)[item.answer]), abs=1e-4)
        for i, probe in enumerate(probes):
            if probe.spot not in where:
                assert np.isnan(found["kl_nats"][i, j]), str(probe)
                continue
            placed = replace(probe, spot=None, positions=where[probe.spot])
            edited = naive.run(model, item.ids, placed, partial(_spread, mean, len(item.ids)))
            expected = naive.measure(plain, edited, item.answer)
            assert found["kl_nats"][i, j] == pytest.approx(expected["kl_nats"], abs=1e-4, rel=1e-4), str(
                probe
            )
            assert found["answer_logprob"][i, j] == pytest.approx(expected["answer_logprob"], abs=1e-4)


def _spread(mean, n_pos, site):
    """[1, pos, width]: the first token's mean, then the others'."""
    of_first, of_others = mean[site]
    return torch.stack([of_first, *[of_others] * (n_pos - 1)])[None]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_the_last_block_only_the_last_position_can_matter(architecture, tiny, items):
    prompts = [
        replace(item, spots=tuple(where.items())) for item, where in zip(items((7, 9, 5)), WHERE, strict=True)
    ]
    probes = [p for p in (*PROBES, *ERASURES) if p.layers == (N_LAYERS - 1,) and p.donor is None]
    found, _ = sweep(Stack(tiny(architecture)), prompts, probes)
    unread = [i for i, probe in enumerate(probes) if probe.spot != "last"]
    read = [i for i, probe in enumerate(probes) if probe.spot == "last"]
    assert np.nanmax(np.abs(found["kl_nats"][unread])) < 1e-6
    assert found["kl_nats"][read].mean(axis=1).min() > 1e-2


@pytest.fixture(scope="module")
def evidence(subject, tmp_path_factory):
    store = Store(root=tmp_path_factory.mktemp("positions"))
    return {p: measure(subject, SWEEP, p, 42, store) for p in Protocol}


@pytest.mark.parametrize("protocol", Protocol)
def test_prompts_that_lack_a_class_are_gaps_and_not_failures(evidence, protocol):
    found = evidence[protocol]
    effects = found.effects
    assert found.failed == ()
    assert describe_top(effects) == "none", "an edit at a class of positions is no whole block"
    gaps = np.isnan(effects.metrics["kl_nats"])
    assert gaps.any()
    np.testing.assert_array_equal(gaps, ~effects.measured)
    for i, probe in enumerate(effects.probes):
        lacking = [probe.spot not in prompt.spots for prompt in effects.prompts]
        np.testing.assert_array_equal(gaps[i], lacking)


def test_a_number_that_is_missing_elsewhere_still_fails(evidence, subject):
    found = evidence[SOUND]
    values = found.effects.metrics["kl_nats"].copy()
    row, column = np.argwhere(np.isfinite(values))[0]
    values[row, column] = np.nan
    broken = replace(found.effects, metrics={**found.effects.metrics, "kl_nats": values})
    controlled = {"kl_nats": np.array([[0.0], [0.0], [1.0]])}
    known = Baseline(noise_nats=0.0, donor_gap=0.0, donor_nats=1.0, label_gap_nats=1.0)
    for effects, failed in ((found.effects, []), (broken, ["finite"])):
        checks = check(found.question, effects, controlled, known, subject.parity)
        assert [c.name for c in checks if c.gate and not c.passed] == failed


def test_the_record_counts_the_tokens_of_each_class(evidence, subject):
    for prompt in evidence[SOUND].effects.prompts:
        assert sum(prompt.n_in_spots) == prompt.n_tokens == len(subject.loaded.encode(prompt.text))
        counts = dict(zip(prompt.spots, prompt.n_in_spots, strict=True))
        assert counts["first"] == counts["last"] == 1
        assert min(counts.values()) > 0
    operators = {
        p.text: dict(zip(p.spots, p.n_in_spots, strict=True)).get("operator", 0)
        for p in evidence[SOUND].effects.prompts
        if p.family == "arithmetic" and not set(p.text) - set("0123456789 +=*,")
    }
    assert operators
    for text, count in operators.items():
        signs = sum(text.count(sign) for sign in "+=*")
        assert count == signs - (text.rstrip()[-1] in "+=*"), text  # the last one is read at
    assert from_text(to_text(evidence[SOUND])).effects.prompts == evidence[SOUND].effects.prompts


def test_the_measured_table_is_what_hooks_give_on_the_suite_s_own_prompts(evidence, subject):
    model, effects = subject.loaded.model, evidence[SOUND].effects
    at = {"first": (0,), "last": (-1,)}
    rows = [i for i, p in enumerate(effects.probes) if p.spot in at and p.donor is None]
    for j, prompt in list(enumerate(effects.prompts))[::7]:
        ids = subject.loaded.encode(prompt.text)
        base = naive.run(model, ids, None)
        for i in rows:
            probe = effects.probes[i]
            edited = naive.run(model, ids, replace(probe, spot=None, positions=at[probe.spot]))
            expected = naive.measure(base, edited, 0)["kl_nats"]
            assert effects.metrics["kl_nats"][i, j] == pytest.approx(expected, abs=1e-4), str(probe)


def test_means_leave_out_the_prompts_that_lack_the_class():
    effects = spotted({"first": 1.0, "operator": 3.0}, lacking={"operator": 30})
    means = dict(zip(map(str, effects.probes), effects.means("kl_nats"), strict=True))
    assert means["zero mlp_out L1 at operator"] == pytest.approx(3.0, abs=0.01)
    assert means["zero mlp_out L1 at first"] == pytest.approx(1.0, abs=0.01)
    nowhere = spotted({"first": 1.0}, lacking={"operator": 120})
    assert np.isnan(nowhere.means("kl_nats")[nowhere.row(replace(zero(Stream.MLP_OUT, 1), spot="operator"))])


def test_a_class_that_no_prompt_has_is_no_difference_between_two_records():
    old = spotted({"first": 1.0}, lacking={"operator": 120})
    assert largest_gap(old, old) is None
    row = old.row(replace(zero(Stream.MLP_OUT, 1), spot="first"))
    values = old.metrics["kl_nats"].copy()
    values[row] += 0.5
    assert largest_gap(old, replace(old, metrics={**old.metrics, "kl_nats": values})).startswith(
        "kl_nats of zero mlp_out L1 at first: 1"
    )


# Selections


def test_a_selection_by_depth_and_by_block():
    def kept(**given):
        return [str(p) for p in PROBES if Spotted(spot="last", **given).keep(p, N_LAYERS)]

    assert kept(from_depth=0.75) == ["zero attn_out L3 at last", "zero mlp_out L3 at last"]
    assert kept(from_depth=0.7) == kept(from_depth=0.75)
    assert len(kept(from_depth=0.5)) == 4
    assert kept(streams=(Stream.MLP_OUT,), layers=(1, -1)) == [
        "zero mlp_out L1 at last",
        "zero mlp_out L3 at last",
    ]
    assert len(kept()) == 2 * N_LAYERS
    assert kept(donor=MEAN) == []
    means = [str(p) for p in PROBES if Spotted(spot="first", donor=MEAN, layers=(0,)).keep(p, N_LAYERS)]
    assert means == ["patch attn_out L0 from mean at first", "patch mlp_out L0 from mean at first"]
    assert not Spotted(spot="first").keep(zero(Stream.MLP_OUT, 0), N_LAYERS)
    assert not Spotted(spot="first").keep(zero(Stream.MLP_OUT, 0, positions=(0,)), N_LAYERS)


# Verdicts


def spotted(levels, *, noise=1e-3, counts=None, lacking=None, layers=None, drop=None, families=12):
    """A sound table whose mean kl_nats are `levels` by class (0.5 where not named; "mean" for that donor's).

    `layers` are levels by class and block; `lacking` says how many prompts lack a class, the last ones;
    `drop` are mean drops of the answer's log-probability by class.
    """
    key = ["mean" if p.donor else p.spot for p in PROBES]
    kl = [
        (layers or {}).get(k, [levels.get(k, 0.5)] * N_LAYERS)[p.layers[0]]
        for k, p in zip(key, PROBES, strict=True)
    ]
    answer = [-2.0 - (drop or {}).get(k, 0.0) for k in key]
    made = table(PROBES, {"kl_nats": kl, "answer_logprob": answer}, noise=noise, families=families)
    n = dict.fromkeys(SPOTS, 1) | (counts or {})
    prompts = []
    for i, prompt in enumerate(made.prompts):
        has = [s for s in SPOTS if i < len(made.prompts) - (lacking or {}).get(s, 0)]
        prompts.append(replace(prompt, spots=tuple(has), n_in_spots=tuple(n[s] for s in has)))
    effects = replace(made, prompts=tuple(prompts), baseline={"answer_logprob": np.full(len(prompts), -2.0)})
    metrics = {name: np.where(effects.measured, v, np.nan) for name, v in effects.metrics.items()}
    return replace(effects, metrics=metrics)


def judged(criterion, effects: Effects):
    return judge_criterion(criterion, measured({"position_sweep": effects}, N_LAYERS))


FIRST, OPERATOR, CONTENT = (Spotted(spot=spot) for spot in ("first", "operator", "content"))


@pytest.mark.parametrize(
    ("first", "noise", "verdict"),
    [(1.01, 1e-3, SUPPORTED), (0.99, 1e-3, REFUTED), (1.0, 1e-3, INCONCLUSIVE), (1.01, 0.5, INCONCLUSIVE)],
)
def test_one_class_outweighs_others_at_its_boundary(first, noise, verdict):
    effects = spotted({"first": first, "operator": 1.0, "content": 0.2}, noise=noise)
    asked = SpotOutweighs(stronger=FIRST, weaker=(CONTENT, OPERATOR), rationale="a test")
    found = judged(asked, effects)
    assert found.verdict is verdict, found.sentence
    if noise < 0.1:
        assert "at operator" in found.sentence, "the nearest rival is named"
        assert found.estimate.value == pytest.approx(first - 1.0, abs=2e-3)
        assert found.estimate.low < first - 1.0 < found.estimate.high


@pytest.mark.parametrize(("first", "verdict"), [(2.02, SUPPORTED), (1.98, REFUTED), (2.0, INCONCLUSIVE)])
def test_a_factor_at_its_boundary(first, verdict):
    asked = SpotOutweighs(
        stronger=FIRST, weaker=(Spotted(spot="first", donor=MEAN),), times=2.0, rationale="a test"
    )
    found = judged(asked, spotted({"first": first, "mean": 1.0}))
    assert found.verdict is verdict, found.sentence


@pytest.mark.parametrize(("operator", "verdict"), [(3.96, SUPPORTED), (4.04, REFUTED), (4.0, INCONCLUSIVE)])
def test_token_by_token_a_class_is_divided_by_its_size(operator, verdict):
    effects = spotted({"first": 1.0, "operator": operator}, counts={"operator": 4})
    asked = SpotOutweighs(stronger=FIRST, weaker=(OPERATOR,), per_token=True, rationale="a test")
    found = judged(asked, effects)
    assert found.verdict is verdict, found.sentence
    assert judged(replace(asked, per_token=False), effects).verdict is REFUTED
    assert "per token" in str(asked)
    assert "per token" in found.sentence


def test_a_rival_among_several_is_corrected_for_them():
    """One in four far above refutes whatever the others do; none needs correction where all are far below."""
    others = tuple(Spotted(spot=spot) for spot in SPOTS if spot != "first")
    asked = SpotOutweighs(stronger=FIRST, weaker=others, rationale="a test")
    assert judged(asked, spotted({"first": 1.0})).verdict is SUPPORTED
    found = judged(asked, spotted({"first": 1.0, "delimiter": 1.5}))
    assert found.verdict is REFUTED
    assert "at delimiter" in found.sentence


def test_classes_are_compared_on_the_prompts_that_have_both():
    effects = spotted({"first": 1.0, "operator": 0.9}, lacking={"operator": 100})
    values = effects.metrics["kl_nats"].copy()
    without = [i for i, prompt in enumerate(effects.prompts) if "operator" not in prompt.spots]
    values[:, without] = np.where(np.isnan(values[:, without]), np.nan, 0.0)  # there the first token is idle
    effects = replace(effects, metrics={**effects.metrics, "kl_nats": values})
    found = judged(SpotOutweighs(stronger=FIRST, weaker=(OPERATOR,), rationale="a test"), effects)
    assert found.verdict is SUPPORTED, found.sentence
    assert found.estimate.n_prompts == 20


def test_prompts_of_one_template_decide_nothing_and_none_is_missing_evidence():
    asked = SpotOutweighs(stronger=FIRST, weaker=(OPERATOR,), rationale="a test")
    found = judged(asked, spotted({"first": 9.0}, lacking={"operator": 118}))
    assert found.verdict is INCONCLUSIVE
    assert "One template" in found.sentence
    ratio = SpotRatio(part=OPERATOR, of=FIRST, at_least=0.5, at_most=1.0, rationale="a test")
    assert judged(ratio, spotted({"first": 9.0}, lacking={"operator": 118})).verdict is INCONCLUSIVE
    with pytest.raises(MissingEvidence, match="no prompt of 'position_sweep' has the positions of"):
        judged(asked, spotted({}, lacking={"operator": 120}))
    parted = spotted({}, lacking={"operator": 60})
    swapped = [
        replace(p, spots=tuple(s for s in p.spots if s != "first"), n_in_spots=(1,) * 5) if i < 60 else p
        for i, p in enumerate(parted.prompts)
    ]
    with pytest.raises(MissingEvidence, match="of both"):
        judged(asked, replace(parted, prompts=tuple(swapped)))


def test_a_record_without_counts_cannot_be_divided_by_them():
    effects = spotted({"first": 1.0})
    effects = replace(effects, prompts=tuple(replace(p, n_in_spots=()) for p in effects.prompts))
    asked = SpotOutweighs(stronger=FIRST, weaker=(OPERATOR,), rationale="a test")
    assert judged(asked, effects).verdict is SUPPORTED
    with pytest.raises(MissingEvidence, match="how many tokens"):
        judged(replace(asked, per_token=True), effects)


@pytest.mark.parametrize(
    ("first", "noise", "verdict"),
    [
        (1.42, 1e-3, SUPPORTED),
        (1.38, 1e-3, REFUTED),
        (1.40, 1e-3, INCONCLUSIVE),
        (2.38, 1e-3, SUPPORTED),
        (2.42, 1e-3, REFUTED),
        (2.40, 1e-3, INCONCLUSIVE),
        (1.9, 4.0, INCONCLUSIVE),
    ],
)
def test_a_ratio_at_both_edges_of_its_band(first, noise, verdict):
    """0.7 to 1.2 of 2 nats."""
    asked = SpotRatio(part=FIRST, of=OPERATOR, at_least=0.7, at_most=1.2, rationale="a test")
    found = judged(asked, spotted({"first": first, "operator": 2.0}, noise=noise))
    assert found.verdict is verdict, found.sentence
    if noise < 0.1:
        assert found.estimate.value == pytest.approx(first / 2, abs=2e-3)
        inside = found.estimate.low >= 0.7 and found.estimate.high <= 1.2
        assert inside is (verdict is SUPPORTED)


def test_there_is_no_ratio_to_what_does_nothing():
    asked = SpotRatio(part=FIRST, of=OPERATOR, at_least=0.7, at_most=1.2, rationale="a test")
    found = judged(asked, spotted({"first": 0.05, "operator": 0.05}))
    assert found.verdict is INCONCLUSIVE
    assert "no effect to take a share of" in found.sentence


@pytest.mark.parametrize(
    ("by_block", "noise", "verdict"),
    [
        ((0.1, 0.4, 2.0, 1.9), 1e-3, SUPPORTED),
        ((0.1, 0.4, 2.0, 2.1), 1e-3, REFUTED),
        ((0.1, 0.4, 2.0, 2.0), 1e-2, INCONCLUSIVE),
        ((1.0, 1.0, 1.0, 1.0), 1e-5, Verdict.INVALID),
    ],
)
def test_where_a_class_matters_most(by_block, noise, verdict):
    effects = spotted({}, layers={"first": by_block}, noise=noise)
    found = judged(SpotPeak(select=FIRST, layer=2, rationale="a test"), effects)
    assert found.verdict is verdict, found.sentence
    if verdict is REFUTED:
        assert "L3 lies above it" in found.sentence
    whole = table(ERASURES, {"kl_nats": [1.0] * len(ERASURES)})
    with pytest.raises(MissingEvidence):
        judged(SpotPeak(select=FIRST, layer=2, rationale="a test"), whole)


def test_a_peak_averages_the_streams_and_needs_every_block():
    effects = spotted({}, layers={"first": (0.1, 0.4, 2.0, 1.9)})
    row = effects.row(replace(zero(Stream.ATTN_OUT, 3), spot="first"))
    values = effects.metrics["kl_nats"].copy()
    values[row] += 0.4  # (1.9 + 2.3) / 2 exceeds 2.0
    raised = replace(effects, metrics={**effects.metrics, "kl_nats": values})
    assert judged(SpotPeak(select=FIRST, layer=3, rationale="a test"), raised).verdict is SUPPORTED
    values = values.copy()
    values[row] -= 0.25  # (1.9 + 2.05) / 2 does not, though one of the two does
    lowered = replace(effects, metrics={**effects.metrics, "kl_nats": values})
    assert judged(SpotPeak(select=FIRST, layer=2, rationale="a test"), lowered).verdict is SUPPORTED
    mlp = Spotted(spot="first", streams=(Stream.MLP_OUT,))
    assert judged(SpotPeak(select=mlp, layer=2, rationale="a test"), raised).verdict is SUPPORTED
    lacking = raised.select(lambda probe: probe.layers != (1,))
    with pytest.raises(MissingEvidence, match="every one of 4 layers equally often"):
        judged(SpotPeak(select=FIRST, layer=2, rationale="a test"), lacking)
    with pytest.raises(MissingEvidence, match="the criterion names L7"):
        judged(SpotPeak(select=FIRST, layer=7, rationale="a test"), raised)


@pytest.mark.parametrize(("drop", "verdict"), [(2.51, SUPPORTED), (2.49, REFUTED), (-3.0, REFUTED)])
def test_the_published_measure_is_the_drop_of_the_answer(drop, verdict):
    asked = EveryProbe(
        experiment="position_sweep", select=FIRST, metric=ANSWER_DROP, at_least=2.5, rationale="a test"
    )
    found = judged(asked, spotted({}, drop={"first": drop}))
    assert found.verdict is verdict, found.sentence
    assert found.estimate.unit == "nats"
    peak = SpotPeak(select=FIRST, layer=1, metric=ANSWER_DROP, rationale="a test")
    assert judged(peak, spotted({}, drop={"first": drop}, noise=1e-6)).verdict is Verdict.INVALID
    without = replace(spotted({}), metrics={"kl_nats": spotted({}).metrics["kl_nats"]})
    with pytest.raises(MissingEvidence, match="holds no metric 'answer_drop_nats'"):
        judged(asked, without)


@pytest.mark.parametrize(
    "asked",
    [
        SpotOutweighs(stronger=FIRST, weaker=(CONTENT,), rationale="a test"),
        SpotRatio(part=FIRST, of=CONTENT, at_least=0.5, at_most=1.5, rationale="a test"),
        SpotRatio(part=CONTENT, of=FIRST, at_least=0.5, at_most=1.5, rationale="a test"),
        SpotPeak(select=FIRST, layer=1, rationale="a test"),
    ],
    ids=lambda asked: type(asked).__name__,
)
def test_a_value_that_is_not_finite_is_invalid(asked):
    effects = spotted({"first": 1.0})
    values = effects.metrics["kl_nats"].copy()
    values[effects.row(replace(zero(Stream.MLP_OUT, 1), spot="first")), 3] = np.inf
    found = judged(asked, replace(effects, metrics={**effects.metrics, "kl_nats": values}))
    assert found.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "make",
    [
        lambda: SpotOutweighs(stronger=FIRST, weaker=(), rationale="a test"),
        lambda: SpotOutweighs(stronger=FIRST, weaker=(CONTENT, FIRST), rationale="a test"),
        lambda: SpotOutweighs(stronger=FIRST, weaker=(CONTENT,), times=0.0, rationale="a test"),
        lambda: SpotRatio(part=FIRST, of=CONTENT, at_least=1.2, at_most=0.7, rationale="a test"),
        lambda: SpotRatio(part=FIRST, of=FIRST, at_least=0.7, at_most=1.2, rationale="a test"),
        lambda: SpotPeak(select=Spotted(spot="first", layers=(2,)), layer=2, rationale="a test"),
        lambda: SpotPeak(select=Spotted(spot="first", from_depth=0.5), layer=2, rationale="a test"),
        lambda: SpotPeak(select=FIRST, layer=2, rationale=" "),
        lambda: Spotted(spot=""),
        lambda: Spotted(spot="first", streams=()),
        lambda: Spotted(spot="first", from_depth=1.0),
    ],
)
def test_a_criterion_without_a_meaning_is_refused(make):
    with pytest.raises(ValueError):  # noqa: PT011
        make()


# The figure


def test_the_figure_draws_a_line_a_class_that_some_prompt_has(evidence):
    from matplotlib.figure import Figure

    figure = Figure()
    sound = spotted({"first": 1.0}, lacking={"operator": 120})
    draw_positions(figure, {("position_sweep", SOUND): sound})
    assert len(figure.axes) == 2
    for axis in figure.axes:
        lines = {line.get_label(): line for line in axis.lines}
        assert set(lines) == set(COLORS) - {"operator"}
        np.testing.assert_allclose(lines["first"].get_ydata(), 1.0, atol=0.01)
        np.testing.assert_array_equal(lines["first"].get_xdata(), range(N_LAYERS))
    figure = Figure()
    draw_positions(figure, {("position_sweep", p): found.effects for p, found in evidence.items()})
    assert len(figure.axes) == 3
    assert set(COLORS) == set(SPOTS)


def test_the_mean_at_the_first_token_is_not_zero_there():
    assert replace(patch(Stream.MLP_OUT, 0, MEAN), spot="first") in PROBES
