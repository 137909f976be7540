"""Models with adapters on, measured: against hooked runs of models that are put together by hand from the weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import measure
from harness.adapters import weights
from harness.adapters.artifacts import AdapterKey, Adapters
from harness.adapters.items import is_held_out, training_prompts
from harness.adapters.measuring import other_prompts
from harness.adapters.training import parameters_digest
from harness.adapters.two_models import TwoModels
from harness.adapters.updates import Factors, Updates
from harness.adapters.values import ATTENTION, Adapted, Graft, Kind, Part, Recipe
from harness.adapters.weights import Carrier
from harness.anatomy import Anatomy
from harness.edits import Edit, InvalidEdit, Stream, erase, skip, zero
from harness.effects import ADAPTED, METRICS, bit_equal
from harness.engine import naive
from harness.engine.architectures import resolve_blocks
from harness.engine.blocks import Stack
from harness.engine.sweep import Item
from harness.evidence import Evidence, from_text, to_text
from harness.experiments import EXPERIMENTS, Experiment
from harness.experiments.adapters import FAMILIES
from harness.measure import Subject
from harness.models.cache import CACHE_VARIABLE
from harness.protocols import Protocol
from harness.recording import largest_gap
from harness.store import Store
from tasks.suites import find_suite

SOUND = Protocol.SOUND
N_LAYERS = 4
RECIPE = Recipe(
    name="tiny",
    rank=4,
    alpha=8,
    steps=4,
    batch=4,
    items=8,
    warmup=1,
    learning_rate=1e-2,
    checkpoints=(0, 2, 4),
)
JSON, COPYING = Part(family="json_schema", recipe=RECIPE), Part(family="copying", recipe=RECIPE)
ONE, PAIR = (JSON,), (JSON, COPYING)
HALVES = tuple(replace(part, weight=0.5) for part in PAIR)
RANDOM = replace(JSON, kind=Kind.RANDOM)

WHOLE = Adapted(parts=ONE)
ROWS = (
    WHOLE,
    Adapted(parts=ONE, off=(2,), against="whole"),
    Adapted(parts=ONE, off=(0, 1), against="whole"),
    Adapted(parts=ONE, only=(1,)),
    Adapted(parts=ONE, only=(), against="whole"),
    Adapted(parts=ONE, only=tuple(range(N_LAYERS)), against="whole"),
    *(
        Adapted(parts=ONE, only=(layer,), graft=graft, against="whole")
        for graft in Graft
        for layer in (0, 2, N_LAYERS - 1)
    ),
    *(
        Adapted(parts=ONE, only=(layer,), graft=graft, into="adapted")
        for graft in (Graft.CONTRIBUTION, Graft.LAST)
        for layer in (0, 2, N_LAYERS - 1)
    ),
    Adapted(parts=ONE, edit=skip(1), against="whole"),
    Adapted(parts=ONE, edit=erase(3), against="whole"),
    Adapted(parts=ONE, edit=zero(Stream.MLP_OUT, 0), against="whole"),
    Adapted(parts=(), edit=skip(1), against="whole"),
    Adapted(parts=(replace(JSON, step=0),)),
    Adapted(parts=(replace(JSON, step=2),)),
    Adapted(parts=(replace(JSON, step=2),), edit=skip(1), against="whole"),
    Adapted(parts=ONE, rank=1),
    Adapted(parts=ONE, modules=(Stream.Q, Stream.V)),
    Adapted(parts=ONE, modules=(Stream.O,), off=(0,), against="whole"),
    Adapted(parts=PAIR),
    Adapted(parts=HALVES, merge="linear"),
    Adapted(parts=PAIR, merge="svd"),
    Adapted(parts=PAIR, merge="svd", rank=2),
    Adapted(parts=(RANDOM,)),
    Adapted(parts=()),
)

pytestmark = pytest.mark.usefixtures("one_thread", "cache")


def experiment(*rows: Any, **given: Any) -> Experiment:
    fields: dict[str, Any] = {
        "name": "adapter_layers",
        "adapters": True,
        "held_out": True,
        "families": ("json_schema", "copying"),
        "prompts_per_family": 3,
    }
    return Experiment(probes=lambda *_: rows, **{**fields, **given})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache: adapters are trained once for this module."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(place))
        yield place


@pytest.fixture(scope="module")
def whole(subject: Subject, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Every kind of row, with seed 42."""
    return measure.measure(
        subject, experiment(*ROWS), SOUND, 42, Store(root=tmp_path_factory.mktemp("store"))
    )


def row_of(evidence: Evidence, probe: Adapted, metric: str = "kl_nats") -> np.ndarray:
    return evidence.effects.metrics[metric][evidence.effects.row(probe)]


# Against models put together by hand


@pytest.fixture(scope="module")
def by_hand(subject: Subject, cache: Path) -> Callable[..., nn.Module]:
    """by_hand(parts, on=blocks) -> a copy of the model with (alpha / rank) B A added to its weights there."""

    def build(
        parts: tuple[Part, ...] = ONE,
        on: tuple[int, ...] = tuple(range(N_LAYERS)),
        modules: tuple[Stream, ...] = ATTENTION,
    ) -> nn.Module:
        model = copy.deepcopy(subject.loaded.model)
        for part in parts:
            key = AdapterKey(family=part.family, recipe=part.recipe, seed=42)
            updates = Adapters(root=cache).get(subject.loaded, key).updates(part.step)
            for layer in on:
                for module in modules:
                    factors = updates[layer, module]
                    weight: Any = resolve_blocks(model)[layer].linears[module].weight
                    weight.data += part.weight * RECIPE.alpha / RECIPE.rank * factors.b @ factors.a
        return model

    return build


def compare(
    subject: Subject,
    evidence: Evidence,
    probe: Adapted,
    reference: nn.Module,
    state: Callable[[list[int]], torch.Tensor],
) -> None:
    """Every metric of a prediction on every prompt, with numpy in float64 from logits."""
    encode = subject.loaded.encode
    for column, prompt in enumerate(evidence.effects.prompts):
        ids = encode(prompt.text)
        answer, foil = (encode(prompt.text + end)[-1] for end in (prompt.answer, prompt.foil))
        logits = state(ids)
        expected = naive.measure(naive.run(reference, ids, None), logits, answer)
        expected["foil_logprob"] = float(logits.log_softmax(-1)[foil])
        expected["answer_match"] = float(logits.argmax() == answer)
        for name, value in expected.items():
            assert row_of(evidence, probe, name)[column] == pytest.approx(value, abs=1e-4, rel=1e-5), (
                str(probe),
                name,
            )


@pytest.mark.parametrize(
    ("probe", "state", "reference"),
    [
        (WHOLE, {}, {"on": ()}),
        (ROWS[1], {"on": (0, 1, 3)}, {}),
        (ROWS[2], {"on": (2, 3)}, {}),
        (ROWS[3], {"on": (1,)}, {"on": ()}),
        (ROWS[4], {"on": ()}, {}),
        (ROWS[5], {}, {}),
        (Adapted(parts=(replace(JSON, step=0),)), {"on": ()}, {"on": ()}),
        (Adapted(parts=(replace(JSON, step=2),)), {"parts": (replace(JSON, step=2),)}, {"on": ()}),
        (Adapted(parts=ONE, modules=(Stream.Q, Stream.V)), {"modules": (Stream.Q, Stream.V)}, {"on": ()}),
        (
            Adapted(parts=ONE, modules=(Stream.O,), off=(0,), against="whole"),
            {"modules": (Stream.O,), "on": (1, 2, 3)},
            {},
        ),
        (Adapted(parts=PAIR), {"parts": PAIR}, {"on": ()}),
        (Adapted(parts=()), {"on": ()}, {"on": ()}),
    ],
    ids=lambda value: str(value) if isinstance(value, Adapted) else "",
)
def test_a_state_is_that_of_the_model_with_those_weights(
    subject: Subject,
    whole: Evidence,
    by_hand: Callable[..., nn.Module],
    probe: Adapted,
    state: Any,
    reference: Any,
) -> None:
    model = by_hand(**state)
    compare(subject, whole, probe, by_hand(**reference), lambda ids: naive.run(model, ids, None))


@pytest.mark.parametrize("probe", [row for row in ROWS if row.edit is not None], ids=str)
def test_an_edit_is_made_under_the_adapter_and_compared_with_it(
    subject: Subject, whole: Evidence, by_hand: Callable[..., nn.Module], probe: Adapted
) -> None:
    model = by_hand(parts=probe.parts)
    assert isinstance(probe.edit, Edit)
    compare(subject, whole, probe, model, lambda ids: naive.run(model, ids, probe.edit))


@pytest.mark.parametrize("probe", [row for row in ROWS if row.graft is not None], ids=str)
def test_a_graft_is_hooked_into_the_other_model(
    subject: Subject, whole: Evidence, by_hand: Callable[..., nn.Module], probe: Adapted
) -> None:
    adapted, base = by_hand(), subject.loaded.model
    giver, taker = (adapted, base) if probe.into == "base" else (base, adapted)
    (layer,) = probe.only or ()
    others = next_of_the_family(subject, whole)

    def state(ids: list[int]) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def keep(_: nn.Module, args: Any, output: torch.Tensor) -> None:
            seen.extend((args[0].clone(), output.clone()))

        def put(_: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            before, after = seen
            if probe.graft is Graft.CONTRIBUTION:
                return args[0] + (after - before)  # type: ignore[no-any-return]
            return torch.cat([output[:, :-1], after[:, -1:]], dim=1)

        given = others[tuple(ids)] if probe.graft is Graft.ANOTHERS_LAST else ids
        for model, hook, tokens in ((giver, keep, given), (taker, put, ids)):
            handle = resolve_blocks(model)[layer].block.register_forward_hook(hook)
            try:
                logits = naive.run(model, tokens, None)
            finally:
                handle.remove()
        return logits

    compare(subject, whole, probe, adapted if probe.against == "whole" else base, state)


def next_of_the_family(subject: Subject, evidence: Evidence) -> dict[tuple[int, ...], list[int]]:
    """Tokens of each prompt, and of the next one of its family whose answer is another, the first after the last."""
    encode, prompts = subject.loaded.encode, evidence.effects.prompts
    found = {}
    for i, prompt in enumerate(prompts):
        after = [*prompts[i + 1 :], *prompts[:i]]
        same = [other for other in after if other.family == prompt.family]
        first = [encode(p.text + p.answer)[-1] for p in same]
        own = encode(prompt.text + prompt.answer)[-1]
        chosen = next((p for p, answer in zip(same, first, strict=True) if answer != own), same[0])
        found[tuple(encode(prompt.text))] = encode(chosen.text)
    return found


@pytest.mark.parametrize("rank", [None, 2], ids=["of one", "cut"])
def test_an_svd_merge_is_numpys_truncation_of_the_summed_updates(
    subject: Subject, whole: Evidence, by_hand: Callable[..., nn.Module], rank: int | None
) -> None:
    base, model = resolve_blocks(subject.loaded.model), by_hand(parts=PAIR)
    lost = 0.0
    for own, summed in zip(base, resolve_blocks(model), strict=True):
        for module in ATTENTION:
            before, after = (block.linears[module].weight for block in (own, summed))
            dense = (after - before).detach().double().numpy()
            u, s, v_t = np.linalg.svd(dense, full_matrices=False)
            keep = RECIPE.rank if rank is None else rank
            lost += float((s[keep:] ** 2).sum())
            cut = torch.tensor((u[:, :keep] * s[:keep]) @ v_t[:keep], dtype=torch.float32)
            after.data.copy_(before.data + cut)
    assert lost > 1e-6, "the sum has a higher rank"
    probe = Adapted(parts=PAIR, merge="svd", rank=rank)
    compare(subject, whole, probe, subject.loaded.model, lambda ids: naive.run(model, ids, None))


def test_grafts_that_are_identities(whole: Evidence) -> None:
    """The adapted stream at the last token of the last block is the adapted model, the base's is the base."""
    last = Adapted(parts=ONE, only=(N_LAYERS - 1,), graft=Graft.LAST, against="whole")
    back = Adapted(parts=ONE, only=(N_LAYERS - 1,), graft=Graft.LAST, into="adapted")
    for probe in (last, back, ROWS[5]):
        assert np.abs(row_of(whole, probe)).max() < 1e-6
        assert (row_of(whole, probe, "argmax_match") == 1).all()
    assert row_of(whole, ROWS[4]).min() > 1e-3, "the base is not the adapted model"


def test_a_mean_of_factors_is_not_the_mean_of_updates(
    subject: Subject, whole: Evidence, by_hand: Callable[..., nn.Module]
) -> None:
    """peft's linear merge: each part's B also meets the other's A."""
    linear, model = Adapted(parts=HALVES, merge="linear"), by_hand(parts=HALVES)
    kl = []
    for prompt in whole.effects.prompts:
        ids = subject.loaded.encode(prompt.text)
        logits = (naive.run(m, ids, None) for m in (subject.loaded.model, model))
        kl.append(naive.measure(*logits, 0)["kl_nats"])
    assert np.abs(row_of(whole, linear) - kl).max() > 1e-3


# What is a property of the weights


def test_norms_and_losses_are_those_of_what_is_on(subject: Subject, whole: Evidence, cache: Path) -> None:
    adapter = Adapters(root=cache).get(
        subject.loaded, AdapterKey(family="json_schema", recipe=RECIPE, seed=42)
    )
    updates = adapter.updates()

    def norm(layers: Any, modules: Any = ATTENTION) -> float:
        dense = [updates.delta(layer, module).double() for layer in layers for module in modules]
        return float(torch.stack([d.square().sum() for d in dense]).sum().sqrt())

    def factor_norm(layers: Any, modules: Any = ATTENTION) -> float:
        factors = [updates[layer, module] for layer in layers for module in modules]
        return float(sum((f.a.double() ** 2).sum() + (f.b.double() ** 2).sum() for f in factors)) ** 0.5

    everywhere = range(N_LAYERS)
    for probe, on, named, modules in (
        (WHOLE, everywhere, everywhere, ATTENTION),
        (ROWS[1], (0, 1, 3), (2,), ATTENTION),
        (ROWS[2], (2, 3), (0, 1), ATTENTION),
        (ROWS[3], (1,), (1,), ATTENTION),
        (Adapted(parts=ONE, only=(2,), graft=Graft.LAST, against="whole"), (2,), (2,), ATTENTION),
        (Adapted(parts=ONE, edit=skip(1), against="whole"), everywhere, everywhere, ATTENTION),
        (Adapted(parts=ONE, modules=(Stream.Q, Stream.V)), everywhere, everywhere, (Stream.Q, Stream.V)),
    ):
        assert row_of(whole, probe, "update_norm") == pytest.approx(norm(on, modules), rel=1e-6)
        assert row_of(whole, probe, "factor_norm") == pytest.approx(factor_norm(named, modules), rel=1e-6)
    for probe in (ROWS[4], Adapted(parts=()), Adapted(parts=(), edit=skip(1), against="whole")):
        assert (row_of(whole, probe, "update_norm") == 0).all()
        assert (row_of(whole, probe, "factor_norm") == 0).all()
    assert (row_of(whole, Adapted(parts=(replace(JSON, step=0),)), "update_norm") == 0).all()
    random = row_of(whole, Adapted(parts=(RANDOM,)), "update_norm")
    assert random == pytest.approx(norm(everywhere), rel=1e-5)

    losses = {probe: row_of(whole, probe, "train_loss") for probe in ROWS}
    for step, parts in ((4, ONE), (0, (replace(JSON, step=0),)), (2, (replace(JSON, step=2),))):
        assert losses.pop(Adapted(parts=parts)) == pytest.approx(adapter.losses[step], rel=1e-7)
    assert all(np.isnan(values).all() for values in losses.values())
    assert len({adapter.losses[step] for step in (0, 2, 4)}) == 3


def test_a_random_update_is_of_the_same_size_and_another_one(whole: Evidence) -> None:
    random = Adapted(parts=(RANDOM,))
    assert np.abs(row_of(whole, random) - row_of(whole, WHOLE)).min() > 1e-4


def test_the_other_prompt_is_the_next_of_its_family_with_another_answer() -> None:
    items = [Item(ids=(i,), answer=answer, foil=0) for i, answer in enumerate((7, 8, 7, 7, 9, 9))]
    families = ["a", "b", "a", "b", "a", "c"]
    assert other_prompts(items[:5], families[:5]) == (4, 3, 4, 1, 0)
    alike = [Item(ids=(i,), answer=7, foil=0) for i in range(3)]
    assert other_prompts(alike, ["a"] * 3) == (1, 2, 0)
    with pytest.raises(InvalidEdit, match="no other prompt of c is drawn"):
        other_prompts(items, families)


def test_checkpointing_is_asked_of_training_and_named_by_its_record(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    frugal = Subject(subject.loaded, gradient_checkpointing=True)
    measure.measure(frugal, experiment(WHOLE), SOUND, 42, Store(root=tmp_path / "store"))
    (record,) = tmp_path.rglob("adapter.json")
    assert json.loads(record.read_text())["gradient_checkpointing"] is True


# The evidence


def test_the_evidence_is_whole_and_survives_the_file(whole: Evidence, subject: Subject) -> None:
    assert whole.failed == ()
    checks = {check.name: check for check in whole.checks}
    assert {"adapter_off", "adapter_on", "base_unchanged", "no_op", "parity", "positive_control"} <= set(
        checks
    )
    assert checks["adapter_off"].value < 1e-6
    finished = (
        WHOLE,
        Adapted(parts=PAIR),
        Adapted(parts=HALVES, merge="linear"),
        Adapted(parts=PAIR, merge="svd"),
    )
    least = min(np.abs(row_of(whole, probe)).max() for probe in finished)
    assert checks["adapter_on"].value == pytest.approx(least, rel=1e-6)
    assert set(whole.effects.metrics) == {*METRICS, *ADAPTED}
    assert whole.effects.finite()
    assert to_text(from_text(to_text(whole))) == to_text(whole)
    assert from_text(to_text(whole)).effects.probes == ROWS
    assert largest_gap(whole.effects, whole.effects) is None
    assert whole.question.definition == experiment(*ROWS).definition(SOUND, Anatomy(n_layers=N_LAYERS))
    mean, *_ = whole.summary[0]["update_norm"]
    assert mean == pytest.approx(row_of(whole, WHOLE, "update_norm")[0], rel=1e-5)
    assert whole.summary[1]["train_loss"] == [None, None, None]


def test_the_base_s_columns_are_the_base_s(whole: Evidence, subject: Subject) -> None:
    for column, prompt in enumerate(whole.effects.prompts):
        ids = subject.loaded.encode(prompt.text)
        answer = subject.loaded.encode(prompt.text + prompt.answer)[-1]
        logprobs = naive.run(subject.loaded.model, ids, None).log_softmax(-1)
        assert whole.effects.baseline["answer_logprob"][column] == pytest.approx(
            float(logprobs[answer]), abs=1e-4
        )


def test_provenance_names_each_adapter_at_each_step(whole: Evidence) -> None:
    found = whole.provenance["adapters"]
    assert {(entry["family"], entry["step"]) for entry in found} == {
        ("json_schema", 0),
        ("json_schema", 2),
        ("json_schema", 4),
        ("copying", 4),
    }
    assert len({entry["weights"] for entry in found}) == 4
    for entry in found:
        assert Recipe.from_json(entry["recipe"]) == RECIPE
        assert set(entry["losses"]) == {"0", "2", "4"}
        assert entry["seed"] == 42
        assert entry["seconds"] > 0
        assert "peft" in entry["versions"]


def test_prompts_are_held_out_and_no_adapter_saw_them(subject: Subject, whole: Evidence) -> None:
    texts = {prompt.text for prompt in whole.effects.prompts}
    assert len(texts) == 6
    assert all(map(is_held_out, texts))
    trained_on = {
        prompt.text
        for family in find_suite("full")
        if family.name in FAMILIES
        for prompt in training_prompts(family, 20, 42, subject.loaded.encode)
    }
    assert not texts & trained_on


def test_a_seed_names_prompts_and_adapters(subject: Subject, whole: Evidence, tmp_path: Path) -> None:
    other = measure.measure(subject, experiment(WHOLE), SOUND, 43, Store(root=tmp_path))
    assert {p.text for p in other.effects.prompts} != {p.text for p in whole.effects.prompts}
    digests = [
        entry["weights"]
        for evidence in (whole, other)
        for entry in evidence.provenance["adapters"]
        if (entry["family"], entry["step"]) == ("json_schema", 4)
    ]
    assert len(set(digests)) == 2
    assert other.provenance["adapters"][0]["seed"] == 43


def test_the_second_time_nothing_is_trained_and_the_table_is_the_same(
    subject: Subject, whole: Evidence, tmp_path: Path
) -> None:
    labels: list[str] = []
    again = measure.measure(
        subject, experiment(*ROWS), SOUND, 42, Store(root=tmp_path), progress=bar(labels.append)
    )
    assert labels == [whole.question.cell]
    assert bit_equal(from_text(to_text(again)).effects, whole.effects)
    assert all("seconds" not in entry for entry in again.provenance["adapters"])


# Progress and interruption


def bar(
    label_seen: Callable[[str], Any], advanced: list[float] | None = None, stop_after: float = np.inf
) -> Any:
    done = 0.0

    @contextmanager
    def opened(label: str, total: int) -> Iterator[Callable[[float], None]]:
        label_seen(f"{label}" if advanced is None else f"{label}: {total}")

        def advance(cells: float) -> None:
            nonlocal done
            done += cells
            if advanced is not None:
                advanced.append(cells)
            if "training" not in label and done > stop_after:
                raise KeyboardInterrupt

        yield advance

    return opened


def test_an_interrupted_measurement_goes_on_where_it_stopped(
    subject: Subject, whole: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, labels, cells = Store(root=tmp_path), [], []
    with pytest.raises(KeyboardInterrupt):
        measure.measure(
            subject, experiment(*ROWS), SOUND, 42, store, progress=bar(labels.append, stop_after=180)
        )
    measured: list[weights.Weights] = []
    own = TwoModels.measure

    def counted(self: TwoModels, state: weights.Weights, *rest: Any) -> Any:
        measured.append(state)
        return own(self, state, *rest)

    monkeypatch.setattr(TwoModels, "measure", counted)
    resumed = measure.measure(
        subject, experiment(*ROWS), SOUND, 42, store, progress=bar(labels.append, cells)
    )
    states = list(dict.fromkeys(weights.Weights.of(row) for row in ROWS))
    assert measured
    assert measured == states[len(states) - len(measured) :]
    assert len(measured) < len(states)
    kept = len(states) - len(measured)
    n_rows = sum(weights.Weights.of(row) in measured for row in ROWS) + sum(bool(w.parts) for w in measured)
    assert labels[-1] == (
        f"{whole.question.cell} (resumed: {kept} of {len(states)} sets of weights are kept): {n_rows * 6}"
    )
    assert sum(cells) == pytest.approx(n_rows * 6)
    assert bit_equal(resumed.effects, whole.effects)
    assert resumed.checks == whole.checks


# What the checks catch


def failed(evidence: Evidence) -> set[str]:
    return {check.name for check in evidence.failed}


def test_an_adapter_that_leaks_into_the_base_is_caught(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """peft's own way, and the atlas's: the model is changed in place, and every later run is of another base."""
    before = copy.deepcopy(subject.loaded.model.state_dict())
    digest = parameters_digest(subject.loaded.model)
    monkeypatch.setattr(weights.copy, "deepcopy", lambda model: model)
    try:
        evidence = measure.measure(subject, experiment(WHOLE), SOUND, 42, Store(root=tmp_path))
    finally:
        subject.loaded.model.load_state_dict(before)
    assert parameters_digest(subject.loaded.model) == digest
    assert failed(evidence) >= {"adapter_off", "base_unchanged"}


def test_an_adapter_that_is_never_on_is_caught(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights.Carrier, "put", lambda self, updates: None)
    evidence = measure.measure(subject, experiment(WHOLE), SOUND, 42, Store(root=tmp_path))
    assert failed(evidence) == {"adapter_on"}


def test_an_adapter_that_cannot_be_switched_off_is_caught(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Carrier.put
    monkeypatch.setattr(weights.Carrier, "put", lambda self, updates: put(self, updates) if updates else None)
    evidence = measure.measure(subject, experiment(WHOLE), SOUND, 42, Store(root=tmp_path))
    assert failed(evidence) == {"adapter_off"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (skip(1), "rows of an experiment on adapters are Adapted"),
        (Adapted(parts=ONE, edit=skip(1)), "compared with the same adapter, unedited"),
        (Adapted(parts=ONE, only=(0, 4)), "it names L4, and the model has L0 to L3"),
        (Adapted(parts=ONE, edit=skip(7), against="whole"), "it names L7"),
    ],
)
def test_a_row_without_a_meaning_is_refused_before_anything_is_trained(
    subject: Subject, tmp_path: Path, row: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapters, "get", None)
    with pytest.raises(InvalidEdit, match=message):
        measure.measure(subject, experiment(row), SOUND, 42, Store(root=tmp_path))


# The carrier


def random_updates(model: nn.Module, seed: int, places: Any = None) -> Updates:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer, parts in enumerate(resolve_blocks(model)):
        for module, linear in parts.linears.items():
            if places is None or module in places:
                out, width = linear.weight.shape  # type: ignore[union-attr]
                a, b = torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator)
                found[layer, module] = Factors(a, b, 0.3)
    return Updates(found)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text", "lfm2"])
def test_a_set_of_weights_leaves_nothing_behind(tiny: Callable[..., nn.Module], architecture: str) -> None:
    base = tiny(architecture)
    digest = parameters_digest(base)
    used, fresh = Carrier(Stack(base)), Carrier(Stack(base))
    last = random_updates(base, 9, (Stream.O, Stream.UP))
    for seed in range(3):
        used.put(random_updates(base, seed))
    used.put(last)
    fresh.put(last)
    assert parameters_digest(used.stack.model) == parameters_digest(fresh.stack.model) != digest
    used.put(Updates({}))
    assert parameters_digest(used.stack.model) == digest == parameters_digest(base)


def test_a_short_type_is_rounded_once(tiny: Callable[..., nn.Module]) -> None:
    base = copy.deepcopy(tiny("llama")).bfloat16()
    updates = random_updates(base, 0, (Stream.Q,))
    carrier = Carrier(Stack(base))
    carrier.put(updates)
    own, weight = (resolve_blocks(m)[1].linears[Stream.Q].weight for m in (base, carrier.stack.model))
    assert torch.equal(weight, (own.float() + updates.delta(1, Stream.Q)).bfloat16())  # type: ignore[operator, arg-type]


# The experiments

TINY_STEPS = (0, 1, 2, 3, 4, 5)


def shrunk(probe: Any) -> Any:
    """The same row with adapters of a few steps and items."""
    parts = []
    for part in probe.parts:
        tiny = replace(part.recipe, steps=5, checkpoints=TINY_STEPS, items=4, warmup=1, learning_rate=5e-4)
        step = None if part.step is None else part.recipe.checkpoints.index(part.step)
        parts.append(replace(part, recipe=tiny, step=step))
    return replace(probe, parts=tuple(parts))


OF_CHAPTERS_18_AND_19 = ("adapter_sets", "adapter_sets_code", "adapter_deobfuscation")


def anatomy(n_layers: int) -> Anatomy:
    return Anatomy(n_layers=n_layers, ranked=tuple(range(n_layers)))


OF_ADAPTERS = [(e, p) for e in EXPERIMENTS.values() if e.adapters for p in e.protocols]


@pytest.mark.parametrize(
    ("asked", "protocol"), OF_ADAPTERS, ids=lambda value: getattr(value, "name", str(value))
)
def test_every_experiment_can_be_measured_on_a_single_block(
    asked: Experiment, protocol: Protocol, single_block: Subject, tmp_path: Path
) -> None:
    rows = tuple(map(shrunk, asked.probes(protocol, anatomy(1))))
    small = replace(asked, probes=lambda *_: rows, prompts_per_family=2)
    evidence = measure.measure(single_block, small, protocol, 42, Store(root=tmp_path))
    assert evidence.failed == ()
    assert evidence.effects.probes == rows
    assert evidence.effects.families == tuple(sorted(asked.families))


@pytest.fixture(scope="module")
def single_block(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    from harness.models import LocalDir, ModelSpec, load
    from harness.planted import build_hub

    root = tmp_path_factory.mktemp("single")
    tokenizer: Any = subject.loaded.tokenizer
    place = build_hub(root / "model", layer=0, n_layers=1, tokenizer=tokenizer)
    spec = ModelSpec(id="single", title="Single", source=LocalDir(path=place), license="none")
    return Subject(load(spec, cache_dir=root / "cache"))


@pytest.mark.parametrize(
    ("asked", "protocol"), OF_ADAPTERS, ids=lambda value: getattr(value, "name", str(value))
)
def test_no_two_rows_go_by_one_name(asked: Experiment, protocol: Protocol) -> None:
    names = [str(row) for row in asked.probes(protocol, anatomy(30))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "protocol", "n_rows"),
    [
        ("adapter_layers", SOUND, 2 + 2 * 30),
        ("adapter_layers", Protocol.PUBLISHED, 1 + 30),
        ("adapter_transfer", SOUND, 2 + 2 * 30 + 2 * 5 + 1 + 2 * 30 + 30),
        ("adapter_transfer", Protocol.PUBLISHED, 2 * (1 + 30)),
        ("adapter_families", SOUND, 5 + 4 * 10 + 5),
        ("adapter_profiles", SOUND, 6 * 30),
        ("adapter_profiles", Protocol.PUBLISHED, 6 * 30),
        ("adapter_steps", SOUND, 6 * 31),
        ("adapter_ranks", SOUND, 5 + 6),
        ("adapter_modules", SOUND, 6 + 7),
        ("adapter_surgery", SOUND, 9),
        ("adapter_sets", SOUND, 26),
        ("adapter_sets_code", SOUND, 26),
        ("adapter_deobfuscation", SOUND, 10),
    ],
)
def test_the_rows_of_each_experiment(name: str, protocol: Protocol, n_rows: int) -> None:
    asked = EXPERIMENTS[name]
    assert len(asked.probes(protocol, anatomy(30))) == n_rows
    assert asked.held_out
    if name not in OF_CHAPTERS_18_AND_19:
        assert (asked.families, asked.prompts_per_family) == (FAMILIES, 12)
    assert {(e.name, p) for e, p in OF_ADAPTERS} >= {(name, protocol)}
