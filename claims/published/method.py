"""Cards on sizes, memory and what was done."""

from claims.published import (
    CONSISTENT,
    EXACT,
    INCONSISTENT,
    LARGE,
    PAGE_0_5B,
    PAIR,
    PHASE_2,
    SCALES,
    SMALL,
    card,
    gives,
    undecided,
)

METHOD = (
    card(
        "lora-cross-size",
        "LoRA adapters cannot be loaded into a model of another size.",
        PHASE_2,
        SCALES,
        CONSISTENT,
        gives(
            "width of the stream, 1.5B less 0.5B",
            "qwen1_5b.d_model - qwen0_5b.d_model",
            1,
            relation=">=",
            why=EXACT,
        ),
        gives(
            "width of the stream, 3B less 1.5B",
            "qwen3b.d_model - qwen1_5b.d_model",
            1,
            relation=">=",
            why=EXACT,
        ),
        gives("in and out of o, 1.5B less 0.5B", "qwen1_5b.o - qwen0_5b.o", 1, relation=">=", why=EXACT),
        gives("in and out of o, 3B less 1.5B", "qwen3b.o - qwen1_5b.o", 1, relation=">=", why=EXACT),
        note="A and B of every module have other shapes.",
    ),
    card(
        "full-sft-oom",
        "Full fine-tuning does not fit in 8 GB.",
        PAGE_0_5B,
        PAIR,
        CONSISTENT,
        gives(
            "1.5B in float32: weights, gradients and two moments of Adam",
            "lora.bytes_of_adam * qwen1_5b.parameters / 1e9",
            8,
            relation=">=",
            why="the card's memory, before any activation",
            unit="GB",
        ),
        note="At 0.5B the same four take 7.9 GB, so that it depends on the activations, of which nothing was "
        "published.",
    ),
    card(
        "blocks-complete",
        "All nine blocks of the second study are complete.",
        PHASE_2,
        (*SCALES, "smollm2_1_7b"),
        INCONSISTENT,
        gives("blocks whose own line says done", "count(blocks.done, 1)", 9, why=EXACT, unit="blocks"),
        note="The same table has D at 5 of 8 and H partial; H holds no result.",
    ),
    card(
        "block-d-3b",
        "Of the eight sub-experiments at 3B five are done.",
        PHASE_2,
        LARGE,
        INCONSISTENT,
        gives("files of results", "blocks.files_3b", 5, why=EXACT, unit="sub-experiments"),
        note="All eight have results; the table of metrics still calls three of them pending.",
    ),
    undecided(
        "no-tl-gqa",
        "TransformerLens cannot handle grouped-query attention, so plain hooks are used.",
        PAGE_0_5B,
        SMALL,
        "A choice of tools, of which no figure was published. It is outdated: `make peers` compares "
        "TransformerLens with this suite on SmolLM2-135M, three of whose heads share a key",
    ),
    undecided(
        "peft-inplace",
        "Wrapping a model with peft changes it in place; for the base model the adapter has to be switched off.",
        PAGE_0_5B,
        SMALL,
        "About a library and not a model: no figure decides it. This suite trains on a copy, and every "
        "measurement with adapters checks that the weights it was handed are the same to the bit afterwards",
    ),
)
