"""From a question to evidence: draw prompts, sweep, check the instrument, keep the answer.

What is measured is kept group by group: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.adapters.items import held_out
from harness.anatomy import Anatomy, Massive
from harness.checks import Baseline, check, fit, read_baseline
from harness.continuations import measure_texts
from harness.degeneration import GENERATED
from harness.directions import Development, DevelopmentPair
from harness.donors import DonorRequest, build_donors
from harness.edits import Probe, Site, to_json
from harness.effects import BASELINE, Effects, PromptRecord
from harness.engine.blocks import Stack
from harness.engine.editing import DonorPrompts, DonorVectors
from harness.engine.massive import find_massive, read_first_token, token_0_vectors
from harness.engine.means import Moments, site_moments
from harness.engine.parity import Parity, check_parity
from harness.engine.screen import screen
from harness.engine.sweep import GroupResult, Item, metric_names, sweep
from harness.evidence import Check, Evidence, Question, read
from harness.experiments import SUITE, Experiment, controls
from harness.experiments.adapters import JSON
from harness.experiments.patching import LEAST_PAIRS, pair_spots
from harness.floor import above_floor
from harness.latency import speedups
from harness.maps import DEVELOPMENT_SEED, development_items, rank_blocks
from harness.mechanism import MEAN, MOVED, OTHER_TASK
from harness.models.cache import cache_root
from harness.models.loading import LoadedModel, rounded
from harness.protocols import Protocol
from harness.provenance import code_digest, describe_source, provenance
from harness.statistics.summary import summarize
from harness.store import Partial, Store
from tasks.prompts import Prompt, PromptPair
from tasks.sampling import NotEnoughPrompts, draw_suite
from tasks.spots import find_spots
from tasks.suites import suite_digest
from tasks.tokens import answer_ids

if TYPE_CHECKING:
    from harness.adapters.measuring import AdaptedTable

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Subject:
    """A loaded model, ready to be swept; its parity with transformers is checked on construction.

    Raises ParityError and UnsupportedArchitecture.
    """

    loaded: LoadedModel
    gradient_checkpointing: bool = False
    """Of adapters that are trained on it: activations are computed twice, for memory; another rounding, no more."""

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

    @cached_property
    def _rounded(self) -> dict[str, Subject]:
        return {}

    def in_dtype(self, dtype: str) -> Subject:
        """The same model with its weights in another precision; "" or its own: itself.

        Raises ParityError.
        """
        if dtype in ("", self.loaded.dtype):
            return self
        if dtype not in self._rounded:
            self._rounded[dtype] = Subject(rounded(self.loaded, dtype))
        return self._rounded[dtype]

    @cached_property
    def _baselines(self) -> dict[tuple[Item, ...], Baseline]:
        return {}

    def baseline(self, items: tuple[Item, ...]) -> Baseline:
        """The unedited model on these prompts; measured once for the experiments that share a draw."""
        if items not in self._baselines:
            self._baselines[items] = read_baseline(self.stack, items)
        return self._baselines[items]

    @cached_property
    def _ranked(self) -> dict[str, tuple[int, ...]]:
        return {}

    @cached_property
    def massive(self) -> Massive:
        """Where the model writes its massive activation, found on the development prompts."""
        return find_massive(self.stack, self.development_prompts)

    @cached_property
    def development_prompts(self) -> tuple[tuple[int, ...], ...]:
        """Prompts for choosing what to look at: a draw of its own, on which no verdict rests."""
        return tuple(pair.clean for pair in self.development_pairs)

    @cached_property
    def development_pairs(self) -> tuple[DevelopmentPair, ...]:
        """The same prompts with their corrupt ones, families and answers."""
        encode = self.loaded.encode
        draw = draw_suite(SUITE, n_per_family=10, seed=DEVELOPMENT_SEED, encode=encode)
        return tuple(
            DevelopmentPair(
                clean=tuple(encode(pair.clean.text)),
                corrupt=tuple(encode(pair.corrupt.text)),
                family=pair.clean.family,
                answer=pair.clean.answer,
            )
            for pair in draw.pairs
        )

    @cached_property
    def development(self) -> Development:
        """The stream at the last position of every development prompt."""
        return Development.of(self.stack, self.development_pairs)

    @cached_property
    def moments(self) -> Mapping[Site, Moments]:
        """Mean activations of every sublayer and head on the development prompts."""
        return site_moments(self.stack, self.development_prompts, heads=True)

    def donors(
        self, experiment: Experiment, question: Question, prompts: DrawnPrompts
    ) -> dict[str, DonorPrompts | DonorVectors]:
        """The experiment's donors, by name."""
        request = DonorRequest(
            stack=self.stack,
            items=prompts.items,
            records=prompts.records,
            corrupt=prompts.corrupt,
            clean=prompts.clean,
            moments=lambda: self.moments,
            development=lambda: self.development,
            seed=question.seed,
        )
        found = build_donors(experiment.donors, request)
        if question.massive is not None:
            found |= _massive_donors(self, prompts.items, prompts.records)
        return found

    def anatomy(self, experiment: Experiment) -> Anatomy:
        """What of this model the experiment's probes depend on."""
        return Anatomy(
            n_layers=self.stack.n_layers,
            heads=(
                tuple(parts.n_heads for parts in self.stack.blocks)
                if experiment.per_head or experiment.reads_heads or experiment.reads_widths
                else ()
            ),
            massive=self.massive if experiment.at_massive else None,
            kv_heads=tuple(p.n_kv_heads for p in self.stack.blocks) if experiment.reads_widths else (),
            d_model=int(self.stack.unembedding.shape[1]) if experiment.reads_widths else 0,
            ranked=self.ranked(experiment.reads_map) if experiment.reads_map else (),
        )

    def ranked(self, family: str) -> tuple[int, ...]:
        """Every block by what its skip moves, most first: mean KL over prompts that adapters may be trained on.

        None of them is a held-out one, and their draw is that of no seed: no verdict rests on them.
        Raises AdapterError (no such family), NotEnoughPrompts.
        """
        if family not in self._ranked:
            self._ranked[family] = rank_blocks(self.stack, development_items(self.loaded, family))
        return self._ranked[family]

    def question(
        self, experiment: Experiment, protocol: Protocol, seed: int, screen: float | None = None
    ) -> Question:
        """The question this model is asked; `screen` is left out where the experiment is not about heads."""
        import torch
        import transformers

        loaded = self.loaded
        anatomy = self.anatomy(experiment)
        return Question(
            model=loaded.spec.id,
            experiment=experiment.name,
            protocol=protocol,
            seed=seed,
            n_layers=self.stack.n_layers,
            definition=experiment.definition(protocol, anatomy),
            suite_digest=suite_digest(experiment.suite),
            weights_digest=loaded.weights_digest,
            tokenizer_digest=loaded.tokenizer_digest,
            dtype=loaded.dtype,
            device=str(self.stack.device.type),
            attn_implementation=loaded.attn_implementation,
            torch=torch.__version__.split("+")[0],
            transformers=transformers.__version__,
            code=code_digest(),
            heads=anatomy.heads,
            massive=anatomy.massive,
            kv_heads=anatomy.kv_heads,
            d_model=anatomy.d_model,
            ranked=anatomy.ranked,
            screen=screen if experiment.per_head else None,
        )


def measure(
    subject: Subject,
    experiment: Experiment,
    protocol: Protocol,
    seed: int,
    store: Store,
    *,
    screen: float | None = None,
    remeasure: bool = False,
    memory_bytes: int = 2 * 2**30,
    progress: Callable[[str, int], Any] | None = None,
) -> Evidence:
    """The evidence for one cell: from the store, or measured now and kept there.

    With `screen`, of an experiment over heads only that share of the probes is measured, chosen by attribution.
    `progress(label, total)` opens a progress bar: a context manager that yields a function of cells done.
    Raises what the sweep, the draw and the store raise; EvidenceCorrupt for a stored record that is damaged.
    """
    subject = subject.in_dtype(experiment.dtype)
    question = subject.question(experiment, protocol, seed, screen)
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
    prompts = draw_prompts(loaded, experiment, question.seed)
    items, records = prompts.items, prompts.records
    asked = experiment.probes(question.protocol, question.anatomy)
    screened = None
    if question.screen is not None:
        screened = screen(subject.stack, items, asked, question.screen, memory_bytes=memory_bytes)
    probes = asked if screened is None else screened.chosen
    open_bar = progress or _no_bar
    metrics: dict[str, np.ndarray]
    base: dict[str, np.ndarray] = {}
    checks: tuple[Check, ...] = ()
    adapters: tuple[Mapping[str, Any], ...] = ()
    floor = 0.0
    if experiment.timed:
        with open_bar(question.cell, len(items)) as advance:
            times = speedups(subject.loaded.model, [i.ids for i in items], probes[0], advance)  # type: ignore[arg-type]
        metrics = {"speedup": times[None]}
    else:
        donors = subject.donors(experiment, question, prompts)
        beside = controls(question.n_layers)
        if experiment.adapters:
            adapted = _measure_adapted(
                subject, experiment, question, prompts, probes, store, memory_bytes, open_bar
            )
            measured, base = dict(adapted.metrics), dict(adapted.baseline)
            controlled = dict(adapted.controlled)
            checks, adapters = adapted.checks, adapted.provenance
        else:
            table, base = _sweep_resumed(
                subject,
                items,
                (*probes, *beside),
                donors,
                experiment,
                question,
                store,
                memory_bytes,
                open_bar,
            )
            measured = {name: values[: len(probes)] for name, values in table.items()}
            controlled = {name: values[len(probes) :] for name, values in table.items()}
        if question.massive is not None and experiment.reads_rise:
            first = read_first_token(subject.stack, [item.ids for item in items])
            measured["rise_log10"] = first.rise_log10(question.massive.dim)
        if experiment.generates and not experiment.adapters:
            rest = (donors, experiment, question, store, memory_bytes, open_bar)
            measured |= _texts_resumed(subject, prompts, probes, len(beside), *rest)
        found = subject.baseline(_one_a_family(items, records))
        as_swept = Effects(probes=probes, prompts=records, metrics=measured, baseline=base)
        checks = (*check(question, as_swept, controlled, found, subject.parity), *checks)
        floor = float(np.maximum(found.noise_nats, np.abs(controlled["kl_nats"][0]).max()))
        metrics = above_floor(question.dtype, measured, floor)
    effects = Effects(
        probes=probes,
        prompts=records,
        metrics=metrics,
        baseline=base,
        unmeasured=() if screened is None else screened.left_out,
        floor_nats=0.0 if question.dtype == "float32" else floor,
    )
    return Evidence(
        question=question,
        effects=effects,
        checks=checks,
        provenance={
            **provenance(str(subject.stack.device)),
            "source": describe_source(loaded.spec),
            "prompts_rejected": prompts.n_rejected,
            **({"pairs_left_out": prompts.n_left_out} if experiment.paired else {}),
            **({} if screened is None else {"screen": screened.summary}),
            **({"adapters": list(adapters)} if adapters else {}),
            "seconds": round(time.perf_counter() - start, 1),
        },
        summary=summarize(effects),
    )


def _measure_adapted(
    subject: Subject,
    experiment: Experiment,
    question: Question,
    prompts: DrawnPrompts,
    probes: Sequence[Probe],
    store: Store,
    memory_bytes: int,
    open_bar: Callable[[str, int], Any],
) -> AdaptedTable:
    """Adapters are trained, and kept, in the user's cache."""
    from harness.adapters.artifacts import Adapters
    from harness.adapters.measuring import measure_adapted
    from harness.adapters.texts import JsonTexts

    texts = None
    if experiment.generates:
        texts = JsonTexts(
            loaded=subject.loaded,
            items=prompts.items,
            asked=tuple(i for i, record in enumerate(prompts.records) if record.family == JSON),
            new_tokens=experiment.generates,
            memory_bytes=memory_bytes,
        )
    adapters = Adapters(root=cache_root(), gradient_checkpointing=subject.gradient_checkpointing)
    families = [record.family for record in prompts.records]
    return measure_adapted(
        subject, question, adapters, prompts.items, probes, store, memory_bytes, open_bar, texts, families
    )


@dataclass(frozen=True, kw_only=True)
class DrawnPrompts:
    """One draw of a suite's prompts: tokenised, and as they are kept beside their effects.

    `corrupt` and `clean` are the token ids of each pair's prompts, one of which is run. `n_left_out` counts pairs that
    cannot be patched position by position, where the experiment asks for those that can.
    """

    items: tuple[Item, ...]
    records: tuple[PromptRecord, ...]
    corrupt: tuple[tuple[int, ...], ...]
    clean: tuple[tuple[int, ...], ...]
    n_rejected: int
    n_left_out: int = 0


def draw_prompts(loaded: LoadedModel, experiment: Experiment, seed: int) -> DrawnPrompts:
    """The prompts an experiment is measured on under a seed. Raises NotEnoughPrompts."""
    draw = draw_suite(
        experiment.suite,
        n_per_family=experiment.prompts_per_family,
        seed=seed,
        encode=loaded.encode,
        verify=held_out if experiment.held_out else None,
    )
    drawn = [p for p in draw.pairs if not experiment.families or p.clean.family in experiment.families]
    pairs = _patchable(loaded, drawn) if experiment.paired else drawn
    items, records = [], []
    for pair in pairs:
        prompt = pair.clean if experiment.runs == "clean" else _asked_of_corrupt(pair)
        ids = tuple(loaded.encode(prompt.text))
        answer, foil = (loaded.encode(prompt.text + end)[-1] for end in (prompt.answer, prompt.foil))
        spots = {
            **(_spots(loaded, prompt) if experiment.spotted else {}),
            **(pair_spots(*_ids_of(loaded, pair)) if experiment.paired else {}),
        }
        forms = _forms(loaded, prompt, {foil}) if experiment.contrasted else ()
        items.append(
            Item(ids=ids, answer=answer, foil=foil, text=prompt.text, forms=forms, spots=tuple(spots.items()))
        )
        records.append(
            PromptRecord(
                text=prompt.text,
                answer=prompt.answer,
                foil=prompt.foil,
                family=prompt.family,
                template=prompt.template,
                n_tokens=len(ids),
                seed=seed,
                spots=tuple(spots),
                n_in_spots=tuple(map(len, spots.values())),
            )
        )
    return DrawnPrompts(
        items=tuple(items),
        records=tuple(records),
        corrupt=tuple(tuple(loaded.encode(pair.corrupt.text)) for pair in pairs),
        clean=tuple(tuple(loaded.encode(pair.clean.text)) for pair in pairs),
        n_rejected=len(draw.rejected),
        n_left_out=len(drawn) - len(pairs),
    )


def _asked_of_corrupt(pair: PromptPair) -> Prompt:
    """The corrupt prompt with the clean one's answer and foil: one logit difference serves both runs."""
    return replace(pair.corrupt, answer=pair.clean.answer, foil=pair.clean.foil)


def _ids_of(loaded: LoadedModel, pair: PromptPair) -> tuple[list[int], list[int]]:
    return loaded.encode(pair.clean.text), loaded.encode(pair.corrupt.text)


def _patchable(loaded: LoadedModel, pairs: Sequence[PromptPair]) -> list[PromptPair]:
    """The pairs that can be patched position by position, and whose answer and foil are the same tokens in both texts.

    Raises NotEnoughPrompts where fewer than LEAST_PAIRS can.
    """
    kept, reasons = [], []
    for pair in pairs:
        clean, corrupt = pair.clean, _asked_of_corrupt(pair)
        try:
            pair_spots(*_ids_of(loaded, pair))
            if answer_ids(clean, loaded.encode) != answer_ids(corrupt, loaded.encode):
                raise ValueError("answer and foil are other tokens after the corrupt text")
        except ValueError as reason:
            reasons.append(f"{clean.text!r}: {reason}")
        else:
            kept.append(pair)
    if len(kept) < LEAST_PAIRS:
        raise NotEnoughPrompts(
            f"{len(kept)} of {len(pairs)} pairs can be patched position by position, and {LEAST_PAIRS} are needed; "
            + (f"left out is, e.g., {reasons[0]}" if reasons else "draw more prompts per family")
        )
    return kept


def _spots(loaded: LoadedModel, prompt: Prompt) -> Mapping[str, tuple[int, ...]]:
    return find_spots(prompt.text, loaded.offsets(prompt.text), prompt.slots)


def _forms(loaded: LoadedModel, prompt: Prompt, without: set[int]) -> tuple[int, ...]:
    """First tokens of the answer with and without a space before it, in lower, upper and title case."""
    word = prompt.answer.strip()
    written = [f"{space}{w}" for space in ("", " ") for w in (word, word.lower(), word.upper(), word.title())]
    before = loaded.encode(prompt.text)
    firsts = []
    for form in written:
        ids = loaded.encode(prompt.text + form)
        if len(ids) > len(before) and ids[: len(before)] == before:
            firsts.append(ids[len(before)])
    return tuple(token for token in dict.fromkeys(firsts) if token not in without)


def _sweep_resumed(
    subject: Subject,
    items: Sequence[Item],
    probes: tuple[Probe, ...],
    donors: Mapping[str, DonorPrompts | DonorVectors],
    experiment: Experiment,
    question: Question,
    store: Store,
    memory_bytes: int,
    open_bar: Callable[[str, int], Any],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The sweep, begun where an interrupted one stopped, its state kept after every group."""
    names = metric_names(constancy=experiment.constancy, contrasted=experiment.contrasted)
    shape = (len(probes), len(items))
    digest = hashlib.sha256(json.dumps([to_json(p) for p in probes]).encode()).hexdigest()
    kept = store.get_partial(question, shape)
    if kept is None or kept.probes != digest:
        kept = Partial(
            metrics={name: np.full(shape, np.nan) for name in names},
            baseline={name: np.full(len(items), np.nan) for name in BASELINE},
            done=np.zeros(len(items), dtype=bool),
            probes=digest,
        )

    def keep(group: GroupResult) -> None:
        columns = list(group.indices)
        for name in names:
            kept.metrics[name][:, columns] = group.metrics[name]
        for name in BASELINE:
            kept.baseline[name][columns] = group.baseline[name]
        kept.done[columns] = True
        store.put_partial(question, kept)

    missing = set(np.flatnonzero(~kept.done).tolist())
    if missing:
        label = question.cell
        if kept.done.any():
            label += f" (resumed: {kept.done.sum()} of {len(items)} prompts are kept)"
        measured = missing | {0} if experiment.constancy else missing  # the reference is measured again
        with open_bar(label, len(probes) * len(measured)) as advance:
            sweep(
                subject.stack,
                items,
                probes,
                donors=donors,
                constancy=experiment.constancy,
                contrasted=experiment.contrasted,
                memory_bytes=memory_bytes,
                only=missing,
                on_group=keep,
                on_progress=advance,
            )
    return {name: kept.metrics[name] for name in names}, dict(kept.baseline)


def _texts_resumed(
    subject: Subject,
    prompts: DrawnPrompts,
    probes: tuple[Probe, ...],
    n_controls: int,
    donors: Mapping[str, DonorPrompts | DonorVectors],
    experiment: Experiment,
    question: Question,
    store: Store,
    memory_bytes: int,
    open_bar: Callable[[str, int], Any],
) -> dict[str, np.ndarray]:
    """What the text under each probe is like, begun where an interrupted run stopped; kept beside the sweep's part."""
    shape = (len(probes) + n_controls, len(prompts.items))
    kept = store.get_partial(question, shape)
    known = {} if kept is None else kept.metrics
    table = {name: known.get(name, np.full(shape, np.nan)) for name in GENERATED}
    rows = slice(len(probes))
    missing = set(np.flatnonzero(np.isnan(table["degenerate"][rows]).any(axis=0)).tolist())

    def keep(indices: tuple[int, ...], found: Mapping[str, np.ndarray]) -> None:
        for name in GENERATED:
            table[name][rows, list(indices)] = found[name]
        if kept is not None:
            store.put_partial(question, replace(kept, metrics={**kept.metrics, **table}))

    if missing:
        with open_bar(f"{question.cell}, texts", len(probes) * len(missing)) as advance:
            measure_texts(
                subject.stack,
                subject.loaded,
                [item.ids for item in prompts.items],
                [item.text for item in prompts.items],
                probes,
                donors,
                new_tokens=experiment.generates,
                memory_bytes=memory_bytes,
                only=missing,
                on_texts=keep,
                on_progress=advance,
            )
    return {name: table[name][rows] for name in GENERATED}


def _one_a_family(items: Sequence[Item], records: Sequence[PromptRecord]) -> tuple[Item, ...]:
    """The first prompt of each family."""
    first = {record.family: item for item, record in reversed(list(zip(items, records, strict=True)))}
    return tuple(first.values())


def _massive_donors(
    subject: Subject, items: Sequence[Item], records: Sequence[PromptRecord]
) -> dict[str, DonorPrompts | DonorVectors]:
    """The donors of the hub-mechanism experiment, by name."""
    mean, moved = token_0_vectors(subject.stack, subject.massive, subject.development_prompts)
    others = []
    for i, (item, record) in enumerate(zip(items, records, strict=True)):
        around = [*range(i + 1, len(items)), *range(i)]
        donor = next(j for j in around if records[j].family != record.family)
        others.append(fit(items[donor].ids, len(item.ids)))
    return {MEAN: mean, MOVED: moved, OTHER_TASK: others}


class _no_bar:
    """A progress bar that shows nothing."""

    def __init__(self, label: str, total: int) -> None:
        del label, total

    def __enter__(self) -> Progress:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        return None
