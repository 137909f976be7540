"""A planted model as the tests hold it: built, loaded, with its closed form, and measured as a user measures it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.planted import build, read_plan, read_truth
from harness.protocols import Protocol
from harness.store import Store

if TYPE_CHECKING:
    from harness.measure import Subject
    from harness.planted.writers import Plan


class PlantedModel:
    """A model of `kind` built under `root`: loaded as `subject`, its closed form `plan`, its planted.json `truth`."""

    def __init__(self, kind: str, root: Path, **parameters: Any) -> None:
        from harness.measure import Subject
        from harness.models import LocalDir, ModelSpec, load

        directory = build(kind, root / "model", **parameters)
        spec = ModelSpec(id=f"planted_{kind}", title=kind, source=LocalDir(path=directory), license="none")
        self.subject: Subject = Subject(load(spec, cache_dir=root / "cache"))
        self.plan: Plan = read_plan(directory)
        self.truth = read_truth(directory)
        self.store = Store(root=root / "store")

    def measure(self, experiment: str, protocol: Protocol = Protocol.SOUND, seed: int = 42) -> Evidence:
        """The experiment's evidence on the draw of this seed; measured once."""
        from harness.measure import measure

        return measure(self.subject, EXPERIMENTS[experiment], protocol, seed, self.store)

    def encode(self, evidence: Evidence) -> list[list[int]]:
        """Token ids of the evidence's prompts."""
        return [self.subject.loaded.encode(prompt.text) for prompt in evidence.effects.prompts]
