"""Cards on fine-tuning LFM2.5-230M, and on the formats of its data."""

from claims.published import (
    ABOUT,
    AS_SAID,
    AUDIT,
    CONSISTENT,
    EXACT,
    HYBRID,
    INCONSISTENT,
    TWO_ERRORS,
    WHAT_IT_IS,
    card,
    gives,
    undecided,
)

TUNING = (
    card(
        "sft-39-runs",
        "39 runs of supervised fine-tuning were made over datasets, optimisers, ranks, targets, rates, steps and "
        "volume.",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives("runs that ended with a loss", "len(sft.loss)", 39, why=EXACT, unit="runs"),
        note="One dataset gave no valid example, and two of the 38 share one configuration.",
    ),
    card(
        "sft-dataset-gap",
        "The choice of dataset dominates: smol-magpie-ultra reaches a loss of 1.25, Alpaca 6.07.",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives(
            "smol-magpie-ultra, at Alpaca's budget", 'sft.loss_by_dataset["smol"]', 1.25, 0.005, unit="nats"
        ),
        gives("Alpaca", 'sft.loss_by_dataset["alpaca"]', 6.07, 0.005, unit="nats"),
        gives(
            "smol-magpie-ultra, 5000 examples", "sft.loss_smol_5k", 1.25, 0.005, why=WHAT_IT_IS, unit="nats"
        ),
        note="The loss counts the padding to 512 tokens, of which short examples mostly consist.",
    ),
    card(
        "sft-dataset-5x",
        "The dataset matters five times more than hyper-parameters.",
        AUDIT,
        HYBRID,
        CONSISTENT,
        gives(
            "range of the loss over datasets, over that over rates and ranks",
            "(max(sft.loss_by_dataset) - min(sft.loss_by_dataset))"
            " / (max(sft.loss_by_rate, sft.loss_by_rank) - min(sft.loss_by_rate, sft.loss_by_rank))",
            5,
            0.5,
            unit="times",
        ),
        note="Of learning rates and ranks; with target modules and steps counted among hyper-parameters it is "
        "less. Losses count the padding, which makes them a matter of length.",
    ),
    card(
        "sft-adafactor",
        "Adafactor reaches a loss of 1.267 and a shift of 0.109 nats, below AdamW's, in less memory.",
        AUDIT,
        HYBRID,
        CONSISTENT,
        gives("loss", 'sft.loss_by_optimizer["adafactor"]', 1.267, 0.0005, unit="nats"),
        gives("shift", 'sft.kl_by_optimizer["adafactor"]', 0.109, 0.0005, unit="nats"),
        gives(
            "AdamW's nearer run less Adafactor, over the gap of AdamW's two equal runs",
            '(sft.kl_by_optimizer["adamw_again"] - sft.kl_by_optimizer["adafactor"])'
            ' / (sft.kl_by_optimizer["adamw"] - sft.kl_by_optimizer["adamw_again"])',
            1,
            relation=">=",
            why="more than two equal runs differ by",
        ),
        note="One run each. Memory was not recorded; the moments that AdamW keeps for 212,992 parameters are 1.7 MB.",
    ),
    card(
        "sft-lion-drift",
        "Lion moves the model more than AdamW.",
        AUDIT,
        HYBRID,
        CONSISTENT,
        gives(
            "Lion less AdamW's nearer run, over the gap of AdamW's two equal runs",
            '(sft.kl_by_optimizer["lion"] - sft.kl_by_optimizer["adamw"])'
            ' / (sft.kl_by_optimizer["adamw"] - sft.kl_by_optimizer["adamw_again"])',
            1,
            relation=">=",
            why="more than two equal runs differ by",
        ),
        note="Lion ran with another learning rate and a weight decay of 1 beside 0.01, so the optimiser alone is "
        "not compared.",
    ),
    card(
        "sft-rank-diminishing",
        "Each doubling of the rank lowers the loss by less; rank 8 has 213K parameters, rank 32 852K.",
        AUDIT,
        HYBRID,
        CONSISTENT,
        *(
            gives(
                f"gain from rank {rank} to {2 * rank}, over the gain before",
                f'(sft.loss_by_rank["r{rank}"] - sft.loss_by_rank["r{2 * rank}"])'
                f' / (sft.loss_by_rank["r{rank // 2}"] - sft.loss_by_rank["r{rank}"])',
                1,
                relation="<=",
                why=AS_SAID,
            )
            for rank in (4, 8, 16)
        ),
        gives("rank 8", 'sft.params["alpaca_300"]', 213000, 500, unit="parameters"),
        gives("rank 32", 'sft.params["alpaca_r32"]', 852000, 500, unit="parameters"),
        note="The gains are 0.23, 0.16, 0.15 and 0.14: after the first step hardly less.",
    ),
    card(
        "sft-target-hub-oproj",
        "Adapters at the output projections of the hub blocks have 65K parameters and move the model least "
        "(0.039); those at all modules move it more, at a lower loss.",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives(
            "parameters: in and out of 1024 each, rank 8",
            "sft.hub_blocks * 8 * 2 * lfm2_230m.d_model",
            65536,
            why=EXACT,
        ),
        gives("shift on Alpaca", 'sft.kl_by_target["hub_oproj"]', 0.039, 0.0005, unit="nats"),
        gives("least on Alpaca", "bottom(sft.kl_by_target)", "hub_oproj", why=EXACT),
        gives("least on SlimOrca", "bottom(sft.kl_slimorca)", "hub_oproj", why=EXACT),
        gives("least on Magicoder", "bottom(sft.kl_magicoder)", "hub_oproj", why=EXACT),
        gives(
            "loss of all modules less that of the target",
            'sft.loss_by_target["all"] - sft.loss_by_target["hub_oproj"]',
            0,
            relation="<=",
            why=AS_SAID,
        ),
        note="On Alpaca it also has the highest loss of the six targets: what moves less has learnt less. 'All' "
        "leaves the MLPs out, whose modules have other names in LFM2.",
    ),
    card(
        "format-base-best",
        "The base model (3.17) is judged better than all eight adapters (2.60 at best, 1.93 at worst).",
        AUDIT,
        HYBRID,
        CONSISTENT,
        gives("the best", "top(formats.score)", "base", why=EXACT),
        gives("base", 'formats.score["base"]', 3.17, 0.005),
        gives("best adapter", "max(formats.score_of_eight)", 2.60, 0.005),
        gives("worst adapter", "min(formats.score_of_eight)", 1.93, 0.005),
        gives(
            "its lead over the best adapter, in standard errors",
            '(formats.score["base"] - formats.score["single_turn_chat"])'
            ' / sqrt(formats.error["base"] ** 2 + formats.error["single_turn_chat"] ** 2)',
            2,
            relation=">=",
            why=TWO_ERRORS,
        ),
        note="Its valid JSON is the least of all, 0.56; its answers are three to four times as long.",
    ),
    card(
        "figures-judged-153",
        "The nine models were judged on 153 prompts.",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives("most answers that were scored", "max(formats.scored)", 153, why=EXACT),
        gives("fewest answers that were scored", "min(formats.scored)", 153, why=EXACT),
    ),
    card(
        "format-single-turn-best",
        "Of six formats single-turn chat is the best (2.60) and structured terse second (2.52).",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives(
            "the first two",
            "ranked(formats.score_of_six, 2)",
            ("single_turn_chat", "structured_terse"),
            why=EXACT,
        ),
        gives(
            "the lead of the first, in standard errors",
            '(formats.score["single_turn_chat"] - formats.score["structured_terse"])'
            ' / sqrt(formats.error["single_turn_chat"] ** 2 + formats.error["structured_terse"] ** 2)',
            2,
            relation=">=",
            why=TWO_ERRORS,
        ),
        note="The order is as printed and lies within the judge's error.",
    ),
    card(
        "format-verbose-worst",
        "Of six formats multi-turn verbose has the lowest loss (1.37) and the worst score (1.99).",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives("lowest loss", "bottom(formats.loss_of_six)", "multi_turn_verbose", why=EXACT),
        gives("worst score", "bottom(formats.score_of_six)", "multi_turn_verbose", why=EXACT),
        gives(
            "how far below the next, in standard errors",
            '(formats.score["bad_format_control"] - formats.score["multi_turn_verbose"])'
            ' / sqrt(formats.error["bad_format_control"] ** 2 + formats.error["multi_turn_verbose"] ** 2)',
            2,
            relation=">=",
            why=TWO_ERRORS,
        ),
        note="The format that was made bad on purpose scores 2.01; of all eight adapters another is worst, at 1.93.",
    ),
    card(
        "audit-loss-quality",
        "Loss in training and judged quality are inversely correlated, r about -0.7: a lower loss goes with a "
        "worse score.",
        AUDIT,
        HYBRID,
        INCONSISTENT,
        gives(
            "six formats",
            "pearson(formats.loss_of_six, formats.score_of_six)",
            -0.7,
            0.175,
            why=ABOUT,
        ),
        gives(
            "eight adapters",
            "pearson(formats.loss_of_eight, formats.score_of_eight)",
            -0.7,
            0.175,
            why=ABOUT,
        ),
        note="The sentence after the colon has r positive, as it is: the sign of the number is wrong. Formats "
        "are different texts, so their losses are not of one thing.",
    ),
    card(
        "format-harder-better",
        "Formats that are harder to fit give better adapters.",
        AUDIT,
        HYBRID,
        CONSISTENT,
        gives(
            "ranks of loss and score, six formats",
            "spearman(formats.loss_of_six, formats.score_of_six)",
            0.6,
            relation=">=",
            why="a rank correlation that is called strong",
        ),
        note="Six points; length of the text and passes over the data differ with the format.",
    ),
    undecided(
        "format-overfit-300",
        "Three hundred examples overfit a model of 230M parameters catastrophically.",
        AUDIT,
        HYBRID,
        "No loss on held-out examples was published, during training or after it; what was compared is formats, at one "
        "number of examples. To test it: train on more examples, and follow a held-out loss",
    ),
    undecided(
        "lfm2-recipe",
        "The best default for LFM2 is good multi-turn data, Adafactor, rank 8 and the hub's modules.",
        AUDIT,
        HYBRID,
        "A recommendation: no run used it as a whole and was judged. Of its parts, multi-turn formats score 2.50 "
        "and 1.99 beside 2.60 for single-turn chat and 3.17 for no training",
    ),
)
