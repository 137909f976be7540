"""CLAIMS.md: what holds, what does not, what was never run. Generated from recorded evidence alone. No torch.

The same evidence and cards give the same bytes. What this process has already judged on the same recorded evidence is
not judged twice.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.assessment import Assessed, Verdicts, assess, assess_joint
from harness.claim import Claim
from harness.evidence import Evidence, EvidenceCorrupt
from harness.experiments import SEEDS
from harness.memo import Memo, asked_of, code_of, judgement_from_json, judgement_to_json
from harness.models.spec import HubRepo, LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.recording import staleness
from harness.store import Recorded, write_atomic
from harness.verdicts.arithmetic import judge_figures
from harness.verdicts.verdict import OF_FIGURES, Judgement, MissingEvidence, Verdict, not_run

ARTIFACT = "**artifact**"
"""How a row reads that is supported as published and refuted as sound."""


class NoEvidence(LookupError):
    """A cell that has no usable record; the text says why."""


class UnexplainedArtifact(LookupError):
    """The report is written, and a claim that is read as an artifact in it has a card that does not explain why."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A table that a claim reads and that cannot be used, and why."""

    model: str
    experiment: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim on one model (or on several, for a joint claim): a judgement per protocol."""

    claim: Claim
    models: tuple[str, ...]
    judgements: Mapping[Protocol, Judgement]
    seeds: tuple[int, ...] = ()
    agreement: Mapping[Protocol, str] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[Missing, ...] = ()
    """What kept a protocol from being judged, each table once."""

    def verdict(self, protocol: Protocol) -> str:
        """The verdict under a protocol, '-' where the claim is not judged under it."""
        judgement = self.judgements.get(protocol)
        return str(judgement.verdict) if judgement else "-"

    @property
    def ran(self) -> bool:
        """True when at least one protocol was judged."""
        return any(j.verdict is not Verdict.NOT_RUN for j in self.judgements.values())

    @property
    def reading(self) -> str:
        """The two verdicts in one word."""
        published, sound = (self.judgements.get(p) for p in (Protocol.PUBLISHED, Protocol.SOUND))
        if not self.ran:
            return "not run"
        if published is not None and published.verdict in OF_FIGURES:
            return str(published.verdict)
        pair = (published.verdict if published else None, sound.verdict if sound else None)
        match pair:
            case (Verdict.SUPPORTED, Verdict.REFUTED):
                return ARTIFACT
            case (_, Verdict.SUPPORTED) | (Verdict.SUPPORTED, None):
                return "holds"
            case (Verdict.NOT_RUN, Verdict.REFUTED):
                return "open"
            case (_, Verdict.REFUTED) | (Verdict.REFUTED, None):
                return "falls"
            case _:
                return "open"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that was drawn: where, what it shows, and the experiment whose chapters show it (None: overview)."""

    path: Path
    words: str
    chapter: str | None


class Judge:
    """Judges every cell of the report from recorded evidence."""

    def __init__(
        self,
        recorded: Recorded,
        seeds: Sequence[int] = SEEDS,
        known: Mapping[Assessed, Verdicts] | None = None,
        memo: Memo | None = None,
    ) -> None:
        self.recorded, self.seeds, self.memo = recorded, tuple(seeds), memo
        self._read: dict[tuple[str, str, Protocol, int], Evidence | str] = {}
        self._known: dict[Assessed, Verdicts] = dict(known or {})

    def evidence(self, model: str, experiment: str, protocol: Protocol, seed: int) -> Evidence:
        """Current recorded evidence. Raises NoEvidence, saying why there is none."""
        key = (model, experiment, protocol, seed)
        if self.memo is not None:
            self.memo.reading(self.recorded.path(*key))
        if key not in self._read:
            self._read[key] = self._find(*key)
        found = self._read[key]
        if isinstance(found, str):
            raise NoEvidence(found)
        return found

    def _find(self, model: str, experiment: str, protocol: Protocol, seed: int) -> Evidence | str:
        try:
            evidence = self.recorded.get(model, experiment, protocol, seed)
        except EvidenceCorrupt:  # its own text names a folder of this machine
            name = self.recorded.path(model, experiment, protocol, seed).name
            return f"the recorded evidence {name} is damaged: delete it and record again"
        if evidence is None:
            return "not measured"
        stale = staleness(evidence)
        return f"stale: {stale} since it was measured" if stale else evidence

    def chapter(self, claims: Sequence[Claim], specs: Sequence[ModelSpec]) -> list[Row]:
        """A row for every claim of a chapter on every model it speaks of."""
        rows = []
        for claim in claims:
            if claim.from_figures:
                rows.append(_from_figures(claim))
                continue
            if claim.joint:
                rows.append(self._joint(claim))
                continue
            for spec in specs:
                if claim.applies_to(spec.id):
                    rows.append(self._single(claim, claims, spec))
        return rows

    def _single(self, claim: Claim, chapter: Sequence[Claim], spec: ModelSpec) -> Row:
        if claim.untestable is not None:
            reason = not_run(f"not testable: {claim.untestable}")
            return Row(claim=claim, models=(spec.id,), judgements={Protocol.SOUND: reason})
        judgements, agreement, used = {}, {}, []
        missing: list[Missing] = []
        for protocol in claim.criteria:
            try:
                judgements[protocol], agreement[protocol] = self._pooled(claim, chapter, spec.id, protocol)
                for name in claim.experiments(protocol):
                    used += [self.evidence(spec.id, name, protocol, seed) for seed in self.seeds]
            except NoEvidence as reason:
                judgements[protocol] = not_run(f"{reason}; {how_to_run(spec)}")
                missing += self._missing(spec.id, claim, protocol)
            except MissingEvidence as reason:
                judgements[protocol] = not_run(f"the card does not fit this model: {reason}")
        return Row(
            claim=claim,
            models=(spec.id,),
            judgements=judgements,
            seeds=self.seeds,
            agreement=agreement,
            evidence=tuple(used),
            missing=tuple(dict.fromkeys(missing)),
        )

    def _pooled(
        self, claim: Claim, chapter: Sequence[Claim], model: str, protocol: Protocol
    ) -> tuple[Judgement, str]:
        """The verdict over all seeds, and what each seed alone gives."""
        self._require(model, claim, protocol)
        beside = [c for c in chapter if c.per_model and c.applies_to(model) and protocol in c.criteria]
        peers = [c for c in beside if c.over_seeds == claim.over_seeds and self._has(model, c, protocol)]
        pooled = self._assessed(peers, model, protocol, self.seeds)[claim.id]
        if claim.over_seeds:
            return pooled, "all seeds"
        alone = [self._assessed(peers, model, protocol, (seed,))[claim.id] for seed in self.seeds]
        opposite = {Verdict.SUPPORTED: Verdict.REFUTED, Verdict.REFUTED: Verdict.SUPPORTED}
        if any(j.verdict is opposite.get(pooled.verdict) for j in alone):
            pooled = Judgement(
                verdict=Verdict.INCONCLUSIVE,
                findings=pooled.findings,
                p_value=pooled.p_value,
                note="One seed alone gives the opposite verdict.",
            )
        return pooled, _agreement(pooled.verdict, [j.verdict for j in alone])

    def _assessed(
        self, peers: Sequence[Claim], model: str, protocol: Protocol, seeds: tuple[int, ...]
    ) -> Verdicts:
        key = (tuple(c.id for c in peers), model, protocol, seeds)
        if key not in self._known:
            self._known[key] = self._remembered(
                f"chapter {model}",
                peers,
                protocol,
                seeds,
                lambda: assess(peers, model, protocol, seeds, self.evidence, absent=NoEvidence),
            )
        return self._known[key]

    def _remembered(
        self,
        what: str,
        claims: Sequence[Claim],
        protocol: Protocol,
        seeds: tuple[int, ...],
        judge: Callable[[], Verdicts],
    ) -> Verdicts:
        if self.memo is None:
            return judge()
        return self.memo.remembered(
            f"{what} {claims[0].id} {protocol} {'+'.join(map(str, seeds))}",
            asked_of(claims, protocol),
            lambda: {name: judgement_to_json(judgement) for name, judgement in judge().items()},
            lambda kept: {claim.id: judgement_from_json(kept[claim.id]) for claim in claims},
            also=code_of(claims, protocol),
        )

    def _joint(self, claim: Claim) -> Row:
        assert isinstance(claim.models, tuple)
        judgements: dict[Protocol, Judgement] = {}
        used: list[Evidence] = []
        lacking: list[Missing] = []
        if claim.untestable is not None:
            judgements[Protocol.SOUND] = not_run(f"not testable: {claim.untestable}")
        for protocol in claim.criteria:
            missing = [m for m in claim.models if not self._has(m, claim, protocol)]
            if missing:
                judgements[protocol] = not_run(f"needs evidence of {', '.join(missing)}")
                lacking += [gap for model in missing for gap in self._missing(model, claim, protocol)]
            else:
                judgements[protocol] = self._compared(claim, protocol)
                for model in claim.models:
                    for name in claim.experiments(protocol):
                        used += [self.evidence(model, name, protocol, seed) for seed in self.seeds]
        return Row(
            claim=claim,
            models=claim.models,
            judgements=judgements,
            seeds=self.seeds,
            evidence=tuple(used),
            missing=tuple(dict.fromkeys(lacking)),
        )

    def _compared(self, claim: Claim, protocol: Protocol) -> Judgement:
        def judge() -> Verdicts:
            return {claim.id: assess_joint(claim, protocol, self.seeds, self.evidence)}

        return self._remembered("joint", [claim], protocol, self.seeds, judge)[claim.id]

    def _has(self, model: str, claim: Claim, protocol: Protocol) -> bool:
        try:
            self._require(model, claim, protocol)
        except NoEvidence:
            return False
        return True

    def _missing(self, model: str, claim: Claim, protocol: Protocol) -> list[Missing]:
        """Every table that the claim reads and that is not at hand, with the first reason of each."""
        found = []
        for name in claim.experiments(protocol):
            try:
                for seed in self.seeds:
                    self.evidence(model, name, protocol, seed)
            except NoEvidence as reason:
                found.append(Missing(model=model, experiment=name, reason=str(reason)))
        return found

    def _require(self, model: str, claim: Claim, protocol: Protocol) -> None:
        """Raise NoEvidence, with the first reason, unless every table the claim reads is at hand."""
        for name in claim.experiments(protocol):
            for seed in self.seeds:
                self.evidence(model, name, protocol, seed)


def _from_figures(claim: Claim) -> Row:
    assert isinstance(claim.models, tuple)
    return Row(claim=claim, models=claim.models, judgements={Protocol.PUBLISHED: judge_figures(claim)})


def _agreement(pooled: Verdict, alone: Sequence[Verdict]) -> str:
    """'3 of 3'; where not all give the pooled verdict also what the others give: '2 of 3, 1 inconclusive'."""
    given = Counter(alone)
    same = given.pop(pooled, 0)
    others = [f"{given[verdict]} {verdict}" for verdict in Verdict if given[verdict]]
    return ", ".join([f"{same} of {len(alone)}"] * (same > 0) + others)


def how_to_run(spec: ModelSpec) -> str:
    """The command that would run a model's cells, and for a hub model where its weights are."""
    weights = f"weights: {spec.source.repo}; " if isinstance(spec.source, HubRepo) else ""
    return f"{weights}run `{command_to_run(spec)}`"


def command_to_run(spec: ModelSpec) -> str:
    """The command that would run a model's cells."""
    match spec.source:
        case HubRepo():
            return f"pytest claims --model {spec.id} --download --device cuda --record"
        case LocalDir():
            return f"pytest claims --model-path {spec.id}=DIR --record"
        case _:
            return f"pytest claims --model {spec.id} --download --record"


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is told, in CLAIMS.md and on the site: the rows by chapter, the models, the figures that were drawn."""

    rows: Mapping[str, Sequence[Row]]
    specs: Sequence[ModelSpec]
    figures: Sequence[Figure]
    evidence_dir: Path
    judge: Judge


def make_report(
    chapters: Mapping[str, Sequence[Claim]],
    specs: Sequence[ModelSpec],
    *,
    evidence_dir: Path,
    seeds: Sequence[int] = SEEDS,
    known: Mapping[Assessed, Verdicts] | None = None,
    memo: Memo | None = None,
) -> Report:
    """Judge the recorded evidence, and draw the figures beside it.

    `known` are judgements of this same recorded evidence, and `memo` keeps those of earlier runs.
    """
    from harness.figures import FIGURES, draw

    recorded = Recorded(root=evidence_dir)
    judge = Judge(recorded, seeds, known, memo)
    rows = {name: judge.chapter(claims, specs) for name, claims in chapters.items()}
    figures = []
    for kind in FIGURES:
        for spec in specs:
            target = evidence_dir / spec.id / f"{kind.name}.svg"
            if spec.id in recorded.models() and draw(kind, spec, judge, target):
                figures.append(
                    Figure(path=target, words=f"{spec.title}: {kind.caption}", chapter=kind.chapter)
                )
    return Report(rows=rows, specs=specs, figures=figures, evidence_dir=evidence_dir, judge=judge)


def write_report(
    chapters: Mapping[str, Sequence[Claim]],
    specs: Sequence[ModelSpec],
    *,
    evidence_dir: Path,
    path: Path,
    seeds: Sequence[int] = SEEDS,
    known: Mapping[Assessed, Verdicts] | None = None,
) -> Path:
    """Judge the recorded evidence, write the report and figures beside the evidence; the report's path.

    Raises UnexplainedArtifact, the report being written.
    """
    report = make_report(chapters, specs, evidence_dir=evidence_dir, seeds=seeds, known=known)
    write_markdown(report, path)
    require_explanations(report)
    return path


def write_markdown(report: Report, path: Path) -> Path:
    """Write CLAIMS.md; its path."""
    text = render(report.rows, report.specs, report.figures, evidence_dir=report.evidence_dir, path=path)
    write_atomic(path, text.encode())
    return path


def require_explanations(report: Report) -> None:
    """Raise UnexplainedArtifact, naming the cards, where an artifact on a registered model has no explanation.

    A model given by path says so in its row.
    """
    from harness.models import known_models

    registered = {spec.id for spec in known_models()}
    silent = dict.fromkeys(
        row.claim.id
        for rows in report.rows.values()
        for row in rows
        if row.reading == ARTIFACT and not row.claim.artifact and set(row.models) & registered
    )
    if silent:
        raise UnexplainedArtifact(
            f"{', '.join(silent)}: read as an artifact, and the card does not say why it holds as published and "
            "falls as sound; write two sentences for it (Claim.artifact)"
        )


def render(
    rows: Mapping[str, Sequence[Row]],
    specs: Sequence[ModelSpec],
    figures: Sequence[Figure],
    *,
    evidence_dir: Path,
    path: Path,
) -> str:
    """The report as Markdown."""
    from harness.markdown import write

    return write(rows, specs, figures, Linker(evidence_dir, path))


class Linker:
    """Relative links from the report to a record or figure."""

    def __init__(self, evidence_dir: Path, path: Path) -> None:
        self.recorded = Recorded(root=evidence_dir)
        self.base = path.resolve().parent

    def evidence(self, evidence: Evidence) -> str:
        """Where a record stands, seen from the report."""
        q = evidence.question
        return self.file(self.recorded.path(q.model, q.experiment, q.protocol, q.seed))

    def file(self, path: Path) -> str:
        """A file, seen from the report."""
        return Path(os.path.relpath(path.resolve(), self.base)).as_posix()
