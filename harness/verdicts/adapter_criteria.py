"""Criteria on adapters: where along the depth they are large, where they act, and what of them can be carried over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from harness.statistics.estimate import format_number
from harness.verdicts.adapter_selectors import EVERY_BLOCK, AdapterRows, BlockSet, On
from harness.verdicts.criterion import Criterion

LAYERS, TRANSFER = "adapter_layers", "adapter_transfer"
CONSTANTS = frozenset({"update_norm", "factor_norm", "train_loss"})
"""Metrics that are properties of the adapter and the same on every prompt: each training gives one number."""
GATE_NATS = 0.1
"""Least KL(adapted || base) of a prompt of which a share is taken: less is nothing to carry over."""
LEAST_TEMPLATES = 7
"""Of prompts above the gate: not even equal signs in fewer reach the two-sided level of 0.02."""


IN_WORDS = {
    "kl_nats": "KL",
    "update_norm": "norm of the update",
    "factor_norm": "norm of A and B",
}
"""Metrics as sentences name them."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One metric of some rows: one number a block, where the rows are of blocks."""

    rows: AdapterRows
    metric: str = "kl_nats"
    increments: bool = False
    """What each block adds to the one before: the difference, of norms the root of the difference of squares."""

    def __post_init__(self) -> None:
        if self.increments and not self.rows.on.is_curve:
            raise ValueError(f"Measure of {self.rows}: only rows from L0 to a block grow by increments")

    def at(self, blocks: BlockSet) -> Measure:
        """The same of other blocks."""
        return replace(self, rows=replace(self.rows, blocks=blocks))

    def __str__(self) -> str:
        own = "own " if self.increments else ""  # what the block adds to those before it
        return f"{own}{IN_WORDS.get(self.metric, self.metric)} with {self.rows}"


@dataclass(frozen=True, kw_only=True)
class Spread(Measure):
    """One number of the mean effects m of all blocks: the share of some, or how many blocks carry it.

    How many is (sum m)^2 / sum m^2: n of n that do alike, 1 where one does all. An effect does not grow in step with
    an update, so that one pattern looks narrower or wider by its size alone. With `weights` the number is that of the
    update weighted to do as much in all as what it is compared with: between two neighbouring weights whose sums, the
    heavier one's the larger, lie on either side, on a log-log line.
    """

    share_of: BlockSet | None = None
    """Blocks whose share of the sum it is; None for how many carry it."""
    weights: tuple[float, ...] = ()
    """Weights at which the update was measured, ascending; () for its own alone, however much that does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and (len(self.weights) < 2 or list(self.weights) != sorted(set(self.weights))):
            raise ValueError(f"Spread at weights {self.weights}: two or more, ascending")
        if not self.rows.on.names_a_block or self.rows.blocks != EVERY_BLOCK or self.metric in CONSTANTS:
            raise ValueError(f"Spread of {self.rows}: an effect of every block")

    def __str__(self) -> str:
        size = ", weighted to do as much in all" if self.weights else ""
        if self.share_of is None:
            return f"number of blocks that carry the {super().__str__()}{size}"
        return f"share of {self.share_of} in the summed {super().__str__()}{size}"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The effects of every block that it is read from, by ascending weight."""
        weights = self.weights or (self.rows.weight,)
        return tuple(Measure(rows=replace(self.rows, weight=w), metric=self.metric) for w in weights)


@dataclass(frozen=True, kw_only=True)
class OfAdapters(Criterion):
    """What criteria on adapters share."""

    experiment: str = LAYERS

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return (self.experiment,)


@dataclass(frozen=True, kw_only=True)
class AdapterRatio(OfAdapters):
    """The mean of some rows is at least, or at most, so many times the mean of others. Judged in `adapters.py`.

    Of constants, in each training by itself. Of two `Spread` each is one number; judged in `adapter_spread.py`.
    """

    part: Measure
    of: Measure
    at_least: float | None = None
    at_most: float | None = None
    each: bool = False
    """Every row of the part by itself, instead of their mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_bound(self, self.at_least, self.at_most)
        if self.part.metric != self.of.metric:
            raise ValueError(f"AdapterRatio of {self.part.metric} to {self.of.metric}: of one metric")
        if self.times <= 0.0:
            raise ValueError(f"AdapterRatio: a factor above 0, not {self.times}")
        if isinstance(self.part, Spread) != isinstance(self.of, Spread):
            raise ValueError("AdapterRatio: a spread is compared with a spread")
        alike = getattr(self.part, "share_of", None) == getattr(self.of, "share_of", None)
        if isinstance(self.part, Spread) and (self.each or not alike or getattr(self.of, "weights", None)):
            raise ValueError(
                "AdapterRatio of spreads: one number of each, the same one, and the part alone weighted"
            )

    @property
    def times(self) -> float:
        """The bound, whichever side it is on."""
        return _bound(self.at_least, self.at_most)

    @property
    def sign(self) -> float:
        """1 for a bound from below, -1 for one from above."""
        return -1.0 if self.at_least is None else 1.0

    @property
    def bound(self) -> str:
        """'at least 1.2 times'."""
        return f"{_side(self.at_least)} {self.times:g} times"

    def __str__(self) -> str:
        if isinstance(self.part, Spread):
            return f"in {self.experiment}, the {self.part} is {self.bound} the {self.of}"
        of_part = "each" if self.each else "the mean"
        return f"in {self.experiment}, {of_part} {self.part} is {self.bound} the mean {self.of}"


@dataclass(frozen=True, kw_only=True)
class BlockCorrelation(OfAdapters):
    """Over blocks, two measures correlate so far, and further than chance where that is above 0.

    Blocks without an adapter (norm 0) are left out. Judged in `adapters.py`.
    """

    one: Measure
    two: Measure
    kind: Literal["pearson", "spearman"] = "pearson"
    given_depth: bool = False
    """What is left of both after a straight line in the depth (for Spearman: of ranks)."""
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ascending(self, self.at_least, self.at_most, -1.0, 1.0)
        if not (self.one.rows.on.names_a_block and self.two.rows.on.names_a_block):
            raise ValueError("BlockCorrelation: both measures need one row a block")

    @property
    def name(self) -> str:
        """'Pearson, given depth'."""
        return self.kind.capitalize() + (", given depth" if self.given_depth else "")

    def __str__(self) -> str:
        return (
            f"in {self.experiment}, over blocks, {self.one} and {self.two} correlate ({self.name}) at "
            f"{_band(self.at_least, self.at_most)}"
        )


@dataclass(frozen=True, kw_only=True)
class ConstantSpread(OfAdapters):
    """Of a constant of each block, the largest is at most so many times the smallest, in every training.

    With `around`, each also lies within that factor of it. Without sampling noise. Judged in `adapters.py`.
    """

    of: Measure
    at_most: float
    around: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of.metric not in CONSTANTS or not self.of.rows.on.names_a_block:
            raise ValueError(f"ConstantSpread of {self.of}: a constant of each block")
        if self.at_most <= 1.0 or (self.around is not None and self.around <= 0.0):
            raise ValueError(f"ConstantSpread: a factor above 1, not {self.at_most}, around a norm above 0")

    def __str__(self) -> str:
        near = "" if self.around is None else f", and each lies within that factor of {self.around:g}"
        return (
            f"in {self.experiment}, the largest {self.of} is at most {self.at_most:g} times the smallest, in every "
            f"training{near}"
        )


@dataclass(frozen=True, kw_only=True)
class MedianSide(OfAdapters):
    """One block lies above, or below, the median of all blocks. Judged in `adapters.py`."""

    of: Measure
    layer: int
    side: Literal["above", "below"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.of.rows.on.names_a_block or self.of.rows.blocks != EVERY_BLOCK or self.layer < 0:
            raise ValueError(f"MedianSide of L{self.layer}: one row a block, and every block")

    def __str__(self) -> str:
        return f"in {self.experiment}, {self.of} is {self.side} the median of all blocks for that of L{self.layer}"


@dataclass(frozen=True, kw_only=True)
class OfRecovery(OfAdapters):
    """What criteria on recovery share.

    Recovery of a row is 1 - KL(adapted || row) / KL(adapted || base), both means over the prompts whose KL(adapted ||
    base) is at least `gate_nats`: 0 is the base, 1 the adapted model. A KL falls with the square of the way that is
    left: half of it is gone after 0.29 of an even way. In `answer_logprob` the way itself is told: (row - base) /
    (adapted - base), means over the prompts where |adapted - base| is at least `gate_nats`. Inconclusive where those
    prompts are of fewer than LEAST_TEMPLATES templates. Of rows that bring the base back into the adapted run, base and
    adapted change places: 0 is the adapted model, 1 the base.
    """

    experiment: str = TRANSFER
    rows: AdapterRows
    gate_nats: float = GATE_NATS
    metric: Literal["kl_nats", "answer_logprob"] = "kl_nats"

    def __post_init__(self) -> None:
        super().__post_init__()
        apart = (On.ONLY, On.OFF, On.OFF_UP_TO, On.WITHOUT_MLP)
        if not self.rows.on.names_a_block or self.rows.on in apart:
            raise ValueError(f"{type(self).__name__}: {self.rows} is not compared with the adapted model")
        if not self.gate_nats > 0.0:
            raise ValueError(f"{type(self).__name__}: a gate above 0 nats, not {self.gate_nats}")
        if self.metric not in ("kl_nats", "answer_logprob"):
            raise ValueError(
                f"{type(self).__name__}: recovery of a KL or of the answer, not of {self.metric}"
            )

    @property
    def whose(self) -> str:
        """'' for a KL, else ' of the answer's log-probability'."""
        return "" if self.metric == "kl_nats" else " of the answer's log-probability"

    @property
    def way(self) -> str:
        """'from base to adapted'."""
        return "from adapted to base" if self.rows.on.is_back else "from base to adapted"


@dataclass(frozen=True, kw_only=True)
class AdapterRecovery(OfRecovery):
    """The recovery of some blocks: of each, their sum, or their gain. Judged in `adapter_recovery.py`."""

    take: Literal["each", "sum", "gain"] = "each"
    """`gain` of a curve: from just before the first of the blocks to the last of them."""
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_bound(self, self.at_least, self.at_most)
        is_sum = self.rows.on in (On.CONTRIBUTION, On.CONTRIBUTION_BACK)
        if (self.take == "gain" and not self.rows.on.is_curve) or (self.take == "sum" and not is_sum):
            raise ValueError(f"AdapterRecovery: no {self.take} is taken of {self.rows.on}")

    @property
    def share(self) -> float:
        """The bound, whichever side it is on."""
        return _bound(self.at_least, self.at_most)

    @property
    def sign(self) -> float:
        """1 for a bound from below, -1 for one from above."""
        return -1.0 if self.at_least is None else 1.0

    @property
    def bound(self) -> str:
        """'at least 90%'."""
        return f"{_side(self.at_least)} {self.share:.4g}"

    def __str__(self) -> str:
        what = {
            "each": "each recovers",
            "sum": "together, each grafted by itself, recover",
            "gain": "add to the recovery",
        }[self.take]
        return (
            f"in {self.experiment}, of {self.rows}: {what} {self.bound} of the way {self.way}{self.whose}, "
            f"on prompts that the adapter moves by {format_number(self.gate_nats)} nats or more"
        )


@dataclass(frozen=True, kw_only=True)
class RecoveryDepth(OfRecovery):
    """The share of the depth, layer / n_layers, where `level` of the recovery is reached.

    Of a curve, its first block of that recovery (1 where it never is); of contributions, the first block up to which
    they sum to that share of their sum. Judged in `adapter_recovery.py`.
    """

    level: float = 0.5
    at_least: float | None = None
    at_most: float | None = None
    than: On | None = None
    """With it the bounds are on how much later than in those rows of the same adapter. A gate on the answer's
    log-probability keeps the same prompts whichever way one goes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ascending(self, self.at_least, self.at_most, 0.0 if self.than is None else -1.0, 1.0)
        _check_level(self.level, self.rows)
        if self.than is not None and (
            self.metric != "answer_logprob" or self.than.is_curve != self.rows.on.is_curve
        ):
            raise ValueError("RecoveryDepth than another: of the answer's log-probability, and of like rows")

    @property
    def other(self) -> RecoveryDepth:
        """The depth that it is compared with, by itself. Raises ValueError where there is none."""
        if self.than is None:
            raise ValueError("RecoveryDepth: it is not compared with another")
        return replace(self, rows=replace(self.rows, on=self.than), than=None, at_least=0.0, at_most=None)

    def __str__(self) -> str:
        if self.than is not None:
            return (
                f"in {self.experiment}, {self.level:.0%} of the recovery{self.whose} of {self.rows} is reached "
                f"{_band(self.at_least, self.at_most)} of the depth later than with it {self.than}"
            )
        return (
            f"in {self.experiment}, {self.level:.0%} of the recovery{self.whose} of {self.rows} is reached at "
            f"{_band(self.at_least, self.at_most)} of the depth"
        )


@dataclass(frozen=True, kw_only=True)
class RecoveryDepthsAgree(OfRecovery):
    """Two models reach `level` of the recovery at the same share of the depth. Judged in `adapter_recovery.py`."""

    models: tuple[str, str]
    within: float
    """Largest difference, as a share of the depth."""
    level: float = 0.5
    at_least: float = 0.0
    """Share of the depth before which neither reaches it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.models)) != 2 or not 0.0 < self.within < 1.0 or not 0.0 <= self.at_least < 1.0:
            raise ValueError("RecoveryDepthsAgree: two models, and shares of the depth")
        _check_level(self.level, self.rows)

    def __str__(self) -> str:
        late = f", and in neither before {self.at_least:.0%} of it" if self.at_least else ""
        return (
            f"in {self.experiment}, {self.level:.0%} of the recovery{self.whose} of {self.rows} is reached at the same "
            f"share of the depth in {' and '.join(self.models)}, within {self.within:g}{late}"
        )


def _one_bound(criterion: Criterion, at_least: float | None, at_most: float | None) -> None:
    if (at_least is None) == (at_most is None):
        raise ValueError(f"{type(criterion).__name__}: give either at_least or at_most")


def _bound(at_least: float | None, at_most: float | None) -> float:
    bound = at_most if at_least is None else at_least
    assert bound is not None
    return bound


def _side(at_least: float | None) -> str:
    return "at most" if at_least is None else "at least"


def _ascending(
    criterion: Criterion, at_least: float | None, at_most: float | None, least: float, most: float
) -> None:
    edges = [edge for edge in (at_least, at_most) if edge is not None]
    if not edges or edges != sorted(set(edges)) or edges[0] < least or edges[-1] > most:
        raise ValueError(
            f"{type(criterion).__name__}: bounds ascend within {least:g} to {most:g}, and there is at least one"
        )


def _check_level(level: float, rows: AdapterRows) -> None:
    if not 0.0 < level < 1.0 or rows.blocks != EVERY_BLOCK or rows.on is On.ANOTHERS_LAST:
        raise ValueError(
            "a depth of recovery: a level between 0 and 1, and every block, of the prompt itself"
        )


def _band(at_least: float | None, at_most: float | None) -> str:
    if at_least is not None and at_most is not None:
        return f"{at_least:g} to {at_most:g}"
    return f"{at_most:g} or less" if at_least is None else f"{at_least:g} or more"
