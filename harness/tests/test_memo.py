"""An answer is given again for the same question, code, versions and bytes, and for nothing else."""

import ast
import importlib
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness import memo as module
from harness.claim import Claim
from harness.memo import (
    Memo,
    asked_of,
    basis,
    code_of,
    deciding_files,
    judgement_from_json,
    judgement_to_json,
)
from harness.protocols import Protocol
from harness.statistics.estimate import Estimate
from harness.verdicts.criteria import HubIs, Not
from harness.verdicts.verdict import Finding, Judgement, Verdict

ROOT = Path(__file__).parents[2]


class Asker:
    """Asks one question, and counts how often it is answered anew."""

    def __init__(self, home: Path, records: tuple[str, ...] = ("m/a.json", "m/b.json")) -> None:
        self.home, self.records, self.answered = home, records, 0

    def __call__(
        self,
        name: str = "name",
        question: str = "question",
        also: tuple[Path, ...] = (),
        code: tuple[Path, ...] = (),
    ) -> object:
        memo = Memo(self.home / "judged", self.home / "evidence", also)

        def answer() -> object:
            self.answered += 1
            for record in self.records:
                memo.reading(self.home / "evidence" / record)
            return {"is": [1.5, "so", None]}

        return memo.remembered(name, question, answer, dict, also=code)

    @property
    def kept(self) -> Path:
        (path,) = (self.home / "judged").iterdir()
        return path


@pytest.fixture
def ask(tmp_path):
    (tmp_path / "evidence" / "m").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (tmp_path / "evidence" / "m" / f"{name}.json").write_text(f"record {name}")
    return Asker(tmp_path)


def test_the_same_question_is_answered_once(ask):
    assert ask() == ask() == {"is": [1.5, "so", None]}
    assert ask.answered == 1


@pytest.mark.parametrize("record", ["a", "b"])
def test_a_changed_byte_of_a_record_that_was_read_asks_again(ask, record):
    ask()
    path = ask.home / "evidence" / "m" / f"{record}.json"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    ask()
    assert ask.answered == 2
    path.unlink()
    ask()
    assert ask.answered == 3


def test_a_record_that_was_not_read_changes_nothing(ask):
    ask()
    (ask.home / "evidence" / "m" / "c.json").write_text("other")
    ask()
    assert ask.answered == 1


def test_a_record_that_was_missed_asks_again_once_it_is_there(ask):
    ask.records = ("m/a.json", "m/later.json")
    ask()
    ask()
    assert ask.answered == 1
    (ask.home / "evidence" / "m" / "later.json").write_text("here")
    ask()
    assert ask.answered == 2


def test_nothing_is_kept_where_nothing_is_recorded(ask):
    ask.records = ("m/none.json",)
    ask()
    assert not (ask.home / "judged").exists()


def test_another_question_of_that_name_replaces_the_answer(ask):
    ask()
    ask(question="another")
    assert ask.answered == 2
    assert ask.kept
    ask(name="another name")
    assert ask.answered == 3


def test_changed_code_asks_again(ask):
    code = ask.home / "judge.py"
    code.write_text("least = 1\n")
    ask(also=(code,))
    code.write_text("least = 2\n")
    ask(also=(code,))
    ask(also=(code,))
    assert ask.answered == 2


@pytest.mark.parametrize("library", ["numpy", "scipy", "statsmodels"])
def test_another_version_of_a_library_asks_again(ask, monkeypatch, library):
    ask()
    version = module.version
    monkeypatch.setattr(module, "version", lambda name: "0.1" if name == library else version(name))
    ask()
    assert ask.answered == 2


def test_another_processor_asks_again(ask, monkeypatch):
    ask()
    monkeypatch.setattr(module.platform, "machine", lambda: "other")
    ask()
    assert ask.answered == 2


def test_every_flipped_byte_is_noticed_and_mended(ask, monkeypatch):
    monkeypatch.setattr(module, "basis", lambda files: "of one code")
    ask()
    whole = ask.kept.read_bytes()
    for i in range(len(whole)):
        ask.kept.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert ask() == {"is": [1.5, "so", None]}
        assert ask.kept.read_bytes() == whole
    assert ask.answered == 1 + len(whole)


@pytest.mark.parametrize("text", ["", "{}", "\n", "\xff", "0" * 64 + "\n{}", '{"answer": {"is": "forged"}}'])
def test_what_is_no_answer_is_not_believed(ask, text):
    ask()
    ask.kept.write_bytes(text.encode("latin-1"))
    assert ask() == {"is": [1.5, "so", None]}
    assert ask.answered == 2


def test_an_edited_answer_is_not_believed(ask):
    ask()
    ask.kept.write_text(ask.kept.read_text().replace("1.5", "2.5"))
    assert ask() == {"is": [1.5, "so", None]}


def test_the_answer_to_another_question_is_not_believed_in_its_place(ask):
    ask(name="one")
    forged = ask.kept
    ask(name="two")
    (other,) = {*(ask.home / "judged").iterdir()} - {forged}
    other.write_bytes(forged.read_bytes())
    ask(name="two")
    assert ask.answered == 3


def test_an_answer_that_cannot_be_read_is_made_anew(ask):
    memo = Memo(ask.home / "judged", ask.home / "evidence")
    answers = iter(["not a verdict", "supported"])

    def make() -> str:
        memo.reading(ask.home / "evidence" / "m" / "a.json")
        return next(answers)

    with pytest.raises(ValueError, match="not a verdict"):
        memo.remembered("name", "", make, Verdict)
    assert memo.remembered("name", "", make, Verdict) is Verdict.SUPPORTED
    assert memo.remembered("name", "", make, Verdict) is Verdict.SUPPORTED


def test_a_folder_that_cannot_be_written_costs_time_alone(ask):
    (ask.home / "judged").write_text("a file")
    assert ask() == ask() == {"is": [1.5, "so", None]}
    assert ask.answered == 2


def test_what_raises_is_not_kept(ask):
    memo = Memo(ask.home / "judged", ask.home / "evidence")

    def fail() -> None:
        memo.reading(ask.home / "evidence" / "m" / "a.json")
        raise LookupError("no table")

    for _ in range(2):
        with pytest.raises(LookupError, match="no table"):
            memo.remembered("name", "", fail, str)
    assert not (ask.home / "judged").exists()


def test_many_writers_at_once_leave_one_whole_answer(ask):
    (ask.home / "judged").mkdir()
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = ask.answered
    assert ask() == {"is": [1.5, "so", None]}
    assert ask.answered == before
    assert os.listdir(ask.home / "judged") == [ask.kept.name]


@pytest.mark.parametrize("what", ["record", "absent record", "code", "its own code"])
def test_what_changes_while_it_is_judged_is_not_kept(ask, what):
    """Digested, changed, read, judged; and afterwards put back as it was."""
    code = ask.home / "judge.py"
    code.write_text("least = 1\n")
    ask.records = ("m/a.json", "m/later.json")
    every, its_own = ((), (code,)) if what == "its own code" else ((code,), ())
    memo = Memo(ask.home / "judged", ask.home / "evidence", every)
    record = ask.home / "evidence" / "m" / ("later.json" if what == "absent record" else "a.json")
    changed = code if what in ("code", "its own code") else record

    def make() -> object:
        for name in ask.records:
            memo.reading(ask.home / "evidence" / name)
        changed.write_text("changed")
        return {"is": "of what was changed"}

    before = changed.read_bytes() if changed.exists() else None
    found = memo.remembered("name", "question", make, dict, also=its_own)
    assert found == {"is": "of what was changed"}
    if before is None:
        changed.unlink()
    else:
        changed.write_bytes(before)
    assert ask(also=every, code=its_own) == {"is": [1.5, "so", None]}


CLAIM = Claim(
    id="hub",
    sentence="The hub is L2.",
    source="here",
    falsified_by="another",
    models=("m",),
    criteria={
        Protocol.SOUND: (HubIs(layer=2, rationale="r"),),
        Protocol.PUBLISHED: (HubIs(layer=3, rationale="r"),),
    },
)


@pytest.mark.parametrize(
    "other",
    [
        replace(CLAIM, criteria={Protocol.SOUND: (HubIs(layer=1, rationale="r"),)}),
        replace(CLAIM, criteria={Protocol.SOUND: (HubIs(layer=2, min_effect_nats=0.2, rationale="r"),)}),
        replace(CLAIM, presupposes=(HubIs(layer=2, rationale="r"),)),
        replace(CLAIM, models=("m", "n")),
        replace(CLAIM, over_seeds=True),
        replace(CLAIM, id="other"),
    ],
)
def test_a_changed_criterion_of_any_card_is_another_question(other):
    beside = replace(CLAIM, id="beside")
    assert asked_of([beside, CLAIM], Protocol.SOUND) != asked_of([beside, other], Protocol.SOUND)


def test_what_judges_nothing_here_is_the_same_question():
    other = replace(CLAIM, sentence="L2 is the hub.", note="n", expected={Protocol.SOUND: Verdict.REFUTED})
    other = replace(other, criteria={**CLAIM.criteria, Protocol.PUBLISHED: (HubIs(layer=9, rationale="r"),)})
    assert asked_of([CLAIM], Protocol.SOUND) == asked_of([other], Protocol.SOUND)


OWN = """
from dataclasses import dataclass
from harness.verdicts.criteria import HubIs
from {parts} import Margin

@dataclass(frozen=True, kw_only=True)
class HubAnywhere(HubIs):
    margin: Margin = Margin()

    @property
    def experiments(self):
        from {helper} import TABLE
        return (TABLE,)
"""
HELPER = 'TABLE = "layer_sets"\n'
PARTS = """
from dataclasses import dataclass
import numpy

@dataclass(frozen=True)
class Margin:
    nats: float = 0.1
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A chapter's own criterion, a part of it from another file, what it calls in a third; and where they stand."""
    monkeypatch.syspath_prepend(tmp_path)
    names = {name: f"{name}_{tmp_path.name}" for name in ("parts", "helper", "own")}
    files = {name: tmp_path / f"{module}.py" for name, module in names.items()}
    files["parts"].write_text(PARTS)
    files["helper"].write_text(HELPER)
    files["own"].write_text(OWN.format(parts=names["parts"], helper=names["helper"]))
    criterion = importlib.import_module(names["own"]).HubAnywhere(layer=2, rationale="r")
    yield criterion, files
    for name in names.values():
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "asked",
    [
        lambda own: replace(CLAIM, criteria={Protocol.SOUND: (own,)}),
        lambda own: replace(CLAIM, presupposes=(own,)),
        lambda own: replace(CLAIM, criteria={Protocol.SOUND: (Not(criterion=own),)}),
    ],
)
@pytest.mark.parametrize("changed", ["own", "parts", "helper"])
def test_changed_code_of_a_chapter_s_own_criterion_asks_again(ask, own, asked, changed):
    criterion, files = own
    claim = asked(criterion)
    assert set(code_of([CLAIM, claim], Protocol.SOUND)) == set(files.values())
    for _ in range(2):
        ask(code=code_of([claim], Protocol.SOUND))
    assert ask.answered == 1
    files[changed].write_text(files[changed].read_text() + "OTHER = 1\n")
    ask(code=code_of([claim], Protocol.SOUND))
    assert ask.answered == 2


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A criterion whose module imports, in a function never called, a part of a package that fails on import."""
    (tmp_path / "pk").mkdir()
    files = {
        "pk/__init__.py": "raise RuntimeError('was imported')",
        "pk/first.py": "from .second import TABLE\nfrom . import third",
        "pk/second.py": "TABLE = 1",
        "pk/third.py": "import numpy.linalg, json",
        "other.py": "",
        f"own_{tmp_path.name}.py": OWN.replace("from {parts} import Margin", "Margin = int")
        .replace("Margin()", "1")
        .replace("from {helper} import TABLE", "import pk.first as f, torch.nn; from pk import no_module"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(f"own_{tmp_path.name}").HubAnywhere(layer=2, rationale="r")
    del sys.modules[f"own_{tmp_path.name}"]


def test_what_is_imported_somewhere_counts_and_is_not_imported_for_that(package, tmp_path):
    found = code_of([replace(CLAIM, presupposes=(package,))], Protocol.SOUND)
    wanted = {"pk/__init__.py", "pk/first.py", "pk/second.py", "pk/third.py", f"own_{tmp_path.name}.py"}
    assert {str(path.relative_to(tmp_path)) for path in found} == wanted
    assert "pk" not in sys.modules


def test_a_criterion_of_a_library_counts_itself(own, monkeypatch):
    criterion, files = own
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: str(files["own"].parent))
    module._with_helpers.cache_clear()
    assert set(code_of([replace(CLAIM, presupposes=(criterion,))], Protocol.SOUND)) == {
        files["own"],
        files["parts"],
    }
    module._with_helpers.cache_clear()


def test_of_criteria_that_the_harness_has_no_further_file_counts(own):
    """Nor where a criterion of its own is asked under the other protocol."""
    other = replace(CLAIM, criteria={**CLAIM.criteria, Protocol.PUBLISHED: (own[0],)})
    assert code_of([CLAIM, other], Protocol.SOUND) == ()
    assert set(code_of([CLAIM, other], Protocol.PUBLISHED)) == set(own[1].values())


def test_no_chapter_here_is_judged_anew_for_its_sentences():
    for path in sorted((ROOT / "claims").glob("test_*.py")):
        claims = importlib.import_module(f"claims.{path.stem}").CLAIMS
        assert all(code_of(claims, protocol) == () for protocol in Protocol)


@pytest.mark.parametrize("value", [0.1 + 0.2, -0.0, math.inf, -math.inf, 5e-324])
@pytest.mark.parametrize("p_value", [None, 1 / 3])
def test_a_judgement_comes_back_as_it_was(ask, value, p_value):
    estimate = Estimate(value=value, low=-math.inf, high=7.25, unit="nats", n_prompts=90, n_templates=30)
    findings = (
        Finding(
            verdict=Verdict.REFUTED,
            sentence="L3 leads 'L2' \N{EN DASH} by 2",
            estimate=estimate,
            p_value=p_value,
        ),
        Finding(verdict=Verdict.SUPPORTED, sentence="", criterion="c", screened=True),
    )
    judgement = Judgement(verdict=Verdict.REFUTED, findings=findings, p_value=p_value, note="n")
    memo = Memo(ask.home / "judged", ask.home / "evidence")

    def judge() -> object:
        memo.reading(ask.home / "evidence" / "m" / "a.json")
        return judgement_to_json(judgement)

    first = memo.remembered("name", "", judge, judgement_from_json)
    again = memo.remembered("name", "", lambda: pytest.fail("asked again"), judgement_from_json)
    assert first == again == judgement
    assert repr(again) == repr(judgement)
    assert isinstance(again.verdict, Verdict)


def test_every_module_that_a_deciding_module_imports_decides():
    """Read with Python's own parser, where `deciding_files` reads lines."""
    deciding = set(deciding_files())
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in deciding}
    assert {
        "harness.assessment",
        "harness.verdicts.hub",
        "harness.statistics.bootstrap",
        "tasks.suites",
    } <= set(names)
    missing = set()
    for path in deciding:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                asked = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            places = [
                ROOT.joinpath(*name.split("."))
                for name in asked
                if name.split(".")[0] in ("harness", "tasks")
            ]
            files = {f for p in places for f in (p.with_suffix(".py"), p / "__init__.py") if f.is_file()}
            missing |= files - deciding
    assert not missing


def test_what_judging_loads_decides():
    """What is loaded when a chapter is judged, whatever the way in which it was imported."""
    code = (
        "import sys; from harness import assessment, profiles, recording, store; "
        "from harness.protocols import Protocol; from claims.test_hub_location import CLAIMS; "
        "from pathlib import Path; r = store.Recorded(root=Path('claims/evidence')); "
        "e = r.get('smollm2_135m', 'layer_sweep', Protocol.SOUND, 42); recording.staleness(e); "
        "profiles.describe_top(e.effects); "
        "own = [c for c in CLAIMS if c.per_model and set(c.experiments(Protocol.SOUND)) == {'layer_sweep'}]; "
        "own = [c for c in own if not c.over_seeds]; "
        "assert assessment.assess(own, 'smollm2_135m', Protocol.SOUND, (42,), r.get); "
        "print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.splitlines()}
    own = {p for p in loaded if p.is_relative_to(ROOT / "harness") or p.is_relative_to(ROOT / "tasks")}
    assert len(own) > 60
    assert own <= set(deciding_files())


def test_the_basis_is_of_what_the_files_hold(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a")
    two.write_text("b")
    before = basis((one, two))
    assert before == basis((one, two))
    one.write_text("b")
    two.write_text("a")
    assert before != basis((one, two))
