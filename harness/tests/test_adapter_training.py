"""Training: what is learnt is what the weights, the items, the recipe and the seed say, and it is kept whole."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.func import functional_call

import harness.adapters.training as module
from harness.adapters.artifacts import AdapterKey, Adapters, read_adapter, training_items
from harness.adapters.errors import AdapterError, AdapterMismatch
from harness.adapters.items import (
    Item,
    for_training,
    held_out,
    is_held_out,
    items_digest,
    training_item,
    training_prompts,
)
from harness.adapters.training import Trained, checkpoints, module_names, parameters_digest, train
from harness.adapters.updates import updates_of
from harness.adapters.values import ATTENTION, LINEAR, Recipe
from harness.edits import Stream
from harness.engine.architectures import resolve_blocks
from harness.errors import plain_errors
from harness.models import LocalDir, ModelSpec, load
from harness.models.spec import WeightsCorrupt
from tasks.families.copying import FAMILY as COPYING
from tasks.sampling import NotEnoughPrompts
from tasks.tokens import verify_pair

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")
RECIPE = Recipe(
    name="tiny", rank=2, alpha=4, steps=6, batch=3, items=5, warmup=2, learning_rate=1e-2, checkpoints=(0, 6)
)


def made(n: int = 5, *, seed: int = 0, equal: bool = False) -> list[Item]:
    """Prompts of random tokens and, unless `equal`, of 4 to 9 tokens; answers differ."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(3, 97, (n, 9), generator=generator).tolist()
    return [
        Item(ids=tuple(row[: 6 if equal else 4 + i % 6]), answer=3 + i * 7 % 90) for i, row in enumerate(rows)
    ]


def encode(text: str) -> list[int]:
    """A tokenizer of words with the space before them, and of single other characters."""
    return [zlib.crc32(piece.encode()) for piece in re.findall(r" ?\w+|[^\w]", text)]


def equal(left: Trained, right: Trained) -> bool:
    """To the bit."""
    return left.losses == right.losses and all(
        left.states[step].keys() == right.states[step].keys()
        and all(torch.equal(value, right.states[step][key]) for key, value in state.items())
        for step, state in left.states.items()
    )


# Items


def test_half_of_all_texts_are_held_out_by_their_hash():
    texts = [f"text number {i}" for i in range(4000)]
    assert [is_held_out(text) for text in texts] == [
        hashlib.sha256(text.encode()).hexdigest()[0] in "01234567" for text in texts
    ]
    assert sum(map(is_held_out, texts)) == pytest.approx(2000, abs=150)


def test_every_pair_is_for_training_or_held_out_or_breaks_a_rule():
    sides = Counter()
    for pair in COPYING.candidates():
        broken, train_on, measure_on = (rule(pair, encode) for rule in (verify_pair, for_training, held_out))
        if broken:
            assert train_on == measure_on == broken
        elif is_held_out(pair.clean.text):
            assert (train_on.rule, measure_on) == ("not held out", None)
        else:
            assert (train_on, measure_on.rule) == (None, "held out")
            assert repr(pair.clean.text) in measure_on.reason
        sides["broken" if broken else "held out" if train_on else "training"] += 1
    assert min(sides["held out"], sides["training"]) > 50


def test_training_prompts_are_distinct_balanced_and_never_held_out():
    prompts = training_prompts(COPYING, 24, 7, encode)
    assert len({prompt.text for prompt in prompts}) == 24
    assert not any(is_held_out(prompt.text) for prompt in prompts)
    per_template = Counter(prompt.template for prompt in prompts)
    assert max(per_template.values()) - min(per_template.values()) <= 1
    assert prompts == training_prompts(COPYING, 24, 7, encode)
    assert prompts != training_prompts(COPYING, 24, 8, encode)
    for prompt in prompts:
        item = training_item(prompt, encode)
        assert encode(prompt.text + prompt.answer) == [*item.ids, item.answer]
    with pytest.raises(NotEnoughPrompts, match="5000 prompts asked"):
        training_prompts(COPYING, 5000, 7, encode)


# Which modules


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_block_and_module_is_one_linear_by_its_name(tiny, architecture):
    model = tiny(architecture)
    found = module_names(model, replace(RECIPE, modules=LINEAR))
    attention = dict(zip(ATTENTION, ("q_proj", "k_proj", "v_proj", "o_proj"), strict=True))
    mlp = {Stream.GATE: "gate_proj", Stream.UP: "up_proj", Stream.DOWN: "down_proj"}
    expected = {}
    for layer in range(4):
        names = {s: f"self_attn.{name}" for s, name in attention.items()}
        names |= {s: f"mlp.{name}" for s, name in mlp.items()}
        if architecture == "lfm2":
            convolution = layer % 2 == 0
            names[Stream.O] = "conv.out_proj" if convolution else "self_attn.out_proj"
            names |= {Stream.GATE: "feed_forward.w1", Stream.UP: "feed_forward.w3"}
            names |= {Stream.DOWN: "feed_forward.w2"}
            names = {s: n for s, n in names.items() if not (convolution and n.startswith("self_attn"))}
        expected |= {(layer, s): f"model.layers.{layer}.{name}" for s, name in names.items()}
    assert found == expected
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in found.values())
    trained = train(model, made(equal=True), replace(RECIPE, modules=LINEAR, steps=2, checkpoints=(0, 2)), 0)
    assert set(updates_of(trained.states[2], 2.0)) == set(expected)


def test_only_the_named_blocks_and_modules_are_trained(tiny):
    recipe = replace(RECIPE, modules=(Stream.V, Stream.UP), layers=(1, 3), steps=3, checkpoints=(0, 3))
    updates = updates_of(train(tiny("llama"), made(), recipe, 0).states[3], recipe.scale)
    assert set(updates) == {(layer, s) for layer in (1, 3) for s in (Stream.V, Stream.UP)}
    assert all(factors.delta.any() for factors in updates.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": (1, 4)}, r"names blocks \(1, 4\) of a model of 4"),
        ({"layers": (0,), "modules": (Stream.Q,)}, "trains q, which no block it names has"),
        ({"items": 6}, "is for 6 items; 5 were given"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(tiny, changes, message):
    with pytest.raises(AdapterError, match=message):
        train(tiny("lfm2"), made(), replace(RECIPE, **changes), 0)
    assert issubclass(AdapterError, plain_errors())


def test_a_loss_that_is_no_number_ends_the_training(tiny):
    recipe = replace(RECIPE, learning_rate=1e30, warmup=0)
    with pytest.raises(AdapterError, match="the loss of recipe tiny is nan at step 2: lower its learning"):
        train(tiny("llama"), made(), recipe, 0)


# What is learnt


def reference(model: nn.Module, items: list[Item], recipe: Recipe, start: dict) -> tuple[dict, float]:
    """The same training without peft, batches or padding: every batch is all items, one after another."""
    names = module_names(model, recipe)
    base = dict(model.named_parameters())
    factors = {key: value.clone().requires_grad_(True) for key, value in start.items()}
    optimizer = torch.optim.Adam(factors.values())

    def loss() -> torch.Tensor:
        changed = {
            f"{name}.weight": base[f"{name}.weight"]
            + recipe.alpha / recipe.rank * factors[f"{layer}.{s}.B"] @ factors[f"{layer}.{s}.A"]
            for (layer, s), name in names.items()
        }
        each = []
        for item in items:
            row = torch.tensor([[*item.ids, item.answer]])
            logits = functional_call(model, changed, (row[:, :-1],)).logits[0]
            losses = nn.functional.cross_entropy(logits, row[0, 1:], reduction="none")
            each.append(losses[-1:] if recipe.loss_on == "answer" else losses)
        return torch.cat(each).mean()

    for step in range(recipe.steps):
        rising, falling = step / recipe.warmup, (recipe.steps - step) / (recipe.steps - recipe.warmup)
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * min(rising, falling)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return {key: value.detach() for key, value in factors.items()}, loss().item()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_training_is_that_of_a_plain_loop_without_peft_or_padding(tiny, architecture, loss_on):
    model, items = tiny(architecture, layers=2), made()
    recipe = replace(RECIPE, batch=5, loss_on=loss_on, modules=(Stream.K, Stream.O, Stream.UP))
    trained = train(model, items, recipe, 3)
    factors, loss = reference(model, items, recipe, trained.states[0])
    ours, theirs = (updates_of(state, recipe.scale) for state in (trained.states[6], factors))
    for place, update in theirs.items():
        off = (ours.delta(*place) - update.delta).norm() / update.delta.norm()
        assert off < 1e-3, (place, off)
    assert trained.losses[6] == pytest.approx(loss, abs=1e-4)
    assert trained.losses[6] < trained.losses[0] - 0.1


def test_twelve_items_are_learnt(tiny):
    recipe = replace(
        RECIPE, rank=8, alpha=16, modules=LINEAR, items=12, batch=4, steps=60, checkpoints=(0, 60)
    )
    losses = train(tiny("llama"), made(12), recipe, 0).losses
    assert losses[60] < 0.1 * losses[0]


def test_an_adapter_starts_at_nothing_and_arms_of_one_seed_start_alike(tiny):
    model, items = tiny("llama"), made()
    small = train(model, items, replace(RECIPE, modules=(Stream.Q,), steps=1, checkpoints=(0, 1)), 0).states[
        0
    ]
    large = train(
        model, items, replace(RECIPE, rank=4, modules=LINEAR, steps=1, checkpoints=(0, 1)), 0
    ).states[0]
    others = [train(model, made(seed=s), replace(RECIPE, steps=1, checkpoints=(0, 1)), 1 - s) for s in (0, 1)]
    for layer in range(4):
        assert not large[f"{layer}.q.B"].any()
        a = large[f"{layer}.q.A"]
        assert torch.equal(small[f"{layer}.q.A"], a[:2])
        assert not torch.equal(a[:2], large[f"{layer}.k.A"][:2])
        assert not any(torch.equal(other.states[0][f"{layer}.q.A"], a[:2]) for other in others)
    first = torch.cat([value.flatten() for key, value in large.items() if key.endswith("q.A")])
    bound = 32**-0.5  # peft's: kaiming_uniform_(a=sqrt(5)) over 32 inputs
    assert bound * 0.98 < first.abs().max() <= bound
    assert first.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_every_pass_takes_every_item_once_and_in_a_new_order(tiny):
    model, items = copy.deepcopy(tiny("llama")), made(6, equal=True)
    seen: list[int] = []
    number = {item.ids: i for i, item in enumerate(items)}

    def watch(_: nn.Module, args: tuple, given: dict) -> None:
        if torch.is_grad_enabled():
            seen.extend(number[tuple(row)] for row in given["input_ids"].tolist())

    model.register_forward_pre_hook(watch, with_kwargs=True)
    recipe = replace(RECIPE, items=6, batch=4, steps=9, checkpoints=(0, 9))
    train(model, items, recipe, 0)
    passes = [tuple(seen[start : start + 6]) for start in range(0, 36, 6)]
    assert [sorted(order) for order in passes] == [list(range(6))] * 6
    assert len(set(passes)) == 6
    seen.clear()
    train(model, items, recipe, 1)
    assert tuple(seen[:6]) != passes[0]


def test_training_depends_on_nothing_else_and_changes_nothing(tiny):
    model, items = tiny("qwen2"), made()
    before, training = parameters_digest(model), model.training
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = train(model, items, RECIPE, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert equal(first, train(model, items, RECIPE, 0))
    assert not equal(first, train(model, items, RECIPE, 1))
    assert parameters_digest(model) == before
    assert model.training == training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_there_is_no_dropout(tiny):
    plain = tiny("llama")
    dropping = copy.deepcopy(plain)
    for block in dropping.model.layers:
        block.self_attn.attention_dropout = 0.5
    dropping.train()
    x = torch.tensor([[5, 6, 7, 8]])
    assert not torch.equal(dropping(x).logits, dropping(x).logits)
    assert equal(train(plain, made(), RECIPE, 0), train(dropping, made(), RECIPE, 0))
    assert dropping.model.layers[0].self_attn.attention_dropout == 0.5


def test_a_change_to_the_model_handed_in_is_noticed(tiny, monkeypatch):
    model = copy.deepcopy(tiny("llama"))
    monkeypatch.setattr(module, "copy", SimpleNamespace(deepcopy=lambda given: given))
    with pytest.raises(AdapterError, match="training changed the model it was given"):
        train(model, made(), RECIPE, 0)


def test_parameters_digest_sees_one_bit(tiny):
    model = copy.deepcopy(tiny("llama"))
    before = parameters_digest(model)
    weight = model.model.layers[3].mlp.up_proj.weight
    weight.data[0, 0] = torch.nextafter(weight.data[0, 0], torch.tensor(9.0))
    assert parameters_digest(model) != before


@pytest.mark.parametrize("architecture", ["llama", "lfm2"])
def test_gradient_checkpointing_gives_the_same_weights_and_computes_twice(tiny, architecture):
    model = copy.deepcopy(tiny(architecture))
    calls = Counter()
    norm = resolve_blocks(model)[1].pre_operator_norm
    norm.register_forward_hook(lambda *_: calls.update([torch.is_grad_enabled()]))
    plain = train(model, made(), RECIPE, 0)
    assert calls[True] == RECIPE.steps
    calls.clear()
    frugal = train(model, made(), RECIPE, 0, gradient_checkpointing=True)
    assert calls[True] == 2 * RECIPE.steps
    for key, value in plain.states[6].items():
        torch.testing.assert_close(frugal.states[6][key], value, rtol=0, atol=1e-5)
    assert frugal.losses == pytest.approx(plain.losses, abs=1e-5)


def test_progress_is_told_every_step_with_its_loss(tiny):
    told: list[tuple[int, int, float]] = []
    recipe = replace(RECIPE, batch=5, checkpoints=(0, 2, 6))
    losses = train(tiny("llama"), made(), recipe, 0, progress=lambda *report: told.append(report)).losses
    assert [(step, steps) for step, steps, _ in told] == [(step, 6) for step in range(1, 7)]
    assert list(losses) == [0, 2, 6]
    assert told[0][2] == pytest.approx(losses[0], abs=1e-5)
    assert told[2][2] == pytest.approx(losses[2], abs=1e-5)


def test_training_goes_on_after_any_checkpoint_with_the_same_bits(tiny):
    recipe = replace(RECIPE, checkpoints=(0, 1, 3, 6))
    model, items = tiny("gemma3_text", layers=2), made()
    whole = list(checkpoints(model, items, recipe, 0))
    for done, last in enumerate(whole):
        rest = list(checkpoints(model, items, recipe, 0, after=last))
        assert [found.step for found in rest] == [1, 3, 6][done:]
        for found, expected in zip(rest, whole[done + 1 :], strict=True):
            assert found.loss == expected.loss
            assert all(torch.equal(found.weights[key], value) for key, value in expected.weights.items())
            assert all(torch.equal(found.moments[key], value) for key, value in expected.moments.items())


# What is kept

KEPT = Recipe(
    name="kept",
    rank=2,
    alpha=4,
    steps=50,
    batch=2,
    items=8,
    learning_rate=1e-2,
    warmup=2,
    checkpoints=(0, 10, 25, 50),
    layers=(0, 2),
    modules=(Stream.Q, Stream.DOWN),
)
KEY = AdapterKey(family="copying", recipe=KEPT, seed=5)


@pytest.fixture(scope="module")
def loaded(planted_dir, tmp_path_factory):
    spec = ModelSpec(id="planted_hub", title="", source=LocalDir(path=planted_dir), license="none")
    return load(spec, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def kept(loaded, tmp_path_factory):
    """A cache with the adapter of KEY in it."""
    root = tmp_path_factory.mktemp("kept")
    Adapters(root=root).get(loaded, KEY)
    return root


@pytest.fixture
def own(kept, tmp_path):
    """A copy of that cache to do harm to, and the adapter's folder in it."""
    shutil.copytree(kept, tmp_path / "cache")
    (record,) = (tmp_path / "cache").rglob("adapter.json")
    return tmp_path / "cache", record.parent


def never(*_: object) -> None:
    raise AssertionError("trained again")


def test_what_is_kept_is_what_was_trained(loaded, kept):
    adapter = Adapters(root=kept).get(loaded, KEY, progress=never)
    items = training_items(loaded, KEY)
    trained = train(loaded.model, items, KEPT, KEY.seed)
    assert adapter.losses == trained.losses
    assert list(adapter.losses) == [0, 10, 25, 50]
    for step, state in trained.states.items():
        expected, found = updates_of(state, KEPT.scale), adapter.updates(step)
        assert list(found) == list(expected)
        for place in expected:
            assert torch.equal(found[place].a, expected[place].a)
            assert torch.equal(found[place].b, expected[place].b)
            assert found[place].scale == 2.0
    assert adapter.updates().norm() == adapter.updates(50).norm() > adapter.updates(10).norm() > 0
    assert adapter.updates(0).norm() == 0
    with pytest.raises(AdapterError, match="no weights of step 11; the recipe keeps"):
        adapter.updates(11)
    facts = json.loads((adapter.directory / "adapter.json").read_text())
    assert adapter.directory.parent == kept / "adapters" / loaded.weights_digest[:12]
    assert facts["weights"] == loaded.weights_digest
    assert facts["items"] == items_digest(items)
    assert Recipe.from_json(facts["recipe"]) == KEPT
    assert set(facts["versions"]) >= {"torch", "peft", "transformers"}
    assert facts["shapes"]["2.q"] == list(loaded.model.model.layers[2].self_attn.q_proj.weight.shape)


def test_a_cache_that_cannot_be_written_is_read(loaded, own, monkeypatch):
    root, _ = own
    monkeypatch.setattr(Path, "mkdir", never)
    monkeypatch.setattr(Path, "write_bytes", never)
    assert Adapters(root=root).get(loaded, KEY, progress=never).losses[50] > 0


@pytest.fixture(scope="module")
def interrupted_once(loaded, tmp_path_factory):
    """A cache in which the training of KEY was interrupted at step 30 of 50."""

    def interrupt(step: int, steps: int, loss: float) -> None:
        if step == 30:
            raise KeyboardInterrupt

    root = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        Adapters(root=root).get(loaded, KEY, progress=interrupt)
    return root


@pytest.fixture
def interrupted(interrupted_once, tmp_path):
    """A copy of that cache."""
    return shutil.copytree(interrupted_once, tmp_path / "cache")


def test_an_interrupted_training_goes_on_to_the_same_bits(loaded, kept, interrupted):
    assert not list(interrupted.rglob("manifest.json"))
    steps: list[int] = []
    resumed = Adapters(root=interrupted).get(loaded, KEY, progress=lambda step, *_: steps.append(step))
    assert steps == list(range(26, 51))
    whole = Adapters(root=kept).get(loaded, KEY, progress=never)
    assert resumed.losses == whole.losses
    assert resumed.directory.name == whole.directory.name
    for name in (f"step-{step:03d}.safetensors" for step in KEPT.checkpoints):
        assert (resumed.directory / name).read_bytes() == (whole.directory / name).read_bytes()
    assert [path.name for path in resumed.directory.parent.iterdir() if path.is_dir()] == [
        resumed.directory.name
    ]


@pytest.mark.parametrize("harm", ["step-025.safetensors", "adapter.json", "versions"])
def test_a_damaged_part_of_an_interrupted_training_is_trained_again(
    loaded, kept, interrupted, harm, monkeypatch
):
    if harm == "versions":
        monkeypatch.setattr("harness.adapters.artifacts._LIBRARIES", ("peft",))
    else:
        (path,) = interrupted.rglob(f"*.partial/{harm}")
        path.write_bytes(path.read_bytes()[:-1])
    steps: list[int] = []
    resumed = Adapters(root=interrupted).get(loaded, KEY, progress=lambda step, *_: steps.append(step))
    assert steps[0] == (11 if harm.startswith("step") else 1)
    assert resumed.losses == Adapters(root=kept).get(loaded, KEY).losses


def test_an_adapter_is_known_by_all_that_it_is_made_of(loaded, own, monkeypatch):
    root, directory = own
    small = replace(KEPT, steps=1, checkpoints=(0, 1))
    others = [
        replace(KEY, seed=6, recipe=small),
        replace(KEY, family="json_schema", recipe=small),
        replace(KEY, recipe=replace(small, alpha=8)),
    ]
    found = {Adapters(root=root).get(loaded, key).directory for key in others}
    assert len(found | {directory}) == 4
    half = replace(loaded, dtype="bfloat16")
    assert Adapters(root=root).get(half, others[0]).directory not in found
    monkeypatch.setattr("harness.adapters.artifacts.training_code", lambda: "another optimiser")
    assert Adapters(root=root).get(loaded, others[0]).directory not in found
    with pytest.raises(AdapterError, match="no task family is named 'copyin'; choose one of: .*copying"):
        Adapters(root=root).get(loaded, replace(KEY, family="copyin"))


@pytest.mark.parametrize("name", ["step-050.safetensors", "adapter.json"])
def test_one_flipped_bit_is_named_with_its_file_and_the_remedy(loaded, own, name):
    root, directory = own
    path, before = directory / name, os.stat(directory / name)
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WeightsCorrupt, match=f"{name} has sha256 .*; delete {directory} and run again"):
        Adapters(root=root).get(loaded, KEY, progress=never).updates()


@pytest.mark.parametrize("name", ["step-050.safetensors", "adapter.json", "manifest.json"])
def test_a_missing_file_is_named(loaded, own, name):
    root, directory = own
    (directory / name).unlink()
    with pytest.raises(WeightsCorrupt, match=f"{name} is missing.*; delete {directory} and run again"):
        Adapters(root=root).get(loaded, KEY, progress=never).updates()


def test_an_adapter_of_another_model_is_refused(loaded, own, tiny):
    _, directory = own
    other = replace(loaded, spec=replace(loaded.spec, id="other"), weights_digest="0123456789abcdef")
    with pytest.raises(
        AdapterMismatch,
        match=rf"adapter of planted_hub \(weights {loaded.weights_digest[:12]}\), not of other "
        rf"\(weights 0123456789ab\); delete {directory}",
    ):
        read_adapter(directory, other, KEY)
    shaped = replace(loaded, model=tiny("llama"), spec=other.spec)
    with pytest.raises(AdapterMismatch, match=r"planted_hub with module 0\.q of shape .* that of other is"):
        read_adapter(directory, shaped, KEY)
    with pytest.raises(
        AdapterMismatch, match=r"another adapter of planted_hub than copying \(kept\), seed 6"
    ):
        read_adapter(directory, loaded, replace(KEY, seed=6))


def test_values_items_and_artifacts_need_neither_torch_nor_peft():
    code = (
        "import sys, harness.adapters.values, harness.adapters.items, harness.adapters.artifacts\n"
        "assert not {'torch', 'peft', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
