"""Chapter: what does training an adapter change, in its own skill and in others, and do two of them add up?

One adapter a family (LoRA on q, k, v and o, rank 8, 100 steps, the loss on the answer alone), trained on half of the
family's prompts and measured on the other half. What an adapter adds is the rise of the held-out answer's
log-probability over the base model's. A change of profile is what skipping each block does under the adapter, less what
it does in the base model, each compared with its own whole run: without an offset, unclipped.

The atlas trained and measured on the same prompts, took the drop of the answer's log-probability from one baseline for
all, and cut what was below 0.

Held out are new fillings of templates that were trained on, and no prompt that was: a skill that does not reach beyond
its templates passes. A fact may be trained in another wording: 4 of 12 held-out facts are.

Adapters help one another's prompts: part of what each adds is how this suite's prompts are answered, whatever the
skill. A random update of their norm does nothing at all, which says little; another skill's adapter is the harder test.

Thresholds stood before any model was measured; what is expected of SmolLM2-135M was noted after its first run.
"""

from typing import Literal

import pytest

from harness.adapters.values import SOUND as RECIPE
from harness.adapters.values import Adapted, Kind, Part
from harness.claim import EVERY_MODEL, Claim, Protocol, Published
from harness.experiments.adapters import FAMILIES, MERGED_RANK
from harness.statistics.estimate import ANSWER_DROP
from harness.verdicts.criteria import (
    ChangeGini,
    ChangesDiffer,
    ChangeStandsOut,
    ChangeTop,
    Contrast,
    EveryProbe,
    FamilyLeads,
    OfFamilies,
    ProfileOf,
    SeparabilityLeads,
    Term,
)
from harness.verdicts.selectors import Singles
from harness.verdicts.training_selectors import Under
from harness.verdicts.verdict import Verdict

CHAPTER = "15. What training changes"

PUBLISHED, SOUND = Protocol.PUBLISHED, Protocol.SOUND
PROTOCOLS = (SOUND,)
"""Of the snapshots: erased streams are measured only where a card is about them."""

JSON, FACTUAL, CODE, COPYING, DELIMITER = FAMILIES
METRIC = {PUBLISHED: ANSWER_DROP, SOUND: "kl_nats"}
"""What a change of profile is read from. A drop here is from the base's answer, not from that of the model it is taken
of, as the atlas has it: the two differ by the adapter's gain, the same for all layers, which no order of layers depends
on."""
PAGE = "atlas, 0.5B page (seed 002)"
AUDIT = "atlas, audit page (seed 003)"
OURS = "this suite: the universal form"
SET_OF_LAYERS = "two of three published layers, as the ledger has it: one may be a tie"
TWO_DEVIATIONS = (
    "two standard deviations over layers, as the ledger has it: a twentieth of layers lie that far out"
)
NO_MARGIN = "a rise, without a margin"


def _trained(family: str, kind: Kind = Kind.TRAINED) -> Adapted:
    return Adapted(parts=(Part(family=family, recipe=RECIPE, kind=kind),))


def _sum(one: str, two: str) -> Adapted:
    """Both adapters on, in the order in which they were measured."""
    parts = tuple(Part(family=family, recipe=RECIPE) for family in FAMILIES if family in (one, two))
    return Adapted(parts=parts)


def _average(one: str, two: str) -> Adapted:
    parts = tuple(Part(family=f, recipe=RECIPE, weight=0.5) for f in FAMILIES if f in (one, two))
    return Adapted(parts=parts, merge="linear")


def _by_svd(one: str, two: str, rank: int | None = None) -> Adapted:
    """The sum of both adapters cut, in every module, to its best approximation of the rank of one, or of this one."""
    return Adapted(parts=_sum(one, two).parts, merge="svd", rank=rank)


def _gain(row: Adapted) -> tuple[Term, ...]:
    return (Term(weight=1.0, of=row), Term(weight=-1.0))


def _own_gain(family: str, at_least: float, why: str) -> OfFamilies:
    """What an adapter adds on its own family."""
    return OfFamilies(
        families=(family,),
        criterion=Contrast(
            experiment="adapter_families",
            what=f"what the adapter of {family} adds to the answer's log-probability",
            terms=_gain(_trained(family)),
            at_least=at_least,
            rationale=why,
        ),
    )


def _beyond_average(
    one: str, two: str, on: str, why: str, *, at_least: float | None = None, at_most: float | None = None
) -> OfFamilies:
    """The published bar: two averaged adapters against the average of their scores."""
    return OfFamilies(
        families=(on,),
        criterion=Contrast(
            experiment="adapter_families",
            what=f"the averaged adapters of {one} and {two}, less the average of the two",
            terms=(
                Term(weight=1.0, of=_average(one, two)),
                *(Term(weight=-0.5, of=_trained(family)) for family in (one, two)),
            ),
            rationale=why,
            at_least=at_least,
            at_most=at_most,
        ),
    )


def _beyond_sum(one: str, two: str, on: str, why: str, *, at_least: float) -> OfFamilies:
    """What two adapters add together, against what each adds alone."""
    return OfFamilies(
        families=(on,),
        criterion=Contrast(
            experiment="adapter_families",
            what=f"what the adapters of {one} and {two} add together, less what each adds alone",
            terms=(
                Term(weight=1.0, of=_sum(one, two)),
                *(Term(weight=-1.0, of=_trained(family)) for family in (one, two)),
                Term(weight=1.0),
            ),
            rationale=why,
            at_least=at_least,
        ),
    )


def _kept_of_sums(rank: int | None, what: str) -> tuple[OfFamilies, ...]:
    """On each skill, what is left of the sums with each other adapter, on average over the four."""
    share = 1.0 / (len(FAMILIES) - 1)
    return tuple(
        OfFamilies(
            families=(own,),
            criterion=Contrast(
                experiment="adapter_families",
                what=f"{what} of the adapter of {own} and another, less their sum, on average over four others",
                terms=tuple(
                    Term(weight=sign * share, of=of)
                    for other in FAMILIES
                    if other != own
                    for sign, of in ((1.0, _by_svd(own, other, rank)), (-1.0, _sum(own, other)))
                ),
                at_least=-0.1,
                rationale="a tenth of a nat, the least effect that counts: what a merge may lose of the sum",
            ),
        )
        for own in FAMILIES
    )


def _sums_add() -> tuple[OfFamilies, ...]:
    """On each skill, what the sums with each other adapter add to the base's answers, on average over the four."""
    share = 1.0 / (len(FAMILIES) - 1)
    return tuple(
        OfFamilies(
            families=(own,),
            criterion=Contrast(
                experiment="adapter_families",
                what=f"what the sums of the adapter of {own} and another add, on average over four others",
                terms=(
                    *(Term(weight=share, of=_sum(own, other)) for other in FAMILIES if other != own),
                    Term(weight=-1.0),
                ),
                at_least=0.1,
                rationale="a tenth of a nat: where the sum does nothing there is nothing to keep",
            ),
        )
        for own in FAMILIES
    )


def _profile(family: str | None) -> ProfileOf:
    parts = () if family is None else (Part(family=family, recipe=RECIPE),)
    select = Under(parts=parts, select=Singles())
    return ProfileOf(experiment="adapter_profiles", select=select, noun="block")


BASE = _profile(None)


def _own_layers(family: str, layers: tuple[int, int, int]) -> dict[Protocol, tuple[OfFamilies, ...]]:
    """Two of the three layers that change most are the published ones, and each of those stands out."""
    return {
        protocol: (
            OfFamilies(
                families=(family,),
                criterion=ChangeTop(
                    before=BASE,
                    after=_profile(family),
                    metric=metric,
                    layers=layers,
                    at_least=2,
                    rationale=SET_OF_LAYERS,
                ),
            ),
            OfFamilies(
                families=(family,),
                criterion=ChangeStandsOut(
                    before=BASE,
                    after=_profile(family),
                    metric=metric,
                    layers=layers,
                    at_least=2.0,
                    rationale=TWO_DEVIATIONS,
                ),
            ),
        )
        for protocol, metric in METRIC.items()
    }


def _different_layers(protocol: Protocol) -> ChangesDiffer:
    return ChangesDiffer(
        before=BASE,
        after={family: _profile(family) for family in FAMILIES},
        metric=METRIC[protocol],
        margin=0.1,
        rationale="beyond chance by permutation, as the ledger asks; a gap below a tenth of a rank correlation is none",
    )


def _json_shift(which: Literal["largest", "smallest"]) -> FamilyLeads:
    return FamilyLeads(
        experiment="adapter_families",
        what="KL(base || JSON adapter)",
        family=JSON if which == "largest" else CODE,
        which=which,
        sums={name: (Term(weight=1.0, of=_trained(JSON)),) for name in FAMILIES},
        metric="kl_nats",
        rationale="an order, without a margin",
    )


def _most_separable(family: str) -> SeparabilityLeads:
    return SeparabilityLeads(
        family=family,
        adapters={name: _trained(name) for name in FAMILIES},
        before=BASE,
        after={name: _profile(name) for name in FAMILIES},
        rationale="an order, without a margin, as the ledger has it",
    )


CLAIMS = (
    Claim(
        id="lora-skill-specific-layers",
        sentence="Each skill's adapter changes a set of layers of its own.",
        source=PAGE,
        falsified_by="changes of profile as far apart between trainings of one skill as between skills",
        models=("qwen0_5b",),
        over_seeds=True,
        criteria={p: (_different_layers(p),) for p in (PUBLISHED, SOUND)},
        published=(
            Published(value=5, unit="skills", what="each with three layers of its own", source=PAGE),
            Published(
                value="7.07 +- 0.48",
                unit="nats",
                what="change of all 24 layers under the factual adapter",
                source="raw results",
            ),
        ),
        note="The published changes are the gain of the answer's log-probability, the same for every layer, and a "
        "little noise on top, from three prompts a family; the three largest of 24 were then named. All skills are "
        "compared here on the same prompts. Two trainings of a skill share some of their items (of 96: 91 of factual "
        "recall, about 55 of code, JSON and copying, 30 of delimiters), which makes them more alike.",
    ),
    *(
        Claim(
            id=f"lora-{short}-layers",
            sentence=f"The {short} adapter changes L{', L'.join(map(str, layers))} most.",
            source=PAGE,
            falsified_by="two of the three layers that change most being others, or one of these not standing out",
            models=("qwen0_5b",),
            criteria=_own_layers(family, layers),
            published=(
                Published(value=changes, unit="nats", what="change of these layers", source="raw results"),
                Published(value=spread, unit="nats", what="change of all layers", source="raw results"),
            ),
            note=why,
        )
        for short, family, layers, changes, spread, why in (
            (
                "factual",
                FACTUAL,
                (3, 16, 19),
                "7.59, 7.80, 7.53",
                "5.30 to 7.80",
                "All layers share the gain of 7 nats that training on the measured prompts gives; what is left "
                "is noise of three prompts.",
            ),
            (
                "code",
                CODE,
                (1, 10, 21),
                "8.08, 7.84, 7.90",
                "3.36 to 8.08",
                "As for the factual adapter: a gain of 6.6 nats, shared by all layers, and noise of three prompts.",
            ),
            (
                "json",
                JSON,
                (6, 12, 13),
                "3.48, 2.60, 2.60",
                "up to 3.48",
                "L17 has 2.60 nats as well: the third of the three is a tie, broken by nothing.",
            ),
        )
    ),
    Claim(
        id="lora-copying-dispersed",
        sentence="The copying adapter changes no layers more than others.",
        source=PAGE,
        falsified_by="a Gini coefficient of the changes over layers above 0.3",
        models=("qwen0_5b",),
        criteria={
            SOUND: (
                OfFamilies(
                    families=(COPYING,),
                    criterion=ChangeGini(
                        before=BASE,
                        after=_profile(COPYING),
                        at_most=0.3,
                        rationale="as the ledger asks; noise alone gives 0.41",
                    ),
                ),
            )
        },
        published=(Published(value="dispersed", unit="", what="pattern", source=PAGE),),
        note="Published from targets that were all wrong (the first symbol for the next one), with 14 of 24 layers cut "
        "to 0. Here the targets are verified and nothing is cut.",
    ),
    Claim(
        id="lora-delimiter-absorbed",
        sentence="After training, delimiter tracking depends on no layer: it is absorbed.",
        source=PAGE,
        falsified_by="an adapter that lowers the answer's log-probability, or a layer whose removal still counts",
        models=("qwen0_5b",),
        criteria={
            SOUND: (
                _own_gain(DELIMITER, 0.0, "what is absorbed is not lost: a rise, without a margin"),
                OfFamilies(
                    families=(DELIMITER,),
                    criterion=EveryProbe(
                        experiment="adapter_profiles",
                        select=_profile(DELIMITER).select,
                        metric="kl_nats",
                        at_most=0.1,
                        rationale="the least effect that counts: 'no layer' is read as below it in every layer",
                    ),
                ),
            )
        },
        published=(
            Published(value=0.0, unit="nats", what="sensitivity of every layer", source=PAGE),
            Published(
                value=-18.94, unit="nats", what="what the adapter adds on its own skill", source="raw results"
            ),
        ),
        note="The zeros are max(0, drop) of a model whose answer had fallen from -9.1 to -28.1 nats: nothing was left "
        "that could drop. Clipping made a ruined skill look absorbed.",
    ),
    Claim(
        id="lora-1_5b-json-shift",
        sentence="The JSON adapter moves JSON prompts most and code prompts least.",
        source="atlas, 1.5B page (seed 001)",
        falsified_by="another family moved more than JSON, or less than code",
        models=("qwen1_5b",),
        criteria={SOUND: (_json_shift("largest"), _json_shift("smallest"))},
        published=(
            Published(value=6.47, unit="nats", what="JSON", source="1.5B page"),
            Published(value=0.54, unit="nats", what="copying", source="1.5B page"),
            Published(value=0.28, unit="nats", what="delimiter tracking", source="1.5B page"),
            Published(value=4.81, unit="nats", what="delimiter tracking, same run", source="raw results"),
            Published(value=0.16, unit="nats", what="factual", source="1.5B page"),
            Published(value=0.08, unit="nats", what="code semantics", source="1.5B page"),
        ),
        note="The published rows hold one prompt each: the delimiter prompt of 4.81 nats was overwritten by another of "
        "0.28. Code syntax, with 0.05 the least, has no adapter here; code semantics stands for it, of five families.",
    ),
    Claim(
        id="json-shift-invariant",
        sentence="At both scales JSON training moves JSON prompts most.",
        source="atlas, comparison page (seed 000)",
        falsified_by="another family that the JSON adapter moves more, at either scale",
        models=("qwen0_5b", "qwen1_5b"),
        criteria={SOUND: (_json_shift("largest"),)},
        published=(
            Published(value=6.47, unit="nats", what="JSON at 1.5B", source="comparison page"),
            Published(value=9.36, unit="nats", what="JSON at 0.5B, the next 0.25", source="raw results"),
        ),
        note="It would be news if it were otherwise: the adapter was trained on JSON, and on the measured prompts.",
    ),
    Claim(
        id="stacking-factual-json",
        sentence="Together, the factual and the JSON adapter help both skills beyond expectation.",
        source=PAGE,
        falsified_by="either skill at or below what is expected: of averaged adapters the average of the two, of both "
        "wholly on the sum of what each adds",
        models=("qwen0_5b",),
        criteria={
            SOUND: tuple(
                beyond(JSON, FACTUAL, on, why, at_least=0.0)
                for beyond, why in (
                    (_beyond_average, "the published bar, without a margin"),
                    (_beyond_sum, "the additive bar: two adapters that leave each other alone reach it"),
                )
                for on in (FACTUAL, JSON)
            )
        },
        published=(
            Published(value=2.35, unit="nats", what="beyond expectation, factual", source=PAGE),
            Published(value=1.17, unit="nats", what="beyond expectation, JSON", source=PAGE),
            Published(
                value="6.59 and 6.11",
                unit="nats",
                what="added on factual prompts, averaged and by the factual adapter alone",
                source="raw results",
            ),
        ),
        note="Published on training prompts, where the JSON answer is certain (0.0 nats) and cannot rise. The average "
        "of a good and an indifferent adapter is a low bar where half of an update does more than half of its work. "
        "The merge averaged A and B apart, which is not the average of the updates.",
    ),
    Claim(
        id="stacking-code-json-compatible",
        sentence="The code and the JSON adapter combine with moderate interference.",
        source=PAGE,
        falsified_by="more than a nat below what is expected, on either's own skill",
        models=("qwen0_5b",),
        criteria={
            SOUND: tuple(
                beyond(JSON, CODE, on, "a nat below is moderate, as the ledger has it", at_least=-1.0)
                for beyond in (_beyond_average, _beyond_sum)
                for on in (CODE, JSON)
            )
        },
        published=(
            Published(value="compatible", unit="", what="label", source=PAGE),
            Published(
                value="2.15 and 0.39",
                unit="nats",
                what="beyond the average, code and JSON",
                source="raw results",
            ),
            Published(value=-7.42, unit="nats", what="on delimiter prompts", source="raw results"),
        ),
        note="The raw numbers on both skills are above expectation, no interference; what suffers is delimiter "
        "tracking, which neither was trained on.",
    ),
    Claim(
        id="stacking-delimiter-destructive",
        sentence="Any merge with the delimiter adapter destroys the other skill.",
        source=PAGE,
        falsified_by="a skill less than 7 nats below the average of the two adapters",
        models=("qwen0_5b",),
        criteria={
            SOUND: tuple(
                _beyond_average(
                    other, DELIMITER, other, "the lesser of the published 7 and 16 nats", at_most=-7.0
                )
                for other in FAMILIES
                if other != DELIMITER
            )
        },
        published=(
            Published(value="-7 to -16", unit="nats", what="interference", source=PAGE),
            Published(
                value=-15.51, unit="nats", what="with code, on delimiter prompts", source="raw results"
            ),
            Published(value=4.75, unit="nats", what="with code, on code prompts", source="raw results"),
        ),
        note="The -7 come from pairs without the delimiter adapter, and all of these numbers from delimiter prompts: "
        "the skill that this adapter had already ruined alone (-18.9 nats). Other skills gained.",
    ),
    Claim(
        id="sep-code-best",
        sentence="Of five skills, code semantics is the most separable.",
        source=AUDIT,
        falsified_by="another skill to which its own adapter adds more",
        models=("qwen0_5b",),
        criteria={SOUND: (_most_separable(CODE),)},
        published=(
            Published(value=0.361, unit="", what="score of code semantics", source=AUDIT),
            Published(value="0.215 to 0.221", unit="", what="scores of the others", source=AUDIT),
        ),
        note="Of the published score's six terms two are the constant 0.5 (0.15 of every score), two are cut at 0 (a "
        "loss counts as no gain, a removal that helps as no selectivity), and one compares the sizes of A and B; only "
        "the gain separates (3.70 nats against four losses). Here four terms are measured, held out and with their "
        "signs, at the published weights; the constants are left out, as they cannot tell one skill from another. What "
        "an adapter adds to other skills counts for it, as damage below 0; noise makes the sharpness larger.",
    ),
    Claim(
        id="sep-collateral-zero",
        sentence="No skill's adapter does anything to other skills.",
        source=AUDIT,
        falsified_by="an adapter that moves the prediction on other families by more than 0.05 nats on average",
        models=("qwen0_5b",),
        criteria={
            SOUND: tuple(
                OfFamilies(
                    families=tuple(other for other in FAMILIES if other != family),
                    criterion=Contrast(
                        experiment="adapter_families",
                        what=f"KL(base || adapter of {family}) on other families",
                        terms=(Term(weight=1.0, of=_trained(family)),),
                        metric="kl_nats",
                        at_most=0.05,
                        rationale="half the least effect that counts, as the ledger has it",
                    ),
                )
                for family in FAMILIES
            )
        },
        published=(
            Published(value=0, unit="nats", what="collateral damage, all skills", source=AUDIT),
            Published(
                value=-4.16, unit="nats", what="JSON adapter on delimiter prompts", source="raw results"
            ),
        ),
        note="The published 0 is max(0, loss) averaged over 15 prompts, the skill's own among them: a gain anywhere "
        "cancels a loss elsewhere, and what is left below 0 is cut.",
    ),
    Claim(
        id="separability-code-leads",
        sentence="By the four terms of the published score that say something, measured, code semantics is the most "
        "separable of five skills.",
        source=f"{OURS} of 'code semantics is the most separable'",
        falsified_by="another skill with a higher score",
        models=EVERY_MODEL,
        criteria={SOUND: (_most_separable(CODE),)},
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.INCONCLUSIVE}},
    ),
    Claim(
        id="training-raises-json",
        sentence="An adapter trained on JSON makes the answers of held-out JSON prompts much likelier.",
        source=OURS,
        falsified_by="a rise of less than a nat, on prompts that were held out",
        models=EVERY_MODEL,
        criteria={
            SOUND: (
                _own_gain(
                    JSON, 1.0, "a nat: the answer 2.7 times as likely; an adapter that does less is none"
                ),
            )
        },
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
    ),
    Claim(
        id="training-raises-each-skill",
        sentence="Each of the five adapters makes the answers of its own family's held-out prompts likelier.",
        source=OURS,
        falsified_by="an adapter that lowers the answer's log-probability on its own family, as the atlas's did for "
        "copying and delimiter tracking",
        models=EVERY_MODEL,
        criteria={SOUND: tuple(_own_gain(family, 0.0, NO_MARGIN) for family in FAMILIES)},
        borderline={SOUND: ("gemma3_270m", "smollm2_135m")},
    ),
    Claim(
        id="training-own-beats-others",
        sentence="Each of the five adapters adds a tenth of a nat more to its own family's answers than the other four "
        "do on average.",
        source="this suite: what is skill, and what is the form of an answer",
        falsified_by="a family to which other adapters add as much as its own",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                OfFamilies(
                    families=(family,),
                    criterion=Contrast(
                        experiment="adapter_families",
                        what=f"what the adapter of {family} adds, less what those of the other four add on average",
                        terms=(
                            Term(weight=1.0, of=_trained(family)),
                            *(
                                Term(weight=-0.25, of=_trained(other))
                                for other in FAMILIES
                                if other != family
                            ),
                        ),
                        at_least=0.1,
                        rationale="a tenth of a nat, the least effect that counts",
                    ),
                )
                for family in FAMILIES
            )
        },
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
        note="Written after a reader had seen how much adapters add to others' prompts on SmolLM2-135M.",
    ),
    Claim(
        id="training-random-update-inert",
        sentence="It takes training: a random update of the same norm makes no skill's answers likelier.",
        source=OURS,
        falsified_by="a random update that adds more than a tenth of a nat",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                OfFamilies(
                    families=(family,),
                    criterion=Contrast(
                        experiment="adapter_families",
                        what=f"what a random update like that of {family} adds to the answer's log-probability",
                        terms=_gain(_trained(family, Kind.RANDOM)),
                        at_most=0.1,
                        rationale="the least effect that counts, a tenth of what training is asked for",
                    ),
                )
                for family in FAMILIES
            )
        },
        borderline={SOUND: ("gemma3_270m", "smollm2_135m")},
    ),
    Claim(
        id="training-spares-other-skills",
        sentence="An adapter costs the other four families at most half a nat on average.",
        source=OURS,
        falsified_by="an adapter under which the answers of the other families lose more than half a nat",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                OfFamilies(
                    families=tuple(other for other in FAMILIES if other != family),
                    criterion=Contrast(
                        experiment="adapter_families",
                        what=f"what the adapter of {family} adds to the answer's log-probability on other families",
                        terms=_gain(_trained(family)),
                        at_least=-0.5,
                        rationale="half of what training on JSON is asked to add; the atlas lost up to 4.2 nats",
                    ),
                )
                for family in FAMILIES
            )
        },
        borderline={SOUND: ("gemma3_270m",)},
    ),
    Claim(
        id="training-json-moves-json-most",
        sentence="Of five families the JSON adapter moves JSON prompts most.",
        source=f"{OURS} of 'JSON training moves JSON most at both scales'",
        falsified_by="another family that it moves more",
        models=EVERY_MODEL,
        criteria={SOUND: (_json_shift("largest"),)},
    ),
    Claim(
        id="training-skills-differ-in-layers",
        sentence="What an adapter changes about which blocks matter depends on the skill, beyond what two trainings of "
        "one skill differ by.",
        source=f"{OURS} of 'each skill's adapter changes layers of its own'",
        falsified_by="changes of profile as far apart between trainings of one skill as between skills",
        models=EVERY_MODEL,
        over_seeds=True,
        criteria={SOUND: (_different_layers(SOUND),)},
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE}},
        note="Supported of SmolLM2-135M by an older rule, which took the permutation alone for chance: on made-up "
        "models just below the margin it was wrong in half of all trials.",
    ),
    Claim(
        id="stacking-average-is-a-low-bar",
        sentence="Two averaged adapters score above the average of the two, on both skills: the published bar is low.",
        source="this suite: why 'beyond expectation' as published says little",
        falsified_by="the averaged factual and JSON adapters below the average of the two on either skill",
        models=EVERY_MODEL,
        criteria={
            SOUND: tuple(
                _beyond_average(JSON, FACTUAL, on, "an order, without a margin", at_least=0.0)
                for on in (FACTUAL, JSON)
            )
        },
        borderline={SOUND: ("gemma3_270m", "smollm2_135m")},
    ),
    Claim(
        id="stacking-svd-keeps-the-sum",
        sentence="Merged by SVD at the rank of one of them, two adapters keep, on each skill and on average over the "
        "other four, what their sum does.",
        source="this suite: whether a merge that is no larger than one adapter holds two skills",
        falsified_by="a skill on which merges lose more than a tenth of a nat of what the sums with other adapters do",
        models=EVERY_MODEL,
        criteria={SOUND: _kept_of_sums(None, "the SVD merge, at the rank of one,")},
        presupposes=_sums_add(),
        expected={SOUND: {"gemma3_270m": Verdict.INCONCLUSIVE}},
        borderline={SOUND: ("smollm2_135m",)},
        note="The sum of two adapters of rank 8 has rank 16 in every module, and the concatenation of their factors is "
        "that sum exactly; an SVD merge keeps its 8 largest singular values. Whether the sum itself helps is asked by "
        "other cards.",
    ),
    Claim(
        id="stacking-svd-one-rank-each",
        sentence=f"At rank {MERGED_RANK}, one rank for each of two adapters, an SVD merge still keeps what their sum "
        "does.",
        source="this suite: how little of a merge is enough",
        falsified_by="a skill on which such merges lose more than a tenth of a nat of what the sums do",
        models=EVERY_MODEL,
        criteria={SOUND: _kept_of_sums(MERGED_RANK, f"the SVD merge, at rank {MERGED_RANK},")},
        presupposes=_sums_add(),
        expected={SOUND: {"smollm2_135m": Verdict.INCONCLUSIVE, "gemma3_270m": Verdict.INCONCLUSIVE}},
        note="The largest singular values may all be of one of the two: nothing shares the ranks out evenly.",
    ),
)


def test_training_effects(cell, judge):
    """Each claim of this chapter, on each model, protocol and seed."""
    judge(cell)


@pytest.mark.parametrize("experiment", ["adapter_families", "adapter_profiles"])
def test_training_effects_snapshot(experiment, effects_cell, effects, snapshot):
    """What adapters and pairs of them do, and each block under them, against the last accepted measurement."""
    assert effects(experiment, effects_cell) == snapshot
