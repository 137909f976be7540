"""The code families, checked by running the code: the answer is what Python says, and the foil is not."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from tasks.prompts import Prompt, PromptPair

PairsOf = Callable[[str], tuple[PromptPair, ...]]


def prompts(pairs: tuple[PromptPair, ...], *templates: str) -> list[Prompt]:
    found = {
        p for pair in pairs for p in (pair.clean, pair.corrupt) if not templates or p.template in templates
    }
    assert found, f"no prompt of {templates}"
    return sorted(found, key=lambda p: (p.template, p.text))


def run(text: str, word: str, **names: Any) -> None:
    """Run `text` completed with `word` and with the quotation mark and bracket that are still open."""
    program = text + word
    program += '"' if program.count('"') % 2 else ""
    program += ")" * (program.count("(") - program.count(")"))
    exec(compile(program, "<prompt>", "exec"), dict(names))


@pytest.mark.parametrize("name", ["code_semantics", "dead_code"])
def test_the_program_passes_with_the_answer_and_fails_with_the_foil(pairs_of: PairsOf, name: str) -> None:
    for prompt in prompts(pairs_of(name)):
        run(prompt.text, prompt.answer)
        with pytest.raises(AssertionError):
            run(prompt.text, prompt.foil)


def test_the_dead_value_is_the_foil(pairs_of: PairsOf) -> None:
    """Every dead_code text offers the dead value too, so ignoring it is what is tested."""
    for prompt in prompts(pairs_of("dead_code")):
        assert {prompt.answer, prompt.foil} <= set(re.findall(r"\w+", prompt.text)), prompt.text


BINDS_A_NAME = (
    "module_alias",
    "renamed_parameter",
    "loop_variable",
    "open_as",
    "exception_as",
    "comprehension_variable",
)


def raising() -> None:
    raise RuntimeError("for the handler")


def use_name(prompt: Prompt, word: str) -> None:
    """Run the prompt completed with `word`, and call what it defines so that the name is looked up."""
    text = prompt.text
    names: dict[str, Any] = {"print": lambda *_: None, "run": raising, "test": raising}
    names["open"] = contextlib.nullcontext
    if prompt.template == "loop_variable":
        # The old loop variable is still bound after its loop; the new ones are what is at stake.
        names["s"] = [1]
    if prompt.template == "open_as":
        names[re.findall(r"open\((\w)\)", text)[0]] = 1
    if prompt.template == "comprehension_variable":
        names["t"] = [1]
        text += word
        word = " in t]"
    if prompt.template == "renamed_parameter":
        word += "\nf(1)"
    run(text, word, **names)


@pytest.mark.parametrize("template", BINDS_A_NAME)
def test_only_the_new_name_is_bound(pairs_of: PairsOf, template: str) -> None:
    for prompt in prompts(pairs_of("variable_renaming"), template):
        use_name(prompt, prompt.answer)
        with pytest.raises(NameError):
            use_name(prompt, prompt.foil)


def renamed(prompt: Prompt) -> str:
    """The answer, worked out from the renaming that the text states."""
    text = prompt.text
    if prompt.template == "value_by_new_name":
        old = re.findall(r"Rename (\w) to \w", text)[0]
        return re.findall(rf"{old}=(\d)", text)[0]
    patterns = {
        "substitution_command": r"^s/\w+/(\w+)/",
        "rename_instruction": r"^Rename \w+ to (\w+)\.",
        "renamed_assignment": r"New: (\w+) = 1",
        "patch_lines": r"^\+(\w+) = 1$",
        "table_alias": r"AS (\w)",
        "name_map": r", \w+ -> (\w+)\.",
    }
    return re.findall(patterns[prompt.template], text, flags=re.MULTILINE)[0]


def test_the_stated_renaming_gives_the_answer(pairs_of: PairsOf) -> None:
    rest = {pair.clean.template for pair in pairs_of("variable_renaming")} - set(BINDS_A_NAME)
    for prompt in prompts(pairs_of("variable_renaming"), *rest):
        assert renamed(prompt) == prompt.answer.strip(), prompt.text


PYTHON = {
    "import_or_loop": (" import a", " in s: pass"),
    "generator_or_conditional": (" in s)", " else s)"),
}


def parses(text: str) -> bool:
    try:
        compile(text, "<prompt>", "exec")
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("template", PYTHON)
def test_python_accepts_the_answer_and_no_continuation_of_the_foil(pairs_of: PairsOf, template: str) -> None:
    for prompt in prompts(pairs_of("code_syntax"), template):
        ends = {end.split()[0]: end for end in PYTHON[template]}
        assert parses(prompt.text + ends[prompt.answer.strip()])
        assert not parses(prompt.text + ends[prompt.foil.strip()])


WORD_OF = {
    "sql_clause": {"select": "from", "update": "set"},
    "shell_condition": {"if": "then", "while": "do", "until": "do"},
    "shell_block_end": {"if": "fi", "while": "done", "for": "done"},
    "import_alias": {"numpy": "np", "pandas": "pd", "tensorflow": "tf", "networkx": "nx"},
    "ternary": {"?": ":", "if": "else"},
}


def test_the_last_opening_word_decides_the_keyword(pairs_of: PairsOf) -> None:
    for prompt in prompts(pairs_of("code_syntax"), *WORD_OF):
        table = WORD_OF[prompt.template]
        opened = [word for word in re.findall(r"\w+|\?", prompt.text.lower()) if word in table]
        assert table[opened[-1]] == prompt.answer.strip().lower(), prompt.text


def test_the_sign_used_before_is_the_answer(pairs_of: PairsOf) -> None:
    """In the remaining syntax templates the text has set a style, in which the foil does not occur."""
    rest = {pair.clean.template for pair in pairs_of("code_syntax")} - set(PYTHON) - set(WORD_OF)
    assert len(rest) == 7
    for prompt in prompts(pairs_of("code_syntax"), *rest):
        signs = re.findall(r"[^\w\s(){}]+|then", prompt.text.replace("()", ""))
        if prompt.template == "augmented_assignment":
            signs = [sign for sign in signs if sign != ";"]
        assert prompt.answer.strip() in signs, prompt.text
        assert prompt.foil.strip() not in signs, prompt.text
