"""Which models are judged by which cards: one `Case` a way of being right or wrong.

`target` is the wanted distance from the threshold (`truth.size`): below 1 the claim is false, above it is true.
A chapter is added by its cases in CASES; a kind of planted model it brings, in `models.PLANS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from harness.calibration.cards import Card, at_layer, card, selecting
from harness.calibration.models import Model, Workshop, bisect
from harness.planted import twin_pairs
from harness.planted.redundant_pair import sets_with_pair
from harness.planted.writers import N_HEADS
from harness.verdicts.criteria import EveryProbe, HubIs, SomeProbe
from harness.verdicts.selectors import Blocks, ExitAt, Heads

HUB, SKIP, EXIT, IDENTITY, HEADS, MECHANISM = (
    "1. Hub location",
    "2. Layer skipping",
    "3. Early exit",
    "4. The instrument",
    "5. Head effects",
    "6. Hub mechanism",
)
FALSE_TARGETS = (0.5, 0.8, 0.95)
TRUE_TARGETS = (1.05, 1.25, 1.5, 2.0, 3.0)
MEASURED_EVERY = 4


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A model and the cards it is judged by."""

    model: Model
    cards: tuple[Card, ...]


Make = Callable[[Workshop, Generator, float], Asked]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Random models of one sort: `models` of them for each target."""

    chapter: str
    name: str
    make: Make | None = None
    """None for trials that are made otherwise (`identities`)."""
    targets: tuple[float, ...] = FALSE_TARGETS + TRUE_TARGETS
    models: int = 8
    again: int = 4
    """Further redrawn samples on which each model is judged."""
    cards: tuple[str, ...] = ()
    """Cards that it is judged by, for the stamp; a name that ends in * stands for all that begin so."""
    kinds: tuple[str, ...] = ()
    """Modules of `harness.planted` that build its models."""
    code: tuple[Callable[..., Any], ...] = ()
    """What makes and judges its trials, beside `make`."""
    measures: bool = False
    """Whether the engine measures every trial (else every MEASURED_EVERY-th of those of `make`)."""

    def asks(self, card: str) -> bool:
        """Whether it is judged by the card of that id."""
        return any(card.startswith(name[:-1]) if name.endswith("*") else card == name for name in self.cards)

    def measured(self, index: int) -> bool:
        """Whether the engine measures the model of this index."""
        return self.measures or (self.make is not None and index % MEASURED_EVERY == 1)


def number(chapter: str) -> tuple[int, str]:
    """The chapter's number, for sorting and for naming; after all others where it has none."""
    head = chapter.split(".")[0]
    return (int(head), head) if head.isdigit() else (10_000, head)


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31))


def _hub_cards(shop: Workshop, model: Model) -> tuple[Card, ...]:
    """Some block is the hub; the second strongest is (never true). Of the strongest the first card says it all."""
    order = shop.means(model, card(shop.claims, "hub-exists")).argsort()[::-1]
    some = card(shop.claims, "hub-exists")
    wrong = at_layer(card(shop.claims, "hub-1_5b-l14", name="hub-1_5b-l14 elsewhere"), int(order[1]))
    return some, wrong


def hub_criterion(shop: Workshop) -> HubIs:
    """What `hub-exists` asks."""
    (criterion,) = card(shop.claims, "hub-exists").criteria
    assert isinstance(criterion, HubIs)
    return criterion


def _effect_of(shop: Workshop, layer: int) -> Card:
    """The least effect that a hub must have, asked of one block: for finding a strength, not for judging."""
    bound = SomeProbe(
        experiment="layer_sweep",
        select=Blocks(layers=(layer,)),
        metric="kl_nats",
        at_least=hub_criterion(shop).min_effect_nats,
        rationale="as the hub's",
    )
    return card(shop.claims, "hub-exists").asking(lambda _: bound)


def hub_lead(shop: Workshop, rng: Generator, target: float) -> Asked:
    """A hub and a rival, the lead at `target` times the least lead."""
    n = int(rng.integers(4, 13))
    layer, rival = (int(i) for i in rng.permutation(n)[:2])
    hub = float(rng.uniform(0.5, 1.2))
    fixed: dict[str, Any] = {
        "layer": layer,
        "rival": rival,
        "n_layers": n,
        "seed": _seed(rng),
        "hub_strength": hub,
        "background": float(rng.uniform(0.05, 0.2)) * hub,
        "twin": bool(rng.random() < 0.3),
        "spread": float(rng.uniform(0.0, 2.0)),
    }
    some, least = card(shop.claims, "hub-exists"), hub_criterion(shop).min_lead

    def lead(strength: float) -> float:
        means = shop.means(shop.model("rivals", rival_strength=strength, **fixed), some)
        return float((means[layer] - means[rival]) / means[layer] / least)

    strength = bisect(lead, target, 0.5 * hub, hub)
    model = shop.model("rivals", rival_strength=strength, **fixed)
    return Asked(model=model, cards=_hub_cards(shop, model))


def hub_effect(shop: Workshop, rng: Generator, target: float) -> Asked:
    """A clear hub whose effect is `target` times the least effect."""
    n = int(rng.integers(4, 13))
    share = float(rng.uniform(0.1, 0.33))
    fixed: dict[str, Any] = {"layer": int(rng.integers(n)), "n_layers": n, "seed": _seed(rng)}
    strong = _effect_of(shop, fixed["layer"])
    model = shop.tune(
        lambda s: shop.model("hub", hub_strength=s, background=share * s, **fixed), strong, target, 0.05, 0.8
    )
    return Asked(model=model, cards=_hub_cards(shop, model))


def hub_tie(shop: Workshop, rng: Generator, target: float) -> Asked:
    """Every block has a twin: no hub."""
    model = shop.model(
        "null",
        n_layers=2 * int(rng.integers(2, 7)),
        seed=_seed(rng),
        top_strength=float(rng.uniform(0.3, 1.0)),
        decay=float(rng.uniform(0.4, 0.98)),
    )
    return Asked(model=model, cards=_hub_cards(shop, model))


def _single_cards(shop: Workshop) -> tuple[Card, Card]:
    return card(shop.claims, "audit-skip"), card(shop.claims, "every-layer-necessary")


def fatal_block(shop: Workshop, rng: Generator, target: float) -> Asked:
    """A hub without which at most a tenth of the top five is left, give or take."""
    n = int(rng.integers(4, 13))
    layer = int(rng.integers(n))
    fixed: dict[str, Any] = {
        "layer": layer,
        "n_layers": n,
        "seed": _seed(rng),
        "background": float(rng.uniform(0.01, 0.1)),
    }
    fatal = selecting(
        card(
            shop.claims,
            "hub-l15-weakest-essential",
            name="hub-l15-weakest-essential, 2nd half",
            only=EveryProbe,
        ),
        Blocks(layers=(layer,)),
    )
    model = shop.tune(lambda s: shop.model("hub", hub_strength=s, **fixed), fatal, target, 0.3, 6.0)
    return Asked(model=model, cards=(fatal, *_single_cards(shop)))


def spared_set(shop: Workshop, rng: Generator, target: float) -> Asked:
    """A redundant pair, without which a fifth of the top five is left, give or take."""
    n = int(rng.integers(6, 13))
    placed = [
        (first, second, reader)
        for reader in range(2, n)
        for second in range(1, reader)
        for first in range(second)
        if sets_with_pair((first, second), reader=reader, n_layers=n)
    ]
    first, second, reader = placed[rng.integers(len(placed))]
    sets = sets_with_pair((first, second), reader=reader, n_layers=n)
    fixed: dict[str, Any] = {
        "first": first,
        "second": second,
        "reader": reader,
        "n_layers": n,
        "seed": _seed(rng),
        "background": float(rng.uniform(0.02, 0.1)),
    }
    spared = selecting(card(shop.claims, "skip-1_5b-mid5"), Blocks(layers=sets[rng.integers(len(sets))]))
    model = shop.tune(
        lambda s: shop.model("redundant_pair", read_strength=s, **fixed), spared, target, 0.02, 5.0
    )
    return Asked(model=model, cards=(spared, card(shop.claims, "skip-all-scales")))


def free_block(shop: Workshop, rng: Generator, target: float) -> Asked:
    """Twins, the weakest of which changes the likeliest token on a twentieth of prompts, give or take."""
    fixed: dict[str, Any] = {
        "n_layers": 2 * int(rng.integers(2, 7)),
        "seed": _seed(rng),
        "decay": float(rng.uniform(0.8, 0.99)),
    }
    free, everyone = _single_cards(shop)
    weakest = twin_pairs(n_layers=fixed["n_layers"], seed=fixed["seed"])[-1][0]
    alone = selecting(free, Blocks(layers=(weakest,)))
    model = shop.tune(lambda s: shop.model("null", top_strength=s, **fixed), alone, target, 0.01, 2.0)
    return Asked(model=model, cards=(free, everyone))


def _late_read(shop: Workshop, rng: Generator, target: float, last: bool) -> Asked:
    n = int(rng.integers(4, 13))
    layer = n - 1 if last else int(rng.integers(1, n - 1))
    fixed: dict[str, Any] = {
        "layer": layer,
        "n_layers": n,
        "seed": _seed(rng),
        "background": float(rng.uniform(0.005, 0.03)),
    }
    nowhere = card(shop.claims, "early-exit-fails-everywhere")
    exits = card(shop.claims, "early-exit-0_5b-l22", name="early-exit-0_5b-l22 at the block before")
    cards = (nowhere, selecting(exits, ExitAt(layer=layer - 1)))
    model = shop.tune(
        lambda s: shop.model("late_read", read_strength=s, **fixed), cards[not last], target, 0.3, 6.0
    )
    return Asked(model=model, cards=cards)


def no_exit(shop: Workshop, rng: Generator, target: float) -> Asked:
    """The last block writes the prediction: earlier exits keep a tenth of the likeliest tokens, give or take."""
    return _late_read(shop, rng, target, last=True)


def some_exit(shop: Workshop, rng: Generator, target: float) -> Asked:
    """A middle block writes the prediction: later exits are the model."""
    return _late_read(shop, rng, target, last=False)


def _head_cards(shop: Workshop) -> tuple[Card, Card]:
    return card(shop.claims, "head-none-moves-a-nat"), card(shop.claims, "head-some-matters")


def _copy_head(shop: Workshop, rng: Generator, target: float, which: int) -> Asked:
    n = int(rng.integers(4, 9))
    fixed: dict[str, Any] = {
        "layer": int(rng.integers(n)),
        "head": int(rng.integers(N_HEADS)),
        "n_layers": n,
        "seed": _seed(rng),
        "distance": int(rng.integers(1, 5)),
        "background": float(rng.uniform(0.02, 0.2)),
    }
    cards = _head_cards(shop)
    alone = selecting(cards[which], Heads(heads=((fixed["layer"], fixed["head"]),)))
    model = shop.tune(lambda s: shop.model("copy_head", copy_strength=s, **fixed), alone, target, 0.01, 5.0)
    return Asked(model=model, cards=cards)


def copies_a_nat(shop: Workshop, rng: Generator, target: float) -> Asked:
    """One copy head of about a nat."""
    return _copy_head(shop, rng, target, 0)


def copies_a_tenth(shop: Workshop, rng: Generator, target: float) -> Asked:
    """One copy head of about a tenth of a nat."""
    return _copy_head(shop, rng, target, 1)


def rare_head(shop: Workshop, rng: Generator, target: float) -> Asked:
    """A head that works on the few prompts that mention a known subject, and there strongly."""
    n = int(rng.integers(4, 9))
    mover = int(rng.integers(1, n))
    fixed: dict[str, Any] = {
        "facts": _facts(shop),
        "layer": int(rng.integers(mover)),
        "mover": (mover, int(rng.integers(N_HEADS))),
        "n_layers": n,
        "seed": _seed(rng),
        "background": float(rng.uniform(0.02, 0.1)),
    }
    cards = _head_cards(shop)
    alone = selecting(cards[1], Heads(heads=(fixed["mover"],)))
    model = shop.tune(lambda s: shop.model("fact", fact_strength=s, **fixed), alone, target, 0.05, 6.0)
    return Asked(model=model, cards=cards)


def _facts(shop: Workshop) -> list[tuple[int, int]]:
    from harness.planted.fact import COMMON_FACTS

    return [(shop.tokens(subject)[0], shop.tokens(answer)[0]) for subject, answer in COMMON_FACTS]


def crowded_heads(shop: Workshop, rng: Generator, target: float) -> Asked:
    """Many heads of like strength, the strongest at about a tenth of a nat."""
    fixed: dict[str, Any] = {
        "n_layers": 2 * int(rng.integers(2, 5)),
        "seed": _seed(rng),
        "decay": float(rng.uniform(0.8, 0.99)),
    }
    cards = _head_cards(shop)
    top = twin_pairs(n_layers=fixed["n_layers"], seed=fixed["seed"])[0][0]
    alone = selecting(cards[1], Heads(heads=tuple((top, head) for head in range(N_HEADS))))
    model = shop.tune(lambda s: shop.model("null", top_strength=s, **fixed), alone, target, 0.1, 4.0)
    return Asked(model=model, cards=cards)


HUB_CARDS = ("hub-exists", "hub-1_5b-l14")
SINGLE_CARDS = ("audit-skip", "every-layer-necessary")
EXIT_CARDS = ("early-exit-fails-everywhere", "early-exit-0_5b-l22")
HEAD_CARDS = ("head-none-moves-a-nat", "head-some-matters")

CASES: tuple[Case, ...] = (
    Case(chapter=HUB, name="lead", make=hub_lead, models=14, again=1, cards=HUB_CARDS, kinds=()),
    Case(chapter=HUB, name="effect", make=hub_effect, models=6, again=1, cards=HUB_CARDS, kinds=("hub",)),
    Case(
        chapter=HUB,
        name="tie",
        make=hub_tie,
        targets=(0.0,),
        models=40,
        again=1,
        cards=HUB_CARDS,
        kinds=("null",),
    ),
    Case(
        chapter=SKIP,
        name="fatal block",
        make=fatal_block,
        models=9,
        cards=("hub-l15-weakest-essential", *SINGLE_CARDS),
        kinds=("hub",),
    ),
    Case(
        chapter=SKIP,
        name="spared set",
        make=spared_set,
        models=9,
        cards=("skip-1_5b-mid5", "skip-all-scales"),
        kinds=("redundant_pair",),
    ),
    Case(chapter=SKIP, name="free block", make=free_block, models=9, cards=SINGLE_CARDS, kinds=("null",)),
    Case(chapter=EXIT, name="no exit", make=no_exit, models=22, cards=EXIT_CARDS, kinds=("late_read",)),
    Case(
        chapter=EXIT,
        name="some exit",
        make=some_exit,
        targets=(1.5,),
        models=30,
        cards=EXIT_CARDS,
        kinds=("late_read",),
    ),
    Case(chapter=HEADS, name="copies a nat", make=copies_a_nat, cards=HEAD_CARDS, kinds=("copy_head",)),
    Case(chapter=HEADS, name="copies a tenth", make=copies_a_tenth, cards=HEAD_CARDS, kinds=("copy_head",)),
    Case(chapter=HEADS, name="rare head", make=rare_head, cards=HEAD_CARDS, kinds=("fact",)),
    Case(chapter=HEADS, name="crowded heads", make=crowded_heads, cards=HEAD_CARDS, kinds=("null",)),
)
