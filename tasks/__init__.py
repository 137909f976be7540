"""Prompts: task families, clean/corrupt pairs, seeded draws that a model's tokenizer has verified. No torch.

    from tasks import draw_suite
    drawn = draw_suite("narrow", n_per_family=30, seed=42, encode=lambda text: tokenizer(text)["input_ids"])

`drawn.pairs` are `PromptPair`s whose answer and foil are each one token in context. A family is one module of
`tasks.families`; to add one, write its templates there (see `tasks.build`) and list it in `tasks.suites`.
`tasks.survey` counts what a tokenizer leaves of a suite.

The suites show breadth, wording and length, one at a time:

- `narrow`, `full`, `extended`: 8, 12 and 16 families, each suite containing the one before.
- `natural`: 6 of the families worded as a person would ask; `IN_PROSE` maps a family of `full` to its rewording.
- `short`, `medium`, `long`: 6 families at 5 to 30, 30 to 150 and 150 to 1,000 tokens. Under one seed the three hold
  the same questions in the same order, after none, some and much neutral context (`tasks.bands`).

    spots = find_spots(pair.clean.text, offsets, pair.clean.slots)

puts each token of a drawn prompt in one class: first, last, operator, delimiter, instruction or content.
"""

from tasks.bands import BANDS, Band
from tasks.prompts import Prompt, PromptPair, Span, TaskFamily
from tasks.sampling import Draw, NotEnoughPrompts, SuiteDraw, draw, draw_suite, family_rng
from tasks.spots import SPOTS, find_spots
from tasks.suites import IN_PROSE, SUITES, UnknownSuite, find_suite, suite_digest
from tasks.tokens import Encode, Rejection, answer_ids, verify_pair

__all__ = [
    "BANDS",
    "IN_PROSE",
    "SPOTS",
    "SUITES",
    "Band",
    "Draw",
    "Encode",
    "NotEnoughPrompts",
    "Prompt",
    "PromptPair",
    "Rejection",
    "Span",
    "SuiteDraw",
    "TaskFamily",
    "UnknownSuite",
    "answer_ids",
    "draw",
    "draw_suite",
    "family_rng",
    "find_spots",
    "find_suite",
    "suite_digest",
    "verify_pair",
]
