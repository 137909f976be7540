"""From evidence to verdicts: the claims of one chapter on one model, judged together. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.claim import Claim
from harness.effects import Effects, pool
from harness.evidence import Evidence
from harness.protocols import Protocol
from harness.verdicts.judging import judge_chapter, judge_joint
from harness.verdicts.verdict import Finding, Judgement, Verdict

GetEvidence = Callable[[str, str, Protocol, int], Evidence]
"""(model, experiment, protocol, seed) -> evidence; raises when there is none."""
Assessed = tuple[tuple[str, ...], str, Protocol, tuple[int, ...]]
"""What was judged together: the claims' ids, the model, the protocol, the seeds."""
Verdicts = dict[str, Judgement]
"""Judgements by claim."""


def assess(
    claims: Iterable[Claim], model: str, protocol: Protocol, seeds: Sequence[int], evidence: GetEvidence
) -> dict[str, Judgement]:
    """Judge a chapter's claims about one model, the seeds pooled, with false discoveries controlled over them.

    Joint and untestable claims, and claims that do not speak of this model or protocol, are left out. Raises
    what `evidence` raises.
    """
    asked = [c for c in claims if not c.joint and c.applies_to(model) and protocol in c.criteria]
    names = dict.fromkeys(name for claim in asked for name in claim.experiments(protocol))
    found = _gather(model, tuple(names), protocol, seeds, evidence)
    broken = {
        c.id: [found.problems[n] for n in c.experiments(protocol) if n in found.problems] for c in asked
    }
    sound = [c for c in asked if not broken[c.id]]
    verdicts = judge_chapter(sound, protocol, found.tables, n_layers=found.n_layers) if sound else {}
    return {c.id: _invalid(broken[c.id]) if broken[c.id] else verdicts[c.id] for c in asked}


def assess_joint(claim: Claim, protocol: Protocol, seeds: Sequence[int], evidence: GetEvidence) -> Judgement:
    """Judge a claim that compares models, the seeds pooled. Raises what `evidence` raises."""
    assert isinstance(claim.models, tuple), "a joint claim names its models"
    names = claim.experiments(protocol)
    found = {model: _gather(model, names, protocol, seeds, evidence) for model in claim.models}
    problems = [f"{model}: {text}" for model, f in found.items() for text in f.problems.values()]
    if problems:
        return _invalid(problems)
    return judge_joint(
        claim,
        protocol,
        {model: f.tables for model, f in found.items()},
        n_layers={model: f.n_layers for model, f in found.items()},
    )


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """One model's pooled tables by experiment, and what is wrong with those that cannot be used."""

    tables: Mapping[str, Effects]
    problems: Mapping[str, str]
    n_layers: int


def _gather(
    model: str, experiments: Sequence[str], protocol: Protocol, seeds: Sequence[int], evidence: GetEvidence
) -> _Gathered:
    tables: dict[str, Effects] = {}
    problems: dict[str, str] = {}
    n_layers = 0
    for name in experiments:
        records = [evidence(model, name, protocol, seed) for seed in seeds]
        n_layers = records[0].question.n_layers
        problem = _instrument_problem(records)
        if problem:
            problems[name] = problem
        else:
            tables[name] = pool([record.effects for record in records])
    return _Gathered(tables=tables, problems=problems, n_layers=n_layers)


def _instrument_problem(records: Sequence[Evidence]) -> str:
    """Every gate that failed, or why these seeds cannot be pooled; '' when all is well."""
    failed = [
        f"{record.question.cell}: the check '{check.name}' failed at {check.value:.3g} ({check.sentence})"
        for record in records
        for check in record.failed
    ]
    if failed:
        return "; ".join(failed)
    try:
        pool([record.effects for record in records])
    except ValueError as error:
        return str(error)
    return ""


def _invalid(problems: Sequence[str]) -> Judgement:
    finding = Finding(verdict=Verdict.INVALID, sentence="; ".join(problems))
    return Judgement(verdict=Verdict.INVALID, findings=(finding,))
