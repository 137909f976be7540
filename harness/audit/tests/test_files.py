"""A folder that may hold anything: every file is refused by name, and none makes the audit fail."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.audit import files as reading
from harness.audit.__main__ import FIGURES, main
from harness.audit.figures import audit
from harness.audit.files import Missing, Results, Untrusted

Bodies = dict[str, Any]
Make = Callable[[Bodies], Path]
FILE = "cross_model_patching_1.5b.json"


def outcome(folder: Path) -> tuple[str, str]:
    """Verdict and note of one figure of that file."""
    rows = [row for row in audit(Results(folder), FIGURES) if row.what == "recovery at L27"]
    return rows[0].verdict, rows[0].note


def test_a_sound_file_is_read(repository: Make, files: Bodies) -> None:
    assert outcome(repository(files)) == ("match", "")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"results": 1, "results": 2}', "a key stands twice"),
        ("[]", "a list stands where"),
        ('{"results": []}', "not a list with values"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": NaN}]}]}', "recovery is nan"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": Infinity}]}]}', "recovery is inf"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": 1e999}]}]}', "recovery is inf"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": 1%s}]}]}' % ("0" * 400), "recovery is inf"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": 1%s}]}]}' % ("0" * 5000), "is not JSON"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": "1"}]}]}', "is a str, not a number"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": true}]}]}', "is a bool, not a number"),
        ('{"results": [{"layers": [{"layer": 27, "recovery": null}]}]}', "is a NoneType, not a number"),
        (
            '{"results": [{"layers": [{"layer": 27, "recovery": 1}, {"layer": 27, "recovery": 1}]}]}',
            "stands twice",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    repository: Make, files: Bodies, text: str, note: str
) -> None:
    folder = repository(files)
    (folder / "experiments/results" / FILE).write_text(text)
    verdict, why = outcome(folder)
    assert verdict == "unreadable"
    assert note in why
    assert main([str(folder)]) == 1


def test_an_unreadable_file_alone_ends_with_1(repository: Make, files: Bodies) -> None:
    folder = repository({FILE: files[FILE]})
    assert main([str(folder)]) == 0
    (folder / "experiments/results" / FILE).write_bytes(b"\xff\xfe")
    assert main([str(folder)]) == 1
    assert "not UTF-8" in outcome(folder)[1]


def test_a_link_out_of_the_folder_is_refused(repository: Make, files: Bodies, tmp_path: Path) -> None:
    folder = repository(files)
    inside = folder / "experiments/results" / FILE
    outside = tmp_path / "outside.json"
    inside.rename(outside)
    inside.symlink_to(outside)
    assert outcome(folder) == ("unreadable", f"experiments/results/{FILE} leads out of the folder")
    inside.unlink()
    (folder / "kept.json").write_text(outside.read_text())
    inside.symlink_to(folder / "kept.json")
    assert outcome(folder)[0] == "match", "a link that stays inside"


def test_a_folder_of_results_that_is_a_link_out_is_refused(
    repository: Make, files: Bodies, tmp_path: Path
) -> None:
    elsewhere = repository(files)
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "experiments").symlink_to(elsewhere / "experiments")
    rows = audit(Results(folder), FIGURES)
    assert {row.verdict for row in rows} <= {"unreadable", "not found"}
    assert all(row.recomputed == "" for row in rows)


def test_a_pipe_a_folder_and_a_broken_link_are_refused(repository: Make, files: Bodies) -> None:
    folder = repository(files)
    path = folder / "experiments/results" / FILE
    path.unlink()
    os.mkfifo(path)
    assert outcome(folder) == ("unreadable", f"experiments/results/{FILE} is not a plain file")
    path.unlink()
    path.mkdir()
    assert outcome(folder)[0] == "unreadable"
    path.rmdir()
    path.symlink_to(folder / "nothing")
    assert "cannot be read" in outcome(folder)[1]
    path.unlink()
    path.symlink_to(path)
    assert outcome(folder)[0] == "unreadable"


def test_a_file_above_the_limit_is_refused(
    repository: Make, files: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository(files)
    size = (folder / "experiments/results" / FILE).stat().st_size
    monkeypatch.setattr(reading, "LIMIT_BYTES", size)
    assert outcome(folder)[0] == "match"
    monkeypatch.setattr(reading, "LIMIT_BYTES", size - 1)
    assert "is larger than" in outcome(folder)[1]


def test_a_folder_of_too_many_entries_is_not_searched(
    repository: Make, files: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository(files)
    monkeypatch.setattr(reading, "LIMIT_ENTRIES", 3)
    with pytest.raises(Untrusted, match="more than 3 entries"):
        Results(folder).find("third_scale_layer_ablation_seed*.json")


def test_nothing_of_a_file_reaches_the_terminal_but_plain_names(
    repository: Make, files: Bodies, capsys: pytest.CaptureFixture[str]
) -> None:
    files["layer_ablation_zero.json"]["families"][4] = "\x1b]0;gotcha\x07[red]dead_code"
    folder = repository(files)
    main([str(folder)])
    printed = capsys.readouterr()
    assert "gotcha" not in printed.out + printed.err
    assert "families.4 is not a plain name" in printed.out


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["L0", "json_schema", "0", "", "[red]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["L0", "0", "layer"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(data=st.data())
def test_no_change_of_a_file_makes_the_audit_fail(unchanged: Bodies, data: st.DataObject) -> None:
    """One value anywhere in any file replaced by anything, or left out."""
    figure = data.draw(st.sampled_from(FIGURES))
    if figure.listing:
        return
    held = [json.loads(json.dumps(unchanged[_present(f)])) for f in figure.files]
    here: Any = data.draw(st.sampled_from(held))
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.booleans()):
            break
        here = here[key]
    if data.draw(st.booleans()):
        here[key] = data.draw(ANYTHING)
    else:
        del here[key]
    for read in (figure.recompute, *figure.instead.values()):
        with contextlib.suppress(Missing, Untrusted):
            read(*held)


def _present(wanted: str) -> str:
    """The file that a figure takes."""
    return wanted.split("|")[0].replace("seed*", "seed1")
