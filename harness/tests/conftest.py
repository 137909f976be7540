"""Shared by the instrument's tests: small random models of every supported architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import nn

from harness.engine.sweep import Item

settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

VOCAB = 97
ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")


def _config(architecture: str, *, kv_heads: int, tied: bool, layers: int) -> Any:
    from transformers import Gemma3TextConfig, Lfm2Config, LlamaConfig, Qwen2Config

    common: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    match architecture:
        case "llama":
            return LlamaConfig(**common)
        case "qwen2":
            return Qwen2Config(**common)
        case "gemma3_text":
            # Alternating local and global attention; the window is shorter than the prompts.
            kinds = [("sliding_attention", "full_attention")[i % 2] for i in range(layers)]
            return Gemma3TextConfig(**common, head_dim=8, sliding_window=4, layer_types=kinds)
        case _:
            kinds = [("conv", "full_attention")[i % 2] for i in range(layers)]
            return Lfm2Config(**common, layer_types=kinds)


@cache
def _tiny(architecture: str, kv_heads: int, tied: bool, layers: int, seed: int) -> nn.Module:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = _config(architecture, kv_heads=kv_heads, tied=tied, layers=layers)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        # As initialised, biases are 0 and gains 1: an engine that forgot them would pass.
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        elif "norm" in name:
            nn.init.normal_(parameter, mean=0.0 if architecture == "gemma3_text" else 1.0, std=0.3)
    return model


@pytest.fixture(scope="session")
def tiny() -> Callable[..., nn.Module]:
    """tiny(architecture, kv_heads=2, tied=True, layers=4, seed=0) -> a random model in float32."""

    def build(
        architecture: str, *, kv_heads: int = 2, tied: bool = True, layers: int = 4, seed: int = 0
    ) -> nn.Module:
        return _tiny(architecture, kv_heads, tied, layers, seed)

    return build


@pytest.fixture(scope="session")
def items() -> Callable[..., list[Item]]:
    """items((5, 7), seed=0) -> prompts of random tokens with those lengths."""

    def build(lengths: Sequence[int] = (5, 7, 5, 9), seed: int = 0) -> list[Item]:
        generator = torch.Generator().manual_seed(seed)
        rows = [torch.randint(0, VOCAB, (n + 2,), generator=generator).tolist() for n in lengths]
        return [Item(ids=tuple(row[2:]), answer=row[0], foil=row[1], text=f"prompt {row}") for row in rows]

    return build
