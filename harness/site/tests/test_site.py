"""The page says what CLAIMS.md says, and nothing that it says can break out of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.evidence import read
from harness.experiments import SEEDS
from harness.protocols import Protocol
from harness.site import write_site
from harness.site.maps import heat_maps
from harness.site.tests.conftest import CHAPTERS, HOSTILE, SPECS, Site
from harness.site.view import page_view

ROOT = Path(__file__).parents[3]
IDS = [claim.id for claims in CHAPTERS.values() for claim in claims]


class Parsed(HTMLParser):
    """Elements in order: (tag, attributes), and the text of each claim."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.claim = ""
        self.texts: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "article":
            self.claim = dict(attrs)["id"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self.claim = ""

    def handle_data(self, data: str) -> None:
        if self.claim:
            self.texts[self.claim] = self.texts.get(self.claim, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


@pytest.fixture(scope="module")
def parsed(site: Site) -> Parsed:
    return Parsed(site.html)


def markdown_counts(text: str) -> dict[str, list[int]]:
    """The overview of CLAIMS.md: model -> how many claims, and how many read as what."""
    table = text.split('<a id="overview">')[1].split("\n## ")[0]
    found = {}
    for line in [line for line in table.splitlines() if line.startswith("| ")][1:]:
        name, told = (cell.strip() for cell in line.strip("|").split("|"))
        counts = [
            sum(map(int, re.findall(rf"(\d+) (?:{words})\b", told)))
            for words in ("holds?", "falls?", "artifacts?", "open", "not run|not testable")
        ]
        found[re.sub(r", `.*", "", name)] = [sum(counts), *counts]
    return found


def page_counts(html: str) -> dict[str, list[int]]:
    """The same of the page, as it is without its script."""
    found = {}
    for line in re.findall(r"<tr data-line.*?</tr>", html, re.DOTALL):
        cells = [unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.split(r"</t[hd]>", line)]
        found[cells[0]] = [int(cell or 0) for cell in cells[1:-1]]
    return found


def markdown_rows(text: str, claim: str) -> list[list[str]]:
    section = text.split(f'<a id="{claim}">')[1].split("\n### ")[0].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def page_row(text: str) -> list[str]:
    """A row of the page as CLAIMS.md has it: model, reading with its verdicts, the sound effect or else the other."""
    model, reading, *protocols, n, _ = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", text, re.DOTALL)
    said = [dict(re.findall(r'class="(verdict|effect)">([^<]*)<', cell)) for cell in protocols]
    verdicts = [
        f"{name} {told['verdict']}"
        for name, told in zip(("published", "sound"), said, strict=True)
        if "verdict" in told
    ]
    effect = next((told["effect"] for told in reversed(said) if told.get("effect")), "")
    (word,) = re.findall(r">([^<]+)<", reading)
    return [model, f"**{word}**: {', '.join(verdicts)}", "<br>".join(filter(None, [effect, n and f"n {n}"]))]


def test_the_counts_are_those_of_claims_md(site: Site) -> None:
    counts = page_counts(site.html)
    assert counts == markdown_counts(site.markdown)
    assert counts["Made up"] == [6, 3, 1, 1, 0, 1]


def test_every_claim_is_there_once_in_the_order_of_its_chapter(parsed: Parsed) -> None:
    assert [attributes["id"] for attributes in parsed.all("article")] == IDS


def test_chapters_stand_in_the_order_of_their_numbers(site: Site) -> None:
    rows = site.report.rows["1. Hubs"]
    report = replace(site.report, rows=dict.fromkeys(["1. A", "10. B", "My own", "2. C"], rows))
    view = page_view(report, lambda _: None)
    assert [chapter.name for chapter in view.chapters] == ["1. A", "2. C", "10. B", "My own"]


def test_verdicts_and_effects_are_those_of_claims_md(site: Site) -> None:
    for claim in ("hub-l1", "hub-l3", "every-block", "some-effect"):
        section = site.html.split(f'<article class="claim" id="{claim}"')[1].split("</article>")[0]
        shown = [page_row(text) for text in re.findall(r'<tbody class="row".*?</tr>', section, re.DOTALL)]
        told = markdown_rows(site.markdown, claim)
        assert shown == told
        assert len(told) == 2


def test_what_was_not_run_says_why(parsed: Parsed) -> None:
    assert "pytest claims --model absent --download --device cuda --record" in parsed.texts["hub-l1"]
    assert "made_up: not testable: it names no quantity" in parsed.texts["mood"]


def test_a_card_is_shown_with_its_figures_criteria_and_findings(site: Site, parsed: Parsed) -> None:
    text = parsed.texts["hub-l3"]
    for words in ("Published: hub L3", "superseded by hub-l1", "its opposite", "this test"):
        assert words in text
    (row,) = [
        r
        for chapter in site.report.rows.values()
        for r in chapter
        if r.claim.id == "hub-l3" and r.models == ("made_up",)
    ]
    assert row.judgements[Protocol.SOUND].sentence in text
    assert str(row.claim.criteria[Protocol.SOUND][0]) in text


def test_arithmetic_is_shown_with_where_its_figures_stand(parsed: Parsed) -> None:
    assert "inconsistent" in parsed.texts["wrong-sum"]
    assert "made.two: two; page 2" in parsed.texts["wrong-sum"]
    assert "2 * 2 = 4" in parsed.texts["right-sum"]


def test_every_link_leads_somewhere(site: Site, parsed: Parsed) -> None:
    ids = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    addresses = {str(a["href"]) for a in parsed.all("a") if "href" in a}
    addresses |= {str(i["src"]) for i in parsed.all("img")}
    records = [address for address in addresses if address.endswith(".json")]
    assert len(records) == 4 * len(SEEDS)
    for address in addresses:
        if address.startswith("#"):
            assert address == "#" or address[1:] in ids
        else:
            assert (site.page.parent / address).exists(), address


def test_figures_stand_in_the_overview_and_in_the_chapters_that_read_them(site: Site) -> None:
    overview, chapters = site.html.split('<section id="Claims"')
    shown = {
        part: re.findall(r'<img src="figures/([^"]+)"', text)
        for part, text in (("overview", overview), ("chapters", chapters))
    }
    assert shown == {
        "overview": ["made_up/profile.svg", "second/profile.svg"],
        "chapters": ["made_up/heads.svg"],
    }
    for name in ("made_up/profile.svg", "made_up/heads.svg"):
        drawn = site.report.evidence_dir / name
        assert (site.page.parent / "figures" / name).read_bytes() == drawn.read_bytes()


def test_ids_are_distinct(parsed: Parsed) -> None:
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_outside_of_the_repository_files_are_named_and_not_linked(site: Site, tmp_path: Path) -> None:
    html = write_site(site.report, tmp_path / "elsewhere", root=site.root).read_text(encoding="utf-8")
    assert "made_up/layer_sweep-sound-seed42.json" in html
    assert not [a for a in Parsed(html).all("a") if str(a.get("href")).endswith(".json")]
    assert "stands outside of it" in html
    assert str(tmp_path) not in html
    assert str(site.root) not in html


def test_the_footer_says_of_when_and_of_which_code_the_evidence_is(site: Site) -> None:
    footer = site.html.split("<footer>")[1]
    assert "12 records of 2026-01-02, with the code of commit 0123456." in footer


# What it must not do


def test_text_of_cards_and_evidence_cannot_become_markup(site: Site, parsed: Parsed) -> None:
    assert HOSTILE in parsed.texts["some-effect"]
    assert HOSTILE in parsed.texts["every-block"]
    assert all(str(image["src"]).startswith("figures/") for image in parsed.all("img"))
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert site.html.count("<script") == 2


def test_a_family_of_untrusted_evidence_cannot_leave_its_data_block(site: Site, tmp_path: Path) -> None:
    report = replace(
        site.report, judge=_Renamed(site.report.judge, "arithmetic</script><script>alert(1)</script>")
    )
    html = write_site(report, tmp_path / "site", root=tmp_path).read_text(encoding="utf-8")
    assert html.count("<script") == 2
    (block,) = re.findall(r'<script type="application/json" id="Maps-data">(.*?)</script>', html, re.DOTALL)
    assert any("</script>" in row for row in json.loads(block)[0]["maps"]["families"]["rows"])


class _Renamed:
    """A judge whose evidence is of one family with a name of its own."""

    def __init__(self, judge: Any, family: str) -> None:
        self.judge, self.family = judge, family
        self.seeds, self.recorded = judge.seeds, judge.recorded

    def evidence(self, *key: Any) -> Any:
        found = self.judge.evidence(*key)
        prompts = tuple(replace(p, family=self.family) for p in found.effects.prompts)
        return replace(found, effects=replace(found.effects, prompts=prompts))


def test_nothing_on_it_comes_from_elsewhere(site: Site, parsed: Parsed) -> None:
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert not re.match(r"(?:https?:)?//", attributes.get(name) or ""), (tag, attributes)
    assert not parsed.all("link")[1:]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", site.html)
    (policy,) = [m["content"] for m in parsed.all("meta") if "http-equiv" in m]
    assert str(policy).startswith("default-src 'none'; ")


# Its bytes


def test_the_same_report_gives_the_same_bytes(site: Site) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in site.page.parent.rglob("*") if path.is_file()}

    before = content()
    write_site(site.report, site.page.parent, root=site.root)
    assert content() == before
    assert len(before) >= 3


def test_the_site_is_written_without_torch() -> None:
    code = "import sys, harness.site; sys.exit(bool({'torch', 'transformers', 'pytest'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# A page of all that is recorded, which takes minutes to judge: .ci/run writes one and names it


@pytest.fixture(scope="module")
def recorded() -> str:
    folder = os.environ.get("CLAIMS_SITE")
    if not folder:
        pytest.skip("make site, and name its folder in CLAIMS_SITE")
    return (ROOT / folder / "index.html").read_text(encoding="utf-8")


def test_of_all_that_is_recorded_the_page_is_small(recorded: str) -> None:
    assert len(recorded.encode()) < 3_000_000


def test_of_all_that_is_recorded_the_page_says_what_claims_md_says(recorded: str) -> None:
    markdown = (ROOT / "CLAIMS.md").read_text(encoding="utf-8")
    assert page_counts(recorded) == markdown_counts(markdown)
    told = [
        name
        for name in re.findall(r'^### <a id="([^"]+)">', markdown, re.MULTILINE)
        if not name.startswith("not-run-")
    ]
    assert sorted(str(a["id"]) for a in Parsed(recorded).all("article")) == sorted(told)


# The maps


def test_a_cell_is_the_mean_over_templates_of_the_record(site: Site) -> None:
    (first, second) = heat_maps(SPECS, site.report.judge)
    assert (first["model"], second["model"]) == ("made_up", "second")
    assert set(first["maps"]) == {"families", "heads"}
    assert set(second["maps"]) == {"families"}
    families = first["maps"]["families"]
    path = site.root / "claims" / "evidence" / "made_up" / "layer_sweep-sound-seed137.json"
    body = json.loads(path.read_text())
    for i, family in enumerate(families["rows"]):
        for layer in range(4):
            row = body["metrics"]["kl_nats"][layer]
            by_template: dict[str, list[float]] = {}
            for name, template, value in zip(
                body["prompts"]["family"], body["prompts"]["template"], row, strict=True
            ):
                if name == family:
                    by_template.setdefault(template, []).append(value)
            mean = sum(sum(v) / len(v) for v in by_template.values()) / len(by_template)
            assert families["draws"]["137"]["values"][i][layer] == float(f"{mean:.3g}")
    assert families["draws"]["137"]["n"] == [[10, 5]] * 12
    assert families["draws"]["pooled"]["n"] == [[30, 5]] * 12


def test_a_head_stands_in_its_row_and_layer(site: Site) -> None:
    heads = heat_maps(SPECS, site.report.judge)[0]["maps"]["heads"]
    assert heads["rows"] == ["H0", "H1"]
    planted = [[0.1, 0.3, 0.5, 0.7], [0.2, 0.4, 0.6, 0.8]]
    for row, expected in zip(heads["draws"]["pooled"]["values"], planted, strict=True):
        assert row == pytest.approx(expected, abs=0.01)
    path = site.root / "claims" / "evidence" / "made_up" / "head_sweep-sound-seed42.json"
    summary = {row["probe"]: row["kl_nats"][0] for row in read(path).summary}
    for i, row in enumerate(heads["draws"]["42"]["values"]):
        for layer, value in enumerate(row):
            assert value == pytest.approx(summary[f"zero L{layer}H{i}"], rel=5e-3)


def test_evidence_that_failed_a_gate_has_no_map(site: Site) -> None:
    class Failing(_Renamed):
        def evidence(self, *key: Any) -> Any:
            from harness.evidence import Check

            check = Check(name="no_op", passed=False, value=1.0, sentence="moved")
            return replace(self.judge.evidence(*key), checks=(check,))

    assert heat_maps(SPECS, Failing(site.report.judge, "")) == []  # type: ignore[arg-type]
