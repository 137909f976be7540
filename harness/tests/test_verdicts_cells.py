"""Bounds on rows, and identities: just inside, just outside, in the noise between."""

from dataclasses import replace

import numpy as np
import pytest

from harness.edits import Exit, erase, skip
from harness.verdicts.criteria import CellWithin, EveryProbe, SameAsDeepest, SomeProbe, WorstCase
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import AnySet, Blocks, ExitAt, ExitsBefore, FinalExit, Sets, Singles
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


def test_noise_that_straddles_the_bound_is_inconclusive_even_when_the_mean_is_inside():
    finding = find(bounded(EveryProbe, at_most=1.0), [0.95, 0.5, 0.5, 9.0], noise=0.5)
    assert finding.verdict is INCONCLUSIVE, finding.sentence
    finding = find(bounded(SomeProbe, at_most=1.0), [0.95, 2.0, 2.0, 9.0], noise=0.5)
    assert finding.verdict is INCONCLUSIVE, finding.sentence


def test_one_of_many_probes_that_strays_by_chance_refutes_nothing():
    """40 probes exactly at the bound: uncorrected, some 95% interval lies beyond it nearly every time."""
    probes = [skip(i) for i in range(40)]
    wrong = uncorrected = 0
    for seed in range(60):
        effects = table(probes, {"kl_nats": np.ones(40)}, noise=0.3, seed=seed)
        view = measured({"sweep": effects})
        wrong += judge_criterion(bounded(EveryProbe, at_most=1.0), view).verdict is REFUTED
        sampled = view.rows("sweep", Singles(), "kl_nats").sampled()
        uncorrected += any(sampled.interval(i)[0] > 1.0 for i in range(40))
    assert uncorrected >= 20
    assert wrong <= 8


def test_no_token_kept_on_any_prompt_is_read_with_the_exact_interval():
    """60 templates without a hit bound the share at 0.0596: 0.06 is supported, 0.05 is not, and no sooner."""
    for bound, verdict in ((0.06, SUPPORTED), (0.055, INCONCLUSIVE)):
        criterion = EveryProbe(
            experiment="sweep", select=Singles(), metric="top5_overlap", at_most=bound, rationale="a test"
        )
        finding = find(criterion, [0.0] * 4, noise=0.0, metric="top5_overlap")
        assert finding.verdict is verdict, finding.sentence
        assert (finding.estimate.low, finding.estimate.high) == pytest.approx((0.0, 0.0596), abs=1e-4)


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
            "'early_exit' was not measured .there is: sweep",
        ),
        (
            EveryProbe(experiment="sweep", select=Singles(), metric="speedup", at_most=1, rationale="r"),
            "no metric 'speedup'",
        ),
        (
            EveryProbe(
                experiment="sweep", select=Blocks(layers=(7,)), metric="kl_nats", at_most=1, rationale="r"
            ),
            "no probe for: L7",
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
    with pytest.raises(MissingEvidence, match="different prompts"):
        judge_criterion(SameAsDeepest(rationale="r"), measured({**tables, "layer_sets": one}))
    skips = table([skip(0), skip(1), skip(0, 1)], {"kl_nats": [1.0] * 3, "answer_logprob": [1.0] * 3})
    with pytest.raises(MissingEvidence, match="erased blocks"):
        judge_criterion(SameAsDeepest(rationale="r"), measured({"layer_sweep": skips, "layer_sets": skips}))
    shallow = tables["layer_sweep"].select(lambda probe: probe != erase(3))
    with pytest.raises(MissingEvidence, match="lacks L3 alone"):
        judge_criterion(SameAsDeepest(rationale="r"), measured({**tables, "layer_sweep": shallow}))
    holed = with_value(tables["layer_sets"], "kl_nats", 0, 0, np.inf)
    assert (
        judge_criterion(SameAsDeepest(rationale="r"), measured({**tables, "layer_sets": holed})).verdict
        is INVALID
    )


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
        (ExitAt(layer=-2, normed=True), ["exit L2 normed"]),
        (ExitsBefore(normed=True), ["exit L0 normed", "exit L1 normed", "exit L2 normed"]),
        (ExitsBefore(last=2, normed=False), ["exit L0 without norm", "exit L1 without norm"]),
    ],
)
def test_selectors_keep_exactly_what_they_say(select, kept):
    probes = [skip(0), skip(3), skip(0, 1), skip(1, 3), *EXITS]
    assert [str(p) for p in probes if select.keep(p, 4)] == kept


def test_selectors_refuse_what_has_no_meaning():
    for layers in ((), (3, 1), (1, 1), (-1,)):
        with pytest.raises(ValueError, match="ascending"):
            Blocks(layers=layers)
    with pytest.raises(ValueError, match="not early"):
        ExitsBefore(last=0)


@pytest.mark.parametrize("bounds", [{}, {"at_most": 1.0, "at_least": 0.0}])
def test_a_bound_is_one_bound(bounds):
    with pytest.raises(ValueError, match="either at_most or at_least"):
        bounded(EveryProbe, **bounds)
