"""Figures as they were published, each with its source, and facts of architectures beside them. No torch or numpy.

A folder holds one TOML file a subject; a table in it is one figure:

    [kl_1_5b]
    value = 1.0234      # a number, a list of numbers, or numbers by label: {L2 = 19.11, L22 = 15.4}
    unit = "nats"
    what = "largest effect of one head of Qwen2.5-1.5B"
    source = "raw results (5. heads)"

It is named by file and table: `heads.kl_1_5b`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.adapters.parameters import D_MLP, UnknownWidth, model_parameters, module_shapes
from harness.models.spec import ModelSpec

Value = float | tuple[float, ...] | Mapping[str, float]
"""A number, numbers in an order, or numbers by label."""

_FIELDS = ("value", "unit", "what", "source")


class BadFigures(ValueError):
    """A file of published figures that cannot be used: what is wrong, in which file and figure."""


class UnknownFigure(LookupError):
    """A figure that no file holds."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        near = get_close_matches(name, list(known), n=1, cutoff=0.6)
        hint = (
            f"did you mean {near[0]!r}?" if near else "add it to a file of claims/published/, with its source"
        )
        super().__init__(f"no published figure is called {name!r}: {hint}")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One figure: its name ('heads.kl_1_5b'), what it measures, and where it stands."""

    name: str
    value: Value
    unit: str
    what: str
    source: str


def read_figures(folder: Path) -> Mapping[str, Quantity]:
    """Every figure of a folder's TOML files, by name. Raises BadFigures and FileNotFoundError."""
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no .toml file of published figures")
    found: dict[str, Quantity] = {}
    for path in paths:
        if not path.stem.isidentifier():
            raise BadFigures(
                f"{path.name}: the name of a file is part of an expression: letters, digits and _"
            )
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise BadFigures(f"{path.name} is not TOML: {error}") from error
        for key, table in tables.items():
            name = f"{path.stem}.{key}"
            found[name] = _quantity(name, table)
    return found


def _quantity(name: str, table: Any) -> Quantity:
    if not isinstance(table, dict) or not name.partition(".")[2].isidentifier():
        raise BadFigures(f"{name}: a figure is a table [name] of {', '.join(_FIELDS)}")
    if wrong := [key for key in table if key not in _FIELDS]:
        raise BadFigures(f"{name}: has {', '.join(wrong)}; a figure has {', '.join(_FIELDS)}")
    if missing := [key for key in _FIELDS if key not in table]:
        raise BadFigures(f"{name}: lacks {', '.join(missing)}")
    for key in ("unit", "what", "source"):
        if not isinstance(table[key], str) or (key != "unit" and not table[key].strip()):
            raise BadFigures(
                f"{name}: {key} is {table[key]!r}; it is a text" + " and not empty" * (key != "unit")
            )
    return Quantity(
        name=name,
        value=_value(name, table["value"]),
        unit=table["unit"],
        what=table["what"],
        source=table["source"],
    )


def _value(name: str, given: Any) -> Value:
    if isinstance(given, dict) and given:
        return {label: _number(name, number) for label, number in given.items()}
    if isinstance(given, list) and given:
        return tuple(_number(name, number) for number in given)
    return _number(name, given)


def _number(name: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise BadFigures(f"{name}: {given!r} is no finite number; give a number, a list or numbers by label")
    return given


def architecture(specs: Iterable[ModelSpec]) -> Mapping[str, Quantity]:
    """Facts of models as figures: `qwen0_5b.n_layers` and the like.

    `.q`, `.k`, `.v`, `.o`, `.gate`, `.up` and `.down` are the inputs and outputs of that linear module together, which
    is what a LoRA adapter has parameters for, a rank and block. `.parameters` counts the model. What the facts do not
    give is left out.
    """
    found: dict[str, Quantity] = {}
    for spec in specs:
        if spec.facts is None:
            continue
        facts = spec.facts
        counts = {
            "n_layers": (facts.n_layers, "blocks"),
            "d_model": (facts.d_model, "width of the residual stream"),
            "n_heads": (facts.n_heads, "heads of a block"),
            "n_kv_heads": (facts.n_kv_heads, "key-value heads of a block"),
            "d_head": (facts.d_head, "width of a head"),
            "vocab_size": (facts.vocab_size, "tokens of the vocabulary"),
        }
        try:
            shapes = module_shapes(facts, D_MLP.get(spec.id))
            counts |= {str(m): (sum(shape), f"inputs and outputs of {m}") for m, shape in shapes.items()}
            counts["parameters"] = (model_parameters(spec), "parameters, embeddings counted once")
        except UnknownWidth:
            pass
        for key, (value, what) in counts.items():
            name = f"{spec.id}.{key}"
            found[name] = Quantity(
                name=name,
                value=value,
                unit="",
                what=f"{what}, {spec.title}",
                source="config.json of the checkpoint",
            )
    return found
