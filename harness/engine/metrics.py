"""What is read off a next-token distribution, in float32, at the last position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The unedited next-token distribution of each prompt, and what the metrics need of it.

    Every row of an edited batch is compared with one of these rows.
    """

    logprobs: Float[Tensor, "prompt vocab"]
    top5: Int[Tensor, "prompt 5"]
    answer: Int[Tensor, " prompt"]
    foil: Int[Tensor, " prompt"]

    def summary(self) -> dict[str, Float[Tensor, " prompt"]]:
        """entropy_nats, answer_logprob and foil_logprob of the unedited run."""
        return {
            "entropy_nats": entropy_nats(self.logprobs),
            "answer_logprob": _at(self.logprobs, self.answer),
            "foil_logprob": _at(self.logprobs, self.foil),
        }


def baseline(
    logits: Float[Tensor, "prompt vocab"], answer: Int[Tensor, " prompt"], foil: Int[Tensor, " prompt"]
) -> Baseline:
    """The baseline of these logits."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return Baseline(logprobs=logprobs, top5=logprobs.topk(5, dim=-1).indices, answer=answer, foil=foil)


def compare(
    base: Baseline, prompt: Int[Tensor, " row"], logprobs: Float[Tensor, "row vocab"]
) -> dict[str, Float[Tensor, " row"]]:
    """kl_nats, top5_overlap, argmax_match and answer_logprob (see harness.effects.METRICS).

    `prompt[i]` is the baseline row that row i, a float32 log-softmax, is compared with.
    """
    reference = base.logprobs[prompt]
    # The sixth value decides membership: a token that only ties with it has no place among the five.
    best = logprobs.topk(6, dim=-1).values
    kept = torch.gather(logprobs, 1, base.top5[prompt])
    return {
        "kl_nats": kl_nats(reference, logprobs),
        "top5_overlap": (kept > best[:, 5:6]).float().mean(dim=-1),
        "argmax_match": (kept[:, 0] > best[:, 1]).float(),
        "answer_logprob": _at(logprobs, base.answer[prompt]),
    }


def kl_nats(p: Float[Tensor, "*row vocab"], q: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """KL(p || q) in nats of two tables of log-probabilities, summed over the vocabulary."""
    return (p.exp() * (p - q)).sum(dim=-1)


def entropy_nats(p: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """Entropy in nats of a table of log-probabilities."""
    return -(p.exp() * p).sum(dim=-1)


def _at(logprobs: Float[Tensor, "row vocab"], token: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    return logprobs.gather(1, token[:, None])[:, 0]
