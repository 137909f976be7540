"""A made-up copy of the atlas's results: its layouts, with the numbers that were recomputed from its own files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

FAMILIES = (
    "arithmetic",
    "code_semantics",
    "code_syntax",
    "copying",
    "dead_code",
    "delimiter_tracking",
    "factual_recall",
    "json_schema",
    "refusal_compliance",
    "uncertainty_signalling",
    "variable_renaming",
    "verbosity_control",
)
EIGHT = (
    "copying",
    "delimiter_tracking",
    "json_schema",
    "factual_recall",
    "arithmetic",
    "code_syntax",
    "code_semantics",
    "dead_code",
)
SMALL = (
    7.61, 8.68, 19.11, 11.84, 8.38, 10.44, 9.81, 14.62, 14.62, 12.29, 11.51, 12.33, 10.22, 8.20, 8.65, 9.58, 8.41,
    8.85, 6.60, 9.65, 8.43, 14.02, 15.40, 9.29,
)  # fmt: skip
SMALL_L2 = (18.42, 21.48, 18.54, 16.50, 21.77, 17.31, 16.71, 20.68, 20.38, 19.12, 21.17, 17.23)
MIDDLE = (
    6.94, 6.40, 8.14, 7.29, 9.60, 10.44, 13.28, 9.89, 7.64, 10.34, 9.13, 7.39, 9.67, 10.32, 13.01, 10.14, 9.57, 7.21,
    8.87, 7.22, 8.55, 6.56, 6.76, 5.40, 9.09, 6.48, 13.70, 9.57,
)  # fmt: skip
MIDDLE_FULL = (*MIDDLE[:14], 15.39, *MIDDLE[15:26], 12.84, 9.30)
LARGE = {34: 221.34, 27: 192.3, 13: 187.5, 22: 171.5, 18: 160.7}
MLP_SMALL = (8.123, 0.491, 3.163, *(0.2,) * 20, 0.953)
MLP_MIDDLE = (2.577, 1.829, *(0.1,) * 25, 1.175)
HEADS_MIDDLE = {
    ("arithmetic", 0, 3): 1.0234,
    ("code_syntax", 0, 6): 0.5078,
    ("delimiter_tracking", 0, 10): 0.4434,
    ("delimiter_tracking", 0, 6): 0.4375,
    ("code_syntax", 0, 3): 0.3457,
    ("copying", 0, 3): 0.2617,
    ("factual_recall", 0, 5): 0.1953,
}
NORMS_SMALL = (
    3.302, 3.311, 3.290, 3.312, 3.311, 3.318, 3.314, 3.318, 3.317, 3.303, 3.316, 3.338, 3.322, 3.345, 3.359, 3.354,
    3.354, 3.359, 3.368, 3.360, 3.371, 3.372, 3.391, 3.364,
)  # fmt: skip
EFFECTS_SMALL = (
    0.0011, 0.0042, 0.0056, 0.0082, 0.0151, 0.0242, 0.0266, 0.0263, 0.0246, 0.0290, 0.0287, 0.0415, 0.0552, 0.0772,
    0.1544, 0.2322, 0.2910, 0.3381, 0.3842, 0.4292, 0.5576, 0.7234, 0.8093, 0.8717,
)  # fmt: skip
NORMS_MIDDLE = (
    3.359, 3.354, 3.333, 3.347, 3.375, 3.373, 3.367, 3.394, 3.377, 3.379, 3.396, 3.392, 3.396, 3.400, 3.383, 3.434,
    3.454, 3.432, 3.417, 3.413, 3.455, 3.402, 3.432, 3.410, 3.373, 3.393, 3.395, 3.424,
)  # fmt: skip
SUMS_MIDDLE = (
    0.11, 0.14, 0.17, 0.22, 0.27, 0.28, 0.30, 0.39, 0.44, 0.54, 0.88, 1.33, 1.70, 2.27, 2.70, 3.81, 5.00, 6.28, 6.80,
    7.36, 8.63, 9.56, 10.09, 10.92, 11.56, 12.00, 12.70, 13.64,
)  # fmt: skip
RECOVERY_SMALL = {20: 0.867, 21: 0.947, 22: 0.966, 23: 1.0}
RECOVERY_MIDDLE = {22: 0.955, 23: 0.974, 24: 0.979, 25: 0.987, 26: 0.9914, 27: 0.999}
KNOCKOUT_MIDDLE = {
    2: (-0.009512, -0.0003875),
    3: (-0.009909, -0.000128),
    16: (-0.003271, 0.0003515),
    19: (-0.086142, 0.053180),
    21: (0.001056, 0.004361),
}
RANKS = {1: (6.14, 13.74), 2: (8.43, 14.51), 4: (11.69, 15.77), 8: (16.34, 14.45), 16: (22.92, 13.94)}
MODULES = {
    "q_proj_only": (344064, 2.44),
    "v_proj_only": (196608, 2.75),
    "o_proj_only": (344064, 3.64),
    "mlp_only": (3317760, 1.92),
    "attn_all": (1081344, 2.06),
    "all_linear": (4399104, 2.12),
}
TIMELINE = {
    0: {"L2": 21.15, "L7": 19.27, "L9": 16.90, "L15": 14.90, "L6": 14.27},
    10: {"L2": 23.37, "L7": 21.62, "L9": 19.00, "L15": 17.25, "L6": 16.50},
    25: {"L2": 23.12, "L7": 21.62, "L9": 19.00, "L15": 17.38, "L6": 16.50},
    50: {"L2": 23.38, "L7": 21.62, "L9": 18.88, "L15": 17.50, "L6": 16.75},
    75: {"L2": 23.38, "L7": 21.75, "L9": 18.88, "L15": 17.75, "L6": 16.75},
    100: {"L2": 23.38, "L7": 21.75, "L9": 18.88, "L15": 17.75, "L6": 17.00},
}
GAINS = {
    "code_semantics": (3.70, 0.361),
    "json_schema": (-1.35, 0.221),
    "factual_recall": (-1.88, 0.218),
    "copying": (-6.92, 0.219),
    "delimiter_tracking": (-2.67, 0.215),
}

Bodies = dict[str, Any]


def matrix(
    means: Sequence[float], families: Sequence[str], rows: Mapping[int, Sequence[float]] = {}
) -> Bodies:
    """[layer][family], each row constant but those given."""
    full = [list(rows.get(i, [mean] * len(families))) for i, mean in enumerate(means)]
    return {"effect_matrix": full, "families": list(families)}


def columns(body: Bodies) -> Bodies:
    """The same by family."""
    return {
        "families": body["families"],
        "effect_matrix": {
            f: [row[j] for row in body["effect_matrix"]] for j, f in enumerate(body["families"])
        },
    }


def peaked(mean: float, high: float, at: int, n: int = 12) -> list[float]:
    """A row of that mean whose largest entry is `high`."""
    rest = (mean * n - high) / (n - 1)
    return [high if i == at else rest for i in range(n)]


def knockout_prompts(skill: float, rest: float) -> list[Bodies]:
    """A prompt of the skill and one of something else, with these drops at -2."""
    return [swept(True, 0.5, 0.5 - skill), swept(False, 0.5, 0.5 - rest)]


def swept(on: bool, before: float, after: float) -> Bodies:
    """A prompt's probability of its target at 0 and at -2."""
    steps = [{"strength": 0.0, "target_prob": before}, {"strength": -2.0, "target_prob": after}]
    return {"is_skill_target": on, "sweep": steps}


def atlas() -> Bodies:
    """Every file by name."""
    low = [(15.40 * 12 - 19.0 - 18.7) / 10] * 12
    low[0], low[2] = 19.0, 18.7
    l34 = [5.0] * 36
    for layer, total in LARGE.items():
        l34[layer] = total / 12
    files: Bodies = {
        "layer_ablation_zero.json": matrix(SMALL, FAMILIES, {2: SMALL_L2, 22: low}),
        "layer_ablation_1.5b.json": columns(matrix(MIDDLE, EIGHT)),
        "third_scale_layer_ablation_seed1.json": matrix(l34, FAMILIES),
        "mlp_ablation.json": matrix(
            MLP_SMALL, FAMILIES, {0: peaked(8.123, 11.264, 9), 2: peaked(3.163, 6.596, 3)}
        ),
        "mlp_ablation_1.5b.json": columns(matrix(MLP_MIDDLE, EIGHT, {0: peaked(2.577, 8.5, 2, 8)})),
        "head_ablation.json": matrix((0.01, 0.02), FAMILIES, {1: peaked(0.03, 0.0458, 7)})
        | {"row_labels": ["L2H3", "L21H7"]},
        "skill_knockout_1.5b.json": [
            {
                "skill": "factual_recall",
                "layer_data": [
                    {"layer": layer, "prompt_results": knockout_prompts(*pair)}
                    for layer, pair in KNOCKOUT_MIDDLE.items()
                ],
            }
        ],
        "checkpoint_timeline.json": {
            "ablation_maps": {
                f"step_{step}": {"json_schema": {**maps, "L0": 9.0}} for step, maps in TIMELINE.items()
            }
        },
        "adapter_archaeology.json": {
            f"json_r{rank}": {"layer_norms": {f"L{i}": total / 24**0.5 for i in range(24)}}
            for rank, (total, _) in RANKS.items()
        },
        "lora_rank_sweep.json": {
            "families": FAMILIES,
            **{f"r{rank}": {"ablation_matrix": [peaked(9.0, kl, 7)]} for rank, (_, kl) in RANKS.items()},
        },
        "lora_module_sweep.json": {
            "base_json_ablation": [10.85, 1.5],
            **{
                m: {"n_trainable": n, "json_ablation": [10.85 + gain, 0.1]}
                for m, (n, gain) in MODULES.items()
            },
        },
        "adapter_ablation.json": {
            "adapter_norms": {str(i): {"combined_norm": norm} for i, norm in enumerate(NORMS_SMALL)},
            "results": [
                {
                    "layer_results": [
                        {"layer": i, "ablation_kl": kl * by} for i, kl in enumerate(EFFECTS_SMALL)
                    ]
                }
                for by in (0.5, 1.5)
            ],
        },
        "adapter_ablation_1.5b.json": {
            "adapter_norms": {str(i): norm for i, norm in enumerate(NORMS_MIDDLE)},
            "results": [
                {"layers": [{"layer": i, "kl": total / 14} for i, total in enumerate(SUMS_MIDDLE)]}
                for _ in range(14)
            ],
        },
        "cross_model_patching.json": {
            "results": [
                {"layer_results": [{"layer": i, "kl_recovery": r * by} for i, r in RECOVERY_SMALL.items()]}
                for by in (0.9, 1.1)
            ]
        },
        "cross_model_patching_1.5b.json": {
            "results": [{"layers": [{"layer": i, "recovery": r} for i, r in RECOVERY_MIDDLE.items()]}]
        },
        "skill_knockout.json": {
            "results": [
                {
                    "skill": "json_schema",
                    "layer_data": [{"layer": 19, "prompt_results": knockout_prompts(9.0, 1.0)}],
                },
                {
                    "skill": "factual_recall",
                    "layer_data": [
                        {
                            "layer": 19,
                            "prompt_results": [
                                swept(True, 0.032162, 0.004942),
                                swept(True, 0.001707, 0.005619),
                                swept(False, 0.999112, 0.999899),
                                swept(False, 0.000137, 0.000100),
                            ],
                        }
                    ],
                },
            ]
        },
        "skill_separability_qwen25-05b.json": {
            "skills": {skill: terms(*pair) for skill, pair in GAINS.items()}
        },
        "layer_skipping_early_exit.json": {
            "part1_layer_skipping": [
                {
                    "config": f"skip_{i}",
                    "prompts": [{"kl": kl + by, "top5_overlap": 0.0} for by in (-1, 1)],
                }
                for i, kl in enumerate(
                    (9.023, 8.734, 13.751, 13.751, 9.023, 9.865, 10.047, 7.936, 7.936, 7.936)
                )
            ]
        },
        "efficiency_1.5b.json": {
            "layer_skipping": [
                {"config": "skip_weakest_1", "mean_kl": 9.495536, "mean_top5_overlap": 0.0},
                {"config": "skip_mid_5", "mean_kl": 6.582589, "mean_top5_overlap": 0.1},
                {"config": "skip_6_layers", "mean_kl": 9.147321, "mean_top5_overlap": 0.0286},
                {"config": "skip_8_layers", "mean_kl": 9.147321, "mean_top5_overlap": 0.0286},
            ],
            "early_exit": [
                {"exit_layer": layer, "mean_kl": kl, "mean_argmax_match": match}
                for layer, kl, match in (
                    (27, float("inf"), 0.0),
                    (26, float("inf"), 0.0),
                    (25, float("inf"), 0.0714),
                    (23, 12.601562, 0.0714),
                    (17, 7.205357, 0.0),
                )
            ],
        },
    }
    heads = {f: {str(layer): [0.0] * 12 for layer in range(6)} for f in EIGHT[:6]}
    for (family, layer, head), kl in HEADS_MIDDLE.items():
        heads[family][str(layer)][head] = kl
    files["head_ablation_1.5b.json"] = {"families": EIGHT[:6], "results": heads}
    for seed in (42, 137, 256):
        for model, body in (
            ("0.5B", files["layer_ablation_zero.json"]),
            ("1.5B", matrix(MIDDLE_FULL, FAMILIES)),
            ("3B", files["third_scale_layer_ablation_seed1.json"]),
        ):
            files[f"phase3_ablation_Qwen2.5-{model}_seed{seed}.json"] = body
    return files


def terms(gain: float, score: float) -> Bodies:
    """Six terms that give that score, with a removal and a sharpness that the test chooses."""
    removal = 0.0 if gain > 0 else 2.0
    sharpness = (score - 0.15 - 0.2 * max(gain, 0) / 5 - 0.2 * removal / 100) / 0.15
    return {
        "insertion_gain": gain,
        "removal_selectivity": removal,
        "transfer_recovery": 0.5,
        "composition_compatibility": 0.5,
        "localization_sharpness": sharpness,
        "collateral_damage": 0,
    }


def write(folder: Path, files: Bodies) -> Path:
    """The files below `folder`, where the atlas keeps them."""
    home = folder / "experiments" / "results"
    home.mkdir(parents=True, exist_ok=True)
    for file, body in files.items():
        (home / file).write_text(json.dumps(body))
    return folder


@pytest.fixture(scope="session")
def unchanged() -> Bodies:
    """Every file by name."""
    return json.loads(json.dumps(atlas()))


@pytest.fixture
def files(unchanged: Bodies) -> Bodies:
    """Every file by name, to be changed by the test."""
    return json.loads(json.dumps(unchanged))


@pytest.fixture
def repository(tmp_path: Path) -> Callable[[Bodies], Path]:
    """repository(files) -> a folder that holds them."""
    return lambda files: write(tmp_path / "atlas", files)
