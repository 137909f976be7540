"""The shapes in which the atlas's scripts store their numbers, read with every step checked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, fmean
from typing import Any

from harness.audit.files import Missing, Untrusted

_NAME = re.compile(r"[\w.+-]{1,60}", re.ASCII)


def at(body: Any, *keys: str | int) -> Any:
    """What stands at a path of keys and indices. Raises Missing, and Untrusted where a step is of another kind."""
    here: Any = body
    for i, key in enumerate(keys):
        path = ".".join(map(str, keys[: i + 1]))
        if not isinstance(here, dict if isinstance(key, str) else list):
            raise Untrusted(f"the key {path}: a {type(here).__name__} stands where it should be looked up")
        known: Any = here
        if key not in (known if isinstance(key, str) else range(len(known))):
            raise Missing(f"the key {path}")
        here = known[key]
    return here


def number(body: Any, *keys: str | int) -> float:
    """A finite number. Raises Missing and Untrusted."""
    value = at(body, *keys)
    path = ".".join(map(str, keys)) or "a value"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Untrusted(f"{path} is a {type(value).__name__}, not a number")
    try:
        if math.isfinite(real := float(value)):
            return real
    except OverflowError:
        real = math.inf
    raise Untrusted(f"{path} is {real}")


def numbers(body: Any, *keys: str | int) -> list[float]:
    """A list of finite numbers, at least one. Raises Missing and Untrusted."""
    return [number(values, i) for values in [items(body, *keys)] for i in range(len(values))]


def items(body: Any, *keys: str | int) -> list[Any]:
    """A list with something in it. Raises Missing and Untrusted."""
    values = at(body, *keys)
    if not isinstance(values, list) or not values:
        raise Untrusted(f"{'.'.join(map(str, keys)) or 'the file'} is not a list with values")
    return values


def name(body: Any, *keys: str | int) -> str:
    """A short plain word: what is printed must not carry control characters. Raises Missing and Untrusted."""
    value = at(body, *keys)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Untrusted(f"{'.'.join(map(str, keys))} is not a plain name")
    return value


@dataclass(frozen=True, kw_only=True)
class Table:
    """An effect per row (a layer, or a head) and task family; `rows[i][j]` is row i on family j."""

    labels: tuple[str, ...]
    families: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    @property
    def means(self) -> dict[str, float]:
        """Mean over families, by row."""
        return {label: fmean(row) for label, row in zip(self.labels, self.rows, strict=True)}

    @property
    def sums(self) -> dict[str, float]:
        """Sum over families, by row."""
        return {label: math.fsum(row) for label, row in zip(self.labels, self.rows, strict=True)}

    @property
    def maxima(self) -> dict[str, float]:
        """Largest entry, by row."""
        return {label: max(row) for label, row in zip(self.labels, self.rows, strict=True)}

    @property
    def largest(self) -> float:
        """Largest entry of all."""
        return max(map(max, self.rows))

    def row(self, label: str) -> dict[str, float]:
        """One row, by family. Raises Missing."""
        if label not in self.labels:
            raise Missing(f"the row {label} (there are {self.labels[0]} to {self.labels[-1]})")
        return dict(zip(self.families, self.rows[self.labels.index(label)], strict=True))

    def cell(self, label: str, family: str) -> float:
        """One entry. Raises Missing."""
        row = self.row(label)
        if family not in row:
            raise Missing(f"the family {family}")
        return row[family]


def ranked(values: dict[str, float]) -> list[str]:
    """The keys, largest value first."""
    return sorted(values, key=values.__getitem__, reverse=True)


def table(body: Any) -> Table:
    """`effect_matrix` with `families`: rows of families, or a column of layers by family.

    Rows are named by `row_labels` where they are heads, else L0, L1, ... Raises Missing and Untrusted.
    """
    families = tuple(name(body, "families", i) for i in range(len(items(body, "families"))))
    matrix = at(body, "effect_matrix")
    if isinstance(matrix, dict):
        columns = [numbers(matrix, family) for family in families]
        rows = _rectangle(list(zip(*columns, strict=False)), columns)
    else:
        rows = _rectangle([tuple(numbers(row)) for row in items(body, "effect_matrix")])
    if len(rows[0]) != len(families):
        raise Untrusted(f"effect_matrix has {len(rows[0])} columns for {len(families)} families")
    if len(set(families)) != len(families):
        raise Untrusted("families names one twice")
    labels = tuple(f"L{i}" for i in range(len(rows)))
    if stores(body, "row_labels"):
        labels = tuple(name(body, "row_labels", i) for i in range(len(items(body, "row_labels"))))
        if len(labels) != len(rows) or len(set(labels)) != len(labels):
            raise Untrusted(f"row_labels has {len(labels)} names, not one for each of {len(rows)} rows")
    return Table(labels=labels, families=families, rows=rows)


def heads_by_family(body: Any) -> Table:
    """`results`: for each family, for each layer, one effect a head. Rows are named L0H3. Raises as `table`."""
    families = tuple(name(body, "families", i) for i in range(len(items(body, "families"))))
    columns: list[dict[str, float]] = []
    for family in families:
        layers = at(body, "results", family)
        if not isinstance(layers, dict) or not all(layer.isdecimal() for layer in layers):
            raise Untrusted(f"results.{family} is not a set of layers")
        columns.append(
            {f"L{layer}H{head}": v for layer in layers for head, v in enumerate(numbers(layers, layer))}
        )
    labels = tuple(columns[0])
    if not labels or any(tuple(column) != labels for column in columns):
        raise Untrusted("results has other heads for one family than for another")
    return Table(
        labels=labels, families=families, rows=tuple(tuple(c[label] for c in columns) for label in labels)
    )


def per_layer(entries: Any, field: str, *, layer: str = "layer") -> dict[str, float]:
    """`field` of each entry of a list, by its layer: {'L0': 0.1, ...}. Raises Missing and Untrusted."""
    found: dict[str, float] = {}
    for i in range(len(items(entries))):
        label = f"L{int(number(entries, i, layer))}"
        if label in found:
            raise Untrusted(f"the layer {label} stands twice")
        found[label] = number(entries, i, field)
    return found


def stores(body: Any, key: str) -> bool:
    """Whether an object has a key; False for anything else."""
    return isinstance(body, dict) and key in body


def over_prompts(body: Any, inner: str, field: str) -> dict[str, list[float]]:
    """`field` of every prompt in `results[].inner[]`, by layer. Raises Missing and Untrusted."""
    profiles = [per_layer(at(result, inner), field) for result in items(body, "results")]
    if any(profile.keys() != profiles[0].keys() for profile in profiles):
        raise Untrusted("results has other layers for one prompt than for another")
    return {layer: [profile[layer] for profile in profiles] for layer in profiles[0]}


def ratio(above: float, below: float) -> float:
    """Raises Untrusted where the denominator is 0: it has no ratio, and no floor is put in its place."""
    if below == 0:
        raise Untrusted("a ratio to 0")
    return above / below


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """The correlation. Raises Untrusted where one of the two does not vary."""
    try:
        return correlation(x, y)
    except StatisticsError as error:
        raise Untrusted(f"no correlation ({error})") from error


def _rectangle(
    rows: Sequence[tuple[float, ...]], columns: Sequence[Sequence[float]] = ()
) -> tuple[tuple[float, ...], ...]:
    if len({len(row) for row in rows}) != 1 or len({len(column) for column in columns}) > 1:
        raise Untrusted("effect_matrix is not a rectangle")
    return tuple(rows)
