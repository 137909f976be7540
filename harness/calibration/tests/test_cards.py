"""The cards are the chapters' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.calibration.cards import at_layer, card, load_claims
from harness.calibration.models import Workshop
from harness.protocols import Protocol
from harness.verdicts.criteria import EveryProbe, HubIs


def test_a_card_keeps_the_thresholds_of_its_chapter(shop: Workshop) -> None:
    for name in ("hub-exists", "audit-skip", "early-exit-fails-everywhere", "head-some-matters"):
        assert card(shop.claims, name).criteria == shop.claims[name].criteria[Protocol.SOUND]
    (moved,) = at_layer(card(shop.claims, "hub-1_5b-l14"), 3).criteria
    (own,) = shop.claims["hub-1_5b-l14"].criteria[Protocol.SOUND]
    assert isinstance(moved, HubIs)
    assert isinstance(own, HubIs)
    assert (moved.layer, moved.min_lead, moved.min_effect_nats) == (3, own.min_lead, own.min_effect_nats)


def test_half_a_card(shop: Workshop) -> None:
    (kept,) = card(shop.claims, "hub-l15-weakest-essential", only=EveryProbe).criteria
    assert isinstance(kept, EveryProbe)


def test_an_unknown_card_and_an_empty_folder_are_refused(shop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no card 'hub-lost'"):
        card(shop.claims, "hub-lost")
    with pytest.raises(FileNotFoundError, match="no claim cards"):
        load_claims(tmp_path)
