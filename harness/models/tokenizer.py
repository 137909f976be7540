"""The tokenizer of a checkpoint, as its tokenizer.json describes it, and the digest that names it.

A tokenizer.json of 262,144 tokens is 33 MB, and the tokenizers library needs a second to parse it; so it is
parsed once, by that library.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.cache import remembered, sha256_of
from harness.models.spec import WeightsCorrupt, WeightsMissing
from harness.models.weights import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_OLD_TOKEN_FILES = ("special_tokens_map.json", "added_tokens.json")


def load_tokenizer(model_id: str, directory: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that tokenizer.json describes, exactly. Raises WeightsMissing, WeightsCorrupt.

    AutoTokenizer of transformers 5 picks a class by model type and builds it anew from vocabulary and merges,
    dropping the file's own normalizer, pre-tokenizer and model kind: a Qwen2 checkpoint with a word-level
    tokenizer then encodes every text to nothing, silently.
    """
    from transformers import PreTrainedTokenizerFast

    remedy = "put tokenizer.json and tokenizer_config.json beside the weights"
    if not (directory / "tokenizer.json").exists():
        raise WeightsMissing(model_id, f"{directory} has no tokenizer.json", remedy)
    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
            directory, local_files_only=True, **_without_second_parse(directory)
        )
    except Exception as error:  # the Rust library raises bare Exception for a broken tokenizer.json
        raise WeightsCorrupt(
            f"the tokenizer in {directory} cannot be read ({first_line(error)}); {remedy}"
        ) from error
    return tokenizer


def _without_second_parse(directory: Path) -> dict[str, Any]:
    """The option that keeps transformers from parsing tokenizer.json a second time, in Python.

    It does so where tokenizer_config.json lists no added tokens, only to add the ones in tokenizer.json to
    the tokenizer that has them already. Files of older formats are merged in the same step and still are.
    """
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "added_tokens_decoder" in config or any((directory / name).exists() for name in _OLD_TOKEN_FILES):
        return {}
    return {"added_tokens_decoder": {}}


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast, directory: Path, root: Path) -> str:
    """SHA-256 of the tokenizer's own serialization, that is, of all that decides how text is cut.

    The serialization takes half a second for 33 MB; so the digest is remembered in the cache `root`, for
    the content of every JSON file in `directory` and the versions of the libraries that read them.
    """
    files = {path.name: sha256_of(path) for path in sorted(directory.glob("*.json"))}
    libraries = {name: version(name) for name in ("tokenizers", "transformers")}
    facts = {"files": files, "libraries": libraries}

    def serialized() -> str:
        return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    return remembered(root, f"tokenizer in {directory.resolve()}", facts, serialized)
