"""Loading a model for measurement. Imports torch and transformers only when `load` is called."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.cache import cache_root
from harness.models.checkpoint import Checkpoint, weights_digest
from harness.models.packaged import Download
from harness.models.spec import (
    ArchitectureFacts,
    FactsMismatch,
    ModelError,
    ModelSpec,
    WeightsCorrupt,
)
from harness.models.supply import obtain
from harness.models.tokenizer import load_tokenizer, tokenizer_digest
from harness.models.weights import check_device, first_line, load_weights, to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in eval mode, without gradients, and what is needed to say which one it was.

    `weights_digest`: see `checkpoint.weights_digest`. `tokenizer_digest`: SHA-256 of the fast tokenizer's own
    serialization, that is, of all that decides how text is cut. `attn_implementation` is the one in use.
    """

    spec: ModelSpec
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    facts: ArchitectureFacts
    weights_digest: str
    tokenizer_digest: str
    dtype: str
    device: str
    attn_implementation: str

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the special tokens that the tokenizer adds by default.

        Raises ModelError where an id lies outside the model's vocabulary.
        """
        ids: list[int] = self.tokenizer(text)["input_ids"]
        if ids and max(ids) >= self.facts.vocab_size:
            raise ModelError(
                f"{self.spec.id}: the tokenizer gives id {max(ids)} for {text!r}, but the vocabulary ends at "
                f"{self.facts.vocab_size - 1}; the tokenizer belongs to another model"
            )
        return ids

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters each token of `encode(text)` stands for; (0, 0) for a special token."""
        return [
            (start, end) for start, end in self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        ]


def load(
    spec: ModelSpec,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "sdpa",
    download: bool = False,
    cache_dir: Path | None = None,
    wheels: Download | None = None,
) -> LoadedModel:
    """Load `spec`, fetching its weights only where its policy or `download` permits.

    `dtype` is always stated: transformers would otherwise take the checkpoint's own. Raises WeightsMissing,
    WeightsCorrupt (also for missing, left-over, NaN or infinite weights: nothing is ever re-initialised),
    FactsMismatch, CacheUnwritable, DeviceUnavailable, ModelError (unknown dtype or attention, out of memory).
    """
    for name, value, allowed in (("dtype", dtype, DTYPES), ("attention", attn, ATTENTIONS)):
        if value not in allowed:
            raise ModelError(f"unknown {name} {value!r}: use one of {', '.join(allowed)}")
    check_device(device)
    _exact_float32()
    checkpoint = obtain(spec, cache_dir=cache_dir, download=download, wheels=wheels)
    facts = _checked_facts(spec, checkpoint)
    root = cache_root(cache_dir)
    digest = weights_digest(checkpoint, root)
    tokenizer = load_tokenizer(spec.id, checkpoint.directory)
    model = to_device(load_weights(checkpoint, dtype, attn), spec, dtype, device)
    return LoadedModel(
        spec=spec,
        model=model,
        tokenizer=tokenizer,
        facts=facts,
        weights_digest=digest,
        tokenizer_digest=tokenizer_digest(tokenizer, checkpoint.directory, root),
        dtype=dtype,
        device=device,
        attn_implementation=str(model.config._attn_implementation),
    )


def rounded(loaded: LoadedModel, dtype: str) -> LoadedModel:
    """The same weights in another precision, as a copy: the model that `load` gives with this dtype.

    Parameters are rounded; what a model computes for itself, such as the angles of its positions, is not.
    Raises ModelError (unknown dtype).
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    model = copy.deepcopy(loaded.model)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))
    model.config.dtype = getattr(torch, dtype)
    return replace(loaded, model=model, dtype=dtype)


def _exact_float32() -> None:
    """Switch TF32 off: it keeps 10 bits of mantissa where float32 is asked for, and some images turn it on."""
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def read_facts(config: Any) -> ArchitectureFacts:
    """The facts that a transformers config states about the text model."""
    text = config.get_text_config()
    n_heads = int(text.num_attention_heads)
    d_head = getattr(text, "head_dim", None) or int(text.hidden_size) // n_heads
    return ArchitectureFacts(
        model_type=str(text.model_type),
        n_layers=int(text.num_hidden_layers),
        d_model=int(text.hidden_size),
        n_heads=n_heads,
        n_kv_heads=int(getattr(text, "num_key_value_heads", None) or n_heads),
        d_head=int(d_head),
        vocab_size=int(text.vocab_size),
        tied_embeddings=bool(config.tie_word_embeddings),
    )


def _checked_facts(spec: ModelSpec, checkpoint: Checkpoint) -> ArchitectureFacts:
    from transformers import AutoConfig

    path = checkpoint.directory / "config.json"
    try:
        config = AutoConfig.from_pretrained(
            checkpoint.directory, local_files_only=True, trust_remote_code=False
        )
        found = read_facts(config)
    except Exception as error:  # transformers raises many kinds for a config it cannot use
        raise WeightsCorrupt(f"{path} is not a usable model config ({first_line(error)})") from error
    if spec.facts is not None:
        for field in fields(ArchitectureFacts):
            expected, actual = getattr(spec.facts, field.name), getattr(found, field.name)
            if expected != actual:
                raise FactsMismatch(spec.id, field.name, expected, actual, str(path))
    return found
