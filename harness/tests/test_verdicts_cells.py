"""Bounds on rows, and identities: just inside, just outside, in the noise between."""

from dataclasses import replace

import numpy as np
import pytest

from harness.edits import Action, Edit, Exit, Site, Stream, erase, patch, skip, zero
from harness.verdicts.criteria import CellWithin, EveryProbe, SameAsDeepest, SomeProbe, WorstCase
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import (
    AnySet,
    Blocks,
    EveryHead,
    ExitAt,
    ExitsBefore,
    FinalExit,
    FromDonor,
    Heads,
    Sets,
    Singles,
    Writes,
)
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
PROBES = [skip(0), skip(1), skip(2), skip(0, 1)]


def find(criterion, means, noise=1e-4, probes=PROBES, metric="kl_nats"):
    effects = table(probes, {metric: means}, noise=noise)
    return judge_criterion(criterion, measured({"sweep": effects}))


def bounded(kind, **bound):
    return kind(experiment="sweep", select=Singles(), metric="kl_nats", rationale="a test", **bound)


@pytest.mark.parametrize(
    ("means", "every", "some"),
    [  # the bound is 1, of three single blocks; the set's 9 is not selected
        ([0.998, 0.5, 0.5, 9.0], SUPPORTED, SUPPORTED),
        ([1.002, 0.5, 0.5, 9.0], REFUTED, SUPPORTED),
        ([1.000, 0.5, 0.5, 9.0], INCONCLUSIVE, SUPPORTED),
        ([1.500, 1.5, 0.998, 9.0], REFUTED, SUPPORTED),
        ([1.500, 1.5, 1.002, 9.0], REFUTED, REFUTED),
        ([1.500, 1.5, 1.000, 9.0], REFUTED, INCONCLUSIVE),
    ],
)
def test_every_and_some_at_their_boundaries(means, every, some):
    for kind, verdict in ((EveryProbe, every), (SomeProbe, some)):
        finding = find(bounded(kind, at_most=1.0), means)
        assert finding.verdict is verdict, finding.sentence
        flipped = find(bounded(kind, at_least=-1.0), [-m for m in means])
        assert flipped.verdict is verdict, flipped.sentence


def test_the_probe_named_is_the_one_nearest_to_the_bound():
    """All p-values are at the bootstrap's floor here: the value decides, not the order of the rows."""
    assert "'skip L2'" in find(bounded(EveryProbe, at_most=1.0), [0.1, 0.3, 0.8, 9.0]).sentence
    assert "'skip L1'" in find(bounded(EveryProbe, at_least=0.05), [0.8, 0.1, 0.3, 9.0]).sentence
    assert "'skip L2'" in find(bounded(SomeProbe, at_least=1.0), [0.1, 0.3, 0.8, 9.0]).sentence
    assert "'skip L1'" in find(bounded(SomeProbe, at_most=0.05), [0.8, 0.1, 0.3, 9.0]).sentence


@pytest.mark.parametrize("kind", [EveryProbe, SomeProbe])
@pytest.mark.parametrize(
    ("slack", "verdict"),
    [(2e-6, SUPPORTED), (5e-7, INCONCLUSIVE), (0.0, INCONCLUSIVE), (-5e-7, INCONCLUSIVE), (-2e-6, REFUTED)],
)
def test_a_bound_met_exactly_is_met_up_to_what_arithmetic_moves(kind, slack, verdict):
    """Nothing moved on any prompt, so the effect is 0 to within 1e-6 nats, on either side."""
    for bound in ({"at_most": slack}, {"at_least": -slack}):
        finding = find(bounded(kind, **bound), [0.0] * 4, noise=0.0)
        assert finding.verdict is verdict, finding.sentence
        assert (finding.p_value == 1.0) == (verdict is INCONCLUSIVE)


def test_the_witness_named_is_the_one_furthest_beyond_the_bound():
    """Several are beyond it at the bootstrap's floor: the one that shows it best is shown."""
    assert "'skip L1'" in find(bounded(EveryProbe, at_most=1.0), [2.0, 3.0, 1.5, 9.0]).sentence
    assert "'skip L2'" in find(bounded(EveryProbe, at_least=1.0), [0.5, 0.7, 0.2, 9.0]).sentence
    assert "'skip L1'" in find(bounded(SomeProbe, at_least=1.0), [2.0, 3.0, 1.5, 9.0]).sentence
    assert "'skip L2'" in find(bounded(SomeProbe, at_most=1.0), [0.5, 0.7, 0.2, 9.0]).sentence


@pytest.mark.parametrize(
    ("kind", "bound", "means"),
    [
        (EveryProbe, {"at_most": 1.0}, [0.2, 0.99, 0.3, 9.0]),
        (EveryProbe, {"at_least": 1.0}, [2.0, 1.01, 3.0, 9.0]),
        (SomeProbe, {"at_least": 1.0}, [0.2, 1.05, 0.3, 9.0]),
        (SomeProbe, {"at_least": 1.0}, [0.2, 0.98, 0.3, 9.0]),  # every p-value is 1: the nearest
        (SomeProbe, {"at_most": 1.0}, [2.0, 0.99, 3.0, 9.0]),
    ],
)
def test_the_probe_that_leaves_it_undecided_is_named(kind, bound, means):
    finding = find(bounded(kind, **bound), means, noise=0.2)
    assert finding.verdict is INCONCLUSIVE
    words = "at most" if "at_most" in bound else "at least"
    assert finding.sentence.startswith(f"kl_nats is undecided ({words} 1 nats is asked for) at 'skip L1': ")


def test_noise_that_straddles_the_bound_is_inconclusive_even_when_the_mean_is_inside():
    finding = find(bounded(EveryProbe, at_most=1.0), [0.95, 0.5, 0.5, 9.0], noise=0.5)
    assert finding.verdict is INCONCLUSIVE, finding.sentence
    finding = find(bounded(SomeProbe, at_most=1.0), [0.95, 2.0, 2.0, 9.0], noise=0.5)
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_one_of_many_probes_that_strays_by_chance_refutes_nothing():
    """40 probes exactly at the bound: uncorrected, some 98% interval lies beyond it one time in three (1 - 0.99^40)."""
    probes = [skip(i) for i in range(40)]
    wrong = uncorrected = 0
    for seed in range(60):
        effects = table(probes, {"kl_nats": np.ones(40)}, noise=0.3, seed=seed)
        view = measured({"sweep": effects})
        wrong += judge_criterion(bounded(EveryProbe, at_most=1.0), view).verdict is REFUTED
        sampled = view.rows("sweep", Singles(), "kl_nats").sampled()
        uncorrected += any(sampled.interval(i)[0] > 1.0 for i in range(40))
    assert 10 <= uncorrected <= 30
    assert wrong <= 3


def test_no_token_kept_on_any_prompt_is_read_with_the_exact_interval():
    """60 templates without a hit bound the share at 1 - 0.01^(1/60) = 0.0739: 0.074 is supported, 0.073 is not."""
    for bound, verdict in ((0.074, SUPPORTED), (0.073, INCONCLUSIVE)):
        criterion = EveryProbe(
            experiment="sweep", select=Singles(), metric="top5_overlap", at_most=bound, rationale="a test"
        )
        finding = find(criterion, [0.0] * 4, noise=0.0, metric="top5_overlap")
        assert finding.verdict is verdict, finding.sentence
        assert (finding.estimate.low, finding.estimate.high) == pytest.approx((0.0, 0.0739), abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(2.498, SUPPORTED), (2.502, REFUTED), (1.502, SUPPORTED), (1.498, REFUTED), (2.5, INCONCLUSIVE)],
)
def test_cell_within_at_its_boundaries(mean, verdict):
    criterion = CellWithin(
        experiment="sweep",
        select=Blocks(layers=(0, 1)),
        metric="kl_nats",
        target=2.0,
        tolerance=0.5,
        rationale="r",
    )
    finding = find(criterion, [9.0, 9.0, 9.0, mean])
    assert finding.verdict is verdict, finding.sentence


def test_cell_within_is_about_one_probe():
    criterion = CellWithin(
        experiment="sweep", select=Singles(), metric="kl_nats", target=2.0, tolerance=0.5, rationale="r"
    )
    with pytest.raises(MissingEvidence, match="selects 3 probes"):
        find(criterion, [1.0] * 4)


@pytest.mark.parametrize("kind", [EveryProbe, SomeProbe])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_invalid_and_never_slips_through(kind, bad):
    effects = with_value(table(PROBES, {"kl_nats": [0.5] * 4}), "kl_nats", 1, 7, bad)
    for criterion in (bounded(kind, at_most=1.0), bounded(kind, at_least=0.1)):
        finding = judge_criterion(criterion, measured({"sweep": effects}))
        assert finding.verdict is INVALID
        assert "skip L1" in finding.sentence
    worst = WorstCase(experiment="sweep", select=Singles(), metric="kl_nats", at_most=1.0, rationale="r")
    assert judge_criterion(worst, measured({"sweep": effects})).verdict is INVALID


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (
            EveryProbe(experiment="early_exit", select=Singles(), metric="kl_nats", at_most=1, rationale="r"),
            "the experiment 'early_exit' was not measured .there is: sweep.$",
        ),
        (
            EveryProbe(experiment="sweep", select=Singles(), metric="speedup", at_most=1, rationale="r"),
            "'sweep' holds no metric 'speedup' .it holds: kl_nats.$",
        ),
        (
            EveryProbe(
                experiment="sweep", select=Blocks(layers=(7,)), metric="kl_nats", at_most=1, rationale="r"
            ),
            "no probe for: L7 .it holds 4 probes of a model of 3 layers, skip L0, skip L1, skip L2, ....$",
        ),
    ],
)
def test_what_was_not_measured_is_an_error_not_a_verdict(criterion, message):
    with pytest.raises(MissingEvidence, match=message):
        find(criterion, [1.0] * 4)


@pytest.mark.parametrize(
    ("worst", "verdict"),
    [(0.999e-3, SUPPORTED), (-0.999e-3, SUPPORTED), (1.001e-3, REFUTED), (-1.001e-3, REFUTED)],
)
def test_worst_case_is_one_cell(worst, verdict):
    effects = with_value(table(PROBES, {"kl_nats": [0.0] * 4}, noise=0.0), "kl_nats", 2, 5, worst)
    criterion = WorstCase(experiment="sweep", select=Singles(), metric="kl_nats", at_most=1e-3, rationale="r")
    finding = judge_criterion(criterion, measured({"sweep": effects}))
    assert finding.verdict is verdict
    assert "'skip L2' on the prompt" in finding.sentence
    assert finding.p_value is None
    unselected = with_value(table(PROBES, {"kl_nats": [0.0] * 4}, noise=0.0), "kl_nats", 3, 5, 1.0)
    assert judge_criterion(criterion, measured({"sweep": unselected})).verdict is SUPPORTED


def test_what_there_is_is_said_in_full_where_it_is_little():
    effects = table([skip(0), skip(1), skip(2)], {"kl_nats": [1.0] * 3, "top5_overlap": [1.0] * 3})
    view = measured({"sweep": effects, "again": effects})
    with pytest.raises(MissingEvidence, match="3 layers, skip L0, skip L1, skip L2.$"):
        view.rows("sweep", Blocks(layers=(7,)), "kl_nats")
    with pytest.raises(MissingEvidence, match=".it holds: kl_nats, top5_overlap.$"):
        view.rows("sweep", Singles(), "speedup")
    with pytest.raises(MissingEvidence, match=".there is: sweep, again.$"):
        view.table("early_exit")
    with pytest.raises(MissingEvidence, match=".there is: nothing.$"):
        measured({}, n_layers=3).table("early_exit")


def test_the_number_of_layers_is_read_off_the_deepest_probe():
    exits = table([Exit(layer=2, normed=True), Exit(layer=6, normed=False)], {"kl_nats": [1.0, 1.0]})
    skips = table([skip(1, 4), skip(3)], {"kl_nats": [1.0, 1.0]})
    assert measured({"exits": exits}).n_layers == 7
    assert measured({"sweep": skips}).n_layers == 5
    assert measured({"sweep": skips, "exits": exits}).n_layers == 7
    assert measured({"sweep": replace(skips, unmeasured=(skip(9),))}).n_layers == 10
    assert measured({"sweep": skips}, n_layers=12).n_layers == 12
    with pytest.raises(MissingEvidence, match="^no experiment was measured: there is nothing to judge$"):
        measured({})


def test_short_numbers_are_averaged_as_long_ones():
    effects = table(PROBES, {"kl_nats": [1.0] * 4})
    short = replace(effects, metrics={"kl_nats": effects.metrics["kl_nats"].astype(np.float16)})
    assert measured({"sweep": short}).rows("sweep", Singles(), "kl_nats").values.dtype == np.float64


def erased(gap=0.0, metric="answer_logprob"):
    singles = table(
        [erase(i) for i in range(4)],
        {"kl_nats": [4.0, 3.0, 2.0, 1.0], "answer_logprob": [-4.0] * 4},
        noise=0.3,
    )
    rows = {m: values[[2, 3, 1]].copy() for m, values in singles.metrics.items()}
    rows[metric][0, 11] += gap
    sets = replace(singles, probes=(erase(0, 2), erase(1, 2, 3), erase(1)), metrics=rows)
    return {"layer_sweep": singles, "layer_sets": sets}


@pytest.mark.parametrize("metric", ["kl_nats", "answer_logprob"])
@pytest.mark.parametrize(
    ("gap", "verdict"), [(0.0, SUPPORTED), (0.99e-4, SUPPORTED), (-1.01e-4, REFUTED), (1.01e-4, REFUTED)]
)
def test_same_as_deepest_on_every_prompt(metric, gap, verdict):
    finding = judge_criterion(SameAsDeepest(rationale="r"), measured(erased(gap, metric)))
    assert finding.verdict is verdict, finding.sentence
    if gap:
        assert f"{metric} of 'erase L0+L2' against L2 alone" in finding.sentence


def test_same_as_deepest_needs_erasures_the_deepest_block_and_the_same_prompts():
    tables = erased()
    one = replace(tables["layer_sets"], prompts=tables["layer_sets"].prompts[::-1])
    said = "^'layer_sets' and 'layer_sweep' hold different prompts: measure both on the same draw$"
    with pytest.raises(MissingEvidence, match=said):
        judge_criterion(SameAsDeepest(rationale="r"), measured({**tables, "layer_sets": one}))
    skips = table([skip(0), skip(1), skip(0, 1)], {"kl_nats": [1.0] * 3, "answer_logprob": [1.0] * 3})
    with pytest.raises(MissingEvidence, match="erased blocks"):
        judge_criterion(SameAsDeepest(rationale="r"), measured({"layer_sweep": skips, "layer_sets": skips}))
    shallow = tables["layer_sweep"].select(lambda probe: probe != erase(3))
    with pytest.raises(MissingEvidence, match="lacks L3 alone"):
        judge_criterion(SameAsDeepest(rationale="r"), measured({**tables, "layer_sweep": shallow}))
    for name in ("layer_sets", "layer_sweep"):
        holed = {**tables, name: with_value(tables[name], "kl_nats", 0, 0, np.inf)}
        finding = judge_criterion(SameAsDeepest(rationale="r"), measured(holed))
        assert finding.verdict is INVALID
        assert f"kl_nats of '{tables[name].probes[0]}' is inf" in finding.sentence


EXITS = [Exit(layer=i, normed=n) for i in range(4) for n in (True, False)]


@pytest.mark.parametrize(
    ("select", "kept"),
    [
        (Singles(), ["skip L0", "skip L3"]),
        (Sets(), ["skip L0-L1", "skip L1+L3"]),
        (AnySet(), ["skip L0", "skip L3", "skip L0-L1", "skip L1+L3"]),
        (Blocks(layers=(0, 1)), ["skip L0-L1"]),
        (FinalExit(normed=True), ["exit L3 normed"]),
        (FinalExit(), ["exit L3 normed", "exit L3 without norm"]),
        (ExitAt(layer=1, normed=False), ["exit L1 without norm"]),
        (ExitAt(layer=0), ["exit L0 normed", "exit L0 without norm"]),
        (ExitAt(layer=-2, normed=True), ["exit L2 normed"]),
        (ExitsBefore(normed=True), ["exit L0 normed", "exit L1 normed", "exit L2 normed"]),
        (ExitsBefore(last=2, normed=False), ["exit L0 without norm", "exit L1 without norm"]),
    ],
)
def test_selectors_keep_exactly_what_they_say(select, kept):
    probes = [skip(0), skip(3), skip(0, 1), skip(1, 3), *EXITS]
    assert [str(p) for p in probes if select.keep(p, 4)] == kept


HEADS = (Site(layer=1, stream=Stream.Z, head=0), Site(layer=1, stream=Stream.Z, head=1))
NARROW = [
    zero(Stream.Z, 1, 0),
    zero(Stream.Z, 1, 2),
    zero(Stream.Z, 1, 0, positions=(0,)),
    patch(Stream.Z, 1, "clean", 0),
    Edit(sites=HEADS, action=Action.ZERO),
    zero(Stream.MLP_OUT, 1),
    zero(Stream.MLP_OUT, 1, positions=(0,)),
    zero(Stream.MLP_OUT, 1, positions=(0,), dims=(5,)),
    zero(Stream.MLP_OUT, 1, positions=(1,), dims=(5,)),
    zero(Stream.MLP_OUT, 2, positions=(0,), dims=(5,)),
    zero(Stream.ATTN_OUT, 1, positions=(0,), dims=(5,)),
    Edit(
        sites=tuple(Site(layer=1, stream=s, dims=(5,)) for s in (Stream.ATTN_OUT, Stream.MLP_OUT)),
        action=Action.ZERO,
        positions=(0,),
    ),
    patch(Stream.MLP_OUT, 1, "clean", positions=(0,), dims=(5,)),
    patch(Stream.MLP_OUT, 1, "clean", positions=(0,)),
    patch(Stream.MLP_OUT, 1, "other", positions=(0,), dims=(5,)),
    skip(1),
    *EXITS,
]


@pytest.mark.parametrize(
    ("select", "kept"),
    [
        (EveryHead(), [0, 1]),
        (Heads(heads=((1, 0), (2, 2))), [0]),
        (Writes(layer=1), [7]),
        (FromDonor(donor="clean"), [12]),
        (Singles(), [15]),
        (AnySet(), [15]),
        (Sets(), []),
    ],
)
def test_selectors_tell_heads_dimensions_and_positions_apart(select, kept):
    assert [i for i, probe in enumerate(NARROW) if select.keep(probe, 4)] == kept


def test_the_last_exit_alone_is_left_out_by_default():
    assert ExitsBefore() == ExitsBefore(last=1)


def test_selectors_refuse_what_has_no_meaning():
    for layers in ((), (3, 1), (1, 1), (-1,)):
        with pytest.raises(ValueError, match="ascending"):
            Blocks(layers=layers)
    with pytest.raises(ValueError, match="not early"):
        ExitsBefore(last=0)


@pytest.mark.parametrize("bounds", [{}, {"at_most": 1.0, "at_least": 0.0}])
def test_a_bound_is_one_bound(bounds):
    with pytest.raises(ValueError, match="^EveryProbe on kl_nats: give either at_most or at_least$"):
        bounded(EveryProbe, **bounds)
