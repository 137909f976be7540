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
"""What it costs to come close to a marker, and to a text or beyond a side; to cover a line costs 1 for each step."""
STEPS = 50
"""In which a line's segment is counted."""
CLOSE = 4.0
"""Pixels: a name so near another point or another name could be read as of it, or on into it."""


def name_points(figure: Any, axis: Any, points: Iterable[tuple[str, float, float]]) -> None:
    """Write the name of each (name, x, y) beside it, a name that comes again once.

    To be called when all else of the figure is drawn: it reads the layout.
    """
    figure.draw_without_rendering()
    lines, markers = _lines(axis), _markers(axis)
    legend = axis.get_legend()
    taken = [] if legend is None else [legend.get_window_extent()]
    for name, at in {name: (x, y) for name, x, y in points}.items():
        text = axis.annotate(name, at, xytext=(0, 0), textcoords="offset points", fontsize=7)

        def cost(place: int, text: Any = text) -> int:
            box = _put(text, place)
            around = box.padded(CLOSE)
            outside = bool(box.x0 < axis.bbox.x0 or axis.bbox.x1 < box.x1)
            texts = outside + sum(bool(around.overlaps(other)) for other in taken)
            return _within(box, lines) + ON_MARKER * _within(around, markers) + ON_TEXT * texts

        taken.append(_put(text, min(range(len(PLACES)), key=cost)))


def _put(text: Any, place: int) -> Any:
    """Put the text there; its box, in pixels."""
    text.xyann, horizontal, vertical = PLACES[place]
    text.set(ha=horizontal, va=vertical)
    return text.get_window_extent()


def _within(box: Any, pixels: Float[np.ndarray, "points 2"]) -> int:
    return int(((pixels > box.min) & (pixels < box.max)).all(axis=1).sum())


def _lines(axis: Any) -> Float[np.ndarray, "points 2"]:
    """Pixels along all lines."""
    paths = [
        line.get_transform().transform_path(line.get_path())
        for line in axis.lines
        if line.get_linestyle() != "None"
    ]
    for collection in axis.collections:
        paths += map(collection.get_transform().transform_path, collection.get_paths())
    return np.concatenate([np.empty((0, 2)), *(path.interpolated(STEPS).vertices for path in paths)])


def _markers(axis: Any) -> Float[np.ndarray, "points 2"]:
    """Pixels of all markers."""
    marked = [line for line in axis.lines if line.get_marker() != "None"]
    return np.concatenate(
        [np.empty((0, 2)), *(line.get_transform().transform(line.get_xydata()) for line in marked)]
    )
