from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from harness.bench.contenders import ENTRIES, OURS, find_entry
from harness.bench.plan import Plan, scaling_cells
from harness.bench.workload import (
    BenchPrompt,
    SimpleEdit,
    Workload,
    all_edits,
    build_workload,
    sample_of_edits,
    sample_of_prompts,
)
from harness.edits import Stream, erase, zero
from tasks.suites import SUITES
from tasks.tokens import Encode


@pytest.fixture(scope="module")
def encode() -> Encode:
    """A byte-level BPE trained on the suite."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [p.clean.text + p.clean.answer for family in SUITES["full"] for p in family.candidates()]
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return lambda text: list(tokenizer.encode(text).ids)


@pytest.mark.parametrize("name", ["template", "suite"])
def test_a_workload_is_three_distinct_prompts_of_each_family(encode: Encode, name: str) -> None:
    workload = build_workload(name, encode)  # type: ignore[arg-type]
    assert Counter(p.family for p in workload.prompts) == {family.name: 3 for family in SUITES["full"]}
    assert len({p.text for p in workload.prompts}) == 36
    for prompt in workload.prompts:
        assert list(prompt.ids) == encode(prompt.text)
        assert prompt.answer != prompt.foil


def test_prompts_of_one_template_share_more_than_a_suite_draw(encode: Encode) -> None:
    def shared(name: str) -> float:
        described = build_workload(name, encode).describe()  # type: ignore[arg-type]
        return 1 - described["distinct_prefixes"] / described["tokens"]

    templates = defaultdict(set)
    for prompt in build_workload("template", encode).prompts:
        templates[prompt.family].add(prompt.template)
    assert all(len(found) == 1 for found in templates.values())
    assert shared("template") > 2 * shared("suite")


def test_where_a_template_has_short_prompts_they_are_taken(encode: Encode) -> None:
    lengths = defaultdict(list)
    for family in SUITES["full"]:
        for pair in family.candidates():
            lengths[family.name].append(len(encode(pair.clean.text)))
    for prompt in build_workload("template", encode).prompts:
        if not 5 <= len(prompt.ids) <= 15:
            assert min(lengths[prompt.family]) > 15 or max(lengths[prompt.family]) < 5


def test_the_edits_are_the_three_kinds_and_survive_the_round_trip() -> None:
    edits = all_edits(30, 9)
    kinds = Counter(SimpleEdit.of(edit).kind for edit in edits)
    assert kinds == {"skip": 30, "mlp": 30, "head": 270}
    assert tuple(SimpleEdit.of(edit).as_edit() for edit in edits) == edits


@pytest.mark.parametrize("edit", [erase(3), zero(Stream.ATTN_OUT, 3)])
def test_an_edit_of_another_kind_is_refused(edit: object) -> None:
    with pytest.raises(ValueError, match="the benchmark has no edit"):
        SimpleEdit.of(edit)  # type: ignore[arg-type]


def test_the_sampled_edits_keep_proportions_and_depths_and_are_dealt_once() -> None:
    edits = [SimpleEdit.of(edit) for edit in all_edits(30, 9)]
    dealt = sample_of_edits(len(edits), 30, 3)
    chosen = [i for share in dealt for i in share]
    assert len(chosen) == len(set(chosen)) == 30
    assert {len(share) for share in dealt} == {10}
    kinds = Counter(edits[i].kind for i in chosen)
    assert set(kinds) == {"skip", "mlp", "head"}
    assert 20 <= kinds["head"] <= 26  # 270 of 330
    for share in [chosen, *dealt]:
        assert abs(sum(edits[i].layer for i in share) / len(share) - 14.5) < 3
    assert len({edits[i].head for i in chosen if edits[i].kind == "head"}) == 9


def test_sampled_prompts_have_the_mean_length_of_all() -> None:
    lengths = [5, 21, 9, 17, 11, 30, 6, 8, 14, 12, 19, 7]
    chosen = sample_of_prompts(lengths, 4)
    assert len(chosen) == 4
    mean = sum(lengths[i] for i in chosen) / 4
    assert abs(mean - sum(lengths) / len(lengths)) < 1.5


PROMPT = BenchPrompt(family="f", template="t", text="x", ids=(1, 2), answer=3, foil=4)
LENGTHS = tuple(range(5, 41))


def _plan(**given: object) -> Plan:
    return Plan(model="m", workloads=("suite",), **given)  # type: ignore[arg-type]


def test_ours_runs_every_cell_and_others_their_share_of_one_common_sample() -> None:
    plan = _plan()
    assert len(plan.turn(find_entry(OURS), 0, 330, LENGTHS)) == 330 * 36
    samples = set()
    for entry in plan.others:
        turns = [plan.turn(entry, number, 330, LENGTHS) for number in range(3)]
        samples.add(tuple(sorted({edit for turn in turns for edit in turn.edits})))
        cells = [(e, p) for turn in turns for e in turn.edits for p in turn.prompts]
        assert len(cells) == len(set(cells)) == 30 * (12 if entry.samples_prompts else 36)
    assert len(samples) == 1


def test_full_times_everything_in_every_round() -> None:
    plan = _plan(full=True)
    assert all(len(plan.turn(entry, 2, 330, LENGTHS)) == 330 * 36 for entry in ENTRIES)


def test_every_contender_has_one_turn_a_round_and_starts_elsewhere() -> None:
    plan = _plan()
    orders = [plan.order(number) for number in range(3)]
    assert all(Counter(order) == Counter(plan.others) for order in orders)
    assert len({order[0] for order in orders}) == 3


@pytest.mark.parametrize("given", [{"rounds": 0}, {"sample": 2}, {"prompts": 2}, {"threads": 0}])
def test_a_plan_that_leaves_a_round_empty_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        _plan(**given)


def test_an_unknown_contender_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="hooks-loop"):
        _plan(contenders=("nothing",))


def test_the_scaling_sizes_grow_by_thirds_and_contain_one_another() -> None:
    workload = Workload(name="suite", prompts=(PROMPT,) * 36)
    cells = scaling_cells(330, workload)
    prompts = [set(c.prompts) for varies, c in cells if varies == "prompts"]
    edits = [set(c.edits) for varies, c in cells if varies == "edits"]
    assert [len(p) for p in prompts] == [12, 24, 36]
    assert [len(e) for e in edits] == [110, 220, 330]
    assert prompts[0] < prompts[1] < prompts[2]
    assert edits[0] < edits[1] < edits[2]
