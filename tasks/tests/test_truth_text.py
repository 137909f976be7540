"""The text families, each checked against a truth worked out here from the text alone."""

from __future__ import annotations

import ast
import calendar
import json
import re
from collections.abc import Callable

import pytest

from tasks.prompts import Prompt, PromptPair

PairsOf = Callable[[str], tuple[PromptPair, ...]]

SPELLED = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
NUMBER = r"(\d|" + "|".join(SPELLED) + r")\b"


def prompts(pairs: tuple[PromptPair, ...]) -> list[Prompt]:
    return sorted(
        {p for pair in pairs for p in (pair.clean, pair.corrupt)}, key=lambda p: (p.template, p.text)
    )


def value(word: str) -> int:
    word = word.strip().lower()
    return int(word) if word.isdigit() else SPELLED.index(word)


ARITHMETIC: tuple[tuple[str, Callable[..., int]], ...] = (
    (r"(?:^|\s)(\d)\+(\d)=$", lambda a, b: a + b),
    (r"(?:^|\s)(\d)-(\d)=$", lambda a, b: a - b),
    (r"(?:^|\s)(\d)\*(\d)=$", lambda a, b: a * b),
    (rf"{NUMBER} plus {NUMBER} equals$", lambda a, b: a + b),
    (rf"{NUMBER} minus {NUMBER} is$", lambda a, b: a - b),
    (rf"(?:After|after) {NUMBER} (?:comes|is)$", lambda a: a + 1),
    (rf"(?:Before|before) {NUMBER} (?:comes|is)$", lambda a: a - 1),
    (rf"{NUMBER}, ?{NUMBER}, ?{NUMBER},$", lambda a, b, c: c + (c - b) if c - b == b - a else -1),
    (r"(\d),(\d),(\d),$", lambda a, b, c: c + (c - b) if c - b == b - a else -1),
    (r"max\((\d),(\d)\)=$", max),
    (r"min\((\d),(\d)\)=$", min),
    (rf"(?:Twice|Double) {NUMBER} (?:is|makes)$", lambda a: 2 * a),
    (rf"Half of {NUMBER} is$", lambda a: a // 2),
    (rf"had {NUMBER} \w+ and got {NUMBER} more", lambda a, b: a + b),
    (r"had=(\d) lost=(\d) left=$", lambda a, b: a - b),
    (r"(\d) then \w\+(\d)=$", lambda a, b: a + b),
)


def test_arithmetic_is_right(pairs_of: PairsOf) -> None:
    for prompt in prompts(pairs_of("arithmetic")):
        results = {
            rule(*map(value, found.groups()))
            for pattern, rule in ARITHMETIC
            if (found := re.search(pattern, prompt.text, flags=re.IGNORECASE if "plus" in pattern else 0))
        }
        assert results == {value(prompt.answer)}, prompt.text
        assert value(prompt.foil) != value(prompt.answer)


def words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text)


def test_copying_answers_are_the_thing_copied(pairs_of: PairsOf) -> None:
    """The word before the read-out stood there before, followed by the answer; an echo repeats that word."""
    for prompt in prompts(pairs_of("copying")):
        answer = prompt.answer.strip()
        stands = words(prompt.text)
        if prompt.template.startswith("echo"):
            asked = re.findall(r'(\w+) ->$|\("(\w+)"\)="$', prompt.text)[0]
            assert "".join(asked) == answer, prompt.text
        else:
            assert any(stands[i : i + 2] == [stands[-1], answer] for i in range(len(stands) - 1)), prompt.text
        assert prompt.foil.strip() not in stands, prompt.text


@pytest.mark.parametrize("name", ["copying"])
def test_exchanging_answer_and_foil_turns_clean_into_corrupt(pairs_of: PairsOf, name: str) -> None:
    for pair in pairs_of(name):
        answer, foil = pair.clean.answer.strip(), pair.clean.foil.strip()
        assert re.sub(rf"\b{answer}\b", foil, pair.clean.text) == pair.corrupt.text.replace(
            answer.upper(), foil.upper()
        )


CLOSERS = {"(": ")", "[": "]", "{": "}", "<": ">"}


def open_delimiters(text: str) -> list[str]:
    """Closers of the brackets that are open at the end of `text`, innermost last."""
    stack: list[str] = []
    for sign in text:
        if sign in CLOSERS:
            stack.append(CLOSERS[sign])
        elif sign in CLOSERS.values():
            assert stack, f"{text!r} closes {sign!r} that is not open"
            assert stack.pop() == sign, f"{text!r} is not balanced"
    return stack


def expected_closer(prompt: Prompt) -> str:
    text = prompt.text
    if prompt.template == "latex_environment":
        return re.findall(r"\\begin\{(\w+)\}", text)[-1]
    if prompt.template in ("html_tag", "nested_tags"):
        stack: list[str] = []
        for slash, tag in re.findall(r"<(/?)(\w+)>", text):
            if slash:
                assert stack.pop() == tag
            else:
                stack.append(tag)
        return stack[-1]
    if prompt.template in ("quotation", "emphasis") or prompt.foil == "|" or prompt.answer == "|":
        if prompt.answer != "|" and prompt.template == "formula":
            return open_delimiters(text)[-1]
        marks = re.findall(r"\*\*|__|[*`\"'|]", text.replace(" * ", " "))
        assert len(marks) % 2 == 1
        assert len(set(marks)) == 1
        return marks[0]
    return open_delimiters(text)[-1]


def test_delimiters_close_the_innermost_open_one(pairs_of: PairsOf) -> None:
    for prompt in prompts(pairs_of("delimiter_tracking")):
        assert expected_closer(prompt) == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer


def completed_json(text: str) -> object:
    """The first JSON value that runs to the end of `text`, once closed; a bare key gets 0."""
    for start in [i for i, sign in enumerate(text) if sign in "[{"]:
        fragment = text[start:]
        if fragment.count('"') % 2:
            fragment += '"'
        plain = re.sub(r'"[^"]*"', "", fragment)
        closers = "".join(reversed(open_delimiters(plain.replace("<", "").replace(">", ""))))
        for ending in ("", ": 0"):
            try:
                return json.loads(fragment + ending + closers)
            except json.JSONDecodeError:
                continue
    raise AssertionError(f"no JSON in {text!r}")


def leaves(data: object) -> list[object]:
    if isinstance(data, dict):
        return [*data, *(leaf for item in data.values() for leaf in leaves(item))]
    if isinstance(data, list):
        return [leaf for item in data for leaf in leaves(item)]
    return [data]


def test_json_answers_complete_valid_json_with_what_the_source_says(pairs_of: PairsOf) -> None:
    for prompt in prompts(pairs_of("json_schema")):
        if prompt.template == "python_to_json":
            source, target = re.findall(r"\{.*?\}", prompt.text)[0], prompt.text[prompt.text.rindex("{") :]
            assert json.loads(target + prompt.answer + "}") == ast.literal_eval(source), prompt.text
            continue
        completed = leaves(completed_json(prompt.text + prompt.answer))
        assert (int(prompt.answer) if prompt.answer.isdigit() else prompt.answer) in completed, prompt.text
        source = (
            prompt.text.replace("enum", "").split(". ", 1)[-1]
            if prompt.template == "enum_value"
            else prompt.text
        )
        assert prompt.answer in words(source), prompt.text
        assert prompt.foil not in words(source), prompt.text


def test_calendar_facts(pairs_of: PairsOf) -> None:
    days, months = list(calendar.day_name), list(calendar.month_name)[1:]
    checked = 0
    for prompt in prompts(pairs_of("factual_recall")):
        names = {"next_day": days, "next_month": months}.get(prompt.template)
        if names:
            (named,) = [name for name in names if re.search(rf"\b{name}\b", prompt.text)]
            assert prompt.answer == f" {names[(names.index(named) + 1) % len(names)]}"
            checked += 1
    assert checked > 20


def test_capitals_and_countries_agree(pairs_of: PairsOf) -> None:
    """Two templates ask the same facts from both ends."""
    facts = prompts(pairs_of("factual_recall"))
    forward = {
        p.answer.strip(): p.text.split(" of ")[1].split(" is")[0]
        for p in facts
        if p.template == "capital_city"
    }
    for prompt in facts:
        if prompt.template == "country_of_capital":
            (city,) = [city for city in forward if city in prompt.text]
            assert forward[city] == prompt.answer.strip()
    assert len(forward) >= 10


DEMONSTRATED = {
    "refusal_compliance": (
        [
            "topic_policy",
            "kind_of_request",
            "sign_at_the_door",
            "willing_or_not",
            "open_or_closed",
            "meaning_of_reply",
        ]
    ),
    "verbosity_control": (
        [
            "short_or_full_day",
            "short_or_full_month",
            "word_or_sentence",
            "terse_increment",
            "simple_or_doubled",
            "greeting",
            "with_or_without_reason",
            "plain_or_emphatic",
            "title_or_sentence",
        ]
    ),
    "uncertainty": (
        [
            "told_or_hidden",
            "listed_or_not",
            "sure_or_guess",
            "all_or_some",
            "known_or_doubted",
            "known_people",
        ]
    ),
}
"""Templates whose text shows each case once before it asks for one of them."""


def demonstrated(pair: PromptPair) -> str:
    """The answer that follows, in the demonstration, the cue in which clean and corrupt differ."""
    clean, corrupt = words(pair.clean.text), words(pair.corrupt.text)
    cue = next(a for a, b in zip(clean, corrupt, strict=True) if a != b).lower()
    lowered = [word.lower() for word in clean]
    shown = [i for i, word in enumerate(lowered) if word == cue]
    assert len(shown) > 1, f"{cue!r} is not demonstrated in {pair.clean.text!r}"
    candidates = {pair.clean.answer.strip(), pair.clean.foil.strip()}
    folded = {c.lower(): c for c in candidates}
    return next(folded[word] for word in lowered[shown[-2] + 1 :] if word in folded)


@pytest.mark.parametrize("name", DEMONSTRATED)
def test_the_case_asked_for_is_answered_as_it_was_shown(pairs_of: PairsOf, name: str) -> None:
    for pair in pairs_of(name):
        if pair.clean.template in DEMONSTRATED[name]:
            assert demonstrated(pair) == pair.clean.answer.strip(), pair.clean.text


CUES = {
    "told_what_to_say": {'say "yes"': "yes", 'say "no"': "no"},
    "stance_first": {"love": " yes", "refuse": " no"},
    "reported_reply": {"agreed": " yes", "refused": " no"},
    "two_requests": {r"\. \w+ (accepted|agreed)": " yes", r"\. \w+ (refused|declined)": " no"},
    "permission": {"granted": " Yes", "denied": " No"},
    "both_or_only": {"both": " and", "only": "."},
    "one_or_two_pets": {"two": " and", "one": "."},
    "number_of_colors": {"two": " and", "one": "."},
    "surely_or_maybe": {"definitely": " certain", "possibly": " uncertain"},
    "sees_or_not": {"open": " known", "shut": " unknown"},
    "evidence": {"proof": " certain", "no idea": " uncertain"},
    "missing_value": {r"= set \(": "known", r", \w+ = none \($": "unknown"},
    "chance_or_law": {
        r"(sun|\bice|fire|rain) \w+ \w+:$": " certain",
        r"(coin|\bdice|card) \w+ \w+:$": " possible",
    },
}


@pytest.mark.parametrize("name", DEMONSTRATED)
def test_the_remaining_answers_follow_from_the_cue_in_the_text(pairs_of: PairsOf, name: str) -> None:
    for prompt in prompts(pairs_of(name)):
        if prompt.template in DEMONSTRATED[name]:
            continue
        if prompt.template == "offered_food":
            liked, hated, asked = re.findall(r"(?:like|hate|want) (\w+)", prompt.text)
            expected = {liked: " Yes", hated: " No"}[asked]
        elif prompt.template == "confidence_level":
            expected = " high" if int(re.findall(r"(\d+)%", prompt.text)[-1]) > 50 else " low"
        else:
            (expected,) = [a for cue, a in CUES[prompt.template].items() if re.search(cue, prompt.text)]
        assert expected == prompt.answer, prompt.text
        assert prompt.foil != expected
