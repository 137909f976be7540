"""Counts of adapter parameters: as published, and as peft counts them on models of the published configs."""

from __future__ import annotations

import pytest

from harness.adapters.parameters import D_MLP, UnknownWidth, lora_parameters, model_parameters, module_shapes
from harness.adapters.values import ATTENTION, LINEAR, MLP
from harness.edits import Stream
from harness.models.registry import find_model, known_models
from harness.models.spec import LocalDir, ModelSpec

SMALL = find_model("qwen0_5b")
PEFT_NAMES = {stream: f"{stream}_proj" for stream in LINEAR}
CONFIGS = {
    "qwen0_5b": (896, 24, 14, 2, 4864),
    "qwen1_5b": (1536, 28, 12, 2, 8960),
    "qwen3b": (2048, 36, 16, 2, 11008),
}
"""Hidden size, layers, heads, key-value heads and intermediate size of Qwen2.5, as published."""


@pytest.mark.parametrize(
    ("modules", "rank", "n_blocks", "count"),
    [
        ((Stream.Q,), 8, None, 344_064),
        ((Stream.V,), 8, None, 196_608),
        ((Stream.O,), 8, None, 344_064),
        ((Stream.O,), 4, None, 172_032),
        (MLP, 8, None, 3_317_760),
        (ATTENTION, 8, None, 1_081_344),
        (LINEAR, 8, None, 4_399_104),
        ((Stream.O, Stream.UP, Stream.DOWN), 8, 3, 319_488),
    ],
)
def test_published_counts_of_the_small_qwen(modules, rank, n_blocks, count):
    assert lora_parameters(SMALL, modules, rank, n_blocks) == count


def test_published_ratios_of_the_small_qwen():
    """13.8 times fewer, and 0.07% of a model of 494 million parameters."""
    whole = lora_parameters(SMALL, LINEAR, 8)
    chosen = lora_parameters(SMALL, (Stream.O, Stream.UP, Stream.DOWN), 8, 3)
    assert round(whole / chosen, 1) == 13.8
    assert round(100 * lora_parameters(SMALL, (Stream.O,), 8) / 494_032_768, 2) == 0.07


@pytest.mark.parametrize("model", CONFIGS)
def test_the_facts_are_those_of_the_published_config(model):
    facts = find_model(model).facts
    assert facts is not None
    assert (facts.d_model, facts.n_layers, facts.n_heads, facts.n_kv_heads, D_MLP[model]) == CONFIGS[model]
    assert facts.n_heads * facts.d_head == facts.d_model


@pytest.mark.parametrize("model", CONFIGS)
def test_peft_counts_the_same_on_a_model_of_that_config(model):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import Qwen2Config, Qwen2ForCausalLM

    width, layers, heads, kv_heads, d_mlp = CONFIGS[model]
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=d_mlp,
        tie_word_embeddings=True,
    )
    for modules in ((Stream.O,), ATTENTION, LINEAR):
        with torch.device("meta"):
            base = Qwen2ForCausalLM(config)
            if model == "qwen0_5b":
                assert sum(p.numel() for p in base.parameters()) == 494_032_768
            names = [PEFT_NAMES[module] for module in modules]
            adapted = peft.get_peft_model(base, peft.LoraConfig(r=8, target_modules=names))
        trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert lora_parameters(find_model(model), modules, 8) == trainable


def test_a_head_width_of_its_own_counts():
    """Gemma 3 270M: four heads of 256 in a stream of 640."""
    gemma = find_model("gemma3_270m")
    assert gemma.facts is not None
    assert module_shapes(gemma.facts)[Stream.O] == (1024, 640)
    assert lora_parameters(gemma, (Stream.O,), 2) == 2 * (1024 + 640) * 18


def test_smollm2_has_the_parameters_that_its_name_says():
    """135 million, one embedding for both ends; of rank 8 on all linear modules, 30 blocks of 4,884,480 / 30."""
    small = find_model("smollm2_135m")
    assert model_parameters(small) == 134_515_008
    shapes = {Stream.Q: 1152, Stream.K: 768, Stream.V: 768, Stream.O: 1152, **dict.fromkeys(MLP, 2112)}
    assert lora_parameters(small, LINEAR, 8) == 30 * 8 * sum(shapes.values()) == 2_442_240
    assert lora_parameters(small, (Stream.Q,), 8) == lora_parameters(small, (Stream.O,), 8)


def test_what_is_not_known_is_not_counted():
    with pytest.raises(UnknownWidth, match="MLPs of smollm2_1_7b"):
        lora_parameters(find_model("smollm2_1_7b"), LINEAR, 8)
    with pytest.raises(UnknownWidth, match="blocks of lfm2 differ"):
        lora_parameters(find_model("lfm2_230m"), ATTENTION, 8)
    local = ModelSpec(id="mine", title="mine", source=LocalDir(path="."), license="?")
    with pytest.raises(UnknownWidth, match="nothing is known of mine"):
        lora_parameters(local, ATTENTION, 8)


def test_widths_stand_for_registered_models_alone():
    assert set(D_MLP) <= {spec.id for spec in known_models()}
