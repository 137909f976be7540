"""What the audit says of files with the numbers that were once recomputed by hand from the atlas's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.audit.__main__ import FIGURES, main
from harness.audit.figures import Figure, Row, audit, counts
from harness.audit.files import Results

Bodies = dict[str, Any]
Make = Callable[[Bodies], Path]

KNOWN_MISMATCHES = {
    "hub-0_5b-l2": {
        "families in which L2 leads": "10",
        "L2, least family": "16.50",
        "L2, greatest family": "21.77",
    },
    "hub-0_5b-layer-table": {
        "L0, mean KL over families, nats": "7.610",
        "L9, mean KL over families, nats": "12.290",
        "L7, mean KL over families, nats": "14.620",
        "L22, mean KL over families, nats": "15.400",
        "L15, mean KL over families, nats": "9.580",
        "weakest layer of 0.5B": "L18",
    },
    "hub-0_5b-family-extremes": {
        "L2 on factual_recall": "16.710",
        "L2 on arithmetic": "18.420",
        "L2 on delimiter_tracking": "17.310",
    },
    "hub-kl-grows": {"KL of the 1.5B hub L14, mean over families": "15.390"},
    "hub-3b-l34": {"KL of the 3B hub, mean over families as at 0.5B": "18.445"},
    "hub-seeds-std0": {f"seeds of {model}": "42 137 256" for model in ("0.5B", "1.5B", "3B")},
    "mlp-0_5b-l2-dominates": {
        "MLP of L2, largest entry, nats": "6.596",
        "place of the MLP of L0, by largest entry": "1",
    },
    "mlp-1_5b-l0": {"largest MLP entry, nats": "8.500"},
    "head-0_5b-distributed": {"hub's mean over the largest head entry, 0.5B": "417"},
    "head-1_5b-specialists": {"layers whose heads were tested": "6"},
    "skip-1_5b-fatal": {"sets of skipped layers without any overlap": "1"},
    "adapter-norms-peak-late": {"the four layers with the largest norms": "L18 L20 L21 L22"},
    "adapter-1_5b-total-kl": {
        f"{layer}, mean over prompts as at 0.5B, nats": value
        for layer, value in (
            ("L27", "0.974"),
            ("L26", "0.907"),
            ("L25", "0.857"),
            ("L24", "0.826"),
            ("L23", "0.780"),
        )
    },
    "knockout-0_5b-l19": {"L19 at -2, drop over the others' own change": "-31.1"},
    "rank-l0-peak-r4": {"MLP of L0 on JSON at rank 1, nats": "13.740"},
    "rank-norm-linear": {"exponent of the total norm in the rank (linear: 1)": "0.48"},
    "module-oproj-best": {"most effect per parameter": "v_proj_only"},
    "module-mlp-worst": {"least effect per parameter": "all_linear"},
    "core-circuit-step10": {"first checkpoint that has them": "0"},
}
"""Where the printed number is not what the files give, and what they give: by the atlas's own files, or a ratio
that the ledger took of them."""


def rows_of(folder: Path) -> dict[tuple[str, str], Row]:
    return {(row.claim, row.what): row for row in audit(Results(folder), FIGURES)}


def test_every_known_mismatch_is_found_and_nothing_else(repository: Make, files: Bodies) -> None:
    rows = rows_of(repository(files))
    found: dict[str, dict[str, str]] = {}
    for row in rows.values():
        assert row.verdict in ("match", "mismatch"), row
        if row.verdict == "mismatch":
            found.setdefault(row.claim, {})[row.what] = row.recomputed
    for claim, expected in KNOWN_MISMATCHES.items():
        assert found.pop(claim, {}).keys() == expected.keys(), claim
        for what, value in expected.items():
            got = rows[claim, what].recomputed
            assert got == value, (claim, what)
    assert found == {}


def test_a_sum_that_was_printed_beside_means_is_named(repository: Make, files: Bodies) -> None:
    rows = rows_of(repository(files))
    notes = [row.note for (claim, _), row in rows.items() if claim in ("hub-3b-l34", "adapter-1_5b-total-kl")]
    assert sum("sum over" in note and note.endswith("which is what was printed") for note in notes) == 6
    assert (
        "L0, largest entry: 11.264, which is what was printed"
        in rows["mlp-0_5b-l2-dominates", "MLP of L2, largest entry, nats"].note
    )
    floor = rows["knockout-0_5b-l19", "L19 at -2, drop over the others' own change"].note
    assert "floor of 1e-06 under it: 11654.0, which is what was printed; over its size: 31.1" in floor
    assert rows["core-circuit-step10", "first checkpoint that has them"].note.endswith("before training: 3")


@pytest.mark.parametrize(
    ("file", "path", "claim", "what"),
    [
        (
            "layer_ablation_zero.json",
            ("effect_matrix", 2, 0),
            "hub-0_5b-l2",
            "L2, mean KL over families, nats",
        ),
        (
            "layer_ablation_1.5b.json",
            ("effect_matrix", "copying", 6),
            "hub-1_5b-l26",
            "L6, mean KL over families, nats",
        ),
        (
            "adapter_ablation.json",
            ("results", 0, "layer_results", 23, "ablation_kl"),
            "adapter-norm-effect-corr-0_5b",
            "L23, mean over prompts, nats",
        ),
        (
            "cross_model_patching_1.5b.json",
            ("results", 0, "layers", 3, "recovery"),
            "cross-model-1_5b-recovery",
            "recovery at L25",
        ),
        (
            "skill_knockout_1.5b.json",
            (0, "layer_data", 4, "prompt_results", 0, "sweep", 1, "target_prob"),
            "knockout-1_5b-l21",
            "L21 at -2, drop over the size of the others' change",
        ),
        (
            "lora_rank_sweep.json",
            ("r4", "ablation_matrix", 0, 7),
            "rank-l0-peak-r4",
            "MLP of L0 on JSON at rank 4, nats",
        ),
        (
            "lora_module_sweep.json",
            ("base_json_ablation", 0),
            "module-oproj-best",
            "o_proj, added effect of L0",
        ),
        (
            "checkpoint_timeline.json",
            ("ablation_maps", "step_0", "json_schema", "L6"),
            "training-secondary-layers",
            "L6, change to step 100",
        ),
        (
            "skill_separability_qwen25-05b.json",
            ("skills", "code_semantics", "insertion_gain"),
            "sep-code-best",
            "code_semantics, score from its terms",
        ),
        (
            "head_ablation_1.5b.json",
            ("results", "arithmetic", "0", 3),
            "head-1_5b-specialists",
            "L0H3 on arithmetic, nats",
        ),
        (
            "efficiency_1.5b.json",
            ("early_exit", 3, "mean_kl"),
            "early-exit-1_5b",
            "exit after L23, mean KL, nats",
        ),
    ],
)
def test_one_changed_number_is_seen(
    repository: Make, files: Bodies, file: str, path: tuple[str | int, ...], claim: str, what: str
) -> None:
    assert rows_of(repository(files))[claim, what].verdict == "match"
    here = files[file]
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] *= 1.2
    assert rows_of(repository(files))[claim, what].verdict == "mismatch"


def test_more_than_a_hundredth_of_drift_is_no_lock_in(repository: Make, files: Bodies) -> None:
    key = ("core-circuit-drift-1pct", "largest change, step 10 to 100")
    assert rows_of(repository(files))[key].verdict == "match"
    files["checkpoint_timeline.json"]["ablation_maps"]["step_100"]["json_schema"]["L7"] = 21.62 * 1.011
    assert rows_of(repository(files))[key].verdict == "mismatch"


@pytest.mark.parametrize(
    ("published", "value", "agrees"),
    [
        ("15.39", 15.3999, True),
        ("15.39", 15.4001, False),
        ("15.39", 15.3801, True),
        ("15.39", 15.3799, False),
        ("-24.55", -24.548, True),
        ("-24.55", 24.548, False),
        ("0.0", 0.0, True),
        ("0.0", 0.1, False),
        ("4.8e4", 48_999.0, True),
        ("4.8e4", 49_001.0, False),
        ("22", 22.9, True),
        ("22", 23.0, False),
        ("15.39", float("nan"), False),
        ("15.39", float("inf"), False),
    ],
)
def test_the_tolerance_is_one_unit_of_the_last_printed_digit(
    published: str, value: float, agrees: bool
) -> None:
    figure = Figure(claim="c", what="w", published=published, files=(), keys="k", recompute=lambda: value)
    assert figure.agrees(value) is agrees


def test_names_must_be_equal_and_in_order() -> None:
    figure = Figure(
        claim="c", what="w", published="L34 L27", files=(), keys="k", recompute=lambda: (), names=True
    )
    assert figure.agrees(("L34", "L27"))
    assert not figure.agrees(("L27", "L34"))
    assert not figure.agrees(("L34",))


def test_a_missing_file_and_a_missing_key_are_said(repository: Make, files: Bodies) -> None:
    del files["layer_ablation_zero.json"], files["lora_module_sweep.json"]["mlp_only"]["n_trainable"]
    rows = rows_of(repository(files))
    gone = rows["hub-0_5b-l2", "hub of 0.5B"]
    assert (gone.verdict, gone.recomputed) == ("not found", "")
    assert "layer_ablation_zero.json, looked for in experiments/results" in gone.note
    key = rows["module-mlp-worst", "MLP, million parameters"]
    assert (key.verdict, key.note) == ("not found", "the key mlp_only.n_trainable")


def test_a_csv_stands_in_for_the_json(repository: Make, files: Bodies) -> None:
    skills = files.pop("skill_separability_qwen25-05b.json")["skills"]
    folder = repository(files)
    home = folder / "results" / "summaries"
    home.mkdir(parents=True)
    columns = list(skills["copying"])
    lines = [
        ",".join(["skill", *columns]),
        *(",".join([s, *(str(skills[s][c]) for c in columns)]) for s in skills),
    ]
    (home / "skill_separability_scores.csv").write_text("\n".join(lines) + "\n")
    row = rows_of(folder)["sep-code-best", "code_semantics, score from its terms"]
    assert (row.verdict, row.source) == ("match", "results/summaries/skill_separability_scores.csv")


def test_the_separability_score_by_hand() -> None:
    from harness.audit.training import separability

    row = {"skill": "copying", "insertion_gain": 9.0, "removal_selectivity": 50.0, "transfer_recovery": 0.4}
    row |= {"composition_compatibility": 0.8, "localization_sharpness": 0.2, "collateral_damage": 2.5}
    # 0.2 x 1 + 0.2 x 0.5 + 0.15 x (0.4 + 0.8 + 0.2) - 0.15 x 0.5
    assert separability("copying")([row]) == pytest.approx(0.435)


def test_every_figure_is_of_a_claim_and_printed_as_it_says() -> None:
    assert len({(figure.claim, figure.what) for figure in FIGURES}) == len(FIGURES)
    for figure in FIGURES:
        assert figure.files, figure
        assert figure.names or figure.unit, figure


def test_the_command_line(
    repository: Make, files: Bodies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository(files)
    out = tmp_path / "audit.json"
    assert main([str(folder), "--json", str(out)]) == 1
    text = capsys.readouterr().out
    assert "hub-3b-l34" in text
    report = json.loads(out.read_text())
    assert report["counts"]["mismatch"] == sum(map(len, KNOWN_MISMATCHES.values()))
    assert len(report["rows"]) == len(FIGURES)
    assert set(report["rows"][0]) == {
        "claim",
        "what",
        "published",
        "recomputed",
        "source",
        "keys",
        "tolerance",
        "verdict",
        "note",
    }
    assert main([str(folder / "experiments" / "results")]) == 1, "the folder of results itself"


def test_it_ends_with_0_where_all_that_is_there_matches(repository: Make, files: Bodies) -> None:
    assert main([str(repository({"cross_model_patching.json": files["cross_model_patching.json"]}))]) == 0


def test_an_empty_folder_and_no_folder_end_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "none of the files" in capsys.readouterr().err
    assert main([str(tmp_path / "absent")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, harness.audit.__main__ as _; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_counts_name_every_verdict() -> None:
    assert counts([]) == {"match": 0, "mismatch": 0, "not found": 0, "unreadable": 0}
