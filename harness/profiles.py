"""The mean effect of each block: what a reader means by "the profile". No torch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from harness.edits import Edit
from harness.effects import Effects

SPREAD_NATS = 1e-3
"""A profile whose blocks differ by less than this has no shape: argmax would only break a tie."""


def profile(effects: Effects, metric: str = "kl_nats") -> Float[np.ndarray, " layer"]:
    """Mean over families of the mean over prompts, per probe."""
    families = [
        effects.metrics[metric][:, [i for i, p in enumerate(effects.prompts) if p.family == family]].mean(
            axis=1
        )
        for family in effects.families
    ]
    return np.asarray(np.mean(families, axis=0))


def describe_top(effects: Effects) -> str:
    """'L26', 'L14H3': the single block or head of largest mean KL; 'none' without any, 'tie of all' without spread."""
    edits = [(i, p) for i, p in enumerate(effects.probes) if isinstance(p, Edit) and p.spot is None]
    blocks = [i for i, p in edits if len(p.blocks) == 1]
    heads = [i for i, p in edits if p.heads and len(p.sites) == 1]
    rows = blocks or heads
    if not rows or "kl_nats" not in effects.metrics:
        return "none"
    means = profile(effects)[rows]
    if not np.isfinite(means).all():
        return "not finite"
    if means.max() - means.min() <= SPREAD_NATS:
        return f"tie of all {'blocks' if blocks else 'heads'}"
    probe = effects.probes[rows[int(means.argmax())]]
    assert isinstance(probe, Edit)
    return f"L{probe.blocks[0]}" if blocks else str(probe.sites[0])
