"""Tables of one adapter are of the same weights, or they are not judged together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.adapters.values import SOUND
from harness.anatomy import Anatomy
from harness.assessment import assess, differing_adapters
from harness.claim import Claim
from harness.evidence import Evidence
from harness.experiments import EXPERIMENTS
from harness.protocols import Protocol
from harness.verdicts.adapter_selectors import AdapterRows, On
from harness.verdicts.criteria import EveryProbe
from harness.verdicts.selectors import Singles
from harness.verdicts.synthetic import table
from harness.verdicts.verdict import Verdict

Make = Callable[..., Evidence]
LAYERS, TRANSFER = "adapter_layers", "adapter_transfer"
SEEDS = (42, 137)


def used(
    weights: str, *, step: int = 100, seed: int = 42, name: str = "sound", **recipe: Any
) -> dict[str, Any]:
    given = {**SOUND.to_json(), "name": name, **recipe}
    return {"family": "json_schema", "recipe": given, "seed": seed, "step": step, "weights": weights}


@pytest.fixture
def tables(make_evidence: Make) -> Callable[..., dict[tuple[str, int], Evidence]]:
    """tables(adapter_layers=["aa", "bb"], ...) -> evidence whose adapters have these weights, seed by seed."""

    def build(model: str = "made_up", **digests: list[str]) -> dict[tuple[str, int], Evidence]:
        found = {}
        for name, by_seed in digests.items():
            for seed, digest in zip(SEEDS, by_seed, strict=True):
                probes = EXPERIMENTS[name].probes(Protocol.SOUND, Anatomy(n_layers=4))
                entries = [used(digest * 32, seed=seed)]
                found[name, seed] = make_evidence(
                    model=model,
                    experiment=name,
                    seed=seed,
                    effects=table(probes, {"kl_nats": [1.0] * len(probes)}, noise=0.01, seed=seed),
                    provenance={"date": "2026-01-02", "adapters": entries},
                )
        return found

    return build


def claim(id_: str, *experiments: str, **fields: Any) -> Claim:
    criteria = tuple(
        EveryProbe(
            experiment=name,
            select=AdapterRows(on=On.ONLY if name == LAYERS else On.LAST),
            metric="kl_nats",
            at_least=0.5,
            rationale="a test",
        )
        for name in experiments
    )
    given = {
        "sentence": f"{id_}.",
        "source": "this test",
        "falsified_by": "its opposite",
        "models": ("made_up",),
    }
    return Claim(id=id_, **{**given, "criteria": {Protocol.SOUND: criteria}, **fields})  # type: ignore[arg-type]


LATE, CARRIED, BOTH = claim("late", LAYERS), claim("carried", TRANSFER), claim("both", LAYERS, TRANSFER)


def judged(found: dict[tuple[str, int], Evidence], *claims: Claim, **given: Any) -> dict[str, Any]:
    def evidence(model: str, name: str, protocol: Protocol, seed: int) -> Evidence:
        return found[name, seed]

    return assess(claims, "made_up", Protocol.SOUND, SEEDS, evidence, **given)


def test_tables_of_one_adapter_are_judged(tables: Any) -> None:
    found = tables(adapter_layers=["aa", "bb"], adapter_transfer=["aa", "bb"])
    verdicts = judged(found, LATE, CARRIED, BOTH, absent=KeyError)
    assert {j.verdict for j in verdicts.values()} == {Verdict.SUPPORTED}
    assert differing_adapters(found.values()) == {}


def test_tables_of_two_adapters_are_invalid_and_say_which(tables: Any) -> None:
    """In the second seed alone. Each table by itself may be sound: which of the two is, is not known."""
    found = tables(adapter_layers=["aa", "bb"], adapter_transfer=["aa", "cc"])
    verdicts = judged(found, LATE, CARRIED, BOTH)
    assert {j.verdict for j in verdicts.values()} == {Verdict.INVALID}
    said = verdicts["both"].sentence
    assert "json_schema (sound) of seed 137 at step 100 has other weights" in said
    assert "(bbbbbbbb in adapter_layers and cccccccc in adapter_transfer)" in said
    assert "seed 42" not in said


def test_a_table_of_another_chapter_is_compared_where_it_is_there(tables: Any) -> None:
    found = tables(adapter_layers=["aa", "bb"], adapter_transfer=["aa", "cc"])
    assert judged(found, LATE)["late"].verdict is Verdict.SUPPORTED
    beside = judged(found, LATE, absent=KeyError)["late"]
    assert beside.verdict is Verdict.INVALID
    assert "cccccccc in adapter_transfer" in beside.sentence
    alone = {key: record for key, record in found.items() if key[0] == LAYERS}
    assert judged(alone, LATE, absent=KeyError)["late"].verdict is Verdict.SUPPORTED


def test_claims_that_read_no_adapter_look_at_no_other_table(make_evidence: Make) -> None:
    asked = []

    def evidence(model: str, name: str, protocol: Protocol, seed: int) -> Evidence:
        asked.append(name)
        return make_evidence(seed=seed)

    every = EveryProbe(
        experiment="layer_sweep", select=Singles(), metric="kl_nats", at_least=0.05, rationale="a test"
    )
    blocks = claim("blocks", criteria={Protocol.SOUND: (every,)})
    assess([blocks], "made_up", Protocol.SOUND, SEEDS, evidence, absent=KeyError)
    assert set(asked) == {"layer_sweep"}


def test_other_steps_seeds_and_recipes_are_other_adapters(make_evidence: Make) -> None:
    records = [
        make_evidence(provenance={"adapters": [entry]})
        for entry in (
            used("aa"),
            used("bb", step=50),
            used("cc", seed=137),
            used("dd", name="rank_2", rank=2),
            used("ee", rank=2),
        )
    ]
    assert differing_adapters(records) == {}
    again = make_evidence(provenance={"adapters": [used("ff", step=50)]})
    assert "at step 50" in differing_adapters([*records, again])["layer_sweep"]
