"""The workers as the parent sees them: started, asked, and given up with a reason when they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, Any


class ContenderFailed(RuntimeError):
    """A contender could not be imported, raised, or died; the message is the line to report."""


class Crewman:
    """One worker process. `command` replaces the worker, for tests."""

    def __init__(self, name: str, threads: int, command: Sequence[str] | None = None) -> None:
        self.name = name
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the worker)
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "harness.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=_environment(threads),
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def ask(self, **message: Any) -> dict[str, Any]:
        """The worker's answer. Raises ContenderFailed where it is an error or there is none."""
        sender, answers = self._process.stdin, self._process.stdout
        assert sender is not None
        assert answers is not None
        try:
            print(json.dumps(message), file=sender, flush=True)
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise ContenderFailed(f"the worker ended with code {code}; its last line: {self._last_line()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderFailed(answer["error"])
        return answer

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(none)"


def _environment(threads: int) -> dict[str, str]:
    """The parent's, with the thread count, and without the network: the checkpoint is a folder."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
