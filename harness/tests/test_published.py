"""Published figures: files are read or refused by name, expressions are computed and shown, claims are judged."""

from __future__ import annotations

import math
import statistics

import pytest

from harness.adapters.parameters import UnknownWidth, lora_parameters, model_parameters
from harness.adapters.values import LINEAR
from harness.claim import EVERY_MODEL, Claim, InvalidClaim
from harness.edits import Stream
from harness.models.registry import find_model, known_models
from harness.protocols import Protocol
from harness.published import BadFigures, Quantity, UnknownFigure, architecture, read_figures
from harness.verdicts.arithmetic import judge_arithmetic, judge_figures
from harness.verdicts.criteria import Arithmetic, HubIs
from harness.verdicts.expressions import FUNCTIONS, BadExpression, compute, number_text
from harness.verdicts.judging import judge_chapter, raise_for
from harness.verdicts.verdict import ClaimInconsistent, Verdict

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
GOOD = '[kl]\nvalue = 19.5\nunit = "nats"\nwhat = "an effect"\nsource = "a page"\n'


def figure(name, value):
    return Quantity(name=name, value=value, unit="", what="a figure", source="a test")


FIGURES = {
    f.name: f
    for f in (
        figure("a.x", 19.5),
        figure("a.y", 0.89),
        figure("a.minus", -0.25),
        figure("a.zero", 0.0),
        figure("a.kl", {"L2": 19.11, "L22": 15.4, "L7": 14.62}),
        figure("a.other", {"L7": 1.0, "L2": 2.0, "L22": 4.0}),
        figure("a.less", {"L2": 1.0}),
        figure("a.many", {f"L{i}": float(i) for i in range(24)}),
        figure("a.ranks", (1.0, 2.0, 4.0)),
        figure("a.norms", (3.0, 12.0, 48.0)),
        figure("a.ties", (5.0, 5.0, 1.0)),
        figure("a.tied", (5.0, 5.0, 5.0, 1.0, 2.0, 7.0)),
        figure("a.six", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)),
        figure("a.seven", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)),
        figure("a.sixth", {f"L{i}": float(i) for i in range(6)}),
        figure("a.pi", math.pi),
        figure("a.long", 3.14159),
    )
}


def arithmetic(expression="a.x / a.y", claimed=22, **more):
    given = {"figures": FIGURES, "what": "a ratio", "rationale": "a test", **more}
    return Arithmetic(expression=expression, claimed=claimed, **given)


def claim(*criteria, **more):
    values = {
        "id": "figures-22x",
        "sentence": "It is 22 times stronger.",
        "source": "a test",
        "falsified_by": "another ratio",
        "models": ("m", "n"),
        "criteria": {PUBLISHED: criteria or (arithmetic(tolerance=0.5),)},
    }
    return Claim(**{**values, **more})


# Files


def test_figures_are_named_by_file_and_table(tmp_path):
    (tmp_path / "heads.toml").write_text(
        GOOD + GOOD.replace("[kl]", "[by_block]").replace("19.5", "{ L2 = 1 }")
    )
    (tmp_path / "hubs.toml").write_text(GOOD.replace("19.5", "[1, 2.5]"))
    found = read_figures(tmp_path)
    assert list(found) == ["heads.kl", "heads.by_block", "hubs.kl"]
    assert found["heads.kl"] == Quantity(
        name="heads.kl", value=19.5, unit="nats", what="an effect", source="a page"
    )
    assert found["heads.by_block"].value == {"L2": 1}
    assert found["hubs.kl"].value == (1, 2.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "a page"\n', "", r"heads\.kl: lacks source"),
        ('source = "a page"', 'source = " "', r"heads\.kl: source is ' '"),
        ("unit =", "units =", r"heads\.kl: has units; a figure has value, unit, what, source"),
        ("19.5", '"19.5"', r"heads\.kl: '19.5' is no finite number"),
        ("19.5", "nan", r"heads\.kl: nan is no finite number"),
        ("19.5", "true", r"heads\.kl: True is no finite number"),
        ("19.5", "[]", r"heads\.kl: \[\] is no finite number"),
        ("19.5", '{ L2 = "x" }', r"heads\.kl: 'x' is no finite number"),
        ("[kl]", "[k-l]", r"heads\.k-l: a figure is a table"),
        (GOOD, "kl = 3\n", r"heads\.kl: a figure is a table"),
        ("19.5", "", r"heads\.toml is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_and_names_the_figure(old, new, message, tmp_path):
    assert old in GOOD
    (tmp_path / "heads.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(BadFigures, match=message):
        read_figures(tmp_path)


def test_a_folder_without_figures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no .toml file"):
        read_figures(tmp_path)
    (tmp_path / "my heads.toml").write_text(GOOD)
    with pytest.raises(BadFigures, match="my heads.toml: the name of a file"):
        read_figures(tmp_path)


def test_a_missing_number_is_named_with_the_nearest():
    with pytest.raises(UnknownFigure, match=r"no published figure is called 'a\.xx': did you mean 'a\.x'\?"):
        arithmetic("a.xx / a.y")
    with pytest.raises(UnknownFigure, match=r"add it to a file of claims/published/, with its source"):
        arithmetic("nothing.like_it / a.y")


# Architecture facts


def test_architecture_facts_stand_among_the_figures():
    found = architecture(known_models())
    assert found["qwen0_5b.n_layers"].value == 24
    assert found["qwen1_5b.d_model"].value == 1536
    for model in ("qwen0_5b", "qwen1_5b", "qwen3b"):
        for module in LINEAR:
            expression = f"{model}.n_layers * 8 * {model}.{module}"
            assert compute(expression, found).value == lora_parameters(find_model(model), (module,), 8)
    assert "lfm2_230m.o" not in found, "its blocks differ"
    assert "lfm2_230m.d_model" in found


@pytest.mark.parametrize(
    ("model", "count"),
    [("qwen0_5b", 494_032_768), ("qwen1_5b", 1_543_714_304), ("qwen3b", 3_085_938_688)],
)
def test_a_whole_model_is_counted(model, count):
    """Counted here by hand from the published config: embeddings, blocks with biases and norms, the last norm."""
    facts = find_model(model).facts
    d, h = facts.d_model, {"qwen0_5b": 4864, "qwen1_5b": 8960, "qwen3b": 11008}[model]
    kv = 2 * facts.d_head
    block = 2 * d * d + 2 * d * kv + (d + 2 * kv) + 3 * d * h + 2 * d
    assert model_parameters(find_model(model)) == 151_936 * d + facts.n_layers * block + d == count


def test_what_the_facts_do_not_give_is_not_counted():
    with pytest.raises(UnknownWidth):
        model_parameters(find_model("lfm2_230m"))


# Expressions


@pytest.mark.parametrize(
    ("expression", "value", "text"),
    [
        ("a.x / a.y", 19.5 / 0.89, "19.5 / 0.89"),
        ("a.x - (a.y + 1)", 17.61, "19.5 - (0.89 + 1)"),
        ("a.x - a.y + 1", 19.61, "19.5 - 0.89 + 1"),
        ("a.x / (a.y / 2)", 19.5 / 0.445, "19.5 / (0.89 / 2)"),
        ("(a.x - 1) * a.y", 16.465, "(19.5 - 1) * 0.89"),
        ("a.y ** 2", 0.7921, "0.89 ** 2"),
        ("a.minus ** 2", 0.0625, "(-0.25) ** 2"),
        ("-a.x", -19.5, "-19.5"),
        ("a.x * -2", -39.0, "19.5 * -2"),
        ("abs(a.minus)", 0.25, "abs(-0.25)"),
        ('a.kl["L7"] * 12', 14.62 * 12, "14.62 * 12"),
        ("max(a.kl) - min(a.kl)", 4.49, "19.11 - 14.62"),
        ("max(a.kl, a.x)", 19.5, "max({L2: 19.11, L22: 15.4, L7: 14.62}, 19.5)"),
        ("max(a.many)", 23.0, "max({L23: 23, L22: 22, L21: 21, ... of 24})"),
        ("min(a.many)", 0.0, "min({L0: 0, L1: 1, L2: 2, ... of 24})"),
        ("sum(a.ranks) + mean(a.ranks)", 7 + 7 / 3, "sum([1, 2, 4]) + mean([1, 2, 4])"),
        ("len(a.many)", 24, "len({L23: 23, L22: 22, L21: 21, ... of 24})"),
        ("count(a.ties, 5)", 2, "count([5, 5, 1], 5)"),
        ("distinct(a.ties)", 2, "distinct([5, 5, 1])"),
        ("sqrt(a.x)", math.sqrt(19.5), "sqrt(19.5)"),
        ("exponent(a.ranks, a.norms)", 2.0, "exponent([1, 2, 4], [3, 12, 48])"),
        ("top(a.kl)", "L2", "top({L2: 19.11, L22: 15.4, L7: 14.62})"),
        ("bottom(a.kl / a.other)", "L22", "bottom({L2: 9.555, L22: 3.85, L7: 14.62})"),
        ("ranked(a.other, 2)", ("L22", "L2"), "ranked({L7: 1, L2: 2, L22: 4}, 2)"),
        ("ranked(a.other, 3)", ("L22", "L2", "L7"), "ranked({L7: 1, L2: 2, L22: 4}, 3)"),
        ("top(a.less)", "L2", "top({L2: 1})"),
        ("bottom(a.many)", "L0", "bottom({L0: 0, L1: 1, L2: 2, ... of 24})"),
        ("len(a.sixth)", 6, "len({L0: 0, L1: 1, L2: 2, L3: 3, L4: 4, L5: 5})"),
        ("len(a.six)", 6, "len([1, 2, 4, 8, 16, 32])"),
        ("len(a.seven)", 7, "len([1, 2, ... 7 in all ..., 64])"),
        ("a.many", FIGURES["a.many"].value, "{L23: 23, L22: 22, L21: 21, ... of 24}"),
        ("abs(a.y - a.x)", 18.61, "abs(0.89 - 19.5)"),
        ("a.x + (a.y + 1)", 21.39, "19.5 + 0.89 + 1"),
        ("a.x * (a.y * 2)", 34.71, "19.5 * 0.89 * 2"),
        ("a.x - a.y * 2", 17.72, "19.5 - 0.89 * 2"),
        ("a.x / a.minus", -78.0, "19.5 / -0.25"),
        ("a.x - max(a.minus, -1)", 19.75, "19.5 - -0.25"),
        ("a.x * max(a.minus, -1)", -4.875, "19.5 * -0.25"),
        ("a.x / max(a.minus, -1)", -78.0, "19.5 / (-0.25)"),
        ("max(a.minus, -1) ** 2", 0.0625, "(-0.25) ** 2"),
        ("max(a.kl) ** 2", 19.11**2, "19.11 ** 2"),
        ("a.zero ** 2", 0.0, "0 ** 2"),
        ("(-a.x) ** 2", 380.25, "(-19.5) ** 2"),
        ("-a.x ** 2", -380.25, "-19.5 ** 2"),
        ("-a.minus", 0.25, "--0.25"),
        ("-(a.x + 1)", -20.5, "-(19.5 + 1)"),
        ("(a.y ** 2) ** 3", 0.89**6, "(0.89 ** 2) ** 3"),
        ("a.y ** 2 ** 3", 0.89**8, "0.89 ** 2 ** 3"),
        ("a.x ** -2", 19.5**-2, "19.5 ** (-2)"),
        ("a.x - a.x / a.y / 2", 19.5 - 19.5 / 1.78, "19.5 - 19.5 / 0.89 / 2"),
        ("top(-a.other)", "L7", "top({L7: -1, L2: -2, L22: -4})"),
        ("-a.less", {"L2": -1}, "{L2: -1}"),
    ],
)
def test_an_expression_is_computed_and_shown(expression, value, text):
    term = compute(expression, FIGURES)
    assert term.value == (pytest.approx(value) if isinstance(value, float) else value)
    assert term.text == text


@pytest.mark.parametrize(("expression", "value"), [("a.x * 1e308", "inf"), ("a.x * 1e308 * 0", "nan")])
def test_what_is_no_finite_number_is_not_judged(expression, value):
    with pytest.raises(BadExpression) as raised:
        judge_arithmetic(arithmetic(expression))
    assert str(raised.value) == f"{expression!r} is {value}, no finite real number"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (344064.0, "344064"),
        (-1234567.0, "-1234567"),
        (999_999_999_999_999.0, "999999999999999"),
        (1e15, "1e+15"),
        (1.02345678, "1.02346"),
        (1e-6, "1e-06"),
    ],
)
def test_numbers_have_six_digits_and_whole_ones_all(value, text):
    assert number_text(value) == text


def test_tables_are_paired_by_label_and_not_by_place():
    x, y = FIGURES["a.kl"].value, FIGURES["a.other"].value
    paired = statistics.correlation([x[k] for k in x], [y[k] for k in x])
    assert compute("pearson(a.kl, a.other)", FIGURES).value == pytest.approx(paired)
    assert paired != pytest.approx(statistics.correlation(list(x.values()), list(y.values())))


def test_a_table_and_a_list_are_paired_by_place():
    paired = statistics.correlation([19.11, 15.4, 14.62], [1.0, 2.0, 4.0])
    assert compute("pearson(a.kl, a.ranks)", FIGURES).value == pytest.approx(paired)
    assert compute("pearson(a.ranks, a.kl)", FIGURES).value == pytest.approx(paired)


def test_ranks_share_ties():
    scipy = pytest.importorskip("scipy.stats")
    found = compute("spearman(a.ties, a.ranks)", FIGURES).value
    assert found == pytest.approx(scipy.spearmanr([5, 5, 1], [1, 2, 4]).statistic)
    assert compute("spearman(a.norms, a.ranks)", FIGURES).value == pytest.approx(1.0)
    among = scipy.spearmanr(FIGURES["a.tied"].value, FIGURES["a.six"].value).statistic
    assert compute("spearman(a.tied, a.six)", FIGURES).value == pytest.approx(among)


FUNCTIONS_ARE = (
    "functions: sum, mean, max, min, len, count, distinct, abs, sqrt, "
    "pearson, spearman, exponent, top, bottom, ranked"
)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a.x / a.zero", "divides by zero"),
        ("a.x if a.y else 2", f"'a.x if a.y else 2' is not understood; {FUNCTIONS_ARE}"),
        ("open(a.x)", f"'open(a.x)' is not understood; {FUNCTIONS_ARE}"),
        ("a.x + True", f"'True' is not understood; {FUNCTIONS_ARE}"),
        ("a.x > a.y", f"'a.x > a.y' is not understood; {FUNCTIONS_ARE}"),
        ("a.x // a.y", f"'a.x // a.y' is not understood; {FUNCTIONS_ARE}"),
        ("+a.x", f"'+a.x' is not understood; {FUNCTIONS_ARE}"),
        ("sum(a.kl, key=a.x)", f"'sum(a.kl, key=a.x)' is not understood; {FUNCTIONS_ARE}"),
        ('a.kl["L9"]', "a.kl has no 'L9'"),
        ('a.x["L9"]', "a.x has no 'L9'"),
        ("a.kl + a.less", "tables of different labels: L2, L22, L7 and L2"),
        ("a.less + a.kl", "tables of different labels: L2 and L2, L22, L7"),
        ("pearson(a.kl, a.less)", "pearson: the two tables have different labels"),
        ("a.ranks + 1", "+ is for numbers and tables, and [1, 2, 4] is neither"),
        ("1 / a.ranks", "/ is for numbers and tables, and [1, 2, 4] is neither"),
        ("a.less * top(a.less)", "* is for numbers and tables, and top({L2: 1}) is neither"),
        ("top(a.less) ** a.less", "** is for numbers and tables, and top({L2: 1}) is neither"),
        ("-top(a.less)", "- is for numbers and tables, and top({L2: 1}) is neither"),
        ("top(a.ranks)", "top: is for numbers by label"),
        ("sum(a.x)", "sum: is for a list or a table"),
        ("ranked(a.kl, 4)", "ranked: has 3 labels, not 4"),
        ("ranked(a.kl, 0)", "ranked: has 3 labels, not 0"),
        ("ranked(a.kl, a.y)", "ranked: has 3 labels, not 0.89"),
    ],
)
def test_what_cannot_be_computed_is_refused(expression, message):
    for refused in (arithmetic, lambda given: compute(given, FIGURES)):
        with pytest.raises(BadExpression) as raised:
            refused(expression)
        assert str(raised.value) == f"{expression!r}: {message}"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a.x /", r"^'a\.x /' is no Python expression: \w"),  # and then in Python's own words
        ("a.x.real", r"'a\.x\.real': a figure is called file\.name$"),
        ("sqrt(a.minus)", r"^'sqrt\(a\.minus\)': sqrt: \w"),
        ("exponent(a.ranks, a.kl, 1)", r"^'exponent\(a\.ranks, a\.kl, 1\)': exponent: \w"),
    ],
)
def test_what_python_refuses_is_refused(expression, message):
    with pytest.raises(BadExpression, match=message):
        arithmetic(expression)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.xx", "did you mean 'a.x'?"),
        ("nothing.like_it", "add it to a file of claims/published/, with its source"),
    ],
)
def test_what_is_computed_of_a_figure_that_is_not_there_names_it(name, hint):
    with pytest.raises(UnknownFigure) as raised:
        compute(f"{name} / 2", FIGURES)
    assert str(raised.value) == f"no published figure is called {name!r}: {hint}"


def test_no_other_name_can_be_called():
    assert not {"eval", "exec", "open", "getattr", "__import__"} & set(FUNCTIONS)


# Judging


@pytest.mark.parametrize(
    ("claimed", "tolerance", "relation", "verdict"),
    [
        (20.0, 0.5, "=", Verdict.CONSISTENT),
        (19.0, 0.5, "=", Verdict.CONSISTENT),
        (20.01, 0.5, "=", Verdict.INCONSISTENT),
        (18.99, 0.5, "=", Verdict.INCONSISTENT),
        (19.5, 0.0, "=", Verdict.CONSISTENT),
        (19.51, 0.0, "=", Verdict.INCONSISTENT),
        (19.5, 0.0, ">=", Verdict.CONSISTENT),
        (19.51, 0.0, ">=", Verdict.INCONSISTENT),
        (20.0, 0.5, ">=", Verdict.CONSISTENT),
        (19.5, 0.0, "<=", Verdict.CONSISTENT),
        (19.49, 0.0, "<=", Verdict.INCONSISTENT),
        (19.0, 0.5, "<=", Verdict.CONSISTENT),
        (18.99, 0.5, "<=", Verdict.INCONSISTENT),
        (20.01, 0.5, ">=", Verdict.INCONSISTENT),
    ],
)
def test_the_edge_of_the_tolerance_belongs_to_it(claimed, tolerance, relation, verdict):
    asked = arithmetic("a.x", claimed, tolerance=tolerance, relation=relation)
    assert judge_arithmetic(asked).verdict is verdict


@pytest.mark.parametrize("relation", ["=", ">=", "<="])
@pytest.mark.parametrize(
    ("expression", "tolerance"), [("a.zero", 0.0), ("a.minus", 0.25), ("-a.minus", 0.25)]
)
def test_where_zero_is_claimed_its_own_edge_belongs_to_it(expression, tolerance, relation):
    asked = arithmetic(expression, 0, tolerance=tolerance, relation=relation)
    assert judge_arithmetic(asked).verdict is Verdict.CONSISTENT


def test_binary_fractions_do_not_decide_at_the_edge():
    """0.1 + 0.2 is not 0.3 for a computer; nor is 13.70 - 13.01 equal to 0.69."""
    assert judge_arithmetic(arithmetic("a.y - 0.88", 0.01)).verdict is Verdict.CONSISTENT
    assert judge_arithmetic(arithmetic("a.y - 0.88", 0.011, tolerance=0.0009)).verdict is Verdict.INCONSISTENT


@pytest.mark.parametrize(
    ("expression", "claimed", "more", "sentence"),
    [
        ("a.x / a.y", 22, {"tolerance": 0.5}, "a ratio: 19.5 / 0.89 = 21.91; 22 within 0.5 is claimed."),
        ("a.x / a.y", 21.91, {}, "a ratio: 19.5 / 0.89 = 21.9101; 21.91 is claimed."),
        ("a.x / a.y", 22, {"unit": "times"}, "a ratio: 19.5 / 0.89 = 21.91; 22 times is claimed."),
        ("a.x", 8, {"relation": ">=", "unit": "GB"}, "a ratio: 19.5; at least 8 GB is claimed."),
        ("a.x", 19, {"unit": "%"}, "a ratio: 19.5; 19% is claimed."),
        ("a.x * 3000", 58500, {}, "a ratio: 19.5 * 3000 = 58500; 58500 is claimed."),
        (
            "ranked(a.other, 2)",
            ("L2", "L22"),
            {},
            "a ratio: ranked({L7: 1, L2: 2, L22: 4}, 2) = L22, L2; L2, L22 is claimed.",
        ),
        ("top(a.less)", "L2", {}, "a ratio: top({L2: 1}) = L2; L2 is claimed."),
        ("a.x / 7", 2.79, {"tolerance": 0.005}, "a ratio: 19.5 / 7 = 2.786; 2.79 within 0.005 is claimed."),
        ("a.x + a.y / 7e5", 19.5, {}, "a ratio: 19.5 + 0.89 / 700000 = 19.5000013; 19.5 is claimed."),
        ("a.x * 5", 98, {}, "a ratio: 19.5 * 5 = 97.5; 98 is claimed."),
        ("a.x / a.y * 1000", 3, {}, "a ratio: 19.5 / 0.89 * 1000 = 21910; 3 is claimed."),
        ("a.x / 7 * -4000", 3, {}, "a ratio: 19.5 / 7 * -4000 = -11143; 3 is claimed."),
        ("a.long", 3, {}, "a ratio: 3.14159; 3 is claimed."),
        ("a.pi", 3, {}, "a ratio: 3.14159; 3 is claimed."),
    ],
)
def test_the_sentence_shows_the_arithmetic(expression, claimed, more, sentence):
    asked = arithmetic(expression, claimed, **more)
    found = judge_arithmetic(asked)
    assert (found.sentence, found.criterion) == (sentence, str(asked))
    assert (found.p_value, found.estimate) == (None, None)


def test_an_order_is_right_or_wrong():
    assert judge_arithmetic(arithmetic("top(a.kl)", "L2")).verdict is Verdict.CONSISTENT
    assert judge_arithmetic(arithmetic("top(a.kl)", "L7")).verdict is Verdict.INCONSISTENT
    assert judge_arithmetic(arithmetic("ranked(a.other, 2)", ("L2", "L22"))).verdict is Verdict.INCONSISTENT


def test_one_wrong_number_makes_a_claim_inconsistent():
    right, wrong = arithmetic(tolerance=0.5), arithmetic(claimed=70)
    assert judge_figures(claim(right)).verdict is Verdict.CONSISTENT
    assert judge_figures(claim(right, wrong)).verdict is Verdict.INCONSISTENT
    judgement = judge_figures(claim(wrong, right))
    assert [f.verdict for f in judgement.findings] == [Verdict.INCONSISTENT, Verdict.CONSISTENT]
    assert "70 is claimed" in judgement.sentence
    assert judgement.p_value is None
    assert judgement.estimate is None


def test_an_inconsistent_claim_raises_its_own_error_with_the_numbers():
    card = claim(arithmetic(claimed=70))
    with pytest.raises(ClaimInconsistent, match=r"published figures make this inconsistent: .* = 21\.91; 70"):
        raise_for(judge_figures(card), card)
    raise_for(judge_figures(claim()), claim())


def test_figures_are_not_judged_with_tables():
    """In a chapter that holds both, each is judged its own way."""
    hub = claim(HubIs(layer=1, rationale="a test"), id="hub")
    with pytest.raises(ValueError, match="'hub' is not judged from published figures alone"):
        judge_figures(hub)
    assert judge_chapter([claim()], PUBLISHED, {}, n_layers=4) == {}


# What a criterion and a card refuse


@pytest.mark.parametrize(
    ("expression", "claimed", "more", "message"),
    [
        ("a.x / a.y", "L2", {}, "gives 21.9"),
        ("top(a.kl)", 2, {}, "gives 'L2', and 2 is claimed"),
        ("a.kl / 2", ("L2",), {}, "gives several numbers"),
        ("ranked(a.kl)", "L2", {}, "gives several numbers"),
        ("1 + 1", 2, {}, "names no published figure"),
        ("a.x", 19, {"tolerance": -1}, "a tolerance is not negative"),
        ("top(a.kl)", "L2", {"tolerance": 1}, "labels have none"),
        ("top(a.kl)", "L2", {"relation": ">="}, "labels have none"),
        ("a.x", 19, {"what": " "}, "say what is computed"),
        ("a.x", 19, {"rationale": ""}, "say why these thresholds"),
    ],
)
def test_a_criterion_that_makes_no_sense_is_refused(expression, claimed, more, message):
    with pytest.raises(ValueError, match=message):
        arithmetic(expression, claimed, **more)


def test_a_criterion_keeps_the_figures_it_names():
    assert list(arithmetic().figures) == ["a.x", "a.y"]
    assert str(arithmetic(tolerance=0.5)) == "a ratio: `a.x / a.y` is 22, within 0.5 (a test)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"criteria": {SOUND: (arithmetic(),)}}, "under the protocol 'published' and no other"),
        ({"criteria": {PUBLISHED: (arithmetic(), HubIs(layer=1, rationale="x"))}}, "are two cards"),
        ({"presupposes": (HubIs(layer=1, rationale="x"),)}, "are two cards"),
        ({"models": EVERY_MODEL}, "are of certain models: name them"),
        ({"joint": True}, "leave joint and the like out"),
        ({"over_seeds": True}, "leave joint and the like out"),
        (
            {"expected": {PUBLISHED: Verdict.REFUTED}},
            "expects 'refuted' under published, which published figures",
        ),
        (
            {
                "criteria": {SOUND: (HubIs(layer=1, rationale="x"),)},
                "expected": {SOUND: Verdict.INCONSISTENT},
            },
            "expects 'inconsistent' under sound, which measurements never give",
        ),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(wrong, message):
    with pytest.raises(InvalidClaim, match=message):
        claim(**wrong)


def test_a_card_reads_no_table():
    card = claim(expected={PUBLISHED: Verdict.CONSISTENT})
    assert card.from_figures
    assert not card.per_model
    assert card.experiments(PUBLISHED) == ()
    assert not claim(HubIs(layer=1, rationale="x")).from_figures


def test_stream_names_are_those_of_the_figures():
    assert {str(s) for s in (Stream.Q, Stream.O, Stream.DOWN)} == {"q", "o", "down"}
