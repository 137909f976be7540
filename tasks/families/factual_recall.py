"""Factual recall: one common fact about the world or the language, with one right word."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family
from tasks.words import NUMBERS

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Germany": "Berlin",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "Russia": "Moscow",
    "China": "Beijing",
    "England": "London",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Ireland": "Dublin",
    "Austria": "Vienna",
    "Portugal": "Lisbon",
    "Poland": "Warsaw",
    "Cuba": "Havana",
    "Sweden": "Stockholm",
}
LANGUAGES = {
    "France": "French",
    "Italy": "Italian",
    "Germany": "German",
    "Spain": "Spanish",
    "Japan": "Japanese",
    "Russia": "Russian",
    "China": "Chinese",
    "England": "English",
    "Egypt": "Arabic",
    "Brazil": "Portuguese",
    "Mexico": "Spanish",
    "Korea": "Korean",
    "Poland": "Polish",
    "Sweden": "Swedish",
}
CONTINENTS = {
    "Egypt": "Africa",
    "Kenya": "Africa",
    "Nigeria": "Africa",
    "Ghana": "Africa",
    "France": "Europe",
    "Spain": "Europe",
    "Italy": "Europe",
    "Germany": "Europe",
    "Poland": "Europe",
    "China": "Asia",
    "India": "Asia",
    "Japan": "Asia",
    "Thailand": "Asia",
    "Vietnam": "Asia",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "up": "down",
    "left": "right",
    "good": "bad",
    "black": "white",
    "day": "night",
    "open": "closed",
    "rich": "poor",
    "strong": "weak",
    "early": "late",
    "true": "false",
    "love": "hate",
    "war": "peace",
    "north": "south",
    "east": "west",
}
YOUNG = {"dog": "puppy", "cat": "kitten", "cow": "calf", "bear": "cub", "sheep": "lamb", "chicken": "chick"}
CURRENCIES = {
    "Japan": "yen",
    "China": "yuan",
    "India": "rupee",
    "Mexico": "peso",
    "Germany": "euro",
    "Canada": "dollar",
    "Russia": "ruble",
    "Britain": "pound",
    "Australia": "dollar",
    "Spain": "euro",
    "Italy": "euro",
    "England": "pound",
}
COLORS_OF_THINGS = {
    "grass": "green",
    "snow": "white",
    "blood": "red",
    "coal": "black",
    "milk": "white",
    "chocolate": "brown",
    "gold": "yellow",
    "salt": "white",
    "rice": "white",
    "wood": "brown",
}
SENSES = {"eyes": "see", "ears": "hear", "nose": "smell", "legs": "walk", "mouth": "eat", "brain": "think"}
KINDS = {
    "salmon": "fish",
    "shark": "fish",
    "rose": "flower",
    "apple": "fruit",
    "hammer": "tool",
    "piano": "instrument",
    "guitar": "instrument",
    "banana": "fruit",
    "chess": "game",
    "football": "sport",
    "French": "language",
    "blue": "color",
    "gold": "metal",
    "iron": "metal",
}
SIDES = {"triangle": 3, "square": 4, "rectangle": 4, "pentagon": 5, "hexagon": 6}
LEGS = {"spider": 8, "dog": 4, "bird": 2, "man": 2, "horse": 4, "cat": 4, "chicken": 2, "cow": 4}
PAST = {
    "go": "went",
    "see": "saw",
    "run": "ran",
    "eat": "ate",
    "take": "took",
    "give": "gave",
    "come": "came",
    "write": "wrote",
    "speak": "spoke",
    "make": "made",
    "find": "found",
    "know": "knew",
    "think": "thought",
    "buy": "bought",
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def _ask(text: str, facts: dict[str, str]) -> Group:
    """One variant per fact: `text` with the subject filled in, and the fact after a space."""
    return [(text.format(subject), f" {fact}") for subject, fact in facts.items()]


def _next(cycle: tuple[str, ...]) -> dict[str, str]:
    return {item: cycle[(i + 1) % len(cycle)] for i, item in enumerate(cycle)}


def capital_city() -> Iterator[Group]:
    yield _ask("The capital of {} is the city of", CAPITALS)


def country_of_capital() -> Iterator[Group]:
    yield _ask(
        "{} is the capital city of the country called", {c: country for country, c in CAPITALS.items()}
    )
    yield _ask("The city of {} is the capital of", {c: country for country, c in CAPITALS.items()})


def national_language() -> Iterator[Group]:
    yield _ask("The language that most people in {} speak is", LANGUAGES)


def continent() -> Iterator[Group]:
    yield _ask("{} is a country on the continent of", CONTINENTS)


def opposite() -> Iterator[Group]:
    yield _ask("The opposite of tall is short. The opposite of {} is", OPPOSITES)


def young_animal() -> Iterator[Group]:
    yield _ask("A young horse is called a foal. A young {} is called a", YOUNG)
    yield _ask("The baby of a {} is known as a", YOUNG)


def currency() -> Iterator[Group]:
    yield _ask("The currency used in {} is called the", CURRENCIES)
    yield _ask("In {}, people pay for things with the", CURRENCIES)


def color_of_thing() -> Iterator[Group]:
    yield _ask("The sky is blue. The color of {} is", COLORS_OF_THINGS)


def sense_organ() -> Iterator[Group]:
    yield _ask("Hands are used to hold. The {} is used to", SENSES)
    yield _ask("People use their {} in order to", SENSES)


def kind_of_thing() -> Iterator[Group]:
    yield _ask("Everyone knows that {} is the name of a kind of", KINDS)


def number_of_sides() -> Iterator[Group]:
    sides = {shape: NUMBERS[n] for shape, n in SIDES.items()}
    yield _ask("The number of sides of a {} is", sides)
    yield _ask("In geometry, a {} always has exactly", sides)
    yield _ask("Count the corners of a {}: there are", sides)


def number_of_legs() -> Iterator[Group]:
    yield _ask("An ant has six legs. A {} has", {animal: NUMBERS[n] for animal, n in LEGS.items()})
    yield _ask(
        "An insect walks on six legs, a {} walks on", {animal: NUMBERS[n] for animal, n in LEGS.items()}
    )


def past_tense() -> Iterator[Group]:
    yield _ask("Today I sing, yesterday I sang. Today I {}, yesterday I", PAST)


def next_day() -> Iterator[Group]:
    yield _ask("The day after {} is always", _next(DAYS))
    yield _ask("If today is {}, then tomorrow is", _next(DAYS))


def next_month() -> Iterator[Group]:
    yield _ask("The month right after {} is", _next(MONTHS))


FAMILY = family(
    "factual_recall",
    "Recall a common fact: capitals, languages, opposites, colours, the calendar and the like.",
    (
        capital_city,
        country_of_capital,
        national_language,
        continent,
        opposite,
        young_animal,
        currency,
        color_of_thing,
        sense_organ,
        kind_of_thing,
        number_of_sides,
        number_of_legs,
        past_tense,
        next_day,
        next_month,
    ),
)
