"""Criteria on directions that are added to the stream: what they raise, beside what, and what else they move.

Where `layer` is None the claim is that some block does it: the block is chosen on one half of the templates, by what
the direction does there, and judged on the other half. Strengths are in the unit of the table's own direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from harness.edits import format_layers
from harness.statistics.estimate import format_number
from harness.steering import Unit
from harness.verdicts.criterion import SEPARATION_ALPHA, Criterion


class Gain(StrEnum):
    """What steering is to raise; a difference from the unedited model on the same prompt."""

    FORMS = "the log-probability of the answer in any form"
    """Surface forms summed."""
    MARGIN = "the margin of the affirmative answer"
    """Its log-probability less that of the negative one."""
    ANSWER = "the answer's log-probability"
    PROBABILITY = "the answer's probability"

    @property
    def unit(self) -> str:
        """Its unit."""
        return "of probability" if self is Gain.PROBABILITY else "nats"


@dataclass(frozen=True, kw_only=True)
class SteeringCriterion(Criterion):
    """What all of them share."""

    experiment: str = "steering_sweep"

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)

    @property
    def table(self) -> str:
        """'in steering_short, '; '' for the table that criteria of the kind read by default."""
        return "" if self.experiment == type(self).experiment else f"in {self.experiment}, "


@dataclass(frozen=True, kw_only=True)
class AtBlock(SteeringCriterion):
    """What those about one block share; None: some block."""

    layer: int | None = None

    @property
    def place(self) -> str:
        """'at L12', 'at some block'."""
        return "at some block" if self.layer is None else f"at L{self.layer}"


@dataclass(frozen=True, kw_only=True)
class SteeringGain(AtBlock):
    """Each of these strengths raises what is to be raised by at least, or at most, so much. In `steering.py`."""

    strengths: tuple[float, ...] = (0.5,)
    at_least: float | None = None
    at_most: float | None = None
    gain: Gain = Gain.FORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_bound(self, self.at_least, self.at_most)
        _some(self, self.strengths)

    def __str__(self) -> str:
        return (
            f"steering {self.place} by {_list(self.strengths)} changes {self.gain} by "
            f"{_bound(self.at_least, self.at_most, self.gain.unit)}"
        )


@dataclass(frozen=True, kw_only=True)
class SteeringSlope(AtBlock):
    """The slope against the strength, over strengths up to `window`, has this sign. In `steering.py`.

    With `anti_at_most` also: on at most this share of the prompts has it the other one.
    """

    sign: int = 1
    window: float = 0.5
    gain: Gain = Gain.FORMS
    anti_at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sign not in (-1, 1):
            raise ValueError(f"SteeringSlope(sign={self.sign}): 1 or -1")

    def __str__(self) -> str:
        verb, other = ("rises", "falls") if self.sign > 0 else ("falls", "rises")
        anti = (
            ""
            if self.anti_at_most is None
            else f", and {other} on at most {self.anti_at_most:.0%} of prompts"
        )
        return f"{self.table}{self.gain} {verb} with the strength {self.place}, within {self.window:g} of 0{anti}"


@dataclass(frozen=True, kw_only=True)
class BestSteered(SteeringCriterion):
    """Steering this block raises it more than steering any other that was measured, separated. In `steering.py`."""

    layer: int
    strength: float = 0.5
    gain: Gain = Gain.FORMS

    def __str__(self) -> str:
        return (
            f"of all blocks steered by {self.strength:g}, L{self.layer} changes {self.gain} most, separated from every "
            f"other at p < {SEPARATION_ALPHA}"
        )


@dataclass(frozen=True, kw_only=True)
class BeatsControls(AtBlock):
    """The direction raises it by a margin more than control directions of its length do. Judged in `steering.py`.

    The controls are at the same block and strength: this share of the random directions, and every other control.
    """

    strength: float = 0.5
    margin_nats: float = 0.1
    random_share: float = 0.95
    gain: Gain = Gain.FORMS

    def __str__(self) -> str:
        return (
            f"{self.place}, by {self.strength:g}, the direction raises {self.gain} by {self.margin_nats:g} nats more "
            f"than {self.random_share:.0%} of the random directions do, and than every shuffled and wrong-task one"
        )


@dataclass(frozen=True, kw_only=True)
class SteeringInert(SteeringCriterion):
    """No strength up to `up_to`, of either sign, changes it by more than this (TOST). Judged in `steering.py`."""

    layer: int
    within_nats: float
    up_to: float = 0.5
    gain: Gain = Gain.FORMS

    def __str__(self) -> str:
        return (
            f"steering at L{self.layer} by up to {self.up_to:g} either way changes {self.gain} by no more than "
            f"{self.within_nats:g} nats"
        )


@dataclass(frozen=True, kw_only=True)
class SteeringMoves(SteeringCriterion):
    """Mean KL of the edited prediction, on the prompts of the skill or on all others. Judged in `steering_reach.py`.

    The bound holds for each of these strengths at each of these blocks; () for every one that was steered.
    """

    strengths: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    layers: tuple[int, ...] = ()
    others: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_bound(self, self.at_least, self.at_most)
        _some(self, self.strengths)

    def __str__(self) -> str:
        where = format_layers(self.layers) if self.layers else "every steered block"
        whose = "the other tasks'" if self.others else "the skill's"
        return (
            f"steering at {where} by {_list(self.strengths)} moves {whose} prompts by "
            f"{_bound(self.at_least, self.at_most, 'nats')}"
        )


@dataclass(frozen=True, kw_only=True)
class Knockout(AtBlock):
    """What criteria on a knockout share: the direction taken away, on prompts whose answer the model gives.

    A drop is of the answer's log-probability, on prompts where its probability is at least `min_probability`;
    selectivity is the drop on the skill's prompts less that on the other tasks'. Judged in `knockout.py`.
    """

    strength: float = -0.5
    min_probability: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.strength < 0.0 < self.min_probability < 1.0):
            raise ValueError(
                f"{type(self).__name__}: strength {self.strength} and min_probability {self.min_probability}: a "
                "knockout takes away, from prompts with an answer"
            )


@dataclass(frozen=True, kw_only=True)
class KnockoutSelects(Knockout):
    """The selectivity is at least, or at most, so many nats; with `index_at_least` its bounded index as well.

    The index is (a - b) / (|a| + |b|) of the two drops: 1 where the skill alone drops, 0 where both do alike.
    """

    at_least: float | None = None
    at_most: float | None = None
    index_at_least: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_bound(self, self.at_least, self.at_most)

    def __str__(self) -> str:
        index = (
            "" if self.index_at_least is None else f", and with an index of at least {self.index_at_least:g}"
        )
        return (
            f"steering {self.place} by {self.strength:g} drops the skill's answers "
            f"{_bound(self.at_least, self.at_most, 'nats')} more than the other tasks'{index}"
        )


@dataclass(frozen=True, kw_only=True)
class KnockoutBeatsRandom(Knockout):
    """The selectivity exceeds that of a share of the random directions of the same length. Judged in `knockout.py`."""

    experiment: str = "steering_controls"
    margin_nats: float = 0.1
    random_share: float = 0.95

    def __str__(self) -> str:
        return (
            f"{self.place}, by {self.strength:g}, the knockout is {self.margin_nats:g} nats more selective than "
            f"{self.random_share:.0%} of the random directions"
        )


@dataclass(frozen=True, kw_only=True)
class FlooredRatio(SteeringCriterion):
    """The atlas's selectivity: mean drop in probability on the skill over that on other tasks, floored.

    Its denominator is max(drop, `floor`), or max(|drop|, `floor`) with `absolute`: where the other tasks gain, the
    ratio is the skill's drop over a constant. Without a layer or a strength: the largest over all that were measured.
    Published numbers alone are judged by it. In `knockout.py`.
    """

    at_least: float | None = None
    at_most: float | None = None
    layer: int | None = None
    strength: float | None = None
    floor: float = 1e-6
    absolute: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_least is None and self.at_most is None:
            raise ValueError("FlooredRatio: give a bound")

    def __str__(self) -> str:
        where = "at the best block" if self.layer is None else f"at L{self.layer}"
        by = "the best strength" if self.strength is None else f"{self.strength:g}"
        bounds = [
            f"{word} {format_number(bound)}"
            for word, bound in (("at least", self.at_least), ("at most", self.at_most))
            if bound is not None
        ]
        change = "by which the other tasks change" if self.absolute else "that the other tasks lose"
        return (
            f"{where} and by {by} the skill loses {' and '.join(bounds)} times the probability {change}, which counts "
            f"as {self.floor:g} or more"
        )


@dataclass(frozen=True, kw_only=True)
class KlFallsWithDepth(SteeringCriterion):
    """Spearman's correlation of the block with the mean KL of random directions there. In `steering_reach.py`."""

    at_most: float
    unit: Unit = Unit.BLOCK
    experiment: str = "steering_depth"

    def __str__(self) -> str:
        length = {Unit.BLOCK: "of each block's own length", Unit.FIXED: "of one length"}[self.unit]
        return f"random directions {length} move less the later the block: Spearman at most {self.at_most:g}"


@dataclass(frozen=True, kw_only=True)
class SteeringFalls(SteeringCriterion):
    """What steering does in one model is more than `factor` times what it does in another. In `steering_joint.py`.

    Of the gain at a strength, or with `knockout` of the selectivity, whose sign counts; at a block of each model.
    """

    strong: str
    weak: str
    layers: Mapping[str, int]
    strength: float = 0.5
    factor: float = 1.0
    knockout: bool = False

    def __str__(self) -> str:
        what = "the selectivity of a knockout" if self.knockout else "the gain"
        where = ", ".join(f"L{layer} in {model}" for model, layer in self.layers.items())
        return (
            f"{what} by {self.strength:g} in {self.strong} is more than {format_number(self.factor)} times that in "
            f"{self.weak} ({where})"
        )


@dataclass(frozen=True, kw_only=True)
class SteeringSigns(SteeringCriterion):
    """The slope has a stated sign in each model, at a block of each; None: over several. In `steering_joint.py`."""

    signs: Mapping[str, int]
    layers: Mapping[str, int | None]
    window: float = 0.5

    def __str__(self) -> str:
        def place(layer: int | None) -> str:
            return "over several blocks" if layer is None else f"at L{layer}"

        said = [
            f"{'rises' if sign > 0 else 'falls'} in {model} {place(self.layers[model])}"
            for model, sign in self.signs.items()
        ]
        return f"{Gain.FORMS}, against the strength, {', and '.join(said)}"


def _one_bound(criterion: Criterion, at_least: float | None, at_most: float | None) -> None:
    if (at_least is None) == (at_most is None):
        raise ValueError(f"{type(criterion).__name__}: give either at_most or at_least")


def _some(criterion: Criterion, strengths: tuple[float, ...]) -> None:
    if not strengths:
        raise ValueError(f"{type(criterion).__name__}: name a strength")


def _bound(at_least: float | None, at_most: float | None, unit: str) -> str:
    if at_least is not None:
        return f"at least {format_number(at_least)} {unit}"
    assert at_most is not None
    return f"at most {format_number(at_most)} {unit}"


def _list(strengths: tuple[float, ...]) -> str:
    return ", ".join(f"{s:g}" for s in strengths)
