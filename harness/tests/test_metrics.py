"""What is read off a distribution, against scipy, sorting and counting, on rows of several prompts at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

from harness.effects import BASELINE, METRICS
from harness.engine.metrics import baseline, compare_, entropy_nats, kl_nats, largest

VOCAB = 500


def logits(rows: int, seed: int, vocab: int = VOCAB) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 2


def log_softmax(x: torch.Tensor) -> np.ndarray:
    return np.asarray(special.log_softmax(x.double().numpy(), axis=-1))


def expected(base: np.ndarray, edited: np.ndarray, answer: int) -> dict[str, float]:
    """The metrics of one row, by sorting, in double precision."""
    five = np.argsort(-base)[:5]
    kept = [token for token in five if (edited >= edited[token]).sum() <= 5]
    return {
        "kl_nats": float(stats.entropy(np.exp(base), np.exp(edited))),
        "top5_overlap": len(kept) / 5,
        "argmax_match": float((edited >= edited[base.argmax()]).sum() == 1),
        "answer_logprob": float(edited[answer]),
    }


def test_a_comparison_is_the_definition_row_by_row():
    """Rows of three prompts, unequal in number, some close to their baseline and some far from it."""
    base_logits = logits(3, seed=1)
    answer, foil = torch.tensor([7, 450, 3]), torch.tensor([8, 451, 4])
    prompt = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    noise = torch.tensor([0.0, 0.05, 0.3, 1.0, 0.1, 0.5, 2.0, 0.2])[:, None] * logits(len(prompt), seed=2)
    edited = torch.log_softmax(base_logits[prompt] + noise, dim=-1)
    truth = log_softmax(base_logits[prompt] + noise)
    base = baseline(base_logits, answer, foil)
    found = compare_(base, prompt, edited.clone())
    assert tuple(found) == METRICS
    for i, j in enumerate(prompt.tolist()):
        row = expected(log_softmax(base_logits)[j], truth[i], int(answer[j]))
        assert {name: float(values[i]) for name, values in found.items()} == pytest.approx(row, abs=1e-5), i
    assert len(set(found["top5_overlap"].tolist())) >= 3, "the rows must differ in what they keep"
    assert set(found["argmax_match"].tolist()) == {0.0, 1.0}


def test_rows_of_a_prompt_that_is_not_the_first_are_compared_with_their_own():
    base_logits = logits(4, seed=3)
    base = baseline(base_logits, torch.arange(4), torch.arange(4))
    found = compare_(base, torch.tensor([2, 3, 3]), torch.log_softmax(base_logits[[2, 3, 0]], dim=-1))
    assert found["kl_nats"][:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert float(found["kl_nats"][2]) > 0.1


def test_the_table_is_overwritten_as_it_says():
    """Several hundred megabytes: no second table is made."""
    base = baseline(logits(1, seed=4), torch.tensor([0]), torch.tensor([1]))
    edited = torch.log_softmax(logits(1, seed=5), dim=-1)
    before = edited.clone()
    compare_(base, torch.tensor([0]), edited)
    torch.testing.assert_close(edited, before - base.logprobs)


@pytest.mark.parametrize(
    ("order", "overlap", "match"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 1.0, 1.0),
        ([1, 0, 2, 3, 4, 5, 6, 7], 1.0, 0.0),  # the same five, another first
        ([0, 1, 2, 3, 5, 4, 6, 7], 0.8, 1.0),  # the fifth and the sixth change places
        ([5, 6, 7, 0, 1, 2, 3, 4], 0.4, 0.0),
        ([7, 6, 5, 4, 3, 2, 1, 0], 0.4, 0.0),
    ],
)
def test_overlap_counts_the_base_top_five_that_stay_among_five(order, overlap, match):
    base = baseline(torch.arange(8.0).flip(0)[None], torch.tensor([0]), torch.tensor([1]))
    edited = torch.empty(1, 8)
    edited[0, order] = torch.arange(8.0).flip(0)
    found = compare_(base, torch.tensor([0]), torch.log_softmax(edited, dim=-1))
    assert float(found["top5_overlap"]) == pytest.approx(overlap)
    assert float(found["argmax_match"]) == match


@pytest.mark.parametrize(
    ("edited", "overlap", "match"),
    [
        (
            [9.0, 8.0, 7.0, 6.0, 5.0, 5.0, 1.0, 0.0],
            0.8,
            1.0,
        ),  # the fifth ties with the sixth: no place for it
        ([9.0, 9.0, 7.0, 6.0, 5.0, 4.0, 1.0, 0.0], 1.0, 0.0),  # two at the top: neither is the sole likeliest
        ([5.0] * 8, 0.0, 0.0),
    ],
)
def test_a_tie_is_no_order(edited, overlap, match):
    base = baseline(torch.arange(8.0).flip(0)[None], torch.tensor([0]), torch.tensor([1]))
    found = compare_(base, torch.tensor([0]), torch.log_softmax(torch.tensor([edited]), dim=-1))
    assert float(found["top5_overlap"]) == pytest.approx(overlap)
    assert float(found["argmax_match"]) == match


@pytest.mark.parametrize("vocab", [6, 63, 64, 6 * 64, 6 * 64 + 1, 7 * 64 - 1, 7 * 64, 7 * 64 + 1, 999])
@pytest.mark.parametrize("k", [1, 5, 6])
def test_the_largest_are_those_of_a_sort(vocab, k):
    values = logits(20, seed=vocab, vocab=vocab)
    assert torch.equal(largest(values, k), values.sort(dim=-1, descending=True).values[:, :k])


@pytest.mark.parametrize("where", ["one span", "the rest", "a span each", "all equal", "edges of spans"])
def test_the_largest_are_found_wherever_they_stand(where):
    values = logits(1, seed=0, vocab=1_000)
    at = {
        "one span": range(640, 646),
        "the rest": range(994, 1_000),  # 15 spans of 64 leave 40 columns
        "a span each": range(3, 900, 150),
        "all equal": (),
        "edges of spans": (0, 63, 64, 127, 959, 960),
    }[where]
    if where == "all equal":
        values[:] = 1.0
    for rank, column in enumerate(at):
        values[0, column] = 100.0 + rank
    wanted = np.sort(values[0].numpy())[::-1][:6]
    assert largest(values, 6)[0].tolist() == wanted.tolist()


def test_only_the_spans_that_can_hold_the_largest_are_searched(monkeypatch):
    """What makes it worth having: the last topk sees k spans and the rest, not the vocabulary."""
    seen: list[int] = []
    topk = torch.Tensor.topk

    def counted(self: torch.Tensor, *given: Any, **named: Any) -> Any:
        seen.append(self.shape[-1])
        return topk(self, *given, **named)

    monkeypatch.setattr(torch.Tensor, "topk", counted)
    largest(logits(2, seed=0, vocab=10_000), 6)
    assert seen == [156, 6 * 64 + 10_000 % 64]  # the maxima of 156 spans, then six spans and 16 columns


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_baseline_is_computed_in_float32(dtype):
    given = logits(2, seed=6).to(dtype)
    base = baseline(given, torch.tensor([1, 2]), torch.tensor([3, 4]))
    assert base.logprobs.dtype is torch.float32
    np.testing.assert_allclose(base.logprobs.numpy(), log_softmax(given), atol=1e-5)
    np.testing.assert_allclose(base.probs.numpy(), np.exp(log_softmax(given)), atol=1e-6)
    top = given.double().gather(1, base.top5)  # in a short type tokens tie: any order of equals will do
    assert torch.equal(top, given.double().sort(dim=-1, descending=True).values[:, :5])


def test_logits_too_large_for_their_exponential_have_a_baseline():
    """exp(88) is the largest of float32; multiples of 1/2 up to 256 are exact in it."""
    given = (2 * logits(2, seed=9)).round() / 2 + 200.0
    base = baseline(given, torch.tensor([1, 2]), torch.tensor([3, 4]))
    np.testing.assert_allclose(base.logprobs.numpy(), log_softmax(given), atol=1e-5)


def test_a_baseline_sums_up_what_is_kept_of_the_unedited_run():
    given = logits(3, seed=7)
    base = baseline(given, torch.tensor([10, 20, 30]), torch.tensor([40, 50, 60]))
    summary, truth = base.summary(), log_softmax(given)
    assert tuple(summary) == BASELINE
    np.testing.assert_allclose(summary["answer_logprob"].numpy(), truth[range(3), [10, 20, 30]], atol=1e-5)
    np.testing.assert_allclose(summary["foil_logprob"].numpy(), truth[range(3), [40, 50, 60]], atol=1e-5)
    np.testing.assert_allclose(
        summary["entropy_nats"].numpy(), stats.entropy(np.exp(truth), axis=1), atol=1e-5
    )


def test_a_uniform_distribution_has_the_entropy_of_its_size_and_is_that_far_from_a_certain_one():
    uniform = torch.full((2, 3, 50), -float(np.log(50)))
    np.testing.assert_allclose(entropy_nats(uniform).numpy(), np.full((2, 3), np.log(50)), rtol=1e-6)
    table = torch.log_softmax(logits(6, seed=8, vocab=50), dim=-1)
    np.testing.assert_allclose(
        kl_nats(uniform, table.reshape(2, 3, 50)).flatten().numpy(),
        stats.entropy(np.full((6, 50), 1 / 50), table.exp().double().numpy(), axis=1),
        rtol=1e-4,
    )
    certain = torch.log_softmax(torch.eye(50) * 60, dim=-1)[:1]
    np.testing.assert_allclose(kl_nats(certain, uniform[0, :1]).numpy(), [np.log(50)], rtol=1e-5)


def test_a_large_vocabulary_does_not_blur_the_kl() -> None:
    """Ten nats from uniform over 262,144 tokens, beside float64: an erased stream's KL is an identity to 1e-5 nats."""
    generator = torch.Generator().manual_seed(0)
    logits = 4.5 * torch.randn(3, 262_144, generator=generator)
    base = baseline(logits, torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5]))
    found = compare_(base, torch.arange(3), torch.full_like(logits, -float(np.log(262_144))))["kl_nats"]
    p = logits.double().log_softmax(-1)
    expected = (p.exp() * (p + np.log(262_144))).sum(-1)
    assert expected.min() > 5.0
    np.testing.assert_allclose(found.double(), expected, rtol=0, atol=1e-5)
