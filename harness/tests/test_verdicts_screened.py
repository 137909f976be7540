"""What screened evidence may support and refute: witnesses decide, and the unmeasured is never taken for granted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.claim import EVERY_MODEL, Claim, Protocol
from harness.edits import Exit, Stream, skip, zero
from harness.effects import Effects, pool
from harness.verdicts.criteria import CellWithin, EveryProbe, HubIs, HubsAt, SomeProbe, WorstCase
from harness.verdicts.fdr import control_fdr
from harness.verdicts.judging import judge, judge_criterion, judge_joint_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import EveryHead, ExitAt, FinalExit, Heads
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
N = 8
ALL = tuple(zero(Stream.Z, layer, head) for layer in range(4) for head in range(2))
MEANS = (2.0, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
WHY = {"rationale": "a test", "experiment": "head_sweep", "metric": "kl_nats"}


def screened(kept: int = N, means=MEANS, seed: int = 42, noise: float = 1e-4) -> Effects:
    """The table of the first `kept` heads; the others were left out."""
    whole = table(ALL, {"kl_nats": means}, noise=noise, seed=seed)
    return replace(whole.select(ALL[:kept].__contains__), unmeasured=ALL[kept:])


def find(criterion, effects: Effects):
    return judge_criterion(criterion, measured({"head_sweep": effects}, n_layers=4))


def every(select=None, **bound):
    return EveryProbe(select=select or EveryHead(), **bound, **WHY)


def some(select=None, **bound):
    return SomeProbe(select=select or EveryHead(), **bound, **WHY)


@pytest.mark.parametrize(
    ("criterion", "whole", "partial"),
    [
        (every(at_most=3.0), SUPPORTED, INCONCLUSIVE),
        (every(at_most=1.0), REFUTED, REFUTED),
        (every(at_least=0.01), SUPPORTED, INCONCLUSIVE),
        (every(at_least=0.3), REFUTED, INCONCLUSIVE),  # only heads that were left out violate it
        (some(at_least=1.0), SUPPORTED, SUPPORTED),
        (some(at_least=3.0), REFUTED, INCONCLUSIVE),
        (some(at_most=0.15), SUPPORTED, INCONCLUSIVE),  # only heads that were left out satisfy it
        (WorstCase(select=EveryHead(), at_most=3.0, **WHY), SUPPORTED, INCONCLUSIVE),
        (WorstCase(select=EveryHead(), at_most=1.0, **WHY), REFUTED, REFUTED),
    ],
)
def test_a_witness_decides_and_nothing_else_does(criterion, whole, partial):
    assert find(criterion, screened()).verdict is whole
    finding = find(criterion, screened(kept=4))
    assert finding.verdict is partial, finding.sentence
    assert finding.screened
    assert not find(criterion, screened()).screened
    assert "4 of the 8 probes" in finding.sentence
    assert "(50%)" in finding.sentence
    assert ("run without --screen" in finding.sentence) == (partial is INCONCLUSIVE)
    assert finding.criterion == str(criterion)


@pytest.mark.parametrize("heads", [((0, 0),), ((0, 0), (1, 1))], ids=str)
def test_a_criterion_that_names_heads_which_were_all_measured_is_judged(heads):
    select = Heads(heads=heads)
    for criterion, verdict in (
        (every(select, at_most=3.0), SUPPORTED),
        (every(select, at_most=1.0), REFUTED),
        (some(select, at_least=3.0), REFUTED),
    ):
        finding = find(criterion, screened(kept=4))
        assert finding.verdict is verdict
        assert not finding.screened
        assert finding == find(criterion, screened())
    one = CellWithin(select=Heads(heads=((0, 0),)), target=2.0, tolerance=0.1, **WHY)
    assert find(one, screened(kept=4)).verdict is SUPPORTED


def test_a_named_head_that_was_left_out_is_inconclusive_and_no_missing_evidence():
    select = Heads(heads=((3, 0),))
    for criterion in (
        every(select, at_most=3.0),
        some(select, at_least=0.01),
        CellWithin(select=select, target=0.1, tolerance=0.1, **WHY),
    ):
        finding = find(criterion, screened(kept=4))
        assert finding.verdict is INCONCLUSIVE
        assert "0 of the 1 probes" in finding.sentence


def test_a_head_the_model_lacks_stays_missing_evidence():
    with pytest.raises(MissingEvidence, match="L9H9"):
        find(every(Heads(heads=((9, 9),)), at_most=1.0), screened(kept=4))


def test_a_table_of_blocks_that_was_screened_gives_no_hub():
    whole = table([skip(layer) for layer in range(4)], {"kl_nats": (0.1, 2.0, 0.1, 0.2)})
    kept = replace(whole.select(lambda p: p != skip(3)), unmeasured=(skip(3),))
    hub = HubIs(layer=1, rationale="a test")
    assert judge_criterion(hub, measured({"layer_sweep": whole})).verdict is SUPPORTED
    finding = judge_criterion(hub, measured({"layer_sweep": kept}))
    assert (finding.verdict, finding.screened) == (INCONCLUSIVE, True)


def test_what_the_measured_say_is_said_before_what_is_missing():
    finding = find(every(at_most=3.0), screened(kept=4))
    assert finding.sentence.startswith(
        "Among the measured, kl_nats is at most 3 nats for all 4; the nearest to it is"
    )
    assert finding.sentence.endswith(
        "Screened: 4 of the 8 probes this is about were measured exactly (50%). "
        "The others may decide otherwise: run without --screen to measure all of them."
    )


def test_exits_that_were_left_out_are_told_by_the_number_of_layers():
    probes = tuple(Exit(layer=layer, normed=True) for layer in range(4))
    whole = table(probes, {"kl_nats": [3.0, 2.0, 1.0, 0.0]})
    kept = replace(whole.select(lambda p: p != probes[3]), unmeasured=probes[3:])
    for select, verdict in ((ExitAt(layer=-2), SUPPORTED), (FinalExit(), INCONCLUSIVE)):
        assert find(every(select, at_most=1.5), kept).verdict is verdict


def test_models_are_not_compared_where_a_screen_left_blocks_out():
    whole = table([skip(layer) for layer in range(4)], {"kl_nats": (0.1, 2.0, 0.1, 0.2)})
    kept = replace(whole.select(lambda p: p != skip(3)), unmeasured=(skip(3),))
    criterion = HubsAt(layers={"a": 1, "b": 1}, rationale="a test")
    views = {"whole": measured({"layer_sweep": whole}), "kept": measured({"layer_sweep": kept})}
    finding = judge_joint_criterion(criterion, {"a": views["whole"], "b": views["whole"]})
    assert (finding.verdict, finding.screened, finding.criterion) == (SUPPORTED, False, str(criterion))
    finding = judge_joint_criterion(criterion, {"a": views["whole"], "b": views["kept"]})
    assert (finding.verdict, finding.screened, finding.criterion) == (INCONCLUSIVE, True, str(criterion))
    assert finding.sentence.startswith(
        "Screened: 3 of the 4 probes this is about were measured exactly (75%)."
    )
    assert finding.sentence.endswith("run without --screen to measure all of them.")


def test_the_finer_resampling_knows_a_share_for_a_share():
    """Constant at 0 on every prompt: there too the exact binomial interval, and not one of no width."""
    effects = table(ALL[:2], {"top5_overlap": [0.0, 0.5]}, noise=0.0)
    rows = measured({"head_sweep": effects}, n_layers=4).rows("head_sweep", EveryHead(), "top5_overlap")
    plain, fine = rows.sampled(), rows.sampled_finely(1)
    assert fine.interval(0) == pytest.approx(plain.interval(1))
    assert fine.interval(0)[0] < 0.4 < 0.6 < fine.interval(0)[1]
    assert (fine.unit, fine.bounded) == ("share", True)


def test_what_a_screen_left_undecided_is_a_test_of_the_chapter_that_shows_nothing():
    """As in a run that measures everything, the chapter's other claims are corrected for it."""
    claim = Claim(
        id="c",
        sentence="s",
        source="s",
        falsified_by="f",
        models=EVERY_MODEL,
        criteria={Protocol.SOUND: (every(at_most=3.0),)},
    )
    judgement = judge(claim, Protocol.SOUND, {"head_sweep": screened(kept=4)}, n_layers=4)
    assert (judgement.verdict, judgement.p_value, judgement.screened) == (INCONCLUSIVE, 1.0, True)
    assert judgement.estimate is not None, "the nearest of the measured is still shown"
    assert control_fdr({"c": judgement})["c"] == judgement


def test_a_witness_is_corrected_for_the_probes_that_were_left_out():
    """The heads measured were picked from all: their number alone would be too lenient."""
    kept = screened(kept=2, means=(1.05, 0.1, *MEANS[2:]), noise=0.1)
    few = find(every(at_most=1.0), replace(kept, unmeasured=()))
    many = find(every(at_most=1.0), replace(kept, unmeasured=tuple(zero(Stream.Z, 9, h) for h in range(998))))
    own = kept.metrics["kl_nats"][0].reshape(12, 5, 2).mean(axis=2)
    z = (own.mean() - 1.0) / np.sqrt((own.var(axis=1, ddof=1) / 5).sum() / 144)
    p = 2 * stats.t.sf(z, 12 * 4)
    assert 4 * p < 0.02 < 1_000 * p / 4, "either side by far"
    assert few.p_value is not None
    assert few.verdict is REFUTED
    assert many.verdict is INCONCLUSIVE, many.sentence


@pytest.mark.parametrize("n", [10, 270, 1000])
def test_one_clear_head_among_many_can_be_told(n: int):
    """2 x 270 / 10,000 > 0.02: without finer resampling no head of a real model could refute, or be found."""
    probes = [zero(Stream.Z, layer, head) for layer in range(n // 10) for head in range(10)]
    effects = table(probes, {"kl_nats": np.r_[2.0, np.full(n - 1, 0.01)]}, noise=0.05)
    assert find(every(at_most=1.0), effects).verdict is REFUTED
    finding = find(some(at_least=1.0), effects)
    assert finding.verdict is SUPPORTED
    assert "'zero L0H0'" in finding.sentence
    assert finding.p_value is not None
    assert 0.0 < finding.p_value <= 0.02


def test_the_finer_resampling_agrees_with_the_plain():
    from harness.statistics.bootstrap import sample, sample_finely
    from harness.statistics.clusters import Clusters

    effects = table(ALL[:1], {"kl_nats": [1.0]}, noise=0.3)
    arguments = (Clusters.of(effects.prompts), effects.metrics["kl_nats"], "kl_nats")
    plain, fine = sample(*arguments), sample_finely(*arguments)
    assert len(fine.draws) == 20 * len(plain.draws)
    assert fine.value == plain.value
    assert (fine.unit, fine.bounded) == ("nats", False)
    assert len(fine.pivots) == 20 * len(plain.pivots)
    threshold = float(np.quantile(plain.pivots, 0.05))
    assert fine.p_above(0, threshold) == pytest.approx(0.05, abs=0.01)
    assert fine.interval(0) == pytest.approx(plain.interval(0), abs=0.02)


def test_screened_tables_are_pooled_over_the_heads_that_all_of_them_measured():
    one = screened(kept=5)
    two = table(ALL, {"kl_nats": MEANS}, seed=137)
    two = replace(two.select(lambda p: p in (*ALL[:3], ALL[6])), unmeasured=(*ALL[3:6], ALL[7]))
    both = pool([one, two])
    assert both.probes == ALL[:3]
    assert set(both.unmeasured) == set(ALL[3:])
    assert both.metrics["kl_nats"].shape == (3, len(one.prompts) + len(two.prompts))
    np.testing.assert_array_equal(both.metrics["kl_nats"][:, len(one.prompts) :], two.metrics["kl_nats"][:3])
    with pytest.raises(ValueError, match="^only tables of the same probes and metrics can be pooled$"):
        pool([one, replace(two, unmeasured=())])


def test_a_probe_is_not_both_measured_and_left_out():
    with pytest.raises(ValueError, match="'zero L0H0' is named as measured and as left out"):
        replace(screened(), unmeasured=ALL[:1])


def test_heads_are_named_once_and_in_order():
    assert str(Heads(heads=((0, 3), (14, 0)))) == "L0H3, L14H0"
    for heads in ((), ((1, 0), (0, 1)), ((0, 0), (0, 0)), ((0, -1),)):
        with pytest.raises(ValueError, match="name at least one"):
            Heads(heads=heads)
