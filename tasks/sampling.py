"""Seeded draws of verified prompts, balanced over templates."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tasks.bands import BANDS, Lengthener
from tasks.prompts import PromptPair, TaskFamily
from tasks.slots import mark_slots
from tasks.suites import find_suite
from tasks.tokens import Encode, Rejection, verify_pair

Verify = Callable[[PromptPair, Encode], Rejection | None]
"""The rule a pair breaks under a tokenizer, or None. A pair it accepts is drawn at once."""


class NotEnoughPrompts(ValueError):
    """A family has fewer verified distinct prompts under this tokenizer than were asked for."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Pairs of one family, and what was passed over to get them."""

    pairs: tuple[PromptPair, ...]
    rejected: tuple[Rejection, ...]
    dropped: tuple[str, ...]
    """Templates of which no candidate survives under this tokenizer."""


@dataclass(frozen=True, kw_only=True)
class SuiteDraw:
    """The draws of every family of a suite, in the suite's order."""

    pairs: tuple[PromptPair, ...]
    rejected: tuple[Rejection, ...]
    dropped: tuple[str, ...]
    """`family/template` of every template of which no candidate survives."""
    suite: str
    seed: int


def draw(
    family: TaskFamily, *, n: int, rng: np.random.Generator, encode: Encode, verify: Verify = verify_pair
) -> Draw:
    """Draw `n` pairs with distinct clean texts, verified under `encode`, in template order.

    Templates take turns in a random order, so each is used floor or ceil of n / templates times; one that
    runs out of prompts (or has none: it is listed in `dropped`) leaves its turns to the others. Candidates
    are verified only as they come up. The prompts' `slots` are marked.

    Raises:
        NotEnoughPrompts: fewer than `n` distinct prompts survive.
        ValueError: `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n} for family {family.name!r}; ask for at least 1 prompt")
    rejected: list[Rejection] = []
    taken: set[str] = set()
    by_template: dict[str, list[PromptPair]] = {}
    for pair in family.candidates():
        by_template.setdefault(pair.clean.template, []).append(pair)
    chosen: dict[str, list[PromptPair]] = {template: [] for template in by_template}
    streams = {
        template: _verified(
            pairs, rng.permutation(len(pairs)), taken, lambda pair: verify(pair, encode), rejected
        )
        for template, pairs in by_template.items()
    }
    turns = [list(streams)[i] for i in rng.permutation(len(streams))]
    while turns and len(taken) < n:
        for template in list(turns):
            found = next(streams[template], None)
            if found is None:
                turns.remove(template)
                continue
            taken.add(found.clean.text)
            chosen[template].append(found)
            if len(taken) == n:
                break
    if len(taken) < n:
        raise NotEnoughPrompts(_shortage(family.name, n, len(taken), rejected))
    # A template that no turn reached (n below the number of templates) was not tried, so not found empty.
    empty = tuple(t for t in by_template if not chosen[t] and t not in turns)
    pairs = tuple(mark_slots(pair, family) for template in by_template for pair in chosen[template])
    return Draw(pairs=pairs, rejected=tuple(rejected), dropped=empty)


def _verified(
    pairs: list[PromptPair],
    order: np.ndarray,
    taken: set[str],
    verify: Callable[[PromptPair], Rejection | None],
    rejected: list[Rejection],
) -> Iterator[PromptPair]:
    """The pairs that survive, in `order`; skips clean texts in `taken`, notes what fails in `rejected`."""
    for index in order:
        pair = pairs[int(index)]
        if pair.clean.text in taken:
            continue
        rejection = verify(pair)
        if rejection is None:
            yield pair
        else:
            rejected.append(rejection)


def _shortage(name: str, asked: int, available: int, rejected: list[Rejection]) -> str:
    line = f"family {name!r}: {asked} prompts asked, {available} available under this tokenizer"
    if rejected:
        (rule, count), *_ = Counter(r.rule for r in rejected).most_common(1)
        example = next(r.reason for r in rejected if r.rule == rule)
        line += f"; most common rejection: {rule!r} ({count} of {len(rejected)} pairs, e.g. {example})"
    return (
        f"{line}; ask for at most {available}, or add fillers to tasks/families/{name}.py that pass this rule"
    )


def family_rng(seed: int, family_name: str) -> np.random.Generator:
    """The generator of one family: independent of every other family's, the same in every process.

    Raises:
        ValueError: `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected a non-negative integer")
    digest = hashlib.sha256(family_name.encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(digest[:8], "big")]))


def draw_suite(
    suite_name: str, *, n_per_family: int, seed: int, encode: Encode, verify: Verify | None = None
) -> SuiteDraw:
    """Draw `n_per_family` pairs of every family of a suite; what one family draws depends on no other family.

    The length bands draw the same questions under the same seed, in the same order, so that their pairs can be
    compared one by one (`tasks.bands`). `verify` is a rule that a pair must not break besides those of its suite.

    Raises:
        UnknownSuite: no suite has that name.
        NotEnoughPrompts: a family cannot supply `n_per_family` prompts under `encode`.
        ValueError: `seed` is negative or `n_per_family` is below 1.
    """
    draws = {
        family.name: _draw_family(family, suite_name, n=n_per_family, seed=seed, encode=encode, also=verify)
        for family in find_suite(suite_name)
    }
    return SuiteDraw(
        pairs=tuple(pair for d in draws.values() for pair in d.pairs),
        rejected=tuple(rejection for d in draws.values() for rejection in d.rejected),
        dropped=tuple(f"{name}/{template}" for name, d in draws.items() for template in d.dropped),
        suite=suite_name,
        seed=seed,
    )


def _draw_family(
    family: TaskFamily, suite_name: str, *, n: int, seed: int, encode: Encode, also: Verify | None
) -> Draw:
    rng = family_rng(seed, family.name)
    band = BANDS.get(suite_name)
    if band is None:
        return draw(family, n=n, rng=rng, encode=encode, verify=_both(also, verify_pair))
    lengthener = Lengthener(family.name, seed)
    drawn = draw(family, n=n, rng=rng, encode=encode, verify=_both(also, lengthener.verify))
    return replace(drawn, pairs=tuple(lengthener.lengthen(pair, band) for pair in drawn.pairs))


def _both(first: Verify | None, then: Verify) -> Verify:
    """`then`, asked of the pairs that `first` accepts: what it accepts is drawn, and it may keep count."""
    return then if first is None else lambda pair, encode: first(pair, encode) or then(pair, encode)
