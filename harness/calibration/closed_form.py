"""The closed form of a planted model on many prompts at once: `Plan.logits`, as matrix products.

`harness/calibration/tests` holds it to `Plan.kl_nats`, prompt by prompt, and every measured trial holds it to the
engine.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float

from harness.calibration.pool import Prompts
from harness.edits import Action, Edit, Exit, Probe, Stream
from harness.effects import Effects
from harness.planted.fact import FactPlan
from harness.planted.redundant_pair import D_CODE, RedundantPlan, saturate
from harness.planted.writers import D_WRITE, N_HEADS, N_KV_HEADS, Plan, position_scores

CHUNK = 256
"""Prompts whose logits are held at a time: they then fit a core's cache."""

METRICS = ("kl_nats", "top5_overlap", "argmax_match")


class ClosedForm:
    """What each part of a planted model writes at the last position of each prompt."""

    def __init__(self, plan: Plan, prompts: Prompts) -> None:
        self.plan, self.prompts = plan, prompts
        ids = prompts.ids
        longest = max(map(len, ids))
        recent = np.full((len(ids), longest), -1)  # token at each distance from the last position
        for row, tokens in enumerate(ids):
            recent[row, : len(tokens)] = tokens[::-1]
        self._there = recent >= 0
        self._read = np.where(self._there[..., None], plan.embed_read[recent], 0.0)
        self._last = recent[:, 0]
        self._attn = self._heads()
        self._mlp = np.array([writer.mlp(self._read[:, 0]) for writer in plan.writers])
        self._plain = plan.embed_write[self._last] + self._attn.sum(axis=(0, 1)) + self._mlp.sum(axis=0)
        self._delivered = (
            np.array([plan.delivered(tokens) for tokens in ids]) if isinstance(plan, FactPlan) else None
        )

    def effects(self, probes: Sequence[Probe], metrics: Collection[str] = ("kl_nats",)) -> Effects:
        """The closed form of a sweep over these probes.

        Raises ValueError for a probe that has none here: neither a skip, nor a zeroed head, nor a normed exit.
        """
        removed = [_removed(probe, len(self.plan.writers)) for probe in probes]
        streams = [self._stream(skip, heads) for skip, heads in removed]
        table = _tables(self._stream((), ()), streams, self.plan.unembed, metrics)
        return Effects(probes=tuple(probes), prompts=self.prompts.records, metrics=table, baseline={})

    def _heads(self) -> Float[np.ndarray, "layers heads prompts write"]:
        """What each head writes at the last position."""
        n_pos, groups = self._there.shape[1], [head * N_KV_HEADS // N_HEADS for head in range(N_HEADS)]
        scores = np.array(
            [
                position_scores(writer.query_bias[head], writer.key_bias[group], n_pos=n_pos)[::-1]
                for writer in self.plan.writers
                for head, group in enumerate(groups)
            ]
        )
        scores = np.where(self._there[:, None], scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        mixed = np.matmul(weights, self._read)  # prompts, layers x heads, read
        return np.array(
            [
                [
                    mixed[:, layer * N_HEADS + head] @ (writer.output[head] @ writer.value[group]).T
                    for head, group in enumerate(groups)
                ]
                for layer, writer in enumerate(self.plan.writers)
            ]
        )

    def _stream(
        self, skip: Collection[int], zero_heads: Collection[tuple[int, int]]
    ) -> Float[np.ndarray, "prompts write"]:
        stream = self._plain
        for layer in skip:
            stream = stream - (self._mlp[layer] + self._attn[layer].sum(axis=0))
        for layer, head in zero_heads:
            stream = stream - self._attn[layer, head]
        return np.asarray(stream + self._wired(skip, zero_heads))

    def _wired(self, skip: Collection[int], zero_heads: Collection[tuple[int, int]]) -> np.ndarray:
        """What the blocks that talk through CHANNEL add; as in `RedundantPlan.logits` and `FactPlan.logits`."""
        plan = self.plan
        if isinstance(plan, RedundantPlan) and plan.reader not in skip:
            copies = sum(block not in skip for block in plan.pair)
            return np.asarray(saturate(copies * self._read[:, 0, :D_CODE]) @ plan.reading.T)
        if isinstance(plan, FactPlan) and not (
            plan.layer in skip or plan.mover[0] in skip or plan.mover in zero_heads
        ):
            assert self._delivered is not None
            return np.asarray(self._delivered @ plan.reading.T)
        return np.zeros((len(self._last), D_WRITE))


def _removed(probe: Probe, n_layers: int) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The blocks that a probe skips, and the heads it zeroes."""
    match probe:
        case Exit(normed=True):
            return tuple(range(probe.layer + 1, n_layers)), ()
        case Edit(action=Action.SKIP, positions=None):
            return probe.layers, ()
        case Edit(action=Action.ZERO, positions=None) if all(s.stream is Stream.Z for s in probe.sites):
            return (), tuple((s.layer, s.head) for s in probe.sites if s.head is not None)
    raise ValueError(f"'{probe}' has no closed form here: expected a skip, a zeroed head or a normed exit")


def _tables(
    base: np.ndarray, edited: Sequence[np.ndarray], unembed: np.ndarray, metrics: Collection[str]
) -> dict[str, np.ndarray]:
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"no closed form of {', '.join(sorted(unknown))}: only of {', '.join(METRICS)}")
    out = {name: np.empty((len(edited), len(base))) for name in metrics}
    reading = unembed.astype(np.float32)
    seen = np.flatnonzero(unembed.any(axis=0))
    for i, other in enumerate(edited):
        if np.array_equal(other[:, seen], base[:, seen]):  # what changed is blind: no logit moves
            for name in out:
                out[name][i] = 0.0 if name == "kl_nats" else 1.0
    moving = [i for i, other in enumerate(edited) if not np.array_equal(other[:, seen], base[:, seen])]
    for start in range(0, len(base), CHUNK):
        rows = slice(start, start + CHUNK)
        stream = base[rows].astype(np.float32)
        logits = stream @ reading.T
        best = logits.argmax(axis=1)
        top5 = np.argpartition(logits, -5, axis=1)[:, -5:] if "top5_overlap" in out else None
        log_norm = _log_norm(logits)
        expected = (logits @ reading) / logits.sum(
            axis=1, keepdims=True
        )  # of U's row, under the base distribution
        for i in moving:
            changed = edited[i][rows].astype(np.float32)
            moved = changed @ reading.T
            if "argmax_match" in out:
                out["argmax_match"][i, rows] = moved.argmax(axis=1) == best
            if top5 is not None:
                fifth = np.partition(moved, -5, axis=1)[:, -5]
                kept = np.take_along_axis(moved, top5, axis=1) >= fifth[:, None]
                out["top5_overlap"][i, rows] = kept.mean(axis=1)
            if "kl_nats" in out:
                lost = ((stream - changed).astype(float) * expected).sum(axis=1)
                out["kl_nats"][i, rows] = np.maximum(lost - log_norm + _log_norm(moved), 0.0)
    return out


def _log_norm(logits: np.ndarray) -> np.ndarray:
    """Log of the sum of exp of each row; `logits` itself becomes exp(logits - its row's largest)."""
    top = logits.max(axis=1, keepdims=True)
    logits -= top
    np.exp(logits, out=logits)
    return np.asarray(top[:, 0].astype(float) + np.log(logits.sum(axis=1, dtype=float)))
