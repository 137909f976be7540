"""A null matched to a checkpoint: the same numbers in every tensor, each in a random place.

    W'[i] = W[pi(i)]        pi a permutation of all entries of the tensor, drawn from (seed, name of the tensor)

So every tensor keeps its shape, its dtype and, to the bit, its distribution of entries: norm, mean, spectrum of
magnitudes, outliers. What is lost is which number stands where, that is all that training put there: the
directions by which blocks talk, and every block's and every head's part. An effect that the null shows as well is
a matter of scale and of architecture (early blocks have more readers), not of what was learnt.

Vectors are permuted too. The gain of a norm and a bias carry structure of their own: gains that are large in one
dimension at every depth keep a channel open through the whole model, and the biases of queries and keys can say
alone where a head looks (in `harness.planted.copy_head` they do). A vector of equal entries stays as it is.

What is kept is the config, the tokenizer and the division into files; tied embeddings stay tied. What is *not* true
by construction: that effects are equal, small, or tied; it is a null over draws of `seed`, as is
`harness.planted.random_weights`. Nor need the scale of the stream be kept: outliers that used to cancel, or to
meet in one dimension, do so no longer. A planted model's constant is scattered as well, so that its null has no
norm that is the identity, and logits far larger than the model's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from harness.models.checkpoint import Checkpoint, check_files, find_checkpoint, weights_digest
from harness.planted.checkpoint import TRUTH_FILE, new_directory, write_truth

if TYPE_CHECKING:
    from torch import Tensor

_COPIED = (".json", ".txt", ".model", ".jinja")
_EMBEDDING, _UNEMBEDDING = "model.embed_tokens.weight", "lm_head.weight"


def build_matched_null(directory: str | Path, *, like: str | Path, seed: int = 0) -> Path:
    """Build and save the null of the checkpoint in `like`, of any architecture; return the directory.

    planted.json states the kind "matched_null", the seed, and as `source` the `weights_digest` of `like`. Equal
    weights and seeds give equal files.

    Raises:
        WeightsMissing: `like` holds no safetensors checkpoint.
        WeightsCorrupt: one of its files is damaged.
        FileExistsError: the directory is not empty.
    """
    from transformers import AutoConfig

    from harness.models.loading import read_facts

    checkpoint = find_checkpoint(Path(like), "the source of a matched null", "name a safetensors checkpoint")
    check_files(checkpoint)
    facts = read_facts(AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True))
    target = new_directory(directory)
    for path in sorted(checkpoint.directory.iterdir()):
        if path.suffix in _COPIED and path.name != TRUTH_FILE:
            shutil.copyfile(path, target / path.name)
    for path in checkpoint.weights:
        _permute_file(path, target / path.name, seed=seed, tied=facts.tied_embeddings)
    truth = {
        "kind": "matched_null",
        "truth": "nothing is planted: every tensor holds the numbers of its source in random places",
        "hub_layer": None,
        "parameters": {"seed": seed},
        "source": {"weights_digest": _digest(checkpoint)},
        "architecture": facts.model_type,
        "n_layers": facts.n_layers,
        "vocab_size": facts.vocab_size,
    }
    return write_truth(target, truth)


def _digest(checkpoint: Checkpoint) -> str:
    with TemporaryDirectory() as scratch:
        return weights_digest(checkpoint, Path(scratch))


def _permute_file(source: Path, target: Path, *, seed: int, tied: bool) -> None:
    from safetensors.torch import load_file, save_file

    tensors: Mapping[str, Tensor] = load_file(source)
    permuted = {
        name: permuted_tensor(tensor, name=_EMBEDDING if tied and name == _UNEMBEDDING else name, seed=seed)
        for name, tensor in tensors.items()
    }
    save_file(permuted, target, metadata={"format": "pt"})


def permuted_tensor(tensor: Tensor, *, name: str, seed: int) -> Tensor:
    """The tensor with its entries in the places that its name and the seed say, to the bit; any dtype and shape."""
    import torch

    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    entries = tensor.contiguous().view(-1).view(whole).numpy()
    rng = np.random.default_rng([seed, *name.encode()])
    return torch.from_numpy(rng.permutation(entries)).view(tensor.dtype).view(tensor.shape)
