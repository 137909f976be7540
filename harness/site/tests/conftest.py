"""A small made-up report, written once: CLAIMS.md and the site beside it, and a browser to look with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.claim import Claim, Published
from harness.evidence import Evidence
from harness.experiments import SEEDS
from harness.models.spec import HubRepo, LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.published import Quantity
from harness.report import Report, make_report, write_markdown
from harness.site import write_site
from harness.store import Recorded
from harness.tests.conftest import make_evidence
from harness.verdicts.criteria import Arithmetic, EveryProbe, HubDepthIncreases, HubIs
from harness.verdicts.selectors import EveryHead, Singles

__all__ = ["make_evidence"]

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
WHY = "made up"
HOSTILE = "Blocks </script><img src=x onerror=alert(1)> & \"quotes\" 'hold' <b>true</b>"
MODELS = ("made_up", "second", "absent")
SPECS = (
    ModelSpec(id="made_up", title="Made up", source=LocalDir(path=Path("/x")), license="none"),
    ModelSpec(id="second", title="Second", source=LocalDir(path=Path("/x")), license="none"),
    ModelSpec(id="absent", title="Absent", source=HubRepo(repo="Org/Absent", revision="abc"), license="none"),
)


def card(id_: str, **fields: Any) -> Claim:
    given = {
        "sentence": f"The sentence of {id_}.",
        "source": "this test",
        "falsified_by": "its opposite",
        "models": MODELS,
    }
    return Claim(id=id_, **{**given, **fields})


def sums(claimed: float, *models: str) -> dict[str, Any]:
    figure = Quantity(name="made.two", value=2.0, unit="nats", what="two", source="page 2")
    criterion = Arithmetic(
        figures={"made.two": figure},
        what="the double",
        expression="2 * made.two",
        claimed=claimed,
        rationale=WHY,
    )
    return {"models": models, "criteria": {PUBLISHED: (criterion,)}}


def fatal(at_least: float) -> EveryProbe:
    return EveryProbe(
        experiment="layer_sweep", select=Singles(), metric="kl_nats", at_least=at_least, rationale=WHY
    )


CHAPTERS = {
    "1. Hubs": (
        card("hub-l1", criteria={p: (HubIs(layer=1, rationale=WHY),) for p in Protocol}),
        card(
            "hub-l3",
            criteria={SOUND: (HubIs(layer=3, rationale=WHY),)},
            superseded_by=("hub-l1",),
            published=(Published(value="L3", unit="", what="hub", source="page 1"),),
        ),
        card(
            "deeper",
            models=("made_up", "second"),
            joint=True,
            criteria={SOUND: (HubDepthIncreases(models=("made_up", "second"), rationale=WHY),)},
        ),
    ),
    "2. Blocks": (
        card("every-block", criteria={p: (fatal(0.5),) for p in Protocol}, note=HOSTILE),
        card("some-effect", sentence=HOSTILE, criteria={SOUND: (fatal(0.01),)}),
        card(
            "a-head",
            models=("made_up",),
            criteria={
                SOUND: (
                    EveryProbe(
                        experiment="head_sweep",
                        select=EveryHead(),
                        metric="kl_nats",
                        at_least=0.05,
                        rationale=WHY,
                    ),
                )
            },
        ),
        card("mood", models=("made_up",), untestable="it names no quantity"),
    ),
    "3. Sums": (card("right-sum", **sums(4.0, "made_up")), card("wrong-sum", **sums(5.0, "absent"))),
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A repository with a report, its CLAIMS.md and its site."""

    root: Path
    report: Report
    page: Path

    @property
    def html(self) -> str:
        return self.page.read_text(encoding="utf-8")

    @property
    def markdown(self) -> str:
        return (self.root / "CLAIMS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def site(make_evidence: Callable[..., Evidence], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two made-up models, of one of which the heads are swept as well, and one that was never measured."""
    root = tmp_path_factory.mktemp("repository")
    recorded = Recorded(root=root / "claims" / "evidence")
    erased, skipped, other = (2.0, 2.1, 2.2, 2.3), (0.2, 2.0, 0.3, 0.1), (0.9, 1.0, 1.1, 3.0, *[1.0] * 26)
    provenance = {"device": "CPU, 1 threads", "date": "2026-01-02", "commit": "0123456789abcdef"}
    for seed in SEEDS:
        made = [
            make_evidence(erased, seed=seed, protocol=PUBLISHED, noise=0.1, provenance=provenance),
            make_evidence(skipped, seed=seed, noise=0.02, provenance=provenance),
            make_evidence(other, seed=seed, model="second", noise=0.1, provenance=provenance),
            make_evidence(
                [0.1 * (i + 1) for i in range(8)],
                seed=seed,
                experiment="head_sweep",
                heads=(2, 2, 2, 2),
                n_layers=4,
                provenance=provenance,
            ),
        ]
        for evidence in made:
            recorded.put(evidence)
    report = make_report(CHAPTERS, SPECS, evidence_dir=recorded.root)
    write_markdown(report, root / "CLAIMS.md")
    return Site(root=root, report=report, page=write_site(report, root / "site", root=root))


# The browser

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
REMEDY = "install Debian's package chromium, and the extra 'site' (make test does the latter)"


@dataclass(kw_only=True)
class Seen:
    """A page of the browser, with what went wrong on it and what it asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Open an address anew, also where only its hash differs."""
        self.page.goto("about:blank")
        self.page.goto(address)

    def rows(self) -> set[tuple[str, str]]:
        """(claim, model) of the rows that are shown."""
        found = self.page.evaluate(
            """() => [...document.querySelectorAll(".claim:not([hidden]) .row:not([hidden])")].map((row) =>
            [row.closest(".claim").id, row.dataset.models])"""
        )
        return {(claim, model) for claim, model in found}

    def claims(self) -> set[str]:
        """The claims that are to be seen."""
        return set(
            self.page.evaluate(
                """() => [...document.querySelectorAll(".claim")].filter((c) => c.checkVisibility()).map((c) => c.id)"""
            )
        )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, or a skip that says how to get one."""
    missing = pytest.fail if os.environ.get("CLAIMS_BROWSER") == "required" else pytest.skip
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        missing(f"no Chromium here: {REMEDY}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing(f"no playwright here: {REMEDY}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Seen]:
    """A fresh page of 1280 x 900, or of the (width, height) given; it fails the test that leaves an error on it."""
    width, height = getattr(request, "param", (1280, 900))
    context = chromium.new_context(viewport={"width": width, "height": height})
    seen = Seen(page=context.new_page())
    seen.page.set_default_timeout(10_000)
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    seen.page.on("request", lambda request: seen.asked.append(request.url))
    yield seen
    context.close()
    assert seen.errors == []
    assert [url for url in seen.asked if not url.startswith(("file://", "data:"))] == []
