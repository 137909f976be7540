"""ChangeTop, ChangeStandsOut, ChangeGini, ChangesDiffer: whole findings against closed forms and plain loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.stats import chi2, rankdata, spearmanr

from harness.adapters.values import SOUND, Adapted, Part
from harness.edits import skip
from harness.effects import Effects, pool
from harness.statistics.bootstrap import percentile_interval, weights_of
from harness.statistics.clusters import Clusters
from harness.statistics.profile import DEGENERATE_NATS
from harness.verdicts.agreement import of_overlap
from harness.verdicts.criteria import ChangeGini, ChangesDiffer, ChangeStandsOut, ChangeTop, ProfileOf
from harness.verdicts.judging import judge_criterion
from harness.verdicts.reading import measured
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table, with_value
from harness.verdicts.training_changes import RESAMPLES_OF_RANKS, Change, least_gini
from harness.verdicts.training_selectors import Under
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict

SUPPORTED, REFUTED, INCONCLUSIVE, INVALID = (
    Verdict.SUPPORTED,
    Verdict.REFUTED,
    Verdict.INCONCLUSIVE,
    Verdict.INVALID,
)
P = 1 / 10_000
OF_ALL = "(8 prompts, 8 templates)"


def told(found: Finding) -> tuple[Verdict, str, float | None]:
    return found.verdict, found.sentence, found.p_value


def parts(name: str | None) -> tuple[Part, ...]:
    return () if name is None else (Part(family=name, recipe=SOUND),)


def profile(name: str | None) -> ProfileOf:
    return ProfileOf(experiment="profiles", select=Under(parts=parts(name), select=Singles()), noun="block")


def states(
    means: Mapping[str | None, Sequence[float]],
    *,
    noise: float = 0.0,
    seed: int = 42,
    templates: int = 8,
    families: Sequence[str] = ("a",),
) -> Effects:
    probes = [
        Adapted(parts=parts(name), edit=skip(layer), against="whole")
        for name, values in means.items()
        for layer in reversed(range(len(values)))
    ]
    levels = [x for values in means.values() for x in reversed(values)]
    given = {"families": families, "templates": templates, "prompts": 1, "seed": seed}
    return table(probes, {"kl_nats": levels}, noise=noise, **given)


def change(*by_seed: Sequence[float], spread: np.ndarray | None = None, templates: int = 8) -> Effects:
    """From 1 nat in each layer to so much more, with a spread of templates over layers."""
    made = [
        states({None: [1.0] * len(x), "a": [1.0 + y for y in x]}, seed=seed, templates=templates)
        for seed, x in enumerate(by_seed)
    ]
    found = pool(made)
    if spread is not None:
        values = found.metrics["kl_nats"].copy()
        n = len(by_seed[0])
        values[n:] += np.tile(spread[::-1], len(by_seed))
        found = replace(found, metrics={"kl_nats": values})
    return found


def judge(asked: object, *tables: Effects, n_layers: int | None = None) -> Finding:
    return judge_criterion(asked, measured({"profiles": pool(list(tables))}, n_layers))


ON = {"before": profile(None), "after": profile("a"), "rationale": "a test"}
RISE = [0.5, 0.25, 0.75, 4.0, 3.0, 2.0]


@pytest.mark.parametrize(
    ("layers", "at_least", "verdict", "p", "shared", "named"),
    [
        ((2, 3, 4), 2, SUPPORTED, 2 * P, 2, "L2-L4"),
        ((2, 3, 4), 3, REFUTED, 2 * P, 2, "L2-L4"),
        ((0, 1, 2), 1, REFUTED, 2 * P, 0, "L0-L2"),
        ((3, 4, 5), 3, SUPPORTED, 2 * P, 3, "L3-L5"),
    ],
)
def test_the_top_of_a_change_without_noise(
    layers: tuple[int, ...], at_least: int, verdict: Verdict, p: float, shared: int, named: str
) -> None:
    found = judge(ChangeTop(layers=layers, at_least=at_least, **ON), change(RISE))
    whole = f"L3-L5 rise most: {shared} [{shared}, {shared}] of {named} {OF_ALL}; {at_least} are asked for (p < 0.001)."
    assert told(found) == (verdict, whole, pytest.approx(p))


def test_layers_that_rise_alike_count_from_the_first() -> None:
    """Of 40 layers every other rises by 1: the first six of those are the top."""
    found = judge(
        ChangeTop(layers=(0, 2, 4, 6, 8, 10), at_least=6, **ON), change([1.0, 0.0] * 20, templates=2)
    )
    assert (found.verdict, found.sentence[:30]) == (SUPPORTED, "L0+L2+L4+L6+L8+L10 rise most: ")
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low) == (6.0, 6.0)


def test_layers_stand_out_by_standard_deviations_of_the_layers() -> None:
    """Changes 0, 0, 0, 4: mean 1, standard deviation sqrt(3), the last sqrt(3) above it."""
    made = change([0.0, 0.0, 0.0, 4.0])
    said = "The layers change by 1 on average (standard deviation 1.73); "
    unit = f"standard deviations above the mean layer {OF_ALL}"
    for layers, bound, verdict, rest in (
        ((3,), 1.73, SUPPORTED, f"L3 is 1.73 [1.73, 1.73] {unit}; 1.73 is asked for (p < 0.001)."),
        ((3,), 1.74, REFUTED, f"L3 is 1.73 [1.73, 1.73] {unit}; 1.74 is asked for (p < 0.001)."),
        ((0, 3), -0.57, REFUTED, f"L0 is -0.577 [-0.577, -0.577] {unit}; -0.57 is asked for (p < 0.001)."),
        ((0, 3), -0.58, SUPPORTED, f"L0 is -0.577 [-0.577, -0.577] {unit}; -0.58 is asked for (p < 0.001)."),
    ):
        found = judge(ChangeStandsOut(layers=layers, at_least=bound, **ON), made)
        # of two layers one lies below: Bonferroni
        p = 2 * P * (len(layers) if verdict is REFUTED else 1)
        assert told(found) == (verdict, said + rest, pytest.approx(p))


def drawn(effects: Effects) -> np.ndarray:
    """Each resample's mean change of every layer, one seed; and, first, the observed one."""
    clusters = Clusters.of(effects.prompts)
    n = len(effects.probes) // 2
    values = effects.metrics["kl_nats"]
    change = (values[n:] - values[:n])[::-1]
    on = [clusters.templates.index((p.family, p.template)) for p in effects.prompts]
    means = np.empty_like(change)
    means[:, on] = change
    return np.vstack([means.mean(axis=1), weights_of(clusters) @ means.T])


SPREAD = np.random.default_rng(3).normal(0.0, 1.0, (2, 16)) * [[0.3], [0.6]]
SPREAD -= SPREAD.mean(axis=1, keepdims=True)
OTHER = np.random.default_rng(5).normal(0.0, 0.4, (6, 8))
NOISE = np.random.default_rng(6).normal(0.0, 1.0, (12, 8))
NOISE -= NOISE.mean(axis=1, keepdims=True)


def test_resamples_of_a_distance_are_those_of_a_loop() -> None:
    made = change(RISE, spread=OTHER)
    scores = np.array([(x - x.mean()) / x.std() for x in drawn(made)])
    asked = float(scores[0, 4]) - 0.2
    found = judge(ChangeStandsOut(layers=(3, 4), at_least=asked, **ON), made)
    assert found.estimate is not None
    least = 3 if scores[0, 3] < scores[0, 4] else 4
    low, high = percentile_interval(scores[1:, least])
    assert (found.estimate.value, found.estimate.low) == pytest.approx((scores[0, least], low))
    assert found.estimate.high == pytest.approx(high)
    below = max(int((scores[1:, at] < asked).sum()) for at in (3, 4))
    assert found.p_value == pytest.approx(min(1.0, 2 * (below + 1) * P))
    assert f"; L{least} is {found.estimate}; {asked:g} is asked for" in found.sentence


def below(
    draws: np.ndarray, value: float, bound: float, reliability: float, most: float
) -> tuple[float, float, float, str]:
    """p-value, interval and what is said of noise where a value lies below its bound: resamples and images do too."""
    low, high = percentile_interval(draws)
    high = max(high, min(most, 2 * value - low))
    if reliability <= 0.1:
        return 1.0, low, most, " The order is not told from noise (reliabilities 0 and 1)."
    left = np.sqrt(reliability)
    p = max(2 * (int((x >= min(bound, bound * left)).sum()) + 1) * P for x in (draws, 2 * value - draws))
    if high < bound and p > 0.02:
        return min(1.0, p), low, min(most, high / left), f" Noise leaves {left:.2g} of a true agreement."
    return min(1.0, p), low, high, ""


def say(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


@pytest.mark.parametrize(
    ("scale", "above", "verdict", "noise"),
    [
        (2.0, 0.4, REFUTED, ""),
        (3.0, 0.5, INCONCLUSIVE, "leaves 0.91 of"),
        (3.0, 0.3, INCONCLUSIVE, ""),
        (9.0, 0.5, INCONCLUSIVE, "told from noise"),
    ],
)
def test_a_distance_below_its_bound_is_told_by_its_reliability(
    scale: float, above: float, verdict: Verdict, noise: str
) -> None:
    """2 - 1 / c^2 of the correlation with resamples, less what chance gives of six layers."""
    made = change(RISE, spread=scale * OTHER)
    profiles = drawn(made)
    value, mean, spread = profiles[0], profiles.mean(axis=1), profiles.std(axis=1)
    scores = (profiles[:, 3] - mean) / spread
    asked = round(float(scores[0]) + above, 3)
    kept = float(np.mean([np.corrcoef(value, x)[0, 1] for x in profiles[1:1000]]))
    reliability = max(0.0, 1 - (1 - max(0.0, 2 - 1 / kept**2)) * chi2.ppf(0.99, 5) / 5)
    found = judge(ChangeStandsOut(layers=(3,), at_least=asked, **ON), made)
    p, low, high, said = below(scores[1:], scores[0], asked, reliability, np.inf)
    assert noise in said
    assert bool(noise) is bool(said)
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low) == pytest.approx((scores[0], low))
    assert found.estimate.high == pytest.approx(high)
    whole = (
        f"The layers change by {mean[0]:.3g} on average (standard deviation {spread[0]:.3g}); "
        f"L3 is {found.estimate}; {asked:g} is asked for ({say(p)}).{said}"
    )
    assert told(found) == (verdict, whole, pytest.approx(p))


@pytest.mark.parametrize(
    ("scale", "asked", "verdict", "noise"),
    [
        (1.0, 6, REFUTED, ""),
        (1.0, 5, INCONCLUSIVE, "leaves 0.75 of"),
        (1.0, 4, INCONCLUSIVE, ""),
        (20.0, 6, INCONCLUSIVE, "told from noise"),
    ],
)
def test_a_top_below_its_bound_is_told_by_its_reliability(
    scale: float, asked: int, verdict: Verdict, noise: str
) -> None:
    made = change([0.1 * x for x in range(12)], spread=scale * NOISE)
    tops = np.argsort(-drawn(made), axis=1)[:, :6]
    shared = (np.isin(tops, (0, 1, 2, 9, 10, 11))).sum(axis=1)
    reliability = of_overlap(0.5)(float((tops[1:1000] >= 6).mean()))
    found = judge(ChangeTop(layers=(0, 1, 2, 9, 10, 11), at_least=asked, **ON), made)
    p, low, high, said = below(shared[1:], int(shared[0]), asked, reliability, 6.0)
    assert noise in said
    assert bool(noise) is bool(said)
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low) == (3.0, low)
    assert found.estimate.high == pytest.approx(high)
    whole = f"L6-L11 rise most: {found.estimate}; {asked} are asked for ({say(p)}).{said}"
    assert told(found) == (verdict, whole, pytest.approx(p))


@pytest.mark.filterwarnings("error")
def test_a_resample_in_which_the_layers_are_alike_speaks_for_neither() -> None:
    """Of two templates every resample is one; the first is flat."""
    made = change([2.0, 2.0, 4.0], spread=np.array([[-1.0, 1.0], [-1.0, 1.0], [-3.0, 3.0]]), templates=2)
    for bound in (1.4, 1.5):
        found = judge(ChangeStandsOut(layers=(2,), at_least=bound, **ON), made)
        assert (found.verdict, found.p_value) == (INCONCLUSIVE, pytest.approx(1.0, abs=0.05))


def test_layers_that_change_alike_to_a_thousandth_of_a_nat_show_nothing() -> None:
    prompts = states({None: [1.0]}, templates=2).prompts
    for spread, problem in (
        (DEGENERATE_NATS, "all layers change alike, within 0.001, so none can be singled out"),
        (DEGENERATE_NATS * (1 + 1e-9), None),
    ):
        found = Change(values=np.array([[0.0, 0.0], [spread, spread]]), prompts=prompts, metric="kl_nats")
        assert found.problem == problem


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (ChangeTop(layers=(1, 6, 7), at_least=1, **ON), "L6"),
        (ChangeStandsOut(layers=(0, 9), at_least=1, **ON), "L9"),
        (ChangeTop(layers=(-1, 3), at_least=1, **ON), "L-1"),
    ],
)
def test_a_layer_that_the_model_lacks_is_named(asked: ChangeTop | ChangeStandsOut, message: str) -> None:
    with pytest.raises(MissingEvidence) as missing:
        judge(asked, change(RISE))
    assert str(missing.value) == f"the criterion names {message}, but the model has layers L0 to L5"


ALL = (
    ChangeTop(layers=(1,), at_least=1, **ON),
    ChangeStandsOut(layers=(1,), at_least=1.0, **ON),
    ChangeGini(at_most=0.5, **ON),
)


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: type(asked).__name__)
def test_what_shows_no_change_is_invalid_and_what_is_not_comparable_missing(asked: object) -> None:
    broken = with_value(with_value(change(RISE), "kl_nats", 0, 0, np.nan), "kl_nats", 7, 3, np.inf)
    whole = "Not a measurement: 2 of 48 changes of kl_nats are not finite."
    assert told(judge(asked, broken)) == (INVALID, whole, None)
    whole = "Not a measurement: all layers change alike, within 0, so none can be singled out."
    assert told(judge(asked, change([0.5] * 4))) == (INVALID, whole, None)
    made = change(RISE)
    twice = replace(made, probes=(*made.probes[:11], replace(made.probes[11], edit=skip(2))))
    with pytest.raises(MissingEvidence) as missing:
        judge(asked, twice)
    assert str(missing.value) == (
        "a profile needs every one of 6 layers once; 'profiles' holds L1, L2, L2, L3, L4, L5 for: "
        "every single block under a (sound)"
    )


def test_before_and_after_are_of_the_same_prompts() -> None:
    before = change(RISE)
    other = replace(before, prompts=tuple(replace(p, text=p.text + "!") for p in before.prompts))
    after = replace(profile("a"), experiment="others")
    view = measured({"profiles": before, "others": other}, 6)
    with pytest.raises(MissingEvidence) as missing:
        judge_criterion(ChangeTop(layers=(1,), at_least=1, **{**ON, "after": after}), view)
    assert str(missing.value) == "a change is read on the same prompts before and after"
    view = measured({"profiles": before, "others": replace(other, prompts=before.prompts)}, 6)
    assert (
        judge_criterion(ChangeTop(layers=(3,), at_least=1, **{**ON, "after": after}), view).verdict
        is SUPPORTED
    )


@pytest.mark.parametrize(
    ("rise", "bound", "verdict", "p", "said"),
    [
        (
            (1.0, 3.0),
            0.25,
            SUPPORTED,
            2 * P,
            "0.25 [0.25, 0.25] Gini {}, with 3 at L1; 0.25 is allowed (p < 0.001).",
        ),
        (
            (1.0, 3.0),
            0.24,
            REFUTED,
            P,
            "0.25 [0.25, 0.25] Gini {}, with 3 at L1; 0.24 is allowed (p < 0.001).",
        ),
        (
            (-3.0, 1.0),
            0.26,
            SUPPORTED,
            2 * P,
            "0.25 [0.25, 0.25] Gini {}, with -3 at L0; 0.26 is allowed (p < 0.001).",
        ),
    ],
)
def test_a_coefficient_without_noise_is_told_at_its_bound(
    rise: tuple[float, float], bound: float, verdict: Verdict, p: float, said: str
) -> None:
    """Of |a| < |b| it is (b - a) / (2 (a + b))."""
    found = judge(ChangeGini(at_most=bound, **ON), change(rise, templates=2))
    whole = f"The change over layers has {said.format('(2 prompts, 2 templates)')}"
    assert told(found) == (verdict, whole, pytest.approx(p))


def two(means: Sequence[float]) -> Effects:
    return change(means, spread=SPREAD, templates=16)


def pair_gini(x: np.ndarray) -> np.ndarray:
    x = np.sort(np.abs(x), axis=-1)
    return np.asarray((x[..., 1] - x[..., 0]) / (2 * x.sum(axis=-1)))


@pytest.mark.parametrize("above", [99, 100, 400])
def test_an_even_change_is_told_by_its_resamples(above: int) -> None:
    """So many resamples are less even than is allowed."""
    made = two([2.0, 5.0])
    found = np.sort(pair_gini(drawn(made)[1:]))
    bound = float(found[-above - 1] + found[-above]) / 2
    judged = judge(ChangeGini(at_most=bound, **ON), made)
    assert (judged.verdict, judged.p_value) == (
        SUPPORTED if above == 99 else INCONCLUSIVE,
        pytest.approx(2 * (above + 1) * P),
    )
    assert judged.estimate is not None
    low, high = percentile_interval(found)
    assert (judged.estimate.value, judged.estimate.low) == pytest.approx((3 / 14, low))
    assert (judged.estimate.high, judged.estimate.unit) == (pytest.approx(high), "Gini")


def test_a_value_above_the_bound_supports_nothing_however_many_resamples_lie_below() -> None:
    """One template of eight has much less in the larger layer: most resamples hold it, and are more even."""
    spread = np.array([[0.0] * 8, [0.5] * 7 + [-3.5]])
    made = change([2.0, 5.0], spread=spread)
    draws = pair_gini(drawn(made)[1:])
    bound = 3 / 14 - 1e-6
    assert (draws <= bound).mean() > 0.55
    found = judge(ChangeGini(at_most=bound, **ON), made)
    assert (found.verdict, found.p_value) == (INCONCLUSIVE, 1.0)


@pytest.mark.parametrize("scale", [1.0, 0.02])
@pytest.mark.parametrize("beyond", [0, 5, 100, 199, 200])
def test_an_uneven_change_is_told_by_the_narrowest_intervals_that_would_be_even(
    beyond: int, scale: float
) -> None:
    """a + w e and b - w f have the bound's coefficient at one w, and so many resamples lie beyond it."""
    made = change([2.0 * scale, 9.0 * scale], spread=SPREAD * scale, templates=16)
    value, draws = np.split(drawn(made), [1])
    error = draws.std(axis=0)
    furthest = np.sort(np.abs((draws - value) / error).max(axis=1))
    # just below the one that is to count
    width = float(furthest[-beyond]) * (1 - 1e-7) if beyond else 1.001 * float(furthest[-1])
    small, large = value[0] + width * error * [1, -1]
    bound = (large - small) / (2 * (large + small))
    found = judge(ChangeGini(at_most=float(bound), **ON), made)
    decided = beyond < 200
    assert (found.verdict, found.p_value) == (
        REFUTED if decided else INCONCLUSIVE,
        pytest.approx((beyond + 1) * P if decided else 1.0),
    )


def test_the_least_coefficient_is_searched_finely() -> None:
    """[0, 1], [0, 10], [5, 10]: 1, 5, 5 has 8 / 33, and 1, 5 - x, 5 or 1, 5 + x, 5 + x more."""
    found = least_gini(np.array([0.0, 0.0, 5.0]), np.array([1.0, 10.0, 10.0]))
    assert 8 / 33 <= found < 8 / 33 + 3e-4


def test_trainings_that_disagree_about_a_coefficient_are_told_with_their_ranks() -> None:
    found = judge(ChangeGini(at_most=0.2, **ON), change((2.0, 2.5), (1.0, 3.0), (2.0, 2.5)[::-1]), n_layers=2)
    assert told(found)[::2] == (INCONCLUSIVE, 1.0)
    assert found.sentence.endswith(
        "is allowed (p = 1). The trainings do not agree; by seed 0.0556, 0.25, 0.0556."
    )


FOUR = ("a", "b", "c", "d")
LAYERS = 7


def ranks(seed: int) -> dict[str | None, list[float]]:
    rng = np.random.default_rng(seed)
    return {name: list(1.0 + rng.permutation(LAYERS)) for name in FOUR}


def trainings(*given: Mapping[str | None, Sequence[float]], noise: float, renamed: int = 0) -> list[Effects]:
    """A table a training; the templates of each are named on from those of the one before by so many."""
    found = []
    for seed, means in enumerate(given):
        made = states(
            {None: [0.5] * LAYERS, **means}, noise=noise, seed=seed, templates=4, families=("f", "g")
        )
        names = tuple(
            replace(p, template=f"t{int(p.template.removeprefix('t')) + seed * renamed}")
            for p in made.prompts
        )
        found.append(replace(made, prompts=names))
    return found


def differ(margin: float = 0.1) -> ChangesDiffer:
    after = {name: profile(name) for name in FOUR}
    return ChangesDiffer(before=profile(None), after=after, margin=margin, rationale="a test")


def by_state(effects: Effects) -> np.ndarray:
    values = effects.metrics["kl_nats"].reshape(1 + len(FOUR), LAYERS, -1)[:, ::-1]
    return np.asarray(values[1:] - values[0])


def apart(profiles: Sequence[np.ndarray]) -> np.ndarray:
    """1 - Spearman of each state of one training with each of another, for each pair of trainings: pairs last."""
    ranks = [rankdata(x, axis=-1) - (LAYERS + 1) / 2 for x in profiles]
    units = [x / np.sqrt((x**2).sum(axis=-1, keepdims=True)) for x in ranks]
    found = [1.0 - (x[..., :, None, :] * y[..., None, :, :]).sum(axis=-1) for x, y in combinations(units, 2)]
    return np.stack(found, axis=-1)


def split(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    same = np.eye(len(FOUR), dtype=bool)
    return distances[..., same, :].mean(axis=(-2, -1)), distances[..., ~same, :].mean(axis=(-2, -1))


@pytest.mark.parametrize(("n_seeds", "renamed"), [(2, 0), (3, 1), (2, 3), (3, 0)])
def test_the_gap_between_states_is_that_of_plain_loops(n_seeds: int, renamed: int) -> None:
    """Where a resample holds none of a family's templates of some training it has no gap."""
    tables = trainings(*[ranks(1)] * n_seeds, noise=1.0, renamed=renamed)
    found = judge(differ(), *tables, n_layers=LAYERS)
    effects = [by_state(one) for one in tables]
    distances = apart([x.mean(axis=2) for x in effects])
    assert distances[0, 1, 0] == pytest.approx(
        1 - spearmanr(effects[0][0].mean(axis=1), effects[1][1].mean(axis=1)).statistic
    )
    within, between = split(distances)
    clusters = Clusters.of([p for one in tables for p in one.prompts])
    weights, profiles = weights_of(clusters)[:RESAMPLES_OF_RANKS], []
    for one, values in zip(tables, effects, strict=True):
        own = weights[:, [clusters.templates.index((p.family, p.template)) for p in one.prompts]]
        means = []
        for family in ("f", "g"):
            on = [p.family == family for p in one.prompts]
            total = own[:, on].sum(axis=1)
            total[total == 0.0] = np.nan
            means.append(np.einsum("slp,rp->rsl", values[..., on], own[:, on]) / total[:, None, None])
        profiles.append(np.mean(means, axis=0))
    low, high = split(apart(profiles))
    gaps = high - low
    assert bool(np.isnan(gaps).any()) is (renamed > 0)
    gap = between - within
    both = gaps, 2 * gap - gaps
    low = min(percentile_interval(np.nan_to_num(x, nan=-1.0))[0] for x in both)
    high = max(percentile_interval(np.nan_to_num(x, nan=1.0))[1] for x in both)
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.low) == pytest.approx((gap, low))
    assert found.estimate.high == pytest.approx(high)
    start = (
        f"Over {n_seeds} seeds, 1 - Spearman is {between:.3g} between states and {within:.3g} between trainings "
        f"of one: a gap of {found.estimate}; chance gives as much with p"
    )
    assert found.sentence.startswith(start)
    assert found.sentence.endswith(", and less than 0.1 counts as none.")
    assert f"{clusters.n_templates} templates" in found.sentence
    large = max(2 * (int((~(x >= 0.1)).sum()) + 1) / (RESAMPLES_OF_RANKS + 1) for x in both)
    small = max(2 * (int((~(x < 0.1)).sum()) + 1) / (RESAMPLES_OF_RANKS + 1) for x in both)
    names = [dict(enumerate(order)) for order in permutations(range(len(FOUR)))]
    pairs = list(combinations(range(n_seeds), 2))
    chance = [
        np.mean([distances[n[s][k], n[t][k], i] for i, (s, t) in enumerate(pairs) for k in range(len(FOUR))])
        for n in product([names[0]], *[names] * (n_seeds - 1))
    ]
    exact = 2 * float(np.mean(np.array(chance) <= within + 1e-9))
    said = found.sentence.split("as much with p ")[1].split(",")[0]
    if said == "< 0.001":
        assert exact < 0.002
        p_chance = 0.0
    else:
        p_chance = float(said.removeprefix("= "))
        assert p_chance == pytest.approx(min(1.0, exact), rel=0.15 if exact > 0.05 else 0.6)
    decided = found.p_value
    assert decided is not None
    if found.verdict is REFUTED:
        assert decided == pytest.approx(small)
    else:
        assert decided == pytest.approx(min(1.0, max(large, p_chance)), rel=0.01)


def test_states_that_are_alike_in_every_training_differ_by_their_own_distance() -> None:
    made = trainings(ranks(1), ranks(1), ranks(1), ranks(1), noise=1e-6)
    found = judge(differ(), *made, n_layers=LAYERS)
    distances = split(apart([np.array([ranks(1)[name] for name in FOUR])] * 2))[1]
    assert found.verdict is SUPPORTED
    assert found.sentence.startswith(
        f"Over 4 seeds, 1 - Spearman is {distances:.3g} between states and 0 between trainings of one: a gap of "
        f"{distances:.3g} [{distances:.3g}, {distances:.3g}] of a rank correlation (32 prompts, 8 templates); "
    )


LEVEL, RAISED, FLAT = (0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0)


def of_four_layers(*given: Sequence[Sequence[float]]) -> list[Effects]:
    """So many trainings of four states; their ranks are -1 and 1, so that correlations of them are exact."""
    return [
        states(
            {None: [1.0] * 4, **{n: [1.0 + y for y in x] for n, x in zip(FOUR, one, strict=True)}},
            seed=seed,
            templates=2,
        )
        for seed, one in enumerate(given)
    ]


@pytest.mark.parametrize(
    ("seeds", "margin", "verdict"),
    [(5, 0.5, SUPPORTED), (5, np.nextafter(0.5, 1), REFUTED), (2, 0.5, INCONCLUSIVE)],
)
def test_a_gap_between_states_is_told_at_its_margin(seeds: int, margin: float, verdict: Verdict) -> None:
    """One state of four is uncorrelated with the others, in each training: (6 x 1 + 6 x 0) / 12 apart.

    Exchanged names leave it in one place in 1 / 4^(seeds - 1).
    """
    found = judge(differ(margin), *of_four_layers(*[[LEVEL, LEVEL, LEVEL, RAISED]] * seeds), n_layers=4)
    start, _, rest = found.sentence.partition("chance gives as much with p = ")
    chance, _, end = rest.partition(", ")
    assert start == (
        f"Over {seeds} seeds, 1 - Spearman is 0.5 between states and 0 between trainings of one: a gap of 0.5 "
        f"[0.5, 0.5] of a rank correlation ({2 * seeds} prompts, 2 templates); "
    )
    assert end == "and less than 0.5 counts as none."
    assert float(chance) == pytest.approx(8 / 4**seeds, abs=0.02 if seeds == 2 else 0.004)
    assert found.verdict is verdict
    assert found.p_value == pytest.approx(0.001 if verdict is REFUTED else float(chance), rel=0.01)


def test_states_that_are_one_do_not_differ() -> None:
    found = judge(differ(), *of_four_layers([LEVEL] * 4, [LEVEL] * 4), n_layers=4)
    whole = (
        "Over 2 seeds, 1 - Spearman is 0 between states and 0 between trainings of one: a gap of 0 [0, 0] of a rank "
        "correlation (4 prompts, 2 templates); chance gives as much with p = 1, and less than 0.1 counts as none."
    )
    assert told(found) == (REFUTED, whole, pytest.approx(0.001))


@pytest.mark.filterwarnings("error")
def test_a_training_whose_layers_change_alike_has_no_order() -> None:
    found = judge(
        differ(), *of_four_layers([LEVEL, LEVEL, RAISED, RAISED], [LEVEL, FLAT, RAISED, RAISED]), n_layers=4
    )
    assert found.verdict is INVALID
    assert found.sentence == (
        "Not a measurement: of b in seed 1, all layers change alike, within 0, so none can be singled out."
    )


def test_states_are_invalid_by_name_and_one_training_compares_with_none() -> None:
    made = trainings(ranks(1), ranks(1), noise=0.1)
    broken = [with_value(one, "kl_nats", 2 * LAYERS, 0, np.nan) for one in made]
    whole = "Not a measurement: of b, 2 of 112 changes of kl_nats are not finite."
    assert told(judge(differ(), *broken, n_layers=LAYERS)) == (INVALID, whole, None)
    whole = "Only seed 1 was measured: trainings are compared over two seeds at least."
    assert told(judge(differ(), made[1], n_layers=LAYERS)) == (INCONCLUSIVE, whole, 1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("templates", [5, 10, 14, 20])
def test_where_none_of_a_family_s_templates_is_drawn_there_is_no_mean(templates):
    """The weight of a template that is not drawn is 0 up to rounding, which a share of it would blow up."""
    prompts = states({None: [1.0]}, templates=templates, families=("a", "b", "c")).prompts
    pooled = Clusters.of(prompts)
    few = tuple(prompt for prompt in prompts if prompt.template in {p.template for p in prompts[:2]})
    drawn = Change(values=np.ones((2, len(few))), prompts=few, metric="kl_nats").drawn_with(pooled, 2_000)
    own = Clusters.of(few)
    counted = np.rint(weights_of(pooled)[:2_000] * 3 * templates * (templates - 1)).astype(int)
    own_counts = counted[:, [pooled.templates.index(name) for name in own.templates]]
    absent = np.array([[not row[own.family_of == f].any() for f in range(3)] for row in own_counts]).any(
        axis=1
    )
    assert 0 < absent.sum() < 2_000
    assert np.isnan(drawn[absent]).all()
    assert drawn[~absent] == pytest.approx(np.ones((int((~absent).sum()), 2)))
