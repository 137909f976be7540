"""The report: every claim on every model has its row, and every row says where it comes from or why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.claim import Claim, Published
from harness.contents import UNEXPLAINED, contents, effect_text, together
from harness.evidence import Check, Evidence
from harness.experiments import EXPERIMENTS, SEEDS
from harness.figures import FIGURES, draw
from harness.markdown import short_labels
from harness.measure import Subject, measure
from harness.models.spec import HubRepo, LocalDir, ModelSpec
from harness.protocols import Protocol
from harness.recording import record
from harness.report import Judge, Row, UnexplainedArtifact, how_to_run, write_report
from harness.statistics.estimate import Estimate
from harness.store import Recorded, Store
from harness.verdicts.criteria import EveryProbe, HubDepthIncreases, HubIs, HubsAt, StableOverSeeds, WorstCase
from harness.verdicts.selectors import FinalExit, Singles
from harness.verdicts.verdict import Finding, Judgement, Verdict, combine

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
    artifact="The first way breaks the model wherever it is used. The second leaves out one block, and most can go.",
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


def table_rows(text: str, claim: Claim) -> list[list[str]]:
    """The cells of a claim's table, header left out."""
    lines = [line for line in section_of(text, claim).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def section_of(text: str, claim: Claim) -> str:
    """What the report says of one claim."""
    return text.split(f'<a id="{claim.id}">')[1].split("\n### ")[0].split("\n## ")[0]


def ran(text: str, claim: Claim) -> dict[str, tuple[str, str, str]]:
    """{model: reading, verdicts, effect} of a claim's rows."""
    found = {}
    for model, verdict, effect in table_rows(text, claim):
        reading, verdicts = re.fullmatch(r"\*\*([a-z ]+)\*\*: (.+)", verdict).groups()  # type: ignore[union-attr]
        found[model] = (reading, verdicts, effect)
    return found


def not_run(text: str, claim: Claim) -> str:
    """The line below a claim's table that says what was not run."""
    lines = [line for line in section_of(text, claim).splitlines() if line.startswith("Not ")]
    return lines[0] if lines else ""


def findings(text: str, claim: Claim) -> dict[str, str]:
    """{'model, protocol': what was found and where} of a claim."""
    lines = re.findall(r"^- ([^:]+, (?:published|sound)): (.*)$", section_of(text, claim), re.M)
    return dict(lines)


def records(text: str, line: str) -> list[tuple[str, str]]:
    """(seed, link) of the records that a line names."""
    targets = dict(re.findall(r"^\[([0-9a-f]+)\]: (.+)$", text, re.M))
    return [(seed, targets[label]) for seed, label in re.findall(r"\[(\d+)\]\[([0-9a-f]+)\]", line)]


def links(text: str) -> set[str]:
    inline = {link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("#")}
    return inline | set(re.findall(r"^\[[0-9a-f]+\]: (.+)$", text, re.M))


def visible(cell: str) -> list[str]:
    """The lines of a table's cell as they are read: no targets of links, no marks."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
    return [re.sub(r"<[^>]*>|[`*]", "", line).strip() for line in shown.split("<br>")]


def too_wide(text: str) -> list[str]:
    """The rows of a report's tables that a phone cannot show: more than three columns, or a line of a cell too long."""
    wide = []
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        cells = [part for cell in line.strip("|").split("|") for part in visible(cell)]
        if line.strip("|").count("|") > 2 or max(map(len, cells)) > WIDEST_CELL:
            wide.append(line)
    return wide


WIDEST_CELL = 60
COMMITTED = Path(__file__).parents[2] / "CLAIMS.md"


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


def test_every_claim_has_every_model_in_a_row_or_in_the_line_below(text: str) -> None:
    for claims in CHAPTERS.values():
        for claim in claims:
            judged, quiet = ran(text, claim), not_run(text, claim)
            if claim in (DEEPER, UNTESTABLE):
                assert not judged
            else:
                assert list(judged) == ["planted_hub"]
                assert quiet == "Not run: absent ([what they need](#not-run))."


def test_the_overview_counts_the_rows(text: str) -> None:
    section = text.split("Overview\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [(name, " ".join(visible(cell))) for name, cell in rows[1:]] == [
        ("Planted hub, `planted_hub`", "3 hold, 1 falls, 1 artifact, 1 not testable"),
        ("Absent, `absent`", "5 not run, 1 not testable"),
        ("several models", "1 not run"),
    ]
    opening = (
        "Of the 5 judged on **Planted hub**, 3 hold, 1 fall, 1 are artifacts of the method, and 0 are open."
    )
    assert opening in text


def test_the_overview_links_what_is_not_run_to_as_many(text: str) -> None:
    overview = text.split("Overview\n")[1].split("\n## ")[0]
    assert "[5 not run](#not-run-absent), [1 not testable](#not-run)" in overview
    assert '<a id="not-run-absent"></a>Absent (`absent`): 5 claims' in text


def test_a_card_without_error_rates_says_so_where_it_was_judged(text: str) -> None:
    untried = "error rates: not tried on this card."
    assert untried in section_of(text, HUB)
    assert untried not in section_of(text, UNTESTABLE)
    assert untried not in section_of(text, DEEPER)  # of two models, one of which was not measured


def test_the_effect_of_what_a_claim_presupposes_is_not_shown_as_its_own() -> None:
    estimate = Estimate(value=0.08, low=0.07, high=0.09, unit="powers of ten", n_prompts=3, n_templates=2)
    of_another = Finding(
        verdict=Verdict.REFUTED, sentence="It is not there.", estimate=estimate, p_value=0.001
    )
    own = replace(of_another, verdict=Verdict.SUPPORTED)
    assert effect_text(combine([own], [of_another])) == "presupposed: 0.08 [0.07, 0.09] powers of ten"
    assert effect_text(combine([own], [own])) == "0.08 [0.07, 0.09] powers of ten"


def test_a_chapter_is_listed_with_what_became_of_its_claims(text: str) -> None:
    section = text.split("What holds, by chapter\n")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| [")] == [
        "| [1. Hubs](#chapter-1-hubs) | 2 hold, 1 falls, 1 artifact, 1 not run |",
        "| [2. Exits](#chapter-2-exits) | 1 holds |",
    ]


def test_chapters_stand_in_the_order_of_their_numbers() -> None:
    said = contents({name: [] for name in ("1. One", "10. Ten", "2. Two", "Mine")}, [])
    assert [chapter.name for chapter in said.chapters] == ["1. One", "2. Two", "10. Ten", "Mine"]


def test_what_was_planted_holds_and_what_was_not_falls(text: str) -> None:
    reading, verdicts, effect = ran(text, HUB)["planted_hub"]
    assert (reading, verdicts) == ("holds", "published invalid, sound supported")
    number, size = effect.split("<br>")
    assert re.fullmatch(r"1\.\d+ \[1\.\d+, 1\.\d+\] nats", number)
    assert re.fullmatch(r"n 360 / \d+", size)
    assert ran(text, WRONG_HUB)["planted_hub"][:2] == ("falls", "sound refuted")
    assert ran(text, FINAL_EXIT)["planted_hub"][:2] == ("holds", "sound supported")
    assert "seeds agree: all seeds; " in findings(text, STABLE)["planted_hub, sound"]
    where = findings(text, HUB)["planted_hub, sound"]
    assert re.search(
        r"\(seeds agree: 3 of 3; CPU, \d+ threads, float32, \d{4}-\d\d-\d\d; layer_sweep \[42\]", where
    )


def test_supported_when_published_and_refuted_when_sound_is_an_artifact(text: str) -> None:
    reading, verdicts, _ = ran(text, FATAL)["planted_hub"]
    assert (reading, verdicts) == ("artifact", "published supported, sound refuted")


def test_an_artifact_is_explained_at_its_row_and_in_the_opening(text: str) -> None:
    assert f"**Artifact** of the method (planted_hub): {FATAL.artifact}" in section_of(text, FATAL)
    opening = text.split("Artifacts of the method\n")[1].split("\n## ")[0]
    assert f"- **[{FATAL.sentence}](#{FATAL.id})** (`planted_hub`): {FATAL.artifact}" in opening
    assert "**Artifact**" not in section_of(text, HUB)


def test_what_fell_is_listed_for_each_model(text: str) -> None:
    folded = text.split('<a id="fell-planted_hub"></a>')[1].split("</details>")[0]
    assert "Planted hub: 1 claim</summary>" in folded
    assert re.findall(r"^- (.*)$", folded, re.M) == [f"[{WRONG_HUB.sentence}](#{WRONG_HUB.id})"]


def test_every_link_leads_somewhere(text: str, report: Path) -> None:
    found = links(text)
    assert (
        len([link for link in found if link.endswith(".json")]) == 9
    )  # sound and published sweeps, sound exits
    assert "claims/evidence/planted_hub/profile.svg" in found
    for link in found:
        assert (report.parent / link).exists(), link
    anchors = re.findall(r'<a id="([^"]+)">', text)
    assert len(anchors) == len(set(anchors))
    assert {c.id for claims in CHAPTERS.values() for c in claims} <= set(anchors)
    assert set(re.findall(r'(?:\]\(|href=")#([^)"]+)[)"]', text)) <= set(anchors)


def test_every_sweep_and_seed_behind_a_verdict_is_linked(text: str) -> None:
    for protocol in Protocol:
        assert records(text, findings(text, HUB)[f"planted_hub, {protocol}"]) == [
            (str(seed), f"claims/evidence/planted_hub/layer_sweep-{protocol}-seed{seed}.json")
            for seed in SEEDS
        ]


def test_links_with_the_same_beginning_of_a_digest_get_longer_labels() -> None:
    labels = short_labels(f"file-{i}" for i in range(6000))  # a pair of these agrees in six digits
    assert len(set(labels.values())) == 6000
    assert {len(label) for label in short_labels(["one", "two"]).values()} == {6}
    assert len(next(iter(labels.values()))) > 6


def test_supersession_is_linked_both_ways(text: str) -> None:
    assert f"**Replaces** [{WRONG_HUB.sentence}](#hub-l1)" in section_of(text, HUB)
    assert f"**Replaced by** [{HUB.sentence}](#hub-l2)" in section_of(text, WRONG_HUB)
    revised = text.split("What was revised\n")[1].split("\n## ")[0]
    assert f"- [{WRONG_HUB.sentence}](#hub-l1) Now: [{HUB.sentence}](#hub-l2)" in revised


@pytest.mark.parametrize(
    ("of_old", "of_new"), [({}, {"supersedes": ("old",)}), ({"superseded_by": ("new",)}, {})]
)
def test_one_side_of_a_supersession_is_enough(of_old: dict[str, object], of_new: dict[str, object]) -> None:
    old = card("old", models=BOTH, untestable="x", **of_old)
    new = card("new", models=BOTH, untestable="x", **of_new)
    rows = Judge(Recorded(root=Path("nowhere"))).chapter([old, new], [ABSENT])
    first, second = contents({"A": rows}, [ABSENT]).sections
    assert (first.replaced_by, second.replaces) == ((new,), (old,))


@pytest.mark.parametrize("which", ["made up", "committed"])
def test_tables_fit_on_a_phone(which: str, request: pytest.FixtureRequest) -> None:
    committed = which == "committed"
    shown = COMMITTED.read_text(encoding="utf-8") if committed else request.getfixturevalue("text")
    assert sum(line.startswith("|") for line in shown.splitlines()) > 10
    assert too_wide(shown) == []


def test_no_artifact_of_the_committed_report_is_unexplained() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert UNEXPLAINED not in text
    marked = len(re.findall(r"^\| .* \*\*artifact\*\*: ", text, re.M))
    assert marked >= len(re.findall(r"^\*\*Artifact\*\* of the method", text, re.M)) > 0


def test_a_card_is_shown_with_its_criteria_and_published_figure(text: str) -> None:
    section = section_of(text, HUB)
    assert HUB.sentence in section
    assert "`hub-l2`; this test." in section
    assert "**Published**: hub L2." in section
    assert f"- published and sound: {HUB.criteria[SOUND][0]}." in section
    assert "**Falsified by** its opposite." in section
    assert "- planted_hub, published: Not a measurement: the profile has no shape" in section


def test_a_model_without_evidence_says_once_what_it_needs(text: str) -> None:
    needs = text.split('<a id="not-run-absent"></a>')[1].split("\n### ")[0]
    assert needs.startswith("Absent (`absent`): 5 claims")
    assert "Weights: Org/Absent on the Hugging Face hub (none)." in needs
    assert "Run `pytest claims --model absent --download --device cuda --record`." in needs
    assert "Not measured." in needs
    assert not_run(text, UNTESTABLE) == "Not testable (planted_hub, absent): it names no quantity."
    assert "1 claim can be tested on no model" in text


def test_a_joint_claim_waits_for_its_models(text: str) -> None:
    assert not ran(text, DEEPER)
    assert not_run(text, DEEPER) == "Not run: planted_hub + absent ([what they need](#not-run))."
    assert "- absent: 1 claim." in text.split('<a id="not-run-several"></a>')[1]


def test_of_a_measured_model_the_missing_experiments_are_counted(root: Path) -> None:
    exits = card("exits", models=("made_up",), criteria=dict.fromkeys(Protocol, FINAL_EXIT.criteria[SOUND]))
    text = report_of(root, [SWEEP_CLAIM, TWICE, exits])
    needs = text.split('<a id="not-run-made_up"></a>')[1]
    assert needs.startswith("Made up (`made_up`): 2 claims")
    assert "- not measured: early_exit (1), layer_sweep (1)" in needs, (
        "one table a claim, whatever its protocols"
    )


# What makes the same criteria shorter


def test_what_criteria_share_is_said_once() -> None:
    assert together(["on L1 it is at most 3 nats", "on L2 it is at most 3 nats"]) == (
        "on [L1 | L2] it is at most 3 nats"
    )
    assert together(["a of x), then b c", "a of y), then b c"]) == "a of [x | y]), then b c"
    assert together(["one thing", "another matter"]) == "one thing and another matter"
    assert together(["alone"]) == "alone"


def test_a_card_with_the_criteria_of_an_earlier_one_points_to_it(root: Path) -> None:
    same = replace(SWEEP_CLAIM, id="rule", note="As hub asks.")
    silent = replace(SWEEP_CLAIM, id="again")
    text = report_of(root, [SWEEP_CLAIM, same, silent])
    assert "As [hub](#hub) asks." in section_of(text, same)
    assert "judged as [hub](#hub) is." in section_of(text, silent)
    assert f"- sound: {SWEEP_CLAIM.criteria[SOUND][0]}." in section_of(text, SWEEP_CLAIM)


# Artifacts that nobody has explained


def test_an_artifact_without_an_explanation_is_refused_once_the_report_is_written(
    root: Path, make_evidence: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a registered model; one given by path says so in its row."""
    put(root, *(make_evidence(CLEAR, seed=seed, protocol=PUBLISHED) for seed in SEEDS))
    put(root, *(make_evidence(tuple(reversed(CLEAR)), seed=seed) for seed in SEEDS))
    silent = replace(TWO_WAYS, id="silent")
    text = report_of(root, [silent])
    assert ran(text, silent)["made_up"][0] == "artifact"
    assert f"(made_up): {UNEXPLAINED}" in section_of(text, silent)

    monkeypatch.setattr("harness.models.known_models", lambda: (MADE_UP,))
    (root.parent / "CLAIMS.md").unlink()
    with pytest.raises(UnexplainedArtifact, match=r"^silent: read as an artifact"):
        report_of(root, [silent])
    assert UNEXPLAINED in (root.parent / "CLAIMS.md").read_text(encoding="utf-8")
    report_of(root, [replace(silent, artifact="It was made. It is not there.")])


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
TWICE = replace(TWO_WAYS, id="twice")
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
    text = report_of(root, [SWEEP_CLAIM])
    assert not ran(text, SWEEP_CLAIM)
    needs = text.split('<a id="not-run-made_up"></a>')[1]
    assert "Run `pytest claims --model-path made_up=DIR --record`." in needs
    assert f"{reason[0].upper()}{reason[1:]}." in needs
    exits = replace(FINAL_EXIT, models=("made_up",))
    assert f"- {reason}: layer_sweep (1)\n" in report_of(root, [SWEEP_CLAIM, exits])


def test_evidence_of_an_earlier_version_is_not_run_and_says_how_to_measure_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ran(report_of(root, [SWEEP_CLAIM]), SWEEP_CLAIM)
    monkeypatch.setitem(EXPERIMENTS, "layer_sweep", replace(EXPERIMENTS["layer_sweep"], revision=2))
    text = report_of(root, [SWEEP_CLAIM])
    assert not ran(text, SWEEP_CLAIM)
    needs = text.split('<a id="not-run-made_up"></a>')[1]
    assert "Run `pytest claims --model-path made_up=DIR --record`." in needs
    said = "the measuring code has changed so that its numbers differ (version 1 -> 2) since it was measured"
    assert f"Stale: {said}." in needs


def test_damaged_evidence_is_not_run_and_named_without_its_folder(root: Path) -> None:
    path = Recorded(root=root).path("made_up", "layer_sweep", SOUND, 2026)
    path.write_bytes(path.read_bytes()[:-40])
    text = report_of(root, [SWEEP_CLAIM])
    assert not ran(text, SWEEP_CLAIM)
    needs = text.split('<a id="not-run-made_up"></a>')[1]
    assert (
        "The recorded evidence layer_sweep-sound-seed2026.json is damaged: delete it and record again."
        in needs
    )
    assert str(root.parent) not in text


def test_a_missing_seed_is_not_run(root: Path) -> None:
    Recorded(root=root).path("made_up", "layer_sweep", SOUND, 137).unlink()
    (row,) = rows_of(root, [SWEEP_CLAIM])
    assert row.verdict(SOUND) == "not run"
    assert row.judgements[SOUND].note.startswith("not measured; run ")


def test_a_protocol_that_was_not_run_says_why_beside_one_that_was(root: Path) -> None:
    text = report_of(root, [TWO_WAYS])
    assert ran(text, TWO_WAYS)["made_up"][:2] == ("holds", "published not run, sound supported")
    assert "- made_up, published: not run: not measured; run `pytest claims" in text


def test_a_failed_gate_makes_the_verdict_invalid_and_is_named(root: Path, make_evidence: Make) -> None:
    check = Check(name="no_op", passed=False, value=0.25, sentence="a no-op moves nothing")
    put(root, make_evidence(CLEAR, seed=137, checks=(check,)))
    text = report_of(root, [SWEEP_CLAIM])
    assert ran(text, SWEEP_CLAIM)["made_up"][:2] == ("open", "sound invalid")
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
    text = report_of(root, [SWEEP_CLAIM])
    assert ran(text, SWEEP_CLAIM)["made_up"][:2] == ("holds", "sound supported")
    assert "(seeds agree: 3 inconclusive; " in findings(text, SWEEP_CLAIM)["made_up, sound"]


def test_protocols_whose_seeds_differ_are_told_apart(root: Path, make_evidence: Make) -> None:
    put(root, *(make_evidence(CLEAR, seed=seed, protocol=PUBLISHED) for seed in SEEDS))
    put(root, make_evidence((0.2, 2.0, 0.3, 1.98), seed=2026, noise=0.2))
    found = findings(report_of(root, [TWO_WAYS]), TWO_WAYS)
    assert "seeds agree: 3 of 3; " in found["made_up, published"]
    assert "seeds agree: 2 of 3, 1 inconclusive; " in found["made_up, sound"]


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
    assert ran(text, PAIR)["made_up + second"][:2] == ("holds", "sound supported")
    where = findings(text, PAIR)["made_up + second, sound"]
    assert "CPU, 1 threads, float32, 2026-01-02; made_up layer_sweep [42]" in where
    assert records(text, where) == [
        (str(seed), f"evidence/{model}/layer_sweep-sound-seed{seed}.json")
        for model in ("made_up", "second")
        for seed in SEEDS
    ]
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
    text = report_of(root, [claim], [MADE_UP, SECOND])
    assert not_run(text, claim) == "Not testable (made_up + second): no two scales were trained alike."


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


def test_panels_beside_bars_without_an_arrow_keep_their_width() -> None:
    """An interval that ends within its panel has no arrow; then nothing else of it may ask for room."""
    from matplotlib.figure import Figure

    from harness.figures import _bars

    widths = []
    for high in (1.2, 9.0):
        figure = Figure(figsize=(13, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _bars(right, ["one", "two"], np.array([[1.0, 0.8, high], [0.5, 0.4, 0.6]]), "grey")
        assert len(right.lines) == (high > 1.4)
        figure.draw_without_rendering()
        widths.append(left.get_position().width)
    assert widths[0] == pytest.approx(widths[1], rel=0.05)
    assert widths[0] > 0.4


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
