"""A grid of cells, shaded by its numbers, with the number written into each. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class Shades:
    """The colors of a grid's numbers."""

    colors: str
    """Of matplotlib's maps."""
    norm: Any
    """matplotlib's `Normalize`: where in the map a number stands."""
    white_beyond: float
    """Size from which a number stands on so dark a color that it is written in white."""


def signed(edge: float) -> Shades:
    """Red below zero and blue above, as far as `edge` on both sides."""
    from matplotlib.colors import Normalize

    return Shades(colors="RdBu", norm=Normalize(vmin=-edge, vmax=edge), white_beyond=0.6 * edge)


def by_root(edge: float) -> Shades:
    """Blue from zero to `edge`, by the root: small numbers can be told apart beside large ones."""
    from matplotlib.colors import PowerNorm

    return Shades(colors="Blues", norm=PowerNorm(0.5, vmin=0.0, vmax=edge), white_beyond=0.35 * edge)


def draw_cells(
    figure: Any,
    axis: Any,
    grid: Float[np.ndarray, "rows columns"],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    shades: Shades,
    said: Callable[[float], str],
    unit: str,
    slant: float = 0.0,
) -> None:
    """The grid with the names of its rows and columns (these slanted by degrees); a NaN is an empty cell."""
    image = axis.imshow(grid, cmap=shades.colors, norm=shades.norm, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            color = "white" if abs(value) > shades.white_beyond else "black"
            axis.text(column, row, said(value), ha="center", va="center", fontsize=8, color=color)
    axis.set_xticks(range(len(columns)), columns, rotation=slant, ha="right" if slant else "center")
    axis.set_yticks(range(len(rows)), rows)
    figure.colorbar(image, ax=axis, label=unit)
