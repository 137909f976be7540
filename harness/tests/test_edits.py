"""Edits: what they print as, what is refused, and that JSON keeps all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.edits import (
    MODULES,
    Action,
    Edit,
    Exit,
    InvalidEdit,
    Probe,
    Site,
    Stream,
    cut,
    erase,
    format_layers,
    from_json,
    patch,
    skip,
    to_json,
    zero,
)

LAYERS = st.integers(0, 200)
STREAMS = [s for s in Stream if s is not Stream.Z and s not in MODULES]
SITES = st.one_of(
    st.builds(Site, layer=LAYERS, stream=st.sampled_from(STREAMS)),
    st.builds(Site, layer=LAYERS, stream=st.just(Stream.Z), head=st.integers(0, 64)),
)
POSITIONS = st.none() | st.lists(st.integers(-30, 30), min_size=1, max_size=4).map(tuple)


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    """Any edit that can be built, several sites and positions included."""
    action = draw(st.sampled_from(list(Action)))
    blocks = st.builds(Site, layer=LAYERS, stream=st.just(Stream.RESID_POST))
    attention = st.builds(Site, layer=LAYERS, stream=st.just(Stream.ATTN_OUT))
    kind = {Action.SKIP: blocks, Action.CUT: attention}.get(action, SITES)
    sites = draw(st.lists(kind, min_size=1, max_size=5, unique=True))
    ordered = tuple(sorted(sites, key=lambda s: (s.layer, s.stream, -1 if s.head is None else s.head)))
    donor = draw(st.text(min_size=1, max_size=8)) if action in (Action.PATCH, Action.ADD) else None
    positions = draw(POSITIONS)
    spot = draw(st.none() | st.sampled_from(["operator", "last"])) if positions is None else None
    if action is Action.CUT:
        assume(spot != "last" and -1 not in (positions or ()))
    strength = draw(st.floats(-8, 8)) if action is Action.ADD else None
    return Edit(sites=ordered, action=action, positions=positions, donor=donor, spot=spot, strength=strength)


MODULE_EDITS = st.builds(zero, st.sampled_from(MODULES), LAYERS)
PROBES = edits() | MODULE_EDITS | st.builds(Exit, layer=LAYERS, normed=st.booleans())


@given(PROBES)
@example(patch(Stream.Z, 3, "corrupt", head=0, positions=(0, -1)))
def test_json_gives_every_probe_back(probe: Probe) -> None:
    again = from_json(json.loads(json.dumps(to_json(probe))))

    assert again == probe
    assert hash(again) == hash(probe)
    assert str(again) == str(probe)


@given(PROBES, PROBES)
def test_different_probes_have_different_json(one: Probe, two: Probe) -> None:
    assert (to_json(one) == to_json(two)) == (one == two)


@pytest.mark.parametrize(
    ("probe", "name"),
    [
        (skip(14), "skip L14"),
        (skip(8, 4, 5, 6, 7, 15), "skip L4-L8+L15"),
        (erase(0), "erase L0"),
        (erase(3, 4), "erase L3-L4"),
        (zero(Stream.ATTN_OUT, 2), "zero attn_out L2"),
        (zero(Stream.MLP_OUT, 2), "zero mlp_out L2"),
        (zero(Stream.Z, 14, head=3), "zero L14H3"),
        (patch(Stream.RESID_POST, 0, "self"), "patch L0 from self"),
        (patch(Stream.Z, 1, "clean", head=2, positions=(-1,)), "patch L1H2 from clean at -1"),
        (Exit(layer=7, normed=True), "exit L7 normed"),
        (Exit(layer=7, normed=False), "exit L7 without norm"),
    ],
)
def test_printed_names(probe: Probe, name: str) -> None:
    assert str(probe) == name


def test_an_erase_at_some_positions_says_which() -> None:
    everywhere = erase(2)
    there = Edit(sites=everywhere.sites, action=Action.ZERO, positions=(0, 3))
    assert str(there) == "erase L2 at 0,3"


def test_zero_of_a_block_and_a_sublayer_together_is_not_called_an_erase() -> None:
    sites = (Site(layer=1, stream=Stream.ATTN_OUT), Site(layer=1, stream=Stream.RESID_POST))
    assert str(Edit(sites=sites, action=Action.ZERO)) == "zero attn_out L1, resid_post L1"


def test_layers_and_blocks() -> None:
    sites = (Site(layer=1, stream=Stream.ATTN_OUT), Site(layer=4, stream=Stream.RESID_POST))
    edit = Edit(sites=sites, action=Action.ZERO)
    assert edit.layers == (1, 4)
    assert edit.blocks == (4,)


def test_blocks_are_sorted_and_counted_once() -> None:
    assert skip(5, 3, 5) == skip(3, 5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sites": ()}, "at least one"),
        ({"sites": (Site(layer=2, stream=Stream.MLP_OUT), Site(layer=1, stream=Stream.MLP_OUT))}, "sorted"),
        ({"sites": (Site(layer=1, stream=Stream.MLP_OUT),) * 2}, "distinct"),
        (
            {"sites": (Site(layer=1, stream=Stream.MLP_OUT),), "action": Action.SKIP},
            "^skip is defined at resid_post only: it routes around a block$",
        ),
        ({"sites": (Site(layer=1, stream=Stream.Z, head=0),), "action": Action.SKIP}, "resid_post only"),
        ({"action": Action.PATCH}, "^a donor is named for a patch or an addition, and for nothing else$"),
        ({"donor": "clean"}, "donor"),
        ({"action": Action.SKIP, "donor": "clean"}, "donor"),
        ({"positions": ()}, "^an edit at no position does nothing; leave positions out to mean all$"),
    ],
)
def test_an_edit_without_a_meaning_is_refused(fields: dict[str, Any], said: str) -> None:
    sound: dict[str, Any] = {
        "sites": (Site(layer=1, stream=Stream.RESID_POST),),
        "action": Action.ZERO,
    }
    Edit(**sound)
    with pytest.raises(InvalidEdit, match=said):
        Edit(**{**sound, **fields})


@pytest.mark.parametrize(
    ("layer", "stream", "head"),
    [(-1, Stream.RESID_POST, None), (0, Stream.RESID_POST, 0), (0, Stream.ATTN_OUT, 1), (0, Stream.Z, None)],
)
def test_a_site_without_a_meaning_is_refused(layer: int, stream: Stream, head: int | None) -> None:
    with pytest.raises(InvalidEdit, match=f"layer {layer}|at L{layer}"):
        Site(layer=layer, stream=stream, head=head)


def test_an_exit_before_the_first_block_is_refused() -> None:
    Exit(layer=0, normed=True)
    with pytest.raises(InvalidEdit, match="layer -1"):
        Exit(layer=-1, normed=True)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"sites": [[0, "resid_post"]]},
        {"action": "melt", "sites": [[0, "resid_post"]]},
        {"action": "zero", "sites": [[0, "resid_pre"]]},
        {"action": "zero", "sites": []},
        {"action": "zero", "sites": [[-1, "resid_post"]]},
        {"action": "zero", "sites": [[0, "z"]]},
        {"action": "skip", "sites": [[0, "resid_post"]], "donor": "clean"},
        {"exit": 3},
    ],
)
def test_json_of_no_probe_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        from_json(value)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ((), ""),
        ((0,), "L0"),
        ((4, 5), "L4-L5"),
        ((4, 5, 6, 8), "L4-L6+L8"),
        ((0, 2, 4), "L0+L2+L4"),
        ((9, 10, 11, 20, 21), "L9-L11+L20-L21"),
    ],
)
def test_format_layers(layers: tuple[int, ...], text: str) -> None:
    assert format_layers(layers) == text


@given(st.sets(LAYERS, min_size=1))
def test_format_layers_names_each_layer_once(layers: set[int]) -> None:
    said: list[int] = []
    for part in format_layers(tuple(sorted(layers))).split("+"):
        ends = [int(end.removeprefix("L")) for end in part.split("-")]
        said += range(ends[0], ends[-1] + 1)
    assert said == sorted(layers)


@given(
    dims=st.sets(st.integers(0, 600), min_size=1).map(lambda s: tuple(sorted(s))),
    head=st.none() | st.integers(0, 8),
    positions=POSITIONS,
)
def test_json_gives_dimensions_back(
    dims: tuple[int, ...], head: int | None, positions: tuple[int, ...] | None
) -> None:
    stream = Stream.MLP_OUT if head is None else Stream.Z
    edit = zero(stream, 3, head, positions=positions, dims=dims)
    assert from_json(json.loads(json.dumps(to_json(edit)))) == edit
    assert to_json(edit) != to_json(zero(stream, 3, head, positions=positions))


def test_an_edit_of_some_dimensions_names_them_and_is_not_one_of_the_block() -> None:
    edit = zero(Stream.RESID_POST, 11, positions=(0,), dims=(7, 507))
    assert str(edit) == "zero resid_post L11[7,507] at 0"
    assert edit.blocks == ()
    assert edit.layers == (11,)
    assert str(Edit(sites=(Site(layer=2, stream=Stream.RESID_POST, dims=(1,)),), action=Action.SKIP)) == (
        "skip resid_post L2[1]"
    )


@pytest.mark.parametrize("dims", [(3, 1), (1, 1), (-1,)])
def test_dimensions_without_a_meaning_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(InvalidEdit, match="must ascend"):
        Site(layer=0, stream=Stream.MLP_OUT, dims=dims)


def test_one_activation_is_one_site() -> None:
    sites = tuple(Site(layer=0, stream=Stream.MLP_OUT, dims=dims) for dims in ((), (1,)))
    with pytest.raises(InvalidEdit, match="one site"):
        Edit(sites=sites, action=Action.ZERO)


def test_the_heads_of_an_edit_are_its_sites_in_z() -> None:
    sites = (
        Site(layer=1, stream=Stream.MLP_OUT),
        Site(layer=1, stream=Stream.Z, head=0),
        Site(layer=2, stream=Stream.Z, head=3),
    )
    assert Edit(sites=sites, action=Action.ZERO).heads == sites[1:]
    assert erase(3).heads == ()


@pytest.mark.parametrize(
    ("probe", "value"),
    [
        (skip(3), {"action": "skip", "sites": [[3, "resid_post"]]}),
        (zero(Stream.Z, 2, 5), {"action": "zero", "sites": [[2, "z", 5]]}),
        (
            patch(Stream.MLP_OUT, 1, "clean", positions=(0, -1)),
            {"action": "patch", "sites": [[1, "mlp_out"]], "positions": [0, -1], "donor": "clean"},
        ),
        (zero(Stream.MLP_OUT, 1, dims=(4, 7)), {"action": "zero", "sites": [[1, "mlp_out", None, [4, 7]]]}),
        (Exit(layer=7, normed=False), {"exit": 7, "normed": False}),
    ],
)
def test_the_json_of_recorded_evidence_keeps_its_form(probe: Probe, value: dict[str, Any]) -> None:
    assert to_json(probe) == value


def test_each_maker_of_an_edit_passes_on_what_it_is_given() -> None:
    head = patch(Stream.Z, 1, "clean", head=2, positions=(-1,), dims=(4, 7))
    assert head.sites == (Site(layer=1, stream=Stream.Z, head=2, dims=(4, 7)),)
    assert (head.action, head.donor, head.positions) == (Action.PATCH, "clean", (-1,))
    zeroed = zero(Stream.Z, 1, 2, positions=(0,), dims=(4, 7))
    assert (zeroed.sites, zeroed.action, zeroed.positions) == (head.sites, Action.ZERO, (0,))
    for edit, action in ((skip(3, 1), Action.SKIP), (erase(3, 1), Action.ZERO)):
        assert edit.sites == tuple(Site(layer=layer, stream=Stream.RESID_POST) for layer in (1, 3))
        assert (edit.action, edit.positions, edit.donor) == (action, None, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positions": (0, -1)}, "no source itself"),
        ({"spot": "last"}, "no source itself"),
        ({"positions": ()}, "no position"),
        ({"donor": "mean"}, "donor"),
        ({"strength": 1.0}, "strength"),
        ({"sites": (Site(layer=0, stream=Stream.MLP_OUT),)}, "name attn_out, whole"),
        ({"sites": (Site(layer=0, stream=Stream.Z, head=1),)}, "name attn_out, whole"),
        ({"sites": (Site(layer=0, stream=Stream.ATTN_OUT, dims=(2,)),)}, "name attn_out, whole"),
    ],
)
def test_a_cut_that_means_nothing_is_refused(fields: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {"sites": (Site(layer=0, stream=Stream.ATTN_OUT),), "action": Action.CUT}
    Edit(**sound)
    with pytest.raises(InvalidEdit, match=message):
        Edit(**{**sound, **fields})


@pytest.mark.parametrize(
    ("probe", "name"),
    [
        (cut(4, 3, 5, spot="content"), "cut L3-L5 from content"),
        (cut(2, positions=(0, -2)), "cut L2 from 0,-2"),
        (cut(0, 1, 7), "cut L0-L1+L7 from all others"),
    ],
)
def test_cuts_print_and_come_back_from_json(probe: Edit, name: str) -> None:
    assert str(probe) == name
    assert from_json(to_json(probe)) == probe
    assert probe.somewhere
    assert not zero(Stream.ATTN_OUT, 2).somewhere
