"""From evidence to verdicts: the claims of one chapter on one model, judged together. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.claim import Claim
from harness.effects import Effects, pool
from harness.evidence import Evidence, EvidenceCorrupt
from harness.experiments import EXPERIMENTS
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
    claims: Iterable[Claim],
    model: str,
    protocol: Protocol,
    seeds: Sequence[int],
    evidence: GetEvidence,
    *,
    absent: type[Exception] | None = None,
) -> dict[str, Judgement]:
    """Judge a chapter's claims about one model, the seeds pooled, with false discoveries controlled over them.

    Joint and untestable claims, those judged from published figures, and those that do not speak of this model or
    protocol, are left out. Tables of the
    same adapters are to be of the same weights: invalid are those of the chapter that are not and, where `absent` is
    given, those that are not of the weights of other chapters' tables; `evidence` raises it for a table that there is
    not. Raises what `evidence` raises for the chapter's own.
    """
    asked = [c for c in claims if c.per_model and c.applies_to(model) and protocol in c.criteria]
    names = dict.fromkeys(name for claim in asked for name in claim.experiments(protocol))
    found = _gather(model, tuple(names), protocol, seeds, evidence, absent)
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


def differing_adapters(records: Iterable[Evidence]) -> dict[str, str]:
    """Of evidence of one model, the experiments whose adapters have other weights elsewhere, and which these are.

    An adapter is known by its family, its whole recipe, the seed and the step.
    """
    held: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for record in records:
        for entry in record.provenance.get("adapters", ()):
            recipe = json.dumps(entry["recipe"], sort_keys=True)
            words = f"{entry['family']} ({entry['recipe']['name']}) of seed {entry['seed']} at step {entry['step']}"
            digests = held.setdefault((words, recipe), {})
            names = digests.setdefault(str(entry["weights"]), [])
            if record.question.experiment not in names:
                names.append(record.question.experiment)
    problems: dict[str, list[str]] = {}
    for (words, _), digests in held.items():
        if len(digests) < 2:
            continue
        tables = " and ".join(f"{digest[:8]} in {', '.join(names)}" for digest, names in digests.items())
        for name in dict.fromkeys(name for names in digests.values() for name in names):
            problems.setdefault(name, []).append(
                f"the adapter {words} has other weights in one table than in another ({tables}): measure them again, "
                "with one adapter"
            )
    return {name: "; ".join(texts) for name, texts in problems.items()}


def not_rounded(records: Sequence[Evidence]) -> dict[str, str]:
    """Of evidence of one model, the experiments in a precision of their own, where the rest is not in float32."""
    dtypes = {record.question.experiment: record.question.dtype for record in records}
    own = [name for name in dtypes if name in EXPERIMENTS and EXPERIMENTS[name].dtype]
    short = [name for name, dtype in dtypes.items() if name not in own and dtype != "float32"]
    if not short:
        return {}
    text = f"{short[0]} was measured in {dtypes[short[0]]}, so that nothing is compared with float32: measure it anew"
    return dict.fromkeys(own, text)


def _gather(
    model: str,
    experiments: Sequence[str],
    protocol: Protocol,
    seeds: Sequence[int],
    evidence: GetEvidence,
    absent: type[Exception] | None = None,
) -> _Gathered:
    tables: dict[str, Effects] = {}
    n_layers = 0
    every = {name: [evidence(model, name, protocol, seed) for seed in seeds] for name in experiments}
    others = []
    if absent is not None and any("adapters" in r.provenance for records in every.values() for r in records):
        others = _of_adapters(model, protocol, seeds, evidence, absent)
    own = [record for records in every.values() for record in records]
    problems = {name: text for name, text in differing_adapters([*own, *others]).items() if name in every}
    problems |= not_rounded(own)
    for name, records in every.items():
        n_layers = records[0].question.n_layers
        problem = "; ".join(text for text in (_instrument_problem(records), problems.get(name)) if text)
        if problem:
            problems[name] = problem
        else:
            tables[name] = pool([record.effects for record in records])
    return _Gathered(tables=tables, problems=problems, n_layers=n_layers)


def _of_adapters(
    model: str, protocol: Protocol, seeds: Sequence[int], evidence: GetEvidence, absent: type[Exception]
) -> list[Evidence]:
    """What there is of every experiment on adapters."""
    found = []
    for name, experiment in EXPERIMENTS.items():
        for seed in seeds if experiment.adapters and protocol in experiment.protocols else ():
            with suppress(absent, EvidenceCorrupt):
                found.append(evidence(model, name, protocol, seed))
    return found


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
