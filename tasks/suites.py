"""The suites: named, fixed lists of task families, and the digest of what they can draw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache

from tasks.bands import BANDS, CONTEXT_OF, SEPARATOR
from tasks.contexts import CONTENT
from tasks.families import (
    arithmetic,
    arithmetic_in_prose,
    code_semantics,
    code_semantics_in_prose,
    code_syntax,
    constant_folding,
    control_flow_simplification,
    copying,
    copying_in_prose,
    dead_code,
    delimiter_tracking,
    delimiter_tracking_in_prose,
    factual_recall,
    factual_recall_in_prose,
    instruction_following,
    json_schema,
    json_schema_in_prose,
    refusal_compliance,
    string_decoding,
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

_ADDED = (
    instruction_following.FAMILY,
    string_decoding.FAMILY,
    constant_folding.FAMILY,
    control_flow_simplification.FAMILY,
)
_IN_PROSE = {
    copying.FAMILY: copying_in_prose.FAMILY,
    delimiter_tracking.FAMILY: delimiter_tracking_in_prose.FAMILY,
    json_schema.FAMILY: json_schema_in_prose.FAMILY,
    factual_recall.FAMILY: factual_recall_in_prose.FAMILY,
    arithmetic.FAMILY: arithmetic_in_prose.FAMILY,
    code_semantics.FAMILY: code_semantics_in_prose.FAMILY,
}
_BANDED = tuple(family for family in _NARROW if family.name in CONTEXT_OF)

SUITES: dict[str, tuple[TaskFamily, ...]] = {
    "narrow": _NARROW,
    "full": _NARROW + _REST,
    "extended": _NARROW + _REST + _ADDED,
    "natural": tuple(_IN_PROSE.values()),
    **dict.fromkeys(BANDS, _BANDED),
}
"""`narrow`: the 8 families of the atlas's first study of Qwen2.5-1.5B. `full`: its 12. `extended`: all its 16.

`natural`: 6 families in the words of everyday prose; IN_PROSE says which family each one rewords.

`short`, `medium`, `long`: the same questions of 6 families in three length bands (`tasks.bands`); the candidates of
these are the bare questions.
"""

IN_PROSE: Mapping[str, str] = {plain.name: prose.name for plain, prose in _IN_PROSE.items()}
"""Family of `full` -> the family of `natural` that asks the same in prose."""


class UnknownSuite(ValueError):
    """No suite has that name."""


class UnknownFamily(ValueError):
    """No task family has that name."""


def find_suite(name: str) -> tuple[TaskFamily, ...]:
    """The families of suite `name`.

    Raises:
        UnknownSuite: no suite has that name; the message lists the known ones.
    """
    if name not in SUITES:
        raise UnknownSuite(f"no suite is named {name!r}; choose one of: {', '.join(SUITES)}")
    return SUITES[name]


def find_family(name: str) -> TaskFamily:
    """The family of that name, of whatever suite. Raises UnknownFamily, listing the known ones."""
    families = {family.name: family for suite in SUITES.values() for family in suite}
    if name not in families:
        raise UnknownFamily(f"no task family is named {name!r}; choose one of: {', '.join(sorted(families))}")
    return families[name]


@cache
def suite_digest(name: str) -> str:
    """sha256 (hex) over every candidate of a suite: it changes with the prompts, not with their code.

    For a length band it covers the bounds, the targets and the sentences that contexts are made of.

    Raises:
        UnknownSuite: no suite has that name.
    """
    content = [_canonical(family) for family in find_suite(name)]
    if band := BANDS.get(name):
        content.append(_json([band.name, band.lengths, band.targets, SEPARATOR, CONTENT]))
    return hashlib.sha256(f"[{','.join(content)}]".encode()).hexdigest()


@cache
def _canonical(family: TaskFamily) -> str:
    """The name and every candidate of a family."""
    prompts = (p for pair in family.candidates() for p in (pair.clean, pair.corrupt))
    return _json([family.name, [[p.template, p.text, p.answer, p.foil] for p in prompts]])


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=True, separators=(",", ":"))
