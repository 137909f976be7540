"""The cache: complete directories or none, whatever happens while they are made."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.models import cache
from harness.models.cache import cache_root, ensure_directory, remembered_sha256, sha256_of, verify
from harness.models.spec import CacheUnwritable, WeightsCorrupt


def _fill(directory: Path) -> dict[str, str]:
    (directory / "weights").write_bytes(b"w" * 1000)
    (directory / "config").write_bytes(b"c" * 10)
    return {"model": "test"}


def _ensure(root: Path, build: Callable[[Path], dict[str, str]] = _fill) -> Path:
    return ensure_directory(root / "models" / "tiny-v1", root / "models" / "tiny.lock", build, root=root)


def _names(root: Path) -> set[str]:
    return {path.name for path in (root / "models").iterdir()}


def test_root_is_the_argument_then_the_variable_then_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIMS_SUITE_CACHE", str(tmp_path / "named"))
    assert cache_root(tmp_path) == tmp_path
    assert cache_root() == tmp_path / "named"
    monkeypatch.delenv("CLAIMS_SUITE_CACHE")
    assert cache_root().name == "claims-suite"


def test_a_directory_is_built_once_and_verified(tmp_path: Path) -> None:
    target = _ensure(tmp_path)
    assert verify(target, tmp_path)["origin"] == {"model": "test"}
    assert _ensure(tmp_path, lambda _: pytest.fail("built again")) == target
    assert not [name for name in _names(tmp_path) if ".tmp-" in name]


def test_what_was_just_built_is_not_read_again_unless_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = _ensure(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "sha256_of", lambda _: pytest.fail("read again"))
        verify(target, tmp_path)
    weights = target / "weights"
    weights.write_bytes(bytes(1000))
    with pytest.raises(WeightsCorrupt):
        verify(target, tmp_path)


class _Interruption(BaseException):
    """Stands for KeyboardInterrupt, which pytest would take for its own."""


@pytest.mark.parametrize("error", [ValueError("broken"), _Interruption()])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def build(directory: Path) -> dict[str, str]:
        _fill(directory)
        raise error

    with pytest.raises(type(error)):
        _ensure(tmp_path, build)
    assert _names(tmp_path) <= {"tiny.lock"}
    assert verify(_ensure(tmp_path), tmp_path)


_BUILD = """
import sys, time
from pathlib import Path
from harness.models.cache import ensure_directory
root, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def build(directory):
    with log.open("a") as file:
        file.write("start\\n")
    (directory / "half").write_bytes(b"h" * 1000)
    time.sleep(seconds)
    (directory / "weights").write_bytes(b"w" * 1000)
    return {"model": "test"}
ensure_directory(root / "models" / "tiny-v1", root / "models" / "tiny.lock", build, root=root)
"""


def _start(root: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _BUILD, str(root), str(root / "log"), str(seconds)])


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in 20 s"
        time.sleep(0.02)


def test_two_processes_build_once(tmp_path: Path) -> None:
    both = [_start(tmp_path, 1.0), _start(tmp_path, 1.0)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "start\n"
    assert verify(tmp_path / "models" / "tiny-v1", tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL, which lets nothing clean up")
def test_leftovers_of_a_killed_process_are_removed_and_never_used(tmp_path: Path) -> None:
    process = _start(tmp_path, 60.0)
    _wait_for(lambda: bool(list(tmp_path.glob("models/*/half"))))
    process.kill()
    process.wait(timeout=20)
    assert not (tmp_path / "models" / "tiny-v1").exists()
    assert any(".tmp-" in name for name in _names(tmp_path))
    assert set(verify(_ensure(tmp_path), tmp_path)["files"]) == {"config", "weights"}
    assert _names(tmp_path) <= {"tiny-v1", "tiny.lock"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_an_unwritable_cache_is_named_with_its_remedy(tmp_path: Path, number: int) -> None:
    def build(directory: Path) -> dict[str, str]:
        _fill(directory)
        raise OSError(number, os.strerror(number), str(directory / "weights"))

    with pytest.raises(CacheUnwritable) as caught:
        _ensure(tmp_path, build)
    message = str(caught.value)
    assert str(tmp_path / "models") in message
    assert os.strerror(number) in message
    assert "CLAIMS_SUITE_CACHE" in message
    assert "\n" not in message
    assert not [name for name in _names(tmp_path) if ".tmp-" in name]


def test_errors_of_rust_libraries_count_too_and_others_pass(tmp_path: Path) -> None:
    for text, expected in (
        ("I/O error: No space left on device (os error 28)", CacheUnwritable),
        ("I/O error: No such file or directory (os error 2)", RuntimeError),
        ("nothing about the system", RuntimeError),
    ):

        def build(directory: Path, text: str = text) -> dict[str, str]:
            raise RuntimeError(text)

        with pytest.raises(expected):
            _ensure(tmp_path, build)


def test_a_real_write_limit_leaves_no_half_file(tmp_path: Path) -> None:
    """The system itself refuses to write on, as on a full disk (setrlimit works for root as well)."""
    resource = pytest.importorskip("resource", reason="the write limit is a Unix feature")
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from harness.models.cache import ensure_directory\n"
        "from harness.models.spec import CacheUnwritable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "root = Path(sys.argv[1])\n"
        "def build(directory):\n"
        "    (directory / 'weights').write_bytes(b'w' * 100_000)\n"
        "    return {}\n"
        "try:\n"
        "    ensure_directory(root / 'models' / 'tiny-v1', root / 'models' / 'tiny.lock', build, root=root)\n"
        "except CacheUnwritable as error:\n"
        "    print(error)\n"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot write to the model cache" in done.stdout
    assert _names(tmp_path) <= {"tiny.lock"}


def test_a_cache_below_a_file_is_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheUnwritable, match="CLAIMS_SUITE_CACHE"):
        _ensure(tmp_path / "file")


def test_a_finished_directory_needs_no_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = _ensure(tmp_path)

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for method in ("mkdir", "write_text", "replace", "touch"):
        monkeypatch.setattr(Path, method, refuse)
    assert _ensure(tmp_path) == target
    assert verify(target, tmp_path)


@pytest.mark.parametrize(
    "change", ["truncated", "longer", "altered", "removed", "no manifest", "bad manifest"]
)
def test_a_damaged_directory_is_named_with_its_remedy(tmp_path: Path, change: str) -> None:
    target = _ensure(tmp_path)
    verify(target, tmp_path)
    weights = target / "weights"
    expected = json.loads((target / cache.MANIFEST).read_text())["files"]["weights"]["sha256"]
    match change:
        case "truncated":
            weights.write_bytes(b"w" * 999)
        case "longer":
            weights.write_bytes(b"w" * 1001)
        case "altered":
            weights.write_bytes(b"w" * 999 + b"x")
        case "removed":
            weights.unlink()
        case "no manifest":
            (target / cache.MANIFEST).unlink()
        case "bad manifest":
            (target / cache.MANIFEST).write_text('{"files": {"weights": {}}}')
    with pytest.raises(WeightsCorrupt) as caught:
        verify(target, tmp_path)
    message = str(caught.value)
    assert f"delete {target} and run again" in message
    assert ("manifest.json" if "manifest" in change else "weights") in message
    if change in {"truncated", "longer"}:
        assert "bytes, expected 1000;" in message
    if change == "altered":
        assert expected in message
        assert sha256_of(weights) in message


def test_a_digest_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = remembered_sha256(path, tmp_path)
    assert first == sha256_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "sha256_of", lambda _: pytest.fail("read again"))
        assert remembered_sha256(path, tmp_path) == first
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert remembered_sha256(path, tmp_path) == sha256_of(path) != first


def test_a_spoilt_note_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = remembered_sha256(path, tmp_path)
    (note,) = (tmp_path / "digests").iterdir()
    for text in ("", "[]", '{"sha256": "0"}', "null"):
        note.write_text(text)
        assert remembered_sha256(path, tmp_path) == first
