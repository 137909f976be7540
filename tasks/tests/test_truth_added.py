"""The families that `extended` adds, each answer worked out here from the text alone."""

from __future__ import annotations

import ast
import base64
import codecs
import html
import re
from collections.abc import Callable
from urllib.parse import unquote

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


def prompts(pairs: tuple[PromptPair, ...]) -> list[Prompt]:
    found = {p for pair in pairs for p in (pair.clean, pair.corrupt)}
    return sorted(found, key=lambda p: (p.template, p.text))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def picked(text: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} does not fit {text!r}"
    return found.groups()


def follow_picking(text: str) -> str:
    *listed, which = picked(text, r"^Words: (\w+), (\w+), (\w+)\. Write only the (\w+) word:$")
    return {"first": listed[0], "last": listed[2]}[which]


def follow_size(text: str) -> str:
    letter, size = picked(text, r"letter (\w) as a (\w+) letter:$")
    return {"capital": letter.upper(), "small": letter.lower()}[size]


def follow_order(text: str) -> str:
    a, _, c, how = picked(text, r": (\w+), (\w+), (\w+)\. .* in (\w+) order:$")
    return {"equal": [a, c], "reverse": [c, a]}[how][0]


def follow_kind(text: str) -> str:
    from tasks.words import ANIMALS, COLORS

    a, b, kind = picked(text, r"^From (\w+), (\w+) pick only the (\w+):$")
    (match,) = [w for w in (a, b) if w in {"animal": ANIMALS, "color": COLORS}[kind]]
    return match


def follow_comparison(text: str) -> str:
    a, b, how = picked(text, r"^Numbers: (\w+) and (\w+)\. Give the (\w+) number:$")
    return {"larger": max, "smaller": min}[how](a, b, key=SPELLED.index)


def follow_omission(text: str) -> str:
    a, b, c, out, first = picked(text, r"^Repeat (\w+), (\w+), (\w+) without (\w+): (\w+),$")
    rest = [w for w in (a, b, c) if w != out]
    assert rest[0] == first
    return rest[1]


def follow_sorting(text: str) -> str:
    numbers, how = picked(text, r"^Sort ([\d,]+) going (\w+): \[$")
    return sorted(numbers.split(","), reverse={"up": False, "down": True}[how])[0]


def follow_exchange(text: str) -> str:
    a, b, new, old = picked(text, r'^Write "the (\w+) and the (\w+)" with (\w+) for (\w+): "the$')
    assert old in (a, b)
    return new if old == a else a


def follow_parity(text: str) -> str:
    even, odd, number = picked(text, r"^Reply (\w+) to even .* and (\w+) to odd .*: (\w+)\. Reply:$")
    return odd if SPELLED.index(number) % 2 else even


def follow_times(text: str) -> str:
    a, times, b, written = picked(text, r"^Write (\w+) (\w+) times and then (\w+): (.*)$")
    wanted = [a] * SPELLED.index(times) + [b]
    assert wanted[: len(words(written))] == words(written)
    return wanted[len(words(written))]


def follow_signal(text: str) -> str:
    a, x, b, y, signal = picked(text, r"On (\w+) write (\w+)\. On (\w+) write (\w+)\. Signal: (\w+)\. Write$")
    return {a: x, b: y}[signal]


def follow_initial(text: str) -> str:
    a, b, initial = picked(text, r"^Of (\w+) and (\w+), name the word with initial (\w):$")
    (match,) = [w for w in (a, b) if w[0] == initial.lower()]
    return match


FOLLOWED: dict[str, Callable[[str], str]] = {
    "first_or_last": follow_picking,
    "letter_size": follow_size,
    "say_this_not_that": lambda text: picked(text, r"^(?:Say|Type) (\w+), not \w+\. So you (?:say|type)$")[0],
    "kind_of_word": follow_kind,
    "larger_or_smaller": follow_comparison,
    "left_out": follow_omission,
    "same_or_reverse_order": follow_order,
    "sorting_direction": follow_sorting,
    "word_exchange": follow_exchange,
    "reply_by_parity": follow_parity,
    "kind_of_bracket": lambda text: {"round": "(", "square": "[", "curly": "{"}[words(text)[-2]],
    "number_of_times": follow_times,
    "signal_and_reply": follow_signal,
    "starting_letter": follow_initial,
}


def test_instructions_are_followed(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("instruction_following"))
    assert {p.template for p in found} == set(FOLLOWED)
    for prompt in found:
        assert FOLLOWED[prompt.template](prompt.text) == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer


def test_only_the_instruction_differs_within_a_pair(pairs_of: PairsOf) -> None:
    """The material is the same: what is left of both texts after the words that differ holds answer and foil alike."""
    materials = {"first_or_last", "kind_of_word", "left_out", "same_or_reverse_order", "starting_letter"}
    for pair in pairs_of("instruction_following"):
        if pair.clean.template in materials:
            common = set(words(pair.clean.text)) & set(words(pair.corrupt.text))
            assert {pair.clean.answer.strip(), pair.clean.foil.strip()} <= common, pair.clean.text


MORSE = {
    ".": "E", "-": "T", ".-": "A", "-.": "N", "..": "I", "--": "M", "...": "S", "---": "O", ".-.": "R",
    "-.-": "K", "-..": "D", "..-": "U", ".-..": "L", "..-.": "F", "....": "H",
}  # fmt: skip


def letter(code: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[code % 26]


def decode_html(text: str) -> str:
    encoded, so_far = picked(text, r'^"(.*)" is HTML for "(.*)$')
    decoded = html.unescape(encoded)
    assert decoded.startswith(so_far + " ")
    return decoded.removeprefix(so_far + " ")[0]


DECODED: dict[str, tuple[str, Callable[[str], str]]] = {
    "spelled_out": (r"([a-z-]+) spells(?: (\w+))?", lambda code: code.replace("-", "")),
    "reversed_word": (r'reverse\("(\w+)"\)="(\w*)', lambda code: code[::-1]),
    "hex_escape": (r"'(\\x..)' is '(\w?)", lambda code: codecs.decode(code, "unicode_escape")),
    "unicode_escape": (r"(\\u....)=(\w?)", lambda code: codecs.decode(code, "unicode_escape")),
    "percent_encoding": (r"(%..)=(\w?)", unquote),
    "character_code": (r'chr\((\d+)\)="(\w?)', lambda code: chr(int(code))),
    "binary_number": (r"([01]{3,4})=(\d?)", lambda code: str(int(code, 2))),
    "next_letter_cipher": (r"\b(\w)=(\w?)", lambda code: letter(ord(code) - ord("a") + 1)),
    "previous_letter_cipher": (r"\b(\w) gives ?(\w?)", lambda code: letter(ord(code) - ord("a") - 1)),
    "rot13": (r"rot13\((\w)\)=(\w?)", lambda code: codecs.encode(code, "rot13")),
    "letter_numbers": (r"\b(\d) is ?(\w?)", lambda code: chr(ord("A") - 1 + int(code))),
    "base64_byte": (r'b64decode\("(.*?)"\)="(\w?)', lambda code: base64.b64decode(code).decode()),
    "morse_letter": (r"([.-]+) means ?(\w?)", lambda code: MORSE[code]),
    "mirrored_alphabet": (r"\b(\w):(\w?)", lambda code: letter(25 - (ord(code) - ord("a")))),
}
"""Template -> (code and what it is said to stand for, empty at the end; the decoder)."""


def test_strings_are_decoded_rightly_in_the_examples_too(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("string_decoding"))
    assert {p.template for p in found} == {*DECODED, "html_entity"}
    for prompt in found:
        if prompt.template == "html_entity":
            assert decode_html(prompt.text) == prompt.answer.strip()
            continue
        pattern, decode = DECODED[prompt.template]
        *shown, (asked, nothing) = re.findall(pattern, prompt.text)
        assert nothing == ""
        assert shown
        for code, said in shown:
            assert decode(code) == said, prompt.text
        assert decode(asked) == prompt.answer.strip(), prompt.text
        assert prompt.answer.strip() not in [said for _, said in shown]
        assert prompt.foil != prompt.answer


FUNCTIONS = {"len": len, "max": max, "min": min}


def is_constant(text: str) -> bool:
    """Whether `text` is one Python expression without names but those of FUNCTIONS."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return False
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names <= set(FUNCTIONS) and not isinstance(tree.body, ast.Tuple)


def folded_assignments(text: str) -> list[tuple[str, object]]:
    """(name, value of what it is given) in order; an expression is as long as it can be."""
    found = []
    for start in re.finditer(r"\b([a-z])=(?!=)", text):
        rest = text[start.end() :]
        longest = next(rest[:n] for n in range(len(rest), 0, -1) if is_constant(rest[:n]))
        found.append((start[1], eval(longest, {"__builtins__": FUNCTIONS})))
    return found


def test_folded_values_are_what_python_computes(pairs_of: PairsOf) -> None:
    """Every name is given an expression and then its value; with the foil the last name is given a wrong one."""
    for prompt in prompts(pairs_of("constant_folding")):
        name = re.findall(r'([a-z])="?$', prompt.text)[0]
        for word, right in ((prompt.answer, True), (prompt.foil, False)):
            given: dict[str, list[object]] = {}
            for target, value in folded_assignments(prompt.text + word + '"' * prompt.text.endswith('"')):
                given.setdefault(target, []).append(value)
            assert {len(values) for values in given.values()} == {2}, (prompt.text, given)
            agree = {target: values[0] == values[1] for target, values in given.items()}
            assert agree.pop(name) == right, (prompt.text, word)
            assert all(agree.values()), prompt.text


def truth(condition: str) -> bool:
    if condition in ("True", "true", "1"):
        return True
    if condition in ("False", "false", "0"):
        return False
    a, b = re.fullmatch(r"(\d)<(\d)", condition).groups()  # type: ignore[union-attr]
    return int(a) < int(b)


def executed(program: str) -> str:
    """The first of the called functions that runs when the Python in a prompt runs."""
    calls: list[str] = []

    class Names(dict):  # type: ignore[type-arg]
        def __missing__(self, name: str) -> object:
            def call() -> None:
                calls.append(name)
                raise StopIteration

            return call

    with pytest.raises(StopIteration):
        exec(compile(program, "<prompt>", "exec"), {"__builtins__": {}}, Names())
    return calls[0]


def simplify_if(text: str) -> str:
    condition, a, b = picked(text, r"^if (\w+): (\w+)\(\) else: (\w+)\(\) =>$")
    return executed(f"if {condition}: {a}()\nelse: {b}()")


def simplify_chain(text: str) -> str:
    a, condition, b, c = picked(
        text, r"^if False: (\w+)\(\) elif (\w+): (\w+)\(\) else: (\w+)\(\) leaves only$"
    )
    return executed(f"if False: {a}()\nelif {condition}: {b}()\nelse: {c}()")


def simplify_expression(text: str) -> str:
    a, condition, b = picked(text, r"^x = (\w+) if (\w+) else (\w+)\n# simplified\nx =$")
    return str(eval(f"'{a}' if {condition} else '{b}'"))


def simplify_return(text: str) -> str:
    condition, a, b = picked(text, r"^if (\w+): return (\w+)\nreturn (\w+)\n# this is: return$")
    names: dict[str, Callable[[], str]] = {}
    exec(f"def f():\n if {condition}: return '{a}'\n return '{b}'", names)
    return names["f"]()


def simplify_switch(text: str) -> str:
    value, *cases = picked(text, r"^switch\((\d)\) \{ case (\d): (\w+); break; case (\d): (\w+); \} becomes$")
    return dict(zip(cases[::2], cases[1::2], strict=True))[value]


def simplify_logic(text: str) -> str:
    sign = "and" if " and " in text else "||"
    equals = "->" if sign == "and" else "="
    *shown, (condition, kept, nothing) = re.findall(
        rf"(\w+) {re.escape(sign)} (\w+) {equals}(?: (\w+))?", text
    )
    assert nothing == ""

    def reduced(condition: str, kept: str) -> str:
        return kept if truth(condition) == (sign == "and") else condition

    assert len(shown) == 2
    assert all(reduced(c, k) == value for c, k, value in shown), text
    return reduced(condition, kept)


def either(pattern: str, *, negated: bool = False) -> Callable[[str], str]:
    def simplify(text: str) -> str:
        found = re.search(pattern, text)
        assert found, text
        return found["a"] if truth(found["c"]) != negated else found["b"]

    return simplify


SIMPLIFIED: dict[str, Callable[[str], str]] = {
    "constant_if": simplify_if,
    "negated_if": either(r"^if \(!(?P<c>\w+)\) (?P<a>\w+)\(\); else (?P<b>\w+)\(\); is", negated=True),
    "compared_numbers": either(r"^if (?P<c>\d<\d) then (?P<a>\w+) else (?P<b>\w+) can"),
    "conditional_expression": simplify_expression,
    "question_mark": either(r"^let y = (?P<c>\w+) \? (?P<a>\w+) : (?P<b>\w+); reduces to let y =$"),
    "conjunction": simplify_logic,
    "disjunction": simplify_logic,
    "constant_while": lambda text: executed(text.split("\n#")[0]),
    "constant_switch": simplify_switch,
    "preprocessor": either(r"^#if (?P<c>\d)\n(?P<a>\w+)\n#else\n(?P<b>\w+)\n#endif"),
    "else_if": simplify_chain,
    "early_return": simplify_return,
    "nested_if": either(r"^if \(true\) \{ if \((?P<c>\w+)\) (?P<a>\w+)\(\); else (?P<b>\w+)\(\); \}"),
    "shell_if": either(r"^if (?P<c>\w+); then (?P<a>\w+); else (?P<b>\w+); fi"),
    "unless": either(r"^unless (?P<c>\w+) then (?P<a>\w+) else (?P<b>\w+) end", negated=True),
}


def test_branches_on_constants_keep_the_side_that_runs(pairs_of: PairsOf) -> None:
    found = prompts(pairs_of("control_flow_simplification"))
    assert {p.template for p in found} == set(SIMPLIFIED)
    for prompt in found:
        assert SIMPLIFIED[prompt.template](prompt.text) == prompt.answer.strip(), prompt.text
        assert prompt.foil != prompt.answer


def test_the_side_that_does_not_run_is_offered_too(pairs_of: PairsOf) -> None:
    for prompt in prompts(pairs_of("control_flow_simplification")):
        assert {prompt.answer.strip(), prompt.foil.strip()} <= set(words(prompt.text)), prompt.text
