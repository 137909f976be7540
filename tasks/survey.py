"""How much of a suite survives under a tokenizer: counts per family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.prompts import PromptPair
from tasks.suites import find_suite
from tasks.tokens import Encode, verify_pair


@dataclass(frozen=True, kw_only=True)
class FamilySurvey:
    """What one family offers under one tokenizer."""

    family: str
    candidates: int
    pairs: int
    """Candidates that survive verification."""
    prompts: int
    """Distinct clean texts among them."""
    prompts_by_template: Mapping[str, int]
    """Distinct surviving clean texts of every template, zero included."""
    rejections: Mapping[str, int]
    """Pairs rejected, by rule."""

    @property
    def templates(self) -> int:
        """Templates with at least one surviving prompt."""
        return sum(count > 0 for count in self.prompts_by_template.values())


def survey(suite_name: str, encode: Encode) -> dict[str, FamilySurvey]:
    """Verify every candidate of a suite under `encode`; the result is keyed by family name, in suite order.

    Of a length band it verifies the bare questions, not what `draw_suite` puts before them.

    Raises:
        UnknownSuite: no suite has that name.
    """
    return {
        family.name: _survey_family(family.name, family.candidates(), encode)
        for family in find_suite(suite_name)
    }


def _survey_family(name: str, candidates: tuple[PromptPair, ...], encode: Encode) -> FamilySurvey:
    surviving: dict[str, set[str]] = {pair.clean.template: set() for pair in candidates}
    rejections: Counter[str] = Counter()
    for pair in candidates:
        rejection = verify_pair(pair, encode)
        if rejection is None:
            surviving[pair.clean.template].add(pair.clean.text)
        else:
            rejections[rejection.rule] += 1
    return FamilySurvey(
        family=name,
        candidates=len(candidates),
        pairs=len(candidates) - sum(rejections.values()),
        prompts=len(set().union(*surviving.values())),
        prompts_by_template={template: len(texts) for template, texts in surviving.items()},
        rejections=dict(rejections),
    )


def shortfalls(surveys: Mapping[str, FamilySurvey], *, min_templates: int, min_prompts: int) -> list[str]:
    """One line for each family that offers fewer templates or prompts than wanted; empty if all suffice."""
    return [
        f"family {s.family!r} offers {s.templates} templates and {s.prompts} prompts; expected at least "
        f"{min_templates} and {min_prompts}; rejections by rule: {dict(s.rejections)}"
        for s in surveys.values()
        if s.templates < min_templates or s.prompts < min_prompts
    ]
