"""A small byte-level BPE tokenizer, trained on the texts it is to read.

It cuts text exactly as the Qwen2 tokenizer does (NFC, Qwen2's split pattern, one token a digit, bytes):
transformers loads the tokenizer of every checkpoint of model type `qwen2` as `Qwen2Tokenizer`, which keeps
the vocabulary and the merges of a file but rebuilds the splitting. A tokenizer that was trained with
another splitting would read differently once saved and loaded again.

Merges that join punctuation to a word are never learned: "(" is one token whatever word
follows, so a name after an open bracket is a token of its own. (Qwen2 itself has tokens such as "(name".)
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

END_OF_TEXT = "<|endoftext|>"
"""Token 0: end of text and padding. There is no beginning-of-text token, as in Qwen2, but see `opening_texts`."""

MAX_VOCAB_SIZE = 4096
"""Room for every word of the task families as one token, besides the 256 bytes and END_OF_TEXT."""


_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = MAX_VOCAB_SIZE) -> Qwen2Tokenizer:
    """Train on `texts`; the same texts give the same tokenizer in every process.

    Merges are learned in order of frequency until `vocab_size` is reached or every word is one token, so a
    word that must be one token should be among `texts`, more than once if the vocabulary is tight.

    Raises:
        ValueError: `texts` is empty, or `vocab_size` does not leave room for the 256 bytes and END_OF_TEXT.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(alphabet) + 1
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}, expected at least {smallest} (bytes and {END_OF_TEXT})"
        )
    texts = list(texts)
    if not any(texts):
        raise ValueError(
            "no text to train the tokenizer on: pass texts that cover the prompts and their answers"
        )
    reader = Qwen2Tokenizer().backend_tokenizer
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = reader.normalizer
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PUNCTUATION), behavior="isolated"), reader.pre_tokenizer]
    )
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=1,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    merges: Any = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    return Qwen2Tokenizer(vocab=bpe.get_vocab(), merges=merges)


def opening_texts(tokenizer: Qwen2Tokenizer) -> Qwen2Tokenizer:
    """A copy of the tokenizer that puts END_OF_TEXT in front of every text, as GPT-2's models were trained."""
    from tokenizers.processors import TemplateProcessing

    opening = copy.deepcopy(tokenizer)
    opening.bos_token = END_OF_TEXT
    opening.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, opening.bos_token_id)]
    )
    return opening


def suite_texts() -> tuple[str, ...]:
    """Every prompt of the `full` task suite, followed by its answer and by its foil, without repetition.

    The text alone comes a third time: what precedes an answer then weighs no less than what follows it.
    """
    from tasks.suites import SUITES

    seen: dict[str, None] = {}
    for family in SUITES["full"]:
        for pair in family.candidates():
            for prompt in (pair.clean, pair.corrupt):
                for text in (prompt.text, prompt.text + prompt.answer, prompt.text + prompt.foil):
                    seen.setdefault(text)
    return tuple(seen)


def one_token(tokenizer: Qwen2Tokenizer, word: str) -> int:
    """The id of a word that is one token.

    Raises:
        ValueError: it is not.
    """
    ids: list[int] = tokenizer(word).input_ids
    if len(ids) != 1:
        raise ValueError(
            f"{word!r} is {len(ids)} tokens, expected one: name another word, or train the tokenizer on it"
        )
    return ids[0]
