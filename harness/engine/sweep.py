"""The one-pass sweep: every edit over every prompt, reading each layer's weights once per group.

The obvious way runs the whole model once per edit. Here a group of equal-length prompts climbs the layers
once. Below its first edited layer a variant *is* the baseline, so it joins the stack only there; from then on
the stack is computed together. Only the last position reaches the last block's MLP and the unembedding.

    baseline   ──L0──L1──L2── ... ──L29── logits
    skip L1           └──────────── ... ──┘
    skip L2               └──────── ... ──┘

`harness.engine.naive` is the obvious way, and what this must equal edit by edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.edits import Edit, Exit, InvalidEdit, Probe, Site, Stream
from harness.effects import BASELINE, METRICS
from harness.engine.architectures import config
from harness.engine.blocks import BlockRun, Stack
from harness.engine.editing import Donors, edited_post, needs_run
from harness.engine.metrics import Baseline, baseline, compare, entropy_nats, kl_nats

CHUNK_TOKENS = 1536
"""Rows x positions per block call: large enough for the GEMM, small enough for the cache."""
GROUP_PROMPTS = 16
"""Prompts per group at most, so that progress and interrupted work are kept in small steps."""
LOGIT_BYTES = 96 * 2**20
"""Bound on one chunk of float32 logits."""
CONSTANCY = ("kl_to_first_nats", "kl_to_uniform_nats")
"""Optional metrics of how far an edited distribution depends on the prompt, per probe and prompt, nats:
KL(edited(prompt) || edited(prompt 0)) and KL(edited(prompt) || uniform) = ln V - H."""


class NonFiniteLogits(ArithmeticError):
    """The unedited model gives NaN or infinite logits: there is nothing to compare with."""


class OutOfMemory(MemoryError):
    """One prompt with one edit does not fit."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A tokenised prompt; `answer` and `foil` are token ids; `text` is for messages."""

    ids: tuple[int, ...]
    answer: int
    foil: int
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """What one group of prompts gave: `indices` into the items, metrics [probe, prompt], baseline [prompt]."""

    indices: tuple[int, ...]
    metrics: Mapping[str, Float[np.ndarray, "probe prompt"]]
    baseline: Mapping[str, Float[np.ndarray, " prompt"]]


@dataclass(kw_only=True)
class _Plan:
    """The probes of one pass over one group, sorted by the layer at which each leaves the baseline."""

    probes: Sequence[Probe]
    edits: list[tuple[int, Edit]] = field(default_factory=list)
    exits: list[tuple[int, Exit]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for row, probe in enumerate(self.probes):
            if isinstance(probe, Exit):
                self.exits.append((row, probe))
            else:
                self.edits.append((row, probe))
        self.edits.sort(key=lambda pair: pair[1].layers[0])


def sweep(
    stack: Stack,
    items: Sequence[Item],
    probes: Sequence[Probe],
    *,
    donors: Mapping[str, Sequence[Sequence[int]] | Mapping[Site, Tensor]] | None = None,
    constancy: bool = False,
    memory_bytes: int = 2 * 2**30,
    only: Iterable[int] | None = None,
    on_group: Callable[[GroupResult], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Measure every probe on every item: metrics [probe, item] and baseline [item], float64.

    donors      prompts (token ids, one list per item, same length as the item) or stored vectors by site
    constancy   also measure CONSTANCY; the reference is item 0
    memory_bytes  budget for activations; groups shrink to fit and are halved when memory runs out all the same
    only        indices to measure (resuming); other cells stay NaN
    on_group    called with each finished group, before the next begins
    on_progress called with the number of probe x prompt cells done since the last call

    Raises InvalidEdit for a site the model lacks, NonFiniteLogits, OutOfMemory.
    """
    _validate(stack, items, probes, donors or {})
    wanted = sorted(set(range(len(items)) if only is None else only) | ({0} if constancy else set()))
    names = METRICS + (CONSTANCY if constancy else ())
    metrics = {name: np.full((len(probes), len(items)), np.nan) for name in names}
    base = {name: np.full(len(items), np.nan) for name in BASELINE}
    runner = _Runner(stack, items, probes, donors or {}, constancy, on_progress or (lambda _: None))
    with torch.inference_mode():
        for indices in _groups(stack, items, wanted, len(probes), memory_bytes):
            for result in runner.run(indices):
                for name in names:
                    metrics[name][:, result.indices] = result.metrics[name]
                for name in BASELINE:
                    base[name][list(result.indices)] = result.baseline[name]
                if on_group is not None:
                    on_group(result)
    return metrics, base


class _Runner:
    """Runs groups; halves a group (prompts first, then probes) when memory runs out."""

    def __init__(
        self,
        stack: Stack,
        items: Sequence[Item],
        probes: Sequence[Probe],
        donors: Mapping[str, Sequence[Sequence[int]] | Mapping[Site, Tensor]],
        constancy: bool,
        on_progress: Callable[[float], None],
    ) -> None:
        self.stack, self.items, self.probes = stack, items, probes
        self.donors, self.on_progress = donors, on_progress
        self.constancy = constancy
        self.reference: Tensor | None = None

    def run(self, indices: tuple[int, ...]) -> list[GroupResult]:
        try:
            return [self._whole(indices, range(len(self.probes)))]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        if self.stack.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(indices) > 1:
            middle = len(indices) // 2
            return self.run(indices[:middle]) + self.run(indices[middle:])
        return [self._split_probes(indices, range(len(self.probes)))]

    def _split_probes(self, indices: tuple[int, ...], rows: range) -> GroupResult:
        if len(rows) == 1:
            raise OutOfMemory(
                f"one prompt of {len(self.items[indices[0]].ids)} tokens with the single edit "
                f"'{self.probes[rows[0]]}' does not fit in memory; use a shorter prompt or a smaller model"
            )
        middle = len(rows) // 2
        halves = []
        for part in (rows[:middle], rows[middle:]):
            try:
                halves.append(self._whole(indices, part))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                halves.append(self._split_probes(indices, part))
        joined = {name: np.concatenate([half.metrics[name] for half in halves]) for name in halves[0].metrics}
        return GroupResult(indices=indices, metrics=joined, baseline=halves[0].baseline)

    def _whole(self, indices: tuple[int, ...], rows: range) -> GroupResult:
        plan = _Plan(probes=[self.probes[row] for row in rows])
        group = [self.items[i] for i in indices]
        device = self.stack.device
        ids = torch.tensor([item.ids for item in group], device=device)
        donors = Donors.of(self.stack, self.donors, indices)
        step = len(rows) * len(group) / self.stack.n_layers
        final, normed, base_resid = _climb(self.stack, ids, plan, donors, lambda: self.on_progress(step))
        logits = self.stack.unembed(base_resid)
        if not torch.isfinite(logits).all():
            bad = group[int((~torch.isfinite(logits)).any(dim=-1).nonzero()[0, 0])]
            raise NonFiniteLogits(
                f"the unedited model gives NaN or infinite logits on {bad.text!r}: check the weights, or "
                "measure in float32 (--dtype float32)"
            )
        base = baseline(
            logits,
            torch.tensor([item.answer for item in group], device=device),
            torch.tensor([item.foil for item in group], device=device),
        )
        metrics = self._read_out(base, final, normed, rows, first=indices[0] == 0)
        return GroupResult(
            indices=indices,
            metrics={name: value.double().cpu().numpy() for name, value in metrics.items()},
            baseline={name: value.double().cpu().numpy() for name, value in base.summary().items()},
        )

    def _read_out(
        self,
        base: Baseline,
        final: Float[Tensor, "probe prompt d_model"],
        normed: Sequence[bool],
        rows: range,
        *,
        first: bool,
    ) -> dict[str, Float[Tensor, "probe prompt"]]:
        n_probes, n_prompts, d_model = final.shape
        vocab = base.logprobs.shape[-1]
        if self.reference is None and self.constancy:
            self.reference = final.new_empty((len(self.probes), vocab), dtype=torch.float32)
        flat = final.view(-1, d_model)
        probe_of = torch.arange(n_probes, device=flat.device).repeat_interleave(n_prompts)
        prompt_of = torch.arange(n_prompts, device=flat.device).repeat(n_probes)
        with_norm = torch.tensor(normed, device=flat.device)[probe_of]
        out: dict[str, Tensor] = {}
        for flag in (True, False):
            for chunk in torch.split((with_norm == flag).nonzero()[:, 0], max(1, LOGIT_BYTES // (4 * vocab))):
                if not len(chunk):
                    continue
                logits = self.stack.unembed(flat[chunk], normed=flag)
                logprobs = torch.log_softmax(logits.float(), dim=-1)
                values = compare(base, prompt_of[chunk], logprobs)
                if self.reference is not None:
                    values |= self._constancy(logprobs, probe_of[chunk] + rows.start, prompt_of[chunk], first)
                for name, value in values.items():
                    out.setdefault(name, final.new_empty(len(flat), dtype=torch.float32))[chunk] = value
        return {name: values.view(n_probes, n_prompts) for name, values in out.items()}

    def _constancy(
        self, logprobs: Tensor, probe: Tensor, prompt: Tensor, first: bool
    ) -> dict[str, Float[Tensor, " row"]]:
        """CONSTANCY of these rows; rows are in order, so prompt 0 of a probe comes before the others."""
        assert self.reference is not None
        if first:
            is_reference = prompt == 0
            self.reference[probe[is_reference]] = logprobs[is_reference]
        return {
            "kl_to_first_nats": kl_nats(logprobs, self.reference[probe]),
            "kl_to_uniform_nats": float(np.log(logprobs.shape[-1])) - entropy_nats(logprobs),
        }


def _climb(
    stack: Stack,
    ids: Int[Tensor, "prompt pos"],
    plan: _Plan,
    donors: Donors,
    on_layer: Callable[[], None],
) -> tuple[Float[Tensor, "probe prompt d_model"], list[bool], Float[Tensor, "prompt d_model"]]:
    """One pass over the layers; the last position's final residual of every probe, and of the baseline."""
    n, length = ids.shape
    stack.prepare(length)
    resid = stack.embed(ids)
    d_model = resid.shape[-1]
    variants = resid.new_empty((len(plan.edits), n, length, d_model))
    final = resid.new_empty((len(plan.probes), n, d_model))
    normed = [True] * len(plan.probes)
    active, alike = 0, dict[int, bool]()
    for layer in range(stack.n_layers):
        last = layer == stack.n_layers - 1
        edited = {v for v in range(active) if layer in plan.edits[v][1].layers}
        joining = range(active, len(plan.edits))
        entering = [v for v in joining if plan.edits[v][1].layers[0] == layer]
        run = stack.run(layer, resid, with_z=_needs_z(plan, layer, entering))
        donors.step(layer, with_z=_needs_z(plan, layer, range(len(plan.edits))))
        for v in edited:
            variants[v] = _edit_active(stack, layer, plan.edits[v][1], variants[v], donors)
        plain = {v: alike[v] for v in range(active) if v not in edited}
        _advance(stack, layer, variants, plain, last_only=last)
        for v in entering:
            variants[v] = edited_post(stack, layer, plan.edits[v][1], run, donors)
        alike |= {v: _prompts_alike(variants[v]) for v in (*edited, *entering)}
        active += len(entering)
        resid = run.resid_post
        for row, exit_ in plan.exits:
            if exit_.layer == layer:
                final[row], normed[row] = resid[:, -1], exit_.normed
        on_layer()
    for v, (row, _) in enumerate(plan.edits):
        final[row] = variants[v][:, -1]
    if active != len(plan.edits):
        raise InvalidEdit(f"{len(plan.edits) - active} edits never fired")
    return final, normed, resid[:, -1]


def _advance(
    stack: Stack, layer: int, variants: Tensor, plain: Mapping[int, bool], *, last_only: bool
) -> None:
    """Run the block, in place, on the variants that are not edited here, in chunks of about CHUNK_TOKENS.

    `plain[v]` says that v's rows are equal over the prompts (an erased stream): one row is run for all of them.
    """
    _, n, length, d_model = variants.shape
    rows = variants.view(-1, length, d_model)
    wanted = [v * n + i for v, one in plain.items() for i in range(1 if one else n)]
    index = torch.tensor(wanted, dtype=torch.long, device=rows.device)
    for chunk in torch.split(index, max(1, CHUNK_TOKENS // length)) if wanted else ():
        x = rows[chunk]
        mid = x + stack.attn_out(layer, stack.operator(layer, x))
        if last_only:
            mid = mid[:, -1:]
            rows[chunk, -1:] = mid + stack.mlp_out(layer, mid)
        else:
            rows[chunk] = mid + stack.mlp_out(layer, mid)
    for v, one in plain.items():
        if one:
            variants[v, 1:] = variants[v, :1]


def _prompts_alike(rows: Float[Tensor, "prompt pos d_model"]) -> bool:
    """True when every prompt's rows are equal to the bit: whatever follows is equal as well."""
    return len(rows) > 1 and bool((rows == rows[:1]).all())


def _edit_active(stack: Stack, layer: int, edit: Edit, x: Tensor, donors: Donors) -> Tensor:
    """A variant that left the baseline earlier and is edited here again."""
    if needs_run(edit, layer):
        with_z = any(s.layer == layer and s.stream is Stream.Z for s in edit.sites)
        run = stack.run(layer, x, with_z=with_z)
    else:
        run = BlockRun(resid_pre=x, z=None, operator_raw=x, attn_out=x, resid_mid=x, mlp_out=x, resid_post=x)
    return edited_post(stack, layer, edit, run, donors)


def _needs_z(plan: _Plan, layer: int, variants: Iterable[int]) -> bool:
    sites = (site for v in variants for site in plan.edits[v][1].sites)
    return any(site.layer == layer and site.stream is Stream.Z for site in sites)


def _groups(
    stack: Stack, items: Sequence[Item], wanted: Sequence[int], n_probes: int, memory_bytes: int
) -> list[tuple[int, ...]]:
    """Equal-length groups within the budget; the group of item 0 comes first, the longest next."""
    by_length: dict[int, list[int]] = {}
    for i in wanted:
        by_length.setdefault(len(items[i].ids), []).append(i)
    d_model = int(config(stack.model).hidden_size)
    groups: list[tuple[int, ...]] = []
    for length, indices in sorted(by_length.items(), reverse=True):
        per_prompt = (n_probes + 24) * length * d_model * 4
        size = max(1, min(GROUP_PROMPTS, memory_bytes // per_prompt))
        groups += [tuple(indices[i : i + size]) for i in range(0, len(indices), size)]
    return sorted(groups, key=lambda group: 0 not in group)


def _validate(
    stack: Stack,
    items: Sequence[Item],
    probes: Sequence[Probe],
    donors: Mapping[str, Sequence[Sequence[int]] | Mapping[Site, Tensor]],
) -> None:
    if not items or not probes:
        raise InvalidEdit("a sweep needs at least one prompt and one probe")
    for probe in probes:
        for layer in (probe.layer,) if isinstance(probe, Exit) else probe.layers:
            if not 0 <= layer < stack.n_layers:
                raise InvalidEdit(f"'{probe}': the model has layers L0 to L{stack.n_layers - 1}")
        if isinstance(probe, Edit):
            for site in probe.sites:
                heads = stack.blocks[site.layer].n_heads
                if site.head is not None and not 0 <= site.head < heads:
                    raise InvalidEdit(f"'{probe}': block {site.layer} has {heads} heads")
            if probe.donor is not None and probe.donor not in donors and probe.donor != "self":
                raise InvalidEdit(f"'{probe}': no donor of that name was given")
            shortest = min(len(item.ids) for item in items)
            if any(not -shortest <= p < shortest for p in probe.positions or ()):
                raise InvalidEdit(f"'{probe}': a prompt has only {shortest} tokens")
    for name, donor in donors.items():
        if isinstance(donor, Mapping):
            continue
        if [len(ids) for ids in donor] != [len(item.ids) for item in items]:
            raise InvalidEdit(f"donor '{name}' must have one prompt per item, of equal token length")


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError) and not isinstance(error, OutOfMemory)
    ) or ("can't allocate memory" in text or "not enough memory" in text)
