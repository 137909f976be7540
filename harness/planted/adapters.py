"""Planted adapters: updates of known size whose effect on every prediction is a closed form.

The algebra is that of `harness.planted.writers`, light (`harness.planted.light`). The base model is laid out so:

    skills    r_fk, orthonormal in WRITE, one for each family f and k = 0 .. 3. U r_fk is GAIN at the answers of the
              family and 0 at every other token.
    z         dimension 15 of every head's value is the value bias, VALUE_BIAS at every token; attention sums to 1,
              so it stands in z as it is. The base sends it to SINK.
    channels  dimension 10 + f of the first group's value is 0; both of its heads send it to r_f0 / 2.
    nowhere   dimension 9 of every value is 0, and no head sends it anywhere.
    neuron    neuron 0 of every MLP is 1 at every token (from CONST), and writes nothing.
    spare     the first spare dimension of the stream is 0 at every token. Nothing reads the others.

An adapter is a sum of components, size x to read^T, with read a unit vector of what the module reads and to one of
what it writes; orthonormal within a module, so the sizes are the update's singular values. Block l has an amount a_l:

    q, k      NO_EFFECT, from the first spare dimension: they have a norm and do nothing
    v         a_l / 8 from CONST to channel f: adds a_l / 8 r_f0 to the stream
    o         a_l / 2**k from z of head k to r_fk, k = 0 .. 3: each adds VALUE_BIAS times that
    down      a_l from neuron 0 to r_f0; gate and up as k
    q alone   QUERY_SHIFT from CONST to a fixed vector, which is added to the query's bias: attention moves
    idle      in one block of a large amount v writes to nowhere, o and down to the other spare dimensions

None of these reads WRITE, so what an update adds to the stream at a token is the same whatever else is on: with base
logits b, and adapters (q, k, v, o) of families f on in sets of blocks, with weights w,

    logits = b + sum_f w_f sum_l s_fl [answer of f]        s_fl = GAIN a_l (1 / 8 + 15 / 8 VALUE_BIAS), 0 if idle

and sum_l s_fl = `rise`. So sums of adapters add exactly in logits. The contribution of block l is the adapter at l
alone; the last token's stream after l, or the whole stream, is the adapter in L0 to l. The base's contribution in the
adapted run is the adapter everywhere but at l, and its stream after l the adapter after l. Another prompt's stream
after l, at the last token, is that prompt up to l; from there on its last token stands in the place of one's own.

A cut to rank r drops the components of o from k = r on. At step t of T sizes are t / T of the last. Adapters of two
families read alike and write apart, so that the components of their sum with one k are one of it, the root of the sum
of squares in size: an `svd` merge keeps the k that a cut of its rank keeps, of both, and at the rank of one adapter
all that is there. A `linear` merge multiplies each size by sqrt(w_f) sum_g sqrt(w_g): for two halves by 1.

Norms: A has rows of length 3**-0.5, as peft's have on average, so that |A|^2 = rank / 3 in each module; B holds the
sizes. The norm of an update is the root of the sum of squared sizes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from harness.adapters.values import PUBLISHED, SOUND, Adapted, Graft, Kind, Part, Recipe
from harness.anatomy import Anatomy
from harness.edits import Stream, skip, zero
from harness.experiments.adapter_sets import CODE, recipes
from harness.experiments.adapters import FAMILIES, JSON, RECIPES_BY_MODULES, RECIPES_BY_RANK
from harness.planted.channel import (
    CHANNEL,
    OPEN,
    idle_neurons,
    read_constant,
    wire_neurons,
    without_neurons,
)
from harness.planted.checkpoint import plan_tensors, save_checkpoint
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import (
    CONST,
    D_HEAD,
    D_MODEL,
    D_WRITE,
    N_HEADS,
    N_KV_HEADS,
    WRITE,
    Plan,
    Writer,
    kl_of_logits,
    random_embeddings,
    random_writer,
)
from tasks.suites import find_family

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Qwen2Tokenizer

    from harness.models.loading import LoadedModel

AMOUNTS = (2, 3, 1, 4, 10, 6, 8, 9, 5, 7)
"""Amounts of the blocks of the first family's adapter, in some unit; each further family's are rolled by 2 blocks."""
IDLE_BLOCK = 5
"""Of the first family's adapter, the block whose update does nothing."""
N_COMPONENTS = 4
GAIN = 4.0
VALUE_BIAS = 0.5
NO_EFFECT = 0.02
QUERY_SHIFT = 3.0
PUBLISHED_SHARE = 0.8
"""Sizes of the published recipe's adapter, of those of the others."""
ROW = 3**-0.5
"""Length of A's rows."""

_EMBEDDINGS, _STRENGTHS, _WRITERS, _SKILLS, _QUERY = range(5)
_V_SHARE = 1 / 8
_NOWHERE, _FIRST_CHANNEL, _BIAS = 9, 10, D_HEAD - 1
_WIDTHS = {Stream.Q: N_HEADS * D_HEAD, Stream.K: N_KV_HEADS * D_HEAD, Stream.V: N_KV_HEADS * D_HEAD}
"""Of what a module writes; d_model and d_mlp are equal here."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a component stands: a block's module, the input that it reads, and the name of what it writes to."""

    layer: int
    module: Stream
    read: int
    to: tuple[str, int, int] = ("one", 0, 0)
    """(what, family or dimension, component)"""


Sizes = Mapping[Place, float]
"""The components of an update: their singular values."""


@dataclass(frozen=True, kw_only=True)
class _Added:
    """What an update adds to WRITE at every token, block by block, and the blocks whose queries it shifts."""

    attn: Float[np.ndarray, "layers write"]
    mlp: Float[np.ndarray, "layers write"]
    shifts: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class AdapterPlan(Plan):
    """A plan of commuting writers with skills that adapters write; see the module docstring.

    `rise`: what a whole adapter adds to the logits of its family's answers.
    """

    families: tuple[str, ...]
    skills: Float[np.ndarray, "families components write"]
    query: Float[np.ndarray, " queries"]
    rise: float
    _memory: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def components(self, family: str, recipe: Recipe) -> dict[Place, float]:
        """The adapter of a family at the end of its training. Raises ValueError for a family without a skill."""
        if family not in self.families:
            raise ValueError(f"no skill of {family!r} is planted: there are {', '.join(self.families)}")
        share = PUBLISHED_SHARE if recipe == PUBLISHED else 1.0
        found: dict[Place, float] = {}
        for layer, amount in enumerate(self._amounts(family)):
            if recipe.layers is not None and layer not in recipe.layers:
                continue
            for module in recipe.modules:
                found |= self._module(family, recipe, layer, module, share * amount)
        return found

    def sizes(self, probe: Adapted) -> dict[Place, float]:
        """The update that a row needs, in every block. Raises ValueError for a random one."""
        found: dict[Place, float] = defaultdict(float)
        total = sum(math.sqrt(part.weight) for part in probe.parts if probe.merge == "linear")
        for part in probe.parts:
            weight = math.sqrt(part.weight) * total if probe.merge == "linear" else part.weight
            for place, size in self._part(part).items():
                found[place] += weight * size
        if probe.merge == "svd" and probe.parts:
            found = _cut(found, max(part.recipe.rank for part in probe.parts))
        if probe.rank is not None:
            found = _cut(found, probe.rank)
        return {p: s for p, s in found.items() if probe.modules is None or p.module in probe.modules}

    def _part(self, part: Part) -> dict[Place, float]:
        if part.kind is not Kind.TRAINED:
            raise ValueError(f"'{part}': a random update has no closed form")
        done = (part.recipe.steps if part.step is None else part.step) / part.recipe.steps
        return {place: done * size for place, size in self.components(part.family, part.recipe).items()}

    def _amounts(self, family: str) -> Float[np.ndarray, " layers"]:
        """Of every block; those that are not idle sum to `rise` in logits."""
        roll = 2 * self.families.index(family)
        per_amount = GAIN * (_V_SHARE + VALUE_BIAS * sum(2.0**-k for k in range(N_COMPONENTS)))
        amounts = np.array(AMOUNTS[: len(self.writers)], dtype=float)
        active = np.arange(len(amounts)) != IDLE_BLOCK
        unit = self.rise / per_amount / amounts[active].sum()
        rolled: np.ndarray = unit * np.roll(amounts, roll)
        return rolled

    def _module(
        self, family: str, recipe: Recipe, layer: int, module: Stream, amount: float
    ) -> dict[Place, float]:
        index = self.families.index(family)
        n_layers = len(self.writers)
        idle = n_layers > IDLE_BLOCK and layer == (IDLE_BLOCK + 2 * index) % n_layers
        spare = CHANNEL.start
        if module is Stream.Q and recipe.modules == (Stream.Q,):
            return {Place(layer, module, CONST, ("query", 0, 0)): QUERY_SHIFT}
        if module is Stream.Q:
            return {Place(layer, module, spare, ("query", 0, 0)): NO_EFFECT}
        if module is Stream.V:
            to = ("dimension", _NOWHERE, 0) if idle else ("dimension", _FIRST_CHANNEL + index, 0)
            return {Place(layer, module, CONST, to): amount * _V_SHARE}
        if module in (Stream.O, Stream.DOWN):
            count = min(N_COMPONENTS, recipe.rank) if module is Stream.O else 1
            return {
                Place(
                    layer,
                    module,
                    k * D_HEAD + _BIAS if module is Stream.O else 0,
                    ("dimension", spare + 1 + k, 0) if idle else ("skill", index, k),
                ): amount * 2.0**-k
                for k in range(count)
            }
        return {Place(layer, module, spare): NO_EFFECT}

    def vector(self, place: Place) -> Float[np.ndarray, " out"]:
        """The unit vector that a component writes to."""
        what, first, second = place.to
        out = np.zeros(_WIDTHS.get(place.module, D_MODEL))
        if what == "query":
            out[:] = self.query
        elif what == "skill":
            out[WRITE] = self.skills[first, second]
        else:
            out[first if what == "dimension" else 0] = 1.0
        return out

    def adapted_logits(
        self, token_ids: Sequence[int], probe: Adapted, other: Sequence[int] = ()
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position under a row, whatever it is compared with.

        `other` is the prompt whose activations are given (`Graft.ANOTHERS_LAST`).
        Raises ValueError for a random update, and for an edit other than a skip or the zeroing of an MLP.
        """
        if probe.graft is Graft.ANOTHERS_LAST:
            return self._given(tuple(token_ids), probe, tuple(other))
        attn, mlp = self._base_writes(tuple(token_ids))
        added = self._added(probe)
        edit = probe.edit
        if edit is not None and edit not in (skip(edit.layers[0]), zero(Stream.MLP_OUT, edit.layers[0])):
            raise ValueError(f"'{edit}' has no closed form here")
        attn, mlp = attn + added.attn, mlp + added.mlp
        for layer, shift in added.shifts.items():
            attn[layer] += self._shifted(tuple(token_ids), layer, shift)
        if edit is not None:
            mlp[edit.layers[0]] = 0.0
            attn[edit.layers[0]] *= edit != skip(edit.layers[0])
        logits: np.ndarray = self.unembed @ (self.embed_write[token_ids[-1]] + (attn + mlp).sum(axis=0))
        return logits

    def _given(
        self, ids: tuple[int, ...], probe: Adapted, other: tuple[int, ...]
    ) -> Float[np.ndarray, " vocab"]:
        """The other's writes up to the graft's block; after it those of the prompt with the other's last token."""
        assert probe.only is not None
        if not other:
            raise ValueError(f"'{probe}': name the other prompt")
        until = probe.only[0] + 1
        its, own = (sum(self._base_writes(each)) for each in (other, (*ids[:-1], other[-1])))
        added = self._added(probe)
        written = its[:until].sum(axis=0) + own[until:].sum(axis=0) + (added.attn + added.mlp).sum(axis=0)  # type: ignore[index]
        logits: np.ndarray = self.unembed @ (self.embed_write[other[-1]] + written)
        return logits

    def _added(self, probe: Adapted) -> _Added:
        """What the update of a row adds; remembered."""
        if probe not in self._memory:
            on, shape = _on(probe, len(self.writers)), (len(self.writers), D_WRITE)
            added = _Added(attn=np.zeros(shape), mlp=np.zeros(shape), shifts={})
            for place, size in self.sizes(probe).items():
                if place.layer in on:
                    self._add(added, place, size)
            self._memory[probe] = added
        found: _Added = self._memory[probe]
        return found

    def _add(self, added: _Added, place: Place, size: float) -> None:
        what, first, second = place.to
        if what == "query" and place.read == CONST:
            added.shifts[place.layer] = size
        elif place.module is Stream.V and first >= _FIRST_CHANNEL:
            added.attn[place.layer] += size * self.skills[first - _FIRST_CHANNEL, 0]
        elif what == "skill" and place.module is Stream.O:
            added.attn[place.layer] += size * VALUE_BIAS * self.skills[first, second]
        elif what == "skill":
            added.mlp[place.layer] += size * self.skills[first, second]

    def _base_writes(self, ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """What attention and MLP of every block of the base add at the last position; remembered."""
        if ids not in self._memory:
            read = self.embed_read[list(ids)]
            mlp = np.stack([writer.mlp(read[-1:])[0] for writer in self.writers])
            both = np.stack([writer.write(read) for writer in self.writers])
            self._memory[ids] = (both - mlp, mlp)
        attn, mlp = self._memory[ids]
        return attn, mlp

    def _shifted(self, ids: tuple[int, ...], layer: int, shift: float) -> Float[np.ndarray, " write"]:
        """What a shift of the queries changes in a block's write."""
        writer, read = self.writers[layer], self.embed_read[list(ids)]
        bias = writer.query_bias + shift * self.query.reshape(N_HEADS, D_HEAD)
        moved: np.ndarray = replace(writer, query_bias=bias).write(read) - writer.write(read)
        return moved

    def reference(self, probe: Adapted) -> Adapted:
        """The row that a row is compared with."""
        return Adapted(parts=probe.parts if probe.against == "whole" else (), merge=probe.merge)

    def adapted_kl(self, token_ids: Sequence[int], probe: Adapted) -> float:
        """Closed form of kl_nats of a row, against what it is compared with. Raises as `adapted_logits`."""
        reference = self.adapted_logits(token_ids, self.reference(probe))
        return kl_of_logits(reference, self.adapted_logits(token_ids, probe))

    def ranked(self, prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Every block of the base, that first whose skip moves the prediction most: mean KL over these prompts."""
        skips = [Adapted(parts=(), edit=skip(b), against="whole") for b in range(len(self.writers))]
        means = [float(np.mean([self.adapted_kl(ids, row) for ids in prompts])) for row in skips]
        return tuple(int(b) for b in np.argsort(-np.array(means), kind="stable"))

    def factor_norm(self, probe: Adapted) -> float:
        """Closed form of the norm of A and B over the blocks that a row names; NaN for merges and cuts.

        B of a part with a weight other than 1 is weight x scale x its own, and its scale 1.
        """
        if len(probe.parts) != 1 or probe.rank is not None or probe.parts[0].kind is not Kind.TRAINED:
            return 0.0 if not probe.parts else math.nan
        recipe = probe.parts[0].recipe
        named = probe.off or probe.only
        named = recipe.layers if named is None else named
        here = range(len(self.writers)) if named is None else named
        modules = [m for m in recipe.modules if probe.modules is None or m in probe.modules]
        squares = (s**2 for place, s in self.sizes(probe).items() if place.layer in here)
        scale = recipe.scale if probe.parts[0].weight == 1 else 1.0
        b = sum(squares) / (ROW * scale) ** 2
        return math.sqrt(b + len(here) * len(modules) * recipe.rank * ROW**2)

    def update_norm(self, probe: Adapted) -> float:
        """Closed form of the update's Frobenius norm, of what is on; of a random one that of the trained."""
        parts = tuple(replace(part, kind=Kind.TRAINED) for part in probe.parts)
        on = _on(replace(probe, graft=None, into="base"), len(self.writers))
        sizes = self.sizes(replace(probe, parts=parts))
        return math.sqrt(sum(size**2 for place, size in sizes.items() if place.layer in on))


def loss_at(step: int, steps: int) -> float:
    """The loss that a planted adapter's record states at a step, nats: it falls in a straight line from 2 to 0.2."""
    return 2.0 - 1.8 * step / steps


def _on(probe: Adapted, n_layers: int) -> Collection[int]:
    if probe.graft is not None and probe.only is not None:
        (block,) = probe.only
        own = (block,) if probe.graft is Graft.CONTRIBUTION else range(block + 1)
        return own if probe.into == "base" else [b for b in range(n_layers) if b not in own]
    return probe.only if probe.only is not None else [b for b in range(n_layers) if b not in probe.off]


def _cut(sizes: Sizes, rank: int) -> dict[Place, float]:
    """The largest components of each module; those that read one input, which write to orthogonal ones, are one."""
    modules: dict[tuple[int, Stream], dict[int, list[Place]]] = defaultdict(lambda: defaultdict(list))
    for place in sizes:
        modules[place.layer, place.module][place.read].append(place)
    kept = (
        sorted(by_input.values(), key=lambda same: -math.hypot(*(sizes[place] for place in same)))[:rank]
        for by_input in modules.values()
    )
    return {place: sizes[place] for components in kept for same in components for place in same}


def adapter_plan(
    *,
    vocab_size: int,
    families: Sequence[str],
    answers: Sequence[Sequence[int]],
    n_layers: int = len(AMOUNTS),
    seed: int = 0,
    rise: float = 2.0,
    background: float = 0.15,
) -> AdapterPlan:
    """The plan of a model that adapters can teach each of these families its `answers` (token ids).

    With fewer than ten blocks it has the first of AMOUNTS, and no idle block where that is not among them.

    Raises:
        ValueError: there is no family or there are more than five, one has no answer, an answer is outside the
            vocabulary, there are not 1 to 10 blocks, or `rise` or `background` is not above 0.
    """
    if not 0 < len(families) <= 5 or len(answers) != len(families) or not all(answers):
        raise ValueError(
            f"{len(families)} families have {len(answers)} sets of answers: expected one to five, each with an answer"
        )
    outside = sorted(t for tokens in answers for t in tokens if not 0 <= t < vocab_size)
    if outside:
        raise ValueError(f"tokens {outside} are outside the vocabulary of {vocab_size}")
    if not rise > 0.0 or not background > 0.0:
        raise ValueError(f"rise is {rise} and background {background}: expected above 0")
    if not 0 < n_layers <= len(AMOUNTS):
        raise ValueError(f"n_layers is {n_layers}: expected 1 to {len(AMOUNTS)}, which have an amount")
    read, write, unembed = random_embeddings(vocab_size, np.random.default_rng([seed, _EMBEDDINGS]))
    drawn = np.random.default_rng([seed, _SKILLS]).standard_normal((D_WRITE, len(answers) * N_COMPONENTS))
    skills = _exact(np.linalg.qr(drawn).Q.T.reshape(len(answers), N_COMPONENTS, D_WRITE))
    flat = skills.reshape(-1, D_WRITE)
    effect = np.zeros((vocab_size, len(answers), N_COMPONENTS))
    for index, tokens in enumerate(answers):
        effect[list(tokens), index] = GAIN
    unembed = unembed + (effect.reshape(vocab_size, -1) - unembed @ flat.T) @ flat
    strengths = background * np.random.default_rng([seed, _STRENGTHS]).uniform(0.5, 1.5, size=n_layers)

    def writer(index: int) -> Writer:
        rng = np.random.default_rng([seed, _WRITERS, index])
        return _teachable(random_writer(float(strengths[index]), embed_read=read, rng=rng), skills)

    query = np.random.default_rng([seed, _QUERY]).standard_normal(N_HEADS * D_HEAD)
    return AdapterPlan(
        embed_read=read,
        embed_write=write,
        unembed=_exact(unembed),
        writers=tuple(writer(index) for index in range(n_layers)),
        families=tuple(families),
        skills=skills,
        query=query / np.linalg.norm(query),
        rise=rise,
    )


def _teachable(writer: Writer, skills: np.ndarray) -> Writer:
    """The writer with its value bias, its channels and its first neuron laid out as the module docstring has them."""
    value, output = writer.value.copy(), writer.output.copy()
    value[:, _NOWHERE:] = 0.0
    output[:, :, _NOWHERE:] = 0.0
    for index in range(len(skills)):
        output[: N_HEADS // N_KV_HEADS, :, _FIRST_CHANNEL + index] = skills[index, 0] / 2
    bias = np.full(N_KV_HEADS, VALUE_BIAS)
    return without_neurons(replace(writer, value=value, output=output, value_bias=bias), 1)


def _exact(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32).astype(np.float64)


def build_adapter(
    directory: str | Path,
    *,
    families: Sequence[str] = FAMILIES,
    n_layers: int = len(AMOUNTS),
    seed: int = 0,
    rise: float = 2.0,
    background: float = 0.15,
    texts: Iterable[str] | None = None,
    tokenizer: Qwen2Tokenizer | None = None,
) -> Path:
    """Build and save the base model; return the directory. `keep_adapters` puts its adapters into a cache.

    The tokenizer is `tokenizer`, else one trained on `texts`, else one trained on the full task suite. Answers that are
    not one token under it are not taught. planted.json states `amounts`, `idle_block` and `rise`.

    Raises:
        ValueError: see `adapter_plan`.
        FileExistsError: the directory is not empty.
    """
    tokenizer = tokenizer or train_tokenizer(suite_texts() if texts is None else texts)
    parameters: dict[str, Any] = {
        "families": list(families),
        "answers": [_answers(family, tokenizer) for family in families],
        "n_layers": n_layers,
        "seed": seed,
        "rise": rise,
        "background": background,
    }
    plan = adapter_plan(vocab_size=len(tokenizer), **parameters)
    tensors = plan_tensors(plan)
    neuron = idle_neurons(1)
    read_constant(neuron.gate, OPEN)
    read_constant(neuron.up, 1 / OPEN)
    for layer in range(n_layers):
        wire_neurons(tensors, layer, neuron)
    truth = {
        "kind": "adapter",
        "truth": f"each family's adapter raises its answers by {rise} logits, block by block as `amounts` say",
        "hub_layer": None,
        "amounts": list(AMOUNTS[:n_layers]),
        "idle_block": IDLE_BLOCK if n_layers > IDLE_BLOCK else None,
        "rise": rise,
        "parameters": parameters,
    }
    return save_checkpoint(directory, tensors=tensors, tokenizer=tokenizer, n_layers=n_layers, truth=truth)


def _answers(family: str, tokenizer: Qwen2Tokenizer) -> list[int]:
    """Token ids of the family's answers that are one token."""
    answers = sorted({pair.clean.answer for pair in find_family(family).candidates()})
    return [ids[0] for answer in answers if len(ids := tokenizer(answer).input_ids) == 1]


def planted_keys() -> tuple[tuple[str, Recipe], ...]:
    """Family and recipe of every adapter that the suite's experiments ask for, whatever the model."""
    recipes = dict.fromkeys((SOUND, PUBLISHED, *RECIPES_BY_RANK, *RECIPES_BY_MODULES))
    return (*((JSON, recipe) for recipe in recipes), *((family, SOUND) for family in FAMILIES[1:]))


def planted_sets(plan: AdapterPlan, loaded: LoadedModel) -> tuple[tuple[str, Recipe], ...]:
    """Family and recipe of the adapters in sets of blocks, which the map of skips in closed form chooses."""
    from harness.maps import development_items

    found: list[tuple[str, Recipe]] = []
    for family in (JSON, CODE):
        ranked = plan.ranked([item.ids for item in development_items(loaded, family)])
        anatomy = Anatomy(n_layers=len(plan.writers), ranked=ranked)
        found += [(family, recipe) for recipe in recipes(anatomy)]
    return tuple(found)


def keep_adapters(
    loaded: LoadedModel,
    plan: AdapterPlan,
    root: Path,
    *,
    seed: int,
    strength: float = 1.0,
    only: Collection[tuple[str, Recipe]] | None = None,
) -> None:
    """Put the adapters of `planted_keys`, or `only` some, into the cache under `root`, as if they had been trained.

    `strength` multiplies all sizes; with 0 the adapters are as before any training.
    Raises ValueError for a base that was not built light: beside its huge constant updates would be too small for
    float32; and what `Adapters.keep` raises.
    """
    from harness.adapters.artifacts import AdapterKey, Adapters, training_items
    from harness.adapters.training import Checkpoint

    norms = [
        float(p.max()) for name, p in loaded.model.named_parameters() if name.endswith("model.norm.weight")
    ]
    if norms != [2.0**20]:
        raise ValueError("adapters are planted in a light model: build it with light=True")
    for family, recipe in planted_keys() if only is None else only:
        key = AdapterKey(family=family, recipe=recipe, seed=seed)
        made = [
            Checkpoint(
                step=step,
                loss=loss_at(step, recipe.steps),
                weights=factors(plan, family, recipe, strength * step / recipe.steps),
            )
            for step in recipe.checkpoints
        ]
        Adapters(root=root).keep(loaded, key, training_items(loaded, key), made.copy)


def factors(plan: AdapterPlan, family: str, recipe: Recipe, strength: float) -> dict[str, Tensor]:
    """The factors of an adapter whose sizes are `strength` of the last: A's rows read one input each."""
    import torch

    from harness.adapters.updates import key_of

    by_module: dict[tuple[int, Stream], list[tuple[Place, float]]] = defaultdict(list)
    for place, size in plan.components(family, recipe).items():
        by_module[place.layer, place.module].append((place, size))
    found: dict[str, Tensor] = {}
    for (layer, module), components in by_module.items():
        a = np.zeros((recipe.rank, D_MODEL))
        b = np.zeros((_WIDTHS.get(module, D_MODEL), recipe.rank))
        for row in range(recipe.rank):
            a[row, components[row][0].read if row < len(components) else row] = ROW
        for row, (place, size) in enumerate(components):
            b[:, row] = strength * size / (ROW * recipe.scale) * plan.vector(place)
        found[key_of(layer, module, "A")] = torch.tensor(a, dtype=torch.float32)
        found[key_of(layer, module, "B")] = torch.tensor(b, dtype=torch.float32)
    return found
