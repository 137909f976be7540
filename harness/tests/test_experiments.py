"""Experiments: the probes of each, per protocol and depth, and a definition that notices every change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.anatomy import Anatomy, Massive
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
    return EXPERIMENTS[name].probes(protocol, anatomy(n_layers))


def anatomy(n_layers: int) -> Anatomy:
    """A model of three heads a block whose massive activation is written in its middle block."""
    massive = Massive(layer=n_layers // 2, dim=5, others=(1, 2))
    return Anatomy(
        n_layers=n_layers,
        heads=(4,) * n_layers,
        massive=massive,
        kv_heads=(2,) * n_layers,
        d_model=16,
        ranked=tuple(range(n_layers)),
    )


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
        (p, anatomy(n)): experiment.definition(p, anatomy(n)) for p in experiment.protocols for n in DEPTHS
    }
    assert len(set(digests.values())) == len(digests)
    assert digests == {key: experiment.definition(*key) for key in digests}


def test_experiments_have_different_definitions() -> None:
    assert len({e.definition(SOUND, anatomy(8)) for e in EXPERIMENTS.values()}) == len(EXPERIMENTS)


def test_head_sweep_zeroes_each_head_of_each_block_that_has_heads() -> None:
    found = EXPERIMENTS["head_sweep"].probes(SOUND, Anatomy(n_layers=3, heads=(2, 0, 1)))
    assert found == (zero(Stream.Z, 0, 0), zero(Stream.Z, 0, 1), zero(Stream.Z, 2, 0))
    digests = {
        EXPERIMENTS["head_sweep"].definition(SOUND, Anatomy(n_layers=3, heads=heads))
        for heads in ((2, 0, 1), (1, 0, 2))
    }
    assert len(digests) == 2


@pytest.mark.parametrize("heads", [(), (2, 2), (0, 0, 0)])
def test_head_sweep_without_the_heads_of_every_block_is_refused(heads: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs the query heads of 3 blocks"):
        EXPERIMENTS["head_sweep"].probes(SOUND, Anatomy(n_layers=3, heads=heads))


def test_head_sweep_has_no_published_definition() -> None:
    assert EXPERIMENTS["head_sweep"].protocols == (SOUND,)
    with pytest.raises(ValueError, match="no published definition"):
        EXPERIMENTS["head_sweep"].probes(PUBLISHED, Anatomy(n_layers=1, heads=(1,)))


@pytest.mark.parametrize(
    ("name", "protocol", "n_layers", "digest"),
    [
        (
            "early_exit",
            Protocol.PUBLISHED,
            18,
            "e32ed2b188d1f4d605058358fa147febf48a4a28772cb3e57c3ce69acd6435db",
        ),
        (
            "early_exit",
            Protocol.SOUND,
            18,
            "ff0e854150d52f515f2de417809858808d08ebe3dcda71863352f35c60d67b5c",
        ),
        (
            "layer_sets",
            Protocol.PUBLISHED,
            18,
            "68aa49a49d1695a2920dffa981979d1b83de33bec50cec1f2268fe192b98ae2e",
        ),
        (
            "layer_sets",
            Protocol.SOUND,
            18,
            "db75b10edab83266cc818a25e907c33c370d60d491199aefcbe21bb216949338",
        ),
        (
            "layer_sweep",
            Protocol.PUBLISHED,
            18,
            "a780c5fd663f9d679a3192161b787bd70a88e0500ddfb759a554f3fcb22fff1a",
        ),
        (
            "layer_sweep",
            Protocol.SOUND,
            18,
            "440d43edd63b036b1379ec4878700493bcb237350e35049d469bc10b8ee6b0b3",
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
            "b75198bb6a33132f6a53a10e23e6ab004836edc28c37524cccb01d22f9fc0c29",
        ),
        (
            "early_exit",
            Protocol.SOUND,
            30,
            "10f73157fbf003978780905fabc8311e611c41d8e175b9a898cacb500ea8f68c",
        ),
        (
            "layer_sets",
            Protocol.PUBLISHED,
            30,
            "709579510c9d70e82f75fe69472482064de96f7d7077f8da7a7397ce7f3e3ea4",
        ),
        (
            "layer_sets",
            Protocol.SOUND,
            30,
            "114e57832d841e67588295fd89ea09a657d583d153f74918598a857039bbbc93",
        ),
        (
            "layer_sweep",
            Protocol.PUBLISHED,
            30,
            "c8685aedee1699bce46b569d377c35caf9d5a518fd5a60cf336e0d87de0db7b5",
        ),
        (
            "layer_sweep",
            Protocol.SOUND,
            30,
            "9a06d1b94d2da5ac7603014b271c5128c38a48086d7b23188e434fa174ff9bac",
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
    assert EXPERIMENTS[name].definition(protocol, Anatomy(n_layers=n_layers)) == digest


def _other_probes(protocol: Protocol, model: Anatomy) -> tuple[Probe, ...]:
    first, *rest = EXPERIMENTS["layer_sweep"].probes(protocol, model)
    assert isinstance(first, Edit)
    return (replace(first, positions=(-1,)), *rest)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"revision": 2},
        {"prompts_per_family": 11},
        {"constancy": False},
        {"suite": "narrow"},
        {"families": ("arithmetic",)},
        {"donors": ("mean",)},
        {"contrasted": True},
        {"spotted": True},
        {"generates": 5},
        {"adapters": True},
        {"held_out": True},
        {"probes": _other_probes},
        {"probes": lambda *model: EXPERIMENTS["layer_sweep"].probes(*model)[:-1]},
        {"probes": lambda *model: EXPERIMENTS["layer_sweep"].probes(*model)[::-1]},
    ],
)
def test_the_definition_changes_with_whatever_is_measured(changes: dict[str, object]) -> None:
    base: Experiment = EXPERIMENTS["layer_sweep"]
    model = Anatomy(n_layers=8)
    assert replace(base).definition(SOUND, model) == base.definition(SOUND, model)
    assert replace(base, **changes).definition(SOUND, model) != base.definition(SOUND, model)  # type: ignore[arg-type]


def test_an_unknown_experiment_is_answered_with_the_known_ones() -> None:
    assert find_experiment("early_exit") is EXPERIMENTS["early_exit"]
    with pytest.raises(UnknownExperiment, match="no experiment 'layer_yoga'; known: layer_sweep, layer_sets"):
        find_experiment("layer_yoga")


def test_heads_that_share_keys_and_values_are_edited_together() -> None:
    """Two key-value heads of four query heads, and a block without heads."""
    model = Anatomy(n_layers=2, heads=(4, 0), kv_heads=(2, 0), d_model=16)
    names = [str(probe) for probe in EXPERIMENTS["head_groups"].probes(SOUND, model)]
    assert names[:4] == [f"patch L0H{head} from mean" for head in range(4)]
    assert names[4:] == ["patch L0H0, L0H1 from mean", "patch L0H2, L0H3 from mean"]
    each = replace(model, kv_heads=(4, 0))
    assert len(EXPERIMENTS["head_groups"].probes(SOUND, each)) == 4, "a group of one is the head itself"


def test_each_head_by_itself_comes_from_another_prompt() -> None:
    found = EXPERIMENTS["head_resample"].probes(SOUND, Anatomy(n_layers=3, heads=(2, 0, 1)))
    assert [str(probe) for probe in found] == [
        f"patch {head} from resample" for head in ("L0H0", "L0H1", "L2H0")
    ]


@pytest.mark.parametrize(
    ("name", "donor", "run"),
    [("sublayer_corrupt", "corrupt", "clean"), ("sublayer_clean", "clean", "corrupt")],
)
def test_each_sublayer_comes_from_the_other_prompt_of_the_pair(name: str, donor: str, run: str) -> None:
    experiment = EXPERIMENTS[name]
    assert [str(probe) for probe in experiment.probes(SOUND, Anatomy(n_layers=2))] == [
        f"patch {stream} L{layer} from {donor}" for stream in ("attn_out", "mlp_out") for layer in (0, 1)
    ]
    assert (experiment.runs, experiment.donors) == (run, (donor,))


def test_the_three_sites_called_a_head_have_as_many_channels() -> None:
    model = Anatomy(n_layers=12, heads=(4,) * 12, kv_heads=(2,) * 12, d_model=16)
    found = EXPERIMENTS["head_sites"].probes(PUBLISHED, model)
    assert len(found) == 6 * 4 * 3
    assert {probe.layers[0] for probe in found if isinstance(probe, Edit)} == {0, 2, 4, 7, 9, 11}
    assert [str(probe) for probe in found[3:6]] == [
        "zero L0H1",
        "zero attn_out L0[4,5,6,7]",
        "zero resid_post L0[4,5,6,7]",
    ]


@pytest.mark.parametrize(("n_layers", "layers"), [(24, {2, 7, 8, 13, 21, 22}), (28, {0, 1, 2, 3, 4, 5})])
def test_the_sites_of_the_atlas_stand_in_the_blocks_that_it_measured(n_layers: int, layers: set[int]) -> None:
    model = Anatomy(n_layers=n_layers, heads=(2,) * n_layers, kv_heads=(1,) * n_layers, d_model=8)
    found = EXPERIMENTS["head_sites"].probes(PUBLISHED, model)
    assert {probe.layers[0] for probe in found if isinstance(probe, Edit)} == layers


def test_controls() -> None:
    assert str(NO_OP) == "patch L0 from self"
    assert str(skip_everything(30)) == "skip L0-L29"
    assert str(skip_everything(1)) == "skip L0"
