"""The page: one HTML file that brings its style, its script and its data along, and the figures beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from harness.contents import OF_FIGURES_READINGS, READINGS
from harness.report import Report
from harness.site.maps import heat_maps
from harness.site.view import PageView, page_view
from harness.statistics.estimate import CONFIDENCE
from harness.store import write_atomic

HERE = Path(__file__).parent


def write_site(report: Report, folder: Path, *, root: Path) -> Path:
    """Write the site of a report into a folder; the page's path.

    The page links to the evidence where both lie within `root`, the folder that moves as a whole, and names its files
    otherwise. The same report gives the same bytes.
    """
    base = folder.resolve()
    linked = all(place.is_relative_to(root.resolve()) for place in (base, report.evidence_dir.resolve()))

    def link(path: Path) -> str | None:
        return Path(os.path.relpath(path.resolve(), base)).as_posix() if linked else None

    view = page_view(report, link)
    for figure in (*view.figures, *(f for chapter in view.chapters for f in chapter.figures)):
        write_atomic(folder / figure.file, figure.path.read_bytes())
    page = folder / "index.html"
    write_atomic(page, render_page(report, view, link(report.evidence_dir)).encode())
    return page


def render_page(report: Report, view: PageView, evidence: str | None) -> str:
    """The page's HTML. `evidence` is the link to the folder of evidence, None where there is none."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("site.css", "site.js"))
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    return environment.get_template("page.html").render(
        view=view,
        counted=READINGS,
        readings=READINGS + OF_FIGURES_READINGS,
        confidence=f"{CONFIDENCE:.0%}",
        seeds=report.judge.seeds,
        evidence=evidence,
        maps=htmlsafe_json_dumps(
            heat_maps(report.specs, report.judge), dumps=json.dumps, allow_nan=False, separators=(",", ":")
        ),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def code(text: str) -> Markup:
    """Escaped text in which what stands between backticks is set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _hash(text: str) -> str:
    """As a content security policy names an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
