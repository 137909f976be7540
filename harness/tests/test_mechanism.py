"""The hub's mechanism: the edits, the site they are about, the donors, and the verdicts at their boundaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.anatomy import Anatomy, Massive
from harness.edits import Site, Stream, patch, skip, to_json, zero
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.massive import find_massive, read_first_token, token_0_vectors
from harness.experiments import EXPERIMENTS
from harness.mechanism import (
    MEAN,
    MOVED,
    OTHER_TASK,
    MechanismEdit,
    mechanism_edits,
    mechanism_rows,
    read_massive,
)
from harness.protocols import Protocol
from harness.verdicts.criteria import EditShare, WriterLeads, WriterRaises
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence, Verdict

MASSIVE = Massive(layer=2, dim=7, others=(1, 5))
N_LAYERS = 4
MODEL = Anatomy(n_layers=N_LAYERS, massive=MASSIVE)
PROBES = EXPERIMENTS["hub_mechanism"].probes(Protocol.SOUND, MODEL)
WRITES = EXPERIMENTS["massive_writes"].probes(Protocol.SOUND, MODEL)
SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE


# The edits


def test_the_edits_by_name():
    names = {kind: [str(e) for e in edits] for kind, edits in mechanism_edits(MASSIVE, N_LAYERS).items()}
    assert names == {
        MechanismEdit.SKIP: ["skip L2"],
        MechanismEdit.SKIP_FIRST: ["skip L2 at 0"],
        MechanismEdit.MLP: ["zero mlp_out L2 at 0"],
        MechanismEdit.MEAN: ["patch resid_post L2[7] from mean at 0"],
        MechanismEdit.OTHER_TASK: ["patch resid_post L2[7] from other_task at 0"],
        MechanismEdit.ZERO: ["zero resid_post L2[7] at 0"],
        MechanismEdit.UNWRITTEN: ["skip resid_post L2[7] at 0"],
        MechanismEdit.MOVED: ["patch L2 from moved at 0"],
        MechanismEdit.WHOLE_MEAN: ["patch L2 from mean at 0"],
        MechanismEdit.OTHER_DIM: ["zero resid_post L2[1] at 0", "zero resid_post L2[5] at 0"],
        MechanismEdit.OTHER_TOKEN: ["zero resid_post L2[7] at 1", "zero resid_post L2[7] at -1"],
        MechanismEdit.BEFORE: ["zero resid_post L0[7] at 0", "zero resid_post L1[7] at 0"],
        MechanismEdit.AFTER: ["zero resid_post L3[7] at 0"],
    }
    assert len(PROBES) == len(set(PROBES)) == sum(map(len, names.values()))
    assert (
        tuple(zero(Stream.MLP_OUT, layer, positions=(0,), dims=(7,)) for layer in range(N_LAYERS)) == WRITES
    )


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_site_is_read_back_from_the_probes(layer):
    massive = replace(MASSIVE, layer=layer)
    probes = EXPERIMENTS["hub_mechanism"].probes(Protocol.SOUND, replace(MODEL, massive=massive))
    assert read_massive(probes) == massive
    for kind, edits in mechanism_edits(massive, N_LAYERS).items():
        assert tuple(probes[row] for row in mechanism_rows(probes, kind, N_LAYERS)) == edits


def test_other_dimensions_are_those_that_are_zeroed_at_the_first_token():
    """Not one that is replaced there, nor one that is zeroed elsewhere."""
    site = {"stream": Stream.RESID_POST, "layer": MASSIVE.layer, "dims": (9,)}
    more = [patch(donor=MEAN, positions=(0,), **site), zero(positions=(3,), **site)]
    assert read_massive([*PROBES, *more]) == read_massive(PROBES) == MASSIVE


def test_probes_of_another_experiment_have_no_site():
    with pytest.raises(ValueError, match="0 of 1 probes undo"):
        read_massive([skip(3)])


def test_the_experiment_asks_where_the_number_is():
    with pytest.raises(ValueError, match="say where the model writes it"):
        EXPERIMENTS["hub_mechanism"].probes(Protocol.SOUND, Anatomy(n_layers=4))


def test_the_definition_tells_sites_apart():
    sites = [MASSIVE, replace(MASSIVE, layer=1), replace(MASSIVE, dim=8), replace(MASSIVE, others=(1, 6))]
    digests = {
        EXPERIMENTS["hub_mechanism"].definition(Protocol.SOUND, replace(MODEL, massive=m)) for m in sites
    }
    assert len(digests) == 4


# Finding it


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text", "lfm2"])
def test_token_0_is_what_hooks_see(architecture, tiny, items):
    model, prompts = tiny(architecture), [item.ids for item in items((5, 7, 5, 9))]
    seen = read_first_token(Stack(model), prompts)
    sites = [Site(layer=layer, stream=s) for layer in range(4) for s in (Stream.MLP_OUT, Stream.RESID_POST)]
    for j, ids in enumerate(prompts):
        with torch.no_grad(), naive.activations(model, sites) as kept:
            model(input_ids=torch.tensor([ids]))
        for layer in range(4):
            post, write = (
                kept[Site(layer=layer, stream=s)][0, 0].numpy() for s in (Stream.RESID_POST, Stream.MLP_OUT)
            )
            np.testing.assert_allclose(seen.post[layer, j], post, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(seen.mid[layer, j], post - write, rtol=1e-4, atol=1e-4)
    factor = np.abs(seen.post[..., 3]) / np.abs(seen.mid[..., 3])
    np.testing.assert_allclose(10 ** seen.rise_log10(3), factor, rtol=1e-9)


def test_the_block_that_writes_a_large_number_is_found(tiny, items):
    from copy import deepcopy

    model = deepcopy(tiny("llama"))
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[11] *= 300.0
    stack, prompts = Stack(model), [item.ids for item in items((5, 7, 5, 9))]
    massive = find_massive(stack, prompts)
    assert (massive.layer, massive.dim) == (2, 11)
    post = np.abs(read_first_token(stack, prompts).post[2]).mean(axis=0)
    largest = {int(d) for d in np.argsort(-post)[1:3]}
    assert largest < set(massive.others)
    assert len(massive.others) == 4
    assert 11 not in massive.others
    assert find_massive(stack, prompts) == massive


def test_the_donors_are_the_mean_and_the_mean_turned(tiny, items):
    stack, prompts = Stack(tiny("qwen2")), [item.ids for item in items((5, 7, 5, 9))]
    mean, moved = token_0_vectors(stack, MASSIVE, prompts)
    whole, number = (Site(layer=2, stream=Stream.RESID_POST, dims=dims) for dims in ((), (7,)))
    expected = read_first_token(stack, prompts).post[2].mean(axis=0)
    np.testing.assert_allclose(mean[whole], expected, rtol=1e-6)
    np.testing.assert_allclose(mean[number], expected, rtol=1e-6)
    change = moved[whole].double().numpy() - np.where(np.arange(32) == 7, 0.0, expected)
    assert np.linalg.norm(change) == pytest.approx(abs(expected[7]), rel=1e-5)


def test_donors_have_names_of_their_own():
    assert len({MEAN, MOVED, OTHER_TASK, "self"}) == 4


# Verdicts


def tables(levels, noise=1e-3, writes=(0.1, 0.2, 2.0, 0.0), sweep=(0.5, 0.4, 2.0, 0.1)):
    """Tables whose mean kl_nats are `levels` by kind of edit (1 where not named)."""
    by_probe = {
        e: levels.get(kind, 1.0) for kind, es in mechanism_edits(MASSIVE, N_LAYERS).items() for e in es
    }
    rise = table(WRITES, {"kl_nats": [1.0] * N_LAYERS, "rise_log10": writes}, noise=noise)
    return {
        "hub_mechanism": table(PROBES, {"kl_nats": [by_probe[p] for p in PROBES]}, noise=noise),
        "massive_writes": rise,
        "layer_sweep": table([skip(i) for i in range(N_LAYERS)], {"kl_nats": sweep}, noise=noise),
    }


def judged(criterion, given):
    return judge_criterion(criterion, measured(given, N_LAYERS))


@pytest.mark.parametrize(
    ("level", "noise", "verdict"),
    [(1.01, 1e-3, SUPPORTED), (0.99, 1e-3, REFUTED), (1.0, 1e-3, INCONCLUSIVE), (1.01, 0.5, INCONCLUSIVE)],
)
def test_a_share_at_its_boundary(level, noise, verdict):
    """Half of 2 nats is 1 nat."""
    given = tables({MechanismEdit.SKIP: 2.0, MechanismEdit.ZERO: level}, noise)
    asked = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.5, rationale="a test")
    found = judged(asked, given)
    assert found.verdict is verdict, found.sentence
    upside_down = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_most=0.5, rationale="a test")
    opposite = {SUPPORTED: REFUTED, REFUTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}
    assert judged(upside_down, given).verdict is opposite[verdict]
    if noise < 0.1:
        assert found.estimate.value == pytest.approx(level / 2, rel=0.01)
        assert found.estimate.low < level / 2 < found.estimate.high


def test_one_edit_of_several_that_violates_a_bound_refutes():
    given = tables({MechanismEdit.ZERO: 10.0, MechanismEdit.OTHER_DIM: 0.1})
    asked = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.ZERO, at_most=0.1, rationale="a test")
    assert judged(asked, given).verdict is SUPPORTED
    effects = given["hub_mechanism"]
    row = mechanism_rows(PROBES, MechanismEdit.OTHER_DIM, N_LAYERS)[1]
    values = effects.metrics["kl_nats"].copy()
    values[row] += 1.0
    given["hub_mechanism"] = replace(effects, metrics={"kl_nats": values})
    found = judged(asked, given)
    assert found.verdict is REFUTED
    assert "'zero resid_post L2[5] at 0' moves 0.11 " in found.sentence


def test_there_is_no_share_of_what_does_nothing_nor_of_edits_that_are_not_there():
    asked = EditShare(edit=MechanismEdit.BEFORE, of=MechanismEdit.ZERO, at_most=0.1, rationale="a test")
    nothing = {MechanismEdit.ZERO: 1e-9, MechanismEdit.BEFORE: 1e-3}
    found = judged(asked, tables(nothing, noise=1e-12))
    assert found.verdict is INCONCLUSIVE
    assert "no effect to take a share of" in found.sentence
    massive = replace(MASSIVE, layer=0)
    probes = EXPERIMENTS["hub_mechanism"].probes(Protocol.SOUND, replace(MODEL, massive=massive))
    found = judged(asked, {"hub_mechanism": table(probes, {"kl_nats": [1.0] * len(probes)})})
    assert found.verdict is INCONCLUSIVE
    assert "no such edit" in found.sentence


def test_a_share_below_the_noise_floor_is_not_judged():
    given = tables({MechanismEdit.ZERO: 0.3, MechanismEdit.OTHER_DIM: 0.0})
    asked = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.ZERO, at_most=0.1, rationale="a test")
    assert judged(asked, given).verdict is SUPPORTED
    given["hub_mechanism"] = replace(given["hub_mechanism"], floor_nats=0.05)
    assert judged(asked, given).verdict is INCONCLUSIVE


def test_without_a_noise_floor_even_nothing_is_a_share():
    given = tables({MechanismEdit.ZERO: 0.3, MechanismEdit.OTHER_DIM: 0.01})
    asked = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.ZERO, at_most=0.0, rationale="a test")
    assert judged(asked, given).verdict is REFUTED


@pytest.mark.parametrize(
    ("power", "verdict"), [(1.71, SUPPORTED), (1.69, REFUTED), (np.log10(50), INCONCLUSIVE)]
)
def test_the_factor_at_its_boundary(power, verdict):
    found = judged(WriterRaises(at_least=50.0, rationale="a test"), tables({}, writes=(9.0, 9.0, power, 9.0)))
    assert found.verdict is verdict, found.sentence
    assert found.sentence.startswith(
        f"L2 multiplies dimension 7 of token 0 by {10**found.estimate.value:.3g} ["
    )
    assert found.estimate.value == pytest.approx(power, abs=1e-3)


@pytest.mark.parametrize(
    ("sweep", "depth", "verdict"),
    [
        ((0.5, 0.4, 2.0, 0.1), 0.0, SUPPORTED),
        ((3.0, 0.4, 2.0, 0.1), 0.0, REFUTED),
        ((2.0, 0.4, 2.0, 0.1), 0.0, INCONCLUSIVE),
        ((3.0, 0.4, 2.0, 0.1), 0.25, SUPPORTED),
        ((3.0, 3.0, 2.0, 0.1), 0.25, REFUTED),
        ((3.0, 3.0, 2.0, 0.1), 0.5, SUPPORTED),
        ((0.5, 0.4, 2.0, 0.1), 0.75, REFUTED),
    ],
)
def test_the_writer_leads_the_blocks_it_is_compared_with(sweep, depth, verdict):
    found = judged(WriterLeads(from_depth=depth, rationale="a test"), tables({}, sweep=sweep))
    assert found.verdict is verdict, found.sentence


SIZES = "(120 prompts, 60 templates)"


@pytest.mark.parametrize(
    ("sweep", "depth", "why"),
    [
        ((0.5, 0.4, 2.0, 0.1), 0.0, "L0 on is L0 with 0.5, p < 0.001."),
        ((3.0, 0.4, 2.0, 0.1), 0.25, "L1 on is L1 with 0.4, p < 0.001."),
        ((0.4, 0.5, 2.0, 0.1), 0.0, "L0 on is L1 with 0.5, p < 0.001."),
        ((0.5, 0.4, 2.0, 3.0), 0.5, "L2 on is L3 with 3, which lies above it (p < 0.001)."),
        ((0.5, 2.0, 2.0, 0.1), 0.0, "L0 on is L1 with 2, which is a tie."),
    ],
)
def test_a_lead_is_said_with_the_strongest_other_block(sweep, depth, why):
    found = judged(WriterLeads(from_depth=depth, rationale="a test"), tables({}, noise=1e-4, sweep=sweep))
    start = f"The writer, L2, moves 2 [2, 2] nats {SIZES} when skipped; the strongest other from "
    assert found.sentence == start + why


def test_a_writer_above_the_depth_is_said_to_be_there():
    found = judged(WriterLeads(from_depth=0.75, rationale="a test"), tables({}))
    assert found.sentence == "The writer is L2, before L3, from where on blocks are compared."


def test_a_factor_is_said_with_its_interval():
    found = judged(
        WriterRaises(at_least=50.0, rationale="a test"), tables({}, noise=1e-6, writes=(0.0, 0.0, 2.0, 0.0))
    )
    assert found.sentence == f"L2 multiplies dimension 7 of token 0 by 100 [100, 100] {SIZES}, p < 0.001."


@pytest.mark.parametrize(
    ("bound", "levels", "verdict", "text"),
    [
        (
            {"at_least": 0.5},
            (1.5, 1.25),
            SUPPORTED,
            "'zero resid_post L2[5] at 0' moves 0.625 [0.625, 0.625] of it {} of what 'skip L2' moves "
            "(1.25 of 2 nats; at least 50% is asked for), p < 0.001.",
        ),
        (
            {"at_most": 0.5},
            (0.75, 1.25),
            REFUTED,
            "'zero resid_post L2[5] at 0' moves 0.625 [0.625, 0.625] of it {} of what 'skip L2' moves "
            "(1.25 of 2 nats; at most 50% is asked for), p < 0.001.",
        ),
    ],
)
def test_a_share_is_said_of_the_edit_nearest_the_bound_or_furthest_beyond(bound, levels, verdict, text):
    given = tables({MechanismEdit.SKIP: 2.0}, noise=1e-6)
    values = given["hub_mechanism"].metrics["kl_nats"]
    for row, level in zip(mechanism_rows(PROBES, MechanismEdit.OTHER_DIM, N_LAYERS), levels, strict=True):
        values[row] += level - 1.0
    asked = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.SKIP, **bound, rationale="a test")
    found = judged(asked, given)
    assert (found.verdict, found.sentence) == (verdict, text.format(SIZES))


@pytest.mark.parametrize(
    ("levels", "noise", "verdict"),
    [
        ((1.5, 1.3), (2.0, 0.02), REFUTED),  # the first lies further beyond, and may lie within
        ((0.9, 0.75), (0.02, 0.62), SUPPORTED),  # the first lies nearer, and is the surer
        ((0.9, 0.75), (0.02, 2.0), INCONCLUSIVE),
    ],
)
def test_a_share_is_said_of_the_edit_that_the_verdict_rests_on(levels, noise, verdict):
    """At most 1 nat is asked of two edits that scatter unequally; two as the second would each say what both say."""
    given = tables({MechanismEdit.ZERO: 10.0}, noise=1e-6)
    values = given["hub_mechanism"].metrics["kl_nats"]
    rows = mechanism_rows(PROBES, MechanismEdit.OTHER_DIM, N_LAYERS)
    rng = np.random.default_rng(3)
    for row, level, scatter in zip(rows, levels, noise, strict=True):
        x = rng.standard_normal((12, 5))
        x = (x - x.mean(axis=1, keepdims=True)).repeat(2, axis=1).ravel()
        values[row] = level + scatter * x
    asked = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.ZERO, at_most=0.1, rationale="a test")
    found = judged(asked, given)
    assert found.verdict is verdict
    assert found.sentence.startswith(f"'{PROBES[rows[1]]}' moves {levels[1] / 10:.3g} [")
    low, high = found.estimate.low, found.estimate.high
    assert {REFUTED: low > 0.1, SUPPORTED: high < 0.1, INCONCLUSIVE: low < 0.1 < high}[verdict]
    values[rows[0]] = values[rows[1]]
    assert judged(asked, given).p_value == found.p_value


def test_a_writer_with_no_block_to_lead_is_undecided():
    massive = replace(MASSIVE, layer=3)
    probes = EXPERIMENTS["hub_mechanism"].probes(Protocol.SOUND, replace(MODEL, massive=massive))
    given = {**tables({}), "hub_mechanism": table(probes, {"kl_nats": [1.0] * len(probes)})}
    found = judged(WriterLeads(from_depth=0.75, rationale="a test"), given)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, 1.0)
    assert found.sentence == "The writer, L3, is the only block from L3 on: there is none to compare it with."


def test_why_no_share_is_taken_is_said_with_the_numbers():
    """What is undecided counts as a test, of the largest p-value."""
    asked = EditShare(edit=MechanismEdit.OTHER_DIM, of=MechanismEdit.ZERO, at_most=0.1, rationale="a test")
    faint = tables({MechanismEdit.ZERO: 0.05}, noise=1e-6)
    short = tables({MechanismEdit.ZERO: 0.3})
    short["hub_mechanism"] = replace(short["hub_mechanism"], floor_nats=0.05)
    gone = replace(MODEL, massive=replace(MASSIVE, others=()))
    probes = EXPERIMENTS["hub_mechanism"].probes(Protocol.SOUND, gone)
    for given, text in (
        (
            faint,
            f"There is no effect to take a share of: the number set to zero moves 0.05 [0.05, 0.05] nats {SIZES}, "
            "and its lower bound is not 0.1 nats.",
        ),
        (
            short,
            "10% of what the number set to zero moves lies below the noise floor of this arithmetic, 0.05 nats: "
            "measure in float32 (--dtype float32).",
        ),
        (
            {"hub_mechanism": table(probes, {"kl_nats": [1.0] * len(probes)})},
            "This model has no such edit: another dimension of token 0 set to zero.",
        ),
    ):
        found = judged(asked, given)
        assert (found.verdict, found.sentence, found.p_value) == (INCONCLUSIVE, text, 1.0)


def test_an_effect_is_large_enough_for_a_share_by_its_lower_bound():
    asked = EditShare(edit=MechanismEdit.MLP, of=MechanismEdit.ZERO, at_least=0.5, rationale="a test")
    for level, verdict in ((0.102, SUPPORTED), (0.1, INCONCLUSIVE)):
        assert judged(asked, tables({MechanismEdit.ZERO: level})).verdict is verdict


def test_a_value_that_is_not_finite_is_said_with_its_cell():
    given = tables({})
    wanted = "Not a measurement: {} is nan on the prompt {!r}; 1 of {} values are not finite."
    share = EditShare(edit=MechanismEdit.SKIP, of=MechanismEdit.ZERO, at_least=0.5, rationale="a test")
    part_of_it = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.5, rationale="a test")
    for criterion, name, metric, row, what, size in (
        (share, "hub_mechanism", "kl_nats", 0, "kl_nats of 'skip L2'", 120),
        (part_of_it, "hub_mechanism", "kl_nats", 0, "kl_nats of 'skip L2'", 120),
        (
            WriterRaises(at_least=50.0, rationale="a test"),
            "massive_writes",
            "rise_log10",
            2,
            "rise_log10 of 'zero mlp_out L2[7] at 0'",
            120,
        ),
        (WriterLeads(rationale="a test"), "layer_sweep", "kl_nats", 0, "kl_nats of 'skip L0'", 480),
    ):
        broken = {**given, name: with_value(given[name], metric, row, 3, np.nan)}
        found = judged(criterion, broken)
        assert found.verdict is Verdict.INVALID
        assert found.sentence == wanted.format(what, given[name].prompts[3].text, size)


def test_a_share_of_effects_in_float32_is_taken_in_float64():
    given = tables({MechanismEdit.SKIP: 2.0}, noise=0.1)
    effects = given["hub_mechanism"]
    short = effects.metrics["kl_nats"].astype(np.float32)
    asked = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.3, rationale="a test")
    one, other = (
        judged(asked, {"hub_mechanism": replace(effects, metrics={"kl_nats": values})})
        for values in (short, short.astype(np.float64))
    )
    assert one == other


def test_tables_of_something_else_are_missing_evidence():
    asked = EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.5, rationale="a test")
    with pytest.raises(MissingEvidence, match="was not measured"):
        judged(asked, {"layer_sweep": tables({})["layer_sweep"]})
    with pytest.raises(MissingEvidence, match="not about one massive activation"):
        judged(asked, {"hub_mechanism": tables({})["layer_sweep"]})
    with pytest.raises(MissingEvidence, match="stands for 2 edits"):
        judged(replace(asked, of=MechanismEdit.OTHER_DIM), tables({}))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            lambda: EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, rationale="a test"),
            "EditShare of the number set to zero: give either",
        ),
        (
            lambda: EditShare(
                edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.1, at_most=0.2, rationale="a test"
            ),
            "EditShare of the number set to zero: give either",
        ),
        (lambda: WriterRaises(at_least=1.0, rationale="a test"), r"at_least=1\.0\): .* raises nothing"),
        (lambda: WriterLeads(from_depth=1.0, rationale="a test"), r"from_depth=1\.0\): a share of the depth"),
        (
            lambda: WriterLeads(from_depth=-0.1, rationale="a test"),
            r"from_depth=-0\.1\): a share of the depth",
        ),
        (lambda: WriterLeads(rationale=" "), "WriterLeads: say why"),
        (lambda: WriterRaises(at_least=50.0, rationale=" "), "WriterRaises: say why"),
        (
            lambda: EditShare(edit=MechanismEdit.ZERO, of=MechanismEdit.SKIP, at_least=0.1, rationale=" "),
            "EditShare: say why",
        ),
    ],
)
def test_a_criterion_without_a_meaning_is_refused(make, why):
    with pytest.raises(ValueError, match=why):
        make()


def test_a_factor_just_above_one_raises_something():
    criterion = WriterRaises(at_least=1.01, rationale="a test")
    for power, verdict in ((0.01, SUPPORTED), (0.0, REFUTED)):
        assert judged(criterion, tables({}, writes=(0.0, 0.0, power, 0.0))).verdict is verdict


def test_the_site_comes_back_from_json():
    assert Massive.from_json(MASSIVE.to_json()) == MASSIVE
    with pytest.raises(TypeError, match="no site"):
        Massive.from_json({"layer": "2", "dim": 7, "others": []})
    assert to_json(PROBES[6]) == {"action": "skip", "sites": [[2, "resid_post", None, [7]]], "positions": [0]}
