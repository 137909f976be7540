"""Evidence as a file: what goes in comes out, and a file that was touched is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.anatomy import Massive
from harness.edits import Exit, Stream, erase, skip, zero
from harness.effects import METRICS, Effects, PromptRecord
from harness.evidence import Check, Evidence, EvidenceCorrupt, Question, from_text, read, to_text
from harness.protocols import Protocol

Make = Callable[..., Evidence]

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NUMBERS = st.floats(width=32) | st.sampled_from([np.nan, 0.0, -0.0, 1e-30, 12345678.0])
PROBES = st.builds(skip, st.integers(0, 40)) | st.builds(Exit, layer=st.integers(0, 40), normed=st.booleans())


@st.composite
def records(draw: st.DrawFn) -> Evidence:
    """Any evidence: any text in its prompts, any number in its table."""
    probes = draw(st.lists(PROBES, min_size=1, max_size=3, unique=True))
    build = st.builds(
        PromptRecord,
        text=TEXT,
        answer=TEXT,
        foil=TEXT,
        family=TEXT,
        template=TEXT,
        n_tokens=st.integers(1, 40),
        seed=st.integers(0, 9999),
    )
    prompts = draw(st.lists(build, min_size=1, max_size=4))

    def numbers(*shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(NUMBERS, min_size=size, max_size=size)), dtype=float).reshape(shape)

    return Evidence(
        question=draw(st.builds(Question, protocol=st.sampled_from(Protocol), **_strings_of(Question))),
        effects=Effects(
            probes=tuple(probes),
            prompts=tuple(prompts),
            metrics={name: numbers(len(probes), len(prompts)) for name in ("kl_nats", "speedup")},
            baseline={"entropy_nats": numbers(len(prompts))},
        ),
        checks=tuple(
            draw(
                st.lists(
                    st.builds(
                        Check,
                        name=TEXT,
                        passed=st.booleans(),
                        value=st.floats(allow_infinity=False),
                        sentence=TEXT,
                        gate=st.booleans(),
                    ),
                    max_size=2,
                )
            )
        ),
        provenance={"device": draw(TEXT), "commit": None, "versions": {"torch": draw(TEXT)}},
        summary=({"probe": str(probes[0]), "kl_nats": [0.25, None, None]},),
    )


def _strings_of(kind: type) -> dict[str, Any]:
    return {f.name: TEXT for f in fields(kind) if f.type == "str"} | {
        f.name: st.integers(0, 9999) for f in fields(kind) if f.type == "int"
    }


def kept(values: np.ndarray) -> np.ndarray:
    """Eight significant digits, and NaN for what is not finite: the promise of the file format."""
    return np.array([float(f"{x:.8g}") if np.isfinite(x) else np.nan for x in values.ravel()]).reshape(
        values.shape
    )


@given(records())
def test_a_record_comes_back_whole(evidence: Evidence) -> None:
    text = to_text(evidence)
    again = from_text(text)

    assert again.question == evidence.question
    assert again.effects.probes == evidence.effects.probes
    assert again.effects.prompts == evidence.effects.prompts
    for mine, theirs in (
        (evidence.effects.metrics, again.effects.metrics),
        (evidence.effects.baseline, again.effects.baseline),
    ):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(theirs[name], kept(mine[name]))
    assert repr(again.checks) == repr(evidence.checks)  # repr: NaN differs from itself
    assert again.provenance == evidence.provenance
    assert again.summary == evidence.summary
    assert to_text(again) == text


@given(records())
def test_the_file_is_plain_json(evidence: Evidence) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON: other tools cannot read the file")

    body = json.loads(to_text(evidence), parse_constant=refuse)
    assert body["question"]["seed"] == evidence.question.seed


def test_nan_is_null_in_the_file_and_nan_again_after(make_evidence: Make) -> None:
    evidence = make_evidence()
    values = evidence.effects.metrics["kl_nats"].copy()
    values[1, 2], values[0, 0] = np.nan, np.inf
    holed = replace(evidence, effects=replace(evidence.effects, metrics={"kl_nats": values}))

    stored = json.loads(to_text(holed))["metrics"]["kl_nats"]
    assert stored[1][2] is None
    again = from_text(to_text(holed)).effects.metrics["kl_nats"]
    assert np.argwhere(np.isnan(again)).tolist() == [[0, 0], [1, 2]]


def small(make: Make) -> Evidence:
    """A record of about 2 kB, so that every byte of it can be tried."""
    evidence = make([0.25, 1.5], checks=(Check(name="no_op", passed=True, value=1e-7, sentence="still"),))
    few = evidence.effects.prompts[:2]
    effects = replace(
        evidence.effects,
        prompts=few,
        metrics={"kl_nats": evidence.effects.metrics["kl_nats"][:, :2]},
        baseline={"entropy_nats": evidence.effects.baseline["entropy_nats"][:2]},
    )
    return replace(evidence, effects=effects, summary=())


def test_one_altered_character_is_refused_wherever_it_is(make_evidence: Make) -> None:
    text = to_text(small(make_evidence))
    tried = 0
    for i, old in enumerate(text):
        for new in {"0", "7", "x", '"', " "} - {old}:
            if old.isspace() and new == " ":
                continue  # one blank is as good as another: the content is the same
            altered = text[:i] + new + text[i + 1 :]
            with pytest.raises(EvidenceCorrupt, match=r"^cell\.json cannot be trusted .*measure again$"):
                from_text(altered, source="cell.json")
            tried += 1
    assert tried > 4 * 1500


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(make_evidence: Make, tmp_path: Path, keep: float) -> None:
    whole = to_text(make_evidence()).encode()
    path = tmp_path / "layer_sweep-sound-seed42.json"
    path.write_bytes(whole[: int(keep * (len(whole) - 2))])
    with pytest.raises(EvidenceCorrupt, match="layer_sweep-sound-seed42.json"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not json",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"format": 1}',
        b"\x00" * 50,
    ],
)
def test_a_file_that_is_no_record_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(content)
    with pytest.raises(EvidenceCorrupt, match=r"cell\.json .*measure again") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_record_in_latin_1_is_refused_by_name(make_evidence: Make, tmp_path: Path) -> None:
    evidence = make_evidence(provenance={"device": "Prozessor für Tests", "date": "2026-01-02"})
    path = tmp_path / "cell.json"
    path.write_text(to_text(evidence), encoding="utf-8")
    assert read(path).provenance["device"] == "Prozessor für Tests"
    path.write_text(to_text(evidence), encoding="latin-1")
    with pytest.raises(EvidenceCorrupt, match="cell.json"):
        read(path)


def resigned(body: dict[str, Any]) -> str:
    """The text of a body with a digest that fits it, as a well-meant edit by a tool would leave it."""
    content = {k: v for k, v in body.items() if k not in ("format", "digest")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "digest": digest})


def test_resigned_text_is_accepted_as_it_was(make_evidence: Make) -> None:
    text = to_text(make_evidence())
    assert to_text(from_text(resigned(json.loads(text)))) == text


@pytest.mark.parametrize(
    "name", ["question", "provenance", "checks", "summary", "prompts", "baseline", "probes", "metrics"]
)
def test_a_missing_part_is_refused_even_when_the_digest_fits(make_evidence: Make, name: str) -> None:
    body = json.loads(to_text(make_evidence()))
    del body[name]
    with pytest.raises(EvidenceCorrupt, match="cell.json"):
        from_text(resigned(body), source="cell.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("question", "seed"), None),
        (("question", "protocol"), "wishful"),
        (("question", "mood"), "good"),
        (("prompts", "text"), ["too", "few"]),
        (("probes",), [{"action": "skip", "sites": [[0, "mlp_out"]]}]),
        (("metrics", "kl_nats"), [[0.1, 0.2]]),
        (("metrics", "kl_nats"), "none"),
        (("baseline", "entropy_nats"), [0.5]),
        (("checks",), [{"name": "no_op"}]),
        (("format",), 2),
        (("format",), None),
    ],
)
def test_a_part_of_another_form_is_refused_even_when_the_digest_fits(
    make_evidence: Make, path: tuple[str, ...], value: Any
) -> None:
    body = json.loads(to_text(make_evidence()))
    place = body
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    if value is None and path[-1] == "seed":
        del place["seed"]
    with pytest.raises(EvidenceCorrupt, match="cell.json"):
        from_text(resigned(body), source="cell.json")


def test_equal_questions_have_equal_digests_and_a_changed_field_another(make_evidence: Make) -> None:
    question = make_evidence().question
    assert question.digest == replace(question).digest
    digests = {question.digest}
    for field in fields(Question):
        value = getattr(question, field.name)
        massive = Massive(layer=2, dim=7, others=(1, 3))
        special = {
            "protocol": Protocol.PUBLISHED,
            "heads": (4, 4),
            "kv_heads": (2, 2),
            "ranked": (1, 0, 2, 3),
            "screen": 0.25,
            "massive": massive,
        }
        other = special.get(field.name) or value + (1 if isinstance(value, int) else "x")
        digests.add(replace(question, **{field.name: other}).digest)
    assert len(digests) == 1 + len(fields(Question))


def test_heads_a_site_and_a_screen_come_back_and_leave_no_trace_where_there_are_none(
    make_evidence: Make,
) -> None:
    plain = make_evidence()
    assert not {"heads", "massive", "screen", "unmeasured"} & {
        *json.loads(to_text(plain)),
        *plain.question.to_json(),
    }
    effects = replace(plain.effects, unmeasured=(zero(Stream.Z, 3, 1),))
    massive = Massive(layer=2, dim=7, others=(1, 3))
    question = replace(plain.question, heads=(2, 0, 2, 2), massive=massive, screen=0.25)
    screened = replace(plain, question=question, effects=effects)
    again = from_text(to_text(screened))
    assert again.question == screened.question
    assert again.effects.unmeasured == (zero(Stream.Z, 3, 1),)
    assert again.question.cell == "made_up layer_sweep sound seed42 screened at 0.25"


def test_the_digest_of_a_question_is_that_of_its_fields_as_json(make_evidence: Make) -> None:
    """Written out, so that a drift (which would make every stored answer look unasked) is noticed."""
    written = (
        '{"attn_implementation": "sdpa", "code": "c", "definition": "d", "device": "cpu", "dtype": "float32", '
        '"experiment": "layer_sweep", "model": "m", "n_layers": 30, "protocol": "sound", "seed": 42, '
        '"suite_digest": "s", "tokenizer_digest": "t", "torch": "2.13.0", "transformers": "5.23.0", '
        '"weights_digest": "w"}'
    )
    short = {
        "code": "c",
        "definition": "d",
        "suite_digest": "s",
        "tokenizer_digest": "t",
        "weights_digest": "w",
    }
    question = replace(make_evidence().question, model="m", n_layers=30, **short)
    assert question.digest == hashlib.sha256(written.encode()).hexdigest()


def test_a_real_sized_record_stays_small(make_evidence: Make) -> None:
    """30 layers x 120 prompts x 4 metrics, with numbers as a sweep gives them: it is committed for every cell."""
    rng = np.random.default_rng(0)
    evidence = make_evidence([0.1 * i for i in range(30)])
    shape = (30, 120)
    metrics = {name: rng.gamma(1.0, 2.0, shape).astype(np.float32).astype(float) for name in METRICS[:1]}
    metrics |= {
        "top5_overlap": rng.integers(0, 6, shape) / 5,
        "argmax_match": rng.integers(0, 2, shape).astype(float),
        "answer_logprob": -rng.gamma(1.0, 2.0, shape).astype(np.float32).astype(float),
    }
    assert len(evidence.effects.prompts) == 120
    full = replace(evidence, effects=replace(evidence.effects, metrics=metrics))
    text = to_text(full)
    assert len(text.encode()) < 150_000
    assert max(map(len, text.splitlines())) < 8_000  # a row a line: a diff shows which probe changed


def test_failed_gates_and_checks_by_name() -> None:
    gate = Check(name="no_op", passed=False, value=0.2, sentence="still")
    word = Check(name="base_accuracy", passed=False, value=0.2, sentence="knows", gate=False)
    fine = Check(name="finite", passed=True, value=1.0, sentence="finite")
    effects = Effects(probes=(erase(0),), prompts=(), metrics={}, baseline={})
    question: Any = None
    evidence = Evidence(question=question, effects=effects, checks=(gate, word, fine), provenance={})
    assert evidence.failed == (gate,)
    assert evidence.check("base_accuracy") is word
    assert evidence.check("parity") is None


def test_the_cell_names_model_experiment_protocol_and_seed(make_evidence: Make) -> None:
    assert make_evidence(seed=7).question.cell == "made_up layer_sweep sound seed7"
