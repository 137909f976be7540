"""The hub's local cache: used where complete, never guessed at; one line where there is no network."""

from __future__ import annotations

import errno
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from harness.models import CacheUnwritable, HubRepo, ModelSpec, WeightsMissing, available, hub, load
from harness.models.testing import save_tiny_checkpoint

SOURCE = HubRepo(repo="someone/tiny", revision="0123456789abcdef0123456789abcdef01234567")
SPEC = ModelSpec(id="tiny", title="tiny", source=SOURCE, license="none")


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pinned commit's files belong; nothing is there yet, and the network is off."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("CLAIMS_SUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub" / "models--someone--tiny" / "snapshots" / SOURCE.revision


def test_a_complete_snapshot_is_ready_and_loads_without_network(snapshot: Path) -> None:
    save_tiny_checkpoint(snapshot)
    assert available(SPEC).state == "ready"
    assert load(SPEC).facts.n_layers == 2
    assert load(SPEC, download=True).facts.n_layers == 2


def test_our_layout_is_the_hub_clients_own(snapshot: Path) -> None:
    save_tiny_checkpoint(snapshot)
    found = huggingface_hub.snapshot_download(
        SOURCE.repo, revision=SOURCE.revision, local_files_only=True, cache_dir=hub.hub_cache()
    )
    assert Path(found) == snapshot


def test_a_missing_snapshot_is_a_reason_and_a_remedy(snapshot: Path) -> None:
    state = available(SPEC)
    assert state.state == "missing"
    assert state.reason == "someone/tiny at 0123456789ab is not in the hub cache"
    assert state.remedy == "give --model-path tiny=DIR or --download"
    assert available(SPEC, download=True).state == "fetchable"
    with pytest.raises(
        WeightsMissing, match="someone/tiny at 0123456789ab is not in the hub cache; give --model"
    ):
        load(SPEC)


def test_another_revision_does_not_count(snapshot: Path) -> None:
    save_tiny_checkpoint(snapshot.with_name("f" * 40))
    assert available(SPEC).state == "missing"


def test_an_interrupted_download_does_not_count(snapshot: Path) -> None:
    save_tiny_checkpoint(snapshot)
    weights = snapshot / "model.safetensors"
    weights.unlink()
    weights.symlink_to(snapshot / "blob-that-never-came")
    state = available(SPEC)
    assert state.state == "missing"
    assert "--download" in state.remedy


def test_without_network_a_download_is_one_clear_line(snapshot: Path) -> None:
    with pytest.raises(WeightsMissing) as caught:
        load(SPEC, download=True)
    message = str(caught.value)
    assert message.startswith("no weights for tiny: cannot download someone/tiny (")
    assert "check the network and your access, or give --model-path tiny=DIR" in message
    assert "\n" not in message


def test_only_safetensors_and_text_are_downloaded(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fake_download(repo: str, **options: object) -> str:
        asked.update(options, repo=repo)
        return str(save_tiny_checkpoint(snapshot))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake_download)
    assert load(SPEC, download=True).model
    assert (asked["repo"], asked["revision"]) == (SOURCE.repo, SOURCE.revision)
    allowed = asked["allow_patterns"]
    names = ["model-00001-of-00002.safetensors", "config.json", "tokenizer.json", "merges.txt"]
    kept = list(
        huggingface_hub.utils.filter_repo_objects(
            [*names, "pytorch_model.bin", "x.py", "a.pt"], allow_patterns=allowed
        )
    )
    assert kept == names


def test_a_full_disk_while_downloading(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(CacheUnwritable, match="hub"):
        load(SPEC, download=True)
