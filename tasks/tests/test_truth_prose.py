"""The suite `natural`: each answer worked out here from the sentence alone."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable

import pytest

from tasks.prompts import Prompt, PromptPair
from tasks.suites import IN_PROSE

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
NUMBER = r"\b(" + "|".join(SPELLED) + r")\b"
CLOSER = {"(": ")", "[": "]", "{": "}"}


def prompts(pairs: tuple[PromptPair, ...]) -> list[Prompt]:
    found = {p for pair in pairs for p in (pair.clean, pair.corrupt)}
    return sorted(found, key=lambda p: (p.template, p.text))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def picked(text: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} does not fit {text!r}"
    return found.groups()


def numbers(text: str) -> list[int]:
    return [SPELLED.index(word) for word in re.findall(NUMBER, text)]


@pytest.mark.parametrize("name", IN_PROSE.values())
def test_prose_is_sentences_of_a_dozen_words_and_more(pairs_of: PairsOf, name: str) -> None:
    """No code, no demonstration: words, in several clauses, with hardly a sign that prose does not have."""
    for prompt in prompts(pairs_of(name)):
        assert len(words(prompt.text)) >= 10, prompt.text
        assert prompt.text[0].isupper(), prompt.text
        assert not re.search(r"[=+;#]|->|\d", prompt.text), prompt.text


@pytest.mark.parametrize(("plain", "prose"), IN_PROSE.items())
def test_every_prose_family_rewords_a_family(pairs_of: PairsOf, plain: str, prose: str) -> None:
    assert prose == f"{plain}_in_prose"
    templates = {pair.clean.template for pair in pairs_of(prose)}
    assert len(templates) >= 12
    texts = {p.text for p in prompts(pairs_of(plain))}
    assert not texts & {p.text for p in prompts(pairs_of(prose))}


ARITHMETIC: dict[str, Callable[..., int]] = {
    "gain": lambda a, b: a + b,
    "loss": lambda a, b: a - b,
    "repetition": lambda a, b: a * b,
    "fair_shares": lambda _, a: a // 2,
    "twice_the_age": lambda a: 2 * a,
    "next_birthday": lambda a: a + 1,
    "last_year": lambda a: a - 1,
    "winning_score": lambda a, b, _: max(a, b),
    "cheaper_offer": lambda _, a, b: min(a, b),
    "age_gap": lambda a, b: a - b,
    "waiting_time": lambda a, b: a + b,
    "people_on_a_bus": lambda a, b: a - b,
}
"""Of all number words of the sentence, in order; `_` takes those that are part of its wording (the two of us)."""


def test_arithmetic_in_prose(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("arithmetic_in_prose"))
    assert {p.template for p in found} == set(ARITHMETIC)
    for prompt in found:
        spelled = [
            SPELLED.index(word.lower()) for word in re.findall(NUMBER, prompt.text, flags=re.IGNORECASE)
        ]
        assert SPELLED[ARITHMETIC[prompt.template](*spelled)] == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer


@pytest.mark.parametrize("name", ["copying_in_prose"])
def test_copied_words_were_mentioned_and_foils_were_not(pairs_of: PairsOf, name: str) -> None:
    for pair in pairs_of(name):
        answer, foil = pair.clean.answer.strip(), pair.clean.foil.strip()
        assert words(pair.clean.text).count(answer) == 1
        assert foil not in words(pair.clean.text)
        assert re.sub(rf"\b{answer}\b", foil, pair.clean.text) == pair.corrupt.text


ELSEWHERE = {
    "visit_to_the_capital": "capital_city",
    "standing_in_a_capital": "country_of_capital",
    "learning_the_language": "national_language",
    "finding_the_continent": "continent",
    "saying_the_opposite": "opposite",
    "meeting_a_young_animal": "young_animal",
    "changing_money": "currency",
    "describing_a_color": "color_of_thing",
    "using_a_sense": "sense_organ",
    "explaining_a_word": "kind_of_thing",
    "counting_legs": "number_of_legs",
    "drawing_a_shape": "number_of_sides",
}
"""Template -> the template of `factual_recall` that asks the same fact in other words."""


def subject_and_fact(found: list[Prompt]) -> set[tuple[str, str]]:
    """The word that varies among prompts of one wording, with the answer."""
    answers = {prompt.text: prompt.answer for prompt in found}
    facts = set()
    for text, answer in answers.items():
        mine = words(text)
        same = [words(other) for other in answers if other != text]
        alike = [other for other in same if len(other) == len(mine)]
        nearest = max(alike, key=lambda other: sum(a == b for a, b in zip(mine, other, strict=True)))
        (subject,) = [a for a, b in zip(mine, nearest, strict=True) if a != b]
        facts.add((subject, answer))
    return facts


def test_facts_in_prose_are_those_of_the_plain_family(pairs_of: PairsOf) -> None:
    plain, prose = prompts(pairs_of("factual_recall")), prompts(pairs_of("factual_recall_in_prose"))
    for template, other in ELSEWHERE.items():
        mine = subject_and_fact([p for p in prose if p.template == template])
        theirs = subject_and_fact([p for p in plain if p.template == other])
        assert mine == theirs, template
        assert len({subject for subject, _ in mine}) == len(mine)


def test_calendar_in_prose(pairs_of: PairsOf) -> None:
    cycles = {"moved_appointment": list(calendar.day_name), "monthly_rent": list(calendar.month_name)[1:]}
    checked = set()
    for prompt in prompts(pairs_of("factual_recall_in_prose")):
        assert prompt.template in {*ELSEWHERE, *cycles}
        if prompt.template in cycles:
            names = cycles[prompt.template]
            (named,) = [name for name in names if name in words(prompt.text)]
            assert prompt.answer == f" {names[(names.index(named) + 1) % len(names)]}"
            checked.add(prompt.text)
    assert len(checked) == 7 + 12


def quoted_type(text: str) -> str:
    (marks,) = picked(text, r"written in (\w+ \w+), so in JSON")
    return {"quotation marks": "string", "square brackets": "array", "curly brackets": "object"}[marks]


def other_of_two(text: str) -> str:
    a, b, out = picked(text, r"(?:allows|requires) (\w+) (?:or|and) (\w+)[,.].*(?:use|has) (\w+)\b")
    (rest,) = {a, b} - {out}
    return rest


def end_of_array(text: str) -> str:
    a, _, c, place = picked(text, r"holds (\w+), then (\w+), then (\w+)\. The (\w+) of these is$")
    return {"first": a, "last": c}[place]


JSON: dict[str, Callable[[str], str]] = {
    "looked_up_key": lambda text: picked(text, r"color has the value (\w+)\.")[0],
    "job_of_a_person": lambda text: picked(text, r"works as a (\w+),")[0],
    "type_of_value": quoted_type,
    "python_word": lambda text: {"True": "true", "False": "false", "None": "null"}[
        picked(text, r"has the value (\w+),")[0]
    ],
    "row_of_a_table": lambda text: picked(text, r"with a (\w+) as a pet")[0],
    "stored_number": lambda text: picked(text, r"and got (\w+),")[0],
    "allowed_by_schema": other_of_two,
    "default_value": lambda text: picked(text, r"default for food is (\w+)\.")[0],
    "nested_value": lambda text: picked(text, r"kind is set to (\w+)\.")[0],
    "from_xml": lambda text: picked(text, r"has (\w+) in its city tag")[0],
    "end_of_array": end_of_array,
    "required_key": other_of_two,
}


def test_json_in_prose(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("json_schema_in_prose"))
    assert {p.template for p in found} == set(JSON)
    for prompt in found:
        assert JSON[prompt.template](prompt.text) == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer


def run_list(text: str) -> str:
    a, b, c, place = picked(text, r"holds (\w+), (\w+) and (\w+) in this order, so its (\w+) element is$")
    return [a, b, c][{"first": 0, "last": -1}[place]]


def run_comparison(text: str) -> str:
    a, b = numbers(text)
    return str(a > b).lower()


def run_lookup(text: str) -> str:
    x, a, y, b, asked = picked(text, r"maps (\w+) to (\w+) and (\w+) to (\w+)\. Looking up (\w+) gives$")
    return {x: a, y: b}[asked]


def run_extreme(text: str) -> str:
    *read, how = picked(text, rf"reads {NUMBER}, {NUMBER} and {NUMBER} and prints the (\w+) number")
    return {"largest": max, "smallest": min}[how](read, key=SPELLED.index)


CODE: dict[str, Callable[[str], str]] = {
    "increased_variable": lambda text: SPELLED[sum(numbers(text))],
    "copied_variable": lambda text: SPELLED[numbers(text)[0]],
    "exchanged_variables": lambda text: SPELLED[numbers(text.replace("the two", ""))[1]],
    "overwritten_variable": lambda text: picked(text, r"later I set \w to (\w+),")[0],
    "element_of_list": run_list,
    "letters_of_word": lambda text: SPELLED[len(picked(text, r'"(\w+)"')[0])],
    "tested_comparison": run_comparison,
    "called_function": lambda text: SPELLED[sum(numbers(text))],
    "counted_loop": lambda text: SPELLED[numbers(text)[1] * numbers(text)[2]],
    "entry_of_dictionary": run_lookup,
    "largest_or_smallest": run_extreme,
    "split_text": lambda text: picked(text, r'"(.*)"')[0].split()[0],
    "negated_flag": lambda text: str("flag is false" in text).lower(),
}


def test_code_semantics_in_prose(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("code_semantics_in_prose"))
    assert {p.template for p in found} == set(CODE)
    for prompt in found:
        assert CODE[prompt.template](prompt.text) == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer


def opened(text: str) -> list[str]:
    """The brackets that the sentence mentions as opened, in order."""
    return re.findall(r"[(\[{]", text)


SIGNS: dict[str, Callable[[str], str]] = {
    "opened_bracket": lambda text: CLOSER[opened(text)[0]],
    "named_bracket": lambda text: {"round": ")", "square": "]", "curly": "}"}[
        picked(text, r"in (\w+) brackets")[0]
    ],
    "inner_bracket": lambda text: CLOSER[opened(text)[1]],
    "outer_bracket": lambda text: CLOSER[opened(text)[0]],
    "quotation_mark": lambda text: picked(text, r"with the mark (\S) it")[0],
    "html_tag": lambda text: picked(text, r"<(\w+)>")[0],
    "python_collection": lambda text: {"list": "]", "tuple": ")", "dictionary": "}"}[words(text)[2]],
    "json_container": lambda text: {"array": "]", "object": "}"}[words(text)[2]],
    "typed_code": lambda text: CLOSER[opened(text)[0]],
    "emphasised_word": lambda text: picked(text, r"type (\S+) in front")[0],
    "formula_on_the_board": lambda text: CLOSER[opened(text)[0]],
    "closed_and_opened": lambda text: CLOSER[picked(text, r"The second is (\S),")[0]],
}


def test_delimiters_in_prose(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("delimiter_tracking_in_prose"))
    assert {p.template for p in found} == set(SIGNS)
    for prompt in found:
        assert SIGNS[prompt.template](prompt.text) == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer
