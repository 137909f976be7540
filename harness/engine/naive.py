"""The obvious way: one hooked forward pass per edit and prompt. Slow, plain, and the engine's oracle.

Nothing here is shared with the sweep but the table of module names: hooks go on the model's own modules, and
the metrics are computed again, in float64, from logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from harness.edits import Action, Edit, Exit, Probe, Site, Stream
from harness.engine.architectures import BlockModules, body, final_norm, resolve_blocks

Values = Callable[[Site], Tensor]
"""A donor's activation at a site, [1, pos, width]."""


def run(model: nn.Module, ids: Sequence[int], probe: Probe | None, donor: Values | None = None) -> Tensor:
    """Next-token logits, float64 [vocab], of one prompt under one probe (None: the plain model)."""
    tokens = torch.tensor([list(ids)], device=cast("torch.device", model.device))
    with torch.no_grad():
        if isinstance(probe, Exit):
            with activations(model, [Site(layer=probe.layer, stream=Stream.RESID_POST)]) as seen:
                body(model)(input_ids=tokens, use_cache=False)
            resid = next(iter(seen.values()))[:, -1:]
            hidden = final_norm(model)(resid) if probe.normed else resid
            return cast("Tensor", model.lm_head(hidden))[0, -1].double()  # type: ignore[operator]
        assert probe is None or isinstance(probe, Edit)
        with hooked(model, probe, donor):
            logits = model(input_ids=tokens, use_cache=False).logits
    return cast("Tensor", logits[0, -1].double())


def measure(base: Tensor, edited: Tensor, answer: int) -> dict[str, float]:
    """The metrics of harness.effects.METRICS from two rows of logits, with numpy in float64."""
    p, q = (np.asarray(x.cpu()) for x in (base, edited))
    logp = p - p.max() - np.log(np.exp(p - p.max()).sum())
    logq = q - q.max() - np.log(np.exp(q - q.max()).sum())
    top = np.argsort(-logp, kind="stable")[:5]
    place = [(logq >= logq[token]).sum() for token in top]
    return {
        "kl_nats": float((np.exp(logp) * (logp - logq)).sum()),
        "top5_overlap": sum(n <= 5 for n in place) / 5,
        "argmax_match": float(place[0] == 1),
        "answer_logprob": float(logq[answer]),
    }


@contextmanager
def activations(model: nn.Module, sites: Sequence[Site]) -> Iterator[dict[Site, Tensor]]:
    """Record activations while the block is open: {site: [row, pos, width]}."""
    blocks, seen = resolve_blocks(model), {}

    def keep(site: Site) -> Callable[[Tensor], None]:
        def store(value: Tensor) -> None:
            parts = blocks[site.layer]
            seen[site] = value if site.head is None else value[..., _columns(parts, site.head)]

        return store

    handles = [_attach(blocks[site.layer], site.stream, keep(site)) for site in sites]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def hooked(model: nn.Module, edit: Edit | None, donor: Values | None) -> Iterator[None]:
    """Hooks that carry out one edit while the block is open. Raises if one of them never fired."""
    blocks, handles = resolve_blocks(model), []
    fired: set[Site] = set()
    for site in edit.sites if edit is not None else ():
        assert edit is not None
        parts = blocks[site.layer]
        if edit.action in (Action.SKIP, Action.CUT):
            hook = _skip if edit.action is Action.SKIP else _cut
            handles.append(hook(parts, site, edit, fired))
            continue

        def write(value: Tensor, site: Site = site, parts: BlockModules = parts) -> Tensor:
            assert edit is not None
            fired.add(site)
            where = slice(None) if site.head is None else _columns(parts, site.head)
            out = value.clone()
            part = out[..., where]
            new = torch.zeros_like(part)
            if edit.action is Action.PATCH:
                assert donor is not None
                new = donor(site).expand_as(part)
            if edit.action is Action.ADD:
                assert donor is not None
                assert edit.strength is not None
                new = part + edit.strength * donor(site).expand_as(part)
            _overwrite(part, new, edit, site)
            return out

        handles.append(_attach(parts, site.stream, write))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if edit is not None and fired != set(edit.sites):
        raise RuntimeError(f"'{edit}': {len(set(edit.sites) - fired)} hooks never fired")


def _skip(parts: BlockModules, site: Site, edit: Edit, fired: set[Site]) -> Any:
    def around(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        fired.add(site)
        resid_pre = args[0] if args else kwargs["hidden_states"]
        out = output.clone()
        _overwrite(out, resid_pre, edit, site)
        return out

    return parts.block.register_forward_hook(around, with_kwargs=True)


def _cut(parts: BlockModules, site: Site, edit: Edit, fired: set[Site]) -> Any:
    def without(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        fired.add(site)
        x, mask = kwargs["hidden_states"], kwargs["attention_mask"]
        length = x.shape[1]
        if mask is None:
            mask = torch.ones(1, 1, length, length, dtype=torch.bool, device=x.device).tril()
        mask = mask.clone()
        shut = False if mask.dtype == torch.bool else -torch.inf
        mask[..., -1, list(range(length - 1)) if edit.positions is None else list(edit.positions)] = shut
        return args, {**kwargs, "attention_mask": mask}

    return parts.operator.register_forward_pre_hook(without, with_kwargs=True)


def _overwrite(old: Tensor, new: Tensor, edit: Edit, site: Site) -> None:
    """Write `new` into [row, pos, width] `old`, in place, at the edit's positions and the site's dimensions."""
    at = slice(None) if edit.positions is None else list(edit.positions)
    for dims in site.dims or (slice(None),):
        old[:, at, dims] = new[:, at, dims]


def _attach(parts: BlockModules, stream: Stream, use: Callable[[Tensor], Tensor | None]) -> Any:
    """Hook `use` to a stream: what it returns, if anything, replaces the activation."""
    if stream is Stream.Z:

        def before(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
            new = use(args[0])
            return None if new is None else (new,)

        return parts.out_proj.register_forward_pre_hook(before)

    module = {
        Stream.RESID_POST: parts.block,
        Stream.ATTN_OUT: parts.post_operator_norm or parts.operator,
        Stream.MLP_OUT: parts.post_mlp_norm or parts.mlp,
        **parts.linears,
    }[stream]

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        new = use(value)
        if new is None:
            return None
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return module.register_forward_hook(after)


def _columns(parts: BlockModules, head: int) -> slice:
    assert parts.head_dim is not None
    return slice(head * parts.head_dim, (head + 1) * parts.head_dim)
