"""Greedy continuations: what a model writes as it is, and while directions are added to its stream.

A direction is added at the last position of every step: at the prompt's last token, and at each token that is written.
What comes before the prompt's last token is read unedited, once a prompt, and its cache is shared by all edits. The
forward pass is the model's own, with its own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.edits import Action, Edit, InvalidEdit, Probe, Stream
from harness.engine.architectures import body, config
from harness.engine.blocks import Stack
from harness.engine.editing import DonorPrompts, DonorVectors
from harness.engine.memory import FLOAT, OutOfMemory, Shape, is_out_of_memory

ROWS = {"cpu": 128, "cuda": 4096}
"""Continuations that are written at a time at most."""
UNWRITTEN = -1
"""Stands where no token was asked for."""
NON_FINITE = -2
"""Stands from the step on at which no token could be chosen: a NaN among its logits, or a largest one that is
infinite."""


@dataclass(frozen=True, kw_only=True)
class Continuations:
    """What one group of prompts gave: `indices` into the prompts, tokens [probe, prompt, step], which may be
    NON_FINITE.
    """

    indices: tuple[int, ...]
    tokens: Int[np.ndarray, "probe prompt step"]


def generate(
    stack: Stack,
    prompts: Sequence[Sequence[int]],
    probes: Sequence[Probe],
    donors: Mapping[str, DonorPrompts | DonorVectors],
    *,
    new_tokens: int,
    memory_bytes: int = 2 * 2**30,
    only: Iterable[int] | None = None,
    on_group: Callable[[Continuations], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Int[np.ndarray, "probe prompt step"]:
    """The likeliest next token, `new_tokens` times, of every prompt under every addition.

    After an end-of-text token follow only copies of it. From the step on whose logits are not finite, before an end of
    text, there is only NON_FINITE: the argmax of NaN is a token, but none that the model chose.

    donors      stored vectors by site, for the additions that name them
    memory_bytes  budget for everything but the weights; batches are cut to fit it, and halved when memory runs out
    only        indices of the prompts that are asked for; the others' tokens are UNWRITTEN. Batches of whole groups
                depend on the budget and not on this
    on_group    called with each finished group of prompts, before the next begins
    on_progress called with the number of probe x prompt cells done since the last call

    Raises InvalidEdit for anything but additions to resid_post at the last position, OutOfMemory.
    """
    writer = _Writer(stack, prompts, _steps(stack, probes, donors), len(probes), new_tokens, on_progress)
    tokens = np.full((len(probes), len(prompts), new_tokens), UNWRITTEN, dtype=np.int64)
    wanted = set(range(len(prompts)) if only is None else only)
    for group, rows in writer.groups(memory_bytes):
        missing = tuple(i for i in group if i in wanted)
        if not missing:
            continue
        cells = [(probe, i) for i in missing for probe in range(len(probes))]
        for first in range(0, len(cells), rows):
            part = cells[first : first + rows]
            tokens[tuple(np.array(part).T)] = writer.write(part)
        if on_group is not None:
            on_group(Continuations(indices=missing, tokens=tokens[:, missing]))
    return tokens


def generate_unedited(
    stack: Stack,
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int,
    memory_bytes: int = 2 * 2**30,
    on_progress: Callable[[float], None] | None = None,
) -> Int[np.ndarray, "prompt step"]:
    """The likeliest next token of the model as it is, `new_tokens` times, of every prompt; otherwise as `generate`.

    Raises InvalidEdit where there is nothing to continue or to write, OutOfMemory.
    """
    writer = _Writer(stack, prompts, {}, 1, new_tokens, on_progress)
    tokens = np.full((len(prompts), new_tokens), UNWRITTEN, dtype=np.int64)
    for group, _ in writer.groups(memory_bytes):
        tokens[list(group)] = writer.write([(0, i) for i in group])
    return tokens


def end_tokens(model: nn.Module) -> tuple[int, ...]:
    """Ids of the tokens that end a text, ascending; () where the model names none."""
    found: set[int] = set()
    for given in (config(model), getattr(model, "generation_config", None)):
        value = getattr(given, "eos_token_id", None)
        found |= set() if value is None else {value} if isinstance(value, int) else set(value)
    return tuple(sorted(found))


def row_bytes(stack: Stack, length: int, new_tokens: int) -> int:
    """Upper bound on the bytes that one continuation of a prompt of so many tokens needs, weights apart.

    Its cache, the activations of its prompt in one block, and two rows of logits.
    """
    s = Shape.of(stack)
    cache = (
        2 * len(stack.blocks) * (length + new_tokens) * max(s.d_kv, s.d_model if _has_states(stack) else 0)
    )
    block = length * (6 * s.d_model + 3 * s.d_mlp + 3 * s.d_heads + 6 * s.d_kv) + s.n_heads * length**2
    return FLOAT * (cache + block + 2 * s.vocab)


class _Writer:
    """Writes batches of continuations of equally long prompts."""

    def __init__(
        self,
        stack: Stack,
        prompts: Sequence[Sequence[int]],
        steps: Mapping[int, Float[Tensor, "probe d_model"]],
        n_probes: int,
        new_tokens: int,
        on_progress: Callable[[float], None] | None,
    ) -> None:
        if new_tokens < 1 or not prompts or not all(map(len, prompts)):
            raise InvalidEdit(
                "a continuation needs prompts of at least one token, and at least one token to write"
            )
        self.stack, self.prompts, self.steps, self.n_probes = stack, prompts, steps, n_probes
        self.new_tokens, self.on_progress = new_tokens, on_progress or (lambda _: None)
        self.ends = torch.tensor(end_tokens(stack.model), dtype=torch.long, device=stack.device)

    def groups(self, memory_bytes: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Prompts of one length, and how many continuations of theirs are written at a time.

        A group is what an interruption can lose: as many prompts as go together, or one.
        """
        by_length: dict[int, list[int]] = {}
        for i, prompt in enumerate(self.prompts):
            by_length.setdefault(len(prompt), []).append(i)
        for length, indices in sorted(by_length.items()):
            need = row_bytes(self.stack, length, self.new_tokens)
            if need > memory_bytes:
                raise OutOfMemory(
                    f"one continuation of {length} + {self.new_tokens} tokens needs {need / 2**30:.2f} GiB, the budget "
                    f"is {memory_bytes / 2**30:.2f} GiB: give --memory {need / 2**30 + 0.05:.1f}"
                )
            rows = min(ROWS.get(self.stack.device.type, ROWS["cpu"]), memory_bytes // need)
            together = max(1, rows // self.n_probes)
            for first in range(0, len(indices), together):
                yield tuple(indices[first : first + together]), rows

    def write(self, cells: Sequence[tuple[int, int]]) -> Int[np.ndarray, "cell step"]:
        """The continuations of these (probe, prompt) cells; halved when memory runs out."""
        done = [0.0]

        def advance(n: float) -> None:
            done[0] += n
            self.on_progress(n)

        try:
            with torch.inference_mode():
                return self._write(cells, advance).cpu().numpy()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(cells) == 1:
                raise OutOfMemory(
                    f"one continuation of {len(self.prompts[cells[0][1]])} + {self.new_tokens} tokens does not fit in "
                    "memory; use a shorter prompt or a smaller model"
                ) from error
        self.on_progress(-done[0])
        if self.stack.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(cells) // 2
        return np.concatenate([self.write(cells[:middle]), self.write(cells[middle:])])

    def _write(
        self, cells: Sequence[tuple[int, int]], advance: Callable[[float], None]
    ) -> Int[Tensor, "cell step"]:
        device, model = self.stack.device, cast("Any", self.stack.model)
        chosen = sorted({prompt for _, prompt in cells})
        ids = torch.tensor([list(self.prompts[i]) for i in chosen], device=device)
        of = torch.tensor([chosen.index(prompt) for _, prompt in cells], device=device)
        probe = torch.tensor([probe for probe, _ in cells], device=device)
        cache = None
        if ids.shape[1] > 1:
            cache = cast("Any", body(model))(input_ids=ids[:, :-1], use_cache=True).past_key_values
            cache.reorder_cache(of)  # a row for every cell
        token = ids[of, -1:]
        written = torch.empty((len(cells), self.new_tokens), dtype=torch.long, device=device)
        ended = torch.zeros_like(token, dtype=torch.bool)
        lost = torch.zeros_like(ended)
        with _added(self.stack, {layer: steps[probe] for layer, steps in self.steps.items()}):
            for at in range(self.new_tokens):
                out = model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                logits = out.logits[:, -1]
                lost |= ~ended & ~torch.isfinite(logits.amax(dim=-1, keepdim=True))  # NaN is its own maximum
                token = torch.where(ended, token, logits.argmax(dim=-1, keepdim=True))
                ended |= torch.isin(token, self.ends)
                written[:, at:] = token.masked_fill(lost, NON_FINITE)  # what follows an end are copies of it
                advance(len(cells) / self.new_tokens)
                if bool((ended | lost).all()):
                    advance(len(cells) * (1.0 - (at + 1) / self.new_tokens))
                    break
        return written


@contextmanager
def _added(stack: Stack, steps: Mapping[int, Float[Tensor, "row d_model"]]) -> Iterator[None]:
    """Each row's step is added to the block's output at the last position while this is open."""

    def adding(step: Tensor) -> Callable[[nn.Module, Any, Any], Any]:
        def after(_: nn.Module, __: Any, output: Any) -> Any:
            value = (output[0] if isinstance(output, tuple) else output).clone()
            value[:, -1] += step.to(value.dtype)
            return (value, *output[1:]) if isinstance(output, tuple) else value

        return after

    with ExitStack() as opened:
        for layer, step in steps.items():
            handle = stack.blocks[layer].block.register_forward_hook(adding(step))
            opened.callback(handle.remove)
        yield


def _steps(
    stack: Stack, probes: Sequence[Probe], donors: Mapping[str, DonorPrompts | DonorVectors]
) -> dict[int, Float[Tensor, "probe d_model"]]:
    """What each probe adds after each block that any of them edits."""
    steps: dict[int, Tensor] = {}
    for row, probe in enumerate(probes):
        if not isinstance(probe, Edit) or probe.action is not Action.ADD or probe.positions != (-1,):
            raise InvalidEdit(
                f"'{probe}': text is written under additions at the last position, and no other edit"
            )
        vectors = donors.get(probe.donor or "")
        if not isinstance(vectors, Mapping):
            raise InvalidEdit(f"'{probe}': no direction of that name was given")
        assert probe.strength is not None
        for site in probe.sites:
            if site.stream is not Stream.RESID_POST or site.dims or site.layer >= stack.n_layers:
                raise InvalidEdit(
                    f"'{probe}': text is written under additions to whole resid_post of L0 to L{stack.n_layers - 1}"
                )
            width = stack.unembedding.shape[1]
            table = steps.setdefault(site.layer, torch.zeros(len(probes), width, device=stack.device))
            table[row] = probe.strength * vectors[site].to(stack.device)
    if not steps:
        raise InvalidEdit("a continuation needs at least one probe")
    return steps


def _has_states(stack: Stack) -> bool:
    """Whether some block is a convolution, whose state is as wide as the stream."""
    return any(parts.n_heads == 0 for parts in stack.blocks)
