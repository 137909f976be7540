"""Effects: the table probes x prompts of every metric that one sweep returns. numpy only, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from harness.edits import Edit, Probe
from harness.statistics.estimate import ANSWER_DROP

METRICS = ("kl_nats", "top5_overlap", "argmax_match", "answer_logprob")
"""Metrics every sweep returns, per probe and prompt, at the last position:

kl_nats         KL(base || edited) of the next-token distribution, nats
top5_overlap    share of the base's five likeliest tokens that are among the edited run's five likeliest; a
                token that ties with the sixth does not count: a distribution without an order scores 0
argmax_match    1 where the base's likeliest token is the edited run's sole likeliest token, else 0
answer_logprob  log-probability of the answer token under the edited run, nats
"""

CONTRAST = ("foil_logprob", "forms_logprob")
"""Optional metrics of the answer against its foil, per probe and prompt, nats:

foil_logprob    log-probability of the foil token under the edited run
forms_logprob   log of the summed probabilities of the tokens that begin the answer in one of its surface forms
"""

ADAPTED = ("foil_logprob", "answer_match", "update_norm", "factor_norm", "train_loss")
"""What a model with adapters on has beside METRICS (`harness.adapters`):

foil_logprob    as in CONTRAST
answer_match    1 where the answer is the state's sole likeliest token, else 0
update_norm     Frobenius norm of the update that is on, of a graft of its block's: the root of the sum of
                |scale B A|^2 over blocks and modules; 0 for the base
factor_norm     the atlas's: the root of the sum of |A|^2 + |B|^2 over the blocks that the row names, or all
train_loss      mean loss on the training items, of one trained adapter that is wholly on and unedited; else NaN

The last three are the state's own: the same on every prompt.
"""

VALID_JSON = "valid_json"
"""Optional, of models with adapters on and of the base beside them:

1 where the greedy continuation of a json_schema prompt ends, as valid JSON, the value that the prompt leaves open
(`harness.adapters.json_text`), and 0 where it does not, be it that the experiment's limit of new tokens cuts it off.
NaN on prompts of other families, and of rows whose adapters are not wholly on or that make an edit.
"""

PARTIAL = frozenset({"train_loss", VALID_JSON})
"""Metrics that some probes or prompts have no value of: NaN there."""

BASELINE = ("entropy_nats", "answer_logprob", "foil_logprob")
"""What is kept of the unedited run, per prompt; VALID_JSON too, where texts are written."""


@dataclass(frozen=True, kw_only=True)
class PromptRecord:
    """A prompt as it was measured; `template` clusters, `seed` is the draw it came from."""

    text: str
    answer: str
    foil: str
    family: str
    template: str
    n_tokens: int
    seed: int
    spots: tuple[str, ...] = ()
    """Spots the prompt has positions of, where the experiment asks for them."""
    n_in_spots: tuple[int, ...] = ()
    """Number of positions of each of `spots`."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """probes x prompts of each metric, and the unedited run per prompt.

    `unmeasured` are the probes that a screen left out. `floor_nats` is the noise floor of arithmetic in a short type,
    below which a kl_nats is kept as 0; 0 for float32, whose floor is below every threshold. An edit at a spot that a
    prompt lacks is not measured on it: there, and only there, a metric is NaN (but for the PARTIAL ones). Raises
    ValueError when a shape does not fit: a table with a missing cell is not a measurement; and when a probe is named as
    measured and as left out.
    """

    probes: tuple[Probe, ...]
    prompts: tuple[PromptRecord, ...]
    metrics: Mapping[str, Float[np.ndarray, "probes prompts"]]
    baseline: Mapping[str, Float[np.ndarray, " prompts"]]
    unmeasured: tuple[Probe, ...] = ()
    floor_nats: float = 0.0

    def __post_init__(self) -> None:
        if both := set(self.probes) & set(self.unmeasured):
            raise ValueError(f"'{min(map(str, both))}' is named as measured and as left out by a screen")
        shape = (len(self.probes), len(self.prompts))
        for name, values in self.metrics.items():
            if values.shape != shape:
                raise ValueError(f"metric {name} has shape {values.shape}, expected probes x prompts {shape}")
        for name, values in self.baseline.items():
            if values.shape != shape[1:]:
                raise ValueError(f"baseline {name} has shape {values.shape}, expected prompts {shape[1:]}")

    @property
    def families(self) -> tuple[str, ...]:
        """Family names, alphabetical."""
        return tuple(sorted({p.family for p in self.prompts}))

    def select(self, keep: Callable[[Probe], bool]) -> Effects:
        """The rows whose probe satisfies `keep`."""
        rows = [i for i, probe in enumerate(self.probes) if keep(probe)]
        return replace(
            self,
            probes=tuple(self.probes[i] for i in rows),
            metrics={name: values[rows] for name, values in self.metrics.items()},
            unmeasured=tuple(probe for probe in self.unmeasured if keep(probe)),
        )

    def row(self, probe: Probe) -> int:
        """Index of a probe. Raises KeyError with the probe's name when it was not measured."""
        try:
            return self.probes.index(probe)
        except ValueError:
            raise KeyError(f"'{probe}' was not measured") from None

    @property
    def measured(self) -> Bool[np.ndarray, "probes prompts"]:
        """False where an edit is at a spot that the prompt lacks."""
        spots = [probe.spot if isinstance(probe, Edit) else None for probe in self.probes]
        has = {
            spot: np.array([spot in prompt.spots for prompt in self.prompts]) for spot in set(spots) if spot
        }
        everywhere = np.ones(len(self.prompts), dtype=bool)
        return np.array([everywhere if spot is None else has[spot] for spot in spots])

    def having(self, metric: str) -> Bool[np.ndarray, "probes prompts"]:
        """As `measured`; of a PARTIAL metric False as well where it has no value."""
        return self.measured & ~np.isnan(self.metrics[metric]) if metric in PARTIAL else self.measured

    def values(self, metric: str) -> Float[np.ndarray, "probes prompts"]:
        """One metric, kept or derived (ANSWER_DROP). Raises KeyError where the table does not hold it."""
        if metric == ANSWER_DROP:
            return np.asarray(self.baseline["answer_logprob"] - self.metrics["answer_logprob"])
        return self.metrics[metric]

    def means(self, metric: str) -> Float[np.ndarray, " probes"]:
        """Mean of each probe over the prompts on which it was measured; NaN where on none.

        Of a PARTIAL metric, over the prompts that have a value of it.
        """
        where, values = self.having(metric), self.values(metric)
        return np.array(
            [row[on].mean() if on.any() else np.nan for row, on in zip(values, where, strict=True)]
        )

    def finite(self) -> bool:
        """True when every number that was to be measured is finite; of PARTIAL metrics, none infinite."""
        tables = all(
            bool(np.isfinite(values)[self.having(name)].all()) for name, values in self.metrics.items()
        )
        return tables and all(
            bool((np.isfinite(values) | (np.isnan(values) & (name in PARTIAL))).all())
            for name, values in self.baseline.items()
        )


def pool(tables: Sequence[Effects]) -> Effects:
    """The same probes measured over several seeds as one table: prompts side by side, each keeping its seed.

    Of screened tables the probes that all of them measured are kept; the others count as unmeasured.
    Raises ValueError when the tables do not hold the same probes and metrics, or when two of them are equal
    to the bit: a seed that changes nothing is not a replication.
    """
    if any(table.unmeasured for table in tables):
        tables = _measured_by_all(tables)
    first = tables[0]
    for other in tables[1:]:
        if other.probes != first.probes or other.metrics.keys() != first.metrics.keys():
            raise ValueError("only tables of the same probes and metrics can be pooled")
    for i, one in enumerate(tables):
        for two in tables[i + 1 :]:
            if bit_equal(one, two):
                raise ValueError(
                    f"seeds {one.prompts[0].seed} and {two.prompts[0].seed} gave bit-equal evidence: "
                    "a seed that changes nothing is not a replication"
                )
    return replace(
        first,
        prompts=tuple(p for t in tables for p in t.prompts),
        metrics={m: np.concatenate([t.metrics[m] for t in tables], axis=1) for m in first.metrics},
        baseline={m: np.concatenate([t.baseline[m] for t in tables]) for m in first.baseline},
        floor_nats=max(t.floor_nats for t in tables),
    )


def _measured_by_all(tables: Sequence[Effects]) -> list[Effects]:
    """Screened tables of one list of probes, cut to the probes that every one of them measured."""
    asked = [{*t.probes, *t.unmeasured} for t in tables]
    if any(probes != asked[0] for probes in asked):
        raise ValueError("only tables of the same probes and metrics can be pooled")
    common = set.intersection(*(set(t.probes) for t in tables))
    left_out = tuple(p for p in (*tables[0].probes, *tables[0].unmeasured) if p not in common)
    return [replace(t.select(common.__contains__), unmeasured=left_out) for t in tables]


def bit_equal(one: Effects, two: Effects) -> bool:
    """True when two tables hold exactly the same numbers."""
    return all(np.array_equal(one.metrics[m], two.metrics[m], equal_nan=True) for m in one.metrics) and all(
        np.array_equal(one.baseline[m], two.baseline[m], equal_nan=True) for m in one.baseline
    )
