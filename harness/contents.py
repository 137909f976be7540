"""What the report says, apart from how it is written: counts, lists and sections, from judged rows. No torch.

A writer (`markdown.py`) takes everything it shows from here and from the rows themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.calibration.power import power_of
from harness.claim import Claim
from harness.models.spec import HubRepo, LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.verdicts.verdict import ABSENT, Judgement, Verdict

if TYPE_CHECKING:
    from harness.evidence import Evidence
    from harness.report import Row

READINGS = ("holds", "falls", "artifact", "open", "not run")
"""How a row of a measured claim reads, best news first."""
OF_FIGURES_READINGS = ("consistent", "inconsistent")
UNEXPLAINED = "No explanation has been written on its card yet."


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How the rows of one model read; of no model where `spec` is None: the claims that compare models."""

    spec: ModelSpec | None
    counts: Mapping[str, int]
    untestable: int
    """Of those that are not run, how many no evidence would decide."""

    @property
    def n_rows(self) -> int:
        """All rows."""
        return sum(self.counts.values())

    @property
    def measured(self) -> bool:
        """True where at least one claim was judged."""
        return self.counts.get("not run", 0) < self.n_rows


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A claim that holds as published and falls as sound: on which models, and why, for anybody."""

    claim: Claim
    models: tuple[str, ...]

    @property
    def explanation(self) -> str:
        """Two sentences, or that they are missing."""
        return self.claim.artifact or UNEXPLAINED


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A claim that was replaced, and what replaced it."""

    old: Claim
    new: tuple[Claim, ...]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What one model still lacks: `tables` counts the claims that wait for each (reason, experiment)."""

    spec: ModelSpec
    n_claims: int
    tables: Mapping[tuple[str, str], int]
    measured: bool
    """True where some claims of this model were judged."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One claim with all its rows."""

    claim: Claim
    rows: tuple[Row, ...]
    replaces: tuple[Claim, ...] = ()
    replaced_by: tuple[Claim, ...] = ()
    judged_as: Claim | None = None
    """An earlier claim of the report that is judged by the very same criteria."""

    @property
    def error_rates(self) -> str:
        """How often its verdict errs, or that this was not tried; '' if nothing was judged, or another claim tells."""
        untried = "not tried on this card." if self.ran and self.judged_as is None else ""
        return power_of(self.claim.id) or ("" if self.claim.from_figures else untried)

    @property
    def ran(self) -> tuple[Row, ...]:
        """The rows with evidence."""
        return tuple(row for row in self.rows if row.ran)

    @property
    def not_run(self) -> tuple[Row, ...]:
        """The others."""
        return tuple(row for row in self.rows if not row.ran)

    @property
    def artifact(self) -> Artifact | None:
        """The explanation that its rows need, None where none reads as an artifact."""
        models = tuple(" + ".join(row.models) for row in self.rows if plain(row.reading) == "artifact")
        return Artifact(claim=self.claim, models=models) if models else None


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One chapter: its sections in the order of its cards."""

    name: str
    sections: tuple[Section, ...]

    @property
    def anchor(self) -> str:
        """'1. Hub location' -> 'chapter-1-hub-location'."""
        return "chapter-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all its claims."""
        return tuple(row for section in self.sections for row in section.rows)

    def counts(self, model: str) -> Counter[str]:
        """How this chapter's rows on one model read."""
        return Counter(plain(row.reading) for row in self.rows if is_of(row, model))

    @property
    def of_figures(self) -> Counter[str]:
        """How its claims read that are arithmetic over published figures."""
        return Counter(
            row.reading for row in self.rows if row.claim.from_figures and row.reading in OF_FIGURES_READINGS
        )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The whole report."""

    chapters: tuple[Chapter, ...]
    specs: tuple[ModelSpec, ...]

    @property
    def sections(self) -> tuple[Section, ...]:
        """Every claim's."""
        return tuple(section for chapter in self.chapters for section in chapter.sections)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row."""
        return tuple(row for chapter in self.chapters for row in chapter.rows)

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """One for each model, and one for the claims that compare models where there are any."""
        joint = [row for row in self.rows if len(row.models) > 1 and not row.claim.from_figures]
        of_models = [_tally(spec, [row for row in self.rows if is_of(row, spec.id)]) for spec in self.specs]
        return (*of_models, *([_tally(None, joint)] if joint else []))

    @property
    def measured(self) -> tuple[Tally, ...]:
        """The models of which something was judged."""
        return tuple(t for t in self.tallies if t.spec is not None and t.measured)

    @property
    def of_figures(self) -> Counter[str]:
        """How the claims read that are arithmetic over published figures."""
        return sum((chapter.of_figures for chapter in self.chapters), Counter())

    def home(self, experiment: str) -> str | None:
        """The chapter of an experiment's figures: the one with most claims that read it; None where none does."""
        read = {
            chapter.name: sum(
                experiment in s.claim.experiments(p) for s in chapter.sections for p in s.claim.criteria
            )
            for chapter in self.chapters
        }
        most = max(read, key=lambda name: read[name], default=None)
        return most if most is not None and read[most] else None

    def falls(self, model: str | None) -> tuple[Claim, ...]:
        """The claims that fall on a model; with None those that fall where models are compared."""
        return tuple(
            row.claim
            for row in self.rows
            if plain(row.reading) == "falls" and (is_of(row, model) if model else len(row.models) > 1)
        )

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Every claim that is an artifact on some model, once."""
        found = [section.artifact for section in self.sections]
        return tuple(artifact for artifact in found if artifact is not None)

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Every claim that another replaced."""
        return tuple(Revision(old=s.claim, new=s.replaced_by) for s in self.sections if s.replaced_by)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What each model lacks; those that lack nothing are left out."""
        found = []
        for tally in self.tallies:
            if tally.spec is None:
                continue
            lacking = [row for row in self.rows if row.models == (tally.spec.id,) and row.missing]
            tables = Counter(
                key for row in lacking for key in {(m.reason, m.experiment) for m in row.missing}
            )
            if lacking:
                ordered = dict(sorted(tables.items()))
                found.append(
                    Gap(spec=tally.spec, n_claims=len(lacking), tables=ordered, measured=tally.measured)
                )
        return tuple(found)

    @property
    def joint_gaps(self) -> Mapping[tuple[str, ...], int]:
        """{models that are lacking: how many claims that compare models wait for them}."""
        lacking = [row for row in self.rows if len(row.models) > 1 and not row.ran and row.missing]
        counts = Counter(tuple(dict.fromkeys(m.model for m in row.missing)) for row in lacking)
        return dict(sorted(counts.items()))


def contents(chapters: Mapping[str, Sequence[Row]], specs: Sequence[ModelSpec]) -> Contents:
    """The report of these rows: chapters by their number, and of each claim what it replaced."""
    ordered = sorted(chapters, key=_number)
    cards = {row.claim.id: row.claim for name in ordered for row in chapters[name]}
    first: dict[tuple[str, ...], Claim] = {}
    return Contents(
        chapters=tuple(
            Chapter(name=name, sections=_sections(chapters[name], cards, first)) for name in ordered
        ),
        specs=tuple(specs),
    )


def _number(chapter: str) -> tuple[float, str]:
    """'2. Layer skipping' before '10. Steering'; a chapter without a number last."""
    number = re.match(r"(\d+)\.", chapter)
    return (int(number[1]) if number else float("inf"), chapter)


def _sections(
    rows: Sequence[Row], cards: Mapping[str, Claim], first: dict[tuple[str, ...], Claim]
) -> tuple[Section, ...]:
    by_claim: dict[str, list[Row]] = {}
    for row in rows:
        by_claim.setdefault(row.claim.id, []).append(row)
    sections = []
    for claim_id, mine in by_claim.items():
        claim = cards[claim_id]
        judged = judged_by(claim)
        earlier = first.setdefault(tuple(judged), claim) if judged else claim
        replaces = dict.fromkeys(
            [*claim.supersedes, *(c.id for c in cards.values() if claim_id in c.superseded_by)]
        )
        replaced_by = dict.fromkeys(
            [*claim.superseded_by, *(c.id for c in cards.values() if claim_id in c.supersedes)]
        )
        sections.append(
            Section(
                claim=claim,
                rows=tuple(mine),
                replaces=tuple(cards[i] for i in replaces if i in cards),
                replaced_by=tuple(cards[i] for i in replaced_by if i in cards),
                judged_as=earlier if earlier is not claim else None,
            )
        )
    return tuple(sections)


def _tally(spec: ModelSpec | None, rows: Sequence[Row]) -> Tally:
    return Tally(
        spec=spec,
        counts=Counter(plain(row.reading) for row in rows),
        untestable=sum(row.claim.untestable is not None for row in rows),
    )


def is_of(row: Row, model: str) -> bool:
    """True for a measured claim's row on this one model."""
    return row.models == (model,) and not row.claim.from_figures


def plain(reading: str) -> str:
    """A reading without Markdown's marks."""
    return reading.strip("*")


def judged_by(claim: Claim) -> list[str]:
    """The criteria in words, a line for each protocol; protocols that ask the same share one."""
    if claim.from_figures:
        return []
    asked: dict[str, list[Protocol]] = {}
    for protocol, criteria in claim.criteria.items():
        asked.setdefault(together([str(criterion) for criterion in criteria]), []).append(protocol)
    lines = [f"{' and '.join(map(str, protocols))}: {words}." for words, protocols in asked.items()]
    return [*lines, *(f"presupposes: {criterion}." for criterion in claim.presupposes)]


def together(sentences: Sequence[str]) -> str:
    """Sentences joined by 'and'; what neighbours begin and end with is said once: 'L1 is [first | second] of all'."""
    groups: list[list[str]] = []
    for sentence in sentences:
        if groups and _shared([*groups[-1], sentence]):
            groups[-1].append(sentence)
        else:
            groups.append([sentence])
    return " and ".join(map(_alternatives, groups))


def _shared(sentences: Sequence[str]) -> tuple[int, int] | None:
    """How many words all of them begin with and end with; None where that is less than half of one of them."""
    words = [sentence.split(" ") for sentence in sentences]
    shortest = min(map(len, words))
    before = next((i for i in range(shortest) if len({w[i] for w in words}) > 1), shortest)
    after = next((i for i in range(shortest - before) if len({w[-1 - i] for w in words}) > 1), 0)
    differ = all(before + after < len(w) <= 2 * (before + after) for w in words)
    return (before, after) if differ else None


def _alternatives(sentences: Sequence[str]) -> str:
    shared = _shared(sentences)
    if len(sentences) < 2 or shared is None:
        return " and ".join(sentences)
    words = [sentence.split(" ") for sentence in sentences]
    before, after = shared
    between = [" ".join(w[before : len(w) - after]) for w in words]
    kept = re.search(r"[),.;:]*$", between[0])
    stop = kept[0] if kept and all(part.endswith(kept[0]) for part in between) else ""
    alternatives = f"[{' | '.join(part.removesuffix(stop) for part in between)}]{stop}"
    return " ".join([*words[0][:before], alternatives, *words[0][len(words[0]) - after :]])


def headline(row: Row) -> tuple[Protocol, Judgement] | None:
    """The judgement whose effect stands for the row: the sound one's, else the published one's."""
    for protocol in (Protocol.SOUND, Protocol.PUBLISHED):
        judgement = row.judgements.get(protocol)
        if judgement is not None and judgement.verdict is not Verdict.NOT_RUN and judgement.estimate:
            return protocol, judgement
    return None


def effect_text(judgement: Judgement) -> str:
    """'9.49 [8.94, 10.1] nats'; '' where there is no number. Of what the claim presupposes, if that is not found."""
    e = judgement.estimate
    of = "presupposed: " if judgement.note == ABSENT else ""
    return f"{of}{e.value:.3g} [{e.low:.3g}, {e.high:.3g}] {e.unit}".rstrip() if e else ""


def verdict_text(row: Row) -> str:
    """'published supported, sound refuted'; a protocol that the claim is not judged under is left out."""
    return ", ".join(f"{p} {row.verdict(p)}" for p in Protocol if p in row.judgements)


def size_text(row: Row, judgement: Judgement | None) -> str:
    """'360 / 158': prompts and templates behind an effect, or else all that were measured; '' where none were."""
    if judgement is not None and judgement.estimate:
        return f"{judgement.estimate.n_prompts} / {judgement.estimate.n_templates}"
    prompts = {(p.seed, p.text) for e in row.evidence for p in e.effects.prompts}
    templates = {(p.family, p.template) for e in row.evidence for p in e.effects.prompts}
    return f"{len(prompts)} / {len(templates)}" if prompts else ""


def where_measured(row: Row, protocol: Protocol) -> tuple[str, Mapping[str, tuple[Evidence, ...]]]:
    """Device, dtype and date of what one judgement rests on, and its records: {experiment: one a seed}.

    Of a claim that compares models the names of experiments have the model before them.
    """
    used = [e for e in row.evidence if e.question.protocol is protocol]
    if not used:
        return "", {}
    kinds = dict.fromkeys(f"{e.provenance['device']}, {e.question.dtype}" for e in used)
    dates = sorted({str(e.provenance["date"]) for e in used})
    tables: dict[str, tuple[Evidence, ...]] = {}
    for e in used:
        name = f"{e.question.model} {e.question.experiment}" if len(row.models) > 1 else e.question.experiment
        tables[name] = (*tables.get(name, ()), e)
    return f"{'; '.join(kinds)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}", tables


def weights_of(spec: ModelSpec) -> str:
    """Where a model's weights come from, in words."""
    match spec.source:
        case HubRepo(repo=repo):
            return f"{repo} on the Hugging Face hub"
        case LocalDir():
            return "a checkpoint given by path"
        case _:
            return "Python packages"
