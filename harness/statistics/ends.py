"""Where an interval ends that is defined by a test: by bisection between a value it leaves in and one it rejects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LEAST_SIZE: Final = 2.0**-10
"""Precision is a share of an end's size; of an end nearer to 0 than this, a share of this."""


def bisect_end(
    rejected: Callable[[float], bool], inside: float, outside: float, *, halvings: int, precision: float = 0.0
) -> float:
    """The last value found that is not rejected, from `inside`, which is not, towards `outside`, which is.

    After `halvings` of what lies between, or sooner where that is no more than `precision` of the end.
    """
    for _ in range(halvings):
        middle = (inside + outside) / 2
        if abs(outside - inside) <= precision * max(abs(middle), LEAST_SIZE):
            break
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return inside
