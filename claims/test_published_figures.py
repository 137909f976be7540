"""Chapter: do the published numbers give what is said of them?

Ratios, sums, ranks, correlations, depths and counts of parameters, computed from the figures in `claims/published/` and
from architecture facts. Nothing is measured: a verdict here says whether a sentence agrees with its own numbers, and
nothing about a model. `consistent` is no support, and a card may be consistent in numbers that a defect produced; where
that is known, its note says so.

The rest are claims that no number decides, each with the reason.
"""

from claims.published.adapters import ADAPTERS
from claims.published.hubs import HUBS
from claims.published.method import METHOD
from claims.published.parts import PARTS
from claims.published.skips import SKIPS
from claims.published.steering import STEERING
from claims.published.texts import TEXTS
from claims.published.tuning import TUNING

CHAPTER = "20. Published figures"

CLAIMS = (*HUBS, *PARTS, *STEERING, *ADAPTERS, *SKIPS, *TEXTS, *TUNING, *METHOD)


def test_published_figures(cell, judge):
    """Each claim of this chapter, from figures alone."""
    judge(cell)
