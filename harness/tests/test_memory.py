"""The memory budget: reckoned from shapes, kept by what a sweep really holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config

from harness.edits import Stream, zero
from harness.effects import METRICS
from harness.engine import memory
from harness.engine.attribution import attribute
from harness.engine.blocks import Stack
from harness.engine.memory import Budget, OutOfMemory, Shape, groups, waves
from harness.engine.sweep import Item, sweep

MIB = 2**20
QWEN_3B = Qwen2Config(
    vocab_size=151_936,
    hidden_size=2048,
    intermediate_size=11_008,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
)
"""The published sizes of Qwen2.5-3B."""


def prompts_of(lengths, vocab):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, vocab, (n,), generator=generator).tolist() for n in lengths]
    return [Item(ids=tuple(row), answer=1, foil=2) for row in rows]


def head_edits(n_layers, n_heads):
    return [zero(Stream.Z, layer, head) for layer in range(n_layers) for head in range(n_heads)]


def model_of(**sizes):
    torch.manual_seed(0)
    config = LlamaConfig(tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, **sizes)
    model = LlamaForCausalLM(config).eval()
    model.requires_grad_(False)
    return model


SIZES = {
    "vocab_size": 2_000,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}

PEAK = """
import json, sys, threading, time
from dataclasses import replace
import psutil, torch
from harness.edits import erase
from harness.engine.attribution import attribute
from harness.engine.blocks import Stack
from harness.engine.sweep import sweep
from harness.tests.test_memory import head_edits, model_of, prompts_of

sizes, lengths, every, budget, kind = json.loads(sys.argv[1])
torch.set_num_threads(1)
model = model_of(**sizes)
probes = head_edits(sizes["num_hidden_layers"], sizes["num_attention_heads"])[::every]
if kind == "last position":
    probes = [replace(probe, positions=(-1,)) for probe in probes]
if kind == "constancy":
    probes = [erase(layer) for layer in range(sizes["num_hidden_layers"])]
prompts = prompts_of(lengths, sizes["vocab_size"])
torch.set_grad_enabled(False)
model(input_ids=torch.tensor([prompts[0].ids]))  # what torch keeps for itself is not the sweep's
process, seen, stop = psutil.Process(), [], threading.Event()

def watch():
    while not stop.is_set():
        seen.append(process.memory_info().rss)
        time.sleep(0.001)

start = process.memory_info().rss
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
if kind == "screen":
    attribute(Stack(model), prompts, memory_bytes=budget)
else:
    sweep(Stack(model), prompts, probes, memory_bytes=budget, constancy=kind == "constancy")
stop.set()
watcher.join()
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(json.dumps({"grown": max(seen) - start, "weights": weights}))
"""


def peak(sizes, lengths, *, every=1, budget, kind="heads"):
    """Resident memory gained by a sweep in a process of its own, and the weights' size, bytes."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps([sizes, list(lengths), every, budget, kind])],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def stack():
    """A model whose activations outweigh its weights."""
    return Stack(model_of(**SIZES))


@pytest.mark.parametrize(
    ("lengths", "budget"),
    [((9, 12, 15) * 4, 40 * MIB), ((9, 12, 15) * 40, 40 * MIB), ((1000, 12), 45 * MIB)],
    ids=["12 prompts", "120 prompts", "1000 tokens"],
)
def test_what_a_sweep_holds_stays_within_the_budget(lengths, budget):
    assert peak(SIZES, lengths, budget=budget)["grown"] <= budget


def test_edits_of_the_last_position_keep_it_too_where_every_head_has_keys_of_its_own():
    """Each variant needs the baseline's keys and values: 96 copies at once would be 98 MiB."""
    own_keys = {**SIZES, "num_key_value_heads": 8}
    assert peak(own_keys, (1000, 12), budget=45 * MIB, kind="last position")["grown"] <= 45 * MIB


def test_a_large_vocabulary_compared_with_the_first_prompt_keeps_it_too():
    wide = {**SIZES, "vocab_size": 100_000, "num_hidden_layers": 4}
    assert peak(wide, (9, 12, 15) * 4, budget=330 * MIB, kind="constancy")["grown"] <= 330 * MIB


@pytest.mark.parametrize("lengths", [(9, 12, 15) * 40, (1000, 12)], ids=["120 prompts", "1000 tokens"])
def test_a_screen_keeps_it_too(lengths):
    budget = 40 * MIB if len(lengths) > 2 else 220 * MIB
    assert peak(SIZES, lengths, budget=budget, kind="screen")["grown"] <= budget


def test_a_screen_of_a_prompt_too_long_says_what_would_do(stack):
    with pytest.raises(OutOfMemory, match=r"gradients of a prompt of 500 tokens.*--memory \d.*--screen"):
        attribute(stack, prompts_of((500,), 2_000), memory_bytes=4 * MIB)


def test_a_smaller_budget_gives_the_same_numbers(stack):
    prompts, probes = prompts_of((40, 25, 31), SIZES["vocab_size"]), head_edits(12, 8)[::3]
    roomy, _ = sweep(stack, prompts, probes)
    tight, _ = sweep(stack, prompts, probes, memory_bytes=12 * MIB)
    assert all(np.abs(roomy[name] - tight[name]).max() < 1e-5 for name in METRICS)


WIDE = {
    "vocab_size": 2_000,
    "hidden_size": 2048,
    "intermediate_size": 11_008,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
}
"""Two layers of Qwen2.5-3B's widths; a smaller vocabulary keeps the test quick."""


def test_blocks_of_the_shapes_of_a_3b_model_keep_the_budget_and_the_weights_are_held_once():
    found = peak(WIDE, (60, 50), every=4, budget=350 * MIB)
    assert found["grown"] <= 350 * MIB
    assert found["weights"] > 600 * MIB


@pytest.mark.parametrize("tokens", [15, 150, 1000])
def test_every_head_of_a_3b_model_is_cut_into_passes_that_fit(tokens):
    """From the published shapes alone: no weight is made."""
    probes = head_edits(36, 16)
    budget = Budget(bytes=2 * 2**30, shape=Shape.of_config(QWEN_3B), chunk_rows=1536)
    lengths = [tokens] * 120
    for group in groups(budget, lengths, probes, range(120), equal_lengths=False):
        sizes = [lengths[i] for i in group]
        passes = waves(budget, sizes, probes, range(len(probes)))
        assert sorted(row for rows in passes for row in rows) == list(range(len(probes)))
        assert all(budget.fits(sizes, [probes[row] for row in rows]) for rows in passes)


def test_a_budget_too_small_for_one_edit_says_what_would_do(stack):
    with pytest.raises(OutOfMemory, match=r"500 tokens.*L0H0.*--memory \d"):
        sweep(stack, prompts_of((500,), 2_000), head_edits(12, 8), memory_bytes=4 * MIB)


def test_groups_hold_every_prompt_once_and_few_tokens(stack):
    budget = Budget(bytes=2**30, shape=Shape.of(stack), chunk_rows=1536)
    probes, lengths = head_edits(12, 8), [40, 50, 45, 200, 10]
    found = groups(budget, lengths, probes, [2, 0, 1, 3, 4], equal_lengths=False)
    assert sorted(i for group in found for i in group) == [0, 1, 2, 3, 4]
    assert all(sum(lengths[i] for i in g) <= memory.GROUP_ROWS or len(g) == 1 for g in found)
