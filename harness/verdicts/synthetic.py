"""Tables of effects with known means and noise, for the self-tests of statistics and criteria."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from harness.edits import Probe, skip
from harness.effects import Effects, PromptRecord
from harness.steering import Steering


def table(
    probes: Sequence[Probe],
    means: Mapping[
        str, Float[np.ndarray, " probes"] | Float[np.ndarray, "probes families"] | Sequence[float]
    ],
    *,
    noise: float = 1e-4,
    families: Sequence[str] | int = 12,
    templates: int = 5,
    prompts: int = 2,
    seed: int = 42,
) -> Effects:
    """A table whose true means are `means`, per metric and probe, or per probe and family.

    Template means and prompts within a template each scatter normally with standard deviation `noise`,
    separately for every probe and metric. `seed` is both the generator's and the prompts' own.
    """
    rng = np.random.default_rng(seed)
    names = [f"family{i:02d}" for i in range(families)] if isinstance(families, int) else list(families)
    metrics = {}
    for metric, values in means.items():
        true = np.asarray(values, dtype=float)
        if true.ndim == 1:
            true = np.repeat(true[:, None], len(names), axis=1)
        shape = (len(probes), len(names), templates)
        centres = true[:, :, None] + noise * rng.standard_normal(shape)
        cells = centres[..., None] + noise * rng.standard_normal((*shape, prompts))
        metrics[metric] = cells.reshape(len(probes), -1)
    records = tuple(
        PromptRecord(
            text=f"{family} {template} {prompt} of seed {seed}",
            answer=" a",
            foil=" b",
            family=family,
            template=f"t{template}",
            n_tokens=8,
            seed=seed,
        )
        for family in names
        for template in range(templates)
        for prompt in range(prompts)
    )
    return Effects(
        probes=tuple(probes),
        prompts=records,
        metrics=metrics,
        baseline={"entropy_nats": rng.random(len(records))},
    )


def profile(
    means: Sequence[float] | np.ndarray, *, noise: float = 1e-4, seed: int = 42
) -> Mapping[str, Effects]:
    """A skip sweep with these mean kl_nats per layer (or per layer and family), as tables to judge."""
    values = np.asarray(means, dtype=float)
    n_families = values.shape[1] if values.ndim == 2 else 12
    probes = [skip(layer) for layer in range(len(values))]
    return {"layer_sweep": table(probes, {"kl_nats": values}, noise=noise, seed=seed, families=n_families)}


def with_value(effects: Effects, metric: str, row: int, column: int, value: float) -> Effects:
    """The same table with one cell replaced."""
    values = effects.metrics[metric].copy()
    values[row, column] = value
    return replace(effects, metrics={**effects.metrics, metric: values})


def steered(
    steerings: Sequence[Steering],
    gain: Callable[[Steering, PromptRecord], float],
    *,
    families: Sequence[str],
    templates: int = 6,
    prompts: int = 1,
    base: float = -1.0,
) -> Effects:
    """A table of steering without noise: each adds `gain` nats to the answer's log-probability, which is `base`."""
    probes = [steering.edit() for steering in steerings]
    still = table(
        probes,
        {"kl_nats": [0.0] * len(probes)},
        noise=0.0,
        families=families,
        templates=templates,
        prompts=prompts,
    )
    answers = base + np.array([[gain(s, prompt) for prompt in still.prompts] for s in steerings])
    foils, unedited = np.full_like(answers, -3.0), np.full_like(answers[0], base)
    return replace(
        still,
        metrics={
            **still.metrics,
            "answer_logprob": answers,
            "forms_logprob": answers,
            "foil_logprob": foils,
        },
        baseline={**still.baseline, "answer_logprob": unedited, "foil_logprob": foils[0]},
    )
