"""How many parameters an adapter has: rank x (in + out) for each linear module. From architecture facts, no torch.

The facts lack the width of the MLPs, which no load checks: it stands here, from the published config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.adapters.values import MLP
from harness.edits import Stream
from harness.models.spec import ArchitectureFacts, ModelSpec

D_MLP: Mapping[str, int] = {
    "qwen0_5b": 4864,
    "qwen_coder0_5b": 4864,
    "qwen1_5b": 8960,
    "qwen3b": 11008,
    "smollm2_135m": 1536,
}
"""`intermediate_size` in config.json of Qwen2.5-0.5B, Qwen2.5-Coder-0.5B, Qwen2.5-1.5B, Qwen2.5-3B, SmolLM2-135M."""

PLAIN = frozenset({"llama", "qwen2", "gemma3_text"})
"""Model types in which every block holds the seven linear modules, of one shape throughout."""


class UnknownWidth(LookupError):
    """A module's shape does not follow from the facts."""


def module_shapes(facts: ArchitectureFacts, d_mlp: int | None = None) -> dict[Stream, tuple[int, int]]:
    """(in, out) of each linear module of a block; those of the MLP only where its width is given.

    Raises UnknownWidth where blocks differ.
    """
    if facts.model_type not in PLAIN:
        raise UnknownWidth(f"the blocks of {facts.model_type} differ: count its modules one by one")
    stream, queries, keys = facts.d_model, facts.n_heads * facts.d_head, facts.n_kv_heads * facts.d_head
    shapes = {
        Stream.Q: (stream, queries),
        Stream.K: (stream, keys),
        Stream.V: (stream, keys),
        Stream.O: (queries, stream),
    }
    if d_mlp is not None:
        shapes |= {Stream.GATE: (stream, d_mlp), Stream.UP: (stream, d_mlp), Stream.DOWN: (d_mlp, stream)}
    return shapes


def lora_parameters(
    spec: ModelSpec, modules: Sequence[Stream], rank: int, n_blocks: int | None = None
) -> int:
    """Parameters of an adapter on these modules of `n_blocks` blocks (None: of all).

    Raises UnknownWidth where the model's facts or the width of its MLP are not known, or its blocks differ.
    """
    if spec.facts is None:
        raise UnknownWidth(f"nothing is known of {spec.id}: its config was not read")
    d_mlp = D_MLP.get(spec.id)
    if d_mlp is None and set(modules) & set(MLP):
        raise UnknownWidth(f"the width of the MLPs of {spec.id} is not in D_MLP")
    shapes = module_shapes(spec.facts, d_mlp)
    blocks = spec.facts.n_layers if n_blocks is None else n_blocks
    return blocks * rank * sum(sum(shapes[module]) for module in modules)


def model_parameters(spec: ModelSpec) -> int:
    """Parameters of a whole model, a tied embedding counted once. Raises UnknownWidth, as `lora_parameters` does.

    Qwen2's biases on q, k and v, and two norms a block with one at the end, are counted.
    """
    facts, d_mlp = spec.facts, D_MLP.get(spec.id)
    if facts is None or d_mlp is None or facts.model_type not in ("llama", "qwen2"):
        raise UnknownWidth(f"the parameters of {spec.id} do not follow from its facts")
    shapes = module_shapes(facts, d_mlp)
    biases = sum(shapes[m][1] for m in (Stream.Q, Stream.K, Stream.V)) if facts.model_type == "qwen2" else 0
    block = sum(width * out for width, out in shapes.values()) + biases + 2 * facts.d_model
    embeddings = facts.vocab_size * facts.d_model * (1 if facts.tied_embeddings else 2)
    return embeddings + facts.n_layers * block + facts.d_model
