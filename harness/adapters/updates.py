"""What adapters add to the weights of linear modules: norms, truncations, merges, random ones of the same size.

An update of a module is scale x B A, with A [rank, in] and B [out, rank]; it is added to the weight [out, in]. Norms
and truncations are computed from the factors, in float64, and never from the dense product.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from harness.adapters.values import Merge
from harness.edits import InvalidEdit, Stream

Place = tuple[int, Stream]
"""A block and one of its linear modules, by the name of its output."""


class Factors(NamedTuple):
    """One module's update, in float32 on the CPU."""

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "d_out rank"]
    scale: float

    @property
    def rank(self) -> int:
        """The inner width of the product: the update's rank is at most this."""
        return self.a.shape[0]

    @property
    def delta(self) -> Float[Tensor, "d_out d_in"]:
        """What is added to the weight."""
        return self.scale * (self.b @ self.a)

    @property
    def squared_norm(self) -> float:
        """The squared Frobenius norm of `delta`: scale^2 x tr((B^T B)(A A^T))."""
        a, b = self.a.double(), self.b.double()
        return self.scale**2 * max(0.0, float(((b.T @ b) * (a @ a.T)).sum()))

    @property
    def squared_factor_norm(self) -> float:
        """|A|^2 + |B|^2, without the scale: mostly the random values that A starts with."""
        return float(self.a.double().square().sum() + self.b.double().square().sum())

    def truncated(self, rank: int) -> Factors:
        """The best approximation of this rank: the largest singular values of B A (Eckart and Young 1936)."""
        if rank >= self.rank:
            return self
        q_b, r_b = torch.linalg.qr(self.b.double())
        q_a, r_a = torch.linalg.qr(self.a.double().T)
        u, s, v_t = torch.linalg.svd(r_b @ r_a.T)
        root = s[:rank].sqrt()
        return Factors(
            a=(root[:, None] * (v_t[:rank] @ q_a.T)).float(),
            b=((q_b @ u[:, :rank]) * root).float(),
            scale=self.scale,
        )

    def random_like(self, generator: torch.Generator) -> Factors:
        """Normal factors of the same shapes and |A|, and B sized so that the update's norm is the same."""
        a = torch.randn(self.a.shape, generator=generator)
        b = torch.randn(self.b.shape, generator=generator)
        a *= self.a.double().norm().item() / a.double().norm().item()
        drawn = Factors(a, b, self.scale)
        if drawn.squared_norm == 0:
            return Factors(a, torch.zeros_like(b), self.scale)
        return Factors(a, b * math.sqrt(self.squared_norm / drawn.squared_norm), self.scale)


class Updates(Mapping[Place, Factors]):
    """The updates of an adapter, by block and module."""

    def __init__(self, factors: Mapping[Place, Factors]) -> None:
        self._factors = {place: factors[place] for place in sorted(factors)}

    def __getitem__(self, place: Place) -> Factors:
        return self._factors[place]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._factors)

    def __len__(self) -> int:
        return len(self._factors)

    def delta(self, layer: int, module: Stream) -> Float[Tensor, "d_out d_in"]:
        """What is added to the weight of one module. Raises KeyError where there is no adapter."""
        return self._factors[layer, module].delta

    def only(
        self, layers: Collection[int] | None = None, modules: Collection[Stream] | None = None
    ) -> Updates:
        """The updates of these blocks and modules; None for all."""
        return Updates(
            {
                (layer, module): factors
                for (layer, module), factors in self._factors.items()
                if (layers is None or layer in layers) and (modules is None or module in modules)
            }
        )

    def norm(self, layers: Collection[int] | None = None, modules: Collection[Stream] | None = None) -> float:
        """Frobenius norm of the update: the root of the sum of squares over these blocks and modules."""
        return math.sqrt(sum(factors.squared_norm for factors in self.only(layers, modules).values()))

    def factor_norm(self, layers: Collection[int] | None = None) -> float:
        """The atlas's norm: the root of the sum of |A|^2 + |B|^2 over the modules of these blocks."""
        return math.sqrt(sum(factors.squared_factor_norm for factors in self.only(layers).values()))

    def truncated(self, rank: int) -> Updates:
        """Every module's best approximation of this rank. Raises InvalidEdit for a rank below 1."""
        if rank < 1:
            raise InvalidEdit(f"an update is cut to rank 1 or more, not {rank}")
        return Updates({place: factors.truncated(rank) for place, factors in self._factors.items()})

    def random_like(self, generator: torch.Generator) -> Updates:
        """Random factors with the same norm of the update, and of A, in every module."""
        return Updates({place: factors.random_like(generator) for place, factors in self._factors.items()})


def key_of(layer: int, module: Stream, factor: str) -> str:
    """The name of a factor ("A" or "B") among the tensors of a state."""
    return f"{layer}.{module}.{factor}"


def updates_of(state: Mapping[str, Tensor], scale: float) -> Updates:
    """The updates whose factors a state holds by `key_of`. Raises KeyError or ValueError for anything else."""
    places = {(int(layer), Stream(module)) for layer, module, _ in (key.split(".") for key in state)}
    return Updates(
        {place: Factors(state[key_of(*place, "A")], state[key_of(*place, "B")], scale) for place in places}
    )


def merged(parts: Sequence[tuple[float, Updates]], how: Merge) -> Updates:
    """Several updates as one, each with its weight; a module takes what the parts have of it.

    `sum` and `cat`: the weighted sum of the updates, exactly. `svd`: its best approximation of the parts' largest
    rank. `linear`: B and A are each added up, with the root of weight x scale, and then multiplied, so that every
    part's B also meets the other parts' A. The last three are peft's `add_weighted_adapter`.
    Raises InvalidEdit for `linear` where the ranks differ.
    """
    by_place: dict[Place, list[tuple[float, Factors]]] = {}
    for weight, updates in parts:
        for place, factors in updates.items():
            by_place.setdefault(place, []).append((weight, factors))
    ranks = {factors.rank for same in by_place.values() for _, factors in same}
    if how == "linear":
        if len(ranks) > 1:
            raise InvalidEdit(
                f"adapters of ranks {sorted(ranks)} have no linear merge: it adds up factors of one rank"
            )
        return Updates({place: _added(same) for place, same in by_place.items()})
    total = Updates({place: _stacked(same) for place, same in by_place.items()})
    return total.truncated(max(ranks)) if how == "svd" and ranks else total


def _stacked(parts: Sequence[tuple[float, Factors]]) -> Factors:
    return Factors(
        a=torch.cat([factors.a for _, factors in parts]),
        b=torch.cat([weight * factors.scale * factors.b for weight, factors in parts], dim=1),
        scale=1.0,
    )


def _added(parts: Sequence[tuple[float, Factors]]) -> Factors:
    """The sign of a negative weight goes to A alone, or it would be lost in the product."""
    roots = [math.sqrt(abs(weight * factors.scale)) for weight, factors in parts]
    signs = [math.copysign(1.0, weight * factors.scale) for weight, factors in parts]
    a = [sign * root * factors.a for sign, root, (_, factors) in zip(signs, roots, parts, strict=True)]
    b = [root * factors.b for root, (_, factors) in zip(roots, parts, strict=True)]
    return Factors(a=torch.stack(a).sum(0), b=torch.stack(b).sum(0), scale=1.0)
