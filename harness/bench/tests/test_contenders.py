"""Each tool's driver against our engine, and ours against logits computed by hand."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.bench.contenders import ENTRIES, OURS, Entry, find_entry
from harness.bench.contenders.reading import Reference, pad
from harness.bench.run import largest_gap
from harness.bench.workload import BenchPrompt, SimpleEdit, all_edits
from harness.models.testing import save_tiny_checkpoint

IDS = ((3, 4, 5, 6, 7), (3, 4, 5, 8), (9, 4, 5, 3, 4, 6, 6), (3, 4))
PROMPTS = [BenchPrompt(family="f", template="t", text=str(i), ids=i, answer=1, foil=2) for i in IDS]
EDITS = [SimpleEdit.of(edit) for edit in all_edits(2, 4)]
PACKAGES = {"transformer_lens": "transformer_lens", "nnsight": "nnsight", "pyvene": "pyvene"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose matrices are large enough that every edit moves every prompt by far."""
    from transformers import AutoModelForCausalLM

    directory = save_tiny_checkpoint(tmp_path_factory.mktemp("bench") / "tiny")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> np.ndarray:
    return _run(find_entry(OURS), checkpoint, [0, 1, 2, 3])


def _run(entry: Entry, checkpoint: Path, prompts: list[int]) -> np.ndarray:
    contender = entry.build(checkpoint)
    contender.prepare(PROMPTS)
    return contender.run(EDITS, prompts)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name != OURS], ids=lambda e: e.name)
def test_a_contender_gives_our_numbers_cell_by_cell(entry: Entry, checkpoint: Path, ours: np.ndarray) -> None:
    package = PACKAGES.get(entry.module)
    if package is not None and find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install -e '.[bench]'")
    assert ours.min() > 1e-3  # every edit moves every prompt, so that one which did nothing would show
    chosen = [2, 0, 3]  # neither all prompts nor in order
    assert largest_gap(_run(entry, checkpoint, chosen), ours[:, chosen]) <= 1


def test_a_loop_that_skips_the_wrong_block_shows(checkpoint: Path, ours: np.ndarray) -> None:
    contender = find_entry("hooks-loop").build(checkpoint)
    contender.prepare(PROMPTS)
    wrong = contender.run([SimpleEdit(kind="skip", layer=1)], [0])
    assert largest_gap(wrong, ours[:1, :1]) > 1


def test_the_gap_counts_the_worst_cell_and_refuses_what_is_not_a_number() -> None:
    ours = np.array([[0.0, 10.0]])
    assert largest_gap(ours + np.array([[2e-4, 0.0]]), ours) == pytest.approx(2)
    assert largest_gap(ours + np.array([[0.0, 1.1e-3]]), ours) == pytest.approx(1)
    assert largest_gap(np.array([[np.nan, 10.0]]), ours) == float("inf")


def test_batches_keep_every_prompt_and_find_its_last_token() -> None:
    prompts = [torch.tensor([ids]) for ids in IDS] * 10
    batches = pad(prompts, range(40))
    assert sorted(i for batch in batches for i in batch.prompts) == list(range(40))
    assert [len(batch.prompts) for batch in batches] == [13, 13, 14]
    for batch in batches:
        lasts = batch.at_last(batch.ids[:, :, None])[:, 0].tolist()
        assert lasts == [IDS[i % 4][-1] for i in batch.prompts]


def test_the_kl_is_that_of_torch() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    edited = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    rows = iter(logits)
    reference = Reference(PROMPTS, lambda ids: next(rows)[None])
    p, q = logits.log_softmax(-1), edited.log_softmax(-1)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    assert reference.kl(edited, [0, 1, 2, 3]) == pytest.approx(expected.tolist(), rel=1e-5)
