"""Two models side by side, against hooks on the real modules and against models put together block by block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.engine.architectures import resolve_blocks
from harness.engine.blocks import Stack
from harness.engine.grafts import Take, TwoStacks, chunks, grafted, masked
from harness.engine.memory import OutOfMemory

ARCHITECTURES = ("llama", "qwen2", "gemma3_text", "lfm2")
N_LAYERS = 4
IDS = torch.randint(0, 97, (3, 9), generator=torch.Generator().manual_seed(1))

pytestmark = pytest.mark.usefixtures("one_thread")

Pair = tuple[nn.Module, nn.Module, TwoStacks]


@pytest.fixture(params=ARCHITECTURES)
def pair(request: pytest.FixtureRequest, tiny: Callable[..., nn.Module]) -> Pair:
    """A base, the same with a random update of rank 2 on every linear module, and both as stacks."""
    base = tiny(request.param, layers=N_LAYERS)
    adapted = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(0)
    for parts in resolve_blocks(adapted):
        for linear in parts.linears.values():
            weight: Any = linear.weight
            out, width = weight.shape
            weight.data += (
                torch.randn(out, 2, generator=generator) @ torch.randn(2, width, generator=generator) * 0.1
            )
    return base, adapted, TwoStacks(Stack(base), Stack(adapted))


def layers(model: nn.Module) -> Any:
    return model.model.layers  # type: ignore[union-attr]


def naive(model: nn.Module) -> Tensor:
    """Last-position logits of the model as it is, hooks and all."""
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits[:, -1]  # type: ignore[no-any-return]


@contextmanager
def output_of(block: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """The block's output is change(its input, its output) while open; it must have been run."""
    fired = []

    def hook(_: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        fired.append(1)
        return change(args[0] if args else kwargs["hidden_states"], output.clone())

    handle = block.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
    assert fired


def own_run(model: nn.Module, layer: int) -> tuple[Tensor, Tensor]:
    """Input and output of one block in the model's own run."""
    seen: list[Tensor] = []

    def keep(before: Tensor, after: Tensor) -> Tensor:
        seen.extend((before.clone(), after.clone()))
        return after

    with output_of(layers(model)[layer], keep):
        naive(model)
    return seen[0], seen[1]


def logits(stacks: TwoStacks, *routes: Any) -> Tensor:
    with torch.no_grad():
        return torch.stack([stacks.base.unembed(end) for end in stacks.run(IDS, routes)])


def with_blocks_of(base: nn.Module, adapted: nn.Module, on: tuple[int, ...]) -> nn.Module:
    mixed = copy.deepcopy(base)
    for layer in on:
        layers(mixed)[layer].load_state_dict(layers(adapted)[layer].state_dict())
    return mixed


@pytest.mark.parametrize("on", [(), (0,), (2,), (3,), (0, 3), (1, 2), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_a_mask_is_the_model_put_together_from_those_blocks(pair: Pair, on: tuple[int, ...]) -> None:
    base, adapted, stacks = pair
    torch.testing.assert_close(
        logits(stacks, masked(N_LAYERS, on))[0], naive(with_blocks_of(base, adapted, on)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_a_contribution_is_added_to_the_base_s_own_stream(pair: Pair, layer: int) -> None:
    base, adapted, stacks = pair
    before, after = own_run(adapted, layer)
    with output_of(layers(base)[layer], lambda own, _: own + (after - before)):
        expected = naive(base)
    found = logits(stacks, grafted(N_LAYERS, layer, Take.CONTRIBUTION))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - naive(base)).abs().max() > 1e-2


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_last_position_alone_is_taken_from_the_adapted_run(pair: Pair, layer: int) -> None:
    base, adapted, stacks = pair
    _, after = own_run(adapted, layer)

    def paste(_: Tensor, output: Tensor) -> Tensor:
        output[:, -1] = after[:, -1]
        return output

    with output_of(layers(base)[layer], paste):
        expected = naive(base)
    found = logits(stacks, grafted(N_LAYERS, layer, Take.LAST))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - naive(base)).abs().max() > 1e-2


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_last_position_of_other_prompts_is_given(pair: Pair, layer: int) -> None:
    """Each prompt of three is given the next one's, out of the adapted run."""
    base, adapted, stacks = pair
    _, after = own_run(adapted, layer)

    def paste(_: Tensor, output: Tensor) -> Tensor:
        output[:, -1] = after[[1, 2, 0], -1]
        return output

    with output_of(layers(base)[layer], paste):
        expected = naive(base)
    lasts = stacks.lasts(IDS, [layer])
    torch.testing.assert_close(lasts[layer], after[:, -1], atol=1e-4, rtol=0)
    given = {layer: lasts[layer][[1, 2, 0]]}
    (end,) = stacks.run(IDS, [grafted(N_LAYERS, layer, Take.GIVEN)], given=given)
    torch.testing.assert_close(stacks.base.unembed(end), expected, atol=1e-4, rtol=0)
    with pytest.raises(KeyError):
        stacks.run(IDS, [grafted(N_LAYERS, layer, Take.GIVEN)])


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_pasting_the_whole_stream_is_the_adapter_on_up_to_there(pair: Pair, layer: int) -> None:
    """The atlas's patch: hence an identity at the last block."""
    base, adapted, stacks = pair
    _, after = own_run(adapted, layer)
    with output_of(layers(base)[layer], lambda *_: after):
        expected = naive(base)
    everywhere = range(N_LAYERS)
    upto, whole = logits(stacks, masked(N_LAYERS, range(layer + 1)), masked(N_LAYERS, everywhere))
    torch.testing.assert_close(upto, expected, atol=1e-4, rtol=0)
    assert torch.equal(upto, whole) == (layer == N_LAYERS - 1)


def test_pasting_the_base_s_stream_takes_the_adapter_out_up_to_there(pair: Pair) -> None:
    base, adapted, stacks = pair
    _, after = own_run(base, 1)
    with output_of(layers(adapted)[1], lambda *_: after):
        expected = naive(adapted)
    torch.testing.assert_close(logits(stacks, masked(N_LAYERS, (2, 3)))[0], expected, atol=1e-4, rtol=0)


def test_all_off_is_the_base_and_all_on_the_adapted_model(pair: Pair) -> None:
    base, adapted, stacks = pair
    off, on = masked(N_LAYERS, ()), masked(N_LAYERS, range(N_LAYERS))
    found = stacks.run(IDS, [off, on])
    assert torch.equal(found[0], TwoStacks(stacks.base, stacks.base).run(IDS, [on])[0])
    assert torch.equal(found[1], TwoStacks(stacks.adapted, stacks.adapted).run(IDS, [off])[0])
    for end, model in zip(found, (base, adapted), strict=True):
        torch.testing.assert_close(stacks.base.unembed(end), naive(model), atol=1e-4, rtol=0)
    assert (found[0] - found[1]).abs().max() > 1e-2


def every_route() -> list[Any]:
    single = [masked(N_LAYERS, (layer,)) for layer in range(N_LAYERS)]
    without = [masked(N_LAYERS, set(range(N_LAYERS)) - {layer}) for layer in range(N_LAYERS)]
    grafts = [
        grafted(N_LAYERS, layer, t) for t in (Take.CONTRIBUTION, Take.LAST) for layer in range(N_LAYERS)
    ]
    return [*single, *without, *grafts, single[1], masked(N_LAYERS, ())]


def test_routes_together_are_the_routes_alone_to_the_bit(pair: Pair) -> None:
    stacks, routes = pair[2], every_route()
    together = stacks.run(IDS, routes)
    assert all(
        torch.equal(end, stacks.run(IDS, [route])[0]) for end, route in zip(together, routes, strict=True)
    )


def test_what_routes_share_is_computed_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of the trie for each distinct beginning; 0..l off for each l, and all on."""
    ran: list[int] = []
    operator = Stack.operator

    def counted(self: Stack, layer: int, *args: Any) -> Tensor:
        ran.append(layer)
        return operator(self, layer, *args)

    for stack in (pair[2].base, pair[2].adapted):
        stack.prepare(IDS.shape[1])
    monkeypatch.setattr(Stack, "operator", counted)
    routes = [masked(N_LAYERS, range(first, N_LAYERS)) for first in range(N_LAYERS + 1)]
    finished: list[int] = []
    pair[2].run(IDS, [*routes, *routes], finished.append)
    prefixes = {route[: depth + 1] for route in routes for depth in range(N_LAYERS)}
    assert sorted(ran) == sorted(len(prefix) - 1 for prefix in prefixes)
    assert sum(finished) == len(routes) * 2


def test_routes_that_do_not_fit_are_refused(pair: Pair, tiny: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="a route names 4 blocks, one each; 3 are named"):
        pair[2].run(IDS, [masked(3, ())])
    with pytest.raises(ValueError, match="the base has 4 blocks, the adapted 2"):
        TwoStacks(pair[2].base, Stack(tiny("llama", layers=2)))


def test_prompts_go_together_by_length_as_far_as_the_budget_allows(tiny: Callable[..., nn.Module]) -> None:
    stack, routes = Stack(tiny("llama")), every_route()
    lengths = [5, 7, 5, 9, 5, 7]
    assert chunks(stack, lengths, routes, 2**30) == [(0, 2, 4), (1, 5), (3,)]
    least = next(n for n in range(10**5, 10**8, 10**4) if not _refused(stack, lengths, routes, n))
    assert sorted(i for chunk in chunks(stack, lengths, routes, least) for i in chunk) == list(range(6))
    assert len(chunks(stack, lengths, routes, least)) > 3
    with pytest.raises(OutOfMemory, match="one prompt of 5 tokens needs .* GiB for 18 states of two models"):
        chunks(stack, lengths, routes, 1000)


def _refused(stack: Stack, lengths: list[int], routes: list[Any], n_bytes: int) -> bool:
    try:
        chunks(stack, lengths, routes, n_bytes)
    except OutOfMemory:
        return True
    return False
