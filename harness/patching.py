"""Recovery: how far a patch brings one run of a pair to the other. Arithmetic on tables of effects; no torch.

The metric is the logit difference, log-probability of the answer less that of its foil, in which the log-softmax
cancels. With the clean and the corrupt run's own differences as its two ends,

    normalized_recovery = (patched - corrupt) / (clean - corrupt)

is 1 where the patched run answers as the clean one and 0 where it answers as the corrupt one, in both directions:
denoising raises it from 0, noising lowers it from 1. Where the two ends lie less than GATE_NATS apart it is not
defined, and never floored: such pairs are left out, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from harness.edits import Edit, Stream
from harness.effects import Effects
from harness.experiments.definition import CLEAN, CORRUPT
from harness.experiments.patching import Where, patched

GATE_NATS = 1.0
"""Least |clean - corrupt| of which a recovery is a share."""
RECOVERY = "recovery"
"""Name of the metric."""


class NotSeparated(ValueError):
    """Clean and corrupt lie too close together for a recovery to mean anything."""


class NotPatching(ValueError):
    """The table does not patch one run of a pair into the other."""


def separates(
    clean: Float[np.ndarray, " prompts"], corrupt: Float[np.ndarray, " prompts"]
) -> Bool[np.ndarray, " prompts"]:
    """Where the two ends lie at least GATE_NATS apart."""
    return np.asarray(np.abs(clean - corrupt) >= GATE_NATS)


def normalized_recovery(
    patched: Float[np.ndarray, "*probes prompts"],
    clean: Float[np.ndarray, " prompts"],
    corrupt: Float[np.ndarray, " prompts"],
) -> Float[np.ndarray, "*probes prompts"]:
    """(patched - corrupt) / (clean - corrupt), logit differences in nats. Raises NotSeparated below the gate."""
    apart = separates(clean, corrupt)
    if not apart.all():
        i = int(np.argmin(apart))
        raise NotSeparated(
            f"{np.count_nonzero(~apart)} of {apart.size} prompts have |clean - corrupt| below {GATE_NATS:g} nat, e.g. "
            f"{clean[i]:.3g} and {corrupt[i]:.3g}: leave them out (`separates`), and count them"
        )
    return np.asarray((patched - corrupt) / (clean - corrupt))


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Logit differences of a pair's two unpatched runs, nats, and which of them was patched (`CLEAN`, `CORRUPT`)."""

    run: str
    clean: Float[np.ndarray, " prompts"]
    corrupt: Float[np.ndarray, " prompts"]


def logit_difference(effects: Effects) -> Float[np.ndarray, "probes prompts"]:
    """Answer less foil of every edited run, nats. Raises KeyError where the foil was not measured."""
    return np.asarray(effects.metrics["answer_logprob"] - effects.metrics["foil_logprob"])


def read_ends(effects: Effects) -> Ends:
    """The two ends: the run's own, unedited; the other's from patching the last resid_post whole, which is that run.

    Raises NotPatching where the probes take their values from several donors, or the last one is missing.
    """
    donors = {probe.donor for probe in effects.probes if isinstance(probe, Edit)}
    if donors not in ({CLEAN}, {CORRUPT}):
        raise NotPatching(
            f"the probes' donors are {sorted(map(str, donors))}: expected '{CLEAN}' or '{CORRUPT}'"
        )
    (donor,) = donors
    last = max(probe.layers[-1] for probe in effects.probes if isinstance(probe, Edit))
    whole = patched(Stream.RESID_POST, last, str(donor), Where.ALL)
    if whole not in effects.probes:
        raise NotPatching(f"'{whole}' was not measured, which is the other run of the pair")
    own = np.asarray(effects.baseline["answer_logprob"] - effects.baseline["foil_logprob"])
    other = logit_difference(effects)[effects.row(whole)]
    if donor == CLEAN:
        return Ends(run=CORRUPT, clean=other, corrupt=own)
    return Ends(run=CLEAN, clean=own, corrupt=other)


def kept(effects: Effects) -> Bool[np.ndarray, " prompts"]:
    """The prompts whose two ends lie far enough apart. Raises as `read_ends`."""
    ends = read_ends(effects)
    return separates(ends.clean, ends.corrupt)


def recovered(effects: Effects, on: Bool[np.ndarray, " prompts"] | None = None) -> Effects:
    """The table with RECOVERY as its one metric, on the prompts `on`; by default on those that are kept.

    Raises NotSeparated for a prompt below the gate, and as `read_ends`.
    """
    ends = read_ends(effects)
    on = separates(ends.clean, ends.corrupt) if on is None else on
    values = normalized_recovery(logit_difference(effects)[:, on], ends.clean[on], ends.corrupt[on])
    return replace(
        effects,
        prompts=tuple(prompt for prompt, keep in zip(effects.prompts, on, strict=True) if keep),
        metrics={RECOVERY: values},
        baseline={},
    )
