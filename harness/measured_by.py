"""By which code each experiment is measured: pinned, so that whoever changes that code says whether numbers change.

Recorded evidence is compared with what would be asked today: probes, suite, sample size, prompts, weights, tokenizer.
Which code gave the answer is not to be seen from that, and most changes of code change no number. So `measured_by.json`
pins, for each experiment, its version (`Experiment.revision`) and a digest of the code that it runs through, and a test
fails where they differ. Where its numbers change, the version is raised, and recorded evidence is stale.

    python -m harness.measured_by                    what has changed since it was pinned, and through which modules
    python -m harness.measured_by --pin [NAME ...]   pin it anew: everything, or these experiments

Covered is the syntax, comments and docstrings aside, of ROOTS as a whole and of all that they import, inside functions
too; of the modules of ONLY_WHERE, for the experiments that run through them. Not covered are those of
ELSEWHERE (the lists of probes too: what they give is compared, whatever the code), and libraries, whose versions stand
in each record's provenance.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.experiments import EXPERIMENTS, Experiment, UnknownExperiment, find_experiment
from harness.experiments.definition import CLEAN, CORRUPT, MEAN, NOISE, RESAMPLE
from harness.store import StoreUnwritable, write_atomic
from harness.syntax import LISTS, imported, spelled, tree_of, without_text
from tasks.bands import BANDS

ROOTS = ("harness.measure", "harness.models.gguf_convert")
"""What measures, and what turns a packaged model into a checkpoint: its config has no digest, as its weights have."""
PINS = Path(__file__).parent / "experiments" / "measured_by.json"
ELSEWHERE = (
    # What is asked: the probes stand in `Question.definition`, what can be drawn in the suite's digest.
    *("harness.experiments.definition", "harness.experiments.adapters"),
    *("tasks.suites", "tasks.families", "tasks.build", "tasks.words"),
    # Of what: weights and tokenizer have digests.
    *("harness.models.cache", "harness.models.checkpoint"),
    *("harness.models.hub", "harness.models.packaged", "harness.models.progress"),
    *("harness.models.spec", "harness.models.supply", "harness.models.tokenizer"),
    # What is kept of an answer, and computed from it again.
    *("harness.evidence", "harness.provenance", "harness.store", "harness.statistics"),
    # Screened evidence is never recorded.
    *("harness.engine.attribution", "harness.engine.screen"),
)
"""Modules and packages that ROOTS import and no pin covers."""


def _adapted(experiment: Experiment) -> bool:
    return experiment.adapters or experiment.held_out or bool(experiment.reads_map)


def _generates(experiment: Experiment) -> bool:
    return experiment.generates > 0


def _at_massive(experiment: Experiment) -> bool:
    return experiment.at_massive


def _averaged(experiment: Experiment) -> bool:
    return not {MEAN, NOISE}.isdisjoint(experiment.donors)


def _directed(experiment: Experiment) -> bool:
    return not {MEAN, NOISE, RESAMPLE, CORRUPT, CLEAN}.issuperset(experiment.donors)


def _developed(experiment: Experiment) -> bool:
    """Whether anything is computed on development prompts."""
    return any(f(experiment) for f in (_averaged, _directed, _at_massive)) or bool(experiment.reads_map)


ONLY_WHERE: Mapping[str, Callable[[Experiment], bool]] = {
    "harness.adapters": _adapted,
    "harness.adapters.json_text": _generates,
    "harness.adapters.texts": _generates,
    "harness.continuations": _generates,
    "harness.degeneration": _generates,
    "harness.directions": _directed,
    "harness.donors": lambda experiment: bool(experiment.donors),
    "harness.engine.generation": _generates,
    "harness.engine.massive": _at_massive,
    "harness.engine.means": _averaged,
    "harness.experiments.patching": lambda experiment: experiment.paired,
    "harness.latency": lambda experiment: experiment.timed,
    "harness.maps": _developed,
    "harness.mechanism": _at_massive,
    "harness.steering": _directed,
    "tasks.bands": lambda experiment: experiment.suite in BANDS,
    "tasks.spots": lambda experiment: experiment.spotted,
}
"""Modules and packages that some experiments run through; any other that `harness.measure` imports counts for all."""
HOW = """\
Do numbers of these experiments change, by more than the tolerances of harness/recording.py?
- They do: raise the experiment's `revision` (harness/experiments/). Its recorded evidence becomes stale, and has to be
  measured again.
- They do not: leave it.
Then renew the pins, and commit them: python -m harness.measured_by --pin"""


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What was pinned: of each experiment its version and its code's digest, of each module its own digest."""

    experiments: Mapping[str, tuple[int, str]]
    modules: Mapping[str, str]

    def to_text(self) -> str:
        """JSON, sorted, a line for each experiment and module."""
        experiments = {
            name: {"version": version, "code": code} for name, (version, code) in self.experiments.items()
        }
        parts = [
            f'  "{title}": {{\n'
            + ",\n".join(f'    "{name}": {json.dumps(part[name])}' for name in sorted(part))
            + "\n  }"
            for title, part in (("experiments", experiments), ("modules", self.modules))
        ]
        return "{\n" + ",\n".join(parts) + "\n}\n"


def read_pins(path: Path) -> Pins:
    """The pins in a file, none where there is no file. Raises ValueError, LookupError or TypeError for another file."""
    if not path.exists():
        return Pins(experiments={}, modules={})
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Pins(
        experiments={name: (pin["version"], pin["code"]) for name, pin in kept["experiments"].items()},
        modules=kept["modules"],
    )


def modules_of(experiment: Experiment) -> tuple[str, ...]:
    """The modules that its measurement runs through."""
    unused = [name for name, runs in ONLY_WHERE.items() if not runs(experiment)]
    left_out = (*ELSEWHERE, *unused)
    found = imported(ROOTS, lambda name: name in LISTS or within(name, left_out))
    return tuple(sorted(found))


def code_of(experiment: Experiment) -> str:
    """Digest of the modules that its measurement runs through, their names included."""
    parts = [f"{name} {module_digest(name)}\n" for name in modules_of(experiment)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@cache
def module_digest(name: str) -> str:
    """Digest of a module's syntax, comments and docstrings aside."""
    return hashlib.sha256(spelled(without_text(tree_of(name))).encode()).hexdigest()[:16]


def within(module: str, places: Iterable[str]) -> bool:
    """Whether a module is one of these, or in one of these packages."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def changes(pins: Pins) -> dict[str, str]:
    """Experiment -> what is not as it was pinned; {} where all is."""
    found = {name: "is pinned, and no longer exists" for name in pins.experiments if name not in EXPERIMENTS}
    for name, experiment in EXPERIMENTS.items():
        if name not in pins.experiments:
            found[name] = "has no pin"
            continue
        version, code = pins.experiments[name]
        said = []
        if version != experiment.revision:
            said.append(f"version {version} is pinned, and it is {experiment.revision} now")
        if code != code_of(experiment):
            changed = [m for m in modules_of(experiment) if pins.modules.get(m) != module_digest(m)]
            said.append(f"other code: {', '.join(changed)}" if changed else "other modules")
        if said:
            found[name] = "; ".join(said)
    return found


def pinned(pins: Pins, names: Iterable[str]) -> Pins:
    """The pins with those of these experiments as they are today; without those of experiments that are gone.

    A module keeps its digest while an experiment that runs through it is left as it was pinned. Raises
    UnknownExperiment.
    """
    chosen = {name: find_experiment(name) for name in names}
    undecided = [
        EXPERIMENTS[name]
        for name in changes(pins)
        if name not in chosen and name in EXPERIMENTS and name in pins.experiments
    ]
    kept = {module for experiment in undecided for module in modules_of(experiment)} & pins.modules.keys()
    now = {name: (experiment.revision, code_of(experiment)) for name, experiment in chosen.items()}
    experiments = {name: pin for name, pin in pins.experiments.items() if name in EXPERIMENTS} | now
    used = {module for name in experiments for module in modules_of(EXPERIMENTS[name])}
    modules = {module: pins.modules[module] if module in kept else module_digest(module) for module in used}
    return Pins(experiments=experiments, modules=modules)


def report(pins: Pins) -> str:
    """What is not as it was pinned, the experiments of which the same is to be said together, and what to do; or ''."""
    together: dict[str, list[str]] = {}
    for name, said in changes(pins).items():
        together.setdefault(said, []).append(name)
    if not together:
        return ""
    lines = [f"- {', '.join(names)}: {said}" for said, names in together.items()]
    return "\n".join(["These experiments are not measured by the code that was pinned:", *lines, "", HOW])


def _what_was_decided(before: Pins, after: Pins) -> str:
    """A line for each kind of pin that is new."""
    together: dict[str, list[str]] = {}
    for name, (version, _) in after.experiments.items():
        if before.experiments.get(name) == after.experiments[name]:
            continue
        old = before.experiments.get(name, (0, ""))[0]
        if old == 0:
            said = "pinned for the first time"
        elif old == version:
            said = f"pinned, of version {version} as before: recorded evidence stays"
        else:
            said = (
                f"pinned, of version {version} instead of {old}: recorded evidence is stale, measure it again"
            )
        together.setdefault(said, []).append(name)
    gone = [name for name in before.experiments if name not in after.experiments]
    if gone:
        together["no longer an experiment, dropped"] = gone
    return "\n".join(f"{', '.join(names)}: {said}" for said, names in together.items())


def main(argv: Sequence[str] | None = None, path: Path = PINS) -> int:
    """0 where everything is as it was pinned, or is now; 1 where it is not; 2 for a name that is unknown."""
    parser = argparse.ArgumentParser(prog="python -m harness.measured_by", description=HOW)
    parser.add_argument("--pin", nargs="*", metavar="NAME", help="pin the code of today: all, or these")
    options = parser.parse_args(argv)
    pins = read_pins(path)
    if options.pin is None:
        text = report(pins)
        print(text or "every experiment is measured by the code that was pinned")
        return 1 if text else 0
    try:
        renewed = pinned(pins, options.pin or EXPERIMENTS)
        write_atomic(path, renewed.to_text().encode())
    except UnknownExperiment as error:
        print(f"{error.args[0]}; nothing is written", file=sys.stderr)
        return 2
    except StoreUnwritable as error:
        print(error, file=sys.stderr)
        return 2
    print(_what_was_decided(pins, renewed) or "nothing has changed since it was pinned")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
