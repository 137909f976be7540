"""The report: every claim on every model has its row, and every row says where it comes from or why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.claim import Claim, Published
from harness.evidence import Check, Evidence
from harness.experiments import EXPERIMENTS, SEEDS
from harness.figures import FIGURES, draw
from harness.measure import Subject, measure
from harness.models.spec import HubRepo, LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.recording import record
from harness.report import Judge, Row, how_to_run, write_report
from harness.store import Recorded, Store
from harness.verdicts.criteria import EveryProbe, HubDepthIncreases, HubIs, HubsAt, StableOverSeeds, WorstCase
from harness.verdicts.selectors import FinalExit, Singles
from harness.verdicts.verdict import Judgement, Verdict

Make = Callable[..., Evidence]
PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
WHY = "planted"

ABSENT = ModelSpec(
    id="absent", title="Absent", source=HubRepo(repo="Org/Absent", revision="abc"), license="none"
)
MADE_UP = ModelSpec(id="made_up", title="Made up", source=LocalDir(path=Path("/home/me/x")), license="none")
BOTH = ("planted_hub", "absent")


def card(id_: str, **fields: object) -> Claim:
    given = {"sentence": f"The sentence of {id_}.", "source": "this test", "falsified_by": "its opposite"}
    return Claim(id=id_, **{**given, **fields})  # type: ignore[arg-type]


HUB = card(
    "hub-l2",
    models=BOTH,
    criteria={p: (HubIs(layer=2, rationale=WHY),) for p in Protocol},
    supersedes=("hub-l1",),
    published=(Published(value="L2", unit="", what="hub", source="page 1"),),
)
WRONG_HUB = card(
    "hub-l1", models=BOTH, criteria={SOUND: (HubIs(layer=1, rationale=WHY),)}, superseded_by=("hub-l2",)
)
FATAL = card(
    "every-block-fatal",
    models=BOTH,
    criteria={
        p: (
            EveryProbe(
                experiment="layer_sweep", select=Singles(), metric="kl_nats", at_least=0.5, rationale=WHY
            ),
        )
        for p in Protocol
    },
)
STABLE = card(
    "stable", models=BOTH, criteria={SOUND: (StableOverSeeds(min_tau=0.3, rationale=WHY),)}, over_seeds=True
)
DEEPER = card(
    "deeper", models=BOTH, joint=True, criteria={SOUND: (HubDepthIncreases(models=BOTH, rationale=WHY),)}
)
UNTESTABLE = card("mood", models=BOTH, untestable="it names no quantity")
FINAL_EXIT = card(
    "final-exit",
    models=BOTH,
    criteria={
        SOUND: (
            WorstCase(
                experiment="early_exit", select=FinalExit(), metric="kl_nats", at_most=1e-6, rationale=WHY
            ),
        )
    },
)
CHAPTERS = {"1. Hubs": (HUB, WRONG_HUB, FATAL, STABLE, DEEPER, UNTESTABLE), "2. Exits": (FINAL_EXIT,)}
N_ROWS = 5 * 2 + 1 + 2


def table_rows(text: str, claim: Claim) -> list[list[str]]:
    """The cells of a claim's table, header left out."""
    section = text.split(f'<a id="{claim.id}">')[1].split("\n### ")[0].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def links(text: str) -> set[str]:
    return {link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("#")}


# The report of a planted model


@pytest.fixture(scope="module")
def evidence_dir(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded evidence of the planted hub: sweeps and exits, both protocols, every seed."""
    store = Store(root=tmp_path_factory.mktemp("store"))
    place = tmp_path_factory.mktemp("repository") / "claims" / "evidence"
    for name in ("layer_sweep", "early_exit"):
        for protocol in Protocol:
            for seed in SEEDS:
                record(measure(subject, EXPERIMENTS[name], protocol, seed, store), Recorded(root=place))
    return place


@pytest.fixture(scope="module")
def report(subject: Subject, evidence_dir: Path) -> Path:
    specs = (subject.loaded.spec, ABSENT)
    return write_report(
        CHAPTERS, specs, evidence_dir=evidence_dir, path=evidence_dir.parents[1] / "CLAIMS.md"
    )


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return report.read_text(encoding="utf-8")


def test_two_renders_are_equal_to_the_byte(subject: Subject, evidence_dir: Path, report: Path) -> None:
    figure = evidence_dir / "planted_hub" / "profile.svg"
    before = report.read_bytes(), figure.read_bytes()
    specs = (subject.loaded.spec, ABSENT)
    write_report(CHAPTERS, specs, evidence_dir=evidence_dir, path=report)
    assert (report.read_bytes(), figure.read_bytes()) == before


def test_every_claim_has_a_row_for_every_model(text: str) -> None:
    rows = {c.id: table_rows(text, c) for claims in CHAPTERS.values() for c in claims}
    assert sum(map(len, rows.values())) == N_ROWS
    for claims in CHAPTERS.values():
        for claim in claims:
            named = [row[0] for row in rows[claim.id]]
            assert named == (["planted_hub + absent"] if claim.joint else list(BOTH))
            assert all(len(row) == 9 for row in rows[claim.id])


def test_the_overview_counts_the_rows(text: str) -> None:
    lines = [line for line in text.split("## Overview")[1].split("\n## ")[0].splitlines() if "|" in line]
    counts = {
        line.split("|")[1].strip(): [int(n.strip() or 0) for n in line.split("|")[2:-1]] for line in lines[2:]
    }
    assert counts == {
        "Planted hub (`planted_hub`)": [6, 3, 1, 1, 0, 1],
        "Absent (`absent`)": [6, 0, 0, 0, 0, 6],
        "several models": [1, 0, 0, 0, 0, 1],
    }


def test_what_was_planted_holds_and_what_was_not_falls(text: str) -> None:
    _, published, _, sound, effect, n, seeds, reading, trace = table_rows(text, HUB)[0]
    assert (published, sound, reading, seeds) == ("invalid", "supported", "holds", "3 of 3")
    assert re.fullmatch(r"1\.\d+ \[1\.\d+, 1\.\d+\] nats", effect)
    assert re.fullmatch(r"\d+ / \d+", n)
    assert int(n.split(" / ")[0]) == 360
    assert re.match(r"CPU, \d+ threads, float32, \d{4}-\d\d-\d\d: ", trace)
    assert table_rows(text, WRONG_HUB)[0][3] == "refuted"
    assert table_rows(text, WRONG_HUB)[0][7] == "falls"
    assert table_rows(text, STABLE)[0][6] == "all seeds"
    assert table_rows(text, FINAL_EXIT)[0][3] == "supported"


def test_supported_when_published_and_refuted_when_sound_is_an_artifact(text: str) -> None:
    row = table_rows(text, FATAL)[0]
    assert (row[1], row[3], row[7]) == ("supported", "refuted", "**artifact**")


def test_every_link_leads_somewhere(text: str, report: Path) -> None:
    found = links(text)
    assert (
        len([link for link in found if link.endswith(".json")]) == 9
    )  # sound and published sweeps, sound exits
    assert "claims/evidence/planted_hub/profile.svg" in found
    for link in found:
        assert (report.parent / link).exists(), link
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    assert {c.id for claims in CHAPTERS.values() for c in claims} == anchors


def test_every_sweep_and_seed_behind_a_verdict_is_linked(text: str) -> None:
    trace = table_rows(text, HUB)[0][8]
    assert re.findall(
        r"\[(\d+)\]\(claims/evidence/planted_hub/layer_sweep-(\w+)-seed(\d+)\.json\)", trace
    ) == [(str(seed), protocol, str(seed)) for protocol in ("published", "sound") for seed in SEEDS]


def test_supersession_is_linked_both_ways(text: str) -> None:
    newer, older = (text.split(f'<a id="{i}">')[1].split("\n### ")[0] for i in ("hub-l2", "hub-l1"))
    assert "Supersedes [hub-l1](#hub-l1)." in newer
    assert "**Superseded** by [hub-l2](#hub-l2)." in older


def test_a_card_is_shown_with_its_criteria_and_published_figure(text: str) -> None:
    section = text.split('<a id="hub-l2">')[1].split("\n### ")[0]
    assert HUB.sentence in section
    assert "`hub-l2`; this test." in section
    assert "Published: hub L2." in section
    assert f"- sound: {HUB.criteria[SOUND][0]}." in section
    assert "Falsified by its opposite." in section
    assert "- planted_hub, published: Not a measurement: the profile has no shape" in section


def test_a_model_without_evidence_says_so_and_how_to_run_it(text: str) -> None:
    for claim in (HUB, WRONG_HUB, FATAL, STABLE, FINAL_EXIT):
        row = table_rows(text, claim)[1]
        assert (row[1], row[3], row[7]) == ("not run",) * 3
        assert row[8] == (
            "not measured; weights: Org/Absent; run `pytest claims --model absent --download --device cuda --record`"
        )
    assert [row[8] for row in table_rows(text, UNTESTABLE)] == ["not testable: it names no quantity"] * 2


def test_a_joint_row_names_the_models_it_lacks(text: str) -> None:
    (row,) = table_rows(text, DEEPER)
    assert (row[3], row[7], row[8]) == ("not run", "not run", "needs evidence of absent")


def test_nothing_in_it_belongs_to_a_machine(text: str, evidence_dir: Path, subject: Subject) -> None:
    source = subject.loaded.spec.source
    assert isinstance(source, LocalDir)
    svg = (evidence_dir / "planted_hub" / "profile.svg").read_text(encoding="utf-8")
    records = [p.read_text(encoding="utf-8") for p in evidence_dir.rglob("*.json")]
    for content in (text, svg, *records):
        for folder in (evidence_dir, source.path, Path.home(), Path(__file__).parents[2]):
            assert f"{folder}/" not in content
        assert not re.search(r"(?<![\w.:/<])/(home|root|tmp|usr|var|Users|work)/", content)


# Evidence that cannot be used


def rows_of(root: Path, claims: Sequence[Claim], specs: Sequence[ModelSpec] = (MADE_UP,)) -> list[Row]:
    return Judge(Recorded(root=root)).chapter(claims, specs)


def report_of(root: Path, claims: Sequence[Claim], specs: Sequence[ModelSpec] = (MADE_UP,)) -> str:
    path = root.parent / "CLAIMS.md"
    write_report({"A chapter": claims}, specs, evidence_dir=root, path=path)
    return path.read_text(encoding="utf-8")


SWEEP_CLAIM = card("hub", models=("made_up",), criteria={SOUND: (HubIs(layer=1, rationale=WHY),)})
TWO_WAYS = card(
    "hub", models=("made_up",), criteria={p: (HubIs(layer=1, rationale=WHY),) for p in (PUBLISHED, SOUND)}
)
CLEAR = (0.2, 2.0, 0.3, 0.1)


def put(root: Path, *records: Evidence) -> None:
    for evidence in records:
        Recorded(root=root).put(evidence)


@pytest.fixture
def root(tmp_path: Path, make_evidence: Make) -> Path:
    """Recorded evidence of a made-up model whose hub is L1, sound sweep, every seed."""
    put(tmp_path / "evidence", *(make_evidence(CLEAR, seed=seed) for seed in SEEDS))
    return tmp_path / "evidence"


def test_current_evidence_is_judged(root: Path) -> None:
    (row,) = rows_of(root, [SWEEP_CLAIM])
    assert row.verdict(SOUND) == "supported"
    assert row.agreement == {SOUND: "3 of 3"}
    assert row.reading == "holds"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"definition": "older"}, "stale: the experiment has changed since it was measured"),
        ({"suite_digest": "older"}, "stale: the prompts have changed since it was measured"),
    ],
)
def test_stale_evidence_is_not_run_and_says_why(
    root: Path, make_evidence: Make, changes: dict[str, str], reason: str
) -> None:
    put(root, make_evidence(CLEAR, seed=137, **changes))
    (cells,) = table_rows(report_of(root, [SWEEP_CLAIM]), SWEEP_CLAIM)
    assert cells[7] == "not run"
    assert cells[8] == f"{reason}; run `pytest claims --model-path made_up=DIR --record`"


def test_damaged_evidence_is_not_run_and_named_without_its_folder(root: Path) -> None:
    path = Recorded(root=root).path("made_up", "layer_sweep", SOUND, 2026)
    path.write_bytes(path.read_bytes()[:-40])
    text = report_of(root, [SWEEP_CLAIM])
    (cells,) = table_rows(text, SWEEP_CLAIM)
    assert cells[7] == "not run"
    assert cells[8].startswith(
        "the recorded evidence layer_sweep-sound-seed2026.json is damaged: delete it and record again; run "
    )
    assert str(root.parent) not in text


def test_a_missing_seed_is_not_run(root: Path) -> None:
    Recorded(root=root).path("made_up", "layer_sweep", SOUND, 137).unlink()
    (row,) = rows_of(root, [SWEEP_CLAIM])
    assert row.verdict(SOUND) == "not run"
    assert row.judgements[SOUND].note.startswith("not measured; run ")


def test_a_protocol_that_was_not_run_says_why_beside_one_that_was(root: Path) -> None:
    text = report_of(root, [TWO_WAYS])
    (cells,) = table_rows(text, TWO_WAYS)
    assert (cells[1], cells[3], cells[7]) == ("not run", "supported", "holds")
    assert "- made_up, published: not run: not measured; run `pytest claims" in text


def test_a_failed_gate_makes_the_verdict_invalid_and_is_named(root: Path, make_evidence: Make) -> None:
    check = Check(name="no_op", passed=False, value=0.25, sentence="a no-op moves nothing")
    put(root, make_evidence(CLEAR, seed=137, checks=(check,)))
    text = report_of(root, [SWEEP_CLAIM])
    (cells,) = table_rows(text, SWEEP_CLAIM)
    assert (cells[3], cells[7]) == ("invalid", "open")
    said = "made_up layer_sweep sound seed137: the check 'no_op' failed at 0.25 (a no-op moves nothing)"
    assert said in text


def test_a_failed_check_that_is_no_gate_leaves_the_verdict(root: Path, make_evidence: Make) -> None:
    check = Check(name="base_accuracy", passed=False, value=0.25, sentence="knows", gate=False)
    put(root, make_evidence(CLEAR, seed=137, checks=(check,)))
    assert rows_of(root, [SWEEP_CLAIM])[0].verdict(SOUND) == "supported"


def test_seeds_that_are_equal_to_the_bit_are_invalid(root: Path, make_evidence: Make) -> None:
    copied = make_evidence(CLEAR, seed=42).effects
    prompts = tuple(replace(p, seed=137) for p in copied.prompts)
    put(root, make_evidence(CLEAR, seed=137, effects=replace(copied, prompts=prompts)))
    (row,) = rows_of(root, [SWEEP_CLAIM])
    assert row.verdict(SOUND) == "invalid"
    assert "seeds 42 and 137 gave bit-equal evidence" in row.judgements[SOUND].sentence


# Seeds that disagree


def test_one_seed_that_contradicts_the_pooled_verdict_makes_it_inconclusive(
    root: Path, make_evidence: Make
) -> None:
    put(root, make_evidence((0.2, 0.1, 0.3, 3.0), seed=2026))
    pooled_alone = Judge(Recorded(root=root), seeds=(42, 137)).chapter([SWEEP_CLAIM], [MADE_UP])[0]
    assert pooled_alone.verdict(SOUND) == "supported"
    (row,) = rows_of(root, [SWEEP_CLAIM])
    judgement = row.judgements[SOUND]
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "One seed alone gives the opposite verdict." in judgement.sentence
    assert judgement.findings[0].verdict is Verdict.SUPPORTED
    assert row.agreement == {SOUND: "2 supported, 1 refuted"}
    assert row.reading == "open"


def test_one_seed_that_is_merely_undecided_leaves_the_verdict(root: Path, make_evidence: Make) -> None:
    put(root, make_evidence((0.2, 2.0, 0.3, 1.98), seed=2026, noise=0.2))
    (row,) = rows_of(root, [SWEEP_CLAIM])
    assert row.verdict(SOUND) == "supported"
    assert row.agreement == {SOUND: "2 of 3, 1 inconclusive"}


def test_seeds_that_only_together_decide_are_said_to_be_undecided_alone(
    root: Path, make_evidence: Make
) -> None:
    rivals = dict(zip(SEEDS, (1.6, 1.85, 1.6), strict=True))
    put(root, *(make_evidence((0.2, 2.0, 0.3, rivals[seed]), seed=seed, noise=0.8) for seed in SEEDS))
    (cells,) = table_rows(report_of(root, [SWEEP_CLAIM]), SWEEP_CLAIM)
    assert (cells[3], cells[6], cells[7]) == ("supported", "3 inconclusive", "holds")


def test_protocols_whose_seeds_differ_are_told_apart(root: Path, make_evidence: Make) -> None:
    put(root, *(make_evidence(CLEAR, seed=seed, protocol=PUBLISHED) for seed in SEEDS))
    (cells,) = table_rows(report_of(root, [TWO_WAYS]), TWO_WAYS)
    assert cells[6] == "3 of 3"
    put(root, make_evidence((0.2, 2.0, 0.3, 1.98), seed=2026, noise=0.2))
    (cells,) = table_rows(report_of(root, [TWO_WAYS]), TWO_WAYS)
    assert cells[6] == "published 3 of 3; sound 2 of 3, 1 inconclusive"


# Claims that compare models

SECOND = replace(MADE_UP, id="second")
PAIR = card(
    "pair",
    models=("made_up", "second"),
    joint=True,
    criteria={SOUND: (HubsAt(layers={"made_up": 1, "second": 3}, rationale=WHY),)},
)


def test_a_joint_claim_is_judged_once_both_models_are_there(root: Path, make_evidence: Make) -> None:
    (row,) = rows_of(root, [PAIR], [MADE_UP, SECOND])
    assert row.judgements[SOUND].note == "needs evidence of second"

    put(root, *(make_evidence((0.1, 0.2, 0.3, 2.0), model="second", seed=seed) for seed in SEEDS))
    text = report_of(root, [PAIR], [MADE_UP, SECOND])
    (cells,) = table_rows(text, PAIR)
    assert cells[0] == "made_up + second"
    assert (cells[3], cells[7]) == ("supported", "holds")
    for model in ("made_up", "second"):
        for seed in SEEDS:
            assert f"[{seed}](evidence/{model}/layer_sweep-sound-seed{seed}.json)" in cells[8]
    assert cells[8].startswith("CPU, 1 threads, float32, 2026-01-02: made_up layer_sweep sound [42]")
    assert all((root.parent / link).exists() for link in links(text))


def test_a_joint_claim_with_a_failed_gate_is_invalid_and_names_the_model(
    root: Path, make_evidence: Make
) -> None:
    check = Check(name="finite", passed=False, value=0.0, sentence="all finite")
    records = [make_evidence((0.1, 0.2, 0.3, 2.0), model="second", seed=s, checks=(check,)) for s in SEEDS]
    put(root, *records)
    (row,) = rows_of(root, [PAIR], [MADE_UP, SECOND])
    assert row.judgements[SOUND].verdict is Verdict.INVALID
    assert row.judgements[SOUND].sentence.startswith("second: second layer_sweep sound seed42: the check")


def test_an_untestable_joint_claim_says_why(root: Path) -> None:
    claim = card(
        "mood", models=("made_up", "second"), joint=True, untestable="no two scales were trained alike"
    )
    (cells,) = table_rows(report_of(root, [claim], [MADE_UP, SECOND]), claim)
    assert cells[7:] == ["not run", "not testable: no two scales were trained alike"]


# One word for two verdicts


@pytest.mark.parametrize(
    ("published", "sound", "reading"),
    [
        ("supported", "supported", "holds"),
        ("supported", "refuted", "**artifact**"),
        ("supported", "inconclusive", "open"),
        ("supported", "invalid", "open"),
        ("supported", "not run", "open"),
        ("supported", None, "holds"),
        ("refuted", "supported", "holds"),
        ("refuted", "refuted", "falls"),
        ("refuted", None, "falls"),
        ("refuted", "not run", "open"),
        ("invalid", "supported", "holds"),
        ("invalid", "refuted", "falls"),
        ("inconclusive", None, "open"),
        ("not run", "supported", "holds"),
        ("not run", "not run", "not run"),
        (None, "supported", "holds"),
        (None, "refuted", "falls"),
        (None, "inconclusive", "open"),
        (None, "not run", "not run"),
    ],
)
def test_the_reading_of_two_verdicts(published: str | None, sound: str | None, reading: str) -> None:
    given = {PUBLISHED: published, SOUND: sound}
    judgements = {p: Judgement(verdict=Verdict(v), findings=()) for p, v in given.items() if v is not None}
    row = Row(claim=SWEEP_CLAIM, models=("made_up",), judgements=judgements)
    assert row.reading == reading
    assert row.verdict(PUBLISHED) == (published or "-")


def test_how_to_run_a_model_depends_on_its_source() -> None:
    assert how_to_run(MADE_UP) == "run `pytest claims --model-path made_up=DIR --record`"
    assert how_to_run(ABSENT).startswith("weights: Org/Absent; run `pytest claims --model absent --download")
    assert "/home/me" not in how_to_run(MADE_UP)


# Figures


def test_there_is_no_figure_without_evidence(tmp_path: Path) -> None:
    assert not draw(FIGURES[0], MADE_UP, Judge(Recorded(root=tmp_path)), tmp_path / "profile.svg")
    assert not (tmp_path / "profile.svg").exists()


@pytest.mark.filterwarnings("error")
def test_a_figure_of_half_the_experiments_is_drawn_without_a_warning(root: Path) -> None:
    assert draw(FIGURES[0], MADE_UP, Judge(Recorded(root=root)), root / "profile.svg")
    assert "sound: skip the block" in (root / "profile.svg").read_text(encoding="utf-8")


def test_the_figure_shows_both_protocols_of_what_is_recorded(evidence_dir: Path, report: Path) -> None:
    svg = (evidence_dir / "planted_hub" / "profile.svg").read_text(encoding="utf-8")
    assert report.exists()
    for words in (
        "published: erase the stream",
        "sound: skip the block",
        "published: without the final norm",
        "sound: with the final norm",
        "Planted hub: 360 prompts, means with 98% intervals",
    ):
        assert words in svg
