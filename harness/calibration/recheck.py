"""Some trials of every case whose cards or code are newer, made anew and compared with those that are kept.

A check by sample: it tells code that decides nothing else from code that does, and makes no trial newer than it is.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.calibration.chapters import Case
from harness.calibration.origins import Stamps, newer, origins
from harness.calibration.run import Trial, plan
from harness.calibration.trials import SEED, trial_id

NOT_COMPARED = ("seconds", "stamp", "commit")
"""What a record says of how it was made."""


class OtherTrials(ValueError):
    """The kept trials are not those that results.json counts."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A kept trial to be made anew."""

    case: Case
    target: float
    index: int
    kept: Mapping[str, Any]


@dataclass(kw_only=True)
class Found:
    """Of a case: how many trials were made anew, and which differ in what."""

    trials: int = 0
    unlike: dict[str, list[str]] = field(default_factory=dict)


def sample(
    cases: Sequence[Case],
    known: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Any],
    today: Stamps,
    each: int,
) -> list[Sample]:
    """The trials to be made anew: `each` of a case and stamp, spread over targets, always the same.

    Where a trial takes longer than a second, as many as `each` seconds make, at least one. Raises OtherTrials where
    `results` counts other trials than are `known`.
    """
    planned = [
        Sample(case=case, target=target, index=index, kept=known[name])
        for case, target, index in plan(cases)
        if (name := trial_id(case, target, index)) in known
    ]
    _same_trials(planned, results)
    old = {one.name for one in newer(results["cases"], today)}
    groups: dict[tuple[str, str], list[Sample]] = {}
    for one in planned:
        made_with = one.kept["stamp"]
        if one.case.name in old and made_with not in today[one.case.name]:
            groups.setdefault((one.case.name, made_with), []).append(one)
    return [one for (name, _), group in groups.items() for one in _spread(group, name, each)]


def _same_trials(planned: Sequence[Sample], results: Mapping[str, Any]) -> None:
    kept = origins((one.kept for one in planned), results["cases"])
    for name in sorted(kept.keys() | results["cases"].keys()):
        if kept.get(name, {}).get("made") != results["cases"].get(name, {}).get("made"):
            raise OtherTrials(
                f"results.json counts other trials of {name!r} than are kept here: they cannot stand for them. Trials "
                "are not committed: name the folder of those that were counted, with --kept, or `make calibrate` makes "
                "those that are missing, and counts all"
            )


def _spread(group: Sequence[Sample], name: str, each: int) -> list[Sample]:
    """Of one case and stamp: a trial of each target in turn, targets and trials shuffled."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    shuffled = [group[i] for i in rng.permutation(len(group))]
    turns: dict[float, int] = {}
    ranked = []
    for one in shuffled:
        turns[one.target] = turns.get(one.target, 0) + 1
        ranked.append((turns[one.target], one))
    seconds = float(np.mean([one.kept["seconds"] for one in group]))
    wanted = max(1, int(each / max(1.0, seconds)))
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])[:wanted]]


def recheck(
    samples: Sequence[Sample],
    trial: Trial,
    *,
    on_trial: Callable[[str], None] = lambda name: None,
    on_unlike: Callable[[str, list[str]], None] = lambda name, differences: None,
) -> dict[str, Found]:
    """Case -> what was found. Of a case of which one trial differs, no further is made."""
    found: dict[str, Found] = {}
    for one in samples:
        of_case = found.setdefault(one.case.name, Found())
        name = one.kept["id"]
        if not of_case.unlike:
            of_case.trials += 1
            different = differences(one.kept, trial(one.case, one.target, one.index))
            if different:
                of_case.unlike[name] = different
                on_unlike(name, different)
        on_trial(name)
    return found


def differences(kept: Mapping[str, Any], anew: Mapping[str, Any]) -> list[str]:
    """'outcomes.0.redrawn.1: 0.001 is kept, 0.002 was made', for each value that differs."""
    one, two = (_flat(json.loads(json.dumps(_compared(record)))) for record in (kept, anew))
    return [
        f"{place}: {one.get(place, 'nothing')} is kept, {two.get(place, 'nothing')} was made"
        for place in dict.fromkeys([*one, *two])
        if one.get(place) != two.get(place)
    ]


def _compared(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in NOT_COMPARED}


def _flat(value: Any, place: str = "") -> dict[str, str]:
    """Place -> what stands there, as JSON: NaN is then like NaN. An empty list or object stands for itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    parts = {f"{place}.{key}" if place else f"{key}": part for key, part in inner}
    if not parts:
        return {place: json.dumps(value)}
    return {name: text for at, part in parts.items() for name, text in _flat(part, at).items()}


def noted(cases: Mapping[str, Any], found: Mapping[str, Found], today: Stamps, commit: str) -> dict[str, Any]:
    """results.json's `cases`, with what was made anew."""
    return {
        name: case
        | (
            {
                "rechecked": {
                    "commit": commit,
                    "stamps": sorted(today[name]),
                    "trials": found[name].trials,
                    "unlike": list(found[name].unlike),
                }
            }
            if name in found
            else {}
        )
        for name, case in cases.items()
    }
