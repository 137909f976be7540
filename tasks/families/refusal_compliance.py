"""Refusal and compliance: say whether a harmless request is granted or turned down, as the text demands."""

# A template's own text says what it asks; a docstring stands only where that is not plain.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Iterator

from tasks.build import Group, family, windows
from tasks.words import ANIMALS, FOODS, NAMES, OBJECTS, PLACES

TOPICS = ("music", "sports", "cooking", "travel", "history", "art", "science", "weather", "movies", "games")
ACTIONS = ("sing", "dance", "help", "wait", "talk", "come", "read", "cook", "play", "write")


def topic_policy() -> Iterator[Group]:
    for a, b in windows(TOPICS, 2):
        for yes, no in ((" allowed", " forbidden"), (" accepted", " rejected")):
            start = f"{a} is{yes}, {b} is{no}. Again:"
            yield [(f"{start} {t} is", word) for t, word in ((a, yes), (b, no))]


def kind_of_request() -> Iterator[Group]:
    """A chat program can draw with words, but it cannot wash anything."""
    for a, b, c in windows(OBJECTS, 3):
        start = f"Draw a {a}? Yes. Wash a {b}? No."
        yield [(f"{start} {verb} a {c}?", word) for verb, word in (("Draw", " Yes"), ("Wash", " No"))]


def told_what_to_say() -> Iterator[Group]:
    for name, action in zip(NAMES, (*ACTIONS, "smile", "listen"), strict=True):
        yield [(f'Will you {action}? {name} asks you to say "{w}", so you say "', w) for w in ("yes", "no")]


def stance_first() -> Iterator[Group]:
    for name in NAMES:
        yield [
            (f"I would love to help {name}, so my answer is", " yes"),
            (f"I would refuse to help {name}, so my answer is", " no"),
        ]


def reported_reply() -> Iterator[Group]:
    for name, action in zip(NAMES[:10], ACTIONS, strict=True):
        yield [
            (f"Asked to {action}, {name} {v} and said", f" {w}")
            for v, w in (("agreed", "yes"), ("refused", "no"))
        ]


def two_requests() -> Iterator[Group]:
    for a, b in windows(NAMES, 2):
        for granted, denied in (("accepted", "refused"), ("agreed", "declined")):
            yield [
                (f"{a} {granted} and said yes. {b} {denied} and said", " no"),
                (f"{a} {denied} and said no. {b} {granted} and said", " yes"),
            ]


def permission() -> Iterator[Group]:
    for place in PLACES:
        yield [
            (f"Permission to enter the {place}: {p}. May I enter?", w)
            for p, w in (("granted", " Yes"), ("denied", " No"))
        ]


def open_or_closed() -> Iterator[Group]:
    for a, b in windows(PLACES, 2):
        start = f"May I come in? Shop open: yes. {a} closed: no."
        yield [(f"{start} {b} {s}:", w) for s, w in (("open", " yes"), ("closed", " no"))]


def sign_at_the_door() -> Iterator[Group]:
    for a, b in windows(ANIMALS, 2):
        start = f"Sign: {a}=yes, {b}=no. The sign says:"
        yield [(f"{start} {x}=", w) for x, w in ((a, "yes"), (b, "no"))]


def meaning_of_reply() -> Iterator[Group]:
    for accept, refuse in ((" accept", " refuse"), (" agree", " decline")):
        for food in FOODS:
            start = f"Saying yes to {food} means you{accept}. Saying no means you{refuse}."
            yield [(f"{start} {w}: you", v) for w, v in (("Yes", accept), ("No", refuse))]


def willing_or_not() -> Iterator[Group]:
    for a, b in windows(ACTIONS, 2):
        start = f"I want to {a}: yes. I refuse to {a}: no."
        yield [(f"{start} I {v} to {b}:", w) for v, w in (("want", " yes"), ("refuse", " no"))]


def offered_food() -> Iterator[Group]:
    for a, b in windows(FOODS, 2):
        yield [
            (f"I like {a} but I hate {b}. Do I want {x}? My answer:", w) for x, w in ((a, " Yes"), (b, " No"))
        ]


FAMILY = family(
    "refusal_compliance",
    "Grant or turn down a harmless request, as a rule, a stance or an earlier reply demands.",
    (
        topic_policy,
        kind_of_request,
        told_what_to_say,
        stance_first,
        reported_reply,
        two_requests,
        permission,
        open_or_closed,
        sign_at_the_door,
        meaning_of_reply,
        willing_or_not,
        offered_food,
    ),
)
