"""Names beside points, each where it covers least of what is drawn. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

PLACES = (
    ((4, 3), "left", "bottom"),
    ((4, -3), "left", "top"),
    ((-4, 3), "right", "bottom"),
    ((-4, -3), "right", "top"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
)
"""Offset from the point, printer's points, and the text's alignment; the first of equals is taken."""
ON_MARKER, ON_TEXT = 10, 100
"""What it costs to cover a marker, and a text or the panel's edge; a line costs 1 for each step of it."""
STEPS = 50
"""In which a line's segment is counted."""


def name_points(figure: Any, axis: Any, points: Iterable[tuple[str, float, float]]) -> None:
    """Write the name of each (name, x, y) beside it, a name that comes again once.

    To be called when all else of the figure is drawn: it reads the layout.
    """
    figure.draw_without_rendering()
    drawn, weights = _drawn(axis)
    legend = axis.get_legend()
    taken = [] if legend is None else [legend.get_window_extent()]
    for name, at in {name: (x, y) for name, x, y in points}.items():
        text = axis.annotate(name, at, xytext=(0, 0), textcoords="offset points", fontsize=7)

        def cost(place: int, text: Any = text) -> float:
            box = _put(text, place)
            within = ((drawn > box.min) & (drawn < box.max)).all(axis=1)
            covered = sum(box.overlaps(other) for other in taken)
            outside = not (axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1)
            return float(weights[within].sum() + ON_TEXT * (covered + outside))

        taken.append(_put(text, min(range(len(PLACES)), key=cost)))


def _put(text: Any, place: int) -> Any:
    """Put the text there; its box, in pixels."""
    text.xyann, horizontal, vertical = PLACES[place]
    text.set(ha=horizontal, va=vertical)
    return text.get_window_extent()


def _drawn(axis: Any) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, " points"]]:
    """Pixels of all markers, and of points along all lines; and what it costs to cover each."""
    found = []
    for line in axis.lines:
        path = line.get_transform().transform_path(line.get_path())
        if line.get_linestyle() != "None":
            found.append((path.interpolated(STEPS).vertices, 1))
        if line.get_marker() != "None":
            found.append((path.vertices, ON_MARKER))
    for collection in axis.collections:
        transform = collection.get_transform()
        found += [
            (transform.transform_path(p).interpolated(STEPS).vertices, 1) for p in collection.get_paths()
        ]
    if not found:
        return np.empty((0, 2)), np.empty(0)
    return np.concatenate([xy for xy, _ in found]), np.concatenate([np.full(len(xy), w) for xy, w in found])
