"""power.svg: every card with a distance is there, and can be told from the others of its panel."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from harness.calibration.__main__ import HOME
from harness.calibration.figure import KEY, NAME_WIDTH, STYLES, _look, draw_power, panels
from harness.calibration.rates import BINS, rate


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HOME / "results.json").read_text(encoding="utf-8"))
    return found


def test_every_card_with_an_axis_is_drawn(results: dict[str, Any]) -> None:
    shown = panels(results)
    wanted = {
        (chapter, card)
        for chapter, cards in results["counts"].items()
        for card in cards
        if card not in results["without_axis"].get(chapter, ())
    }
    assert {(chapter, card) for chapter, cards in shown.items() for card in cards} == wanted
    assert {curves[0].way for curves in shown["Matched nulls"].values()} == {"drawn"}, (
        "judged in no other way"
    )
    svg = (HOME / "power.svg").read_text(encoding="utf-8")
    missing = [
        card for _, card in wanted if any(f">{part}<" not in svg for part in textwrap.wrap(card, NAME_WIDTH))
    ]
    assert not missing, "run `python -m harness.calibration --render`"
    assert svg.count(">&gt;6<") == len(shown), "an axis without its labels"
    ways = {curve.way for cards in shown.values() for curves in cards.values() for curve in curves}
    assert ways <= STYLES.keys() & KEY.keys()
    assert all(f">{KEY[way]}<" in svg for way in ways), "a line style that is explained nowhere"


def test_a_curve_is_the_rates_of_its_card(results: dict[str, Any]) -> None:
    curve, one = panels(results)["1. Hub location"]["hub-exists"]
    counts = results["counts"]["1. Hub location"]["hub-exists"]
    assert (curve.way, one.way) == ("redrawn-pooled", "redrawn")
    for line in (curve, one):
        assert line.share == pytest.approx([rate(counts[line.way], [b]).value for b in BINS])
        assert all(
            low <= share <= high for low, share, high in zip(line.low, line.share, line.high, strict=True)
        )
    (of_nulls,) = panels(results)["Matched nulls"]["hub-exists"]
    counts = results["counts"]["Matched nulls"]["hub-exists"]
    without = [not rate(counts["drawn"], [b]).n for b in BINS]
    assert [share != share for share in of_nulls.share] == without
    assert any(without)


def test_no_two_cards_of_a_panel_look_alike(results: dict[str, Any]) -> None:
    most = max(len(cards) for cards in panels(results).values())
    looks = [(look["color"], look["marker"], look["markerfacecolor"]) for look in map(_look, range(most))]
    assert len(set(looks)) == most
    assert len({(colour, face) for colour, _, face in looks}) == most


def test_nothing_is_drawn_of_no_card(tmp_path: Path) -> None:
    assert not draw_power({"counts": {}, "without_axis": {}}, tmp_path / "power.svg")
    assert not list(tmp_path.iterdir())
