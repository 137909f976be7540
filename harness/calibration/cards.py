"""The claim cards themselves, read from the folder of chapters; nothing of them is restated here.

The instrument does not import the claims (imports go the other way), so the folder is named at run time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.claim import EVERY_MODEL, Claim
from harness.edits import Probe
from harness.protocols import Protocol
from harness.verdicts.criteria import EveryProbe, HubIs, SingleCriterion, SomeProbe
from harness.verdicts.selectors import Selector


@dataclass(frozen=True, kw_only=True)
class Card:
    """A claim card's criteria under one protocol, as they are asked of a planted model."""

    name: str
    claim: Claim
    protocol: Protocol

    @property
    def criteria(self) -> tuple[SingleCriterion, ...]:
        """What must all hold."""
        return self.claim.criteria[self.protocol]  # type: ignore[return-value]

    @property
    def experiments(self) -> tuple[str, ...]:
        """The tables it reads."""
        return self.claim.experiments(self.protocol)

    def reads(self, experiment: str, probe: Probe, n_layers: int) -> bool:
        """True for a probe whose row decides the card; a criterion that selects none reads all."""
        return any(
            experiment in c.experiments and (not hasattr(c, "select") or c.select.keep(probe, n_layers))
            for c in self.criteria
        )

    def asking(self, change: Callable[[SingleCriterion], SingleCriterion]) -> Card:
        """The same card with every criterion changed."""
        criteria = tuple(change(criterion) for criterion in self.criteria)
        return replace(self, claim=replace(self.claim, criteria={self.protocol: criteria}))


def load_claims(folder: Path) -> Mapping[str, Claim]:
    """Every card of the folder's chapters (test_*.py with CLAIMS), by id. Raises FileNotFoundError."""
    found: dict[str, Claim] = {}
    for path in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"_cards_of_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= {claim.id: claim for claim in getattr(module, "CLAIMS", ())}
    if not found:
        raise FileNotFoundError(f"no claim cards in {folder}: name the folder of chapters with --claims")
    return found


def card(
    claims: Mapping[str, Claim],
    claim: str,
    protocol: Protocol = Protocol.SOUND,
    *,
    name: str = "",
    only: type | None = None,
) -> Card:
    """The card of that id; `only` keeps its criteria of one type. Raises KeyError, ValueError."""
    if claim not in claims:
        raise KeyError(f"no card {claim!r}: rename it in harness/calibration/chapters.py as in the chapter")
    kept = tuple(c for c in claims[claim].criteria[protocol] if only is None or isinstance(c, only))
    if not kept:
        raise ValueError(f"card {claim!r} has no such criterion under {protocol}")
    bare = Claim(
        id=claim,
        sentence=claims[claim].sentence,
        source=claims[claim].source,
        falsified_by=claims[claim].falsified_by,
        models=EVERY_MODEL,
        criteria={protocol: kept},
    )
    return Card(name=name or claim, claim=bare, protocol=protocol)


def at_layer(card: Card, layer: int) -> Card:
    """The card's hub claim, made about this layer."""
    return card.asking(lambda c: replace(c, layer=layer) if isinstance(c, HubIs) else c)


def selecting(card: Card, select: Selector) -> Card:
    """The card's bound, asked of these probes."""
    return card.asking(lambda c: replace(c, select=select) if isinstance(c, EveryProbe | SomeProbe) else c)
