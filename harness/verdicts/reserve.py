"""What an identity that no prompt breaks leaves open: how many templates like these might break it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.effects import PromptRecord
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA


def largest_share(n: int) -> float:
    """Upper end of the exact 98% interval (Clopper-Pearson) of a share of which n independent draws show nothing."""
    from statsmodels.stats.proportion import proportion_confint

    _, high = proportion_confint(0, n, alpha=ALPHA, method="beta")
    return float(high)


def say_reserve(prompts: Sequence[PromptRecord]) -> str:
    """A sentence on prompts that all keep an identity: of how many templates a draw like this one would show a break.

    Templates count, as prompts of one may break it together. A template that breaks on some of its prompts alone may
    not show it in the few that are drawn of it.
    """
    n = len(Clusters.of(prompts).templates)
    return (
        f"None of {n} templates shows a break on the prompts drawn of it: at most {largest_share(n):.1%} of templates "
        "like these would (98% interval)."
    )
