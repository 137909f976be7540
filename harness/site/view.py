"""The report as plain values, in the order and the words in which the page shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.claim import Claim
from harness.contents import Section, Tally, contents, effect_text, plain, size_text, where_measured
from harness.evidence import Evidence
from harness.protocols import Protocol
from harness.published import Quantity
from harness.report import Figure, Report, Row
from harness.verdicts.arithmetic_criteria import Arithmetic
from harness.verdicts.verdict import Judgement, Verdict

SEVERAL = "several"
"""The filter's name of claims that compare models."""

LinkTo = Callable[[Path], str | None]
"""Where a file stands, seen from the page; None where it cannot be linked."""


@dataclass(frozen=True, kw_only=True)
class RowView:
    """One claim on one model. `models` are the filter's names under which it is found."""

    models: tuple[str, ...]
    label: str
    reading: str
    verdicts: Mapping[str, str]
    """By protocol; without those under which the claim is not judged."""
    effects: Mapping[str, str]
    size: str
    agreement: str
    findings: tuple[tuple[str, str], ...]
    """(protocol, what was found), or ('yes' or 'no', a computation)."""
    measured: str
    """Device, type of the numbers, date."""
    records: tuple[tuple[str, tuple[tuple[str, str, str | None], ...]], ...]
    """(experiment and protocol, ((seed, file, link), ...))."""
    why_not: str


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """A claim with its rows: those that ran, and those that did not."""

    id: str
    sentence: str
    source: str
    searched: str
    supersedes: tuple[str, ...]
    superseded_by: tuple[str, ...]
    published: str
    artifact: str
    criteria: tuple[tuple[str, str], ...]
    """(what is said, the text)."""
    sources: tuple[tuple[str, str], ...]
    """Of arithmetic: (figure, what it is and where it stands)."""
    arithmetic: bool
    ran: tuple[RowView, ...]
    quiet: tuple[RowView, ...]


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """A figure: its file in the folder, and what it shows."""

    path: Path
    file: str
    model: str
    words: str


@dataclass(frozen=True, kw_only=True)
class ChapterView:
    """A chapter; `slug` names it in links."""

    slug: str
    name: str
    claims: tuple[ClaimView, ...]
    figures: tuple[FigureView, ...]


@dataclass(frozen=True, kw_only=True)
class CountView:
    """A line of the overview: rows by reading."""

    key: str
    title: str
    total: int
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class PageView:
    """The page."""

    overview: tuple[CountView, ...]
    arithmetic: Mapping[str, int]
    """Rows computed from published figures, by reading."""
    figures: tuple[FigureView, ...]
    chapters: tuple[ChapterView, ...]
    models: tuple[tuple[str, str], ...]
    """(name of the filter, title)."""
    verdicts: tuple[str, ...]
    n_claims: int
    provenance: str


def page_view(report: Report, link: LinkTo) -> PageView:
    """All that the page shows."""
    said = contents(report.rows, report.specs)
    figures = {f.path: _figure(f) for f in report.figures}
    titles = {spec.id: spec.title for spec in report.specs}
    overview = tuple(map(_count, said.tallies))
    several = [(line.key, line.title) for line in overview if line.key == SEVERAL]
    return PageView(
        overview=overview,
        arithmetic=said.of_figures,
        figures=tuple(figures[f.path] for f in report.figures if f.chapter is None),
        chapters=tuple(
            ChapterView(
                slug=chapter.anchor.removeprefix("chapter-"),
                name=chapter.name,
                claims=tuple(_claim(section, report, link) for section in chapter.sections),
                figures=tuple(
                    figures[f.path]
                    for f in report.figures
                    if f.chapter is not None and said.home(f.chapter) == chapter.name
                ),
            )
            for chapter in said.chapters
        ),
        models=(*titles.items(), *several),
        verdicts=tuple(str(v) for v in Verdict),
        n_claims=len(said.sections),
        provenance=_provenance(said.rows),
    )


def _count(tally: Tally) -> CountView:
    key, title = (tally.spec.id, tally.spec.title) if tally.spec else (SEVERAL, "several models")
    return CountView(key=key, title=title, total=tally.n_rows, counts=tally.counts)


def _claim(section: Section, report: Report, link: LinkTo) -> ClaimView:
    claim = section.claim
    published = [f"{p.what} {p.value} {p.unit}".strip() for p in claim.published]
    return ClaimView(
        id=claim.id,
        sentence=claim.sentence,
        source=claim.source,
        searched=f"{claim.id} {claim.sentence}".lower(),
        supersedes=tuple(card.id for card in section.replaces),
        superseded_by=tuple(card.id for card in section.replaced_by),
        published="; ".join(published),
        artifact=claim.artifact,
        criteria=tuple(_criteria(section)),
        sources=tuple((q.name, f"{q.what}; {q.source}") for q in _figures_of(claim))
        if claim.from_figures
        else (),
        arithmetic=claim.from_figures,
        ran=tuple(_row(row, report, link) for row in section.ran),
        quiet=tuple(_row(row, report, link) for row in section.not_run),
    )


def _criteria(section: Section) -> Iterable[tuple[str, str]]:
    """How a claim is judged, line by line."""
    claim = section.claim
    if claim.untestable is None:
        for protocol, criteria in claim.criteria.items():
            joiner = "; " if claim.from_figures else " and "
            yield "computed" if claim.from_figures else str(protocol), joiner.join(str(c) for c in criteria)
        for criterion in claim.presupposes:
            yield "presupposes", str(criterion)
        yield "falsified by", claim.falsified_by
        if section.error_rates:
            yield "error rates", section.error_rates.rstrip(".")
    if claim.note:
        yield "note", claim.note.rstrip(".")


def _row(row: Row, report: Report, link: LinkTo) -> RowView:
    if row.claim.from_figures:
        findings = [
            ("yes" if f.verdict is Verdict.CONSISTENT else "no", f.sentence)
            for f in row.judgements[Protocol.PUBLISHED].findings
        ]
    else:
        findings = [
            (str(p), ("not run: " if j.verdict is Verdict.NOT_RUN else "") + j.sentence)
            for p, j in row.judgements.items()
        ]
    joint = len(row.models) > 1 and not row.claim.from_figures
    places = {p: where_measured(row, p) for p in row.judgements}
    return RowView(
        models=(SEVERAL,) if joint else row.models,
        label=" + ".join(row.models),
        reading=plain(row.reading),
        verdicts={str(p): str(j.verdict) for p, j in row.judgements.items()},
        effects={str(p): _effect(row.judgements.get(p)) for p in Protocol},
        size=_sizes(row),
        agreement=_agreement(row),
        findings=tuple(findings),
        measured="; ".join(dict.fromkeys(place for place, _ in places.values() if place)),
        records=tuple(
            (f"{name} {protocol}", tuple(_record(e, report, link) for e in records))
            for protocol, (_, tables) in places.items()
            for name, records in tables.items()
        ),
        why_not="; ".join(dict.fromkeys(j.note for j in row.judgements.values())) if not row.ran else "",
    )


def _effect(judgement: Judgement | None) -> str:
    """'9.49 [8.94, 10.1] nats', '' where nothing was judged."""
    return "" if judgement is None or judgement.verdict is Verdict.NOT_RUN else effect_text(judgement)


def _sizes(row: Row) -> str:
    """Prompts and templates behind the effects, each pair once."""
    judged = [j for j in row.judgements.values() if j.estimate]
    return "; ".join(dict.fromkeys(size_text(row, j) for j in judged or (None,)))


def _agreement(row: Row) -> str:
    """What the seeds give by themselves, naming the protocols where they differ."""
    if len(set(row.agreement.values())) == 1:
        return next(iter(row.agreement.values()))
    return "; ".join(f"{protocol} {said}" for protocol, said in row.agreement.items())


def _figures_of(claim: Claim) -> list[Quantity]:
    """The published figures that a claim is computed from, each once."""
    criteria = [c for c in claim.criteria[Protocol.PUBLISHED] if isinstance(c, Arithmetic)]
    return list({q.name: q for c in criteria for q in c.figures.values()}.values())


def _record(evidence: Evidence, report: Report, link: LinkTo) -> tuple[str, str, str | None]:
    q = evidence.question
    path = report.judge.recorded.path(q.model, q.experiment, q.protocol, q.seed)
    return str(q.seed), f"{q.model}/{path.name}", link(path)


def _figure(figure: Figure) -> FigureView:
    model = figure.path.parent.name
    file = f"figures/{model}/{figure.path.name}"
    return FigureView(path=figure.path, file=file, model=model, words=figure.words)


def _provenance(rows: Iterable[Row]) -> str:
    """When and with which code the evidence behind the verdicts was recorded; '' where there is none."""
    records = {e.question.cell: e for row in rows for e in row.evidence}.values()
    if not records:
        return ""
    dates = sorted({str(e.provenance["date"]) for e in records})
    commits = sorted({str(e.provenance["commit"])[:7] for e in records if e.provenance.get("commit")})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    code = f", with the code of {'commit' if len(commits) == 1 else 'commits'} {', '.join(commits)}"
    return f"{len(records)} records of {days}{code if commits else ''}"
