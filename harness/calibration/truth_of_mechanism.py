"""The truth about a criterion on the massive activation, from a table without noise.

`size` is 1 at the threshold, as in `harness.calibration.table_truth`, which knows the bounds:

    a rise             factor, in geometric mean / the factor asked for
    the writer leads   its mean / the largest of the other blocks that are compared; 0 where it stands before them
    a share of b       at least b: share / b; at most b: b / share; of several edits the smallest

The makers of these tables give it (`asked.Made`), so that it counts for no other chapter's trials.
"""

from __future__ import annotations

import math

from harness.calibration.table_means import family_mean
from harness.calibration.table_truth import table_size
from harness.mechanism import mechanism_rows, read_massive
from harness.verdicts.criteria import EditShare, SingleCriterion, WriterLeads, WriterRaises
from harness.verdicts.reading import Measured
from harness.verdicts.selectors import Writes


def mechanism_size(criterion: SingleCriterion, view: Measured) -> float:
    """The truth. Raises TypeError for a criterion whose truth is not defined here or in `table_truth`."""
    match criterion:
        case WriterRaises():
            writer = read_massive(view.table("hub_mechanism").probes).layer
            rows = view.rows("massive_writes", Writes(layer=writer), "rise_log10")
            return float(10.0 ** family_mean(rows.values, rows.prompts)[0]) / criterion.at_least
        case WriterLeads():
            return _lead(criterion, view)
        case EditShare():
            return _share(criterion, view)
    return table_size(criterion, view.tables, view.n_layers)


def first_compared(criterion: WriterLeads, n_layers: int) -> int:
    """The first block that the writer is compared with."""
    return math.ceil(criterion.from_depth * n_layers)


def _lead(criterion: WriterLeads, view: Measured) -> float:
    writer = read_massive(view.table("hub_mechanism").probes).layer
    means = family_mean(view.profile.values, view.profile.prompts)
    first = first_compared(criterion, len(means))
    rivals = [float(means[layer]) for layer in range(first, len(means)) if layer != writer]
    return float(means[writer]) / max(rivals) if writer >= first else 0.0


def _share(criterion: EditShare, view: Measured) -> float:
    table = view.table("hub_mechanism")
    means = family_mean(table.metrics["kl_nats"], table.prompts)
    (whole,) = mechanism_rows(table.probes, criterion.of, view.n_layers)
    rows = mechanism_rows(table.probes, criterion.edit, view.n_layers)
    shares = [float(means[row] / means[whole]) for row in rows]
    if criterion.at_least is not None:
        return min(shares) / criterion.at_least
    return criterion.share / max(shares) if max(shares) > 0.0 else math.inf
