"""Checks of the instrument that every measurement carries: what is known beforehand, and must come out so.

A gate that fails makes every verdict on the evidence `invalid`, by name.

    finite            every number is one
    no_op             an edit that changes nothing
    unread_position   an edit at a site that cannot matter: a position that the last block's read-out has passed
    noise_floor       the unedited engine beside the model's own forward pass
    foreign_donor     a patch from a prompt of another task brings exactly that prompt's prediction
    donors_differ     and the predictions of different tasks are apart, or that patch would show nothing
    positive_control  skipping every block does much
    final_exit        an exit after the last block is the model
    output_depends_on_prompt   an edited output that is the same for every prompt measures nothing

Reported beside them: parity (refused on load where it does not hold), and, no gates, base_accuracy and shuffled_labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.edits import Exit, Stream, patch
from harness.effects import Effects
from harness.engine.blocks import Stack
from harness.engine.parity import Parity, own_and_engine_logits
from harness.engine.sweep import Item, sweep
from harness.evidence import Check, Question
from harness.floor import LIMIT_NATS, floor_checks, kl_of_logits, largest_kl
from harness.protocols import Protocol

POSITIVE_CONTROL_NATS = 0.1
FINAL_EXIT_LIMIT_NATS = 1e-6
CONSTANT_OUTPUT_NATS = 1e-3
DONOR_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.05}
"""Largest difference between a patched run's KL and the donor's own, as a share of 1 nat + the KL."""

Table = Mapping[str, Float[np.ndarray, "probe prompt"]]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What was found of the unedited model on one draw of prompts, for the experiments that share it."""

    noise_nats: float
    """Largest KL from transformers' own forward pass to the engine's; see `harness.floor.largest_kl`."""
    donor_gap: float
    """Largest |KL of a run patched from another task's prompt - KL of that prompt's own| / (1 + KL)."""
    donor_nats: float
    """Mean KL between a prompt and the other task's."""
    label_gap_nats: float
    """Mean log-probability of the own answer less that of another task's."""


def read_baseline(stack: Stack, items: Sequence[Item]) -> Baseline:
    """The unedited model on these prompts, and the last block's read-out patched from the next item's prompt.

    Donors are cut or repeated to the item's length. What is compared with is transformers' own forward pass.
    """
    following = [*items[1:], items[0]]
    donors = [fit(other.ids, len(item.ids)) for item, other in zip(items, following, strict=True)]
    logits = own_and_engine_logits(stack, [*(item.ids for item in items), *donors])
    own, theirs = logits[: len(items)], logits[len(items) :]
    expected = np.array([kl_of_logits(p, q) for (p, _), (q, _) in zip(own, theirs, strict=True)])
    labelled = [replace(item, foil=other.answer) for item, other in zip(items, following, strict=True)]
    last = patch(Stream.RESID_POST, stack.n_layers - 1, "other_task", positions=(-1,))
    table, base = sweep(stack, labelled, [last], donors={"other_task": donors})
    return Baseline(
        noise_nats=largest_kl(own),
        donor_gap=float((np.abs(table["kl_nats"][0] - expected) / (1.0 + expected)).max()),
        donor_nats=float(expected.mean()),
        label_gap_nats=float((base["answer_logprob"] - base["foil_logprob"]).mean()),
    )


def fit(ids: Sequence[int], length: int) -> tuple[int, ...]:
    """These tokens cut, or repeated, to a length."""
    return tuple((list(ids) * -(-length // len(ids)))[:length])


def check(
    question: Question,
    effects: Effects,
    controlled: Table,
    baseline: Baseline,
    parity: Parity,
) -> tuple[Check, ...]:
    """The checks of one sweep; `controlled` holds the rows of `harness.experiments.controls`."""
    base, measured = effects.baseline, effects.metrics
    no_op, unread, everything = controlled["kl_nats"]
    checks = [
        _finite(effects, controlled),
        *floor_checks(question.dtype, no_op, baseline.noise_nats),
        _unread(question, unread),
        *_donor_checks(question, baseline),
        _positive(everything),
        Check(
            name="parity",
            passed=True,
            value=parity.max_logit_gap,
            sentence="largest gap between the engine's logits and the model's own on load",
        ),
        Check(
            name="base_accuracy",
            passed=True,
            value=float((base["answer_logprob"] > base["foil_logprob"]).mean()),
            sentence="share of prompts on which the unedited model prefers the answer to the foil",
            gate=False,
        ),
    ]
    last = Exit(layer=question.n_layers - 1, normed=True)
    if last in effects.probes:
        checks.append(_final_exit(measured["kl_nats"][effects.row(last)]))
    if "kl_to_first_nats" in measured:
        checks.append(_depends_on_prompt(question, measured["kl_to_first_nats"]))
    return tuple(checks)


def _finite(effects: Effects, controlled: Table) -> Check:
    finite = effects.finite() and all(np.isfinite(values).all() for values in controlled.values())
    sentence = "every measured number is finite"
    return Check(name="finite", passed=bool(finite), value=float(finite), sentence=sentence)


def _unread(question: Question, kl: np.ndarray) -> Check:
    limit, moved = LIMIT_NATS[question.dtype], float(np.abs(kl).max())
    return Check(
        name="unread_position",
        passed=moved <= limit,
        value=moved,
        sentence=f"erasing the last block's output at a position that is not read moves at most {limit:g} nats",
    )


def _donor_checks(question: Question, baseline: Baseline) -> list[Check]:
    limit = DONOR_TOLERANCE[question.dtype]
    return [
        Check(
            name="foreign_donor",
            passed=baseline.donor_gap <= limit,
            value=baseline.donor_gap,
            sentence="a read-out patched from a prompt of another task gives that prompt's own prediction, within "
            f"{limit:g} of 1 nat + the KL between the two",
        ),
        Check(
            name="donors_differ",
            passed=baseline.donor_nats >= POSITIVE_CONTROL_NATS,
            value=baseline.donor_nats,
            sentence="the predictions of prompts of different tasks are at least "
            f"{POSITIVE_CONTROL_NATS:g} nats apart on average, or a patch between them would show nothing",
        ),
        Check(
            name="shuffled_labels",
            passed=baseline.label_gap_nats > 0.0,
            value=baseline.label_gap_nats,
            sentence="mean log-probability of the own answer less that of another task's answer, nats",
            gate=False,
        ),
    ]


def _positive(kl: np.ndarray) -> Check:
    reach = float(kl.mean())
    return Check(
        name="positive_control",
        passed=reach >= POSITIVE_CONTROL_NATS,
        value=reach,
        sentence=f"skipping every block moves at least {POSITIVE_CONTROL_NATS:g} nats on average",
    )


def _final_exit(kl: np.ndarray) -> Check:
    gap = float(np.abs(kl).max())
    return Check(
        name="final_exit",
        passed=gap <= FINAL_EXIT_LIMIT_NATS,
        value=gap,
        sentence="early exit at the last block equals the full model",
    )


def _depends_on_prompt(question: Question, kl_to_first: np.ndarray) -> Check:
    moved = float(np.abs(kl_to_first).max())
    return Check(
        name="output_depends_on_prompt",
        passed=moved > CONSTANT_OUTPUT_NATS,
        value=moved,
        sentence="the edited output differs between prompts (largest KL to the first prompt's, nats)",
        gate=question.protocol is Protocol.SOUND,
    )
