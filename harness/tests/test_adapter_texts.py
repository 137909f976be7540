"""What adapted models write: token for token a plain loop without a cache, and judged as JSON by known examples."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import measure
from harness.adapters import texts
from harness.adapters.artifacts import AdapterKey, Adapters
from harness.adapters.json_text import is_valid_json, open_value
from harness.adapters.texts import JsonTexts
from harness.adapters.two_models import TwoModels
from harness.adapters.updates import Factors, Updates
from harness.adapters.values import ATTENTION, Adapted, Part, Recipe
from harness.adapters.weights import Carrier, Weights
from harness.anatomy import Anatomy
from harness.edits import InvalidEdit, Stream, zero
from harness.effects import ADAPTED, METRICS, VALID_JSON, Effects, bit_equal, pool
from harness.engine.architectures import resolve_blocks
from harness.engine.blocks import Stack
from harness.engine.generation import generate_unedited
from harness.engine.sweep import Item
from harness.evidence import Evidence, from_text, to_text
from harness.experiments import EXPERIMENTS
from harness.experiments.adapters import JSON, NEW_TOKENS
from harness.measure import Subject
from harness.models.cache import CACHE_VARIABLE
from harness.protocols import Protocol
from harness.recording import largest_gap
from harness.statistics.estimate import BOUNDED
from harness.store import Store
from harness.verdicts.criteria import Contrast, OfFamilies, Term
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.verdict import Verdict
from tasks.suites import find_suite

N = 8
SOUND = Protocol.SOUND

pytestmark = pytest.mark.usefixtures("one_thread")


# The rule


@pytest.mark.parametrize(
    ("prompt", "value"),
    [
        ('name: Anna\nJSON: {"name": "', '{"name": "'),
        ('There are 3 of cups. JSON: {"cups":', '{"cups":'),
        ('Python: {"a": True} JSON: {"a":', '{"a":'),
        ('{"a": True, "b": None} is {"a": true, "b":', '{"a": true, "b":'),
        ('[{"id":1,"size":"Anna"},{"id":2,"', '[{"id":1,"size":"Anna"},{"id":2,"'),
        ('required: ["id", "name"] example: {"id": 1, "', '{"id": 1, "'),
        ('dict(name="N", job="j") {"name": "N", "job": "', '{"name": "N", "job": "'),
        ('a b = x\n{"a": {"b": "', '{"a": {"b": "'),
        ('x {"a}": "b]", "c\\"}": [1, "', '{"a}": "b]", "c\\"}": [1, "'),
        ('it\'s "so" {"a": "\\\\", "b', '{"a": "\\\\", "b'),
    ],
)
def test_the_value_is_the_outermost_that_the_prompt_leaves_open(prompt: str, value: str) -> None:
    assert open_value(prompt) == value


@pytest.mark.parametrize("prompt", ["", "JSON:", '{"a": 1}', '["a", "b"] ', '{"a": "{["}'])
def test_a_prompt_that_leaves_nothing_open_is_refused(prompt: str) -> None:
    for refused in (lambda: open_value(prompt), lambda: is_valid_json(prompt, "}")):
        with pytest.raises(ValueError, match="leaves no JSON value open"):
            refused()


STRING, NUMBER, NESTED = 'x: Anna\nJSON: {"x": "', '3 cups. JSON: {"cups":', '[{"id":1},{"id":2,"'


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [
        (STRING, 'Anna"}'),
        (STRING, '"}'),
        (STRING, 'Anna"\n}\n\n{"x": broken'),
        (STRING, 'Anna", "y": [1, {"z": null}]} and more'),
        (STRING, 'a \\" b}"}'),
        (STRING, 'Zo\u00eb \ufffd"}'),
        (NUMBER, " 3}"),
        (NUMBER, '"three"}'),
        (NUMBER, ' {"a": true}}'),
        (NUMBER, " -1.5e3 }"),
        (NESTED, 'size":"Bob"}]'),
        (NESTED, 'size":"Bob"},{"id":3}]}'),
    ],
)
def test_texts_that_end_the_value_are_valid(prompt: str, continuation: str) -> None:
    assert is_valid_json(prompt, continuation)
    whole = open_value(prompt) + continuation
    ends = (i for i, sign in enumerate(whole) if sign in "]}")
    assert any(_loads(whole[: i + 1]) for i in ends), "what json.loads accepts is a beginning of the text"


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [
        (STRING, ""),
        (STRING, "Anna"),
        (STRING, 'Anna"'),
        (STRING, 'Anna"]'),
        (STRING, "Anna'}"),
        (STRING, "Anna}"),
        (STRING, 'Anna",}'),
        (STRING, 'Anna", "y"}'),
        (STRING, 'An\nna"}'),
        (STRING, 'Anna\\"}'),
        (STRING, 'Anna"} '.replace("}", ")")),
        (NUMBER, " 3"),
        (NUMBER, " three}"),
        (NUMBER, " True}"),
        (NUMBER, " NaN}"),
        (NUMBER, " -Infinity}"),
        (NUMBER, " 03}"),
        (NUMBER, "}"),
        (NUMBER, "[" * 100_000),
        (NESTED, 'size":"Bob"}'),
        (NESTED, 'size":"Bob"}}]'),
    ],
)
def test_texts_that_break_or_leave_the_value_are_not(prompt: str, continuation: str) -> None:
    assert not is_valid_json(prompt, continuation)


def _loads(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_every_prompt_of_the_family_can_be_ended_and_is_not_by_its_answer_alone() -> None:
    (family,) = (family for family in find_suite("full") if family.name == JSON)
    prompts = {p.text: p for pair in family.candidates() for p in (pair.clean, pair.corrupt)}.values()
    assert len(prompts) > 400
    for prompt in prompts:
        quote = '"' * (open_value(prompt.text).count('"') % 2)
        ends = [f"{quote}{value}{close}" for value in ("", ": 0") for close in ("}", "]", "}}", "}]")]
        assert any(is_valid_json(prompt.text, prompt.answer + end) for end in ends), prompt.text
        assert not is_valid_json(prompt.text, prompt.answer), prompt.text


# What is written


def random_updates(model: torch.nn.Module, seed: int) -> Updates:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer, parts in enumerate(resolve_blocks(model)):
        for module, linear in parts.linears.items():
            out, width = linear.weight.shape  # type: ignore[union-attr]
            a, b = torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator)
            found[layer, module] = Factors(a, b, 0.3)
    return Updates(found)


def plain_loop(model: Any, prompt: Sequence[int], n: int) -> list[int]:
    """The whole text again for every token."""
    ids = list(prompt)
    for _ in range(n):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


PIECES = ('"}', "a", '"', "}", ', "b": ', '"}', " 1", "]")


class Pieces:
    """A tokenizer whose tokens are pieces of JSON, so that random tokens are valid now and then."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(PIECES[i % len(PIECES)] for i in ids)


class Loaded:
    tokenizer = Pieces()


def json_texts(items: Sequence[Item], **given: Any) -> JsonTexts:
    fields: dict[str, Any] = {
        "loaded": Loaded(),
        "items": items,
        "asked": tuple(range(len(items))),
        "new_tokens": N,
        "memory_bytes": 2**30,
    }
    return JsonTexts(**{**fields, **given})


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text", "lfm2"])
def test_an_adapted_model_writes_what_a_loop_without_a_cache_writes(
    architecture: str, tiny: Any, items: Any
) -> None:
    base = tiny(architecture, tied=False)
    asked = [replace(item, text=f'{i} {{"x": "') for i, item in enumerate(items((5, 7, 1, 5, 9) * 5))]
    updates, by_hand, carrier = random_updates(base, 3), copy.deepcopy(base), Carrier(Stack(base))
    for (layer, module), f in updates.items():
        resolve_blocks(by_hand)[layer].linears[module].weight.data += f.scale * f.b @ f.a  # type: ignore[union-attr, operator]
    carrier.put(updates)
    found = generate_unedited(carrier.stack, [item.ids for item in asked], new_tokens=N)
    expected = [plain_loop(by_hand, item.ids, N) for item in asked]
    assert found.tolist() == expected
    assert expected != [plain_loop(base, item.ids, N) for item in asked], "the adapter writes another text"

    done: list[float] = []
    valid = json_texts(asked).valid(carrier.stack, done.append)
    by_pieces = ["".join(PIECES[i % len(PIECES)] for i in tokens) for tokens in expected]
    known = [float(any(_loads('{"x": "' + text[:n]) for n in range(len(text) + 1))) for text in by_pieces]
    assert valid.tolist() == known
    assert set(known) == {0.0, 1.0}
    assert sum(done) == pytest.approx(len(asked))


def test_prompts_that_are_not_asked_have_no_value(tiny: Any, items: Any) -> None:
    base = tiny("llama", tied=False)
    asked = [replace(item, text='{"x": "' if i % 2 else "no JSON") for i, item in enumerate(items())]
    valid = json_texts(asked, asked=(1, 3)).valid(Stack(base), lambda _: None)
    assert np.isnan(valid[[0, 2]]).all()
    assert np.isfinite(valid[[1, 3]]).all()
    with pytest.raises(InvalidEdit, match="no prompt of this draw asks for it"):
        json_texts(asked, asked=())


def test_the_text_ends_at_an_end_of_text(tiny: Any, items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens chosen so that the value is ended by what stands after the end of text."""
    model, (item,) = tiny("llama", tied=False), items((5,))
    written = plain_loop(model, item.ids, N)
    names = dict.fromkeys(written, "a")
    at = next(i for i in range(1, N) if written[i] not in written[:i])
    names[written[at]] = '"}'
    loaded = Loaded()
    loaded.tokenizer = Pieces()
    monkeypatch.setattr(
        Pieces, "decode", lambda self, ids, *, skip_special_tokens: "".join(names[i] for i in ids)
    )
    asked = json_texts([replace(item, text='{"x": "')], loaded=loaded)
    assert asked.valid(Stack(model), lambda _: None).tolist() == [1.0]
    assert replace(asked, new_tokens=at).valid(Stack(model), lambda _: None).tolist() == [0.0], "cut off"
    monkeypatch.setattr(model.config, "eos_token_id", written[at])
    assert asked.valid(Stack(model), lambda _: None).tolist() == [0.0], "an end of text is not text"


def test_a_text_whose_logits_are_not_finite_has_no_value(tiny: Any, items: Any) -> None:
    model = copy.deepcopy(tiny("llama", tied=False))
    model.lm_head.weight.data[3] = math.nan
    asked = [replace(item, text='{"x": "') for item in items((5, 7))]
    assert np.isnan(json_texts(asked).valid(Stack(model), lambda _: None)).all()


# In the table

RECIPE = Recipe(
    name="tiny",
    rank=4,
    alpha=8,
    steps=4,
    batch=4,
    items=8,
    warmup=1,
    learning_rate=1e-2,
    checkpoints=(0, 2, 4),
)
FIRST = Part(family=JSON, recipe=RECIPE)
WHOLE, EARLY = Adapted(parts=(FIRST,)), Adapted(parts=(replace(FIRST, step=2),))
CUT = Adapted(parts=(FIRST,), modules=(Stream.Q, Stream.V))
BASE = Adapted(parts=())
UNWRITTEN = (
    Adapted(parts=(FIRST,), edit=zero(Stream.MLP_OUT, 0), against="whole"),
    Adapted(parts=(), edit=zero(Stream.MLP_OUT, 0), against="whole"),
    Adapted(parts=(FIRST,), only=(1,)),
    Adapted(parts=(FIRST,), off=(1,), against="whole"),
)
ROWS = (WHOLE, *UNWRITTEN, EARLY, CUT, BASE)
PER_FAMILY = 6
WRITES = replace(
    EXPERIMENTS["adapter_ranks"],
    probes=lambda *_: ROWS,
    families=(JSON, "copying"),
    prompts_per_family=PER_FAMILY,
    generates=N,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache: the adapter is trained once for this module."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(place))
        yield place


@pytest.fixture(scope="module")
def in_pieces() -> Iterator[None]:
    """Tokens read as pieces of JSON: a planted model writes none of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "decode", lambda _, ids: Pieces().decode(ids, skip_special_tokens=True))
        yield


@pytest.fixture(scope="module")
def whole(
    subject: Subject, cache: Path, in_pieces: None, tmp_path_factory: pytest.TempPathFactory
) -> Evidence:
    return measure.measure(subject, WRITES, SOUND, 42, Store(root=tmp_path_factory.mktemp("store")))


def of(evidence: Evidence, probe: Adapted) -> np.ndarray:
    return evidence.effects.metrics[VALID_JSON][evidence.effects.row(probe)]


def is_json_prompt(evidence: Evidence) -> np.ndarray:
    return np.array([prompt.family == JSON for prompt in evidence.effects.prompts])


def test_rows_wholly_on_say_whether_they_write_json_and_no_others_do(
    whole: Evidence, subject: Subject, cache: Path
) -> None:
    asked = is_json_prompt(whole)
    assert asked.sum() == PER_FAMILY
    for probe in UNWRITTEN:
        assert np.isnan(of(whole, probe)).all(), str(probe)
    adapter = Adapters(root=cache).get(subject.loaded, AdapterKey(family=JSON, recipe=RECIPE, seed=42))
    seen = set()
    for probe, step, modules in (
        (WHOLE, None, ATTENTION),
        (EARLY, 2, ATTENTION),
        (CUT, None, (Stream.Q, Stream.V)),
        (BASE, None, ()),
    ):
        model = copy.deepcopy(subject.loaded.model)
        updates = adapter.updates(step)
        for layer, blocks in enumerate(resolve_blocks(model)):
            for module in modules:
                blocks.linears[module].weight.data += updates.delta(layer, module)  # type: ignore[union-attr, operator]
        for prompt, is_json, found in zip(whole.effects.prompts, asked, of(whole, probe), strict=True):
            if not is_json:
                assert np.isnan(found)
                continue
            text = Pieces().decode(
                plain_loop(model, subject.loaded.encode(prompt.text), N), skip_special_tokens=True
            )
            assert found == is_valid_json(prompt.text, text), (str(probe), prompt.text)
            seen.add(found)
    assert seen == {0.0, 1.0}
    base = whole.effects.baseline[VALID_JSON]
    np.testing.assert_array_equal(base, of(whole, BASE))


def test_the_evidence_with_texts_is_whole_and_survives_the_file(whole: Evidence) -> None:
    effects = whole.effects
    assert whole.failed == ()
    assert effects.finite()
    assert set(effects.metrics) == {*METRICS, *ADAPTED, VALID_JSON}
    again = from_text(to_text(whole))
    assert to_text(again) == to_text(whole)
    assert bit_equal(again.effects, from_text(to_text(again)).effects)
    asked = is_json_prompt(whole)
    means = effects.means(VALID_JSON)
    assert means[effects.row(WHOLE)] == of(whole, WHOLE)[asked].mean()
    assert np.isnan(means[[effects.row(probe) for probe in UNWRITTEN]]).all()
    rows = {row["probe"]: row[VALID_JSON] for row in whole.summary}
    assert rows[str(WHOLE)][0] == pytest.approx(means[effects.row(WHOLE)], abs=1e-5)
    assert rows[str(UNWRITTEN[0])] == [None, None, None]


def test_a_text_that_turns_is_a_gap_and_the_same_texts_of_two_seeds_are_not_pooled(whole: Evidence) -> None:
    effects = whole.effects
    assert largest_gap(effects, effects) is None
    turned = effects.metrics[VALID_JSON].copy()
    turned[effects.row(WHOLE)] = 1.0 - turned[effects.row(WHOLE)]
    other = replace(effects, metrics={**effects.metrics, VALID_JSON: turned})
    moved = abs(other.means(VALID_JSON)[0] - effects.means(VALID_JSON)[0])
    assert moved > 0.17
    assert "valid_json" in (largest_gap(effects, other) or "")
    with pytest.raises(ValueError, match="bit-equal"):
        pool([effects, effects])


def judged(effects: Effects, values: float, bound: dict[str, float], of: Adapted | None = WHOLE) -> Verdict:
    asked = np.array([p.family == JSON for p in effects.prompts])
    table = np.where(asked, values, np.nan)
    metrics = {**effects.metrics, VALID_JSON: np.tile(table, (len(effects.probes), 1))}
    baseline = {**effects.baseline, VALID_JSON: table}
    criterion = OfFamilies(
        families=(JSON,),
        criterion=Contrast(
            experiment=WRITES.name,
            what="a share",
            terms=(Term(weight=1.0, of=of),),
            metric=VALID_JSON,
            rationale="a test",
            **bound,
        ),
    )
    view = measured({WRITES.name: replace(effects, metrics=metrics, baseline=baseline)}, 4)
    return judge_criterion(criterion, view).verdict


@pytest.mark.parametrize("row", [WHOLE, None])
def test_a_card_reads_the_share_of_json_prompts(whole: Evidence, row: Adapted | None) -> None:
    assert VALID_JSON in BOUNDED
    assert judged(whole.effects, 1.0, {"at_least": 0.2}, row) is Verdict.SUPPORTED
    assert judged(whole.effects, 0.0, {"at_least": 0.8}, row) is Verdict.REFUTED
    assert judged(whole.effects, math.nan, {"at_least": 0.2}, row) is Verdict.INVALID


def bar(label_seen: Any, advanced: list[float], stop_after: float = math.inf) -> Any:
    @contextmanager
    def opened(label: str, total: int) -> Iterator[Any]:
        label_seen((label, total))

        def advance(cells: float) -> None:
            if "training" not in label and "texts of the base" not in label:
                advanced.append(cells)
                if sum(advanced) > stop_after:
                    raise KeyboardInterrupt

        yield advance

    return opened


def test_an_interrupted_measurement_keeps_what_was_written(
    subject: Subject, whole: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, labels, cells = Store(root=tmp_path), [], []
    n_prompts = 2 * PER_FAMILY
    first = [row for row in ROWS if Weights.of(row) == Weights.of(WHOLE)]
    of_first = (len(first) + 1) * n_prompts + PER_FAMILY
    with pytest.raises(KeyboardInterrupt):
        measure.measure(
            subject, WRITES, SOUND, 42, store, progress=bar(labels.append, [], of_first + n_prompts)
        )
    seen: list[Weights] = []
    own = TwoModels.measure

    def counted(self: TwoModels, state: Weights, *rest: Any) -> Any:
        seen.append(state)
        return own(self, state, *rest)

    monkeypatch.setattr(TwoModels, "measure", counted)
    resumed = measure.measure(subject, WRITES, SOUND, 42, store, progress=bar(labels.append, cells))
    assert Weights.of(WHOLE) not in seen
    assert seen
    total = next(total for label, total in reversed(labels) if "resumed" in label)
    assert sum(cells) == pytest.approx(total)
    assert bit_equal(resumed.effects, whole.effects)


def test_without_texts_the_table_is_as_it_was(
    subject: Subject, cache: Path, whole: Evidence, tmp_path: Path
) -> None:
    silent = replace(WRITES, generates=0)
    found = measure.measure(subject, silent, SOUND, 42, Store(root=tmp_path)).effects
    assert set(found.metrics) == {*METRICS, *ADAPTED}
    assert VALID_JSON not in found.baseline
    for name, values in found.metrics.items():
        np.testing.assert_array_equal(values, whole.effects.metrics[name])


def test_the_experiments_that_write() -> None:
    """The others have recorded evidence, whose definition must stay."""
    writing = {e.name for e in EXPERIMENTS.values() if e.adapters and e.generates}
    assert writing == {"adapter_ranks", "adapter_modules"}
    anatomy = Anatomy(n_layers=30)
    for name in writing:
        assert EXPERIMENTS[name].generates == NEW_TOKENS
        silent = replace(EXPERIMENTS[name], generates=0)
        assert silent.definition(SOUND, anatomy) != EXPERIMENTS[name].definition(SOUND, anatomy)
