"""What is read off a next-token distribution, in float32, at the last position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

SLAB = 2048
"""Tokens that are summed in float32."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The unedited next-token distribution of each prompt, and what the metrics need of it.

    Every row of an edited batch is compared with one of these rows.
    """

    logprobs: Float[Tensor, "prompt vocab"]
    probs: Float[Tensor, "prompt vocab"]
    top5: Int[Tensor, "prompt 5"]
    answer: Int[Tensor, " prompt"]
    foil: Int[Tensor, " prompt"]
    forms: Int[Tensor, "prompt form"] | None = None
    """Tokens that begin the answer in one of its surface forms, -1 where a prompt has fewer."""

    def summary(self) -> dict[str, Float[Tensor, " prompt"]]:
        """entropy_nats, answer_logprob and foil_logprob of the unedited run."""
        return {
            "entropy_nats": entropy_nats(self.logprobs),
            "answer_logprob": _at(self.logprobs, self.answer),
            "foil_logprob": _at(self.logprobs, self.foil),
        }


def baseline(
    logits: Float[Tensor, "prompt vocab"],
    answer: Int[Tensor, " prompt"],
    foil: Int[Tensor, " prompt"],
    forms: Int[Tensor, "prompt form"] | None = None,
) -> Baseline:
    """The baseline of these logits."""
    logprobs = log_softmax_(logits.float().clone())
    top5 = logprobs.topk(5, dim=-1).indices
    return Baseline(logprobs=logprobs, probs=logprobs.exp(), top5=top5, answer=answer, foil=foil, forms=forms)


def log_softmax_(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
    """Log-probabilities, in place, their sum brought to 1 by a sum in float64 between slabs.

    Over the 262,144 tokens of Gemma 3 float32's log Z alone is off by 2e-5 to 6e-5.
    """
    torch.log_softmax(logits, dim=-1, out=logits)
    mass = torch.stack([part.exp().sum(dim=-1).double() for part in torch.split(logits, SLAB, dim=1)]).sum(
        dim=0
    )
    return logits.sub_(mass.log().float()[:, None])


def contrast(
    base: Baseline, prompt: Int[Tensor, " row"], logprobs: Float[Tensor, "row vocab"]
) -> dict[str, Float[Tensor, " row"]]:
    """foil_logprob and, where the baseline has forms, forms_logprob (see harness.effects.CONTRAST)."""
    values = {"foil_logprob": _at(logprobs, base.foil[prompt])}
    if base.forms is not None:
        forms = base.forms[prompt]
        found = logprobs.gather(1, forms.clamp(min=0)).masked_fill(forms < 0, -torch.inf)
        values["forms_logprob"] = found.logsumexp(dim=-1)
    return values


def answered(
    base: Baseline, prompt: Int[Tensor, " row"], logprobs: Float[Tensor, "row vocab"]
) -> dict[str, Float[Tensor, " row"]]:
    """answer_match (see harness.effects.ADAPTED)."""
    best = largest(logprobs, 2)
    return {"answer_match": (_at(logprobs, base.answer[prompt]) > best[:, 1]).float()}


def compare_(
    base: Baseline, prompt: Int[Tensor, " row"], logprobs: Float[Tensor, "row vocab"]
) -> dict[str, Float[Tensor, " row"]]:
    """kl_nats, top5_overlap, argmax_match and answer_logprob (see harness.effects.METRICS).

    `prompt[i]`, ascending, is the baseline row that row i is compared with. `logprobs`, a float32 log-softmax of
    several hundred megabytes a pass, is overwritten.
    """
    # The sixth value decides membership: a token that only ties with it has no place among the five.
    best = largest(logprobs, 6)
    kept = torch.gather(logprobs, 1, base.top5[prompt])
    values = {
        "top5_overlap": (kept > best[:, 5:6]).float().mean(dim=-1),
        "argmax_match": (kept[:, 0] > best[:, 1]).float(),
        "answer_logprob": _at(logprobs, base.answer[prompt]),
    }
    kl = logprobs.new_empty(len(logprobs))
    for j in torch.unique(prompt).tolist():
        first, last = (int(x) for x in (prompt == j).nonzero()[[0, -1], 0])
        rows = slice(first, last + 1)
        kl[rows] = -_weighted_sum(logprobs[rows].sub_(base.logprobs[j]), base.probs[j])
    return {"kl_nats": kl, **values}


def largest(values: Float[Tensor, "row column"], k: int, width: int = 64) -> Float[Tensor, "row k"]:
    """The k largest values of each row, descending: topk, searched only in the k spans with the largest maxima."""
    n_spans = values.shape[1] // width
    if n_spans <= k:
        return values.topk(k, dim=-1).values
    spans = values[:, : n_spans * width].reshape(len(values), n_spans, width)
    at = spans.amax(dim=-1).topk(k, dim=-1).indices
    found = torch.gather(spans, 1, at[:, :, None].expand(-1, -1, width)).flatten(1)
    return torch.cat([found, values[:, n_spans * width :]], dim=1).topk(k, dim=-1).values


def kl_nats(p: Float[Tensor, "*row vocab"], q: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """KL(p || q) in nats of two tables of log-probabilities, summed over the vocabulary."""
    return (p.exp() * (p - q)).sum(dim=-1)


def entropy_nats(p: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """Entropy in nats of a table of log-probabilities."""
    return -(p.exp() * p).sum(dim=-1)


def _weighted_sum(
    values: Float[Tensor, "row vocab"], weights: Float[Tensor, " vocab"]
) -> Float[Tensor, " row"]:
    """Sum over the vocabulary, in float64 between slabs.

    One float32 product over the 262,144 tokens of Gemma 3 was off by 5e-5 of a KL of ten nats.
    """
    slabs = [
        (part @ weight).double()
        for part, weight in zip(torch.split(values, SLAB, dim=1), torch.split(weights, SLAB), strict=True)
    ]
    return torch.stack(slabs).sum(dim=0).float()


def _at(logprobs: Float[Tensor, "row vocab"], token: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    return logprobs.gather(1, token[:, None])[:, 0]
