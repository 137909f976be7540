"""Length bands: the same question bare, after a little neutral context, and after much of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tasks import contexts
from tasks.prompts import Prompt, PromptPair
from tasks.tokens import LENGTHS, Encode, Rejection, verify_pair


@dataclass(frozen=True, kw_only=True)
class Band:
    """Bounds of a prompt's length in tokens, both included, and the lengths to aim at between them.

    A band without targets holds the bare question.
    """

    name: str
    lengths: tuple[int, int]
    targets: tuple[int, ...] = ()


SLACK = 25
"""A prompt is at most this many tokens shorter than its target, and never longer."""
FULL = 20
"""With fewer tokens left than this, a context ends at the first piece that does not fit. Below SLACK, since pieces
can be a little shorter together than one by one."""

BANDS: Mapping[str, Band] = {
    band.name: band
    for band in (
        Band(name="short", lengths=LENGTHS),
        Band(name="medium", lengths=(30, 150), targets=(60, 90, 120, 150)),
        Band(name="long", lengths=(150, 1000), targets=(200, 400, 700, 950)),
    )
}
CONTEXT_OF: Mapping[str, Callable[[np.random.Generator], contexts.Pieces]] = {
    "copying": contexts.prose,
    "factual_recall": contexts.prose,
    "arithmetic": contexts.prose,
    "json_schema": contexts.prose,
    "code_semantics": contexts.code,
    "dead_code": contexts.code,
}
"""Family -> what stands before its questions. These are the families of the bands."""
SEPARATOR = "\n\n"


class Lengthener:
    """Puts context before the questions of one family under one seed, the same for every band.

    The k-th question accepted gets the k-th context and the k-th target of each band: targets come in shuffled
    rounds, so every one is used equally often and none belongs to a template. A longer band reads further in the
    stream of sentences from which a shorter one takes its context.
    """

    def __init__(self, family: str, seed: int) -> None:
        """`family` is a key of CONTEXT_OF."""
        self.family = family
        self.seed = seed
        self._accepted: dict[str, Mapping[str, str]] = {}

    def verify(self, pair: PromptPair, encode: Encode) -> Rejection | None:
        """The first rule that the pair breaks in any band; a pair that breaks none gets its contexts for good.

        So the bands draw the same questions: what one has to reject is rejected in all. Besides the rules of
        `verify_pair`, a context must not hold the answer or the foil.
        """
        encode = cache(encode)
        rank = len(self._accepted)
        found: dict[str, str] = {}
        for band in BANDS.values():
            context, lengths = "", band.lengths
            if band.targets:
                target = self._target(band, rank)
                context = self._context(rank, pair, target, encode)
                lengths = (max(band.lengths[0], target - SLACK), target)
            longer = PromptPair(clean=_after(context, pair.clean), corrupt=_after(context, pair.corrupt))
            rejection = verify_pair(longer, encode, lengths=lengths)
            rejection = rejection or _told(longer, context)
            if rejection is not None:
                return rejection
            found[band.name] = context
        self._accepted[pair.clean.text] = found
        return None

    def lengthen(self, pair: PromptPair, band: Band) -> PromptPair:
        """An accepted pair as it stands in `band`; the context counts as a slot.

        Raises:
            KeyError: `verify` has not accepted the pair.
        """
        context = self._accepted[pair.clean.text][band.name]
        return PromptPair(clean=_after(context, pair.clean), corrupt=_after(context, pair.corrupt))

    def _target(self, band: Band, rank: int) -> int:
        round_, place = divmod(rank, len(band.targets))
        return int(self._rng(f"{band.name} targets", round_).permutation(band.targets)[place])

    def _context(self, rank: int, pair: PromptPair, target: int, encode: Encode) -> str:
        """Pieces of the rank's stream before the question, to within SLACK below `target` tokens."""
        special = len(encode(""))
        question = max((pair.clean.text, pair.corrupt.text), key=lambda text: len(encode(text)))
        left = target - len(encode(SEPARATOR + question))
        chosen: list[str] = []
        for piece in CONTEXT_OF[self.family](self._rng("contexts", rank)):
            cost = len(encode(piece)) - special
            if cost <= left:
                chosen.append(piece)
                left -= cost
            elif left < FULL:
                break
        # Pieces can be longer together than one by one.
        while chosen and len(encode("".join(chosen).lstrip() + SEPARATOR + question)) > target:
            chosen.pop()
        return "".join(chosen).lstrip() + SEPARATOR if chosen else ""

    def _rng(self, purpose: str, index: int) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.family} {purpose}".encode()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest[:8], "big"), index])


def _told(pair: PromptPair, context: str) -> Rejection | None:
    """A rejection where the context holds the answer or the foil as a word, a single letter in its own case only."""
    for word in (pair.clean.answer.strip(), pair.clean.foil.strip()):
        if word.isalpha() and len(word) > 1:
            held = re.search(rf"\b{word}\b", context, flags=re.IGNORECASE)
        else:
            held = re.search(rf"(?<![^\W\d_]){re.escape(word)}(?![^\W\d_])", context)
        if held:
            return Rejection(
                family=pair.clean.family,
                template=pair.clean.template,
                clean=pair.clean.text,
                corrupt=pair.corrupt.text,
                rule="context without the answer",
                reason=f"the context holds {word!r}, which the question answers with: {context!r}",
            )
    return None


def _after(context: str, prompt: Prompt) -> Prompt:
    shift = len(context)
    slots = ((0, shift), *((start + shift, end + shift) for start, end in prompt.slots))
    return replace(prompt, text=context + prompt.text, slots=slots if shift else prompt.slots)
