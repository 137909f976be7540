"""Copying in prose: a sentence comes back to a word that was said before."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.build import Group, family, others, windows
from tasks.words import ANIMALS, CITIES, COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES


def _each(text: str, words: Sequence[str]) -> Iterator[Group]:
    """`text` with {w} filled in, four neighbours a group; the answer is {w} again."""
    for group in windows(words, 4):
        yield [(text.format(w=w), f" {w}") for w in group]


def favorite_color() -> Iterator[Group]:
    yield from _each("Last year her favorite color was {w}. I asked her again today, and it is still", COLORS)


def typed_password() -> Iterator[Group]:
    yield from _each("The password he gave me was {w}, so the word I typed into the box was", ANIMALS)


def calling_the_dog() -> Iterator[Group]:
    yield from _each("Our dog is called {w}. When we want our dog to come, we shout", NAMES)


def remembered_trip() -> Iterator[Group]:
    yield from _each("In spring we went to {w}. My sister still likes to talk about our trip to", CITIES)


def waiter() -> Iterator[Group]:
    yield from _each("I told the waiter that I wanted {w}, and he wrote down that I wanted", FOODS)


def word_on_the_board() -> Iterator[Group]:
    yield from _each("The teacher wrote the word {w} on the board, and the class read aloud:", OBJECTS)


def kept_promise() -> Iterator[Group]:
    yield from _each("He had promised to bring {w}, and when he came, he had really brought", FOODS)


def lost_and_found() -> Iterator[Group]:
    yield from _each("I lost my {w} on the bus, but the driver found it and gave me back my", OBJECTS)


def letter_to_a_friend() -> Iterator[Group]:
    yield from _each("The letter began with Dear {w}, so it must have been written to", NAMES)


def told_at_home() -> Iterator[Group]:
    yield from _each("At the zoo the boy saw a {w}, and at home he told everyone about the", ANIMALS)


def sign_on_the_road() -> Iterator[Group]:
    yield from _each("The sign said that this was the way to the {w}, so we soon came to the", PLACES)


def chosen_job() -> Iterator[Group]:
    yield from _each(
        "As a child she wanted to become a {w}, and today she really is a", others(JOBS, "artist")
    )


FAMILY = family(
    "copying_in_prose",
    "Say again a word that an everyday sentence has mentioned.",
    (
        favorite_color,
        typed_password,
        calling_the_dog,
        remembered_trip,
        waiter,
        word_on_the_board,
        kept_promise,
        lost_and_found,
        letter_to_a_friend,
        told_at_home,
        sign_on_the_road,
        chosen_job,
    ),
)
