"""From a claim and its evidence to a judgement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from harness.claim import Claim
from harness.protocols import Protocol
from harness.verdicts import (
    adapter_recovery,
    adapter_sets,
    adapters,
    cells,
    families,
    heads,
    hub,
    identities,
    joint,
    joint_parts,
    knockout,
    mechanism,
    patching,
    positions,
    profiles,
    robustness,
    separability,
    steering,
    steering_joint,
    steering_length,
    steering_reach,
    sublayers,
    training,
    training_changes,
)
from harness.verdicts.criteria import (
    AdapterRatio,
    AdapterRecovery,
    AnyCriterion,
    Arithmetic,
    BeatsControls,
    BestSteered,
    BlockCorrelation,
    CellWithin,
    ChangeGini,
    ChangesDiffer,
    ChangeStandsOut,
    ChangeTop,
    ConstantSpread,
    Contrast,
    DirectionsAgree,
    EditShare,
    EffectOrder,
    EffectRatio,
    EveryProbe,
    ExtremeLayer,
    FamilyExtremes,
    FamilyLeads,
    Flat,
    FlooredRatio,
    HeadRank,
    HeadRanksAgree,
    HubDepthIncreases,
    HubEffectTrend,
    HubIs,
    HubsAt,
    JointCriterion,
    KlFallsWithDepth,
    KnockoutBeatsRandom,
    KnockoutSelects,
    MedianSide,
    Not,
    OfFamilies,
    OnePromptMisleads,
    PairsAlign,
    ProfilesAgree,
    ProfilesDiffer,
    RankAgreement,
    RecipeBeats,
    RecoveryBound,
    RecoveryDepth,
    RecoveryDepthsAgree,
    SameAsDeepest,
    SameEffect,
    SameTop,
    SeparabilityLeads,
    ShareChange,
    SingleCriterion,
    SomeProbe,
    Specialist,
    SpotOutweighs,
    SpotPeak,
    SpotRatio,
    StableOverSeeds,
    SteeringFalls,
    SteeringGain,
    SteeringInert,
    SteeringMoves,
    SteeringSigns,
    SteeringSlope,
    SteeringWeakens,
    SubsetHubShare,
    TopHeadsIn,
    TopInFamilies,
    TopLayers,
    TopLead,
    TopMoves,
    TopSpread,
    TrainedSlope,
    TrainedWithin,
    WholePatchIsOtherRun,
    WorstCase,
    WriterLeads,
    WriterRaises,
)
from harness.verdicts.fdr import control_fdr
from harness.verdicts.reading import Measured, Tables, measured
from harness.verdicts.resolution import resolved
from harness.verdicts.screened import limited, limited_joint
from harness.verdicts.verdict import (
    ClaimInconclusive,
    ClaimInconsistent,
    ClaimRefuted,
    Finding,
    InstrumentInvalid,
    Judgement,
    Verdict,
    combine,
)


def judge(claim: Claim, protocol: Protocol, tables: Tables, *, n_layers: int | None = None) -> Judgement:
    """The judgement of a claim about one model, before false discovery control.

    `tables` holds that model's effects by experiment name, seeds pooled (harness.effects.pool); `n_layers`
    is taken from the deepest probe unless given. Raises MissingEvidence for what was not measured,
    ValueError for a joint or untestable claim and for a protocol the claim has no criteria for.
    """
    criteria = _criteria(claim, protocol)
    if claim.joint:
        raise ValueError(f"claim '{claim.id}' compares models: judge it with judge_joint")
    return _judged(claim, criteria, measured(tables, n_layers))


def _judged(claim: Claim, criteria: Sequence[AnyCriterion], view: Measured) -> Judgement:
    findings = [judge_criterion(c, view) for c in criteria if not isinstance(c, JointCriterion | Arithmetic)]
    return combine(findings, [judge_criterion(c, view) for c in claim.presupposes])


def judge_joint(
    claim: Claim,
    protocol: Protocol,
    tables: Mapping[str, Tables],
    *,
    n_layers: Mapping[str, int] | None = None,
) -> Judgement:
    """The judgement of a claim that compares models; `tables` and `n_layers` by model id.

    Raises as `judge` does.
    """
    criteria = _criteria(claim, protocol)
    if not claim.joint:
        raise ValueError(f"claim '{claim.id}' is about one model at a time: judge it with judge")
    models = {m: measured(t, n_layers[m] if n_layers else None) for m, t in tables.items()}
    return combine([judge_joint_criterion(c, models) for c in criteria if isinstance(c, JointCriterion)])


def judge_chapter(
    claims: Iterable[Claim], protocol: Protocol, tables: Tables, *, n_layers: int | None = None
) -> dict[str, Judgement]:
    """All claims of one chapter on one model and protocol, by id, with false discovery control over the
    chapter.

    The family of tests is chapter x model x protocol, so that a verdict does not depend on which other
    models were run. Joint and untestable claims, and claims without criteria under this protocol, are left
    out; give only claims that apply to the model.
    """
    view = measured(tables, n_layers)  # one for all claims, so that rows are resampled once
    judgements = {
        claim.id: _judged(claim, _criteria(claim, protocol), view)
        for claim in claims
        if claim.untestable is None and claim.per_model and protocol in claim.criteria
    }
    return control_fdr(judgements)


def judge_criterion(criterion: SingleCriterion, view: Measured) -> Finding:
    """What one criterion finds in one model's tables; no more than a screen and the arithmetic's noise allow."""
    finding = resolved(
        criterion, view, lambda: limited(criterion, view, lambda: _judge_criterion(criterion, view))
    )
    return replace(finding, criterion=str(criterion))


def _judge_criterion(criterion: SingleCriterion, view: Measured) -> Finding:
    match criterion:
        case HubIs():
            finding = hub.judge_hub(criterion, view)
        case ExtremeLayer():
            finding = hub.judge_extreme(criterion, view)
        case TopLayers():
            finding = hub.judge_top_layers(criterion, view)
        case TopInFamilies():
            finding = families.judge_top_in_families(criterion, view)
        case FamilyExtremes():
            finding = families.judge_family_extremes(criterion, view)
        case SubsetHubShare():
            finding = families.judge_subset_share(criterion, view)
        case TopSpread():
            finding = profiles.judge_top_spread(criterion, view)
        case Flat():
            finding = profiles.judge_flat(criterion, view)
        case StableOverSeeds():
            finding = profiles.judge_stable(criterion, view)
        case EveryProbe():
            finding = cells.judge_every(criterion, view)
        case SomeProbe():
            finding = cells.judge_some(criterion, view)
        case CellWithin():
            finding = cells.judge_cell(criterion, view)
        case WorstCase():
            finding = identities.judge_worst_case(criterion, view)
        case SameAsDeepest():
            finding = identities.judge_same_as_deepest(criterion, view)
        case WriterRaises():
            finding = mechanism.judge_writer_raises(criterion, view)
        case WriterLeads():
            finding = mechanism.judge_writer_leads(criterion, view)
        case EditShare():
            finding = mechanism.judge_share(criterion, view)
        case Specialist():
            finding = heads.judge_specialist(criterion, view)
        case HeadRank():
            finding = heads.judge_head_rank(criterion, view)
        case HeadRanksAgree():
            finding = heads.judge_ranks_agree(criterion, view)
        case TopHeadsIn():
            finding = heads.judge_top_heads(criterion, view)
        case TopLead():
            finding = sublayers.judge_top_lead(criterion, view)
        case EffectOrder():
            finding = sublayers.judge_effect_order(criterion, view)
        case RankAgreement():
            finding = sublayers.judge_rank_agreement(criterion, view)
        case SameEffect():
            finding = sublayers.judge_same_effect(criterion, view)
        case SpotOutweighs():
            finding = positions.judge_outweighs(criterion, view)
        case SpotRatio():
            finding = positions.judge_ratio(criterion, view)
        case SpotPeak():
            finding = positions.judge_peak(criterion, view)
        case SameTop():
            finding = robustness.judge_same_top(criterion, view)
        case TopMoves():
            finding = robustness.judge_top_moves(criterion, view)
        case ProfilesAgree():
            finding = robustness.judge_profiles_agree(criterion, view)
        case OnePromptMisleads():
            finding = robustness.judge_one_prompt(criterion, view)
        case SteeringWeakens():
            finding = steering_length.judge_weakens(criterion, view)
        case RecoveryBound():
            finding = patching.judge_recovery(criterion, view)
        case DirectionsAgree():
            finding = patching.judge_directions(criterion, view)
        case WholePatchIsOtherRun():
            finding = patching.judge_whole_patch(criterion, view)
        case PairsAlign():
            finding = patching.judge_pairs(criterion, view)
        case SteeringGain():
            finding = steering.judge_gain(criterion, view)
        case SteeringSlope():
            finding = steering.judge_slope(criterion, view)
        case BestSteered():
            finding = steering.judge_best(criterion, view)
        case BeatsControls():
            finding = steering.judge_controls(criterion, view)
        case SteeringInert():
            finding = steering.judge_inert(criterion, view)
        case SteeringMoves():
            finding = steering_reach.judge_moves(criterion, view)
        case KlFallsWithDepth():
            finding = steering_reach.judge_falls(criterion, view)
        case KnockoutSelects():
            finding = knockout.judge_selects(criterion, view)
        case KnockoutBeatsRandom():
            finding = knockout.judge_beats_random(criterion, view)
        case FlooredRatio():
            finding = knockout.judge_ratio(criterion, view)
        case AdapterRatio():
            finding = adapters.judge_ratio(criterion, view)
        case BlockCorrelation():
            finding = adapters.judge_correlation(criterion, view)
        case ConstantSpread():
            finding = adapters.judge_spread(criterion, view)
        case MedianSide():
            finding = adapters.judge_median(criterion, view)
        case AdapterRecovery():
            finding = adapter_recovery.judge_recovery(criterion, view)
        case RecoveryDepth():
            finding = adapter_recovery.judge_depth(criterion, view)
        case OfFamilies():
            finding = judge_criterion(criterion.criterion, training.of_families(criterion, view))
        case Not():
            finding = training.opposite(judge_criterion(criterion.criterion, view))
        case Contrast():
            finding = training.judge_contrast(criterion, view)
        case FamilyLeads():
            finding = training.judge_family_leads(criterion, view)
        case TrainedWithin():
            finding = training.judge_trained_within(criterion, view)
        case TrainedSlope():
            finding = training.judge_trained_slope(criterion, view)
        case SeparabilityLeads():
            finding = separability.judge_separability(criterion, view)
        case RecipeBeats():
            finding = adapter_sets.judge_beats(criterion, view)
        case ChangeTop():
            finding = training_changes.judge_change_top(criterion, view)
        case ChangeStandsOut():
            finding = training_changes.judge_stands_out(criterion, view)
        case ChangeGini():
            finding = training_changes.judge_change_gini(criterion, view)
        case ChangesDiffer():
            finding = training_changes.judge_changes_differ(criterion, view)
        case _:
            assert_never(criterion)
    return finding


def judge_joint_criterion(criterion: JointCriterion, models: Mapping[str, Measured]) -> Finding:
    """What one criterion finds in several models' tables; nothing where a screen left probes out."""
    finding = limited_joint(criterion, models, lambda: _judge_joint_criterion(criterion, models))
    return replace(finding, criterion=str(criterion))


def _judge_joint_criterion(criterion: JointCriterion, models: Mapping[str, Measured]) -> Finding:
    match criterion:
        case HubsAt():
            finding = joint.judge_hubs_at(criterion, models)
        case HubDepthIncreases():
            finding = joint.judge_depth_increases(criterion, models)
        case HubEffectTrend():
            finding = joint.judge_effect_trend(criterion, models)
        case ProfilesDiffer():
            finding = joint.judge_profiles_differ(criterion, models)
        case EffectRatio():
            finding = joint_parts.judge_effect_ratio(criterion, models)
        case ShareChange():
            finding = joint_parts.judge_share_change(criterion, models)
        case SteeringFalls():
            finding = steering_joint.judge_falls_across(criterion, models)
        case SteeringSigns():
            finding = steering_joint.judge_signs(criterion, models)
        case RecoveryDepthsAgree():
            finding = adapter_recovery.judge_depths_agree(criterion, models)
        case _:
            assert_never(criterion)
    return finding


def raise_for(judgement: Judgement, claim: Claim) -> None:
    """Return for `supported` and `consistent`; else raise ClaimRefuted, ClaimInconclusive, InstrumentInvalid or
    ClaimInconsistent with the numbers.

    Raises ValueError for a judgement that was not run: the caller has to skip, with the reason.
    """
    error: type[AssertionError]
    match judgement.verdict:
        case Verdict.SUPPORTED | Verdict.CONSISTENT:
            return
        case Verdict.REFUTED:
            error = ClaimRefuted
        case Verdict.INCONCLUSIVE:
            error = ClaimInconclusive
        case Verdict.INVALID:
            error = InstrumentInvalid
        case Verdict.INCONSISTENT:
            error = ClaimInconsistent
        case Verdict.NOT_RUN:
            raise ValueError(f"claim '{claim.id}' was not run: {judgement.note}")
    judged = "The published figures make" if claim.from_figures else "The evidence makes"
    raise error(f"{claim.id}: {claim.sentence} {judged} this {judgement.verdict}: {judgement.sentence}")


def _criteria(claim: Claim, protocol: Protocol) -> tuple[AnyCriterion, ...]:
    if claim.untestable is not None:
        raise ValueError(f"claim '{claim.id}' cannot be tested: {claim.untestable}")
    if protocol not in claim.criteria:
        raise ValueError(f"claim '{claim.id}' has no criteria under protocol {protocol}")
    return claim.criteria[protocol]
