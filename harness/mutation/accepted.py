"""The survivors that were looked at and accepted, read from SURVIVORS.md: a diff each, below the reason for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from harness.mutation.mutants import Mutant

_FENCE = "```"


def parse(text: str) -> Counter[Mutant]:
    """The mutants of a list as `render` writes them; one that stands there twice counts twice.

    Text outside the fences is for people. Raises ValueError for a diff that stands below no '### file: function'.
    """
    found: Counter[Mutant] = Counter()
    place, fenced, lines = "", False, list[str]()
    for line in text.splitlines():
        if line.startswith("### "):
            place = line.removeprefix("### ")
        elif line.startswith(_FENCE):
            fenced = not fenced
            lines.append("")
        elif fenced:
            lines.append(line)
        if not fenced or not line:
            found.update(_mutants(place, lines))
            lines.clear()
    return found


def render(mutants: Iterable[Mutant]) -> str:
    """The mutants as sections of such a list, by file and function."""
    out, place = [], ""
    for mutant in sorted(mutants):
        if mutant.place != place:
            out += [*([_FENCE, ""] if place else []), f"### {mutant.place}", "", f"{_FENCE}diff", mutant.diff]
            place = mutant.place
        else:
            out += ["", mutant.diff]
    return "\n".join([*out, _FENCE, ""]) if out else ""


def _mutants(place: str, lines: list[str]) -> Iterator[Mutant]:
    removed = tuple(line[2:] for line in lines if line.startswith("- "))
    added = tuple(line[2:] for line in lines if line.startswith("+ "))
    if not removed + added:
        return
    file, colon, function = place.partition(": ")
    if not colon:
        raise ValueError(f"the diff {lines} stands below no '### file: function'")
    yield Mutant(file=file, function=function, removed=removed, added=added)
