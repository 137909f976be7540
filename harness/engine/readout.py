"""From final residuals to metrics: the unembedding and the comparison, streamed in chunks of rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from harness.engine.blocks import Stack
from harness.engine.climb import Summit
from harness.engine.metrics import Baseline, answered, compare_, contrast, entropy_nats, kl_nats, log_softmax_

LOGIT_BYTES = 64 * 2**20
"""Bound on one chunk of float32 logits."""
LOGIT_ROWS = 128
"""Rows of one chunk at most: the product is at full speed, and the logits still lie in the cache when read."""


def logit_rows(vocab: int) -> int:
    """Rows of logits held at a time."""
    return max(1, min(LOGIT_ROWS, LOGIT_BYTES // (4 * vocab)))


class Readout:
    """Metrics of edited residuals. With `reference`, [probe, vocab], also how far outputs depend on the prompt.

    The reference is filled by the first group, whose first prompt it is. With `contrasted`, CONTRAST as well;
    with `answered`, answer_match (`harness.effects.ADAPTED`).
    """

    def __init__(
        self,
        stack: Stack,
        reference: Tensor | None = None,
        *,
        contrasted: bool = False,
        answered: bool = False,
    ) -> None:
        self.stack, self.reference = stack, reference
        self.contrasted, self.answered = contrasted, answered

    def __call__(
        self, base: Baseline, summit: Summit, rows: list[int], *, first: bool
    ) -> dict[str, Float[Tensor, "probe prompt"]]:
        """Metrics of these probes (`rows` of the table); `first` says that prompt 0 is the reference."""
        n_probes, n_prompts, d_model = summit.edited.shape
        flat = summit.edited.transpose(0, 1).reshape(-1, d_model)  # prompts side by side, probes within them
        device = flat.device
        prompt_of = torch.arange(n_prompts, device=device).repeat_interleave(n_probes)
        probe_of = torch.arange(n_probes, device=device).repeat(n_prompts)
        table_row = torch.tensor(rows, device=device)
        normed = torch.tensor(summit.normed, device=device)[probe_of]
        out: dict[str, Tensor] = {}
        for with_norm in (True, False):
            wanted = (normed == with_norm).nonzero()[:, 0]
            for chunk in torch.split(wanted, logit_rows(base.logprobs.shape[-1])) if len(wanted) else ():
                logits = self.stack.unembed(flat[chunk], normed=with_norm)
                logprobs = log_softmax_(logits)
                values = {}
                if self.reference is not None:
                    values = self._constancy(logprobs, table_row[probe_of[chunk]], prompt_of[chunk], first)
                if self.contrasted:
                    values |= contrast(base, prompt_of[chunk], logprobs)
                if self.answered:
                    values |= answered(base, prompt_of[chunk], logprobs)
                values |= compare_(base, prompt_of[chunk], logprobs)
                for name, value in values.items():
                    out.setdefault(name, flat.new_empty(len(flat)))[chunk] = value
        return {name: value.view(n_prompts, n_probes).T for name, value in out.items()}

    def _constancy(
        self, logprobs: Tensor, probe: Tensor, prompt: Tensor, first: bool
    ) -> dict[str, Float[Tensor, " row"]]:
        """Rows are in order, so prompt 0 of a probe comes before the others."""
        assert self.reference is not None
        if first:
            is_reference = prompt == 0
            self.reference[probe[is_reference]] = logprobs[is_reference]
        uniform = torch.tensor(float(logprobs.shape[-1])).log().item()
        return {
            "kl_to_first_nats": kl_nats(logprobs, self.reference[probe]),
            "kl_to_uniform_nats": uniform - entropy_nats(logprobs),
        }
