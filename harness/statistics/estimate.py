"""An estimate with its interval. A value only: importable without numpy."""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.98
"""Of every interval that is shown or judged: a claim is supported where a bound lies on its side of the threshold, so
that at the threshold itself one draw in a hundred says `supported` by chance, and fewer beyond."""

ALPHA = 0.02
"""Its two-sided level, 1 - CONFIDENCE; one-sided, half of it."""

ANSWER_DROP = "answer_drop_nats"
"""Derived of a table, not kept in it: log-probability of the answer in the unedited run less that in the edited run."""

UNITS = {
    "kl_nats": "nats",
    "kl_measured_nats": "nats",
    "kl_to_first_nats": "nats",
    "kl_to_uniform_nats": "nats",
    "answer_logprob": "nats",
    "foil_logprob": "nats",
    "forms_logprob": "nats",
    "recovery": "of the gap",
    ANSWER_DROP: "nats",
    "top5_overlap": "share",
    "argmax_match": "share",
    "rise_log10": "powers of ten",
    "speedup": "x",
    "new_tokens": "tokens",
    "repeated_bigrams": "share",
    "repeated_trigrams": "share",
    "same_token": "share",
    "off_script": "share",
    "degenerate": "share",
    "answer_match": "share",
    "update_norm": "norm",
    "factor_norm": "norm",
    "train_loss": "nats",
    "valid_json": "share",
}
"""Unit of each metric a sweep returns; any other metric prints its own name."""

BOUNDED = frozenset(
    {
        *("top5_overlap", "argmax_match", "answer_match", "valid_json"),
        *("repeated_bigrams", "repeated_trigrams", "same_token", "off_script", "degenerate"),
    }
)
"""Metrics that live in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over families of means over templates, with a bootstrap interval over templates.

    `n_templates` is the number of clusters, which is what the interval's width depends on; `n_prompts` is how
    many prompts they hold, over all pooled seeds.
    """

    value: float
    low: float
    high: float
    unit: str
    n_prompts: int
    n_templates: int
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        return (
            f"{format_number(self.value)} [{format_number(self.low)}, {format_number(self.high)}] "
            f"{self.unit} "
            f"({self.n_prompts} prompts, {self.n_templates} templates)"
        )


def format_number(value: float) -> str:
    """Three significant digits, without an exponent where it can be avoided: 13.7, 0.0412, 2.1e-06."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def unit_of(metric: str) -> str:
    """The unit a metric prints with."""
    return UNITS.get(metric, metric)
