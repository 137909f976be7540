"""The table of models, unknown ids, `--model-path`, and that all of it needs no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from harness.models import (
    DEFAULT_MODEL,
    HubRepo,
    LocalDir,
    ModelError,
    PackagedGguf,
    UnknownModel,
    find_model,
    known_models,
    parse_model_path,
    with_paths,
)


def test_no_id_is_part_of_another() -> None:
    ids = [spec.id for spec in known_models()]
    assert len(ids) == 8
    for left, right in permutations(ids, 2):
        assert left not in right, f"pytest -k {left} would also select {right}"


def test_the_default_comes_first_and_alone_is_fetched_without_asking() -> None:
    assert known_models()[0].id == DEFAULT_MODEL
    assert [spec.id for spec in known_models() if spec.fetch == "auto"] == [DEFAULT_MODEL]


@pytest.mark.parametrize("spec", known_models(), ids=lambda spec: spec.id)
def test_every_source_is_pinned_and_every_model_has_consistent_facts(spec) -> None:
    match spec.source:
        case HubRepo(revision=revision):
            assert re.fullmatch(r"[0-9a-f]{40}", revision)
            assert not spec.embedded
        case PackagedGguf(sha256=whole, members=members):
            assert all(
                re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (whole, *(m.sha256 for m in members))
            )
            assert spec.embedded
        case other:
            pytest.fail(f"a registered model comes from {other}")
    assert spec.facts.n_heads % spec.facts.n_kv_heads == 0
    if spec.facts.model_type != "gemma3_text":  # Gemma's heads are wider than the stream
        assert spec.facts.n_heads * spec.facts.d_head == spec.facts.d_model


def test_unknown_model_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownModel) as caught:
        find_model("qwen1.5b")
    message = str(caught.value)
    assert "did you mean 'qwen1_5b'?" in message
    assert all(spec.id in message for spec in known_models())
    assert "--model-path ID=DIR" in message
    assert "\n" not in message


def test_unknown_model_without_a_near_one_guesses_nothing() -> None:
    with pytest.raises(UnknownModel) as caught:
        find_model("zzz")
    assert "did you mean" not in str(caught.value)


def test_parse_model_path() -> None:
    assert parse_model_path("mine=/a/b=c") == ("mine", Path("/a/b=c"))
    assert parse_model_path("mine=~/x")[1] == Path.home() / "x"


@pytest.mark.parametrize("text", ["", "mine", "=dir", "mine=", " = "])
def test_parse_model_path_refuses_other_forms(text: str) -> None:
    with pytest.raises(ModelError, match="expected ID=DIR"):
        parse_model_path(text)


def test_a_path_for_a_registered_model_keeps_its_facts_and_its_place() -> None:
    models = with_paths({"qwen0_5b": Path("/data/q")})
    assert [spec.id for spec in models] == [spec.id for spec in known_models()]
    given = find_model("qwen0_5b", models)
    assert given.source == LocalDir(path=Path("/data/q"))
    assert given.facts == find_model("qwen0_5b").facts
    assert find_model("qwen0_5b").source != given.source


def test_a_new_local_checkpoint_is_appended_without_facts() -> None:
    models = with_paths({"planted_hub": Path("/data/p"), "mine": Path("/data/m")})
    assert [spec.id for spec in models[-2:]] == ["planted_hub", "mine"]
    assert models[-1].facts is None
    assert find_model("mine", models).source == LocalDir(path=Path("/data/m"))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["qwen"], "overlaps with 'qwen0_5b'"),
        (["qwen0_5b_tuned"], "overlaps with 'qwen0_5b'"),
        (["mine", "mine_too"], "'mine_too' overlaps with 'mine'"),
        (["Mine"], "no model id"),
        (["5b"], "no model id"),
        (["a-b"], "no model id"),
    ],
)
def test_new_ids_that_would_confuse_selection_are_refused(ids: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        with_paths({model_id: Path("/data") for model_id in ids})


def test_the_package_and_its_collection_time_calls_import_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from harness.models import available, known_models, with_paths\n"
        "specs = with_paths({'mine': Path('nowhere')})\n"
        f"states = [available(spec, cache_dir=Path({str(tmp_path)!r})).state for spec in specs]\n"
        "assert len(states) == len(known_models()) + 1 and states[0] == 'fetchable', states\n"
        "loaded = {'torch', 'transformers', 'numpy', 'gguf'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
