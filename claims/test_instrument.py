"""Chapter: what follows from the algebra of the forward pass alone, and shows where a method is an artifact.

These are identities: they hold on every prompt or not at all, and no statistics are involved.
"""

from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.verdicts.criteria import EveryProbe, SameAsDeepest, WorstCase
from harness.verdicts.selectors import FinalExit, Singles
from harness.verdicts.verdict import Verdict

CHAPTER = "4. The instrument"

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
SUPPORTED = Verdict.SUPPORTED
ATLAS_0_5B = "atlas, 0.5B page (seed 002)"
ATLAS_1_5B = "atlas, 1.5B page (seed 001)"
PHASE_2 = "atlas, Phase 2 (seed 003)"
ALGEBRA = "this suite's ledger, derived from the forward pass: RMSNorm(0) = 0"

CLAIMS = (
    Claim(
        id="x-residual-zero-constant",
        sentence="After the residual stream is erased the output no longer depends on the prompt.",
        source=ALGEBRA,
        falsified_by="two prompts whose outputs after the same erasure differ by more than 0.001 nats",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (
                WorstCase(
                    experiment="layer_sweep",
                    select=Singles(),
                    metric="kl_to_first_nats",
                    at_most=1e-3,
                    rationale="an identity up to float32: a thousandth of a nat is far above rounding",
                ),
            )
        },
        expected={PUBLISHED: SUPPORTED},
        published=(
            Published(value=3.2399, unit="nats", what="SmolLM2 json, all 24 layers", source=PHASE_2),
            Published(value=1.7376, unit="nats", what="SmolLM2 factual, all 24 layers", source=PHASE_2),
        ),
        note="So the published layer effect is a cross-entropy against a constant, not what the block does.",
    ),
    Claim(
        id="residual-zero-uniform",
        sentence="In a model without biases an erased residual stream leaves a uniform output.",
        source=ALGEBRA,
        falsified_by="an output after erasure more than 0.0001 nats from uniform",
        models=("smollm2_135m", "smollm2_1_7b", "gemma3_270m", "lfm2_230m"),
        criteria={
            PUBLISHED: (
                WorstCase(
                    experiment="layer_sweep",
                    select=Singles(),
                    metric="kl_to_uniform_nats",
                    at_most=1e-4,
                    rationale="ln V minus the entropy, an identity up to float32",
                ),
            )
        },
        expected={PUBLISHED: SUPPORTED},
        note="So its profile is ln V minus the base entropy at every block, and the hub is a tie of all blocks.",
    ),
    Claim(
        id="x-skip-last-layer-only",
        sentence="Erasing a set of blocks gives what erasing its deepest block alone gives.",
        source=ALGEBRA,
        falsified_by="one set and prompt where KL or answer log-probability differ by more than 0.0001 nats",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (
                SameAsDeepest(
                    tolerance_nats=1e-4,
                    rationale="an identity up to float32; the atlas's agree to 6 decimals",
                ),
            )
        },
        expected={PUBLISHED: SUPPORTED},
        published=(
            Published(value=13.750889, unit="nats", what="L8, and L4-L8", source=ATLAS_0_5B),
            Published(value=9.023384, unit="nats", what="L15, and L4-L8 with L15", source=ATLAS_0_5B),
            Published(value=7.9357, unit="nats", what="L14-L16, six and eight blocks", source=ATLAS_0_5B),
        ),
    ),
    Claim(
        id="x-final-layer-exit-sanity",
        sentence="Reading out after the last block without the final norm already fails.",
        source=ALGEBRA,
        falsified_by="the likeliest token kept on more than a fifth of prompts",
        models=EVERY_MODEL,
        criteria={
            PUBLISHED: (
                EveryProbe(
                    experiment="early_exit",
                    select=FinalExit(normed=False),
                    metric="argmax_match",
                    at_most=0.20,
                    rationale="the full depth should match always; below a fifth the read-out is broken",
                ),
            )
        },
        expected={PUBLISHED: SUPPORTED},
        borderline={PUBLISHED: ("smollm2_135m",)},
        published=(
            Published(value=0.0, unit="share", what="argmax match at L27 of 1.5B", source=ATLAS_1_5B),
        ),
        note="Borderline was noted after the first run: SmolLM2-135M keeps the likeliest token on about 16% of "
        "prompts, and the interval reaches the threshold.",
    ),
    Claim(
        id="full-depth-exit-exact",
        sentence="Reading out after the last block with the final norm is the model itself.",
        source=ALGEBRA,
        falsified_by="any difference from the model beyond 0.0001 nats",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                WorstCase(
                    experiment="early_exit",
                    select=FinalExit(normed=True),
                    metric="kl_nats",
                    at_most=1e-4,
                    rationale="the last block's read-out is the model itself, up to float32",
                ),
            )
        },
        expected={SOUND: SUPPORTED},
    ),
)


def test_instrument(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)
