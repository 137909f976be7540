"""Figures of hubs, MLPs, heads, skipped layers and early exits."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, pstdev
from typing import Any

from harness.audit.figures import Figure, Value
from harness.audit.files import Missing
from harness.audit.layouts import heads_by_family, items, name, number, ranked, ratio, stores, table

SMALL, MIDDLE = "layer_ablation_zero.json", "layer_ablation_1.5b.json"
MIDDLE_FULL = "phase3_ablation_Qwen2.5-1.5B_seed42.json"
LARGE = "third_scale_layer_ablation_seed*.json"
LARGE_FULL = "phase3_ablation_Qwen2.5-3B_seed42.json"
MLP_SMALL, MLP_MIDDLE = "mlp_ablation.json", "mlp_ablation_1.5b.json"
HEADS_SMALL, HEADS_MIDDLE = "head_ablation.json", "head_ablation_1.5b.json"
SKIP_SMALL, SKIP_MIDDLE = "layer_skipping_early_exit.json", "efficiency_1.5b.json"
MATRIX = "effect_matrix, families"
Read = Callable[..., Value]


def mean_of(layer: str) -> Read:
    """A layer's mean over families."""
    return lambda body: fmean(table(body).row(layer).values())


def sum_of(layer: str) -> Read:
    """A layer's sum over families."""
    return lambda body: sum(table(body).row(layer).values())


def hub(body: Any) -> Value:
    """The layer with the largest mean."""
    return (ranked(table(body).means)[0],)


def hub_mean(body: Any) -> float:
    """The largest mean."""
    return max(table(body).means.values())


def hub_sum(body: Any) -> float:
    """The largest sum."""
    return max(table(body).sums.values())


def weakest(body: Any) -> Value:
    """The layer with the smallest mean."""
    return (ranked(table(body).means)[-1],)


def top(n: int) -> Read:
    """The n layers with the largest means, largest first."""
    return lambda body: tuple(ranked(table(body).means)[:n])


def families_where_top(layer: str) -> Read:
    """In how many families no layer has a larger effect."""

    def count(body: Any) -> Value:
        read = table(body)
        read.row(layer)
        columns = zip(*read.rows, strict=True)
        return (str(sum(max(column) == column[read.labels.index(layer)] for column in columns)),)

    return count


def spread(n: int) -> Read:
    """Between the first and the n-th mean."""

    def gap(body: Any) -> float:
        means = table(body).means
        order = ranked(means)
        if len(order) < n:
            raise Missing(f"{n} layers")
        return means[order[0]] - means[order[n - 1]]

    return gap


def rank_of(layer: str, by: str) -> Read:
    """A layer's place, 1 the largest, by its mean or its largest entry."""

    def place(body: Any) -> Value:
        read = table(body)
        read.row(layer)
        return (str(ranked(read.maxima if by == "maxima" else read.means).index(layer) + 1),)

    return place


def cell(label: str, family: str) -> Read:
    """One entry of the matrix."""
    return lambda body: table(body).cell(label, family)


def family_with(body: Any, label: str, pick: Callable[..., str]) -> Value:
    """The family with the extreme entry of a row."""
    row = table(body).row(label)
    return (pick(row, key=row.__getitem__),)


def seeds_of(names: list[str]) -> Value:
    """The seeds in file names, in order."""
    return tuple(
        sorted((n.removesuffix(".json").rpartition("seed")[2] for n in names), key=lambda s: (len(s), s))
    )


def hub_deviation(*bodies: Any) -> float:
    """Standard deviation of the hub's layer over files."""
    tables = [table(body) for body in bodies]
    return pstdev(read.labels.index(ranked(read.means)[0]) for read in tables)


def head_of(label: str, family: str) -> Read:
    """One head's effect on one family."""
    return lambda body: heads_by_family(body).cell(label, family)


def skips(body: Any) -> list[dict[str, float | str]]:
    """Each set of skipped layers: its mean KL and top-5 overlap, recomputed from prompts where they are stored."""
    small = stores(body, "part1_layer_skipping")
    key = "part1_layer_skipping" if small else "layer_skipping"
    rows: list[dict[str, float | str]] = []
    for i, config in enumerate(items(body, key)):
        read: dict[str, float | str] = {"config": name(config, "config")}
        for field, inner in (("mean_kl", "kl"), ("mean_top5_overlap", "top5_overlap")):
            if small:
                read[field] = fmean(number(prompt, inner) for prompt in items(config, "prompts"))
            else:
                read[field] = number(body, key, i, field)
        rows.append(read)
    return rows


def skip_values(body: Any, field: str, config: str | None = None) -> list[float]:
    """`field` of every set of skipped layers, or of one. Raises Missing where there is none of that name."""
    values = [float(row[field]) for row in skips(body) if config in (None, row["config"])]
    if not values:
        raise Missing(f"a set of layers called {config}")
    return values


def exit_at(layer: int, field: str) -> Read:
    """`field` of the early exit after a layer."""

    def value(body: Any) -> float:
        for entry in items(body, "early_exit"):
            if number(entry, "exit_layer") == layer:
                return number(entry, field)
        raise Missing(f"an exit after L{layer}")

    return value


def _layers(
    claim: str, file: str, printed: dict[str, str], of: Callable[[str], Read], what: str
) -> list[Figure]:
    return [
        Figure(
            claim=claim,
            what=f"{layer}, {what}",
            published=value,
            files=(file,),
            keys=MATRIX,
            recompute=of(layer),
        )
        for layer, value in printed.items()
    ]


def _figure(claim: str, what: str, published: str, file: str, recompute: Read, **more: Any) -> Figure:
    return Figure(
        claim=claim,
        what=what,
        published=published,
        files=(file,),
        recompute=recompute,
        **{"keys": MATRIX, **more},
    )


MEAN = "mean KL over families, nats"
HUBS = (
    _figure("hub-0_5b-l2", "hub of 0.5B", "L2", SMALL, hub, names=True),
    *_layers("hub-0_5b-l2", SMALL, {"L2": "19.11"}, mean_of, MEAN),
    _figure(
        "hub-0_5b-l2",
        "families in which L2 leads",
        "12",
        SMALL,
        families_where_top("L2"),
        names=True,
    ),
    _figure(
        "hub-0_5b-l2", "L2, least family", "0.5", SMALL, lambda body: min(table(body).row("L2").values())
    ),
    _figure(
        "hub-0_5b-l2", "L2, greatest family", "11.5", SMALL, lambda body: max(table(body).row("L2").values())
    ),
    *_layers(
        "hub-0_5b-layer-table",
        SMALL,
        {"L2": "19.11", "L0": "13.52", "L9": "11.14", "L7": "10.96", "L22": "10.52", "L15": "3.37"},
        mean_of,
        MEAN,
    ),
    _figure("hub-0_5b-layer-table", "weakest layer of 0.5B", "L15", SMALL, weakest, names=True),
    *(
        _figure(
            "hub-0_5b-family-extremes",
            f"L2 on {family}",
            value,
            SMALL,
            cell("L2", family),
            instead=instead,
        )
        for family, value, instead in (
            ("factual_recall", "21.77", {"the greatest is": lambda body: family_with(body, "L2", max)}),
            ("arithmetic", "21.48", {"code_semantics has": cell("L2", "code_semantics")}),
            ("delimiter_tracking", "16.50", {"the least is": lambda body: family_with(body, "L2", min)}),
        )
    ),
    _figure("hub-1_5b-l26", "hub of 1.5B, eight families", "L26", MIDDLE, hub, names=True),
    *_layers(
        "hub-1_5b-l26",
        MIDDLE,
        {"L26": "13.70", "L6": "13.28", "L14": "13.01", "L5": "10.44", "L9": "10.34"},
        mean_of,
        MEAN,
    ),
    _figure("hub-1_5b-three-peaks", "first to third mean, nats", "0.69", MIDDLE, spread(3)),
    _figure("hub-1_5b-range", "weakest layer", "L23", MIDDLE, weakest, names=True),
    *_layers("hub-1_5b-range", MIDDLE, {"L23": "5.40", "L26": "13.70"}, mean_of, MEAN),
    _figure("hub-1_5b-l14", "hub of 1.5B, all families", "L14", MIDDLE_FULL, hub, names=True),
    _figure(
        "hub-kl-grows",
        "KL of the 1.5B hub L14, mean over families",
        "13.70",
        MIDDLE_FULL,
        mean_of("L14"),
    ),
    _figure("hub-3b-l34", "hub of 3B", "L34", LARGE_FULL, hub, names=True),
    _figure(
        "hub-3b-l34",
        "KL of the 3B hub, mean over families as at 0.5B",
        "221.34",
        f"{LARGE}|{LARGE_FULL}",
        hub_mean,
        instead={"sum over families": hub_sum},
    ),
    _figure("hub-3b-top5", "first five layers of 3B", "L34 L27 L13 L22 L18", LARGE_FULL, top(5), names=True),
    *_layers(
        "hub-3b-top5",
        LARGE,
        {"L34": "221.3", "L27": "192.3", "L13": "187.5", "L22": "171.5", "L18": "160.7"},
        sum_of,
        "sum over families, nats",
    ),
    *(
        _figure(
            "hub-seeds-std0",
            f"seeds of {model}",
            "42 137 2026",
            f"phase3_ablation_Qwen2.5-{model}_seed*.json",
            seeds_of,
            names=True,
            listing=True,
            keys="file names",
        )
        for model in ("0.5B", "1.5B", "3B")
    ),
    *(
        Figure(
            claim="hub-seeds-std0",
            what=f"deviation of the hub of {model} over seeds, layers",
            published="0.0",
            files=tuple(f"phase3_ablation_Qwen2.5-{model}_seed{seed}.json" for seed in (42, 137, 256)),
            keys=MATRIX,
            recompute=hub_deviation,
        )
        for model in ("0.5B", "1.5B", "3B")
    ),
)

L0_READINGS: dict[str, Read] = {
    "L0, largest entry": lambda body: table(body).maxima["L0"],
    "L0, mean": lambda body: table(body).means["L0"],
}
MLPS = (
    _figure(
        "mlp-0_5b-l2-dominates",
        "MLP of L2, largest entry, nats",
        "11.26",
        MLP_SMALL,
        lambda body: max(table(body).row("L2").values()),
        instead=L0_READINGS,
    ),
    _figure(
        "mlp-0_5b-l2-dominates",
        "place of the MLP of L0, by largest entry",
        "2",
        MLP_SMALL,
        rank_of("L0", "maxima"),
        names=True,
        instead={"by mean": rank_of("L0", "means")},
    ),
    *_layers("mlp-1_5b-l0", MLP_MIDDLE, {"L0": "2.58", "L1": "1.83", "L27": "1.17"}, mean_of, f"MLP, {MEAN}"),
    _figure(
        "mlp-1_5b-l0",
        "largest MLP entry, nats",
        "2.58",
        MLP_MIDDLE,
        lambda body: table(body).largest,
        instead={"L0, mean": mean_of("L0")},
    ),
    *_layers("mlp-scale-3x", MLP_SMALL, {"L0": "8.12"}, mean_of, f"MLP of 0.5B, {MEAN}"),
    Figure(
        claim="mlp-scale-3x",
        what="MLP of L0, 0.5B mean over 1.5B mean",
        published="3.15",
        files=(MLP_SMALL, MLP_MIDDLE),
        keys=MATRIX,
        recompute=lambda small, middle: ratio(table(small).means["L0"], table(middle).means["L0"]),
    ),
    _figure("mlp-late-l27", "place of the MLP of L27", "3", MLP_MIDDLE, rank_of("L27", "means"), names=True),
)

HEADS = (
    _figure(
        "head-0_5b-distributed",
        "largest head entry of 0.5B, nats",
        "0.046",
        HEADS_SMALL,
        lambda body: table(body).largest,
        keys=f"{MATRIX}, row_labels",
    ),
    Figure(
        claim="head-0_5b-distributed",
        what="hub's mean over the largest head entry, 0.5B",
        published="2e2",
        files=(SMALL, HEADS_SMALL),
        keys=MATRIX,
        recompute=lambda layers, heads: ratio(hub_mean(layers), table(heads).largest),
    ),
    *(
        _figure(
            claim,
            f"{head} on {family}, nats",
            value,
            HEADS_MIDDLE,
            head_of(head, family),
            keys="results, families",
        )
        for claim, head, family, value in (
            ("head-1_5b-specialists", "L0H3", "arithmetic", "1.02"),
            ("head-1_5b-specialists", "L0H6", "code_syntax", "0.51"),
            ("head-1_5b-specialists", "L0H10", "delimiter_tracking", "0.44"),
            ("head-1_5b-specialists", "L0H6", "delimiter_tracking", "0.44"),
            ("head-1_5b-specialists", "L0H5", "factual_recall", "0.20"),
            ("head-1_5b-l0h3-cross-task", "L0H3", "code_syntax", "0.35"),
            ("head-1_5b-l0h3-cross-task", "L0H3", "copying", "0.26"),
        )
    ),
    _figure(
        "head-1_5b-specialists",
        "layers whose heads were tested",
        "28",
        HEADS_MIDDLE,
        lambda body: (str(len({head.partition("H")[0] for head in heads_by_family(body).labels})),),
        names=True,
        keys="results, families",
    ),
    Figure(
        claim="head-scale-22x",
        what="largest head entry, 1.5B over 0.5B",
        published="22",
        files=(HEADS_SMALL, HEADS_MIDDLE),
        keys=f"{MATRIX}; results, families",
        recompute=lambda small, middle: ratio(heads_by_family(middle).largest, table(small).largest),
    ),
)

SKIP_KEYS = "part1_layer_skipping[].prompts[]"
SKIPS = (
    _figure(
        "skip-0_5b-all-fatal",
        "sets of skipped layers",
        "10",
        SKIP_SMALL,
        lambda body: (str(len(skips(body))),),
        names=True,
        keys=SKIP_KEYS,
    ),
    *(
        _figure(
            "skip-0_5b-all-fatal",
            what,
            value,
            SKIP_SMALL,
            lambda body, pick=pick, field=field: pick(skip_values(body, field)),
            keys=f"{SKIP_KEYS}.{inner}",
        )
        for what, value, pick, field, inner in (
            ("largest top-5 overlap", "0.0", max, "mean_top5_overlap", "top5_overlap"),
            ("smallest mean KL, nats", "7.9", min, "mean_kl", "kl"),
            ("largest mean KL, nats", "13.8", max, "mean_kl", "kl"),
        )
    ),
    _figure(
        "skip-1_5b-fatal",
        "sets of skipped layers without any overlap",
        "3",
        SKIP_MIDDLE,
        lambda body: (str(skip_values(body, "mean_top5_overlap").count(0.0)),),
        names=True,
        keys="layer_skipping[].mean_top5_overlap",
    ),
    *(
        _figure(
            claim,
            what,
            value,
            SKIP_MIDDLE,
            lambda body, pick=pick, field=field, config=config: pick(skip_values(body, field, config)),
            keys=f"layer_skipping[].{field}",
        )
        for claim, what, value, pick, field, config in (
            ("skip-1_5b-fatal", "smallest mean KL, nats", "6.58", min, "mean_kl", None),
            ("skip-1_5b-fatal", "largest mean KL, nats", "9.50", max, "mean_kl", None),
            ("skip-1_5b-mid5", "L4 to L8, top-5 overlap", "0.1", max, "mean_top5_overlap", "skip_mid_5"),
            ("skip-1_5b-mid5", "L4 to L8, mean KL, nats", "6.58", max, "mean_kl", "skip_mid_5"),
        )
    ),
    *(
        _figure(claim, what, value, SKIP_MIDDLE, exit_at(layer, field), keys=f"early_exit[].{field}")
        for claim, what, value, layer, field in (
            ("early-exit-1_5b", "exit after L26, argmax match", "0.0", 26, "mean_argmax_match"),
            ("early-exit-1_5b", "exit after L25, argmax match", "0.0714", 25, "mean_argmax_match"),
            ("early-exit-1_5b", "exit after L23, argmax match", "0.0714", 23, "mean_argmax_match"),
            ("early-exit-1_5b", "exit after L17, argmax match", "0.0", 17, "mean_argmax_match"),
            ("early-exit-1_5b", "exit after L23, mean KL, nats", "12.60", 23, "mean_kl"),
            ("early-exit-1_5b", "exit after L17, mean KL, nats", "7.21", 17, "mean_kl"),
            ("x-final-layer-exit-sanity", "exit after L27, argmax match", "0.0", 27, "mean_argmax_match"),
        )
    ),
)

FIGURES = (*HUBS, *MLPS, *HEADS, *SKIPS)
