"""Activation patching: pairs, both directions beside hooks, the laws of recovery, what was planted, verdicts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.anatomy import Anatomy
from harness.edits import Edit, Site, Stream
from harness.engine import naive
from harness.engine.blocks import Stack
from harness.engine.sweep import sweep
from harness.experiments import CLEAN, CORRUPT, EXPERIMENTS, MEAN
from harness.experiments.patching import DENOISING, LEAST_PAIRS, NOISING, PATCHED, Where, pair_spots, patched
from harness.figures.patching import draw_patching
from harness.measure import _patchable, draw_prompts, measure
from harness.patching import (
    RECOVERY,
    NotPatching,
    NotSeparated,
    kept,
    normalized_recovery,
    read_ends,
    recovered,
)
from harness.planted.testing import PlantedModel
from harness.planted.writers import Plan, kl_of_logits
from harness.protocols import Protocol
from harness.verdicts.criteria import DirectionsAgree, PairsAlign, RecoveryBound, WholePatchIsOtherRun
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import DepthPart, Patched
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import MissingEvidence, Verdict
from tasks.prompts import Prompt, PromptPair
from tasks.sampling import NotEnoughPrompts

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
RESID, ATTN, MLP = Stream.RESID_POST, Stream.ATTN_OUT, Stream.MLP_OUT
DIRECTIONS = (DENOISING, NOISING)
EVERY = [(stream, where) for stream, classes in PATCHED for where in classes]

pytestmark = pytest.mark.usefixtures("one_thread")


def probes(name, n_layers=4, protocol=SOUND):
    return EXPERIMENTS[name].probes(protocol, Anatomy(n_layers=n_layers))


# The pairs


def test_a_pair_is_cut_into_what_it_changes_and_what_it_shares_before_the_last():
    assert pair_spots([1, 2, 3, 4, 5, 9], [1, 7, 3, 4, 8, 9]) == {"changed": (1, 4), "rest": (0, 2, 3)}


@pytest.mark.parametrize(
    ("clean", "corrupt", "message"),
    [
        ([1, 2, 3], [1, 2, 3, 4], "3 tokens and corrupt 4"),
        ([1, 2, 3], [1, 2, 3], "the same tokens"),
        ([1, 2, 3], [1, 2, 4], "differ in the last token"),
        ([1, 2, 3], [4, 5, 3], "share no token but the last"),
    ],
)
def test_a_pair_that_cannot_be_patched_by_position_is_refused(clean, corrupt, message):
    with pytest.raises(ValueError, match=message):
        pair_spots(clean, corrupt)


def test_both_directions_run_the_same_pairs_and_ask_for_the_clean_answer(subject):
    noising, denoising = (
        draw_prompts(subject.loaded, EXPERIMENTS[name], 42) for name in (NOISING, DENOISING)
    )
    assert noising.n_left_out == denoising.n_left_out == 0
    assert [item.ids for item in noising.items] == list(noising.clean) == list(denoising.clean)
    assert [item.ids for item in denoising.items] == list(noising.corrupt) == list(denoising.corrupt)
    for clean, corrupt, one, other in zip(
        noising.items, denoising.items, noising.records, denoising.records, strict=True
    ):
        assert (clean.answer, clean.foil) == (corrupt.answer, corrupt.foil)
        assert subject.loaded.encode(one.text + one.answer) == [*clean.ids, clean.answer]
        assert subject.loaded.encode(other.text + one.answer) == [*corrupt.ids, corrupt.answer]
        assert clean.spots == corrupt.spots
        spots = dict(clean.spots)
        assert one.spots == other.spots == ("changed", "rest")
        assert sorted([*spots["changed"], *spots["rest"]]) == list(range(len(clean.ids) - 1))
        assert {i for i, (a, b) in enumerate(zip(clean.ids, corrupt.ids, strict=True)) if a != b} == {
            *spots["changed"]
        }


def pair(clean, corrupt, answers=("a", "b")):
    one, other = answers
    fields = {"family": "f", "template": "t"}
    return PromptPair(
        clean=Prompt(text=clean, answer=one, foil=other, **fields),
        corrupt=Prompt(text=corrupt, answer=other, foil=one, **fields),
    )


LETTERS = SimpleNamespace(encode=lambda text: [ord(c) for c in text])
"""A tokenizer of letters."""


def test_pairs_that_cannot_be_patched_are_left_out_and_too_few_are_refused():
    good = [pair(f"{c}xyz", f"{c}XyZz"[:2] + "yz") for c in "abcdefg"]
    bad = [pair("axyz", "axyzz"), pair("axyz", "axyZ"), pair("axyz", "Bxyz", ("ab", "c"))]
    assert _patchable(LETTERS, [*good, *bad]) == good
    assert len(good) == LEAST_PAIRS
    with pytest.raises(NotEnoughPrompts, match="6 of 9 pairs can be patched .* 4 tokens and corrupt 5"):
        _patchable(LETTERS, [*good[1:], *bad])


def test_answer_and_foil_must_be_the_same_tokens_in_both_texts():
    twisted = SimpleNamespace(encode=lambda text: [ord(c) + (c == "a" and "X" in text) for c in text])
    pairs = [pair(f"{i}xyz", f"{i}Xyz") for i in range(LEAST_PAIRS)]
    with pytest.raises(NotEnoughPrompts, match="other tokens after the corrupt text"):
        _patchable(twisted, pairs)


# The experiments


def test_the_patches_by_name():
    names = [str(probe) for probe in probes(DENOISING, 1)]
    assert names == [
        "patch L0 from clean at changed",
        "patch L0 from clean at rest",
        "patch L0 from clean at -1",
        "patch L0 from clean",
        "patch attn_out L0 from clean at changed",
        "patch attn_out L0 from clean at -1",
        "patch mlp_out L0 from clean at changed",
        "patch mlp_out L0 from clean at -1",
    ]
    assert [str(probe) for probe in probes(NOISING, 1)] == [
        name.replace("clean", "corrupt") for name in names
    ]
    assert len(probes(DENOISING, 30)) * 2 * 12 == 5760
    for name in DIRECTIONS:
        whole = [str(probe) for probe in probes(name, 2, PUBLISHED)]
        assert whole == ["patch L0 from clean", "patch L1 from clean"]


def test_which_run_is_patched_and_the_pairing_belong_to_the_definition_where_they_are_not_the_default():
    base = EXPERIMENTS["layer_sweep"]
    model = (SOUND, Anatomy(n_layers=4))
    assert replace(base, runs="clean", paired=False).definition(*model) == base.definition(*model)
    others = {replace(base, **c).definition(*model) for c in ({"runs": "corrupt"}, {"paired": True})}
    assert len(others | {base.definition(*model)}) == 3


# Beside hooks


def pairs_of(items):
    """Random pairs of prompts that differ at one to three positions, as items of each direction and token ids."""
    clean = items((6, 8, 7))
    changes = [(1,), (0, 3, 4), (2, 4)]
    corrupt = [
        tuple((token + 11) % 97 if i in at else token for i, token in enumerate(item.ids))
        for item, at in zip(clean, changes, strict=True)
    ]
    marked = [
        replace(item, spots=tuple(pair_spots(item.ids, ids).items()))
        for item, ids in zip(clean, corrupt, strict=True)
    ]
    turned = [replace(item, ids=ids) for item, ids in zip(marked, corrupt, strict=True)]
    return {NOISING: marked, DENOISING: turned}, {CLEAN: [i.ids for i in clean], CORRUPT: corrupt}


def values_of(model, ids, sites):
    with torch.no_grad(), naive.activations(model, sites) as seen:
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return seen


def hooked(model, item, probe, donor_ids):
    """Logits of a plain hook run: the donor's activations written at the probe's positions."""
    where = dict(item.spots)[probe.spot] if probe.spot else probe.positions
    seen = values_of(model, donor_ids, list(probe.sites))
    return naive.run(model, item.ids, replace(probe, spot=None, positions=where), seen.__getitem__)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text", "lfm2"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_patch_equals_the_hook_run(name, architecture, tiny, items):
    model = tiny(architecture)
    by_direction, ids = pairs_of(items)
    run, asked = by_direction[name], probes(name)
    donor = {NOISING: CORRUPT, DENOISING: CLEAN}[name]
    given = {donor: ids[donor] for donor in EXPERIMENTS[name].donors}
    found, _ = sweep(Stack(model), run, asked, donors=given, contrasted=True)
    for j, item in enumerate(run):
        base = naive.run(model, item.ids, None)
        for i, probe in enumerate(asked):
            logits = hooked(model, item, probe, ids[donor][j])
            expected = naive.measure(base, logits, item.answer)
            foil = float(torch.log_softmax(logits, dim=-1)[item.foil])
            assert found["kl_nats"][i, j] == pytest.approx(expected["kl_nats"], abs=1e-4, rel=1e-4)
            assert found["answer_logprob"][i, j] == pytest.approx(expected["answer_logprob"], abs=1e-4)
            assert found["foil_logprob"][i, j] == pytest.approx(foil, abs=1e-4)
    moved = {probe: found["kl_nats"][i].max() for i, probe in enumerate(asked)}
    assert all(moved[patched(stream, 0, donor, where)] > 1e-5 for stream, where in EVERY), (
        "every patch does something"
    )


def test_published_is_the_kl_of_the_patched_corrupt_run_to_the_clean_run(tiny, items):
    """The table patches the clean prompt; the corrupt one, hooked, gives the same: which is run cannot matter."""
    model = tiny("qwen2")
    by_direction, ids = pairs_of(items)
    asked = probes(NOISING, protocol=PUBLISHED)
    found, _ = sweep(Stack(model), by_direction[NOISING], asked, donors={CLEAN: ids[CLEAN]})
    assert np.abs(found["kl_nats"]).max() < 1e-6
    for j, item in enumerate(by_direction[DENOISING]):
        clean, own = (naive.run(model, prompt, None) for prompt in (ids[CLEAN][j], item.ids))
        assert naive.measure(clean, own, item.answer)["kl_nats"] > 0.01
        for probe in asked:
            logits = hooked(model, item, probe, ids[CLEAN][j])
            assert abs(naive.measure(clean, logits, item.answer)["kl_nats"]) < 1e-6


# The laws of recovery


def test_recovery_is_the_share_of_the_way():
    clean, corrupt = np.array([3.0, -1.0]), np.array([1.0, 4.0])
    values = np.array([[1.0, 4.0], [3.0, -1.0], [2.0, 1.5], [4.0, 9.0]])
    found = normalized_recovery(values, clean, corrupt)
    np.testing.assert_allclose(found, [[0, 0], [1, 1], [0.5, 0.5], [1.5, -1.0]])


def test_a_denominator_below_the_gate_is_refused_and_never_floored():
    far, near = np.array([2.0]), np.array([1.999])
    assert normalized_recovery(np.array([[1.5]]), far, np.array([1.0])) == 0.5
    assert normalized_recovery(np.array([[1.5]]), np.array([1.0]), far) == 0.5
    with pytest.raises(NotSeparated, match="1 of 1 prompts have .* below 1 nat, e.g. 2 and 1.01"):
        normalized_recovery(np.array([[1.5]]), far, np.array([1.01]))
    with pytest.raises(NotSeparated):
        normalized_recovery(np.array([[1.5]]), far, near)
    with pytest.raises(NotSeparated, match="1 of 2 prompts have .* e.g. 5 and 5.5"):
        normalized_recovery(np.array([[1.5, 5.2]]), np.array([2.0, 5.0]), np.array([1.0, 5.5]))


def test_patching_a_run_with_its_own_values_does_nothing_and_corrupt_into_corrupt_recovers_nothing(
    tiny, items
):
    stack = Stack(tiny("llama"))
    by_direction, ids = pairs_of(items)
    for name, own in ((NOISING, CLEAN), (DENOISING, CORRUPT)):
        asked = [replace(probe, donor=own) for probe in probes(name)]
        found, base = sweep(stack, by_direction[name], asked, donors={own: ids[own]}, contrasted=True)
        assert np.abs(found["kl_nats"]).max() < 1e-6
        own_gap = base["answer_logprob"] - base["foil_logprob"]
        gap = found["answer_logprob"] - found["foil_logprob"]
        ends = (own_gap + 2.0, own_gap) if own == CORRUPT else (own_gap, own_gap + 2.0)
        expected = 0.0 if own == CORRUPT else 1.0
        np.testing.assert_allclose(normalized_recovery(gap, *ends), expected, atol=1e-5)


def test_the_whole_stream_recovers_all_and_the_last_block_exactly(copy_head):
    evidence, other = (copy_head.measure(name).effects for name in DIRECTIONS)
    table_ = recovered(evidence)
    n_layers = len(copy_head.plan.writers)
    for layer in range(n_layers):
        row = table_.metrics[RECOVERY][table_.row(patched(RESID, layer, CLEAN, Where.ALL))]
        np.testing.assert_allclose(row, 1.0, atol=1e-4)
    assert (row == 1.0).all()
    clean = other.baseline["answer_logprob"] - other.baseline["foil_logprob"]
    np.testing.assert_allclose(read_ends(evidence).clean, clean, atol=1e-4)
    assert read_ends(evidence).run == CORRUPT
    assert read_ends(other).run == CLEAN
    np.testing.assert_allclose(read_ends(other).corrupt, read_ends(evidence).corrupt, atol=1e-4)


def test_pairs_below_the_gate_are_left_out_and_counted(copy_head):
    effects = copy_head.measure(DENOISING).effects
    on, ends = kept(effects), read_ends(effects)
    assert 0 < on.sum() < on.size
    np.testing.assert_array_equal(on, np.abs(ends.clean - ends.corrupt) >= 1.0)
    table_ = recovered(effects)
    assert len(table_.prompts) == on.sum()
    assert tuple(table_.metrics) == (RECOVERY,)
    with pytest.raises(NotSeparated):
        recovered(effects, np.ones(on.size, dtype=bool))


def test_a_table_of_something_else_has_no_ends():
    asked = probes(DENOISING)
    levels = {"answer_logprob": np.zeros(len(asked)), "foil_logprob": np.zeros(len(asked))}
    without = tuple(p for p in asked if p != patched(RESID, 3, CLEAN, Where.ALL))
    with pytest.raises(NotPatching, match="'patch L3 from clean' was not measured"):
        read_ends(table(without, {name: values[:-1] for name, values in levels.items()}))
    with pytest.raises(NotPatching, match="donors are \\['clean', 'mean'\\]"):
        read_ends(table((*asked[:-1], replace(asked[-1], donor=MEAN)), levels))


@pytest.mark.parametrize(("name", "run", "donor"), [(DENOISING, CORRUPT, CLEAN), (NOISING, CLEAN, CORRUPT)])
def test_a_table_is_read_from_its_own_end_to_the_other(name, run, donor):
    """By hand: the run's own gap is -1 (prompt 0: 2.5), the other run's 3; half the way is 1."""
    asked = probes(name)
    whole = asked.index(patched(RESID, 3, donor, Where.ALL))
    effects = table(
        asked, {"answer_logprob": np.zeros(len(asked)), "foil_logprob": np.zeros(len(asked))}, noise=0.0
    )
    n = len(effects.prompts)
    answer = np.full((len(asked), n), -2.0)
    foil = np.full((len(asked), n), -3.0)  # a gap of 1
    foil[whole] = -5.0  # of 3
    own = np.full(n, -1.0)
    own[0] = 2.5  # of prompt 0 the ends are half a nat apart
    effects = replace(
        effects,
        metrics={"answer_logprob": answer, "foil_logprob": foil},
        baseline={"answer_logprob": own - 4.0, "foil_logprob": np.full(n, -4.0)},
    )
    ends = read_ends(effects)
    assert ends.run == run
    here, there = (ends.corrupt, ends.clean) if run == CORRUPT else (ends.clean, ends.corrupt)
    assert (here[0], here[1:].tolist(), set(there.tolist())) == (2.5, [-1.0] * (n - 1), {3.0})
    np.testing.assert_array_equal(kept(effects), np.arange(n) > 0)
    found = recovered(effects)
    assert found.prompts == effects.prompts[1:]
    halfway = np.where(np.arange(len(asked)) == whole, 1.0 if donor == CLEAN else 0.0, 0.5)
    np.testing.assert_allclose(found.metrics[RECOVERY], np.repeat(halfway[:, None], n - 1, axis=1))
    few = recovered(effects, np.arange(n) > n - 3)
    assert few.prompts == effects.prompts[-2:]
    assert few.metrics[RECOVERY].shape == (len(asked), 2)
    with pytest.raises(NotSeparated, match=f"1 of {n} prompts have .* e.g. {3 if donor == CLEAN else 2.5}"):
        recovered(effects, np.ones(n, dtype=bool))


# What was planted


@pytest.fixture(scope="module")
def copy_head(tmp_path_factory, planted_tokenizer):
    return PlantedModel(
        "copy_head", tmp_path_factory.mktemp("copy"), tokenizer=planted_tokenizer, layer=1, head=2
    )


@pytest.fixture(scope="module")
def fact(tmp_path_factory, planted_tokenizer):
    return PlantedModel(
        "fact", tmp_path_factory.mktemp("fact"), tokenizer=planted_tokenizer, layer=1, mover=(3, 2)
    )


@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_patch_of_the_copy_head_is_the_closed_form(name, copy_head):
    """The token is at its place until L1 and at the end from L1 on: each patch is one run or the other."""
    effects = copy_head.measure(name).effects
    assert copy_head.measure(name).failed == ()
    drawn = draw_prompts(copy_head.subject.loaded, EXPERIMENTS[name], 42)
    own, other = (drawn.corrupt, drawn.clean) if name == DENOISING else (drawn.clean, drawn.corrupt)
    layer = copy_head.truth["copy_head"][0]
    brings = {
        (RESID, Where.CHANGED): lambda at: at < layer,
        (RESID, Where.REST): lambda at: False,
        (RESID, Where.LAST): lambda at: at >= layer,
        (RESID, Where.ALL): lambda at: True,
        (ATTN, Where.LAST): lambda at: at == layer,
    }
    donor = CLEAN if name == DENOISING else CORRUPT
    for stream, where in EVERY:
        for at in range(len(copy_head.plan.writers)):
            row = effects.row(patched(stream, at, donor, where))
            arrives = brings.get((stream, where), lambda at: False)(at)
            for j in range(len(own)):
                expected = kl_of_logits(
                    copy_head.plan.logits(own[j]), copy_head.plan.logits((other if arrives else own)[j])
                )
                assert effects.metrics["kl_nats"][row, j] == pytest.approx(expected, abs=1e-4), (
                    f"{stream} L{at}"
                )
    assert kept(effects).sum() >= LEAST_PAIRS


FACTS = {"families": ("factual_recall",), "prompts_per_family": 40}


def known(model, drawn):
    """Pairs whose prompts mention one fact each and ask for it: the corrupt one's answer is the clean one's foil."""
    answer_of = dict(model.plan.facts)
    found = []
    for j, item in enumerate(drawn.items):
        at = [[answer_of[s] for s in model.plan.mentions(ids[j])] for ids in (drawn.clean, drawn.corrupt)]
        if at == [[item.answer], [item.foil]]:
            found.append(j)
    return found


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_fact_is_looked_up_at_the_subject_and_moved_by_one_head(name, fact):
    """The lookup's MLP at the subject and the mover's attention at the end each give the closed form alone."""
    experiment = replace(EXPERIMENTS[name], **FACTS)
    effects = measure(fact.subject, experiment, SOUND, 42, fact.store).effects
    drawn = draw_prompts(fact.subject.loaded, experiment, 42)
    chosen = known(fact, drawn)
    assert len(chosen) >= 5
    own, other = (drawn.corrupt, drawn.clean) if name == DENOISING else (drawn.clean, drawn.corrupt)
    donor = CLEAN if name == DENOISING else CORRUPT
    lookup, mover = fact.truth["lookup_layer"], fact.truth["mover"][0]
    for probe in (patched(MLP, lookup, donor, Where.CHANGED), patched(ATTN, mover, donor, Where.LAST)):
        row = effects.row(probe)
        for j in chosen:
            background = Plan.logits(fact.plan, own[j])
            moved = background + fact.plan.unembed @ (fact.plan.reading @ fact.plan.delivered(other[j]))
            expected = kl_of_logits(fact.plan.logits(own[j]), moved)
            assert expected > 1.0
            assert effects.metrics["kl_nats"][row, j] == pytest.approx(expected, abs=1e-4, rel=1e-4)
    on = kept(effects)
    assert set(chosen) <= set(np.flatnonzero(on))
    found = recovered(effects)
    columns = [int(on[:j].sum()) for j in chosen]
    brought = (
        found.metrics[RECOVERY][:, columns]
        if name == DENOISING
        else 1.0 - found.metrics[RECOVERY][:, columns]
    )
    sites = {
        (RESID, Where.CHANGED): range(mover),
        (RESID, Where.LAST): range(mover, 6),
        (RESID, Where.ALL): range(6),
    }
    sites |= {(MLP, Where.CHANGED): (lookup,), (ATTN, Where.LAST): (mover,)}
    for stream, where in EVERY:
        for at in range(6):
            value = brought[found.row(patched(stream, at, donor, where))]
            here = at in sites.get((stream, where), ())
            np.testing.assert_allclose(value, float(here), atol=0.05, err_msg=f"{stream} L{at} at {where}")


def test_a_head_that_copies_from_elsewhere_is_seen(copy_head, tmp_path, planted_tokenizer):
    moved = PlantedModel("copy_head", tmp_path, tokenizer=planted_tokenizer, layer=2, head=2)
    row = patched(ATTN, 1, CLEAN, Where.LAST), patched(ATTN, 2, CLEAN, Where.LAST)
    for model, brings in ((copy_head, (1.0, 0.0)), (moved, (0.0, 1.0))):
        found = recovered(model.measure(DENOISING).effects)
        for probe, expected in zip(row, brings, strict=True):
            np.testing.assert_allclose(found.metrics[RECOVERY][found.row(probe)], expected, atol=1e-4)


# Verdicts

N_LAYERS = 6
RISING = {Where.CHANGED: (1.0, 0.9, 0.6, 0.3, 0.1, 0.0), Where.LAST: (0.0, 0.1, 0.4, 0.7, 0.9, 1.0)}


def level(probe, changed):
    """Recovery by denoising: RISING where not `changed`, 1 whole, else 0."""
    stream, layer = probe.sites[0].stream, probe.layers[0]
    where = Where(probe.spot) if probe.spot else Where.ALL if probe.positions is None else Where.LAST
    if (stream, where, layer) in changed:
        return changed[stream, where, layer]
    if stream is RESID and where is not Where.REST:
        return 1.0 if where is Where.ALL else RISING[where][layer]
    return 0.0


def tables(denoising=(), noising=(), *, noise=1e-4, ends=(2.0, -1.0)):
    """Both tables of six blocks. The changes are recoveries by (stream, where, layer), of noising what it brings."""
    clean, corrupt = ends
    made = {}
    for name, changes in ((DENOISING, dict(denoising)), (NOISING, dict(noising))):
        asked = probes(name, N_LAYERS)
        own, other = (corrupt, clean) if name == DENOISING else (clean, corrupt)
        gaps = [own + (other - own) * level(probe, changes) for probe in asked]
        found = table(asked, {"answer_logprob": gaps, "foil_logprob": [0.0] * len(asked)}, noise=noise)
        n = len(found.prompts)
        prompts = tuple(
            replace(p, text=f"{p.text} in {name}", spots=("changed", "rest"), n_in_spots=(1, 6))
            for p in found.prompts
        )
        base = {"answer_logprob": np.full(n, own), "foil_logprob": np.zeros(n)}
        made[name] = replace(found, prompts=prompts, baseline=base)
    return made


def judged(criterion, given):
    return judge_criterion(criterion, measured(given, N_LAYERS))


def bound(stream, where, part=DepthPart.EVERY, **limit):
    return RecoveryBound(select=Patched(stream=stream, where=where, part=part), rationale="a test", **limit)


@pytest.mark.parametrize(
    ("value", "noise", "verdict"),
    [(0.51, 1e-4, SUPPORTED), (0.49, 1e-4, REFUTED), (0.5, 1e-4, INCONCLUSIVE), (0.51, 0.5, INCONCLUSIVE)],
)
@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_recovery_at_its_boundary(name, value, noise, verdict):
    changes = {(RESID, Where.CHANGED, 1): value if name == DENOISING else 1.0 - value}
    changes |= {(RESID, Where.CHANGED, 0): 0.9 if name == DENOISING else 0.1}
    given = tables(changes, changes, noise=noise)
    select = (RESID, Where.CHANGED, DepthPart.FIRST_THIRD)
    found = judged(replace(bound(*select, at_least=0.5), experiment=name), given)
    assert found.verdict is verdict, found.sentence
    donor = "clean" if name == DENOISING else "corrupt"
    if noise < 0.1:
        assert f"'patch L1 from {donor} at changed': {value:.3g}" in found.sentence
        assert found.sentence.endswith("120 of 120 pairs separate clean from corrupt by 1 nat.")
        assert found.estimate.value == pytest.approx(value, abs=1e-3)
    changes |= {(RESID, Where.CHANGED, 0): 0.1 if name == DENOISING else 0.9}
    opposite = {SUPPORTED: REFUTED, REFUTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}[verdict]
    found = judged(
        replace(bound(*select, at_most=0.5), experiment=name), tables(changes, changes, noise=noise)
    )
    assert found.verdict is opposite, found.sentence


def test_a_part_of_the_depth_holds_its_blocks_and_no_other():
    assert [layer for layer in range(30) if DepthPart.FIRST_THIRD.holds(layer, 30)] == list(range(10))
    assert [layer for layer in range(30) if DepthPart.LAST_SIXTH.holds(layer, 30)] == list(range(25, 30))
    for n_layers in (1, 2, 4):
        assert DepthPart.FIRST_THIRD.holds(0, n_layers)
        assert DepthPart.LAST_SIXTH.holds(n_layers - 1, n_layers)
    given = tables({(RESID, Where.CHANGED, 2): 0.0})
    assert (
        judged(bound(RESID, Where.CHANGED, DepthPart.FIRST_THIRD, at_least=0.5), given).verdict is SUPPORTED
    )
    assert judged(bound(RESID, Where.CHANGED, at_least=0.5), given).verdict is REFUTED


@pytest.mark.parametrize(("value", "verdict"), [(0.11, SUPPORTED), (0.09, REFUTED), (0.1, INCONCLUSIVE)])
def test_one_patch_of_several_that_recovers_enough(value, verdict):
    given = tables({(ATTN, Where.LAST, 3): value})
    found = judged(bound(ATTN, Where.LAST, at_least=0.1, some=True), given)
    assert found.verdict is verdict, found.sentence
    assert "attn_out L3 from clean at -1" in found.sentence


@pytest.mark.parametrize(("gap", "verdict"), [(1.01, SUPPORTED), (0.99, INCONCLUSIVE)])
def test_pairs_that_do_not_separate_decide_nothing(gap, verdict):
    given = tables(ends=(gap, 0.0), noise=1e-6)
    for criterion in (
        bound(RESID, Where.CHANGED, DepthPart.FIRST_THIRD, at_least=0.5),
        DirectionsAgree(select=Patched(stream=RESID, where=Where.LAST), at_least=0.8, rationale="a test"),
    ):
        found = judged(criterion, given)
        assert found.verdict is verdict, found.sentence
    assert f"{120 if gap > 1 else 0} of 120 pairs" in found.sentence, found.sentence


def test_six_templates_are_too_few_and_seven_are_not():
    given = tables()
    criterion = bound(RESID, Where.CHANGED, DepthPart.FIRST_THIRD, at_least=0.5)
    for n, verdict in ((6, INCONCLUSIVE), (7, SUPPORTED)):
        cut = _separating(given[DENOISING], templates=n)
        found = judged(criterion, {DENOISING: cut})
        assert found.verdict is verdict, found.sentence
        assert f"{2 * n} of 120 pairs" in found.sentence


def _separating(effects, templates):
    """The table with the prompts of all but the first templates brought together: clean is corrupt."""
    order = list(dict.fromkeys((p.family, p.template) for p in effects.prompts))
    out = np.array([order.index((p.family, p.template)) >= templates for p in effects.prompts])
    answer = effects.metrics["answer_logprob"].copy()
    answer[:, out] = effects.baseline["answer_logprob"][out]
    return replace(effects, metrics={**effects.metrics, "answer_logprob": answer})


def agree(at_least=0.8, where=Where.LAST):
    return DirectionsAgree(select=Patched(stream=RESID, where=where), at_least=at_least, rationale="a test")


@pytest.mark.parametrize(
    ("order", "value"),
    [((0, 1, 2, 3, 4, 5), 1.0), ((1, 0, 2, 3, 4, 5), 1 - 12 / 210), ((0, 2, 1, 4, 3, 5), 1 - 24 / 210)],
)
@pytest.mark.parametrize("margin", [-0.01, 0.01])
def test_the_agreement_of_both_directions_at_its_boundary(order, value, margin):
    """Without noise the interval is the value: a limit just below it is met, one just above it is not."""
    noising = {(RESID, Where.LAST, layer): RISING[Where.LAST][order[layer]] for layer in range(N_LAYERS)}
    if value == 1.0 and margin > 0:
        return
    found = judged(agree(value + margin), tables(noising=noising, noise=1e-7))
    assert found.estimate.value == pytest.approx(value)
    assert found.verdict is (SUPPORTED if margin < 0 else REFUTED), found.sentence


def test_blocks_closer_than_a_hundredth_tie():
    flat = {(RESID, Where.LAST, layer): 0.0 for layer in range(4)}
    found = judged(agree(), tables(flat, flat, noise=1e-3))
    assert found.estimate.value == pytest.approx(1.0)
    assert found.verdict is SUPPORTED, found.sentence


def test_profiles_without_ranks_are_invalid():
    flat = {(RESID, Where.LAST, layer): 0.0 for layer in range(N_LAYERS)}
    found = judged(agree(), tables(flat, noise=1e-6))
    assert found.verdict is Verdict.INVALID
    assert "the same recovery in every block" in found.sentence


@pytest.mark.parametrize(("off", "verdict"), [(9e-4, SUPPORTED), (1.1e-3, REFUTED)])
@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("metric", ["answer_logprob", "foil_logprob"])
def test_the_identity_of_the_whole_patch_at_its_boundary(metric, name, off, verdict):
    given = tables(noise=1e-9)
    effects = given[name]
    row = effects.row(patched(RESID, 2, CLEAN if name == DENOISING else CORRUPT, Where.ALL))
    values = effects.metrics[metric].copy()
    values[row, 17] -= off
    given[name] = replace(effects, metrics={**effects.metrics, metric: values})
    found = judged(WholePatchIsOtherRun(rationale="a test"), given)
    assert found.verdict is verdict, found.sentence
    assert f"{off:.3g} nats, in {metric} of 'patch L2 from" in found.sentence
    given[name] = replace(given[name], floor_nats=0.01)
    assert judged(WholePatchIsOtherRun(rationale="a test"), given).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_tokens": 9}, "differ in n_tokens: 9 and 8"),
        ({"answer": " c"}, "differ in answer"),
        ({"n_in_spots": (2, 5)}, "differ in n_in_spots"),
        ({"text": None}, "are the same text"),
    ],
)
def test_one_pair_that_does_not_align_refutes(changes, said):
    given = tables()
    assert judged(PairsAlign(rationale="a test"), given).verdict is SUPPORTED
    noising = given[NOISING]
    if changes == {"text": None}:
        changes = {"text": given[DENOISING].prompts[3].text}
    prompts = list(noising.prompts)
    prompts[3] = replace(prompts[3], **changes)
    found = judged(
        PairsAlign(rationale="a test"), {**given, NOISING: replace(noising, prompts=tuple(prompts))}
    )
    assert found.verdict is REFUTED
    assert "119 of 120" in found.sentence
    assert said in found.sentence


def test_a_value_that_is_not_finite_is_invalid_and_not_left_out():
    given = tables()
    effects = given[DENOISING]
    values = effects.metrics["answer_logprob"].copy()
    values[0, 0] = np.nan
    given[DENOISING] = replace(effects, metrics={**effects.metrics, "answer_logprob": values})
    for criterion in (
        bound(RESID, Where.LAST, DepthPart.LAST_SIXTH, at_least=0.5),
        agree(),
        WholePatchIsOtherRun(rationale="a test"),
    ):
        assert judged(criterion, given).verdict is Verdict.INVALID


def test_tables_of_something_else_are_missing_evidence():
    given = tables()
    criterion = bound(RESID, Where.LAST, at_least=0.5)
    with pytest.raises(MissingEvidence, match="was not measured"):
        judged(criterion, {NOISING: given[NOISING]})
    bare = replace(given[DENOISING], metrics={"answer_logprob": given[DENOISING].metrics["answer_logprob"]})
    with pytest.raises(MissingEvidence, match="no foil_logprob"):
        judged(criterion, {DENOISING: bare})
    other = replace(given[NOISING], prompts=tuple(reversed(given[NOISING].prompts)))
    for criterion in (agree(), WholePatchIsOtherRun(rationale="a test")):
        with pytest.raises(MissingEvidence, match="different pairs"):
            judged(criterion, {**given, NOISING: other})


@pytest.mark.parametrize(
    "limits",
    [{}, {"at_least": 0.1, "at_most": 0.2}, {"at_least": 0.1, "experiment": "layer_sweep"}],
)
def test_a_bound_without_a_meaning_is_refused(limits):
    with pytest.raises(ValueError, match="RecoveryBound"):
        bound(RESID, Where.LAST, **limits)


def test_a_selection_keeps_its_patches_alone():
    asked = probes(DENOISING, N_LAYERS)
    for stream, where in EVERY:
        chosen = [p for p in asked if Patched(stream=stream, where=where).keep(p, N_LAYERS)]
        assert chosen == [patched(stream, layer, CLEAN, where) for layer in range(N_LAYERS)]
    zeroed = Edit(sites=(Site(layer=0, stream=RESID),), action="zero")
    assert not Patched(stream=RESID, where=Where.ALL).keep(zeroed, N_LAYERS)


# The figure


@pytest.mark.parametrize("ends", [(2.0, -1.0), (0.5, 0.0)])
def test_the_map_shows_what_each_patch_brings_about(ends):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure = plt.figure()
    brought = {(ATTN, Where.LAST, 3): 0.4}
    draw_patching(figure, {(name, SOUND): t for name, t in tables(brought, brought, ends=ends).items()})
    images = [axis.get_images() for axis in figure.axes[:2]]
    if ends == (0.5, 0.0):
        assert not any(images)
        assert "too few pairs" in figure.axes[0].get_title(loc="left")
        return
    for (image,) in images:
        grid = np.asarray(image.get_array())
        assert grid.shape == (7, N_LAYERS)
        np.testing.assert_allclose(grid[0], RISING[Where.CHANGED], atol=1e-3)
        np.testing.assert_allclose(grid[2], RISING[Where.LAST], atol=1e-3)
        np.testing.assert_allclose(grid[4], [0, 0, 0, 0.4, 0, 0], atol=1e-3)
    plt.close(figure)
    plt.close("all")
