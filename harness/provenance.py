"""Who measured, with what, where: the facts that make a number traceable. No torch at import."""

from __future__ import annotations

import ast
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.models.spec import HubRepo, LocalDir, ModelSpec, PackagedGguf

_HARNESS = Path(__file__).parent
MEASURING_CODE = (
    "adapters/*.py",
    "anatomy.py",
    "checks.py",
    "continuations.py",
    "degeneration.py",
    "edits.py",
    "effects.py",
    "directions.py",
    "donors.py",
    "experiments/*.py",
    "maps.py",
    "measure.py",
    "floor.py",
    "latency.py",
    "mechanism.py",
    "steering.py",
    "engine/*.py",
    "models/gguf_convert.py",
    "models/gguf_file.py",
    "models/loading.py",
    "models/weights.py",
    "protocols.py",
    "../tasks/bands.py",
    "../tasks/contexts.py",
    "../tasks/prompts.py",
    "../tasks/sampling.py",
    "../tasks/slots.py",
    "../tasks/spots.py",
    "../tasks/tokens.py",
)
"""The files a measured number depends on, from this folder; the task families have a digest of their own."""


def measuring_files() -> list[Path]:
    """MEASURING_CODE, one by one. Raises FileNotFoundError for a name that fits no file."""
    found = []
    for name in MEASURING_CODE:
        paths = sorted(_HARNESS.glob(name)) if "*" in name else [_HARNESS / name]
        if not paths:
            raise FileNotFoundError(f"harness/{name} fits no file: mend MEASURING_CODE")
        found += paths
    return found


@cache
def code_digest() -> str:
    """sha256 of the measuring code, as `syntax_digest` has it."""
    return syntax_digest(measuring_files())


def syntax_digest(paths: Iterable[Path]) -> str:
    """sha256 of the syntax trees of these modules: a changed comment or docstring does not change it."""
    digest = hashlib.sha256()
    for path in paths:
        name = path.resolve().relative_to(_HARNESS.parent).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [n for n in body if not _is_text(n)]  # type: ignore[attr-defined]
        digest.update(f"{name}\n{ast.dump(tree)}".encode())
    return digest.hexdigest()


def provenance(device: str) -> dict[str, Any]:
    """Date (UTC), machine, versions, and the commit of the suite with a flag for uncommitted changes."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": device_name(device),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {p: version(p) for p in ("torch", "transformers", "tokenizers", "numpy", "scipy")},
        **git_state(),
    }


def describe_source(spec: ModelSpec) -> str:
    """Where a model's weights came from, without naming a folder of anyone's machine."""
    match spec.source:
        case HubRepo(repo=repo, revision=revision):
            return f"{repo} at {revision}"
        case PackagedGguf(members=members, filename=name):
            packages = ", ".join(dict.fromkeys(f"{m.package} {m.version}" for m in members))
            return f"{name} in {packages}"
        case LocalDir():
            return "a local checkpoint"


def device_name(device: str) -> str:
    """'CPU, 2 threads' or the GPU's name."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


@cache
def git_state() -> dict[str, Any]:
    """Commit of the working tree and whether tracked files differ from it; nulls outside a repository."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=_HARNESS, capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
