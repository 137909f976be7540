"""Fillers shared by the families: common words, chosen because most tokenizers keep each as one token."""

from __future__ import annotations

LETTERS = tuple("ABCDEFGHKLMNPRSTVXYZ")
VARIABLES = tuple("abckmnpstvxyz")
DIGITS = tuple(range(1, 10))
NAMES = ("Tom", "Ann", "Bob", "Sam", "Max", "Mary", "John", "Paul", "Anna", "Peter", "David", "Jack")
ANIMALS = ("dog", "cat", "horse", "bear", "lion", "fish", "bird", "wolf", "mouse", "snake", "tiger", "duck")
COLORS = ("red", "blue", "green", "black", "white", "yellow", "brown", "pink", "gray", "orange")
FOODS = (
    "bread",
    "rice",
    "milk",
    "cheese",
    "soup",
    "meat",
    "fruit",
    "salt",
    "sugar",
    "honey",
    "tea",
    "coffee",
)
OBJECTS = ("book", "chair", "table", "lamp", "door", "box", "ball", "key", "ring", "hat", "cup", "clock")
PLACES = ("house", "school", "garden", "river", "forest", "beach", "market", "office", "park", "bridge")
CITIES = ("Paris", "London", "Rome", "Berlin", "Madrid", "Tokyo", "Vienna", "Boston", "Chicago", "Dublin")
JOBS = ("doctor", "teacher", "lawyer", "farmer", "pilot", "artist", "writer", "driver", "nurse", "singer")
NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
"""NUMBERS[n] spells n."""
