"""What a claim card may ask of the evidence: a closed union of values. Importable without numpy.

Each criterion prints as a sentence and carries the rationale of its thresholds, which are written down before
the measurement. Criteria read interval bounds, not means. Cards import all of them from here.
"""

from __future__ import annotations

from harness.verdicts.cell_criteria import CellWithin, EveryProbe, SameAsDeepest, SomeProbe, WorstCase
from harness.verdicts.criterion import SEPARATION_ALPHA, ProfileOf
from harness.verdicts.head_criteria import HeadRank, HeadRanksAgree, Specialist, TopHeadsIn
from harness.verdicts.joint_criteria import (
    EffectRatio,
    HubDepthIncreases,
    HubEffectTrend,
    HubsAt,
    Part,
    ProfilesDiffer,
    ShareChange,
)
from harness.verdicts.mechanism_criteria import EditShare, WriterLeads, WriterRaises
from harness.verdicts.patching_criteria import (
    DirectionsAgree,
    PairsAlign,
    RecoveryBound,
    WholePatchIsOtherRun,
)
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
from harness.verdicts.robustness_criteria import (
    Condition,
    OnePromptMisleads,
    ProfilesAgree,
    SameTop,
    TopMoves,
)
from harness.verdicts.steering_criteria import (
    BeatsControls,
    BestSteered,
    FlooredRatio,
    Gain,
    KlFallsWithDepth,
    KnockoutBeatsRandom,
    KnockoutSelects,
    SteeringFalls,
    SteeringGain,
    SteeringInert,
    SteeringMoves,
    SteeringSigns,
    SteeringSlope,
)
from harness.verdicts.sublayer_criteria import EffectOrder, RankAgreement, SameEffect, TopLead, TopOverlap

__all__ = [
    "SEPARATION_ALPHA",
    "AnyCriterion",
    "BeatsControls",
    "BestSteered",
    "CellWithin",
    "Condition",
    "DirectionsAgree",
    "EditShare",
    "EffectOrder",
    "EffectRatio",
    "EveryProbe",
    "ExtremeLayer",
    "FamilyExtremes",
    "Flat",
    "FlooredRatio",
    "Gain",
    "HeadRank",
    "HeadRanksAgree",
    "HubDepthIncreases",
    "HubEffectTrend",
    "HubIs",
    "HubsAt",
    "JointCriterion",
    "KlFallsWithDepth",
    "KnockoutBeatsRandom",
    "KnockoutSelects",
    "OnePromptMisleads",
    "PairsAlign",
    "Part",
    "ProfileOf",
    "ProfilesAgree",
    "ProfilesDiffer",
    "RankAgreement",
    "RecoveryBound",
    "SameAsDeepest",
    "SameEffect",
    "SameTop",
    "ShareChange",
    "SingleCriterion",
    "SomeProbe",
    "Specialist",
    "SpotOutweighs",
    "SpotPeak",
    "SpotRatio",
    "StableOverSeeds",
    "SteeringFalls",
    "SteeringGain",
    "SteeringInert",
    "SteeringMoves",
    "SteeringSigns",
    "SteeringSlope",
    "SubsetHubShare",
    "TopHeadsIn",
    "TopInFamilies",
    "TopLayers",
    "TopLead",
    "TopMoves",
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
    | Specialist
    | HeadRank
    | HeadRanksAgree
    | TopHeadsIn
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
    | SteeringGain
    | SteeringSlope
    | BestSteered
    | BeatsControls
    | SteeringInert
    | SteeringMoves
    | KlFallsWithDepth
    | KnockoutSelects
    | KnockoutBeatsRandom
    | FlooredRatio
    | SameTop
    | TopMoves
    | ProfilesAgree
    | OnePromptMisleads
)
"""Judged on one model's tables."""

JointCriterion = (
    HubsAt
    | HubDepthIncreases
    | HubEffectTrend
    | ProfilesDiffer
    | EffectRatio
    | ShareChange
    | SteeringFalls
    | SteeringSigns
)
"""Judged on several models' tables at once."""

AnyCriterion = SingleCriterion | JointCriterion


def models_of(criterion: JointCriterion) -> tuple[str, ...]:
    """The models a joint criterion compares."""
    match criterion:
        case HubsAt():
            return tuple(criterion.layers)
        case HubDepthIncreases() | HubEffectTrend():
            return criterion.models
        case ProfilesDiffer() | EffectRatio() | ShareChange():
            return (criterion.model_a, criterion.model_b)
        case SteeringFalls() | SteeringSigns():
            return tuple(criterion.layers)
