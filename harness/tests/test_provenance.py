"""Provenance: a digest of the code that follows its meaning, and no trace of anyone's folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import provenance as module
from harness.models.spec import HubRepo, LocalDir, ModelSpec, PackagedGguf, Source, WheelMember
from harness.provenance import code_digest, describe_source, git_state, measuring_files, provenance

HARNESS = Path(module.__file__).parent
NAMES = [os.path.relpath(path, HARNESS) for path in measuring_files()]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the measuring code that a test may change; the digest reads it."""
    for name in NAMES:
        target = tmp_path / "harness" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HARNESS / name, target)
    monkeypatch.setattr(module, "_HARNESS", tmp_path / "harness")
    code_digest.cache_clear()
    yield tmp_path / "harness"
    code_digest.cache_clear()


def digest() -> str:
    code_digest.cache_clear()
    return code_digest()


def test_a_copy_has_the_same_digest(copy: Path) -> None:
    here = digest()
    assert re.fullmatch("[0-9a-f]{64}", here)
    assert digest() == here


@pytest.mark.parametrize("name", NAMES)
def test_a_comment_or_docstring_does_not_change_it_and_an_operator_does(copy: Path, name: str) -> None:
    before = digest()
    path = copy / name
    source = path.read_text(encoding="utf-8")

    path.write_text(f"{source}\n# a remark\n", encoding="utf-8")
    assert digest() == before
    path.write_text(re.sub(r'\A"""', '"""More words. ', source), encoding="utf-8")
    assert digest() == before
    path.write_text(f"{source}\n\n_added = 1 + 1\n", encoding="utf-8")
    added = digest()
    assert added != before
    path.write_text(f"{source}\n\n_added = 1 - 1\n", encoding="utf-8")
    assert digest() not in (before, added)


def test_a_docstring_of_a_function_or_attribute_does_not_change_it(copy: Path) -> None:
    path = copy / "edits.py"
    source = path.read_text(encoding="utf-8")
    before = digest()
    for old in ('"""Route around these blocks', '"""resid_post := resid_pre.', '"""The blocks touched'):
        assert source.count(old) == 1
        path.write_text(source.replace(old, '"""Other words. '), encoding="utf-8")
        assert digest() == before


def test_a_number_changes_it(copy: Path) -> None:
    path = copy / "checks.py"
    before = digest()
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace("POSITIVE_CONTROL_NATS = 0.1", "POSITIVE_CONTROL_NATS = 0.2"), "utf-8")
    assert digest() != before


def test_what_draws_the_prompts_counts_as_measuring_code(copy: Path) -> None:
    """The suite's digest covers the candidates, not which of them a seed draws."""
    before = digest()
    path = copy / "../tasks/sampling.py"
    path.write_text(path.read_text(encoding="utf-8").replace("rng.permutation", "rng.choice"), "utf-8")
    assert digest() != before


def test_every_module_that_makes_a_number_is_listed() -> None:
    """The whole engine: the check on load measures the noise floor too."""
    for folder in ("engine", "experiments"):
        assert {f"{folder}/{p.name}" for p in (HARNESS / folder).glob("*.py")} <= set(NAMES)
    assert {"edits.py", "measure.py", "donors.py", "../tasks/spots.py"} <= set(NAMES)


def test_a_listed_file_that_is_not_there_is_no_silent_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEASURING_CODE", ("gone/*.py",))
    with pytest.raises(FileNotFoundError, match=r"gone/\*\.py fits no file"):
        measuring_files()


def test_a_record_says_when_with_what_and_on_which_machine() -> None:
    facts = provenance("cpu")
    assert facts["date"] == datetime.now(UTC).strftime("%Y-%m-%d")
    assert re.fullmatch(r"CPU, \d+ threads", facts["device"])
    assert set(facts["versions"]) == {"torch", "transformers", "tokenizers", "numpy", "scipy"}
    assert facts.keys() >= {"system", "commit", "dirty"}
    text = json.dumps(facts)
    assert str(Path.home()) not in text
    assert str(HARNESS.parent) not in text


def git(folder: Path, *args: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *names, *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(module, "_HARNESS", tmp_path)
    git_state.cache_clear()
    yield tmp_path
    git_state.cache_clear()


def test_commit_and_dirty_flag(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    (repository / "untracked.json").write_text("{}")
    assert git_state() == {"commit": head, "dirty": False}
    (repository / "a.py").write_text("2\n")
    git_state.cache_clear()
    assert git_state() == {"commit": head, "dirty": True}


def test_outside_a_repository_commit_and_flag_are_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HARNESS", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    git_state.cache_clear()
    try:
        assert git_state() == {"commit": None, "dirty": None}
    finally:
        git_state.cache_clear()


MEMBERS = tuple(
    WheelMember(package="tiny-gguf", version="1.0", path=f"tiny/{i}", sha256="0" * 64) for i in (1, 2)
)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HubRepo(repo="Org/Name", revision="abc123"), "Org/Name at abc123"),
        (
            PackagedGguf(members=MEMBERS, filename="tiny.gguf", sha256="0" * 64),
            "tiny.gguf in tiny-gguf 1.0",
        ),
        (LocalDir(path=Path("/home/someone/secret")), "a local checkpoint"),
    ],
)
def test_the_source_is_named_without_a_folder(source: Source, words: str) -> None:
    assert describe_source(ModelSpec(id="m", title="M", source=source, license="none")) == words
