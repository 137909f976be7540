"""Experiments: the probes of each, per protocol and depth, and a definition that notices every change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.edits import Edit, Exit, Probe, Stream, erase, skip, zero
from harness.experiments import (
    ATLAS_SETS,
    EXPERIMENTS,
    NO_OP,
    Experiment,
    UnknownExperiment,
    find_experiment,
    layer_sets,
    skip_everything,
)
from harness.protocols import Protocol

DEPTHS = (8, 24, 28, 30, 36)
SMALL = (1, 2, 3, 4)
PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND


def probes(name: str, protocol: Protocol, n_layers: int) -> tuple[Probe, ...]:
    return EXPERIMENTS[name].probes(protocol, n_layers, (3,) * n_layers)


def layers_of(probe: Probe) -> tuple[int, ...]:
    return (probe.layer,) if isinstance(probe, Exit) else probe.layers


@pytest.mark.parametrize("n_layers", SMALL + DEPTHS)
@pytest.mark.parametrize(
    ("name", "protocol"), [(e.name, p) for e in EXPERIMENTS.values() for p in e.protocols]
)
def test_every_experiment_fits_every_depth(name: str, protocol: Protocol, n_layers: int) -> None:
    found = probes(name, protocol, n_layers)
    assert found
    assert len(set(found)) == len(found)
    assert all(0 <= layer < n_layers for probe in found for layer in layers_of(probe))
    assert found == probes(name, protocol, n_layers)


@pytest.mark.parametrize("n_layers", SMALL + DEPTHS)
def test_layer_sweep_removes_each_block_once(n_layers: int) -> None:
    assert probes("layer_sweep", PUBLISHED, n_layers) == tuple(erase(i) for i in range(n_layers))
    assert probes("layer_sweep", SOUND, n_layers) == tuple(skip(i) for i in range(n_layers))


@pytest.mark.parametrize("n_layers", SMALL + DEPTHS)
def test_early_exit_reads_out_after_each_block(n_layers: int) -> None:
    assert probes("early_exit", PUBLISHED, n_layers) == tuple(
        Exit(layer=i, normed=False) for i in range(n_layers)
    )
    assert probes("early_exit", SOUND, n_layers) == tuple(Exit(layer=i, normed=True) for i in range(n_layers))


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_layer_sets_are_the_same_blocks_under_both_protocols(n_layers: int) -> None:
    erased, skipped = (probes("layer_sets", p, n_layers) for p in (PUBLISHED, SOUND))
    assert erased == tuple(erase(*s) for s in layer_sets(n_layers))
    assert skipped == tuple(skip(*s) for s in layer_sets(n_layers))


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_the_atlas_s_sets_are_there_where_they_fit(n_layers: int) -> None:
    fitting = {s for s in ATLAS_SETS if max(s) < n_layers}
    assert fitting <= set(layer_sets(n_layers))
    assert len(fitting) == (10 if n_layers >= 17 else 2)


@pytest.mark.parametrize(
    ("n_layers", "relative"),
    [
        (24, {"L0-L7", "L8-L15", "L16-L23", "L0-L3", "L20-L23"}),
        (28, {"L0-L8", "L9-L17", "L18-L27", "L0-L3", "L24-L27"}),
        (30, {"L0-L9", "L10-L19", "L20-L29", "L0-L4", "L25-L29"}),
        (36, {"L0-L11", "L12-L23", "L24-L35", "L0-L5", "L30-L35"}),
        (8, {"L0-L1", "L2-L3", "L4-L7", "L0", "L7", "L0+L2+L4+L6"}),
    ],
)
def test_thirds_and_sixths_at_known_depths(n_layers: int, relative: set[str]) -> None:
    named = {str(skip(*s)).removeprefix("skip ") for s in layer_sets(n_layers)}
    assert relative <= named


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_thirds_are_contiguous_and_cover_the_model(n_layers: int) -> None:
    third = n_layers // 3
    parts = [range(third), range(third, 2 * third), range(2 * third, n_layers)]
    assert sorted(i for part in parts for i in part) == list(range(n_layers))
    assert {tuple(part) for part in parts} <= set(layer_sets(n_layers))


def test_the_atlas_s_ten_sets() -> None:
    assert [str(skip(*s)).removeprefix("skip ") for s in ATLAS_SETS] == [
        "L15",
        "L4",
        "L8",
        "L4-L8",
        "L4-L8+L15",
        "L3-L5",
        "L10-L12",
        "L14-L16",
        "L4-L5+L8+L11+L15-L16",
        "L4-L5+L8+L10-L11+L14-L16",
    ]


@pytest.mark.parametrize(
    ("n_layers", "name"),
    [(1, "L0"), (2, "L0"), (3, "L1"), (4, "L1"), (6, "L2-L3"), (8, "L2-L3"), (24, "L8-L15"), (30, "L10-L19")],
)
def test_latency_leaves_out_the_middle_third_and_never_nothing(n_layers: int, name: str) -> None:
    assert [str(p) for p in probes("skip_latency", SOUND, n_layers)] == [f"skip {name}"]
    assert [str(p) for p in probes("skip_latency", PUBLISHED, n_layers)] == [f"erase {name}"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_definition_tells_protocols_and_depths_apart(name: str) -> None:
    experiment = EXPERIMENTS[name]
    digests = {
        (p, n, (3,) * n): experiment.definition(p, n, (3,) * n) for p in experiment.protocols for n in DEPTHS
    }
    assert len(set(digests.values())) == len(digests)
    assert digests == {key: experiment.definition(*key) for key in digests}


def test_experiments_have_different_definitions() -> None:
    assert len({e.definition(SOUND, 8, (3,) * 8) for e in EXPERIMENTS.values()}) == len(EXPERIMENTS)


def test_head_sweep_zeroes_each_head_of_each_block_that_has_heads() -> None:
    found = EXPERIMENTS["head_sweep"].probes(SOUND, 3, (2, 0, 1))
    assert found == (zero(Stream.Z, 0, 0), zero(Stream.Z, 0, 1), zero(Stream.Z, 2, 0))
    assert EXPERIMENTS["head_sweep"].definition(SOUND, 3, (2, 0, 1)) != EXPERIMENTS["head_sweep"].definition(
        SOUND, 3, (1, 0, 2)
    )


@pytest.mark.parametrize("heads", [(), (2, 2), (0, 0, 0)])
def test_head_sweep_without_the_heads_of_every_block_is_refused(heads: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs the query heads of 3 blocks"):
        EXPERIMENTS["head_sweep"].probes(SOUND, 3, heads)


def test_head_sweep_has_no_published_definition() -> None:
    assert EXPERIMENTS["head_sweep"].protocols == (SOUND,)
    with pytest.raises(ValueError, match="no published definition"):
        EXPERIMENTS["head_sweep"].probes(PUBLISHED, 1, (1,))


@pytest.mark.parametrize(
    ("name", "protocol", "n_layers", "digest"),
    [
        (
            "early_exit",
            Protocol.PUBLISHED,
            18,
            "20e7cad2773ca5b6e7877bf126b4ad229c09e492f6dd9372ca56500c36991def",
        ),
        (
            "early_exit",
            Protocol.SOUND,
            18,
            "e402200ef0af3e9e8ef2e039595a068dc2fd2e4c28f4a3d440ca0beac387a3b4",
        ),
        (
            "layer_sets",
            Protocol.PUBLISHED,
            18,
            "35b21e7f273982ab7d04855000350b0b590b021ae0d2c58ce814dd93f1c19fd3",
        ),
        (
            "layer_sets",
            Protocol.SOUND,
            18,
            "36dfebdb1bdd5dee36c57fa39a57981537671de7b384c8d567649e9253ea14b0",
        ),
        (
            "layer_sweep",
            Protocol.PUBLISHED,
            18,
            "244823be1b4a2bd89191979888a624f4e9a08452a53849ee5b20eac1ffe3e55a",
        ),
        (
            "layer_sweep",
            Protocol.SOUND,
            18,
            "e8f016a982fc9b753e2caae211827469cf671d6ff4acce4a64e8dab6b496a972",
        ),
        (
            "skip_latency",
            Protocol.PUBLISHED,
            18,
            "db87dab4cfabce1beb8f5c3b9bde6d66e35fd418109a9abe3dd453c4e3fd514c",
        ),
        (
            "skip_latency",
            Protocol.SOUND,
            18,
            "247164b19ce501abd6bd713d69fe024906380d216f69c1d4eddd0ddfe2ef6e2c",
        ),
        (
            "early_exit",
            Protocol.PUBLISHED,
            30,
            "509b0b1b68031c3a2de621009630f254f5485ffd0afeca639f0367648e9bacf9",
        ),
        (
            "early_exit",
            Protocol.SOUND,
            30,
            "f11c125fd65a9e81ec438068e42a2be1e8d84eb444feed1e4be6df9d862992dc",
        ),
        (
            "layer_sets",
            Protocol.PUBLISHED,
            30,
            "8f16afa010187f39d839c004625062547356b221c9efa34a69dec1da30d01462",
        ),
        (
            "layer_sets",
            Protocol.SOUND,
            30,
            "daa37f763ccca8d1bbe8fe23ed9ee0179926556a4e85c943014a1a6cd13bab66",
        ),
        (
            "layer_sweep",
            Protocol.PUBLISHED,
            30,
            "1b58317b3ce419eb4c352ab7708c10c5e214783d17e046fc6a36027e7592160f",
        ),
        (
            "layer_sweep",
            Protocol.SOUND,
            30,
            "99b797d74f8d9cff85a0a16a57006fbde590676936c6b0c18a65572014ac7782",
        ),
        (
            "skip_latency",
            Protocol.PUBLISHED,
            30,
            "e3fa141d5a4c509025b2bb401337ea7e989d7b16d5751e040fe109a046433796",
        ),
        (
            "skip_latency",
            Protocol.SOUND,
            30,
            "2eba8744a42352b1b009449666b204f05b6bac1a752f2ab6f18dc18b4cfb4110",
        ),
    ],
)
def test_definitions_that_recorded_evidence_rests_on(
    name: str, protocol: Protocol, n_layers: int, digest: str
) -> None:
    """Written down from the recorded evidence: a changed digest makes it stale, which must be meant."""
    assert EXPERIMENTS[name].definition(protocol, n_layers) == digest


def _other_probes(protocol: Protocol, n_layers: int, heads: tuple[int, ...]) -> tuple[Probe, ...]:
    first, *rest = EXPERIMENTS["layer_sweep"].probes(protocol, n_layers, heads)
    assert isinstance(first, Edit)
    return (replace(first, positions=(-1,)), *rest)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"revision": 2},
        {"prompts_per_family": 11},
        {"constancy": False},
        {"probes": _other_probes},
        {"probes": lambda *model: EXPERIMENTS["layer_sweep"].probes(*model)[:-1]},
        {"probes": lambda *model: EXPERIMENTS["layer_sweep"].probes(*model)[::-1]},
    ],
)
def test_the_definition_changes_with_whatever_is_measured(changes: dict[str, object]) -> None:
    base: Experiment = EXPERIMENTS["layer_sweep"]
    assert replace(base).definition(SOUND, 8) == base.definition(SOUND, 8)
    assert replace(base, **changes).definition(SOUND, 8) != base.definition(SOUND, 8)  # type: ignore[arg-type]


def test_the_definition_changes_with_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    before = EXPERIMENTS["layer_sweep"].definition(SOUND, 8)
    monkeypatch.setattr("harness.experiments.SUITE", "narrow")
    assert EXPERIMENTS["layer_sweep"].definition(SOUND, 8) != before


def test_an_unknown_experiment_is_answered_with_the_known_ones() -> None:
    assert find_experiment("early_exit") is EXPERIMENTS["early_exit"]
    with pytest.raises(UnknownExperiment, match="no experiment 'layer_yoga'; known: layer_sweep, layer_sets"):
        find_experiment("layer_yoga")


def test_controls() -> None:
    assert str(NO_OP) == "patch L0 from self"
    assert str(skip_everything(30)) == "skip L0-L29"
    assert str(skip_everything(1)) == "skip L0"
