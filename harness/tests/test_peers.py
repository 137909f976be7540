"""Other tools' numbers: TransformerLens on real weights, and plain hooks on a random Qwen2, edit by edit.

`make peers` installs the tools and runs this; the extra `peers` is TransformerLens alone.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.bench.contenders import OURS, find_entry
from harness.bench.run import largest_gap
from harness.bench.workload import BenchPrompt, SimpleEdit, all_edits, build_workload
from harness.models import available, find_model, load, obtain
from harness.models.testing import save_tiny_checkpoint


def kls(contender: str, checkpoint: Path, prompts: list[BenchPrompt], edits: list[SimpleEdit]) -> np.ndarray:
    made = find_entry(contender).build(checkpoint)
    made.prepare(prompts)
    return made.run(edits, list(range(len(prompts))))


def test_transformer_lens_measures_the_same_on_real_weights() -> None:
    """Every kind of edit over the depth of SmolLM2, on a prompt of each third family: within 1e-4 + 1e-4 x KL nats."""
    missing = pytest.fail if os.environ.get("CLAIMS_PEERS") == "required" else pytest.skip
    if find_spec("transformer_lens") is None:
        missing("transformer_lens is not installed: make peers, or pip install -e '.[peers]'")
    spec = find_model("smollm2_135m")
    if available(spec).state == "missing":
        missing(f"{spec.id}: {available(spec).reason}; {available(spec).remedy}")
    prompts = list(build_workload("suite", load(spec).encode).prompts)[::9]
    edits = [SimpleEdit.of(edit) for edit in all_edits(30, 9)]
    chosen = [edit for edit in edits if edit.kind != "head"][::4] + [e for e in edits if e.kind == "head"][
        ::13
    ]
    checkpoint = obtain(spec).directory
    theirs = kls("transformer-lens-loop", checkpoint, prompts, chosen)
    ours = kls(OURS, checkpoint, prompts, chosen)
    assert theirs.max() > 1.0, "some edit matters"
    assert largest_gap(theirs, ours) <= 1


@pytest.mark.parametrize("mode", ["hooks-loop", "hooks-batched"])
def test_plain_hooks_measure_the_same_on_a_random_qwen2(mode: str, tmp_path: Path) -> None:
    """Grouped queries, biases on q, k and v, prompts of several lengths."""
    checkpoint = save_tiny_checkpoint(tmp_path / "qwen2", kind="qwen2")
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.dim() == 2 else 1)
    model.save_pretrained(checkpoint)
    generator = np.random.default_rng(0)
    prompts = [
        BenchPrompt(
            family="f",
            template="t",
            text=str(n),
            ids=tuple(generator.integers(3, 9, n).tolist()),
            answer=1,
            foil=2,
        )
        for n in (3, 7, 7, 12)
    ]
    edits = [SimpleEdit.of(edit) for edit in all_edits(2, 4)]
    ours = kls(OURS, checkpoint, prompts, edits)
    assert ours.min() > 1e-3, "an edit that did nothing would not show"
    assert largest_gap(kls(mode, checkpoint, prompts, edits), ours) <= 1
