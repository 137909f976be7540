"""Shared by the instrument's tests: small random models of every supported architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from torch import nn

from harness.engine.sweep import Item
from harness.evidence import Evidence, Question
from harness.models.spec import LocalDir, ModelSpec
from harness.protocols import Protocol

if TYPE_CHECKING:
    from harness.measure import Subject

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


@pytest.fixture(scope="session")
def planted_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted checkpoint of four blocks whose hub is L2; its tokenizer gives the suite one-token answers."""
    from harness.planted import build_hub

    return build_hub(tmp_path_factory.mktemp("planted") / "hub", layer=2, n_layers=4)


@pytest.fixture(scope="session")
def subject(planted_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The planted hub, loaded and ready to be swept. Shared: a test that changes it must change it back."""
    from harness.measure import Subject
    from harness.models import load

    torch.set_num_threads(1)
    spec = ModelSpec(id="planted_hub", title="Planted hub", source=LocalDir(path=planted_dir), license="none")
    return Subject(load(spec, cache_dir=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def make_evidence() -> Callable[..., Evidence]:
    """make_evidence([0.2, 1.4, 0.3], seed=7) -> evidence of a layer sweep with these mean kl_nats per layer.

    Every other field of the question can be given by name; `effects`, `checks` and `provenance` too.
    """
    from harness.anatomy import Anatomy
    from harness.experiments import EXPERIMENTS, SUITE
    from harness.statistics.summary import summarize
    from harness.verdicts.synthetic import table
    from tasks.suites import suite_digest

    def build(
        means: Sequence[float] = (0.2, 1.4, 0.3, 0.1), *, noise: float = 0.01, **given: Any
    ) -> Evidence:
        fields: dict[str, Any] = {
            "model": "made_up",
            "experiment": "layer_sweep",
            "protocol": Protocol.SOUND,
            "seed": 42,
            "n_layers": len(means),
            "suite_digest": suite_digest(SUITE),
            **{
                name: f"{name} of the made-up model"
                for name in ("weights_digest", "tokenizer_digest", "code")
            },
            "dtype": "float32",
            "device": "cpu",
            "attn_implementation": "sdpa",
            "torch": "2.13.0",
            "transformers": "5.23.0",
        }
        rest = {name: given.pop(name) for name in ("effects", "checks", "provenance") if name in given}
        fields |= given
        experiment = EXPERIMENTS[fields["experiment"]]
        anatomy = Anatomy(
            n_layers=fields["n_layers"],
            heads=fields.get("heads", ()),
            massive=fields.get("massive"),
            ranked=fields.get("ranked", ()),
        )
        model = (fields["protocol"], anatomy)
        fields.setdefault("definition", experiment.definition(*model))
        probes = experiment.probes(*model)
        levels = {"kl_nats": means, "top5_overlap": [0.6] * len(probes), "argmax_match": [0.5] * len(probes)}
        effects = rest.get("effects") or table(probes, levels, noise=noise, seed=fields["seed"])
        return Evidence(
            question=Question(**fields),
            effects=effects,
            checks=rest.get("checks", ()),
            provenance=rest.get("provenance", {"device": "CPU, 1 threads", "date": "2026-01-02"}),
            summary=summarize(effects),
        )

    return build


@pytest.fixture(scope="session")
def planted_tokenizer() -> Any:
    """The tokenizer of planted models, trained once."""
    from harness.planted.tokenizer import suite_texts, train_tokenizer

    return train_tokenizer(suite_texts())


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Matrices of 64 x 64 gain nothing from threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
