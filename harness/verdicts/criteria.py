"""What a claim card may ask of the evidence: a closed union of values. Importable without numpy.

Each criterion prints as a sentence and carries the rationale of its thresholds, which are written down before
the measurement. Criteria read interval bounds, not means. Cards import all of them from here.
"""

from __future__ import annotations

from harness.verdicts.adapter_criteria import (
    AdapterRatio,
    AdapterRecovery,
    BlockCorrelation,
    ConstantSpread,
    Measure,
    MedianSide,
    RecoveryDepth,
    RecoveryDepthsAgree,
    Spread,
)
from harness.verdicts.adapter_set_criteria import RecipeBeats
from harness.verdicts.arithmetic_criteria import Arithmetic
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
    SteeringWeakens,
    TopMoves,
)
from harness.verdicts.separability_criteria import SeparabilityLeads
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
from harness.verdicts.training_change_criteria import ChangeGini, ChangesDiffer, ChangeStandsOut, ChangeTop
from harness.verdicts.training_criteria import (
    Contrast,
    FamilyLeads,
    Not,
    OfFamilies,
    Term,
    TrainedSlope,
    TrainedWithin,
)

__all__ = [
    "SEPARATION_ALPHA",
    "AdapterRatio",
    "AdapterRecovery",
    "AnyCriterion",
    "Arithmetic",
    "BeatsControls",
    "BestSteered",
    "BlockCorrelation",
    "CellWithin",
    "ChangeGini",
    "ChangeStandsOut",
    "ChangeTop",
    "ChangesDiffer",
    "Condition",
    "ConstantSpread",
    "Contrast",
    "DirectionsAgree",
    "EditShare",
    "EffectOrder",
    "EffectRatio",
    "EveryProbe",
    "ExtremeLayer",
    "FamilyExtremes",
    "FamilyLeads",
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
    "Measure",
    "MedianSide",
    "Not",
    "OfFamilies",
    "OnePromptMisleads",
    "PairsAlign",
    "Part",
    "ProfileOf",
    "ProfilesAgree",
    "ProfilesDiffer",
    "RankAgreement",
    "RecipeBeats",
    "RecoveryBound",
    "RecoveryDepth",
    "RecoveryDepthsAgree",
    "SameAsDeepest",
    "SameEffect",
    "SameTop",
    "SeparabilityLeads",
    "ShareChange",
    "SingleCriterion",
    "SomeProbe",
    "Specialist",
    "SpotOutweighs",
    "SpotPeak",
    "SpotRatio",
    "Spread",
    "StableOverSeeds",
    "SteeringFalls",
    "SteeringGain",
    "SteeringInert",
    "SteeringMoves",
    "SteeringSigns",
    "SteeringSlope",
    "SteeringWeakens",
    "SubsetHubShare",
    "Term",
    "TopHeadsIn",
    "TopInFamilies",
    "TopLayers",
    "TopLead",
    "TopMoves",
    "TopOverlap",
    "TopSpread",
    "TrainedSlope",
    "TrainedWithin",
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
    | SteeringWeakens
    | AdapterRatio
    | BlockCorrelation
    | ConstantSpread
    | MedianSide
    | AdapterRecovery
    | RecoveryDepth
    | OfFamilies
    | Not
    | Contrast
    | FamilyLeads
    | TrainedWithin
    | TrainedSlope
    | RecipeBeats
    | SeparabilityLeads
    | ChangeTop
    | ChangeStandsOut
    | ChangeGini
    | ChangesDiffer
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
    | RecoveryDepthsAgree
)
"""Judged on several models' tables at once."""

AnyCriterion = SingleCriterion | JointCriterion | Arithmetic
"""`Arithmetic` is judged on no table: it computes from published figures."""


def models_of(criterion: JointCriterion) -> tuple[str, ...]:
    """The models a joint criterion compares."""
    match criterion:
        case HubsAt():
            return tuple(criterion.layers)
        case HubDepthIncreases() | HubEffectTrend() | RecoveryDepthsAgree():
            return criterion.models
        case ProfilesDiffer() | EffectRatio() | ShareChange():
            return (criterion.model_a, criterion.model_b)
        case SteeringFalls() | SteeringSigns():
            return tuple(criterion.layers)
