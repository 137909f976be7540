"""The user's model cache: directories that are complete or not there at all. Torch-free.

A directory is built beside its final name, gets its manifest last, and is renamed into place; so a name that
exists is complete, and an interrupted build leaves only a `.tmp-` directory that the next build removes. One
file lock per model keeps two processes from building the same thing: the second waits and uses the first's.
A directory that is there is used without a lock and without writing, so a shared read-only cache works.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.models.progress import notice
from harness.models.spec import CacheUnwritable, ModelError, WeightsCorrupt

CACHE_VARIABLE = "CLAIMS_SUITE_CACHE"
MANIFEST = "manifest.json"

_UNWRITABLE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EEXIST,
    }
)
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def cache_root(cache_dir: Path | None = None) -> Path:
    """`cache_dir`, or the directory named by CLAIMS_SUITE_CACHE, or the user's cache directory."""
    if cache_dir is not None:
        return cache_dir
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("claims-suite"))


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn "disk full", "read-only" and their kin into CacheUnwritable; let every other error pass."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        number = os_error_number(error)
        if number is None or not is_unwritable(number):
            raise
        raise CacheUnwritable(directory, os.strerror(number)) from error


def is_unwritable(number: int) -> bool:
    """Whether this errno says that the directory is read-only, full, or no directory."""
    return number in _UNWRITABLE


def os_error_number(error: Exception) -> int | None:
    """The errno of an OSError, or of the Rust error inside an exception of `tokenizers` or `safetensors`."""
    if isinstance(error, OSError):
        return error.errno
    found = _RUST_OS_ERROR.search(str(error))
    return int(found.group(1)) if found else None


def require_space(directory: Path, n_bytes: int) -> None:
    """Raise CacheUnwritable where fewer than `n_bytes` are free, before minutes are spent to find out."""
    free = shutil.disk_usage(directory).free
    if free < n_bytes:
        raise CacheUnwritable(
            directory, f"{free / 1e6:.0f} MB are free and {n_bytes / 1e6:.0f} MB are needed"
        )


def ensure_directory(
    target: Path, lock: Path, build: Callable[[Path], Mapping[str, Any]], *, root: Path
) -> Path:
    """`target`, built by `build(temporary)` if it is not there; atomic, and safe between processes.

    `build` fills the directory it is given and returns what the manifest says about its origin. The digests
    read for the manifest are remembered in `root`, so that the first `verify` need not read the files again.
    Raises CacheUnwritable, and whatever `build` raises; nothing half-written stays behind in either case.
    """
    if target.is_dir():
        return target
    from filelock import FileLock, Timeout

    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        try:
            held.acquire(timeout=1.0)
        except Timeout:
            notice(f"waiting for another process that is preparing {target.name}")
            held.acquire()
        try:
            if not target.is_dir():
                _build(target, build, root)
        finally:
            held.release()
    return target


def _build(target: Path, build: Callable[[Path], Mapping[str, Any]], root: Path) -> None:
    for leftover in target.parent.glob(f"{target.name}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        origin = build(temporary)
        states = _write_manifest(temporary, origin)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for name, (state, digest) in states.items():
        path = (target / name).resolve()
        _keep_note(_note(root, str(path)), {"path": str(path), **state}, digest)


def _write_manifest(directory: Path, origin: Mapping[str, Any]) -> dict[str, tuple[dict[str, int], str]]:
    """Write the manifest; per file, its state before it was read, and its SHA-256."""
    states = {}
    for path in sorted(directory.iterdir()):
        _to_disk(path)
        states[path.name] = (_state(path), sha256_of(path))
    files = {name: {"size": state["size"], "sha256": digest} for name, (state, digest) in states.items()}
    text = json.dumps({"origin": dict(origin), "files": files}, indent=2)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")
    _to_disk(directory / MANIFEST)
    return states


def _to_disk(path: Path) -> None:
    """Flush to the medium, so that a power cut cannot leave a complete-looking file of zeros."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, root: Path) -> str:
    """SHA-256 of a file, read in full at most once per (path, size, modification time).

    The note is kept in `root`/digests. A file that was altered or truncated by any ordinary means has another
    size or time and is read again; a cache that cannot be written costs a full read each time.
    """
    real = path.resolve()
    return remembered(root, str(real), {"path": str(real), **_state(real)}, lambda: sha256_of(real))


def remembered(root: Path, name: str, facts: Mapping[str, Any], compute: Callable[[], str]) -> str:
    """`compute()`, a digest that `facts` determine: taken from the note `name` where that has the same facts.

    `facts` must survive JSON unchanged. A note that is not there or unreadable is written anew; a cache that
    cannot be written costs a computation each time.
    """
    note = _note(root, name)
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if {key: known[key] for key in facts} == facts:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = compute()
    _keep_note(note, facts, digest)
    return digest


def _state(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _note(root: Path, name: str) -> Path:
    return root / "digests" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _keep_note(note: Path, facts: Mapping[str, Any], digest: str) -> None:
    temporary = note.with_name(f"{note.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({**facts, "sha256": digest}), encoding="utf-8")
        temporary.replace(note)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a cached directory. Raises WeightsCorrupt where it is not there or not readable."""
    path = directory / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for entry in manifest["files"].values():
            entry["size"], entry["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsCorrupt(f"{path} is missing or unreadable; delete {directory} and run again") from error
    return manifest


def verify(directory: Path, root: Path) -> dict[str, Any]:
    """The manifest, after checking size and SHA-256 of every file against it. Raises WeightsCorrupt."""
    manifest = read_manifest(directory)
    for name, entry in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise WeightsCorrupt(f"{path} is missing; delete {directory} and run again")
        if (size := path.stat().st_size) != entry["size"]:
            raise WeightsCorrupt(
                f"{path} has {size} bytes, expected {entry['size']}; delete {directory} and run again"
            )
        if (found := remembered_sha256(path, root)) != entry["sha256"]:
            raise WeightsCorrupt(
                f"{path} has sha256 {found}, expected {entry['sha256']}; delete {directory} and run again"
            )
    return manifest
