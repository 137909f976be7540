"""Figures of adapters, transfer, knockout, sweeps of rank and modules, training steps and separability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum, log, sqrt
from statistics import fmean, linear_regression
from typing import Any, TypeVar

from harness.audit.figures import Figure, Value
from harness.audit.files import Missing, Untrusted
from harness.audit.layouts import at, items, number, numbers, over_prompts, pearson, ranked, ratio, stores

ADAPTER_SMALL, ADAPTER_MIDDLE = "adapter_ablation.json", "adapter_ablation_1.5b.json"
TRANSFER_SMALL, TRANSFER_MIDDLE = "cross_model_patching.json", "cross_model_patching_1.5b.json"
KNOCKOUT_SMALL, KNOCKOUT_MIDDLE = "skill_knockout.json", "skill_knockout_1.5b.json"
RANKS, RANK_NORMS, MODULES = "lora_rank_sweep.json", "adapter_archaeology.json", "lora_module_sweep.json"
TIMELINE = "checkpoint_timeline.json"
SEPARABILITY = "skill_separability_qwen25-05b.json|skill_separability_scores.csv"
FLOOR = 1e-6
"""What the atlas puts in place of a smaller change off the skill."""
Read = Callable[..., Value]
Of = TypeVar("Of")


def norms(body: Any) -> dict[str, float]:
    """An adapter's norm by layer; the two scales store it differently."""
    stored = at(body, "adapter_norms")
    if not isinstance(stored, dict) or not stored:
        raise Untrusted("adapter_norms is not a set of layers")
    keys = {layer: ("combined_norm",) if isinstance(stored[layer], dict) else () for layer in stored}
    return {f"L{layer}": number(stored, layer, *keys[layer]) for layer in stored}


def effects(body: Any) -> dict[str, list[float]]:
    """The effect of taking the adapter away up to each layer, by prompt; the two scales store it differently."""
    if stores(items(body, "results")[0], "layer_results"):
        return over_prompts(body, "layer_results", "ablation_kl")
    return over_prompts(body, "layers", "kl")


def effect(layer: str, of: Callable[[list[float]], float]) -> Read:
    """One layer's effect, a sum or mean over prompts."""
    return lambda body: of(_layer(effects(body), layer))


def norm_against_effect(body: Any) -> float:
    """Pearson's correlation over layers."""
    by_layer, size = effects(body), norms(body)
    return pearson([_layer(size, layer) for layer in by_layer], [fmean(kl) for kl in by_layer.values()])


def largest_norms(n: int) -> Read:
    """The n layers with the largest norms, by layer."""
    return lambda body: tuple(sorted(ranked(norms(body))[:n], key=lambda layer: int(layer[1:])))


def recovery(layer: str) -> Read:
    """Mean over pairs of the share of the trained behaviour that a layer's activation brings back."""

    def mean(body: Any) -> float:
        small = stores(items(body, "results")[0], "layer_results")
        found = over_prompts(body, *(("layer_results", "kl_recovery") if small else ("layers", "recovery")))
        return fmean(_layer(found, layer))

    return mean


def drops(body: Any, layer: int, strength: float) -> tuple[float, float]:
    """What factual recall and the other prompts lose in probability: the mean of each, at one strength."""
    skills = items(body, "results") if isinstance(body, dict) else items(body)
    found = [
        entry
        for skill in skills
        if at(skill, "skill") == "factual_recall"
        for entry in items(skill, "layer_data")
    ]
    found = [entry for entry in found if number(entry, "layer") == layer]
    if len(found) != 1:
        raise Missing(f"factual_recall at L{layer}, once")
    lost: dict[bool, list[float]] = {True: [], False: []}
    for prompt in items(found[0], "prompt_results"):
        on_skill = at(prompt, "is_skill_target")
        if not isinstance(on_skill, bool):
            raise Untrusted("is_skill_target is neither true nor false")
        by_strength = {
            number(step, "strength"): number(step, "target_prob") for step in items(prompt, "sweep")
        }
        if not {0.0, strength} <= by_strength.keys():
            raise Missing(f"the strengths 0 and {strength:g} of every prompt")
        lost[on_skill].append(by_strength[0.0] - by_strength[strength])
    if not (lost[True] and lost[False]):
        raise Missing("prompts of the skill and others")
    return fmean(lost[True]), fmean(lost[False])


def floored(body: Any, layer: int = 19) -> float:
    """The 0.5B selectivity as published: a change that is negative or tiny becomes the floor."""
    skill, rest = drops(body, layer, -2.0)
    return skill / max(rest, FLOOR)


def absolute(layer: int, floor: float = FLOOR) -> Read:
    """The 1.5B selectivity as published: against the size of the other change."""

    def selectivity(body: Any) -> float:
        skill, rest = drops(body, layer, -2.0)
        return ratio(skill, max(abs(rest), floor))

    return selectivity


def signed(body: Any) -> float:
    """Selectivity at L19 against the change itself, negative where the others gain."""
    return ratio(*drops(body, 19, -2.0))


def rank_effect(rank: int) -> Read:
    """KL of zeroing the MLP of L0 on JSON prompts, after training at a rank."""

    def value(body: Any) -> float:
        families = items(body, "families")
        if "json_schema" not in families:
            raise Missing("the family json_schema")
        return number(body, f"r{rank}", "ablation_matrix", 0, families.index("json_schema"))

    return value


def total_norm(rank: int) -> Read:
    """Root of the sum of squares of an adapter's norms over layers."""

    def value(body: Any) -> float:
        layers = at(body, f"json_r{rank}", "layer_norms")
        if not isinstance(layers, dict) or not layers:
            raise Untrusted(f"json_r{rank}.layer_norms is not a set of layers")
        return sqrt(fsum(number(layers, layer) ** 2 for layer in layers))

    return value


def growth(body: Any) -> float:
    """The exponent with which the norm grows with the rank: the slope on logarithms."""
    ranks = (1, 2, 4, 8, 16)
    sizes = [float(total_norm(rank)(body)) for rank in ranks]  # type: ignore[arg-type]
    if min(sizes) <= 0:
        raise Untrusted("a norm is not positive")
    return linear_regression([log(rank) for rank in ranks], [log(size) for size in sizes]).slope


def gain(modules: str) -> Read:
    """What a set of modules adds to the effect of the MLP of L0 on JSON prompts."""
    return lambda body: _gain(body, modules)


def per_parameter(modules: str) -> Read:
    """The gain per million parameters."""
    return lambda body: _efficiency(body, modules)


def efficiency_order(place: int) -> Read:
    """The set of modules at a place of the order by gain per parameter."""

    def found(body: Any) -> Value:
        if not isinstance(body, dict):
            raise Untrusted("the file is not a set of sweeps")
        sets = [key for key in body if key != "base_json_ablation"]
        if not sets or not set(sets) <= set(MODULE_SETS):
            raise Untrusted(f"the sets of modules are not {', '.join(MODULE_SETS)}")
        return (ranked({key: _efficiency(body, key) for key in sets})[place],)

    return found


MODULE_SETS = ("q_proj_only", "v_proj_only", "o_proj_only", "mlp_only", "attn_all", "all_linear")


def _gain(body: Any, modules: str) -> float:
    return numbers(body, modules, "json_ablation")[0] - numbers(body, "base_json_ablation")[0]


def _efficiency(body: Any, modules: str) -> float:
    return ratio(_gain(body, modules), number(body, modules, "n_trainable") / 1e6)


def json_map(body: Any, step: int) -> dict[str, float]:
    """The JSON profile over layers at a checkpoint."""
    layers = at(body, "ablation_maps", f"step_{step}", "json_schema")
    if not isinstance(layers, dict) or len(layers) < 3:
        raise Untrusted(f"ablation_maps.step_{step}.json_schema is not a set of layers")
    return {layer: number(layers, layer) for layer in layers}


def first_three(step: int) -> Read:
    """The three strongest layers at a checkpoint, strongest first."""
    return lambda body: tuple(ranked(json_map(body, step))[:3])


def locked_at(body: Any) -> Value:
    """The first checkpoint with the three strongest layers of the last."""
    steps = (0, 10, 25, 50, 75, 100)
    last = set(ranked(json_map(body, 100))[:3])
    return (str(next(step for step in steps if set(ranked(json_map(body, step))[:3]) == last)),)


def overlap_with_start(body: Any) -> Value:
    """How many of the three strongest layers at step 10 are among those before training."""
    return (str(len(set(ranked(json_map(body, 0))[:3]) & set(ranked(json_map(body, 10))[:3]))),)


def drift(body: Any) -> float:
    """The largest relative change of L2, L7 and L9 from step 10 to step 100."""
    early, late = json_map(body, 10), json_map(body, 100)
    return max(abs(ratio(_layer(late, x) - _layer(early, x), _layer(early, x))) for x in ("L2", "L7", "L9"))


def moved(layer: str) -> Read:
    """A layer's change from before training to step 100."""
    return lambda body: _layer(json_map(body, 100), layer) - _layer(json_map(body, 0), layer)


def skill(body: Any, which: str) -> Any:
    """One skill's terms, of the JSON or the CSV."""
    if isinstance(body, dict):
        return at(body, "skills", which)
    rows = [row for row in items(body) if at(row, "skill") == which]
    if len(rows) != 1:
        raise Missing(f"one row of the skill {which}")
    return rows[0]


WEIGHTS: Mapping[str, float] = {
    "insertion_gain": 0.20,
    "removal_selectivity": 0.20,
    "transfer_recovery": 0.15,
    "composition_compatibility": 0.15,
    "localization_sharpness": 0.15,
    "collateral_damage": -0.15,
}
RANGES: Mapping[str, float] = {"insertion_gain": 5.0, "removal_selectivity": 100.0, "collateral_damage": 5.0}


def separability(which: str) -> Read:
    """The score from its six terms: each cut to its range, as the atlas defines it."""

    def score(body: Any) -> float:
        terms = {term: number(skill(body, which), term) for term in WEIGHTS}
        for term, limit in RANGES.items():
            terms[term] = min(max(terms[term], 0.0), limit) / limit
        return fsum(weight * terms[term] for term, weight in WEIGHTS.items())

    return score


def _layer(values: Mapping[str, Of], layer: str) -> Of:
    if layer not in values:
        raise Missing(f"the layer {layer}")
    return values[layer]


def _figure(
    claim: str, what: str, published: str, file: str, keys: str, recompute: Read, **more: Any
) -> Figure:
    return Figure(
        claim=claim, what=what, published=published, files=(file,), keys=keys, recompute=recompute, **more
    )


NORMS = "adapter_norms"
EFFECTS_SMALL, EFFECTS_MIDDLE = "results[].layer_results[].ablation_kl", "results[].layers[].kl"
ADAPTERS = (
    _figure(
        "adapter-norm-effect-corr-0_5b",
        "correlation of norm and effect over layers",
        "0.855",
        ADAPTER_SMALL,
        f"{NORMS}, {EFFECTS_SMALL}",
        norm_against_effect,
    ),
    *(
        _figure(
            "adapter-norm-effect-corr-0_5b",
            f"{layer}, mean over prompts, nats",
            value,
            ADAPTER_SMALL,
            EFFECTS_SMALL,
            effect(layer, fmean),
        )
        for layer, value in (("L23", "0.872"), ("L22", "0.809"), ("L21", "0.723"))
    ),
    _figure(
        "adapter-norms-peak-late",
        "the four layers with the largest norms",
        "L20 L21 L22 L23",
        ADAPTER_SMALL,
        NORMS,
        largest_norms(4),
        names=True,
    ),
    _figure(
        "adapter-1_5b-norm-flat",
        "least norm",
        "3.33",
        ADAPTER_MIDDLE,
        NORMS,
        lambda b: min(norms(b).values()),
    ),
    _figure(
        "adapter-1_5b-norm-flat",
        "largest norm",
        "3.45",
        ADAPTER_MIDDLE,
        NORMS,
        lambda b: max(norms(b).values()),
    ),
    _figure(
        "adapter-1_5b-corr-054",
        "correlation of norm and effect over layers",
        "0.54",
        ADAPTER_MIDDLE,
        f"{NORMS}, {EFFECTS_MIDDLE}",
        norm_against_effect,
    ),
    *(
        _figure(
            "adapter-1_5b-total-kl",
            f"{layer}, mean over prompts as at 0.5B, nats",
            value,
            ADAPTER_MIDDLE,
            EFFECTS_MIDDLE,
            effect(layer, fmean),
            instead={"sum over prompts": effect(layer, fsum)},
        )
        for layer, value in (
            ("L27", "13.64"),
            ("L26", "12.70"),
            ("L25", "12.00"),
            ("L24", "11.56"),
            ("L23", "10.92"),
        )
    ),
    *(
        _figure(claim, f"recovery at {layer}", value, file, keys, recovery(layer))
        for claim, file, keys, printed in (
            (
                "cross-model-0_5b-recovery",
                TRANSFER_SMALL,
                "results[].layer_results[].kl_recovery",
                {"L23": "1.000", "L22": "0.966", "L21": "0.947", "L20": "0.87"},
            ),
            (
                "cross-model-1_5b-recovery",
                TRANSFER_MIDDLE,
                "results[].layers[].recovery",
                {
                    "L27": "0.999",
                    "L26": "0.992",
                    "L25": "0.987",
                    "L24": "0.979",
                    "L23": "0.974",
                    "L22": "0.955",
                },
            ),
        )
        for layer, value in printed.items()
    ),
)

SWEEP = "prompt_results[].sweep[].target_prob"
KNOCKOUT = (
    _figure(
        "knockout-0_5b-l19",
        "L19 at -2, drop over the floored change of the others",
        "11654",
        KNOCKOUT_SMALL,
        SWEEP,
        floored,
    ),
    _figure(
        "knockout-0_5b-l19",
        "L19 at -2, drop over the others' own change",
        "11654",
        KNOCKOUT_SMALL,
        SWEEP,
        signed,
        instead={f"with a floor of {FLOOR:g} under it": floored, "over its size": absolute(19, 0.0)},
    ),
    *(
        _figure(
            "knockout-1_5b-l21",
            f"L{layer} at -2, drop over the size of the others' change",
            value,
            KNOCKOUT_MIDDLE,
            SWEEP,
            absolute(layer),
        )
        for layer, value in ((2, "-24.55"), (3, "-77.41"), (16, "-9.31"), (19, "-1.62"), (21, "0.24"))
    ),
    Figure(
        claim="knockout-collapse-48000x",
        what="selectivity as published, 0.5B at L19 over 1.5B at L21",
        published="4.8e4",
        files=(KNOCKOUT_SMALL, KNOCKOUT_MIDDLE),
        keys=SWEEP,
        recompute=lambda small, middle: ratio(floored(small), float(absolute(21)(middle))),  # type: ignore[arg-type]
        instead={
            "both over the size of the others' change": lambda small, middle: ratio(
                float(absolute(19, 0.0)(small)),  # type: ignore[arg-type]
                float(absolute(21, 0.0)(middle)),  # type: ignore[arg-type]
            )
        },
    ),
)

RANK_KEYS, GAIN_KEYS = "ablation_matrix, families", "json_ablation, base_json_ablation"
SWEEPS = (
    *(
        _figure(
            "rank-l0-peak-r4",
            f"MLP of L0 on JSON at rank {rank}, nats",
            value,
            RANKS,
            f"r{rank}.{RANK_KEYS}",
            rank_effect(rank),
            instead={} if rank == 4 else {"rank 4": rank_effect(4)},
        )
        for rank, value in ((1, "15.77"), (4, "15.77"), (16, "13.94"))
    ),
    *(
        _figure(
            "rank-norm-linear",
            f"total norm at rank {rank}",
            value,
            RANK_NORMS,
            f"json_r{rank}.layer_norms",
            total_norm(rank),
        )
        for rank, value in ((1, "6.14"), (16, "22.92"))
    ),
    _figure(
        "rank-norm-linear",
        "exponent of the total norm in the rank (linear: 1)",
        "1.0",
        RANK_NORMS,
        "json_r1 to json_r16, layer_norms",
        growth,
    ),
    _figure(
        "module-oproj-best", "o_proj, added effect of L0", "3.64", MODULES, GAIN_KEYS, gain("o_proj_only")
    ),
    _figure(
        "module-oproj-best",
        "o_proj, parameters",
        "344064",
        MODULES,
        "o_proj_only.n_trainable",
        lambda body: (f"{number(body, 'o_proj_only', 'n_trainable'):.0f}",),
        names=True,
    ),
    _figure(
        "module-oproj-best",
        "o_proj, added effect per million parameters",
        "10.6",
        MODULES,
        f"{GAIN_KEYS}, n_trainable",
        per_parameter("o_proj_only"),
    ),
    _figure(
        "module-oproj-best",
        "most effect per parameter",
        "o_proj_only",
        MODULES,
        f"{GAIN_KEYS}, n_trainable",
        efficiency_order(0),
        names=True,
    ),
    _figure("module-mlp-worst", "MLP, added effect of L0", "1.92", MODULES, GAIN_KEYS, gain("mlp_only")),
    _figure(
        "module-mlp-worst",
        "MLP, million parameters",
        "3.3",
        MODULES,
        "mlp_only.n_trainable",
        lambda body: number(body, "mlp_only", "n_trainable") / 1e6,
    ),
    _figure(
        "module-mlp-worst",
        "least effect per parameter",
        "mlp_only",
        MODULES,
        f"{GAIN_KEYS}, n_trainable",
        efficiency_order(-1),
        names=True,
    ),
)

MAPS = "ablation_maps.step_N.json_schema"
STEPS = (
    _figure(
        "core-circuit-step10",
        "three strongest at step 10",
        "L2 L7 L9",
        TIMELINE,
        MAPS,
        first_three(10),
        names=True,
    ),
    _figure(
        "core-circuit-step10",
        "first checkpoint that has them",
        "10",
        TIMELINE,
        MAPS,
        locked_at,
        names=True,
        instead={"of the three at step 10, before training": overlap_with_start},
    ),
    _figure(
        "core-circuit-drift-1pct",
        "largest change, step 10 to 100",
        "0.01",
        TIMELINE,
        MAPS,
        drift,
        at_most=True,
    ),
    _figure("training-secondary-layers", "L15, change to step 100", "2.85", TIMELINE, MAPS, moved("L15")),
    _figure("training-secondary-layers", "L6, change to step 100", "2.73", TIMELINE, MAPS, moved("L6")),
)

SCORES = tuple(
    _figure(
        "sep-code-best",
        f"{which}, score from its terms",
        value,
        SEPARABILITY,
        f"skills.{which}",
        separability(which),
    )
    for which, value in (
        ("code_semantics", "0.361"),
        ("json_schema", "0.221"),
        ("factual_recall", "0.218"),
        ("copying", "0.219"),
        ("delimiter_tracking", "0.215"),
    )
)

FIGURES = (*ADAPTERS, *KNOCKOUT, *SWEEPS, *STEPS, *SCORES)
