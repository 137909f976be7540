"""The page in a headless Chromium: what is filtered is what is shown, and a map says what the evidence says."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from harness.protocols import Protocol
from harness.report import Row
from harness.site.tests.conftest import Seen, Site

Keep = Callable[[Row], bool]
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SIZES = [(1280, 900), (375, 800)]


def expected(site: Site, keep: Keep) -> set[tuple[str, str]]:
    """(claim, the filter's name of the models) of the report's rows that are to be shown."""
    rows = [row for chapter in site.report.rows.values() for row in chapter if keep(row)]
    return {
        (
            row.claim.id,
            "several" if len(row.models) > 1 and not row.claim.from_figures else " ".join(row.models),
        )
        for row in rows
    }


def test_everything_is_shown_at_first(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    assert look.rows() == expected(site, lambda _: True)
    assert look.page.locator("#Status").inner_text() == "9 claims, 17 rows"


@pytest.mark.parametrize(
    ("name", "value", "keep"),
    [
        ("model", "made_up", lambda row: row.models == ("made_up",)),
        ("model", "absent", lambda row: row.models == ("absent",)),
        ("model", "several", lambda row: len(row.models) > 1),
        ("chapter", "2-blocks", lambda row: row.claim.id in ("every-block", "some-effect", "mood", "a-head")),
        ("verdict", "refuted", lambda row: "refuted" in map(row.verdict, Protocol)),
        ("verdict", "inconsistent", lambda row: row.claim.id == "wrong-sum"),
        ("protocol", "published", lambda row: row.verdict(Protocol.PUBLISHED) != "-"),
        ("protocol", "sound", lambda row: row.verdict(Protocol.SOUND) != "-"),
    ],
)
def test_a_choice_shows_exactly_its_rows(site: Site, look: Seen, name: str, value: str, keep: Keep) -> None:
    look.open(site.page.as_uri())
    look.page.select_option(f"#Filter [name={name}]", value)
    rows = expected(site, keep)
    assert look.rows() == rows
    assert 0 < len(rows) < 17
    assert look.claims() == {claim for claim, _ in rows}
    assert look.page.locator("#Status").inner_text().endswith(f", {len(rows)} row{'s' * (len(rows) > 1)}")
    assert f"{name}={value}" in look.page.url


def test_a_verdict_is_looked_for_under_the_protocol_that_is_chosen(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    look.page.select_option("#Filter [name=verdict]", "supported")
    look.page.select_option("#Filter [name=protocol]", "published")
    assert look.rows() == expected(site, lambda row: row.verdict(Protocol.PUBLISHED) == "supported")
    look.page.select_option("#Filter [name=protocol]", "sound")
    assert look.rows() == expected(site, lambda row: row.verdict(Protocol.SOUND) == "supported")


def test_readings_add_up_and_text_narrows(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    look.page.check("#Filter [value=holds]")
    look.page.check("#Filter [value=artifact]")
    two = expected(site, lambda row: row.reading.strip("*") in ("holds", "artifact"))
    assert look.rows() == two
    look.page.fill("#Filter [name=text]", "BLOCK every")
    assert look.rows() == {row for row in two if row[0] == "every-block"}
    look.page.fill("#Filter [name=text]", "no such words")
    assert look.rows() == set()
    assert look.page.locator("#Nothing").is_visible()
    look.page.click("#Filter [name=clear]")
    assert look.rows() == expected(site, lambda _: True)


def test_a_link_to_a_filtered_view_restores_it(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    look.page.select_option("#Filter [name=model]", "second")
    look.page.check("#Filter [value=open]")
    look.page.fill("#Filter [name=text]", "hub")
    shown, address = look.rows(), look.page.url
    assert shown == {("hub-l1", "second")}
    look.open(address)
    assert look.rows() == shown
    values = {n: look.page.input_value(f"#Filter [name={n}]") for n in ("model", "text", "verdict")}
    assert values == {"model": "second", "text": "hub", "verdict": ""}
    assert look.page.is_checked("#Filter [value=open]")
    look.page.select_option("#Filter [name=model]", "")
    assert look.rows() == expected(site, lambda row: row.reading == "open" and "hub" in row.claim.id)
    look.page.go_back()
    look.page.wait_for_function("location.hash.includes('second')")
    assert look.rows() == shown


def test_a_number_of_the_overview_shows_as_many_rows(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    links = look.page.locator(".overview td a").filter(has_text="1")
    assert links.count() >= 4
    for i in range(links.count()):
        look.open(site.page.as_uri())
        link = links.nth(i)
        number, model, reading = (
            link.inner_text(),
            link.get_attribute("data-pick-model"),
            link.get_attribute("data-word"),
        )
        link.focus()
        look.page.keyboard.press("Enter")
        look.page.wait_for_function("location.hash.includes('reading')")
        rows = look.rows()
        assert len(rows) == int(number)
        joint = model == "several"
        assert rows == expected(
            site,
            lambda row, model=model, reading=reading, joint=joint: (
                row.reading.strip("*") == reading
                and (len(row.models) > 1 if joint else row.models == (model,))
            ),
        )
        assert link.get_attribute("aria-current") == "true"


def test_claims_from_published_figures_are_counted_and_led_to(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    links = look.page.locator(".arithmetic a")
    assert links.all_inner_texts() == ["1 consistent", "1 inconsistent"]
    links.nth(1).click()
    look.page.wait_for_function("location.hash.includes('inconsistent')")
    assert look.rows() == {("wrong-sum", "absent")}


def test_the_overview_counts_what_the_other_filters_leave(site: Site, look: Seen) -> None:
    look.open(f"{site.page.as_uri()}#chapter=1-hubs&model=second")
    line = look.page.locator("tr[data-line=made_up]")
    assert line.locator("td").all_inner_texts() == ["2", "1", "1", "", "", ""]
    assert look.page.locator("output[data-facet=open]").inner_text() == "1"


def test_a_link_to_a_claim_shows_it_whatever_was_filtered(site: Site, look: Seen) -> None:
    look.open(f"{site.page.as_uri()}#model=absent&chapter=3-sums")
    assert look.claims() == {"wrong-sum"}
    look.page.evaluate("location.hash = '#hub-l3'")
    look.page.wait_for_function("!document.getElementById('hub-l3').hidden")
    assert look.rows() == expected(site, lambda _: True)
    top = look.page.evaluate("document.querySelector('#hub-l3 h3').getBoundingClientRect().top")
    bar = look.page.evaluate("document.getElementById('Filter').getBoundingClientRect().bottom")
    assert bar <= top < 900


def test_figures_of_a_chapter_step_aside_for_a_search(site: Site, look: Seen) -> None:
    look.open(f"{site.page.as_uri()}#model=made_up")
    heads = look.page.locator(".chapter figure[data-model=made_up]")
    assert heads.is_visible()
    look.page.select_option("#Filter [name=model]", "second")
    assert not heads.is_visible()
    look.open(f"{site.page.as_uri()}#model=made_up&reading=holds")
    assert not heads.is_visible()


def test_hostile_text_is_shown_as_text(site: Site, look: Seen) -> None:
    look.page.on("dialog", lambda dialog: look.errors.append(dialog.message))
    look.open(f"{site.page.as_uri()}#some-effect")
    assert "</script><img src=x onerror=alert(1)>" in look.page.locator("#some-effect h3").inner_text()
    assert look.page.locator("img[src=x]").count() == 0


def test_the_policy_of_the_page_stops_what_would_break_out(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    image = '<img src="figures/x" onerror="window.broken = 1">'
    look.page.evaluate("(image) => { document.body.insertAdjacentHTML('beforeend', image); }", image)
    look.page.wait_for_timeout(200)
    assert look.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in error for error in look.errors)
    look.errors.clear()


# The heat maps


def record(site: Site, experiment: str, seed: int, model: str = "made_up") -> dict:
    path = site.root / "claims" / "evidence" / model / f"{experiment}-sound-seed{seed}.json"
    return json.loads(path.read_text())


def family_mean(bodies: list[dict], layer: int, family: str) -> float:
    """The mean over templates of the mean over their prompts, from the files' own numbers."""
    found: dict[str, list[float]] = {}
    for body in bodies:
        prompts = body["prompts"]
        for name, template, value in zip(
            prompts["family"], prompts["template"], body["metrics"]["kl_nats"][layer], strict=True
        ):
            if name == family:
                found.setdefault(template, []).append(value)
    return sum(sum(values) / len(values) for values in found.values()) / len(found)


def cell(look: Seen, kind: str, row: str, layer: int) -> str:
    """What is said of a cell one points at."""
    look.page.hover(f'[data-map={kind}] rect[data-row="{row}"][data-layer="{layer}"]')
    return look.page.locator(f"[data-map={kind}] output").inner_text()


def test_a_cell_says_the_number_of_the_evidence(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    bodies = [record(site, "layer_sweep", seed) for seed in (42, 137, 2026)]
    for family, layer in (("family00", 1), ("family07", 3)):
        value = float(f"{family_mean(bodies, layer, family):.3g}")
        said = cell(look, "families", family, layer)
        assert said == f"L{layer}, {family}: {value:g} nats (n = 30 prompts / 5 templates)"
    look.page.select_option("#Map-controls [name=draw]", "137")
    value = float(f"{family_mean(bodies[1:2], 2, 'family05'):.3g}")
    assert (
        cell(look, "families", "family05", 2)
        == f"L2, family05: {value:g} nats (n = 10 prompts / 5 templates)"
    )


def test_a_head_says_the_number_of_the_evidence(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    look.page.select_option("#Map-controls [name=draw]", "42")
    body = record(site, "head_sweep", 42)
    (index,) = [i for i, probe in enumerate(body["probes"]) if probe["sites"] == [[2, "z", 1]]]
    values = body["metrics"]["kl_nats"][index]
    value = float(f"{sum(values) / len(values):.3g}")
    assert cell(look, "heads", "H1", 2) == f"L2H1: {value:g} nats (n = 120 prompts / 60 templates)"


def test_keys_move_over_a_map_and_sort_it(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    names = look.page.locator("[data-map=families] text[data-row]")
    assert names.all_text_contents() == [f"family{i:02d}" for i in range(12)]
    look.page.focus("#Map-controls [name=order]")
    look.page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowDown", "Enter"):
        look.page.keyboard.press(key)
    bodies = [record(site, "layer_sweep", seed) for seed in (42, 137, 2026)]
    means = {f: float(f"{family_mean(bodies, 1, f):.3g}") for f in (f"family{i:02d}" for i in range(12))}
    assert names.all_text_contents() == sorted(means, key=lambda f: -means[f])
    look.page.keyboard.press("ArrowDown")
    assert look.page.locator("[data-map=families] output").inner_text().startswith("L")
    look.page.click("#Map-controls [name=order]")
    assert names.all_text_contents() == [f"family{i:02d}" for i in range(12)]


def test_a_click_sorts_rows_by_a_layer_and_layers_by_a_row(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    look.page.click("[data-map=heads] text[data-layer='3']")
    assert look.page.locator("[data-map=heads] text[data-row]").all_text_contents() == ["H1", "H0"]
    look.page.click("[data-map=heads] text[data-row=H0]")
    layers = look.page.locator("[data-map=heads] text[data-layer]")
    assert [text.get_attribute("data-layer") for text in layers.all()] == ["3", "2", "1", "0"]
    said = cell(look, "heads", "H0", 3)
    assert said.startswith("L3H0: 0.7")


def test_a_filter_by_model_shows_its_maps(site: Site, look: Seen) -> None:
    look.open(f"{site.page.as_uri()}#model=second")
    assert look.page.input_value("#Map-controls [name=model]") == "second"
    body = [record(site, "layer_sweep", seed, "second") for seed in (42, 137, 2026)]
    value = float(f"{family_mean(body, 3, 'family02'):.3g}")
    assert cell(look, "families", "family02", 3).startswith(f"L3, family02: {value:g} nats")
    assert look.page.locator("[data-map=heads]").count() == 0


def test_a_darker_cell_is_a_larger_effect(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    order = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    for scale in ("linear", "log"):
        look.page.select_option("#Map-controls [name=scale]", scale)
        for scheme, sign in (("light", -1), ("dark", 1)):
            look.page.emulate_media(color_scheme=scheme)
            look.page.evaluate(TWO_FRAMES)
            fills = [
                look.page.get_attribute(f"[data-map=heads] rect[data-row=H{h}][data-layer='{layer}']", "fill")
                for h, layer in order
            ]
            lightness = [sign * _lightness(fill) for fill in fills]
            assert lightness == sorted(lightness)
            assert len(set(lightness)) == len(lightness)


def _lightness(fill: str) -> float:
    red, green, blue = (int(part) for part in fill.removeprefix("rgb(").rstrip(")").split(","))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# Sizes


@pytest.mark.parametrize("look", SIZES, indirect=True, ids=["desktop", "phone"])
def test_the_page_never_scrolls_sideways(site: Site, look: Seen) -> None:
    for scheme in ("light", "dark"):
        look.page.emulate_media(color_scheme=scheme)
        look.open(f"{site.page.as_uri()}#model=second")  # its map is of 30 layers
        look.page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
        width, inner = look.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= inner


@pytest.mark.parametrize("look", [(375, 800)], indirect=True)
def test_a_narrow_table_names_its_cells(site: Site, look: Seen) -> None:
    look.open(site.page.as_uri())
    shown = look.page.evaluate(
        """() => getComputedStyle(document.querySelector("#hub-l1 td[data-label=sound]"), "::before").content"""
    )
    assert shown.strip('"') in ("sound", "attr(data-label)")
    assert not look.page.locator("#hub-l1 thead").is_visible()


def test_without_its_script_the_page_shows_every_claim(site: Site, chromium: object) -> None:
    context = chromium.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    page = context.new_page()
    page.goto(site.page.as_uri())
    assert page.locator("article.claim h3").first.is_visible()
    assert not page.locator("#Filter").is_visible()
    assert not page.locator("#Maps").is_visible()
    context.close()
