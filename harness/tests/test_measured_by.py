"""Each experiment is measured by the code that was pinned, and a pin covers what its experiment runs through."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from harness import measured_by as module
from harness.experiments import EXPERIMENTS, Experiment
from harness.measured_by import ELSEWHERE, ONLY_WHERE, PINS, main, modules_of, read_pins, report, within
from harness.provenance import measuring_files
from harness.store import Store
from harness.syntax import LISTS, dumped, exists, spelled

if TYPE_CHECKING:
    from harness.measure import Subject

ROOT = Path(__file__).parents[2]


def test_each_experiment_is_measured_by_the_code_that_was_pinned() -> None:
    text = report(read_pins(PINS))
    assert not text, text


def test_the_pins_are_written_as_they_are_read() -> None:
    assert read_pins(PINS).to_text() == PINS.read_text(encoding="utf-8")


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """Pins of today's code that a test may renew."""
    path = tmp_path / "measured_by.json"
    main(["--pin"], path)
    return path


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives one module other code."""

    own = module.module_digest

    def to_other_code(name: str) -> None:
        monkeypatch.setattr(module, "module_digest", lambda m: own(m) + " changed" * (m == name))

    return to_other_code


@pytest.mark.parametrize(
    ("changed", "of", "not_of"),
    [
        ("harness.measure", tuple(EXPERIMENTS), ()),
        ("harness.edits", tuple(EXPERIMENTS), ()),
        ("tasks.sampling", tuple(EXPERIMENTS), ()),
        ("harness.engine.plain", tuple(EXPERIMENTS), ()),
        ("harness.latency", ("skip_latency",), ("layer_sweep", "adapter_layers")),
        ("harness.donors", ("patching_noising", "steering_sweep"), ("layer_sweep", "adapter_layers")),
        ("harness.engine.means", ("sublayer_sweep", "head_groups"), ("head_resample", "steering_sweep")),
        ("harness.directions", ("steering_sweep", "steering_long"), ("sublayer_sweep", "layers_long")),
        ("harness.engine.generation", ("steering_generation", "adapter_ranks"), ("steering_sweep",)),
        ("harness.engine.massive", ("massive_writes", "hub_mechanism"), ("position_sweep", "layer_sweep")),
        ("harness.experiments.patching", ("patching_noising",), ("sublayer_corrupt", "adapter_layers")),
        ("harness.maps", ("adapter_sets", "steering_sweep"), ("adapter_layers", "layer_sweep")),
        ("tasks.bands", ("layers_short", "steering_long"), ("layer_sweep", "steering_sweep")),
        ("tasks.spots", ("position_sweep", "attention_edges"), ("patching_noising", "layer_sweep")),
        ("harness.adapters.json_text", ("adapter_ranks",), ("adapter_layers", "steering_generation")),
    ],
)
def test_other_code_is_said_of_the_experiments_that_run_through_it(
    pins: Path,
    change: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    changed: str,
    of: tuple[str, ...],
    not_of: tuple[str, ...],
) -> None:
    change(changed)
    found = module.changes(read_pins(pins))
    assert set(found) >= set(of)
    assert not set(found) & set(not_of)
    assert set(found.values()) == {f"other code: {changed}"}
    capsys.readouterr()
    assert main([], pins) == 1
    printed = capsys.readouterr().out
    assert f": other code: {changed}\n" in printed
    assert "raise the experiment's `revision`" in printed
    assert "python -m harness.measured_by --pin" in printed


@pytest.mark.parametrize("part", sorted((ROOT / "harness/adapters").glob("*.py")), ids=lambda path: path.stem)
def test_no_code_of_adapters_is_said_of_an_experiment_without(
    pins: Path, change: Callable[[str], None], part: Path
) -> None:
    change(f"harness.adapters.{part.stem}")
    found = module.changes(read_pins(pins))
    assert all(EXPERIMENTS[name].adapters for name in found)


def test_an_experiment_without_a_pin_and_a_pin_without_an_experiment(
    pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "layer_yoga", replace(EXPERIMENTS["layer_sweep"], name="layer_yoga"))
    pins.write_text(
        pins.read_text(encoding="utf-8").replace('"layer_sets"', '"layer_sits"'), encoding="utf-8"
    )
    found = module.changes(read_pins(pins))
    assert found == {
        "layer_sits": "is pinned, and no longer exists",
        "layer_sets": "has no pin",
        "layer_yoga": "has no pin",
    }
    assert main(["--pin"], pins) == 0
    assert set(read_pins(pins).experiments) == set(EXPERIMENTS)
    assert main([], pins) == 0


def test_a_raised_version_is_to_be_pinned_too(
    pins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "layer_sweep", replace(EXPERIMENTS["layer_sweep"], revision=2))
    assert module.changes(read_pins(pins)) == {"layer_sweep": "version 1 is pinned, and it is 2 now"}
    capsys.readouterr()
    assert main(["--pin"], pins) == 0
    assert (
        "layer_sweep: pinned, of version 2 instead of 1: recorded evidence is stale"
        in capsys.readouterr().out
    )
    assert main([], pins) == 0


def test_an_unknown_name_is_refused_and_nothing_is_written(
    pins: Path, change: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    change("harness.engine.sweep")
    before = pins.read_bytes()
    assert main(["--pin", "layer_sweep", "layer_yoga"], pins) == 2
    assert "no experiment 'layer_yoga'; known: layer_sweep, " in capsys.readouterr().err
    assert pins.read_bytes() == before


def test_experiments_are_pinned_one_by_one(
    pins: Path, change: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of those that are left, it is still said through which modules."""
    whole = read_pins(pins)
    change("harness.donors")
    changed = set(module.changes(whole))
    capsys.readouterr()
    assert main(["--pin", "head_groups"], pins) == 0
    assert capsys.readouterr().out == "head_groups: pinned, of version 1 as before: recorded evidence stays\n"
    left = module.changes(read_pins(pins))
    assert set(left) == changed - {"head_groups"}
    assert set(left.values()) == {"other code: harness.donors"}
    assert main(["--pin", *left], pins) == 0
    assert read_pins(pins).modules["harness.donors"] != whole.modules["harness.donors"]
    assert main([], pins) == 0
    assert main(["--pin"], pins) == 0
    assert capsys.readouterr().out.endswith("nothing has changed since it was pinned\n")


def test_from_the_command_line_on_a_copy_of_the_code(tmp_path: Path) -> None:
    """A remark changes nothing; an operator is said until it is pinned."""
    for folder in ("harness", "tasks"):
        ignored = shutil.ignore_patterns("tests", "__pycache__", "calibration", "bench", "site")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)

    def run(*args: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "harness.measured_by", *args],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    path = tmp_path / "harness/engine/means.py"
    code = path.read_text(encoding="utf-8")
    path.write_text(f'"""Other words."""\n{code}\n# a remark\n', encoding="utf-8")
    assert run() == (0, "every experiment is measured by the code that was pinned\n")
    path.write_text(f"{code}\n_added = 1 + 1\n", encoding="utf-8")
    status, text = run()
    assert status == 1
    assert ": other code: harness.engine.means\n" in text
    assert run("--pin")[0] == 0
    assert run()[0] == 0
    pinned = json.loads((tmp_path / "harness/experiments/measured_by.json").read_text(encoding="utf-8"))
    here = json.loads(PINS.read_text(encoding="utf-8"))
    moved = {name for name, pin in pinned["experiments"].items() if pin != here["experiments"][name]}
    assert moved == {"head_groups", "position_sweep", "sublayer_sweep"}


def test_a_syntax_tree_is_spelled_alike_where_a_python_has_further_empty_fields() -> None:
    tree = ast.parse("def f(x=None, *, y: str = 'é') -> None:\n    return [x, y, ()]\n")
    text = spelled(tree)
    (function,) = tree.body
    function._fields = (*function._fields, "type_params", "hint")  # type: ignore[misc]
    function.type_params, function.hint = [], None  # type: ignore[attr-defined]
    assert spelled(tree) == text
    assert text.isascii()
    assert spelled(ast.parse("f(1)")) != spelled(ast.parse("f(2)")) != spelled(ast.parse("f()"))


def test_a_stamp_is_made_of_the_same_text_under_every_python() -> None:
    """What Python 3.11 dumps of a function; later ones have type parameters, or leave out what is empty."""
    (function,) = ast.parse("def f(*, y=None):\n    return [y, None]\n").body
    text = (
        "FunctionDef(name='f', args=arguments(posonlyargs=[], args=[], kwonlyargs=[arg(arg='y')], "
        "kw_defaults=[Constant(value=None)], defaults=[]), body=[Return(value=List(elts=[Name(id='y', ctx=Load()), "
        "Constant(value=None)], ctx=Load()))], decorator_list=[])"
    )
    assert dumped(function) == text
    function._fields = (*function._fields, "type_params")  # type: ignore[misc]
    function.type_params = []  # type: ignore[attr-defined]
    assert dumped(function) == text


# What a pin covers


def test_every_module_that_the_rules_name_is_one() -> None:
    """A rule about a module that was renamed would say nothing of the new one."""
    for name in (*ELSEWHERE, *ONLY_WHERE):
        assert exists(name), name
    reached = {m for experiment in EXPERIMENTS.values() for m in modules_of(experiment)}
    assert not [name for name in ONLY_WHERE if not any(within(m, (name,)) for m in reached)]


def test_what_is_pinned_and_what_keys_the_store_is_the_same_code() -> None:
    """Else an edit would be asked about, and the number be taken from the store: as good as not asked."""
    covered = {m for experiment in EXPERIMENTS.values() for m in modules_of(experiment)}
    files = [path.resolve().relative_to(ROOT).with_suffix("") for path in measuring_files()]
    listed = {".".join(path.parts) for path in files if path.name != "__init__"}
    assert covered <= listed
    lists = {f"harness.experiments.{path.stem}" for path in (ROOT / "harness/experiments").glob("*.py")}
    assert listed - covered - lists == {
        "harness.adapters.parameters",  # of published counts alone
        "harness.engine.attribution",
        "harness.engine.screen",
    }


@pytest.fixture(scope="module")
def single_block(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A loaded model of one block."""
    from harness.models import LocalDir, ModelSpec, load
    from harness.planted import build_hub

    root = tmp_path_factory.mktemp("single")
    tokenizer: Any = subject.loaded.tokenizer
    place = build_hub(root / "model", layer=0, n_layers=1, tokenizer=tokenizer)
    spec = ModelSpec(id="single", title="Single", source=LocalDir(path=place), license="none")
    return load(spec, cache_dir=root / "cache")


def shrunk(probe: Any) -> Any:
    """The same row; one of adapters with adapters of a few steps and items."""
    if not hasattr(probe, "parts"):
        return probe
    parts = []
    for part in probe.parts:
        tiny = replace(part.recipe, steps=2, checkpoints=(0, 2), items=2, warmup=1)
        parts.append(replace(part, recipe=tiny, step=None if part.step is None else 2))
    return replace(probe, parts=tuple(parts))


ONE_OF_EACH = {modules_of(experiment): experiment for experiment in EXPERIMENTS.values()}.values()


@pytest.mark.parametrize("asked", ONE_OF_EACH, ids=lambda experiment: experiment.name)
def test_what_a_measurement_calls_is_covered(
    asked: Experiment, single_block: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched while it is measured: functions of no other module of ours are called than the pin has, or ELSEWHERE."""
    from harness.measure import Subject, measure
    from harness.models.cache import CACHE_VARIABLE

    for name in {m for experiment in EXPERIMENTS.values() for m in modules_of(experiment)}:
        import_module(name)  # so that what is watched is not a module's own body
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    protocol = asked.protocols[-1]
    anatomy = Subject(single_block).anatomy(asked)
    rows = tuple(map(shrunk, asked.probes(protocol, anatomy)))[:12]
    small = replace(asked, probes=lambda *_: rows, prompts_per_family=2)
    called: set[str] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if (
            event == "call" and frame.f_code.co_filename != "<string>"
        ):  # a value is made, and nothing computed
            called.add(frame.f_globals.get("__name__", ""))

    subject = Subject(single_block)
    sys.setprofile(watch)
    try:
        evidence = measure(subject, small, protocol, 42, Store(root=tmp_path))
    finally:
        sys.setprofile(None)
    assert evidence.effects.probes == rows
    ours = {name for name in called if name.split(".")[0] in ("harness", "tasks")} - {__name__}
    assert "harness.measure" in ours
    if not asked.donors:
        ours -= {"harness.donors"}  # asked for none
    assert {m for m in ours - set(modules_of(asked)) if m not in LISTS and not within(m, ELSEWHERE)} == set()
