"""Shared by the tests of tasks/: a byte-level BPE trained on the suite itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tasks.prompts import PromptPair
from tasks.suites import SUITES
from tasks.tokens import Encode

# GPT-2's split, with every digit on its own as in SmolLM2 and Gemma 3.
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="session")
def encode() -> Encode:
    """A small byte-level BPE trained on all candidate texts with their answers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [p.clean.text + p.clean.answer for family in SUITES["full"] for p in family.candidates()]
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return lambda text: tokenizer.encode(text).ids


@pytest.fixture(scope="session")
def pairs_of() -> Callable[[str], tuple[PromptPair, ...]]:
    """All candidates of a family, by name."""
    by_name = {family.name: family.candidates() for family in SUITES["full"]}
    return lambda name: by_name[name]
