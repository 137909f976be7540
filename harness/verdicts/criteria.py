"""What a claim card may ask of the evidence: a closed union of values. Importable without numpy.

Each criterion prints as a sentence and carries the rationale of its thresholds, which are written down before
the measurement. Criteria read interval bounds, not means. Cards import all of them from here.
"""

from __future__ import annotations

from harness.verdicts.cell_criteria import CellWithin, EveryProbe, SameAsDeepest, SomeProbe, WorstCase
from harness.verdicts.criterion import SEPARATION_ALPHA, ProfileOf
from harness.verdicts.joint_criteria import HubDepthIncreases, HubEffectTrend, HubsAt, ProfilesDiffer
from harness.verdicts.mechanism_criteria import EditShare, WriterLeads, WriterRaises
from harness.verdicts.patching_criteria import DirectionsAgree, PairsAlign, RecoveryBound, WholePatchIsOtherRun
from harness.verdicts.position_criteria import SpotOutweighs, SpotPeak, SpotRatio
from harness.verdicts.profile_criteria import (
    ExtremeLayer,
    FamilyExtremes,
    Flat,
    HubIs,
    StableOverSeeds,
    SubsetHubShare,
    TopInFamilies,
    TopLayers,
    TopSpread,
)
from harness.verdicts.sublayer_criteria import EffectOrder, RankAgreement, SameEffect, TopLead, TopOverlap

__all__ = [
    "SEPARATION_ALPHA",
    "AnyCriterion",
    "CellWithin",
    "DirectionsAgree",
    "EditShare",
    "EffectOrder",
    "EveryProbe",
    "ExtremeLayer",
    "FamilyExtremes",
    "Flat",
    "HubDepthIncreases",
    "HubEffectTrend",
    "HubIs",
    "HubsAt",
    "JointCriterion",
    "PairsAlign",
    "ProfileOf",
    "ProfilesDiffer",
    "RankAgreement",
    "RecoveryBound",
    "SameAsDeepest",
    "SameEffect",
    "SingleCriterion",
    "SomeProbe",
    "SpotOutweighs",
    "SpotPeak",
    "SpotRatio",
    "StableOverSeeds",
    "SubsetHubShare",
    "TopInFamilies",
    "TopLayers",
    "TopLead",
    "TopOverlap",
    "TopSpread",
    "WholePatchIsOtherRun",
    "WorstCase",
    "WriterLeads",
    "WriterRaises",
    "models_of",
]

SingleCriterion = (
    HubIs
    | ExtremeLayer
    | TopLayers
    | TopInFamilies
    | FamilyExtremes
    | SubsetHubShare
    | TopSpread
    | Flat
    | StableOverSeeds
    | EveryProbe
    | SomeProbe
    | CellWithin
    | WorstCase
    | SameAsDeepest
    | WriterRaises
    | WriterLeads
    | EditShare
    | TopLead
    | EffectOrder
    | RankAgreement
    | SameEffect
    | SpotOutweighs
    | SpotRatio
    | SpotPeak
    | RecoveryBound
    | DirectionsAgree
    | WholePatchIsOtherRun
    | PairsAlign
)
"""Judged on one model's tables."""

JointCriterion = HubsAt | HubDepthIncreases | HubEffectTrend | ProfilesDiffer
"""Judged on several models' tables at once."""

AnyCriterion = SingleCriterion | JointCriterion


def models_of(criterion: JointCriterion) -> tuple[str, ...]:
    """The models a joint criterion compares."""
    match criterion:
        case HubsAt():
            return tuple(criterion.layers)
        case HubDepthIncreases() | HubEffectTrend():
            return criterion.models
        case ProfilesDiffer():
            return (criterion.model_a, criterion.model_b)
