"""Which rows a criterion on adapters reads, what it reads of them, and what it says of rows that cannot be read."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.adapters.values import SOUND, Adapted, Graft, Kind, Part
from harness.edits import Site, Stream, skip, zero
from harness.effects import Effects, pool
from harness.verdicts.adapter_criteria import Measure, Spread
from harness.verdicts.adapter_reading import Series, read_series
from harness.verdicts.adapter_selectors import AdapterRows, BlockSet, On, block_of
from harness.verdicts.reading import measured
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.verdict import MissingEvidence

NAME = "adapter_layers"
PART = Part(family="json_schema", recipe=SOUND)
OTHER = replace(PART, family="copying")
LAST, CONTRIBUTION, ANOTHERS = Graft.LAST, Graft.CONTRIBUTION, Graft.ANOTHERS_LAST


def whole(text: str) -> str:
    return f"^{re.escape(text)}$"


def row(parts=(PART,), *, whole=False, **given) -> Adapted:
    return Adapted(parts=parts, against="whole" if whole else "base", **given)


# --- what of an adapter is on

BOTH = tuple(Site(layer=at, stream=Stream.MLP_OUT) for at in (1, 2))
STATES = [
    (row(), On.WHOLE),
    (row(whole=True), None),
    (row(only=()), None),
    (row(only=(), whole=True), On.NONE),
    (row(only=(0,)), On.ONLY),
    (row(only=(2,)), On.ONLY),
    (row(only=(2,), whole=True), None),
    (row(only=(0, 1)), None),
    (row(only=(0,), whole=True), On.ONLY_UP_TO),
    (row(only=(0, 1, 2), whole=True), On.ONLY_UP_TO),
    (row(only=(1, 2), whole=True), None),
    (row(off=(0,)), On.STREAM_BACK),
    (row(off=(0, 1)), On.STREAM_BACK),
    (row(off=(1,)), None),
    (row(off=(1,), whole=True), On.OFF),
    (row(off=(0, 1), whole=True), On.OFF_UP_TO),
    (row(off=(1, 2), whole=True), None),
    (row(only=(1,), graft=CONTRIBUTION, whole=True), On.CONTRIBUTION),
    (row(only=(1,), graft=LAST, whole=True), On.LAST),
    (row(only=(1,), graft=ANOTHERS, whole=True), On.ANOTHERS_LAST),
    (row(only=(1,), graft=CONTRIBUTION), None),
    (row(only=(1,), graft=LAST), None),
    (row(only=(1,), graft=ANOTHERS), None),
    (row(only=(0,), graft=LAST, whole=True), On.LAST),
    (row(only=(0,), graft=LAST), None),
    (row(only=(1,), graft=CONTRIBUTION, into="adapted"), On.CONTRIBUTION_BACK),
    (row(only=(1,), graft=LAST, into="adapted"), On.LAST_BACK),
    (row(edit=zero(Stream.MLP_OUT, 2)), On.WITHOUT_MLP),
    (row(edit=zero(Stream.MLP_OUT, 2), whole=True), On.WITHOUT_MLP),
    (row(edit=zero(Stream.ATTN_OUT, 2)), None),
    (row(edit=skip(2)), None),
    (row(edit=replace(zero(Stream.MLP_OUT, 2), sites=BOTH)), None),
]


@pytest.mark.parametrize(("probe", "on"), STATES, ids=lambda x: str(x))
def test_each_row_is_of_one_state_alone(probe, on):
    found = {state for state in On if AdapterRows(on=state).keep(probe, 3)}
    also = {On.OFF_UP_TO} if probe == row(off=(0,), whole=True) else set()
    assert found == {on} - {None} | also
    if on is not None and on.names_a_block:
        assert block_of(probe) == max(probe.layers)


def test_off_in_the_first_block_is_off_up_to_it_too():
    found = [state for state in On if AdapterRows(on=state).keep(row(off=(0,), whole=True), 3)]
    assert found == [On.OFF, On.OFF_UP_TO]


def test_the_properties_of_each_state():
    back = {On.STREAM_BACK, On.CONTRIBUTION_BACK, On.LAST_BACK}
    curve = {On.ONLY_UP_TO, On.OFF_UP_TO, On.LAST, On.STREAM_BACK, On.LAST_BACK}
    for on in On:
        assert on.names_a_block == (on not in {On.WHOLE, On.NONE})
        assert (on.is_back, on.is_curve, on.is_edited) == (on in back, on in curve, on is On.WITHOUT_MLP)


@pytest.mark.parametrize(
    ("probe", "given", "kept"),
    [
        (row(off=(1,), whole=True), {}, True),
        (row((replace(PART, step=100),), off=(1,), whole=True), {}, True),  # the last step
        (row((replace(PART, step=50),), off=(1,), whole=True), {}, False),
        (row((replace(PART, step=50),), off=(1,), whole=True), {"recipe": "sound"}, False),
        (row(off=(1,), whole=True), {"recipe": "sound"}, True),
        (row(off=(1,), whole=True), {"recipe": "published"}, False),
        (row(off=(1,), whole=True), {"family": "copying"}, False),
        (row((OTHER,), off=(1,), whole=True), {}, False),
        (row((OTHER,), off=(1,), whole=True), {"family": "copying"}, True),
        (row((replace(PART, kind=Kind.RANDOM),), off=(1,), whole=True), {}, False),
        (row((replace(PART, kind=Kind.RANDOM),), off=(1,), whole=True), {"kind": Kind.RANDOM}, True),
        (row((replace(PART, weight=0.5),), off=(1,), whole=True), {}, False),
        (row((replace(PART, weight=0.5),), off=(1,), whole=True), {"weight": 0.5}, True),
        (row((PART, OTHER), off=(1,), whole=True), {}, False),
        (row(off=(1,), modules=SOUND.modules[:1], whole=True), {}, False),
        (row(off=(1,), rank=2, whole=True), {}, False),
        (row(off=(1,), merge="svd", whole=True), {}, False),
        (row(off=(1,), merge="svd", rank=2, whole=True), {}, False),
        (row(off=(1,), whole=True), {"blocks": BlockSet(layers=(-2,))}, True),
        (row(off=(1,), whole=True), {"blocks": BlockSet(layers=(0, 2))}, False),
        (skip(1), {}, False),
    ],
)
def test_whose_row_it_is(probe, given, kept):
    assert AdapterRows(on=On.OFF, **given).keep(probe, 3) is kept
    if isinstance(probe, Adapted) and probe.off and "blocks" not in given:
        whole = replace(probe, off=(), against="base")
        assert AdapterRows(on=On.WHOLE, **given).keep(whole, 3) is kept


@pytest.mark.parametrize("recipe", [None, "sound"])
def test_edited_rows_are_read_where_edits_are_meant(recipe):
    edited, plain = row(edit=zero(Stream.MLP_OUT, 1)), row()
    kept = [
        [AdapterRows(on=on, recipe=recipe).keep(x, 3) for x in (edited, plain)]
        for on in (On.WITHOUT_MLP, On.WHOLE)
    ]
    assert kept == [[True, False], [False, True]]


def test_a_row_of_no_block():
    with pytest.raises(ValueError, match=whole("'json_schema (sound) on' is of no block")):
        block_of(row())
    assert block_of(row(off=(0, 1, 2))) == 2
    with pytest.raises(ValueError, match=whole("AdapterRows(in no block, L0+L2): such a row is of no block")):
        AdapterRows(on=On.NONE, blocks=BlockSet(layers=(0, 2)))
    assert AdapterRows(on=On.WHOLE).blocks == BlockSet()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (AdapterRows(on=On.WHOLE), "the json_schema adapter wholly on"),
        (
            AdapterRows(on=On.ONLY, family="copying"),
            "the copying adapter on in one block alone (every block)",
        ),
        (
            AdapterRows(on=On.WHOLE, kind=Kind.RANDOM),
            "a random update like the json_schema adapter wholly on",
        ),
        (
            AdapterRows(on=On.OFF, recipe="rank_16", weight=0.5, blocks=BlockSet(layers=(-1,))),
            "0.5 x the json_schema adapter (rank_16) off in one block (the last block)",
        ),
        (AdapterRows(on=On.WHOLE, weight=2.0), "2 x the json_schema adapter wholly on"),
    ],
)
def test_rows_in_words(rows, said):
    assert str(rows) == said


# --- blocks


@pytest.mark.parametrize(
    ("blocks", "of_four", "said"),
    [
        (BlockSet(), (0, 1, 2, 3), "every block"),
        (BlockSet(layers=(0,)), (0,), "L0"),
        (BlockSet(layers=(0, 1, 3)), (0, 1, 3), "L0-L1+L3"),
        (BlockSet(layers=(-1,)), (3,), "the last block"),
        (BlockSet(layers=(-2, -1)), (2, 3), "the last 2 blocks"),
        (BlockSet(layers=(-2,)), (2,), "block -2 from the end"),
        (BlockSet(layers=(-3, -1)), (1, 3), "block -3 from the end, block -1 from the end"),
        (BlockSet(layers=(-1, 0)), (0, 3), "block -1 from the end, L0"),
        (BlockSet(layers=(-4, 0)), (0,), "block -4 from the end, L0"),
        (BlockSet(layers=(-1, 2)), (2, 3), "block -1 from the end, L2"),
        (BlockSet(layers=(-5, 4)), (-1, 4), "block -5 from the end, L4"),
        (BlockSet(to_depth=0.5), (0, 1), "blocks in the first 50% of the depth"),
        (BlockSet(from_depth=0.5), (2, 3), "blocks in the last 50% of the depth"),
        (BlockSet(from_depth=0.25, to_depth=0.75), (1, 2), "blocks from 25% to 75% of the depth"),
        (BlockSet(from_depth=0.8), (), "blocks in the last 20% of the depth"),
        (BlockSet(to_depth=0.1), (0,), "blocks in the first 10% of the depth"),
    ],
)
def test_blocks_of_four(blocks, of_four, said):
    assert blocks.of(4) == of_four
    assert str(blocks) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"from_depth": 0.5, "to_depth": 0.5},
            "BlockSet from 0.5 to 0.5: shares of the depth ascend from 0 to 1",
        ),
        ({"from_depth": -0.1}, "BlockSet from -0.1 to 1.0: shares of the depth ascend from 0 to 1"),
        ({"to_depth": 1.1}, "BlockSet from 0.0 to 1.1: shares of the depth ascend from 0 to 1"),
        (
            {"layers": (1,), "to_depth": 0.5},
            "BlockSet: name blocks by number, or by their share of the depth",
        ),
        (
            {"layers": (1,), "from_depth": 0.5},
            "BlockSet: name blocks by number, or by their share of the depth",
        ),
        ({"layers": (2, 1)}, "BlockSet(2, 1): blocks ascend"),
        ({"layers": (1, 1)}, "BlockSet(1, 1): blocks ascend"),
    ],
)
def test_blocks_that_are_none(given, said):
    with pytest.raises(ValueError, match=whole(said)):
        BlockSet(**given)


# --- reading


def rows_of(on: On, n: int) -> list[Adapted]:
    if on is On.OFF:
        return [row(off=(at,), whole=True) for at in range(n)]
    return [row(off=tuple(range(at + 1)), whole=True) for at in range(n)]


def made(probes, kl, norms=None, *, seed=1, families=2) -> Effects:
    found = table(probes, {"kl_nats": kl}, noise=0.0, families=families, templates=1, prompts=2, seed=seed)
    wide = np.repeat([[float(x)] for x in norms or [1.0] * len(kl)], len(found.prompts), axis=1)
    return replace(found, metrics={**found.metrics, "factor_norm": wide}, floor_nats=0.125)


def of(on: On, blocks=BlockSet(), **given) -> Measure:  # noqa: B008
    return Measure(rows=AdapterRows(on=on, blocks=blocks), **given)


def read(measure: Measure, *tables: Effects, n_layers=4) -> Series:
    return read_series(measured({NAME: pool(tables)}, n_layers), NAME, measure)


@pytest.mark.parametrize(
    ("blocks", "layers"),
    [
        (BlockSet(), (0, 1, 2, 3)),
        (BlockSet(layers=(-3, 3)), (1, 3)),
        (BlockSet(layers=(0,)), (0,)),
        (BlockSet(layers=(-1,)), (3,)),
    ],
)
@pytest.mark.parametrize("metric", ["kl_nats", "factor_norm"])
def test_blocks_are_read_in_their_order(blocks, layers, metric):
    order = [2, 0, 3, 1]
    probes = [rows_of(On.OFF, 4)[at] for at in order]
    found = made(probes, [at + 0.5 for at in order], [at + 2 for at in order])
    series = read(of(On.OFF, blocks, metric=metric), found)
    assert (series.layers, series.metric, series.problem) == (layers, metric, None)
    assert series.values.tolist() == [[at + (0.5 if metric == "kl_nats" else 2)] * 4 for at in layers]
    assert series.prompts == found.prompts
    assert series.floor_nats == (0.125 if metric == "kl_nats" else 0.0)
    assert series.constant is (metric == "factor_norm")


def test_a_constant_has_one_number_a_training_by_ascending_seed():
    """One prompt of one seed, and two of another."""
    prompts = made([row()], [1.0], families=1).prompts
    later, earlier = (replace(prompts[0], seed=9),), tuple(replace(p, seed=3) for p in prompts)
    series = Series(
        layers=(0, 1),
        values=np.array([[1.0, 2.0, 2.0], [3.0, 4.0, 4.0]]),
        prompts=later + earlier,
        metric="factor_norm",
        problem=None,
        floor_nats=0.0,
    )
    assert series.by_training().tolist() == [[2.0, 1.0], [4.0, 3.0]]
    second = series.at(np.array([False, True]))
    assert (second.layers, second.values.tolist()) == ((1,), [[3.0, 4.0, 4.0]])


@pytest.mark.parametrize("on", [On.WHOLE, On.NONE])
def test_the_one_row_that_names_no_block(on):
    probes = [row(only=(1,)), row(), row(only=(), whole=True)]
    found = made(probes, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    series = read(of(on), found)
    assert (series.layers, series.values.tolist()) == ((), [[2.0 if on is On.WHOLE else 3.0] * 4])
    assert (series.problem, series.metric, series.floor_nats) == (None, "kl_nats", 0.125)
    assert read(of(on, metric="factor_norm"), found).values.tolist() == [[5.0 if on is On.WHOLE else 6.0] * 4]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([4.0, 4.0, 4.0, 4.0], None),
        ([4.0, 4.0, 4.0 * (1 + 0.9e-6), 4.0], None),
        ([4.0, 4.0, 4.0 * (1 + 1.1e-6), 4.0], 1),
        ([4.0, 4.0, 4.0 * (1 - 1.1e-6), 4.0], 1),
        ([4.0, 4.0, -4.0, 4.0], 1),
        ([0.0, 0.0, 0.0, 0.0], None),
        ([1e-8, 1e-8, 1.1e-8, 1e-8], 1),
    ],
)
@pytest.mark.parametrize("on", [On.WHOLE, On.OFF])
def test_a_constant_is_one_number_a_training(values, problem, on):
    """In a table of two trainings, each with its own, beside a block whose number is larger."""
    probes = [row()] if on is On.WHOLE else rows_of(On.OFF, 2)
    tables = [made(probes, [1.0] * len(probes), [9.0] * len(probes), seed=seed) for seed in (1, 2)]
    metrics = tables[0].metrics
    own = np.array([values, [1e3] * 4][: len(probes)])
    tables[0] = replace(tables[0], metrics={**metrics, "factor_norm": own, "kl_nats": own})
    series = read(of(on, metric="factor_norm"), *tables, n_layers=2)
    said = "factor_norm differs between prompts of seed 1: it is a number of the adapter"
    assert series.problem == (said if problem else None)
    assert read(of(on), *tables, n_layers=2).problem is None


@pytest.mark.parametrize("on", [On.WHOLE, On.OFF])
def test_a_number_that_is_none_is_told_before_what_differs(on):
    probes = [row()] if on is On.WHOLE else rows_of(On.OFF, 2)
    found = with_value(made(probes, [1.0] * len(probes)), "factor_norm", 0, 1, np.nan)
    series = read(of(on, metric="factor_norm"), found, n_layers=2)
    assert series.problem.startswith("factor_norm of 'json_schema (sound) on")
    assert series.problem.endswith(
        f"is nan on the prompt 'family00 0 1 of seed 1'; 1 of {4 * len(probes)} values are not finite"
    )


# --- increments


@pytest.mark.parametrize(
    ("blocks", "layers"), [(BlockSet(), (0, 1, 2, 3)), (BlockSet(layers=(1, 2)), (1, 2))]
)
def test_increments_are_differences_and_roots_of_differences_of_squares(blocks, layers):
    found = made(rows_of(On.OFF_UP_TO, 4), [0.5, 2.0, 1.75, 3.0], [0.0, 3.0, 5.0, 5.0])
    effects = read(of(On.OFF_UP_TO, blocks, increments=True), found)
    assert (effects.layers, effects.values.tolist()) == (
        layers,
        [[[0.5, 1.5, -0.25, 1.25][at]] * 4 for at in layers],
    )
    norms = read(of(On.OFF_UP_TO, blocks, increments=True, metric="factor_norm"), found)
    assert (norms.layers, norms.values.tolist()) == (
        layers,
        [[[0.0, 3.0, 4.0, 0.0][at]] * 4 for at in layers],
    )


@pytest.mark.parametrize(
    ("scale", "short", "falls"),
    [(1e3, 0.4e-9, False), (1e3, 0.6e-9, True), (1e-3, 0.4e-9, False), (1e-3, 0.6e-9, True)],
)
def test_a_norm_falls_where_its_square_does_by_more_than_a_thousand_millionth(scale, short, falls):
    found = made(rows_of(On.OFF_UP_TO, 2), [1.0, 1.0], [scale, scale * (1 - short)])
    measure = of(On.OFF_UP_TO, increments=True, metric="factor_norm")
    if not falls:
        assert read(measure, found, n_layers=2).values.tolist() == [[scale] * 4, [0.0] * 4]
        return
    with pytest.raises(MissingEvidence) as raised:
        read(measure, found, n_layers=2)
    assert str(raised.value) == (
        "factor_norm falls from one block to the next for: the json_schema adapter off from L0 to a block (every "
        "block); increments need the norm of the blocks from L0 on"
    )


# --- what cannot be read

OFF_ROWS = "the json_schema adapter off in one block ({})"


@pytest.mark.parametrize(
    ("there", "measure", "said"),
    [
        ((0, 2), of(On.OFF), f"'{NAME}' lacks L1, L3 for: {OFF_ROWS.format('every block')}"),
        ((0, 2), of(On.OFF, BlockSet(layers=(2, 3))), f"'{NAME}' lacks L3 for: {OFF_ROWS.format('L2-L3')}"),
        (
            (0, 1, 2, 2, 3),
            of(On.OFF),
            f"'{NAME}' holds L2 2 times for: {OFF_ROWS.format('every block')}",
        ),
        (
            (0, 1, 2, 3),
            of(On.OFF, BlockSet(layers=(3, 4))),
            "the criterion names L3-L4, but the model has layers L0 to L3: mend the card, or judge it on the model it "
            "is about",
        ),
        (
            (0, 1, 2, 3),
            of(On.OFF, BlockSet(layers=(-5, 1))),
            "the criterion names block -5 from the end, L1, but the model has layers L0 to L3: mend the card, or judge "
            "it on the model it is about",
        ),
        (
            (0, 1, 2, 3),
            of(On.OFF, BlockSet(from_depth=0.8)),
            "the criterion names blocks in the last 20% of the depth, but the model has layers L0 to L3: mend the "
            "card, or judge it on the model it is about",
        ),
    ],
)
def test_blocks_that_are_missing_or_there_twice(there, measure, said):
    recipes = [SOUND if at not in there[:i] else replace(SOUND, name="again") for i, at in enumerate(there)]
    probes = [
        row((replace(PART, recipe=r),), off=(at,), whole=True) for r, at in zip(recipes, there, strict=True)
    ]
    with pytest.raises(MissingEvidence) as raised:
        read(measure, made(probes, [1.0] * len(probes)))
    assert str(raised.value) == said


def test_blocks_that_nobody_asks_about_may_be_missing_but_for_increments():
    probes = [rows_of(On.OFF_UP_TO, 4)[at] for at in (1, 2)]
    found = made(probes, [1.0, 3.0])
    assert read(of(On.OFF_UP_TO, BlockSet(layers=(2,))), found).values.tolist() == [[3.0] * 4]
    with pytest.raises(MissingEvidence) as raised:
        read(of(On.OFF_UP_TO, BlockSet(layers=(1, 2)), increments=True), found)
    rows = "the json_schema adapter off from L0 to a block (L1-L2)"
    assert str(raised.value) == f"'{NAME}' lacks L0 for: {rows}"
    with pytest.raises(MissingEvidence) as raised:
        read(
            of(On.OFF_UP_TO, BlockSet(layers=(0, 1, 3)), increments=True),
            made(rows_of(On.OFF_UP_TO, 2), [1.0, 2.0]),
        )
    assert (
        str(raised.value)
        == f"'{NAME}' lacks L2, L3 for: the json_schema adapter off from L0 to a block (L0-L1+L3)"
    )
    up_to_there = made(rows_of(On.OFF_UP_TO, 3), [1.0, 3.0, 4.0])
    assert read(of(On.OFF_UP_TO, BlockSet(layers=(0, 2)), increments=True), up_to_there).values.tolist() == [
        [1.0] * 4,
        [1.0] * 4,
    ]


def test_one_row_is_meant_where_no_block_is_named_and_a_spread_is_no_row():
    probes = [row(), row((replace(PART, recipe=replace(SOUND, name="again")),))]
    with pytest.raises(MissingEvidence) as raised:
        read(of(On.WHOLE), made(probes, [1.0, 2.0]))
    assert str(raised.value) == f"'{NAME}' holds 2 rows for: the json_schema adapter wholly on; one is meant"
    spread = Spread(rows=AdapterRows(on=On.OFF))
    with pytest.raises(TypeError) as raised_type:
        read(spread, made(rows_of(On.OFF, 4), [1.0] * 4))
    assert str(raised_type.value) == (
        f"the {spread} is one number, not one a block: compare it with another by AdapterRatio"
    )
