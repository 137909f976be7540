"""A progress line on standard error for the slow, rare steps (fetching, converting). Torch-free."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def wanted() -> bool:
    """Whether to draw: only on a terminal, and never in a pytest-xdist worker, whose lines would collide."""
    return sys.stderr.isatty() and "PYTEST_XDIST_WORKER" not in os.environ


def notice(text: str) -> None:
    """One line on the terminal, where there is one."""
    if wanted():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar of `total` units; the value is a function that advances it."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        desc=label,
        unit=unit,
        unit_scale=unit == "B",
        file=sys.stderr,
        disable=not wanted(),
        leave=False,
    ) as bar:

        def advance(amount: int) -> None:
            bar.update(amount)

        yield advance
