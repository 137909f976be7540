"""Measuring: one planted model from question to evidence, and everything that can go wrong on the way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import latency, measure
from harness.anatomy import Anatomy
from harness.assessment import assess
from harness.claim import Claim
from harness.edits import erase, skip
from harness.effects import bit_equal
from harness.engine import climb, fused, naive, readout, sweep
from harness.engine.blocks import Stack
from harness.engine.parity import ParityError
from harness.engine.sweep import NonFiniteLogits
from harness.errors import plain_errors
from harness.evidence import Evidence, EvidenceCorrupt, read, to_text
from harness.experiments import EXPERIMENTS, NO_OP, skip_everything
from harness.measure import Subject
from harness.protocols import Protocol
from harness.store import Store, StoreUnwritable
from harness.verdicts.criteria import HubIs
from harness.verdicts.verdict import Verdict
from tasks.sampling import NotEnoughPrompts
from tasks.suites import SUITES

SWEEP, EXIT, LATENCY = (EXPERIMENTS[n] for n in ("layer_sweep", "early_exit", "skip_latency"))
PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
HUB = 2

HUB_CLAIM = Claim(
    id="hub",
    sentence="L2 is the hub.",
    source="planted",
    falsified_by="another block above it",
    models=("planted_hub",),
    criteria={SOUND: (HubIs(layer=HUB, rationale="planted"),)},
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that the tests of finished measurements share."""
    return Store(root=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def whole(subject: Subject, kept: Store) -> Evidence:
    """The sound layer sweep with seed 42, measured without incident."""
    return measure.measure(subject, SWEEP, SOUND, 42, kept)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("measured again")


def verdict(evidence: Evidence) -> tuple[Verdict, str]:
    judgement = assess([HUB_CLAIM], "planted_hub", SOUND, (42,), lambda *_: evidence)["hub"]
    return judgement.verdict, judgement.sentence


# A measurement without incident


def test_the_table_holds_every_block_and_the_whole_suite(whole: Evidence) -> None:
    effects = whole.effects
    assert effects.probes == tuple(skip(i) for i in range(4))
    assert set(effects.families) == {f.name for f in SUITES["full"]}
    assert len(effects.prompts) == 10 * len(SUITES["full"])
    assert {p.seed for p in effects.prompts} == {42}
    assert effects.finite()
    assert (effects.metrics["kl_nats"] > -1e-6).all()


def test_the_table_is_what_a_hooked_run_gives(subject: Subject, whole: Evidence) -> None:
    """Prompt by prompt with the oracle: text, tokens and answer belong to the numbers beside them."""
    encode = subject.loaded.encode
    for column in (0, 37, 119):
        prompt = whole.effects.prompts[column]
        ids = encode(prompt.text)
        (answer,) = encode(prompt.text + prompt.answer)[len(ids) :]
        (foil,) = encode(prompt.text + prompt.foil)[len(ids) :]
        base = naive.run(subject.loaded.model, ids, None)
        assert prompt.n_tokens == len(ids)
        logprobs = torch.log_softmax(base, dim=-1)
        for name, value in (
            ("answer_logprob", logprobs[answer]),
            ("foil_logprob", logprobs[foil]),
            ("entropy_nats", -(logprobs.exp() * logprobs).sum()),
        ):
            assert whole.effects.baseline[name][column] == pytest.approx(float(value), abs=1e-4)
        for row, probe in enumerate(whole.effects.probes):
            expected = naive.measure(base, naive.run(subject.loaded.model, ids, probe), answer)
            for name, value in expected.items():
                assert whole.effects.metrics[name][row, column] == pytest.approx(value, abs=1e-4), name


def test_the_planted_block_is_found(whole: Evidence) -> None:
    means = whole.effects.metrics["kl_nats"].mean(axis=1)
    assert int(means.argmax()) == HUB
    assert verdict(whole)[0] is Verdict.SUPPORTED


@pytest.mark.parametrize("experiment", [SWEEP, EXPERIMENTS["layer_sets"], EXIT], ids=lambda e: e.name)
@pytest.mark.parametrize("protocol", Protocol)
def test_every_check_is_made_and_has_a_sane_value(
    subject: Subject, kept: Store, experiment: Any, protocol: Protocol
) -> None:
    evidence = measure.measure(subject, experiment, protocol, 42, kept)
    checks = {c.name: c for c in evidence.checks}
    assert evidence.failed == ()
    assert checks["finite"].value == 1.0
    assert 0 <= checks["no_op"].value < 1e-6
    assert checks["positive_control"].value > 1.0
    assert 0 < checks["parity"].value < 1e-4
    assert 0 <= checks["base_accuracy"].value <= 1
    assert not checks["base_accuracy"].gate
    assert ("final_exit" in checks) == (experiment is EXIT and protocol is SOUND)
    assert ("output_depends_on_prompt" in checks) == (experiment is SWEEP)


def test_a_skipped_output_depends_on_the_prompt_and_an_erased_one_need_not(
    subject: Subject, kept: Store, whole: Evidence
) -> None:
    erased = measure.measure(subject, SWEEP, PUBLISHED, 42, kept).check("output_depends_on_prompt")
    skipped = whole.check("output_depends_on_prompt")
    assert skipped is not None
    assert skipped.value > 1.0
    assert skipped.gate
    assert erased is not None
    assert erased.value == pytest.approx(0.0, abs=1e-6)
    assert (erased.passed, erased.gate) == (False, False)


def test_the_record_says_what_was_asked_of_what(subject: Subject, whole: Evidence) -> None:
    question = whole.question
    assert question == subject.question(SWEEP, SOUND, 42)
    assert question.definition == SWEEP.definition(SOUND, Anatomy(n_layers=4))
    assert question.weights_digest == subject.loaded.weights_digest
    assert (question.dtype, question.device, question.n_layers) == ("float32", "cpu", 4)
    assert whole.provenance["source"] == "a local checkpoint"
    assert whole.provenance["seconds"] >= 0
    assert len(whole.summary) == 4


def test_the_file_is_small_and_names_no_folder(whole: Evidence, kept: Store, planted_dir: Path) -> None:
    text = kept.path(whole.question).read_text(encoding="utf-8")
    assert text == to_text(whole)
    assert len(text) < 150_000
    assert str(planted_dir) not in text
    assert str(Path(measure.__file__).parent.parent) not in text


def test_the_second_time_it_comes_from_the_store(
    subject: Subject, kept: Store, whole: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "sweep", refuse)
    monkeypatch.setattr(measure, "draw_suite", refuse)
    assert to_text(measure.measure(subject, SWEEP, SOUND, 42, kept)) == to_text(whole)
    with pytest.raises(AssertionError, match="measured again"):
        measure.measure(subject, SWEEP, SOUND, 42, kept, remeasure=True)


def test_remeasuring_gives_the_same_table_to_the_bit(
    subject: Subject, whole: Evidence, tmp_path: Path
) -> None:
    store = Store(root=tmp_path)
    store.put(replace(whole, provenance={"date": "2020-01-01"}))
    again = measure.measure(subject, SWEEP, SOUND, 42, store, remeasure=True)
    assert bit_equal(again.effects, whole.effects)
    assert store.get(whole.question) is not None
    assert read(store.path(whole.question)).provenance["date"] != "2020-01-01"


def test_a_damaged_answer_is_refused_and_mended_by_remeasuring(
    subject: Subject, whole: Evidence, tmp_path: Path
) -> None:
    store = Store(root=tmp_path)
    path = store.put(whole)
    path.write_text(path.read_text()[:-50])
    with pytest.raises(EvidenceCorrupt, match=path.name):
        measure.measure(subject, SWEEP, SOUND, 42, store)
    measure.measure(subject, SWEEP, SOUND, 42, store, remeasure=True)
    assert store.get(whole.question) is not None


def test_another_seed_draws_other_prompts(subject: Subject, kept: Store, whole: Evidence) -> None:
    other = measure.measure(subject, SWEEP, SOUND, 137, kept)
    assert not bit_equal(other.effects, whole.effects)
    mine, theirs = ({p.text for p in e.effects.prompts} for e in (whole, other))
    assert len(mine & theirs) < len(mine) / 2
    assert {p.seed for p in other.effects.prompts} == {137}


def test_progress_reaches_its_total(subject: Subject, tmp_path: Path) -> None:
    bars: list[tuple[str, int, list[float]]] = []

    @contextmanager
    def bar(label: str, total: int) -> Iterator[Callable[[float], None]]:
        bars.append((label, total, []))
        yield bars[-1][2].append

    measure.measure(subject, SWEEP, SOUND, 42, Store(root=tmp_path), progress=bar)
    ((label, total, steps),) = bars
    assert label == "planted_hub layer_sweep sound seed42"
    assert total == (4 + 3) * 120
    assert sum(steps) == pytest.approx(total)


# Interrupted


def interrupt_after(groups: int) -> Callable[[str, int], Any]:
    """A progress bar on which Ctrl-C is pressed in the group after `groups` whole ones."""

    @contextmanager
    def bar(_: str, __: int) -> Iterator[Callable[[float], None]]:
        layers = 0

        def advance(cells: float) -> None:
            nonlocal layers
            layers += cells > 0
            if layers > 4 * groups + 2:
                raise KeyboardInterrupt

        yield advance

    return bar


@pytest.mark.parametrize("groups", [0, 1, 3, 7])
def test_an_interrupted_sweep_goes_on_where_it_stopped(
    subject: Subject, whole: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    store = Store(root=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure.measure(subject, SWEEP, SOUND, 42, store, progress=interrupt_after(groups))
    question = subject.question(SWEEP, SOUND, 42)
    assert store.get(question) is None
    partial = store.get_partial(question, (7, 120))
    done = 0 if partial is None else int(partial.done.sum())
    assert (done > 0) == (groups > 0)

    asked: list[list[int]] = []

    def spy(*args: Any, **kwargs: Any) -> Any:
        asked.append(list(kwargs["only"]))
        return sweep.sweep(*args, **kwargs)

    monkeypatch.setattr(measure, "sweep", spy)
    resumed = measure.measure(subject, SWEEP, SOUND, 42, store)

    assert len(asked[0]) == 120 - done
    assert bit_equal(resumed.effects, whole.effects)
    assert not list(tmp_path.rglob("*.npz"))


def test_an_interruption_between_groups_loses_none(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the second group is being written: the first is kept."""
    store, put, calls = Store(root=tmp_path), Store.put_partial, 0

    def put_partial(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        put(*args)

    monkeypatch.setattr(Store, "put_partial", put_partial)
    with pytest.raises(KeyboardInterrupt):
        measure.measure(subject, EXIT, SOUND, 42, store)
    partial = store.get_partial(subject.question(EXIT, SOUND, 42), (7, 120))
    assert partial is not None
    assert 0 < partial.done.sum() < 120
    assert np.isfinite(partial.metrics["kl_nats"][:, partial.done]).all()
    assert np.isnan(partial.metrics["kl_nats"][:, ~partial.done]).all()


def test_a_disk_that_fills_up_in_mid_sweep_is_told_and_loses_nothing(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, make, calls = Store(root=tmp_path), tempfile.mkstemp, 0

    def mkstemp(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(*args, **kwargs)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    with pytest.raises(StoreUnwritable, match=r"No space left on device.*--store DIR"):
        measure.measure(subject, EXIT, SOUND, 42, store)
    partial = store.get_partial(subject.question(EXIT, SOUND, 42), (7, 120))
    assert partial is not None
    assert partial.done.sum() > 1


def test_everything_done_but_not_written_is_not_swept_again(
    subject: Subject, whole: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(root=tmp_path)
    monkeypatch.setattr(Store, "put", refuse)
    with pytest.raises(AssertionError, match="measured again"):
        measure.measure(subject, SWEEP, SOUND, 42, store)
    monkeypatch.undo()
    monkeypatch.setattr(measure, "sweep", refuse)
    again = measure.measure(subject, SWEEP, SOUND, 42, store)
    assert bit_equal(again.effects, whole.effects)


# Two runs at once

OTHER_RUN = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from harness import measure
from harness.engine import sweep
from harness.experiments import EXPERIMENTS
from harness.models import load
from harness.models.spec import LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.store import Store

model, store, cache, marker = map(Path, sys.argv[1:])
spec = ModelSpec(id="planted_hub", title="Planted hub", source=LocalDir(path=model), license="none")

def slow(*args, **kwargs):
    marker.touch()
    time.sleep(1)
    return sweep.sweep(*args, **kwargs)

measure.sweep = slow
subject = measure.Subject(load(spec, cache_dir=cache))
measure.measure(subject, EXPERIMENTS["layer_sweep"], Protocol.SOUND, 42, Store(root=store))
"""


def test_two_runs_at_once_measure_once(
    subject: Subject, whole: Evidence, planted_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is in mid-sweep when this one asks: this one waits, then takes the other's answer."""
    store, marker = Store(root=tmp_path / "store"), tmp_path / "sweeping"
    arguments = [str(p) for p in (planted_dir, store.root, tmp_path / "cache", marker)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([sys.executable, "-c", OTHER_RUN, *arguments], env=environment) as other:
        while not marker.exists():
            assert other.poll() is None, "the other run ended early"
            time.sleep(0.05)
        assert store.get(whole.question) is None
        monkeypatch.setattr(measure, "sweep", refuse)
        found = measure.measure(subject, SWEEP, SOUND, 42, store)
    assert other.returncode == 0
    assert bit_equal(found.effects, whole.effects)
    assert len(list(store.root.rglob("*.json"))) == 1


# A broken instrument


def broken_edit(change: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    intact = climb.edited_post

    def edited_post(*args: Any) -> torch.Tensor:
        return change(intact, *args)

    return edited_post


def does_nothing(
    _: Any, blocks: Any, layer: int, edit: Any, run: Any, donors: Any, view: Any
) -> torch.Tensor:
    return blocks.run(layer, run.resid_pre, view).resid_post if view.edited is None else run.resid_post


def erases(intact: Any, blocks: Any, layer: int, edit: Any, run: Any, *rest: Any) -> torch.Tensor:
    return torch.zeros_like(run.resid_pre) if edit != NO_OP else intact(blocks, layer, edit, run, *rest)


def drifts(intact: Any, *args: Any) -> torch.Tensor:
    out = intact(*args)
    return out + 0.02 * torch.randn(out.shape, generator=torch.Generator().manual_seed(0))


def everywhere(intact: Any, blocks: Any, layer: int, edit: Any, run: Any, donors: Any, view: Any) -> Any:
    return intact(blocks, layer, edit, run, donors, replace(view, edited=None))


def deaf(intact: Any, blocks: Any, layer: int, edit: Any, run: Any, *rest: Any) -> torch.Tensor:
    return run.resid_post if edit.donor == "other_task" else intact(blocks, layer, edit, run, *rest)


def overflows(intact: Any, blocks: Any, layer: int, edit: Any, *rest: Any) -> torch.Tensor:
    return intact(blocks, layer, edit, *rest) * (float("nan") if edit == skip(1) else 1.0)


def unwidened(stack: Stack, hidden: torch.Tensor) -> torch.Tensor:
    """Logits in a short type, too near the model's own for its parity on load to tell."""
    return (hidden.bfloat16() @ stack.unembedding.bfloat16().T).float()


def of_one_family(items: Any, records: Any) -> Any:
    """The families' names are lost: one prompt stands for all of them, and is its own foreign donor."""
    return one_a_family(items, [replace(record, family="") for record in records])


one_a_family = measure._one_a_family
EDITED_POST = (climb, "edited_post")
AFTER_ANOTHER = ("positive_control", "output_depends_on_prompt")
"""Gates that are not the first to fail by what breaks them here: the verdict names another. It names all others."""


@pytest.mark.parametrize(
    ("place", "broken", "gate"),
    [
        (EDITED_POST, broken_edit(does_nothing), "positive_control"),
        (EDITED_POST, broken_edit(erases), "output_depends_on_prompt"),
        (EDITED_POST, broken_edit(drifts), "no_op"),
        (EDITED_POST, broken_edit(overflows), "finite"),
        (EDITED_POST, broken_edit(everywhere), "unread_position"),
        (EDITED_POST, broken_edit(deaf), "foreign_donor"),
        ((Stack, "_logits"), unwidened, "noise_floor"),
        ((measure, "_one_a_family"), of_one_family, "donors_differ"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_broken_instrument_fails_a_gate_and_every_verdict_is_invalid(
    subject: Subject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    broken: Any,
    gate: str,
) -> None:
    monkeypatch.setattr(*place, broken)
    afresh = Subject(subject.loaded)  # what was found of the unedited model is kept with the subject
    evidence = measure.measure(afresh, SWEEP, SOUND, 42, Store(root=tmp_path))
    assert gate in {c.name for c in evidence.failed}
    assert (evidence.failed[0].name == gate) == (gate not in AFTER_ANOTHER)
    found, sentence = verdict(evidence)
    assert found is Verdict.INVALID
    assert evidence.failed[0].name in sentence
    assert "planted_hub layer_sweep sound seed42" in sentence
    assert evidence.failed[0].sentence in sentence
    again = read(Store(root=tmp_path).path(evidence.question))
    assert [c.name for c in again.failed] == [c.name for c in evidence.failed]


def test_an_exit_that_is_not_the_full_model_fails_its_gate(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The final norm forgotten, as the atlas did. The planted norm is the identity but for its scale."""
    intact = readout.Readout.__call__

    def forgetful(self: Any, base: Any, summit: Any, *args: Any, **kwargs: Any) -> Any:
        return intact(self, base, replace(summit, edited=summit.edited + 0.05), *args, **kwargs)

    monkeypatch.setattr(readout.Readout, "__call__", forgetful)
    evidence = measure.measure(subject, EXIT, SOUND, 42, Store(root=tmp_path))
    assert "final_exit" in {c.name for c in evidence.failed}


def test_an_engine_that_is_not_the_model_is_refused_on_load(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact = fused.FusedBlocks.run

    def halved(*args: Any, **kwargs: Any) -> Any:
        run = intact(*args, **kwargs)
        return replace(run, resid_post=run.resid_mid + 0.5 * run.mlp_out)

    monkeypatch.setattr(fused.FusedBlocks, "run", halved)
    with pytest.raises(ParityError, match="engine's logits differ") as caught:
        Subject(subject.loaded)
    assert isinstance(caught.value, plain_errors())


def test_the_no_op_is_one_and_the_positive_control_leaves_only_the_embedding(subject: Subject) -> None:
    """Both controls against the oracle, so that the gates rest on something."""
    model, ids = subject.loaded.model, subject.loaded.encode("The capital of France is Paris")
    embedded = model.get_input_embeddings()(torch.tensor(ids))[-1]
    alone = model.lm_head(model.model.norm(embedded)).detach().double()
    torch.testing.assert_close(naive.run(model, ids, skip_everything(4)), alone, rtol=1e-5, atol=1e-4)
    resid: list[torch.Tensor] = []
    with naive.activations(model, NO_OP.sites) as seen:  # type: ignore[union-attr]
        base = naive.run(model, ids, None)
        resid += seen.values()
    torch.testing.assert_close(naive.run(model, ids, NO_OP, lambda _: resid[0]), base, rtol=0, atol=0)


# Bad input


def test_a_tokenizer_that_splits_every_answer_is_told_in_one_line(subject: Subject, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytewise = Tokenizer(
        models.BPE(vocab={b: i for i, b in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrap: Any = PreTrainedTokenizerFast
    split = Subject(replace(subject.loaded, tokenizer=wrap(tokenizer_object=bytewise)))
    with pytest.raises(NotEnoughPrompts, match=r"family '\w+': 10 prompts asked, \d available") as caught:
        measure.measure(split, SWEEP, SOUND, 42, Store(root=tmp_path))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, plain_errors())
    assert not list(tmp_path.rglob("*.json"))


@pytest.fixture
def spoiled(subject: Subject) -> Iterator[Callable[[float], None]]:
    """spoiled(x) writes x into one weight of the shared model until the test ends."""
    weight = subject.loaded.model.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        before = weight.clone()

        def spoil(value: float) -> None:
            weight[0, 0] = value

        yield torch.no_grad()(spoil)
        weight.copy_(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told_in_one_line(
    subject: Subject, spoiled: Callable[[float], None], tmp_path: Path, value: float
) -> None:
    spoiled(value)
    with pytest.raises(NonFiniteLogits, match=r"NaN or infinite logits on .*check the weights") as caught:
        measure.measure(subject, SWEEP, SOUND, 42, Store(root=tmp_path))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, plain_errors())
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_model_of_one_or_two_blocks_can_be_measured(
    n_layers: int, subject: Subject, tmp_path: Path
) -> None:
    from harness.models import load
    from harness.models.spec import LocalDir, ModelSpec
    from harness.planted import build_hub

    tokenizer: Any = subject.loaded.tokenizer
    place = build_hub(tmp_path / "model", layer=0, n_layers=n_layers, tokenizer=tokenizer)
    spec = ModelSpec(id="shallow", title="Shallow", source=LocalDir(path=place), license="none")
    shallow = Subject(load(spec, cache_dir=tmp_path / "cache"))
    untrained = [experiment for experiment in EXPERIMENTS.values() if not experiment.adapters]
    for experiment in untrained:  # the others: test_adapter_measuring.py
        for protocol in experiment.protocols:
            evidence = measure.measure(shallow, experiment, protocol, 42, Store(root=tmp_path / "store"))
            assert evidence.effects.finite()
            assert evidence.failed == ()


# Latency


@pytest.fixture
def calls(tiny: Callable[..., nn.Module]) -> Iterator[tuple[nn.Module, dict[int, int], list[torch.Tensor]]]:
    """A small model, the calls of each block's attention, and the last logits of each run."""
    model = tiny("llama", layers=4, seed=3)
    counted: dict[int, int] = dict.fromkeys(range(4), 0)
    logits: list[torch.Tensor] = []

    def count(layer: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            counted[layer] += 1

        return hook

    blocks: Any = model.model.layers  # type: ignore[union-attr]
    handles = [block.self_attn.register_forward_hook(count(i)) for i, block in enumerate(blocks)]
    head: Any = model.lm_head
    handles.append(head.register_forward_hook(lambda *args: logits.append(args[2][0, -1].double())))
    yield model, counted, logits
    for handle in handles:
        handle.remove()


IDS = (5, 17, 3, 80, 41, 2)


@pytest.mark.parametrize(
    ("edit", "ran"), [(skip(1, 2), {0: 5, 1: 3, 2: 3, 3: 5}), (erase(1, 2), {0: 5, 1: 5, 2: 5, 3: 5})]
)
def test_a_skip_is_timed_without_the_block_and_an_erase_with_it(
    calls: Any, monkeypatch: pytest.MonkeyPatch, edit: Any, ran: dict[int, int]
) -> None:
    """One run to warm up, two plain, two edited: a removed block takes no part in the edited ones."""
    model, counted, logits = calls
    monkeypatch.setattr(latency, "REPEATS", 2)
    advanced: list[float] = []
    times = latency.speedups(model, [IDS], edit, advanced.append)
    assert counted == ran
    assert times.shape == (1,)
    assert times[0] > 0
    assert advanced == [1.0]

    base, edited = naive.run(model, IDS, None), naive.run(model, IDS, edit)
    for got, expected in zip(logits[:5], (base, base, edited, base, edited), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("edit", [skip(1, 2), erase(1, 2)])
def test_timing_leaves_the_model_as_it_was_to_the_bit(
    calls: Any, monkeypatch: pytest.MonkeyPatch, edit: Any
) -> None:
    model = calls[0]
    monkeypatch.setattr(latency, "REPEATS", 1)
    before = naive.run(model, IDS, None)
    hooks = [len(b._forward_hooks) for b in model.model.layers]
    latency.speedups(model, [IDS], edit)
    assert torch.equal(naive.run(model, IDS, None), before)
    assert [len(b._forward_hooks) for b in model.model.layers] == hooks
    assert all("forward" not in vars(block) for block in model.model.layers)


def test_an_interrupted_timing_gives_the_blocks_back(calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = calls[0]
    before = naive.run(model, IDS, None)
    runs = 0
    intact = latency._time

    def interrupted(*args: Any) -> float:
        nonlocal runs
        runs += 1
        if runs == 3:  # within the first edited run
            raise KeyboardInterrupt
        return intact(*args)

    monkeypatch.setattr(latency, "_time", interrupted)
    with pytest.raises(KeyboardInterrupt):
        latency.speedups(model, [IDS], skip(1, 2))
    assert torch.equal(naive.run(model, IDS, None), before)


def test_leaving_out_most_blocks_is_faster_and_a_hook_is_not(tiny: Callable[..., nn.Module]) -> None:
    model = tiny("llama", layers=8)
    assert np.median(latency.speedups(model, [IDS] * 3, skip(*range(1, 8)))) > 1.5
    assert np.median(latency.speedups(model, [IDS] * 3, erase(*range(1, 8)))) < 1.5


def test_a_timed_experiment_keeps_speedups_and_no_checks_of_the_sweep(subject: Subject, kept: Store) -> None:
    evidence = measure.measure(subject, LATENCY, SOUND, 42, kept)
    assert set(evidence.effects.metrics) == {"speedup"}
    assert evidence.effects.metrics["speedup"].shape == (1, 2 * len(SUITES["full"]))
    assert (evidence.effects.metrics["speedup"] > 0).all()
    assert evidence.checks == ()
    assert kept.get(evidence.question) is not None
