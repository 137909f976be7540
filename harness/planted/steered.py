"""What the steering experiments measure of a light planted model, in closed form: numbers and texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from harness.planted import read_plan
from harness.planted.light_steps import LightPlan, stepped_logits
from harness.planted.two_skills import TwoSkillsPlan
from harness.planted.writers import D_MODEL

if TYPE_CHECKING:
    from harness.evidence import Evidence

IN_NATS = ("kl_nats", "answer_logprob", "foil_logprob", "forms_logprob")

Steps = Float[np.ndarray, "probe layer d_model"]
"""What is added after each block, probe by probe."""


class Steered:
    """A light model of two skills or one that can be steered, built in `directory`, and its closed form `plan`."""

    plan: LightPlan

    def __init__(self, directory: Path, cache: Path) -> None:
        from harness.measure import Subject
        from harness.models import LocalDir, ModelSpec, load

        spec = ModelSpec(id="planted", title="planted", source=LocalDir(path=directory), license="none")
        self.subject = Subject(load(spec, cache_dir=cache))
        plan = read_plan(directory)
        assert isinstance(plan, LightPlan)
        self.plan = plan

    @property
    def planted(self) -> Float[np.ndarray, "direction d_model"]:
        """The directions along which something is planted."""
        plan = self.plan
        return plan.directions if isinstance(plan, TwoSkillsPlan) else plan.direction[None]

    @property
    def reader(self) -> int:
        """The block that reads them: a step along them reaches it from the blocks before it, and nothing from it on."""
        return self.plan.reader if isinstance(self.plan, TwoSkillsPlan) else self.plan.read_layer

    def steps(self, evidence: Evidence) -> Steps:
        """What each probe adds after each block."""
        from harness.experiments import EXPERIMENTS
        from harness.measure import draw_prompts
        from harness.steering import read_steering

        experiment = EXPERIMENTS[evidence.question.experiment]
        drawn = draw_prompts(self.subject.loaded, experiment, evidence.question.seed)
        donors = self.subject.donors(experiment, evidence.question, drawn)
        steps = np.zeros((len(evidence.effects.probes), evidence.question.n_layers, D_MODEL))
        for row, probe in enumerate(evidence.effects.probes):
            steering = read_steering(probe)
            assert steering is not None
            vectors = donors[str(steering.direction)]
            assert isinstance(vectors, Mapping)
            for site, vector in vectors.items():
                if site.layer in steering.layers:
                    steps[row, site.layer] = steering.strength * vector.double().cpu().numpy()
        return steps

    def without_planted(self, steps: Steps) -> Steps:
        """The steps with nothing along the planted directions."""
        basis = np.linalg.svd(self.planted, full_matrices=False)
        along = basis.Vh[basis.S > 1e-4]
        rest: np.ndarray = steps - steps @ along.T @ along
        return rest

    def numbers(self, evidence: Evidence, steps: Steps) -> dict[str, Float[np.ndarray, "probe prompt"]]:
        """Closed form of what the evidence holds in nats, on its prompts, under these steps."""
        asked = [metric for metric in IN_NATS if metric in evidence.effects.metrics]
        found = {metric: np.full((len(steps), len(evidence.effects.prompts)), np.nan) for metric in asked}
        encode = self.subject.loaded.encode
        for column, prompt in enumerate(evidence.effects.prompts):
            ids = encode(prompt.text)
            logp = _log_softmax(self._logits([ids] * len(steps), steps))
            base = _log_softmax(self.plan.logits(ids)[None])[0]
            answer, foil = (encode(prompt.text + word)[-1] for word in (prompt.answer, prompt.foil))
            written = [encode(prompt.text + form) for form in surface_forms(prompt.answer.strip())]
            forms = sorted({form[len(ids)] for form in written if form[: len(ids)] == ids} - {foil})
            values = {
                "kl_nats": (np.exp(base) * (base - logp)).sum(axis=1),
                "answer_logprob": logp[:, answer],
                "foil_logprob": logp[:, foil],
                "forms_logprob": np.logaddexp.reduce(logp[:, forms], axis=1),
            }
            for metric in asked:
                found[metric][:, column] = values[metric]
        return found

    def texts(
        self, evidence: Evidence, steps: Steps, new_tokens: int
    ) -> Iterator[Int[np.ndarray, "probe step"]]:
        """The greedy text of each prompt under each step, which is added at every token from the prompt's last on."""
        for prompt in evidence.effects.prompts:
            ids = [self.subject.loaded.encode(prompt.text)] * len(steps)
            for written in range(new_tokens):
                chosen = self._logits(ids, steps, positions=written + 1).argmax(axis=1)
                ids = [[*row, int(token)] for row, token in zip(ids, chosen, strict=True)]
            yield np.array(ids)[:, -new_tokens:]

    def _logits(
        self,
        ids: Sequence[Sequence[int]],
        steps: Steps,
        *,
        positions: int = 1,
    ) -> Float[np.ndarray, "probe vocab"]:
        by_layer = {layer: steps[:, layer] for layer in range(steps.shape[1])}
        return stepped_logits(self.plan, np.array(ids), by_layer, positions=positions)


def surface_forms(word: str) -> list[str]:
    """A word with and without a space before it, in lower, upper and title case and as it stands."""
    return [f"{space}{w}" for w in (word, word.lower(), word.upper(), word.title()) for space in ("", " ")]


def _log_softmax(logits: Float[np.ndarray, "row vocab"]) -> Float[np.ndarray, "row vocab"]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
