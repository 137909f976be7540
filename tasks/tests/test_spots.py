"""Spots: every token has one class, by hand on small texts and by property on any text and any cut of it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.prompts import Prompt, PromptPair, Span
from tasks.sampling import draw, draw_suite, family_rng
from tasks.slots import mark_slots
from tasks.spots import SPOTS, find_spots
from tasks.suites import SUITES
from tasks.tokens import Encode

PIECES = re.compile(r" ?[A-Za-z]+| ?\d| ?[^\sA-Za-z\d]+|\n|\s+")


def spans(text: str, *, bos: bool = False) -> list[Span]:
    """Words with the space before them, digits one by one, signs in a run, newlines: as a byte-level BPE cuts."""
    return [*([(0, 0)] if bos else []), *(m.span() for m in PIECES.finditer(text))]


def named(text: str, *slots: str, bos: bool = False) -> dict[str, list[str]]:
    """Class -> its tokens' texts; each of `slots` is marked wherever it stands as a word."""
    marked = [m.span() for slot in slots for m in re.finditer(rf"\b{slot}\b", text)]
    offsets = spans(text, bos=bos)
    return {
        spot: [text[slice(*offsets[i])].strip(" ") for i in places]
        for spot, places in find_spots(text, offsets, marked).items()
    }


def test_a_sum_in_digits() -> None:
    assert named("1+2=3, 4+5=", "4", "5") == {
        "first": ["1"],
        "last": ["="],
        "operator": ["+", "=", "+"],
        "delimiter": [","],
        "instruction": ["2", "3"],
        "content": ["4", "5"],
    }


def test_a_sentence_with_one_slot_and_a_bos() -> None:
    assert named("The capital of France is the city of", "France", bos=True) == {
        "first": [""],
        "last": ["of"],
        "instruction": ["The", "capital", "of", "is", "the", "city"],
        "content": ["France"],
    }


def test_code_with_newlines_strings_and_a_comparison() -> None:
    found = named('s="salt"\nif s=="salt": t=[s, 1]\nassert t[0]', "salt")
    assert found == {
        "first": ["s"],
        "last": ["]"],
        "delimiter": ['="', '"', "\n", '=="', '":', "=[", ",", "]", "\n", "["],
        "instruction": ["if", "s", "t", "s", "1", "assert", "t", "0"],
        "content": ["salt", "salt"],
    }


def test_without_slots_no_word_is_called_instruction() -> None:
    assert named("Twice two is") == {"first": ["Twice"], "last": ["is"], "content": ["two"]}


@pytest.mark.parametrize(
    ("text", "operators", "delimiters"),
    [
        ("x <b>dog</b> is", [], ["<", ">", "</", ">"]),
        ("x: List<int>, y: List<int", [], [":", "<", ">,", ":", "<"]),
        ("one if a < b and c > d or", ["<", ">"], []),
        ("The words **red** and **blue", [], ["**", "**", "**"]),
        ("The words __red__ and __blue", [], ["__", "__", "__"]),
        ("so a * b ** c", ["*", "**"], []),
        ("so a*b*c is", ["*", "*"], []),
        ("z = b * |a + c| so", ["=", "*", "+"], ["|", "|"]),
        ("a well-known and/or 95% sure thing", [], []),
        ("if a % b != 1 then", ["%", "!="], []),
        ("n := n - 1 ; done", [":=", "-"], [";"]),
        ("don't say 'yes' to", [], ["'", "'"]),
        ("run `ls` in\n```\nls\n``` ok", [], ["`", "`", "\n", "```", "\n", "\n", "```"]),
        ("dog -> cat, cow ->", ["->"], [","]),
        ("Is it so? Yes. It is", [], []),
        ('He says "so." Then he', [], ['"', '."']),
    ],
)
def test_a_sign_counts_as_what_it_stands_for(text: str, operators: list[str], delimiters: list[str]) -> None:
    found = named(text)
    assert found.get("operator", []) == operators
    assert found.get("delimiter", []) == delimiters


def test_a_token_that_touches_a_slot_is_content() -> None:
    text = "Call print(item now"
    found = find_spots(text, [(0, 4), (4, 10), (10, 15), (15, 19)], [(11, 15)])
    assert found == {"first": (0,), "last": (3,), "instruction": (1,), "content": (2,)}


def test_special_tokens_after_the_first_are_content_and_not_signs() -> None:
    assert find_spots("a b", [(0, 0), (0, 0), (0, 1), (1, 3)])["content"] == (1, 2)


def test_a_text_of_one_token_is_its_read_out() -> None:
    assert find_spots("a", [(0, 1)]) == {"last": (0,)}


def test_spans_that_are_not_of_this_text_are_refused() -> None:
    with pytest.raises(ValueError, match="no token spans were given"):
        find_spots("a b", [])
    for span in ((1, 9), (2, 1), (-1, 2)):
        with pytest.raises(ValueError, match=rf"token 1 has the span \({span[0]}, {span[1]}\)"):
            find_spots("a b", [(0, 1), span])


@given(data=st.data())
def test_classes_are_disjoint_and_cover_all_tokens(data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet="ab1 \n\"'()[]<>/*_+-=|%:;,.?`é😀", min_size=1, max_size=40))
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=20))})
    offsets = [*pairwise(cuts)]
    if data.draw(st.booleans()):
        offsets.insert(0, (0, 0))
    starts = data.draw(st.lists(st.integers(0, len(text) - 1), max_size=3))
    slots = [(start, data.draw(st.integers(start + 1, len(text)))) for start in starts]
    found = find_spots(text, offsets, slots)
    assert list(found) == [spot for spot in SPOTS if spot in found]
    assert sorted(i for places in found.values() for i in places) == list(range(len(offsets)))
    assert all(places and list(places) == sorted(set(places)) for places in found.values())
    assert found["last"] == (len(offsets) - 1,)
    assert found.get("first", (0,)) == (0,)
    assert ("first" in found) == (len(offsets) > 1)
    for i in found.get("operator", ()):
        assert re.fullmatch(r"[-+*/=<>%&|^~!:\s]+", text[slice(*offsets[i])])
    for i in found.get("instruction", ()):
        assert not any(offsets[i][0] < end and start < offsets[i][1] for start, end in slots) or text[
            slice(*offsets[i])
        ].startswith((" ", "\n"))
    assert slots or "instruction" not in found


def marked_words(prompt: Prompt) -> list[str]:
    return [prompt.text[start:end] for start, end in prompt.slots]


SLOTS = {
    "The capital of France is the city of": ["France"],
    "1+2=3, 4+1=5, 2+3=": ["2", "3"],
    "Twice six is twelve. Twice two is": ["two"],
    "A B C A B C A B": ["A", "B", "C", "A", "B", "C", "A", "B"],
    "Tom likes to eat rice. Yes, Tom likes to eat": ["Tom", "rice", "Tom"],
    '<color>red</color> is {"color": "': ["red"],
    "The words __red__ and __blue": ["red", "blue"],
    "I would love to help Tom, so my answer is": ["love", "Tom"],
    "def f():\n return 2\n return 3\nassert f()==": ["2", "3"],
}


def test_slots_are_the_words_a_template_was_filled_with() -> None:
    seen = set()
    for task in SUITES["full"]:
        for pair in task.candidates():
            if pair.clean.text in SLOTS and pair.clean.text not in seen:
                seen.add(pair.clean.text)
                assert marked_words(mark_slots(pair, task).clean) == SLOTS[pair.clean.text]
    assert seen == set(SLOTS)


@pytest.mark.parametrize("task", SUITES["full"], ids=lambda task: task.name)
def test_drawn_prompts_carry_slots_that_hold_what_differs(task, encode: Encode) -> None:
    for pair in draw(task, n=40, rng=family_rng(3, task.name), encode=encode).pairs:
        clean, corrupt = pair.clean, pair.corrupt
        for prompt in (clean, corrupt):
            assert list(prompt.slots) == sorted(prompt.slots)
            assert all(re.fullmatch(r"\w+", word) for word in marked_words(prompt))
        words = [re.findall(r"[^\W_]+", p.text) for p in (clean, corrupt)]
        if len(words[0]) == len(words[1]) and clean.text.count("__") == corrupt.text.count("__"):
            for mine, theirs in (words, words[::-1]):
                changed = {a for a, b in zip(mine, theirs, strict=True) if a != b}
                prompt = clean if mine is words[0] else corrupt
                assert not changed or changed & set(marked_words(prompt)), prompt.text


def test_spots_of_drawn_prompts_under_real_tokenizers(real_tokenizer) -> None:
    """Every family but those of bare words has a frame; what is filled in is content wherever it is not read out."""
    drawn = draw_suite(
        "extended", n_per_family=12, seed=5, encode=lambda text: real_tokenizer.encode(text).ids
    )
    seen: dict[str, set[str]] = {}
    for prompt in (p for pair in drawn.pairs for p in (pair.clean, pair.corrupt)):
        encoded = real_tokenizer.encode(prompt.text)
        found = find_spots(prompt.text, encoded.offsets, prompt.slots)
        assert sorted(i for places in found.values() for i in places) == list(range(len(encoded.ids)))
        assert found["last"] == (len(encoded.ids) - 1,)
        assert (encoded.offsets[0] == (0, 0)) == (encoded.tokens[0] == "<bos>")
        seen.setdefault(prompt.family, set()).update(found)
        for i in found.get("instruction", ()):
            start, end = encoded.offsets[i]
            assert not re.search(r"[\n,;:()\[\]{}\"=<>]", prompt.text[start:end]) or re.search(
                r"\w", prompt.text[start:end]
            )
    assert all({"first", "last", "content"} <= classes for classes in seen.values())
    assert {family for family, classes in seen.items() if "operator" not in classes} <= {
        "uncertainty",
        "refusal_compliance",
        "instruction_following",
        "factual_recall",
    }
    assert {family for family, classes in seen.items() if "instruction" not in classes} == set()


def test_slots_do_not_tell_prompts_apart() -> None:
    pair: PromptPair = SUITES["full"][0].candidates()[0]
    marked = mark_slots(pair, SUITES["full"][0])
    assert pair.clean.slots == ()
    assert marked.clean.slots
    assert marked == pair
    assert hash(marked.clean) == hash(pair.clean)
    assert repr(marked) == repr(pair)


def test_a_pair_of_another_family_is_refused() -> None:
    pair = SUITES["full"][0].candidates()[0]
    with pytest.raises(KeyError):
        mark_slots(replace(pair, clean=replace(pair.clean, text="elsewhere")), SUITES["full"][0])
