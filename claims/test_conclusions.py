"""Chapter: the atlas's hypotheses and rules, each of which stands or falls with one of its claims.

The atlas closed two studies with a list of hypotheses and their status, and a third with ten rules. None has a
measurement of its own: each card here takes over the criteria of the claim that it rests on, and its verdict is that
claim's, but for the false discovery control of this chapter.
"""

from dataclasses import replace

from claims import (
    test_adapter_norms,
    test_head_effects,
    test_hub_location,
    test_layer_skip,
    test_lora_sweeps,
    test_positions,
    test_published_figures,
    test_robustness,
    test_skill_knockout,
    test_steering,
    test_sublayers,
    test_training_effects,
    test_transfer,
)
from harness.claim import Claim, Published

CHAPTER = "21. Conclusions"

SMALL, MEDIUM, RULES = (
    "atlas, 0.5B page (seed 002)",
    "atlas, 1.5B page (seed 001)",
    "atlas, audit page (seed 003)",
)
CHAPTERS = (
    *(
        test_adapter_norms,
        test_head_effects,
        test_hub_location,
        test_layer_skip,
        test_lora_sweeps,
        test_positions,
    ),
    *(test_published_figures, test_robustness, test_skill_knockout, test_steering, test_sublayers),
    *(test_training_effects, test_transfer),
)
KNOWN: dict[str, Claim] = {claim.id: claim for chapter in CHAPTERS for claim in chapter.CLAIMS}


def _rests_on(
    linked: str, id_: str, sentence: str, source: str, status: str = "", hypothesis: str = ""
) -> Claim:
    """A card with the criteria of another. Raises KeyError where that one is gone."""
    claim = KNOWN[linked]
    published = Published(
        value=status, unit="", what=f"status of the hypothesis: {hypothesis}", source=source
    )
    return replace(
        claim,
        id=id_,
        sentence=sentence,
        source=source,
        published=(published,) if status else (),
        supersedes=(),
        superseded_by=(),
        note=f"Judged by what {linked} asks: {claim.sentence}",
    )


CLAIMS = (
    *(
        _rests_on(linked, id_, f"At 0.5B: {sentence}", SMALL, status, hypothesis)
        for id_, linked, sentence, status, hypothesis in (
            (
                "h05-h001",
                "hub-0_5b-l2",
                "L2 is a general hub of routing.",
                "supported with nuance",
                "L2 is a general routing hub",
            ),
            (
                "h05-h002",
                "lora-skill-specific-layers",
                "each skill's adapter changes blocks of its own, which need not be early.",
                "rejected",
                "LoRA concentrates a skill in early layers",
            ),
            (
                "h05-h003",
                "rank-distributes",
                "a higher rank distributes a skill.",
                "supported",
                "a higher rank distributes a skill",
            ),
            (
                "h05-h004",
                "module-oproj-best",
                "o is the key to putting a skill in.",
                "supported for JSON",
                "o is the key path of injection",
            ),
            (
                "h05-h005",
                "hub-0_5b-l2",
                "one hub, L2, serves facts and algorithms.",
                "weakened",
                "facts and algorithms use different circuits",
            ),
            (
                "h05-h006",
                "adapter-norm-effect-corr-0_5b",
                "adapters act where they are written.",
                "rejected",
                "adapters write late and act upstream",
            ),
            (
                "h05-h007",
                "position-l22-last-only",
                "L22 is on the way to the unembedding alone.",
                "supported",
                "L22 is the path to the unembedding",
            ),
        )
    ),
    *(
        _rests_on(linked, id_, f"At 1.5B: {sentence}", MEDIUM, status, hypothesis)
        for id_, linked, sentence, status, hypothesis in (
            (
                "h15-h001",
                "hub-1_5b-l26",
                "the hub is late, and does not keep its relative depth.",
                "rejected",
                "the hub keeps its relative depth",
            ),
            (
                "h15-h002",
                "head-scale-22x",
                "heads gain in weight with scale.",
                "supported",
                "specialist heads emerge",
            ),
            (
                "h15-h003",
                "steering-collapse-70x",
                "steering does not grow with the model; it collapses.",
                "rejected",
                "steering scales with capacity",
            ),
            (
                "h15-h004",
                "knockout-collapse-48000x",
                "the selectivity of knockouts is lost with scale.",
                "rejected",
                "the selectivity of knockouts is kept",
            ),
            (
                "h15-h005",
                "cross-model-proportional-10pct",
                "behaviour transfers in a share of the depth, whatever the scale.",
                "supported",
                "the zone of transfer is set by relative depth",
            ),
            (
                "h15-h006",
                "mlp-scale-3x",
                "MLPs do not gain in weight with the parameters; they lose.",
                "rejected",
                "the weight of MLPs grows with the parameters",
            ),
            (
                "h15-h007",
                "skip-1_5b-mid5",
                "the middle becomes redundant.",
                "partly supported",
                "redundancy of the middle emerges",
            ),
            (
                "h15-h008",
                "adapter-1_5b-corr-054",
                "an adapter's norm tells what it does.",
                "weakened",
                "an adapter's norm predicts its impact",
            ),
        )
    ),
    *(
        _rests_on(linked, id_, sentence, RULES)
        for id_, linked, sentence in (
            ("rule-01", "hub-migration-monotonic", "Rule 1: every size of a model needs a map of its own."),
            ("rule-02", "xfam-architecture-specific", "Rule 2: every architecture needs a map of its own."),
            ("rule-03", "steering-1_5b-migrated", "Rule 3: to steer, sweep every block that may do."),
            ("rule-04", "steering-direction-reversal", "Rule 4: the sign of steering may turn with scale."),
            ("rule-05", "skip-all-scales", "Rule 5: never leave blocks out."),
            (
                "rule-06",
                "ablation-rank-preserved",
                "Rule 6: ablate in several ways, and trust what they share.",
            ),
            ("rule-07", "lora-cross-size", "Rule 7: adapters belong to one size of a model."),
            ("rule-08", "sep-code-best", "Rule 8: code semantics is the best target of surgery."),
            ("rule-09", "robust-steering-degrades", "Rule 9: steering fades with the length of the prompt."),
            ("rule-10", "mlp-l0-always-top", "Rule 10: the MLP of L0 always matters."),
        )
    ),
)


def test_conclusions(cell, judge):
    """Each conclusion, on each model, protocol and seed of the claim that it rests on."""
    judge(cell)
