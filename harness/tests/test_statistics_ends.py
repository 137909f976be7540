"""Where a bisection ends: on the side that is left in, as near to the limit as was asked for, in either direction."""

from __future__ import annotations

import math

import pytest

from harness.statistics.ends import LEAST_SIZE, bisect_end


def beyond(limit: float, asked: list[float], sign: int = 1):
    """Rejected from `limit` on, upwards or downwards; what was asked is noted."""

    def rejected(x: float) -> bool:
        asked.append(x)
        return sign * x >= sign * limit

    return rejected


@pytest.mark.parametrize(("limit", "inside", "outside", "sign"), [(0.3, 0.0, 1.0, 1), (-0.7, 2.0, -6.0, -1)])
@pytest.mark.parametrize("halvings", [1, 5, 12])
def test_each_halving_halves_what_lies_between(limit, inside, outside, sign, halvings):
    asked: list[float] = []
    end = bisect_end(beyond(limit, asked, sign), inside, outside, halvings=halvings)
    assert len(asked) == halvings
    assert 0.0 < sign * (limit - end) <= abs(outside - inside) / 2**halvings
    assert end == inside or end in asked


def test_the_limit_itself_is_left_out():
    assert bisect_end(beyond(0.5, []), 0.0, 1.0, halvings=20) == 0.5 - 2.0**-20


@pytest.mark.parametrize(
    ("limit", "outside", "halvings"),
    # 1 / 16 is less than a 4,096th of 300, and 1 / 8 is more; near 0 it is one of LEAST_SIZE
    [(300.0, 512.0, 13), (2.0**-20, 1.0, 22)],
)
def test_it_ends_sooner_where_the_end_is_precise_enough(limit, outside, halvings):
    asked: list[float] = []
    end = bisect_end(beyond(limit, asked), 0.0, outside, halvings=60, precision=2.0**-12)
    assert len(asked) == halvings
    step = outside / 2**halvings
    assert step <= 2.0**-12 * max(end + step / 2, LEAST_SIZE) < 2 * step
    assert end < limit <= end + step


@pytest.mark.parametrize(("halvings", "precision"), [(0, 0.0), (60, math.inf)])
def test_where_nothing_is_asked_the_end_is_the_start(halvings, precision):
    asked: list[float] = []
    assert bisect_end(beyond(0.5, asked), 0.25, 1.0, halvings=halvings, precision=precision) == 0.25
    assert asked == []
