"""The sweep: every probe over every prompt, group by group, within a memory budget.

`climb` is the one pass over the layers that each group makes; `naive` is what it must equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.edits import Action, Edit, Exit, InvalidEdit, Probe
from harness.effects import BASELINE, CONTRAST, METRICS
from harness.engine.blocks import Stack
from harness.engine.climb import climb
from harness.engine.editing import SELF, Blocks, DonorPrompts, Donors, DonorVectors
from harness.engine.forest import Forest, Spots
from harness.engine.fused import FusedBlocks, qualifies
from harness.engine.memory import Budget, OutOfMemory, Shape, chunk_rows, groups, is_out_of_memory, waves
from harness.engine.metrics import baseline
from harness.engine.plain import PlainBlocks
from harness.engine.readout import Readout

CONSTANCY = ("kl_to_first_nats", "kl_to_uniform_nats")
"""Optional metrics of how far an edited distribution depends on the prompt, per probe and prompt, nats:
KL(edited(prompt) || edited(prompt 0)) and KL(edited(prompt) || uniform) = ln V - H."""


class NonFiniteLogits(ArithmeticError):
    """The unedited model gives NaN or infinite logits: there is nothing to compare with."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A tokenised prompt; `answer` and `foil` are token ids; `text` is for messages.

    `forms` are tokens that begin the answer in another surface form; `spots` are named positions (see `Edit.spot`).
    """

    ids: tuple[int, ...]
    answer: int
    foil: int
    text: str = ""
    forms: tuple[int, ...] = ()
    spots: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """What one group of prompts gave: `indices` into the items, metrics [probe, prompt], baseline [prompt]."""

    indices: tuple[int, ...]
    metrics: Mapping[str, Float[np.ndarray, "probe prompt"]]
    baseline: Mapping[str, Float[np.ndarray, " prompt"]]


def sweep(
    stack: Stack,
    items: Sequence[Item],
    probes: Sequence[Probe],
    *,
    donors: Mapping[str, DonorPrompts | DonorVectors] | None = None,
    constancy: bool = False,
    contrasted: bool = False,
    answered: bool = False,
    memory_bytes: int = 2 * 2**30,
    only: Iterable[int] | None = None,
    on_group: Callable[[GroupResult], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    blocks: Blocks | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Measure every probe on every item: metrics [probe, item] and baseline [item], float64.

    donors      prompts (token ids, one list per item, same length as the item) or stored vectors by site
    constancy   also measure CONSTANCY; the reference is item 0, and nothing is taken to be constant
    contrasted  also measure harness.effects.CONTRAST
    answered    also measure answer_match: whether the answer is the sole likeliest token
    memory_bytes  budget for everything but the weights; groups and edits are cut to fit it, and halved when
                memory runs out all the same
    only        indices to measure (resuming); other cells stay NaN. Groups depend on the budget and not on
                this, so a resumed sweep gives the same numbers to the bit where whole groups are missing
    on_group    called with each finished group, before the next begins
    on_progress called with the number of probe x prompt cells done since the last call
    blocks      the fused or the plain blocks; by default the fused ones where the model qualifies

    Raises InvalidEdit for a site the model lacks, NonFiniteLogits, OutOfMemory.
    """
    donors = donors or {}
    _validate(stack, items, probes, donors)
    blocks = blocks or pick_blocks(stack)
    wanted = set(range(len(items)) if only is None else only) | ({0} if constancy else set())
    names = metric_names(constancy=constancy, contrasted=contrasted, answered=answered)
    metrics = {name: np.full((len(probes), len(items)), np.nan) for name in names}
    base = {name: np.full(len(items), np.nan) for name in BASELINE}
    reference = _reference(stack, len(probes)) if constancy else None
    readout = Readout(stack, reference, contrasted=contrasted, answered=answered)
    runner = _Runner(blocks, items, probes, donors, readout, memory_bytes, on_progress or (lambda _: None))
    with torch.inference_mode():
        for group in runner.groups():
            missing = tuple(i for i in group if i in wanted)
            for result in runner.run(missing) if missing else ():
                for name in names:
                    metrics[name][:, result.indices] = result.metrics[name]
                for name in BASELINE:
                    base[name][list(result.indices)] = result.baseline[name]
                if on_group is not None:
                    on_group(result)
    return metrics, base


def metric_names(
    *, constancy: bool = False, contrasted: bool = False, answered: bool = False
) -> tuple[str, ...]:
    """The metrics that such a sweep measures."""
    also = (CONSTANCY if constancy else ()) + (CONTRAST if contrasted else ())
    return METRICS + also + (("answer_match",) if answered else ())


def pick_blocks(stack: Stack) -> Blocks:
    """The fused blocks where every block of the model qualifies, else the plain ones."""
    return FusedBlocks(stack) if qualifies(stack) else PlainBlocks(stack)


class _Runner:
    """Runs groups; halves a group (prompts first, then probes) when memory runs out."""

    def __init__(
        self,
        blocks: Blocks,
        items: Sequence[Item],
        probes: Sequence[Probe],
        donors: Mapping[str, DonorPrompts | DonorVectors],
        readout: Readout,
        memory_bytes: int,
        on_progress: Callable[[float], None],
    ) -> None:
        self.blocks, self.items, self.probes, self.donors = blocks, items, probes, donors
        self.on_progress = on_progress
        stack = blocks.stack
        self.chunk_rows = chunk_rows(stack.device)
        self.readout, self.constancy = readout, readout.reference is not None
        self.budget = Budget(
            bytes=memory_bytes,
            shape=Shape.of(stack),
            chunk_rows=self.chunk_rows,
            n_donors=sum(not isinstance(d, Mapping) for d in donors.values()),
            n_referenced=len(probes) if self.constancy else 0,
            attention_scores=stack.device.type == "cuda",
            float32=stack.unembedding.dtype == torch.float32,
        )

    def groups(self) -> list[tuple[int, ...]]:
        """Prompts that begin alike go together. Item 0 is a group of its own where it is the reference."""
        rest = range(1 if self.constancy else 0, len(self.items))
        lengths = [len(item.ids) for item in self.items]
        shares = self.blocks.shares_prefixes
        order = sorted(rest, key=lambda i: self.items[i].ids if shares else (lengths[i], *self.items[i].ids))
        found = groups(self.budget, lengths, self.probes, order, equal_lengths=not shares)
        return [(0,), *found] if self.constancy else found

    def run(self, indices: tuple[int, ...]) -> Iterator[GroupResult]:
        """The results of these prompts: one, or more where they had to be halved."""
        first_layer = [probe.layers[0] for probe in self.probes]
        rows = sorted(range(len(self.probes)), key=first_layer.__getitem__)
        done = [0.0]

        def advance(cells: float) -> None:
            done[0] += cells
            self.on_progress(cells)

        try:
            lengths = [len(self.items[i].ids) for i in indices]
            yield self._group(indices, waves(self.budget, lengths, self.probes, rows), advance)
            return
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if len(indices) == 1 or not is_out_of_memory(error):
                raise
        self.on_progress(-done[0])
        if self.blocks.stack.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(indices) // 2
        yield from self.run(indices[:middle])
        yield from self.run(indices[middle:])

    def _group(
        self, indices: tuple[int, ...], passes: list[list[int]], advance: Callable[[float], None]
    ) -> GroupResult:
        metrics: dict[str, np.ndarray] = {}
        for rows in passes:
            for part, found in self._waves(indices, rows, advance):
                for name, values in found.metrics.items():
                    table = metrics.setdefault(name, np.full((len(self.probes), len(indices)), np.nan))
                    table[part] = values
        return GroupResult(indices=indices, metrics=metrics, baseline=found.baseline)

    def _waves(
        self, indices: tuple[int, ...], rows: list[int], advance: Callable[[float], None]
    ) -> Iterator[tuple[list[int], GroupResult]]:
        """One pass of these probes; halved when memory runs out with a single prompt."""
        done = [0.0]

        def counted(cells: float) -> None:
            done[0] += cells
            advance(cells)

        try:
            yield rows, self._pass(indices, rows, counted)
            return
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if len(indices) > 1 or not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise OutOfMemory(
                    f"one prompt of {len(self.items[indices[0]].ids)} tokens with the single edit "
                    f"'{self.probes[rows[0]]}' does not fit in memory; use a shorter prompt or a smaller model"
                ) from error
        advance(-done[0])
        if self.blocks.stack.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(rows) // 2
        yield from self._waves(indices, rows[:middle], advance)
        yield from self._waves(indices, rows[middle:], advance)

    def _pass(
        self, indices: tuple[int, ...], rows: list[int], advance: Callable[[float], None]
    ) -> GroupResult:
        """One climb of these prompts under these probes, and its read-out."""
        stack, group = self.blocks.stack, [self.items[i] for i in indices]
        given = [d for d in self.donors.values() if not isinstance(d, Mapping)]
        columns = [[self.items[i].ids, *(d[i] for d in given)] for i in indices]
        spots = [dict(item.spots) for item in group]
        forest = Forest(columns, share=self.blocks.shares_prefixes, spots=spots)
        donors = Donors.of(stack, self.donors, forest)
        cells = len(rows) * len(group)
        summit = climb(
            self.blocks,
            forest,
            [self.probes[row] for row in rows],
            donors,
            self.chunk_rows,
            lambda share: advance(share * cells),
            constants=not self.constancy,
        )
        logits = stack.unembed(summit.base)
        if not torch.isfinite(logits).all():
            bad = group[int((~torch.isfinite(logits)).any(dim=-1).nonzero()[0, 0])]
            raise NonFiniteLogits(
                f"the unedited model gives NaN or infinite logits on {bad.text!r}: check the weights, or "
                "measure in float32 (--dtype float32)"
            )
        base = baseline(
            logits,
            torch.tensor([item.answer for item in group], device=stack.device),
            torch.tensor([item.foil for item in group], device=stack.device),
            _forms(group).to(stack.device) if self.readout.contrasted else None,
        )
        metrics = self.readout(base, summit, rows, first=indices[0] == 0)
        lacking = torch.tensor(
            [[lacks(self.probes[row], spot) for spot in spots] for row in rows], device=stack.device
        )
        metrics = {name: value.masked_fill(lacking, torch.nan) for name, value in metrics.items()}
        return GroupResult(
            indices=indices,
            metrics={name: value.double().cpu().numpy() for name, value in metrics.items()},
            baseline={name: value.double().cpu().numpy() for name, value in base.summary().items()},
        )


def lacks(probe: Probe, spots: Spots) -> bool:
    """Whether the edit is at a spot of which the prompt has no position: there is nothing to measure."""
    return isinstance(probe, Edit) and probe.spot is not None and not spots.get(probe.spot)


def _reference(stack: Stack, n_probes: int) -> Tensor:
    return torch.empty((n_probes, len(stack.unembedding)), device=stack.device)


def _forms(items: Sequence[Item]) -> Int[Tensor, "prompt form"]:
    """Tokens of the answer's surface forms, the answer's own first; -1 where an item has fewer."""
    rows = [[item.answer, *(f for f in item.forms if f != item.answer)] for item in items]
    width = max(map(len, rows))
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])


def _validate(
    stack: Stack,
    items: Sequence[Item],
    probes: Sequence[Probe],
    donors: Mapping[str, DonorPrompts | DonorVectors],
) -> None:
    if not items or not probes:
        raise InvalidEdit("a sweep needs at least one prompt and one probe")
    for item in items:
        if not item.ids:
            raise InvalidEdit(f"the prompt {item.text!r} has no tokens")
    if SELF in donors:
        raise InvalidEdit(f"a donor may not be called '{SELF}': that name means the edited prompt itself")
    for probe in probes:
        if not isinstance(probe, Edit | Exit):
            raise InvalidEdit(f"'{probe}': adapters are measured by harness.adapters.measuring, not swept")
        for layer in probe.layers:
            if not 0 <= layer < stack.n_layers:
                raise InvalidEdit(f"'{probe}': the model has layers L0 to L{stack.n_layers - 1}")
        if isinstance(probe, Edit):
            for site in probe.sites:
                heads = stack.blocks[site.layer].n_heads
                if site.head is not None and not 0 <= site.head < heads:
                    raise InvalidEdit(f"'{probe}': block {site.layer} has {heads} heads")
                width = (
                    stack.blocks[site.layer].head_dim if site.head is not None else stack.unembedding.shape[1]
                )
                assert width is not None
                if site.dims and site.dims[-1] >= width:
                    raise InvalidEdit(f"'{probe}': {site.stream} has dimensions 0 to {width - 1}")
            if probe.donor is not None and probe.donor not in donors and probe.donor != SELF:
                raise InvalidEdit(f"'{probe}': no donor of that name was given")
            if probe.action is Action.ADD and not isinstance(donors.get(probe.donor or ""), Mapping):
                raise InvalidEdit(f"'{probe}': a direction is a stored vector, not a prompt")
            if probe.module is not None and probe.module not in stack.blocks[probe.layers[0]].linears:
                raise InvalidEdit(f"'{probe}': block {probe.layers[0]} has no module '{probe.module}'")
            if probe.action is Action.CUT:
                _validate_cut(stack, items, probe)
            shortest = min(len(item.ids) for item in items)
            if any(not -shortest <= p < shortest for p in probe.positions or ()):
                raise InvalidEdit(f"'{probe}': a prompt has only {shortest} tokens")
    for name, donor in donors.items():
        if isinstance(donor, Mapping):
            continue
        if [len(ids) for ids in donor] != [len(item.ids) for item in items]:
            raise InvalidEdit(f"donor '{name}' must have one prompt per item, of equal token length")


def _validate_cut(stack: Stack, items: Sequence[Item], cut: Edit) -> None:
    for layer in cut.layers:
        if not stack.blocks[layer].n_heads:
            raise InvalidEdit(f"'{cut}': block {layer} has no attention, so no edge to cut")
    for item in items:
        n = len(item.ids)
        sources = cut.positions if cut.spot is None else dict(item.spots).get(cut.spot)
        if any(source % n == n - 1 for source in sources or ()):
            raise InvalidEdit(f"'{cut}': a source is the last position of the prompt {item.text!r}")
