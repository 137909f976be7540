"""Cards on blocks left out and on early exits."""

from claims.published import (
    CONSISTENT,
    EXACT,
    INCONSISTENT,
    MIDDLE,
    PAGE_0_5B,
    PAGE_1_5B,
    PHASE_2,
    SCALES,
    SMALL,
    card,
    gives,
)

SKIPS = (
    card(
        "figures-skip-range",
        "Ten sets of blocks left out at 0.5B give 7.9 to 13.8 nats and no overlap of the top five.",
        PAGE_0_5B,
        SMALL,
        CONSISTENT,
        gives("smallest", "min(skips.kl_0_5b)", 7.9, 0.05, unit="nats"),
        gives("largest", "max(skips.kl_0_5b)", 13.8, 0.05, unit="nats"),
        gives("overlap at most", "max(skips.overlap_0_5b)", 0, why=EXACT),
        gives("sets", "len(skips.kl_0_5b)", 10, why=EXACT),
    ),
    card(
        "figures-skip-ten",
        "Ten different configurations of blocks were left out at 0.5B.",
        PAGE_0_5B,
        SMALL,
        INCONSISTENT,
        gives("different effects, to six digits", "distinct(skips.kl_0_5b)", 10, why=EXACT),
        note="The stream was zeroed, so that only the last block of a set counts: sets that end alike are one edit.",
    ),
    card(
        "figures-skip-3-of-4",
        "At 1.5B three of the four sets left out give no overlap of the top five.",
        PAGE_1_5B,
        MIDDLE,
        INCONSISTENT,
        gives("sets without overlap", "count(skips.overlap_1_5b, 0)", 3, why=EXACT),
        gives("sets", "len(skips.overlap_1_5b)", 4, why=EXACT),
    ),
    card(
        "figures-skip-every-scale",
        "Every set of blocks left out gives no overlap of the top five, at all three scales.",
        PHASE_2,
        SCALES,
        INCONSISTENT,
        gives("0.5B", "max(skips.overlap_0_5b)", 0, why=EXACT),
        gives("1.5B", "max(skips.overlap_1_5b)", 0, why=EXACT),
        gives("3B", "max(skips.overlap_3b)", 0, why=EXACT),
    ),
    card(
        "figures-exit-speedup",
        "Exits of Qwen2.5-1.5B after L26, L25, L23 and L17 are 1.04, 1.08, 1.17 and 1.56 times as fast.",
        PAGE_1_5B,
        MIDDLE,
        CONSISTENT,
        *(
            gives(
                f"L{left}",
                f'skips.exit_speedup["L{left}"] / (qwen1_5b.n_layers / {left + 1})',
                1,
                0.005,
                why="the printed number over blocks of the model by blocks that ran, to two printed digits",
            )
            for left in (26, 25, 23, 17)
        ),
        note="They are the count of blocks over the count that ran: the unembedding, as large as several blocks, is in "
        "neither.",
    ),
)
