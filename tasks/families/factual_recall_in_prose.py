"""The facts of `factual_recall` as they come up in talk."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tasks.build import Group, family
from tasks.families.factual_recall import (
    CAPITALS,
    COLORS_OF_THINGS,
    CONTINENTS,
    CURRENCIES,
    DAYS,
    KINDS,
    LANGUAGES,
    LEGS,
    MONTHS,
    OPPOSITES,
    SENSES,
    SIDES,
    YOUNG,
)
from tasks.words import NUMBERS


def _ask(text: str, facts: Mapping[str, str]) -> Group:
    """One variant per fact: `text` with the subject filled in, and the fact after a space."""
    return [(text.format(subject), f" {fact}") for subject, fact in facts.items()]


def _next(cycle: tuple[str, ...]) -> dict[str, str]:
    return {item: cycle[(i + 1) % len(cycle)] for i, item in enumerate(cycle)}


def visit_to_the_capital() -> Iterator[Group]:
    yield _ask("My friend wants to see the capital of {}, so she has booked a flight to", CAPITALS)


def standing_in_a_capital() -> Iterator[Group]:
    cities = {city: country for country, city in CAPITALS.items()}
    yield _ask("If you are standing in the middle of {}, then the country around you is", cities)


def learning_the_language() -> Iterator[Group]:
    yield _ask("Before she moved to {}, my sister spent a whole year learning to speak", LANGUAGES)


def finding_the_continent() -> Iterator[Group]:
    yield _ask("Somebody who travels all over {} has seen a part of the continent of", CONTINENTS)


def saying_the_opposite() -> Iterator[Group]:
    yield _ask("When the teacher asked for the opposite of {}, all the children answered", OPPOSITES)


def meeting_a_young_animal() -> Iterator[Group]:
    yield _ask("Our neighbour has a {} that has just become a mother, and her baby is a", YOUNG)
    yield _ask("Nobody would call the baby of a {} by that name, since everyone calls it a", YOUNG)


def changing_money() -> Iterator[Group]:
    yield _ask("Before our trip to {} we went to the bank to get the money used there, the", CURRENCIES)


def describing_a_color() -> Iterator[Group]:
    yield _ask("If you asked a child to paint {}, the child would use the color that fits,", COLORS_OF_THINGS)
    yield _ask("What most people would say about the color of {} is that it is", COLORS_OF_THINGS)


def using_a_sense() -> Iterator[Group]:
    yield _ask("Without our {} life would be hard, because we need them when we want to", SENSES)
    yield _ask("As a child I learned in school that it is with our {} that we", SENSES)


def explaining_a_word() -> Iterator[Group]:
    yield _ask("My little brother asked me what {} is, and I told him that it is a kind of", KINDS)


def counting_legs() -> Iterator[Group]:
    legs = {animal: NUMBERS[n] for animal, n in LEGS.items()}
    yield _ask("I watched a {} go by and counted the legs, and of course the number was", legs)
    yield _ask("To draw a {} you have to remember how many legs it has, which is", legs)


def drawing_a_shape() -> Iterator[Group]:
    sides = {shape: NUMBERS[n] for shape, n in SIDES.items()}
    yield _ask("To draw a {} with a ruler, the number of straight lines that you need is", sides)
    yield _ask("I cut a {} out of paper and counted its corners: there were exactly", sides)


def moved_appointment() -> Iterator[Group]:
    yield _ask("We wanted to meet on {}, but she could only come a day later, so we met on", _next(DAYS))


def monthly_rent() -> Iterator[Group]:
    yield _ask("We have just paid the rent for {}, so the next one is the rent for", _next(MONTHS))


FAMILY = family(
    "factual_recall_in_prose",
    "Recall a common fact that an everyday sentence asks for.",
    (
        visit_to_the_capital,
        standing_in_a_capital,
        learning_the_language,
        finding_the_continent,
        saying_the_opposite,
        meeting_a_young_animal,
        changing_money,
        describing_a_color,
        using_a_sense,
        explaining_a_word,
        counting_legs,
        drawing_a_shape,
        moved_appointment,
        monthly_rent,
    ),
)
