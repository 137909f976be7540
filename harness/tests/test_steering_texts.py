"""The experiment that writes text: its planted truth, its evidence, interruptions, and the cards' criteria."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import continuations, measure
from harness.anatomy import Anatomy
from harness.degeneration import GENERATED, Continuation, before_end, describe, off_script
from harness.edits import InvalidEdit, Site, Stream, skip, steer
from harness.effects import METRICS, Effects, bit_equal
from harness.engine.generation import end_tokens, generate
from harness.engine.sweep import NonFiniteLogits
from harness.errors import plain_errors
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.experiments.steering import FACTS, NEW_TOKENS, RAW_FACTS
from harness.planted.steerable import Steering as PlantedStep
from harness.planted.testing import PlantedModel
from harness.protocols import Protocol
from harness.steering import Direction, Kind, Steering, read_steering
from harness.store import Store
from harness.verdicts.criteria import EveryProbe
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Steered
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Verdict
from tasks.suites import find_suite

WRITTEN = EXPERIMENTS["steering_generation"]
SOUND = Protocol.SOUND
SHORT = replace(WRITTEN, name="steering_generation", prompts_per_family=2, generates=12)
RANDOM = Direction(kind=Kind.RANDOM, draw=0)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, planted_tokenizer: Any) -> PlantedModel:
    root: Path = tmp_path_factory.mktemp("steerable")
    return PlantedModel(
        "steerable", root, tokenizer=planted_tokenizer, light=True, read_layer=3, source=(1, 2)
    )


# The planted direction


PROMPTS = ("The capital of France is", "I would refuse to help Tom, so my answer is")


def closed_form(planted: PlantedModel, prompt: list[int], layer: int, alpha: float, n: int) -> list[int]:
    """The greedy text of the plan's own algebra, without a model."""
    ids = list(prompt)
    for _ in range(n):
        step = PlantedStep(layer=layer, alpha=alpha, positions=tuple(range(len(prompt) - 1, len(ids))))
        ids.append(int(planted.plan.logits(ids, steer=step).argmax()))  # type: ignore[call-arg]
    return ids[len(prompt) :]


def test_text_under_the_planted_direction_is_the_closed_form_and_repeats_what_it_raises(
    planted: PlantedModel,
) -> None:
    import torch

    way = torch.tensor(planted.truth["direction"], dtype=torch.float32)
    stack, encode = planted.subject.stack, planted.subject.loaded.encode
    vectors = {Site(layer=layer, stream=Stream.RESID_POST): way for layer in range(stack.n_layers)}
    asked = [(layer, alpha) for layer in (2, 4) for alpha in (0.0, 2.0, 60.0, -60.0)]
    probes = [steer(Stream.RESID_POST, (layer,), "way", alpha) for layer, alpha in asked]
    prompts = [encode(text) for text in PROMPTS]
    found = generate(stack, prompts, probes, {"way": vectors}, new_tokens=16)
    raised, lowered = ({encode(word)[0] for word in planted.truth[name]} for name in ("raised", "lowered"))
    for row, (layer, alpha) in enumerate(asked):
        for column, prompt in enumerate(prompts):
            own = found[row, column].tolist()
            assert own == closed_form(planted, prompt, layer, alpha, 16), (layer, alpha)
            if layer == 2 and abs(alpha) > 10:
                assert set(own) <= (raised if alpha > 0 else lowered), (
                    "below its reader it decides every token"
                )
            elif alpha == 0.0 or layer == 4:
                assert own == found[0, column].tolist(), "past its reader it does nothing"
                assert len(set(own) & (raised | lowered)) < len(set(own)) / 2


# Evidence


def wanted(subject: Any, evidence: Evidence, column: int) -> list[dict[str, float]]:
    """The metrics of one prompt, from its tokens written alone."""
    prompt, question = evidence.effects.prompts[column], evidence.question
    drawn = measure.draw_prompts(subject.loaded, SHORT, question.seed)
    donors = subject.donors(SHORT, question, drawn)
    ids = drawn.items[column].ids
    found = generate(subject.stack, [ids], evidence.effects.probes, donors, new_tokens=SHORT.generates)[:, 0]
    texts = []
    for row in found.tolist():
        kept = before_end(row, end_tokens(subject.stack.model))
        texts.append(Continuation(tokens=kept, text=subject.loaded.tokenizer.decode(list(kept))))
    return [describe(text, texts[0], prompt.text) for text in texts]


@pytest.fixture(scope="module")
def whole(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return measure.measure(
        planted.subject, SHORT, SOUND, 42, Store(root=tmp_path_factory.mktemp("whole")), remeasure=True
    )


def test_strong_steering_is_degenerate_in_the_planted_model_and_none_is_not(whole: Evidence) -> None:
    assert whole.failed == ()
    effects = whole.effects
    assert set(effects.metrics) == {*METRICS, *GENERATED}
    rows = {read_steering(probe): i for i, probe in enumerate(effects.probes)}

    def mean(strength: float, layer: int, direction: Direction = FACTS, metric: str = "degenerate") -> float:
        return float(
            effects.metrics[metric][
                rows[Steering(direction=direction, layers=(layer,), strength=strength)]
            ].mean()
        )

    assert mean(0.0, 1) == 0.0
    assert mean(0.25, 1) < 0.2
    for layer in (1, 5):
        for direction in (FACTS, RANDOM):
            assert mean(8.0, layer, direction) > 0.9
            assert mean(8.0, layer, direction) >= mean(0.25, layer, direction)
    assert mean(8.0, 5, metric="same_token") > 0.95, "one token again and again"
    assert mean(0.0, 1, metric="same_token") < 0.1


def test_the_evidence_is_what_each_prompt_gives_by_itself(planted: PlantedModel, whole: Evidence) -> None:
    for column in range(len(whole.effects.prompts)):
        for row, metrics in enumerate(wanted(planted.subject, whole, column)):
            for name, value in metrics.items():
                assert whole.effects.metrics[name][row, column] == pytest.approx(value, abs=1e-6), (row, name)
    assert {name for name in whole.summary[1] if name != "probe"} == {*METRICS, *GENERATED}


def interrupted_in_the_texts(groups: int) -> Callable[[str, int], Any]:
    """A progress bar on which Ctrl-C is pressed in the texts, after so many groups of prompts."""

    @contextmanager
    def bar(label: str, total: int) -> Iterator[Callable[[float], None]]:
        done = 0.0

        def advance(cells: float) -> None:
            nonlocal done
            done += cells
            if label.endswith("texts") and done > groups * 25 + 1e-6:
                raise KeyboardInterrupt

        yield advance

    return bar


@pytest.mark.parametrize("groups", [0, 3])
def test_interrupted_texts_lose_neither_the_sweep_nor_the_texts_that_were_written(
    groups: int, planted: PlantedModel, whole: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.engine.generation.ROWS", {"cpu": 25})  # a prompt a group
    store, subject = Store(root=tmp_path), planted.subject
    with pytest.raises(KeyboardInterrupt):
        measure.measure(subject, SHORT, SOUND, 42, store, progress=interrupted_in_the_texts(groups))
    swept, asked = [], []
    monkeypatch.setattr(measure, "sweep", lambda *_, **__: swept.append(1))
    texts = measure.measure_texts

    def spy(*args: Any, **kwargs: Any) -> None:
        asked.extend(kwargs["only"])
        texts(*args, **kwargs)

    monkeypatch.setattr(measure, "measure_texts", spy)
    resumed = measure.measure(subject, SHORT, SOUND, 42, store)
    assert not swept, "the sweep was done"
    assert len(asked) == len(whole.effects.prompts) - groups
    assert bit_equal(resumed.effects, whole.effects)
    assert not list(tmp_path.rglob("*.npz"))


OVERFLOWING = 1e39
"""Infinite in float32."""


def texts_of(planted: PlantedModel, probes: list[Any]) -> dict[str, np.ndarray]:
    """The metrics of PROMPTS, written under these probes along the planted direction."""
    import torch

    way = torch.tensor(planted.truth["direction"], dtype=torch.float32)
    loaded, stack = planted.subject.loaded, planted.subject.stack
    vectors = {Site(layer=layer, stream=Stream.RESID_POST): way for layer in range(stack.n_layers)}
    table = {name: np.full((len(probes), len(PROMPTS)), -1.0) for name in GENERATED}

    def keep(indices: tuple[int, ...], found: Any) -> None:
        for name in GENERATED:
            table[name][:, list(indices)] = found[name]

    continuations.measure_texts(
        stack,
        loaded,
        [loaded.encode(text) for text in PROMPTS],
        PROMPTS,
        probes,
        {"way": vectors},
        new_tokens=6,
        memory_bytes=2**30,
        only=range(len(PROMPTS)),
        on_texts=keep,
        on_progress=lambda _: None,
    )
    return table


def test_a_step_that_overflows_is_no_text_and_a_verdict_on_it_is_invalid(planted: PlantedModel) -> None:
    probes = [steer(Stream.RESID_POST, (2,), "way", alpha) for alpha in (0.0, 2.0, OVERFLOWING)]
    found, without = texts_of(planted, probes), texts_of(planted, probes[:2])
    for name in GENERATED:
        assert np.isnan(found[name][2]).all(), name
        assert np.array_equal(found[name][:2], without[name]), name
    lengths = (0.0, 2.0, 4.0)
    steps = [Steering(direction=FACTS, layers=(2,), strength=strength).edit() for strength in lengths]
    effects = table(steps, {"degenerate": [0.0] * 3}, families=WRITTEN.families, templates=20, prompts=1)
    few = effects.metrics["degenerate"].clip(0.0, 1.0)
    few[2, 7] = found["degenerate"][2, 0]
    judged = measured({WRITTEN.name: replace(effects, metrics={"degenerate": few})}, 30)
    finding = judge_criterion(asked(2.0, 4.0, at_most=0.2), judged)
    assert finding.verdict is Verdict.INVALID
    assert f"'{steps[2]}' is nan on the prompt '{effects.prompts[7].text}'" in finding.sentence
    assert judge_criterion(asked(2.0, at_most=0.2), judged).verdict is Verdict.SUPPORTED


def test_unedited_text_that_turns_into_nan_is_refused_with_its_prompt(planted: PlantedModel) -> None:
    import torch

    loaded, unedited = planted.subject.loaded, [steer(Stream.RESID_POST, (2,), "way", 0.0)]
    first = closed_form(planted, loaded.encode(PROMPTS[1]), 2, 0.0, 1)[0]
    embedding = loaded.model.get_input_embeddings().weight
    before = embedding.detach().clone()
    with torch.no_grad():
        embedding[first] = float("nan")
    try:
        with pytest.raises(
            NonFiniteLogits, match=r"NaN or infinite logits within 6 tokens after '.*float32"
        ) as caught:
            texts_of(planted, unedited)
    finally:
        with torch.no_grad():
            embedding.copy_(before)
    assert isinstance(caught.value, plain_errors())


# Characters that are cut off


def decoder_of(kind: str) -> Any:
    """A loaded model whose tokens are the 256 bytes; with byte fallback, small letters are pieces of their own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if kind == "byte-level":
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        written = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
        assert set(written.values()) == set(pre_tokenizers.ByteLevel.alphabet())
        decoder = decoders.ByteLevel()
    else:
        written = {b: f"<0x{b:02X}>" for b in range(256)} | {b: chr(b) for b in range(97, 123)}
        decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    vocab = {piece: byte for byte, piece in written.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=kind == "byte-fallback"))
    tokenizer.decoder = decoder
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
    return SimpleNamespace(tokenizer=fast)


@pytest.fixture(scope="module", params=["byte-level", "byte-fallback"])
def decoder(request: pytest.FixtureRequest) -> Any:
    return decoder_of(request.param)


@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd")), data=st.data()
)
def test_a_character_that_is_cut_off_is_read_as_one_and_does_not_count(
    decoder: Any, text: str, data: st.DataObject
) -> None:
    octets = text.encode()
    kept = octets[: data.draw(st.integers(0, len(octets)))]
    whole = kept.decode(errors="ignore")
    cut = "\ufffd" if len(whole.encode()) < len(kept) else ""
    found = continuations.decode(decoder, list(kept))
    assert found == whole + cut
    assert off_script(found, "The capital") == off_script(whole, "The capital")


@pytest.mark.parametrize(
    ("octets", "share"),
    [
        (b"abc\xf0\x9f\x98", 0.0),
        (b"abc\xe9\xa6", 0.0),
        (b"abc\xc3", 0.0),
        (b"ab\xe9\xa6\x96\xe9\xa6", 1 / 3),  # a foreign letter, and one that is cut off
        (b"ab\xc3\xc3", 1 / 3),  # the first of them is no character
        (b"a\x80\x80\x80", 2 / 3),  # at most one of them can be what is left of a character
        (b"ab\xe9\xa6c", None),  # not at the end
    ],
)
def test_bytes_that_are_no_character_count(decoder: Any, octets: bytes, share: float | None) -> None:
    found = off_script(continuations.decode(decoder, list(octets)), "The capital")
    assert found == pytest.approx(share) if share is not None else found > 0


def test_a_token_that_the_vocabulary_lacks_is_no_byte(decoder: Any) -> None:
    assert continuations.decode(decoder, [97, 0xE9, 10_000]) == "a\ufffd"


def test_text_without_an_unedited_row_is_refused() -> None:
    with pytest.raises(InvalidEdit, match="needs a probe of strength 0"):
        continuations.unedited_row([steer(Stream.RESID_POST, (1,), "way", 1.0), skip(1)])
    assert continuations.unedited_row([skip(1), steer(Stream.RESID_POST, (1,), "way", 0.0)]) == 1


# The experiment


@pytest.mark.parametrize(("n_layers", "blocks"), [(1, {0}), (24, {2, 21}), (28, {2, 26}), (30, {6, 23})])
def test_an_early_and_a_late_block_under_every_strength(n_layers: int, blocks: set[int]) -> None:
    for protocol, directions, strengths in (
        (Protocol.PUBLISHED, {RAW_FACTS}, (0.5, 1.0, 2.0, 4.0, 8.0)),
        (SOUND, {FACTS, RANDOM}, (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)),
    ):
        probes = WRITTEN.probes(protocol, Anatomy(n_layers=n_layers))
        found = [read_steering(probe) for probe in probes]
        assert None not in found
        steered = [(s.direction, s.layers[0], s.strength) for s in found if s is not None and s.strength]
        assert set(steered) == {(d, b, s) for d in directions for b in blocks for s in strengths}
        assert [s.strength for s in found if s is not None].count(0.0) == 1
        assert len(set(probes)) == len(probes)
        assert {str(d) for d in directions} <= set(WRITTEN.donors)
    assert WRITTEN.generates == NEW_TOKENS


# Verdicts


def made(share: Callable[[Steering], float]) -> dict[str, Effects]:
    """A table in which this share of the prompts of every family, each of a template of its own, is degenerate."""
    probes = WRITTEN.probes(SOUND, Anatomy(n_layers=30))
    effects = table(
        probes, {"kl_nats": [1.0] * len(probes)}, families=WRITTEN.families, templates=20, prompts=1
    )
    n = 20
    rows = []
    for probe in probes:
        steering = read_steering(probe)
        assert steering is not None
        rows.append(np.tile(np.arange(n) < round(share(steering) * n), len(WRITTEN.families)))
    return {
        WRITTEN.name: replace(effects, metrics={**effects.metrics, "degenerate": np.array(rows, dtype=float)})
    }


def asked(*strengths: float, kinds: tuple[Kind, ...] = (), **bound: float) -> EveryProbe:
    return EveryProbe(
        experiment=WRITTEN.name,
        select=Steered(strengths=strengths, kinds=kinds),
        metric="degenerate",
        rationale="a test",
        **bound,
    )


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (0.75, Verdict.SUPPORTED),
        (0.55, Verdict.INCONCLUSIVE),
        (0.5, Verdict.INCONCLUSIVE),
        (0.25, Verdict.REFUTED),
    ],
)
def test_most_texts_at_the_boundary(rate: float, verdict: Verdict) -> None:
    tables = made(
        lambda s: rate if (s.strength, s.layers) == (2.0, (23,)) else 1.0 if s.strength > 1 else 0.0
    )
    finding = judge_criterion(asked(2.0, 4.0, 8.0, at_least=0.5), measured(tables, 30))
    assert finding.verdict is verdict
    if verdict is not Verdict.SUPPORTED:
        assert "L23" in finding.sentence


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (0.0, Verdict.SUPPORTED),
        (0.05, Verdict.SUPPORTED),
        (0.2, Verdict.INCONCLUSIVE),
        (0.5, Verdict.REFUTED),
    ],
)
def test_few_texts_at_the_boundary(rate: float, verdict: Verdict) -> None:
    tables = made(lambda s: rate if s.direction.kind is Kind.RANDOM and s.strength == 0.25 else 0.0)
    finding = judge_criterion(asked(0.25, at_most=0.2), measured(tables, 30))
    assert finding.verdict is verdict
    along_facts = asked(0.25, kinds=(Kind.TARGET,), at_most=0.2)
    assert judge_criterion(along_facts, measured(tables, 30)).verdict is Verdict.SUPPORTED


@pytest.mark.parametrize(
    ("templates", "least_bound", "verdict"),
    [
        (18, 0.226, Verdict.INCONCLUSIVE),
        (30, 0.142, Verdict.INCONCLUSIVE),
        (41, 0.106, Verdict.INCONCLUSIVE),
        (43, 0.102, Verdict.INCONCLUSIVE),
        (44, 0.099, Verdict.SUPPORTED),
    ],
)
def test_how_many_templates_without_a_foreign_letter_show_that_text_stays_in_script(
    templates: int, least_bound: float, verdict: Verdict
) -> None:
    """The numbers of the card's note: 1 - 0.01 ** (1 / n) is Clopper and Pearson's bound of no hit in n, at 98%."""
    from claims.test_steering import CLAIMS

    card = next(claim for claim in CLAIMS if claim.id == "steering-text-stays-in-script")
    effects = made(lambda _: 0.0)[WRITTEN.name]
    chosen = [
        i for i in range(60) if i % 20 * 3 + i // 20 < templates
    ]  # as evenly over the families as can be
    few = replace(
        effects,
        prompts=tuple(effects.prompts[i] for i in chosen),
        metrics={"off_script": np.zeros((len(effects.probes), templates))},
        baseline={name: values[chosen] for name, values in effects.baseline.items()},
    )
    (criterion,) = card.criteria[SOUND]
    finding = judge_criterion(criterion, measured({WRITTEN.name: few}, 30))
    assert finding.verdict is verdict
    assert finding.estimate is not None
    assert finding.estimate.high == pytest.approx(1 - 0.01 ** (1 / templates))
    assert finding.estimate.high == pytest.approx(least_bound, abs=5e-4)


def test_how_many_templates_the_families_that_are_written_have() -> None:
    """The other number of that note."""
    families = find_suite(WRITTEN.suite)
    own = [family for family in families if family.name in WRITTEN.families]
    assert len(own) == 3
    assert sum(len({pair.clean.template for pair in family.candidates()}) for family in own) == 41


def test_which_rows_are_meant() -> None:
    facts = Steering(direction=FACTS, layers=(3,), strength=2.0).edit()
    random = Steering(direction=RANDOM, layers=(3,), strength=2.0).edit()
    assert Steered(strengths=(2.0, 4.0)).keep(facts, 30)
    assert Steered(strengths=(2.0,), kinds=(Kind.TARGET,)).keep(facts, 30)
    assert not Steered(strengths=(2.0,), kinds=(Kind.TARGET,)).keep(random, 30)
    assert not Steered(strengths=(4.0,)).keep(facts, 30)
    assert not Steered(strengths=(2.0,)).keep(skip(3), 30)
    assert (
        str(Steered(strengths=(0.5, 2.0), kinds=(Kind.TARGET,)))
        == "steering by 0.5, 2 along target directions"
    )
    assert str(Steered(strengths=(8.0,))) == "steering by 8"
    with pytest.raises(ValueError, match="name a strength"):
        Steered(strengths=())


def test_the_figure_is_drawn_from_the_sound_table() -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    from harness.figures.generation import draw_generation

    tables = made(lambda s: min(1.0, s.strength / 4))
    effects = tables[WRITTEN.name]
    repeats = {**effects.metrics, "repeated_bigrams": effects.metrics["degenerate"] * 0.9}
    figure = plt.figure()
    draw_generation(figure, {(WRITTEN.name, SOUND): replace(effects, metrics=repeats)})
    share, repeated, kl = figure.axes
    assert [line.get_label() for line in share.lines] == [
        "facts, L6",
        "random, L6",
        "facts, L23",
        "random, L23",
    ]
    for line in share.lines:
        assert line.get_ydata().tolist() == pytest.approx([0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 1.0], abs=0.02)
    assert [label.get_text() for label in kl.get_xticklabels()] == ["0", "0.25", "0.5", "1", "2", "4", "8"]
    assert repeated.lines[0].get_ydata().max() == pytest.approx(0.9)
    plt.close(figure)
