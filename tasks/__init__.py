"""Prompts: task families, clean/corrupt pairs, seeded draws that a model's tokenizer has verified. No torch.

    from tasks import draw_suite
    drawn = draw_suite("narrow", n_per_family=30, seed=42, encode=lambda text: tokenizer(text)["input_ids"])

`drawn.pairs` are `PromptPair`s whose answer and foil are each one token in context. A family is one module of
`tasks.families`; to add one, write its templates there (see `tasks.build`) and list it in `tasks.suites`.
`tasks.survey` counts what a tokenizer leaves of a suite.
"""

from tasks.prompts import Prompt, PromptPair, TaskFamily
from tasks.sampling import Draw, NotEnoughPrompts, SuiteDraw, draw, draw_suite, family_rng
from tasks.suites import SUITES, UnknownSuite, find_suite, suite_digest
from tasks.tokens import Encode, Rejection, answer_ids, verify_pair

__all__ = [
    "SUITES",
    "Draw",
    "Encode",
    "NotEnoughPrompts",
    "Prompt",
    "PromptPair",
    "Rejection",
    "SuiteDraw",
    "TaskFamily",
    "UnknownSuite",
    "answer_ids",
    "draw",
    "draw_suite",
    "family_rng",
    "find_suite",
    "suite_digest",
    "verify_pair",
]
