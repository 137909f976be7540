"""Activation patching between the two prompts of a pair, one site and one class of positions at a time. No torch.

Terms of Heimersheim & Nanda 2024 (arXiv:2404.15255): *denoising* puts the clean run's activation into the corrupt run,
*noising* the corrupt run's into the clean run. The tokens of a pair fall into three classes,

    changed   tokens in which clean and corrupt differ: the subject
    last      the token at which the answer is read, the same in both
    rest      the others, the same in both

and `resid_post` whole, at all of them, is the other run itself.

Published is what the atlas did: resid_post replaced at all positions. Its second version scored the recovery of the
corrupt run; its third the KL to the clean run. For that KL the sweep's own run must be the clean one, so there the
clean prompt is patched from a run of itself; which run is patched cannot matter where every position is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from harness.anatomy import Anatomy
from harness.edits import Action, Edit, Probe, Site, Stream
from harness.experiments.definition import CLEAN, CORRUPT, Experiment
from harness.protocols import Protocol

NOISING, DENOISING = "patching_noising", "patching_denoising"
LEAST_PAIRS = 7
"""Fewer pairs cannot decide anything: not even seven equal signs in less reach the two-sided level of 0.02."""


class Where(StrEnum):
    """Positions that are patched."""

    CHANGED = "changed"
    REST = "rest"
    LAST = "last"
    ALL = "all"


PATCHED = (
    (Stream.RESID_POST, (Where.CHANGED, Where.REST, Where.LAST, Where.ALL)),
    (Stream.ATTN_OUT, (Where.CHANGED, Where.LAST)),
    (Stream.MLP_OUT, (Where.CHANGED, Where.LAST)),
)
"""What the sound experiments patch in every block."""


def patched(stream: Stream, layer: int, donor: str, where: Where) -> Edit:
    """One activation taken from the donor at one class of positions."""
    return Edit(
        sites=(Site(layer=layer, stream=stream),),
        action=Action.PATCH,
        donor=donor,
        positions=(-1,) if where is Where.LAST else None,
        spot=str(where) if where in (Where.CHANGED, Where.REST) else None,
    )


def pair_spots(clean: Sequence[int], corrupt: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Positions of the tokens that a pair changes, and of those that it shares before the last: spots by name.

    Raises ValueError where patching position by position has no meaning: the prompts differ in length, in nothing, at
    the read-out, or everywhere before it.
    """
    if len(clean) != len(corrupt):
        raise ValueError(f"clean has {len(clean)} tokens and corrupt {len(corrupt)}")
    differs = [a != b for a, b in zip(clean, corrupt, strict=True)]
    changed = tuple(i for i, differ in enumerate(differs) if differ)
    rest = tuple(i for i, differ in enumerate(differs[:-1]) if not differ)
    if not changed:
        raise ValueError("clean and corrupt are the same tokens")
    if differs[-1]:
        raise ValueError("clean and corrupt differ in the last token, where the answer is read")
    if not rest:
        raise ValueError("clean and corrupt share no token but the last")
    return {str(Where.CHANGED): changed, str(Where.REST): rest}


def _whole(anatomy: Anatomy) -> tuple[Probe, ...]:
    return tuple(patched(Stream.RESID_POST, layer, CLEAN, Where.ALL) for layer in range(anatomy.n_layers))


def _patches(anatomy: Anatomy, donor: str) -> tuple[Probe, ...]:
    return tuple(
        patched(stream, layer, donor, where)
        for stream, classes in PATCHED
        for where in classes
        for layer in range(anatomy.n_layers)
    )


def _noising(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return _whole(anatomy) if protocol is Protocol.PUBLISHED else _patches(anatomy, CORRUPT)


def _denoising(protocol: Protocol, anatomy: Anatomy) -> tuple[Probe, ...]:
    return _whole(anatomy) if protocol is Protocol.PUBLISHED else _patches(anatomy, CLEAN)


EXPERIMENTS = (
    Experiment(
        name=NOISING,
        probes=_noising,
        donors=(CORRUPT, CLEAN),
        contrasted=True,
        paired=True,
        prompts_per_family=2,
    ),
    Experiment(
        name=DENOISING,
        probes=_denoising,
        donors=(CLEAN,),
        contrasted=True,
        paired=True,
        runs="corrupt",
        prompts_per_family=2,
    ),
)
