"""Judging classes of positions: SpotOutweighs, SpotRatio, SpotPeak.

Every comparison is one of means of paired differences, which are linear in the prompts: "a is at least c times b" holds
where the mean of a - c b is at least 0. Bootstrap over templates, as for any mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.edits import Edit
from harness.effects import PromptRecord
from harness.statistics.bootstrap import Sampled, sample
from harness.statistics.clusters import Clusters
from harness.statistics.estimate import ALPHA, Estimate, format_number
from harness.verdicts.deciding import decide
from harness.verdicts.hub import contest
from harness.verdicts.position_criteria import SpotOutweighs, SpotPeak, SpotRatio
from harness.verdicts.reading import Measured, Profile, Rows, invalid, make_profile, say_p
from harness.verdicts.selectors import Edges, Spotted
from harness.verdicts.verdict import Finding, MissingEvidence, Verdict


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The effects of two selections on the prompts that have positions of both."""

    a: Float[np.ndarray, " prompts"]
    b: Float[np.ndarray, " prompts"]
    prompts: tuple[PromptRecord, ...]
    metric: str
    problem: str | None

    def sampled(self) -> Sampled:
        """Means of a and of b with resamples."""
        return sample(Clusters.of(self.prompts), np.vstack([self.a, self.b]), self.metric)

    def excess(self, share: float) -> Sampled:
        """Mean of a - share x b."""
        return sample(Clusters.of(self.prompts), (self.a - share * self.b)[None], self.metric)


def judge_outweighs(criterion: SpotOutweighs, measured: Measured) -> Finding:
    """Supported where it exceeds each of the others (intersection-union); refuted where one exceeds it (Bonferroni).

    Inconclusive otherwise, and where two classes meet in prompts of a single template.
    """
    pairs = [_pair(measured, criterion, criterion.stronger, weaker) for weaker in criterion.weaker]
    for pair, weaker in zip(pairs, criterion.weaker, strict=True):
        if pair.problem:
            return invalid(pair.problem)
        if _single(pair.prompts):
            return _undecided(f"One template has both {criterion.stronger} and {weaker}: nothing to compare.")
    excess = [pair.excess(criterion.times) for pair in pairs]
    holds = np.array([min(1.0, 2 * x.p_above(0, 0.0)) for x in excess])
    fails = np.array([min(1.0, 2 * len(pairs) * x.p_below(0, 0.0)) for x in excess])
    verdict, p, shown = Verdict.INCONCLUSIVE, float(holds.max()), holds == holds.max()
    if holds.max() <= ALPHA:
        verdict = Verdict.SUPPORTED
    elif fails.min() <= ALPHA:
        verdict, p, shown = Verdict.REFUTED, float(fails.min()), fails == fails.min()
    lead = np.array([float(x.value[0]) for x in excess])
    i = int(np.argmin(np.where(shown, lead, np.inf)))  # of equally sure ones
    each = " per token" if criterion.per_token else ""
    ahead, behind = (pairs[i].sampled().estimate(k) for k in (0, 1))
    by = "" if criterion.times == 1.0 else f" less {format_number(criterion.times)} times the other"
    estimate = excess[i].estimate(0)
    return Finding(
        verdict=verdict,
        sentence=f"'{criterion.stronger}' moves {format_number(ahead.value)} {ahead.unit}{each}, "
        f"'{criterion.weaker[i]}' {format_number(behind.value)}: a difference{by} of {estimate}, {say_p(p)}.",
        estimate=estimate,
        p_value=p,
    )


def judge_ratio(criterion: SpotRatio, measured: Measured) -> Finding:
    """Supported where the ratio lies in the band at both edges; refuted where it lies beyond one (Bonferroni).

    Inconclusive where there is no effect that a share could be taken of.
    """
    pair = _pair(measured, criterion, criterion.part, criterion.of)
    if pair.problem:
        return invalid(pair.problem)
    if _single(pair.prompts):
        return _undecided(f"One template has both {criterion.part} and {criterion.of}: nothing to compare.")
    means = pair.sampled()
    whole = means.estimate(1)
    if whole.low < criterion.min_effect_nats:
        return _undecided(
            f"There is no effect to take a share of: '{criterion.of}' moves {whole}, and its lower bound is not "
            f"{format_number(criterion.min_effect_nats)} nats."
        )
    low, high = pair.excess(criterion.at_least), pair.excess(criterion.at_most)
    p_in = min(1.0, 2 * max(low.p_above(0, 0.0), high.p_below(0, 0.0)))
    p_out = min(1.0, 4 * min(low.p_below(0, 0.0), high.p_above(0, 0.0)))
    verdict, p = decide(p_in, p_out)
    estimate = _ratio(criterion, means, low, high)
    return Finding(
        verdict=verdict,
        sentence=f"'{criterion.part}' moves {format_number(float(means.value[0]))} {whole.unit}, '{criterion.of}' "
        f"{format_number(whole.value)}: a ratio of {estimate}, where {format_number(criterion.at_least)} to "
        f"{format_number(criterion.at_most)} is asked for, {say_p(p)}.",
        estimate=estimate,
        p_value=p,
    )


def judge_peak(criterion: SpotPeak, measured: Measured) -> Finding:
    """Supported: every other block beaten in the paired test. Refuted: another one beyond it. Else a tie."""
    profile = _profile(criterion, measured)
    profile.check_layer(criterion.layer)
    if profile.problem:
        return invalid(profile.problem)
    fight = contest(profile, criterion.layer)
    own = profile.sampled.estimate(criterion.layer)
    rival = fight.second if criterion.layer == fight.best else fight.best
    if fight.separated:
        verdict, p, why = (
            Verdict.SUPPORTED,
            fight.p_separated,
            f"and is separated ({say_p(fight.p_separated)})",
        )
    elif fight.beaten:
        verdict, p, why = (
            Verdict.REFUTED,
            fight.p_beaten,
            f"and L{rival} lies above it ({say_p(fight.p_beaten)})",
        )
    else:
        verdict, p, why = Verdict.INCONCLUSIVE, fight.p_separated, "which is a tie"
    return Finding(
        verdict=verdict,
        sentence=f"At L{criterion.layer}, {criterion.select} moves {own}; the strongest other block is L{rival} with "
        f"{format_number(float(profile.sampled.value[rival]))}, {why}.",
        estimate=own,
        p_value=p,
    )


def _ratio(criterion: SpotRatio, means: Sampled, low: Sampled, high: Sampled) -> Estimate:
    """The ratio; each bound is that of the excess over the edge on its own side, so that it agrees with the verdict."""
    whole = float(means.value[1])
    return replace(
        means.estimate(0),
        value=float(means.value[0]) / whole,
        low=criterion.at_least + low.interval(0)[0] / whole,
        high=criterion.at_most + high.interval(0)[1] / whole,
        unit="x",
    )


def _pair(
    measured: Measured, criterion: SpotOutweighs | SpotRatio, a: Spotted | Edges, b: Spotted | Edges
) -> Pair:
    """Both effects, prompt by prompt. Raises MissingEvidence where no prompt has both classes."""
    rows = [measured.rows(criterion.experiment, select, criterion.metric) for select in (a, b)]
    both = [prompt for prompt in rows[0].prompts if prompt in set(rows[1].prompts)]
    if not both:
        raise MissingEvidence(f"no prompt of '{criterion.experiment}' has the positions of both {a} and {b}")
    per_token = isinstance(criterion, SpotOutweighs) and criterion.per_token
    one, two = (_effect(r, s, both, per_token=per_token) for r, s in zip(rows, (a, b), strict=True))
    return Pair(
        a=one,
        b=two,
        prompts=tuple(both),
        metric=criterion.metric,
        problem=rows[0].problem or rows[1].problem,
    )


def _effect(
    rows: Rows, select: Spotted | Edges, prompts: list[PromptRecord], *, per_token: bool
) -> Float[np.ndarray, " prompts"]:
    column = {prompt: i for i, prompt in enumerate(rows.prompts)}
    effect = rows.values.mean(axis=0)[[column[prompt] for prompt in prompts]]
    if not per_token:
        return np.asarray(effect)
    return np.asarray(effect / [_count(prompt, select.spot) for prompt in prompts])


def _count(prompt: PromptRecord, spot: str) -> int:
    """Number of tokens of a class. Raises MissingEvidence where the record does not say."""
    counts = dict(zip(prompt.spots, prompt.n_in_spots, strict=False))
    if spot not in counts:
        raise MissingEvidence(
            f"the record does not say how many tokens of the prompt {prompt.text!r} are '{spot}'"
        )
    return counts[spot]


def _profile(criterion: SpotPeak, measured: Measured) -> Profile:
    """The mean effect of each block's probes. Raises MissingEvidence unless every block has as many."""
    rows = measured.rows(criterion.experiment, criterion.select, criterion.metric)
    layer_of = np.array([p.layers[0] for p in rows.probes if isinstance(p, Edit)])
    counts = np.bincount(layer_of, minlength=measured.n_layers)
    if len(set(counts.tolist())) != 1:
        raise MissingEvidence(
            f"a peak needs every one of {measured.n_layers} layers equally often; '{criterion.experiment}' holds "
            f"{counts.tolist()} probes for: {criterion.select}"
        )
    values = np.array([rows.values[layer_of == layer].mean(axis=0) for layer in range(measured.n_layers)])
    return make_profile(values, rows.prompts, rows.problem)


def _single(prompts: tuple[PromptRecord, ...]) -> bool:
    return Clusters.of(prompts).n_templates < 2


def _undecided(sentence: str) -> Finding:
    return Finding(verdict=Verdict.INCONCLUSIVE, sentence=sentence, p_value=1.0)
