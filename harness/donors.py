"""Donors by name: where the patches and additions of an experiment take their values from.

    mean      the mean activation of each site over the development prompts, token 0 apart
    noise     a random direction at each site with the mean norm of its activations there; the seed draws it
    resample  another prompt of the same family and draw, of another template where there is one
    corrupt   the corrupt prompt of the pair
    clean     its clean prompt

Any other name is a direction's: see `harness.steering`.

Donor prompts are aligned with the item's end, where the prediction is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.directions import Development
from harness.edits import Site
from harness.effects import PromptRecord
from harness.engine.editing import DonorPrompts, DonorVectors
from harness.engine.means import Moments
from harness.engine.sweep import Item
from harness.experiments import CLEAN, CORRUPT, MEAN, NOISE, RESAMPLE
from harness.steering import Direction

if TYPE_CHECKING:
    from harness.engine.blocks import Stack


def _no_development() -> Development:
    raise ValueError("a direction is computed on development prompts: say which")


@dataclass(frozen=True, kw_only=True)
class DonorRequest:
    """What a donor may depend on: the model, one draw's prompts, and mean activations on development prompts."""

    stack: Stack
    items: Sequence[Item]
    records: Sequence[PromptRecord]
    corrupt: Sequence[Sequence[int]]
    clean: Sequence[Sequence[int]]
    moments: Callable[[], Mapping[Site, Moments]]
    development: Callable[[], Development] = _no_development
    seed: int


Donor = DonorPrompts | DonorVectors


def build_donors(names: Sequence[str], request: DonorRequest) -> dict[str, Donor]:
    """The donors of these names: DONORS, or directions. Raises KeyError for a name that stands for none."""
    directions = [Direction.parse(name) for name in names if name not in DONORS]
    held_out = request.development().without({item.ids for item in request.items}) if directions else None
    found: dict[str, Donor] = {name: DONORS[name](request) for name in names if name in DONORS}
    if held_out is not None:
        found |= {str(direction): held_out.vectors(direction, request.seed) for direction in directions}
    return found


def _mean(request: DonorRequest) -> DonorVectors:
    return {site: moments.mean for site, moments in request.moments().items()}


def _noise(request: DonorRequest) -> DonorVectors:
    vectors = {}
    for site, moments in request.moments().items():
        key = [request.seed, site.layer, sum(map(ord, site.stream)), -1 if site.head is None else site.head]
        way = np.random.default_rng([abs(k) for k in key]).standard_normal(moments.mean.shape[1])
        unit = torch.tensor(way / np.linalg.norm(way), dtype=torch.float32, device=moments.mean.device)
        vectors[site] = moments.norm[:, None] * unit
    return vectors


def _resample(request: DonorRequest) -> DonorPrompts:
    chosen = []
    rng = np.random.default_rng([request.seed, 7])
    for i, record in enumerate(request.records):
        family = [j for j, other in enumerate(request.records) if other.family == record.family and j != i]
        others = [j for j in family if request.records[j].template != record.template] or family
        if not others:
            raise ValueError(
                f"the family {record.family!r} has a single prompt in this draw: resampling needs another one"
            )
        donor = int(rng.choice(others))
        chosen.append(align(request.items[donor].ids, len(request.items[i].ids)))
    return chosen


def _corrupt(request: DonorRequest) -> DonorPrompts:
    return request.corrupt


def _clean(request: DonorRequest) -> DonorPrompts:
    return request.clean


def align(ids: Sequence[int], length: int) -> tuple[int, ...]:
    """The last `length` of these tokens; a shorter prompt is repeated before itself."""
    return tuple((list(ids) * -(-length // len(ids)))[-length:])


DONORS: Mapping[str, Callable[[DonorRequest], Donor]] = {
    MEAN: _mean,
    NOISE: _noise,
    RESAMPLE: _resample,
    CORRUPT: _corrupt,
    CLEAN: _clean,
}
