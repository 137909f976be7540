"""The claim card: what is claimed, what would falsify it, how it is judged, what we expect.

No torch or numpy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from harness.protocols import Protocol
from harness.verdicts.criteria import (
    AnyCriterion,
    Arithmetic,
    JointCriterion,
    SingleCriterion,
    StableOverSeeds,
    models_of,
)
from harness.verdicts.verdict import OF_FIGURES, Verdict

ARTIFACT_LENGTH: Final = 320

_ID = re.compile(r"[a-z0-9_.-]+")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


__all__ = [
    "ARTIFACT_LENGTH",
    "EVERY_MODEL",
    "MEASURED",
    "Claim",
    "EveryModel",
    "Expected",
    "InvalidClaim",
    "Protocol",
    "Published",
]


@dataclass(frozen=True)
class EveryModel:
    """The models of a universal claim: all that are registered, and any given by path."""

    def __str__(self) -> str:
        return "every model"


EVERY_MODEL: Final = EveryModel()
MEASURED: Final = ("smollm2_135m", "gemma3_270m")
"""The models whose evidence is recorded here, the smaller first: what claims that compare two can be judged of."""

Expected = Verdict | Mapping[str, Verdict]
"""One verdict for all models, or one per model id with '*' for the others."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure as it was published: `what` says what it measures, `source` where it stands."""

    value: float | int | str
    unit: str
    what: str
    source: str


class InvalidClaim(ValueError):
    """A card that contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published sentence with the criteria it is judged by, per protocol. Raises InvalidClaim.

    A protocol that is not in `criteria` is not judged. Where a criterion that the claim `presupposes` does not hold,
    the claim is inconclusive, and not refuted: of what is not there, nothing is claimed. `joint` claims compare models
    and have one verdict, not one per model. `over_seeds` claims need all seeds pooled. An `untestable` claim says why
    and has no criteria. A claim whose criteria are all `Arithmetic` is judged `from_figures`: once, under `published`,
    without model, seed or evidence.
    """

    id: str
    sentence: str
    source: str
    falsified_by: str
    models: tuple[str, ...] | EveryModel
    criteria: Mapping[Protocol, tuple[AnyCriterion, ...]] = field(default_factory=dict)
    presupposes: tuple[SingleCriterion, ...] = ()
    """Judged beside the criteria of each protocol."""
    expected: Mapping[Protocol, Expected] = field(default_factory=dict)
    borderline: Mapping[Protocol, tuple[str, ...]] = field(default_factory=dict)
    """Models whose effect lies so near a threshold that one draw of prompts alone may be inconclusive: known from
    a run, noted afterwards. It excuses that verdict in a test of one seed, and no other."""
    published: tuple[Published, ...] = ()
    joint: bool = False
    over_seeds: bool = False
    supersedes: tuple[str, ...] = ()
    superseded_by: tuple[str, ...] = ()
    untestable: str | None = None
    note: str = ""
    artifact: str = ""
    """Why it holds under `published` and falls under `sound`, once it does: two sentences of at most ARTIFACT_LENGTH
    characters in all, for a reader who knows neither the method nor the field."""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise InvalidClaim(f"claim {self.id!r}: {problem}")

    def experiments(self, protocol: Protocol) -> tuple[str, ...]:
        """Names of the tables the criteria read under this protocol, each once, in their order."""
        asked = (*self.criteria.get(protocol, ()), *self.presupposes)
        return tuple(dict.fromkeys(name for c in asked for name in c.experiments))

    @property
    def from_figures(self) -> bool:
        """True when the claim is judged from published figures alone, and nothing is measured."""
        return any(isinstance(c, Arithmetic) for criteria in self.criteria.values() for c in criteria)

    @property
    def per_model(self) -> bool:
        """True when the claim has a verdict for each model: neither joint nor judged from figures."""
        return not self.joint and not self.from_figures

    def applies_to(self, model_id: str) -> bool:
        """True when the claim speaks of this model."""
        return isinstance(self.models, EveryModel) or model_id in self.models

    def expected_verdict(self, model_id: str, protocol: Protocol) -> Verdict | None:
        """The verdict written down for a model, None where none was. For a joint claim, any of its models."""
        expected = self.expected.get(protocol)
        if expected is None or isinstance(expected, Verdict):
            return expected
        return expected.get(model_id, expected.get("*"))


def _problems(claim: Claim) -> list[str]:
    """What is wrong with a card, first things first."""
    problems = []
    if not _ID.fullmatch(claim.id):
        problems.append("an id holds only lower-case letters, digits and _ . -")
    for name in ("sentence", "source", "falsified_by"):
        if not getattr(claim, name).strip():
            problems.append(f"{name} is empty")
    if not isinstance(claim.models, EveryModel) and not claim.models:
        problems.append("names no model; write EVERY_MODEL for a universal claim")
    if claim.untestable is None:
        if not claim.criteria or not all(claim.criteria.values()):
            problems.append("has no criteria for a protocol it lists, and does not say why it is untestable")
    elif claim.criteria or not claim.untestable.strip():
        problems.append("an untestable claim gives the reason and has no criteria")
    if unknown := [str(p) for p in claim.expected if p not in claim.criteria]:
        problems.append(f"expects a verdict under {', '.join(unknown)}, for which it has no criteria")
    if claim.id in (*claim.supersedes, *claim.superseded_by):
        problems.append("supersedes itself")
    if claim.artifact:
        problems += _artifact_problems(claim)
    of_kind = _figures_problems(claim) if claim.from_figures else _criteria_problems(claim)
    return problems + of_kind + _expected_problems(claim)


def _artifact_problems(claim: Claim) -> list[str]:
    problems = []
    if set(claim.criteria) != set(Protocol):
        problems.append("explains an artifact, which only a claim judged under both protocols can be")
    ends = len(_SENTENCE_END.findall(claim.artifact))
    if ends != 2 or not _SENTENCE_END.search(claim.artifact[-1]):
        problems.append(f"artifact has {ends} full stops: write two sentences")
    if len(claim.artifact) > ARTIFACT_LENGTH:
        problems.append(f"artifact has {len(claim.artifact)} characters, more than {ARTIFACT_LENGTH}")
    return problems


def _criteria_problems(claim: Claim) -> list[str]:
    problems = (
        ["a claim that compares models presupposes nothing"] if claim.joint and claim.presupposes else []
    )
    for criterion in (c for criteria in claim.criteria.values() for c in criteria):
        name = type(criterion).__name__
        if isinstance(criterion, JointCriterion):
            if not claim.joint:
                problems.append(f"{name} compares models, so joint must be True")
            elif strangers := [m for m in models_of(criterion) if not claim.applies_to(m)]:
                problems.append(f"{name} compares {', '.join(strangers)}, which models leaves out")
        elif claim.joint:
            problems.append(f"{name} is judged on one model, so joint must be False")
        if isinstance(criterion, StableOverSeeds) and not claim.over_seeds:
            problems.append("StableOverSeeds compares seeds, so over_seeds must be True")
    return problems


def _figures_problems(claim: Claim) -> list[str]:
    """What is wrong with a card that is judged from published figures."""
    problems = []
    if claim.presupposes or not all(isinstance(c, Arithmetic) for cs in claim.criteria.values() for c in cs):
        problems.append("what is measured and what is computed from published figures are two cards")
    if set(claim.criteria) != {Protocol.PUBLISHED}:
        problems.append("published figures are judged under the protocol 'published' and no other")
    if isinstance(claim.models, EveryModel):
        problems.append("published figures are of certain models: name them")
    if claim.joint or claim.over_seeds or claim.borderline:
        problems.append(
            "published figures have neither models to compare nor seeds: leave joint and the like out"
        )
    return problems


def _expected_problems(claim: Claim) -> list[str]:
    problems = []
    for protocol, expected in claim.expected.items():
        verdicts = [expected] if isinstance(expected, Verdict) else list(expected.values())
        if Verdict.NOT_RUN in verdicts:
            problems.append(f"expects 'not run' under {protocol}: leave the expectation out instead")
        if strange := [str(v) for v in verdicts if (v in OF_FIGURES) != claim.from_figures]:
            judged = "published figures" if claim.from_figures else "measurements"
            problems.append(f"expects '{strange[0]}' under {protocol}, which {judged} never give")
        if not isinstance(expected, Verdict):
            strangers = [m for m in expected if m != "*" and not claim.applies_to(m)]
            if strangers:
                problems.append(f"expects a verdict for {', '.join(strangers)}, which models leaves out")
    return problems
