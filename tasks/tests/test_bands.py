"""Length bands: the same questions, really that long, after contexts that tell nothing of the answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tasks import bands, suites
from tasks.bands import BANDS, CONTEXT_OF, SEPARATOR, SLACK, Lengthener
from tasks.contexts import code, prose
from tasks.prompts import Prompt, PromptPair
from tasks.sampling import SuiteDraw, draw_suite
from tasks.suites import SUITES, suite_digest
from tasks.tokens import Encode, verify_pair

PER_FAMILY = 20


@pytest.fixture(scope="module")
def drawn(encode: Encode) -> dict[str, SuiteDraw]:
    return {name: draw_suite(name, n_per_family=PER_FAMILY, seed=42, encode=encode) for name in BANDS}


def context_of(longer: Prompt, bare: Prompt) -> str:
    assert longer.text.endswith(bare.text)
    return longer.text.removesuffix(bare.text)


def assert_lengths(draw: SuiteDraw, encode: Encode) -> None:
    band = BANDS[draw.suite]
    for family in SUITES[draw.suite]:
        mine = [pair for pair in draw.pairs if pair.clean.family == family.name]
        lengths = [len(encode(p.text)) for pair in mine for p in (pair.clean, pair.corrupt)]
        assert all(band.lengths[0] <= n <= band.lengths[1] for n in lengths), (draw.suite, family.name)
        if band.targets:
            hit = Counter(next(t for t in band.targets if t - SLACK <= n <= t) for n in lengths)
            rounds = len(mine) // len(band.targets)
            assert set(hit) == set(band.targets)
            assert all(2 * rounds <= count <= 2 * rounds + 2 for count in hit.values()), hit


@pytest.mark.parametrize("name", BANDS)
def test_prompts_are_as_long_as_their_band_and_spread_over_its_targets(
    name: str, drawn: dict[str, SuiteDraw], encode: Encode
) -> None:
    assert_lengths(drawn[name], encode)


def test_long_is_long() -> None:
    """The atlas's long prompts had 40 to 100 tokens."""
    assert BANDS["long"].lengths == (150, 1000)
    assert max(BANDS["long"].targets) > 900
    assert BANDS["medium"].lengths[1] == BANDS["long"].lengths[0]


def test_all_bands_ask_the_same_questions_in_the_same_order(drawn: dict[str, SuiteDraw]) -> None:
    for short, medium, long in zip(*(drawn[name].pairs for name in BANDS), strict=True):
        for side in ("clean", "corrupt"):
            bare, some, much = (getattr(pair, side) for pair in (short, medium, long))
            for longer in (some, much):
                assert context_of(longer, bare).endswith(SEPARATOR)
                assert (longer.answer, longer.foil) == (bare.answer, bare.foil)
                assert (longer.family, longer.template) == (bare.family, bare.template)
        for pair in (medium, long):
            assert context_of(pair.clean, short.clean) == context_of(pair.corrupt, short.corrupt)


def test_short_prompts_are_candidates_of_the_family(drawn: dict[str, SuiteDraw]) -> None:
    candidates = {pair for family in SUITES["full"] for pair in family.candidates()}
    assert set(drawn["short"].pairs) <= candidates
    assert len({pair.clean.text for pair in drawn["short"].pairs}) == PER_FAMILY * len(SUITES["short"])


@pytest.mark.parametrize("name", ["medium", "long"])
def test_contexts_do_not_hold_the_answer_or_the_foil(name: str, drawn: dict[str, SuiteDraw]) -> None:
    for longer, bare in zip(drawn[name].pairs, drawn["short"].pairs, strict=True):
        stands = re.findall(r"[^\W\d_]+|\d", context_of(longer.clean, bare.clean))
        folded = {word.lower() for word in stands}
        for word in (bare.clean.answer.strip(), bare.clean.foil.strip()):
            assert word not in stands
            assert len(word) == 1 or word.lower() not in folded


def every_answer(families: list[str]) -> set[str]:
    return {
        word.strip()
        for family in SUITES["short"]
        if family.name in families
        for pair in family.candidates()
        for word in (pair.clean.answer, pair.clean.foil)
    }


@pytest.mark.parametrize("make", [prose, code])
def test_the_words_of_contexts_are_nobodys_answer(make: Callable[..., object]) -> None:
    """So that no pair has to be passed over, and no context is closer to one question than to another."""
    answers = every_answer([name for name, context in CONTEXT_OF.items() if context is make])
    assert len(answers) > 20
    pool = " ".join("".join(make(np.random.default_rng(seed))) for seed in range(60))
    stands = set(re.findall(r"[^\W\d_]+|\d", pool))
    assert answers & stands == set()
    longer = {word.lower() for word in answers if len(word) > 1}
    assert longer & {word.lower() for word in stands} == set()


@pytest.mark.parametrize("make", [prose, code])
def test_no_sentence_or_definition_comes_twice(make: Callable[..., object]) -> None:
    for seed in range(20):
        pieces = [piece.strip() for piece in make(np.random.default_rng(seed))]
        assert len(set(pieces)) == len(pieces) > 100


def test_contexts_vary_with_the_prompt_and_the_seed(drawn: dict[str, SuiteDraw], encode: Encode) -> None:
    other = draw_suite("long", n_per_family=PER_FAMILY, seed=43, encode=encode)
    starts = [pair.clean.text[:200] for pair in (*drawn["long"].pairs, *other.pairs)]
    assert len(set(starts)) > 0.9 * len(starts)


def test_longer_contexts_go_on_where_shorter_ones_stop(drawn: dict[str, SuiteDraw]) -> None:
    """In prose, where nothing that fits is passed over for something shorter."""
    checked = 0
    for short, medium, long in zip(*(drawn[name].pairs for name in BANDS), strict=True):
        if CONTEXT_OF[short.clean.family] is prose:
            some, much = (context_of(pair.clean, short.clean) for pair in (medium, long))
            checked += much.startswith(some.removesuffix(SEPARATOR))
    assert checked >= 0.9 * 4 * PER_FAMILY


def program(prompt: Prompt, word: str) -> str:
    text = prompt.text + word
    return text + '"' * (prompt.text[-1] == '"')


@pytest.mark.parametrize("name", BANDS)
def test_code_still_passes_with_the_answer_and_fails_with_the_foil(
    name: str, drawn: dict[str, SuiteDraw]
) -> None:
    """The definitions before the question are valid, and change nothing that it asks about."""
    checked = 0
    for pair in drawn[name].pairs:
        if CONTEXT_OF[pair.clean.family] is code:
            for prompt in (pair.clean, pair.corrupt):
                exec(compile(program(prompt, prompt.answer), "<prompt>", "exec"), {})
                with pytest.raises(AssertionError):
                    exec(compile(program(prompt, prompt.foil), "<prompt>", "exec"), {})
                checked += 1
    assert checked == 2 * 2 * PER_FAMILY


def test_slots_move_with_the_question_and_the_context_is_one_more(drawn: dict[str, SuiteDraw]) -> None:
    for longer, bare in zip(drawn["long"].pairs, drawn["short"].pairs, strict=True):
        for side in ("clean", "corrupt"):
            long, short = getattr(longer, side), getattr(bare, side)
            (start, end), *rest = long.slots
            assert (start, long.text[end:]) == (0, short.text)
            assert [long.text[a:b] for a, b in rest] == [short.text[a:b] for a, b in short.slots]


def test_what_one_band_cannot_hold_is_drawn_in_none(encode: Encode) -> None:
    """Under a tokenizer that cuts texts off at 160 tokens there is no long prompt, and so no short one either."""
    pair = SUITES["short"][0].candidates()[0]
    assert verify_pair(pair, lambda text: encode(text)[:160]) is None
    assert Lengthener("copying", 3).verify(pair, encode) is None
    rejection = Lengthener("copying", 3).verify(pair, lambda text: encode(text)[:160])
    assert rejection is not None
    assert rejection.rule == "length in range"
    assert "has 160 tokens" in rejection.reason


def test_a_context_with_the_answer_in_it_is_refused(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(rng: np.random.Generator):
        for nth, piece in enumerate(prose(rng)):
            yield piece if nth != 2 else " Somebody whispers Paris and leaves."

    family = next(f for f in SUITES["short"] if f.name == "factual_recall")
    pair = next(p for p in family.candidates() if " Paris" in (p.clean.answer, p.clean.foil))
    assert Lengthener("factual_recall", 1).verify(pair, encode) is None
    monkeypatch.setitem(bands.CONTEXT_OF, "factual_recall", telling)
    rejection = Lengthener("factual_recall", 1).verify(pair, encode)
    assert rejection is not None
    assert rejection.rule == "context without the answer"
    assert "'Paris'" in rejection.reason


def test_a_pair_that_was_not_verified_has_no_context() -> None:
    pair: PromptPair = SUITES["short"][0].candidates()[0]
    with pytest.raises(KeyError):
        Lengthener("copying", 1).lengthen(pair, BANDS["long"])


def test_the_digest_of_a_band_follows_its_targets_and_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: suite_digest(name) for name in SUITES}
    monkeypatch.setitem(suites.CONTENT, "moods", ("grumpily",))
    suite_digest.cache_clear()
    after = {name: suite_digest(name) for name in SUITES}
    assert {name for name in SUITES if before[name] != after[name]} == set(BANDS)
    suite_digest.cache_clear()


def test_the_stream_of_contexts_is_pinned() -> None:
    """Recorded evidence names a seed: what stood before its questions must not move with numpy or this code."""
    first = {make: next(iter(make(np.random.default_rng(42)))) for make in (prose, code)}
    assert first[prose].startswith("At the railway station passengers gather")
    assert first[code].startswith("def group_shipments_by_weight(shipments):")
    assert Lengthener("copying", 42)._rng("contexts", 0).integers(1 << 30) == 515147879


def test_real_tokenizers_fill_the_bands(real_encode: Encode) -> None:
    for name in ("medium", "long"):
        draw = draw_suite(name, n_per_family=12, seed=7, encode=real_encode)
        assert_lengths(draw, real_encode)
        templates = Counter(family for family, _ in {(p.clean.family, p.clean.template) for p in draw.pairs})
        assert min(templates[family.name] for family in SUITES[name]) >= 10
    assert all(verify_pair(pair, real_encode, lengths=(150, 1000)) is None for pair in draw.pairs)
