"""With what the trials of each case were made, and where today's cards or code are newer: results.json's `cases`.

    {case: {"chapter": ..., "made": [{"commit", "stamp", "trials"}, ...], "rechecked": {...}}}

A case has more than one stamp where the engine measures some of its trials, or where not all were made at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.calibration.chapters import Case, number
from harness.provenance import git_state

Stamps = Mapping[str, frozenset[str]]
"""Case -> the stamps that its trials have with today's cards and code."""
UNKNOWN = "unknown"


def commit_here() -> str:
    """Ten digits of the commit, and whether tracked files differ from it."""
    state = git_state()
    return f"{str(state['commit'] or UNKNOWN)[:10]}{' with changes' if state['dirty'] else ''}"


def stamps_today(claims: Path) -> Stamps:
    """The stamps of every case, with the cards in the folder `claims`."""
    from harness.calibration.cards import load_claims
    from harness.calibration.cases import every_case
    from harness.calibration.stamps import stamp

    cards = load_claims(claims)
    return {
        case.name: frozenset(stamp(case, cards, measured=m) for m in _ways(case)) for case in every_case()
    }


def _ways(case: Case) -> set[bool]:
    """Whether the engine measures its trials: one answer, or both."""
    return {case.measured(index) for index in range(case.models)}


def origins(records: Iterable[Mapping[str, Any]], before: Mapping[str, Any]) -> dict[str, Any]:
    """results.json's `cases`. `before` is what it was: it knows the commit of trials that name none, by their stamp.

    What was made anew of a case is kept with it as long as its trials are the same.
    """
    known = {(name, m["stamp"]): m["commit"] for name, case in before.items() for m in case["made"]}
    chapters: dict[str, str] = {}
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for record in records:
        name, made_with = record["case"], record.get("stamp", "")
        commit = record.get("commit") or known.get((name, made_with), UNKNOWN)
        chapters[name] = record["chapter"]
        counts.setdefault(name, Counter())[commit, made_with] += 1
    found = {}
    for name in sorted(counts, key=lambda name: (number(chapters[name]), name)):
        made = [{"commit": c, "stamp": s, "trials": n} for (c, s), n in sorted(counts[name].items())]
        found[name] = {"chapter": chapters[name], "made": made}
        old = before.get(name, {})
        if "rechecked" in old and old["made"] == made:
            found[name]["rechecked"] = old["rechecked"]
    return found


@dataclass(frozen=True, kw_only=True)
class Newer:
    """A case of which cards or code are newer than some of its trials."""

    name: str
    chapter: str
    commits: tuple[str, ...]
    trials: int
    """Those that are older."""
    rechecked: Mapping[str, Any] | None
    """What was made anew with today's cards and code; None where nothing was."""


def newer(cases: Mapping[str, Any], today: Stamps) -> Iterator[Newer]:
    """The cases whose trials have another stamp than today's; a case that is no more is one of them."""
    for name, case in cases.items():
        here = today.get(name, frozenset())
        old = [made for made in case["made"] if made["stamp"] not in here]
        if old:
            rechecked = case.get("rechecked")
            yield Newer(
                name=name,
                chapter=case["chapter"],
                commits=tuple(dict.fromkeys(made["commit"] for made in old)),
                trials=sum(made["trials"] for made in old),
                rechecked=rechecked if rechecked and rechecked["stamps"] == sorted(here) else None,
            )


def said_of_commits(cases: Mapping[str, Any]) -> str:
    """'commit A', or 'commits A (105 trials) and B (12 trials)', those of most trials first."""
    counts: Counter[str] = Counter()
    for made in (made for case in cases.values() for made in case["made"]):
        counts[made["commit"]] += made["trials"]
    if len(counts) < 2:
        return f"commit {next(iter(counts), UNKNOWN)}"
    *most, last = (
        f"{commit} ({n} trial{'s' * (n != 1)})"
        for commit, n in sorted(counts.items(), key=lambda p: (-p[1], p[0]))
    )
    return f"commits {', '.join(most)} and {last}"


def said_of_newer(cases: Mapping[str, Any], today: Stamps) -> str:
    """A paragraph on the cases whose cards or code are newer than their trials; '' where there is none."""
    found = list(newer(cases, today))
    if not found:
        return ""
    made_with = sorted({commit for one in found for commit in one.commits})
    commits = f"commit{'s' * (len(made_with) > 1)} {', '.join(made_with)}"
    trials = sum(one.trials for one in found)
    if len(found) == len(cases):
        which, where = "all cases", ""
    else:
        which = f"{len(found)} of {_cases(len(cases))}"
        where = f"; cases by chapter: {_by_chapter(found, cases)}"
    newest = f"**Cards or code are newer** than {trials} trials of {which} (made with {commits}{where})."
    return " ".join([newest, *_said_of_rechecks(found, cases)])


def _said_of_rechecks(found: Sequence[Newer], cases: Mapping[str, Any]) -> Iterator[str]:
    tried = [(one, one.rechecked) for one in found if one.rechecked]
    for commit in sorted({str(again["commit"]) for _, again in tried}):
        same = [again for _, again in tried if again["commit"] == commit and not again["unlike"]]
        if same:
            trials = sum(again["trials"] for again in same)
            yield f"Of {_cases(len(same))}, {trials} trials made anew by commit {commit} are the same in every number."
    for one, again in tried:
        if again["unlike"]:
            yield (
                f"**Not to be believed** are the trials of {one.name} ({number(one.chapter)[1]}): "
                f"{', '.join(again['unlike'])}, made anew by commit {again['commit']}, differs. `make calibrate` makes "
                "them again."
            )
    if not tried:
        yield "No trial was made anew with today's."
    elif len(tried) < len(found):
        left = [one for one in found if not one.rechecked]
        yield f"Of {_cases(len(left))} none was made anew with today's (by chapter: {_by_chapter(left, cases)})."


def _by_chapter(found: Sequence[Newer], cases: Mapping[str, Any]) -> str:
    """'1: 4, 7: 3 of 9': how many of a chapter's cases, or all."""
    whole, here = Counter(case["chapter"] for case in cases.values()), Counter(one.chapter for one in found)
    return ", ".join(
        f"{number(chapter)[1]}: {n}"
        if n == whole[chapter]
        else f"{number(chapter)[1]}: {n} of {whole[chapter]}"
        for chapter, n in sorted(here.items(), key=lambda item: number(item[0]))
    )


def _cases(n: int) -> str:
    return f"{n} case{'s' * (n != 1)}"
