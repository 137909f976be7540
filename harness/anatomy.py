"""What of a model an experiment's probes depend on: its blocks, its heads, where it writes its massive activation.

Values only, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

Heads = tuple[int, ...]
"""Query heads per block, 0 where the operator has none (LFM2's convolutions)."""


@dataclass(frozen=True, kw_only=True)
class Massive:
    """The number of token 0 that one MLP raises most: dimension `dim` of the stream, written in block `layer`.

    `others` are the dimensions to compare it with. Found on prompts that no verdict rests on
    (`harness.engine.massive.find_massive`).
    """

    layer: int
    dim: int
    others: tuple[int, ...]

    def to_json(self) -> dict[str, int | list[int]]:
        """The fields as plain JSON values; `Massive.from_json` is the inverse."""
        return {"layer": self.layer, "dim": self.dim, "others": list(self.others)}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Massive:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        layer, dim, others = value["layer"], value["dim"], value["others"]
        if not isinstance(layer, int) or not isinstance(dim, int) or not isinstance(others, list):
            raise TypeError(f"no site of a massive activation: {value}")
        return cls(layer=layer, dim=dim, others=tuple(others))


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """A model as an experiment sees it; all but `n_layers` only where its probes depend on them."""

    n_layers: int
    heads: Heads = ()
    massive: Massive | None = None
    kv_heads: Heads = ()
    """Key-value heads per block, each shared by a group of query heads."""
    d_model: int = 0
    """Width of the stream."""
    ranked: tuple[int, ...] = ()
    """Every block, that first whose skip moves a family's development prompts most."""

    @property
    def needed_massive(self) -> Massive:
        """`massive`, for the experiments that are about it. Raises ValueError where it was not looked for."""
        if self.massive is None:
            raise ValueError("this experiment is about the massive activation: say where the model writes it")
        return self.massive

    @property
    def needed_ranking(self) -> tuple[int, ...]:
        """`ranked`, for the experiments that choose blocks by it. Raises ValueError where no map was measured."""
        if sorted(self.ranked) != list(range(self.n_layers)):
            raise ValueError("this experiment chooses blocks by a map of the model: measure the map first")
        return self.ranked
