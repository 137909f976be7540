"""The suites: named, fixed lists of task families, and the digest of what they can draw."""

from __future__ import annotations

import hashlib
import json
from functools import cache

from tasks.families import (
    arithmetic,
    code_semantics,
    code_syntax,
    copying,
    dead_code,
    delimiter_tracking,
    factual_recall,
    json_schema,
    refusal_compliance,
    uncertainty,
    variable_renaming,
    verbosity_control,
)
from tasks.prompts import TaskFamily

_NARROW = (
    copying.FAMILY,
    delimiter_tracking.FAMILY,
    json_schema.FAMILY,
    factual_recall.FAMILY,
    arithmetic.FAMILY,
    code_syntax.FAMILY,
    code_semantics.FAMILY,
    dead_code.FAMILY,
)
_REST = (
    variable_renaming.FAMILY,
    refusal_compliance.FAMILY,
    verbosity_control.FAMILY,
    uncertainty.FAMILY,
)

SUITES: dict[str, tuple[TaskFamily, ...]] = {"narrow": _NARROW, "full": _NARROW + _REST}
"""`narrow`: the 8 families of the atlas's first study of Qwen2.5-1.5B. `full`: all 12."""


class UnknownSuite(ValueError):
    """No suite has that name."""


def find_suite(name: str) -> tuple[TaskFamily, ...]:
    """The families of suite `name`.

    Raises:
        UnknownSuite: no suite has that name; the message lists the known ones.
    """
    if name not in SUITES:
        raise UnknownSuite(f"no suite is named {name!r}; choose one of: {', '.join(SUITES)}")
    return SUITES[name]


@cache
def suite_digest(name: str) -> str:
    """sha256 (hex) over every candidate of a suite: it changes with the prompts, not with their code.

    Raises:
        UnknownSuite: no suite has that name.
    """
    content = [
        [
            family.name,
            [
                [p.template, p.text, p.answer, p.foil]
                for pair in family.candidates()
                for p in (pair.clean, pair.corrupt)
            ],
        ]
        for family in find_suite(name)
    ]
    canonical = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
