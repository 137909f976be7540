"""From a question to evidence: draw prompts, sweep, check the instrument, keep the answer.

What is measured is kept group by group: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.edits import Exit, Probe
from harness.effects import BASELINE, METRICS, Effects, PromptRecord
from harness.engine.blocks import Stack
from harness.engine.parity import Parity, check_parity
from harness.engine.sweep import CONSTANCY, GroupResult, Item, sweep
from harness.evidence import Check, Evidence, Question, read
from harness.experiments import NO_OP, SUITE, Experiment, skip_everything
from harness.latency import speedups
from harness.models.loading import LoadedModel
from harness.protocols import Protocol
from harness.provenance import code_digest, describe_source, provenance
from harness.statistics.summary import summarize
from harness.store import Partial, Store
from tasks.sampling import draw_suite
from tasks.suites import suite_digest

NO_OP_LIMIT_NATS = 1e-6
POSITIVE_CONTROL_NATS = 0.1
FINAL_EXIT_LIMIT_NATS = 1e-6
CONSTANT_OUTPUT_NATS = 1e-3

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Subject:
    """A loaded model, ready to be swept; its parity with transformers is checked on construction.

    Raises ParityError and UnsupportedArchitecture.
    """

    loaded: LoadedModel

    def __post_init__(self) -> None:
        _ = self.parity

    @cached_property
    def stack(self) -> Stack:
        """The model taken apart into blocks."""
        return Stack(self.loaded.model)

    @cached_property
    def parity(self) -> Parity:
        """How far the engine's baseline is from the model's own logits."""
        texts = ("The capital of France is", "def add(a, b):\n    return a", "1 2 3 4 5 6 7")
        return check_parity(self.stack, [self.loaded.encode(text) for text in texts])

    def question(self, experiment: Experiment, protocol: Protocol, seed: int) -> Question:
        """The question this model is asked."""
        import torch
        import transformers

        loaded = self.loaded
        return Question(
            model=loaded.spec.id,
            experiment=experiment.name,
            protocol=protocol,
            seed=seed,
            n_layers=self.stack.n_layers,
            definition=experiment.definition(protocol, self.stack.n_layers),
            suite_digest=suite_digest(SUITE),
            weights_digest=loaded.weights_digest,
            tokenizer_digest=loaded.tokenizer_digest,
            dtype=loaded.dtype,
            device=str(self.stack.device.type),
            attn_implementation=loaded.attn_implementation,
            torch=torch.__version__.split("+")[0],
            transformers=transformers.__version__,
            code=code_digest(),
        )


def measure(
    subject: Subject,
    experiment: Experiment,
    protocol: Protocol,
    seed: int,
    store: Store,
    *,
    remeasure: bool = False,
    memory_bytes: int = 2 * 2**30,
    progress: Callable[[str, int], Any] | None = None,
) -> Evidence:
    """The evidence for one cell: from the store, or measured now and kept there.

    `progress(label, total)` opens a progress bar: a context manager that yields a function of cells done.
    Raises what the sweep, the draw and the store raise; EvidenceCorrupt for a stored record that is damaged.
    """
    question = subject.question(experiment, protocol, seed)
    with store.lock(question):
        known = None if remeasure else store.get(question)
        if known is not None:
            return known
        evidence = _measure(subject, experiment, question, store, memory_bytes, progress)
        return read(store.put(evidence))  # what is judged now is, to the digit, what will be judged again


def _measure(
    subject: Subject,
    experiment: Experiment,
    question: Question,
    store: Store,
    memory_bytes: int,
    progress: Callable[[str, int], Any] | None,
) -> Evidence:
    start = time.perf_counter()
    loaded = subject.loaded
    draw = draw_suite(
        SUITE, n_per_family=experiment.prompts_per_family, seed=question.seed, encode=loaded.encode
    )
    items, records = [], []
    for pair in draw.pairs:
        ids = loaded.encode(pair.clean.text)
        answer, foil = (
            loaded.encode(pair.clean.text + end)[-1] for end in (pair.clean.answer, pair.clean.foil)
        )
        items.append(Item(ids=tuple(ids), answer=answer, foil=foil, text=pair.clean.text))
        clean = pair.clean
        records.append(
            PromptRecord(
                text=clean.text,
                answer=clean.answer,
                foil=clean.foil,
                family=clean.family,
                template=clean.template,
                n_tokens=len(ids),
                seed=question.seed,
            )
        )
    probes = experiment.probes(question.protocol, question.n_layers)
    open_bar = progress or _no_bar
    metrics: dict[str, np.ndarray]
    base: dict[str, np.ndarray] = {}
    checks: tuple[Check, ...] = ()
    if experiment.timed:
        with open_bar(question.cell, len(items)) as advance:
            times = speedups(subject.loaded.model, [i.ids for i in items], probes[0], advance)  # type: ignore[arg-type]
        metrics = {"speedup": times[None]}
    else:
        controls = (NO_OP, skip_everything(question.n_layers))
        cells = (len(probes) + len(controls)) * len(items)
        with open_bar(question.cell, cells) as advance:
            table, base = _sweep_resumed(
                subject, items, (*probes, *controls), experiment, question, store, memory_bytes, advance
            )
        metrics = {name: values[: len(probes)] for name, values in table.items()}
        checks = _checks(subject, question, probes, table, base)
    effects = Effects(probes=probes, prompts=tuple(records), metrics=metrics, baseline=base)
    return Evidence(
        question=question,
        effects=effects,
        checks=checks,
        provenance={
            **provenance(str(subject.stack.device)),
            "source": describe_source(loaded.spec),
            "prompts_rejected": len(draw.rejected),
            "seconds": round(time.perf_counter() - start, 1),
        },
        summary=summarize(effects),
    )


def _sweep_resumed(
    subject: Subject,
    items: list[Item],
    probes: tuple[Probe, ...],
    experiment: Experiment,
    question: Question,
    store: Store,
    memory_bytes: int,
    advance: Progress,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The sweep, begun where an interrupted one stopped, its state kept after every group."""
    names = METRICS + (CONSTANCY if experiment.constancy else ())
    shape = (len(probes), len(items))
    kept = store.get_partial(question, shape) or Partial(
        metrics={name: np.full(shape, np.nan) for name in names},
        baseline={name: np.full(len(items), np.nan) for name in BASELINE},
        done=np.zeros(len(items), dtype=bool),
    )
    advance(float(kept.done.sum() * len(probes)))

    def keep(group: GroupResult) -> None:
        columns = list(group.indices)
        for name in names:
            kept.metrics[name][:, columns] = group.metrics[name]
        for name in BASELINE:
            kept.baseline[name][columns] = group.baseline[name]
        kept.done[columns] = True
        store.put_partial(question, kept)

    missing = np.flatnonzero(~kept.done).tolist()
    if missing:
        sweep(
            subject.stack,
            items,
            probes,
            constancy=experiment.constancy,
            memory_bytes=memory_bytes,
            only=missing,
            on_group=keep,
            on_progress=advance,
        )
    return dict(kept.metrics), dict(kept.baseline)


def _checks(
    subject: Subject,
    question: Question,
    probes: tuple[Probe, ...],
    table: dict[str, np.ndarray],
    base: dict[str, np.ndarray],
) -> tuple[Check, ...]:
    """Controls and sanity checks. Rows after the probes are the no-op and skip-everything controls."""
    kl = table["kl_nats"]
    floor, reach = float(np.abs(kl[-2]).max()), float(kl[-1].mean())
    finite = all(np.isfinite(v).all() for v in (*table.values(), *base.values()))
    accuracy = float((base["answer_logprob"] > base["foil_logprob"]).mean())
    checks = [
        Check(
            name="finite",
            passed=bool(finite),
            value=float(finite),
            sentence="every measured number is finite",
        ),
        Check(
            name="no_op",
            passed=floor <= NO_OP_LIMIT_NATS,
            value=floor,
            sentence=f"patching a block's output with itself moves at most {NO_OP_LIMIT_NATS:g} nats "
            "(this is the numeric floor)",
        ),
        Check(
            name="positive_control",
            passed=reach >= POSITIVE_CONTROL_NATS,
            value=reach,
            sentence=f"skipping every block moves at least {POSITIVE_CONTROL_NATS:g} nats on average",
        ),
        Check(
            name="parity",
            passed=True,
            value=subject.parity.max_logit_gap,
            sentence="largest gap between the engine's logits and the model's own on load",
        ),
        Check(
            name="base_accuracy",
            passed=True,
            value=accuracy,
            sentence="share of prompts on which the unedited model prefers the answer to the foil",
            gate=False,
        ),
    ]
    last = question.n_layers - 1
    if Exit(layer=last, normed=True) in probes:
        gap = float(np.abs(kl[probes.index(Exit(layer=last, normed=True))]).max())
        checks.append(
            Check(
                name="final_exit",
                passed=gap <= FINAL_EXIT_LIMIT_NATS,
                value=gap,
                sentence="early exit at the last block equals the full model",
            )
        )
    if "kl_to_first_nats" in table:
        moved = float(np.abs(table["kl_to_first_nats"][: len(probes)]).max())
        checks.append(
            Check(
                name="output_depends_on_prompt",
                passed=moved > CONSTANT_OUTPUT_NATS,
                value=moved,
                sentence="the edited output differs between prompts (largest KL to the first prompt's, nats)",
                gate=question.protocol is Protocol.SOUND,
            )
        )
    return tuple(checks)


class _no_bar:
    """A progress bar that shows nothing."""

    def __init__(self, label: str, total: int) -> None:
        del label, total

    def __enter__(self) -> Progress:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        return None
