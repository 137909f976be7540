"""The planted models are what they say: measured by plain hooks, and against the closed form in float64."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import planted
from harness.experiments import EXPERIMENTS
from harness.planted import checkpoint, hub, null
from harness.planted.tokenizer import opening_texts, suite_texts, train_tokenizer
from harness.planted.writers import CONST, NORM_WEIGHT, SQUARES_LIMIT, WRITE, random_writer
from tasks.suites import SUITES
from tasks.tokens import verify_pair

N_LAYERS = 6
PROMPTS_PER_FAMILY = 3


def test_every_experiment_has_a_planted_model():
    """A new experiment brings the model on which it is known what it must find."""
    assert set(planted.PLANTED_FOR) == set(EXPERIMENTS)
    assert {kind for kinds in planted.PLANTED_FOR.values() for kind in kinds} <= set(planted.BUILDERS)
    assert [name for name, kinds in planted.PLANTED_FOR.items() if not kinds] == ["skip_latency"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(suite_texts())


@pytest.fixture(scope="module")
def prompts(tokenizer):
    """Token ids of prompts of every family, drawn over all its templates."""
    rng = np.random.default_rng(7)
    texts = []
    for family in SUITES["full"]:
        candidates = family.candidates()
        texts += [
            candidates[i].clean.text for i in rng.choice(len(candidates), PROMPTS_PER_FAMILY, replace=False)
        ]
    return [tokenizer(text).input_ids for text in texts]


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def last_logits(model, ids, skip=None):
    """Logits at the last position, with block `skip` routed around by a forward hook."""
    handles = []
    if skip is not None:
        handles.append(
            model.model.layers[skip].register_forward_hook(lambda module, args, output: args[0].clone())
        )
    try:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


def kl_nats(base, edited):
    base, edited = base.log_softmax(-1), edited.log_softmax(-1)
    return float((base.exp() * (base - edited)).sum())


def skip_effects(model, prompts):
    """KL of each skip on each prompt: prompts x layers."""
    rows = []
    for ids in prompts:
        base = last_logits(model, ids)
        rows.append(
            [kl_nats(base, last_logits(model, ids, skip=layer)) for layer in range(len(model.model.layers))]
        )
    return np.array(rows)


def directory_digests(directory):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(directory).iterdir())
    }


HUBS = [{"layer": 0, "seed": 0}, {"layer": 3, "seed": 1}, {"layer": 5, "seed": 2}]
NULLS = [{"seed": 0}, {"seed": 2}, {"seed": 7}]


def case_id(parameters):
    return "-".join(f"{name}{value}" for name, value in parameters.items())


class Case:
    """A built model, its truth, its closed form, and its measured skip effects (prompts x layers)."""

    def __init__(self, kind, directory, tokenizer, prompts, parameters):
        directory = planted.build(kind, directory, n_layers=N_LAYERS, tokenizer=tokenizer, **parameters)
        self.truth = planted.read_truth(directory)
        self.plan = planted.read_plan(directory)
        self.model = load(directory)
        self.effects = skip_effects(self.model, prompts)


@pytest.fixture(scope="module", params=HUBS, ids=case_id)
def hub_case(request, tmp_path_factory, tokenizer, prompts):
    return Case("hub", tmp_path_factory.mktemp("hub") / "model", tokenizer, prompts, request.param)


@pytest.fixture(scope="module", params=NULLS, ids=case_id)
def null_case(request, tmp_path_factory, tokenizer, prompts):
    return Case("null", tmp_path_factory.mktemp("null") / "model", tokenizer, prompts, request.param)


WIRED = {
    "hub": HUBS[1],
    "null": NULLS[1],
    "copy_head": {"layer": 3, "head": 1, "seed": 1},
    "fact": {"layer": 1, "mover": (4, 2), "seed": 1},
    "redundant_pair": {"first": 2, "second": 3, "reader": 5, "seed": 1},
}


@pytest.fixture(scope="module", params=WIRED.items(), ids=WIRED)
def wired_case(request, tmp_path_factory, tokenizer, prompts):
    kind, parameters = request.param
    return Case(kind, tmp_path_factory.mktemp(kind) / "model", tokenizer, prompts, parameters)


def test_planted_hub_has_the_largest_effect_on_nearly_every_prompt(hub_case):
    layer, effects = hub_case.truth["hub_layer"], hub_case.effects
    others = np.delete(effects, layer, axis=1)
    assert np.mean(effects[:, layer] > 2 * others.max(axis=1)) >= 0.95
    assert effects[:, layer].mean() > 5 * others.mean(axis=0).max()


def test_hub_profile_is_not_degenerate(hub_case):
    layer, effects = hub_case.truth["hub_layer"], hub_case.effects
    others = np.delete(effects, layer, axis=1)
    assert others.min() > 1e-5  # every block does something on every prompt, above float32 rounding
    assert effects[:, layer].mean() > 0.3
    assert np.all(effects.std(axis=0) > 0.1 * effects.mean(axis=0))  # and not the same thing on each


def test_twins_have_equal_effects_and_pairs_differ(null_case):
    effects = null_case.effects
    first, second = np.array(null_case.truth["twins"]).T
    assert sorted([*first, *second]) == list(range(N_LAYERS))
    assert np.abs(effects[:, first] - effects[:, second]).max() < 1e-5
    by_pair = effects[:, first].mean(axis=0)
    assert by_pair.max() > 2 * by_pair.min()
    assert by_pair.max() > 0.1
    assert effects.min() > 1e-5
    assert np.all(effects.std(axis=0) > 0.1 * effects.mean(axis=0))


def test_neighbouring_twins_agree_to_the_bit(tmp_path, tokenizer, prompts):
    case = Case("null", tmp_path / "model", tokenizer, prompts[::3], {"seed": 7})
    neighbours = [pair for pair in case.truth["twins"] if pair[1] == pair[0] + 1]
    assert neighbours == [[1, 2], [4, 5]]
    for first, second in neighbours:
        np.testing.assert_array_equal(case.effects[:, first], case.effects[:, second])


def test_closed_form_equals_the_measurement(wired_case, prompts):
    model, plan = wired_case.model, wired_case.plan
    for ids, effects in zip(prompts[::2], wired_case.effects[::2], strict=True):
        np.testing.assert_allclose(last_logits(model, ids).numpy(), plan.logits(ids), atol=1e-4, rtol=0)
        for layer in range(N_LAYERS):
            edited = last_logits(model, ids, skip=layer).numpy()
            np.testing.assert_allclose(edited, plan.logits(ids, skip=[layer]), atol=1e-4, rtol=0)
            assert abs(effects[layer] - plan.kl_nats(ids, skip=[layer])) < 1e-4


def test_norms_are_the_identity_to_the_last_bit(wired_case, prompts):
    model = wired_case.model
    streams = []
    norms = [module for name, module in model.named_modules() if name.endswith("norm")]
    assert len(norms) == 2 * N_LAYERS + 1
    handles = [
        norm.register_forward_hook(lambda module, args, output: streams.append((args[0], output)))
        for norm in norms
    ]
    for ids in prompts:
        last_logits(model, ids)
    for handle in handles:
        handle.remove()
    assert len(streams) == len(prompts) * len(norms)
    assert all(torch.equal(stream, normed) for stream, normed in streams)
    assert max(float(stream[..., :CONST].square().sum(-1).max()) for stream, _ in streams) < SQUARES_LIMIT


def test_erasing_any_block_gives_the_same_flat_distribution(wired_case, prompts):
    for layer in wired_case.model.model.layers:
        handle = layer.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
        logits = last_logits(wired_case.model, prompts[0])
        handle.remove()
        assert torch.count_nonzero(logits) == 0


def test_every_bias_is_in_use_and_heads_share_keys(wired_case):
    model = wired_case.model
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    for block in model.model.layers:
        for projection in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj):
            assert torch.count_nonzero(projection.bias) > 0


def test_closed_form_notices_a_block_that_reads_what_another_wrote(tmp_path, tokenizer, prompts):
    """The comparison with the closed form is no tautology: one wrong wire is seen."""
    directory = planted.build("hub", tmp_path / "model", layer=1, n_layers=3, tokenizer=tokenizer)
    model, plan = load(directory), planted.read_plan(directory)
    with torch.no_grad():
        model.model.layers[2].mlp.gate_proj.weight[:, WRITE.start] = 1.0
    differences = [np.abs(last_logits(model, ids).numpy() - plan.logits(ids)).max() for ids in prompts[:5]]
    assert min(differences) > 1e-3


def test_random_model_writes_equally_at_every_depth(tmp_path, tokenizer, prompts):
    model = load(planted.build("random", tmp_path / "model", n_layers=N_LAYERS, seed=3, tokenizer=tokenizer))
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        norms = [float(block.get_submodule(name).weight.detach().norm()) for block in model.model.layers]
        assert max(norms) == pytest.approx(min(norms), rel=1e-5)
    effects = skip_effects(model, prompts[::4]).mean(axis=0)
    assert effects.min() > 1e-3
    assert effects.max() < 5 * effects.min()


@pytest.mark.parametrize("kind", planted.BUILDERS)
def test_loads_without_warnings_with_its_tokenizer(kind, tmp_path, tokenizer, caplog):
    parameters = {
        "hub": {"layer": 1},
        "copy_head": {"layer": 1, "head": 0},
        "fact": {"layer": 1, "mover": (2, 3)},
        "late_read": {"layer": 1},
        "massive": {"layer": 1},
        "redundant_pair": {"first": 0, "second": 2, "reader": 3},
        "rounded": {"layer": 1, "rival": 3},
    }.get(kind, {})
    directory = planted.build(kind, tmp_path / "model", n_layers=4, tokenizer=tokenizer, **parameters)
    logging.getLogger("transformers").propagate = True
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        model, info = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, output_loading_info=True
        )
        loaded = AutoTokenizer.from_pretrained(directory)
    logging.getLogger("transformers").propagate = False
    assert not caplog.records
    assert not any(info.values())
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    reading = opening_texts(tokenizer) if kind == "massive" else tokenizer
    for text in suite_texts()[::97]:
        assert loaded(text).input_ids == reading(text).input_ids
        assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True) == text


def test_truth_is_written_beside_the_weights(tmp_path, tokenizer):
    directory = planted.build("hub", tmp_path / "model", layer=2, n_layers=4, seed=9, tokenizer=tokenizer)
    truth = json.loads((directory / "planted.json").read_text())
    assert (truth["kind"], truth["hub_layer"], truth["n_layers"]) == ("hub", 2, 4)
    assert truth["parameters"]["seed"] == 9
    assert truth["vocab_size"] == len(tokenizer)


def test_seed_and_nothing_else_decides_the_weights(tmp_path, tokenizer):
    digests = [
        directory_digests(planted.build("null", tmp_path / name, seed=seed, tokenizer=tokenizer))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1]
    assert digests[0]["model.safetensors"] != digests[2]["model.safetensors"]
    assert digests[0]["tokenizer.json"] == digests[2]["tokenizer.json"]


def test_models_that_differ_in_the_hub_layer_share_the_rest():
    one, other = (hub.hub_plan(vocab_size=300, layer=layer, n_layers=4, seed=5) for layer in (1, 2))
    np.testing.assert_array_equal(one.unembed, other.unembed)
    np.testing.assert_array_equal(one.writers[0].down, other.writers[0].down)
    assert not np.array_equal(one.writers[1].down, other.writers[1].down)


def test_strength_is_the_norm_of_the_write():
    rng = np.random.default_rng(0)
    read = rng.standard_normal((500, 24)) / np.sqrt(24)
    weak, strong = (random_writer(s, embed_read=read, rng=np.random.default_rng(1)) for s in (0.25, 0.5))
    norm = np.sqrt(np.mean(np.sum(weak.mlp(read) ** 2, axis=-1)))
    assert norm == pytest.approx(0.25 / np.sqrt(2), rel=1e-5)
    np.testing.assert_allclose(strong.write(read[:7]), 2 * weak.write(read[:7]), rtol=1e-5, atol=1e-7)


def test_tokenizer_is_the_same_in_another_process(tmp_path):
    texts = suite_texts()[::5]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    train_tokenizer(texts, vocab_size=800).save_pretrained(tmp_path / "here")
    code = (
        "import json, sys; from harness.planted.tokenizer import train_tokenizer; "
        "texts = json.load(open(sys.argv[1])); "
        "train_tokenizer(texts, vocab_size=800).save_pretrained(sys.argv[2])"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "texts.json"), str(tmp_path / "there")]
    environment = {**os.environ, "PYTHONHASHSEED": "11", "RAYON_NUM_THREADS": "5"}
    subprocess.run(arguments, check=True, timeout=120, env=environment)
    assert directory_digests(tmp_path / "here") == directory_digests(tmp_path / "there")


def test_tokenizer_makes_every_pair_of_the_suite_measurable(tokenizer):
    for family in SUITES["full"]:
        candidates = family.candidates()[::7]
        rejected = [verify_pair(pair, lambda text: tokenizer(text).input_ids) for pair in candidates]
        assert sum(r is not None for r in rejected) <= 0.05 * len(candidates), family.name


def test_tokenizer_reads_digits_and_any_bytes(tokenizer):
    assert tokenizer.tokenize("1729") == ["1", "7", "2", "9"]
    text = "Ωmega \N{SNOWMAN}\t中文\r\n  x"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d: planted.build("hubb", d),
            "unknown kind of planted model 'hubb': expected one of adapter, copy_head, fact, hub, late_read, massive",
        ),
        (lambda d: hub.build_hub(d, layer=8, n_layers=8, texts=["a"]), "hub layer is 8, expected 0 to 7"),
        (lambda d: hub.build_hub(d, layer=0, background=0.4, texts=["a"]), "expected 0 < 3 x background"),
        (lambda d: null.build_null(d, n_layers=5, texts=["a"]), "n_layers is 5, expected an even number"),
        (lambda d: null.build_null(d, n_layers=2, texts=["a"]), "n_layers is 2, expected an even number"),
        (lambda d: null.build_null(d, decay=1.0, texts=["a"]), "decay 1.0"),
        (lambda d: planted.build("random", d, n_layers=0, texts=["a"]), "n_layers is 0"),
        (lambda d: hub.build_hub(d, layer=0, texts=[]), "no text to train the tokenizer on"),
        (lambda d: train_tokenizer(["a"], vocab_size=256), "vocab_size is 256, expected at least 257"),
        (lambda d: hub.hub_plan(vocab_size=9, layer=0).logits([1], skip=[8]), r"no blocks \[8\] to skip"),
        (
            lambda d: hub.hub_plan(vocab_size=9, layer=0).logits([1], zero_heads=[(0, 4)]),
            r"no heads \[\(0, 4\)\] \(layer, head\) to zero",
        ),
        (lambda d: hub.hub_plan(vocab_size=9, layer=0).logits([]), "closed form of no tokens"),
    ],
)
def test_bad_parameters_are_refused_and_leave_no_directory(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_full_directory_is_not_overwritten(tmp_path, tokenizer):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not empty"):
        planted.build("null", tmp_path, tokenizer=tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_unfinished_build_is_not_taken_for_a_model(tmp_path, tokenizer):
    directory = planted.build("random", tmp_path / "model", n_layers=1, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="has no closed form"):
        planted.read_plan(directory)
    (directory / checkpoint.TRUTH_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="interrupted build"):
        planted.read_truth(directory)


def test_import_is_torch_free():
    code = "import sys, harness.planted; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_norm_weight_undoes_the_division():
    tensors = checkpoint.plan_tensors(hub.hub_plan(vocab_size=5, layer=0, n_layers=2))
    stream = tensors["model.embed_tokens.weight"][0]
    assert NORM_WEIGHT / np.sqrt(np.mean(stream**2)) == pytest.approx(1.0, abs=3e-8)
