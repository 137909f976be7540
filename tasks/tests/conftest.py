"""Shared by the tests of tasks/: a byte-level BPE trained on the suite itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tasks.contexts import code, prose
from tasks.prompts import PromptPair
from tasks.suites import SUITES
from tasks.tokens import Encode

CACHE = Path(os.environ.get("CLAIMS_SUITE_CACHE") or platformdirs.user_cache_dir("claims-suite"))
FETCHED = sorted((CACHE / "models").glob("*/tokenizer.json"))
EVERY_FAMILY = tuple(dict.fromkeys(family for families in SUITES.values() for family in families))

# GPT-2's split, with every digit on its own as in SmolLM2 and Gemma 3.
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="session")
def encode() -> Encode:
    """A small byte-level BPE trained on all candidate texts with their answers, and on contexts of the bands."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=6000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [p.clean.text + p.clean.answer for family in EVERY_FAMILY for p in family.candidates()]
    contexts = ["".join(make(np.random.default_rng(i))) for make in (prose, code) for i in range(20)]
    tokenizer.train_from_iterator([*sorted(set(texts)), *contexts], trainer)
    return lambda text: tokenizer.encode(text).ids


@pytest.fixture(
    scope="session", params=FETCHED or [None], ids=lambda path: path and path.parent.name.split("-")[0]
)
def real_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """The tokenizer of each model that has been fetched to this machine."""
    if request.param is None:
        pytest.skip(f"no model in {CACHE}; `pytest claims` fetches the default one")
    return Tokenizer.from_file(str(request.param))


@pytest.fixture(scope="session")
def real_encode(real_tokenizer: Tokenizer) -> Encode:
    """What the model of `real_tokenizer` reads."""
    return lambda text: real_tokenizer.encode(text).ids


@pytest.fixture(scope="session")
def pairs_of() -> Callable[[str], tuple[PromptPair, ...]]:
    """All candidates of a family, by name."""
    by_name = {family.name: family for family in EVERY_FAMILY}
    return lambda name: by_name[name].candidates()
